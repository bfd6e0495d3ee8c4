#include "guest/access.h"
#include "guest/event.h"
#include "guest/vtime.h"
#include "hcall/hcall.h"
#include "kern/timer.h"
#include <xen/sched.h>

#define MAX_POLL_PORTS 128

static bool any_pending(const struct domain *d, const evtchn_port_t *ports, u32 nr)
{
    for (u32 i = 0; i < nr; i++)
        if (event_is_pending(d, ports[i]))
            return true;
    return false;
}

static void poll_timeout(void *arg)
{
    struct vcpu *v = arg;

    v->poll_timed_out = true;
    vcpu_wake(v);
}

/* Sleeps until one of the ports is pending, masked or not, an event is due, or time is up. */
static s64 poll(struct vcpu *v, u64 u_arg)
{
    evtchn_port_t ports[MAX_POLL_PORTS];
    struct sched_poll p;

    if (copy_from_guest(&p, (const void *)u_arg, sizeof(p)))
        return -XEN_EFAULT;
    if (p.nr_ports > MAX_POLL_PORTS)
        return -XEN_EINVAL;
    if (copy_from_guest(ports, p.ports.p, p.nr_ports * sizeof(ports[0])))
        return -XEN_EFAULT;
    for (u32 i = 0; i < p.nr_ports; i++)
        if (!port_get(&v->domain->ports, ports[i]))
            return -XEN_EINVAL;
    v->poll_timed_out = false;
    if (p.timeout) {
        timer_init(&v->poll_timer, poll_timeout, v);
        timer_set(&v->poll_timer, (ns_t)p.timeout);
    }
    while (!any_pending(v->domain, ports, p.nr_ports) && !v->poll_timed_out &&
           !(vcpu_info(v)->evtchn_upcall_pending && !vcpu_info(v)->evtchn_upcall_mask) &&
           !v->domain->crashed && !v->nmi_pending)
        vcpu_wait(v);
    timer_stop(&v->poll_timer);
    return 0;
}

static s64 shutdown(struct vcpu *v, u64 u_arg)
{
    struct sched_shutdown s;

    if (copy_from_guest(&s, (const void *)u_arg, sizeof(s)))
        return -XEN_EFAULT;
    if (s.reason == SHUTDOWN_suspend)
        return -XEN_EOPNOTSUPP; /* domain 0 has nobody to resume it */
    domain_shutdown(v->domain, s.reason);
}

HYPERCALL(sched_op)
{
    switch (a1) {
    case SCHEDOP_yield:
        preempt_point();
        return 0;
    case SCHEDOP_block:
        vcpu_info(v)->evtchn_upcall_mask = 0;
        vcpu_block(v);
        return 0;
    case SCHEDOP_poll:
        return poll(v, a2);
    case SCHEDOP_shutdown:
        return shutdown(v, a2);
    case SCHEDOP_shutdown_code:
        return 0;
    default:
        return -XEN_ENOSYS;
    }
}

/* The older way to set the one-shot timer; 0 stops it. */
HYPERCALL(set_timer_op)
{
    if (!a1) {
        vtime_stop_singleshot(v);
        return 0;
    }
    return vtime_set_singleshot(v, (ns_t)a1);
}
