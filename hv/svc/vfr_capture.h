/*
 * Packets as they come by, for domain 0: a capture has a ring of its own (abi/vfr_log.h), which loses
 * what nobody reads, and counts it. Begin and end are in the audit log; a capture ends by itself.
 */
#ifndef SERAI_SVC_VFR_CAPTURE_H
#define SERAI_SVC_VFR_CAPTURE_H

#include "core/vfr_log.h"
#include "svc/vif_state.h"

extern u32 vfr_captures; /* (atomic) a bit for each that is on */

/*
 * As abi/vfr_log.h says; *which is one of VFR_CAPTURES. -XEN_EINVAL: out of range; -XEN_ENOSPC: there
 * are as many as can be; -XEN_ENOBUFS, -XEN_ENOMEM.
 */
int vfr_capture_start(const struct serai_vfr_log *op, u32 *which) must_check;
/* -XEN_ENOENT: there is none. */
int vfr_capture_stop(u32 which) must_check;
/* Its ring, also after its end; NULL: it never was. */
const struct vfr_log_stream *vfr_capture_find(u32 which);

/*
 * One that was judged, for 'to' unless that is NULL, and whose pages are still pinned. With the tx
 * lock, interrupts off: of a turn's bytes two copies for each capture are made at most.
 */
void vfr_capture(const struct vif_packet *p, const struct vif_queue *to,
                 enum vfr_reason reason);

#endif
