/* The shipped policy core behind the simulator's table; it is also asked whether it keeps its
 * promises about locks. */
#include <stdlib.h>
#include <string.h>

#include "sim/sim.h"

struct serai {
    struct sched sched;
    struct sched_domain dom[SIM_DOMS];
    struct sched_unit unit[SIM_UNITS];
    u64 held; /* clusters */
};

static struct sim *locker; /* the callbacks carry no context */

static struct serai *core(struct sim *s)
{
    return s->polstate;
}

static struct sched_unit *unit(struct sim *s, const struct sim_unit *u)
{
    return &core(s)->unit[u->id];
}

static bool try_lock(unsigned cluster)
{
    struct sim *s = locker;

    if (core(s)->held & BIT(cluster))
        sim_fail(s, "locks cluster %u twice", cluster);
    if (s->lock_fails && sim_below(s, s->lock_fails) == 0) {
        s->lock_failed = true;
        return false;
    }
    core(s)->held |= BIT(cluster);
    return true;
}

static void unlock(unsigned cluster)
{
    if (!(core(locker)->held & BIT(cluster)))
        sim_fail(locker, "unlocks cluster %u that it does not hold", cluster);
    core(locker)->held &= ~BIT(cluster);
}

static struct sched *enter(struct sim *s, u64 held)
{
    locker = s;
    core(s)->held = held;
    return &core(s)->sched;
}

static void leave(struct sim *s, u64 held)
{
    if (core(s)->held != held)
        sim_fail(s, "locks %lx became %lx", held, core(s)->held);
}

/* Runs 'call' with the lock of the unit's cluster, as the hypervisor does. */
#define WITH_UNIT(s, u, call)                                                                  \
    do {                                                                                       \
        u64 lock_ = BIT(unit(s, u)->cluster);                                                  \
        struct sched *c = enter(s, lock_);                                                     \
        call;                                                                                  \
        leave(s, lock_);                                                                       \
    } while (0)
/* Or with all locks. */
#define WITH_ALL(s, call)                                                                      \
    do {                                                                                       \
        struct sched *c = enter(s, ~0UL);                                                      \
        call;                                                                                  \
        leave(s, ~0UL);                                                                        \
    } while (0)

static void serai_init(struct sim *s)
{
    static const struct sched_ops ops = {try_lock, unlock};

    if (posix_memalign((void **)&s->polstate, _Alignof(struct serai), sizeof(struct serai)))
        abort();
    sched_init(enter(s, ~0UL), &s->topo, &ops);
}

static void serai_fini(struct sim *s)
{
    free(s->polstate);
}

static void serai_dom_init(struct sim *s, struct sim_dom *d)
{
    WITH_ALL(s, sched_domain_init(c, &core(s)->dom[d->id], d->id));
}

static void serai_dom_remove(struct sim *s, struct sim_dom *d)
{
    int rc;

    WITH_ALL(s, rc = sched_domain_remove(c, &core(s)->dom[d->id]));
    if (rc)
        sim_fail(s, "domain %u is not removed: %d", d->id, rc);
}

static void serai_unit_init(struct sim *s, struct sim_unit *u)
{
    WITH_ALL(s, sched_unit_init(c, unit(s, u), &core(s)->dom[u->dom->id], u->id));
}

/* What was removed is not looked at any more: it is spoilt. */
static int serai_unit_remove(struct sim *s, struct sim_unit *u)
{
    int rc;

    WITH_ALL(s, rc = sched_unit_remove(c, unit(s, u)));
    if (!rc)
        memset(unit(s, u), 0xff, sizeof(*unit(s, u)));
    return rc;
}

static void serai_online(struct sim *s, struct sim_unit *u)
{
    WITH_UNIT(s, u, sched_online(c, unit(s, u), s->now));
}

static void serai_offline(struct sim *s, struct sim_unit *u, cpuset_t *kick)
{
    WITH_UNIT(s, u, sched_offline(c, unit(s, u), s->now, kick));
}

