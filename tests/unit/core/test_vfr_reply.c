/* Every answer is parsed again and summed slowly; and who gets none. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "core/vfr_reply.h"
#include "unit/core/vfr_frames.h"

#define SELF_IP   0xa9fe0001u /* 169.254.0.1 */
#define OTHER_MAC 0x00163e999999ull
#define LOCAL6    IP6(0xfe80ull << 48, 0x02163efffe010203)
#define GROUP6    IP6(0xff02ull << 48, 1)

static struct frame_bytes f;
static struct vfr_packet p, answer;
static struct vfr_binding asker;
static u8 *out;
static const struct vfr_self self = {
    .mac = ROUTER_MAC, .ip4 = SELF_IP, .ip6 = {0xfe80ull << 48, 0x000000fffe000001}};

static int reset(void **state)
{
    asker = (struct vfr_binding){.mac = GUEST_MAC, .ip4s = 1, .ip6s = 1};
    asker.ip4[0] = (struct vfr_prefix4){GUEST_IP, 0xffffffff};
    asker.ip6[0] = (struct vfr_prefix6){IP6(0x20010db800000001, 0), IP6(~0ull, 0)};
    assert_int_equal(vfr_binding_check(&asker), 0);
    out = malloc(VFR_REPLY_MAX); /* the sanitizer sees a byte too many */
    memset(out, 0xa5, VFR_REPLY_MAX);
    return 0;
}

static int release(void **state)
{
    free(out);
    return 0;
}

static u32 sum_words(const u8 *at, u32 len, u32 sum)
{
    for (u32 i = 0; i < len; i += 2) {
        sum += at[i] << 8 | (i + 1 < len ? at[i + 1] : 0);
        sum = (sum & 0xffff) + (sum >> 16);
    }
    return sum;
}

static u32 sum_of(const u8 *frame)
{
    u32 end = answer.l3_offset + answer.l3_len, len = end - answer.l4_offset, sum = 0;

    if (answer.tuple.proto != PROTO_ICMP4) {
        bool v4 = answer.class == VFR_C_IP4;

        sum = sum_words(frame + (v4 ? 26 : 22), v4 ? 8 : 32, answer.tuple.proto + len);
    }
    return sum_words(frame + answer.l4_offset, len, sum);
}

/* The answer is a right packet to whom the question came from. */
static void expect_answer(u32 len)
{
    assert_in_range(len, 42, VFR_REPLY_MAX);
    assert_int_equal(vfr_packet_parse(&answer, out, len, len), VFR_R_OK);
    assert_true(answer.eth_src == ROUTER_MAC);
    if (answer.class == VFR_C_ARP)
        return;
    assert_int_equal(answer.l3_offset + answer.l3_len, len);
    assert_int_equal(sum_of(out), 0xffff);
}

static void parse(void)
{
    assert_int_equal(frame_parse(&f, &p), VFR_R_OK);
}

/* ---- ARP and neighbour discovery ---- */

static u32 ask_arp(u16 op, u32 spa, u32 tpa, const struct vfr_binding *b)
{
    frame_arp(&f, op, GUEST_MAC, spa, 0, tpa);
    parse();
    return vfr_reply_arp(&self, b, &p, out);
}

