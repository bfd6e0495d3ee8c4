/*
 * The scheduler's knobs and figures for domain 0. Each operation copies its structure in, works
 * on the policy with all its locks held, and copies the structure out.
 */
#include "abi/serai.h"
#include "base/string.h"
#include "core/sched_trace.h"
#include "guest/access.h"
#include "hcall/hcall.h"
#include "kern/heap.h"
#include "kern/timer.h"

#define NO_ONE 0xffff

#define TRACE_MAX 16384
#define CHUNK     16 /* events copied at a time */

_Static_assert(SERAI_SCHED_STATES == NR_UNIT_STATES, "states as the policy has them");
_Static_assert(SERAI_SCHED_DISTANCES == NR_DISTANCES, "distances likewise");
_Static_assert(SERAI_SCHED_LATENCIES == SCHED_LATENCIES, "histogram likewise");
_Static_assert(sizeof(struct serai_sched_event) == sizeof(struct sched_trace),
               "events are handed out as they are recorded");

static void give_domain(const struct domain *d, struct serai_sched_domain *op)
{
    const struct sched_gang_stats *g = &d->sched.gang_stats;
    struct sched_params p;
    struct sched_stats st;

    sched_get_params(&d->sched, &p);
    op->weight = p.weight;
    op->cap_ppm = p.cap_ppm;
    op->reservation_ppm = p.reservation_ppm;
    op->gang = (u8)p.gang;
    op->latency = (u8)p.latency;
    op->pool = d->sched.pool;
    op->nr_vcpus = (u16)d->max_vcpus;
    sched_domain_stats(&d->sched, time_now(), &st);
    memcpy(op->time, st.time, sizeof(op->time));
    memcpy(op->migrations, st.migrations, sizeof(op->migrations));
    memcpy(op->latencies, st.latency, sizeof(op->latencies));
    op->picks = st.picks;
    op->forced_idle = (u64)g->forced_idle;
    op->gang_windows = g->windows;
    op->window_breaks = g->breaks;
    op->skew_samples = g->skews;
    op->skew_sum = (u64)g->skew_sum;
    op->skew_max = (u64)g->skew_max;
}

/* The pool first: what the parameters may be depends on it. Both or none. */
static int set_domain(struct sched *s, struct domain *d, const struct serai_sched_domain *op,
                      cpuset_t *kicks)
{
    const struct sched_params p = {.weight = op->weight,
                                   .cap_ppm = op->cap_ppm,
                                   .reservation_ppm = op->reservation_ppm,
                                   .gang = (enum sched_gang)op->gang,
                                   .latency = (enum sched_latency)op->latency};
    unsigned before = d->sched.pool;
    int rc = 0;

    if (op->pool != before)
        rc = sched_domain_move(s, &d->sched, op->pool, time_now(), kicks);
    if (rc)
        return rc;
    rc = sched_set_params(s, &d->sched, &p, time_now(), kicks);
    if (rc && op->pool != before)
        (void)!sched_domain_move(s, &d->sched, before, time_now(), kicks);
    return rc;
}

static int domain_op(struct serai_sched_domain *op)
{
    struct domain *d = domain_get(op->domid);
    cpuset_t kicks = CPUSET_NONE;
    struct sched *s;
    int rc = 0;

    if (!d)
        return -XEN_ESRCH;
    s = dispatch_lock_all();
    if (op->set)
        rc = set_domain(s, d, op, &kicks);
    if (!rc)
        give_domain(d, op);
    dispatch_unlock_all(kicks);
    domain_put(d);
    return rc;
}

static int vcpu_of_domain_op(const struct domain *d, struct serai_sched_vcpu *op)
{
    cpuset_t kicks = CPUSET_NONE;
    struct sched_unit *u;
    struct sched_stats st;
    struct sched *s;
    int rc = 0;

    if (op->vcpu >= d->max_vcpus || !d->vcpus[op->vcpu])
        return -XEN_ENOENT;
    u = &d->vcpus[op->vcpu]->run.unit;
    s = dispatch_lock_all();
    if (op->set)
        rc = sched_set_affinity(s, u, (cpuset_t){op->hard}, (cpuset_t){op->soft}, time_now(),
                                &kicks);
    sched_unit_stats(u, time_now(), &st);
    op->hard = u->hard.bits;
    op->soft = u->soft.bits;
    op->state = u->state;
    op->cpu = u->cpu;
    dispatch_unlock_all(kicks);
    memcpy(op->time, st.time, sizeof(op->time));
    memcpy(op->migrations, st.migrations, sizeof(op->migrations));
    memcpy(op->latencies, st.latency, sizeof(op->latencies));
    op->picks = st.picks;
    return rc;
}

static int vcpu_op(struct serai_sched_vcpu *op)
{
    struct domain *d = domain_get(op->domid);
    int rc = d ? vcpu_of_domain_op(d, op) : -XEN_ESRCH;

    if (d)
        domain_put(d);
    return rc;
}

