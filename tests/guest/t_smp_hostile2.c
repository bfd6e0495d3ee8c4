/*
 * Several vcpus at once: requests that are rewritten while they are read, the limit of memory,
 * descriptors in use, batches, and vcpus that all want to start.
 */
#include "guest.h"

static unsigned n_cpus;
static unsigned rounds; /* of what interrupts no other vcpu */
static struct slot slot, own_slot[MAX_CPUS];
static struct barrier meet;

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
    shifty_op.arg1.mfn = evil & 0x2000 ? evil_pte >> 12 : smp_mfn[1];
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

    for (rounds_start(c, n_cpus); rounds_left(c, rounds * 4);)
        if (c->id)
            shift_once(c);
        else
            call_with_shifty(c, what++ % 6);
}

static void double_fetches(void)
{
    void *table = page_alloc();
    long before = smp_reservation();
    u64 *l2 = page_alloc();

    make_table(1, table);
    make_table(2, l2); /* keeps the L1 in use whatever is unpinned */
    mmu_write(l2, maddr_of(table) | PTE_KERN);
    slot = smp_slot(40);
    evil_pte = maddr_of(table) | PTE_KERN;
    fair_pte = smp_mfn[2] << 12 | PTE_KERN;
    shifty_req[0].ptr = slot.maddr;
    shifty_mc[0].args[2] = UVMF_INVLPG;
    shift_once(&cpus[0]);
    smp_all(n_cpus, shift, "who shifts requests");
    ok(cpus[0].good >= rounds * 4, "requests that change while they are read");
    is(cpus[0].bad, 0, "none made a table writable");
    hc_update_va((void *)slot.va, 0, UVMF_TLB_FLUSH | UVMF_ALL);
    unpin(smp_page[1]);
    is(set_rw(smp_page[1]), 0, "a page that was perhaps a table is free");
    is(smp_reservation(), before, "the reservation is as before");
    ok(tables_are_readonly(), "no table is mapped writable");
    mmu_write(l2, 0);
    drop_table(l2);
    drop_table(table);
    smp_pages_are_free("changing requests");
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
    for (rounds_start(c, n_cpus); rounds_left(c, rounds / 100);) {
        long rc, now;

        if (!have) {
            for (unsigned i = 0; i < N; i++)
                list[i] = extra_pfn + c->id * N + i;
            r.nr_extents = N;
            rc = hc_memory(XENMEM_populate_physmap, &r);
            have = rc > 0 ? rc : 0;
            c->good += have;
        }
        now = smp_reservation();
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
    long before = smp_reservation(), limit, got;

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
    is(smp_reservation(), before, "the reservation is as before");
}

/* --- descriptors and trap tables --- */

static u64 *gdt;
static const u64 descriptors[] = {0x00cff3000000ffff, 0x00cffb000000ffff, 0x0040f20012345fff, 0,
                                  0x0000890000000067, 0x0000ec0000000000};

static void rewrite_descriptors(struct cpu *c)
{
    for (rounds_start(c, n_cpus); rounds_left(c, rounds / 10);) {
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
    /* Stock sometimes loses the frame after that, when it is to be exchanged. */
    ok(is_serai ? smp_table_is_free(gdt) : set_rw(gdt) == 0, "its page is free again");
}

/* One list of gates for all, which changes while it is read. No vector that is needed. */
static struct trap_info shifty_gates[4];

static void load_gates(struct cpu *c)
{
    static const u64 places[] = {(u64)0, NON_CANONICAL, HOLE_START, ~0UL};

    for (rounds_start(c, n_cpus); rounds_left(c, rounds);) {
        struct trap_info *g = &shifty_gates[smp_rand(c) % 3];
        u64 r = smp_rand(c);
        long rc;

        g->vector = 0x90 + r % 16;
        g->flags = r >> 8;
        g->cs = r >> 16;
        g->address = r & 0x80 ? (u64)trap_stubs : places[r >> 32 & 3];
        rc = hc_set_trap_table(shifty_gates);
        c->good += rc == 0;
        c->bad += rc != 0 && rc != -XEN_EINVAL && rc != -XEN_EFAULT;
    }
}

static void trap_tables(void)
{
    smp_all(n_cpus, load_gates, "gates");
    ok(smp_sum_good(n_cpus) > 0, "trap tables that change while they are read (%lu good)",
       smp_sum_good(n_cpus));
    is(smp_sum_bad(n_cpus), 0, "the others are refused as they should be");
    is(try_read(UNMAPPED, NULL), 14, "faults still arrive");
}

/* --- batches --- */

static void batch(struct cpu *c)
{
    for (rounds_start(c, n_cpus); rounds_left(c, rounds / 2);) {
        struct mmu_update req = {.ptr = own_slot[c->id].maddr,
                                 .val = smp_mfn[c->id % SMP_PAGES] << 12 | PTE_KERN};
        struct mmuext_op op = {.cmd = MMUEXT_TLB_FLUSH_LOCAL};
        struct multicall_entry mc[4] = {
            {.op = __HYPERVISOR_mmu_update, .result = 1, .args = {(u64)&req, 1, 0, DOMID_SELF}},
            {.op = __HYPERVISOR_mmuext_op, .result = 1, .args = {(u64)&op, 1, 0, DOMID_SELF}},
            {.op = __HYPERVISOR_xen_version, .result = 1, .args = {XENVER_pagesize}},
            {.op = __HYPERVISOR_update_va_mapping,
             .result = 1,
             .args = {own_slot[c->id].va, 0, UVMF_INVLPG}}};

        if (smp_rand(c) & 1) {
            mc[3].args[1] = smp_mfn[c->id % SMP_PAGES] << 12 | PTE_RO;
            c->bad += hc_multicall(mc, 4) != 0;
            c->bad += *(volatile u64 *)own_slot[c->id].va != c->id % SMP_PAGES;
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
    for (unsigned i = 0; i < SMP_PAGES; i++)
        smp_page[i][0] = i;
    smp_all(n_cpus, batch, "multicalls");
    is(smp_sum_bad(n_cpus), 0, "multicalls of all, each with its own results");
    smp_pages_are_free("multicalls");
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

void test_smp_hostile2(void)
{
    long before = smp_reservation();

    n_cpus = smp_present() / 2; /* the rest start last */
    rounds = option_number("rounds", is_serai ? 4000 : 1000);
    smp_start(n_cpus);
    smp_pages_take();
    for (unsigned i = 0; i < n_cpus; i++)
        own_slot[i] = smp_slot(20 + i);
    double_fetches();
    quota();
    shared_descriptors();
    trap_tables();
    batches();
    newcomers();
    is(smp_reservation(), before, "the domain has as many pages as at first");
    ok(tables_are_readonly(), "no table is mapped writable");
}
