/*
 * Bringing one CPU into the state the rest relies on: descriptor tables, entry stubs, control
 * registers, model-specific registers. Also what the CPU can do, found once.
 */
#ifndef SERAI_X86_CPU_SETUP_H
#define SERAI_X86_CPU_SETUP_H

#include "core/cpuid_policy.h"
#include "core/topology.h"
#include "x86/percpu.h"

struct cpu_features {
    bool nx, smep, smap, fsgsbase, xsave, rdtscp, pat;
    bool lfence_waits; /* AMD's: for all instructions before it */
    bool mwait; /* to be used: not below another hypervisor, where it often means spinning */
    u64 xcr0;   /* what we let guests enable */
    u32 xsave_size; /* bytes of an area for xcr0 */
    unsigned maddr_bits;
    char vendor[13];
};

extern struct cpu_features cpu_features;
extern struct cpuid_host cpuid_host;

/* Control register 4 bits that are the guest's own while it runs. */
static inline u64 cpu_guest_cr4(void)
{
    return BIT(2) | BIT(3) | (cpu_features.fsgsbase ? BIT(16) : 0); /* TSD, DE, FSGSBASE */
}

/* PAT as guests expect it: WB WT UC- UC WC WP UC UC (0 in the two spares). */
#define HV_PAT 0x0000050100070406UL

void cpu_detect(void);

/* What CPUID says of cores and caches, on the boot CPU. */
void cpu_describe(struct topology_cpuid *c);

/* A CPU's structures; 'alloc' gives zeroed pages (never NULL at boot). */
struct cpu *cpu_create(unsigned id, void *(*alloc)(unsigned order));

/* Loads them on the CPU that runs this. */
void cpu_load(struct cpu *c);

/* From now on entries from the guest use this stack (its top, below struct stack_info). */
void cpu_set_stack(struct cpu *c, struct stack_info *top);

/* The I/O permission bitmap of this CPU: a set bit traps. */
void cpu_io_bitmap_allow(struct cpu *c, u16 first, u16 last);
void cpu_io_bitmap_deny(struct cpu *c, u16 first, u16 last);
/* Where the CPU looks the bitmap's place up: TSS_BITMAP_OFFSET or TSS_NO_BITMAP. */
u16 *cpu_iomap_base(struct cpu *c);

#endif
