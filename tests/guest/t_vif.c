/*
 * The virtual firewall router's interfaces: connecting, the rings, what a front end may do wrong.
 * Domain 0 has all of them, so that one kernel sees both ends of each packet.
 */
#include "abi/serai.h"
#include "abi/vfr_rules.h"
#include "gnt.h"
#include <xen/io/netif.h>

#define SLOTS  256U
#define ROUTER 0x02, 0x53, 0x45, 0x52, 0x41, 0x49

struct front {
    struct serai_vfr_vif vif;
    struct netif_tx_sring *tx;
    struct netif_rx_sring *rx;
    u32 sent, answered; /* tx requests made, responses seen */
    u32 posted, taken;  /* rx buffers given, responses seen */
    u8 *buffers[SLOTS];
};

static struct front a, b, up;
static u32 next_ref = 8;
static u8 *page; /* what is sent */
static u32 page_ref;
static u32 generation; /* of the rules in force */

static u32 grant_page(const void *p, u16 flags)
{
    gnt_give(next_ref, own_id, mfn_of(p), flags);
    return next_ref++;
}

static long op(struct serai_vfr_vif *v, u16 what)
{
    v->op = what;
    return HC(arch_7, SERAI_OP_VFR_VIF, v, 0, 0, 0);
}

static u32 new_port(void)
{
    struct evtchn_alloc_unbound e = {.dom = DOMID_SELF, .remote_dom = own_id};

    return hc_evtchn(EVTCHNOP_alloc_unbound, &e) ? 0 : e.port;
}

/* An address 10.0.0.'last', or everything else when that is 0. */
static void prepare(struct front *f, u16 handle, u8 last)
{
    f->tx = page_alloc();
    f->rx = page_alloc();
    f->tx->req_event = f->tx->rsp_event = f->rx->req_event = f->rx->rsp_event = 1;
    f->vif = (struct serai_vfr_vif){
        .domid = own_id,
        .handle = handle,
        .kind = last ? VFR_ROUTED : VFR_UPLINK,
        .can = VFR_CAN_ALL,
        .nr_queues = 1,
        .nr_prefixes = last ? 1 : 0,
        .mtu = 1500,
        .generation = generation,
        .mac = {2, 0, 0, 0, 0, last},
        .next_hop = {2, 0, 0, 0, 0, 0xee},
        .queues = {{grant_page(f->tx, 0), grant_page(f->rx, 0), new_port(), new_port()}},
        .prefixes = {{0, 0xffff0a000000 | last, 128, 0, {0}}},
    };
}

static void notify(u32 port)
{
    struct evtchn_send s = {.port = port};

    hc_evtchn(EVTCHNOP_send, &s);
}

static void post_buffer(struct front *f)
{
    u32 i = f->posted++ % SLOTS;
    u32 ref;

    if (!f->buffers[i])
        f->buffers[i] = page_alloc();
    ref = grant_page(f->buffers[i], 0);
    f->rx->ring[i].req = (struct netif_rx_request){.id = (u16)i, .gref = ref};
}

static void push_buffers(struct front *f, unsigned n)
{
    while (n--)
        post_buffer(f);
    __atomic_store_n(&f->rx->req_prod, f->posted, __ATOMIC_SEQ_CST);
    notify(f->vif.queues[0].rx_port);
}

static void request(struct front *f, u32 ref, u32 offset, u32 size, u16 flags)
{
    u32 i = f->sent++ % SLOTS;

    f->tx->ring[i].req = (struct netif_tx_request){
        .gref = ref, .offset = (u16)offset, .flags = flags, .id = (u16)i, .size = (u16)size};
}

static void push_requests(struct front *f)
{
    __atomic_store_n(&f->tx->req_prod, f->sent, __ATOMIC_SEQ_CST);
    notify(f->vif.queues[0].tx_port);
}

/* The status of the next response; 99: there is none. */
static int answer(struct front *f)
{
    if (__atomic_load_n(&f->tx->rsp_prod, __ATOMIC_SEQ_CST) == f->answered)
        return 99;
    return f->tx->ring[f->answered++ % SLOTS].rsp.status;
}

/* The next packet's slot; NULL: there is none. */
static struct netif_rx_response *receive(struct front *f, u8 **data)
{
    u32 i = f->taken % SLOTS;

