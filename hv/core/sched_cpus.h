/*
 * CPUs, queues and pools: which CPU shares a queue with which, and units where they may be.
 * Internal to core/sched_*; all locks are held.
 */
#ifndef SERAI_CORE_SCHED_CPUS_H
#define SERAI_CORE_SCHED_CPUS_H

#include "core/sched_place.h"

cpuset_t cpus_online_of(const struct sched *s, unsigned pool);

/* The pool decides, then the affinity as far as any of its CPUs is there. */
void cpus_refresh_allowed(struct sched *s, struct sched_unit *u);

/* The queue of its pool with the fewest units per CPU, among those it may run in. */
struct sched_queue *cpus_best_queue(struct sched *s, const struct sched_unit *u);

/* After a change of what it may run on: the unit goes where it may be. */
void cpus_settle_unit(struct sched *s, struct sched_unit *u, ns_t now, cpuset_t *kick);

#endif
