/* Flows of the Virtual Firewall Router: states and times, quotas, chains, new secrets. */
#include "core/vfr_flow.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define FLOWS 256
#define VIFS  8
#define S     1000000000L
#define FIN   0x01
#define SYN   0x02
#define RST   0x04
#define ACK   0x10

enum { ICMP = 1, TCP = 6, UDP = 17, GRE = 47 };

static struct vfr_flow flows[FLOWS];
static struct vfr_flow_bucket buckets[VFR_FLOW_BUCKETS(FLOWS) + VFR_FLOW_OVERFLOW(FLOWS)];
static struct vfr_flow_vif vifs[VIFS];
static struct vfr_flow_table t;
static const u64 secret[4] = {0x9e3779b97f4a7c15, 0xbf58476d1ce4e5b9, 0x94d049bb133111eb,
                              0xd6e8feb86659fd93};
static const u64 other_secret[4] = {0x2545f4914f6cdd1d, 0x369dea0f31a53f85, 0xdb4f0b9175ae2165,
                                    0x106689d45497fdb5};

static unsigned nr_ended;
static enum vfr_flow_end last_end;
static struct vfr_flow last_flow;

static void ended(void *arg, const struct vfr_flow *f, enum vfr_flow_end why)
{
    assert_ptr_equal(arg, &t);
    nr_ended++;
    last_end = why;
    last_flow = *f;
}

static int start(void **state)
{
    const struct vfr_flow_memory m = {flows, buckets, vifs, FLOWS, VIFS, ended, &t};

    memset(flows, 0xa5, sizeof(flows));
    nr_ended = 0;
    return vfr_flow_init(&t, &m, secret);
}

static int finish(void **state)
{
    return vfr_flow_check(&t);
}

/* ---- packets ---- */

struct packet {
    struct vfr_tuple tuple;
    u16 flags;
    struct vfr_flow_use use;
};

/* From host 'a' behind interface a to host 'b' behind interface b. */
static struct packet packet(u8 proto, u16 a, u16 sport, u16 b, u16 dport, ns_t now)
{
    return (struct packet){
        .tuple = {VFR_IP4(0x0a000000 + a), VFR_IP4(0x0a000000 + b), sport, dport, proto},
        .use = {.now = now, .bytes = 100, .oldest = 1, .in = a, .out = b}};
}

static struct packet tcp(u16 a, u16 sport, u16 b, u16 dport, u8 tcp_flags, ns_t now)
{
    struct packet p = packet(TCP, a, sport, b, dport, now);

    p.use.tcp_flags = tcp_flags;
    return p;
}

static struct vfr_flow_hit hit;

static enum vfr_flow_result look(const struct packet *p)
{
    struct vfr_flow_key key;

    vfr_flow_key(&t, &p->tuple, 0, p->flags, &key);
    return vfr_flow_lookup(&t, &key, &p->use, &hit);
}

static int create_with(const struct packet *p, bool pickup, u32 *index)
{
    const struct vfr_flow_new new = {
        .use = p->use, .verdict = {1, 77, 7, 0x5}, .pickup = pickup};
    struct vfr_flow_key key;

    vfr_flow_key(&t, &p->tuple, 0, p->flags, &key);
    return vfr_flow_create(&t, &key, &new, index);
}

static int create(const struct packet *p)
{
    u32 index;

    return create_with(p, false, &index);
}

/* What the router does with a packet that the rules would let pass. */
static int send(struct packet p)
{
    enum vfr_flow_result r = look(&p);

    assert_int_not_equal(r, VFR_FLOW_BUSY);
    return r == VFR_FLOW_MISS ? create(&p) : VFR_R_OK;
}

/* ---- tests ---- */

static void bad_sizes(void **state)
{
    struct vfr_flow_memory m = {flows, buckets, vifs, FLOWS, VIFS, NULL, NULL};
    static const u32 wrong[] = {0, 32, 65, 96, VFR_FLOWS_MAX * 2, ~0U};

    for (unsigned i = 0; i < ARRAY_SIZE(wrong); i++) {
        m.nr_flows = wrong[i];
        assert_int_equal(vfr_flow_init(&t, &m, secret), -XEN_EINVAL);
    }
    m.nr_flows = FLOWS;
    m.nr_vifs = 0;
    assert_int_equal(vfr_flow_init(&t, &m, secret), -XEN_EINVAL);
    m.nr_vifs = VFR_VIFS_MAX + 1;
    assert_int_equal(vfr_flow_init(&t, &m, secret), -XEN_EINVAL);
    assert_int_equal(sizeof(struct vfr_flow), 128);
    assert_int_equal(sizeof(struct vfr_flow_bucket), 64);
}

