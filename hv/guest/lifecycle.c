#include "guest/lifecycle.h"
#include "guest/event.h"
#include "guest/frame.h"
#include "guest/grant.h"
#include "guest/logdirty.h"
#include "guest/maptrack.h"
#include "guest/pirq.h"
#include "guest/segments.h"
#include "guest/switch.h"
#include "guest/vcpu.h"
#include "guest/vtime.h"
#include "kern/console.h"
#include "kern/irq.h"
#include "x86/paging.h"
#include "x86/reboot.h"
#include "kern/panic.h"
#include <xen/sched.h>

bool lifecycle_is_stopped(const struct domain *d)
{
    for (unsigned i = 0; i < d->max_vcpus; i++)
        if (!__atomic_load_n(&d->vcpus[i]->stopped, __ATOMIC_SEQ_CST))
            return false;
    return true;
}

/* All that wait for vcpus to stop look again. */
static void tell_waiters(struct domain *d)
{
    u64 left = __atomic_exchange_n(&d->waiters, 0, __ATOMIC_SEQ_CST);

    for (; left; left &= left - 1)
        vcpu_wake(dom0->vcpus[__builtin_ctzl(left)], WAKE_EVENT);
}

/* The machine ends with domain 0. */
static void end_machine(const struct domain *d)
{
    u8 reason = d->shutdown_code;

    if (reason == SHUTDOWN_crash)
        log_at(LOG_ERROR, "domain 0 has crashed: the machine stops\n");
    if (reason == SHUTDOWN_reboot || reason == SHUTDOWN_watchdog)
        machine_reset(machine_acpi()); /* asked for: 'noreboot' is about crashes */
    /* After a power-off that ACPI did not perform nothing is left but to stop. */
    machine_end(reason != SHUTDOWN_poweroff);
}

/* With the life lock: the shutdown is complete, and this call is the first to see it. */
static bool may_tell_shutdown(struct domain *d)
{
    if (!(d->stop & STOP_SHUTDOWN) || d->shutdown_told || !lifecycle_is_stopped(d))
        return false;
    d->shutdown_told = true;
    return true;
}

void lifecycle_stop_point(struct vcpu *v)
{
    struct domain *d = v->domain;

    while (vcpu_must_stop(v)) {
        bool tell = false;

        if (d->is_hardware && d->stop & STOP_SHUTDOWN)
            end_machine(d);
        lock(&d->life_lock);
        if (vcpu_must_stop(v)) {
            __atomic_store_n(&v->stopped, true, __ATOMIC_SEQ_CST);
            dispatch_offline(&v->run);
            tell = may_tell_shutdown(d);
        }
        unlock(&d->life_lock);
        if (tell)
            event_send_global_virq(VIRQ_DOM_EXC);
        tell_waiters(d);
        preempt_point();
    }
}

/* With the life lock: what has stopped and has no reason to any more goes on. */
static void release_vcpus(struct domain *d)
{
    for (unsigned i = 0; i < d->max_vcpus; i++) {
        struct vcpu *v = d->vcpus[i];

        if (!v->stopped || vcpu_must_stop(v))
            continue;
        v->stopped = false;
        dispatch_online(&v->run);
    }
}

void lifecycle_shutdown(struct domain *d, u8 reason)
{
    static const char *const names[] = {"poweroff", "reboot",   "suspend",
                                        "crash",    "watchdog", "soft reset"};
    bool tell;

    if (!domain_set_shutdown(d, reason))
        return;
    log_at(reason == SHUTDOWN_crash ? LOG_ERROR : LOG_INFO, "domain %u shut down: %s\n", d->id,
           reason < ARRAY_SIZE(names) ? names[reason] : "unknown reason");
    /* None may come past the stop point any more: all were paused. */
    lock(&d->life_lock);
    tell = may_tell_shutdown(d);
    unlock(&d->life_lock);
    if (tell)
        event_send_global_virq(VIRQ_DOM_EXC);
}

int lifecycle_resume(struct domain *d)
{
    int rc = -XEN_EINVAL;

    lock(&d->life_lock);
    if (d->stop & STOP_SHUTDOWN && d->shutdown_told && !(d->stop & STOP_DYING)) {
        d->shutdown_told = false;
        __atomic_store_n(&d->stop, d->stop & ~STOP_SHUTDOWN, __ATOMIC_SEQ_CST);
        release_vcpus(d);
        rc = 0;
    }
    unlock(&d->life_lock);
    return rc;
}

/* The vcpu had better go back to its guest, and come again. */
static bool has_news(const struct vcpu *v)
{
    return vcpu_has_event(v) || vcpu_has_nmi(v) || vcpu_must_stop(v);
}

/*
 * Each look enters us among those who are told of a stop: one that comes before the last look is seen
 * there, one that comes later wakes us.
 */
static bool is_stopped_or_news(void *arg)
{
    struct domain *d = arg;
    struct vcpu *me = current_vcpu();

    __atomic_or_fetch(&d->waiters, BIT(me->id), __ATOMIC_SEQ_CST);
    return lifecycle_is_stopped(d) || has_news(me);
}

/*
 * Sleeps until the vcpus have stopped, and has their registers brought home. -XEN_EAGAIN: a guest
 * may take its time to come to the border, and the caller has news.
 */
