/*
 * What the scheduler decides under a load, and what each of these decisions takes: domains of four
 * vcpus on four CPUs, whose vcpus work, sleep and wake up like those of a guest that passes
 * messages among many processes, or builds a large program. The model is rough: vcpus work and
 * sleep for a random time, evenly between nothing and twice the mean, and who has worked wakes
 * a sleeping sibling every other time.
 */
#include "measure.h"
#include "world.h"

#define DECISIONS 1000
#define VCPUS     4
#define MAX_VCPUS (2 * VCPUS)

struct load {
    const char *name;
    unsigned domains;
    ns_t burst, sleep; /* means */
    bool wakes;        /* siblings */
};

static const struct load loads[] = {
    {"messages, 4 vcpus", 1, 100 * US, 100 * US, true},
    {"messages, 8 vcpus", 2, 100 * US, 100 * US, true},
    {"build, 4 vcpus", 1, 4 * MS, 1 * MS, false},
    {"build, 8 vcpus", 2, 4 * MS, 1 * MS, false},
};

static const struct machine machine = {"4 CPUs", 2, 2, 1, 1};
static const struct load *load;
/* Of each vcpu: how long it still works, and until when it sleeps. */
static ns_t left[MAX_VCPUS], wakes_at[MAX_VCPUS];
static unsigned decisions;

static struct sched_unit *vcpu(unsigned i)
{
    return &w.unit[i / VCPUS * WORLD_SIBLINGS + i % VCPUS];
}

static unsigned nr_vcpus(void)
{
    return load->domains * VCPUS;
}

static ns_t about(ns_t mean)
{
    return 1 + (ns_t)world_random((u64)(2 * mean));
}

static void keep(const char *kind)
{
    char name[120];

    snprintf(name, sizeof(name), "load|%s|%s|0", load->name, kind);
    measure_keep(name);
}

static void save(struct sched_unit *u)
{
    measure_begin();
    sched_saved(&w.s, u, w.now, &w.kicked);
    keep("saved");
}

static const char *kind_of_pick(const struct sched_unit *old, bool blocks,
                                const struct sched_unit *next)
{
    if (blocks)
        return next ? "goes to sleep, another starts" : "goes to sleep, the CPU idles";
    if (!old)
        return next ? "an idle CPU starts one" : "an idle CPU stays so";
    return next == old ? "goes on" : "another starts";
}

static void pick(unsigned cpu, bool blocks)
{
    struct sched_unit *old = w.s.cpu[cpu].current, *next, *leaving;

    cpuset_remove(&w.kicked, cpu);
    measure_begin();
    if (blocks)
        sched_block(&w.s, old);
    next = sched_pick(&w.s, cpu, w.now, &w.timer[cpu], &w.kicked);
    keep(kind_of_pick(old, blocks, next));
    decisions++;
    leaving = w.s.cpu[cpu].leaving;
    if (leaving && leaving != next)
        save(leaving);
}

static void wake(unsigned i)
{
    cpuset_t kick = CPUSET_NONE;

    measure_begin();
    sched_wake(&w.s, vcpu(i), w.now, WAKE_EVENT, &kick);
    keep(w.s.idle & kick.bits ? "wakes up, a CPU idles" : "wakes up, all CPUs are busy");
    decisions++;
    w.kicked = cpuset_or(w.kicked, kick);
    left[i] = about(load->burst);
}

static void finish(unsigned i)
{
    unsigned sibling = i / VCPUS * VCPUS + (unsigned)world_random(VCPUS);

    if (load->wakes && vcpu(sibling)->state == UNIT_BLOCKED && world_random(2))
        wake(sibling);
    wakes_at[i] = w.now + about(load->sleep);
    pick(vcpu(i)->cpu, true);
}

static ns_t next_event(void)
{
    ns_t t = INT64_MAX;
    unsigned i;

    for (i = 0; i < w.s.nr_cpus; i++)
        t = MIN(t, w.timer[i]);
    for (i = 0; i < nr_vcpus(); i++) {
        if (vcpu(i)->state == UNIT_RUNNING)
            t = MIN(t, w.now + left[i]);
        else if (vcpu(i)->state == UNIT_BLOCKED)
            t = MIN(t, wakes_at[i]);
    }
    return MAX(t, w.now);
}

static void advance(ns_t to)
{
    unsigned i;

    for (i = 0; i < nr_vcpus(); i++)
        left[i] -= vcpu(i)->state == UNIT_RUNNING ? to - w.now : 0;
    w.now = to;
}

static void step(void)
{
    unsigned i;

    while (!cpuset_empty(w.kicked))
        pick(cpuset_lowest(w.kicked), false);
    advance(next_event());
    for (i = 0; i < w.s.nr_cpus; i++) {
        if (w.timer[i] <= w.now)
            pick(i, false);
    }
    for (i = 0; i < nr_vcpus(); i++) {
        if (vcpu(i)->state == UNIT_RUNNING && left[i] <= 0)
            finish(i);
        else if (vcpu(i)->state == UNIT_BLOCKED && wakes_at[i] <= w.now)
            wake(i);
    }
}

void load_cases(void)
{
    unsigned i;

    for (load = loads; load < loads + ARRAY_SIZE(loads); load++) {
        world_init(&machine, 1);
        for (i = 0; i < nr_vcpus(); i++)
            wakes_at[i] = w.now + about(load->sleep);
        for (decisions = 0; decisions < DECISIONS;)
            step();
        expect(sched_check(&w.s) == 0, load->name);
    }
}
