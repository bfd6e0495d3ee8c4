/*
 * The input: the number of CPUs, the number of SRAT entries (a byte each), an APIC id of 4 bytes
 * for each CPU, 6 bytes for each entry (APIC id, node), and what is left as CPUID rows of 12:
 * which leaf, which subleaf, EAX, and the low halves of EBX and ECX, 3 bytes each.
 */
#include "core/cpuid_policy.h"
#include "core/topology.h"
#include "fuzz/fuzz.h"

#define MAX_CPUS 80 /* more than there is room for */

struct input {
    const u8 *data;
    size_t left;
};

/* The next bytes as a number; zero where the input has ended. */
static u32 take(struct input *in, unsigned size)
{
    u32 value = 0;

    size = MIN(size, in->left);
    memcpy(&value, in->data, size);
    in->data += size;
    in->left -= size;
    return value;
}

static void take_row(struct input *in, struct topology_cpuid *c)
{
    static const u32 leaves[] = {0,          1,          4,          0xb,        0x1f,
                                 0x80000000, 0x80000001, 0x80000008, 0x8000001d, 0x8000001e};
    u32 leaf = leaves[take(in, 1) % ARRAY_SIZE(leaves)], subleaf = take(in, 1);
    struct cpuid_regs r;

    r.eax = take(in, 4);
    r.ebx = take(in, 3);
    r.ecx = take(in, 3);
    r.edx = r.ecx; /* HTT is all that is looked at */
    if (leaf == 0 && r.ebx & 1)
        r.ebx = 0x68747541; /* AMD */
    if (leaf == 1 && r.ebx & 1)
        r.edx = 1U << 28;
    topology_cpuid_add(c, leaf, subleaf, &r);
}

static bool is_between(u32 x, u32 a, u32 b)
{
    return x >= MIN(a, b) && x <= MAX(a, b);
}

/* Cores and packages are ranges of APIC ids, caches too but for the borders of nodes. */
static void check_ranges(const struct topology *t, const u32 *ids, unsigned a, unsigned b)
{
    const struct cpu_place *x = &t->cpu[a], *y = &t->cpu[b];

    FUZZ_CHECK(ids[a] != ids[b] || x->core == y->core);
    for (unsigned i = 0; i < t->nr_cpus; i++) {
        const struct cpu_place *z = &t->cpu[i];

        if (!is_between(ids[i], ids[a], ids[b]))
            continue;
        FUZZ_CHECK(x->core != y->core || z->core == x->core);
        FUZZ_CHECK(x->package != y->package || z->package == x->package);
        FUZZ_CHECK(x->cache != y->cache || z->cache == x->cache || z->node != x->node);
    }
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
    static struct topology t, again;
    struct input in = {data, size};
    struct topology_cpuid c = {0};
    unsigned n = take(&in, 1) % (MAX_CPUS + 1), nr_srat = take(&in, 1);
    /* Of the exact size, so that one read too many is found. */
    u32 *ids = malloc(n * sizeof(*ids));
    struct topology_srat *srat = malloc(nr_srat * sizeof(*srat));

    for (unsigned i = 0; i < n; i++)
        ids[i] = take(&in, 4);
    for (unsigned i = 0; i < nr_srat; i++) {
        srat[i].apic_id = take(&in, 4);
        srat[i].proximity = take(&in, 2);
    }
    while (in.left)
        take_row(&in, &c);
    memset(&t, 0xAA, sizeof(t));
    memset(&again, 0x55, sizeof(again));
    topology_build(&t, &c, ids, n, srat, nr_srat);
    topology_build(&again, &c, ids, n, srat, nr_srat);
    FUZZ_CHECK(memcmp(&t, &again, sizeof(t)) == 0);
    FUZZ_CHECK(t.nr_cpus == MIN(n, (unsigned)CPUSET_MAX));
    FUZZ_CHECK(topology_check(&t) == 0);
    for (unsigned i = 0; i < t.nr_cpus; i++)
        check_ranges(&t, ids, i, (i + 1) % t.nr_cpus);
    free(ids);
    free(srat);
    return 0;
}
