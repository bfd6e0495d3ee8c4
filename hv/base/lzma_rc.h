/*
 * The LZMA range coder: from bytes of input to bits, each by a probability that adapts. Private to
 * lzma.c.
 *
 * Every operation comes twice. With 'careful' it is plain C that may be called anywhere in the
 * input. Without, it needs RC_MARGIN bytes of input ahead of each symbol, and its core is written
 * in assembly: tens of millions of these decisions are most of what booting a kernel costs, and
 * compilers spend half as many instructions again on one.
 *
 * The range is held twice, as it is and minus 2^24: from the latter, the subtraction that takes the
 * lower part away sets carry by itself when less than 2^24 is left, which wants another byte of
 * input. The two outcomes of a decision are separate paths, neither of which does any of the
 * other's work.
 */
#ifndef SERAI_BASE_LZMA_RC_H
#define SERAI_BASE_LZMA_RC_H

#include "base/unpack_impl.h"

#define RC_TOP    (1U << 24)
#define RC_MARGIN 32 /* one symbol takes 21 bytes at most; words are read */

struct rc {
    u32 range, excess; /* excess = range - 2^24 >= 0 */
    u32 code;          /* below range, unless the stream is damaged */
    const u8 *in, *in_end;
    const u16 *raised; /* 2048 probabilities, each as it becomes after a 0 */
    bool overrun;      /* bytes were asked for that the input does not have */
};

/*
 * The assembly's pieces. Operands: %[r] range, %[e] excess, %[c] code, %[i] input, %[u] raised,
 * %[p] a tree's probabilities, %[s] the place in it, %[q] scratch. 'prob' is a probability's
 * address. After SPLIT the range is that of a 0.
 */
#define RC_SPLIT(prob)                                                                         \
    "movzwl " prob ", %[q]\n\t"                                                                \
    "shrl   $11, %[r]\n\t"                                                                     \
    "imull  %[q], %[r]\n\t"                                                                    \
    "cmpl   %[r], %[c]\n\t"                                                                    \
    "jae    1f\n\t"

/* The bit is 0: raise the probability, keep the lower part. */
#define RC_ZERO(prob)                                                                          \
    "movzwl (%[u],%q[q],2), %[q]\n\t"                                                          \
    "leal   -0x1000000(%q[r]), %[e]\n\t"                                                       \
    "movw   %w[q], " prob "\n\t"

/* The bit is 1: lower the probability, keep the upper part. Carry: refill. */
#define RC_ONE(prob)                                                                           \
    "1:\n\t"                                                                                   \
    "shrl   $5, %[q]\n\t"                                                                      \
    "subl   %[r], %[c]\n\t"                                                                    \
    "subw   %w[q], " prob "\n\t"                                                               \
    "subl   %[r], %[e]\n\t"                                                                    \
    "leal   0x1000000(%q[e]), %[r]\n\t"

#define RC_REFILL                                                                              \
    "shll   $8, %[r]\n\t"                                                                      \
    "shll   $8, %[c]\n\t"                                                                      \
    "leal   -0x1000000(%q[r]), %[e]\n\t"                                                       \
    "movb   (%[i]), %b[c]\n\t"                                                                 \
    "incq   %[i]\n\t"

/* The same paths in a tree: s becomes 2 * s + bit. Carry: refill. */
#define RC_LEFT(prob)                                                                          \
    RC_ZERO(prob)                                                                              \
    "leal   (%q[s],%q[s]), %k[s]\n\t"                                                          \
    "cmpl   $0x1000000, %[r]\n\t"

#define RC_RIGHT(prob)                                                                         \
    RC_ONE(prob)                                                                               \
    "leal   1(%q[s],%q[s]), %k[s]\n\t"

#define RC_LEVEL(prob)                                                                         \
    RC_SPLIT(prob)                                                                             \
    RC_LEFT(prob)                                                                              \
    "jae    3f\n\t"                                                                            \
    "jmp    2f\n\t" RC_RIGHT(prob) "jae    3f\n"                                               \
                                   "2:\n\t" RC_REFILL "3:\n\t"

#define RC_NODE "(%[p],%q[s],2)"

#define RC_STATE(rc)                                                                           \
    [r] "+r"((rc)->range), [e] "+r"((rc)->excess), [c] "+r"((rc)->code), [i] "+r"((rc)->in)

__inline_always u32 rc_next_byte(struct rc *rc)
{
    if (rc->in == rc->in_end) {
        rc->overrun = true;
        return 0;
    }
    return *rc->in++;
}

