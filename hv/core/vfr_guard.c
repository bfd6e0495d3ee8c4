#include "core/vfr_guard.h"
#include "core/vfr_wire.h"

/* ---- whose address ---- */

static bool extra_mac(const struct vfr_binding *b, u64 mac)
{
    for (unsigned i = 0; i < b->macs; i++)
        if (b->extra_mac[i] == mac)
            return true;
    return false;
}

bool vfr_binding_has_mac(const struct vfr_binding *b, uint64_t mac)
{
    return mac == b->mac || extra_mac(b, mac);
}

/* The number of the prefix that holds the address, or -1. */
static int prefix4_of(const struct vfr_binding *b, u32 a)
{
    for (unsigned i = 0; i < b->ip4s; i++)
        if ((a & b->ip4[i].mask) == b->ip4[i].addr)
            return i;
    return -1;
}

static bool in_prefix6(const struct vfr_prefix6 *p, struct vfr_addr a)
{
    return (a.high & p->mask.high) == p->addr.high && (a.low & p->mask.low) == p->addr.low;
}

struct vfr_addr vfr_link_local(uint64_t mac)
{
    u64 upper = (mac >> 24 & 0xffffff) ^ 0x020000, lower = mac & 0xffffff;

    return (struct vfr_addr){0xfe80ull << 48, upper << 40 | 0xfffeull << 24 | lower};
}

static bool owns_link_local(const struct vfr_binding *b, struct vfr_addr a)
{
    if (b->flags & VFR_B_ANY_LINK_LOCAL || vfr_addr_equal(a, vfr_link_local(b->mac)))
        return true;
    for (unsigned i = 0; i < b->macs; i++)
        if (vfr_addr_equal(a, vfr_link_local(b->extra_mac[i])))
            return true;
    return false;
}

static bool owns6(const struct vfr_binding *b, struct vfr_addr a)
{
    for (unsigned i = 0; i < b->ip6s; i++)
        if (in_prefix6(&b->ip6[i], a))
            return true;
    return vfr_addr_is_link_local(a) && owns_link_local(b, a);
}

bool vfr_binding_owns(const struct vfr_binding *b, struct vfr_addr a)
{
    return vfr_addr_is_ip4(a) ? prefix4_of(b, a.low) >= 0 : owns6(b, a);
}

bool vfr_binding_shares(const struct vfr_binding *b, struct vfr_addr a)
{
    int i = b->shared && vfr_addr_is_ip4(a) ? prefix4_of(b, a.low) : -1;

    return i >= 0 && b->shared >> i & 1;
}

/* ---- what may be said for an address, exceptions included ---- */

static bool may_use_mac(const struct vfr_binding *b, u64 mac)
{
    return vfr_binding_has_mac(b, mac) || (b->flags & VFR_B_ANY_MAC && !(mac & ETH_GROUP));
}

static bool may_use4(const struct vfr_binding *b, u32 a)
{
    return prefix4_of(b, a) >= 0 || b->flags & VFR_B_ANY_IP;
}

static bool may_use6(const struct vfr_binding *b, struct vfr_addr a)
{
    return owns6(b, a) || b->flags & VFR_B_ANY_IP;
}

static bool unspecified(struct vfr_addr a)
{
    return !(a.high | a.low);
}

/* ---- ARP ---- */

static enum vfr_reason check_arp(const struct vfr_binding *b, const struct vfr_packet *p,
                                 const u8 *arp)
{
    u32 sender = p->tuple.src.low, target = p->tuple.dst.low;
    /* A probe claims its target, a tentative address, and nothing else. */
    u32 claimed = sender ? sender : target;

    if (p->arp_op != ARP_REQUEST && (p->arp_op != ARP_REPLY || !sender))
        return VFR_R_SPOOF_ARP;
    if (!may_use_mac(b, get_mac(arp + ARP_SHA)) || !may_use4(b, claimed))
        return VFR_R_SPOOF_ARP;
    return VFR_R_OK;
}

