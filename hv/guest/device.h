/*
 * What a domain other than domain 0 may use of the machine's devices: I/O ports and device memory
 * that domain 0 has permitted it, and which PCI device belongs to whom. Interrupts: guest/pirq.h.
 *
 *  1. Permission is asked for at each use of a port and at each new mapping. Mappings that exist
 *     stay when permission is taken back.
 *  2. A PCI device belongs to one domain at a time. Nothing keeps a device from reading and
 *     writing all of memory: there is no IOMMU. Whoever drives one is trusted with the machine.
 *  3. A device that a domain gives up is stopped: it masters the bus no more and asserts no line.
 *  4. What the hypervisor keeps for itself is not looked at here: the caller permits only what
 *     domain 0 has (ioports_withheld(), mmu_io_denied()).
 *
 * Locking: device_rights.lock, a leaf; the table of PCI devices has a lock of the same rank.
 */
#ifndef SERAI_GUEST_DEVICE_H
#define SERAI_GUEST_DEVICE_H

#include "core/rangeset.h"
#include "kern/lock.h"

/* Part of struct domain; those of domain 0 stay empty and are never asked. */
struct device_rights {
    struct spinlock lock;
    struct rangeset ports, memory; /* (lock) memory by frame numbers */
};

void device_init(struct device_rights *r);

/*
 * One caller at a time for a domain. 0, -XEN_ENOMEM, or -XEN_ENOSPC: more separate
 * ranges than a domain can have.
 */
int device_permit_ports(struct device_rights *r, u16 first, u16 last, bool allow) must_check;
int device_permit_memory(struct device_rights *r, u64 first_mfn, u64 last_mfn,
                         bool allow) must_check;

bool device_may_use_ports(struct device_rights *r, u16 first, unsigned n);
bool device_may_map(struct device_rights *r, u64 first_mfn, u64 last_mfn);

/*
 * PCI devices by segment << 16 | bus << 8 | devfn. DOMID_IO owns those that domain 0 has set
 * aside for others; a device that has been one of them becomes it again.
 *
 * -XEN_EBUSY   assign: it belongs to a domain already
 * -XEN_ENODEV  no such device; deassign: it does not belong to 'owner'
 * -XEN_ENOSPC  too many devices
 */
int device_assign(u32 sbdf, u16 owner) must_check;
int device_deassign(u32 sbdf, u16 owner) must_check;
/* 0: it could be assigned. */
int device_check(u32 sbdf) must_check;
bool device_belongs_to(u32 sbdf, u16 owner);

/*
 * A domain has no interrupt line any more: its devices assert none, since whoever shares one could
 * not make them stop. And it has one again: what was changed is undone.
 */
void device_silence(u16 owner);
void device_unsilence(u16 owner);

/* All that a domain has; it is being taken apart, and nothing is permitted to it any more. */
void device_release_all(struct device_rights *r, u16 owner);

#endif
