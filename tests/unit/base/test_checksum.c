#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "base/checksum.h"
#include "base/sha256.h"

static struct crc32_work w32;
static struct crc64_work w64;

static const u8 digits[] = "123456789";

/* The definition: one bit at a time. */
static u32 slow_crc32(const u8 *p, size_t len)
{
    u32 crc = ~0U;

    for (size_t i = 0; i < len; i++) {
        crc ^= p[i];
        for (int k = 0; k < 8; k++)
            crc = (crc >> 1) ^ (crc & 1 ? 0xEDB88320U : 0);
    }
    return ~crc;
}

static void known_values(void **state)
{
    static const u8 abc[32] = {0xBA, 0x78, 0x16, 0xBF, 0x8F, 0x01, 0xCF, 0xEA, 0x41, 0x41, 0x40,
                               0xDE, 0x5D, 0xAE, 0x22, 0x23, 0xB0, 0x03, 0x61, 0xA3, 0x96, 0x17,
                               0x7A, 0x9C, 0xB4, 0x10, 0xFF, 0x61, 0xF2, 0x00, 0x15, 0xAD};
    u8 digest[SHA256_SIZE];

    crc32_init(&w32);
    crc64_init(&w64);
    assert_int_equal(crc32(&w32, 0, digits, 9), 0xCBF43926);
    assert_int_equal(crc32(&w32, 0, digits, 0), 0);
    assert_true(crc64(&w64, 0, digits, 9) == 0x995DC9BBDF1939FAUL);
    assert_true(xxh64(digits, 0, 0) == 0xEF46DB3751D8E999UL);
    assert_true(xxh64((const u8 *)"a", 1, 0) == 0xD24EC4F1A98C6E5BUL);
    assert_true(xxh64((const u8 *)"abc", 3, 0) == 0x44BC2CF5AD770999UL);
    sha256((const u8 *)"abc", 3, digest);
    assert_memory_equal(digest, abc, 32);
}

static void pieces_make_the_whole(void **state)
{
    for (size_t cut = 0; cut <= 9; cut++) {
        assert_int_equal(crc32(&w32, crc32(&w32, 0, digits, cut), digits + cut, 9 - cut),
                         0xCBF43926);
        assert_true(crc64(&w64, crc64(&w64, 0, digits, cut), digits + cut, 9 - cut) ==
                    0x995DC9BBDF1939FAUL);
    }
}

/* Long messages are folded, long runs of zeros multiplied: neither may show. */
static void long_messages_agree(void **state)
{
    size_t len = 3 * 1024 * 1024 + 5;
    u8 *p = malloc(len);
    u32 x = 1;

    for (size_t i = 0; i < len; i++) {
        x = x * 1664525 + 1013904223;
        p[i] = (u8)(x >> 24);
    }
    for (size_t n = 32700; n < 32900; n += 3)
        assert_int_equal(crc32(&w32, 0, p + n % 7, n), slow_crc32(p + n % 7, n));
    assert_int_equal(crc32(&w32, 0, p, len), slow_crc32(p, len));
    memset(p + 300001, 0, 1500000);
    assert_int_equal(crc32(&w32, 0, p, len), slow_crc32(p, len));
    memset(p, 0, len - 1);
    assert_int_equal(crc32(&w32, 0, p, len), slow_crc32(p, len));
    assert_int_equal(crc32(&w32, 0, p, 1 << 20), slow_crc32(p, 1 << 20));
    free(p);
}

/* Lengths on either side of the padding's and the lanes' boundaries, chained into one value. */
static void every_tail_length(void **state)
{
    static const u8 want[32] = {0x63, 0x66, 0x51, 0xFE, 0x2B, 0x71, 0x85, 0xA6,
                                0x6C, 0x5F, 0x3F, 0x25, 0x79, 0xA0, 0xA8, 0xFF,
                                0x8A, 0x77, 0x94, 0x0E, 0x64, 0xB7, 0x7E, 0x39,
                                0x16, 0xCC, 0x0A, 0xF6, 0xAA, 0xAD, 0x7C, 0x75};
    u8 message[200], digest[SHA256_SIZE] = {0};
    u64 sum = 0;

    for (u32 n = 0; n < sizeof(message); n++) {
        for (u32 i = 0; i < n; i++)
            message[i] = (u8)(i * 7 + digest[i % 32]);
        sha256(message, n, digest);
        sum ^= xxh64(message, n, n);
    }
    assert_memory_equal(digest, want, 32);
    assert_true(sum == 0x3AEF0E5E2633CA36UL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_values),
        cmocka_unit_test(pieces_make_the_whole),
        cmocka_unit_test(long_messages_agree),
        cmocka_unit_test(every_tail_length),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
