/*
 * Reading a log's ring, as domain 0 does, and accounting for every record of a flow log.
 *
 *  1 A record is taken whole; the writer may use its place again when vfr_log_take() has returned.
 *  2 Of a flow log, records seen + records that gaps name = highest seq seen + 1 - the first seq;
 *    anything else is 'unexplained'.
 *
 * One reader a ring. Pure but for the ring.
 */
#ifndef TESTS_VFR_LOG_READ_H
#define TESTS_VFR_LOG_READ_H

#include "abi/vfr_log.h"
#include "base/types.h"
#include <string.h>

struct vfr_log_reader {
    struct vfr_log_ring *ring;
    const u64 *data;
    u32 size;
    u64 at;
};

/* Goes on where the ring's last reader stopped. -XEN_EINVAL: this is no ring. */
static inline int vfr_log_open(struct vfr_log_reader *r, struct vfr_log_ring *ring,
                               const void *data, u32 size)
{
    if (ring->magic != VFR_LOG_MAGIC || ring->size != size || !size || size & (size - 1))
        return -XEN_EINVAL;
    *r = (struct vfr_log_reader){ring, data, size, ring->consumed};
    return 0;
}

static inline u64 word_at(const struct vfr_log_reader *r, u64 at)
{
    return r->data[at % r->size / 8];
}

/* The next record's length, 0: there is none now; -XEN_EILSEQ: what is there makes no sense;
 * -XEN_ENOBUFS: it is longer than 'room'. */
static inline int vfr_log_take(struct vfr_log_reader *r, void *record, u32 room)
{
    const u64 there = __atomic_load_n(&r->ring->produced, __ATOMIC_ACQUIRE) - r->at;
    u8 *to = record;
    u32 len;

    if (!there)
        return 0;
    if (there > r->size || there < sizeof(struct vfr_log_head))
        return -XEN_EILSEQ;
    len = word_at(r, r->at) >> 16 & 0xffff;
    if (len > there || len % 8 || len < sizeof(struct vfr_log_head))
        return -XEN_EILSEQ;
    if (len > room)
        return -XEN_ENOBUFS;
    for (u32 i = 0; i < len; i += 8) {
        u64 word = word_at(r, r->at + i);

        memcpy(to + i, &word, sizeof(word));
    }
    r->at += len;
    __atomic_store_n(&r->ring->consumed, r->at, __ATOMIC_RELEASE);
    return (int)len;
}

/* Of a flow log, from its first record on. */
struct vfr_log_account {
    u32 next;
    u64 seen, lost, unexplained;
};

static inline void vfr_log_account(struct vfr_log_account *a, const struct vfr_log_head *head)
{
    struct vfr_log_gap gap;

    if (head->type == VFR_RECORD_GAP && head->len >= sizeof(gap)) {
        memcpy(&gap, head, sizeof(gap));
        if (gap.first == a->next) {
            a->next += gap.count;
            a->lost += gap.count;
        }
    }
    a->unexplained += head->seq != a->next;
    a->next = head->seq + 1;
    a->seen++;
}

#endif
