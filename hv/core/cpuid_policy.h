/*
 * What a paravirtual domain sees of CPUID. The caller takes the leaf from the domain's policy
 * (core/cpu_policy.h), or from the machine to make such a policy, and passes it through
 * cpuid_policy_apply; the Xen leaves (0x40000000...) are made up.
 *
 * Invariants:
 *  P1 A feature bit reaches a guest only if the host has it and the allow-list names it;
 *     everything unknown is hidden. Exceptions, set regardless of the host: HYPERVISOR.
 *  P2 Leaf 0xD describes exactly in->xcr0_supported, and a state component's features are
 *     hidden when the component is not in it (AVX without bit 2, AVX-512 without bits 5-7).
 *  P3 A leaf that the policy does not know, or above the host's maximum, is all zero.
 *  P4 The same input gives the same output: nothing of the physical CPU (APIC id, topology,
 *     live XCR0 or CR4) shows through.
 *  P5 The topology is flat, since a vcpu may run anywhere at any time: a core of one thread
 *     per vcpu, all in one package (64 a package beyond that), the last-level cache shared by
 *     all and the others private. Leaves 1, 4, 0x80000001 and 0x80000008 tell it; 0xB and 0x1F,
 *     which need x2APIC ids, and AMD's 0x8000001D and 0x8000001E are zero. The caller's APIC ids
 *     are the vcpu numbers.
 *
 * Pure; any context may call.
 */
#ifndef SERAI_CORE_CPUID_POLICY_H
#define SERAI_CORE_CPUID_POLICY_H

#include "base/types.h"

struct cpuid_regs {
    u32 eax, ebx, ecx, edx;
};

#define CPUID_XSTATE_MAX 32 /* components 2..31 may be described */
#define CPUID_NR_WORDS   19 /* words of a featureset (arch-x86/cpufeatureset.h) */

/* AMD repeats these bits of leaf 1 EDX in leaf 0x80000001 EDX. */
#define CPUID_AMD_COMMON 0x0183f3ffU

enum cpu_vendor { CPU_VENDOR_OTHER, CPU_VENDOR_INTEL, CPU_VENDOR_AMD /* and Hygon */ };

/* What the policy must know of the machine beyond the leaf at hand; filled once at boot. */
struct cpuid_host {
    enum cpu_vendor vendor;
    u32 max_leaf;     /* highest basic leaf */
    u32 max_ext_leaf; /* highest extended leaf, 0x8000xxxx */
    bool rdtscp;
    u8 last_cache; /* level of the last data cache, leaf 4; 0: not told, taken as 3 */
    struct {
        u32 offset, size; /* standard format, bytes; size 0: absent */
        bool aligned;     /* to 64 bytes in the compacted format */
    } xstate[CPUID_XSTATE_MAX];
};

struct cpuid_policy_in {
    const struct cpuid_host *host;
    u32 max_leaf, max_ext_leaf; /* of the domain's policy; 0: as the host has them */
    u64 xcr0_supported;         /* what the hypervisor lets this domain set; 0: XSAVE hidden */
    u64 guest_xcr0;             /* the vcpu's XCR0 now */
    u64 tsc_offset;             /* Xen leaf 3, subleaf 1 */
    u32 tsc_mul;
    s8 tsc_shift;
    bool tsc_stable;    /* offer the invariant TSC */
    bool hwdom;         /* domain 0 */
    bool kernel_mode;   /* the guest kernel asks, through the forced-emulation prefix */
    bool guest_osxsave; /* the guest's view of CR4.OSXSAVE */
    bool fsgsbase;      /* the hypervisor keeps CR4.FSGSBASE under guest control */
    bool sysenter;      /* the hypervisor has a SYSENTER entry for guests */
    bool barrier;       /* guests may write PRED_CMD; as in struct msr_policy_in */
    bool arch_caps;     /* guests may read ARCH_CAPABILITIES; likewise */
    u32 vcpu_id;
    u32 apic_id;
    u32 nr_vcpus;
    u32 tsc_khz;
    u32 tsc_mode;    /* Xen leaf 3: 0 default, 1 emulated, 2 native */
    u32 incarnation; /* migrations so far */
    u32 xen_version; /* major << 16 | minor */
    u32 maddr_bits;  /* machine address width that guests must handle */
};

/*
 * Absorbs one native leaf into *host: 0, 0x80000000, 0x80000001, the subleaves of 4 and those
 * of 0xD from 2 up; others are ignored. Start with a zeroed struct.
 */
void cpuid_host_add(struct cpuid_host *host, u32 leaf, u32 subleaf,
                    const struct cpuid_regs *native);

/* What guests may have of the host's XCR0: x87, SSE, AVX, AVX-512; 0 when too little. */
u64 cpuid_policy_xcr0(u64 host_xcr0);

/* Whether XSETBV of this value is legal; 'supported' as made by cpuid_policy_xcr0. */
bool cpuid_policy_may_set_xcr0(u64 value, u64 supported);

/* Bytes of a standard-format XSAVE area for these components. */
u32 cpuid_xstate_size(const struct cpuid_host *host, u64 xcr0);

/* Replaces the answer in *r, of policy or machine, by what this vcpu sees now. */
void cpuid_policy_apply(u32 leaf, u32 subleaf, struct cpuid_regs *r,
                        const struct cpuid_policy_in *in);

/* Highest leaf, for the guest, of the range 'leaf' lies in: basic, Xen or extended. */
u32 cpuid_policy_max_leaf(u32 leaf, const struct cpuid_policy_in *in);

/* The allow-list as featureset words: bits a PV domain may ever see, given a host with all. */
u32 cpuid_policy_allowed(u32 word);

#endif
