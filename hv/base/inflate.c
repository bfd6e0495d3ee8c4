/*
 * gzip (RFC 1952) around deflate (RFC 1951). Members may follow each other.
 */
#include "base/unpack_impl.h"
#include "base/checksum.h"
#include "base/string.h"

#define LITLEN_CODES 288
#define DIST_CODES   32
#define MAX_BITS     15

/*
 * Codes are looked up by the next 'primary' bits of input. Longer ones lead to a second table for
 * the bits after those; such a table serves at least two codes, which bounds their number.
 */
#define LITLEN_PRIMARY 11
#define DIST_PRIMARY   8
#define LITLEN_TABLE   ((1 << LITLEN_PRIMARY) + (LITLEN_CODES / 2 << (MAX_BITS - LITLEN_PRIMARY)))
#define DIST_TABLE     ((1 << DIST_PRIMARY) + (DIST_CODES / 2 << (MAX_BITS - DIST_PRIMARY)))

/*
 * A table entry:
 *    31       literal             30..16  its byte; the base of a length or distance; where a
 *                                         second table begins
 *    15       exceptional: 14 = end of block, 13 = second table, neither = no such code
 *    12..8    bits of the code    7..0    bits of the code and of the number that follows it;
 *                                         of the index into a second table
 */
#define E_LITERAL     (1U << 31)
#define E_EXCEPTIONAL (1U << 15)
#define E_END         (1U << 14)
#define E_SECOND      (1U << 13)
#define E_VALUE(e)    ((e) >> 16 & 0x7FFF)
#define E_CODE(e)     ((e) >> 8 & 0x1F)
#define E_TOTAL(e)    ((e)&0xFF)

/* What one turn of the fast loop can take of input and give of output. */
#define IN_MARGIN  24
#define OUT_MARGIN (3 + 258 + COPY_SLACK)

/* The input by bits, lowest first. */
struct bits {
    u64 next; /* 'count' bits; above them what follows in the input, or zeros */
    u32 count;
    u32 invented; /* zero bytes read behind the end of the input */
    const u8 *in, *in_end;
};

struct inflate {
    struct unpack_job *job;
    struct crc32_work crc32;
    struct bits b;
    u8 *out, *out_end, *base; /* base: where this member's window starts */
    bool fixed;               /* the tables hold the fixed codes */
    u32 litlen[LITLEN_TABLE];
    u32 dist[DIST_TABLE];
    u32 litlen_meaning[LITLEN_CODES], dist_meaning[DIST_CODES];
    u8 lengths[LITLEN_CODES + DIST_CODES];
    u16 sorted[LITLEN_CODES];
};

size_t inflate_work_size(void)
{
    return sizeof(struct inflate);
}

static int malformed(struct inflate *s, const char *reason)
{
    return unpack_fail(s->job, -XEN_EINVAL, reason);
}

/* Afterwards at least 56 bits are there. Fast: eight bytes of input are known to be there. */
__inline_always void refill(struct bits *b, const bool fast)
{
    if (fast) {
        b->next |= get_le64(b->in) << b->count;
        b->in += (63 - b->count) >> 3;
        b->count |= 56;
        return;
    }
    while (b->count < 56) {
        if (b->in < b->in_end)
            b->next |= (u64)*b->in++ << b->count;
        else
            b->invented++;
        b->count += 8;
    }
}

/* Whether bits were used that the input does not have. */
static bool overrun(const struct bits *b)
{
    return b->invented * 8 > b->count;
}

__inline_always void drop(struct bits *b, u32 n)
{
    b->next >>= n;
    b->count -= n;
}

static u32 take(struct bits *b, u32 n)
{
    u32 value;

    refill(b, false);
    value = (u32)(b->next & ((1UL << n) - 1));
    drop(b, n);
    return value;
}

/* Gives whole unused bytes back, to read on by bytes. */
static void align_to_byte(struct bits *b)
{
    u32 back = b->count / 8;

    b->in -= back - MIN(back, b->invented);
    b->next = b->count = b->invented = 0;
}