static void udp_both_ways(void **state)
{
    struct packet ask = packet(UDP, 1, 1000, 2, 53, 5 * S);
    struct packet answer = packet(UDP, 2, 53, 1, 1000, 6 * S);
    const struct vfr_flow *f;
    u32 i;

    assert_int_equal(look(&ask), VFR_FLOW_MISS);
    assert_int_equal(create_with(&ask, false, &i), VFR_R_OK);
    f = &flows[i];
    assert_int_equal(f->state, VFR_FLOW_NEW);
    assert_int_equal(look(&ask), VFR_FLOW_HIT);
    assert_false(hit.answer);
    assert_int_equal(hit.flow, i);
    assert_int_equal(hit.rule_index, 7);
    assert_int_equal(hit.log, 5);
    answer.use.bytes = 1400;
    assert_int_equal(look(&answer), VFR_FLOW_HIT);
    assert_true(hit.answer);
    assert_int_equal(f->state, VFR_FLOW_OPEN);
    assert_int_equal(f->packets[0], 2);
    assert_int_equal(f->packets[1], 1);
    assert_int_equal(f->bytes[0], 200);
    assert_int_equal(f->bytes[1], 1400);
    assert_int_equal(f->created, 5 * S);
    assert_int_equal(f->last, 6 * S);
    assert_int_equal(f->rule, 77);
    assert_int_equal(vifs[1].flows, 1);
    assert_int_equal(vifs[2].flows, 0);
}

/* The same numbers elsewhere are another flow. */
static void keys_differ(void **state)
{
    struct packet p = packet(UDP, 1, 1000, 2, 53, 0), q;
    struct vfr_flow_key key;

    assert_int_equal(send(p), VFR_R_OK);
    q = p, q.tuple.sport++;
    assert_int_equal(look(&q), VFR_FLOW_MISS);
    q = p, q.tuple.dport++;
    assert_int_equal(look(&q), VFR_FLOW_MISS);
    q = p, q.tuple.sport = p.tuple.dport, q.tuple.dport = p.tuple.sport;
    assert_int_equal(look(&q), VFR_FLOW_MISS);
    q = p, q.tuple.proto = TCP;
    assert_int_equal(look(&q), VFR_FLOW_MISS);
    q = p, q.tuple.src.low++;
    assert_int_equal(look(&q), VFR_FLOW_MISS);
    q = p, q.tuple.dst.high++;
    assert_int_equal(look(&q), VFR_FLOW_MISS);
    vfr_flow_key(&t, &p.tuple, 1, 0, &key);
    assert_int_equal(vfr_flow_lookup(&t, &key, &p.use, &hit), VFR_FLOW_MISS);
}

/* Two domains behind one shared address; and one that talks to itself. */
static void one_address(void **state)
{
    struct packet p = packet(UDP, 1, 4100, 2, 8200, 0), back = packet(UDP, 2, 8200, 1, 4100, 0);
    struct packet self = packet(UDP, 1, 4100, 1, 4100, 0);

    p.tuple.dst = back.tuple.src = p.tuple.src;
    assert_int_equal(send(p), VFR_R_OK);
    assert_int_equal(look(&back), VFR_FLOW_HIT);
    assert_true(hit.answer);
    assert_int_equal(look(&p), VFR_FLOW_HIT);
    assert_false(hit.answer);
    assert_int_equal(send(self), VFR_R_OK);
    assert_int_equal(look(&self), VFR_FLOW_HIT);
    assert_false(hit.answer);
}

/* An interface that is not the flow's has no part in it. */
static void elsewhere(void **state)
{
    struct packet p = packet(UDP, 1, 1000, 2, 53, 0), q = p;

    assert_int_equal(send(p), VFR_R_OK);
    q.use.in = 3;
    assert_int_equal(look(&q), VFR_FLOW_MISS);
    q = p, q.use.out = 3;
    assert_int_equal(look(&q), VFR_FLOW_MISS);
    assert_int_equal(look(&p), VFR_FLOW_HIT);
    /* The rules let it pass there: the old one is over. */
    assert_int_equal(create(&q), VFR_R_OK);
    assert_int_equal(nr_ended, 1);
    assert_int_equal(look(&p), VFR_FLOW_MISS);
    assert_int_equal(look(&q), VFR_FLOW_HIT);
}

static void tcp_opens_and_closes(void **state)
{
    const struct vfr_flow *f = &flows[0];

    assert_int_equal(send(tcp(1, 1000, 2, 80, SYN, 0)), VFR_R_OK);
    assert_int_equal(f->state, VFR_FLOW_NEW);
    assert_int_equal(send(tcp(1, 1000, 2, 80, SYN, 1 * S)), VFR_R_OK);
    assert_int_equal(f->state, VFR_FLOW_NEW);
    assert_int_equal(send(tcp(2, 80, 1, 1000, ACK, 1 * S)), VFR_R_OK);
    assert_int_equal(f->state, VFR_FLOW_NEW);
    assert_int_equal(send(tcp(2, 80, 1, 1000, SYN | ACK, 1 * S)), VFR_R_OK);
    assert_int_equal(f->state, VFR_FLOW_OPEN);
    /* 2 h 10 m of silence is not too much. */
    assert_int_equal(send(tcp(1, 1000, 2, 80, ACK, 7801 * S)), VFR_R_OK);
    assert_int_equal(send(tcp(1, 1000, 2, 80, FIN | ACK, 7802 * S)), VFR_R_OK);
    assert_int_equal(f->state, VFR_FLOW_OPEN);
    assert_int_equal(send(tcp(1, 1000, 2, 80, FIN | ACK, 7802 * S)), VFR_R_OK);
    assert_int_equal(f->state, VFR_FLOW_OPEN);
    assert_int_equal(send(tcp(2, 80, 1, 1000, FIN | ACK, 7803 * S)), VFR_R_OK);
    assert_int_equal(f->state, VFR_FLOW_CLOSING);
    assert_int_equal(send(tcp(1, 1000, 2, 80, ACK, 7803 * S)), VFR_R_OK);
    assert_int_equal(f->state, VFR_FLOW_CLOSING);
    assert_int_equal(vfr_flow_sweep(&t, 7823 * S, 1000), 0);
    assert_int_equal(vfr_flow_sweep(&t, 7823 * S + 1, 1000), 1);
    assert_int_equal(last_end, VFR_END_OVER);
    assert_int_equal(last_flow.packets[0] + last_flow.packets[1], 9);
}

