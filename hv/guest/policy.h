/*
 * What CPUID shows: the machine's policies, made at boot, and each domain's.
 *
 * A domain has one of its own from when domain 0 sets it, before it runs; until then, and domain
 * 0 always, it has the machine's for guests. None changes once the domain has run, so a vcpu
 * reads its own without a lock.
 */
#ifndef SERAI_GUEST_POLICY_H
#define SERAI_GUEST_POLICY_H

#include "core/cpu_policy.h"
#include "guest/domain.h"

enum machine_policy {
    POLICY_RAW,   /* what the CPU says */
    POLICY_HOST,  /* of it, what the hypervisor knows: all it gives to anybody */
    POLICY_GUEST, /* of it, what a guest may have, and has unless domain 0 wants less */
    POLICY_DOM0,  /* a guest's, and what a kernel that drives the machine looks for */
    NR_MACHINE_POLICIES
};

extern struct cpu_policy machine_policies[NR_MACHINE_POLICIES];

static inline const struct cpu_policy *policy_of(const struct domain *d)
{
    if (d->policy)
        return d->policy;
    return &machine_policies[d->is_hardware ? POLICY_DOM0 : POLICY_GUEST];
}

/* What a vcpu sees of a leaf now. */
void policy_cpuid(const struct vcpu *v, u32 leaf, u32 subleaf, struct cpuid_regs *r);

/* The XCR0 bits that the domain may set. */
u64 policy_xcr0(const struct domain *d);

/* At boot, on the boot CPU, when its time-stamp counter has been measured. */
void policy_init(void);

#endif
