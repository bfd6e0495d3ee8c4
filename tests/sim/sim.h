/*
 * A deterministic machine of 1..64 logical CPUs in simulated time. It acts as the hypervisor
 * does (pick, run, save, kick, timer) and checks after every event:
 *   1. the policy's own check() holds;
 *   2. no CPU idles while a ready unit that may run there waits, unless a kick is on its way;
 *   3. a unit runs on one CPU at most, only where it may, and only after it was saved;
 *   4. a capped domain does not overrun its budget;
 *   5. no ready unit waits longer than its bound;
 *   6. two domains never share a core if one of them is strict.
 * Everything follows from the seed: the same seed gives the same events.
 */
#ifndef SIM_H
#define SIM_H

#include <setjmp.h>
#include <stdio.h>

#include "sim/policy.h"

#define SIM_UNITS 256
#define SIM_DOMS  64
#define SIM_POOLS 4
#define US        1000LL
#define MS        1000000LL
#define SEC       1000000000LL
#define FOREVER   (SEC * 1000000)

enum sim_state { S_OFF, S_BLOCKED, S_READY, S_RUNNING };

struct sim_cost {
    ns_t kick;                  /* from asking to the pick on that CPU */
    ns_t kick_jitter;           /* plus up to this much */
    ns_t save;                  /* until a unit that left a CPU may run elsewhere */
    ns_t swtch;                 /* lost by the unit that comes */
    ns_t migrate[NR_DISTANCES]; /* lost in addition when it comes from elsewhere */
    unsigned smt_pct;           /* speed beside a busy sibling */
};

struct sim_dom {
    bool used;
    u16 id;
    unsigned nr_units, pool;
    struct sched_params p;
    ns_t strict_since;
    ns_t cap_level, cap_seen; /* run time above the cap: a leaky bucket */
    ns_t cap_max;             /* highest level so far */
    double fluid, fluid_rate; /* service by the fluid reference */
    ns_t fluid_real;          /* service it is compared with */
    ns_t ran, useful;
    ns_t skew_max;
    void *group; /* state shared by the programs of its units */
    void *pol;
};

struct sim_unit {
    bool used;
    u16 id;
    struct sim_dom *dom;
    enum sim_state state;
    int cpu;  /* runs there or ran there last; -1 */
    int held; /* the CPU that has not saved it yet; -1 */
    bool blocking, woken;
    cpuset_t hard, soft;
    ns_t ready_since, excused_since;
    u64 excused_until; /* event */
    /* its program: step() is called whenever the work it asked for is done */
    void (*step)(struct sim *s, struct sim_unit *u);
    void (*irq)(struct sim *s, struct sim_unit *u);
    ns_t work;  /* left, at full speed */
    bool spin;  /* the work is waiting */
    bool heard; /* sim_signal() ended it */
    bool irq_pending;
    unsigned pc, member;
    ns_t arg[4];
    u64 count; /* whatever the program counts */
    ns_t acct, start;
    unsigned gen, sleep_gen;
    ns_t ran, useful;
    void *pol;
};

struct sim_cpu {
    bool online, resched, kicked;
    struct sim_unit *cur;
    struct sim_unit *leaving; /* not saved yet */
    unsigned gen, siblings_busy;
    cpuset_t core; /* all its threads */
    ns_t retry;    /* a try_lock failed at its last pick: it looks again by then */
    u64 switches;
};

struct sim_stats {
    u64 events, picks, switches, migrations[NR_DISTANCES], kicks, overlaps;
    ns_t idle_while_runnable, ready_time, ready_busy, longest_wait;
    u64 nr_lat;
    ns_t *lat; /* wake latencies of units of latency class LOW */
};

struct sim_event {
    ns_t at;
    u64 seq;
    u16 kind, id;
    unsigned gen;
};

struct sim_log {
    ns_t at;
    u64 event;
    const char *what;
    int cpu, unit, value;
};

