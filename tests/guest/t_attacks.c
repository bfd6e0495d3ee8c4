/*
 * Attacks known from other hypervisors that no other group tries, each named by the number of
 * the Xen advisory (XSA) that described it. docs/attacks.md has the whole list: which check of
 * which group stands for which class.
 */
#include "more.h"
#include <xen/grant_table.h>

/* --- page types --- */

enum { BIG = 40 };

/* Every slot of every table leads on; all L1 entries map one page. */
static struct tree {
    u64 *l1[BIG], *l2, *l3, *l4, *data;
} tree;

static void tree_make(void)
{
    tree.l2 = page_alloc(), tree.l3 = page_alloc();
    tree.l4 = page_alloc(), tree.data = page_alloc();
    for (unsigned i = 0; i < BIG; i++) {
        tree.l1[i] = page_alloc();
        for (unsigned n = 0; n < 512; n++)
            tree.l1[i][n] = maddr_of(tree.data) | PTE_RO;
        set_ro(tree.l1[i]);
    }
    for (unsigned n = 0; n < 512; n++) {
        tree.l2[n] = maddr_of(tree.l1[n % BIG]) | PTE_KERN;
        tree.l3[n] = maddr_of(tree.l2) | PTE_KERN;
        tree.l4[n] = n < 256 ? maddr_of(tree.l3) | PTE_KERN : 0;
    }
    set_ro(tree.l2), set_ro(tree.l3), set_ro(tree.l4);
}

/* All its pages may be written again, and be given away. */
static bool tree_unused(void)
{
    u64 *upper[] = {tree.l2, tree.l3, tree.l4};
    unsigned bad = 0;

    for (unsigned i = 0; i < BIG; i++)
        bad += set_rw(tree.l1[i]) != 0;
    for (unsigned i = 0; i < 3; i++)
        bad += set_rw(upper[i]) != 0;
    if (bad)
        note("%u tables still are tables", bad);
    if (!unreferenced(tree.data))
        bad++, note("the data page has references left");
    for (unsigned i = 0; i < BIG; i++)
        bad += !unreferenced(tree.l1[i]);
    for (unsigned i = 0; i < 3; i++)
        bad += !unreferenced(upper[i]);
    return !bad;
}

static void tree_free(void)
{
    for (unsigned i = 0; i < BIG; i++)
        page_free(tree.l1[i]);
    page_free(tree.l2), page_free(tree.l3), page_free(tree.l4), page_free(tree.data);
}

/* XSA-299, 58: a big tree that proves bad at its very end, with events pending all the time. */
static void late_failure(void)
{
    u64 live = mfn_of(l4_table()) << 12, bad = 0, t = ticks;

    tree_make();
    set_rw(tree.l1[BIG - 1]);
    tree.l1[BIG - 1][511] = live | PTE_KERN;
    set_ro(tree.l1[BIG - 1]);
    ticking(true);
    for (unsigned i = 0; i < 20; i++) {
        bad += pin(4, tree.l4) >= 0;
        bad += mmuext(MMUEXT_NEW_USER_BASEPTR, mfn_of(tree.l4), 0) >= 0;
        bad += mmuext(MMUEXT_NEW_BASEPTR, mfn_of(tree.l4), 0) >= 0;
    }
    ticking(false);
    is(bad, 0, "XSA-299: a tree that is bad at its end is refused each time");
    ok(ticks > t, "XSA-299: events came meanwhile (%lu)", ticks - t);
    ok(tree_unused(), "XSA-58, 299: and leaves no reference behind");
    tree_free();
}

/* XSA-309: the same for a tree that ends in an entry for itself. */
static void late_loop(void)
{
    long rc;

    tree_make();
    set_rw(tree.l4);
    tree.l4[511] = maddr_of(tree.l4) | PTE_RO;
    set_ro(tree.l4);
    ticking(true);
    rc = pin(4, tree.l4);
    is_dev(rc < 0, false, true, "XSA-309: a big tree that ends in itself");
    if (!rc) {
        refused(mmu_write(tree.l4 + 511, tree.l4[511] | PTE_RW), "XSA-309: writable");
        mmu_write(tree.l4 + 511, 0);
        unpin(tree.l4);
    }
    ticking(false);
    ok(tree_unused(), "XSA-309: it leaves no reference behind");
    tree_free();
}

