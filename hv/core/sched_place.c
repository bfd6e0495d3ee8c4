#include "core/sched_place.h"

enum rank place_rank_unusual(const struct sched *s, const struct sched_queue *q,
                             const struct sched_unit *u, u64 v, ns_t now)
{
    struct sched_domain *d = u->dom;

    if (d->special) {
        budget_refill(d, now);
        if (queue_reserved(d))
            return RANK_RESERVED;
    }
    if (!q->slotted)
        return RANK_SINGLE;
    if (d->gang_active)
        return d->windows & BIT(u->queue->index) ? RANK_WINDOW : RANK_STRAGGLER;
    if (d->params.latency != LATENCY_LOW || !unit_eligible(u, v))
        return RANK_SINGLE;
    if (u->state == UNIT_RUNNING && now - s->cpu[u->cpu].picked_at >= BREAK_MAX)
        return RANK_SINGLE;
    return RANK_WINDOW;
}

unsigned place_whole_core(const struct sched *s, cpuset_t from, cpuset_t free)
{
    unsigned cpu;

    while (!cpuset_empty(from)) {
        cpu = cpuset_lowest(from);
        if (place_core_free(s, cpu, free))
            return cpu;
        from = cpuset_minus(from, s->cpu[cpu].core);
    }
    return NO_CPU;
}

/*
 * The last CPU if its core is free, then any free core, then any free thread: next to a busy
 * sibling a unit gets little more than half a core.
 */
static unsigned choose_free(const struct sched *s, const struct sched_unit *u, cpuset_t among,
                            cpuset_t free)
{
    bool last = cpuset_has(among, u->cpu);
    cpuset_t soft = cpuset_and(among, u->soft);
    unsigned cpu;

    if (cpuset_empty(among))
        return NO_CPU;
    if (!cpuset_empty(soft)) {
        among = soft;
        last = cpuset_has(among, u->cpu);
    }
    if (last && place_core_free(s, u->cpu, free))
        return u->cpu;
    cpu = place_whole_core(s, among, free);
    if (cpu != NO_CPU)
        return cpu;
    return last ? u->cpu : cpuset_lowest(among);
}

/* CPUs where it may start now. */
static cpuset_t startable(const struct sched *s, const struct sched_unit *u, cpuset_t free)
{
    cpuset_t usable = cpuset_and(free, u->allowed), left = usable;
    unsigned cpu;

    if (likely(!s->nr_strict))
        return usable;
    for (; !cpuset_empty(left); cpuset_remove(&left, cpu)) {
        cpu = cpuset_lowest(left);
        /* While a core changes over, its CPUs look by themselves, and start nobody else. */
        if (s->core[s->topo.cpu[cpu].core].changing || !beside_allows(s, u->dom, cpu))
            cpuset_remove(&usable, cpu);
    }
    return usable;
}

static unsigned find_free(const struct sched *s, const struct sched_queue *q,
                          const struct sched_unit *u, cpuset_t free)
{
    cpuset_t usable = startable(s, u, free);
    unsigned i, cpu;

    if (cpuset_empty(usable))
        return NO_CPU;
    if (place_goes_back(s, q, u, usable, free))
        return u->cpu;
    cpu = choose_free(s, u, cpuset_and(usable, q->cpus), free);
    for (i = 0; cpu == NO_CPU && i < q->nr_victims; i++)
        cpu = choose_free(s, u, cpuset_and(usable, s->queue[q->victims[i]].cpus), free);
    return cpu;
}

/*
 * With ranks around: CPUs whose units go before 'u' are taken out of *left; returned are those
 * whose units go after it whatever their deadlines are.
 */
static u64 of_lower_rank(const struct sched *s, const struct sched_queue *q,
                         const struct sched_unit *u, u64 v, ns_t now, u64 *left)
{
    enum rank rank = place_rank(s, q, u, v, now), its;
    u64 lower = 0, rest;

    for (rest = *left; rest; rest &= rest - 1) {
        const struct sched_cpu *c = &s->cpu[cpuset_lowest((cpuset_t){rest})];

        its = c->current ? place_rank(s, q, c->current, v, now) : rank;
        if (its < rank)
            *left &= ~(rest & -rest);
        else if (its > rank)
            lower |= rest & -rest;
    }
    return lower;
}

/*
 * The CPU whose unit is the least urgent: of those that had their minimum the one with the
 * latest deadline, else the one that has it first; its pick sets a timer then, unless it has
 * one. NO_CPU: nobody is to be kicked.
 */
