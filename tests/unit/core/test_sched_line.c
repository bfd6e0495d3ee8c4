#include "sched_world.h"

#include "core/sched_line.h"

#define N 200

static struct sched_unit unit[N];
static bool waits[N];
static u64 seed = 1;

static u64 draw(u64 n)
{
    seed = seed * 6364136223846793005UL + 1442695040888963407UL;
    return (seed >> 33) % n;
}

static s64 from(const struct sched_unit *u)
{
    return (s64)(u->vrt - u->grace);
}

/* The slow way: is 'a' to be preferred? */
static bool better(const struct sched_unit *a, const struct sched_unit *b, s64 v)
{
    if ((from(a) <= v) != (from(b) <= v))
        return from(a) <= v;
    return from(a) <= v ? (s64)(a->vdl - b->vdl) < 0 : from(a) < from(b);
}

static void check(const struct sched_queue *q)
{
    const struct sched_unit *u, *last = NULL, *best;
    s64 v = (s64)draw(1000) - 500;
    unsigned n = 0, i;

    for (u = q->first; u; last = u, u = u->after, n++) {
        assert_ptr_equal(u->before, last);
        assert_true(!last || (s64)(u->vdl - last->vdl) >= 0);
    }
    assert_ptr_equal(q->last, last);
    best = line_best(q, (u64)v);
    for (i = 0; i < N; i++) {
        n -= waits[i];
        assert_true(!waits[i] || !better(&unit[i], best, v));
    }
    assert_int_equal(n, 0);
}

/* Virtual times around 0: they wrap. */
static void agrees_with_the_slow_way(void **state)
{
    static struct sched_queue q;
    unsigned round, i;

    for (round = 0; round < 20000; round++) {
        i = (unsigned)draw(round < 10000 ? N : 12);
        if (waits[i]) {
            line_remove(&q, &unit[i]);
        } else {
            unit[i].vrt = draw(1000) - 500;
            unit[i].vdl = unit[i].vrt + draw(300);
            unit[i].grace = draw(4) ? 0 : draw(100);
            line_insert(&q, &unit[i]);
        }
        waits[i] = !waits[i];
        check(&q);
    }
}

static void equals_come_out_in_order(void **state)
{
    static struct sched_queue q;
    struct sched_unit u[8] = {0}, *x;
    unsigned i;

    for (i = 0; i < 8; i++)
        line_insert(&q, &u[i]);
    for (i = 0; i < 8; i++) {
        x = line_best(&q, 0);
        assert_ptr_equal(x, &u[i]);
        line_remove(&q, x);
    }
    assert_null(q.first);
    assert_null(q.last);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agrees_with_the_slow_way),
        cmocka_unit_test(equals_come_out_in_order),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
