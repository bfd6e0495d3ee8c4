/*
 * Pieces of datagrams through the router: in order and not, judged by the first one, kept within
 * bounds, and told apart when several interfaces send from one address.
 */
#include "abi/vfr_explain.h"
#include "frame.h"

#define UDP      17
#define X        IP4(192, 0, 2, 1)
#define PEER     IP4(198, 51, 100, 7)
#define GUEST(n) IP4(10, 0, 0, n)

static struct front a, b, c, up;
static u8 *page;
static u32 page_ref;

/* A piece of a datagram of 'src'; bytes 'from' to 'to' of it, a UDP header at 0. */
static u32 piece(u8 mac, u32 src, u32 dst, u16 id, u32 from, u32 to, bool more)
{
    u32 len = frame_ip4(page, mac, src, dst, UDP, to - from);

    for (u32 i = from; i < to; i++)
        page[FRAME_IP4 + i - from] = (u8)(i * 3 + id);
    if (!from) {
        frame_ports(page + FRAME_IP4, 5000, 5001);
        frame_put16(page + FRAME_IP4 + 4, 2000);
    }
    frame_piece4(page, id, (more ? IP4_MF : 0) | from / 8);
    return len;
}

static bool is_piece(const u8 *got, u32 len, u16 id, u32 from, u32 to)
{
    if (len != FRAME_IP4 + to - from || (frame_get16(got + 20) & 0x1fff) != from / 8)
        return false;
    for (u32 i = from < 8 ? 8 : from; i < to; i++)
        if (got[FRAME_IP4 + i - from] != (u8)(i * 3 + id))
            return false;
    return true;
}

static void send_piece(u16 id, u32 from, u32 to, bool more)
{
    u32 len = piece(1, GUEST(1), GUEST(2), id, from, to, more);

    is(front_send(&a, page_ref, len, 0), 0, "bytes %u to %u of datagram %u are sent", from, to,
       id);
}

static bool comes(struct front *f, u16 id, u32 from, u32 to)
{
    u8 *got = page;
    u32 len = front_take(f, &got);

    return is_piece(got, len, id, from, to);
}

static bool nothing(struct front *f)
{
    return !front_drain(f);
}

static void in_order(void)
{
    group("pieces in order");
    send_piece(1, 0, 800, true);
    ok(comes(&b, 1, 0, 800), "the first comes");
    send_piece(1, 800, 1600, true);
    ok(comes(&b, 1, 800, 1600), "so does the second");
    send_piece(1, 1600, 2001, false);
    ok(comes(&b, 1, 1600, 2001), "and the last");
    ok(nothing(&b), "no more");
}

static void out_of_order(void)
{
    u64 kept = front_drops(&a, VFR_R_CONSUMED);

    group("pieces out of order");
    send_piece(2, 1600, 2000, false);
    send_piece(2, 800, 1600, true);
    ok(nothing(&b), "nobody knows where these go");
    is(front_drops(&a, VFR_R_CONSUMED), kept + 2, "they are kept");
    send_piece(2, 0, 800, true);
    ok(comes(&b, 2, 0, 800), "the first comes");
    ok(comes(&b, 2, 1600, 2000), "then what was kept");
    ok(comes(&b, 2, 800, 1600), "all of it");
    ok(nothing(&b), "once");
}

static void verdicts(void)
{
    u64 rule, overlap;

    group("the first piece's judgement");
    is(front_install(VFR_DROP), 0, "rules that let nothing pass");
    rule = front_drops(&a, VFR_R_RULE);
    send_piece(3, 1600, 2000, false);
    send_piece(3, 0, 800, true);
    send_piece(3, 800, 1600, true);
    is(front_drops(&a, VFR_R_RULE), rule + 3, "is that of all");
    ok(nothing(&b), "nothing comes");
    is(front_install(VFR_PASS), 0, "rules that let everything pass");

    overlap = front_drops(&a, VFR_R_FRAG_OVERLAP);
    send_piece(4, 0, 800, true);
    ok(comes(&b, 4, 0, 800), "the first");
    send_piece(4, 0, 800, true);
    ok(nothing(&b), "not the same again");
    send_piece(4, 792, 1600, true);
    ok(nothing(&b), "nor one that overlaps it");
    send_piece(4, 1600, 2000, false);
    ok(nothing(&b), "nor any other of that datagram");
    is(front_drops(&a, VFR_R_FRAG_OVERLAP), overlap + 3, "as the counter says");

    send_piece(5, 8, 800, true);
    is(front_drops(&a, VFR_R_FRAG_TINY), 0, "a second piece may begin behind the ports");
    page[FRAME_IP4 - 11] = 6; /* TCP: its header is longer */
    frame_sum_ip4(page);
    front_send(&a, page_ref, FRAME_IP4 + 792, 0);
    is(front_drops(&a, VFR_R_FRAG_TINY), 1, "but not within the header");
}

