/* Shares, wake-ups, what runs where. */
#include "core/sched_queue.h"
#include "sched_world.h"

static struct world w;

static struct sched_unit *unit(unsigned d, unsigned i)
{
    return &w.unit[d][i].u;
}

static cpuset_t wake(struct sched_unit *u, enum sched_wake why)
{
    cpuset_t kick = CPUSET_NONE;

    sched_wake(&w.s, u, w.now, why, &kick);
    world_check(&w);
    w.kicked = cpuset_or(w.kicked, kick);
    return kick;
}

static void hogs_share_by_weight(void **state)
{
    unsigned d;

    world_init(&w, 1, 4, 1);
    for (d = 0; d < 4; d++) {
        world_domain(&w, 4);
        WORLD_SET(&w, d, weight, 100 * (d + 1));
    }
    world_wake_all(&w);
    world_run(&w, 1000 * MS);
    for (d = 0; d < 4; d++)
        world_share(&w, d, 400 * MS * (d + 1), 2 * MS * (d + 1));
    assert_true(w.switches / 4 <= 500);
}

/* A domain's weight does not depend on how many of its units are awake. */
static void weight_is_the_domains(void **state)
{
    world_init(&w, 1, 2, 1);
    world_domain(&w, 2);
    world_domain(&w, 8);
    world_wake_all(&w);
    world_run(&w, 1000 * MS);
    world_share(&w, 0, 1000 * MS, 5 * MS);
    world_share(&w, 1, 1000 * MS, 5 * MS);
}

static void infeasible_weights_are_clamped(void **state)
{
    world_init(&w, 1, 2, 1);
    world_domain(&w, 1);
    world_domain(&w, 1);
    world_domain(&w, 1);
    WORLD_SET(&w, 0, weight, 60000);
    WORLD_SET(&w, 1, weight, 10);
    WORLD_SET(&w, 2, weight, 10);
    world_wake_all(&w);
    world_run(&w, 1000 * MS);
    world_share(&w, 0, 1000 * MS, 5 * MS);
    world_share(&w, 1, 500 * MS, 5 * MS);
}

static void new_weights_count_at_once(void **state)
{
    world_init(&w, 1, 2, 1);
    world_domain(&w, 2);
    world_domain(&w, 2);
    world_wake_all(&w);
    world_run(&w, 1000 * MS);
    WORLD_SET(&w, 0, weight, 768);
    world_run(&w, 2000 * MS);
    world_share(&w, 0, 2500 * MS, 10 * MS);
}

#define MONTH (30L * 24 * 3600 * 1000 * MS)

/* Who had CPUs to themselves owe nothing for that, and are owed nothing, when others come. */
static void what_nobody_wanted_is_forgotten(void **state)
{
    static const ns_t share[] = {857, 571, 571};
    ns_t before[2];
    unsigned d;

    world_init(&w, 1, 2, 1);
    for (d = 0; d < 3; d++)
        world_domain(&w, 1);
    WORLD_SET(&w, 0, weight, 384);
    world_wake(&w, &w.unit[0][0]);
    world_wake(&w, &w.unit[1][0]);
    world_run(&w, MONTH);
    before[0] = world_got(&w, 0);
    before[1] = world_got(&w, 1);
    world_wake(&w, &w.unit[2][0]);
    world_run(&w, MONTH + 1000 * MS);
    for (d = 0; d < 3; d++)
        world_share(&w, d, (d < 2 ? before[d] : 0) + share[d] * MS, 75 * MS);
}

/* Two that share a CPU because they must are not owed what others get on theirs. */
static void pinned_units_are_not_owed_the_rest(void **state)
{
    cpuset_t kick = CPUSET_NONE;
    unsigned i;
    ns_t before;

    world_init(&w, 1, 4, 1);
    world_domain(&w, 2);
    world_domain(&w, 4);
    for (i = 0; i < 2; i++)
        assert_int_equal(
            sched_set_affinity(&w.s, unit(0, i), cpuset_of(0), cpuset_of(0), 0, &kick), 0);
    for (i = 0; i < 4; i++)
        assert_int_equal(
            sched_set_affinity(&w.s, unit(1, i), (cpuset_t){14}, cpuset_first(64), 0, &kick),
            0);
    world_wake_all(&w);
    w.unit[1][3].burst = 1;
    world_run(&w, 5000 * MS);
    before = w.unit[1][0].got;
    w.unit[1][3].burst = 0;
    world_wake(&w, &w.unit[1][3]);
    world_run(&w, 6000 * MS);
    for (i = 0; i < 4; i++)
        assert_in_range(w.unit[1][i].got - (i < 3 ? before : 0), 725 * MS, 775 * MS);
}