/* XSA-45, 264, 290: a long operation lets others run in between. */
static void long_operation(void)
{
    u64 before;

    if (!is_serai) {
        skip("XSA-45: a pin is preempted", "counters are Serai's");
        return;
    }
    tree_make();
    before = hv_counter("preemption");
    ticking(true);
    for (unsigned i = 0; i < 10; i++)
        if (pin(4, tree.l4) || unpin(tree.l4))
            die("cannot pin a good tree");
    ticking(false);
    ok(hv_counter("preemption") > before,
       "XSA-45: pins of a big tree are preempted (%lu times)",
       hv_counter("preemption") - before);
    ok(tree_unused(), "XSA-264, 290: its tables are free afterwards");
    tree_free();
}

/* XSA-64, 250, 319: more references to one page, and to one table, than 16 bits count. */
static void many_references(void)
{
    enum { N = 150 };
    static u64 *l1[N], *l2[N];
    u64 *data = page_alloc(), bad = 0;

    for (unsigned i = 0; i < N; i++) {
        l1[i] = page_alloc(), l2[i] = page_alloc();
        for (unsigned n = 0; n < 512; n++) {
            l1[i][n] = maddr_of(data) | PTE_KERN;
            l2[i][n] = maddr_of(l1[0]) | PTE_KERN;
        }
        bad += make_table(1, l1[i]) != 0;
        bad += make_table(2, l2[i]) != 0;
    }
    is(bad, 0, "XSA-250: %u writable mappings of one page, as many uses of one table", N * 512);
    set_ro(data);
    refused(pin(1, data), "XSA-250: the page cannot become a table");
    unpin(l1[0]);
    refused(set_rw(l1[0]), "XSA-250: nor the table be written");
    for (unsigned i = 1; i < N; i++)
        drop_table(l1[i]), drop_table(l2[i]);
    refused(pin(1, data), "XSA-250: nor when one table is left");
    refused(set_rw(l1[0]), "XSA-250: which is still used");
    drop_table(l2[0]);
    is(set_rw(l1[0]), 0, "XSA-250: until its last use goes");
    is(pin(1, data), 0, "XSA-250: then the page can be a table");
    unpin(data);
    set_rw(data);
    ok(unreferenced(data) && unreferenced(l1[0]), "XSA-319: and no reference is left");
    page_free(data), page_free(l1[0]);
}

/* A frame of RAM that belongs to the hypervisor or to nobody; searched from one end. */
static u64 alien_ram(bool from_top)
{
    for (u64 i = 256; i <= max_mfn; i++) {
        u64 mfn = from_top ? max_mfn - i + 256 : i;

        if (mfn_is_ram(mfn) && !mfn_is_ours(mfn) && mfn != start->shared_info >> 12)
            return mfn;
    }
    return 0;
}

