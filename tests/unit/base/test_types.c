#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/types.h"

static void range_never_wraps(void **state)
{
    assert_true(range_ok(0, 0, 0));
    assert_true(range_ok(4, 4, 8));
    assert_false(range_ok(4, 5, 8));
    assert_false(range_ok(9, 0, 8));
    assert_false(range_ok(8, ~0UL, 16));
    assert_false(range_ok(~0UL, ~0UL, ~0UL - 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(range_never_wraps)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
