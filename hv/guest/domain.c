#include "guest/domain.h"
#include "base/format.h"
#include "guest/frame.h"
#include "kern/console.h"
#include "kern/irq.h"
#include "kern/panic.h"
#include "kern/torture.h"
#include "x86/cpu.h"
#include "x86/cpu_setup.h"
#include "x86/lapic.h"
#include "x86/paging.h"
#include "x86/reboot.h"
#include <xen/sched.h>

struct domain *dom0;

struct domain *domain_create(u16 id, u64 max_pages)
{
    struct domain *d = heap_alloc_pages(1);

    if (!d)
        return NULL;
    BUG_ON(sizeof(*d) > 2 * PAGE_SIZE);
    d->id = id;
    d->max_pages = max_pages;
    d->event_lock = (struct spinlock)SPINLOCK(LOCK_EVENTS);
    d->life_lock = (struct spinlock)SPINLOCK(LOCK_LIFE);
    d->pirq_lock = (struct spinlock)SPINLOCK(LOCK_PIRQ);
    d->grant_lock = (struct spinlock)SPINLOCK(LOCK_GRANT);
    d->ports.limit = EVTCHN_MAX_PORTS;
    dispatch_add_domain(&d->sched, id);
    d->shared = heap_alloc_pages(0);
    if (!d->shared) {
        heap_free_pages(d, 1);
        return NULL;
    }
    d->shared_mfn = virt_to_mfn(d->shared);
    frame_assign(d, d->shared_mfn, REF_SPECIAL);
    for (unsigned i = 0; i < XEN_LEGACY_MAX_VCPUS; i++)
        d->shared->vcpu_info[i].evtchn_upcall_mask = 1;
    return d;
}

bool domain_claim_pages(struct domain *d, u64 n)
{
    u64 now = __atomic_load_n(&d->tot_pages, __ATOMIC_RELAXED);

    do {
        if (n > d->max_pages || now > d->max_pages - n)
            return false;
    } while (!__atomic_compare_exchange_n(&d->tot_pages, &now, now + n, true, __ATOMIC_RELAXED,
                                          __ATOMIC_RELAXED));
    return true;
}

void domain_give_pages(struct domain *d, u64 n)
{
    __atomic_sub_fetch(&d->tot_pages, n, __ATOMIC_RELAXED);
}

void domain_crash(struct domain *d, const char *fmt, ...)
{
    char why[160];
    va_list ap;

    if (__atomic_exchange_n(&d->crashed, true, __ATOMIC_ACQ_REL))
        return;
    va_start(ap, fmt);
    format_va(why, sizeof(why), fmt, ap);
    va_end(ap);
    log_at(LOG_ERROR, "domain %u crashed: %s\n", d->id, why);
    dump_regs(guest_regs());
    softirq_raise(SOFTIRQ_VCPU);
    for (unsigned i = 0; i < d->max_vcpus; i++)
        if (d->vcpus[i])
            vcpu_wake(d->vcpus[i], WAKE_EVENT);
}

void domain_stop(struct domain *d)
{
    log_at(LOG_ERROR, "domain 0 has crashed: the machine stops\n");
    machine_end(true);
}

void domain_shutdown(struct domain *d, unsigned reason)
{
    static const char *const names[] = {"poweroff", "reboot", "suspend", "crash", "watchdog"};

    log_at(reason == SHUTDOWN_crash ? LOG_ERROR : LOG_INFO, "domain %u shut down: %s\n", d->id,
           reason < ARRAY_SIZE(names) ? names[reason] : "unknown reason");
    if (reason == SHUTDOWN_reboot || reason == SHUTDOWN_watchdog)
        machine_reset(machine_acpi()); /* asked for: 'noreboot' is about crashes */
    /* After a power-off that ACPI did not perform nothing is left but to stop. */
    machine_end(reason != SHUTDOWN_poweroff);
}