static void give_cpu(struct sched *s, struct serai_sched_cpu *op)
{
    const struct cpu_place *place = &s->topo.cpu[op->cpu];
    const struct sched_unit *u = s->cpu[op->cpu].current;
    struct sched_cpu_stats st;

    sched_cpu_stats(s, op->cpu, time_now(), &st);
    op->online = s->online >> op->cpu & 1;
    op->thread = place->thread;
    op->core = place->core;
    op->cache = place->cache;
    op->package = place->package;
    op->node = place->node;
    op->pool = s->cpu[op->cpu].pool;
    op->nr_cpus = (u16)s->nr_cpus;
    op->domid = u ? u->dom->id : NO_ONE;
    op->vcpu = u ? u->id : NO_ONE;
    op->picks = st.picks;
    op->steals = st.steals;
    op->spreads = st.spreads;
    op->idle = (u64)st.idle;
}

static int cpu_op(struct serai_sched_cpu *op)
{
    cpuset_t kicks = CPUSET_NONE;
    struct sched *s;
    int rc = 0;

    if (op->cpu >= nr_cpus)
        return -XEN_ENOENT;
    s = dispatch_lock_all();
    if (op->set)
        rc = op->online ? sched_cpu_online(s, op->cpu, time_now(), &kicks)
                        : sched_cpu_offline(s, op->cpu, time_now(), &kicks);
    give_cpu(s, op);
    dispatch_unlock_all(kicks);
    return rc;
}

static int pool_op(struct serai_sched_pool *op)
{
    cpuset_t kicks = CPUSET_NONE;
    struct sched *s;
    int rc = 0;

    if (op->pool >= SCHED_POOLS)
        return -XEN_ENOENT;
    s = dispatch_lock_all();
    if (op->set)
        rc = sched_pool_set_cpus(s, op->pool, (cpuset_t){op->cpus}, time_now(), &kicks);
    op->cpus = s->pool_cpus[op->pool].bits;
    dispatch_unlock_all(kicks);
    return rc;
}

static unsigned ring_order; /* of the trace's memory; all scheduler locks */

static void exchange_ring(struct sched_trace **new, unsigned *order, u32 n)
{
    struct sched *s = dispatch_lock_all();
    struct sched_trace *old = s->ring;
    unsigned old_order = ring_order;

    (void)!sched_trace_to(s, *new, n);
    ring_order = *order;
    dispatch_unlock_all(CPUSET_NONE);
    *new = old;
    *order = old_order;
}

static int start_trace(u32 n)
{
    struct sched_trace *r = NULL;
    unsigned order = 0;

    if (n) {
        if (n > TRACE_MAX || n & (n - 1))
            return -XEN_EINVAL;
        while ((PAGE_SIZE << order) < n * sizeof(*r))
            order++;
        r = heap_alloc_pages(order);
        if (!r)
            return -XEN_ENOMEM;
    }
    exchange_ring(&r, &order, n);
    if (r)
        heap_free_pages(r, order);
    return 0;
}

/* Up to CHUNK events from number *next on; how many were overwritten before goes to *lost. */
static u32 take_events(struct sched_trace *out, u32 room, u64 *next, u32 *lost)
{
    struct sched *s = dispatch_lock_all();
    u64 end = s->ring_next, size = s->ring ? (u64)s->ring_mask + 1 : 0;
    u32 n = 0;

    if (*next > end)
        *next = end;
    if (end - *next > size) {
        *lost += (u32)MIN(end - size - *next, (u64)UINT32_MAX - *lost);
        *next = end - size;
    }
    while (n < MIN(room, CHUNK) && *next < end)
        out[n++] = s->ring[(*next)++ & s->ring_mask];
    dispatch_unlock_all(CPUSET_NONE);
    return n;
}

static int read_trace(struct serai_sched_trace *op)
{
    struct sched_trace events[CHUNK];
    u32 n;

    op->count = op->lost = 0;
    while ((n = take_events(events, op->capacity - op->count, &op->next, &op->lost))) {
        if (copy_to_guest((void *)(op->entries + op->count * sizeof(events[0])), events,
                          n * sizeof(events[0])))
            return -XEN_EFAULT;
        op->count += n;
        preempt_point();
    }
    return 0;
}

static int trace_op(struct serai_sched_trace *op)
{
    switch (op->set) {
    case 0:
        return read_trace(op);
    case 1:
        return op->capacity ? start_trace(op->capacity) : -XEN_EINVAL;
    case 2:
        return start_trace(0);
    default:
        return -XEN_EINVAL;
    }
}

#define RUN(type, function)                                                                    \
    do {                                                                                       \
        struct type arg;                                                                       \
        int rc;                                                                                \
                                                                                               \
        if (copy_from_guest(&arg, (const void *)u_arg, sizeof(arg)))                           \
            return -XEN_EFAULT;                                                                \
        rc = function(&arg);                                                                   \
        return rc ? rc : copy_to_guest((void *)u_arg, &arg, sizeof(arg));                      \
    } while (0)

s64 hcall_sched_control(u64 op, u64 u_arg)
{
    switch (op) {
    case SERAI_OP_SCHED_DOMAIN:
        RUN(serai_sched_domain, domain_op);
    case SERAI_OP_SCHED_VCPU:
        RUN(serai_sched_vcpu, vcpu_op);
    case SERAI_OP_SCHED_CPU:
        RUN(serai_sched_cpu, cpu_op);
    case SERAI_OP_SCHED_POOL:
        RUN(serai_sched_pool, pool_op);
    default:
        RUN(serai_sched_trace, trace_op);
    }
}
