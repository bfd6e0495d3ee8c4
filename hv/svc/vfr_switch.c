#include "svc/vfr_switch.h"
#include "core/vfr_segment.h"
#include "svc/vfr_answer.h"
#include "svc/vfr_ask.h"
#include "svc/vfr_log.h"
#include "svc/vfr_neighbours.h"
#include "svc/vfr_sink.h"
#include "svc/vif_rx.h"

/* What each interface may ask its neighbours, and how many copies of what it sends are made. */
static const struct vfr_limit talks = VFR_LIMIT_EVERY(1000000, 256);
static const struct vfr_limit copies = VFR_LIMIT_EVERY(250000, 256);

static u16 route_to(struct vfr_addr a)
{
    return vfr_route_find(__atomic_load_n(&vfr.routes, __ATOMIC_ACQUIRE), a);
}

/* The one with this Ethernet address; of all others the wire may have it. NULL: nobody. */
static struct vif *find_station(const struct vif *in, u64 mac)
{
    u16 index = route_to(vfr_station(mac));
    struct vif *f;

    if (index == VFR_NOBODY)
        index = __atomic_load_n(&vfr.uplink, __ATOMIC_ACQUIRE);
    f = vfr_find(index);
    return f && vif_is_neighbour(in, f) ? f : NULL;
}

/* ---- to several ---- */

static struct vif *next_station(const struct vif *f)
{
    return vfr_find(__atomic_load_n(&f->neighbour, __ATOMIC_ACQUIRE));
}

/* How many others there are. One that is leaving sees the ring without itself. */
static u32 count_others(const struct vif *in)
{
    const struct vif *first = next_station(in), *f = first;
    u32 n = 0;

    do {
        if (!f || f == in)
            break;
        n++;
        f = next_station(f);
    } while (f != first && n < VFR_SEGMENT_MAX);
    return n;
}

static bool give_copy(const struct vfr_judgement *j)
{
    const struct vif_packet *p = j->p;
    struct vif *out = j->out;

    if (p->parsed.l3_len > out->mtu ||
        (p->offload.csum_blank && ~out->can & (VFR_CAN_CSUM4 | VFR_CAN_CSUM6)))
        return false;
    if (vfr_sink_of(j)) {
        vfr_sink_of(j)->e->copies++;
        vfr_sink_of(j)->out = out->index;
        return true;
    }
    return vif_deliver_copy(&out->queues[0], p);
}

/* 'judged': to those only whom the rules let it reach. */
static enum vfr_reason spread(struct vfr_judgement *j, bool judged)
{
    const u32 others = count_others(j->in);
    struct vfr_verdict v = {.action = VFR_PASS_STATELESS};
    u32 given = 0;

    if (!others)
        return VFR_R_NO_ROUTE;
    if (!vif_take(&copies, &j->in->spread_due, others, j->p))
        return VFR_R_RATE;
    j->out = j->in;
    for (u32 n = 0; n < others; n++) {
        j->out = next_station(j->out);
        if (!j->out)
            break;
        if (judged)
            vfr_ask_rules(j, &j->p->parsed, j->in, j->out, &v);
        if (v.action == VFR_PASS || v.action == VFR_PASS_STATELESS)
            given += give_copy(j);
    }
    if (given || v.reason == VFR_R_OK)
        return VFR_R_SPREAD;
    if (!vfr_sink_of(j))
        vfr_log_denied(&j->p->parsed, j->in, j->out, &v);
    return v.reason;
}

static enum vfr_reason spread_ip(struct vfr_judgement *j)
{
    const struct vfr_packet *x = &j->p->parsed;

    /* Who is to judge a piece by ports that only the first one has? */
    if (x->flags & VFR_P_FRAGMENT)
        return VFR_R_FRAG_LIMIT;
    if (j->p->offload.gso_type)
        return VFR_R_GSO_BAD;
    if (route_to(x->tuple.dst) != VFR_NOBODY)
        return VFR_R_NO_ROUTE; /* one station's packet is sent to that station */
    j->ruleset = __atomic_load_n(&vfr.ruleset, __ATOMIC_ACQUIRE);
    return j->ruleset ? spread(j, true) : VFR_R_DEFAULT;
}

/* ---- to one ---- */

