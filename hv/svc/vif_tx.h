/* Packets from a domain: out of its ring, past the router, into another's. */
#ifndef SERAI_SVC_VIF_TX_H
#define SERAI_SVC_VIF_TX_H

#include "svc/vif_state.h"

/* Once, when its page is made. */
void vif_init_page(struct vif *f);
/* Moves what the queue's domain has sent. No lock is held; meets preemption points. */
void vif_kick(struct vif_queue *q);
/* Buffers may have come, or never will: who waits for them goes on. Likewise. */
void vif_wake_senders(struct vif_queue *to);

#endif
