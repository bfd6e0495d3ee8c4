/*
 * The scheduling policy: which vcpu runs on which logical CPU, and until when.
 *
 * All state lies in structs that the caller owns: one struct sched for the machine, one
 * sched_domain inside each domain, one sched_unit inside each vcpu. Time, CPU number and
 * everything else comes in as an argument; what must happen outside comes back as a value (the
 * unit to run, when to ask again) or as a set of CPUs to kick: each of them must call
 * sched_pick() soon. kern/dispatch.c acts; tests/sim runs the same source in simulated time.
 *
 * Life of a unit
 *
 *      OFF --sched_online--> BLOCKED --sched_wake--> READY <--sched_pick--> RUNNING
 *       ^                       ^                      |                       |
 *       +---sched_offline---(any state)                +------- sched_block ---+
 *
 * A unit that sched_pick() took off its CPU is still "on" that CPU until sched_saved(): no
 * other CPU may be told to run it before. The CPU itself may pick it again at once.
 *
 * Locking: one lock per cluster (run queue), kept by the caller. Calls about a CPU hold the lock
 * of its cluster, sched_cluster_of(); calls about a unit that of the cluster it belongs to,
 * u->cluster (read, lock, look again); knobs and calls about domains hold all. Another cluster
 * is entered through ops.try_lock only, so no order between the locks is needed.
 */
#ifndef SERAI_CORE_SCHED_H
#define SERAI_CORE_SCHED_H

#include "core/sched_state.h"

/* ---- the machine ------------------------------------------------------------------------ */

/* Every CPU of 't' is online and in pool 0. Parameters get their defaults. */
void sched_init(struct sched *s, const struct topology *t, const struct sched_ops *ops);

unsigned sched_cluster_of(const struct sched *s, unsigned cpu);

/*
 * A CPU leaves or comes back; leaving: its unit is asked away (kick), pick() then gives NULL.
 * -XEN_EINVAL: no such CPU, or it is so already; -XEN_EBUSY: the last one of a pool in use.
 */
int sched_cpu_offline(struct sched *s, unsigned cpu, ns_t now, cpuset_t *kick) must_check;
int sched_cpu_online(struct sched *s, unsigned cpu, ns_t now, cpuset_t *kick) must_check;

/* ---- domains and units ------------------------------------------------------------------ */

void sched_domain_init(struct sched *s, struct sched_domain *d, u16 id);
/* -XEN_EBUSY: it has units. */
int sched_domain_remove(struct sched *s, struct sched_domain *d) must_check;

void sched_unit_init(struct sched *s, struct sched_unit *u, struct sched_domain *d, u16 id);
/* -XEN_EBUSY: it is not OFF, or not saved yet: its CPU was kicked, and will be done soon. */
int sched_unit_remove(struct sched *s, struct sched_unit *u) must_check;

/* ---- life ------------------------------------------------------------------------------- */

/* May run from now on (VCPUOP_up, unpause): becomes BLOCKED; sched_wake() makes it ready. */
void sched_online(struct sched *s, struct sched_unit *u, ns_t now);
/* Stops (down, pause): from any state to OFF; a CPU that runs it is kicked. */
void sched_offline(struct sched *s, struct sched_unit *u, ns_t now, cpuset_t *kick);

enum sched_wake {
    WAKE_EVENT, /* an event, timer or interrupt */
    WAKE_POLL, /* a polled port was sent to: a lock was handed over; a short loan of priority */
};
/*
 * BLOCKED: it becomes READY. After sched_block() and before the next pick: cancels that. READY
 * since it was preempted: its turn comes sooner. Otherwise no effect. A unit that is not saved yet
 * waits for the CPU that it is on.
 */
void sched_wake(struct sched *s, struct sched_unit *u, ns_t now, enum sched_wake why,
                cpuset_t *kick);

/* The running unit will sleep: takes effect at the next sched_pick() on its CPU. */
void sched_block(struct sched *s, struct sched_unit *u);

/* The C library has a function of this name, which sanitizers call in host tests. */
#define sched_yield sched_give_way

/* The running unit gives way at the next pick; 'to' is a ready sibling with an undelivered event, or NULL. */
void sched_yield(struct sched *s, struct sched_unit *u, struct sched_unit *to, ns_t now);