static void arp(void **state)
{
    expect_answer(ask_arp(ARP_REQUEST, GUEST_IP, SELF_IP, &asker));
    assert_int_equal(answer.arp_op, ARP_REPLY);
    assert_true(answer.eth_dst == GUEST_MAC);
    assert_true(get_mac(out + 14 + ARP_SHA) == ROUTER_MAC);
    assert_true(get_mac(out + 14 + ARP_THA) == GUEST_MAC);
    assert_int_equal(get_be32(out + 14 + ARP_SPA), SELF_IP);
    assert_int_equal(get_be32(out + 14 + ARP_TPA), GUEST_IP);
    expect_answer(ask_arp(ARP_REQUEST, GUEST_IP, PEER_IP, &asker));
    assert_int_equal(get_be32(out + 14 + ARP_SPA), PEER_IP);

    assert_int_equal(ask_arp(ARP_REQUEST, 0, GUEST_IP, &asker), 0);
    assert_int_equal(ask_arp(ARP_REQUEST, 0, PEER_IP, &asker), 0);
    assert_int_equal(ask_arp(ARP_REQUEST, 0, PEER_IP, NULL), 0);
    assert_int_equal(ask_arp(ARP_REQUEST, SELF_IP, GUEST_IP, &asker), 0);
    assert_int_equal(ask_arp(ARP_REQUEST, GUEST_IP, GUEST_IP, &asker), 0);
    assert_int_equal(ask_arp(ARP_REQUEST, PEER_IP, PEER_IP, NULL), 0);
    assert_int_equal(ask_arp(ARP_REPLY, GUEST_IP, PEER_IP, &asker), 0);
    assert_int_equal(ask_arp(ARP_REQUEST, GUEST_IP, 0xffffffff, &asker), 0);
    expect_answer(ask_arp(ARP_REQUEST, PEER_IP, GUEST_IP, NULL)); /* from the wire */
}

static u32 ask_nd(struct vfr_addr src, struct vfr_addr target, const struct vfr_binding *b)
{
    u8 *h;

    frame_ip6(&f, src, GROUP6, PROTO_ICMP6)[7] = 255;
    h = frame_icmp(&f, ND_SOLICIT, 0, 0, 16);
    put_be64(h + 8, target.high);
    put_be64(h + 16, target.low);
    frame_finish(&f);
    parse();
    return vfr_reply_solicit(&self, b, &p, f.b, true, out);
}

static void neighbours(void **state)
{
    expect_answer(ask_nd(GUEST_IP6, self.ip6, &asker));
    assert_true(answer.eth_dst == GUEST_MAC);
    assert_int_equal(answer.icmp_type, ND_ADVERT);
    assert_int_equal(answer.ttl, 255);
    assert_true(vfr_addr_equal(answer.tuple.src, self.ip6));
    assert_true(vfr_addr_equal(answer.tuple.dst, GUEST_IP6));
    assert_int_equal(out[58], 0xe0);
    assert_true(get_be64(out + 62) == self.ip6.high && get_be64(out + 70) == self.ip6.low);
    assert_int_equal(get_be16(out + 78), 0x0201);
    assert_true(get_mac(out + 80) == ROUTER_MAC);
    assert_int_equal(vfr_reply_solicit(&self, &asker, &p, f.b, false, out), 86);
    assert_int_equal(out[58], 0x60);

    assert_int_equal(ask_nd(IP6(0, 0), self.ip6, &asker), 0);
    assert_int_equal(ask_nd(GUEST_IP6, GUEST_IP6, &asker), 0);
    assert_int_equal(ask_nd(GUEST_IP6, IP6(0x20010db800000001, 7), &asker), 0);
    assert_int_equal(ask_nd(GUEST_IP6, LOCAL6, &asker), 0);
    assert_int_equal(ask_nd(GUEST_IP6, GROUP6, &asker), 0);
    assert_int_equal(ask_nd(GUEST_IP6, IP6(0, 1), &asker), 0);
    assert_int_equal(ask_nd(GUEST_IP6, VFR_IP4(PEER_IP), NULL), 0);
    expect_answer(ask_nd(PEER_IP6, GUEST_IP6, NULL));
    p.ttl = 254;
    assert_int_equal(vfr_reply_solicit(&self, NULL, &p, f.b, true, out), 0);
    p.ttl = 255;
    p.icmp_code = 1;
    assert_int_equal(vfr_reply_solicit(&self, NULL, &p, f.b, true, out), 0);
    p.icmp_code = 0;
    p.eth_src |= ETH_GROUP;
    assert_int_equal(vfr_reply_solicit(&self, NULL, &p, f.b, true, out), 0);
    p.eth_src &= ~ETH_GROUP;
    p.icmp_type = ND_ADVERT;
    assert_int_equal(vfr_reply_solicit(&self, NULL, &p, f.b, true, out), 0);
    ask_nd(GUEST_IP6, self.ip6, &asker);
    f.len--;
    frame_finish(&f);
    parse();
    assert_int_equal(vfr_reply_solicit(&self, NULL, &p, f.b, true, out), 0);
}

