/*
 * Who runs next on a CPU. Internal to core/sched_*; the cluster's lock is held.
 */
#ifndef SERAI_CORE_SCHED_CHOOSE_H
#define SERAI_CORE_SCHED_CHOOSE_H

#include "core/sched_place.h"

/*
 * Does 'best' take over from the running 'cur'? done: its request is finished. When it is too
 * early, *soon says when.
 */
bool choose_takes_over(struct sched *s, struct sched_queue *q, const struct sched_unit *best,
                       const struct sched_unit *cur, bool done, u64 v, ns_t now, ns_t *soon);

/*
 * The next unit, still in the tree, or the current one, or NULL. *soon: somebody else is due
 * then. Domains whose cap is found to be used up are parked.
 */
struct sched_unit *choose_next(struct sched *s, unsigned cpu, ns_t now, bool done, ns_t *soon,
                               cpuset_t *kick);

#endif
