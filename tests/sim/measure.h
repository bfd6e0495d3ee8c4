/* One measured run of one policy under one load. */
#ifndef SIM_MEASURE_H
#define SIM_MEASURE_H

#include "sim/workloads.h"

struct run {
    const struct policy *pol;
    const char *topo;
    void (*load)(struct sim *s, const void *arg);
    const void *arg;
    ns_t warm, time;
    bool fluid, verbose;
    u64 seed;
};

struct result {
    bool failed;
    unsigned nr_cpus, nr_doms;
    ns_t ran[SIM_DOMS], useful[SIM_DOMS], skew[SIM_DOMS], cap_max[SIM_DOMS];
    u64 count[SIM_DOMS];
    unsigned units[SIM_DOMS];
    ns_t total, useful_total, p50, p99, worst, idle_while_runnable, longest_wait;
    double utilisation, lag, switches, far;
    u64 samples;
};

/* Warms up, then measures; a check that fails ends the run and sets 'failed'. */
struct result measure_run(struct run p);

#endif
