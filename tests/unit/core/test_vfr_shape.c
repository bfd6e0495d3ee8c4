/* Limits and round robin in simulated time: rates, bursts, fairness; and the ring's invariants. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "core/vfr_shape.h"
#include "unit/random.h"

#define SECOND  1000000000ll
#define SOURCES 8

/* ---- limits ---- */

enum mix { SMALL, MTU, GSO, MIXED, MIXES };

static u32 length(enum mix m)
{
    if (m == MIXED)
        m = random64() % 3;
    return m == SMALL ? 64 : m == MTU ? 1514 : 65535;
}

/* Several queues with one word, each trying again when it is told to. Returns bytes a second. */
static u64 measure(const struct vfr_limit *l, unsigned queues, enum mix m, ns_t start,
                   ns_t time)
{
    ns_t at[SOURCES], now = start;
    u64 due = 0, sent = 0;

    for (unsigned q = 0; q < queues; q++)
        at[q] = start + random64() % 1000;
    while (now < start + time) {
        unsigned q = 0;
        u32 n = length(m);

        for (unsigned i = 1; i < queues; i++)
            if (at[i] < at[q])
                q = i;
        now = at[q];
        if (random64() & 1 && !vfr_limit_wait(l, due, now)) {
            due = vfr_limit_charge(l, due, n, now);
            sent += n;
        } else if (vfr_limit_take(l, &due, n, now)) {
            sent += n;
        } else {
            assert_true(vfr_limit_wait(l, due, now) > 0);
        }
        at[q] = now + vfr_limit_wait(l, due, now);
    }
    return sent * SECOND / time;
}

/* As toolstacks write it: bytes in an interval. Within 2 %, with one queue and with eight. */
static void rates(void **state)
{
    const struct {
        u64 amount;
        u32 usec;
        ns_t time;
    } rate[] = {
        {62500, 50000, 100 * SECOND},    /* 10 Mbit/s in steps of 50 ms */
        {6250000, 50000, SECOND},        /* 1 Gbit/s */
        {250000000, 50000, SECOND / 10}, /* 40 Gbit/s */
        {12500, 1, SECOND / 100},        /* 100 Gbit/s */
        {1250, 100000, 10000 * SECOND},  /* 100 kbit/s */
    };

    for (unsigned i = 0; i < ARRAY_SIZE(rate); i++)
        for (unsigned k = 0; k < 2 * MIXES; k++) {
            u64 want = rate[i].amount * 1000000 / rate[i].usec, got;
            unsigned queues = k & 1 ? 8 : 1;
            struct vfr_limit l;

            assert_int_equal(vfr_limit_set(&l, rate[i].amount, rate[i].usec, 65536), 0);
            got = measure(&l, queues, k / 2, i * 1000 * SECOND, rate[i].time);
            if (got * 100 < want * 98 || got * 100 > want * 102)
                print_message("rate %u queues %u mix %u: %lu of %lu\n", i, queues, k / 2, got,
                              want);
            assert_in_range(got * 100, want * 98, want * 102);
        }
}

static void packets(void **state)
{
    struct vfr_limit l;
    u64 due = 0, passed = 0;

    assert_int_equal(vfr_limit_set(&l, 1000, 1000000, 10), 0);
    for (ns_t now = 0; now < 20 * SECOND; now += 100000)
        passed += vfr_limit_take(&l, &due, 1, now);
    assert_in_range(passed, 19990, 20020);
}

/* In any stretch: the depth, the rate's share and one packet; after a pause no more than that. */
static void bursts(void **state)
{
    const u32 depth = 100000;
    struct vfr_limit l;
    u64 due = 0, sent;

    assert_int_equal(vfr_limit_set(&l, 1000000, 1000000, depth), 0);
    for (unsigned pause = 0; pause < 5; pause++) {
        ns_t start = pause * pause * 10 * SECOND, now = start;

        sent = 0;
        for (; now < start + SECOND; now += random64() % 200000) {
            u32 n = length(MIXED);

            if (!vfr_limit_take(&l, &due, n, now))
                continue;
            sent += n;
            assert_true(sent <= depth + (u64)(now - start) / 1000 + 65536 + 1);
        }
        assert_true(sent >= 1000000 - 65536);
    }
}

