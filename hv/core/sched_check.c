#include "core/sched.h"
#include "core/sched_budget.h"

/* What the units of a queue amount to. */
struct totals {
    u64 weight, sum;
    ns_t charged;
    u32 units, ready, running, parked, odd, picky, unsaved;
};

static bool is_competing(const struct sched_unit *u)
{
    return u->state == UNIT_READY || u->state == UNIT_RUNNING;
}

static void add_unit(const struct sched_queue *q, const struct sched_unit *u, struct totals *t)
{
    bool ready = u->state == UNIT_READY;

    t->units++;
    t->ready += ready;
    t->running += u->state == UNIT_RUNNING;
    t->parked += u->state == UNIT_PARKED;
    t->odd += ready && u->odd;
    t->picky += ready && u->picky;
    t->unsaved += ready && u->on_cpu != NO_CPU;
    if (u->state == UNIT_RUNNING)
        t->charged += u->charged;
    if (!is_competing(u))
        return;
    t->weight += u->weight;
    t->sum += (u->vrt - q->base) * u->weight;
}

static int check_line(const struct sched_queue *q)
{
    struct sched_unit *u, *last = NULL;
    u32 n = 0;

    for (u = q->first; u; last = u, u = u->after) {
        if (++n > q->nr_ready || u->state != UNIT_READY || u->queue != q)
            return 1;
        if (u->before != last || (last && virtual_before(u->vdl, last->vdl)))
            return 2;
    }
    return q->last != last ? 2 : n != q->nr_ready;
}

static int check_parked(const struct sched_queue *q, u32 expected)
{
    const struct sched_unit *u;
    u32 n = 0;

    for (u = q->parked; u; u = u->after) {
        if (++n > expected || u->state != UNIT_PARKED)
            return 5;
    }
    return n == expected && !q->parked == (q->unpark_at == NEVER) ? 0 : 5;
}

/* Somebody waits: a CPU of the queue has a timer, or some CPU was told to look. */
static int check_timer(const struct sched *s, const struct sched_queue *q)
{
    cpuset_t left = q->cpus;
    const struct sched_cpu *c;
    bool any = false;
    unsigned cpu;

    if (q->nr_ready == q->nr_unsaved || s->kicked)
        return 0;
    for (; !cpuset_empty(left); cpuset_remove(&left, cpu)) {
        cpu = cpuset_lowest(left);
        c = &s->cpu[cpu];
        any |= c->current != NULL;
        if (c->until < (c->current ? c->current->charged + LONGEST : NEVER))
            return 0;
    }
    return any ? 10 : 0;
}

static int check_queue(const struct sched *s, unsigned index, const struct totals *t)
{
    const struct sched_queue *q = &s->queue[index];
    int rc = check_line(q);

    if (rc)
        return rc;
    if (t->units != q->nr_units || t->ready != q->nr_ready || t->running != q->nr_run)
        return 1;
    if (!(s->waiting & BIT(index)) != !(q->bit && q->nr_ready))
        return 3;
    if (t->odd != q->nr_odd || t->picky != q->nr_picky || t->unsaved != q->nr_unsaved)
        return 3;
    if (q->due_at != (q->slotted ? 0 : MIN(MIN(q->unpark_at, q->slot_end), q->balance_at)))
        return 5;
    if (t->weight != q->weight || t->sum != q->sum || t->charged != q->charged_sum)
        return 4;
    rc = check_parked(q, t->parked);
    return rc ? rc : check_timer(s, q);
}

static int check_cpu(const struct sched *s, unsigned cpu)
{
    const struct sched_cpu *c = &s->cpu[cpu];
    const struct sched_unit *u = c->current;
    bool idle = s->idle & BIT(cpu);

    if (!u)
        return c->usable || !idle ? 0 : 7;
    if (u->state != UNIT_RUNNING || u->cpu != cpu || u->on_cpu != cpu || u->queue != c->queue)
        return 6;
    return idle || !c->usable ? 7 : 0;
}

static int check_unit(const struct sched *s, const struct sched_unit *u)
{
    const struct sched_queue *q = u->queue;

    if (q != &s->queue[q->index] || q->index >= s->nr_queues || q->pool != u->dom->pool ||
        q->cluster != u->cluster || cpuset_empty(cpuset_and(u->allowed, q->cpus)))
        return 8;
    if (u->state == UNIT_RUNNING &&
        (s->cpu[u->cpu].current != u || !cpuset_has(u->allowed, u->cpu)))
        return 6;
    return !is_competing(u) || u->weight ? 0 : 4;
}

/* Both threads of a core, if neither of them was told to look. */
static int check_strict(const struct sched *s, unsigned cpu)
{
    const struct sched_unit *u = s->cpu[cpu].current, *o;
    cpuset_t others = cpuset_minus(s->cpu[cpu].threads, cpuset_of(cpu));

    for (; u && !cpuset_empty(others); others.bits &= others.bits - 1) {
        o = s->cpu[cpuset_lowest(others)].current;
        if (!o || o->dom == u->dom || s->kicked & s->cpu[cpu].threads.bits)
            continue;
        if (o->dom->params.gang == GANG_STRICT || u->dom->params.gang == GANG_STRICT)
            return 11;
    }
    return 0;
}

static int check_domain(const struct sched *s, const struct sched_domain *d)
{
    const struct sched_unit *u;
    u32 active = 0, running = 0;
    int rc;

    for (u = d->units; u; u = u->next) {
        rc = check_unit(s, u);
        if (rc)
            return rc;
        active += is_competing(u) || u->state == UNIT_PARKED;
        running += u->state == UNIT_RUNNING;
    }
    if (active != d->n_active || (d->metered && running != d->nr_running))
        return 9;
    return d->cap_left <= d->cap_quota ? 0 : 9;
}

int sched_check(const struct sched *s)
{
    const struct sched_domain *d;
    const struct sched_unit *u;
    struct totals t;
    unsigned i;
    int rc = 0;

    for (d = s->domains; d && !rc; d = d->next)
        rc = check_domain(s, d);
    for (i = 0; i < s->nr_queues && !rc; i++) {
        t = (struct totals){0};
        for (d = s->domains; d; d = d->next) {
            for (u = d->units; u; u = u->next) {
                if (u->queue == &s->queue[i])
                    add_unit(&s->queue[i], u, &t);
            }
        }
        rc = check_queue(s, i, &t);
    }
    for (i = 0; i < s->nr_cpus && !rc; i++) {
        rc = check_cpu(s, i);
        rc = rc || !s->nr_strict ? rc : check_strict(s, i);
    }
    return rc;
}
