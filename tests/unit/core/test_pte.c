/* The judgement on page-table entries and on guest addresses. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "core/pte.h"

#define HOLE     0xffff800000000000UL
#define HOLE_END 0xffff880000000000UL
#define LOW_END  0x0000800000000000UL

static void bits_cover_an_entry(void **state)
{
    /* Each bit has one meaning; together they are the whole entry. */
    const u64 parts[] = {GPTE_P,   GPTE_RW, GPTE_US,  GPTE_PWT,  GPTE_PCD, GPTE_A,   GPTE_D,
                         GPTE_PAT, GPTE_G,  GPTE_AVL, GPTE_SOFT, GPTE_NX,  GPTE_ADDR};
    u64 all = 0;

    for (unsigned i = 0; i < ARRAY_SIZE(parts); i++) {
        assert_int_equal(all & parts[i], 0);
        all |= parts[i];
    }
    assert_int_equal(all, ~0UL);
    assert_int_equal(pte_mfn(~0UL).n, (1UL << 40) - 1);
    assert_int_equal(pte_mfn(GPTE_ADDR & -GPTE_ADDR).n, 1);
    assert_int_equal(pte_mfn(~GPTE_ADDR).n, 0);
}

static void harmless_bits_do_no_harm(void **state)
{
    /* Neither the frame, nor presence, nor writing, nor caching may change without a look. */
    assert_int_equal(GPTE_L1_HARMLESS & (GPTE_ADDR | GPTE_P | GPTE_RW | GPTE_CACHE), 0);
    assert_int_equal(GPTE_L1_HARMLESS & GPTE_LOGGED, 0);
    assert_int_equal(GPTE_L1_HARMLESS | GPTE_ADDR | GPTE_P | GPTE_RW | GPTE_CACHE | GPTE_LOGGED,
                     ~0UL);
}

static void flags_by_level(void **state)
{
    const u64 never_upper = GPTE_PWT | GPTE_PCD | GPTE_PAT | GPTE_G;

    for (unsigned bit = 0; bit < 64; bit++) {
        u64 pte = BIT(bit) | GPTE_P;

        assert_true(pte_flags_ok(pte, 1, true));
        assert_int_equal(pte_flags_ok(pte, 1, false), !(pte & GPTE_CACHE));
        for (int level = 2; level <= 4; level++) {
            assert_int_equal(pte_flags_ok(pte, level, false), !(pte & never_upper));
            assert_int_equal(pte_flags_ok(pte, level, true), !(pte & never_upper));
        }
    }
}

static void adjust(void **state)
{
    for (int level = 1; level <= 4; level++) {
        assert_int_equal(pte_adjust(0, level), 0);
        /* What is not present is the guest's to use as it likes. */
        assert_int_equal(pte_adjust(~GPTE_P, level), ~GPTE_P);
        for (unsigned bit = 0; bit < 64; bit++) {
            u64 pte = BIT(bit) | GPTE_P, got = pte_adjust(pte, level);

            assert_true(got & GPTE_US);
            assert_int_equal(pte_adjust(got, level), got);
            if (level > 1) {
                assert_int_equal((got ^ pte) & ~(GPTE_US | GPTE_A), 0);
                assert_true(got & GPTE_A);
                continue;
            }
            assert_int_equal((got ^ pte) & ~(GPTE_US | GPTE_G | GPTE_KERNEL | GPTE_LOGGED), 0);
            assert_int_equal(got & (GPTE_G | GPTE_A | GPTE_LOGGED), pte & GPTE_A);
            /* Whose it was shows once, and stays. */
            assert_int_equal(!!(got & GPTE_KERNEL), !(pte & GPTE_US) || pte & GPTE_KERNEL);
        }
    }
    assert_false(pte_adjust(GPTE_P | GPTE_G, 1) & GPTE_G);
}

static void l4_slots(void **state)
{
    for (unsigned slot = 0; slot < 512; slot++)
        assert_int_equal(l4_slot_is_guest(slot), slot < 256 || slot > 271);
    /* The slots and the address range are the same hole. */
    assert_int_equal(HOLE >> 39 & 511, L4_SLOT_HV_FIRST);
    assert_int_equal(HOLE_END >> 39 & 511, L4_SLOT_HV_END);
}

