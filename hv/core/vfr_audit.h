/*
 * Writing the audit log (abi/vfr_log.h has the records), and verifying it.
 *
 *  1 A record that finds no room is refused, and nothing is written of it: who wants to change
 *    something asks vfr_audit_check() first, does it, then writes; nobody else writes between.
 *  2 'head' is the digest of the last record, or 0; 'records' counts them, and is the next one's seq.
 *
 * One writer at a time: the caller serialises. Pure. The verifier needs nothing but the bytes and
 * is the same for the hypervisor's tests and domain 0's tools.
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

/* ---- verifying ---- */

/* Where a verification stands. To begin with: 0, or what is known of the part before. */
struct vfr_audit_proof {
    u64 records;
    u8 head[SHA256_SIZE];
    /* After so many records the digest must be this one: from a checkpoint. 0: nothing is known. */
    u64 known_records;
    u8 known_head[SHA256_SIZE];
};

enum vfr_audit_fault {
    VFR_AUDIT_OK,
    VFR_AUDIT_FORM,   /* no record of an audit log, or not all of one */
    VFR_AUDIT_SEQ,    /* not the next one */
    VFR_AUDIT_BEFORE, /* does not go on from the one before */
    VFR_AUDIT_DIGEST, /* has been changed */
    VFR_AUDIT_OTHER,  /* sound in itself, but not what was known */
    VFR_AUDIT_CUT     /* ends before what was known */
};

/* 'len' bytes of records, one after another; *at is where the fault is, or 'len'. */
enum vfr_audit_fault vfr_audit_verify(struct vfr_audit_proof *p, const u8 *bytes, u64 len,
                                      u64 *at);
/* No more is to come: OK, or CUT. */
enum vfr_audit_fault vfr_audit_verify_end(const struct vfr_audit_proof *p);

#endif
