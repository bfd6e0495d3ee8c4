#include "kern/device_locks.h"

struct spinlock pci_config_lock = SPINLOCK(LOCK_PCI);
struct spinlock ioapic_lock = SPINLOCK(LOCK_IOAPIC);
