/*
 * Switched interfaces: stations of one segment reach each other as they are on one Ethernet, but say
 * nothing in another's name, and frames are for whom they are for. Whatever is sent is explained first,
 * and explanation and deed must agree.
 */
#include "abi/vfr_explain.h"
#include "frame.h"

#define UDP      17
#define ICMP6    58
#define GUEST(n) IP4(10, 0, 0, n)
#define WORLD    IP4(198, 51, 100, 7)
#define ROUTER   IP4(169, 254, 0, 1)
#define EVERYONE IP4(255, 255, 255, 255)
#define ALL      0xff /* instead of a station */
#define NOBODY   0x77 /* no station has that */

enum { ND_SOLICIT = 135, ND_ADVERT = 136 };

/* Three in a segment with an uplink, one in another, one routed. */
static struct front a, b, c, d, r, up;
static u8 *page;
static u32 page_ref;

static void prepare(struct front *f, u8 n, const char *segment)
{
    front_prepare(f, n, n);
    front_add_ip6(f, n);
    f->vif.kind = VFR_SWITCHED;
    for (unsigned i = 0; segment[i]; i++)
        f->vif.segment[i] = (u8)segment[i];
}

/* ---- frames ---- */

static void station(u8 *at, u8 n)
{
    static const u8 router[] = {FRONT_ROUTER};

    memset(at, n == ALL ? 0xff : 0, 6);
    if (n == ALL)
        return;
    at[0] = 2;
    at[5] = n;
    if (!n)
        memcpy(at, router, sizeof(router));
}

/* From and to stations, 0: the router. */
static u32 udp(u8 from, u8 to, u32 src, u32 dst)
{
    u32 len = frame_ip4(page, from, src, dst, UDP, 40);

    frame_udp(page, 7000, 9000);
    station(page, to);
    return len;
}

static u32 arp(u8 from, u8 to, u8 op, u32 sender, u32 target)
{
    memset(page, 0, 60);
    station(page, to);
    station(page + 6, from);
    frame_put16(page + 12, 0x806);
    frame_put32(page + 14, 0x00010800);
    frame_put32(page + 18, 0x06040000 | op);
    memcpy(page + 22, page + 6, 6);
    frame_put32(page + 28, sender);
    frame_put32(page + 38, target);
    return 60;
}

static void link_local(u8 *at, u8 n)
{
    memset(at, 0, 16);
    at[0] = 0xfe;
    at[1] = 0x80;
    at[11] = 0xff;
    at[12] = 0xfe;
    at[15] = n;
}

/* A station asks its neighbours for an address, which is at 'page' + FRAME_IP6 + 8. */
static u32 solicit(u8 from, const u8 *target)
{
    u32 len = frame_ip6(page, from, from, 0, ICMP6, 32);
    u8 *m = page + FRAME_IP6;

    page[0] = page[1] = 0x33;
    page[21] = 255;
    memset(page + 38, 0, 16);
    page[38] = 0xff;
    page[39] = 2;
    page[53] = 1;
    memset(m, 0, 32);
    m[0] = ND_SOLICIT;
    memcpy(m + 8, target, 16);
    m[24] = m[25] = 1;
    station(m + 26, from);
    frame_put16(m + 2, frame_l4_sum(page));
    return len;
}

/* ---- what becomes of them ---- */

static struct serai_vfr_explain told;

static void explain(struct front *f, u32 len)
{
    told = (struct serai_vfr_explain){
        .op = VFR_EXPLAIN_PACKET, .vif = f->vif.vif, .have = (u16)len, .len = len};
    memcpy(told.head, page, len);
    if (HC(arch_7, SERAI_OP_VFR_EXPLAIN, &told, 0, 0, 0))
        told.reason = VFR_REASON_COUNT;
}

/* The reason that the frame was counted under. */
static u32 sent(struct front *f, u32 len)
{
    static struct serai_vfr_vif before, after;
    u32 why = VFR_R_OK;

    explain(f, len);
    before.vif = after.vif = f->vif.vif;
    front_op(&before, VFR_VIF_READ);
    is(front_send(f, page_ref, len, 0), 0, "sent");
    front_op(&after, VFR_VIF_READ);
    for (u32 i = 0; i < VFR_REASON_COUNT; i++)
        if (after.drops[i] != before.drops[i])
            why = i;
    is(told.reason, why, "as it is explained");
    return why;
}

