#include "hcall/domctl.h"
#include "guest/access.h"
#include "guest/lifecycle.h"
#include "guest/trap.h"
#include "hcall/hcall.h"

struct operation {
    domctl_fn *run;
    bool answers; /* the structure goes back to the caller, whatever the result */
};

static s64 unsupported(struct domain *d, struct xen_domctl *op)
{
    return -XEN_EOPNOTSUPP;
}

static s64 no_device(struct domain *d, struct xen_domctl *op)
{
    return -XEN_ENODEV;
}

static const struct operation operations[] = {
    [XEN_DOMCTL_destroydomain] = {domctl_destroy, false},
    [XEN_DOMCTL_pausedomain] = {domctl_pause, false},
    [XEN_DOMCTL_unpausedomain] = {domctl_unpause, false},
    [XEN_DOMCTL_getdomaininfo] = {domctl_get_info, true},
    [XEN_DOMCTL_setvcpuaffinity] = {domctl_set_affinity, false},
    [XEN_DOMCTL_shadow_op] = {domctl_shadow, true},
    [XEN_DOMCTL_max_mem] = {domctl_max_mem, false},
    [XEN_DOMCTL_setvcpucontext] = {domctl_set_context, false},
    [XEN_DOMCTL_getvcpucontext] = {domctl_get_context, true},
    [XEN_DOMCTL_getvcpuinfo] = {domctl_vcpu_info, true},
    [XEN_DOMCTL_max_vcpus] = {domctl_max_vcpus, false},
    [XEN_DOMCTL_scheduler_op] = {domctl_scheduler, true},
    [XEN_DOMCTL_setdomainhandle] = {domctl_set_handle, false},
    [XEN_DOMCTL_irq_permission] = {domctl_irq_permission, false},
    [XEN_DOMCTL_iomem_permission] = {domctl_iomem_permission, false},
    [XEN_DOMCTL_ioport_permission] = {domctl_ioport_permission, false},
    [XEN_DOMCTL_hypercall_init] = {domctl_hypercall_page, false},
    [XEN_DOMCTL_settimeoffset] = {domctl_set_time_offset, false},
    [XEN_DOMCTL_getvcpuaffinity] = {domctl_get_affinity, false},
    [XEN_DOMCTL_resumedomain] = {domctl_resume, false},
    [XEN_DOMCTL_sendtrigger] = {domctl_send_trigger, false},
    [XEN_DOMCTL_set_address_size] = {domctl_set_address_size, false},
    [XEN_DOMCTL_get_address_size] = {domctl_get_address_size, true},
    [XEN_DOMCTL_get_device_group] = {unsupported, false},
    [XEN_DOMCTL_vm_event_op] = {unsupported, false},
    [XEN_DOMCTL_mem_sharing_op] = {unsupported, false},
    [XEN_DOMCTL_set_virq_handler] = {domctl_set_virq_handler, false},
    [XEN_DOMCTL_gettscinfo] = {domctl_get_tsc_info, true},
    [XEN_DOMCTL_settscinfo] = {domctl_set_tsc_info, false},
    [XEN_DOMCTL_setnodeaffinity] = {domctl_set_node_affinity, false},
    [XEN_DOMCTL_getnodeaffinity] = {domctl_get_node_affinity, false},
    [XEN_DOMCTL_setvnumainfo] = {unsupported, false},
    [XEN_DOMCTL_psr_cmt_op] = {no_device, false},
    [XEN_DOMCTL_monitor_op] = {unsupported, false},
    [XEN_DOMCTL_psr_alloc] = {no_device, false},
    [XEN_DOMCTL_vmtrace_op] = {unsupported, false},
    [XEN_DOMCTL_get_cpu_policy] = {domctl_get_cpu_policy, true},
    [XEN_DOMCTL_set_cpu_policy] = {domctl_set_cpu_policy, true},
    [XEN_DOMCTL_set_ext_vcpucontext] = {domctl_set_ext_context, false},
    [XEN_DOMCTL_get_ext_vcpucontext] = {domctl_get_ext_context, true},
    [XEN_DOMCTL_getpageframeinfo3] = {domctl_get_frame_info, false},
    [XEN_DOMCTL_setvcpuextstate] = {domctl_set_xstate, false},
    [XEN_DOMCTL_getvcpuextstate] = {domctl_get_xstate, true},
    [XEN_DOMCTL_get_vcpu_msrs] = {domctl_get_msrs, true},
    [XEN_DOMCTL_set_vcpu_msrs] = {domctl_set_msrs, true},
    [XEN_DOMCTL_assign_device] = {domctl_assign_device, false},
    [XEN_DOMCTL_memory_mapping] = {domctl_memory_mapping, false},
    [XEN_DOMCTL_ioport_mapping] = {domctl_ioport_mapping, false},
    [XEN_DOMCTL_test_assign_device] = {domctl_assign_device, false},
    [XEN_DOMCTL_deassign_device] = {domctl_assign_device, false},
};

/*
 * The next domain's info too is asked for by this operation: the answer names the first domain
 * that is not below the id given.
 */
static struct domain *find(const struct xen_domctl *op)
{
    return op->cmd == XEN_DOMCTL_getdomaininfo ? domain_get_from(op->domain)
                                               : domain_get(op->domain);
}

static s64 run(const struct operation *o, struct xen_domctl *op)
{
    struct domain *d = find(op);
    s64 rc;

    if (!d)
        return -XEN_ESRCH;
    lifecycle_control_begin(d);
    rc = o->run(d, op);
    lifecycle_control_end(d);
    domain_put(d);
    return rc;
}

HYPERCALL(domctl)
{
    struct xen_domctl op;
    const struct operation *o;
    s64 rc = hcall_take_control(v, a1, &op, sizeof(op), XEN_DOMCTL_INTERFACE_VERSION);

    if (rc)
        return rc;
    if (op.cmd == XEN_DOMCTL_createdomain) {
        rc = domctl_create(&op);
        return rc ? rc : copy_to_guest((void *)a1, &op, sizeof(op));
    }
    if (domctl_is_set_aside(&op))
        return domctl_set_aside(&op);
    if (op.cmd >= ARRAY_SIZE(operations) || !operations[op.cmd].run)
        return -XEN_ENOSYS;
    o = &operations[op.cmd];
    rc = run(o, &op);
    if (rc == -XEN_EAGAIN)
        return hcall_again(v, __HYPERVISOR_domctl);
    if (o->answers && copy_to_guest((void *)a1, &op, sizeof(op)))
        return -XEN_EFAULT;
    return rc;
}