static void a_lone_domain_needs_no_timer(void **state)
{
    unsigned i;

    world_init(&w, 1, 4, 1);
    world_domain(&w, 4);
    world_sleepers(&w, 0, 300 * US, 200 * US);
    world_wake_all(&w);
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
            for (i = 0; d && i < 6; i++) {
                w.unit[d][i].burst = (ns_t)(50 * US + world_random(&w) % (900 * US));
                w.unit[d][i].sleep = (ns_t)(world_random(&w) % (2 * MS)) + 1;
            }
        }
        world_wake_all(&w);
        world_run(&w, 500 * MS);
    }
}

/* ---- wake-ups --------------------------------------------------------------------------- */

static void a_wake_cancels_a_block(void **state)
{
    world_init(&w, 1, 1, 1);
    world_domain(&w, 1);
    world_wake_all(&w);
    world_step(&w);
    sched_block(&w.s, unit(0, 0));
    assert_true(cpuset_empty(wake(unit(0, 0), WAKE_EVENT)));
    world_pick(&w, 0);
    assert_ptr_equal(w.s.cpu[0].current, unit(0, 0));
    sched_block(&w.s, unit(0, 0));
    world_pick(&w, 0);
    assert_null(w.s.cpu[0].current);
    assert_int_equal(unit(0, 0)->state, UNIT_BLOCKED);
}

/* Woken before it is saved: the old CPU only, until then. */
static void the_unsaved_stay_where_they_are(void **state)
{
    cpuset_t kick = CPUSET_NONE;
    unsigned cpu;

    world_init(&w, 1, 2, 1);
    world_domain(&w, 2);
    world_wake(&w, &w.unit[0][0]);
    world_step(&w);
    cpu = unit(0, 0)->cpu;
    w.save_later = true;
    sched_block(&w.s, unit(0, 0));
    world_pick(&w, cpu);
    assert_int_equal(wake(unit(0, 0), WAKE_EVENT).bits, BIT(cpu));
    world_pick(&w, cpu ^ 1);
    assert_null(w.s.cpu[cpu ^ 1].current);
    world_pick(&w, cpu);
    assert_ptr_equal(w.s.cpu[cpu].current, unit(0, 0));

    /* Another one took its CPU: it goes elsewhere when it is saved. */
    sched_block(&w.s, unit(0, 0));
    assert_int_equal(
        sched_set_affinity(&w.s, unit(0, 1), cpuset_of(cpu), cpuset_of(cpu), w.now, &kick), 0);
    wake(unit(0, 1), WAKE_EVENT);
    world_pick(&w, cpu);
    assert_ptr_equal(w.s.cpu[cpu].current, unit(0, 1));
    w.kicked = CPUSET_NONE;
    assert_true(cpuset_empty(wake(unit(0, 0), WAKE_EVENT)));
    kick = CPUSET_NONE;
    sched_saved(&w.s, unit(0, 0), w.now, &kick);
    assert_int_equal(kick.bits, BIT(cpu ^ 1));
}

static void nobody_is_kicked_twice(void **state)
{
    world_init(&w, 1, 2, 1);
    world_domain(&w, 4);
    world_step(&w);
    assert_int_equal(cpuset_count(wake(unit(0, 0), WAKE_EVENT)), 1);
    assert_int_equal(cpuset_count(wake(unit(0, 1), WAKE_EVENT)), 1);
    assert_true(cpuset_empty(wake(unit(0, 2), WAKE_EVENT)));
    assert_int_equal(w.kicked.bits, 3);
    world_kicks(&w);
    world_conserves(&w);
}

static void whole_idle_cores_first(void **state)
{
    unsigned i;
    u64 cores = 0;

    world_init(&w, 2, 4, 1);
    world_domain(&w, 8);
    world_step(&w);
    for (i = 0; i < 8; i++) {
        world_wake(&w, &w.unit[0][i]);
        world_step(&w);
        if (i < 4)
            cores |= BIT(unit(0, i)->cpu / 2);
        assert_int_equal(unit(0, i)->state, UNIT_RUNNING);
    }
    assert_int_equal(cores, 0xf);
}

static void sleep_now(struct sched_unit *u)
{
    sched_block(&w.s, u);
    world_pick(&w, u->cpu);
    world_step(&w);
}

