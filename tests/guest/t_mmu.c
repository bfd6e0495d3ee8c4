/* Page-table updates that must work, with their rules. */
#include "guest.h"

USER_CODE_TEXT(u_load, "mov (%rdi), %rax; ud2");

static void update_va(void)
{
    volatile u64 *page = page_alloc(), *other = page_alloc();
    u64 va = window(0), pte = maddr_of(page) | PTE_KERN, mask = 1;

    *page = 111, *other = 222;
    is(window_map(0, pte), 0, "map a page");
    is(*(u64 *)va, 111, "it is there");
    ok((pte_read(va) & (PTE_ADDR | PTE_P | PTE_RW | PTE_US)) ==
           (maddr_of(page) | PTE_P | PTE_RW | PTE_US),
       "read back: %lx", pte_read(va));
    is(window_map(0, maddr_of(other) | PTE_P | PTE_RW), 0, "replace it, no US in the entry");
    is(*(u64 *)va, 222, "the other page, no stale translation");
    is(pte_read(va) & PTE_US, PTE_US, "US has been added");
    is(window_map(0, maddr_of(other) | PTE_P), 0, "make it read-only");
    is(try_write(va, 1), 14, "writes fault");
    is(window_map(0, 0), 0, "unmap it");
    is(try_read(va, NULL), 14, "reads fault");
    is(window_map(0, 0x123456789abcde & ~1UL), 0, "a non-present entry of any content");
    is(pte_read(va), 0x123456789abcde & ~1UL, "is kept as it is");
    for (u64 flags = 0; flags < 7; flags++)
        if (flags != 3)
            is(hc_update_va((void *)va, pte, flags), 0, "flush flags %lu", flags);
    is(hc_update_va((void *)va, pte, (u64)&mask | UVMF_TLB_FLUSH), 0, "flush by vcpu bitmap");
    refused(hc_update_va((void *)UNMAPPED, pte, 0), "no table maps the address");
    refused(hc_update_va((void *)HOLE_START, pte, 0), "an address in the hole");
    /* XSA-279: flush helpers and non-canonical addresses. */
    refused(hc_update_va((void *)NON_CANONICAL, pte, UVMF_INVLPG), "non-canonical address");
    refused(hc_update_va((void *)(1UL << 63), pte, UVMF_INVLPG), "non-canonical address, high");
    is(hc_update_va((void *)(va + 0x123), 0, UVMF_INVLPG), 0, "unaligned address");
    is(pte_read(va), 0, "counts as its page");
}

static void l1_flags(void)
{
    u64 base = maddr_of(page_alloc()) | PTE_KERN;

    is(window_map(0, base | PTE_PCD), 0, "PCD");
    is(window_map(0, base | PTE_PWT), 0, "PWT");
    is(window_map(0, base | PTE_PAT), 0, "PAT");
    is(window_map(0, base | PTE_G), 0, "G");
    is(window_map(0, base | PTE_AVL), 0, "available bits 9 to 11");
    is(pte_read(window(0)) & PTE_AVL, PTE_AVL, "are kept");
    is(window_map(0, base | PTE_NX), 0, "NX");
    is(pte_read(window(0)) >> 63, 1, "is kept");
    is(window_map(0, base | 0x00f0000000000000), 0, "bits 52 to 55");
    /* XSA-173: address bits the machine does not have. */
    for (unsigned bit = 46; bit < 52; bit++)
        refused(window_map(0, base | 1UL << bit), "address bit %u", bit);
    refused(window_map(0, PTE_ADDR | PTE_KERN), "all address bits");
    window_map(0, 0);
}

