/*
 * Several vcpus at once at what must stay whole: one entry, one table, one frame. Calls may fail
 * as they like; what is checked is that types exclude each other, that no table is ever writable,
 * and that in the end no frame has a reference too many or too few.
 */
#include "guest.h"

static unsigned n_cpus;
static unsigned rounds; /* of what interrupts no other vcpu; of the rest: */
#define FLUSHING (rounds / 40)

static u64 any_frame(struct cpu *c)
{
    return smp_mfn[smp_rand(c) % SMP_PAGES];
}

static u64 any_pte(struct cpu *c)
{
    static const u64 flags[] = {PTE_KERN, PTE_RO, PTE_KERN | PTE_NX, 0};
    u64 f = flags[smp_rand(c) & 3];

    return f ? any_frame(c) << 12 | f : 0;
}

/* --- one entry --- */

static struct slot slot;

static void fight_for_a_slot(struct cpu *c)
{
    u64 pte;

    for (rounds_start(c, n_cpus); rounds_left(c, rounds);) {
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
    smp_pages_are_free("one entry");
}

/* --- one table, used and dropped: XSA-242 --- */

static struct {
    void *table[2];
    u64 maddr[2], va, l2e_maddr;
} way;

static void update_below(struct cpu *c)
{
    for (rounds_start(c, n_cpus); rounds_left(c, FLUSHING * 2);) {
        u64 va = way.va + (smp_rand(c) & 3) * PAGE_SIZE;

        c->count += hc_update_va((void *)va, any_pte(c), UVMF_NONE) == 0;
        c->good++;
    }
}

static void swap_tables(struct cpu *c)
{
    for (rounds_start(c, n_cpus); rounds_left(c, FLUSHING * 2);) {
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
        bad += !smp_table_is_free(way.table[i]);
    is(bad, 0, "both tables are free again");
    smp_pages_are_free("vanishing table");
}

/* --- one tree, pinned by all --- */

static void *tree[5]; /* by level */
static u64 tree_maddr[5];
static volatile long pins[5];

/* Validation takes a while: all entries are in use. */
static void plant(void)
{
    for (unsigned level = 1; level < 5; level++) {
        u64 below = level == 1 ? smp_mfn[0] << 12 : tree_maddr[level - 1], *t = page_alloc();

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
    for (rounds_start(c, n_cpus); rounds_left(c, FLUSHING * 2);) {
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
        bad += !smp_table_is_free(tree[level]);
    is(bad, 0, "the tables are free again");
    smp_pages_are_free("one tree");
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
    for (rounds_start(c, n_cpus); rounds_left(c, FLUSHING * 4);) {
        enum use use = smp_rand(c) % USES;
        u64 va = own_slot[c->id].va;

        if (!take_as(c, use, smp_mfn[0], va))
            continue;
        __atomic_fetch_add(&used_as[use], 1, __ATOMIC_SEQ_CST);
        for (unsigned other = 0; other < USES; other++)
            c->bad += other != use && used_as[other];
        if (use == WRITTEN)
            c->bad += EX_ON(c, "movq $0, (%0)", : : "r"(va) : "memory") != VEC_NONE;
        c->good++;
        __atomic_fetch_sub(&used_as[use], 1, __ATOMIC_SEQ_CST);
        leave_as(use, smp_mfn[0], va);
    }
}

static void one_frame(void)
{
    hc_update_va(smp_page[0], 0, UVMF_TLB_FLUSH | UVMF_ALL);
    smp_all(n_cpus, fight_for_a_type, "uses of one frame");
    ok(smp_sum_good(n_cpus) > 0, "one frame, taken as data, table, descriptors (%lu times)",
       smp_sum_good(n_cpus));
    is(smp_sum_bad(n_cpus), 0, "is never two of them at once");
    is(set_rw(smp_page[0]), 0, "it is free again");
    smp_pages_are_free("one frame");
}

/* --- one frame, exchanged while others use it: XSA-287 --- */

static volatile u64 target;         /* the mfn */
static volatile u64 hold[MAX_CPUS]; /* mfn and a count, while the vcpu surely has it mapped */
static volatile bool over, hungry;  /* hungry: the others keep away for a moment */

static void delay(u64 n)
{
    for (; n; n--)
        asm volatile("" : : : "memory");
}

static void grab(struct cpu *c)
{
    u64 va = own_slot[c->id].va;

    for (rounds_start(c, n_cpus); rounds_left(c, FLUSHING) || !over;) {
        u64 mfn = target;

        delay(smp_rand(c) & 8191); /* the exchange needs a chance */
        while (hungry && !over)
            asm volatile("pause" : : : "memory");
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
    u64 failed = 0, before;

    if (c->id) {
        grab(c);
        return;
    }
    for (rounds_start(c, n_cpus); rounds_left(c, FLUSHING) || c->good < 20;) {
        before = c->good;
        exchange_once(c, pfn_of(smp_page[0]));
        failed = c->good == before ? failed + 1 : 0;
        hungry = failed > 20;
    }
    over = true;
}

static void exchanged_frame(void)
{
    u64 stolen, pfn = pfn_of(smp_page[0]);

    hc_update_va(smp_page[0], 0, UVMF_TLB_FLUSH | UVMF_ALL);
    target = smp_mfn[0];
    over = false;
    smp_all(n_cpus, exchange_or_grab, "users of a frame that is exchanged");
    stolen = cpus[0].count;
    ok(cpus[0].good > 0, "a frame was exchanged %lu times, mapped %lu times", (u64)cpus[0].good,
       smp_sum_good(n_cpus) - cpus[0].good);
    is(stolen, 0, "never while it was mapped");
    is(smp_sum_bad(n_cpus), 0, "each mapping could be removed");
    smp_mfn[0] = ((u64 *)start->mfn_list)[pfn] = target;
    is(set_rw(smp_page[0]), 0, "it is mapped at its place again");
    smp_pages_are_free("exchange");
}

/* --- top tables --- */

static u64 tops[MAX_CPUS];         /* mfns of tables that differ at one address */
static u64 top_va = 0x6a000000000; /* its L4 slot is used for nothing else */

static void change_tops(struct cpu *c)
{
    for (rounds_start(c, n_cpus); rounds_left(c, rounds / 4);) {
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
        smp_page[i % SMP_PAGES][0] = i;
        if (make_table(4, l4[i]))
            die("a copy of the top table is refused");
        mmu_write(pte_make(l4[i], top_va), smp_mfn[i % SMP_PAGES] << 12 | PTE_KERN);
        tops[i] = mfn_of(l4[i]);
    }
    smp_all(n_cpus, change_tops, "changes of top tables");
    ok(smp_sum_good(n_cpus) > 0, "%lu switches of top tables by all", smp_sum_good(n_cpus));
    note("%lu refused", cpus[0].count + cpus[1].count + cpus[2].count + cpus[3].count);
    is(smp_sum_bad(n_cpus), 0, "each shows what it maps");
    for (unsigned i = 0; i < n_cpus; i++)
        bad += !smp_table_is_free(l4[i]);
    is(bad, 0, "all are free again");
}

void test_smp_hostile(void)
{
    long before = smp_reservation();

    n_cpus = smp_present();
    rounds = option_number("rounds", is_serai ? 4000 : 1000);
    smp_start(n_cpus);
    smp_pages_take();
    for (unsigned i = 0; i < n_cpus; i++)
        own_slot[i] = smp_slot(20 + i);
    one_slot();
    vanishing_table();
    one_tree();
    one_frame();
    exchanged_frame();
    top_tables();
    is(smp_reservation(), before, "the domain has as many pages as at first");
    ok(tables_are_readonly(), "no table is mapped writable");
}
