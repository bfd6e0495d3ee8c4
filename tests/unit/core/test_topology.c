/*
 * The layout of machines that exist, of QEMU's, and of some that contradict themselves. Rows
 * were read from the machine unless said otherwise; all zero rows are left out.
 */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "core/cpuid_policy.h"
#include "core/topology.h"
#include "unit/random.h"

#define INTEL 0x756e6547, 0x6c65746e, 0x49656e69
#define AMD   0x68747541, 0x444d4163, 0x69746e65
#define HYGON 0x6f677948, 0x656e6975, 0x6e65476e
#define HTT   0x10000000

struct row {
    u32 leaf, subleaf;
    struct cpuid_regs r;
};

/* Which number a CPU's core has: in the order of the CPUs, all threads of one core together; or
 * the first threads of all cores come first. */
enum order { THREADS_TOGETHER, CORES_FIRST };

struct machine {
    const char *name;
    const struct row *rows;
    unsigned nr_rows, nr_cpus;
    const u32 *apic_ids; /* NULL: 0, 1, 2... */
    enum order order;
    unsigned threads;                /* of a core; CORES_FIRST: unused */
    unsigned cores;                  /* CORES_FIRST: of the machine */
    unsigned per_cache, per_package; /* cores */
};

static struct topology t;

static u32 identity[2 * CPUSET_MAX];

static struct topology_cpuid absorb(const struct row *rows, unsigned nr)
{
    struct topology_cpuid c = {0};

    for (unsigned i = 0; i < nr; i++)
        topology_cpuid_add(&c, rows[i].leaf, rows[i].subleaf, &rows[i].r);
    return c;
}

static const u32 *in_order(void)
{
    for (unsigned i = 0; i < ARRAY_SIZE(identity); i++)
        identity[i] = i;
    return identity;
}

static void build(const struct topology_cpuid *c, const u32 *ids, unsigned n,
                  const struct topology_srat *srat, unsigned nr_srat)
{
    memset(&t, 0xAA, sizeof(t));
    topology_build(&t, c, ids, n, srat, nr_srat);
    assert_int_equal(topology_check(&t), 0);
}

/* ---- what machines say ---- */

/* clang-format off */
/* QEMU 7.2 TCG, -smp 4,cores=2,threads=2. Leaves past the highest repeat leaf 0xD. */
static const struct row qemu_max[] = {
    {0x0, 0, {0x0000000d, AMD}},
    {0x1, 0, {0x00060fb1, 0x00040800, 0xfed8320b, 0x1fcbfbfd}},
    {0xb, 0, {0x00000001, 0x00000002, 0x00000100, 0x00000000}},
    {0xb, 1, {0x00000002, 0x00000004, 0x00000201, 0x00000000}},
    {0xb, 2, {0x00000000, 0x00000000, 0x00000002, 0x00000000}},
    {0xb, 3, {0x00000000, 0x00000000, 0x00000003, 0x00000000}},
    {0x1f, 0, {0x0000021f, 0x00000a88, 0x00000a88, 0x00000000}},
    {0x1f, 1, {0x00000005, 0x000003c8, 0x00000000, 0x00000000}},
    {0x1f, 2, {0x00000100, 0x00000240, 0x00000000, 0x00000000}},
    {0x80000000, 0, {0x8000000a, AMD}},
    {0x80000001, 0, {0x00060fb1, 0x00000000, 0x00000077, 0xedd3fbfd}},
    {0x80000008, 0, {0x00003928, 0x00000000, 0x00002003, 0x00000000}},
    {0x8000001d, 0, {0x0000021f, 0x00000a88, 0x00000a88, 0x00000000}},
    {0x8000001d, 1, {0x00000005, 0x000003c8, 0x00000000, 0x00000000}},
    {0x8000001e, 0, {0x0000021f, 0x00000a88, 0x00000a88, 0x00000000}},
};

static const struct row qemu_skylake[] = {
    {0x0, 0, {0x0000000d, INTEL}},
    {0x1, 0, {0x000506e3, 0x00040800, 0xfed83203, 0x178bfbfd}},
    {0x4, 0, {0x04000121, 0x01c0003f, 0x0000003f, 0x00000001}},
    {0x4, 1, {0x04000122, 0x01c0003f, 0x0000003f, 0x00000001}},
    {0x4, 2, {0x04004143, 0x03c0003f, 0x00000fff, 0x00000001}},
    {0x4, 3, {0x0400c163, 0x03c0003f, 0x00003fff, 0x00000006}},
    {0xb, 0, {0x00000001, 0x00000002, 0x00000100, 0x00000000}},
    {0xb, 1, {0x00000002, 0x00000004, 0x00000201, 0x00000000}},
    {0xb, 2, {0x00000000, 0x00000000, 0x00000002, 0x00000000}},
    {0x1f, 0, {0x00000007, 0x00000340, 0x00000340, 0x00000000}},
    {0x1f, 1, {0x00000005, 0x00000340, 0x00000000, 0x00000000}},
    {0x80000000, 0, {0x80000008, INTEL}},
    {0x80000001, 0, {0x000506e3, 0x00000000, 0x00000021, 0x28100800}},
    {0x80000008, 0, {0x00003028, 0x00000000, 0x00002003, 0x00000000}},
};

