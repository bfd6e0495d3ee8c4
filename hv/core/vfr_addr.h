/*
 * Network addresses of both families.
 *
 * Pure.
 */
#ifndef SERAI_CORE_VFR_ADDR_H
#define SERAI_CORE_VFR_ADDR_H

#include <stdbool.h>
#include <stdint.h>

/* An address of either family as a 128-bit number; IPv4 as ::ffff:a.b.c.d. */
struct vfr_addr {
    uint64_t high, low;
};

#define VFR_IP4(a) ((struct vfr_addr){0, 0xffff00000000ull | (uint32_t)(a)})

static inline bool vfr_addr_is_ip4(struct vfr_addr a)
{
    return a.high == 0 && a.low >> 32 == 0xffff;
}

/* Means something on one link only. */
static inline bool vfr_addr_is_link_local(struct vfr_addr a)
{
    return a.high >> 54 == 0xfe80 >> 6;
}

static inline bool vfr_addr_equal(struct vfr_addr a, struct vfr_addr b)
{
    return a.high == b.high && a.low == b.low;
}

#endif
