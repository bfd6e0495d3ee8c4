/*
 * SMT spreading: when a whole core stays idle while two threads of another core work, one of
 * the two hands its unit over. Internal to core/sched_*; the cluster's lock is held.
 */
#ifndef SERAI_CORE_SCHED_SPREAD_H
#define SERAI_CORE_SCHED_SPREAD_H

#include "core/sched_place.h"

/* Is it worth a call of spread_idle()? */
static inline bool spread_possible(const struct sched *s, const struct sched_cpu *c,
                                   unsigned cpu)
{
    return c->core.bits != BIT(cpu) && !(c->core.bits & ~s->idle);
}

/* 'cpu' idles. When it should pick again for this purpose; a crowded thread may be kicked. */
ns_t spread_idle(struct sched *s, unsigned cpu, ns_t now, cpuset_t *kick);

/* Asked to hand over its unit: should 'cpu' still do so? */
bool spread_gives(struct sched *s, unsigned cpu);

/* The unit was handed over, and the CPU that takes it has been told: leave it alone. */
bool spread_given(struct sched *s, unsigned cpu, const struct sched_unit *u);

#endif
