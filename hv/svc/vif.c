#include "svc/vif.h"
#include "base/string.h"
#include "core/vfr_wire.h"
#include "guest/event.h"
#include "guest/frame.h"
#include "svc/vfr.h"
#include "svc/vfr_answer.h"
#include "svc/vfr_log.h"
#include "svc/vfr_neighbours.h"
#include "svc/vfr_pieces.h"
#include "svc/vif_rate.h"
#include "svc/vif_turns.h"
#include "svc/vif_tx.h"
#include <xen/io/netif.h>

#define MTU_MIN 576
#define MTU_MAX 65535

/* What a port is bound with: the interface, the queue, and which ring. */
static u16 port_number(const struct vif *f, unsigned queue, bool rx)
{
    return (u16)(f->index << 4 | queue << 1 | rx);
}

static void notify(struct domain *d, u16 number)
{
    struct vif *f = vfr_find(number >> 4);
    struct vif_queue *q;

    if (!f)
        return;
    q = &f->queues[number >> 1 & (VFR_QUEUES - 1)];
    if (!(number & 1) || q->tx_port == q->rx_port)
        vif_kick(q);
    if (number & 1 || q->tx_port == q->rx_port)
        vif_wake_senders(q);
}

/* -XEN_EINVAL: too many of a family. */
static int bind_prefix(struct vfr_binding *b, const struct serai_vfr_prefix *p)
{
    const struct vfr_addr a = {p->high, p->low}, mask = vfr_addr_mask(p->length);

    if (p->length > 128)
        return -XEN_EINVAL;
    if (vfr_addr_is_ip4(a) && p->length >= 96) {
        if (b->ip4s == VFR_PREFIXES)
            return -XEN_EINVAL;
        b->shared |= (u16)(!!p->shared << b->ip4s);
        b->ip4[b->ip4s++] = (struct vfr_prefix4){(u32)a.low, (u32)mask.low};
    } else {
        if (b->ip6s == VFR_PREFIXES || p->shared)
            return -XEN_EINVAL;
        b->ip6[b->ip6s++] = (struct vfr_prefix6){a, mask};
    }
    return 0;
}

static int make_binding(struct vfr_binding *b, const struct serai_vfr_vif *op)
{
    int rc = 0;

    *b = (struct vfr_binding){
        .mac = get_mac(op->mac), .kind = op->kind, .flags = op->may, .macs = op->nr_macs};
    for (unsigned i = 0; i < op->nr_macs; i++)
        b->extra_mac[i] = get_mac(op->macs[i]);
    for (unsigned i = 0; !rc && i < op->nr_prefixes; i++)
        rc = bind_prefix(b, &op->prefixes[i]);
    if (op->kind == VFR_SWITCHED && vfr_binding_has_mac(b, VFR_ROUTER_MAC))
        return -XEN_EINVAL;
    return rc || vfr_binding_check(b) ? -XEN_EINVAL : 0;
}

static struct serai_vfr_prefix *describe_prefix(struct serai_vfr_vif *op, struct vfr_addr a,
                                                struct vfr_addr mask)
{
    struct serai_vfr_prefix *p = &op->prefixes[op->nr_prefixes++];

    *p = (struct serai_vfr_prefix){
        .high = a.high, .low = a.low, .length = (u8)vfr_addr_mask_length(mask)};
    return p;
}

static void describe_binding(struct serai_vfr_vif *op, const struct vfr_binding *b)
{
    put_mac(op->mac, b->mac);
    op->may = b->flags;
    op->nr_macs = b->macs;
    for (unsigned i = 0; i < b->macs; i++)
        put_mac(op->macs[i], b->extra_mac[i]);
    op->nr_prefixes = 0;
    for (unsigned i = 0; i < b->ip4s; i++)
        describe_prefix(op, VFR_IP4(b->ip4[i].addr), vfr_ip4_mask(b->ip4[i].mask))->shared =
            b->shared >> i & 1;
    for (unsigned i = 0; i < b->ip6s; i++)
        describe_prefix(op, b->ip6[i].addr, b->ip6[i].mask);
}

static int pin_ring(struct vif *f, struct vif_ring *r, u32 ref)
{
    if (grant_pin(f->d, ref, VIF_GRANTEE, true, &r->pin) != GNTST_okay)
        return -XEN_EINVAL;
    if (frame_type_get(f->d->id, r->pin.mfn, TYPE_WRITABLE)) {
        grant_unpin(f->d, &r->pin, true);
        return -XEN_EINVAL;
    }
    r->page = mfn_to_virt(r->pin.mfn);
    return 0;
}

