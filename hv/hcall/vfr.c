/* The Virtual Firewall Router, for domain 0. */
#include "guest/access.h"
#include "hcall/hcall.h"
#include "kern/heap.h"
#include "svc/vif.h"

static int act(struct serai_vfr_vif *op)
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
    default:
        return -XEN_EINVAL;
    }
}

s64 hcall_vfr(u64 u_arg)
{
    struct serai_vfr_vif *op = heap_alloc(sizeof(*op));
    int rc;

    if (!op)
        return -XEN_ENOMEM;
    rc = copy_from_guest(op, (const void *)u_arg, sizeof(*op));
    if (!rc)
        rc = act(op);
    if (!rc)
        rc = copy_to_guest((void *)u_arg, op, sizeof(*op));
    heap_free(op, sizeof(*op));
    return rc;
}
