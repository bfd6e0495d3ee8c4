#include "svc/vfr_forward.h"
#include "core/vfr_checksum.h"
#include "core/vfr_wire.h"
#include "svc/vfr.h"
#include "svc/vfr_answer.h"
#include "svc/vfr_ask.h"
#include "svc/vfr_judgement.h"
#include "svc/vfr_log.h"
#include "svc/vfr_neighbours.h"
#include "svc/vfr_pieces.h"
#include "svc/vfr_shared.h"
#include "svc/vfr_sink.h"
#include "svc/vfr_switch.h"
#include "svc/vfr_ways.h"

/* What each interface may say to domain 0's daemons. */
static const struct vfr_limit punt = VFR_LIMIT_EVERY(1000000, 256);

#define EVERYBODY VFR_IP4(0xffffffff)

static u16 route_to(struct vfr_addr a)
{
    return vfr_route_find(__atomic_load_n(&vfr.routes, __ATOMIC_ACQUIRE), a);
}

/* Pings, and without daemons all; the rest of what guests say to the router is for them. */
static bool is_answered(const struct vfr_judgement *j)
{
    const struct vfr_packet *x = &j->p->parsed;

    return vfr_is_router(x->tuple.dst) &&
           (x->flags & VFR_P_QUERY || j->in->kind == VFR_UPLINK ||
            route_to(x->tuple.dst) == VFR_NOBODY);
}

/* A DHCP client: its Ethernet address tells who it is, it may have no other yet. */
static must_inline bool asks_for_address(const struct vfr_judgement *j)
{
    const struct vfr_tuple *t = &j->p->parsed.tuple;

    return unlikely(t->dport == DHCP4_SERVER) && t->proto == PROTO_UDP &&
           j->in->kind < VFR_UPLINK &&
           (vfr_addr_equal(t->dst, EVERYBODY) || vfr_addr_equal(t->dst, VFR_ROUTER_IP4));
}

static bool is_plain(const struct vfr_packet *x)
{
    return x->flags & VFR_P_PORTS && x->tuple.proto != PROTO_ICMP4;
}

/* A shared address is spoken for by who has leased the port. */
static enum vfr_reason check_source(struct vfr_judgement *j)
{
    const struct vfr_packet *x = &j->p->parsed;
    const struct vfr_shared *s = vfr_lease_shared(&vfr_leases, x->tuple.src);
    u16 owner;

    if (likely(!s))
        return unlikely(x->flags & VFR_P_INNER) ? vfr_shared_source(j, s) : VFR_R_OK;
    j->by_port = true;
    if (unlikely(!is_plain(x)))
        return vfr_shared_source(j, s);
    owner =
        vfr_ports_look(&vfr_leases.ports, s, vfr_lease_class(x->tuple.proto), x->tuple.sport);
    j->draining |= !vfr_port_may_open(owner);
    if (!vfr_port_is_of(owner, j->in->index))
        return vfr_complain(j->p, VFR_E_ADMIN, 0, VFR_R_RSIP_PORT);
    if (unlikely(!(x->flags & (VFR_P_DF | VFR_P_FRAGMENT))))
        vfr_piece_rename(j->p);
    return VFR_R_OK;
}

/* Where an address is that only ports tell of. */
static rarely enum vfr_reason find_owner(struct vfr_judgement *j, const struct vfr_shared *s)
{
    const struct vfr_packet *x = &j->p->parsed;
    u16 owner;

    if (unlikely(!is_plain(x)))
        return vfr_shared_way(j, s);
    owner =
        vfr_ports_look(&vfr_leases.ports, s, vfr_lease_class(x->tuple.proto), x->tuple.dport);
    return vfr_shared_owner(j, owner);
}

static enum vfr_reason find_way(struct vfr_judgement *j)
{
    const struct vfr_addr to = j->p->parsed.tuple.dst;
    struct vif_way *way = &j->p->from->way;
    const struct vfr_shared *s;
    u16 index;

