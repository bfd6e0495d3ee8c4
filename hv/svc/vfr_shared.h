/*
 * Packets from and to shared addresses that have no ports of their own, and complaints about
 * others' packets. ICMP questions belong to who asks, as flows tell; answers go there. ESP and AH
 * come in by leases of their SPIs, other protocols by a lease of the whole protocol.
 */
#ifndef SERAI_SVC_VFR_SHARED_H
#define SERAI_SVC_VFR_SHARED_H

#include "svc/vfr_judgement.h"

/* 's': its source address's ports, or NULL: that is not shared. */
enum vfr_reason vfr_shared_source(struct vfr_judgement *j, const struct vfr_shared *s);
/* To whom; to the ports of 's'. What VFR_PORT() says of a port, to the other one. */
enum vfr_reason vfr_shared_way(struct vfr_judgement *j, const struct vfr_shared *s);
enum vfr_reason vfr_shared_owner(struct vfr_judgement *j, u16 owner);
/* DHCP's answer to a shared address goes to the interface that it names by its Ethernet address. */
bool vfr_shared_answers_client(struct vfr_judgement *j);
/* A new flow without ports from a shared address: does the interface have such a lease at all? */
bool vfr_shared_may_begin(const struct vfr_judgement *j);

#endif
