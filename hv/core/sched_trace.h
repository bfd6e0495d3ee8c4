/*
 * The trace: everything that goes into the policy and what it answered, in the order of the
 * calls within a cluster, so that a simulator can repeat it. 'more' and 'arg' are 0 where no
 * meaning is given.
 *
 *      kind          cpu   unit  arg                            more
 *      ONLINE              x
 *      OFFLINE             x
 *      WAKE          last  x     enum sched_wake
 *      BLOCK         on    x
 *      YIELD         on    x     unit of 'to' + 1, or 0
 *      SAVED         on    x
 *      PICK          on    x     time of the next pick          CPUs kicked
 *      IDLE          on          time of the next pick          CPUs kicked
 *      PARAMS                    weight | gang << 32 | latency << 40    cap | reservation << 32
 *      AFFINITY            x     hard                           soft
 *      CPU           cpu         1: online
 *      POOL                      CPUs                           pool
 *      MOVE                      pool
 *      DOMAIN                    1: made, 0: removed
 *      UNIT                x     1: made, 0: removed
 */
#ifndef SERAI_CORE_SCHED_TRACE_H
#define SERAI_CORE_SCHED_TRACE_H

#include "core/sched_state.h"

enum sched_trace_kind {
    TRACE_NONE,
    TRACE_ONLINE,
    TRACE_OFFLINE,
    TRACE_WAKE,
    TRACE_BLOCK,
    TRACE_YIELD,
    TRACE_SAVED,
    TRACE_PICK,
    TRACE_IDLE,
    TRACE_PARAMS,
    TRACE_AFFINITY,
    TRACE_CPU,
    TRACE_POOL,
    TRACE_MOVE,
    TRACE_DOMAIN,
    TRACE_UNIT,
};

void trace_write(struct sched *s, struct sched_trace t);

static inline void trace_other(struct sched *s, enum sched_trace_kind kind, unsigned cpu,
                               unsigned dom, unsigned unit, ns_t now, u64 arg, u64 more)
{
    if (unlikely(s->ring))
        trace_write(
            s, (struct sched_trace){now, arg, more, (u16)kind, (u16)cpu, (u16)dom, (u16)unit});
}

static inline void trace_unit(struct sched *s, enum sched_trace_kind kind,
                              const struct sched_unit *u, ns_t now, u64 arg, u64 more)
{
    if (unlikely(s->ring))
        trace_other(s, kind, u->cpu, u->dom->id, u->id, now, arg, more);
}

#endif
