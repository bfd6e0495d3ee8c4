/*
 * A small machine for tests of core/sched_*: CPUs that pick when they are kicked or their timer
 * fires, hogs and sleepers as units. Time advances from event to event; no chance is involved
 * except through the generator below.
 */
#ifndef SERAI_TESTS_SCHED_WORLD_H
#define SERAI_TESTS_SCHED_WORLD_H

#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "core/sched.h"

#define WORLD_DOMAINS 8
#define WORLD_UNITS   16

#ifndef MS /* core/sched_queue.h has them */
#define US 1000L
#define MS 1000000L
#endif

struct world_unit {
    struct sched_unit u;
    ns_t burst, sleep; /* 0: never sleeps */
    ns_t left;         /* of the burst */
    ns_t wake_at;      /* while it sleeps; INT64_MAX: by hand only */
    ns_t got;
};

struct world {
    struct sched s;
    struct topology t;
    struct sched_domain dom[WORLD_DOMAINS];
    struct world_unit unit[WORLD_DOMAINS][WORLD_UNITS];
    unsigned nr_domains, nr_units[WORLD_DOMAINS];
    ns_t now, timer[CPUSET_MAX], began[CPUSET_MAX];
    cpuset_t kicked;
    unsigned long picks, switches, kicks;
    u64 seed;
    bool idle_ok;    /* CPUs may idle beside work: mode strict */
    bool save_later; /* sched_saved() is for the test to call */
};

/* 'threads' per core, 'cores' per cache, 'caches' in all; two caches a node. */
static inline void world_topology(struct topology *t, unsigned threads, unsigned cores,
                                  unsigned caches)
{
    unsigned cpu;

    memset(t, 0, sizeof(*t));
    t->nr_cpus = threads * cores * caches;
    for (cpu = 0; cpu < t->nr_cpus; cpu++) {
        t->cpu[cpu].thread = (u8)(cpu % threads);
        t->cpu[cpu].core = (u8)(cpu / threads);
        t->cpu[cpu].cache = t->cpu[cpu].package = (u8)(cpu / threads / cores);
        t->cpu[cpu].node = t->cpu[cpu].cache / 2;
    }
}

static inline bool world_try_lock(unsigned cluster)
{
    return true;
}

static inline void world_unlock(unsigned cluster)
{
}

static const struct sched_ops world_ops = {world_try_lock, world_unlock};

static inline void world_init(struct world *w, unsigned threads, unsigned cores,
                              unsigned caches)
{
    unsigned cpu;

    memset(w, 0, sizeof(*w));
    w->seed = 88172645463325252UL;
    world_topology(&w->t, threads, cores, caches);
    sched_init(&w->s, &w->t, &world_ops);
    w->kicked = cpuset_first(w->t.nr_cpus);
    for (cpu = 0; cpu < CPUSET_MAX; cpu++)
        w->timer[cpu] = INT64_MAX;
}

static inline u64 world_random(struct world *w)
{
    w->seed ^= w->seed << 13;
    w->seed ^= w->seed >> 7;
    w->seed ^= w->seed << 17;
    return w->seed;
}

static inline struct sched_domain *world_domain(struct world *w, unsigned units)
{
    unsigned d = w->nr_domains++, i;

    sched_domain_init(&w->s, &w->dom[d], (u16)d);
    w->nr_units[d] = units;
    for (i = 0; i < units; i++) {
        sched_unit_init(&w->s, &w->unit[d][i].u, &w->dom[d], (u16)i);
        sched_online(&w->s, &w->unit[d][i].u, w->now);
        w->unit[d][i].wake_at = INT64_MAX;
    }
    return &w->dom[d];
}

static inline void world_check(struct world *w)
{
    assert_int_equal(sched_check(&w->s), 0);
}

static inline void world_wake(struct world *w, struct world_unit *x)
{
    cpuset_t kick = CPUSET_NONE;

    x->wake_at = INT64_MAX;
    if (x->left <= 0)
        x->left = x->burst;
    sched_wake(&w->s, &x->u, w->now, WAKE_EVENT, &kick);
    w->kicked = cpuset_or(w->kicked, kick);
    world_check(w);
}

static inline struct world_unit *world_of(struct sched_unit *u)
{
    return u ? container_of(u, struct world_unit, u) : NULL;
}

/* The unit that ran on 'cpu' is credited. */
static inline void world_credit(struct world *w, unsigned cpu, struct world_unit *x)
{
    if (x) {
        x->got += w->now - w->began[cpu];
        x->left -= w->now - w->began[cpu];
    }
    w->began[cpu] = w->now;
}

static inline void world_pick(struct world *w, unsigned cpu)
{
    struct world_unit *old = world_of(w->s.cpu[cpu].current), *next;
    struct sched_unit *leaving;
    cpuset_t kick = CPUSET_NONE;

    cpuset_remove(&w->kicked, cpu);
    world_credit(w, cpu, old);
    if (old && old->burst && old->left <= 0) {
        old->wake_at = old->sleep ? w->now + old->sleep : INT64_MAX;
        sched_block(&w->s, &old->u);
    }
    next = world_of(sched_pick(&w->s, cpu, w->now, &w->timer[cpu], &kick));
    world_check(w);
    w->picks++;
    w->switches += next != old;
    leaving = w->s.cpu[cpu].leaving;
    if (leaving && !w->save_later)
        sched_saved(&w->s, leaving, w->now, &kick);
    world_check(w);
    w->kicked = cpuset_or(w->kicked, kick);
}

