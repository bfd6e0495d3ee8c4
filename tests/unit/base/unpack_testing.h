/*
 * What the decompressors' tests share: sample data, the real tools as the other side, and the
 * damage that every format must notice. Tests with tools are skipped where a tool is missing.
 */
#ifndef SERAI_UNPACK_TESTING_H
#define SERAI_UNPACK_TESTING_H

#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/unpack_impl.h"

struct bytes {
    u8 *p;
    size_t len;
};

static inline u32 test_random(void)
{
    static u32 x = 2463534242U;

    x ^= x << 13;
    x ^= x >> 17;
    x ^= x << 5;
    return x;
}

/*
 * A sample of len bytes: stretches of words, noise, zeros, short periods, and x86-like code full
 * of calls and of opcode bytes close together.
 */
static inline struct bytes sample(size_t len)
{
    static const char *const words[] = {"frame ", "grant ", "domain ", "event channel ", "\n"};
    struct bytes b = {malloc(len + 64), len};
    size_t at = 0, end;

    while (at < len) {
        u32 kind = test_random() % 6, period = 1 + test_random() % 20;

        for (end = at + 1 + test_random() % 3000; at < end && at < len;) {
            u32 r = test_random();
            const char *w = words[r % 5];

            if (kind == 0) {
                memcpy(b.p + at, w, strlen(w));
                at += strlen(w);
            } else if (kind == 1) {
                b.p[at++] = (u8)(r >> 7);
            } else if (kind == 2) {
                b.p[at++] = 0;
            } else if (kind == 3) {
                b.p[at] = at >= period ? b.p[at - period] : (u8)r;
                at++;
            } else if (kind == 4) {
                u32 operand = (u32)(s32)(s16)(r >> 8);

                b.p[at++] = 0xE8 | (r & 1);
                memcpy(b.p + at, &operand, 4);
                at += 4;
            } else {
                b.p[at++] = (u8[]){0xE8, 0xE9, 0, 0xFF, 0x8B, 0xE8, 0x01, 0xFE}[r >> 9 & 7];
            }
        }
    }
    return b;
}

/* What 'command' makes of the data on its standard input; p is NULL if it fails. */
static inline struct bytes run_tool(const char *command, struct bytes data)
{
    char name[] = "/tmp/serai-test-XXXXXX", line[512];
    struct bytes out = {NULL, 0};
    size_t room = data.len * 2 + 65536;
    int fd = mkstemp(name);
    FILE *pipe;

    assert_true(fd >= 0);
    assert_int_equal(write(fd, data.p, data.len), (ssize_t)data.len);
    close(fd);
    snprintf(line, sizeof(line), "%s < %s 2>/dev/null", command, name);
    pipe = popen(line, "r");
    assert_non_null(pipe);
    out.p = malloc(room);
    out.len = fread(out.p, 1, room, pipe);
    if (pclose(pipe) != 0 || out.len == 0) {
        free(out.p);
        out.p = NULL;
    }
    unlink(name);
    return out;
}

/* unpack() with input and output in heap blocks of just their size. */
static inline int unpack_exactly(struct bytes in, u8 *out, size_t cap, size_t *len,
                                 const char **reason)
{
    void *work = aligned_alloc(64, ROUND_UP(unpack_work_size(), 64UL));
    u8 *in_copy = malloc(in.len), *out_copy = malloc(cap);
    int rc;

    memset(work, 0x5A, unpack_work_size());
    memcpy(in_copy, in.p, in.len);
    rc = unpack(in_copy, in.len, out_copy, cap, len, work, reason);
    assert_true(*len <= cap);
    if (rc == 0 && out)
        memcpy(out, out_copy, *len);
    free(in_copy);
    free(out_copy);
    free(work);
    return rc;
}

static inline void expect_unpacks(struct bytes in, struct bytes want)
{
    const char *reason = NULL;
    u8 *out = malloc(want.len + 1);
    size_t len = 0;
    int rc = unpack_exactly(in, out, want.len, &len, &reason);

    if (rc)
        print_message("unpack: %s\n", reason);
    assert_int_equal(rc, 0);
    assert_null(reason);
    assert_int_equal(len, want.len);
    assert_memory_equal(out, want.p, len);
    free(out);
}

static inline void expect_error(struct bytes in, size_t cap, int want, const char *why)
{
    const char *reason = NULL;
    size_t len = 0;
    int rc = unpack_exactly(in, NULL, cap, &len, &reason);

    if (rc != want || (why && strcmp(reason, why) != 0))
        print_message("got %d, %s\n", rc, reason ? reason : "no reason");
    assert_int_equal(rc, want);
    assert_non_null(reason);
    if (why)
        assert_string_equal(reason, why);
}

/* Packs the sample by the command; it must come back, with Linux's trailer too, but not in less. */
static inline void round_trip(const char *command, struct bytes data)
{
    struct bytes zipped = run_tool(command, data), longer;

    if (!zipped.p) {
        print_message("skipped: %s\n", command);
        return;
    }
    expect_unpacks(zipped, data);
    longer.p = malloc(zipped.len + 9);
    memcpy(longer.p, zipped.p, zipped.len);
    memset(longer.p + zipped.len, 0x11, 9);
    longer.len = zipped.len + 4;
    expect_unpacks(longer, data);
    longer.len = zipped.len + 9;
    expect_error(longer, data.len, -XEN_EINVAL, NULL);
    if (data.len)
        expect_error(zipped, data.len - 1, -XEN_ENOSPC, "output larger than the buffer");
    free(longer.p);
    free(zipped.p);
}

/* Cut short anywhere, and with any bit wrong: an error, or the right bytes, but nothing else. */
static inline void survives_damage(struct bytes zipped, struct bytes data)
{
    u8 *out = malloc(data.len + 1);
    size_t len;

    for (size_t n = 0; n < zipped.len; n++) {
        const char *reason = NULL;

        assert_true(unpack_exactly((struct bytes){zipped.p, n}, out, data.len, &len, &reason) <
                    0);
        assert_non_null(reason);
    }
    for (size_t bit = 0; bit < zipped.len * 8; bit++) {
        const char *reason = NULL;

        zipped.p[bit / 8] ^= 1 << bit % 8;
        if (unpack_exactly(zipped, out, data.len, &len, &reason) == 0) {
            assert_int_equal(len, data.len);
            assert_memory_equal(out, data.p, len);
        } else {
            assert_non_null(reason);
        }
        zipped.p[bit / 8] ^= 1 << bit % 8;
    }
    free(out);
}

#endif