struct sim {
    const struct policy *pol;
    void *polstate;
    struct topology topo;
    struct sim_cost cost;
    u64 seed, rng;
    ns_t now;
    u64 seq;
    struct sim_event *heap;
    unsigned nr_heap, max_heap;
    struct sim_cpu cpu[CPUSET_MAX];
    struct sim_dom dom[SIM_DOMS];
    struct sim_unit unit[SIM_UNITS];
    u64 ready[SIM_UNITS / 64];
    unsigned nr_ready, nr_running;
    cpuset_t idle, online, kicked, retrying, pool[SIM_POOLS];
    struct sim_stats st;
    bool checks, trace, terse, fluid, defer_block;
    bool strict_any;
    bool waits; /* work waits beside an idle CPU right now */
    bool any_ready;
    int waits_unit;
    unsigned lock_fails; /* 1 in n try_locks fails; 0: none */
    bool lock_failed;
    ns_t (*wait_bound)(struct sim *s, struct sim_unit *u);
    ns_t fluid_at;
    double fluid_lag; /* largest so far */
    void (*call)(struct sim *s, unsigned id);
    u64 event_base;
    jmp_buf *escape; /* where a failed check goes; NULL: exit */
    struct sim_log log[64];
    unsigned nr_log;
};

/* Topologies: nodes x caches per node x cores per cache x threads per core. */
struct sim_topology {
    const char *name;
    u8 nodes, caches, cores, threads;
};
extern const struct sim_topology sim_topologies[];
extern const unsigned sim_nr_topologies;
const struct sim_topology *sim_topology(const char *name);

extern const struct sim_cost sim_cost_default;

struct sim *sim_create(const struct policy *p, const struct sim_topology *t, u64 seed);
void sim_destroy(struct sim *s);
/* Runs until 'end' of simulated time or 'events' more events. */
void sim_run(struct sim *s, ns_t end, u64 events);
/* Says what is wrong, with the last events; then to s->escape, or exit(1). */
void sim_fail(struct sim *s, const char *fmt, ...) __printf(2, 3) __noreturn;

u64 sim_random(struct sim *s);
u64 sim_below(struct sim *s, u64 n);                    /* 0..n-1 */
ns_t sim_about(struct sim *s, ns_t mean, unsigned pct); /* mean +- pct % */
ns_t sim_exp(struct sim *s, ns_t mean);                 /* exponential, at most 8 means */

struct sim_dom *sim_dom_create(struct sim *s);
void sim_dom_destroy(struct sim *s, struct sim_dom *d);
/* False: it is still on a CPU. */
bool sim_unit_destroy(struct sim *s, struct sim_unit *u);
struct sim_unit *sim_unit_create(struct sim *s, struct sim_dom *d,
                                 void (*step)(struct sim *, struct sim_unit *));
void sim_online(struct sim *s, struct sim_unit *u);
void sim_offline(struct sim *s, struct sim_unit *u);
int sim_set_params(struct sim *s, struct sim_dom *d, const struct sched_params *p);
int sim_set_affinity(struct sim *s, struct sim_unit *u, cpuset_t hard, cpuset_t soft);
int sim_cpu_online(struct sim *s, unsigned cpu, bool online);
int sim_pool_set_cpus(struct sim *s, unsigned pool, cpuset_t cpus);
int sim_domain_move(struct sim *s, struct sim_dom *d, unsigned pool);
cpuset_t sim_allowed(const struct sim *s, const struct sim_unit *u);

/* For programs, about the running unit: what it does next. */
void sim_work(struct sim *s, struct sim_unit *u, ns_t ns);
void sim_spin(struct sim *s, struct sim_unit *u, ns_t limit);
void sim_block(struct sim *s, struct sim_unit *u);
void sim_sleep(struct sim *s, struct sim_unit *u, ns_t ns);
void sim_yield(struct sim *s, struct sim_unit *u, struct sim_unit *to);
/* For programs, about another unit: end its spin; wake it; interrupt it. */
void sim_signal(struct sim *s, struct sim_unit *u);
void sim_wake(struct sim *s, struct sim_unit *from, struct sim_unit *u, enum sched_wake why);
void sim_interrupt(struct sim *s, struct sim_unit *from, struct sim_unit *u);
void sim_wake_at(struct sim *s, struct sim_unit *u, ns_t delay);
/* Interrupted by a timer. */
void sim_tick(struct sim *s, struct sim_unit *u, ns_t at);
/* A sample of the latency that is measured. */
void sim_note_latency(struct sim *s, ns_t d);
/* s->call(s, id) after 'delay'. */
void sim_call(struct sim *s, ns_t delay, u16 id);

/* Brings all run times up to now; asks for figures. */
void sim_account(struct sim *s);
ns_t sim_percentile(struct sim *s, unsigned permille);
ns_t sim_quantile(ns_t *v, u64 n, unsigned permille);
void sim_dump_log(const struct sim *s);
/* The shipped core writes its trace there. */
int sim_trace_to(struct sim *s, struct sched_trace *ring, u32 n);

#endif
