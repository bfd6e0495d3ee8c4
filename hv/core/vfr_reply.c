#include "core/vfr_reply.h"
#include "core/vfr_checksum.h"
#include "core/vfr_wire.h"

#define TTL    64
#define ND_TTL 255

static const struct vfr_addr all_nodes = {0xff02ull << 48, 1};

/* ---- building ---- */

static void put_addr6(u8 *at, struct vfr_addr a)
{
    put_be64(at, a.high);
    put_be64(at + 8, a.low);
}

static void put_eth(u8 *out, u64 dst, u64 src, u16 type)
{
    put_mac(out, dst);
    put_mac(out + 6, src);
    put_be16(out + 12, type);
}

/* Both headers, for 'len' bytes behind them; returns where those go. */
static u8 *put_ip(u8 *out, const struct vfr_tuple *t, u32 len, u8 ttl)
{
    u8 *h = out + ETH_HEADER;

    if (!vfr_addr_is_ip4(t->src)) {
        put_be16(out + 12, ETHERTYPE_IP6);
        put_be32(h, 6u << 28);
        put_be16(h + 4, len);
        h[6] = t->proto;
        h[7] = ttl;
        put_addr6(h + 8, t->src);
        put_addr6(h + 24, t->dst);
        return h + IP6_HEADER;
    }
    put_be16(out + 12, ETHERTYPE_IP4);
    put_be16(h, 0x4500);
    put_be16(h + 2, IP4_HEADER + len);
    put_be32(h + 4, IP4_DF);
    h[8] = ttl;
    h[9] = t->proto;
    put_be16(h + 10, 0);
    put_be32(h + 12, t->src.low);
    put_be32(h + 16, t->dst.low);
    put_be16(h + 10, vfr_checksum(h, IP4_HEADER));
    return h + IP4_HEADER;
}

/* Sums the 'len' bytes at 'l4' and puts the checksum at 'at' of them. Returns the frame's length. */
static u32 finish(u8 *out, const struct vfr_tuple *t, u8 *l4, u32 len, u32 at)
{
    struct vfr_sum s = {0};

    if (t->proto != PROTO_ICMP4)
        s = vfr_sum_pseudo(t->src, t->dst, t->proto, len);
    put_be16(l4 + at, 0);
    vfr_sum_add(&s, l4, len);
    put_be16(l4 + at, vfr_sum_finish(s));
    return l4 + len - out;
}

/* ---- who may be answered ---- */

static bool is_station(struct vfr_addr a)
{
    if (vfr_addr_is_ip4(a))
        return (u32)a.low && (u32)a.low < 0xe0000000;
    return a.high && a.high >> 56 != 0xff;
}

static bool between_stations(const struct vfr_packet *p)
{
    return p->class != VFR_C_ARP && !(p->flags & (VFR_P_BROADCAST | VFR_P_MULTICAST)) &&
           !(p->eth_src & ETH_GROUP) && is_station(p->tuple.src) && is_station(p->tuple.dst);
}

static bool is_icmp(const struct vfr_packet *p)
{
    return p->tuple.proto == (p->class == VFR_C_IP4 ? PROTO_ICMP4 : PROTO_ICMP6);
}

/* ---- ARP ---- */

static rarely u32 put_arp(u8 *out, u64 dst, u16 op, u64 sha, u32 spa, u64 tha, u32 tpa)
{
    u8 *h = out + ETH_HEADER;

    put_eth(out, dst, sha, ETHERTYPE_ARP);
    put_be32(h, 0x00010800);
    put_be16(h + 4, 0x0604);
    put_be16(h + ARP_OP, op);
    put_mac(h + ARP_SHA, sha);
    put_be32(h + ARP_SPA, spa);
    put_mac(h + ARP_THA, tha);
    put_be32(h + ARP_TPA, tpa);
    return ETH_HEADER + ARP_LEN;
}

