/*
 * Several vcpus at once at what must stay whole: one entry, one table, one frame, one request.
 * Calls may fail as they like; what is checked is that types exclude each other, that no table
 * is ever writable, and that in the end no frame has a reference too many or too few.
 */
#include "guest.h"

#define FRAMES 8

static unsigned n_cpus;
static unsigned rounds; /* of what interrupts no other vcpu; of the rest: */
#define FLUSHING (rounds / 40)
static u64 *data[FRAMES]; /* plain pages, mapped nowhere but at their own address */
static u64 mfns[FRAMES];  /* theirs */
static struct barrier meet;

/*
 * Fights go on until the slowest vcpu has had its rounds, however the host shares out its CPUs:
 * `for (start_rounds(c); more_rounds(c, n);)`.
 */
static volatile u64 turns[MAX_CPUS][8];

static void start_rounds(struct cpu *c)
{
    turns[c->id][0] = 0;
    smp_barrier(c, &meet, n_cpus);
}

static bool more_rounds(struct cpu *c, u64 n)
{
    static u64 end[MAX_CPUS];
    u64 mine = turns[c->id][0]++;

    if (mine == 0)
        end[c->id] = smp_clock(c) + 90000000000;
    if ((mine & 255) == 255 && smp_clock(c) > end[c->id])
        die("a vcpu gets no rounds");
    for (unsigned i = 0; i < n_cpus; i++)
        if (turns[i][0] <= n)
            return true;
    return false;
}

static long reservation(void)
{
    domid_t self = DOMID_SELF;

    return hc_memory(XENMEM_current_reservation, &self);
}

static u64 any_frame(struct cpu *c)
{
    return mfns[smp_rand(c) % FRAMES];
}

static u64 any_pte(struct cpu *c)
{
    static const u64 flags[] = {PTE_KERN, PTE_RO, PTE_KERN | PTE_NX, 0};
    u64 f = flags[smp_rand(c) & 3];

    return f ? any_frame(c) << 12 | f : 0;
}

/* After a fight each data page must be free of references; then it has a new frame. */
static void frames_are_free(const char *what)
{
    unsigned bad = 0;

    for (unsigned i = 0; i < FRAMES; i++) {
        bad += !smp_exchangeable(data[i]);
        mfns[i] = mfn_of(data[i]);
    }
    is(bad, 0, "%s: no frame has a reference left", what);
}

static unsigned release(void *table)
{
    unpin(table);
    if (set_rw(table))
        return 1;
    memset(table, 0, PAGE_SIZE);
    return !smp_exchangeable(table);
}

/* --- one entry --- */

static struct slot slot;

static void fight_for_a_slot(struct cpu *c)
{
    u64 pte;

    for (start_rounds(c); more_rounds(c, rounds);) {
        pte = any_pte(c);
        if (smp_rand(c) & 1)
            c->bad += mmu_write_type(slot.maddr, pte,
                                     smp_rand(c) & 1 ? MMU_NORMAL_PT_UPDATE
                                                     : MMU_PT_UPDATE_PRESERVE_AD,
                                     DOMID_SELF) != 0;
        else
            c->bad += hc_update_va((void *)slot.va, pte, UVMF_INVLPG) != 0;
        c->good++;
    }
}

static void one_slot(void)
{
    slot = smp_slot(3);
    smp_all(n_cpus, fight_for_a_slot, "updates of one entry");
    ok(smp_sum_good(n_cpus) >= n_cpus * rounds, "updates of one entry by all");
    is(smp_sum_bad(n_cpus), 0, "all are good");
    is(hc_update_va((void *)slot.va, 0, UVMF_TLB_FLUSH | UVMF_ALL), 0, "it is cleared");
    frames_are_free("one entry");
}

/* --- one table, used and dropped: XSA-242 --- */

static struct {
    void *table[2];
    u64 maddr[2], va, l2e_maddr;
} way;

static void update_below(struct cpu *c)
{
    for (start_rounds(c); more_rounds(c, FLUSHING * 2);) {
        u64 va = way.va + (smp_rand(c) & 3) * PAGE_SIZE;

        c->count += hc_update_va((void *)va, any_pte(c), UVMF_NONE) == 0;
        c->good++;
    }
}

