/*
 * One run queue: virtual time, weights, and who is in it. Internal to core/sched_*.
 *
 * A unit "competes" in its queue while it is READY or RUNNING: it counts in virtual time and
 * weight. READY ones are in the line as well. Virtual time is the weighted mean of vrt; what
 * RUNNING units did since they were charged is added in one go, because weight * virtual run
 * time is real run time whatever the weight.
 *
 * The caller holds the lock of the queue's cluster.
 */
#ifndef SERAI_CORE_SCHED_QUEUE_H
#define SERAI_CORE_SCHED_QUEUE_H

#include "core/sched_line.h"

#define NEVER INT64_MAX

#define US 1000L
#define MS 1000000L

/* Weights have 6 bits below the point; a unit of weight 256 runs at 1 virtual ns per ns. */
#define WEIGHT_SHIFT  6
#define UNIT_SHIFT    14
#define INVERSE_SHIFT 36

/* What a unit asks for that was sent something while it waited, and how long after that. */
#define URGENT      (250 * US)
#define URGENT_FOR  (3 * MS)
/* How far ahead of its share it may be. */
#define URGENT_LOAN (2 * MS)

/* What runs is looked at so often at least: 36 minutes. */
#define LONGEST (1L << 41)

#define LAG_MAX    (10 * MS)
#define LAG_FORGET (100 * MS)

#define GRACE (1 * MS)
#define WARP  (20UL * MS) /* virtual */

static inline u64 to_virtual(const struct sched_unit *u, u64 d)
{
    return (u64)((unsigned __int128)d * u->inverse >> (INVERSE_SHIFT - UNIT_SHIFT));
}

/* How long it ran since it was charged; what two CPUs call now may differ by a little. */
static inline u64 unit_ran(const struct sched_unit *u, ns_t now)
{
    u64 d = (u64)now - (u64)u->charged;

    return (s64)d < 0 ? 0 : d;
}

static inline ns_t to_real(const struct sched_unit *u, u64 v)
{
    return (ns_t)((unsigned __int128)v * u->weight >> UNIT_SHIFT);
}

/* How long until its request is finished. */
static inline ns_t unit_remaining(const struct sched_unit *u)
{
    return virtual_before(u->vrt, u->vdl) ? to_real(u, u->vdl - u->vrt) : 0;
}

/* 'cpu' has to pick soon; once is enough. */
static inline void queue_kick(struct sched *s, unsigned cpu, cpuset_t *kick)
{
    u64 bit = BIT(cpu);

    if (!(__atomic_fetch_or(&s->kicked, bit, __ATOMIC_SEQ_CST) & bit))
        kick->bits |= bit;
}

/* It goes before others: some of its reservation is left. */
static inline bool queue_reserved(const struct sched_domain *d)
{
    return d->reserve_quota && __atomic_load_n(&d->reserve_left, __ATOMIC_RELAXED) > 0;
}

/* The baseline CPU has no instruction for it. */
static inline unsigned count_cpus(cpuset_t s)
{
    u64 x = s.bits;

    x -= x >> 1 & 0x5555555555555555UL;
    x = (x & 0x3333333333333333UL) + (x >> 2 & 0x3333333333333333UL);
    x = (x + (x >> 4)) & 0x0f0f0f0f0f0f0f0fUL;
    return (unsigned)(x * 0x0101010101010101UL >> 56);
}

/* After any of the times changed at which there is more to do than to say who is next. */
static inline void queue_set_due(struct sched_queue *q)
{
    q->due_at = q->slotted ? 0 : MIN(MIN(q->unpark_at, q->slot_end), q->balance_at);
}

static inline void unit_set_state(struct sched_unit *u, enum unit_state state, ns_t now)
{
    u->stats.time[u->state] += now - u->since;
    u->state = (u8)state;
    u->since = now;
}

/* Its lag is not negative, or covered by its grace: it may be chosen by its deadline. */
static inline bool unit_eligible(const struct sched_unit *u, u64 v)
{
    return !virtual_before(v, line_from(u));
}

/*
 * The base follows as soon as virtual time is 2^31 ahead of it, so that also with the greatest
 * weights the sum has room. Until that is seen here, real time makes the sum grow by 2^UNIT_SHIFT
 * a ns and CPU, and running units are charged once in LONGEST: that is not too much either.
 */
