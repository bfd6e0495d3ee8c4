/* Attempts to write what must not be written. */
#include "guest.h"
#include <xen/grant_table.h>

/* The frame is a table or descriptor page: no way to map it writable may work. */
static void no_way_to_write(const void *page, const char *what)
{
    u64 pte = maddr_of(page) | PTE_KERN, *l1 = pte_at(window(9), 1);

    refused(window_map(9, pte), "%s: update_va_mapping", what);
    refused(mmu_write(l1, pte), "%s: mmu_update", what);
    refused(mmu_write_type(maddr_of(l1), pte, MMU_PT_UPDATE_PRESERVE_AD, DOMID_SELF),
            "%s: mmu_update, PRESERVE_AD", what);
    is(try_write((u64)l1, pte), 14, "%s: emulated write", what);
    is(window_map(9, maddr_of(page) | PTE_RO), 0, "%s: a read-only mapping is fine", what);
    refused(mmu_write(l1, *l1 | PTE_RW), "%s: RW turned on by mmu_update", what);
    EX("lock btsq $1, (%0)", : : "r"(l1) : "memory");
    is(trap.vec, 14, "%s: RW turned on by an emulated write", what);
    window_map(9, 0);
    ok(tables_are_readonly(), "%s: it is not writable", what);
}

static void every_path(void)
{
    u64 *l1 = page_alloc();

    no_way_to_write(l4_table(), "the live L4");
    no_way_to_write(va_of_mfn((l4_table()[511] & PTE_ADDR) >> 12), "the live L3");
    no_way_to_write(va_of_mfn((*pte_at(VIRT_BASE, 2) & PTE_ADDR) >> 12), "a live L1");
    make_table(1, l1);
    no_way_to_write(l1, "a pinned L1");
    drop_table(l1);
}

/* Trees prepared in private pages and then offered whole. */
static void prepared_trees(void)
{
    u64 *l1 = page_alloc(), *l2 = page_alloc(), *l3 = page_alloc(), *l4 = page_alloc();
    u64 *inner[] = {l1, l2, l3, l4, l4_table()};
    static const char *const names[] = {"itself", "its L2", "its L3", "its L4", "the live L4"};

    l2[5] = maddr_of(l1) | PTE_KERN;
    l3[5] = maddr_of(l2) | PTE_KERN;
    l4[5] = maddr_of(l3) | PTE_KERN;
    set_ro(l1), set_ro(l2), set_ro(l3), set_ro(l4);
    for (unsigned i = 0; i < 5; i++) {
        set_rw(l1);
        l1[5] = maddr_of(inner[i]) | PTE_KERN;
        set_ro(l1);
        refused(pin(4, l4), "a tree whose L1 maps %s writable: pin", names[i]);
        refused(mmuext(MMUEXT_NEW_USER_BASEPTR, mfn_of(l4), 0), "%s: as user base", names[i]);
        refused(mmuext(MMUEXT_NEW_BASEPTR, mfn_of(l4), 0), "%s: as base", names[i]);
        if (inner[i] != l4) /* which is no table in that case */
            refused(mmu_write(l4_table() + 9, maddr_of(l3) | PTE_KERN), "%s: by the live L4",
                    names[i]);
    }
    set_rw(l1);
    l1[5] = 0;
    set_ro(l1);
    is(pin(4, l4), 0, "without that entry the tree is good");
    is(unpin(l4), 0, "unpin");
    ok(!set_rw(l1) && !set_rw(l2) && !set_rw(l3) && !set_rw(l4), "all are free again");
    page_free(l1), page_free(l2), page_free(l3), page_free(l4);
}

