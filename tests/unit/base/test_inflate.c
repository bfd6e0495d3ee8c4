#include "unit/base/unpack_testing.h"

static const u8 text[] =
    "Serai maps a frame, grants a frame, maps a frame and grants a frame.\n"
    "Serai maps a page, grants a page, maps a page and grants a page.\n";

/* gzip -n -9 of 'text', behind a header with every optional field. */
static u8 packed_text[] = {
    0x1F, 0x8B, 0x08, 0x1E, 0x00, 0x00, 0x00, 0x00, 0x00, 0x03, 0x04, 0x00, 0x01, 0x02,
    0x03, 0x04, 0x6E, 0x61, 0x6D, 0x65, 0x00, 0x63, 0x6F, 0x6D, 0x6D, 0x65, 0x6E, 0x74,
    0x00, 0xA1, 0x58, 0x0B, 0x4E, 0x2D, 0x4A, 0xCC, 0x54, 0xC8, 0x4D, 0x2C, 0x28, 0x56,
    0x48, 0x54, 0x48, 0x2B, 0x4A, 0xCC, 0x4D, 0xD5, 0x51, 0x48, 0x2F, 0x4A, 0xCC, 0x2B,
    0x41, 0xE2, 0x23, 0xCB, 0x2A, 0x24, 0xE6, 0xA5, 0xA0, 0x29, 0xD0, 0xE3, 0x0A, 0x46,
    0x36, 0xA4, 0x20, 0x31, 0x1D, 0xD9, 0x0C, 0x08, 0x17, 0x49, 0x0E, 0xD5, 0x04, 0x90,
    0x88, 0x1E, 0x17, 0x00, 0x17, 0x67, 0x7B, 0x7C, 0x86, 0x00, 0x00, 0x00};

static const struct bytes whole = {(u8 *)text, sizeof(text) - 1};
static const struct bytes packed_whole = {packed_text, sizeof(packed_text)};

static void a_known_file(void **state)
{
    assert_int_equal(unpack_identify(packed_text, sizeof(packed_text)), UNPACK_GZIP);
    expect_unpacks(packed_whole, whole);
    survives_damage(packed_whole, whole);
}

static void header_fields(void **state)
{
    packed_text[14] ^= 1;
    expect_error(packed_whole, 200, -XEN_EINVAL, "gzip header CRC mismatch");
    packed_text[14] ^= 1;
    packed_text[3] |= 0x20;
    expect_error(packed_whole, 200, -XEN_EOPNOTSUPP, "gzip method or flags not supported");
    packed_text[3] &= ~0x20;
    packed_text[sizeof(packed_text) - 5] ^= 1;
    expect_error(packed_whole, 200, -XEN_EINVAL, "CRC32 mismatch");
    packed_text[sizeof(packed_text) - 5] ^= 1;
    packed_text[sizeof(packed_text) - 1] ^= 1;
    expect_error(packed_whole, 200, -XEN_EINVAL, "gzip size mismatch");
    packed_text[sizeof(packed_text) - 1] ^= 1;
}

/* A member of one deflate stream, with neither checksum nor size looked at. */
static void expect_deflate(const u8 *stream, size_t len, int want, const char *why)
{
    u8 in[100] = {0x1F, 0x8B, 8}, out[300];
    struct unpack_job job = {.in = in, .in_len = 10 + len + 8, .out = out, .out_cap = 300};
    int rc;

    memcpy(in + 10, stream, len);
    job.work = malloc(inflate_work_size());
    rc = gzip_decode(&job);
    free(job.work);
    assert_int_equal(rc, want);
    if (want)
        assert_string_equal(job.reason, why);
}

#define DEFLATE(want, why, ...)                                                                \
    expect_deflate((const u8[]){__VA_ARGS__}, sizeof((const u8[]){__VA_ARGS__}), want, why)

static void bad_streams(void **state)
{
    DEFLATE(0, NULL, 0x01, 2, 0, 0xFD, 0xFF, 'o', 'k');
    DEFLATE(-XEN_EINVAL, "bad length of a stored block", 0x01, 2, 0, 0xFC, 0xFF, 'o', 'k');
    DEFLATE(-XEN_EINVAL, "bad deflate block type", 0x07);
    DEFLATE(0, NULL, 0x03, 0x00);
    DEFLATE(-XEN_EINVAL, "deflate distance too far back", 0x03, 0x02, 0x00);
    DEFLATE(-XEN_EINVAL, "invalid deflate code", 0x63, 0x18, 0x07, 0x00);
    DEFLATE(-XEN_EINVAL, "too many deflate codes", 0xFD, 0xFF, 0xFF);
    DEFLATE(-XEN_EINVAL, "bad set of deflate codes", 0x05, 0x00, 0x00, 0x00, 0x00);
}

static void packs_by_the_tool_come_back(void **state)
{
    static const char *const commands[] = {"gzip -nc -1", "gzip -nc -6", "gzip -c -9"};

    for (u32 i = 0; i < ARRAY_SIZE(commands); i++)
        for (size_t len = 0; len < 3000000; len = len * 5 + 1 + test_random() % 5) {
            struct bytes data = sample(len);

            round_trip(commands[i], data);
            free(data.p);
        }
}

static void members_follow_each_other(void **state)
{
    struct bytes data = sample(40000), twice = {malloc(80000), 80000}, in;
    struct bytes zipped = run_tool("gzip -nc", data);

    if (!zipped.p)
        skip();
    in.len = 2 * zipped.len;
    in.p = malloc(in.len);
    for (u32 i = 0; i < 2; i++) {
        memcpy(in.p + i * zipped.len, zipped.p, zipped.len);
        memcpy(twice.p + i * data.len, data.p, data.len);
    }
    expect_unpacks(in, twice);
    free(in.p);
    free(zipped.p);
    free(twice.p);
    free(data.p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_known_file),
        cmocka_unit_test(header_fields),
        cmocka_unit_test(bad_streams),
        cmocka_unit_test(packs_by_the_tool_come_back),
        cmocka_unit_test(members_follow_each_other),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
