/* Parameters, affinity, pools, CPUs that come and go: what is refused, and what follows. */
#include "sched_world.h"

static struct world w;
static cpuset_t kick;

static struct sched_unit *unit(unsigned d, unsigned i)
{
    return &w.unit[d][i].u;
}

static void told(void)
{
    w.kicked = cpuset_or(w.kicked, kick);
    kick = CPUSET_NONE;
    world_check(&w);
    world_step(&w);
}

static void refused(const struct sched_params *p, int rc)
{
    struct sched_params before, after;

    sched_get_params(&w.dom[0], &before);
    kick = CPUSET_NONE;
    assert_int_equal(sched_set_params(&w.s, &w.dom[0], p, w.now, &kick), rc);
    sched_get_params(&w.dom[0], &after);
    assert_memory_equal(&before, &after, sizeof(before));
    assert_true(cpuset_empty(kick));
    world_check(&w);
}

#define REFUSED(field, value, rc)                                                              \
    do {                                                                                       \
        struct sched_params p_;                                                                \
        sched_get_params(&w.dom[0], &p_);                                                      \
        p_.field = (value);                                                                    \
        refused(&p_, rc);                                                                      \
    } while (0)

static void absurd_parameters_are_refused(void **state)
{
    world_init(&w, 1, 4, 1);
    world_domain(&w, 2);
    world_domain(&w, 2);
    world_wake_all(&w);
    world_step(&w);
    REFUSED(weight, 0, -XEN_EINVAL);
    REFUSED(weight, SCHED_WEIGHT_MAX + 1, -XEN_EINVAL);
    REFUSED(cap_ppm, 4000001, -XEN_EINVAL);
    REFUSED(cap_ppm, ~0U, -XEN_EINVAL);
    REFUSED(gang, GANG_STRICT + 1, -XEN_EINVAL);
    REFUSED(gang, (enum sched_gang) - 1, -XEN_EINVAL);
    REFUSED(latency, LATENCY_BATCH + 1, -XEN_EINVAL);
    REFUSED(reservation_ppm, 3600001, -XEN_ENOSPC);
    REFUSED(reservation_ppm, ~0U, -XEN_ENOSPC);
    WORLD_SET(&w, 1, reservation_ppm, 2000000);
    REFUSED(reservation_ppm, 1600001, -XEN_ENOSPC);
    WORLD_SET(&w, 0, reservation_ppm, 1600000);
    WORLD_SET(&w, 0, weight, SCHED_WEIGHT_MAX);
    WORLD_SET(&w, 0, weight, 1);
    WORLD_SET(&w, 0, cap_ppm, 4000000);
    world_run(&w, 100 * MS);
}

static void affinity_to_nowhere_is_refused(void **state)
{
    cpuset_t all = cpuset_first(64);

    world_init(&w, 1, 4, 1);
    world_domain(&w, 2);
    assert_int_equal(sched_set_affinity(&w.s, unit(0, 0), CPUSET_NONE, all, w.now, &kick),
                     -XEN_EINVAL);
    assert_int_equal(sched_set_affinity(&w.s, unit(0, 0), cpuset_of(4), all, w.now, &kick),
                     -XEN_EINVAL);
    assert_int_equal(sched_cpu_offline(&w.s, 3, w.now, &kick), 0);
    assert_int_equal(sched_set_affinity(&w.s, unit(0, 0), cpuset_of(3), all, w.now, &kick),
                     -XEN_EINVAL);
    assert_int_equal(unit(0, 0)->hard.bits, ~0UL);
    assert_int_equal(unit(0, 0)->allowed.bits, 7);
}

/* In any state it goes where it may be, across caches too. */
static void affinity_moves_units(void **state)
{
    unsigned i, cpu;

    world_init(&w, 1, 2, 2);
    world_domain(&w, 8);
    for (i = 0; i < 7; i++)
        world_wake(&w, &w.unit[0][i]);
    world_run(&w, 10 * MS);
    for (i = 0; i < 8; i++) {
        cpu = (unit(0, i)->cpu + 2) % 4;
        assert_int_equal(
            sched_set_affinity(&w.s, unit(0, i), cpuset_of(cpu), cpuset_of(cpu), w.now, &kick),
            0);
        told();
        world_run(&w, w.now + 300 * MS);
        assert_int_equal(unit(0, i)->allowed.bits, BIT(cpu));
        assert_int_equal(unit(0, i)->cluster, sched_cluster_of(&w.s, cpu));
        if (i < 7)
            assert_int_equal(unit(0, i)->cpu, cpu);
    }
}

static void cpus_leave_and_return(void **state)
{
    unsigned cpu;

    world_init(&w, 2, 2, 2);
    world_domain(&w, 12);
    world_wake_all(&w);
    world_run(&w, 10 * MS);
    assert_int_equal(sched_cpu_offline(&w.s, 8, w.now, &kick), -XEN_EINVAL);
    assert_int_equal(sched_cpu_online(&w.s, 0, w.now, &kick), -XEN_EINVAL);
    for (cpu = 0; cpu < 7; cpu++) {
        assert_int_equal(sched_cpu_offline(&w.s, cpu, w.now, &kick), 0);
        assert_true(cpuset_has(kick, cpu));
        assert_int_equal(sched_cpu_offline(&w.s, cpu, w.now, &kick), -XEN_EINVAL);
        told();
        assert_null(w.s.cpu[cpu].current);
        world_run(&w, w.now + 10 * MS);
    }
    assert_int_equal(sched_cpu_offline(&w.s, 7, w.now, &kick), -XEN_EBUSY);
    assert_non_null(w.s.cpu[7].current);
    for (cpu = 0; cpu < 7; cpu++) {
        assert_int_equal(sched_cpu_online(&w.s, cpu, w.now, &kick), 0);
        told();
        assert_non_null(w.s.cpu[cpu].current);
    }
    world_run(&w, w.now + 10 * MS);
}

