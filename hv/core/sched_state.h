/*
 * What the scheduling policy keeps: see core/sched.h, which is for its users. They embed these
 * structs and may read them; only core/sched_* writes.
 */
#ifndef SERAI_CORE_SCHED_STATE_H
#define SERAI_CORE_SCHED_STATE_H

#include "core/topology.h"

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
    /* Of the line of READY units, in the order of vdl; PARKED ones are a list by 'after'. */
    struct sched_unit *before, *after;
    u64 vdl, vrt;
    u64 grace; /* it is eligible so much before its turn, at vrt: a loan */

    struct sched_queue *queue; /* every unit belongs to one, also while it sleeps */

    u8 state;      /* enum unit_state */
    u8 cluster;    /* whose lock guards this unit */
    bool blocking; /* sched_block() was called, pick has not seen it yet */
    bool odd;      /* in the line, and not every CPU of the queue may take it now */
    bool limited;  /* may not run on every CPU of its queue */
    bool picky;    /* ... of its pool */
    u16 cpu;       /* runs there, or ran there last */
    u16 on_cpu;    /* its state is loaded there and not saved; or NO_CPU */
    u16 id;
    u16 active_seen; /* the n_active that the weight was made with; 0: make it anew */
    u32 weight;
    u64 inverse; /* 2^INVERSE_SHIFT / weight */

    s64 lag;      /* virtual, when it left the queue */
    ns_t left_at; /* and when that was */
    ns_t charged; /* RUNNING: its time until here is in vrt */
    ns_t since;   /* in this state */
    ns_t boost_until;
    ns_t urgent_at; /* something came for it while it waited */
    ns_t heard_at;  /* ... or while it ran, and others waited; or 0; atomic */
    bool woken;     /* READY because of a wake-up: the latency is of interest */
    ns_t gang_ran;  /* as a gang's member, for the skew */

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
    bool unusual;     /* metered, or not in gang mode off */
    bool gang_active; /* modes on and auto: windows are made */
    u32 n_active;     /* READY, RUNNING or PARKED units; atomic */
    u32 nr_running;   /* kept while metered; atomic */
    u64 unit_inverse; /* 2^INVERSE_SHIFT / weight of the whole domain */
    ns_t request;     /* how long its units run at once, by latency class */

    /* Run time that is left; refilled once a period by whoever comes first. Atomic. */
    s64 cap_quota, cap_left, reserve_quota, reserve_left;
    ns_t period_end;

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
    struct sched_unit *first, *last; /* the line of READY units */
    cpuset_t cpus;                   /* online */
    cpuset_t untimed; /* run a unit without a timer, because nobody was waiting */
    u32 nr_cpus, nr_units, nr_run;
    u32 nr_ready; /* in the line; and of those: */
    u32 nr_odd, nr_picky, nr_unsaved;

    /* Virtual time = base + sum / weight, the weighted mean vrt of READY and RUNNING units. */
    u64 base;
    u64 sum; /* of weight * (vrt - base), signed */
    u64 weight;
    ns_t charged_sum; /* of the RUNNING units' charged */

    struct sched_unit *parked;  /* list by 'after' */
    struct sched_unit *boosted; /* was handed a lock; may be anywhere by now */
    ns_t unpark_at;             /* or INT64_MAX: nobody is parked */
    ns_t slot_end;              /* or INT64_MAX: no gangs */
    bool slotted;
    ns_t balance_at; /* or INT64_MAX: no other queue in the pool */
    ns_t due_at;     /* the first of these three; 0 while slotted */
    /* Of the balance with other queues, at the last look; virtual where nothing else is said. */
    ns_t looked_at; /* atomic */
    u64 looked_v;
    u64 total; /* what its units got so far; atomic */
    s64 ahead; /* of the mean of others */
    s64 pace;  /* what passes in a period; atomic */

    u64 bit;        /* its own, if there are others in the pool: in s->waiting */
    u64 neighbours; /* theirs */
    u8 index, cluster, pool;
    u8 nr_victims;
    u8 victims[SCHED_MAX_QUEUES]; /* other queues of the pool, nearest first */
} __aligned(256);

struct sched_cpu {
    struct sched_queue *queue;
    struct sched_unit *current;
    struct sched_unit *leaving; /* taken off, not saved */
    struct sched_unit *yield_to;
    struct sched_unit *given; /* handed to an idle core */
    cpuset_t core;            /* online CPUs of its core, itself too */
    cpuset_t threads;         /* all CPUs of its core */
    ns_t picked_at;           /* current runs since, or idle */
    ns_t until;               /* what the last pick said */
    ns_t idle_at;             /* idle time is counted up to there */
    u8 cluster, pool;
    bool usable; /* online and in a pool */
    /* Not usable, one of the following may be set, mode strict is in use, or there is a trace. */
    bool rare;
    bool yielded, hand_over;
    bool looking; /* idle, and a lock was taken when it looked for work */
    bool forced;  /* idle because of mode strict */
    struct sched_cpu_stats stats;
} __aligned(128); /* a power of 2: an index is a shift */

/* Of a core, for mode strict: which domain it changes over to. */
struct sched_core {
    struct sched_domain *want; /* NULL: those that are not strict */
    bool changing;
    ns_t since; /* the last change */
};

struct sched_ops {
    bool (*try_lock)(unsigned cluster);
    void (*unlock)(unsigned cluster);
};

struct sched {
    u64 idle __aligned(64); /* CPUs whose last pick gave NULL; atomic */
    u64 kicked;             /* named in a kick, have not picked since; atomic */
    u64 waiting;            /* queues with READY units that others could take; atomic */
    u64 online;
    struct sched_ops ops;
    unsigned nr_cpus, nr_clusters, nr_queues;
    struct topology topo;
    u8 distance[CPUSET_MAX][CPUSET_MAX]; /* enum cpu_distance */
    cpuset_t pool_cpus[SCHED_POOLS];     /* online or not */
    struct sched_domain *domains;
    u32 nr_strict; /* domains */
    struct sched_trace *ring;
    u32 ring_mask;
    u64 ring_next; /* atomic */
    struct sched_cpu cpu[CPUSET_MAX];
    struct sched_core core[CPUSET_MAX];
    struct sched_queue queue[SCHED_MAX_QUEUES];
};

#endif