static void mmu_updates(void)
{
    u64 *page = page_alloc(), *l1 = pte_at(window(0), 1), m = maddr_of(page);
    struct mmu_update reqs[4] = {{maddr_of(l1), m | PTE_KERN},
                                 {maddr_of(l1 + 1), m | PTE_KERN},
                                 {maddr_of(l1 + 2), mfn_of(l1) * PAGE_SIZE | PTE_KERN},
                                 {maddr_of(l1 + 3), m | PTE_KERN}};
    u32 done = 99;

    is(hc_mmu_update(reqs, 2, &done, DOMID_SELF), 0, "mmu_update of two entries");
    is(done, 2, "done");
    ok((l1[0] & PTE_P) && (l1[1] & PTE_P), "both written");
    done = 99;
    refused(hc_mmu_update(reqs, 4, &done, DOMID_SELF), "third of four is a table, writable");
    is(done, 2, "done counts the good ones");
    ok(!(l1[2] & PTE_P) && !(l1[3] & PTE_P), "the rest is untouched");
    is(hc_mmu_update(reqs, 2, NULL, DOMID_SELF), 0, "no done pointer");
    done = 99;
    is(hc_mmu_update(reqs, 0, &done, DOMID_SELF), 0, "no requests");
    refused(hc_mmu_update((void *)UNMAPPED, 1, &done, DOMID_SELF), "unmapped requests");
    refused(hc_mmu_update((void *)HOLE_START, 1, &done, DOMID_SELF), "requests in the hole");
    ok(hc_mmu_update(reqs, 1, (void *)HOLE_START, DOMID_SELF) <= 0, "done in the hole");
    refused(hc_mmu_update(reqs, 1, &done, 77), "foreign domain that is not there");
    refused(hc_mmu_update(reqs, 1, &done, DOMID_SELF | 78UL << 16), "tables of no domain");
    for (unsigned i = 0; i < 4; i++)
        reqs[i].val = 0;
    is(hc_mmu_update(reqs, 4, &done, DOMID_SELF), 0, "clear them");
    is(mmu_write_type(maddr_of(page), 0x1234567, 0, DOMID_SELF), 0, "a plain page");
    is(page[0], 0x1234567, "is just stored to");
    is(mmu_write_type(maddr_of(l1), m | PTE_KERN, MMU_PT_UPDATE_NO_TRANSLATE, DOMID_SELF), 0,
       "type 3");
    refused(mmu_write_type((max_mfn + 5) << 12, 0, 0, DOMID_SELF), "a frame past the end");
    refused(mmu_write_type(~0xfffUL, 0, 0, DOMID_SELF), "a frame far past the end");
    mmu_write(l1, 0);
    page_free(page);
}

static void preserve_ad(void)
{
    volatile u64 *page = page_alloc(), *l1 = pte_at(window(0), 1);
    u64 bare = maddr_of(page) | PTE_P | PTE_RW | PTE_US, ad = PTE_A | PTE_D;

    is(mmu_write(l1, bare), 0, "map without A and D");
    mmuext(MMUEXT_INVLPG_LOCAL, window(0), 0);
    *(volatile u64 *)window(0) = 1;
    is(l1[0] & ad, ad, "the processor sets A and D");
    is(mmu_write_type(maddr_of(l1), bare | PTE_AVL, MMU_PT_UPDATE_PRESERVE_AD, DOMID_SELF), 0,
       "PRESERVE_AD");
    is(l1[0] & (ad | PTE_AVL), ad | PTE_AVL, "keeps them");
    is(mmu_write_type(maddr_of(l1), bare, 0, DOMID_SELF), 0, "NORMAL");
    is(l1[0] & ad, 0, "clears them");
    mmu_write(l1, 0);
}

