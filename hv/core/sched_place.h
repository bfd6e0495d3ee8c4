/*
 * Where a READY unit should run, and where an idle CPU finds work. Internal to core/sched_*.
 * The caller holds the lock of the unit's or CPU's cluster.
 */
#ifndef SERAI_CORE_SCHED_PLACE_H
#define SERAI_CORE_SCHED_PLACE_H

#include "core/sched_beside.h"
#include "core/sched_budget.h"

#define GRAN_LATENCY (100 * US)
#define GRAN         (1 * MS)
#define NAP          (1 * MS)
#define BREAK_MAX    (400 * US) /* of a latency unit in somebody's window */

/* Lower goes first; within a rank virtual time decides. */
enum rank {
    RANK_RESERVED, /* its domain has reserved time left */
    RANK_WINDOW,   /* its gang has this slot */
    RANK_SINGLE,
    RANK_STRAGGLER, /* its gang has another slot */
};
enum rank place_rank_unusual(const struct sched *s, const struct sched_queue *q,
                             const struct sched_unit *u, u64 v, ns_t now);

static inline enum rank place_rank(const struct sched *s, const struct sched_queue *q,
                                   const struct sched_unit *u, u64 v, ns_t now)
{
    if (likely(!u->dom->special && !q->slotted))
        return RANK_SINGLE;
    return place_rank_unusual(s, q, u, v, now);
}

/* May this READY unit start on 'cpu', as far as the unit is concerned? */
static inline bool place_may_run(const struct sched_unit *u, unsigned cpu)
{
    return cpuset_has(u->allowed, cpu) &&
           (u->on_cpu == NO_CPU || (u->on_cpu == cpu && !u->blocking));
}

/* How long the current unit is safe from being preempted by 'u'. */
static inline ns_t place_gran(const struct sched_unit *u)
{
    if (u->dom->params.latency == LATENCY_LOW)
        return GRAN_LATENCY;
    return unit_urgent(u) ? URGENT : GRAN;
}

/* Idle and not yet told to look for work. */
static inline cpuset_t place_free(const struct sched *s)
{
    u64 idle = __atomic_load_n(&s->idle, __ATOMIC_SEQ_CST);

    return (cpuset_t){idle & ~__atomic_load_n(&s->kicked, __ATOMIC_SEQ_CST)};
}

static inline bool place_core_free(const struct sched *s, unsigned cpu, cpuset_t free)
{
    return cpuset_empty(cpuset_minus(s->cpu[cpu].core, free));
}

/*
 * After a nap a unit goes back to its last CPU even if the sibling there is busy: its state is
 * still in that CPU's registers and caches, and those who work for long are spread anyway.
 */
static inline bool place_goes_back(const struct sched *s, const struct sched_queue *q,
                                   const struct sched_unit *u, cpuset_t usable, cpuset_t free)
{
    return q->cpus.bits & usable.bits & u->soft.bits & BIT(u->cpu) &&
           (place_core_free(s, u->cpu, free) || u->since - u->left_at < NAP);
}

/* A unit became READY: kick an idle CPU for it, or one that it should preempt. */
void place_ready(struct sched *s, struct sched_queue *q, struct sched_unit *u, ns_t now,
                 cpuset_t *kick);
void place_anywhere(struct sched *s, struct sched_queue *q, struct sched_unit *u, ns_t now,
                    cpuset_t *kick);

/* One that is saved. */
static must_inline void place_saved(struct sched *s, struct sched_queue *q,
                                    struct sched_unit *u, ns_t now, cpuset_t *kick)
{
    cpuset_t free = place_free(s);

    if (likely(!s->nr_strict && place_goes_back(s, q, u, cpuset_and(free, u->allowed), free)))
        queue_kick(s, u->cpu, kick);
    else
        place_anywhere(s, q, u, now, kick);
}

/* It begins to compete, too. */
void place_newcomer(struct sched *s, struct sched_queue *q, struct sched_unit *u, ns_t now,
                    cpuset_t *kick);

/* Kick idle CPUs as long as there are READY units that nobody was kicked for. */
void place_some_idle(struct sched *s, struct sched_queue *q, cpuset_t *kick);

static inline void place_idle(struct sched *s, struct sched_queue *q, cpuset_t *kick)
{
    if (unlikely(place_free(s).bits & s->pool_cpus[q->pool].bits))
        place_some_idle(s, q, kick);
}

/* Others' queues where somebody waits. */
static inline u64 place_stealable(const struct sched *s, const struct sched_queue *q)
{
    return __atomic_load_n(&s->waiting, __ATOMIC_SEQ_CST) & q->neighbours;
}

/* A CPU that was told to look for others' work found its own. */
void place_elsewhere(struct sched *s, struct sched_queue *q, cpuset_t *kick);

/*
 * A CPU that had nothing waiting set no timer. Now that somebody waits, the CPU whose unit has
 * its turn over first needs one: it is kicked, to set it.
 */
void place_some_timer(struct sched *s, struct sched_queue *q, cpuset_t *kick);

static inline void place_timer(struct sched *s, struct sched_queue *q, cpuset_t *kick)
{
    if (unlikely(!cpuset_empty(q->untimed)))
        place_some_timer(s, q, kick);
}

/* With restrictions or ranks, which are rare, the whole line is read. */
struct sched_unit *place_best_of_odd(struct sched *s, struct sched_queue *q, unsigned cpu,
                                     u64 v, ns_t now, bool strict);

/*
 * The most urgent READY unit that may run here, or NULL. 'strict': not beside another domain
 * where that is forbidden.
 */
static inline struct sched_unit *place_best(struct sched *s, struct sched_queue *q,
                                            unsigned cpu, u64 v, ns_t now, bool strict)
{
    if (unlikely(q->nr_odd || q->slotted || strict))
        return place_best_of_odd(s, q, cpu, v, now, strict);
    return line_best(q, v);
}

/*
 * For an idle CPU: a unit from the nearest queue that has one, moved to this queue; or NULL.
 * 'looking' says that a lock was taken: it has to look again.
 */
struct sched_unit *place_steal(struct sched *s, unsigned cpu, ns_t now, cpuset_t *kick);

/*
 * A READY unit from a queue whose lock is held, and whose virtual time is v, to that of 'cpu',
 * where it is in no line yet.
 */
void place_pull(struct sched *s, struct sched_queue *from, struct sched_unit *u, unsigned cpu,
                u64 v, ns_t now);

/* One of 'from' whose whole core is in 'free'; NO_CPU: none. */
unsigned place_whole_core(const struct sched *s, cpuset_t from, cpuset_t free);

#endif
