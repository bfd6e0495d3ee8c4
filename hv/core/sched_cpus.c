#include "base/string.h"
#include "core/sched.h"
#include "core/sched_cpus.h"
#include "core/sched_trace.h"

#define FREE_POOL 0xff /* of a CPU that is in none, or a queue that is in no use */

/* ---- CPUs and queues -------------------------------------------------------------------- */

/* CPUs with one last-level cache, cut into groups of at most 16, whole cores only. */
static void build_clusters(struct sched *s)
{
    u8 fill[CPUSET_MAX] = {0}, open[CPUSET_MAX];
    const struct topology *t = &s->topo;
    unsigned cpu, other, size;
    u8 *cl;

    memset(open, 0xff, sizeof(open));
    for (cpu = 0; cpu < s->nr_cpus; cpu++) {
        cl = &open[t->cpu[cpu].cache % CPUSET_MAX];
        for (other = 0; t->cpu[other].core != t->cpu[cpu].core; other++)
            ;
        if (other < cpu) {
            s->cpu[cpu].cluster = s->cpu[other].cluster;
            continue;
        }
        for (size = 0; other < s->nr_cpus; other++)
            size += t->cpu[other].core == t->cpu[cpu].core;
        if (*cl == 0xff || fill[*cl] + size > SCHED_CLUSTER_CPUS)
            *cl = (u8)s->nr_clusters++;
        fill[*cl] = (u8)(fill[*cl] + size);
        s->cpu[cpu].cluster = *cl;
    }
}

/* The queue of a cluster and pool, made if there is none; never fails, see build_queues(). */
static struct sched_queue *find_queue(struct sched *s, unsigned cluster, unsigned pool)
{
    unsigned i, unused = SCHED_MAX_QUEUES;
    struct sched_queue *q;

    for (i = 0; i < s->nr_queues; i++) {
        q = &s->queue[i];
        if (q->pool == pool && q->cluster == cluster)
            return q;
        if (!q->nr_units && cpuset_empty(q->cpus) && unused == SCHED_MAX_QUEUES)
            unused = i;
    }
    if (unused == SCHED_MAX_QUEUES)
        unused = s->nr_queues++;
    q = &s->queue[unused];
    memset(q, 0, sizeof(*q));
    q->unpark_at = q->slot_end = NEVER;
    q->index = (u8)unused;
    q->cluster = (u8)cluster;
    q->pool = (u8)pool;
    return q;
}

static unsigned queue_distance(const struct sched *s, const struct sched_queue *a,
                               const struct sched_queue *b)
{
    return topology_distance(&s->topo, cpuset_lowest(a->cpus), cpuset_lowest(b->cpus));
}

static void add_victim(struct sched_queue *q, unsigned index)
{
    q->victims[q->nr_victims++] = (u8)index;
    q->neighbours |= BIT(index);
}

/* Nearest first; among equals the next index first, so that not all rob the same one. */
static void build_victims(struct sched *s, unsigned index)
{
    struct sched_queue *q = &s->queue[index], *other;
    unsigned d, i;

    q->nr_victims = 0;
    q->neighbours = 0;
    q->balance_at = NEVER;
    queue_set_due(q);
    s->waiting &= ~q->bit;
    q->bit = 0;
    if (cpuset_empty(q->cpus))
        return;
    for (d = 0; d < NR_DISTANCES; d++) {
        for (i = 1; i < s->nr_queues; i++) {
            other = &s->queue[(index + i) % s->nr_queues];
            if (other->pool != q->pool || cpuset_empty(other->cpus))
                continue;
            if (queue_distance(s, q, other) == d)
                add_victim(q, (index + i) % s->nr_queues);
        }
    }
    if (!q->nr_victims)
        return;
    q->balance_at = 0;
    queue_set_due(q);
    q->bit = BIT(index);
    s->waiting |= q->nr_ready ? q->bit : 0;
}

