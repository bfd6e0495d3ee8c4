/*
 * Addresses that two interfaces share, beyond ports: pings and their answers, errors about them, ESP.
 * What the router says of itself: errors on both sides, pings, neighbours, routers.
 */
#include "frame.h"

#define ICMP     1
#define UDP      17
#define ESP      50
#define X        IP4(192, 0, 2, 1)
#define PEER     IP4(198, 51, 100, 7)
#define GUEST(n) IP4(10, 0, 0, n)
#define ROUTER   IP4(169, 254, 0, 1)

enum { ECHO_REPLY = 0, UNREACHABLE = 3, ECHO = 8, TIME_EXCEEDED = 11 };
enum {
    ND_SOLICIT = 135,
    ND_ADVERT = 136,
    RA_SOLICIT = 133,
    RA_ADVERT = 134,
    RA_REDIRECT = 137
};

static struct front a, b, up;
static u8 *page;
static u32 page_ref;

/* Sent, and not dropped for a reason but this. */
static bool is_dropped(struct front *f, u32 len, enum vfr_reason why)
{
    u64 before = front_drops(f, why);

    return front_send(f, page_ref, len, 0) == 0 && front_drops(f, why) == before + 1;
}

static u32 echo(u8 mac, u32 src, u32 dst, u8 type, u16 id)
{
    u32 len = frame_ip4(page, mac, src, dst, ICMP, 40);

    frame_echo(page, type, id);
    return len;
}

static u32 udp(u8 mac, u32 src, u32 dst, u16 sport, u16 dport)
{
    u32 len = frame_ip4(page, mac, src, dst, UDP, 40);

    frame_udp(page, sport, dport);
    frame_piece4(page, 1, IP4_DF);
    return len;
}

/* An error of this type that quotes a packet of 'proto' with these ends and ports. */
static u32 error(u8 mac, u32 from, u32 src, u32 dst, u8 proto, u32 ports)
{
    u32 len = frame_ip4(page, mac, from, src, ICMP, 8 + 28);
    u8 *m = page + FRAME_IP4;

    memset(m, 0, 36);
    m[0] = UNREACHABLE;
    m[1] = 4;
    frame_put16(m + 6, 1400);
    m[8] = 0x45;
    frame_put16(m + 10, 1500);
    m[17] = proto;
    frame_put32(m + 20, src);
    frame_put32(m + 24, dst);
    if (proto == ICMP) {
        m[28] = ECHO;
        frame_put16(m + 32, ports);
    } else {
        frame_put32(m + 28, ports);
    }
    frame_sum_icmp4(page);
    return len;
}

static bool comes(struct front *f, u8 type)
{
    u8 *got = page;
    u32 len = front_take(f, &got);

    return len && got[23] == ICMP && got[FRAME_IP4] == type && frame_is_sound(got);
}

static bool nothing(struct front *f)
{
    return !front_drain(f);
}

