#include "core/sched_balance.h"

#define EVERY (50 * MS)

/* How much more weight per CPU 'from' has, times the CPUs of both. */
static s64 surplus(const struct sched_queue *q, const struct sched_queue *from)
{
    return (s64)(__atomic_load_n(&from->load, __ATOMIC_RELAXED) * q->nr_cpus) -
           (s64)(q->load * from->nr_cpus);
}

static u64 distance(s64 a, s64 b)
{
    return (u64)(a > b ? a - b : b - a);
}

/*
 * The unit that leaves the least difference, if that is clearly less than the present one:
 * otherwise units would be moved to and fro.
 */
static struct sched_unit *find_unit(const struct sched_queue *q, const struct sched_queue *from,
                                    unsigned cpu)
{
    s64 now = surplus(q, from), effect;
    u64 left = (u64)now / 2;
    struct sched_unit *u, *best = NULL;

    for (u = tree_first(from->root); u; u = tree_next(u)) {
        if (!place_may_run(u, cpu) || u->picky || u->dom->gang_active || u->dom->metered)
            continue;
        effect = (s64)u->weight * (q->nr_cpus + from->nr_cpus);
        if (distance(now, effect) >= left)
            continue;
        left = distance(now, effect);
        best = u;
    }
    return best;
}

static struct sched_queue *heaviest(struct sched *s, const struct sched_queue *q)
{
    struct sched_queue *o, *best = NULL;
    s64 most = (s64)(q->load * q->nr_cpus / 16); /* less is not worth a cold cache */
    unsigned i;

    for (i = 0; i < q->nr_victims; i++) {
        o = &s->queue[q->victims[i]];
        if (!__atomic_load_n(&o->nr_ready, __ATOMIC_RELAXED) || surplus(q, o) <= most)
            continue;
        most = surplus(q, o);
        best = o;
    }
    return best;
}

void balance_pull(struct sched *s, unsigned cpu, ns_t now)
{
    struct sched_queue *q = &s->queue[s->cpu[cpu].queue], *from;
    struct sched_unit *u;

    q->balance_at = q->nr_victims ? now + EVERY : NEVER;
    /* Sleepers come and go: what counts is the mean over some looks. */
    __atomic_store_n(&q->load, (7 * q->load + q->weight) / 8, __ATOMIC_RELAXED);
    from = heaviest(s, q);
    if (!from || (s->ops.try_lock && !s->ops.try_lock(from->cluster)))
        return;
    u = find_unit(q, from, cpu);
    if (u) {
        place_pull(s, from, u, cpu, now);
        queue_insert(q, u);
        __atomic_sub_fetch(&from->load, u->weight, __ATOMIC_RELAXED);
        __atomic_add_fetch(&q->load, u->weight, __ATOMIC_RELAXED);
    }
    if (s->ops.unlock)
        s->ops.unlock(from->cluster);
}
