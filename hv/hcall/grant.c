/*
 * Grant tables: what a guest needs to set its own up (version 1). Mapping other domains' grants
 * comes with other domains.
 */
#include "guest/access.h"
#include "guest/frame.h"
#include "hcall/hcall.h"
#include "x86/paging.h"
#include <xen/grant_table.h>

static int grow(struct domain *d, u32 nr)
{
    int rc = 0;

    lock(&d->grant_lock);
    while (d->nr_grant_frames < nr && !rc) {
        void *page = heap_alloc_pages(0);

        if (page) {
            frame_assign(d, virt_to_mfn(page), REF_SPECIAL);
            d->grant_frames[d->nr_grant_frames++] = page;
        } else {
            rc = -XEN_ENOMEM;
        }
    }
    unlock(&d->grant_lock);
    return rc;
}

static s64 setup_table(struct domain *d, u64 u_op)
{
    struct gnttab_setup_table op;
    s16 *u_status = &((struct gnttab_setup_table *)u_op)->status;

    if (copy_from_guest(&op, (const void *)u_op, sizeof(op)))
        return -XEN_EFAULT;
    if (op.dom != DOMID_SELF && op.dom != d->id)
        op.status = GNTST_bad_domain;
    else if (op.nr_frames > ARRAY_SIZE(d->grant_frames) || grow(d, op.nr_frames))
        op.status = GNTST_general_error;
    else
        op.status = GNTST_okay;
    for (u32 i = 0; op.status == GNTST_okay && i < op.nr_frames; i++) {
        u64 mfn = virt_to_mfn(d->grant_frames[i]).n;

        if (copy_array_to_guest(op.frame_list.p, i, &mfn, sizeof(mfn)))
            return -XEN_EFAULT;
    }
    return copy_to_guest(u_status, &op.status, sizeof(op.status));
}

static s64 query_size(struct domain *d, u64 u_op)
{
    struct gnttab_query_size op;

    if (copy_from_guest(&op, (const void *)u_op, sizeof(op)))
        return -XEN_EFAULT;
    op.nr_frames = d->nr_grant_frames;
    op.max_nr_frames = ARRAY_SIZE(d->grant_frames);
    op.status = op.dom == DOMID_SELF || op.dom == d->id ? GNTST_okay : GNTST_bad_domain;
    return copy_to_guest((void *)u_op, &op, sizeof(op));
}

static s64 set_version(u64 u_op)
{
    struct gnttab_set_version op;

    if (copy_from_guest(&op, (const void *)u_op, sizeof(op)))
        return -XEN_EFAULT;
    if (op.version != 1)
        return -XEN_EINVAL;
    return 0;
}

HYPERCALL(grant_table_op)
{
    if ((u32)a3 > 1 && a1 != GNTTABOP_map_grant_ref)
        return -XEN_EINVAL;
    switch (a1) {
    case GNTTABOP_setup_table:
        return setup_table(v->domain, a2);
    case GNTTABOP_query_size:
        return query_size(v->domain, a2);
    case GNTTABOP_set_version:
        return set_version(a2);
    default:
        return -XEN_ENOSYS;
    }
}
