/*
 * The I/O APICs: which vector on which CPU each global interrupt line (GSI) raises.
 *
 * 1. Every redirection entry is cached in memory; the cache is the truth and the hardware is
 *    only written, so mask and unmask are one index store and one data store.
 * 2. After ioapic_init() all lines are masked and carry their default trigger mode: ISA lines
 *    edge, active high; PCI lines (GSI 16 and up) and the ACPI line level, active low; MADT
 *    overrides win. The ISA timer therefore usually sits at GSI 2.
 * 3. A GSI nobody has is refused (-XEN_EINVAL) or ignored, never written.
 *
 * Locking: the index/data pair is shared by all lines of one I/O APIC: the caller serialises
 * everything but the queries, with interrupts off.
 */
#ifndef SERAI_X86_IOAPIC_H
#define SERAI_X86_IOAPIC_H

#include "base/types.h"

struct acpi_info;

/* Number of I/O APICs found usable; 0 means no interrupts can be routed. */
unsigned ioapic_init(const struct acpi_info *info);

/* One more than the highest GSI. */
unsigned ioapic_nr_gsis(void);
bool ioapic_has_gsi(u32 gsi);

/* The GSI of an ISA interrupt, after overrides. */
u32 ioapic_isa_gsi(u8 irq);

/* Programs the line and leaves it masked. The CPU must have an APIC id below 255. */
int ioapic_route(u32 gsi, u8 vector, u32 dest_apic_id, bool level, bool active_low);

/* Both ignore a GSI that does not exist. */
void ioapic_mask(u32 gsi);
void ioapic_unmask(u32 gsi);

/* As routed, or the default before that. */
bool ioapic_is_level(u32 gsi);
bool ioapic_is_active_low(u32 gsi);

/* Register read by a guest: 'phys' must be the base of an I/O APIC and 'reg' one it has. */
int ioapic_read_register(u64 phys, u32 reg, u32 *val);

/* The lines in use, for the console. */
void ioapic_dump(void);

#endif
