/* System control: what domain 0's tools ask about the machine. */
#include "hcall/sysctl.h"
#include "guest/access.h"
#include "guest/dom0_console.h"
#include "hcall/domctl.h"
#include "hcall/hcall.h"
#include "kern/console.h"

static s64 read_console(struct xen_sysctl *op)
{
    struct xen_sysctl_readconsole *rc = &op->u.readconsole;
    u32 index = rc->incremental ? rc->index : console_ring_first(), done = 0;
    char chunk[256];

    while (done < rc->count) {
        size_t n = console_read_ring(chunk, MIN(rc->count - done, (u32)sizeof(chunk)), &index);

        if (!n)
            break;
        if (copy_to_guest(rc->buffer.p + done, chunk, n))
            return -XEN_EFAULT;
        done += (u32)n;
        preempt_point();
    }
    rc->count = done;
    rc->index = index;
    if (rc->clear)
        console_clear_ring(index);
    return 0;
}

static s64 domain_list(struct xen_sysctl *op)
{
    struct xen_sysctl_getdomaininfolist *l = &op->u.getdomaininfolist;
    u32 next = l->first_domain;
    struct domain *d;

    l->num_domains = 0;
    while (l->num_domains < l->max_domains && (d = domain_get_from((u16)next))) {
        struct xen_domctl_getdomaininfo info;

        domctl_fill_info(d, &info);
        next = d->id + 1U;
        domain_put(d);
        if (copy_array_to_guest(l->buffer.p, l->num_domains, &info, sizeof(info)))
            return -XEN_EFAULT;
        l->num_domains++;
        preempt_point();
    }
    return 0;
}

static s64 debug_keys(struct xen_sysctl *op)
{
    const struct xen_sysctl_debug_keys *k = &op->u.debug_keys;

    for (u32 i = 0; i < k->nr_keys; i++) {
        char c;

        if (copy_array_from_guest(&c, k->keys.p, i, 1))
            return -XEN_EFAULT;
        dom0_console_key(c);
        preempt_point();
    }
    return 0;
}

static s64 no_device(struct xen_sysctl *op)
{
    return -XEN_ENODEV;
}

static s64 not_supported(struct xen_sysctl *op)
{
    return -XEN_EOPNOTSUPP;
}

static sysctl_fn *const operations[] = {
    [XEN_SYSCTL_readconsole] = read_console,
    [XEN_SYSCTL_physinfo] = sysctl_physinfo,
    [XEN_SYSCTL_sched_id] = sysctl_scheduler_id,
    [XEN_SYSCTL_getdomaininfolist] = domain_list,
    [XEN_SYSCTL_debug_keys] = debug_keys,
    [XEN_SYSCTL_getcpuinfo] = sysctl_cpu_times,
    [XEN_SYSCTL_availheap] = sysctl_free_heap,
    [XEN_SYSCTL_get_pmstat] = no_device,
    [XEN_SYSCTL_pm_op] = no_device,
    [XEN_SYSCTL_cpu_hotplug] = not_supported,
    [XEN_SYSCTL_cputopoinfo] = sysctl_cpu_topology,
    [XEN_SYSCTL_numainfo] = sysctl_numa,
    [XEN_SYSCTL_cpupool_op] = sysctl_pool,
    [XEN_SYSCTL_scheduler_op] = sysctl_scheduler,
    [XEN_SYSCTL_psr_cmt_op] = no_device,
    [XEN_SYSCTL_pcitopoinfo] = sysctl_pci_topology,
    [XEN_SYSCTL_psr_alloc] = no_device,
    [XEN_SYSCTL_get_cpu_levelling_caps] = sysctl_levelling,
    [XEN_SYSCTL_get_cpu_featureset] = sysctl_featureset,
    [XEN_SYSCTL_get_cpu_policy] = sysctl_policy,
};

HYPERCALL(sysctl)
{
    struct xen_sysctl op;
    s64 rc = hcall_take_control(v, a1, &op, sizeof(op), XEN_SYSCTL_INTERFACE_VERSION);

    if (rc)
        return rc;
    if (op.cmd >= ARRAY_SIZE(operations) || !operations[op.cmd])
        return -XEN_ENOSYS;
    rc = operations[op.cmd](&op);
    if ((!rc || rc == -XEN_ENOBUFS) && copy_to_guest((void *)a1, &op, sizeof(op)))
        return -XEN_EFAULT;
    return rc;
}
