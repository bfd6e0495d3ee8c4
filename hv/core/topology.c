#include "core/topology.h"
#include "base/string.h"
#include "core/cpuid_policy.h"

/* CPUID fields; Intel SDM volume 2 "CPUID", AMD APM volume 3 appendix E. */
#define LEAF_1_LOGICAL(ebx) ((ebx) >> 16 & 0xff)
#define LEAF_1_HTT          (1U << 28) /* EDX: the count in EBX is valid */
#define EXT_1_TOPOEXT       (1U << 22) /* ECX */
#define EXT_8_CORES(ecx)    (((ecx)&0xff) + 1)
#define EXT_8_ID_SIZE(ecx)  ((ecx) >> 12 & 0xf)
#define EXT_1E_THREADS(ebx) (((ebx) >> 8 & 0xff) + 1)
#define LEVEL_TYPE(ecx)     ((ecx) >> 8 & 0xff)
#define LEVEL_SHIFT(eax)    ((eax)&0x1f)
#define LEVEL_CPUS(ebx)     ((ebx)&0xffff)
#define LEVEL_TYPE_SMT      1
#define CACHE_TYPE(eax)     ((eax)&0x1f) /* 0: no more caches */
#define CACHE_TYPE_CODE     2
#define CACHE_LEVEL(eax)    ((eax) >> 5 & 7)
#define CACHE_CPUS(eax)     (((eax) >> 14 & 0xfff) + 1)
#define CACHE_CORES(eax)    (((eax) >> 26) + 1) /* of the package, leaf 4 only */

/* How many low bits of an APIC id tell the CPUs of each apart; smt <= cache <= package < 32. */
struct widths {
    u32 smt, cache, package;
};

static void add_level(struct topology_level *level, const struct cpuid_regs *r)
{
    /* A level of no CPUs ends the list, as one without type does. */
    level->type = LEVEL_CPUS(r->ebx) ? LEVEL_TYPE(r->ecx) : 0;
    level->shift = LEVEL_SHIFT(r->eax);
}

static void add_subleaf(struct topology_cpuid *c, u32 leaf, u32 subleaf,
                        const struct cpuid_regs *r)
{
    switch (leaf) {
    case 4:
        c->cache_4[subleaf] = r->eax;
        return;
    case 0xb:
        add_level(&c->level_b[subleaf], r);
        return;
    case 0x1f:
        add_level(&c->level_1f[subleaf], r);
        return;
    case 0x8000001d:
        c->cache_1d[subleaf] = r->eax;
        return;
    default:
        return;
    }
}

static void add_leaf(struct topology_cpuid *c, u32 leaf, const struct cpuid_regs *r)
{
    struct cpuid_host host = {0};

    switch (leaf) {
    case 0:
        cpuid_host_add(&host, 0, 0, r);
        c->max_leaf = r->eax;
        c->amd = host.vendor == CPU_VENDOR_AMD;
        return;
    case 1:
        c->logical = r->edx & LEAF_1_HTT ? LEAF_1_LOGICAL(r->ebx) : 0;
        return;
    case 0x80000000:
        /* A CPU without extended leaves answers something else. */
        c->max_ext_leaf = r->eax >> 16 == 0x8000 ? r->eax : 0;
        return;
    case 0x80000001:
        c->topoext = r->ecx & EXT_1_TOPOEXT;
        return;
    case 0x80000008:
        c->nr_cores = EXT_8_CORES(r->ecx);
        c->core_id_size = EXT_8_ID_SIZE(r->ecx);
        return;
    case 0x8000001e:
        c->core_threads = EXT_1E_THREADS(r->ebx);
        return;
    default:
        return;
    }
}

void topology_cpuid_add(struct topology_cpuid *c, u32 leaf, u32 subleaf,
                        const struct cpuid_regs *native)
{
    if (subleaf < TOPOLOGY_SUBLEAVES)
        add_subleaf(c, leaf, subleaf, native);
    if (subleaf == 0)
        add_leaf(c, leaf, native);
}

/* ---- widths ---- */

/* The smallest power of two, as an exponent, that is not below n; n is small. */
static u32 log2_up(u32 n)
{
    u32 bits = 0;

    while (1U << bits < n)
        bits++;
    return bits;
}

