#include "guest/event.h"
#include "guest/event_queue.h"
#include "guest/pirq.h"
#include "guest/quiesce.h"
#include "kern/heap.h"

#define CHUNK_BYTES     (PORTS_PER_CHUNK * sizeof(struct port))
#define PORTS_PER_BREAK 16

static bool is_dying(const struct domain *d)
{
    return __atomic_load_n(&d->stop, __ATOMIC_SEQ_CST) & STOP_DYING;
}

static void clear_pending(struct domain *d, u32 port)
{
    struct event_queues *q = event_queues(d);

    if (unlikely(q))
        event_queue_clear(q, port);
    __atomic_fetch_and(&d->shared->evtchn_pending[port / 64], ~BIT(port & 63),
                       __ATOMIC_SEQ_CST);
}

/* A fresh port in the given form, or an error; the caller holds the event lock. */
static int take_port(struct domain *d, struct port as)
{
    int chunk, port = port_find_free(&d->ports, &chunk);

    if (is_dying(d))
        return -XEN_EINVAL;
    if (port < 0)
        return port;
    if (chunk >= 0) {
        struct port *ports = heap_alloc(CHUNK_BYTES);

        if (!ports)
            return -XEN_ENOMEM;
        __atomic_store_n(&d->ports.chunks[chunk], ports, __ATOMIC_RELEASE);
    }
    clear_pending(d, (u32)port);
    port_write(port_get(&d->ports, (u32)port), as);
    return port;
}

static void free_port(struct domain *d, u32 port)
{
    port_write(port_get(&d->ports, port), (struct port){.state = PORT_FREE});
    clear_pending(d, port);
}

static int result(int port, u32 *out)
{
    if (port < 0)
        return port;
    *out = (u32)port;
    return 0;
}

static int take_port_locked(struct domain *d, struct port as, u32 *out)
{
    int port;

    lock(&d->event_lock);
    port = take_port(d, as);
    unlock(&d->event_lock);
    return result(port, out);
}

int event_alloc_unbound(struct domain *d, u16 remote, u32 *port)
{
    return take_port_locked(d, (struct port){.state = PORT_UNBOUND, .remote_dom = remote},
                            port);
}

/* With both locks; 'd' binds to a port of 'e'. */
static int connect(struct domain *d, struct domain *e, u32 remote_port)
{
    struct port *at = port_get(&e->ports, remote_port), peer;
    int local;

    if (is_dying(e) || !at || !port_awaits(*at, d->id))
        return -XEN_EINVAL;
    local = take_port(d, (struct port){.state = PORT_INTERDOMAIN,
                                       .remote_dom = e->id,
                                       .number = (u16)remote_port});
    if (local < 0)
        return local;
    peer = *at;
    peer.state = PORT_INTERDOMAIN;
    peer.number = (u16)local;
    port_write(at, peer);
    /* The other side may have sent before we were there: look once. */
    event_set_pending(d, (u32)local);
    return local;
}

int event_bind_interdomain(struct domain *d, u16 remote_dom, u32 remote_port, u32 *port)
{
    struct domain *e = domain_get(remote_dom);
    int local;

    if (!e)
        return -XEN_ESRCH;
    lock_pair(&d->event_lock, &e->event_lock);
    local = connect(d, e, remote_port);
    unlock_pair(&d->event_lock, &e->event_lock);
    domain_put(e);
    return result(local, port);
}

int event_bind_virq(struct domain *d, u32 virq, u32 vcpu, u32 *port)
{
    struct port as = {.state = PORT_VIRQ, .number = (u16)virq, .vcpu = (u8)vcpu};
    u16 *slot;
    int rc;

    if (virq >= NR_VIRQS || (!virq_is_per_vcpu(virq) && vcpu))
        return -XEN_EINVAL;
    if (vcpu >= d->max_vcpus || !d->vcpus[vcpu])
        return -XEN_ENOENT;
    slot = virq_is_per_vcpu(virq) ? &d->vcpus[vcpu]->virq_port[virq] : &d->global_virq[virq];
    lock(&d->event_lock);
    rc = *slot ? -XEN_EEXIST : take_port(d, as);
    if (rc > 0)
        __atomic_store_n(slot, (u16)rc, __ATOMIC_RELAXED);
    unlock(&d->event_lock);
    return result(rc, port);
}

