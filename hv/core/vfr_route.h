/*
 * Where a packet to an address goes: the longest prefix that contains it.
 *
 *  1. An entry is free (vif VFR_NOBODY) or holds a prefix without bits behind its length.
 *  2. A prefix is there once. Entries of one hash lie in a row without gaps, circularly.
 *  3. Of the lengths 0 to 128 those that occur are in 'lengths'; counts[l] tells how often.
 *
 * Memory is the caller's, who serialises changes; while one is under way nobody may look.
 */
#ifndef SERAI_CORE_VFR_ROUTE_H
#define SERAI_CORE_VFR_ROUTE_H

#include "core/vfr_packet.h"

struct vfr_route {
    struct vfr_addr prefix;
    uint16_t vif;
    uint8_t length;
};

struct vfr_routes {
    struct vfr_route *table;
    uint32_t size; /* a power of two; half of it is used at most */
    uint32_t used;
    uint64_t seed; /* a secret, so that nobody makes addresses collide */
    uint64_t lengths[3];
    uint16_t counts[129];
};

/* The first 'length' bits, 0 to 128. */
struct vfr_addr vfr_addr_mask(unsigned length);

/* And back, of a mask that is one. */
static inline unsigned vfr_addr_mask_length(struct vfr_addr mask)
{
    const bool long_one = !~mask.high;
    const uint64_t rest = long_one ? ~mask.low : ~mask.high;

    return 64 * long_one + (rest ? (unsigned)__builtin_clzl(rest) : 64);
}

/* The mask of an IPv4 prefix as one of 128 bits. */
static inline struct vfr_addr vfr_ip4_mask(uint32_t mask)
{
    return (struct vfr_addr){~0ull, ~0ull << 32 | mask};
}

/* An empty table in the caller's memory, as many of the 'size' entries as are a power of two. */
void vfr_routes_init(struct vfr_routes *r, struct vfr_route *table, uint32_t size,
                     uint64_t seed);

/* 0; -XEN_EINVAL: bits behind the length; -XEN_EEXIST: it is there; -XEN_ENOSPC. */
int vfr_route_add(struct vfr_routes *r, struct vfr_addr prefix, uint8_t length, uint16_t vif);
/* false: this interface has no such prefix. */
bool vfr_route_remove(struct vfr_routes *r, struct vfr_addr prefix, uint8_t length,
                      uint16_t vif);
/* The interface, or VFR_NOBODY. */
uint16_t vfr_route_find(const struct vfr_routes *r, struct vfr_addr to);

/* 0, or the number of the invariant that does not hold. */
int vfr_routes_check(const struct vfr_routes *r);

#endif
