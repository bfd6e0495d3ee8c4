#include "gnt.h"

volatile grant_entry_v1_t *gnt;
u16 own_id;

long gnt_call(unsigned cmd, void *ops, unsigned n)
{
    return HC(grant_table_op, cmd, ops, n, 0, 0);
}

void gnt_init(unsigned frames)
{
    static xen_pfn_t list[32];
    struct gnttab_setup_table st = {.dom = DOMID_SELF, .nr_frames = frames};

    set_xen_guest_handle(st.frame_list, list);
    if (gnt_call(GNTTABOP_setup_table, &st, 1) || st.status)
        die("no grant table");
    for (unsigned i = 0; i < frames; i++)
        if (window_map(GNT_WINDOW + i, list[i] * PAGE_SIZE | PTE_KERN))
            die("the grant table cannot be mapped");
    gnt = (void *)window(GNT_WINDOW);
}

void gnt_give(u32 ref, u16 dom, u64 mfn, u16 flags)
{
    gnt[ref].flags = 0;
    gnt[ref].domid = dom;
    gnt[ref].frame = mfn;
    __atomic_store_n(&gnt[ref].flags, GTF_permit_access | flags, __ATOMIC_SEQ_CST);
}

bool gnt_end(u32 ref)
{
    u16 old = gnt[ref].flags;

    do {
        if (old & (GTF_reading | GTF_writing))
            return false;
    } while (!__atomic_compare_exchange_n(&gnt[ref].flags, &old, 0, false, __ATOMIC_SEQ_CST,
                                          __ATOMIC_SEQ_CST));
    return true;
}

int gnt_map(struct gnttab_map_grant_ref *op)
{
    long rc;

    op->status = 77;
    rc = gnt_call(GNTTABOP_map_grant_ref, op, 1);
    return rc ? (int)rc * 1000 : op->status;
}

int gnt_map_at(u64 addr, u16 dom, u32 ref, u32 flags, u32 *handle)
{
    struct gnttab_map_grant_ref op = {
        .host_addr = addr, .flags = flags, .ref = ref, .dom = dom, .handle = ~0U};
    int rc = gnt_map(&op);

    *handle = op.handle;
    return rc;
}

int gnt_unmap(u64 addr, u64 bus, u32 handle)
{
    struct gnttab_unmap_grant_ref op = {
        .host_addr = addr, .dev_bus_addr = bus, .handle = handle, .status = 77};
    long rc = gnt_call(GNTTABOP_unmap_grant_ref, &op, 1);

    return rc ? (int)rc * 1000 : op.status;
}

int gnt_copy(struct gnttab_copy *op)
{
    long rc;

    op->status = 77;
    rc = gnt_call(GNTTABOP_copy, op, 1);
    return rc ? (int)rc * 1000 : op->status;
}
