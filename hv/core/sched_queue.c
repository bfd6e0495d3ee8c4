#include "core/sched_queue.h"

#define GRACE (1 * MS)
#define WARP  (20UL * MS) /* virtual */

ns_t queue_request(const struct sched_unit *u)
{
    switch (u->dom->params.latency) {
    case LATENCY_LOW:
        return 500 * US;
    case LATENCY_BATCH:
        return 10 * MS;
    default:
        return 3 * MS;
    }
}

static void sum_add(struct sched_queue *q, const struct sched_unit *u)
{
    q->weight += u->weight;
    q->sum += (wide_t)(s64)(u->vrt - q->base) * u->weight;
}

static void sum_sub(struct sched_queue *q, const struct sched_unit *u)
{
    q->weight -= u->weight;
    q->sum -= (wide_t)(s64)(u->vrt - q->base) * u->weight;
}

void queue_catch_up(struct sched_queue *q, wide_t running)
{
    s64 step = (s64)BIT(__builtin_clzl(q->weight) - 3);

    while ((s64)(q->sum + running) != q->sum + running)
        queue_rebase(q, q->sum + running < 0 ? -step : step);
}

/*
 * A domain's weight is divided among its active units. More than W / CPUs cannot be used by one
 * unit: such a weight would make virtual time run away from everybody else.
 */
static void make_weight(struct sched *s, struct sched_queue *q, struct sched_unit *u,
                        u64 others, u32 nr_others)
{
    struct sched_domain *d = u->dom;
    u32 n = __atomic_load_n(&d->n_active, __ATOMIC_RELAXED), rivals = q->nr_cpus - 1;
    u64 w = (u64)d->params.weight << WEIGHT_SHIFT;

    u->active_seen = n;
    n = n < 1 ? 1 : n;
    u->inverse = d->unit_inverse * n;
    w = n <= CPUSET_MAX ? w * s->share[n] >> 24 : w / n;
    u->clamped = nr_others > rivals && w * rivals > others;
    if (unlikely(u->clamped)) {
        w = others / rivals;
        u->inverse = BIT(INVERSE_SHIFT) / (w ? w : 1);
    }
    u->weight = w ? (u32)w : 1;
}

void queue_refresh_weight(struct sched *s, struct sched_queue *q, struct sched_unit *u)
{
    u32 n = __atomic_load_n(&u->dom->n_active, __ATOMIC_RELAXED), m = q->nr_cpus;

    if (likely(u->active_seen == n && !u->clamped && (u64)u->weight * m <= q->weight))
        return;
    sum_sub(q, u);
    make_weight(s, q, u, q->weight, q->nr_ready + q->nr_run - 1);
    sum_add(q, u);
}

static s64 clamp_lag(const struct sched_unit *u, s64 lag)
{
    s64 max = (s64)to_virtual(u, LAG_MAX);

    return lag > max ? max : lag < -max ? -max : lag;
}

/*
 * A latency unit may be a little ahead of its turn and goes before others then, once: when it
 * runs it gets a deadline like everybody's.
 */
static void set_deadline(struct sched_unit *u)
{
    bool low = u->dom->params.latency == LATENCY_LOW;

    u->grace = low ? to_virtual(u, GRACE) : 0;
    u->vdl = tree_from(u) + to_virtual(u, queue_request(u)) - (low ? WARP : 0);
}

/*
 * Who left behind the others gets that back, within limits; who left ahead of them waits until
 * virtual time has caught up, which it did in part while the unit slept.
 */
void queue_join(struct sched *s, struct sched_queue *q, struct sched_unit *u, ns_t now)
{
    u64 v = queue_virtual_time(q, now);
    s64 lag = u->lag;

    if (u->active_seen != u->dom->n_active || u->clamped || q->nr_ready)
        make_weight(s, q, u, q->weight, q->nr_ready + q->nr_run);
    if (lag > 0)
        lag = now - u->left_at >= LAG_FORGET ? 0 : lag;
    else
        lag = MIN((s64)(v - u->vrt), 0L);
    u->vrt = q->weight && lag ? v - clamp_lag(u, lag) : v;
    set_deadline(u);
    sum_add(q, u);
}

void queue_leave(struct sched_queue *q, struct sched_unit *u, ns_t now)
{
    u64 v;

    u->left_at = now;
    if (!q->nr_ready) {
        /* Nobody waits: what it did not get it did not want. */
        sum_sub(q, u);
        u->lag = 0;
        if (!q->weight)
            q->base = u->vrt;
        return;
    }
    v = queue_virtual_time(q, now);
    sum_sub(q, u);
    u->lag = clamp_lag(u, (s64)(v - u->vrt));
    u->vrt = v - (u64)u->lag;
}

void queue_insert(struct sched_queue *q, struct sched_unit *u)
{
    bool unsaved = u->on_cpu != NO_CPU;

    u->odd = u->limited || unsaved || u->dom->special;
    q->nr_odd += u->odd;
    q->nr_picky += u->picky;
    q->nr_unsaved += unsaved;
    q->nr_ready++;
    tree_insert(&q->root, u);
}

void queue_remove(struct sched_queue *q, struct sched_unit *u)
{
    tree_remove(&q->root, u);
    q->nr_ready--;
    q->nr_odd -= u->odd;
    q->nr_picky -= u->picky;
    q->nr_unsaved -= u->on_cpu != NO_CPU;
    u->odd = false;
}

void queue_saved(struct sched_queue *q, struct sched_unit *u)
{
    bool odd = u->limited || u->dom->special;

    u->on_cpu = NO_CPU;
    if (u->state != UNIT_READY)
        return;
    q->nr_unsaved--;
    q->nr_odd += (u32)odd - (u32)u->odd;
    u->odd = odd;
}

void queue_charge_special(struct sched_unit *u, ns_t d)
{
    struct sched_domain *dom = u->dom;

    u->gang_ran += d;
    if (!dom->metered)
        return;
    __atomic_sub_fetch(&dom->cap_left, dom->cap_quota ? d : 0, __ATOMIC_RELAXED);
    __atomic_sub_fetch(&dom->reserve_left, queue_reserved(dom) ? d : 0, __ATOMIC_RELAXED);
}

void queue_become_ready(struct sched *s, struct sched_queue *q, struct sched_unit *u, ns_t now)
{
    __atomic_add_fetch(&u->dom->n_active, 1, __ATOMIC_RELAXED);
    unit_set_state(u, UNIT_READY, now);
    queue_join(s, q, u, now);
    queue_insert(q, u);
}

void queue_stop_competing(struct sched_queue *q, struct sched_unit *u, enum unit_state to,
                          ns_t now)
{
    queue_leave(q, u, now);
    __atomic_sub_fetch(&u->dom->n_active, 1, __ATOMIC_RELAXED);
    unit_set_state(u, to, now);
}

void queue_take_off(struct sched *s, struct sched_queue *q, struct sched_unit *u, ns_t now)
{
    struct sched_cpu *c = &s->cpu[u->cpu];

    queue_stop(q, u);
    c->current = NULL;
    c->leaving = u;
    u->blocking = false;
    cpuset_remove(&q->untimed, u->cpu);
}

void queue_move(struct sched *s, struct sched_unit *u, unsigned to, ns_t now)
{
    struct sched_queue *from = queue_of(s, u), *q = &s->queue[to];

    u->vrt += queue_virtual_time(q, now) - queue_virtual_time(from, now);
    from->nr_units--;
    q->nr_units++;
    u->queue = (u8)to;
    u->cluster = q->cluster;
    queue_refresh_limited(s, q, u);
}
