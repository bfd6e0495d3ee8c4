#include "core/sched_budget.h"

#define SHORTEST (20 * US)

static void add_up_to(s64 *left, s64 more, s64 limit)
{
    s64 old = __atomic_load_n(left, __ATOMIC_RELAXED), new;

    do {
        new = MIN(old + more, limit);
    } while (!__atomic_compare_exchange_n(left, &old, new, false, __ATOMIC_RELAXED,
                                          __ATOMIC_RELAXED));
}

/* What was not used of a cap is gone; a reservation waits for one more period. */
void budget_refill(struct sched_domain *d, ns_t now)
{
    ns_t end = __atomic_load_n(&d->period_end, __ATOMIC_RELAXED);
    s64 n;

    if (likely(now < end) ||
        !__atomic_compare_exchange_n(&d->period_end, &end, period_end(now), false,
                                     __ATOMIC_RELAXED, __ATOMIC_RELAXED))
        return;
    n = MIN((now - end) / PERIOD + 1, 1000L);
    add_up_to(&d->cap_left, n * d->cap_quota, d->cap_quota);
    add_up_to(&d->reserve_left, n * d->reserve_quota, 2 * d->reserve_quota);
}

bool budget_settle(struct sched *s, struct sched_queue *q, struct sched_domain *d, ns_t now)
{
    cpuset_t left = q->cpus;
    struct sched_unit *u;
    unsigned cpu;

    for (; !cpuset_empty(left); cpuset_remove(&left, cpu)) {
        cpu = cpuset_lowest(left);
        u = s->cpu[cpu].current;
        if (u && u->dom == d)
            queue_charge(q, u, now);
    }
    budget_refill(d, now);
    return budget_exhausted(d);
}

ns_t budget_until(const struct sched_domain *d, ns_t now)
{
    s64 n = MAX(__atomic_load_n(&d->nr_running, __ATOMIC_RELAXED), 1U);
    s64 left = NEVER, reserve;

    if (d->cap_quota)
        left = MAX(__atomic_load_n(&d->cap_left, __ATOMIC_RELAXED) / n, SHORTEST);
    reserve = __atomic_load_n(&d->reserve_left, __ATOMIC_RELAXED) / n;
    if (d->reserve_quota && reserve > 0)
        left = MIN(left, MAX(reserve, SHORTEST));
    return left == NEVER ? NEVER : MIN(now + left, period_end(now));
}

void budget_park(struct sched_queue *q, struct sched_unit *u, ns_t now)
{
    queue_leave(q, u, now);
    unit_set_state(u, UNIT_PARKED, now);
    budget_list(q, u, now);
}

void budget_list(struct sched_queue *q, struct sched_unit *u, ns_t now)
{
    u->after = q->parked;
    q->parked = u;
    q->unpark_at = MIN(q->unpark_at, period_end(now));
    queue_set_due(q);
}

void budget_park_domain(struct sched *s, struct sched_queue *q, struct sched_domain *d,
                        ns_t now, cpuset_t *kick)
{
    bool none = !q->parked;
    struct sched_unit *u;

    for (u = d->units; u; u = u->next) {
        if (u->queue != q)
            continue;
        if (u->state == UNIT_READY) {
            queue_remove(s, q, u);
            budget_park(q, u, now);
        } else if (u->state == UNIT_RUNNING) {
            queue_kick(s, u->cpu, kick);
        }
    }
    if (none && q->parked) /* somebody has to set the timer */
        queue_kick(s, cpuset_lowest(q->cpus), kick);
}

void budget_unlist(struct sched_queue *q, struct sched_unit *u)
{
    struct sched_unit **at;

    for (at = &q->parked; *at; at = &(*at)->after) {
        if (*at != u)
            continue;
        *at = u->after;
        break;
    }
    if (!q->parked)
        q->unpark_at = NEVER;
    queue_set_due(q);
}
