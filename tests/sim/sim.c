#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/check.h"
#include "sim/sim.h"

/* A build with -DSIM_MUTANT=n plants fault n in the glue: a check has to find it. */
#ifndef SIM_MUTANT
#define SIM_MUTANT 0
#endif
enum {
    MUTANT_NONE,
    LOSE_KICK,
    LOSE_WAKE,
    SAVED_EARLY,
    LOSE_TIMER,
    NO_AFFINITY,
    NO_CAP,
    NO_STRICT,
    LOSE_SAVED,
    NO_WEIGHT,
    NO_OFFLINE,
    NO_BLOCK,
    NO_CPU_OFFLINE,
};

enum { EV_TIMER, EV_KICK, EV_SAVED, EV_WORK, EV_SLEEP, EV_IRQ, EV_CALL };
static const char *const ev_name[] = {"timer", "kick", "saved", "work", "sleep", "irq", "call"};

const struct sim_cost sim_cost_default = {
    .kick = 2 * US,
    .save = 300,
    .swtch = 1500,
    .migrate = {0, 500, 2 * US, 20 * US, 40 * US},
    .smt_pct = 60,
};

const struct sim_topology sim_topologies[] = {
    {"1", 1, 1, 1, 1},       {"2", 1, 1, 2, 1},       {"2smt", 1, 1, 1, 2},
    {"4", 1, 1, 4, 1},       {"4smt", 1, 1, 2, 2},    {"3", 1, 1, 3, 1},
    {"8", 1, 1, 8, 1},       {"8smt", 1, 1, 4, 2},    {"8llc", 1, 4, 2, 1},
    {"8llcsmt", 1, 2, 2, 2}, {"8numa", 2, 2, 2, 1},   {"16", 1, 1, 16, 1},
    {"16smt", 1, 2, 4, 2},   {"16numa", 2, 2, 2, 2},  {"12", 1, 3, 4, 1},
    {"24big", 1, 1, 12, 2},  {"32numa", 4, 1, 4, 2},  {"64", 2, 4, 4, 2},
    {"64big", 1, 1, 32, 2},
};
const unsigned sim_nr_topologies = ARRAY_SIZE(sim_topologies);

/* ---- random numbers --------------------------------------------------------------------- */

u64 sim_random(struct sim *s)
{
    s->rng ^= s->rng >> 12;
    s->rng ^= s->rng << 25;
    s->rng ^= s->rng >> 27;
    return s->rng * 0x2545f4914f6cdd1dUL;
}

u64 sim_below(struct sim *s, u64 n)
{
    return (u64)((unsigned __int128)sim_random(s) * n >> 64);
}

ns_t sim_about(struct sim *s, ns_t mean, unsigned pct)
{
    u64 width = (u64)mean * pct / 50;

    return width ? mean - (ns_t)(width / 2) + (ns_t)sim_below(s, width) : mean;
}

/* -log2(u) by its integer part and a linear rest: the same on every machine. */
ns_t sim_exp(struct sim *s, ns_t mean)
{
    u64 r = sim_random(s) | 1;
    unsigned lead = (unsigned)__builtin_clzl(r);
    u64 frac = lead < 63 ? r << (lead + 1) >> 44 : 0; /* 20 bits */
    u64 log2_q20 = ((u64)(lead + 1) << 20) - frac;
    ns_t v = (ns_t)((unsigned __int128)mean * log2_q20 * 710 >> 30);

    return MIN(v, 8 * mean);
}

/* ---- events ----------------------------------------------------------------------------- */

static bool earlier(const struct sim_event *a, const struct sim_event *b)
{
    return a->at != b->at ? a->at < b->at : a->seq < b->seq;
}

static void post(struct sim *s, ns_t at, unsigned kind, unsigned id, unsigned gen)
{
    struct sim_event e = {at, s->seq++, (u16)kind, (u16)id, gen};
    unsigned i;

    if (s->nr_heap == s->max_heap) {
        s->max_heap = s->max_heap ? 2 * s->max_heap : 1024;
        s->heap = realloc(s->heap, s->max_heap * sizeof(*s->heap));
    }
    for (i = s->nr_heap++; i && earlier(&e, &s->heap[(i - 1) / 2]); i = (i - 1) / 2)
        s->heap[i] = s->heap[(i - 1) / 2];
    s->heap[i] = e;
}