int event_bind_ipi(struct domain *d, u32 vcpu, u32 *port)
{
    if (vcpu >= d->max_vcpus || !d->vcpus[vcpu])
        return -XEN_ENOENT;
    return take_port_locked(d, (struct port){.state = PORT_IPI, .vcpu = (u8)vcpu}, port);
}

int event_bind_pirq(struct domain *d, u32 pirq, bool share, u32 *port)
{
    int local, rc;

    if (pirq >= MAX_PIRQS)
        return -XEN_EINVAL;
    lock(&d->event_lock);
    local = take_port(d, (struct port){.state = PORT_PIRQ, .number = (u16)pirq});
    rc = local < 0 ? 0 : pirq_bind(d, pirq, (u32)local, share);
    if (rc)
        free_port(d, (u32)local);
    unlock(&d->event_lock);
    return rc ? rc : result(local, port);
}

int event_bind_service(struct domain *d, u32 port, u16 instead_of, u16 number)
{
    int rc = -XEN_EINVAL;
    struct port *at, p;

    lock(&d->event_lock);
    at = port_get(&d->ports, port);
    if (at && !is_dying(d) && port_awaits(*at, instead_of)) {
        p = *at;
        p.state = PORT_SERVICE;
        p.number = number;
        port_write(at, p);
        rc = 0;
    }
    unlock(&d->event_lock);
    return rc;
}

void event_unbind_service(struct domain *d, u32 port, u16 number)
{
    struct port *at, p;

    lock(&d->event_lock);
    at = port_get(&d->ports, port);
    p = port_look(&d->ports, port);
    if (at && p.state == PORT_SERVICE && p.number == number) {
        p.state = PORT_UNBOUND;
        p.number = 0;
        port_write(at, p);
    }
    unlock(&d->event_lock);
}

static void forget_virq(struct domain *d, struct port p)
{
    u16 *slot = virq_is_per_vcpu(p.number) ? &d->vcpus[p.vcpu]->virq_port[p.number]
                                           : &d->global_virq[p.number];

    __atomic_store_n(slot, 0, __ATOMIC_RELAXED);
}

/* The id of the domain at the other end of a port, its own when there is none. */
static u16 other_end(const struct domain *d, u32 port)
{
    struct port p = port_look(&d->ports, port);

    return p.state == PORT_INTERDOMAIN ? p.remote_dom : d->id;
}

/* The locks of both domains that a port concerns; returns the other one, with a reference. */
static struct domain *lock_ends(struct domain *d, u32 port)
{
    for (;;) {
        struct domain *e = domain_get(other_end(d, port));

        /* None: it went, so it has changed our end too since we looked. */
        if (e) {
            lock_pair(&d->event_lock, &e->event_lock);
            if (other_end(d, port) == e->id)
                return e;
            unlock_pair(&d->event_lock, &e->event_lock);
            domain_put(e);
        }
        preempt_point();
    }
}

static void unlock_ends(struct domain *d, struct domain *e)
{
    unlock_pair(&d->event_lock, &e->event_lock);
    domain_put(e);
}

/* With the locks of both ends. */
static int close_port(struct domain *d, struct domain *e, u32 port)
{
    struct port p = port_look(&d->ports, port);

    switch (p.state) {
    case PORT_FREE:
        return -XEN_EINVAL;
    case PORT_INTERDOMAIN: {
        struct port *at = port_get(&e->ports, p.number), peer = *at;

        peer.state = PORT_UNBOUND;
        peer.number = 0;
        port_write(at, peer);
        break;
    }
    case PORT_VIRQ:
        forget_virq(d, p);
        break;
    case PORT_PIRQ:
        pirq_unbind(d, p.number, port);
        break;
    case PORT_UNBOUND:
    case PORT_IPI:
    case PORT_SERVICE:
        break;
    }
    free_port(d, port);
    return 0;
}

