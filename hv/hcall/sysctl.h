/*
 * What domain 0's tools ask of the machine (xen/sysctl.h), by the families that implement it.
 *
 * Each gets the copied structure, and returns 0 or a negative errno. It goes back to the caller
 * after success, and after -XEN_ENOBUFS, which says how much room would have been enough.
 */
#ifndef SERAI_HCALL_SYSCTL_H
#define SERAI_HCALL_SYSCTL_H

#include "core/sched.h"
#include <xen/sysctl.h>

typedef s64 sysctl_fn(struct xen_sysctl *op);

/* sysctl_machine.c: memory, CPUs, devices */
sysctl_fn sysctl_physinfo, sysctl_cpu_topology, sysctl_numa, sysctl_pci_topology,
    sysctl_cpu_times, sysctl_free_heap;

/* sysctl_pool.c: who runs on which CPUs, and by what rules */
sysctl_fn sysctl_pool, sysctl_scheduler_id, sysctl_scheduler;
/* -XEN_ENOENT: no pool of this number; -XEN_EBUSY: it has no CPUs for a domain. */
int sysctl_pool_check(u32 pool) must_check;
/* A domain without vcpus begins there. A pool that is gone since the check leaves it in pool 0. */
void sysctl_pool_enter(struct sched_domain *d, u32 pool);

/* sysctl_cpuid.c: policies */
sysctl_fn sysctl_levelling, sysctl_featureset, sysctl_policy;

#endif
