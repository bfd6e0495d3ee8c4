#include "unit/base/unpack_testing.h"

/* Magic, one block, size. */
#define HEAD 0x02, 0x21, 0x4C, 0x18

/* The tool's output with what Linux appends. */
static struct bytes pack(struct bytes data)
{
    struct bytes zipped = run_tool("lz4 -l -c", data);

    if (!zipped.p) {
        print_message("skipped: no lz4\n");
        return zipped;
    }
    zipped.p = realloc(zipped.p, zipped.len + 4);
    for (unsigned i = 0; i < 4; i++)
        zipped.p[zipped.len++] = (u8)(data.len >> 8 * i);
    return zipped;
}

static void unpacks_what_the_tool_packs(void **state)
{
    static const size_t sizes[] = {
        1, 5, 12, 13, 100, 65535, 70000, 1 << 20, (8 << 20) + 1, 20 << 20};

    for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
        struct bytes data = sample(sizes[i]), zipped = pack(data);

        if (zipped.p) {
            expect_unpacks(zipped, data);
            expect_error(zipped, data.len - 1, -XEN_ENOSPC, "output larger than the buffer");
            zipped.len -= 4;
            expect_error(zipped, data.len, -XEN_EINVAL, "truncated input");
        }
        free(zipped.p);
        free(data.p);
    }
}

static void every_short_distance(void **state)
{
    struct bytes data = {malloc(1 << 20), 0}, zipped;

    for (u32 period = 1; period <= 40; period++)
        for (u32 len = 1; len < 90; len += 3) {
            u32 first = test_random();

            for (u32 i = 0; i < period + len; i++)
                data.p[data.len++] = (u8)(first + (i % period) * (first >> 8 | 1));
        }
    zipped = pack(data);
    if (zipped.p)
        expect_unpacks(zipped, data);
    free(zipped.p);
    free(data.p);
}

static void by_hand(void **state)
{
    /* "abc", then 4 + 15 + 255 + 1 bytes from 3 back, then "z" alone. */
    static u8 in[] = {HEAD, 10,  0, 0,    0,   0x3F, 'a', 'b', 'c', 3,
                      0,    255, 1, 0x10, 'z', 23,   1,   0,   0};
    u8 want[279];

    for (unsigned i = 0; i < 278; i++)
        want[i] = (u8)('a' + i % 3);
    want[278] = 'z';
    expect_unpacks((struct bytes){in, sizeof(in)}, (struct bytes){want, sizeof(want)});
}

static void names_what_is_wrong(void **state)
{
    u8 early[] = {HEAD, 6, 0, 0, 0, 0x10, 'a', 2, 0, 0x10, 'z', 6, 0, 0, 0};
    u8 nowhere[] = {HEAD, 6, 0, 0, 0, 0x10, 'a', 0, 0, 0x10, 'z', 6, 0, 0, 0};
    u8 size[] = {HEAD, 2, 0, 0, 0, 0x10, 'a', 2, 0, 0, 0};
    u8 literals[] = {HEAD, 2, 0, 0, 0, 0x20, 'a', 1, 0, 0, 0};
    u8 half[] = {HEAD, 3, 0, 0, 0, 0x10, 'a', 1, 1, 0, 0, 0};
    u8 endless[] = {HEAD, 3, 0, 0, 0, 0xF0, 255, 255, 1, 0, 0, 0};
    u8 empty[] = {HEAD, 0, 0, 0, 0, 0, 0, 0, 0};
    u8 beyond[] = {HEAD, 99, 0, 0, 0, 0x10, 'a', 1, 0, 0, 0};

    expect_error((struct bytes){early, sizeof(early)}, 100, -XEN_EINVAL,
                 "LZ4 match before the block's start");
    expect_error((struct bytes){nowhere, sizeof(nowhere)}, 100, -XEN_EINVAL,
                 "LZ4 match before the block's start");
    expect_error((struct bytes){size, sizeof(size)}, 100, -XEN_EINVAL,
                 "LZ4 data of another size than Linux says");
    expect_error((struct bytes){literals, sizeof(literals)}, 100, -XEN_EINVAL,
                 "truncated input");
    expect_error((struct bytes){half, sizeof(half)}, 100, -XEN_EINVAL, "truncated input");
    expect_error((struct bytes){endless, sizeof(endless)}, 100, -XEN_EINVAL, "truncated input");
    expect_error((struct bytes){empty, sizeof(empty)}, 100, -XEN_EINVAL, "truncated input");
    expect_error((struct bytes){beyond, sizeof(beyond)}, 100, -XEN_EINVAL, "truncated input");
}

/* 255 matches of 32 KiB and more in one block: no tool makes that. */
static void blocks_have_a_limit(void **state)
{
    size_t len = 40000, at = 0;
    u8 *in = malloc(len);

    memcpy(in, (u8[]){HEAD, 0, 0, 0, 0, 0x1F, 'a', 1, 0}, 12);
    for (at = 12; at < len - 7; at++)
        in[at] = 255;
    memcpy(in + at, (u8[]){0, 0x10, 'z', 0, 0, 0, 0}, 7);
    for (unsigned i = 0; i < 4; i++)
        in[4 + i] = (u8)((len - 12) >> 8 * i);
    expect_error((struct bytes){in, len}, 20 << 20, -XEN_EINVAL,
                 "LZ4 block of more than 8 MiB");
    expect_error((struct bytes){in, len}, 1 << 20, -XEN_ENOSPC,
                 "output larger than the buffer");
    free(in);
}

/* No checksum: damage may go unnoticed, but never leads outside the buffers. */
static void damage_stays_inside(void **state)
{
    struct bytes data = sample(700), zipped = pack(data);
    const char *reason;
    size_t len;

    for (size_t bit = 0; zipped.p && bit < zipped.len * 8; bit++) {
        zipped.p[bit / 8] ^= 1 << bit % 8;
        reason = NULL;
        if (unpack_exactly(zipped, NULL, 2000, &len, &reason))
            assert_non_null(reason);
        zipped.p[bit / 8] ^= 1 << bit % 8;
    }
    for (size_t n = 4; zipped.p && n < zipped.len; n++)
        expect_error((struct bytes){zipped.p, n}, 2000, -XEN_EINVAL, NULL);
    free(zipped.p);
    free(data.p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unpacks_what_the_tool_packs),
        cmocka_unit_test(every_short_distance),
        cmocka_unit_test(by_hand),
        cmocka_unit_test(names_what_is_wrong),
        cmocka_unit_test(blocks_have_a_limit),
        cmocka_unit_test(damage_stays_inside),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
