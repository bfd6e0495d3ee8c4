/*
 * Between the parts of the simulator: event.c (queue, random numbers, log), sim.c (CPUs and
 * programs), knobs.c (domains, units, parameters), check.c (what has to hold).
 */
#ifndef SIM_INTERNAL_H
#define SIM_INTERNAL_H

#include "sim/sim.h"

/* A build with -DSIM_MUTANT=n plants fault n in the glue: a check has to find it. */
#ifndef SIM_MUTANT
#define SIM_MUTANT 0
#endif
enum {
    MUTANT_NONE,
    LOSE_KICK,
    LOSE_WAKE,
    SAVED_EARLY,
    LOSE_TIMER,
    NO_AFFINITY,
    NO_CAP,
    NO_STRICT,
    LOSE_SAVED,
    NO_WEIGHT,
    NO_OFFLINE,
    NO_BLOCK,
    NO_CPU_OFFLINE,
};

enum { EV_TIMER, EV_KICK, EV_SAVED, EV_WORK, EV_SLEEP, EV_IRQ, EV_TICK, EV_CALL };
/* event.c */
void sim_post(struct sim *s, ns_t at, unsigned kind, unsigned id, unsigned gen);
struct sim_event sim_pop(struct sim *s);
void sim_note(struct sim *s, const char *what, int cpu, int unit, int value);
void sim_build_topology(struct topology *t, const struct sim_topology *d);

/* sim.c */
void sim_send_kicks(struct sim *s, cpuset_t kick);
void sim_set_state(struct sim *s, struct sim_unit *u, enum sim_state state);
bool sim_is_current(const struct sim *s, const struct sim_unit *u);

/* check.c */
void check_now(struct sim *s);
void check_time_passes(struct sim *s, ns_t to);
void check_start(struct sim *s, struct sim_unit *u, unsigned cpu);
void check_stay(struct sim *s, struct sim_unit *u, unsigned cpu);
void check_places(struct sim *s);
void check_budget(struct sim *s, struct sim_dom *d, ns_t ran);
void fluid_advance(struct sim *s);

#endif
