#include "base/assert.h"
#include "base/lzma.h"
#include "base/lzma_rc.h"
#include "base/string.h"

/* What one symbol can give of output, and a copy behind it. */
#define OUT_MARGIN (273 + COPY_SLACK)

__inline_always size_t get_len(struct rc *rc, struct lzma_len *l, size_t pos_state,
                               const bool careful)
{
    if (!rc_bit(rc, &l->choice, careful))
        return rc_tree(rc, l->low[pos_state], 3, careful) - 8 + 2;
    if (!rc_bit(rc, &l->choice2, careful))
        return rc_tree(rc, l->mid[pos_state], 3, careful) - 8 + 10;
    return rc_tree(rc, l->high, 8, careful) - 256 + 18;
}

/* The distance minus 1: a slot tells its two highest bits and how many follow. */
__inline_always u32 get_distance(struct rc *rc, struct lzma_probs *p, size_t len,
                                 const bool careful)
{
    size_t slot = rc_tree(rc, p->slot[MIN(len, 5UL) - 2], 6, careful) - 64;
    u32 bits = (u32)(slot >> 1) - 1, high;

    if (slot < 4)
        return (u32)slot;
    high = (2 | (slot & 1)) << bits;
    if (slot < 14)
        return high + rc_tree_reverse(rc, p->special[slot - 4], bits, careful);
    high += rc_direct(rc, bits - 4, careful) << 4;
    return high + rc_tree_reverse4(rc, p->align, careful);
}

/*
 * The probabilities of the next literal. Which of the pos_mask and lp_mask classes a position has
 * is but a name, given anew with each dictionary, so the output's address serves for its offset.
 */
__inline_always u16 *literal_probs(const struct lzma *s, const u8 *out, const bool careful)
{
    u8 prev = careful && out == s->base ? 0 : out[-1];
    u16 *probs = s->literal_after[prev];

    if (unlikely(s->lp_mask))
        probs += ((uintptr_t)out & s->lp_mask) * s->literal_stride;
    return probs;
}

/* The recent distances, newest first. */
struct reps {
    u32 d0, d1, d2, d3;
};

/* A distance of long ago moves to the front, unless it is there. */
__inline_always void pick_rep(struct rc *rc, struct lzma_state *st, struct reps *rep,
                              const bool careful)
{
    u32 dist = rep->d1;

    if (rc_bit(rc, &st->is_rep_g1, careful)) {
        dist = rep->d2;
        if (rc_bit(rc, &st->is_rep_g2, careful)) {
            dist = rep->d3;
            rep->d3 = rep->d2;
        }
        rep->d2 = rep->d1;
    }
    rep->d1 = rep->d0;
    rep->d0 = dist;
}

/*
 * Symbols until 'out' reaches 'stop'. Not careful: the caller vouches for OUT_MARGIN bytes of room
 * behind 'stop' and RC_MARGIN bytes of input for each byte up to it, and has put something into
 * the dictionary. Careful: a match may not pass 'stop'. False: a distance lies before the
 * dictionary.
 */
