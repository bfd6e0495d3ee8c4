/*
 * Grants, as far as one domain can try them: it grants its own pages to itself. Attacks of
 * attacks.md D by their numbers.
 */
#include "gnt.h"

#define W0         window(0)
#define W1         window(1)
#define BAD_HANDLE 0xfffffff0U

static u64 *page;
static u64 mfn;

enum { REF = 8, RO_REF, OTHER_REF, NONE_REF, TABLE_REF, FOREIGN_REF, SELF_REF, HUGE_REF };

static void sizes(void)
{
    struct gnttab_query_size q = {.dom = DOMID_SELF};
    struct gnttab_setup_table st = {.dom = DOMID_SELF, .nr_frames = 65};
    struct gnttab_set_version sv = {.version = 1};
    struct gnttab_get_version gv = {.dom = DOMID_SELF};
    static xen_pfn_t list[80];

    is(gnt_call(GNTTABOP_query_size, &q, 1), 0, "query_size");
    is(q.status, GNTST_okay, "its status");
    is(q.max_nr_frames, 64, "at most 64 pages");
    ok(q.nr_frames >= 1 && q.nr_frames <= 64, "%u pages now", q.nr_frames);
    q.dom = 77;
    is(gnt_call(GNTTABOP_query_size, &q, 1), 0, "query_size of no domain");
    is(q.status, GNTST_bad_domain, "its status");
    set_xen_guest_handle(st.frame_list, list);
    is(gnt_call(GNTTABOP_setup_table, &st, 1), 0, "setup_table of 65 pages");
    is(st.status, GNTST_general_error, "its status");
    st.nr_frames = 1;
    st.dom = 77;
    is(gnt_call(GNTTABOP_setup_table, &st, 1), 0, "setup_table of no domain");
    is(st.status, GNTST_bad_domain, "its status");
    st.dom = DOMID_SELF;
    is(gnt_call(GNTTABOP_setup_table, &st, 2), -XEN_EINVAL, "setup_table takes one request");
    is(gnt_call(GNTTABOP_set_version, &sv, 1), 0, "set_version 1");
    is(gnt_call(GNTTABOP_get_version, &gv, 1), 0, "get_version");
    is(gv.version, 1, "it is 1");
    sv.version = 3;
    is(gnt_call(GNTTABOP_set_version, &sv, 1), -XEN_EINVAL, "set_version 3");
    is(gnt_call(GNTTABOP_map_grant_ref, NULL, 0), 0, "no request at all");
    is(gnt_call(GNTTABOP_map_grant_ref, (void *)W0, ~0U), -XEN_EINVAL, "a negative count");
    is(gnt_call(GNTTABOP_map_grant_ref, (void *)W0, 1), -XEN_EFAULT, "requests nowhere");
    refused(gnt_call(99, &q, 1), "an unknown operation");
}

static void map_and_unmap(void)
{
    struct gnttab_map_grant_ref op = {
        .host_addr = W0, .flags = GNTMAP_host_map, .ref = REF, .dom = own_id};
    u32 h;

    gnt_give(REF, own_id, mfn, 0);
    page[5] = 0x1234;
    is(gnt_map(&op), GNTST_okay, "map, writable");
    is(op.dev_bus_addr, mfn << 12, "the machine address comes back");
    is(gnt[REF].flags, GTF_permit_access | GTF_reading | GTF_writing, "the entry says so");
    is(((volatile u64 *)W0)[5], 0x1234, "the page is there");
    ((volatile u64 *)W0)[6] = 0x5678;
    is(((volatile u64 *)page)[6], 0x5678, "and is written");
    is(pte_read(W0) & (PTE_ADDR | PTE_P | PTE_RW | PTE_NX), mfn << 12 | PTE_P | PTE_RW | PTE_NX,
       "and a writable page-table entry");
    is(gnt_unmap(W0, 0, op.handle), GNTST_okay, "unmap");
    is(gnt[REF].flags, GTF_permit_access, "the entry is free");
    is(pte_read(W0), 0, "the page-table entry is gone");
    is(try_read(W0, NULL), 14, "and the page");
    is(gnt_unmap(W0, 0, op.handle), GNTST_bad_handle, "unmap again");

    is(gnt_map_at(W0, own_id, REF, GNTMAP_host_map | GNTMAP_readonly, &h), GNTST_okay,
       "map, read-only");
    is(gnt[REF].flags, GTF_permit_access | GTF_reading, "the entry says reading");
    is(try_write(W0, 1), 14, "it is read-only");
    is(gnt_unmap(W0, 0, h), GNTST_okay, "unmap");
    is(gnt[REF].flags, GTF_permit_access, "the entry is free");
}

