/*
 * The virtual firewall router's interfaces: connecting, the rings, what a front end may do wrong.
 */
#include "front.h"

static struct front a, b, up;
static u8 *page; /* what is sent */
static u32 page_ref;

static void ruleset(void)
{
    struct serai_vfr_rules r = {.op = VFR_RULES_CHECK};

    group("rules");
    is(front_rules(VFR_RULES_READ, &r), 0, "read");
    is(r.generation, 0, "there are none");
    is(r.nr_rules, 0, "none at all");
    is(front_install(VFR_PASS), 0, "one that lets everything pass");
    is(front_generation, 1, "the first generation");
    r = (struct serai_vfr_rules){
        .generation = 0, .image = (u64)&front_image, .len = sizeof(front_image)};
    is(front_rules(VFR_RULES_INSTALL, &r), -XEN_EBUSY, "by one who has not seen that");
    is(front_rules(VFR_RULES_CHECK, &r), 0, "his are good, though");
    r.len = sizeof(front_image) - 8;
    r.generation = 1;
    is(front_rules(VFR_RULES_INSTALL, &r), -XEN_EINVAL, "too short an image");
    r.len = 8;
    is(front_rules(VFR_RULES_INSTALL, &r), -XEN_EINVAL, "not even its head");
    r.len = VFR_IMAGE_MAX + 8UL;
    is(front_rules(VFR_RULES_INSTALL, &r), -XEN_EINVAL, "too long a one");
    r.len = sizeof(front_image);
    r.image = UNMAPPED;
    is(front_rules(VFR_RULES_INSTALL, &r), -XEN_EFAULT, "one that is nowhere");
    r.image = (u64)&front_image;
    front_image.rule.from = 7; /* its gate says otherwise */
    is(front_rules(VFR_RULES_INSTALL, &r), -XEN_EINVAL, "one that contradicts itself");
    r.seconds = 86401;
    is(front_rules(VFR_RULES_INSTALL, &r), -XEN_EINVAL, "more than a day to confirm it");
    r.seconds = 0;
    is(front_rules(5, &r), -XEN_EINVAL, "an unknown operation");
    is(front_rules(VFR_RULES_READ, &r), 0, "read again");
    is(r.generation, 1, "the first ones are in force");
}

static void connecting(void)
{
    struct serai_vfr_vif v;

    group("connect");
    is(front_op(&a.vif, VFR_VIF_CONNECT), 0, "a");
    is(front_op(&b.vif, VFR_VIF_CONNECT), 0, "b");
    ok(a.vif.vif != b.vif.vif, "they are two");
    is(gnt[a.vif.queues[0].tx_ref].flags, GTF_permit_access | GTF_reading | GTF_writing,
       "the ring is in use");
    is(front_op(&b.vif, VFR_VIF_CONNECT), -XEN_EEXIST, "again");
    v = b.vif;
    v.handle = 77;
    is(front_op(&v, VFR_VIF_CONNECT), -XEN_EINVAL, "another with the same ports");
    v = (struct serai_vfr_vif){.vif = b.vif.vif};
    is(front_op(&v, VFR_VIF_READ), 0, "read");
    is(v.handle, 2, "it is b");
    is(v.mac[5], 2, "with its address");
    is(v.prefixes[0].low & 0xff, 2, "and the other one");
    v = (struct serai_vfr_vif){.vif = 0};
    is(front_op(&v, VFR_VIF_NEXT), 0, "the first");
    is(v.vif, a.vif.vif, "it is a");
    v.vif = 999;
    is(front_op(&v, VFR_VIF_READ), -XEN_ENOENT, "read none");
    is(front_op(&v, VFR_VIF_DISCONNECT), -XEN_ENOENT, "disconnect none");
    is(front_op(&v, 99), -XEN_EINVAL, "an unknown operation");
    is(HC(arch_7, SERAI_OP_VFR_VIF, UNMAPPED, 0, 0, 0), -XEN_EFAULT, "a bad pointer");
}

#define WRONG(field, value, result, what)                                                      \
    v = c.vif;                                                                                 \
    v.field = (value);                                                                         \
    is(front_op(&v, VFR_VIF_CONNECT), (result), what)

