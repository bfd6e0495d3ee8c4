/*
 * What an explanation notes on a packet's way. The packet comes from a queue that is no real one and
 * has a sink; wherever something would be changed or said for such a one, it is noted instead. On the
 * way of a packet that belongs to a flow nobody asks for a sink: 'doubt' makes flows look old.
 */
#ifndef SERAI_SVC_VFR_SINK_H
#define SERAI_SVC_VFR_SINK_H

#include "abi/vfr_explain.h"
#include "svc/vfr_judgement.h"

#define VFR_SINK_DOUBT (1U << 30) /* generations */

struct vfr_sink {
    struct serai_vfr_explain *e;
    struct vfr_trace trace;
    u16 out; /* where it went when it was last seen */
};

static inline struct vfr_sink *vfr_sink_of(const struct vfr_judgement *j)
{
    return j->p->from->sink;
}

/* The rules said so. */
void vfr_sink_judged(struct vfr_sink *s, const struct vfr_judgement *j,
                     const struct vfr_verdict *v);
/* It would begin a flow: VFR_R_OK, or why it could not. */
int vfr_sink_begins(struct vfr_sink *s, const struct vfr_judgement *j,
                    const struct vfr_verdict *v);
/* It belongs to this flow; true: which lets it pass, by the rules in force. */
bool vfr_sink_belongs(struct vfr_sink *s, const struct vfr_judgement *j,
                      const struct vfr_flow_hit *hit);
/* Its sender would be told. */
void vfr_sink_said(struct vfr_sink *s, const u8 *frame, u32 len);

#endif