static void by_entry(void)
{
    struct gnttab_map_grant_ref op = {.flags = GNTMAP_host_map | GNTMAP_contains_pte |
                                               GNTMAP_application_map | 7U << 16,
                                      .ref = REF,
                                      .dom = own_id};
    u64 entry = maddr_of(pte_at(W0, 1)), bad = 0;
    u32 h;

    gnt_give(REF, own_id, mfn, 0);
    op.host_addr = entry;
    is(gnt_map(&op), GNTST_okay, "map by the entry's machine address");
    is(pte_read(W0) & PTE_AVL, PTE_AVL, "the bits for the guest are there");
    is(((volatile u64 *)W0)[5], page[5], "the page is there");
    is(gnt_unmap(entry, 0, op.handle), GNTST_okay, "unmap");
    for (unsigned i = 1; i < 8; i++)
        bad += gnt_map_at(entry + i, own_id, REF, GNTMAP_host_map | GNTMAP_contains_pte, &h) ==
               GNTST_okay;
    is(bad, 0, "XSA-227: addresses of entries are aligned");
    is(gnt_map_at(maddr_of(page), own_id, REF, GNTMAP_host_map | GNTMAP_contains_pte, &h),
       GNTST_general_error, "a page that is no table");
    is(gnt_map_at(maddr_of(pte_at(W0, 2)), own_id, REF, GNTMAP_host_map | GNTMAP_contains_pte,
                  &h),
       GNTST_general_error, "a table of level 2");
    is(gnt_map_at(max_mfn * 2 * PAGE_SIZE, own_id, REF, GNTMAP_host_map | GNTMAP_contains_pte,
                  &h),
       GNTST_general_error, "beyond the machine");
    is(gnt[REF].flags, GTF_permit_access, "the entry is free");
}

static void mapping_is_refused(void)
{
    const u32 host = GNTMAP_host_map;
    u64 *table = page_alloc();
    u32 h;

    is(gnt_map_at(W0, own_id, REF, 0, &h), GNTST_bad_gntref, "neither host nor device");
    is(gnt_map_at(W0, 77, REF, host, &h), GNTST_bad_domain, "no such domain");
    is(gnt_map_at(W0, DOMID_IO, REF, host, &h), GNTST_bad_domain, "DOMID_IO");
    is(gnt_map_at(W0, DOMID_SELF, REF, host, &h), GNTST_bad_domain, "DOMID_SELF");
    is(gnt_map_at(W0, own_id, 512 * 64, host, &h), GNTST_bad_gntref, "beyond the table");
    is(gnt_map_at(W0, own_id, ~0U, host, &h), GNTST_bad_gntref, "far beyond it");
    is(gnt_map_at(W0, own_id, NONE_REF, host, &h), GNTST_general_error, "an empty entry");
    gnt_give(FOREIGN_REF, own_id + 7, mfn, 0);
    is(gnt_map_at(W0, own_id, FOREIGN_REF, host, &h), GNTST_general_error, "somebody else's");
    gnt_give(RO_REF, own_id, mfn, GTF_readonly);
    is(gnt_map_at(W0, own_id, RO_REF, host, &h), GNTST_general_error,
       "writing what is read-only");
    is(gnt[RO_REF].flags, GTF_permit_access | GTF_readonly, "its entry is free");
    is(gnt_map_at(UNMAPPED, own_id, REF, host, &h), GNTST_general_error, "no table there");
    is(gnt_map_at(HOLE_START, own_id, REF, host, &h), GNTST_general_error, "in the hole");
    is(gnt_map_at(NON_CANONICAL, own_id, REF, host, &h), GNTST_general_error, "not canonical");
    is(gnt[REF].flags, GTF_permit_access, "the entry is free");
    gnt_give(HUGE_REF, own_id, 0xfffffffe, 0);
    is(gnt_map_at(W0, own_id, HUGE_REF, host, &h), GNTST_bad_page, "a frame beyond all");
    is(gnt[HUGE_REF].flags, GTF_permit_access, "its entry is free");
    gnt_give(HUGE_REF, own_id, 0xb8, 0);
    is(gnt_map_at(W0, own_id, HUGE_REF, host, &h), GNTST_bad_page, "a frame of no RAM");
    make_table(1, table);
    gnt_give(TABLE_REF, own_id, mfn_of(table), 0);
    is(gnt_map_at(W0, own_id, TABLE_REF, host, &h), GNTST_general_error, "a table, writable");
    is(gnt_map_at(W0, own_id, TABLE_REF, GNTMAP_device_map, &h), GNTST_general_error,
       "a table, for a device that writes");
    is(gnt[TABLE_REF].flags, GTF_permit_access, "its entry is free");
    is(gnt_map_at(W0, own_id, TABLE_REF, host | GNTMAP_readonly, &h), GNTST_okay,
       "a table, read-only");
    is(gnt_unmap(W0, 0, h), GNTST_okay, "unmap");
    drop_table(table);
}