/* Without TOPOEXT, which TCG does not give, the cache leaf is not believed. */
static const struct row qemu_epyc[] = {
    {0x0, 0, {0x0000000d, AMD}},
    {0x1, 0, {0x00800f12, 0x00040800, 0xfed8320b, 0x178bfbfd}},
    {0xb, 0, {0x00000001, 0x00000002, 0x00000100, 0x00000000}},
    {0xb, 1, {0x00000002, 0x00000004, 0x00000201, 0x00000000}},
    {0x80000000, 0, {0x8000001e, AMD}},
    {0x80000001, 0, {0x00800f12, 0x00000000, 0x00000077, 0x2dd3fbfd}},
    {0x80000008, 0, {0x00003028, 0x00000000, 0x00002003, 0x00000000}},
    {0x8000001d, 0, {0x00004121, 0x01c0003f, 0x0000003f, 0x00000001}},
    {0x8000001d, 1, {0x00004122, 0x00c0003f, 0x000000ff, 0x00000001}},
    {0x8000001d, 2, {0x00004043, 0x01c0003f, 0x000003ff, 0x00000000}},
    {0x8000001d, 3, {0x0000c163, 0x03c0003f, 0x00001fff, 0x00000006}},
    {0x8000001e, 0, {0x00000000, 0x00000100, 0x00000000, 0x00000000}},
};

/* The Skylake with -smp 12,sockets=2,cores=3,threads=2. */
static const struct row qemu_6_cores[] = {
    {0x0, 0, {0x0000000d, INTEL}},
    {0x1, 0, {0x000506e3, 0x00060800, 0xfed83203, 0x178bfbfd}},
    {0x4, 0, {0x08000121, 0x01c0003f, 0x0000003f, 0x00000001}},
    {0x4, 1, {0x08000122, 0x01c0003f, 0x0000003f, 0x00000001}},
    {0x4, 2, {0x08004143, 0x03c0003f, 0x00000fff, 0x00000001}},
    {0x4, 3, {0x0801c163, 0x03c0003f, 0x00003fff, 0x00000006}},
    {0xb, 0, {0x00000001, 0x00000002, 0x00000100, 0x00000000}},
    {0xb, 1, {0x00000003, 0x00000006, 0x00000201, 0x00000000}},
    {0x80000000, 0, {0x80000008, INTEL}},
};
static const u32 qemu_6_cores_ids[] = {0, 1, 2, 3, 4, 5, 8, 9, 10, 11, 12, 13};

/* And with -smp 8,dies=2,cores=2,threads=2: leaf 0xB does not know of dies. */
static const struct row qemu_dies[] = {
    {0x0, 0, {0x0000001f, INTEL}},
    {0x1, 0, {0x000506e3, 0x00040800, 0xfed83203, 0x178bfbfd}},
    {0x4, 0, {0x04000121, 0x01c0003f, 0x0000003f, 0x00000001}},
    {0x4, 3, {0x0400c163, 0x03c0003f, 0x00003fff, 0x00000006}},
    {0x4, 1, {0x04000122, 0x01c0003f, 0x0000003f, 0x00000001}},
    {0x4, 2, {0x04004143, 0x03c0003f, 0x00000fff, 0x00000001}},
    {0xb, 0, {0x00000001, 0x00000002, 0x00000100, 0x00000000}},
    {0xb, 1, {0x00000003, 0x00000004, 0x00000201, 0x00000000}},
    {0x1f, 0, {0x00000001, 0x00000002, 0x00000100, 0x00000000}},
    {0x1f, 1, {0x00000002, 0x00000004, 0x00000201, 0x00000000}},
    {0x1f, 2, {0x00000003, 0x00000008, 0x00000502, 0x00000000}},
    {0x1f, 3, {0x00000000, 0x00000000, 0x00000003, 0x00000000}},
    {0x80000000, 0, {0x80000008, INTEL}},
};

/* level=3: what shares a package is threads, says the manual of that time. */
static const struct row qemu_level_3[] = {
    {0x0, 0, {0x00000003, INTEL}},
    {0x1, 0, {0x000506e3, 0x00040800, 0xf6d83203, 0x178bfbfd}},
    {0x80000000, 0, {0x80000001, INTEL}},
    {0x80000001, 0, {0x000506e3, 0x00000000, 0x00000021, 0x28100800}},
};

/* Two Xeon X5650: six cores each, with gaps in their numbers. */
static const struct row xeon_x5650[] = {
    {0x0, 0, {0x0000000b, INTEL}},
    {0x1, 0, {0x000206c2, 0x00200800, 0x029ee3ff, 0xbfebfbff}},
    {0x4, 0, {0x3c004121, 0x01c0003f, 0x0000003f, 0x00000000}},
    {0x4, 1, {0x3c004122, 0x00c0003f, 0x0000007f, 0x00000000}},
    {0x4, 2, {0x3c004143, 0x01c0003f, 0x000001ff, 0x00000000}},
    {0x4, 3, {0x3c07c163, 0x03c0003f, 0x00002fff, 0x00000002}},
    {0xb, 0, {0x00000001, 0x00000002, 0x00000100, 0x00000000}},
    {0xb, 1, {0x00000005, 0x0000000c, 0x00000201, 0x00000000}},
    {0x80000000, 0, {0x80000008, 0, 0, 0}},
};
static const u32 xeon_x5650_ids[] = {0, 2, 4, 16, 18, 20, 32, 34, 36, 48, 50, 52,
                                     1, 3, 5, 17, 19, 21, 33, 35, 37, 49, 51, 53};

