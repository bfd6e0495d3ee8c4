/* Physical interrupts in the world of events.c: which port each is bound to. */
#ifndef SERAI_GUEST_PIRQ_H
#define SERAI_GUEST_PIRQ_H

#include "guest/domain.h"

int pirq_bind(struct domain *d, u32 pirq, u32 port, bool share) must_check;
void pirq_unbind(struct domain *d, u32 pirq, u32 port);

#endif
