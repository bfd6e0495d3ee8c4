/*
 * What the simulator asks of a scheduling policy. The shipped core and its two rivals fill in
 * the same table, so that they run the same workloads from the same seeds.
 *
 * 'kick' collects CPUs that must call pick soon. Pointers to functions that a policy does not
 * need are NULL.
 */
#ifndef SIM_POLICY_H
#define SIM_POLICY_H

#include "core/sched.h"

struct sim;
struct sim_dom;
struct sim_unit;

struct policy {
    const char *name;
    void (*init)(struct sim *s);
    void (*fini)(struct sim *s);
    void (*dom_init)(struct sim *s, struct sim_dom *d);
    void (*dom_remove)(struct sim *s, struct sim_dom *d);
    void (*unit_init)(struct sim *s, struct sim_unit *u);
    int (*unit_remove)(struct sim *s, struct sim_unit *u);

    void (*online)(struct sim *s, struct sim_unit *u);
    void (*offline)(struct sim *s, struct sim_unit *u, cpuset_t *kick);
    void (*wake)(struct sim *s, struct sim_unit *u, enum sched_wake why, cpuset_t *kick);
    void (*block)(struct sim *s, struct sim_unit *u);
    void (*yield)(struct sim *s, struct sim_unit *u, struct sim_unit *to);
    struct sim_unit *(*pick)(struct sim *s, unsigned cpu, ns_t *until, cpuset_t *kick);
    void (*saved)(struct sim *s, struct sim_unit *u, cpuset_t *kick);
    void (*note_ipi)(struct sim *s, struct sim_unit *from, struct sim_unit *to);

    int (*set_params)(struct sim *s, struct sim_dom *d, const struct sched_params *p,
                      cpuset_t *kick);
    int (*set_affinity)(struct sim *s, struct sim_unit *u, cpuset_t hard, cpuset_t soft,
                        cpuset_t *kick);
    int (*cpu_online)(struct sim *s, unsigned cpu, bool online, cpuset_t *kick);
    int (*pool_set_cpus)(struct sim *s, unsigned pool, cpuset_t cpus, cpuset_t *kick);
    int (*domain_move)(struct sim *s, struct sim_dom *d, unsigned pool, cpuset_t *kick);

    int (*check)(struct sim *s);                             /* 0 or the broken invariant */
    bool (*parked)(struct sim *s, const struct sim_unit *u); /* its cap is used up */
};

extern const struct policy policy_serai, policy_credit2, policy_percpu;

#endif