/* Tables of one tree at two levels: one page as L1 and as L2. */
static void two_levels(void)
{
    u64 *a = page_alloc(), *b = page_alloc();

    set_ro(a), set_ro(b);
    is(pin(1, a), 0, "an empty page as L1");
    is(pin(2, b), 0, "an empty page as L2");
    refused(mmu_write(b, maddr_of(b) | PTE_KERN), "the L2 in its own slot");
    is(mmu_write(b, maddr_of(a) | PTE_KERN), 0, "the L1 in the L2");
    refused(mmu_write(a, maddr_of(b) | PTE_KERN), "the L2 writable in the L1");
    is(mmu_write(a, maddr_of(b) | PTE_RO), 0, "read-only is fine");
    refused(pin(3, b), "the L2 as L3 as well");
    unpin(a);
    refused(set_rw(a), "the L1 after unpin, still in the L2");
    mmu_write(b, 0);
    is(set_rw(a), 0, "the L1 out of the L2");
    unpin(b);
    is(set_rw(b), 0, "the L2 unpinned, still read-only mapped by the old L1 page");
    page_free(a), page_free(b);
}

/* XSA-240, 309: long chains of same-level tables, then teardown. */
static void chains(void)
{
    enum { N = 200 };
    static u64 *t[N];

    for (int level = 2; level <= 4; level++) {
        unsigned linked = 0;

        for (int i = 0; i < N; i++) {
            t[i] = page_alloc();
            if (i)
                t[i][1] = maddr_of(t[i - 1]) | PTE_RO;
            set_ro(t[i]);
        }
        linked = pin(level, t[N - 1]) == 0;
        for (int i = 0; i < N; i++)
            linked += pin(level, t[i]) == 0;
        note("L%d: %u of %d tables were accepted", level, linked, N);
        for (int i = N - 1; i >= 0; i--)
            unpin(t[i]);
        linked = 0;
        for (int i = 0; i < N; i++) {
            linked += set_rw(t[i]) != 0;
            page_free(t[i]);
        }
        is(linked, 0, "a chain of L%d tables comes apart", level);
    }
}

/* Pages of the hypervisor's that are shared with us on purpose. */
static bool special_frame(u64 mfn)
{
    static xen_pfn_t grants[1];
    static bool asked;
    struct gnttab_setup_table st = {.dom = DOMID_SELF, .nr_frames = 1};

    if (!asked) {
        asked = true;
        set_xen_guest_handle(st.frame_list, grants);
        HC(grant_table_op, GNTTABOP_setup_table, &st, 1, 0, 0);
    }
    return mfn == start->shared_info >> 12 || (grants[0] && mfn == grants[0]);
}

/* XSA-248: every frame of the machine, writable and read-only. */
static void all_frames(void)
{
    u64 stolen = 0, missing = 0, own = 0, tables = 0, peeked = 0, io = 0;

    tables_are_readonly();
    for (u64 mfn = 0; mfn <= max_mfn; mfn++) {
        bool ram = mfn_is_ram(mfn), ours = ram && mfn_is_ours(mfn);
        long rc = window_map(9, mfn << 12 | PTE_KERN);

        if (!ram) {
            io += rc == 0;
            continue;
        }
        own += ours;
        if (mfn_is_table(mfn)) {
            tables += rc == 0;
        } else if (ours) {
            missing += rc != 0;
        } else if (!special_frame(mfn)) {
            stolen += rc == 0;
            if (rc == 0)
                note("frame %lx maps writable", mfn);
            peeked += window_map(9, mfn << 12 | PTE_RO) == 0;
        }
    }
    window_map(9, 0);
    note("%lu frames, %lu ours, %lu of I/O space mapped", max_mfn + 1, own, io);
    is(tables, 0, "no table maps writable");
    is(stolen, 0, "no frame of another owner maps writable");
    is(peeked, 0, "nor read-only");
    is(missing, 0, "every frame of ours that is no table maps writable");
    ok(own + 64 > start->nr_pages, "most of our frames are ours (%lu)", own);
}

