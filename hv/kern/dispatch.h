/*
 * The dispatcher: acts out what the scheduling policy (core/sched.h) decides.
 *
 * A runnable is a stack with something to run on it: a vcpu. Each CPU has an idle stack besides.
 * The CPU changes hands in SOFTIRQ_SCHED and in dispatch_sleep(), nowhere else.
 *
 * What of a guest lies in the CPU's registers is the business of the switch operations, which
 * guest/switch.c hands down: the dispatcher changes stacks only.
 *
 * Locking: one lock per cluster, taken here and nowhere else; never held while stacks change or
 * interrupts are sent.
 */
#ifndef SERAI_KERN_DISPATCH_H
#define SERAI_KERN_DISPATCH_H

#include "core/sched.h"
#include "x86/percpu.h"

struct runnable {
    struct sched_unit unit; /* (its cluster's lock) */
    u64 sp;                 /* where its stack was left */
};

struct switch_ops {
    /* The runnable leaves this CPU; it may stay in the registers until somebody needs them. */
    void (*out)(struct runnable *r, ns_t now);
    /* It will run here next. Interrupts are off until it does. */
    void (*in)(struct runnable *r, ns_t now);
};

/* At boot, once the CPUs are known and before any of them idles. */
/* Its memory, while this CPU is the only one: then no other has a translation of it to flush. */
void dispatch_alloc(void);
void dispatch_init(const struct topology *t, const struct switch_ops *ops);

/* For a domain and its runnables, once each; then dispatch_online() makes one startable. */
void dispatch_add_domain(struct sched_domain *d, u16 id);
void dispatch_add(struct runnable *r, struct sched_domain *d, u16 id);

/*
 * The other way round, at a domain's end: dispatch_offline() first, and nobody wakes it any more.
 * -XEN_EBUSY: it is still on its CPU, which was told; ask again later, without waiting for that
 * on a CPU that may be the one. After 0 neither the runnable nor its stack is in use.
 */
int dispatch_remove(struct runnable *r) must_check;
/* -XEN_EBUSY: one of its runnables is still there. */
int dispatch_remove_domain(struct sched_domain *d) must_check;

/* Prepares the stack of a runnable that has not run: it begins with first() on it. */
void dispatch_prepare(struct runnable *r, void *stack_top, void (*first)(void));

void dispatch_online(struct runnable *r);
/* A running one stops at its next SOFTIRQ_SCHED; it may be on its CPU for a moment yet. */
void dispatch_offline(struct runnable *r);

/*
 * The running one sleeps, unless 'awake' says that there is no need: it is asked after wakers
 * can see the sleeper.
 */
void dispatch_sleep(bool (*awake)(void *arg), void *arg);
void dispatch_wake(struct runnable *r, enum sched_wake why);

/* For one that runs: an event came. */
void dispatch_note_event(struct runnable *r);

/* Gives way to others; 'to': preferably to this sibling, which has something to do. */
void dispatch_yield(struct runnable *to);

/* What runs on this CPU; NULL in the idle loop. */
static inline struct runnable *dispatch_current(void)
{
    return (struct runnable *)this_cpu()->unit;
}

/*
 * Knobs and figures: the policy with all its locks held, and giving them back with the CPUs that
 * have to look again. Nothing between the two may wait or touch guest memory.
 */
struct sched *dispatch_lock_all(void);
void dispatch_unlock_all(cpuset_t kicks);

/* The places of the CPUs: they stay as they were at boot. */
const struct topology *dispatch_topology(void);

/* On a CPU's idle stack, when it has nothing else to do any more. */
__noreturn void dispatch_idle(void);

#endif