static int wait_until_stopped(struct domain *d)
{
    struct vcpu *me = current_vcpu();

    while (!lifecycle_is_stopped(d)) {
        if (has_news(me))
            return -XEN_EAGAIN;
        vcpu_sleep(me, is_stopped_or_news, d);
    }
    for (unsigned i = 0; i < d->max_vcpus; i++) {
        /* One that says so may have a few steps to go to the end of its time. */
        while (__atomic_load_n(&d->vcpus[i]->on_cpu, __ATOMIC_ACQUIRE) != CPU_NONE)
            tlb_relax();
        switch_unload(d->vcpus[i]);
    }
    return 0;
}

int lifecycle_pause(struct domain *d, bool wait)
{
    bool full;
    int rc = 0;

    lock(&d->life_lock);
    full = (d->stop & STOP_PAUSES) == STOP_PAUSES;
    if (!full)
        domain_stop(d, d->stop + 1);
    unlock(&d->life_lock);
    if (full)
        return -XEN_EINVAL;
    if (wait)
        rc = wait_until_stopped(d);
    if (rc)
        (void)!lifecycle_unpause(d);
    return rc;
}

int lifecycle_unpause(struct domain *d)
{
    int rc = -XEN_EINVAL;

    lock(&d->life_lock);
    if (d->stop & STOP_PAUSES) {
        __atomic_store_n(&d->stop, d->stop - 1, __ATOMIC_SEQ_CST);
        d->has_run |= !(d->stop & STOP_PAUSES);
        release_vcpus(d);
        rc = 0;
    }
    unlock(&d->life_lock);
    return rc;
}

void lifecycle_vcpu_up(struct vcpu *v)
{
    struct domain *d = v->domain;

    lock(&d->life_lock);
    if (v->life == VCPU_DOWN) {
        __atomic_store_n(&v->life, VCPU_UP, __ATOMIC_RELEASE);
        release_vcpus(d);
    }
    unlock(&d->life_lock);
}

void lifecycle_vcpu_down(struct vcpu *v)
{
    struct domain *d = v->domain;
    bool down;

    lock(&d->life_lock);
    down = v->life == VCPU_UP;
    if (down)
        __atomic_store_n(&v->life, VCPU_DOWN, __ATOMIC_SEQ_CST);
    unlock(&d->life_lock);
    if (!down)
        return;
    if (v == current_vcpu())
        softirq_raise(SOFTIRQ_VCPU);
    else
        vcpu_wake(v, WAKE_EVENT);
    vtime_runstate_down(v);
}

void lifecycle_control_begin(struct domain *d)
{
    while (__atomic_exchange_n(&d->in_control, 1, __ATOMIC_ACQUIRE)) {
        vcpu_yield(NULL);
        preempt_point();
    }
}

void lifecycle_control_end(struct domain *d)
{
    __atomic_store_n(&d->in_control, 0, __ATOMIC_RELEASE);
}

/* What its vcpus hold: page tables, descriptor tables, registered pages, timers. */
static void strip_vcpu(struct vcpu *v)
{
    timer_stop(&v->singleshot);
    vtime_stop_periodic(v);
    timer_stop(&v->poll_timer);
    vcpu_reset(v);
}

/*
 * All frames it may own, by blocks of 2 MiB, twice. Page tables keep each other and what they map
 * by references: with all pins gone they fall apart, and hardly a frame is held by more than its
 * allocation then.
 */
static int abandon_frames(struct domain *d)
{
    u64 blocks = DIV_ROUND_UP(max_mfn, BLOCK_FRAMES);

    while (d->next_block < 2 * blocks) {
        u64 step = d->next_block++, block = step % blocks, first = block * BLOCK_FRAMES;

        if (!(d->blocks[block / 64] & BIT(block & 63)))
            continue;
        if (step < blocks)
            frames_unpin(d, first, MIN(first + BLOCK_FRAMES, max_mfn));
        else
            frames_abandon(d, first, MIN(first + BLOCK_FRAMES, max_mfn));
        preempt_point();
        if (has_news(current_vcpu()))
            return -XEN_EAGAIN;
    }
    return 0;
}

int lifecycle_destroy(struct domain *d)
{
    int rc;

    lock(&d->life_lock);
    if (!(d->stop & STOP_DYING))
        domain_stop(d, d->stop | STOP_DYING);
    unlock(&d->life_lock);
    rc = wait_until_stopped(d);
    if (rc)
        return rc;
    if (d->apart)
        return 0;
    rc = event_close_all(d);
    if (rc)
        return rc;
    rc = event_release_service(d);
    if (rc)
        return rc;
    timer_stop(&d->memory_timer);
    (void)!heap_claim(&d->claimed_pages, 0);
    grant_close(d);
    rc = maptrack_release(d);
    if (rc)
        return rc;
    pirq_release_all(d);
    device_release_all(&d->devices, d->id);
    for (unsigned i = 0; i < d->max_vcpus; i++)
        strip_vcpu(d->vcpus[i]);
    rc = abandon_frames(d);
    if (rc)
        return rc;
    domain_leave(d);
    event_send_global_virq(VIRQ_DOM_EXC);
    return 0;
}

/* Nobody refers to it any more: its vcpus' memory and its own go. */
static void bury(void)
{
    struct domain *d;

    while ((d = domain_next_gone())) {
        for (unsigned i = 0; i < d->max_vcpus; i++)
            vcpu_free(d->vcpus[i]);
        maptrack_destroy(d);
        grant_free(d);
        logdirty_free(d);
        BUG_ON(dispatch_remove_domain(&d->sched));
        domain_free(d);
        event_send_global_virq(VIRQ_DOM_EXC);
    }
}

__init void lifecycle_init(void)
{
    softirq_set_handler(SOFTIRQ_DOMAIN, bury);
}
