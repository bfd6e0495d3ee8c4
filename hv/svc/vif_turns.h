/*
 * Whose packets a queue's buffers are for, when there are too few of them: senders wait in a ring of
 * the receiver's (core/vfr_shape) and are served in turn, a quantum of bytes each.
 *
 *  1. A sender waits for one receiver at most, and while it does its packets are not moved.
 *  2. 'nr_senders' are those in the ring, and the one that is served, who is in none. While it
 *     is not 0, nobody else's packets are put into buffers.
 *  3. While a ring is not empty 'patience' is set: it serves whom others forgot, and tells all of them
 *     that they wait in vain when the receiver has taken nothing for RX_PATIENCE.
 *  4. A receiver for which packets waited in vain TIMEOUTS_MAX times is slow: nobody waits for it
 *     until it takes something when FORGIVE has passed since the first of them.
 *
 * For svc/vif_rx and svc/vif_tx.
 */
#ifndef SERAI_SVC_VIF_TURNS_H
#define SERAI_SVC_VIF_TURNS_H

#include "svc/vif_state.h"

/* From vif_deliver(): the packet stays where it is. */
#define VIF_WAITS VFR_REASON_COUNT

void vif_turns_init(struct vif_queue *q, void (*patience)(void *q));

/* ---- with the receiver's rx lock ---- */

/* It is another's turn, or ('starved') there are too few buffers: VIF_WAITS, or why it does not. */
enum vfr_reason vif_wait(struct vif_queue *to, const struct vif_packet *p, bool starved);
/* A packet was put into buffers while others wait, or some have waited in vain. */
void vif_turns_put(struct vif_queue *to, const struct vif_packet *p);

/* ---- without a lock ---- */

/* There may be buffers again. */
void vif_turns_fed(struct vif_queue *to);
/* Who is served from now on, until vif_turns_over(); NULL, *again: nobody yet. */
struct vif_queue *vif_turns_next(struct vif_queue *to, bool *again);
/* The same from the timer, one at a time; it is set again as long as it is needed. */
struct vif_queue *vif_turns_tick(struct vif_queue *to);
void vif_turns_over(struct vif_queue *to, struct vif_queue *q);
/* It waits for nobody any more. */
void vif_stop_waiting(struct vif_queue *q);

#endif