static void io_frames(void)
{
    static const u64 denied[] = {0xfee00, 0xfee01, 0xfee80, 0xfeeff};
    static const u64 guarded[] = {0xfec00, 0xfed00};
    u64 beyond = 0, n = 0;

    for (unsigned i = 0; i < 4; i++) {
        refused(window_map(9, denied[i] << 12 | PTE_KERN), "frame %lx, writable", denied[i]);
        refused(window_map(9, denied[i] << 12 | PTE_RO), "frame %lx, read-only", denied[i]);
    }
    for (unsigned i = 0; i < 2; i++)
        ok(window_map(9, guarded[i] << 12 | PTE_KERN) < 0 || !(pte_read(window(9)) & PTE_RW),
           "I/O APIC or HPET, frame %lx, is refused or read-only", guarded[i]);
    is(window_map(9, 0xb8000 | PTE_KERN), 0, "video memory");
    is(window_map(9, 0xf0000 | PTE_RO), 0, "the BIOS");
    /* XSA-154: cached mappings of device memory. */
    window_map(9, 0xfebd0000 | PTE_KERN);
    is(pte_read(window(9)) & PTE_PCD, PTE_PCD, "device memory is not cached");
    for (u64 mfn = max_mfn + 1; mfn < 0x100000; mfn += 251) {
        n++;
        beyond += window_map(9, mfn << 12 | PTE_KERN) == 0;
    }
    note("%lu of %lu sampled frames above RAM are mappable", beyond, n);
    window_map(9, 0);
}

/* Giving frames away that are in use; XSA-252, 214, 287. */
static void give_back(const void *page, const char *what)
{
    u64 mfn = mfn_of(page), out = pfn_of(page);
    struct xen_memory_reservation r = {.nr_extents = 1, .domid = DOMID_SELF};
    struct xen_memory_exchange ex = {.in = {.nr_extents = 1, .domid = DOMID_SELF},
                                     .out = {.nr_extents = 1, .domid = DOMID_SELF}};

    set_xen_guest_handle(ex.in.extent_start, &mfn);
    set_xen_guest_handle(ex.out.extent_start, &out);
    hc_memory(XENMEM_exchange, &ex);
    is(ex.nr_exchanged, 0, "%s: exchange takes nothing", what);
    set_xen_guest_handle(r.extent_start, &mfn);
    note("%s: decrease_reservation says %ld", what, hc_memory(XENMEM_decrease_reservation, &r));
    refused(window_map(9, mfn << 12 | PTE_KERN), "%s: afterwards it cannot be written", what);
}

static void giving_tables(void)
{
    u64 *l1 = page_alloc(), *l4 = page_alloc(), va = 0x50000000000;
    u64 *live;

    make_table(1, l1);
    give_back(l1, "a pinned L1");
    make_table(4, l4);
    give_back(l4, "a pinned L4");
    live = pte_make(l4_table(), va);
    give_back((void *)((u64)live & ~0xfffUL), "a live L1");
    is(mmu_write(live, maddr_of(page_alloc()) | PTE_KERN), 0, "the live L1 still works");
    *(volatile u64 *)va = 1;
    give_back(l4_table(), "the live L4");
    ok(tables_are_readonly(), "no table is mapped writable");
}

/* XSA-29, 212: the output array of exchange, offset by nr_exchanged into the hypervisor. */
static void exchange_pointers(void)
{
    static const u64 targets[] = {HOLE_START,         HOLE_START + (1UL << 39),
                                  HOLE_END - 8,       HOLE_END - (1UL << 30),
                                  0xffff82d080000000, 0xffff830000000000};
    void *page = page_alloc();
    u64 mfn = mfn_of(page), out[2] = {0};
    struct xen_memory_exchange ex = {.in = {.nr_extents = 1, .domid = DOMID_SELF},
                                     .out = {.nr_extents = 1, .domid = DOMID_SELF}};
    unsigned bad = 0;

    for (unsigned i = 0; i < 6; i++) {
        set_xen_guest_handle(ex.in.extent_start, &mfn);
        set_xen_guest_handle(ex.out.extent_start, (void *)targets[i]);
        ex.nr_exchanged = 0;
        ex.in.nr_extents = ex.out.nr_extents = 1;
        bad += hc_memory(XENMEM_exchange, &ex) >= 0;
        /* The start is ours, the offset is not. */
        set_xen_guest_handle(ex.out.extent_start, out);
        ex.nr_exchanged = (targets[i] - (u64)out) / 8;
        ex.in.nr_extents = ex.out.nr_extents = ex.nr_exchanged + 1;
        bad += hc_memory(XENMEM_exchange, &ex) >= 0;
        ex.in.nr_extents = ex.out.nr_extents = ~0UL;
        bad += hc_memory(XENMEM_exchange, &ex) >= 0;
        ex.nr_exchanged = ~1UL;
        bad += hc_memory(XENMEM_exchange, &ex) >= 0;
    }
    is(bad, 0, "exchange with arrays that reach into the hypervisor");
    /* Everything is right but the place for the result. */
    page = page_alloc();
    mfn = mfn_of(page);
    hc_update_va(page, 0, UVMF_INVLPG);
    ex = (struct xen_memory_exchange){.in = {.nr_extents = 1, .domid = DOMID_SELF},
                                      .out = {.nr_extents = 1, .domid = DOMID_SELF}};
    set_xen_guest_handle(ex.in.extent_start, &mfn);
    set_xen_guest_handle(ex.out.extent_start, (void *)(HOLE_START + 8 * mfn_of(start)));
    refused(hc_memory(XENMEM_exchange, &ex), "exchange with its result in the m2p");
    is(m2p(mfn_of(start)), pfn_of(start), "the m2p is unharmed");
}

