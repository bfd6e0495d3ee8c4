/*
 * Policies as lists. What the order is and which leaves have subleaves was taken from what the
 * toolstack's library writes; tests/guest/t_toolstack2.c asks stock Xen the same.
 */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "core/cpu_policy.h"
#include "unit/random.h"

#include <xen/arch-x86/cpufeatureset.h>

#define NONE XEN_CPUID_NO_SUBLEAF

static u32 list(const struct cpu_policy *p, xen_cpuid_leaf_t *out)
{
    u32 n = 0;

    for (u32 at = 0; cpu_policy_next_leaf(p, &at, &out[n]); n++)
        assert_true(n < CPU_POLICY_MAX_LEAVES);
    return n;
}

/* Anything at all, but with so many leaves that some are there. */
static void fill_random(struct cpu_policy *p)
{
    u64 *word = (u64 *)p;

    for (u32 i = 0; i < sizeof(*p) / sizeof(*word); i++)
        word[i] = random64() & random64();
    cpu_policy_place(p, 0, 0)->eax = random64() % 0x10;
    cpu_policy_place(p, 7, 0)->eax = random64() % 4;
    cpu_policy_place(p, 0x80000000, 0)->eax = 0x80000000 + random64() % 0x24;
}

static void each_leaf_has_one_place(void **state)
{
    static struct cpu_policy p;
    const u8 *seen[CPU_POLICY_LEAVES];
    u32 leaf, subleaf, last_leaf = 0, last_sub = 0;

    for (u32 i = 0; i < CPU_POLICY_LEAVES; i++) {
        cpu_policy_name(i, &leaf, &subleaf);
        seen[i] = (const u8 *)cpu_policy_place(&p, leaf, subleaf);
        assert_non_null(seen[i]);
        for (u32 j = 0; j < i; j++)
            assert_ptr_not_equal(seen[i], seen[j]);
        if (i)
            assert_true(leaf > last_leaf || (leaf == last_leaf && subleaf > last_sub));
        last_leaf = leaf;
        last_sub = subleaf;
    }
    assert_null(cpu_policy_leaf(&p, 0xe, 0));
    assert_null(cpu_policy_leaf(&p, 4, 6));
    assert_null(cpu_policy_leaf(&p, 0xd, 63));
    assert_null(cpu_policy_leaf(&p, 0x80000022, 0));
    assert_null(cpu_policy_leaf(&p, 0x7fffffff, 0));
    assert_null(cpu_policy_leaf(&p, 0xffffffff, 0));
}

/* What a toolstack's library makes of a machine with three caches and AVX. */
static void list_is_in_order_and_complete(void **state)
{
    static const struct {
        u32 leaf, subleaf;
    } want[] = {
        {0, NONE},
        {1, NONE},
        {2, NONE},
        {3, NONE},
        {4, 0},
        {4, 1},
        {4, 2},
        {4, 3},
        {5, NONE},
        {6, NONE},
        {7, 0},
        {7, 1},
        {8, NONE},
        {9, NONE},
        {0xa, NONE},
        {0xb, 0},
        {0xb, 1},
        {0xc, NONE},
        {0xd, 0},
        {0xd, 1},
        {0xd, 2},
        {0xd, 3},
        {0xd, 4},
        {0x40000000, NONE},
        {0x40000100, NONE},
        {0x80000000, NONE},
        {0x80000001, NONE},
        {0x80000002, NONE},
    };
    static struct cpu_policy p;
    xen_cpuid_leaf_t l[CPU_POLICY_MAX_LEAVES + 1];

    memset(&p, 0, sizeof(p));
    cpu_policy_place(&p, 0, 0)->eax = 0xd;
    for (u32 i = 0; i < 3; i++)
        cpu_policy_place(&p, 4, i)->eax = 1;
    cpu_policy_place(&p, 4, 4)->eax = 1; /* behind the end */
    cpu_policy_place(&p, 7, 0)->eax = 1;
    cpu_policy_place(&p, 0xb, 0)->ecx = 0x100;
    cpu_policy_place(&p, 0xd, 0)->eax = 0x17;
    cpu_policy_place(&p, 0x80000000, 0)->eax = 0x80000002;
    assert_int_equal(list(&p, l), ARRAY_SIZE(want));
    for (u32 i = 0; i < ARRAY_SIZE(want); i++) {
        assert_int_equal(l[i].leaf, want[i].leaf);
        assert_int_equal(l[i].subleaf, want[i].subleaf);
    }
}

