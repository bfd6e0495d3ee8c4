#include "guest/event.h"
#include "guest/pirq.h"
#include "kern/heap.h"

static bool test_and_set(unsigned long *words, u32 bit)
{
    u64 m = BIT(bit & 63);

    return __atomic_fetch_or(&words[bit / 64], m, __ATOMIC_SEQ_CST) & m;
}

static bool test_bit(const unsigned long *words, u32 bit)
{
    return __atomic_load_n(&words[bit / 64], __ATOMIC_SEQ_CST) & BIT(bit & 63);
}

/* The vcpu's selector, then its pending byte, then wake it: the guest looks in reverse order. */
static void raise_upcall(struct vcpu *v, u32 port)
{
    struct vcpu_info *info = vcpu_info(v);

    if (__atomic_fetch_or(&info->evtchn_pending_sel, BIT(port / 64), __ATOMIC_SEQ_CST) &
        BIT(port / 64))
        return;
    __atomic_store_n(&info->evtchn_upcall_pending, 1, __ATOMIC_SEQ_CST);
    vcpu_wake(v, WAKE_EVENT);
}

/* Who polls for the port, whether it is masked or bound to another vcpu. */
static void wake_pollers(struct domain *d, u32 port)
{
    u64 left = __atomic_load_n(&d->pollers, __ATOMIC_SEQ_CST);

    for (; left; left &= left - 1) {
        struct vcpu *v = d->vcpus[__builtin_ctzl(left)];

        if (port >= v->polled[0] && port <= v->polled[1])
            vcpu_wake(v, WAKE_POLL);
    }
}

void event_set_pending(struct domain *d, u32 port)
{
    const struct port *p = port_get(&d->ports, port);
    struct vcpu *v = p ? d->vcpus[p->vcpu] : NULL;

    if (!v || test_and_set(d->shared->evtchn_pending, port))
        return;
    if (!test_bit(d->shared->evtchn_mask, port))
        raise_upcall(v, port);
    if (unlikely(d->pollers))
        wake_pollers(d, port);
}

bool event_is_pending(const struct domain *d, u32 port)
{
    return test_bit(d->shared->evtchn_pending, port);
}

int event_unmask(struct domain *d, u32 port)
{
    const struct port *p = port_get(&d->ports, port);

    if (!p)
        return -XEN_EINVAL;
    __atomic_fetch_and(&d->shared->evtchn_mask[port / 64], ~BIT(port & 63), __ATOMIC_SEQ_CST);
    if (event_is_pending(d, port))
        raise_upcall(d->vcpus[p->vcpu], port);
    return 0;
}

void event_send_virq(struct vcpu *v, unsigned virq)
{
    u32 port = v->virq_port[virq];

    if (port)
        event_set_pending(v->domain, port);
}

void event_send_global_virq(struct domain *d, unsigned virq)
{
    u32 port = d->global_virq[virq];

    if (port)
        event_set_pending(d, port);
}

/* A fresh port in the given form; the caller holds the event lock. */
static int take_port(struct domain *d, const struct port *as)
{
    int chunk, port = port_find_free(&d->ports, &chunk);

    if (port < 0)
        return port;
    if (chunk >= 0) {
        /* 256 ports of 16 bytes: a page. */
        struct port *page = heap_alloc_pages(0);

        if (!page)
            return -XEN_ENOMEM;
        d->ports.chunks[chunk] = page;
    }
    *port_get(&d->ports, (u32)port) = *as;
    __atomic_fetch_and(&d->shared->evtchn_pending[port / 64], ~BIT(port & 63),
                       __ATOMIC_SEQ_CST);
    return port;
}

static int take_port_locked(struct domain *d, const struct port *as, u32 *out)
{
    int port;

    lock(&d->event_lock);
    port = take_port(d, as);
    unlock(&d->event_lock);
    if (port < 0)
        return port;
    *out = (u32)port;
    return 0;
}

int event_alloc_unbound(struct domain *d, u16 remote, u32 *port)
{
    return take_port_locked(d, &(struct port){.state = PORT_UNBOUND, .remote_dom = remote},
                            port);
}

/* Both ends in one domain is the only case while there is one domain; the peer is d itself. */
int event_bind_interdomain(struct domain *d, u16 remote_dom, u32 remote_port, u32 *port)
{
    struct port *peer;
    int local;

    if (remote_dom != d->id)
        return -XEN_ESRCH;
    lock(&d->event_lock);
    peer = port_get(&d->ports, remote_port);
    if (!peer || peer->state != PORT_UNBOUND || peer->remote_dom != d->id) {
        unlock(&d->event_lock);
        return -XEN_EINVAL;
    }
    local = take_port(d, &(struct port){.state = PORT_INTERDOMAIN,
                                        .remote_dom = remote_dom,
                                        .remote_port = remote_port});
    if (local >= 0) {
        peer->state = PORT_INTERDOMAIN;
        peer->remote_port = (u32)local;
    }
    unlock(&d->event_lock);
    if (local < 0)
        return local;
    *port = (u32)local;
    /* The other side may have sent before we were there: look once. */
    event_set_pending(d, (u32)local);
    return 0;
}

