#include "guest/access.h"
#include "guest/frame.h"
#include "guest/vtime.h"
#include <xen/sched.h>
#include "hcall/hcall.h"
#include "kern/irq.h"
#include "x86/paging.h"

/*
 * Moves the vcpu's info from shared_info to the guest's own page, for good: the page stays
 * writable to us. Nothing may be lost on the way: the new place starts with an event pending.
 */
static s64 register_info(struct vcpu *v, u64 u_arg)
{
    struct vcpu_register_vcpu_info r;
    struct vcpu_info *new;

    if (copy_from_guest(&r, (const void *)u_arg, sizeof(r)))
        return -XEN_EFAULT;
    if (v->info_mfn.n)
        return -XEN_EINVAL;
    if (r.offset > PAGE_SIZE - sizeof(*new) || r.offset & 7)
        return -XEN_ENXIO;
    if (frame_type_get(v->domain->id, MFN(r.mfn), TYPE_WRITABLE))
        return -XEN_EINVAL;
    new = (struct vcpu_info *)((u8 *)mfn_to_virt(MFN(r.mfn)) + r.offset);
    *new = *vcpu_info(v);
    new->evtchn_pending_sel = ~0UL;
    v->info_mfn = MFN(r.mfn);
    v->entry.info = (u8 *)new;
    vtime_publish(v);
    new->evtchn_upcall_pending = 1;
    return 0;
}

static s64 register_runstate(struct vcpu *v, u64 u_arg)
{
    struct vcpu_register_runstate_memory_area r;

    if (copy_from_guest(&r, (const void *)u_arg, sizeof(r)))
        return -XEN_EFAULT;
    if (!guest_range_ok(r.addr.p, sizeof(struct vcpu_runstate_info)))
        return -XEN_EFAULT;
    v->runstate_va = r.addr.p;
    vtime_runstate_publish(v);
    return 0;
}

static s64 register_time(struct vcpu *v, u64 u_arg)
{
    struct vcpu_register_time_memory_area r;

    if (copy_from_guest(&r, (const void *)u_arg, sizeof(r)))
        return -XEN_EFAULT;
    if (!guest_range_ok(r.addr.p, sizeof(struct vcpu_time_info)))
        return -XEN_EFAULT;
    v->time_area_va = r.addr.p;
    vtime_publish(v);
    return 0;
}

static s64 runstate_info(struct vcpu *v, u64 u_arg)
{
    vtime_runstate_update(v, v->runstate.state);
    return copy_to_guest((void *)u_arg, &v->runstate, sizeof(v->runstate));
}

static s64 set_singleshot(struct vcpu *v, u64 u_arg)
{
    struct vcpu_set_singleshot_timer s;

    if (copy_from_guest(&s, (const void *)u_arg, sizeof(s)))
        return -XEN_EFAULT;
    if (s.flags & VCPU_SSHOTTMR_future && (ns_t)s.timeout_abs_ns < time_now())
        return -XEN_ETIME;
    return vtime_set_singleshot(v, (ns_t)s.timeout_abs_ns);
}

static s64 set_periodic(struct vcpu *v, u64 u_arg)
{
    struct vcpu_set_periodic_timer s;

    if (copy_from_guest(&s, (const void *)u_arg, sizeof(s)))
        return -XEN_EFAULT;
    return vtime_set_periodic(v, (ns_t)s.period_ns);
}

/* Operations on the calling vcpu; others of the domain exist from the next step on. */
static s64 own_op(struct vcpu *v, u64 cmd, u64 u_arg)
{
    switch (cmd) {
    case VCPUOP_initialise:
        return -XEN_EEXIST;
    case VCPUOP_up:
        return 0;
    case VCPUOP_down:
        /* The last vcpu that goes down takes the domain with it. */
        domain_shutdown(v->domain, SHUTDOWN_poweroff);
    case VCPUOP_get_runstate_info:
        return runstate_info(v, u_arg);
    case VCPUOP_set_periodic_timer:
        return set_periodic(v, u_arg);
    case VCPUOP_stop_periodic_timer:
        timer_stop(&v->periodic);
        return 0;
    case VCPUOP_set_singleshot_timer:
        return set_singleshot(v, u_arg);
    case VCPUOP_stop_singleshot_timer:
        vtime_stop_singleshot(v);
        return 0;
    case VCPUOP_register_vcpu_info:
        return register_info(v, u_arg);
    case VCPUOP_register_runstate_memory_area:
        return register_runstate(v, u_arg);
    case VCPUOP_register_vcpu_time_memory_area:
        return register_time(v, u_arg);
    case VCPUOP_send_nmi:
        v->nmi_pending = true;
        softirq_raise(SOFTIRQ_VCPU);
        return 0;
    default:
        return -XEN_ENOSYS;
    }
}

HYPERCALL(vcpu_op)
{
    struct domain *d = v->domain;

    if (a2 >= d->max_vcpus || !d->vcpus[a2])
        return -XEN_ENOENT;
    if (a1 == VCPUOP_is_up)
        return d->vcpus[a2]->running;
    return d->vcpus[a2] == v ? own_op(v, a1, a3) : -XEN_EINVAL;
}
