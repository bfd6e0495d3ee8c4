/*
 * What saving, restoring and moving a domain needs: types of frames, the machine-to-physical
 * table by its list, a copy of a domain with other frames, the log of dirty pages.
 */
#include "domu.h"

enum { ECHO = 1, SUSPEND, DIRTY, TABLES, USERS };

static struct domu u, copy;
static struct vcpu_guest_context ctx;
static u64 info[1024], types[1024];
static volatile u64 left_behind = 1; /* written before the suspend, read after */

#define ARENA_PAGES 64
static u64 arena[ARENA_PAGES][512] __attribute__((aligned(4096)));
static u64 spare_table[512] __attribute__((aligned(4096)));

/* Suspends; the answer of the hypercall is the answer of the order. */
static void suspend(void)
{
    struct sched_shutdown s = {.reason = SHUTDOWN_suspend};
    long rc;

    left_behind = domu_mail.in[0];
    vi->evtchn_upcall_mask = 1;
    rc = HC(sched_op, SCHEDOP_shutdown, &s, 0x1234567, 0, 0);
    domu_mail.out[0] = left_behind;
    domu_reply(rc);
}

static u64 faults;
USER_CODE_TEXT(user_store, "mov %rdi, (%rsi); ud2");

/*
 * Guest user mode writes to its page; when that is read-only by now the kernel makes it writable,
 * as one that knows copy-on-write does.
 */
static u64 user_writes(u64 value)
{
    user_init();
    user_map(USER_CODE, (pte_read(USER_CODE) & PTE_ADDR) | PTE_USER);
    USER_RUN(user_store, value, USER_DATA, 0);
    if (trap.vec == 14) {
        faults++;
        user_map(USER_CODE, (pte_read(USER_CODE) & PTE_ADDR) | PTE_USER);
        user_map(USER_DATA, (pte_read(USER_DATA) & PTE_ADDR) | PTE_USER);
        USER_RUN(user_store, value, USER_DATA, 0);
    }
    domu_mail.out[1] = faults;
    return trap.vec == 6 ? *(u64 *)USER_DATA : ~trap.vec;
}

static void other_side(void)
{
    for (;;) {
        switch (domu_next()) {
        case ECHO:
            domu_reply(domu_mail.in[0] + 1);
            break;
        case SUSPEND:
            suspend();
            break;
        case DIRTY: /* writes to every in[0]-th page */
            for (u64 i = 0; i < ARENA_PAGES; i += domu_mail.in[0])
                arena[i][i]++;
            domu_reply(0);
            break;
        case TABLES: /* makes a table and takes it apart again */
            domu_reply(domu_mail.in[0] ? make_table(1, spare_table) : unpin(spare_table));
            if (!domu_mail.in[0])
                set_rw(spare_table);
            break;
        case USERS:
            domu_reply(user_writes(domu_mail.in[0]));
            break;
        default:
            domu_reply(~0UL);
            break;
        }
    }
}

/* --- types of frames --- */

static long frame_info(u64 num, u64 *list)
{
    struct xen_domctl op = {0};

    op.u.getpageframeinfo3.num = num;
    set_xen_guest_handle(op.u.getpageframeinfo3.array, list);
    return domctl(XEN_DOMCTL_getpageframeinfo3, u.id, &op);
}

static u64 info_of(u64 mfn)
{
    info[0] = mfn;
    if (frame_info(1, info))
        return 1;
    return info[0] & XEN_DOMCTL_PFINFO_LTAB_MASK;
}