/* Each gets what was sent, byte for byte, or nothing. */
static bool gets(struct front *f, u32 len)
{
    u8 *got = page;
    u32 n = front_take(f, &got);

    return n == len && !memcmp(got, page, len);
}

static bool nothing(struct front *f)
{
    return !front_drain(f);
}

static bool only(struct front *f, u32 len)
{
    struct front *const all[] = {&a, &b, &c, &d, &r, &up};
    bool good = gets(f, len);

    for (unsigned i = 0; i < 6; i++)
        good &= nothing(all[i]);
    return good;
}

static bool nobody(void)
{
    return nothing(&a) && nothing(&b) && nothing(&c) && nothing(&d) && nothing(&r) &&
           nothing(&up);
}

/* ---- tests ---- */

static void joining(void)
{
    struct front *f = &d;

    group("joining");
    prepare(f, 9, "lab");
    f->vif.segment[0] = 0;
    is(front_op(&f->vif, VFR_VIF_CONNECT), -XEN_EINVAL, "a segment without a name");
    memset(f->vif.segment, 'x', sizeof(f->vif.segment));
    is(front_op(&f->vif, VFR_VIF_CONNECT), -XEN_EINVAL, "a name without end");
    prepare(f, 9, "l ab");
    is(front_op(&f->vif, VFR_VIF_CONNECT), -XEN_EINVAL, "a space in the name");
    prepare(f, 9, "lab");
    f->vif.segment[5] = 'x';
    is(front_op(&f->vif, VFR_VIF_CONNECT), -XEN_EINVAL, "something behind the name");
    prepare(f, 9, "lab");
    f->vif.kind = VFR_ROUTED;
    is(front_op(&f->vif, VFR_VIF_CONNECT), -XEN_EINVAL, "a routed one is in no segment");
    prepare(f, 9, "lab");
    front_add_shared(f, IP4(192, 0, 2, 1));
    is(front_op(&f->vif, VFR_VIF_CONNECT), -XEN_EINVAL, "a shared address");
    prepare(f, 9, "lab");
    station(f->vif.mac, 0);
    is(front_op(&f->vif, VFR_VIF_CONNECT), -XEN_EINVAL, "the router's Ethernet address");
    prepare(f, 9, "other");
    station(f->vif.mac, 1);
    is(front_op(&f->vif, VFR_VIF_CONNECT), -XEN_EEXIST, "a's, even elsewhere");
    prepare(f, 4, "other");
    ok(front_connect(f, 16), "one of its own");
    is(front_share(IP4(192, 0, 2, 1)), 0, "an address is shared");
    is(front_lease(IP4(192, 0, 2, 1), &a, 4096, 12, VFR_PC_BLOCK), -XEN_EINVAL,
       "no ports of it for a");
}

static void between(void)
{
    u32 len;

    group("station to station");
    is(sent(&a, len = udp(1, 2, GUEST(1), GUEST(2))), VFR_R_OK, "a to b");
    is(told.to, b.vif.vif, "it is told where");
    ok(only(&b, len), "nothing of the frame has changed");
    page[22] = 1;
    frame_sum_ip4(page);
    is(sent(&a, len), VFR_R_OK, "with a hop left");
    ok(only(&b, len), "which is none");
    is(sent(&b, len = udp(2, 1, GUEST(2), GUEST(1))), VFR_R_OK, "b to a");
    ok(only(&a, len), "it comes");
    is(sent(&a, udp(1, 2, GUEST(1), GUEST(3))), VFR_R_NO_ROUTE, "c's address, b's station");
    is(sent(&a, udp(1, 4, GUEST(1), GUEST(4))), VFR_R_NO_ROUTE, "a station elsewhere");
    is(sent(&d, udp(4, 1, GUEST(4), GUEST(1))), VFR_R_NO_ROUTE, "and from there");
    is(sent(&d, udp(4, NOBODY, GUEST(4), WORLD)), VFR_R_NO_ROUTE, "nobody's, without a wire");
    is(sent(&a, udp(1, NOBODY, GUEST(1), GUEST(2))), VFR_R_NO_ROUTE, "b's address on the wire");
    ok(nobody(), "nobody sees any of these");
    is(sent(&a, len = udp(1, NOBODY, GUEST(1), WORLD)), VFR_R_OK, "the world, by its station");
    ok(only(&up, len), "is on the wire");
}