static void connecting_wrongly(void)
{
    struct serai_vfr_vif v;
    struct front c;

    group("connect wrongly");
    front_prepare(&c, 9, 9);
    WRONG(domid, 77, -XEN_ESRCH, "no such domain");
    WRONG(kind, 4, -XEN_EINVAL, "an unknown kind");
    WRONG(can, 0x20, -XEN_EINVAL, "unknown abilities");
    WRONG(nr_queues, 0, -XEN_EINVAL, "no queue");
    WRONG(nr_queues, 9, -XEN_EINVAL, "nine queues");
    WRONG(nr_queues, 2, -XEN_EINVAL, "a second queue that is not there");
    WRONG(nr_prefixes, 33, -XEN_EINVAL, "33 prefixes");
    WRONG(mtu, 575, -XEN_EINVAL, "a small MTU");
    WRONG(mtu, 65536, -XEN_EINVAL, "a large MTU");
    WRONG(mac[0], 1, -XEN_EINVAL, "a group's address");
    WRONG(reserved2, 1, -XEN_EINVAL, "a reserved field");
    WRONG(generation, 77, -XEN_EBUSY, "zones of other rules");
    WRONG(may, 0x20, -XEN_EINVAL, "unknown exceptions");
    WRONG(nr_macs, 9, -XEN_EINVAL, "nine more addresses");
    WRONG(queues[0].tx_ref, 7, -XEN_EINVAL, "a ring that is not granted");
    WRONG(queues[0].rx_ref, 0xfffffff0, -XEN_EINVAL, "one that is beyond the table");
    WRONG(queues[0].tx_port, 4095, -XEN_EINVAL, "a port that is not there");
    WRONG(queues[0].rx_port, a.vif.queues[0].rx_port, -XEN_EINVAL, "a port that is taken");
    WRONG(prefixes[0].length, 129, -XEN_EINVAL, "a long prefix");
    WRONG(prefixes[0].length, 100, -XEN_EINVAL, "bits behind a prefix");
    WRONG(prefixes[0].low, 0xffff0a000001, -XEN_EEXIST, "a's address");
    is(gnt[c.vif.queues[0].tx_ref].flags, GTF_permit_access, "no ring is in use");
    is(gnt[c.vif.queues[0].rx_ref].flags, GTF_permit_access, "neither of them");
    is(front_op(&c.vif, VFR_VIF_CONNECT), 0, "then rightly");
    is(front_op(&c.vif, VFR_VIF_DISCONNECT), 0, "disconnect");
    is(gnt[c.vif.queues[0].tx_ref].flags, GTF_permit_access, "its ring is free");
    is(front_op(&c.vif, VFR_VIF_DISCONNECT), -XEN_ENOENT, "disconnect again");
    is(front_op(&c.vif, VFR_VIF_CONNECT), 0, "connect again");
    is(front_op(&c.vif, VFR_VIF_DISCONNECT), 0, "disconnect");
}

static void small_packet(void)
{
    struct netif_rx_response *r;
    u8 *got = page;

    group("a small packet");
    front_push_buffers(&b, 8);
    front_udp(page, 60, 1, 2);
    front_request(&a, page_ref, 0, 60, 0);
    front_push(&a);
    is(front_answer(&a), NETIF_RSP_OKAY, "sent");
    ok(port_pending(a.vif.queues[0].tx_port), "its sender is told");
    r = front_receive(&b, &got);
    if (!ok(r != NULL, "received"))
        return;
    is(r->status, 60, "60 bytes");
    is(r->flags, 0, "no flags");
    is(r->id, 0, "of the first buffer");
    ok(port_pending(b.vif.queues[0].rx_port), "its receiver is told");
    is(gnt[page_ref].flags, GTF_permit_access | GTF_readonly, "the sender's page is free");
    ok(!memcmp(got + 12, page + 12, 48), "as it was sent");
    ok(got[5] == 2 && got[0] == 2 && got[6] == 2 && got[7] == 0x53, "from the router to b");
    ok(!front_receive(&b, &got), "once");
    is(front_drops(&a, VFR_R_NO_ROUTE), 0, "nothing dropped");
}

