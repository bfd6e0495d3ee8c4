/*
 * Pools of CPUs and the scheduler's figures, as Xen's tools know them: a pool begins without
 * CPUs, and a CPU is taken out of one before it is put into another. The policy has a fixed
 * number of pools; what is kept here is which of them the tools asked for.
 */
#include "base/string.h"
#include "guest/domain.h"
#include "hcall/bitmap.h"
#include "hcall/sysctl.h"
#include "kern/timer.h"

#define ANY XEN_SYSCTL_CPUPOOL_PAR_ANY

#define RATE_LIMIT_US 1000 /* of latency class normal; it is not a knob */

static u8 created = 1; /* a bit per pool; all scheduler locks */
_Static_assert(SCHED_POOLS == 8, "one byte of bits");

static u32 domains_of(const struct sched *s, u32 pool)
{
    u32 n = 0;

    for (const struct sched_domain *d = s->domains; d; d = d->next)
        n += d->pool == pool;
    return n;
}

/* Also those that were filled by our own command. */
static bool exists(const struct sched *s, u32 pool)
{
    return pool < SCHED_POOLS &&
           (created >> pool & 1 || s->pool_cpus[pool].bits || domains_of(s, pool));
}

int sysctl_pool_check(u32 pool)
{
    const struct sched *s = dispatch_lock_all();
    int rc = -XEN_ENOENT;

    if (exists(s, pool))
        rc = s->pool_cpus[pool].bits & s->online ? 0 : -XEN_EBUSY;
    dispatch_unlock_all(CPUSET_NONE);
    return rc;
}

void sysctl_pool_enter(struct sched_domain *d, u32 pool)
{
    cpuset_t kicks = CPUSET_NONE;

    (void)!sched_domain_move(dispatch_lock_all(), d, pool, time_now(), &kicks);
    dispatch_unlock_all(kicks);
}

static cpuset_t free_cpus(const struct sched *s)
{
    cpuset_t free = cpuset_first(s->nr_cpus);

    for (u32 i = 0; i < SCHED_POOLS; i++)
        free = cpuset_minus(free, s->pool_cpus[i]);
    return free;
}

/* ---- operations, with all scheduler locks -------------------------------------------------- */

typedef int pool_fn(struct sched *s, struct xen_sysctl_cpupool_op *op, cpuset_t *kicks);

static int create(struct sched *s, struct xen_sysctl_cpupool_op *op, cpuset_t *kicks)
{
    u32 pool = op->cpupool_id;

    if (op->sched_id != XEN_SCHEDULER_CREDIT2)
        return -XEN_ENOENT;
    if (pool == ANY)
        for (pool = 0; exists(s, pool); pool++)
            ;
    if (pool >= SCHED_POOLS)
        return -XEN_ENOSPC;
    if (exists(s, pool))
        return -XEN_EEXIST;
    created |= (u8)BIT(pool);
    op->cpupool_id = pool;
    return 0;
}

static int destroy(struct sched *s, struct xen_sysctl_cpupool_op *op, cpuset_t *kicks)
{
    u32 pool = op->cpupool_id;

    if (!exists(s, pool))
        return -XEN_ENOENT;
    if (!pool || s->pool_cpus[pool].bits || domains_of(s, pool))
        return -XEN_EBUSY;
    created &= (u8)~BIT(pool);
    return 0;
}

/* The first pool that is not below the one named. */
static int info(struct sched *s, struct xen_sysctl_cpupool_op *op, cpuset_t *kicks)
{
    u32 pool = op->cpupool_id;

    while (pool < SCHED_POOLS && !exists(s, pool))
        pool++;
    if (pool >= SCHED_POOLS)
        return -XEN_ENOENT;
    op->cpupool_id = pool;
    op->sched_id = XEN_SCHEDULER_CREDIT2;
    op->n_dom = domains_of(s, pool);
    return 0;
}

static int add_cpu(struct sched *s, struct xen_sysctl_cpupool_op *op, cpuset_t *kicks)
{
    cpuset_t free = free_cpus(s), have;

    if (!exists(s, op->cpupool_id))
        return -XEN_ENOENT;
    if (op->cpu == ANY && !cpuset_empty(free))
        op->cpu = cpuset_lowest(free);
    if (op->cpu >= s->nr_cpus)
        return -XEN_EINVAL;
    if (!cpuset_has(free, op->cpu))
        return -XEN_ENODEV;
    have = cpuset_or(s->pool_cpus[op->cpupool_id], cpuset_of(op->cpu));
    return sched_pool_set_cpus(s, op->cpupool_id, have, time_now(), kicks);
}