uint32_t vfr_reply_arp(const struct vfr_self *self, const struct vfr_binding *asker,
                       const struct vfr_packet *p, uint8_t *out)
{
    struct vfr_addr who = p->tuple.src, what = p->tuple.dst;

    if (p->class != VFR_C_ARP || p->arp_op != ARP_REQUEST || p->eth_src & ETH_GROUP)
        return 0;
    if (!is_station(who) || !is_station(what) || vfr_addr_equal(who, what))
        return 0;
    if (asker && vfr_binding_owns(asker, what))
        return 0;
    return put_arp(out, p->eth_src, ARP_REPLY, self->mac, what.low, p->eth_src, who.low);
}

/* ---- neighbour discovery ---- */

static u8 *put_link_option(u8 *at, u8 kind, u64 mac)
{
    at[0] = kind;
    at[1] = 1;
    put_mac(at + 2, mac);
    return at + 8;
}

enum { NA_ROUTER = 0x80, NA_SOLICITED = 0x40, NA_OVERRIDE = 0x20 };

static u32 put_neighbour(u8 *out, const struct vfr_tuple *t, struct vfr_addr target, u8 type,
                         u8 flags, u64 mac)
{
    u8 *m = put_ip(out, t, ND_SOLICIT_LEN + 8, ND_TTL);

    put_be32(m, (u32)type << 24);
    put_be32(m + 4, (u32)flags << 24);
    put_addr6(m + ND_TARGET, target);
    put_link_option(m + ND_SOLICIT_LEN, type == ND_SOLICIT ? ND_OPT_SOURCE : ND_OPT_TARGET,
                    mac);
    return finish(out, t, m, ND_SOLICIT_LEN + 8, 2);
}

uint32_t vfr_reply_solicit(const struct vfr_self *self, const struct vfr_binding *asker,
                           const struct vfr_packet *p, const uint8_t *bytes, bool router,
                           uint8_t *out)
{
    const u8 *m = bytes + p->l4_offset;
    struct vfr_tuple t = {.dst = p->tuple.src, .proto = PROTO_ICMP6};

    if (!(p->flags & VFR_P_ND) || p->icmp_type != ND_SOLICIT || p->flags & VFR_P_FRAGMENT)
        return 0;
    if (p->l4_offset + ND_SOLICIT_LEN > MIN(p->l3_offset + p->l3_len, VFR_SNAPSHOT) ||
        p->ttl != ND_TTL || p->icmp_code || p->eth_src & ETH_GROUP)
        return 0;
    t.src = (struct vfr_addr){get_be64(m + ND_TARGET), get_be64(m + ND_TARGET + 8)};
    /* The target is the sender's bytes: a mapped IPv4 address in it is nobody's. */
    if (vfr_addr_is_ip4(t.src) || !is_station(t.src) || !is_station(t.dst) ||
        vfr_addr_equal(t.src, t.dst))
        return 0;
    if (asker && vfr_binding_owns(asker, t.src))
        return 0;
    put_eth(out, p->eth_src, self->mac, 0);
    return put_neighbour(out, &t, t.src, ND_ADVERT,
                         NA_SOLICITED | NA_OVERRIDE | (router ? NA_ROUTER : 0), self->mac);
}

uint32_t vfr_reply_ask(const struct vfr_self *self, struct vfr_addr from, struct vfr_addr about,
                       uint8_t *out)
{
    const u32 last = (u32)about.low & 0xffffff;
    struct vfr_tuple t = {.src = from, .proto = PROTO_ICMP6};

    if (!is_station(from) || !is_station(about) ||
        vfr_addr_is_ip4(from) != vfr_addr_is_ip4(about))
        return 0;
    if (vfr_addr_is_ip4(about))
        return put_arp(out, ETH_BROADCAST, ARP_REQUEST, self->mac, from.low, 0, about.low);
    t.dst = (struct vfr_addr){0xff02ull << 48, 0x1ff000000 | last};
    put_eth(out, 0x3333ff000000 | last, self->mac, 0);
    return put_neighbour(out, &t, about, ND_SOLICIT, 0, self->mac);
}

