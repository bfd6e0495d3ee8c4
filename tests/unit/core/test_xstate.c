/* What an XSAVE area from elsewhere may contain. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/string.h"
#include "core/xstate.h"

#define ALLOWED 7

static u8 area[1024];

static void plain(void)
{
    memset(area, 0xaa, sizeof(area));
    memset(area + XSTATE_BV, 0, 64);
    area[XSTATE_BV] = ALLOWED;
    xstate_put_mxcsr(area, XSTATE_MXCSR_RESET);
}

static void test_accepts(void **state)
{
    plain();
    assert_true(xstate_ok(area, sizeof(area), ALLOWED));
    assert_true(xstate_ok(area, XSTATE_MIN_SIZE, ALLOWED));
    assert_int_equal(xstate_components(area), ALLOWED);
    assert_int_equal(xstate_mxcsr(area), XSTATE_MXCSR_RESET);
}

static void test_refuses(void **state)
{
    plain();
    assert_false(xstate_ok(area, XSTATE_MIN_SIZE - 1, ALLOWED));
    assert_false(xstate_ok(area, sizeof(area), 3));
    for (unsigned i = 1; i < 64; i++) {
        plain();
        area[XSTATE_BV + i] = 1;
        assert_false(xstate_ok(area, sizeof(area), ALLOWED));
    }
    for (unsigned bit = 16; bit < 32; bit++) {
        plain();
        xstate_put_mxcsr(area, 1U << bit);
        assert_false(xstate_ok(area, sizeof(area), ALLOWED));
    }
}

static void test_initial_components_read_as_such(void **state)
{
    static const u8 zero[416];

    plain();
    area[XSTATE_BV] = 4;
    xstate_normalise(area);
    assert_int_equal(area[0] | area[1] << 8, 0x37f);
    assert_memory_equal(area + 2, zero, 22);
    assert_memory_equal(area + 32, zero, 384);
    assert_int_equal(xstate_mxcsr(area), XSTATE_MXCSR_RESET);
    assert_int_equal(area[600], 0xaa);
    plain();
    area[XSTATE_BV] = 3;
    xstate_normalise(area);
    assert_int_equal(area[0], 0xaa);
    assert_int_equal(area[160], 0xaa);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_accepts),
        cmocka_unit_test(test_refuses),
        cmocka_unit_test(test_initial_components_read_as_such),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
