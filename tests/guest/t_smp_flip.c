/*
 * The race between a frame's type and old translations of it (XSA-401, 408, 241, 242).
 *
 * Vcpu 0 flips frames: plain, then page table, then plain again. The others each take a few
 * frames, map them writable, write, and unmap them without a flush, so that their TLB may still
 * hold a writable translation. Then they store a poisonous entry through it whenever the frame
 * is a table. The hypervisor must have flushed before the frame became one: then the store
 * faults. A store that does not, while the frame was a table all the time, is a hole.
 *
 * gen[i] is odd while frame i is known to be a table: it turns odd after the frame was pinned
 * and even before it is unpinned. A writer that sees the same odd value before and after its
 * store has written into a live table. Vcpu 0 looks for the poison itself as well.
 *
 * flips=N on the command line: how many. More vcpus than the host has CPUs make it slow.
 */
#include "guest.h"

#define FRAMES  640 /* more than vcpu 0 keeps pinned and the writers hold, together */
#define BATCH   128 /* pinned by one call, at most */
#define LAG     3   /* batches that stay pinned */
#define HELD    16  /* frames one writer holds */
#define WORD(c) ((c)->id * 8)

#define FOR_A_WHILE ~0UL /* as a goal: until poison is found or time is up */
/* It maps a page of the local APIC: a table that holds it cannot be pinned. */
#define POISON      (0xfee00000UL | PTE_KERN)

enum kind { PRETENDED, AS_L1, AS_LIVE_L1, AS_L2, AS_L3, KINDS };
static const char *const kind_names[KINDS] = {"pretended", "L1, pinned", "L1, linked",
                                              "L2, pinned", "L3, pinned"};

static u64 *frames[FRAMES]; /* each mapped read-only at its own address */
static u64 maddrs[FRAMES];
static volatile u32 gen[FRAMES] __attribute__((aligned(64)));
/* Hints, to keep most of the requests good: who has the frame, or is about to. */
static volatile u32 held[FRAMES] __attribute__((aligned(64)));
static volatile u8 claimed[FRAMES] __attribute__((aligned(64)));
static struct slot slots[MAX_CPUS][HELD];
static u64 links[2]; /* machine addresses of the L2 tables that AS_LIVE_L1 fills */
static volatile bool over;
static volatile u64 turn; /* of vcpu 0 */
static enum kind kind;
static unsigned n_cpus;
/* Frames a writer has just let go, with their translations still in its TLB. */
static struct {
    volatile u32 count; /* 0: taken by vcpu 0 */
    unsigned list[HELD];
} fresh[MAX_CPUS] __attribute__((aligned(64)));

static struct {
    u64 flips, busy, cleaned, poison;
} flips;
static struct {
    volatile u64 rounds, mapped, refused, stores, stopped, holes;
} __attribute__((aligned(128))) writers[MAX_CPUS];

/* --- the writers --- */

static unsigned choose(struct cpu *c, unsigned *list)
{
    unsigned n = 0, from = smp_rand(c) % FRAMES;

    for (unsigned k = 0; k < FRAMES && n < HELD; k++) {
        unsigned i = (from + k) % FRAMES;

        if ((gen[i] & 1) || (claimed[i] && (smp_rand(c) & 63)))
            continue;
        __atomic_fetch_add(&held[i], 1, __ATOMIC_RELAXED);
        list[n++] = i;
    }
    return n;
}

/* What an entry's slot held before is flushed here, so that each slot means one frame. */
static void map_writable(struct cpu *c, const unsigned *list, unsigned n)
{
    struct mmu_update req[HELD];

    for (unsigned k = 0; k < n; k++) {
        req[k].ptr = slots[c->id][k].maddr;
        req[k].val = maddrs[list[k]] | PTE_KERN;
    }
    for (unsigned at = 0; at < n; at++) {
        u32 done = 0;

        if (!hc_mmu_update(req + at, n - at, &done, DOMID_SELF))
            break;
        /* That one has become a table meanwhile: its slot stays empty. */
        at += done;
        writers[c->id].refused++;
    }
    mmuext(MMUEXT_TLB_FLUSH_LOCAL, 0, 0);
}

