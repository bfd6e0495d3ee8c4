/*
 * The common forms: whole TCP and UDP packets without options, to one station. What this file does
 * not recognise, all that is wrong included, goes the long way (vfr_packet.c), which gives the same
 * answer for these forms too, and which begins by clearing what was stored here.
 */
#include "core/vfr_packet_impl.h"

/* Single stores, which gcc does not make of a whole structure, and each as early as it can be. */
static must_inline void store_ethernet(struct vfr_packet *p, const u8 *bytes, u32 len)
{
    p->len = len;
    p->l3_offset = ETH_HEADER;
    p->icmp_type = p->icmp_code = 0;
    p->arp_op = 0;
    p->eth_dst = get_be64(bytes) >> 16;
    p->eth_src = get_be64(bytes + 6) >> 16;
    p->frag_offset = p->frag_len = 0;
    p->inner = (struct vfr_tuple){0};
}

/* What differs between packets of a conversation; false: the header does not fit. */
static must_inline bool store_flags(struct vfr_packet *p, const u8 *h, u32 l4, u32 end,
                                    u8 proto)
{
    u32 size;

    p->tcp_flags = 0;
    if (proto == PROTO_TCP) {
        p->tcp_flags = h[13];
        size = h[12] >> 4 << 2;
        return size >= TCP_HEADER && l4 + size <= end;
    }
    size = get_be16(h + 4);
    return proto == PROTO_UDP && size >= UDP_HEADER && l4 + size <= end;
}

/* The ports of a header at 'l4', of which TCP_HEADER bytes can be read, in a packet up to 'end'. */
static must_inline bool store_transport(struct vfr_packet *p, const u8 *bytes, u32 l4, u32 end,
                                        u8 proto)
{
    const u8 *h = bytes + l4;

    p->l4_offset = l4;
    p->tuple.proto = proto;
    p->tuple.sport = get_be16(h);
    p->tuple.dport = get_be16(h + 2);
    return store_flags(p, h, l4, end, proto);
}

/* By an address's first byte: 1 to 223 for a source, anything but nobody, and no loopback. */
static must_inline bool plain_addresses(u8 src, u8 dst)
{
    return (u8)(src - 1) < 223 && src != 127 && dst && dst != 127;
}

/* A sum of ones' complement is a remainder, in any order of bytes. */
static must_inline u64 sum_ip4(const u8 *h)
{
    return (u64)get_le32(h) + get_le32(h + 4) + get_le32(h + 8) + get_le32(h + 12) +
           get_le32(h + 16);
}

static must_inline bool common_ip4(struct vfr_packet *p, const u8 *bytes)
{
    const u8 *h = bytes + ETH_HEADER;
    u32 src = get_le32(h + 12), dst = get_le32(h + 16), piece = get_le32(h + 4);
    u32 end = ETH_HEADER + get_be16(h + 2);

    p->class = VFR_C_IP4;
    p->l3_len = end - ETH_HEADER;
    p->ttl = h[8];
    p->dscp = h[1] >> 2;
    p->tuple.src = VFR_IP4(__builtin_bswap32(src));
    p->tuple.dst = VFR_IP4(__builtin_bswap32(dst));
    if (unlikely(h[0] != 0x45 || end > p->len || !plain_addresses(src, dst) ||
                 sum_ip4(h) % 0xffff))
        return false;
    piece = __builtin_bswap32(piece);
    p->frag_id = piece >> 16;
    p->flags = VFR_P_PORTS | (piece & IP4_DF) / (IP4_DF / VFR_P_DF);
    return likely(!(piece & (IP4_MF | IP4_OFFSET))) &&
           store_transport(p, bytes, ETH_HEADER + IP4_HEADER, end, h[9]);
}

