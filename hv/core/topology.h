/*
 * Which logical CPUs share a core, a last-level cache, a node.
 *
 * Numbers are dense from 0 in the order in which the first CPU of each appears. A core lies in
 * one cache domain, a cache domain in one node. Pure data after topology_build().
 */
#ifndef SERAI_CORE_TOPOLOGY_H
#define SERAI_CORE_TOPOLOGY_H

#include "core/cpuset.h"

struct topology {
    unsigned nr_cpus;
    struct cpu_place {
        u8 thread; /* within its core */
        u8 core, cache, package, node;
    } cpu[CPUSET_MAX];
};

/* 0: same CPU, 1: same core, 2: same last-level cache, 3: same node, 4: elsewhere. */
enum cpu_distance { DIST_SELF, DIST_CORE, DIST_CACHE, DIST_NODE, DIST_FAR, NR_DISTANCES };

static inline enum cpu_distance topology_distance(const struct topology *t, unsigned a,
                                                  unsigned b)
{
    const struct cpu_place *x = &t->cpu[a], *y = &t->cpu[b];

    if (a == b)
        return DIST_SELF;
    if (x->core == y->core)
        return DIST_CORE;
    if (x->cache == y->cache)
        return DIST_CACHE;
    return x->node == y->node ? DIST_NODE : DIST_FAR;
}

#endif