static long sized(unsigned op, unsigned order, u64 nr)
{
    static u64 list[4];
    struct xen_memory_reservation r = {
        .nr_extents = nr, .extent_order = order, .domid = DOMID_SELF};
    struct xen_memory_exchange ex;

    list[0] = mfn_of(start), list[1] = ~0UL, list[2] = 1UL << 40, list[3] = 0;
    set_xen_guest_handle(r.extent_start, list);
    ex = (struct xen_memory_exchange){.in = r, .out = r};
    return op == XENMEM_exchange ? hc_memory(op, &ex) : hc_memory(op, &r);
}

/* XSA-31, 158, 231: extent orders and counts out of all proportion, quickly refused. */
static void orders(void)
{
    static const unsigned ops[] = {XENMEM_increase_reservation, XENMEM_decrease_reservation,
                                   XENMEM_populate_physmap, XENMEM_exchange};
    domid_t self = DOMID_SELF;
    long before = hc_memory(XENMEM_current_reservation, &self);
    u64 worst = 0;
    unsigned bad = 0;

    for (unsigned i = 0; i < 4; i++)
        for (unsigned order = 19; order < 64; order++) {
            u64 t = clock_ns();

            bad += sized(ops[i], order, 1UL << (order & 31)) > 0;
            bad += sized(ops[i], order, 1) > 0;
            bad += sized(ops[i], ~order, ~0UL >> 1) > 0;
            t = clock_ns() - t;
            worst = t > worst ? t : worst;
        }
    is(bad, 0, "wild extent orders and counts");
    ok(worst < 1000000000, "none takes a second (%lu us)", worst / 1000);
    is(hc_memory(XENMEM_current_reservation, &self), before, "the reservation is as before");
    for (u64 cmd = 64; cmd; cmd = cmd << 1 & 0xffffffff)
        for (unsigned op = 0; op < 30; op++)
            if (op != XENMEM_machphys_mapping)
                hc_memory(op | cmd, (void *)UNMAPPED);
    ok(true, "continuation bits in the op survived");
}

/* XSA-31: our own limit. */
static void quota(void)
{
    static u64 list[512];
    struct xen_memory_reservation r = {.nr_extents = 512, .domid = DOMID_SELF};
    domid_t self = DOMID_SELF;
    u64 got = 0;
    long n;

    set_xen_guest_handle(r.extent_start, list);
    for (unsigned i = 0; i < 20; i++) {
        for (unsigned k = 0; k < 512; k++)
            list[k] = start->nr_pages + got + k;
        n = hc_memory(XENMEM_populate_physmap, &r);
        if (n <= 0)
            break;
        for (long k = 0; k < n; k++)
            if (m2p(list[k]) != start->nr_pages + got + k)
                n = 0, ok(false, "m2p of a populated page");
        got += n > 0 ? n : 0;
        if (n < 512)
            break;
    }
    note("populated %lu pages more, last result %ld, reservation %ld, max %ld", got, n,
         hc_memory(XENMEM_current_reservation, &self),
         hc_memory(XENMEM_maximum_reservation, &self));
    ok(got <= 2048, "no more than dom0_mem's max");
}

