#include "guest/domain.h"
#include "base/format.h"
#include "base/string.h"
#include "guest/event.h"
#include "guest/frame.h"
#include "guest/vtime.h"
#include "kern/console.h"
#include "kern/irq.h"
#include "kern/panic.h"
#include "x86/cpu.h"
#include "x86/cpu_setup.h"
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
    d->pirq_lock = (struct spinlock)SPINLOCK(LOCK_PIRQ);
    d->ports.limit = EVTCHN_MAX_PORTS;
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

struct vcpu *vcpu_create(struct domain *d, unsigned id)
{
    struct vcpu *v = heap_alloc_pages(2);
    struct stack_info *info;

    if (!v)
        return NULL;
    BUG_ON(sizeof(*v) > 4 * PAGE_SIZE);
    v->stack = heap_alloc_pages(STACK_ORDER);
    if (!v->stack) {
        heap_free_pages(v, 2);
        return NULL;
    }
    v->domain = d;
    v->id = id;
    v->entry.info = (u8 *)&d->shared->vcpu_info[id];
    v->entry.kernel_mode = 1;
    v->entry.iomap_kernel = TSS_NO_BITMAP;
    v->xcr0 = 1;
    v->dr[6] = 0xffff0ff0;
    v->dr[7] = BIT(10);
    info = (struct stack_info *)(v->stack + STACK_SIZE) - 1;
    info->guest = &v->entry;
    d->vcpus[id] = v;
    d->max_vcpus = MAX(d->max_vcpus, id + 1);
    vtime_vcpu_init(v);
    return v;
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

void vcpu_start(struct vcpu *v, const struct cpu_user_regs *regs, void (*first)(void))
{
    struct stack_info *info = (struct stack_info *)(v->stack + STACK_SIZE) - 1;
    struct cpu *c = this_cpu();
    struct cpu_user_regs *top =
        (struct cpu_user_regs *)((u8 *)info - offsetof(struct cpu_user_regs, es));

    memcpy(top, regs, offsetof(struct cpu_user_regs, es));
    v->entry.iomap_base = cpu_iomap_base(c);
    cpu_set_stack(c, info);
    c->current = &v->entry;
    v->running = true;
    vtime_runstate_update(v, RUNSTATE_running);
    write_cr3(v->entry.kernel_cr3);
    start_guest(top, first);
}

void preempt_point(void)
{
    /* One instruction's window is enough: what is pending is taken in it. */
    asm volatile("sti; nop; cli" : : : "memory");
    if (unlikely(this_cpu()->softirq_pending)) {
        count(COUNT_PREEMPTION);
        softirq_run();
    }
}

void vcpu_wait(struct vcpu *v)
{
    v->blocked = true;
    vtime_runstate_update(v, RUNSTATE_blocked);
    if (!(this_cpu()->softirq_pending & ~(1U << SOFTIRQ_VCPU)))
        cpu_halt_irq_on();
    softirq_run();
    vtime_runstate_update(v, RUNSTATE_running);
    v->blocked = false;
}

void vcpu_block(struct vcpu *v)
{
    while (!vcpu_info(v)->evtchn_upcall_pending && !v->domain->crashed && !v->nmi_pending)
        vcpu_wait(v);
    if (v->runstate_va)
        vtime_runstate_publish(v);
}

void vcpu_wake(struct vcpu *v)
{
    /* There is one CPU for guests: it is here, and looks when it is done. */
}
