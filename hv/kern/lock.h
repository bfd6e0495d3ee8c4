/*
 * Spin locks, and the order in which they may be taken.
 *
 * The hypervisor runs with interrupts off, so a lock never needs to save them. A CPU that holds
 * a lock of some rank takes only locks of a higher rank; each acquisition checks that. No lock
 * is held across preempt_point(), a guest copy, or a return to the guest.
 */
#ifndef SERAI_KERN_LOCK_H
#define SERAI_KERN_LOCK_H

#include "base/assert.h"
#include "base/types.h"
#include "kern/tlb.h"

/* Outermost first. docs/locks.md says what each one guards. */
enum lock_rank {
    LOCK_MEMORY,      /* what a domain was told about its memory */
    LOCK_LIFE,        /* a domain's vcpus going up and down, its reasons to stop */
    LOCK_VFR,         /* which interfaces there are, and where packets go */
    LOCK_VIF_TX,      /* one queue's packets from its domain */
    LOCK_VIF_RX,      /* and those to it */
    LOCK_VFR_PIECES,  /* pieces of datagrams that are on their way */
    LOCK_VFR_WIRE,    /* stations of the wire */
    LOCK_VFR_LEASES,  /* who owns ports of shared addresses */
    LOCK_VFR_FLOWS,   /* flows that begin and end */
    LOCK_VFR_AUDIT,   /* the router's audit log */
    LOCK_VFR_CAPTURE, /* packets as they come by, for domain 0 */
    LOCK_EVENTS,      /* a domain's event ports */
    LOCK_GRANT,       /* a domain's grant table */
    LOCK_PIRQ,        /* physical interrupt bindings */
    LOCK_LINE,        /* who shares which interrupt line */
    LOCK_IRQ,         /* which vectors are given out */
    LOCK_IOAPIC,      /* I/O APIC registers by index and data */
    LOCK_PCI,         /* configuration space access by index and data */
    LOCK_DEVICE,      /* which devices a domain may use */
    LOCK_DOMAINS,     /* which domains there are */
    LOCK_HEAP,        /* free frames */
    LOCK_SLAB,        /* small objects */
    LOCK_CHAINS,      /* a domain's events in queues */
    LOCK_SCHED,       /* one run queue; others by lock_try() only */
    LOCK_TIMER,       /* one CPU's timers */
    LOCK_INPUT,       /* what was typed for domain 0 */
    LOCK_COUNTERS,    /* which vcpus' counts there are */
    LOCK_CONSOLE,     /* the log ring and the UART */
    NR_LOCK_RANKS
};

struct spinlock {
    u32 held;
    enum lock_rank rank;
};

#define SPINLOCK(r)                                                                            \
    {                                                                                          \
        .held = 0, .rank = (r)                                                                 \
    }

void lock_rank_acquire(enum lock_rank rank);
void lock_rank_release(enum lock_rank rank);

static inline void lock_spin(struct spinlock *l)
{
    while (__atomic_exchange_n(&l->held, 1, __ATOMIC_ACQUIRE))
        while (__atomic_load_n(&l->held, __ATOMIC_RELAXED))
            tlb_relax();
}

static inline void lock(struct spinlock *l)
{
    lock_rank_acquire(l->rank);
    lock_spin(l);
}

static inline void unlock(struct spinlock *l)
{
    __atomic_store_n(&l->held, 0, __ATOMIC_RELEASE);
    lock_rank_release(l->rank);
}

/* Without waiting; false: somebody has it. */
static inline must_check bool lock_unless_held(struct spinlock *l)
{
    if (__atomic_exchange_n(&l->held, 1, __ATOMIC_ACQUIRE))
        return false;
    lock_rank_acquire(l->rank);
    return true;
}

/*
 * A further lock of a rank that is held already, never waited for: ranks have nothing to say
 * about it. It is given back by lock_untry().
 */
static inline must_check bool lock_try(struct spinlock *l)
{
    return !__atomic_exchange_n(&l->held, 1, __ATOMIC_ACQUIRE);
}

static inline void lock_untry(struct spinlock *l)
{
    __atomic_store_n(&l->held, 0, __ATOMIC_RELEASE);
}

/* Two of one rank, or one and the same: the lower address first, so that no circle forms. */
static inline void lock_pair(struct spinlock *a, struct spinlock *b)
{
    lock(a < b ? a : b);
    if (a != b)
        lock_spin(a < b ? b : a);
}

static inline void unlock_pair(struct spinlock *a, struct spinlock *b)
{
    if (a != b)
        lock_untry(b);
    unlock(a);
}

#endif
