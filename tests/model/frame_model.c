/*
 * Every state that a small world of frames can reach: 3 frames, 2 domains, tables of 2 entries,
 * levels 1 and 2, one CPU whose TLB and walk caches keep whatever they are not made to forget.
 *
 * The rules come from the shipped sources: core/frame.h decides, guest/frame.c (included below,
 * over the stubs in stubs/) swaps and acts. Played here are guest/mmu.c on two entries, the
 * heap, the CPU, and guests that try everything: each hypercall with each argument, and any
 * value written to any frame that a translation still lets them write.
 *
 * After each step:
 *  C1 each type count is the number of uses, each reference count the number of references:
 *     read-only entries, one while in use, one while allocated; and frame_check() holds;
 *  C2 a present entry of a valid table names a frame of the table's owner, in an L2 a valid L1;
 *  C3 no valid table can be written by way of any translation the CPU may hold;
 *  C4 no writable or other-level frame is walked as a table by way of a cached upper entry;
 *  C5 at allocation the CPU holds nothing about the frame.
 *
 * Worlds that differ only by the names of frames and domains count as one. The mutants below,
 * each an error seeded in the rules or in what acts on them, must all be found.
 */
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/frame.h"

/* name, what is wrong */
#define MUTANTS(X)                                                                             \
    X(NONE, "the rules as shipped")                                                            \
    X(TAKE_ANY_TYPE, "a use is given although the frame is in use as another type")            \
    X(TAKE_STALE_VALID, "a table is marked valid by the swap that takes it")                   \
    X(NO_CROSSING_FLUSH, "a change of type does not flush")                                    \
    X(CROSSING_NOT_TO_WRITABLE, "a change from table to writable does not flush")              \
    X(CROSSING_NOT_BETWEEN_TABLES, "a change from L2 to L1 does not flush")                    \
    X(STAMP_LOST, "the last drop stores no clock")                                             \
    X(STAMP_BEFORE_TICK, "the last drop stores an old clock")                                  \
    X(TYPE_FORGOTTEN, "the last drop forgets the type it ends")                                \
    X(DROP_NO_DEVALIDATE, "the last drop of a table keeps its entries' uses")                  \
    X(DROP_EARLY, "a drop with one more use left ends the use")                                \
    X(DROP_LATE, "the last drop is taken for one of several")                                  \
    X(FOREIGN_GET, "a reference to another domain's frame is given")                           \
    X(GET_UNCOUNTED, "a read-only entry takes no reference")                                   \
    X(PUT_FORGOTTEN_RO, "removing a read-only entry drops nothing")                            \
    X(PUT_FORGOTTEN_RW, "removing a writable entry drops nothing")                             \
    X(L2_NAMES_L2, "an L2 entry may name an L2")                                               \
    X(RW_UNTYPED, "a writable entry takes a reference but no use")                             \
    X(PARTIAL_LEAK, "a failed validation keeps what it took")                                  \
    X(PARTIAL_OVERDROP, "a failed validation drops one entry too many")                        \
    X(UNPIN_TWICE, "an unpin does not look whether there is a pin")                            \
    X(FREE_IN_USE, "a frame that is in use is freed")                                          \
    X(ALLOC_NO_FLUSH, "an allocation does not flush")

#define MUTANT_ENUM(id, text) M_##id,
#define MUTANT_TEXT(id, text) {#id, text},
enum mutant { MUTANTS(MUTANT_ENUM) NR_MUTANTS };
static const struct {
    const char *name, *text;
} mutants[] = {MUTANTS(MUTANT_TEXT)};

static enum mutant mutant;

/* ---- the shipped rules, with the seeded errors in front ---- */

static inline enum take_verdict model_take(u64 typ, enum frame_type t, u64 *next)
{
    enum take_verdict v = typ_take(typ, t, next);

    if (mutant == M_TAKE_ANY_TYPE && v == TAKE_CONFLICT) {
        *next = typ + TYP_ONE;
        return TAKE_OK;
    }
    if (mutant == M_TAKE_STALE_VALID && v == TAKE_NEW)
        *next |= TYP_VALID;
    return v;
}

