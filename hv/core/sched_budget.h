/*
 * Caps and reservations. Both are run time per period of 10 ms, counted down while a domain's
 * units run and refilled at absolute multiples of the period by whoever looks first. A domain
 * whose cap is used up has its units parked; one with reservation left goes before others.
 *
 * Internal to core/sched_*; the caller holds the lock of the queue's cluster. What domains have
 * left is shared by clusters and changed by atomic operations.
 */
#ifndef SERAI_CORE_SCHED_BUDGET_H
#define SERAI_CORE_SCHED_BUDGET_H

#include "core/sched_queue.h"

#define PERIOD (10 * MS)

static inline ns_t period_end(ns_t now)
{
    return (now / PERIOD + 1) * PERIOD;
}

void budget_refill(struct sched_domain *d, ns_t now);

static inline bool budget_exhausted(const struct sched_domain *d)
{
    return d->cap_quota && __atomic_load_n(&d->cap_left, __ATOMIC_RELAXED) <= 0;
}

/* Brings the domain up to date as far as this queue knows; true: its units have to park. */
bool budget_settle(struct sched *s, struct sched_queue *q, struct sched_domain *d, ns_t now);

/* When a running unit of this domain has to be looked at again. */
ns_t budget_until(const struct sched_domain *d, ns_t now);

/* A unit in no line that competes: it stops to. */
void budget_park(struct sched_queue *q, struct sched_unit *u, ns_t now);
/* Every READY unit of the domain in this queue; CPUs that run others are kicked. */
void budget_park_domain(struct sched *s, struct sched_queue *q, struct sched_domain *d,
                        ns_t now, cpuset_t *kick);
/* Settles; if the cap is used up, parks what is READY here, and says so. */
static inline bool budget_parks(struct sched *s, struct sched_queue *q, struct sched_domain *d,
                                ns_t now, cpuset_t *kick)
{
    if (!budget_settle(s, q, d, now))
        return false;
    budget_park_domain(s, q, d, now, kick);
    return true;
}

/* Into the list of parked ones. */
void budget_list(struct sched_queue *q, struct sched_unit *u, ns_t now);
/* Out of the list, state and activity are the caller's. */
void budget_unlist(struct sched_queue *q, struct sched_unit *u);
#endif
