/*
 * Operations of domain 0 on a domain: the state of a vcpu, read and written while the domain is
 * paused; that is done here, so that a running one may be asked too.
 */
#include "base/string.h"
#include "core/pte.h"
#include "core/xstate.h"
#include "guest/access.h"
#include "guest/lifecycle.h"
#include "guest/switch.h"
#include "guest/vtime.h"
#include "hcall/domctl.h"
#include "hcall/vcpu_context.h"
#include "kern/heap.h"
#include "x86/cpu.h"
#include "x86/cpu_setup.h"

#define MSR_SPEC_CTRL     0x48
#define MSR_MISC_FEATURES 0x140
#define MSR_DR0_MASK      0xc0011027
#define MSR_DR1_MASK      0xc0011019

typedef s64 vcpu_fn(struct vcpu *v, struct xen_domctl *op);

/* All vcpus of the domain are stopped while 'run' works on one of them. */
static s64 while_stopped(struct domain *d, u32 id, struct xen_domctl *op, vcpu_fn *run)
{
    s64 rc;

    /* Domain 0 would wait for itself. */
    if (d->is_hardware)
        return -XEN_EINVAL;
    if (id >= d->max_vcpus)
        return -XEN_EINVAL;
    rc = lifecycle_pause(d, true);
    if (rc)
        return rc;
    rc = run(d->vcpus[id], op);
    (void)!lifecycle_unpause(d);
    return rc;
}

static s64 set_context(struct vcpu *v, struct xen_domctl *op)
{
    struct domain *d = v->domain;

    /* Whoever built the domain has written the shared page. */
    vtime_publish_wallclock(d);
    for (unsigned i = 0; i < d->max_vcpus; i++)
        vtime_publish_info(d->vcpus[i]);
    return vcpu_context_set(v, (u64)op->u.vcpucontext.ctxt.p);
}

s64 domctl_set_context(struct domain *d, struct xen_domctl *op)
{
    return while_stopped(d, op->u.vcpucontext.vcpu, op, set_context);
}

static s64 get_context(struct vcpu *v, struct xen_domctl *op)
{
    return vcpu_context_get(v, (u64)op->u.vcpucontext.ctxt.p);
}

s64 domctl_get_context(struct domain *d, struct xen_domctl *op)
{
    return while_stopped(d, op->u.vcpucontext.vcpu, op, get_context);
}

/* Guests cannot register a sysenter handler: there is none to report, and none to accept. */
static s64 get_ext_context(struct vcpu *v, struct xen_domctl *op)
{
    struct xen_domctl_ext_vcpucontext *e = &op->u.ext_vcpucontext;
    u32 id = e->vcpu;

    memset(e, 0, sizeof(*e));
    e->vcpu = id;
    e->size = sizeof(*e);
    e->syscall32_callback_eip = v->syscall32_cb.address;
    e->syscall32_disables_events = v->syscall32_cb.mask_events;
    return 0;
}

s64 domctl_get_ext_context(struct domain *d, struct xen_domctl *op)
{
    return while_stopped(d, op->u.ext_vcpucontext.vcpu, op, get_ext_context);
}

static s64 set_ext_context(struct vcpu *v, struct xen_domctl *op)
{
    const struct xen_domctl_ext_vcpucontext *e = &op->u.ext_vcpucontext;

    /* The machine-check part is an optional tail, and guests see no banks that it could be for. */
    if (e->size < offsetof(struct xen_domctl_ext_vcpucontext, mcg_cap) ||
        !va_is_canonical(e->syscall32_callback_eip))
        return -XEN_EINVAL;
    v->syscall32_cb =
        (struct callback){e->syscall32_callback_eip, e->syscall32_disables_events};
    v->domain->restored = true; /* who builds a domain has no use for this operation */
    return 0;
}

s64 domctl_set_ext_context(struct domain *d, struct xen_domctl *op)
{
    return while_stopped(d, op->u.ext_vcpucontext.vcpu, op, set_ext_context);
}

/* In front of the area: XCR0, and every component that may hold something. */
struct xstate_header {
    u64 xcr0, xcr0_accum;
};

static u64 xstate_size(void)
{
    return sizeof(struct xstate_header) + cpu_features.xsave_size;
}

static s64 get_xstate(struct vcpu *v, struct xen_domctl *op)
{
    struct xen_domctl_vcpuextstate *e = &op->u.vcpuextstate;
    u8 *u_buffer = (u8 *)e->buffer.p;
    struct xstate_header h = {v->xcr0, v->xcr0 | xstate_components(v->regs.fpu)};

    if (!e->size && !e->xfeature_mask) {
        e->xfeature_mask = cpu_features.xcr0;
        e->size = cpu_features.xsave ? xstate_size() : 0;
        return 0;
    }
    if (!cpu_features.xsave || e->size != xstate_size() ||
        e->xfeature_mask != cpu_features.xcr0)
        return -XEN_EINVAL;
    if (copy_to_guest(u_buffer, &h, sizeof(h)) ||
        copy_to_guest(u_buffer + sizeof(h), v->regs.fpu, cpu_features.xsave_size))
        return -XEN_EFAULT;
    return 0;
}

