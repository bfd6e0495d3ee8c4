/*
 * Message-signalled interrupts: the hypervisor writes where a device's message goes, domain 0
 * owns the enable bits in the device's configuration space.
 *
 * 1. Everything read from configuration space is hostile: domain 0 can write it.
 * 2. An MSI-X table is written only where the predicate of msi_init() says device memory is:
 *    domain 0 can point a BAR at anything.
 * 3. After msi_setup() the vector is masked where it can be, and the enable bits are as before.
 *
 * Locking: the caller serialises all functions together with pci_read() and pci_write(), with
 * interrupts off. Masking MSI-X touches no configuration space.
 */
#ifndef SERAI_X86_MSI_H
#define SERAI_X86_MSI_H

#include "base/types.h"

struct msi_target {
    u8 vector;
    u32 dest_apic_id;
};

struct msi_entry {
    /* What the guest asked for; set before msi_setup(). */
    u16 seg;
    u8 bus, devfn;
    bool is_msix;
    u16 entry_nr;   /* MSI-X table slot; 0 for MSI */
    u64 table_base; /* MSI-X: what the guest believes the table's BAR holds; 0 no belief */

    /* Filled by msi_setup(). */
    u8 cap; /* offset of the capability */
    bool maskable;
    bool is_64bit;
    volatile u32 *slot;
};

/* True when [phys, phys + size) is device memory that the hypervisor itself does not own. */
typedef bool (*msi_is_mmio_fn)(u64 phys, u64 size);

/* Without it every MSI-X request is refused. */
void msi_init(msi_is_mmio_fn is_mmio);

/*
 * -XEN_ENODEV   no such device or capability
 * -XEN_EINVAL   slot outside the table, BAR missing, not memory, or not the one expected; vector
 *               below 16
 * -XEN_ERANGE   the CPU's APIC id does not fit into a message
 * -XEN_EPERM    the table does not lie in device memory
 * -XEN_ENOSPC   too many different table pages since boot
 */
int msi_setup(struct msi_entry *entry, const struct msi_target *target);

/* False when the device has no mask bit: the message may come at any time. */
bool msi_mask(struct msi_entry *entry);
bool msi_unmask(struct msi_entry *entry);

/* Masks, and disables MSI if the guest left it on; a device that has gone is left alone. */
void msi_teardown(struct msi_entry *entry);

/*
 * From now on msix_owns_page() knows all pages of a device's table, before anybody else maps them
 * writable. Errors as of msi_setup(); -XEN_ENODEV: it has no table.
 */
int msix_prepare(u16 seg, u8 bus, u8 devfn);

/* True when 'phys' lies in a page that ever held a slot in use. */
bool msix_owns_page(u64 phys);

#endif