static struct sim_event pop(struct sim *s)
{
    struct sim_event top = s->heap[0], e = s->heap[--s->nr_heap];
    unsigned i = 0, child;

    while ((child = 2 * i + 1) < s->nr_heap) {
        if (child + 1 < s->nr_heap && earlier(&s->heap[child + 1], &s->heap[child]))
            child++;
        if (!earlier(&s->heap[child], &e))
            break;
        s->heap[i] = s->heap[child];
        i = child;
    }
    s->heap[i] = e;
    return top;
}

void sim_call(struct sim *s, ns_t delay, u16 id)
{
    post(s, s->now + delay, EV_CALL, id, 0);
}

/* ---- what happened ---------------------------------------------------------------------- */

static void note(struct sim *s, const char *what, int cpu, int unit, int value)
{
    struct sim_log *l = &s->log[s->nr_log++ % ARRAY_SIZE(s->log)];

    *l = (struct sim_log){s->now, s->event_base + s->st.events, what, cpu, unit, value};
    if (s->trace)
        printf("# %10llu %14.3f us %-10s cpu %3d unit %3d %d\n", (unsigned long long)l->event,
               (double)l->at / 1000, what, cpu, unit, value);
}

void sim_dump_log(const struct sim *s)
{
    unsigned n = MIN(s->nr_log, 30U);

    for (unsigned i = s->nr_log - n; i != s->nr_log; i++) {
        const struct sim_log *l = &s->log[i % ARRAY_SIZE(s->log)];

        printf("#   event %llu at %.3f us: %s cpu %d unit %d (%d)\n", (unsigned long long)l->event,
               (double)l->at / 1000, l->what, l->cpu, l->unit, l->value);
    }
}

void sim_fail(struct sim *s, const char *fmt, ...)
{
    va_list ap;

    printf("# FAIL policy %s seed %llu event %llu time %.3f us, %u CPUs: ", s->pol->name,
           (unsigned long long)s->seed, (unsigned long long)(s->event_base + s->st.events),
           (double)s->now / 1000, s->topo.nr_cpus);
    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
    printf("\n");
    if (!s->terse)
        sim_dump_log(s);
    fflush(stdout);
    if (s->escape)
        longjmp(*s->escape, 1);
    exit(1);
}

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
        post(s, MAX(s->now, u->start) + (u->work * 100 + pct - 1) / pct, EV_WORK, u->id, u->gen);
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

static void send_kicks(struct sim *s, cpuset_t kick)
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
        post(s, s->now + delay, EV_KICK, cpu, 0);
    }
}

static void set_state(struct sim *s, struct sim_unit *u, enum sim_state state)
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
    s->cpu[cpu].saving++;
    u->gen++;
    if (u->state != S_OFF) {
        set_state(s, u, u->blocking ? S_BLOCKED : S_READY);
        u->blocking = false;
    }
    u->woken = false;
    if (SIM_MUTANT == SAVED_EARLY && s->pol == &policy_serai) {
        cpuset_t kick = CPUSET_NONE;

        s->pol->saved(s, u, &kick);
        send_kicks(s, kick);
    }
    post(s, s->now + s->cost.save, EV_SAVED, u->id, cpu);
}

static void note_latency(struct sim *s, struct sim_unit *u)
{
    if (u->dom->p.latency != LATENCY_LOW)
        return;
    if (!(s->st.nr_lat & (s->st.nr_lat - 1)))
        s->st.lat = realloc(s->st.lat, (s->st.nr_lat ? 2 * s->st.nr_lat : 1) * sizeof(ns_t));
    s->st.lat[s->st.nr_lat++] = u->start - u->ready_since;
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
    if (u->woken)
        note_latency(s, u);
    u->woken = false;
    set_state(s, u, S_RUNNING);
    u->cpu = (int)cpu;
    if (u->irq_pending)
        post(s, u->start, EV_IRQ, u->id, 0);
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
    note(s, "pick", (int)cpu, next ? next->id : -1, prev ? prev->id : -1);
    if (until <= s->now)
        sim_fail(s, "CPU %u is to look again %lld ns ago", cpu, (long long)(s->now - until));
    if (next && next == prev)
        check_stay(s, next, cpu);
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
        post(s, until, EV_TIMER, cpu, c->gen);
    send_kicks(s, kick);
}

static void want_pick(struct sim *s, unsigned cpu)
{
    s->cpu[cpu].resched = true;
}

