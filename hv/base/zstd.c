/*
 * zstd (RFC 8878), without dictionaries. Frames and skippable frames may follow each other.
 */
#include "base/zstd_entropy.h"
#include "base/checksum.h"
#include "base/string.h"

#define FRAME_MAGIC     0xFD2FB528
#define SKIPPABLE_MAGIC 0x184D2A50 /* and 15 more */

#define BLOCK_MAX    (128 * 1024)
#define OFFSET_CODES 32
#define NO_SIZE      (~0UL)

enum block_type { BLOCK_RAW, BLOCK_RLE, BLOCK_COMPRESSED };
enum literals_type { LITERALS_RAW, LITERALS_RLE, LITERALS_COMPRESSED, LITERALS_TREELESS };
enum table_mode { TABLE_PREDEFINED, TABLE_RLE, TABLE_COMPRESSED, TABLE_REPEAT };

/* The three things that a sequence is made of, each with its own table. */
enum part { LITERALS, OFFSETS, MATCHES, PARTS };

struct part_kind {
    u32 max_log, symbols;
    u32 predefined_log, predefined_symbols;
    const s8 *predefined;
};

struct zstd {
    struct unpack_job *job;
    const u8 *in, *in_end;
    u8 *out, *out_end, *base; /* base: where this frame's output starts */
    u32 block_max;
    u32 rep[3]; /* the three latest offsets, newest first */
    bool huf_valid, valid[PARTS];
    const u8 *literals; /* of this block; COPY_SLACK bytes more can be read behind them */
    size_t literals_len;
    struct fse_table table[PARTS];
    struct fse_table scratch;
    struct huf_table huf;
    u8 buffer[BLOCK_MAX + COPY_SLACK];
};

struct sequence {
    u32 literals, match, offset;
};

size_t zstd_work_size(void)
{
    return sizeof(struct zstd);
}

static int malformed(struct zstd *z, const char *reason)
{
    return unpack_fail(z->job, -XEN_EINVAL, reason);
}

static int unsupported(struct zstd *z, const char *reason)
{
    return unpack_fail(z->job, -XEN_EOPNOTSUPP, reason);
}

static const s8 predefined_literals[36] = {4, 3, 2, 2, 2, 2, 2, 2, 2,  2,  2,  2,
                                           2, 1, 1, 1, 2, 2, 2, 2, 2,  2,  2,  2,
                                           2, 3, 2, 1, 1, 1, 1, 1, -1, -1, -1, -1};
static const s8 predefined_offsets[29] = {1, 1, 1, 1, 1, 1, 2, 2, 2, 1,  1,  1,  1,  1, 1,
                                          1, 1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1};
static const s8 predefined_matches[53] = {
    1, 4, 3, 2, 2, 2, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,  1,  1,  1,  1,  1,  1, 1,
    1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1, -1, -1};

static const struct part_kind kinds[PARTS] = {
    [LITERALS] = {9, 36, 6, 36, predefined_literals},
    [OFFSETS] = {8, OFFSET_CODES, 5, 29, predefined_offsets},
    [MATCHES] = {9, 53, 6, 53, predefined_matches},
};

/* Lengths: the lower codes are the lengths themselves, then ranges of 2^extra follow each other. */
static u32 length_base(u32 code, u32 direct, const u8 *extra)
{
    u32 base = MIN(code, direct);

    for (u32 i = direct; i < code; i++)
        base += 1U << extra[i - direct];
    return base;
}

/* Turns a table of symbols into one of what they stand for. */
static void give_meaning(struct fse_table *t, enum part part)
{
    static const u8 literals_extra[20] = {1, 1, 1, 1,  2,  2,  3,  3,  4,  6,
                                          7, 8, 9, 10, 11, 12, 13, 14, 15, 16};
    static const u8 matches_extra[21] = {1, 1, 1, 1,  2,  2,  3,  3,  4,  4, 5,
                                         7, 8, 9, 10, 11, 12, 13, 14, 15, 16};
    const u8 *extra = part == LITERALS ? literals_extra : matches_extra;
    u32 direct = part == LITERALS ? 16 : 32, base[64];

    for (u32 code = 0; code < kinds[part].symbols; code++)
        base[code] = part == OFFSETS ? 1U << code : length_base(code, direct, extra);
    for (u32 i = 0; i < 1U << t->log; i++) {
        struct fse_entry *e = &t->entry[i];
        u32 code = e->value;

        e->value = base[code] + (part == MATCHES ? 3 : 0);
        if (part == OFFSETS)
            e->extra_bits = (u8)code;
        else
            e->extra_bits = code < direct ? 0 : extra[code - direct];
    }
}

