/*
 * Two policies to compare with, written from what is documented about Xen's schedulers.
 *
 * credit2-like: one queue per last-level cache, at most 16 CPUs; credits burn at a rate inverse
 * to the weight; 10 ms are handed to all when the best of a queue has none left; the one with
 * most credit runs; nobody is preempted in his first 1 ms; a timer no shorter than 0.5 ms, a
 * unit queued by another CPU must be 0.5 ms ahead; a waker prefers an idle core, then an idle
 * thread, then the CPU with least credit; queues are balanced by average load.
 *
 * per-cpu (credit-like): a queue per CPU; priorities boost, under, over, first come first served
 * in each; 30 ms slices, credits by weight every 30 ms; a waker with credit is boosted until the
 * next 10 ms tick; a CPU with nothing better than 'over' looks at its peers.
 */
#include <stdlib.h>

#include "sim/sim.h"

#define C2_INIT     (10 * MS)
#define C2_RESIST   (500 * US)
#define C2_TIMER    (500 * US)
#define RATE_LIMIT  (1 * MS)
#define C1_SLICE    (30 * MS)
#define C1_TICK     (10 * MS)
#define LOAD_PERIOD (16 * MS)

enum { OVER, UNDER, BOOST };

struct rival_unit {
    bool queued, yielded, running;
    unsigned q;
    s64 credit;
    int prio;
    ns_t burnt_at, came_at;
    u64 order;
};

struct rival_queue {
    cpuset_t cpus, told;
    u64 members[SIM_UNITS / 64]; /* queued units */
    double load;                 /* decaying average of runnable units */
    ns_t load_at;
    unsigned runnable;
    s64 heaviest; /* weight that burns credit as time goes by */
};

struct rival {
    struct rival_unit unit[SIM_UNITS];
    struct rival_queue q[CPUSET_MAX];
    unsigned nr_q, q_of[CPUSET_MAX];
    struct sim_unit *cur[CPUSET_MAX];
    u64 order;
    ns_t accounted;
};

static struct rival *rival(struct sim *s)
{
    return s->polstate;
}

static struct rival_unit *ru(struct sim *s, const struct sim_unit *u)
{
    return &rival(s)->unit[u->id];
}

/* A domain's weight is that of all its units here, so that all policies have the same goal. */
static s64 unit_weight(const struct sim_unit *u)
{
    return MAX(u->dom->p.weight / u->dom->nr_units, 1U);
}

/* ---- common ----------------------------------------------------------------------------- */

static void add_queue(struct rival *r, unsigned cpu, bool fresh)
{
    if (fresh)
        r->nr_q++;
    r->q_of[cpu] = r->nr_q - 1;
    cpuset_add(&r->q[r->nr_q - 1].cpus, cpu);
}

static void rival_init(struct sim *s, bool shared)
{
    struct rival *r = calloc(1, sizeof(*r));

    s->polstate = r;
    r->accounted = s->now;
    for (unsigned i = 0; i < s->topo.nr_cpus; i++)
        add_queue(r, i,
                  !shared || !i || s->topo.cpu[i].cache != s->topo.cpu[i - 1].cache ||
                      cpuset_count(r->q[r->nr_q - 1].cpus) == 16);
}

static void c2_init(struct sim *s)
{
    rival_init(s, true);
}

static void c1_init(struct sim *s)
{
    rival_init(s, false);
}

static void rival_fini(struct sim *s)
{
    free(s->polstate);
}

static void no_dom(struct sim *s, struct sim_dom *d)
{
}

static void rival_unit_init(struct sim *s, struct sim_unit *u)
{
    struct rival *r = rival(s);
    unsigned best = 0;

    for (unsigned i = 1; i < r->nr_q; i++) {
        const struct rival_queue *q = &r->q[i], *b = &r->q[best];

        if (q->runnable * cpuset_count(b->cpus) < b->runnable * cpuset_count(q->cpus))
            best = i;
    }
    *ru(s, u) = (struct rival_unit){.q = best, .credit = C2_INIT, .prio = UNDER};
    r->q[best].runnable++; /* counted at once, so that new units spread */
}

static void load_track(struct sim *s, struct rival_queue *q, int change)
{
    double part = (double)(s->now - q->load_at) / (double)LOAD_PERIOD;

    if (part > 1)
        part = 1;
    q->load += (q->runnable - q->load) * part;
    q->load_at = s->now;
    q->runnable += (unsigned)change;
}