    if (__atomic_load_n(&f->rx->rsp_prod, __ATOMIC_SEQ_CST) == f->taken)
        return NULL;
    f->taken++;
    *data = f->buffers[i];
    return &f->rx->ring[i].rsp;
}

static u16 ip_checksum(const u8 *h)
{
    u32 sum = 0;

    for (unsigned i = 0; i < 20; i += 2)
        sum += h[i] << 8 | h[i + 1];
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return (u16)~sum;
}

/* A UDP datagram of 'len' bytes, Ethernet header included, from 10.0.0.'from' to 10.0.0.'to'. */
static void make_udp(u8 *p, u32 len, u8 from, u8 to)
{
    const u8 head[] = {ROUTER, 2, 0, 0, 0, 0, from, 8, 0, 0x45, 0};
    u32 ip = len - 14;
    u16 sum;

    memset(p, 0, 42);
    memcpy(p, head, sizeof(head));
    p[16] = (u8)(ip >> 8);
    p[17] = (u8)ip;
    p[22] = 64;
    p[23] = 17;
    p[26] = p[30] = 10;
    p[29] = from;
    p[33] = to;
    sum = ip_checksum(p + 14);
    p[24] = (u8)(sum >> 8);
    p[25] = (u8)sum;
    p[35] = 7;
    p[37] = 9;
    p[38] = (u8)((ip - 20) >> 8);
    p[39] = (u8)(ip - 20);
    for (u32 i = 42; i < len && i < PAGE_SIZE; i++)
        p[i] = (u8)(i * 7 + to);
}

/* What was a datagram is a TCP segment with a header of 20 bytes. */
static void make_tcp(u8 flags)
{
    u16 sum;

    page[23] = 6;
    page[24] = page[25] = 0;
    sum = ip_checksum(page + 14);
    page[24] = (u8)(sum >> 8);
    page[25] = (u8)sum;
    memset(page + 38, 0, 16);
    page[46] = 0x50;
    page[47] = flags;
}

static u64 drops(struct front *f, enum vfr_reason r)
{
    struct serai_vfr_vif v = {.vif = f->vif.vif};

    return op(&v, VFR_VIF_READ) ? ~0UL : v.drops[r];
}

/* One rule, at most, without a condition. */
static struct {
    struct vfr_image head;
    u64 gate;
    struct vfr_rule rule;
    u64 order;
} image;

static void make_image(u8 action)
{
    memset(&image, 0, sizeof(image));
    image.head = (struct vfr_image){
        .magic = VFR_IMAGE_MAGIC,
        .version = VFR_IMAGE_VERSION,
        .header = sizeof(struct vfr_image),
        .len = sizeof(image),
        .nr_rules = 1,
        .gates_at = offsetof(typeof(image), gate),
        .rules_at = offsetof(typeof(image), rule),
        .order_at = offsetof(typeof(image), order),
        .matches_at = sizeof(image),
        .sets_at = sizeof(image),
        .rates_at = sizeof(image),
        .slots_at = sizeof(image),
    };
    image.rule = (struct vfr_rule){.id = 1,
                                   .action = action,
                                   .protos = 0xffff,
                                   .port_span = 0xffff,
                                   .dscp = VFR_DSCP_NONE};
    image.gate = vfr_rule_gate(&image.rule);
}

static long rules(u32 what, struct serai_vfr_rules *r)
{
    long rc;

    r->op = what;
    rc = HC(arch_7, SERAI_OP_VFR_RULES, r, 0, 0, 0);
    if (!rc)
        generation = r->generation;
    return rc;
}

static long install(u8 action)
{
    struct serai_vfr_rules r = {.generation = generation};

    make_image(action);
    r.image = (u64)&image;
    r.len = sizeof(image);
    return rules(VFR_RULES_INSTALL, &r);
}

