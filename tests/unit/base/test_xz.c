#include "unit/base/unpack_testing.h"
#include "base/lzma.h"

static const u8 text[] =
    "Serai maps a frame, grants a frame, maps a frame and grants a frame.\n";

/* xz --check=crc32 --x86 --lzma2=preset=6 of 'text'. */
static u8 packed_text[] = {
    0xFD, 0x37, 0x7A, 0x58, 0x5A, 0x00, 0x00, 0x01, 0x69, 0x22, 0xDE, 0x36, 0x02, 0x01, 0x04,
    0x00, 0x21, 0x01, 0x16, 0x00, 0x0D, 0x86, 0x35, 0x1F, 0xE0, 0x00, 0x44, 0x00, 0x2A, 0x5D,
    0x00, 0x29, 0x99, 0x4A, 0x46, 0x23, 0x34, 0x48, 0xD2, 0x55, 0xBD, 0x74, 0x9F, 0xB5, 0x0E,
    0x55, 0x11, 0x08, 0x4F, 0xEF, 0x88, 0x1F, 0x74, 0x5C, 0x6A, 0x6B, 0xA7, 0xDE, 0x36, 0x7A,
    0xE3, 0x77, 0xFA, 0x83, 0xF8, 0xCC, 0x74, 0x8D, 0xF2, 0x16, 0x40, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x86, 0x85, 0xAA, 0xED, 0x00, 0x01, 0x42, 0x45, 0xB3, 0x2D, 0x7F, 0xE4, 0x90, 0x42,
    0x99, 0x0D, 0x01, 0x00, 0x00, 0x00, 0x00, 0x01, 0x59, 0x5A};

static const struct bytes whole = {(u8 *)text, sizeof(text) - 1};
static const struct bytes packed_whole = {packed_text, sizeof(packed_text)};

static void a_known_file(void **state)
{
    assert_int_equal(unpack_identify(packed_text, sizeof(packed_text)), UNPACK_XZ);
    expect_unpacks(packed_whole, whole);
    survives_damage(packed_whole, whole);
}

/* One byte changed; the CRC32s of headers are not looked at, so that what lies behind is. */
static void expect_damage(size_t at, u8 value, int want, const char *why)
{
    struct unpack_job job = {.in = packed_text, .in_len = sizeof(packed_text), .out_cap = 200};
    u8 out[200], saved = packed_text[at];
    int rc;

    job.out = out;
    job.work = malloc(xz_work_size());
    packed_text[at] = value;
    rc = xz_decode(&job);
    packed_text[at] = saved;
    free(job.work);
    assert_int_equal(rc, want);
    assert_string_equal(job.reason, why);
}

static void names_what_is_wrong(void **state)
{
    size_t end = sizeof(packed_text);

    expect_damage(6, 1, -XEN_EOPNOTSUPP, "XZ stream flags not supported");
    expect_damage(7, 2, -XEN_EOPNOTSUPP, "XZ check type not supported");
    expect_damage(13, 0x05, -XEN_EOPNOTSUPP, "XZ block flags not supported");
    expect_damage(14, 0x03, -XEN_EOPNOTSUPP, "XZ filter not supported");
    expect_damage(18, 41, -XEN_EINVAL, "bad LZMA2 filter properties");
    expect_damage(24, 0x80, -XEN_EINVAL, "LZMA2 stream does not start with a reset");
    expect_damage(24, 3, -XEN_EINVAL, "bad LZMA2 control byte");
    expect_damage(29, 225, -XEN_EINVAL, "bad LZMA2 properties");
    expect_damage(30, 1, -XEN_EINVAL, "bad start of an LZMA chunk");
    expect_damage(26, 0x43, -XEN_EINVAL, "LZMA chunk does not end where it should");
    expect_damage(end - 1, 'X', -XEN_EINVAL, "bad XZ stream footer");
    expect_damage(end - 8, 9, -XEN_EINVAL, "XZ stream footer does not match the stream");
    expect_damage(end - 3, 0, -XEN_EINVAL, "XZ stream footer does not match the stream");
    expect_damage(end - 19, 2, -XEN_EINVAL, "XZ index does not list the blocks");
    expect_damage(end - 18, 1, -XEN_EINVAL, "XZ index does not match the blocks");
    packed_text[end - 24] ^= 1;
    expect_error(packed_whole, 200, -XEN_EINVAL, "CRC32 mismatch");
    packed_text[end - 24] ^= 1;
    packed_text[8] ^= 1;
    expect_error(packed_whole, 200, -XEN_EINVAL, "XZ stream header CRC32 mismatch");
    packed_text[8] ^= 1;
    expect_error((struct bytes){packed_text, end - 1}, 200, -XEN_EINVAL, "truncated input");
}

static void packs_by_the_tool_come_back(void **state)
{
    static const char *const options[] = {
        "--check=crc32 -0",
        "--check=crc64 -6",
        "--check=sha256 -9e",
        "--check=none -1",
        "--check=crc32 --x86 --lzma2=preset=6,dict=32MiB",
        "--check=crc32 --x86=start=305419896 --lzma2=preset=2",
        "--check=crc32 --lzma2=preset=6,lc=0,lp=4,pb=4",
        "--check=crc32 --lzma2=preset=6,lc=4,lp=0,pb=0",
        "--check=crc32 --lzma2=preset=6,lc=1,lp=2,pb=1,nice=5",
        "--check=crc32 --lzma2=preset=6,dict=4KiB",
        "--check=crc32 --block-size=20000 -T2 --x86 --lzma2=preset=3",
        "--check=crc64 --block-size=7000",
    };
    char command[200];

    for (u32 i = 0; i < ARRAY_SIZE(options); i++)
        for (size_t len = 0; len < 100000; len = len * 9 + 1 + test_random() % 5) {
            struct bytes data = sample(len);

            snprintf(command, sizeof(command), "xz -c -T1 %s", options[i]);
            round_trip(command, data);
            free(data.p);
        }
}

static void other_filters_are_refused(void **state)
{
    struct bytes data = sample(5000);
    struct bytes arm = run_tool("xz -c --arm --lzma2", data);
    struct bytes delta = run_tool("xz -c --delta --lzma2", data);

    if (arm.p && delta.p) {
        expect_error(arm, 5000, -XEN_EOPNOTSUPP, "XZ filter not supported");
        expect_error(delta, 5000, -XEN_EOPNOTSUPP, "XZ filter not supported");
    }
    free(arm.p);
    free(delta.p);
    free(data.p);
}

/* More than one chunk or block can hold, with distances to match. */
static void a_long_one(void **state)
{
    struct bytes data = sample(5000000);

    round_trip("xz -c -T1 --x86 --lzma2=preset=1,dict=32MiB", data);
    free(data.p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_known_file),
        cmocka_unit_test(names_what_is_wrong),
        cmocka_unit_test(packs_by_the_tool_come_back),
        cmocka_unit_test(a_long_one),
        cmocka_unit_test(other_filters_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
