/*
 * The world of explorer.c: frames, CPUs and what they hold of them, what guests ask for, and
 * what must be true after each step.
 */
#ifndef SERAI_TESTS_EXPLORER_WORLD_H
#define SERAI_TESTS_EXPLORER_WORLD_H

#include "explorer_mutants.h"

#define CPUS    MAX_CPUS /* at most; nr_cpus of them take part */
#define FRAMES  2
#define DOMAINS 2
#define TYPES   (TYPE_SEGDESC + 1)

/*
 * Frame 0 is what the CPUs quarrel about. Frame 1, with NESTED, is pinned as an L2 whose one
 * entry names frame 0.
 */
struct world {
    struct frame frames[FRAMES];
    struct cpu cpu[CPUS];
    u64 early[CPUS];         /* STAMP_EARLY */
    u8 cr3[CPUS];            /* domain whose table is loaded; 0: the hypervisor's own */
    u8 may_write[CPUS];      /* bit per frame: a writable translation */
    u8 may_walk[CPUS];       /* ... it is known to be a table */
    bool in_guest[CPUS];     /* the guest's translations are used, by it or for it */
    bool interrupt[CPUS];    /* one for a flush is on its way */
    u8 entries[DOMAINS + 1]; /* writable entries of a domain that name frame 0 */
    u8 held[FRAMES][TYPES];  /* uses that somebody was given */
    u8 references;           /* to frame 0, besides */
    bool pinned[FRAMES];
    bool validating[FRAMES];
    bool free; /* frame 0 is in the heap */
    u64 freed_at;
};

static struct world w;
static unsigned me; /* the CPU that is running */

struct frame *frames = w.frames;
u64 max_mfn = FRAMES;
static u64 no_counters[NR_COUNTERS];
struct cpu *cpus[MAX_CPUS];
unsigned nr_cpus;

/* Ends this schedule: a rule is broken. */
_Noreturn void violate(const char *rule);
/* Waits until another CPU has changed something. */
void give_way_until_change(void);

void bug_report(const char *expr, const char *file, int line)
{
    violate(expr);
}

struct cpu *this_cpu(void)
{
    return &w.cpu[me];
}

/* ---- translations: a CPU has all it may, at once ---- */

static bool is_table(int f)
{
    u64 typ = w.frames[f].typ;

    return typ & TYP_INUSE && typ & TYP_VALID && type_is_table(typ_type(typ));
}

static void learn(void)
{
    for (unsigned c = 0; c < nr_cpus; c++)
        for (int f = 0; f < FRAMES; f++) {
            if (!w.cr3[c] || ref_owner(w.frames[f].ref) != w.cr3[c])
                continue;
            if (is_table(f))
                w.may_walk[c] |= 1 << f;
            if (f == 0 && w.entries[w.cr3[c]])
                w.may_write[c] |= 1;
        }
}

static void forget(void)
{
    w.may_write[me] = w.may_walk[me] = 0;
    learn();
}

u64 read_cr3(void)
{
    return w.cr3[me];
}

void write_cr3(u64 cr3)
{
    bool other = w.cr3[me] != cr3;

    give_way();
    w.cr3[me] = (u8)cr3;
    if (MUTANT != M_TICK_AFTER_FLUSH || other)
        forget();
}

void lapic_send_ipi(u32 apic_id, unsigned vector)
{
    give_way();
    w.interrupt[apic_id] = true;
}

void cpu_relax(void)
{
    give_way_until_change();
}

void vcpu_yield(struct vcpu *to)
{
}

/* ---- seeded errors ---- */

static bool is_flushed_at(const void *p)
{
    for (unsigned c = 0; c < nr_cpus; c++)
        if (p == &w.cpu[c].flushed_at)
            return true;
    return false;
}

u64 mutant_load(const void *p, u64 value)
{
    if (MUTANT == M_EQUAL_IS_FLUSHED && is_flushed_at(p))
        return value + 1;
    if (MUTANT == M_DEAF && p == &w.cpu[me].flush_asked)
        return 0;
    return value;
}

/* False: this store does not happen. */
bool mutant_store(const void *p)
{
    if (MUTANT == M_REQUEST_LATE && p == &w.cpu[me].flushed_at)
        w.cpu[me].flush_asked = 0;
    return MUTANT != M_REQUEST_LATE || p != &w.cpu[me].flush_asked;
}

