/*
 * Who may run beside whom on the threads of a core: mode strict. Internal to core/sched_*; the
 * lock of the core's cluster is held.
 */
#ifndef SERAI_CORE_SCHED_BESIDE_H
#define SERAI_CORE_SCHED_BESIDE_H

#include "core/sched_state.h"

/* May units of these run on one core at the same time? */
bool beside_same(const struct sched_domain *a, const struct sched_domain *b);

/* May a unit of 'd' start on 'cpu' now? One that is not saved counts as running. */
bool beside_allows(const struct sched *s, const struct sched_domain *d, unsigned cpu);

#endif
