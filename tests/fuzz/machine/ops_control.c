#include "fuzz/machine/ops.h"
#include "abi/serai.h"
#include <string.h>
#include <xen/domctl.h>
#include <xen/sysctl.h>

#define HERE      (~0UL)
#define ARGS(...) ((const u64[4]){__VA_ARGS__})
#define BUFFER(v) ((void *)(guest_args(v) + 1024))

/* Whom the toolstack acts on. */
static u16 take_target(const struct vcpu *v)
{
    u8 b = take();

    return b < 240 ? (u16)(1 + b % 4) : take_domid(v);
}

/* ---- one domain ---- */

static void fill_shadow(const struct vcpu *v, struct xen_domctl_shadow_op *s)
{
    static const u8 ops[] = {XEN_DOMCTL_SHADOW_OP_ENABLE_LOGDIRTY, XEN_DOMCTL_SHADOW_OP_CLEAN,
                             XEN_DOMCTL_SHADOW_OP_PEEK, XEN_DOMCTL_SHADOW_OP_OFF,
                             XEN_DOMCTL_SHADOW_OP_ENABLE};

    s->op = ops[take_below(ARRAY_SIZE(ops))];
    s->mode = take_rare(8) ? take() : 0;
    s->pages = take_rare(8) ? take_number(v) : 64;
    set_xen_guest_handle(s->dirty_bitmap, BUFFER(v));
}

static void fill_frame_info(const struct vcpu *v, struct xen_domctl_getpageframeinfo3 *f)
{
    u64 list[8];

    f->num = take_below(9);
    for (unsigned i = 0; i < 8; i++)
        list[i] = i < f->num ? take_mfn(v).n : 0;
    (void)!guest_put((u64)BUFFER(v), list, sizeof(list));
    set_xen_guest_handle(f->array, BUFFER(v));
}

static void fill_affinity(const struct vcpu *v, struct xen_domctl_vcpuaffinity *a)
{
    u64 map = take();

    a->vcpu = take_below(3);
    a->flags = take() & 7;
    (void)!guest_put((u64)BUFFER(v), &map, sizeof(map));
    set_xen_guest_handle(a->cpumap_hard.bitmap, BUFFER(v));
    set_xen_guest_handle(a->cpumap_soft.bitmap, BUFFER(v));
    a->cpumap_hard.nr_bits = a->cpumap_soft.nr_bits = take_rare(8) ? take() : 64;
}

static void fill_context(const struct vcpu *v, struct xen_domctl_vcpucontext *c)
{
    c->vcpu = take_below(3);
    set_xen_guest_handle(c->ctxt, BUFFER(v));
}

static void fill(const struct vcpu *v, struct xen_domctl *op)
{
    switch (op->cmd) {
    case XEN_DOMCTL_max_mem:
        op->u.max_mem.max_memkb = take() * 4UL;
        break;
    case XEN_DOMCTL_max_vcpus:
        op->u.max_vcpus.max = take_below(4);
        break;
    case XEN_DOMCTL_shadow_op:
        fill_shadow(v, &op->u.shadow_op);
        break;
    case XEN_DOMCTL_getpageframeinfo3:
        fill_frame_info(v, &op->u.getpageframeinfo3);
        break;
    case XEN_DOMCTL_setvcpuaffinity:
    case XEN_DOMCTL_getvcpuaffinity:
        fill_affinity(v, &op->u.vcpuaffinity);
        break;
    case XEN_DOMCTL_setvcpucontext:
    case XEN_DOMCTL_getvcpucontext:
        fill_context(v, &op->u.vcpucontext);
        break;
    case XEN_DOMCTL_hypercall_init:
        op->u.hypercall_init.gmfn = take_mfn(v).n;
        break;
    case XEN_DOMCTL_irq_permission:
        op->u.irq_permission.pirq = take_below(26);
        op->u.irq_permission.allow_access = take() & 1;
        break;
    case XEN_DOMCTL_iomem_permission:
        op->u.iomem_permission.first_mfn = 0xfed00 + take();
        op->u.iomem_permission.nr_mfns = take_below(8);
        op->u.iomem_permission.allow_access = take() & 1;
        break;
    default:
        sprinkle(v, &op->u, 64);
    }
}

void op_domctl(struct vcpu *v)
{
    static const u8 often[] = {
        XEN_DOMCTL_destroydomain,    XEN_DOMCTL_pausedomain,     XEN_DOMCTL_unpausedomain,
        XEN_DOMCTL_shadow_op,        XEN_DOMCTL_max_mem,         XEN_DOMCTL_setvcpucontext,
        XEN_DOMCTL_getvcpucontext,   XEN_DOMCTL_max_vcpus,       XEN_DOMCTL_getpageframeinfo3,
        XEN_DOMCTL_hypercall_init,   XEN_DOMCTL_resumedomain,    XEN_DOMCTL_setvcpuaffinity,
        XEN_DOMCTL_getvcpuaffinity,  XEN_DOMCTL_getdomaininfo,   XEN_DOMCTL_irq_permission,
        XEN_DOMCTL_iomem_permission, XEN_DOMCTL_getvcpuextstate, XEN_DOMCTL_destroydomain};
    struct xen_domctl op = {.interface_version = XEN_DOMCTL_INTERFACE_VERSION};

    op.cmd = take_rare(3) ? take_below(90) : often[take_below(ARRAY_SIZE(often))];
    op.domain = take_target(v);
    fill(v, &op);
    call_with(v, __HYPERVISOR_domctl, ARGS(HERE), &op, sizeof(op));
}

