/*
 * What belongs to one logical CPU, and how code finds it: every hypervisor stack is STACK_SIZE
 * bytes, aligned to its size, and carries a struct stack_info at its top. There is no segment
 * trick: GS always belongs to the guest.
 *
 * Locking: a CPU touches only its own struct cpu, with interrupts off; fields that others read
 * are marked and accessed with atomics.
 */
#ifndef SERAI_X86_PERCPU_H
#define SERAI_X86_PERCPU_H

#include "base/types.h"
#include "x86/layout.h"

struct guest_entry;
struct sched_unit;

struct packed tss {
    u32 reserved0;
    u64 rsp0, rsp1, rsp2;
    u64 reserved1;
    u64 ist[7];
    u64 reserved2;
    u16 reserved3, iomap_base;
};

/* Data page beside a CPU's entry stub: the stub reaches it rip-relative. */
struct stub_data {
    u64 scratch;   /* guest stack pointer while the stub changes stacks */
    u64 stack_top; /* hypervisor stack of the current vcpu */
};

/* Things that happened, counted per CPU; names in kern/counters.c. */
enum counter {
    COUNT_INTERRUPT,
    COUNT_TIMER_INTERRUPT,
    COUNT_NMI,
    COUNT_CR3_LOAD,
    COUNT_TLB_FLUSH,
    COUNT_TLB_FLUSH_SKIPPED,
    COUNT_TLB_SHOOTDOWN,
    COUNT_TLB_CANDIDATE,
    COUNT_TLB_FILTERED,
    COUNT_TLB_DEFERRED,
    COUNT_IPI_FLUSH,
    COUNT_IPI_SCHED,
    COUNT_IPI_EVENT,
    COUNT_SCHEDULE,
    COUNT_VCPU_SWITCH,
    COUNT_VCPU_LOAD,
    COUNT_INVLPG,
    COUNT_PTE_MMU_UPDATE,
    COUNT_PTE_VA_MAPPING,
    COUNT_PTE_EMULATED,
    COUNT_PTE_EXCHANGE,
    COUNT_TABLE_VALIDATED,
    COUNT_TABLE_DEVALIDATED,
    COUNT_EMUL_CPUID,
    COUNT_EMUL_RDMSR,
    COUNT_EMUL_WRMSR,
    COUNT_EMUL_CR,
    COUNT_EMUL_DR,
    COUNT_EMUL_IO,
    COUNT_EMUL_XSETBV,
    COUNT_FAULT_TO_GUEST,
    COUNT_EVENT_UPCALL,
    COUNT_PREEMPTION,
    /* From here on kept per vcpu by the assembly walks; summed up when they are read. */
    COUNT_USER_SYSCALL,
    COUNT_USER_FAULT,
    COUNT_IRET,
    NR_COUNTERS
};

struct cpu {
    unsigned id;
    u32 apic_id;
    u32 softirq_pending;      /* bit per enum softirq; set by this CPU only */
    u32 vector;               /* of the interrupt being handled, 0: none; read by others */
    struct sched_unit *unit;  /* what runs here, NULL: idle; read by others as a hint */
    struct sched_unit *guest; /* whose page table and registers are loaded, NULL: nobody's */
    u64 idle_sp;              /* where the idle loop left its stack */
    u32 lock_ranks;           /* bit per rank of the locks held: kern/lock.h */

    /* Translations: see kern/tlb.h. Other CPUs read these and set 'flush_asked' and 'stale'. */
    u64 flushed_at;  /* flush clock of the last complete flush */
    u32 guest_owner; /* domain whose page table may be loaded, NO_OWNER: none */
    u32 flush_asked; /* an interrupt for it is on its way */
    u32 monitored;   /* waits for a write to 'wake': needs no interrupt */
    u32 wake;        /* has to look at its queue */
    u32 idle;        /* nothing of a guest is used before 'stale' has been looked at */
    u32 stale;       /* flush before a guest runs here again */

    u64 counters[NR_COUNTERS];
    u64 hypercalls[NR_HYPERCALLS];
    struct stub_data *stub;
    u64 *gdt;                  /* the hypervisor's descriptor page */
    void *empty_page;          /* behind the unused part of the window */
    u64 *window_ptes;          /* L1 entries of this CPU's GDT and LDT window */
    u8 window_gdt, window_ldt; /* its pages of either from here on are as after boot */
    struct tss *tss;
};

struct stack_info {
    struct guest_entry *guest; /* NULL on stacks that belong to no vcpu */
    struct cpu *cpu;
};

static inline struct stack_info *stack_info(void)
{
    u64 top;
    asm("mov %%rsp, %0; or %1, %0" : "=r"(top) : "i"(STACK_SIZE - 1));
    return (struct stack_info *)(top + 1 - sizeof(struct stack_info));
}

static inline struct cpu *this_cpu(void)
{
    return stack_info()->cpu;
}

static inline void count(enum counter c)
{
    this_cpu()->counters[c]++;
}

extern struct cpu *cpus[MAX_CPUS];
extern unsigned nr_cpus;

#endif