/* Affinity to CPUs that are all offline does not stop a unit. */
static void a_pinned_unit_survives_its_cpu(void **state)
{
    world_init(&w, 1, 2, 1);
    world_domain(&w, 1);
    assert_int_equal(
        sched_set_affinity(&w.s, unit(0, 0), cpuset_of(1), cpuset_of(1), w.now, &kick), 0);
    world_wake_all(&w);
    world_run(&w, 1 * MS);
    assert_int_equal(unit(0, 0)->cpu, 1);
    assert_int_equal(sched_cpu_offline(&w.s, 1, w.now, &kick), 0);
    told();
    assert_int_equal(unit(0, 0)->cpu, 0);
    assert_int_equal(sched_cpu_online(&w.s, 1, w.now, &kick), 0);
    told();
    assert_int_equal(unit(0, 0)->cpu, 1);
}

static void pools_dedicate_cpus(void **state)
{
    unsigned i;

    world_init(&w, 1, 4, 2);
    world_domain(&w, 8);
    world_domain(&w, 2);
    world_wake_all(&w);
    assert_int_equal(sched_domain_move(&w.s, &w.dom[1], 1, w.now, &kick), -XEN_EINVAL);
    assert_int_equal(sched_domain_move(&w.s, &w.dom[1], SCHED_POOLS, w.now, &kick),
                     -XEN_EINVAL);
    assert_int_equal(sched_pool_set_cpus(&w.s, SCHED_POOLS, cpuset_of(1), w.now, &kick),
                     -XEN_EINVAL);
    assert_int_equal(sched_pool_set_cpus(&w.s, 1, cpuset_of(8), w.now, &kick), -XEN_EINVAL);
    assert_int_equal(sched_pool_set_cpus(&w.s, 1, cpuset_first(8), w.now, &kick), -XEN_EBUSY);
    assert_int_equal(sched_pool_set_cpus(&w.s, 1, (cpuset_t){0x22}, w.now, &kick), 0);
    told();
    assert_int_equal(sched_domain_move(&w.s, &w.dom[1], 1, w.now, &kick), 0);
    told();
    world_run(&w, w.now + 20 * MS);
    for (i = 0; i < 2; i++)
        assert_true(cpuset_has((cpuset_t){0x22}, unit(1, i)->cpu));
    for (i = 0; i < 8; i++)
        assert_false(cpuset_has((cpuset_t){0x22}, unit(0, i)->cpu));
    assert_int_equal(sched_pool_set_cpus(&w.s, 1, CPUSET_NONE, w.now, &kick), -XEN_EBUSY);
    assert_int_equal(
        sched_set_affinity(&w.s, unit(1, 0), cpuset_of(0), cpuset_of(0), w.now, &kick),
        -XEN_EINVAL);
    /* A CPU of no pool is of no use. */
    assert_int_equal(sched_pool_set_cpus(&w.s, 1, cpuset_of(1), w.now, &kick), 0);
    told();
    assert_null(w.s.cpu[5].current);
    assert_int_equal(sched_domain_move(&w.s, &w.dom[1], 0, w.now, &kick), 0);
    told();
    assert_int_equal(sched_pool_set_cpus(&w.s, 1, CPUSET_NONE, w.now, &kick), 0);
    assert_int_equal(sched_pool_set_cpus(&w.s, 0, cpuset_first(8), w.now, &kick), 0);
    told();
    world_run(&w, w.now + 20 * MS);
}

static void clusters_never_split_a_core(void **state)
{
    unsigned cpu;

    world_init(&w, 2, 12, 1);
    assert_int_equal(w.s.nr_clusters, 2);
    for (cpu = 0; cpu < 24; cpu += 2)
        assert_int_equal(sched_cluster_of(&w.s, cpu), sched_cluster_of(&w.s, cpu + 1));
    assert_int_equal(sched_cluster_of(&w.s, 15), 0);
    assert_int_equal(sched_cluster_of(&w.s, 16), 1);
}

/* All domains are given what they have, again and again: the CPUs come to rest as before. */
static void what_changes_nothing_costs_a_kick(void **state)
{
    static const enum sched_gang modes[] = {GANG_OFF, GANG_ON, GANG_AUTO};
    unsigned long before, after;
    unsigned m, n, d;

    for (m = 0; m < ARRAY_SIZE(modes); m++) {
        world_init(&w, 1, 2, 3);
        for (d = 0; d < 4; d++) {
            world_domain(&w, 2);
            WORLD_SET(&w, d, weight, 64U << 2 * d);
            WORLD_SET(&w, d, gang, modes[m]);
        }
        world_wake_all(&w);
        world_run(&w, 1000 * MS);
        before = w.picks;
        world_run(&w, w.now + 1000 * MS);
        before = w.picks - before;
        for (n = 0; n < 10; n++) {
            for (d = 0; d < 4; d++)
                WORLD_SET(&w, d, weight, 64U << 2 * d);
            world_step(&w);
            assert_true(cpuset_empty(w.kicked));
        }
        after = w.picks;
        world_run(&w, w.now + 1000 * MS);
        assert_true(w.picks - after <= before + before / 10 + 20);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(absurd_parameters_are_refused),
        cmocka_unit_test(affinity_to_nowhere_is_refused),
        cmocka_unit_test(affinity_moves_units),
        cmocka_unit_test(cpus_leave_and_return),
        cmocka_unit_test(a_pinned_unit_survives_its_cpu),
        cmocka_unit_test(pools_dedicate_cpus),
        cmocka_unit_test(clusters_never_split_a_core),
        cmocka_unit_test(what_changes_nothing_costs_a_kick),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
