#include "svc/vfr_forward.h"
#include "core/vfr_checksum.h"
#include "core/vfr_reply.h"
#include "core/vfr_wire.h"
#include "kern/timer.h"
#include "svc/vfr.h"
#include "svc/vfr_leases.h"
#include "svc/vfr_ways.h"
#include "svc/vif_rx.h"

/* The router on every link: a locally administered address, and link-local ones. */
#define ROUTER_MAC 0x025345524149ull
#define ROUTER_IP4 0xa9fe0001 /* 169.254.0.1 */

static const struct vfr_self self = {
    .mac = ROUTER_MAC,
    .ip4 = ROUTER_IP4,
    .ip6 = {0xfe80000000000000ull, 0x005345fffe524149ull}, /* made of the MAC: RFC 4291, A */
};

/* One packet's judgement. */
struct judgement {
    struct vif_packet *p;
    struct vif *in, *out;
    const struct vfr_ruleset *ruleset;
    ns_t now;
    bool draining; /* a port that it uses is about to be given back: no new flow */
};

static enum vfr_reason say(const struct judgement *j, const u8 *frame, u32 len)
{
    if (len)
        vif_say(j->p->from, frame, len);
    return VFR_R_CONSUMED;
}

/* The reason stays; its sender is told of it. */
static enum vfr_reason complain(const struct judgement *j, enum vfr_error e, u32 mtu,
                                enum vfr_reason reason)
{
    const struct vif_packet *p = j->p;
    u8 frame[VFR_REPLY_MAX] __unset;

    (void)say(j, frame, vfr_reply_error(&self, &p->parsed, p->head, p->have, e, mtu, frame));
    return reason;
}

static bool is_own(struct vfr_addr a)
{
    return vfr_addr_equal(a, VFR_IP4(ROUTER_IP4)) || vfr_addr_equal(a, self.ip6);
}

/* Some interface's, other than the one the packet came by; or several interfaces'. */
static bool is_elsewhere(const struct judgement *j, struct vfr_addr a)
{
    u16 index = vfr_route_find(__atomic_load_n(&vfr.routes, __ATOMIC_ACQUIRE), a);

    return vfr_lease_is_shared(&vfr_leases, a) ||
           (index != VFR_NOBODY && index != j->in->index);
}

/* On the wire the router speaks for what is behind it, and for nobody else. */
static bool is_for_others(const struct judgement *j)
{
    const struct vfr_packet *x = &j->p->parsed;
    const u8 *nd = j->p->head + x->l4_offset + ND_TARGET;
    struct vfr_addr target = x->tuple.dst;

    if (j->in->kind != VFR_UPLINK)
        return false;
    if (x->class == VFR_C_IP6)
        target = (struct vfr_addr){get_be64(nd), get_be64(nd + 8)};
    return !is_elsewhere(j, target);
}

/* What is said to the router itself. */
static enum vfr_reason answer(const struct judgement *j)
{
    const struct vif_packet *p = j->p;
    const struct vfr_packet *x = &p->parsed;
    u8 frame[VFR_REPLY_MAX] __unset;

    if ((x->class == VFR_C_ARP || x->flags & VFR_P_ND) && is_for_others(j))
        return VFR_R_CONSUMED;
    if (x->class == VFR_C_ARP)
        return say(j, frame, vfr_reply_arp(&self, &j->in->binding, x, frame));
    if (x->flags & VFR_P_ND)
        return say(j, frame,
                   vfr_reply_solicit(&self, &j->in->binding, x, p->head, true, frame));
    if (x->flags & VFR_P_QUERY)
        return say(j, frame, vfr_reply_echo(&self, x, p->head, p->have, frame));
    return complain(j, VFR_E_PORT, 0, VFR_R_NO_ROUTE);
}

/* Whose a port of a shared address is, VFR_PORT(): the packet's own, or of what it complains about. */
static u16 port_owner(const struct vfr_packet *x, bool of_source)
{
    const struct vfr_addr addr = of_source ? x->tuple.src : x->tuple.dst;
    const bool inner = x->flags & VFR_P_INNER;
    const struct vfr_tuple *t = inner ? &x->inner : &x->tuple;
    const enum vfr_port_class class = vfr_lease_class(t->proto);

    if (class == VFR_PC_PROTO)
        return vfr_lease_owner(&vfr_leases, addr, class, t->proto);
    /* Of what an error quotes the addressee is its source. */
    return vfr_lease_owner(&vfr_leases, addr, class, of_source != inner ? t->sport : t->dport);
}

