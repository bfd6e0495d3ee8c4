#include "core/sched.h"
#include "core/sched_gang.h"
#include "core/sched_strict.h"
#include "core/sched_trace.h"

#define BOOST (200 * US)

void sched_online(struct sched *s, struct sched_unit *u, ns_t now)
{
    trace_unit(s, TRACE_ONLINE, u, now, 0, 0);
    if (u->state == UNIT_OFF)
        unit_set_state(u, UNIT_BLOCKED, now);
}

/* Who is READY or PARKED wants no CPU any more. */
static void stop_waiting(struct sched *s, struct sched_queue *q, struct sched_unit *u,
                         enum unit_state to, ns_t now)
{
    if (u->state == UNIT_READY) {
        queue_remove(s, q, u);
        queue_stop_competing(q, u, to, now);
        return;
    }
    budget_unlist(q, u);
    __atomic_sub_fetch(&u->dom->n_active, 1, __ATOMIC_RELAXED);
    unit_set_state(u, to, now);
}

void sched_offline(struct sched *s, struct sched_unit *u, ns_t now, cpuset_t *kick)
{
    struct sched_queue *q = u->queue;

    trace_unit(s, TRACE_OFFLINE, u, now, 0, 0);
    switch ((enum unit_state)u->state) {
    case UNIT_RUNNING:
        queue_charge(q, u, now);
        queue_take_off(&s->cpu[u->cpu], q, u, false);
        queue_kick(s, u->cpu, kick);
        queue_stop_competing(q, u, UNIT_OFF, now);
        break;
    case UNIT_READY:
    case UNIT_PARKED:
        stop_waiting(s, q, u, UNIT_OFF, now);
        break;
    default:
        unit_set_state(u, UNIT_OFF, now);
    }
    u->blocking = false;
}

/* Somebody waits for a sibling, and says so. */
static void note_hint(struct sched_domain *d)
{
    if (unlikely(d->params.gang == GANG_AUTO))
        __atomic_add_fetch(&d->seen_hints, 1, __ATOMIC_RELAXED);
}

/* Something came for a unit that was preempted and waits for its turn. */
static void hurry(struct sched *s, struct sched_queue *q, struct sched_unit *u, ns_t now,
                  cpuset_t *kick)
{
    if (u->woken || u->dom->params.latency != LATENCY_NORMAL || unit_urgent(u))
        return;
    queue_remove(s, q, u);
    unit_hurry(u, now);
    queue_insert(s, q, u);
    place_ready(s, q, u, now, kick);
}

/* It is not asleep. */
static __noinline void wake_again(struct sched *s, struct sched_unit *u, ns_t now,
                                  cpuset_t *kick)
{
    u->blocking = false;
    if (u->state == UNIT_READY)
        hurry(s, u->queue, u, now, kick);
    else if (u->state == UNIT_RUNNING)
        sched_note_event(u, now);
}

/* It became READY, and it is not one like others, or woken for a reason that is not usual. */
static __noinline void wake_unusual(struct sched *s, struct sched_unit *u, ns_t now,
                                    enum sched_wake why, cpuset_t *kick)
{
    struct sched_queue *q = u->queue;
    struct sched_domain *d = u->dom;

    if (d->gang_active)
        gang_join(q, u, now);
    queue_enter(s, q, u, now);
    if (why == WAKE_POLL) {
        u->boost_until = now + BOOST;
        q->boosted = u;
        note_hint(d);
    }
    if (d->gang_active || q->slotted)
        gang_wake(s, q, u, now, kick);
    if (d->metered && budget_parks(s, q, d, now, kick))
        return;
    place_ready(s, q, u, now, kick);
}

void sched_wake(struct sched *s, struct sched_unit *u, ns_t now, enum sched_wake why,
                cpuset_t *kick)
{
    struct sched_queue *q = u->queue;
    struct sched_domain *d = u->dom;

    trace_unit(s, TRACE_WAKE, u, now, why, 0);
    if (unlikely(u->state != UNIT_BLOCKED)) {
        wake_again(s, u, now, kick);
        return;
    }
    u->woken = true;
    u->boost_until = 0;
    __atomic_add_fetch(&d->n_active, 1, __ATOMIC_RELAXED);
    unit_set_state(u, UNIT_READY, now);
    if (unlikely(d->unusual | q->slotted | u->picky) || u->on_cpu != NO_CPU ||
        why == WAKE_POLL) {
        wake_unusual(s, u, now, why, kick);
        return;
    }
    queue_join(q, u, now);
    queue_insert_usual(s, q, u);
    place_saved(s, q, u, now, kick);
}

void sched_block(struct sched *s, struct sched_unit *u)
{
    trace_unit(s, TRACE_BLOCK, u, 0, 0, 0);
    if (likely(u->state == UNIT_RUNNING)) {
        u->blocking = true;
        return;
    }
    /* A knob may have put it into a queue already, of another cluster even: see saved(). */
    u->blocking = (u->state == UNIT_READY || u->state == UNIT_PARKED) && u->on_cpu != NO_CPU;
}

void sched_yield(struct sched *s, struct sched_unit *u, struct sched_unit *to, ns_t now)
{
    struct sched_cpu *c = &s->cpu[u->cpu];

    trace_unit(s, TRACE_YIELD, u, now, to ? to->id + 1U : 0, 0);
    if (u->state != UNIT_RUNNING)
        return;
    c->yielded = true;
    c->yield_to = to;
    __atomic_store_n(&u->heard_at, 0, __ATOMIC_RELAXED); /* it is in no hurry */
    note_hint(u->dom);
}

void sched_saved(struct sched *s, struct sched_unit *u, ns_t now, cpuset_t *kick)
{
    struct sched_queue *q = u->queue;
    struct sched_unit *leaving = u;
    unsigned cpu = u->on_cpu;
    u64 before = kick->bits;

    trace_unit(s, TRACE_SAVED, u, now, 0, 0);
    if (cpu == NO_CPU || u->state == UNIT_RUNNING)
        return;
    __atomic_compare_exchange_n(&s->cpu[cpu].leaving, &leaving, NULL, false, __ATOMIC_SEQ_CST,
                                __ATOMIC_RELAXED);
    queue_saved(q, u);
    if (u->blocking)
        stop_waiting(s, q, u, UNIT_BLOCKED, now);
    u->blocking = false;
    if (u->state == UNIT_READY && (u->woken || unit_urgent(u) || s->cpu[u->cpu].given == u))
        place_ready(s, q, u, now, kick);
    else if (u->state == UNIT_READY || s->nr_strict)
        place_idle(s, q, kick);
    if (q->nr_ready && !(kick->bits & ~before & q->cpus.bits)) /* as in place_ready() */
        place_timer(s, q, kick);
    if (unlikely(s->nr_strict))
        strict_saved(s, cpu, kick);
}

void sched_note_event(struct sched_unit *u, ns_t now)
{
    __atomic_store_n(&u->heard_at, now, __ATOMIC_RELAXED);
}

void sched_note_ipi(struct sched_unit *to)
{
    struct sched_domain *d = to->dom;
    u8 state;

    if (likely(d->params.gang != GANG_AUTO))
        return;
    state = __atomic_load_n(&to->state, __ATOMIC_RELAXED);
    if (state == UNIT_READY)
        __atomic_add_fetch(&d->seen_ipis, 1, __ATOMIC_RELAXED);
    else if (state == UNIT_BLOCKED)
        __atomic_add_fetch(&d->seen_wakes, 1, __ATOMIC_RELAXED);
}
