/* Stations of the wire: when they are asked for, how long they are believed, who is forgotten. */
#include "core/vfr_neighbour.h"
#include "core/vfr_wire.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

#define SECOND 1000000000l

static struct vfr_neighbours n;

static int setup(void **state)
{
    n = (struct vfr_neighbours){.seed = 0x1234567};
    n.net[n.nets++] = (struct vfr_prefix6){VFR_IP4(0x0a000000), {~0ull, ~0xffull}};
    n.net[n.nets++] = (struct vfr_prefix6){{0x20010db8ull << 32, 0}, {~0ull, 0}};
    return 0;
}

/* Of 10.0.0.'last', at this second: who has it, and whether it is to be asked for. */
static u64 find(u32 last, int64_t at, bool *ask)
{
    u64 mac;

    *ask = false;
    mac = vfr_neighbour_find(&n, VFR_IP4(0x0a000000 | last), at * SECOND, ask);
    assert_int_equal(vfr_neighbours_check(&n), 0);
    return mac;
}

static void expect(u32 last, int64_t at, u64 mac, bool asked)
{
    bool ask;

    assert_true(find(last, at, &ask) == mac);
    assert_int_equal(ask, asked);
}

static void hear(u32 last, int64_t at, u64 mac)
{
    vfr_neighbour_heard(&n, VFR_IP4(0x0a000000 | last), mac, at * SECOND);
    assert_int_equal(vfr_neighbours_check(&n), 0);
}

static void asked_once_a_second(void **state)
{
    expect(1, 1, 0, true);
    expect(1, 1, 0, false);
    expect(1, 2, 0, true);
    expect(1, 2, 0, false);
    hear(1, 2, 0x020000000001);
    expect(1, 3, 0x020000000001, false);
}

static void answers_grow_old(void **state)
{
    expect(1, 5, 0, true);
    hear(1, 5, 2);
    expect(1, 34, 2, false);
    expect(1, 35, 2, true);
    expect(1, 35, 2, false);
    expect(1, 64, 2, true);
    expect(1, 65, 0, true);
    hear(1, 66, 3);
    expect(1, 66, 3, false);
}

static void others_are_not_asked_for(void **state)
{
    bool ask = false;

    assert_true(!vfr_neighbour_find(&n, VFR_IP4(0x0a000100), 1, &ask) && !ask);
    assert_true(!vfr_neighbour_find(&n, (struct vfr_addr){0x20010db9ull << 32, 1}, 1, &ask));
    assert_false(ask);
    assert_true(!vfr_neighbour_find(&n, (struct vfr_addr){0x20010db8ull << 32, 1}, 1, &ask));
    assert_true(ask);
}

static void nobody_is_believed_unasked(void **state)
{
    hear(1, 1, 7);
    expect(1, 1, 0, true);
    hear(1, 1, 0);
    hear(1, 1, ETH_BROADCAST);
    expect(1, 1, 0, false);
}

static void looking_changes_nothing(void **state)
{
    struct vfr_neighbours before = n;

    assert_true(!vfr_neighbour_find(&n, VFR_IP4(0x0a000001), SECOND, NULL));
    assert_memory_equal(&n, &before, sizeof(n));
    expect(1, 1, 0, true);
    hear(1, 1, 7);
    before = n;
    assert_true(vfr_neighbour_find(&n, VFR_IP4(0x0a000001), 40 * SECOND, NULL) == 7);
    assert_memory_equal(&n, &before, sizeof(n));
}

/* Whoever asks for a whole network does not make others forgotten. */
static void those_who_answer_stay(void **state)
{
    bool ask;

    n.net[0].mask.low = ~0xffffull;
    expect(1, 1, 0, true);
    hear(1, 1, 7);
    for (u32 i = 2; i < 0x10000; i++)
        find(i, 2, &ask);
    expect(1, 3, 7, false);
}

static void invariants(void **state)
{
    n.nets = VFR_LINKS + 1;
    assert_int_equal(vfr_neighbours_check(&n), 1);
    setup(state);
    n.net[0].addr.low |= 1;
    assert_int_equal(vfr_neighbours_check(&n), 1);
    setup(state);
    expect(1, 1, 0, true);
    for (unsigned i = 0; i < VFR_NEIGHBOURS; i++)
        if (n.entry[i].asked) {
            n.entry[i ^ 1] = n.entry[i];
            assert_int_equal(vfr_neighbours_check(&n), 2);
            n.entry[i ^ 1].asked = 0;
            n.entry[i].mac = ETH_BROADCAST;
            assert_int_equal(vfr_neighbours_check(&n), 3);
            n.entry[i ^ 4] = n.entry[i];
            n.entry[i].asked = 0;
            assert_int_equal(vfr_neighbours_check(&n), i & 4 ? 2 : 3);
            return;
        }
    fail();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(asked_once_a_second, setup),
        cmocka_unit_test_setup(answers_grow_old, setup),
        cmocka_unit_test_setup(others_are_not_asked_for, setup),
        cmocka_unit_test_setup(nobody_is_believed_unasked, setup),
        cmocka_unit_test_setup(looking_changes_nothing, setup),
        cmocka_unit_test_setup(those_who_answer_stay, setup),
        cmocka_unit_test_setup(invariants, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
