/*
 * Mixed traffic, round after round: interfaces come, lease ports, say everything that interfaces say
 * and what they should not, meet other rules, and go. After each round nothing of theirs may be left: pages
 * that they granted, the hypervisor's memory, leases, flows. With -icount a run can be repeated to the
 * instruction; the words seed= and rounds= say which and how long, and the last line what it came to.
 */
#include "abi/vfr_log.h"
#include "frame.h"
#include "tiny.h"

#define ROUNDS  12 /* with 60 more flows begin than an interface may have at once */
#define PACKETS 2500
#define X       IP4(192, 0, 2, 1)
#define PEER    IP4(198, 51, 100, 7)
#define REST    130UL /* seconds, in which leases and pieces end */
#define FRONTS  3
#define STAY                                                                                   \
    4 /* pages: what grows with the most that there was at once; no more in 96 rounds than in 24 */

static struct front fronts[FRONTS]; /* a, b, the wire's */
static u8 *page;
static u32 page_ref;
static u64 digest;

static void pass_time(u64 ns)
{
    u64 end = clock_ns() + ns;

    while (clock_ns() < end)
        poll_port(1, end); /* nobody sends to it */
}

/* What nobody read is given up, as a daemon would that has stored it. */
static void read_logs(void)
{
    static const u32 rings[] = {0, VFR_RING_AUDIT};

    for (unsigned i = 0; i < 2; i++) {
        struct serai_vfr_log o = {.op = VFR_LOG_READ, .ring = rings[i], .done = ~0UL};

        HC(arch_7, SERAI_OP_VFR_LOG, &o, 0, 0, 0);
        o.done = o.at = o.produced;
        o.capacity = 0;
        HC(arch_7, SERAI_OP_VFR_LOG, &o, 0, 0, 0);
    }
}

/* ---- interfaces ---- */

static void close_port(u32 port)
{
    struct evtchn_close c = {.port = port};

    hc_evtchn(EVTCHNOP_close, &c);
}

/* Its rings as a driver leaves them that begins. */
static void begin_anew(struct front *f)
{
    memset(f->tx, 0, PAGE_SIZE);
    memset(f->rx, 0, PAGE_SIZE);
    f->tx->req_event = f->tx->rsp_event = f->rx->req_event = f->rx->rsp_event = 1;
    f->sent = f->answered = f->posted = f->taken = 0;
    f->vif.queues[0].tx_port = front_new_port();
    f->vif.queues[0].rx_port = front_new_port();
    f->vif.generation = front_generation;
}

static unsigned connect_all(void)
{
    unsigned wrong = 0;

    for (unsigned i = 0; i < FRONTS; i++) {
        begin_anew(&fronts[i]);
        wrong += front_op(&fronts[i].vif, VFR_VIF_CONNECT) != 0;
        front_push_buffers(&fronts[i], 32);
    }
    for (unsigned i = 0; i < 2; i++)
        wrong += front_lease(X, &fronts[i], (u16)(4096 * (1 + i)), 12, VFR_PC_BLOCK) != 0;
    return wrong;
}

static unsigned disconnect_all(void)
{
    unsigned wrong = 0;

    for (unsigned i = 0; i < FRONTS; i++) {
        struct front *f = &fronts[i];

        wrong += front_op(&f->vif, VFR_VIF_DISCONNECT) != 0;
        close_port(f->vif.queues[0].tx_port);
        close_port(f->vif.queues[0].rx_port);
    }
    return wrong;
}

/* ---- packets ---- */

static u32 address(void)
{
    static const u32 all[] = {IP4(10, 0, 0, 1), IP4(10, 0, 0, 2), X, PEER, IP4(169, 254, 0, 1)};

    return rand_below(16) ? all[rand_below(5)] : (u32)rand64();
}

static u32 some_frame(u8 who)
{
    static const u8 protos[] = {17, 17, 17, 6, 6, 1, 50, 47};
    const u8 proto = protos[rand_below(8)];
    const u8 mac = (u8)(who == 2 ? 0 : who + 1);
    const u32 own[] = {IP4(10, 0, 0, 1), IP4(10, 0, 0, 2), PEER};
    const u32 src = rand_below(8) ? rand_below(4) || who == 2 ? own[who] : X : address();
    u32 body = 40 + (u32)rand_below(900), len;

    if (!rand_below(8)) {
        len = frame_ip6(page, mac, mac, (u8)rand_below(4), 17, body);
        frame_udp(page, (u16)rand64(), 7);
        return len;
    }
    len = frame_ip4(page, mac, src, address(), proto, body);
    if (proto == 17)
        frame_udp(page, (u16)(4096 + rand_below(8192)), (u16)rand_below(60000));
    else if (proto == 6)
        frame_ports(page + FRAME_IP4, (u16)(4096 + rand_below(8192)), (u16)rand_below(60000));
    else if (proto == 1)
        frame_echo(page, rand_below(2) ? 8 : 0, (u16)rand_below(64));
    if (proto == 6) {
        page[FRAME_IP4 + 12] = 0x50;
        page[FRAME_IP4 + 13] = rand_below(3) ? 2 : (u8)rand64();
    }
    if (!rand_below(6))
        frame_piece4(page, (u16)rand_below(32),
                     rand_below(2) ? IP4_MF
                                   : (u32)rand_below(64) | (rand_below(2) ? IP4_MF : 0));
    return len;
}

