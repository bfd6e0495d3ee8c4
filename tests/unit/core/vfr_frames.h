/* Frames for the router's tests, put together field by field; lengths and sums are filled in last. */
#ifndef SERAI_TESTS_VFR_FRAMES_H
#define SERAI_TESTS_VFR_FRAMES_H

#include "core/vfr_checksum.h"
#include "core/vfr_packet.h"
#include "core/vfr_wire.h"

#define GUEST_MAC  0x00163e010203ull
#define ROUTER_MAC 0x020000000001ull
#define GUEST_IP   0xc0000201u /* 192.0.2.1 */
#define PEER_IP    0xc6336402u /* 198.51.100.2 */

#define IP6(h, l) ((struct vfr_addr){h, l})
#define GUEST_IP6 IP6(0x20010db800000001, 0x11)
#define PEER_IP6  IP6(0x20010db800000002, 0x22)

struct frame_bytes {
    u8 b[2048];
    u32 len;
};

/* Space for 'n' bytes, zeroed; its address. */
static inline u8 *frame_put(struct frame_bytes *f, u32 n)
{
    u8 *at = f->b + f->len;

    memset(at, 0, n);
    f->len += n;
    return at;
}

static inline void frame_eth(struct frame_bytes *f, u64 dst, u64 src, u16 type)
{
    u8 *h;

    f->len = 0;
    h = frame_put(f, ETH_HEADER);
    put_mac(h, dst);
    put_mac(h + 6, src);
    put_be16(h + 12, type);
}

static inline u8 *frame_ip4(struct frame_bytes *f, u32 src, u32 dst, u8 proto)
{
    u8 *h;

    frame_eth(f, ROUTER_MAC, GUEST_MAC, ETHERTYPE_IP4);
    h = frame_put(f, IP4_HEADER);
    h[0] = 0x45;
    put_be16(h + 6, IP4_DF);
    h[8] = 64;
    h[9] = proto;
    put_be32(h + 12, src);
    put_be32(h + 16, dst);
    return h;
}

static inline u8 *frame_ip6(struct frame_bytes *f, struct vfr_addr src, struct vfr_addr dst,
                            u8 next)
{
    u8 *h;

    frame_eth(f, ROUTER_MAC, GUEST_MAC, ETHERTYPE_IP6);
    h = frame_put(f, IP6_HEADER);
    h[0] = 0x60;
    h[6] = next;
    h[7] = 64;
    put_be64(h + 8, src.high);
    put_be64(h + 16, src.low);
    put_be64(h + 24, dst.high);
    put_be64(h + 32, dst.low);
    return h;
}

static inline u8 *frame_udp(struct frame_bytes *f, u16 sport, u16 dport, u32 payload)
{
    u8 *h = frame_put(f, UDP_HEADER + payload);

    put_be16(h, sport);
    put_be16(h + 2, dport);
    put_be16(h + 4, UDP_HEADER + payload);
    return h;
}

static inline u8 *frame_tcp(struct frame_bytes *f, u16 sport, u16 dport, u8 flags, u32 payload)
{
    u8 *h = frame_put(f, TCP_HEADER + payload);

    put_be16(h, sport);
    put_be16(h + 2, dport);
    put_be32(h + 4, 0x10203040);
    h[12] = 0x50;
    h[13] = flags;
    return h;
}

static inline u8 *frame_icmp(struct frame_bytes *f, u8 type, u8 code, u16 id, u32 payload)
{
    u8 *h = frame_put(f, ICMP_HEADER + payload);

    h[0] = type;
    h[1] = code;
    put_be16(h + 4, id);
    return h;
}

/* A later header of IPv6: kind of the next one, size in bytes. */
static inline u8 *frame_extension(struct frame_bytes *f, u8 next, u32 size)
{
    u8 *h = frame_put(f, size);

    h[0] = next;
    h[1] = size / 8 - 1;
    return h;
}

static inline void frame_resum(struct frame_bytes *f)
{
    u8 *h = f->b + ETH_HEADER;

    put_be16(h + 10, 0);
    put_be16(h + 10, vfr_checksum(h, (h[0] & 15) * 4));
}

/* The IP header's length, from what was put behind it, and its checksum. */
static inline void frame_finish(struct frame_bytes *f)
{
    u8 *h = f->b + ETH_HEADER;

    if (h[0] >> 4 == 6) {
        put_be16(h + 4, f->len - ETH_HEADER - IP6_HEADER);
        return;
    }
    put_be16(h + 2, f->len - ETH_HEADER);
    frame_resum(f);
}

static inline void frame_arp(struct frame_bytes *f, u16 op, u64 sha, u32 spa, u64 tha, u32 tpa)
{
    u8 *h;

    frame_eth(f, ETH_BROADCAST, GUEST_MAC, ETHERTYPE_ARP);
    h = frame_put(f, ARP_LEN);
    put_be32(h, 0x00010800);
    put_be16(h + 4, 0x0604);
    put_be16(h + ARP_OP, op);
    put_mac(h + ARP_SHA, sha);
    put_be32(h + ARP_SPA, spa);
    put_mac(h + ARP_THA, tha);
    put_be32(h + ARP_TPA, tpa);
}

/* A copy of just the bytes that may be read: the sanitizer sees the first one too many. */
static inline enum vfr_reason frame_parse_some(const struct frame_bytes *f, u32 have,
                                               struct vfr_packet *p)
{
    u8 *copy = malloc(have ? have : 1);
    struct vfr_packet long_way;
    enum vfr_reason why;

    memcpy(copy, f->b, have);
    memset(p, 0xa5, sizeof(*p));
    why = vfr_packet_parse(p, copy, have, f->len);
    if (vfr_packet_parse_any(&long_way, copy, have, f->len) != why)
        abort();
    free(copy);
    return why;
}

static inline enum vfr_reason frame_parse(const struct frame_bytes *f, struct vfr_packet *p)
{
    return frame_parse_some(f, MIN(f->len, VFR_SNAPSHOT), p);
}

#endif
