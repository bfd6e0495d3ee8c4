/*
 * A small world of flows for flow_model.c and flows.c: the shipped core/vfr_flow*.c, three
 * interfaces, a few conversations, and what the router's glue does with a packet. A mutant is a copy
 * of one shipped source with an error in it, found before the shipped one (tests/model/run).
 */
#ifndef SERAI_TESTS_FLOW_WORLD_H
#define SERAI_TESTS_FLOW_WORLD_H

#include "base/types.h"

/* Another CPU may come in here. */
bool world_try_lock(u32 *word);
void world_unlock(u32 *word);
#define VFR_FLOW_TRY_LOCK(word) world_try_lock(word)
#define VFR_FLOW_UNLOCK(word)   world_unlock(word)

#include "core/vfr_flow.c"
#undef SECOND
#include "core/vfr_flow_chain.c"
#include "core/vfr_flow_check.c"
#include "core/vfr_flow_table.c"

#define SECOND 1000000000L
#define SLOTS  VFR_FLOWS_MIN
#define LIVE   8 /* of which no more are ever used */
#define VIFS   3

/* Between host i behind interface i and host j: 'sport' is on i's side. */
static const struct conversation {
    u8 proto;
    u16 i, j, sport, dport;
} conversations[] = {
    {PROTO_TCP, 0, 2, 10, 80}, {PROTO_UDP, 0, 2, 11, 53}, {PROTO_UDP, 0, 2, 12, 53},
    {PROTO_UDP, 1, 2, 11, 53}, {PROTO_ICMP, 0, 2, 7, 7},
};

#define CONVERSATIONS ARRAY_SIZE(conversations)

static struct world {
    struct vfr_flow flow[LIVE];
    struct vfr_flow_bucket bucket[VFR_FLOW_BUCKETS(SLOTS) + VFR_FLOW_OVERFLOW(SLOTS)];
    struct vfr_flow_vif vif[VIFS];
    struct vfr_flow_table t;
    ns_t now;
    u32 generation;
    u64 counted, ended_with; /* packets: that found or made a flow; of flows that ended */
} w;

static const u64 secrets[2][4] = {
    {0x9e3779b97f4a7c15, 0xbf58476d1ce4e5b9, 0x94d049bb133111eb, 0xd6e8feb86659fd93},
    {0x2545f4914f6cdd1d, 0x369dea0f31a53f85, 0xdb4f0b9175ae2165, 0x106689d45497fdb5}};

void violate(const char *rule);

/* ---- packets ---- */

/* Of conversation 'number', from the side of i or, 'back', of j. */
struct packet {
    u8 number;
    bool back;
    u8 tcp_flags;
    u16 flags; /* VFR_P_ */
};

static struct vfr_tuple tuple_of(const struct packet *p)
{
    const struct conversation *c = &conversations[p->number];
    const struct vfr_tuple x = {VFR_IP4(c->i + 1), VFR_IP4(c->j + 1), c->sport, c->dport,
                                c->proto};

    return p->back ? (struct vfr_tuple){x.dst, x.src, x.dport, x.sport, x.proto} : x;
}

static struct vfr_flow_use use_of(const struct packet *p)
{
    const struct conversation *c = &conversations[p->number];

    return (struct vfr_flow_use){.now = w.now,
                                 .bytes = 100,
                                 .oldest = w.generation,
                                 .in = p->back ? c->j : c->i,
                                 .out = p->back ? c->i : c->j,
                                 .tcp_flags = p->tcp_flags};
}

/* ---- what must hold whenever nobody is in the middle of something ---- */

static u64 packets_of(const struct vfr_flow *f)
{
    return f->packets[0] + f->packets[1];
}

static u16 newcomer = VFR_NOBODY; /* the interface for which a flow begins just now */

static void ended(void *arg, const struct vfr_flow *f, enum vfr_flow_end why)
{
    w.ended_with += packets_of(f);
    if (why == VFR_END_RECYCLED && f->marks & VFR_FLOW_ANSWERED)
        violate("an answered flow was given up for a new one");
    if (why == VFR_END_RECYCLED && f->vif[0] != newcomer)
        violate("a flow was given up for another interface's");
    if (why == VFR_END_IDLE && w.now - f->last <= idle_max[f->timer])
        violate("a flow ended as idle and was not");
}

static void check_quotas(void)
{
    u32 flows[VIFS] = {0};

    for (u32 i = 0; i < w.t.fresh; i++)
        if (w.flow[i].state != VFR_FLOW_FREE)
            flows[w.flow[i].vif[0]]++;
    for (u32 v = 0; v < VIFS; v++) {
        if (flows[v] != w.vif[v].flows)
            violate("an interface's flows are not counted right");
        if (flows[v] > w.vif[v].quota)
            violate("an interface has more than its quota");
    }
}

static void check_packets(void)
{
    u64 packets = w.ended_with;

    for (u32 i = 0; i < w.t.fresh; i++)
        if (w.flow[i].state != VFR_FLOW_FREE)
            packets += packets_of(&w.flow[i]);
    if (packets != w.counted)
        violate("packets were counted twice, or not at all");
}

static void check_world(void)
{
    static const char *const broken[] = {NULL,
                                         "invariant 1 of vfr_flow.h",
                                         "invariant 2 of vfr_flow.h",
                                         "invariant 3 of vfr_flow.h",
                                         "invariant 4 of vfr_flow.h",
                                         "invariant 5 of vfr_flow.h",
                                         "invariant 6 of vfr_flow.h"};
    int number = w.t.fresh > LIVE ? 3 : vfr_flow_check(&w.t);

    if (number)
        violate(broken[number]);
    for (u32 b = 0; b < ARRAY_SIZE(w.bucket); b++)
        if (w.bucket[b].lock)
            violate("a lock is left behind");
    check_quotas();
    check_packets();
}

static void build(const u32 quota[VIFS])
{
    const struct vfr_flow_memory m = {w.flow, w.bucket, w.vif, SLOTS, VIFS, ended, NULL};

    w = (struct world){.generation = 1, .now = 1000 * SECOND};
    if (vfr_flow_init(&w.t, &m, secrets[0]))
        violate("the world cannot be");
    for (u16 v = 0; v < VIFS; v++)
        vfr_flow_set_limits(&w.t, v, quota[v], 0);
}

#endif