static void swap_tables(struct cpu *c)
{
    for (start_rounds(c); more_rounds(c, FLUSHING * 2);) {
        unsigned i = smp_rand(c) & 1;

        switch (smp_rand(c) & 3) {
        case 0:
            mmuext(MMUEXT_PIN_L1_TABLE, way.maddr[i] >> 12, 0);
            break;
        case 1:
            mmuext(MMUEXT_UNPIN_TABLE, way.maddr[i] >> 12, 0);
            break;
        case 2:
            c->bad +=
                mmu_write_type(way.l2e_maddr, way.maddr[i] | PTE_KERN, 0, DOMID_SELF) != 0;
            break;
        default:
            c->bad += mmu_write_type(way.l2e_maddr, 0, 0, DOMID_SELF) != 0;
        }
    }
}

static void swap_or_update(struct cpu *c)
{
    (c->id == 0 ? swap_tables : update_below)(c);
}

static void vanishing_table(void)
{
    u64 done = 0;
    unsigned bad = 0;

    way.va = 0x63000000000;
    way.table[0] = (void *)((u64)pte_make(l4_table(), way.va) & ~(PAGE_SIZE - 1));
    way.table[1] = page_alloc();
    set_ro(way.table[1]);
    for (unsigned i = 0; i < 2; i++)
        way.maddr[i] = maddr_of(way.table[i]);
    way.l2e_maddr = maddr_of(pte_at(way.va, 2));
    smp_all(n_cpus, swap_or_update, "updates below a vanishing table");
    for (unsigned i = 1; i < n_cpus; i++)
        done += cpus[i].count;
    ok(done > 0, "update_va_mapping below a table that comes and goes (%lu of %lu good)", done,
       smp_sum_good(n_cpus));
    is(smp_sum_bad(n_cpus), 0, "the table can be linked and unlinked all the time");
    is(mmu_write_type(way.l2e_maddr, 0, 0, DOMID_SELF), 0, "it goes for good");
    for (unsigned i = 0; i < 2; i++)
        bad += release(way.table[i]);
    is(bad, 0, "both tables are free again");
    frames_are_free("vanishing table");
}

/* --- one tree, pinned by all --- */

static void *tree[5]; /* by level */
static u64 tree_maddr[5];
static volatile long pins[5];

/* Validation takes a while: all entries are in use. */
static void plant(void)
{
    for (unsigned level = 1; level < 5; level++) {
        u64 below = level == 1 ? mfns[0] << 12 : tree_maddr[level - 1], *t = page_alloc();

        for (unsigned n = 0; n < (level == 4 ? 256 : 512); n++)
            t[n] = below | PTE_KERN;
        tree[level] = t;
        tree_maddr[level] = maddr_of(t);
        set_ro(t);
        pins[level] = 0;
    }
}

static void pin_and_unpin(struct cpu *c)
{
    for (start_rounds(c); more_rounds(c, FLUSHING * 2);) {
        unsigned level = 1 + smp_rand(c) % 4,
                 as = smp_rand(c) & 7 ? level : 1 + smp_rand(c) % 4;
        u64 entry = tree_maddr[level] + smp_rand(c) % 256 * 8;
        u64 below = level == 1 ? any_pte(c) : tree_maddr[level - 1] | PTE_KERN;

        switch (smp_rand(c) & 3) {
        case 0:
            if (!mmuext(MMUEXT_PIN_L1_TABLE + as - 1, tree_maddr[level] >> 12, 0))
                __atomic_fetch_add(&pins[level], 1, __ATOMIC_SEQ_CST);
            break;
        case 1:
            if (!mmuext(MMUEXT_UNPIN_TABLE, tree_maddr[level] >> 12, 0))
                __atomic_fetch_sub(&pins[level], 1, __ATOMIC_SEQ_CST);
            break;
        case 2:
            c->good += mmu_write_type(entry, below, 0, DOMID_SELF) == 0;
            break;
        default:
            c->good += mmu_write_type(entry, smp_rand(c) & 3 ? below : 0, 0, DOMID_SELF) == 0;
        }
    }
}

