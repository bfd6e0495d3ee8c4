/*
 * What the router writes down (abi/vfr_log.h): flows in a log of each CPU, changes in the audit
 * log. The cores are core/vfr_log and core/vfr_audit.
 *
 *  1. A change is written first and made then, with nothing between that could fail; when there
 *     is no room it is refused, -XEN_ENOBUFS. What cannot be refused, the end of a domain and of
 *     a lease's time, is put off: the ports and the interface's number stay taken meanwhile.
 *  2. A CPU writes to its own log only, interrupts off; whoever reads does so at any time.
 *  3. The logs are made with the first change. Before it there is nothing to write down.
 */
#ifndef SERAI_SVC_VFR_LOG_H
#define SERAI_SVC_VFR_LOG_H

#include "abi/vfr_lease.h"
#include "base/sha256.h"
#include "core/vfr_audit.h"
#include "core/vfr_flow.h"
#include "core/vfr_rules.h"
#include "svc/vif_state.h"

/* ---- changes: 0, -XEN_ENOBUFS, -XEN_ENOMEM; under any lock before LOCK_VFR_AUDIT ---- */

int vfr_log_connect(const struct vif *f) must_check;
int vfr_log_disconnect(const struct vif *f, enum vfr_actor origin) must_check;
/* It may send so much from now on. */
int vfr_log_rate(const struct vif *f, const struct serai_vfr_vif *op) must_check;
/* Rules are in force from now on, or on: as generation 'now'. */
int vfr_log_rules(u32 nr_rules, const u8 digest[SHA256_SIZE], u32 now,
                  const char *how) must_check;
struct serai_vfr_set;
/* An element of a set; 'failed': what was written before did not happen. */
int vfr_log_element(const struct serai_vfr_set *op, int failed) must_check;
/* One that was checked; 'before': the lease as it is, NULL: there is none. */
int vfr_log_lease(const struct vfr_lease_order *o,
                  const struct vfr_lease_info *before) must_check;
/* The wall clock is about to be set. */
int vfr_log_clock(u64 before, u64 after) must_check;
/* Any other; 'e' is complete but for the lengths of its texts, which end with 0. */
int vfr_log_change(struct vfr_audit_entry *e) must_check;
/* Domain 0's own, texts with lengths. -XEN_E2BIG, -XEN_EINVAL. */
int vfr_log_note(const struct vfr_audit_entry *e) must_check;
int vfr_log_checkpoint(void) must_check;

/* ---- flows; interrupts off, under any lock ---- */

/* What is to be logged of a flow that may begin by this verdict: VFR_LOG_, samples drawn. */
u8 vfr_log_choose(const struct vfr_verdict *v);
/* Room for the beginning of a flow: asked by rules that are strict. */
bool vfr_log_has_space(void);
void vfr_log_begun(const struct vfr_flow *f, u8 tcp_flags);
void vfr_log_ended(const struct vfr_flow *f, enum vfr_flow_end why);
/* Or passed, by rules that begin no flow. */
void vfr_log_denied(const struct vfr_packet *x, const struct vif *in, const struct vif *out,
                    const struct vfr_verdict *v);
/* Any other end of a packet; 'x' may be NULL. */
void vfr_log_dropped(const struct vif *in, const struct vfr_packet *x, enum vfr_reason reason,
                     u32 bytes);

/* ---- reading ---- */

/* NULL: there is no such ring. What there is once stays. */
const struct vfr_log_stream *vfr_log_find(u32 ring);
/* How long the audit log's chain is, its last digest; for its ring: the changes refused. */
void vfr_log_head(struct serai_vfr_log *op);

#endif
