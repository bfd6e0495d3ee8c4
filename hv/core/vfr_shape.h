/*
 * How much an interface may send, and who is served next: limits of bytes and packets in time, and
 * deficit round robin among the queues that send to one destination.
 *
 * A limit's whole state is one word, 'due': when all that was let through so far will have been paid
 * for, in sixteenths of a nanosecond. All queues of an interface share it: each CPU computes the next
 * word from the one it read and exchanges it if nobody was faster.
 *  1. In any stretch of time t at most depth + t * rate + one packet pass.
 *     Times are below 2^59 ns, which is 18 years.
 *  2. Who always has something to send gets the rate, within rounding (below 0.7 % at 100 Gbit/s with
 *     64-byte packets, less for slower or longer ones). A packet longer than the depth passes too.
 *
 * Round robin keeps its order in the sources themselves, which the caller numbers from 0 and keeps.
 * The length of a packet need not be known before its source is chosen: a source sends while it has
 * credit, and pays what it overdrew in the rounds that follow, also if it went away meanwhile.
 *  3. The waiting sources form one ring, 'count' of them; the others are in no ring.
 *  4. No credit is above the quantum, none below -VFR_DEBT_MAX.
 *  5. Among sources that always wait, any two got the same but for a quantum and a packet.
 *
 * Pure. Caller serialises a ring with its sources; limits see above.
 */
#ifndef SERAI_CORE_VFR_SHAPE_H
#define SERAI_CORE_VFR_SHAPE_H

#include "base/types.h"

/* ---- limits ---- */

#define VFR_TICKS_PER_NS 16

struct vfr_limit {
    u64 cost;  /* of one byte or packet, in ticks times 65536; 0: there is no limit */
    u64 depth; /* ticks that may be owed when a packet is let through */
};

/* One each so many nanoseconds, and so many at once. */
#define VFR_LIMIT_EVERY(ns, at_once)                                                           \
    {                                                                                          \
        .cost = (u64)(ns)*VFR_TICKS_PER_NS << 16,                                              \
        .depth = (u64)(ns)*VFR_TICKS_PER_NS * ((at_once)-1)                                    \
    }

/*
 * 'amount' bytes or packets in 'usec' microseconds, as toolstacks write it, and 'burst' of them at
 * once. 0, or -XEN_EINVAL: less than one a second or more than 10^12.
 */
int vfr_limit_set(struct vfr_limit *l, u64 amount, u32 usec, u32 burst);

/* Whether 'n' bytes or packets may pass now; then *due is to be replaced by what it is here. */
bool vfr_limit_take(const struct vfr_limit *l, u64 *due, u32 n, ns_t now);
/* What 'due' becomes by 'n' that pass: for who learns how many only when it happens. */
u64 vfr_limit_charge(const struct vfr_limit *l, u64 due, u32 n, ns_t now);
/* Nanoseconds until something may pass again; 0: now. */
u64 vfr_limit_wait(const struct vfr_limit *l, u64 due, ns_t now);

/* ---- round robin ---- */

#define VFR_QUANTUM_MIN 2048
#define VFR_QUANTUM_MAX 65536
#define VFR_DEBT_MAX    65536 /* the longest packet */
#define VFR_NO_SOURCE   0xffff

struct vfr_source {
    s32 credit;
    u16 next, prev; /* in the ring, or VFR_NO_SOURCE */
};

struct vfr_ring {
    u32 quantum, count;
    u16 head; /* to be served; VFR_NO_SOURCE: nobody waits */
};

void vfr_ring_init(struct vfr_ring *r, u32 quantum);
void vfr_source_init(struct vfr_source *s);
static inline bool vfr_source_waits(const struct vfr_source *s)
{
    return s->next != VFR_NO_SOURCE;
}

/* Source i has something to send, behind all who wait already; no effect if it waits. */
void vfr_ring_join(struct vfr_ring *r, struct vfr_source *sources, u16 i);
/* It has nothing more, or cannot send; no effect if it does not wait. */
void vfr_ring_leave(struct vfr_ring *r, struct vfr_source *sources, u16 i);
/*
 * Who may send one packet now. VFR_NO_SOURCE: nobody waits, or ('count' is not 0) only debtors
 * were found so far, and the caller should ask again after looking for more urgent work.
 */
u16 vfr_ring_next(struct vfr_ring *r, struct vfr_source *sources);
/* Source i sent a packet. */
void vfr_ring_charge(struct vfr_ring *r, struct vfr_source *sources, u16 i, u32 bytes);

/* 'n' sources, all of this ring. */
int vfr_ring_check(const struct vfr_ring *r, const struct vfr_source *sources, u32 n);

#endif
