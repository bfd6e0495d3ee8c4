/*
 * The flush clock and TLB shootdowns (rules R3, R4 and R6 of core/frame.h's header).
 *
 * 1. A complete flush of a CPU ticks the clock, then flushes, then publishes the ticked value as
 *    the CPU's flushed_at (R3). Loading another CR3 is one: there are no global pages, no PCIDs.
 * 2. A CPU may be skipped for a stamp only if it flushed strictly after it (R4), or if it has
 *    nothing of that domain loaded: guest_owner is set before CR3 is (R6).
 * 3. An idle CPU keeps the last guest's page table loaded, for in case it comes back, but uses no
 *    translation of it: it is marked stale instead of interrupted, and flushes before it enters
 *    the guest. It says so by 'idle', set after its last use of guest addresses. Where page tables
 *    become something else that is not enough: a CPU may walk them, and mark entries accessed,
 *    for loads that it only guesses. Then idle CPUs are interrupted too.
 * 4. Whoever waits for another CPU, for a flush or for a lock, serves requests to its own CPU
 *    meanwhile (tlb_relax()); so waiting with interrupts off, or with a lock held, cannot end in
 *    a circle.
 */
#ifndef SERAI_KERN_TLB_H
#define SERAI_KERN_TLB_H

#include "core/cpuset.h"
#include "kern/torture.h"
#include "x86/cpu.h"
#include "x86/percpu.h"

#define NO_OWNER 0xffffffffU

extern u64 flush_clock;

static inline u64 tlb_clock(void)
{
    return __atomic_load_n(&flush_clock, __ATOMIC_SEQ_CST);
}

/* A complete flush of this CPU by loading a page table: the one loaded now, or another. */
static inline void tlb_load_cr3(u64 cr3)
{
    struct cpu *c = this_cpu();
    u64 tick;

    __atomic_store_n(&c->flush_asked, 0, __ATOMIC_SEQ_CST);
    tick = __atomic_add_fetch(&flush_clock, 1, __ATOMIC_SEQ_CST);
    write_cr3(cr3);
    c->counters[COUNT_TLB_FLUSH]++;
    __atomic_store_n(&c->flushed_at, tick, __ATOMIC_RELEASE);
}

static inline void tlb_flush_local(void)
{
    tlb_load_cr3(read_cr3());
}

/* One step of a wait for another CPU. */
static inline void tlb_relax(void)
{
    if (unlikely(__atomic_load_n(&this_cpu()->flush_asked, __ATOMIC_RELAXED)))
        tlb_flush_local();
    cpu_relax();
}

/* The other CPUs' part of tlb_flush_since(). */
void tlb_shoot_down(u64 stamp, u32 owner, bool tables);

/*
 * Makes sure that no CPU uses a translation of domain 'owner' (NO_OWNER: of any) from before
 * 'stamp', and with 'tables' none of its page tables of then either. Waits for the CPUs that it
 * has to interrupt.
 */
static inline void tlb_flush_since(u64 stamp, u32 owner, bool tables)
{
    if (TORTURE_NO_FLUSH)
        return;
    if (this_cpu()->flushed_at <= stamp)
        tlb_flush_local();
    else
        this_cpu()->counters[COUNT_TLB_FLUSH_SKIPPED]++;
    if (nr_cpus > 1)
        tlb_shoot_down(stamp, owner, tables);
}

/*
 * The same for any owner and for tables too, but only if no CPU at work has to be interrupted for
 * it: false, and nothing is sure.
 */
bool tlb_settle_since(u64 stamp) must_check;

/* A complete flush of each of these CPUs, from now on; returns when all are done. */
void tlb_flush_cpus(cpuset_t cpus);

/* Handler of VECTOR_IPI_FLUSH on a CPU that does not idle. */
void tlb_interrupt(void *arg);

#endif