/* A whole domain, with steps left out perhaps. */
void op_build(struct vcpu *v)
{
    u8 how = take(), vcpus = 1 + take_below(2), pages = take() & 63;
    u32 leave_out = take_rare(4) ? take() : 0;
    s64 id;

    if (!v->domain->is_hardware)
        return;
    id = how & 1 ? (s64)take_target(v) : guests_create(v, how & 2 ? take_target(v) : 0, vcpus);
    if (id > 0)
        guests_fill(v, (u16)id, vcpus, pages, leave_out);
}

/* ---- the machine ---- */

static void fill_pool(const struct vcpu *v, struct xen_sysctl_cpupool_op *p)
{
    u64 map = take();

    p->op = take_below(9);
    p->cpupool_id = take_rare(4) ? XEN_SYSCTL_CPUPOOL_PAR_ANY : take_below(4);
    p->sched_id = take_below(8);
    p->domid = take_target(v);
    p->cpu = take_rare(4) ? XEN_SYSCTL_CPUPOOL_PAR_ANY : take_below(NR_CPUS + 1);
    (void)!guest_put((u64)BUFFER(v), &map, sizeof(map));
    set_xen_guest_handle(p->cpumap.bitmap, BUFFER(v));
    p->cpumap.nr_bits = 64;
}

void op_sysctl(struct vcpu *v)
{
    struct xen_sysctl op = {.interface_version = XEN_SYSCTL_INTERFACE_VERSION};

    op.cmd = take_rare(2) ? XEN_SYSCTL_cpupool_op : take_below(32);
    if (op.cmd == XEN_SYSCTL_cpupool_op)
        fill_pool(v, &op.u.cpupool_op);
    else
        sprinkle(v, &op.u, 64);
    call_with(v, __HYPERVISOR_sysctl, ARGS(HERE), &op, sizeof(op));
}

static void fill_memory(const struct vcpu *v, struct serai_memory *m)
{
    *m = (struct serai_memory){.domid = take_target(v),
                               .op = take_below(6),
                               .otherwise = take_below(5),
                               .pages = take(),
                               .within = 1000000UL << take_below(12)};
    m->cap_ppm = m->otherwise == SERAI_ELSE_CAP ? 1000U * take() : 0;
}

static void fill_sched_domain(const struct vcpu *v, struct serai_sched_domain *s)
{
    *s = (struct serai_sched_domain){.domid = take_domid(v),
                                     .set = take() & 1,
                                     .gang = take_below(5),
                                     .latency = take_below(4),
                                     .pool = take_below(3),
                                     .weight = 1U + take() * 8U,
                                     .cap_ppm = take() * 10000U,
                                     .reservation_ppm = take_rare(2) ? take() * 1000U : 0};
}

void op_serai(struct vcpu *v)
{
    union {
        struct serai_memory memory;
        struct serai_sched_domain domain;
        struct serai_sched_vcpu vcpu;
        struct serai_sched_cpu cpu;
        struct serai_sched_pool pool;
        struct serai_sched_trace trace;
        struct serai_counters counters;
    } a;
    u64 op = 1 + take_below(8);

    memset(&a, 0, sizeof(a));
    if (op == SERAI_OP_MEMORY) {
        fill_memory(v, &a.memory);
    } else if (op == SERAI_OP_SCHED_DOMAIN) {
        fill_sched_domain(v, &a.domain);
    } else if (op == SERAI_OP_SCHED_VCPU) {
        a.vcpu = (struct serai_sched_vcpu){.domid = take_domid(v), .vcpu = take_below(3)};
        a.vcpu.set = take() & 1;
        a.vcpu.hard = take();
        a.vcpu.soft = take();
    } else if (op == SERAI_OP_SCHED_CPU) {
        a.cpu = (struct serai_sched_cpu){.cpu = take_below(NR_CPUS + 1), .set = take() & 1};
        a.cpu.online = take() & 1;
    } else if (op == SERAI_OP_SCHED_POOL) {
        a.pool = (struct serai_sched_pool){.pool = take_below(4), .set = take() & 1};
        a.pool.cpus = take();
    } else if (op == SERAI_OP_SCHED_TRACE) {
        /* Not started: its ring would stay. */
        a.trace = (struct serai_sched_trace){.set = take() & 2, .capacity = 64};
        a.trace.entries = (u64)BUFFER(v);
    } else {
        sprinkle(v, &a, sizeof(a.counters));
    }
    call_with(v, __HYPERVISOR_arch_7, ARGS(op, HERE), &a, sizeof(a));
}