static void liars(void)
{
    u32 len;

    group("liars");
    is(sent(&a, udp(3, 2, GUEST(1), GUEST(2))), VFR_R_SPOOF_MAC, "c's station");
    is(sent(&a, udp(1, 2, GUEST(3), GUEST(2))), VFR_R_SPOOF_IP4, "c's address");
    len = frame_ip6(page, 1, 3, 2, UDP, 40);
    frame_udp(page, 7, 9);
    station(page, 2);
    is(sent(&a, len), VFR_R_SPOOF_IP6, "c's of IPv6");
    is(sent(&a, arp(1, 2, 2, GUEST(3), GUEST(2))), VFR_R_SPOOF_ARP, "ARP: c is here");
    is(sent(&a, arp(1, ALL, 1, GUEST(3), GUEST(3))), VFR_R_SPOOF_ARP, "to all");
    len = arp(1, 2, 2, GUEST(1), GUEST(2));
    page[27] = 3;
    is(sent(&a, len), VFR_R_SPOOF_ARP, "a is at c's station");
    len = udp(1, ALL, GUEST(1), EVERYONE);
    frame_put16(page + FRAME_IP4, 67);
    frame_put16(page + FRAME_IP4 + 2, 68);
    is(sent(&a, len), VFR_R_SPOOF_DHCP, "a serves no DHCP");
    ok(nobody(), "nobody sees any of these");
}

static void asking(void)
{
    u8 *got = page;
    u32 len;

    group("ARP");
    is(sent(&a, len = arp(1, ALL, 1, GUEST(1), GUEST(2))), VFR_R_OK, "who has b's?");
    ok(only(&b, len), "b alone is asked");
    is(sent(&b, len = arp(2, 1, 2, GUEST(2), GUEST(1))), VFR_R_OK, "b answers");
    ok(only(&a, len), "a alone");
    is(sent(&a, len = arp(1, ALL, 1, GUEST(1), GUEST(99))), VFR_R_OK, "who has nobody's?");
    ok(only(&up, len), "perhaps somebody on the wire");
    is(sent(&d, arp(4, ALL, 1, GUEST(4), GUEST(99))), VFR_R_CONSUMED, "without a wire");
    ok(nobody(), "nobody");
    is(sent(&a, arp(1, ALL, 1, GUEST(1), ROUTER)), VFR_R_CONSUMED, "who has the router's?");
    ok(front_take(&a, &got) && got[21] == 2 && nobody(), "the router");
    is(sent(&a, arp(1, ALL, 1, GUEST(1), GUEST(5))), VFR_R_CONSUMED, "who has a routed one?");
    ok(front_take(&a, &got) && frame_get32(got + 28) == GUEST(5) && nobody(), "the router");
    is(sent(&a, len = arp(1, ALL, 1, 0, GUEST(1))), VFR_R_OK, "is a's in use?");
    ok(only(&up, len), "on the wire, perhaps");
    is(sent(&a, len = arp(1, ALL, 1, GUEST(1), GUEST(1))), VFR_R_SPREAD, "a is here");
    ok(gets(&b, len) && gets(&c, len) && only(&up, len), "its neighbours hear");
}