static inline u64 queue_virtual_time(struct sched_queue *q, ns_t now)
{
    s64 running = (s64)q->nr_run * now - q->charged_sum;
    u64 sum = q->sum + ((u64)running << UNIT_SHIFT), by;

    if (unlikely(!q->weight))
        return q->base;
    by = (u64)((s64)sum / (s64)q->weight);
    if (unlikely((s64)by != (s32)by)) {
        q->base += by;
        q->sum -= by * q->weight;
        by = 0;
    }
    return q->base + by;
}

/* It was sent something while it waited, and has not run since. */
static inline bool unit_urgent(const struct sched_unit *u)
{
    return u->grace && u->dom->params.latency != LATENCY_LOW;
}

/* Who was urgent lately asks for little at once, so that it is soon its turn again. */
static inline void unit_request(struct sched_unit *u, ns_t now)
{
    ns_t request = u->dom->request;

    if (unlikely(now - u->urgent_at < URGENT_FOR))
        request = MIN(request, URGENT);
    u->vdl = u->vrt + to_virtual(u, request);
}

/*
 * Something came for a unit that waits, and is in no line: it asks for little at once, so it may
 * run soon, even a little before its turn. In the long run it gets what it got before.
 */
static inline void unit_hurry(struct sched_unit *u, ns_t now)
{
    u->urgent_at = now;
    u->grace = to_virtual(u, URGENT_LOAN);
    u->vdl = line_from(u) + to_virtual(u, URGENT);
}

static inline s64 clamp_lag(const struct sched_unit *u, s64 lag)
{
    s64 max = (s64)to_virtual(u, LAG_MAX);

    return MAX(MIN(lag, max), -max);
}

static inline void queue_sub(struct sched_queue *q, const struct sched_unit *u)
{
    q->weight -= u->weight;
    q->sum -= (u->vrt - q->base) * u->weight;
}

static inline void queue_add(struct sched_queue *q, const struct sched_unit *u)
{
    q->weight += u->weight;
    q->sum += (u->vrt - q->base) * u->weight;
}

void queue_change_weight(struct sched_queue *q, struct sched_unit *u);

/* While it competes: its weight changes with the number of active siblings. */
static inline bool queue_weight_is_old(const struct sched_queue *q, const struct sched_unit *u)
{
    return u->active_seen != __atomic_load_n(&u->dom->n_active, __ATOMIC_RELAXED) ||
           (u64)u->weight * q->nr_cpus > q->weight;
}

static inline void queue_refresh_weight(struct sched_queue *q, struct sched_unit *u)
{
    if (unlikely(queue_weight_is_old(q, u)))
        queue_change_weight(q, u);
}

/*
 * A running unit begins a new request at virtual time v. It owes or is owed a bounded time only:
 * what it got on a CPU that others did not want, or may not use, is nobody's loss. What virtual
 * time is now.
 */
static inline u64 queue_renew(struct sched_queue *q, struct sched_unit *u, u64 v, ns_t now)
{
    u64 vrt = v - (u64)clamp_lag(u, (s64)(v - u->vrt));

    if (unlikely(vrt != u->vrt)) {
        queue_sub(q, u);
        u->vrt = vrt;
        queue_add(q, u);
        v = queue_virtual_time(q, now);
    }
    unit_request(u, now);
    return v;
}

/* It was subtracted, and leaves where nobody waits: what it did not get it did not want. */
static inline void queue_leave_empty(struct sched_queue *q, struct sched_unit *u, ns_t now)
{
    u->left_at = now;
    u->lag = 0;
    if (!q->weight)
        q->base = u->vrt;
}

static inline void queue_leave(struct sched_queue *q, struct sched_unit *u, ns_t now)
{
    u64 v;

    if (!q->nr_ready) {
        queue_sub(q, u);
        queue_leave_empty(q, u, now);
        return;
    }
    u->left_at = now;
    v = queue_virtual_time(q, now);
    queue_sub(q, u);
    u->lag = clamp_lag(u, (s64)(v - u->vrt));
    u->vrt = v - (u64)u->lag;
}

