#include <string.h>

#include "sim/internal.h"

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
    s->pol->dom_remove(s, d);
    d->used = false;
}

bool sim_unit_destroy(struct sim *s, struct sim_unit *u)
{
    bool runs = u->cpu >= 0 && s->cpu[u->cpu].cur == u;
    bool busy = u->state != S_OFF || u->held >= 0 || runs;
    int rc = s->pol->unit_remove(s, u);

    sim_note(s, "remove", u->cpu, u->id, rc);
    if (rc != (busy ? -XEN_EBUSY : 0))
        sim_fail(s, "removing unit %u gives %d", u->id, rc);
    u->used = busy;
    u->dom->nr_units -= !busy;
    return !busy;
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
    sim_note(s, "online", -1, u->id, 0);
    s->pol->online(s, u);
    sim_set_state(s, u, S_BLOCKED);
}

void sim_offline(struct sim *s, struct sim_unit *u)
{
    cpuset_t kick = CPUSET_NONE;

    sim_note(s, "offline", u->cpu, u->id, u->state);
    if (SIM_MUTANT != NO_OFFLINE)
        s->pol->offline(s, u, &kick);
    sim_send_kicks(s, kick);
    if (sim_is_current(s, u) && !cpuset_has(s->kicked, (unsigned)u->cpu) &&
        !s->cpu[u->cpu].resched && SIM_MUTANT != LOSE_KICK)
        sim_fail(s, "unit %u goes offline, CPU %d that runs it is not told", u->id, u->cpu);
    u->sleep_gen++;
    u->blocking = false;
    sim_set_state(s, u, S_OFF);
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
    sim_note(s, "params", rc, d->id, (int)p->gang);
    if (!rc) {
        if (p->gang == GANG_STRICT && d->p.gang != GANG_STRICT)
            d->strict_since = s->now;
        if (p->cap_ppm != d->p.cap_ppm)
            d->cap_level = 0;
        d->p = *p;
        s->strict_any |= p->gang == GANG_STRICT;
    }
    sim_send_kicks(s, kick);
    return rc;
}

int sim_set_affinity(struct sim *s, struct sim_unit *u, cpuset_t hard, cpuset_t soft)
{
    cpuset_t kick = CPUSET_NONE;
    int rc = 0;

    if (SIM_MUTANT != NO_AFFINITY)
        rc = s->pol->set_affinity(s, u, hard, soft, &kick);
    sim_note(s, "affinity", (int)hard.bits, u->id, rc);
    sim_send_kicks(s, kick);
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
    sim_note(s, online ? "cpu on" : "cpu off", (int)cpu, -1, rc);
    sim_send_kicks(s, kick);
    if (rc)
        return rc;
    s->cpu[cpu].online = online;
    s->online.bits = online ? s->online.bits | BIT(cpu) : s->online.bits & ~BIT(cpu);
    s->idle.bits =
        online && !s->cpu[cpu].cur ? s->idle.bits | BIT(cpu) : s->idle.bits & ~BIT(cpu);
    check_places(s);
    return 0;
}

int sim_pool_set_cpus(struct sim *s, unsigned pool, cpuset_t cpus)
{
    cpuset_t kick = CPUSET_NONE;
    int rc = s->pol->pool_set_cpus(s, pool, cpus, &kick);

    sim_note(s, "pool", (int)cpus.bits, (int)pool, rc);
    sim_send_kicks(s, kick);
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

    sim_note(s, "move", (int)pool, d->id, rc);
    sim_send_kicks(s, kick);
    if (!rc) {
        d->pool = pool;
        check_places(s);
    }
    return rc;
}