/* A guest has so many datagrams at a time; what is kept for them goes after two seconds. */
/* How many packets the one rule in force counted, and its flow: the flow's as an explanation has it. */
static u64 of_the_flow(u32 len)
{
    static struct serai_vfr_explain e;

    e = (struct serai_vfr_explain){.op = VFR_EXPLAIN_PACKET,
                                   .vif = a.vif.vif,
                                   .have = 256,
                                   .len = (u16)len,
                                   .csum_valid = 1};
    memcpy(e.head, page, 256);
    is(HC(arch_7, SERAI_OP_VFR_EXPLAIN, &e, 0, 0, 0), 0, "explained");
    return e.flow == VFR_EXPLAIN_BELONGS ? e.flow_packets[0] : 0;
}

static bool is_marked(struct front *f, u16 id, u32 from, u32 to)
{
    u8 *got = page;
    u32 len = front_take(f, &got);

    return is_piece(got, len, id, from, to) && got[15] == 46 << 2;
}

/* Later pieces are counted where the first one is, and marked as it is. */
static void of_a_flow(void)
{
    struct serai_vfr_rules r = {.image = (u64)&front_image, .len = sizeof(front_image)};
    u64 before;
    u32 len;

    group("pieces of a flow");
    is(front_install(VFR_PASS), 0, "rules");
    front_image.rule.dscp = 46;
    r.generation = front_generation;
    is(front_rules(VFR_RULES_INSTALL, &r), 0, "that mark");
    send_piece(50, 0, 800, true);
    ok(is_marked(&b, 50, 0, 800), "the first one is marked");
    send_piece(50, 800, 1600, true);
    ok(is_marked(&b, 50, 800, 1600), "so is the second one");
    before = of_the_flow(FRAME_IP4 + 800);
    ok(before >= 2, "and counted");
    send_piece(50, 1600, 2000, false);
    ok(is_marked(&b, 50, 1600, 2000), "and the last one");
    send_piece(51, 1600, 2000, false);
    send_piece(51, 800, 1600, true);
    send_piece(51, 0, 800, true);
    ok(is_marked(&b, 51, 0, 800) && is_marked(&b, 51, 1600, 2000) &&
           is_marked(&b, 51, 800, 1600),
       "those that were kept too");
    send_piece(52, 0, 800, true);
    ok(is_marked(&b, 52, 0, 800), "one more");
    len = piece(1, GUEST(1), GUEST(2), 52, 800, 1600, true);
    is(of_the_flow(len), before + 5, "all are counted");
    send_piece(52, 800, 2000, false);
    ok(is_marked(&b, 52, 800, 2000) && nothing(&b), "that one is whole, too");
    is(front_install(VFR_PASS), 0, "rules that do not mark");
}

static void bounds(void)
{
    u64 limit = front_drops(&a, VFR_R_FRAG_LIMIT), orphans = front_drops(&a, VFR_R_FRAG_ORPHAN);
    u64 end;

    group("bounds of pieces");
    for (u16 id = 100; id < 200; id++) {
        u32 len = piece(1, GUEST(1), GUEST(2), id, 800, 1600, true);

        if (front_send(&a, page_ref, len, 0))
            break;
    }
    ok(front_drops(&a, VFR_R_FRAG_LIMIT) - limit >= 36, "one hundred beginnings are too many");
    ok(nothing(&b), "none of them comes");
    end = clock_ns() + 20000000000;
    while (front_drops(&a, VFR_R_FRAG_ORPHAN) - orphans < 60 && clock_ns() < end)
        ;
    ok(front_drops(&a, VFR_R_FRAG_ORPHAN) - orphans >= 60, "they go after a while");
    send_piece(6, 0, 800, true);
    ok(comes(&b, 6, 0, 800), "then there is room");
    send_piece(6, 800, 2000, false);
    ok(comes(&b, 6, 800, 2000), "for all of one");
}