/* Leaf 0xB or 0x1F. False: it is not there, or without the two levels that every CPU has. */
static bool level_widths(const struct topology_level *level, struct widths *w)
{
    if (level[0].type != LEVEL_TYPE_SMT || !level[1].type)
        return false;
    w->smt = w->package = level[0].shift;
    /* Modules, tiles and dies lie between; the last level ends at the package. */
    for (u32 i = 1; i < TOPOLOGY_SUBLEAVES && level[i].type; i++)
        w->package = MAX(w->package, level[i].shift);
    return true;
}

static void amd_widths(const struct topology_cpuid *c, struct widths *w)
{
    u32 cores = 0;

    if (c->max_ext_leaf >= 0x80000008)
        cores = c->core_id_size ? c->core_id_size : log2_up(c->nr_cores);
    w->package = MAX(log2_up(c->logical), cores);
    w->smt = 0; /* before the topology leaves came there was no SMT */
    if (c->topoext && c->max_ext_leaf >= 0x8000001e)
        w->smt = log2_up(c->core_threads);
}

static void intel_widths(const struct topology_cpuid *c, struct widths *w)
{
    u32 cores = 0; /* before leaf 4 came, what shared a package was threads */

    if (c->max_leaf >= 4 && CACHE_TYPE(c->cache_4[0]))
        cores = log2_up(CACHE_CORES(c->cache_4[0]));
    w->package = log2_up(c->logical);
    w->smt = w->package > cores ? w->package - cores : 0;
}

/* The highest cache that holds data, and of two at its level the one that more CPUs share. */
static bool cache_width(const u32 *cache, u32 *width)
{
    u32 level = 0, cpus = 0;

    for (u32 i = 0; i < TOPOLOGY_SUBLEAVES && CACHE_TYPE(cache[i]); i++) {
        u32 l = CACHE_LEVEL(cache[i]), n = CACHE_CPUS(cache[i]);

        if (CACHE_TYPE(cache[i]) == CACHE_TYPE_CODE || l < level || (l == level && n <= cpus))
            continue;
        level = l;
        cpus = n;
    }
    *width = log2_up(cpus);
    return cpus;
}

static struct widths derive_widths(const struct topology_cpuid *c)
{
    struct widths w = {0};
    bool known = false;

    if (c->max_leaf >= 0x1f)
        known = level_widths(c->level_1f, &w);
    if (!known && c->max_leaf >= 0xb)
        known = level_widths(c->level_b, &w);
    if (!known && c->amd)
        amd_widths(c, &w);
    else if (!known)
        intel_widths(c, &w);
    w.smt = MIN(w.smt, w.package);

    known = false;
    if (c->amd && c->topoext && c->max_ext_leaf >= 0x8000001d)
        known = cache_width(c->cache_1d, &w.cache);
    if (!known && c->max_leaf >= 4)
        known = cache_width(c->cache_4, &w.cache);
    if (!known)
        w.cache = w.package;
    w.cache = MIN(MAX(w.cache, w.smt), w.package);
    return w;
}

/* ---- nodes ---- */

#define NO_CPU CPUSET_MAX

struct proximity {
    u32 of[CPUSET_MAX];
    cpuset_t known;
};

static void look_up_srat(struct proximity *p, const u32 *apic_ids, unsigned n,
                         const struct topology_srat *srat, unsigned nr_srat)
{
    p->known = CPUSET_NONE;
    for (unsigned i = 0; i < n; i++) {
        for (unsigned k = 0; k < nr_srat && !cpuset_has(p->known, i); k++) {
            if (srat[k].apic_id != apic_ids[i])
                continue;
            p->of[i] = srat[k].proximity;
            cpuset_add(&p->known, i);
        }
    }
}

/* The CPU whose SRAT entry decides for CPU i, looking ever farther; NO_CPU: none. */
static unsigned node_source(const struct proximity *p, const u32 *apic_ids, unsigned n,
                            unsigned i, const struct widths *w)
{
    const u32 scope[] = {w->smt, w->cache, w->package};

    for (unsigned s = 0; s < ARRAY_SIZE(scope); s++) {
        for (unsigned j = 0; j < n; j++) {
            if (cpuset_has(p->known, j) && apic_ids[i] >> scope[s] == apic_ids[j] >> scope[s])
                return j;
        }
    }
    return NO_CPU;
}

