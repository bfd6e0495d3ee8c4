/*
 * Who runs next on a CPU. Internal to core/sched_*; the cluster's lock is held.
 */
#ifndef SERAI_CORE_SCHED_CHOOSE_H
#define SERAI_CORE_SCHED_CHOOSE_H

#include "core/sched_place.h"

/*
 * Does 'best' take over from the running 'cur', if neither goes before all others? done: its
 * request is finished. When it is too early, *soon says when.
 *
 * A request is finished first, unless the other's deadline is earlier and it had its minimum;
 * between requests the eligible one with the earlier deadline wins, and when nobody is eligible
 * the one that received least.
 */
static inline bool choose_in_order(struct sched *s, const struct sched_unit *best,
                                   const struct sched_unit *cur, bool done, u64 v, ns_t now,
                                   ns_t *soon)
{
    bool b = unit_eligible(best, v);
    ns_t safe;

    if (done) {
        if (b != unit_eligible(cur, v))
            return b;
        return b ? virtual_before(best->vdl, cur->vdl) : virtual_before(best->vrt, cur->vrt);
    }
    if (!b || !virtual_before(best->vdl, cur->vdl))
        return false;
    safe = s->cpu[cur->cpu].picked_at + place_gran(best);
    if (now >= safe)
        return true;
    *soon = MIN(*soon, safe);
    return false;
}

/* The same, whoever they are. */
bool choose_takes_over(struct sched *s, struct sched_queue *q, const struct sched_unit *best,
                       const struct sched_unit *cur, bool done, u64 v, ns_t now, ns_t *soon);

/*
 * The current unit yielded, and 'best' is the most urgent of those that wait: the sibling that it
 * waits for, if that may run here, or NULL: then it gives way to anybody.
 */
struct sched_unit *choose_yielded(struct sched *s, unsigned cpu, const struct sched_unit *best,
                                  u64 v);

/*
 * The next unit, still in the line, or the current one, or NULL. *soon: somebody else is due
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
        if (!cur && q->nr_ready == 1 && !q->first->dom->metered)
            return q->first;
        if (!done && !virtual_before(q->first->vdl, cur->vdl))
            return cur;
    }
    return choose_among(s, cpu, now, done, soon, kick);
}

#endif