int event_close(struct domain *d, u32 port)
{
    struct domain *e = lock_ends(d, port);
    int rc = close_port(d, e, port);

    unlock_ends(d, e);
    return rc;
}

int event_bind_vcpu(struct domain *d, u32 port, u32 vcpu)
{
    struct port *at;
    int rc = -XEN_EINVAL;

    if (vcpu >= d->max_vcpus || !d->vcpus[vcpu])
        return -XEN_ENOENT;
    lock(&d->event_lock);
    at = port_get(&d->ports, port);
    if (at && port_may_move(*at)) {
        struct port p = *at;

        p.vcpu = (u8)vcpu;
        port_write(at, p);
        rc = 0;
    }
    unlock(&d->event_lock);
    return rc;
}

/* Port 0 exists, closed: tools count from there. */
int event_status(const struct domain *d, struct evtchn_status *st)
{
    struct port p = port_look(&d->ports, st->port);

    if (st->port && !port_get(&d->ports, st->port))
        return -XEN_EINVAL;
    st->vcpu = p.vcpu;
    switch (p.state) {
    case PORT_UNBOUND:
        st->status = EVTCHNSTAT_unbound;
        st->u.unbound.dom = p.remote_dom;
        break;
    case PORT_INTERDOMAIN:
    case PORT_SERVICE: /* the other end is the hypervisor's, and has no number */
        st->status = EVTCHNSTAT_interdomain;
        st->u.interdomain.dom = p.remote_dom;
        st->u.interdomain.port = p.state == PORT_SERVICE ? 0 : p.number;
        break;
    case PORT_PIRQ:
        st->status = EVTCHNSTAT_pirq;
        st->u.pirq = p.number;
        break;
    case PORT_VIRQ:
        st->status = EVTCHNSTAT_virq;
        st->u.virq = p.number;
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

/* Closes it if it is there: another vcpu may be faster. */
static void close_if_open(struct domain *d, u32 port)
{
    if (port_look(&d->ports, port).state != PORT_FREE)
        (void)!event_close(d, port);
}

void event_reset(struct domain *d)
{
    for (u32 port = 1; port < d->ports.limit; port++) {
        close_if_open(d, port);
        preempt_point();
    }
    event_queues_drop(d);
}

/* Where what is shared with a domain lies when it is gone: nobody looks there. */
static struct shared_info nowhere;

/* After this only memory of ours is reached through the domain. */
static void detach(struct domain *d)
{
    struct port *chunks[PORT_CHUNKS];

    for (unsigned i = 0; i < PORT_CHUNKS; i++)
        chunks[i] = __atomic_exchange_n(&d->ports.chunks[i], NULL, __ATOMIC_SEQ_CST);
    __atomic_store_n(&d->shared, &nowhere, __ATOMIC_SEQ_CST);
    for (unsigned i = 0; i < d->max_vcpus; i++)
        __atomic_store_n(&d->vcpus[i]->entry.info, (u8 *)&nowhere.vcpu_info[i],
                         __ATOMIC_SEQ_CST);
    quiesce_cpus();
    for (unsigned i = 0; i < PORT_CHUNKS; i++)
        if (chunks[i])
            heap_free(chunks[i], CHUNK_BYTES);
}

int event_close_all(struct domain *d)
{
    /* Whoever did not see that it is dying has given up the lock when we have had it. */
    lock(&d->event_lock);
    unlock(&d->event_lock);
    for (u32 port = 1; port < EVTCHN_MAX_PORTS && port_get(&d->ports, port); port++) {
        close_if_open(d, port);
        if (port % PORTS_PER_BREAK)
            continue;
        preempt_point();
        if (vcpu_has_event(current_vcpu()))
            return -XEN_EAGAIN;
    }
    event_take_back_virqs(d);
    event_queues_drop(d);
    detach(d);
    return 0;
}
