#include "guest/access.h"
#include "guest/ioports.h"
#include "guest/pirq.h"
#include "hcall/hcall.h"
#include "kern/device_locks.h"
#include "kern/line.h"
#include "x86/ioapic.h"
#include "x86/msi.h"

union argument {
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

static s64 set_iobitmap(struct vcpu *v, const struct physdev_set_iobitmap *op)
{
    if (op->nr_ports > 65536 || !guest_range_ok((u64)op->bitmap.p, 8192))
        return -XEN_EINVAL;
    v->iobitmap = (u64)op->bitmap.p;
    v->iobitmap_ports = op->nr_ports;
    return 0;
}

static s64 set_iopl(struct vcpu *v, u32 iopl)
{
    if (iopl > 3)
        return -XEN_EINVAL;
    ioports_set_iopl(v, iopl);
    return 0;
}

/* The domain that domain 0 maps an interrupt for, with a reference; NULL: there is none. */
static struct domain *target(struct vcpu *v, domid_t id)
{
    return domain_get(id == DOMID_SELF ? v->domain->id : id);
}

static s64 map_pirq(struct vcpu *v, struct physdev_map_pirq *op)
{
    struct domain *d = target(v, op->domid);
    s64 rc;

    if (!d)
        return -XEN_ESRCH;
    rc = pirq_map(d, op);
    domain_put(d);
    return rc;
}

static s64 unmap_pirq(struct vcpu *v, const struct physdev_unmap_pirq *op)
{
    struct domain *d = target(v, op->domid);
    s64 rc;

    if (!d)
        return -XEN_ESRCH;
    rc = op->pirq < 0 ? -XEN_EINVAL : pirq_unmap(d, (u32)op->pirq);
    domain_put(d);
    return rc;
}

static s64 apic_read(struct physdev_apic *op)
{
    s64 rc;

    lock(&ioapic_lock);
    rc = ioapic_read_register(op->apic_physbase, op->reg, &op->value);
    unlock(&ioapic_lock);
    return rc;
}

static s64 prepare_msix(const struct physdev_pci_device *op)
{
    s64 rc;

    lock(&pci_config_lock);
    rc = msix_prepare(op->seg, op->bus, op->devfn);
    unlock(&pci_config_lock);
    return rc;
}

/* For all is what a domain asks for itself: its I/O privilege, and interrupts that it was given. */
static const struct hcall_form forms[] = {
    [PHYSDEVOP_set_iopl] = {.size = sizeof(struct physdev_set_iopl), .for_all = true},
    [PHYSDEVOP_set_iobitmap] = {.size = sizeof(struct physdev_set_iobitmap), .for_all = true},
    [PHYSDEVOP_eoi] = {.size = sizeof(struct physdev_eoi), .for_all = true},
    [PHYSDEVOP_irq_status_query] = {.size = sizeof(struct physdev_irq_status_query),
                                    .answers = true,
                                    .for_all = true},
    [PHYSDEVOP_pirq_eoi_gmfn_v2] = {.size = sizeof(struct physdev_pirq_eoi_gmfn),
                                    .for_all = true},
    [PHYSDEVOP_apic_read] = {.size = sizeof(struct physdev_apic), .answers = true},
    [PHYSDEVOP_apic_write] = {.size = sizeof(struct physdev_apic)},
    [PHYSDEVOP_alloc_irq_vector] = {.size = sizeof(struct physdev_irq), .answers = true},
    [PHYSDEVOP_free_irq_vector] = {.size = sizeof(struct physdev_irq)},
    [PHYSDEVOP_map_pirq] = {.size = sizeof(struct physdev_map_pirq), .answers = true},
    [PHYSDEVOP_unmap_pirq] = {.size = sizeof(struct physdev_unmap_pirq)},
    [PHYSDEVOP_setup_gsi] = {.size = sizeof(struct physdev_setup_gsi)},
    [PHYSDEVOP_pci_mmcfg_reserved] = {.size = sizeof(struct physdev_pci_mmcfg_reserved)},
    [PHYSDEVOP_pci_device_add] = {.size = sizeof(struct physdev_pci_device_add)},
    [PHYSDEVOP_manage_pci_add_ext] = {.size = sizeof(struct physdev_manage_pci_ext)},
    [PHYSDEVOP_manage_pci_add] = {.size = sizeof(struct physdev_manage_pci)},
    [PHYSDEVOP_manage_pci_remove] = {.size = sizeof(struct physdev_manage_pci)},
    [PHYSDEVOP_prepare_msix] = {.size = sizeof(struct physdev_pci_device)},
    [PHYSDEVOP_pci_device_remove] = {.size = sizeof(struct physdev_pci_device)},
    [PHYSDEVOP_release_msix] = {.size = sizeof(struct physdev_pci_device)},
};

static s64 run(struct vcpu *v, u64 nr, union argument *op)
{
    switch (nr) {
    case PHYSDEVOP_set_iopl:
        return set_iopl(v, op->iopl.iopl);
    case PHYSDEVOP_set_iobitmap:
        return set_iobitmap(v, &op->iobitmap);
    case PHYSDEVOP_eoi:
        return pirq_eoi(v->domain, op->eoi.irq);
    case PHYSDEVOP_irq_status_query:
        return status_query(v->domain, &op->status);
    case PHYSDEVOP_pirq_eoi_gmfn_v2:
        return pirq_set_eoi_map(v->domain, MFN(op->eoi_map.gmfn));
    case PHYSDEVOP_apic_read:
        return apic_read(&op->apic);
    case PHYSDEVOP_alloc_irq_vector:
        op->irq.vector = op->irq.irq;
        return op->irq.irq >= MAX_PIRQS ? -XEN_EINVAL : 0;
    case PHYSDEVOP_map_pirq:
        return map_pirq(v, &op->map);
    case PHYSDEVOP_unmap_pirq:
        return unmap_pirq(v, &op->unmap);
    case PHYSDEVOP_setup_gsi:
        return op->gsi.gsi < 0
                   ? -XEN_EINVAL
                   : line_set_mode((u32)op->gsi.gsi, op->gsi.triggering, op->gsi.polarity);
    case PHYSDEVOP_prepare_msix:
        return prepare_msix(&op->device);
    default:
        /*
         * The hypervisor programs the I/O APICs; configuration space is where the firmware's
         * table says; devices are found when their interrupts are mapped: nothing to do.
         */
        return 0;
    }
}

HYPERCALL(physdev_op)
{
    static const struct hcall_form none;
    const struct hcall_form *f = a1 < ARRAY_SIZE(forms) ? &forms[a1] : &none;
    union argument op;
    s64 rc;

    if (!f->for_all && !v->domain->is_hardware)
        return -XEN_EPERM;
    if (!f->size)
        return -XEN_ENOSYS;
    if (copy_from_guest(&op, (const void *)a2, f->size))
        return -XEN_EFAULT;
    rc = run(v, a1, &op);
    if (rc || !f->answers)
        return rc;
    return copy_to_guest((void *)a2, &op, f->size);
}