static void run_pending(struct sim *s)
{
    for (unsigned i = 0; i < s->topo.nr_cpus; i++)
        /* A CPU cannot look again while it still saves what it ran before. */
        if (s->cpu[i].resched && !s->cpu[i].saving)
            pick(s, i);
}

static void saved(struct sim *s, struct sim_unit *u)
{
    cpuset_t kick = CPUSET_NONE;

    note(s, "saved", u->held, u->id, u->state);
    s->cpu[u->held].saving--;
    u->held = -1;
    if (SIM_MUTANT != SAVED_EARLY && !mutant_strikes(s, LOSE_SAVED))
        s->pol->saved(s, u, &kick);
    send_kicks(s, kick);
}

/* ---- programs --------------------------------------------------------------------------- */

static bool is_current(const struct sim *s, const struct sim_unit *u)
{
    return u->state == S_RUNNING && s->cpu[u->cpu].cur == u;
}

static void work_done(struct sim *s, struct sim_unit *u)
{
    progress(s, u);
    for (unsigned n = 0; is_current(s, u) && !u->work && !u->blocking; n++) {
        if (s->cpu[u->cpu].resched)
            return;
        if (n > 1000)
            sim_fail(s, "unit %u: its program does nothing forever", u->id);
        u->step(s, u);
        u->heard = false;
    }
    if (is_current(s, u))
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
    if (is_current(s, u))
        progress(s, u);
    u->work = 0;
    u->heard = true;
    if (is_current(s, u))
        expect(s, u);
}

void sim_block(struct sim *s, struct sim_unit *u)
{
    if (s->polite && !cpuset_has(sim_allowed(s, u), (unsigned)u->cpu)) {
        u->work = 1;
        return;
    }
    note(s, "block", u->cpu, u->id, 0);
    u->blocking = true;
    if (SIM_MUTANT != NO_BLOCK || s->pol != &policy_serai)
        s->pol->block(s, u);
    if (s->defer_block) /* interrupts may come between the decision and the pick */
        post(s, s->now + 1 + (ns_t)sim_below(s, 2000), EV_KICK, (unsigned)u->cpu, 1);
    else
        want_pick(s, (unsigned)u->cpu);
}

void sim_sleep(struct sim *s, struct sim_unit *u, ns_t ns)
{
    post(s, s->now + ns, EV_SLEEP, u->id, ++u->sleep_gen);
    sim_block(s, u);
}

void sim_yield(struct sim *s, struct sim_unit *u, struct sim_unit *to)
{
    note(s, "yield", u->cpu, u->id, to ? to->id : -1);
    s->pol->yield(s, u, to);
    want_pick(s, (unsigned)u->cpu);
}

void sim_wake(struct sim *s, struct sim_unit *from, struct sim_unit *u, enum sched_wake why)
{
    cpuset_t kick = CPUSET_NONE;

    note(s, why == WAKE_POLL ? "hand over" : "wake", u->cpu, u->id, from ? from->id : -1);
    if (from && from != u && from->dom == u->dom && s->pol->note_ipi)
        s->pol->note_ipi(s, from, u);
    if (u->state == S_BLOCKED) {
        u->woken = true;
        u->sleep_gen++;
        set_state(s, u, S_READY);
    }
    u->blocking = false;
    if (!mutant_strikes(s, LOSE_WAKE))
        s->pol->wake(s, u, why, &kick);
    send_kicks(s, kick);
}

void sim_interrupt(struct sim *s, struct sim_unit *from, struct sim_unit *u)
{
    u->irq_pending = true;
    if (is_current(s, u))
        post(s, MAX(s->now + 500, u->start), EV_IRQ, u->id, 0);
    sim_wake(s, from, u, WAKE_EVENT);
}

/* ---- domains, units, knobs -------------------------------------------------------------- */

struct sim_dom *sim_dom_create(struct sim *s)
{
    for (unsigned i = 0; i < SIM_DOMS; i++) {
        struct sim_dom *d = &s->dom[i];

        if (d->used)
            continue;
        memset(d, 0, sizeof(*d));
        d->used = true;
        d->id = (u16)i;
        d->cap_seen = s->now;
        d->p = (struct sched_params){SCHED_WEIGHT_DEFAULT, 0, 0, GANG_OFF, LATENCY_NORMAL};
        s->pol->dom_init(s, d);
        return d;
    }
    return NULL;
}