    if (likely(way->version == j->version && vfr_addr_equal(way->to, to))) {
        j->out = way->out;
        return VFR_R_OK;
    }
    s = vfr_lease_shared(&vfr_leases, to);
    if (unlikely(s))
        return vfr_shared_answers_client(j) ? VFR_R_OK : find_owner(j, s);
    index = route_to(to);
    if (index == VFR_NOBODY)
        index = __atomic_load_n(&vfr.uplink, __ATOMIC_ACQUIRE);
    if (index != VFR_NOBODY && index != j->in->index)
        j->out = vfr_find(index);
    if (!j->out)
        return vfr_complain(j->p, VFR_E_HOST, 0, VFR_R_NO_ROUTE);
    if (vfr_addr_is_link_local(to)) /* no router forwards that */
        return vfr_is_switched(j->p, j->out) ? VFR_R_OK : VFR_R_NO_ROUTE;
    *way = (struct vif_way){.to = to, .version = j->version, .out = j->out};
    return VFR_R_OK;
}

static enum vfr_reason check_ends(struct vfr_judgement *j)
{
    enum vfr_reason reason;

    if (unlikely(asks_for_address(j))) {
        j->out = vfr_find(route_to(VFR_ROUTER_IP4));
        return j->out ? VFR_R_OK : VFR_R_NO_ROUTE;
    }
    reason = check_source(j);
    return reason == VFR_R_OK ? find_way(j) : reason;
}

static enum vfr_reason refuse(const struct vfr_judgement *j, const struct vfr_verdict *v)
{
    if (!vfr_sink_of(j))
        vfr_log_denied(&j->p->parsed, j->in, j->out, v);
    return vfr_refuse(j->p, v);
}

static void mark(const struct vfr_judgement *j, u8 dscp)
{
    const struct vfr_packet *x = &j->p->parsed;

    if (dscp < VFR_DSCP_NONE && dscp != x->dscp)
        vfr_set_dscp(j->p->head + x->l3_offset, x->class, dscp);
}

static u8 flags_of(const struct vfr_verdict *v)
{
    return (v->metered ? VFR_FLOW_METERED : 0) |
           (v->dscp < VFR_DSCP_NONE ? VFR_FLOW_MARKED : 0);
}

static struct vfr_flow_verdict for_flow(const struct vfr_judgement *j,
                                        const struct vfr_verdict *v)
{
    return (struct vfr_flow_verdict){.generation = j->ruleset->generation,
                                     .rule = v->id,
                                     .rule_index = v->rule,
                                     .log = (u8)(vfr_log_choose(v) | flags_of(v)),
                                     .dscp = v->dscp};
}

/* One end was elsewhere a moment ago, with the connections that it has. */
static bool may_pick_up(const struct vfr_judgement *j)
{
    return j->now < MAX(j->in->picks_up_until, j->out->picks_up_until) &&
           !(j->p->parsed.tcp_flags & TCP_RST);
}

/* The rules let it pass, and answers too. */
static int create_flow(const struct vfr_judgement *j, const struct vfr_flow_key *key,
                       const struct vfr_flow_use *use, const struct vfr_verdict *v)
{
    struct vfr_flow_new new __unset;
    u32 index;
    int rc;

    if (unlikely(vfr_sink_of(j)))
        return vfr_sink_begins(vfr_sink_of(j), j, v);
    new =
        (struct vfr_flow_new){.use = *use, .verdict = for_flow(j, v), .pickup = may_pick_up(j)};
    if (new.verdict.log & VFR_LOG_STRICT && !vfr_log_has_space())
        return VFR_R_LOG_FULL;
    lock(&vfr.flow_lock);
    rc = vfr_flow_create(&vfr.flows, key, &new, &index);
    if (rc == VFR_R_OK && new.verdict.log & VFR_LOG_NEW)
        vfr_log_begun(&vfr.flows.flow[index], j->p->parsed.tcp_flags);
    unlock(&vfr.flow_lock);
    return rc;
}

