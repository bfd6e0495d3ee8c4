/* Packets to a domain, and who waits for its buffers. */
#ifndef SERAI_SVC_VIF_RX_H
#define SERAI_SVC_VIF_RX_H

#include "svc/vif_state.h"

/*
 * Hands a packet to a queue; visible from vif_publish() on. With too few buffers the sender's queue
 * begins to wait for them (vif_queue.waits_for), once for each packet: then it is RX_FULL, or
 * RX_SLOW at once. VIF_DOWN.
 */
enum vfr_reason vif_deliver(struct vif_queue *to, struct vif_packet *p);
void vif_publish(struct vif_queue *to);
/* A frame of the router's own, if there is a buffer for it; visible at once. */
void vif_say(struct vif_queue *to, const u8 *frame, u32 len);

/* The one that has waited longest for buffers of 'q' does so no more; NULL: nobody. */
struct vif_queue *vif_take_waiter(struct vif_queue *q);
/* It waits for nobody any more; false: it did not. */
bool vif_stop_waiting(struct vif_queue *q);

#endif