static inline enum drop_verdict model_drop(u64 typ, u64 *next)
{
    enum drop_verdict v = typ_drop(typ, next);

    if (mutant == M_DROP_NO_DEVALIDATE && v == DROP_TABLE) {
        *next = typ_type(typ) | TYP_STAMPING;
        return DROP_STAMP;
    }
    if (mutant == M_DROP_EARLY && v == DROP_DONE && typ_count(typ) == 2) {
        *next = typ_type(typ) | TYP_STAMPING;
        return DROP_STAMP;
    }
    if (mutant == M_DROP_LATE && v != DROP_DONE) {
        *next = typ - TYP_ONE;
        return DROP_DONE;
    }
    return v;
}

static inline bool model_crossing(u64 typ, enum frame_type t)
{
    enum frame_type last = typ_type(typ);

    if (mutant == M_NO_CROSSING_FLUSH)
        return false;
    if (mutant == M_CROSSING_NOT_TO_WRITABLE && t == TYPE_WRITABLE)
        return false;
    if (mutant == M_CROSSING_NOT_BETWEEN_TABLES && type_is_table(last) && type_is_table(t))
        return false;
    return typ_crossing(typ, t);
}

static inline u64 model_stamped(u64 typ, u64 clock)
{
    if (mutant == M_STAMP_LOST)
        clock = 0;
    if (mutant == M_STAMP_BEFORE_TICK)
        clock--;
    if (mutant == M_TYPE_FORGOTTEN)
        typ = TYPE_NONE;
    return typ_stamped(typ, clock);
}

static inline bool model_may_get(u64 ref, u16 owner)
{
    return ref_may_get(ref, mutant == M_FOREIGN_GET ? ref_owner(ref) : owner);
}

#define typ_take     model_take
#define typ_drop     model_drop
#define typ_crossing model_crossing
#define typ_stamped  model_stamped
#define ref_may_get  model_may_get
#include "../../hv/guest/frame.c"

/* ---- the world ---- */

#define FRAMES   3
#define DOMAINS  2
#define SLOTS    2
#define VALUES   (1 + 2 * FRAMES) /* an entry: absent, or a frame, read-only or writable */
#define SPECIALS 2

struct world {
    struct frame frames[FRAMES];
    u8 entry[FRAMES][SLOTS];
    /* What the CPU may have cached, one bit for each frame. */
    u8 writes;            /* a writable translation */
    u8 walks[SPECIALS];   /* an upper entry that names it as an L1, an L2 */
    bool freed_unflushed; /* a frame was freed since the last flush */
};

static struct world w;
struct frame *frames = w.frames;
u64 max_mfn = FRAMES;
static u64 m2p_words[FRAMES];

static jmp_buf violated;
static char violation[160];

static _Noreturn void violate(const char *rule, int frame)
{
    snprintf(violation, sizeof(violation), "%s (frame %d)", rule, frame);
    longjmp(violated, 1);
}

void bug_report(const char *expr, const char *file, int line)
{
    snprintf(violation, sizeof(violation), "BUG_ON(%s)", expr);
    longjmp(violated, 1);
}

void cpu_relax(void)
{
    violate("waits for ever", -1);
}

static int target_of(u8 entry)
{
    return (entry - 1) >> 1;
}

static bool is_writable(u8 entry)
{
    return entry & 1; /* 1 + 2 * frame, one more when read-only */
}

static bool is_valid(int f, enum frame_type t)
{
    u64 typ = w.frames[f].typ;

    return typ & TYP_INUSE && typ & TYP_VALID && typ_type(typ) == t;
}

/* ---- the CPU: caches all it can, at once ---- */

/* flushed_at is the clock itself: one CPU, and it ticks only when it flushes. */
static u64 clock_now;

