/* The Virtual Firewall Router, for domain 0. */
#include "guest/access.h"
#include "hcall/hcall.h"
#include "kern/heap.h"
#include "svc/vfr_elements.h"
#include "svc/vfr_explain.h"
#include "svc/vfr_leases.h"
#include "svc/vfr_rules.h"
#include "svc/vif.h"

static int about_vif(struct serai_vfr_vif *op)
{
    switch (op->op) {
    case VFR_VIF_CONNECT:
        return vif_connect(op);
    case VFR_VIF_DISCONNECT:
        return vif_disconnect(op->vif);
    case VFR_VIF_READ:
        return vif_read(op, false);
    case VFR_VIF_NEXT:
        return vif_read(op, true);
    case VFR_VIF_NEXT_HOP:
        return vif_set_next_hop(op);
    case VFR_VIF_RATE:
        return vif_change_rate(op);
    default:
        return -XEN_EINVAL;
    }
}

s64 hcall_vfr_vif(u64 u_arg)
{
    struct serai_vfr_vif *op = heap_alloc(sizeof(*op));
    int rc;

    if (!op)
        return -XEN_ENOMEM;
    rc = copy_from_guest(op, (const void *)u_arg, sizeof(*op));
    if (!rc)
        rc = about_vif(op);
    if (!rc)
        rc = copy_to_guest((void *)u_arg, op, sizeof(*op));
    heap_free(op, sizeof(*op));
    return rc;
}

s64 hcall_vfr_rules(u64 u_arg)
{
    struct serai_vfr_rules op;
    int rc, copied;

    if (copy_from_guest(&op, (const void *)u_arg, sizeof(op)))
        return -XEN_EFAULT;
    rc = vfr_rules_call(&op);
    copied =
        copy_to_guest((void *)u_arg, &op, sizeof(op)); /* also where an image is not good */
    return rc ? rc : copied;
}

s64 hcall_vfr_set(u64 u_arg)
{
    struct serai_vfr_set op;
    int rc;

    if (copy_from_guest(&op, (const void *)u_arg, sizeof(op)))
        return -XEN_EFAULT;
    rc = vfr_elements_call(&op);
    return rc ? rc : copy_to_guest((void *)u_arg, &op, sizeof(op));
}

s64 hcall_vfr_explain(u64 u_arg)
{
    struct serai_vfr_explain *op = heap_alloc(sizeof(*op));
    int rc;

    if (!op)
        return -XEN_ENOMEM;
    rc = copy_from_guest(op, (const void *)u_arg, sizeof(*op));
    if (!rc)
        rc = vfr_explain_call(op);
    if (!rc)
        rc = copy_to_guest((void *)u_arg, op, sizeof(*op));
    heap_free(op, sizeof(*op));
    return rc;
}

static int list_leases(struct serai_vfr_lease *op)
{
    struct vfr_lease_info info;

    for (op->count = 0; op->count < op->capacity; op->count++) {
        if (!vfr_leases_list(&op->cursor, &info))
            break;
        if (copy_array_to_guest((void *)op->entries, op->count, &info, sizeof(info)))
            return -XEN_EFAULT;
        preempt_point();
    }
    return 0;
}

/* Who a lease is for the hypervisor knows better than the caller. */
static int change_lease(struct serai_vfr_lease *op)
{
    int rc = 0;

    if (op->order.op == VFR_LEASE_EXPIRE || op->order.op == VFR_LEASE_RELEASE)
        return -XEN_EPERM;
    if (op->order.op == VFR_LEASE_GRANT)
        rc = vif_uuid(op->order.vif, op->order.uuid);
    return rc ? rc : vfr_leases_change(&op->order, op->op == VFR_LEASE_CHECK, &op->events);
}

s64 hcall_vfr_lease(u64 u_arg)
{
    struct serai_vfr_lease op;
    int rc;

    if (copy_from_guest(&op, (const void *)u_arg, sizeof(op)))
        return -XEN_EFAULT;
    if (op.reserved || op.op > VFR_LEASE_LIST)
        return -XEN_EINVAL;
    rc = op.op == VFR_LEASE_LIST ? list_leases(&op) : change_lease(&op);
    vfr_leases_clock(&op.now, &op.epoch);
    return rc ? rc : copy_to_guest((void *)u_arg, &op, sizeof(op));
}
