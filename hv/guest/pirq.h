/*
 * Physical interrupts of domains as event channels: lines of the I/O APICs (kern/line.h) and
 * message-signalled interrupts.
 *
 *  1. Domain 0 maps them, for itself and for others; a domain binds only what is mapped for it.
 *     A line must be permitted to it as well, which mapping does.
 *  2. A line wants an EOI hypercall when it is level-triggered. Edges and messages want none.
 *  3. Only domain 0 and the domain that a PCI device belongs to get its messages.
 *  4. What is unmapped while it is bound is unbound first: the port stays, and is silent.
 */
#ifndef SERAI_GUEST_PIRQ_H
#define SERAI_GUEST_PIRQ_H

#include "guest/domain.h"
#include <xen/physdev.h>

struct acpi_info;

/* GSIs are pirqs of the same number; messages get numbers from the top. */
void pirq_init(const struct acpi_info *acpi);

/* PHYSDEVOP_map_pirq for 'd', by domain 0; fills in map->pirq. */
int pirq_map(struct domain *d, struct physdev_map_pirq *map) must_check;
int pirq_unmap(struct domain *d, u32 pirq) must_check;
/* A line may be bound by a domain that is not domain 0. -XEN_EPERM: not for guests. */
int pirq_permit(struct domain *d, u32 gsi, bool allow) must_check;

/* From event_bind_pirq and event_close. */
int pirq_bind(struct domain *d, u32 pirq, u32 port, bool share) must_check;
/* Nothing happens when something else is bound to it by now. */
void pirq_unbind(struct domain *d, u32 pirq, u32 port);

/* All that a domain has; it is being taken apart. Long. */
void pirq_release_all(struct domain *d);

int pirq_eoi(struct domain *d, u32 pirq) must_check;
bool pirq_needs_eoi(struct domain *d, u32 pirq);
/* Others are bound to its line too. */
bool pirq_is_shared(struct domain *d, u32 pirq);

/* The guest page in which a set bit says "this pirq wants an EOI hypercall". */
int pirq_set_eoi_map(struct domain *d, mfn_t mfn) must_check;

#endif
