/*
 * Balance between queues. CPUs that would idle steal at once (sched_place.h); this is for queues
 * that are all busy, but not equally. Each queue keeps account of the virtual time that passed in
 * it, and of how fast it passes. Now and then the one that will be ahead of another pulls a unit
 * from it that leaves the least difference some looks later; the unit brings along what it was
 * behind, so that shares are exact across queues in the long run. Weights that no distribution
 * makes equal make units go to and fro, a few times a second.
 *
 * Internal to core/sched_*; the lock of the queue's cluster is held.
 */
#ifndef SERAI_CORE_SCHED_BALANCE_H
#define SERAI_CORE_SCHED_BALANCE_H

#include "core/sched_place.h"

/* At balance_at: may move one READY unit to the queue of 'cpu', or tell others to do so. */
void balance_look(struct sched *s, unsigned cpu, ns_t now, cpuset_t *kick);

#endif
