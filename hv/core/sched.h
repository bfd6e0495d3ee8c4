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

/* ---- state: read it, let only this module write it ------------------------------------------ */

#define SCHED_CLUSTER_CPUS 16
#define SCHED_POOLS        8
#define SCHED_MAX_QUEUES   CPUSET_MAX /* a queue has at least one CPU */
#define SCHED_LATENCIES    16

struct sched;
struct sched_domain;
struct sched_unit;

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

/* PARKED: would be READY, but its domain's cap is used up. */
enum unit_state {
    UNIT_OFF,
    UNIT_BLOCKED,
    UNIT_READY,
    UNIT_RUNNING,
    UNIT_PARKED,
    NR_UNIT_STATES
};

#define NO_CPU 0xffffU

struct sched_stats {
    ns_t time[NR_UNIT_STATES];
    u64 picks;
    u64 migrations[NR_DISTANCES]; /* by how far the CPU is from the last one */
    u64 latency[SCHED_LATENCIES]; /* wake-ups that ran within 2^(n + 10) ns; last: or later */
};

/* Of a domain. Skew: between the members that got most and least, once a slot. */
struct sched_gang_stats {
    u64 windows; /* slots in which the gang had its CPUs, per queue */
    u64 breaks;  /* a latency unit went into a window */
    u64 skews;   /* samples */
    ns_t skew_sum, skew_max;
    ns_t forced_idle; /* threads kept empty beside its units, mode strict */
};

struct sched_cpu_stats {
    u64 picks, steals, spreads;
    ns_t idle;
};

/* One event of the trace, see sched_trace.h for the kinds. */
struct sched_trace {
    ns_t time;
    u64 arg, more;
    u16 kind, cpu, dom, unit;
};

struct sched_unit {
    /* Node of the tree of READY units, in the order of vdl. It is eligible from vrt - grace on. */
    struct sched_unit *left, *right, *parent;
    u64 vdl, vrt;
    u64 grace;      /* it is eligible so much before its turn: a latency unit's loan */
    u64 least_from; /* of the subtree */
    u32 prio;

    u8 state;      /* enum unit_state */
    u8 queue;      /* index; every unit belongs to one, also while it sleeps */
    u8 cluster;    /* whose lock guards this unit */
    bool blocking; /* sched_block() was called, pick has not seen it yet */
    bool odd;      /* in the tree, and not every CPU of the queue may take it now */
    bool clamped;  /* its weight is cut to what one CPU can give */
    bool limited;  /* may not run on every CPU of its queue */
    bool picky;    /* ... of its pool */
    u16 cpu;       /* runs there, or ran there last */
    u16 on_cpu;    /* its state is loaded there and not saved; or NO_CPU */
    u16 id;
    u16 active_seen; /* the n_active that the weight was made with */
    u32 weight;
    u64 inverse; /* 2^INVERSE_SHIFT / weight */

    s64 lag;      /* virtual, when it left the queue */
    ns_t left_at; /* and when that was */
    ns_t charged; /* RUNNING: its time until here is in vrt */
    ns_t since;   /* in this state */
    ns_t last_ran;
    ns_t boost_until;
    bool woken;    /* READY because of a wake-up: the latency is of interest */
    ns_t gang_ran; /* as a gang's member, for the skew */

    cpuset_t hard, soft;
    cpuset_t allowed; /* hard and of the pool and online; never empty */
    struct sched_domain *dom;
    struct sched_unit *next; /* of the same domain */
    struct sched_stats stats;
};

struct sched_domain {
    struct sched_params params;
    u16 id;
    u8 pool;
    bool special;     /* has a reservation: its units are not like others */
    bool metered;     /* has a cap or a reservation */
    bool gang_active; /* modes on and auto: windows are made */
    u32 n_active;     /* READY, RUNNING or PARKED units; atomic */
    u32 nr_running;   /* kept while metered; atomic */
    u64 unit_inverse; /* 2^INVERSE_SHIFT / weight of the whole domain */

    /* Run time that is left; refilled once a period by whoever comes first. Atomic. */
    s64 cap_quota, cap_left, reserve_quota, reserve_left;
    u64 period;

    u64 windows; /* queues in which it has a window; atomic */
    /* For mode auto, since evidence_at; atomic. */
    u32 seen_ipis;   /* to READY siblings */
    u32 seen_hints;  /* polls and yields */
    u32 seen_wakes;  /* of sleeping siblings */
    u32 seen_blocks; /* its units went to sleep */
    u32 calm;        /* looks in a row that found little */
    u32 calm_needed; /* before windows end */
    ns_t evidence_at;
    ns_t gang_lead;  /* the largest gang_ran */
    s64 gang_behind; /* virtual: the mean of its members when the last slot began */
    struct sched_gang_stats gang_stats;
    struct sched_unit *units;
    struct sched_domain *next;
};

