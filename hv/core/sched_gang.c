#include "core/sched_gang.h"

#define MAX_GANGS 24 /* per queue that get windows; others run as singles do at the worst */

#define LOOK_EVERY (50 * MS)
#define CALM_LOOKS 20U   /* windows end after so many looks that found nothing */
#define MOST_CALM  1280U /* or more, up to this, if they had to come back */
#define LOOK_AGAIN 40U   /* within so many looks */
#define MANY_IPIS  25    /* per look: to siblings that wait for a CPU */
#define MANY_HINTS 50    /* polls and yields */
#define MANY_WAKES 8     /* of siblings, for each active unit */

struct gang {
    struct sched_domain *d;
    s64 behind; /* of virtual time, on average */
    u32 n;
};

struct plan {
    struct gang gang[MAX_GANGS];
    unsigned nr;
    u64 v;
};

static bool competes(const struct sched_queue *q, const struct sched_unit *u)
{
    return u->queue == q && (u->state == UNIT_READY || u->state == UNIT_RUNNING);
}

static void sample_skew(struct sched_domain *d, ns_t least, ns_t most)
{
    struct sched_gang_stats *st = &d->gang_stats;

    st->skews++;
    st->skew_sum += most - least;
    st->skew_max = MAX(st->skew_max, most - least);
    d->gang_lead = MAX(d->gang_lead, most);
}

static void add_gang(struct sched *s, struct sched_queue *q, struct plan *p,
                     struct sched_domain *d)
{
    struct gang g = {.d = d};
    ns_t least = NEVER, most = 0;
    struct sched_unit *u;
    unsigned i;

    for (u = d->units; u; u = u->next) {
        if (!competes(q, u))
            continue;
        g.n++;
        g.behind += (s64)(p->v - u->vrt);
        least = MIN(least, u->gang_ran);
        most = MAX(most, u->gang_ran);
    }
    if (!g.n || p->nr == MAX_GANGS)
        return;
    sample_skew(d, least, most);
    g.behind /= g.n;
    d->gang_behind = g.behind;
    for (i = p->nr++; i && p->gang[i - 1].behind < g.behind; i--)
        p->gang[i] = p->gang[i - 1];
    p->gang[i] = g;
}

/* Single units that are further behind than a gang go before it. */
static u32 singles_before(struct sched *s, struct sched_queue *q, const struct plan *p,
                          const struct gang *g)
{
    struct sched_domain *d;
    struct sched_unit *u;
    u32 n = 0;

    for (d = s->domains; d; d = d->next) {
        for (u = d->gang_active ? NULL : d->units; u; u = u->next)
            n += competes(q, u) && (s64)(p->v - u->vrt) > g->behind;
    }
    return n;
}

static void set_window(struct sched_domain *d, unsigned queue, bool on)
{
    if (!on) {
        __atomic_and_fetch(&d->windows, ~BIT(queue), __ATOMIC_RELAXED);
        return;
    }
    __atomic_or_fetch(&d->windows, BIT(queue), __ATOMIC_RELAXED);
    __atomic_add_fetch(&d->gang_stats.windows, 1, __ATOMIC_RELAXED);
}

/* What the CPUs did until now counts for the order. */
static void charge_all(struct sched *s, struct sched_queue *q, ns_t now)
{
    cpuset_t left = q->cpus;

    for (; !cpuset_empty(left); left.bits &= left.bits - 1) {
        struct sched_unit *u = s->cpu[cpuset_lowest(left)].current;

        if (u)
            queue_charge(q, u, now);
    }
}

