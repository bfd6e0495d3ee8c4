#include <string.h>

#include "sim/internal.h"

#define EXCUSE_MAX (300 * US) /* a kick that is on its way for longer is lost */
#define CAP_PERIOD (10 * MS)

static bool agree(const struct sim_dom *a, const struct sim_dom *b)
{
    return a == b || (a->p.gang != GANG_STRICT && b->p.gang != GANG_STRICT);
}

static bool may_share(const struct sim *s, const struct sim_dom *d, unsigned cpu)
{
    u64 others = s->cpu[cpu].core.bits & ~BIT(cpu);

    for (; others; others &= others - 1) {
        const struct sim_unit *o = s->cpu[__builtin_ctzl(others)].cur;

        if (o && !agree(o->dom, d))
            return false;
    }
    return true;
}

/* With strict domains a core may well wait until all its threads have saved what they ran. */
static bool core_clears(const struct sim *s, unsigned cpu)
{
    u64 threads = s->cpu[cpu].core.bits;

    for (; threads; threads &= threads - 1)
        if (s->cpu[__builtin_ctzl(threads)].leaving)
            return true;
    return false;
}

static bool is_parked(struct sim *s, const struct sim_unit *u)
{
    return s->pol->parked && s->pol->parked(s, u);
}

static bool just_strict(const struct sim *s)
{
    for (unsigned i = 0; i < SIM_DOMS; i++)
        if (s->dom[i].used && s->dom[i].p.gang == GANG_STRICT &&
            s->now - s->dom[i].strict_since < 100 * US)
            return true;
    return false;
}

static void check_bound(struct sim *s, const struct sim_unit *u)
{
    ns_t waited = s->now - u->ready_since;

    if (!s->wait_bound || u->dom->p.cap_ppm || cpuset_empty(sim_allowed(s, u)))
        return;
    if (waited > s->wait_bound(s, (struct sim_unit *)u))
        sim_fail(s, "unit %u waited %.3f ms", u->id, (double)waited / MS);
}

void check_start(struct sim *s, struct sim_unit *u, unsigned cpu)
{
    if (!u->used || u->state != S_READY)
        sim_fail(s, "CPU %u starts unit %u in state %d", cpu, u->id, u->state);
    if (u->held >= 0)
        sim_fail(s, "CPU %u starts unit %u, CPU %d has not saved it", cpu, u->id, u->held);
    if (u->cpu >= 0 && u->cpu != (int)cpu && s->cpu[u->cpu].cur == u)
        sim_fail(s, "CPU %u starts unit %u that CPU %d runs", cpu, u->id, u->cpu);
    if (!s->cpu[cpu].online || !cpuset_has(sim_allowed(s, u), cpu))
        sim_fail(s, "CPU %u starts unit %u that may not run there", cpu, u->id);
    if (!may_share(s, u->dom, cpu)) {
        s->st.overlaps++;
        sim_fail(s, "CPU %u starts unit %u beside another domain", cpu, u->id);
    }
    check_bound(s, u);
}

void check_stay(struct sim *s, struct sim_unit *u, unsigned cpu)
{
    if (u->state < S_READY || u->blocking)
        sim_fail(s, "CPU %u keeps unit %u that is to stop", cpu, u->id);
    if (!s->cpu[cpu].online || !cpuset_has(sim_allowed(s, u), cpu))
        sim_fail(s, "CPU %u keeps unit %u that may not run there", cpu, u->id);
    if (!may_share(s, u->dom, cpu) && !just_strict(s))
        sim_fail(s, "CPU %u keeps unit %u beside another domain", cpu, u->id);
}

/* After a knob: who runs at a wrong place must have been told. */
void check_places(struct sim *s)
{
    for (unsigned i = 0; i < s->topo.nr_cpus; i++) {
        struct sim_unit *u = s->cpu[i].cur;

        if (u && !cpuset_has(sim_allowed(s, u), i) && !cpuset_has(s->kicked, i) &&
            !s->cpu[i].resched)
            sim_fail(s, "CPU %u runs unit %u, may not and was not told", i, u->id);
    }
}