/* ---- trains: packets of one turn, each like the one before but for one thing ---- */

#define CAR 256 /* bytes from one to the next */

static u8 *car(unsigned i, u32 len)
{
    u8 *p = page + i * CAR;

    front_udp(p, len, 1, 2);
    p[19] = (u8)(i + 1); /* identification */
    front_sum(p);
    return p;
}

static void send_cars(unsigned nr)
{
    for (unsigned i = 0; i < nr; i++)
        front_request(&a, page_ref, i * CAR, i == 1 ? 90 : 60, NETTXF_csum_blank);
    front_push(&a);
    while (front_answer(&a) != 99)
        ;
}

/* The next one that came is this one, from the router to b. */
static void car_comes(unsigned i, u32 len)
{
    const u8 *sent = page + i * CAR;
    struct netif_rx_response *r;
    u8 *got = page;

    r = front_receive(&b, &got);
    if (!ok(r != NULL, "car %u comes", i))
        return;
    is(r->status, (long)len, "car %u: its length", i);
    is(got[5] << 8 | got[6], 2 << 8 | 2, "car %u: to b, by the router", i);
    ok(!memcmp(got + 12, sent + 12, len - 12), "car %u: as it was sent", i);
    front_push_buffers(&b, 1);
}

static void trains(void)
{
    const u64 ip = front_drops(&a, VFR_R_SPOOF_IP4), mac = front_drops(&a, VFR_R_SPOOF_MAC),
              bad = front_drops(&a, VFR_R_BAD_IP), way = front_drops(&a, VFR_R_NO_ROUTE),
              csum = front_drops(&a, VFR_R_CSUM_UNSUPP), cut = front_drops(&a, VFR_R_SHORT),
              dhcp = front_drops(&a, VFR_R_SPOOF_DHCP);
    u8 *got = page, *p;

    group("trains");
    front_push_buffers(&b, 11);
    car(0, 60);
    car(1, 90);
    p = car(2, 60);
    p[29] = 9;
    front_sum(p);
    car(3, 60)[11] = 9;
    car(4, 60)[24] ^= 1;
    car(5, 60);
    p = car(6, 60);
    p[33] = 77;
    front_sum(p);
    car(7, 60)[39]--; /* shorter than what carries it: nobody makes such a checksum */
    car(8, 60);
    car(9, 60)[37] ^= 1; /* another flow */
    p = car(10, 60);
    p[17]++; /* longer than it is */
    front_sum(p);
    car(11, 60);
    car(12, 60)[37] ^= 1; /* the other flow again */
    p = car(13, 60);
    p[35] = 67; /* what only a server of DHCP says */
    p[37] = 68;
    car(14, 60);
    p = car(15, 60);
    memcpy(p + 34, (u8[]){0, 9, 0, 7}, 4); /* the ports of an answer, but from who asked */
    send_cars(16);
    car_comes(0, 60);
    car_comes(1, 90);
    car_comes(5, 60);
    car_comes(8, 60);
    car_comes(9, 60);
    car_comes(11, 60);
    car_comes(12, 60);
    car_comes(14, 60);
    car_comes(15, 60);
    ok(!front_receive(&b, &got), "no other one");
    is(front_drops(&a, VFR_R_SPOOF_IP4), ip + 1, "in another's name");
    is(front_drops(&a, VFR_R_SPOOF_MAC), mac + 1, "with another's Ethernet address");
    is(front_drops(&a, VFR_R_BAD_IP), bad + 1, "with a wrong checksum");
    is(front_drops(&a, VFR_R_SHORT), cut + 1, "with a part missing");
    is(front_drops(&a, VFR_R_NO_ROUTE), way + 1, "to nobody");
    is(front_drops(&a, VFR_R_SPOOF_DHCP), dhcp + 1, "as a server of DHCP");
    is(front_drops(&a, VFR_R_CSUM_UNSUPP), csum + 1, "with a length that has no checksum");
}