static void build_predefined(struct fse_table *t, const struct part_kind *k)
{
    struct fse_shares shares = {.log = k->predefined_log, .symbols = k->predefined_symbols};

    for (u32 i = 0; i < shares.symbols; i++)
        shares.share[i] = k->predefined[i];
    fse_build(t, &shares);
}

/* Makes a part's table as the block's mode for it asks; takes its description from *in. */
static int read_table(struct zstd *z, enum part part, enum table_mode mode, const u8 **in,
                      const u8 *end)
{
    const struct part_kind *k = &kinds[part];
    struct fse_table *t = &z->table[part];
    struct fse_shares shares;
    size_t used;

    if (mode == TABLE_REPEAT)
        return z->valid[part] ? 0 : malformed(z, "zstd block repeats a table it does not have");
    if (mode == TABLE_PREDEFINED) {
        build_predefined(t, k);
    } else if (mode == TABLE_RLE) {
        if (*in == end || **in >= k->symbols)
            return malformed(z, "bad zstd sequence code");
        fse_build_single(t, *(*in)++);
    } else {
        if (!fse_read_shares(&shares, *in, (size_t)(end - *in), k->max_log, k->symbols, &used))
            return malformed(z, "bad zstd sequence table");
        *in += used;
        fse_build(t, &shares);
    }
    give_meaning(t, part);
    z->valid[part] = true;
    return 0;
}

/* Four streams, three of the same size and the rest, after a table of the first three's sizes. */
static bool decode_four(struct zstd *z, const u8 *in, size_t len, size_t n)
{
    size_t part = (n + 3) / 4, at = 6, size;

    if (len < 6 || 3 * part > n)
        return false;
    for (u32 i = 0; i < 4; i++) {
        size = i < 3 ? get_le16(in + 2 * i) : len - at;
        if (size > len - at || !huf_decode(&z->huf, in + at, size, z->buffer + i * part,
                                           i < 3 ? part : n - 3 * part))
            return false;
        at += size;
    }
    return true;
}

/* Huffman-coded literals: n of them from in[0, len). */
static int coded_literals(struct zstd *z, bool tree, bool four, const u8 *in, size_t len,
                          size_t n)
{
    size_t used = 0;

    if (n > BLOCK_MAX)
        return malformed(z, "too many zstd literals");
    if (tree) {
        z->huf_valid = huf_read(&z->huf, &z->scratch, in, len, &used);
        if (!z->huf_valid)
            return malformed(z, "bad zstd Huffman table");
    } else if (!z->huf_valid) {
        return malformed(z, "zstd block repeats a table it does not have");
    }
    if (four ? !decode_four(z, in + used, len - used, n)
             : !huf_decode(&z->huf, in + used, len - used, z->buffer, n))
        return malformed(z, "bad zstd literals");
    z->literals = z->buffer;
    z->literals_len = n;
    return 0;
}

/* Literals as they are, or one repeated. */
static int plain_literals(struct zstd *z, bool repeated, const u8 **in, const u8 *end, size_t n)
{
    size_t len = repeated ? 1 : n;

    if ((size_t)(end - *in) < len)
        return unpack_truncated(z->job);
    if (n > BLOCK_MAX)
        return malformed(z, "too many zstd literals");
    z->literals = z->buffer;
    z->literals_len = n;
    if (repeated)
        memset(z->buffer, **in, n);
    else if ((size_t)(z->in_end - *in) >= n + COPY_SLACK)
        z->literals = *in;
    else
        memcpy(z->buffer, *in, n);
    *in += len;
    return 0;
}

