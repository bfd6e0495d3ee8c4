#include "svc/vif_tx.h"
#include "base/string.h"
#include "guest/event.h"
#include "svc/vfr_explain.h"
#include "svc/vfr_capture.h"
#include "svc/vfr_forward.h"
#include "svc/vfr_log.h"
#include "svc/vif_rate.h"
#include "svc/vif_rx.h"
#include "svc/vif_turns.h"

#include <xen/io/netif.h>

#define TURN_PACKETS 64
#define TURN_BYTES   KIB(256)
#define SERVED_TURNS 4 /* of the shortest packets in a quantum */
#define TOUCHED_MAX  8

static struct netif_tx_sring *tx_shared(const struct vif_queue *q)
{
    return (struct netif_tx_sring *)q->tx.page;
}

/* What one turn has to tell others at its end. */
struct touched {
    unsigned nr;
    struct vif_queue *queues[TOUCHED_MAX];
};

static void tell(struct touched *t)
{
    for (unsigned i = 0; i < t->nr; i++)
        vif_publish(t->queues[i]);
    t->nr = 0;
}

static must_inline void touch(struct touched *t, struct vif_queue *q)
{
    if (likely(t->nr && t->queues[t->nr - 1] == q))
        return;
    for (unsigned i = 0; i < t->nr; i++)
        if (t->queues[i] == q)
            return;
    if (t->nr == TOUCHED_MAX)
        tell(t);
    t->queues[t->nr++] = q;
}

/* A packet's requests as they lie in the ring: copied here, and never looked at again. */
struct chain {
    u32 begin, end;     /* the requests that are its own */
    unsigned nr_extras; /* they follow the first */
};

/* The ring's memory is the guest's too: what was read once is not read again. */
static must_inline struct netif_tx_request read_request(const struct vif_queue *q, u32 i)
{
    const struct netif_tx_request *from = &tx_shared(q)->ring[i & (VIF_RING_SLOTS - 1)].req;
    return (struct netif_tx_request){
        .gref = __atomic_load_n(&from->gref, __ATOMIC_RELAXED),
        .offset = __atomic_load_n(&from->offset, __ATOMIC_RELAXED),
        .flags = __atomic_load_n(&from->flags, __ATOMIC_RELAXED),
        .size = __atomic_load_n(&from->size, __ATOMIC_RELAXED),
    };
}

static struct netif_extra_info read_extra(const struct vif_queue *q, u32 i)
{
    struct netif_extra_info e;

    memcpy(&e, &tx_shared(q)->ring[i & (VIF_RING_SLOTS - 1)], sizeof(e));
    asm volatile("" : "+m"(e) : : "memory");
    return e;
}

static enum vfr_reason read_extras(const struct vif_queue *q, u32 prod, struct chain *c,
                                   struct vif_packet *p)
{
    struct netif_extra_info e = {.flags = XEN_NETIF_EXTRA_FLAG_MORE};

    while (e.flags & XEN_NETIF_EXTRA_FLAG_MORE) {
        if (c->end == prod)
            return VFR_R_RING_ERROR;
        e = read_extra(q, c->end++);
        c->nr_extras++;
        if (e.type != XEN_NETIF_EXTRA_TYPE_GSO || p->offload.gso_type)
            return VFR_R_GSO_BAD;
        p->offload.gso_type = e.u.gso.type;
        p->offload.gso_size = e.u.gso.size;
        if ((p->offload.gso_type != XEN_NETIF_GSO_TYPE_TCPV4 &&
             p->offload.gso_type != XEN_NETIF_GSO_TYPE_TCPV6) ||
            !p->offload.gso_size)
            return VFR_R_GSO_BAD;
    }
    return VFR_R_OK;
}

static must_inline bool pin_part(struct domain *d, struct grant_refs all,
                                 const struct netif_tx_request *r, struct vif_part *part)
{
    if (unlikely((u32)r->offset + r->size > PAGE_SIZE) ||
        unlikely(grant_pin_in(d, all, r->gref, VIF_GRANTEE, false, &part->pin) != GNTST_okay))
        return false;
    part->offset = r->offset;
    part->size = r->size;
    return true;
}

static must_inline void unpin_parts(const struct vif_packet *p)
{
    const struct domain *d = p->from->vif->d;

    for (const struct vif_part *part = p->parts, *end = part + p->nr; part < end; part++)
        grant_unpin_reader(d, VIF_GRANTEE, &part->pin);
}

/* Where a first request's size is the whole packet's: what is left of it for that request. */
static must_inline bool fit_first(struct vif_packet *p, u32 others)
{
    u32 size = p->len - others;

    if (others > p->len || size > PAGE_SIZE - p->parts[0].offset)
        return false;
    p->parts[0].size = (u16)size;
    return true;
}

