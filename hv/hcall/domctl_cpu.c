/* Operations of domain 0 on a domain: what its CPUs look like, and its time-stamp counter. */
#include "base/string.h"
#include "guest/policy.h"
#include "hcall/domctl.h"
#include "hcall/policy_list.h"
#include "kern/heap.h"
#include "kern/timer.h"
#include "x86/tsc.h"

#define TSC_DEFAULT  0
#define TSC_EMULATED 1
#define TSC_NATIVE   2

s64 domctl_get_cpu_policy(struct domain *d, struct xen_domctl *op)
{
    struct xen_domctl_cpu_policy *c = &op->u.cpu_policy;
    const struct cpu_policy *p = policy_of(d);
    int rc = policy_give_leaves(p, c->leaves.p, &c->nr_leaves);

    return rc ? rc : policy_give_msrs(p, c->msrs.p, &c->nr_msrs);
}

/* What is not in the lists stays as it was. */
static s64 read_policy(struct cpu_policy *p, const struct xen_domctl_cpu_policy *c,
                       struct cpu_policy_error *e)
{
    int rc = policy_take_leaves(p, c->leaves.p, c->nr_leaves, e);

    if (!rc)
        rc = policy_take_msrs(p, c->msrs.p, c->nr_msrs, e);
    if (!rc)
        rc = cpu_policy_check(&machine_policies[POLICY_GUEST], p, e);
    return rc;
}

s64 domctl_set_cpu_policy(struct domain *d, struct xen_domctl *op)
{
    struct xen_domctl_cpu_policy *c = &op->u.cpu_policy;
    struct cpu_policy_error e = {~0U, ~0U, ~0U};
    struct cpu_policy *p;
    s64 rc;

    if (d->is_hardware)
        return -XEN_EINVAL;
    if (d->has_run)
        return -XEN_EEXIST;
    p = heap_alloc(sizeof(*p));
    if (!p)
        return -XEN_ENOMEM;
    *p = *policy_of(d);
    rc = read_policy(p, c, &e);
    c->err_leaf = e.leaf;
    c->err_subleaf = e.subleaf;
    c->err_msr = e.msr;
    if (rc) {
        heap_free(p, sizeof(*p));
        return rc;
    }
    cpu_policy_limit(p, &machine_policies[POLICY_GUEST]);
    if (!d->policy) {
        d->policy = p;
        return 0;
    }
    *d->policy = *p;
    heap_free(p, sizeof(*p));
    return 0;
}

s64 domctl_set_tsc_info(struct domain *d, struct xen_domctl *op)
{
    const struct xen_domctl_tsc_info *t = &op->u.tsc_info;

    if (d->is_hardware)
        return -XEN_EINVAL;
    if (t->tsc_mode > TSC_NATIVE)
        return -XEN_EINVAL;
    /* Reading it never traps here. */
    if (t->tsc_mode == TSC_EMULATED)
        return -XEN_EOPNOTSUPP;
    d->tsc_mode = t->tsc_mode;
    d->tsc_incarnation = t->incarnation + 1;
    d->tsc_started = time_now() - (ns_t)t->elapsed_nsec;
    return 0;
}

s64 domctl_get_tsc_info(struct domain *d, struct xen_domctl *op)
{
    struct xen_domctl_tsc_info *t = &op->u.tsc_info;

    *t = (struct xen_domctl_tsc_info){.tsc_mode = d->tsc_mode,
                                      .incarnation = d->tsc_incarnation};
    if (d->tsc_mode == TSC_NATIVE)
        return 0;
    t->gtsc_khz = (u32)(tsc_hz() / 1000);
    t->elapsed_nsec = (u64)(time_now() - d->tsc_started);
    return 0;
}