/* ---- DHCP ---- */

/* BOOTP: its opcode, hardware type and length. */
enum { BOOTREQUEST = 0x010106 };

/* A question must be about the interface's own station, or it takes addresses from others. */
static enum vfr_reason check_dhcp4(const struct vfr_binding *b, const u8 *m, u32 have)
{
    if (have < BOOTP_CHADDR + 6 || get_be32(m) >> 8 != BOOTREQUEST)
        return VFR_R_SPOOF_DHCP;
    return may_use_mac(b, get_mac(m + BOOTP_CHADDR)) ? VFR_R_OK : VFR_R_SPOOF_MAC;
}

static enum vfr_reason check_dhcp6(const u8 *m, u32 have)
{
    /* Solicit, request, confirm, renew, rebind, release, decline, information-request. */
    const u32 questions =
        BIT(1) | BIT(3) | BIT(4) | BIT(5) | BIT(6) | BIT(8) | BIT(9) | BIT(11);

    return have && m[0] < 32 && questions >> m[0] & 1 ? VFR_R_OK : VFR_R_SPOOF_DHCP;
}

static enum vfr_reason check_dhcp(const struct vfr_binding *b, const struct vfr_packet *p,
                                  const u8 *bytes, u32 have)
{
    u32 at = p->l4_offset + UDP_HEADER, end = p->l3_offset + p->l3_len;
    u32 rest = MIN(have, end) - at;

    if (b->flags & VFR_B_DHCP_SERVER)
        return VFR_R_OK;
    /* Pieces could show an innocent start of the message to us only. */
    if (p->flags & VFR_P_FRAGMENT)
        return VFR_R_SPOOF_DHCP;
    if (p->tuple.dport == DHCP4_SERVER)
        return check_dhcp4(b, bytes + at, rest);
    if (p->tuple.dport == DHCP6_SERVER)
        return check_dhcp6(bytes + at, rest);
    return VFR_R_SPOOF_DHCP;
}

static bool is_dhcp(const struct vfr_packet *p)
{
    u16 dport = p->tuple.dport;

    return p->tuple.proto == PROTO_UDP &&
           (p->class == VFR_C_IP4 ? dport == DHCP4_SERVER || dport == DHCP4_CLIENT
                                  : dport == DHCP6_SERVER || dport == DHCP6_CLIENT);
}

/* ---- IPv4 ---- */

/* A client without an address asks for one. */
static bool asks_for_address4(const struct vfr_packet *p)
{
    return p->tuple.src.low == VFR_IP4(0).low && p->tuple.dst.low == VFR_IP4(0xffffffff).low &&
           p->tuple.proto == PROTO_UDP && p->tuple.dport == DHCP4_SERVER &&
           p->tuple.sport == DHCP4_CLIENT;
}

static enum vfr_reason check_icmp4(const struct vfr_binding *b, const struct vfr_packet *p)
{
    bool routes = p->icmp_type == ICMP4_REDIRECT || p->icmp_type == ICMP4_ROUTER;

    return routes && !(b->flags & VFR_B_ROUTER) ? VFR_R_SPOOF_RA : VFR_R_OK;
}

/* ---- IPv6 ---- */

/* Every link-layer option of the kinds read here must be the interface's. */
static bool nd_options_ok(const struct vfr_binding *b, const u8 *opt, u32 rest, bool tentative)
{
    while (rest) {
        u32 size = rest >= 8 ? opt[1] * 8 : 0;

        if (!size || size > rest)
            return false;
        if (opt[0] == ND_OPT_SOURCE || opt[0] == ND_OPT_TARGET)
            if (tentative || size != 8 || !may_use_mac(b, get_mac(opt + 2)))
                return false;
        opt += size;
        rest -= size;
    }
    return true;
}