/* Two EPYC 7451, 64 of its 96 CPUs: eight caches a package, three cores each; no leaf 0xB. */
static const struct row epyc_7451[] = {
    {0x0, 0, {0x0000000d, AMD}},
    {0x1, 0, {0x00800f12, 0x00300800, 0x7ed8320b, 0x178bfbff}},
    {0x80000000, 0, {0x8000001f, AMD}},
    {0x80000001, 0, {0x00800f12, 0x40000000, 0x35c233ff, 0x2fd3fbff}},
    {0x80000008, 0, {0x00003030, 0x00000007, 0x0000602f, 0x00000000}},
    {0x8000001d, 0, {0x00004121, 0x01c0003f, 0x0000003f, 0x00000000}},
    {0x8000001d, 1, {0x00004122, 0x00c0003f, 0x000000ff, 0x00000000}},
    {0x8000001d, 2, {0x00004143, 0x01c0003f, 0x000003ff, 0x00000002}},
    {0x8000001d, 3, {0x00014163, 0x03c0003f, 0x00001fff, 0x00000001}},
    {0x8000001e, 0, {0x00000000, 0x00000100, 0x00000300, 0x00000000}},
};
static const u32 epyc_7451_ids[] = {
    0, 2, 4, 8, 10, 12, 16, 18, 20, 24, 26, 28, 32, 34, 36, 40, 42, 44, 48, 50, 52, 56, 58, 60,
    64, 66, 68, 72, 74, 76, 80, 82, 84, 88, 90, 92, 96, 98, 100, 104, 106, 108, 112, 114, 116,
    120, 122, 124, 1, 3, 5, 9, 11, 13, 17, 19, 21, 25, 27, 29, 33, 35, 37, 41};

/* Eight Opteron 8439: six cores each, no SMT, nothing said of caches. */
static const struct row opteron_8439[] = {
    {0x0, 0, {0x00000005, AMD}},
    {0x1, 0, {0x00100f80, 0x00060800, 0x00802009, 0x178bfbff}},
    {0x80000000, 0, {0x8000001b, AMD}},
    {0x80000001, 0, {0x00100f80, 0x00000270, 0x000037ff, 0xefc3fbff}},
    {0x80000008, 0, {0x00003030, 0x00000000, 0x00003005, 0x00000000}},
};
static const u32 opteron_8439_ids[] = {0,  1,  2,  3,  4,  5,  8,  9,  10, 11, 12, 13,
                                       16, 17, 18, 19, 20, 21, 24, 25, 26, 27, 28, 29};

/* Two Xeon E5345: four cores each, two of them share an L2 and there is no L3; no leaf 0xB. */
static const struct row xeon_e5345[] = {
    {0x0, 0, {0x0000000a, INTEL}},
    {0x1, 0, {0x000006f7, 0x00040800, 0x0004e3bd, 0xbfebfbff}},
    {0x4, 0, {0x0c000121, 0x01c0003f, 0x0000003f, 0x00000001}},
    {0x4, 1, {0x0c000122, 0x01c0003f, 0x0000003f, 0x00000001}},
    {0x4, 2, {0x0c004143, 0x03c0003f, 0x00000fff, 0x00000001}},
    {0x80000000, 0, {0x80000008, 0, 0, 0}},
};

/* Computed: eight cores with SMT; leaf 4 reserves room for sixteen of them. */
static const struct row intel_8_cores[] = {
    {0x0, 0, {0x00000016, INTEL}},
    {0x1, 0, {0x000906ed, 0x00100800, 0x7ffafbff, 0xbfebfbff}},
    {0x4, 0, {0x1c004121, 0x01c0003f, 0x0000003f, 0x00000000}},
    {0x4, 1, {0x1c004122, 0x01c0003f, 0x0000003f, 0x00000000}},
    {0x4, 2, {0x1c004143, 0x00c0003f, 0x000003ff, 0x00000000}},
    {0x4, 3, {0x1c07c163, 0x03c0003f, 0x00003fff, 0x00000006}},
    {0xb, 0, {0x00000001, 0x00000002, 0x00000100, 0x00000000}},
    {0xb, 1, {0x00000004, 0x00000010, 0x00000201, 0x00000000}},
};

