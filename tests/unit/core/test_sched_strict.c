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

static void pin(struct world_unit *x, u64 cpus)
{
    cpuset_t kick = CPUSET_NONE, all = cpuset_first(w.t.nr_cpus);

    assert_int_equal(sched_set_affinity(&w.s, &x->u, (cpuset_t){cpus}, all, w.now, &kick), 0);
    w.kicked = cpuset_or(w.kicked, kick);
    world_check(&w);
}

/*
 * CPU 0 wants its core for domain 1, whose unit runs beside it already: what it waits for is only
 * that the old one is saved. By then nobody is left who wants CPU 0, but in another queue.
 */
static void a_change_ends_when_the_new_domain_has_the_core(void **state)
{
    static const u64 where[] = {BIT(1),          BIT(0),          BIT(1),
                                BIT(2) | BIT(3), BIT(2) | BIT(3), BIT(2) | BIT(3)};
    struct sched_unit *old = &w.unit[0][0].u, *far = NULL;
    cpuset_t kick = CPUSET_NONE;
    unsigned i;

    world_init(&w, 2, 1, 2);
    w.idle_ok = true;
    world_domain(&w, 1);
    world_domain(&w, 6);
    WORLD_SET(&w, 0, gang, GANG_STRICT);
    WORLD_SET(&w, 1, gang, GANG_STRICT);
    pin(&w.unit[0][0], BIT(1));
    for (i = 0; i < 6; i++)
        pin(&w.unit[1][i], where[i]);
    world_wake(&w, &w.unit[0][0]);
    for (i = 3; i < 6; i++)
        world_wake(&w, &w.unit[1][i]);
    world_kicks(&w);
    w.now += 5 * MS;
    w.save_later = true;
    for (i = 0; i < 3; i++)
        world_wake(&w, &w.unit[1][i]);
    sched_block(&w.s, old);
    world_pick(&w, 1);
    assert_ptr_equal(w.s.cpu[1].current->dom, &w.dom[1]);
    world_pick(&w, 0);
    assert_null(w.s.cpu[0].current);
    sched_offline(&w.s, &w.unit[1][1].u, w.now, &kick);
    sched_saved(&w.s, old, w.now, &kick);
    for (i = 3; i < 6; i++) {
        if (w.unit[1][i].u.state == UNIT_READY) {
            pin(&w.unit[1][i], 0xf);
            far = &w.unit[1][i].u;
        }
    }
    world_pick(&w, 0);
    assert_non_null(far);
    assert_ptr_equal(w.s.cpu[0].current, far);
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

static void a_yield_works_beside_a_strict_domain(void **state)
{
    world_init(&w, 1, 1, 1);
    world_domain(&w, 3);
    world_domain(&w, 1);
    WORLD_SET(&w, 1, gang, GANG_STRICT);
    for (unsigned i = 0; i < 3; i++)
        world_wake(&w, &w.unit[0][i]);
    world_step(&w);
    world_yields(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_domains_never_meet),
        cmocka_unit_test(ordinary_domains_share_cores_beside_a_strict_one),
        cmocka_unit_test(lone_units_force_idling),
        cmocka_unit_test(nothing_starts_before_the_old_one_is_saved),
        cmocka_unit_test(a_change_ends_when_the_new_domain_has_the_core),
        cmocka_unit_test(strict_can_be_switched_while_running),
        cmocka_unit_test(a_yield_works_beside_a_strict_domain),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