static void machphys(void)
{
    void *page = page_alloc();
    u64 mfn = mfn_of(page), pfn = pfn_of(page), alien = 0;

    is(mmu_write_type(mfn << 12, 0x4242, MMU_MACHPHYS_UPDATE, DOMID_SELF), 0, "MACHPHYS");
    is(m2p(mfn), 0x4242, "m2p changed");
    is(mmu_write_type(mfn << 12, pfn, MMU_MACHPHYS_UPDATE, DOMID_SELF), 0, "MACHPHYS back");
    is(m2p(mfn), pfn, "m2p is right again");
    while (alien < max_mfn && mfn_is_ours(alien))
        alien++;
    /* XSA-113, 251: foreign frames, wild values, many times. */
    for (int i = 0; i < 1000; i++)
        if (mmu_write_type((256 + rand_below(max_mfn)) << 12 | 1UL << 45, 5,
                           MMU_MACHPHYS_UPDATE, DOMID_SELF) >= 0)
            ok(false, "MACHPHYS of a frame that is not there");
    refused(mmu_write_type(alien << 12, 5, MMU_MACHPHYS_UPDATE, DOMID_SELF),
            "MACHPHYS of an alien frame");
    mmu_write_type(mfn << 12, ~0UL, MMU_MACHPHYS_UPDATE, DOMID_SELF);
    mmu_write_type(mfn << 12, ~1UL, MMU_MACHPHYS_UPDATE, DOMID_SELF);
    is(mmu_write_type(mfn << 12, pfn, MMU_MACHPHYS_UPDATE, DOMID_SELF), 0,
       "MACHPHYS after sentinels");
    page_free(page);
}

static void pins(void)
{
    u64 *t[5], *data = page_alloc();

    for (int l = 1; l <= 4; l++) {
        t[l] = page_alloc();
        t[l][7] = maddr_of(l == 1 ? data : t[l - 1]) | PTE_P | PTE_RW;
        is(pin(l, t[l]) < 0, true, "L%d: no pin while it is writable", l);
        is(set_ro(t[l]), 0, "L%d: make it read-only", l);
        is(pin(l, t[l]), 0, "L%d: pin", l);
        is(t[l][7] & (PTE_US | PTE_P), PTE_US | PTE_P, "L%d: US is added in validation", l);
        refused(pin(l, t[l]), "L%d: double pin", l);
        refused(set_rw(t[l]), "L%d: no writable mapping of a table", l);
        for (int o = 1; o <= 4; o++)
            if (o != l)
                refused(pin(o, t[l]), "L%d: no pin as L%d", l, o);
    }
    is(unpin(t[1]), 0, "unpin the L1");
    refused(unpin(t[1]), "unpin it again");
    refused(set_rw(t[1]), "it is still used by the L2");
    for (int l = 4; l >= 2; l--)
        is(unpin(t[l]), 0, "unpin the L%d", l);
    for (int l = 1; l <= 4; l++)
        is(set_rw(t[l]), 0, "L%d may be written again", l);
    for (int l = 1; l <= 4; l++)
        page_free(t[l]);
    refused(unpin(data), "unpin a page that is no table");
    for (int l = 1; l <= 4; l++) {
        refused(mmuext(l - 1, max_mfn + 1, 0), "pin a frame past the end as L%d", l);
        refused(mmuext(l - 1, ~0UL, 0), "pin frame ~0 as L%d", l);
        refused(mmuext(l - 1, 0xfee00, 0), "pin the local APIC as L%d", l);
    }
    page_free(data);
}

/* One entry of a prepared table that must be refused, at each level. */
static void bad_entry(int level, u64 entry, const char *what)
{
    u64 *table = page_alloc();

    table[511] = entry;
    set_ro(table);
    refused(pin(level, table), "L%d with %s", level, what);
    is(set_rw(table), 0, "L%d with %s: a failed pin leaves the page as it was", level, what);
    page_free(table);
}

