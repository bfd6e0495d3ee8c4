#include "guest/device.h"
#include "kern/device_locks.h"
#include "kern/heap.h"
#include "x86/pci.h"
#include <xen/xen.h>

#define RANGES_SIZE 2048
#define MAX_RANGES  (RANGES_SIZE / sizeof(struct range))

#define MAX_DEVICES 128

/* Devices that do not belong to domain 0. */
static struct pci_device {
    u32 sbdf;
    u16 owner;
    bool set_aside; /* goes back to DOMID_IO */
    bool silenced;  /* by device_silence() */
} devices[MAX_DEVICES];
static unsigned nr_devices;
static struct spinlock devices_lock = SPINLOCK(LOCK_DEVICE);

void device_init(struct device_rights *r)
{
    *r = (struct device_rights){.lock = SPINLOCK(LOCK_DEVICE)};
}

/* Gets it room for its ranges. */
static int prepare(struct device_rights *r, struct rangeset *s)
{
    struct range *room;

    if (s->ranges)
        return 0;
    room = heap_alloc(RANGES_SIZE);
    if (!room)
        return -XEN_ENOMEM;
    lock(&r->lock);
    s->ranges = room;
    s->max = MAX_RANGES;
    unlock(&r->lock);
    return 0;
}

static int permit(struct device_rights *r, struct rangeset *s, struct range what, bool allow)
{
    int rc = allow ? prepare(r, s) : 0;

    if (rc)
        return rc;
    lock(&r->lock);
    rc = allow ? rangeset_add(s, what.first, what.last)
               : rangeset_remove(s, what.first, what.last);
    unlock(&r->lock);
    return rc;
}

static bool is_permitted(struct device_rights *r, const struct rangeset *s, struct range what)
{
    bool yes;

    /* Nearly always: guests probe for what they have not got. */
    if (likely(!__atomic_load_n(&s->nr, __ATOMIC_RELAXED)))
        return false;
    lock(&r->lock);
    yes = rangeset_contains(s, what.first, what.last);
    unlock(&r->lock);
    return yes;
}

int device_permit_ports(struct device_rights *r, u16 first, u16 last, bool allow)
{
    return permit(r, &r->ports, (struct range){first, last}, allow);
}

int device_permit_memory(struct device_rights *r, u64 first_mfn, u64 last_mfn, bool allow)
{
    return permit(r, &r->memory, (struct range){first_mfn, last_mfn}, allow);
}

bool device_may_use_ports(struct device_rights *r, u16 first, unsigned n)
{
    return is_permitted(r, &r->ports, (struct range){first, first + n - 1UL});
}

bool device_may_map(struct device_rights *r, u64 first_mfn, u64 last_mfn)
{
    return is_permitted(r, &r->memory, (struct range){first_mfn, last_mfn});
}

static bool is_present(u32 sbdf)
{
    bool present;

    lock(&pci_config_lock);
    present = pci_is_present((u16)(sbdf >> 16), (u8)(sbdf >> 8), (u8)sbdf);
    unlock(&pci_config_lock);
    return present;
}

static struct pci_device *find(u32 sbdf)
{
    for (unsigned i = 0; i < nr_devices; i++)
        if (devices[i].sbdf == sbdf)
            return &devices[i];
    return NULL;
}

static bool is_free(const struct pci_device *p)
{
    return !p || p->owner == DOMID_IO;
}

int device_check(u32 sbdf)
{
    int rc;

    if (!is_present(sbdf))
        return -XEN_ENODEV;
    lock(&devices_lock);
    rc = is_free(find(sbdf)) ? 0 : -XEN_EBUSY;
    unlock(&devices_lock);
    return rc;
}

int device_assign(u32 sbdf, u16 owner)
{
    struct pci_device *p;
    int rc = 0;

    if (!is_present(sbdf))
        return -XEN_ENODEV;
    lock(&devices_lock);
    p = find(sbdf);
    if (!is_free(p))
        rc = -XEN_EBUSY;
    else if (!p && nr_devices == MAX_DEVICES)
        rc = -XEN_ENOSPC;
    if (!rc && !p) {
        p = &devices[nr_devices++];
        *p = (struct pci_device){.sbdf = sbdf};
    }
    if (!rc) {
        p->owner = owner;
        p->silenced = false;
        p->set_aside |= owner == DOMID_IO;
    }
    unlock(&devices_lock);
    return rc;
}

