#include "svc/vfr_shared.h"
#include "core/vfr_wire.h"
#include "kern/tlb.h"
#include "svc/vfr_answer.h"

#define FLOW_OF(index) ((u16)((index) + 1))

/* Whose flow of these ends it is, or VFR_NOBODY. */
static u16 flow_owner(const struct vfr_judgement *j, const struct vfr_tuple *t, u16 flags)
{
    enum vfr_flow_result r = VFR_FLOW_BUSY;
    struct vfr_flow_key key;
    u16 vif = VFR_NOBODY;

    while (r == VFR_FLOW_BUSY) {
        vfr_flow_key(&vfr.flows, t, 0, flags, &key);
        r = vfr_flow_whose(&vfr.flows, &key, j->now, &vif);
        if (r == VFR_FLOW_BUSY)
            tlb_relax();
    }
    return r == VFR_FLOW_HIT ? vif : VFR_NOBODY;
}

/* The upper half of the SPI of ESP or AH, of which leases tell. */
static bool get_spi(const struct vif_packet *p, u16 *spi)
{
    u32 at = p->parsed.l4_offset + (p->parsed.tuple.proto == PROTO_AH ? 4U : 0U);

    if (at + 4 > MIN(p->have, (u32)p->parsed.l3_offset + p->parsed.l3_len))
        return false;
    *spi = get_be16(p->head + at);
    return true;
}

static enum vfr_reason not_leased(const struct vfr_judgement *j)
{
    return vfr_complain(j->p, VFR_E_ADMIN, 0, VFR_R_RSIP_PORT);
}

/*
 * A complaint comes from where the packet went: from the wire none about what stays in the house,
 * from a guest none about what others have received.
 */
static enum vfr_reason check_complaint(const struct vfr_judgement *j)
{
    const struct vfr_packet *x = &j->p->parsed;
    const struct vfr_tuple *t = &x->inner;
    const struct vfr_shared *s = vfr_lease_shared(&vfr_leases, t->dst);

    if (j->in->kind == VFR_UPLINK)
        return vfr_is_elsewhere(j->in, t->dst) ? VFR_R_ICMP_UNSOLICITED : VFR_R_OK;
    if (!s && vfr_lease_is_shared(&vfr_leases, x->tuple.src))
        return VFR_R_RSIP_PORT;
    if (!s)
        return VFR_R_OK;
    return vfr_port_is_of(
               vfr_ports_look(&vfr_leases.ports, s, vfr_lease_class(t->proto), t->dport),
               j->in->index)
               ? VFR_R_OK
               : VFR_R_RSIP_PORT;
}

enum vfr_reason vfr_shared_source(struct vfr_judgement *j, const struct vfr_shared *s)
{
    const struct vfr_packet *x = &j->p->parsed;
    const enum vfr_port_class class = vfr_lease_class(x->tuple.proto);
    u16 owner;

    if (x->flags & VFR_P_INNER)
        return check_complaint(j);
    if (x->flags & VFR_P_QUERY) {
        owner = flow_owner(j, &x->tuple, x->flags);
        return owner == VFR_NOBODY || owner == j->in->index ? VFR_R_OK : VFR_R_ICMP_ID_BUSY;
    }
    if (x->tuple.proto == PROTO_ICMP4)
        return VFR_R_ICMP_UNSOLICITED; /* pings to it were answered by the router */
    j->segment = FLOW_OF(j->in->index);
    if (class == VFR_PC_SPI)
        return VFR_R_OK; /* the SPI is the other side's */
    owner = vfr_ports_look(&vfr_leases.ports, s, VFR_PC_PROTO, x->tuple.proto);
    j->draining |= !vfr_port_may_open(owner);
    return vfr_port_is_of(owner, j->in->index) ? VFR_R_OK : not_leased(j);
}

bool vfr_shared_may_begin(const struct vfr_judgement *j)
{
    const struct vfr_tuple *t = &j->p->parsed.tuple;
    const struct vfr_shared *s = vfr_lease_shared(&vfr_leases, t->src);

    if (!s || vfr_lease_class(t->proto) != VFR_PC_SPI)
        return true;
    return vfr_ports_has_any(&vfr_leases.ports, s, VFR_PC_SPI, j->in->index);
}

enum vfr_reason vfr_shared_owner(struct vfr_judgement *j, u16 owner)
{
    const unsigned state = owner >> VFR_PORT_STATE_SHIFT;

    if (state == VFR_PORT_RESTING)
        return VFR_R_QUARANTINED;
    if (state == VFR_PORT_FREE)
        return VFR_R_NO_OWNER;
    j->draining |= !vfr_port_may_open(owner);
    j->out = vfr_find(owner & VFR_PORT_VIF);
    return j->out ? VFR_R_OK : VFR_R_VIF_DOWN;
}

rarely bool vfr_shared_answers_client(struct vfr_judgement *j)
{
    const struct vif_packet *p = j->p;
    const struct vfr_tuple *t = &p->parsed.tuple;
    const u32 at = p->parsed.l4_offset + UDP_HEADER + BOOTP_CHADDR;
    struct vif *f;

    if (j->in->kind != VFR_PUNT || t->proto != PROTO_UDP || t->dport != DHCP4_CLIENT ||
        at + 6 > p->have)
        return false;
    for (u16 i = 0; (f = vfr_find(i)); i++)
        if (f->state == VIF_UP && f->binding.mac == get_mac(p->head + at) &&
            vfr_binding_shares(&f->binding, t->dst)) {
            j->out = f;
            return true;
        }
    return false;
}

/* To whoever asked, or sent what is complained about. */
static enum vfr_reason to_asker(struct vfr_judgement *j)
{
    const struct vfr_packet *x = &j->p->parsed;
    u16 vif = flow_owner(j, x->flags & VFR_P_INNER ? &x->inner : &x->tuple, x->flags);

    j->out = vif == VFR_NOBODY ? NULL : vfr_find(vif);
    return j->out ? VFR_R_OK : VFR_R_ICMP_UNSOLICITED;
}

enum vfr_reason vfr_shared_way(struct vfr_judgement *j, const struct vfr_shared *s)
{
    const struct vfr_packet *x = &j->p->parsed;
    const bool inner = x->flags & VFR_P_INNER;
    const struct vfr_tuple *t = inner ? &x->inner : &x->tuple;
    const enum vfr_port_class class = vfr_lease_class(t->proto);
    u16 port = inner ? t->sport : t->proto, owner;

    if (x->flags & VFR_P_QUERY)
        return vfr_answer_echo(j->p);
    if (t->proto == PROTO_ICMP4)
        return x->flags & (VFR_P_ANSWER | VFR_P_INNER) ? to_asker(j) : VFR_R_ICMP_UNSOLICITED;
    if (class == VFR_PC_SPI && !get_spi(j->p, &port))
        return VFR_R_NO_OWNER;
    owner = vfr_ports_look(&vfr_leases.ports, s, class, port);
    if (!inner)
        j->segment = FLOW_OF(owner & VFR_PORT_VIF);
    return vfr_shared_owner(j, owner);
}
