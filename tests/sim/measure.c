#include <string.h>

#include "sim/measure.h"

static void sample_skew(struct sim *s, unsigned id)
{
    ns_t least[SIM_DOMS], most[SIM_DOMS];

    sim_account(s);
    for (unsigned i = 0; i < SIM_DOMS; i++)
        least[i] = INT64_MAX, most[i] = INT64_MIN;
    for (unsigned i = 0; i < SIM_UNITS; i++) {
        struct sim_unit *u = &s->unit[i];

        if (!u->used)
            continue;
        least[u->dom->id] = MIN(least[u->dom->id], u->ran - u->arg[3]);
        most[u->dom->id] = MAX(most[u->dom->id], u->ran - u->arg[3]);
    }
    for (unsigned i = 0; i < SIM_DOMS; i++)
        if (s->dom[i].used && most[i] >= least[i])
            s->dom[i].skew_max = MAX(s->dom[i].skew_max, most[i] - least[i]);
    sim_call(s, 1 * MS, 0);
}

static void collect(struct sim *s, struct result *r, const struct result *before)
{
    sim_account(s);
    for (unsigned i = 0; i < SIM_DOMS; i++) {
        struct sim_dom *d = &s->dom[i];

        if (!d->used)
            continue;
        r->nr_doms = i + 1;
        r->units[i] = d->nr_units;
        r->ran[i] = d->ran - before->ran[i];
        r->useful[i] = d->useful - before->useful[i];
        r->total += r->ran[i];
        r->useful_total += r->useful[i];
        r->skew[i] = d->skew_max;
        r->cap_max[i] = d->cap_max;
        r->count[i] = 0;
    }
    for (unsigned i = 0; i < SIM_UNITS; i++)
        if (s->unit[i].used)
            r->count[s->unit[i].dom->id] += s->unit[i].count;
    for (unsigned i = 0; i < SIM_DOMS; i++)
        r->count[i] -= before->count[i];
}

static void start_measuring(struct sim *s, struct result *before)
{
    collect(s, before, &(struct result){0});
    s->st.nr_lat = 0;
    s->st.longest_wait = s->st.ready_time = s->st.ready_busy = 0;
    s->st.switches = 0;
    memset(s->st.migrations, 0, sizeof(s->st.migrations));
    s->fluid_lag = 0;
    for (unsigned i = 0; i < SIM_DOMS; i++) {
        s->dom[i].skew_max = 0;
        s->dom[i].fluid = (double)s->dom[i].ran;
    }
    for (unsigned i = 0; i < SIM_UNITS; i++)
        s->unit[i].arg[3] = s->unit[i].ran;
}

static __noinline void measure(struct sim *s, const struct run *p, struct result *r)
{
    ns_t time = p->time ? p->time : 1 * SEC;
    struct result before = {0};

    p->load(s, p->arg);
    sample_skew(s, 0);
    sim_run(s, s->now + (p->warm ? p->warm : 300 * MS), ~0UL);
    start_measuring(s, &before);
    sim_run(s, s->now + time, ~0UL);
    collect(s, r, &before);
    r->nr_cpus = s->topo.nr_cpus;
    r->samples = s->st.nr_lat;
    r->p50 = sim_percentile(s, 500);
    r->p99 = sim_percentile(s, 990);
    r->worst = sim_percentile(s, 1000);
    r->idle_while_runnable = s->st.idle_while_runnable;
    r->longest_wait = s->st.longest_wait;
    r->lag = s->fluid_lag;
    r->utilisation = s->st.ready_time ? (double)s->st.ready_busy / (double)s->st.ready_time : 1;
    r->switches = (double)s->st.switches / r->nr_cpus * SEC / (double)time;
    r->far =
        (double)(s->st.migrations[DIST_NODE] + s->st.migrations[DIST_FAR]) * SEC / (double)time;
}

/* A check that fails ends the run; its figures then count as missed. */
static __noinline bool measured(struct sim *s, const struct run *p, struct result *r)
{
    jmp_buf escape;

    s->escape = &escape;
    if (setjmp(escape))
        return false;
    measure(s, p, r);
    return true;
}

struct result measure_run(struct run p)
{
    struct sim *s = sim_create(p.pol, sim_topology(p.topo), p.seed);
    struct result r = {0};

    s->checks = p.pol == &policy_serai;
    s->fluid = p.fluid;
    s->call = sample_skew;
    s->terse = !p.verbose;
    if (!measured(s, &p, &r)) {
        memset(&r, 0, sizeof(r));
        r.failed = true;
    }
    sim_destroy(s);
    return r;
}
