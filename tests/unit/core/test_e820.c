#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/string.h"
#include "core/e820.h"

static void assert_map(const struct mem_region *map, unsigned nr, const struct mem_region *want,
                       unsigned want_nr)
{
    assert_int_equal(e820_check(map, nr), 0);
    assert_int_equal(nr, want_nr);
    for (unsigned i = 0; i < nr; i++) {
        assert_int_equal(map[i].base, want[i].base);
        assert_int_equal(map[i].size, want[i].size);
        assert_int_equal(map[i].type, want[i].type);
    }
}

static void sorts_and_aligns_a_pc(void **state)
{
    struct mem_region map[16] = {
        {0x100000, 0x3FEE0000, E820_RAM},
        {0x3FFE0000, 0x20000, E820_RESERVED},
        {0, 0x9FC00, E820_RAM},
        {0x9FC00, 0x400, E820_RESERVED},
        {0xF0000, 0x10000, E820_RESERVED},
        {0xFFFC0000, 0x40000, E820_RESERVED},
        {0x100000000, 0x40000000, E820_RAM},
    };
    static const struct mem_region want[] = {
        {0, 0x9F000, E820_RAM},
        {0x9F000, 0x1000, E820_RESERVED},
        {0xF0000, 0x10000, E820_RESERVED},
        {0x100000, 0x3FEE0000, E820_RAM},
        {0x3FFE0000, 0x20000, E820_RESERVED},
        {0xFFFC0000, 0x40000, E820_RESERVED},
        {0x100000000, 0x40000000, E820_RAM},
    };
    unsigned nr = 7;

    assert_int_equal(e820_sanitise(map, &nr, 16), 0);
    assert_map(map, nr, want, ARRAY_SIZE(want));
    assert_int_equal(e820_type_at(map, nr, 0x9EFFF), E820_RAM);
    assert_int_equal(e820_type_at(map, nr, 0x9F000), E820_RESERVED);
    assert_int_equal(e820_type_at(map, nr, 0xA0000), E820_HOLE);
    assert_int_equal(e820_ram_top(map, nr), 0x140000000);
    assert_int_equal(e820_ram_bytes(map, nr), 0x9F000 + 0x3FEE0000 + 0x40000000);
}

static void stronger_type_wins(void **state)
{
    struct mem_region map[8] = {
        {0, 0x10000, E820_RAM},
        {0x4000, 0x4000, E820_RESERVED},
        {0x6000, 0x1000, E820_UNUSABLE},
        {0x7800, 0x1000, 0},
    };
    static const struct mem_region want[] = {
        {0, 0x4000, E820_RAM},           {0x4000, 0x2000, E820_RESERVED},
        {0x6000, 0x1000, E820_UNUSABLE}, {0x7000, 0x2000, E820_RESERVED},
        {0x9000, 0x7000, E820_RAM},
    };
    unsigned nr = 4;

    assert_int_equal(e820_sanitise(map, &nr, 8), 0);
    assert_map(map, nr, want, ARRAY_SIZE(want));
}

static void drops_the_empty_and_the_impossible(void **state)
{
    struct mem_region map[6] = {
        {0x1234, 0, E820_RESERVED},    {0x1001, 0x1FFE, E820_RAM},   {0x5000, ~0ULL, E820_NVS},
        {~0ULL, ~0ULL, E820_RESERVED}, {E820_LIMIT, 4096, E820_RAM}, {~0ULL - 10, 5, E820_RAM},
    };
    static const struct mem_region want[] = {{0x5000, E820_LIMIT - 0x5000, E820_NVS}};
    unsigned nr = 6;

    assert_int_equal(e820_sanitise(map, &nr, 6), 0);
    assert_map(map, nr, want, 1);
    nr = 7;
    assert_int_equal(e820_sanitise(map, &nr, 6), -XEN_EINVAL);
}

static void reserves_parts(void **state)
{
    struct mem_region map[4] = {{0x100000, 0x100000, E820_RAM}};
    static const struct mem_region want[] = {
        {0x100000, 0x10000, E820_RAM},
        {0x110000, 0x2000, E820_RESERVED},
        {0x112000, 0xEE000, E820_RAM},
    };
    unsigned nr = 1;

    assert_int_equal(e820_reserve(map, &nr, 4, 0x110800, 0x1000), 0);
    assert_map(map, nr, want, 3);
    /* Reserved again: the same. With the last entry taken a hole in RAM costs the rest. */
    assert_int_equal(e820_reserve(map, &nr, 4, 0x110000, 0x1000), 0);
    assert_map(map, nr, want, 3);
    assert_int_equal(e820_reserve(map, &nr, 4, 0x180000, 0x1000), -XEN_E2BIG);
    assert_int_equal(e820_check(map, nr), 0);
    assert_int_equal(e820_type_at(map, nr, 0x180000), E820_RESERVED);
    assert_int_equal(e820_type_at(map, nr, 0x181000), E820_RAM);
    assert_int_equal(e820_type_at(map, nr, 0x112000), E820_HOLE);
    assert_int_equal(nr, 4);
    assert_int_equal(e820_reserve(map, &nr, 4, 0x1000, 0x1000), -XEN_ENOSPC);
    assert_int_equal(nr, 4);
}

