/*
 * Programs for units: small state machines that ask the simulator for work, sleep, spinning and
 * wake-ups. Each function makes one domain and sets it going; its units count in u->count.
 */
#ifndef SIM_WORKLOADS_H
#define SIM_WORKLOADS_H

#include "sim/sim.h"

struct wl_dom {
    unsigned units;
    u32 weight; /* 0: SCHED_WEIGHT_DEFAULT */
    u32 cap_ppm;
    enum sched_gang gang;
    bool quick;   /* latency class LOW */
    cpuset_t pin; /* no CPU: anywhere */
};
#define WL(...) ((struct wl_dom){__VA_ARGS__})

/* Never gives way. */
struct sim_dom *wl_hog(struct sim *s, struct wl_dom p);
/* Sleeps about 'sleep', works about 'burst'. */
struct sim_dom *wl_interactive(struct sim *s, struct wl_dom p, ns_t sleep, ns_t burst);
/* Phases of 'grain' +-10 %, then all wait for all: spinning, or blocking after 'spin'. */
struct sim_dom *wl_barrier(struct sim *s, struct wl_dom p, ns_t grain, ns_t spin);
/* A ticket lock: 'think', then 'hold'; waiters spin, then poll; handed over in order. */
struct sim_dom *wl_lock(struct sim *s, struct wl_dom p, ns_t think, ns_t hold);
/* Works 'grain', then interrupts all siblings and spins until all have answered. */
struct sim_dom *wl_ipi(struct sim *s, struct wl_dom p, ns_t grain);
/* Pairs: the even unit makes items, the odd one takes them; at most 4 in between. */
struct sim_dom *wl_pipe(struct sim *s, struct wl_dom p, ns_t make, ns_t take);
/* Works 5 us, is woken by its own event 1 us later, for ever. */
struct sim_dom *wl_storm(struct sim *s, struct wl_dom p);
/* Two units hand a polled port to each other every 3 us. */
struct sim_dom *wl_poll_storm(struct sim *s, struct wl_dom p);
/* Never gives way, and has a timer every 'period', a little longer for each further unit. */
struct sim_dom *wl_cyclic(struct sim *s, struct wl_dom p, ns_t period);
/* Yields every 'grain'. */
struct sim_dom *wl_yielder(struct sim *s, struct wl_dom p, ns_t grain);

#endif