#define UNKNOWN_NODE BIT(32) /* beyond all proximities; the package's number is added */

static void node_keys(u64 *key, const struct proximity *p, const u32 *apic_ids, unsigned n,
                      const struct widths *w)
{
    for (unsigned i = 0; i < n; i++) {
        unsigned source = node_source(p, apic_ids, n, i, w);

        key[i] = source == NO_CPU ? UNKNOWN_NODE + (apic_ids[i] >> w->package) : p->of[source];
    }
}

/* ---- numbers ---- */

enum group { GROUP_CORE, GROUP_CACHE, GROUP_PACKAGE, GROUP_NODE, NR_GROUPS };

static u8 *number_of(struct cpu_place *p, enum group g)
{
    u8 *const numbers[NR_GROUPS] = {&p->core, &p->cache, &p->package, &p->node};

    return numbers[g];
}

/* CPUs with equal keys get equal numbers. */
static void number_groups(struct topology *t, enum group g, const u64 *key)
{
    u8 next = 0;

    for (unsigned i = 0; i < t->nr_cpus; i++) {
        unsigned first = 0;

        while (key[first] != key[i])
            first++;
        *number_of(&t->cpu[i], g) = first == i ? next++ : *number_of(&t->cpu[first], g);
    }
}

/* How many CPUs before i are of its core. */
static u8 thread_number(const struct topology *t, unsigned i)
{
    u8 nr = 0;

    for (unsigned j = 0; j < i; j++) {
        if (t->cpu[j].core == t->cpu[i].core)
            nr++;
    }
    return nr;
}

void topology_build(struct topology *t, const struct topology_cpuid *c, const u32 *apic_ids,
                    unsigned n, const struct topology_srat *srat, unsigned nr_srat)
{
    struct widths w = derive_widths(c);
    struct proximity p;
    u64 key[CPUSET_MAX] = {0};

    memset(t, 0, sizeof(*t));
    n = t->nr_cpus = MIN(n, (unsigned)CPUSET_MAX);
    look_up_srat(&p, apic_ids, n, srat, nr_srat);
    node_keys(key, &p, apic_ids, n, &w);
    number_groups(t, GROUP_NODE, key);
    for (unsigned i = 0; i < n; i++)
        key[i] = apic_ids[i] >> w.package;
    number_groups(t, GROUP_PACKAGE, key);
    /* The node is in the key of a cache: so a node's border divides it. */
    for (unsigned i = 0; i < n; i++)
        key[i] = (u64)t->cpu[i].node << 32 | apic_ids[i] >> w.cache;
    number_groups(t, GROUP_CACHE, key);
    for (unsigned i = 0; i < n; i++)
        key[i] = apic_ids[i] >> w.smt;
    number_groups(t, GROUP_CORE, key);
    for (unsigned i = 0; i < n; i++)
        t->cpu[i].thread = thread_number(t, i);
}

/* ---- check ---- */

static bool is_dense(const struct topology *t, enum group g)
{
    unsigned next = 0;

    for (unsigned i = 0; i < t->nr_cpus; i++) {
        struct cpu_place p = t->cpu[i];
        unsigned nr = *number_of(&p, g);

        if (nr > next)
            return false;
        next += nr == next;
    }
    return true;
}

static bool nests(const struct cpu_place *a, const struct cpu_place *b)
{
    if (a->core == b->core && a->cache != b->cache)
        return false;
    return a->cache != b->cache || (a->package == b->package && a->node == b->node);
}

int topology_check(const struct topology *t)
{
    if (t->nr_cpus > CPUSET_MAX)
        return 1;
    for (enum group g = 0; g < NR_GROUPS; g++) {
        if (!is_dense(t, g))
            return 2;
    }
    for (unsigned i = 0; i < t->nr_cpus; i++) {
        for (unsigned j = 0; j < i; j++) {
            if (!nests(&t->cpu[i], &t->cpu[j]))
                return 3;
        }
    }
    for (unsigned i = 0; i < t->nr_cpus; i++) {
        if (t->cpu[i].thread != thread_number(t, i))
            return 4;
    }
    return 0;
}