/* Computed: sixteen cores with SMT, two of them. */
static const struct row intel_16_cores[] = {
    {0x0, 0, {0x00000014, INTEL}},
    {0x1, 0, {0x000406f1, 0x00200800, 0x7ffefbff, 0xbfebfbff}},
    {0x4, 0, {0x3c004121, 0x01c0003f, 0x0000003f, 0x00000000}},
    {0x4, 1, {0x3c004122, 0x01c0003f, 0x0000003f, 0x00000000}},
    {0x4, 2, {0x3c004143, 0x01c0003f, 0x000001ff, 0x00000000}},
    {0x4, 3, {0x3c07c163, 0x04c0003f, 0x00007fff, 0x00000006}},
    {0xb, 0, {0x00000001, 0x00000002, 0x00000100, 0x00000000}},
    {0xb, 1, {0x00000005, 0x00000020, 0x00000201, 0x00000000}},
};

/* Computed: two caches of four cores with SMT each. */
static const struct row amd_two_ccx[] = {
    {0x0, 0, {0x00000010, AMD}},
    {0x1, 0, {0x00870f10, 0x00100800, 0x7ed8320b, 0x178bfbff}},
    {0xb, 0, {0x00000001, 0x00000002, 0x00000100, 0x00000000}},
    {0xb, 1, {0x00000004, 0x00000010, 0x00000201, 0x00000000}},
    {0x80000000, 0, {0x80000020, AMD}},
    {0x80000001, 0, {0x00870f10, 0x20000000, 0x75c237ff, 0x2fd3fbff}},
    {0x80000008, 0, {0x00003030, 0x010eb757, 0x0000400f, 0x00010000}},
    {0x8000001d, 0, {0x00004121, 0x01c0003f, 0x0000003f, 0x00000000}},
    {0x8000001d, 1, {0x00004122, 0x01c0003f, 0x0000003f, 0x00000000}},
    {0x8000001d, 2, {0x00004143, 0x01c0003f, 0x000003ff, 0x00000002}},
    {0x8000001d, 3, {0x0001c163, 0x03c0003f, 0x00003fff, 0x00000001}},
    {0x8000001e, 0, {0x00000000, 0x00000100, 0x00000000, 0x00000000}},
};
/* clang-format on */

#define ROWS(r) r, ARRAY_SIZE(r)

static const struct machine machines[] = {
    {"QEMU max", ROWS(qemu_max), 4, NULL, THREADS_TOGETHER, 2, 0, 2, 2},
    {"QEMU Skylake", ROWS(qemu_skylake), 4, NULL, THREADS_TOGETHER, 2, 0, 2, 2},
    {"QEMU EPYC", ROWS(qemu_epyc), 4, NULL, THREADS_TOGETHER, 2, 0, 2, 2},
    {"QEMU 2 x 3", ROWS(qemu_6_cores), 12, qemu_6_cores_ids, THREADS_TOGETHER, 2, 0, 3, 3},
    {"QEMU dies", ROWS(qemu_dies), 8, NULL, THREADS_TOGETHER, 2, 0, 2, 4},
    {"QEMU level 3", ROWS(qemu_level_3), 8, NULL, THREADS_TOGETHER, 4, 0, 1, 1},
    {"Xeon X5650", ROWS(xeon_x5650), 24, xeon_x5650_ids, CORES_FIRST, 0, 12, 6, 6},
    {"EPYC 7451", ROWS(epyc_7451), 64, epyc_7451_ids, CORES_FIRST, 0, 48, 3, 24},
    {"Opteron 8439", ROWS(opteron_8439), 24, opteron_8439_ids, CORES_FIRST, 0, 24, 6, 6},
    {"Xeon E5345", ROWS(xeon_e5345), 8, NULL, THREADS_TOGETHER, 1, 0, 2, 4},
    {"8 cores", ROWS(intel_8_cores), 16, NULL, THREADS_TOGETHER, 2, 0, 8, 8},
    {"2 x 16 cores", ROWS(intel_16_cores), 64, NULL, THREADS_TOGETHER, 2, 0, 16, 16},
    {"2 CCX", ROWS(amd_two_ccx), 16, NULL, THREADS_TOGETHER, 2, 0, 4, 8},
    {"2 x 2 CCX", ROWS(amd_two_ccx), 32, NULL, THREADS_TOGETHER, 2, 0, 4, 8},
};

static void check_machine(const struct machine *m)
{
    struct topology_cpuid c = absorb(m->rows, m->nr_rows);

    build(&c, m->apic_ids ? m->apic_ids : in_order(), m->nr_cpus, NULL, 0);
    assert_int_equal(t.nr_cpus, m->nr_cpus);
    for (unsigned i = 0; i < m->nr_cpus; i++) {
        const struct cpu_place *p = &t.cpu[i];
        unsigned core = m->order == CORES_FIRST ? i % m->cores : i / m->threads;
        unsigned thread = m->order == CORES_FIRST ? i / m->cores : i % m->threads;

        if (p->core != core || p->thread != thread || p->cache != core / m->per_cache ||
            p->package != core / m->per_package || p->node != p->package)
            fail_msg("%s, CPU %u: core %u.%u cache %u package %u node %u", m->name, i, p->core,
                     p->thread, p->cache, p->package, p->node);
    }
}

static void places_known_machines(void **state)
{
    for (unsigned i = 0; i < ARRAY_SIZE(machines); i++)
        check_machine(&machines[i]);
}

