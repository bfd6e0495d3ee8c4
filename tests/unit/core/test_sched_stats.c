/* What operators see: times, counts, the trace. */
#include "sched_world.h"

#include "core/sched_trace.h"

static struct world w;

static void times_add_up(void **state)
{
    struct sched_stats st, sum = {0}, dom;
    struct sched_cpu_stats c;
    ns_t total, idle = 0;
    unsigned i, k;

    world_init(&w, 2, 2, 1);
    world_domain(&w, 6);
    world_sleepers(&w, 0, 400 * US, 500 * US);
    world_wake_all(&w);
    world_run(&w, 300 * MS);
    for (i = 0; i < 6; i++) {
        sched_unit_stats(&w.unit[0][i].u, w.now, &st);
        for (k = 0, total = 0; k < NR_UNIT_STATES; k++)
            total += st.time[k];
        assert_int_equal(total, 300 * MS);
        assert_int_equal(st.time[UNIT_RUNNING], w.unit[0][i].got);
        assert_true(st.time[UNIT_BLOCKED] > 0);
        sum.time[UNIT_RUNNING] += st.time[UNIT_RUNNING];
        sum.picks += st.picks;
    }
    sched_domain_stats(&w.dom[0], w.now, &dom);
    assert_int_equal(dom.time[UNIT_RUNNING], sum.time[UNIT_RUNNING]);
    assert_int_equal(dom.picks, sum.picks);
    for (i = 0; i < 4; i++) {
        sched_cpu_stats(&w.s, i, w.now, &c);
        assert_true(c.picks > 0);
        idle += c.idle;
    }
    assert_int_equal(idle + dom.time[UNIT_RUNNING], 4 * 300 * MS);
}

static void latencies_and_migrations_are_counted(void **state)
{
    struct sched_stats st;
    unsigned k;
    u64 wakes = 0, moves = 0;

    world_init(&w, 1, 2, 2);
    world_domain(&w, 9);
    world_sleepers(&w, 0, 300 * US, 50 * US);
    world_wake_all(&w);
    world_run(&w, 300 * MS);
    sched_domain_stats(&w.dom[0], w.now, &st);
    for (k = 0; k < SCHED_LATENCIES; k++)
        wakes += st.latency[k];
    for (k = 0; k < NR_DISTANCES; k++)
        moves += st.migrations[k];
    assert_true(wakes > 1000 && wakes <= st.picks);
    assert_true(moves > 0 && moves <= st.picks);
    assert_int_equal(st.migrations[DIST_SELF], 0);
    assert_int_equal(st.migrations[DIST_FAR], 0);
}

static void the_trace_is_a_ring(void **state)
{
    static struct sched_trace ring[64];
    unsigned i, picks = 0;
    ns_t last = 0;

    world_init(&w, 1, 2, 1);
    assert_int_equal(sched_trace_to(&w.s, ring, 63), -XEN_EINVAL);
    assert_int_equal(sched_trace_to(&w.s, NULL, 64), -XEN_EINVAL);
    assert_int_equal(sched_trace_to(&w.s, ring, 64), 0);
    assert_int_equal(sizeof(ring[0]), 32);
    world_domain(&w, 3);
    assert_int_equal(ring[0].kind, TRACE_DOMAIN);
    assert_int_equal(ring[1].kind, TRACE_UNIT);
    assert_int_equal(ring[2].kind, TRACE_ONLINE);
    world_wake_all(&w);
    world_run(&w, 200 * MS);
    assert_true(w.s.ring_next > 64);
    for (i = 0; i < 64; i++) {
        struct sched_trace *t = &ring[(w.s.ring_next + i) % 64];

        assert_true(t->time >= last);
        last = t->time;
        picks += t->kind == TRACE_PICK;
        assert_true(t->kind <= TRACE_UNIT && t->dom == 0 && t->unit < 3);
    }
    assert_true(picks > 20);
    assert_int_equal(sched_trace_to(&w.s, NULL, 0), 0);
    memset(ring, 0, sizeof(ring));
    world_run(&w, 300 * MS);
    assert_int_equal(ring[5].kind, TRACE_NONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(times_add_up),
        cmocka_unit_test(latencies_and_migrations_are_counted),
        cmocka_unit_test(the_trace_is_a_ring),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