static void frame_infos(void)
{
    is(info_of(u.mfn[u.top_pfn]), XEN_DOMCTL_PFINFO_L4TAB | XEN_DOMCTL_PFINFO_LPINTAB,
       "the top table is an L4, pinned");
    is(info_of(u.mfn[u.top_pfn + 1]), XEN_DOMCTL_PFINFO_L3TAB, "an L3");
    is(info_of(u.mfn[u.top_pfn + 2]), XEN_DOMCTL_PFINFO_L2TAB, "an L2");
    is(info_of(u.mfn[u.top_pfn + 3]), XEN_DOMCTL_PFINFO_L1TAB, "an L1");
    is(info_of(domu_mfn_of(&u, arena)), XEN_DOMCTL_PFINFO_NOTAB, "a page of data");
    is(info_of(mfn_of(arena)), XEN_DOMCTL_PFINFO_XTAB, "a frame of another domain");
    is(info_of(u.shared_mfn), XEN_DOMCTL_PFINFO_XTAB, "the shared page");
    is(info_of(max_mfn + 1), XEN_DOMCTL_PFINFO_XTAB, "a frame that is not there");
    is(info_of(~0UL), XEN_DOMCTL_PFINFO_XTAB, "one that cannot be");
    is(domu_ask(&u, TABLES, 1), 0, "it makes a table");
    is(info_of(domu_mfn_of(&u, spare_table)),
       XEN_DOMCTL_PFINFO_L1TAB | XEN_DOMCTL_PFINFO_LPINTAB, "which is an L1, pinned");
    is(domu_ask(&u, TABLES, 0), 0, "and takes it back");
    is(info_of(domu_mfn_of(&u, spare_table)), XEN_DOMCTL_PFINFO_NOTAB, "no table any more");
    for (unsigned i = 0; i < 1024; i++)
        info[i] = u.mfn[i];
    is(frame_info(1024, info), 0, "1024 at once");
    is(info[u.top_pfn] & XEN_DOMCTL_PFINFO_LTABTYPE_MASK, XEN_DOMCTL_PFINFO_L4TAB, "the first");
    is(info[1023] & XEN_DOMCTL_PFINFO_LTAB_MASK, XEN_DOMCTL_PFINFO_NOTAB, "the last");
    is(frame_info(1025, info), -XEN_E2BIG, "not more");
    is(frame_info(~0UL, info), -XEN_E2BIG, "not very many");
    is(frame_info(4, (u64 *)HOLE_START), -XEN_EFAULT, "not in the hypervisor's addresses");
    is(frame_info(0, NULL), 0, "none");
}

/* --- the machine-to-physical table by its list --- */

static const struct domu xen = {.id = DOMID_XEN};

static void machphys(void)
{
    struct xen_machphys_mfn_list list = {.max_extents = 8};
    u64 extent[8], last = max_mfn / 512, *view;

    set_xen_guest_handle(list.extent_start, extent);
    is(hc_memory(XENMEM_machphys_mfn_list, &list), 0, "the list");
    is(list.nr_extents, max_mfn / 262144 + 1, "one entry for each 2 MiB");
    view = domu_map_mfn(&xen, extent[0] + mfn_of(arena) / 512, PTE_RO | PTE_NX);
    ok(view && view[mfn_of(arena) % 512] == pfn_of(arena), "its page for a frame of ours");
    if (view)
        domu_unmap(view);
    view = domu_map_mfn(&xen, extent[0] + u.mfn[5] / 512, PTE_RO);
    ok(view && view[u.mfn[5] % 512] == 5, "its page for a frame of the other domain");
    if (view) {
        ok(EX("movq %0, (%1)", : : "r"(1UL), "r"(view) : "memory") == 14, "cannot be written");
        domu_unmap(view);
    }
    ok(!domu_map_mfn(&xen, extent[0], PTE_KERN), "nor mapped to write");
    for (u64 i = 0; i < 512; i++) {
        view = domu_map_mfn(&xen, extent[last / 512] + i, PTE_RO);
        if (!view || (i <= last % 512 && i < 128 && try_read((u64)view, NULL) != VEC_NONE)) {
            ok(false, "page %lu of the last piece", i);
            break;
        }
        domu_unmap(view);
    }
    list.max_extents = 0;
    is(hc_memory(XENMEM_machphys_mfn_list, &list), 0, "no room for entries");
    is(list.nr_extents, 0, "gives none");
    /* A frame of the hypervisor that is not for show. */
    ok(!domu_map_mfn(&xen, max_mfn - 1, PTE_RO) || mfn_is_ram(max_mfn - 1) == false,
       "no other frame of the hypervisor's");
}

static u64 gpfn_of(u16 id)
{
    domid_t d = id;

    return hc_memory(XENMEM_maximum_gpfn, &d);
}

static void maximum_gpfn(void)
{
    struct shared_info *s = domu_map_mfn(&u, u.shared_mfn, PTE_KERN);

    is(gpfn_of(u.id), 0, "a domain that has not said where its pages end");
    if (!ok(s, "its shared page"))
        return;
    s->arch.max_pfn = 4711;
    is(gpfn_of(u.id), 4710, "one that has");
    s->arch.max_pfn = ~0UL;
    if (is_serai)
        is(gpfn_of(u.id), (1UL << 34) - 1, "one that lies");
    s->arch.max_pfn = u.pages;
    domu_unmap(s);
}

/* --- a copy with other frames --- */

