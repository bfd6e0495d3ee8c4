/*
 * Which model-specific registers a paravirtual kernel may read and write, and what happens.
 * The policy decides, the caller acts on the verdict. Only guest kernel mode gets here; RDMSR
 * and WRMSR from guest user mode are #GP before anybody asks.
 *
 * Invariants:
 *  M1 An MSR without an entry is MSR_GP, for reads and writes.
 *  M2 No verdict hands a guest's value to a real MSR except the three segment bases (checked
 *     canonical: XSA-193), TSC_AUX (32 bits) and the prediction barrier (one bit).
 *  M3 MSR_PASS_READ is given only for registers that the vendor documents. The caller still
 *     recovers from a fault (XSA-333) and turns it into #GP for the guest.
 *
 * Pure; any context may call.
 */
#ifndef SERAI_CORE_MSR_POLICY_H
#define SERAI_CORE_MSR_POLICY_H

#include "base/types.h"
#include "core/cpuid_policy.h"

/*
 * MSR_VCPU_*: the register is part of the vcpu, live in the CPU now. The prefix keeps the
 * verdicts apart from MSR numbers, which usually bear the short names.
 */
enum msr_verdict {
    MSR_GP,             /* inject #GP(0) */
    MSR_VALUE,          /* read: the answer is in *val */
    MSR_PASS_READ,      /* read: execute RDMSR with fault recovery, a fault is #GP */
    MSR_IGNORE,         /* write: drop it, the guest continues */
    MSR_IGNORE_IF_SAME, /* write: RDMSR with recovery; equal: drop, different or fault: #GP */
    MSR_VCPU_FS_BASE,   /* the vcpu's bases; a write value is canonical */
    MSR_VCPU_GS_BASE,   /* of kernel mode, live now */
    MSR_VCPU_KERNEL_GS_BASE, /* the one that SWAPGS would bring: the guest's user GS base */
    MSR_VCPU_TSC,            /* read: what RDTSC gives the guest */
    MSR_VCPU_TSC_AUX,        /* a write value fits 32 bits */
    MSR_BARRIER,             /* write: indirect branch prediction barrier on this CPU */
    MSR_HYPERCALL_PAGE,      /* write: fill the guest frame val >> 12 with hypercall stubs */
};

struct msr_policy_in {
    enum cpu_vendor vendor;
    bool hwdom;
    bool rdtscp;    /* TSC_AUX exists and is switched per vcpu */
    bool barrier;   /* the guest's CPUID shows IBPB */
    bool arch_caps; /* the guest's CPUID shows ARCH_CAPS */
    u32 vcpu_id;
    u32 mca_banks;     /* machine-check banks that guests see, always empty; at most 32 */
    u64 arch_caps_val; /* native; the policy masks it */
    u64 efer;          /* as the guest shall see it */
    u64 pat;           /* the hypervisor's PAT, which PTE bits of guests select from */
};

/* The guest's ARCH_CAPABILITIES, for policies that the toolstack reads. */
u64 msr_policy_arch_caps(u64 native);

enum msr_verdict msr_policy_read(u32 msr, const struct msr_policy_in *in, u64 *val);
enum msr_verdict msr_policy_write(u32 msr, u64 val, const struct msr_policy_in *in);

#endif
