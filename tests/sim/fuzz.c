/*
 * Random worlds, random programs, random knobs: every event is followed by all checks. A world
 * lasts 100,000 events; its topology, costs and lock failures follow from the seed and its
 * number, so any event can be reached again quickly:
 *      fuzz --events N --seed S [--until E: traces the events before E] [--no-strict]
 */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "sim/sim.h"

#define WORLD_EVENTS 100000
#define MAX_UNITS    28
#define MAX_DOMS     7

static struct sim *current;
static bool no_strict;

static void crashed(int sig)
{
    if (current) {
        printf("# CRASH seed %llu event %llu\n", (unsigned long long)current->seed,
               (unsigned long long)(current->event_base + current->st.events));
        sim_dump_log(current);
        fflush(stdout);
    }
    signal(sig, SIG_DFL);
    raise(sig);
}

/* ---- choosing --------------------------------------------------------------------------- */

static struct sim_unit *any_unit(struct sim *s)
{
    unsigned at = (unsigned)sim_below(s, MAX_UNITS);

    for (unsigned i = 0; i < MAX_UNITS; i++)
        if (s->unit[(at + i) % MAX_UNITS].used)
            return &s->unit[(at + i) % MAX_UNITS];
    return NULL;
}

static struct sim_dom *any_dom(struct sim *s)
{
    unsigned at = (unsigned)sim_below(s, MAX_DOMS);

    for (unsigned i = 0; i < MAX_DOMS; i++)
        if (s->dom[(at + i) % MAX_DOMS].used)
            return &s->dom[(at + i) % MAX_DOMS];
    return NULL;
}

static struct sim_unit *ready_sibling(struct sim *s, struct sim_unit *u)
{
    for (unsigned i = 0; i < MAX_UNITS; i++)
        if (s->unit[i].used && s->unit[i].dom == u->dom && s->unit[i].state == S_READY)
            return &s->unit[i];
    return NULL;
}

static cpuset_t some_cpus(struct sim *s)
{
    cpuset_t c = {sim_random(s)};

    if (sim_below(s, 3) == 0)
        c.bits &= sim_random(s);
    if (sim_below(s, 2) == 0)
        c.bits |= sim_random(s);
    return cpuset_and(c, cpuset_first(s->topo.nr_cpus));
}

/* ---- programs --------------------------------------------------------------------------- */

static void program(struct sim *s, struct sim_unit *u)
{
    struct sim_unit *o;

    if (u->pc++ % 2 == 0) {
        sim_work(s, u, 1 + sim_exp(s, u->arg[0]));
        return;
    }
    switch (sim_below(s, 8)) {
    case 0:
        sim_block(s, u);
        break;
    case 1:
    case 2:
    case 3:
        sim_sleep(s, u, 1 + sim_exp(s, u->arg[1]));
        break;
    case 4:
        sim_yield(s, u, sim_below(s, 2) ? ready_sibling(s, u) : NULL);
        break;
    case 5:
    case 6:
        o = any_unit(s);
        sim_wake(s, u, o, sim_below(s, 3) ? WAKE_EVENT : WAKE_POLL);
        break;
    }
}

/* ---- knobs ------------------------------------------------------------------------------ */

static void expect_rc(struct sim *s, const char *what, int rc, bool valid)
{
    if (valid ? rc == -XEN_EINVAL : rc != -XEN_EINVAL)
        sim_fail(s, "%s: %s input gives %d", what, valid ? "valid" : "invalid", rc);
}

