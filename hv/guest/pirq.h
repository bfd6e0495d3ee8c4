/*
 * Physical interrupts for domain 0: I/O APIC lines and message-signalled interrupts as event
 * channels.
 *
 * A level-triggered line is masked when it fires and unmasked by the guest's EOI hypercall, so
 * a device that keeps its line asserted costs one interrupt per EOI. Edges and messages need none.
 */
#ifndef SERAI_GUEST_PIRQ_H
#define SERAI_GUEST_PIRQ_H

#include "guest/domain.h"
#include <xen/physdev.h>

struct acpi_info;

/* GSIs are pirqs of the same number; messages get numbers from the top. */
void pirq_init(const struct acpi_info *acpi);

/* PHYSDEVOP_map_pirq; fills in map->pirq. */
int pirq_map(struct domain *d, struct physdev_map_pirq *map) must_check;
int pirq_unmap(struct domain *d, u32 pirq) must_check;
int pirq_setup_gsi(struct domain *d, u32 gsi, bool level, bool active_low) must_check;

/* From event_bind_pirq and event_close. */
int pirq_bind(struct domain *d, u32 pirq, u32 port, bool share) must_check;
void pirq_unbind(struct domain *d, u32 pirq);

int pirq_eoi(struct domain *d, u32 pirq) must_check;
bool pirq_needs_eoi(struct domain *d, u32 pirq);

/* The guest page in which a set bit says "this pirq wants an EOI hypercall". */
int pirq_set_eoi_map(struct domain *d, mfn_t mfn) must_check;

#endif
