/* What an interface may say, and each lie. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "core/vfr_guard.h"
#include "unit/core/vfr_frames.h"

#define EXTRA_MAC 0x00163e0a0b0cull
#define OTHER_MAC 0x00163e999999ull
#define NET_IP    0x0a010200u /* 10.1.2.0/24 */
#define SHARED_IP 0xcb007105u /* 203.0.113.5 */
#define OTHER_IP  0xc0000202u
#define OTHER_IP6 IP6(0x20010db800000009, 0x11)
#define ALL_NODES IP6(0xff02ull << 48, 1)
#define NOBODY6   IP6(0, 0)

static struct frame_bytes f;
static struct vfr_binding b;

static int reset(void **state)
{
    b = (struct vfr_binding){
        .mac = GUEST_MAC, .kind = VFR_ROUTED, .macs = 1, .ip4s = 3, .ip6s = 1};
    b.extra_mac[0] = EXTRA_MAC;
    b.ip4[0] = (struct vfr_prefix4){GUEST_IP, 0xffffffff};
    b.ip4[1] = (struct vfr_prefix4){NET_IP, 0xffffff00};
    b.ip4[2] = (struct vfr_prefix4){SHARED_IP, 0xffffffff};
    b.shared = 1 << 2;
    b.ip6[0] = (struct vfr_prefix6){IP6(0x20010db800000001, 0), IP6(~0ull, 0)};
    assert_int_equal(vfr_binding_check(&b), 0);
    return 0;
}

/* Judged from a copy of just the bytes there are. */
static enum vfr_reason judge(void)
{
    u32 have = MIN(f.len, VFR_SNAPSHOT);
    u8 *copy = malloc(have);
    struct vfr_packet p;
    enum vfr_reason why;

    memcpy(copy, f.b, have);
    assert_int_equal(vfr_packet_parse(&p, copy, have, f.len), VFR_R_OK);
    why = vfr_guard_check(&b, &p, copy, have);
    free(copy);
    return why;
}

static void expect(enum vfr_reason why)
{
    assert_int_equal(judge(), why);
}

static void from_mac(u64 mac)
{
    put_mac(f.b + 6, mac);
}

static void udp4(u32 src, u32 dst, u16 sport, u16 dport, u32 payload)
{
    frame_ip4(&f, src, dst, PROTO_UDP);
    frame_udp(&f, sport, dport, payload);
    frame_finish(&f);
}

static void stations(void **state)
{
    udp4(GUEST_IP, PEER_IP, 1, 2, 0);
    expect(VFR_R_OK);
    from_mac(EXTRA_MAC);
    expect(VFR_R_OK);
    from_mac(OTHER_MAC);
    expect(VFR_R_SPOOF_MAC);
    from_mac(GUEST_MAC | ETH_GROUP);
    expect(VFR_R_SPOOF_MAC);
    b.flags = VFR_B_ANY_MAC;
    expect(VFR_R_SPOOF_MAC);
    from_mac(OTHER_MAC);
    expect(VFR_R_OK);
    b.flags = 0;
    b.macs = 0;
    from_mac(EXTRA_MAC);
    expect(VFR_R_SPOOF_MAC);
    frame_arp(&f, ARP_REQUEST, GUEST_MAC, GUEST_IP, 0, PEER_IP);
    from_mac(OTHER_MAC);
    expect(VFR_R_SPOOF_MAC);
}

/* An error about a packet of this addressee. */
static void error4(u32 about)
{
    u8 *m;

    frame_ip4(&f, GUEST_IP, PEER_IP, PROTO_ICMP4);
    m = frame_icmp(&f, ICMP4_UNREACHABLE, 3, 0, 28) + ICMP_HEADER;
    m[0] = 0x45;
    m[9] = PROTO_UDP;
    put_be32(m + 12, PEER_IP);
    put_be32(m + 16, about);
    frame_finish(&f);
}

