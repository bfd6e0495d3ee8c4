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
