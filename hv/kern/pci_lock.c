#include "kern/pci_lock.h"

struct spinlock pci_config_lock = SPINLOCK(LOCK_PCI);