/* Beside a busy sibling only after a nap; after a longer sleep a whole core is better. */
static void naps_do_not_migrate(void **state)
{
    unsigned home;

    world_init(&w, 2, 2, 1);
    world_domain(&w, 4);
    world_step(&w);
    for (unsigned i = 0; i < 4; i++) {
        world_wake(&w, &w.unit[0][i]);
        world_step(&w);
    }
    home = unit(0, 0)->cpu;
    for (unsigned i = 1; i < 4; i++)
        if (unit(0, i)->cpu / 2 != home / 2)
            sleep_now(unit(0, i));
    w.now += 100000;
    sleep_now(unit(0, 0));
    w.now += 100000;
    assert_int_equal(wake(unit(0, 0), WAKE_EVENT).bits, BIT(home));
    world_step(&w);
    sleep_now(unit(0, 0));
    w.now += 5000000;
    assert_int_not_equal(wake(unit(0, 0), WAKE_EVENT).bits, BIT(home));
}

/* The last CPU if it is free; soft affinity; then the nearest other cache. */
static void placement_prefers_the_near(void **state)
{
    cpuset_t kick = CPUSET_NONE;
    unsigned i, near;

    world_init(&w, 1, 2, 4);
    world_domain(&w, 8);
    world_step(&w);
    assert_int_equal(wake(unit(0, 0), WAKE_EVENT).bits, BIT(unit(0, 0)->cpu));
    world_step(&w);
    near = unit(0, 0)->cpu;
    for (i = 1; i < 8; i++) { /* the rest of its cache is busy */
        if (unit(0, i)->cluster == unit(0, 0)->cluster)
            world_wake(&w, &w.unit[0][i]);
    }
    world_step(&w);
    assert_int_equal(
        sched_set_affinity(&w.s, unit(0, 2), cpuset_first(8), CPUSET_NONE, 0, &kick), 0);
    for (i = 1; i < 8 && unit(0, i)->state != UNIT_BLOCKED; i++)
        ;
    assert_int_equal(
        sched_set_affinity(&w.s, unit(0, i), cpuset_first(8), cpuset_of(7), 0, &kick), 0);
    kick = wake(unit(0, i), WAKE_EVENT);
    assert_int_equal(cpuset_count(kick), 1);
    assert_true(w.s.cpu[cpuset_lowest(kick)].cluster == unit(0, i)->cluster ||
                cpuset_lowest(kick) / 4 == near / 4);
}

static void idle_cpus_steal_from_the_nearest(void **state)
{
    unsigned i, cluster, there;

    world_init(&w, 1, 2, 4);
    world_domain(&w, 16);
    world_wake_all(&w);
    world_run(&w, 1 * MS);
    /* Four units wait, one for each cache; one cache runs dry. */
    for (i = 0; i < 16; i++) {
        if (unit(0, i)->cluster == 0)
            w.unit[0][i].burst = 1;
    }
    cluster = w.s.queue[w.s.queue[0].victims[0]].cluster;
    there = w.s.queue[w.s.queue[0].victims[0]].nr_ready;
    assert_int_equal(cluster, 1);
    world_run(&w, 2 * MS);
    assert_true(w.s.queue[w.s.queue[0].victims[0]].nr_ready < there);
    assert_true(w.s.cpu[0].stats.steals + w.s.cpu[1].stats.steals > 0);
}

static void the_stolen_keep_their_weight(void **state)
{
    unsigned i, waits = 0;

    world_init(&w, 1, 2, 2);
    world_domain(&w, 3);
    for (i = 0; i < 3; i++)
        assert_int_equal(
            sched_set_affinity(&w.s, unit(0, i), (cpuset_t){3}, cpuset_first(64), 0, &w.kicked),
            0);
    world_wake_all(&w);
    world_kicks(&w);
    while (unit(0, waits)->state != UNIT_READY)
        waits++;
    assert_int_equal(sched_set_affinity(&w.s, unit(0, waits), (cpuset_t){15}, cpuset_first(64),
                                        w.now, &w.kicked),
                     0);
    world_kicks(&w);
    assert_in_range(unit(0, waits)->cpu, 2, 3);
    assert_int_equal(unit(0, waits)->state, UNIT_RUNNING);
    assert_int_equal(unit(0, waits)->weight, (256 << 6) / 3);
}