/* The order in which CPUs are listed, or leaves added, changes numbers but not neighbours. */
static void order_does_not_matter(void **state)
{
    static struct topology straight;

    for (unsigned k = 0; k < ARRAY_SIZE(machines); k++) {
        const struct machine *m = &machines[k];
        struct topology_cpuid c = absorb(m->rows, m->nr_rows), back = {0};
        u32 ids[CPUSET_MAX];
        unsigned n = m->nr_cpus;

        check_machine(m);
        straight = t;
        for (unsigned i = m->nr_rows; i-- > 0;)
            topology_cpuid_add(&back, m->rows[i].leaf, m->rows[i].subleaf, &m->rows[i].r);
        assert_memory_equal(&c, &back, sizeof(c));
        for (unsigned i = 0; i < n; i++)
            ids[i] = m->apic_ids ? m->apic_ids[n - 1 - i] : n - 1 - i;
        build(&back, ids, n, NULL, 0);
        for (unsigned i = 0; i < n * n; i++)
            assert_int_equal(topology_distance(&t, i / n, i % n),
                             topology_distance(&straight, n - 1 - i / n, n - 1 - i % n));
    }
}

static void distances(void **state)
{
    struct topology_cpuid c = absorb(ROWS(amd_two_ccx));

    build(&c, in_order(), 32, NULL, 0);
    assert_int_equal(topology_distance(&t, 3, 3), DIST_SELF);
    assert_int_equal(topology_distance(&t, 2, 3), DIST_CORE);
    assert_int_equal(topology_distance(&t, 0, 7), DIST_CACHE);
    assert_int_equal(topology_distance(&t, 7, 8), DIST_NODE);
    assert_int_equal(topology_distance(&t, 15, 16), DIST_FAR);
}

/* ---- APIC ids ---- */

static void odd_numbers_of_cpus(void **state)
{
    struct topology_cpuid c = absorb(ROWS(intel_16_cores));
    static const u32 twice[] = {7, 7, 6};

    build(&c, NULL, 0, NULL, 0);
    assert_int_equal(t.nr_cpus, 0);
    build(&c, in_order(), 2 * CPUSET_MAX, NULL, 0);
    assert_int_equal(t.nr_cpus, CPUSET_MAX);
    assert_int_equal(t.cpu[63].core, 31);
    build(&c, twice, 3, NULL, 0); /* one id for two CPUs */
    assert_int_equal(t.cpu[1].core, 0);
    assert_int_equal(t.cpu[1].thread, 1);
    assert_int_equal(t.cpu[2].thread, 2);
}

/* A kernel that was told nothing: every CPU is a machine of its own, but in the end one. */
static void nothing_known(void **state)
{
    struct topology_cpuid c = {0};

    build(&c, in_order(), 3, NULL, 0);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(t.cpu[i].core, i);
        assert_int_equal(t.cpu[i].package, i);
        assert_int_equal(t.cpu[i].node, i);
    }
}

static void ids_may_be_large(void **state)
{
    struct topology_cpuid c = absorb(ROWS(intel_8_cores));
    static const u32 ids[] = {0xFFFFFFFE, 0xFFFFFFFF, 0x7FFFFFFE, 0x80000000};

    build(&c, ids, 4, NULL, 0);
    assert_int_equal(topology_distance(&t, 0, 1), DIST_CORE);
    assert_int_equal(topology_distance(&t, 0, 2), DIST_FAR);
    assert_int_equal(t.cpu[3].package, 2);
}

/* ---- contradictions ---- */

static void add(struct topology_cpuid *c, u32 leaf, u32 sub, u32 a, u32 b, u32 cx, u32 d)
{
    struct cpuid_regs r = {a, b, cx, d};

    topology_cpuid_add(c, leaf, sub, &r);
}

static void caches_stay_between_core_and_package(void **state)
{
    struct topology_cpuid c = absorb(ROWS(intel_8_cores));

    add(&c, 4, 3, 0xFFFFC163, 0, 0, 0); /* 4096 CPUs */
    build(&c, in_order(), 32, NULL, 0);
    assert_int_equal(t.cpu[15].cache, 0);
    assert_int_equal(t.cpu[16].cache, 1);
    add(&c, 4, 3, 0x1c000163, 0, 0, 0); /* one */
    build(&c, in_order(), 32, NULL, 0);
    assert_int_equal(t.cpu[1].cache, 0);
    assert_int_equal(t.cpu[2].cache, 1);
    add(&c, 4, 3, 0x1c014163, 0, 0, 0); /* six: room for eight */
    build(&c, in_order(), 32, NULL, 0);
    assert_int_equal(t.cpu[7].cache, 0);
    assert_int_equal(t.cpu[8].cache, 1);
}

static void only_data_caches_count(void **state)
{
    struct topology_cpuid c = absorb(ROWS(intel_8_cores));

    add(&c, 4, 3, 0x1c07c162, 0, 0, 0); /* an L3 for code: the L2 is the last */
    build(&c, in_order(), 16, NULL, 0);
    assert_int_equal(t.cpu[2].cache, 1);
    add(&c, 4, 4, 0x1c00c143, 0, 0, 0); /* a second L2, of four CPUs */
    add(&c, 4, 5, 0x1c004143, 0, 0, 0); /* a third, of two */
    add(&c, 4, 6, 0x1c03c121, 0, 0, 0); /* an L1 that all share */
    build(&c, in_order(), 16, NULL, 0);
    assert_int_equal(t.cpu[3].cache, 0);
    assert_int_equal(t.cpu[4].cache, 1);
    add(&c, 4, 0, 0, 0, 0, 0); /* an empty list: nothing is known */
    build(&c, in_order(), 16, NULL, 0);
    assert_int_equal(t.cpu[15].cache, 0);
}