/* A leaky bucket: run time above the cap, at most what two full periods of budget allow. */
void check_budget(struct sim *s, struct sim_dom *d, ns_t ran)
{
    ns_t cap = d->p.cap_ppm, bound;

    if (!cap)
        return;
    d->cap_level += ran - (s->now - d->cap_seen) * cap / 1000000;
    d->cap_seen = s->now;
    d->cap_level = MAX(d->cap_level, 0);
    d->cap_max = MAX(d->cap_max, d->cap_level);
    bound = 2 * CAP_PERIOD * cap / 1000000 + d->nr_units * 100 * US + 1 * MS;
    if (s->checks && d->cap_level > bound)
        sim_fail(s, "domain %u overran its cap by %.3f ms (bound %.3f)", d->id,
                 (double)d->cap_level / MS, (double)bound / MS);
}

/* ---- work conservation ------------------------------------------------------------------ */

struct match {
    struct sim *s;
    cpuset_t cpus, seen;
    int unit_of[CPUSET_MAX];
};

static cpuset_t may_take(const struct sim *s, const struct sim_unit *u, cpuset_t cpus)
{
    cpuset_t can = cpuset_and(sim_allowed(s, u), cpus);

    if (u->cpu >= 0 && s->cpu[u->cpu].cur == u) /* back online before it left its CPU */
        return CPUSET_NONE;
    if (u->held >= 0) /* its core may be changing over to another domain */
        can = s->strict_any ? CPUSET_NONE : cpuset_and(can, cpuset_of((unsigned)u->held));
    if (s->strict_any)
        for (u64 b = can.bits; b; b &= b - 1)
            if (!may_share(s, u->dom, (unsigned)__builtin_ctzl(b)) ||
                core_clears(s, (unsigned)__builtin_ctzl(b)))
                cpuset_remove(&can, (unsigned)__builtin_ctzl(b));
    return can;
}

/* One step of a maximum matching of waiting units to idle CPUs. */
static bool place(struct match *m, const struct sim_unit *u)
{
    cpuset_t can = may_take(m->s, u, m->cpus);

    for (u64 b = can.bits; b; b &= b - 1) {
        unsigned cpu = (unsigned)__builtin_ctzl(b);

        if (cpuset_has(m->seen, cpu))
            continue;
        cpuset_add(&m->seen, cpu);
        if (m->unit_of[cpu] < 0 || place(m, &m->s->unit[m->unit_of[cpu]])) {
            m->unit_of[cpu] = u->id;
            return true;
        }
    }
    return false;
}

/* Idle CPUs that were told to look, or will look again after a lock was taken. */
static cpuset_t about_to_look(const struct sim *s)
{
    cpuset_t look = cpuset_and(s->idle, s->kicked);

    for (u64 b = s->idle.bits; b; b &= b - 1) {
        unsigned cpu = (unsigned)__builtin_ctzl(b);
        const struct sim_cpu *c = &s->cpu[cpu];

        if (c->resched || (cpuset_has(s->retrying, cpu) && s->now < c->retry) ||
            (s->strict_any && cpuset_and(c->core, s->kicked).bits))
            cpuset_add(&look, cpu);
    }
    return look;
}

static bool is_limited(const struct sim *s, const struct sim_unit *u)
{
    cpuset_t pool = cpuset_and(s->pool[u->dom->pool], s->online);

    return u->held >= 0 || sim_allowed(s, u).bits != pool.bits;
}

static void check_excuse(struct sim *s, struct sim_unit *u)
{
    if (u->excused_until != s->st.events)
        u->excused_since = s->now;
    u->excused_until = s->st.events + 1;
    if (s->checks && s->now - u->excused_since > EXCUSE_MAX)
        sim_fail(s, "unit %u waits for a CPU that was told long ago", u->id);
}

static void find_waiting(struct sim *s)
{
    cpuset_t told = about_to_look(s);
    struct match m = {.s = s, .cpus = told};
    bool limited = s->strict_any || !cpuset_empty(s->retrying);
    u16 left[SIM_UNITS];
    unsigned n = 0;

    memset(m.unit_of, 0xff, sizeof(m.unit_of));
    for (unsigned w = 0; w < SIM_UNITS / 64; w++)
        for (u64 b = s->ready[w]; b; b &= b - 1) {
            struct sim_unit *u = &s->unit[w * 64 + (unsigned)__builtin_ctzl(b)];

            if (is_parked(s, u) || cpuset_empty(may_take(s, u, s->idle)))
                continue;
            s->any_ready = true;
            m.seen = CPUSET_NONE;
            limited |= is_limited(s, u);
            if (!place(&m, u))
                left[n++] = u->id;
            else
                check_excuse(s, u);
        }
    m.cpus = s->idle;
    while (n--) {
        m.seen = CPUSET_NONE;
        if (!place(&m, &s->unit[left[n]]))
            continue;
        /*
         * Units with affinities or of strict domains may have been promised the same CPU, also
         * one that waits for a lock: who comes too late is looked after when that CPU has looked.
         */
        if (limited && !cpuset_empty(cpuset_and(sim_allowed(s, &s->unit[left[n]]), told))) {
            check_excuse(s, &s->unit[left[n]]);
            continue;
        }
        s->waits = true;
        s->waits_unit = left[n];
        return;
    }
}

