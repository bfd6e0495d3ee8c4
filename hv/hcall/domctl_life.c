/* Operations of domain 0 on a domain: coming, stopping, going, and what it is. */
#include "base/string.h"
#include "guest/access.h"
#include "guest/balloon.h"
#include "guest/frame.h"
#include "guest/grant.h"
#include "guest/hypercall_page.h"
#include "guest/lifecycle.h"
#include "guest/maptrack.h"
#include "guest/vcpu.h"
#include "guest/vtime.h"
#include "hcall/domctl.h"
#include "hcall/sysctl.h"
#include "kern/console.h"
#include "x86/paging.h"
#include <xen/sched.h>

static int create_flags_ok(const struct xen_domctl_createdomain *c)
{
    /* What the toolstack says of an IOMMU for domains that will drive devices: there is none. */
    if (c->flags & ~(XEN_DOMCTL_CDF_xs_domain | XEN_DOMCTL_CDF_iommu) ||
        c->iommu_opts & ~XEN_DOMCTL_IOMMU_no_sharept || c->vmtrace_size ||
        c->arch.emulation_flags || c->arch.misc_flags & ~XEN_X86_MSR_RELAXED)
        return -XEN_EINVAL;
    if (!c->max_vcpus || c->max_vcpus > NR_VCPUS_MAX)
        return -XEN_EINVAL;
    if (XEN_DOMCTL_GRANT_version(c->grant_opts) > 2)
        return -XEN_EINVAL;
    /* Negative: as usual. A table has a page at least. */
    if (!c->max_grant_frames || c->max_grant_frames > GRANT_FRAMES_LIMIT ||
        c->max_maptrack_frames > MAPTRACK_FRAMES_LIMIT)
        return -XEN_EINVAL;
    return 0;
}

s64 domctl_create(struct xen_domctl *op)
{
    const struct xen_domctl_createdomain *c = &op->u.createdomain;
    u16 id = op->domain && op->domain < DOMID_FIRST_RESERVED ? op->domain : DOMID_NEXT;
    struct domain *d;
    int rc = create_flags_ok(c);

    if (!rc)
        rc = sysctl_pool_check(c->cpupool_id);
    rc = rc == -XEN_ENOENT ? -XEN_ESRCH : rc;
    if (rc)
        return rc;
    d = id == DOMID_NEXT ? NULL : domain_get(id);
    if (d) {
        domain_put(d);
        return -XEN_EEXIST;
    }
    d = domain_create(id, 0);
    if (!d)
        return -XEN_ENOMEM;
    sysctl_pool_enter(&d->sched, c->cpupool_id);
    memcpy(d->handle, c->handle, sizeof(d->handle));
    d->nr_vcpus_wanted = c->max_vcpus;
    d->msr_relaxed = c->arch.misc_flags & XEN_X86_MSR_RELAXED;
    if (c->max_grant_frames > 0)
        d->max_grant_frames = (u32)c->max_grant_frames;
    if (c->max_maptrack_frames >= 0)
        d->max_maptrack_frames = (u32)c->max_maptrack_frames;
    d->ports.limit = MIN((u64)c->max_evtchn_port + 1, EVTCHN_MAX_PORTS);
    /* Domain 0 starts it by taking this pause away. */
    rc = lifecycle_pause(d, false);
    op->domain = d->id;
    return rc;
}

s64 domctl_destroy(struct domain *d, struct xen_domctl *op)
{
    return d->is_hardware ? -XEN_EINVAL : lifecycle_destroy(d);
}

s64 domctl_pause(struct domain *d, struct xen_domctl *op)
{
    return d->is_hardware ? -XEN_EINVAL : lifecycle_pause(d, true);
}

s64 domctl_unpause(struct domain *d, struct xen_domctl *op)
{
    int rc = d->is_hardware ? -XEN_EINVAL : lifecycle_unpause(d);

    if (!rc)
        balloon_unpaused(d);
    return rc;
}

s64 domctl_resume(struct domain *d, struct xen_domctl *op)
{
    return d->is_hardware ? -XEN_EINVAL : lifecycle_resume(d);
}

s64 domctl_max_vcpus(struct domain *d, struct xen_domctl *op)
{
    u32 max = op->u.max_vcpus.max;

    if (max != d->nr_vcpus_wanted || d->is_hardware)
        return -XEN_EINVAL;
    for (unsigned i = d->max_vcpus; i < max; i++)
        if (!vcpu_create(d, i))
            return -XEN_ENOMEM;
    return 0;
}

