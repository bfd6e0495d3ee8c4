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

#endif