/*
 * Life and the scheduler's view of it change together: a vcpu that goes down while another one
 * brings it up ends up as both say.
 */
static bool change_life(struct vcpu *v, enum vcpu_life from, enum vcpu_life to,
                        void (*dispatch)(struct runnable *r))
{
    bool changed;

    lock(&v->domain->life_lock);
    changed = v->life == from;
    if (changed) {
        __atomic_store_n(&v->life, to, __ATOMIC_RELEASE);
        dispatch(&v->run);
    }
    unlock(&v->domain->life_lock);
    return changed;
}

void vcpu_up(struct vcpu *v)
{
    change_life(v, VCPU_DOWN, VCPU_UP, dispatch_online);
}

void vcpu_down(struct vcpu *v)
{
    if (change_life(v, VCPU_UP, VCPU_DOWN, dispatch_offline) && v == current_vcpu())
        preempt_point();
}

void preempt_point(void)
{
    /* One instruction's window is enough: what is pending is taken in it. */
    asm volatile("sti; nop; cli" : : : "memory");
    if (unlikely(this_cpu()->softirq_pending)) {
        count(COUNT_PREEMPTION);
        softirq_run();
    }
    if (TORTURE_PREEMPT && dispatch_current())
        dispatch_yield(NULL);
}

void vcpu_yield(struct vcpu *to)
{
    dispatch_yield(to ? &to->run : NULL);
    preempt_point();
}

struct sleep {
    struct vcpu *vcpu;
    bool (*awake)(void *arg);
    void *arg;
};

static bool must_run(void *arg)
{
    const struct sleep *s = arg;
    const struct vcpu *v = s->vcpu;

    return s->awake(s->arg) || v->domain->crashed || vcpu_has_nmi(v);
}

void vcpu_sleep(struct vcpu *v, bool (*awake)(void *arg), void *arg)
{
    struct sleep s = {v, awake, arg};

    /*
     * Once: a wake-up counts even when its reason has gone again, with a port that was closed for
     * instance. The guest looks for itself.
     */
    if (!must_run(&s)) {
        __atomic_store_n(&v->sleeping, 1, __ATOMIC_SEQ_CST);
        dispatch_sleep(must_run, &s);
        preempt_point();
    }
    /* Ordered before the way out looks for events: a waker that still sees us asleep is seen. */
    __atomic_store_n(&v->sleeping, 0, __ATOMIC_SEQ_CST);
    /* It may have come when we were about to sleep: then nobody interrupts us for it. */
    if (vcpu_has_nmi(v))
        softirq_raise(SOFTIRQ_VCPU);
}

bool vcpu_has_event(const struct vcpu *v)
{
    const struct vcpu_info *info = vcpu_info(v);

    return __atomic_load_n(&info->evtchn_upcall_pending, __ATOMIC_SEQ_CST) &&
           !info->evtchn_upcall_mask;
}

void vcpu_wake(struct vcpu *v, enum sched_wake why)
{
    unsigned cpu;

    if (__atomic_load_n(&v->sleeping, __ATOMIC_SEQ_CST)) {
        dispatch_wake(&v->run, why);
        return;
    }
    cpu = __atomic_load_n(&v->on_cpu, __ATOMIC_SEQ_CST);
    if (cpu != CPU_NONE && cpu != this_cpu()->id) {
        count(COUNT_IPI_EVENT);
        lapic_send_ipi(cpus[cpu]->apic_id, VECTOR_IPI_EVENT);
    }
}

/* Events are looked for after every interrupt; the rest is rare enough to ask for the slow way. */
static void event_interrupt(void *arg)
{
    const struct vcpu *v = current_vcpu();

    if (v && (vcpu_has_nmi(v) || v->domain->crashed))
        softirq_raise(SOFTIRQ_VCPU);
}

__init void domain_init(void)
{
    irq_set_handler(VECTOR_IPI_EVENT, event_interrupt, NULL);
}
