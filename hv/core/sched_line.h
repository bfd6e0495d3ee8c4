/*
 * The READY units of a queue: a list in the order of virtual deadlines, first come first among
 * equals. Who begins a request has one of the latest deadlines, and who is chosen one of the
 * earliest, so both ends are mostly where to look: with the few that wait that is less than a
 * balanced tree costs, and with many hardly more.
 *
 * Caller serialises. Virtual times wrap: they are compared by their difference.
 */
#ifndef SERAI_CORE_SCHED_LINE_H
#define SERAI_CORE_SCHED_LINE_H

#include "core/sched_state.h"

static inline bool virtual_before(u64 a, u64 b)
{
    return (s64)(a - b) < 0;
}

/* From when on it is eligible. */
static inline u64 line_from(const struct sched_unit *u)
{
    return u->vrt - u->grace;
}

static inline void line_insert(struct sched_queue *q, struct sched_unit *u)
{
    struct sched_unit *before = q->last;

    if (before && virtual_before(u->vdl, q->first->vdl))
        before = NULL;
    while (before && virtual_before(u->vdl, before->vdl))
        before = before->before;
    u->before = before;
    u->after = before ? before->after : q->first;
    *(before ? &before->after : &q->first) = u;
    *(u->after ? &u->after->before : &q->last) = u;
}

static inline void line_remove(struct sched_queue *q, struct sched_unit *u)
{
    *(u->before ? &u->before->after : &q->first) = u->after;
    *(u->after ? &u->after->before : &q->last) = u->before;
}

/* Somebody waits: the earliest deadline among units that are eligible at v, or who is so first. */
static inline struct sched_unit *line_best(const struct sched_queue *q, u64 v)
{
    struct sched_unit *u, *least = q->first;

    for (u = least; u; u = u->after) {
        if (likely(!virtual_before(v, line_from(u))))
            return u;
        if (virtual_before(line_from(u), line_from(least)))
            least = u;
    }
    return least;
}

#endif