static void unpin_ring(struct vif *f, struct vif_ring *r)
{
    if (!r->page)
        return;
    r->page = NULL;
    frame_type_put(r->pin.mfn);
    grant_unpin(f->d, &r->pin, true);
}

/* Both rings begin alike. */
static u32 first_unanswered(const struct vif_ring *r)
{
    return __atomic_load_n(&((struct netif_tx_sring *)r->page)->rsp_prod, __ATOMIC_ACQUIRE);
}

static int connect_queue(struct vif *f, unsigned i, const struct serai_vfr_queue *from)
{
    struct vif_queue *q = &f->queues[i];
    int rc = pin_ring(f, &q->tx, from->tx_ref);

    if (!rc)
        rc = pin_ring(f, &q->rx, from->rx_ref);
    if (rc)
        return rc;
    /* A front end that reconnects goes on where its ring says. */
    q->tx.next = first_unanswered(&q->tx);
    q->rx.next = first_unanswered(&q->rx);
    q->tx_number = port_number(f, i, false);
    q->rx_number = from->rx_port == from->tx_port ? q->tx_number : port_number(f, i, true);
    rc = event_bind_service(f->d, from->tx_port, dom0->id, q->tx_number);
    if (!rc && from->rx_port != from->tx_port)
        rc = event_bind_service(f->d, from->rx_port, dom0->id, q->rx_number);
    if (rc)
        event_unbind_service(f->d, from->tx_port, q->tx_number);
    q->tx_port = from->tx_port;
    q->rx_port = from->rx_port;
    return rc;
}

static void disconnect_queue(struct vif *f, struct vif_queue *q)
{
    event_unbind_service(f->d, q->tx_port, q->tx_number);
    event_unbind_service(f->d, q->rx_port, q->rx_number);
    unpin_ring(f, &q->tx);
    unpin_ring(f, &q->rx);
}

/* From here on nobody moves packets of it or to it; those that wait for it find out. */
static void stop_queue(struct vif_queue *q)
{
    lock(&q->tx_lock);
    q->tx_up = false;
    unlock(&q->tx_lock);
    vif_stop_waiting(q);
    lock(&q->rx_lock);
    q->rx_up = false;
    unlock(&q->rx_lock);
    vif_wake_senders(q);
}

static void start_queue(struct vif_queue *q)
{
    lock(&q->tx_lock);
    lock(&q->rx_lock);
    q->tx_up = q->rx_up = true;
    q->timeouts = 0;
    unlock(&q->rx_lock);
    unlock(&q->tx_lock);
}

/* Letters and zeros after them: it is compared as a whole, and stands in the audit's text. */
static bool is_segment(const u8 name[VFR_SEGMENT_NAME])
{
    unsigned i = 0;

    while (i < VFR_SEGMENT_NAME - 1 && name[i] > ' ' && name[i] < 0x7f)
        i++;
    while (i < VFR_SEGMENT_NAME && !name[i])
        i++;
    return i == VFR_SEGMENT_NAME;
}

static bool is_valid(const struct serai_vfr_vif *op)
{
    u32 bad = op->kind > VFR_PUNT || op->can & ~VFR_CAN_ALL || op->reserved2 ||
              op->may & ~VFR_MAY_ALL || op->nr_macs > VFR_VIF_MACS;

    bad |=
        op->nr_queues < 1 || op->nr_queues > VFR_QUEUES || op->nr_prefixes > VFR_VIF_PREFIXES;
    bad |= op->ra & ~VFR_RA_ALL || !vif_rate_is_valid(op);
    bad |= !is_segment(op->segment) || (op->kind == VFR_SWITCHED && !op->segment[0]) ||
           ((op->kind == VFR_ROUTED || op->kind == VFR_PUNT) && op->segment[0]);
    bad |= op->mtu < MTU_MIN || op->mtu > MTU_MAX || op->mac[0] & 1 || op->next_hop[0] & 1;
    bad |= op->next_hop6[0] & 1 || op->reserved3[0] || op->reserved3[1];
    return !bad;
}

