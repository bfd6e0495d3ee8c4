#include "guest/pirq.h"
#include "guest/event.h"
#include "guest/frame.h"
#include "guest/mmu.h"
#include "kern/console.h"
#include "kern/irq.h"
#include "kern/device_locks.h"
#include "x86/cpu_setup.h"
#include "x86/ioapic.h"
#include "x86/lapic.h"
#include "x86/msi.h"
#include "x86/paging.h"
#include "x86/uart.h"

struct pirq {
    struct domain *domain;
    u32 number;
    u32 port;   /* (atomic) event channel, 0: not bound */
    int vector; /* 0: none */
    bool is_msi;
    bool level;       /* masked since it fired, until EOI */
    bool waiting_eoi; /* (atomic) */
    struct msi_entry msi;
};

static void mask_line(u32 gsi)
{
    lock(&ioapic_lock);
    ioapic_mask(gsi);
    unlock(&ioapic_lock);
}

static void unmask_line(u32 gsi)
{
    lock(&ioapic_lock);
    ioapic_unmask(gsi);
    unlock(&ioapic_lock);
}

static int route_line(u32 gsi, unsigned vector, bool level, bool active_low)
{
    int rc;

    lock(&ioapic_lock);
    rc = ioapic_route(gsi, (u8)vector, lapic_id(), level, active_low);
    unlock(&ioapic_lock);
    return rc;
}

/* Line or message fired. Takes no lock that is held while a vector is freed. */
static void pirq_fired(void *arg)
{
    struct pirq *p = arg;
    u32 port = __atomic_load_n(&p->port, __ATOMIC_ACQUIRE);

    if (p->level) {
        mask_line(p->number);
        __atomic_store_n(&p->waiting_eoi, true, __ATOMIC_SEQ_CST);
    }
    if (port)
        event_set_pending(p->domain, port);
}

static struct pirq *pirq_get(struct domain *d, u32 pirq)
{
    return pirq < MAX_PIRQS ? d->pirqs[pirq] : NULL;
}

static struct pirq *pirq_new(struct domain *d, u32 number)
{
    struct pirq *p = heap_alloc(sizeof(*p));

    if (!p)
        return NULL;
    p->domain = d;
    p->number = number;
    d->pirqs[number] = p;
    return p;
}

static void set_eoi_bit(struct domain *d, const struct pirq *p)
{
    u64 bit = BIT(p->number & 63);

    if (!d->pirq_eoi_map)
        return;
    if (p->level)
        __atomic_fetch_or(&d->pirq_eoi_map[p->number / 64], bit, __ATOMIC_SEQ_CST);
    else
        __atomic_fetch_and(&d->pirq_eoi_map[p->number / 64], ~bit, __ATOMIC_SEQ_CST);
}

static int map_gsi(struct domain *d, struct physdev_map_pirq *map)
{
    u32 gsi = (u32)map->index;

    if (map->index < 0 || gsi >= MAX_PIRQS || !ioapic_has_gsi(gsi))
        return -XEN_EINVAL;
    if (map->pirq >= 0 && map->pirq != map->index)
        return -XEN_EINVAL;
    map->pirq = map->index;
    if (d->pirqs[gsi])
        return 0;
    return pirq_new(d, gsi) ? 0 : -XEN_ENOMEM;
}

static int free_msi_number(const struct domain *d)
{
    for (int n = MAX_PIRQS - 1; n >= (int)ioapic_nr_gsis(); n--)
        if (!d->pirqs[n])
            return n;
    return -XEN_ENOSPC;
}

static void release(struct domain *d, struct pirq *p)
{
    if (p->is_msi) {
        lock(&pci_config_lock);
        msi_teardown(&p->msi);
        unlock(&pci_config_lock);
    } else if (p->vector)
        mask_line(p->number);
    if (p->vector)
        irq_free_vector((unsigned)p->vector);
    d->pirqs[p->number] = NULL;
    heap_free(p, sizeof(*p));
}

static int setup_message(struct pirq *p, const struct physdev_map_pirq *map)
{
    struct msi_target target;
    int vector = irq_alloc_vector(pirq_fired, p), rc;

    if (vector < 0)
        return vector;
    p->vector = vector;
    p->is_msi = true;
    p->msi = (struct msi_entry){.seg = (u16)(map->bus >> 16),
                                .bus = (u8)map->bus,
                                .devfn = (u8)map->devfn,
                                .is_msix = map->table_base != 0,
                                .entry_nr = (u16)map->entry_nr,
                                .table_base = map->table_base};
    target = (struct msi_target){.vector = (u8)vector, .dest_apic_id = lapic_id()};
    lock(&pci_config_lock);
    rc = msi_setup(&p->msi, &target);
    unlock(&pci_config_lock);
    return rc;
}

static int map_msi(struct domain *d, struct physdev_map_pirq *map)
{
    struct pirq *p;
    int number = map->pirq, rc;

    if (number < 0)
        number = free_msi_number(d);
    if (number < 0)
        return number;
    if (number < (int)ioapic_nr_gsis() || number >= MAX_PIRQS || d->pirqs[number])
        return -XEN_EINVAL;
    if (map->entry_nr < 0 || map->entry_nr > 0x7ff)
        return -XEN_EINVAL;
    p = pirq_new(d, (u32)number);
    if (!p)
        return -XEN_ENOMEM;
    rc = setup_message(p, map);
    if (rc) {
        /* Nothing was set up at the device: only the vector is to give back. */
        p->msi.cap = 0;
        release(d, p);
        return rc;
    }
    map->pirq = number;
    return 0;
}