static inline bool rc_bit_careful(struct rc *rc, u16 *prob)
{
    u32 bound = (rc->range >> 11) * *prob;
    bool bit = rc->code >= bound;

    if (bit) {
        *prob -= *prob >> 5;
        rc->code -= bound;
        rc->range -= bound;
    } else {
        *prob += (2048 - *prob) >> 5;
        rc->range = bound;
    }
    if (rc->range < RC_TOP) {
        rc->range <<= 8;
        rc->code = rc->code << 8 | rc_next_byte(rc);
    }
    rc->excess = rc->range - RC_TOP;
    return bit;
}

__inline_always bool rc_bit(struct rc *rc, u16 *prob, const bool careful)
{
    static const u32 below_top = RC_TOP - 1;
    int zero;
    u32 q;

    if (careful)
        return rc_bit_careful(rc, prob);
    /* Carry becomes the bit's complement. */
    asm volatile(RC_SPLIT("%[m]")
                     RC_ZERO("%[m]") "cmpl   %[r], %[below_top]\n\t"
                                     "jb     3f\n\t" RC_REFILL "stc\n\t"
                                     "jmp    3f\n" RC_ONE("%[m]") "jae    3f\n\t" RC_REFILL
                                                                  "clc\n"
                                                                  "3:"
                 : RC_STATE(rc), [q] "=&r"(q), [m] "+m"(*prob), "=@ccc"(zero)
                 : [u] "r"(rc->raised), [below_top] "m"(below_top));
    return !zero;
}

/* A tree of 'bits' levels, highest bit first; the result still carries the leading 1. */
__inline_always u32 rc_tree(struct rc *rc, u16 *probs, const u32 bits, const bool careful)
{
    u64 sym = 1;
    u32 q;

    if (careful) {
        for (u32 i = 0; i < bits; i++)
            sym = 2 * sym + rc_bit_careful(rc, probs + sym);
        return (u32)sym;
    }
    asm volatile(".rept %c[n]\n\t" RC_LEVEL(RC_NODE) ".endr"
                 : RC_STATE(rc), [s] "+r"(sym), [q] "=&r"(q)
                 : [p] "r"(probs), [u] "r"(rc->raised), [n] "i"(bits)
                 : "memory");
    return (u32)sym;
}

/* What a tree of up to 5 levels gave, lowest bit first. */
__inline_always u32 rc_reversed(u32 sym, u32 bits)
{
    static const u8 reversed[32] = {0, 16, 8, 24, 4, 20, 12, 28, 2, 18, 10, 26, 6, 22, 14, 30,
                                    1, 17, 9, 25, 5, 21, 13, 29, 3, 19, 11, 27, 7, 23, 15, 31};

    return reversed[sym << (5 - bits) & 31];
}

/* Bits by a tree from the lowest on, without the 1: four of them. */
__inline_always u32 rc_tree_reverse4(struct rc *rc, u16 *probs, const bool careful)
{
    return rc_reversed(rc_tree(rc, probs, 4, careful), 4);
}

/* The same, of 1 to 5 bits. */
__inline_always u32 rc_tree_reverse(struct rc *rc, u16 *probs, u32 bits, const bool careful)
{
    u64 sym = 1;
    u32 q, n = bits;

    if (careful) {
        while (n--)
            sym = 2 * sym + rc_bit_careful(rc, probs + sym);
    } else {
        asm volatile("4:\n\t" RC_LEVEL(RC_NODE) "decl   %[n]\n\t"
                                                "jnz    4b"
                     : RC_STATE(rc), [s] "+r"(sym), [q] "=&r"(q), [n] "+r"(n)
                     : [p] "r"(probs), [u] "r"(rc->raised)
                     : "memory");
    }
    return rc_reversed((u32)sym, bits);
}

/*
 * One level of a literal whose bits have so far been those of the predicted byte, of which %[m]
 * holds the rest, high bit next. Each prediction has its own tree, 0x100 and 0x200 places
 * behind the plain one; a bit other than predicted leads on to the plain levels.
 */
