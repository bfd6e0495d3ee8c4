#include "core/vfr_rules.h"

#define GROUP 8 /* words of 64 bits */

/*
 * Most of an image is as 'back' words before, or 0, and a digest costs 40 instructions a byte: what is
 * summed is the rest, from which the image could be made again.
 */
static u32 pack(const u64 *words, u32 nr, u32 back, u16 out[2 + 4 * GROUP])
{
    u32 mask = 0, n = 2;

    for (u32 i = 0; i < nr; i++)
        for (u64 word = words[i] ^ (back ? (words - back)[i] : 0), bit = 1UL << 4 * i; word;
             word >>= 16, bit <<= 1)
            if ((u16)word) {
                mask |= bit;
                out[n++] = (u16)word;
            }
    out[0] = (u16)mask;
    out[1] = mask >> 16;
    return n * sizeof(u16);
}

void vfr_rules_digest_begin(struct vfr_rules_digest *d)
{
    sha256_begin(&d->sum);
    d->at = 0;
}

/* The words from d->at on that belong together, and how many before them are of the same kind. */
static u32 next_group(const struct vfr_rules_digest *d, const struct vfr_image *i, u32 *back)
{
    const u32 at = d->at, match = sizeof(struct vfr_match) / 8;
    u32 first = at, end = i->len, size = GROUP;

    _Static_assert(sizeof(struct vfr_rule) == 8 * GROUP, "a group");
    if (at < i->gates_at) {
        end = i->gates_at;
    } else if (at < i->order_at) {
        first = i->rules_at;
        end = i->order_at;
    } else if (at < i->sets_at) {
        first = i->matches_at;
        end = i->sets_at;
        size = match;
    }
    *back = at > first ? size : 0;
    return MIN((end - at) / 8, size);
}

bool vfr_rules_digest_add(struct vfr_rules_digest *d, const struct vfr_image *i, u32 budget)
{
    u16 out[2 + 4 * GROUP] __unset;
    u32 nr, back;

    for (; budget; budget--) {
        d->at = d->at == i->gates_at ? i->rules_at : d->at;
        d->at = d->at == i->order_at ? i->matches_at : d->at;
        if (d->at == i->len)
            return true;
        nr = next_group(d, i, &back);
        sha256_add(&d->sum, out, pack((const u64 *)((const u8 *)i + d->at), nr, back, out));
        d->at += nr * 8;
    }
    return false;
}
