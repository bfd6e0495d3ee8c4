/*
 * The CPUID policy against three oracles: what stock Xen 4.17 shows a domain 0 on the very same
 * (emulated) CPU, the annotations in the public feature list, and a CPU that has everything.
 */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/cpuid_policy.h"
#include "core/topology.h"

#include <xen/arch-x86/cpufeatureset.h>

#define BIT_OF(name) (1U << (XEN_X86_FEATURE_##name & 31))

struct leaf {
    u32 leaf, subleaf;
    struct cpuid_regs r;
};

/*
 * QEMU 7.2 TCG, -cpu max, two CPUs: "native" was read in Linux without a hypervisor, "stock" by
 * a forced-emulation CPUID in user mode of a Xen 4.17 domain 0 with two vcpus. Rows that are
 * all zero are left out. Beyond its highest leaf the CPU repeats leaf 0xD.
 */
/* clang-format off */
static const struct leaf native[] = {
    {0x0, 0, {0x0000000d, 0x68747541, 0x444d4163, 0x69746e65}},
    {0x1, 0, {0x00060fb1, 0x01020800, 0xfed8320b, 0x1fcbfbfd}},
    {0x5, 0, {0x00000000, 0x00000000, 0x00000003, 0x00000000}},
    {0x6, 0, {0x00000004, 0x00000000, 0x00000000, 0x00000000}},
    {0x7, 0, {0x00000000, 0x01d843a9, 0x8001021c, 0x00000000}},
    {0xb, 0, {0x00000000, 0x00000001, 0x00000100, 0x00000001}},
    {0xb, 1, {0x00000001, 0x00000002, 0x00000201, 0x00000001}},
    {0xb, 2, {0x00000000, 0x00000000, 0x00000002, 0x00000001}},
    {0xb, 3, {0x00000000, 0x00000000, 0x00000003, 0x00000001}},
    {0xb, 4, {0x00000000, 0x00000000, 0x00000004, 0x00000001}},
    {0xd, 0, {0x0000021f, 0x00000a88, 0x00000a88, 0x00000000}},
    {0xd, 1, {0x00000005, 0x000003c8, 0x00000000, 0x00000000}},
    {0xd, 2, {0x00000100, 0x00000240, 0x00000000, 0x00000000}},
    {0xd, 3, {0x00000040, 0x000003c0, 0x00000000, 0x00000000}},
    {0xd, 4, {0x00000040, 0x00000400, 0x00000000, 0x00000000}},
    {0xd, 9, {0x00000008, 0x00000a80, 0x00000000, 0x00000000}},
    {0xe, 0, {0x0000021f, 0x00000a88, 0x00000a88, 0x00000000}},
    {0xf, 0, {0x0000021f, 0x00000a88, 0x00000a88, 0x00000000}},
    {0x10, 0, {0x0000021f, 0x00000a88, 0x00000a88, 0x00000000}},
    {0x11, 0, {0x0000021f, 0x00000a88, 0x00000a88, 0x00000000}},
    {0x12, 0, {0x0000021f, 0x00000a88, 0x00000a88, 0x00000000}},
    {0x13, 0, {0x0000021f, 0x00000a88, 0x00000a88, 0x00000000}},
    {0x14, 0, {0x0000021f, 0x00000a88, 0x00000a88, 0x00000000}},
    {0x15, 0, {0x0000021f, 0x00000a88, 0x00000a88, 0x00000000}},
    {0x16, 0, {0x0000021f, 0x00000a88, 0x00000a88, 0x00000000}},
    {0x17, 0, {0x0000021f, 0x00000a88, 0x00000a88, 0x00000000}},
    {0x18, 0, {0x0000021f, 0x00000a88, 0x00000a88, 0x00000000}},
    {0x19, 0, {0x0000021f, 0x00000a88, 0x00000a88, 0x00000000}},
    {0x1a, 0, {0x0000021f, 0x00000a88, 0x00000a88, 0x00000000}},
    {0x1d, 0, {0x0000021f, 0x00000a88, 0x00000a88, 0x00000000}},
    {0x1f, 0, {0x0000021f, 0x00000a88, 0x00000a88, 0x00000000}},
    {0x1f, 1, {0x00000005, 0x000003c8, 0x00000000, 0x00000000}},
    {0x1f, 2, {0x00000100, 0x00000240, 0x00000000, 0x00000000}},
    {0x1f, 3, {0x00000040, 0x000003c0, 0x00000000, 0x00000000}},
    {0x1f, 4, {0x00000040, 0x00000400, 0x00000000, 0x00000000}},
    {0x20, 0, {0x0000021f, 0x00000a88, 0x00000a88, 0x00000000}},
    {0x80000000, 0, {0x8000000a, 0x68747541, 0x444d4163, 0x69746e65}},
    {0x80000001, 0, {0x00060fb1, 0x00000000, 0x00000077, 0xedd3fbfd}},
    {0x80000002, 0, {0x554d4551, 0x47435420, 0x55504320, 0x72657620}},
    {0x80000003, 0, {0x6e6f6973, 0x352e3220, 0x0000002b, 0x00000000}},
    {0x80000005, 0, {0x01ff01ff, 0x01ff01ff, 0x40020140, 0x40020140}},
    {0x80000006, 0, {0x00000000, 0x42004200, 0x02008140, 0x00808140}},
    {0x80000008, 0, {0x00003928, 0x00000000, 0x00001001, 0x00000000}},
    {0x8000000a, 0, {0x00000001, 0x00000010, 0x00000000, 0x10010001}},
    {0x80000019, 0, {0x0000021f, 0x00000a88, 0x00000a88, 0x00000000}},
    {0x8000001a, 0, {0x0000021f, 0x00000a88, 0x00000a88, 0x00000000}},
    {0x8000001b, 0, {0x0000021f, 0x00000a88, 0x00000a88, 0x00000000}},
    {0x8000001c, 0, {0x0000021f, 0x00000a88, 0x00000a88, 0x00000000}},
    {0x8000001d, 0, {0x0000021f, 0x00000a88, 0x00000a88, 0x00000000}},
    {0x8000001d, 1, {0x00000005, 0x000003c8, 0x00000000, 0x00000000}},
    {0x8000001d, 2, {0x00000100, 0x00000240, 0x00000000, 0x00000000}},
    {0x8000001d, 3, {0x00000040, 0x000003c0, 0x00000000, 0x00000000}},
    {0x8000001d, 4, {0x00000040, 0x00000400, 0x00000000, 0x00000000}},
    {0x8000001e, 0, {0x0000021f, 0x00000a88, 0x00000a88, 0x00000000}},
    {0x8000001f, 0, {0x0000021f, 0x00000a88, 0x00000a88, 0x00000000}},
    {0x80000020, 0, {0x0000021f, 0x00000a88, 0x00000a88, 0x00000000}},
    {0x80000021, 0, {0x0000021f, 0x00000a88, 0x00000a88, 0x00000000}},
    {0x80000022, 0, {0x0000021f, 0x00000a88, 0x00000a88, 0x00000000}},
};