/* Everybody was in one cache; nobody idles, but some get less than others. */
static void busy_queues_are_balanced(void **state)
{
    cpuset_t kick = CPUSET_NONE;
    unsigned d, i, there = 0;

    world_init(&w, 1, 2, 2);
    for (d = 0; d < 8; d++) {
        world_domain(&w, 1);
        i = d < 6 ? 3 : 12;
        assert_int_equal(
            sched_set_affinity(&w.s, unit(d, 0), (cpuset_t){i}, (cpuset_t){15}, 0, &kick), 0);
    }
    world_wake_all(&w);
    world_run(&w, 100 * MS);
    for (d = 0; d < 8; d++)
        assert_int_equal(
            sched_set_affinity(&w.s, unit(d, 0), (cpuset_t){15}, (cpuset_t){15}, w.now, &kick),
            0);
    w.kicked = cpuset_or(w.kicked, kick);
    world_run(&w, 1000 * MS);
    for (d = 0; d < 8; d++)
        there += unit(d, 0)->cluster == 0;
    assert_int_equal(there, 4);
    assert_true(w.unit[0][0].u.stats.migrations[DIST_NODE] <= 2);
}

static void latency_units_are_served_first(void **state)
{
    struct sched_stats st;
    unsigned i;
    u64 late = 0;

    world_init(&w, 1, 2, 1);
    world_domain(&w, 4);
    world_domain(&w, 1);
    WORLD_SET(&w, 1, latency, LATENCY_LOW);
    world_sleepers(&w, 1, 100 * US, 2300 * US);
    world_wake_all(&w);
    world_run(&w, 2000 * MS);
    sched_unit_stats(unit(1, 0), w.now, &st);
    for (i = 9; i < SCHED_LATENCIES; i++) /* 0.5 ms */
        late += st.latency[i];
    assert_true(st.picks > 800);
    assert_true(late * 100 <= st.picks);
}

/* ---- giving way ------------------------------------------------------------------------- */

/* Who waits and is sent something runs after a moment, and gets no more than before. */
static void events_hurry_those_who_wait(void **state)
{
    unsigned waits;
    ns_t t;

    world_init(&w, 1, 1, 1);
    world_domain(&w, 2);
    world_wake_all(&w);
    world_run(&w, 100 * MS);
    while (w.timer[0] - w.now < 2900 * US) /* a turn begins */
        world_run(&w, w.now + 50 * US);
    waits = w.s.cpu[0].current == unit(0, 0);
    wake(unit(0, waits), WAKE_EVENT);
    t = w.now;
    world_run(&w, t + 200 * US);
    assert_ptr_equal(w.s.cpu[0].current, unit(0, !waits));
    world_run(&w, t + 400 * US);
    assert_ptr_equal(w.s.cpu[0].current, unit(0, waits));
    w.unit[0][0].got = w.unit[0][1].got = 0;
    for (t += 1000 * MS; w.now < t; world_run(&w, w.now + 50 * US))
        wake(unit(0, 0), WAKE_EVENT);
    assert_in_range(w.unit[0][0].got, 498 * MS, 503 * MS);
    assert_true(w.switches < 2 * 2100);
}

static void trace_is_in_order(const struct sched_trace ring[64])
{
    ns_t last = 0;

    for (unsigned i = 0; i < 64; i++) {
        const struct sched_trace *t = &ring[(w.s.ring_next + i) % 64];

        if (!t->time) /* what carries no time */
            continue;
        assert_true(t->time >= last);
        last = t->time;
    }
}

/* An event just before the end of a turn is dealt with soon; one long before it has been already. */
static void events_hurry_those_who_have_to_leave(void **state)
{
    static const ns_t before_end[] = {100 * US, 400 * US};
    static struct sched_trace ring[64];
    struct sched_unit *u;
    unsigned i;
    ns_t t;

    world_init(&w, 1, 1, 1);
    world_domain(&w, 2);
    world_wake_all(&w);
    assert_int_equal(sched_trace_to(&w.s, ring, 64), 0);
    for (i = 0; i < ARRAY_SIZE(before_end); i++) {
        world_run(&w, w.now + 100 * MS);
        while (w.timer[0] - w.now < 2900 * US)
            world_run(&w, w.now + 50 * US);
        u = w.s.cpu[0].current;
        t = w.timer[0];
        world_run(&w, t - before_end[i]);
        sched_note_event(u, w.now);
        world_run(&w, t - before_end[i] / 2);
        WORLD_SET(&w, 0, weight, 300 + i); /* the trace hears of this in between */
        world_run(&w, t + 200 * US);
        assert_ptr_not_equal(w.s.cpu[0].current, u);
        world_run(&w, t + 400 * US);
        assert_int_equal(w.s.cpu[0].current == u, i == 0);
        trace_is_in_order(ring);
    }
}

