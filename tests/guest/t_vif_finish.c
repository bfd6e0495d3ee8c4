/*
 * What a sender leaves to its card, and what a receiver can take: every pair of them. Whoever cannot
 * fill in checksums or cut segments gets finished packets; whoever can gets them as they were sent.
 */
#include "frame.h"

#define TCP      6
#define UDP      17
#define BULK     20000 /* bytes of a packet to be cut */
#define MSS      1400
#define GUEST(n) IP4(10, 0, 0, n)

static struct front a, b;
static u8 big[6 * PAGE_SIZE] __attribute__((aligned(4096)));
static u8 got[6 * PAGE_SIZE], whole[6 * PAGE_SIZE];
static u32 refs[6];
static u16 port = 1000; /* a conversation of its own for each case */

/* A frame as it came, in one piece; 0: none. */
static u32 collect(u16 *flags, u16 *gso)
{
    struct netif_rx_response *r;
    u32 len = 0;
    u8 *data;

    *gso = 0;
    do {
        r = front_receive(&b, &data);
        if (!r || r->status <= 0 || len + (u32)r->status > sizeof(got))
            return 0;
        if (!len)
            *flags = r->flags;
        memcpy(got + len, data, (size_t)r->status);
        if (!len && r->flags & NETRXF_extra_info) {
            struct netif_extra_info *e = (struct netif_extra_info *)front_receive(&b, &data);

            *gso = e ? e->u.gso.size : 0;
        }
        len += (u32)r->status;
    } while (r->flags & NETRXF_more_data);
    return len;
}

/* What lies in 'big', with a request for each page and an extra if it is to be cut. */
static bool send(u32 len, u16 flags, u16 gso, bool v6)
{
    struct netif_extra_info e = {
        .type = XEN_NETIF_EXTRA_TYPE_GSO,
        .u.gso = {.size = gso,
                  .type = v6 ? XEN_NETIF_GSO_TYPE_TCPV6 : XEN_NETIF_GSO_TYPE_TCPV4}};

    for (u32 at = 0; at < len; at += PAGE_SIZE) {
        u32 n = len - at < PAGE_SIZE ? len - at : PAGE_SIZE;
        u16 more = len - at > n ? NETTXF_more_data : 0;

        front_request(&a, refs[at / PAGE_SIZE], 0, at ? n : len,
                      at ? more : more | flags | (gso ? NETTXF_extra_info : 0));
        if (!at && gso)
            memcpy(&a.tx->ring[a.sent++ % FRONT_SLOTS], &e, sizeof(e));
    }
    front_push(&a);
    while (front_answer(&a) != 99)
        ;
    return true;
}

/* Headers of a packet of 'payload' bytes; its length. */
static u32 make(u8 proto, u32 payload, bool v6, u8 tcp_flags)
{
    u32 header = proto == TCP ? 20 : 8, ip = v6 ? FRAME_IP6 : FRAME_IP4;
    u32 len = v6 ? frame_ip6(big, 1, 1, 2, proto, header + payload)
                 : frame_ip4(big, 1, GUEST(1), GUEST(2), proto, header + payload);
    u8 *h = big + ip;

    memset(h, 0, header);
    frame_ports(h, port, 80);
    if (proto == TCP) {
        frame_put32(h + 4, 0x1000);
        h[12] = 0x50;
        h[13] = tcp_flags;
    } else {
        frame_put16(h + 4, header + payload);
    }
    return len;
}

static void fill_in(u8 proto, bool v6)
{
    u8 *sum = big + (v6 ? FRAME_IP6 : FRAME_IP4) + (proto == TCP ? 16 : 6);

    frame_put16(sum, 0);
    frame_put16(sum, frame_l4_sum(big));
}

/* Receives all frames of what was sent: its payload into 'whole'. */
struct result {
    u32 frames, payload, longest;
    bool sound, blank, ordered;
    u16 gso;
};

static struct result take(u8 proto, bool v6)
{
    const u32 header = (v6 ? FRAME_IP6 : FRAME_IP4) + (proto == TCP ? 20U : 8U);
    struct result r = {.sound = true, .ordered = true};
    u16 flags = 0, gso;
    u32 len;

    while ((len = collect(&flags, &gso)) >= header) {
        r.frames++;
        r.longest = len > r.longest ? len : r.longest;
        r.blank |= !!(flags & NETRXF_csum_blank);
        r.gso = gso;
        r.sound &= frame_is_sound(got);
        r.ordered &= proto != TCP || frame_get32(got + header - 16) == 0x1000 + r.payload;
        if (r.payload + len - header > sizeof(whole))
            break;
        memcpy(whole + r.payload, got + header, len - header);
        r.payload += len - header;
    }
    front_push_buffers(&b, 128 - (b.posted - b.taken));
    return r;
}

/* Another receiver with the buffers of the one before. */
static void connect_b(u8 can, u32 mtu)
{
    if (b.vif.vif)
        is(front_op(&b.vif, VFR_VIF_DISCONNECT), 0, "the other one goes");
    b.sent = b.answered = b.posted = b.taken = 0;
    front_prepare(&b, (u16)(10 + can), 2);
    front_add_ip6(&b, 2);
    b.vif.can = can;
    b.vif.mtu = mtu;
    front_connect(&b, 128);
}

