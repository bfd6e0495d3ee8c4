/* The CPUs of explorer.c: what kern/tlb.h says that others read and set of them. */
#ifndef SERAI_X86_PERCPU_H
#define SERAI_X86_PERCPU_H

#include "base/types.h"

/* Figures are no part of a state. */
enum counter { COUNT_TLB_FLUSH, COUNT_TLB_FLUSH_SKIPPED, COUNT_TLB_CANDIDATE, NR_COUNTERS };
#define count(what) ((void)0)

struct cpu {
    u64 *counters;
    u64 flushed_at;
    unsigned id;
    u32 apic_id;
    u32 guest_owner;
    u32 flush_asked;
    u32 idle;
    u32 stale;
};

#define MAX_CPUS 3
extern struct cpu *cpus[MAX_CPUS];
extern unsigned nr_cpus;

struct cpu *this_cpu(void);

#endif
