#include "guest/access.h"
#include "guest/event.h"
#include "guest/event_queue.h"
#include "hcall/domctl.h"
#include "hcall/hcall.h"

#define COPY_IN(what)                                                                          \
    if (copy_from_guest(&op.what, (const void *)a2, sizeof(op.what)))                          \
    return -XEN_EFAULT
#define COPY_OUT(what)                                                                         \
    if (!rc && copy_to_guest((void *)a2, &op.what, sizeof(op.what)))                           \
    rc = -XEN_EFAULT

/*
 * The domain that an operation is about, with a reference. Others than one's own concern domain 0
 * only.
 */
static s64 find_domain(struct domain *caller, domid_t id, struct domain **d)
{
    *d = domain_get(id == DOMID_SELF ? caller->id : id);
    if (!*d)
        return -XEN_ESRCH;
    if (*d == caller || caller->is_hardware)
        return 0;
    domain_put(*d);
    return -XEN_EPERM;
}

static s64 alloc_unbound(struct domain *caller, struct evtchn_alloc_unbound *op)
{
    domid_t remote = op->remote_dom == DOMID_SELF ? caller->id : op->remote_dom;
    struct domain *d;
    s64 rc = find_domain(caller, op->dom, &d);

    if (rc)
        return rc;
    rc = event_alloc_unbound(d, remote, &op->port);
    domain_put(d);
    return rc;
}

static s64 status(struct domain *caller, struct evtchn_status *op)
{
    struct domain *d;
    s64 rc = find_domain(caller, op->dom, &d);

    if (rc)
        return rc;
    rc = event_status(d, op);
    domain_put(d);
    return rc;
}

/* Another domain must be paused: it would not know what became of its ports. */
static s64 reset(struct domain *caller, const struct evtchn_reset *op)
{
    struct domain *d;
    s64 rc = find_domain(caller, op->dom, &d);

    if (rc)
        return rc;
    if (d == caller || __atomic_load_n(&d->stop, __ATOMIC_RELAXED) & STOP_PAUSES)
        event_reset(d);
    else
        rc = -XEN_EINVAL;
    domain_put(d);
    return rc;
}

/* Taken note of by nobody: see guest/event_queue.h. */
static s64 set_priority(const struct domain *d, const struct evtchn_set_priority *op)
{
    if (!event_queues(d))
        return -XEN_ENOSYS;
    if (op->priority > EVTCHN_FIFO_PRIORITY_MIN ||
        port_look(&d->ports, op->port).state == PORT_FREE)
        return -XEN_EINVAL;
    return 0;
}

s64 domctl_set_virq_handler(struct domain *d, struct xen_domctl *op)
{
    return event_set_virq_handler(d, op->u.set_virq_handler.virq);
}

/* All but the one that counts. */
static __noinline s64 other_op(struct domain *d, u64 a1, u64 a2)
{
    union {
        struct evtchn_alloc_unbound alloc;
        struct evtchn_bind_interdomain interdomain;
        struct evtchn_bind_virq virq;
        struct evtchn_bind_pirq pirq;
        struct evtchn_bind_ipi ipi;
        struct evtchn_close close;
        struct evtchn_status status;
        struct evtchn_bind_vcpu vcpu;
        struct evtchn_unmask unmask;
        struct evtchn_reset reset;
        struct evtchn_init_control init;
        struct evtchn_expand_array expand;
        struct evtchn_set_priority priority;
    } op;
    s64 rc;

    switch (a1) {
    case EVTCHNOP_unmask:
        COPY_IN(unmask);
        return event_unmask(d, op.unmask.port);
    case EVTCHNOP_alloc_unbound:
        COPY_IN(alloc);
        rc = alloc_unbound(d, &op.alloc);
        COPY_OUT(alloc);
        return rc;
    case EVTCHNOP_bind_interdomain:
        COPY_IN(interdomain);
        if (op.interdomain.remote_dom == DOMID_SELF)
            op.interdomain.remote_dom = d->id;
        rc = event_bind_interdomain(d, op.interdomain.remote_dom, op.interdomain.remote_port,
                                    &op.interdomain.local_port);
        COPY_OUT(interdomain);
        return rc;
    case EVTCHNOP_bind_virq:
        COPY_IN(virq);
        rc = event_bind_virq(d, op.virq.virq, op.virq.vcpu, &op.virq.port);
        COPY_OUT(virq);
        return rc;
    case EVTCHNOP_bind_ipi:
        COPY_IN(ipi);
        rc = event_bind_ipi(d, op.ipi.vcpu, &op.ipi.port);
        COPY_OUT(ipi);
        return rc;
    case EVTCHNOP_bind_pirq:
        COPY_IN(pirq);
        rc = event_bind_pirq(d, op.pirq.pirq, op.pirq.flags & BIND_PIRQ__WILL_SHARE,
                             &op.pirq.port);
        COPY_OUT(pirq);
        return rc;
    case EVTCHNOP_close:
        COPY_IN(close);
        return event_close(d, op.close.port);
    case EVTCHNOP_status:
        COPY_IN(status);
        rc = status(d, &op.status);
        COPY_OUT(status);
        return rc;
    case EVTCHNOP_bind_vcpu:
        COPY_IN(vcpu);
        return event_bind_vcpu(d, op.vcpu.port, op.vcpu.vcpu);
    case EVTCHNOP_reset:
        COPY_IN(reset);
        return reset(d, &op.reset);
    case EVTCHNOP_init_control:
        COPY_IN(init);
        op.init.link_bits = EVTCHN_FIFO_LINK_BITS;
        rc = event_queue_init(d, op.init.vcpu, MFN(op.init.control_gfn), op.init.offset);
        COPY_OUT(init);
        return rc;
    case EVTCHNOP_expand_array:
        COPY_IN(expand);
        return event_expand_array(d, MFN(op.expand.array_gfn));
    case EVTCHNOP_set_priority:
        COPY_IN(priority);
        return set_priority(d, &op.priority);
    default:
        return -XEN_ENOSYS;
    }
}

HYPERCALL(event_channel_op)
{
    struct evtchn_send op;

    if (unlikely(a1 != EVTCHNOP_send))
        return other_op(v->domain, a1, a2);
    if (copy_from_guest(&op, (const void *)a2, sizeof(op)))
        return -XEN_EFAULT;
    return event_send(v->domain, op.port);
}
