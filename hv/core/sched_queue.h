/*
 * One run queue: virtual time, weights, and who is in it. Internal to core/sched_*.
 *
 * A unit "competes" in its queue while it is READY or RUNNING: it counts in virtual time and
 * weight. READY ones are in the tree as well. Virtual time is the weighted mean of vrt; what
 * RUNNING units did since they were charged is added in one go, because weight * virtual run
 * time is real run time whatever the weight.
 *
 * The caller holds the lock of the queue's cluster.
 */
#ifndef SERAI_CORE_SCHED_QUEUE_H
#define SERAI_CORE_SCHED_QUEUE_H

#include "core/sched_tree.h"

#define NEVER INT64_MAX

#define US 1000L
#define MS 1000000L

/* Weights have 6 bits below the point; a unit of weight 256 runs at 1 virtual ns per ns. */
#define WEIGHT_SHIFT  6
#define UNIT_SHIFT    14
#define INVERSE_SHIFT 36

#define LAG_MAX    (10 * MS)
#define LAG_FORGET (100 * MS)

static inline u64 to_virtual(const struct sched_unit *u, ns_t d)
{
    return (u64)((unsigned __int128)(u64)d * u->inverse >> (INVERSE_SHIFT - UNIT_SHIFT));
}

static inline ns_t to_real(const struct sched_unit *u, u64 v)
{
    return (ns_t)((unsigned __int128)v * u->weight >> UNIT_SHIFT);
}

static inline struct sched_queue *queue_of(struct sched *s, const struct sched_unit *u)
{
    return &s->queue[u->queue];
}

/* How long until its request is finished. */
static inline ns_t unit_remaining(const struct sched_unit *u)
{
    return virtual_before(u->vrt, u->vdl) ? to_real(u, u->vdl - u->vrt) : 0;
}

/* 'cpu' has to pick soon; once is enough. */
static inline void queue_kick(struct sched *s, unsigned cpu, cpuset_t *kick)
{
    u64 old = __atomic_fetch_or(&s->kicked, BIT(cpu), __ATOMIC_SEQ_CST);

    if (!(old & BIT(cpu)))
        cpuset_add(kick, cpu);
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

static inline void unit_set_state(struct sched_unit *u, enum unit_state state, ns_t now)
{
    u->stats.time[u->state] += now - u->since;
    u->state = (u8)state;
    u->since = now;
}

/* Its lag is not negative, or covered by its grace: it may be chosen by its deadline. */
static inline bool unit_eligible(const struct sched_unit *u, u64 v)
{
    return !virtual_before(v, tree_from(u));
}

/* How long this unit runs per request. */
ns_t queue_request(const struct sched_unit *u);

typedef __int128 wide_t;

static inline void queue_rebase(struct sched_queue *q, s64 by)
{
    q->base += (u64)by;
    q->sum -= (wide_t)by * q->weight;
}

/* For a queue that nobody looked at for hours: until 64 bits suffice. */
void queue_catch_up(struct sched_queue *q, wide_t running);

/* The base follows virtual time, so that the sum stays small. */
static inline u64 queue_virtual_time(struct sched_queue *q, ns_t now)
{
    wide_t running = (wide_t)((s64)q->nr_run * now - q->charged_sum) << UNIT_SHIFT;
    wide_t sum = q->sum + running;

    if (unlikely(!q->weight))
        return q->base;
    if (unlikely((s64)sum != sum)) {
        queue_catch_up(q, running);
        sum = q->sum + running;
    }
    queue_rebase(q, (s64)sum / (s64)q->weight);
    return q->base;
}

/* Its weight changes with the number of active siblings; call while it competes or not. */
void queue_refresh_weight(struct sched *s, struct sched_queue *q, struct sched_unit *u);

/* Begins to compete, with the lag that it left with as far as that still counts. */
void queue_join(struct sched *s, struct sched_queue *q, struct sched_unit *u, ns_t now);
void queue_leave(struct sched_queue *q, struct sched_unit *u, ns_t now);

/* Its state is saved: a READY one may go anywhere from now on. */
void queue_saved(struct sched_queue *q, struct sched_unit *u);

/* A competing unit into and out of the tree. */
void queue_insert(struct sched_queue *q, struct sched_unit *u);
void queue_remove(struct sched_queue *q, struct sched_unit *u);

/* The only one that is READY. */
static inline void queue_remove_only(struct sched_queue *q)
{
    q->nr_picky = 0;
    q->nr_ready = 0;
    q->root = NULL;
}

/* A competing unit, out of the tree, starts and stops to run. */
static inline void queue_start(struct sched_queue *q, struct sched_unit *u, ns_t now)
{
    u->charged = now;
    q->charged_sum += now;
    q->nr_run++;
    if (unlikely(u->dom->metered))
        __atomic_add_fetch(&u->dom->nr_running, 1, __ATOMIC_RELAXED);
}

static inline void queue_stop(struct sched_queue *q, struct sched_unit *u)
{
    q->charged_sum -= u->charged;
    q->nr_run--;
    if (unlikely(u->dom->metered))
        __atomic_sub_fetch(&u->dom->nr_running, 1, __ATOMIC_RELAXED);
}

/* Its run time until now enters its virtual run time and its domain's budget. */
void queue_charge_special(struct sched_unit *u, ns_t d);

static inline void queue_charge(struct sched_queue *q, struct sched_unit *u, ns_t now)
{
    ns_t d = now - u->charged;
    u64 v;

    if (unlikely(d <= 0))
        return;
    v = to_virtual(u, d);
    u->vrt += v;
    q->sum += (wide_t)v * u->weight;
    q->charged_sum += d;
    u->charged = now;
    if (unlikely(u->dom->gang_active || u->dom->metered))
        queue_charge_special(u, d);
}

/* Sleeping or off -> READY. */
void queue_become_ready(struct sched *s, struct sched_queue *q, struct sched_unit *u, ns_t now);
/* A competing unit, in no tree and on no CPU, goes to sleep or off. */
void queue_stop_competing(struct sched_queue *q, struct sched_unit *u, enum unit_state to,
                          ns_t now);
/* The RUNNING unit off its CPU, charged: it still competes and is in no tree. */
void queue_take_off(struct sched *s, struct sched_queue *q, struct sched_unit *u, ns_t now);

/* After its allowed CPUs, its queue, or the CPUs of its queue changed. Not in the tree. */
static inline void queue_refresh_limited(const struct sched *s, const struct sched_queue *q,
                                         struct sched_unit *u)
{
    cpuset_t pool = {s->pool_cpus[q->pool].bits & s->online};

    u->limited = !cpuset_empty(cpuset_minus(q->cpus, u->allowed));
    u->picky = !cpuset_empty(cpuset_minus(pool, u->allowed));
}

/* A unit in no tree that does not run changes its queue and keeps its lag. */
void queue_move(struct sched *s, struct sched_unit *u, unsigned to, ns_t now);

#endif
