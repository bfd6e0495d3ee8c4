/*
 * Which logical CPUs share a core, a last-level cache, a package, a node.
 *
 * CPUID tells how many low bits of an APIC id count the threads of a core, the CPUs of a cache
 * and those of a package; ACPI's SRAT tells the node of an APIC id. Pure data after
 * topology_build(). Invariants, whatever the machine says:
 *
 *   1. there are at most CPUSET_MAX CPUs;
 *   2. the numbers of cores, caches, packages and nodes are dense from 0, in the order in which
 *      the first CPU of each appears;
 *   3. a core lies in one cache domain, a cache domain in one package and in one node (SRAT may
 *      divide a cache domain, but never a core; a node may hold several packages);
 *   4. the threads of a core are numbered from 0 in the order of their CPUs.
 *
 * Pure; any context may call. Nothing fails: what the machine leaves out or contradicts has a
 * defined result, told at the functions.
 */
#ifndef SERAI_CORE_TOPOLOGY_H
#define SERAI_CORE_TOPOLOGY_H

#include "core/cpuset.h"

struct cpuid_regs; /* core/cpuid_policy.h */

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

#define TOPOLOGY_SUBLEAVES 8 /* of each leaf that has them */

/* What the boot CPU's CPUID says of the layout, undigested; see topology_cpuid_add. */
struct topology_cpuid {
    u32 max_leaf, max_ext_leaf;
    bool amd;        /* or Hygon */
    bool topoext;    /* leaves 0x8000001D and 0x8000001E mean what AMD says */
    u8 logical;      /* APIC ids of a package, leaf 1; 0: one */
    u8 core_id_size; /* bits of the APIC id within a package, leaf 0x80000008; 0: see nr_cores */
    u16 nr_cores;    /* AMD's word for CPUs of a package, likewise */
    u16 core_threads; /* leaf 0x8000001E */
    struct topology_level {
        u8 type; /* 0: none */
        u8 shift;
    } level_b[TOPOLOGY_SUBLEAVES], level_1f[TOPOLOGY_SUBLEAVES];
    u32 cache_4[TOPOLOGY_SUBLEAVES], cache_1d[TOPOLOGY_SUBLEAVES]; /* EAX */
};

/* A CPU's node, from SRAT. */
struct topology_srat {
    u32 apic_id;
    u32 proximity;
};

/*
 * Absorbs one native leaf: 0, 1, 0x80000000, 0x80000001, 0x80000008, 0x8000001E, and the
 * subleaves 0 to TOPOLOGY_SUBLEAVES - 1 of 4, 0xB, 0x1F and 0x8000001D, in any order; others
 * are ignored. Leaves that the CPU does not have may be given too: what it answers is not
 * believed. Start with a zeroed struct; what was never added counts as absent.
 */
void topology_cpuid_add(struct topology_cpuid *c, u32 leaf, u32 subleaf,
                        const struct cpuid_regs *native);

/*
 * Places the CPUs 0..n-1, whose (x2)APIC ids are given; those from CPUSET_MAX on are left out.
 *   - No cache is described: its domain is the package.
 *   - The caches claim more CPUs than a package, or fewer than a core: package, core.
 *   - Two entries of 'srat' for one APIC id: the first counts.
 *   - Threads of one core in different nodes: that of the core's first CPU with an entry.
 *   - A CPU without entry: the node of the first CPU with one in its core, else cache, else
 *     package; and a package without any is a node of its own.
 */
void topology_build(struct topology *t, const struct topology_cpuid *c, const u32 *apic_ids,
                    unsigned n, const struct topology_srat *srat, unsigned nr_srat);

/* 0, or the number of the first invariant that does not hold. */
int topology_check(const struct topology *t);

#endif