void sim_dom_destroy(struct sim *s, struct sim_dom *d)
{
    for (unsigned i = 0; i < SIM_UNITS; i++)
        if (s->unit[i].used && s->unit[i].dom == d)
            s->unit[i].used = false;
    s->pol->dom_remove(s, d);
    d->used = false;
}

struct sim_unit *sim_unit_create(struct sim *s, struct sim_dom *d,
                                 void (*step)(struct sim *, struct sim_unit *))
{
    for (unsigned i = 0; i < SIM_UNITS; i++) {
        struct sim_unit *u = &s->unit[i];
        unsigned gen = u->gen, sleep_gen = u->sleep_gen;

        if (u->used)
            continue;
        memset(u, 0, sizeof(*u));
        u->used = true;
        u->id = (u16)i;
        u->dom = d;
        u->member = d->nr_units++;
        u->cpu = u->held = -1;
        u->gen = gen + 1;
        u->sleep_gen = sleep_gen + 1;
        u->hard = u->soft = cpuset_first(64);
        u->step = step;
        s->pol->unit_init(s, u);
        return u;
    }
    return NULL;
}

void sim_online(struct sim *s, struct sim_unit *u)
{
    note(s, "online", -1, u->id, 0);
    s->pol->online(s, u);
    set_state(s, u, S_BLOCKED);
}

void sim_offline(struct sim *s, struct sim_unit *u)
{
    cpuset_t kick = CPUSET_NONE;

    note(s, "offline", u->cpu, u->id, u->state);
    if (SIM_MUTANT != NO_OFFLINE)
        s->pol->offline(s, u, &kick);
    send_kicks(s, kick);
    if (is_current(s, u) && !cpuset_has(s->kicked, (unsigned)u->cpu) &&
        !s->cpu[u->cpu].resched && SIM_MUTANT != LOSE_KICK)
        sim_fail(s, "unit %u goes offline, CPU %d that runs it is not told", u->id, u->cpu);
    u->sleep_gen++;
    u->blocking = false;
    set_state(s, u, S_OFF);
}

int sim_set_params(struct sim *s, struct sim_dom *d, const struct sched_params *p)
{
    cpuset_t kick = CPUSET_NONE;
    struct sched_params told = *p;
    int rc;

    sim_account(s);
    if (SIM_MUTANT == NO_CAP)
        told.cap_ppm = 0;
    if (SIM_MUTANT == NO_STRICT && told.gang == GANG_STRICT)
        told.gang = GANG_OFF;
    if (SIM_MUTANT == NO_WEIGHT)
        told.weight = SCHED_WEIGHT_DEFAULT;
    rc = s->pol->set_params(s, d, &told, &kick);
    note(s, "params", rc, d->id, (int)p->gang);
    if (!rc) {
        if (p->gang == GANG_STRICT && d->p.gang != GANG_STRICT)
            d->strict_since = s->now;
        if (p->cap_ppm != d->p.cap_ppm)
            d->cap_level = 0;
        d->p = *p;
        s->strict_any |= p->gang == GANG_STRICT;
    }
    send_kicks(s, kick);
    return rc;
}

int sim_set_affinity(struct sim *s, struct sim_unit *u, cpuset_t hard, cpuset_t soft)
{
    cpuset_t kick = CPUSET_NONE;
    int rc = 0;

    if (SIM_MUTANT != NO_AFFINITY)
        rc = s->pol->set_affinity(s, u, hard, soft, &kick);
    note(s, "affinity", (int)hard.bits, u->id, rc);
    send_kicks(s, kick);
    if (!rc) {
        u->hard = hard;
        u->soft = soft;
        check_places(s);
    }
    return rc;
}

int sim_cpu_online(struct sim *s, unsigned cpu, bool online)
{
    cpuset_t kick = CPUSET_NONE;
    int rc = 0;

    if (SIM_MUTANT != NO_CPU_OFFLINE || online)
        rc = s->pol->cpu_online(s, cpu, online, &kick);
    note(s, online ? "cpu on" : "cpu off", (int)cpu, -1, rc);
    send_kicks(s, kick);
    if (rc)
        return rc;
    s->cpu[cpu].online = online;
    s->online.bits = online ? s->online.bits | BIT(cpu) : s->online.bits & ~BIT(cpu);
    s->idle.bits = online && !s->cpu[cpu].cur ? s->idle.bits | BIT(cpu) : s->idle.bits & ~BIT(cpu);
    check_places(s);
    return 0;
}

