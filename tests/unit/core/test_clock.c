/* The clock scale against 128-bit arithmetic. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "core/clock.h"
#include "core/platform_bits.h"
#include "unit/random.h"

typedef unsigned __int128 u128;

#define MIN_HZ 1000UL
#define MAX_HZ 1000000000000UL
#define NS     1000000000UL

/* mul against 2^32 * 10^9 / hz / 2^shift, exactly: less than one part in a million off. */
static void check_scale(u64 hz)
{
    struct clock_scale s = clock_scale_from_hz(hz);
    u128 exact, off;

    assert_in_range(s.shift + 64, 64 - 10, 64 + 21);
    /* The largest mul that is not too fast: 31 significant bits or more. */
    assert_true(s.mul >= 0x7ff00000);
    exact = s.shift >= 0 ? ((u128)NS << 32) / ((u128)hz << s.shift)
                         : ((u128)NS << (32 - s.shift)) / hz;
    off = exact > s.mul ? exact - s.mul : s.mul - exact;
    assert_true(off * 1000000 < exact);
    assert_true(s.mul <= exact);
}

/* Ticks to nanoseconds: never ahead, and at most a millionth (and the shifted-out bits) behind. */
static void check_ticks(u64 hz, u64 ticks)
{
    struct clock_scale s = clock_scale_from_hz(hz);
    u128 exact = (u128)ticks * NS / hz;
    u64 ns = clock_scale_ticks(s, ticks);

    assert_true(ns <= exact);
    assert_true((exact - ns) * 1000000 <= exact + 3000000);
    assert_true(clock_scale_ticks(s, ticks + 1) >= ns);
}

static void edges(void **state)
{
    const u64 hz[] = {MIN_HZ,     MIN_HZ + 1, 32768,       3579545, 14318180,   NS / 2 - 1,
                      NS / 2,     NS / 2 + 1, NS - 1,      NS,      NS + 1,     2 * NS - 1,
                      2 * NS,     2 * NS + 1, 2 * NS + 2,  4 * NS,  4 * NS + 1, 4 * NS + 3,
                      MAX_HZ - 1, MAX_HZ,     2399987000UL};

    for (unsigned i = 0; i < ARRAY_SIZE(hz); i++) {
        check_scale(hz[i]);
        check_ticks(hz[i], 0);
        check_ticks(hz[i], 1);
        check_ticks(hz[i], hz[i]);
        check_ticks(hz[i], hz[i] * 86400);
    }
    for (unsigned bit = 10; bit < 40; bit++)
        for (u64 delta = 0; delta < 3; delta++)
            if (BIT(bit) + delta - 1 >= MIN_HZ)
                check_scale(BIT(bit) + delta - 1);
    for (u64 step = 1; step <= 500; step++)
        for (s64 delta = -2; delta <= 2; delta++)
            check_scale(2 * NS * step + (u64)delta);
}

static void one_gigahertz_is_exact(void **state)
{
    struct clock_scale s = clock_scale_from_hz(NS);

    for (u64 t = 0; t < 1000; t++)
        assert_int_equal(clock_scale_ticks(s, t * 1234567), t * 1234567);
}

static void random_frequencies(void **state)
{
    for (unsigned i = 0; i < 200000; i++) {
        u64 hz = MIN_HZ + random64() % (MAX_HZ >> random64() % 30),
            seconds = random64() % 10000000;

        check_scale(hz);
        check_ticks(hz, random64() % hz);
        /* Months: 64-bit products would long have overflowed. */
        if (hz < 20 * NS)
            check_ticks(hz, hz * (seconds % (NS / 100)) + random64() % hz);
    }
}

static void mul_div_is_exact(void **state)
{
    for (unsigned i = 0; i < 200000; i++) {
        u64 a = random64() >> random64() % 64, b = random64() >> random64() % 64;
        u64 c = random64() >> random64() % 64;
        u128 q = c ? (u128)a * b / c : ~(u128)0;

        assert_int_equal(mul_div(a, b, c), q > ~0UL ? ~0UL : (u64)q);
    }
    assert_int_equal(mul_div(~0UL, ~0UL, ~0UL), ~0UL);
    assert_int_equal(mul_div(~0UL, 1, 1), ~0UL);
    assert_int_equal(mul_div(1UL << 32, 1UL << 32, 1), ~0UL);
    assert_int_equal(mul_div(5, 7, 0), ~0UL);
    assert_int_equal(mul_div(0, 7, 0), ~0UL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(edges),
        cmocka_unit_test(one_gigahertz_is_exact),
        cmocka_unit_test(random_frequencies),
        cmocka_unit_test(mul_div_is_exact),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
