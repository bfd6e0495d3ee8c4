#include "core/sched_spread.h"

#define MIN_SPREAD (1 * MS)

/* A CPU of the queue whose unit could use the idle core 'to'; NO_CPU: none. */
static unsigned crowded(const struct sched *s, const struct sched_queue *q, unsigned to)
{
    u64 busy = q->cpus.bits & ~s->idle, left = busy;
    const struct sched_cpu *c;
    unsigned cpu;

    for (; left; left &= left - 1) {
        cpu = cpuset_lowest((cpuset_t){left});
        c = &s->cpu[cpu];
        if (c->core.bits & busy & ~BIT(cpu) && c->current && !c->given &&
            cpuset_has(c->current->allowed, to))
            return cpu;
    }
    return NO_CPU;
}

ns_t spread_idle(struct sched *s, unsigned cpu, ns_t now, cpuset_t *kick)
{
    struct sched_cpu *c = &s->cpu[cpu];
    struct sched_queue *q = c->queue;
    unsigned from;

    if (q->nr_ready)
        return NEVER;
    from = crowded(s, q, cpu);
    if (from == NO_CPU)
        return NEVER;
    if (now - c->picked_at < MIN_SPREAD)
        return c->picked_at + MIN_SPREAD;
    s->cpu[from].hand_over = s->cpu[from].rare = true;
    queue_kick(s, from, kick);
    return NEVER;
}

bool spread_gives(struct sched *s, unsigned cpu)
{
    struct sched_cpu *c = &s->cpu[cpu];
    struct sched_queue *q = c->queue;
    cpuset_t idle = {s->idle & q->cpus.bits};

    c->hand_over = false;
    return c->current && !q->nr_ready && (c->core.bits & ~s->idle & ~BIT(cpu)) &&
           place_whole_core(s, cpuset_and(idle, c->current->allowed), idle) != NO_CPU;
}

bool spread_given(struct sched *s, unsigned cpu, const struct sched_unit *u)
{
    struct sched_cpu *c = &s->cpu[cpu];
    cpuset_t told = {s->idle & s->kicked & c->queue->cpus.bits};

    if (c->given != u || u->on_cpu != NO_CPU)
        return false;
    return place_whole_core(s, cpuset_and(told, u->allowed), (cpuset_t){s->idle}) != NO_CPU;
}