static int remove_cpu(struct sched *s, struct xen_sysctl_cpupool_op *op, cpuset_t *kicks)
{
    cpuset_t have;

    if (!exists(s, op->cpupool_id))
        return -XEN_ENOENT;
    have = s->pool_cpus[op->cpupool_id];
    if (op->cpu == ANY && !cpuset_empty(have))
        op->cpu = 63 - (u32)__builtin_clzl(have.bits);
    if (op->cpu >= s->nr_cpus)
        return -XEN_EINVAL;
    if (!cpuset_has(have, op->cpu))
        return -XEN_ENODEV;
    cpuset_remove(&have, op->cpu);
    return sched_pool_set_cpus(s, op->cpupool_id, have, time_now(), kicks);
}

static int list_free(struct sched *s, struct xen_sysctl_cpupool_op *op, cpuset_t *kicks)
{
    return 0;
}

static pool_fn *const operations[] = {
    [XEN_SYSCTL_CPUPOOL_OP_CREATE] = create,    [XEN_SYSCTL_CPUPOOL_OP_DESTROY] = destroy,
    [XEN_SYSCTL_CPUPOOL_OP_INFO] = info,        [XEN_SYSCTL_CPUPOOL_OP_ADDCPU] = add_cpu,
    [XEN_SYSCTL_CPUPOOL_OP_RMCPU] = remove_cpu, [XEN_SYSCTL_CPUPOOL_OP_FREEINFO] = list_free,
};

/* Its domain must not go while it moves. */
static int move_domain(const struct xen_sysctl_cpupool_op *op)
{
    struct domain *d = op->domid < DOMID_FIRST_RESERVED ? domain_get((u16)op->domid) : NULL;
    cpuset_t kicks = CPUSET_NONE;
    struct sched *s;
    int rc = -XEN_ENOENT;

    if (!d)
        return -XEN_EINVAL;
    if (d->is_hardware) {
        domain_put(d);
        return -XEN_EPERM; /* Xen's tools do not; our own command may */
    }
    s = dispatch_lock_all();
    if (exists(s, op->cpupool_id)) {
        rc = sched_domain_move(s, &d->sched, op->cpupool_id, time_now(), &kicks);
        rc = rc == -XEN_EINVAL ? -XEN_EBUSY : rc; /* a pool without CPUs */
    }
    dispatch_unlock_all(kicks);
    domain_put(d);
    return rc;
}

s64 sysctl_pool(struct xen_sysctl *op)
{
    struct xen_sysctl_cpupool_op *p = &op->u.cpupool_op;
    cpuset_t kicks = CPUSET_NONE, have;
    struct sched *s;
    int rc;

    if (p->op == XEN_SYSCTL_CPUPOOL_OP_MOVEDOMAIN)
        return move_domain(p);
    if (p->op >= ARRAY_SIZE(operations) || !operations[p->op])
        return -XEN_ENOSYS;
    s = dispatch_lock_all();
    rc = operations[p->op](s, p, &kicks);
    have = p->op == XEN_SYSCTL_CPUPOOL_OP_FREEINFO
               ? free_cpus(s)
               : s->pool_cpus[MIN(p->cpupool_id, SCHED_POOLS - 1U)];
    dispatch_unlock_all(kicks);
    if (rc || (p->op != XEN_SYSCTL_CPUPOOL_OP_FREEINFO && p->op != XEN_SYSCTL_CPUPOOL_OP_INFO))
        return rc;
    return bitmap_to_guest(&p->cpumap, have.bits);
}

s64 sysctl_scheduler_id(struct xen_sysctl *op)
{
    op->u.sched_id.sched_id = XEN_SCHEDULER_CREDIT2;
    return 0;
}

s64 sysctl_scheduler(struct xen_sysctl *op)
{
    struct xen_sysctl_scheduler_op *so = &op->u.scheduler_op;
    u32 limit;

    if (sysctl_pool_check(so->cpupool_id) == -XEN_ENOENT)
        return -XEN_ESRCH;
    if (so->sched_id != XEN_SCHEDULER_CREDIT2 || so->cmd > XEN_SYSCTL_SCHEDOP_getinfo)
        return -XEN_EINVAL;
    limit = so->u.sched_credit2.ratelimit_us;
    if (so->cmd == XEN_SYSCTL_SCHEDOP_putinfo && limit != RATE_LIMIT_US)
        return limit && (limit < XEN_SYSCTL_SCHED_RATELIMIT_MIN ||
                         limit > XEN_SYSCTL_SCHED_RATELIMIT_MAX)
                   ? -XEN_EINVAL
                   : -XEN_EOPNOTSUPP;
    so->u.sched_credit2.ratelimit_us = RATE_LIMIT_US;
    return 0;
}
