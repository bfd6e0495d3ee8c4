#include "core/vfr_rules.h"

#define GROUP 8 /* words of 64 bits */

/* Most of an image is 0, and a digest costs 40 instructions a byte. */
static u32 pack(const u64 *words, u32 nr, u16 out[2 + 4 * GROUP])
{
    u32 mask = 0, n = 2;

    for (u32 i = 0; i < nr; i++)
        for (u64 word = words[i], bit = 1UL << 4 * i; word; word >>= 16, bit <<= 1)
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

bool vfr_rules_digest_add(struct vfr_rules_digest *d, const struct vfr_image *i, u32 budget)
{
    u16 out[2 + 4 * GROUP] __unset;
    u32 end, nr;

    for (; budget; budget--) {
        d->at = d->at == i->gates_at ? i->rules_at : d->at;
        d->at = d->at == i->order_at ? i->matches_at : d->at;
        if (d->at == i->len)
            return true;
        end = d->at < i->gates_at ? i->gates_at : d->at < i->order_at ? i->order_at : i->len;
        nr = MIN((end - d->at) / 8, GROUP);
        sha256_add(&d->sum, out, pack((const u64 *)((const u8 *)i + d->at), nr, out));
        d->at += nr * 8;
    }
    return false;
}