/* A shared address is spoken for by who has leased the port; identifiers of questions by flows. */
static enum vfr_reason check_source(struct judgement *j)
{
    const struct vfr_packet *x = &j->p->parsed;
    u16 owner;

    if (likely(!vfr_lease_is_shared(&vfr_leases, x->tuple.src)) || x->flags & VFR_P_QUERY)
        return VFR_R_OK;
    owner = port_owner(x, true);
    j->draining |= !vfr_port_may_open(owner);
    if (vfr_port_is_of(owner, j->in->index))
        return VFR_R_OK;
    return complain(j, VFR_E_ADMIN, 0, VFR_R_RSIP_PORT);
}

static enum vfr_reason find_owner(struct judgement *j)
{
    const u16 owner = port_owner(&j->p->parsed, false);
    const unsigned state = owner >> VFR_PORT_STATE_SHIFT;

    if (state == VFR_PORT_RESTING)
        return VFR_R_QUARANTINED;
    if (state == VFR_PORT_FREE)
        return VFR_R_NO_OWNER;
    j->draining |= !vfr_port_may_open(owner);
    j->out = vfr_find(owner & VFR_PORT_VIF);
    return j->out ? VFR_R_OK : VFR_R_VIF_DOWN;
}

static enum vfr_reason find_way(struct judgement *j)
{
    const u64 version = __atomic_load_n(&vfr_ways_version, __ATOMIC_ACQUIRE);
    const struct vfr_addr to = j->p->parsed.tuple.dst;
    struct vif_way *way = &j->p->from->way;
    u16 index;

    if (likely(way->version == version && vfr_addr_equal(way->to, to))) {
        j->out = way->out;
        return VFR_R_OK;
    }
    if (unlikely(vfr_lease_is_shared(&vfr_leases, to)))
        return find_owner(j);
    index = vfr_route_find(__atomic_load_n(&vfr.routes, __ATOMIC_ACQUIRE), to);
    if (index == VFR_NOBODY)
        index = __atomic_load_n(&vfr.uplink, __ATOMIC_ACQUIRE);
    if (index != VFR_NOBODY && index != j->in->index)
        j->out = vfr_find(index);
    if (!j->out)
        return complain(j, VFR_E_HOST, 0, VFR_R_NO_ROUTE);
    *way = (struct vif_way){.to = to, .version = version, .out = j->out};
    return VFR_R_OK;
}

static enum vfr_reason refuse(const struct judgement *j, const struct vfr_verdict *v)
{
    const struct vif_packet *p = j->p;
    u8 frame[VFR_REPLY_MAX] __unset;
    u32 len = 0;

    if (v->action != VFR_REJECT)
        return v->reason;
    if (v->reject == VFR_REJECT_RST)
        len = vfr_reply_reset(&self, &p->parsed, p->head, frame);
    if (len) {
        (void)say(j, frame, len);
        return v->reason;
    }
    return complain(j,
                    v->reject == VFR_REJECT_ADMIN  ? VFR_E_ADMIN
                    : v->reject == VFR_REJECT_HOST ? VFR_E_HOST
                                                   : VFR_E_PORT,
                    0, v->reason);
}

static u8 facts(const struct vif *f, struct vfr_addr a)
{
    return (vfr_binding_owns(&f->binding, a) ? VFR_F_OWN : 0) |
           (vfr_binding_shares(&f->binding, a) ? VFR_F_SHARED : 0);
}

static void ask_rules(const struct judgement *j, const struct vfr_packet *x,
                      const struct vif *from, const struct vif *to, struct vfr_verdict *v)
{
    const struct vfr_ruleset *s = j->ruleset;
    const unsigned odd = s->generation & 1;
    const struct vfr_question q = {
        .packet = x,
        .from = {&from->zones[odd], facts(from, x->tuple.src)},
        .to = {&to->zones[odd], facts(to, x->tuple.dst)},
        .vif = from->index,
        .commit = true,
        .now = (u64)j->now,
    };

    vfr_rules_judge(&s->rules, &q,
                    &s->counters[this_cpu()->id * (s->rules.image->nr_rules + 1)], NULL, v);
}

