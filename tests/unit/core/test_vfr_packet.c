/* Frames made field by field, then what the parser says of them; and each way of being refused. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "unit/core/vfr_frames.h"

static struct frame_bytes f;
static struct vfr_packet p;

static void expect_ports(u16 sport, u16 dport, u8 proto)
{
    assert_int_equal(frame_parse(&f, &p), VFR_R_OK);
    assert_true(p.flags & VFR_P_PORTS);
    assert_int_equal(p.tuple.sport, sport);
    assert_int_equal(p.tuple.dport, dport);
    assert_int_equal(p.tuple.proto, proto);
}

static void expect(enum vfr_reason why)
{
    assert_int_equal(frame_parse(&f, &p), why);
}

static void udp4(u32 payload)
{
    frame_ip4(&f, GUEST_IP, PEER_IP, PROTO_UDP);
    frame_udp(&f, 4100, 53, payload);
    frame_finish(&f);
}

static void tcp6(u32 payload)
{
    frame_ip6(&f, GUEST_IP6, PEER_IP6, PROTO_TCP);
    frame_tcp(&f, 4100, 443, TCP_SYN | TCP_ACK, payload);
    frame_finish(&f);
}

static void plain_ip4(void **state)
{
    udp4(10);
    f.b[ETH_HEADER + 1] = 46 << 2 | 1;
    put_be16(f.b + ETH_HEADER + 4, 0xbeef);
    frame_resum(&f);
    expect_ports(4100, 53, PROTO_UDP);
    assert_int_equal(p.class, VFR_C_IP4);
    assert_int_equal(p.flags, VFR_P_PORTS | VFR_P_DF);
    assert_int_equal(p.len, f.len);
    assert_int_equal(p.l3_offset, 14);
    assert_int_equal(p.l4_offset, 34);
    assert_int_equal(p.l3_len, 38);
    assert_int_equal(p.ttl, 64);
    assert_int_equal(p.dscp, 46);
    assert_int_equal(p.frag_id, 0xbeef);
    assert_true(p.eth_src == GUEST_MAC && p.eth_dst == ROUTER_MAC);
    assert_true(vfr_addr_equal(p.tuple.src, VFR_IP4(GUEST_IP)));
    assert_true(vfr_addr_equal(p.tuple.dst, VFR_IP4(PEER_IP)));
    assert_true(vfr_addr_is_ip4(p.tuple.src));
    assert_int_equal(p.frag_offset | p.frag_len | p.arp_op | p.tcp_flags | p.icmp_type, 0);
    assert_true(p.inner.proto == 0 && p.inner.src.low == 0);
}

static void plain_ip6(void **state)
{
    tcp6(3);
    f.b[ETH_HEADER] = 0x6b;
    f.b[ETH_HEADER + 1] = 0x80;
    expect_ports(4100, 443, PROTO_TCP);
    assert_int_equal(p.class, VFR_C_IP6);
    assert_int_equal(p.flags, VFR_P_PORTS | VFR_P_DF);
    assert_int_equal(p.tcp_flags, TCP_SYN | TCP_ACK);
    assert_int_equal(p.dscp, 46);
    assert_int_equal(p.l4_offset, 54);
    assert_int_equal(p.l3_len, 63);
    assert_true(vfr_addr_equal(p.tuple.src, GUEST_IP6));
    assert_true(vfr_addr_equal(p.tuple.dst, PEER_IP6));
}

static void other_transports(void **state)
{
    const struct {
        u8 proto, size;
    } with_ports[] = {{PROTO_SCTP, 12}, {PROTO_DCCP, 12}, {PROTO_UDPLITE, 8}};

    for (unsigned i = 0; i < ARRAY_SIZE(with_ports); i++) {
        frame_ip4(&f, GUEST_IP, PEER_IP, with_ports[i].proto);
        put_be32(frame_put(&f, with_ports[i].size), 1000 << 16 | 2000);
        frame_finish(&f);
        expect_ports(1000, 2000, with_ports[i].proto);
        f.len--;
        frame_finish(&f);
        expect(VFR_R_SHORT);
    }
    frame_ip4(&f, GUEST_IP, PEER_IP, 47);
    frame_finish(&f);
    expect(VFR_R_OK);
    assert_int_equal(p.flags, VFR_P_DF);
    assert_int_equal(p.tuple.sport | p.tuple.dport, 0);
    /* The other family's ICMP is just some protocol. */
    frame_ip4(&f, GUEST_IP, PEER_IP, PROTO_ICMP6);
    frame_icmp(&f, ND_ROUTER_ADVERT, 0, 7, 8);
    frame_finish(&f);
    expect(VFR_R_OK);
    assert_int_equal(p.flags, VFR_P_DF);
}