static void leaves_above_the_maximum_are_not_believed(void **state)
{
    struct topology_cpuid c = absorb(ROWS(qemu_dies));

    add(&c, 0x1f, 2, 4, 16, 0x502, 0);
    build(&c, in_order(), 16, NULL, 0);
    assert_int_equal(t.cpu[15].package, 0);
    add(&c, 0, 0, 0x1e, INTEL); /* 0xB knows half of it */
    build(&c, in_order(), 16, NULL, 0);
    assert_int_equal(t.cpu[7].package, 0);
    assert_int_equal(t.cpu[8].package, 1);
    add(&c, 0, 0, 0xa, INTEL); /* leaves 1 and 4 know of one die only */
    build(&c, in_order(), 8, NULL, 0);
    assert_int_equal(t.cpu[1].core, 0);
    assert_int_equal(t.cpu[4].package, 1);
    add(&c, 0, 0, 3, INTEL); /* leaf 1 alone */
    build(&c, in_order(), 8, NULL, 0);
    assert_int_equal(t.cpu[3].core, 0);
    c = absorb(ROWS(amd_two_ccx));
    add(&c, 0, 0, 3, AMD); /* what leaf 4 says goes for AMD too, but not yet */
    add(&c, 4, 0, 0x00000163, 0, 0, 0);
    add(&c, 0x80000000, 0, 0x80000008, AMD);
    build(&c, in_order(), 16, NULL, 0);
    assert_int_equal(t.cpu[15].cache, 0);
    add(&c, 0, 0, 4, AMD);
    build(&c, in_order(), 16, NULL, 0);
    assert_int_equal(t.cpu[15].cache, 15);
}

static void extended_leaves_above_the_maximum_neither(void **state)
{
    struct topology_cpuid c = absorb(ROWS(epyc_7451));

    add(&c, 0x80000000, 0, 0x8000001c, AMD);
    build(&c, in_order(), 64, NULL, 0);
    assert_int_equal(t.cpu[1].core, 1);
    assert_int_equal(t.cpu[63].cache, 0);
    add(&c, 0x80000000, 0, 0x8000001d, AMD);
    build(&c, in_order(), 64, NULL, 0);
    assert_int_equal(t.cpu[1].core, 1);
    assert_int_equal(t.cpu[63].cache, 7);
    add(&c, 0x80000000, 0, 0xbfebfbff, 0, 0, 0); /* no extended leaves at all */
    build(&c, in_order(), 64, NULL, 0);
    assert_int_equal(t.cpu[63].package, 0); /* leaf 1 says 48 */
    assert_int_equal(t.cpu[63].core, 63);
    assert_int_equal(t.cpu[63].cache, 0);
}

static void incomplete_levels_are_not_believed(void **state)
{
    struct topology_cpuid c = absorb(ROWS(intel_8_cores));

    add(&c, 0xb, 1, 0, 0, 1, 0); /* threads only: leaves 1 and 4 say the same as before */
    build(&c, in_order(), 32, NULL, 0);
    assert_int_equal(t.cpu[1].core, 0);
    assert_int_equal(t.cpu[15].package, 0);
    assert_int_equal(t.cpu[16].package, 1);
    add(&c, 0xb, 1, 6, 0, 0x201, 0); /* a level of no CPUs */
    build(&c, in_order(), 32, NULL, 0);
    assert_int_equal(t.cpu[16].package, 1);
    add(&c, 0xb, 1, 6, 1, 0x201, 0);
    add(&c, 0xb, 0, 1, 2, 0x200, 0); /* cores first */
    build(&c, in_order(), 32, NULL, 0);
    assert_int_equal(t.cpu[16].package, 1);
    add(&c, 0xb, 0, 9, 2, 0x100, 0); /* a core larger than its package */
    build(&c, in_order(), 32, NULL, 0);
    assert_int_equal(t.cpu[31].core, 0);
    assert_int_equal(t.cpu[31].thread, 31);
    /* 0x1F is asked first, yet 0xB answers when that is empty. */
    c = absorb(ROWS(qemu_dies));
    add(&c, 0x1f, 0, 0, 0, 0, 0);
    build(&c, in_order(), 16, NULL, 0);
    assert_int_equal(t.cpu[7].package, 0);
    assert_int_equal(t.cpu[8].package, 1);
}

