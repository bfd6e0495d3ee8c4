/* The rules in force are asked about a packet. */
#ifndef SERAI_SVC_VFR_ASK_H
#define SERAI_SVC_VFR_ASK_H

#include "svc/vfr_judgement.h"

/* What they say of one like 'x' from one interface to another; with a trace, if there is a sink. */
void vfr_ask_rules(const struct vfr_judgement *j, const struct vfr_packet *x,
                   const struct vif *from, const struct vif *to, struct vfr_verdict *v);

#endif