static void cpu_learn(void)
{
    for (int f = 0; f < FRAMES; f++) {
        if (is_valid(f, TYPE_L2))
            w.walks[1] |= 1 << f;
        if (is_valid(f, TYPE_L1))
            w.walks[0] |= 1 << f;
    }
    /* Through what is cached, too: a table that is unhooked is still walked. */
    for (int f = 0; f < FRAMES; f++)
        for (int s = 0; s < SLOTS; s++)
            if (w.walks[1] & 1 << f && w.entry[f][s])
                w.walks[0] |= 1 << target_of(w.entry[f][s]);
    for (int f = 0; f < FRAMES; f++)
        for (int s = 0; s < SLOTS; s++)
            if (w.walks[0] & 1 << f && is_writable(w.entry[f][s]))
                w.writes |= 1 << target_of(w.entry[f][s]);
}

static void flush(void)
{
    clock_now++;
    w.writes = w.walks[0] = w.walks[1] = 0;
    w.freed_unflushed = false;
    /* The CPU refills from what is valid while the hypervisor is still at work. */
    cpu_learn();
}

u64 tlb_clock(void)
{
    return clock_now;
}

void tlb_flush_since(u64 stamp)
{
    if (clock_now <= stamp)
        flush();
}

/* ---- guest/mmu.c, on two entries ---- */

static int entry_get(u16 owner, int level, u8 e)
{
    mfn_t mfn = MFN(target_of(e));

    if (!e)
        return 0;
    if (level == 2) {
        if (mutant == M_L2_NAMES_L2 && !frame_type_get(owner, mfn, TYPE_L2))
            return 0;
        return frame_type_get(owner, mfn, TYPE_L1);
    }
    if (is_writable(e) && mutant != M_RW_UNTYPED)
        return frame_type_get(owner, mfn, TYPE_WRITABLE);
    if (mutant == M_GET_UNCOUNTED && !is_writable(e))
        return ref_may_get(w.frames[mfn.n].ref, owner) ? 0 : -XEN_EBUSY;
    return frame_get(owner, mfn) ? 0 : -XEN_EBUSY;
}

static void entry_put(int level, u8 e)
{
    mfn_t mfn = MFN(target_of(e));

    if (!e)
        return;
    if (level == 2 || (is_writable(e) && mutant != M_RW_UNTYPED)) {
        if (level == 2 || mutant != M_PUT_FORGOTTEN_RW)
            frame_type_put(mfn);
    } else if (mutant != M_PUT_FORGOTTEN_RO && mutant != M_GET_UNCOUNTED) {
        frame_put(mfn);
    }
}

int mmu_validate_table(u16 owner, mfn_t mfn, enum frame_type t)
{
    int level = t - TYPE_L1 + 1;

    /* R1: from here on nobody may change what is being looked at. */
    if (w.writes & 1 << mfn.n)
        violate("C3: a table is validated while it can be written", (int)mfn.n);
    for (int s = 0; s < SLOTS; s++) {
        if (!entry_get(owner, level, w.entry[mfn.n][s]))
            continue;
        for (int k = 0; k < s + (mutant == M_PARTIAL_OVERDROP); k++)
            if (mutant != M_PARTIAL_LEAK)
                entry_put(level, w.entry[mfn.n][k]);
        return -XEN_EINVAL;
    }
    return 0;
}

void mmu_devalidate_table(mfn_t mfn, enum frame_type t)
{
    for (int s = 0; s < SLOTS; s++)
        entry_put(t - TYPE_L1 + 1, w.entry[mfn.n][s]);
}

int mmu_validate_descriptors(mfn_t mfn)
{
    return 0;
}

