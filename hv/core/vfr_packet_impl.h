/*
 * What both ways of parsing share (vfr_packet.c, vfr_packet_common.c); nobody else's.
 */
#ifndef SERAI_CORE_VFR_PACKET_IMPL_H
#define SERAI_CORE_VFR_PACKET_IMPL_H

#include "core/vfr_packet.h"
#include "core/vfr_wire.h"

static inline struct vfr_addr get_addr6(const u8 *p)
{
    return (struct vfr_addr){get_be64(p), get_be64(p + 8)};
}

/* Addresses that no router takes a packet from, or to. 0.0.0.0 may ask for an address. */
static inline bool ip4_addresses_ok(u32 src, u32 dst)
{
    return src < 0xe0000000 && src >> 24 != 127 && dst >> 24 != 127 && dst >> 24 &&
           (src >> 24 || !src);
}

/* All that is special among unicast addresses, the mapped ones of IPv4 too, has 64 zeros first. */
static inline bool ip6_addresses_ok(struct vfr_addr src, struct vfr_addr dst)
{
    return src.high >> 56 != 0xff && dst.high && (src.high || !src.low);
}

#endif