static void upper_rules(void)
{
    static const struct {
        u64 bit;
        const char *name;
    } bits[] = {{PTE_PSE, "PSE"}, {PTE_PCD, "PCD"}, {PTE_PWT, "PWT"}};

    for (int level = 2; level <= 4; level++) {
        u64 *lower = page_alloc(), *plain = page_alloc(), *table = page_alloc();

        is(make_table(level - 1, lower), 0, "a good L%d", level - 1);
        for (unsigned i = 0; i < 3; i++)
            bad_entry(level, maddr_of(lower) | PTE_KERN | bits[i].bit, bits[i].name);
        bad_entry(level, maddr_of(plain) | PTE_KERN, "a data page below");
        bad_entry(level, 0xfee00000 | PTE_KERN, "the local APIC below");
        bad_entry(level, 0xb8000 | PTE_KERN, "the video memory below");
        bad_entry(level, (max_mfn + 9) << 12 | PTE_KERN, "a frame past the end below");
        bad_entry(level, mfn_of(l4_table()) << 12 | PTE_KERN, "the live L4 below");
        bad_entry(level, PTE_ADDR | PTE_KERN, "all address bits");
        /* XSA-148: a valid entry whose flags turn it into a superpage. */
        table[0] = maddr_of(lower) | PTE_KERN;
        is(make_table(level, table), 0, "a good L%d", level);
        refused(mmu_write(table, table[0] | PTE_PSE), "L%d: PSE by an update of flags", level);
        refused(mmu_write(table, (table[0] & ~PTE_RW) | PTE_PSE), "L%d: PSE, read-only", level);
        refused(mmu_write(table, table[0] | PTE_PCD), "L%d: PCD by an update of flags", level);
        is(mmu_write(table, table[0] | PTE_AVL), 0, "L%d: available bits", level);
        is(mmu_write(table, table[0] & ~PTE_RW), 0, "L%d: RW off", level);
        is(mmu_write(table, table[0] | PTE_RW), 0, "L%d: RW on", level);
        is(mmu_write(table, table[0] | PTE_NX), 0, "L%d: NX", level);
        is(try_write((u64)table, 0), 14, "L%d: a direct write faults", level);
        drop_table(table);
        drop_table(lower);
        page_free(plain);
    }
}

static void hole_slots(void)
{
    u64 *l3 = page_alloc(), *l4 = page_alloc(), *old = l4_table();
    unsigned bad = 0, kept = 0;

    is(make_table(3, l3), 0, "an empty L3");
    for (unsigned slot = 256; slot < 272; slot++) {
        bad += mmu_write(old + slot, maddr_of(l3) | PTE_KERN) >= 0;
        bad += mmu_write(old + slot, 0) >= 0 && old[slot] == 0 && slot == 256;
    }
    is(bad, 0, "slots 256 to 271 of the live L4 refuse updates");
    for (unsigned slot = 256; slot < 272; slot++)
        l4[slot] = maddr_of(l3) | PTE_KERN;
    memcpy(l4 + 272, old + 272, 240 * 8);
    memcpy(l4, old, 256 * 8);
    if (make_table(4, l4) == 0) {
        for (unsigned slot = 256; slot < 272; slot++)
            kept += (l4[slot] & PTE_ADDR) == maddr_of(l3);
        is(mmuext(MMUEXT_NEW_BASEPTR, mfn_of(l4), 0), 0,
           "an L4 with the hole filled is usable");
        is(try_read(HOLE_START + (3UL << 39), NULL), 14, "our L3 is not in the hole");
        is(m2p(mfn_of(l4)), pfn_of(l4), "the m2p is");
        mmuext(MMUEXT_NEW_BASEPTR, mfn_of(old), 0);
        unpin(l4);
    } else
        ok(true, "an L4 with the hole filled is refused");
    is(set_rw(l4), 0, "the L4 is free again");
    drop_table(l3);
    page_free(l4);
}

/* Linear tables: entries that point at their own level. XSA-182, 240. */
static void recursion(void)
{
    for (int level = 2; level <= 4; level++) {
        u64 *a = page_alloc(), *b = page_alloc();
        long rc;

        set_ro(a), set_ro(b);
        pin(level, a);
        rc = mmu_write(a + 3, maddr_of(a) | PTE_RO);
        is_dev(rc < 0, false, true, "L%d: read-only entry to itself", level);
        refused(mmu_write(a + 4, maddr_of(a) | PTE_KERN), "L%d: writable entry to itself",
                level);
        if (rc == 0)
            refused(mmu_write(a + 3, a[3] | PTE_RW), "L%d: RW turned on in it", level);
        pin(level, b);
        rc = mmu_write(a + 5, maddr_of(b) | PTE_RO);
        is_dev(rc < 0, false, true, "L%d: read-only entry to another", level);
        refused(mmu_write(a + 6, maddr_of(b) | PTE_KERN), "L%d: writable entry to another",
                level);
        for (int i = 3; i < 7; i++)
            mmu_write(a + i, 0);
        unpin(a), unpin(b);
        ok(set_rw(a) == 0 && set_rw(b) == 0, "L%d: both are free again", level);
        page_free(a), page_free(b);
    }
}

