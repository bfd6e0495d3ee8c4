/* The instruction about memory: its states, what a hostile domain can and cannot make of it. */
#include "core/memtarget.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define MS      1000000L
#define MACHINE 100000
#define CAPS    4000000

static const struct memtarget_order plain = {.pages = 1000, .within = 5 * MS};

static int check_order(u64 pages, u64 within, u32 otherwise, u32 cap)
{
    const struct memtarget_order o = {pages, within, otherwise, cap};

    return memtarget_check_order(&o, MACHINE, CAPS);
}

static void orders(void **state)
{
    assert_int_equal(check_order(1, MS, OTHERWISE_NONE, 0), 0);
    assert_int_equal(check_order(MACHINE, MEMTARGET_WITHIN_MAX, OTHERWISE_DESTROY, 0), 0);
    assert_int_equal(check_order(1, MS, OTHERWISE_CAP, 1), 0);
    assert_int_equal(check_order(1, MS, OTHERWISE_CAP, CAPS), 0);
    assert_int_equal(check_order(0, MS, 0, 0), -XEN_EINVAL);
    assert_int_equal(check_order(MACHINE + 1, MS, 0, 0), -XEN_EINVAL);
    assert_int_equal(check_order(~0UL, MS, 0, 0), -XEN_EINVAL);
    assert_int_equal(check_order(1, 0, 0, 0), -XEN_EINVAL);
    assert_int_equal(check_order(1, MS - 1, 0, 0), -XEN_EINVAL);
    assert_int_equal(check_order(1, MEMTARGET_WITHIN_MAX + 1, 0, 0), -XEN_EINVAL);
    assert_int_equal(check_order(1, ~0UL, 0, 0), -XEN_EINVAL);
    assert_int_equal(check_order(1, 1UL << 63, 0, 0), -XEN_EINVAL);
    assert_int_equal(check_order(1, MS, OTHERWISE_DESTROY + 1, 0), -XEN_EINVAL);
    assert_int_equal(check_order(1, MS, ~0U, 0), -XEN_EINVAL);
    assert_int_equal(check_order(1, MS, OTHERWISE_CAP, 0), -XEN_EINVAL);
    assert_int_equal(check_order(1, MS, OTHERWISE_CAP, CAPS + 1), -XEN_EINVAL);
    assert_int_equal(check_order(1, MS, OTHERWISE_NONE, 1), -XEN_EINVAL);
    assert_int_equal(check_order(1, MS, OTHERWISE_PAUSE, 5), -XEN_EINVAL);
}

/* One that nobody gave: everything is without effect. */
static void none(void **state)
{
    struct memtarget t = {0};

    assert_false(memtarget_is_open(&t));
    assert_false(memtarget_see(&t, 0));
    assert_false(memtarget_expire(&t, 1, INT64_MAX));
    assert_int_equal(t.state, MEMTARGET_NONE);
    assert_int_equal(memtarget_check(&t), 0);
}

static void in_time(void **state)
{
    struct memtarget t = {0};

    memtarget_set(&t, &plain, 3000, 7);
    assert_int_equal(t.state, MEMTARGET_PENDING);
    assert_int_equal(t.deadline, 7 + 5 * MS);
    assert_true(memtarget_is_open(&t));
    assert_false(memtarget_see(&t, 2000));
    assert_false(memtarget_see(&t, 2500));
    assert_int_equal(t.pages_lowest, 2000);
    assert_int_equal(t.pages_start, 3000);
    assert_false(memtarget_see(&t, 1001));
    assert_true(memtarget_see(&t, 1000));
    memtarget_comply(&t, 3000, 99);
    assert_int_equal(t.state, MEMTARGET_COMPLIED);
    assert_int_equal(t.complied, 99);
    assert_int_equal(t.max_before, 3000);
    assert_int_equal(memtarget_check(&t), 0);
    /* It is over: nothing that comes later changes it. */
    assert_false(memtarget_is_open(&t));
    assert_false(memtarget_see(&t, 10));
    assert_false(memtarget_expire(&t, 3000, t.deadline));
    assert_int_equal(t.pages_lowest, 1000);
}

static void at_once(void **state)
{
    struct memtarget t = {0};

    memtarget_set(&t, &plain, 500, 7);
    assert_true(memtarget_see(&t, 500));
    memtarget_comply(&t, 500, 8);
    assert_int_equal(memtarget_check(&t), 0);
}

static void too_late(void **state)
{
    struct memtarget_order o = plain;
    struct memtarget t = {0};

    o.otherwise = OTHERWISE_CAP;
    o.cap_ppm = 100000;
    memtarget_set(&t, &o, 3000, 0);
    assert_false(memtarget_expire(&t, 2000, t.deadline - 1));
    assert_int_equal(t.state, MEMTARGET_PENDING);
    assert_true(memtarget_expire(&t, 2000, t.deadline));
    assert_int_equal(t.state, MEMTARGET_MISSED);
    assert_int_equal(t.pages_deadline, 2000);
    memtarget_acted(&t, 250000, t.deadline + 3);
    assert_true(t.in_force);
    assert_int_equal(t.cap_before, 250000);
    assert_int_equal(memtarget_check(&t), 0);
    /* The consequence comes once. */
    assert_false(memtarget_expire(&t, 2000, t.deadline + 10));
    /* Better late than never. */
    assert_true(memtarget_is_open(&t));
    assert_true(memtarget_see(&t, 900));
    memtarget_lifted(&t);
    memtarget_comply(&t, 3000, t.deadline + 20);
    assert_int_equal(t.state, MEMTARGET_COMPLIED);
    assert_false(t.in_force);
    assert_int_equal(t.acted, t.deadline + 3);
    assert_int_equal(t.pages_deadline, 2000);
    assert_int_equal(memtarget_check(&t), 0);
}