static void rival_online(struct sim *s, struct sim_unit *u)
{
    struct rival_queue *q = &rival(s)->q[ru(s, u)->q];

    load_track(s, q, -1);
    q->heaviest = MAX(q->heaviest, unit_weight(u));
}

static void set_queued(struct sim *s, struct sim_unit *u, bool queued)
{
    struct rival_unit *x = ru(s, u);
    u64 *word = &rival(s)->q[x->q].members[u->id / 64];

    x->queued = queued;
    x->order = ++rival(s)->order;
    *word = queued ? *word | BIT(u->id % 64) : *word & ~BIT(u->id % 64);
}

static void rival_block(struct sim *s, struct sim_unit *u)
{
}

static void rival_yield(struct sim *s, struct sim_unit *u, struct sim_unit *to)
{
    ru(s, u)->yielded = true;
}

static int rival_params(struct sim *s, struct sim_dom *d, const struct sched_params *p,
                        cpuset_t *kick)
{
    return 0;
}

static int rival_affinity(struct sim *s, struct sim_unit *u, cpuset_t hard, cpuset_t soft,
                          cpuset_t *kick)
{
    return 0; /* set before the unit starts; allowed() is asked at each choice */
}

static bool allowed(struct sim *s, const struct sim_unit *u, unsigned cpu)
{
    return cpuset_has(sim_allowed(s, u), cpu) && (u->held < 0 || u->held == (int)cpu);
}

/* An idle CPU of 'cpus' that was not told: the old one, else on an idle core, else any. */
static int find_idle(struct sim *s, struct sim_unit *u, cpuset_t cpus, cpuset_t told)
{
    cpuset_t idle =
        cpuset_minus(cpuset_and(cpuset_and(cpus, s->idle), sim_allowed(s, u)), told);
    cpuset_t cores = CPUSET_NONE;

    for (u64 b = idle.bits; b; b &= b - 1)
        if (cpuset_empty(cpuset_minus(s->cpu[__builtin_ctzl(b)].core, s->idle)))
            cpuset_add(&cores, (unsigned)__builtin_ctzl(b));
    if (!cpuset_empty(cores))
        idle = cores;
    if (u->cpu >= 0 && cpuset_has(idle, (unsigned)u->cpu))
        return u->cpu;
    return cpuset_empty(idle) ? -1 : (int)cpuset_lowest(idle);
}

static void tell(struct rival_queue *q, unsigned cpu, cpuset_t *kick)
{
    cpuset_add(&q->told, cpu);
    cpuset_add(kick, cpu);
}

/* ---- credit2-like ----------------------------------------------------------------------- */

static void c2_burn(struct sim *s, struct sim_unit *u)
{
    struct rival *r = rival(s);
    struct rival_unit *x = ru(s, u);

    x->credit -= (s->now - x->burnt_at) * r->q[x->q].heaviest / unit_weight(u);
    x->burnt_at = s->now;
}

static void c2_tickle(struct sim *s, struct sim_unit *u, cpuset_t *kick)
{
    struct rival *r = rival(s);
    struct rival_queue *q = &r->q[ru(s, u)->q];
    int cpu = find_idle(s, u, q->cpus, q->told), worst = -1;
    s64 least = ru(s, u)->credit;

    if (cpu >= 0) {
        tell(q, (unsigned)cpu, kick);
        return;
    }
    for (u64 b = q->cpus.bits & ~q->told.bits; b; b &= b - 1) {
        unsigned i = (unsigned)__builtin_ctzl(b);
        s64 credit;

        if (!r->cur[i] || !allowed(s, u, i))
            continue;
        c2_burn(s, r->cur[i]);
        credit = ru(s, r->cur[i])->credit;
        if (r->cur[i] != u && u->cpu != (int)i)
            credit += C2_RESIST;
        if (credit < least) {
            least = credit;
            worst = (int)i;
        }
    }
    if (worst >= 0)
        tell(q, (unsigned)worst, kick);
}