/*
 * A domain's weight is divided among its n active units, of which this one is one, and 64 at most.
 * More than W / CPUs cannot be used by one unit: such a weight would make virtual time run away
 * from everybody else.
 */
static inline void queue_make_weight(const struct sched_queue *q, struct sched_unit *u, u32 n,
                                     u64 others, u32 nr_others)
{
    u32 w = (u->dom->params.weight << WEIGHT_SHIFT) / n;

    u->active_seen = (u16)n;
    u->inverse = u->dom->unit_inverse * n;
    if (unlikely(nr_others >= q->nr_cpus && (u64)w * (q->nr_cpus - 1) > others)) {
        u->active_seen = 0;
        w = (u32)(others / (q->nr_cpus - 1));
        u->inverse = BIT(INVERSE_SHIFT) / MAX(w, 1U);
        w = MAX(w, 1U);
    }
    u->weight = w;
}

static inline void queue_weigh_newcomer(const struct sched_queue *q, struct sched_unit *u)
{
    u32 n = __atomic_load_n(&u->dom->n_active, __ATOMIC_RELAXED);

    if (u->active_seen != n || (q->nr_ready && (u64)u->weight * (q->nr_cpus - 1) > q->weight))
        queue_make_weight(q, u, n, q->weight, q->nr_ready + q->nr_run);
}

/*
 * A latency unit may be a little ahead of its turn and goes before others then, once: when it
 * runs it gets a deadline like everybody's.
 */
static inline void queue_low_deadline(struct sched_unit *u)
{
    u->grace = to_virtual(u, GRACE);
    u->vdl -= u->grace + WARP;
}

/*
 * Begins to compete. Who left behind the others gets that back, within limits; who left ahead of
 * them waits until virtual time has caught up, which it did in part while the unit slept. Both are
 * forgotten after a while, and where nobody competes.
 */
static must_inline void queue_join(struct sched_queue *q, struct sched_unit *u, ns_t now)
{
    u64 v = queue_virtual_time(q, now);
    s64 lag = u->lag > 0 ? u->lag : MIN((s64)(v - u->vrt), 0L);

    queue_weigh_newcomer(q, u);
    if (lag && q->weight && now - u->left_at < LAG_FORGET)
        v -= (u64)clamp_lag(u, lag);
    u->vrt = v;
    u->vdl = v + to_virtual(u, u->dom->request);
    u->grace = 0;
    if (unlikely(u->dom->params.latency == LATENCY_LOW))
        queue_low_deadline(u);
    queue_add(q, u);
}

/* Its state is saved: a READY one may go anywhere from now on. */
void queue_saved(struct sched_queue *q, struct sched_unit *u);

/* Begins to compete, and enters the line. */
void queue_enter(struct sched *s, struct sched_queue *q, struct sched_unit *u, ns_t now);

/* A competing unit into and out of the line. */
void queue_insert(struct sched *s, struct sched_queue *q, struct sched_unit *u);
void queue_remove(struct sched *s, struct sched_queue *q, struct sched_unit *u);

/* A saved one that may run everywhere. */
static must_inline void queue_insert_usual(struct sched *s, struct sched_queue *q,
                                           struct sched_unit *u)
{
    if (q->nr_ready++) {
        line_insert(q, u);
        return;
    }
    u->before = u->after = NULL;
    q->first = q->last = u;
    /* A fence as well: robbers say that they idle before they look for this bit. */
    if (q->bit)
        __atomic_or_fetch(&s->waiting, q->bit, __ATOMIC_SEQ_CST);
}

static must_inline void queue_remove_usual(struct sched *s, struct sched_queue *q,
                                           struct sched_unit *u)
{
    if (--q->nr_ready) {
        line_remove(q, u);
        return;
    }
    q->first = q->last = NULL;
    if (q->bit)
        __atomic_and_fetch(&s->waiting, ~q->bit, __ATOMIC_RELAXED);
}

/* 'out' leaves the line, and 'in' comes, which was taken off its CPU and is not saved. */
static inline void queue_exchange(struct sched_queue *q, struct sched_unit *in,
                                  struct sched_unit *out)
{
    line_remove(q, out);
    line_insert(q, in);
    q->nr_picky += (u32)in->picky - (u32)out->picky;
    q->nr_odd += 1U - (u32)out->odd;
    q->nr_unsaved += out->on_cpu == NO_CPU;
    in->odd = true;
    out->odd = false;
}