static void one_tree(void)
{
    unsigned bad = 0, odd = 0;

    plant();
    smp_all(n_cpus, pin_and_unpin, "pins of one tree");
    note("%lu updates were good", smp_sum_good(n_cpus));
    for (unsigned level = 4; level > 0; level--) {
        odd += pins[level] < 0 || pins[level] > 1;
        bad += (unpin(tree[level]) == 0) != (pins[level] == 1);
    }
    is(odd, 0, "pins and unpins of one tree by all: each is counted once");
    is(bad, 0, "what is pinned in the end is what was");
    /* From the top, so that nothing above holds a table. */
    for (unsigned level = 4; level > 0; level--)
        bad += release(tree[level]);
    is(bad, 0, "the tables are free again");
    frames_are_free("one tree");
    for (unsigned level = 1; level < 5; level++)
        page_free(tree[level]);
}

/* --- one frame, wanted as different things --- */

enum use { WRITTEN, TABLE, DESCRIPTORS, USES };
static volatile u32 used_as[USES]; /* by how many vcpus; raised after, lowered before */

static bool take_as(struct cpu *c, enum use use, u64 mfn, u64 va)
{
    u64 list[1] = {mfn};

    if (use == WRITTEN)
        return !hc_update_va((void *)va, mfn << 12 | PTE_KERN, UVMF_INVLPG);
    if (use == TABLE)
        return !mmuext(MMUEXT_PIN_L1_TABLE + smp_rand(c) % 3, mfn, 0);
    return !hc_set_gdt(list, 512);
}

static void leave_as(enum use use, u64 mfn, u64 va)
{
    long rc = use == WRITTEN ? hc_update_va((void *)va, 0, UVMF_INVLPG)
              : use == TABLE ? mmuext(MMUEXT_UNPIN_TABLE, mfn, 0)
                             : hc_set_gdt(NULL, 0);

    if (rc)
        die("a use cannot be ended");
}

static struct slot own_slot[MAX_CPUS];

static void fight_for_a_type(struct cpu *c)
{
    for (start_rounds(c); more_rounds(c, FLUSHING * 4);) {
        enum use use = smp_rand(c) % USES;
        u64 va = own_slot[c->id].va;

        if (!take_as(c, use, mfns[0], va))
            continue;
        __atomic_fetch_add(&used_as[use], 1, __ATOMIC_SEQ_CST);
        for (unsigned other = 0; other < USES; other++)
            c->bad += other != use && used_as[other];
        if (use == WRITTEN)
            c->bad += EX_ON(c, "movq $0, (%0)", : : "r"(va) : "memory") != VEC_NONE;
        c->good++;
        __atomic_fetch_sub(&used_as[use], 1, __ATOMIC_SEQ_CST);
        leave_as(use, mfns[0], va);
    }
}

static void one_frame(void)
{
    for (unsigned i = 0; i < n_cpus; i++)
        own_slot[i] = smp_slot(20 + i);
    hc_update_va(data[0], 0, UVMF_TLB_FLUSH | UVMF_ALL);
    smp_all(n_cpus, fight_for_a_type, "uses of one frame");
    ok(smp_sum_good(n_cpus) > 0, "one frame, taken as data, table, descriptors (%lu times)",
       smp_sum_good(n_cpus));
    is(smp_sum_bad(n_cpus), 0, "is never two of them at once");
    is(set_rw(data[0]), 0, "it is free again");
    frames_are_free("one frame");
}

/* --- one frame, exchanged while others use it: XSA-287 --- */

static volatile u64 target;         /* the mfn */
static volatile u64 hold[MAX_CPUS]; /* mfn and a count, while the vcpu surely has it mapped */
static volatile bool over;

static void delay(u64 n)
{
    for (; n; n--)
        asm volatile("" : : : "memory");
}

