#include "core/msr_policy.h"

#define MSR_TIME_STAMP_COUNTER 0x10
#define MSR_PLATFORM_ID        0x17
#define MSR_APIC_BASE          0x1b
#define MSR_FEATURE_CONTROL    0x3a
#define MSR_PRED_CMD           0x49
#define MSR_UCODE_REV          0x8b
#define MSR_PMC0               0xc1
#define MSR_PLATFORM_INFO      0xce
#define MSR_ARCH_CAPABILITIES  0x10a
#define MSR_MISC_FEATURES      0x140
#define MSR_MCG_CAP            0x179
#define MSR_MCG_STATUS         0x17a
#define MSR_PERFEVTSEL0        0x186
#define MSR_PERF_STATUS        0x198
#define MSR_PERF_CTL           0x199
#define MSR_THERM_STATUS       0x19c
#define MSR_MISC_ENABLE        0x1a0
#define MSR_TEMPERATURE_TARGET 0x1a2
#define MSR_PAT                0x277
#define MSR_PERF_CAPABILITIES  0x345
#define MSR_MC0_CTL            0x400
#define MSR_XEN_HYPERCALL      0x40000000
#define MSR_EFER               0xc0000080
#define MSR_BASES              0xc0000100 /* FS, GS, KERNEL_GS */
#define MSR_AUX                0xc0000103
#define MSR_K7_EVNTSEL0        0xc0010000
#define MSR_K7_PERFCTR3        0xc0010007
#define MSR_SYSCFG             0xc0010010
#define MSR_HWCR               0xc0010015
#define MSR_IORR_BASE0         0xc0010016
#define MSR_TOP_MEM            0xc001001a
#define MSR_TOP_MEM2           0xc001001d
#define MSR_MMIO_CONF_BASE     0xc0010058
#define MSR_TSEG_BASE          0xc0010112
#define MSR_TSEG_MASK          0xc0010113
#define MSR_FAM15H_PERF0       0xc0010200
#define MSR_DE_CFG             0xc0011029

#define APIC_BASE_DEFAULT    0xfee00000UL
#define APIC_BASE_BSP        (1UL << 8)
#define APIC_BASE_ENABLE     (1UL << 11)
#define FEATURE_CONTROL_LOCK 1UL
#define MISC_ENABLE_FAST_STR (1UL << 0)
#define MISC_ENABLE_NO_BTS   (1UL << 11)
#define MISC_ENABLE_NO_PEBS  (1UL << 12)
#define PRED_CMD_IBPB        1UL

enum who {
    INTEL = 1,
    AMD = 2,
    BOTH = INTEL | AMD,
    ANY = BOTH | 4,
    HWDOM = 8, /* only domain 0 */
};

/*
 * One row a range. 'write' MSR_IGNORE_IF_SAME means: the value that a read gives, or #GP; where
 * the policy knows that value itself the caller never sees this verdict.
 */