static void ethernet(void **state)
{
    udp4(0);
    memset(f.b, 0xff, 6);
    expect(VFR_R_OK);
    assert_int_equal(p.flags, VFR_P_BROADCAST | VFR_P_PORTS | VFR_P_DF);
    put_mac(f.b, 0x01005e0000fb);
    expect(VFR_R_OK);
    assert_int_equal(p.flags, VFR_P_MULTICAST | VFR_P_PORTS | VFR_P_DF);
    frame_put(&f, 18); /* padding */
    expect(VFR_R_OK);
    put_be16(f.b + 12, 0x8100);
    expect(VFR_R_ETHERTYPE);
    put_be16(f.b + 12, 0x88a8);
    expect(VFR_R_ETHERTYPE);
    put_be16(f.b + 12, 46); /* a length, of an LLC frame */
    expect(VFR_R_ETHERTYPE);
    f.len = 13;
    expect(VFR_R_SHORT);
    f.len = 0;
    expect(VFR_R_SHORT);
}

static void refused_ip4(void **state)
{
    const struct {
        u8 at, value;
    } wrong[] = {
        {0, 0x55}, {0, 0x44}, {3, 19}, {12, 127}, {12, 224},
        {12, 255}, {16, 127}, {12, 0}, {16, 0},
    };

    for (unsigned i = 0; i < ARRAY_SIZE(wrong); i++) {
        udp4(4);
        f.b[ETH_HEADER + wrong[i].at] = wrong[i].value;
        frame_resum(&f);
        expect(VFR_R_BAD_IP);
    }
    udp4(4);
    f.b[ETH_HEADER + 8]--;
    expect(VFR_R_BAD_IP); /* checksum */
    udp4(4);
    put_be32(f.b + ETH_HEADER + 16, 0);
    frame_resum(&f);
    expect(VFR_R_BAD_IP);
    udp4(4);
    f.len--;
    expect(VFR_R_SHORT); /* less than the IP header says */
    udp4(4);
    put_be16(f.b + 38, 13);
    expect(VFR_R_BAD_IP); /* UDP longer than its packet */
    put_be16(f.b + 38, 7);
    expect(VFR_R_BAD_IP);
    put_be16(f.b + 38, 8);
    expect(VFR_R_OK);
    /* Who has no address yet speaks as 0.0.0.0. */
    put_be32(f.b + ETH_HEADER + 12, 0);
    frame_resum(&f);
    expect(VFR_R_OK);
}

static void refused_tcp(void **state)
{
    frame_ip4(&f, GUEST_IP, PEER_IP, PROTO_TCP);
    frame_tcp(&f, 1, 2, TCP_SYN, 4)[12] = 0x60;
    frame_finish(&f);
    expect_ports(1, 2, PROTO_TCP);
    f.b[34 + 12] = 0x70;
    expect(VFR_R_SHORT);
    f.b[34 + 12] = 0x40;
    expect(VFR_R_BAD_IP);
}

