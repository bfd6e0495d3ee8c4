/*
 * Grants between two domains: what back-ends do with a guest's pages, what a hostile guest does
 * to them, and what is left when one of the two goes.
 */
#include "domu.h"
#include "gnt.h"
#include <xen/sysctl.h>

enum {
    GIVE = 1, /* in: ref, flags, page */
    END,      /* ref */
    MAP,      /* dom, ref, flags: at window 0; answers the status; out: handle, the word read */
    WRITE,    /* a word to window 0 */
    UNMAP,    /* handle */
    COPY,     /* dom, ref: domain 0's page to page 3 */
    TABLE,    /* pins a page as a table of level 1, and unpins it; answers the first's result */
    RELEASE,  /* gives a page back to the machine; answers how many were taken */
    ACCEPT,   /* ref, page: gives that page back, and waits for a transfer instead */
    TRANSFER, /* ref, unmap it first: gives page 2 to domain 0 */
    REWRITE,  /* ref: rewrites its entry until the next order */
    FOREIGN,  /* what an ordinary domain may not do; answers how often it was done */
    NO_FRAME, /* ref: grants a frame of domain 0's, named in[1] */
    HOARD,    /* ref, n: maps it n times, each time over the last; answers how many */
    CHURN,    /* ref: maps and unmaps it until it is no more */
    BATCH,    /* ref: copies in long batches until the next order; out: batches, bad pieces */
};

#define N_PAGES 4
#define WORDS   (PAGE_SIZE / 8)
#define MAGIC   0x5e7a15e7a15e7a1UL

enum { REF = 8, REF2, REF3 };

static u64 pages[N_PAGES][WORDS] __attribute__((aligned(4096)));
static struct domu u;
static u64 *page; /* domain 0's */
static u64 mfn;

#define IN domu_mail.in

/* --- the other side --- */

static long release(u64 frame)
{
    struct xen_memory_reservation r = {.nr_extents = 1, .domid = DOMID_SELF};

    set_xen_guest_handle(r.extent_start, &frame);
    return hc_memory(XENMEM_decrease_reservation, &r);
}

static u64 map_order(void)
{
    u32 h;
    int status = gnt_map_at(window(0), IN[0], IN[1], IN[2], &h);

    domu_mail.out[0] = h;
    domu_mail.out[1] = status ? 0 : *(volatile u64 *)window(0);
    return status;
}

static u64 copy_order(void)
{
    struct gnttab_copy op = {GNT_REF(IN[0], IN[1], 0), GNT_OWN(mfn_of(pages[3]), 0), PAGE_SIZE,
                             GNTCOPY_source_gref, 0};

    return gnt_copy(&op);
}

static u64 table_order(void)
{
    long rc;

    if (set_ro(pages[IN[0]]))
        return 1;
    rc = pin(1, pages[IN[0]]);
    if (!rc)
        unpin(pages[IN[0]]);
    if (set_rw(pages[IN[0]]))
        return 2;
    return rc;
}

static u64 release_order(void)
{
    u64 frame = mfn_of(pages[IN[0]]);

    hc_update_va(pages[IN[0]], 0, UVMF_INVLPG);
    return release(frame);
}

static u64 accept_order(void)
{
    u32 ref = IN[0];

    hc_update_va(pages[IN[1]], 0, UVMF_INVLPG);
    release(mfn_of(pages[IN[1]]));
    gnt[ref].domid = 0;
    gnt[ref].frame = 0;
    __atomic_store_n(&gnt[ref].flags, GTF_accept_transfer, __ATOMIC_SEQ_CST);
    return 0;
}

static u64 transfer_order(void)
{
    struct gnttab_transfer t = {
        .mfn = mfn_of(pages[2]), .domid = 0, .ref = IN[0], .status = 77};
    long rc;

    if (IN[1])
        hc_update_va(pages[2], 0, UVMF_INVLPG);
    rc = gnt_call(GNTTABOP_transfer, &t, 1);
    return rc ? rc : t.status;
}