/* What 64 bits hold is not exceeded where virtual time went on for long without a look. */
static void a_great_weight_joins_after_an_hour(void **state)
{
    s64 ahead;

    world_init(&w, 1, 2, 1);
    world_domain(&w, 1);
    world_domain(&w, 1);
    WORLD_SET(&w, 1, weight, SCHED_WEIGHT_MAX);
    world_wake(&w, &w.unit[0][0]);
    world_run(&w, 3600 * 1000 * MS);
    wake(unit(1, 0), WAKE_EVENT);
    world_step(&w);
    w.now += 1 * MS;
    ahead = (s64)(unit(1, 0)->vrt - queue_virtual_time(&w.s.queue[0], w.now));
    assert_in_range(ahead + 10 * MS, 0, 20 * MS);
}

static void a_yield_to_a_sibling_runs_it(void **state)
{
    struct sched_unit *cur;

    world_init(&w, 1, 1, 1);
    world_domain(&w, 3);
    world_wake_all(&w);
    world_step(&w);
    world_yields(&w);
    /* To somebody who sleeps: the same. */
    cur = w.s.cpu[0].current;
    sched_yield(&w.s, cur, cur, w.now);
    world_pick(&w, 0);
    assert_non_null(w.s.cpu[0].current);
}

/* Two units that hand the CPU to each other all the time get no more than their share. */
static void yielding_wins_nothing(void **state)
{
    struct sched_unit *cur;

    world_init(&w, 1, 1, 1);
    world_domain(&w, 2);
    world_domain(&w, 1);
    world_wake_all(&w);
    while (w.now < 300 * MS) {
        world_step(&w);
        cur = w.s.cpu[0].current;
        if (cur->dom == &w.dom[0])
            sched_yield(&w.s, cur, cur == unit(0, 0) ? unit(0, 1) : unit(0, 0), w.now);
        w.now += 20 * US;
        world_pick(&w, 0);
    }
    assert_true(w.unit[1][0].got >= 148 * MS);
}

static void who_was_handed_a_lock_runs_at_once(void **state)
{
    unsigned i;

    world_init(&w, 1, 1, 1);
    world_domain(&w, 1);
    world_domain(&w, 4);
    for (i = 0; i < 4; i++)
        world_wake(&w, &w.unit[1][i]);
    world_run(&w, 50 * MS);
    assert_true(cpuset_has(wake(unit(0, 0), WAKE_POLL), 0));
    world_kicks(&w);
    assert_ptr_equal(w.s.cpu[0].current, unit(0, 0));
}

/* ---- going off, SMT --------------------------------------------------------------------- */

static void offline_from_any_state(void **state)
{
    cpuset_t kick = CPUSET_NONE;
    unsigned i;

    world_init(&w, 1, 1, 1);
    world_domain(&w, 4);
    for (i = 0; i < 3; i++)
        world_wake(&w, &w.unit[0][i]);
    world_step(&w);
    for (i = 0; i < 4; i++) {
        sched_offline(&w.s, unit(0, i), w.now, &kick);
        assert_int_equal(unit(0, i)->state, UNIT_OFF);
        world_check(&w);
    }
    assert_true(cpuset_has(kick, 0));
    w.kicked = kick;
    world_kicks(&w);
    assert_null(w.s.cpu[0].current);
    assert_true(cpuset_empty(wake(unit(0, 0), WAKE_EVENT)));
}

