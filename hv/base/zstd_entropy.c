#include "base/zstd_entropy.h"
#include "base/string.h"

static u32 high_bit(u32 v)
{
    return 31 - (u32)__builtin_clz(v);
}

bool back_open(struct back_bits *b, const u8 *start, size_t len)
{
    if (len == 0 || start[len - 1] == 0)
        return false;
    b->start = start;
    b->p = start + len - 8;
    b->next = get_le64(b->p);
    b->used = (u32)__builtin_clzl(b->next) + 1;
    b->next = rol64(b->next, b->used);
    return true;
}

/* Forward reading, lowest bit first, of up to 16 bits; zeros past the end. */
static u32 peek_bits(const u8 *in, size_t len, size_t at, u32 n)
{
    u32 v = 0;

    for (u32 i = 0; i < 3; i++)
        if (at / 8 + i < len)
            v |= (u32)in[at / 8 + i] << 8 * i;
    return v >> at % 8 & ((1U << n) - 1);
}

/*
 * One share plus 1, between 0 and remaining + 1. Values are written in one bit less while that is
 * enough to tell them from the rest.
 */
static u32 read_share(const u8 *in, size_t len, size_t *at, u32 remaining)
{
    u32 bits = high_bit(remaining + 1) + 1, low = (1U << (bits - 1)) - 1;
    u32 v = peek_bits(in, len, *at, bits), shorter = (1U << bits) - 1 - (remaining + 1);

    if ((v & low) < shorter) {
        *at += bits - 1;
        return v & low;
    }
    *at += bits;
    return v > low ? v - shorter : v;
}

bool fse_read_shares(struct fse_shares *s, const u8 *in, size_t len, u32 max_log,
                     u32 max_symbols, size_t *used)
{
    size_t at = 4;
    u32 remaining, repeat;

    if (len == 0)
        return false;
    s->log = (in[0] & 15) + 5;
    if (s->log > max_log)
        return false;
    s->symbols = 0;
    for (remaining = 1U << s->log; remaining;) {
        s32 share = (s32)read_share(in, len, &at, remaining) - 1;

        if (s->symbols >= max_symbols || at > len * 8)
            return false;
        s->share[s->symbols++] = (s16)share;
        remaining -= share < 0 ? 1 : (u32)share;
        if (share)
            continue;
        do {
            repeat = peek_bits(in, len, at, 2);
            at += 2;
            if (repeat > max_symbols - s->symbols || at > len * 8)
                return false;
            for (u32 i = 0; i < repeat; i++)
                s->share[s->symbols++] = 0;
        } while (repeat == 3);
    }
    *used = (at + 7) / 8;
    return true;
}

void fse_build(struct fse_table *t, const struct fse_shares *s)
{
    u32 size = 1U << s->log, step = (size >> 1) + (size >> 3) + 3, high = size, at = 0;
    u16 next[FSE_MAX_SYMBOLS];

    t->log = s->log;
    for (u32 i = 0; i < s->symbols; i++) {
        next[i] = s->share[i] < 0 ? 1 : (u16)s->share[i];
        if (s->share[i] < 0)
            t->entry[--high].value = i;
    }
    for (u32 i = 0; i < s->symbols; i++)
        for (s32 k = 0; k < s->share[i]; k++) {
            t->entry[at].value = i;
            do {
                at = (at + step) & (size - 1);
            } while (at >= high);
        }
    for (u32 i = 0; i < size; i++) {
        struct fse_entry *e = &t->entry[i];
        u32 n = next[e->value]++;

        e->state_bits = (u8)(s->log - high_bit(n));
        e->next = (u16)((n << e->state_bits) - size);
        e->extra_bits = 0;
    }
}

void fse_build_single(struct fse_table *t, u32 symbol)
{
    t->log = 0;
    t->entry[0] = (struct fse_entry){.value = symbol};
}

#define HUF_MAX_WEIGHTS 255

