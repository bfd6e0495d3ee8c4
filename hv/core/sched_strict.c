#include "core/sched_strict.h"

#define DWELL   (1 * MS)  /* a core does not change over more often */
#define GIVE_UP (1 * MS)  /* a change that was overtaken by events */
#define LOOK    (50 * US) /* while a change is under way; the last one saved kicks anyway */

static struct sched_domain *kind(const struct sched_unit *u)
{
    return u->dom->params.gang == GANG_STRICT ? u->dom : NULL;
}

static void kick_others(struct sched *s, unsigned cpu, cpuset_t *kick)
{
    cpuset_t others = cpuset_minus(s->cpu[cpu].core, cpuset_of(cpu));

    for (; !cpuset_empty(others); others.bits &= others.bits - 1)
        queue_kick(s, cpuset_lowest(others), kick);
}

/* 'u' goes before everything that the other threads run. */
static bool beats_others(struct sched *s, struct sched_queue *q, unsigned cpu,
                         const struct sched_unit *u, u64 v, ns_t now, ns_t *soon)
{
    cpuset_t others = cpuset_minus(s->cpu[cpu].core, cpuset_of(cpu));
    struct sched_unit *x;

    for (; !cpuset_empty(others); others.bits &= others.bits - 1) {
        x = s->cpu[cpuset_lowest(others)].current;
        if (!x || beside_same(x->dom, u->dom) || x->queue != q)
            continue;
        queue_charge(q, x, now);
        if (!choose_takes_over(s, q, u, x, !virtual_before(x->vrt, x->vdl), v, now, soon))
            return false;
    }
    return true;
}

/* The new kind has the core already: what it waited for may have been a unit that was not saved. */
static bool is_over(const struct sched *s, unsigned cpu)
{
    const struct sched_core *k = &s->core[s->topo.cpu[cpu].core];
    cpuset_t left = s->cpu[cpu].core;
    const struct sched_unit *x;

    for (; !cpuset_empty(left); left.bits &= left.bits - 1) {
        x = s->cpu[cpuset_lowest(left)].current;
        if (x && kind(x) == k->want && beside_allows(s, x->dom, x->cpu))
            return true;
    }
    return false;
}

/*
 * A change is under way: NULL until the others are gone, or when the units of the new kind are
 * for other threads of the core. 'cur' is of the old kind, or NULL.
 */
static struct sched_unit *choose_new_kind(struct sched *s, unsigned cpu, struct sched_unit *cur,
                                          u64 v, ns_t now, ns_t *soon, cpuset_t *kick)
{
    struct sched_core *k = &s->core[s->topo.cpu[cpu].core];
    struct sched_queue *q = s->cpu[cpu].queue;
    struct sched_unit *u, *best = NULL;
    bool wanted = false;

    for (u = q->first; u; u = u->after) {
        if (kind(u) != k->want)
            continue;
        wanted |= !cpuset_empty(cpuset_and(u->allowed, s->cpu[cpu].core));
        if (place_may_run(u, cpu) &&
            (!best || (!unit_eligible(best, v) && unit_eligible(u, v))))
            best = u;
    }
    if (!wanted) { /* overtaken by events */
        k->changing = false;
        kick_others(s, cpu, kick);
        return cur ? cur : place_best(s, q, cpu, v, now, true);
    }
    if (best && beside_allows(s, best->dom, cpu)) {
        k->changing = false;
        k->since = now;
        return best;
    }
    *soon = MIN(*soon, now + LOOK);
    return NULL;
}

struct sched_unit *strict_choose(struct sched *s, unsigned cpu, ns_t now, bool done, ns_t *soon,
                                 cpuset_t *kick)
{
    struct sched_cpu *c = &s->cpu[cpu];
    struct sched_queue *q = c->queue;
    struct sched_core *k = &s->core[s->topo.cpu[cpu].core];
    struct sched_unit *cur = c->current, *any, *best;
    u64 v = queue_virtual_time(q, now);

    if (cur && !beside_allows(s, cur->dom, cpu))
        cur = NULL;
    if (k->changing && (now - k->since > GIVE_UP || is_over(s, cpu)))
        k->changing = false;
    if (k->changing)
        return choose_new_kind(s, cpu, cur, v, now, soon, kick);
    do
        any = place_best(s, q, cpu, v, now, false);
    while (any && any->dom->metered && budget_parks(s, q, any->dom, now, kick));
    if (!any)
        return cur;
    if (cur && c->yielded) {
        best = choose_yielded(s, cpu, any, v);
        if (best && beside_allows(s, best->dom, cpu))
            return best;
        done = true;
    }
    if (beside_allows(s, any->dom, cpu))
        best = any;
    else if (now - k->since >= DWELL && beats_others(s, q, cpu, any, v, now, soon) &&
             (!cur || choose_takes_over(s, q, any, cur, done, v, now, soon))) {
        k->changing = true;
        k->want = kind(any);
        k->since = now;
        kick_others(s, cpu, kick);
        *soon = MIN(*soon, now + LOOK);
        return NULL;
    } else {
        best = place_best(s, q, cpu, v, now, true);
        *soon = MIN(*soon, (now - k->since < DWELL ? k->since : now) + DWELL);
    }
    if (!cur || !best)
        return cur ? cur : best;
    return choose_takes_over(s, q, best, cur, done, v, now, soon) ? best : cur;
}

void strict_started(struct sched *s, unsigned cpu, cpuset_t *kick)
{
    cpuset_t idle = {s->idle & s->cpu[cpu].core.bits};
    struct sched_queue *q;
    unsigned i;

    for (; !cpuset_empty(idle); cpuset_remove(&idle, i)) {
        i = cpuset_lowest(idle);
        if (!(s->kicked & BIT(i)) && !s->cpu[i].looking)
            continue;
        q = s->cpu[i].queue;
        place_idle(s, q, kick);
        place_elsewhere(s, q, kick);
    }
}

void strict_saved(struct sched *s, unsigned cpu, cpuset_t *kick)
{
    cpuset_t others = cpuset_minus(s->cpu[cpu].core, cpuset_of(cpu));
    const struct sched_queue *q;
    unsigned other;

    others.bits &= __atomic_load_n(&s->idle, __ATOMIC_RELAXED);
    for (; !cpuset_empty(others); cpuset_remove(&others, other)) {
        other = cpuset_lowest(others);
        q = s->cpu[other].queue;
        if (q->nr_ready || place_stealable(s, q))
            queue_kick(s, other, kick);
    }
}

void strict_account(struct sched *s, unsigned cpu, ns_t d)
{
    struct sched_cpu *c = &s->cpu[cpu];
    cpuset_t others = cpuset_minus(c->core, cpuset_of(cpu));
    struct sched_unit *x;

    for (; !cpuset_empty(others); others.bits &= others.bits - 1) {
        x = s->cpu[cpuset_lowest(others)].current;
        if (!x)
            continue;
        __atomic_add_fetch(&x->dom->gang_stats.forced_idle, d, __ATOMIC_RELAXED);
        return;
    }
}
