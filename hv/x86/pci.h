/*
 * PCI configuration space: ports CF8/CFC for segment 0 below offset 256, the memory-mapped
 * window for the rest where the firmware described one.
 *
 * Reads that cannot be done (no such window, misaligned, bad size) give all ones, as a missing
 * device does; such writes do nothing.
 *
 * Locking: the caller serialises, with interrupts off: the index port is shared by the machine.
 */
#ifndef SERAI_X86_PCI_H
#define SERAI_X86_PCI_H

#include "base/types.h"

#define PCI_VENDOR_ID    0x00
#define PCI_COMMAND      0x04
#define PCI_STATUS       0x06
#define PCI_HEADER_TYPE  0x0e
#define PCI_BAR0         0x10
#define PCI_CAPABILITIES 0x34

#define PCI_COMMAND_MEMORY  BIT(1)
#define PCI_COMMAND_MASTER  BIT(2)
#define PCI_COMMAND_NO_INTX BIT(10)
#define PCI_STATUS_INTX     BIT(3)
#define PCI_STATUS_CAPS     BIT(4)

#define PCI_CAP_MSI  0x05
#define PCI_CAP_MSIX 0x11

/* 'base' is the address of bus 0's configuration space, as in MCFG. 0 or -XEN_E... */
int pci_mmcfg_add(u64 base, u16 seg, u8 bus_start, u8 bus_end);

/* 'size' is 1, 2 or 4 and 'reg' a multiple of it below 4096. */
u32 pci_read(u16 seg, u8 bus, u8 devfn, u16 reg, u8 size);
void pci_write(u16 seg, u8 bus, u8 devfn, u16 reg, u8 size, u32 val);

bool pci_is_present(u16 seg, u8 bus, u8 devfn);

/* Offset of a capability (0x40..0xfc), or 0; endless and wild lists end the search. */
u8 pci_find_capability(u16 seg, u8 bus, u8 devfn, u8 id);

#endif
