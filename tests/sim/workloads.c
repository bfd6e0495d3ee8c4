#include <stdlib.h>

#include "sim/workloads.h"

struct group {
    struct sim_unit *unit[SIM_UNITS];
    unsigned n, arrived, items;
    bool asleep[SIM_UNITS], waits[SIM_UNITS];
    struct sim_unit *line[SIM_UNITS]; /* a lock's waiters in order; line[0] holds it */
    unsigned nr_line;
    unsigned answers[SIM_UNITS], asked_by[SIM_UNITS];
    ns_t tick[SIM_UNITS]; /* when the guest's own tick is due */
};

static struct group *group(struct sim_unit *u)
{
    return u->dom->group;
}

static struct sim_dom *start(struct sim *s, struct wl_dom p,
                             void (*step)(struct sim *, struct sim_unit *), ns_t a0, ns_t a1)
{
    struct sim_dom *d = sim_dom_create(s);
    struct group *g = calloc(1, sizeof(*g));
    struct sched_params q = d->p;

    q.weight = p.weight ? p.weight : SCHED_WEIGHT_DEFAULT;
    q.cap_ppm = p.cap_ppm;
    q.gang = p.gang;
    q.latency = p.quick ? LATENCY_LOW : LATENCY_NORMAL;
    if (sim_set_params(s, d, &q))
        sim_fail(s, "parameters refused");
    d->group = g;
    g->n = p.units;
    for (unsigned i = 0; i < p.units; i++) {
        struct sim_unit *u = g->unit[i] = sim_unit_create(s, d, step);

        u->arg[0] = a0;
        u->arg[1] = a1;
        if (p.pin.bits && sim_set_affinity(s, u, p.pin, p.pin))
            sim_fail(s, "affinity refused");
    }
    for (unsigned i = 0; i < p.units; i++) {
        sim_online(s, g->unit[i]);
        sim_wake_at(s, g->unit[i], (ns_t)sim_below(s, 5 * MS));
    }
    return d;
}

static void hog(struct sim *s, struct sim_unit *u)
{
    u->count++;
    sim_work(s, u, 50 * MS);
}

struct sim_dom *wl_hog(struct sim *s, struct wl_dom p)
{
    return start(s, p, hog, 0, 0);
}

static void interactive(struct sim *s, struct sim_unit *u)
{
    if (u->pc++ % 2) {
        u->count++;
        sim_sleep(s, u, sim_exp(s, u->arg[0]) + 1000);
    } else {
        sim_work(s, u, sim_about(s, u->arg[1], 50));
    }
}

struct sim_dom *wl_interactive(struct sim *s, struct wl_dom p, ns_t sleep, ns_t burst)
{
    return start(s, p, interactive, sleep, burst);
}

/*
 * The guest's kernel has a tick, and works before and after its program wakes up: about what Linux
 * does on a machine of 125 million instructions a second.
 */
#define TICK       (4 * MS)
#define TICK_WORK  (60 * US)
#define WAKE_WORK  (60 * US)
#define SLEEP_WORK (50 * US)

enum { CYCLIC_HOG, CYCLIC_TICK, CYCLIC_WAKE, CYCLIC_SLEEP };

/* What was done is over; arg[2]: when the timer rings. */
static void cyclic_finish(struct sim *s, struct sim_unit *u)
{
    if (u->pc == CYCLIC_WAKE)
        sim_note_latency(s, s->now - u->arg[2]);
    if (u->pc != CYCLIC_SLEEP)
        return;
    u->arg[2] += ((s->now - u->arg[2]) / u->arg[1] + 1) * u->arg[1];
    sim_tick(s, u, u->arg[2]);
}

static void cyclic(struct sim *s, struct sim_unit *u)
{
    static const ns_t work[] = {50 * MS, TICK_WORK, WAKE_WORK, SLEEP_WORK};
    ns_t *tick = &group(u)->tick[u->member];

    cyclic_finish(s, u);
    if (u->pc == CYCLIC_WAKE) {
        u->pc = CYCLIC_SLEEP;
    } else if (s->now >= *tick) {
        *tick += ((s->now - *tick) / TICK + 1) * TICK;
        sim_tick(s, u, *tick);
        u->pc = CYCLIC_TICK;
    } else {
        u->pc = s->now >= u->arg[2] ? CYCLIC_WAKE : CYCLIC_HOG;
    }
    u->count++;
    sim_work(s, u, work[u->pc]);
}