static void unmapping_is_refused(void)
{
    const u32 host = GNTMAP_host_map;
    u32 h, h2;

    is(gnt_unmap(W0, 0, BAD_HANDLE), GNTST_bad_handle, "a handle beyond all");
    is(gnt_unmap(W0, 0, 255), GNTST_bad_handle, "a free handle");
    is(gnt_map_at(W0, own_id, REF, host, &h), GNTST_okay, "map");
    is(gnt_unmap(W1, 0, h), GNTST_general_error, "unmap at another address");
    is(gnt_unmap(UNMAPPED, 0, h), GNTST_general_error, "unmap where no table is");
    is(gnt_unmap(0, 0, h), GNTST_okay, "unmap nothing of it");
    is(gnt_unmap(0, 0, h), GNTST_okay, "XSA-394: again");
    is(gnt_unmap(0, mfn << 12, h), GNTST_okay, "XSA-394: the device part it has not");
    is(gnt[REF].flags, GTF_permit_access | GTF_reading | GTF_writing, "it is in use");
    is(gnt_unmap(W0, 0, h), GNTST_okay, "unmap");
    /* XSA-234 */
    is(gnt_map_at(W0, own_id, REF, host, &h), GNTST_okay, "map at one address, writable");
    is(gnt_map_at(W1, own_id, REF, host | GNTMAP_readonly, &h2), GNTST_okay,
       "and at another, read-only");
    is(gnt_unmap(W0, 0, h2), GNTST_general_error, "XSA-234: the writable entry is not its");
    is(gnt_unmap(W1, 0, h), GNTST_general_error, "XSA-234: nor the other way round");
    is(gnt_unmap(W1, 0, h2), GNTST_okay, "unmap the second");
    is(gnt[REF].flags, GTF_permit_access | GTF_reading | GTF_writing, "the first is in use");
    is(gnt_unmap(W0, 0, h), GNTST_okay, "unmap the first");
    is(gnt[REF].flags, GTF_permit_access, "the entry is free");
}

static void devices(void)
{
    const u32 both = GNTMAP_host_map | GNTMAP_device_map;
    u32 h;

    is(gnt_map_at(W0, own_id, REF, GNTMAP_device_map, &h), GNTST_okay, "map for devices");
    is(pte_read(W0), 0, "XSA-224: no host mapping unasked");
    is(gnt[REF].flags, GTF_permit_access | GTF_reading | GTF_writing, "the entry says so");
    refused(pin(1, page) ? -1 : 0, "a page that a device may write becomes no table");
    is(gnt_unmap(0, (mfn << 12) + PAGE_SIZE, h), GNTST_bad_dev_addr, "a wrong bus address");
    is(gnt_unmap(0, mfn << 12, h), GNTST_okay, "unmap");
    is(gnt[REF].flags, GTF_permit_access, "the entry is free");
    is(gnt_map_at(W0, own_id, REF, both, &h), GNTST_okay, "map for both");
    is(gnt_unmap(0, mfn << 12, h), GNTST_okay, "unmap the device part");
    is(gnt[REF].flags, GTF_permit_access | GTF_reading | GTF_writing, "it is in use");
    is(gnt_unmap(0, mfn << 12, h), GNTST_okay, "XSA-224: the same part again");
    is(((volatile u64 *)W0)[5], page[5], "the host part is there");
    is(gnt_unmap(W0, 0, h), GNTST_okay, "unmap the host part");
    is(gnt[REF].flags, GTF_permit_access, "the entry is free");
    is(gnt_map_at(W0, own_id, REF, both | GNTMAP_readonly, &h), GNTST_okay, "both, read-only");
    is(gnt_unmap(W0, 0, h), GNTST_okay, "unmap the host part");
    is(gnt[REF].flags, GTF_permit_access | GTF_reading, "it is in use");
    is(gnt_unmap(0, mfn << 12, h), GNTST_okay, "unmap the device part");
    is(gnt[REF].flags, GTF_permit_access, "the entry is free");
}

