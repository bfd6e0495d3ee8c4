/*
 * The XZ container: stream header, blocks (a filter chain, padding, a check), index, footer.
 * Filters: LZMA2, optionally after x86 BCJ, which is undone in place once its block is unpacked.
 */
#include "base/unpack_impl.h"
#include "base/checksum.h"
#include "base/sha256.h"
#include "base/lzma.h"
#include "base/string.h"

#define HEADER_SIZE 12

enum xz_check { CHECK_NONE = 0, CHECK_CRC32 = 1, CHECK_CRC64 = 4, CHECK_SHA256 = 10 };

enum xz_filter { FILTER_X86 = 0x04, FILTER_LZMA2 = 0x21 };

#define VLI_NONE (~0UL)

struct block {
    size_t header_size;
    u64 in_size, out_size; /* as declared, or VLI_NONE */
    bool x86;
    u32 x86_start;
};

/* The index repeats each block's sizes; both sides are hashed and compared at the end. */
struct sizes {
    u64 blocks, hash;
};

struct xz {
    struct unpack_job *job;
    size_t at; /* the next byte of input */
    enum xz_check check;
    struct sizes found, listed;
    struct crc32_work crc32;
    struct crc64_work crc64;
    struct lzma lzma;
};

size_t xz_work_size(void)
{
    return sizeof(struct xz);
}

static int malformed(struct xz *x, const char *reason)
{
    return unpack_fail(x->job, -XEN_EINVAL, reason);
}

static int unsupported(struct xz *x, const char *reason)
{
    return unpack_fail(x->job, -XEN_EOPNOTSUPP, reason);
}

/* At least n more bytes of input? */
static bool has(const struct xz *x, size_t n)
{
    return n <= x->job->in_len - x->at;
}

static bool crc32_good(struct xz *x, const u8 *p, size_t len)
{
    return !x->job->verify || crc32(&x->crc32, 0, p, len) == get_le32(p + len);
}

/* A number of seven bits a byte, the last byte without its high bit, none longer than needed. */
static bool get_vli(const u8 *p, size_t len, size_t *at, u64 *value)
{
    u64 v = 0;

    for (u32 shift = 0; shift < 63; shift += 7) {
        u8 b;

        if (*at >= len)
            return false;
        b = p[(*at)++];
        v |= (u64)(b & 0x7F) << shift;
        if (b & 0x80)
            continue;
        *value = v;
        return b != 0 || shift == 0;
    }
    return false;
}

static bool all_zero(const u8 *p, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (p[i])
            return false;
    return true;
}

static void count_block(struct sizes *s, u64 unpadded, u64 unpacked)
{
    s->blocks++;
    s->hash = (s->hash ^ unpadded) * 0x9E3779B97F4A7C15UL;
    s->hash ^= s->hash >> 29;
    s->hash = (s->hash ^ unpacked) * 0x9E3779B97F4A7C15UL;
    s->hash ^= s->hash >> 31;
}

static int stream_header(struct xz *x)
{
    const u8 *p = x->job->in;

    if (!has(x, HEADER_SIZE))
        return unpack_truncated(x->job);
    if (!crc32_good(x, p + 6, 2))
        return malformed(x, "XZ stream header CRC32 mismatch");
    if (p[6] != 0 || p[7] > 15)
        return unsupported(x, "XZ stream flags not supported");
    if (p[7] != CHECK_NONE && p[7] != CHECK_CRC32 && p[7] != CHECK_CRC64 &&
        p[7] != CHECK_SHA256)
        return unsupported(x, "XZ check type not supported");
    x->check = p[7];
    if (x->check == CHECK_CRC64)
        crc64_init(&x->crc64);
    x->at = HEADER_SIZE;
    return 0;
}

/* One filter's flags at p[*at]. LZMA2 must be the last and only the last. */
static int block_filter(struct xz *x, struct block *b, const u8 *p, size_t *at, bool last)
{
    u64 id, size;

    if (!get_vli(p, b->header_size, at, &id) || !get_vli(p, b->header_size, at, &size) ||
        size > b->header_size - *at)
        return malformed(x, "bad XZ filter flags");
    p += *at;
    *at += size;
    if (id == FILTER_LZMA2 && last) {
        if (size != 1 || p[0] > 40)
            return malformed(x, "bad LZMA2 filter properties");
        return 0;
    }
    if (id == FILTER_X86 && !last && !b->x86) {
        if (size != 0 && size != 4)
            return malformed(x, "bad x86 filter properties");
        b->x86 = true;
        b->x86_start = size ? get_le32(p) : 0;
        return 0;
    }
    return unsupported(x, "XZ filter not supported");
}

