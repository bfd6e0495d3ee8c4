/*
 * Balance between queues. CPUs that would idle steal at once (sched_place.h); this is for queues
 * that are all busy, but not equally: the weight per CPU decides what a unit gets, so now and
 * then the lighter queue pulls a unit that makes the two more equal.
 *
 * Internal to core/sched_*; the lock of the queue's cluster is held.
 */
#ifndef SERAI_CORE_SCHED_BALANCE_H
#define SERAI_CORE_SCHED_BALANCE_H

#include "core/sched_place.h"

/* At balance_at: may move one READY unit to the queue of 'cpu', or tell others to do so. */
void balance_look(struct sched *s, unsigned cpu, ns_t now, cpuset_t *kick);

#endif