static u8 *put_prefix_option(u8 *at, const struct vfr_advert *ra)
{
    at[0] = ND_OPT_PREFIX;
    at[1] = 4;
    at[2] = ra->prefix_len;
    at[3] = ra->on_link << 7 | ra->autonomous << 6;
    put_be32(at + 4, ra->valid);
    put_be32(at + 8, ra->preferred);
    put_be32(at + 12, 0);
    put_addr6(at + 16, ra->prefix);
    return at + 32;
}

static u8 *put_mtu_option(u8 *at, u32 mtu)
{
    put_be32(at, ND_OPT_MTU << 24 | 1 << 16);
    put_be32(at + 4, mtu);
    return at + 8;
}

uint32_t vfr_reply_advert(const struct vfr_self *self, const struct vfr_advert *ra,
                          const struct vfr_packet *p, uint8_t *out)
{
    struct vfr_tuple t = {.src = self->ip6, .dst = all_nodes, .proto = PROTO_ICMP6};
    u32 len = 16 + 8 + (ra->mtu ? 8 : 0) + (ra->prefix_len ? 32 : 0);
    u64 station = 0x333300000001;
    u8 *m, *at;

    if (p && (!(p->flags & VFR_P_ND) || p->icmp_type != ND_ROUTER_SOLICIT || p->ttl != ND_TTL ||
              p->icmp_code || p->flags & VFR_P_FRAGMENT || p->eth_src & ETH_GROUP))
        return 0;
    /* Who has no address yet listens as one of all. */
    if (p && is_station(p->tuple.src)) {
        t.dst = p->tuple.src;
        station = p->eth_src;
    }
    put_eth(out, station, self->mac, 0);
    m = put_ip(out, &t, len, ND_TTL);
    put_be32(m, (u32)ND_ROUTER_ADVERT << 24);
    m[4] = TTL;
    m[5] = ra->managed << 7 | ra->other << 6;
    put_be16(m + 6, ra->lifetime);
    put_be64(m + 8, 0); /* reachable and retransmission times: the host's own */
    at = put_link_option(m + 16, ND_OPT_SOURCE, self->mac);
    if (ra->mtu)
        at = put_mtu_option(at, ra->mtu);
    if (ra->prefix_len)
        put_prefix_option(at, ra);
    return finish(out, &t, m, len, 2);
}

/* ---- ICMP ---- */

static const struct {
    u8 type4, code4, type6, code6;
} errors[] = {
    [VFR_E_ADMIN] = {ICMP4_UNREACHABLE, 13, ICMP6_UNREACHABLE, 1},
    [VFR_E_HOST] = {ICMP4_UNREACHABLE, 1, ICMP6_UNREACHABLE, 3},
    [VFR_E_PORT] = {ICMP4_UNREACHABLE, 3, ICMP6_UNREACHABLE, 4},
    [VFR_E_TOO_BIG] = {ICMP4_UNREACHABLE, 4, ICMP6_TOO_BIG, 0},
    [VFR_E_TTL] = {ICMP4_TIME, 0, ICMP6_TIME, 0},
};

static bool may_complain(const struct vfr_packet *p)
{
    if (!between_stations(p) || p->frag_offset)
        return false;
    return !is_icmp(p) || p->flags & (VFR_P_QUERY | VFR_P_ANSWER);
}