static void large_packet(void)
{
    u8 *second = page_alloc(), *got = page;
    u32 second_ref = front_grant(second, GTF_readonly), sum = 0, n = 0;
    struct netif_rx_response *r;
    struct netif_extra_info e = {.type = XEN_NETIF_EXTRA_TYPE_GSO,
                                 .u.gso = {.size = 1448, .type = XEN_NETIF_GSO_TYPE_TCPV4}};

    group("a large packet");
    front_push_buffers(&b, 8);
    front_udp(page, 60, 1, 2);
    front_tcp(page, 2);
    front_request(&a, page_ref, 0, 60, 0);
    front_push(&a);
    is(front_answer(&a), NETIF_RSP_OKAY, "a SYN");
    ok(front_receive(&b, &got) != NULL, "received");
    for (unsigned i = 0; i < PAGE_SIZE; i++)
        second[i] = (u8)(i * 3);
    front_udp(page, 9000, 1, 2);
    front_tcp(page, 0x10);
    front_request(&a, page_ref, 0, 9000,
                  NETTXF_more_data | NETTXF_extra_info | NETTXF_csum_blank);
    memcpy(&a.tx->ring[a.sent++ % FRONT_SLOTS], &e, sizeof(e));
    front_request(&a, second_ref, 0, 4096, NETTXF_more_data);
    front_request(&a, second_ref, 100, 808, 0);
    front_push(&a);
    is(front_answer(&a), NETIF_RSP_OKAY, "sent");
    is(front_answer(&a), NETIF_RSP_NULL, "the extra has no answer");
    is(front_answer(&a), NETIF_RSP_OKAY, "its second page");
    is(front_answer(&a), NETIF_RSP_OKAY, "its third");
    r = front_receive(&b, &got);
    if (!ok(r != NULL, "received"))
        return;
    is(r->flags,
       NETRXF_more_data | NETRXF_extra_info | NETRXF_csum_blank | NETRXF_data_validated,
       "the flags of the first buffer");
    ok(!memcmp(got + 12, page + 12, 4084), "the first page");
    sum = r->status;
    r = front_receive(&b, &got);
    ok(!memcmp(r, &e, sizeof(e)), "the extra");
    while ((r = front_receive(&b, &got))) {
        sum += r->status;
        if (!n++)
            ok(!memcmp(got, second, 4096), "the second page");
        else
            ok(!memcmp(got, second + 100, 808), "the third");
    }
    is(sum, 9000, "9000 bytes");
}

/* b's buffers are used up. */
static bool use_up_buffers(void)
{
    u8 *got = page;

    front_udp(page, 60, 1, 2);
    while (b.posted - b.taken) {
        front_request(&a, page_ref, 0, 60, 0);
        front_push(&a);
        if (!ok(front_answer(&a) == 0 && front_receive(&b, &got), "a packet takes a buffer"))
            return false;
    }
    return true;
}

/* Until the packet just sent was answered. */
static bool answered(void)
{
    u64 end = clock_ns() + 5000000000;
    int status;

    while ((status = front_answer(&a)) == 99 && clock_ns() < end)
        ;
    return status == 0;
}

/* The emulated machine may stand still for longer than a packet waits: then it is dropped. */
static void no_buffers(void)
{
    u64 full = front_drops(&a, VFR_R_RX_FULL), n = 0;
    u8 *got = page;

    group("no buffers");
    if (!use_up_buffers())
        return;
    front_request(&a, page_ref, 0, 60, 0);
    front_push(&a);
    front_push_buffers(&b, 1);
    ok(answered(), "a packet waits for a buffer");
    ok(!!front_receive(&b, &got) + front_drops(&a, VFR_R_RX_FULL) - full == 1,
       "and gets it, or has waited too long");
    if (!use_up_buffers())
        return;
    full = front_drops(&a, VFR_R_RX_FULL);
    while (n < 20 && !front_drops(&a, VFR_R_RX_SLOW)) {
        front_request(&a, page_ref, 0, 60, 0);
        front_push(&a);
        if (!ok(answered(), "one without a buffer is answered"))
            return;
        n++;
    }
    is(n, 9, "eight wait in vain, the ninth not at all");
    is(front_drops(&a, VFR_R_RX_FULL) - full, 8, "as the counters say");
    front_push_buffers(&b, 4);
    front_request(&a, page_ref, 0, 60, 0);
    front_push(&a);
    is(front_answer(&a), 0, "with buffers");
    ok(front_receive(&b, &got) != NULL, "it is served again");
}

