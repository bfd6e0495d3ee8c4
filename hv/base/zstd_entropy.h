/*
 * The entropy coders inside zstd blocks: FSE and Huffman tables, read from their descriptions, and
 * the bit streams that run backwards. Private to zstd.c.
 *
 * Nothing here reads before the eight bytes in front of a stream: zstd's headers guarantee that
 * the input has those.
 */
#ifndef SERAI_BASE_ZSTD_ENTROPY_H
#define SERAI_BASE_ZSTD_ENTROPY_H

#include "base/unpack_impl.h"

#define FSE_MAX_LOG     9
#define FSE_MAX_SYMBOLS 64
#define HUF_LOG         11

/* From one state: what it says, and how the next state is found. */
struct fse_entry {
    u32 value; /* the symbol; in sequence tables the base of what it stands for */
    u16 next;  /* next state, before 'state_bits' of input are added */
    u8 state_bits;
    u8 extra_bits; /* of input to add to 'value' */
};

struct fse_table {
    u32 log; /* the states are 0 .. 2^log - 1 */
    struct fse_entry entry[1 << FSE_MAX_LOG];
};

/* The share of each symbol in the table: -1 counts as 1 and comes last. */
struct fse_shares {
    u32 log, symbols;
    s16 share[FSE_MAX_SYMBOLS];
};

/* By the next HUF_LOG bits: low byte, length of the code; high byte, the symbol. */
struct huf_table {
    u16 entry[1 << HUF_LOG];
};

/*
 * A stream read from its last bit, which is the highest bit set in its last byte, towards its
 * first. Of the eight bytes at p, the 'used' highest bits are done; 'next' is those bytes rotated
 * left by as much.
 * Invariant: start - 8 <= p. Reading past the start gives arbitrary bits and a negative rest.
 */
struct back_bits {
    const u8 *p, *start;
    u64 next;
    u32 used;
};

/* False: an empty stream, or one without its end mark. */
must_check bool back_open(struct back_bits *b, const u8 *start, size_t len);

__inline_always s64 back_left(const struct back_bits *b)
{
    return (b->p - b->start) * 8 + 64 - (s64)b->used;
}

__inline_always u64 rol64(u64 v, u32 n)
{
    return v << (n & 63) | v >> (-n & 63);
}

/* Afterwards at least 57 bits can be read. */
__inline_always void back_refill(struct back_bits *b)
{
    size_t bytes = b->used >> 3, room = (size_t)(b->p - b->start) + 8;

    bytes = unlikely(bytes > room) ? room : bytes;
    b->p -= bytes;
    b->used -= 8 * (u32)bytes;
    b->next = rol64(get_le64(b->p), b->used);
}

/* n < 32 bits. */
__inline_always u32 back_take(struct back_bits *b, u32 n)
{
    static const u32 mask[32] = {
        0,         1,          3,          7,         0xF,       0x1F,      0x3F,
        0x7F,      0xFF,       0x1FF,      0x3FF,     0x7FF,     0xFFF,     0x1FFF,
        0x3FFF,    0x7FFF,     0xFFFF,     0x1FFFF,   0x3FFFF,   0x7FFFF,   0xFFFFF,
        0x1FFFFF,  0x3FFFFF,   0x7FFFFF,   0xFFFFFF,  0x1FFFFFF, 0x3FFFFFF, 0x7FFFFFF,
        0xFFFFFFF, 0x1FFFFFFF, 0x3FFFFFFF, 0x7FFFFFFF};

    b->next = rol64(b->next, n);
    b->used += n;
    return (u32)b->next & mask[n];
}

/*
 * Reads the description of a table's shares: at most max_log, at most max_symbols (and never more
 * than FSE_MAX_SYMBOLS). *used: its bytes. False: malformed or truncated.
 */
must_check bool fse_read_shares(struct fse_shares *s, const u8 *in, size_t len, u32 max_log,
                                u32 max_symbols, size_t *used);

/* Builds the table; value = symbol, no extra bits. The shares are known to add up. */
void fse_build(struct fse_table *t, const struct fse_shares *s);

/* A table of one state. */
void fse_build_single(struct fse_table *t, u32 symbol);

/* Reads a Huffman tree's description. 'scratch' is overwritten. *used: its bytes. */
must_check bool huf_read(struct huf_table *t, struct fse_table *scratch, const u8 *in,
                         size_t len, size_t *used);

/* Exactly n symbols from exactly the stream in[0, len). */
must_check bool huf_decode(const struct huf_table *t, const u8 *in, size_t len, u8 *out,
                           size_t n);

#endif