static void questions(void **state)
{
    const struct vfr_addr other = {GUEST_IP6.high, 0x12345678};

    expect_answer(vfr_reply_ask(&self, VFR_IP4(GUEST_IP), VFR_IP4(0x0a000063), out));
    assert_int_equal(answer.arp_op, ARP_REQUEST);
    assert_int_equal(answer.flags, VFR_P_BROADCAST);
    assert_true(vfr_addr_equal(answer.tuple.src, VFR_IP4(GUEST_IP)));
    assert_true(vfr_addr_equal(answer.tuple.dst, VFR_IP4(0x0a000063)));
    assert_true(get_mac(out + 14 + ARP_SHA) == ROUTER_MAC);
    expect_answer(vfr_reply_ask(&self, GUEST_IP6, other, out));
    assert_true(answer.eth_dst == 0x3333ff345678);
    assert_true(answer.tuple.dst.high == 0xff02ull << 48);
    assert_true(answer.tuple.dst.low == 0x1ff345678);
    assert_int_equal(answer.icmp_type, ND_SOLICIT);
    assert_true(get_be64(out + 54 + ND_TARGET) == other.high);
    assert_true(get_be64(out + 54 + ND_TARGET + 8) == other.low);
    assert_int_equal(out[54 + ND_SOLICIT_LEN], ND_OPT_SOURCE);
    assert_int_equal(out[54 + 4], 0);
    assert_int_equal(vfr_reply_ask(&self, GUEST_IP6, GROUP6, out), 0);
    assert_int_equal(vfr_reply_ask(&self, VFR_IP4(0), VFR_IP4(GUEST_IP), out), 0);
    assert_int_equal(vfr_reply_ask(&self, GUEST_IP6, VFR_IP4(GUEST_IP), out), 0);
}

static void solicit_router(struct vfr_addr src)
{
    frame_ip6(&f, src, GROUP6, PROTO_ICMP6)[7] = 255;
    frame_icmp(&f, ND_ROUTER_SOLICIT, 0, 0, 0);
    frame_finish(&f);
    parse();
}

static void adverts(void **state)
{
    struct vfr_advert ra = {.prefix = GUEST_IP6,
                            .valid = 600,
                            .preferred = 300,
                            .mtu = 1500,
                            .lifetime = 1800,
                            .prefix_len = 64,
                            .other = true,
                            .autonomous = true};

    expect_answer(vfr_reply_advert(&self, &ra, NULL, out));
    assert_true(answer.eth_dst == 0x333300000001);
    assert_int_equal(answer.icmp_type, ND_ROUTER_ADVERT);
    assert_int_equal(answer.ttl, 255);
    assert_int_equal(answer.l3_len, 40 + 16 + 8 + 8 + 32);
    assert_int_equal(get_be32(out + 58), 64 << 24 | 0x40 << 16 | 1800);
    assert_int_equal(get_be16(out + 70), 0x0101);
    assert_true(get_mac(out + 72) == ROUTER_MAC);
    assert_int_equal(get_be32(out + 78), 0x05010000);
    assert_int_equal(get_be32(out + 82), 1500);
    assert_int_equal(get_be32(out + 86), 0x03044040);
    assert_int_equal(get_be32(out + 90), 600);
    assert_int_equal(get_be32(out + 94), 300);
    assert_true(get_be64(out + 102) == GUEST_IP6.high && get_be64(out + 110) == GUEST_IP6.low);
    ra.mtu = ra.prefix_len = 0;
    solicit_router(LOCAL6);
    expect_answer(vfr_reply_advert(&self, &ra, &p, out));
    assert_int_equal(answer.l3_len, 40 + 16 + 8);
    assert_true(answer.eth_dst == GUEST_MAC);
    assert_true(vfr_addr_equal(answer.tuple.dst, LOCAL6));
    solicit_router(IP6(0, 0));
    expect_answer(vfr_reply_advert(&self, &ra, &p, out));
    assert_true(vfr_addr_equal(answer.tuple.dst, GROUP6));
    p.ttl = 64;
    assert_int_equal(vfr_reply_advert(&self, &ra, &p, out), 0);
    ask_nd(GUEST_IP6, self.ip6, &asker);
    assert_int_equal(vfr_reply_advert(&self, &ra, &p, out), 0);
}