/* Sets and clears bits of a device's command register; true: some of those to set were not. */
static bool set_command(u32 sbdf, u16 set, u16 clear)
{
    u16 seg = (u16)(sbdf >> 16), command = set;
    u8 bus = (u8)(sbdf >> 8), devfn = (u8)sbdf;

    lock(&pci_config_lock);
    if (pci_is_present(seg, bus, devfn)) {
        command = (u16)pci_read(seg, bus, devfn, PCI_COMMAND, 2);
        pci_write(seg, bus, devfn, PCI_COMMAND, 2, (command | set) & ~(u32)clear);
    }
    unlock(&pci_config_lock);
    return set & ~command;
}

/*
 * A device whose domain goes must not write to memory that others will have, nor assert a line
 * that nobody answers; whoever gets it next starts it again.
 */
static void quiesce(u32 sbdf)
{
    (void)set_command(sbdf, PCI_COMMAND_NO_INTX, PCI_COMMAND_MASTER);
}

/* Its owner gives it up; its place may be filled by another one. True: a domain had it. */
static bool give_up(struct pci_device *p)
{
    bool had = p->owner != DOMID_IO;

    if (had && p->set_aside)
        p->owner = DOMID_IO;
    else
        *p = devices[--nr_devices];
    return had;
}

int device_deassign(u32 sbdf, u16 owner)
{
    struct pci_device *p;
    int rc = -XEN_ENODEV;
    bool had = false;

    lock(&devices_lock);
    p = find(sbdf);
    if (p && p->owner == owner) {
        had = give_up(p);
        rc = 0;
    }
    unlock(&devices_lock);
    if (had)
        quiesce(sbdf);
    return rc;
}

bool device_belongs_to(u32 sbdf, u16 owner)
{
    const struct pci_device *p;
    bool yes;

    lock(&devices_lock);
    p = find(sbdf);
    yes = p && p->owner == owner;
    unlock(&devices_lock);
    return yes;
}

/* The next one of a domain's devices from *at on. */
static bool next_of(u16 owner, unsigned *at, struct pci_device *copy)
{
    bool found = false;

    lock(&devices_lock);
    for (; *at < nr_devices && !found; ++*at) {
        found = devices[*at].owner == owner;
        *copy = devices[*at];
    }
    unlock(&devices_lock);
    return found;
}

static void note_silenced(u32 sbdf, bool silenced)
{
    struct pci_device *p;

    lock(&devices_lock);
    p = find(sbdf);
    if (p)
        p->silenced = silenced;
    unlock(&devices_lock);
}

void device_silence(u16 owner)
{
    struct pci_device p;

    for (unsigned at = 0; next_of(owner, &at, &p);)
        if (set_command(p.sbdf, PCI_COMMAND_NO_INTX, 0))
            note_silenced(p.sbdf, true);
}

void device_unsilence(u16 owner)
{
    struct pci_device p;

    for (unsigned at = 0; next_of(owner, &at, &p);) {
        if (!p.silenced)
            continue;
        note_silenced(p.sbdf, false);
        (void)set_command(p.sbdf, 0, PCI_COMMAND_NO_INTX);
    }
}

static void release_ranges(struct device_rights *r, struct rangeset *s)
{
    struct range *room = s->ranges;

    lock(&r->lock);
    *s = (struct rangeset){0};
    unlock(&r->lock);
    if (room)
        heap_free(room, RANGES_SIZE);
}

void device_release_all(struct device_rights *r, u16 owner)
{
    struct pci_device p;

    release_ranges(r, &r->ports);
    release_ranges(r, &r->memory);
    for (unsigned at = 0; next_of(owner, &at, &p); at = 0)
        (void)!device_deassign(p.sbdf, owner);
}