/* All of a packet's requests, whatever is wrong with some; their pages are pinned until one is. */
static __noinline enum vfr_reason read_chain(struct vif_queue *q, struct netif_tx_request r,
                                             u32 prod, struct chain *c, struct vif_packet *p)
{
    const enum vfr_reason reason =
        r.flags & NETTXF_extra_info ? read_extras(q, prod, c, p) : VFR_R_OK;
    struct vif_part *part = p->parts, *end = reason == VFR_R_OK ? part + VIF_SLOTS : NULL;
    struct domain *d = q->vif->d;
    const struct grant_refs all = grant_refs_of(d);
    u32 i = c->end, others = 0;

    for (r.size = 0;; r = read_request(q, i++)) {
        others += r.size;
        if (likely(part < end) && likely(pin_part(d, all, &r, part)))
            part++;
        else
            end = NULL;
        if (!(r.flags & NETTXF_more_data))
            break;
        if (unlikely(i == prod)) {
            end = NULL;
            break;
        }
    }
    c->end = i;
    p->nr = (unsigned)(part - p->parts);
    if (reason != VFR_R_OK)
        return reason;
    return end && fit_first(p, others) ? VFR_R_OK : VFR_R_RING_ERROR;
}

static must_inline void answer_one(struct vif_queue *q, u32 i, s16 status)
{
    union netif_tx_sring_entry *slot = &tx_shared(q)->ring[i & (VIF_RING_SLOTS - 1)];

    slot->rsp = (struct netif_tx_response){.id = status == NETIF_RSP_NULL ? 0 : slot->req.id,
                                           .status = status};
}

/* The answers to a packet's requests, not visible yet; the extras behind the first have none. */
static void answer(struct vif_queue *q, const struct chain *c, enum vfr_reason reason)
{
    const s16 status = reason == VFR_R_RING_ERROR ? NETIF_RSP_ERROR : NETIF_RSP_OKAY;
    u32 i = c->begin + 1;

    answer_one(q, c->begin, status);
    for (; i != c->end && i - c->begin <= c->nr_extras; i++)
        answer_one(q, i, NETIF_RSP_NULL);
    for (; i != c->end; i++)
        answer_one(q, i, status);
    q->tx.next = c->end;
}

static void account(struct vif_queue *q, const struct vif_packet *p, enum vfr_reason reason)
{
    struct vif_counters *c = &q->vif->counters;

    c->sent_packets++;
    c->sent_bytes += p->len;
    if (reason == VFR_R_OK)
        return;
    c->drops[reason]++;
    vfr_log_dropped(q->vif, p->have ? &p->parsed : NULL, reason, p->len);
}

/* A packet of one request whose bytes all are among the first: nothing stays pinned. */
static must_inline enum vfr_reason read_small(struct vif_queue *q, struct netif_tx_request r,
                                              struct vif_packet *p)
{
    struct grant_hold hold __unset;

    if (r.offset > PAGE_SIZE - r.size)
        return VFR_R_RING_ERROR;
    if (grant_hold(q->vif->d, r.gref, VIF_GRANTEE, false, &hold) != GNTST_okay)
        return VFR_R_RING_ERROR;
    memcpy(p->head, (const u8 *)mfn_to_virt(hold.at.mfn) + r.offset, r.size);
    grant_release(q->vif->d, &hold, false);
    p->have = r.size;
    return VFR_R_OK;
}

/* The next packet's requests and first bytes. */
static enum vfr_reason read_packet(struct vif_queue *q, u32 prod, struct chain *c,
                                   struct vif_packet *p)
{
    const struct netif_tx_request first = read_request(q, c->end++);
    enum vfr_reason reason = VFR_R_OK;

    p->have = p->nr = 0;
    p->len = first.size;
    p->offload = (struct vfr_offload){.csum_blank = first.flags & NETTXF_csum_blank};
    p->csum_valid = first.flags & (NETTXF_csum_blank | NETTXF_data_validated);
    if (unlikely(first.flags & (NETTXF_extra_info | NETTXF_more_data)))
        reason = read_chain(q, first, prod, c, p);
    else if (first.size <= VFR_SNAPSHOT)
        return read_small(q, first, p);
    else if (pin_part(q->vif->d, grant_refs_of(q->vif->d), &first, p->parts))
        p->nr = 1;
    else
        reason = VFR_R_RING_ERROR;
    if (reason == VFR_R_OK)
        p->have = vif_copy_parts(p, p->head, VFR_SNAPSHOT);
    return reason;
}

/* Judges and delivers. False: it has to wait, and nothing has happened; or no other may follow yet. */
static bool move_packet(struct vif_packet *p, u32 prod, struct touched *t, u32 *bytes)
{
    struct vif_queue *q = p->from, *to = NULL;
    struct chain c = {.begin = q->tx.next, .end = q->tx.next};
    enum vfr_reason reason = read_packet(q, prod, &c, p);

    p->others = c.end != prod;
    if (unlikely(q->watched) && reason == VFR_R_OK)
        vfr_explain_live(p);
    if (reason == VFR_R_OK)
        reason = vfr_forward(p, &to);
    if (reason == VFR_R_OK)
        reason = vif_deliver(to, p);
    if (unlikely(__atomic_load_n(&vfr_captures, __ATOMIC_RELAXED)) && reason != VIF_WAITS)
        vfr_capture(p, to, reason);
    unpin_parts(p);
    if (unlikely(reason == VIF_WAITS))
        return false;
    if (reason == VFR_R_OK)
        touch(t, to);
    account(q, p, reason);
    answer(q, &c, reason);
    *bytes += p->len;
    return likely(!q->vif->rate.cost) || vif_has_sent(q, p->len, p->now);
}