static u64 hoard_order(void)
{
    u64 good = 0;
    u32 h;

    for (u64 i = 0; i < IN[1]; i++)
        good += !gnt_map_at(window(i & 31), 0, IN[0] + i / 100, GNTMAP_host_map, &h);
    return good;
}

/* Each batch is one call, and takes long enough to be stopped in. */
static void batches(void)
{
    static struct gnttab_copy ops[1000];
    u32 ref = IN[0];

    domu_mail.out[0] = domu_mail.out[1] = 0;
    domu_reply(0);
    while (domu_mail.order == domu_mail.done) {
        for (unsigned i = 0; i < 1000; i++)
            ops[i] = (struct gnttab_copy){GNT_REF(0, ref, i), GNT_OWN(mfn_of(pages[3]), i),
                                          3000, GNTCOPY_source_gref, 77};
        domu_mail.out[1] += gnt_call(GNTTABOP_copy, ops, 1000) != 0;
        for (unsigned i = 0; i < 1000; i++)
            domu_mail.out[1] += ops[i].status != GNTST_okay;
        domu_mail.out[0]++;
    }
}

static void churn(void)
{
    u32 ref = IN[0], h;

    domu_reply(0);
    for (;;) {
        struct gnttab_copy op = {GNT_REF(0, ref, 0), GNT_OWN(mfn_of(pages[3]), 0), PAGE_SIZE,
                                 GNTCOPY_source_gref, 0};

        gnt_copy(&op);
        if (!gnt_map_at(window(0), 0, ref, GNTMAP_host_map, &h))
            gnt_unmap(window(0), 0, h);
    }
}

/* Two states of an entry, and what lies between; never with a frame of nobody's. */
static void rewrite(void)
{
    u32 ref = IN[0];
    u64 n = 0;

    gnt_give(ref, 0, mfn_of(pages[1]), 0);
    domu_reply(0);
    while (domu_mail.order == domu_mail.done) {
        gnt[ref].frame = mfn_of(pages[1 + (n & 1)]);
        gnt[ref].domid = n & 2 ? 0 : 99;
        gnt[ref].flags = n & 4 ? GTF_permit_access : GTF_permit_access | GTF_readonly;
        gnt[ref].flags = n & 8 ? 0 : GTF_permit_access | GTF_reading | GTF_writing;
        gnt[ref].domid = 0;
        gnt[ref].flags = GTF_permit_access;
        n++;
        if (!(n & 63))
            hc_sched(SCHEDOP_yield, NULL);
    }
}

static u64 foreign_order(void)
{
    static xen_pfn_t list[4];
    struct gnttab_setup_table st = {.dom = 0, .nr_frames = 1};
    struct gnttab_query_size q = {.dom = 0};
    struct gnttab_get_version gv = {.dom = 0};
    struct xen_mem_acquire_resource r = {
        .domid = 0, .type = XENMEM_resource_grant_table, .nr_frames = 1};
    u64 done = 0;

    set_xen_guest_handle(st.frame_list, list);
    set_xen_guest_handle(r.frame_list, list);
    gnt_call(GNTTABOP_setup_table, &st, 1);
    done += st.status != GNTST_permission_denied;
    gnt_call(GNTTABOP_query_size, &q, 1);
    done += q.status != GNTST_permission_denied;
    done += gnt_call(GNTTABOP_get_version, &gv, 1) != -XEN_EPERM;
    done += hc_memory(XENMEM_acquire_resource, &r) != -XEN_EPERM;
    return done + (list[0] != 0);
}

