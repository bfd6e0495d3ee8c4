/*
 * The scheduling policy: which vcpu runs on which logical CPU, and until when.
 *
 * All state lies in structs that the caller owns: one struct sched for the machine, one
 * sched_domain inside each domain, one sched_unit inside each vcpu. Time, CPU number and
 * everything else comes in as an argument; what must happen outside comes back as a value (the
 * unit to run, when to ask again) or as a set of CPUs to kick: each of them must call
 * sched_pick() soon. kern/sched.c acts; tests/sim runs the same source in simulated time.
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

#include "core/topology.h"

struct sched;
struct sched_domain;
struct sched_unit;

/* ---- the machine ------------------------------------------------------------------------ */

/* Every CPU of 't' is online and in pool 0. Parameters get their defaults. */
struct sched_ops {
    bool (*try_lock)(unsigned cluster);
    void (*unlock)(unsigned cluster);
};
void sched_init(struct sched *s, const struct topology *t, const struct sched_ops *ops);

unsigned sched_cluster_of(const struct sched *s, unsigned cpu);

/* A CPU leaves or comes back; leaving: its unit is asked away (kick), pick() then gives NULL. */
int sched_cpu_offline(struct sched *s, unsigned cpu, ns_t now, cpuset_t *kick) must_check;
int sched_cpu_online(struct sched *s, unsigned cpu, ns_t now, cpuset_t *kick) must_check;

/* ---- domains and units ------------------------------------------------------------------ */

void sched_domain_init(struct sched *s, struct sched_domain *d, u16 id);
/* All its units are OFF. */
void sched_domain_remove(struct sched *s, struct sched_domain *d);

void sched_unit_init(struct sched *s, struct sched_unit *u, struct sched_domain *d, u16 id);

/* ---- life ------------------------------------------------------------------------------- */

/* May run from now on (VCPUOP_up, unpause): becomes BLOCKED; sched_wake() makes it ready. */
void sched_online(struct sched *s, struct sched_unit *u, ns_t now);
/* Stops (down, pause): from any state to OFF; a CPU that runs it is kicked. */
void sched_offline(struct sched *s, struct sched_unit *u, ns_t now, cpuset_t *kick);

enum sched_wake {
    WAKE_EVENT, /* an event, timer or interrupt */
    WAKE_POLL, /* a polled port was sent to: a lock was handed over; a short loan of priority */
};
/* No effect unless BLOCKED, or RUNNING after sched_block() and before the next pick. */
void sched_wake(struct sched *s, struct sched_unit *u, ns_t now, enum sched_wake why,
                cpuset_t *kick);

/* The running unit will sleep: takes effect at the next sched_pick() on its CPU. */
void sched_block(struct sched *s, struct sched_unit *u);

/* The running unit gives way; 'to' is a ready sibling with an undelivered event, or NULL. */
void sched_yield(struct sched *s, struct sched_unit *u, struct sched_unit *to, ns_t now);

/* ---- what runs where -------------------------------------------------------------------- */

/*
 * Accounts what ran on 'cpu', puts it where it belongs, and chooses what runs there next: a
 * unit, or NULL for idle. It must be called again by *until at the latest (S64_MAX: no need)
 * and whenever the CPU is kicked.
 */
struct sched_unit *sched_pick(struct sched *s, unsigned cpu, ns_t now, ns_t *until,
                              cpuset_t *kick);

/* The state of a unit that sched_pick() took off 'cpu' is saved: others may run it now. */
void sched_saved(struct sched *s, struct sched_unit *u, ns_t now, cpuset_t *kick);

/* Evidence for gang mode 'auto': 'from' sent an event to 'to' of the same domain. No lock. */
void sched_note_ipi(struct sched_unit *from, struct sched_unit *to);

/* ---- knobs: 0, or a negative errno and nothing changed -------------------------------------- */

enum sched_gang { GANG_OFF, GANG_ON, GANG_AUTO, GANG_STRICT };
enum sched_latency { LATENCY_LOW, LATENCY_NORMAL, LATENCY_BATCH };

#define SCHED_WEIGHT_DEFAULT 256
#define SCHED_WEIGHT_MAX     65535

struct sched_params {
    u32 weight;          /* 1..SCHED_WEIGHT_MAX */
    u32 cap_ppm;         /* of one CPU, 1000000 = one whole CPU; 0: none */
    u32 reservation_ppm; /* of one CPU */
    enum sched_gang gang;
    enum sched_latency latency;
};

void sched_get_params(const struct sched_domain *d, struct sched_params *p);
/* -XEN_EINVAL: a value out of range; -XEN_ENOSPC: reservations beyond 90 % of the pool. */
int sched_set_params(struct sched *s, struct sched_domain *d, const struct sched_params *p,
                     ns_t now, cpuset_t *kick) must_check;

/* Hard: only there; soft: preferably there. -XEN_EINVAL: 'hard' has no CPU of the pool. */
int sched_set_affinity(struct sched *s, struct sched_unit *u, cpuset_t hard, cpuset_t soft,
                       ns_t now, cpuset_t *kick) must_check;

/* Pools dedicate CPUs: a domain runs on the CPUs of its pool only. */
int sched_pool_set_cpus(struct sched *s, unsigned pool, cpuset_t cpus, ns_t now,
                        cpuset_t *kick) must_check;
int sched_domain_move(struct sched *s, struct sched_domain *d, unsigned pool, ns_t now,
                      cpuset_t *kick) must_check;

/* ---- looking ---------------------------------------------------------------------------- */

/* The numbered invariants; 0, or the number of the first one that does not hold. */
int sched_check(const struct sched *s);

#endif