static unsigned find_victim(const struct sched *s, const struct sched_queue *q,
                            const struct sched_unit *u, u64 v, ns_t now)
{
    bool boost = now < u->boost_until, fair = boost || unit_eligible(u, v);
    bool ranked = u->dom->special || q->slotted;
    ns_t gran = boost ? 0 : place_gran(u), soonest = NEVER;
    const struct sched_cpu *c, *best = NULL, *first = NULL;
    u64 left = q->cpus.bits & u->allowed.bits & ~__atomic_load_n(&s->kicked, __ATOMIC_RELAXED);
    u64 latest, lower = 0;

    if (unlikely(ranked))
        lower = of_lower_rank(s, q, u, v, now, &left);
    if (boost)
        lower = left;
    latest = u->vdl;
    for (left = fair ? left : lower; left; left &= left - 1) {
        c = &s->cpu[cpuset_lowest((cpuset_t){left})];
        if (!c->current || !(virtual_before(u->vdl, c->current->vdl) || lower & left & -left))
            continue;
        if (unlikely(c->current->dom->special) && !ranked &&
            place_rank(s, q, c->current, v, now) == RANK_RESERVED)
            continue;
        if (now - c->picked_at >= gran) {
            if (best && !virtual_before(latest, c->current->vdl))
                continue;
            best = c;
            latest = c->current->vdl;
        } else if (c->picked_at < soonest) {
            first = c;
            soonest = c->picked_at;
        }
    }
    if (!best && first && first->until > soonest + gran)
        best = first;
    return best ? (unsigned)(best - s->cpu) : NO_CPU;
}

void place_some_timer(struct sched *s, struct sched_queue *q, cpuset_t *kick)
{
    cpuset_t left = q->cpus;
    ns_t due, first = NEVER;
    unsigned cpu, chosen = NO_CPU;
    const struct sched_cpu *c;

    for (; !cpuset_empty(left); cpuset_remove(&left, cpu)) {
        cpu = cpuset_lowest(left);
        c = &s->cpu[cpu];
        if (!c->current)
            continue;
        due = c->until;
        if (cpuset_has(q->untimed, cpu))
            due = c->current->charged + unit_remaining(c->current);
        if (due < first) {
            first = due;
            chosen = cpu;
        }
    }
    if (chosen == NO_CPU || !cpuset_has(q->untimed, chosen))
        return;
    cpuset_remove(&q->untimed, chosen);
    queue_kick(s, chosen, kick);
}

void place_anywhere(struct sched *s, struct sched_queue *q, struct sched_unit *u, ns_t now,
                    cpuset_t *kick)
{
    cpuset_t free = place_free(s);
    unsigned cpu = cpuset_empty(free) ? NO_CPU : find_free(s, q, u, free);
    if (cpu == NO_CPU) {
        cpu = find_victim(s, q, u, queue_virtual_time(q, now), now);
        if (unlikely(q->nr_picky || s->nr_strict))
            place_idle(s, q, kick);
        if (unlikely(s->nr_strict))
            place_elsewhere(s, q, kick);
    }
    if (cpu != NO_CPU)
        queue_kick(s, cpu, kick);
    if (cpu == NO_CPU || !cpuset_has(q->cpus, cpu)) /* elsewhere it may find other work */
        place_timer(s, q, kick);
}

void place_ready(struct sched *s, struct sched_queue *q, struct sched_unit *u, ns_t now,
                 cpuset_t *kick)
{
    if (u->on_cpu == NO_CPU)
        place_saved(s, q, u, now, kick);
    /* Its old CPU may be the only one for a while; others hear of it in sched_saved(). */
    else if (__atomic_load_n(&s->idle, __ATOMIC_RELAXED) & BIT(u->on_cpu))
        queue_kick(s, u->on_cpu, kick);
}

void place_newcomer(struct sched *s, struct sched_queue *q, struct sched_unit *u, ns_t now,
                    cpuset_t *kick)
{
    queue_enter(s, q, u, now);
    place_ready(s, q, u, now, kick);
}

/* Saved READY units of the pool for which nobody is on the way. */
static s64 nr_unserved(const struct sched *s, const struct sched_queue *q)
{
    cpuset_t told = {s->idle & s->kicked & s->pool_cpus[q->pool].bits};
    const struct sched_queue *other;
    s64 n = q->nr_ready - q->nr_unsaved;
    unsigned i;

    for (i = 0; i < q->nr_victims; i++) {
        other = &s->queue[q->victims[i]];
        n += __atomic_load_n(&other->nr_ready, __ATOMIC_RELAXED) - other->nr_unsaved;
    }
    return n - (s64)count_cpus(told);
}

void place_some_idle(struct sched *s, struct sched_queue *q, cpuset_t *kick)
{
    bool all = q->nr_picky || s->nr_strict;
    struct sched_unit *u;
    unsigned cpu;
    s64 n;

    /* Some can use few CPUs only: who takes whom is open, so all that can be used are told. */
    n = all ? CPUSET_MAX : nr_unserved(s, q);
    for (u = q->first; u && n > 0; u = u->after) {
        if (u->on_cpu != NO_CPU)
            continue;
        while (n-- > 0 && (cpu = find_free(s, q, u, place_free(s))) != NO_CPU) {
            queue_kick(s, cpu, kick);
            if (!all)
                break;
        }
    }
}

