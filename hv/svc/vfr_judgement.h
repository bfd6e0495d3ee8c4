/* One packet's judgement: what its parts tell each other. */
#ifndef SERAI_SVC_VFR_JUDGEMENT_H
#define SERAI_SVC_VFR_JUDGEMENT_H

#include "core/vfr_checksum.h"
#include "core/vfr_wire.h"
#include "svc/vfr.h"

struct vfr_judgement {
    struct vif_packet *p;
    struct vif *in, *out;
    const struct vfr_ruleset *ruleset;
    ns_t now;
    u64 version;   /* svc/vfr_ways.h, when this began */
    u16 segment;   /* of its flow: whose, where ports of a shared address do not tell */
    bool by_port;  /* its source address is shared */
    bool draining; /* a port that it uses is about to be given back: no new flow */
};

/* From station to station of a segment; all that goes elsewhere was sent to the router's address. */
static inline bool vfr_is_switched(const struct vif_packet *p, const struct vif *out)
{
    return p->parsed.eth_dst != p->from->vif->router_mac && out->kind != VFR_PUNT;
}

/* On the way to or from the wire a router is seen. */
static inline bool vfr_is_hop(const struct vif_packet *p, const struct vif *out)
{
    return (p->from->vif->kind == VFR_UPLINK || out->kind == VFR_UPLINK) &&
           !vfr_is_switched(p, out);
}

/* One less to live, for the packet of this class whose IP header that is. */
static inline void vfr_take_hop(u8 *ip, u8 class)
{
    u16 old;

    if (class == VFR_C_IP6) {
        ip[7]--;
        return;
    }
    old = get_be16(ip + 8);
    ip[8]--;
    put_be16(ip + 10, vfr_checksum_update(get_be16(ip + 10), old, (u16)(old - 0x100)));
}

#endif