/* ---- ICMP errors ---- */

static void udp4(u32 src, u32 dst, u32 payload)
{
    frame_ip4(&f, src, dst, PROTO_UDP);
    frame_udp(&f, 4100, 53, payload);
    frame_finish(&f);
}

static void udp6(struct vfr_addr src, struct vfr_addr dst, u32 payload)
{
    frame_ip6(&f, src, dst, PROTO_UDP);
    frame_udp(&f, 4100, 53, payload);
    frame_finish(&f);
}

static u32 complain(enum vfr_error e, u32 mtu)
{
    parse();
    return vfr_reply_error(&self, &p, f.b, MIN(f.len, VFR_SNAPSHOT), e, mtu, out);
}

static void errors(void **state)
{
    static const u8 v4[][2] = {{3, 13}, {3, 1}, {3, 3}, {3, 4}, {11, 0}};
    static const u8 v6[][2] = {{1, 1}, {1, 3}, {1, 4}, {2, 0}, {3, 0}};

    for (unsigned i = 0; i < 10; i++) {
        bool is6 = i & 1;
        enum vfr_error e = i / 2;

        for (u32 payload = 0; payload < 400; payload += 37) {
            if (is6)
                udp6(GUEST_IP6, PEER_IP6, payload);
            else
                udp4(GUEST_IP, PEER_IP, payload);
            expect_answer(complain(e, 1400));
            assert_true(answer.eth_dst == GUEST_MAC);
            assert_int_equal(answer.icmp_type, is6 ? v6[e][0] : v4[e][0]);
            assert_int_equal(answer.icmp_code, is6 ? v6[e][1] : v4[e][1]);
            assert_true(vfr_addr_equal(answer.tuple.src, is6 ? self.ip6 : VFR_IP4(SELF_IP)));
            /* The complaint names the packet that it is about. */
            assert_true(answer.flags & VFR_P_INNER);
            assert_true(vfr_addr_equal(answer.inner.src, p.tuple.src));
            assert_true(vfr_addr_equal(answer.inner.dst, p.tuple.dst));
            assert_int_equal(answer.inner.sport, p.tuple.sport);
            assert_int_equal(answer.inner.dport, p.tuple.dport);
            assert_int_equal(answer.inner.proto, p.tuple.proto);
            assert_int_equal(answer.len, MIN(f.len + (is6 ? 48 : 28), VFR_REPLY_MAX));
            assert_memory_equal(out + answer.l4_offset + 8, f.b + 14,
                                answer.len - answer.l4_offset - 8);
            assert_int_equal(get_be32(out + answer.l4_offset + 4),
                             e == VFR_E_TOO_BIG ? 1400 : 0);
            /* And is not complained about. */
            memcpy(f.b, out, answer.len);
            f.len = answer.len;
            assert_int_equal(complain(VFR_E_TTL, 0), 0);
        }
    }
    udp4(GUEST_IP, PEER_IP, 400);
    assert_int_equal(frame_parse_some(&f, 60, &p), VFR_R_OK);
    expect_answer(vfr_reply_error(&self, &p, f.b, 60, VFR_E_HOST, 0, out)); /* all there is */
    assert_int_equal(answer.len, 42 + 46);
    udp4(GUEST_IP, PEER_IP, 0);
    expect_answer(complain(VFR_E_TOO_BIG, 70000));
    assert_int_equal(get_be32(out + 38), 65535);
}