static void pings(void)
{
    group("pings from a shared address");
    is(front_send(&a, page_ref, echo(1, X, PEER, ECHO, 9000), 0), 0,
       "a asks, by any identifier");
    ok(comes(&up, ECHO), "which goes out");
    is(front_send(&up, page_ref, echo(0, PEER, X, ECHO_REPLY, 9000), 0), 0, "an answer");
    ok(comes(&a, ECHO_REPLY) && nothing(&b), "comes to a");
    ok(is_dropped(&b, echo(2, X, PEER, ECHO, 9000), VFR_R_ICMP_ID_BUSY), "b with the same one");
    is(front_send(&b, page_ref, echo(2, X, PEER, ECHO, 9001), 0), 0, "b with another");
    ok(comes(&up, ECHO), "goes out");
    is(front_send(&b, page_ref, echo(2, X, PEER + 1, ECHO, 9000), 0), 0, "or to somebody else");
    ok(comes(&up, ECHO), "too");
    is(front_send(&up, page_ref, echo(0, PEER, X, ECHO_REPLY, 9001), 0), 0, "an answer");
    ok(comes(&b, ECHO_REPLY) && nothing(&a), "comes to b");
    ok(is_dropped(&up, echo(0, PEER, X, ECHO_REPLY, 5000), VFR_R_ICMP_UNSOLICITED),
       "one that nobody asked for, though by its identifier it were a's");
    ok(is_dropped(&a, echo(1, X, PEER, ECHO_REPLY, 4100), VFR_R_ICMP_UNSOLICITED),
       "an answer of a's, who cannot have been asked");
    is(front_send(&up, page_ref, error(0, PEER + 9, X, PEER, ICMP, 9000), 0), 0,
       "an error about a's question");
    ok(comes(&a, UNREACHABLE) && nothing(&b), "comes to a");
    is(front_send(&up, page_ref, echo(0, PEER, X, ECHO, 77), 0), 0, "the wire asks");
    ok(comes(&up, ECHO_REPLY) && nothing(&a) && nothing(&b), "the router answers");
    is(front_send(&b, page_ref, echo(2, GUEST(2), X, ECHO, 77), 0), 0, "so does b");
    ok(comes(&b, ECHO_REPLY) && nothing(&a), "it answers");
}

/* More than was judged of it. */
static void long_pings(void)
{
    u8 *got = page;
    u32 len;

    group("long pings");
    for (u32 data = 200; data <= 3200; data += 1000) {
        len = frame_ip4(page, 1, GUEST(1), ROUTER, ICMP, data);
        frame_echo(page, ECHO, 5);
        is(front_send(&a, page_ref, len, 0), 0, "a asks the router, %u bytes", len);
        is(front_take(&a, &got), len, "all of it comes back");
        ok(got[FRAME_IP4] == ECHO_REPLY && frame_is_sound(got), "as an answer");
        ok(!memcmp(got + FRAME_IP4 + 4, page + FRAME_IP4 + 4, data - 4), "word for word");
    }
}

static void errors(void)
{
    const u32 ports = 4100U << 16 | 53;

    group("errors about what a shared address sent");
    is(front_send(&a, page_ref, udp(1, X, PEER, 4100, 53), 0), 0, "a datagram of a's");
    is(front_drain(&up), 1, "goes out");
    is(front_send(&up, page_ref, error(0, PEER + 9, X, PEER, UDP, ports), 0), 0,
       "it was too big for somebody");
    ok(comes(&a, UNREACHABLE) && nothing(&b), "a is told");
    ok(is_dropped(&up, error(0, PEER, X, PEER, UDP, ports + 1), VFR_R_ICMP_UNSOLICITED),
       "one about a datagram that was none");
    ok(is_dropped(&up, error(0, PEER, X, PEER, UDP, 15000U << 16 | 53), VFR_R_NO_OWNER),
       "or about a port of nobody");
    ok(is_dropped(&up, error(0, PEER, X, GUEST(2), UDP, ports), VFR_R_ICMP_UNSOLICITED),
       "or from the wire about what stayed in the house");
    ok(is_dropped(&b, error(2, GUEST(2), X, PEER, UDP, ports), VFR_R_SPOOF_IP4),
       "or from b about what was not for it");
    is(front_send(&a, page_ref, udp(1, GUEST(1), X, 7, 8200), 0), 0, "a datagram to b's port");
    is(front_drain(&b), 1, "comes to b");
    is(front_send(&b, page_ref, error(2, X, GUEST(1), X, UDP, 7U << 16 | 8200), 0), 0,
       "b's error about it");
    ok(comes(&a, UNREACHABLE), "comes to a");
    ok(is_dropped(&a, error(1, X, GUEST(2), X, UDP, 7U << 16 | 8200), VFR_R_RSIP_PORT),
       "a may not complain about b's port");
    is(front_send(&a, page_ref, udp(1, X, X, 4100, 8200), 0), 0, "from sharer to sharer");
    is(front_drain(&b), 1, "it comes");
    is(front_send(&b, page_ref, error(2, X, X, X, UDP, 4100U << 16 | 8200), 0), 0, "an error");
    ok(comes(&a, UNREACHABLE) && nothing(&b), "comes back");
}

