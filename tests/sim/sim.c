#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/internal.h"

static const char *const ev_name[] = {"timer", "kick", "saved", "work",
                                      "sleep", "irq",  "tick",  "call"};

const struct sim_cost sim_cost_default = {
    .kick = 2 * US,
    .save = 300,
    .swtch = 1500,
    .migrate = {0, 500, 2 * US, 20 * US, 40 * US},
    .smt_pct = 60,
};

/* ---- progress of the running units ------------------------------------------------------ */

static void progress(struct sim *s, struct sim_unit *u)
{
    struct sim_cpu *c = &s->cpu[u->cpu];
    ns_t from = MAX(u->acct, u->start), ran = s->now - u->acct;

    u->ran += ran;
    u->dom->ran += ran;
    check_budget(s, u->dom, ran);
    u->acct = s->now;
    if (s->now > from && !u->blocking) {
        ns_t done = (s->now - from) * (c->siblings_busy ? s->cost.smt_pct : 100) / 100;

        done = MIN(done, u->work);
        u->work -= done;
        if (!u->spin) {
            u->useful += done;
            u->dom->useful += done;
        }
    }
}

/* Says when the unit's work is done, at the speed its CPU has now. */
static void expect(struct sim *s, struct sim_unit *u)
{
    unsigned pct = s->cpu[u->cpu].siblings_busy ? s->cost.smt_pct : 100;

    u->gen++;
    if (!u->blocking && u->work < FOREVER / 2)
        sim_post(s, MAX(s->now, u->start) + (u->work * 100 + pct - 1) / pct, EV_WORK, u->id,
                 u->gen);
}

void sim_account(struct sim *s)
{
    for (unsigned i = 0; i < s->topo.nr_cpus; i++)
        if (s->cpu[i].cur)
            progress(s, s->cpu[i].cur);
}

static void sibling_changed(struct sim *s, unsigned cpu, bool busy)
{
    u64 others = s->cpu[cpu].core.bits & ~BIT(cpu);

    for (; others; others &= others - 1) {
        struct sim_cpu *o = &s->cpu[__builtin_ctzl(others)];

        if (o->cur)
            progress(s, o->cur);
        o->siblings_busy += busy ? 1U : -1U;
        if (o->cur)
            expect(s, o->cur);
    }
}

/* ---- acting like the hypervisor --------------------------------------------------------- */

static bool mutant_strikes(struct sim *s, int which)
{
    return SIM_MUTANT == which && s->pol == &policy_serai && sim_below(s, 50) == 0;
}

void sim_send_kicks(struct sim *s, cpuset_t kick)
{
    u64 k = kick.bits & ~s->kicked.bits;

    if (kick.bits & ~cpuset_first(s->topo.nr_cpus).bits)
        sim_fail(s, "kick for absent CPUs %lx", kick.bits);
    for (; k; k &= k - 1) {
        unsigned cpu = (unsigned)__builtin_ctzl(k);
        ns_t delay = s->cost.kick;

        if (s->cost.kick_jitter)
            delay += (ns_t)sim_below(s, (u64)s->cost.kick_jitter);
        s->st.kicks++;
        if (mutant_strikes(s, LOSE_KICK))
            continue;
        cpuset_add(&s->kicked, cpu);
        sim_post(s, s->now + delay, EV_KICK, cpu, 0);
    }
}

void sim_set_state(struct sim *s, struct sim_unit *u, enum sim_state state)
{
    if (u->state == state)
        return;
    if (s->fluid)
        fluid_advance(s);
    if (u->state == S_READY) {
        s->ready[u->id / 64] &= ~BIT(u->id % 64);
        s->nr_ready--;
    }
    u->state = state;
    if (state == S_READY) {
        s->ready[u->id / 64] |= BIT(u->id % 64);
        s->nr_ready++;
        u->ready_since = s->now;
    }
}

cpuset_t sim_allowed(const struct sim *s, const struct sim_unit *u)
{
    cpuset_t pool = cpuset_and(s->pool[u->dom->pool], s->online);
    cpuset_t both = cpuset_and(pool, u->hard);

    return cpuset_empty(both) ? pool : both; /* the pool outlives the affinity */
}

static void leave(struct sim *s, struct sim_unit *u, unsigned cpu)
{
    u->held = (int)cpu;
    s->cpu[cpu].leaving = u;
    u->gen++;
    if (u->state == S_RUNNING) {
        sim_set_state(s, u, u->blocking ? S_BLOCKED : S_READY);
        u->blocking = u->woken = false;
    }
    if (SIM_MUTANT == SAVED_EARLY && s->pol == &policy_serai) {
        cpuset_t kick = CPUSET_NONE;

        s->pol->saved(s, u, &kick);
        sim_send_kicks(s, kick);
    }
    sim_post(s, s->now + s->cost.save, EV_SAVED, u->id, cpu);
}

void sim_note_latency(struct sim *s, ns_t d)
{
    if (!(s->st.nr_lat & (s->st.nr_lat - 1)))
        s->st.lat = realloc(s->st.lat, (s->st.nr_lat ? 2 * s->st.nr_lat : 1) * sizeof(ns_t));
    s->st.lat[s->st.nr_lat++] = d;
}