static void error6(struct vfr_addr about)
{
    u8 *m;

    frame_ip6(&f, IP6(0x20010db800000001, 5), PEER_IP6, PROTO_ICMP6);
    m = frame_icmp(&f, ICMP6_UNREACHABLE, 4, 0, 48) + ICMP_HEADER;
    m[0] = 0x60;
    m[6] = PROTO_UDP;
    put_be64(m + 8, PEER_IP6.high);
    put_be64(m + 16, PEER_IP6.low);
    put_be64(m + 24, about.high);
    put_be64(m + 32, about.low);
    frame_finish(&f);
}

static void complaints(void **state)
{
    error4(GUEST_IP);
    expect(VFR_R_OK);
    error4(SHARED_IP);
    expect(VFR_R_OK);
    error4(OTHER_IP);
    expect(VFR_R_SPOOF_IP4);
    error6(IP6(0x20010db800000001, 7));
    expect(VFR_R_OK);
    error6(OTHER_IP6);
    expect(VFR_R_SPOOF_IP6);
    b.flags = VFR_B_ANY_IP;
    expect(VFR_R_OK);
    error4(OTHER_IP);
    expect(VFR_R_OK);
}

static void addresses4(void **state)
{
    const struct {
        u32 src;
        enum vfr_reason why;
    } cases[] = {
        {GUEST_IP, VFR_R_OK},          {NET_IP | 1, VFR_R_OK},
        {NET_IP | 255, VFR_R_OK},      {NET_IP + 256, VFR_R_SPOOF_IP4},
        {NET_IP - 1, VFR_R_SPOOF_IP4}, {SHARED_IP, VFR_R_OK},
        {OTHER_IP, VFR_R_SPOOF_IP4},   {GUEST_IP ^ 1u << 31, VFR_R_SPOOF_IP4},
        {0, VFR_R_SPOOF_IP4},          {0xa9fe0001, VFR_R_SPOOF_IP4},
    };

    for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
        udp4(cases[i].src, PEER_IP, 1, 2, 0);
        expect(cases[i].why);
        assert_int_equal(vfr_binding_owns(&b, VFR_IP4(cases[i].src)), !cases[i].why);
        assert_int_equal(vfr_binding_shares(&b, VFR_IP4(cases[i].src)),
                         cases[i].src == SHARED_IP);
    }
    b.flags = VFR_B_ANY_IP;
    expect(VFR_R_OK);
}

static struct vfr_addr own_link_local(void)
{
    return IP6(0xfe80ull << 48, 0x02163efffe010203);
}

static void addresses6(void **state)
{
    const struct {
        struct vfr_addr src;
        bool own;
    } cases[] = {
        {GUEST_IP6, true},
        {IP6(0x20010db800000001, ~0ull), true},
        {OTHER_IP6, false},
        {own_link_local(), true},
        {IP6(0xfe80ull << 48, 0x02163efffe0a0b0c), true}, /* of the extra station */
        {IP6(0xfe80ull << 48, 0x00163efffe010203), false},
        {IP6(0xfe80ull << 48, 0x1234), false},
        {IP6((0xfe80ull << 48) + 1, 0x02163efffe010203), false},
        {NOBODY6, false},
    };

    assert_true(vfr_addr_equal(vfr_link_local(GUEST_MAC), own_link_local()));
    for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
        frame_ip6(&f, cases[i].src, PEER_IP6, PROTO_UDP);
        frame_udp(&f, 1, 2, 0);
        frame_finish(&f);
        expect(cases[i].own ? VFR_R_OK : VFR_R_SPOOF_IP6);
        assert_int_equal(vfr_binding_owns(&b, cases[i].src), cases[i].own);
        assert_false(vfr_binding_shares(&b, cases[i].src));
    }
    b.flags = VFR_B_ANY_LINK_LOCAL;
    assert_true(vfr_binding_owns(&b, cases[6].src));
    assert_false(vfr_binding_owns(&b, OTHER_IP6));
}