/* XSA-45, 264, 290, 299: big trees pinned and unpinned while events interrupt. */
static u64 ticks;

static void tick(void)
{
    u32 port = timer_port();

    if (port_pending(port)) {
        port_clear(port);
        ticks++;
        timer_at(clock_ns() + 20000);
    }
}

static long pin_by_multicall(const void *l4)
{
    struct mmuext_op op = {.cmd = MMUEXT_PIN_L4_TABLE, .arg1.mfn = mfn_of(l4)};
    struct multicall_entry mc[2] = {
        {.op = __HYPERVISOR_mmuext_op, .result = 1, .args = {(u64)&op, 1, 0, DOMID_SELF}},
        {.op = __HYPERVISOR_xen_version, .result = 1, .args = {XENVER_pagesize}}};

    return hc_multicall(mc, 2) || mc[1].result != PAGE_SIZE ? -1 : (long)mc[0].result;
}

static void preempted_pins(void)
{
    enum { N = 48 };
    static u64 *l1[N];
    u64 *l2 = page_alloc(), *l3 = page_alloc(), *l4 = page_alloc(), *data = page_alloc();
    u64 worst = 0, bad = 0;

    for (unsigned i = 0; i < N; i++) {
        l1[i] = page_alloc();
        for (unsigned n = 0; n < 512; n++)
            l1[i][n] = maddr_of(data) | PTE_KERN;
        set_ro(l1[i]);
    }
    for (unsigned n = 0; n < 512; n++) {
        l2[n] = maddr_of(l1[n % N]) | PTE_KERN;
        l3[n] = maddr_of(l2) | PTE_KERN;
        l4[n] = n < 256 ? maddr_of(l3) | PTE_KERN : 0;
    }
    set_ro(l2), set_ro(l3), set_ro(l4);
    timer_port();
    event_hook = tick;
    timer_at(clock_ns() + 20000);
    vi->evtchn_upcall_mask = 0;
    for (unsigned i = 0; i < 30; i++) {
        u64 t = clock_ns();

        bad += i & 1 ? pin_by_multicall(l4) != 0 : pin(4, l4) != 0;
        bad += set_rw(l1[i % N]) == 0;
        bad += mmuext(MMUEXT_NEW_USER_BASEPTR, mfn_of(l4), 0) != 0;
        bad += unpin(l4) != 0;
        bad += set_rw(l2) == 0;
        bad += mmuext(MMUEXT_NEW_USER_BASEPTR, 0, 0) != 0;
        t = clock_ns() - t;
        worst = t > worst ? t : worst;
    }
    vi->evtchn_upcall_mask = 1;
    hc_vcpu(VCPUOP_stop_singleshot_timer, 0, NULL);
    event_hook = NULL;
    is(bad, 0, "a big tree pinned, used, unpinned 30 times");
    ok(ticks > 0, "while events came (%lu); the slowest round took %lu us", ticks,
       worst / 1000);
    for (unsigned i = 0; i < N; i++)
        bad += set_rw(l1[i]) != 0, page_free(l1[i]);
    bad += set_rw(l2) != 0 || set_rw(l3) != 0 || set_rw(l4) != 0;
    is(bad, 0, "all its tables are free again");
}

/*
 * XSA-241, 401, 408: a translation that the guest did not flush must not outlive the page's
 * change from data to table.
 */
