#include "core/vfr_checksum.h"
#include "core/vfr_packet_impl.h"

#define EXTENSIONS_MAX 8

/* What is being parsed; offsets count from the start of the frame. */
struct input {
    const u8 *bytes;
    u32 have;  /* bytes that may be read */
    u32 frame; /* where the frame ends */
    u32 end;   /* where the IP packet ends; at most 'frame' */
};

/* Where a chain of IPv6 headers led to. */
struct chain {
    u32 off;
    u32 pieces; /* where the fragmentable part begins, or 0 */
    u32 id;
    u16 piece; /* the fragment header's offset, in bytes, and its more-fragments bit */
    u8 proto;
    bool options;
};

/* What of a protocol's header must be there; 0 for protocols that are not looked into. */
static u32 header_needed(u8 proto, u8 class)
{
    switch (proto) {
    case PROTO_TCP:
        return TCP_HEADER;
    case PROTO_UDP:
    case PROTO_UDPLITE:
        return UDP_HEADER;
    case PROTO_ICMP4:
        return class == VFR_C_IP4 ? ICMP_HEADER : 0;
    case PROTO_ICMP6:
        return class == VFR_C_IP6 ? ICMP_HEADER : 0;
    case PROTO_SCTP:
        return SCTP_HEADER;
    case PROTO_DCCP:
        return DCCP_HEADER;
    default:
        return 0;
    }
}

static bool has_ports(u8 proto)
{
    return proto == PROTO_TCP || proto == PROTO_UDP || proto == PROTO_UDPLITE ||
           proto == PROTO_SCTP || proto == PROTO_DCCP;
}

/* VFR_P_QUERY or VFR_P_ANSWER for ICMP messages with an identifier, else 0. */
static u16 query_of(u8 class, u8 type)
{
    if (class == VFR_C_IP6)
        return type == ICMP6_ECHO ? VFR_P_QUERY : type == ICMP6_ECHO_REPLY ? VFR_P_ANSWER : 0;
    if (type == ICMP4_ECHO)
        return VFR_P_QUERY;
    if (type == ICMP4_ECHO_REPLY)
        return VFR_P_ANSWER;
    if (type < ICMP4_STAMP || type > ICMP4_MASK_REPLY)
        return 0;
    return (type - ICMP4_STAMP) % 2 ? VFR_P_ANSWER : VFR_P_QUERY;
}

static bool complains(u8 class, u8 type)
{
    if (class == VFR_C_IP6)
        return type >= ICMP6_UNREACHABLE && type <= ICMP6_PARAMETER;
    return type == ICMP4_UNREACHABLE || type == ICMP4_QUENCH || type == ICMP4_TIME ||
           type == ICMP4_PARAMETER;
}

/* ---- IPv6 extension headers ---- */

/* The header of kind c->proto at c->off, of which 8 bytes are there. */
static bool step(const u8 *h, struct chain *c)
{
    u32 size = (h[1] + 1) * 8;

    if (c->proto == PROTO_FRAG) {
        if (c->pieces)
            return false;
        size = 8;
        c->pieces = c->off + size;
        c->piece = get_be16(h + 2) & ~6;
        c->id = get_be32(h + 4);
    }
    /* A packet that has further stops to make is not judged by its destination. */
    if (c->proto == PROTO_ROUTE && h[3])
        return false;
    if (c->proto == PROTO_ROUTE || c->proto == PROTO_HOP)
        c->options = true;
    c->off += size;
    c->proto = h[0];
    return true;
}

static bool is_extension(u8 proto)
{
    return proto == PROTO_HOP || proto == PROTO_ROUTE || proto == PROTO_FRAG ||
           proto == PROTO_DSTOPT;
}