static void tcp_needs_a_syn(void **state)
{
    static const u8 none[] = {0,         ACK,       FIN,       RST,       SYN | ACK,
                              SYN | RST, SYN | FIN, FIN | ACK, RST | ACK, 0x3f};
    u32 i;

    for (unsigned n = 0; n < ARRAY_SIZE(none); n++)
        assert_int_equal(send(tcp(1, 1000, 2, 80, none[n], 0)), VFR_R_TCP_STATE);
    assert_int_equal(t.used, 0);
    /* Congestion bits do not matter. */
    assert_int_equal(send(tcp(1, 1000, 2, 80, SYN | 0xc0, 0)), VFR_R_OK);
    assert_int_equal(flows[0].marks & VFR_FLOW_PICKED_UP, 0);

    struct packet p = tcp(3, 1000, 4, 80, ACK, 0);

    assert_int_equal(create_with(&p, true, &i), VFR_R_OK);
    assert_int_equal(flows[i].state, VFR_FLOW_NEW);
    assert_int_equal(send(tcp(4, 80, 3, 1000, ACK, 0)), VFR_R_OK);
    assert_int_equal(flows[i].state, VFR_FLOW_OPEN);
    p = tcp(3, 1001, 4, 80, RST, 0);
    assert_int_equal(create_with(&p, true, &i), VFR_R_TCP_STATE);
}

/* A reset ends a connection, unless the side it seemed to come from goes on. */
static void tcp_resets(void **state)
{
    const struct vfr_flow *f = &flows[0];

    assert_int_equal(send(tcp(1, 1000, 2, 80, SYN, 0)), VFR_R_OK);
    assert_int_equal(send(tcp(2, 80, 1, 1000, SYN | ACK, 0)), VFR_R_OK);
    assert_int_equal(send(tcp(2, 80, 1, 1000, RST, 0)), VFR_R_OK);
    assert_int_equal(f->state, VFR_FLOW_CLOSING);
    assert_int_equal(send(tcp(1, 1000, 2, 80, ACK, 1 * S)), VFR_R_OK);
    assert_int_equal(f->state, VFR_FLOW_CLOSING);
    assert_int_equal(send(tcp(2, 80, 1, 1000, ACK, 1 * S)), VFR_R_OK);
    assert_int_equal(f->state, VFR_FLOW_OPEN);
    assert_int_equal(send(tcp(1, 1000, 2, 80, RST | ACK, 2 * S)), VFR_R_OK);
    assert_int_equal(f->state, VFR_FLOW_CLOSING);
    /* The same ports again, from the other side. */
    assert_int_equal(send(tcp(2, 80, 1, 1000, SYN, 3 * S)), VFR_R_OK);
    assert_int_equal(nr_ended, 1);
    assert_int_equal(last_end, VFR_END_OVER);
    assert_int_equal(f->vif[0], 2);
    assert_int_equal(f->state, VFR_FLOW_NEW);
    assert_int_equal(f->id, 2);
    /* Refused at once. */
    assert_int_equal(send(tcp(1, 1000, 2, 80, RST | ACK, 3 * S)), VFR_R_OK);
    assert_int_equal(f->state, VFR_FLOW_CLOSING);
    assert_int_equal(f->marks & VFR_FLOW_ANSWERED, 0);
}

