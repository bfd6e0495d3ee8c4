/*
 * Who may send how much: an interface's rate, with one queue and with eight; turns between those
 * who send to one; and that nobody else suffers from a flood, or from a receiver that takes
 * nothing. In the guest's time, which with -icount goes by instructions.
 */
#include "front.h"

#define SENDERS 8
#define GSO     16 /* pages of a large packet */
#define MS      1000000UL

/* A sender is an interface of its own, or a queue of one. */
struct sender {
    struct front f;
    u32 slots; /* that a packet takes */
    u8 *page;
    u32 refs[GSO];
};

static struct sender senders[SENDERS];
static struct front sink;
static u64 got[SENDERS + 1]; /* bytes, by the last byte of who sent them */

static void put_packet(struct sender *s)
{
    static const struct netif_extra_info large = {
        .type = XEN_NETIF_EXTRA_TYPE_GSO,
        .u.gso = {.size = 1448, .type = XEN_NETIF_GSO_TYPE_TCPV4}};
    struct front *f = &s->f;
    u32 len = (u32)s->page[16] << 8 | s->page[17];

    len += 14;
    if (s->slots == 1) {
        front_request(f, s->refs[0], 0, len, NETTXF_csum_blank);
        return;
    }
    front_request(f, s->refs[0], 0, len,
                  NETTXF_more_data | NETTXF_extra_info | NETTXF_csum_blank);
    memcpy(&f->tx->ring[f->sent++ % FRONT_SLOTS], &large, sizeof(large));
    for (unsigned i = 1; i < GSO; i++)
        front_request(f, s->refs[i], 0, i < GSO - 1 ? 4096 : len - (GSO - 1) * 4096,
                      i < GSO - 1 ? NETTXF_more_data : 0);
}

/* It has as much to send as its ring takes. */
static void fill(struct sender *s)
{
    while (front_answer(&s->f) != 99)
        ;
    if (FRONT_SLOTS - (s->f.sent - s->f.answered) < s->slots)
        return;
    do
        put_packet(s);
    while (FRONT_SLOTS - (s->f.sent - s->f.answered) >= s->slots);
    front_push(&s->f);
}

/* What has come for 'f' is counted, and its buffers are given back; how many came. */
static unsigned take(struct front *f)
{
    const u32 before = f->taken;
    static unsigned from;
    bool more = false;
    u8 *data;

    for (struct netif_rx_response *r; (r = front_receive(f, &data));) {
        if (!more)
            from = data[29];
        if (from <= SENDERS && r->status > 0)
            got[from] += (u32)r->status;
        more = r->flags & NETRXF_more_data;
        if (r->flags & NETRXF_extra_info)
            f->taken++;
    }
    for (u32 n = f->taken - before; n; n--)
        front_post(f);
    if (f->taken != before) {
        __atomic_store_n(&f->rx->req_prod, f->posted, __ATOMIC_SEQ_CST);
        front_notify(f->vif.queues[0].rx_port);
    }
    return f->taken - before;
}

/* Packets of 'len' bytes from 10.0.0.'from' to 10.0.0.'to'. */
static void make_packet(struct sender *s, u32 len, u8 from, u8 to)
{
    if (!s->page)
        for (unsigned i = 0; i < GSO; i++)
            s->refs[i] = front_grant(i ? page_alloc() : (s->page = page_alloc()), 0);
    front_udp(s->page, len > 1514 ? 1514 : len, from, to);
    s->page[16] = (u8)((len - 14) >> 8);
    s->page[17] = (u8)(len - 14);
    s->slots = len > 4096 ? GSO + 1 : 1;
    if (len > 1514)
        front_tcp(s->page, 0x10);
}

static void clear_got(void)
{
    memset(got, 0, sizeof(got));
}

static u64 all_got(void)
{
    u64 sum = 0;

    for (unsigned i = 0; i <= SENDERS; i++)
        sum += got[i];
    return sum;
}

/* ---- rates ---- */