static void leaf_1_counts_with_htt_only(void **state)
{
    struct topology_cpuid c = {0};

    add(&c, 0, 0, 3, INTEL);
    add(&c, 1, 0, 0, 0x00040000, 0, HTT);
    build(&c, in_order(), 4, NULL, 0);
    assert_int_equal(t.cpu[3].core, 0);
    add(&c, 1, 0, 0, 0x00040000, 0, 0);
    build(&c, in_order(), 4, NULL, 0);
    assert_int_equal(t.cpu[3].package, 3);
    /* AMD without a count of cores: cores all the same. Hygon is AMD here. */
    add(&c, 0, 0, 1, HYGON);
    add(&c, 1, 0, 0, 0x00040000, 0, HTT);
    build(&c, in_order(), 4, NULL, 0);
    assert_int_equal(t.cpu[3].core, 3);
    assert_int_equal(t.cpu[3].package, 0);
    add(&c, 0x80000000, 0, 0x80000008, 0, 0, 0);
    add(&c, 0x80000008, 0, 0, 0, 0x4003, 0); /* ids have room for sixteen */
    build(&c, in_order(), 17, NULL, 0);
    assert_int_equal(t.cpu[15].package, 0);
    assert_int_equal(t.cpu[16].package, 1);
    add(&c, 0x80000000, 0, 0x80000007, 0, 0, 0);
    build(&c, in_order(), 17, NULL, 0);
    assert_int_equal(t.cpu[4].package, 1);
}

/* Others may use AMD's leaf numbers for something else, and AMD tells when it does not. */
static void topoext_vouches_for_amds_leaves(void **state)
{
    struct topology_cpuid c = absorb(ROWS(amd_two_ccx));

    add(&c, 0, 0, 0xa, AMD);
    build(&c, in_order(), 16, NULL, 0);
    assert_int_equal(t.cpu[1].core, 0);
    assert_int_equal(t.cpu[15].cache, 1);
    add(&c, 0x80000001, 0, 0, 0, 0, 0);
    build(&c, in_order(), 16, NULL, 0);
    assert_int_equal(t.cpu[1].core, 1);
    assert_int_equal(t.cpu[15].cache, 0);
    c = absorb(ROWS(amd_two_ccx));
    add(&c, 0, 0, 0x10, INTEL);
    build(&c, in_order(), 16, NULL, 0);
    assert_int_equal(t.cpu[15].cache, 0);
}

static void other_leaves_are_ignored(void **state)
{
    static const u32 used[] = {0,          1,          4,          0xb,        0x1f,
                               0x80000000, 0x80000001, 0x80000008, 0x8000001d, 0x8000001e};
    struct topology_cpuid c = {0}, zero = {0};

    for (u32 leaf = 0; leaf < 0x40; leaf++) {
        for (u32 base = 0; base < 2; base++) {
            bool is_used = false;

            for (unsigned i = 0; i < ARRAY_SIZE(used); i++)
                is_used |= used[i] == (base << 31 | leaf);
            if (!is_used)
                add(&c, base << 31 | leaf, 0, ~0U, ~0U, ~0U, ~0U);
        }
    }
    for (unsigned i = 0; i < ARRAY_SIZE(used); i++)
        add(&c, used[i], TOPOLOGY_SUBLEAVES, ~0U, ~0U, ~0U, ~0U);
    add(&c, 4, ~0U, ~0U, ~0U, ~0U, ~0U);
    assert_memory_equal(&c, &zero, sizeof(c));
}

/* ---- nodes ---- */

/* As SRAT of the QEMU machine of two sockets has it. */
static void srat_gives_nodes(void **state)
{
    struct topology_cpuid c = absorb(ROWS(qemu_6_cores));
    struct topology_srat srat[12];

    for (unsigned i = 0; i < 12; i++)
        srat[i] = (struct topology_srat){qemu_6_cores_ids[i], i < 6 ? ~0U : 0};
    build(&c, qemu_6_cores_ids, 12, srat, 12);
    for (unsigned i = 0; i < 12; i++)
        assert_int_equal(t.cpu[i].node, i / 6);
    for (unsigned i = 0; i < 12; i++)
        srat[i].proximity = 7; /* memory is interleaved: one node */
    build(&c, qemu_6_cores_ids, 12, srat, 12);
    assert_int_equal(t.cpu[11].node, 0);
    assert_int_equal(t.cpu[11].package, 1);
    assert_int_equal(t.cpu[11].cache, 1);
}

static void srat_divides_caches(void **state)
{
    struct topology_cpuid c = absorb(ROWS(intel_8_cores));
    struct topology_srat srat[16];

    for (unsigned i = 0; i < 16; i++)
        srat[i] = (struct topology_srat){i, i / 4 % 2};
    build(&c, in_order(), 16, srat, 16);
    for (unsigned i = 0; i < 16; i++) {
        assert_int_equal(t.cpu[i].node, i / 4 % 2);
        assert_int_equal(t.cpu[i].cache, i / 4 % 2);
        assert_int_equal(t.cpu[i].core, i / 2);
        assert_int_equal(t.cpu[i].package, 0);
    }
}

static void srat_never_divides_a_core(void **state)
{
    struct topology_cpuid c = absorb(ROWS(intel_8_cores));
    static const struct topology_srat srat[] = {{0, 1}, {1, 2}, {2, 2}, {3, 1}, {3, 9}, {5, 1}};

    build(&c, in_order(), 16, srat, ARRAY_SIZE(srat));
    for (unsigned i = 0; i < 16; i++)
        assert_int_equal(t.cpu[i].core, i / 2);
    assert_int_equal(t.cpu[1].node, 0); /* CPU 0 decides */
    assert_int_equal(t.cpu[3].node, 1); /* CPU 2 */
    assert_int_equal(t.cpu[4].node, 0); /* CPU 5, the only one with an entry */
    assert_int_equal(t.cpu[6].node, 0); /* none in the core: CPU 0 of the cache */
}

