/*
 * What is said to the router reaches domain 0's daemons, from each interface so often, and what they
 * say comes back. The router's own station on the wire.
 */
#include "frame.h"

#define UDP      17
#define X        IP4(192, 0, 2, 1)
#define WORLD    IP4(198, 51, 100, 7)
#define GUEST(n) IP4(10, 0, 0, n)
#define ROUTER   IP4(169, 254, 0, 1)

enum { RSIP = 4555, DHCP = 67, DHCP_CLIENT = 68 };

static struct front a, up, ctl;
static u8 *page;
static u32 page_ref;

static u32 udp(u8 mac, u32 src, u32 dst, u16 sport, u16 dport)
{
    u32 len = frame_ip4(page, mac, src, dst, UDP, 60);

    frame_udp(page, sport, dport);
    return len;
}

/* Something comes to this one, by this destination address. */
static bool comes(struct front *f, u32 dst)
{
    u8 *got = page;

    return front_take(f, &got) && frame_get32(got + 30) == dst && frame_is_sound(got);
}

static bool nothing(struct front *f)
{
    u8 *got;

    return front_take(f, &got) == 0;
}

static void nobody_there(void)
{
    u64 before = front_drops(&a, VFR_R_NO_ROUTE);

    group("nobody there");
    is(front_send(&a, page_ref, udp(1, GUEST(1), ROUTER, 1000, RSIP), 0), 0, "to the router");
    is(front_drops(&a, VFR_R_NO_ROUTE), before + 1, "is refused");
    ok(nothing(&up), "and not sent on");
    front_drain(&a);
}

static void connected(void)
{
    front_prepare(&ctl, 5, 5);
    ctl.vif.kind = VFR_PUNT;
    ctl.vif.may = VFR_MAY_SERVE_DHCP;
    ctl.vif.prefixes[0].low = 0xffff00000000 | ROUTER;
    ok(front_connect(&ctl, 0), "daemons");
}

static void spoken_to(void)
{
    group("spoken to");
    is(front_send(&a, page_ref, udp(1, GUEST(1), ROUTER, 1000, RSIP), 0), 0, "no buffers");
    is(front_drops(&a, VFR_R_PUNT_FULL), 1, "nothing waits for them");
    front_push_buffers(&ctl, 16);
    is(front_send(&a, page_ref, udp(1, GUEST(1), ROUTER, 1000, RSIP), 0), 0, "with buffers");
    ok(comes(&ctl, ROUTER), "it comes");
    is(front_send(&ctl, page_ref, udp(5, ROUTER, GUEST(1), RSIP, 1000), 0), 0, "an answer");
    ok(comes(&a, GUEST(1)), "comes back");
    is(front_install(VFR_DROP), 0, "rules that let nothing pass");
    is(front_send(&ctl, page_ref, udp(5, ROUTER, GUEST(1), 1, 2), 0), 0, "something unasked");
    ok(comes(&a, GUEST(1)), "comes all the same");
    is(front_send(&ctl, page_ref, udp(5, ROUTER, WORLD, 1, 2), 0), 0, "to the world");
    ok(nothing(&up), "goes nowhere");
    is(front_send(&a, page_ref, udp(1, GUEST(1), ROUTER, 1001, RSIP), 0), 0, "from a guest");
    ok(nothing(&ctl), "too");
    is(front_install(VFR_PASS), 0, "rules that let everything pass");
    is(front_send(&up, page_ref, udp(0, WORLD, ROUTER, 1000, RSIP), 0), 0, "from the wire");
    ok(nothing(&ctl), "nothing comes");
    front_drain(&up);
    front_drain(&a);
}

/* The client's hardware address tells who asks; from a port that is not its own it may ask, too. */
static u32 dhcp(u32 src, u32 dst, u8 mac)
{
    u32 len = udp(1, src, dst, DHCP_CLIENT, DHCP);
    static const u8 head[] = {1, 1, 6};
    u8 *m = page + FRAME_IP4 + 8;

    memcpy(m, head, sizeof(head));
    memset(m + 28, 0, 6);
    m[28] = 2;
    m[33] = mac;
    if (dst == ~0U)
        memset(page, 0xff, 6);
    frame_udp(page, DHCP_CLIENT, DHCP);
    return len;
}