/* The bytes of the ICMPv6 message if all of them can be read, else 0. */
static u32 nd_len(const struct vfr_packet *p, u32 have)
{
    u32 end = p->l3_offset + p->l3_len;

    return end <= have ? end - p->l4_offset : 0;
}

static enum vfr_reason check_nd(const struct vfr_binding *b, const struct vfr_packet *p,
                                const u8 *bytes, u32 have)
{
    const u8 *m = bytes + p->l4_offset;
    bool tentative = unspecified(p->tuple.src), targets = p->icmp_type != ND_ROUTER_SOLICIT;
    u32 header = targets ? ND_SOLICIT_LEN : ND_ROUTER_SOLICIT_LEN, len = nd_len(p, have);
    struct vfr_addr target;

    if (p->icmp_type == ND_ROUTER_ADVERT || p->icmp_type == ND_REDIRECT)
        return b->flags & VFR_B_ROUTER ? VFR_R_OK : VFR_R_SPOOF_RA;
    /* RFC 4861, 6980: from the link itself, and whole. */
    if (p->ttl != 255 || p->icmp_code || p->flags & VFR_P_FRAGMENT || len < header)
        return VFR_R_SPOOF_ND;
    if (!nd_options_ok(b, m + header, len - header, tentative))
        return VFR_R_SPOOF_ND;
    if (!targets)
        return VFR_R_OK;
    target = (struct vfr_addr){get_be64(m + ND_TARGET), get_be64(m + ND_TARGET + 8)};
    if (p->icmp_type == ND_ADVERT)
        return !tentative && may_use6(b, target) ? VFR_R_OK : VFR_R_SPOOF_ND;
    return !tentative || may_use6(b, target) ? VFR_R_OK : VFR_R_SPOOF_ND;
}

/* Messages that a station sends before it has an address. */
static bool starts_up6(const struct vfr_packet *p)
{
    if (!unspecified(p->tuple.src) || p->tuple.proto != PROTO_ICMP6 ||
        p->flags & VFR_P_FRAGMENT)
        return false;
    switch (p->icmp_type) {
    case ND_ROUTER_SOLICIT:
    case ND_SOLICIT:
    case ICMP6_MLD_REPORT:
    case ICMP6_MLD_DONE:
    case ICMP6_MLD2_REPORT:
        return p->tuple.dst.high >> 56 == 0xff;
    default:
        return false;
    }
}

/* ---- complaints ---- */

/* Only who got a packet complains about it, and who forwards for others. */
static bool may_complain(const struct vfr_binding *b, const struct vfr_packet *p)
{
    if (!(p->flags & VFR_P_INNER))
        return true;
    return p->class == VFR_C_IP4 ? may_use4(b, p->inner.dst.low) : may_use6(b, p->inner.dst);
}

/* ---- all ---- */

static enum vfr_reason check_uplink(const struct vfr_packet *p)
{
    if (p->eth_src & ETH_GROUP)
        return VFR_R_SPOOF_MAC;
    if (p->class == VFR_C_IP4 && p->tuple.proto == PROTO_ICMP4 &&
        p->icmp_type == ICMP4_REDIRECT)
        return VFR_R_SPOOF_RA;
    return p->flags & VFR_P_ND && p->icmp_type == ND_REDIRECT ? VFR_R_SPOOF_RA : VFR_R_OK;
}

static rarely enum vfr_reason check_any(const struct vfr_binding *b, const struct vfr_packet *p,
                                        const u8 *bytes, u32 have)
{
    if (b->kind == VFR_UPLINK)
        return check_uplink(p);
    if (!may_use_mac(b, p->eth_src))
        return VFR_R_SPOOF_MAC;
    if (p->class == VFR_C_ARP)
        return check_arp(b, p, bytes + p->l3_offset);
    if (p->class == VFR_C_IP4) {
        if ((!may_use4(b, p->tuple.src.low) && !asks_for_address4(p)) || !may_complain(b, p))
            return VFR_R_SPOOF_IP4;
        if (p->tuple.proto == PROTO_ICMP4)
            return check_icmp4(b, p);
    } else {
        if ((!may_use6(b, p->tuple.src) && !starts_up6(p)) || !may_complain(b, p))
            return VFR_R_SPOOF_IP6;
        if (p->flags & VFR_P_ND)
            return check_nd(b, p, bytes, have);
    }
    return is_dhcp(p) ? check_dhcp(b, p, bytes, have) : VFR_R_OK;
}

