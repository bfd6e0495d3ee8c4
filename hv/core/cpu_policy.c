#include "core/cpu_policy.h"

#include <xen/arch-x86/cpufeatureset.h>

#define MSR_PLATFORM_INFO     0xceU
#define MSR_ARCH_CAPABILITIES 0x10aU

#define XEN_RANGE   0x40000000U
#define OTHER_RANGE 0x40000100U
#define EXT_RANGE   0x80000000U

/* Where runs of leaves lie in cpu_policy.leaf[]; a run is of leaves, or subleaves of one. */
static const struct run {
    u32 leaf, subleaf; /* the first; XEN_CPUID_NO_SUBLEAF: a run of leaves without */
    u8 at, count;
} runs[] = {
    {0, XEN_CPUID_NO_SUBLEAF, 0, 4},           {4, 0, 4, 6},
    {5, XEN_CPUID_NO_SUBLEAF, 10, 2},          {7, 0, 12, 3},
    {8, XEN_CPUID_NO_SUBLEAF, 15, 3},          {0xb, 0, 18, 2},
    {0xc, XEN_CPUID_NO_SUBLEAF, 20, 1},        {0xd, 0, 21, 63},
    {EXT_RANGE, XEN_CPUID_NO_SUBLEAF, 84, 34},
};
_Static_assert(84 + 34 == CPU_POLICY_LEAVES, "the runs fill the array");
_Static_assert(CPU_POLICY_MAX_EXT - EXT_RANGE == 33, "extended leaves");

/* Places that others of this file want by name. */
#define AT_1   1
#define AT_4   4
#define AT_7   12
#define AT_B   18
#define AT_D   21
#define AT_EXT 84

static const struct run *find_run(u32 leaf)
{
    for (u32 i = 0; i < ARRAY_SIZE(runs); i++) {
        u32 n = runs[i].subleaf == XEN_CPUID_NO_SUBLEAF ? runs[i].count : 1;

        if (leaf >= runs[i].leaf && leaf - runs[i].leaf < n)
            return &runs[i];
    }
    return NULL;
}

struct cpuid_regs *cpu_policy_place(struct cpu_policy *p, u32 leaf, u32 subleaf)
{
    const struct run *run = find_run(leaf);

    if (!run)
        return NULL;
    if (run->subleaf == XEN_CPUID_NO_SUBLEAF)
        return &p->leaf[run->at + (leaf - run->leaf)];
    return subleaf < run->count ? &p->leaf[run->at + subleaf] : NULL;
}

const struct cpuid_regs *cpu_policy_leaf(const struct cpu_policy *p, u32 leaf, u32 subleaf)
{
    return cpu_policy_place((struct cpu_policy *)p, leaf, subleaf);
}

void cpu_policy_name(u32 n, u32 *leaf, u32 *subleaf)
{
    const struct run *run = runs;

    while (n - run->at >= run->count)
        run++;
    *leaf = run->leaf;
    *subleaf = run->subleaf;
    if (run->subleaf == XEN_CPUID_NO_SUBLEAF)
        *leaf += n - run->at;
    else
        *subleaf = n - run->at;
}

/* ---- the list ------------------------------------------------------------------------------ */

int cpu_policy_write(struct cpu_policy *p, const xen_cpuid_leaf_t *l)
{
    const struct run *run = find_run(l->leaf);
    bool has_subleaves = run && run->subleaf != XEN_CPUID_NO_SUBLEAF;
    struct cpuid_regs *r;

    if (has_subleaves == (l->subleaf == XEN_CPUID_NO_SUBLEAF))
        return -XEN_ERANGE;
    if (l->leaf == XEN_RANGE || l->leaf == OTHER_RANGE) {
        *(l->leaf == XEN_RANGE ? &p->xen_limit : &p->other_limit) = (u8)l->a;
        return 0;
    }
    r = cpu_policy_place(p, l->leaf, l->subleaf);
    if (!r)
        return -XEN_ERANGE;
    *r = (struct cpuid_regs){.eax = l->a, .ebx = l->b, .ecx = l->c, .edx = l->d};
    return 0;
}

int cpu_policy_write_msr(struct cpu_policy *p, const xen_msr_entry_t *m)
{
    if (m->flags)
        return -XEN_EINVAL;
    switch (m->idx) {
    case MSR_PLATFORM_INFO:
        p->platform_info = m->val;
        return 0;
    case MSR_ARCH_CAPABILITIES:
        p->arch_caps = m->val;
        return 0;
    default:
        return -XEN_ERANGE;
    }
}