static void elsewhere(void)
{
    u8 *got = page;

    group("elsewhere");
    front_udp(page, 60, 1, 77);
    front_request(&a, page_ref, 0, 60, 0);
    front_push(&a);
    is(front_answer(&a), 0, "to an address that nobody has");
    is(front_drops(&a, VFR_R_NO_ROUTE), 1, "no route");
    is(front_op(&up.vif, VFR_VIF_CONNECT), 0, "an uplink");
    front_push_buffers(&up, 4);
    front_request(&a, page_ref, 0, 60, 0);
    front_push(&a);
    is(front_answer(&a), 0, "again");
    ok(front_receive(&up, &got) != NULL && got[5] == 0xee, "goes to the next hop");
    is(front_op(&up.vif, VFR_VIF_DISCONNECT), 0, "no uplink");
    front_request(&a, page_ref, 0, 60, 0);
    front_push(&a);
    is(front_drops(&a, VFR_R_NO_ROUTE), 2, "no route again");
    is(front_answer(&a), 0, "answered");
}

/* One packet from a, which is sent or dropped for this reason. */
static bool goes(enum vfr_reason reason)
{
    return front_goes(&a, &b, page_ref, reason);
}

/* Anything received by a is an answer of the router's; its first bytes. */
static bool told(const u8 *head, unsigned n, unsigned at)
{
    u8 *got = page;
    bool good = front_receive(&a, &got) && !memcmp(got + at, head, n);

    while (front_receive(&a, &got))
        ;
    front_push_buffers(&a, 4 - (a.posted - a.taken));
    return good;
}

static void liars(void)
{
    static const u8 who_has[] = {
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0,  0, 0, 0, 1, 8, 6, 0, 1, 8, 0,   6,   4, 0,
        1,    2,    0,    0,    0,    0,    1, 10, 0, 0, 1, 0, 0, 0, 0, 0, 0, 169, 254, 0, 1};
    static const u8 is_at[] = {FRONT_ROUTER, 8, 6};

    group("liars");
    front_push_buffers(&a, 4);
    front_push_buffers(&b, 4);
    front_udp(page, 60, 1, 2);
    ok(goes(VFR_R_OK), "the truth");
    front_udp(page, 60, 3, 2);
    ok(goes(VFR_R_SPOOF_MAC), "another's Ethernet address");
    page[11] = 1;
    ok(goes(VFR_R_SPOOF_IP4), "another's IP address");
    memset(page, 0, 60);
    memcpy(page, who_has, sizeof(who_has));
    ok(goes(VFR_R_CONSUMED), "a question for the router");
    ok(told(is_at, sizeof(is_at), 6), "is answered");
    page[31] = 3;
    ok(goes(VFR_R_SPOOF_ARP), "in another's name it is not");
    ok(!told(is_at, sizeof(is_at), 6), "answered");
}

static void verdicts(void)
{
    static const u8 unreachable[] = {3, 3}; /* ICMP: port unreachable */

    group("verdicts");
    is(front_install(VFR_DROP), 0, "rules that let nothing pass");
    front_udp(page, 60, 1, 2);
    ok(goes(VFR_R_RULE), "what was let pass before is judged again");
    ok(!told(unreachable, 2, 34), "and its sender not told");
    is(front_install(VFR_REJECT), 0, "rules that refuse");
    ok(goes(VFR_R_RULE), "it is refused");
    ok(told(unreachable, 2, 34), "and its sender told so");
    front_tcp(page, 2);
    ok(goes(VFR_R_RULE), "a connection too");
    is(front_install(VFR_PASS), 0, "rules that let everything pass");
    front_udp(page, 60, 1, 2);
    front_tcp(page, 0x10);
    ok(goes(VFR_R_TCP_STATE), "a segment of no connection");
    front_udp(page, 60, 1, 2);
    front_tcp(page, 2);
    ok(goes(VFR_R_OK), "one that opens it");
    front_udp(page, 60, 1, 2);
    front_tcp(page, 0x10);
    ok(goes(VFR_R_OK), "then one of it");
}

