#include "guest/access.h"
#include "guest/ioports.h"
#include "guest/pirq.h"
#include "hcall/hcall.h"
#include "kern/device_locks.h"
#include "x86/ioapic.h"

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
    return 0;
}

/* Operations any domain may use on itself. */
static s64 privilege_level(struct vcpu *v, u64 a1, u64 a2)
{
    union physdev_arg op;

    switch (a1) {
    case PHYSDEVOP_set_iopl:
        COPY_IN(iopl);
        if (op.iopl.iopl > 3)
            return -XEN_EINVAL;
        ioports_set_iopl(v, op.iopl.iopl);
        return 0;
    default:
        COPY_IN(iobitmap);
        if (op.iobitmap.nr_ports > 65536 || !guest_range_ok((u64)op.iobitmap.bitmap.p, 8192))
            return -XEN_EINVAL;
        v->iobitmap = (u64)op.iobitmap.bitmap.p;
        v->iobitmap_ports = op.iobitmap.nr_ports;
        return 0;
    }
}

HYPERCALL(physdev_op)
{
    struct domain *d = v->domain;
    union physdev_arg op;
    s64 rc = 0;

    if (a1 == PHYSDEVOP_set_iopl || a1 == PHYSDEVOP_set_iobitmap)
        return privilege_level(v, a1, a2);
    if (!d->is_hardware)
        return -XEN_EPERM;
    switch (a1) {
    case PHYSDEVOP_eoi:
        COPY_IN(eoi);
        return pirq_eoi(d, op.eoi.irq);
    case PHYSDEVOP_irq_status_query:
        COPY_IN(status);
        rc = status_query(d, &op.status);
        COPY_OUT(status);
        return rc;
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
        COPY_IN(map);
        if (op.map.domid != DOMID_SELF && op.map.domid != d->id)
            return -XEN_ESRCH;
        rc = pirq_map(d, &op.map);
        COPY_OUT(map);
        return rc;
    case PHYSDEVOP_unmap_pirq:
        COPY_IN(unmap);
        if (op.unmap.domid != DOMID_SELF && op.unmap.domid != d->id)
            return -XEN_ESRCH;
        return op.unmap.pirq < 0 ? -XEN_EINVAL : pirq_unmap(d, (u32)op.unmap.pirq);
    case PHYSDEVOP_setup_gsi:
        COPY_IN(gsi);
        return op.gsi.gsi < 0
                   ? -XEN_EINVAL
                   : pirq_setup_gsi(d, (u32)op.gsi.gsi, op.gsi.triggering, op.gsi.polarity);
    case PHYSDEVOP_pirq_eoi_gmfn_v2:
        COPY_IN(eoi_map);
        return pirq_set_eoi_map(d, MFN(op.eoi_map.gmfn));
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
    case PHYSDEVOP_pci_device_remove:
    case PHYSDEVOP_prepare_msix:
    case PHYSDEVOP_release_msix:
        COPY_IN(device);
        return 0;
    default:
        return -XEN_ENOSYS;
    }
}
