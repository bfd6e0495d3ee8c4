#include "base/string.h"
#include "core/sched.h"
#include "core/sched_cpus.h"
#include "core/sched_gang.h"
#include "core/sched_trace.h"

#define ONE_CPU 1000000UL /* parts per million */

static const ns_t requests[] = {
    [LATENCY_LOW] = 500 * US, [LATENCY_NORMAL] = 3 * MS, [LATENCY_BATCH] = 10 * MS};

/* ---- domains and units ------------------------------------------------------------------ */

void sched_domain_init(struct sched *s, struct sched_domain *d, u16 id)
{
    memset(d, 0, sizeof(*d));
    d->id = id;
    d->params.weight = SCHED_WEIGHT_DEFAULT;
    d->params.latency = LATENCY_NORMAL;
    d->request = requests[LATENCY_NORMAL];
    d->unit_inverse = BIT(INVERSE_SHIFT) / (SCHED_WEIGHT_DEFAULT << WEIGHT_SHIFT);
    d->next = s->domains;
    s->domains = d;
    trace_other(s, TRACE_DOMAIN, 0, id, 0, 0, 1, 0);
}

int sched_domain_remove(struct sched *s, struct sched_domain *d)
{
    struct sched_domain **at = &s->domains;
    struct sched_core *k;

    if (d->units)
        return -XEN_EBUSY;
    trace_other(s, TRACE_DOMAIN, 0, d->id, 0, 0, 0, 0);
    for (k = s->core; k < s->core + CPUSET_MAX; k++)
        k->changing = k->changing && k->want != d;
    s->nr_strict -= d->params.gang == GANG_STRICT;
    while (*at != d)
        at = &(*at)->next;
    *at = d->next;
    return 0;
}

void sched_unit_init(struct sched *s, struct sched_unit *u, struct sched_domain *d, u16 id)
{
    struct sched_queue *q;
    cpuset_t left;
    unsigned n;

    memset(u, 0, sizeof(*u));
    u->dom = d;
    u->id = id;
    u->hard = u->soft = cpuset_first(CPUSET_MAX);
    u->on_cpu = NO_CPU;
    u->left_at = u->urgent_at = u->heard_at = -LAG_FORGET; /* long ago */
    cpus_refresh_allowed(s, u);
    q = u->queue = cpus_best_queue(s, u);
    u->cluster = q->cluster;
    u->vrt = q->base;
    /* Spread over the CPUs, so that not all start from the same one. */
    for (left = q->cpus, n = q->nr_units++ % q->nr_cpus; n; n--)
        left.bits &= left.bits - 1;
    u->cpu = (u16)cpuset_lowest(left);
    u->next = d->units;
    d->units = u;
    trace_unit(s, TRACE_UNIT, u, 0, 1, 0);
}

/* What points to a unit that is off, and would not notice. */
static void forget(struct sched *s, const struct sched_unit *u)
{
    struct sched_queue *q;
    struct sched_cpu *c;

    for (c = s->cpu; c < s->cpu + s->nr_cpus; c++) {
        c->yield_to = c->yield_to == u ? NULL : c->yield_to;
        c->given = c->given == u ? NULL : c->given;
    }
    for (q = s->queue; q < s->queue + s->nr_queues; q++)
        q->boosted = q->boosted == u ? NULL : q->boosted;
}

int sched_unit_remove(struct sched *s, struct sched_unit *u)
{
    struct sched_unit **at = &u->dom->units;

    if (u->state != UNIT_OFF || u->on_cpu != NO_CPU)
        return -XEN_EBUSY;
    trace_unit(s, TRACE_UNIT, u, 0, 0, 0);
    forget(s, u);
    u->queue->nr_units--;
    while (*at != u)
        at = &(*at)->next;
    *at = u->next;
    return 0;
}

/* ---- parameters ------------------------------------------------------------------------- */

void sched_get_params(const struct sched_domain *d, struct sched_params *p)
{
    *p = d->params;
}

/* With 'd' having reserved 'own'. */
static bool reservations_fit(const struct sched *s, const struct sched_domain *d, unsigned pool,
                             u64 own)
{
    u64 cpus = count_cpus(cpus_online_of(s, pool)), sum = own;
    const struct sched_domain *other;

    for (other = s->domains; other; other = other->next)
        sum += other != d && other->pool == pool ? other->params.reservation_ppm : 0;
    return sum <= cpus * ONE_CPU / 10 * 9;
}

/* What was admitted stays so, also when its pool shrank since. */
static int check_params(const struct sched *s, const struct sched_domain *d,
                        const struct sched_params *p)
{
    u64 cpus = count_cpus(cpus_online_of(s, d->pool));

    if (!p->weight || p->weight > SCHED_WEIGHT_MAX || (unsigned)p->gang > GANG_STRICT ||
        (unsigned)p->latency > LATENCY_BATCH ||
        (p->cap_ppm > cpus * ONE_CPU && p->cap_ppm != d->params.cap_ppm))
        return -XEN_EINVAL;
    if (p->reservation_ppm > d->params.reservation_ppm &&
        !reservations_fit(s, d, d->pool, p->reservation_ppm))
        return -XEN_ENOSPC;
    return 0;
}