/* The literals section, at *in: sizes of 5, 12 or 20 bits, or two of 10, 14 or 18. */
static int literals_section(struct zstd *z, const u8 **in, const u8 *end)
{
    static const u8 plain_header[4] = {1, 2, 1, 3}, coded_header[4] = {3, 3, 4, 5};
    static const u8 coded_bits[4] = {10, 10, 14, 18};
    u8 head[8] = {0};
    u32 type, format, header;
    size_t n, len;
    u64 sizes;

    if (*in == end)
        return unpack_truncated(z->job);
    type = **in & 3;
    format = **in >> 2 & 3;
    header = type < LITERALS_COMPRESSED ? plain_header[format] : coded_header[format];
    if ((size_t)(end - *in) < header)
        return unpack_truncated(z->job);
    memcpy(head, *in, header);
    *in += header;
    sizes = get_le64(head) >> 4;
    if (type < LITERALS_COMPRESSED)
        return plain_literals(z, type == LITERALS_RLE, in, end,
                              format & 1 ? sizes : head[0] >> 3);
    n = sizes & ((1U << coded_bits[format]) - 1);
    len = sizes >> coded_bits[format];
    if ((size_t)(end - *in) < len)
        return unpack_truncated(z->job);
    *in += len;
    return coded_literals(z, type == LITERALS_COMPRESSED, format != 0, *in - len, len, n);
}

/*
 * From the value in the stream to the distance: 1 to 3 name recent offsets, but after no literals
 * the second, the third, and the first less 1. The one used becomes the newest. 0: damaged.
 */
__inline_always u32 resolve_offset(u32 rep[3], u32 value, u32 literals)
{
    u32 which, offset;

    if (likely(value > 3)) {
        offset = value - 3;
        which = 2;
    } else {
        which = value - 1 + (literals == 0);
        offset = which == 3 ? rep[0] - 1 : rep[which];
    }
    if (which >= 2)
        rep[2] = rep[1];
    if (which >= 1)
        rep[1] = rep[0];
    rep[0] = offset;
    return offset;
}

struct states {
    const struct fse_entry *at[PARTS];
};

__inline_always void next_state(const struct fse_table *t, const struct fse_entry **at,
                                struct back_bits *b)
{
    const struct fse_entry *e = *at;

    *at = &t->entry[e->next + back_take(b, e->state_bits)];
}

/* Reads what the three states stand for, and goes on to the next states unless it is the last. */
__inline_always struct sequence read_sequence(struct zstd *z, struct states *s,
                                              struct back_bits *b, bool last)
{
    const struct fse_entry *l = s->at[LITERALS], *o = s->at[OFFSETS], *m = s->at[MATCHES];
    /* 57 bits are there; the next states take at most 26 of them. */
    bool wide = o->extra_bits + m->extra_bits + l->extra_bits > 57 - 26;
    struct sequence q;

    back_refill(b);
    q.offset = o->value + back_take(b, o->extra_bits);
    if (unlikely(wide))
        back_refill(b);
    q.match = m->value + back_take(b, m->extra_bits);
    q.literals = l->value + back_take(b, l->extra_bits);
    if (last)
        return q;
    if (unlikely(wide))
        back_refill(b);
    next_state(&z->table[LITERALS], &s->at[LITERALS], b);
    next_state(&z->table[MATCHES], &s->at[MATCHES], b);
    next_state(&z->table[OFFSETS], &s->at[OFFSETS], b);
    return q;
}

__inline_always void copy_literals(u8 *out, const u8 *from, size_t len)
{
    const u8 *end = out + len;

    do {
        copy8(out, from);
        out += 8;
        from += 8;
    } while (out < end);
}

/* Literals, then a match. What does not fit was found by the caller. */
__inline_always void execute(struct zstd *z, u8 *out, const u8 *literals,
                             const struct sequence *q, size_t room)
{
    size_t len = (size_t)q->literals + q->match;

    if (likely(room >= len + COPY_SLACK)) {
        copy_literals(out, literals, q->literals);
        copy_match(out + q->literals, q->offset, q->match);
    } else {
        memcpy(out, literals, q->literals);
        copy_exact(out + q->literals, q->offset, q->match);
    }
}