/* What the granter writes into its entry while that is in use changes nothing. */
static void changed_entries(void)
{
    u64 *other = page_alloc();
    u32 h, h2;

    is(gnt_map_at(W0, own_id, REF, GNTMAP_host_map | GNTMAP_readonly, &h), GNTST_okay, "map");
    gnt[REF].frame = mfn_of(other);
    is(gnt_map_at(W1, own_id, REF, GNTMAP_host_map | GNTMAP_readonly, &h2), GNTST_okay,
       "map again, with another frame in the entry");
    is(pte_read(W1) & PTE_ADDR, mfn << 12, "XSA-500: it is the first one's frame");
    gnt[REF].domid = 99;
    gnt[REF].flags = 0;
    is(gnt_unmap(W1, 0, h2), GNTST_okay, "unmap with nothing in the entry");
    is(gnt_unmap(W0, 0, h), GNTST_okay, "and the other");
    is(gnt[REF].flags, 0, "the entry is as it was");
    gnt_give(REF, own_id, mfn, 0);
    page_free(other);
}

static void implicit_unmap(void)
{
    u32 h;

    is(gnt_map_at(W0, own_id, REF, GNTMAP_host_map, &h), GNTST_okay, "map");
    hc_update_va((void *)W0, 0, UVMF_INVLPG);
    is(gnt_unmap(W0, 0, h), GNTST_general_error, "unmap what was overwritten");
    ok(!gnt_end(REF), "the entry stays in use");
    is(hc_update_va((void *)W0, mfn << 12 | PTE_KERN, UVMF_INVLPG), 0, "map it by hand");
    is(gnt_unmap(W0, 0, h), GNTST_okay, "unmap");
    ok(gnt_end(REF), "the entry is free");
    gnt_give(REF, own_id, mfn, 0);
}

static void copies(void)
{
    static u8 *a, *b;
    struct gnttab_copy op = {.len = PAGE_SIZE};
    unsigned bad = 0;

    a = page_alloc();
    b = page_alloc();
    for (unsigned i = 0; i < PAGE_SIZE; i++)
        a[i] = i * 7 + i / 256;
    gnt_give(OTHER_REF, own_id, mfn_of(a), 0);
    gnt_give(REF, own_id, mfn_of(b), 0);
    op = (struct gnttab_copy){GNT_REF(own_id, OTHER_REF, 0), GNT_REF(own_id, REF, 0), PAGE_SIZE,
                              GNTCOPY_source_gref | GNTCOPY_dest_gref, 0};
    is(gnt_copy(&op), GNTST_okay, "a page from grant to grant");
    is(memcmp(a, b, PAGE_SIZE), 0, "it is the same");
    is(gnt[REF].flags | gnt[OTHER_REF].flags, GTF_permit_access, "the entries are free");
    for (unsigned i = 0; i < 200; i++) {
        u16 from = rand_below(PAGE_SIZE), to = rand_below(PAGE_SIZE), len;

        len = rand_below(PAGE_SIZE - (from > to ? from : to) + 1);
        memset(b, 0x5a, PAGE_SIZE);
        op = (struct gnttab_copy){GNT_REF(own_id, OTHER_REF, from), GNT_OWN(mfn_of(b), to), len,
                                  GNTCOPY_source_gref, 0};
        if (i & 1) {
            op = (struct gnttab_copy){GNT_OWN(mfn_of(a), from), GNT_REF(own_id, REF, to), len,
                                      GNTCOPY_dest_gref, 0};
        }
        bad += gnt_copy(&op) != GNTST_okay || memcmp(a + from, b + to, len) ||
               (to && b[to - 1] != 0x5a) || (to + len < PAGE_SIZE && b[to + len] != 0x5a);
    }
    is(bad, 0, "200 pieces of any place and length");
    op = (struct gnttab_copy){GNT_OWN(mfn_of(a), 0), GNT_OWN(mfn_of(a), 8), 256, 0, 0};
    is(gnt_copy(&op), GNTST_okay, "a page to itself");
    gnt_give(REF, own_id, mfn, 0);
    page_free(a);
    page_free(b);
}

