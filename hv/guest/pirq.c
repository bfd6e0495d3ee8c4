#include "guest/pirq.h"
#include "guest/event.h"
#include "guest/frame.h"
#include "guest/mmu.h"
#include "kern/console.h"
#include "kern/irq.h"
#include "kern/device_locks.h"
#include "kern/line.h"
#include "x86/cpu_setup.h"
#include "x86/ioapic.h"
#include "x86/lapic.h"
#include "x86/msi.h"
#include "x86/paging.h"

struct pirq {
    struct domain *domain;
    u32 number;
    u32 port; /* (atomic) event channel, 0: not bound */
    bool is_msi;
    struct line_share line; /* a line, while bound */
    int vector;             /* a message's */
    struct msi_entry msi;
};

/* A message arrived. Takes no lock that is held while a vector is freed. */
static void message_arrived(void *arg)
{
    const struct pirq *p = arg;
    u32 port = __atomic_load_n(&p->port, __ATOMIC_ACQUIRE);

    if (port)
        event_set_pending(p->domain, port);
}

static void line_fired(struct line_share *s)
{
    const struct pirq *p = container_of(s, struct pirq, line);

    event_set_pending(p->domain, __atomic_load_n(&p->port, __ATOMIC_ACQUIRE));
}

static bool is_level(const struct pirq *p)
{
    return !p->is_msi && line_is_level(p->number);
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
    p->line.tell = line_fired;
    d->pirqs[number] = p;
    return p;
}

static void set_eoi_bit(struct domain *d, const struct pirq *p)
{
    u64 bit = BIT(p->number & 63);

    if (!d->pirq_eoi_map)
        return;
    if (is_level(p))
        __atomic_fetch_or(&d->pirq_eoi_map[p->number / 64], bit, __ATOMIC_SEQ_CST);
    else
        __atomic_fetch_and(&d->pirq_eoi_map[p->number / 64], ~bit, __ATOMIC_SEQ_CST);
}

static void permit_line(struct domain *d, u32 gsi, bool allow)
{
    u64 bit = BIT(gsi & 63);

    if (allow)
        d->pirq_permitted[gsi / 64] |= bit;
    else
        d->pirq_permitted[gsi / 64] &= ~bit;
}

static bool may_bind(const struct domain *d, const struct pirq *p)
{
    return d->is_hardware || p->is_msi ||
           d->pirq_permitted[p->number / 64] & BIT(p->number & 63);
}

static int map_gsi(struct domain *d, struct physdev_map_pirq *map)
{
    u32 gsi = (u32)map->index;

    if (map->index < 0 || gsi >= MAX_PIRQS || !ioapic_has_gsi(gsi))
        return -XEN_EINVAL;
    if (map->pirq >= 0 && map->pirq != map->index)
        return -XEN_EINVAL;
    if (!d->is_hardware && !line_is_free_for_guests(gsi))
        return -XEN_EPERM;
    if (!d->pirqs[gsi] && !pirq_new(d, gsi))
        return -XEN_ENOMEM;
    map->pirq = map->index;
    permit_line(d, gsi, true);
    return 0;
}

static int free_msi_number(const struct domain *d)
{
    for (int n = MAX_PIRQS - 1; n >= (int)ioapic_nr_gsis(); n--)
        if (!d->pirqs[n])
            return n;
    return -XEN_ENOSPC;
}

/*
 * With the domain's lock. Afterwards the port is silent. 'forced': the domain still uses it, and
 * nobody knows what by.
 */
static void unbind(struct pirq *p, bool forced)
{
    if (!p->port)
        return;
    __atomic_store_n(&p->port, 0, __ATOMIC_RELEASE);
    if (!p->is_msi) {
        p->domain->lines_bound--;
        if (!p->domain->is_hardware && (forced || !p->domain->lines_bound))
            device_silence(p->domain->id);
        line_unbind(p->number, &p->line);
        return;
    }
    lock(&pci_config_lock);
    msi_mask(&p->msi);
    unlock(&pci_config_lock);
}

static void release(struct domain *d, struct pirq *p)
{
    unbind(p, true);
    if (p->is_msi) {
        lock(&pci_config_lock);
        msi_teardown(&p->msi);
        unlock(&pci_config_lock);
    } else {
        permit_line(d, p->number, false);
    }
    if (p->vector)
        irq_free_vector((unsigned)p->vector);
    d->pirqs[p->number] = NULL;
    heap_free(p, sizeof(*p));
}