/* ---- what runs where -------------------------------------------------------------------- */

/*
 * Accounts what ran on 'cpu', puts it where it belongs, and chooses what runs there next: a
 * unit, or NULL for idle. It must be called again by *until at the latest (INT64_MAX: no need)
 * and whenever the CPU is kicked.
 */
struct sched_unit *sched_pick(struct sched *s, unsigned cpu, ns_t now, ns_t *until,
                              cpuset_t *kick);

/*
 * The state of a unit that sched_pick() took off a CPU is saved: others may run it now. Due
 * after every pick that took one off, also when it chose NULL; a caller that leaves the state in
 * the registers until somebody else needs them calls it all the same, if it can fetch the state
 * then. Before the next unit is taken off that CPU.
 */
void sched_saved(struct sched *s, struct sched_unit *u, ns_t now, cpuset_t *kick);

/*
 * An event came for a unit that runs, while others wait. No lock. If it has to leave its CPU before
 * it can have dealt with it, its next turn comes soon.
 */
void sched_note_event(struct sched_unit *u, ns_t now);

/* Evidence for gang mode 'auto': a sibling is about to send an event to 'to'. No lock. */
void sched_note_ipi(struct sched_unit *to);

/* ---- knobs: 0, or a negative errno and nothing changed -------------------------------------- */

void sched_get_params(const struct sched_domain *d, struct sched_params *p);
/*
 * -XEN_EINVAL: a value out of range, or a new cap above all CPUs of the domain's pool;
 * -XEN_ENOSPC: reservations beyond 90 % of the pool.
 */
int sched_set_params(struct sched *s, struct sched_domain *d, const struct sched_params *p,
                     ns_t now, cpuset_t *kick) must_check;

/* Hard: only there; soft: preferably there. -XEN_EINVAL: 'hard' has no CPU of the pool. */
int sched_set_affinity(struct sched *s, struct sched_unit *u, cpuset_t hard, cpuset_t soft,
                       ns_t now, cpuset_t *kick) must_check;

/*
 * Pools dedicate CPUs: a domain runs on the CPUs of its pool only, and begins in pool 0. A CPU
 * that no pool has is not used; one that another pool had changes sides. -XEN_EINVAL: no such
 * pool or CPU, or a pool without online CPUs to move to; -XEN_EBUSY: a pool in use would lose
 * its last CPU; -XEN_ENOSPC: reservations do not fit.
 */
int sched_pool_set_cpus(struct sched *s, unsigned pool, cpuset_t cpus, ns_t now,
                        cpuset_t *kick) must_check;
int sched_domain_move(struct sched *s, struct sched_domain *d, unsigned pool, ns_t now,
                      cpuset_t *kick) must_check;

/* ---- looking ---------------------------------------------------------------------------- */

/* Times include the one that passes now. */
void sched_unit_stats(const struct sched_unit *u, ns_t now, struct sched_stats *out);
/* The sum of its units. */
void sched_domain_stats(const struct sched_domain *d, ns_t now, struct sched_stats *out);
void sched_cpu_stats(const struct sched *s, unsigned cpu, ns_t now,
                     struct sched_cpu_stats *out);

/* From now on events go to 'ring', the oldest are overwritten; 'n' is a power of 2, 0: stop. */
int sched_trace_to(struct sched *s, struct sched_trace *ring, u32 n) must_check;

/*
 * 0, or the number of an invariant that does not hold:
 *   1 the line of a queue holds exactly its READY units
 *   2 the line is in order, in both directions
 *   3 the counts of odd, picky and unsaved units are right, and whether there is work to steal
 *   4 a queue's weight and sums are those of its competing units (so their lags add up to 0)
 *   5 the parked list holds exactly the PARKED units, and has a time; the queue knows its next time
 *   6 what runs on a CPU says so, and may run there
 *   7 a CPU that is marked idle has no unit and is in a queue
 *   8 a unit is in a queue of its domain's pool where it may run
 *   9 a domain's counts are right, and its cap was not refilled beyond one period
 *  10 while units wait, a CPU of their queue has a timer, or one was kicked
 *  11 no two domains on a core, if one is strict and no thread was kicked
 */
int sched_check(const struct sched *s);

#endif
