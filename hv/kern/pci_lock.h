/*
 * PCI configuration space by its index and data ports is shared by the hypervisor and the guest
 * accesses it performs: this lock covers each index-data pair, and x86/pci and x86/msi calls.
 */
#ifndef SERAI_KERN_PCI_LOCK_H
#define SERAI_KERN_PCI_LOCK_H

#include "kern/lock.h"

extern struct spinlock pci_config_lock;

#endif
