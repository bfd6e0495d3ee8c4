#include "core/sched_queue.h"

#define GRACE (1 * MS)
#define WARP  (20UL * MS) /* virtual */

/*
 * A domain's weight is divided among its active units. More than W / CPUs cannot be used by one
 * unit: such a weight would make virtual time run away from everybody else.
 */
static void make_weight(struct sched_queue *q, struct sched_unit *u, u64 others, u32 nr_others)
{
    struct sched_domain *d = u->dom;
    u32 n = MAX(__atomic_load_n(&d->n_active, __ATOMIC_RELAXED), 1U), rivals = q->nr_cpus - 1;
    u32 w = (d->params.weight << WEIGHT_SHIFT) / n;

    u->active_seen = (u16)n;
    u->inverse = d->unit_inverse * n;
    if (unlikely(nr_others > rivals && (u64)w * rivals > others)) {
        u->active_seen = 0;
        w = (u32)(others / rivals);
        u->inverse = BIT(INVERSE_SHIFT) / MAX(w, 1U);
    }
    u->weight = MAX(w, 1U);
}

static void weigh_newcomer(struct sched_queue *q, struct sched_unit *u)
{
    if (u->active_seen != __atomic_load_n(&u->dom->n_active, __ATOMIC_RELAXED) ||
        (q->nr_ready && (u64)u->weight * (q->nr_cpus - 1) > q->weight))
        make_weight(q, u, q->weight, q->nr_ready + q->nr_run);
}

void queue_change_weight(struct sched_queue *q, struct sched_unit *u)
{
    queue_sub(q, u);
    make_weight(q, u, q->weight, q->nr_ready + q->nr_run - 1);
    queue_add(q, u);
}

/*
 * A latency unit may be a little ahead of its turn and goes before others then, once: when it
 * runs it gets a deadline like everybody's.
 */
static void set_deadline(struct sched_unit *u)
{
    bool low = u->dom->params.latency == LATENCY_LOW;

    u->grace = low ? to_virtual(u, GRACE) : 0;
    u->vdl = line_from(u) + to_virtual(u, u->dom->request) - (low ? WARP : 0);
}

/*
 * Who left behind the others gets that back, within limits; who left ahead of them waits until
 * virtual time has caught up, which it did in part while the unit slept. Both are forgotten after
 * a while.
 */
void queue_join(struct sched_queue *q, struct sched_unit *u, ns_t now)
{
    u64 v = queue_virtual_time(q, now);
    s64 lag = u->lag;

    weigh_newcomer(q, u);
    if (now - u->left_at >= LAG_FORGET)
        lag = 0;
    else if (lag <= 0)
        lag = MIN((s64)(v - u->vrt), 0L);
    u->vrt = q->weight && lag ? v - clamp_lag(u, lag) : v;
    set_deadline(u);
    queue_add(q, u);
}

void queue_insert(struct sched *s, struct sched_queue *q, struct sched_unit *u)
{
    bool unsaved = u->on_cpu != NO_CPU;

    u->odd = u->limited | unsaved | u->dom->special;
    q->nr_odd += u->odd;
    q->nr_picky += u->picky;
    q->nr_unsaved += unsaved;
    /* A fence as well: robbers say that they idle before they look for this bit. */
    if (!q->nr_ready++ && q->bit)
        __atomic_or_fetch(&s->waiting, q->bit, __ATOMIC_SEQ_CST);
    line_insert(q, u);
}

void queue_remove(struct sched *s, struct sched_queue *q, struct sched_unit *u)
{
    line_remove(q, u);
    if (!--q->nr_ready && q->bit)
        __atomic_and_fetch(&s->waiting, ~q->bit, __ATOMIC_RELAXED);
    q->nr_picky -= u->picky;
    if (likely(!u->odd))
        return;
    q->nr_odd--;
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

    if (dom->gang_active)
        u->gang_ran += d;
    if (!dom->metered)
        return;
    __atomic_sub_fetch(&dom->cap_left, dom->cap_quota ? d : 0, __ATOMIC_RELAXED);
    __atomic_sub_fetch(&dom->reserve_left, queue_reserved(dom) ? d : 0, __ATOMIC_RELAXED);
}

static void enter_queue(struct sched *s, struct sched_unit *u, struct sched_queue *to)
{
    u->queue->nr_units--;
    to->nr_units++;
    u->queue = to;
    u->cluster = to->cluster;
    queue_refresh_limited(s, to, u);
}

void queue_move(struct sched *s, struct sched_unit *u, struct sched_queue *to, ns_t now)
{
    u->vrt += queue_virtual_time(to, now) - queue_virtual_time(u->queue, now);
    enter_queue(s, u, to);
}

void queue_transfer(struct sched *s, struct sched_unit *u, struct sched_queue *q, u64 there,
                    ns_t now)
{
    struct sched_queue *from = u->queue;
    u64 vrt = queue_virtual_time(q, now);
    /* Who comes from a queue that is behind the others was behind as well. */
    s64 more = from->nr_ready ? q->ahead - from->ahead : 0;
    s64 lag = clamp_lag(u, (s64)(there - u->vrt) + more);

    queue_sub(from, u);
    if (!from->weight)
        from->base = there;
    /* As when it leaves and joins: credit counts where others wait, a debt where any compete. */
    if (q->weight && (lag < 0 || from->nr_ready))
        vrt -= (u64)lag;
    u->vdl += vrt - u->vrt;
    u->vrt = vrt;
    enter_queue(s, u, q);
    weigh_newcomer(q, u);
    queue_add(q, u);
}