/* hcall/mmu.c's update_one and mmu_update_entry. */
static void op_update(u16 d, int f, int slot, u8 value)
{
    enum frame_type t = frame_type_of(MFN(f));
    int level = t - TYPE_L1 + 1;
    u8 old;

    if (!type_is_table(t))
        t = TYPE_WRITABLE;
    if (frame_type_get(d, MFN(f), t))
        return;
    old = w.entry[f][slot];
    if (t == TYPE_WRITABLE) {
        w.entry[f][slot] = value;
    } else if (!entry_get(d, level, value)) {
        w.entry[f][slot] = value;
        entry_put(level, old);
    }
    frame_type_put(MFN(f));
}

/* ---- heap and memory hypercalls ---- */

void heap_free_frames(mfn_t mfn, unsigned order)
{
    memset(w.entry[mfn.n], 0, SLOTS);
    w.frames[mfn.n] = (struct frame){0, 0};
    w.freed_unflushed = true;
}

static void op_alloc(u16 d, int f)
{
    struct domain dom = {d};

    if (w.frames[f].ref)
        return;
    if (w.freed_unflushed && mutant != M_ALLOC_NO_FLUSH)
        flush();
    if ((w.writes | w.walks[0] | w.walks[1]) & 1 << f)
        violate("C5: allocated while the CPU remembers it", f);
    memset(w.entry[f], 0, SLOTS);
    frame_assign(&dom, MFN(f), 0);
}

static void op_free(u16 d, int f)
{
    if (mutant == M_FREE_IN_USE && w.frames[f].typ & TYP_INUSE) {
        heap_free_frames(MFN(f), 0);
        return;
    }
    if (!frame_unassign(d, MFN(f)))
        heap_free_frames(MFN(f), 0);
}

static void op_pin(u16 d, int f, enum frame_type t)
{
    if (frame_pin(d, MFN(f), t))
        return;
}

static void op_unpin(u16 d, int f)
{
    int rc = frame_unpin(d, MFN(f));

    if (mutant == M_UNPIN_TWICE && rc && typ_count(w.frames[f].typ) &&
        ref_owner(w.frames[f].ref) == d)
        frame_type_put(MFN(f));
}

static void op_guest_write(int f, int slot, u8 value)
{
    w.entry[f][slot] = value;
}

/* ---- invariants ---- */

static void check_entries(int table, u64 uses[FRAMES][TYPE_SEGDESC], u64 refs[FRAMES])
{
    bool l1 = is_valid(table, TYPE_L1);

    for (int s = 0; s < SLOTS; s++) {
        u8 e = w.entry[table][s];
        int to = target_of(e);

        if (!e)
            continue;
        if (ref_owner(w.frames[to].ref) != ref_owner(w.frames[table].ref) || !w.frames[to].ref)
            violate("C2: a table names a frame of somebody else", table);
        if (!l1 && !is_valid(to, TYPE_L1))
            violate("C2: an L2 names what is not a valid L1", table);
        if (!l1)
            uses[to][TYPE_L1]++;
        else if (is_writable(e))
            uses[to][TYPE_WRITABLE]++;
        else
            refs[to]++;
    }
}

static void check_counts(int f, const u64 uses[TYPE_SEGDESC], u64 refs)
{
    u64 typ = w.frames[f].typ, ref = w.frames[f].ref;

    for (enum frame_type t = TYPE_WRITABLE; t < TYPE_SEGDESC; t++) {
        u64 count = typ_type(typ) == t ? typ_count(typ) : 0;
        u64 pin = typ_type(typ) == t && typ & TYP_PINNED ? 1 : 0;

        if (uses[t] + pin != count)
            violate("C1: the type count is not the number of uses", f);
    }
    refs += (typ & TYP_INUSE ? 1 : 0) + (ref & REF_ALLOCATED ? 1 : 0);
    if (ref_count(ref) != refs)
        violate("C1: the reference count is not the number of references", f);
    if (!frame_check(&w.frames[f]) || typ & TYP_STAMPING)
        violate("C1: frame_check", f);
    if (typ & TYP_INUSE && !(typ & TYP_VALID))
        violate("C1: in use but not valid after the step", f);
}