static int block_header(struct xz *x, struct block *b)
{
    const u8 *p = x->job->in + x->at;
    size_t at = 2;
    u32 filters;

    *b = (struct block){.in_size = VLI_NONE, .out_size = VLI_NONE};
    b->header_size = (p[0] + 1) * 4U - 4;
    if (!has(x, b->header_size + 4))
        return unpack_truncated(x->job);
    if (!crc32_good(x, p, b->header_size))
        return malformed(x, "XZ block header CRC32 mismatch");
    if (p[1] & 0x3C)
        return unsupported(x, "XZ block flags not supported");
    if ((p[1] & 0x40 && !get_vli(p, b->header_size, &at, &b->in_size)) ||
        (p[1] & 0x80 && !get_vli(p, b->header_size, &at, &b->out_size)))
        return malformed(x, "bad sizes in an XZ block header");
    filters = (p[1] & 3) + 1;
    for (u32 i = 1; i <= filters; i++) {
        int rc = block_filter(x, b, p, &at, i == filters);

        if (rc)
            return rc;
    }
    if (!all_zero(p + at, b->header_size - at))
        return unsupported(x, "XZ block header has unknown fields");
    b->header_size += 4;
    x->at += b->header_size;
    return 0;
}

/*
 * x86 BCJ: the encoder turned the relative operand of each likely call (E8) or jump (E9) into an
 * absolute one, so that calls of one function look alike. "Likely" is that the operand's top byte
 * is 00 or FF; and an opcode byte that was passed over within the last three bytes overlaps
 * this operand, which then counts only if there was one such, and the other operand's
 * top byte, here byte 4 - distance, is neither.
 */
static bool is_sign(u32 byte)
{
    return byte == 0 || byte == 0xFF;
}

/*
 * Undoes the conversion at p, the opcode, which lies at position 'ip'. 'passed': bit d - 1 says
 * that an opcode was passed over d bytes before. False: not converted.
 */
static bool x86_operand(u8 *p, u32 ip, u32 passed)
{
    u32 src = get_le32(p + 1), dst = src - (ip + 5);

    if (!is_sign(p[4]))
        return false;
    if (passed) {
        u32 distance = passed == 4 ? 3 : passed, shift = 24 - 8 * distance;

        if (passed == 3 || passed > 4 || is_sign(p[4 - distance]))
            return false;
        /* The encoder went round again when the result looked like its own kind of operand. */
        if (is_sign(dst >> shift & 0xFF))
            dst = (dst ^ ((1U << (shift + 8)) - 1)) - (ip + 5);
    }
    dst &= 0x01FFFFFF;
    dst |= 0 - (dst & 0x01000000);
    __builtin_memcpy(p + 1, &dst, 4);
    return true;
}

/*
 * Marks E8 and E9 among eight bytes by their high bits, which the caller picks with MARK. Marks above
 * the lowest may be wrong.
 */
#define MARK 0x8080808080808080UL

__inline_always u64 mark_opcodes(u64 w)
{
    u64 v = w ^ 0xE8E8E8E8E8E8E8E8UL;

    return (v - 0x0202020202020202UL) & ~v;
}

/* The first E8 or E9 from p on, or 'end'. Kernels hold megabytes of zeros. */
static u8 *next_opcode(u8 *p, u8 *end)
{
    u64 marks;

    while (end - p >= 32) {
        u64 a = get_le64(p), b = get_le64(p + 8), c = get_le64(p + 16), d = get_le64(p + 24);

        if ((a | b | c | d) == 0) {
            p += 32;
            p += zero_run(p, (size_t)(end - p));
            continue;
        }
        if ((mark_opcodes(a) | mark_opcodes(b) | mark_opcodes(c) | mark_opcodes(d)) & MARK)
            break;
        p += 32;
    }
    for (; end - p >= 8; p += 8) {
        marks = mark_opcodes(get_le64(p)) & MARK;
        if (marks)
            return p + __builtin_ctzl(marks) / 8;
    }
    while (p < end && (*p & 0xFE) != 0xE8)
        p++;
    return p;
}

static void x86_undo(u8 *start, size_t len, u32 ip)
{
    u8 *p = start, *last = start, *end; /* last: behind the last opcode passed over */
    u32 passed = 0;

    if (len < 5)
        return;
    end = start + len - 4;
    while ((p = next_opcode(p, end)) < end) {
        passed = p - last < 3 ? (passed << (p - last)) & 7 : 0;
        if (x86_operand(p, ip + (u32)(p - start), passed)) {
            p += 5;
            passed = 0;
        } else {
            p++;
            passed = (passed << 1 | 1) & 7;
        }
        last = p;
    }
}