static const struct leaf stock[] = {
    {0x0, 0, {0x0000000d, 0x68747541, 0x444d4163, 0x69746e65}},
    {0x1, 0, {0x00060fb1, 0x00020800, 0xfed83203, 0x1fc9c3f5}},
    {0x7, 0, {0x00000000, 0x01880329, 0x00000200, 0x00000000}},
    {0xd, 0, {0x00000007, 0x00000340, 0x00000340, 0x00000000}},
    {0xd, 1, {0x00000005, 0x00000000, 0x00000000, 0x00000000}},
    {0xd, 2, {0x00000100, 0x00000240, 0x00000000, 0x00000000}},
    {0x40000000, 0, {0x40000005, 0x566e6558, 0x65584d4d, 0x4d4d566e}},
    {0x40000001, 0, {0x00040011, 0x00000000, 0x00000000, 0x00000000}},
    {0x40000002, 0, {0x00000001, 0x40000000, 0x00000001, 0x00000000}},
    {0x40000003, 0, {0x00000004, 0x00000000, 0x00000000, 0x00000000}},
    {0x40000003, 2, {0x00279d2f, 0x00000000, 0x00000000, 0x00000000}},
    {0x40000005, 0, {0x00000000, 0x0000001f, 0x00000000, 0x00000000}},
    {0x80000000, 0, {0x80000021, 0x68747541, 0x444d4163, 0x69746e65}},
    {0x80000001, 0, {0x00060fb1, 0x00000000, 0x00000063, 0xe9d1cbf5}},
    {0x80000002, 0, {0x554d4551, 0x47435420, 0x55504320, 0x72657620}},
    {0x80000003, 0, {0x6e6f6973, 0x352e3220, 0x0000002b, 0x00000000}},
    {0x80000005, 0, {0x01ff01ff, 0x01ff01ff, 0x40020140, 0x40020140}},
    {0x80000006, 0, {0x00000000, 0x42004200, 0x02008140, 0x00808140}},
    {0x80000008, 0, {0x00003028, 0x00000000, 0x00001001, 0x00000000}},
    {0x80000021, 0, {0x00000004, 0x00000000, 0x00000000, 0x00000000}},
};
/* clang-format on */

static struct cpuid_regs native_leaf(u32 leaf, u32 subleaf)
{
    for (size_t i = 0; i < ARRAY_SIZE(native); i++)
        if (native[i].leaf == leaf && native[i].subleaf == subleaf)
            return native[i].r;
    return (struct cpuid_regs){0};
}

static struct cpuid_regs stock_leaf(u32 leaf, u32 subleaf)
{
    for (size_t i = 0; i < ARRAY_SIZE(stock); i++)
        if (stock[i].leaf == leaf && stock[i].subleaf == subleaf)
            return stock[i].r;
    return (struct cpuid_regs){0};
}

static struct cpuid_host tcg_host(void)
{
    struct cpuid_host host = {0};

    for (size_t i = 0; i < ARRAY_SIZE(native); i++)
        cpuid_host_add(&host, native[i].leaf, native[i].subleaf, &native[i].r);
    return host;
}

static struct cpuid_host host;

/* Domain 0 as it was when "stock" was recorded. */
static struct cpuid_policy_in dom0(void)
{
    host = tcg_host();
    return (struct cpuid_policy_in){
        .host = &host,
        .xcr0_supported = cpuid_policy_xcr0(0x21f),
        .guest_xcr0 = 7,
        .hwdom = true,
        .guest_osxsave = true,
        .fsgsbase = true,
        .nr_vcpus = 2,
        .tsc_khz = 0x00279d2f,
        .xen_version = 4 << 16 | 17,
        .maddr_bits = 0x1f,
    };
}

