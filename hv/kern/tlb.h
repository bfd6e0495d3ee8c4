/*
 * The flush clock and TLB shootdowns (rules R3, R4 and R6 of core/frame.h's header).
 *
 * A complete flush of a CPU ticks the clock, then flushes, then publishes the ticked value in
 * its struct cpu. A CPU may be skipped for a stamp only if it flushed strictly after it.
 * Guests run on the boot CPU only so far: it is the one CPU that can hold their translations.
 */
#ifndef SERAI_KERN_TLB_H
#define SERAI_KERN_TLB_H

#include "base/types.h"
#include "x86/cpu.h"
#include "x86/percpu.h"

extern u64 flush_clock;

static inline u64 tlb_clock(void)
{
    return __atomic_load_n(&flush_clock, __ATOMIC_ACQUIRE);
}

/* Flushes this CPU completely: there are no global pages and no PCIDs. */
static inline void tlb_flush_local(void)
{
    struct cpu *c = this_cpu();
    u64 tick = __atomic_add_fetch(&flush_clock, 1, __ATOMIC_SEQ_CST);

    write_cr3(read_cr3());
    c->counters[COUNT_TLB_FLUSH]++;
    __atomic_store_n(&c->flushed_at, tick, __ATOMIC_RELEASE);
}

/* Makes sure that no CPU holds a translation from before 'stamp'. */
static inline void tlb_flush_since(u64 stamp)
{
    if (this_cpu()->flushed_at <= stamp)
        tlb_flush_local();
    else
        this_cpu()->counters[COUNT_TLB_FLUSH_SKIPPED]++;
}

#endif