static void grab(struct cpu *c)
{
    u64 va = own_slot[c->id].va;

    for (start_rounds(c); more_rounds(c, FLUSHING) || !over;) {
        u64 mfn = target;

        delay(smp_rand(c) & 8191); /* the exchange needs a chance */
        if (smp_rand(c) & 1) {
            if (!mmuext(MMUEXT_PIN_L1_TABLE + smp_rand(c) % 3, mfn, 0))
                mmuext(MMUEXT_UNPIN_TABLE, mfn, 0);
            mmuext(MMUEXT_CLEAR_PAGE, mfn, 0);
            continue;
        }
        if (hc_update_va((void *)va, mfn << 12 | PTE_KERN, UVMF_INVLPG))
            continue;
        c->good++;
        hold[c->id] = mfn << 20 | (c->good & 0xfffff);
        delay(smp_rand(c) & 1023);
        hold[c->id] = 0;
        c->bad += hc_update_va((void *)va, 0, UVMF_INVLPG) != 0;
    }
}

static void exchange_once(struct cpu *c, u64 pfn)
{
    u64 before[MAX_CPUS], mfn = target, out = pfn;
    struct xen_memory_exchange ex = {.in = {.nr_extents = 1, .domid = DOMID_SELF},
                                     .out = {.nr_extents = 1, .domid = DOMID_SELF}};

    set_xen_guest_handle(ex.in.extent_start, &mfn);
    set_xen_guest_handle(ex.out.extent_start, &out);
    for (unsigned i = 1; i < n_cpus; i++)
        before[i] = hold[i];
    if (hc_memory(XENMEM_exchange, &ex) || ex.nr_exchanged != 1)
        return;
    for (unsigned i = 1; i < n_cpus; i++)
        c->count += before[i] >> 20 == mfn && hold[i] == before[i];
    c->count += m2p(out) != pfn;
    c->good++;
    target = out;
}

static void exchange_or_grab(struct cpu *c)
{
    u64 end;

    if (c->id) {
        grab(c);
        return;
    }
    end = smp_clock(c) + 10000000000;
    for (start_rounds(c); more_rounds(c, FLUSHING) || (c->good < 20 && smp_clock(c) < end);)
        exchange_once(c, pfn_of(data[0]));
    over = true;
}

static void exchanged_frame(void)
{
    u64 stolen, pfn = pfn_of(data[0]);

    hc_update_va(data[0], 0, UVMF_TLB_FLUSH | UVMF_ALL);
    target = mfns[0];
    over = false;
    smp_all(n_cpus, exchange_or_grab, "users of a frame that is exchanged");
    stolen = cpus[0].count;
    ok(cpus[0].good > 0, "a frame was exchanged %lu times, mapped %lu times", (u64)cpus[0].good,
       smp_sum_good(n_cpus) - cpus[0].good);
    is(stolen, 0, "never while it was mapped");
    is(smp_sum_bad(n_cpus), 0, "each mapping could be removed");
    mfns[0] = ((u64 *)start->mfn_list)[pfn] = target;
    is(set_rw(data[0]), 0, "it is mapped at its place again");
    frames_are_free("exchange");
}

/* --- top tables --- */

static u64 tops[MAX_CPUS];         /* mfns of tables that differ at one address */
static u64 top_va = 0x6a000000000; /* its L4 slot is used for nothing else */

static void change_tops(struct cpu *c)
{
    for (start_rounds(c); more_rounds(c, rounds / 4);) {
        unsigned i = smp_rand(c) % n_cpus;
        u64 got = ~0UL;

        switch (smp_rand(c) & 3) {
        case 0:
            mmuext(MMUEXT_PIN_L4_TABLE, tops[i], 0);
            break;
        case 1:
            mmuext(MMUEXT_UNPIN_TABLE, tops[i], 0);
            break;
        case 2:
            c->count += mmuext(MMUEXT_NEW_USER_BASEPTR, smp_rand(c) & 1 ? tops[i] : 0, 0) != 0;
            break;
        default:
            if (mmuext(MMUEXT_NEW_BASEPTR, tops[i], 0)) {
                c->count++;
                break;
            }
            if (EX_ON(c, "movq (%1), %0",
                      : "+r"(got)
                      : "r"(top_va)
                      : "memory") != VEC_NONE ||
                got != i)
                c->bad++;
            c->good++;
        }
    }
    c->bad += mmuext(MMUEXT_NEW_USER_BASEPTR, 0, 0) != 0;
    c->bad += mmuext(MMUEXT_NEW_BASEPTR, mfn_of(l4_table()), 0) != 0;
}