static void options_ip4(void **state)
{
    const struct {
        u8 bytes[8];
        enum vfr_reason why;
    } options[] = {
        {{1, 1, 1, 0}, VFR_R_OK},
        {{148, 4, 0, 0, 1, 1, 1, 1}, VFR_R_OK},     /* router alert */
        {{7, 7, 4, 0, 0, 0, 0, 0}, VFR_R_OK},       /* record route */
        {{131, 7, 4, 1, 2, 3, 4, 0}, VFR_R_BAD_IP}, /* loose source route */
        {{1, 137, 7, 4, 1, 2, 3, 4}, VFR_R_BAD_IP}, /* strict source route */
        {{0, 131, 7, 4, 1, 2, 3, 4}, VFR_R_OK},     /* behind the end */
        {{7, 1, 0, 0, 0, 0, 0, 0}, VFR_R_BAD_IP},
        {{7, 9, 0, 0, 0, 0, 0, 0}, VFR_R_BAD_IP},
        {{1, 1, 1, 1, 1, 1, 1, 7}, VFR_R_BAD_IP},
    };

    for (unsigned i = 0; i < ARRAY_SIZE(options); i++) {
        frame_ip4(&f, GUEST_IP, PEER_IP, PROTO_UDP)[0] = 0x47;
        memcpy(frame_put(&f, 8), options[i].bytes, 8);
        frame_udp(&f, 5, 6, 0);
        frame_finish(&f);
        expect(options[i].why);
        assert_int_equal(p.flags & VFR_P_OPTIONS, VFR_P_OPTIONS);
        if (options[i].why)
            continue;
        expect_ports(5, 6, PROTO_UDP);
        assert_int_equal(p.l4_offset, 42);
    }
}

static void piece4(u16 field, u8 proto, u32 payload)
{
    put_be16(frame_ip4(&f, GUEST_IP, PEER_IP, proto) + 6, field);
    if (proto == PROTO_TCP)
        frame_tcp(&f, 7, 8, 0, 0);
    else
        frame_udp(&f, 7, 8, 0);
    frame_put(&f, payload);
    if (proto == PROTO_UDP)
        put_be16(f.b + 38, 4000);
    frame_finish(&f);
}

static void pieces_ip4(void **state)
{
    piece4(IP4_MF, PROTO_UDP, 24);
    expect_ports(7, 8, PROTO_UDP);
    assert_int_equal(p.flags, VFR_P_FRAGMENT | VFR_P_FIRST | VFR_P_PORTS);
    assert_int_equal(p.frag_len, 32);
    piece4(IP4_MF | 4, PROTO_UDP, 24);
    expect(VFR_R_OK);
    assert_int_equal(p.flags, VFR_P_FRAGMENT);
    assert_int_equal(p.frag_offset, 32);
    assert_int_equal(p.tuple.sport | p.tuple.dport, 0);
    assert_int_equal(p.l4_offset, 34);
    piece4(8, PROTO_UDP, 3);
    expect(VFR_R_OK);
    assert_int_equal(p.flags, VFR_P_FRAGMENT | VFR_P_LAST);
    assert_int_equal(p.frag_len, 11);

    piece4(IP4_MF, PROTO_UDP, 3);
    expect(VFR_R_BAD_IP); /* not a multiple of 8 */
    piece4(0x1fff, PROTO_UDP, 0);
    expect(VFR_R_BAD_IP); /* ends beyond 65535 */
    piece4(0x1ffe, PROTO_UDP, 7);
    expect(VFR_R_OK); /* with the very last byte */
    piece4(0x1ffd, PROTO_UDP, 8);
    expect(VFR_R_OK);
    piece4(1, PROTO_UDP, 0);
    expect(VFR_R_OK);
    piece4(1, PROTO_TCP, 0);
    expect(VFR_R_FRAG_TINY); /* RFC 1858: replaces flags */
    piece4(2, PROTO_TCP, 0);
    expect(VFR_R_FRAG_TINY);
    piece4(3, PROTO_TCP, 0);
    expect(VFR_R_OK);
}

static void tiny_first_pieces(void **state)
{
    piece4(IP4_MF, PROTO_TCP, 0);
    f.len = 34 + 16;
    frame_finish(&f);
    expect(VFR_R_FRAG_TINY);
    assert_int_equal(p.flags & VFR_P_PORTS, 0);
    piece4(IP4_MF, PROTO_TCP, 4);
    f.b[34 + 12] = 0x70; /* options cut off */
    expect(VFR_R_FRAG_TINY);
    f.b[34 + 12] = 0x60;
    expect(VFR_R_OK);
    put_be16(frame_ip4(&f, GUEST_IP, PEER_IP, PROTO_UDP) + 6, IP4_MF);
    frame_finish(&f);
    expect(VFR_R_BAD_IP); /* nothing in it */
}

