#include "sched_world.h"

static struct world w;

static void wake_all(void)
{
    unsigned d, i;

    for (d = 0; d < w.nr_domains; d++) {
        for (i = 0; i < w.nr_units[d]; i++)
            world_wake(&w, &w.unit[d][i]);
    }
}

static void set_weight(struct sched_domain *d, u32 weight)
{
    struct sched_params p;
    cpuset_t kick = CPUSET_NONE;

    sched_get_params(d, &p);
    p.weight = weight;
    assert_int_equal(sched_set_params(&w.s, d, &p, w.now, &kick), 0);
    w.kicked = cpuset_or(w.kicked, kick);
}

static void assert_share(unsigned d, ns_t expect, ns_t tolerance)
{
    ns_t got = world_got(&w, d);

    if (got < expect - tolerance || got > expect + tolerance)
        fail_msg("domain %u got %ld us, expected %ld +- %ld", d, got / US, expect / US,
                 tolerance / US);
}

static void hogs_share_by_weight(void **state)
{
    unsigned d;

    world_init(&w, 1, 4, 1);
    for (d = 0; d < 4; d++)
        set_weight(world_domain(&w, 4), 100 * (d + 1));
    wake_all();
    world_run(&w, 1000 * MS);
    for (d = 0; d < 4; d++)
        assert_share(d, 400 * MS * (d + 1), 2 * MS * (d + 1));
    print_message("switches per CPU-second %lu\n", w.switches / 4);
}

static void infeasible_weights_are_clamped(void **state)
{
    world_init(&w, 1, 2, 1);
    set_weight(world_domain(&w, 1), 60000);
    set_weight(world_domain(&w, 1), 10);
    set_weight(world_domain(&w, 1), 10);
    wake_all();
    world_run(&w, 1000 * MS);
    assert_share(0, 1000 * MS, 5 * MS);
    assert_share(1, 500 * MS, 5 * MS);
}

static void a_lone_domain_needs_no_timer(void **state)
{
    unsigned i;

    world_init(&w, 1, 4, 1);
    world_domain(&w, 4);
    for (i = 0; i < 4; i++) {
        w.unit[0][i].burst = 300 * US + i * 7 * US;
        w.unit[0][i].sleep = 200 * US;
    }
    wake_all();
    world_run(&w, 1000 * MS);
    for (i = 0; i < 4; i++)
        assert_true(w.unit[0][i].got >= 595 * MS);
    assert_true(w.picks <= 16010);
    assert_true(w.kicks <= 8010);
}

static void mixed_load_conserves_work(void **state)
{
    unsigned d, i, round;

    for (round = 0; round < 3; round++) {
        world_init(&w, 2, 2, 1 + round);
        for (d = 0; d < 6; d++) {
            world_domain(&w, 6);
            for (i = 0; i < 6; i++) {
                w.unit[d][i].burst = (ns_t)(50 * US + world_random(&w) % (900 * US));
                w.unit[d][i].sleep = d == 0 ? 0 : (ns_t)(world_random(&w) % (2 * MS)) + 1;
            }
        }
        for (i = 0; i < 6; i++)
            w.unit[0][i].burst = 0;
        wake_all();
        world_run(&w, 500 * MS);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hogs_share_by_weight),
        cmocka_unit_test(infeasible_weights_are_clamped),
        cmocka_unit_test(a_lone_domain_needs_no_timer),
        cmocka_unit_test(mixed_load_conserves_work),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