static const struct rule {
    u32 first, last;
    u8 who, read, write;
} rules[] = {
    {MSR_TIME_STAMP_COUNTER, MSR_TIME_STAMP_COUNTER, ANY, MSR_VCPU_TSC, MSR_GP},
    {MSR_PLATFORM_ID, MSR_PLATFORM_ID, INTEL, MSR_PASS_READ, MSR_GP},
    {MSR_APIC_BASE, MSR_APIC_BASE, ANY, MSR_VALUE, MSR_IGNORE_IF_SAME},
    {MSR_FEATURE_CONTROL, MSR_FEATURE_CONTROL, INTEL, MSR_VALUE, MSR_IGNORE_IF_SAME},
    /* Intel's protocol writes 0 before it asks for the revision. */
    {MSR_UCODE_REV, MSR_UCODE_REV, BOTH, MSR_PASS_READ, MSR_IGNORE},
    {MSR_PMC0, MSR_PMC0 + 7, INTEL, MSR_VALUE, MSR_IGNORE},
    {MSR_PLATFORM_INFO, MSR_PLATFORM_INFO, INTEL, MSR_VALUE, MSR_IGNORE_IF_SAME},
    {MSR_MISC_FEATURES, MSR_MISC_FEATURES, INTEL, MSR_VALUE, MSR_IGNORE_IF_SAME},
    {MSR_MCG_CAP, MSR_MCG_CAP, ANY, MSR_VALUE, MSR_GP},
    {MSR_MCG_STATUS, MSR_MCG_STATUS, ANY, MSR_VALUE, MSR_IGNORE},
    {MSR_PERFEVTSEL0, MSR_PERFEVTSEL0 + 7, INTEL, MSR_VALUE, MSR_IGNORE},
    {MSR_PERF_STATUS, MSR_PERF_STATUS, INTEL | HWDOM, MSR_PASS_READ, MSR_GP},
    {MSR_PERF_CTL, MSR_PERF_CTL, INTEL | HWDOM, MSR_PASS_READ, MSR_IGNORE},
    {MSR_THERM_STATUS, MSR_THERM_STATUS, INTEL | HWDOM, MSR_PASS_READ, MSR_GP},
    {MSR_MISC_ENABLE, MSR_MISC_ENABLE, INTEL, MSR_VALUE, MSR_IGNORE_IF_SAME},
    {MSR_TEMPERATURE_TARGET, MSR_TEMPERATURE_TARGET, INTEL | HWDOM, MSR_PASS_READ, MSR_GP},
    {MSR_PAT, MSR_PAT, ANY, MSR_VALUE, MSR_IGNORE_IF_SAME},
    {MSR_PERF_CAPABILITIES, MSR_PERF_CAPABILITIES, INTEL, MSR_VALUE, MSR_GP},
    {MSR_XEN_HYPERCALL, MSR_XEN_HYPERCALL, ANY, MSR_GP, MSR_HYPERCALL_PAGE},
    {MSR_EFER, MSR_EFER, ANY, MSR_VALUE, MSR_IGNORE_IF_SAME},
    /* Counters that do not count: a kernel probes them and finds the PMU missing. */
    {MSR_K7_EVNTSEL0, MSR_K7_PERFCTR3, AMD, MSR_VALUE, MSR_IGNORE},
    {MSR_FAM15H_PERF0, MSR_FAM15H_PERF0 + 11, AMD, MSR_VALUE, MSR_IGNORE},
    {MSR_HWCR, MSR_HWCR, AMD, MSR_PASS_READ, MSR_IGNORE_IF_SAME},
    {MSR_DE_CFG, MSR_DE_CFG, AMD, MSR_PASS_READ, MSR_IGNORE},
    /* Where memory and PCI configuration space lie. */
    {MSR_SYSCFG, MSR_SYSCFG, AMD | HWDOM, MSR_PASS_READ, MSR_IGNORE_IF_SAME},
    {MSR_IORR_BASE0, MSR_IORR_BASE0 + 3, AMD | HWDOM, MSR_PASS_READ, MSR_GP},
    {MSR_TOP_MEM, MSR_TOP_MEM, AMD | HWDOM, MSR_PASS_READ, MSR_GP},
    {MSR_TOP_MEM2, MSR_TOP_MEM2, AMD | HWDOM, MSR_PASS_READ, MSR_GP},
    {MSR_MMIO_CONF_BASE, MSR_MMIO_CONF_BASE, AMD | HWDOM, MSR_PASS_READ, MSR_IGNORE_IF_SAME},
    {MSR_TSEG_BASE, MSR_TSEG_MASK, AMD | HWDOM, MSR_PASS_READ, MSR_GP},
};

static bool applies(const struct rule *rule, const struct msr_policy_in *in)
{
    static const u8 bit[] = {
        [CPU_VENDOR_OTHER] = 4, [CPU_VENDOR_INTEL] = INTEL, [CPU_VENDOR_AMD] = AMD};

    if ((u32)in->vendor >= ARRAY_SIZE(bit) || !(rule->who & bit[in->vendor]))
        return false;
    return in->hwdom || !(rule->who & HWDOM);
}

