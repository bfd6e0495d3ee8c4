/* The MSR policy: what kernels need, per vendor, and #GP for every other MSR and value. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "core/msr_policy.h"

#define XEN_PAT 0x050100070406UL

static struct msr_policy_in domain(enum cpu_vendor vendor, bool hwdom)
{
    return (struct msr_policy_in){.vendor = vendor,
                                  .hwdom = hwdom,
                                  .rdtscp = true,
                                  .mca_banks = 2,
                                  .efer = 0xd01,
                                  .pat = XEN_PAT};
}

static struct msr_policy_in amd_dom0(void)
{
    return domain(CPU_VENDOR_AMD, true);
}

static void reads(u32 msr, const struct msr_policy_in *in, enum msr_verdict verdict, u64 want)
{
    u64 val = 0xdeadbeef;

    assert_int_equal(msr_policy_read(msr, in, &val), verdict);
    assert_int_equal(val, want);
}

static void segment_bases(void **state)
{
    struct msr_policy_in in = amd_dom0();

    reads(0xc0000100, &in, MSR_VCPU_FS_BASE, 0);
    reads(0xc0000101, &in, MSR_VCPU_GS_BASE, 0);
    reads(0xc0000102, &in, MSR_VCPU_KERNEL_GS_BASE, 0);
    assert_int_equal(msr_policy_write(0xc0000100, 0, &in), MSR_VCPU_FS_BASE);
    assert_int_equal(msr_policy_write(0xc0000101, 0xffff888000000000, &in), MSR_VCPU_GS_BASE);
    assert_int_equal(msr_policy_write(0xc0000102, 0x7fffffffffff, &in),
                     MSR_VCPU_KERNEL_GS_BASE);
}

/* XSA-193: the processor faults on these in ring 0. */
static void bases_must_be_canonical(void **state)
{
    static const u64 bad[] = {0x0000800000000000, 0xffff7fffffffffff, 0x8000000000000000,
                              0x7fffffffffffffff, 0x0001000000000000, 0xfffe800000000000};
    static const u64 good[] = {0x00007fffffffffff, 0xffff800000000000, ~0UL, 0};
    struct msr_policy_in in = amd_dom0();

    for (u32 msr = 0xc0000100; msr <= 0xc0000102; msr++) {
        for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
            assert_int_equal(msr_policy_write(msr, bad[i], &in), MSR_GP);
        for (size_t i = 0; i < ARRAY_SIZE(good); i++)
            assert_int_not_equal(msr_policy_write(msr, good[i], &in), MSR_GP);
    }
}

static void tsc_and_aux(void **state)
{
    struct msr_policy_in in = amd_dom0();

    reads(0x10, &in, MSR_VCPU_TSC, 0);
    assert_int_equal(msr_policy_write(0x10, 0, &in), MSR_GP);
    reads(0xc0000103, &in, MSR_VCPU_TSC_AUX, 0);
    assert_int_equal(msr_policy_write(0xc0000103, 0xffffffff, &in), MSR_VCPU_TSC_AUX);
    assert_int_equal(msr_policy_write(0xc0000103, 1UL << 32, &in), MSR_GP);
    in.rdtscp = false;
    reads(0xc0000103, &in, MSR_GP, 0);
    assert_int_equal(msr_policy_write(0xc0000103, 0, &in), MSR_GP);
}

/* Registers that read as a constant and accept only that constant. */
static void same_value_or_fault(void **state)
{
    struct msr_policy_in in = amd_dom0();

    reads(0xc0000080, &in, MSR_VALUE, 0xd01);
    assert_int_equal(msr_policy_write(0xc0000080, 0xd01, &in), MSR_IGNORE);
    assert_int_equal(msr_policy_write(0xc0000080, 0x501, &in), MSR_GP);
    reads(0x277, &in, MSR_VALUE, XEN_PAT);
    assert_int_equal(msr_policy_write(0x277, XEN_PAT, &in), MSR_IGNORE);
    assert_int_equal(msr_policy_write(0x277, 0x0007040600070406, &in), MSR_GP);
    reads(0x1b, &in, MSR_VALUE, 0xfee00900);
    assert_int_equal(msr_policy_write(0x1b, 0xfee00900, &in), MSR_IGNORE);
    assert_int_equal(msr_policy_write(0x1b, 0xfee00d00, &in), MSR_GP);
    in.vcpu_id = 1;
    reads(0x1b, &in, MSR_VALUE, 0xfee00800);
}

