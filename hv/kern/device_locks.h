/*
 * Registers reached by an index and then a data access: one user at a time. PCI configuration
 * space is shared with the accesses that the hypervisor performs for a guest; its lock covers
 * the calls of x86/pci and x86/msi, the other one those of x86/ioapic.
 */
#ifndef SERAI_KERN_DEVICE_LOCKS_H
#define SERAI_KERN_DEVICE_LOCKS_H

#include "kern/lock.h"

extern struct spinlock pci_config_lock;
extern struct spinlock ioapic_lock;

#endif