/* Entries of a table name the copy's frames instead. */
static void translate_table(u64 *to, const u64 *from, unsigned level)
{
    for (unsigned i = 0; i < 512; i++) {
        u64 pfn;

        to[i] = from[i];
        if (level == 4 && i >= 256 && i < 272)
            to[i] = 0;
        if (!(to[i] & PTE_P))
            continue;
        pfn = m2p((to[i] & PTE_ADDR) / PAGE_SIZE);
        if (pfn >= u.pages) /* the shared page */
            to[i] = copy.shared_mfn * PAGE_SIZE | PTE_KERN;
        else
            to[i] = copy.mfn[pfn] * PAGE_SIZE | (to[i] & ~PTE_ADDR);
    }
}

static void copy_page(u64 pfn, u64 type)
{
    const u64 *from = domu_map_mfn(&u, u.mfn[pfn], PTE_RO);
    u64 *to = domu_map_mfn(&copy, copy.mfn[pfn], PTE_KERN);

    if (!from || !to)
        die("a page cannot be mapped for copying");
    type &= XEN_DOMCTL_PFINFO_LTABTYPE_MASK;
    if (type)
        translate_table(to, from, type >> XEN_DOMCTL_PFINFO_LTAB_SHIFT);
    else
        memcpy(to, from, PAGE_SIZE);
    domu_unmap(from);
    domu_unmap(to);
}

/* All, or those of a bitmap. */
static void copy_pages(const u8 *which)
{
    for (u64 at = 0; at < u.pages; at += 1024) {
        u64 n = u.pages - at < 1024 ? u.pages - at : 1024;

        memcpy(types, u.mfn + at, n * 8);
        if (frame_info(n, types))
            die("no types");
        for (u64 i = 0; i < n; i++)
            if (!which || which[(at + i) / 8] >> (at + i) % 8 & 1)
                copy_page(at + i, types[i]);
    }
}

/* Its lists name frames: start_info's and the p2m list itself. */
static void copy_lists(void)
{
    struct start_info *si = domu_view(&copy, (void *)u.start_va);
    u64 list = si->mfn_list;

    si->shared_info = copy.shared_mfn * PAGE_SIZE;
    domu_unmap(si);
    for (u64 i = 0; i < copy.pages; i++) {
        u64 *view = domu_view(&copy, (void *)(list + i * 8));

        *view = copy.mfn[i];
        domu_unmap(view);
    }
}

static void copy_shared(void)
{
    struct shared_info *to = domu_map_mfn(&copy, copy.shared_mfn, PTE_KERN);
    struct shared_info *from = domu_map_mfn(&u, u.shared_mfn, PTE_RO);

    if (!to || !from)
        die("a shared page cannot be mapped");
    memcpy(to->vcpu_info, from->vcpu_info, sizeof(to->vcpu_info));
    to->arch.max_pfn = from->arch.max_pfn;
    domu_unmap(to);
    domu_unmap(from);
}

static long context_op(unsigned cmd, u16 id)
{
    struct xen_domctl op = {0};

    set_xen_guest_handle(op.u.vcpucontext.ctxt, &ctx);
    return domctl(cmd, id, &op);
}

/* All that is not in pages, in the order of libxenguest; then it runs. */
static void finish_copy(void)
{
    copy_lists();
    copy_shared();
    is(context_op(XEN_DOMCTL_getvcpucontext, u.id), 0, "the context of the suspended domain");
    is(ctx.user_regs.rdx, 0x1234567, "rdx survives the suspend");
    ctx.ctrlreg[3] = copy.mfn[m2p(ctx.ctrlreg[3] >> 12)] << 12;
    if (ctx.ctrlreg[1])
        ctx.ctrlreg[1] = copy.mfn[m2p(ctx.ctrlreg[1] >> 12)] << 12;
    is(context_op(XEN_DOMCTL_setvcpucontext, copy.id), 0, "goes into the copy");
    is(domu_mmuext(&copy, MMUEXT_PIN_L4_TABLE, copy.mfn[u.top_pfn]), 0, "its top table");
    copy.mail = domu_view(&copy, &domu_mail);
    copy.start_va = u.start_va;
    copy.orders = u.orders;
    domu_run(&copy);
}

static void save_and_restore(void)
{
    domu_order(&u, SUSPEND, 4711);
    is(domu_await_shutdown(&u), SHUTDOWN_suspend, "it suspends");
    domu_make_empty(&copy, 1);
    domu_populate(&copy, u.pages);
    copy_pages(NULL);
    finish_copy();
    is(domu_await(&copy), 0, "the copy comes back from the suspend with 0");
    is(copy.mail->out[0], 4711, "with its memory");
    is(domu_ask(&copy, ECHO, 7), 8, "and lives");
    is(domu_ask(&copy, TABLES, 1), 0, "makes tables");
    is(domu_ask(&copy, TABLES, 0), 0, "and takes them back");
    ok(domu_end(&copy), "the copy can be destroyed");
    /* And the original goes on, as after a checkpoint. */
    context_op(XEN_DOMCTL_getvcpucontext, u.id);
    ctx.user_regs.rax = 1;
    is(context_op(XEN_DOMCTL_setvcpucontext, u.id), 0,
       "the suspended vcpu gets an answer of 1");
    is(domctl_plain(XEN_DOMCTL_resumedomain, u.id), 0, "resume");
    is(domu_await(&u), 1, "it comes back with 1");
    is(domu_ask(&u, ECHO, 7), 8, "and lives");
}

