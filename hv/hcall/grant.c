/* Grant tables: their size and version, and which operation is whose. */
#include "hcall/grant.h"
#include "guest/access.h"
#include "guest/grant.h"
#include "hcall/hcall.h"
#include <xen/grant_table.h>

struct domain *grant_peer_change(struct grant_peer *p, u16 id)
{
    grant_peer_drop(p);
    p->d = grant_domain_get(id);
    return p->d;
}

void grant_peer_drop(struct grant_peer *p)
{
    if (p->d)
        domain_put(p->d);
    p->d = NULL;
}

/* Whose table: the caller's, or for domain 0 any other's. A GNTST_ value. */
static int owner_of_table(struct vcpu *v, u16 id, struct grant_peer *p, struct domain **d)
{
    *d = grant_peer_find(p, id == DOMID_SELF ? v->domain->id : id);
    if (!*d)
        return GNTST_bad_domain;
    return *d == v->domain || v->domain->is_hardware ? GNTST_okay : GNTST_permission_denied;
}

static int give_frames(const struct domain *d, const struct gnttab_setup_table *op)
{
    for (u32 i = 0; i < op->nr_frames; i++) {
        u64 mfn = grant_frame(d, i).n;

        if (copy_array_to_guest(op->frame_list.p, i, &mfn, sizeof(mfn)))
            return GNTST_bad_virt_addr;
    }
    return GNTST_okay;
}

static s64 setup_table(struct vcpu *v, u64 u_op)
{
    struct gnttab_setup_table op;
    struct grant_peer peer = {NULL};
    struct domain *d;
    s16 *u_status = &((struct gnttab_setup_table *)u_op)->status;

    if (copy_from_guest(&op, (const void *)u_op, sizeof(op)))
        return -XEN_EFAULT;
    op.status = (s16)owner_of_table(v, op.dom, &peer, &d);
    if (op.status == GNTST_okay && grant_grow(d, op.nr_frames))
        op.status = GNTST_general_error;
    if (op.status == GNTST_okay)
        op.status = (s16)give_frames(d, &op);
    grant_peer_drop(&peer);
    return copy_to_guest(u_status, &op.status, sizeof(op.status));
}

static s64 query_size(struct vcpu *v, u64 u_op)
{
    struct gnttab_query_size op;
    struct grant_peer peer = {NULL};
    struct domain *d;

    if (copy_from_guest(&op, (const void *)u_op, sizeof(op)))
        return -XEN_EFAULT;
    op.status = (s16)owner_of_table(v, op.dom, &peer, &d);
    if (op.status == GNTST_okay) {
        /* The first page is there as soon as somebody asks for it. */
        op.nr_frames = MAX(grant_nr_frames(d), 1U);
        op.max_nr_frames = d->max_grant_frames;
    }
    grant_peer_drop(&peer);
    return copy_to_guest((void *)u_op, &op, sizeof(op));
}

static s64 set_version(u64 u_op)
{
    struct gnttab_set_version op;

    if (copy_from_guest(&op, (const void *)u_op, sizeof(op)))
        return -XEN_EFAULT;
    if (op.version == 2)
        return -XEN_ENOSYS;
    return op.version == 1 ? 0 : -XEN_EINVAL;
}

static s64 get_version(struct vcpu *v, u64 u_op)
{
    struct gnttab_get_version op;
    struct grant_peer peer = {NULL};
    struct domain *d;
    int status;

    if (copy_from_guest(&op, (const void *)u_op, sizeof(op)))
        return -XEN_EFAULT;
    status = owner_of_table(v, op.dom, &peer, &d);
    grant_peer_drop(&peer);
    if (status != GNTST_okay)
        return status == GNTST_bad_domain ? -XEN_ESRCH : -XEN_EPERM;
    op.version = 1;
    return copy_to_guest((void *)u_op, &op, sizeof(op));
}

_Static_assert(GNTTABOP_map_grant_ref == 0 && GNTTABOP_unmap_grant_ref == 1 &&
                   sizeof(struct gnttab_unmap_grant_ref) < sizeof(struct gnttab_map_grant_ref),
               "the first two are those that come alone");

struct operation {
    s64 (*run)(struct vcpu *v, u64 u_ops, u32 n);
    u32 size; /* of a request */
};

static const struct operation operations[] = {
    [GNTTABOP_map_grant_ref] = {grant_map_array, sizeof(struct gnttab_map_grant_ref)},
    [GNTTABOP_unmap_grant_ref] = {grant_unmap_array, sizeof(struct gnttab_unmap_grant_ref)},
    [GNTTABOP_transfer] = {grant_transfer_array, sizeof(struct gnttab_transfer)},
    [GNTTABOP_unmap_and_replace] = {grant_replace_array,
                                    sizeof(struct gnttab_unmap_and_replace)},
    [GNTTABOP_copy] = {grant_copy_array, sizeof(struct gnttab_copy)},
};

/* A vcpu that must stop does so between two requests, and goes on with the others. */
static s64 run_array(struct vcpu *v, const struct operation *o, u64 u_ops, u32 n)
{
    s64 done;

    if (!guest_range_ok(u_ops, (u64)n * o->size))
        return -XEN_EFAULT;
    done = o->run(v, u_ops, n);
    if (likely(done == n))
        return 0;
    if (done < 0)
        return done;
    if (!v->in_multicall) {
        guest_regs()->rsi += (u64)done * o->size;
        guest_regs()->rdx -= (u64)done;
    }
    return hcall_again(v, __HYPERVISOR_grant_table_op);
}

/* Apart: the usual operations need less of the stack. */
static __noinline s64 table_op(struct vcpu *v, u64 cmd, u64 u_op)
{
    switch (cmd) {
    case GNTTABOP_setup_table:
        return setup_table(v, u_op);
    case GNTTABOP_query_size:
        return query_size(v, u_op);
    case GNTTABOP_set_version:
        return set_version(u_op);
    case GNTTABOP_get_version:
        return get_version(v, u_op);
    default:
        return -XEN_ENOSYS;
    }
}

HYPERCALL(grant_table_op)
{
    if (likely(a3 == 1 && a1 <= GNTTABOP_unmap_grant_ref &&
               guest_range_ok(a2, sizeof(struct gnttab_map_grant_ref))))
        return a1 == GNTTABOP_map_grant_ref ? grant_map_single(v, a2)
                                            : grant_unmap_single(v, a2);
    if ((s32)a3 < 0)
        return -XEN_EINVAL;
    if (a1 < ARRAY_SIZE(operations) && operations[a1].run)
        return run_array(v, &operations[a1], a2, (u32)a3);
    return a3 == 1 ? table_op(v, a1, a2) : -XEN_EINVAL;
}
