#include "guest/access.h"
#include "guest/ioports.h"
#include "guest/pirq.h"
#include "hcall/hcall.h"
#include "kern/device_locks.h"
#include "kern/line.h"
#include "x86/ioapic.h"
#include "x86/msi.h"

#define COPY_IN(what)                                                                          \
    if (copy_from_guest(&op.what, (const void *)a2, sizeof(op.what)))                          \
    return -XEN_EFAULT
#define COPY_OUT(what)                                                                         \
    if (!rc && copy_to_guest((void *)a2, &op.what, sizeof(op.what)))                           \
    rc = -XEN_EFAULT

union physdev_arg {
    struct physdev_eoi eoi;
    struct physdev_irq_status_query status;
    struct physdev_set_iopl iopl;
    struct physdev_set_iobitmap iobitmap;
    struct physdev_apic apic;
    struct physdev_irq irq;
    struct physdev_map_pirq map;
    struct physdev_unmap_pirq unmap;
    struct physdev_setup_gsi gsi;
    struct physdev_pirq_eoi_gmfn eoi_map;
    struct physdev_pci_mmcfg_reserved mmcfg;
    struct physdev_manage_pci manage;
    struct physdev_manage_pci_ext manage_ext;
    struct physdev_pci_device_add add;
    struct physdev_pci_device device;
};

static s64 status_query(struct domain *d, struct physdev_irq_status_query *q)
{
    if (q->irq >= MAX_PIRQS)
        return -XEN_EINVAL;
    q->flags = pirq_needs_eoi(d, q->irq) ? XENIRQSTAT_needs_eoi : 0;
    if (pirq_is_shared(d, q->irq))
        q->flags |= XENIRQSTAT_shared;
    return 0;
}

/* What any domain may ask for itself: its I/O privilege, and interrupts that it was given. */
static s64 own_operation(struct vcpu *v, u64 a1, u64 a2)
{
    union physdev_arg op;
    s64 rc;

    switch (a1) {
    case PHYSDEVOP_set_iopl:
        COPY_IN(iopl);
        if (op.iopl.iopl > 3)
            return -XEN_EINVAL;
        ioports_set_iopl(v, op.iopl.iopl);
        return 0;
    case PHYSDEVOP_set_iobitmap:
        COPY_IN(iobitmap);
        if (op.iobitmap.nr_ports > 65536 || !guest_range_ok((u64)op.iobitmap.bitmap.p, 8192))
            return -XEN_EINVAL;
        v->iobitmap = (u64)op.iobitmap.bitmap.p;
        v->iobitmap_ports = op.iobitmap.nr_ports;
        return 0;
    case PHYSDEVOP_eoi:
        COPY_IN(eoi);
        return pirq_eoi(v->domain, op.eoi.irq);
    case PHYSDEVOP_irq_status_query:
        COPY_IN(status);
        rc = status_query(v->domain, &op.status);
        COPY_OUT(status);
        return rc;
    case PHYSDEVOP_pirq_eoi_gmfn_v2:
        COPY_IN(eoi_map);
        return pirq_set_eoi_map(v->domain, MFN(op.eoi_map.gmfn));
    default:
        return -XEN_ENOSYS;
    }
}

/* The domain that domain 0 maps an interrupt for, with a reference; NULL: there is none. */
static struct domain *target(struct vcpu *v, domid_t id)
{
    return domain_get(id == DOMID_SELF ? v->domain->id : id);
}

static s64 map_pirq(struct vcpu *v, u64 a2)
{
    union physdev_arg op;
    struct domain *d;
    s64 rc;

    COPY_IN(map);
    d = target(v, op.map.domid);
    if (!d)
        return -XEN_ESRCH;
    rc = pirq_map(d, &op.map);
    domain_put(d);
    COPY_OUT(map);
    return rc;
}

static s64 unmap_pirq(struct vcpu *v, u64 a2)
{
    union physdev_arg op;
    struct domain *d;
    s64 rc;

    COPY_IN(unmap);
    d = target(v, op.unmap.domid);
    if (!d)
        return -XEN_ESRCH;
    rc = op.unmap.pirq < 0 ? -XEN_EINVAL : pirq_unmap(d, (u32)op.unmap.pirq);
    domain_put(d);
    return rc;
}

HYPERCALL(physdev_op)
{
    union physdev_arg op;
    s64 rc = own_operation(v, a1, a2);

    if (rc != -XEN_ENOSYS)
        return rc;
    if (!v->domain->is_hardware)
        return -XEN_EPERM;
    rc = 0;
    switch (a1) {
    case PHYSDEVOP_apic_read:
        COPY_IN(apic);
        lock(&ioapic_lock);
        rc = ioapic_read_register(op.apic.apic_physbase, op.apic.reg, &op.apic.value);
        unlock(&ioapic_lock);
        COPY_OUT(apic);
        return rc;
    case PHYSDEVOP_apic_write:
        COPY_IN(apic);
        return 0; /* the hypervisor programs the I/O APICs */
    case PHYSDEVOP_alloc_irq_vector:
        COPY_IN(irq);
        if (op.irq.irq >= MAX_PIRQS)
            return -XEN_EINVAL;
        op.irq.vector = op.irq.irq;
        COPY_OUT(irq);
        return rc;
    case PHYSDEVOP_free_irq_vector:
        COPY_IN(irq);
        return 0;
    case PHYSDEVOP_map_pirq:
        return map_pirq(v, a2);
    case PHYSDEVOP_unmap_pirq:
        return unmap_pirq(v, a2);
    case PHYSDEVOP_setup_gsi:
        COPY_IN(gsi);
        return op.gsi.gsi < 0
                   ? -XEN_EINVAL
                   : line_set_mode((u32)op.gsi.gsi, op.gsi.triggering, op.gsi.polarity);
    case PHYSDEVOP_pci_mmcfg_reserved:
        /* The windows are those of the firmware's own table, whatever a guest says. */
        COPY_IN(mmcfg);
        return 0;
    /* Devices are found when their interrupts are mapped: announcing them changes nothing. */
    case PHYSDEVOP_pci_device_add:
        COPY_IN(add);
        return 0;
    case PHYSDEVOP_manage_pci_add_ext:
        COPY_IN(manage_ext);
        return 0;
    case PHYSDEVOP_manage_pci_add:
    case PHYSDEVOP_manage_pci_remove:
        COPY_IN(manage);
        return 0;
    case PHYSDEVOP_prepare_msix:
        COPY_IN(device);
        lock(&pci_config_lock);
        rc = msix_prepare(op.device.seg, op.device.bus, op.device.devfn);
        unlock(&pci_config_lock);
        return rc;
    case PHYSDEVOP_pci_device_remove:
    case PHYSDEVOP_release_msix:
        COPY_IN(device);
        return 0;
    default:
        return -XEN_ENOSYS;
    }
}
