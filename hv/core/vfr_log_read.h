/*
 * Reading a log's ring, as domain 0 does, and accounting for every record of a flow log.
 *
 *  1 A record is taken whole; the writer may use its place again when vfr_log_take() has returned.
 *  2 Of a flow log, records seen + records that gaps name = highest seq seen + 1 - the first seq;
 *    anything else is 'unexplained'.
 *
 * One reader a ring. Pure but for the ring.
 */
#ifndef SERAI_CORE_VFR_LOG_READ_H
#define SERAI_CORE_VFR_LOG_READ_H

#include "abi/vfr_log.h"
#include "base/types.h"

struct vfr_log_reader {
    struct vfr_log_ring *ring;
    const u64 *data;
    u32 size;
    u64 at;
};

/* Goes on where the ring's last reader stopped. -XEN_EINVAL: this is no ring. */
int vfr_log_open(struct vfr_log_reader *r, struct vfr_log_ring *ring, const void *data,
                 u32 size) must_check;

/* The next record's length, 0: there is none now; -XEN_EILSEQ: what is there makes no sense;
 * -XEN_ENOBUFS: it is longer than 'room'. */
int vfr_log_take(struct vfr_log_reader *r, void *record, u32 room) must_check;

/* Of a flow log, from its first record on. */
struct vfr_log_account {
    u32 next;
    u64 seen, lost, unexplained;
};

void vfr_log_account(struct vfr_log_account *a, const struct vfr_log_head *head);

#endif