/* To a shared address, which does not tell whom: that the message says. */
static u32 dhcp_answer(u8 mac)
{
    u32 len = frame_ip4(page, 5, ROUTER, X, UDP, 8 + 240);
    u8 *m = page + FRAME_IP4 + 8;

    memset(m, 0, 240);
    m[28] = 2;
    m[33] = mac;
    frame_udp(page, DHCP, DHCP_CLIENT);
    return len;
}

static void dhcp_clients(void)
{
    u64 spoofed = front_drops(&a, VFR_R_SPOOF_MAC);

    group("DHCP");
    is(front_send(&a, page_ref, dhcp(0, ~0U, 1), 0), 0, "from no address to everybody");
    ok(comes(&ctl, ~0U), "comes");
    is(front_send(&a, page_ref, dhcp(X, ROUTER, 1), 0), 0, "from a port that nobody leased");
    ok(comes(&ctl, ROUTER), "comes");
    is(front_send(&a, page_ref, dhcp(0, ~0U, 2), 0), 0, "for another station");
    ok(nothing(&ctl), "does not");
    is(front_drops(&a, VFR_R_SPOOF_MAC), spoofed + 1, "for it is a lie");
    is(front_send(&ctl, page_ref, udp(5, ROUTER, GUEST(1), DHCP, DHCP_CLIENT), 0), 0,
       "an answer");
    ok(comes(&a, GUEST(1)), "comes");
    is(front_send(&ctl, page_ref, dhcp_answer(1), 0), 0, "to its shared address");
    ok(comes(&a, X), "it comes, too");
    is(front_send(&ctl, page_ref, dhcp_answer(2), 0), 0, "to a client that is not there");
    ok(nothing(&a), "it does not");
    is(front_send(&ctl, page_ref, udp(5, ROUTER, X, DHCP, DHCP_CLIENT + 1), 0), 0,
       "to another port");
    ok(nothing(&a), "neither does that");
}

/* Of the 256 at once some are gone already; and time goes by, in which more may come. */
static void too_much(void)
{
    u64 full = front_drops(&a, VFR_R_PUNT_FULL), came = 0;

    group("too much");
    for (unsigned i = 0; i < 5000 && front_drops(&a, VFR_R_PUNT_FULL) == full; i++) {
        front_send(&a, page_ref, udp(1, GUEST(1), ROUTER, 1000, RSIP), 0);
        came += comes(&ctl, ROUTER);
    }
    ok(came > 200 && came < 512, "so much comes at once");
    ok(front_drops(&a, VFR_R_PUNT_FULL) > full, "but not everything");
}

static void on_the_wire(void)
{
    static const u8 station[] = {2, 0, 0, 0, 0, 0x77};
    struct serai_vfr_vif v;
    u32 len;
    u8 *got = page;

    group("on the wire");
    is(front_op(&up.vif, VFR_VIF_DISCONNECT), 0, "another uplink");
    up = (struct front){.sent = 0};
    front_prepare(&up, 3, 0);
    memcpy(up.vif.mac, station, 6);
    ok(front_connect(&up, 8), "with a station of its own");
    is(front_send(&a, page_ref, udp(1, GUEST(1), WORLD, 1000, 7), 0), 0, "to the world");
    ok(front_take(&up, &got) && !memcmp(got + 6, station, 6), "from that station");
    is(got[5], 0xee, "to the next hop");
    v = up.vif;
    v.next_hop[5] = 0xef;
    is(front_op(&v, VFR_VIF_NEXT_HOP), 0, "which is another one now");
    v.vif = a.vif.vif;
    is(front_op(&v, VFR_VIF_NEXT_HOP), -XEN_EINVAL, "uplinks only have one");
    v = up.vif;
    v.next_hop[0] = 1;
    is(front_op(&v, VFR_VIF_NEXT_HOP), -XEN_EINVAL, "of one station");
    is(front_send(&a, page_ref, udp(1, GUEST(1), WORLD, 1000, 7), 0), 0, "once more");
    ok(front_take(&up, &got) && got[5] == 0xef, "goes there");
    len = udp(0, WORLD, GUEST(1), 7, 1000);
    is(front_send(&up, page_ref, len, 0), 0, "an answer to the guests' router");
    ok(nothing(&a), "is for nobody here");
    memcpy(page, station, 6);
    is(front_send(&up, page_ref, len, 0), 0, "to that station");
    ok(comes(&a, GUEST(1)), "comes");
}

