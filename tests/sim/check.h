/* What has to hold after every event, and the fluid reference. For sim.c only. */
#ifndef SIM_CHECK_H
#define SIM_CHECK_H

#include "sim/sim.h"

void check_now(struct sim *s);
void check_time_passes(struct sim *s, ns_t to);
void check_start(struct sim *s, struct sim_unit *u, unsigned cpu);
void check_stay(struct sim *s, struct sim_unit *u, unsigned cpu);
void check_places(struct sim *s);
void check_budget(struct sim *s, struct sim_dom *d, ns_t ran);
void fluid_advance(struct sim *s);

#endif