static void soliciting(void)
{
    u8 target[16] = {0xfd, [15] = 2};
    u32 len;

    group("neighbour discovery");
    is(sent(&a, len = solicit(1, target)), VFR_R_OK, "who has b's?");
    ok(only(&b, len), "b alone is asked");
    link_local(target, 3);
    is(sent(&a, len = solicit(1, target)), VFR_R_OK, "who has c's link-local one?");
    ok(only(&c, len), "c alone");
    target[15] = 99;
    is(sent(&a, len = solicit(1, target)), VFR_R_OK, "who has nobody's?");
    ok(only(&up, len), "perhaps somebody on the wire");
    target[15] = 4;
    is(sent(&a, solicit(1, target)), VFR_R_CONSUMED, "who has d's, of another segment?");
    ok(nobody(), "that means nothing here");
    len = frame_ip6(page, 1, 1, 3, UDP, 40);
    link_local(page + 22, 1);
    link_local(page + 38, 3);
    frame_udp(page, 7, 9);
    station(page, 3);
    is(sent(&a, len), VFR_R_OK, "a to c, by link-local addresses");
    ok(only(&c, len), "it comes");
    station(page, 0);
    is(sent(&a, len), VFR_R_NO_ROUTE, "the router does not forward it");
}

static void to_all(void)
{
    u32 len = udp(1, ALL, GUEST(1), EVERYONE), limited = 0, copies = 0;

    group("to several");
    is(sent(&a, len), VFR_R_SPREAD, "a to everybody");
    ok(gets(&b, len) && gets(&c, len) && only(&up, len), "in its segment");
    len = udp(1, ALL, GUEST(1), GUEST(2));
    is(sent(&a, len), VFR_R_NO_ROUTE, "one's packet to all stations");
    len = udp(1, ALL, GUEST(1), EVERYONE);
    frame_piece4(page, 1, IP4_MF);
    is(sent(&a, len), VFR_R_FRAG_LIMIT, "a piece");
    ok(nobody(), "nobody sees these");
    is(front_install(VFR_DROP), 0, "rules that let nothing pass");
    is(sent(&a, udp(1, ALL, GUEST(1), EVERYONE)), VFR_R_RULE, "a to everybody");
    is(sent(&a, udp(1, 2, GUEST(1), GUEST(2))), VFR_R_RULE, "and in a flow that there was");
    ok(nobody(), "nobody sees it");
    is(sent(&a, len = arp(1, ALL, 1, GUEST(1), GUEST(2))), VFR_R_OK, "ARP needs no rule");
    ok(only(&b, len), "b is asked");
    is(front_install(VFR_PASS), 0, "all may pass");
    len = udp(1, ALL, GUEST(1), EVERYONE);
    for (u32 i = 0; i < 300; i++) {
        front_send(&a, page_ref, len, 0);
        copies += front_drain(&b) + front_drain(&c) + front_drain(&up);
    }
    limited = (u32)front_drops(&a, VFR_R_RATE);
    ok(limited && copies == 3 * (300 - limited), "not without end: %u of 300", 300 - limited);
}

static void wire(void)
{
    u8 *got = page;
    u32 len;

    group("the wire");
    is(sent(&up, len = udp(NOBODY, 1, WORLD, GUEST(1))), VFR_R_OK, "to a's station");
    ok(only(&a, len), "as it is");
    is(sent(&up, udp(NOBODY, 0, WORLD, GUEST(5))), VFR_R_OK, "to a routed one, by the router");
    ok(front_take(&r, &got) && got[22] == 63 && nobody(), "a hop less");
    is(sent(&up, udp(NOBODY, 0x78, WORLD, GUEST(1))), VFR_R_NO_ROUTE, "an unknown station");
    is(sent(&up, udp(2, 1, WORLD, GUEST(1))), VFR_R_SPOOF_MAC, "from b's station");
    is(sent(&up, udp(NOBODY, 1, GUEST(2), GUEST(1))), VFR_R_SPOOF_IP4, "b's address");
    is(sent(&up, arp(NOBODY, 1, 2, GUEST(2), GUEST(1))), VFR_R_SPOOF_ARP, "ARP: b is here");
    is(sent(&up, arp(NOBODY, ALL, 1, GUEST(2), GUEST(2))), VFR_R_SPOOF_ARP, "to all");
    ok(nobody(), "nobody sees any of these");
    is(sent(&up, len = arp(NOBODY, ALL, 1, WORLD, GUEST(2))), VFR_R_OK, "who has b's?");
    ok(only(&b, len), "b alone is asked");
    is(sent(&up, arp(NOBODY, ALL, 1, WORLD, GUEST(5))), VFR_R_CONSUMED, "a routed one's?");
    ok(front_take(&up, &got) && got[21] == 2 && nobody(), "the router answers");
    is(sent(&up, arp(NOBODY, ALL, 1, WORLD, GUEST(4))), VFR_R_CONSUMED, "d's?");
    ok(front_take(&up, &got) && got[21] == 2 && nobody(), "too");
    is(sent(&up, arp(NOBODY, ALL, 1, WORLD, GUEST(99))), VFR_R_CONSUMED, "nobody's?");
    ok(nobody(), "nobody");
    is(sent(&up, len = arp(NOBODY, ALL, 1, WORLD, WORLD)), VFR_R_SPREAD, "somebody is here");
    ok(gets(&a, len) && gets(&b, len) && only(&c, len), "all of the segment hear");
}