/* Counts the codes of each length; false: more than fit, or fewer and not the lone code allowed. */
static bool count_lengths(const u8 *lengths, u32 n, u32 count[MAX_BITS + 1], bool lone_allowed)
{
    u32 room = 1, used = 0;

    memset(count, 0, (MAX_BITS + 1) * sizeof(u32));
    for (u32 i = 0; i < n; i++)
        count[lengths[i]]++;
    used = n - count[0];
    count[0] = 0;
    for (u32 len = 1; len <= MAX_BITS; len++) {
        room *= 2;
        if (count[len] > room)
            return false;
        room -= count[len];
    }
    return room == 0 || (lone_allowed && (used == 0 || (used == 1 && count[1] == 1)));
}

/* The code after 'code', whose first bit is the lowest, among those of 'len' bits. */
static u32 next_code(u32 code, u32 len)
{
    u32 bit = 1U << (len - 1);

    while (code & bit)
        bit >>= 1;
    return bit ? (code & (bit - 1)) + bit : 0;
}

struct table {
    u32 *entry;
    u32 primary;
    u32 longest;
    u32 end; /* entries in use */
};

/* Enters a code of 'len' bits wherever its bits lead. 'e' lacks the lengths of the code. */
static void enter(struct table *t, u32 code, u32 len, u32 e)
{
    u32 *entry = t->entry, size = 1U << t->primary, done = 0;

    e += len << 8 | len;
    if (len > t->primary) {
        u32 *link = entry + (code & (size - 1)), second = t->longest - t->primary;

        if (!(*link & E_SECOND)) {
            *link = E_EXCEPTIONAL | E_SECOND | t->end << 16 | t->primary << 8 | second;
            t->end += 1U << second;
        }
        entry += E_VALUE(*link);
        size = 1U << second;
        done = t->primary;
        e -= done << 8 | done;
    }
    for (u32 i = code >> done; i < size; i += 1U << (len - done))
        entry[i] = e;
}

/*
 * Builds a decoding table for n symbols of the given code lengths. meaning[] holds each symbol's
 * entry but for the code's length. Codes are given out by length, then by symbol.
 */
static bool build(struct inflate *s, struct table *t, const u8 *lengths, u32 n,
                  const u32 *meaning, bool lone_allowed)
{
    u32 count[MAX_BITS + 1], place[MAX_BITS + 2], code = 0, at = 0;

    if (!count_lengths(lengths, n, count, lone_allowed))
        return false;
    place[1] = 0;
    t->longest = 1;
    for (u32 len = 1; len <= MAX_BITS; len++) {
        place[len + 1] = place[len] + count[len];
        if (count[len])
            t->longest = len;
    }
    for (u32 i = 0; i < n; i++)
        if (lengths[i])
            s->sorted[place[lengths[i]]++] = (u16)i;
    t->end = 1U << t->primary;
    for (u32 i = 0; i < t->end; i++)
        t->entry[i] = E_EXCEPTIONAL;
    for (u32 len = 1; len <= t->longest; len++)
        for (u32 k = 0; k < count[len]; k++) {
            enter(t, code, len, meaning[s->sorted[at++]]);
            code = next_code(code, len);
        }
    return true;
}

/* The number that an entry stands for, with the extra bits that follow its code. */
__inline_always u32 value_of(struct bits *b, u32 e)
{
    u32 extra = (u32)((b->next & ((1UL << E_TOTAL(e)) - 1)) >> E_CODE(e));

    drop(b, E_TOTAL(e));
    return E_VALUE(e) + extra;
}

/* From a table's primary entry to one that is not a link. */
__inline_always u32 follow(struct bits *b, const u32 *table, u32 e)
{
    if (unlikely(e & E_SECOND)) {
        drop(b, E_CODE(e));
        e = table[E_VALUE(e) + (b->next & ((1UL << E_TOTAL(e)) - 1))];
    }
    return e;
}

enum verdict { GO_ON, BLOCK_END, BAD_CODE, BAD_DISTANCE, NO_INPUT, NO_ROOM };

