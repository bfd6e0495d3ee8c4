/*
 * What a packet costs the router, in ticks of the time-stamp counter: instructions, with -icount.
 * Two front ends of one kernel; the figures are the least of many rounds and have the guest's own
 * part of the event's hypercall in them. bench/vfr/run makes a table of them.
 */
#include "abi/vfr_log.h"
#include "front.h"

#define BATCH  32
#define FLOWS  4
#define ROUNDS 20
#define OTHERS 998 /* interfaces beside the two */
#define EACH   101 /* flows that each of them begins */

static struct front a, b;
static u8 *pages[16]; /* what is sent: a packet of several pages lies in the first of them */
static u32 refs[16];

/* Takes what has come, and gives the buffers back; how many there were. */
static unsigned drain(struct front *f)
{
    unsigned n = 0;
    u8 *got;

    while (front_answer(f) != 99)
        ;
    for (; front_receive(f, &got); n++)
        front_post(f);
    __atomic_store_n(&f->rx->req_prod, f->posted, __ATOMIC_SEQ_CST);
    return n;
}

/* The queue's requests are moved; ticks for each of n. */
static u64 push(struct front *f, unsigned n)
{
    u64 t = tsc_now();

    front_push(f);
    return (tsc_now() - t) / n;
}

/* The least of many batches of the packet in pages[0]. */
static u64 small(u32 len)
{
    u64 least = ~0UL, t;

    for (unsigned round = 0; round < ROUNDS; round++) {
        for (unsigned i = 0; i < BATCH; i++)
            front_request(&a, refs[0], 0, len, NETTXF_csum_blank);
        t = push(&a, BATCH);
        least = t < least ? t : least;
        if (!is(drain(&b), BATCH, "all of a batch arrive"))
            break;
        drain(&a);
    }
    return least;
}

/* Packets of several flows, each followed by one of the next flow. */
static u64 mixed(u32 len)
{
    u64 least = ~0UL, t;

    for (unsigned i = 0; i < FLOWS; i++) {
        front_udp(pages[i], len, 1, 2);
        pages[i][35] = (u8)(100 + i);
    }
    for (unsigned round = 0; round < ROUNDS; round++) {
        for (unsigned i = 0; i < BATCH; i++)
            front_request(&a, refs[i % FLOWS], 0, len, NETTXF_csum_blank);
        t = push(&a, BATCH);
        least = t < least ? t : least;
        if (!is(drain(&b), BATCH, "all of a mixed batch arrive"))
            break;
        drain(&a);
    }
    return least;
}

/* A flow of 'a' to 'b' whose first packet has come. */
static void open_tcp(void)
{
    front_udp(pages[0], 60, 1, 2);
    front_tcp(pages[0], 2);
    front_request(&a, refs[0], 0, 60, 0);
    push(&a, 1);
    is(drain(&b), 1, "a connection is opened");
    drain(&a);
}

static void put_length(u8 *p, u32 len)
{
    p[16] = (u8)((len - 14) >> 8);
    p[17] = (u8)(len - 14);
}

/* One packet of 64 KiB less a bit, in 16 pages, to be cut by whoever sends it on a wire. */
static u64 large(void)
{
    const struct netif_extra_info e = {
        .type = XEN_NETIF_EXTRA_TYPE_GSO,
        .u.gso = {.size = 1448, .type = XEN_NETIF_GSO_TYPE_TCPV4}};
    const u32 len = 65535;
    u64 least = ~0UL, t;

    front_udp(pages[0], 1514, 1, 2);
    put_length(pages[0], len);
    front_tcp(pages[0], 0x10);
    for (unsigned round = 0; round < ROUNDS; round++) {
        front_request(&a, refs[0], 0, len,
                      NETTXF_more_data | NETTXF_extra_info | NETTXF_csum_blank);
        memcpy(&a.tx->ring[a.sent++ % FRONT_SLOTS], &e, sizeof(e));
        for (unsigned i = 1; i < 16; i++)
            front_request(&a, refs[i], 0, i < 15 ? 4096 : 4095, i < 15 ? NETTXF_more_data : 0);
        t = push(&a, 1);
        least = t < least ? t : least;
        if (!is(drain(&b), 17, "a large packet arrives"))
            break;
        drain(&a);
    }
    return least;
}

/* A question and its answer, each alone. */
static u64 round_trip(void)
{
    u64 least = ~0UL, t;

    for (unsigned round = 0; round < ROUNDS; round++) {
        front_udp(pages[0], 60, 1, 2);
        front_tcp(pages[0], 0x18);
        front_request(&a, refs[0], 0, 60, NETTXF_csum_blank);
        t = push(&a, 1);
        front_udp(pages[1], 60, 2, 1);
        front_tcp(pages[1], 0x18);
        memcpy(pages[1] + 34, (u8[]){0, 9, 0, 7}, 4);
        front_request(&b, refs[1], 0, 60, NETTXF_csum_blank);
        t += push(&b, 1);
        least = t < least ? t : least;
        if (!is(drain(&a) + drain(&b), 2, "there and back"))
            break;
    }
    return least;
}