static u64 next_hop6(const struct serai_vfr_vif *op, u64 otherwise)
{
    const u64 hop = get_mac(op->next_hop6);

    return hop ? hop : otherwise;
}

static int describe(struct vif *f, const struct serai_vfr_vif *op)
{
    f->kind = op->kind;
    f->ra = op->ra;
    f->can = op->can;
    f->picks_up_until = time_now() + op->pickup * 1000000000l;
    f->nr_queues = op->nr_queues;
    /* Who takes no packets in several parts gets none longer than a buffer. */
    f->mtu = op->can & VFR_CAN_SG ? op->mtu : MIN(op->mtu, (u32)PAGE_SIZE - ETH_HEADER);
    f->speech_due = f->punt_due = f->talk_due = f->spread_due = 0;
    memcpy(f->segment, op->segment, sizeof(f->segment));
    f->router_mac = op->kind == VFR_UPLINK ? get_mac(op->mac) : VFR_ROUTER_MAC;
    f->next_hop = get_mac(op->kind == VFR_UPLINK ? op->next_hop : op->mac);
    f->next_hop6 = op->kind == VFR_UPLINK ? next_hop6(op, f->next_hop) : f->next_hop;
    f->counters = (struct vif_counters){0};
    vif_rate_set(f, op);
    return make_binding(&f->binding, op);
}

static int connect(struct vif *f, const struct serai_vfr_vif *op)
{
    unsigned nr = 0;
    int rc;

    if (!f->queues[0].vif)
        vif_init_page(f);
    rc = describe(f, op);
    for (; !rc && nr < op->nr_queues; nr++)
        rc = connect_queue(f, nr, &op->queues[nr]);
    for (unsigned i = 0; !rc && i < nr; i++)
        start_queue(&f->queues[i]);
    if (!rc)
        rc = vfr_attach(f, op);
    if (!rc)
        return 0;
    for (unsigned i = 0; i < nr; i++) {
        stop_queue(&f->queues[i]);
        disconnect_queue(f, &f->queues[i]);
    }
    vif_rate_stop(f);
    return rc;
}

/* Routers are forgotten (RFC 4861: after RA_LIFETIME): all in turn are told again, each in 7 minutes. */
#define ADVERTISE_EVERY 100000000 /* ns */

static struct timer advertising;
static bool advertises; /* (atomic) 'advertising' is set */

static void advertise_next(void *arg)
{
    static u16 next;
    struct vif *f = vfr_find(next++ % VFR_VIFS_MAX);

    /* One that is up goes on being this one until this CPU meets a preemption point. */
    if (f && __atomic_load_n(&f->state, __ATOMIC_ACQUIRE) == VIF_UP)
        vfr_advertise(f);
    timer_set(&advertising, time_now() + ADVERTISE_EVERY);
}

int vif_connect(struct serai_vfr_vif *op)
{
    struct domain *d;
    struct vif *f;
    int rc;

    if (!is_valid(op))
        return -XEN_EINVAL;
    d = domain_get(op->domid);
    if (!d)
        return -XEN_ESRCH;
    rc = vfr_reserve(d, op->handle, &f);
    if (rc)
        goto out;
    rc = connect(f, op);
    vfr_set_state(f, rc ? VIF_FREE : VIF_UP);
    if (rc)
        goto out;
    op->vif = f->index;
    if (!__atomic_exchange_n(&advertises, true, __ATOMIC_RELAXED))
        timer_set(&advertising, time_now() + ADVERTISE_EVERY);
    for (unsigned i = 0; i < op->nr_queues; i++)
        vif_kick(&f->queues[i]); /* what was sent before */
    return 0;
out:
    domain_put(d);
    return rc;
}

/* In state BUSY. 'unlogged': its end could not be written down. */
static void disconnect(struct vif *f, bool unlogged)
{
    struct domain *d = f->d;
    int rc;

    f->unlogged = unlogged;
    rc = vfr_detach(f);
    vfr_pieces_forget(f->index);
    for (unsigned i = 0; i < f->nr_queues; i++)
        stop_queue(&f->queues[i]);
    vif_rate_stop(f);
    for (unsigned i = 0; i < f->nr_queues; i++)
        disconnect_queue(f, &f->queues[i]);
    vfr_set_state(f, rc || unlogged ? VIF_OWES : VIF_FREE);
    domain_put(d);
}