/* A competing unit, out of the line, starts and stops to run. usual: its domain is not metered. */
static inline void queue_start(struct sched_queue *q, struct sched_unit *u, ns_t now,
                               bool usual)
{
    u->charged = now;
    q->charged_sum += now;
    q->nr_run++;
    if (!usual && unlikely(u->dom->metered))
        __atomic_add_fetch(&u->dom->nr_running, 1, __ATOMIC_RELAXED);
}

static inline void queue_stop(struct sched_queue *q, struct sched_unit *u, bool usual)
{
    q->charged_sum -= u->charged;
    q->nr_run--;
    if (!usual && unlikely(u->dom->metered))
        __atomic_sub_fetch(&u->dom->nr_running, 1, __ATOMIC_RELAXED);
}

/* Its run time until now enters its virtual run time and its domain's budget. */
void queue_charge_special(struct sched_unit *u, ns_t d);

static inline u64 queue_charge_usual(struct sched_queue *q, struct sched_unit *u, ns_t now)
{
    u64 d = unit_ran(u, now), v = to_virtual(u, d);

    u->vrt += v;
    q->sum += v * u->weight;
    q->charged_sum += (ns_t)d;
    u->charged += (ns_t)d;
    return d;
}

static inline void queue_charge(struct sched_queue *q, struct sched_unit *u, ns_t now)
{
    u64 d = queue_charge_usual(q, u, now);

    if (unlikely(u->dom->unusual))
        queue_charge_special(u, (ns_t)d);
}

/* What it is when it does not compete. */
static inline void queue_lay_down(struct sched_unit *u, enum unit_state to, ns_t now)
{
    __atomic_sub_fetch(&u->dom->n_active, 1, __ATOMIC_RELAXED);
    unit_set_state(u, to, now);
}

/* A competing unit, in no line and on no CPU, goes to sleep or off. */
static inline void queue_stop_competing(struct sched_queue *q, struct sched_unit *u,
                                        enum unit_state to, ns_t now)
{
    queue_leave(q, u, now);
    queue_lay_down(u, to, now);
}

/*
 * The RUNNING unit off its CPU, charged: it still competes and is in no line. usual: its domain
 * is not of the unusual ones.
 */
static inline void queue_take_off(struct sched_cpu *c, struct sched_queue *q,
                                  struct sched_unit *u, bool usual)
{
    queue_stop(q, u, usual);
    c->current = NULL;
    c->leaving = u;
    c->yielded = false;
    u->blocking = false;
    cpuset_remove(&q->untimed, u->cpu);
}

/* After its allowed CPUs, its queue, or the CPUs of its queue changed. Not in the line. */
static inline void queue_refresh_limited(const struct sched *s, const struct sched_queue *q,
                                         struct sched_unit *u)
{
    cpuset_t pool = {s->pool_cpus[q->pool].bits & s->online};

    u->limited = !cpuset_empty(cpuset_minus(q->cpus, u->allowed));
    u->picky = !cpuset_empty(cpuset_minus(pool, u->allowed));
}

static inline void queue_enter_other(const struct sched *s, struct sched_unit *u,
                                     struct sched_queue *to)
{
    u->queue->nr_units--;
    to->nr_units++;
    u->queue = to;
    u->cluster = to->cluster;
    if (unlikely(u->picky)) /* and who is not is not limited anywhere */
        queue_refresh_limited(s, to, u);
}

/* A unit in no line that does not compete changes its queue and keeps its lag. */
void queue_move(struct sched *s, struct sched_unit *u, struct sched_queue *to, ns_t now);
/* A READY one, also in no line: it keeps what is left of its request, too. 'there': virtual
 * time where it is. */
void queue_transfer(struct sched *s, struct sched_unit *u, struct sched_queue *to, u64 there,
                    ns_t now);

static must_inline void queue_transfer_here(struct sched *s, struct sched_unit *u,
                                            struct sched_queue *q, u64 there, ns_t now)
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
    queue_enter_other(s, u, q);
    queue_weigh_newcomer(q, u);
    queue_add(q, u);
}

#endif