static void ruleset(void)
{
    struct serai_vfr_rules r = {.op = VFR_RULES_CHECK};

    group("rules");
    is(rules(VFR_RULES_READ, &r), 0, "read");
    is(r.generation, 0, "there are none");
    is(r.nr_rules, 0, "none at all");
    is(install(VFR_PASS), 0, "one that lets everything pass");
    is(generation, 1, "the first generation");
    r = (struct serai_vfr_rules){.generation = 0, .image = (u64)&image, .len = sizeof(image)};
    is(rules(VFR_RULES_INSTALL, &r), -XEN_EBUSY, "by one who has not seen that");
    is(rules(VFR_RULES_CHECK, &r), 0, "his are good, though");
    r.len = sizeof(image) - 8;
    r.generation = 1;
    is(rules(VFR_RULES_INSTALL, &r), -XEN_EINVAL, "too short an image");
    r.len = 8;
    is(rules(VFR_RULES_INSTALL, &r), -XEN_EINVAL, "not even its head");
    r.len = VFR_IMAGE_MAX + 8UL;
    is(rules(VFR_RULES_INSTALL, &r), -XEN_EINVAL, "too long a one");
    r.len = sizeof(image);
    r.image = UNMAPPED;
    is(rules(VFR_RULES_INSTALL, &r), -XEN_EFAULT, "one that is nowhere");
    r.image = (u64)&image;
    image.rule.from = 7; /* its gate says otherwise */
    is(rules(VFR_RULES_INSTALL, &r), -XEN_EINVAL, "one that contradicts itself");
    r.reserved = 1;
    is(rules(VFR_RULES_INSTALL, &r), -XEN_EINVAL, "a reserved field");
    r.reserved = 0;
    is(rules(3, &r), -XEN_EINVAL, "an unknown operation");
    is(rules(VFR_RULES_READ, &r), 0, "read again");
    is(r.generation, 1, "the first ones are in force");
}

static void connecting(void)
{
    struct serai_vfr_vif v;

    group("connect");
    is(op(&a.vif, VFR_VIF_CONNECT), 0, "a");
    is(op(&b.vif, VFR_VIF_CONNECT), 0, "b");
    ok(a.vif.vif != b.vif.vif, "they are two");
    is(gnt[a.vif.queues[0].tx_ref].flags, GTF_permit_access | GTF_reading | GTF_writing,
       "the ring is in use");
    is(op(&b.vif, VFR_VIF_CONNECT), -XEN_EEXIST, "again");
    v = b.vif;
    v.handle = 77;
    is(op(&v, VFR_VIF_CONNECT), -XEN_EINVAL, "another with the same ports");
    v = (struct serai_vfr_vif){.vif = b.vif.vif};
    is(op(&v, VFR_VIF_READ), 0, "read");
    is(v.handle, 2, "it is b");
    is(v.mac[5], 2, "with its address");
    is(v.prefixes[0].low & 0xff, 2, "and the other one");
    v = (struct serai_vfr_vif){.vif = 0};
    is(op(&v, VFR_VIF_NEXT), 0, "the first");
    is(v.vif, a.vif.vif, "it is a");
    v.vif = 999;
    is(op(&v, VFR_VIF_READ), -XEN_ENOENT, "read none");
    is(op(&v, VFR_VIF_DISCONNECT), -XEN_ENOENT, "disconnect none");
    is(op(&v, 99), -XEN_EINVAL, "an unknown operation");
    is(HC(arch_7, SERAI_OP_VFR_VIF, UNMAPPED, 0, 0, 0), -XEN_EFAULT, "a bad pointer");
}

#define WRONG(field, value, result, what)                                                      \
    v = c.vif;                                                                                 \
    v.field = (value);                                                                         \
    is(op(&v, VFR_VIF_CONNECT), (result), what)

static void connecting_wrongly(void)
{
    struct serai_vfr_vif v;
    struct front c;

    group("connect wrongly");
    prepare(&c, 9, 9);
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
    WRONG(reserved, 1, -XEN_EINVAL, "a reserved field");
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
    is(op(&c.vif, VFR_VIF_CONNECT), 0, "then rightly");
    is(op(&c.vif, VFR_VIF_DISCONNECT), 0, "disconnect");
    is(gnt[c.vif.queues[0].tx_ref].flags, GTF_permit_access, "its ring is free");
    is(op(&c.vif, VFR_VIF_DISCONNECT), -XEN_ENOENT, "disconnect again");
    is(op(&c.vif, VFR_VIF_CONNECT), 0, "connect again");
    is(op(&c.vif, VFR_VIF_DISCONNECT), 0, "disconnect");
}