static void taken(void **state)
{
    struct vfr_limit l;
    u64 due = 12345678, before;

    assert_int_equal(vfr_limit_set(&l, 1000000, 1000000, 1500), 0);
    before = due;
    assert_true(vfr_limit_take(&l, &due, 1500, 0));
    assert_int_equal(due - before, 1500 * 1000 * VFR_TICKS_PER_NS);
    assert_int_equal(vfr_limit_charge(&l, before, 1500, 0), due);
    assert_int_equal(vfr_limit_charge(&l, 5, 0, 7), 7 * VFR_TICKS_PER_NS);
    assert_int_equal(vfr_limit_wait(&l, l.depth, 0), 0); /* just at the depth */
    /* Prices are rounded to the nearest: 3 bytes at 10^10 a second are 4.8 ticks. */
    assert_int_equal(vfr_limit_set(&l, 10000, 1, 0), 0);
    due = 0;
    assert_true(vfr_limit_take(&l, &due, 3, 0));
    assert_int_equal(due, 5);
    assert_int_equal(vfr_limit_set(&l, 1000000, 1000000, 1500), 0);
    /* Refused: the word stays. */
    due = 2 * l.depth;
    before = due;
    assert_false(vfr_limit_take(&l, &due, 1, 0));
    assert_int_equal(due, before);
    assert_int_equal(vfr_limit_wait(&l, due, 0), 1500000);
    assert_int_equal(vfr_limit_wait(&l, due, 1500000), 0);
    assert_true(vfr_limit_take(&l, &due, 1, 1500000));
}

static void odd_limits(void **state)
{
    struct vfr_limit l = {0};
    u64 due = 5;

    assert_true(vfr_limit_take(&l, &due, 65535, 0));
    assert_int_equal(due, 5);
    assert_int_equal(vfr_limit_wait(&l, due, 0), 0);
    assert_int_equal(vfr_limit_set(&l, 0, 1, 1), -XEN_EINVAL);
    assert_int_equal(vfr_limit_set(&l, 1, 0, 1), -XEN_EINVAL);
    assert_int_equal(vfr_limit_set(&l, 1, 1000001, 1), -XEN_EINVAL);
    assert_int_equal(vfr_limit_set(&l, 1000001, 1, 1), -XEN_EINVAL);
    assert_int_equal(vfr_limit_set(&l, ~0ull, ~0u, 1), -XEN_EINVAL);
    /* The slowest and the fastest, with more than anybody sends. */
    assert_int_equal(vfr_limit_set(&l, 1, 1000000, ~0u), 0);
    due = 0;
    for (unsigned i = 0; i < 100; i++) {
        u64 before = due;

        if (vfr_limit_take(&l, &due, ~0u, (1ll << 59) - 1))
            assert_true(due > before);
    }
    assert_int_equal(vfr_limit_set(&l, 1000000, 1, 0), 0);
    assert_true(l.cost > 0);
}

/* ---- round robin ---- */

static struct vfr_ring ring;
static struct vfr_source sources[SOURCES];
static u64 got[SOURCES];

static void ring_reset(u32 quantum)
{
    vfr_ring_init(&ring, quantum);
    for (unsigned i = 0; i < SOURCES; i++) {
        sources[i] = (struct vfr_source){0};
        got[i] = 0;
    }
    assert_int_equal(vfr_ring_check(&ring), 0);
}

static void expect_sound(void)
{
    u32 waiting = 0;

    for (unsigned i = 0; i < SOURCES; i++)
        waiting += vfr_source_waits(&sources[i]);
    assert_int_equal(waiting, ring.count);
    assert_int_equal(vfr_ring_check(&ring), 0);
}

/* The next one's number; it is in the ring still, or again. */
static unsigned take(void)
{
    struct vfr_source *s;

    while (!(s = vfr_ring_take(&ring)))
        assert_true(ring.count);
    assert_true(s->credit > 0 && !vfr_source_waits(s));
    return (unsigned)(s - sources);
}

/* It sent a packet, and has more: at once, as long as it has credit. */
static void sent(unsigned i, u32 n)
{
    got[i] += n;
    if (vfr_source_charge(&sources[i], n))
        vfr_ring_return(&ring, &sources[i]);
    else
        vfr_ring_join(&ring, &sources[i]);
    expect_sound();
}

/* Serves until 'bytes' went out; source i sends packets of kind mix[i]. */
static void serve(const enum mix *mix, u64 bytes)
{
    while (bytes < 1ull << 60) {
        unsigned i = take();
        u32 n = length(mix[i]);

        sent(i, n);
        bytes -= n;
    }
}

/* Jain's index in thousandths: 1000 is perfectly fair. */
static u64 jain(void)
{
    unsigned __int128 sum = 0, squares = 0;

    for (unsigned i = 0; i < SOURCES; i++) {
        sum += got[i];
        squares += (unsigned __int128)got[i] * got[i];
    }
    return sum * sum * 1000 / (squares * SOURCES);
}