/* --- pages that were written to --- */

static u8 dirty[DOMU_PAGES / 8 + 8];

static long shadow_op(u32 what, u32 mode, u64 pages, void *bitmap, struct xen_domctl *op)
{
    memset(op, 0, sizeof(*op));
    op->u.shadow_op.op = what;
    op->u.shadow_op.mode = mode;
    op->u.shadow_op.pages = pages;
    set_xen_guest_handle(op->u.shadow_op.dirty_bitmap, bitmap);
    return domctl(XEN_DOMCTL_shadow_op, u.id, op);
}

static bool is_dirty(const volatile void *va)
{
    return dirty[pfn_of(va) / 8] >> pfn_of(va) % 8 & 1;
}

static u64 look(u32 mode)
{
    struct xen_domctl op;

    memset(dirty, 0xaa, sizeof(dirty));
    is(shadow_op(XEN_DOMCTL_SHADOW_OP_CLEAN, mode, u.pages, dirty, &op), 0, "look and clean");
    is(op.u.shadow_op.pages, u.pages, "all pages");
    return op.u.shadow_op.stats.dirty_count;
}

/* Of the arena's pages: the dirty ones are every step-th, none for 0. */
static bool arena_is(u64 step)
{
    bool good = true;

    for (u64 i = 0; i < ARENA_PAGES; i++)
        good &= is_dirty(arena[i]) == (step && i % step == 0);
    return good;
}

static u64 counted(void)
{
    u64 n = 0;

    for (u64 pfn = 0; pfn < u.pages; pfn++)
        n += dirty[pfn / 8] >> pfn % 8 & 1;
    return n;
}

static u64 arena_sum(void)
{
    u64 sum = 0;

    for (u64 i = 0; i < ARENA_PAGES; i++) {
        u64 *view = domu_map_mfn(&u, domu_mfn_of(&u, arena[i]), PTE_RO);

        sum += view[i];
        domu_unmap(view);
    }
    return sum;
}

static void log_is_exact(void)
{
    u64 sum = arena_sum(), n;

    look(0);
    n = look(0);
    note("%lu pages dirty of a domain that only waits", n);
    is(n, counted(), "as many as there are bits");
    ok(n < 20, "few pages of a domain that only waits");
    ok(arena_is(0), "none of the arena");
    domu_ask(&u, DIRTY, 2);
    look(0);
    ok(arena_is(2), "every second page, written to");
    domu_ask(&u, DIRTY, 3);
    domu_ask(&u, DIRTY, 5);
    look(0);
    ok(is_dirty(arena[3]) && is_dirty(arena[5]) && !is_dirty(arena[1]) && !is_dirty(arena[4]),
       "what was written to since");
    look(0);
    ok(arena_is(0), "none");
    is(arena_sum(), sum + 32 + 22 + 13, "and all that was written is there");
    is(domu_ask(&u, TABLES, 1), 0, "a page becomes a table");
    look(0);
    ok(is_dirty(spare_table), "it is dirty");
    is(domu_ask(&u, TABLES, 0), 0, "the table becomes a page");
    look(0);
    is(domu_ask(&u, USERS, 7), 7, "a user's write to a page, which its kernel lets through");
    look(0);
    n = u.mail->out[1];
    is(domu_ask(&u, USERS, 8), 8, "again");
    is(u.mail->out[1], n + 1, "with a fault on the page");
    is(domu_ask(&u, USERS, 9), 9, "and again");
    is(u.mail->out[1], n + 1, "without");
}

/* Changes that are not the domain's own. */
static void log_of_others(void)
{
    void *view;

    look(0);
    view = domu_map_mfn(&u, domu_mfn_of(&u, arena[9]), PTE_KERN);
    domu_unmap(view);
    domu_mmuext(&u, MMUEXT_CLEAR_PAGE, domu_mfn_of(&u, arena[11]));
    look(0);
    ok(is_dirty(arena[9]), "a page that this domain could write to");
    ok(is_dirty(arena[11]), "a page cleared for it");
    ok(!is_dirty(arena[10]), "not the one between");
}

