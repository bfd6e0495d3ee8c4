/*
 * Domains of several vcpus that load the machine, and what the scheduler says of them. Each vcpu
 * does the domain's job, and begins the next one when domain 0 names it.
 *
 *   load_make(&l, 4);                       // runs, and rests
 *   load_set(&l, GANG_ON, 0);
 *   load_job(&l, JOB_SPIN);
 *   load_doze(100 * MS);
 *   load_figures(&l, &f);                   // f.time[RUNNING], f.gang_windows, ...
 *   load_end(&l);
 *
 * Domain 0 only. What fails ends the run.
 */
#ifndef GUEST_LOAD_H
#define GUEST_LOAD_H

#include "domu.h"
#include "abi/serai.h"

#define MS        1000000UL
#define LOAD_CPUS 4 /* of the machine: two cores of two threads */

enum { GANG_OFF, GANG_ON, GANG_AUTO, GANG_STRICT };
enum { STATE_OFF, STATE_BLOCKED, STATE_READY, STATE_RUNNING, STATE_PARKED };

enum load_job {
    JOB_REST,     /* asleep but for a look at the job */
    JOB_SPIN,     /* user code that never yields */
    JOB_BARRIER,  /* phases of work, and a barrier at which all spin */
    JOB_HANDOVER, /* a little work, wakes the next vcpu, sleeps until it is woken */
    JOB_STORM,    /* sends itself events and takes them */
    JOB_POLL,     /* events off, polls a port that is pending */
    JOB_NAPS,     /* events off, polls with a time that is over soon */
    JOB_TIMER,    /* has its timer interrupt it at once, over and over */
    JOB_YIELD,    /* gives way all the time */
    JOB_BOTHER,   /* sends all siblings events and NMIs */
};

/* A page of the domain that domain 0 sees. */
struct load_sheet {
    volatile u64 job;             /* enum load_job | serial number << 8 */
    volatile u64 done[MAX_CPUS];  /* rounds, for each vcpu */
    volatile u32 barriers[64][2]; /* by serial number: who has come, the turn */
};

struct load {
    struct domu u;
    struct load_sheet *sheet;
    unsigned vcpus;
    u64 serial;
};

void load_make(struct load *l, unsigned vcpus);
void load_end(struct load *l);
void load_job(struct load *l, enum load_job job);
/* Rounds of all its vcpus; of the one that has the fewest. */
u64 load_rounds(const struct load *l);
u64 load_least(const struct load *l);

long sched_domain_op(struct serai_sched_domain *f);
void load_set(const struct load *l, unsigned gang, u32 cap_ppm);
void load_figures(const struct load *l, struct serai_sched_domain *f);
void load_doze(u64 ns); /* domain 0 sleeps */

/* What happens while domain 0 sleeps for that long, by the scheduler's own trace. */
struct watch {
    u64 picks, lost;
    u64 overlaps;    /* a strict domain's vcpu began beside another's */
    u64 together[2]; /* ns in which all vcpus of the load ran that the machine has CPUs for */
    u64 any[2];      /* in which at least one did */
};
void load_watch(const struct load *a, const struct load *b, u64 ns, struct watch *w);

#endif