void gang_plan(struct sched *s, struct sched_queue *q, ns_t now, cpuset_t *kick)
{
    unsigned i;
    u32 used = 0, before;
    struct sched_domain *d;
    struct sched_unit *u;
    struct plan p;

    p.nr = 0;
    charge_all(s, q, now);
    p.v = queue_virtual_time(q, now);
    for (d = s->domains; d; d = d->next) {
        if (d->windows & BIT(q->index))
            set_window(d, q->index, false);
        if (d->gang_active)
            add_gang(s, q, &p, d);
    }
    q->slotted = p.nr;
    q->slot_end = p.nr ? (now / SLOT + 1) * SLOT : NEVER;
    queue_set_due(q);
    for (i = 0; i < p.nr; i++) {
        before = singles_before(s, q, &p, &p.gang[i]);
        if (used + before && used + before + p.gang[i].n > q->nr_cpus)
            continue;
        used += p.gang[i].n;
        set_window(p.gang[i].d, q->index, true);
    }
    for (i = 0; i < p.nr; i++) {
        for (u = p.gang[i].d->units; u; u = u->next) {
            if (competes(q, u) && u->state == UNIT_READY &&
                p.gang[i].d->windows & BIT(q->index))
                place_ready(s, q, u, now, kick);
        }
    }
}

/*
 * Who slept while his gang had no window, because nobody was there to wake him, would lose what
 * the others gained by waiting: he is in step with them. Half of that for who slept within a
 * slot, and left a hole to others.
 */
void gang_join(const struct sched_queue *q, struct sched_unit *u, ns_t now)
{
    bool over_slot = u->left_at < q->slot_end - SLOT;

    if (q->slotted && now - u->left_at < 2 * SLOT)
        u->lag = MAX(u->lag, over_slot ? u->dom->gang_behind : u->dom->gang_behind / 2);
}

/*
 * Who was parked when the slot began has no window in it, and would lose what its cap allows by
 * waiting for the next. So windows are given anew, and who got less than the others, because of
 * its cap, goes before them.
 */
void gang_unpark(struct sched_queue *q, struct sched_unit *u, ns_t now)
{
    u->lag = MAX(u->lag, (s64)(queue_virtual_time(q, now) - u->vrt));
    q->slot_end = now;
    queue_set_due(q);
}

void gang_wake(struct sched *s, struct sched_queue *q, struct sched_unit *u, ns_t now,
               cpuset_t *kick)
{
    if (u->dom->gang_active)
        u->gang_ran = MAX(u->gang_ran, u->dom->gang_lead);
    if (now >= q->slot_end || !q->slotted)
        gang_plan(s, q, now, kick);
}

static u32 take(u32 *counter)
{
    return __atomic_exchange_n(counter, 0, __ATOMIC_RELAXED);
}

/*
 * Do its units wait for each other? Hints say so, and many wake-ups among siblings. Who never
 * sleeps may be spinning at a barrier; windows do not harm if it is not.
 */
static bool is_synchronised(struct sched_domain *d, const struct sched_queue *q)
{
    u32 n = __atomic_load_n(&d->n_active, __ATOMIC_RELAXED);
    u32 ipis = take(&d->seen_ipis), hints = take(&d->seen_hints);
    u32 wakes = take(&d->seen_wakes), blocks = take(&d->seen_blocks);

    if (n < 2 || !q->nr_ready)
        return false;
    return (ipis > MANY_IPIS && hints > MANY_HINTS) || wakes > MANY_WAKES * n || !blocks;
}

void gang_judge(struct sched *s, struct sched_queue *q, struct sched_domain *d, ns_t now)
{
    ns_t since = __atomic_load_n(&d->evidence_at, __ATOMIC_RELAXED);
    bool again;

    if (now - since < LOOK_EVERY ||
        !__atomic_compare_exchange_n(&d->evidence_at, &since, now, false, __ATOMIC_RELAXED,
                                     __ATOMIC_RELAXED))
        return;
    if (is_synchronised(d, q)) {
        if (!d->gang_active) {
            q->slot_end = now; /* plan at once */
            queue_set_due(q);
            /* Windows cure what calls for them: who needs them again keeps them longer. */
            again = d->calm_needed && d->calm < LOOK_AGAIN;
            d->calm_needed = again ? MIN(2 * d->calm_needed, MOST_CALM) : CALM_LOOKS;
        }
        d->gang_active = true;
        d->calm = 0;
        return;
    }
    d->calm = MIN(d->calm + 1, MOST_CALM);
    if (d->gang_active && d->calm >= d->calm_needed) {
        d->gang_active = false;
        d->calm = 0;
    }
}