static void check_world(void)
{
    u64 uses[FRAMES][TYPE_SEGDESC] = {{0}}, refs[FRAMES] = {0};

    for (int f = 0; f < FRAMES; f++)
        if (is_valid(f, TYPE_L1) || is_valid(f, TYPE_L2))
            check_entries(f, uses, refs);
    for (int f = 0; f < FRAMES; f++) {
        int bit = 1 << f;

        check_counts(f, uses[f], refs[f]);
        if (w.writes & bit && (is_valid(f, TYPE_L1) || is_valid(f, TYPE_L2)))
            violate("C3: a valid table can be written", f);
        if ((w.walks[0] | w.walks[1]) & bit && is_valid(f, TYPE_WRITABLE))
            violate("C4: a writable frame is walked as a table", f);
        if ((w.walks[1] & bit && is_valid(f, TYPE_L1)) ||
            (w.walks[0] & bit && is_valid(f, TYPE_L2)))
            violate("C4: a table is walked at another level", f);
    }
}

/* ---- states ---- */

typedef unsigned __int128 key_t128;

/*
 * What a frame holds matters while it is a table or walked as one. Otherwise its owner can write
 * it as it likes: it holds nothing here, and every step that looks at it is tried with all that
 * it might hold.
 */
static bool is_tracked(int f)
{
    u64 typ = w.frames[f].typ;

    return (typ & TYP_INUSE && type_is_table(typ_type(typ))) ||
           (w.walks[0] | w.walks[1]) & 1 << f;
}

/* Allocated, of unknown contents, and not in use: the next use may be as a table. */
static unsigned open_frames(void)
{
    unsigned mask = 0;

    for (int f = 0; f < FRAMES; f++)
        if (w.frames[f].ref && !(w.frames[f].typ & TYP_INUSE) && !is_tracked(f))
            mask |= 1U << f;
    return mask;
}

/* Only whether something was flushed since a stamp matters: clock 1, stamps 0 or 1. */
static void normalise(void)
{
    for (int f = 0; f < FRAMES; f++) {
        u64 *typ = &w.frames[f].typ;

        if (!(*typ & TYP_INUSE))
            *typ = typ_type(*typ) | (typ_stamp(*typ) >= clock_now ? TYP_ONE : 0);
        if (!is_tracked(f))
            memset(w.entry[f], 0, SLOTS);
    }
    clock_now = 1;
}

/* One frame apart from its entries; flags and counts are small, checked by check_world. */
static u64 pack_frame(const struct world *x, int f, bool swap)
{
    u64 ref = x->frames[f].ref, typ = x->frames[f].typ;
    u64 owner = !ref ? 0 : 1 + ((ref_owner(ref) - 1) ^ swap);

    return owner | ref_count(ref) << 2 | (typ & 0x5f) << 6 | (typ >> TYP_SHIFT & 15) << 13 |
           (u64)(x->writes >> f & 1) << 17 | (u64)(x->walks[0] >> f & 1) << 18 |
           (u64)(x->walks[1] >> f & 1) << 19;
}

static u8 rename_entry(u8 e, const u8 *place)
{
    return e ? (u8)(1 + place[target_of(e)] * 2 + !is_writable(e)) : 0;
}

/* The frames in this order, packed ones first: they decide most comparisons. */
static key_t128 pack(const struct world *x, const u8 *order, const u64 frame[FRAMES])
{
    key_t128 key = frame[order[0]] << 40 | frame[order[1]] << 20 | frame[order[2]];
    u8 place[FRAMES];

    for (int i = 0; i < FRAMES; i++)
        place[order[i]] = (u8)i;
    for (int i = 0; i < FRAMES; i++) {
        const u8 *e = x->entry[order[i]];
        u8 a = rename_entry(e[0], place), b = rename_entry(e[1], place);

        /* The slots of a table are alike. */
        key = key << 6 | (u64)MIN(a, b) << 3 | MAX(a, b);
    }
    return key << 1 | x->freed_unflushed;
}

static const u8 orders[6][FRAMES] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2},
                                     {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};