static void arp(void **state)
{
    const struct {
        u16 op;
        u64 sha;
        u32 spa, tpa;
        bool ok;
    } cases[] = {
        {ARP_REQUEST, GUEST_MAC, GUEST_IP, PEER_IP, true},
        {ARP_REQUEST, EXTRA_MAC, GUEST_IP, PEER_IP, true},
        {ARP_REQUEST, OTHER_MAC, GUEST_IP, PEER_IP, false},
        {ARP_REQUEST, GUEST_MAC, OTHER_IP, PEER_IP, false},
        {ARP_REQUEST, GUEST_MAC, 0, GUEST_IP, true}, /* probe of its own address */
        {ARP_REQUEST, GUEST_MAC, 0, SHARED_IP, true},
        {ARP_REQUEST, GUEST_MAC, 0, OTHER_IP, false},
        {ARP_REQUEST, OTHER_MAC, 0, GUEST_IP, false},
        {ARP_REQUEST, GUEST_MAC, GUEST_IP, GUEST_IP, true}, /* gratuitous */
        {ARP_REPLY, GUEST_MAC, GUEST_IP, GUEST_IP, true},
        {ARP_REPLY, GUEST_MAC, GUEST_IP, PEER_IP, true},
        {ARP_REPLY, GUEST_MAC, OTHER_IP, PEER_IP, false},
        {ARP_REPLY, OTHER_MAC, GUEST_IP, PEER_IP, false},
        {ARP_REPLY, GUEST_MAC, 0, GUEST_IP, false},
        {3, GUEST_MAC, GUEST_IP, PEER_IP, false},
        {0, GUEST_MAC, GUEST_IP, PEER_IP, false},
        {0x0100, GUEST_MAC, GUEST_IP, PEER_IP, false},
    };

    for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
        frame_arp(&f, cases[i].op, cases[i].sha, cases[i].spa, 0, cases[i].tpa);
        expect(cases[i].ok ? VFR_R_OK : VFR_R_SPOOF_ARP);
    }
    b.flags = VFR_B_ANY_IP;
    frame_arp(&f, ARP_REQUEST, GUEST_MAC, OTHER_IP, 0, PEER_IP);
    expect(VFR_R_OK);
}

/* Neighbour discovery: type, source, target, option (kind, station). */
static void nd(u8 type, struct vfr_addr src, struct vfr_addr target, u8 option, u64 mac)
{
    u8 *h = frame_ip6(&f, src, ALL_NODES, PROTO_ICMP6);

    h[7] = 255;
    h = frame_icmp(&f, type, 0, 0, type == ND_ROUTER_SOLICIT ? 0 : 16);
    if (type != ND_ROUTER_SOLICIT) {
        put_be64(h + 8, target.high);
        put_be64(h + 16, target.low);
    }
    if (option) {
        h = frame_put(&f, 8);
        h[0] = option;
        h[1] = 1;
        put_mac(h + 2, mac);
    }
    frame_finish(&f);
}

static void neighbours(void **state)
{
    nd(ND_SOLICIT, GUEST_IP6, PEER_IP6, ND_OPT_SOURCE, GUEST_MAC);
    expect(VFR_R_OK);
    nd(ND_SOLICIT, GUEST_IP6, PEER_IP6, ND_OPT_SOURCE, OTHER_MAC);
    expect(VFR_R_SPOOF_ND);
    nd(ND_SOLICIT, OTHER_IP6, PEER_IP6, ND_OPT_SOURCE, GUEST_MAC);
    expect(VFR_R_SPOOF_IP6);
    nd(ND_SOLICIT, NOBODY6, GUEST_IP6, 0, 0); /* duplicate address detection */
    expect(VFR_R_OK);
    nd(ND_SOLICIT, NOBODY6, own_link_local(), 14, 0x112233445566); /* with a nonce, RFC 7527 */
    expect(VFR_R_OK);
    nd(ND_SOLICIT, NOBODY6, OTHER_IP6, 0, 0);
    expect(VFR_R_SPOOF_ND);
    nd(ND_SOLICIT, NOBODY6, GUEST_IP6, ND_OPT_SOURCE, GUEST_MAC); /* RFC 4861 7.1.1 */
    expect(VFR_R_SPOOF_ND);
    nd(ND_ADVERT, GUEST_IP6, GUEST_IP6, ND_OPT_TARGET, GUEST_MAC);
    expect(VFR_R_OK);
    nd(ND_ADVERT, GUEST_IP6, own_link_local(), ND_OPT_TARGET, EXTRA_MAC);
    expect(VFR_R_OK);
    nd(ND_ADVERT, GUEST_IP6, OTHER_IP6, ND_OPT_TARGET, GUEST_MAC);
    expect(VFR_R_SPOOF_ND);
    nd(ND_ADVERT, GUEST_IP6, GUEST_IP6, ND_OPT_TARGET, OTHER_MAC);
    expect(VFR_R_SPOOF_ND);
    nd(ND_ADVERT, NOBODY6, GUEST_IP6, ND_OPT_TARGET, GUEST_MAC);
    expect(VFR_R_SPOOF_IP6);
    nd(ND_ROUTER_SOLICIT, own_link_local(), NOBODY6, ND_OPT_SOURCE, GUEST_MAC);
    expect(VFR_R_OK);
    nd(ND_ROUTER_SOLICIT, NOBODY6, NOBODY6, 0, 0);
    expect(VFR_R_OK);
    nd(ND_ROUTER_SOLICIT, own_link_local(), NOBODY6, ND_OPT_SOURCE, OTHER_MAC);
    expect(VFR_R_SPOOF_ND);
}