/* The last moment of each, and the first one that is too late. */
static void idle_times(void **state)
{
    static const struct {
        u8 proto, first, answer, close;
        bool hold;
        s64 seconds;
    } kinds[] = {
        {TCP, SYN, 0, 0, false, 30},
        {TCP, SYN, SYN | ACK, 0, false, 7800},
        {TCP, SYN, SYN | ACK, RST, false, 20},
        {TCP, SYN, SYN | ACK, RST, true, 120},
        {UDP, 0, 0, 0, false, 30},
        {UDP, 0, 1, 0, false, 180},
        {GRE, 0, 0, 0, false, 30},
        {GRE, 0, 1, 0, false, 180},
        {ICMP, 0, 0, 0, false, 60},
        {ICMP, 0, 1, 0, false, 60},
    };

    for (unsigned n = 0; n < ARRAY_SIZE(kinds); n++) {
        struct packet p = packet(kinds[n].proto, 1, 9, 2, 9, 100 * S);
        struct packet q = packet(kinds[n].proto, 2, 9, 1, 9, 100 * S);
        struct vfr_flow_new new = {.verdict = {1, 1, 1, 1}, .hold = kinds[n].hold};
        struct vfr_flow_key key;
        u32 i;

        p.use.tcp_flags = kinds[n].first;
        p.flags = kinds[n].proto == ICMP ? VFR_P_QUERY : 0;
        q.flags = kinds[n].proto == ICMP ? VFR_P_ANSWER : 0;
        new.use = p.use;
        vfr_flow_key(&t, &p.tuple, 0, p.flags, &key);
        assert_int_equal(vfr_flow_create(&t, &key, &new, &i), VFR_R_OK);
        q.use.tcp_flags = kinds[n].answer;
        if (kinds[n].answer)
            assert_int_equal(look(&q), VFR_FLOW_HIT);
        p.use.tcp_flags = kinds[n].close;
        if (kinds[n].close)
            assert_int_equal(look(&p), VFR_FLOW_HIT);
        p.use.tcp_flags = kinds[n].proto == TCP ? ACK : 0;
        p.use.now = (100 + kinds[n].seconds) * S + 1;
        assert_int_equal(look(&p), VFR_FLOW_MISS);
        assert_int_equal(vfr_flow_sweep(&t, p.use.now - 1, FLOWS), 0);
        assert_int_equal(vfr_flow_sweep(&t, 20000 * S, FLOWS), 1);
        assert_int_equal(last_end, kinds[n].close ? VFR_END_OVER : VFR_END_IDLE);
    }
}

/* Another CPU's clock may be a little behind: that is not late. */
static void clock_behind(void **state)
{
    struct packet p = packet(UDP, 1, 1000, 2, 53, 10 * S);

    assert_int_equal(send(p), VFR_R_OK);
    p.use.now = 9 * S;
    assert_int_equal(look(&p), VFR_FLOW_HIT);
    assert_int_equal(vfr_flow_sweep(&t, 9 * S, FLOWS), 0);
}

/* Who asks and who answers are no mirror images: both may ask with the same number. */
static void icmp_questions(void **state)
{
    struct packet ask = packet(ICMP, 1, 77, 2, 77, 0), answer = packet(ICMP, 2, 77, 1, 77, 0);
    struct packet crossing = answer;

    ask.flags = crossing.flags = VFR_P_QUERY;
    answer.flags = VFR_P_ANSWER;
    assert_int_equal(send(answer), VFR_R_ICMP_UNSOLICITED);
    assert_int_equal(send(ask), VFR_R_OK);
    assert_int_equal(look(&answer), VFR_FLOW_HIT);
    assert_int_equal(flows[0].state, VFR_FLOW_OPEN);
    assert_int_equal(look(&crossing), VFR_FLOW_MISS);
    assert_int_equal(send(crossing), VFR_R_OK);
    assert_int_equal(t.used, 2);
    assert_int_equal(look(&crossing), VFR_FLOW_HIT);
    assert_int_equal(hit.flow, 1);
    assert_false(hit.answer);
    answer = packet(ICMP, 1, 77, 2, 77, 0);
    answer.flags = VFR_P_ANSWER;
    assert_int_equal(look(&answer), VFR_FLOW_HIT);
    assert_int_equal(hit.flow, 1);
    ask.flags = 0; /* neither: a redirect, a router's word */
    ask.tuple.sport = ask.tuple.dport = 0;
    assert_int_equal(send(ask), VFR_R_ICMP_UNSOLICITED);
}

/* An error finds the flow of what it complains about, changes nothing there, keeps nothing alive. */
static void icmp_errors(void **state)
{
    struct packet p = packet(UDP, 1, 1000, 2, 53, 0), e = p;
    const struct vfr_flow *f = &flows[0];

    e.flags = VFR_P_INNER;
    e.use = (struct vfr_flow_use){.now = 20 * S, .bytes = 56, .oldest = 1, .in = 5, .out = 1};
    assert_int_equal(look(&e), VFR_FLOW_MISS);
    assert_int_equal(send(e), VFR_R_ICMP_UNSOLICITED);
    assert_int_equal(send(p), VFR_R_OK);
    assert_int_equal(look(&e), VFR_FLOW_HIT);
    assert_true(hit.answer);
    assert_int_equal(f->state, VFR_FLOW_NEW);
    assert_int_equal(f->last, 0);
    assert_int_equal(f->packets[1], 1);
    assert_int_equal(f->bytes[1], 56);
    e.use.out = 2; /* that is not who sent it */
    assert_int_equal(look(&e), VFR_FLOW_MISS);
    assert_int_equal(send(packet(UDP, 2, 53, 1, 1000, 1 * S)), VFR_R_OK);
    e.tuple = packet(UDP, 2, 53, 1, 1000, 0).tuple;
    assert_int_equal(look(&e), VFR_FLOW_HIT);
    assert_false(hit.answer);
    assert_int_equal(f->packets[0], 2);
    e.use.now = 182 * S;
    assert_int_equal(look(&e), VFR_FLOW_MISS);
}

