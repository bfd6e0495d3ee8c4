#include "core/sched.h"
#include "core/sched_balance.h"
#include "core/sched_gang.h"
#include "core/sched_spread.h"
#include "core/sched_strict.h"
#include "core/sched_trace.h"

#define MIN_TIMER   (20 * US)
#define STEAL_AGAIN (20 * US)

/*
 * Forgets what the last pick and later kicks said about this CPU. True: it was idle and told to
 * look for work.
 */
static inline bool awake(struct sched *s, const struct sched_cpu *c, unsigned cpu)
{
    u64 bit = BIT(cpu), kicked = s->kicked & bit, idle = s->idle & bit;

    if (kicked)
        __atomic_and_fetch(&s->kicked, ~bit, __ATOMIC_SEQ_CST);
    if (idle)
        __atomic_and_fetch(&s->idle, ~bit, __ATOMIC_SEQ_CST);
    return (kicked && idle) || c->looking;
}

static inline void fall_asleep(struct sched *s, struct sched_queue *q, struct sched_unit *u,
                               ns_t now)
{
    if (unlikely(u->dom->params.gang == GANG_AUTO))
        __atomic_add_fetch(&u->dom->seen_blocks, 1, __ATOMIC_RELAXED);
    queue_take_off(&s->cpu[u->cpu], q, u, false);
    queue_stop_competing(q, u, UNIT_BLOCKED, now);
}

/* The current unit's time is counted, it leaves if it must. True: its request is finished. */
static bool settle_current(struct sched *s, struct sched_queue *q, struct sched_unit *u,
                           ns_t now, cpuset_t *kick)
{
    queue_charge(q, u, now);
    if (unlikely(u->dom->params.gang == GANG_AUTO))
        gang_judge(s, q, u->dom, now);
    if (u->blocking) {
        fall_asleep(s, q, u, now);
        return true;
    }
    if (unlikely(u->dom->metered) && budget_settle(s, q, u->dom, now)) {
        queue_take_off(&s->cpu[u->cpu], q, u, false);
        budget_park(q, u, now);
        budget_park_domain(s, q, u->dom, now, kick);
        return true;
    }
    queue_refresh_weight(q, u);
    if (virtual_before(u->vrt, u->vdl))
        return false;
    queue_renew(q, u, queue_virtual_time(q, now), now);
    return true;
}

/* A latency unit goes into the window of gangs. */
static void note_break(struct sched *s, const struct sched_unit *u)
{
    struct sched_domain *d;

    for (d = s->domains; d; d = d->next) {
        if (d->windows & BIT(u->queue->index))
            __atomic_add_fetch(&d->gang_stats.breaks, 1, __ATOMIC_RELAXED);
    }
}

static bool is_break(const struct sched_queue *q, const struct sched_unit *u)
{
    return q->slotted && u->dom->params.latency == LATENCY_LOW && !u->dom->gang_active;
}

static inline void note_start(struct sched *s, struct sched_unit *u, unsigned cpu, ns_t now)
{
    unsigned slot;

    u->stats.picks++;
    if (u->cpu != cpu)
        u->stats.migrations[s->distance[cpu][u->cpu]]++;
    if (!u->woken)
        return;
    slot = now - u->since < 2048 ? 0 : 53 - (unsigned)__builtin_clzl((u64)(now - u->since));
    u->stats.latency[MIN(slot, SCHED_LATENCIES - 1U)]++;
    u->woken = false;
}

/* usual: as with queue_start(), and no gang has a window. */
static must_inline void start(struct sched *s, struct sched_queue *q, struct sched_unit *u,
                              unsigned cpu, ns_t now, bool usual)
{
    struct sched_cpu *c = &s->cpu[cpu];

    if (c->leaving == u)
        c->leaving = NULL;
    c->current = u;
    c->picked_at = now;
    if (unlikely(unit_urgent(u)))
        u->grace = 0;
    if (!virtual_before(u->vrt, u->vdl))
        unit_request(u, now);
    note_start(s, u, cpu, now);
    u->cpu = u->on_cpu = (u16)cpu;
    unit_set_state(u, UNIT_RUNNING, now);
    queue_start(q, u, now, usual);
    if (!usual && unlikely(is_break(q, u)))
        note_break(s, u);
}

static __noinline void start_any(struct sched *s, struct sched_queue *q, struct sched_unit *u,
                                 unsigned cpu, ns_t now)
{
    start(s, q, u, cpu, now, false);
}

