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

/*
 * A queue where nobody waits sets no timers, so it does not look by itself: the heavier one
 * tells it to.
 */
static void wake_lighter(struct sched *s, const struct sched_queue *q, cpuset_t *kick)
{
    const struct sched_queue *o;
    unsigned i;

    for (i = 0; q->nr_ready && i < q->nr_victims; i++) {
        o = &s->queue[q->victims[i]];
        if (__atomic_load_n(&o->nr_ready, __ATOMIC_RELAXED) ||
            o->weight * q->nr_cpus >= q->load * o->nr_cpus / 16 * 15)
            continue;
        queue_kick(s, cpuset_lowest(o->cpus), kick);
        return;
    }
}

/* Sleepers come and go: what counts is the mean over some looks. */
static void update_load(struct sched_queue *q, ns_t now)
{
    u64 load = q->load;
    s64 n = MIN((now - q->balance_at) / EVERY + 1, 32L);

    for (; n > 0; n--)
        load = (7 * load + q->weight) / 8;
    __atomic_store_n(&q->load, load, __ATOMIC_RELAXED);
}

void balance_look(struct sched *s, unsigned cpu, ns_t now, cpuset_t *kick)
{
    struct sched_queue *q = s->cpu[cpu].queue, *from;
    struct sched_unit *u;

    update_load(q, now);
    q->balance_at = now + EVERY;
    wake_lighter(s, q, kick);
    from = heaviest(s, q);
    if (!from || (s->ops.try_lock && !s->ops.try_lock(from->cluster)))
        return;
    u = find_unit(q, from, cpu);
    if (u) {
        place_pull(s, from, u, cpu, now);
        queue_insert(s, q, u);
        __atomic_sub_fetch(&from->load, MIN(from->load, (u64)u->weight), __ATOMIC_RELAXED);
        __atomic_add_fetch(&q->load, u->weight, __ATOMIC_RELAXED);
    }
    if (s->ops.unlock)
        s->ops.unlock(from->cluster);
}