/* Loads the writable translations; a bit for each slot that has one. */
static u32 touch(struct cpu *c, unsigned n)
{
    u32 loaded = 0;

    for (unsigned k = 0; k < n; k++) {
        u64 va = slots[c->id][k].va + WORD(c) * 8;

        if (EX_ON(c, "movq $0, (%0)", : : "r"(va) : "memory") == VEC_NONE) {
            loaded |= 1 << k;
            writers[c->id].mapped++;
        }
    }
    return loaded;
}

static void let_go(struct cpu *c, const unsigned *list, unsigned n)
{
    struct mmu_update req[HELD];
    u32 done = 0;

    for (unsigned k = 0; k < n; k++) {
        req[k].ptr = slots[c->id][k].maddr;
        req[k].val = 0;
    }
    if (n && hc_mmu_update(req, n, &done, DOMID_SELF))
        c->bad++;
    for (unsigned k = 0; k < n; k++)
        __atomic_fetch_sub(&held[list[k]], 1, __ATOMIC_RELAXED);
    if (fresh[c->id].count)
        return;
    memcpy(fresh[c->id].list, list, n * sizeof(*list));
    __atomic_store_n(&fresh[c->id].count, n, __ATOMIC_RELEASE);
}

/* True when nothing more is to be learnt from this frame. */
static bool try_poison(struct cpu *c, unsigned i, u64 va)
{
    u32 before = gen[i];

    if (!(before & 1))
        return false;
    writers[c->id].stores++;
    if (EX_ON(c, "movq %0, (%1)", : : "r"(POISON), "r"(va) : "memory") != VEC_NONE) {
        writers[c->id].stopped++;
        return true;
    }
    if (gen[i] == before)
        writers[c->id].holes++;
    return false;
}

/* Mostly until vcpu 0 must have seen the frames; sometimes less, for other interleavings. */
static void use_stale(struct cpu *c, const unsigned *list, u32 open)
{
    u64 from = turn, spins = (smp_rand(c) & 7) ? ~0UL : smp_rand(c) & 1023;

    for (; open && spins && turn - from < LAG && !over; spins--)
        for (u32 rest = open; rest; rest &= rest - 1) {
            unsigned k = __builtin_ctz(rest);

            if (try_poison(c, list[k], slots[c->id][k].va + WORD(c) * 8))
                open &= ~(1 << k);
        }
}

static void writer(struct cpu *c)
{
    unsigned list[HELD];

    while (!over) {
        unsigned n = choose(c, list);
        u32 loaded;

        map_writable(c, list, n);
        loaded = touch(c, n);
        let_go(c, list, n);
        use_stale(c, list, loaded);
        writers[c->id].rounds++;
    }
}

/* --- vcpu 0 --- */

struct batch {
    unsigned n, list[BATCH];
};

static long promote(const unsigned *list, unsigned n, u32 *done)
{
    struct mmuext_op ops[BATCH];
    struct mmu_update req[BATCH];

    for (unsigned k = 0; k < n; k++) {
        unsigned level = kind == AS_L2 ? 2 : kind == AS_L3 ? 3 : 1;

        if (kind == PRETENDED)
            return 0;
        ops[k].cmd = MMUEXT_PIN_L1_TABLE + level - 1;
        ops[k].arg1.mfn = maddrs[list[k]] >> 12;
        req[k].ptr = links[list[k] / 512] + list[k] % 512 * 8;
        req[k].val = maddrs[list[k]] | PTE_KERN;
    }
    if (kind == AS_LIVE_L1)
        return hc_mmu_update(req, n, done, DOMID_SELF);
    return hc_mmuext(ops, n, done, DOMID_SELF);
}