static void *copy_of_l4(void)
{
    u64 *l4 = page_alloc();

    memcpy(l4, l4_table(), PAGE_SIZE);
    memset(l4 + 256, 0, 16 * 8);
    return l4;
}

/* Switching top tables, and that no translation of the old one stays. XSA-292. */
static void base_pointers(void)
{
    u64 *l4 = copy_of_l4(), *one = page_alloc(), *two = page_alloc(), old = mfn_of(l4_table());
    u64 va = 0x30000000000, bad = 0, *entry;

    one[0] = 1, two[0] = 2;
    is(make_table(4, l4), 0, "a second L4");
    entry = pte_make(l4_table(), va);
    mmu_write(entry, maddr_of(one) | PTE_KERN);
    entry = pte_make(l4, va);
    is(mmu_write(entry, maddr_of(two) | PTE_KERN), 0, "its own mapping");
    is(*(volatile u64 *)va, 1, "the first L4 maps one page");
    for (int i = 0; i < 50; i++) {
        bad += mmuext(MMUEXT_NEW_BASEPTR, mfn_of(l4), 0) != 0;
        bad += *(volatile u64 *)va != 2;
        bad += mmuext(MMUEXT_NEW_BASEPTR, old, 0) != 0;
        bad += *(volatile u64 *)va != 1;
    }
    is(bad, 0, "the second L4 maps another, in every switch");
    is(mmuext(MMUEXT_NEW_BASEPTR, old, 0), 0, "new_baseptr to the current one");
    refused(mmuext(MMUEXT_NEW_BASEPTR, 0, 0), "new_baseptr to frame 0");
    refused(mmuext(MMUEXT_NEW_BASEPTR, ~0UL, 0), "new_baseptr to frame ~0");
    refused(mmuext(MMUEXT_NEW_BASEPTR, mfn_of(one), 0), "new_baseptr to a data page");
    refused(mmuext(MMUEXT_NEW_USER_BASEPTR, mfn_of(one), 0), "user baseptr to a data page");
    refused(mmuext(MMUEXT_NEW_USER_BASEPTR, mfn_of(entry), 0), "user baseptr to an L1");
    is(mmuext(MMUEXT_NEW_USER_BASEPTR, 0, 0), 0, "no user baseptr");
    is(mmuext(MMUEXT_NEW_USER_BASEPTR, mfn_of(l4), 0), 0, "user baseptr");
    is(unpin(l4), 0, "unpin it while it is the user baseptr");
    refused(set_rw(l4), "it is still a table");
    is(mmuext(MMUEXT_NEW_USER_BASEPTR, 0, 0), 0, "drop the user baseptr");
    is(set_rw(l4), 0, "now it is free");
    set_ro(l4);
    is(mmuext(MMUEXT_NEW_BASEPTR, mfn_of(l4), 0), 0, "an L4 that is not pinned");
    refused(set_rw(l4), "cannot be written while it is loaded");
    is(mmuext(MMUEXT_NEW_BASEPTR, old, 0), 0, "and back");
    is(set_rw(l4), 0, "it is free again");
}

/* The same address, another page in user mode than in the kernel. XSA-294. */
static void user_toggle(void)
{
    u64 *kernel = page_alloc(), *user = page_alloc(), *l4 = page_alloc();
    u64 va = 0x38000000000, bad = 0;
    volatile u64 *p = (u64 *)va;

    user_init();
    kernel[0] = 1, user[0] = 2;
    l4[0] = l4_table()[0];
    is(make_table(4, l4), 0, "a user L4");
    mmu_write(pte_make(l4_table(), va), maddr_of(kernel) | PTE_KERN);
    mmu_write(pte_make(l4, va), maddr_of(user) | PTE_KERN);
    mmuext(MMUEXT_NEW_USER_BASEPTR, mfn_of(l4), 0);
    for (int i = 0; i < 50; i++) {
        bad += *p != 1;
        USER_RUN(u_load, va, 0, 0);
        bad += trap.vec != 6 || trap.r.rax != 2;
    }
    is(bad, 0, "user and kernel see their own page at one address");
    mmuext(MMUEXT_NEW_USER_BASEPTR, user_l4, 0);
    USER_RUN(u_load, va, 0, 0);
    is(trap.vec, 14, "the first user table has nothing there");
}

