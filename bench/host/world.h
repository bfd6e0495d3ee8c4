/*
 * A machine of CPUs and units for the scheduler's cases: units are woken and put to sleep by
 * hand, CPUs pick when they are kicked or their timer rings. All of it lies in one struct, so a
 * state can be kept and returned to.
 */
#ifndef SERAI_BENCH_WORLD_H
#define SERAI_BENCH_WORLD_H

#include "core/sched.h"

#define US 1000L
#define MS 1000000L

#define WORLD_DOMAINS  48
#define WORLD_SIBLINGS 4 /* units of each domain */
#define WORLD_UNITS    (WORLD_DOMAINS * WORLD_SIBLINGS)

struct machine {
    const char *name;
    unsigned threads, cores, caches, nodes; /* of a core, of a cache, of all, of all */
};

struct world {
    struct sched s;
    struct sched_domain dom[WORLD_DOMAINS];
    struct sched_unit unit[WORLD_UNITS];
    ns_t now, timer[CPUSET_MAX];
    cpuset_t kicked;
    unsigned next_unit; /* to be woken: who slept longest */
    u64 seed;
};

extern struct world w;

/* All units sleep. */
void world_init(const struct machine *m, u64 seed);
u64 world_random(u64 below);

void world_wake(struct sched_unit *u);
/* The CPU picks, and who it left is saved. */
struct sched_unit *world_pick(unsigned cpu);
/* Until nobody is kicked. */
void world_kicks(void);
/* The unit runs, and goes to sleep. */
void world_sleep(struct sched_unit *u);
/* Timers ring, the kicked pick. */
void world_advance(ns_t by);

/* Wakes 'n' units of a queue, one after another. */
void world_fill(unsigned queue, unsigned n);
/* All CPUs busy for a while, and 'first' and 'others' units wait in queue 0 and in the others. */
void world_crowd(unsigned first, unsigned others);

unsigned world_cpu_of(unsigned queue);
bool world_all_busy(void);

#endif
