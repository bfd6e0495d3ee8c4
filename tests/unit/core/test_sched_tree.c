#include "sched_world.h"

#include "core/sched_tree.h"

#define N 200

static struct sched_unit unit[N];
static bool in_tree[N];
static u64 seed = 1;

static u64 draw(u64 n)
{
    seed = seed * 6364136223846793005UL + 1442695040888963407UL;
    return (seed >> 33) % n;
}

static u64 from(const struct sched_unit *u)
{
    return u->vrt - u->grace;
}

/* The slow way. */
static struct sched_unit *earliest(u64 v)
{
    struct sched_unit *best = NULL;
    unsigned i;

    for (i = 0; i < N; i++) {
        if (in_tree[i] && (s64)(v - from(&unit[i])) >= 0 &&
            (!best || (s64)(unit[i].vdl - best->vdl) < 0))
            best = &unit[i];
    }
    return best;
}

static void check(struct sched_unit *root)
{
    struct sched_unit *u, *last = NULL, *slow, *fast;
    u64 v = draw(1000) - 500;
    unsigned n = 0, i;

    for (u = tree_first(root); u; last = u, u = tree_next(u), n++) {
        assert_true(!last || (s64)(u->vdl - last->vdl) >= 0);
        assert_true(!u->parent || u->parent->prio >= u->prio);
    }
    for (i = 0; i < N; i++)
        n -= in_tree[i];
    assert_int_equal(n, 0);
    slow = earliest(v);
    fast = tree_earliest(root, v);
    assert_true(!slow == !fast);
    if (slow)
        assert_int_equal(slow->vdl, fast->vdl);
    if (!root)
        return;
    u = tree_least(root);
    for (i = 0; i < N; i++)
        assert_true(!in_tree[i] || (s64)(from(&unit[i]) - from(u)) >= 0);
}

/* Virtual times around 0: they wrap. */
static void agrees_with_the_slow_way(void **state)
{
    struct sched_unit *root = NULL;
    unsigned round, i;

    for (i = 0; i < N; i++)
        unit[i].prio = (u32)draw(1UL << 31);
    for (round = 0; round < 20000; round++) {
        i = (unsigned)draw(round < 10000 ? N : 12);
        if (in_tree[i]) {
            tree_remove(&root, &unit[i]);
        } else {
            unit[i].vrt = draw(1000) - 500;
            unit[i].vdl = unit[i].vrt + draw(300);
            unit[i].grace = draw(4) ? 0 : draw(100);
            tree_insert(&root, &unit[i]);
        }
        in_tree[i] = !in_tree[i];
        check(root);
    }
}

static void equals_come_out_in_order(void **state)
{
    struct sched_unit u[8] = {{.prio = 3}, {.prio = 9}, {.prio = 1}, {.prio = 7},
                              {.prio = 7}, {.prio = 2}, {.prio = 8}, {.prio = 5}};
    struct sched_unit *root = NULL, *x;
    unsigned i;

    for (i = 0; i < 8; i++)
        tree_insert(&root, &u[i]);
    for (i = 0, x = tree_first(root); x; x = tree_next(x), i++)
        assert_ptr_equal(x, &u[i]);
    for (i = 0; i < 8; i++) {
        x = tree_earliest(root, 0);
        assert_non_null(x);
        tree_remove(&root, x);
    }
    assert_null(root);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agrees_with_the_slow_way),
        cmocka_unit_test(equals_come_out_in_order),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
