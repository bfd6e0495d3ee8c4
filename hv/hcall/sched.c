#include "guest/access.h"
#include "guest/event.h"
#include "guest/lifecycle.h"
#include "guest/vtime.h"
#include "hcall/hcall.h"
#include "kern/timer.h"
#include <xen/sched.h>

#define MAX_POLL_PORTS 128

struct poll {
    struct vcpu *vcpu;
    u32 nr;
    evtchn_port_t ports[MAX_POLL_PORTS];
};

static bool poll_over(void *arg)
{
    const struct poll *p = arg;

    for (u32 i = 0; i < p->nr; i++)
        if (event_is_pending(p->vcpu->domain, p->ports[i]))
            return true;
    return p->vcpu->poll_timed_out || vcpu_has_event(p->vcpu);
}

static void poll_timeout(void *arg)
{
    struct vcpu *v = arg;

    v->poll_timed_out = true;
    vcpu_wake(v, WAKE_EVENT);
}

/* Senders look for us by domain and by range of ports: see wake_pollers() in guest/event.c. */
static void announce(struct vcpu *v, const struct poll *p)
{
    u32 first = ~0U, last = 0;

    for (u32 i = 0; i < p->nr; i++) {
        first = MIN(first, p->ports[i]);
        last = MAX(last, p->ports[i]);
    }
    v->polled[0] = first;
    v->polled[1] = last;
    __atomic_fetch_or(&v->domain->pollers, BIT(v->id), __ATOMIC_SEQ_CST);
}

/* Sleeps until one of the ports is pending, masked or not, an event is due, or time is up. */
static s64 poll(struct vcpu *v, u64 u_arg)
{
    struct poll p = {.vcpu = v};
    struct sched_poll sp;

    if (copy_from_guest(&sp, (const void *)u_arg, sizeof(sp)))
        return -XEN_EFAULT;
    if (sp.nr_ports > MAX_POLL_PORTS)
        return -XEN_EINVAL;
    p.nr = sp.nr_ports;
    if (copy_from_guest(p.ports, sp.ports.p, p.nr * sizeof(p.ports[0])))
        return -XEN_EFAULT;
    for (u32 i = 0; i < p.nr; i++)
        if (!port_get(&v->domain->ports, p.ports[i]))
            return -XEN_EINVAL;
    v->poll_timed_out = false;
    timer_init(&v->poll_timer, poll_timeout, v);
    if (sp.timeout)
        timer_set(&v->poll_timer, (ns_t)sp.timeout);
    announce(v, &p);
    vcpu_sleep(v, poll_over, &p);
    __atomic_fetch_and(&v->domain->pollers, ~BIT(v->id), __ATOMIC_SEQ_CST);
    timer_stop(&v->poll_timer);
    return 0;
}

static bool event_pending(void *arg)
{
    const struct vcpu *v = arg;

    return __atomic_load_n(&vcpu_info(v)->evtchn_upcall_pending, __ATOMIC_SEQ_CST);
}

/*
 * A guest yields while it waits for a sibling, after an interrupt it sent for instance: one that
 * is ready and has an event to take is the best guess.
 */
static struct vcpu *sibling_with_event(const struct vcpu *v)
{
    const struct domain *d = v->domain;

    for (unsigned i = 1; i < d->max_vcpus; i++) {
        struct vcpu *w = d->vcpus[(v->id + i) % d->max_vcpus];

        if (w && w->run.unit.state == UNIT_READY && vcpu_has_event(w))
            return w;
    }
    return NULL;
}

static s64 shutdown_for(struct vcpu *v, u64 reason)
{
    if (reason > SHUTDOWN_MAX)
        return -XEN_EINVAL;
    if (reason == SHUTDOWN_suspend && v->domain->is_hardware)
        return -XEN_EOPNOTSUPP; /* it has nobody to resume it */
    lifecycle_shutdown(v->domain, (u8)reason);
    return 0;
}

static s64 shutdown(struct vcpu *v, u64 u_arg)
{
    struct sched_shutdown s;

    if (copy_from_guest(&s, (const void *)u_arg, sizeof(s)))
        return -XEN_EFAULT;
    return shutdown_for(v, s.reason);
}

HYPERCALL(sched_op)
{
    switch (a1) {
    case SCHEDOP_yield:
        vcpu_yield(sibling_with_event(v));
        return 0;
    case SCHEDOP_block:
        vcpu_info(v)->evtchn_upcall_mask = 0;
        vcpu_sleep(v, event_pending, v);
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

/* The older call, which GNU Mach makes: the reason itself is the argument. */
HYPERCALL(sched_op_compat)
{
    switch (a1) {
    case SCHEDOP_yield:
    case SCHEDOP_block:
        return hcall_sched_op(a1, a2, a3, a4, a5, v);
    case SCHEDOP_shutdown:
        if (v->domain->is_hardware)
            return shutdown_for(v, (u8)a2);
        /* Mach puts an address there: what its byte says is the toolstack's to judge. */
        lifecycle_shutdown(v->domain, (u8)a2);
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