static void copying_is_refused(void)
{
    const u16 ref = GNTCOPY_source_gref;
    struct gnttab_copy op;
    u64 *table = page_alloc(), *b = page_alloc(), own = mfn_of(b);

    make_table(1, table);
    gnt_give(TABLE_REF, own_id, mfn_of(table), 0);
    gnt_give(REF, own_id, mfn, 0);
    gnt_give(RO_REF, own_id, mfn, GTF_readonly);
#define COPY(text, want, from, to, n, how)                                                     \
    op = (struct gnttab_copy){from, to, n, how, 0};                                            \
    is(gnt_copy(&op), want, text)
#define REFER(x) GNT_REF(own_id, x, 0)
    COPY("over the end", GNTST_bad_copy_arg, ((struct gnttab_copy_ptr)GNT_REF(own_id, REF, 1)),
         GNT_OWN(own, 0), 4096, ref);
    COPY("over the other end", GNTST_bad_copy_arg, REFER(REF), GNT_OWN(own, 4095), 2, ref);
    COPY("an offset beyond the page", GNTST_bad_copy_arg, GNT_REF(own_id, REF, 65535),
         GNT_OWN(own, 0), 1, ref);
    COPY("an offset at its end", GNTST_okay, GNT_REF(own_id, REF, 4096), GNT_OWN(own, 0), 0,
         ref);
    COPY("all lengths at most", GNTST_bad_copy_arg, REFER(REF), GNT_OWN(own, 0), 65535, ref);
    COPY("no such domain", GNTST_bad_domain, GNT_REF(77, REF, 0), GNT_OWN(own, 0), 8, ref);
    COPY("a frame with a domain", GNTST_permission_denied, REFER(REF),
         ((struct gnttab_copy_ptr){.u.gmfn = own, .domid = own_id}), 8, ref);
    COPY("beyond the table", GNTST_bad_gntref, REFER(512 * 64), GNT_OWN(own, 0), 8, ref);
    COPY("an empty entry", GNTST_general_error, REFER(NONE_REF), GNT_OWN(own, 0), 8, ref);
    COPY("somebody else's", GNTST_general_error, REFER(FOREIGN_REF), GNT_OWN(own, 0), 8, ref);
    COPY("read what is read-only", GNTST_okay, REFER(RO_REF), GNT_OWN(own, 0), 8, ref);
    COPY("write what is read-only", GNTST_general_error, GNT_OWN(own, 0), REFER(RO_REF), 8,
         GNTCOPY_dest_gref);
    COPY("DOMID_SELF's grant", GNTST_okay, GNT_REF(DOMID_SELF, REF, 0), GNT_OWN(own, 0), 8,
         ref);
    COPY("a frame beyond all", GNTST_bad_page, GNT_OWN(0xffffffffffffUL, 0), GNT_OWN(own, 0), 8,
         0);
    COPY("into a frame beyond all", GNTST_bad_page, GNT_OWN(own, 0), GNT_OWN(~0UL, 0), 8, 0);
    COPY("a frame of no RAM", GNTST_bad_page, GNT_OWN(0xb8, 0), GNT_OWN(own, 0), 8, 0);
    COPY("into no RAM", GNTST_bad_page, GNT_OWN(own, 0), GNT_OWN(0xb8, 0), 8, 0);
    COPY("into a table of one's own", GNTST_general_error, GNT_OWN(own, 0),
         GNT_OWN(mfn_of(table), 0), 8, 0);
    COPY("into a granted table", GNTST_general_error, GNT_OWN(own, 0), REFER(TABLE_REF), 8,
         GNTCOPY_dest_gref);
    COPY("from a table", GNTST_okay, REFER(TABLE_REF), GNT_OWN(own, 0), 8, ref);
    COPY("nothing at all", GNTST_okay, REFER(REF), GNT_OWN(own, 0), 0, ref);
    is(gnt[REF].flags | gnt[TABLE_REF].flags, GTF_permit_access, "the entries are free");
    is(gnt[RO_REF].flags, GTF_permit_access | GTF_readonly, "the read-only one too");
    drop_table(table);
    page_free(b);
}