/* The distance of a match of length 'len', and the copying. */
__inline_always enum verdict match(struct inflate *s, struct bits *b, u8 **out, u32 len,
                                   bool fast)
{
    u32 e, dist;

    refill(b, fast);
    e = follow(b, s->dist, s->dist[b->next & ((1 << DIST_PRIMARY) - 1)]);
    if (unlikely(e & E_EXCEPTIONAL))
        return BAD_CODE;
    dist = value_of(b, e);
    if (unlikely(dist > (size_t)(*out - s->base)))
        return BAD_DISTANCE;
    if (fast) {
        copy_match(*out, dist, len);
    } else {
        if (len > (size_t)(s->out_end - *out))
            return NO_ROOM;
        copy_exact(*out, dist, len);
    }
    *out += len;
    return GO_ON;
}

#define LITLEN(b) s->litlen[(b)->next & ((1 << LITLEN_PRIMARY) - 1)]

/* One length with its distance, the end of the block, or a literal with a long code. */
__inline_always enum verdict other(struct inflate *s, struct bits *b, u8 **out, u32 e,
                                   bool fast)
{
    e = follow(b, s->litlen, e);
    if (e & E_LITERAL) {
        if (!fast && *out == s->out_end)
            return NO_ROOM;
        *(*out)++ = (u8)E_VALUE(e);
        drop(b, E_TOTAL(e));
        return GO_ON;
    }
    if (unlikely(e & E_EXCEPTIONAL)) {
        drop(b, E_TOTAL(e));
        return e & E_END ? BLOCK_END : BAD_CODE;
    }
    return match(s, b, out, value_of(b, e), fast);
}

/* Far from both ends: no bound is checked but once a turn. */
static enum verdict run_fast(struct inflate *s)
{
    struct bits b = s->b;
    enum verdict verdict = GO_ON;
    u8 *out = s->out;

    while (verdict == GO_ON && b.in_end - b.in >= IN_MARGIN && s->out_end - out >= OUT_MARGIN) {
        u32 e;

        refill(&b, true);
        e = LITLEN(&b);
        for (u32 i = 0; i < 2 && e & E_LITERAL; i++) {
            *out++ = (u8)E_VALUE(e);
            drop(&b, E_TOTAL(e));
            e = LITLEN(&b);
        }
        verdict = other(s, &b, &out, e, true);
    }
    s->b = b;
    s->out = out;
    return verdict;
}

static enum verdict run_careful(struct inflate *s)
{
    enum verdict verdict;

    refill(&s->b, false);
    verdict = other(s, &s->b, &s->out, LITLEN(&s->b), false);
    return overrun(&s->b) ? NO_INPUT : verdict;
}

static int coded_block(struct inflate *s)
{
    enum verdict verdict = GO_ON;

    while (verdict == GO_ON) {
        verdict = run_fast(s);
        if (verdict == GO_ON)
            verdict = run_careful(s);
    }
    if (verdict == NO_INPUT)
        return unpack_truncated(s->job);
    if (verdict == NO_ROOM)
        return unpack_overflow(s->job);
    if (verdict == BAD_CODE)
        return malformed(s, "invalid deflate code");
    if (verdict == BAD_DISTANCE)
        return malformed(s, "deflate distance too far back");
    return 0;
}

static int stored_block(struct inflate *s)
{
    struct bits *b = &s->b;
    u32 len;

    if (overrun(b))
        return unpack_truncated(s->job);
    align_to_byte(b);
    if (b->in_end - b->in < 4)
        return unpack_truncated(s->job);
    len = get_le16(b->in);
    if ((len ^ get_le16(b->in + 2)) != 0xFFFF)
        return malformed(s, "bad length of a stored block");
    b->in += 4;
    if (b->in_end - b->in < len)
        return unpack_truncated(s->job);
    if (s->out_end - s->out < len)
        return unpack_overflow(s->job);
    memcpy(s->out, b->in, len);
    b->in += len;
    s->out += len;
    return 0;
}

static int build_both(struct inflate *s, u32 litlens, u32 dists)
{
    struct table litlen = {.entry = s->litlen, .primary = LITLEN_PRIMARY};
    struct table dist = {.entry = s->dist, .primary = DIST_PRIMARY};

    if (s->lengths[256] == 0)
        return malformed(s, "deflate block cannot end");
    if (!build(s, &litlen, s->lengths, litlens, s->litlen_meaning, true) ||
        !build(s, &dist, s->lengths + litlens, dists, s->dist_meaning, true))
        return malformed(s, "bad set of deflate codes");
    return 0;
}