/* XSA-32, 37: whatever is named by a frame number, with one that is not a page of ours. */
static void bogus_frames(void)
{
    static const u8 cmds[] = {MMUEXT_PIN_L1_TABLE, MMUEXT_PIN_L2_TABLE,    MMUEXT_PIN_L3_TABLE,
                              MMUEXT_PIN_L4_TABLE, MMUEXT_UNPIN_TABLE,     MMUEXT_NEW_BASEPTR,
                              MMUEXT_CLEAR_PAGE,   MMUEXT_COPY_PAGE,       MMUEXT_MARK_SUPER,
                              MMUEXT_UNMARK_SUPER, MMUEXT_NEW_USER_BASEPTR};
    const u64 frames[] = {
        alien_ram(false), alien_ram(true), 1,          0xa0,        0xf0,      0xfec00,
        0xfee00,          0xfffff,         0x100000,   max_mfn + 1, 1UL << 28, 1UL << 39,
        1UL << 40,        1UL << 52,       ~0UL >> 12, ~0UL >> 1,   ~0UL};
    void *page = page_alloc();
    unsigned bad = 0;

    for (unsigned i = 0; i < sizeof(frames) / sizeof(frames[0]); i++) {
        for (unsigned c = 0; c < sizeof(cmds); c++)
            if (mmuext(cmds[c], frames[i], mfn_of(page)) >= 0)
                bad++, note("mmuext %u of frame %lx", cmds[c], frames[i]);
        bad += mmuext(MMUEXT_COPY_PAGE, mfn_of(page), frames[i]) >= 0;
        for (unsigned type = 0; type < 4; type++)
            if (mmu_write_type(frames[i] << 12, 0, type, DOMID_SELF) >= 0)
                bad++, note("mmu_update type %u in frame %lx", type, frames[i]);
        bad += hc_set_gdt(&frames[i], 8) >= 0;
        bad += hc_update_descriptor(frames[i] << 12, 0) >= 0;
    }
    is(bad, 0, "XSA-32, 37: frames that are not ours are refused everywhere");
    is(mmuext(MMUEXT_NEW_USER_BASEPTR, 0, 0), 0, "XSA-32: frame 0 means no user tables");
    mmuext(MMUEXT_NEW_USER_BASEPTR, user_l4, 0);
    page_free(page);
}

/* XSA-113, 251: updates of the m2p, good and refused ones, keep no reference to the page. */
static void m2p_updates(void)
{
    static const u64 vals[] = {0, 5, ~0UL, ~1UL, ~2UL, 1UL << 63, 0x5555555555555555};
    u64 *page = page_alloc(), pfn = pfn_of(page), mfn = mfn_of(page);

    for (unsigned i = 0; i < 10000; i++) {
        mmu_write_type(mfn << 12, vals[i % 7], MMU_MACHPHYS_UPDATE, DOMID_SELF);
        mmu_write_type(mfn << 12, vals[i % 7], MMU_MACHPHYS_UPDATE, 77);
        mmu_write_type(mfn << 12, vals[i % 7], MMU_MACHPHYS_UPDATE, DOMID_IO);
        mmu_write_type(mfn << 12, vals[i % 7], MMU_MACHPHYS_UPDATE, DOMID_XEN);
    }
    is(mmu_write_type(mfn << 12, pfn, MMU_MACHPHYS_UPDATE, DOMID_SELF), 0,
       "XSA-251: the m2p takes any value");
    ok(unreferenced(page), "XSA-113: 40000 updates leave no reference to the page");
    page_free(page);
}

/* XSA-214, 217: a table is not given away by any call that moves pages. */
static void transfers(void)
{
    u64 *page = page_alloc(), mfn = mfn_of(page);
    struct gnttab_transfer t = {.mfn = mfn, .domid = 0, .ref = 8};
    long rc;

    make_table(1, page);
    rc = HC(grant_table_op, GNTTABOP_transfer, &t, 1, 0, 0);
    ok(rc < 0 || t.status < 0, "XSA-214: transfer of a table: %ld, status %d", rc, t.status);
    is(mmu_write(page, maddr_of(page) | PTE_RO), 0, "XSA-214: it still is one");
    drop_table(page);
    page = page_alloc();
    t = (struct gnttab_transfer){.mfn = mfn_of(page), .domid = 77, .ref = 8};
    rc = HC(grant_table_op, GNTTABOP_transfer, &t, 1, 0, 0);
    ok(rc < 0 || t.status < 0, "XSA-217: transfer to no domain: %ld", rc);
    *(volatile u64 *)page = 1;
    ok(is_serai ? unreferenced(page) : true, "XSA-217: the page is ours as before");
    page_free(page);
}

void test_attacks(void)
{
    user_init();
    late_failure();
    late_loop();
    long_operation();
    many_references();
    bogus_frames();
    m2p_updates();
    transfers();
    is(EX("ud2"), 6, "traps still arrive");
    ok(tables_are_readonly(), "no table is mapped writable");
}