static void small_packet(void)
{
    struct netif_rx_response *r;
    u8 *got = page;

    group("a small packet");
    push_buffers(&b, 8);
    make_udp(page, 60, 1, 2);
    request(&a, page_ref, 0, 60, 0);
    push_requests(&a);
    is(answer(&a), NETIF_RSP_OKAY, "sent");
    ok(port_pending(a.vif.queues[0].tx_port), "its sender is told");
    r = receive(&b, &got);
    if (!ok(r != NULL, "received"))
        return;
    is(r->status, 60, "60 bytes");
    is(r->flags, 0, "no flags");
    is(r->id, 0, "of the first buffer");
    ok(port_pending(b.vif.queues[0].rx_port), "its receiver is told");
    is(gnt[page_ref].flags, GTF_permit_access | GTF_readonly, "the sender's page is free");
    ok(!memcmp(got + 12, page + 12, 48), "as it was sent");
    ok(got[5] == 2 && got[0] == 2 && got[6] == 2 && got[7] == 0x53, "from the router to b");
    ok(!receive(&b, &got), "once");
    is(drops(&a, VFR_R_NO_ROUTE), 0, "nothing dropped");
}

static void large_packet(void)
{
    u8 *second = page_alloc(), *got = page;
    u32 second_ref = grant_page(second, GTF_readonly), sum = 0, n = 0;
    struct netif_rx_response *r;
    struct netif_extra_info e = {.type = XEN_NETIF_EXTRA_TYPE_GSO,
                                 .u.gso = {.size = 1448, .type = XEN_NETIF_GSO_TYPE_TCPV4}};

    group("a large packet");
    push_buffers(&b, 8);
    make_udp(page, 60, 1, 2);
    make_tcp(2);
    request(&a, page_ref, 0, 60, 0);
    push_requests(&a);
    is(answer(&a), NETIF_RSP_OKAY, "a SYN");
    ok(receive(&b, &got) != NULL, "received");
    for (unsigned i = 0; i < PAGE_SIZE; i++)
        second[i] = (u8)(i * 3);
    make_udp(page, 9000, 1, 2);
    make_tcp(0x10);
    request(&a, page_ref, 0, 9000, NETTXF_more_data | NETTXF_extra_info | NETTXF_csum_blank);
    memcpy(&a.tx->ring[a.sent++ % SLOTS], &e, sizeof(e));
    request(&a, second_ref, 0, 4096, NETTXF_more_data);
    request(&a, second_ref, 100, 808, 0);
    push_requests(&a);
    is(answer(&a), NETIF_RSP_OKAY, "sent");
    is(answer(&a), NETIF_RSP_NULL, "the extra has no answer");
    is(answer(&a), NETIF_RSP_OKAY, "its second page");
    is(answer(&a), NETIF_RSP_OKAY, "its third");
    r = receive(&b, &got);
    if (!ok(r != NULL, "received"))
        return;
    is(r->flags,
       NETRXF_more_data | NETRXF_extra_info | NETRXF_csum_blank | NETRXF_data_validated,
       "the flags of the first buffer");
    ok(!memcmp(got + 12, page + 12, 4084), "the first page");
    sum = r->status;
    r = receive(&b, &got);
    ok(!memcmp(r, &e, sizeof(e)), "the extra");
    while ((r = receive(&b, &got))) {
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

    make_udp(page, 60, 1, 2);
    while (b.posted - b.taken) {
        request(&a, page_ref, 0, 60, 0);
        push_requests(&a);
        if (!ok(answer(&a) == 0 && receive(&b, &got), "a packet takes a buffer"))
            return false;
    }
    return true;
}

/* Until the packet just sent was answered. */
static bool answered(void)
{
    u64 end = clock_ns() + 5000000000;
    int status;

    while ((status = answer(&a)) == 99 && clock_ns() < end)
        ;
    return status == 0;
}

/* The emulated machine may stand still for longer than a packet waits: then it is dropped. */
static void no_buffers(void)
{
    u64 full = drops(&a, VFR_R_RX_FULL), n = 0;
    u8 *got = page;

    group("no buffers");
    if (!use_up_buffers())
        return;
    request(&a, page_ref, 0, 60, 0);
    push_requests(&a);
    push_buffers(&b, 1);
    ok(answered(), "a packet waits for a buffer");
    ok(!!receive(&b, &got) + drops(&a, VFR_R_RX_FULL) - full == 1,
       "and gets it, or has waited too long");
    if (!use_up_buffers())
        return;
    full = drops(&a, VFR_R_RX_FULL);
    while (n < 20 && !drops(&a, VFR_R_RX_SLOW)) {
        request(&a, page_ref, 0, 60, 0);
        push_requests(&a);
        if (!ok(answered(), "one without a buffer is answered"))
            return;
        n++;
    }
    is(n, 9, "eight wait in vain, the ninth not at all");
    is(drops(&a, VFR_R_RX_FULL) - full, 8, "as the counters say");
    push_buffers(&b, 4);
    request(&a, page_ref, 0, 60, 0);
    push_requests(&a);
    is(answer(&a), 0, "with buffers");
    ok(receive(&b, &got) != NULL, "it is served again");
}

static void elsewhere(void)
{
    u8 *got = page;

    group("elsewhere");
    make_udp(page, 60, 1, 77);
    request(&a, page_ref, 0, 60, 0);
    push_requests(&a);
    is(answer(&a), 0, "to an address that nobody has");
    is(drops(&a, VFR_R_NO_ROUTE), 1, "no route");
    is(op(&up.vif, VFR_VIF_CONNECT), 0, "an uplink");
    push_buffers(&up, 4);
    request(&a, page_ref, 0, 60, 0);
    push_requests(&a);
    is(answer(&a), 0, "again");
    ok(receive(&up, &got) != NULL && got[5] == 0xee, "goes to the next hop");
    is(op(&up.vif, VFR_VIF_DISCONNECT), 0, "no uplink");
    request(&a, page_ref, 0, 60, 0);
    push_requests(&a);
    is(drops(&a, VFR_R_NO_ROUTE), 2, "no route again");
    is(answer(&a), 0, "answered");
}

/* One packet from a, which is sent or dropped for this reason. */
static bool goes(enum vfr_reason reason)
{
    u64 before = drops(&a, reason), got_before = b.taken;
    u8 *got = page;

    request(&a, page_ref, 0, 60, 0);
    push_requests(&a);
    answer(&a);
    while (receive(&b, &got))
        push_buffers(&b, 1);
    return reason ? drops(&a, reason) == before + 1 && b.taken == got_before
                  : b.taken == got_before + 1;
}

/* Anything received by a is an answer of the router's; its first bytes. */
static bool told(const u8 *head, unsigned n, unsigned at)
{
    u8 *got = page;
    bool good = receive(&a, &got) && !memcmp(got + at, head, n);

    while (receive(&a, &got))
        ;
    push_buffers(&a, 4 - (a.posted - a.taken));
    return good;
}

static void liars(void)
{
    static const u8 who_has[] = {
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0,  0, 0, 0, 1, 8, 6, 0, 1, 8, 0,   6,   4, 0,
        1,    2,    0,    0,    0,    0,    1, 10, 0, 0, 1, 0, 0, 0, 0, 0, 0, 169, 254, 0, 1};
    static const u8 is_at[] = {ROUTER, 8, 6};

    group("liars");
    push_buffers(&a, 4);
    push_buffers(&b, 4);
    make_udp(page, 60, 1, 2);
    ok(goes(VFR_R_OK), "the truth");
    make_udp(page, 60, 3, 2);
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
    is(install(VFR_DROP), 0, "rules that let nothing pass");
    make_udp(page, 60, 1, 2);
    ok(goes(VFR_R_RULE), "what was let pass before is judged again");
    ok(!told(unreachable, 2, 34), "and its sender not told");
    is(install(VFR_REJECT), 0, "rules that refuse");
    ok(goes(VFR_R_RULE), "it is refused");
    ok(told(unreachable, 2, 34), "and its sender told so");
    make_tcp(2);
    ok(goes(VFR_R_RULE), "a connection too");
    is(install(VFR_PASS), 0, "rules that let everything pass");
    make_udp(page, 60, 1, 2);
    make_tcp(0x10);
    ok(goes(VFR_R_TCP_STATE), "a segment of no connection");
    make_udp(page, 60, 1, 2);
    make_tcp(2);
    ok(goes(VFR_R_OK), "one that opens it");
    make_udp(page, 60, 1, 2);
    make_tcp(0x10);
    ok(goes(VFR_R_OK), "then one of it");
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

        make_udp(page, 60, 1, 2);
        request(&a, ref, bad[i].offset, bad[i].size, bad[i].flags);
        for (unsigned k = 1; k <= bad[i].more; k++)
            request(&a, ref, 0, 61, k < bad[i].more ? NETTXF_more_data : 0);
        push_requests(&a);
        while (answer(&a) != 99)
            n++;
        is(n, 1 + bad[i].more, "%s: answered", bad[i].what);
        ok(!receive(&b, &got), "and not delivered");
        push_buffers(&b, 1);
        request(&a, page_ref, 0, 60, 0);
        push_requests(&a);
        is(answer(&a), 0, "a good one");
        ok(receive(&b, &got) != NULL, "is delivered");
    }
    is(gnt[page_ref].flags, GTF_permit_access | GTF_readonly, "the page is free");
}