/* From the end of the fixed header to what no later piece of the datagram repeats. */
static enum vfr_reason walk(const struct input *in, struct chain *c)
{
    for (unsigned n = 0; is_extension(c->proto); n++) {
        if (n == EXTENSIONS_MAX || (n && c->proto == PROTO_HOP))
            return VFR_R_EXT_HDR;
        if (c->off + 8 > in->end)
            return c->pieces ? VFR_R_FRAG_TINY : VFR_R_SHORT;
        if (c->off + 8 > in->have)
            return in->have < VFR_SNAPSHOT ? VFR_R_SHORT : VFR_R_EXT_HDR;
        if (!step(in->bytes + c->off, c))
            return VFR_R_EXT_HDR;
        if (c->off > in->end)
            return c->pieces ? VFR_R_FRAG_TINY : VFR_R_SHORT;
        if (c->pieces == c->off && c->piece & ~7)
            break;
    }
    /* Where the next header begins is kept in a byte. */
    return c->off >= VFR_SNAPSHOT ? VFR_R_EXT_HDR : VFR_R_OK;
}

/* ---- what an ICMP error complains about ---- */

static bool inner_addresses(const struct input *in, u8 class, struct chain *c,
                            struct vfr_tuple *t)
{
    const u8 *h = in->bytes + c->off;
    u32 header = (h[0] & 15) * 4;

    if (class == VFR_C_IP6) {
        if (c->off + IP6_HEADER > in->end || h[0] >> 4 != 6)
            return false;
        t->src = get_addr6(h + 8);
        t->dst = get_addr6(h + 24);
        c->proto = h[6];
        c->off += IP6_HEADER;
        return walk(in, c) == VFR_R_OK && !(c->piece & ~7);
    }
    if (c->off + IP4_HEADER > in->end || h[0] >> 4 != 4 || header < IP4_HEADER)
        return false;
    if (get_be16(h + 6) & IP4_OFFSET)
        return false;
    t->src = VFR_IP4(get_be32(h + 12));
    t->dst = VFR_IP4(get_be32(h + 16));
    c->proto = h[9];
    c->off += header;
    return true;
}

static bool inner_ports(const struct input *in, u8 class, const struct chain *c,
                        struct vfr_tuple *t)
{
    const u8 *h = in->bytes + c->off;

    /* Senders of errors promise the first 8 bytes behind the IP header, no more. */
    if (c->off + 8 > in->end)
        return false;
    if (has_ports(c->proto)) {
        t->sport = get_be16(h);
        t->dport = get_be16(h + 2);
    } else if (c->proto == (class == VFR_C_IP4 ? PROTO_ICMP4 : PROTO_ICMP6) &&
               query_of(class, h[0])) {
        t->sport = t->dport = get_be16(h + 4);
    } else {
        return false;
    }
    t->proto = c->proto;
    return true;
}

static void parse_inner(struct vfr_packet *p, const struct input *outer)
{
    struct input in = *outer;
    struct chain c = {.off = p->l4_offset + ICMP_HEADER};
    struct vfr_tuple t = {0};

    if (in.end > in.have)
        in.end = in.have;
    if (c.off >= in.end || !inner_addresses(&in, p->class, &c, &t) ||
        !inner_ports(&in, p->class, &c, &t))
        return;
    if (!vfr_addr_equal(t.src, p->tuple.dst))
        return;
    p->inner = t;
    p->flags |= VFR_P_INNER;
}

/* ---- transport ---- */

static void parse_icmp(struct vfr_packet *p, const struct input *in)
{
    const u8 *h = in->bytes + p->l4_offset;
    u16 query = query_of(p->class, h[0]);

    p->icmp_type = h[0];
    p->icmp_code = h[1];
    if (query) {
        p->tuple.sport = p->tuple.dport = get_be16(h + 4);
        p->flags |= query | VFR_P_PORTS;
    } else if (complains(p->class, h[0]) && !(p->flags & VFR_P_FRAGMENT)) {
        parse_inner(p, in);
    } else if (p->class == VFR_C_IP6 && h[0] >= ND_ROUTER_SOLICIT && h[0] <= ND_REDIRECT) {
        p->flags |= VFR_P_ND;
    }
}

/* The lengths that the header itself gives; 'rest' of the packet begins with it. */
static enum vfr_reason check_l4(struct vfr_packet *p, const u8 *h, u32 rest)
{
    bool piece = p->flags & VFR_P_FRAGMENT;