/* A new quota counts for the rest of this period; setting the old one again gives nothing. */
static void set_quota(s64 *quota, s64 *left, u32 ppm, ns_t now)
{
    s64 new = (s64)ppm *PERIOD / (s64)ONE_CPU;

    if (new == *quota)
        return;
    *quota = new;
    *left = new *(period_end(now) - now) / PERIOD;
}

static void set_budgets(struct sched_domain *d, ns_t now)
{
    struct sched_unit *u;

    budget_refill(d, now);
    set_quota(&d->cap_quota, &d->cap_left, d->params.cap_ppm, now);
    set_quota(&d->reserve_quota, &d->reserve_left, d->params.reservation_ppm, now);
    d->special = d->reserve_quota;
    d->metered = d->cap_quota || d->reserve_quota;
    d->nr_running = 0;
    for (u = d->units; u; u = u->next)
        d->nr_running += u->state == UNIT_RUNNING;
}

static void set_gang(struct sched *s, struct sched_domain *d, enum sched_gang old, ns_t now)
{
    struct sched_unit *u;
    struct sched_cpu *c;

    s->nr_strict += (u32)(d->params.gang == GANG_STRICT) - (u32)(old == GANG_STRICT);
    for (c = s->cpu; c < s->cpu + s->nr_cpus; c++)
        c->rare |= s->nr_strict != 0;
    if (d->params.gang == old)
        return;
    d->gang_active = d->params.gang == GANG_ON;
    d->windows = 0;
    d->seen_ipis = d->seen_hints = d->seen_wakes = d->seen_blocks = 0;
    d->calm = d->calm_needed = 0;
    d->evidence_at = now;
    for (u = d->units; u; u = u->next)
        u->gang_ran = d->gang_lead;
}

/* READY and PARKED units compete anew, with the weight and the deadline of today. */
static void requeue(struct sched *s, struct sched_unit *u, ns_t now, cpuset_t *kick)
{
    struct sched_queue *q = u->queue;

    u->active_seen = 0;
    if (u->state == UNIT_PARKED) {
        budget_unlist(q, u);
    } else if (u->state == UNIT_READY) {
        queue_remove(s, q, u);
        queue_leave(q, u, now);
    } else {
        if (u->state == UNIT_RUNNING)
            queue_kick(s, u->cpu, kick);
        return;
    }
    if (u->state == UNIT_PARKED)
        unit_set_state(u, UNIT_READY, now);
    place_newcomer(s, q, u, now, kick);
}

int sched_set_params(struct sched *s, struct sched_domain *d, const struct sched_params *p,
                     ns_t now, cpuset_t *kick)
{
    enum sched_gang old = d->params.gang;
    int rc = check_params(s, d, p);
    struct sched_unit *u;
    unsigned i;

    if (rc)
        return rc;
    trace_other(s, TRACE_PARAMS, 0, d->id, 0, now,
                p->weight | (u64)p->gang << 32 | (u64)p->latency << 40,
                p->cap_ppm | (u64)p->reservation_ppm << 32);
    for (u = d->units; u; u = u->next) {
        if (u->state == UNIT_RUNNING)
            queue_charge(u->queue, u, now);
        (void)queue_virtual_time(u->queue, now); /* the base follows before weights change */
    }
    d->params = *p;
    d->unit_inverse = BIT(INVERSE_SHIFT) / ((u64)p->weight << WEIGHT_SHIFT);
    d->request = requests[p->latency];
    set_budgets(d, now);
    set_gang(s, d, old, now);
    d->unusual = d->metered || p->gang != GANG_OFF;
    for (u = d->units; u; u = u->next)
        requeue(s, u, now, kick);
    for (i = 0; i < s->nr_queues; i++)
        gang_plan(s, &s->queue[i], now, kick);
    if (p->gang == GANG_STRICT || old == GANG_STRICT)
        kick->bits |= s->online; /* who must not be beside whom is different now */
    return 0;
}

int sched_set_affinity(struct sched *s, struct sched_unit *u, cpuset_t hard, cpuset_t soft,
                       ns_t now, cpuset_t *kick)
{
    if (cpuset_empty(cpuset_and(hard, cpus_online_of(s, u->dom->pool))))
        return -XEN_EINVAL;
    trace_unit(s, TRACE_AFFINITY, u, now, hard.bits, soft.bits);
    u->hard = hard;
    u->soft = soft;
    cpus_settle_unit(s, u, now, kick);
    return 0;
}

int sched_domain_move(struct sched *s, struct sched_domain *d, unsigned pool, ns_t now,
                      cpuset_t *kick)
{
    struct sched_unit *u;

    if (pool >= SCHED_POOLS || cpuset_empty(cpus_online_of(s, pool)))
        return -XEN_EINVAL;
    if (d->pool != pool && !reservations_fit(s, d, pool, d->params.reservation_ppm))
        return -XEN_ENOSPC;
    trace_other(s, TRACE_MOVE, 0, d->id, 0, now, pool, 0);
    d->pool = (u8)pool;
    for (u = d->units; u; u = u->next)
        cpus_settle_unit(s, u, now, kick);
    return 0;
}