/* The weights coded with FSE by two states in turn; the stream's end says how many. */
static bool read_weights(u8 *weight, u32 *count, struct fse_table *t, const u8 *in, size_t len)
{
    struct fse_shares shares;
    struct back_bits b;
    u32 state[2], n = 0;
    size_t used;

    if (!fse_read_shares(&shares, in, len, 6, HUF_LOG + 1, &used) || used >= len ||
        !back_open(&b, in + used, len - used))
        return false;
    fse_build(t, &shares);
    state[0] = back_take(&b, t->log);
    state[1] = back_take(&b, t->log);
    if (back_left(&b) < 0)
        return false;
    for (u32 turn = 0;; turn ^= 1) {
        const struct fse_entry *e = &t->entry[state[turn]];

        if (n + 2 > HUF_MAX_WEIGHTS)
            return false;
        weight[n++] = (u8)e->value;
        back_refill(&b);
        state[turn] = e->next + back_take(&b, e->state_bits);
        if (back_left(&b) < 0) {
            weight[n++] = (u8)t->entry[state[turn ^ 1]].value;
            *count = n;
            return true;
        }
    }
}

/*
 * A symbol of weight w > 0 takes 2^(w - 1) entries of 2^log. The last symbol's weight is not
 * written: it fills the table up. Returns log, 0 if there is none.
 */
static u32 complete_weights(u8 *weight, u32 *count)
{
    u32 sum = 0, log, rest;

    for (u32 i = 0; i < *count; i++) {
        if (weight[i] > HUF_LOG)
            return 0;
        sum += (1U << weight[i]) >> 1;
    }
    if (sum == 0)
        return 0;
    log = high_bit(sum) + 1;
    rest = (1U << log) - sum;
    if (log > HUF_LOG || (rest & (rest - 1)))
        return 0;
    weight[(*count)++] = (u8)(high_bit(rest) + 1);
    return log;
}

/* Lighter symbols, which have the longer codes, come first; then by value. */
static void fill_table(struct huf_table *t, const u8 *weight, u32 count, u32 log)
{
    u16 *entry = t->entry;

    for (u32 w = 1; w <= log; w++)
        for (u32 i = 0; i < count; i++) {
            u32 n = 1U << (w - 1 + HUF_LOG - log);

            if (weight[i] != w)
                continue;
            for (u32 k = 0; k < n; k++)
                *entry++ = (u16)(i << 8 | (log + 1 - w));
        }
}

bool huf_read(struct huf_table *t, struct fse_table *scratch, const u8 *in, size_t len,
              size_t *used)
{
    u8 weight[HUF_MAX_WEIGHTS + 1];
    u32 count, log;

    if (len == 0)
        return false;
    if (in[0] < 128) {
        *used = 1 + in[0];
        if (*used > len || !read_weights(weight, &count, scratch, in + 1, in[0]))
            return false;
    } else {
        count = in[0] - 127;
        *used = 1 + (count + 1) / 2;
        if (*used > len)
            return false;
        for (u32 i = 0; i < count; i++)
            weight[i] = i % 2 ? in[1 + i / 2] & 15 : in[1 + i / 2] >> 4;
    }
    log = complete_weights(weight, &count);
    if (log == 0)
        return false;
    fill_table(t, weight, count, log);
    return true;
}

/* One symbol from the top bits of *bits; adds the code's length to *used, garbage above bit 7. */
__inline_always u8 huf_symbol(const struct huf_table *t, u64 *bits, u32 *used)
{
    u32 e = t->entry[*bits >> (64 - HUF_LOG)];

    *bits <<= e & 0xFF;
    *used += e;
    return (u8)(e >> 8);
}

bool huf_decode(const struct huf_table *t, const u8 *in, size_t len, u8 *out, size_t n)
{
    struct back_bits b;

    if (!back_open(&b, in, len))
        return false;
    /* Five symbols take at most 55 bits, and eight bytes before p belong to the stream. */
    while (n >= 5 && b.p - b.start >= 8) {
        u64 bits;
        u32 used;

        b.p -= b.used >> 3;
        used = b.used & 7;
        bits = get_le64(b.p) << used;
        for (u32 i = 0; i < 5; i++)
            out[i] = huf_symbol(t, &bits, &used);
        b.used = used & 0xFF;
        out += 5;
        n -= 5;
    }
    for (; n; n--) {
        u64 bits;
        u32 used = 0;

        back_refill(&b);
        if (back_left(&b) <= 0)
            return false;
        bits = b.next;
        *out++ = huf_symbol(t, &bits, &used);
        b.used += used & 0xFF;
    }
    return back_left(&b) == 0;
}
