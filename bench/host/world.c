#include "measure.h"
#include "world.h"

struct world w;

/* Another cluster's lock is never taken here: what the attempt costs is the glue's. */
static bool try_lock(unsigned cluster)
{
    return true;
}

static void unlock(unsigned cluster)
{
}

static void lay_out(struct topology *t, const struct machine *m)
{
    unsigned cpu;

    memset(t, 0, sizeof(*t));
    t->nr_cpus = m->threads * m->cores * m->caches;
    for (cpu = 0; cpu < t->nr_cpus; cpu++) {
        t->cpu[cpu].thread = (u8)(cpu % m->threads);
        t->cpu[cpu].core = (u8)(cpu / m->threads);
        t->cpu[cpu].cache = t->cpu[cpu].package = (u8)(cpu / m->threads / m->cores);
        t->cpu[cpu].node = (u8)(t->cpu[cpu].cache * m->nodes / m->caches);
    }
}

void world_init(const struct machine *m, u64 seed)
{
    static const struct sched_ops ops = {try_lock, unlock};
    struct topology t;
    unsigned i;

    memset(&w, 0, sizeof(w));
    w.seed = 88172645463325252UL + seed * 0x9e3779b97f4a7c15UL;
    w.now = 1000 * MS;
    lay_out(&t, m);
    sched_init(&w.s, &t, &ops);
    for (i = 0; i < CPUSET_MAX; i++)
        w.timer[i] = INT64_MAX;
    for (i = 0; i < WORLD_DOMAINS; i++)
        sched_domain_init(&w.s, &w.dom[i], (u16)i);
    for (i = 0; i < WORLD_UNITS; i++) {
        sched_unit_init(&w.s, &w.unit[i], &w.dom[i / WORLD_SIBLINGS],
                        (u16)(i % WORLD_SIBLINGS));
        sched_online(&w.s, &w.unit[i], w.now);
    }
    w.kicked = cpuset_first(t.nr_cpus);
    world_kicks();
}

u64 world_random(u64 below)
{
    w.seed ^= w.seed << 13;
    w.seed ^= w.seed >> 7;
    w.seed ^= w.seed << 17;
    return (w.seed >> 16) % below;
}

void world_wake(struct sched_unit *u)
{
    sched_wake(&w.s, u, w.now, WAKE_EVENT, &w.kicked);
}

struct sched_unit *world_pick(unsigned cpu)
{
    struct sched_unit *next, *leaving;

    cpuset_remove(&w.kicked, cpu);
    next = sched_pick(&w.s, cpu, w.now, &w.timer[cpu], &w.kicked);
    leaving = w.s.cpu[cpu].leaving;
    if (leaving && leaving != next)
        sched_saved(&w.s, leaving, w.now, &w.kicked);
    return next;
}

void world_kicks(void)
{
    unsigned n = 0;

    while (!cpuset_empty(w.kicked)) {
        world_pick(cpuset_lowest(w.kicked));
        expect(++n < 10000, "kicks come to an end");
    }
}

void world_sleep(struct sched_unit *u)
{
    sched_block(&w.s, u);
    world_pick(u->cpu);
    world_kicks();
}

static unsigned next_timer(void)
{
    unsigned cpu, first = 0;

    for (cpu = 1; cpu < w.s.nr_cpus; cpu++) {
        if (w.timer[cpu] < w.timer[first])
            first = cpu;
    }
    return first;
}

void world_advance(ns_t by)
{
    ns_t end = w.now + by;
    unsigned cpu;

    while (w.timer[cpu = next_timer()] <= end) {
        w.now = MAX(w.now, w.timer[cpu]);
        world_pick(cpu);
        world_kicks();
    }
    w.now = end;
}

void world_fill(unsigned queue, unsigned n)
{
    struct sched_unit *u;
    unsigned i;

    for (i = 0; i < WORLD_UNITS && n; i++) {
        u = &w.unit[w.next_unit++ % WORLD_UNITS];
        if (u->queue->index != queue || u->state != UNIT_BLOCKED)
            continue;
        world_wake(u);
        world_kicks();
        world_advance((ns_t)world_random(200 * US));
        n--;
    }
    expect(!n, "enough units");
}

void world_crowd(unsigned first, unsigned others)
{
    unsigned i, queue;

    /* By turns: a CPU that idles beside a full queue would steal. */
    for (i = 0; i < w.s.queue[0].nr_cpus; i++) {
        for (queue = 0; queue < w.s.nr_queues; queue++)
            world_fill(queue, 1);
    }
    for (queue = 0; queue < w.s.nr_queues; queue++)
        world_fill(queue, queue ? others : first);
    world_advance(30 * MS + (ns_t)world_random(20 * MS));
}

unsigned world_cpu_of(unsigned queue)
{
    unsigned cpu;

    do
        cpu = (unsigned)world_random(w.s.nr_cpus);
    while (w.s.cpu[cpu].queue->index != queue);
    return cpu;
}

bool world_all_busy(void)
{
    unsigned cpu;

    for (cpu = 0; cpu < w.s.nr_cpus; cpu++) {
        if (!w.s.cpu[cpu].current)
            return false;
    }
    return true;
}