int pirq_map(struct domain *d, struct physdev_map_pirq *map)
{
    int rc;

    lock(&d->pirq_lock);
    switch (map->type) {
    case MAP_PIRQ_TYPE_GSI:
        rc = map_gsi(d, map);
        break;
    case MAP_PIRQ_TYPE_MSI:
        map->bus &= 0xff; /* segment 0 */
        rc = map_msi(d, map);
        break;
    case MAP_PIRQ_TYPE_MSI_SEG:
        rc = map_msi(d, map);
        break;
    default:
        /* Blocks of vectors: the guest falls back to one. */
        rc = -XEN_EINVAL;
        break;
    }
    unlock(&d->pirq_lock);
    return rc;
}

int pirq_unmap(struct domain *d, u32 pirq)
{
    struct pirq *p;
    int rc = 0;

    lock(&d->pirq_lock);
    p = pirq_get(d, pirq);
    if (!p)
        rc = -XEN_EINVAL;
    else if (p->port)
        rc = -XEN_EBUSY;
    else
        release(d, p);
    unlock(&d->pirq_lock);
    return rc;
}

int pirq_setup_gsi(struct domain *d, u32 gsi, bool level, bool active_low)
{
    struct pirq *p;
    int rc = 0;

    if (!ioapic_has_gsi(gsi))
        return -XEN_EINVAL;
    if (uart_irq() && gsi == ioapic_isa_gsi(uart_irq()))
        return -XEN_EEXIST;
    lock(&d->pirq_lock);
    p = pirq_get(d, gsi);
    if (p && p->vector)
        rc = -XEN_EEXIST;
    else
        rc = route_line(gsi, VECTOR_PARKED, level, active_low);
    unlock(&d->pirq_lock);
    return rc;
}

static int bind_line(struct pirq *p)
{
    int vector = irq_alloc_vector(pirq_fired, p), rc;

    if (vector < 0)
        return vector;
    rc = route_line(p->number, (unsigned)vector, ioapic_is_level(p->number),
                    ioapic_is_active_low(p->number));
    if (rc) {
        irq_free_vector((unsigned)vector);
        return rc;
    }
    p->vector = vector;
    p->level = ioapic_is_level(p->number);
    return 0;
}

int pirq_bind(struct domain *d, u32 pirq, u32 port, bool share)
{
    struct pirq *p;
    int rc = 0;

    lock(&d->pirq_lock);
    p = pirq_get(d, pirq);
    if (!p)
        rc = -XEN_EINVAL;
    else if (p->port)
        rc = -XEN_EEXIST;
    else if (!p->is_msi && uart_irq() && pirq == ioapic_isa_gsi(uart_irq()))
        rc = -XEN_EBUSY;
    else if (!p->vector)
        rc = bind_line(p);
    if (!rc) {
        __atomic_store_n(&p->port, port, __ATOMIC_RELEASE);
        set_eoi_bit(d, p);
        if (p->is_msi)
            msi_unmask(&p->msi);
        else
            unmask_line(p->number);
    }
    unlock(&d->pirq_lock);
    return rc;
}

void pirq_unbind(struct domain *d, u32 pirq)
{
    struct pirq *p;

    lock(&d->pirq_lock);
    p = pirq_get(d, pirq);
    if (p) {
        __atomic_store_n(&p->port, 0, __ATOMIC_RELEASE);
        if (p->is_msi) {
            msi_mask(&p->msi);
        } else {
            mask_line(p->number);
            irq_free_vector((unsigned)p->vector);
            p->vector = 0;
            p->waiting_eoi = false;
        }
    }
    unlock(&d->pirq_lock);
}

int pirq_eoi(struct domain *d, u32 pirq)
{
    struct pirq *p;

    lock(&d->pirq_lock);
    p = pirq_get(d, pirq);
    if (p && __atomic_exchange_n(&p->waiting_eoi, false, __ATOMIC_SEQ_CST) && p->port)
        unmask_line(p->number);
    unlock(&d->pirq_lock);
    return p ? 0 : -XEN_EINVAL;
}

bool pirq_needs_eoi(struct domain *d, u32 pirq)
{
    const struct pirq *p;
    bool needs;

    lock(&d->pirq_lock);
    p = pirq_get(d, pirq);
    needs = p && !p->is_msi && (p->vector ? p->level : ioapic_is_level(pirq));
    unlock(&d->pirq_lock);
    return needs;
}

int pirq_set_eoi_map(struct domain *d, mfn_t mfn)
{
    int rc;

    rc = frame_type_get(d->id, mfn, TYPE_WRITABLE);
    if (rc)
        return rc;
    lock(&d->pirq_lock);
    if (d->pirq_eoi_map) {
        rc = -XEN_EBUSY;
    } else {
        d->pirq_eoi_mfn = mfn;
        d->pirq_eoi_map = mfn_to_virt(mfn);
        for (u32 n = 0; n < MAX_PIRQS; n++)
            if (d->pirqs[n])
                set_eoi_bit(d, d->pirqs[n]);
    }
    unlock(&d->pirq_lock);
    if (rc)
        frame_type_put(mfn);
    return rc;
}

/* Table pages of MSI-X may lie in any device memory that is not ours. */
static bool is_guest_mmio(u64 phys, u64 size)
{
    mfn_t first = MFN(phys >> PAGE_SHIFT), last = MFN((phys + size - 1) >> PAGE_SHIFT);

    return phys + size <= BIT(cpu_features.maddr_bits) && !mfn_is_ram(first) &&
           !mfn_is_ram(last) && !mmu_io_withheld(first) && !mmu_io_withheld(last);
}

__init void pirq_init(const struct acpi_info *acpi)
{
    msi_init(is_guest_mmio);
}