/* When a CPU that runs 'u' has to pick again, whoever it is that waits. */
static inline ns_t next_time(struct sched_queue *q, struct sched_unit *u, ns_t now)
{
    ns_t end = now + LONGEST;

    if (q->nr_ready) {
        cpuset_remove(&q->untimed, u->cpu);
        end = now + MAX(unit_remaining(u), MIN_TIMER);
        end = MIN(end, q->slot_end);
    } else {
        cpuset_add(&q->untimed, u->cpu);
    }
    if (unlikely(u->dom->metered))
        end = MIN(end, budget_until(u->dom, now));
    if (unlikely(is_break(q, u) && u->since + BREAK_MAX > now))
        end = MIN(end, u->since + BREAK_MAX);
    return end;
}

/* Nothing in the own queue: look elsewhere, and be seen as idle before looking. */
static __noinline __cold struct sched_unit *find_work(struct sched *s, unsigned cpu, ns_t now,
                                                      ns_t *until, cpuset_t *kick)
{
    struct sched_cpu *c = &s->cpu[cpu];
    struct sched_queue *q = c->queue;
    struct sched_unit *u;

    __atomic_or_fetch(&s->idle, BIT(cpu), __ATOMIC_SEQ_CST);
    if (unlikely(s->nr_strict)) {
        c->forced = q->nr_ready;
        c->rare |= c->forced;
        if (s->core[s->topo.cpu[cpu].core].changing)
            return NULL;
    }
    if (!place_stealable(s, q) || c->given)
        return NULL;
    u = place_steal(s, cpu, now, kick);
    if (u) {
        __atomic_and_fetch(&s->idle, ~BIT(cpu), __ATOMIC_SEQ_CST);
        c->forced = false;
    } else if (c->looking) {
        *until = now + STEAL_AGAIN;
    }
    return u;
}

/*
 * The running unit leaves its CPU to another and is to wait. What came for it a moment ago it has
 * not dealt with yet. The trace hears of that only now that it matters, as if it came now: it came
 * without a lock, and a trace is in the order of time.
 */
static inline void set_aside(struct sched *s, struct sched_unit *u, ns_t now)
{
    ns_t heard = __atomic_load_n(&u->heard_at, __ATOMIC_RELAXED);

    unit_set_state(u, UNIT_READY, now);
    /* With a strict domain who may take over is not a matter of deadlines alone. */
    if (likely(!heard || s->nr_strict || u->dom->params.latency != LATENCY_NORMAL))
        return;
    __atomic_store_n(&u->heard_at, 0, __ATOMIC_RELAXED); /* once for each event */
    if (now - heard >= URGENT)
        return;
    trace_unit(s, TRACE_WAKE, u, now, WAKE_EVENT, 0);
    unit_hurry(u, now);
}

/* Who ran waits now, and 'next' starts; it is in the line. Or NULL: this CPU has nobody. */
static struct sched_unit *change(struct sched *s, unsigned cpu, struct sched_unit *next,
                                 ns_t now, ns_t *until, cpuset_t *kick)
{
    struct sched_cpu *c = &s->cpu[cpu];
    struct sched_queue *q = c->queue;
    struct sched_unit *old = c->current;

    if (old) {
        queue_take_off(c, q, old, false);
        set_aside(s, old, now);
    }
    if (next && old)
        queue_exchange(q, old, next);
    else if (next)
        queue_remove(s, q, next);
    else if (old)
        queue_insert(s, q, old);
    if (!next)
        next = find_work(s, cpu, now, until, kick);
    if (next) {
        start_any(s, q, next, cpu, now);
        return next;
    }
    c->idle_at = now;
    if (spread_possible(s, c, cpu))
        *until = MIN(*until, spread_idle(s, cpu, now, kick));
    return NULL;
}

/* A unit is on its way to an idle core, or should be. */
static struct sched_unit *hand_over(struct sched *s, unsigned cpu, struct sched_unit *next,
                                    cpuset_t *kick)
{
    struct sched_cpu *c = &s->cpu[cpu];

    if (c->hand_over && spread_gives(s, cpu)) {
        c->given = c->current;
        c->stats.spreads++;
        queue_kick(s, cpu, kick); /* in case that nobody takes it */
        return NULL;
    }
    if (next && spread_given(s, cpu, next))
        next = NULL;
    c->given = NULL;
    return next;
}

/* At unpark_at: whose domain has something again becomes READY. */
static void unpark(struct sched *s, struct sched_queue *q, ns_t now, cpuset_t *kick)
{
    struct sched_unit *u, *list = q->parked;
    struct sched_domain *d;

    q->parked = NULL;
    q->unpark_at = NEVER;
    queue_set_due(q);
    while (list) {
        u = list;
        list = u->after;
        d = u->dom;
        budget_refill(d, now);
        if (d->cap_quota &&
            __atomic_load_n(&d->cap_left, __ATOMIC_RELAXED) < d->cap_quota / 20) {
            budget_list(q, u, now);
            continue;
        }
        if (d->gang_active)
            gang_unpark(q, u, now);
        unit_set_state(u, UNIT_READY, now);
        place_newcomer(s, q, u, now, kick);
    }
}