static bool same_payload(const struct result *r, u32 header, u32 payload)
{
    return r->payload == payload && !memcmp(whole, big + header, payload);
}

/* One datagram, or segment: finished by its sender, or not. */
static void single(u8 can, u8 proto, u32 payload, bool v6, bool blank)
{
    const bool able = can & (v6 ? VFR_CAN_CSUM6 : VFR_CAN_CSUM4);
    const u32 header = (v6 ? FRAME_IP6 : FRAME_IP4) + (proto == TCP ? 20U : 8U);
    struct result r;
    u32 len = make(proto, payload, v6, 2);

    if (!blank)
        fill_in(proto, v6);
    send(len, blank ? NETTXF_csum_blank : 0, 0, v6);
    r = take(proto, v6);
    ok(r.frames == 1 && same_payload(&r, header, payload), "one frame with %u bytes, %s",
       payload, blank ? "unfinished" : "finished");
    is(r.blank, blank && able, "left to the receiver, or not");
    ok(r.sound || (blank && able), "its checksums are right");
    port++;
}

/* A long one: cut by the receiver, or for it. */
static void bulk(u8 can, bool v6)
{
    const u8 needed = v6 ? VFR_CAN_CSUM6 | VFR_CAN_GSO6 : VFR_CAN_CSUM4 | VFR_CAN_GSO4;
    const bool able = (can & (needed | VFR_CAN_SG)) == (needed | VFR_CAN_SG);
    const u32 header = (v6 ? FRAME_IP6 : FRAME_IP4) + 20U;
    struct result r;

    send(make(TCP, 0, v6, 2), NETTXF_csum_blank, 0, v6);
    take(TCP, v6);
    send(make(TCP, BULK, v6, 0x10), NETTXF_csum_blank, MSS, v6);
    r = take(TCP, v6);
    ok(same_payload(&r, header, BULK) && r.ordered, "%u bytes come, in order", BULK);
    is(r.frames, able ? 1 : (BULK + MSS - 1) / MSS, "in so many frames");
    is(r.gso, able ? MSS : 0, "to be cut, or not");
    ok(able || (r.sound && !r.blank && r.longest == header + MSS), "each of them finished");
    port++;
}

static void receiver(u8 can)
{
    group("a receiver");
    note("which can %x", can);
    connect_b(can, 1500);
    for (unsigned v6 = 0; v6 < 2; v6++) {
        single(can, UDP, 100, v6, false);
        single(can, UDP, 100, v6, true);
        single(can, UDP, 1401, v6, true);
        single(can, TCP, 0, v6, true);
        single(can, TCP, 333, v6, true);
        single(can, TCP, 1001, v6, false);
        bulk(can, v6);
    }
}

/* Without packets in parts there is none longer than a buffer; too many segments are refused. */
static void limits(void)
{
    struct serai_vfr_vif v;
    u64 bad;

    group("limits of receivers");
    connect_b(VFR_CAN_CSUM4, 9000);
    v = (struct serai_vfr_vif){.vif = b.vif.vif};
    is(front_op(&v, VFR_VIF_READ), 0, "one that takes no parts");
    is(v.mtu, PAGE_SIZE - 14, "takes no more than a page");
    make(UDP, 5000, false, 0);
    fill_in(UDP, false);
    send(FRAME_IP4 + 5008, 0, 0, false);
    is(front_drops(&a, VFR_R_MTU), 1, "more is dropped");
    make(TCP, 0, false, 2);
    send(FRAME_IP4 + 20, NETTXF_csum_blank, 0, false);
    is(take(TCP, false).frames, 1, "a connection");
    bad = front_drops(&a, VFR_R_GSO_BAD);
    make(TCP, BULK, false, 0x10);
    send(FRAME_IP4 + 20 + BULK, NETTXF_csum_blank, 64, false);
    is(front_drops(&a, VFR_R_GSO_BAD), bad + 1, "more segments than a ring has are refused");
    is(take(TCP, false).frames, 0, "all of them");
}

void test_vif_finish(void)
{
    gnt_init(4);
    for (unsigned i = 0; i < 6; i++)
        refs[i] = front_grant(big + i * PAGE_SIZE, GTF_readonly);
    is(front_install(VFR_PASS), 0, "rules that let everything pass");
    front_prepare(&a, 1, 1);
    front_add_ip6(&a, 1);
    front_connect(&a, 16);
    receiver(VFR_CAN_ALL);
    receiver(0);
    receiver(VFR_CAN_SG);
    receiver(VFR_CAN_ALL & ~VFR_CAN_SG);
    receiver(VFR_CAN_CSUM4 | VFR_CAN_CSUM6);
    receiver(VFR_CAN_ALL & ~VFR_CAN_CSUM4);
    receiver(VFR_CAN_ALL & ~VFR_CAN_CSUM6);
    receiver(VFR_CAN_ALL & ~VFR_CAN_GSO4);
    receiver(VFR_CAN_ALL & ~VFR_CAN_GSO6);
    limits();
    for (unsigned i = 0; i < 6; i++)
        is(gnt[refs[i]].flags, GTF_permit_access | GTF_readonly, "page %u is free", i);
}
