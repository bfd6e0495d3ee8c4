#include "kern/counters.h"
#include "base/format.h"
#include "kern/console.h"
#include "kern/lock.h"
#include "x86/entry.h"
#include "x86/percpu.h"

static const char *const names[NR_COUNTERS] = {
    [COUNT_INTERRUPT] = "interrupt",
    [COUNT_TIMER_INTERRUPT] = "interrupt.timer",
    [COUNT_NMI] = "interrupt.nmi",
    [COUNT_CR3_LOAD] = "tlb.cr3_load",
    [COUNT_TLB_FLUSH] = "tlb.flush",
    [COUNT_TLB_FLUSH_SKIPPED] = "tlb.flush_skipped",
    [COUNT_TLB_SHOOTDOWN] = "tlb.shootdown",
    [COUNT_TLB_CANDIDATE] = "tlb.shootdown_candidate",
    [COUNT_TLB_FILTERED] = "tlb.shootdown_filtered",
    [COUNT_TLB_DEFERRED] = "tlb.shootdown_deferred",
    [COUNT_IPI_FLUSH] = "ipi.flush",
    [COUNT_IPI_SCHED] = "ipi.schedule",
    [COUNT_IPI_EVENT] = "ipi.event",
    [COUNT_SCHEDULE] = "schedule.decision",
    [COUNT_VCPU_SWITCH] = "schedule.switch",
    [COUNT_VCPU_LOAD] = "schedule.load",
    [COUNT_INVLPG] = "tlb.invlpg",
    [COUNT_PTE_MMU_UPDATE] = "pte.mmu_update",
    [COUNT_PTE_VA_MAPPING] = "pte.update_va_mapping",
    [COUNT_PTE_EMULATED] = "pte.emulated",
    [COUNT_PTE_EXCHANGE] = "pte.exchange",
    [COUNT_TABLE_VALIDATED] = "table.validated",
    [COUNT_TABLE_DEVALIDATED] = "table.devalidated",
    [COUNT_EMUL_CPUID] = "emulated.cpuid",
    [COUNT_EMUL_RDMSR] = "emulated.rdmsr",
    [COUNT_EMUL_WRMSR] = "emulated.wrmsr",
    [COUNT_EMUL_CR] = "emulated.control_register",
    [COUNT_EMUL_DR] = "emulated.debug_register",
    [COUNT_EMUL_IO] = "emulated.io_port",
    [COUNT_EMUL_XSETBV] = "emulated.xsetbv",
    [COUNT_FAULT_TO_GUEST] = "exception.to_guest",
    [COUNT_EVENT_UPCALL] = "event.upcall",
    [COUNT_PREEMPTION] = "preemption",
    [COUNT_USER_SYSCALL] = "entry.user_syscall",
    [COUNT_USER_FAULT] = "entry.user_fault",
    [COUNT_IRET] = "entry.iret",
};

#define NR_HYPERCALL_COUNTERS ARRAY_SIZE(((struct cpu *)0)->hypercalls)

static struct spinlock guests_lock = SPINLOCK(LOCK_COUNTERS);
static struct guest_entry *guests;    /* all vcpus there are; guests_lock */
static struct guest_entry gone_guest; /* the sums of those that went; guests_lock */

void counters_add_guest(struct guest_entry *g)
{
    lock(&guests_lock);
    g->next = guests;
    guests = g;
    unlock(&guests_lock);
}

void counters_remove_guest(struct guest_entry *g)
{
    struct guest_entry **at;

    lock(&guests_lock);
    for (at = &guests; *at != g; at = &(*at)->next)
        ;
    *at = g->next;
    gone_guest.user_syscalls += g->user_syscalls;
    gone_guest.user_faults += g->user_faults;
    gone_guest.irets += g->irets;
    unlock(&guests_lock);
}

/*
 * What the walks in assembly add to a CPU's own counter: each of them loads CR3 once, and a user
 * fault is an exception that went to the guest.
 */
static u64 counted_in_assembly(const struct guest_entry *g, unsigned i)
{
    switch (i) {
    case COUNT_USER_SYSCALL:
        return g->user_syscalls;
    case COUNT_USER_FAULT:
    case COUNT_FAULT_TO_GUEST:
        return g->user_faults;
    case COUNT_IRET:
        return g->irets;
    case COUNT_CR3_LOAD:
        return g->user_syscalls + g->user_faults + g->irets;
    default:
        return 0;
    }
}

unsigned counters_total(void)
{
    return NR_COUNTERS + NR_HYPERCALL_COUNTERS;
}

void counters_get(unsigned i, char *name, u64 *value)
{
    u64 sum = 0;

    for (unsigned c = 0; c < nr_cpus; c++)
        sum += i < NR_COUNTERS ? cpus[c]->counters[i] : cpus[c]->hypercalls[i - NR_COUNTERS];
    lock(&guests_lock);
    sum += counted_in_assembly(&gone_guest, i);
    for (const struct guest_entry *g = guests; g; g = g->next)
        sum += counted_in_assembly(g, i);
    unlock(&guests_lock);
    *value = sum;
    if (i < NR_COUNTERS)
        format(name, 32, "%s", names[i]);
    else
        format(name, 32, "hypercall.%u", i - NR_COUNTERS);
}

void counters_dump(void)
{
    for (unsigned i = 0; i < counters_total(); i++) {
        char name[32];
        u64 value;

        counters_get(i, name, &value);
        if (value)
            printk("%-28s %lu\n", name, value);
    }
}