static struct cpuid_regs ask(u32 leaf, u32 subleaf, const struct cpuid_policy_in *in)
{
    struct cpuid_regs r = native_leaf(leaf, subleaf);

    cpuid_policy_apply(leaf, subleaf, &r, in);
    return r;
}

static void host_is_understood(void **state)
{
    host = tcg_host();
    assert_int_equal(host.vendor, CPU_VENDOR_AMD);
    assert_int_equal(host.max_leaf, 0xd);
    assert_int_equal(host.max_ext_leaf, 0x8000000a);
    assert_true(host.rdtscp);
    assert_int_equal(host.xstate[2].offset, 0x240);
    assert_int_equal(host.xstate[2].size, 0x100);
    assert_int_equal(host.xstate[9].offset, 0xa80);
}

/* Where the answer differs from stock on purpose. */
static const struct {
    u32 leaf, subleaf, reg, ours;
    const char *reason;
} differences[] = {
    {0x80000000, 0, 0, 0x8000000a, "the host's highest leaf, instead of one made up"},
    {0x40000003, 0, 2, 0x00279d2f, "a guest's TSC frequency, 0 for a stock domain 0"},
    {0x80000021, 0, 0, 0, "LFENCE dispatch comes from the host's policy"},
};

static u32 expected_word(u32 leaf, u32 subleaf, u32 reg, u32 word)
{
    for (size_t i = 0; i < ARRAY_SIZE(differences); i++)
        if (differences[i].leaf == leaf && differences[i].subleaf == subleaf &&
            differences[i].reg == reg) {
            assert_int_not_equal(word, differences[i].ours);
            return differences[i].ours;
        }
    return word;
}

static void same_as_stock(u32 leaf, u32 subleaf)
{
    struct cpuid_policy_in in = dom0();
    struct cpuid_regs got = ask(leaf, subleaf, &in), want = stock_leaf(leaf, subleaf);
    const u32 *g = &got.eax, *w = &want.eax;

    for (u32 reg = 0; reg < 4; reg++)
        if (g[reg] != expected_word(leaf, subleaf, reg, w[reg]))
            fail_msg("leaf %#x.%u register %u: %#x, stock %#x", leaf, subleaf, reg, g[reg],
                     w[reg]);
}

/* Every leaf that was recorded natively or under stock, and the ones between. */
static void dom0_sees_what_stock_shows(void **state)
{
    static const u32 starts[] = {0, 0x40000000, 0x80000000};

    for (size_t i = 0; i < ARRAY_SIZE(starts); i++)
        for (u32 leaf = starts[i]; leaf < starts[i] + 0x101; leaf++)
            for (u32 subleaf = 0; subleaf < 5; subleaf++) {
                bool ignores_subleaf = leaf != 4 && leaf != 7 && leaf != 0xd &&
                                       leaf != 0x40000003 && leaf != 0x40000005;

                if (subleaf == 0 || !ignores_subleaf)
                    same_as_stock(leaf, subleaf);
            }
    for (u32 subleaf = 5; subleaf < 70; subleaf++)
        same_as_stock(0xd, subleaf);
}

/* The values that a trace of stock domain 0's kernel shows. */
static void dom0_kernel_sees_mtrr(void **state)
{
    struct cpuid_policy_in in = dom0();
    struct cpuid_regs r;

    in.kernel_mode = true;
    in.guest_osxsave = false;
    r = ask(1, 0, &in);
    assert_int_equal(r.edx, 0x1fc9d3f5);
    assert_int_equal(r.ecx, 0xfed83203);
    r = ask(0x80000001, 0, &in);
    assert_int_equal(r.edx, 0xe9d1dbf5);
    assert_int_equal(r.ecx, 0x63);
    in.hwdom = false;
    assert_int_equal(ask(1, 0, &in).edx, 0x1fc9c3f5);
    assert_int_equal(ask(0x80000001, 0, &in).edx, 0xe9d1cbf5);
}

static void osxsave_follows_cr4_in_user_mode_only(void **state)
{
    struct cpuid_policy_in in = dom0();

    in.guest_osxsave = false;
    assert_int_equal(ask(1, 0, &in).ecx, 0xfed83203 & ~(1U << 27));
    in.kernel_mode = true;
    assert_int_equal(ask(1, 0, &in).ecx, 0xfed83203);
    in.xcr0_supported = 0;
    assert_int_equal(ask(1, 0, &in).ecx & 0x3c001000, 0); /* F16C AVX OSXSAVE XSAVE, FMA */
    assert_int_equal(ask(0xd, 0, &in).eax, 0);
    assert_int_equal(ask(0xd, 1, &in).eax, 0);
    assert_int_equal(ask(0xd, 2, &in).eax, 0);
}