static u32 esp(u8 mac, u32 src, u32 dst, u32 spi)
{
    u32 len = frame_ip4(page, mac, src, dst, ESP, 40);

    frame_put32(page + FRAME_IP4, spi);
    return len;
}

static void tunnels(void)
{
    group("ESP of a shared address");
    ok(is_dropped(&a, esp(1, X, PEER, 0x12345678), VFR_R_RSIP_PORT), "without a lease: no");
    is(front_lease(X, &a, 0x1111, 0, VFR_PC_BIT(VFR_PC_SPI)), 0, "a gets SPIs");
    is(front_send(&a, page_ref, esp(1, X, PEER, 0x12345678), 0), 0, "then it may");
    is(front_drain(&up), 1, "send");
    is(front_send(&up, page_ref, esp(0, PEER, X, 0x11110001), 0), 0, "one with an SPI of a's");
    is(front_drain(&a), 1, "comes to a");
    ok(is_dropped(&up, esp(0, PEER, X, 0x22220001), VFR_R_NO_OWNER),
       "one with nobody's does not");
    ok(is_dropped(&b, esp(2, X, PEER, 0x11110001), VFR_R_RSIP_PORT), "b has none");
    ok(is_dropped(&b, frame_ip4(page, 2, X, PEER, 47, 40), VFR_R_RSIP_PORT),
       "nor is GRE anybody's");
    ok(comes(&b, UNREACHABLE), "b is told so");
    front_drain(&b);
}

static void outside(void)
{
    u8 *got = page;
    u64 n = 0;

    group("errors on the wire");
    udp(0, PEER, GUEST(1), 53, 7);
    page[22] = 1;
    frame_sum_ip4(page);
    is(front_send(&up, page_ref, FRAME_IP4 + 40, 0), 0,
       "a datagram that has lived long enough");
    front_take(&up, &got);
    ok(got[23] == ICMP && got[FRAME_IP4] == TIME_EXCEEDED && frame_is_sound(got), "is told so");
    is(frame_get32(got + 26), GUEST(1), "in the name of whom it was for");
    for (unsigned i = 0; i < 300; i++) {
        front_send(&up, page_ref, FRAME_IP4 + 40, 0);
        n += front_drain(&up);
    }
    ok(n >= 90 && n < 290, "but not without end: %lu of 300", n);
    is(front_drops(&up, VFR_R_TTL), 301, "all of them are dropped");
}

static void too_big(void)
{
    u32 len = frame_ip4(page, 1, GUEST(1), PEER, UDP, 1500);
    u8 *got = page;

    group("too big");
    frame_udp(page, 7, 53);
    frame_piece4(page, 1, IP4_DF);
    is(front_send(&a, page_ref, len, 0), 0, "more than the wire takes");
    front_take(&a, &got);
    ok(got[FRAME_IP4] == UNREACHABLE && got[FRAME_IP4 + 1] == 4 && frame_is_sound(got),
       "is told");
    is(frame_get16(got + FRAME_IP4 + 6), 1500, "how much that is");
    is(frame_get32(got + 26), ROUTER, "by the router");
    len = frame_ip6(page, 1, 1, 2, UDP, 1480);
    frame_udp(page, 7, 53);
    is(front_send(&a, page_ref, len, 0), 0, "with IPv6");
    front_take(&a, &got);
    ok(got[20] == 58 && got[FRAME_IP6] == 2 && frame_is_sound(got), "too");
    is(frame_get32(got + FRAME_IP6 + 4), 1500, "how much that is");
}