/* Of an unused frame only the type matters. */
void mutant_expect(const u64 *p, u64 *expect)
{
    const u64 busy = TYP_INUSE | TYP_STAMPING;

    for (int f = 0; f < FRAMES; f++)
        if (MUTANT == M_FLUSH_BEFORE_SWAP && p == &w.frames[f].typ &&
            !((*p | *expect) & busy) && typ_type(*p) == typ_type(*expect))
            *expect = *p;
}

void mutant_before_add(const void *p)
{
    if (MUTANT == M_TICK_AFTER_FLUSH && p == &flush_clock)
        forget();
}

void mutant_after_add(const void *p, u64 value)
{
    if (MUTANT == M_PUBLISH_FIRST && p == &flush_clock)
        w.cpu[me].flushed_at = value;
}

enum take_verdict mutant_take(u64 typ, enum frame_type t, u64 *next)
{
    enum take_verdict v =
        typ_take(MUTANT == M_IGNORE_STAMPING ? typ & ~TYP_STAMPING : typ, t, next);

    if (v != TAKE_NEW)
        return v;
    if (MUTANT == M_VALID_AT_ONCE || (MUTANT == M_WRITABLE_AT_ONCE && t == TYPE_WRITABLE))
        *next |= TYP_VALID;
    if (MUTANT == M_FLUSH_BEFORE_SWAP && typ_crossing(typ, t))
        tlb_flush_since(typ_stamp(typ), ref_owner(w.frames[0].ref),
                        type_is_table(typ_type(typ)));
    return v;
}

enum drop_verdict mutant_drop(u64 typ, u64 *next)
{
    enum drop_verdict v;

    if (MUTANT == M_STAMP_EARLY)
        w.early[me] = tlb_clock();
    v = typ_drop(typ, next);
    if (MUTANT == M_NO_STAMPING && v == DROP_STAMP)
        *next &= ~TYP_STAMPING;
    return v;
}

bool mutant_crossing(u64 typ, enum frame_type t)
{
    return MUTANT != M_NO_FLUSH && MUTANT != M_FLUSH_BEFORE_SWAP && typ_crossing(typ, t);
}

u64 mutant_stamped(u64 typ, u64 clock)
{
    return typ_stamped(typ, MUTANT == M_STAMP_EARLY ? w.early[me] : clock);
}

/* ---- guest/mmu.c, on one entry ---- */

static void check_unwritable(int f)
{
    for (unsigned c = 0; c < nr_cpus; c++)
        if (w.in_guest[c] && w.may_write[c] & 1 << f)
            violate("a table can be written while it is valid or validated");
}

int mmu_validate_table(u16 owner, mfn_t mfn, enum frame_type t)
{
    int rc;

    w.validating[mfn.n] = true;
    give_way();
    rc = t == TYPE_L2 && mfn.n == 1 ? frame_type_get(owner, MFN(0), TYPE_L1) : 0;
    if (!rc && t == TYPE_L2 && mfn.n == 1)
        w.held[0][TYPE_L1]++;
    w.validating[mfn.n] = false;
    return rc;
}

void mmu_devalidate_table(mfn_t mfn, enum frame_type t)
{
    give_way();
    if (t == TYPE_L2 && mfn.n == 1) {
        w.held[0][TYPE_L1]--;
        frame_type_put(MFN(0));
    }
}

int mmu_validate_descriptors(mfn_t mfn)
{
    return 0;
}

/* ---- what guests ask for ---- */

enum op {
    OP_MAP,
    OP_UNMAP,
    OP_GET,
    OP_PUT,
    OP_PIN_L1,
    OP_PIN_L2,
    OP_UNPIN,
    OP_PIN_NESTED,
    OP_UNPIN_NESTED,
    OP_FREE,
    OP_ALLOC,
    OP_FLUSH,
    OP_IDLE,
    OP_SWITCH,
    NR_OPS,
    OP_RESUME, /* out of idleness: costs nothing */
    OP_INTERRUPT,
};

static u16 my_domain(void)
{
    return (u16)w.cpu[me].guest_owner;
}

