/* What CPUID shows on this machine, for the toolstack to make a domain's policy from. */
#include "guest/access.h"
#include "guest/policy.h"
#include "hcall/policy_list.h"
#include "hcall/sysctl.h"

/* No register masks what user programs read themselves. */
s64 sysctl_levelling(struct xen_sysctl *op)
{
    op->u.cpu_levelling_caps.caps = 0;
    return 0;
}

/* NULL: nothing of this number, or for guests that there are not. */
static const struct cpu_policy *policy_numbered(u32 index, s64 *why)
{
    static const u8 which[] = {
        [XEN_SYSCTL_cpu_policy_raw] = POLICY_RAW,
        [XEN_SYSCTL_cpu_policy_host] = POLICY_HOST,
        [XEN_SYSCTL_cpu_policy_pv_max] = POLICY_GUEST,
        [XEN_SYSCTL_cpu_policy_hvm_max] = NR_MACHINE_POLICIES,
        [XEN_SYSCTL_cpu_policy_pv_default] = POLICY_GUEST,
        [XEN_SYSCTL_cpu_policy_hvm_default] = NR_MACHINE_POLICIES,
    };

    *why = index < ARRAY_SIZE(which) ? -XEN_EOPNOTSUPP : -XEN_EINVAL;
    if (index >= ARRAY_SIZE(which) || which[index] == NR_MACHINE_POLICIES)
        return NULL;
    return &machine_policies[which[index]];
}

s64 sysctl_featureset(struct xen_sysctl *op)
{
    /* The two lists of numbers differ: sets for guests come as default, then as maximum. */
    static const u8 policy[] = {
        [XEN_SYSCTL_cpu_featureset_raw] = XEN_SYSCTL_cpu_policy_raw,
        [XEN_SYSCTL_cpu_featureset_host] = XEN_SYSCTL_cpu_policy_host,
        [XEN_SYSCTL_cpu_featureset_pv] = XEN_SYSCTL_cpu_policy_pv_default,
        [XEN_SYSCTL_cpu_featureset_hvm] = XEN_SYSCTL_cpu_policy_hvm_default,
        [XEN_SYSCTL_cpu_featureset_pv_max] = XEN_SYSCTL_cpu_policy_pv_max,
        [XEN_SYSCTL_cpu_featureset_hvm_max] = XEN_SYSCTL_cpu_policy_hvm_max,
    };
    struct xen_sysctl_cpu_featureset *f = &op->u.cpu_featureset;
    const struct cpu_policy *p;
    u32 room = f->nr_features;
    s64 why;

    if (f->index >= ARRAY_SIZE(policy))
        return -XEN_EINVAL;
    p = policy_numbered(policy[f->index], &why);
    if (!p)
        return why;
    f->nr_features = CPUID_NR_WORDS;
    for (u32 i = 0; f->features.p && i < MIN(room, CPUID_NR_WORDS); i++) {
        u32 word = cpu_policy_features(p, i);

        if (copy_array_to_guest(f->features.p, i, &word, sizeof(word)))
            return -XEN_EFAULT;
    }
    return f->features.p && room < CPUID_NR_WORDS ? -XEN_ENOBUFS : 0;
}

s64 sysctl_policy(struct xen_sysctl *op)
{
    struct xen_sysctl_cpu_policy *c = &op->u.cpu_policy;
    const struct cpu_policy *p;
    s64 rc;

    if (c->_rsvd)
        return -XEN_EINVAL;
    p = policy_numbered(c->index, &rc);
    if (!p)
        return rc;
    rc = policy_give_leaves(p, c->leaves.p, &c->nr_leaves);
    return rc ? rc : policy_give_msrs(p, c->msrs.p, &c->nr_msrs);
}