static void publish_tx(struct vif_queue *q, u32 before)
{
    struct netif_tx_sring *s = tx_shared(q);

    if (q->tx.next == before)
        return;
    __atomic_store_n(&s->rsp_prod, q->tx.next, __ATOMIC_SEQ_CST);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (vif_event_wanted(before, q->tx.next, &s->rsp_event))
        event_send_from_service(q->vif->d, q->tx_port, q->tx_number);
}

/* Requests to take now; none: the domain will tell when there are. */
static u32 find_requests(struct vif_queue *q)
{
    struct netif_tx_sring *s = tx_shared(q);
    u32 prod = __atomic_load_n(&s->req_prod, __ATOMIC_ACQUIRE);

    if (prod == q->tx.next) {
        __atomic_store_n(&s->req_event, q->tx.next + 1, __ATOMIC_SEQ_CST);
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
        prod = __atomic_load_n(&s->req_prod, __ATOMIC_ACQUIRE);
    }
    if (prod - q->tx.next > VIF_RING_SLOTS) {
        q->tx_up = false;
        q->vif->counters.drops[VFR_R_RING_ERROR]++;
        return q->tx.next;
    }
    return prod;
}

/* With the tx lock. True: there is more to do at once. */
static bool turn(struct vif_queue *q)
{
    struct touched t = {.nr = 0};
    u32 begin = q->tx.next, prod, bytes = 0, packets = 0;
    const ns_t now = time_now();
    struct vif_packet p __unset;

    if (!q->tx_up || q->waits_for || (unlikely(q->vif->rate.cost) && !vif_may_send(q, now)))
        return false;
    p.from = q;
    p.now = now;
    p.leader.version = 0;
    p.leader.missed = 0;
    while ((prod = find_requests(q)) != q->tx.next) {
        if (packets++ == TURN_PACKETS || bytes >= TURN_BYTES)
            break;
        if (!move_packet(&p, prod, &t, &bytes))
            break;
    }
    tell(&t);
    publish_tx(q, begin);
    return prod != q->tx.next && !q->waits_for;
}

/* True: ask again. */
static bool try_turn(struct vif_queue *q)
{
    bool more;

    if (!lock_unless_held(&q->tx_lock))
        return false; /* who has it looks at 'asked' when he is done */
    __atomic_store_n(&q->asked, false, __ATOMIC_SEQ_CST);
    more = turn(q);
    unlock(&q->tx_lock);
    return more || __atomic_load_n(&q->asked, __ATOMIC_SEQ_CST);
}

void vif_kick(struct vif_queue *q)
{
    __atomic_store_n(&q->asked, true, __ATOMIC_SEQ_CST);
    while (try_turn(q))
        preempt_point();
}

/* Its own timer moves what it has for others, should that be much. */
static void serve(struct vif_queue *q)
{
    unsigned turns = 0;

    __atomic_store_n(&q->asked, true, __ATOMIC_SEQ_CST);
    while (try_turn(q)) {
        if (++turns == SERVED_TURNS) {
            vif_rate_go_on(q->vif, q);
            return;
        }
        preempt_point();
    }
}

void vif_wake_senders(struct vif_queue *to)
{
    bool again = __atomic_load_n(&to->nr_senders, __ATOMIC_RELAXED);
    struct vif_queue *q;

    if (likely(!again))
        return;
    vif_turns_fed(to);
    while ((q = vif_turns_next(to, &again)) || again) {
        if (q) {
            serve(q);
            vif_turns_over(to, q);
        }
        preempt_point();
    }
}

/* From the timers' softirq, as all below: one turn at a time. True: ask again. */
static __noinline bool one_turn(struct vif_queue *q)
{
    __atomic_store_n(&q->asked, true, __ATOMIC_SEQ_CST);
    return try_turn(q);
}

/* Somebody waits for buffers of this queue. */
static void look_after(void *arg)
{
    struct vif_queue *to = arg, *q = vif_turns_tick(to);

    if (!q)
        return;
    if (one_turn(q))
        vif_rate_go_on(q->vif, q);
    vif_turns_over(to, q);
}

/* An interface may send again. */
static void resume(void *arg)
{
    struct vif *f = arg;
    struct vif_queue *q = vif_rate_next(f);

    vif_rate_go_on(f, q && one_turn(q) ? q : NULL);
}

static void init_queue(struct vif *f, struct vif_queue *q)
{
    q->vif = f;
    q->tx_lock = (struct spinlock)SPINLOCK(LOCK_VIF_TX);
    q->rx_lock = (struct spinlock)SPINLOCK(LOCK_VIF_RX);
    vif_turns_init(q, look_after);
}

void vif_init_page(struct vif *f)
{
    for (unsigned i = 0; i < VFR_QUEUES; i++)
        init_queue(f, &f->queues[i]);
    vif_rate_init(f, resume);
}