/* ARP from the wire to the router's station: 'who' is at 02:00:00:00:00:'last'. */
static u32 arp_answer(u32 who, u32 to, u8 last)
{
    static const u8 head[] = {8, 6, 0, 1, 8, 0, 6, 4, 0, 2};
    static const u8 station[] = {2, 0, 0, 0, 0};

    memset(page, 0, 60);
    memcpy(page, up.vif.mac, 6);
    memcpy(page + 6, station, 5);
    page[11] = last;
    memcpy(page + 12, head, sizeof(head));
    memcpy(page + 22, page + 6, 6);
    frame_put32(page + 28, who);
    memcpy(page + 32, up.vif.mac, 6);
    frame_put32(page + 38, to);
    return 60;
}

static bool is_question(const u8 *got, u32 who, u32 about)
{
    return got[0] == 0xff && got[13] == 6 && got[21] == 1 && !memcmp(got + 22, up.vif.mac, 6) &&
           frame_get32(got + 28) == who && frame_get32(got + 38) == about;
}

/* A packet from a to the station X.99 goes to this one, and nobody is asked for anything more. */
static bool goes_to(u8 last)
{
    u8 *got = page;

    return front_send(&a, page_ref, udp(1, GUEST(1), IP4(192, 0, 2, 99), 1000, 7), 0) == 0 &&
           front_take(&up, &got) && got[13] == 0 && got[5] == last && nothing(&up);
}

static void on_the_link(void)
{
    const u32 there = IP4(192, 0, 2, 99);
    struct serai_vfr_vif v = up.vif, wrong;
    u8 *got = page;

    group("on the link");
    v.next_hop[5] = 0xef;
    v.nr_prefixes = 9;
    is(front_op(&v, VFR_VIF_NEXT_HOP), -XEN_EINVAL, "nine networks");
    v.nr_prefixes = 1;
    v.prefixes[0].low = 0xffff00000000 | IP4(192, 0, 2, 1);
    v.prefixes[0].length = 96 + 24;
    is(front_op(&v, VFR_VIF_NEXT_HOP), -XEN_EINVAL, "bits behind a prefix");
    v.prefixes[0].low = 0xffff00000000 | IP4(192, 0, 2, 0);
    is(front_op(&v, VFR_VIF_NEXT_HOP), 0, "a network");
    wrong = v;
    wrong.next_hop[5] = 0xee;
    wrong.nr_prefixes = 2;
    wrong.prefixes[0].low = 0xffff00000000 | IP4(198, 51, 100, 0);
    wrong.prefixes[1].length = 200;
    is(front_op(&wrong, VFR_VIF_NEXT_HOP), -XEN_EINVAL, "one of two is wrong: nothing changes");
    is(front_send(&a, page_ref, udp(1, GUEST(1), there, 1000, 7), 0), 0, "to a station there");
    ok(front_take(&up, &got) && is_question(got, GUEST(1), there), "which is asked for");
    ok(front_take(&up, &got) && got[5] == 0xef, "meanwhile it goes to the gateway");
    ok(goes_to(0xef), "and the next one");
    is(front_send(&up, page_ref, arp_answer(IP4(192, 0, 2, 98), GUEST(1), 0x98), 0), 0,
       "another one says where it is");
    ok(goes_to(0xef), "which does not matter");
    is(front_send(&up, page_ref, arp_answer(there, GUEST(1), 0x99), 0), 0, "it answers");
    ok(goes_to(0x99), "packets go there");
    ok(goes_to(0x99), "and the next one");
    is(front_send(&a, page_ref, udp(1, GUEST(1), WORLD, 1000, 7), 0), 0, "to the world");
    ok(front_take(&up, &got) && got[5] == 0xef && nothing(&up), "as before");
    v.nr_prefixes = 0;
    is(front_op(&v, VFR_VIF_NEXT_HOP), 0, "no network");
    ok(goes_to(0xef), "all go to the gateway");
}

void test_vif_daemons(void)
{
    page = front_begin(&page_ref);
    is(front_install(VFR_PASS), 0, "rules that let everything pass");
    front_prepare(&a, 1, 1);
    front_prepare(&up, 3, 0);
    front_add_shared(&a, X);
    front_connect(&a, 16);
    front_connect(&up, 16);
    is(front_share(X), 0, "an address is shared");
    nobody_there();
    connected();
    spoken_to();
    dhcp_clients();
    too_much();
    on_the_wire();
    on_the_link();
}
