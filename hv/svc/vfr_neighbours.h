/* Which station of the wire a packet is for: one on the link, or the gateway. */
#ifndef SERAI_SVC_VFR_NEIGHBOURS_H
#define SERAI_SVC_VFR_NEIGHBOURS_H

#include "svc/vfr_judgement.h"

/* These networks, 'prefixes' of an order about an uplink, are on its link. -XEN_EINVAL, -XEN_ENOMEM. */
int vfr_neighbours_set(const struct serai_vfr_vif *op) must_check;

/*
 * For a packet to the uplink 'out'. Who is on the link and not known is asked for, and the packet takes
 * the way by the gateway meanwhile.
 */
u64 vfr_neighbour_hop(const struct vif_packet *p, struct vif *out);
/* ARP or an advertisement from the wire, about this address. */
void vfr_neighbour_told(const struct vif_packet *p, struct vfr_addr about);

#endif