static void machine_check_banks_are_empty(void **state)
{
    struct msr_policy_in in = domain(CPU_VENDOR_INTEL, false);

    reads(0x179, &in, MSR_VALUE, 2);
    assert_int_equal(msr_policy_write(0x179, 2, &in), MSR_GP);
    reads(0x17a, &in, MSR_VALUE, 0);
    assert_int_equal(msr_policy_write(0x17a, 0, &in), MSR_IGNORE);
    for (u32 msr = 0x400; msr < 0x408; msr++) {
        reads(msr, &in, MSR_VALUE, 0);
        assert_int_equal(msr_policy_write(msr, ~0UL, &in), MSR_IGNORE);
    }
    reads(0x408, &in, MSR_GP, 0);
    assert_int_equal(msr_policy_write(0x408, 0, &in), MSR_GP);
    in.mca_banks = ~0U;
    reads(0x179, &in, MSR_VALUE, 32);
    reads(0x480, &in, MSR_GP, 0); /* VMX begins here */
}

static void amd_registers(void **state)
{
    struct msr_policy_in in = amd_dom0();

    reads(0x8b, &in, MSR_PASS_READ, 0);
    reads(0xc0010015, &in, MSR_PASS_READ, 0);
    assert_int_equal(msr_policy_write(0xc0010015, 1, &in), MSR_IGNORE_IF_SAME);
    reads(0xc0011029, &in, MSR_PASS_READ, 0);
    assert_int_equal(msr_policy_write(0xc0011029, 2, &in), MSR_IGNORE);
    reads(0xc0010003, &in, MSR_VALUE, 0);
    reads(0xc0010007, &in, MSR_VALUE, 0);
    assert_int_equal(msr_policy_write(0xc0010007, 0xabcd, &in), MSR_IGNORE);
    reads(0xc001020b, &in, MSR_VALUE, 0);
    reads(0xc0010055, &in, MSR_GP, 0);
    reads(0xc001001a, &in, MSR_PASS_READ, 0);
    in.hwdom = false;
    reads(0xc001001a, &in, MSR_GP, 0);
    reads(0xc0010058, &in, MSR_GP, 0);
    in.vendor = CPU_VENDOR_INTEL;
    reads(0xc0010015, &in, MSR_GP, 0);
    reads(0xc0011029, &in, MSR_GP, 0);
    assert_int_equal(msr_policy_write(0xc0011029, 2, &in), MSR_GP);
}

static void intel_registers(void **state)
{
    struct msr_policy_in in = domain(CPU_VENDOR_INTEL, true);

    reads(0x17, &in, MSR_PASS_READ, 0);
    reads(0x3a, &in, MSR_VALUE, 1);
    assert_int_equal(msr_policy_write(0x3a, 5, &in), MSR_GP);
    assert_int_equal(msr_policy_write(0x8b, 0, &in), MSR_IGNORE);
    reads(0xce, &in, MSR_VALUE, 0);
    reads(0x140, &in, MSR_VALUE, 0);
    assert_int_equal(msr_policy_write(0x140, 0, &in), MSR_IGNORE);
    assert_int_equal(msr_policy_write(0x140, 1, &in), MSR_GP);
    reads(0x1a0, &in, MSR_VALUE, 0x1801);
    assert_int_equal(msr_policy_write(0x1a0, 0x1801, &in), MSR_IGNORE);
    assert_int_equal(msr_policy_write(0x1a0, 1UL << 34, &in), MSR_GP);
    reads(0x198, &in, MSR_PASS_READ, 0);
    reads(0x19c, &in, MSR_PASS_READ, 0);
    reads(0x1d9, &in, MSR_GP, 0);
    reads(0x48, &in, MSR_GP, 0);
    assert_int_equal(msr_policy_write(0x48, 1, &in), MSR_GP);
    in.hwdom = false;
    reads(0x198, &in, MSR_GP, 0);
    reads(0x19c, &in, MSR_GP, 0);
    /* XSA-333: an AMD processor has no such register. */
    in = amd_dom0();
    reads(0x1a0, &in, MSR_GP, 0);
    reads(0x17, &in, MSR_GP, 0);
}

static void speculation_registers(void **state)
{
    struct msr_policy_in in = domain(CPU_VENDOR_INTEL, false);

    reads(0x10a, &in, MSR_GP, 0);
    assert_int_equal(msr_policy_write(0x49, 1, &in), MSR_GP);
    in.barrier = true;
    reads(0x49, &in, MSR_GP, 0);
    assert_int_equal(msr_policy_write(0x49, 0, &in), MSR_IGNORE);
    assert_int_equal(msr_policy_write(0x49, 1, &in), MSR_BARRIER);
    assert_int_equal(msr_policy_write(0x49, 2, &in), MSR_GP);
    assert_int_equal(msr_policy_write(0x49, 0x81, &in), MSR_GP);
    in.arch_caps = true;
    in.arch_caps_val = ~0UL;
    reads(0x10a, &in, MSR_VALUE, msr_policy_arch_caps(~0UL));
    assert_int_equal(msr_policy_arch_caps(~0UL) & 0x82, 0); /* EIBRS, TSX_CTRL */
    assert_int_equal(msr_policy_arch_caps(1UL << 62 | 1), 1UL << 62 | 1);
    assert_int_equal(msr_policy_write(0x10a, 0, &in), MSR_GP);
}

