/*
 * Operations of domain 0 on a domain: what it may use of the machine's devices. Domain 0 itself
 * keeps all that the hypervisor does not need; it can only permit what it has.
 */
#include "guest/ioports.h"
#include "guest/mmu.h"
#include "guest/pirq.h"
#include "hcall/domctl.h"
#include "x86/cpu_setup.h"

/* Domain 0's rights are no sets that could change; what is taken apart gets nothing any more. */
static int may_change(const struct domain *d, bool allow)
{
    if (d->is_hardware)
        return allow ? 0 : -XEN_EOPNOTSUPP;
    return allow && d->stop & STOP_DYING ? -XEN_EINVAL : 0;
}

s64 domctl_ioport_permission(struct domain *d, struct xen_domctl *op)
{
    const struct xen_domctl_ioport_permission *p = &op->u.ioport_permission;
    u32 first = p->first_port, last = first + p->nr_ports - 1;
    int rc = may_change(d, p->allow_access);

    if (!p->nr_ports || last < first || last > 0xffff)
        return -XEN_EINVAL;
    if (ioports_withheld((u16)first, (u16)last))
        return -XEN_EPERM;
    if (rc || d->is_hardware)
        return rc;
    return device_permit_ports(&d->devices, (u16)first, (u16)last, p->allow_access);
}

/* Frames that domain 0 may have. */
static int check_frames(u64 first, u64 last)
{
    if (first > last)
        return -XEN_EINVAL;
    if (last >> (cpu_features.maddr_bits - PAGE_SHIFT) || mmu_io_denied(first, last))
        return -XEN_EPERM;
    return 0;
}

s64 domctl_iomem_permission(struct domain *d, struct xen_domctl *op)
{
    const struct xen_domctl_iomem_permission *p = &op->u.iomem_permission;
    u64 first = p->first_mfn, last = first + p->nr_mfns - 1;
    int rc = check_frames(first, last);

    if (!rc)
        rc = may_change(d, p->allow_access);
    if (rc || d->is_hardware)
        return rc;
    return device_permit_memory(&d->devices, first, last, p->allow_access);
}

s64 domctl_irq_permission(struct domain *d, struct xen_domctl *op)
{
    const struct xen_domctl_irq_permission *p = &op->u.irq_permission;
    int rc = may_change(d, p->allow_access);

    if (p->pirq >= MAX_PIRQS)
        return -XEN_EINVAL;
    if (rc || d->is_hardware)
        return rc;
    return pirq_permit(d, p->pirq, p->allow_access);
}

/* Paravirtual domains map device memory by their own tables, if they may: nothing to do. */
s64 domctl_memory_mapping(struct domain *d, struct xen_domctl *op)
{
    const struct xen_domctl_memory_mapping *m = &op->u.memory_mapping;

    if (m->first_gfn + m->nr_mfns - 1 < m->first_gfn)
        return -XEN_EINVAL;
    return check_frames(m->first_mfn, m->first_mfn + m->nr_mfns - 1);
}

s64 domctl_ioport_mapping(struct domain *d, struct xen_domctl *op)
{
    return -XEN_EOPNOTSUPP;
}

static int check_assignment(const struct xen_domctl_assign_device *a)
{
    if (a->dev != XEN_DOMCTL_DEV_PCI)
        return -XEN_ENOSYS;
    return a->flags & ~XEN_DOMCTL_DEV_RDM_RELAXED ? -XEN_EINVAL : 0;
}

static int assign(u16 owner, const struct xen_domctl_assign_device *a, u32 cmd)
{
    u32 sbdf = a->u.pci.machine_sbdf;
    int rc = check_assignment(a);

    if (rc)
        return rc;
    switch (cmd) {
    case XEN_DOMCTL_assign_device:
        return device_assign(sbdf, owner);
    case XEN_DOMCTL_deassign_device:
        return device_deassign(sbdf, owner);
    default:
        return device_check(sbdf);
    }
}

s64 domctl_assign_device(struct domain *d, struct xen_domctl *op)
{
    if (d->is_hardware)
        return -XEN_EINVAL;
    if (op->cmd == XEN_DOMCTL_assign_device && d->stop & STOP_DYING)
        return -XEN_EINVAL;
    return assign(d->id, &op->u.assign_device, op->cmd);
}

bool domctl_is_set_aside(const struct xen_domctl *op)
{
    return op->domain == DOMID_IO &&
           (op->cmd == XEN_DOMCTL_assign_device || op->cmd == XEN_DOMCTL_deassign_device);
}

s64 domctl_set_aside(struct xen_domctl *op)
{
    return assign(DOMID_IO, &op->u.assign_device, op->cmd);
}