/* Who asked is known whatever way the answer comes, as long as the flow lives; nothing changes. */
static enum vfr_flow_result whose(const struct packet *p, u16 *vif)
{
    struct vfr_flow_key key;

    vfr_flow_key(&t, &p->tuple, 0, p->flags, &key);
    return vfr_flow_whose(&t, &key, p->use.now, vif);
}

static void owners(void **state)
{
    struct packet ask = packet(ICMP, 1, 77, 2, 77, 0), answer = packet(ICMP, 2, 77, 1, 77, 0);
    struct packet error = ask;
    u16 vif = VFR_NOBODY;

    ask.flags = VFR_P_QUERY;
    answer.flags = VFR_P_ANSWER;
    error.flags = VFR_P_INNER;
    assert_int_equal(whose(&ask, &vif), VFR_FLOW_MISS);
    assert_int_equal(vif, VFR_NOBODY);
    assert_int_equal(send(ask), VFR_R_OK);
    for (int i = 0; i < 3; i++) {
        vif = VFR_NOBODY;
        assert_int_equal(whose(i == 0 ? &ask : i == 1 ? &answer : &error, &vif), VFR_FLOW_HIT);
        assert_int_equal(vif, 1);
    }
    assert_int_equal(flows[0].packets[0], 1);
    assert_int_equal(flows[0].packets[1], 0);
    answer.flags = VFR_P_QUERY; /* a question of the other side's is no flow of this one's */
    assert_int_equal(whose(&answer, &vif), VFR_FLOW_MISS);
    assert_int_equal(vfr_flow_rekey(&t, other_secret), 0);
    assert_int_equal(whose(&ask, &vif), VFR_FLOW_HIT);
    while (!vfr_flow_rekey_step(&t, 8))
        assert_int_equal(whose(&ask, &vif), VFR_FLOW_HIT);
    assert_int_equal(whose(&ask, &vif), VFR_FLOW_HIT);
    for (u32 i = 0; i <= t.mask; i++)
        buckets[i].lock = 1;
    assert_int_equal(whose(&ask, &vif), VFR_FLOW_BUSY);
    for (u32 i = 0; i <= t.mask; i++)
        buckets[i].lock = 0;
    ask.use.now = 61 * S;
    assert_int_equal(whose(&ask, &vif), VFR_FLOW_MISS);
}

static void new_rules(void **state)
{
    const struct vfr_flow_verdict verdict = {2, 88, 8, 0};
    struct packet p = packet(UDP, 1, 1000, 2, 53, 0), answer = packet(UDP, 2, 53, 1, 1000, 0);
    struct vfr_flow_key key;

    assert_int_equal(send(p), VFR_R_OK);
    answer.use.oldest = 2;
    assert_int_equal(look(&answer), VFR_FLOW_STALE);
    assert_true(hit.answer);
    assert_int_equal(flows[0].packets[1], 0);
    assert_int_equal(flows[0].state, VFR_FLOW_NEW);
    vfr_flow_key(&t, &answer.tuple, 0, 0, &key);
    assert_int_equal(vfr_flow_confirm(&t, &key, &verdict), 0);
    assert_int_equal(look(&answer), VFR_FLOW_HIT);
    assert_int_equal(hit.rule_index, 8);
    assert_int_equal(flows[0].rule, 88);
    /* Generations are compared around the end of the numbers. */
    answer.use.oldest = 0xfffffff0;
    assert_int_equal(look(&answer), VFR_FLOW_HIT);
    answer.use.oldest = 3;
    assert_int_equal(look(&answer), VFR_FLOW_STALE);
    assert_int_equal(vfr_flow_kill(&t, &key), 0);
    assert_int_equal(last_end, VFR_END_FORCED);
    assert_int_equal(look(&answer), VFR_FLOW_MISS);
    assert_int_equal(vfr_flow_confirm(&t, &key, &verdict), 0);
    assert_int_equal(vfr_flow_kill(&t, &key), 0);
    assert_int_equal(nr_ended, 1);
}

/* An interface over its quota gives up its own oldest question, and nobody else's. */
static void quota(void **state)
{
    vfr_flow_set_limits(&t, 1, 4, 0);
    assert_int_equal(send(packet(UDP, 2, 1, 3, 1, 0)), VFR_R_OK);
    for (u16 n = 0; n < 4; n++)
        assert_int_equal(send(packet(UDP, 1, 100 + n, 2, 53, 0)), VFR_R_OK);
    assert_int_equal(send(packet(UDP, 2, 53, 1, 100, 0)),
                     VFR_R_OK); /* the oldest is answered */
    assert_int_equal(nr_ended, 0);
    assert_int_equal(send(packet(UDP, 1, 104, 2, 53, 0)), VFR_R_OK);
    assert_int_equal(nr_ended, 1);
    assert_int_equal(last_end, VFR_END_RECYCLED);
    assert_int_equal(last_flow.sport, 101);
    assert_int_equal(vifs[1].flows, 4);
    assert_int_equal(vifs[1].recycled, 1);
    for (u16 n = 102; n < 105; n++)
        assert_int_equal(send(packet(UDP, 2, 53, 1, n, 0)), VFR_R_OK);
    assert_int_equal(send(packet(UDP, 1, 200, 2, 53, 0)), VFR_R_FLOW_QUOTA);
    assert_int_equal(vifs[1].over_quota, 1);
    assert_int_equal(nr_ended, 1);
    assert_int_equal(t.used, 5);
    /* What is lowered below what there is stays. */
    vfr_flow_set_limits(&t, 1, 1, 0);
    assert_int_equal(send(packet(UDP, 1, 200, 2, 53, 0)), VFR_R_FLOW_QUOTA);
    assert_int_equal(vifs[1].flows, 4);
}