static void empty_policy_has_the_first_leaves(void **state)
{
    static const struct cpu_policy p;
    xen_cpuid_leaf_t l[CPU_POLICY_MAX_LEAVES + 1];

    assert_int_equal(list(&p, l), 4);
    assert_int_equal(l[0].leaf, 0);
    assert_int_equal(l[1].leaf, 0x40000000);
    assert_int_equal(l[2].leaf, 0x40000100);
    assert_int_equal(l[3].leaf, 0x80000000);
}

static void what_is_written_comes_back(void **state)
{
    static struct cpu_policy p, q;
    xen_cpuid_leaf_t l[CPU_POLICY_MAX_LEAVES + 1], again[CPU_POLICY_MAX_LEAVES + 1];
    u32 most = 0;

    for (int round = 0; round < 2000; round++) {
        u32 n;

        fill_random(&p);
        memset(&q, 0, sizeof(q));
        n = list(&p, l);
        most = MAX(most, n);
        for (u32 i = 0; i < n; i++)
            assert_int_equal(cpu_policy_write(&q, &l[n - 1 - i]), 0);
        assert_int_equal(list(&q, again), n);
        assert_memory_equal(l, again, n * sizeof(l[0]));
    }
    assert_in_range(most, 60, CPU_POLICY_MAX_LEAVES);
}

static void other_leaves_are_refused(void **state)
{
    static const struct {
        u32 leaf, subleaf;
    } bad[] = {
        {0xe, NONE},
        {0x14, 0},
        {0x3fffffff, NONE},
        {0x40000001, NONE},
        {0x40000000, 0},
        {0x40000100, 1},
        {0x80000022, NONE},
        {0xffffffff, NONE},
        {0, 0},
        {1, 0},
        {4, NONE},
        {4, 6},
        {7, NONE},
        {7, 3},
        {0xb, 2},
        {0xd, 63},
        {0xd, NONE},
        {0xd, 0xfffffffe},
        {0x80000000, 0},
        {0x80000001, 1},
    };
    static struct cpu_policy p, before;

    fill_random(&p);
    before = p;
    for (u32 i = 0; i < ARRAY_SIZE(bad); i++) {
        xen_cpuid_leaf_t l = {bad[i].leaf, bad[i].subleaf, 1, 2, 3, 4};

        assert_int_equal(cpu_policy_write(&p, &l), -XEN_ERANGE);
    }
    assert_memory_equal(&p, &before, sizeof(p));
}

static void registers(void **state)
{
    static struct cpu_policy p;
    xen_msr_entry_t m;

    memset(&p, 0, sizeof(p));
    m = (xen_msr_entry_t){.idx = 0xce, .val = 0x80000000};
    assert_int_equal(cpu_policy_write_msr(&p, &m), 0);
    m = (xen_msr_entry_t){.idx = 0x10a, .val = 0x123456789abcdefUL};
    assert_int_equal(cpu_policy_write_msr(&p, &m), 0);
    m.flags = 1;
    assert_int_equal(cpu_policy_write_msr(&p, &m), -XEN_EINVAL);
    m = (xen_msr_entry_t){.idx = 0x10};
    assert_int_equal(cpu_policy_write_msr(&p, &m), -XEN_ERANGE);
    cpu_policy_msr(&p, 0, &m);
    assert_true(m.idx == 0xce && m.val == 0x80000000 && !m.flags);
    cpu_policy_msr(&p, 1, &m);
    assert_true(m.idx == 0x10a && m.val == 0x123456789abcdefUL && !m.flags);
    assert_int_equal(cpu_policy_features(&p, 16), 0x89abcdef);
    assert_int_equal(cpu_policy_features(&p, 17), 0x01234567);
}

