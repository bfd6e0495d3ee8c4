#include "core/vfr_route.h"

#include <xen/errno.h>

struct vfr_addr vfr_addr_mask(unsigned length)
{
    return (struct vfr_addr){
        .high = length >= 64 ? ~0ull
                : length     ? ~0ull << (64 - length)
                             : 0,
        .low = length >= 128 ? ~0ull
               : length > 64 ? ~0ull << (128 - length)
                             : 0,
    };
}

static struct vfr_addr masked(struct vfr_addr a, unsigned length)
{
    struct vfr_addr m = vfr_addr_mask(length);

    return (struct vfr_addr){a.high & m.high, a.low & m.low};
}

static uint32_t slot_of(const struct vfr_routes *r, struct vfr_addr a, unsigned length)
{
    unsigned __int128 x = (unsigned __int128)(a.high ^ r->seed) * 0x9e3779b97f4a7c15ull;
    uint64_t h = (uint64_t)x ^ (uint64_t)(x >> 64);

    x = (unsigned __int128)(h ^ a.low ^ ((uint64_t)length << 56)) * (r->seed | 1);
    return (uint32_t)((uint64_t)x ^ (uint64_t)(x >> 64)) & (r->size - 1);
}

/* The entry of this prefix, or the free one where it would be. */
static struct vfr_route *find_entry(const struct vfr_routes *r, struct vfr_addr prefix,
                                    unsigned length)
{
    uint32_t i = slot_of(r, prefix, length);
    struct vfr_route *e;

    for (;; i++) {
        e = &r->table[i & (r->size - 1)];
        if (e->vif == VFR_NOBODY || (e->length == length && vfr_addr_equal(e->prefix, prefix)))
            return e;
    }
}

void vfr_routes_init(struct vfr_routes *r, struct vfr_route *table, uint32_t size,
                     uint64_t seed)
{
    while (size & (size - 1))
        size &= size - 1;
    *r = (struct vfr_routes){.table = table, .size = size, .seed = seed};
    for (uint32_t i = 0; i < size; i++)
        table[i].vif = VFR_NOBODY;
}

int vfr_route_add(struct vfr_routes *r, struct vfr_addr prefix, uint8_t length, uint16_t vif)
{
    struct vfr_route *e;

    if (length > 128 || vif == VFR_NOBODY || !vfr_addr_equal(prefix, masked(prefix, length)))
        return -XEN_EINVAL;
    e = find_entry(r, prefix, length);
    if (e->vif != VFR_NOBODY)
        return -XEN_EEXIST;
    if (r->used == r->size / 2)
        return -XEN_ENOSPC;
    *e = (struct vfr_route){.prefix = prefix, .vif = vif, .length = length};
    r->used++;
    if (!r->counts[length]++)
        r->lengths[length / 64] |= 1ull << length % 64;
    return 0;
}

/* Those that follow may stand here only because this one was in their way. */
static void close_gap(struct vfr_routes *r, uint32_t gap)
{
    const uint32_t mask = r->size - 1;
    struct vfr_route *e;

    for (uint32_t i = gap + 1;; i++) {
        e = &r->table[i & mask];
        if (e->vif == VFR_NOBODY)
            break;
        if (((i - slot_of(r, e->prefix, e->length)) & mask) < ((i - gap) & mask))
            continue; /* its own place lies behind the gap */
        r->table[gap & mask] = *e;
        gap = i;
    }
    r->table[gap & mask].vif = VFR_NOBODY;
}

bool vfr_route_remove(struct vfr_routes *r, struct vfr_addr prefix, uint8_t length,
                      uint16_t vif)
{
    struct vfr_route *e;

    if (length > 128)
        return false;
    e = find_entry(r, prefix, length);
    if (vif == VFR_NOBODY || e->vif != vif)
        return false;
    close_gap(r, (uint32_t)(e - r->table));
    r->used--;
    if (!--r->counts[length])
        r->lengths[length / 64] &= ~(1ull << length % 64);
    return true;
}

uint16_t vfr_route_find(const struct vfr_routes *r, struct vfr_addr to)
{
    for (int word = 2; word >= 0; word--) {
        for (uint64_t left = r->lengths[word]; left;) {
            unsigned length = 63 - (unsigned)__builtin_clzll(left);
            uint16_t vif;

            left &= ~(1ull << length);
            length += (unsigned)word * 64;
            vif = find_entry(r, masked(to, length), length)->vif;
            if (vif != VFR_NOBODY)
                return vif;
        }
    }
    return VFR_NOBODY;
}

int vfr_routes_check(const struct vfr_routes *r)
{
    uint32_t used = 0, counts[129] = {0};

    for (uint32_t i = 0; i < r->size; i++) {
        const struct vfr_route *e = &r->table[i];

        if (e->vif == VFR_NOBODY)
            continue;
        if (e->length > 128 || !vfr_addr_equal(e->prefix, masked(e->prefix, e->length)))
            return 1;
        if (find_entry(r, e->prefix, e->length) != e)
            return 2;
        counts[e->length]++;
        used++;
    }
    if (used != r->used || used > r->size / 2)
        return 3;
    for (unsigned l = 0; l <= 128; l++) {
        bool noted = r->lengths[l / 64] >> l % 64 & 1;

        if (counts[l] != r->counts[l] || noted != (counts[l] != 0))
            return 3;
    }
    return 0;
}
