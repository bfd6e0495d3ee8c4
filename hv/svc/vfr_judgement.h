/* One packet's judgement: what its parts tell each other. */
#ifndef SERAI_SVC_VFR_JUDGEMENT_H
#define SERAI_SVC_VFR_JUDGEMENT_H

#include "svc/vfr.h"

struct vfr_judgement {
    struct vif_packet *p;
    struct vif *in, *out;
    const struct vfr_ruleset *ruleset;
    ns_t now;
    u16 segment;   /* of its flow: whose, where ports of a shared address do not tell */
    bool draining; /* a port that it uses is about to be given back: no new flow */
};

#endif