static void change_params(struct sim *s, struct sim_dom *d)
{
    u64 most = 1000000UL * cpuset_count(cpuset_and(s->pool[d->pool], s->online));
    struct sched_params p = d->p;
    bool valid = true;

    switch (sim_below(s, 6)) {
    case 0:
        p.weight = 32 << sim_below(s, 6);
        break;
    case 1:
        p.cap_ppm = sim_below(s, 2) ? 0 : 20000 + (u32)sim_below(s, 3000000);
        break;
    case 2:
        p.reservation_ppm = sim_below(s, 2) ? 0 : (u32)sim_below(s, 500000);
        break;
    case 3:
        p.gang = (enum sched_gang)sim_below(s, no_strict ? 3 : 4);
        break;
    case 4:
        p.latency = (enum sched_latency)sim_below(s, 3);
        break;
    default:
        valid = false;
        if (sim_below(s, 2))
            p.weight = sim_below(s, 2) ? 0 : SCHED_WEIGHT_MAX + 1;
        else if (sim_below(s, 2))
            p.gang = GANG_STRICT + 1;
        else
            p.latency = LATENCY_BATCH + 1;
    }
    valid &= p.cap_ppm <= most || p.cap_ppm == d->p.cap_ppm; /* what is there may stay */
    expect_rc(s, "params", sim_set_params(s, d, &p), valid);
}

static void change_affinity(struct sim *s, struct sim_unit *u)
{
    cpuset_t hard = sim_below(s, 3) ? some_cpus(s) : cpuset_first(64);
    cpuset_t there = cpuset_and(cpuset_and(s->pool[u->dom->pool], s->online), hard);

    expect_rc(s, "affinity", sim_set_affinity(s, u, hard, some_cpus(s)), !cpuset_empty(there));
}

static void change_domain(struct sim *s)
{
    struct sim_dom *d = any_dom(s);

    if (d && sim_below(s, 2)) {
        for (unsigned i = 0; i < MAX_UNITS; i++) {
            struct sim_unit *u = &s->unit[i];

            if (!u->used || u->dom != d)
                continue;
            if (u->state != S_OFF)
                sim_offline(s, u);
            if (!sim_unit_destroy(s, u))
                return; /* not gone yet: another time */
        }
        sim_dom_destroy(s, d);
        return;
    }
    for (unsigned i = 0, n = 0; i < SIM_DOMS; i++) {
        n += s->dom[i].used;
        if (n == MAX_DOMS)
            return;
    }
    sim_dom_create(s);
}

static void change_unit(struct sim *s)
{
    struct sim_dom *d = any_dom(s);
    struct sim_unit *u;
    unsigned n = 0;

    for (unsigned i = 0; i < MAX_UNITS; i++)
        n += s->unit[i].used;
    if (!d || n == MAX_UNITS)
        return;
    u = sim_unit_create(s, d, program);
    u->arg[0] = 10 * US << sim_below(s, 8);
    u->arg[1] = 10 * US << sim_below(s, 8);
    sim_online(s, u);
    sim_wake(s, NULL, u, WAKE_EVENT);
}

/* Asked at any time; without its units a domain stays. */
static void remove_unit(struct sim *s, struct sim_unit *u)
{
    if (u->state != S_OFF && sim_below(s, 4))
        sim_offline(s, u);
    sim_unit_destroy(s, u);
}

static void up_or_down(struct sim *s, struct sim_unit *u)
{
    if (u->state != S_OFF) {
        sim_offline(s, u);
    } else {
        sim_online(s, u);
        if (sim_below(s, 2))
            sim_wake(s, NULL, u, WAKE_EVENT);
    }
}

static void storm(struct sim *s, struct sim_dom *d)
{
    for (unsigned i = 0; i < MAX_UNITS; i++)
        if (s->unit[i].used && s->unit[i].dom == d)
            sim_wake(s, NULL, &s->unit[i], sim_below(s, 2) ? WAKE_EVENT : WAKE_POLL);
}

static void disturb_machine(struct sim *s)
{
    unsigned cpu = (unsigned)sim_below(s, s->topo.nr_cpus);
    struct sim_dom *d = any_dom(s);

    switch (sim_below(s, 4)) {
    case 0:
    case 1:
        sim_cpu_online(s, cpu, !s->cpu[cpu].online);
        break;
    case 2:
        sim_pool_set_cpus(s, (unsigned)sim_below(s, SIM_POOLS), some_cpus(s));
        break;
    case 3:
        if (d)
            sim_domain_move(s, d, (unsigned)sim_below(s, SIM_POOLS));
    }
}