/* From pool_cpus and online: which CPU is in which queue, and what follows from that. */
static void build_queues(struct sched *s)
{
    struct sched_cpu *c;
    unsigned cpu, pool, i;

    for (i = 0; i < s->nr_queues; i++)
        s->queue[i].cpus = CPUSET_NONE;
    for (cpu = 0; cpu < s->nr_cpus; cpu++) {
        c = &s->cpu[cpu];
        c->pool = FREE_POOL;
        for (pool = 0; pool < SCHED_POOLS; pool++) {
            if (cpuset_has(s->pool_cpus[pool], cpu))
                c->pool = (u8)pool;
        }
        c->usable = c->pool != FREE_POOL && s->online & BIT(cpu);
        c->rare |= !c->usable;
        if (!c->usable)
            continue;
        c->queue = find_queue(s, c->cluster, c->pool);
        cpuset_add(&c->queue->cpus, cpu);
    }
    for (i = 0; i < s->nr_queues; i++) {
        s->queue[i].nr_cpus = count_cpus(s->queue[i].cpus);
        build_victims(s, i);
    }
}

static void build_cores(struct sched *s)
{
    unsigned cpu, other;

    for (cpu = 0; cpu < s->nr_cpus; cpu++) {
        s->cpu[cpu].threads = CPUSET_NONE;
        for (other = 0; other < s->nr_cpus; other++) {
            s->distance[cpu][other] = (u8)topology_distance(&s->topo, cpu, other);
            if (s->topo.cpu[cpu].core == s->topo.cpu[other].core)
                cpuset_add(&s->cpu[cpu].threads, other);
        }
        s->cpu[cpu].core.bits = s->cpu[cpu].threads.bits & s->online;
    }
}

__init void sched_init(struct sched *s, const struct topology *t, const struct sched_ops *ops)
{
    memset(s, 0, sizeof(*s));
    s->topo = *t;
    s->nr_cpus = t->nr_cpus;
    s->ops = *ops;
    s->online = cpuset_first(t->nr_cpus).bits;
    s->pool_cpus[0] = cpuset_first(t->nr_cpus);
    build_clusters(s);
    build_cores(s);
    build_queues(s);
}

unsigned sched_cluster_of(const struct sched *s, unsigned cpu)
{
    return s->cpu[cpu].cluster;
}

/* ---- units where they may be ---------------------------------------------------------------- */

cpuset_t cpus_online_of(const struct sched *s, unsigned pool)
{
    return (cpuset_t){s->pool_cpus[pool].bits & s->online};
}

static bool may_hold(const struct sched_queue *q, const struct sched_unit *u)
{
    return q->pool == u->dom->pool && !cpuset_empty(cpuset_and(q->cpus, u->allowed));
}

struct sched_queue *cpus_best_queue(struct sched *s, const struct sched_unit *u)
{
    struct sched_queue *q, *best = s->queue;

    for (q = s->queue; q < s->queue + s->nr_queues; q++) {
        if (may_hold(q, u) &&
            (!may_hold(best, u) || q->nr_units * best->nr_cpus < best->nr_units * q->nr_cpus))
            best = q;
    }
    return best;
}

void cpus_refresh_allowed(struct sched *s, struct sched_unit *u)
{
    cpuset_t pool = cpus_online_of(s, u->dom->pool), both = cpuset_and(u->hard, pool);

    u->allowed = cpuset_empty(both) ? pool : both;
}

/* The CPU gives up its unit, which waits in its queue. */
static void evict(struct sched *s, unsigned cpu, ns_t now, cpuset_t *kick)
{
    struct sched_unit *u = s->cpu[cpu].current;
    struct sched_queue *q;
    bool blocking;

    queue_kick(s, cpu, kick);
    if (!u)
        return;
    q = u->queue;
    blocking = u->blocking;
    queue_charge(q, u, now);
    queue_take_off(&s->cpu[u->cpu], q, u, false);
    if (blocking) {
        queue_stop_competing(q, u, UNIT_BLOCKED, now);
        return;
    }
    unit_set_state(u, UNIT_READY, now);
    queue_insert(s, q, u);
}

/* To another queue; what is in a line or list there is the caller's. */
static void change_queue(struct sched *s, struct sched_unit *u, struct sched_queue *to,
                         ns_t now, cpuset_t *kick)
{
    struct sched_queue *from = u->queue;

    switch ((enum unit_state)u->state) {
    case UNIT_READY:
        queue_transfer(s, u, to, queue_virtual_time(u->queue, now), now);
        break;
    case UNIT_PARKED:
        budget_unlist(from, u);
        queue_move(s, u, to, now);
        budget_list(to, u, now);
        queue_kick(s, cpuset_lowest(to->cpus), kick);
        break;
    default:
        queue_move(s, u, to, now);
    }
}