static void others(void)
{
    static xen_pfn_t frames[4];
    struct gnttab_get_status_frames sf = {.dom = DOMID_SELF, .nr_frames = 4};
    struct gnttab_swap_grant_ref swap = {.ref_a = 0x7fffffff, .ref_b = 8};
    struct gnttab_cache_flush cf = {.op = GNTTAB_CACHE_CLEAN};
    struct xen_mem_acquire_resource r = {.domid = DOMID_SELF, .type = 1, .nr_frames = 1};
    unsigned bad = 0;
    long rc;

    set_xen_guest_handle(sf.frame_list, frames);
    rc = gnt_call(GNTTABOP_get_status_frames, &sf, 1);
    ok(rc < 0 || sf.status < 0, "XSA-382: no status frames: %ld, %d", rc, sf.status);
    rc = gnt_call(GNTTABOP_swap_grant_ref, &swap, 1);
    ok(rc < 0 || swap.status < 0, "XSA-18: swap out of range: %ld, %d", rc, swap.status);
    for (u64 m = 0; m < 4096; m++) {
        cf.a.dev_bus_addr = m << 12;
        bad += gnt_call(GNTTABOP_cache_flush, &cf, 1) > 0;
    }
    is(bad, 0, "XSA-232: flushes of 4096 low pages");
    set_xen_guest_handle(r.frame_list, frames);
    is(hc_memory(XENMEM_acquire_resource, &r), -XEN_ESRCH, "acquire_resource of DOMID_SELF");
    r.domid = own_id;
    is(hc_memory(XENMEM_acquire_resource, &r), -XEN_EPERM, "of oneself");
    r.domid = 77;
    is(hc_memory(XENMEM_acquire_resource, &r), -XEN_ESRCH, "of nobody");
    r.pad = 1;
    is(hc_memory(XENMEM_acquire_resource, &r), -XEN_EINVAL, "with padding");
}

/* One flush for many, each with a status of its own; XSA-318. */
static void batches(void)
{
    enum { N = 40 };
    static struct gnttab_map_grant_ref maps[N];
    static struct gnttab_unmap_grant_ref unmaps[N];
    static struct gnttab_copy copy[200];
    unsigned bad = 0;
    u64 handles = 0;
    unsigned different = 0;

    for (unsigned i = 0; i < N; i++) {
        gnt_give(100 + i, own_id, mfn, i % 5 == 4 ? GTF_readonly : 0);
        maps[i] = (struct gnttab_map_grant_ref){
            .host_addr = window(i), .flags = GNTMAP_host_map, .ref = 100 + i, .dom = own_id};
    }
    is(gnt_call(GNTTABOP_map_grant_ref, maps, N), 0, "map 40");
    for (unsigned i = 0; i < N; i++) {
        bad += maps[i].status != (i % 5 == 4 ? GNTST_general_error : GNTST_okay);
        if (i % 5 != 4) {
            different += !(handles & 1UL << (maps[i].handle & 63));
            handles |= 1UL << (maps[i].handle & 63);
        }
        unmaps[i].host_addr = window(i);
        unmaps[i].handle = i % 5 == 4 ? BAD_HANDLE : maps[i].handle;
    }
    is(bad, 0, "each has its own status");
    is(different, 32, "and its own handle");
    is(gnt_call(GNTTABOP_unmap_grant_ref, unmaps, N), 0, "unmap 40");
    for (unsigned i = 0; i < N; i++) {
        bad += unmaps[i].status != (i % 5 == 4 ? GNTST_bad_handle : GNTST_okay);
        bad += gnt[100 + i].flags != (GTF_permit_access | (i % 5 == 4 ? GTF_readonly : 0));
    }
    is(bad, 0, "each has its own status");
    for (unsigned i = 0; i < 200; i++)
        copy[i] = (struct gnttab_copy){GNT_REF(own_id, 100 + i % N, 0), GNT_OWN(mfn, 8),
                                       i % 3 ? 4 : 5000, GNTCOPY_source_gref, 77};
    is(gnt_call(GNTTABOP_copy, copy, 200), 0, "copy 200 pieces");
    for (unsigned i = 0; i < 200; i++)
        bad += copy[i].status != (i % 3 ? GNTST_okay : GNTST_bad_copy_arg);
    is(bad, 0, "XSA-318: each has its own status");
}