/* A unit goes when nobody refers to it any more, a domain when it has no unit. */
static void units_and_domains_end(void **state)
{
    struct sched_params p = {256, 500000, 400000, GANG_ON, LATENCY_LOW};
    unsigned i;

    world_init(&w, 1, 1, 2);
    world_domain(&w, 2);
    world_domain(&w, 2);
    assert_int_equal(world_params(&w, 0, &p), 0);
    world_wake_all(&w);
    w.save_later = true;
    world_step(&w);
    assert_int_equal(sched_unit_remove(&w.s, unit(0, 0)), -XEN_EBUSY);
    for (i = 0; i < 2; i++)
        sched_offline(&w.s, unit(0, i), w.now, &w.kicked);
    wake(unit(0, 0), WAKE_POLL);
    assert_int_equal(sched_unit_remove(&w.s, unit(0, 0)), -XEN_EBUSY); /* not saved */
    assert_int_equal(sched_domain_remove(&w.s, &w.dom[0]), -XEN_EBUSY);
    world_kicks(&w);
    for (i = 0; i < 2; i++) {
        sched_saved(&w.s, unit(0, i), w.now, &w.kicked);
        assert_int_equal(sched_unit_remove(&w.s, unit(0, i)), 0);
        memset(unit(0, i), 0xff, sizeof(*unit(0, i)));
        world_check(&w);
    }
    assert_null(w.dom[0].units);
    assert_int_equal(sched_domain_remove(&w.s, &w.dom[0]), 0);
    memset(&w.dom[0], 0xff, sizeof(w.dom[0]));
    w.nr_units[0] = 0;
    w.save_later = false;
    world_run(&w, 20 * MS);
    assert_true(world_got(&w, 1) >= 39 * MS); /* both CPUs, both units */
    p.gang = GANG_OFF;
    p.cap_ppm = 0;
    p.reservation_ppm = 1800000; /* what the other had is free */
    assert_int_equal(world_params(&w, 1, &p), 0);
}

/* It may go although others thought of it. */
static void nobody_remembers_a_removed_unit(void **state)
{
    world_init(&w, 1, 1, 1);
    world_domain(&w, 3);
    world_wake(&w, &w.unit[0][0]);
    world_step(&w);
    wake(unit(0, 1), WAKE_POLL);
    wake(unit(0, 2), WAKE_EVENT);
    sched_yield(&w.s, unit(0, 0), unit(0, 1), w.now);
    sched_offline(&w.s, unit(0, 1), w.now, &w.kicked);
    assert_int_equal(sched_unit_remove(&w.s, unit(0, 1)), 0);
    assert_null(w.s.queue[0].boosted);
    assert_null(w.s.cpu[0].yield_to);
    world_check(&w);
}

static void hogs_spread_over_idle_cores(void **state)
{
    unsigned i;
    u64 cores = 0;

    world_init(&w, 2, 2, 1);
    world_domain(&w, 4);
    world_wake_all(&w);
    world_run(&w, 1 * MS);
    for (i = 0; i < 4; i++) { /* one core empties */
        if (unit(0, i)->cpu / 2 == 1)
            w.unit[0][i].burst = 1;
    }
    world_run(&w, 10 * MS);
    for (i = 0; i < 4; i++)
        cores |= unit(0, i)->state == UNIT_RUNNING ? BIT(unit(0, i)->cpu / 2) : 0;
    assert_int_equal(cores, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hogs_share_by_weight),
        cmocka_unit_test(weight_is_the_domains),
        cmocka_unit_test(infeasible_weights_are_clamped),
        cmocka_unit_test(new_weights_count_at_once),
        cmocka_unit_test(what_nobody_wanted_is_forgotten),
        cmocka_unit_test(pinned_units_are_not_owed_the_rest),
        cmocka_unit_test(a_lone_domain_needs_no_timer),
        cmocka_unit_test(mixed_load_conserves_work),
        cmocka_unit_test(a_wake_cancels_a_block),
        cmocka_unit_test(the_unsaved_stay_where_they_are),
        cmocka_unit_test(nobody_is_kicked_twice),
        cmocka_unit_test(whole_idle_cores_first),
        cmocka_unit_test(naps_do_not_migrate),
        cmocka_unit_test(placement_prefers_the_near),
        cmocka_unit_test(idle_cpus_steal_from_the_nearest),
        cmocka_unit_test(the_stolen_keep_their_weight),
        cmocka_unit_test(busy_queues_are_balanced),
        cmocka_unit_test(latency_units_are_served_first),
        cmocka_unit_test(events_hurry_those_who_wait),
        cmocka_unit_test(events_hurry_those_who_have_to_leave),
        cmocka_unit_test(a_great_weight_joins_after_an_hour),
        cmocka_unit_test(a_yield_to_a_sibling_runs_it),
        cmocka_unit_test(yielding_wins_nothing),
        cmocka_unit_test(who_was_handed_a_lock_runs_at_once),
        cmocka_unit_test(offline_from_any_state),
        cmocka_unit_test(units_and_domains_end),
        cmocka_unit_test(nobody_remembers_a_removed_unit),
        cmocka_unit_test(hogs_spread_over_idle_cores),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
