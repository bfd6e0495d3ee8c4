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
struct sched_unit *choose_among(struct sched *s, unsigned cpu, ns_t now, bool done, ns_t *soon,
                                cpuset_t *kick);

/* The same on most picks, when nobody yielded: many are decided without virtual time. */
static inline struct sched_unit *choose_next(struct sched *s, unsigned cpu, ns_t now, bool done,
                                             ns_t *soon, cpuset_t *kick)
{
    struct sched_cpu *c = &s->cpu[cpu];
    struct sched_queue *q = c->queue;
    struct sched_unit *cur = c->current;

    if (!q->nr_ready)
        return cur;
    if (likely(!q->nr_odd && !q->slotted && !q->boosted)) {
        if (!cur && q->nr_ready == 1 && !q->root->dom->metered)
            return q->root;
        if (!done && !virtual_before(tree_first(q->root)->vdl, cur->vdl))
            return cur;
    }
    return choose_among(s, cpu, now, done, soon, kick);
}

#endif