static u64 answer(u64 order)
{
    switch (order) {
    case GIVE:
        gnt_give(IN[0], 0, mfn_of(pages[IN[2]]), IN[1]);
        return mfn_of(pages[IN[2]]);
    case END:
        return gnt_end(IN[0]);
    case MAP:
        return map_order();
    case WRITE:
        *(volatile u64 *)window(0) = IN[0];
        return 0;
    case UNMAP:
        return gnt_unmap(window(0), 0, IN[0]);
    case COPY:
        return copy_order();
    case TABLE:
        return table_order();
    case RELEASE:
        return release_order();
    case ACCEPT:
        return accept_order();
    case TRANSFER:
        return transfer_order();
    case FOREIGN:
        return foreign_order();
    case NO_FRAME:
        gnt_give(IN[0], 0, IN[1], 0);
        return 0;
    case HOARD:
        return hoard_order();
    default:
        return ~0UL;
    }
}

static void other_side(void)
{
    gnt_init(1);
    for (unsigned i = 0; i < N_PAGES; i++)
        for (unsigned k = 0; k < WORDS; k++)
            pages[i][k] = MAGIC + i;
    for (;;) {
        u64 order = domu_next();

        if (order == REWRITE)
            rewrite();
        else if (order == CHURN)
            churn();
        else if (order == BATCH)
            batches();
        else
            domu_reply(answer(order));
    }
}

/* --- domain 0 --- */

static int ask(u64 what, u64 in0, u64 in1, u64 in2)
{
    u.mail->in[1] = in1;
    u.mail->in[2] = in2;
    return domu_ask(&u, what, in0);
}

static void begin(void)
{
    domu_make(&u, other_side, 1);
    domu_run(&u);
    ask(END, 500, 0, 0);
}

/* The toolstack's way to a guest's table, before that runs. */
static void table_as_resource(void)
{
    static xen_pfn_t list[80];
    struct xen_mem_acquire_resource r = {.type = XENMEM_resource_grant_table};
    struct gnttab_query_size q = {0};
    struct gnttab_setup_table st = {.nr_frames = 1};
    volatile grant_entry_v1_t *theirs;
    u32 h;

    domu_make(&u, other_side, 1);
    r.domid = q.dom = st.dom = u.id;
    is(hc_memory(XENMEM_acquire_resource, &r), 0, "acquire_resource, how many");
    is(r.nr_frames, 64, "64 pages");
    r.nr_frames = 1;
    is(hc_memory(XENMEM_acquire_resource, &r), -XEN_EINVAL, "one, and no list");
    set_xen_guest_handle(r.frame_list, list);
    is(hc_memory(XENMEM_acquire_resource, &r), 0, "one");
    theirs = domu_map_mfn(&u, list[0], PTE_KERN);
    ok(theirs, "it can be mapped");
    r.frame = 63;
    r.nr_frames = 2;
    is(hc_memory(XENMEM_acquire_resource, &r), -XEN_EINVAL, "beyond the end");
    r.frame = 1UL << 32;
    is(hc_memory(XENMEM_acquire_resource, &r), -XEN_EINVAL, "far beyond the end");
    r.frame = 0;
    r.nr_frames = 1;
    r.id = 5;
    is(hc_memory(XENMEM_acquire_resource, &r), -XEN_EINVAL, "an unknown id");
    r.id = 1;
    is(hc_memory(XENMEM_acquire_resource, &r), -XEN_EINVAL, "status frames");
    r.id = 0;
    r.type = 7;
    is(hc_memory(XENMEM_acquire_resource, &r), -XEN_EOPNOTSUPP, "an unknown type");
    is(gnt_call(GNTTABOP_query_size, &q, 1), 0, "query_size of another");
    is(q.status, GNTST_okay, "its status");
    set_xen_guest_handle(st.frame_list, list + 8);
    is(gnt_call(GNTTABOP_setup_table, &st, 1), 0, "setup_table of another");
    is(st.status, GNTST_okay, "its status");
    is(list[8], list[0], "the same page");
    theirs[1].domid = 0;
    theirs[1].frame = domu_mfn_of(&u, pages[2]);
    theirs[1].flags = GTF_permit_access;
    is(gnt_map_at(window(1), u.id, 1, GNTMAP_host_map, &h), GNTST_okay,
       "a grant made for a domain that has not run yet");
    is(gnt_unmap(window(1), 0, h), GNTST_okay, "unmap");
    ok(domu_end(&u), "the domain is gone");
}