/* With everything that is not so on most picks. */
static __noinline __cold struct sched_unit *choose_rare(struct sched *s, unsigned cpu, ns_t now,
                                                        bool done, ns_t *until, cpuset_t *kick)
{
    struct sched_cpu *c = &s->cpu[cpu];
    struct sched_queue *q = c->queue;
    struct sched_unit *next;

    if (now >= q->unpark_at)
        unpark(s, q, now, kick);
    if (now >= q->slot_end)
        gang_plan(s, q, now, kick);
    if (now >= q->balance_at)
        balance_look(s, cpu, now, kick);
    if (cpuset_has(*kick, cpu)) {
        /* It is picking already. */
        cpuset_remove(kick, cpu);
        __atomic_and_fetch(&s->kicked, ~BIT(cpu), __ATOMIC_SEQ_CST);
    }
    if (s->nr_strict)
        next = strict_choose(s, cpu, now, done, until, kick);
    else
        next = choose_among(s, cpu, now, done, until, kick);
    if (c->hand_over || c->given)
        next = hand_over(s, cpu, next, kick);
    c->yielded = c->hand_over = c->looking = false;
    c->yield_to = NULL;
    c->rare = c->given || s->nr_strict || s->ring;
    return next;
}

/* After the choice: others may have something to do because of it. */
static __noinline void tell_others(struct sched *s, unsigned cpu, bool told,
                                   const struct sched_unit *next, cpuset_t *kick)
{
    struct sched_queue *q = s->cpu[cpu].queue;

    if (q->nr_ready) {
        place_timer(s, q, kick);
        place_idle(s, q, kick);
    }
    if (told && next && place_stealable(s, q))
        place_elsewhere(s, q, kick);
    if (s->nr_strict && next)
        strict_started(s, cpu, kick);
}

static void note_idle(struct sched *s, unsigned cpu, ns_t now)
{
    struct sched_cpu *c = &s->cpu[cpu];

    c->stats.idle += now - c->idle_at;
    if (unlikely(c->forced))
        strict_account(s, cpu, now - c->idle_at);
    c->forced = false;
    c->idle_at = now;
}

static struct sched_unit *no_pick(struct sched_cpu *c, ns_t *until)
{
    c->until = *until = NEVER;
    return NULL;
}

static inline struct sched_unit *finish(struct sched *s, unsigned cpu, struct sched_unit *next,
                                        ns_t now, ns_t soon, ns_t *until, const cpuset_t *kick)
{
    s->cpu[cpu].until = *until = soon;
    trace_other(s, next ? TRACE_PICK : TRACE_IDLE, cpu, next ? next->dom->id : 0,
                next ? next->id : 0, now, (u64)soon, kick->bits);
    return next;
}

/* In any state. */
static __noinline struct sched_unit *pick_any(struct sched *s, unsigned cpu, ns_t now,
                                              ns_t *until, cpuset_t *kick)
{
    struct sched_cpu *c = &s->cpu[cpu];
    struct sched_queue *q = c->queue;
    struct sched_unit *old = c->current, *next;
    bool rare, done = true, told = awake(s, c, cpu);
    ns_t soon = NEVER;

    c->stats.picks++;
    if (unlikely(c->rare && !c->usable))
        return no_pick(c, until);
    if (old)
        done = settle_current(s, q, old, now, kick);
    else
        note_idle(s, cpu, now);
    rare = c->rare || c->yielded || now >= q->due_at;
    if (unlikely(rare))
        next = choose_rare(s, cpu, now, done, &soon, kick);
    else
        next = choose_next(s, cpu, now, done, &soon, kick);
    if (!next || next != old) {
        c->picked_at = old ? now : c->picked_at; /* idle since, if nobody starts */
        next = change(s, cpu, next, now, &soon, kick);
    }
    if (next)
        soon = MIN(soon, next_time(q, next, now));
    if (unlikely(told || q->nr_ready || rare))
        tell_others(s, cpu, told, next, kick);
    return finish(s, cpu, next, now, MIN(soon, q->unpark_at), until, kick);
}

/* ---- the usual picks --------------------------------------------------------------------- */

/* This CPU and its queue have nothing to attend to but who is next, and nobody traces. */
static inline bool is_plain(const struct sched_cpu *c, ns_t now)
{
    return !c->rare && now < c->queue->due_at;
}