static u8 *fragment6(u8 proto, u16 field)
{
    u8 *h;

    frame_ip6(&f, GUEST_IP6, PEER_IP6, PROTO_FRAG);
    h = frame_put(&f, 8);
    h[0] = proto;
    put_be16(h + 2, field);
    put_be32(h + 4, 0xdeadbeef);
    return h;
}

static void pieces_ip6(void **state)
{
    fragment6(PROTO_UDP, 1);
    put_be16(frame_udp(&f, 9, 10, 8) + 4, 4000);
    frame_finish(&f);
    expect_ports(9, 10, PROTO_UDP);
    assert_int_equal(p.flags, VFR_P_FRAGMENT | VFR_P_FIRST | VFR_P_DF | VFR_P_PORTS);
    assert_int_equal(p.frag_id, 0xdeadbeef);
    assert_int_equal(p.frag_len, 16);
    assert_int_equal(p.l4_offset, 62);
    fragment6(PROTO_UDP, 16);
    frame_put(&f, 5);
    frame_finish(&f);
    expect(VFR_R_OK);
    assert_int_equal(p.flags, VFR_P_FRAGMENT | VFR_P_LAST | VFR_P_DF);
    assert_int_equal(p.frag_offset, 16);
    assert_int_equal(p.frag_len, 5);
    assert_int_equal(p.tuple.proto, PROTO_UDP);
    fragment6(PROTO_UDP, 0); /* atomic, RFC 6946 */
    frame_udp(&f, 9, 10, 1);
    frame_finish(&f);
    expect_ports(9, 10, PROTO_UDP);
    assert_int_equal(p.flags & (VFR_P_FIRST | VFR_P_LAST), VFR_P_FIRST | VFR_P_LAST);

    fragment6(PROTO_FRAG, 0);
    frame_extension(&f, PROTO_UDP, 8);
    frame_udp(&f, 9, 10, 0);
    frame_finish(&f);
    expect(VFR_R_EXT_HDR); /* pieces of pieces */
    fragment6(PROTO_DSTOPT, 1);
    frame_extension(&f, PROTO_TCP, 16);
    frame_put(&f, 16);
    frame_finish(&f);
    expect(VFR_R_FRAG_TINY); /* RFC 7112: the chain goes on in the next piece */
    fragment6(PROTO_DSTOPT, 1);
    frame_extension(&f, PROTO_TCP, 16);
    f.len -= 8;
    frame_finish(&f);
    expect(VFR_R_FRAG_TINY);
    /* The piece's length counts from behind the fragment header, not from the transport. */
    fragment6(PROTO_DSTOPT, 1);
    frame_extension(&f, PROTO_UDP, 8);
    frame_udp(&f, 9, 10, 0);
    frame_finish(&f);
    expect(VFR_R_OK);
    assert_int_equal(p.frag_len, 16);
    assert_int_equal(p.l4_offset, 70);
}

static void chains_ip6(void **state)
{
    frame_ip6(&f, GUEST_IP6, PEER_IP6, PROTO_HOP);
    frame_extension(&f, PROTO_DSTOPT, 8);
    frame_extension(&f, PROTO_ROUTE, 24);
    frame_extension(&f, PROTO_UDP, 24);
    frame_udp(&f, 11, 12, 0);
    frame_finish(&f);
    expect_ports(11, 12, PROTO_UDP);
    assert_int_equal(p.flags, VFR_P_DF | VFR_P_PORTS | VFR_P_OPTIONS);
    assert_int_equal(p.l4_offset, 54 + 56);
    f.b[54 + 8 + 24 + 3] = 1; /* another stop to make */
    expect(VFR_R_EXT_HDR);
    f.b[54 + 8 + 24 + 3] = 0;
    f.b[54 + 8] = PROTO_HOP; /* not the first */
    expect(VFR_R_EXT_HDR);

    frame_ip6(&f, GUEST_IP6, PEER_IP6, PROTO_NONE);
    frame_finish(&f);
    expect(VFR_R_OK);
    frame_ip6(&f, GUEST_IP6, PEER_IP6, PROTO_DSTOPT);
    frame_extension(&f, PROTO_NONE, 16);
    f.len -= 8;
    frame_finish(&f);
    expect(VFR_R_SHORT);
    frame_ip6(&f, GUEST_IP6, PEER_IP6, PROTO_DSTOPT);
    frame_extension(&f, PROTO_NONE, 8);
    frame_finish(&f);
    expect(VFR_R_OK); /* ends with the packet */
    for (f.len = 54 + 7; f.len >= 54; f.len--) {
        frame_finish(&f);
        expect(VFR_R_SHORT);
    }
    frame_ip6(&f, GUEST_IP6, PEER_IP6, PROTO_AH);
    frame_put(&f, 24)[0] = PROTO_UDP;
    frame_finish(&f);
    expect(VFR_R_OK); /* opaque */
    assert_int_equal(p.tuple.proto, PROTO_AH);
    assert_int_equal(p.flags, VFR_P_DF);
}