/* A table that nothing refers to is plain again, and takes any rounds of type changes. */
static void top_tables(void)
{
    static u64 *l4[MAX_CPUS];
    unsigned bad = 0;

    for (unsigned i = 0; i < n_cpus; i++) {
        l4[i] = page_alloc();
        memcpy(l4[i], l4_table(), PAGE_SIZE);
        memset(l4[i] + 256, 0, 16 * 8);
        data[i % FRAMES][0] = i;
        if (make_table(4, l4[i]))
            die("a copy of the top table is refused");
        mmu_write(pte_make(l4[i], top_va), mfns[i % FRAMES] << 12 | PTE_KERN);
        tops[i] = mfn_of(l4[i]);
    }
    smp_all(n_cpus, change_tops, "changes of top tables");
    ok(smp_sum_good(n_cpus) > 0, "%lu switches of top tables by all", smp_sum_good(n_cpus));
    note("%lu refused", cpus[0].count + cpus[1].count + cpus[2].count + cpus[3].count);
    is(smp_sum_bad(n_cpus), 0, "each shows what it maps");
    for (unsigned i = 0; i < n_cpus; i++)
        bad += release(l4[i]);
    is(bad, 0, "all are free again");
}

/* --- requests that change while they are read --- */

static struct mmu_update shifty_req[2];
static struct multicall_entry shifty_mc[2];
static struct xen_memory_reservation shifty_mem;
static struct xen_memory_exchange shifty_ex;
static struct mmuext_op shifty_op;
static u64 shifty_list[4];
static u64 evil_pte, fair_pte;

static void shift_once(struct cpu *c)
{
    u64 evil = smp_rand(c);

    shifty_req[0].val = evil & 1 ? evil_pte : fair_pte;
    shifty_req[1].ptr = evil & 2 ? slot.maddr : evil & 4 ? evil : maddr_of(l4_table());
    shifty_req[1].val = evil & 8 ? evil_pte : fair_pte;
    shifty_mc[0].op = evil & 0x10 ? __HYPERVISOR_update_va_mapping : __HYPERVISOR_xen_version;
    shifty_mc[0].args[0] = evil & 0x20 ? slot.va : 0;
    shifty_mc[0].args[1] = evil & 0x40 ? evil_pte : fair_pte;
    shifty_mc[1].op = evil & 0x80 ? evil : __HYPERVISOR_xen_version;
    shifty_mem.nr_extents = evil & 0x100 ? 1 : evil & 0x200 ? ~0UL : 1UL << 40;
    shifty_mem.extent_order = evil & 0x400 ? 0 : evil;
    shifty_mem.domid = evil & 0x800 ? DOMID_SELF : evil;
    shifty_op.cmd = evil & 0x1000 ? MMUEXT_PIN_L1_TABLE : MMUEXT_CLEAR_PAGE;
    shifty_op.arg1.mfn = evil & 0x2000 ? evil_pte >> 12 : mfns[1];
    set_xen_guest_handle(shifty_mem.extent_start,
                         evil & 0x4000 ? shifty_list : (void *)(HOLE_START + 64));
    shifty_list[0] = evil & 0x8000 ? evil_pte >> 12 : ~0UL >> 13;
    shifty_ex.in = shifty_mem;
    shifty_ex.out = shifty_mem;
    shifty_ex.nr_exchanged = evil & 0x10000 ? 0 : evil >> 20;
}

static bool slot_is_fair(void)
{
    u64 pte = *(volatile u64 *)slot.entry;

    return !(pte & PTE_P) || (pte & PTE_ADDR) != (evil_pte & PTE_ADDR) || !(pte & PTE_RW);
}

/* Only kinds of multicall that do no harm by their own right. */
static bool mc_is_tame(const struct multicall_entry *mc)
{
    return mc->op == __HYPERVISOR_update_va_mapping || mc->op == __HYPERVISOR_xen_version;
}