static void op_map(void)
{
    u16 d = my_domain();

    if (MUTANT == M_TAKE_AFTER_WRITE) {
        w.entries[d]++;
        learn();
        if (frame_type_get(d, MFN(0), TYPE_WRITABLE))
            w.entries[d]--;
        else
            w.held[0][TYPE_WRITABLE]++;
        return;
    }
    if (frame_type_get(d, MFN(0), TYPE_WRITABLE))
        return;
    w.held[0][TYPE_WRITABLE]++;
    give_way();
    w.entries[d]++;
}

/* The one who removes an entry drops its use. */
static void op_unmap(void)
{
    u16 d = my_domain();

    w.held[0][TYPE_WRITABLE]--;
    if (MUTANT == M_DROP_BEFORE_REMOVE) {
        frame_type_put(MFN(0));
        give_way();
        w.entries[d]--;
        return;
    }
    w.entries[d]--;
    frame_type_put(MFN(0));
}

static void op_get(void)
{
    if (frame_get(my_domain(), MFN(0)))
        w.references++;
}

static void op_put(void)
{
    w.references--;
    frame_put(MFN(0));
}

static void op_pin(int f, enum frame_type t)
{
    if (frame_pin(my_domain(), MFN(f), t))
        return;
    w.held[f][t]++;
    w.pinned[f] = true;
}

static void op_unpin(int f)
{
    w.pinned[f] = false;
    w.held[f][typ_type(w.frames[f].typ)]--;
    if (frame_unpin(my_domain(), MFN(f)))
        violate("a pin is gone");
}

void heap_free_frames(mfn_t mfn, unsigned order)
{
    w.frames[mfn.n].typ = 0;
    w.freed_at = tlb_clock();
    w.free = true;
}

void frame_release(mfn_t mfn, u64 ref)
{
    BUG_ON(frames[mfn.n].typ & TYP_INUSE);
    BUG_ON(ref & REF_ALLOCATED);
    heap_free_frames(mfn, 0);
}

static u64 world_blocks[1];

static void op_free(void)
{
    if (!frame_unassign(my_domain(), MFN(0)))
        heap_free_frames(MFN(0), 0);
}

static void op_alloc(void)
{
    struct domain d = {my_domain(), world_blocks};

    w.free = false;
    tlb_flush_since(w.freed_at, MUTANT == M_NEW_OWNER_ONLY ? d.id : NO_OWNER, true);
    for (unsigned c = 0; c < nr_cpus; c++)
        if (w.in_guest[c] && (w.may_write[c] | w.may_walk[c]) & 1)
            violate("a frame is allocated while a CPU remembers it");
    frame_assign(&d, MFN(0), 0);
}

/* guest/switch.c: into idleness, out of it, and to the other domain. */
static void op_idle(void)
{
    w.in_guest[me] = false;
    if (MUTANT == M_OWNER_UNFLUSHED)
        __atomic_store_n(&w.cpu[me].guest_owner, NO_OWNER, __ATOMIC_SEQ_CST);
    __atomic_store_n(&w.cpu[me].idle, 1, __ATOMIC_SEQ_CST);
}

static void look_at_mark(void)
{
    if (__atomic_exchange_n(&w.cpu[me].stale, 0, __ATOMIC_SEQ_CST) && MUTANT != M_STALE_IGNORED)
        tlb_flush_local();
}

static void op_resume(void)
{
    if (MUTANT == M_STALE_FIRST)
        look_at_mark();
    __atomic_store_n(&w.cpu[me].idle, 0, __ATOMIC_SEQ_CST);
    if (MUTANT == M_OWNER_UNFLUSHED)
        __atomic_store_n(&w.cpu[me].guest_owner, w.cr3[me], __ATOMIC_SEQ_CST);
    if (MUTANT != M_STALE_FIRST)
        look_at_mark();
    w.in_guest[me] = true;
}

static void op_switch(void)
{
    u16 to = my_domain() == 1 ? 2 : 1;

    w.in_guest[me] = false;
    tlb_load_cr3(0);
    __atomic_store_n(&w.cpu[me].guest_owner, NO_OWNER, __ATOMIC_SEQ_CST);
    if (MUTANT == M_OWNER_LATE)
        tlb_load_cr3(to);
    __atomic_store_n(&w.cpu[me].guest_owner, to, __ATOMIC_SEQ_CST);
    if (MUTANT != M_OWNER_LATE)
        tlb_load_cr3(to);
    w.in_guest[me] = true;
}

