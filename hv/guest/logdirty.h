/*
 * Which pages a domain has written to since domain 0 last asked, for live migration.
 */
#ifndef SERAI_GUEST_LOGDIRTY_H
#define SERAI_GUEST_LOGDIRTY_H

#include "guest/domain.h"

/* -XEN_EINVAL: it is on already, or off. */
int logdirty_enable(struct domain *d) must_check;
int logdirty_disable(struct domain *d) must_check;

#endif