/* TCP in the middle, begun by who sends this, or by the other: whoever the rules let begin it. */
static rarely int pick_up(const struct vfr_judgement *j, const struct vfr_flow_use *use)
{
    const struct vif *ends[] = {j->in, j->out};
    struct vfr_flow_use begun = *use;
    struct vfr_verdict v[2];
    struct vfr_packet first;
    struct vfr_flow_key key;
    int rc;

    for (unsigned i = 0; i < 2; i++) {
        vfr_first_packet(&j->p->parsed, i, &first);
        vfr_ask_rules(j, &first, ends[i], ends[!i], &v[i]);
        if (v[i].action != VFR_PASS)
            continue;
        begun.in = ends[i]->index;
        begun.out = ends[!i]->index;
        vfr_flow_key(&vfr.flows, &first.tuple, j->segment, first.flags, &key);
        rc = create_flow(j, &key, &begun, &v[i]);
        if (rc == VFR_R_OK)
            mark(j, v[i].dscp);
        return rc;
    }
    return refuse(j, &v[0]);
}

/* A packet of no flow: VFR_R_OK and it may pass, -XEN_EAGAIN: look again, or why not. */
static int begin_flow(const struct vfr_judgement *j, const struct vfr_flow_key *key,
                      const struct vfr_flow_use *use)
{
    const struct vfr_packet *x = &j->p->parsed;
    struct vfr_verdict v __unset;
    int rc;

    if (x->flags & VFR_P_INNER)
        return VFR_R_ICMP_UNSOLICITED;
    if (j->draining)
        return VFR_R_QUARANTINED;
    if (unlikely(!(x->flags & VFR_P_PORTS)) && !vfr_shared_may_begin(j))
        return VFR_R_RSIP_PORT;
    if (j->in->kind == VFR_PUNT && j->out->kind != VFR_UPLINK)
        return VFR_R_OK;
    rc = vfr_flow_check_first(&x->tuple, x->flags, x->tcp_flags, false);
    if (unlikely(rc == VFR_R_TCP_STATE) && may_pick_up(j))
        return pick_up(j, use);
    if (rc)
        return rc;
    vfr_ask_rules(j, x, j->in, j->out, &v);
    if (v.action != VFR_PASS && v.action != VFR_PASS_STATELESS)
        return refuse(j, &v);
    if (v.action == VFR_PASS_STATELESS && !vfr_sink_of(j))
        vfr_log_denied(x, j->in, j->out, &v);
    rc = v.action == VFR_PASS_STATELESS || asks_for_address(j) ? VFR_R_OK
                                                               : create_flow(j, key, use, &v);
    if (rc == VFR_R_OK)
        mark(j, v.dscp);
    return rc;
}

/* What rules do with each packet of a flow. */
static enum vfr_reason treat(const struct vfr_judgement *j, const struct vfr_flow_hit *hit)
{
    if (hit->log & VFR_FLOW_METERED && !vfr_meter(j, hit))
        return VFR_R_RATE;
    if (hit->log & VFR_FLOW_MARKED)
        mark(j, hit->dscp);
    return VFR_R_OK;
}

/* What is explained goes this way without a flow being confirmed or ended. */
static rarely int would_become(const struct vfr_judgement *j, const struct vfr_flow_key *key,
                               const struct vfr_flow_use *use, const struct vfr_verdict *v,
                               bool answer)
{
    const struct vfr_flow_hit hit = {
        .rule_index = v->rule, .log = flags_of(v), .dscp = v->dscp, .answer = answer};

    if (v->action == VFR_PASS_STATELESS)
        return begin_flow(j, key, use);
    return v->reason == VFR_R_OK ? (int)treat(j, &hit) : (int)refuse(j, v);
}

/* The rules have changed since the flow began. */
static rarely int judge_again(const struct vfr_judgement *j, const struct vfr_flow_key *key,
                              const struct vfr_flow_use *use, const struct vfr_flow_hit *hit)
{
    struct vfr_sink *sink = vfr_sink_of(j);
    const bool answer = hit->answer;
    struct vfr_flow_verdict again;
    struct vfr_packet first;
    struct vfr_verdict v;
    int rc;

    if (unlikely(sink) && vfr_sink_belongs(sink, j, hit))
        return treat(j, hit);
    if (key->flags & VFR_P_INNER) /* the next packet of the flow itself will tell */
        return VFR_R_ICMP_UNSOLICITED;
    vfr_first_packet(&j->p->parsed, answer, &first);
    vfr_ask_rules(j, &first, answer ? j->out : j->in, answer ? j->in : j->out, &v);
    if (unlikely(sink))
        return would_become(j, key, use, &v, answer);
    again = for_flow(j, &v);
    lock(&vfr.flow_lock);
    rc = v.action == VFR_PASS ? vfr_flow_confirm(&vfr.flows, key, &again)
                              : vfr_flow_kill(&vfr.flows, key);
    unlock(&vfr.flow_lock);
    if (rc || v.action == VFR_PASS)
        return -XEN_EAGAIN; /* confirmed: now it is found and counted */
    return v.reason == VFR_R_OK ? -XEN_EAGAIN : (int)refuse(j, &v);
}

