/*
 * Rates: buckets against an exact count of what may pass, and the table when it is too small.
 */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "core/vfr_rates.h"

#define SECOND 1000000000UL

static struct vfr_bucket buckets[8];
static struct vfr_rates rates;

/* 100 a second, 10 at once. */
static const struct vfr_rate hundred = {.id = 1,
                                        .unit = VFR_RATE_PACKETS,
                                        .per = VFR_PER_SRC,
                                        .cost = (SECOND / 100) << VFR_RATE_SHIFT,
                                        .depth = 9 * (SECOND / 100)};

static int start(void **state)
{
    for (unsigned i = 0; i < ARRAY_SIZE(buckets); i++)
        buckets[i] = (struct vfr_bucket){0};
    vfr_rates_init(&rates, buckets, ARRAY_SIZE(buckets), 5);
    return 0;
}

static unsigned take_all(u64 key, u64 now)
{
    unsigned n = 0;

    while (n < 1000 && vfr_rates_take(&rates, &hundred, key, 1, now))
        n++;
    return n;
}

static void test_rate(void **state)
{
    u64 key = vfr_rates_key(&rates, 1, 2, 3), now = SECOND;
    unsigned taken = take_all(key, now);

    assert_int_equal(taken, 10);
    for (unsigned i = 1; i <= 1000; i++)
        taken += take_all(key, now + i * (SECOND / 500));
    assert_int_equal(taken, 10 + 200);
    assert_int_equal(take_all(key, now + 60 * SECOND), 10);
}

/* An older moment than the last, as another CPU's clock may tell: no more than was left. */
static void test_time_goes_back(void **state)
{
    u64 key = vfr_rates_key(&rates, 1, 2, 3);

    assert_int_equal(take_all(key, 5 * SECOND), 10);
    assert_int_equal(take_all(key, 4 * SECOND), 0);
}

static void test_asking_takes_nothing(void **state)
{
    u64 key = vfr_rates_key(&rates, 1, 2, 3);

    for (unsigned i = 0; i < 100; i++)
        assert_true(vfr_rates_would(&rates, &hundred, key, 0, SECOND));
    for (unsigned i = 0; i < ARRAY_SIZE(buckets); i++)
        assert_int_equal(buckets[i].key, 0);
    take_all(key, SECOND);
    assert_false(vfr_rates_would(&rates, &hundred, key, 0, SECOND));
}

static void test_own_buckets(void **state)
{
    assert_int_equal(take_all(vfr_rates_key(&rates, 1, 2, 3), SECOND), 10);
    assert_int_equal(take_all(vfr_rates_key(&rates, 2, 2, 3), SECOND), 10);
    assert_int_equal(take_all(vfr_rates_key(&rates, 1, 3, 3), SECOND), 10);
    assert_int_equal(take_all(vfr_rates_key(&rates, 1, 2, 3), SECOND), 0);
}

/* The emptiest bucket stays, however many others come. */
static void test_table_too_small(void **state)
{
    u64 key = vfr_rates_key(&rates, 1, 2, 3);

    assert_int_equal(take_all(key, SECOND), 10);
    for (u64 i = 10; i < 1000; i++) {
        assert_true(vfr_rates_take(&rates, &hundred, vfr_rates_key(&rates, 1, 2, i), 1,
                                   SECOND + i * 1000));
    }
    assert_int_equal(take_all(key, SECOND + 1000), 0);
}

/* Whatever a packet's size and a rate's cost: the clock is not left behind by more than that. */
static void test_extremes(void **state)
{
    struct vfr_rate r = {.id = 1, .cost = VFR_RATE_COST_MAX, .depth = VFR_RATE_DEPTH_MAX};

    assert_true(vfr_rates_take(&rates, &r, 1, ~0u, SECOND));
    assert_false(vfr_rates_take(&rates, &r, 1, 1, SECOND));
    assert_true(vfr_rates_take(&rates, &r, 1, 1, SECOND + (1UL << 46)));
}

int main(void)
{
#define T(f) cmocka_unit_test_setup(f, start)
    const struct CMUnitTest tests[] = {
        T(test_rate),        T(test_time_goes_back),  T(test_asking_takes_nothing),
        T(test_own_buckets), T(test_table_too_small), T(test_extremes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
