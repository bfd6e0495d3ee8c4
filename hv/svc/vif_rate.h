/*
 * What an interface may send in time: one limit (core/vfr_shape) for all its queues.
 *
 *  1. A queue that may not send rests: its packets stay in its ring, and nothing is dropped.
 *  2. While one rests, all do that have something to send: the interface's timer goes on with
 *     them in turn, one turn each, as long as there is something left.
 *  3. Who makes 'rests' true sets the timer, whose handler makes it false: so it is set by one CPU
 *     at a time. A queue enters 'resting' before it looks at 'rests', the handler does
 *     the reverse: none is forgotten.
 *
 * For svc/vif and svc/vif_tx. The functions about a queue: with its tx lock.
 */
#ifndef SERAI_SVC_VIF_RATE_H
#define SERAI_SVC_VIF_RATE_H

#include "svc/vif_state.h"

/* Of op->rate_bytes and op->rate_usec. */
bool vif_rate_is_valid(const struct serai_vfr_vif *op);
/* From now on; it is valid. */
void vif_rate_set(struct vif *f, const struct serai_vfr_vif *op);

/* False: it rests from now on. */
bool vif_may_send(struct vif_queue *q, ns_t now);
/* It sent so many bytes; may it send more? If not, it rests. */
bool vif_has_sent(struct vif_queue *q, u32 bytes, ns_t now);

/* Once, when its page is made: the timer calls this. */
void vif_rate_init(struct vif *f, void (*resume)(void *f));
/* Its queues have been stopped. */
void vif_rate_stop(struct vif *f);
/* The timer has come: the queue whose turn it is; NULL: none rests. */
struct vif_queue *vif_rate_next(struct vif *f);
/* It had its turn, 'again': and wants another; who rests yet comes next. */
void vif_rate_go_on(struct vif *f, const struct vif_queue *again);

#endif