static void rate(void **state)
{
    vfr_flow_set_limits(&t, 1, 1000, 10);
    for (u16 n = 0; n < 11; n++)
        assert_int_equal(send(packet(UDP, 1, n, 2, 53, 5 * S)), VFR_R_OK);
    assert_int_equal(send(packet(UDP, 1, 50, 2, 53, 5 * S)), VFR_R_FLOW_RATE);
    assert_int_equal(vifs[1].over_rate, 1);
    assert_int_equal(send(packet(UDP, 3, 50, 2, 53, 5 * S)), VFR_R_OK);
    assert_int_equal(send(packet(UDP, 1, 50, 2, 53, 5 * S + S / 10)), VFR_R_OK);
    assert_int_equal(send(packet(UDP, 1, 51, 2, 53, 5 * S + S / 10)), VFR_R_FLOW_RATE);
    assert_int_equal(send(packet(UDP, 9, 51, 2, 53, 5 * S)), VFR_R_VIF_DOWN);
}

/* Interfaces that take all they can get leave something for the next one. */
static void nobody_starves(void **state)
{
    for (u16 v = 0; v < VIFS; v++)
        vfr_flow_set_limits(&t, v, FLOWS, 0);
    for (u16 n = 0; n < 400; n++)
        for (u16 v = 0; v < VIFS - 1; v++) {
            struct packet answer = packet(UDP, 7, 53, v, n, 0);

            (void)send(packet(UDP, v, n, 7, 53, 0));
            (void)look(&answer);
        }
    for (u16 v = 0; v < VIFS - 1; v++)
        assert_in_range(vifs[v].flows, FLOWS / VIFS - 1, FLOWS / VIFS + 1);
    for (u16 n = 1000; n < 1000 + FLOWS / VIFS / 2 - 1; n++)
        assert_int_equal(send(packet(UDP, 7, n, 1, n, 0)), VFR_R_OK);
    assert_int_equal(nr_ended, 0);
}

static void killed(void **state)
{
    struct vfr_flow_match m = {.vif = 3};
    u32 at = 0, steps = 0;

    for (u16 n = 0; n < 40; n++) {
        assert_int_equal(send(packet(UDP, 1 + n % 4, 100 + n, 5, 53, 0)), VFR_R_OK);
        assert_int_equal(send(packet(TCP, 1, 100 + n, 2, 53, 0)), VFR_R_TCP_STATE);
    }
    while (!vfr_flow_kill_some(&t, &m, &at, 7))
        steps++;
    assert_int_equal(steps, 5);
    assert_int_equal(nr_ended, 10);
    assert_int_equal(vifs[3].flows, 0);
    assert_int_equal(last_end, VFR_END_FORCED);
    /* A lease: ports 104 to 108 of host 1, of which it used two; other hosts use the others. */
    m = (struct vfr_flow_match){VFR_IP4(0x0a000001), 104, 108, VFR_NOBODY, UDP};
    at = 0;
    assert_true(vfr_flow_kill_some(&t, &m, &at, FLOWS));
    assert_int_equal(nr_ended, 12);
    m = (struct vfr_flow_match){VFR_IP4(0x0a000005), 53, 53, VFR_NOBODY, TCP};
    at = 0;
    assert_true(vfr_flow_kill_some(&t, &m, &at, FLOWS));
    assert_int_equal(nr_ended, 12);
    m = (struct vfr_flow_match){.vif = 5};
    at = 0;
    assert_true(vfr_flow_kill_some(&t, &m, &at, FLOWS));
    assert_int_equal(nr_ended, 40);
    assert_int_equal(t.used, 0);
}