static void c2_move(struct sim *s, struct sim_unit *u, unsigned to)
{
    struct rival_unit *x = ru(s, u);
    bool queued = x->queued;

    if (queued)
        set_queued(s, u, false);
    load_track(s, &rival(s)->q[x->q], -1);
    x->q = to;
    load_track(s, &rival(s)->q[to], 1);
    rival(s)->q[to].heaviest = MAX(rival(s)->q[to].heaviest, unit_weight(u));
    if (queued)
        set_queued(s, u, true);
}

static void c2_wake(struct sim *s, struct sim_unit *u, enum sched_wake why, cpuset_t *kick)
{
    struct rival *r = rival(s);
    struct rival_unit *x = ru(s, u);

    if (u->state != S_READY || x->queued || x->running)
        return;
    load_track(s, &r->q[x->q], 1);
    for (unsigned i = 0; i < r->nr_q; i++) { /* a clearly less loaded queue */
        struct rival_queue *q = &r->q[i], *old = &r->q[x->q];

        load_track(s, q, 0);
        if (q->load / cpuset_count(q->cpus) + 0.5 < old->load / cpuset_count(old->cpus) &&
            !cpuset_empty(cpuset_and(sim_allowed(s, u), q->cpus)))
            c2_move(s, u, i);
    }
    x->burnt_at = s->now;
    set_queued(s, u, true);
    if (u->held < 0)
        c2_tickle(s, u, kick);
}

/* A push to the least loaded queue when this one is clearly above it. */
static void c2_balance(struct sim *s, struct rival_queue *q, cpuset_t *kick)
{
    struct rival *r = rival(s);
    unsigned best = 0;

    for (unsigned i = 0; i < r->nr_q; i++) {
        load_track(s, &r->q[i], 0);
        if (r->q[i].load / cpuset_count(r->q[i].cpus) <
            r->q[best].load / cpuset_count(r->q[best].cpus))
            best = i;
    }
    if (q->load - r->q[best].load * cpuset_count(q->cpus) / cpuset_count(r->q[best].cpus) < 1.5)
        return;
    for (unsigned i = 0; i < SIM_UNITS; i++) {
        struct sim_unit *u = &s->unit[i];

        if (!u->used || !r->unit[i].queued || &r->q[r->unit[i].q] != q || u->held >= 0 ||
            cpuset_empty(cpuset_and(sim_allowed(s, u), r->q[best].cpus)))
            continue;
        c2_move(s, u, best);
        c2_tickle(s, u, kick);
        return;
    }
}

static void c2_reset(struct sim *s, unsigned queue)
{
    struct rival *r = rival(s);

    for (unsigned i = 0; i < SIM_UNITS; i++) {
        struct rival_unit *x = &r->unit[i];

        if (!s->unit[i].used || x->q != queue)
            continue;
        if (x->running)
            c2_burn(s, &s->unit[i]);
        x->credit = MIN(x->credit, C2_TIMER) + C2_INIT;
        x->credit = MAX(x->credit, 1);
    }
}

static struct sim_unit *c2_candidate(struct sim *s, unsigned cpu, struct sim_unit *prev,
                                     s64 *next_credit)
{
    struct rival *r = rival(s);
    struct rival_queue *q = &r->q[r->q_of[cpu]];
    struct sim_unit *best = prev;
    s64 credit = prev ? ru(s, prev)->credit : INT64_MIN, second = INT64_MIN;

    if (prev && ru(s, prev)->yielded)
        credit = INT64_MIN + 1;
    for (unsigned w = 0; w < SIM_UNITS / 64; w++)
        for (u64 b = q->members[w]; b; b &= b - 1) {
            struct sim_unit *u = &s->unit[w * 64 + (unsigned)__builtin_ctzl(b)];
            s64 c = ru(s, u)->credit;

            if (!allowed(s, u, cpu))
                continue;
            if (prev && u->cpu != (int)cpu && u->cpu >= 0)
                c -= C2_RESIST;
            if (c > credit) {
                second = best ? credit : second;
                credit = c;
                best = u;
            } else if (c > second) {
                second = c;
            }
        }
    *next_credit = second;
    return best;
}

/* The CPU's unit is 'next' from now on; 'stay' is the one before if it would go on. */
static void hand_over(struct sim *s, unsigned cpu, struct sim_unit *next,
                      const struct sim_unit *stay)
{
    struct rival *r = rival(s);
    struct sim_unit *prev = r->cur[cpu];

    r->cur[cpu] = next;
    if (!prev || next == prev)
        return;
    ru(s, prev)->running = false;
    if (stay)
        set_queued(s, prev, true);
    else
        load_track(s, &r->q[r->q_of[cpu]], -1);
}