static struct vfr_flow_verdict for_flow(const struct judgement *j, const struct vfr_verdict *v)
{
    return (struct vfr_flow_verdict){.generation = j->ruleset->generation,
                                     .rule = v->id,
                                     .rule_index = v->rule,
                                     .log = v->log};
}

/* A packet of no flow: VFR_R_OK and it may pass, -XEN_EAGAIN: look again, or why not. */
static int begin_flow(const struct judgement *j, const struct vfr_flow_key *key,
                      const struct vfr_flow_use *use)
{
    const struct vfr_packet *x = &j->p->parsed;
    struct vfr_flow_new new = {.use = *use};
    struct vfr_verdict v;
    u32 index;
    int rc;

    if (x->flags & VFR_P_INNER)
        return VFR_R_ICMP_UNSOLICITED;
    if (j->draining)
        return VFR_R_QUARANTINED;
    rc = vfr_flow_check_first(&x->tuple, x->flags, x->tcp_flags, false);
    if (rc)
        return rc;
    ask_rules(j, x, j->in, j->out, &v);
    if (v.action != VFR_PASS && v.action != VFR_PASS_STATELESS)
        return refuse(j, &v);
    if (v.action == VFR_PASS_STATELESS)
        return VFR_R_OK;
    new.verdict = for_flow(j, &v);
    lock(&vfr.flow_lock);
    rc = vfr_flow_create(&vfr.flows, key, &new, &index);
    unlock(&vfr.flow_lock);
    return rc;
}

/* Rules know flows by their first packet: what that was like, to judge by this one. */
static void first_packet(const struct vfr_packet *now, bool answer, struct vfr_packet *x)
{
    *x = *now;
    if (x->tcp_flags)
        x->tcp_flags = TCP_SYN;
    if (!answer)
        return;
    x->tuple = (struct vfr_tuple){now->tuple.dst, now->tuple.src, now->tuple.dport,
                                  now->tuple.sport, now->tuple.proto};
    if (x->flags & VFR_P_ANSWER) {
        x->flags ^= VFR_P_ANSWER | VFR_P_QUERY;
        x->icmp_type = x->class == VFR_C_IP6 ? ICMP6_ECHO : ICMP4_ECHO;
    }
}

/* The rules have changed since the flow began. */
static int judge_again(const struct judgement *j, const struct vfr_flow_key *key, bool answer)
{
    struct vfr_flow_verdict again;
    struct vfr_packet first;
    struct vfr_verdict v;
    int rc;

    if (key->flags & VFR_P_INNER) /* the next packet of the flow itself will tell */
        return VFR_R_ICMP_UNSOLICITED;
    first_packet(&j->p->parsed, answer, &first);
    ask_rules(j, &first, answer ? j->out : j->in, answer ? j->in : j->out, &v);
    again = for_flow(j, &v);
    lock(&vfr.flow_lock);
    rc = v.action == VFR_PASS ? vfr_flow_confirm(&vfr.flows, key, &again)
                              : vfr_flow_kill(&vfr.flows, key);
    unlock(&vfr.flow_lock);
    if (rc || v.action == VFR_PASS)
        return -XEN_EAGAIN; /* confirmed: now it is found and counted */
    return v.reason == VFR_R_OK ? -XEN_EAGAIN : (int)refuse(j, &v);
}

/* Its flow lets it pass, or the rules do. */
static enum vfr_reason admit(const struct judgement *j)
{
    const struct vfr_packet *x = &j->p->parsed;
    const bool about_other = x->flags & VFR_P_INNER;
    const struct vfr_tuple *tuple = about_other ? &x->inner : &x->tuple;
    const struct vfr_flow_use use = {
        .now = j->now,
        .bytes = j->p->len,
        .oldest = j->ruleset->generation,
        .in = j->in->index,
        .out = j->out->index,
        .tcp_flags = x->tcp_flags,
    };
    struct vfr_flow_key key __unset;
    struct vfr_flow_hit hit __unset;
    int rc = -XEN_EAGAIN;