static void call_with_shifty(struct cpu *c, unsigned what)
{
    u32 done = 0;

    switch (what) {
    case 0:
        hc_mmu_update(shifty_req, 2, &done, DOMID_SELF);
        c->bad += done > 2;
        break;
    case 1:
        hc_mmuext(&shifty_op, 1, &done, DOMID_SELF);
        c->bad += done > 1;
        break;
    case 2:
        hc_memory(XENMEM_exchange, &shifty_ex);
        break;
    case 3:
        hc_memory(XENMEM_decrease_reservation, &shifty_mem);
        break;
    case 4:
        hc_memory(XENMEM_increase_reservation, (void *)(HOLE_END - 8));
        break;
    default:
        hc_multicall(shifty_mc, mc_is_tame(&shifty_mc[1]) ? 2 : 1);
    }
    c->bad += !slot_is_fair();
    c->good++;
}

static void shift(struct cpu *c)
{
    unsigned what = 0;

    for (start_rounds(c); more_rounds(c, rounds * 4);)
        if (c->id)
            shift_once(c);
        else
            call_with_shifty(c, what++ % 6);
}

static void double_fetches(void)
{
    void *table = page_alloc();
    long before = reservation();
    u64 *l2 = page_alloc();

    make_table(1, table);
    make_table(2, l2); /* keeps the L1 in use whatever is unpinned */
    mmu_write(l2, maddr_of(table) | PTE_KERN);
    slot = smp_slot(40);
    evil_pte = maddr_of(table) | PTE_KERN;
    fair_pte = mfns[2] << 12 | PTE_KERN;
    shifty_req[0].ptr = slot.maddr;
    shifty_mc[0].args[2] = UVMF_INVLPG;
    shift_once(&cpus[0]);
    smp_all(n_cpus, shift, "who shifts requests");
    ok(cpus[0].good >= rounds * 4, "requests that change while they are read");
    is(cpus[0].bad, 0, "none made a table writable");
    hc_update_va((void *)slot.va, 0, UVMF_TLB_FLUSH | UVMF_ALL);
    unpin(data[1]);
    is(set_rw(data[1]), 0, "a page that was perhaps a table is free");
    is(reservation(), before, "the reservation is as before");
    ok(tables_are_readonly(), "no table is mapped writable");
    mmu_write(l2, 0);
    drop_table(l2);
    drop_table(table);
    frames_are_free("changing requests");
}

/* --- more memory than allowed: XSA-385 --- */

static u64 extra_pfn; /* the next that was never used */
static volatile long most;

static void grow_and_shrink(struct cpu *c)
{
    enum { N = 64 };
    u64 list[N];
    struct xen_memory_reservation r = {.domid = DOMID_SELF};
    unsigned have = 0;

    set_xen_guest_handle(r.extent_start, list);
    for (start_rounds(c); more_rounds(c, rounds / 20);) {
        long rc, now;

        if (!have) {
            for (unsigned i = 0; i < N; i++)
                list[i] = extra_pfn + c->id * N + i;
            r.nr_extents = N;
            rc = hc_memory(XENMEM_populate_physmap, &r);
            have = rc > 0 ? rc : 0;
            c->good += have;
        }
        now = reservation();
        if (now > most)
            most = now;
        if (have && smp_rand(c) & 1) {
            r.nr_extents = have;
            rc = hc_memory(XENMEM_decrease_reservation, &r);
            c->bad += rc != have;
            have = 0;
        }
    }
    r.nr_extents = have;
    if (have)
        c->bad += hc_memory(XENMEM_decrease_reservation, &r) != have;
}