int vif_disconnect(u16 index)
{
    struct vif *f = vfr_find(index);
    int rc;

    if (!f || !vfr_take(f))
        return -XEN_ENOENT;
    rc = vfr_log_disconnect(f, VFR_BY_DAEMON);
    if (rc)
        vfr_set_state(f, VIF_UP);
    else
        disconnect(f, false);
    return rc;
}

int vif_set_next_hop(const struct serai_vfr_vif *op)
{
    struct vif *f = vfr_find(op->vif);
    int rc = -XEN_EINVAL;

    if (!f || !vfr_take(f))
        return -XEN_ENOENT;
    if (f->kind == VFR_UPLINK && !((op->next_hop[0] | op->next_hop6[0]) & 1)) {
        const u64 hop = get_mac(op->next_hop);

        rc = vfr_neighbours_set(op);
        if (!rc) {
            __atomic_store_n(&f->next_hop, hop, __ATOMIC_RELAXED);
            __atomic_store_n(&f->next_hop6, next_hop6(op, hop), __ATOMIC_RELAXED);
        }
    }
    vfr_set_state(f, VIF_UP);
    return rc;
}

static bool is_rate_of(const struct vif *f, const struct serai_vfr_vif *op)
{
    return op->rate_bytes == f->rate_bytes && op->rate_usec == f->rate_usec;
}

int vif_change_rate(const struct serai_vfr_vif *op)
{
    struct vif *f = vfr_find(op->vif);
    int rc = -XEN_EINVAL;

    if (!f || !vfr_take(f))
        return -XEN_ENOENT;
    if (op->origin < VFR_ORIGINS && vif_rate_is_valid(op))
        rc = is_rate_of(f, op) ? 0 : vfr_log_rate(f, op);
    if (!rc)
        vif_rate_set(f, op);
    vfr_set_state(f, VIF_UP);
    return rc;
}

static void describe_back(struct serai_vfr_vif *op, const struct vif *f)
{
    op->vif = f->index;
    op->domid = f->d->id;
    op->handle = f->handle;
    op->kind = f->kind;
    op->ra = f->ra;
    op->can = f->can;
    op->nr_queues = f->nr_queues;
    op->mtu = f->mtu;
    put_mac(op->next_hop, f->next_hop);
    op->rate_bytes = f->rate_bytes;
    op->rate_usec = f->rate_usec;
    put_mac(op->next_hop6, f->next_hop6);
    memcpy(op->segment, f->segment, sizeof(op->segment));
    describe_binding(op, &f->binding);
    op->sent_packets = f->counters.sent_packets;
    op->sent_bytes = f->counters.sent_bytes;
    op->received_packets = f->counters.received_packets;
    op->received_bytes = f->counters.received_bytes;
    for (unsigned i = 0; i < VFR_REASON_COUNT; i++)
        op->drops[i] = f->counters.drops[i];
}

int vif_read(struct serai_vfr_vif *op, bool or_next)
{
    struct vif *f;

    for (u32 i = op->vif; (f = vfr_find((u16)i)); i++) {
        if (vfr_take(f)) {
            describe_back(op, f);
            vfr_set_state(f, VIF_UP);
            return 0;
        }
        if (!or_next)
            break;
    }
    return -XEN_ENOENT;
}

int vif_uuid(u16 index, u8 uuid[16])
{
    struct vif *f = vfr_find(index);
    int rc;

    if (!f || !vfr_take(f))
        return -XEN_ENOENT;
    memcpy(uuid, f->uuid, 16);
    rc = f->kind == VFR_SWITCHED ? -XEN_EINVAL : 0;
    vfr_set_state(f, VIF_UP);
    return rc;
}

/* The interfaces of a domain that is going. One that is BUSY somebody else is at. */
static int release(struct domain *d)
{
    struct vif *f;
    int rc = 0;

    for (u16 i = 0; (f = vfr_find(i)); i++) {
        if (f->state == VIF_FREE || f->state == VIF_OWES || f->d != d)
            continue;
        if (vfr_take(f))
            disconnect(f, vfr_log_disconnect(f, VFR_BY_HYPERVISOR));
        else
            rc = -XEN_EAGAIN;
        preempt_point();
    }
    return rc;
}

__init void vif_init(void)
{
    static const struct event_service service = {.notify = notify, .release = release};

    timer_init(&advertising, advertise_next, NULL);
    event_set_service(&service);
}
