#include "core/cpuid_policy.h"

#include <xen/arch-x86/cpufeatureset.h>
#include <xen/arch-x86/cpuid.h>

#define MAX_BASIC_LEAF 0xdU
#define MAX_EXT_LEAF   0x80000021U
#define XEN_LEAF_BASE  0x40000000U
#define XEN_MSR_BASE   0x40000000U

/* Featureset words, by the register that holds them. */
enum word {
    WORD_1D,
    WORD_1C,
    WORD_E1D,
    WORD_E1C,
    WORD_DA1,
    WORD_7B0,
    WORD_7C0,
    WORD_E7D,
    WORD_E8B,
    WORD_7D0,
    WORD_7A1,
    WORD_E21A,
    WORD_7B1,
    WORD_7D2,
    WORD_7C1,
    WORD_7D1,
    WORD_ARCH_CAPS_LOW,
    WORD_ARCH_CAPS_HIGH,
    WORD_E21C,
};
_Static_assert(WORD_E21C == CPUID_NR_WORDS - 1, "one enumerator per featureset word");

/* The feature's bit; a name that belongs to another word does not compile (0 divides). */
#define F(word, name)                                                                          \
    ((1U << (XEN_X86_FEATURE_##name & 31)) / (XEN_X86_FEATURE_##name / 32 == (word)))

/*
 * What a PV guest may see: features that act at CPL 3 without help, that the hypervisor
 * switches per vcpu, or that merely state a fact. Left out although harmless-looking:
 *   PSE, PGE, PCID, SMEP and kin  page tables are the hypervisor's
 *   IBRSB, STIBP, SSBD, EIBRS     SPEC_CTRL is not switched per vcpu
 *   DBEXT                         nor are the breakpoint masks (XSA-444)
 *   HLE, RTM                      transactions leak more than they give
 *   SBPB                          the barrier MSR takes only IBPB
 */
#define W0(name)  F(WORD_1D, name)
#define W1(name)  F(WORD_1C, name)
#define W2(name)  F(WORD_E1D, name)
#define W3(name)  F(WORD_E1C, name)
#define W4(name)  F(WORD_DA1, name)
#define W5(name)  F(WORD_7B0, name)
#define W6(name)  F(WORD_7C0, name)
#define W7(name)  F(WORD_E7D, name)
#define W8(name)  F(WORD_E8B, name)
#define W9(name)  F(WORD_7D0, name)
#define W10(name) F(WORD_7A1, name)
#define W11(name) F(WORD_E21A, name)
#define W13(name) F(WORD_7D2, name)
#define W16(name) F(WORD_ARCH_CAPS_LOW, name)
#define W18(name) F(WORD_E21C, name)

static const u32 allowed[CPUID_NR_WORDS] = {
    [WORD_1D] = W0(FPU) | W0(DE) | W0(TSC) | W0(MSR) | W0(PAE) | W0(MCE) | W0(CX8) | W0(APIC) |
                W0(SEP) | W0(MCA) | W0(CMOV) | W0(PAT) | W0(CLFLUSH) | W0(ACPI) | W0(MMX) |
                W0(FXSR) | W0(SSE) | W0(SSE2) | W0(SS) | W0(HTT),
    [WORD_1C] = W1(SSE3) | W1(PCLMULQDQ) | W1(SSSE3) | W1(FMA) | W1(CX16) | W1(SSE4_1) |
                W1(SSE4_2) | W1(MOVBE) | W1(POPCNT) | W1(AESNI) | W1(XSAVE) | W1(OSXSAVE) |
                W1(AVX) | W1(F16C) | W1(RDRAND) | W1(HYPERVISOR),
    [WORD_E1D] = W2(SYSCALL) | W2(NX) | W2(MMXEXT) | W2(FFXSR) | W2(RDTSCP) | W2(LM) |
                 W2(3DNOWEXT) | W2(3DNOW),
    [WORD_E1C] = W3(LAHF_LM) | W3(CMP_LEGACY) | W3(ABM) | W3(SSE4A) | W3(MISALIGNSSE) |
                 W3(3DNOWPREFETCH) | W3(XOP) | W3(FMA4) | W3(TBM),
    [WORD_DA1] = W4(XSAVEOPT) | W4(XSAVEC) | W4(XGETBV1),
    [WORD_7B0] = W5(FSGSBASE) | W5(BMI1) | W5(AVX2) | W5(FDP_EXCP_ONLY) | W5(BMI2) | W5(ERMS) |
                 W5(NO_FPU_SEL) | W5(AVX512F) | W5(AVX512DQ) | W5(RDSEED) | W5(ADX) |
                 W5(AVX512_IFMA) | W5(CLFLUSHOPT) | W5(CLWB) | W5(AVX512PF) | W5(AVX512ER) |
                 W5(AVX512CD) | W5(SHA) | W5(AVX512BW) | W5(AVX512VL),
    [WORD_7C0] = W6(PREFETCHWT1) | W6(AVX512_VBMI) | W6(AVX512_VBMI2) | W6(GFNI) | W6(VAES) |
                 W6(VPCLMULQDQ) | W6(AVX512_VNNI) | W6(AVX512_BITALG) | W6(AVX512_VPOPCNTDQ) |
                 W6(RDPID) | W6(CLDEMOTE),
    [WORD_E7D] = W7(ITSC),
    [WORD_E8B] =
        W8(CLZERO) | W8(RSTR_FP_ERR_PTRS) | W8(IBPB) | W8(SSB_NO) | W8(BTC_NO) | W8(IBPB_RET),
    [WORD_7D0] = W9(AVX512_4VNNIW) | W9(AVX512_4FMAPS) | W9(FSRM) | W9(MD_CLEAR) |
                 W9(SERIALIZE) | W9(ARCH_CAPS),
    [WORD_7A1] = W10(AVX_VNNI) | W10(AVX512_BF16) | W10(FZRM) | W10(FSRS) | W10(FSRCS),
    [WORD_E21A] = W11(LFENCE_DISPATCH) | W11(VERW_CLEAR) | W11(NSCB) | W11(IBPB_BRTYPE) |
                  W11(SRSO_NO) | W11(SRSO_US_NO),
    [WORD_7D2] = W13(MCDT_NO),
    [WORD_ARCH_CAPS_LOW] = W16(RDCL_NO) | W16(RSBA) | W16(INTEL_SSB_NO) | W16(MDS_NO) |
                           W16(IF_PSCHANGE_MC_NO) | W16(TAA_NO) | W16(SBDR_SSDP_NO) |
                           W16(FBSDP_NO) | W16(PSDP_NO) | W16(FB_CLEAR) | W16(BHI_NO) |
                           W16(PBRSB_NO) | W16(GDS_NO) | W16(RFDS_NO) | W16(RFDS_CLEAR),
    [WORD_ARCH_CAPS_HIGH] = F(WORD_ARCH_CAPS_HIGH, ITS_NO),
    [WORD_E21C] = W18(TSA_SQ_NO) | W18(TSA_L1_NO),
};

/* Features without meaning when the guest cannot enable their state. */
static const u32 needs_xsave[CPUID_NR_WORDS] = {
    [WORD_1C] = W1(XSAVE) | W1(OSXSAVE),
    [WORD_DA1] = ~0U,
};

static const u32 needs_avx[CPUID_NR_WORDS] = {
    [WORD_1C] = W1(AVX) | W1(FMA) | W1(F16C),
    [WORD_E1C] = W3(XOP) | W3(FMA4),
    [WORD_7B0] = W5(AVX2),
    [WORD_7C0] = W6(VAES) | W6(VPCLMULQDQ),
    [WORD_7A1] = W10(AVX_VNNI),
};

static const u32 needs_avx512[CPUID_NR_WORDS] = {
    [WORD_7B0] = W5(AVX512F) | W5(AVX512DQ) | W5(AVX512_IFMA) | W5(AVX512PF) | W5(AVX512ER) |
                 W5(AVX512CD) | W5(AVX512BW) | W5(AVX512VL),
    [WORD_7C0] = W6(AVX512_VBMI) | W6(AVX512_VBMI2) | W6(AVX512_VNNI) | W6(AVX512_BITALG) |
                 W6(AVX512_VPOPCNTDQ),
    [WORD_7D0] = W9(AVX512_4VNNIW) | W9(AVX512_4FMAPS),
    [WORD_7A1] = W10(AVX512_BF16),
};

#define XCR0_LEGACY 0x03UL /* x87 and SSE */
#define XCR0_AVX    0x04UL
#define XCR0_AVX512 0xe0UL

u64 cpuid_policy_xcr0(u64 host_xcr0)
{
    u64 xcr0 = host_xcr0 & (XCR0_LEGACY | XCR0_AVX | XCR0_AVX512);

    if ((xcr0 & XCR0_LEGACY) != XCR0_LEGACY)
        return 0;
    if (!(xcr0 & XCR0_AVX) || (xcr0 & XCR0_AVX512) != XCR0_AVX512)
        xcr0 &= ~XCR0_AVX512;
    return xcr0;
}

bool cpuid_policy_may_set_xcr0(u64 value, u64 supported)
{
    if (!(value & 1) || value & ~supported)
        return false;
    if (value & XCR0_AVX && (value & XCR0_LEGACY) != XCR0_LEGACY)
        return false;
    /* The three AVX-512 states come together, and on top of AVX. */
    if (value & XCR0_AVX512)
        return value & XCR0_AVX && (value & XCR0_AVX512) == XCR0_AVX512;
    return true;
}

/* Features that 'in' does not switch on. */
static u32 without_switch(enum word word, const struct cpuid_policy_in *in)
{
    switch (word) {
    case WORD_1D:
        return in->sysenter ? 0 : W0(SEP);
    case WORD_7B0:
        return in->fsgsbase ? 0 : W5(FSGSBASE);
    case WORD_7D0:
        return in->arch_caps ? 0 : W9(ARCH_CAPS);
    case WORD_E7D:
        return in->tsc_stable ? 0 : W7(ITSC);
    case WORD_E8B:
        return in->barrier ? 0 : W8(IBPB) | W8(IBPB_RET);
    default:
        return 0;
    }
}

/* Which bits of a featureset word this guest may see, given a CPU that has them. */
static u32 visible(enum word word, const struct cpuid_policy_in *in)
{
    u64 xcr0 = cpuid_policy_xcr0(in->xcr0_supported);
    u32 mask = allowed[word] & ~without_switch(word, in);

    if (!xcr0)
        mask &= ~needs_xsave[word];
    if (!(xcr0 & XCR0_AVX))
        mask &= ~needs_avx[word];
    if (!(xcr0 & XCR0_AVX512))
        mask &= ~needs_avx512[word];
    /* Domain 0's kernel asks for memory types by hypercall, and only if it sees MTRRs. */
    if (word == WORD_1D && in->hwdom && in->kernel_mode)
        mask |= W0(MTRR);
    return mask;
}

/* How many of them are a package: no more than leaf 4 can count. */
static u32 nr_vcpus(const struct cpuid_policy_in *in)
{
    return in->nr_vcpus ? MIN(in->nr_vcpus, 64U) : 1;
}

/* The smallest power of two, as an exponent, that is not below n. */
static u32 log2_up(u32 n)
{
    u32 bits = 0;

    while (1U << bits < n)
        bits++;
    return bits;
}

static void clear(struct cpuid_regs *r)
{
    *r = (struct cpuid_regs){0, 0, 0, 0};
}

#define CACHE_TYPE(eax)  ((eax)&0x1f) /* 0: no more caches */
#define CACHE_TYPE_CODE  2
#define CACHE_LEVEL(eax) ((eax) >> 5 & 7)

void cpuid_host_add(struct cpuid_host *host, u32 leaf, u32 subleaf,
                    const struct cpuid_regs *native)
{
    if (leaf == 0) {
        host->max_leaf = native->eax;
        /* The first four letters tell the makers apart: Genu(ine), Auth(entic), Hygo(n). */
        if (native->ebx == 0x756e6547)
            host->vendor = CPU_VENDOR_INTEL;
        else if (native->ebx == 0x68747541 || native->ebx == 0x6f677948)
            host->vendor = CPU_VENDOR_AMD;
        else
            host->vendor = CPU_VENDOR_OTHER;
    } else if (leaf == 0x80000000) {
        host->max_ext_leaf = native->eax;
    } else if (leaf == 0x80000001) {
        host->rdtscp = native->edx & W2(RDTSCP);
    } else if (leaf == 4) {
        if (CACHE_TYPE(native->eax) && CACHE_TYPE(native->eax) != CACHE_TYPE_CODE)
            host->last_cache = MAX(host->last_cache, CACHE_LEVEL(native->eax));
    } else if (leaf == 0xd && subleaf >= 2 && subleaf < CPUID_XSTATE_MAX) {
        host->xstate[subleaf].size = native->eax;
        host->xstate[subleaf].offset = native->ebx;
        host->xstate[subleaf].aligned = native->ecx & 2;
    }
}

#define XSAVE_MIN_SIZE 576U /* the legacy area and the header */

u32 cpuid_xstate_size(const struct cpuid_host *host, u64 xcr0)
{
    u32 size = XSAVE_MIN_SIZE;

    for (u32 i = 2; i < CPUID_XSTATE_MAX; i++)
        if (xcr0 >> i & 1)
            size = MAX(size, host->xstate[i].offset + host->xstate[i].size);
    return size;
}

/* The same in the compacted format of XSAVEC. */
static u32 compacted_size(const struct cpuid_host *host, u64 xcr0)
{
    u32 size = XSAVE_MIN_SIZE;

    for (u32 i = 2; i < CPUID_XSTATE_MAX; i++) {
        if (!(xcr0 >> i & 1))
            continue;
        if (host->xstate[i].aligned)
            size = ROUND_UP(size, 64U);
        size += host->xstate[i].size;
    }
    return size;
}

static void leaf_1(struct cpuid_regs *r, const struct cpuid_policy_in *in)
{
    u32 cpus = nr_vcpus(in);

    /* CLFLUSH line size and brand stay; the rest of EBX is about this vcpu. */
    r->ebx &= 0xffff;
    r->ebx |= 1U << log2_up(cpus) << 16 | (in->apic_id & 0xff) << 24;
    r->ecx &= visible(WORD_1C, in) & ~W1(OSXSAVE);
    r->ecx |= W1(HYPERVISOR);
    /* Kernels look for OSXSAVE before they set the CR4 bit that would show it. */
    if (r->ecx & W1(XSAVE) && (in->kernel_mode || in->guest_osxsave))
        r->ecx |= W1(OSXSAVE);
    r->edx &= visible(WORD_1D, in) & ~W0(HTT);
    if (cpus > 1)
        r->edx |= W0(HTT);
}

/*
 * Caches. The package has a core for each vcpu, and all share the last level: a kernel looks for
 * an idle CPU to wake a task on only among those that share a cache.
 */
static void leaf_4(struct cpuid_regs *r, const struct cpuid_policy_in *in)
{
    u32 others = nr_vcpus(in) - 1, last = in->host->last_cache ? in->host->last_cache : 3;

    if (!CACHE_TYPE(r->eax)) {
        clear(r);
        return;
    }
    r->eax = (r->eax & 0x3fff) | others << 26;
    if (CACHE_LEVEL(r->eax) >= last)
        r->eax |= others << 14;
}

static void leaf_7(u32 subleaf, struct cpuid_regs *r, const struct cpuid_policy_in *in)
{
    switch (subleaf) {
    case 0:
        r->eax = MIN(r->eax, 2U);
        r->ebx &= visible(WORD_7B0, in);
        r->ecx &= visible(WORD_7C0, in);
        r->edx &= visible(WORD_7D0, in);
        return;
    case 1:
        r->eax &= visible(WORD_7A1, in);
        r->ebx &= visible(WORD_7B1, in);
        r->ecx &= visible(WORD_7C1, in);
        r->edx &= visible(WORD_7D1, in);
        return;
    case 2:
        r->eax = r->ebx = r->ecx = 0;
        r->edx &= visible(WORD_7D2, in);
        return;
    default:
        clear(r);
    }
}

static void leaf_d(u32 subleaf, struct cpuid_regs *r, const struct cpuid_policy_in *in)
{
    u64 xcr0 = cpuid_policy_xcr0(in->xcr0_supported), live = in->guest_xcr0 & xcr0;
    u32 insns = r->eax & visible(WORD_DA1, in);

    clear(r);
    if (!xcr0)
        return;
    if (subleaf == 0) {
        r->eax = xcr0;
        r->edx = xcr0 >> 32;
        r->ebx = cpuid_xstate_size(in->host, live);
        r->ecx = cpuid_xstate_size(in->host, xcr0);
    } else if (subleaf == 1) {
        r->eax = insns;
        if (insns & W4(XSAVEC))
            r->ebx = compacted_size(in->host, live);
    } else if (subleaf < CPUID_XSTATE_MAX && xcr0 >> subleaf & 1) {
        r->eax = in->host->xstate[subleaf].size;
        r->ebx = in->host->xstate[subleaf].offset;
        r->ecx = in->host->xstate[subleaf].aligned ? 2 : 0;
    }
}

static void apply_basic(u32 leaf, u32 subleaf, struct cpuid_regs *r,
                        const struct cpuid_policy_in *in)
{
    switch (leaf) {
    case 0:
        r->eax = cpuid_policy_max_leaf(0, in);
        return;
    case 1:
        leaf_1(r, in);
        return;
    case 2: /* cache descriptors: facts about the CPU model */
        return;
    case 4:
        leaf_4(r, in);
        return;
    case 7:
        leaf_7(subleaf, r, in);
        return;
    case 0xd:
        leaf_d(subleaf, r, in);
        return;
    default:
        clear(r);
    }
}

/* Time, for guests that compute with the TSC. */
static void xen_leaf_3(u32 subleaf, struct cpuid_regs *r, const struct cpuid_policy_in *in)
{
    switch (subleaf) {
    case 0:
        r->eax = (in->tsc_mode == 1) | in->tsc_stable << 1 | in->host->rdtscp << 2;
        r->ebx = in->tsc_mode;
        r->ecx = in->tsc_khz;
        r->edx = in->incarnation;
        return;
    case 1:
        r->eax = in->tsc_offset;
        r->ebx = in->tsc_offset >> 32;
        r->ecx = in->tsc_mul;
        r->edx = (s32)in->tsc_shift;
        return;
    case 2:
        r->eax = in->tsc_khz;
        return;
    default:
        return;
    }
}

static void apply_xen(u32 leaf, u32 subleaf, struct cpuid_regs *r,
                      const struct cpuid_policy_in *in)
{
    clear(r);
    switch (leaf - XEN_LEAF_BASE) {
    case 0:
        r->eax = cpuid_policy_max_leaf(XEN_LEAF_BASE, in);
        r->ebx = XEN_CPUID_SIGNATURE_EBX;
        r->ecx = XEN_CPUID_SIGNATURE_ECX;
        r->edx = XEN_CPUID_SIGNATURE_EDX;
        return;
    case 1:
        r->eax = in->xen_version;
        return;
    case 2:
        r->eax = 1; /* one hypercall page, announced through this MSR */
        r->ebx = XEN_MSR_BASE;
        r->ecx = XEN_CPUID_FEAT1_MMU_PT_UPDATE_PRESERVE_AD;
        return;
    case 3:
        xen_leaf_3(subleaf, r, in);
        return;
    case 5:
        if (subleaf == 0)
            r->ebx = in->maddr_bits & XEN_CPUID_MACHINE_ADDRESS_WIDTH_MASK;
        return;
    default:
        return;
    }
}

static void leaf_ext_1(struct cpuid_regs *r, const struct cpuid_policy_in *in)
{
    u32 common = 0;

    if (in->host->vendor == CPU_VENDOR_AMD)
        common = r->edx & visible(WORD_1D, in) & CPUID_AMD_COMMON;
    r->edx = (r->edx & visible(WORD_E1D, in)) | common;
    r->ecx &= visible(WORD_E1C, in) & ~W3(CMP_LEGACY);
    /* HTT then counts cores, not threads. */
    if (in->host->vendor == CPU_VENDOR_AMD && nr_vcpus(in) > 1)
        r->ecx |= W3(CMP_LEGACY);
}

/* Address widths and, on AMD, the number of cores. */
static void leaf_ext_8(struct cpuid_regs *r, const struct cpuid_policy_in *in)
{
    u32 linear = MIN(r->eax >> 8 & 0xff, 48U); /* no five-level paging */
    u32 cpus = nr_vcpus(in);

    r->eax = (r->eax & 0xff) | linear << 8;
    r->ebx &= visible(WORD_E8B, in);
    r->ecx = r->edx = 0;
    if (in->host->vendor == CPU_VENDOR_AMD)
        r->ecx = (cpus - 1) | log2_up(cpus) << 12;
}

static void apply_extended(u32 leaf, struct cpuid_regs *r, const struct cpuid_policy_in *in)
{
    switch (leaf) {
    case 0x80000000:
        r->eax = cpuid_policy_max_leaf(leaf, in);
        return;
    case 0x80000001:
        leaf_ext_1(r, in);
        return;
    case 0x80000002: /* the brand string, then AMD's caches */
    case 0x80000003:
    case 0x80000004:
    case 0x80000005:
    case 0x80000006:
        return;
    case 0x80000007:
        r->eax = r->ebx = r->ecx = 0;
        r->edx &= visible(WORD_E7D, in);
        return;
    case 0x80000008:
        leaf_ext_8(r, in);
        return;
    case 0x8000001a: /* which vector widths are fast */
        r->eax &= 7;
        r->ebx = r->ecx = r->edx = 0;
        return;
    case 0x80000021:
        r->eax &= visible(WORD_E21A, in);
        r->ecx &= visible(WORD_E21C, in);
        r->ebx = r->edx = 0;
        return;
    default:
        clear(r);
    }
}

static bool same_range(u32 a, u32 b)
{
    return a >> 16 == b >> 16;
}

u32 cpuid_policy_max_leaf(u32 leaf, const struct cpuid_policy_in *in)
{
    if (same_range(leaf, XEN_LEAF_BASE))
        return XEN_LEAF_BASE + XEN_CPUID_MAX_NUM_LEAVES;
    if (same_range(leaf, MAX_EXT_LEAF))
        return MIN(in->max_ext_leaf ? in->max_ext_leaf : in->host->max_ext_leaf, MAX_EXT_LEAF);
    if (same_range(leaf, 0))
        return MIN(in->max_leaf ? in->max_leaf : in->host->max_leaf, MAX_BASIC_LEAF);
    return 0;
}

void cpuid_policy_apply(u32 leaf, u32 subleaf, struct cpuid_regs *r,
                        const struct cpuid_policy_in *in)
{
    if (leaf > cpuid_policy_max_leaf(leaf, in))
        clear(r);
    else if (same_range(leaf, XEN_LEAF_BASE))
        apply_xen(leaf, subleaf, r, in);
    else if (same_range(leaf, MAX_EXT_LEAF))
        apply_extended(leaf, r, in);
    else
        apply_basic(leaf, subleaf, r, in);
}

u32 cpuid_policy_allowed(u32 word)
{
    return word < CPUID_NR_WORDS ? allowed[word] : 0;
}
