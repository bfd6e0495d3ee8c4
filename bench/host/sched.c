/*
 * The scheduler's cases. Each is a state of the world and one operation on it. The operation is
 * done twice from the same state: once to see whether it turned out as the case wants it, and
 * then, if so, measured. If not, another state is tried.
 */
#include "measure.h"
#include "world.h"

#define TRIES 4000

static const struct machine small = {"4 CPUs", 2, 2, 1, 1};
static const struct machine big = {"16 CPUs, 2 caches", 2, 4, 2, 1};
static const struct machine wide = {"32 CPUs, 1 cache", 2, 16, 1, 1};
static const struct machine far = {"16 CPUs, 2 nodes", 2, 4, 2, 2};

/* Beside whom or what it happens. */
struct subject {
    unsigned cpu;
    struct sched_unit *u, *to;
    struct sched_unit *next; /* out: what the pick said */
    cpuset_t kick;           /* out: all kicks */
};

struct situation {
    const char *name;
    /* False: this state does not do. */
    bool (*prepare)(struct subject *x, unsigned waiting);
    void (*act)(struct subject *x);
    bool (*as_wanted)(const struct subject *x);
};

static struct world before;

static void sample(const struct machine *m, const struct situation *c, unsigned waiting)
{
    unsigned n = 0, seed;
    struct subject x, y;
    char name[120];

    snprintf(name, sizeof(name), "sched|%s|%s|%u", c->name, m->name, waiting);
    for (seed = 1; n < SAMPLES && seed < TRIES; seed++) {
        world_init(m, seed);
        memset(&x, 0, sizeof(x));
        if (!c->prepare(&x, waiting))
            continue;
        expect(sched_check(&w.s) == 0, name);
        before = w;
        y = x;
        c->act(&y);
        if (!c->as_wanted(&y))
            continue;
        w = before;
        y = x;
        measure_begin();
        c->act(&y);
        measure_keep(name);
        n++;
    }
    expect(n == SAMPLES, name);
}

/* ---- operations ---- */

static void pick(struct subject *x)
{
    ns_t until;

    x->next = sched_pick(&w.s, x->cpu, w.now, &until, &x->kick);
}

static void block(struct subject *x)
{
    sched_block(&w.s, x->u);
    pick(x);
}

static void yield(struct subject *x)
{
    sched_yield(&w.s, x->u, x->to, w.now);
    pick(x);
}

static void wake(struct subject *x)
{
    sched_wake(&w.s, x->u, w.now, WAKE_EVENT, &x->kick);
}

static void saved(struct subject *x)
{
    sched_saved(&w.s, x->u, w.now, &x->kick);
}

/* ---- how it ended ---- */

static bool any(const struct subject *x)
{
    return true;
}

static bool goes_on(const struct subject *x)
{
    return x->next == x->u;
}

static bool changes(const struct subject *x)
{
    return x->next && x->next != x->u;
}

static bool idles(const struct subject *x)
{
    return !x->next;
}

static bool is_sibling(const struct subject *x)
{
    return x->next == x->to;
}

static bool steals(const struct subject *x)
{
    return changes(x) && w.s.cpu[x->cpu].stats.steals > before.s.cpu[x->cpu].stats.steals;
}

static bool kicks_last(const struct subject *x)
{
    return x->kick.bits == BIT(x->cpu);
}

static bool kicks_other(const struct subject *x)
{
    return !cpuset_empty(x->kick) && !cpuset_has(x->kick, x->cpu);
}

/* Who was kicked takes it. */
static bool preempts(const struct subject *x)
{
    return !cpuset_empty(x->kick) && world_pick(cpuset_lowest(x->kick)) == x->u;
}

static bool preempts_nobody(const struct subject *x)
{
    return !preempts(x);
}

/* ---- states ---- */