static void neighbours_malformed(void **state)
{
    nd(ND_SOLICIT, GUEST_IP6, PEER_IP6, 0, 0);
    f.b[ETH_HEADER + 7] = 254;
    expect(VFR_R_SPOOF_ND);
    nd(ND_SOLICIT, GUEST_IP6, PEER_IP6, 0, 0);
    f.b[55] = 1; /* code */
    expect(VFR_R_SPOOF_ND);
    nd(ND_ADVERT, GUEST_IP6, GUEST_IP6, ND_OPT_TARGET, GUEST_MAC);
    f.b[54 + 24 + 1] = 0;
    expect(VFR_R_SPOOF_ND);
    f.b[54 + 24 + 1] = 2;
    expect(VFR_R_SPOOF_ND);
    nd(ND_ADVERT, GUEST_IP6, GUEST_IP6, 0, 0);
    f.len--;
    frame_finish(&f);
    expect(VFR_R_SPOOF_ND);
    for (u32 rest = 1; rest < 8; rest++) {
        nd(ND_ADVERT, GUEST_IP6, GUEST_IP6, 0, 0);
        frame_put(&f, rest)[0] = 14;
        f.b[54 + 24 + 1] = 1;
        frame_finish(&f);
        expect(VFR_R_SPOOF_ND);
    }
    /* A second option is looked at too. */
    nd(ND_ADVERT, GUEST_IP6, GUEST_IP6, ND_OPT_TARGET, GUEST_MAC);
    memcpy(frame_put(&f, 8), f.b + 54 + 24, 8);
    f.b[f.len - 1] ^= 1;
    frame_finish(&f);
    expect(VFR_R_SPOOF_ND);
    /* What is longer than the snapshot cannot be judged. */
    nd(ND_ADVERT, GUEST_IP6, GUEST_IP6, ND_OPT_TARGET, GUEST_MAC);
    frame_put(&f, 208);
    f.b[54 + 32] = 14;
    f.b[54 + 33] = 26;
    frame_finish(&f);
    expect(VFR_R_SPOOF_ND);
    b.flags = VFR_B_ANY_IP | VFR_B_ANY_MAC;
    nd(ND_ADVERT, OTHER_IP6, OTHER_IP6, ND_OPT_TARGET, OTHER_MAC);
    expect(VFR_R_OK);
    nd(ND_SOLICIT, NOBODY6, OTHER_IP6, 0, 0);
    expect(VFR_R_OK);
}