static inline void clear_kick(struct sched *s, u64 bit)
{
    if (s->kicked & bit)
        __atomic_and_fetch(&s->kicked, ~bit, __ATOMIC_SEQ_CST);
}

/* Whoever waits here may run on this CPU, and nobody else needs to be told about them. */
static inline bool is_orderly(const struct sched *s, const struct sched_queue *q, u64 bit)
{
    return !q->nr_odd && !q->boosted && !(q->untimed.bits & ~bit) &&
           !(place_free(s).bits & s->pool_cpus[q->pool].bits);
}

static inline struct sched_unit *finish_plain(struct sched *s, unsigned cpu, ns_t end,
                                              struct sched_unit *next, ns_t *until)
{
    struct sched_cpu *c = &s->cpu[cpu];

    clear_kick(s, BIT(cpu));
    c->stats.picks++;
    c->until = *until = MIN(end, c->queue->unpark_at);
    return next;
}

/* The current unit was charged, and gives way to who waits if that is more urgent. */
static __noinline struct sched_unit *pick_in_order(struct sched *s, unsigned cpu, ns_t now,
                                                   ns_t *until, cpuset_t *kick)
{
    struct sched_cpu *c = &s->cpu[cpu];
    struct sched_queue *q = c->queue;
    struct sched_unit *u = c->current, *next, *to = NULL;
    bool done = !virtual_before(u->vrt, u->vdl);
    ns_t soon = NEVER;
    u64 v;

    if (!q->nr_ready || !is_orderly(s, q, BIT(cpu)) || queue_weight_is_old(q, u))
        return pick_any(s, cpu, now, until, kick);
    v = queue_virtual_time(q, now);
    next = line_best(q, v);
    if (next->dom->metered)
        return pick_any(s, cpu, now, until, kick);
    if (done)
        v = queue_renew(q, u, v, now);
    if (unlikely(c->yielded)) {
        to = choose_yielded(s, cpu, next, v);
        done = true;
    }
    if (to || choose_in_order(s, next, u, done, v, now, &soon)) {
        next = to ? to : next;
        queue_take_off(c, q, u, true);
        set_aside(s, u, now);
        queue_exchange(q, u, next);
        start(s, q, next, cpu, now, true);
        u = next;
    }
    q->untimed.bits = 0;
    soon = MIN(soon, now + MAX(unit_remaining(u), MIN_TIMER));
    return finish_plain(s, cpu, soon, u, until);
}

/* The current unit mostly has not finished its request, and nobody's deadline is earlier. */
static __noinline struct sched_unit *pick_going_on(struct sched *s, unsigned cpu, ns_t now,
                                                   ns_t *until, cpuset_t *kick)
{
    struct sched_cpu *c = &s->cpu[cpu];
    struct sched_queue *q = c->queue;
    struct sched_unit *u = c->current;
    ns_t end = now + LONGEST;

    queue_charge_usual(q, u, now);
    if (!virtual_before(u->vrt, u->vdl) || c->yielded || queue_weight_is_old(q, u))
        return pick_in_order(s, cpu, now, until, kick);
    if (!q->nr_ready) {
        q->untimed.bits |= BIT(cpu);
    } else {
        if (virtual_before(q->first->vdl, u->vdl) || !is_orderly(s, q, BIT(cpu)))
            return pick_in_order(s, cpu, now, until, kick);
        q->untimed.bits = 0;
        end = now + MAX(to_real(u, u->vdl - u->vrt), MIN_TIMER);
    }
    return finish_plain(s, cpu, end, u, until);
}

/* The current unit goes to sleep. */
static inline void leave(struct sched_cpu *c, struct sched_queue *q, struct sched_unit *u,
                         ns_t now)
{
    queue_charge_usual(q, u, now);
    queue_take_off(c, q, u, true);
    queue_stop_competing(q, u, UNIT_BLOCKED, now);
}

/* The same where nobody waits: what it ran need not be added to be subtracted at once. */
static inline void leave_empty(struct sched_cpu *c, struct sched_queue *q, struct sched_unit *u,
                               ns_t now)
{
    queue_sub(q, u);
    u->vrt += to_virtual(u, unit_ran(u, now));
    queue_take_off(c, q, u, true);
    queue_leave_empty(q, u, now);
    queue_lay_down(u, UNIT_BLOCKED, now);
}