static bool busy(struct subject *x, unsigned waiting)
{
    world_crowd(waiting, waiting);
    /* Nobody's weight is of a time when fewer siblings were awake. */
    w.kicked = cpuset_first(w.s.nr_cpus);
    world_kicks();
    x->cpu = world_cpu_of(0);
    x->u = w.s.cpu[x->cpu].current;
    return x->u && world_all_busy() && w.s.queue[0].nr_ready == waiting;
}

/* Some time before its timer rings. */
static bool midway(struct subject *x, unsigned waiting)
{
    ns_t left;

    if (!busy(x, waiting))
        return false;
    left = MIN(w.timer[x->cpu] - w.now, 1 * MS);
    w.now += left > 1 ? (ns_t)world_random((u64)left) : 0;
    return true;
}

/* The timer rings. */
static bool at_end(struct subject *x, unsigned waiting)
{
    if (!busy(x, waiting) || w.timer[x->cpu] == INT64_MAX)
        return false;
    w.now = MAX(w.now, w.timer[x->cpu]);
    return true;
}

/* A sibling of the running unit waits in the same queue. */
static bool beside_sibling(struct subject *x, unsigned waiting)
{
    unsigned i;

    if (!midway(x, waiting))
        return false;
    for (i = 0; i < WORLD_UNITS; i++) {
        if (w.unit[i].dom == x->u->dom && w.unit[i].state == UNIT_READY &&
            w.unit[i].queue == x->u->queue)
            x->to = &w.unit[i];
    }
    return x->to;
}

/* Nobody waits here, and there they do. */
static bool robber(struct subject *x, unsigned waiting)
{
    world_crowd(waiting, 0);
    x->cpu = world_cpu_of(1);
    x->u = w.s.cpu[x->cpu].current;
    w.now += (ns_t)world_random(100 * US);
    return x->u && world_all_busy() && w.s.queue[0].nr_ready == waiting &&
           !w.s.queue[1].nr_ready;
}

/* One unit runs on a machine that idles. */
static bool alone(struct subject *x, unsigned waiting)
{
    world_fill(0, 1);
    world_advance((ns_t)world_random(5 * MS));
    for (x->cpu = 0; !w.s.cpu[x->cpu].current; x->cpu++)
        ;
    x->u = w.s.cpu[x->cpu].current;
    return true;
}

static void goes_to_sleep(struct subject *x)
{
    world_sleep(x->u);
    world_advance(10 * US + (ns_t)world_random(2 * MS));
}

/* It slept a little, nobody took its CPU. */
static bool slept(struct subject *x, unsigned waiting)
{
    alone(x, waiting);
    world_fill(0, (unsigned)world_random(w.s.queue[0].nr_cpus / 2));
    x->cpu = x->u->cpu;
    if (x->u->state != UNIT_RUNNING)
        return false;
    goes_to_sleep(x);
    return !w.s.cpu[x->cpu].current;
}

static bool woken(struct subject *x, unsigned waiting)
{
    cpuset_t kick = CPUSET_NONE;

    if (!slept(x, waiting))
        return false;
    sched_wake(&w.s, x->u, w.now, WAKE_EVENT, &kick);
    w.now += (ns_t)world_random(2 * US);
    return kick.bits == BIT(x->cpu);
}

/* Others took its CPU; another one idles. */
static bool displaced(struct subject *x, unsigned waiting)
{
    struct sched_unit *other;

    alone(x, waiting);
    goes_to_sleep(x);
    world_crowd(0, 0);
    x->cpu = x->u->cpu;
    other = w.s.cpu[world_cpu_of(0)].current;
    if (x->u->state != UNIT_BLOCKED || !other || other->cpu == x->cpu)
        return false;
    world_sleep(other);
    world_advance((ns_t)world_random(100 * US));
    return w.s.cpu[x->cpu].current;
}