/* All but a few pages of what is allowed are taken first, so that they meet at the limit. */
static void quota(void)
{
    static u64 taken[2048];
    struct xen_memory_reservation r = {.domid = DOMID_SELF, .nr_extents = 2048 - 100};
    long before = reservation(), limit, got;

    extra_pfn = start->nr_pages + 4096;
    most = 0;
    for (unsigned i = 0; i < 2048; i++)
        taken[i] = start->nr_pages + i;
    set_xen_guest_handle(r.extent_start, taken);
    got = hc_memory(XENMEM_populate_physmap, &r);
    if (got < 0)
        got = 0;
    limit = start->nr_pages + 2048;
    smp_all(n_cpus, grow_and_shrink, "growth");
    note("%ld pages before, %ld taken, at most %ld; %lu populated", before, got, most,
         smp_sum_good(n_cpus));
    ok(most <= limit, "the domain never has more than its limit of %ld", limit);
    is(smp_sum_bad(n_cpus), 0, "what was got can be given back");
    r.nr_extents = got;
    is(got ? hc_memory(XENMEM_decrease_reservation, &r) : 0, got, "the rest as well");
    is(reservation(), before, "the reservation is as before");
}

/* --- descriptors and trap tables --- */

static u64 *gdt;
static const u64 descriptors[] = {0x00cff3000000ffff, 0x00cffb000000ffff, 0x0040f20012345fff, 0,
                                  0x0000890000000067, 0x0000ec0000000000};

static void rewrite_descriptors(struct cpu *c)
{
    for (start_rounds(c); more_rounds(c, FLUSHING * 4);) {
        u64 list[1] = {mfn_of(gdt)};
        unsigned sel = 16 + (smp_rand(c) & 3);

        switch (smp_rand(c) & 7) {
        case 0:
            /* Refused while somebody writes a descriptor into the page as plain data. */
            c->count += hc_set_gdt(list, smp_rand(c) & 1 ? 512 : 64) != 0;
            break;
        case 1:
            c->bad += hc_set_gdt(NULL, 0) != 0;
            break;
        case 2:
            c->bad += hc_stack_switch(FLAT_KERNEL_SS, (u64)smp_stack(c->id) - 8192) != 0;
            break;
        case 3:
        case 4:
            EX_ON(c, "movw %w0, %%fs", : : "r"(sel << 3 | 3) : "memory");
            c->good += c->vec == VEC_NONE;
            break;
        default:
            hc_update_descriptor(maddr_of(gdt) + sel * 8, descriptors[smp_rand(c) % 6]);
        }
    }
    EX_ON(c, "movw %w0, %%fs", : : "r"(0) : "memory");
    c->bad += hc_set_gdt(NULL, 0) != 0;
}

static void shared_descriptors(void)
{
    gdt = page_alloc();
    set_ro(gdt);
    smp_all(n_cpus, rewrite_descriptors, "descriptors");
    ok(smp_sum_good(n_cpus) > 0, "one GDT for all, rewritten while it is used (%lu loads)",
       smp_sum_good(n_cpus));
    is(smp_sum_bad(n_cpus), 0, "it can be dropped all the time");
    is(release(gdt), 0, "its page is free again");
    page_free(gdt);
}

/* --- batches --- */

static void batch(struct cpu *c)
{
    for (start_rounds(c); more_rounds(c, rounds / 2);) {
        struct mmu_update req = {.ptr = own_slot[c->id].maddr,
                                 .val = mfns[c->id % FRAMES] << 12 | PTE_KERN};
        struct mmuext_op op = {.cmd = MMUEXT_TLB_FLUSH_LOCAL};
        struct multicall_entry mc[4] = {
            {.op = __HYPERVISOR_mmu_update, .result = 1, .args = {(u64)&req, 1, 0, DOMID_SELF}},
            {.op = __HYPERVISOR_mmuext_op, .result = 1, .args = {(u64)&op, 1, 0, DOMID_SELF}},
            {.op = __HYPERVISOR_xen_version, .result = 1, .args = {XENVER_pagesize}},
            {.op = __HYPERVISOR_update_va_mapping,
             .result = 1,
             .args = {own_slot[c->id].va, 0, UVMF_INVLPG}}};

        if (smp_rand(c) & 1) {
            mc[3].args[1] = mfns[c->id % FRAMES] << 12 | PTE_RO;
            c->bad += hc_multicall(mc, 4) != 0;
            c->bad += *(volatile u64 *)own_slot[c->id].va != c->id % FRAMES;
        } else {
            c->bad += hc_multicall(mc, 4) != 0;
        }
        c->bad += mc[0].result || mc[1].result || mc[2].result != PAGE_SIZE || mc[3].result;
        c->good++;
    }
    c->bad += hc_update_va((void *)own_slot[c->id].va, 0, UVMF_INVLPG) != 0;
}