static int block_check(struct xz *x, const u8 *out, size_t len)
{
    static const u8 size[16] = {[CHECK_CRC32] = 4, [CHECK_CRC64] = 8, [CHECK_SHA256] = 32};
    const u8 *p = x->job->in + x->at;
    u8 digest[SHA256_SIZE];

    if (!has(x, size[x->check]))
        return unpack_truncated(x->job);
    x->at += size[x->check];
    if (!x->job->verify)
        return 0;
    if (x->check == CHECK_CRC32 && crc32(&x->crc32, 0, out, len) != get_le32(p))
        return malformed(x, "CRC32 mismatch");
    if (x->check == CHECK_CRC64 && crc64(&x->crc64, 0, out, len) != get_le64(p))
        return malformed(x, "CRC64 mismatch");
    if (x->check == CHECK_SHA256) {
        sha256(out, len, digest);
        if (memcmp(digest, p, SHA256_SIZE) != 0)
            return malformed(x, "SHA-256 mismatch");
    }
    return 0;
}

static int block(struct xz *x)
{
    struct unpack_job *job = x->job;
    size_t out_start = job->out_len, used = 0, padding, unpacked, check_at;
    struct block b;
    int rc = block_header(x, &b);

    if (rc)
        return rc;
    rc = lzma2_decode(&x->lzma, job, job->in + x->at, job->in_len - x->at, &used);
    if (rc)
        return rc;
    unpacked = job->out_len - out_start;
    if ((b.in_size != VLI_NONE && b.in_size != used) ||
        (b.out_size != VLI_NONE && b.out_size != unpacked))
        return malformed(x, "XZ block size mismatch");
    x->at += used;
    padding = -used & 3;
    if (!has(x, padding))
        return unpack_truncated(job);
    if (!all_zero(job->in + x->at, padding))
        return malformed(x, "XZ block padding is not zero");
    x->at += padding;
    if (b.x86)
        x86_undo(job->out + out_start, unpacked, b.x86_start);
    check_at = x->at;
    rc = block_check(x, job->out + out_start, unpacked);
    count_block(&x->found, b.header_size + used + (x->at - check_at), unpacked);
    return rc;
}

/* The index, from its zero byte to its CRC32. */
static int stream_index(struct xz *x, size_t *size)
{
    const u8 *p = x->job->in + x->at;
    size_t len = x->job->in_len - x->at, at = 1;
    u64 records, unpadded, unpacked;

    if (!get_vli(p, len, &at, &records) || records != x->found.blocks)
        return malformed(x, "XZ index does not list the blocks");
    while (records--) {
        if (!get_vli(p, len, &at, &unpadded) || !get_vli(p, len, &at, &unpacked))
            return malformed(x, "bad XZ index record");
        count_block(&x->listed, unpadded, unpacked);
    }
    if (x->listed.hash != x->found.hash)
        return malformed(x, "XZ index does not match the blocks");
    *size = ROUND_UP(at, 4UL);
    if (!has(x, *size + 4))
        return unpack_truncated(x->job);
    if (!all_zero(p + at, *size - at))
        return malformed(x, "XZ index padding is not zero");
    if (!crc32_good(x, p, *size))
        return malformed(x, "XZ index CRC32 mismatch");
    *size += 4;
    x->at += *size;
    return 0;
}

static int stream_footer(struct xz *x, size_t index_size)
{
    const u8 *p = x->job->in + x->at;

    if (!has(x, HEADER_SIZE))
        return unpack_truncated(x->job);
    if (p[10] != 'Y' || p[11] != 'Z')
        return malformed(x, "bad XZ stream footer");
    if (x->job->verify && crc32(&x->crc32, 0, p + 4, 6) != get_le32(p))
        return malformed(x, "XZ stream footer CRC32 mismatch");
    if (((u64)get_le32(p + 4) + 1) * 4 != index_size || p[8] != 0 || p[9] != x->check)
        return malformed(x, "XZ stream footer does not match the stream");
    x->at += HEADER_SIZE;
    if (has(x, UNPACK_TRAILER + 1))
        return malformed(x, "data after the XZ stream");
    return 0;
}

int xz_decode(struct unpack_job *job)
{
    struct xz *x = job->work;
    size_t index_size = 0;
    int rc;

    x->job = job;
    x->at = 0;
    x->found = x->listed = (struct sizes){0, 0};
    if (job->verify)
        crc32_init(&x->crc32);
    rc = stream_header(x);
    while (!rc && has(x, 1) && job->in[x->at] != 0)
        rc = block(x);
    if (!rc && !has(x, 1))
        rc = unpack_truncated(job);
    if (!rc)
        rc = stream_index(x, &index_size);
    if (!rc)
        rc = stream_footer(x, index_size);
    return rc;
}