static void map_theirs(void)
{
    volatile u64 *there, *here = (void *)window(1);
    u64 frame;
    u32 h, h2;

    begin();
    frame = ask(GIVE, REF, 0, 0);
    is(gnt_map_at(window(1), u.id, REF, GNTMAP_host_map, &h), GNTST_okay, "map theirs");
    is(pte_read(window(1)) & PTE_ADDR, frame << 12, "its frame");
    is(here[7], MAGIC, "what they wrote");
    here[7] = 42;
    there = domu_view(&u, pages[0]);
    is(there[7], 42, "what we wrote");
    is(ask(END, REF, 0, 0), 0, "they cannot end it");
    ok(ask(TABLE, 0, 0, 0) < 0, "nor make the page a table");
    if (is_serai) /* stock Xen takes it, and keeps it until it is unmapped */
        is(ask(RELEASE, 0, 0, 0), 0, "nor give it back");
    is(gnt_map_at(window(2), u.id, REF, GNTMAP_host_map | GNTMAP_readonly, &h2), GNTST_okay,
       "map it again");
    is(gnt_unmap(window(1), 0, h), GNTST_okay, "unmap");
    is(gnt_unmap(window(2), 0, h2), GNTST_okay, "unmap the second");
    domu_unmap(there);
    is(ask(END, REF, 0, 0), 1, "they can end it");
    is(ask(RELEASE, 0, 0, 0), 1, "and give it back");
    is(gnt_map_at(window(1), u.id, REF, GNTMAP_host_map, &h), GNTST_general_error,
       "what has ended is not mapped");
    ask(GIVE, REF, GTF_readonly, 1);
    is(gnt_map_at(window(1), u.id, REF, GNTMAP_host_map | GNTMAP_readonly, &h), GNTST_okay,
       "read-only");
    is(ask(TABLE, 1, 0, 0), 0, "meanwhile it may be a table");
    is(gnt_unmap(window(1), 0, h), GNTST_okay, "unmap");
    ask(NO_FRAME, REF, mfn, 0);
    is(gnt_map_at(window(1), u.id, REF, GNTMAP_host_map, &h), GNTST_bad_page,
       "a frame that is not theirs");
    ask(NO_FRAME, REF, start->shared_info >> 12, 0);
    is(gnt_map_at(window(1), u.id, REF, GNTMAP_host_map, &h), GNTST_bad_page,
       "a page of the hypervisor's");
    ask(NO_FRAME, REF, 0xb8, 0);
    is(gnt_map_at(window(1), u.id, REF, GNTMAP_host_map, &h), GNTST_bad_page, "the screen");
    is(pte_read(window(1)), 0, "nothing is mapped");
}

static void map_ours(void)
{
    gnt_give(REF, u.id, mfn, 0);
    gnt_give(REF2, u.id + 1, mfn, 0);
    gnt_give(REF3, u.id, mfn, GTF_readonly);
    page[0] = 0xabc;
    is(ask(MAP, 0, REF, GNTMAP_host_map), GNTST_okay, "they map ours");
    is(u.mail->out[1], 0xabc, "and read it");
    is(ask(WRITE, 0xdef, 0, 0), 0, "and write it");
    is(*(volatile u64 *)page, 0xdef, "here it is");
    ok(!gnt_end(REF), "the entry is in use");
    ok(!smp_exchangeable(page), "and the page");
    is(ask(UNMAP, u.mail->out[0], 0, 0), GNTST_okay, "they unmap it");
    ok(gnt_end(REF), "the entry is free");
    is(ask(MAP, 0, REF2, GNTMAP_host_map), GNTST_general_error, "what is somebody else's");
    is(ask(MAP, 0, REF3, GNTMAP_host_map), GNTST_general_error, "writing the read-only");
    is(ask(COPY, 0, REF3, 0), GNTST_okay, "they copy the read-only");
    is(ask(COPY, 0, REF2, 0), GNTST_general_error, "they copy somebody else's");
    is(ask(FOREIGN, 0, 0, 0), 0, "our table is none of their business");
}