static void long_chains(void **state)
{
    for (unsigned n = 1; n <= 9; n++) {
        frame_ip6(&f, GUEST_IP6, PEER_IP6, PROTO_DSTOPT);
        for (unsigned i = 0; i < n; i++)
            frame_extension(&f, i + 1 < n ? PROTO_DSTOPT : PROTO_UDP, 8);
        frame_udp(&f, 1, 1, 0);
        frame_finish(&f);
        expect(n <= 8 ? VFR_R_OK : VFR_R_EXT_HDR);
    }
    /* UDP begins at byte 54 + size; 8 bytes of it must be in the snapshot. */
    for (unsigned size = 168; size <= 216; size += 8) {
        frame_ip6(&f, GUEST_IP6, PEER_IP6, PROTO_DSTOPT);
        frame_extension(&f, PROTO_UDP, size);
        frame_udp(&f, 1, 1, 100);
        frame_finish(&f);
        expect(54 + size + 8 <= VFR_SNAPSHOT ? VFR_R_OK : VFR_R_EXT_HDR);
        f.b[54] = 47;
        expect(54 + size < VFR_SNAPSHOT ? VFR_R_OK : VFR_R_EXT_HDR);
    }
}

static void refused_ip6(void **state)
{
    const struct vfr_addr never[] = {IP6(0, 1), IP6(0, 0xffff00000000 | GUEST_IP),
                                     IP6(0, GUEST_IP), IP6(0xff02ull << 48, 1)};

    for (unsigned i = 0; i < ARRAY_SIZE(never); i++) {
        frame_ip6(&f, never[i], PEER_IP6, PROTO_NONE);
        frame_finish(&f);
        expect(VFR_R_BAD_IP);
        frame_ip6(&f, GUEST_IP6, never[i], PROTO_NONE);
        frame_finish(&f);
        expect(i == 3 ? VFR_R_OK : VFR_R_BAD_IP);
    }
    frame_ip6(&f, IP6(0, 0), PEER_IP6, PROTO_NONE);
    frame_finish(&f);
    expect(VFR_R_OK);
    frame_ip6(&f, GUEST_IP6, IP6(0, 0), PROTO_NONE);
    frame_finish(&f);
    expect(VFR_R_BAD_IP);
    tcp6(0);
    f.b[ETH_HEADER] = 0x40;
    expect(VFR_R_BAD_IP);
    tcp6(0);
    f.len--;
    expect(VFR_R_SHORT);
    tcp6(0);
    put_be16(f.b + ETH_HEADER + 4, 0); /* as a jumbogram has it */
    expect(VFR_R_SHORT);
    put_be16(f.b + ETH_HEADER + 4, 0xffff);
    expect(VFR_R_BAD_IP);
}