/* Datagrams from one port after the other: each begins a flow. */
static u64 beginnings(u32 from, u32 n)
{
    u64 least = ~0UL, t;

    for (u32 port = from; port < from + n; port++) {
        front_udp(pages[0], 106, 1, 2);
        pages[0][34] = (u8)(port >> 8);
        pages[0][35] = (u8)port;
        front_request(&a, refs[0], 0, 106, NETTXF_csum_blank);
        t = push(&a, 1);
        least = t < least ? t : least;
        drain(&a);
        if (drain(&b) != 1)
            return 0;
    }
    return least;
}

/* The rule writes down what it lets pass, or does not any longer. */
static void set_log(u8 log)
{
    struct serai_vfr_rules r = {
        .image = (u64)&front_image, .len = sizeof(front_image), .generation = front_generation};

    front_image.rule.log = log;
    is(front_rules(VFR_RULES_INSTALL, &r), 0, "rules with log %u", log);
}

/* Nobody wants to know what was changed. */
static void forget_changes(void)
{
    struct serai_vfr_log o = {.op = VFR_LOG_READ, .ring = VFR_RING_AUDIT, .done = ~0UL};

    HC(arch_7, SERAI_OP_VFR_LOG, &o, 0, 0, 0);
    o.at = o.done = o.produced;
    is(HC(arch_7, SERAI_OP_VFR_LOG, &o, 0, 0, 0), 0, "the audit log is read");
}

/*
 * One more interface, 10.0.'net'.'last'. All have the same rings, and only the last one that came is
 * told that something is in them.
 */
static bool add_other(struct front *f, u16 handle, u8 net, u8 last)
{
    f->sent = f->answered = 0;
    memset(f->tx, 0, PAGE_SIZE);
    f->tx->req_event = f->tx->rsp_event = 1;
    f->vif.handle = handle;
    f->vif.generation = front_generation;
    f->vif.mac[4] = net;
    f->vif.mac[5] = last;
    f->vif.queues[0] = (struct serai_vfr_queue){front_grant(f->tx, 0), front_grant(f->rx, 0),
                                                front_new_port(), front_new_port()};
    f->vif.prefixes[0].low = 0xffff0a000000UL | (u64)net << 8 | last;
    return !front_op(&f->vif, VFR_VIF_CONNECT);
}

/* Its flows, to 'b'; false: not all have begun. */
static bool begin_flows(struct front *f, u8 net, u8 last)
{
    u8 *p = pages[0];

    for (unsigned port = 1; port <= EACH; port++) {
        front_udp(p, 60, last, 2);
        p[10] = p[28] = net;
        front_sum(p);
        p[35] = (u8)port;
        front_request(f, refs[0], 0, 60, 0);
        front_push(f);
        if (drain(&b) != 1)
            return false;
        while (front_answer(f) != 99)
            ;
    }
    return true;
}

/* Makes the many interfaces, and their flows. */
static bool crowd(void)
{
    static struct front other;

    front_prepare(&other, 3, 1);
    for (u16 i = 0; i < OTHERS; i++) {
        const u8 net = (u8)(1 + i / 250), last = (u8)(1 + i % 250);

        if (!add_other(&other, (u16)(3 + i), net, last) || !begin_flows(&other, net, last))
            return ok(false, "interface %u", i);
        if (i % 100 == 99)
            forget_changes();
    }
    return true;
}

void test_vif_bench(void)
{
    u64 udp64, in_turn, udp1472, tcp1448, gso, rr, first, logged, first_logged, crowded = 0;

    group("costs of the router");
    gnt_init(8);
    for (unsigned i = 0; i < 16; i++) {
        pages[i] = page_alloc();
        refs[i] = front_grant(pages[i], 0);
    }
    is(front_install(VFR_PASS), 0, "rules");
    front_prepare(&a, 1, 1);
    front_prepare(&b, 2, 2);
    is(front_op(&a.vif, VFR_VIF_CONNECT), 0, "one end");
    is(front_op(&b.vif, VFR_VIF_CONNECT), 0, "the other");
    front_push_buffers(&a, 128);
    front_push_buffers(&b, 128);
    front_udp(pages[0], 106, 1, 2);
    udp64 = small(106);
    in_turn = mixed(106);
    front_udp(pages[0], 1514, 1, 2);
    udp1472 = small(1514);
    open_tcp();
    front_udp(pages[0], 1514, 1, 2);
    front_tcp(pages[0], 0x10);
    tcp1448 = small(1514);
    gso = large();
    rr = round_trip();
    first = beginnings(1024, 1000);
    set_log(VFR_LOG_ALL);
    front_udp(pages[0], 106, 1, 2);
    logged = small(106);
    first_logged = beginnings(2024, 1000);
    set_log(0);
    if (crowd()) {
        front_udp(pages[0], 106, 1, 2);
        crowded = small(106);
    }
    note("ticks: udp64 %lu, udp1472 %lu, tcp1448 %lu, gso %lu, rr %lu, first %lu, logged %lu, "
         "first_logged %lu, crowded %lu, mixed %lu",
         udp64, udp1472, tcp1448, gso, rr, first, logged, first_logged, crowded, in_turn);
}