    while (rc == -XEN_EAGAIN) {
        vfr_flow_key(&vfr.flows, tuple, 0, x->flags, &key);
        switch (vfr_flow_lookup(&vfr.flows, &key, &use, &hit)) {
        case VFR_FLOW_HIT:
            return VFR_R_OK;
        case VFR_FLOW_MISS:
            rc = begin_flow(j, &key, &use);
            break;
        case VFR_FLOW_STALE:
            rc = judge_again(j, &key, hit.answer);
            break;
        case VFR_FLOW_BUSY:
            tlb_relax();
            break;
        }
    }
    return (enum vfr_reason)rc;
}

/* On the way to or from the wire a router is seen. */
static bool is_hop(const struct judgement *j)
{
    return j->in->kind == VFR_UPLINK || j->out->kind == VFR_UPLINK;
}

static void take_hop(struct vif_packet *p)
{
    u8 *ip = p->head + p->parsed.l3_offset;
    u16 old;

    if (p->parsed.class == VFR_C_IP6) {
        ip[7]--;
        return;
    }
    old = get_be16(ip + 8);
    ip[8]--;
    put_be16(ip + 10, vfr_checksum_update(get_be16(ip + 10), old, (u16)(old - 0x100)));
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
static enum vfr_reason fit(const struct judgement *j)
{
    const struct vif_packet *p = j->p;
    u32 wire = vfr_offload_wire_len(&p->offload, &p->parsed, p->head);

    if (wire > j->out->mtu)
        return complain(j, VFR_E_TOO_BIG, j->out->mtu, VFR_R_MTU);
    return VFR_R_OK;
}

static enum vfr_reason send_on(const struct judgement *j, struct vif_queue **to)
{
    struct vif_packet *p = j->p;
    struct vif *out = j->out;
    enum vfr_reason reason;

    if (is_hop(j) && p->parsed.ttl <= 1)
        return complain(j, VFR_E_TTL, 0, VFR_R_TTL);
    reason = fit(j);
    if (reason == VFR_R_OK)
        reason = admit(j);
    if (reason != VFR_R_OK)
        return reason;
    if (is_hop(j))
        take_hop(p);
    put_mac(p->head, out->kind == VFR_UPLINK ? out->next_hop : out->binding.mac);
    put_mac(p->head + 6, ROUTER_MAC);
    *to = choose_queue(out, &p->parsed.tuple);
    return VFR_R_OK;
}

enum vfr_reason vfr_forward(struct vif_packet *p, struct vif_queue **to)
{
    struct judgement j = {.p = p, .in = p->from->vif, .now = p->now};
    const struct vfr_packet *x = &p->parsed;
    enum vfr_reason reason = vfr_packet_parse(&p->parsed, p->head, p->have, p->len);

    if (reason == VFR_R_OK)
        reason = vfr_offload_check(&p->offload, x, p->head, p->have);
    if (reason == VFR_R_OK)
        reason = vfr_guard_check(&j.in->binding, x, p->head, p->have);
    if (reason != VFR_R_OK)
        return reason;
    if (x->class == VFR_C_ARP || x->flags & VFR_P_ND || is_own(x->tuple.dst))
        return answer(&j);
    if (x->eth_dst != ROUTER_MAC)
        return VFR_R_NO_ROUTE; /* nobody else is on the link, or it is not for us */
    if (j.in->kind == VFR_UPLINK && is_elsewhere(&j, x->tuple.src))
        return x->class == VFR_C_IP4 ? VFR_R_SPOOF_IP4 : VFR_R_SPOOF_IP6;
    if (x->flags & VFR_P_FRAGMENT)
        return VFR_R_FRAG_ORPHAN;
    reason = check_source(&j);
    if (reason == VFR_R_OK)
        reason = find_way(&j);
    if (reason != VFR_R_OK)
        return reason;
    j.ruleset = __atomic_load_n(&vfr.ruleset, __ATOMIC_ACQUIRE);
    if (!j.ruleset)
        return VFR_R_DEFAULT;
    return send_on(&j, to);
}