/* RFC 6980, and headers in front that hide the message from lesser guards. */
static void hidden_neighbours(void **state)
{
    const u8 types[] = {ND_SOLICIT, ND_ADVERT, ND_ROUTER_ADVERT, ND_REDIRECT};

    for (unsigned i = 0; i < ARRAY_SIZE(types); i++) {
        bool routes = types[i] == ND_ROUTER_ADVERT || types[i] == ND_REDIRECT;
        enum vfr_reason why = routes ? VFR_R_SPOOF_RA : VFR_R_SPOOF_ND;
        u8 *h = frame_ip6(&f, own_link_local(), ALL_NODES, PROTO_FRAG);

        h[7] = 255;
        frame_extension(&f, PROTO_ICMP6, 8)[1] = 0;
        frame_icmp(&f, types[i], 0, 0, 32);
        put_be64(f.b + 62 + 8, own_link_local().high);
        put_be64(f.b + 62 + 16, own_link_local().low);
        f.len = 62 + 24;
        frame_finish(&f);
        expect(why);
        /* The same behind options: the contents decide. */
        f.b[ETH_HEADER + 6] = PROTO_DSTOPT;
        expect(routes ? VFR_R_SPOOF_RA : VFR_R_OK);
    }
}

static void routers(void **state)
{
    const u8 types[] = {ND_ROUTER_ADVERT, ND_REDIRECT};

    for (unsigned i = 0; i < ARRAY_SIZE(types); i++) {
        b.flags = 0;
        nd(types[i], own_link_local(), GUEST_IP6, 0, 0);
        expect(VFR_R_SPOOF_RA);
        b.flags = VFR_B_ROUTER;
        expect(VFR_R_OK);
    }
    for (unsigned type = 0; type < 40; type++) {
        frame_ip4(&f, GUEST_IP, PEER_IP, PROTO_ICMP4);
        frame_icmp(&f, type, 0, 0, 20);
        frame_finish(&f);
        b.flags = 0;
        expect(type == 5 || type == 9 ? VFR_R_SPOOF_RA : VFR_R_OK);
        b.flags = VFR_B_ROUTER;
        expect(VFR_R_OK);
    }
}

static void group_reports(void **state)
{
    const struct {
        u8 type;
        bool ok;
    } cases[] = {{130, false}, {131, true}, {132, true}, {143, true}, {128, false}, {1, false}};

    for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
        frame_ip6(&f, NOBODY6, IP6(0xff02ull << 48, 0x16), PROTO_HOP);
        frame_extension(&f, PROTO_ICMP6, 8);
        frame_icmp(&f, cases[i].type, 0, 0, 20);
        frame_finish(&f);
        expect(cases[i].ok ? VFR_R_OK : VFR_R_SPOOF_IP6);
        put_be64(f.b + ETH_HEADER + 24, PEER_IP6.high);
        expect(VFR_R_SPOOF_IP6);
    }
}

static u8 *dhcp4(u32 src, u32 dst, u16 sport, u16 dport)
{
    u8 *m;

    udp4(src, dst, sport, dport, 240);
    m = f.b + 42;
    put_be32(m, 0x01010600);
    put_mac(m + 28, GUEST_MAC);
    return m;
}

static void dhcp4_clients(void **state)
{
    u8 *m = dhcp4(0, 0xffffffff, 68, 67);

    expect(VFR_R_OK);
    put_mac(m + 28, EXTRA_MAC);
    expect(VFR_R_OK);
    put_mac(m + 28, OTHER_MAC);
    expect(VFR_R_SPOOF_MAC);          /* would use up the addresses of others */
    dhcp4(GUEST_IP, PEER_IP, 68, 67); /* renewal */
    expect(VFR_R_OK);
    dhcp4(OTHER_IP, 0xffffffff, 68, 67);
    expect(VFR_R_SPOOF_IP4);
    dhcp4(0, PEER_IP, 68, 67);
    expect(VFR_R_SPOOF_IP4);
    dhcp4(0, 0xffffffff, 1068, 67);
    expect(VFR_R_SPOOF_IP4);
    dhcp4(0, 0xffffffff, 68, 53);
    expect(VFR_R_SPOOF_IP4);
    m = dhcp4(GUEST_IP, PEER_IP, 68, 67);
    m[0] = 2;
    expect(VFR_R_SPOOF_DHCP);
    m = dhcp4(GUEST_IP, PEER_IP, 68, 67);
    m[2] = 16;
    expect(VFR_R_SPOOF_DHCP);
    udp4(GUEST_IP, PEER_IP, 68, 67, 34);
    put_be32(f.b + 42, 0x01010600);
    put_mac(f.b + 42 + 28, GUEST_MAC);
    expect(VFR_R_OK);
    udp4(GUEST_IP, PEER_IP, 68, 67, 33);
    put_be32(f.b + 42, 0x01010600);
    expect(VFR_R_SPOOF_DHCP); /* too short to tell for whom */
    put_be16(f.b + ETH_HEADER + 6, IP4_MF);
    f.len = 34 + 40;
    put_be16(f.b + ETH_HEADER + 2, 60);
    frame_resum(&f);
    expect(VFR_R_SPOOF_DHCP);
}

