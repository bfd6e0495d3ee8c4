/* Packets to a domain. */
#ifndef SERAI_SVC_VIF_RX_H
#define SERAI_SVC_VIF_RX_H

#include "svc/vif_state.h"

/*
 * Hands a packet to a queue; visible from vif_publish() on. With too few buffers, or when it is
 * another's turn, VIF_WAITS (svc/vif_turns): the sender's queue waits. VIF_DOWN.
 */
enum vfr_reason vif_deliver(struct vif_queue *to, struct vif_packet *p);
void vif_publish(struct vif_queue *to);
/* One of several copies, if there are buffers for it; visible at once. */
bool vif_deliver_copy(struct vif_queue *to, const struct vif_packet *p);
/* A frame of the router's own, if there is a buffer for it; visible at once. */
void vif_say(struct vif_queue *to, const u8 *frame, u32 len);

#endif