#define RC_PREDICTED(k, next)                                                                          \
    ".Lm" #k "_%=:\n\t"                                                                                \
    "addb   %b[m], %b[m]\n\t"                                                                          \
    "jc     4f\n\t" RC_SPLIT("0x200" RC_NODE) RC_LEFT(                                                 \
        "0x200" RC_NODE) "jae    .Lm" #next "_%=\n\t" RC_REFILL "jmp    .Lm" #next                     \
                         "_%=\n\t" RC_RIGHT(                                                           \
                             "0x200" RC_NODE) "jae    .Ln" #next "_%=\n\t" RC_REFILL                   \
                                              "jmp    .Ln" #next "_%=\n"                               \
                                              "4:\n\t" RC_SPLIT("0x400" RC_NODE) RC_LEFT(              \
                                                  "0x400" RC_NODE) "jae    .Ln" #next                  \
                                                                   "_%=\n\t" RC_REFILL                 \
                                                                   "jmp    .Ln" #next                  \
                                                                   "_%=\n\t" RC_RIGHT(                 \
                                                                       "0x400" RC_NODE) "jae "         \
                                                                                        "   "          \
                                                                                        ".L"           \
                                                                                        "m" #next      \
                                                                                        "_%="          \
                                                                                        "\n"           \
                                                                                        "\t" RC_REFILL \
                                                                                        "jmp "         \
                                                                                        "   "          \
                                                                                        ".L"           \
                                                                                        "m" #next      \
                                                                                        "_%="          \
                                                                                        "\n\t"

#define RC_PLAIN(k) ".Ln" #k "_%=:\n\t" RC_LEVEL(RC_NODE)

static inline u32 rc_predicted_careful(struct rc *rc, u16 *probs, u32 predicted)
{
    u32 sym = 1, same = 0x100;

    while (sym < 0x100) {
        u32 expect, bit;

        predicted <<= 1;
        expect = predicted & same;
        bit = rc_bit_careful(rc, probs + same + expect + sym);
        sym = 2 * sym + bit;
        if (bit != (expect != 0))
            same = 0;
    }
    return sym;
}

/* A literal, with the leading 1, that is likely to be like the byte 'predicted'. */
__inline_always u32 rc_predicted(struct rc *rc, u16 *probs, u32 predicted, const bool careful)
{
    u64 sym = 1;
    u32 q;

    if (careful)
        return rc_predicted_careful(rc, probs, predicted);
    asm volatile(RC_PREDICTED(1, 2) RC_PREDICTED(2, 3) RC_PREDICTED(3, 4) RC_PREDICTED(4, 5)
                     RC_PREDICTED(5, 6) RC_PREDICTED(6, 7) RC_PREDICTED(7, 8) RC_PREDICTED(8, 9)
                         RC_PLAIN(2) RC_PLAIN(3) RC_PLAIN(4) RC_PLAIN(5) RC_PLAIN(6) RC_PLAIN(7)
                             RC_PLAIN(8) ".Ln9_%=:\n"
                                         ".Lm9_%=:"
                 : RC_STATE(rc), [s] "+r"(sym), [q] "=&r"(q), [m] "+r"(predicted)
                 : [p] "r"(probs), [u] "r"(rc->raised)
                 : "memory");
    return (u32)sym;
}

/*
 * The rest of rc_direct(), once the range has fallen below 2^24 and has just that refill due. From
 * here on halving loses no bit of it, being shifted left by eight for every eight halvings:
 * so the n <= 25 remaining bits are one long division.
 */
__inline_always u32 rc_direct_rest(struct rc *rc, u32 range, u32 n, const bool careful)
{
    u32 bytes = n / 8 + 1;
    u64 code = rc->code, q;

    range <<= 8 - n % 8;
    if (careful) {
        for (u32 i = 0; i < bytes; i++)
            code = code << 8 | rc_next_byte(rc);
    } else {
        code = (code << 32 | __builtin_bswap32(get_le32(rc->in))) >> (32 - 8 * bytes);
        rc->in += bytes;
    }
    q = code / range; /* more than n bits only in a damaged stream: some wrong distance then */
    rc->code = (u32)(code % range);
    rc->range = range;
    rc->excess = range - RC_TOP;
    return (u32)q;
}

/* 1 <= n <= 26 bits of even odds, by halving the range. */
__inline_always u32 rc_direct(struct rc *rc, u32 n, const bool careful)
{
    u32 range = rc->range, code = rc->code, q = 0;
    u32 first = MIN(n, (31U ^ (u32)__builtin_clz(range)) - 23); /* until it falls below 2^24 */

    n -= first;
    do {
        range >>= 1;
        q <<= 1;
        if (code >= range) {
            code -= range;
            q++;
        }
    } while (--first);
    rc->code = code;
    if (range < RC_TOP)
        return q << n | rc_direct_rest(rc, range, n, careful);
    rc->range = range;
    rc->excess = range - RC_TOP;
    return q;
}

#endif