static must_inline bool common_ip6(struct vfr_packet *p, const u8 *bytes, u32 have)
{
    const u8 *h = bytes + ETH_HEADER;
    u32 first = get_be32(h), len = IP6_HEADER + get_be16(h + 4), end = ETH_HEADER + len;

    p->class = VFR_C_IP6;
    p->flags = VFR_P_PORTS | VFR_P_DF;
    p->ttl = h[7];
    p->dscp = first >> 22 & 63;
    p->frag_id = 0;
    p->l3_len = len;
    if (unlikely(have < ETH_HEADER + IP6_HEADER + TCP_HEADER))
        return false;
    p->tuple.src = get_addr6(h + 8);
    p->tuple.dst = get_addr6(h + 24);
    return likely(first >> 28 == 6 && len <= 65535 && end <= p->len &&
                  ip6_addresses_ok(p->tuple.src, p->tuple.dst) &&
                  store_transport(p, bytes, ETH_HEADER + IP6_HEADER, end, h[6]));
}

bool vfr_packet_may_lead(const struct vfr_packet *p)
{
    return p->class == VFR_C_IP4 && p->l4_offset == ETH_HEADER + IP4_HEADER &&
           (p->flags & ~VFR_P_DF) == VFR_P_PORTS &&
           (p->tuple.proto == PROTO_TCP || p->tuple.proto == PROTO_UDP);
}

void vfr_packet_keep(u64 kept[VFR_KEPT], const u8 *bytes)
{
    for (unsigned i = 0; i < VFR_KEPT; i++)
        kept[i] = get_le64(bytes + i * 8);
}

/* All before the ports but length, identification and checksum. */
static must_inline bool has_same_beginning(const u64 kept[VFR_KEPT], const u8 *bytes)
{
    return !((kept[0] ^ get_le64(bytes)) | (kept[1] ^ get_le64(bytes + 8)) |
             (kept[2] ^ get_le64(bytes + 16)) >> 32 | (kept[3] ^ get_le64(bytes + 24)) >> 16 |
             (kept[4] ^ get_le64(bytes + 32)) << 48);
}

static must_inline bool has_same_ports(const u64 kept[VFR_KEPT], const u8 *bytes)
{
    return !((kept[4] ^ get_le64(bytes + 32)) << 16);
}

/* DHCP is looked at closely (core/vfr_guard.h). */
static __noinline enum vfr_follow take_ports(struct vfr_packet *p, u64 kept[VFR_KEPT],
                                             const u8 *bytes)
{
    const u8 *h = bytes + ETH_HEADER + IP4_HEADER;

    p->tuple.sport = get_be16(h);
    p->tuple.dport = get_be16(h + 2);
    kept[4] = get_le64(bytes + 32);
    if (p->tuple.dport == DHCP4_SERVER || p->tuple.dport == DHCP4_CLIENT)
        return VFR_FOLLOW_NOT;
    return VFR_FOLLOW_STATION;
}

enum vfr_follow vfr_packet_follow(struct vfr_packet *p, u64 kept[VFR_KEPT], const u8 *bytes,
                                  u32 have, u32 len)
{
    const u8 *h = bytes + ETH_HEADER;
    u32 end;

    if (MIN(have, len) < ETH_HEADER + IP4_HEADER + TCP_HEADER ||
        !has_same_beginning(kept, bytes) || sum_ip4(h) % 0xffff)
        return VFR_FOLLOW_NOT;
    end = ETH_HEADER + get_be16(h + 2);
    p->len = len;
    p->l3_len = end - ETH_HEADER;
    p->frag_id = get_be16(h + 4);
    if (end > len || !store_flags(p, h + IP4_HEADER, p->l4_offset, end, p->tuple.proto))
        return VFR_FOLLOW_NOT;
    return likely(has_same_ports(kept, bytes)) ? VFR_FOLLOW_FLOW : take_ports(p, kept, bytes);
}

enum vfr_reason vfr_packet_parse(struct vfr_packet *p, const uint8_t *bytes, uint32_t have,
                                 uint32_t len)
{
    u16 type;

    have = MIN(have, len);
    if (unlikely(have < ETH_HEADER + IP4_HEADER + TCP_HEADER || bytes[0] & 1))
        return vfr_packet_parse_any(p, bytes, have, len);
    type = get_be16(bytes + 12);
    store_ethernet(p, bytes, len);
    if (likely(type == ETHERTYPE_IP4) && common_ip4(p, bytes))
        return VFR_R_OK;
    if (type == ETHERTYPE_IP6 && common_ip6(p, bytes, have))
        return VFR_R_OK;
    return vfr_packet_parse_any(p, bytes, have, len);
}