/* A later piece, of no flow that could count it: its first one has passed, and that is what matters. */
static rarely enum vfr_reason pass_piece(const struct vfr_judgement *j,
                                         const struct vfr_flow_hit *stale)
{
    struct vfr_sink *sink = vfr_sink_of(j);

    return sink && stale && vfr_sink_belongs(sink, j, stale) ? treat(j, stale) : VFR_R_OK;
}

/* Its flow lets it pass, or the rules do. */
static enum vfr_reason admit(const struct vfr_judgement *j)
{
    const struct vfr_packet *x = &j->p->parsed;
    const bool about_other = x->flags & VFR_P_INNER;
    const struct vfr_tuple *tuple = about_other ? &x->inner : &x->tuple;
    const struct vfr_flow_use use = {
        .now = j->now,
        .bytes = j->p->len,
        .oldest = j->ruleset->generation + j->p->from->doubt,
        .in = j->in->index,
        .out = j->out->index,
        .tcp_flags = x->tcp_flags,
    };
    struct vfr_flow_key *key = &j->p->leader.key;
    struct vfr_flow_hit hit __unset;
    int rc = -XEN_EAGAIN;

    while (rc == -XEN_EAGAIN) {
        vfr_flow_key(&vfr.flows, tuple, j->segment, x->flags, key);
        switch (vfr_flow_lookup(&vfr.flows, key, &use, &hit)) {
        case VFR_FLOW_HIT:
            return likely(!(hit.log & (VFR_FLOW_METERED | VFR_FLOW_MARKED))) ? VFR_R_OK
                                                                             : treat(j, &hit);
        case VFR_FLOW_MISS:
            rc = vfr_is_later_piece(x) ? (int)pass_piece(j, NULL) : begin_flow(j, key, &use);
            break;
        case VFR_FLOW_STALE:
            rc = vfr_is_later_piece(x) ? (int)pass_piece(j, &hit)
                                       : judge_again(j, key, &use, &hit);
            break;
        case VFR_FLOW_BUSY:
            tlb_relax();
            break;
        }
    }
    return (enum vfr_reason)rc;
}

/* One of the receiver's queues, the same one for all packets of a conversation. */
static struct vif_queue *choose_queue(struct vif *to, const struct vfr_tuple *t)
{
    u64 x = (t->src.low ^ t->src.high) + (t->dst.low ^ t->dst.high) + (t->sport ^ t->dport);

    if (likely(to->nr_queues == 1))
        return &to->queues[0];
    return &to->queues[(x * 0x9e3779b97f4a7c15ull >> 32) % to->nr_queues];
}

/* Can the receiver take it as it is? */
static enum vfr_reason fit(const struct vfr_judgement *j)
{
    const struct vif_packet *p = j->p;
    u32 wire = p->parsed.l3_len;

    if (unlikely(p->offload.gso_type))
        wire = vfr_offload_wire_len(&p->offload, &p->parsed, p->head);
    if (unlikely(wire > j->out->mtu))
        return vfr_complain(j->p, VFR_E_TOO_BIG, j->out->mtu, VFR_R_MTU);
    return VFR_R_OK;
}

/* Does the sender leave to others what this receiver cannot do? */
static bool lacks_something(const struct vif *out, const struct vif_packet *p)
{
    const bool v6 = p->parsed.class == VFR_C_IP6;
    u8 needed = 0;

    if (likely(out->can == VFR_CAN_ALL))
        return false;
    if (p->offload.csum_blank)
        needed |= v6 ? VFR_CAN_CSUM6 : VFR_CAN_CSUM4;
    if (p->offload.gso_type)
        needed |= (v6 ? VFR_CAN_GSO6 : VFR_CAN_GSO4) | VFR_CAN_SG;
    return needed & ~out->can;
}

