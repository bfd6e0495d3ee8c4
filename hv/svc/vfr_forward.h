/* What becomes of a packet. */
#ifndef SERAI_SVC_VFR_FORWARD_H
#define SERAI_SVC_VFR_FORWARD_H

#include "svc/vif_state.h"

/*
 * Judges a packet whose head is there, and writes the link's addresses for where it goes into it.
 * VFR_R_OK: to *to. Otherwise why not; its sender may have got an answer. The tx lock of its queue
 * is held.
 */
enum vfr_reason vfr_forward(struct vif_packet *p, struct vif_queue **to);

/* A piece that was kept follows its first one. False: its rule's rate is used up. */
bool vfr_count_kept(struct vif_packet *first, struct vif *out, u32 bytes);

/* Marks the packet of this class whose IP header that is; its two bits of ECN stay. */
void vfr_set_dscp(u8 *ip, u8 class, u8 dscp);

#endif