static void dhcp_servers(void **state)
{
    udp4(GUEST_IP, PEER_IP, 67, 68, 240);
    expect(VFR_R_SPOOF_DHCP);
    udp4(GUEST_IP, PEER_IP, 4100, 68, 240);
    expect(VFR_R_SPOOF_DHCP); /* clients do not look at the source port */
    b.flags = VFR_B_DHCP_SERVER;
    expect(VFR_R_OK);
    b.flags = 0;
    for (unsigned type = 0; type < 256; type++) {
        bool asks = type && type < 12 && type != 2 && type != 7 && type != 10;

        frame_ip6(&f, own_link_local(), IP6(0xff02ull << 48, 0x10002), PROTO_UDP);
        frame_udp(&f, 546, 547, 4)[8] = type;
        frame_finish(&f);
        expect(asks ? VFR_R_OK : VFR_R_SPOOF_DHCP);
        put_be16(f.b + 56, 546);
        expect(VFR_R_SPOOF_DHCP);
    }
    frame_ip6(&f, own_link_local(), PEER_IP6, PROTO_UDP);
    frame_udp(&f, 546, 547, 0);
    frame_finish(&f);
    expect(VFR_R_SPOOF_DHCP);
    /* The other family's ports, and the other transport, mean nothing. */
    frame_ip6(&f, own_link_local(), PEER_IP6, PROTO_UDP);
    frame_udp(&f, 67, 68, 0);
    frame_finish(&f);
    expect(VFR_R_OK);
    frame_ip4(&f, GUEST_IP, PEER_IP, PROTO_TCP);
    frame_tcp(&f, 67, 68, 0, 0);
    frame_finish(&f);
    expect(VFR_R_OK);
}

static void uplink(void **state)
{
    b.kind = VFR_UPLINK;
    udp4(PEER_IP, GUEST_IP, 67, 68, 240);
    from_mac(OTHER_MAC);
    expect(VFR_R_OK);
    from_mac(OTHER_MAC | ETH_GROUP);
    expect(VFR_R_SPOOF_MAC);
    nd(ND_ROUTER_ADVERT, own_link_local(), GUEST_IP6, 0, 0);
    expect(VFR_R_OK);
    nd(ND_REDIRECT, own_link_local(), GUEST_IP6, 0, 0);
    expect(VFR_R_SPOOF_RA);
    frame_ip4(&f, PEER_IP, GUEST_IP, PROTO_ICMP4);
    frame_icmp(&f, ICMP4_REDIRECT, 0, 0, 28);
    frame_finish(&f);
    expect(VFR_R_SPOOF_RA);
    frame_arp(&f, ARP_REPLY, OTHER_MAC, OTHER_IP, 0, GUEST_IP);
    expect(VFR_R_OK);
}

