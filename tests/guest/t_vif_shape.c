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

static void put_packet(struct front *f, const struct sender *s)
{
    static const struct netif_extra_info large = {
        .type = XEN_NETIF_EXTRA_TYPE_GSO,
        .u.gso = {.size = 1448, .type = XEN_NETIF_GSO_TYPE_TCPV4}};
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
        put_packet(&s->f, s);
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
    u64 rate = measure(queues, 150 * MS);

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

/* ---- turns ---- */

static struct front up, other;
static u64 longest; /* time that a sender had to wait for an answer */

/* Eight interfaces, sender i's packets of lens[i & 3] bytes to an address that is outside. */
static void connect_senders(const u32 *lens)
{
    for (unsigned i = 0; i < SENDERS; i++) {
        struct sender *s = &senders[i];
        const u8 me = (u8)(i + 1);

        front_prepare(&s->f, me, me);
        s->f.sent = s->f.answered = 0;
        is(front_op(&s->f.vif, VFR_VIF_CONNECT), 0, "sender %u", i);
        if (lens[i & 3] > 1514) {
            make_packet(s, 60, me, 200);
            front_tcp(s->page, 2);
            front_send(&s->f, s->refs[0], 60, NETTXF_csum_blank);
            take(&up);
        }
        make_packet(s, lens[i & 3], me, 200);
    }
}

static void disconnect_senders(void)
{
    for (unsigned i = 0; i < SENDERS; i++)
        disconnect(&senders[i].f);
}

/* All send what they can until so many bytes have come out. */
static void run_turns(u64 bytes)
{
    u64 end = clock_ns() + 5000 * MS;

    while (all_got() < bytes && clock_ns() < end) {
        for (unsigned i = 0; i < SENDERS; i++)
            fill(&senders[i]);
        take(&up);
    }
}

/* Jain's index in thousandths: 1000 is perfectly fair. */
static u64 jain(void)
{
    u64 sum = 0, squares = 0;

    for (unsigned i = 1; i <= SENDERS; i++) {
        u64 x = got[i] / 1024;

        sum += x;
        squares += x * x;
    }
    return squares ? sum * sum * 1000 / (squares * SENDERS) : 0;
}

static void turns(unsigned buffers, const u32 *lens)
{
    group("turns");
    front_prepare(&up, 9, 0);
    up.sent = up.answered = up.posted = up.taken = 0;
    front_connect(&up, buffers);
    connect_senders(lens);
    clear_got();
    run_turns(2000000);
    clear_got();
    run_turns(6000000);
    for (unsigned i = 1; i <= SENDERS; i++)
        note("%u bytes: %lu", lens[(i - 1) & 3], got[i]);
    ok(jain() >= 980, "8 senders, %u buffers: Jain 0.%lu", buffers, jain());
    for (unsigned i = 0; i < SENDERS; i++)
        is(front_drops(&senders[i].f, VFR_R_RX_FULL) +
               front_drops(&senders[i].f, VFR_R_RX_SLOW),
           0, "sender %u lost nothing", i);
    disconnect_senders();
    disconnect(&up);
}

/* One who needs more buffers than there are is not passed by one who needs fewer. */
static void no_overtaking(void)
{
    u8 *data = senders[0].page;

    group("no overtaking");
    front_prepare(&up, 9, 0);
    up.sent = up.answered = up.posted = up.taken = 0;
    front_connect(&up, 5);
    connect_senders((const u32[]){65535, 60, 60, 60});
    put_packet(&senders[0].f, &senders[0]);
    front_push(&senders[0].f);
    put_packet(&senders[1].f, &senders[1]);
    front_push(&senders[1].f);
    is(front_answer(&senders[0].f), 99, "a large packet waits for buffers");
    is(front_answer(&senders[1].f), 99, "so does a small one, although there are some");
    front_push_buffers(&up, 13);
    is(front_answer(&senders[0].f), 0, "the large one goes");
    is(front_answer(&senders[1].f), 0, "and the small one");
    ok(front_receive(&up, &data) && data[29] == 1, "in that order");
    disconnect_senders();
    disconnect(&up);
}

/* ---- what one does to the others ---- */

/* One begins flows as fast as it can; the others lose nothing. */
static void flood(void)
{
    u32 sent = 0, come = 0, port = 0;

    group("flood");
    connect_senders((const u32[]){106, 106, 106, 106});
    for (unsigned i = 0; i < SENDERS; i++)
        make_packet(&senders[i], 106, (u8)(i + 1), 100);
    clear_got();
    for (unsigned round = 0; round < 400; round++) {
        struct sender *s = &senders[0];

        for (unsigned k = 0; k < 40; k++) {
            while (front_answer(&s->f) != 99)
                ;
            s->page[34] = (u8)(++port >> 8);
            s->page[35] = (u8)port;
            put_packet(&s->f, s);
            front_push(&s->f);
        }
        for (unsigned i = 1; i < SENDERS; i++, sent++) {
            while (front_answer(&senders[i].f) != 99)
                ;
            put_packet(&senders[i].f, &senders[i]);
            front_push(&senders[i].f);
        }
        take(&sink);
    }
    take(&sink);
    for (unsigned i = 2; i <= SENDERS; i++)
        come += (u32)(got[i] / 106);
    is(come, sent, "what the others sent came");
    ok(front_drops(&senders[0].f, VFR_R_FLOW_RATE) +
               front_drops(&senders[0].f, VFR_R_FLOW_QUOTA) >
           1000,
       "and not all of the flood");
    disconnect_senders();
}

/* Bytes for the sink while every other packet is for one who may take nothing, or only says so. */
static u64 to_two(u64 ns, bool takes, bool says)
{
    struct front *f = &senders[0].f;
    u64 now = clock_ns(), end = now + ns, last = now;

    clear_got();
    longest = 0;
    while ((now = clock_ns()) < end) {
        const u32 before = f->answered;

        while (front_answer(f) != 99)
            ;
        if (f->answered != before || f->answered == f->sent) {
            longest = now - last > longest ? now - last : longest;
            last = now;
        }
        for (bool odd = false; f->sent - f->answered < 32; odd = !odd)
            put_packet(f, &senders[odd]);
        front_push(f);
        take(&sink);
        if (takes)
            front_drain(&other);
        if (says)
            front_notify(other.vif.queues[0].rx_port);
    }
    return got[1];
}

static void dead_receiver(void)
{
    u64 all, rest;

    group("one who takes nothing");
    front_prepare(&senders[0].f, 1, 1);
    senders[0].f.sent = senders[0].f.answered = 0;
    is(front_op(&senders[0].f.vif, VFR_VIF_CONNECT), 0, "a sender");
    make_packet(&senders[0], 1514, 1, 100);
    make_packet(&senders[1], 1514, 1, 101);
    front_prepare(&other, 101, 101);
    front_connect(&other, FRONT_SLOTS);
    all = to_two(60 * MS, true, false);
    while (front_drops(&senders[0].f, VFR_R_RX_FULL) == 0)
        to_two(MS, false, false);
    rest = to_two(60 * MS, false, false);
    note("to the others: %lu of %lu bytes, the longest stall %lu ns", rest, all, longest);
    ok(rest * 100 >= all * 80, "80 %% to the others");
    ok(longest <= 1200000, "no stall of more than 1 ms");
    rest = to_two(60 * MS, false, true);
    note("to the others: %lu of %lu bytes, the longest stall %lu ns", rest, all, longest);
    ok(rest * 100 >= all * 80, "80 %% also when it says that there is room");
    ok(longest <= 1200000, "no stall of more than 1 ms");
    disconnect(&other);
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
    turns(64, (const u32[]){60, 65535, 60, 65535});
    turns(32, (const u32[]){60, 1514, 65535, 106});
    turns(200, (const u32[]){60, 1514, 65535, 65535});
    no_overtaking();
    flood();
    dead_receiver();
}