static void cyclic_irq(struct sim *s, struct sim_unit *u)
{
    if (u->pc == CYCLIC_HOG)
        sim_signal(s, u);
}

struct sim_dom *wl_cyclic(struct sim *s, struct wl_dom p, ns_t period)
{
    struct sim_dom *d = start(s, p, cyclic, 0, 0);
    struct group *g = d->group;

    for (unsigned i = 0; i < g->n; i++) {
        g->unit[i]->irq = cyclic_irq;
        g->unit[i]->arg[1] = period + i * period / 10;
        g->unit[i]->arg[2] = s->now + 10 * MS + (ns_t)sim_below(s, period);
        sim_tick(s, g->unit[i], g->unit[i]->arg[2]);
        g->tick[i] = s->now + (ns_t)sim_below(s, TICK);
        sim_tick(s, g->unit[i], g->tick[i]);
    }
    return d;
}

/* ---- barrier ---------------------------------------------------------------------------- */

static void release_all(struct sim *s, struct sim_unit *u)
{
    struct group *g = group(u);

    g->arrived = 0;
    for (unsigned i = 0; i < g->n; i++) {
        struct sim_unit *o = g->unit[i];

        if (o == u)
            continue;
        g->waits[i] = false;
        if (g->asleep[i])
            sim_wake(s, u, o, WAKE_EVENT);
        else
            sim_signal(s, o);
        g->asleep[i] = false;
    }
}

static void barrier(struct sim *s, struct sim_unit *u)
{
    struct group *g = group(u);

    switch (u->pc) {
    case 0: /* a phase begins */
        u->pc = 1;
        sim_work(s, u, sim_about(s, u->arg[0], 10));
        return;
    case 1: /* arrives */
        u->count++;
        if (++g->arrived == g->n) {
            release_all(s, u);
            u->pc = 0;
            return;
        }
        g->waits[u->member] = true;
        u->pc = 2;
        sim_spin(s, u, u->arg[1] ? u->arg[1] : FOREVER);
        return;
    case 2: /* released, or has spun long enough */
        u->pc = 0;
        if (!g->waits[u->member])
            return;
        g->asleep[u->member] = true;
        sim_block(s, u);
    }
}

struct sim_dom *wl_barrier(struct sim *s, struct wl_dom p, ns_t grain, ns_t spin)
{
    return start(s, p, barrier, grain, spin);
}

/* ---- lock ------------------------------------------------------------------------------- */

static bool is_preempted(const struct sim_unit *u)
{
    return u->state == S_READY;
}

static void release_lock(struct sim *s, struct sim_unit *u)
{
    struct group *g = group(u);
    struct sim_unit *next;

    g->nr_line--;
    for (unsigned i = 0; i < g->nr_line; i++)
        g->line[i] = g->line[i + 1];
    if (!g->nr_line)
        return;
    next = g->line[0];
    g->waits[next->member] = false;
    if (g->asleep[next->member]) {
        g->asleep[next->member] = false;
        sim_wake(s, u, next, WAKE_POLL);
    } else {
        sim_signal(s, next);
    }
}

static void lock(struct sim *s, struct sim_unit *u)
{
    struct group *g = group(u);
    unsigned m = u->member;

    switch (u->pc) {
    case 0:
        u->pc = 1;
        sim_work(s, u, sim_about(s, u->arg[0], 50));
        return;
    case 1: /* wants the lock */
        g->line[g->nr_line++] = u;
        g->waits[m] = g->nr_line > 1;
        u->pc = 2;
        if (g->waits[m]) /* stops early when the one before is not running */
            sim_spin(s, u, is_preempted(g->line[g->nr_line - 2]) ? 1 * US : 40 * US);
        return;
    case 2:
        if (g->waits[m]) {
            g->asleep[m] = true;
            sim_block(s, u);
            return;
        }
        u->pc = 3;
        sim_work(s, u, u->arg[1]);
        return;
    case 3:
        u->count++;
        u->pc = 0;
        release_lock(s, u);
    }
}

struct sim_dom *wl_lock(struct sim *s, struct wl_dom p, ns_t think, ns_t hold)
{
    return start(s, p, lock, think, hold);
}

/* ---- IPI broadcast ---------------------------------------------------------------------- */