static void batches(void)
{
    for (unsigned i = 0; i < FRAMES; i++)
        data[i][0] = i;
    smp_all(n_cpus, batch, "multicalls");
    is(smp_sum_bad(n_cpus), 0, "multicalls of all, each with its own results");
    frames_are_free("multicalls");
}

/* --- vcpus that two want to start --- */

static unsigned newcomer;
static struct vcpu_guest_context newcomer_context;
static void *newcomer_info[MAX_CPUS];
static volatile u64 arrived;

static void arrive(struct cpu *c)
{
    __atomic_fetch_add(&arrived, 1, __ATOMIC_SEQ_CST);
}

/* XSA-296: an event is pending for the caller, so the call may have to be restarted. */
static void start_newcomer(struct cpu *c)
{
    struct vcpu_register_vcpu_info reg = {.mfn = mfn_of(newcomer_info[c->id]), .offset = 64};
    long rc;

    port_send(c->kick);
    smp_barrier(c, &meet, n_cpus);
    rc = hc_vcpu(VCPUOP_register_vcpu_info, newcomer, &reg);
    c->good = rc == 0;
    if (rc == 0)
        cpus[newcomer].vi = (struct vcpu_info *)((u8 *)newcomer_info[c->id] + 64);
    c->bad += rc != 0 && rc != -XEN_EINVAL;
    smp_barrier(c, &meet, n_cpus);
    smp_events_on(c);
    port_send(c->kick);
    rc = hc_vcpu(VCPUOP_initialise, newcomer, &newcomer_context);
    c->count = rc == 0;
    c->bad += rc != 0 && rc != -XEN_EEXIST;
    smp_barrier(c, &meet, n_cpus);
    rc = hc_vcpu(VCPUOP_up, newcomer, NULL);
    c->bad += rc != 0;
}

static void newcomers(void)
{
    unsigned last = smp_present();
    u64 infos = 0, inits = 0, bad = 0;

    for (unsigned i = 0; i < n_cpus; i++) {
        newcomer_info[i] = page_alloc();
        port_mask(cpus[i].kick, false);
    }
    for (newcomer = n_cpus; newcomer < last; newcomer++) {
        memcpy(&newcomer_context, smp_context(newcomer, arrive), sizeof(newcomer_context));
        smp_all(n_cpus, start_newcomer, "the start of a vcpu by all");
        for (unsigned i = 0; i < n_cpus; i++) {
            infos += cpus[i].good;
            inits += cpus[i].count;
        }
        bad += smp_sum_bad(n_cpus);
        WAIT_FOR(&cpus[0], arrived == newcomer - n_cpus + 1, "a vcpu that all started");
        WAIT_FOR(&cpus[0], hc_vcpu(VCPUOP_is_up, newcomer, NULL) == 0, "it to end");
    }
    is(infos, last - n_cpus, "of all who register a vcpu's info one succeeds, each time");
    is(inits, last - n_cpus, "of all who initialise it, too");
    is(bad, 0, "the others get the right errors");
    for (unsigned i = 0; i < n_cpus; i++)
        port_mask(cpus[i].kick, true);
}

static void prepare(void)
{
    for (unsigned i = 0; i < FRAMES; i++) {
        data[i] = page_alloc();
        mfns[i] = mfn_of(data[i]);
    }
    for (unsigned i = 0; i < n_cpus; i++)
        own_slot[i] = smp_slot(20 + i);
}

void test_smp_hostile(void)
{
    long before = reservation();

    n_cpus = smp_present() / 2;
    rounds = option_number("rounds", is_serai ? 4000 : 1000);
    smp_start(n_cpus);
    prepare();
    one_slot();
    vanishing_table();
    one_tree();
    one_frame();
    exchanged_frame();
    double_fetches();
    quota();
    shared_descriptors();
    batches();
    top_tables();
    newcomers();
    is(reservation(), before, "the domain has as many pages as at first");
    ok(tables_are_readonly(), "no table is mapped writable");
}
