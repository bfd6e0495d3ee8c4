/*
 * Policies as lists in a guest's memory. No lock may be held.
 */
#ifndef SERAI_HCALL_POLICY_LIST_H
#define SERAI_HCALL_POLICY_LIST_H

#include "core/cpu_policy.h"

/*
 * '*n' is how many entries there is room for, then how many there are; with no list at all, how
 * many there may be. -XEN_ENOBUFS: too little room; what fitted in is there.
 */
int policy_give_leaves(const struct cpu_policy *p, xen_cpuid_leaf_t *u_leaves,
                       u32 *n) must_check;
int policy_give_msrs(const struct cpu_policy *p, xen_msr_entry_t *u_msrs, u32 *n) must_check;

/* -XEN_E2BIG: too many entries; -XEN_ERANGE, -XEN_EINVAL: '*e' names the one that cannot be. */
int policy_take_leaves(struct cpu_policy *p, const xen_cpuid_leaf_t *u_leaves, u32 n,
                       struct cpu_policy_error *e) must_check;
int policy_take_msrs(struct cpu_policy *p, const xen_msr_entry_t *u_msrs, u32 n,
                     struct cpu_policy_error *e) must_check;

#endif
