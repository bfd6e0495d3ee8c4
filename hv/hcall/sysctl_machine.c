/* What the machine consists of. */
#include "base/string.h"
#include "guest/access.h"
#include "guest/machine_map.h"
#include "guest/policy.h"
#include "hcall/sysctl.h"
#include "kern/device_locks.h"
#include "kern/dispatch.h"
#include "kern/heap.h"
#include "kern/lock.h"
#include "kern/timer.h"
#include "x86/pci.h"
#include "x86/tsc.h"

#define NEAR 10 /* the distance within a node, as ACPI counts it */

/* The places never change after boot: no lock. */
static const struct topology *places(void)
{
    return dispatch_topology();
}

/* Cores are numbered through the machine; tools expect them to be within their package. */
static u32 core_in_package(unsigned cpu)
{
    const struct cpu_place *p = places()->cpu;
    u32 first = p[cpu].core;

    for (unsigned i = 0; i < places()->nr_cpus; i++)
        if (p[i].package == p[cpu].package)
            first = MIN(first, (u32)p[i].core);
    return p[cpu].core - first;
}

s64 sysctl_physinfo(struct xen_sysctl *op)
{
    struct xen_sysctl_physinfo *pi = &op->u.physinfo;
    const struct cpu_place *p = places()->cpu;
    u32 in_package = 0;

    memset(pi, 0, sizeof(*pi));
    for (unsigned i = 0; i < places()->nr_cpus; i++) {
        pi->threads_per_core += p[i].core == p[0].core;
        in_package += p[i].package == p[0].package;
    }
    pi->cores_per_socket = in_package / pi->threads_per_core;
    pi->nr_cpus = places()->nr_cpus;
    pi->max_cpu_id = places()->nr_cpus - 1;
    pi->nr_nodes = 1;
    pi->cpu_khz = (u32)(tsc_hz() / 1000);
    /* Without the word about direct I/O the toolstack gives no device to anybody. */
    pi->capabilities =
        XEN_SYSCTL_PHYSCAP_pv | XEN_SYSCTL_PHYSCAP_gnttab_v1 | XEN_SYSCTL_PHYSCAP_directio;
    pi->total_pages = machine_map_ram_pages();
    pi->free_pages = heap_free_count();
    pi->outstanding_pages = heap_claimed_count();
    pi->max_mfn = max_mfn - 1;
    for (u32 i = 0; i < ARRAY_SIZE(pi->hw_cap); i++)
        pi->hw_cap[i] = cpu_policy_features(&machine_policies[POLICY_HOST], i);
    return 0;
}

s64 sysctl_cpu_topology(struct xen_sysctl *op)
{
    struct xen_sysctl_cputopoinfo *t = &op->u.cputopoinfo;
    const struct cpu_place *p = places()->cpu;
    u32 n = t->cputopo.p ? MIN(t->num_cpus, places()->nr_cpus) : 0;

    for (u32 i = 0; i < n; i++) {
        struct xen_sysctl_cputopo place = {.core = core_in_package(i), .socket = p[i].package};

        if (copy_array_to_guest(t->cputopo.p, i, &place, sizeof(place)))
            return -XEN_EFAULT;
    }
    t->num_cpus = places()->nr_cpus;
    return 0;
}

/*
 * One node: memory is not kept apart, and tools that saw several would tie each domain to the
 * CPUs of one. The scheduler knows better which CPUs are near each other.
 */
s64 sysctl_numa(struct xen_sysctl *op)
{
    struct xen_sysctl_numainfo *ni = &op->u.numainfo;
    struct xen_sysctl_meminfo m = {.memsize = max_mfn << PAGE_SHIFT,
                                   .memfree = heap_free_count() << PAGE_SHIFT};
    u32 distance = NEAR;

    if (ni->num_nodes) {
        if (ni->meminfo.p && copy_to_guest(ni->meminfo.p, &m, sizeof(m)))
            return -XEN_EFAULT;
        if (ni->distance.p && copy_to_guest(ni->distance.p, &distance, sizeof(distance)))
            return -XEN_EFAULT;
    }
    ni->num_nodes = 1;
    return 0;
}

static bool device_exists(const struct physdev_pci_device *dev)
{
    bool there;

    lock(&pci_config_lock);
    there = pci_is_present(dev->seg, dev->bus, dev->devfn);
    unlock(&pci_config_lock);
    return there;
}

s64 sysctl_pci_topology(struct xen_sysctl *op)
{
    struct xen_sysctl_pcitopoinfo *ti = &op->u.pcitopoinfo;
    struct physdev_pci_device dev;

    if (!ti->devs.p || !ti->nodes.p)
        return -XEN_EINVAL;
    for (u32 i = 0; i < ti->num_devs; i++) {
        u32 node;

        if (copy_array_from_guest(&dev, ti->devs.p, i, sizeof(dev)))
            return -XEN_EFAULT;
        /* Nothing says where a device is; only that it is. */
        node = device_exists(&dev) ? XEN_INVALID_NODE_ID : XEN_INVALID_DEV;
        if (copy_array_to_guest(ti->nodes.p, i, &node, sizeof(node)))
            return -XEN_EFAULT;
        preempt_point();
    }
    return 0;
}

s64 sysctl_cpu_times(struct xen_sysctl *op)
{
    struct xen_sysctl_getcpuinfo *ci = &op->u.getcpuinfo;
    u32 n = MIN(ci->max_cpus, places()->nr_cpus);

    for (u32 i = 0; i < n; i++) {
        struct xen_sysctl_cpuinfo info;
        struct sched_cpu_stats st;

        sched_cpu_stats(dispatch_lock_all(), i, time_now(), &st);
        dispatch_unlock_all(CPUSET_NONE);
        info.idletime = (u64)st.idle;
        if (copy_array_to_guest(ci->info.p, i, &info, sizeof(info)))
            return -XEN_EFAULT;
    }
    ci->nr_cpus = n;
    return 0;
}

/* Free memory is counted as a whole. */
s64 sysctl_free_heap(struct xen_sysctl *op)
{
    struct xen_sysctl_availheap *h = &op->u.availheap;

    if (h->min_bitwidth || (h->max_bitwidth && h->max_bitwidth < 64))
        return -XEN_EOPNOTSUPP;
    h->avail_bytes = h->node <= 0 ? heap_free_count() << PAGE_SHIFT : 0;
    return 0;
}