static void hypercall_page_is_write_only(void **state)
{
    struct msr_policy_in in = domain(CPU_VENDOR_OTHER, false);

    assert_int_equal(msr_policy_write(0x40000000, 0x1000, &in), MSR_HYPERCALL_PAGE);
    reads(0x40000000, &in, MSR_GP, 0);
    reads(0x40000001, &in, MSR_GP, 0);
}

/*
 * All common MSR ranges, every vendor and kind of domain: a write verdict that reaches the
 * machine is given to nobody but the five named registers, and PASS_READ to no unknown vendor.
 */
static void sweep(const struct msr_policy_in *in, u32 first, u32 count, u64 value)
{
    for (u32 msr = first; msr - first < count; msr++) {
        enum msr_verdict verdict = msr_policy_write(msr, value, in);
        u64 val;

        switch (verdict) {
        case MSR_GP:
        case MSR_IGNORE:
        case MSR_IGNORE_IF_SAME:
            break;
        case MSR_VCPU_FS_BASE:
        case MSR_VCPU_GS_BASE:
        case MSR_VCPU_KERNEL_GS_BASE:
        case MSR_VCPU_TSC_AUX:
            assert_in_range(msr, 0xc0000100, 0xc0000103);
            break;
        case MSR_BARRIER:
            assert_int_equal(msr, 0x49);
            break;
        case MSR_HYPERCALL_PAGE:
            assert_int_equal(msr, 0x40000000);
            break;
        default:
            fail_msg("write of %#x gives verdict %d", msr, verdict);
        }
        verdict = msr_policy_read(msr, in, &val);
        assert_int_not_equal(verdict, MSR_IGNORE);
        assert_int_not_equal(verdict, MSR_BARRIER);
        if (verdict != MSR_VALUE)
            assert_int_equal(val, 0);
        if (in->vendor == CPU_VENDOR_OTHER)
            assert_int_not_equal(verdict, MSR_PASS_READ);
        /* x2APIC, VMX, MTRRs, SYSENTER and SYSCALL targets */
        if ((msr >= 0x800 && msr < 0x900) || (msr >= 0x480 && msr < 0x4a0) ||
            (msr >= 0x200 && msr < 0x270) || (msr >= 0x174 && msr < 0x177) ||
            (msr >= 0xc0000081 && msr < 0xc0000085))
            assert_int_equal(verdict, MSR_GP);
    }
}

static void no_other_register_is_reachable(void **state)
{
    static const u64 values[] = {0, 1, ~0UL, 0x1234};

    for (u32 who = 0; who < 6; who++) {
        struct msr_policy_in in = domain(who / 2, who % 2);

        in.barrier = in.arch_caps = true;
        for (size_t i = 0; i < ARRAY_SIZE(values); i++) {
            sweep(&in, 0, 0x10000, values[i]);
            sweep(&in, 0x40000000, 0x200, values[i]);
            sweep(&in, 0xc0000000, 0x20000, values[i]);
        }
    }
}

static void unknown_registers_fault(void **state)
{
    struct msr_policy_in in = amd_dom0();
    u32 not_gp = 0;
    u64 val;

    for (u32 msr = 0; msr < 0x2000; msr++)
        not_gp += msr_policy_read(msr, &in, &val) != MSR_GP;
    /* 10 1b 8b 179 17a 277 400-407 */
    assert_int_equal(not_gp, 14);
    assert_int_equal(msr_policy_read(~0U, &in, &val), MSR_GP);
    in.vendor = 77;
    assert_int_equal(msr_policy_read(0x8b, &in, &val), MSR_GP);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(segment_bases),
        cmocka_unit_test(bases_must_be_canonical),
        cmocka_unit_test(tsc_and_aux),
        cmocka_unit_test(same_value_or_fault),
        cmocka_unit_test(machine_check_banks_are_empty),
        cmocka_unit_test(amd_registers),
        cmocka_unit_test(intel_registers),
        cmocka_unit_test(speculation_registers),
        cmocka_unit_test(hypercall_page_is_write_only),
        cmocka_unit_test(no_other_register_is_reachable),
        cmocka_unit_test(unknown_registers_fault),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
