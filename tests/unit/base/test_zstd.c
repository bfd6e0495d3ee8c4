#include "unit/base/unpack_testing.h"

static const u8 text[] =
    "Serai maps a frame, grants a frame, maps a frame and grants a frame.\n"
    "Serai maps a page, grants a page, maps a page and grants a page.\n";

/* zstd -19 of 'text'. */
static u8 packed_text[] = {0x28, 0xB5, 0x2F, 0xFD, 0x04, 0x68, 0xFD, 0x01, 0x00, 0x82, 0x42,
                           0x09, 0x10, 0xB0, 0xA9, 0x03, 0x4B, 0x2E, 0xAD, 0x48, 0xE2, 0x99,
                           0x30, 0xD0, 0x2E, 0x62, 0xB0, 0xF9, 0x04, 0x65, 0x87, 0x97, 0x7C,
                           0xCA, 0x0E, 0x6F, 0xC2, 0x93, 0x14, 0x08, 0x73, 0x8E, 0x5E, 0x74,
                           0x36, 0x2D, 0xA7, 0x08, 0x01, 0x08, 0x00, 0x42, 0xC9, 0xF4, 0x93,
                           0x83, 0x4C, 0x06, 0x07, 0x6E, 0x03, 0xC1, 0x07, 0x26, 0xAA, 0xA3,
                           0xA0, 0x0E, 0x68, 0xB6, 0x39, 0x06, 0x58, 0x43, 0x83, 0x78};

static const struct bytes whole = {(u8 *)text, sizeof(text) - 1};
static const struct bytes packed_whole = {packed_text, sizeof(packed_text)};

static void a_known_file(void **state)
{
    assert_int_equal(unpack_identify(packed_text, sizeof(packed_text)), UNPACK_ZSTD);
    expect_unpacks(packed_whole, whole);
    survives_damage(packed_whole, whole);
}

static void frames_by_hand(void **state)
{
    /* Two skippable frames around a frame of a raw block "abc" and four times "d". */
    u8 f[] = {0x5F, 0x2A, 0x4D, 0x18, 2,    0,    0, 0,   'x', 'y', 0x28, 0xB5,
              0x2F, 0xFD, 0x20, 7,    0x18, 0,    0, 'a', 'b', 'c', 0x23, 0,
              0,    'd',  0x50, 0x2A, 0x4D, 0x18, 1, 0,   0,   0,   0};
    const struct bytes in = {f, sizeof(f)};

    assert_int_equal(unpack_identify(f, sizeof(f)), UNPACK_ZSTD);
    expect_unpacks(in, (struct bytes){(u8 *)"abcdddd", 7});
    expect_error(in, 6, -XEN_ENOSPC, "output larger than the buffer");
    f[15] = 8;
    expect_error(in, 7, -XEN_EINVAL, "zstd frame size mismatch");
    f[15] = 7;
    f[14] = 0x28;
    expect_error(in, 7, -XEN_EOPNOTSUPP, "zstd frame flags not supported");
    f[14] = 0x21;
    expect_error(in, 7, -XEN_EOPNOTSUPP, "zstd dictionary not supported");
    f[14] = 0x20;
    f[16] = 0x1E;
    expect_error(in, 7, -XEN_EINVAL, "bad zstd block type");
    f[16] = 0x18;
    f[17] = 1;
    expect_error(in, 7, -XEN_EINVAL, "zstd block too large");
    f[17] = 0;
    f[26] = 0x40;
    expect_error(in, 7, -XEN_EINVAL, "data after the zstd stream");
    f[26] = 0x50;
    f[4] = 200;
    expect_error(in, 7, -XEN_EINVAL, "truncated input");
}

static void the_checksum_counts(void **state)
{
    packed_text[sizeof(packed_text) - 1] ^= 1;
    expect_error(packed_whole, 200, -XEN_EINVAL, "zstd checksum mismatch");
    packed_text[sizeof(packed_text) - 1] ^= 1;
}

static void packs_by_the_tool_come_back(void **state)
{
    static const char *const options[] = {
        "--fast=8",
        "-1",
        "-3 --no-check",
        "-5 --long=27",
        "-9",
        "-13 --no-content-size",
        "-19",
        "--ultra -22",
        "-T2 -B600000",
        "-6 --no-compress-literals",
    };
    char command[200];

    for (u32 i = 0; i < ARRAY_SIZE(options); i++)
        for (size_t len = 0; len < 100000; len = len * 9 + 1 + test_random() % 5) {
            struct bytes data = sample(len);

            snprintf(command, sizeof(command), "zstd -q -c %s", options[i]);
            round_trip(command, data);
            free(data.p);
        }
}

/* More than one chunk or block can hold, with distances to match. */
static void a_long_one(void **state)
{
    struct bytes data = sample(5000000);

    round_trip("zstd -q -c -1", data);
    free(data.p);
}

/* Sequences whose numbers together have more bits than one refill brings. */
static void far_and_long(void **state)
{
    struct bytes data = {malloc(6 << 20), 0};

    for (; data.len < 2 << 20; data.len++)
        data.p[data.len] = (u8)(test_random() >> 11);
    for (u32 i = 0; i < 60; i++) {
        size_t len = 9000 + test_random() % 40000, from = test_random() % (1 << 20);

        memcpy(data.p + data.len, data.p + from, len);
        data.len += len;
        for (len = 300 + test_random() % 500; len; len--)
            data.p[data.len++] = (u8)(test_random() >> 11);
    }
    round_trip("zstd -q -c -3 --long=27", data);
    free(data.p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_known_file),        cmocka_unit_test(frames_by_hand),
        cmocka_unit_test(the_checksum_counts), cmocka_unit_test(packs_by_the_tool_come_back),
        cmocka_unit_test(a_long_one),          cmocka_unit_test(far_and_long),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
