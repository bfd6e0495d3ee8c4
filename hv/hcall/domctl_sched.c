/* Operations of domain 0 on a domain: where its vcpus run, and how much. */
#include "guest/access.h"
#include "guest/vtime.h"
#include "hcall/bitmap.h"
#include "hcall/domctl.h"
#include "kern/timer.h"

#define PERCENT 10000U /* in parts per million */

static struct vcpu *find_vcpu(const struct domain *d, u32 id, s64 *why)
{
    *why = id < d->max_vcpus ? -XEN_ESRCH : -XEN_EINVAL;
    return id < d->max_vcpus ? d->vcpus[id] : NULL;
}

/* ---- affinity ------------------------------------------------------------------------------ */

static cpuset_t machine_cpus(void)
{
    return cpuset_first(dispatch_topology()->nr_cpus);
}

/* All CPUs there are means also those to come: the scheduler's word for no restriction. */
static cpuset_t no_restriction_if_all(cpuset_t s)
{
    return cpuset_empty(cpuset_minus(machine_cpus(), s)) ? cpuset_first(CPUSET_MAX) : s;
}

static int take_maps(const struct xen_domctl_vcpuaffinity *a, cpuset_t *hard, cpuset_t *soft)
{
    int rc = 0;

    if (a->flags & XEN_VCPUAFFINITY_HARD)
        rc = bitmap_from_guest(&hard->bits, &a->cpumap_hard);
    if (!rc && a->flags & XEN_VCPUAFFINITY_SOFT)
        rc = bitmap_from_guest(&soft->bits, &a->cpumap_soft);
    *hard = no_restriction_if_all(*hard);
    *soft = no_restriction_if_all(*soft);
    return rc;
}

static s64 give_maps(const struct xen_domctl_vcpuaffinity *a, cpuset_t hard, cpuset_t soft)
{
    int rc = 0;

    if (a->flags & XEN_VCPUAFFINITY_HARD)
        rc = bitmap_to_guest(&a->cpumap_hard, hard.bits);
    if (!rc && a->flags & XEN_VCPUAFFINITY_SOFT)
        rc = bitmap_to_guest(&a->cpumap_soft, soft.bits);
    return rc;
}

static bool flags_ok(const struct xen_domctl_vcpuaffinity *a)
{
    const u32 known = XEN_VCPUAFFINITY_HARD | XEN_VCPUAFFINITY_SOFT | XEN_VCPUAFFINITY_FORCE;

    return a->flags && !(a->flags & ~known);
}

/* What is not set stays; given back is what of it counts now. */
s64 domctl_set_affinity(struct domain *d, struct xen_domctl *op)
{
    const struct xen_domctl_vcpuaffinity *a = &op->u.vcpuaffinity;
    cpuset_t kicks = CPUSET_NONE, hard, soft, new_hard = {0}, new_soft = {0}, usable;
    struct sched_unit *u;
    struct sched *s;
    struct vcpu *v;
    s64 rc;

    v = find_vcpu(d, a->vcpu, &rc);
    if (!v || !flags_ok(a))
        return v ? -XEN_EINVAL : rc;
    rc = take_maps(a, &new_hard, &new_soft);
    if (rc)
        return rc;
    u = &v->run.unit;
    s = dispatch_lock_all();
    hard = a->flags & XEN_VCPUAFFINITY_HARD ? new_hard : u->hard;
    soft = a->flags & XEN_VCPUAFFINITY_SOFT ? new_soft : u->soft;
    rc = sched_set_affinity(s, u, hard, soft, time_now(), &kicks);
    usable = cpuset_and(s->pool_cpus[d->sched.pool], (cpuset_t){s->online});
    dispatch_unlock_all(kicks);
    if (rc)
        return rc;
    hard = cpuset_and(hard, usable);
    return give_maps(a, hard, cpuset_and(soft, hard));
}