int sim_pool_set_cpus(struct sim *s, unsigned pool, cpuset_t cpus)
{
    cpuset_t kick = CPUSET_NONE;
    int rc = s->pol->pool_set_cpus(s, pool, cpus, &kick);

    note(s, "pool", (int)cpus.bits, (int)pool, rc);
    send_kicks(s, kick);
    if (!rc) {
        for (unsigned i = 0; i < SIM_POOLS; i++)
            s->pool[i] = cpuset_minus(s->pool[i], cpus);
        s->pool[pool] = cpus;
        check_places(s);
    }
    return rc;
}

int sim_domain_move(struct sim *s, struct sim_dom *d, unsigned pool)
{
    cpuset_t kick = CPUSET_NONE;
    int rc = s->pol->domain_move(s, d, pool, &kick);

    note(s, "move", (int)pool, d->id, rc);
    send_kicks(s, kick);
    if (!rc) {
        d->pool = pool;
        check_places(s);
    }
    return rc;
}

/* ---- the machine ------------------------------------------------------------------------ */

static void build_topology(struct topology *t, const struct sim_topology *d)
{
    unsigned n = 0, core = 0, cache = 0;

    memset(t, 0, sizeof(*t));
    for (unsigned node = 0; node < d->nodes; node++)
        for (unsigned l = 0; l < d->caches; l++, cache++)
            for (unsigned k = 0; k < d->cores; k++, core++)
                for (unsigned th = 0; th < d->threads; th++)
                    t->cpu[n++] = (struct cpu_place){(u8)th, (u8)core, (u8)cache, (u8)node, (u8)node};
    t->nr_cpus = n;
}

const struct sim_topology *sim_topology(const char *name)
{
    for (unsigned i = 0; i < sim_nr_topologies; i++)
        if (!strcmp(sim_topologies[i].name, name))
            return &sim_topologies[i];
    return NULL;
}

struct sim *sim_create(const struct policy *p, const struct sim_topology *t, u64 seed)
{
    struct sim *s = calloc(1, sizeof(*s));

    s->pol = p;
    s->seed = seed;
    s->rng = seed * 0x9e3779b97f4a7c15UL + 0x1234567;
    s->now = 1 * MS;
    s->checks = true;
    s->cost = sim_cost_default;
    build_topology(&s->topo, t);
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
    send_kicks(s, all);
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
        if (u->used && u->gen == e->gen && is_current(s, u))
            work_done(s, u);
        break;
    case EV_SLEEP:
        if (u->used && u->sleep_gen == e->gen && u->state != S_OFF)
            sim_wake(s, NULL, u, WAKE_EVENT);
        break;
    case EV_IRQ:
        if (u->used && is_current(s, u) && u->irq_pending) {
            u->irq_pending = false;
            if (u->irq)
                u->irq(s, u);
        }
        break;
    case EV_CALL:
        s->call(s, e->id);
        break;
    }
}

void sim_run(struct sim *s, ns_t end, u64 events)
{
    while (events-- && s->nr_heap && s->heap[0].at <= end && !s->stop) {
        struct sim_event e = pop(s);

        check_time_passes(s, e.at);
        s->now = e.at;
        s->st.events++;
        if (s->trace)
            note(s, ev_name[e.kind], -1, e.id, (int)e.gen);
        handle(s, &e);
        run_pending(s);
        check_now(s);
    }
    if (s->nr_heap && s->heap[0].at > end) {
        check_time_passes(s, end);
        s->now = end;
    }
    sim_account(s);
    if (s->fluid)
        fluid_advance(s);
}

/* ---- figures ---------------------------------------------------------------------------- */

static int by_value(const void *a, const void *b)
{
    ns_t x = *(const ns_t *)a, y = *(const ns_t *)b;

    return (x > y) - (x < y);
}

ns_t sim_quantile(ns_t *v, u64 n, unsigned permille)
{
    if (!n)
        return 0;
    qsort(v, n, sizeof(*v), by_value);
    return v[MIN(n - 1, n * permille / 1000)];
}

ns_t sim_percentile(struct sim *s, unsigned permille)
{
    return sim_quantile(s->st.lat, s->st.nr_lat, permille);
}
