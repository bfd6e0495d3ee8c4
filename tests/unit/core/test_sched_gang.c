/* Gangs: who runs at the same time. */
#include "sched_world.h"

#define SLOT (8 * MS)

static struct world w;

static unsigned running(unsigned d)
{
    unsigned i, n = 0;

    for (i = 0; i < w.nr_units[d]; i++)
        n += w.unit[d][i].u.state == UNIT_RUNNING;
    return n;
}

/* Looks in the middle of each slot. */
static unsigned slots_together(unsigned d, unsigned slots)
{
    unsigned together = 0, i;

    world_run(&w, w.now / SLOT * SLOT + SLOT);
    for (i = 0; i < slots; i++) {
        world_run(&w, w.now + SLOT / 2);
        together += running(d) == w.nr_units[d];
        world_run(&w, w.now + SLOT - SLOT / 2);
    }
    return together;
}

static void two_wide_gangs_take_turns(void **state)
{
    world_init(&w, 1, 8, 1);
    world_domain(&w, 8);
    world_domain(&w, 8);
    WORLD_SET(&w, 0, gang, GANG_ON);
    WORLD_SET(&w, 1, gang, GANG_ON);
    world_wake_all(&w);
    world_run(&w, 20 * MS);
    assert_in_range(slots_together(0, 100), 49, 51);
    assert_in_range(slots_together(1, 100), 49, 51);
    world_share(&w, 0, world_got(&w, 1), 8 * SLOT);
    assert_true(w.dom[0].gang_stats.skew_max <= SLOT);
    assert_true(w.dom[0].gang_stats.windows >= 90);
}

/* 3 + 5 fit, 4 + 4 fit: nobody's members run alone. */
static void gangs_are_packed(void **state)
{
    static const unsigned sizes[] = {4, 4, 3, 5};
    unsigned d;

    world_init(&w, 1, 8, 1);
    for (d = 0; d < 4; d++) {
        world_domain(&w, sizes[d]);
        WORLD_SET(&w, d, weight, 100 * sizes[d]);
        WORLD_SET(&w, d, gang, GANG_ON);
    }
    world_wake_all(&w);
    world_run(&w, 20 * MS);
    for (d = 0; d < 4; d++)
        assert_in_range(slots_together(d, 40), 18, 22);
}

static void holes_are_filled(void **state)
{
    world_init(&w, 1, 4, 1);
    world_domain(&w, 3);
    world_domain(&w, 2);
    WORLD_SET(&w, 0, gang, GANG_ON);
    WORLD_SET(&w, 1, gang, GANG_ON);
    world_sleepers(&w, 0, 700 * US, 400 * US);
    world_wake_all(&w);
    world_run(&w, 500 * MS); /* checks that nobody waits beside an idle CPU */
}

static void a_gang_wider_than_the_machine_rotates(void **state)
{
    unsigned i;

    world_init(&w, 1, 2, 1);
    world_domain(&w, 5);
    world_domain(&w, 1);
    WORLD_SET(&w, 0, gang, GANG_ON);
    world_wake_all(&w);
    world_run(&w, 1000 * MS);
    world_share(&w, 0, 1000 * MS, 20 * MS);
    for (i = 0; i < 5; i++) {
        assert_true(w.unit[0][i].got >= 185 * MS);
        assert_true(w.unit[0][i].got <= 215 * MS);
    }
}

static void a_capped_gang_parks_as_one(void **state)
{
    unsigned i, n, look;

    world_init(&w, 1, 4, 1);
    world_domain(&w, 4);
    WORLD_SET(&w, 0, gang, GANG_ON);
    WORLD_SET(&w, 0, cap_ppm, 1000000);
    world_wake_all(&w);
    for (look = 0; look < 300; look++) {
        world_run(&w, w.now + 333 * US);
        for (i = n = 0; i < 4; i++)
            n += w.unit[0][i].u.state == UNIT_PARKED;
        assert_true(n == 0 || n == 4);
    }
}

static void auto_watches_for_evidence(void **state)
{
    unsigned i, k;

    world_init(&w, 1, 4, 1);
    world_domain(&w, 4);
    world_domain(&w, 4);
    WORLD_SET(&w, 0, gang, GANG_AUTO);
    world_sleepers(&w, 0, 2500 * US, 100 * US);
    world_wake_all(&w);
    world_run(&w, 400 * MS);
    assert_false(w.dom[0].gang_active);
    for (i = 0; i < 400; i++) { /* wakes siblings, spins and polls */
        for (k = 0; k < 100; k++)
            sched_note_ipi(&w.unit[0][1 + k % 3].u);
        for (k = 0; k < 4; k++)
            sched_yield(&w.s, &w.unit[0][k].u, NULL, w.now);
        world_run(&w, w.now + 1 * MS);
    }
    assert_true(w.dom[0].gang_active);
    world_run(&w, w.now + 3000 * MS);
    assert_false(w.dom[0].gang_active);
}

/* Who never sleeps may be spinning at a barrier. */
static void auto_takes_spinners_for_a_gang(void **state)
{
    world_init(&w, 1, 4, 1);
    world_domain(&w, 4);
    world_domain(&w, 4);
    WORLD_SET(&w, 0, gang, GANG_AUTO);
    world_wake_all(&w);
    world_run(&w, 300 * MS);
    assert_true(w.dom[0].gang_active);
    WORLD_SET(&w, 0, gang, GANG_OFF);
    assert_false(w.dom[0].gang_active);
    world_run(&w, 400 * MS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_wide_gangs_take_turns),
        cmocka_unit_test(gangs_are_packed),
        cmocka_unit_test(holes_are_filled),
        cmocka_unit_test(a_gang_wider_than_the_machine_rotates),
        cmocka_unit_test(a_capped_gang_parks_as_one),
        cmocka_unit_test(auto_watches_for_evidence),
        cmocka_unit_test(auto_takes_spinners_for_a_gang),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