static void flushes(void)
{
    struct mmuext_op ops[3] = {
        {.cmd = MMUEXT_TLB_FLUSH_LOCAL}, {.cmd = 99}, {.cmd = MMUEXT_TLB_FLUSH_LOCAL}};
    u64 mask[128] = {1};
    u32 done = 99;
    u8 *a = page_alloc(), *b = page_alloc();

    is(mmuext(MMUEXT_TLB_FLUSH_LOCAL, 0, 0), 0, "TLB_FLUSH_LOCAL");
    is(mmuext(MMUEXT_TLB_FLUSH_ALL, 0, 0), 0, "TLB_FLUSH_ALL");
    is(mmuext(MMUEXT_TLB_FLUSH_MULTI, 0, (u64)mask), 0, "TLB_FLUSH_MULTI");
    memset(mask, 0xff, sizeof(mask));
    is(mmuext(MMUEXT_TLB_FLUSH_MULTI, 0, (u64)mask), 0, "TLB_FLUSH_MULTI, all bits");
    is(mmuext(MMUEXT_INVLPG_LOCAL, window(0), 0), 0, "INVLPG_LOCAL");
    is(mmuext(MMUEXT_INVLPG_ALL, window(0), 0), 0, "INVLPG_ALL");
    is(mmuext(MMUEXT_INVLPG_MULTI, window(0), (u64)mask), 0, "INVLPG_MULTI");
    refused(mmuext(MMUEXT_TLB_FLUSH_MULTI, 0, HOLE_START), "TLB_FLUSH_MULTI, mask in the hole");
    refused(mmuext(MMUEXT_INVLPG_MULTI, 0, UNMAPPED), "INVLPG_MULTI, mask unmapped");
    /* XSA-279 */
    mmuext(MMUEXT_INVLPG_LOCAL, NON_CANONICAL, 0);
    mmuext(MMUEXT_INVLPG_ALL, NON_CANONICAL, 0);
    mmuext(MMUEXT_INVLPG_LOCAL, HOLE_END - 1, 0);
    mmuext(MMUEXT_INVLPG_MULTI, 1UL << 63, (u64)mask);
    ok(true, "INVLPG of non-canonical addresses survived");
    mmuext(MMUEXT_FLUSH_CACHE, 0, 0);
    mmuext(MMUEXT_FLUSH_CACHE_GLOBAL, 0, 0);
    memset(a, 7, PAGE_SIZE);
    is(mmuext(MMUEXT_COPY_PAGE, mfn_of(b), mfn_of(a)), 0, "COPY_PAGE");
    is(memcmp(a, b, PAGE_SIZE), 0, "copied");
    is(mmuext(MMUEXT_CLEAR_PAGE, mfn_of(b), 0), 0, "CLEAR_PAGE");
    ok(b[0] == 0 && b[PAGE_SIZE - 1] == 0, "cleared");
    refused(mmuext(MMUEXT_CLEAR_PAGE, mfn_of(l4_table()), 0), "CLEAR_PAGE of a table");
    refused(mmuext(MMUEXT_COPY_PAGE, mfn_of(l4_table()), mfn_of(a)), "COPY_PAGE to a table");
    refused(mmuext(MMUEXT_COPY_PAGE, mfn_of(b), max_mfn + 1), "COPY_PAGE from nowhere");
    refused(mmuext(MMUEXT_CLEAR_PAGE, ~0UL, 0), "CLEAR_PAGE of nothing");
    /* XSA-167 */
    refused(mmuext(MMUEXT_MARK_SUPER, ~0UL, 0), "MARK_SUPER");
    refused(mmuext(MMUEXT_UNMARK_SUPER, mfn_of(a), 0), "UNMARK_SUPER");
    refused(hc_mmuext(ops, 3, &done, DOMID_SELF), "unknown mmuext op");
    is(done, 1, "done counts the good ones");
    is(hc_mmuext(ops, 1, NULL, DOMID_SELF), 0, "no done pointer");
    refused(hc_mmuext((void *)HOLE_START, 1, &done, DOMID_SELF), "ops in the hole");
    ok(hc_mmuext(ops, 1, (void *)HOLE_START, DOMID_SELF) <= 0, "done in the hole");
    refused(hc_mmuext(ops, 1, &done, 77), "foreign domain that is not there");
    page_free(a), page_free(b);
}

