#include "guest/policy.h"
#include "base/version.h"
#include "kern/heap.h"
#include "kern/timer.h"
#include "x86/cpu.h"
#include "x86/cpu_setup.h"
#include "x86/tsc.h"
#include <xen/arch-x86/cpufeatureset.h>

#define MSR_ARCH_CAPABILITIES 0x10a

#define FEATURE(name) (1U << (XEN_X86_FEATURE_##name & 31))

struct cpu_policy machine_policies[NR_MACHINE_POLICIES];

/* What is the same for all vcpus. */
static struct cpuid_policy_in common_input(void)
{
    return (struct cpuid_policy_in){
        .host = &cpuid_host,
        .xcr0_supported = cpu_features.xcr0,
        .tsc_mul = tsc_scale.mul,
        .tsc_shift = tsc_scale.shift,
        .tsc_stable = tsc_is_invariant(),
        .fsgsbase = cpu_features.fsgsbase,
        .tsc_khz = (u32)(tsc_hz() / 1000),
        .xen_version = SERAI_XEN_MAJOR << 16 | SERAI_XEN_MINOR,
        .maddr_bits = 64 - (u32)__builtin_clzl(max_mfn << PAGE_SHIFT),
    };
}

u64 policy_xcr0(const struct domain *d)
{
    return cpu_policy_xcr0(policy_of(d), cpu_features.xcr0);
}

void policy_cpuid(const struct vcpu *v, u32 leaf, u32 subleaf, struct cpuid_regs *r)
{
    const struct domain *d = v->domain;
    const struct cpu_policy *p = policy_of(d);
    const struct cpuid_regs *place = cpu_policy_leaf(p, leaf, subleaf);
    struct cpuid_policy_in in = common_input();

    in.max_leaf = cpu_policy_leaf(p, 0, 0)->eax;
    in.max_ext_leaf = cpu_policy_leaf(p, 0x80000000, 0)->eax;
    in.xcr0_supported = policy_xcr0(d);
    in.guest_xcr0 = v->xcr0;
    in.hwdom = d->is_hardware;
    in.kernel_mode = vcpu_is_kernel(v);
    in.guest_osxsave = in.xcr0_supported;
    in.vcpu_id = in.apic_id = v->id;
    in.nr_vcpus = d->max_vcpus;
    in.tsc_mode = d->tsc_mode;
    in.incarnation = d->tsc_incarnation;
    *r = place ? *place : (struct cpuid_regs){0};
    if (leaf == 0x80000001 && cpuid_host.vendor == CPU_VENDOR_AMD)
        r->edx |= cpu_policy_features(p, 0) & CPUID_AMD_COMMON;
    cpuid_policy_apply(leaf, subleaf, r, &in);
}

static __init void read_machine(struct cpu_policy *p)
{
    for (u32 i = 0; i < CPU_POLICY_LEAVES; i++) {
        struct cpuid_regs *r;
        u32 leaf, subleaf, max;

        cpu_policy_name(i, &leaf, &subleaf);
        max = leaf < 0x80000000 ? cpuid_host.max_leaf : cpuid_host.max_ext_leaf;
        if (leaf > max)
            continue; /* a CPU answers anything there */
        subleaf = subleaf == XEN_CPUID_NO_SUBLEAF ? 0 : subleaf;
        r = cpu_policy_place(p, leaf, subleaf);
        cpuid_count(leaf, subleaf, &r->eax, &r->ebx, &r->ecx, &r->edx);
    }
    if (cpu_policy_features(p, 9) & FEATURE(ARCH_CAPS))
        (void)!rdmsr_safe(MSR_ARCH_CAPABILITIES, &p->arch_caps);
}

static __init void make_host(struct cpu_policy *p)
{
    u32 *basic = &cpu_policy_place(p, 0, 0)->eax;
    u32 *ext = &cpu_policy_place(p, 0x80000000, 0)->eax;

    *basic = MIN(*basic, CPU_POLICY_MAX_BASIC);
    *ext = MIN(*ext, CPU_POLICY_MAX_EXT);
    if (cpu_features.lfence_waits)
        cpu_policy_tell_lfence(p);
    cpu_policy_keep_known(p);
    cpu_policy_place(p, 1, 0)->ecx &= ~FEATURE(OSXSAVE); /* a state, not a feature */
}

/*
 * How many CPUs share caches is told to each domain by the number of its vcpus; what the toolstack
 * looks at is whether the machine has several.
 */
static __init void filter_for_guests(struct cpu_policy *p, const struct cpu_policy *host,
                                     bool hwdom)
{
    struct cpuid_policy_in in = common_input();
    u32 htt = cpu_policy_features(host, 0) & FEATURE(HTT);
    u32 cmp_legacy = cpu_policy_features(host, 3) & FEATURE(CMP_LEGACY);

    in.hwdom = in.kernel_mode = hwdom;
    in.max_leaf = cpu_policy_leaf(host, 0, 0)->eax;
    in.max_ext_leaf = cpu_policy_leaf(host, 0x80000000, 0)->eax;
    *p = *host;
    for (u32 i = 0; i < CPU_POLICY_LEAVES; i++) {
        u32 leaf, subleaf;

        cpu_policy_name(i, &leaf, &subleaf);
        subleaf = subleaf == XEN_CPUID_NO_SUBLEAF ? 0 : subleaf;
        cpuid_policy_apply(leaf, subleaf, cpu_policy_place(p, leaf, subleaf), &in);
    }
    cpu_policy_place(p, 1, 0)->ecx &= ~FEATURE(OSXSAVE);
    cpu_policy_place(p, 1, 0)->edx |= htt;
    cpu_policy_place(p, 0x80000001, 0)->ecx |= cmp_legacy;
    p->arch_caps = 0;
    if (cpuid_host.vendor == CPU_VENDOR_AMD) /* repeated when a guest asks */
        cpu_policy_place(p, 0x80000001, 0)->edx &= ~CPUID_AMD_COMMON;
    cpu_policy_limit(p, p);
}

__init void policy_init(void)
{
    struct cpu_policy *p = machine_policies;

    read_machine(&p[POLICY_RAW]);
    p[POLICY_HOST] = p[POLICY_RAW];
    make_host(&p[POLICY_HOST]);
    filter_for_guests(&p[POLICY_GUEST], &p[POLICY_HOST], false);
    filter_for_guests(&p[POLICY_DOM0], &p[POLICY_HOST], true);
}