void check_time_passes(struct sim *s, ns_t to)
{
    ns_t dt = to - s->now;

    if (!dt)
        return;
    if (s->any_ready) {
        s->st.ready_time += dt * cpuset_count(s->online);
        s->st.ready_busy += dt * cpuset_count(cpuset_minus(s->online, s->idle));
    }
    if (!s->waits)
        return;
    s->st.idle_while_runnable += dt;
    if (s->checks)
        sim_fail(s, "unit %d waits beside an idle CPU (idle %lx, kicked %lx, allowed %lx)",
                 s->waits_unit, s->idle.bits, s->kicked.bits,
                 sim_allowed(s, &s->unit[s->waits_unit]).bits);
}

static void check_overlap(struct sim *s)
{
    for (unsigned i = 0; i < s->topo.nr_cpus; i++)
        if (s->cpu[i].cur && !may_share(s, s->cpu[i].cur->dom, i) && !just_strict(s))
            sim_fail(s, "CPU %u and its sibling run two domains", i);
}

void check_now(struct sim *s)
{
    int broken;

    s->waits = false;
    s->any_ready = s->nr_ready && cpuset_empty(s->idle);
    if (s->nr_ready && !cpuset_empty(s->idle))
        find_waiting(s);
    if (!s->checks)
        return;
    if (s->strict_any)
        check_overlap(s);
    if (s->pol->check && (broken = s->pol->check(s)))
        sim_fail(s, "invariant %d of the policy is broken", broken);
    if (s->st.events % 1024 == 0)
        for (unsigned i = 0; i < SIM_UNITS; i++)
            if (s->unit[i].used && s->unit[i].state == S_READY)
                check_bound(s, &s->unit[i]);
}

/* ---- the fluid reference ---------------------------------------------------------------- */

/* Shares of m CPUs by weight; no domain gets more than one CPU for each of its active units. */
static void fluid_rates(struct sim *s)
{
    double cpus = cpuset_count(s->online), weights;
    unsigned active[SIM_DOMS] = {0};
    bool fixed[SIM_DOMS] = {false}, again;

    for (unsigned i = 0; i < SIM_UNITS; i++)
        if (s->unit[i].used && s->unit[i].state >= S_READY)
            active[s->unit[i].dom->id]++;
    for (unsigned i = 0; i < SIM_DOMS; i++)
        s->dom[i].fluid_rate = 0;
    do {
        again = false;
        weights = 0;
        for (unsigned i = 0; i < SIM_DOMS; i++)
            if (active[i] && !fixed[i])
                weights += s->dom[i].p.weight;
        for (unsigned i = 0; i < SIM_DOMS; i++) {
            double most = active[i], cap = s->dom[i].p.cap_ppm / 1e6;

            if (!active[i] || fixed[i])
                continue;
            if (cap > 0 && cap < most)
                most = cap;
            s->dom[i].fluid_rate = cpus * s->dom[i].p.weight / weights;
            if (s->dom[i].fluid_rate <= most)
                continue;
            s->dom[i].fluid_rate = most;
            fixed[i] = again = true;
            cpus -= most;
            break;
        }
    } while (again);
}

void fluid_advance(struct sim *s)
{
    double dt = (double)(s->now - s->fluid_at);

    s->fluid_at = s->now;
    if (dt <= 0)
        return;
    sim_account(s);
    fluid_rates(s);
    for (unsigned i = 0; i < SIM_DOMS; i++) {
        struct sim_dom *d = &s->dom[i];
        double lag;

        if (!d->used)
            continue;
        d->fluid += d->fluid_rate * dt;
        if (d->fluid_rate == 0) /* who sleeps starts afresh */
            d->fluid = (double)d->ran;
        lag = d->fluid - (double)d->ran;
        s->fluid_lag = MAX(s->fluid_lag, lag < 0 ? -lag : lag);
    }
}