__inline_always bool run(struct lzma *s, u8 *const stop, const bool careful)
{
    struct rc rc = {s->range,  s->range - RC_TOP, s->code,   s->in,
                    s->in_end, s->raised,         s->overrun};
    struct lzma_probs *const p = &s->p;
    struct lzma_state *st = s->state;
    struct reps rep = {s->rep[0], s->rep[1], s->rep[2], s->rep[3]};
    u8 *const base = s->base;
    u8 *out = s->out;
    bool good = true;

    while (out < stop) {
        size_t pos_state = (uintptr_t)out & s->pos_mask;
        size_t len;

        if (!rc_bit(&rc, &st->is_match[pos_state], careful)) {
            u16 *probs = literal_probs(s, out, careful);

            if (st < &p->state[7])
                *out = (u8)rc_tree(&rc, probs, 8, careful);
            else
                *out = (u8)rc_predicted(&rc, probs, *(out - 1 - rep.d0), careful);
            out++;
            st = st->literal;
            continue;
        }
        if (!rc_bit(&rc, &st->is_rep, careful)) {
            rep.d3 = rep.d2;
            rep.d2 = rep.d1;
            rep.d1 = rep.d0;
            st = st->match;
            len = get_len(&rc, &p->match_len, pos_state, careful);
            rep.d0 = get_distance(&rc, p, len, careful);
        } else {
            if (rc_bit(&rc, &st->is_rep_g0, careful)) {
                pick_rep(&rc, st, &rep, careful);
            } else if (!rc_bit(&rc, &st->is_rep0_long[pos_state], careful)) {
                st = st->short_rep;
                len = 1;
                goto copy;
            }
            st = st->rep;
            len = get_len(&rc, &p->rep_len, pos_state, careful);
        }
    copy:
        if (rep.d0 >= (size_t)(out - base) || (careful && len > (size_t)(stop - out))) {
            good = false;
            break;
        }
        if (careful)
            copy_exact(out, (size_t)rep.d0 + 1, len);
        else
            copy_match(out, (size_t)rep.d0 + 1, len);
        out += len;
    }
    s->range = rc.range;
    s->code = rc.code;
    s->in = rc.in;
    s->overrun = rc.overrun;
    s->out = out;
    s->state = st;
    s->rep[0] = rep.d0;
    s->rep[1] = rep.d1;
    s->rep[2] = rep.d2;
    s->rep[3] = rep.d3;
    return good;
}

static bool __noinline run_fast(struct lzma *s, u8 *stop)
{
    return run(s, stop, false);
}

static bool __noinline run_careful(struct lzma *s, u8 *stop)
{
    return run(s, stop, true);
}

/* To 'stop', as far from the ends of input and output as that goes the fast way. */
static bool run_chunk(struct lzma *s, u8 *stop)
{
    /* The byte before the first of a dictionary counts as 0; only the careful way knows that. */
    bool good = s->out != s->base || run_careful(s, s->out + 1);

    while (good && s->out < stop && s->out_end - s->out > OUT_MARGIN) {
        size_t symbols = (size_t)(s->in_end - s->in) / RC_MARGIN;
        size_t room = MIN((size_t)(stop - s->out), (size_t)(s->out_end - s->out) - OUT_MARGIN);

        if (symbols == 0)
            break;
        good = run_fast(s, s->out + MIN(symbols, room));
        BUG_ON(s->in > s->in_end); /* RC_MARGIN is what keeps it inside */
    }
    return good && (s->out >= stop || run_careful(s, stop));
}

static void set_probs(u16 *p, size_t n)
{
    while (n--)
        *p++ = 1024;
}

static void reset_state(struct lzma *s)
{
    struct lzma_probs *p = &s->p;

    for (u32 i = 0; i < LZMA_STATES; i++)
        set_probs(p->state[i].is_match, offsetof(struct lzma_state, literal) / sizeof(u16));
    set_probs(p->slot[0],
              (offsetof(struct lzma_probs, literal) - offsetof(struct lzma_probs, slot)) /
                  sizeof(u16));
    set_probs(p->literal, (s->lp_mask + 1) * s->literal_stride);
    s->state = &p->state[0];
    s->rep[0] = s->rep[1] = s->rep[2] = s->rep[3] = 0;
}

static int set_props(struct lzma *s, struct unpack_job *job, u8 props)
{
    u32 lc = props % 9, lp = props / 9 % 5, pb = props / 45;

    if (props >= 225 || lc + lp > 4)
        return unpack_fail(job, -XEN_EINVAL, "bad LZMA2 properties");
    for (u32 i = 0; i < 256; i++)
        s->literal_after[i] = s->p.literal + 0x300 * (i >> (8 - lc));
    s->literal_stride = 0x300 << lc;
    s->lp_mask = (1U << lp) - 1;
    s->pos_mask = (1U << pb) - 1;
    s->need_props = false;
    return 0;
}