static void feature_words_lie_where_the_list_says(void **state)
{
    static const struct {
        u32 leaf, subleaf;
        size_t reg;
    } where[CPUID_NR_WORDS] = {
        [0] = {1, 0, offsetof(struct cpuid_regs, edx)},
        [1] = {1, 0, offsetof(struct cpuid_regs, ecx)},
        [2] = {0x80000001, 0, offsetof(struct cpuid_regs, edx)},
        [3] = {0x80000001, 0, offsetof(struct cpuid_regs, ecx)},
        [4] = {0xd, 1, offsetof(struct cpuid_regs, eax)},
        [5] = {7, 0, offsetof(struct cpuid_regs, ebx)},
        [6] = {7, 0, offsetof(struct cpuid_regs, ecx)},
        [7] = {0x80000007, 0, offsetof(struct cpuid_regs, edx)},
        [8] = {0x80000008, 0, offsetof(struct cpuid_regs, ebx)},
        [9] = {7, 0, offsetof(struct cpuid_regs, edx)},
        [10] = {7, 1, offsetof(struct cpuid_regs, eax)},
        [11] = {0x80000021, 0, offsetof(struct cpuid_regs, eax)},
        [12] = {7, 1, offsetof(struct cpuid_regs, ebx)},
        [13] = {7, 2, offsetof(struct cpuid_regs, edx)},
        [14] = {7, 1, offsetof(struct cpuid_regs, ecx)},
        [15] = {7, 1, offsetof(struct cpuid_regs, edx)},
        [18] = {0x80000021, 0, offsetof(struct cpuid_regs, ecx)},
    };
    static struct cpu_policy p;

    for (u32 w = 0; w < CPUID_NR_WORDS; w++) {
        if (w == 16 || w == 17)
            continue;
        memset(&p, 0, sizeof(p));
        *(u32 *)((u8 *)cpu_policy_place(&p, where[w].leaf, where[w].subleaf) + where[w].reg) =
            0xdeadbeef;
        for (u32 i = 0; i < CPUID_NR_WORDS; i++)
            assert_int_equal(cpu_policy_features(&p, i), i == w ? 0xdeadbeef : 0);
    }
    assert_int_equal(cpu_policy_features(&p, CPUID_NR_WORDS), 0);
}

static void set_feature(struct cpu_policy *p, u32 feature)
{
    switch (feature / 32) {
    case 1:
        cpu_policy_place(p, 1, 0)->ecx |= 1U << (feature & 31);
        break;
    case 5:
        cpu_policy_place(p, 7, 0)->ebx |= 1U << (feature & 31);
        break;
    default:
        fail();
    }
}

static void states_follow_features(void **state)
{
    static struct cpu_policy p;

    memset(&p, 0, sizeof(p));
    assert_int_equal(cpu_policy_xcr0(&p, ~0UL), 0);
    set_feature(&p, XEN_X86_FEATURE_AVX);
    set_feature(&p, XEN_X86_FEATURE_AVX512F);
    assert_int_equal(cpu_policy_xcr0(&p, ~0UL), 0);
    set_feature(&p, XEN_X86_FEATURE_XSAVE);
    assert_int_equal(cpu_policy_xcr0(&p, ~0UL), 0xe7);
    assert_int_equal(cpu_policy_xcr0(&p, 0x7), 0x7);
    assert_int_equal(cpu_policy_xcr0(&p, 0xe3), 0x3);
    assert_int_equal(cpu_policy_xcr0(&p, 0x1), 0);
    cpu_policy_place(&p, 1, 0)->ecx &= ~(1U << (XEN_X86_FEATURE_AVX & 31));
    assert_int_equal(cpu_policy_xcr0(&p, ~0UL), 0x3);
}

static struct cpu_policy a_machine(void)
{
    struct cpu_policy m;

    memset(&m, 0, sizeof(m));
    cpu_policy_place(&m, 0, 0)->eax = 0xd;
    cpu_policy_place(&m, 7, 0)->eax = 1;
    cpu_policy_place(&m, 0x80000000, 0)->eax = 0x80000008;
    set_feature(&m, XEN_X86_FEATURE_XSAVE);
    set_feature(&m, XEN_X86_FEATURE_AVX);
    cpu_policy_place(&m, 0xd, 0)->eax = 7;
    *cpu_policy_place(&m, 0xd, 2) = (struct cpuid_regs){.eax = 256, .ebx = 576};
    return m;
}

static void limit_takes_away(void **state)
{
    struct cpu_policy m = a_machine(), p;

    for (int round = 0; round < 2000; round++) {
        struct cpu_policy once;
        u64 xcr0;

        fill_random(&p);
        cpu_policy_limit(&p, &m);
        for (u32 w = 0; w < CPUID_NR_WORDS; w++)
            assert_int_equal(cpu_policy_features(&p, w) & ~cpu_policy_features(&m, w), 0);
        xcr0 = cpu_policy_leaf(&p, 0xd, 0)->eax;
        assert_int_equal(xcr0, cpu_policy_xcr0(&p, 7));
        assert_int_equal(cpu_policy_leaf(&p, 0xd, 0)->ecx, xcr0 & 4 ? 832 : xcr0 ? 576 : 0);
        assert_int_equal(cpu_policy_leaf(&p, 0xd, 2)->eax, xcr0 & 4 ? 256 : 0);
        for (u32 i = 3; i < 63; i++)
            assert_int_equal(cpu_policy_leaf(&p, 0xd, i)->eax, 0);
        once = p;
        cpu_policy_limit(&p, &m);
        assert_memory_equal(&once, &p, sizeof(p));
    }
    p = m;
    cpu_policy_limit(&p, &m);
    assert_int_equal(cpu_policy_leaf(&p, 0xd, 0)->eax, 7);
}