static int fixed_block(struct inflate *s)
{
    int rc = 0;

    if (!s->fixed) {
        for (u32 i = 0; i < 288; i++)
            s->lengths[i] = i < 144 ? 8 : i < 256 ? 9 : i < 280 ? 7 : 8;
        memset(s->lengths + 288, 5, 32);
        rc = build_both(s, 288, 32);
        s->fixed = rc == 0;
    }
    return rc ? rc : coded_block(s);
}

/* The code lengths, themselves coded: 16 repeats the last, 17 and 18 are runs of zeros. */
static int read_lengths(struct inflate *s, u32 n)
{
    struct bits *b = &s->b;
    u32 at = 0;

    while (at < n) {
        u32 e, sym, value = 0, times;

        refill(b, false);
        e = s->dist[b->next & ((1 << DIST_PRIMARY) - 1)];
        sym = E_VALUE(e);
        drop(b, E_TOTAL(e));
        if (overrun(b))
            return unpack_truncated(s->job);
        if (sym < 16) {
            s->lengths[at++] = (u8)sym;
            continue;
        }
        if (sym == 16) {
            if (at == 0)
                return malformed(s, "bad repeat of a deflate code length");
            value = s->lengths[at - 1];
            times = 3 + take(b, 2);
        } else {
            times = sym == 17 ? 3 + take(b, 3) : 11 + take(b, 7);
        }
        if (times > n - at)
            return malformed(s, "too many deflate code lengths");
        memset(s->lengths + at, (int)value, times);
        at += times;
    }
    return 0;
}

static int dynamic_block(struct inflate *s)
{
    static const u8 order[19] = {16, 17, 18, 0, 8,  7, 9,  6, 10, 5,
                                 11, 4,  12, 3, 13, 2, 14, 1, 15};
    /* The table of distances also serves for the codes that spell the lengths. */
    struct table t = {.entry = s->dist, .primary = DIST_PRIMARY};
    u32 litlens = 257 + take(&s->b, 5), dists = 1 + take(&s->b, 5), codes = 4 + take(&s->b, 4);
    u32 meaning[19];
    u8 lengths[19] = {0};
    int rc;

    s->fixed = false;
    if (litlens > 286 || dists > 30)
        return malformed(s, "too many deflate codes");
    for (u32 i = 0; i < codes; i++)
        lengths[order[i]] = (u8)take(&s->b, 3);
    for (u32 i = 0; i < 19; i++)
        meaning[i] = i << 16;
    if (overrun(&s->b))
        return unpack_truncated(s->job);
    if (!build(s, &t, lengths, 19, meaning, false))
        return malformed(s, "bad set of deflate codes");
    rc = read_lengths(s, litlens + dists);
    if (!rc)
        rc = build_both(s, litlens, dists);
    return rc ? rc : coded_block(s);
}

/* All blocks of a deflate stream, from s->b.in on, which ends behind its last byte. */
static int inflate(struct inflate *s)
{
    bool last = false;
    int rc = 0;

    s->b.next = s->b.count = s->b.invented = 0;
    while (!rc && !last) {
        u32 head = take(&s->b, 3);

        last = head & 1;
        if (overrun(&s->b))
            return unpack_truncated(s->job);
        if (head >> 1 == 0)
            rc = stored_block(s);
        else if (head >> 1 == 1)
            rc = fixed_block(s);
        else if (head >> 1 == 2)
            rc = dynamic_block(s);
        else
            rc = malformed(s, "bad deflate block type");
    }
    align_to_byte(&s->b);
    return rc;
}

