#include "unit/base/unpack_testing.h"

static void identifies_by_magic(void **state)
{
    static const u8 xz[6] = {0xFD, '7', 'z', 'X', 'Z', 0}, gzip[3] = {0x1F, 0x8B, 8};
    static const u8 zstd[4] = {0x28, 0xB5, 0x2F, 0xFD}, lz4[4] = {2, 0x21, 0x4C, 0x18};
    static const u8 elf[4] = {0x7F, 'E', 'L', 'F'};

    assert_int_equal(unpack_identify(xz, 6), UNPACK_XZ);
    assert_int_equal(unpack_identify(xz, 5), UNPACK_NONE);
    assert_int_equal(unpack_identify(zstd, 4), UNPACK_ZSTD);
    assert_int_equal(unpack_identify(zstd, 3), UNPACK_NONE);
    assert_int_equal(unpack_identify(gzip, 3), UNPACK_GZIP);
    assert_int_equal(unpack_identify(gzip, 2), UNPACK_NONE);
    assert_int_equal(unpack_identify(lz4, 4), UNPACK_LZ4);
    assert_int_equal(unpack_identify(lz4, 3), UNPACK_NONE);
    assert_int_equal(unpack_identify(elf, 4), UNPACK_NONE);
    assert_int_equal(unpack_identify(elf, 0), UNPACK_NONE);
}

static void unknown_is_refused(void **state)
{
    expect_error((struct bytes){(u8 *)"\177ELF", 4}, 100, -XEN_EOPNOTSUPP,
                 "no known compression format");
    expect_error((struct bytes){(u8 *)"", 0}, 0, -XEN_EOPNOTSUPP,
                 "no known compression format");
}

static void scratch_is_within_bounds(void **state)
{
    assert_true(unpack_work_size() <= 256 * 1024);
}

/* Matches at every short distance and length, copied by words: each format has its own history. */
static void every_short_distance(void **state)
{
    static const char *const commands[] = {"xz -c -9", "zstd -qc -19", "gzip -nc -9"};
    struct bytes data = {malloc(1 << 20), 0};

    for (u32 period = 1; period <= 40; period++)
        for (u32 len = 1; len < 90; len += 3) {
            u32 first = test_random();

            for (u32 i = 0; i < period + len; i++)
                data.p[data.len++] = (u8)(first + (i % period) * (first >> 8 | 1));
        }
    for (u32 i = 0; i < ARRAY_SIZE(commands); i++)
        round_trip(commands[i], data);
    free(data.p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(identifies_by_magic),
        cmocka_unit_test(unknown_is_refused),
        cmocka_unit_test(scratch_is_within_bounds),
        cmocka_unit_test(every_short_distance),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