static void icmp_queries(void **state)
{
    const struct {
        u8 type;
        u16 flag;
    } queries[] = {
        {0, VFR_P_ANSWER}, {8, VFR_P_QUERY},
        {13, VFR_P_QUERY}, {14, VFR_P_ANSWER},
        {15, VFR_P_QUERY}, {16, VFR_P_ANSWER},
        {17, VFR_P_QUERY}, {18, VFR_P_ANSWER},
        {10, 0},           {12, 0},
        {19, 0},           {128, 0},
    };

    for (unsigned i = 0; i < ARRAY_SIZE(queries); i++) {
        frame_ip4(&f, GUEST_IP, PEER_IP, PROTO_ICMP4);
        frame_icmp(&f, queries[i].type, 0, 4397, 0);
        frame_finish(&f);
        expect(VFR_R_OK);
        assert_int_equal(p.icmp_type, queries[i].type);
        assert_int_equal(p.flags & (VFR_P_QUERY | VFR_P_ANSWER), queries[i].flag);
        assert_int_equal(p.tuple.sport, queries[i].flag ? 4397 : 0);
        assert_int_equal(p.tuple.dport, queries[i].flag ? 4397 : 0);
        assert_int_equal(!!(p.flags & VFR_P_PORTS), !!queries[i].flag);
    }
    for (unsigned type = 127; type <= 138; type++) {
        bool echo = type == 128 || type == 129;

        frame_ip6(&f, GUEST_IP6, PEER_IP6, PROTO_ICMP6);
        frame_icmp(&f, type, 3, 99, 0);
        frame_finish(&f);
        expect(VFR_R_OK);
        assert_int_equal(p.icmp_code, 3);
        assert_int_equal(!!(p.flags & VFR_P_PORTS), echo);
        assert_int_equal(p.tuple.sport, echo ? 99 : 0);
        assert_int_equal(!!(p.flags & VFR_P_ND), type >= 133 && type <= 137);
    }
    f.len = 54 + 7;
    frame_finish(&f);
    expect(VFR_R_SHORT);
}

/* An ICMP error about what the guest sent to the peer; its offset. */
static u32 error4(u8 type, u8 inner_proto)
{
    u8 *h;

    frame_ip4(&f, PEER_IP, GUEST_IP, PROTO_ICMP4);
    frame_icmp(&f, type, 1, 0, 0);
    h = frame_put(&f, IP4_HEADER);
    h[0] = 0x45;
    put_be16(h + 2, 1500); /* most of it is not here */
    h[9] = inner_proto;
    put_be32(h + 12, GUEST_IP);
    put_be32(h + 16, PEER_IP);
    put_be32(frame_put(&f, 8), 4100 << 16 | 443);
    frame_finish(&f);
    return 42;
}

static void expect_inner(bool there)
{
    expect(VFR_R_OK);
    assert_int_equal(!!(p.flags & VFR_P_INNER), there);
    if (there) {
        assert_int_equal(p.inner.sport, 4100);
        assert_int_equal(p.inner.dport, 443);
        assert_true(vfr_addr_equal(p.inner.src, p.tuple.dst));
    } else {
        static const struct vfr_tuple none;

        assert_memory_equal(&p.inner, &none, sizeof(none));
    }
}

static void errors_ip4(void **state)
{
    const u8 types[] = {3, 4, 11, 12};
    u32 at;

    for (unsigned i = 0; i < ARRAY_SIZE(types); i++) {
        error4(types[i], PROTO_TCP);
        expect_inner(true);
        assert_true(vfr_addr_equal(p.inner.dst, VFR_IP4(PEER_IP)));
        assert_int_equal(p.inner.proto, PROTO_TCP);
    }
    error4(5, PROTO_TCP);
    expect_inner(false); /* redirect */
    error4(3, 47);
    expect_inner(false);
    at = error4(3, PROTO_UDP);
    put_be32(f.b + at + 12, GUEST_IP + 1);
    expect_inner(false); /* sent by somebody else */
    at = error4(3, PROTO_UDP);
    put_be16(f.b + at + 6, 1);
    expect_inner(false); /* a later piece has no ports */
    at = error4(3, PROTO_UDP);
    put_be16(f.b + at + 6, IP4_MF | IP4_DF);
    expect_inner(true);
    at = error4(3, PROTO_UDP);
    f.b[at] = 0x44;
    expect_inner(false);
    f.b[at] = 0x55;
    expect_inner(false);
    at = error4(3, PROTO_UDP);
    f.b[at] = 0x46; /* then only 4 bytes of transport are left */
    expect_inner(false);
    error4(3, PROTO_UDP);
    f.len--;
    frame_finish(&f);
    expect_inner(false);
    at = error4(3, PROTO_ICMP4);
    memset(f.b + at + 20, 0, 8);
    f.b[at + 20] = 8;
    put_be16(f.b + at + 24, 77);
    expect(VFR_R_OK);
    assert_int_equal(p.inner.sport, 77);
    f.b[at + 20] = 3; /* an error about an error */
    expect_inner(false);
}