static void parameters_gate_features(void **state)
{
    struct cpuid_policy_in in = dom0();
    struct cpuid_regs r = {0, ~0U, ~0U, ~0U};

    in.fsgsbase = false;
    assert_int_equal(ask(7, 0, &in).ebx & 1, 0);
    in.sysenter = true;
    assert_int_equal(ask(1, 0, &in).edx >> 11 & 1, 1);
    in.nr_vcpus = 1;
    assert_int_equal(ask(1, 0, &in).edx >> 28 & 1, 0);
    assert_int_equal(ask(0x80000001, 0, &in).ecx >> 1 & 1, 0);
    cpuid_policy_apply(0x80000007, 0, &r, &in);
    assert_int_equal(r.edx, 0);
    in.tsc_stable = true;
    r = (struct cpuid_regs){~0U, ~0U, ~0U, ~0U};
    cpuid_policy_apply(0x80000007, 0, &r, &in);
    assert_int_equal(r.edx, 0x100);
    assert_int_equal(r.eax | r.ebx | r.ecx, 0);
    r.ebx = r.edx = ~0U;
    cpuid_policy_apply(0x80000008, 0, &r, &in);
    assert_int_equal(r.ebx & BIT_OF(IBPB), 0);
    cpuid_policy_apply(7, 0, &r, &in);
    assert_int_equal(r.edx & BIT_OF(ARCH_CAPS), 0);
    in.barrier = in.arch_caps = true;
    r.ebx = r.edx = ~0U;
    cpuid_policy_apply(0x80000008, 0, &r, &in);
    assert_int_equal(r.ebx & BIT_OF(IBPB), BIT_OF(IBPB));
    r.edx = ~0U;
    cpuid_policy_apply(7, 0, &r, &in);
    assert_int_equal(r.edx & BIT_OF(ARCH_CAPS), BIT_OF(ARCH_CAPS));
}

/* ---- a CPU that has everything ---- */

static struct cpuid_policy_in everything(void)
{
    struct cpuid_policy_in in = dom0();

    host.max_leaf = ~0U >> 2;
    host.max_ext_leaf = 0x8000ffff;
    in.xcr0_supported = cpuid_policy_xcr0(~0UL);
    in.kernel_mode = in.tsc_stable = in.sysenter = in.barrier = in.arch_caps = true;
    return in;
}

static struct cpuid_regs ask_all_ones(u32 leaf, u32 subleaf, const struct cpuid_policy_in *in)
{
    struct cpuid_regs r = {~0U, ~0U, ~0U, ~0U};

    cpuid_policy_apply(leaf, subleaf, &r, in);
    return r;
}

static void page_table_features_stay_hidden(void **state)
{
    struct cpuid_policy_in in = everything();
    struct cpuid_regs r = ask_all_ones(1, 0, &in);

    assert_int_equal(r.edx & (BIT_OF(PSE) | BIT_OF(PGE) | BIT_OF(PSE36) | BIT_OF(VME) |
                              BIT_OF(DS) | BIT_OF(TM1) | BIT_OF(PBE)),
                     0);
    assert_int_equal(r.ecx &
                         (BIT_OF(VMX) | BIT_OF(SMX) | BIT_OF(MONITOR) | BIT_OF(DTES64) |
                          BIT_OF(PCID) | BIT_OF(X2APIC) | BIT_OF(TSC_DEADLINE) | BIT_OF(PDCM)),
                     0);
    r = ask_all_ones(7, 0, &in);
    assert_int_equal(r.ebx & (BIT_OF(SMEP) | BIT_OF(SMAP) | BIT_OF(INVPCID) | BIT_OF(MPX) |
                              BIT_OF(TSC_ADJUST) | BIT_OF(SGX) | BIT_OF(PROC_TRACE) |
                              BIT_OF(RTM) | BIT_OF(HLE)),
                     0);
    assert_int_equal(r.ecx & (BIT_OF(UMIP) | BIT_OF(PKU) | BIT_OF(OSPKE) | BIT_OF(CET_SS) |
                              1U << 16 /* LA57 */ | 1U << 31 /* PKS */ | BIT_OF(ENQCMD)),
                     0);
    assert_int_equal(r.edx & (BIT_OF(CET_IBT) | BIT_OF(IBRSB) | BIT_OF(SSBD) | BIT_OF(STIBP)),
                     0);
    r = ask_all_ones(0x80000001, 0, &in);
    assert_int_equal(r.edx & (BIT_OF(PAGE1GB) | BIT_OF(PSE) | BIT_OF(PGE)), 0);
    assert_int_equal(r.ecx & (BIT_OF(SVM) | BIT_OF(IBS) | BIT_OF(LWP) | BIT_OF(TOPOEXT) |
                              BIT_OF(DBEXT) | BIT_OF(MONITORX) | BIT_OF(SKINIT)),
                     0);
    assert_int_equal(ask_all_ones(0xd, 1, &in).eax & BIT_OF(XSAVES), 0);
    assert_int_equal(ask_all_ones(0x80000008, 0, &in).eax >> 8 & 0xff, 48);
}

static void unknown_leaves_are_zero(void **state)
{
    static const u32 zero[] = {
        3,          5,          6,          8,          9,          0xa,        0xb,
        0xc,        0xe,        0x12,       0x14,       0x1d,       0x1f,       0x24,
        0x3fffffff, 0x40000004, 0x40000006, 0x40000100, 0x4000ff00, 0x40010000, 0x50000000,
        0x80000009, 0x8000000a, 0x80000019, 0x8000001b, 0x8000001c, 0x8000001d, 0x8000001e,
        0x8000001f, 0x80000020, 0x80000022, 0x8000ffff, 0x80860000, 0xc0000000, 0xffffffff};
    struct cpuid_policy_in in = everything();

    for (size_t i = 0; i < ARRAY_SIZE(zero); i++) {
        struct cpuid_regs r = ask_all_ones(zero[i], 0, &in);

        assert_int_equal(r.eax | r.ebx | r.ecx | r.edx, 0);
    }
}