static void enter(struct sim *s, struct sim_unit *u, unsigned cpu)
{
    enum cpu_distance d = DIST_SELF;

    if (u->cpu >= 0)
        d = topology_distance(&s->topo, (unsigned)u->cpu, cpu);
    check_start(s, u, cpu);
    s->st.migrations[d]++;
    s->st.switches++;
    s->cpu[cpu].switches++;
    s->st.longest_wait = MAX(s->st.longest_wait, s->now - u->ready_since);
    u->acct = s->now;
    u->start = s->now + s->cost.swtch + s->cost.migrate[d];
    if (u->woken && u->dom->p.latency == LATENCY_LOW)
        sim_note_latency(s, u->start - u->ready_since);
    u->woken = false;
    sim_set_state(s, u, S_RUNNING);
    u->cpu = (int)cpu;
    if (u->irq_pending)
        sim_post(s, u->start, EV_IRQ, u->id, 0);
}

static void pick(struct sim *s, unsigned cpu)
{
    struct sim_cpu *c = &s->cpu[cpu];
    struct sim_unit *prev = c->cur, *next;
    cpuset_t kick = CPUSET_NONE;
    ns_t until = INT64_MAX;

    if (prev)
        progress(s, prev);
    c->resched = false;
    s->lock_failed = false;
    next = s->pol->pick(s, cpu, &until, &kick);
    s->st.picks++;
    sim_note(s, "pick", (int)cpu, next ? next->id : -1, prev ? prev->id : -1);
    if (until <= s->now)
        sim_fail(s, "CPU %u is to look again %lld ns ago", cpu, (long long)(s->now - until));
    if (next && next == prev)
        check_stay(s, next, cpu);
    if (next && next == prev)
        sim_set_state(s, next, S_RUNNING); /* went offline and came back in between */
    if (prev && prev != next)
        leave(s, prev, cpu);
    c->cur = next;
    if (next && next != prev)
        enter(s, next, cpu);
    if (!!prev != !!next)
        sibling_changed(s, cpu, next);
    s->idle.bits = next || !c->online ? s->idle.bits & ~BIT(cpu) : s->idle.bits | BIT(cpu);
    c->retry = s->lock_failed && !next ? MIN(until, s->now + 100 * US) : 0;
    s->retrying.bits = c->retry ? s->retrying.bits | BIT(cpu) : s->retrying.bits & ~BIT(cpu);
    if (next)
        expect(s, next);
    c->gen++;
    if (until < INT64_MAX && !mutant_strikes(s, LOSE_TIMER))
        sim_post(s, until, EV_TIMER, cpu, c->gen);
    sim_send_kicks(s, kick);
}

static void want_pick(struct sim *s, unsigned cpu)
{
    s->cpu[cpu].resched = true;
}

static void run_pending(struct sim *s)
{
    for (unsigned i = 0; i < s->topo.nr_cpus; i++)
        /* A CPU cannot look again while it still saves what it ran before. */
        if (s->cpu[i].resched && !s->cpu[i].leaving)
            pick(s, i);
}

static void saved(struct sim *s, struct sim_unit *u)
{
    cpuset_t kick = CPUSET_NONE;

    sim_note(s, "saved", u->held, u->id, u->state);
    s->cpu[u->held].leaving = NULL;
    u->held = -1;
    if (SIM_MUTANT != SAVED_EARLY && !mutant_strikes(s, LOSE_SAVED))
        s->pol->saved(s, u, &kick);
    sim_send_kicks(s, kick);
}

/* ---- programs --------------------------------------------------------------------------- */

bool sim_is_current(const struct sim *s, const struct sim_unit *u)
{
    return u->state == S_RUNNING && s->cpu[u->cpu].cur == u;
}

static void work_done(struct sim *s, struct sim_unit *u)
{
    progress(s, u);
    for (unsigned n = 0; sim_is_current(s, u) && !u->work && !u->blocking; n++) {
        if (s->cpu[u->cpu].resched)
            return;
        if (n > 1000)
            sim_fail(s, "unit %u: its program does nothing forever", u->id);
        u->step(s, u);
        u->heard = false;
    }
    if (sim_is_current(s, u))
        expect(s, u);
}

void sim_work(struct sim *s, struct sim_unit *u, ns_t ns)
{
    u->spin = false;
    u->work = ns;
}

void sim_spin(struct sim *s, struct sim_unit *u, ns_t limit)
{
    u->spin = true;
    u->work = limit;
}

void sim_signal(struct sim *s, struct sim_unit *u)
{
    if (sim_is_current(s, u))
        progress(s, u);
    u->work = 0;
    u->heard = true;
    if (sim_is_current(s, u))
        expect(s, u);
}

void sim_block(struct sim *s, struct sim_unit *u)
{
    sim_note(s, "block", u->cpu, u->id, 0);
    u->blocking = true;
    if (SIM_MUTANT != NO_BLOCK || s->pol != &policy_serai)
        s->pol->block(s, u);
    if (s->defer_block) /* interrupts may come between the decision and the pick */
        sim_post(s, s->now + 1 + (ns_t)sim_below(s, 2000), EV_KICK, (unsigned)u->cpu, 1);
    else
        want_pick(s, (unsigned)u->cpu);
}

