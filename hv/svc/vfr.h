/*
 * The Virtual Firewall Router, acting half: which interfaces it knows, and what becomes of a
 * packet. The judgement is core/vfr_*'s.
 */
#ifndef SERAI_SVC_VFR_H
#define SERAI_SVC_VFR_H

#include "svc/vif_state.h"

/* NULL: there is none with this number. The page stays; what it is may change at any time. */
struct vif *vfr_find(u16 index);
/* One for this domain's handle, in state BUSY and nobody else's until that changes. -XEN_EEXIST, -XEN_ENOSPC. */
int vfr_reserve(struct domain *d, u16 handle, struct vif **f) must_check;
/* From BUSY on. */
void vfr_set_state(struct vif *f, enum vif_state state);
/* From UP to BUSY; false: it was not up. */
bool vfr_take(struct vif *f) must_check;

/* An interface comes and goes, with its addresses; 0 or -XEN_EEXIST, -XEN_ENOSPC. */
int vfr_attach(const struct vif *f) must_check;
void vfr_detach(const struct vif *f);

/*
 * Judges a packet whose head is there, and writes the addresses of the link it leaves by into it.
 * VFR_R_OK: it goes to *to. Otherwise why not.
 */
enum vfr_reason vfr_forward(struct vif_packet *p, struct vif_queue **to);

#endif
