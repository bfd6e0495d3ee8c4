/* Operations of domain 0 on a domain: the state of a vcpu. */
#include "guest/lifecycle.h"
#include "guest/vtime.h"
#include "hcall/domctl.h"
#include "hcall/vcpu_context.h"

static struct vcpu *find_vcpu(const struct domain *d, u32 id)
{
    return id < d->max_vcpus ? d->vcpus[id] : NULL;
}

s64 domctl_set_context(struct domain *d, struct xen_domctl *op)
{
    struct vcpu *v = find_vcpu(d, op->u.vcpucontext.vcpu);

    if (!v)
        return -XEN_ESRCH;
    /* Whoever built the domain has written the shared page. */
    vtime_publish_wallclock(d);
    for (unsigned i = 0; i < d->max_vcpus; i++)
        vtime_publish_info(d->vcpus[i]);
    return vcpu_context_initialise(v, (u64)op->u.vcpucontext.ctxt.p);
}

s64 domctl_get_context(struct domain *d, struct xen_domctl *op)
{
    return -XEN_ENOSYS;
}