/* All of a chain is answered with an error; whose pages were pinned are free again. */
static void bad_chain(const char *what, u32 offset, u32 second)
{
    u64 errors = front_drops(&a, VFR_R_RING_ERROR);

    front_request(&a, page_ref, offset, 200, NETTXF_more_data);
    front_request(&a, second, 0, 50, NETTXF_more_data);
    front_request(&a, page_ref, 0, 50, 0);
    front_push(&a);
    for (unsigned i = 0; i < 3; i++)
        is(front_answer(&a), NETIF_RSP_ERROR, "%s: request %u", what, i);
    is(front_answer(&a), 99, "and no other");
    is(front_drops(&a, VFR_R_RING_ERROR), errors + 1, "%s", what);
    is(gnt[page_ref].flags, GTF_permit_access | GTF_readonly, "the page is free");
}

/* The second of three buffers cannot be written to: it alone is not. */
static void bad_buffer_between(void)
{
    const struct netif_extra_info e = {
        .type = XEN_NETIF_EXTRA_TYPE_GSO,
        .u.gso = {.size = 1448, .type = XEN_NETIF_GSO_TYPE_TCPV4}};
    static const int status[] = {4096, 0, NETIF_RSP_ERROR, 808};
    struct netif_rx_response *r;
    u8 *got = page;
    u32 *flags;

    if (!use_up_buffers())
        return;
    for (unsigned i = 0; i < 4; i++)
        front_post(&b);
    flags = (u32 *)&gnt[b.refs[(b.posted - 2) % FRONT_SLOTS]].flags;
    *flags |= GTF_readonly;
    __atomic_store_n(&b.rx->req_prod, b.posted, __ATOMIC_SEQ_CST);
    front_udp(page, 9000, 1, 2);
    front_tcp(page, 0x10);
    front_request(&a, page_ref, 0, 9000,
                  NETTXF_more_data | NETTXF_extra_info | NETTXF_csum_blank);
    memcpy(&a.tx->ring[a.sent++ % FRONT_SLOTS], &e, sizeof(e));
    front_request(&a, page_ref, 0, 4096, NETTXF_more_data);
    front_request(&a, page_ref, 100, 808, 0);
    front_push(&a);
    while (front_answer(&a) != 99)
        ;
    for (unsigned i = 0; i < 4; i++) {
        r = front_receive(&b, &got);
        if (!ok(r != NULL, "slot %u of it", i) || i == 1)
            continue;
        is(r->status, status[i], "its status");
        is(!!(r->flags & NETRXF_more_data), i < 3, "the last one's flag");
    }
    *flags &= ~GTF_readonly;
    is(gnt[page_ref].flags, GTF_permit_access | GTF_readonly, "the page is free");
}

static void long_liars(void)
{
    group("long packets with faults");
    front_udp(page, 100, 1, 2);
    bad_chain("a second page that is not granted", 0, 7);
    bad_chain("a first part beyond its page", 4050, page_ref);
    bad_buffer_between();
}

/* Each is answered, and the packet after it goes through. */
static void bad_requests(void)
{
    static const struct {
        const char *what;
        u32 ref, offset, size;
        u16 flags;
        unsigned more;
    } bad[] = {
        {"a page that is not granted", 7, 0, 60, 0, 0},
        {"one beyond the table", 0xfffffff0, 0, 60, 0, 0},
        {"beyond the page's end", 0, 4090, 60, 0, 0},
        {"an offset beyond the page", 0, 4096, 60, 0, 0},
        {"a chain without its end", 0, 0, 60, NETTXF_more_data, 0},
        {"an extra that does not come", 0, 0, 60, NETTXF_extra_info, 0},
        {"parts that are more than the whole", 0, 0, 60, NETTXF_more_data, 1},
        {"nineteen parts", 0, 0, 1200, NETTXF_more_data, 18},
        {"two hundred parts", 0, 0, 12000, NETTXF_more_data, 200},
        {"nothing", 0, 0, 0, 0, 0},
        {"less than a header", 0, 0, 13, 0, 0},
    };
    u8 *got = page;

    group("bad requests");
    for (unsigned i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        u32 ref = bad[i].ref ? bad[i].ref : page_ref, n = 0;

        front_udp(page, 60, 1, 2);
        front_request(&a, ref, bad[i].offset, bad[i].size, bad[i].flags);
        for (unsigned k = 1; k <= bad[i].more; k++)
            front_request(&a, ref, 0, 61, k < bad[i].more ? NETTXF_more_data : 0);
        front_push(&a);
        while (front_answer(&a) != 99)
            n++;
        is(n, 1 + bad[i].more, "%s: answered", bad[i].what);
        ok(!front_receive(&b, &got), "and not delivered");
        front_push_buffers(&b, 1);
        front_request(&a, page_ref, 0, 60, 0);
        front_push(&a);
        is(front_answer(&a), 0, "a good one");
        ok(front_receive(&b, &got) != NULL, "is delivered");
    }
    is(gnt[page_ref].flags, GTF_permit_access | GTF_readonly, "the page is free");
}