/* Bit i of asked_by: member i waits for this unit's answer. */
static void answer(struct sim *s, struct sim_unit *u)
{
    struct group *g = group(u);
    unsigned who = g->asked_by[u->member];

    g->asked_by[u->member] = 0;
    for (; who; who &= who - 1) {
        unsigned i = (unsigned)__builtin_ctz(who);

        if (!--g->answers[i])
            sim_signal(s, g->unit[i]);
    }
}

static void ipi(struct sim *s, struct sim_unit *u)
{
    struct group *g = group(u);
    struct sim_unit *preempted = NULL;

    if (u->pc == 0 || g->n < 2) {
        u->pc = 1;
        u->count++;
        sim_work(s, u, sim_about(s, u->arg[0], 50));
        return;
    }
    if (u->pc == 1) {
        g->answers[u->member] = g->n - 1;
        for (unsigned i = 0; i < g->n; i++) {
            if (g->unit[i] == u)
                continue;
            g->asked_by[i] |= 1U << u->member;
            if (is_preempted(g->unit[i]))
                preempted = g->unit[i];
            sim_interrupt(s, u, g->unit[i]);
        }
        u->pc = 2;
        if (preempted) {
            sim_yield(s, u, preempted);
            return;
        }
    }
    u->pc = g->answers[u->member] ? 2 : 0;
    if (u->pc)
        sim_spin(s, u, FOREVER);
}

struct sim_dom *wl_ipi(struct sim *s, struct wl_dom p, ns_t grain)
{
    struct sim_dom *d = start(s, p, ipi, grain, 0);
    struct group *g = d->group;

    for (unsigned i = 0; i < g->n; i++)
        g->unit[i]->irq = answer;
    return d;
}

/* ---- producer and consumer -------------------------------------------------------------- */

static void pipe_end(struct sim *s, struct sim_unit *u)
{
    struct group *g = group(u);
    unsigned pair = u->member & ~1U, other = u->member ^ 1;
    unsigned *items = &g->answers[pair];
    bool maker = u->member == pair, stuck = maker ? *items == 4 : *items == 0;

    if (u->pc) { /* one item is done */
        u->pc = 0;
        u->count++;
        *items += maker ? 1U : -1U;
        if (g->asleep[other]) {
            g->asleep[other] = false;
            sim_wake(s, u, g->unit[other], WAKE_EVENT);
        }
    } else if (stuck) {
        g->asleep[u->member] = true;
        sim_block(s, u);
    } else {
        u->pc = 1;
        sim_work(s, u, sim_about(s, u->arg[maker ? 0 : 1], 50));
    }
}

struct sim_dom *wl_pipe(struct sim *s, struct wl_dom p, ns_t make, ns_t take)
{
    return start(s, p, pipe_end, make, take);
}

/* ---- guests that misbehave -------------------------------------------------------------- */

static void storm(struct sim *s, struct sim_unit *u)
{
    u->count++;
    sim_wake(s, u, u, WAKE_EVENT);
    if (u->pc++ % 2)
        sim_sleep(s, u, 1 * US);
    else
        sim_work(s, u, 5 * US);
}

struct sim_dom *wl_storm(struct sim *s, struct wl_dom p)
{
    return start(s, p, storm, 0, 0);
}

static void poll_storm(struct sim *s, struct sim_unit *u)
{
    struct group *g = group(u);
    unsigned other = u->member ^ 1;

    u->count++;
    if (u->pc++ % 2 == 0) {
        sim_work(s, u, 3 * US);
        return;
    }
    if (g->asleep[other]) {
        g->asleep[other] = false;
        sim_wake(s, u, g->unit[other], WAKE_POLL);
    } else if (!u->member) {
        return; /* the other goes to sleep first */
    }
    g->asleep[u->member] = true;
    sim_block(s, u);
}

struct sim_dom *wl_poll_storm(struct sim *s, struct wl_dom p)
{
    return start(s, p, poll_storm, 0, 0);
}

static void yielder(struct sim *s, struct sim_unit *u)
{
    if (u->pc++ % 2)
        sim_yield(s, u, NULL);
    else
        sim_work(s, u, u->arg[0]);
}

struct sim_dom *wl_yielder(struct sim *s, struct wl_dom p, ns_t grain)
{
    return start(s, p, yielder, grain, 0);
}
