#include "core/sched_choose.h"

#define LOAN_MAX (1 * MS)

/*
 * A request is finished first, unless the other's deadline is earlier and it had its minimum;
 * between requests the eligible one with the earlier deadline wins, and when nobody is eligible
 * the one that received least.
 */
bool choose_takes_over(struct sched *s, struct sched_queue *q, const struct sched_unit *best,
                       const struct sched_unit *cur, bool done, u64 v, ns_t now, ns_t *soon)
{
    bool b = unit_eligible(best, v), c = unit_eligible(cur, v);
    enum rank rb = place_rank(s, q, best, v, now), rc = place_rank(s, q, cur, v, now);
    ns_t safe = s->cpu[cur->cpu].picked_at + place_gran(best);

    if (unlikely(rb != rc))
        return rb < rc;
    if (done) {
        if (b != c)
            return b;
        return b ? virtual_before(best->vdl, cur->vdl) : virtual_before(best->vrt, cur->vrt);
    }
    if (!b || !virtual_before(best->vdl, cur->vdl))
        return false;
    if (now >= safe)
        return true;
    *soon = MIN(*soon, safe);
    return false;
}

/* A ready sibling that the yielder waits for, if it may run here. */
static struct sched_unit *yielded_to(const struct sched *s, const struct sched_cpu *c,
                                     unsigned cpu)
{
    struct sched_unit *to = c->yield_to;

    if (!to || to->queue != c->queue || to->state != UNIT_READY || !place_may_run(to, cpu))
        return NULL;
    return to;
}

/*
 * Who was handed a lock goes first for a moment, however urgent others are, as long as it is
 * not far ahead of what it may have: a loan, not a present.
 */
static struct sched_unit *boosted(struct sched *s, struct sched_queue *q, unsigned cpu, u64 v,
                                  ns_t now)
{
    struct sched_unit *u = q->boosted;

    if (likely(!u))
        return NULL;
    q->boosted = NULL;
    if (queue_of(s, u) != q || u->state != UNIT_READY || now >= u->boost_until)
        return NULL;
    if (!place_may_run(u, cpu) || virtual_before(v + to_virtual(u, LOAN_MAX), u->vrt))
        return NULL;
    return u;
}

struct sched_unit *choose_next(struct sched *s, unsigned cpu, ns_t now, bool done, ns_t *soon,
                               cpuset_t *kick)
{
    struct sched_cpu *c = &s->cpu[cpu];
    struct sched_queue *q = &s->queue[c->queue];
    struct sched_unit *cur = c->current, *best, *to;
    u64 v;

    if (!q->nr_ready)
        return cur;
    v = queue_virtual_time(q, now);
    do
        best = place_best(s, q, cpu, v, now, false);
    while (best && unlikely(best->dom->metered) && budget_parks(s, q, best->dom, now, kick));
    if (!best)
        return cur;
    to = boosted(s, q, cpu, v, now);
    if (to || !cur)
        return to ? to : best;
    if (unlikely(c->yielded)) {
        to = yielded_to(s, c, cpu);
        if (to)
            return to;
        cur->vdl += to_virtual(cur, queue_request(cur));
        done = true;
    }
    return choose_takes_over(s, q, best, cur, done, v, now, soon) ? best : cur;
}