/* A cache is there when all before it are: the first of type 0 ends the list, and is part of it. */
static bool caches_before(const struct cpu_policy *p, u32 subleaf)
{
    for (u32 i = 0; i < subleaf; i++)
        if (!(p->leaf[AT_4 + i].eax & 0x1f))
            return false;
    return true;
}

static bool is_there(const struct cpu_policy *p, u32 leaf, u32 subleaf)
{
    const struct cpuid_regs *d0 = &p->leaf[AT_D];
    u64 xstates = d0->eax | (u64)d0->edx << 32;

    if (leaf >= EXT_RANGE)
        return leaf <= MAX(p->leaf[AT_EXT].eax, EXT_RANGE);
    if (leaf > p->leaf[0].eax)
        return false;
    switch (leaf) {
    case 4:
        return caches_before(p, subleaf);
    case 7:
        return subleaf <= p->leaf[AT_7].eax;
    case 0xb:
        return !subleaf || p->leaf[AT_B].ecx & 0xff00;
    case 0xd:
        return subleaf < 2 || xstates >> subleaf; /* up to the last one, without gaps */
    default:
        return true;
    }
}

bool cpu_policy_next_leaf(const struct cpu_policy *p, u32 *at, xen_cpuid_leaf_t *l)
{
    /* The hypervisor's two come between the basic and the extended leaves. */
    for (; *at < CPU_POLICY_LEAVES + 2; ++*at) {
        u32 n = *at < AT_EXT ? *at : *at - 2, leaf, subleaf;

        if (*at == AT_EXT || *at == AT_EXT + 1) {
            bool own = *at == AT_EXT;

            *l = (xen_cpuid_leaf_t){.leaf = own ? XEN_RANGE : OTHER_RANGE,
                                    .subleaf = XEN_CPUID_NO_SUBLEAF,
                                    .a = own ? p->xen_limit : p->other_limit};
            ++*at;
            return true;
        }
        cpu_policy_name(n, &leaf, &subleaf);
        if (!is_there(p, leaf, subleaf))
            continue;
        *l = (xen_cpuid_leaf_t){leaf,           subleaf,        p->leaf[n].eax,
                                p->leaf[n].ebx, p->leaf[n].ecx, p->leaf[n].edx};
        ++*at;
        return true;
    }
    return false;
}

void cpu_policy_msr(const struct cpu_policy *p, u32 n, xen_msr_entry_t *m)
{
    *m = (xen_msr_entry_t){.idx = n ? MSR_ARCH_CAPABILITIES : MSR_PLATFORM_INFO,
                           .val = n ? p->arch_caps : p->platform_info};
}

/* ---- features ------------------------------------------------------------------------------ */

#define EXT_PLACE(leaf) (AT_EXT + ((leaf)-EXT_RANGE))

/* Which register a feature word lies in; the last two but one are MSR 0x10A's halves. */
static const struct {
    u8 place, reg;
} words[CPUID_NR_WORDS] = {
    {AT_1, 3},
    {AT_1, 2},
    {EXT_PLACE(0x80000001), 3},
    {EXT_PLACE(0x80000001), 2},
    {AT_D + 1, 0},
    {AT_7, 1},
    {AT_7, 2},
    {EXT_PLACE(0x80000007), 3},
    {EXT_PLACE(0x80000008), 1},
    {AT_7, 3},
    {AT_7 + 1, 0},
    {EXT_PLACE(0x80000021), 0},
    {AT_7 + 1, 1},
    {AT_7 + 2, 3},
    {AT_7 + 1, 2},
    {AT_7 + 1, 3},
    {0, 0},
    {0, 0},
    {EXT_PLACE(0x80000021), 2},
};
#define WORD_ARCH_CAPS_LOW  16
#define WORD_ARCH_CAPS_HIGH 17

static u32 *reg_of(struct cpuid_regs *r, unsigned reg)
{
    u32 *const all[] = {&r->eax, &r->ebx, &r->ecx, &r->edx};

    return all[reg];
}

u32 cpu_policy_features(const struct cpu_policy *p, u32 word)
{
    if (word >= CPUID_NR_WORDS)
        return 0;
    if (word == WORD_ARCH_CAPS_LOW)
        return (u32)p->arch_caps;
    if (word == WORD_ARCH_CAPS_HIGH)
        return p->arch_caps >> 32;
    return *reg_of((struct cpuid_regs *)&p->leaf[words[word].place], words[word].reg);
}