/* The unit is all there is in its queue. */
static must_inline struct sched_unit *start_alone(struct sched *s, unsigned cpu, ns_t now,
                                                  ns_t *until, struct sched_unit *u)
{
    struct sched_queue *q = s->cpu[cpu].queue;

    __atomic_and_fetch(&s->idle, ~BIT(cpu), __ATOMIC_SEQ_CST);
    start(s, q, u, cpu, now, true);
    cpuset_add(&q->untimed, cpu);
    return finish_plain(s, cpu, now + LONGEST, u, until);
}

/* Nobody waits here, but elsewhere, and this CPU is seen as idle already. */
static __noinline __flatten struct sched_unit *
pick_elsewhere(struct sched *s, unsigned cpu, ns_t now, ns_t *until, cpuset_t *kick)
{
    struct sched_cpu *c = &s->cpu[cpu];
    struct sched_unit *u = place_steal(s, cpu, now, kick);

    if (!u)
        return finish_plain(s, cpu, c->looking ? now + STEAL_AGAIN : NEVER, NULL, until);
    if (likely(!u->dom->metered))
        return start_alone(s, cpu, now, until, u);
    __atomic_and_fetch(&s->idle, ~BIT(cpu), __ATOMIC_SEQ_CST);
    start_any(s, c->queue, u, cpu, now);
    return finish_plain(s, cpu, next_time(c->queue, u, now), u, until);
}

/* ... and nobody waits in this queue, but maybe elsewhere. */
static __noinline struct sched_unit *pick_going_idle(struct sched *s, unsigned cpu, ns_t now,
                                                     ns_t *until, cpuset_t *kick)
{
    struct sched_cpu *c = &s->cpu[cpu];
    struct sched_queue *q = c->queue;
    u64 bit = BIT(cpu);

    /* Two others that could be spread over cores. */
    if (q->nr_run > 2 && !(c->core.bits & ~s->idle & ~bit))
        return pick_any(s, cpu, now, until, kick);
    leave_empty(c, q, c->current, now);
    c->picked_at = c->idle_at = now;
    __atomic_or_fetch(&s->idle, bit, __ATOMIC_SEQ_CST); /* seen before it looks */
    if (place_stealable(s, q))
        return pick_elsewhere(s, cpu, now, until, kick);
    return finish_plain(s, cpu, NEVER, NULL, until);
}

/* ... and somebody waits. */
static __noinline struct sched_unit *pick_after(struct sched *s, unsigned cpu, ns_t now,
                                                ns_t *until, cpuset_t *kick)
{
    struct sched_cpu *c = &s->cpu[cpu];
    struct sched_queue *q = c->queue;
    struct sched_unit *u;

    /* When the only one starts nobody waits whom others need to be told about. */
    if (q->nr_ready == 1 ? q->nr_odd || q->boosted : !is_orderly(s, q, BIT(cpu)))
        return pick_any(s, cpu, now, until, kick);
    leave(c, q, c->current, now);
    c->idle_at = now;
    u = q->nr_ready == 1 ? q->first : line_best(q, queue_virtual_time(q, now));
    if (u->dom->metered)
        return pick_any(s, cpu, now, until, kick);
    queue_remove(s, q, u);
    start(s, q, u, cpu, now, true);
    return finish_plain(s, cpu, next_time(q, u, now), u, until);
}

/* An idle CPU finds one unit in its queue, which may run anywhere, and none elsewhere. */
static __noinline struct sched_unit *pick_only(struct sched *s, unsigned cpu, ns_t now,
                                               ns_t *until, cpuset_t *kick)
{
    struct sched_cpu *c = &s->cpu[cpu];
    struct sched_queue *q = c->queue;
    struct sched_unit *u = q->first;

    if (q->nr_odd | q->nr_picky || q->boosted || u->dom->unusual || place_stealable(s, q))
        return pick_any(s, cpu, now, until, kick);
    c->stats.idle += now - c->idle_at;
    queue_remove_usual(s, q, u);
    return start_alone(s, cpu, now, until, u);
}

struct sched_unit *sched_pick(struct sched *s, unsigned cpu, ns_t now, ns_t *until,
                              cpuset_t *kick)
{
    const struct sched_cpu *c = &s->cpu[cpu];
    const struct sched_unit *u = c->current;

    if (unlikely(!is_plain(c, now) || (u && u->dom->unusual)))
        return pick_any(s, cpu, now, until, kick);
    if (!u && c->queue->nr_ready == 1)
        return pick_only(s, cpu, now, until, kick);
    if (!u)
        return pick_any(s, cpu, now, until, kick);
    if (!u->blocking)
        return pick_going_on(s, cpu, now, until, kick);
    if (!c->queue->nr_ready)
        return pick_going_idle(s, cpu, now, until, kick);
    return pick_after(s, cpu, now, until, kick);
}
