/*
 * Machine checks. Domain 0's kernel asks which CPUs there are, to name the one an error came
 * from, and then waits for VIRQ_MCA. The hypervisor keeps no telemetry (an uncorrected error
 * ends it, a corrected one is ignored): there is never anything to fetch.
 */
#include "base/string.h"
#include "guest/access.h"
#include "hcall/hcall.h"
#include "x86/cpu.h"
#include "x86/percpu.h"
#include "x86/smp.h"
#include <xen/arch-x86/xen-mca.h>

#define MSR_MCG_CAP 0x179

/* How an APIC id divides into package, core and thread. */
struct apic_layout {
    u32 thread_bits, package_shift;
};

static struct apic_layout apic_layout(void)
{
    struct apic_layout l = {0, 0};
    u32 a, b, c, d;

    cpuid_count(0, 0, &a, &b, &c, &d);
    if (a >= 0xb) {
        cpuid_count(0xb, 0, &a, &b, &c, &d);
        l.thread_bits = a & 0x1f;
        if (b) { /* else the leaf is empty */
            cpuid_count(0xb, 1, &a, &b, &c, &d);
            l.package_shift = a & 0x1f;
            return l;
        }
    }
    cpuid_count(1, 0, &a, &b, &c, &d);
    if (d & BIT(28)) /* more than one logical CPU in a package: the next power of two */
        while ((1U << l.package_shift) < (b >> 16 & 0xff))
            l.package_shift++;
    return l;
}

static void model(struct mcinfo_logical_cpu *info)
{
    u32 a, b, c, d;

    cpuid_count(0, 0, &a, &b, &c, &d);
    info->mc_cpuid_level = (s32)a;
    memcpy(info->mc_vendorid, (u32[]){b, d, c}, 12);
    cpuid_count(1, 0, &a, &b, &c, &d);
    info->mc_family = a >> 8 & 0xf;
    info->mc_model = a >> 4 & 0xf;
    if (info->mc_family == 6 || info->mc_family == 0xf)
        info->mc_model |= a >> 12 & 0xf0;
    if (info->mc_family == 0xf)
        info->mc_family += a >> 20 & 0xff;
    info->mc_step = a & 0xf;
    info->mc_cache_alignment = (b >> 8 & 0xff) * 8;
    info->mc_cpu_caps[MC_CAPS_STD_EDX] = d;
    info->mc_cpu_caps[MC_CAPS_STD_ECX] = c;
    cpuid_count(0x80000000, 0, &a, &b, &c, &d);
    for (u32 leaf = 0x80000002; a >= 0x80000004 && leaf <= 0x80000004; leaf++) {
        u32 r[4];

        cpuid_count(leaf, 0, &r[0], &r[1], &r[2], &r[3]);
        memcpy(info->mc_brandid + (leaf - 0x80000002) * sizeof(r), r, sizeof(r));
    }
    if (a < 0x80000001)
        return;
    cpuid_count(0x80000001, 0, &a, &b, &c, &d);
    info->mc_cpu_caps[MC_CAPS_AMD_EDX] = d;
    info->mc_cpu_caps[MC_CAPS_AMD_ECX] = c;
}

/* All CPUs are taken for one model, as everywhere; what differs is where they sit. */
static void place(struct mcinfo_logical_cpu *info, unsigned cpu, const struct apic_layout *l)
{
    u32 apic_id = smp_apic_id(cpu);

    info->mc_cpunr = cpu;
    info->mc_apicid = info->mc_clusterid = apic_id;
    info->mc_chipid = apic_id >> l->package_shift;
    info->mc_coreid = (apic_id & (BIT(l->package_shift) - 1)) >> l->thread_bits;
    info->mc_threadid = apic_id & (BIT(l->thread_bits) - 1);
}

static unsigned on_same(const struct apic_layout *l, u32 shift)
{
    unsigned n = 0;

    for (unsigned i = 0; i < nr_cpus; i++)
        n += smp_apic_id(i) >> shift == smp_apic_id(0) >> shift;
    return n;
}

static s64 phys_cpu_info(struct xen_mc_physcpuinfo *p)
{
    struct mcinfo_logical_cpu info = {0};
    struct apic_layout l = apic_layout();
    u32 n = nr_cpus;

    if (p->info.p) {
        if (!p->ncpus)
            return -XEN_EINVAL;
        n = MIN(n, p->ncpus);
        model(&info);
        info.mc_nthreads = on_same(&l, l.thread_bits);
        info.mc_ncores = info.mc_ncores_active =
            on_same(&l, l.package_shift) / info.mc_nthreads;
        info.mc_msrvalues[0].reg = MSR_MCG_CAP;
        info.mc_nmsrvals = !rdmsr_safe(MSR_MCG_CAP, &info.mc_msrvalues[0].value);
    }
    for (u32 i = 0; p->info.p && i < n; i++) {
        place(&info, i, &l);
        if (copy_array_to_guest(p->info.p, i, &info, sizeof(info)))
            return -XEN_EFAULT;
    }
    p->ncpus = n;
    return 0;
}

static s64 fetch(struct xen_mc_fetch *f)
{
    u32 which = f->flags & (XEN_MC_NONURGENT | XEN_MC_URGENT);

    if (which != XEN_MC_NONURGENT && which != XEN_MC_URGENT)
        return -XEN_EINVAL;
    if (f->flags & XEN_MC_ACK) {
        f->flags = XEN_MC_OK;
        return 0;
    }
    if (!f->data.p)
        return -XEN_EINVAL;
    f->flags = XEN_MC_NODATA;
    f->fetch_id = 0;
    return 0;
}

HYPERCALL(mca)
{
    struct xen_mc op;
    s64 rc = hcall_take_control(v, a1, &op, sizeof(op), XEN_MCA_INTERFACE_VERSION);

    if (rc)
        return rc;
    switch (op.cmd) {
    case XEN_MC_fetch:
        rc = fetch(&op.u.mc_fetch);
        break;
    case XEN_MC_physcpuinfo:
        rc = phys_cpu_info(&op.u.mc_physcpuinfo);
        break;
    default: /* notifying other domains, injecting errors */
        return -XEN_EINVAL;
    }
    return rc ? rc : copy_to_guest((void *)a1, &op, sizeof(op));
}