static void no_errors(void **state)
{
    udp4(0, PEER_IP, 0);
    assert_int_equal(complain(VFR_E_HOST, 0), 0);
    udp4(GUEST_IP, 0xffffffff, 0);
    assert_int_equal(complain(VFR_E_HOST, 0), 0);
    udp4(GUEST_IP, 0xe00000fb, 0);
    assert_int_equal(complain(VFR_E_HOST, 0), 0);
    udp4(GUEST_IP, PEER_IP, 0);
    put_mac(f.b, ETH_BROADCAST);
    assert_int_equal(complain(VFR_E_HOST, 0), 0);
    put_mac(f.b, 0x01005e0000fb);
    assert_int_equal(complain(VFR_E_HOST, 0), 0);
    udp4(GUEST_IP, PEER_IP, 0);
    put_mac(f.b + 6, OTHER_MAC | ETH_GROUP);
    assert_int_equal(complain(VFR_E_HOST, 0), 0);
    udp6(IP6(0, 0), PEER_IP6, 0);
    assert_int_equal(complain(VFR_E_HOST, 0), 0);
    udp6(GUEST_IP6, GROUP6, 0);
    assert_int_equal(complain(VFR_E_HOST, 0), 0);
    frame_arp(&f, ARP_REQUEST, GUEST_MAC, GUEST_IP, 0, PEER_IP);
    assert_int_equal(complain(VFR_E_HOST, 0), 0);
    /* Of a fragmented datagram only the first piece. */
    udp4(GUEST_IP, PEER_IP, 8);
    put_be16(f.b + 20, IP4_MF);
    frame_resum(&f);
    assert_int_not_equal(complain(VFR_E_HOST, 0), 0);
    put_be16(f.b + 20, 4);
    frame_resum(&f);
    assert_int_equal(complain(VFR_E_HOST, 0), 0);
    for (unsigned type = 0; type < 256; type++) {
        bool query = type == 0 || type == 8 || (type >= 13 && type <= 18);

        frame_ip4(&f, GUEST_IP, PEER_IP, PROTO_ICMP4);
        frame_icmp(&f, type, 0, 0, 28);
        frame_finish(&f);
        assert_int_equal(!!complain(VFR_E_HOST, 0), query);
        frame_ip6(&f, GUEST_IP6, PEER_IP6, PROTO_ICMP6);
        frame_icmp(&f, type, 0, 0, 48);
        frame_finish(&f);
        assert_int_equal(!!complain(VFR_E_HOST, 0), type == 128 || type == 129);
    }
}

/* ---- echo and reset ---- */

static void ping(bool v6, u32 payload)
{
    u32 at;

    if (v6)
        frame_ip6(&f, GUEST_IP6, PEER_IP6, PROTO_ICMP6);
    else
        frame_ip4(&f, GUEST_IP, PEER_IP, PROTO_ICMP4);
    at = f.len;
    frame_icmp(&f, v6 ? ICMP6_ECHO : ICMP4_ECHO, 0, 4397, payload);
    memset(f.b + at + 8, 0x5a, payload);
    frame_finish(&f);
    if (v6) {
        struct vfr_sum s = vfr_sum_pseudo(GUEST_IP6, PEER_IP6, PROTO_ICMP6, f.len - at);

        vfr_sum_add(&s, f.b + at, f.len - at);
        put_be16(f.b + at + 2, vfr_sum_finish(s));
    } else {
        put_be16(f.b + at + 2, vfr_checksum(f.b + at, f.len - at));
    }
}

static u32 echo(void)
{
    parse();
    return vfr_reply_echo(&self, &p, f.b, MIN(f.len, VFR_SNAPSHOT), out);
}