static long demote(const unsigned *list, unsigned n)
{
    struct mmuext_op ops[BATCH];
    struct mmu_update req[BATCH];
    u32 done = 0;

    for (unsigned k = 0; k < n; k++) {
        if (kind == PRETENDED)
            return 0;
        ops[k].cmd = MMUEXT_UNPIN_TABLE;
        ops[k].arg1.mfn = maddrs[list[k]] >> 12;
        req[k].ptr = links[list[k] / 512] + list[k] % 512 * 8;
        req[k].val = 0;
    }
    if (kind == AS_LIVE_L1)
        return hc_mmu_update(req, n, &done, DOMID_SELF);
    return hc_mmuext(ops, n, &done, DOMID_SELF);
}

static bool has_poison(unsigned i)
{
    bool found = false;

    for (unsigned id = 1; id < n_cpus; id++)
        found |= *(volatile u64 *)&frames[i][WORD(&cpus[id])] != 0;
    return found;
}

/* A store that came too late for the last flip left its poison in a plain frame. */
static void clean(unsigned i)
{
    if (has_poison(i) && !mmuext(MMUEXT_CLEAR_PAGE, maddrs[i] >> 12, 0))
        flips.cleaned++;
}

static unsigned add(unsigned *want, unsigned n, unsigned i)
{
    if (n == BATCH || claimed[i] || (gen[i] & 1))
        return n;
    claimed[i] = 1;
    want[n] = i;
    return n + 1;
}

static bool any_fresh(void)
{
    for (unsigned id = 1; id < n_cpus; id++)
        if (fresh[id].count)
            return true;
    return false;
}

/* First what the writers have just let go, then others, now and then one that is mapped. */
static unsigned choose_batch(unsigned *want, unsigned *next)
{
    unsigned n = 0, size = 1 + smp_rand(&cpus[0]) % BATCH;

    for (unsigned wait = 0; wait < 200 && !any_fresh(); wait++)
        asm volatile("pause" : : : "memory");
    for (unsigned id = 1; id < n_cpus; id++) {
        unsigned count = __atomic_load_n(&fresh[id].count, __ATOMIC_ACQUIRE);

        for (unsigned k = 0; k < count; k++)
            n = add(want, n, fresh[id].list[k]);
        __atomic_store_n(&fresh[id].count, 0, __ATOMIC_RELEASE);
    }
    for (unsigned tries = 0; n < size && tries < FRAMES; tries++) {
        unsigned i = (*next)++ % FRAMES;

        if (!held[i] || (smp_rand(&cpus[0]) & 63) == 0)
            n = add(want, n, i);
    }
    return n;
}

static void pin_batch(struct batch *b, unsigned *next)
{
    unsigned want[BATCH], n = choose_batch(want, next);

    b->n = 0;
    for (unsigned at = 0; at < n;) {
        u32 done = 0;
        long rc = promote(want + at, n - at, &done);
        unsigned good = rc ? done : n - at;

        for (unsigned k = 0; k < good; k++) {
            b->list[b->n++] = want[at + k];
            __atomic_fetch_add(&gen[want[at + k]], 1, __ATOMIC_SEQ_CST);
        }
        at += good;
        if (rc) {
            flips.busy++;
            clean(want[at]);
            claimed[want[at++]] = 0;
        }
    }
}

static void unpin_batch(struct batch *b)
{
    for (unsigned k = 0; k < b->n; k++) {
        flips.poison += has_poison(b->list[k]);
        __atomic_fetch_add(&gen[b->list[k]], 1, __ATOMIC_SEQ_CST);
    }
    if (b->n && demote(b->list, b->n))
        die("a table cannot be let go");
    for (unsigned k = 0; k < b->n; k++)
        claimed[b->list[k]] = 0;
    flips.flips += b->n;
    b->n = 0;
}

static bool all_tried(void)
{
    for (unsigned i = 1; i < n_cpus; i++)
        if (!writers[i].stores)
            return false;
    return true;
}

static void flip(u64 goal)
{
    static struct batch ring[LAG];
    unsigned next = 0, at = 0;
    u64 end = clock_ns() + (goal == FOR_A_WHILE ? 30000000000 : 3600000000000);

    while ((flips.flips < goal || !all_tried()) && !flips.poison && clock_ns() < end) {
        unpin_batch(&ring[at]);
        pin_batch(&ring[at], &next);
        at = (at + 1) % LAG;
        turn++;
    }
    for (unsigned k = 0; k < LAG; k++)
        unpin_batch(&ring[k]);
}