static void log_dirty(void)
{
    struct xen_domctl op;

    is(shadow_op(XEN_DOMCTL_SHADOW_OP_OFF, 0, 0, NULL, &op), -XEN_EINVAL, "off: it is");
    if (shadow_op(XEN_DOMCTL_SHADOW_OP_ENABLE_LOGDIRTY, 0, 0, NULL, &op)) {
        skip("the log of dirty pages", "not without shadow page tables");
        return;
    }
    refused(shadow_op(XEN_DOMCTL_SHADOW_OP_ENABLE_LOGDIRTY, 0, 0, NULL, &op), "on twice");
    log_is_exact();
    log_of_others();
    is(domu_ask(&u, DIRTY, 1), 0, "it writes to all");
    is(shadow_op(XEN_DOMCTL_SHADOW_OP_PEEK, 0, u.pages, dirty, &op), 0, "a look at it");
    ok(arena_is(1), "shows all");
    look(0);
    ok(arena_is(1), "and the next one too");
    refused(shadow_op(XEN_DOMCTL_SHADOW_OP_CLEAN, 2, u.pages, dirty, &op), "an unknown mode");
    refused(shadow_op(XEN_DOMCTL_SHADOW_OP_CLEAN, 0, 1UL << 60, dirty, &op), "too many pages");
    domu_ask(&u, DIRTY, 1);
    is(shadow_op(XEN_DOMCTL_SHADOW_OP_CLEAN, 0, u.pages, (void *)HOLE_START, &op), -XEN_EFAULT,
       "into the hypervisor's addresses");
    look(XEN_DOMCTL_SHADOW_LOGDIRTY_FINAL);
    ok(arena_is(1), "loses nothing");
    is(shadow_op(XEN_DOMCTL_SHADOW_OP_OFF, 0, 0, NULL, &op), 0, "off");
    refused(shadow_op(XEN_DOMCTL_SHADOW_OP_CLEAN, 0, u.pages, dirty, &op), "clean without it");
    is(domu_ask(&u, DIRTY, 1), 0, "it writes as before");
}

/* Pages that are no tables. */
static u64 differences(void)
{
    u64 n = 0;

    for (u64 pfn = 0; pfn < u.pages; pfn++) {
        u64 *a, *b;

        if (info_of(u.mfn[pfn]) != XEN_DOMCTL_PFINFO_NOTAB)
            continue;
        a = domu_map_mfn(&u, u.mfn[pfn], PTE_RO);
        b = domu_map_mfn(&copy, copy.mfn[pfn], PTE_RO);
        n += memcmp(a, b, PAGE_SIZE) != 0;
        domu_unmap(a);
        domu_unmap(b);
    }
    return n;
}

/* What a live migration does: copies while the domain runs, the rest while it does not. */
static void move(void)
{
    struct xen_domctl op;

    if (shadow_op(XEN_DOMCTL_SHADOW_OP_ENABLE_LOGDIRTY, 0, 0, NULL, &op))
        return;
    domu_make_empty(&copy, 1);
    domu_populate(&copy, u.pages);
    copy_pages(NULL);
    domu_ask(&u, DIRTY, 3);
    domu_ask(&u, TABLES, 1);
    domu_ask(&u, USERS, 9);
    look(0);
    domu_ask(&u, DIRTY, 4);
    copy_pages(dirty);
    domu_ask(&u, TABLES, 0);
    domu_ask(&u, USERS, 10);
    domu_order(&u, SUSPEND, 4712);
    is(domu_await_shutdown(&u), SHUTDOWN_suspend, "it suspends");
    note("%lu pages dirty in the end", look(XEN_DOMCTL_SHADOW_LOGDIRTY_FINAL));
    copy_pages(dirty);
    is(shadow_op(XEN_DOMCTL_SHADOW_OP_OFF, 0, 0, NULL, &op), 0, "off");
    is(differences(), 0, "pages of data that differ");
    finish_copy();
    is(domu_await(&copy), 0, "the moved domain comes back");
    is(copy.mail->out[0], 4712, "with its memory");
    is(domu_ask(&copy, DIRTY, 1), 0, "writes everywhere");
    is(domu_ask(&copy, USERS, 11), 11, "and its user too");
    ok(domu_end(&copy), "and can be destroyed");
}

void test_save(void)
{
    domu_make(&u, other_side, 1);
    domu_run(&u);
    is(domu_ask(&u, ECHO, 1), 2, "a domain");
    frame_infos();
    machphys();
    maximum_gpfn();
    log_dirty();
    save_and_restore();
    move();
    ok(domu_end(&u), "it can be destroyed");
}
