/*
 * LZMA2, the compressed data inside XZ blocks. Private to xz.c.
 *
 * The decoder is written for few executed instructions: unpacking the kernel dominates the
 * hypervisor's boot. See lzma_rc.h for how.
 */
#ifndef SERAI_BASE_LZMA_H
#define SERAI_BASE_LZMA_H

#include "base/unpack_impl.h"

#define LZMA_STATES     12
#define LZMA_POS_STATES 16
#define LZMA_LITERALS   (0x300 << 4) /* LZMA2 allows lc + lp <= 4 */

struct lzma_len {
    u16 choice, choice2;
    u16 low[LZMA_POS_STATES][8];
    u16 mid[LZMA_POS_STATES][8];
    u16 high[256];
};

/*
 * The latest symbols in short, which choose the probabilities of what kind of symbol comes next.
 * Each state knows its successors.
 */
struct lzma_state {
    u16 is_match[LZMA_POS_STATES];
    u16 is_rep0_long[LZMA_POS_STATES];
    u16 is_rep, is_rep_g0, is_rep_g1, is_rep_g2;
    struct lzma_state *literal, *match, *rep, *short_rep;
};

/* Every adaptive probability, in units of 1/2048 that the bit is 0. */
struct lzma_probs {
    struct lzma_state state[LZMA_STATES];
    u16 slot[4][64];
    u16 special[10][32]; /* slots 4 to 13 */
    u16 align[16];
    struct lzma_len match_len, rep_len;
    u16 literal[LZMA_LITERALS];
};

/*
 * Between symbols.
 *
 * Invariants:
 *   1. base <= out <= out_end; [base, out) is the dictionary
 *   2. after a match, that is from state[7] on, rep[0] < out - base
 *   3. 31 <= p <= 2017 for every probability p
 */
struct lzma {
    struct lzma_probs p;
    u16 raised[2048];        /* by probability: the same after a bit of 0 */
    u16 *literal_after[256]; /* by the last byte: the next one's probabilities */
    u32 range, code;
    const u8 *in, *in_end;
    u8 *base, *out, *out_end;
    struct lzma_state *state;
    u32 rep[4];
    u64 pos_mask, lp_mask; /* of the output's address, to choose among probabilities */
    u32 literal_stride;    /* probabilities from one value under lp_mask to the next */
    bool overrun;          /* the range coder asked for more than the input holds */
    bool need_dict, need_props;
};

/*
 * Decodes one LZMA2 stream, which ends by its own marker, from in[0, in_len) to the job's output at
 * out_len, which it advances. *used: bytes of input taken.
 */
must_check int lzma2_decode(struct lzma *s, struct unpack_job *job, const u8 *in, size_t in_len,
                            size_t *used);

#endif
