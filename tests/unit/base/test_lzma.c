#include "unit/base/unpack_testing.h"
#include "base/lzma_rc.h"

/*
 * The range coder's assembly against its C: the same random input and probabilities must lead to
 * the same bits, state and probabilities.
 */

#define INPUT 4096

struct side {
    struct rc rc;
    u16 probs[0x300];
};

static u8 input[INPUT + RC_MARGIN];
static u16 raised[2048];
static struct side fast, slow;

static void start(void)
{
    for (u32 i = 0; i < sizeof(input); i++)
        input[i] = (u8)(test_random() >> 9);
    for (u32 i = 0; i < 2048; i++)
        raised[i] = (u16)(i + ((2048 - i) >> 5));
    for (u32 i = 0; i < ARRAY_SIZE(fast.probs); i++)
        fast.probs[i] = (u16)(31 + test_random() % 1987);
    fast.rc = (struct rc){.range = ~0U, .in = input, .in_end = input + INPUT, .raised = raised};
    fast.rc.excess = fast.rc.range - RC_TOP;
    fast.rc.code = test_random() >> 1;
    slow = fast;
}

static void same(u32 a, u32 b)
{
    assert_int_equal(a, b);
    assert_int_equal(fast.rc.range, slow.rc.range);
    assert_int_equal(fast.rc.excess, slow.rc.excess);
    assert_int_equal(fast.rc.code, slow.rc.code);
    assert_ptr_equal(fast.rc.in, slow.rc.in);
    assert_memory_equal(fast.probs, slow.probs, sizeof(fast.probs));
    assert_true(fast.rc.range >= RC_TOP);
}

static void assembly_agrees_with_c(void **state)
{
    for (u32 round = 0; round < 50; round++) {
        start();
        while (fast.rc.in < input + INPUT - RC_MARGIN) {
            u32 n = test_random(), at = n % 0x2FF, byte = n >> 8 & 0xFF;

            same(rc_bit(&fast.rc, &fast.probs[at], false),
                 rc_bit(&slow.rc, &slow.probs[at], true));
            same(rc_tree(&fast.rc, fast.probs, 3, false),
                 rc_tree(&slow.rc, slow.probs, 3, true));
            same(rc_tree(&fast.rc, fast.probs, 6, false),
                 rc_tree(&slow.rc, slow.probs, 6, true));
            same(rc_tree(&fast.rc, fast.probs, 8, false),
                 rc_tree(&slow.rc, slow.probs, 8, true));
            same(rc_predicted(&fast.rc, fast.probs, byte, false),
                 rc_predicted(&slow.rc, slow.probs, byte, true));
            n = 1 + (n >> 16) % 5;
            same(rc_tree_reverse(&fast.rc, fast.probs, n, false),
                 rc_tree_reverse(&slow.rc, slow.probs, n, true));
        }
    }
}

/* Many bits of even odds by one division, against one at a time. */
static void direct_bits_agree(void **state)
{
    for (u32 round = 0; round < 5000; round++) {
        u32 n = 1 + test_random() % 26, q = 0;

        start();
        fast.rc.range = slow.rc.range = MAX(test_random() >> test_random() % 8, RC_TOP);
        /* The topmost codes belong to no bits at all; an encoder never writes them. */
        fast.rc.code = slow.rc.code = test_random() % (fast.rc.range & ~0xFFU);
        for (u32 i = 0; i < n; i++) {
            slow.rc.range >>= 1;
            q = q << 1 | (slow.rc.code >= slow.rc.range);
            if (q & 1)
                slow.rc.code -= slow.rc.range;
            if (slow.rc.range < RC_TOP) {
                slow.rc.range <<= 8;
                slow.rc.code = slow.rc.code << 8 | rc_next_byte(&slow.rc);
            }
        }
        slow.rc.excess = slow.rc.range - RC_TOP;
        if (slow.rc.code >= slow.rc.range)
            continue;
        same(rc_direct(&fast.rc, n, false), q);
    }
}

static void careful_stops_at_the_end(void **state)
{
    start();
    slow.rc.in = slow.rc.in_end;
    for (u32 i = 0; i < 10; i++)
        rc_tree(&slow.rc, slow.probs, 8, true);
    assert_true(slow.rc.overrun);
    assert_ptr_equal(slow.rc.in, slow.rc.in_end);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(assembly_agrees_with_c),
        cmocka_unit_test(direct_bits_agree),
        cmocka_unit_test(careful_stops_at_the_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
