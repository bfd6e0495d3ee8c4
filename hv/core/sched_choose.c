#include "core/sched_choose.h"

#define LOAN_MAX (200 * US)

bool choose_takes_over(struct sched *s, struct sched_queue *q, const struct sched_unit *best,
                       const struct sched_unit *cur, bool done, u64 v, ns_t now, ns_t *soon)
{
    enum rank rb, rc;

    if (unlikely(q->slotted || best->dom->special || cur->dom->special)) {
        rb = place_rank(s, q, best, v, now);
        rc = place_rank(s, q, cur, v, now);
        if (rb != rc)
            return rb < rc;
    }
    return choose_in_order(s, best, cur, done, v, now, soon);
}

/*
 * May 'u' be preferred for a moment to 'best', whose turn it is? Not if it is far ahead of what
 * it may have already, and not at the cost of a latency unit.
 */
static bool has_credit(const struct sched_unit *u, const struct sched_unit *best, u64 v)
{
    if (best->dom != u->dom && best->dom->params.latency == LATENCY_LOW &&
        unit_eligible(best, v))
        return false;
    return !virtual_before(v + to_virtual(u, LOAN_MAX), u->vrt);
}

struct sched_unit *choose_yielded(struct sched *s, unsigned cpu, const struct sched_unit *best,
                                  u64 v)
{
    struct sched_cpu *c = &s->cpu[cpu];
    struct sched_unit *to = c->yield_to, *cur = c->current;

    c->yielded = false;
    c->yield_to = NULL;
    if (to && to->queue == c->queue && to->state == UNIT_READY && place_may_run(to, cpu) &&
        has_credit(to, best, v))
        return to;
    cur->vdl = cur->vrt + 2 * to_virtual(cur, cur->dom->request);
    return NULL;
}

/*
 * Who was handed a lock goes first for a moment, however urgent others are, as long as it is
 * not far ahead of what it may have: a loan, not a present.
 */
static struct sched_unit *boosted(struct sched *s, struct sched_queue *q, unsigned cpu,
                                  const struct sched_unit *best, u64 v, ns_t now)
{
    struct sched_unit *u = q->boosted;

    if (likely(!u))
        return NULL;
    q->boosted = NULL;
    if (u->queue != q || u->state != UNIT_READY || now >= u->boost_until)
        return NULL;
    return place_may_run(u, cpu) && has_credit(u, best, v) ? u : NULL;
}

struct sched_unit *choose_among(struct sched *s, unsigned cpu, ns_t now, bool done, ns_t *soon,
                                cpuset_t *kick)
{
    struct sched_cpu *c = &s->cpu[cpu];
    struct sched_queue *q = c->queue;
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
    to = boosted(s, q, cpu, best, v, now);
    if (to || !cur)
        return to ? to : best;
    if (unlikely(c->yielded)) {
        to = choose_yielded(s, cpu, best, v);
        if (to)
            return to;
        done = true;
    }
    return choose_takes_over(s, q, best, cur, done, v, now, soon) ? best : cur;
}