static int run_sequences(struct zstd *z, struct states *s, struct back_bits *bits, u32 n)
{
    struct back_bits b = *bits;
    const u8 *literals = z->literals, *literals_end = literals + z->literals_len;
    u32 rep[3] = {z->rep[0], z->rep[1], z->rep[2]};
    u8 *out = z->out, *out_end = z->out_end;
    size_t produced = 0;

    for (; n; n--) {
        struct sequence q = read_sequence(z, s, &b, n == 1);
        size_t len = (size_t)q.literals + q.match;

        q.offset = resolve_offset(rep, q.offset, q.literals);
        if (unlikely(q.literals > (size_t)(literals_end - literals)))
            return malformed(z, "bad zstd literal length");
        if (unlikely(len > (size_t)(out_end - out)))
            return unpack_overflow(z->job);
        if (unlikely(q.offset - 1UL >= (size_t)(out - z->base) + q.literals))
            return malformed(z, "zstd offset too far back");
        execute(z, out, literals, &q, (size_t)(out_end - out));
        literals += q.literals;
        out += len;
    }
    if (back_left(&b) != 0)
        return malformed(z, "zstd sequences do not end where they should");
    produced = (size_t)(out - z->out) + (size_t)(literals_end - literals);
    if (produced > BLOCK_MAX)
        return malformed(z, "zstd block too large");
    z->rep[0] = rep[0];
    z->rep[1] = rep[1];
    z->rep[2] = rep[2];
    z->literals_len = (size_t)(literals_end - literals);
    z->literals = literals;
    z->out = out;
    return 0;
}

/* The three tables and the bit stream of n sequences, to the end of the block. */
static int coded_sequences(struct zstd *z, u32 n, const u8 *in, const u8 *end)
{
    struct back_bits b;
    struct states s;
    u8 modes;
    int rc;

    if (in == end)
        return unpack_truncated(z->job);
    modes = *in++;
    if (modes & 3)
        return unsupported(z, "zstd sequence modes not supported");
    rc = read_table(z, LITERALS, modes >> 6, &in, end);
    if (!rc)
        rc = read_table(z, OFFSETS, modes >> 4 & 3, &in, end);
    if (!rc)
        rc = read_table(z, MATCHES, modes >> 2 & 3, &in, end);
    if (rc)
        return rc;
    if (!back_open(&b, in, (size_t)(end - in)))
        return malformed(z, "bad zstd sequence stream");
    for (enum part p = LITERALS; p < PARTS; p++)
        s.at[p] = &z->table[p].entry[back_take(&b, z->table[p].log)];
    return run_sequences(z, &s, &b, n);
}

static int sequences_section(struct zstd *z, const u8 *in, const u8 *end)
{
    u32 n;

    if (in == end)
        return unpack_truncated(z->job);
    n = *in++;
    if (n == 0)
        return in == end ? 0 : malformed(z, "zstd block too long");
    if (n >= 128) {
        if (end - in < (n == 255 ? 2 : 1))
            return unpack_truncated(z->job);
        n = n == 255 ? get_le16(in) + 0x7F00U : (n - 128) << 8 | in[0];
        in += n >= 0x7F00 ? 2 : 1;
    }
    return coded_sequences(z, n, in, end);
}

static int compressed_block(struct zstd *z, size_t size)
{
    const u8 *in = z->in, *end = in + size;
    int rc = literals_section(z, &in, end);

    if (!rc)
        rc = sequences_section(z, in, end);
    if (rc)
        return rc;
    if (z->literals_len > (size_t)(z->out_end - z->out))
        return unpack_overflow(z->job);
    memcpy(z->out, z->literals, z->literals_len);
    z->out += z->literals_len;
    z->in = end;
    return 0;
}

static int plain_block(struct zstd *z, bool repeated, size_t size)
{
    if (size > (size_t)(z->out_end - z->out))
        return unpack_overflow(z->job);
    if (repeated)
        memset(z->out, *z->in, size);
    else
        memcpy(z->out, z->in, size);
    z->out += size;
    z->in += repeated ? 1 : size;
    return 0;
}

