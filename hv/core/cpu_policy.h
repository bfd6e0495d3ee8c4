/*
 * What CPUID and a few model-specific registers say, as a value: of the machine, of what guests
 * may have, or of one domain. The toolstack reads and writes it as a list of leaves
 * (xen_cpuid_leaf_t) and registers (xen_msr_entry_t) that its library parses strictly.
 *
 * Invariants:
 *  C1 Each leaf of the list has one place here: basic ones up to CPU_POLICY_MAX_BASIC, extended
 *     ones up to CPU_POLICY_MAX_EXT, the subleaves of 4, 7, 0xB and 0xD, and the two hypervisor
 *     ranges' first leaf, of which only the limit (the low byte of EAX) counts.
 *  C2 What cpu_policy_write() took, cpu_policy_next_leaf() gives back, as far as the maximum
 *     leaves tell that it is there; the list is in order of leaf and subleaf.
 *  C3 After cpu_policy_limit() no feature is there that the limit lacks, and no state component
 *     without its feature. The maximum leaves are cpu_policy_check()'s business.
 *
 * Pure; the caller serialises.
 */
#ifndef SERAI_CORE_CPU_POLICY_H
#define SERAI_CORE_CPU_POLICY_H

#include "core/cpuid_policy.h"
#include <xen/xen.h>
#include <xen/arch-x86/xen.h>

#define CPU_POLICY_MAX_BASIC 0xdU
#define CPU_POLICY_MAX_EXT   0x80000021U

#define CPU_POLICY_LEAVES 118 /* with registers of their own */

struct cpu_policy {
    struct cpuid_regs leaf[CPU_POLICY_LEAVES];
    u64 platform_info, arch_caps; /* MSRs 0xCE and 0x10A */
    u8 xen_limit, other_limit;    /* of 0x40000000 and 0x40000100 */
};

/* The longest list there can be: what a caller needs room for. */
#define CPU_POLICY_MAX_LEAVES (CPU_POLICY_LEAVES + 2)
#define CPU_POLICY_MAX_MSRS   2

/* The registers of a leaf; NULL: it has no place here. Leaves without subleaves ignore it. */
const struct cpuid_regs *cpu_policy_leaf(const struct cpu_policy *p, u32 leaf, u32 subleaf);
/* The same, to be filled in from the machine: cpu_policy_for_each names all there are. */
struct cpuid_regs *cpu_policy_place(struct cpu_policy *p, u32 leaf, u32 subleaf);

/* The n-th place, n below CPU_POLICY_LEAVES; subleaf XEN_CPUID_NO_SUBLEAF: it has none. */
void cpu_policy_name(u32 n, u32 *leaf, u32 *subleaf);

/* -XEN_ERANGE: this leaf or subleaf has no place. */
int cpu_policy_write(struct cpu_policy *p, const xen_cpuid_leaf_t *l) must_check;
/* -XEN_ERANGE: no such register; -XEN_EINVAL: reserved flags. */
int cpu_policy_write_msr(struct cpu_policy *p, const xen_msr_entry_t *m) must_check;

/*
 * The next entry of the list; '*at' starts at 0 and is the caller's only to keep. False: that
 * was all.
 */
bool cpu_policy_next_leaf(const struct cpu_policy *p, u32 *at, xen_cpuid_leaf_t *l);
/* The n-th register, n below CPU_POLICY_MAX_MSRS. */
void cpu_policy_msr(const struct cpu_policy *p, u32 n, xen_msr_entry_t *m);

/* One word of the feature set, by the layout of arch-x86/cpufeatureset.h. */
u32 cpu_policy_features(const struct cpu_policy *p, u32 word);

/* Takes away the features that the public list does not name: nobody knows what they need. */
void cpu_policy_keep_known(struct cpu_policy *p);

/*
 * LFENCE waits for what is before it. The leaf that says so is newer than the CPUs of which it is
 * true: the extended leaves go on up to it, as stock Xen's do, whose saved guests have it.
 */
void cpu_policy_tell_lfence(struct cpu_policy *p);

/* The state components that its features come to; 'limit' are those there may be. */
u64 cpu_policy_xcr0(const struct cpu_policy *p, u64 limit);

/* Who is to blame for a refusal; all ones: nothing of that kind. */
struct cpu_policy_error {
    u32 leaf, subleaf, msr;
};

/*
 * Whether a domain with this policy can run within 'max': -XEN_EINVAL, and which leaf or
 * register is too much. Features do not matter here: see cpu_policy_limit().
 */
int cpu_policy_check(const struct cpu_policy *max, const struct cpu_policy *p,
                     struct cpu_policy_error *e) must_check;

/*
 * Takes away the features that 'max' does not have, and what hangs on them. With itself as 'max':
 * only that.
 */
void cpu_policy_limit(struct cpu_policy *p, const struct cpu_policy *max);

#endif