s64 domctl_set_handle(struct domain *d, struct xen_domctl *op)
{
    memcpy(d->handle, op->u.setdomainhandle.handle, sizeof(d->handle));
    return 0;
}

s64 domctl_max_mem(struct domain *d, struct xen_domctl *op)
{
    /* Less than it has is allowed: it cannot get more until it has given some back. */
    __atomic_store_n(&d->max_pages, op->u.max_mem.max_memkb >> (PAGE_SHIFT - 10),
                     __ATOMIC_SEQ_CST);
    return 0;
}

static u32 vcpu_flags(const struct domain *d, struct xen_domctl_getdomaininfo *info)
{
    bool blocked = true, running = false;

    info->max_vcpu_id = XEN_INVALID_MAX_VCPU_ID;
    for (unsigned i = 0; i < d->max_vcpus; i++) {
        const struct vcpu *v = d->vcpus[i];
        struct vcpu_runstate_info r;

        vtime_runstate_get(v, &r);
        info->cpu_time += r.time[RUNSTATE_running];
        info->max_vcpu_id = i;
        if (!vcpu_is_up(v))
            continue;
        info->nr_online_vcpus++;
        running |= r.state == RUNSTATE_running;
        blocked &= r.state == RUNSTATE_blocked;
    }
    return (blocked ? XEN_DOMINF_blocked : 0) | (running ? XEN_DOMINF_running : 0);
}

void domctl_fill_info(const struct domain *d, struct xen_domctl_getdomaininfo *info)
{
    u32 stop = __atomic_load_n(&d->stop, __ATOMIC_RELAXED);

    memset(info, 0, sizeof(*info));
    info->domain = d->id;
    info->flags = vcpu_flags(d, info);
    if (stop & STOP_DYING)
        info->flags |= XEN_DOMINF_dying;
    if (d->shutdown_told)
        info->flags |= XEN_DOMINF_shutdown;
    if (stop & STOP_PAUSES)
        info->flags |= XEN_DOMINF_paused;
    info->flags |= (u32)d->shutdown_code << XEN_DOMINF_shutdownshift;
    info->tot_pages = d->tot_pages;
    info->max_pages = d->max_pages;
    info->outstanding_pages = d->claimed_pages;
    info->shared_info_frame = d->shared_mfn.n;
    memcpy(info->handle, d->handle, sizeof(info->handle));
    info->cpupool = d->sched.pool;
    info->gpaddr_bits = 64;
}

s64 domctl_get_info(struct domain *d, struct xen_domctl *op)
{
    op->domain = d->id;
    domctl_fill_info(d, &op->u.getdomaininfo);
    return 0;
}

s64 domctl_set_address_size(struct domain *d, struct xen_domctl *op)
{
    return op->u.address_size.size == 64 ? 0 : -XEN_EINVAL;
}

s64 domctl_get_address_size(struct domain *d, struct xen_domctl *op)
{
    op->u.address_size.size = 64;
    return 0;
}

s64 domctl_send_trigger(struct domain *d, struct xen_domctl *op)
{
    const struct xen_domctl_sendtrigger *t = &op->u.sendtrigger;
    struct vcpu *v = t->vcpu < d->max_vcpus ? d->vcpus[t->vcpu] : NULL;

    if (t->trigger != XEN_DOMCTL_SENDTRIGGER_NMI)
        return -XEN_ENOSYS;
    if (!v)
        return -XEN_ESRCH;
    __atomic_store_n(&v->nmi_pending, true, __ATOMIC_SEQ_CST);
    vcpu_wake(v, WAKE_EVENT);
    return 0;
}

s64 domctl_hypercall_page(struct domain *d, struct xen_domctl *op)
{
    mfn_t mfn = MFN(op->u.hypercall_init.gmfn);

    if (frame_type_get(d->id, mfn, TYPE_WRITABLE))
        return -XEN_EACCES;
    hypercall_page_fill(mfn_to_virt(mfn));
    frame_note_write(d->id, mfn);
    frame_type_put(mfn);
    return 0;
}

s64 domctl_set_time_offset(struct domain *d, struct xen_domctl *op)
{
    d->time_offset = op->u.settimeoffset.time_offset_seconds;
    vtime_publish_wallclock(d);
    return 0;
}