s64 domctl_get_xstate(struct domain *d, struct xen_domctl *op)
{
    return while_stopped(d, op->u.vcpuextstate.vcpu, op, get_xstate);
}

static bool xstate_acceptable(const struct xstate_header *h, const u8 *area, u64 size)
{
    return !(h->xcr0_accum & ~cpu_features.xcr0) && !(h->xcr0 & ~h->xcr0_accum) &&
           cpuid_policy_may_set_xcr0(h->xcr0, cpu_features.xcr0) &&
           xstate_ok(area, size, h->xcr0_accum);
}

/* 'image' is a page and at least a header more. */
static s64 read_xstate(struct vcpu *v, const struct xen_domctl_vcpuextstate *e, u8 *image)
{
    const struct xstate_header *h = (const void *)image;
    u64 size = e->size - sizeof(*h);

    if (copy_from_guest(image, (const void *)e->buffer.p, e->size))
        return -XEN_EFAULT;
    if (!xstate_acceptable(h, (const u8 *)(h + 1), size))
        return -XEN_EINVAL;
    v->xcr0 = h->xcr0;
    switch_set_xstate(v, (const u8 *)(h + 1), size);
    return 0;
}

static s64 set_xstate(struct vcpu *v, struct xen_domctl *op)
{
    const struct xen_domctl_vcpuextstate *e = &op->u.vcpuextstate;
    u8 *image;
    s64 rc;

    if (!cpu_features.xsave)
        return -XEN_EOPNOTSUPP;
    if (e->size < sizeof(struct xstate_header) + XSTATE_MIN_SIZE || e->size > xstate_size())
        return -XEN_EINVAL;
    image = heap_alloc_pages(1);
    if (!image)
        return -XEN_ENOMEM;
    rc = read_xstate(v, e, image);
    heap_free_pages(image, 1);
    return rc;
}

s64 domctl_set_xstate(struct domain *d, struct xen_domctl *op)
{
    return while_stopped(d, op->u.vcpuextstate.vcpu, op, set_xstate);
}

/* The one register that guests may set to what they like. */
static s64 get_msrs(struct vcpu *v, struct xen_domctl *op)
{
    struct xen_domctl_vcpu_msrs *m = &op->u.vcpu_msrs;
    const struct xen_domctl_vcpu_msr aux = {.index = IA32_TSC_AUX, .value = v->regs.tsc_aux};
    u32 room = m->msr_count;

    m->msr_count = m->msrs.p ? aux.value != 0 : 1;
    if (!m->msrs.p || !m->msr_count)
        return 0;
    if (!room)
        return -XEN_ENOBUFS;
    return copy_to_guest(m->msrs.p, &aux, sizeof(aux));
}

s64 domctl_get_msrs(struct domain *d, struct xen_domctl *op)
{
    return while_stopped(d, op->u.vcpu_msrs.vcpu, op, get_msrs);
}

/* What other hosts keep of a vcpu and we do not: only "never used" can be taken over. */
static bool is_unused(const struct xen_domctl_vcpu_msr *m)
{
    return !m->value && (m->index == MSR_SPEC_CTRL || m->index == MSR_MISC_FEATURES ||
                         m->index == MSR_DR0_MASK ||
                         (m->index >= MSR_DR1_MASK && m->index < MSR_DR1_MASK + 3));
}

static s64 set_msr(struct vcpu *v, const struct xen_domctl_vcpu_msr *m)
{
    if (m->reserved)
        return -XEN_EINVAL;
    if (m->index != IA32_TSC_AUX)
        return is_unused(m) ? 0 : -XEN_EINVAL;
    if (m->value >> 32 || (m->value && !cpu_features.rdtscp))
        return -XEN_EINVAL;
    v->regs.tsc_aux = m->value;
    return 0;
}

static s64 set_msrs(struct vcpu *v, struct xen_domctl *op)
{
    struct xen_domctl_vcpu_msrs *list = &op->u.vcpu_msrs;
    struct xen_domctl_vcpu_msr m;
    u32 nr = list->msr_count;
    s64 rc = 0;

    for (u32 i = 0; i < nr && !rc; i++) {
        rc = -XEN_EFAULT;
        if (!copy_array_from_guest(&m, list->msrs.p, i, sizeof(m)))
            rc = set_msr(v, &m);
        if (rc)
            list->msr_count = i;
        preempt_point();
    }
    return rc;
}

s64 domctl_set_msrs(struct domain *d, struct xen_domctl *op)
{
    return while_stopped(d, op->u.vcpu_msrs.vcpu, op, set_msrs);
}