static bool pretends_to_be_inside(const struct vfr_judgement *j)
{
    return j->in->kind == VFR_UPLINK &&
           route_to(vfr_station(j->p->parsed.eth_src)) != VFR_NOBODY;
}

enum vfr_reason vfr_switch(struct vfr_judgement *j)
{
    const struct vfr_packet *x = &j->p->parsed;
    const struct vif *out;
    u16 owner;

    if (!j->in->segment[0])
        return VFR_R_NO_ROUTE; /* nobody else is on the link */
    if (pretends_to_be_inside(j))
        return VFR_R_SPOOF_MAC;
    if (x->eth_dst & ETH_GROUP)
        return spread_ip(j);
    out = find_station(j->in, x->eth_dst);
    owner = route_to(x->tuple.dst);
    if (owner == VFR_NOBODY && !vfr_lease_is_shared(&vfr_leases, x->tuple.dst))
        owner = __atomic_load_n(&vfr.uplink, __ATOMIC_ACQUIRE);
    return out && out->index == owner ? VFR_R_OK : VFR_R_NO_ROUTE;
}

/* ---- ARP and neighbour discovery ---- */

/* Stations of the wire speak for what is there, and are on the link themselves. */
static enum vfr_reason check_wire(const struct vfr_judgement *j, enum vfr_talk talk,
                                  struct vfr_addr about)
{
    const struct vfr_packet *x = &j->p->parsed;
    const bool arp = x->class == VFR_C_ARP;

    if (j->in->kind != VFR_UPLINK)
        return VFR_R_OK;
    if (pretends_to_be_inside(j))
        return VFR_R_SPOOF_MAC;
    if (!arp && (x->ttl != 255 || x->flags & VFR_P_FRAGMENT))
        return VFR_R_SPOOF_ND;
    if (vfr_is_elsewhere(j->in, x->tuple.src) ||
        (talk == VFR_TALK_TELLS && vfr_is_elsewhere(j->in, about)))
        return arp ? VFR_R_SPOOF_ARP : VFR_R_SPOOF_ND;
    return VFR_R_OK;
}

static enum vfr_reason hand_over(struct vfr_judgement *j, struct vif *out,
                                 struct vif_queue **to)
{
    if (!vif_take_one(&talks, &j->in->talk_due, j->p))
        return VFR_R_RATE;
    j->p->special = false;
    *to = &out->queues[0];
    return VFR_R_OK;
}

/* Whoever has an address is known, but for those on the wire. */
static enum vfr_reason ask(struct vfr_judgement *j, struct vfr_addr about,
                           struct vif_queue **to)
{
    u16 owner = route_to(about);
    struct vif *out;

    if (vfr_is_router(about))
        return vfr_answer(j->p);
    if (owner == VFR_NOBODY || owner == j->in->index)
        owner = __atomic_load_n(&vfr.uplink, __ATOMIC_ACQUIRE);
    out = vfr_find(owner);
    if (out && vif_is_neighbour(j->in, out))
        return hand_over(j, out, to);
    return owner == VFR_NOBODY || out->kind == VFR_UPLINK ? VFR_R_CONSUMED : vfr_answer(j->p);
}

enum vfr_reason vfr_switch_talk(struct vfr_judgement *j, struct vif_queue **to)
{
    struct vif_packet *p = j->p;
    const struct vfr_packet *x = &p->parsed;
    struct vfr_addr about;
    const enum vfr_talk talk = vfr_talk(x, p->head, p->have, &about);
    enum vfr_reason reason;
    struct vif *out;

    if (j->in->kind == VFR_UPLINK && talk == VFR_TALK_TELLS)
        vfr_neighbour_told(p, about);
    if (!j->in->segment[0])
        return vfr_answer(p);
    reason = check_wire(j, talk, about);
    if (reason != VFR_R_OK)
        return reason;
    if (x->eth_dst == j->in->router_mac)
        return vfr_answer(p);
    if (!(x->eth_dst & ETH_GROUP)) {
        out = find_station(j->in, x->eth_dst);
        return out ? hand_over(j, out, to) : VFR_R_NO_ROUTE;
    }
    if (talk == VFR_TALK_OTHER)
        return spread_ip(j);
    return talk == VFR_TALK_TELLS ? spread(j, false) : ask(j, about, to);
}