/* A bad buffer costs the packet, and nothing else. */
static void bad_buffers(void)
{
    struct netif_rx_response *r;
    u8 *got = page;

    group("bad buffers");
    while (front_receive(&b, &got))
        ;
    while (b.posted - b.taken) {
        front_request(&a, page_ref, 0, 60, 0);
        front_push(&a);
        front_answer(&a);
        front_receive(&b, &got);
    }
    front_post(&b);
    b.rx->ring[(b.posted - 1) % FRONT_SLOTS].req.gref = 7;
    __atomic_store_n(&b.rx->req_prod, b.posted, __ATOMIC_SEQ_CST);
    front_request(&a, page_ref, 0, 60, 0);
    front_push(&a);
    is(front_answer(&a), 0, "answered");
    r = front_receive(&b, &got);
    ok(r && r->status == NETIF_RSP_ERROR, "the buffer comes back with an error");
    front_post(&b);
    gnt[b.refs[(b.posted - 1) % FRONT_SLOTS]].flags |= GTF_readonly;
    __atomic_store_n(&b.rx->req_prod, b.posted, __ATOMIC_SEQ_CST);
    front_request(&a, page_ref, 0, 60, 0);
    front_push(&a);
    is(front_answer(&a), 0, "answered");
    r = front_receive(&b, &got);
    ok(r && r->status == NETIF_RSP_ERROR, "a read-only one too");
}

static void wild_rings(void)
{
    static struct front c;
    u64 errors = front_drops(&a, VFR_R_RING_ERROR);
    u8 *got = page;

    group("wild rings");
    front_udp(page, 60, 1, 2);
    front_request(&a, page_ref, 0, 60, 0);
    a.tx->req_prod = a.sent + 5000;
    front_notify(a.vif.queues[0].tx_port);
    is(front_drops(&a, VFR_R_RING_ERROR), errors + 1, "more requests than a ring has");
    front_push(&a);
    is(front_answer(&a), 99, "no more comes from there");
    is(front_op(&a.vif, VFR_VIF_DISCONNECT), 0, "disconnect it");

    front_prepare(&c, 9, 9);
    is(front_op(&c.vif, VFR_VIF_CONNECT), 0, "another one");
    b.rx->req_prod += 1000;
    front_udp(page, 60, 9, 2);
    front_request(&c, page_ref, 0, 60, 0);
    front_push(&c);
    ok(!front_receive(&b, &got), "more buffers than a ring has: the packet does not come");
    is(front_op(&c.vif, VFR_VIF_DISCONNECT), 0, "disconnect its sender, which may wait");
    is(front_op(&b.vif, VFR_VIF_DISCONNECT), 0, "disconnect b");
    is(gnt[page_ref].flags, GTF_permit_access | GTF_readonly, "the page is free");
}

void test_vif(void)
{
    page = front_begin(&page_ref);
    ruleset();
    front_prepare(&a, 1, 1);
    front_prepare(&b, 2, 2);
    front_prepare(&up, 3, 0);
    connecting();
    connecting_wrongly();
    small_packet();
    large_packet();
    long_liars();
    no_buffers();
    elsewhere();
    liars();
    verdicts();
    trains();
    bad_requests();
    bad_buffers();
    wild_rings();
}