static void fairness(void **state)
{
    const u32 quanta[] = {VFR_QUANTUM_MIN, 16384, VFR_QUANTUM_MAX};
    const enum mix mix[SOURCES] = {SMALL, GSO, MTU, MIXED, SMALL, GSO, SMALL, GSO};

    for (unsigned k = 0; k < ARRAY_SIZE(quanta); k++) {
        u64 least = ~0ull, most = 0;

        ring_reset(quanta[k]);
        for (unsigned i = 0; i < SOURCES; i++)
            vfr_ring_join(&ring, &sources[i]);
        serve(mix, 50000000);
        for (unsigned i = 0; i < SOURCES; i++) {
            least = MIN(least, got[i]);
            most = MAX(most, got[i]);
        }
        print_message("quantum %u: Jain 0.%lu, %lu to %lu bytes\n", quanta[k], jain(), least,
                      most);
        assert_true(jain() >= 980);
        assert_true(most - least <= quanta[k] + 65536);
    }
}

/* Leaving after each packet and coming back gains nothing but the place in the ring. */
static void come_and_go(void **state)
{
    ring_reset(16384);
    vfr_ring_join(&ring, &sources[0]);
    vfr_ring_join(&ring, &sources[1]);
    while (got[0] + got[1] < 50000000) {
        unsigned i = take();

        sent(i, i ? 65535 : 1514);
        if (!i)
            continue;
        vfr_ring_leave(&ring, &sources[i]);
        expect_sound();
        vfr_ring_join(&ring, &sources[i]);
    }
    assert_true(got[1] <= got[0] + 2 * 65536);
}

/* One that does not ask often is served next round: it waits for a quantum of each other. */
static void latency(void **state)
{
    ring_reset(16384);
    for (unsigned i = 0; i < SOURCES - 1; i++)
        vfr_ring_join(&ring, &sources[i]);
    for (unsigned round = 0; round < 200; round++) {
        u64 others = 0;
        unsigned i;

        vfr_ring_join(&ring, &sources[SOURCES - 1]);
        for (; (i = take()) != SOURCES - 1; others += 1514)
            sent(i, 1514);
        (void)!vfr_source_charge(&sources[i], 1514);
        vfr_source_rest(&sources[i]);
        expect_sound();
        assert_true(sources[i].credit <= 0);
        assert_true(others <= (SOURCES - 1) * (16384 + 1514));
    }
}

static void rings(void **state)
{
    ring_reset(1);
    assert_int_equal(ring.quantum, VFR_QUANTUM_MIN);
    ring_reset(1 << 30);
    assert_int_equal(ring.quantum, VFR_QUANTUM_MAX);
    assert_null(vfr_ring_take(&ring));
    vfr_ring_join(&ring, &sources[3]);
    vfr_ring_join(&ring, &sources[5]);
    vfr_ring_return(&ring, &sources[1]);
    assert_int_equal(ring.count, 3);
    for (unsigned k = 0; k < 3; k++)
        assert_int_equal(take(), 1 + 2 * k);
    for (unsigned i = 0; i < 200000; i++) {
        struct vfr_source *s = &sources[random64() % SOURCES];
        bool more;

        switch (random64() % 5) {
        case 0:
        case 1:
            if (!vfr_source_waits(s))
                (random64() & 1 ? vfr_ring_join : vfr_ring_return)(&ring, s);
            break;
        case 2:
            if (vfr_source_waits(s))
                vfr_ring_leave(&ring, s);
            break;
        case 3:
            more = vfr_source_charge(s, random64() % 3 ? random64() % 70000 : ~0u);
            assert_int_equal(more, s->credit > 0);
            break;
        default:
            s = vfr_ring_take(&ring);
            assert_true(!s || (!vfr_source_waits(s) && s->credit > 0));
        }
        expect_sound();
    }
}

/* Many deep in debt do not keep the caller. */
static void bounded(void **state)
{
    static struct vfr_source many[4096];
    unsigned asked = 0;

    vfr_ring_init(&ring, VFR_QUANTUM_MIN);
    for (unsigned i = 0; i < 4096; i++) {
        many[i] = (struct vfr_source){.credit = -VFR_DEBT_MAX};
        vfr_ring_join(&ring, &many[i]);
    }
    assert_int_equal(vfr_ring_check(&ring), 0);
    while (!vfr_ring_take(&ring))
        asked++;
    /* 33 quanta to get out of debt, for each of them, 64 looks at once. */
    assert_int_equal(asked, 4096 * 32 / 64);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rates),       cmocka_unit_test(packets),    cmocka_unit_test(bursts),
        cmocka_unit_test(taken),       cmocka_unit_test(odd_limits), cmocka_unit_test(fairness),
        cmocka_unit_test(come_and_go), cmocka_unit_test(latency),    cmocka_unit_test(rings),
        cmocka_unit_test(bounded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