/* The smallest key under all renamings. */
static key_t128 canonical(const struct world *x)
{
    key_t128 best = ~(key_t128)0;

    for (int swap = 0; swap < DOMAINS; swap++) {
        u64 frame[FRAMES];

        for (int f = 0; f < FRAMES; f++)
            frame[f] = pack_frame(x, f, swap);
        for (unsigned o = 0; o < 6; o++) {
            const u8 *i = orders[o];
            key_t128 key;

            if (frame[i[0]] > frame[i[1]] || frame[i[1]] > frame[i[2]])
                continue;
            key = pack(x, i, frame);
            best = MIN(best, key);
        }
    }
    return best;
}

static struct world unpack(key_t128 key)
{
    struct world x = {.freed_unflushed = key & 1};

    key >>= 1;
    for (int f = FRAMES - 1; f >= 0; f--)
        for (int s = SLOTS - 1; s >= 0; s--, key >>= 3)
            x.entry[f][s] = key & 7;
    for (int f = FRAMES - 1; f >= 0; f--, key >>= 20) {
        u64 frame = (u64)key & 0xfffff, owner = frame & 3;

        x.frames[f].ref = owner ? REF_OWNER(owner) | REF_ALLOCATED | (frame >> 2 & 15) : 0;
        x.frames[f].typ = (frame >> 6 & 0x5f) | (frame >> 13 & 15) << TYP_SHIFT;
        x.writes |= (frame >> 17 & 1) << f;
        x.walks[0] |= (frame >> 18 & 1) << f;
        x.walks[1] |= (frame >> 19 & 1) << f;
    }
    return x;
}

/* ---- the search: a queue that is also the set's storage, and a table of indices into it ---- */

#define TABLE_BITS 23
#define MAX_STATES (1U << (TABLE_BITS - 1))

static key_t128 *queue;
static u32 *table;
static u32 nr_states;
static u64 nr_steps;

static void remember(void)
{
    key_t128 key;
    u64 h;

    normalise();
    key = canonical(&w);
    h = ((u64)key ^ (u64)(key >> 64) * 0x9e3779b97f4a7c15UL) * 0xd6e8feb86659fd93UL;
    h >>= 64 - TABLE_BITS;
    while (table[h]) {
        if (queue[table[h] - 1] == key)
            return;
        h = (h + 1) & ((1U << TABLE_BITS) - 1);
    }
    if (nr_states == MAX_STATES) {
        fprintf(stderr, "frame_model: more states than fit\n");
        exit(1);
    }
    queue[nr_states] = key;
    table[h] = ++nr_states;
}

/* Step number n of all that can happen; false when there is none. */
enum {
    STEP_ALLOC,
    STEP_FREE,
    STEP_PIN1,
    STEP_PIN2,
    STEP_UNPIN,
    STEP_UPDATE,
    STEP_WRITE,
    STEP_FLUSH
};

struct step {
    u8 op, d, f, slot, value;
};

static struct step steps[256];
static unsigned nr_step_kinds;

static void add_step(u8 op, u8 d, u8 f, u8 slot, u8 value)
{
    steps[nr_step_kinds++] = (struct step){op, d, f, slot, value};
}

static void list_steps(void)
{
    for (u8 f = 0; f < FRAMES; f++) {
        for (u8 d = 1; d <= DOMAINS; d++) {
            for (u8 op = STEP_ALLOC; op <= STEP_UNPIN; op++)
                add_step(op, d, f, 0, 0);
            for (u8 i = 0; i < SLOTS * VALUES; i++)
                add_step(STEP_UPDATE, d, f, i % SLOTS, i / SLOTS);
        }
        for (u8 i = 0; i < SLOTS * VALUES; i++)
            add_step(STEP_WRITE, 0, f, i % SLOTS, i / SLOTS);
    }
    add_step(STEP_FLUSH, 0, 0, 0, 0);
}