/* Intel repeats the last leaf above the maximum; the guest must not see that. */
static void leaves_above_the_maximum_are_zero(void **state)
{
    struct cpuid_policy_in in = dom0();
    struct cpuid_regs r;

    host.max_leaf = 4;
    r = ask_all_ones(7, 0, &in);
    assert_int_equal(r.eax | r.ebx | r.ecx | r.edx, 0);
    assert_int_equal(ask_all_ones(0, 0, &in).eax, 4);
    host.max_ext_leaf = 0x80000004;
    r = ask_all_ones(0x80000008, 0, &in);
    assert_int_equal(r.eax | r.ebx | r.ecx | r.edx, 0);
}

static void physical_cpu_does_not_show(void **state)
{
    struct cpuid_policy_in in = dom0();
    struct cpuid_regs a = native_leaf(1, 0), b = a;

    b.ebx ^= 0xffff0000;      /* APIC id, number of threads */
    b.ecx ^= BIT_OF(OSXSAVE); /* the hypervisor's CR4 */
    cpuid_policy_apply(1, 0, &a, &in);
    cpuid_policy_apply(1, 0, &b, &in);
    assert_memory_equal(&a, &b, sizeof(a));
    in.apic_id = 5;
    in.nr_vcpus = 6;
    b = ask(1, 0, &in);
    assert_int_equal(b.ebx, 0x05080800);
}

static void topology_is_one_core_per_vcpu(void **state)
{
    struct cpuid_policy_in in = dom0();
    struct cpuid_regs r = {0xfc1fc143, 0x02c0003f, 0x7ff, 1};

    in.nr_vcpus = 6;
    assert_int_equal(ask(0x80000008, 0, &in).ecx, 0x3005);
    cpuid_policy_apply(4, 2, &r, &in);
    assert_int_equal(r.eax, 5U << 26 | 0x0143);
    assert_int_equal(r.ebx, 0x02c0003f);
    r = (struct cpuid_regs){0xfc1fc163, 0x02c0003f, 0x7ff, 1};
    cpuid_policy_apply(4, 3, &r, &in);
    assert_int_equal(r.eax, 5U << 26 | 5U << 14 | 0x0163);
    host.vendor = CPU_VENDOR_INTEL;
    assert_int_equal(ask(0x80000008, 0, &in).ecx, 0);
    assert_int_equal(ask(0x80000001, 0, &in).edx & ~0x2c100800U, 0xc0400000);
    in.nr_vcpus = 100000;
    assert_int_equal(ask(1, 0, &in).ebx >> 16 & 0xff, 64);
}

/* A CPU without L3: vcpus share the L2, or else nothing would be shared. */
static void the_last_cache_is_shared(void **state)
{
    static const struct leaf caches[] = {{4, 0, {0x1c000121, 0, 0, 0}},
                                         {4, 1, {0x1c000122, 0, 0, 0}},
                                         {4, 2, {0x1c004143, 0, 0, 0}},
                                         {4, 3, {0x000001e2, 0, 0, 0}},  /* code only */
                                         {4, 4, {0x000000e0, 0, 0, 0}}}; /* none */
    struct cpuid_policy_in in = dom0();
    struct cpuid_regs r = caches[2].r;

    in.nr_vcpus = 3;
    cpuid_policy_apply(4, 2, &r, &in);
    assert_int_equal(r.eax, 2U << 26 | 0x0143);
    for (size_t i = 0; i < ARRAY_SIZE(caches); i++)
        cpuid_host_add(&host, 4, caches[i].subleaf, &caches[i].r);
    assert_int_equal(host.last_cache, 2);
    r = caches[2].r;
    cpuid_policy_apply(4, 2, &r, &in);
    assert_int_equal(r.eax, 2U << 26 | 2U << 14 | 0x0143);
    r = caches[0].r;
    cpuid_policy_apply(4, 0, &r, &in);
    assert_int_equal(r.eax, 2U << 26 | 0x0121);
}

/* Leaves of an Intel host, whose vcpus could run on any thread of 8 cores. */
static const struct leaf intel_smt[] = {
    {0x0, 0, {0x00000016, 0x756e6547, 0x6c65746e, 0x49656e69}},
    {0x1, 0, {0x000906ed, 0x00100800, 0x7ffafbff, 0xbfebfbff}},
    {0x4, 0, {0x1c004121, 0x01c0003f, 0x0000003f, 0x00000000}},
    {0x4, 1, {0x1c004122, 0x01c0003f, 0x0000003f, 0x00000000}},
    {0x4, 2, {0x1c004143, 0x00c0003f, 0x000003ff, 0x00000000}},
    {0x4, 3, {0x1c03c163, 0x03c0003f, 0x00003fff, 0x00000006}},
    {0xb, 0, {0x00000001, 0x00000002, 0x00000100, 0x00000000}},
    {0xb, 1, {0x00000004, 0x00000010, 0x00000201, 0x00000000}},
    {0x80000000, 0, {0x80000008, 0, 0, 0}},
};