static u32 error6(u8 type, unsigned extensions)
{
    u8 *h;

    frame_ip6(&f, PEER_IP6, GUEST_IP6, PROTO_ICMP6);
    frame_icmp(&f, type, 0, 0, 0);
    h = frame_put(&f, IP6_HEADER);
    h[0] = 0x60;
    h[6] = extensions ? PROTO_DSTOPT : PROTO_UDP;
    memcpy(h + 8, f.b + ETH_HEADER + 24, 16);
    memcpy(h + 24, f.b + ETH_HEADER + 8, 16);
    for (unsigned i = 0; i < extensions; i++)
        frame_extension(&f, i + 1 < extensions ? PROTO_DSTOPT : PROTO_UDP, 8);
    put_be32(frame_put(&f, 8), 4100 << 16 | 443);
    frame_finish(&f);
    return 62;
}

static void errors_ip6(void **state)
{
    u32 at;

    for (unsigned type = 1; type <= 4; type++) {
        error6(type, 0);
        expect_inner(true);
        assert_true(vfr_addr_equal(p.inner.dst, PEER_IP6));
    }
    error6(5, 0);
    expect_inner(false);
    error6(100, 0);
    expect_inner(false);
    error6(1, 8);
    expect_inner(true);
    error6(1, 9);
    expect_inner(false);
    at = error6(1, 1);
    f.b[at + 6] = PROTO_FRAG; /* the first extension becomes a piece's header */
    f.b[at + 40 + 1] = 0;
    expect_inner(true);
    put_be16(f.b + at + 40 + 2, 8);
    expect_inner(false);
    at = error6(1, 0);
    f.b[at + 8] ^= 1;
    expect_inner(false);
}

static void arp(void **state)
{
    frame_arp(&f, ARP_REPLY, GUEST_MAC, GUEST_IP, ROUTER_MAC, PEER_IP);
    expect(VFR_R_OK);
    assert_int_equal(p.class, VFR_C_ARP);
    assert_int_equal(p.arp_op, 2);
    assert_int_equal(p.flags, VFR_P_BROADCAST);
    assert_true(vfr_addr_equal(p.tuple.src, VFR_IP4(GUEST_IP)));
    assert_true(vfr_addr_equal(p.tuple.dst, VFR_IP4(PEER_IP)));
    f.len--;
    expect(VFR_R_SHORT);
    for (unsigned i = 0; i < 6; i++) {
        frame_arp(&f, ARP_REPLY, GUEST_MAC, GUEST_IP, ROUTER_MAC, PEER_IP);
        f.b[ETH_HEADER + i]++;
        expect(VFR_R_BAD_IP);
    }
}

/* Fewer bytes than the headers need are never read as something else. */
static void short_snapshots(void **state)
{
    udp4(500);
    for (u32 have = 0; have < 60; have++)
        assert_int_equal(frame_parse_some(&f, have, &p), have < 42 ? VFR_R_SHORT : VFR_R_OK);
    tcp6(500);
    for (u32 have = 0; have < 80; have++)
        assert_int_equal(frame_parse_some(&f, have, &p), have < 74 ? VFR_R_SHORT : VFR_R_OK);
    fragment6(PROTO_DSTOPT, 1);
    frame_extension(&f, PROTO_UDP, 16);
    frame_udp(&f, 9, 10, 8);
    frame_finish(&f);
    for (u32 have = 54; have < 100; have++)
        assert_int_equal(frame_parse_some(&f, have, &p), have < 86 ? VFR_R_SHORT : VFR_R_OK);
}

/* ---- trains ---- */

/* Whether what is in 'f' now follows 'leader', of which 'kept' is kept; then parsing says the same. */
static enum vfr_follow follows(const struct vfr_packet *leader, const u64 kept[VFR_KEPT])
{
    const u32 have = MIN(f.len, VFR_SNAPSHOT);
    struct vfr_packet next = *leader, changed;
    u64 last[VFR_KEPT], now[VFR_KEPT];
    u8 *copy = malloc(have);
    enum vfr_follow how;

