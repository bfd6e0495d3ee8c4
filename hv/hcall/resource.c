/* Pages of the hypervisor's that belong to a domain and that domain 0 maps: its grant table. */
#include "guest/access.h"
#include "guest/grant.h"
#include "hcall/memory.h"
#include <xen/memory.h>

static int grant_table_frames(struct domain *d, const struct xen_mem_acquire_resource *r)
{
    int rc;

    if (r->id != XENMEM_resource_grant_table_id_shared || r->frame > d->max_grant_frames ||
        r->nr_frames > d->max_grant_frames - r->frame)
        return -XEN_EINVAL;
    rc = grant_grow(d, (u32)r->frame + r->nr_frames);
    for (u32 i = 0; !rc && i < r->nr_frames; i++) {
        u64 mfn = grant_frame(d, (u32)r->frame + i).n;

        rc = copy_array_to_guest(r->frame_list.p, i, &mfn, sizeof(mfn));
    }
    return rc;
}

/* How many there can be; the list is NULL. */
static int size_of(struct domain *d, u64 u_arg, const struct xen_mem_acquire_resource *r)
{
    u32 *u_nr = &((struct xen_mem_acquire_resource *)u_arg)->nr_frames;

    if (r->nr_frames || r->id != XENMEM_resource_grant_table_id_shared)
        return -XEN_EINVAL;
    return copy_to_guest(u_nr, &d->max_grant_frames, sizeof(*u_nr));
}

s64 memory_acquire_resource(struct vcpu *v, u64 u_arg)
{
    struct xen_mem_acquire_resource r;
    struct domain *d;
    int rc;

    if (copy_from_guest(&r, (const void *)u_arg, sizeof(r)))
        return -XEN_EFAULT;
    if (r.pad)
        return -XEN_EINVAL;
    if (r.domid == v->domain->id)
        return -XEN_EPERM;
    d = domain_get(r.domid);
    if (!d)
        return -XEN_ESRCH;
    if (!v->domain->is_hardware) {
        domain_put(d);
        return -XEN_EPERM;
    }
    if (r.type != XENMEM_resource_grant_table)
        rc = -XEN_EOPNOTSUPP;
    else if (!r.frame_list.p)
        rc = size_of(d, u_arg, &r);
    else
        rc = grant_table_frames(d, &r);
    domain_put(d);
    return rc;
}
