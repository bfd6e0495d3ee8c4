/* Caps and reservations. */
#include "sched_world.h"

static struct world w;

static void a_cap_holds_within_a_percent(void **state)
{
    static const u32 caps[] = {100000, 500000, 1500000, 3990000};
    unsigned i;

    for (i = 0; i < 4; i++) {
        world_init(&w, 1, 4, 1);
        world_domain(&w, 4);
        WORLD_SET(&w, 0, cap_ppm, caps[i]);
        w.idle_ok = false; /* a parked unit is not READY */
        world_wake_all(&w);
        world_run(&w, 1000 * MS);
        world_share(&w, 0, (ns_t)caps[i] * 1000, (ns_t)caps[i] * 10);
    }
}

static void others_use_what_a_cap_leaves(void **state)
{
    world_init(&w, 1, 2, 2);
    world_domain(&w, 4);
    world_domain(&w, 4);
    WORLD_SET(&w, 0, cap_ppm, 400000);
    world_wake_all(&w);
    world_run(&w, 1000 * MS);
    world_share(&w, 0, 400 * MS, 4 * MS);
    world_share(&w, 1, 3600 * MS, 40 * MS);
}

static void a_cap_comes_and_goes_while_running(void **state)
{
    world_init(&w, 1, 2, 1);
    world_domain(&w, 2);
    world_wake_all(&w);
    world_run(&w, 503 * MS);
    WORLD_SET(&w, 0, cap_ppm, 200000);
    world_run(&w, 1003 * MS);
    world_share(&w, 0, 1006 * MS + 100 * MS, 6 * MS);
    WORLD_SET(&w, 0, cap_ppm, 0); /* also for units that are parked */
    world_run(&w, 1503 * MS);
    world_share(&w, 0, 1006 * MS + 100 * MS + 1000 * MS, 6 * MS);
}

/* Setting other parameters again and again does not refill the budget. */
static void a_cap_is_not_refilled_by_knobs(void **state)
{
    world_init(&w, 1, 1, 1);
    world_domain(&w, 1);
    WORLD_SET(&w, 0, cap_ppm, 100000);
    world_wake_all(&w);
    while (w.now < 500 * MS) {
        world_run(&w, w.now + 300 * US);
        WORLD_SET(&w, 0, weight, 100 + (u32)(w.now / MS));
    }
    world_share(&w, 0, 50 * MS, 2 * MS);
}

static void parked_units_can_go_off(void **state)
{
    cpuset_t kick = CPUSET_NONE;
    unsigned i;

    world_init(&w, 1, 2, 1);
    world_domain(&w, 3);
    WORLD_SET(&w, 0, cap_ppm, 100000);
    world_wake_all(&w);
    world_run(&w, 5 * MS);
    for (i = 0; i < 3; i++) {
        assert_int_equal(w.unit[0][i].u.state, UNIT_PARKED);
        world_wake(&w, &w.unit[0][i]); /* no effect */
        sched_offline(&w.s, &w.unit[0][i].u, w.now, &kick);
        world_check(&w);
    }
    assert_int_equal(w.dom[0].n_active, 0);
    world_run(&w, 50 * MS);
}

/* Small weight, but half a CPU for sure. */
static void a_reservation_is_kept(void **state)
{
    world_init(&w, 1, 2, 1);
    world_domain(&w, 1);
    world_domain(&w, 8);
    WORLD_SET(&w, 0, weight, 10);
    WORLD_SET(&w, 1, weight, 1000);
    WORLD_SET(&w, 0, reservation_ppm, 500000);
    world_wake_all(&w);
    world_run(&w, 1000 * MS);
    assert_true(world_got(&w, 0) >= 495 * MS);
    assert_true(world_got(&w, 0) <= 540 * MS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_cap_holds_within_a_percent),
        cmocka_unit_test(others_use_what_a_cap_leaves),
        cmocka_unit_test(a_cap_comes_and_goes_while_running),
        cmocka_unit_test(a_cap_is_not_refilled_by_knobs),
        cmocka_unit_test(parked_units_can_go_off),
        cmocka_unit_test(a_reservation_is_kept),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
