/*
 * Writing the audit log (abi/vfr_log.h has the records).
 *
 *  1 A record that finds no room is refused, and nothing is written of it: who wants to change
 *    something asks vfr_audit_check() first, does it, then writes; nobody else writes between.
 *  2 'head' is the digest of the last record, or 0; 'records' counts them, and is the next one's seq.
 *
 * One writer at a time: the caller serialises. Pure.
 */
#ifndef SERAI_CORE_VFR_AUDIT_H
#define SERAI_CORE_VFR_AUDIT_H

#include "base/sha256.h"
#include "core/vfr_log.h"

#define VFR_AUDIT_SIZE KIB(64) /* of the ring, unless said otherwise */
#define VFR_AUDIT_TEXT                                                                         \
    (VFR_AUDIT_RECORD - sizeof(struct vfr_log_audit) - sizeof(struct vfr_log_chain))

struct vfr_audit {
    struct vfr_log_stream out;
    u8 head[SHA256_SIZE];
    u64 records;
    u64 refused;
};

struct vfr_audit_entry {
    u8 origin; /* enum vfr_actor */
    u16 op;
    u32 uid, pid, vif;
    u64 object;
    const char *before, *after;
    u32 before_len, after_len;
};

int vfr_audit_init(struct vfr_audit *a, struct vfr_log_ring *ring, void *data, u32 size,
                   const struct vfr_log_writer *who) must_check;

/* May this be written? -XEN_EAGAIN: no room now, counted; -XEN_E2BIG: never; -XEN_EINVAL: by nobody. */
int vfr_audit_check(struct vfr_audit *a, const struct vfr_audit_entry *e) must_check;

/* All of it, in as many records as it takes, or the same errors. */
int vfr_audit_write(struct vfr_audit *a, const struct vfr_log_moment *m,
                    const struct vfr_audit_entry *e) must_check;

/* Each hour and when files change: -XEN_EAGAIN. The caller tells 'records' and 'head' elsewhere too. */
int vfr_audit_checkpoint(struct vfr_audit *a, const struct vfr_log_moment *m, u64 logged,
                         u64 lost) must_check;

#endif