void sim_sleep(struct sim *s, struct sim_unit *u, ns_t ns)
{
    sim_post(s, s->now + ns, EV_SLEEP, u->id, ++u->sleep_gen);
    sim_block(s, u);
}

void sim_wake_at(struct sim *s, struct sim_unit *u, ns_t delay)
{
    sim_post(s, s->now + delay, EV_SLEEP, u->id, ++u->sleep_gen);
}

void sim_yield(struct sim *s, struct sim_unit *u, struct sim_unit *to)
{
    sim_note(s, "yield", u->cpu, u->id, to ? to->id : -1);
    s->pol->yield(s, u, to);
    want_pick(s, (unsigned)u->cpu);
}

void sim_wake(struct sim *s, struct sim_unit *from, struct sim_unit *u, enum sched_wake why)
{
    cpuset_t kick = CPUSET_NONE;

    sim_note(s, why == WAKE_POLL ? "hand over" : "wake", u->cpu, u->id, from ? from->id : -1);
    if (from && from != u && from->dom == u->dom && s->pol->note_ipi)
        s->pol->note_ipi(s, from, u);
    if (u->state == S_BLOCKED) {
        u->woken = true;
        u->sleep_gen++;
        sim_set_state(s, u, S_READY);
    }
    u->blocking = false;
    if (!mutant_strikes(s, LOSE_WAKE))
        s->pol->wake(s, u, why, &kick);
    sim_send_kicks(s, kick);
}

void sim_interrupt(struct sim *s, struct sim_unit *from, struct sim_unit *u)
{
    u->irq_pending = true;
    if (sim_is_current(s, u))
        sim_post(s, MAX(s->now + 500, u->start), EV_IRQ, u->id, 0);
    sim_wake(s, from, u, WAKE_EVENT);
}

void sim_tick(struct sim *s, struct sim_unit *u, ns_t at)
{
    sim_post(s, MAX(at, s->now), EV_TICK, u->id, 0);
}

/* ---- the machine ------------------------------------------------------------------------ */

struct sim *sim_create(const struct policy *p, const struct sim_topology *t, u64 seed)
{
    struct sim *s = calloc(1, sizeof(*s));

    s->pol = p;
    s->seed = seed;
    s->rng = seed * 0x9e3779b97f4a7c15UL + 0x1234567;
    s->now = 1 * MS;
    s->checks = true;
    s->cost = sim_cost_default;
    sim_build_topology(&s->topo, t);
    s->online = s->idle = s->pool[0] = cpuset_first(s->topo.nr_cpus);
    for (unsigned i = 0; i < s->topo.nr_cpus; i++) {
        s->cpu[i].online = true;
        for (unsigned j = 0; j < s->topo.nr_cpus; j++)
            if (s->topo.cpu[i].core == s->topo.cpu[j].core)
                cpuset_add(&s->cpu[i].core, j);
    }
    p->init(s);
    /* Every CPU looks once when it starts. */
    cpuset_t all = s->online;
    sim_send_kicks(s, all);
    return s;
}

void sim_destroy(struct sim *s)
{
    s->pol->fini(s);
    free(s->st.lat);
    free(s->heap);
    free(s);
}

static void handle(struct sim *s, const struct sim_event *e)
{
    struct sim_unit *u = &s->unit[e->id % SIM_UNITS];

    switch (e->kind) {
    case EV_TIMER:
        if (s->cpu[e->id].gen == e->gen)
            want_pick(s, e->id);
        break;
    case EV_KICK:
        if (!e->gen)
            cpuset_remove(&s->kicked, e->id);
        want_pick(s, e->id);
        break;
    case EV_SAVED:
        saved(s, u);
        break;
    case EV_WORK:
        if (u->used && u->gen == e->gen && sim_is_current(s, u))
            work_done(s, u);
        break;
    case EV_SLEEP:
        if (u->used && u->sleep_gen == e->gen && u->state != S_OFF)
            sim_wake(s, NULL, u, WAKE_EVENT);
        break;
    case EV_IRQ:
        if (u->used && sim_is_current(s, u) && u->irq_pending) {
            u->irq_pending = false;
            if (u->irq)
                u->irq(s, u);
        }
        break;
    case EV_TICK:
        if (u->used)
            sim_interrupt(s, NULL, u);
        break;
    case EV_CALL:
        s->call(s, e->id);
        break;
    }
}

void sim_run(struct sim *s, ns_t end, u64 events)
{
    while (events-- && s->nr_heap && s->heap[0].at <= end) {
        struct sim_event e = sim_pop(s);

        check_time_passes(s, e.at);
        s->now = e.at;
        s->st.events++;
        if (s->trace)
            sim_note(s, ev_name[e.kind], -1, e.id, (int)e.gen);
        handle(s, &e);
        run_pending(s);
        check_now(s);
    }
    if (s->nr_heap && s->heap[0].at > end) {
        check_time_passes(s, end);
        s->now = end;
    }
}
