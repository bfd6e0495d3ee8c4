#include "guest/access.h"
#include "guest/frame.h"
#include "guest/lifecycle.h"
#include "guest/vtime.h"
#include <xen/sched.h>
#include "hcall/hcall.h"
#include "hcall/vcpu_context.h"
#include "kern/irq.h"
#include "x86/paging.h"

/*
 * Moves a vcpu's info from shared_info to the guest's own page, for good: the page stays
 * writable to us. Nothing may be lost on the way: the new place starts with an event pending.
 */
static int move_info(struct vcpu *v, mfn_t mfn, u32 offset)
{
    struct vcpu_info *new, now;

    if (offset > PAGE_SIZE - sizeof(*new) || offset & 7)
        return -XEN_ENXIO;
    if (frame_type_get(v->domain->id, mfn, TYPE_WRITABLE))
        return -XEN_EINVAL;
    new = (struct vcpu_info *)((u8 *)mfn_to_virt(mfn) + offset);
    /* By way of our own: in shared_info itself the two places may overlap. */
    now = *vcpu_info(v);
    *new = now;
    new->evtchn_pending_sel = ~0UL;
    v->info_mfn = mfn;
    __atomic_store_n(&v->entry.info, (u8 *)new, __ATOMIC_SEQ_CST);
    vtime_publish(v);
    __atomic_store_n(&new->evtchn_upcall_pending, 1, __ATOMIC_SEQ_CST);
    return 0;
}

/* For the caller itself or a vcpu that is down. */
static s64 register_info(struct vcpu *v, struct vcpu *target, u64 u_arg)
{
    struct vcpu_register_vcpu_info r;
    int rc;

    if (copy_from_guest(&r, (const void *)u_arg, sizeof(r)))
        return -XEN_EFAULT;
    if (target != v && vcpu_is_up(target))
        return -XEN_EINVAL;
    if (__atomic_exchange_n(&target->info_moved, 1, __ATOMIC_ACQ_REL))
        return -XEN_EINVAL;
    rc = move_info(target, MFN(r.mfn), r.offset);
    if (rc)
        __atomic_store_n(&target->info_moved, 0, __ATOMIC_RELEASE);
    return rc;
}

static s64 register_runstate(struct vcpu *v, struct vcpu *target, u64 u_arg)
{
    struct vcpu_register_runstate_memory_area r;

    if (copy_from_guest(&r, (const void *)u_arg, sizeof(r)))
        return -XEN_EFAULT;
    if (!guest_range_ok(r.addr.p, sizeof(struct vcpu_runstate_info)))
        return -XEN_EFAULT;
    __atomic_store_n(&target->runstate_va, r.addr.p, __ATOMIC_RELEASE);
    vtime_runstate_publish(target, v->kernel_table);
    return 0;
}

static s64 register_time(struct vcpu *target, u64 u_arg)
{
    struct vcpu_register_time_memory_area r;

    if (copy_from_guest(&r, (const void *)u_arg, sizeof(r)))
        return -XEN_EFAULT;
    if (!guest_range_ok(r.addr.p, sizeof(struct vcpu_time_info)))
        return -XEN_EFAULT;
    __atomic_store_n(&target->time_area_va, r.addr.p, __ATOMIC_RELEASE);
    vtime_publish(target);
    return 0;
}

static s64 runstate_info(const struct vcpu *target, u64 u_arg)
{
    struct vcpu_runstate_info r;

    vtime_runstate_get(target, &r);
    return copy_to_guest((void *)u_arg, &r, sizeof(r));
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

/* The last vcpu that goes down takes the domain with it. */
static s64 down(struct vcpu *target)
{
    struct domain *d = target->domain;
    unsigned others = 0;

    for (unsigned i = 0; i < d->max_vcpus; i++)
        others += d->vcpus[i] && d->vcpus[i] != target && vcpu_is_up(d->vcpus[i]);
    if (!others && vcpu_is_up(target))
        lifecycle_shutdown(d, SHUTDOWN_poweroff);
    lifecycle_vcpu_down(target);
    return 0;
}

static s64 up(struct vcpu *target)
{
    u32 life = __atomic_load_n(&target->life, __ATOMIC_ACQUIRE);

    if (life < VCPU_DOWN)
        return -XEN_EINVAL;
    lifecycle_vcpu_up(target);
    return 0;
}

static s64 send_nmi(struct vcpu *v, struct vcpu *target)
{
    __atomic_store_n(&target->nmi_pending, true, __ATOMIC_SEQ_CST);
    if (target == v)
        softirq_raise(SOFTIRQ_VCPU);
    else
        vcpu_wake(target, WAKE_EVENT);
    return 0;
}

/* One-shot timers are the caller's own. */
static s64 own_op(struct vcpu *v, u64 cmd, u64 u_arg)
{
    if (cmd == VCPUOP_set_singleshot_timer)
        return set_singleshot(v, u_arg);
    vtime_stop_singleshot(v);
    return 0;
}

HYPERCALL(vcpu_op)
{
    struct domain *d = v->domain;
    struct vcpu *target;

    if (a2 >= d->max_vcpus || !d->vcpus[a2])
        return -XEN_ENOENT;
    target = d->vcpus[a2];
    switch (a1) {
    case VCPUOP_initialise:
        return vcpu_context_initialise(target, a3);
    case VCPUOP_up:
        return up(target);
    case VCPUOP_down:
        return down(target);
    case VCPUOP_is_up:
        return vcpu_is_up(target);
    case VCPUOP_get_runstate_info:
        return runstate_info(target, a3);
    case VCPUOP_register_runstate_memory_area:
        return register_runstate(v, target, a3);
    case VCPUOP_register_vcpu_time_memory_area:
        return register_time(target, a3);
    case VCPUOP_register_vcpu_info:
        return register_info(v, target, a3);
    case VCPUOP_set_periodic_timer:
        return set_periodic(target, a3);
    case VCPUOP_stop_periodic_timer:
        vtime_stop_periodic(target);
        return 0;
    case VCPUOP_set_singleshot_timer:
    case VCPUOP_stop_singleshot_timer:
        return target == v ? own_op(v, a1, a3) : -XEN_EINVAL;
    case VCPUOP_send_nmi:
        return a3 ? -XEN_EINVAL : send_nmi(v, target);
    default:
        return -XEN_ENOSYS;
    }
}