/* A bad buffer costs the packet, and nothing else. */
static void bad_buffers(void)
{
    struct netif_rx_response *r;
    u8 *got = page;

    group("bad buffers");
    while (receive(&b, &got))
        ;
    while (b.posted - b.taken) {
        request(&a, page_ref, 0, 60, 0);
        push_requests(&a);
        answer(&a);
        receive(&b, &got);
    }
    post_buffer(&b);
    b.rx->ring[(b.posted - 1) % SLOTS].req.gref = 7;
    __atomic_store_n(&b.rx->req_prod, b.posted, __ATOMIC_SEQ_CST);
    request(&a, page_ref, 0, 60, 0);
    push_requests(&a);
    is(answer(&a), 0, "answered");
    r = receive(&b, &got);
    ok(r && r->status == NETIF_RSP_ERROR, "the buffer comes back with an error");
    post_buffer(&b);
    gnt[next_ref - 1].flags |= GTF_readonly;
    __atomic_store_n(&b.rx->req_prod, b.posted, __ATOMIC_SEQ_CST);
    request(&a, page_ref, 0, 60, 0);
    push_requests(&a);
    is(answer(&a), 0, "answered");
    r = receive(&b, &got);
    ok(r && r->status == NETIF_RSP_ERROR, "a read-only one too");
}