/* Not from guest to guest by way of the router. */
static rarely enum vfr_reason check_other_ways(const struct vfr_judgement *j)
{
    if (vfr_is_hop(j->p, j->out) && j->p->parsed.ttl <= 1)
        return vfr_complain(j->p, VFR_E_TTL, 0, VFR_R_TTL);
    if (j->out->kind == VFR_PUNT && !vif_take_one(&punt, &j->in->punt_due, j->p))
        return VFR_R_PUNT_FULL;
    return VFR_R_OK;
}

static rarely void go_other_ways(struct vif_packet *p, struct vif *out)
{
    const struct vfr_packet *x = &p->parsed;

    if (vfr_is_hop(p, out)) {
        vfr_take_hop(p->head + x->l3_offset, x->class);
        if (out->kind == VFR_UPLINK)
            put_mac(p->head, vfr_neighbour_hop(p, out));
    }
    if (!vfr_is_switched(p, out))
        return;
    put_mac(p->head, x->eth_dst);
    put_mac(p->head + 6, x->eth_src);
}

static void put_ends(struct vif_packet *p, const struct vif *out)
{
    put_mac(p->head, __atomic_load_n(&out->next_hop, __ATOMIC_RELAXED));
    put_mac(p->head + 6, out->router_mac);
}

static enum vfr_reason send_on(const struct vfr_judgement *j, struct vif_queue **to)
{
    struct vif_packet *p = j->p;
    struct vif *out = j->out;
    const bool other = j->in->kind | out->kind;
    enum vfr_reason reason = unlikely(other) ? check_other_ways(j) : VFR_R_OK;

    _Static_assert(VFR_ROUTED == 0, "all others are other ways");
    if (reason == VFR_R_OK)
        reason = fit(j);
    if (reason == VFR_R_OK)
        reason = admit(j);
    if (reason != VFR_R_OK)
        return reason;
    p->special = p->parsed.flags & VFR_P_FRAGMENT || lacks_something(out, p);
    put_ends(p, out);
    if (unlikely(other))
        go_other_ways(p, out);
    *to = choose_queue(out, &p->parsed.tuple);
    return VFR_R_OK;
}

/* Where flows take turns it is not worth while to lead. */
#define MISSED_MAX 4

/*
 * From guest to guest, by addresses of their own, and no more was looked at than vfr_packet_follow()
 * compares.
 */
static bool may_lead(const struct vfr_judgement *j)
{
    const struct vfr_packet *x = &j->p->parsed;
    const struct vif_way *way = &j->p->from->way;

    return !(j->in->kind | j->out->kind) && !j->by_port && way->version == j->version &&
           vfr_addr_equal(way->to, x->tuple.dst) && x->eth_dst == j->in->router_mac &&
           vfr_packet_may_lead(x) && vfr_guard_is_plain(&j->in->binding, x);
}

static void lead(const struct vfr_judgement *j, struct vif_queue *to)
{
    struct vif_leader *l = &j->p->leader;

    l->use = (struct vfr_flow_use){.now = j->now, .in = j->in->index, .out = j->out->index};
    l->to = to;
    l->version = j->version;
}

/* A packet that may follow is of the leader's flow, and in need of nothing special. */
static bool finds_flow(struct vif_packet *p, const struct vfr_ruleset *ruleset,
                       struct vfr_flow_hit *hit)
{
    struct vif_leader *l = &p->leader;
    const struct vif *out = l->to->vif;

    if (p->parsed.l3_len > out->mtu || out->can != VFR_CAN_ALL ||
        !vfr_offload_is_simple(&p->offload, &p->parsed, p->head, p->have) ||
        !vfr_flow_key_holds(&vfr.flows, &l->key))
        return false;
    l->use.bytes = p->len;
    l->use.oldest = ruleset->generation;
    l->use.tcp_flags = p->parsed.tcp_flags;
    return vfr_flow_lookup(&vfr.flows, &l->key, &l->use, hit) == VFR_FLOW_HIT;
}