uint32_t vfr_reply_error(const struct vfr_self *self, const struct vfr_packet *p,
                         const uint8_t *bytes, uint32_t have, enum vfr_error e, uint32_t mtu,
                         uint8_t *out)
{
    bool v4 = p->class == VFR_C_IP4;
    struct vfr_tuple t = {.dst = p->tuple.src, .proto = v4 ? PROTO_ICMP4 : PROTO_ICMP6};
    u32 room = VFR_REPLY_MAX - ETH_HEADER - (v4 ? IP4_HEADER : IP6_HEADER) - ICMP_HEADER;
    u32 quote = MIN(MIN(room, (u32)p->l3_len), MIN(have, VFR_SNAPSHOT) - ETH_HEADER);
    u8 *m;

    if (!may_complain(p))
        return 0;
    t.src = v4 ? VFR_IP4(self->ip4) : self->ip6;
    put_eth(out, p->eth_src, self->mac, 0);
    m = put_ip(out, &t, ICMP_HEADER + quote, TTL);
    m[0] = v4 ? errors[e].type4 : errors[e].type6;
    m[1] = v4 ? errors[e].code4 : errors[e].code6;
    put_be32(m + 4, e != VFR_E_TOO_BIG ? 0 : v4 ? MIN(mtu, 65535u) : mtu);
    memcpy(m + ICMP_HEADER, bytes + ETH_HEADER, quote);
    return finish(out, &t, m, ICMP_HEADER + quote, 2);
}

uint32_t vfr_reply_echo(const struct vfr_self *self, const struct vfr_packet *p,
                        const uint8_t *bytes, uint32_t have, uint8_t *out)
{
    bool v4 = p->class == VFR_C_IP4;
    struct vfr_tuple t = {.src = p->tuple.dst, .dst = p->tuple.src, .proto = p->tuple.proto};
    u32 end = p->l3_offset + p->l3_len, known = MIN(end, have), len = end - p->l4_offset;
    u8 *m;

    if (!between_stations(p) || !is_icmp(p) || p->flags & VFR_P_FRAGMENT)
        return 0;
    if (p->icmp_type != (v4 ? ICMP4_ECHO : ICMP6_ECHO) || p->icmp_code)
        return 0;
    if (known > VFR_REPLY_MAX)
        return 0;
    put_eth(out, p->eth_src, self->mac, 0);
    m = put_ip(out, &t, len, TTL);
    if (end > have && m - out != p->l4_offset)
        return 0; /* headers that an answer has not */
    memcpy(m, bytes + p->l4_offset, known - p->l4_offset);
    m[0] = v4 ? ICMP4_ECHO_REPLY : ICMP6_ECHO_REPLY;
    /* Repaired, not made anew: a damaged question gets a damaged answer. */
    put_be16(m + 2, vfr_checksum_update(get_be16(m + 2), p->icmp_type << 8, m[0] << 8));
    return m + (known - p->l4_offset) - out;
}

/* ---- TCP ---- */

uint32_t vfr_reply_reset(const struct vfr_self *self, const struct vfr_packet *p,
                         const uint8_t *bytes, uint8_t *out)
{
    const u8 *seg = bytes + p->l4_offset;
    struct vfr_tuple t = {.src = p->tuple.dst, .dst = p->tuple.src, .proto = PROTO_TCP};
    bool ack = p->tcp_flags & TCP_ACK;
    u32 used;
    u8 *h;

    if (p->tuple.proto != PROTO_TCP || !between_stations(p) || p->flags & VFR_P_FRAGMENT ||
        p->tcp_flags & TCP_RST)
        return 0;
    used = p->l3_offset + p->l3_len - p->l4_offset - (seg[12] >> 4 << 2);
    used += !!(p->tcp_flags & TCP_SYN) + !!(p->tcp_flags & TCP_FIN);
    put_eth(out, p->eth_src, self->mac, 0);
    h = put_ip(out, &t, TCP_HEADER, TTL);
    put_be16(h, p->tuple.dport);
    put_be16(h + 2, p->tuple.sport);
    put_be32(h + 4, ack ? get_be32(seg + 8) : 0);
    put_be32(h + 8, ack ? 0 : get_be32(seg + 4) + used);
    put_be32(h + 12, 0x50000000 | (ack ? TCP_RST : TCP_RST | TCP_ACK) << 16);
    put_be32(h + 16, 0);
    return finish(out, &t, h, TCP_HEADER, 16);
}