/* TCP, and UDP that is not DHCP, from the own station and the first prefix: nearly all there is. */
static must_inline bool is_plain(const struct vfr_binding *b, const struct vfr_packet *p)
{
    if (unlikely(p->eth_src != b->mac || b->kind == VFR_UPLINK))
        return false;
    if (p->tuple.proto != PROTO_TCP && (p->tuple.proto != PROTO_UDP || is_dhcp(p)))
        return false;
    if (likely(p->class == VFR_C_IP4))
        return b->ip4s && ((u32)p->tuple.src.low & b->ip4[0].mask) == b->ip4[0].addr;
    return p->class == VFR_C_IP6 && b->ip6s && in_prefix6(&b->ip6[0], p->tuple.src);
}

bool vfr_guard_is_plain(const struct vfr_binding *b, const struct vfr_packet *p)
{
    return is_plain(b, p);
}

enum vfr_reason vfr_guard_check(const struct vfr_binding *b, const struct vfr_packet *p,
                                const uint8_t *bytes, uint32_t have)
{
    return likely(is_plain(b, p)) ? VFR_R_OK : check_any(b, p, bytes, have);
}

/* ---- invariants ---- */

static bool mac_ok(u64 mac)
{
    return mac && !(mac & ~(ETH_BROADCAST ^ ETH_GROUP));
}

/* Ones from the top, then zeros. */
static bool is_mask(u64 high, u64 low)
{
    if (low && ~high)
        return false;
    return !(~high & (~high + 1)) && !(~low & (~low + 1));
}

static bool prefix4_ok(const struct vfr_prefix4 *p)
{
    u32 host = ~p->mask;

    return !(host & (host + 1)) && !(p->addr & host) && p->addr >> 24 && p->addr >> 24 != 127 &&
           p->addr < 0xe0000000 && p->mask >> 24 == 0xff;
}

static bool prefix6_ok(const struct vfr_prefix6 *p)
{
    return is_mask(p->mask.high, p->mask.low) && p->mask.high >> 48 == 0xffff &&
           !(p->addr.high & ~p->mask.high) && !(p->addr.low & ~p->mask.low) && p->addr.high &&
           p->addr.high >> 56 != 0xff;
}

static bool shared_ok(const struct vfr_binding *b)
{
    if (b->shared >> b->ip4s || (b->shared && b->kind == VFR_SWITCHED))
        return false;
    for (unsigned i = 0; i < b->ip4s; i++)
        if (b->shared >> i & 1 && b->ip4[i].mask != 0xffffffff)
            return false;
    return true;
}

int vfr_binding_check(const struct vfr_binding *b)
{
    if (!mac_ok(b->mac) || b->macs > VFR_EXTRA_MACS)
        return 1;
    for (unsigned i = 0; i < b->macs; i++)
        if (!mac_ok(b->extra_mac[i]))
            return 1;
    if (b->ip4s > VFR_PREFIXES || b->ip6s > VFR_PREFIXES)
        return 2;
    for (unsigned i = 0; i < b->ip4s; i++)
        if (!prefix4_ok(&b->ip4[i]))
            return 2;
    for (unsigned i = 0; i < b->ip6s; i++)
        if (!prefix6_ok(&b->ip6[i]))
            return 2;
    if (!shared_ok(b))
        return 3;
    if (b->kind > VFR_PUNT || b->flags & ~VFR_B_FLAGS)
        return 4;
    return 0;
}