/* XSA-380: as many as there may be; what one costs does not depend on it. */
static void many_mappings(void)
{
    enum { N = 100 };
    static u32 handles[N];
    unsigned bad = 0;

    gnt_give(REF, own_id, mfn, 0);
    for (unsigned i = 0; i < N; i++)
        bad += gnt_map_at(W0, own_id, REF, GNTMAP_host_map, &handles[i]) != GNTST_okay;
    is(bad, 0, "map a grant 100 times in one place");
    is(gnt_unmap(W0, 0, handles[50]), GNTST_okay, "one is the mapping there");
    is(gnt_unmap(W0, 0, handles[51]), GNTST_general_error, "the others have none any more");
    ok(!gnt_end(REF), "the grant is in use");
    for (unsigned i = 0; i < N; i++) {
        if (i == 50)
            continue;
        bad += hc_update_va((void *)W0, mfn << 12 | PTE_KERN, UVMF_INVLPG) != 0;
        bad += gnt_unmap(W0, 0, handles[i]) != GNTST_okay;
    }
    is(bad, 0, "with an entry of their own they are unmapped");
    ok(gnt_end(REF), "the grant is free");
}

/* Ticks of operations, the least that was seen. */
struct costs {
    u64 map, unmap, map_many, unmap_many, copy, move;
};

static void least(u64 *cost, u64 *since, u64 n)
{
    u64 now = tsc_now(), took = (now - *since) / n;

    if (!*cost || took < *cost)
        *cost = took;
    *since = tsc_now();
}

#define MANY 32
static struct gnttab_map_grant_ref cost_maps[MANY];
static struct gnttab_unmap_grant_ref cost_unmaps[MANY];
static struct gnttab_copy cost_copies[MANY];

static void cost_round(struct costs *c, const void *from)
{
    const u64 at = W0;
    u64 t = tsc_now(), words = PAGE_SIZE / 8;
    void *to = page;
    u32 h;

    gnt_map_at(at, own_id, REF, GNTMAP_host_map, &h);
    least(&c->map, &t, 1);
    gnt_unmap(at, 0, h);
    least(&c->unmap, &t, 1);
    gnt_call(GNTTABOP_map_grant_ref, cost_maps, MANY);
    least(&c->map_many, &t, MANY);
    for (unsigned i = 0; i < MANY; i++)
        cost_unmaps[i].handle = cost_maps[i].handle;
    t = tsc_now();
    gnt_call(GNTTABOP_unmap_grant_ref, cost_unmaps, MANY);
    least(&c->unmap_many, &t, MANY);
    gnt_call(GNTTABOP_copy, cost_copies, MANY);
    least(&c->copy, &t, MANY);
    asm volatile("rep movsq" : "+D"(to), "+S"(from), "+c"(words) : : "memory");
    least(&c->move, &t, 1);
}

/* Not judged: with -icount, ticks are instructions. */
static void costs(void)
{
    u64 *from = page_alloc();
    struct costs c = {0};

    gnt_give(REF, own_id, mfn, 0);
    for (unsigned i = 0; i < MANY; i++) {
        gnt_give(100 + i, own_id, mfn_of(from), 0);
        cost_maps[i] = (struct gnttab_map_grant_ref){
            .host_addr = window(i), .flags = GNTMAP_host_map, .ref = 100 + i, .dom = own_id};
        cost_unmaps[i].host_addr = window(i);
        cost_copies[i] = (struct gnttab_copy){GNT_REF(own_id, 100 + i, 0), GNT_OWN(mfn, 0),
                                              PAGE_SIZE, GNTCOPY_source_gref, 77};
    }
    for (u64 round = option_number("rounds", 10); round; round--)
        cost_round(&c, from);
    note("ticks: map %lu, unmap %lu; of 32: map %lu, unmap %lu; copy %lu; memcpy %lu", c.map,
         c.unmap, c.map_many, c.unmap_many, c.copy, c.move);
    page_free(from);
}

void test_grants(void)
{
    struct gnttab_query_size q = {.dom = 0};

    own_id = gnt_call(GNTTABOP_query_size, &q, 1) || q.status ? 1 : 0;
    page = page_alloc();
    mfn = mfn_of(page);
    sizes();
    gnt_init(1);
    map_and_unmap();
    by_entry();
    mapping_is_refused();
    unmapping_is_refused();
    devices();
    changed_entries();
    implicit_unmap();
    copies();
    copying_is_refused();
    others();
    batches();
    many_mappings();
    costs();
    ok(smp_exchangeable(page), "nothing refers to the page any more");
}
