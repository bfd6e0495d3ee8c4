#include "core/sched_balance.h"

#define EVERY  (50 * MS)
#define NAPPER (20 * MS) /* who slept so lately will go again: nothing is gained for long */
#define AHEAD  3         /* looks: so far ahead is the future of interest */
#define OWED   2 /* differences of more than what passes in so many looks are forgotten */

static bool is_known(const struct sched_queue *q, ns_t now)
{
    return now - __atomic_load_n(&q->looked_at, __ATOMIC_RELAXED) < 3 * EVERY;
}

/* Where its virtual time will be at 'at', if it goes on as in the last period. */
static u64 forecast(const struct sched_queue *q, ns_t at)
{
    ns_t d = at - __atomic_load_n(&q->looked_at, __ATOMIC_RELAXED);
    s64 pace = __atomic_load_n(&q->pace, __ATOMIC_RELAXED);

    d = MAX(MIN(d, (AHEAD + 4) * EVERY), 0L);
    return __atomic_load_n(&q->total, __ATOMIC_RELAXED) + (u64)(pace * (d / US) / (EVERY / US));
}

/* How much passes in a period with so much more weight. */
static s64 changed_pace(const struct sched_queue *q, s64 weight)
{
    s64 pace = MAX(__atomic_load_n(&q->pace, __ATOMIC_RELAXED), 1L);
    s64 all = (s64)((u64)EVERY * q->nr_cpus << UNIT_SHIFT);

    return all / MAX(all / pace + weight, 1L);
}

static u64 size_of(s64 x)
{
    return (u64)(x < 0 ? -x : x);
}

/*
 * The unit that leaves the least difference at the next look, if that is clearly less than
 * without it: otherwise units would be moved to and fro.
 */
static struct sched_unit *find_unit(const struct sched_queue *q, const struct sched_queue *from,
                                    unsigned cpu, s64 gap, ns_t now)
{
    s64 rest = gap - AHEAD * (q->pace - from->pace), after;
    u64 left = size_of(gap) - size_of(AHEAD * q->pace / 32);
    struct sched_unit *u, *best = NULL;

    for (u = from->first; u; u = u->after) {
        if (!place_may_run(u, cpu) || u->picky || u->dom->gang_active || u->dom->metered ||
            now - u->left_at < NAPPER)
            continue;
        after =
            rest + AHEAD * (changed_pace(q, u->weight) - changed_pace(from, -(s64)u->weight));
        if (size_of(after) >= left || after < -gap / 2)
            continue;
        left = size_of(after);
        best = u;
    }
    return best;
}

/* The one that falls most behind this one, and by how much. */
static struct sched_queue *most_behind(struct sched *s, const struct sched_queue *q, ns_t now,
                                       s64 *gap)
{
    u64 own = forecast(q, now + AHEAD * EVERY);
    s64 g;
    struct sched_queue *o, *best = NULL;
    unsigned i;

    *gap = AHEAD * q->pace / 16; /* less is not worth a cold cache */
    for (i = 0; i < q->nr_victims; i++) {
        o = &s->queue[q->victims[i]];
        if (!__atomic_load_n(&o->nr_ready, __ATOMIC_RELAXED))
            continue;
        g = (s64)(own - forecast(o, now + AHEAD * EVERY));
        if (g <= *gap)
            continue;
        *gap = g;
        best = o;
    }
    return best;
}

/*
 * A queue where nobody waits sets no timers, so it does not look by itself, and what is known of
 * it is old: one that waits for CPUs tells it to.
 */
static void wake_others(struct sched *s, const struct sched_queue *q, ns_t now, cpuset_t *kick)
{
    const struct sched_queue *o;
    unsigned i;

    for (i = 0; q->nr_ready && i < q->nr_victims; i++) {
        o = &s->queue[q->victims[i]];
        if (!__atomic_load_n(&o->nr_ready, __ATOMIC_RELAXED) && o->nr_run == o->nr_cpus &&
            now - __atomic_load_n(&o->looked_at, __ATOMIC_RELAXED) > EVERY)
            queue_kick(s, cpuset_lowest(o->cpus), kick);
    }
}

/* How much the others got more since this one's last look, on average; *n: of how many. */
static s64 passed_elsewhere(const struct sched *s, const struct sched_queue *q, ns_t now,
                            s64 *n)
{
    const struct sched_queue *o;
    s64 sum = 0;
    unsigned i;

    for (i = 0; i < q->nr_victims; i++) {
        o = &s->queue[q->victims[i]];
        if (!is_known(o, now))
            continue;
        sum += (s64)(forecast(o, now) - q->total);
        ++*n;
    }
    return *n ? sum / *n : 0;
}

/*
 * What its units got since the last look, in virtual time, and by how much that is more than
 * elsewhere. Where a CPU idles nobody is owed anything, and in the long run all is forgotten.
 */
static void update_total(const struct sched *s, struct sched_queue *q, ns_t now)
{
    u64 v = queue_virtual_time(q, now);
    ns_t d = now - q->looked_at;
    s64 n = 0, mean = passed_elsewhere(s, q, now, &n), ahead = 0, passed, max;

    if (is_known(q, now)) {
        passed = MAX((s64)(v - q->looked_v), 0L);
        q->pace = passed * (EVERY / US) / (d / US + 1);
        max = OWED * q->pace;
        ahead = passed - mean;
        ahead = MAX(MIN(ahead - ahead / 16, max), -max);
    }
    if (!n || (!q->nr_ready && q->nr_run < q->nr_cpus))
        ahead = 0;
    __atomic_store_n(&q->total, q->total + (u64)(mean + ahead), __ATOMIC_RELAXED);
    __atomic_store_n(&q->looked_at, now, __ATOMIC_RELAXED);
    q->ahead = ahead;
    q->looked_v = v;
}

void balance_look(struct sched *s, unsigned cpu, ns_t now, cpuset_t *kick)
{
    struct sched_queue *q = s->cpu[cpu].queue, *from;
    struct sched_unit *u;
    s64 gap;

    update_total(s, q, now);
    q->balance_at = now + EVERY;
    queue_set_due(q);
    wake_others(s, q, now, kick);
    from = most_behind(s, q, now, &gap);
    if (!from || !s->ops.try_lock(from->cluster))
        return;
    u = find_unit(q, from, cpu, gap, now);
    if (u) {
        place_pull(s, from, u, cpu, queue_virtual_time(from, now), now);
        queue_insert(s, q, u);
        q->pace = changed_pace(q, u->weight);
        from->pace = changed_pace(from, -(s64)u->weight);
    }
    s->ops.unlock(from->cluster);
}