    memcpy(copy, f.b, have);
    memcpy(last, kept, sizeof(last));
    how = vfr_packet_follow(&next, last, copy, have, f.len);
    vfr_packet_keep(now, copy);
    free(copy);
    if (how == VFR_FOLLOW_NOT)
        return how;
    assert_int_equal(vfr_packet_follow(&next, last, f.b, have, f.len), VFR_FOLLOW_FLOW);
    assert_int_equal(how == VFR_FOLLOW_STATION, !!((now[4] ^ kept[4]) << 16));
    expect(VFR_R_OK);
    assert_memory_equal(&next.tuple, &p.tuple, sizeof(p.tuple));
    assert_true(vfr_packet_may_lead(&p));
    changed = *leader;
    changed.len = p.len;
    changed.l3_len = p.l3_len;
    changed.frag_id = p.frag_id;
    changed.tcp_flags = p.tcp_flags;
    if (how == VFR_FOLLOW_STATION) {
        assert_true(p.tuple.sport != leader->tuple.sport ||
                    p.tuple.dport != leader->tuple.dport);
        changed.tuple.sport = p.tuple.sport;
        changed.tuple.dport = p.tuple.dport;
    }
    assert_memory_equal(&next, &changed, sizeof(next));
    assert_true(changed.flags == p.flags && changed.ttl == p.ttl && changed.dscp == p.dscp);
    assert_true(changed.eth_src == p.eth_src && changed.eth_dst == p.eth_dst);
    assert_int_equal(changed.class, p.class);
    assert_int_equal(changed.l4_offset, p.l4_offset);
    return how;
}

/* Each bit that another may have different, and each that it may not. */
static void train(u32 followers)
{
    struct vfr_packet leader;
    u64 kept[VFR_KEPT];
    u32 found = 0;

    expect(VFR_R_OK);
    leader = p;
    assert_true(vfr_packet_may_lead(&leader));
    vfr_packet_keep(kept, f.b);
    assert_int_equal(follows(&leader, kept), VFR_FOLLOW_FLOW);
    for (u32 bit = 0; bit < 60 * 8; bit++) {
        f.b[bit / 8] ^= (u8)(1 << bit % 8);
        assert_true(bit / 8 < 14 || bit / 8 >= 34 || !follows(&leader, kept));
        frame_resum(&f);
        if (follows(&leader, kept)) {
            assert_true(bit / 8 >= 34 || (bit / 8 >= 16 && bit / 8 < 20) || bit / 8 == 24 ||
                        bit / 8 == 25);
            found++;
        }
        f.b[bit / 8] ^= (u8)(1 << bit % 8);
        frame_resum(&f);
    }
    assert_int_equal(found, followers);
    for (u32 port = 60; port < 80; port++) {
        f.b[36] = 0;
        f.b[37] = (u8)port;
        assert_int_equal(follows(&leader, kept),
                         port == 67 || port == 68 ? VFR_FOLLOW_NOT : VFR_FOLLOW_STATION);
    }
    f.len--;
    assert_false(follows(&leader, kept));
}

static void trains(void **state)
{
    udp4(30);
    train(226);
    frame_ip4(&f, GUEST_IP, PEER_IP, PROTO_TCP);
    frame_tcp(&f, 4100, 443, TCP_ACK, 30);
    frame_finish(&f);
    train(239);
    tcp6(10);
    expect(VFR_R_OK);
    assert_false(vfr_packet_may_lead(&p));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_ip4),   cmocka_unit_test(plain_ip6),
        cmocka_unit_test(ethernet),    cmocka_unit_test(other_transports),
        cmocka_unit_test(refused_ip4), cmocka_unit_test(refused_tcp),
        cmocka_unit_test(options_ip4), cmocka_unit_test(pieces_ip4),
        cmocka_unit_test(pieces_ip6),  cmocka_unit_test(tiny_first_pieces),
        cmocka_unit_test(chains_ip6),  cmocka_unit_test(long_chains),
        cmocka_unit_test(refused_ip6), cmocka_unit_test(icmp_queries),
        cmocka_unit_test(errors_ip4),  cmocka_unit_test(errors_ip6),
        cmocka_unit_test(arp),         cmocka_unit_test(short_snapshots),
        cmocka_unit_test(trains),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