static inline void world_kicks(struct world *w)
{
    unsigned n = 0;

    while (!cpuset_empty(w->kicked)) {
        w->kicks++;
        world_pick(w, cpuset_lowest(w->kicked));
        assert_true(++n < 10000);
    }
}

/* No CPU idles while somebody who may run there waits. */
static inline void world_conserves(struct world *w)
{
    unsigned cpu, d, i;
    struct sched_unit *u;

    for (cpu = 0; cpu < w->t.nr_cpus && !w->idle_ok; cpu++) {
        if (w->s.cpu[cpu].current || !(w->s.cpu[cpu].usable))
            continue;
        for (d = 0; d < w->nr_domains; d++) {
            for (i = 0; i < w->nr_units[d]; i++) {
                u = &w->unit[d][i].u;
                if (u->state == UNIT_READY && cpuset_has(u->allowed, cpu))
                    fail_msg("cpu %u idles, unit %u.%u waits at %ld", cpu, d, i, w->now);
            }
        }
    }
}

static inline ns_t world_next(struct world *w)
{
    ns_t t = INT64_MAX;
    unsigned cpu, d, i;
    struct world_unit *x;

    for (cpu = 0; cpu < w->t.nr_cpus; cpu++) {
        t = w->timer[cpu] < t ? w->timer[cpu] : t;
        x = world_of(w->s.cpu[cpu].current);
        if (x && x->burst && w->began[cpu] + x->left < t)
            t = w->began[cpu] + x->left;
    }
    for (d = 0; d < w->nr_domains; d++) {
        for (i = 0; i < w->nr_units[d]; i++)
            t = w->unit[d][i].wake_at < t ? w->unit[d][i].wake_at : t;
    }
    return t > w->now ? t : w->now;
}

static inline void world_step(struct world *w)
{
    unsigned cpu, d, i;
    struct world_unit *x;

    for (d = 0; d < w->nr_domains; d++) {
        for (i = 0; i < w->nr_units[d]; i++) {
            if (w->unit[d][i].wake_at <= w->now)
                world_wake(w, &w->unit[d][i]);
        }
    }
    world_kicks(w);
    for (cpu = 0; cpu < w->t.nr_cpus; cpu++) {
        x = world_of(w->s.cpu[cpu].current);
        if (w->timer[cpu] <= w->now || (x && x->burst && w->began[cpu] + x->left <= w->now))
            world_pick(w, cpu);
    }
    world_kicks(w);
    world_conserves(w);
}

static inline void world_run(struct world *w, ns_t until)
{
    ns_t t;
    unsigned cpu;

    for (;;) {
        world_step(w);
        t = world_next(w);
        if (t > until)
            break;
        w->now = t;
    }
    w->now = until;
    for (cpu = 0; cpu < w->t.nr_cpus; cpu++)
        world_credit(w, cpu, world_of(w->s.cpu[cpu].current));
}

static inline void world_wake_all(struct world *w)
{
    unsigned d, i;

    for (d = 0; d < w->nr_domains; d++) {
        for (i = 0; i < w->nr_units[d]; i++)
            world_wake(w, &w->unit[d][i]);
    }
}

/* A domain's units work 'burst' and sleep 'sleep' in turn. */
static inline void world_sleepers(struct world *w, unsigned d, ns_t burst, ns_t sleep)
{
    unsigned i;

    for (i = 0; i < w->nr_units[d]; i++) {
        w->unit[d][i].burst = burst + (ns_t)(i * 1777);
        w->unit[d][i].sleep = sleep;
    }
}

static inline int world_params(struct world *w, unsigned d, const struct sched_params *p)
{
    cpuset_t kick = CPUSET_NONE;
    int rc = sched_set_params(&w->s, &w->dom[d], p, w->now, &kick);

    w->kicked = cpuset_or(w->kicked, kick);
    world_check(w);
    return rc;
}

#define WORLD_SET(w, d, field, value)                                                          \
    do {                                                                                       \
        struct sched_params p_;                                                                \
        sched_get_params(&(w)->dom[d], &p_);                                                   \
        p_.field = (value);                                                                    \
        assert_int_equal(world_params(w, d, &p_), 0);                                          \
    } while (0)

static inline ns_t world_got(const struct world *w, unsigned d)
{
    ns_t sum = 0;
    unsigned i;

    for (i = 0; i < w->nr_units[d]; i++)
        sum += w->unit[d][i].got;
    return sum;
}

/* Who runs on CPU 0, one of domain 0's three, yields to a sibling, and that one to anybody. */
static inline void world_yields(struct world *w)
{
    struct sched_unit *cur = w->s.cpu[0].current, *to = &w->unit[0][1].u;

    if (cur == to)
        to = &w->unit[0][2].u;
    w->now += 100 * US;
    sched_yield(&w->s, cur, to, w->now);
    world_pick(w, 0);
    assert_ptr_equal(w->s.cpu[0].current, to);
    w->now += 100 * US;
    sched_yield(&w->s, to, NULL, w->now);
    world_pick(w, 0);
    assert_true(w->s.cpu[0].current != to);
}

static inline void world_share(const struct world *w, unsigned d, ns_t expect, ns_t tolerance)
{
    ns_t got = world_got(w, d);

    if (got < expect - tolerance || got > expect + tolerance)
        fail_msg("domain %u got %ld us, expected %ld +- %ld", d, got / US, expect / US,
                 tolerance / US);
}

#endif