/* --- the checks --- */

static u64 sum_holes, sum_stores, sum_stopped;

static void add_up(unsigned n)
{
    sum_holes = sum_stores = sum_stopped = 0;
    for (unsigned i = 1; i < n; i++) {
        sum_holes += writers[i].holes;
        sum_stores += writers[i].stores;
        sum_stopped += writers[i].stopped;
        if (kind == AS_L1)
            note("vcpu %u: %lu rounds, %lu mapped, %lu refused, %lu stores, %lu stopped", i,
                 (u64)writers[i].rounds, (u64)writers[i].mapped, (u64)writers[i].refused,
                 (u64)writers[i].stores, (u64)writers[i].stopped);
    }
}

/* False when poison got into a table: what follows would say no more. */
static bool one_kind(enum kind k, unsigned n, u64 goal)
{
    u64 t = clock_ns();

    kind = k;
    over = false;
    memset((void *)&flips, 0, sizeof(flips));
    memset((void *)writers, 0, sizeof(writers));
    for (unsigned i = 1; i < n; i++)
        smp_begin(i, writer);
    flip(goal);
    over = true;
    for (unsigned i = 1; i < n; i++)
        smp_finish(i, "a writer's end");
    t = (clock_ns() - t) / 1000 + 1;
    add_up(n);
    note("%s: %lu flips, %lu a second; %lu refused, %lu cleaned; %lu stores, %lu stopped",
         kind_names[k], flips.flips, flips.flips * 1000000 / t, flips.busy, flips.cleaned,
         sum_stores, sum_stopped);
    if (k == PRETENDED)
        return true;
    is(sum_holes, 0, "%s: no store reached a live table", kind_names[k]);
    is(flips.poison, 0, "%s: no poison was found", kind_names[k]);
    if (sum_holes || flips.poison)
        return false;
    ok(flips.flips >= goal, "%s: %lu flips", kind_names[k], goal);
    return ok(all_tried(), "%s: the writers tried (%lu)", kind_names[k], sum_stores);
}

/*
 * The test of the test: frames that only we call tables. No flush comes, and the stores must
 * get through, or the rest would show nothing.
 */
static void without_flush(unsigned n)
{
    one_kind(PRETENDED, n, FOR_A_WHILE);
    ok(sum_holes || flips.poison, "stores get through where nobody flushes");
    for (unsigned i = 0; i < FRAMES; i++)
        clean(i);
}

static void prepare(unsigned n)
{
    for (unsigned i = 0; i < FRAMES; i++) {
        frames[i] = page_alloc();
        maddrs[i] = maddr_of(frames[i]);
        if (set_ro(frames[i]))
            die("a frame cannot be mapped read-only");
    }
    for (unsigned i = 1; i < n; i++)
        for (unsigned k = 0; k < HELD; k++)
            slots[i][k] = smp_slot(i * HELD + k);
    for (unsigned i = 0; i < 2; i++) {
        u64 va = 0x60000000000 + (i << 30);

        pte_make(l4_table(), va);
        mmu_write(pte_at(va, 2), 0);
        links[i] = maddr_of(pte_at(va, 2));
    }
}

void test_smp_flip(void)
{
    unsigned n = smp_present(), bad = 0;
    u64 goal = option_number("flips", 300000);

    n_cpus = n;
    smp_start(n);
    prepare(n);
    without_flush(n);
    if (!one_kind(AS_L1, n, goal) || !one_kind(AS_LIVE_L1, n, goal / 32) ||
        !one_kind(AS_L2, n, goal / 16) || !one_kind(AS_L3, n, goal / 16))
        return;
    for (unsigned i = 0; i < FRAMES; i++) {
        bad += set_rw(frames[i]) != 0;
        bad += !smp_exchangeable(frames[i]);
    }
    is(bad, 0, "no frame has a reference left");
    is(smp_sum_bad(n), 0, "no mapping failed to go");
    ok(tables_are_readonly(), "no table is mapped writable");
}