/* A lock that is taken: whoever needs it says so, and nothing has changed. */
static void busy(void **state)
{
    struct packet p = packet(UDP, 1, 1000, 2, 53, 0), again = p;
    const struct vfr_flow_verdict verdict = {2, 88, 8, 0};
    const struct vfr_flow_match all = {.vif = VFR_NOBODY};
    struct vfr_flow_bucket *home;
    struct vfr_flow_key key;
    u32 at = 0;

    vfr_flow_key(&t, &p.tuple, 0, 0, &key);
    home = &buckets[key.hash & t.mask];
    home->lock = 1;
    assert_int_equal(look(&p), VFR_FLOW_BUSY);
    assert_int_equal(create(&p), -XEN_EAGAIN);
    home->lock = 0;
    assert_int_equal(create(&p), VFR_R_OK);
    home->lock = 1;
    again.use.in = 3;
    assert_int_equal(create(&again), -XEN_EAGAIN);
    assert_int_equal(vfr_flow_confirm(&t, &key, &verdict), -XEN_EAGAIN);
    assert_int_equal(vfr_flow_kill(&t, &key), -XEN_EAGAIN);
    assert_int_equal(vfr_flow_sweep(&t, 1000 * S, FLOWS), 0);
    assert_false(vfr_flow_kill_some(&t, &all, &at, FLOWS));
    assert_int_equal(at, 0);
    vfr_flow_set_limits(&t, 1, 1, 0);
    again = packet(UDP, 1, 7, 2, 53, 0);
    assert_int_equal(create(&again), -XEN_EAGAIN);
    assert_int_equal(vfr_flow_rekey(&t, other_secret), 0);
    assert_false(vfr_flow_rekey_step(&t, FLOWS));
    home->lock = 0;
    /* There is such a flow by now. */
    assert_int_equal(create(&p), -XEN_EAGAIN);
    /* This key is of another time: what it does not find may be there. */
    assert_int_equal(vfr_flow_lookup(&t, &key, &p.use, &hit), VFR_FLOW_HIT);
    key.word++;
    assert_int_equal(vfr_flow_lookup(&t, &key, &p.use, &hit), VFR_FLOW_BUSY);
    assert_int_equal(vfr_flow_confirm(&t, &key, &verdict), -XEN_EAGAIN);
    assert_int_equal(vfr_flow_kill(&t, &key), -XEN_EAGAIN);
    assert_int_equal(nr_ended, 0);
    for (u32 i = 0; i <= t.mask; i++)
        assert_int_equal(buckets[i].lock, 0);
    assert_int_equal(look(&p), VFR_FLOW_HIT);
    assert_true(vfr_flow_rekey_step(&t, FLOWS));
    assert_int_equal(look(&p), VFR_FLOW_HIT);
}

/* An attacker who knows the secret fills one chain; a new one takes it apart. */
static u32 fill_one_chain(void)
{
    struct vfr_flow_key key;
    u32 made = 0;

    for (u32 n = 0; n < 65536 && made < 100; n++) {
        struct packet p = packet(UDP, 1, (u16)n, 2, 53, 0);

        vfr_flow_key(&t, &p.tuple, 0, 0, &key);
        if ((key.hash & t.mask) == 5) {
            int rc = create(&p);

            if (rc == VFR_R_FLOW_QUOTA)
                break;
            assert_int_equal(rc, VFR_R_OK);
            made++;
        }
    }
    return made;
}

static void long_chain(void **state)
{
    const struct vfr_flow_match all = {.vif = VFR_NOBODY};
    u32 at = 0;

    vfr_flow_set_limits(&t, 1, FLOWS, 0);
    assert_int_equal(fill_one_chain(), VFR_FLOW_PLACES * VFR_FLOW_CHAIN);
    assert_int_equal(vfr_flow_check(&t), 0);
    assert_true(vfr_flow_wants_rekey(&t));
    assert_int_equal(vfr_flow_rekey(&t, other_secret), 0);
    assert_int_equal(vfr_flow_rekey(&t, other_secret), -XEN_EBUSY);
    assert_false(vfr_flow_wants_rekey(&t));
    for (unsigned steps = 0; !vfr_flow_rekey_step(&t, 4); steps++) {
        assert_int_equal(vfr_flow_check(&t), 0);
        assert_in_range(steps, 0, 20);
        for (u32 i = 0; i < VFR_FLOW_PLACES * VFR_FLOW_CHAIN; i++) {
            struct packet p = packet(UDP, 2, 53, 1, flows[i].sport, 0);

            assert_int_equal(look(&p), VFR_FLOW_HIT);
        }
    }
    assert_int_equal(t.used, VFR_FLOW_PLACES * VFR_FLOW_CHAIN);
    assert_int_equal(t.lost, 0);
    assert_false(vfr_flow_wants_rekey(&t));
    assert_true(vfr_flow_kill_some(&t, &all, &at, FLOWS));
    assert_int_equal(t.used, 0);
    assert_int_equal(t.overflowed, 0);
}

static u64 next_random(u64 *seed)
{
    *seed = *seed * 6364136223846793005UL + 1442695040888963407UL;
    return *seed >> 33;
}