/* What each symbol means, but for the lengths of its code. */
static void init_meanings(struct inflate *s)
{
    for (u32 i = 0; i < 256; i++)
        s->litlen_meaning[i] = E_LITERAL | i << 16;
    s->litlen_meaning[256] = E_EXCEPTIONAL | E_END;
    for (u32 i = 0; i < 28; i++) {
        u32 extra = i < 8 ? 0 : i / 4 - 1;

        s->litlen_meaning[257 + i] = (i < 8 ? 3 + i : 3 + ((4 + i % 4) << extra)) << 16 | extra;
    }
    s->litlen_meaning[285] = 258 << 16;
    s->litlen_meaning[286] = s->litlen_meaning[287] = E_EXCEPTIONAL;
    for (u32 i = 0; i < 30; i++) {
        u32 extra = i < 4 ? 0 : i / 2 - 1;

        s->dist_meaning[i] = (i < 4 ? 1 + i : 1 + ((2 + i % 2) << extra)) << 16 | extra;
    }
    s->dist_meaning[30] = s->dist_meaning[31] = E_EXCEPTIONAL;
}

enum gzip_flag { GZIP_HCRC = 2, GZIP_EXTRA = 4, GZIP_NAME = 8, GZIP_COMMENT = 16 };

/* Skips a zero-terminated string. */
static bool skip_string(const u8 **p, const u8 *end)
{
    while (*p < end)
        if (*(*p)++ == 0)
            return true;
    return false;
}

static bool skip_extra(const u8 **p, const u8 *end)
{
    size_t len;

    if (end - *p < 2)
        return false;
    len = get_le16(*p);
    *p += 2;
    if ((size_t)(end - *p) < len)
        return false;
    *p += len;
    return true;
}

/* A member's header, at s->b.in. */
static int gzip_header(struct inflate *s)
{
    const u8 *start = s->b.in, *p = start + 10, *end = s->b.in_end;
    u8 flags;

    if (end - start < 10)
        return unpack_truncated(s->job);
    flags = start[3];
    if (start[0] != 0x1F || start[1] != 0x8B)
        return malformed(s, "no gzip magic");
    if (start[2] != 8 || flags & 0xE0)
        return unpack_fail(s->job, -XEN_EOPNOTSUPP, "gzip method or flags not supported");
    if ((flags & GZIP_EXTRA && !skip_extra(&p, end)) ||
        (flags & GZIP_NAME && !skip_string(&p, end)) ||
        (flags & GZIP_COMMENT && !skip_string(&p, end)) || (flags & GZIP_HCRC && end - p < 2))
        return unpack_truncated(s->job);
    if (flags & GZIP_HCRC) {
        if (s->job->verify &&
            (crc32(&s->crc32, 0, start, (size_t)(p - start)) & 0xFFFF) != get_le16(p))
            return malformed(s, "gzip header CRC mismatch");
        p += 2;
    }
    s->b.in = p;
    return 0;
}

static int gzip_member(struct inflate *s)
{
    struct unpack_job *job = s->job;
    size_t size;
    int rc = gzip_header(s);

    s->base = s->out;
    if (!rc)
        rc = inflate(s);
    if (rc)
        return rc;
    if (s->b.in_end - s->b.in < 8)
        return unpack_truncated(job);
    size = (size_t)(s->out - s->base);
    if (job->verify && get_le32(s->b.in) != crc32(&s->crc32, 0, s->base, size))
        return malformed(s, "CRC32 mismatch");
    if (job->verify && get_le32(s->b.in + 4) != (u32)size)
        return malformed(s, "gzip size mismatch");
    s->b.in += 8;
    job->out_len += size;
    return 0;
}

int gzip_decode(struct unpack_job *job)
{
    struct inflate *s = job->work;
    int rc;

    s->job = job;
    s->b.in = job->in;
    s->b.in_end = job->in + job->in_len;
    s->out = job->out;
    s->out_end = job->out + job->out_cap;
    s->fixed = false;
    if (job->verify)
        crc32_init(&s->crc32);
    init_meanings(s);
    do {
        rc = gzip_member(s);
    } while (!rc && s->b.in_end - s->b.in > UNPACK_TRAILER && s->b.in[0] == 0x1F &&
             s->b.in[1] == 0x8B);
    if (!rc && s->b.in_end - s->b.in > UNPACK_TRAILER)
        return malformed(s, "data after the gzip stream");
    return rc;
}