/* XSA-286: an update through tables that an earlier entry of the batch replaced. */
static void switched_subtree(void)
{
    u64 va = 0x40000000000, *l1_a, *l1_b = page_alloc(), *l2, pte = maddr_of(page_alloc());
    struct mmu_update req;
    struct multicall_entry calls[3] = {
        {.op = __HYPERVISOR_update_va_mapping, .args = {va, pte | PTE_KERN, UVMF_INVLPG}},
        {.op = __HYPERVISOR_mmu_update, .args = {(u64)&req, 1, 0, DOMID_SELF}},
        {.op = __HYPERVISOR_update_va_mapping,
         .args = {va + PAGE_SIZE, pte | PTE_KERN, UVMF_INVLPG}}};

    l1_a = pte_make(l4_table(), va);
    l2 = pte_at(va, 2);
    set_ro(l1_b);
    req.ptr = maddr_of(l2);
    req.val = maddr_of(l1_b) | PTE_KERN;
    is(hc_multicall(calls, 3), 0, "multicall");
    ok(!calls[0].result && !calls[1].result && !calls[2].result, "results of its entries");
    ok((l1_a[0] & PTE_P) && !(l1_a[1] & PTE_P), "the first update went to the old L1");
    ok(!(l1_b[0] & PTE_P) && (l1_b[1] & PTE_P), "the last one to the new L1");
}

/* More entries than there are: two in the last bytes before an unmapped page. */
static void wild_count(void)
{
    struct multicall_entry *calls = (void *)(window(2) - 2 * sizeof(*calls));

    window_map(1, maddr_of(page_alloc()) | PTE_KERN);
    window_map(2, 0);
    calls[0] = calls[1] = (struct multicall_entry){.op = __HYPERVISOR_xen_version};
    refused(hc_multicall(calls, ~0U), "a wild number of entries");
    refused(hc_multicall(calls, 3), "one entry too many");
}

static void multicalls(void)
{
    struct multicall_entry calls[3] = {{.op = __HYPERVISOR_xen_version},
                                       {.op = 11},
                                       {.op = __HYPERVISOR_xen_version, .args = {7}}};

    is(hc_multicall(calls, 3), 0, "multicall");
    is(calls[0].result, 4 << 16 | 17, "first result");
    is(calls[1].result, -XEN_ENOSYS, "an error in the middle");
    is(calls[2].result, PAGE_SIZE, "does not stop the rest");
    is(hc_multicall(NULL, 0), 0, "empty multicall");
    refused(hc_multicall((void *)HOLE_START, 1), "entries in the hole");
    refused(hc_multicall((void *)UNMAPPED, 1), "entries unmapped");
    wild_count();
    calls[0].op = __HYPERVISOR_multicall;
    calls[0].args[0] = (u64)(calls + 1);
    calls[0].args[1] = 1;
    hc_multicall(calls, 1);
    refused(calls[0].result, "nested multicall");
    calls[0].op = 1UL << 40 | __HYPERVISOR_xen_version;
    hc_multicall(calls, 1);
    ok((long)calls[0].result == -XEN_ENOSYS || calls[0].result == (4 << 16 | 17),
       "a 64-bit op number");
}