void cpu_policy_keep_known(struct cpu_policy *p)
{
    static const u16 known[] = {
#define XEN_CPUFEATURE(name, value) value,
#include <xen/arch-x86/cpufeatureset.h>
    };
    u32 mask[CPUID_NR_WORDS] = {0};

    for (u32 i = 0; i < ARRAY_SIZE(known); i++)
        mask[known[i] / 32] |= 1U << (known[i] & 31);
    for (u32 w = 0; w < CPUID_NR_WORDS; w++)
        if (w != WORD_ARCH_CAPS_LOW && w != WORD_ARCH_CAPS_HIGH)
            *reg_of(&p->leaf[words[w].place], words[w].reg) &= mask[w];
    p->arch_caps &= mask[WORD_ARCH_CAPS_LOW] | (u64)mask[WORD_ARCH_CAPS_HIGH] << 32;
}

void cpu_policy_tell_lfence(struct cpu_policy *p)
{
    u32 *max = &p->leaf[AT_EXT].eax;

    *max = MAX(*max, 0x80000021U);
    p->leaf[EXT_PLACE(0x80000021)].eax |= 1U << (XEN_X86_FEATURE_LFENCE_DISPATCH & 31);
}

static bool has(const struct cpu_policy *p, u32 feature)
{
    return cpu_policy_features(p, feature / 32) >> (feature & 31) & 1;
}

u64 cpu_policy_xcr0(const struct cpu_policy *p, u64 limit)
{
    u64 xcr0 = 3; /* x87, SSE */

    if (!has(p, XEN_X86_FEATURE_XSAVE))
        return 0;
    xcr0 |= has(p, XEN_X86_FEATURE_AVX) ? 4 : 0;
    xcr0 |= has(p, XEN_X86_FEATURE_AVX) && has(p, XEN_X86_FEATURE_AVX512F) ? 0xe0 : 0;
    return cpuid_policy_xcr0(xcr0 & limit);
}

/* ---- policies for domains ------------------------------------------------------------------ */

int cpu_policy_check(const struct cpu_policy *max, const struct cpu_policy *p,
                     struct cpu_policy_error *e)
{
    const struct cpuid_regs *ext = &p->leaf[AT_EXT];

    *e = (struct cpu_policy_error){~0U, ~0U, ~0U};
    if (p->leaf[0].eax > max->leaf[0].eax)
        e->leaf = 0;
    else if (p->leaf[0].eax >= 7 && p->leaf[AT_7].eax > max->leaf[AT_7].eax)
        e->leaf = 7, e->subleaf = 0;
    else if (ext->eax > max->leaf[AT_EXT].eax)
        e->leaf = EXT_RANGE;
    else if (p->platform_info & ~max->platform_info)
        e->msr = MSR_PLATFORM_INFO;
    else if (p->arch_caps & ~max->arch_caps)
        e->msr = MSR_ARCH_CAPABILITIES;
    else
        return 0;
    return -XEN_EINVAL;
}

/* What leaf 0xD says follows from the features, and sizes from the machine. */
static void limit_xstate(struct cpu_policy *p, const struct cpu_policy *max)
{
    u64 host = max->leaf[AT_D].eax | (u64)max->leaf[AT_D].edx << 32;
    u64 xcr0 = cpu_policy_xcr0(p, host);

    p->leaf[AT_D] = (struct cpuid_regs){.eax = (u32)xcr0, .edx = xcr0 >> 32};
    p->leaf[AT_D + 1] = (struct cpuid_regs){.eax = xcr0 ? p->leaf[AT_D + 1].eax : 0};
    for (u32 i = 2; i < 63; i++) {
        const struct cpuid_regs *m = &max->leaf[AT_D + i];
        u32 end = m->ebx + m->eax;

        if (!(xcr0 >> i & 1)) {
            p->leaf[AT_D + i] = (struct cpuid_regs){0};
            continue;
        }
        p->leaf[AT_D + i] = *m;
        p->leaf[AT_D].ecx = MAX(p->leaf[AT_D].ecx, end);
    }
    if (xcr0)
        p->leaf[AT_D].ecx = MAX(p->leaf[AT_D].ecx, 576U);
}

void cpu_policy_limit(struct cpu_policy *p, const struct cpu_policy *max)
{
    for (u32 w = 0; w < CPUID_NR_WORDS; w++)
        if (w != WORD_ARCH_CAPS_LOW && w != WORD_ARCH_CAPS_HIGH)
            *reg_of(&p->leaf[words[w].place], words[w].reg) &= cpu_policy_features(max, w);
    p->arch_caps &= max->arch_caps;
    limit_xstate(p, max);
}