static void bindings(void **state)
{
    const struct vfr_binding good = b;
    const u64 macs[] = {0, ETH_BROADCAST, ETH_GROUP | 1, 1ull << 48};
    const struct vfr_prefix4 bad4[] = {
        {GUEST_IP, 0xffffff00},   {GUEST_IP, 0xfffffffd},   {0, 0},
        {0x0a000000, 0xfe000000}, {0x7f000001, 0xffffffff}, {0xe0000001, 0xffffffff},
        {0x00000001, 0xffffffff}, {0xf0000000, 0xff000000},
    };
    const struct vfr_prefix6 bad6[] = {
        {IP6(1ull << 63, 1), IP6(~0ull, 0)},
        {IP6(1ull << 63, 0), IP6(~1ull, 1ull << 63)},
        {IP6(1ull << 63, 0), IP6(~2ull, 0)},
        {IP6(1ull << 63, 0), IP6(~0ull << 56, 0)},
        {IP6(0xff02ull << 48, 0), IP6(~0ull, 0)},
        {IP6(0, 0xffff00000000 | GUEST_IP), IP6(~0ull, ~0ull)},
    };

    for (unsigned i = 0; i < ARRAY_SIZE(macs); i++) {
        b.mac = macs[i];
        assert_int_equal(vfr_binding_check(&b), 1);
        b = good;
        b.extra_mac[0] = macs[i];
        assert_int_equal(vfr_binding_check(&b), 1);
        b = good;
    }
    b.macs = VFR_EXTRA_MACS + 1;
    assert_int_equal(vfr_binding_check(&b), 1);
    b = good;
    for (unsigned i = 0; i < ARRAY_SIZE(bad4); i++) {
        b.ip4[1] = bad4[i];
        assert_int_equal(vfr_binding_check(&b), 2);
        b = good;
    }
    for (unsigned i = 0; i < ARRAY_SIZE(bad6); i++) {
        b.ip6[0] = bad6[i];
        assert_int_equal(vfr_binding_check(&b), 2);
        b = good;
    }
}

static void binding_limits(void **state)
{
    const struct vfr_binding good = b;

    b.macs = VFR_EXTRA_MACS;
    b.ip4s = b.ip6s = VFR_PREFIXES;
    for (unsigned i = 0; i < VFR_PREFIXES; i++) {
        b.extra_mac[i % VFR_EXTRA_MACS] = EXTRA_MAC;
        b.ip4[i] = good.ip4[0];
        b.ip6[i] = good.ip6[0];
    }
    b.shared = 0xffff;
    assert_int_equal(vfr_binding_check(&b), 0);
    assert_true(vfr_binding_shares(&b, VFR_IP4(GUEST_IP)));
    b = good;
    b.ip4s = VFR_PREFIXES + 1;
    assert_int_equal(vfr_binding_check(&b), 2);
    b = good;
    b.ip6s = VFR_PREFIXES + 1;
    assert_int_equal(vfr_binding_check(&b), 2);
    b = good;
    b.shared = 1 << 3;
    assert_int_equal(vfr_binding_check(&b), 3);
    b.shared = 1 << 1;
    assert_int_equal(vfr_binding_check(&b), 3);
    b = good;
    b.kind = VFR_SWITCHED;
    assert_int_equal(vfr_binding_check(&b), 3);
    b.shared = 0;
    assert_int_equal(vfr_binding_check(&b), 0);
    b = good;
    b.kind = VFR_PUNT + 1;
    assert_int_equal(vfr_binding_check(&b), 4);
    b = good;
    b.flags = VFR_B_FLAGS + 1;
    assert_int_equal(vfr_binding_check(&b), 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(stations, reset),
        cmocka_unit_test_setup(addresses4, reset),
        cmocka_unit_test_setup(complaints, reset),
        cmocka_unit_test_setup(addresses6, reset),
        cmocka_unit_test_setup(arp, reset),
        cmocka_unit_test_setup(neighbours, reset),
        cmocka_unit_test_setup(neighbours_malformed, reset),
        cmocka_unit_test_setup(hidden_neighbours, reset),
        cmocka_unit_test_setup(routers, reset),
        cmocka_unit_test_setup(group_reports, reset),
        cmocka_unit_test_setup(dhcp4_clients, reset),
        cmocka_unit_test_setup(dhcp_servers, reset),
        cmocka_unit_test_setup(uplink, reset),
        cmocka_unit_test_setup(bindings, reset),
        cmocka_unit_test_setup(binding_limits, reset),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