/* The granter's changes meet maps and copies: no other page than its own is ever seen. */
static void fight(void)
{
    struct gnttab_copy op;
    unsigned good = 0, bad = 0, mapped = 0;
    u32 h;

    ask(REWRITE, REF, 0, 0);
    for (unsigned i = 0; i < 3000; i++) {
        int status;

        op = (struct gnttab_copy){GNT_REF(u.id, REF, 0), GNT_OWN(mfn, 0), PAGE_SIZE,
                                  GNTCOPY_source_gref, 0};
        page[9] = 0;
        status = gnt_copy(&op);
        good += status == GNTST_okay;
        if (status == GNTST_okay ? page[9] != MAGIC + 1 && page[9] != MAGIC + 2
                                 : status != GNTST_general_error)
            bad++, note("copy: status %d, data %lx", status, page[9]);
        status = gnt_map_at(window(1), u.id, REF, GNTMAP_host_map, &h);
        if (!(i & 15))
            domu_doze();
        mapped += status == GNTST_okay;
        if (status == GNTST_okay)
            status = gnt_unmap(window(1), 0, h);
        if (status != GNTST_okay && status != GNTST_general_error)
            bad++, note("map or unmap: status %d", status);
        if (!(i & 15))
            domu_doze();
    }
    bad += pte_read(window(1)) != 0;
    note("%u copies, %u mappings", good, mapped);
    is(bad, 0, "entries rewritten while they are used");
    ok(good && mapped, "some were");
    is(ask(GIVE, REF, 0, 1), domu_mfn_of(&u, pages[1]), "an honest grant again");
    is(gnt_map_at(window(1), u.id, REF, GNTMAP_host_map, &h), GNTST_okay, "it can be mapped");
    is(gnt_unmap(window(1), 0, h), GNTST_okay, "and unmapped");
    is(ask(END, REF, 0, 0), 1, "and ended");
}

static u64 owned(void)
{
    struct xen_domctl op = {0};

    domctl(XEN_DOMCTL_getdomaininfo, u.id, &op);
    return op.domain == u.id ? op.u.getdomaininfo.tot_pages : 0;
}

/* They go; what we have mapped stays, and keeps their name. */
static void granter_dies(void)
{
    struct gnttab_copy op = {GNT_REF(u.id, REF2, 0), GNT_OWN(mfn, 0), 8, GNTCOPY_source_gref,
                             0};
    volatile u64 *here = (void *)window(1);
    u32 h, h2;

    ask(GIVE, REF, 0, 3);
    ask(GIVE, REF2, 0, 1);
    is(gnt_map_at(window(1), u.id, REF, GNTMAP_host_map, &h), GNTST_okay, "map theirs");
    note("what is there is %lx", here[5]);
    here[5] = 77;
    ask(END, 500, 0, 0);
    op.source.domid = u.id;
    is(domctl_plain(XEN_DOMCTL_destroydomain, u.id), 0, "destroy them");
    domu_unmap(u.mail);
    ok(domu_flags(&u) != ~0U && domu_flags(&u) & XEN_DOMINF_dying, "their name stays");
    is(owned(), 1, "with one page");
    is(here[5], 77, "which is as it was");
    here[5] = 78;
    is(here[5], 78, "and can be written");
    is_dev(gnt_map_at(window(2), u.id, REF2, GNTMAP_host_map, &h2), GNTST_bad_page,
           GNTST_bad_domain, "no new mapping");
    is_dev(gnt_copy(&op), GNTST_bad_page, GNTST_bad_domain, "no copy");
    is(gnt_unmap(window(1), 0, h), GNTST_okay, "unmap");
    for (unsigned i = 0; domu_flags(&u) != ~0U && i < 1000; i++)
        domu_doze();
    is(domu_flags(&u), ~0U, "the name goes");
}

