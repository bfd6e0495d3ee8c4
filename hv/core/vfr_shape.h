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
 * Round robin keeps its order in the sources themselves, which are the caller's. The length of a
 * packet need not be known before its source is chosen: who is taken out of the ring sends while it
 * has credit, comes back if there is more, and pays what it overdrew in the rounds that follow, also
 * if it went away meanwhile.
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

struct vfr_source {
    struct vfr_source *next, *prev; /* in the ring; NULL: in none */
    s32 credit;
};

struct vfr_ring {
    struct vfr_source *head; /* to be served; NULL: nobody waits */
    u32 quantum, count;
};

void vfr_ring_init(struct vfr_ring *r, u32 quantum);
static inline bool vfr_source_waits(const struct vfr_source *s)
{
    return s->next;
}

/* It waits behind all who wait already; or, coming back, before them. It was in no ring. */
void vfr_ring_join(struct vfr_ring *r, struct vfr_source *s);
void vfr_ring_return(struct vfr_ring *r, struct vfr_source *s);
/* It waits no longer. */
void vfr_ring_leave(struct vfr_ring *r, struct vfr_source *s);
/*
 * Who may send now, taken out of the ring. NULL: nobody waits, or ('count' is not 0) only debtors
 * were found so far, and the caller should ask again after looking for more urgent work.
 */
struct vfr_source *vfr_ring_take(struct vfr_ring *r);
/* One that was taken sent a packet. False: it may not send another. */
bool vfr_source_charge(struct vfr_source *s, u32 bytes);
/* It has nothing more. */
void vfr_source_rest(struct vfr_source *s);

int vfr_ring_check(const struct vfr_ring *r);

#endif
