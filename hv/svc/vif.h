/* Interfaces come and go; for domain 0. What they are: svc/vif_state.h. */
#ifndef SERAI_SVC_VIF_H
#define SERAI_SVC_VIF_H

#include "abi/vfr.h"
#include "base/types.h"

/* Connects; everything in 'op' is checked here. Results as abi/vfr.h says, also below. */
int vif_connect(struct serai_vfr_vif *op) must_check;
int vif_disconnect(u16 index) must_check;
/* Packets to elsewhere go to another station from now on. -XEN_ENOENT; -XEN_EINVAL: no uplink. */
int vif_set_next_hop(const struct serai_vfr_vif *op) must_check;
/* What it may send, from now on. -XEN_ENOENT, -XEN_EINVAL, -XEN_ENOBUFS. */
int vif_change_rate(const struct serai_vfr_vif *op) must_check;
/* What there is to tell about op->vif, or about the next one that is up. */
int vif_read(struct serai_vfr_vif *op, bool or_next) must_check;

/* The uuid of the domain whose interface it is, for leases. -XEN_ENOENT; -XEN_EINVAL: it has none. */
int vif_uuid(u16 index, u8 uuid[16]) must_check;

void vif_init(void);

#endif