/* They go with a mapping of ours. */
static void mapper_dies(void)
{
    begin();
    gnt_give(REF, u.id, mfn, 0);
    is(ask(MAP, 0, REF, GNTMAP_host_map), GNTST_okay, "they map ours");
    ok(!gnt_end(REF), "the entry is in use");
    ok(domu_end(&u), "they go");
    is(gnt[REF].flags, GTF_permit_access, "the entry is free");
    ok(smp_exchangeable(page), "and the page");
    mfn = mfn_of(page);
}

static void limit_them(u64 n_pages)
{
    struct xen_domctl op = {0};

    op.u.max_mem.max_memkb = n_pages * 4;
    is(domctl(XEN_DOMCTL_max_mem, u.id, &op), 0, "max_mem of %lu pages", n_pages);
}

static void transfer_to_us(void)
{
    u64 frame = domu_mfn_of(&u, pages[2]), before = owned();

    gnt[REF].domid = u.id + 1;
    gnt[REF].frame = 0;
    gnt[REF].flags = GTF_accept_transfer;
    is(ask(TRANSFER, REF, 0, 0), GNTST_bad_page, "a frame in use is not transferred");
    gnt_give(REF2, u.id, mfn, 0);
    if (is_serai) {
        /* Stock Xen takes the frame all the same. */
        is(ask(TRANSFER, REF, 1, 0), GNTST_general_error, "what somebody else may transfer");
        is(ask(TRANSFER, REF2, 1, 0), GNTST_general_error, "nor to a grant");
        is(ask(TRANSFER, 100000, 1, 0), GNTST_bad_gntref, "nor beyond the table");
        is(owned(), before, "they have it still");
    }
    is(gnt[REF].flags, GTF_accept_transfer, "the entry is as it was");
    gnt[REF].domid = u.id;
    is(ask(TRANSFER, REF, 1, 0), GNTST_okay, "transferred");
    is(gnt[REF].flags, GTF_accept_transfer | GTF_transfer_committed | GTF_transfer_completed,
       "completed");
    is(gnt[REF].frame, frame, "the frame");
    is(owned(), before - 1, "they have one less");
    is(window_map(1, frame << 12 | PTE_KERN), 0, "it is ours");
    is(*(volatile u64 *)window(1), MAGIC + 2, "as it was");
    window_map(1, 0);
    is(ask(TRANSFER, REF, 1, 0), GNTST_bad_page, "transferred once more");
    is(release(frame), 1, "we give it back");
}

static void transfer_to_them(void)
{
    struct gnttab_transfer t = {.domid = u.id, .ref = REF, .status = 77};
    u64 *gift = page_alloc(), before;

    t.mfn = mfn_of(gift);
    gift[0] = 0x61f7;
    ask(ACCEPT, REF, 1, 0);
    before = owned();
    hc_update_va(gift, 0, UVMF_INVLPG);
    if (is_serai) {
        limit_them(before);
        is(gnt_call(GNTTABOP_transfer, &t, 1), 0, "a transfer beyond their limit");
        is(t.status, GNTST_general_error, "its status");
        is(window_map(1, t.mfn << 12 | PTE_KERN), 0, "the frame is ours");
        is(*(volatile u64 *)window(1), 0x61f7, "as it was");
        window_map(1, 0);
        limit_them(DOMU_PAGES);
    }
    is(gnt_call(GNTTABOP_transfer, &t, 1), 0, "transfer");
    is(t.status, GNTST_okay, "its status");
    is(owned(), before + 1, "they have one more");
    ok(window_map(1, t.mfn << 12 | PTE_KERN), "the frame is not ours");
    is(m2p(t.mfn) == pfn_of(gift), 0, "nor by number");
}

static void transfers(void)
{
    begin();
    transfer_to_us();
    transfer_to_them();
    ok(domu_end(&u), "they go");
}