static void disturb(struct sim *s, unsigned id)
{
    struct sim_unit *u = any_unit(s);
    struct sim_dom *d = any_dom(s);
    u64 what = sim_below(s, 100);

    sim_call(s, 1 + sim_exp(s, 100 * US), 0);
    if (what < 60) {
        if (u)
            sim_wake(s, NULL, u, what < 40 ? WAKE_EVENT : WAKE_POLL);
    } else if (what < 64) {
        if (d)
            storm(s, d);
    } else if (what < 72) {
        if (u)
            up_or_down(s, u);
    } else if (what < 80) {
        change_unit(s);
    } else if (what < 82) {
        change_domain(s);
    } else if (what < 83) {
        if (u)
            remove_unit(s, u);
    } else if (what < 88) {
        if (d)
            change_params(s, d);
    } else if (what < 94) {
        if (u)
            change_affinity(s, u);
    } else if (what < 97) {
        disturb_machine(s);
    }
}

/* ---- worlds ----------------------------------------------------------------------------- */

/* Generous: what it bounds is that nobody is forgotten. */
static ns_t bound(struct sim *s, struct sim_unit *u)
{
    ns_t weights = 0, mine;

    for (unsigned i = 0; i < SIM_DOMS; i++)
        if (s->dom[i].used)
            weights += s->dom[i].p.weight;
    mine = MAX(u->dom->p.weight / u->dom->nr_units, 1U);
    return 1 * SEC + 40 * MS * weights / mine;
}

static struct sim *create_world(u64 seed, u64 number)
{
    struct sim *s;
    u64 r = (seed * 1000003 + number) * 0x9e3779b97f4a7c15UL;
    unsigned t = (unsigned)(r >> 33) % (sim_nr_topologies + 12);

    t = t < sim_nr_topologies ? t : t % 12; /* small ones more often */
    s = sim_create(&policy_serai, &sim_topologies[t], seed * 1000003 + number);
    s->seed = seed;
    s->call = disturb;
    s->wait_bound = bound;
    s->cost.kick = (ns_t)sim_below(s, 10000);
    s->cost.kick_jitter = (ns_t)sim_below(s, 20000);
    s->cost.save = (ns_t)sim_below(s, 2000);
    s->defer_block = sim_below(s, 2);
    s->lock_fails = sim_below(s, 2) ? 0 : 2 + (unsigned)sim_below(s, 10);
    for (unsigned i = 0; i < 3; i++)
        sim_dom_create(s);
    for (unsigned i = 0; i < 2 + sim_below(s, 8); i++)
        change_unit(s);
    sim_call(s, 1, 0);
    return s;
}

static u64 number_after(char **argv, int *i)
{
    return argv[*i + 1] ? strtoul(argv[++*i], NULL, 0) : 0;
}

int main(int argc, char **argv)
{
    u64 events = 1000000, seed = (u64)time(NULL), until = 0, done = 0, picks = 0, first = 0;

    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--events"))
            events = number_after(argv, &i);
        else if (!strcmp(argv[i], "--seed"))
            seed = number_after(argv, &i);
        else if (!strcmp(argv[i], "--until"))
            until = number_after(argv, &i);
        else if (!strcmp(argv[i], "--no-strict"))
            no_strict = true;
    }
    if (until) {
        first = until / WORLD_EVENTS;
        events = until;
    }
    signal(SIGABRT, crashed);
    signal(SIGSEGV, crashed);
    printf("# fuzz: seed %llu, %llu events\n", (unsigned long long)seed,
           (unsigned long long)events);
    fflush(stdout);
    for (u64 w = first; (done = w * WORLD_EVENTS) < events; w++) {
        struct sim *s = current = create_world(seed, w);
        u64 n = MIN(events - done, (u64)WORLD_EVENTS);

        s->event_base = done;
        if (until) {
            sim_run(s, INT64_MAX, n > 300 ? n - 300 : 0);
            s->trace = true;
            n = MIN(n, 300UL);
        }
        sim_run(s, INT64_MAX, n);
        picks += s->st.picks;
        current = NULL;
        sim_destroy(s);
    }
    printf("ok - %llu random events, %llu picks, seed %llu\n", (unsigned long long)events,
           (unsigned long long)picks, (unsigned long long)seed);
    return 0;
}