static int block(struct zstd *z, bool *last)
{
    u32 head, type;
    size_t size;

    if (z->in_end - z->in < 3)
        return unpack_truncated(z->job);
    head = z->in[0] | (u32)z->in[1] << 8 | (u32)z->in[2] << 16;
    z->in += 3;
    *last = head & 1;
    type = head >> 1 & 3;
    size = head >> 3;
    if (type > BLOCK_COMPRESSED)
        return malformed(z, "bad zstd block type");
    if (size > z->block_max)
        return malformed(z, "zstd block too large");
    if ((size_t)(z->in_end - z->in) < (type == BLOCK_RLE ? 1 : size))
        return unpack_truncated(z->job);
    return type == BLOCK_COMPRESSED ? compressed_block(z, size)
                                    : plain_block(z, type == BLOCK_RLE, size);
}

/* The frame's header, from behind the magic. *content: the size it promises, or NO_SIZE. */
static int frame_header(struct zstd *z, u64 *content, bool *checksum)
{
    static const u8 id_size[4] = {0, 1, 2, 4}, content_size[4] = {0, 2, 4, 8};
    bool single;
    u32 ids, sizes;
    u8 field[8] = {0};
    u64 window;
    u8 flags;

    if (z->in_end - z->in < 2)
        return unpack_truncated(z->job);
    flags = *z->in++;
    single = flags & 0x20;
    *checksum = flags & 4;
    if (flags & 8)
        return unsupported(z, "zstd frame flags not supported");
    ids = id_size[flags & 3];
    sizes = flags >> 6 ? content_size[flags >> 6] : single;
    if ((size_t)(z->in_end - z->in) < !single + ids + sizes)
        return unpack_truncated(z->job);
    window = single ? 0 : (8UL + (*z->in & 7)) << (7 + (*z->in >> 3));
    z->in += !single;
    memcpy(field, z->in, ids);
    if (get_le32(field) != 0)
        return unsupported(z, "zstd dictionary not supported");
    memcpy(field, z->in + ids, sizes);
    z->in += ids + sizes;
    *content = sizes ? get_le64(field) + (sizes == 2 ? 256 : 0) : NO_SIZE;
    z->block_max = (u32)MIN(single ? *content : window, (u64)BLOCK_MAX);
    return 0;
}

/* A frame, from behind its magic. */
static int frame(struct zstd *z)
{
    bool checksum = false, last = false;
    u64 content = NO_SIZE;
    size_t size;
    int rc = frame_header(z, &content, &checksum);

    z->base = z->out;
    z->huf_valid = z->valid[LITERALS] = z->valid[OFFSETS] = z->valid[MATCHES] = false;
    z->rep[0] = 1;
    z->rep[1] = 4;
    z->rep[2] = 8;
    while (!rc && !last)
        rc = block(z, &last);
    if (rc)
        return rc;
    size = (size_t)(z->out - z->base);
    if (content != NO_SIZE && content != size)
        return malformed(z, "zstd frame size mismatch");
    if (checksum) {
        if (z->in_end - z->in < 4)
            return unpack_truncated(z->job);
        if (z->job->verify && get_le32(z->in) != (u32)xxh64(z->base, size, 0))
            return malformed(z, "zstd checksum mismatch");
        z->in += 4;
    }
    z->job->out_len += size;
    return 0;
}

/* A skippable frame, from behind its magic. */
static int skip_frame(struct zstd *z)
{
    size_t len;

    if (z->in_end - z->in < 4)
        return unpack_truncated(z->job);
    len = get_le32(z->in);
    z->in += 4;
    if ((size_t)(z->in_end - z->in) < len)
        return unpack_truncated(z->job);
    z->in += len;
    return 0;
}

int zstd_decode(struct unpack_job *job)
{
    struct zstd *z = job->work;
    int rc = 0;

    z->job = job;
    z->in = job->in;
    z->in_end = job->in + job->in_len;
    z->out = job->out;
    z->out_end = job->out + job->out_cap;
    while (!rc && z->in_end - z->in > UNPACK_TRAILER) {
        u32 magic = get_le32(z->in);

        z->in += 4;
        if (magic == FRAME_MAGIC)
            rc = frame(z);
        else if (magic >> 4 == SKIPPABLE_MAGIC >> 4)
            rc = skip_frame(z);
        else
            rc = malformed(z, "data after the zstd stream");
    }
    if (!rc && z->in == job->in)
        rc = unpack_truncated(job);
    return rc;
}
