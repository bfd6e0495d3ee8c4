/* The paravirtual clock, the one-shot timer and the 2-level event channels. */
#include "guest.h"

static u64 scaled(const struct vcpu_time_info *t)
{
    u64 delta = __builtin_ia32_rdtsc() - t->tsc_timestamp;

    delta = t->tsc_shift < 0 ? delta >> -t->tsc_shift : delta << t->tsc_shift;
    return t->system_time + (u64)((unsigned __int128)delta * t->tsc_to_system_mul >> 32);
}

u64 clock_ns_of(const struct vcpu_time_info *t)
{
    const volatile u32 *version = &t->version;
    u32 v;
    u64 ns;

    do {
        v = *version;
        asm volatile("" : : : "memory");
        ns = scaled(t);
        asm volatile("" : : : "memory");
    } while ((v & 1) || v != *version);
    return ns;
}

u64 clock_ns(void)
{
    return clock_ns_of(&vi->time);
}

bool port_pending(u32 port)
{
    return *(volatile u64 *)&shared->evtchn_pending[port / 64] >> (port % 64) & 1;
}

void port_clear(u32 port)
{
    asm volatile("lock btrq %1, %0"
                 : "+m"(shared->evtchn_pending[port / 64])
                 : "r"((u64)(port % 64))
                 : "cc");
}

void port_mask(u32 port, bool masked)
{
    if (masked)
        asm volatile("lock btsq %1, %0"
                     : "+m"(shared->evtchn_mask[port / 64])
                     : "r"((u64)(port % 64))
                     : "cc");
    else
        asm volatile("lock btrq %1, %0"
                     : "+m"(shared->evtchn_mask[port / 64])
                     : "r"((u64)(port % 64))
                     : "cc");
}

u32 timer_port(void)
{
    static struct evtchn_bind_virq bind = {.virq = VIRQ_TIMER};

    if (!bind.port && hc_evtchn(EVTCHNOP_bind_virq, &bind))
        die("cannot bind the timer");
    hc_vcpu(VCPUOP_stop_periodic_timer, 0, NULL);
    port_mask(bind.port, false);
    return bind.port;
}

long timer_at(u64 ns)
{
    struct vcpu_set_singleshot_timer t = {.timeout_abs_ns = ns};

    return hc_vcpu(VCPUOP_set_singleshot_timer, 0, &t);
}

bool wait_port(u32 port)
{
    u64 end = clock_ns() + 2000000000;

    while (!port_pending(port)) {
        if (clock_ns() > end)
            return false;
        hc_sched(SCHEDOP_yield, NULL);
    }
    return true;
}
