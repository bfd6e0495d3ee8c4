/*
 * Sets of ranges against a map with one bit a number: small numbers and those at the very end, in
 * random requests, rangeset_check() after each.
 */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>

#include "core/rangeset.h"
#include "unit/random.h"

#define SPAN 200UL

struct world {
    struct range room[16];
    struct rangeset s;
    bool has[SPAN];
    u64 base; /* the number that has[0] stands for */
};

static void start(struct world *w, u32 max, u64 base)
{
    *w = (struct world){.s.max = max, .base = base};
    w->s.ranges = w->room;
}

static void require_same(const struct world *w)
{
    assert_true(rangeset_check(&w->s));
    for (u64 i = 0; i < SPAN; i++)
        assert_int_equal(rangeset_contains(&w->s, w->base + i, w->base + i), w->has[i]);
}

static u32 count_ranges(const struct world *w)
{
    u32 n = 0;

    for (u64 i = 0; i < SPAN; i++)
        n += w->has[i] && (!i || !w->has[i - 1]);
    return n;
}

static void step(struct world *w)
{
    u64 first = random_below(SPAN), last = first + random_below(MIN(SPAN - first, 40UL));
    struct world next = *w;
    bool add = random_below(2);
    int rc, want;

    for (u64 i = first; i <= last; i++)
        next.has[i] = add;
    want = count_ranges(&next) > w->s.max ? -XEN_ENOSPC : 0;
    rc = add ? rangeset_add(&w->s, w->base + first, w->base + last)
             : rangeset_remove(&w->s, w->base + first, w->base + last);
    assert_int_equal(rc, want);
    for (u64 i = 0; !rc && i < SPAN; i++)
        w->has[i] = next.has[i];
    require_same(w);
}

static void test_random(void **state)
{
    static const u64 bases[] = {0, 0x3f8, ~0UL - SPAN + 1};

    for (unsigned b = 0; b < ARRAY_SIZE(bases); b++) {
        for (u32 max = 1; max <= 16; max += 5) {
            struct world w;

            start(&w, max, bases[b]);
            for (unsigned n = 0; n < 4000; n++)
                step(&w);
        }
    }
}

static void test_contains_ranges(void **state)
{
    struct world w;

    start(&w, 4, 0);
    assert_int_equal(rangeset_add(&w.s, 10, 19), 0);
    assert_int_equal(rangeset_add(&w.s, 21, 30), 0);
    assert_int_equal(w.s.nr, 2);
    assert_true(rangeset_contains(&w.s, 10, 19));
    assert_true(rangeset_contains(&w.s, 12, 12));
    assert_false(rangeset_contains(&w.s, 9, 10));
    assert_false(rangeset_contains(&w.s, 19, 21));
    assert_false(rangeset_contains(&w.s, 20, 20));
    assert_false(rangeset_contains(&w.s, 15, 14));
    assert_int_equal(rangeset_add(&w.s, 20, 20), 0);
    assert_int_equal(w.s.nr, 1);
    assert_true(rangeset_contains(&w.s, 10, 30));
}

static void test_ends(void **state)
{
    struct world w;

    start(&w, 2, 0);
    assert_int_equal(rangeset_add(&w.s, 0, ~0UL), 0);
    assert_true(rangeset_contains(&w.s, 0, ~0UL));
    assert_int_equal(rangeset_remove(&w.s, 5, 5), 0);
    assert_int_equal(w.s.nr, 2);
    assert_int_equal(rangeset_remove(&w.s, 100, 200), -XEN_ENOSPC);
    assert_true(rangeset_contains(&w.s, 6, ~0UL));
    assert_int_equal(rangeset_remove(&w.s, 0, ~0UL), 0);
    assert_int_equal(w.s.nr, 0);
    assert_int_equal(rangeset_remove(&w.s, 0, ~0UL), 0);
}

static void test_backwards(void **state)
{
    struct world w;

    start(&w, 2, 0);
    assert_int_equal(rangeset_add(&w.s, 5, 4), -XEN_EINVAL);
    assert_int_equal(rangeset_remove(&w.s, 5, 4), -XEN_EINVAL);
    assert_int_equal(w.s.nr, 0);
}

/* Before there is room for any. */
static void test_no_room(void **state)
{
    struct rangeset s = {0};

    assert_int_equal(rangeset_add(&s, 1, 2), -XEN_ENOSPC);
    assert_int_equal(rangeset_remove(&s, 1, 2), 0);
    assert_false(rangeset_contains(&s, 1, 1));
    assert_true(rangeset_check(&s));
}

/* The check itself notices each way in which a set can be wrong. */
static void test_check(void **state)
{
    static const struct range bad[][2] = {
        {{5, 4}, {9, 9}},   /* backwards */
        {{5, 6}, {7, 9}},   /* touching */
        {{5, 8}, {7, 9}},   /* overlapping */
        {{10, 12}, {1, 2}}, /* out of order */
    };
    struct world w;

    for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
        start(&w, 2, 0);
        w.room[0] = bad[i][0];
        w.room[1] = bad[i][1];
        w.s.nr = 2;
        assert_false(rangeset_check(&w.s));
    }
    start(&w, 2, 0);
    w.s.nr = 3;
    assert_false(rangeset_check(&w.s));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random),  cmocka_unit_test(test_contains_ranges),
        cmocka_unit_test(test_ends),    cmocka_unit_test(test_backwards),
        cmocka_unit_test(test_no_room), cmocka_unit_test(test_check),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