/* An interface of so many queues, each a sender. */
static void connect_queues(unsigned queues, u64 bytes, u32 usec)
{
    struct serai_vfr_vif *v = &senders[0].f.vif;

    for (unsigned i = 0; i < queues; i++) {
        front_prepare(&senders[i].f, 1, 1);
        senders[i].f.sent = senders[i].f.answered = 0;
        v->queues[i] = senders[i].f.vif.queues[0];
        make_packet(&senders[i], i & 1 ? 106 : 1514, 1, 100);
    }
    v->nr_queues = (u8)queues;
    v->rate_bytes = bytes;
    v->rate_usec = usec;
    is(front_op(v, VFR_VIF_CONNECT), 0, "an interface of %u queues, %lu bytes in %u us", queues,
       bytes, usec);
}

static void disconnect(struct front *f)
{
    is(front_op(&f->vif, VFR_VIF_DISCONNECT), 0, "it goes");
}

/* All send what they can for so long. */
static void run(unsigned queues, u64 ns)
{
    u64 end = clock_ns() + ns;

    while (clock_ns() < end) {
        for (unsigned i = 0; i < queues; i++)
            fill(&senders[i]);
        take(&sink);
    }
}

/* Bytes a second once the burst is over. */
static u64 measure(unsigned queues, u64 ns)
{
    u64 begin;

    run(queues, 60 * MS);
    clear_got();
    begin = clock_ns();
    run(queues, ns);
    return all_got() * 1000000000UL / (clock_ns() - begin);
}

static void expect_rate(unsigned queues, u64 want)
{
    u64 rate = measure(queues, 200 * MS);

    note("%u queues: %lu bytes a second of %lu", queues, rate, want);
    ok(rate * 100 > want * 98 && rate * 100 < want * 102, "within 2 %%");
    is(front_drops(&senders[0].f, VFR_R_RATE), 0, "nothing was dropped for it");
}

static void rates(void)
{
    struct serai_vfr_vif v = {0};
    u64 before;

    group("rates");
    connect_queues(1, 200000, 50000);
    expect_rate(1, 4000000);
    v = (struct serai_vfr_vif){.vif = senders[0].f.vif.vif};
    is(front_op(&v, VFR_VIF_READ), 0, "read");
    ok(v.rate_bytes == 200000 && v.rate_usec == 50000, "its rate");
    v.rate_bytes = 20000;
    v.rate_usec = 1000;
    v.origin = VFR_BY_SERAI;
    is(front_op(&v, VFR_VIF_RATE), 0, "another one while it rests");
    expect_rate(1, 20000000);
    v.rate_usec = 0;
    is(front_op(&v, VFR_VIF_RATE), -XEN_EINVAL, "in no time");
    v.rate_usec = 100;
    v.rate_bytes = 0;
    is(front_op(&v, VFR_VIF_RATE), -XEN_EINVAL, "nothing at all");
    v.rate_bytes = 1000000000001;
    is(front_op(&v, VFR_VIF_RATE), -XEN_EINVAL, "too much");
    v.rate_bytes = 1000;
    v.origin = VFR_ORIGINS;
    is(front_op(&v, VFR_VIF_RATE), -XEN_EINVAL, "by nobody");
    v.origin = 0;
    v.vif = 4095;
    is(front_op(&v, VFR_VIF_RATE), -XEN_ENOENT, "of no interface");
    v.vif = senders[0].f.vif.vif;
    v.rate_bytes = v.rate_usec = 0;
    is(front_op(&v, VFR_VIF_RATE), 0, "none");
    before = measure(1, 20 * MS);
    ok(before > 40000000, "as much as it likes: %lu", before);
    disconnect(&senders[0].f);
    senders[0].f.vif.rate_usec = 0;
    is(front_op(&senders[0].f.vif, VFR_VIF_CONNECT), -XEN_EINVAL, "connect with a bad rate");
}

/* The limit is the interface's, and each of its queues gets a share of it. */
static void eight_queues(void)
{
    u32 before[SENDERS];

    group("eight queues");
    connect_queues(SENDERS, 200000, 50000);
    expect_rate(SENDERS, 4000000);
    for (unsigned i = 0; i < SENDERS; i++)
        before[i] = senders[i].f.answered;
    run(SENDERS, 50 * MS);
    for (unsigned i = 0; i < SENDERS; i++)
        ok(senders[i].f.answered != before[i], "queue %u goes on", i);
    disconnect(&senders[0].f);
}

void test_vif_shape(void)
{
    gnt_init(16);
    is(front_install(VFR_PASS), 0, "rules");
    front_prepare(&sink, 100, 100);
    front_connect(&sink, FRONT_SLOTS);
    rates();
    eight_queues();
}