static void wild_rings(void)
{
    static struct front c;
    u64 errors = drops(&a, VFR_R_RING_ERROR);
    u8 *got = page;

    group("wild rings");
    make_udp(page, 60, 1, 2);
    request(&a, page_ref, 0, 60, 0);
    a.tx->req_prod = a.sent + 5000;
    notify(a.vif.queues[0].tx_port);
    is(drops(&a, VFR_R_RING_ERROR), errors + 1, "more requests than a ring has");
    push_requests(&a);
    is(answer(&a), 99, "no more comes from there");
    is(op(&a.vif, VFR_VIF_DISCONNECT), 0, "disconnect it");

    prepare(&c, 9, 9);
    is(op(&c.vif, VFR_VIF_CONNECT), 0, "another one");
    b.rx->req_prod += 1000;
    make_udp(page, 60, 9, 2);
    request(&c, page_ref, 0, 60, 0);
    push_requests(&c);
    ok(!receive(&b, &got), "more buffers than a ring has: the packet does not come");
    is(op(&c.vif, VFR_VIF_DISCONNECT), 0, "disconnect its sender, which may wait");
    is(op(&b.vif, VFR_VIF_DISCONNECT), 0, "disconnect b");
    is(gnt[page_ref].flags, GTF_permit_access | GTF_readonly, "the page is free");
}

void test_vif(void)
{
    gnt_init(4);
    page = page_alloc();
    page_ref = grant_page(page, GTF_readonly);
    ruleset();
    prepare(&a, 1, 1);
    prepare(&b, 2, 2);
    prepare(&up, 3, 0);
    connecting();
    connecting_wrongly();
    small_packet();
    large_packet();
    no_buffers();
    elsewhere();
    liars();
    verdicts();
    bad_requests();
    bad_buffers();
    wild_rings();
}