static void perform(const struct step *s)
{
    switch (s->op) {
    case STEP_ALLOC:
        op_alloc(s->d, s->f);
        break;
    case STEP_FREE:
        op_free(s->d, s->f);
        break;
    case STEP_PIN1:
    case STEP_PIN2:
        op_pin(s->d, s->f, s->op == STEP_PIN1 ? TYPE_L1 : TYPE_L2);
        break;
    case STEP_UNPIN:
        op_unpin(s->d, s->f);
        break;
    case STEP_UPDATE:
        op_update(s->d, s->f, s->slot, s->value);
        break;
    case STEP_WRITE:
        if (w.writes & 1 << s->f)
            op_guest_write(s->f, s->slot, s->value);
        break;
    default:
        flush();
    }
}

static unsigned named_in(int f)
{
    unsigned mask = 0;

    for (int s = 0; s < SLOTS; s++)
        if (w.entry[f][s])
            mask |= 1U << target_of(w.entry[f][s]);
    return mask;
}

/* The frames whose contents the step looks at, first those of the table it names. */
static unsigned looks_at(const struct step *s)
{
    unsigned self = 1U << s->f, open = open_frames();

    if (s->op == STEP_PIN1)
        return open & self;
    if (s->op == STEP_PIN2)
        return open & self ? self : open & named_in(s->f);
    if (s->op == STEP_UPDATE && s->value && is_valid(s->f, TYPE_L2))
        return open & 1U << target_of(s->value);
    return 0;
}

/* The step from this world, with all that the frames in 'mask' might hold. */
static void try_step(const struct world *from, const struct step *s, unsigned mask)
{
    int f = __builtin_ctz(mask | 1U << FRAMES);

    w = *from;
    clock_now = 1;
    if (!mask) {
        nr_steps++;
        perform(s);
        cpu_learn();
        if (!memcmp(&w, from, sizeof(w)))
            return;
        check_world();
        remember();
        return;
    }
    for (u8 i = 0; i < VALUES * VALUES; i++) {
        struct world x = *from;
        unsigned rest = mask & ~(1U << f);

        x.entry[f][0] = i / VALUES;
        x.entry[f][1] = i % VALUES;
        w = *from;
        if (s->op == STEP_PIN2 && f == s->f) {
            rest = open_frames() & ~(1U << f);
            w = x;
            rest &= named_in(f);
        }
        try_step(&x, s, rest);
    }
}

/* True when the whole world was seen and no rule broken. */
static bool explore(void)
{
    memset(table, 0, sizeof(*table) << TABLE_BITS);
    nr_states = 0;
    nr_steps = 0;
    w = (struct world){0};
    clock_now = 1;
    if (setjmp(violated))
        return false;
    remember();
    for (u32 i = 0; i < nr_states; i++) {
        struct world from = unpack(queue[i]);

        for (unsigned n = 0; n < nr_step_kinds; n++) {
            w = from;
            try_step(&from, &steps[n], looks_at(&steps[n]));
        }
    }
    return true;
}

int main(void)
{
    bool all_ok = true;

    m2p = m2p_words;
    queue = malloc(sizeof(*queue) * MAX_STATES);
    table = malloc(sizeof(*table) << TABLE_BITS);
    if (!queue || !table)
        return 1;
    list_steps();
    printf("1..%d\n", NR_MUTANTS);
    for (int m = 0; m < NR_MUTANTS; m++) {
        clock_t start = clock();
        bool sound, ok;

        mutant = (enum mutant)m;
        sound = explore();
        ok = sound == (m == M_NONE);
        all_ok &= ok;
        printf("%s %d - frame_model %s: %s\n", ok ? "ok" : "not ok", m + 1, mutants[m].name,
               mutants[m].text);
        printf("# %s; %u states, %lu steps, %.1f s\n", sound ? "no rule broken" : violation,
               nr_states, nr_steps, (double)(clock() - start) / CLOCKS_PER_SEC);
        fflush(stdout);
    }
    return all_ok ? 0 : 1;
}