static void nodes_of_cpus_without_entry(void **state)
{
    struct topology_cpuid c = absorb(ROWS(amd_two_ccx));
    static const struct topology_srat srat[] = {{1, 5}, {1, 6}, {12, 6}, {40, 7}};
    static const u8 want[] = {0, 1, 2, 2, 3, 3};

    build(&c, in_order(), 48, srat, ARRAY_SIZE(srat));
    for (unsigned i = 0; i < 48; i++)
        assert_int_equal(t.cpu[i].node, want[i / 8]);
    /* The same without the second cache's entry: the package's first decides. */
    build(&c, in_order(), 48, srat, 2);
    assert_int_equal(t.cpu[15].node, 0);
    assert_int_equal(t.cpu[16].node, 1);
    assert_int_equal(t.cpu[32].node, 2);
}

/* ---- the check ---- */

static void check_finds_broken_invariants(void **state)
{
    struct topology_cpuid c = absorb(ROWS(amd_two_ccx));
    static struct topology good;

    build(&c, in_order(), 32, NULL, 0);
    good = t;
    t.nr_cpus = CPUSET_MAX + 1;
    assert_int_equal(topology_check(&t), 1);
    t = good;
    t.cpu[0].core = 1;
    assert_int_equal(topology_check(&t), 2);
    t = good;
    t.cpu[31].node = 5;
    assert_int_equal(topology_check(&t), 2);
    t = good;
    t.cpu[1].cache = 1;
    assert_int_equal(topology_check(&t), 3);
    t = good;
    t.cpu[7].package = 1;
    assert_int_equal(topology_check(&t), 3);
    t = good;
    t.cpu[7].node = 1;
    assert_int_equal(topology_check(&t), 3);
    t = good;
    t.cpu[31].thread = 0;
    assert_int_equal(topology_check(&t), 4);
    t = good;
    assert_int_equal(topology_check(&t), 0);
}

/* Half of the words have few bits, so that counts and ids are often plausible. */
static u32 random_word(void)
{
    u32 word = (u32)random64();

    return (u32)random64() % 2 ? word : word & (u32)random64() & (u32)random64() & 0x1C00C3FF;
}

static void any_input_has_a_place(void **state)
{
    static const u32 leaves[] = {0,          1,          4,          0xb,        0x1f,
                                 0x80000000, 0x80000001, 0x80000008, 0x8000001d, 0x8000001e};

    for (unsigned round = 0; round < 3000; round++) {
        struct topology_cpuid c = {0};
        struct topology_srat srat[80];
        u32 ids[70];

        for (unsigned i = 0; i < 40; i++)
            add(&c, leaves[(u32)random64() % ARRAY_SIZE(leaves)], (u32)random64() % 4,
                random_word(), random_word(), random_word(), random_word());
        c.max_leaf = (u32)random64() % 2 ? 0x1f : c.max_leaf;
        c.max_ext_leaf = (u32)random64() % 2 ? 0x8000001e : c.max_ext_leaf;
        c.amd = (u32)random64() % 2;
        for (unsigned i = 0; i < ARRAY_SIZE(ids); i++)
            ids[i] = round % 2 ? random_word() : (u32)random64() % 128;
        for (unsigned i = 0; i < ARRAY_SIZE(srat); i++)
            srat[i] = (struct topology_srat){ids[(u32)random64() % ARRAY_SIZE(ids)],
                                             (u32)random64() % 4};
        build(&c, ids, (u32)random64() % (ARRAY_SIZE(ids) + 1), srat,
              (u32)random64() % (ARRAY_SIZE(srat) + 1));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(places_known_machines),
        cmocka_unit_test(order_does_not_matter),
        cmocka_unit_test(distances),
        cmocka_unit_test(odd_numbers_of_cpus),
        cmocka_unit_test(nothing_known),
        cmocka_unit_test(ids_may_be_large),
        cmocka_unit_test(caches_stay_between_core_and_package),
        cmocka_unit_test(only_data_caches_count),
        cmocka_unit_test(leaves_above_the_maximum_are_not_believed),
        cmocka_unit_test(incomplete_levels_are_not_believed),
        cmocka_unit_test(leaf_1_counts_with_htt_only),
        cmocka_unit_test(extended_leaves_above_the_maximum_neither),
        cmocka_unit_test(topoext_vouches_for_amds_leaves),
        cmocka_unit_test(other_leaves_are_ignored),
        cmocka_unit_test(srat_gives_nodes),
        cmocka_unit_test(srat_divides_caches),
        cmocka_unit_test(srat_never_divides_a_core),
        cmocka_unit_test(nodes_of_cpus_without_entry),
        cmocka_unit_test(check_finds_broken_invariants),
        cmocka_unit_test(any_input_has_a_place),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