/* Without buffers a piece waits like any packet, and comes once. */
static void waiting(void)
{
    u64 full = front_drops(&a, VFR_R_RX_FULL), end = clock_ns() + 5000000000;
    u8 *got = page;
    int status;

    group("pieces without buffers");
    send_piece(7, 0, 800, true);
    ok(comes(&b, 7, 0, 800), "the first comes");
    while (b.posted - b.taken) {
        front_udp(page, 60, 1, 2);
        if (front_send(&a, page_ref, 60, 0) || !front_receive(&b, &got))
            break;
    }
    is(b.posted - b.taken, 0, "no buffer is left");
    front_request(&a, page_ref, 0, piece(1, GUEST(1), GUEST(2), 7, 800, 1600, true), 0);
    front_push(&a);
    front_push_buffers(&b, 16);
    while ((status = front_answer(&a)) == 99 && clock_ns() < end)
        ;
    is(status, 0, "it is answered");
    ok(front_drops(&a, VFR_R_RX_FULL) != full || comes(&b, 7, 800, 1600),
       "it came, or waited too long");
    ok(nothing(&b), "once");
}

static u32 piece6(u32 id, u32 from, u32 to, bool more)
{
    u32 len = frame_ip6(page, 1, 1, 2, 44, 8 + to - from);
    u8 *h = page + FRAME_IP6;

    h[0] = UDP;
    h[1] = 0;
    frame_put16(h + 2, from | more);
    frame_put32(h + 4, id);
    for (u32 i = from; i < to; i++)
        h[8 + i - from] = (u8)(i * 3 + id);
    if (!from) {
        frame_ports(h + 8, 5000, 5001);
        frame_put16(h + 12, 2000);
    }
    return len;
}

static bool comes6(u32 from, u32 to)
{
    u8 *got = page;
    u32 len = front_take(&b, &got);

    return len == FRAME_IP6 + 8 + to - from &&
           (frame_get16(got + FRAME_IP6 + 2) & ~7U) == from &&
           got[len - 1] == (u8)((to - 1) * 3 + 77);
}

static void pieces6(void)
{
    group("pieces of IPv6");
    is(front_send(&a, page_ref, piece6(77, 800, 1600, false), 0), 0, "the second");
    ok(nothing(&b), "is kept");
    is(front_send(&a, page_ref, piece6(77, 0, 800, true), 0), 0, "the first");
    ok(comes6(0, 800), "comes");
    ok(comes6(800, 1600), "then the second");
    is(front_send(&a, page_ref, piece6(78, 0, 800, false), 0), 0, "a datagram in one piece");
    ok(front_take(&b, &(u8 *){page}) == FRAME_IP6 + 808, "comes");
}

/* One piece of X's from an interface to the wire; what it is called there. */
static int out_id(struct front *f, u8 mac, u16 sport, u32 from, bool more)
{
    u32 len = piece(mac, X, PEER, 42, from, from + 80, more);
    u8 *got = page;
    int id;

    if (!from)
        frame_ports(page + FRAME_IP4, sport, 53);
    front_send(f, page_ref, len, 0);
    if (front_take(&up, &got) != len || got[22] != 63 || frame_get16(got + 24) == 0)
        return -1;
    id = (int)frame_get16(got + 18);
    /* The header's checksum was repaired. */
    memcpy(page, got, 34);
    frame_sum_ip4(page);
    return memcmp(page, got, 34) ? -2 : id;
}

static void from_wire(u16 id, u32 from, bool more)
{
    u32 len = piece(0, PEER, X, id, from, from + 80, more);

    if (!from)
        frame_ports(page + FRAME_IP4, 53, 8200);
    is(front_send(&up, page_ref, len, 0), 0, "byte %u of a datagram from the wire", from);
}