static void check_names_the_invariant(void **state)
{
    static const struct {
        struct mem_region map[2];
        int broken;
    } cases[] = {
        {{{0, 0x1000, 1}, {0x1000, 0x1000, 2}}, 0},
        {{{0, 0x1000, 1}, {0x2000, 0x1000, 1}}, 0},
        {{{0, 0x1000, 1}, {E820_LIMIT - 0x1000, 0x1000, 1}}, 0},
        {{{0, 0x1000, 1}, {0x1000, 0x1000, 1}}, 1},
        {{{0, 0x2000, 1}, {0x1000, 0x1000, 2}}, 1},
        {{{0x2000, 0x1000, 1}, {0, 0x1000, 2}}, 1},
        {{{0, 0x1000, 1}, {0x1000, 0, 2}}, 2},
        {{{0, 0x1000, 1}, {0x1800, 0x1000, 2}}, 2},
        {{{0, 0x1000, 1}, {0x2000, 0x800, 2}}, 2},
        {{{0, 0x1000, 1}, {E820_LIMIT - 0x1000, 0x2000, 2}}, 2},
        {{{0, 0x1000, 1}, {E820_LIMIT + 0x1000, 0x1000, 2}}, 2},
    };

    for (unsigned i = 0; i < ARRAY_SIZE(cases); i++)
        assert_int_equal(e820_check(cases[i].map, 2), cases[i].broken);
    assert_int_equal(e820_check(cases[3].map, 1), 0);
}

static void measures_ram(void **state)
{
    static const struct mem_region map[] = {
        {0x1000, 0x2000, E820_RAM}, {0x5000, 0x1000, E820_RAM}, {0x8000, 0x1000, E820_NVS}};

    assert_int_equal(e820_ram_top(map, 0), 0);
    assert_int_equal(e820_ram_top(map, 1), 0x3000);
    assert_int_equal(e820_ram_top(map, 3), 0x6000);
    assert_int_equal(e820_ram_top(map + 2, 1), 0);
    assert_int_equal(e820_ram_bytes(map, 0), 0);
    assert_int_equal(e820_ram_bytes(map, 3), 0x3000);
    assert_int_equal(e820_type_at(map, 3, 0x2FFF), E820_RAM);
    assert_int_equal(e820_type_at(map, 3, 0x3000), E820_HOLE);
    assert_int_equal(e820_type_at(map, 2, 0x8000), E820_HOLE);
}

/* Random maps over a small space, each page compared with what the rules say. */

#define SPACE 64 /* pages */

static u32 expected_type(const struct mem_region *map, unsigned nr, u64 page)
{
    u64 start = page * PAGE_SIZE, end = start + PAGE_SIZE;
    u32 type = E820_HOLE;

    for (unsigned i = 0; i < nr; i++) {
        u64 base = map[i].base, top = base + map[i].size;
        u32 t = map[i].type ? map[i].type : E820_RESERVED;
        bool covers = t == E820_RAM ? base <= start && top >= end
                                    : base < end && top > start && map[i].size;

        if (covers)
            type = MAX(type, t);
    }
    return type;
}

static unsigned random_map(struct mem_region *map, unsigned max)
{
    unsigned nr = rand() % (max + 1);

    for (unsigned i = 0; i < nr; i++) {
        u64 unit = rand() % 4 ? PAGE_SIZE : 0x100;
        u64 base = rand() % (SPACE * PAGE_SIZE / unit) * unit;

        map[i].base = base;
        map[i].size = MIN(rand() % (rand() % 2 ? 40 : 8) * unit, SPACE * PAGE_SIZE - base);
        map[i].type = rand() % 3 ? rand() % 3 : rand() % 7;
    }
    return nr;
}

static void random_maps_follow_the_rules(void **state)
{
    struct mem_region raw[12], map[64];

    srand(1);
    for (unsigned round = 0; round < 200000; round++) {
        unsigned raw_nr = random_map(raw, ARRAY_SIZE(raw)), nr = raw_nr;

        memcpy(map, raw, sizeof(raw));
        assert_int_equal(e820_sanitise(map, &nr, ARRAY_SIZE(map)), 0);
        assert_int_equal(e820_check(map, nr), 0);
        for (u64 page = 0; page < SPACE; page++)
            assert_int_equal(e820_type_at(map, nr, page * PAGE_SIZE),
                             expected_type(raw, raw_nr, page));
    }
}

/* Without room to split: still disjoint and sorted, and never RAM that is not. */
static void tight_maps_stay_safe(void **state)
{
    struct mem_region raw[12], map[14];
    unsigned degraded = 0;

    srand(2);
    for (unsigned round = 0; round < 200000; round++) {
        unsigned raw_nr = random_map(raw, ARRAY_SIZE(raw)), nr = raw_nr;
        unsigned max = raw_nr + rand() % 2;
        int rc;

        memcpy(map, raw, sizeof(raw));
        map[max] = (struct mem_region){1, 2, 3}; /* a guard past the end */
        rc = e820_sanitise(map, &nr, max);
        assert_true(rc == 0 || rc == -XEN_E2BIG);
        degraded += rc != 0;
        assert_true(nr <= max && map[max].base == 1 && map[max].size == 2);
        assert_int_equal(e820_check(map, nr), 0);
        for (u64 page = 0; page < SPACE; page++) {
            u32 got = e820_type_at(map, nr, page * PAGE_SIZE);
            u32 want = expected_type(raw, raw_nr, page);

            if (rc == 0)
                assert_int_equal(got, want);
            else if (want == E820_RAM || want == E820_HOLE)
                assert_true(got == want || got == E820_HOLE);
            else
                assert_true(got >= want);
        }
    }
    assert_in_range(degraded, 1000, 199999);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sorts_and_aligns_a_pc),
        cmocka_unit_test(stronger_type_wins),
        cmocka_unit_test(drops_the_empty_and_the_impossible),
        cmocka_unit_test(reserves_parts),
        cmocka_unit_test(check_names_the_invariant),
        cmocka_unit_test(measures_ram),
        cmocka_unit_test(random_maps_follow_the_rules),
        cmocka_unit_test(tight_maps_stay_safe),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