static rarely enum vfr_reason treat_follower(struct vif_packet *p,
                                             const struct vfr_ruleset *ruleset,
                                             const struct vfr_flow_hit *hit)
{
    const struct vfr_judgement j = {.p = p,
                                    .in = p->from->vif,
                                    .out = p->leader.to->vif,
                                    .ruleset = ruleset,
                                    .now = p->now};

    return treat(&j, hit);
}

static __noinline enum vfr_reason forward_any(struct vif_packet *p, u64 version,
                                              struct vif_queue **to)
{
    struct vfr_judgement j = {.p = p, .in = p->from->vif, .now = p->now, .version = version};
    const struct vfr_packet *x = &p->parsed;
    enum vfr_reason reason = vfr_packet_parse(&p->parsed, p->head, p->have, p->len);
    bool leads;

    p->leader.missed += p->leader.version != 0;
    p->leader.version = 0;
    leads = p->others && p->leader.missed < MISSED_MAX;
    if (reason == VFR_R_OK)
        reason = vfr_offload_check(&p->offload, x, p->head, p->have);
    if (reason == VFR_R_OK)
        reason = vfr_guard_check(&j.in->binding, x, p->head, p->have);
    if (reason != VFR_R_OK)
        return reason;
    if (x->class == VFR_C_ARP || x->flags & VFR_P_ND)
        return vfr_switch_talk(&j, to);
    if (is_answered(&j))
        return vfr_answer(p);
    if (j.in->kind == VFR_UPLINK && vfr_is_elsewhere(j.in, x->tuple.src))
        return x->class == VFR_C_IP4 ? VFR_R_SPOOF_IP4 : VFR_R_SPOOF_IP6;
    if (x->eth_dst != j.in->router_mac && !asks_for_address(&j)) {
        reason = vfr_switch(&j);
        if (reason != VFR_R_OK)
            return reason;
    }
    j.ruleset = __atomic_load_n(&vfr.ruleset, __ATOMIC_ACQUIRE);
    if (unlikely(!j.ruleset))
        return VFR_R_DEFAULT;
    reason = unlikely(vfr_is_later_piece(x)) ? vfr_piece_way(p, &j.out) : check_ends(&j);
    if (leads)
        vfr_packet_keep(p->leader.kept, p->head);
    if (reason == VFR_R_OK)
        reason = send_on(&j, to);
    if (reason == VFR_R_OK && leads && may_lead(&j))
        lead(&j, *to);
    if (unlikely(x->flags & VFR_P_FIRST) && reason != VFR_R_OK)
        vfr_piece_refuse(p, reason);
    return reason;
}

/* Of the leader's stations, but another flow. */
static __noinline void change_flow(struct vif_packet *p)
{
    const struct vfr_packet *x = &p->parsed;
    struct vif_leader *l = &p->leader;

    vfr_flow_key(&vfr.flows, &x->tuple, 0, x->flags, &l->key);
    l->to = choose_queue(l->to->vif, &x->tuple);
}

static must_inline bool follows(struct vif_packet *p, u64 version)
{
    enum vfr_follow follow;

    if (p->leader.version != version)
        return false;
    follow = vfr_packet_follow(&p->parsed, p->leader.kept, p->head, p->have, p->len);
    if (follow == VFR_FOLLOW_STATION)
        change_flow(p);
    return follow != VFR_FOLLOW_NOT;
}

/* All else that was asked about its leader would be answered as it was then. */
enum vfr_reason vfr_forward(struct vif_packet *p, struct vif_queue **to)
{
    const u64 version = __atomic_load_n(&vfr_ways_version, __ATOMIC_ACQUIRE);
    const struct vfr_ruleset *ruleset = __atomic_load_n(&vfr.ruleset, __ATOMIC_ACQUIRE);
    struct vif_leader *l = &p->leader;
    struct vfr_flow_hit hit __unset;
    enum vfr_reason reason = VFR_R_OK;

    if (!follows(p, version) || unlikely(!finds_flow(p, ruleset, &hit)))
        return forward_any(p, version, to);
    if (unlikely(hit.log & (VFR_FLOW_METERED | VFR_FLOW_MARKED)))
        reason = treat_follower(p, ruleset, &hit);
    if (reason != VFR_R_OK)
        return reason;
    l->missed = 0;
    p->special = false;
    put_ends(p, l->to->vif);
    *to = l->to;
    return VFR_R_OK;
}