static void sharers(void)
{
    int of_a, of_c, whole;
    u8 *got = page;
    u32 len;

    group("pieces of a shared address");
    is(front_share(X), 0, "an address is shared");
    is(front_lease(X, &a, 4096, 12, VFR_PC_BLOCK), 0, "a has ports");
    is(front_lease(X, &c, 8192, 12, VFR_PC_BLOCK), 0, "c has others");
    of_a = out_id(&a, 1, 4100, 0, true);
    of_c = out_id(&c, 3, 8200, 0, true);
    ok(of_a >= 0 && of_c >= 0 && of_a != of_c, "one identifier of two becomes two: %d, %d",
       of_a, of_c);
    is(out_id(&a, 1, 0, 80, false), of_a, "a's second piece is called as its first");
    is(out_id(&c, 3, 0, 80, false), of_c, "c's as c's");
    len = frame_ip4(page, 1, X, PEER, UDP, 100);
    frame_udp(page, 4100, 53);
    frame_piece4(page, 42, 0);
    front_send(&a, page_ref, len, 0);
    front_take(&up, &got);
    whole = (int)frame_get16(got + 18);
    ok(whole != of_a && whole != of_c, "one that others may cut gets its own");
    frame_piece4(page, 42, IP4_DF);
    front_send(&a, page_ref, len, 0);
    front_take(&up, &got);
    is(frame_get16(got + 18), 42, "one that they may not keeps it");

    from_wire(9, 80, false);
    ok(nothing(&a) && nothing(&c), "a later piece says not for whom it is");
    from_wire(9, 0, true);
    is(front_drain(&c), 2, "both go to who has the port");
    ok(nothing(&a), "and to nobody else");
    len = piece(1, X, PEER, 43, 0, 80, true);
    frame_ports(page + FRAME_IP4, 8200, 53);
    front_send(&a, page_ref, len, 0);
    is(front_drops(&a, VFR_R_RSIP_PORT), 1, "a first piece with another's port");
    front_send(&a, page_ref, piece(1, X, PEER, 43, 80, 160, false), 0);
    is(front_drops(&a, VFR_R_RSIP_PORT), 2, "and what belongs to it");
    ok(nothing(&up), "do not come out");
}

/* What a datagram was about to go to is gone, and somebody else has its place. */
static void gone(void)
{
    u64 orphans;

    group("interfaces that go");
    send_piece(20, 0, 800, true);
    ok(comes(&b, 20, 0, 800), "a first piece comes");
    send_piece(21, 800, 1600, true);
    is(front_op(&b.vif, VFR_VIF_DISCONNECT), 0, "its receiver goes");
    b = (struct front){.sent = 0};
    front_prepare(&b, 4, 4);
    front_connect(&b, 16);
    orphans = front_drops(&a, VFR_R_CONSUMED);
    send_piece(20, 800, 1600, true);
    ok(nothing(&b), "who takes its place gets nothing of that datagram");
    is(front_drops(&a, VFR_R_CONSUMED), orphans + 1,
       "the rest is kept like any without a first");
    is(front_op(&a.vif, VFR_VIF_DISCONNECT), 0, "its sender goes");
    is(gnt[page_ref].flags, GTF_permit_access | GTF_readonly, "the page is free");
}

static void more_addresses(struct front *f, u8 last)
{
    front_add_ip6(f, last);
    front_add_shared(f, X);
}

void test_vif_pieces(void)
{
    page = front_begin(&page_ref);
    is(front_install(VFR_PASS), 0, "rules that let everything pass");
    front_prepare(&a, 1, 1);
    front_prepare(&b, 2, 2);
    front_prepare(&c, 3, 3);
    front_prepare(&up, 5, 0);
    more_addresses(&a, 1);
    more_addresses(&b, 2);
    more_addresses(&c, 3);
    front_connect(&a, 16);
    front_connect(&b, 16);
    front_connect(&c, 16);
    front_connect(&up, 16);
    front_pass_time(500000000); /* until all were told of the router */
    front_drain(&a);
    front_drain(&b);
    front_drain(&c);
    in_order();
    out_of_order();
    verdicts();
    of_a_flow();
    pieces6();
    bounds();
    waiting();
    sharers();
    gone();
}