static struct sim_unit *c2_pick(struct sim *s, unsigned cpu, ns_t *until, cpuset_t *kick)
{
    struct rival *r = rival(s);
    struct rival_queue *q = &r->q[r->q_of[cpu]];
    struct sim_unit *prev = r->cur[cpu], *stay, *next;
    s64 second;
    ns_t slice;

    cpuset_remove(&q->told, cpu);
    if (prev)
        c2_burn(s, prev);
    stay = prev && prev->state == S_RUNNING && !prev->blocking ? prev : NULL;
    if (stay && !ru(s, stay)->yielded && s->now - ru(s, stay)->came_at < RATE_LIMIT) {
        *until = ru(s, stay)->came_at + RATE_LIMIT;
        return stay;
    }
    next = c2_candidate(s, cpu, stay, &second);
    if (stay)
        ru(s, stay)->yielded = false;
    if (next && ru(s, next)->credit <= 0) {
        c2_reset(s, r->q_of[cpu]);
        c2_balance(s, q, kick);
    }
    hand_over(s, cpu, next, stay);
    if (!next)
        return NULL;
    if (next != prev) {
        set_queued(s, next, false);
        ru(s, next)->running = true;
        ru(s, next)->came_at = ru(s, next)->burnt_at = s->now;
    }
    slice = second == INT64_MIN ? C2_INIT : MAX(ru(s, next)->credit - second, 0);
    slice = slice * unit_weight(next) / q->heaviest;
    slice = MAX(slice, next == prev ? C2_TIMER : RATE_LIMIT);
    *until = s->now + MIN(slice, C2_INIT);
    return next;
}

static void c2_saved(struct sim *s, struct sim_unit *u, cpuset_t *kick)
{
    if (ru(s, u)->queued)
        c2_tickle(s, u, kick);
}

/* ---- per-cpu ---------------------------------------------------------------------------- */

static void c1_burn(struct sim *s, struct sim_unit *u)
{
    struct rival_unit *x = ru(s, u);

    x->credit -= s->now - x->burnt_at;
    if (x->prio == BOOST && s->now - x->came_at >= C1_TICK)
        x->prio = UNDER;
    if (x->prio != BOOST)
        x->prio = x->credit > 0 ? UNDER : OVER;
    x->burnt_at = s->now;
}

/* Every 30 ms the credits of all CPUs are shared out by weight among the active. */
static void c1_account(struct sim *s)
{
    struct rival *r = rival(s);
    s64 weights = 0, pot = C1_SLICE * cpuset_count(s->online);

    if (s->now - r->accounted < C1_SLICE)
        return;
    r->accounted = s->now;
    for (unsigned i = 0; i < SIM_UNITS; i++)
        if (s->unit[i].used && s->unit[i].state >= S_READY)
            weights += unit_weight(&s->unit[i]);
    for (unsigned i = 0; i < SIM_UNITS; i++) {
        struct rival_unit *x = &r->unit[i];

        if (!s->unit[i].used || s->unit[i].state < S_READY)
            continue;
        x->credit += pot * unit_weight(&s->unit[i]) / weights;
        x->credit = MIN(x->credit, C1_SLICE);
        x->credit = MAX(x->credit, -C1_SLICE);
        if (x->prio != BOOST)
            x->prio = x->credit > 0 ? UNDER : OVER;
    }
}

static void c1_wake(struct sim *s, struct sim_unit *u, enum sched_wake why, cpuset_t *kick)
{
    struct rival *r = rival(s);
    struct rival_unit *x = ru(s, u);
    int cpu;

    if (u->state != S_READY || x->queued || x->running)
        return;
    if (x->prio == UNDER)
        x->prio = BOOST;
    load_track(s, &r->q[x->q], 1);
    if (!cpuset_has(sim_allowed(s, u), cpuset_lowest(r->q[x->q].cpus)))
        c2_move(s, u, r->q_of[cpuset_lowest(sim_allowed(s, u))]);
    set_queued(s, u, true);
    cpu = (int)cpuset_lowest(r->q[x->q].cpus);
    if (!r->cur[cpu] || ru(s, r->cur[cpu])->prio < x->prio)
        cpuset_add(kick, (unsigned)cpu);
    if (r->cur[cpu] && (cpu = find_idle(s, u, s->online, s->kicked)) >= 0)
        cpuset_add(kick, (unsigned)cpu);
}