    if (p->tuple.proto == PROTO_TCP) {
        u32 size = h[12] >> 4 << 2;

        p->tcp_flags = h[13];
        if (size < TCP_HEADER)
            return VFR_R_BAD_IP;
        if (size > rest)
            return piece ? VFR_R_FRAG_TINY : VFR_R_SHORT;
    } else if (p->tuple.proto == PROTO_UDP) {
        u32 size = get_be16(h + 4);

        if (size < UDP_HEADER || (size > rest && !piece))
            return VFR_R_BAD_IP;
    }
    return VFR_R_OK;
}

static enum vfr_reason parse_l4(struct vfr_packet *p, const struct input *in, u32 off)
{
    u32 needed = header_needed(p->tuple.proto, p->class);
    const u8 *h = in->bytes + off;

    p->l4_offset = off;
    if (p->frag_offset)
        /* It would replace ports that were judged in the first piece. */
        return p->frag_offset < needed ? VFR_R_FRAG_TINY : VFR_R_OK;
    if (off + needed > in->end)
        return p->flags & VFR_P_FRAGMENT ? VFR_R_FRAG_TINY : VFR_R_SHORT;
    if (off + needed > in->have)
        return in->have < VFR_SNAPSHOT ? VFR_R_SHORT : VFR_R_EXT_HDR;
    if (!needed)
        return VFR_R_OK;
    if (!has_ports(p->tuple.proto)) {
        parse_icmp(p, in);
        return VFR_R_OK;
    }
    p->tuple.sport = get_be16(h);
    p->tuple.dport = get_be16(h + 2);
    p->flags |= VFR_P_PORTS;
    return check_l4(p, h, in->end - off);
}

/* 'piece' is the offset in bytes plus the more-fragments bit; the payload begins at 'off'. */
static enum vfr_reason set_piece(struct vfr_packet *p, const struct input *in, u32 off,
                                 u16 piece)
{
    u32 start = piece & ~7, len = in->end - off;
    bool more = piece & 1;

    p->flags |= VFR_P_FRAGMENT | (start ? 0 : VFR_P_FIRST) | (more ? 0 : VFR_P_LAST);
    p->frag_offset = start;
    p->frag_len = len;
    if (start + len > 65535 || (more && len % 8) || (!len && (more || start)))
        return VFR_R_BAD_IP;
    return VFR_R_OK;
}

/* ---- IPv4 ---- */

/* Options are legal, one that changes where the packet goes is refused. */
static bool ip4_options_ok(struct vfr_packet *p, const u8 *h, u32 header)
{
    enum { END = 0, NOP = 1, LOOSE_ROUTE = 131, STRICT_ROUTE = 137 };
    u32 i = IP4_HEADER;

    p->flags |= VFR_P_OPTIONS;
    while (i < header && h[i] != END) {
        if (h[i] == NOP) {
            i++;
            continue;
        }
        if (h[i] == LOOSE_ROUTE || h[i] == STRICT_ROUTE)
            return false;
        if (i + 1 >= header || h[i + 1] < 2)
            return false;
        i += h[i + 1];
    }
    return i <= header;
}

static enum vfr_reason parse_ip4(struct vfr_packet *p, struct input *in)
{
    const u8 *h = in->bytes + ETH_HEADER;
    u32 header, total, src, dst;
    u16 piece;

    if (in->have < ETH_HEADER + IP4_HEADER)
        return VFR_R_SHORT;
    header = (h[0] & 15) * 4;
    total = get_be16(h + 2);
    if (h[0] >> 4 != 4 || header < IP4_HEADER || total < header)
        return VFR_R_BAD_IP;
    if (ETH_HEADER + total > in->frame || ETH_HEADER + header > in->have)
        return VFR_R_SHORT;
    in->end = ETH_HEADER + total;
    p->l3_len = total;
    p->dscp = h[1] >> 2;
    p->frag_id = get_be16(h + 4);
    p->ttl = h[8];
    p->tuple.proto = h[9];
    src = get_be32(h + 12);
    dst = get_be32(h + 16);
    p->tuple.src = VFR_IP4(src);
    p->tuple.dst = VFR_IP4(dst);
    if (!ip4_addresses_ok(src, dst) || vfr_checksum(h, header))
        return VFR_R_BAD_IP;
    if (header > IP4_HEADER && !ip4_options_ok(p, h, header))
        return VFR_R_BAD_IP;
    piece = get_be16(h + 6);
    if (piece & IP4_DF)
        p->flags |= VFR_P_DF;
    if (piece & (IP4_MF | IP4_OFFSET)) {
        enum vfr_reason why = set_piece(p, in, ETH_HEADER + header,
                                        (piece & IP4_OFFSET) << 3 | !!(piece & IP4_MF));

        if (why)
            return why;
    }
    return parse_l4(p, in, ETH_HEADER + header);
}