static void serai_wake(struct sim *s, struct sim_unit *u, enum sched_wake why, cpuset_t *kick)
{
    WITH_UNIT(s, u, sched_wake(c, unit(s, u), s->now, why, kick));
}

static void serai_block(struct sim *s, struct sim_unit *u)
{
    WITH_UNIT(s, u, sched_block(c, unit(s, u)));
}

static void serai_yield(struct sim *s, struct sim_unit *u, struct sim_unit *to)
{
    WITH_UNIT(s, u, sched_yield(c, unit(s, u), to ? unit(s, to) : NULL, s->now));
}

static struct sim_unit *serai_pick(struct sim *s, unsigned cpu, ns_t *until, cpuset_t *kick)
{
    u64 lock = BIT(sched_cluster_of(&core(s)->sched, cpu));
    struct sched_unit *u = sched_pick(enter(s, lock), cpu, s->now, until, kick);

    leave(s, lock);
    return u ? &s->unit[u->id] : NULL;
}

static void serai_saved(struct sim *s, struct sim_unit *u, cpuset_t *kick)
{
    WITH_UNIT(s, u, sched_saved(c, unit(s, u), s->now, kick));
}

static void serai_note_ipi(struct sim *s, struct sim_unit *from, struct sim_unit *to)
{
    sched_note_ipi(unit(s, to));
}

static int serai_params(struct sim *s, struct sim_dom *d, const struct sched_params *p,
                        cpuset_t *kick)
{
    int rc;

    WITH_ALL(s, rc = sched_set_params(c, &core(s)->dom[d->id], p, s->now, kick));
    return rc;
}

static int serai_affinity(struct sim *s, struct sim_unit *u, cpuset_t hard, cpuset_t soft,
                          cpuset_t *kick)
{
    int rc;

    WITH_ALL(s, rc = sched_set_affinity(c, unit(s, u), hard, soft, s->now, kick));
    return rc;
}

static int serai_cpu_online(struct sim *s, unsigned cpu, bool online, cpuset_t *kick)
{
    int rc;

    if (online)
        WITH_ALL(s, rc = sched_cpu_online(c, cpu, s->now, kick));
    else
        WITH_ALL(s, rc = sched_cpu_offline(c, cpu, s->now, kick));
    return rc;
}

static int serai_pool(struct sim *s, unsigned pool, cpuset_t cpus, cpuset_t *kick)
{
    int rc;

    WITH_ALL(s, rc = sched_pool_set_cpus(c, pool, cpus, s->now, kick));
    return rc;
}

static int serai_move(struct sim *s, struct sim_dom *d, unsigned pool, cpuset_t *kick)
{
    int rc;

    WITH_ALL(s, rc = sched_domain_move(c, &core(s)->dom[d->id], pool, s->now, kick));
    return rc;
}

static int serai_check(struct sim *s)
{
    return sched_check(&core(s)->sched);
}

static bool serai_parked(struct sim *s, const struct sim_unit *u)
{
    return unit(s, u)->state == UNIT_PARKED;
}

int sim_trace_to(struct sim *s, struct sched_trace *ring, u32 n)
{
    return sched_trace_to(&core(s)->sched, ring, n);
}

const struct policy policy_serai = {
    .name = "serai",
    .init = serai_init,
    .fini = serai_fini,
    .dom_init = serai_dom_init,
    .dom_remove = serai_dom_remove,
    .unit_init = serai_unit_init,
    .unit_remove = serai_unit_remove,
    .online = serai_online,
    .offline = serai_offline,
    .wake = serai_wake,
    .block = serai_block,
    .yield = serai_yield,
    .pick = serai_pick,
    .saved = serai_saved,
    .note_ipi = serai_note_ipi,
    .set_params = serai_params,
    .set_affinity = serai_affinity,
    .cpu_online = serai_cpu_online,
    .pool_set_cpus = serai_pool,
    .domain_move = serai_move,
    .check = serai_check,
    .parked = serai_parked,
};