/* Anything in any order; the invariants hold, and what was let in is found until it ended. */
static void random_orders(void **state)
{
    const struct vfr_flow_match all = {.vif = VFR_NOBODY};
    static const u8 some[] = {SYN, SYN | ACK, ACK, FIN | ACK, RST};
    u64 seed = 1;
    u32 moved = 0, at = 0;
    ns_t now = 0;

    for (u16 v = 0; v < VIFS; v++)
        vfr_flow_set_limits(&t, v, 60, 0);
    for (u32 step = 0; step < 30000; step++) {
        u64 r = next_random(&seed);
        u16 a = r & 7, b = r >> 3 & 7, sport = r >> 6 & 15, dport = r >> 10 & 7;
        struct packet p = packet(r >> 14 & 1 ? TCP : UDP, a, sport, b, dport, now);

        if (p.tuple.proto == TCP)
            p.use.tcp_flags = some[(r >> 15) % ARRAY_SIZE(some)];
        (void)send(p);
        now += r >> 20 & 31 ? S / 100 : S;
        if (!(r >> 25 & 31))
            vfr_flow_sweep(&t, now, r >> 9 & 63);
        if (t.epoch & 1)
            moved += vfr_flow_rekey_step(&t, 3);
        else if (!(step % 501))
            assert_int_equal(vfr_flow_rekey(&t, step & 1 ? other_secret : secret), 0);
        if (!(step % 20))
            assert_int_equal(vfr_flow_check(&t), 0);
    }
    assert_true(t.begun > 5000 && moved > 10);
    assert_true(vfr_flow_kill_some(&t, &all, &at, FLOWS));
    assert_int_equal(t.used, 0);
    assert_int_equal(nr_ended, t.begun);
}

/* Full, of addresses and ports that differ in a few bits: chains stay as short as by chance. */
static void hash_spreads(void **state)
{
    enum { MANY = 65536 };
    const struct vfr_flow_memory m = {
        malloc(MANY * sizeof(struct vfr_flow)),
        aligned_alloc(64, (VFR_FLOW_BUCKETS(MANY) + VFR_FLOW_OVERFLOW(MANY)) *
                              sizeof(struct vfr_flow_bucket)),
        vifs,
        MANY,
        VIFS,
        NULL,
        NULL};

    for (unsigned kind = 0; kind < 4; kind++) {
        assert_int_equal(vfr_flow_init(&t, &m, kind & 1 ? secret : other_secret), 0);
        for (u32 n = 0; n < MANY / 2; n++) {
            struct packet p = packet(UDP, 1, 1000, 2, 53, 0);

            vfr_flow_set_limits(&t, 1, MANY, 0);
            if (kind < 2)
                p.tuple.sport = (u16)n;
            else if (kind == 2)
                p.tuple.src.low += n, p.tuple.dport = (u16)~n;
            else
                p.tuple.src.high = (u64)n << 40, p.tuple.dst.low ^= n;
            assert_int_equal(create(&p), VFR_R_OK);
        }
        /* Two in a bucket on average: a Poisson distribution has 0.03 % behind the eighth. */
        assert_in_range(t.overflowed, 0, MANY / 2 / 1000);
    }
    assert_int_equal(vfr_flow_check(&t), 0);
    free(m.flow);
    free(m.bucket);
}

/* Each invariant can be seen to be broken. */
static void check_sees(void **state)
{
    struct vfr_flow_key key;
    struct packet p = packet(UDP, 1, 1000, 2, 53, 0);

    assert_int_equal(send(p), VFR_R_OK);
    assert_int_equal(send(packet(UDP, 1, 1001, 2, 53, 0)), VFR_R_OK);
    assert_int_equal(vfr_flow_check(&t), 0);
    vfr_flow_key(&t, &p.tuple, 0, 0, &key);
#define BREAKS(what, to, number)                                                               \
    do {                                                                                       \
        __auto_type was = (what);                                                              \
        (what) = (to);                                                                         \
        assert_int_equal(vfr_flow_check(&t), number);                                          \
        (what) = was;                                                                          \
    } while (0)
    BREAKS(buckets[key.hash & t.mask].tag[0], 2, 1);
    BREAKS(buckets[key.hash & t.mask].flow[0], 1, 1);
    BREAKS(flows[0].sport, 1001, 1);
    BREAKS(t.used, 3, 1);
    BREAKS(t.overflowed, 1, 2);
    BREAKS(buckets[key.hash & t.mask].next, t.mask + 1, 2);
    BREAKS(t.free_bucket, 0, 3);
    BREAKS(t.free, 0, 3);
    BREAKS(vifs[1].flows, 3, 4);
    BREAKS(vifs[1].last, 0, 5);
    BREAKS(vifs[2].first, 0, 5);
    BREAKS(flows[1].home, flows[1].home & 0xfffffff, 5);
#undef BREAKS
    assert_int_equal(vfr_flow_check(&t), 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, start, finish)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_sizes),
        TEST(udp_both_ways),
        TEST(keys_differ),
        TEST(one_address),
        TEST(elsewhere),
        TEST(tcp_opens_and_closes),
        TEST(tcp_needs_a_syn),
        TEST(tcp_resets),
        TEST(idle_times),
        TEST(clock_behind),
        TEST(icmp_questions),
        TEST(icmp_errors),
        TEST(owners),
        TEST(new_rules),
        TEST(quota),
        TEST(rate),
        TEST(nobody_starves),
        TEST(killed),
        TEST(busy),
        TEST(long_chain),
        TEST(random_orders),
        TEST(check_sees),
        cmocka_unit_test(hash_spreads),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