/* The page under a second address comes to where the mapping was. */
static void replace(void)
{
    struct gnttab_unmap_and_replace op = {.host_addr = window(1), .new_addr = window(2)};

    begin();
    ask(GIVE, REF, 0, 1);
    is(gnt_map_at(window(1), u.id, REF, GNTMAP_host_map, &op.handle), GNTST_okay, "map theirs");
    is(window_map(2, mfn << 12 | PTE_RO), 0, "ours beside it");
    if (is_serai) { /* stock Xen takes ours away all the same */
        op.host_addr = window(3);
        is(gnt_call(GNTTABOP_unmap_and_replace, &op, 1), 0, "replace it where it is not");
        is(op.status, GNTST_general_error, "its status");
        is(pte_read(window(2)) & PTE_ADDR, mfn << 12, "ours is where it was");
        op.host_addr = window(1);
    }
    is(gnt_call(GNTTABOP_unmap_and_replace, &op, 1), 0, "replace it");
    is(op.status, GNTST_okay, "its status");
    is(pte_read(window(1)) & PTE_ADDR, mfn << 12, "ours is there");
    is(pte_read(window(2)), 0, "and not beside it");
    is(*(volatile u64 *)window(1), page[0], "with what is in it");
    is(ask(END, REF, 0, 0), 1, "theirs is free");
    window_map(1, 0);
    ok(smp_exchangeable(page), "nothing refers to ours");
    mfn = mfn_of(page);
    ok(domu_end(&u), "they go");
}

/* Whoever pauses a domain does not wait for the end of its batch; the batch goes on afterwards. */
static void paused(void)
{
    unsigned bad = 0;

    begin();
    gnt_give(REF, u.id, mfn, 0);
    ask(BATCH, REF, 0, 0);
    for (unsigned i = 0; i < 60; i++) {
        bad += domctl_plain(XEN_DOMCTL_pausedomain, u.id) != 0;
        bad += domctl_plain(XEN_DOMCTL_unpausedomain, u.id) != 0;
        if (!(i & 3))
            domu_doze();
    }
    ask(END, 500, 0, 0);
    is(bad, 0, "paused and unpaused in the middle of batches");
    is(u.mail->out[1], 0, "all of %lu batches was done", u.mail->out[0]);
    ok(gnt_end(REF), "the grant is free");
    ok(domu_end(&u), "they go");
}

static u64 free_pages(void)
{
    struct xen_sysctl op = {.cmd = XEN_SYSCTL_physinfo,
                            .interface_version = XEN_SYSCTL_INTERFACE_VERSION};

    return HC(sysctl, &op, 0, 0, 0, 0) ? 0 : op.u.physinfo.free_pages;
}

enum { N_HOARD = 1000 };

static bool hoard_is_free(void)
{
    bool good = true;

    for (unsigned i = 0; i < N_HOARD / 100; i++)
        good &= gnt[REF + i].flags == GTF_permit_access;
    return good;
}

/* They go in the middle of whatever it is, with all that they have, many times. */
static void sudden_ends(void)
{
    u64 before = 0;
    unsigned bad = 0;

    for (unsigned i = 0; i < 6; i++) {
        begin();
        for (unsigned k = 0; k < N_HOARD / 100; k++)
            gnt_give(REF + k, u.id, mfn, 0);
        bad += ask(HOARD, REF, N_HOARD, 0) != N_HOARD;
        bad += hoard_is_free();
        ask(CHURN, REF, 0, 0);
        domu_doze();
        bad += !domu_end(&u);
        bad += !hoard_is_free();
        if (i == 1)
            before = free_pages();
    }
    is(bad, 0, "domains end with %u mappings each, in the middle of more", N_HOARD);
    is(free_pages(), before, "all their memory comes back");
    ok(smp_exchangeable(page), "and our page");
    mfn = mfn_of(page);
}

void test_grants2(void)
{
    page = page_alloc();
    mfn = mfn_of(page);
    gnt_init(1);
    table_as_resource();
    map_theirs();
    map_ours();
    fight();
    granter_dies();
    mapper_dies();
    replace();
    paused();
    sudden_ends();
    transfers();
}