/* ---- IPv6 ---- */

static enum vfr_reason parse_ip6(struct vfr_packet *p, struct input *in)
{
    const u8 *h = in->bytes + ETH_HEADER;
    struct chain c = {.off = ETH_HEADER + IP6_HEADER};
    enum vfr_reason why;
    u32 total;

    if (in->have < ETH_HEADER + IP6_HEADER)
        return VFR_R_SHORT;
    total = IP6_HEADER + get_be16(h + 4);
    if (h[0] >> 4 != 6 || total > 65535)
        return VFR_R_BAD_IP;
    if (ETH_HEADER + total > in->frame)
        return VFR_R_SHORT;
    in->end = ETH_HEADER + total;
    p->flags |= VFR_P_DF;
    p->l3_len = total;
    p->dscp = (get_be16(h) >> 6) & 63;
    p->ttl = h[7];
    p->tuple.src = get_addr6(h + 8);
    p->tuple.dst = get_addr6(h + 24);
    if (!ip6_addresses_ok(p->tuple.src, p->tuple.dst))
        return VFR_R_BAD_IP;
    c.proto = h[6];
    why = walk(in, &c);
    p->tuple.proto = c.proto;
    p->frag_id = c.id;
    if (c.options)
        p->flags |= VFR_P_OPTIONS;
    if (!why && c.pieces)
        why = set_piece(p, in, c.pieces, c.piece);
    return why ? why : parse_l4(p, in, c.off);
}

/* ---- ARP and Ethernet ---- */

static enum vfr_reason parse_arp(struct vfr_packet *p, const struct input *in)
{
    const u8 *h = in->bytes + ETH_HEADER;

    if (in->have < ETH_HEADER + ARP_LEN)
        return VFR_R_SHORT;
    /* Ethernet's and IPv4's kinds and lengths of addresses. */
    if (get_be32(h) != 0x00010800 || get_be16(h + 4) != 0x0604)
        return VFR_R_BAD_IP;
    p->arp_op = get_be16(h + ARP_OP);
    p->tuple.src = VFR_IP4(get_be32(h + ARP_SPA));
    p->tuple.dst = VFR_IP4(get_be32(h + ARP_TPA));
    return VFR_R_OK;
}

enum vfr_reason vfr_packet_parse_any(struct vfr_packet *p, const uint8_t *bytes, uint32_t have,
                                     uint32_t len)
{
    struct input in = {.bytes = bytes, .have = MIN(MIN(have, len), VFR_SNAPSHOT), .frame = len};

    *p = (struct vfr_packet){.len = len};
    if (in.have < ETH_HEADER)
        return VFR_R_SHORT;
    p->eth_dst = get_mac(bytes);
    p->eth_src = get_mac(bytes + 6);
    if (p->eth_dst & ETH_GROUP)
        p->flags = p->eth_dst == ETH_BROADCAST ? VFR_P_BROADCAST : VFR_P_MULTICAST;
    p->l3_offset = ETH_HEADER;
    switch (get_be16(bytes + 12)) {
    case ETHERTYPE_IP4:
        p->class = VFR_C_IP4;
        return parse_ip4(p, &in);
    case ETHERTYPE_IP6:
        p->class = VFR_C_IP6;
        return parse_ip6(p, &in);
    case ETHERTYPE_ARP:
        p->class = VFR_C_ARP;
        return parse_arp(p, &in);
    default:
        p->l3_offset = 0;
        return VFR_R_ETHERTYPE;
    }
}
