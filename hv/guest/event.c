#include "guest/event.h"
#include "guest/event_queue.h"

static bool test_and_set(unsigned long *words, u32 bit)
{
    u64 m = BIT(bit & 63);

    return __atomic_fetch_or(&words[bit / 64], m, __ATOMIC_SEQ_CST) & m;
}

static bool test_bit(const unsigned long *words, u32 bit)
{
    return __atomic_load_n(&words[bit / 64], __ATOMIC_SEQ_CST) & BIT(bit & 63);
}

static void tell(struct vcpu *v)
{
    __atomic_store_n(&vcpu_info(v)->evtchn_upcall_pending, 1, __ATOMIC_SEQ_CST);
    vcpu_wake(v, WAKE_EVENT);
}

/*
 * The vcpu's selector, then its pending byte, then wake it: the guest looks in reverse order. An
 * upcall mask that is set spares nothing: guests clear it and look for events without a fence in
 * between, so an event that came meanwhile is seen for sure only when something interrupts them.
 */
static void raise_upcall(struct vcpu *v, u32 port)
{
    unsigned long *selector = &vcpu_info(v)->evtchn_pending_sel;

    if (!(__atomic_fetch_or(selector, BIT(port / 64), __ATOMIC_SEQ_CST) & BIT(port / 64)))
        tell(v);
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

/* A port that was allocated before its vcpu exists has nobody to be told. */
static void deliver(struct domain *d, u32 port, u8 vcpu)
{
    struct event_queues *q = event_queues(d);
    struct shared_info *s = d->shared;
    struct vcpu *v = d->vcpus[vcpu];

    if (unlikely(q)) {
        if (event_queue_add(q, d, port, v))
            tell(v);
    } else {
        if (test_and_set(s->evtchn_pending, port))
            return;
        if (!test_bit(s->evtchn_mask, port) && v)
            raise_upcall(v, port);
    }
    if (unlikely(__atomic_load_n(&d->pollers, __ATOMIC_RELAXED)))
        wake_pollers(d, port);
}

void event_set_pending(struct domain *d, u32 port)
{
    struct port p = port_look(&d->ports, port);

    if (p.state != PORT_FREE)
        deliver(d, port, p.vcpu);
}

bool event_is_pending(const struct domain *d, u32 port)
{
    const struct event_queues *q = event_queues(d);

    return unlikely(q) ? event_queue_is_pending(q, d, port)
                       : test_bit(d->shared->evtchn_pending, port);
}

int event_expand_array(struct domain *d, mfn_t mfn)
{
    u32 first;
    int rc = event_queue_expand(d, mfn, &first);

    for (u32 i = 0; i < EVENT_WORDS_PER_PAGE && !rc; i++)
        if (event_queue_take_early(d, first + i))
            event_set_pending(d, first + i);
    return rc;
}

int event_unmask(struct domain *d, u32 port)
{
    const struct port *at = port_get(&d->ports, port);
    struct event_queues *q = event_queues(d);
    struct port p;

    if (!at)
        return -XEN_EINVAL;
    p = port_read(at);
    if (p.state == PORT_FREE)
        return 0;
    if (unlikely(q)) {
        if (event_queue_unmask(q, port, d->vcpus[p.vcpu]))
            tell(d->vcpus[p.vcpu]);
        return 0;
    }
    __atomic_fetch_and(&d->shared->evtchn_mask[port / 64], ~BIT(port & 63), __ATOMIC_SEQ_CST);
    if (event_is_pending(d, port) && d->vcpus[p.vcpu])
        raise_upcall(d->vcpus[p.vcpu], port);
    return 0;
}

/* Invariants 1 and 2 of event.h: the peer's word is what counts, and keeps the peer. */
static void send_to_peer(const struct domain *from, u32 from_port, struct port end)
{
    struct domain *d = domain_peek(end.remote_dom);
    struct port p;

    if (unlikely(!d))
        return;
    p = port_look(&d->ports, end.number);
    if (likely(port_is_peer(p, from->id, from_port)))
        deliver(d, end.number, p.vcpu);
}

static const struct event_service *service; /* (boot) */

__init void event_set_service(const struct event_service *s)
{
    service = s;
}

int event_release_service(struct domain *d)
{
    return service ? service->release(d) : 0;
}

void event_send_from_service(struct domain *d, u32 port, u16 number)
{
    struct port p = port_look(&d->ports, port);

    if (likely(p.state == PORT_SERVICE && p.number == number))
        deliver(d, port, p.vcpu);
}

int event_send(struct domain *d, u32 port)
{
    const struct port *at = port_get(&d->ports, port);
    struct port p;

    if (!at)
        return -XEN_EINVAL;
    p = port_read(at);
    switch (p.state) {
    case PORT_INTERDOMAIN:
        send_to_peer(d, port, p);
        return 0;
    case PORT_IPI:
        if (likely(d->vcpus[p.vcpu]))
            sched_note_ipi(&d->vcpus[p.vcpu]->run.unit);
        deliver(d, port, p.vcpu);
        return 0;
    case PORT_SERVICE:
        service->notify(d, p.number);
        return 0;
    case PORT_UNBOUND:
        return 0; /* nobody listens yet */
    default:
        return -XEN_EINVAL;
    }
}

/* The slot may name a port that has become something else meanwhile. */
static void deliver_virq(struct domain *d, const u16 *slot, unsigned virq)
{
    u32 port = __atomic_load_n(slot, __ATOMIC_RELAXED);
    struct port p = port_look(&d->ports, port);

    if (p.state == PORT_VIRQ && p.number == virq)
        deliver(d, port, p.vcpu);
}

void event_send_virq(struct vcpu *v, unsigned virq)
{
    deliver_virq(v->domain, &v->virq_port[virq], virq);
}

static u16 virq_handlers[NR_VIRQS]; /* (atomic) domains by id; most stay with domain 0 */

void event_send_global_virq(unsigned virq)
{
    u16 id = __atomic_load_n(&virq_handlers[virq], __ATOMIC_ACQUIRE);
    struct domain *d = domain_peek(id);

    if (d)
        deliver_virq(d, &d->global_virq[virq], virq);
}

int event_set_virq_handler(struct domain *d, u32 virq)
{
    int rc = -XEN_EINVAL;

    if (virq >= NR_VIRQS || virq_is_per_vcpu(virq))
        return -XEN_EINVAL;
    lock(&d->event_lock);
    if (!(__atomic_load_n(&d->stop, __ATOMIC_SEQ_CST) & STOP_DYING)) {
        __atomic_store_n(&virq_handlers[virq], d->id, __ATOMIC_RELEASE);
        rc = 0;
    }
    unlock(&d->event_lock);
    return rc;
}

void event_take_back_virqs(const struct domain *d)
{
    for (unsigned i = 0; i < NR_VIRQS; i++) {
        u16 id = d->id;

        __atomic_compare_exchange_n(&virq_handlers[i], &id, dom0->id, false, __ATOMIC_ACQ_REL,
                                    __ATOMIC_RELAXED);
    }
}