static void echoes(void **state)
{
    for (unsigned v6 = 0; v6 < 2; v6++) {
        u32 most = VFR_REPLY_MAX - (v6 ? 62 : 42);

        for (u32 payload = 0; payload <= most; payload++) {
            ping(v6, payload);
            expect_answer(echo());
            assert_int_equal(answer.len, f.len);
            assert_int_equal(answer.icmp_type, v6 ? 129 : 0);
            assert_int_equal(answer.tuple.sport, 4397);
            assert_true(vfr_addr_equal(answer.tuple.src, p.tuple.dst));
            assert_true(vfr_addr_equal(answer.tuple.dst, p.tuple.src));
            assert_memory_equal(out + answer.l4_offset + 4, f.b + answer.l4_offset + 4,
                                payload + 4);
        }
        ping(v6, most + 1000);
        assert_int_equal(echo(), VFR_SNAPSHOT);
        memcpy(f.b, out, VFR_SNAPSHOT); /* as the caller puts it together */
        assert_int_equal(vfr_packet_parse(&answer, f.b, VFR_SNAPSHOT, f.len), VFR_R_OK);
        assert_int_equal(answer.icmp_type, v6 ? 129 : 0);
        assert_int_equal(answer.l3_len, p.l3_len);
        assert_int_equal(sum_of(f.b), 0xffff);
        ping(v6, 8);
        f.b[(v6 ? 54 : 34) + 1] = 1;
        assert_int_equal(echo(), 0);
        ping(v6, 8);
        f.b[v6 ? 54 : 34] = v6 ? 129 : 0;
        assert_int_equal(echo(), 0);
        ping(v6, 8);
        put_mac(f.b, ETH_BROADCAST);
        assert_int_equal(echo(), 0);
    }
    ping(false, 8);
    put_be16(f.b + 20, IP4_MF);
    frame_resum(&f);
    assert_int_equal(echo(), 0);
}

static u32 refuse(bool v6, u8 flags, u32 payload)
{
    if (v6)
        frame_ip6(&f, GUEST_IP6, PEER_IP6, PROTO_TCP);
    else
        frame_ip4(&f, GUEST_IP, PEER_IP, PROTO_TCP);
    put_be32(frame_tcp(&f, 4100, 443, flags, payload) + 8, 0xaabbccdd);
    frame_finish(&f);
    parse();
    return vfr_reply_reset(&self, &p, f.b, out);
}

static void resets(void **state)
{
    for (unsigned v6 = 0; v6 < 2; v6++) {
        u32 l4 = v6 ? 54 : 34;

        expect_answer(refuse(v6, TCP_SYN, 0));
        assert_int_equal(answer.tcp_flags, TCP_RST | TCP_ACK);
        assert_int_equal(get_be32(out + l4 + 4), 0);
        assert_int_equal(get_be32(out + l4 + 8), 0x10203041);
        assert_int_equal(answer.tuple.sport, 443);
        assert_int_equal(answer.tuple.dport, 4100);
        assert_true(vfr_addr_equal(answer.tuple.src, p.tuple.dst));
        assert_true(vfr_addr_equal(answer.tuple.dst, p.tuple.src));
        expect_answer(refuse(v6, TCP_FIN, 7));
        assert_int_equal(get_be32(out + l4 + 8), 0x10203048);
        expect_answer(refuse(v6, TCP_ACK, 7));
        assert_int_equal(answer.tcp_flags, TCP_RST);
        assert_int_equal(get_be32(out + l4 + 4), 0xaabbccdd);
        assert_int_equal(get_be32(out + l4 + 8), 0);
        assert_int_equal(refuse(v6, TCP_RST, 0), 0);
        assert_int_equal(refuse(v6, TCP_RST | TCP_ACK, 0), 0);
    }
    refuse(false, TCP_SYN, 0);
    put_be32(f.b + 30, 0xe0000001);
    frame_resum(&f);
    parse();
    assert_int_equal(vfr_reply_reset(&self, &p, f.b, out), 0);
    udp4(GUEST_IP, PEER_IP, 20);
    parse();
    assert_int_equal(vfr_reply_reset(&self, &p, f.b, out), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, reset, release)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(arp),    TEST(neighbours), TEST(questions), TEST(adverts),
        TEST(errors), TEST(no_errors),  TEST(echoes),    TEST(resets),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