void cpus_settle_unit(struct sched *s, struct sched_unit *u, ns_t now, cpuset_t *kick)
{
    struct sched_queue *q = u->queue, *to = q;

    cpus_refresh_allowed(s, u);
    if (!may_hold(q, u))
        to = cpus_best_queue(s, u);
    if (u->state == UNIT_RUNNING && (to != q || !cpuset_has(u->allowed, u->cpu)))
        evict(s, u->cpu, now, kick);
    if (u->state == UNIT_READY)
        queue_remove(s, q, u);
    if (to != q)
        change_queue(s, u, to, now, kick);
    queue_refresh_limited(s, to, u);
    if (u->state != UNIT_READY)
        return;
    queue_insert(s, to, u);
    place_ready(s, to, u, now, kick);
}

/* The CPUs in 'changed' got another pool or state: everybody looks where that leaves them. */
static void rebuild(struct sched *s, cpuset_t changed, ns_t now, cpuset_t *kick)
{
    struct sched_domain *d;
    struct sched_unit *u;
    unsigned cpu;

    for (; !cpuset_empty(changed); cpuset_remove(&changed, cpu)) {
        cpu = cpuset_lowest(changed);
        evict(s, cpu, now, kick);
        __atomic_and_fetch(&s->idle, ~BIT(cpu), __ATOMIC_SEQ_CST);
    }
    build_cores(s);
    build_queues(s);
    for (d = s->domains; d; d = d->next) {
        for (u = d->units; u; u = u->next)
            cpus_settle_unit(s, u, now, kick);
    }
    for (cpu = 0; cpu < s->nr_cpus; cpu++) {
        if (s->cpu[cpu].usable)
            queue_kick(s, cpu, kick);
    }
}

/* Domains begin in pool 0. */
static bool pool_in_use(const struct sched *s, unsigned pool)
{
    const struct sched_domain *d;

    if (!pool)
        return true;

    for (d = s->domains; d; d = d->next) {
        if (d->pool == pool)
            return true;
    }
    return false;
}

int sched_cpu_offline(struct sched *s, unsigned cpu, ns_t now, cpuset_t *kick)
{
    struct sched_cpu *c;
    cpuset_t left;

    if (cpu >= s->nr_cpus || !(s->online & BIT(cpu)))
        return -XEN_EINVAL;
    c = &s->cpu[cpu];
    if (c->pool != FREE_POOL) {
        left = cpuset_minus(cpus_online_of(s, c->pool), cpuset_of(cpu));
        if (cpuset_empty(left) && pool_in_use(s, c->pool))
            return -XEN_EBUSY;
    }
    trace_other(s, TRACE_CPU, cpu, 0, 0, now, 0, 0);
    s->online &= ~BIT(cpu);
    rebuild(s, cpuset_of(cpu), now, kick);
    return 0;
}

int sched_cpu_online(struct sched *s, unsigned cpu, ns_t now, cpuset_t *kick)
{
    if (cpu >= s->nr_cpus || s->online & BIT(cpu))
        return -XEN_EINVAL;
    trace_other(s, TRACE_CPU, cpu, 0, 0, now, 1, 0);
    s->online |= BIT(cpu);
    rebuild(s, cpuset_of(cpu), now, kick);
    return 0;
}

int sched_pool_set_cpus(struct sched *s, unsigned pool, cpuset_t cpus, ns_t now, cpuset_t *kick)
{
    cpuset_t changed, old;
    unsigned i;

    if (pool >= SCHED_POOLS || !cpuset_empty(cpuset_minus(cpus, cpuset_first(s->nr_cpus))))
        return -XEN_EINVAL;
    for (i = 0; i < SCHED_POOLS; i++) {
        old = i == pool ? cpus : cpuset_minus(s->pool_cpus[i], cpus);
        if (!(old.bits & s->online) && pool_in_use(s, i))
            return -XEN_EBUSY;
    }
    trace_other(s, TRACE_POOL, 0, 0, 0, now, cpus.bits, pool);
    changed.bits = s->pool_cpus[pool].bits ^ cpus.bits;
    for (i = 0; i < SCHED_POOLS; i++)
        s->pool_cpus[i] = i == pool ? cpus : cpuset_minus(s->pool_cpus[i], cpus);
    rebuild(s, changed, now, kick);
    return 0;
}
