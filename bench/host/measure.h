/*
 * One sample: what callgrind counts inside the measured functions between measure_begin() and
 * measure_keep(), which writes it to a file under a name. Which functions count is told to
 * callgrind (bench/host/run); everything else that happens in between is free.
 *
 * Without valgrind the macros do nothing: then the program checks that each case is what its
 * name says, and measures nothing.
 */
#ifndef SERAI_BENCH_MEASURE_H
#define SERAI_BENCH_MEASURE_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <valgrind/callgrind.h>

#include "base/types.h"

#define SAMPLES 15 /* of each case */

static inline void measure_begin(void)
{
    CALLGRIND_ZERO_STATS;
}

static inline void measure_keep(const char *name)
{
    CALLGRIND_DUMP_STATS_AT(name);
}

/* A case that is not what its name says is no measurement. */
static inline void expect(bool ok, const char *name)
{
    if (ok)
        return;
    fprintf(stderr, "bench: \"%s\" did not do what it is about\n", name);
    exit(1);
}

void sched_cases(void);
void load_cases(void);
void other_cases(void);
void vfr_packet_cases(void);
void vfr_rules_cases(void);
void vfr_leases_cases(void);
void vfr_flow_cases(void);

#endif