/* One chunk of LZMA: in_size bytes of input make out_size bytes of output, both exactly. */
static int lzma_chunk(struct lzma *s, struct unpack_job *job, size_t in_size, size_t out_size)
{
    const u8 *in_stop = s->in + in_size;
    u8 *stop = s->out + out_size;
    bool good;

    if (in_size < 5 || s->in[0] != 0)
        return unpack_fail(job, -XEN_EINVAL, "bad start of an LZMA chunk");
    s->range = 0xFFFFFFFF;
    s->code = __builtin_bswap32(get_le32(s->in + 1));
    s->in += 5;
    good = run_chunk(s, stop);
    if (s->overrun)
        return unpack_truncated(job);
    if (!good)
        return unpack_fail(job, -XEN_EINVAL, "LZMA distance or length out of range");
    if (s->out != stop || s->in != in_stop || s->code != 0)
        return unpack_fail(job, -XEN_EINVAL, "LZMA chunk does not end where it should");
    return 0;
}

static int stored_chunk(struct lzma *s, struct unpack_job *job, size_t size)
{
    if ((size_t)(s->in_end - s->in) < size)
        return unpack_truncated(job);
    memcpy(s->out, s->in, size);
    s->in += size;
    s->out += size;
    return 0;
}

/* What the control byte asks to forget, and whether that is enough to go on. */
static int apply_resets(struct lzma *s, struct unpack_job *job, u8 control)
{
    if (control >= 0xE0 || control == 1) {
        s->need_dict = false;
        s->need_props = true;
        s->base = s->out;
    } else if (s->need_dict) {
        return unpack_fail(job, -XEN_EINVAL, "LZMA2 stream does not start with a reset");
    }
    if (control < 0x80)
        return 0;
    if (control >= 0xC0) {
        int rc = set_props(s, job, s->in[5]);

        if (rc)
            return rc;
    } else if (s->need_props) {
        return unpack_fail(job, -XEN_EINVAL, "LZMA2 chunk without properties");
    }
    if (control >= 0xA0)
        reset_state(s);
    return 0;
}

/* One chunk; its control byte is known to be there and not 0. */
static int chunk(struct lzma *s, struct unpack_job *job)
{
    u8 control = s->in[0];
    size_t head = control < 0x80 ? 3 : control < 0xC0 ? 5 : 6;
    size_t in_size, out_size;
    int rc;

    if (control > 2 && control < 0x80)
        return unpack_fail(job, -XEN_EINVAL, "bad LZMA2 control byte");
    if ((size_t)(s->in_end - s->in) < head)
        return unpack_truncated(job);
    out_size = ((size_t)s->in[1] << 8 | s->in[2]) + 1;
    if (control >= 0x80)
        out_size += (size_t)(control & 0x1F) << 16;
    in_size = control < 0x80 ? out_size : ((size_t)s->in[3] << 8 | s->in[4]) + 1;
    if (out_size > (size_t)(s->out_end - s->out))
        return unpack_overflow(job);
    rc = apply_resets(s, job, control);
    if (rc)
        return rc;
    s->in += head;
    if ((size_t)(s->in_end - s->in) < in_size)
        return unpack_truncated(job);
    return control < 0x80 ? stored_chunk(s, job, in_size)
                          : lzma_chunk(s, job, in_size, out_size);
}

/* What does not change within a stream. */
static void init(struct lzma *s)
{
    static const u8 after_literal[LZMA_STATES] = {0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 4, 5};
    struct lzma_state *state = s->p.state;

    for (u32 i = 0; i < LZMA_STATES; i++) {
        state[i].literal = &state[after_literal[i]];
        state[i].match = &state[i < 7 ? 7 : 10];
        state[i].rep = &state[i < 7 ? 8 : 11];
        state[i].short_rep = &state[i < 7 ? 9 : 11];
    }
    for (u32 p = 0; p < 2048; p++)
        s->raised[p] = (u16)(p + ((2048 - p) >> 5));
}

int lzma2_decode(struct lzma *s, struct unpack_job *job, const u8 *in, size_t in_len,
                 size_t *used)
{
    int rc;

    s->in = in;
    s->in_end = in + in_len;
    s->out = s->base = job->out + job->out_len;
    s->out_end = job->out + job->out_cap;
    s->overrun = false;
    s->need_dict = s->need_props = true;
    init(s);
    while (s->in < s->in_end && *s->in) {
        rc = chunk(s, job);
        if (rc)
            return rc;
    }
    if (s->in == s->in_end)
        return unpack_truncated(job);
    *used = (size_t)(s->in + 1 - in);
    job->out_len = (size_t)(s->out - job->out);
    return 0;
}