/* And of an AMD host with two caches of 4 cores. */
static const struct leaf amd_smt[] = {
    {0x0, 0, {0x00000010, 0x68747541, 0x444d4163, 0x69746e65}},
    {0x1, 0, {0x00870f10, 0x00100800, 0x7ed8320b, 0x178bfbff}},
    {0xb, 0, {0x00000001, 0x00000002, 0x00000100, 0x00000000}},
    {0xb, 1, {0x00000004, 0x00000010, 0x00000201, 0x00000000}},
    {0x80000000, 0, {0x80000020, 0x68747541, 0x444d4163, 0x69746e65}},
    {0x80000001, 0, {0x00870f10, 0x20000000, 0x75c237ff, 0x2fd3fbff}},
    {0x80000008, 0, {0x00003030, 0x010eb757, 0x0000400f, 0x00010000}},
    {0x8000001d, 0, {0x00004121, 0x01c0003f, 0x0000003f, 0x00000000}},
    {0x8000001d, 3, {0x0001c163, 0x03c0003f, 0x00003fff, 0x00000001}},
    {0x8000001e, 0, {0x00000000, 0x00000100, 0x00000000, 0x00000000}},
};

static struct cpuid_regs shown(const struct leaf *leaves, size_t nr, u32 leaf, u32 subleaf,
                               const struct cpuid_policy_in *in)
{
    struct cpuid_regs r = {0};

    for (size_t i = 0; i < nr; i++)
        if (leaves[i].leaf == leaf && leaves[i].subleaf == subleaf)
            r = leaves[i].r;
    cpuid_policy_apply(leaf, subleaf, &r, in);
    return r;
}

/* What the hypervisor's own reading of such leaves makes of a guest's machine. */
static void check_flat(const struct leaf *leaves, size_t nr, u32 vcpus)
{
    static struct topology t;
    struct topology_cpuid c = {0};
    struct cpuid_policy_in in = dom0();
    u32 ids[CPUSET_MAX];

    memset(&host, 0, sizeof(host));
    for (size_t i = 0; i < nr; i++)
        cpuid_host_add(&host, leaves[i].leaf, leaves[i].subleaf, &leaves[i].r);
    in.nr_vcpus = vcpus;
    for (u32 leaf = 0; leaf < 0x21; leaf++)
        for (u32 subleaf = 0; subleaf < TOPOLOGY_SUBLEAVES; subleaf++)
            for (u32 ext = 0; ext < 2; ext++) {
                u32 number = ext << 31 | leaf;
                struct cpuid_regs r = shown(leaves, nr, number, subleaf, &in);

                topology_cpuid_add(&c, number, subleaf, &r);
            }
    for (u32 i = 0; i < vcpus; i++) {
        in.apic_id = i;
        ids[i] = shown(leaves, nr, 1, 0, &in).ebx >> 24;
    }
    topology_build(&t, &c, ids, vcpus, NULL, 0);
    for (u32 i = 0; i < vcpus; i++)
        if (t.cpu[i].core != i || t.cpu[i].thread || t.cpu[i].cache || t.cpu[i].package)
            fail_msg("%u vcpus: %u is core %u.%u cache %u package %u", vcpus, i, t.cpu[i].core,
                     t.cpu[i].thread, t.cpu[i].cache, t.cpu[i].package);
}

static void topology_is_flat_however_read(void **state)
{
    for (u32 vcpus = 1; vcpus <= CPUSET_MAX; vcpus++) {
        check_flat(intel_smt, ARRAY_SIZE(intel_smt), vcpus);
        check_flat(amd_smt, ARRAY_SIZE(amd_smt), vcpus);
        check_flat(native, ARRAY_SIZE(native), vcpus);
    }
}

/* The leaves agree field by field, for kernels that divide where others count bits. */
static void topology_leaves_agree(void **state)
{
    for (u32 vcpus = 1; vcpus <= 130; vcpus++) {
        struct cpuid_policy_in in = dom0();
        struct cpuid_regs one, l1 = {0x121, 0, 0, 0}, l3 = {0x163, 0, 0, 0}, ext_8;
        u32 package = vcpus < 64 ? vcpus : 64, room = 1;

        while (room < package)
            room *= 2;
        in.nr_vcpus = vcpus;
        one = ask(1, 0, &in);
        ext_8 = ask(0x80000008, 0, &in);
        cpuid_policy_apply(4, 0, &l1, &in);
        cpuid_policy_apply(4, 3, &l3, &in);
        assert_int_equal(one.ebx >> 16 & 0xff, room);
        assert_int_equal(one.edx >> 28 & 1, vcpus > 1);
        assert_int_equal(l1.eax >> 26, package - 1);
        assert_int_equal(l3.eax >> 26, package - 1);
        assert_int_equal(room / ((l1.eax >> 26) + 1), 1); /* threads of a core */
        assert_int_equal(l1.eax >> 14 & 0xfff, 0);
        assert_int_equal(l3.eax >> 14 & 0xfff, package - 1);
        assert_int_equal(ext_8.ecx & 0xff, package - 1);
        assert_int_equal(1U << (ext_8.ecx >> 12 & 0xf), room);
        assert_int_equal(ask(0x80000001, 0, &in).ecx >> 1 & 1, vcpus > 1);
        in.apic_id = vcpus - 1;
        assert_int_equal(ask(1, 0, &in).ebx >> 24, vcpus - 1);
        host.vendor = CPU_VENDOR_INTEL;
        assert_int_equal(ask(0x80000008, 0, &in).ecx, 0);
        assert_int_equal(ask(0x80000001, 0, &in).ecx >> 1 & 1, 0);
    }
}

/* ---- XSAVE ---- */