static void check_names_the_culprit(void **state)
{
    struct cpu_policy m = a_machine(), p = m;
    struct cpu_policy_error e;

    assert_int_equal(cpu_policy_check(&m, &p, &e), 0);
    p.leaf[0].eax = 0xe;
    assert_int_equal(cpu_policy_check(&m, &p, &e), -XEN_EINVAL);
    assert_true(e.leaf == 0 && e.subleaf == ~0U && e.msr == ~0U);
    p = m;
    cpu_policy_place(&p, 7, 0)->eax = 2;
    assert_int_equal(cpu_policy_check(&m, &p, &e), -XEN_EINVAL);
    assert_true(e.leaf == 7 && e.subleaf == 0 && e.msr == ~0U);
    p.leaf[0].eax = 6; /* then leaf 7 does not matter */
    assert_int_equal(cpu_policy_check(&m, &p, &e), 0);
    p = m;
    cpu_policy_place(&p, 0x80000000, 0)->eax = 0x80000009;
    assert_int_equal(cpu_policy_check(&m, &p, &e), -XEN_EINVAL);
    assert_true(e.leaf == 0x80000000 && e.msr == ~0U);
    p = m;
    p.platform_info = 1;
    assert_int_equal(cpu_policy_check(&m, &p, &e), -XEN_EINVAL);
    assert_true(e.leaf == ~0U && e.msr == 0xce);
    p = m;
    p.arch_caps = 1UL << 62;
    assert_int_equal(cpu_policy_check(&m, &p, &e), -XEN_EINVAL);
    assert_true(e.leaf == ~0U && e.msr == 0x10a);
}

static void unknown_features_are_dropped(void **state)
{
    static struct cpu_policy p;

    memset(&p, 0xff, sizeof(p));
    cpu_policy_keep_known(&p);
    assert_int_equal(cpu_policy_features(&p, 0) >> 10 & 1, 0); /* reserved */
    assert_int_equal(cpu_policy_features(&p, 0) >> 4 & 1, 1);  /* TSC */
    assert_int_equal(cpu_policy_features(&p, 5) >> 22 & 1, 0); /* never released */
    for (u32 w = 0; w < CPUID_NR_WORDS; w++)
        assert_int_equal(cpuid_policy_allowed(w) & ~cpu_policy_features(&p, w), 0);
}

static void lfence_has_its_leaf_told(void **state)
{
    static struct cpu_policy p;

    memset(&p, 0, sizeof(p));
    cpu_policy_place(&p, 0x80000000, 0)->eax = 0x8000000a;
    cpu_policy_tell_lfence(&p);
    assert_int_equal(cpu_policy_leaf(&p, 0x80000000, 0)->eax, 0x80000021);
    assert_int_equal(cpu_policy_leaf(&p, 0x80000021, 0)->eax, 1 << 2);
    /* Not shorter, and nothing else, where the CPU has more. */
    cpu_policy_place(&p, 0x80000000, 0)->eax = 0x80000022;
    cpu_policy_place(&p, 0x80000021, 0)->eax = 1 << 6;
    cpu_policy_tell_lfence(&p);
    assert_int_equal(cpu_policy_leaf(&p, 0x80000000, 0)->eax, 0x80000022);
    assert_int_equal(cpu_policy_leaf(&p, 0x80000021, 0)->eax, 1 << 6 | 1 << 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_leaf_has_one_place),
        cmocka_unit_test(list_is_in_order_and_complete),
        cmocka_unit_test(empty_policy_has_the_first_leaves),
        cmocka_unit_test(what_is_written_comes_back),
        cmocka_unit_test(other_leaves_are_refused),
        cmocka_unit_test(registers),
        cmocka_unit_test(feature_words_lie_where_the_list_says),
        cmocka_unit_test(states_follow_features),
        cmocka_unit_test(limit_takes_away),
        cmocka_unit_test(check_names_the_culprit),
        cmocka_unit_test(unknown_features_are_dropped),
        cmocka_unit_test(lfence_has_its_leaf_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