static void beyond(void)
{
    u8 *got = page;

    group("beyond the segment");
    is(sent(&a, udp(1, 0, GUEST(1), GUEST(5))), VFR_R_OK, "a to a routed one, by the router");
    ok(front_take(&r, &got) && got[5] == 5 && got[11] == 0x49 && nobody(),
       "it comes from there");
    is(sent(&r, udp(5, 0, GUEST(5), GUEST(1))), VFR_R_OK, "and back");
    ok(front_take(&a, &got) && got[5] == 1 && got[11] == 0x49 && nobody(), "likewise");
    is(sent(&a, udp(1, 0, GUEST(1), GUEST(4))), VFR_R_OK, "to another segment's");
    ok(front_take(&d, &got) && nobody(), "it comes");
}

/* IPv6 has its own next hop, if one was told. */
static void next_hops(void)
{
    struct serai_vfr_vif v = {.vif = up.vif.vif,
                              .next_hop = {2, 0, 0, 0, 0, 0xa1},
                              .next_hop6 = {2, 0, 0, 0, 0, 0xa2}};
    u8 *got = page;
    u32 len;

    group("next hops");
    for (unsigned i = 0; i < 2; i++) {
        len = frame_ip6(page, 5, 5, 99, UDP, 40);
        frame_udp(page, 7, 9);
        is(sent(&r, len), VFR_R_OK, "a routed one's, to the world");
        ok(front_take(&up, &got) && got[5] == (i ? 0xa2 : 0xee) && got[21] == 63, "by its hop");
        is(sent(&r, udp(5, 0, GUEST(5), WORLD)), VFR_R_OK, "and by IPv4");
        ok(front_take(&up, &got) && got[5] == (i ? 0xa1 : 0xee) && nobody(), "by that one's");
        is(front_op(&v, VFR_VIF_NEXT_HOP), 0, "others");
    }
    v.next_hop6[0] = 3;
    is(front_op(&v, VFR_VIF_NEXT_HOP), -XEN_EINVAL, "a group is no hop");
}

static void leaving(void)
{
    u32 len;

    group("leaving");
    is(front_op(&b.vif, VFR_VIF_DISCONNECT), 0, "b goes");
    is(sent(&a, len = udp(1, 2, GUEST(1), GUEST(2))), VFR_R_OK, "it may be on the wire now");
    ok(only(&up, len), "and nowhere else");
    is(sent(&c, len = udp(3, ALL, GUEST(3), EVERYONE)), VFR_R_SPREAD, "the others");
    ok(gets(&a, len) && only(&up, len), "still hear each other");
}

void test_vif_switch(void)
{
    gnt_init(8);
    page = page_alloc();
    page_ref = front_grant(page, GTF_readonly);
    is(front_install(VFR_PASS), 0, "rules that let everything pass");
    prepare(&a, 1, "lab");
    prepare(&b, 2, "lab");
    prepare(&c, 3, "lab");
    front_prepare(&r, 5, 5);
    front_add_ip6(&r, 5);
    front_prepare(&up, 6, 0);
    memcpy(up.vif.segment, "lab", 3);
    front_connect(&a, 16);
    front_connect(&b, 16);
    front_connect(&c, 16);
    front_connect(&r, 16);
    front_connect(&up, 16);
    joining();
    between();
    liars();
    asking();
    soliciting();
    wire();
    beyond();
    next_hops();
    to_all();
    leaving();
}
