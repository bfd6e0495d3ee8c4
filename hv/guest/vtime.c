#include "guest/vtime.h"
#include "guest/access.h"
#include "guest/event.h"
#include "x86/tsc.h"

/* A period shorter than this would do nothing but interrupt (XSA-20). */
#define MIN_PERIOD_NS 1000000
/* And one longer than this (73 years) would overflow sums with the time. */
#define MAX_PERIOD_NS ((ns_t)BIT(61))

static void singleshot_fired(void *arg)
{
    event_send_virq(arg, VIRQ_TIMER);
}

static void periodic_fired(void *arg)
{
    struct vcpu *v = arg;

    event_send_virq(v, VIRQ_TIMER);
    timer_set(&v->periodic, time_now() + v->period);
}

void vtime_vcpu_init(struct vcpu *v)
{
    timer_init(&v->singleshot, singleshot_fired, v);
    timer_init(&v->periodic, periodic_fired, v);
    v->runstate.state = RUNSTATE_offline;
    v->runstate.state_entry_time = (u64)time_now();
    vtime_publish(v);
}

static void fill_time(struct vcpu_time_info *t)
{
    t->tsc_timestamp = tsc_at_boot;
    t->system_time = 0;
    t->tsc_to_system_mul = tsc_scale.mul;
    t->tsc_shift = tsc_scale.shift;
    t->flags = tsc_is_invariant() ? XEN_PVCLOCK_TSC_STABLE_BIT : 0;
}

void vtime_publish(struct vcpu *v)
{
    struct vcpu_time_info *t = &vcpu_info(v)->time, local;
    u32 version = (t->version | 1) + 1;

    /* Odd while the fields change: readers on other CPUs try again. */
    __atomic_store_n(&t->version, version - 1, __ATOMIC_SEQ_CST);
    fill_time(t);
    __atomic_store_n(&t->version, version, __ATOMIC_SEQ_CST);
    if (v->time_area_va) {
        local = *t;
        if (copy_to_guest((void *)v->time_area_va, &local, sizeof(local)))
            v->time_area_va = 0;
    }
}

void vtime_set_wallclock(struct domain *d, u64 secs, u32 nsecs, ns_t at)
{
    struct shared_info *s = d->shared;
    u64 boot_ns = secs * 1000000000UL + nsecs - (u64)at;
    u32 version = (s->wc_version | 1) + 1;

    __atomic_store_n(&s->wc_version, version - 1, __ATOMIC_SEQ_CST);
    s->wc_sec = (u32)(boot_ns / 1000000000UL);
    s->wc_sec_hi = (u32)(boot_ns / 1000000000UL >> 32);
    s->wc_nsec = (u32)(boot_ns % 1000000000UL);
    __atomic_store_n(&s->wc_version, version, __ATOMIC_SEQ_CST);
}

int vtime_set_singleshot(struct vcpu *v, ns_t deadline)
{
    timer_set(&v->singleshot, deadline);
    return 0;
}

void vtime_stop_singleshot(struct vcpu *v)
{
    timer_stop(&v->singleshot);
}

int vtime_set_periodic(struct vcpu *v, ns_t period)
{
    if (period < MIN_PERIOD_NS || period > MAX_PERIOD_NS)
        return -XEN_EINVAL;
    v->period = period;
    timer_set(&v->periodic, time_now() + period);
    return 0;
}

void vtime_runstate_update(struct vcpu *v, int state)
{
    u64 now = (u64)time_now();

    v->runstate.time[v->runstate.state] += now - v->runstate.state_entry_time;
    v->runstate.state = state;
    v->runstate.state_entry_time = now;
}

void vtime_runstate_publish(struct vcpu *v)
{
    struct vcpu_runstate_info r = v->runstate;
    u64 *u_entry =
        (u64 *)(v->runstate_va + offsetof(struct vcpu_runstate_info, state_entry_time));
    u64 updating = r.state_entry_time | XEN_RUNSTATE_UPDATE;
    bool flag = vm_assist_on(v->domain, VMASST_TYPE_runstate_update_flag);

    if (!v->runstate_va)
        return;
    /* Addresses that do not translate are the guest's own affair: it may register early. */
    if (flag) {
        if (copy_to_guest(u_entry, &updating, sizeof(updating)))
            return;
        r.state_entry_time = updating;
    }
    if (copy_to_guest((void *)v->runstate_va, &r, sizeof(r)) || !flag)
        return;
    r.state_entry_time &= ~XEN_RUNSTATE_UPDATE;
    if (copy_to_guest(u_entry, &r.state_entry_time, sizeof(r.state_entry_time)))
        return;
}