/* Offsets as AMD lays them out without MPX: they are not architectural. */
static void xstate_sizes_come_from_the_host(void **state)
{
    static const struct leaf amd[] = {
        {0xd, 2, {256, 576, 0, 0}},   {0xd, 5, {64, 832, 0, 0}}, {0xd, 6, {512, 896, 0, 0}},
        {0xd, 7, {1024, 1408, 0, 0}}, {0xd, 9, {8, 2432, 0, 0}}, {0xd, 11, {16, 0, 1, 0}},
    };
    struct cpuid_policy_in in = everything();
    struct cpuid_regs r;

    memset(host.xstate, 0, sizeof(host.xstate));
    for (size_t i = 0; i < ARRAY_SIZE(amd); i++)
        cpuid_host_add(&host, amd[i].leaf, amd[i].subleaf, &amd[i].r);
    assert_int_equal(in.xcr0_supported, 0xe7);
    in.guest_xcr0 = 3;
    r = ask_all_ones(0xd, 0, &in);
    assert_int_equal(r.eax, 0xe7);
    assert_int_equal(r.ebx, 576);
    assert_int_equal(r.ecx, 2432);
    in.guest_xcr0 = 7;
    assert_int_equal(ask_all_ones(0xd, 0, &in).ebx, 832);
    assert_int_equal(ask_all_ones(0xd, 1, &in).ebx, 832);
    in.guest_xcr0 = ~0UL;
    assert_int_equal(ask_all_ones(0xd, 0, &in).ebx, 2432);
    r = ask_all_ones(0xd, 6, &in);
    assert_int_equal(r.eax, 512);
    assert_int_equal(r.ebx, 896);
    assert_int_equal(r.ecx | r.edx, 0);
    r = ask_all_ones(0xd, 9, &in); /* protection keys */
    assert_int_equal(r.eax | r.ebx | r.ecx | r.edx, 0);
    r = ask_all_ones(0xd, 11, &in); /* supervisor state */
    assert_int_equal(r.eax | r.ebx | r.ecx | r.edx, 0);
}

static void compacted_size_honours_alignment(void **state)
{
    static const struct leaf made_up[] = {{0xd, 2, {200, 576, 0, 0}},
                                          {0xd, 5, {8, 1000, 0, 0}},
                                          {0xd, 6, {512, 1088, 2, 0}},
                                          {0xd, 7, {1024, 1600, 0, 0}}};
    struct cpuid_policy_in in = everything();

    memset(host.xstate, 0, sizeof(host.xstate));
    for (size_t i = 0; i < ARRAY_SIZE(made_up); i++)
        cpuid_host_add(&host, made_up[i].leaf, made_up[i].subleaf, &made_up[i].r);
    in.guest_xcr0 = 0xe7;
    assert_int_equal(ask_all_ones(0xd, 1, &in).ebx, 832 + 512 + 1024);
    in.guest_xcr0 = 3;
    assert_int_equal(ask_all_ones(0xd, 1, &in).ebx, 576);
}

static void xcr0_rules(void **state)
{
    u64 all = cpuid_policy_xcr0(~0UL);

    assert_int_equal(cpuid_policy_xcr0(0), 0);
    assert_int_equal(cpuid_policy_xcr0(1), 0);
    assert_int_equal(cpuid_policy_xcr0(0x63), 3);
    assert_int_equal(cpuid_policy_xcr0(0x67), 7);
    assert_int_equal(cpuid_policy_xcr0(0xe3), 3);
    for (u64 value = 0; value < 0x400; value++) {
        bool legal = value == 1 || value == 3 || value == 7 || value == 0xe7;

        assert_int_equal(cpuid_policy_may_set_xcr0(value, all), legal);
    }
    assert_false(cpuid_policy_may_set_xcr0(1UL << 62 | 7, all));
    assert_false(cpuid_policy_may_set_xcr0(0xe7, 7));
    assert_false(cpuid_policy_may_set_xcr0(1, 0));
}

static void vector_features_need_their_state(void **state)
{
    struct cpuid_policy_in in = everything();

    assert_int_equal(ask_all_ones(7, 0, &in).ebx & BIT_OF(AVX512F), BIT_OF(AVX512F));
    in.xcr0_supported = 7;
    assert_int_equal(ask_all_ones(7, 0, &in).ebx & 0xdc230000, 0);
    assert_int_equal(ask_all_ones(7, 0, &in).ebx & BIT_OF(AVX2), BIT_OF(AVX2));
    in.xcr0_supported = 3;
    assert_int_equal(ask_all_ones(7, 0, &in).ebx & BIT_OF(AVX2), 0);
    assert_int_equal(ask_all_ones(1, 0, &in).ecx & BIT_OF(XSAVE), BIT_OF(XSAVE));
    assert_int_equal(ask_all_ones(7, 0, &in).ecx & (BIT_OF(VAES) | BIT_OF(VPCLMULQDQ)), 0);
    assert_int_equal(ask_all_ones(0x80000001, 0, &in).ecx & (BIT_OF(XOP) | BIT_OF(FMA4)), 0);
}

/* ---- Xen's leaves ---- */

