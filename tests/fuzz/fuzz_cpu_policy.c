/*
 * A toolstack's list of leaves and registers, taken in as set_cpu_policy does. The input: how
 * many registers (a byte), registers of 12 bytes (number, flags, 8 bits of value), then leaves of
 * 24 bytes as the ABI has them.
 */
#include "core/cpu_policy.h"
#include "fuzz/fuzz.h"

static struct cpu_policy machine(void)
{
    static const struct cpuid_regs avx = {.eax = 256, .ebx = 576};
    struct cpu_policy m;

    memset(&m, 0, sizeof(m));
    for (u32 w = 0; w < CPU_POLICY_LEAVES; w++)
        m.leaf[w] = (struct cpuid_regs){0x0ff0ff00, 0xffffffff, 0xf0f0f0f0, 0xffff0000};
    cpu_policy_place(&m, 0, 0)->eax = 0xd;
    cpu_policy_place(&m, 7, 0)->eax = 2;
    cpu_policy_place(&m, 0x80000000, 0)->eax = 0x80000021;
    cpu_policy_place(&m, 1, 0)->ecx = 0xffffffff;
    *cpu_policy_place(&m, 0xd, 0) = (struct cpuid_regs){.eax = 7};
    *cpu_policy_place(&m, 0xd, 2) = avx;
    return m;
}

/* The list of a policy, read back, makes the same list. */
static void check_round_trip(const struct cpu_policy *p)
{
    xen_cpuid_leaf_t l, other;
    struct cpu_policy q = {0};
    u32 at = 0, at_q = 0, n = 0;

    for (; cpu_policy_next_leaf(p, &at, &l); n++)
        FUZZ_CHECK(!cpu_policy_write(&q, &l));
    FUZZ_CHECK(n <= CPU_POLICY_MAX_LEAVES);
    for (at = 0; cpu_policy_next_leaf(p, &at, &l);)
        FUZZ_CHECK(cpu_policy_next_leaf(&q, &at_q, &other) && !memcmp(&l, &other, sizeof(l)));
    FUZZ_CHECK(!cpu_policy_next_leaf(&q, &at_q, &other));
}

/* Whatever the domain then asks, it sees no feature that the machine lacks, and no live state. */
static void check_visible(const struct cpu_policy *p)
{
    static const struct cpuid_host host = {
        .max_leaf = 0xd, .max_ext_leaf = 0x80000021, .xstate[2] = {576, 256, false}};
    struct cpuid_policy_in in = {.host = &host,
                                 .max_leaf = cpu_policy_leaf(p, 0, 0)->eax,
                                 .max_ext_leaf = cpu_policy_leaf(p, 0x80000000, 0)->eax,
                                 .xcr0_supported = cpu_policy_xcr0(p, 7),
                                 .nr_vcpus = 3};

    for (u32 i = 0; i < CPU_POLICY_LEAVES; i++) {
        u32 leaf, subleaf;
        struct cpuid_regs r;

        cpu_policy_name(i, &leaf, &subleaf);
        r = p->leaf[i];
        cpuid_policy_apply(leaf, subleaf == XEN_CPUID_NO_SUBLEAF ? 0 : subleaf, &r, &in);
        if (leaf == 7 && subleaf == 0)
            FUZZ_CHECK(!(r.ebx & ~cpuid_policy_allowed(5)));
        if (leaf == 0xd && subleaf == 0 && leaf <= cpuid_policy_max_leaf(0, &in))
            FUZZ_CHECK(r.eax == in.xcr0_supported);
    }
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
    struct cpu_policy m = machine(), p = m;
    struct cpu_policy_error e;
    u32 nr_msrs = size ? data[0] & 3 : 0;

    data += size != 0;
    size -= size != 0;
    for (; nr_msrs-- && size >= 12; data += 12, size -= 12) {
        xen_msr_entry_t reg = {get_le32(data), get_le32(data + 4), get_le32(data + 8)};

        (void)!cpu_policy_write_msr(&p, &reg);
    }
    for (; size >= sizeof(xen_cpuid_leaf_t); data += 24, size -= 24) {
        xen_cpuid_leaf_t l;
        struct cpu_policy before = p;

        memcpy(&l, data, sizeof(l));
        if (cpu_policy_write(&p, &l))
            FUZZ_CHECK(!memcmp(&before, &p, sizeof(p)));
    }
    check_round_trip(&p);
    if (cpu_policy_check(&m, &p, &e))
        FUZZ_CHECK(e.leaf != ~0U || e.msr != ~0U);
    cpu_policy_limit(&p, &m);
    for (u32 w = 0; w < CPUID_NR_WORDS; w++)
        FUZZ_CHECK(!(cpu_policy_features(&p, w) & ~cpu_policy_features(&m, w)));
    check_round_trip(&p);
    check_visible(&p);
    return 0;
}