int event_bind_virq(struct domain *d, u32 virq, u32 vcpu, u32 *port)
{
    struct port as = {.state = PORT_VIRQ, .virq = (u8)virq, .vcpu = (u16)vcpu};
    u16 *slot;
    int rc;

    if (virq >= NR_VIRQS)
        return -XEN_EINVAL;
    if (vcpu >= d->max_vcpus || !d->vcpus[vcpu])
        return -XEN_ENOENT;
    if (!virq_is_per_vcpu(virq) && vcpu)
        return -XEN_EINVAL;
    slot = virq_is_per_vcpu(virq) ? &d->vcpus[vcpu]->virq_port[virq] : &d->global_virq[virq];
    lock(&d->event_lock);
    rc = *slot ? -XEN_EEXIST : take_port(d, &as);
    if (rc > 0)
        *slot = (u16)rc;
    unlock(&d->event_lock);
    if (rc < 0)
        return rc;
    *port = (u32)rc;
    return 0;
}

int event_bind_ipi(struct domain *d, u32 vcpu, u32 *port)
{
    if (vcpu >= d->max_vcpus || !d->vcpus[vcpu])
        return -XEN_ENOENT;
    return take_port_locked(d, &(struct port){.state = PORT_IPI, .vcpu = (u16)vcpu}, port);
}

int event_bind_pirq(struct domain *d, u32 pirq, bool share, u32 *port)
{
    int rc = take_port_locked(d, &(struct port){.state = PORT_PIRQ, .pirq = (u16)pirq}, port);

    if (rc)
        return rc;
    rc = pirq_bind(d, pirq, *port, share);
    if (rc) {
        lock(&d->event_lock);
        *port_get(&d->ports, *port) = (struct port){.state = PORT_FREE};
        unlock(&d->event_lock);
    }
    return rc;
}

static void forget_virq(struct domain *d, const struct port *p)
{
    if (virq_is_per_vcpu(p->virq))
        d->vcpus[p->vcpu]->virq_port[p->virq] = 0;
    else
        d->global_virq[p->virq] = 0;
}

int event_close(struct domain *d, u32 port)
{
    struct port *p, was;

    lock(&d->event_lock);
    p = port_get(&d->ports, port);
    if (!p || p->state == PORT_FREE) {
        unlock(&d->event_lock);
        return -XEN_EINVAL;
    }
    was = *p;
    if (was.state == PORT_VIRQ)
        forget_virq(d, &was);
    if (was.state == PORT_INTERDOMAIN) {
        struct port *peer = port_get(&d->ports, was.remote_port);

        peer->state = PORT_UNBOUND;
        peer->remote_port = 0;
    }
    *p = (struct port){.state = PORT_FREE};
    __atomic_fetch_and(&d->shared->evtchn_pending[port / 64], ~BIT(port & 63),
                       __ATOMIC_SEQ_CST);
    unlock(&d->event_lock);
    if (was.state == PORT_PIRQ)
        pirq_unbind(d, was.pirq);
    return 0;
}

int event_send(struct domain *d, u32 port)
{
    const struct port *p = port_get(&d->ports, port);

    if (!p)
        return -XEN_EINVAL;
    switch (p->state) {
    case PORT_INTERDOMAIN:
        event_set_pending(d, p->remote_port);
        return 0;
    case PORT_IPI:
        event_set_pending(d, port);
        return 0;
    case PORT_UNBOUND:
        return 0; /* nobody listens yet */
    default:
        return -XEN_EINVAL;
    }
}

int event_bind_vcpu(struct domain *d, u32 port, u32 vcpu)
{
    struct port *p;
    int rc = -XEN_EINVAL;

    if (vcpu >= d->max_vcpus || !d->vcpus[vcpu])
        return -XEN_ENOENT;
    lock(&d->event_lock);
    p = port_get(&d->ports, port);
    if (p && port_may_move(p)) {
        p->vcpu = (u16)vcpu;
        rc = 0;
    }
    unlock(&d->event_lock);
    return rc;
}

int event_status(struct domain *d, struct evtchn_status *st)
{
    const struct port *p = port_get(&d->ports, st->port);

    if (!p)
        return -XEN_EINVAL;
    st->vcpu = p->vcpu;
    switch (p->state) {
    case PORT_UNBOUND:
        st->status = EVTCHNSTAT_unbound;
        st->u.unbound.dom = p->remote_dom;
        break;
    case PORT_INTERDOMAIN:
        st->status = EVTCHNSTAT_interdomain;
        st->u.interdomain.dom = p->remote_dom;
        st->u.interdomain.port = p->remote_port;
        break;
    case PORT_PIRQ:
        st->status = EVTCHNSTAT_pirq;
        st->u.pirq = p->pirq;
        break;
    case PORT_VIRQ:
        st->status = EVTCHNSTAT_virq;
        st->u.virq = p->virq;
        break;
    case PORT_IPI:
        st->status = EVTCHNSTAT_ipi;
        break;
    case PORT_FREE:
        st->status = EVTCHNSTAT_closed;
        break;
    }
    return 0;
}

int event_reset(struct domain *d)
{
    for (u32 port = 1; port < d->ports.limit; port++) {
        const struct port *p = port_get(&d->ports, port);

        if (p && p->state != PORT_FREE && event_close(d, port))
            return -XEN_EINVAL;
        preempt_point();
    }
    return 0;
}

int event_close_all(struct domain *d)
{
    for (u32 port = 1; port < d->ports.limit; port++) {
        const struct port *p = port_get(&d->ports, port);

        if (p && p->state != PORT_FREE && event_close(d, port))
            return -XEN_EINVAL;
    }
    return 0;
}