static int setup_message(struct pirq *p, const struct physdev_map_pirq *map)
{
    struct msi_target target;
    int vector = irq_alloc_vector(message_arrived, p), rc;

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

    if (!d->is_hardware && !device_belongs_to((u32)map->bus << 8 | (u8)map->devfn, d->id))
        return -XEN_ENODEV;
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

static int map_any(struct domain *d, struct physdev_map_pirq *map)
{
    /* pirq_release_all() will come, or has been here. */
    if (d->stop & STOP_DYING)
        return -XEN_EINVAL;
    switch (map->type) {
    case MAP_PIRQ_TYPE_GSI:
        return map_gsi(d, map);
    case MAP_PIRQ_TYPE_MSI:
        map->bus &= 0xff; /* segment 0 */
        return map_msi(d, map);
    case MAP_PIRQ_TYPE_MSI_SEG:
        return map_msi(d, map);
    default:
        /* Blocks of vectors: the guest falls back to one. */
        return -XEN_EINVAL;
    }
}

int pirq_map(struct domain *d, struct physdev_map_pirq *map)
{
    int rc;

    lock(&d->pirq_lock);
    rc = map_any(d, map);
    unlock(&d->pirq_lock);
    return rc;
}

int pirq_unmap(struct domain *d, u32 pirq)
{
    struct pirq *p;
    int rc = 0;

    lock(&d->pirq_lock);
    p = pirq_get(d, pirq);
    if (p)
        release(d, p);
    else
        rc = -XEN_EINVAL;
    unlock(&d->pirq_lock);
    return rc;
}

int pirq_permit(struct domain *d, u32 gsi, bool allow)
{
    struct pirq *p;

    if (!line_is_free_for_guests(gsi))
        return -XEN_EPERM;
    lock(&d->pirq_lock);
    p = pirq_get(d, gsi);
    permit_line(d, gsi, allow);
    if (p && !may_bind(d, p))
        unbind(p, true);
    unlock(&d->pirq_lock);
    return 0;
}

static int bind_line(struct pirq *p, bool share)
{
    struct domain *d = p->domain;
    int rc = line_bind(p->number, &p->line, share);

    if (rc)
        return rc;
    d->lines_bound++;
    if (!d->is_hardware)
        device_unsilence(d->id);
    return 0;
}

/* Port and map of EOIs are right before the first interrupt can come. */
static int bind(struct pirq *p, u32 port, bool share)
{
    int rc = 0;

    set_eoi_bit(p->domain, p);
    __atomic_store_n(&p->port, port, __ATOMIC_RELEASE);
    if (p->is_msi) {
        lock(&pci_config_lock);
        msi_unmask(&p->msi);
        unlock(&pci_config_lock);
    } else {
        rc = bind_line(p, share);
    }
    if (rc)
        __atomic_store_n(&p->port, 0, __ATOMIC_RELEASE);
    return rc;
}

int pirq_bind(struct domain *d, u32 pirq, u32 port, bool share)
{
    struct pirq *p;
    int rc;

    lock(&d->pirq_lock);
    p = pirq_get(d, pirq);
    if (!p)
        rc = -XEN_EINVAL;
    else if (p->port)
        rc = -XEN_EEXIST;
    else
        rc = may_bind(d, p) ? bind(p, port, share) : -XEN_EPERM;
    unlock(&d->pirq_lock);
    return rc;
}

void pirq_unbind(struct domain *d, u32 pirq, u32 port)
{
    struct pirq *p;

    lock(&d->pirq_lock);
    p = pirq_get(d, pirq);
    if (p && p->port == port)
        unbind(p, false);
    unlock(&d->pirq_lock);
}

int pirq_eoi(struct domain *d, u32 pirq)
{
    struct pirq *p;

    lock(&d->pirq_lock);
    p = pirq_get(d, pirq);
    if (p && p->port && !p->is_msi)
        line_done(p->number, &p->line);
    unlock(&d->pirq_lock);
    return p ? 0 : -XEN_EINVAL;
}

bool pirq_needs_eoi(struct domain *d, u32 pirq)
{
    const struct pirq *p;
    bool needs;

    lock(&d->pirq_lock);
    p = pirq_get(d, pirq);
    needs = p && is_level(p);
    unlock(&d->pirq_lock);
    return needs;
}

bool pirq_is_shared(struct domain *d, u32 pirq)
{
    const struct pirq *p;
    bool shared;

    lock(&d->pirq_lock);
    p = pirq_get(d, pirq);
    shared = p && p->port && !p->is_msi && line_is_shared(pirq);
    unlock(&d->pirq_lock);
    return shared;
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

static void release_eoi_map(struct domain *d)
{
    bool had;

    lock(&d->pirq_lock);
    had = d->pirq_eoi_map;
    d->pirq_eoi_map = NULL;
    unlock(&d->pirq_lock);
    if (had)
        frame_type_put(d->pirq_eoi_mfn);
}

void pirq_release_all(struct domain *d)
{
    for (u32 n = 0; n < MAX_PIRQS; n++) {
        if (!__atomic_load_n(&d->pirqs[n], __ATOMIC_RELAXED))
            continue;
        lock(&d->pirq_lock);
        if (d->pirqs[n])
            release(d, d->pirqs[n]);
        unlock(&d->pirq_lock);
        preempt_point();
    }
    release_eoi_map(d);
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