static void range_in_the_lower_half(void **state)
{
    assert_true(guest_range_ok(0, 0));
    assert_true(guest_range_ok(0, 1));
    assert_true(guest_range_ok(0, LOW_END));
    assert_false(guest_range_ok(0, LOW_END + 1));
    assert_false(guest_range_ok(0, ~0UL));
    assert_true(guest_range_ok(LOW_END - 1, 1));
    assert_false(guest_range_ok(LOW_END - 1, 2));
    assert_true(guest_range_ok(LOW_END - 4096, 4096));
    assert_false(guest_range_ok(LOW_END - 4096, 4097));
    /* Not canonical: neither half. */
    assert_false(guest_range_ok(LOW_END, 1));
    assert_false(guest_range_ok(HOLE - 1, 1));
    assert_false(guest_range_ok(HOLE - 1, LOW_END));
}

static void range_in_the_hole(void **state)
{
    assert_false(guest_range_ok(HOLE, 1));
    assert_false(guest_range_ok(HOLE + 4096, 8));
    assert_false(guest_range_ok(HOLE_END - 1, 1));
    assert_false(guest_range_ok(HOLE_END - 1, 2));
}

static void range_above_the_hole(void **state)
{
    assert_true(guest_range_ok(HOLE_END, 1));
    assert_true(guest_range_ok(HOLE_END, BIT(43)));
    assert_true(guest_range_ok(~0UL, 1));
    assert_false(guest_range_ok(~0UL, 2));
    assert_true(guest_range_ok(-4096UL, 4096));
    assert_false(guest_range_ok(-4096UL, 4097));
    assert_true(guest_range_ok(-BIT(46), BIT(46)));
    assert_false(guest_range_ok(-BIT(46), BIT(46) + 1));
}

/* Nothing at all is fine wherever something would be. */
static void range_empty(void **state)
{
    assert_true(guest_range_ok(LOW_END - 1, 0));
    assert_false(guest_range_ok(LOW_END, 0));
    assert_false(guest_range_ok(HOLE, 0));
    assert_true(guest_range_ok(HOLE_END, 0));
    assert_true(guest_range_ok(~0UL, 0));
}

static void range_by_steps(void **state)
{
    const u64 edges[] = {0, LOW_END, HOLE, HOLE_END, -4096UL, ~0UL};

    for (unsigned i = 0; i < ARRAY_SIZE(edges); i++) {
        for (u64 va = edges[i] - 20; va != edges[i] + 20; va++) {
            for (u64 len = 1; len < 40; len++) {
                bool fine = true;

                for (u64 k = 0; k < len; k++)
                    if (va + k < va || (va + k >= LOW_END && va + k < HOLE_END))
                        fine = false;
                assert_int_equal(guest_range_ok(va, len), fine);
            }
        }
    }
}

static void canonical(void **state)
{
    assert_true(va_is_canonical(0));
    assert_true(va_is_canonical(BIT(47) - 1));
    assert_false(va_is_canonical(BIT(47)));
    assert_false(va_is_canonical(HOLE - 1));
    assert_true(va_is_canonical(HOLE));
    assert_true(va_is_canonical(~0UL));
    for (unsigned bit = 48; bit < 64; bit++) {
        assert_false(va_is_canonical(BIT(bit)));
        assert_false(va_is_canonical(~BIT(bit)));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bits_cover_an_entry),
        cmocka_unit_test(harmless_bits_do_no_harm),
        cmocka_unit_test(flags_by_level),
        cmocka_unit_test(adjust),
        cmocka_unit_test(l4_slots),
        cmocka_unit_test(range_in_the_lower_half),
        cmocka_unit_test(range_in_the_hole),
        cmocka_unit_test(range_above_the_hole),
        cmocka_unit_test(range_empty),
        cmocka_unit_test(range_by_steps),
        cmocka_unit_test(canonical),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
