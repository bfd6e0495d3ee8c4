/* What would become of a packet, and why. */
#ifndef SERAI_SVC_VFR_EXPLAIN_H
#define SERAI_SVC_VFR_EXPLAIN_H

#include "abi/vfr_explain.h"
#include "svc/vif_state.h"

/* As abi/vfr_explain.h says; 'op' is the caller's copy. Long. */
int vfr_explain_call(struct serai_vfr_explain *op) must_check;
/* A packet of a queue that is watched, not judged yet. */
void vfr_explain_live(const struct vif_packet *p);

#endif