s64 domctl_get_affinity(struct domain *d, struct xen_domctl *op)
{
    const struct xen_domctl_vcpuaffinity *a = &op->u.vcpuaffinity;
    cpuset_t hard, soft;
    struct vcpu *v;
    s64 rc;

    v = find_vcpu(d, a->vcpu, &rc);
    if (!v || !flags_ok(a))
        return v ? -XEN_EINVAL : rc;
    (void)dispatch_lock_all();
    hard = v->run.unit.hard;
    soft = v->run.unit.soft;
    dispatch_unlock_all(CPUSET_NONE);
    return give_maps(a, cpuset_and(hard, machine_cpus()), cpuset_and(soft, machine_cpus()));
}

/* There is one node, see sysctl_numa(). */
s64 domctl_set_node_affinity(struct domain *d, struct xen_domctl *op)
{
    u64 nodes;
    int rc = bitmap_from_guest(&nodes, &op->u.nodeaffinity.nodemap);

    if (rc)
        return rc;
    return nodes & 1 ? 0 : -XEN_EINVAL;
}

s64 domctl_get_node_affinity(struct domain *d, struct xen_domctl *op)
{
    return bitmap_to_guest(&op->u.nodeaffinity.nodemap, 1);
}

/* ---- figures ------------------------------------------------------------------------------- */

s64 domctl_vcpu_info(struct domain *d, struct xen_domctl *op)
{
    struct xen_domctl_getvcpuinfo *info = &op->u.getvcpuinfo;
    struct vcpu_runstate_info r;
    struct vcpu *v;
    s64 rc;

    v = find_vcpu(d, info->vcpu, &rc);
    if (!v)
        return rc;
    vtime_runstate_get(v, &r);
    info->online = vcpu_is_up(v);
    info->blocked = r.state == RUNSTATE_blocked;
    info->running = r.state == RUNSTATE_running;
    info->cpu_time = r.time[RUNSTATE_running];
    info->cpu = v->run.unit.cpu;
    return 0;
}

/* ---- weight and cap, in the words of Xen's credit2 scheduler -------------------------------- */

/* Weight 0: stays as it is; cap 0: none. */
static int put(struct sched *s, struct domain *d, const struct xen_domctl_sched_credit2 *c,
               cpuset_t *kicks)
{
    u32 most = cpuset_count(cpuset_and(s->pool_cpus[d->sched.pool], (cpuset_t){s->online}));
    struct sched_params p;

    if (c->cap > 100 * d->max_vcpus)
        return -XEN_EINVAL;
    sched_get_params(&d->sched, &p);
    if (c->weight)
        p.weight = c->weight;
    /* More than all CPUs of the pool is an error for the policy, but not for tools. */
    p.cap_ppm = MIN(c->cap, most * 100) * PERCENT;
    return sched_set_params(s, &d->sched, &p, time_now(), kicks);
}

s64 domctl_scheduler(struct domain *d, struct xen_domctl *op)
{
    struct xen_domctl_scheduler_op *so = &op->u.scheduler_op;
    struct xen_domctl_sched_credit2 *c = &so->u.credit2;
    cpuset_t kicks = CPUSET_NONE;
    struct sched_params p;
    struct sched *s;
    int rc = 0;

    if (so->sched_id != XEN_SCHEDULER_CREDIT2 || so->cmd > XEN_DOMCTL_SCHEDOP_getinfo)
        return -XEN_EINVAL;
    s = dispatch_lock_all();
    if (so->cmd == XEN_DOMCTL_SCHEDOP_putinfo)
        rc = put(s, d, c, &kicks);
    sched_get_params(&d->sched, &p);
    dispatch_unlock_all(kicks);
    if (rc || so->cmd == XEN_DOMCTL_SCHEDOP_putinfo)
        return rc;
    c->weight = (u16)p.weight;
    c->cap = (u16)DIV_ROUND_UP(p.cap_ppm, PERCENT);
    return 0;
}
