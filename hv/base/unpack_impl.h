/*
 * What the decompressors share among themselves. Private to unpack.c, the decoders, checksum.c and
 * their tests.
 */
#ifndef SERAI_BASE_UNPACK_IMPL_H
#define SERAI_BASE_UNPACK_IMPL_H

#include "base/types.h"
#include "base/unpack.h"

#define __inline_always static must_inline

/* One decompression. The decoders advance 'out_len' past what is complete. */
struct unpack_job {
    const u8 *in;
    size_t in_len;
    u8 *out;
    size_t out_cap;
    size_t out_len;
    void *work;
    bool verify; /* false only in fuzzers, which cannot guess checksums */
    const char *reason;
};

size_t xz_work_size(void);
size_t zstd_work_size(void);
size_t inflate_work_size(void);

must_check int xz_decode(struct unpack_job *job);
must_check int zstd_decode(struct unpack_job *job);
must_check int gzip_decode(struct unpack_job *job);
must_check int lz4_decode(struct unpack_job *job);

must_check int unpack_job_run(struct unpack_job *job, enum unpack_format format);

/* Names the fault and hands the error back; the first name stays. */
static inline int unpack_fail(struct unpack_job *job, int rc, const char *reason)
{
    if (!job->reason)
        job->reason = reason;
    return rc;
}

static inline int unpack_truncated(struct unpack_job *job)
{
    return unpack_fail(job, -XEN_EINVAL, "truncated input");
}

static inline int unpack_overflow(struct unpack_job *job)
{
    return unpack_fail(job, -XEN_ENOSPC, "output larger than the buffer");
}

__inline_always void copy8(u8 *dst, const u8 *src)
{
    u64 v;

    __builtin_memcpy(&v, src, 8);
    __builtin_memcpy(dst, &v, 8);
}

/* How many zero bytes p starts with, in steps of 64. */
static inline size_t zero_run(const u8 *p, size_t len)
{
    const u8 *start = p;

    for (; len >= 64; len -= 64, p += 64)
        if (get_le64(p) | get_le64(p + 8) | get_le64(p + 16) | get_le64(p + 24) |
            get_le64(p + 32) | get_le64(p + 40) | get_le64(p + 48) | get_le64(p + 56))
            break;
    return (size_t)(p - start);
}

/* copy_match() may write this many bytes too many. */
#define COPY_SLACK 32

__inline_always void copy4(u8 *dst, const u8 *src)
{
    u32 v;

    __builtin_memcpy(&v, src, 4);
    __builtin_memcpy(dst, &v, 4);
}

/*
 * Near repeats: once eight bytes are laid down, the distance is as good as a multiple of itself
 * that is at least 8.
 */
__inline_always void copy_near(u8 *out, size_t dist, const u8 *end)
{
    static const u8 multiple[8] = {8, 8, 8, 9, 8, 10, 12, 14};
    const u8 *from = out - dist;

    if (likely(dist >= 4)) {
        copy4(out, from);
        copy4(out + 4, from + 4);
    } else {
        for (u32 i = 0; i < 8; i++)
            out[i] = from[i];
    }
    out += 8;
    for (from = out - multiple[dist]; out < end; out += 16, from += 16) {
        copy8(out, from);
        copy8(out + 8, from + 8);
    }
}

/* 'len' bytes from 'dist' back, both at least 1; the copy may overlap itself, repeating. */
__inline_always void copy_match(u8 *out, size_t dist, size_t len)
{
    const u8 *from = out - dist, *end = out + len;

    if (unlikely(dist < 8)) {
        copy_near(out, dist, end);
        return;
    }
    copy8(out, from);
    for (out += 8, from += 8; out < end; out += 16, from += 16) {
        copy8(out, from);
        copy8(out + 8, from + 8);
    }
}

/* The same without slack. */
static inline void copy_exact(u8 *out, size_t dist, size_t len)
{
    for (; len; len--, out++)
        *out = *(out - dist);
}

#endif
