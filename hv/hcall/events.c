#include "guest/access.h"
#include "guest/event.h"
#include "guest/event_queue.h"
#include "hcall/domctl.h"
#include "hcall/hcall.h"

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

union argument {
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
};

static const struct hcall_form forms[] = {
    [EVTCHNOP_bind_interdomain] = {.size = sizeof(struct evtchn_bind_interdomain),
                                   .answers = true},
    [EVTCHNOP_bind_virq] = {.size = sizeof(struct evtchn_bind_virq), .answers = true},
    [EVTCHNOP_bind_pirq] = {.size = sizeof(struct evtchn_bind_pirq), .answers = true},
    [EVTCHNOP_close] = {.size = sizeof(struct evtchn_close)},
    [EVTCHNOP_status] = {.size = sizeof(struct evtchn_status), .answers = true},
    [EVTCHNOP_alloc_unbound] = {.size = sizeof(struct evtchn_alloc_unbound), .answers = true},
    [EVTCHNOP_bind_ipi] = {.size = sizeof(struct evtchn_bind_ipi), .answers = true},
    [EVTCHNOP_bind_vcpu] = {.size = sizeof(struct evtchn_bind_vcpu)},
    [EVTCHNOP_unmask] = {.size = sizeof(struct evtchn_unmask)},
    [EVTCHNOP_reset] = {.size = sizeof(struct evtchn_reset)},
    [EVTCHNOP_init_control] = {.size = sizeof(struct evtchn_init_control), .answers = true},
    [EVTCHNOP_expand_array] = {.size = sizeof(struct evtchn_expand_array)},
    [EVTCHNOP_set_priority] = {.size = sizeof(struct evtchn_set_priority)},
};

static s64 run(struct domain *d, u64 nr, union argument *op)
{
    switch (nr) {
    case EVTCHNOP_unmask:
        return event_unmask(d, op->unmask.port);
    case EVTCHNOP_alloc_unbound:
        return alloc_unbound(d, &op->alloc);
    case EVTCHNOP_bind_interdomain:
        if (op->interdomain.remote_dom == DOMID_SELF)
            op->interdomain.remote_dom = d->id;
        return event_bind_interdomain(d, op->interdomain.remote_dom,
                                      op->interdomain.remote_port, &op->interdomain.local_port);
    case EVTCHNOP_bind_virq:
        return event_bind_virq(d, op->virq.virq, op->virq.vcpu, &op->virq.port);
    case EVTCHNOP_bind_ipi:
        return event_bind_ipi(d, op->ipi.vcpu, &op->ipi.port);
    case EVTCHNOP_bind_pirq:
        return event_bind_pirq(d, op->pirq.pirq, op->pirq.flags & BIND_PIRQ__WILL_SHARE,
                               &op->pirq.port);
    case EVTCHNOP_close:
        return event_close(d, op->close.port);
    case EVTCHNOP_status:
        return status(d, &op->status);
    case EVTCHNOP_bind_vcpu:
        return event_bind_vcpu(d, op->vcpu.port, op->vcpu.vcpu);
    case EVTCHNOP_reset:
        return reset(d, &op->reset);
    case EVTCHNOP_init_control:
        op->init.link_bits = EVTCHN_FIFO_LINK_BITS;
        return event_queue_init(d, op->init.vcpu, MFN(op->init.control_gfn), op->init.offset);
    case EVTCHNOP_expand_array:
        return event_expand_array(d, MFN(op->expand.array_gfn));
    default:
        return set_priority(d, &op->priority);
    }
}

/* All but the one that counts. */
static __noinline s64 other_op(struct domain *d, u64 nr, u64 u_op)
{
    union argument op;
    s64 rc;

    if (nr >= ARRAY_SIZE(forms) || !forms[nr].size)
        return -XEN_ENOSYS;
    if (copy_from_guest(&op, (const void *)u_op, forms[nr].size))
        return -XEN_EFAULT;
    rc = run(d, nr, &op);
    if (rc || !forms[nr].answers)
        return rc;
    return copy_to_guest((void *)u_op, &op, forms[nr].size);
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

/* The older call, which GNU Mach makes: number and request in one structure. */
HYPERCALL(event_channel_op_compat)
{
    u32 cmd;

    if (copy_from_guest(&cmd, (const void *)a1, sizeof(cmd)))
        return -XEN_EFAULT;
    if (cmd > EVTCHNOP_unmask)
        return -XEN_ENOSYS;
    return hcall_event_channel_op(cmd, a1 + offsetof(struct evtchn_op, u), a3, a4, a5, v);
}
