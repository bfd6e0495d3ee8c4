/* The map of pages written to. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/string.h"
#include "core/dirtymap.h"

#define LEAVES 2
#define LIMIT  (LEAVES * DIRTY_LEAF_PAGES)

static u64 leaves[LEAVES][PAGE_SIZE / 8];
static struct {
    struct dirty_map m;
    u64 *leaf[LEAVES];
} map;
static u64 words[DIRTY_WORDS];

static int fresh(void **state)
{
    memset(leaves, 0, sizeof(leaves));
    memset(&map, 0, sizeof(map));
    map.m.limit = LIMIT;
    for (unsigned i = 0; i < LEAVES; i++)
        map.m.leaf[i] = leaves[i];
    return 0;
}

static void notes_are_read_and_cleared(void **state)
{
    const u64 pages[] = {0, 63, 64, DIRTY_STEP - 1};

    for (unsigned i = 0; i < ARRAY_SIZE(pages); i++)
        dirty_map_note(&map.m, pages[i]);
    dirty_map_note(&map.m, 64);
    dirty_map_note(&map.m, DIRTY_STEP);
    for (unsigned pass = 0; pass < 2; pass++) {
        assert_int_equal(dirty_map_read(&map.m, 0, LIMIT, pass, words), 4);
        for (unsigned i = 0; i < ARRAY_SIZE(pages); i++)
            assert_true(words[pages[i] / 64] >> (pages[i] & 63) & 1);
    }
    assert_int_equal(dirty_map_read(&map.m, 0, LIMIT, true, words), 0);
    assert_int_equal(dirty_map_read(&map.m, DIRTY_STEP, LIMIT, true, words), 1);
    assert_int_equal(words[0], 1);
}

static void every_page_has_a_bit_of_its_own(void **state)
{
    for (u64 page = 0; page < LIMIT; page += 61) {
        u64 at = ROUND_DOWN(page, DIRTY_STEP);

        dirty_map_note(&map.m, page);
        assert_int_equal(dirty_map_read(&map.m, at, LIMIT, true, words), 1);
        assert_int_equal(words[(page - at) / 64], BIT(page & 63));
    }
    for (unsigned i = 0; i < LEAVES; i++)
        for (unsigned k = 0; k < PAGE_SIZE / 8; k++)
            assert_int_equal(leaves[i][k], 0);
}

static void beyond_the_limit_all_is_dirty(void **state)
{
    dirty_map_note(&map.m, LIMIT);
    dirty_map_note(&map.m, ~0UL);
    assert_int_equal(dirty_map_read(&map.m, LIMIT, ~0UL, true, words), DIRTY_STEP);
    assert_int_equal(dirty_map_read(&map.m, LIMIT - DIRTY_STEP, ~0UL, true, words), 0);
    /* Returning there is of no use, and does no harm. */
    memset(words, 0xff, sizeof(words));
    dirty_map_return(&map.m, LIMIT, words);
}

static void the_end_cuts(void **state)
{
    map.m.all = 1;
    assert_int_equal(dirty_map_read(&map.m, 0, 0, true, words), 0);
    assert_int_equal(dirty_map_read(&map.m, 0, 65, true, words), 65);
    assert_int_equal(words[0], ~0UL);
    assert_int_equal(words[1], 1);
    assert_int_equal(dirty_map_read(&map.m, 0, DIRTY_STEP, true, words), DIRTY_STEP);
}

static void what_is_returned_is_dirty_again(void **state)
{
    dirty_map_note(&map.m, 7);
    assert_int_equal(dirty_map_read(&map.m, 0, LIMIT, true, words), 1);
    dirty_map_note(&map.m, 8);
    dirty_map_return(&map.m, 0, words);
    assert_int_equal(dirty_map_read(&map.m, 0, LIMIT, true, words), 2);
    assert_int_equal(words[0], 3 << 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(notes_are_read_and_cleared, fresh),
        cmocka_unit_test_setup(every_page_has_a_bit_of_its_own, fresh),
        cmocka_unit_test_setup(beyond_the_limit_all_is_dirty, fresh),
        cmocka_unit_test_setup(the_end_cuts, fresh),
        cmocka_unit_test_setup(what_is_returned_is_dirty_again, fresh),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