/* It slept, and all CPUs are busy. */
static bool late(struct subject *x, unsigned waiting)
{
    world_crowd(waiting + 1, waiting);
    x->cpu = world_cpu_of(0);
    x->u = w.s.cpu[x->cpu].current;
    if (!x->u)
        return false;
    world_sleep(x->u);
    world_advance((ns_t)world_random(10 * MS));
    return x->u->state == UNIT_BLOCKED && world_all_busy() && x->u->queue->nr_ready == waiting;
}

/* The same, of the latency class. */
static bool late_and_urgent(struct subject *x, unsigned waiting)
{
    struct sched_params p;

    if (!late(x, waiting))
        return false;
    sched_get_params(x->u->dom, &p);
    p.latency = LATENCY_LOW;
    if (sched_set_params(&w.s, x->u->dom, &p, w.now, &w.kicked))
        return false;
    world_kicks();
    return x->u->state == UNIT_BLOCKED && x->u->queue->nr_ready == waiting;
}

static bool left_to_sleep(struct subject *x, unsigned waiting)
{
    if (!busy(x, waiting + 1))
        return false;
    block(x);
    w.now += (ns_t)world_random(2 * US);
    return x->next && x->u->on_cpu != NO_CPU && x->u->state == UNIT_BLOCKED;
}

static bool left_idle(struct subject *x, unsigned waiting)
{
    alone(x, waiting);
    block(x);
    w.now += (ns_t)world_random(2 * US);
    return !x->next && x->u->on_cpu != NO_CPU;
}

static bool preempted(struct subject *x, unsigned waiting)
{
    if (!at_end(x, waiting))
        return false;
    pick(x);
    w.now += (ns_t)world_random(2 * US);
    return changes(x) && x->u->state == UNIT_READY && x->u->on_cpu != NO_CPU;
}

/* ---- the list ---- */

#define FEW  1 /* with nobody waiting */
#define MANY 2 /* with 1, 4, 16 and 64 waiting */

static const struct {
    struct situation c;
    unsigned how_many;
} everywhere[] = {
    {{"pick: the unit goes on", midway, pick, goes_on}, FEW | MANY},
    {{"pick: the turn is over, another starts", at_end, pick, changes}, MANY},
    {{"block and pick: idle, other CPUs idle", alone, block, idles}, FEW},
    {{"block and pick: idle, other CPUs busy", busy, block, idles}, FEW},
    {{"block and pick: another starts", midway, block, changes}, MANY},
    {{"pick: an idle CPU starts who woke up", woken, pick, goes_on}, FEW},
    {{"yield and pick: to a sibling", beside_sibling, yield, is_sibling}, MANY},
    {{"yield and pick: to anybody", midway, yield, changes}, MANY},
    {{"wake: its last CPU idles", slept, wake, kicks_last}, FEW},
    {{"wake: another CPU idles", displaced, wake, kicks_other}, FEW},
    {{"wake: all busy, waits its turn", late, wake, preempts_nobody}, FEW | MANY},
    {{"wake: all busy, preempts (latency class)", late_and_urgent, wake, preempts}, FEW | MANY},
    {{"saved: it sleeps, the CPU idles", left_idle, saved, any}, FEW},
    {{"saved: it sleeps, another runs", left_to_sleep, saved, any}, FEW | MANY},
    {{"saved: it waits", preempted, saved, any}, MANY},
};

static const struct situation theft = {"block and pick: steals", robber, block, steals};

static void with_waiting(const struct machine *m, const struct situation *c)
{
    unsigned n;

    for (n = 1; n <= 64; n *= 4)
        sample(m, c, n);
}

void sched_cases(void)
{
    const struct machine *m;
    unsigned i;

    for (i = 0; i < ARRAY_SIZE(everywhere); i++) {
        for (m = &small; m; m = m == &small ? &big : NULL) {
            if (everywhere[i].how_many & FEW)
                sample(m, &everywhere[i].c, 0);
            if (everywhere[i].how_many & MANY)
                with_waiting(m, &everywhere[i].c);
        }
    }
    with_waiting(&wide, &theft);
    with_waiting(&big, &theft);
    with_waiting(&far, &theft);
}