static u64 traffic(void)
{
    u64 arrived = 0;

    for (unsigned n = 0; n < PACKETS; n++) {
        const u8 who = (u8)rand_below(FRONTS);
        u32 len = some_frame(who);

        if (!rand_below(20))
            page[rand_below(80)] = (u8)rand64();
        front_send(&fronts[who], page_ref, len, 0);
        while (front_answer(&fronts[who]) != 99)
            ;
        for (unsigned i = 0; i < FRONTS; i++)
            arrived += front_drain(&fronts[i]);
        if (n % 500 == 499) {
            front_install(n % 1000 == 999 ? VFR_PASS : (u8)(VFR_PASS + rand_below(3)));
            read_logs();
            pass_time(1000000000);
        }
    }
    return arrived;
}

/* What it came to goes into the digest; true: an interface's flows were used up. */
static bool account(void)
{
    bool quota = false;

    for (unsigned i = 0; i < FRONTS; i++) {
        struct serai_vfr_vif v = {.vif = fronts[i].vif.vif};

        if (front_op(&v, VFR_VIF_READ))
            return true;
        for (unsigned r = 0; r < VFR_REASON_COUNT; r++)
            digest = (digest ^ v.drops[r]) * 0x100000001b3;
        digest = (digest ^ v.sent_bytes ^ v.received_bytes << 32) * 0x100000001b3;
        quota |= v.drops[VFR_R_FLOW_QUOTA];
    }
    return quota;
}

/* ---- what may not be left ---- */

static unsigned leases_held(void)
{
    static struct vfr_lease_info list[16];
    struct serai_vfr_lease l = {.op = VFR_LEASE_LIST, .capacity = 16, .entries = (u64)list};

    return HC(arch_7, SERAI_OP_VFR_LEASE, &l, 0, 0, 0) ? 99 : l.count;
}

static unsigned grants_in_use(void)
{
    unsigned n = 0;

    for (u32 ref = 8; ref < 1024; ref++)
        n += (gnt[ref].flags & (GTF_reading | GTF_writing)) != 0;
    return n;
}

void test_vif_soak(void)
{
    const u64 rounds = option_number("rounds", ROUNDS), seed = option_number("seed", 1);
    unsigned refused = 0, pins = 0, leases = 0, quotas = 0;
    u64 before = 0, arrived = 0, fewest = ~0UL;

    page = front_begin(&page_ref);
    rand_seed(seed);
    front_install(VFR_PASS);
    for (u8 i = 0; i < FRONTS; i++) {
        front_prepare(&fronts[i], i + 1, (u8)(i == 2 ? 0 : i + 1));
        if (i == 2)
            break;
        front_add_ip6(&fronts[i], i + 1);
        front_add_shared(&fronts[i], X);
    }
    is(front_share(X), 0, "an address is shared");
    for (u64 n = 0; n < rounds; n++) {
        u64 came;

        refused += connect_all();
        came = traffic();
        arrived += came;
        fewest = came < fewest ? came : fewest;
        quotas += account();
        refused += disconnect_all();
        pins += grants_in_use();
        pass_time(REST * 1000000000);
        read_logs();
        leases += leases_held();
        /* In the first two rounds tables come into being that stay. */
        if (n == 1)
            before = free_pages();
    }
    is(refused, 0, "%lu rounds: nothing is refused", rounds);
    ok(fewest > PACKETS / 20, "packets arrive in each: %lu at least", fewest);
    is(pins, 0, "no grant is in use when interfaces have gone");
    is(leases, 0, "no lease is left");
    is(quotas, 0, "no flow is left");
    ok(free_pages() + STAY >= before, "no memory is missing: %lu pages free, %lu before",
       free_pages(), before);
    note("seed %lu, %lu rounds, %lu arrived, digest %lx", seed, rounds, arrived, digest);
}