/* The best of a queue above 'prio' that may run on 'cpu'. */
static struct sim_unit *c1_best(struct sim *s, const struct rival_queue *q, unsigned cpu,
                                int prio)
{
    struct sim_unit *best = NULL;

    for (unsigned w = 0; w < SIM_UNITS / 64; w++)
        for (u64 b = q->members[w]; b; b &= b - 1) {
            struct sim_unit *u = &s->unit[w * 64 + (unsigned)__builtin_ctzl(b)];

            if (!allowed(s, u, cpu) || ru(s, u)->prio <= prio)
                continue;
            if (!best || ru(s, u)->prio > ru(s, best)->prio ||
                (ru(s, u)->prio == ru(s, best)->prio && ru(s, u)->order < ru(s, best)->order))
                best = u;
        }
    return best;
}

static struct sim_unit *c1_steal(struct sim *s, unsigned cpu, int prio)
{
    struct rival *r = rival(s);

    for (unsigned i = 1; i < s->topo.nr_cpus; i++) {
        unsigned peer = (cpu + i) % s->topo.nr_cpus;
        struct sim_unit *u = c1_best(s, &r->q[r->q_of[peer]], cpu, prio);

        if (u)
            return u;
    }
    return NULL;
}

static struct sim_unit *c1_pick(struct sim *s, unsigned cpu, ns_t *until, cpuset_t *kick)
{
    struct rival *r = rival(s);
    struct rival_queue *q = &r->q[r->q_of[cpu]];
    struct sim_unit *prev = r->cur[cpu], *stay, *next, *other;

    c1_account(s);
    if (prev)
        c1_burn(s, prev);
    stay = prev && prev->state == S_RUNNING && !prev->blocking ? prev : NULL;
    if (stay && !ru(s, stay)->yielded && s->now - ru(s, stay)->came_at < RATE_LIMIT) {
        *until = ru(s, stay)->came_at + RATE_LIMIT;
        return stay;
    }
    next = stay;
    other = c1_best(s, q, cpu, stay && !ru(s, stay)->yielded ? ru(s, stay)->prio - 1 : -1);
    if (stay && !ru(s, stay)->yielded && other && ru(s, other)->prio == ru(s, stay)->prio &&
        s->now - ru(s, stay)->came_at < C1_SLICE)
        other = NULL;
    if (other)
        next = other;
    if (!next || ru(s, next)->prio == OVER) {
        other = c1_steal(s, cpu, next ? OVER : -1);
        next = other ? other : next;
    }
    if (stay)
        ru(s, stay)->yielded = false;
    hand_over(s, cpu, next, stay);
    if (!next)
        return NULL;
    if (next != prev) {
        set_queued(s, next, false);
        if (ru(s, next)->q != r->q_of[cpu])
            c2_move(s, next, r->q_of[cpu]);
        ru(s, next)->running = true;
        ru(s, next)->came_at = ru(s, next)->burnt_at = s->now;
    }
    *until = s->now + C1_TICK;
    return next;
}

static void c1_saved(struct sim *s, struct sim_unit *u, cpuset_t *kick)
{
    int cpu;

    if (ru(s, u)->queued && (cpu = find_idle(s, u, s->online, s->kicked)) >= 0)
        cpuset_add(kick, (unsigned)cpu);
}

#define RIVAL                                                                                  \
    .fini = rival_fini, .dom_init = no_dom, .dom_remove = no_dom,                              \
    .unit_init = rival_unit_init, .online = rival_online, .block = rival_block,                \
    .yield = rival_yield, .set_params = rival_params, .set_affinity = rival_affinity

const struct policy policy_credit2 = {
    .name = "credit2-like",
    .init = c2_init,
    .wake = c2_wake,
    .pick = c2_pick,
    .saved = c2_saved,
    RIVAL,
};
const struct policy policy_percpu = {
    .name = "per-cpu",
    .init = c1_init,
    .wake = c1_wake,
    .pick = c1_pick,
    .saved = c1_saved,
    RIVAL,
};