static const struct rule *find_rule(u32 msr, const struct msr_policy_in *in)
{
    for (u32 i = 0; i < ARRAY_SIZE(rules); i++)
        if (msr >= rules[i].first && msr <= rules[i].last)
            return applies(&rules[i], in) ? &rules[i] : NULL;
    return NULL;
}

static bool is_mca_bank(u32 msr, const struct msr_policy_in *in)
{
    return msr >= MSR_MC0_CTL && msr - MSR_MC0_CTL < 4 * MIN(in->mca_banks, 32U);
}

/* The made-up content of an MSR whose rule says MSR_VALUE. */
static u64 fixed_value(u32 msr, const struct msr_policy_in *in)
{
    switch (msr) {
    case MSR_APIC_BASE:
        return APIC_BASE_DEFAULT | APIC_BASE_ENABLE | (in->vcpu_id ? 0 : APIC_BASE_BSP);
    case MSR_FEATURE_CONTROL:
        return FEATURE_CONTROL_LOCK;
    case MSR_MCG_CAP:
        return MIN(in->mca_banks, 32U);
    case MSR_MISC_ENABLE:
        return MISC_ENABLE_FAST_STR | MISC_ENABLE_NO_BTS | MISC_ENABLE_NO_PEBS;
    case MSR_PAT:
        return in->pat;
    case MSR_EFER:
        return in->efer;
    default:
        return 0;
    }
}

static bool is_canonical(u64 address)
{
    return (u64)((s64)(address << 16) >> 16) == address;
}

u64 msr_policy_arch_caps(u64 native)
{
    return native & (cpuid_policy_allowed(16) | (u64)cpuid_policy_allowed(17) << 32);
}

enum msr_verdict msr_policy_read(u32 msr, const struct msr_policy_in *in, u64 *val)
{
    const struct rule *rule;

    *val = 0;
    /* Some kernels read a base on every switch of tasks. */
    if (likely(msr - MSR_BASES < 3))
        return MSR_VCPU_FS_BASE + (msr - MSR_BASES);
    if (msr == MSR_AUX)
        return in->rdtscp ? MSR_VCPU_TSC_AUX : MSR_GP;
    if (is_mca_bank(msr, in))
        return MSR_VALUE;
    if (msr == MSR_ARCH_CAPABILITIES) {
        *val = in->arch_caps ? msr_policy_arch_caps(in->arch_caps_val) : 0;
        return in->arch_caps ? MSR_VALUE : MSR_GP;
    }
    rule = find_rule(msr, in);
    if (!rule)
        return MSR_GP;
    if (rule->read == MSR_VALUE)
        *val = fixed_value(msr, in);
    return rule->read;
}

enum msr_verdict msr_policy_write(u32 msr, u64 val, const struct msr_policy_in *in)
{
    const struct rule *rule;

    if (likely(msr - MSR_BASES < 3))
        return is_canonical(val) ? MSR_VCPU_FS_BASE + (msr - MSR_BASES) : MSR_GP;
    if (msr == MSR_AUX)
        return in->rdtscp && val >> 32 == 0 ? MSR_VCPU_TSC_AUX : MSR_GP;
    if (is_mca_bank(msr, in))
        return MSR_IGNORE;
    if (msr == MSR_PRED_CMD) {
        if (!in->barrier || val & ~PRED_CMD_IBPB)
            return MSR_GP;
        return val ? MSR_BARRIER : MSR_IGNORE;
    }
    rule = find_rule(msr, in);
    if (!rule)
        return MSR_GP;
    if (rule->write == MSR_IGNORE_IF_SAME && rule->read == MSR_VALUE)
        return val == fixed_value(msr, in) ? MSR_IGNORE : MSR_GP;
    return rule->write;
}