static void perform(enum op op)
{
    switch (op) {
    case OP_MAP:
        return op_map();
    case OP_UNMAP:
        return op_unmap();
    case OP_GET:
        return op_get();
    case OP_PUT:
        return op_put();
    case OP_PIN_L1:
        return op_pin(0, TYPE_L1);
    case OP_PIN_L2:
        return op_pin(0, TYPE_L2);
    case OP_UNPIN:
        return op_unpin(0);
    case OP_PIN_NESTED:
        return op_pin(1, TYPE_L2);
    case OP_UNPIN_NESTED:
        return op_unpin(1);
    case OP_FREE:
        return op_free();
    case OP_ALLOC:
        return op_alloc();
    case OP_FLUSH:
        return tlb_flush_local();
    case OP_IDLE:
        return op_idle();
    case OP_SWITCH:
        return op_switch();
    case OP_RESUME:
        return op_resume();
    case OP_INTERRUPT:
        w.interrupt[me] = false;
        return tlb_interrupt(NULL);
    default:
        return;
    }
}

/* Is there anything for 'op' to do, by a CPU in its guest? 'ops': which ones this run has. */
static bool is_possible(unsigned c, enum op op, u32 ops)
{
    u32 d = w.cpu[c].guest_owner;
    bool mine = ref_owner(w.frames[0].ref) == d;

    if (!(ops >> op & 1))
        return false;
    switch (op) {
    case OP_UNMAP:
        return mine && w.entries[d];
    case OP_PUT:
        return w.references;
    case OP_UNPIN:
        return mine && w.pinned[0];
    case OP_UNPIN_NESTED:
        return w.pinned[1];
    case OP_MAP:
        return w.entries[d] < 2;
    case OP_GET:
        return !w.references;
    case OP_FREE:
        return mine && !w.free;
    case OP_ALLOC:
        return w.free;
    default:
        return true;
    }
}

/* ---- rules ---- */

static unsigned uses_of(int f)
{
    unsigned n = 0;

    for (int t = 0; t < TYPES; t++)
        n += w.held[f][t];
    return n;
}

static void check_uses(int f)
{
    u64 typ = w.frames[f].typ;
    unsigned uses = uses_of(f);

    if (!uses)
        return;
    if (w.held[f][typ_type(typ)] != uses)
        violate("two types are in use at once");
    if (!(typ & TYP_INUSE) || !(typ & TYP_VALID) || typ & TYP_STAMPING)
        violate("a use was given of a frame that is not ready for it");
    if (typ_count(typ) < uses)
        violate("fewer uses are counted than were given");
}

static void check_frame(int f)
{
    u64 ref = w.frames[f].ref, typ = w.frames[f].typ;
    u64 least = (f == 0 ? w.references : 0) + (typ & TYP_INUSE ? 1 : 0);

    check_uses(f);
    if (ref_owner(ref) != DOMID_XEN && ref_count(ref) < least + (ref & REF_ALLOCATED ? 1 : 0))
        violate("fewer references are counted than there are");
    if (is_table(f) || w.validating[f])
        check_unwritable(f);
    if (!w.held[f][TYPE_WRITABLE])
        return;
    for (unsigned c = 0; c < nr_cpus; c++)
        if (w.in_guest[c] && w.may_walk[c] & 1 << f)
            violate("a writable frame is walked as a table");
}

/* No hypercall is under way. */
static void check_counts(int f)
{
    u64 ref = w.frames[f].ref, typ = w.frames[f].typ;
    u64 refs = (f == 0 ? w.references : 0) + (typ & TYP_INUSE ? 1 : 0) + 1;

    if (f == 0 && w.free)
        return;
    if (typ & TYP_STAMPING || !frame_check(&w.frames[f]))
        violate("frame_check");
    if (typ_count(typ) != uses_of(f))
        violate("the type count is not the number of uses");
    if (ref_count(ref) != refs)
        violate("the reference count is not the number of references");
}

#endif
