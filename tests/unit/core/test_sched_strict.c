/* Mode strict: two threads of a core never run two domains. */
#include "sched_world.h"

static struct world w;

static bool is_strict(const struct sched_unit *u)
{
    return u->dom->params.gang == GANG_STRICT;
}

/* Also what left a CPU and is not saved counts. */
static void apart(void)
{
    const struct sched_unit *on[CPUSET_MAX][2], *a, *b;
    unsigned cpu, i, k;

    for (cpu = 0; cpu < w.t.nr_cpus; cpu++) {
        on[cpu][0] = w.s.cpu[cpu].current;
        on[cpu][1] = w.s.cpu[cpu].leaving;
    }
    for (cpu = 0; cpu < w.t.nr_cpus; cpu += 2) {
        for (i = 0; i < 2; i++) {
            for (k = 0; k < 2; k++) {
                a = on[cpu][i];
                b = on[cpu + 1][k];
                if (!a || !b || a->dom == b->dom || (i && k))
                    continue;
                assert_false(is_strict(a) || is_strict(b));
            }
        }
    }
}

static void run_apart(ns_t until)
{
    while (w.now < until) {
        world_step(&w);
        apart();
        w.now = world_next(&w) > w.now ? world_next(&w) : w.now + US;
        if (w.now - until > 0)
            w.now = until;
    }
    world_run(&w, until);
}

static void two_domains_never_meet(void **state)
{
    world_init(&w, 2, 4, 1);
    w.idle_ok = true;
    world_domain(&w, 8);
    world_domain(&w, 8);
    WORLD_SET(&w, 0, gang, GANG_STRICT);
    WORLD_SET(&w, 1, gang, GANG_STRICT);
    world_wake_all(&w);
    world_step(&w);
    run_apart(1000 * MS);
    assert_true(world_got(&w, 0) >= 3500 * MS);
    assert_true(world_got(&w, 1) >= 3500 * MS);
}

static void ordinary_domains_share_cores_beside_a_strict_one(void **state)
{
    world_init(&w, 2, 2, 1);
    w.idle_ok = true;
    world_domain(&w, 3);
    world_domain(&w, 3);
    world_domain(&w, 3);
    WORLD_SET(&w, 0, gang, GANG_STRICT);
    world_sleepers(&w, 0, 900 * US, 700 * US);
    world_sleepers(&w, 1, 300 * US, 100 * US);
    world_wake_all(&w);
    world_step(&w);
    run_apart(1000 * MS);
    assert_true(world_got(&w, 0) >= 700 * MS);
    assert_true(world_got(&w, 1) >= 700 * MS);
    assert_true(world_got(&w, 2) >= 700 * MS);
}

/* One unit each: a thread of each core stays empty, and that is counted. */
static void lone_units_force_idling(void **state)
{
    unsigned d;

    world_init(&w, 2, 2, 1);
    w.idle_ok = true;
    for (d = 0; d < 4; d++) {
        world_domain(&w, 1);
        WORLD_SET(&w, d, gang, GANG_STRICT);
    }
    world_wake_all(&w);
    world_step(&w);
    run_apart(1000 * MS);
    for (d = 0; d < 4; d++) {
        world_share(&w, d, 500 * MS, 30 * MS);
        assert_true(w.dom[d].gang_stats.forced_idle >= 400 * MS);
    }
}

static void nothing_starts_before_the_old_one_is_saved(void **state)
{
    struct sched_unit *a, *b;
    cpuset_t kick = CPUSET_NONE;
    unsigned cpu;

    world_init(&w, 2, 1, 1);
    w.idle_ok = true;
    world_domain(&w, 1);
    world_domain(&w, 1);
    WORLD_SET(&w, 0, gang, GANG_STRICT);
    w.save_later = true;
    a = &w.unit[0][0].u;
    b = &w.unit[1][0].u;
    world_wake(&w, &w.unit[0][0]);
    world_kicks(&w);
    cpu = a->cpu;
    world_wake(&w, &w.unit[1][0]);
    world_pick(&w, cpu ^ 1);
    assert_null(w.s.cpu[cpu ^ 1].current);
    sched_block(&w.s, a);
    world_pick(&w, cpu);
    if (w.s.cpu[cpu].current == b)
        return; /* on the same thread it may run at once */
    world_pick(&w, cpu ^ 1);
    assert_null(w.s.cpu[cpu ^ 1].current);
    sched_saved(&w.s, a, w.now, &kick);
    w.kicked = cpuset_or(w.kicked, kick);
    world_kicks(&w);
    assert_int_equal(b->state, UNIT_RUNNING);
}

static void strict_can_be_switched_while_running(void **state)
{
    unsigned round;

    world_init(&w, 2, 2, 1);
    w.idle_ok = true;
    world_domain(&w, 4);
    world_domain(&w, 4);
    world_wake_all(&w);
    world_run(&w, 10 * MS);
    for (round = 0; round < 20; round++) {
        WORLD_SET(&w, round % 2, gang, round % 4 < 2 ? GANG_STRICT : GANG_OFF);
        world_step(&w);
        run_apart(w.now + 7 * MS);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_domains_never_meet),
        cmocka_unit_test(ordinary_domains_share_cores_beside_a_strict_one),
        cmocka_unit_test(lone_units_force_idling),
        cmocka_unit_test(nothing_starts_before_the_old_one_is_saved),
        cmocka_unit_test(strict_can_be_switched_while_running),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