static void stale_translations(void)
{
    u64 va = 0x58000000000, evil = mfn_of(l4_table()) << 12 | PTE_KERN;
    u64 written = 0, bad = 0;

    for (unsigned i = 0; i < 100; i++) {
        u64 *page = page_alloc(), *l1 = pte_make(l4_table(), va), *l2 = pte_at(va, 2);

        bad += hc_update_va((void *)va, maddr_of(page) | PTE_KERN, UVMF_NONE) != 0;
        *(volatile u64 *)va = 0;
        *page = 0;
        if (i & 1) {
            /* The mapping goes with its whole L1. */
            bad += mmu_write(l2, 0) != 0;
            bad += set_rw((void *)((u64)l1 & ~0xfffUL)) != 0;
            page_free((void *)((u64)l1 & ~0xfffUL));
        } else
            bad += hc_update_va((void *)va, 0, UVMF_NONE) != 0;
        bad += hc_update_va(page, maddr_of(page) | PTE_RO, UVMF_NONE) != 0;
        bad += pin(1, page) != 0;
        try_write(va, evil);
        EX("movb $0x67, (%0)", : : "r"(va) : "memory");
        written += page[0] != 0;
        EX("movb $0x67, (%0)", : : "r"((u64)page + 1) : "memory");
        written += page[0] & PTE_P;
        if (page[0])
            mmu_write(page, 0);
        drop_table(page);
    }
    is(bad, 0, "pages turned into tables without a flush by the guest");
    is(written, 0, "no stale translation wrote to one");
}

/* XSA-58: a pin that fails at the last entry, many times. */
static void failing_pins(void)
{
    u64 *l1 = page_alloc(), *l2 = page_alloc(), bad = 0;

    for (unsigned n = 0; n < 511; n++)
        l1[n] = maddr_of(start) | PTE_RO;
    l1[511] = mfn_of(l4_table()) << 12 | PTE_KERN;
    for (unsigned n = 0; n < 512; n++)
        l2[n] = maddr_of(l1) | PTE_KERN;
    set_ro(l1), set_ro(l2);
    for (unsigned i = 0; i < 500; i++)
        bad += pin(2, l2) == 0 || pin(1, l1) == 0;
    is(bad, 0, "a tree bad at its last entry is refused 500 times");
    ok(!set_rw(l1) && !set_rw(l2), "and leaves nothing behind");
    page_free(l1), page_free(l2);
}

/* The entries of a multicall vanish while it runs. */
static void vanishing_multicall(void)
{
    struct multicall_entry *calls = (void *)window(20);

    window_map(20, maddr_of(page_alloc()) | PTE_KERN);
    calls[0] = (struct multicall_entry){.op = __HYPERVISOR_update_va_mapping,
                                        .args = {window(20), 0, UVMF_INVLPG}};
    calls[1] = (struct multicall_entry){.op = __HYPERVISOR_xen_version};
    refused(hc_multicall(calls, 2), "a multicall that unmaps its own entries");
    window_map(20, maddr_of(l4_table()) | PTE_RO);
    refused(hc_multicall(calls, 2), "a multicall in a page table");
}

/* Frames of the hypervisor that other interfaces name. */
static void named_frames(void)
{
    static u64 list[8];
    struct xen_machphys_mfn_list ml = {.max_extents = 8};
    unsigned bad = 0;

    set_xen_guest_handle(ml.extent_start, list);
    if (hc_memory(XENMEM_machphys_mfn_list, &ml) == 0)
        for (unsigned i = 0; i < ml.nr_extents && i < 8; i++) {
            bad += window_map(9, list[i] << 12 | PTE_KERN) == 0;
            bad += mmu_write_type(maddr_of(pte_at(window(9), 1)), list[i] << 12 | PTE_KERN, 0,
                                  DOMID_XEN) == 0;
        }
    is(bad, 0, "frames of the m2p do not map writable");
    refused(mmuext(MMUEXT_PIN_L1_TABLE, start->shared_info >> 12, 0),
            "shared_info as a page table");
    refused(mmuext(MMUEXT_CLEAR_PAGE, start->shared_info >> 12 | 1UL << 40, 0), "wild CLEAR");
    is(window_map(9, start->shared_info | PTE_KERN), 0, "shared_info can be mapped twice");
    refused(window_map(9, start->shared_info | PTE_KERN | PTE_PCD), "but not uncached");
    window_map(9, 0);
}

void test_hostile(void)
{
    every_path();
    prepared_trees();
    two_levels();
    chains();
    all_frames();
    io_frames();
    exchange_pointers();
    orders();
    failing_pins();
    preempted_pins();
    stale_translations();
    vanishing_multicall();
    named_frames();
    quota();
    giving_tables();
    is(EX("ud2"), 6, "traps still arrive");
    ok(tables_are_readonly(), "no table is mapped writable");
}