static void xen_time_leaf(void **state)
{
    struct cpuid_policy_in in = dom0();
    struct cpuid_regs r;

    in.tsc_stable = true;
    in.tsc_mode = 2;
    in.incarnation = 3;
    in.tsc_offset = 0x1122334455667788;
    in.tsc_mul = 0xabcdef01;
    in.tsc_shift = -1;
    r = ask_all_ones(0x40000003, 0, &in);
    assert_int_equal(r.eax, 6);
    assert_int_equal(r.ebx, 2);
    assert_int_equal(r.ecx, in.tsc_khz);
    assert_int_equal(r.edx, 3);
    r = ask_all_ones(0x40000003, 1, &in);
    assert_int_equal(r.eax, 0x55667788);
    assert_int_equal(r.ebx, 0x11223344);
    assert_int_equal(r.ecx, 0xabcdef01);
    assert_int_equal(r.edx, ~0U);
    assert_int_equal(cpuid_policy_max_leaf(0x40000000, &in), 0x40000005);
}

/* ---- the public annotations ---- */

/* Annotated for PV guests, yet not offered. */
static const struct {
    const char *name, *reason;
} held_back[] = {
    {"DBEXT", "breakpoint masks are not switched per vcpu"},
    {"RTM", "transactional memory is a side channel"},
    {"IBRSB", "SPEC_CTRL is not switched per vcpu"},
    {"STIBP", "SPEC_CTRL"},
    {"SSBD", "SPEC_CTRL"},
    {"EIBRS", "SPEC_CTRL"},
    {"INTEL_PSFD", "SPEC_CTRL"},
    {"SBPB", "the barrier MSR takes only IBPB"},
};

/* Offered without that annotation. */
static const struct {
    const char *name, *reason;
} added[] = {
    {"OSXSAVE", "computed, never copied"},
    {"FDP_EXCP_ONLY", "a fact about the FPU"},
    {"NO_FPU_SEL", "a fact about the FPU"},
    {"RSBA", "a warning that must not be lost"},
    {"ITSC", "offered when the hypervisor finds the TSC stable"},
};

static bool is_held_back(const char *name)
{
    for (size_t i = 0; i < ARRAY_SIZE(held_back); i++)
        if (!strcmp(held_back[i].name, name))
            return true;
    return false;
}

static bool is_added(const char *name)
{
    for (size_t i = 0; i < ARRAY_SIZE(added); i++)
        if (!strcmp(added[i].name, name))
            return true;
    return false;
}

/* One XEN_CPUFEATURE line of the header; returns the featureset bit, or -1. */
static int parse_feature(const char *line, char *name, bool *for_pv)
{
    int word, bit, used = 0;
    const char *mark;

    if (sscanf(line, "XEN_CPUFEATURE(%31[A-Z0-9a-z_], %d*32+ %d) %n", name, &word, &bit,
               &used) < 3)
        return -1;
    mark = strstr(line, "/*");
    assert_non_null(mark);
    *for_pv = false;
    for (mark += 2; *mark && !isspace((unsigned char)*mark); mark++)
        *for_pv |= *mark == 'A';
    return word * 32 + bit;
}

static void allow_list_matches_the_annotations(void **state)
{
    FILE *f = fopen("/usr/include/xen/arch-x86/cpufeatureset.h", "r");
    char line[256], name[32];
    u32 known[CPUID_NR_WORDS] = {0}, features = 0, exceptions = 0;

    assert_non_null(f);
    while (fgets(line, sizeof(line), f)) {
        bool for_pv, ours, listed;
        int n = parse_feature(line, name, &for_pv);

        if (n < 0)
            continue;
        features++;
        assert_in_range(n / 32, 0, CPUID_NR_WORDS - 1);
        known[n / 32] |= 1U << (n & 31);
        ours = cpuid_policy_allowed(n / 32) >> (n & 31) & 1;
        listed = is_held_back(name) || is_added(name);
        exceptions += listed;
        if (ours != (is_added(name) || (for_pv && !is_held_back(name))))
            fail_msg("%s: annotated %d, allowed %d", name, for_pv, ours);
    }
    fclose(f);
    assert_true(features > 200);
    assert_int_equal(exceptions, ARRAY_SIZE(held_back) + ARRAY_SIZE(added));
    for (u32 word = 0; word < CPUID_NR_WORDS; word++)
        assert_int_equal(cpuid_policy_allowed(word) & ~known[word], 0);
    assert_int_equal(cpuid_policy_allowed(CPUID_NR_WORDS), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(host_is_understood),
        cmocka_unit_test(dom0_sees_what_stock_shows),
        cmocka_unit_test(dom0_kernel_sees_mtrr),
        cmocka_unit_test(osxsave_follows_cr4_in_user_mode_only),
        cmocka_unit_test(parameters_gate_features),
        cmocka_unit_test(page_table_features_stay_hidden),
        cmocka_unit_test(unknown_leaves_are_zero),
        cmocka_unit_test(leaves_above_the_maximum_are_zero),
        cmocka_unit_test(physical_cpu_does_not_show),
        cmocka_unit_test(topology_is_one_core_per_vcpu),
        cmocka_unit_test(the_last_cache_is_shared),
        cmocka_unit_test(topology_is_flat_however_read),
        cmocka_unit_test(topology_leaves_agree),
        cmocka_unit_test(xstate_sizes_come_from_the_host),
        cmocka_unit_test(compacted_size_honours_alignment),
        cmocka_unit_test(xcr0_rules),
        cmocka_unit_test(vector_features_need_their_state),
        cmocka_unit_test(xen_time_leaf),
        cmocka_unit_test(allow_list_matches_the_annotations),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