/* A neighbour discovery message from a's link-local address; fe80::2 is its own, of 02:00:... */
static u32 nd(u8 type, const u8 *target)
{
    static const u8 own[] = {0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xfe, 0, 0, 1};
    u32 body = type == RA_SOLICIT ? 8 : 24, len = frame_ip6(page, 1, 0, 0, 58, body + 8);
    u8 *m = page + FRAME_IP6;

    page[21] = 255;
    memcpy(page + 22, own, 16);
    memset(page + 38, 0, 16);
    page[38] = 0xff;
    page[39] = 2;
    page[53] = type == RA_SOLICIT ? 2 : 1;
    memset(m, 0, body + 8);
    m[0] = type;
    if (target)
        memcpy(m + 8, target, 16);
    m[body] = 1;
    m[body + 1] = 1;
    m[body + 2] = 2;
    m[body + 7] = 1;
    frame_put16(m + 2, frame_l4_sum(page));
    page[0] = page[1] = 0x33;
    return len;
}

static void neighbours(void)
{
    static const u8 router[16] = {0xfe, 0x80, 0,    0,    0,    0,    0,    0,
                                  0,    0x53, 0x45, 0xff, 0xfe, 0x52, 0x41, 0x49};
    static const u8 other[16] = {0xfd, [15] = 2};
    u8 *got = page;

    group("neighbours and routers");
    is(front_send(&a, page_ref, nd(ND_SOLICIT, router), 0), 0, "who has the router's address?");
    front_take(&a, &got);
    ok(got[FRAME_IP6] == ND_ADVERT && frame_is_sound(got), "the router");
    is(got[FRAME_IP6 + 4], 0xe0, "which says that it is one");
    is(front_send(&a, page_ref, nd(ND_SOLICIT, other), 0), 0, "who has b's?");
    ok(nothing(&a) && nothing(&b), "nobody here");
    is(front_send(&a, page_ref, nd(RA_SOLICIT, NULL), 0), 0, "is there a router?");
    front_take(&a, &got);
    ok(got[FRAME_IP6] == RA_ADVERT && frame_is_sound(got), "there is");
    is(got[FRAME_IP6 + 5], 0x80, "and addresses are to be asked for");
    is(front_send(&b, page_ref, nd(RA_SOLICIT, NULL), 0), 0, "in another's name");
    ok(nothing(&b), "there is none");
    ok(is_dropped(&a, nd(RA_ADVERT, NULL), VFR_R_SPOOF_RA), "a is no router");
    ok(is_dropped(&a, nd(RA_REDIRECT, NULL), VFR_R_SPOOF_RA), "and redirects nobody");
}

/* The first interfaces' turn comes at once, and in seven minutes again. */
static void unasked(void)
{
    u8 *got = page;

    group("unasked");
    front_pass_time(300000000);
    for (unsigned i = 0; i < 2; i++) {
        front_take(i ? &b : &a, &got);
        ok(got[FRAME_IP6] == RA_ADVERT && frame_is_sound(got), "there is a router");
        ok(got[0] == 0x33 && got[38] == 0xff && got[39] == 2 && got[53] == 1, "all are told");
        ok(nothing(i ? &b : &a), "once");
    }
    ok(nothing(&up), "but not the wire");
}

void test_vif_shared(void)
{
    page = front_begin(&page_ref);
    is(front_install(VFR_PASS), 0, "rules that let everything pass");
    front_prepare(&a, 1, 1);
    front_prepare(&b, 2, 2);
    front_prepare(&up, 3, 0);
    for (unsigned i = 0; i < 2; i++) {
        front_add_ip6(i ? &b : &a, (u8)(i + 1));
        front_add_shared(i ? &b : &a, X);
    }
    a.vif.ra = VFR_RA_MANAGED;
    front_connect(&a, 16);
    front_connect(&b, 16);
    front_connect(&up, 16);
    unasked();
    is(front_share(X), 0, "an address is shared");
    is(front_lease(X, &a, 4096, 12, VFR_PC_BLOCK), 0, "a has ports");
    is(front_lease(X, &b, 8192, 12, VFR_PC_BLOCK), 0, "b has others");
    pings();
    long_pings();
    errors();
    tunnels();
    too_big();
    neighbours();
    outside();
}