/*
 * This CPU was told to look, perhaps for somebody in another queue, and found work of its own:
 * others are told instead, which is guesswork without that queue's lock.
 */
void place_elsewhere(struct sched *s, struct sched_queue *q, cpuset_t *kick)
{
    cpuset_t free = cpuset_and(place_free(s), s->pool_cpus[q->pool]);
    bool picky = s->nr_strict;
    unsigned i, cpu;
    s64 n;

    if (cpuset_empty(free) || !place_stealable(s, q))
        return;
    for (i = 0; i < q->nr_victims; i++)
        picky |= s->queue[q->victims[i]].nr_picky;
    n = picky ? CPUSET_MAX : nr_unserved(s, q);
    for (; n > 0 && !cpuset_empty(free); n--) {
        cpu = cpuset_lowest(free);
        cpuset_remove(&free, cpu);
        queue_kick(s, cpu, kick);
    }
}

/* Lower is better: the eligible by deadline, which is the line's order, others by vrt. */
static bool better(const struct sched_unit *u, const struct sched_unit *than, u64 v)
{
    if (unit_eligible(than, v))
        return false;
    return unit_eligible(u, v) || virtual_before(u->vrt, than->vrt);
}

struct sched_unit *place_best_of_odd(struct sched *s, struct sched_queue *q, unsigned cpu,
                                     u64 v, ns_t now, bool strict)
{
    struct sched_unit *u, *best = NULL;
    enum rank r, best_rank = RANK_STRAGGLER;
    bool home;

    for (u = q->first; u; u = u->after) {
        if (!place_may_run(u, cpu) || (strict && !beside_allows(s, u->dom, cpu)))
            continue;
        r = place_rank(s, q, u, v, now);
        /* In a window all run at once: each where it ran. */
        home = r == RANK_WINDOW && u->cpu == cpu && best && best->cpu != cpu;
        if (best && (r > best_rank || (r == best_rank && !home && !better(u, best, v))))
            continue;
        best = u;
        best_rank = r;
    }
    return best;
}

void place_pull(struct sched *s, struct sched_queue *from, struct sched_unit *u, unsigned cpu,
                u64 v, ns_t now)
{
    queue_remove(s, from, u);
    queue_transfer(s, u, s->cpu[cpu].queue, v, now);
}

/* From a queue whose lock is held, and where not everybody is like others. */
static __noinline __cold struct sched_unit *take_odd(struct sched *s, struct sched_queue *from,
                                                     unsigned cpu, ns_t now, cpuset_t *kick)
{
    struct sched_unit *u;
    u64 v;

    do {
        v = queue_virtual_time(from, now);
        u = place_best_of_odd(s, from, cpu, v, now, s->nr_strict);
    } while (u && u->dom->metered && budget_parks(s, from, u->dom, now, kick));
    if (u)
        place_pull(s, from, u, cpu, v, now);
    return u;
}

static inline struct sched_unit *take(struct sched *s, struct sched_queue *from, unsigned cpu,
                                      ns_t now, cpuset_t *kick)
{
    struct sched_unit *u = from->first;
    u64 v;

    if (unlikely(!u))
        return NULL;
    v = queue_virtual_time(from, now);
    if (likely(!(from->nr_odd | from->nr_picky | s->nr_strict | from->slotted)))
        u = line_best(from, v);
    if (unlikely(from->nr_odd | from->nr_picky | s->nr_strict | from->slotted) ||
        u->dom->metered)
        return take_odd(s, from, cpu, now, kick);
    queue_remove_usual(s, from, u);
    queue_transfer_here(s, u, s->cpu[cpu].queue, v, now);
    return u;
}

struct sched_unit *place_steal(struct sched *s, unsigned cpu, ns_t now, cpuset_t *kick)
{
    struct sched_cpu *c = &s->cpu[cpu];
    struct sched_queue *q = c->queue, *from;
    u64 waiting = place_stealable(s, q);
    struct sched_unit *u;
    const u8 *victim;

    for (victim = q->victims; victim < q->victims + q->nr_victims; victim++) {
        from = &s->queue[*victim];
        if (!(waiting & from->bit))
            continue;
        if (!s->ops.try_lock(from->cluster)) {
            c->looking = c->rare = true;
            continue;
        }
        u = take(s, from, cpu, now, kick);
        s->ops.unlock(from->cluster);
        if (u) {
            c->stats.steals++;
            c->looking = false;
            return u;
        }
    }
    return NULL;
}