/* What the CPUs of one cluster and one pool share. */
struct sched_queue {
    struct sched_unit *root; /* tree of READY units */
    cpuset_t cpus;           /* online */
    cpuset_t untimed;        /* run a unit without a timer, because nobody was waiting */
    u32 nr_cpus, nr_units, nr_run;
    u32 nr_ready; /* in the tree; and of those: */
    u32 nr_odd, nr_picky, nr_unsaved;

    /* Virtual time = base + sum / weight, the weighted mean vrt of READY and RUNNING units. */
    u64 base;
    __int128 sum; /* of weight * (vrt - base) */
    u64 weight;
    ns_t charged_sum; /* of the RUNNING units' charged */

    struct sched_unit *parked;  /* list by 'right' */
    struct sched_unit *boosted; /* was handed a lock; may be anywhere by now */
    ns_t unpark_at;             /* or INT64_MAX: nobody is parked */
    ns_t slot_end;              /* or INT64_MAX: no gangs */
    bool slotted;

    u8 cluster, pool;
    u8 nr_victims;
    u8 victims[SCHED_MAX_QUEUES]; /* other queues of the pool, nearest first */
};

struct sched_cpu {
    struct sched_unit *current;
    struct sched_unit *leaving; /* taken off, not saved */
    struct sched_unit *yield_to;
    struct sched_unit *given; /* handed to an idle core */
    cpuset_t core;            /* online CPUs of its core, itself too */
    cpuset_t threads;         /* all CPUs of its core */
    ns_t picked_at;           /* current runs since, or idle */
    ns_t until;               /* what the last pick said */
    ns_t idle_at;             /* idle time is counted up to there */
    u8 queue, cluster, pool;
    bool usable; /* online and in a pool */
    bool rare;   /* one of the following may be set */
    bool yielded, hand_over;
    bool looking; /* idle, and a lock was taken when it looked for work */
    bool forced;  /* idle because of mode strict */
    struct sched_cpu_stats stats;
};

/* Of a core, for mode strict: which domain it changes over to. */
struct sched_core {
    struct sched_domain *want; /* NULL: those that are not strict */
    bool changing;
    ns_t since; /* the last change */
};

/* ---- the machine ------------------------------------------------------------------------ */

struct sched_ops {
    bool (*try_lock)(unsigned cluster);
    void (*unlock)(unsigned cluster);
};

struct sched {
    u64 idle __aligned(64); /* CPUs whose last pick gave NULL; atomic */
    u64 kicked;             /* named in a kick, have not picked since; atomic */
    u64 online;
    struct sched_ops ops;
    unsigned nr_cpus, nr_clusters, nr_queues;
    struct topology topo;
    cpuset_t pool_cpus[SCHED_POOLS]; /* online or not */
    struct sched_domain *domains;
    u32 nr_strict; /* domains */
    struct sched_trace *ring;
    u32 ring_mask;
    u64 ring_next;             /* atomic */
    u32 share[CPUSET_MAX + 1]; /* 2^24 / n */
    struct sched_cpu cpu[CPUSET_MAX] __aligned(64);
    struct sched_core core[CPUSET_MAX];
    struct sched_queue queue[SCHED_MAX_QUEUES];
};

/* Every CPU of 't' is online and in pool 0. Parameters get their defaults. */
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

/* The C library has a function of this name, which sanitizers call in host tests. */
#define sched_yield sched_give_way

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

/* cap and reservation: at most what the CPUs of the domain's pool give. */
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
 *   1 the tree of a queue holds exactly its READY units
 *   2 the tree is in order, heaped, and knows from when on somebody is eligible
 *   3 the counts of odd, picky and unsaved units are right
 *   4 a queue's weight and sums are those of its competing units (so their lags add up to 0)
 *   5 the parked list holds exactly the PARKED units, and has a time
 *   6 what runs on a CPU says so, and may run there
 *   7 a CPU that is marked idle has no unit and is in a queue
 *   8 a unit is in a queue of its domain's pool where it may run
 *   9 a domain's counts are right, and its cap was not refilled beyond one period
 *  10 while units wait, a CPU of their queue has a timer, or one was kicked
 *  11 no two domains on a core, if one is strict and no thread was kicked
 */
int sched_check(const struct sched *s);

#endif
