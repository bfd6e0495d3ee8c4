/*
 * Gangs: the units of a domain in one queue get their CPUs in the same slots. Slots end at
 * absolute multiples of SLOT, so that all queues agree without talking.
 *
 * At a slot's beginning gangs are taken in the order of their mean virtual run time, as long as
 * the CPUs suffice; single units that are further behind are counted first. The gang at the
 * head always gets its window, also if it is wider than the queue: then its members take turns.
 * A window is a rank (sched_place.h), no more: holes are filled by others at once.
 *
 * Internal to core/sched_*; the cluster's lock is held.
 */
#ifndef SERAI_CORE_SCHED_GANG_H
#define SERAI_CORE_SCHED_GANG_H

#include "core/sched_place.h"

#define SLOT (8 * MS)

/* A slot begins: who has a window? */
void gang_plan(struct sched *s, struct sched_queue *q, ns_t now, cpuset_t *kick);

/* A member is about to compete again. */
void gang_join(const struct sched_queue *q, struct sched_unit *u, ns_t now);

/* A member of a capped gang is about to compete again. */
void gang_unpark(struct sched_queue *q, struct sched_unit *u, ns_t now);

/* Somebody wakes up: a gang's member is in step with the others; a slot may be over. */
void gang_wake(struct sched *s, struct sched_queue *q, struct sched_unit *u, ns_t now,
               cpuset_t *kick);

/* Mode auto, now and then: do the hints of the last 100 ms call for windows? */
void gang_judge(struct sched *s, struct sched_queue *q, struct sched_domain *d, ns_t now);

#endif