static void without_consequence(void **state)
{
    struct memtarget t = {0};

    memtarget_set(&t, &plain, 3000, 0);
    assert_false(memtarget_expire(&t, 3000, t.deadline));
    assert_int_equal(t.state, MEMTARGET_MISSED);
    assert_int_equal(t.acted, 0);
    assert_int_equal(memtarget_check(&t), 0);
}

static void replaced_and_cancelled(void **state)
{
    struct memtarget_order o = plain;
    struct memtarget t = {0};

    o.otherwise = OTHERWISE_PAUSE;
    memtarget_set(&t, &o, 3000, 0);
    assert_true(memtarget_expire(&t, 3000, t.deadline));
    memtarget_acted(&t, 0, t.deadline);
    memtarget_lifted(&t);
    o.pages = 2000;
    memtarget_set(&t, &o, 3000, 50 * MS);
    assert_int_equal(t.state, MEMTARGET_PENDING);
    assert_int_equal(t.number, 2);
    assert_int_equal(t.acted, 0);
    assert_int_equal(t.pages_deadline, 0);
    assert_int_equal(memtarget_check(&t), 0);
    /* The old deadline has no meaning any more. */
    assert_false(memtarget_expire(&t, 3000, 50 * MS + 1));
    memtarget_cancel(&t);
    assert_int_equal(t.state, MEMTARGET_NONE);
    assert_int_equal(t.number, 2);
    assert_false(memtarget_expire(&t, 3000, INT64_MAX));
    assert_int_equal(memtarget_check(&t), 0);
}

/*
 * What a domain does to its pages, and the caller of the core to the domain's limit: gives and
 * takes at random, and the glue of guest/balloon.c in five lines.
 */
struct world {
    struct memtarget t;
    u64 pages, max;
    ns_t now;
};

static void look(struct world *w)
{
    if (memtarget_see(&w->t, w->pages)) {
        u64 before = w->max;

        w->max = MIN(w->max, w->t.pages);
        memtarget_comply(&w->t, before, w->now);
    }
}

static void oscillate(struct world *w, unsigned steps)
{
    while (steps--) {
        u64 n = (u64)rand() % 600;

        if (rand() & 1) {
            w->pages -= MIN(n, w->pages - 1);
            look(w);
        } else if (w->pages + n <= w->max) {
            w->pages += n;
        }
        if (memtarget_expire(&w->t, w->pages, ++w->now))
            memtarget_acted(&w->t, 0, w->now);
        assert_int_equal(memtarget_check(&w->t), 0);
        if (w->t.state == MEMTARGET_COMPLIED)
            assert_true(w->pages <= w->t.pages);
    }
}

/* It gives back what it must for a moment and takes it again: the moment counts for good. */
static void oscillation(void **state)
{
    unsigned ends[4] = {0};

    srand(4);
    for (unsigned run = 0; run < 2000; run++) {
        const struct memtarget_order o = {
            .pages = 800 + run, .within = MS, .otherwise = OTHERWISE_PAUSE};
        struct world w = {.pages = 3000, .max = 3000, .now = 1};

        memtarget_set(&w.t, &o, w.pages, w.now);
        oscillate(&w, 40);
        w.now += MS;
        oscillate(&w, run % 40);
        ends[w.t.state]++;
        if (w.t.state == MEMTARGET_COMPLIED)
            assert_true(w.max <= o.pages);
        else
            assert_true(w.max == 3000 && w.t.pages_lowest > o.pages);
    }
    assert_true(ends[MEMTARGET_COMPLIED] > 100 && ends[MEMTARGET_MISSED] > 100);
}

/* The check finds what it is there for. */
static void broken(void **state)
{
    struct memtarget t = {0}, good;

    memtarget_set(&t, &plain, 3000, 5);
    good = t;
    t.complied = 9;
    assert_int_equal(memtarget_check(&t), 1);
    t = good;
    t.max_before = 7;
    assert_int_equal(memtarget_check(&t), 1);
    t = good;
    t.in_force = true;
    assert_int_equal(memtarget_check(&t), 2);
    t = good;
    t.state = MEMTARGET_MISSED;
    t.acted = t.deadline - 1;
    assert_int_equal(memtarget_check(&t), 2);
    t = good;
    t.pages_lowest = 3001;
    assert_int_equal(memtarget_check(&t), 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(orders),
        cmocka_unit_test(none),
        cmocka_unit_test(in_time),
        cmocka_unit_test(at_once),
        cmocka_unit_test(too_late),
        cmocka_unit_test(without_consequence),
        cmocka_unit_test(replaced_and_cancelled),
        cmocka_unit_test(oscillation),
        cmocka_unit_test(broken),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
