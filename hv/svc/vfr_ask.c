#include "svc/vfr_ask.h"
#include "svc/vfr_sink.h"

/* Of a shared address. */
static bool is_leased(const struct vif *f, const struct vfr_shared *s, u8 proto, u16 port)
{
    return vfr_port_is_of(vfr_ports_look(&vfr_leases.ports, s, vfr_lease_class(proto), port),
                          f->index);
}

/* Inside is what the wire does not have: an address that one interface behind the router has alone. */
static u8 facts(const struct vif *f, struct vfr_addr a, u8 proto, u16 port)
{
    const struct vfr_shared *s = vfr_lease_shared(&vfr_leases, a);
    const bool owns = vfr_binding_owns(&f->binding, a);

    return (owns ? VFR_F_OWN : 0) | (vfr_binding_shares(&f->binding, a) ? VFR_F_SHARED : 0) |
           (owns && !s && f->kind != VFR_UPLINK ? VFR_F_INSIDE : 0) |
           (s && is_leased(f, s, proto, port) ? VFR_F_LEASED : 0);
}

void vfr_ask_rules(const struct vfr_judgement *j, const struct vfr_packet *x,
                   const struct vif *from, const struct vif *to, struct vfr_verdict *v)
{
    struct vfr_sink *sink = vfr_sink_of(j);
    const struct vfr_tuple *t = &x->tuple;
    const struct vfr_ruleset *s = j->ruleset;
    const unsigned odd = s->generation & 1;
    const struct vfr_question q = {
        .packet = x,
        .from = {&from->zones[odd], facts(from, t->src, t->proto, t->sport)},
        .to = {&to->zones[odd], facts(to, t->dst, t->proto, t->dport)},
        .vif = from->index,
        .commit = !sink,
        .now = (u64)j->now,
    };

    if (unlikely(sink))
        sink->trace.nr = 0;
    vfr_rules_judge(&s->rules, &q,
                    &s->counters[this_cpu()->id * (s->rules.image->nr_rules + 1)],
                    sink ? &sink->trace : NULL, v);
    if (unlikely(sink))
        vfr_sink_judged(sink, j, v);
}

void vfr_first_packet(const struct vfr_packet *now, bool answer, struct vfr_packet *x)
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

bool vfr_meter(const struct vfr_judgement *j, const struct vfr_flow_hit *hit)
{
    struct vfr_sink *sink = vfr_sink_of(j);
    struct vfr_packet first;
    const struct vfr_question q = {.packet = &first,
                                   .vif = hit->answer ? j->out->index : j->in->index,
                                   .commit = !sink,
                                   .now = (u64)j->now};

    vfr_first_packet(&j->p->parsed, hit->answer, &first);
    return vfr_rules_meter(&j->ruleset->rules, hit->rule_index, &q, sink ? &sink->trace : NULL);
}

rarely bool vfr_count_kept(struct vif_packet *first, struct vif *out, u32 bytes)
{
    const struct vfr_judgement j = {.p = first,
                                    .in = first->from->vif,
                                    .out = out,
                                    .ruleset = __atomic_load_n(&vfr.ruleset, __ATOMIC_ACQUIRE),
                                    .now = first->now};
    const struct vfr_flow_use use = {.now = j.now,
                                     .bytes = bytes,
                                     .oldest = j.ruleset->generation,
                                     .in = j.in->index,
                                     .out = out->index};
    struct vfr_flow_hit hit __unset;

    return vfr_flow_lookup(&vfr.flows, &first->leader.key, &use, &hit) != VFR_FLOW_HIT ||
           !(hit.log & VFR_FLOW_METERED) || vfr_meter(&j, &hit);
}

rarely void vfr_set_dscp(u8 *ip, u8 class, u8 dscp)
{
    const u16 old = get_be16(ip);

    if (class == VFR_C_IP6) {
        put_be16(ip, (old & 0xf03f) | dscp << 6);
        return;
    }
    put_be16(ip, (old & 0xff03) | dscp << 2);
    put_be16(ip + 10, vfr_checksum_update(get_be16(ip + 10), old, get_be16(ip)));
}