/* decrease_reservation gives a page back, populate_physmap gets one. */
static void reservations(void)
{
    void *page = page_alloc();
    u64 pfn = pfn_of(page), mfn = mfn_of(page), got = pfn, before,
        *p2m = (u64 *)start->mfn_list;
    struct xen_memory_reservation r = {.nr_extents = 1, .domid = DOMID_SELF};
    domid_t self = DOMID_SELF;

    before = hc_memory(XENMEM_current_reservation, &self);
    hc_update_va(page, 0, UVMF_INVLPG);
    set_xen_guest_handle(r.extent_start, &mfn);
    is(hc_memory(XENMEM_decrease_reservation, &r), 1, "decrease_reservation");
    is(hc_memory(XENMEM_current_reservation, &self), before - 1, "one page less");
    refused(hc_update_va(page, mfn << 12 | PTE_KERN, UVMF_INVLPG), "the page is not ours now");
    refused(hc_update_va(page, mfn << 12 | PTE_RO, UVMF_INVLPG), "not even to read");
    is(hc_memory(XENMEM_decrease_reservation, &r), 0, "a second time");
    set_xen_guest_handle(r.extent_start, &got);
    is(hc_memory(XENMEM_populate_physmap, &r), 1, "populate_physmap");
    is(m2p(got), pfn, "m2p is set");
    p2m[pfn] = got;
    is(set_rw(page), 0, "map the new page");
    /* XSA-100: what comes back is scrubbed. */
    is(((u64 *)page)[0] | ((u64 *)page)[511], 0, "it is clean");
    is(hc_memory(XENMEM_current_reservation, &self), before, "as many as before");
    page_free(page);
}

static void exchange(void)
{
    enum { N = 8 };
    static u8 *pages[N], *gaps[N];
    u64 in[N], out = 0, pfn, *p2m = (u64 *)start->mfn_list, bad = 0;
    struct xen_memory_exchange ex = {.in = {.nr_extents = N, .domid = DOMID_SELF},
                                     .out = {.nr_extents = 1,
                                             .extent_order = 3,
                                             .mem_flags = XENMEMF_address_bits(32),
                                             .domid = DOMID_SELF}};

    /* Frames in a row may fit as they are, and stay: take every other one. */
    for (int i = 0; i < N; i++) {
        pages[i] = page_alloc();
        gaps[i] = page_alloc();
        in[i] = mfn_of(pages[i]);
        memset(pages[i], 0x77, PAGE_SIZE);
        hc_update_va(pages[i], 0, UVMF_INVLPG);
    }
    out = pfn = pfn_of(pages[0]);
    set_xen_guest_handle(ex.in.extent_start, in);
    set_xen_guest_handle(ex.out.extent_start, &out);
    is(hc_memory(XENMEM_exchange, &ex), 0, "exchange 8 pages for one extent of order 3");
    is(ex.nr_exchanged, N, "nr_exchanged counts the inputs");
    is(out & 7, 0, "the extent is aligned");
    for (u64 i = 0; i < N; i++) {
        bad += m2p(out + i) != pfn + i && m2p(out + i) < start->nr_pages;
        refused(hc_update_va(pages[i], in[i] << 12 | PTE_KERN, UVMF_INVLPG),
                "old page %lu is gone", i);
    }
    for (int i = 0; i < N; i++) {
        p2m[pfn_of(pages[i])] = out + i;
        mmu_write_type((out + i) << 12, pfn_of(pages[i]), MMU_MACHPHYS_UPDATE, DOMID_SELF);
        bad += set_rw(pages[i]) != 0;
        bad += ((u64 *)pages[i])[0] != 0 && ((u64 *)pages[i])[0] == 0x7777777777777777;
        page_free(pages[i]);
        page_free(gaps[i]);
    }
    is(bad, 0, "the new pages are ours");
}

void test_mmu(void)
{
    update_va();
    l1_flags();
    mmu_updates();
    preserve_ad();
    machphys();
    pins();
    upper_rules();
    hole_slots();
    recursion();
    base_pointers();
    user_toggle();
    flushes();
    switched_subtree();
    multicalls();
    reservations();
    exchange();
    ok(tables_are_readonly(), "no table is mapped writable");
}
