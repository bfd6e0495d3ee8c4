#include "svc/vif_rx.h"
#include "base/string.h"
#include "core/vfr_wire.h"
#include "guest/event.h"
#include "guest/frame.h"
#include "svc/vfr_pieces.h"
#include "svc/vif_turns.h"

#include <xen/io/netif.h>

static struct netif_rx_sring *rx_shared(const struct vif_queue *q)
{
    return (struct netif_rx_sring *)q->rx.page;
}

/* Where the next bytes of a packet come from, behind its head: what is left of a part, and the next. */
struct cursor {
    const u8 *from;
    u32 left;
    const struct vif_part *next;
};

static must_inline void next_part(struct cursor *at)
{
    at->from = vif_part(at->next, 0);
    at->left = at->next++->size;
}

/* Behind so many bytes of the parts. */
static must_inline struct cursor cursor_at(const struct vif_packet *p, u32 skip)
{
    struct cursor at = {.next = p->parts};

    if (!p->nr)
        return at;
    for (; skip >= at.left && at.next < p->parts + p->nr; next_part(&at))
        skip -= at.left;
    at.from += skip;
    at.left -= skip;
    return at;
}

/* One byte at least; the parts have so many. */
static must_inline void copy_parts(u8 *to, u32 n, struct cursor *at)
{
    u32 step;

    do {
        if (!at->left)
            next_part(at);
        step = MIN(n, at->left);
        memcpy(to, at->from, step);
        at->from += step;
        at->left -= step;
        to += step;
    } while (n -= step);
}

static must_inline u16 flags_of(const struct vif_packet *p)
{
    return (p->offload.csum_blank ? NETRXF_csum_blank : 0) |
           (p->csum_valid ? NETRXF_data_validated : 0) |
           (unlikely(p->offload.gso_type) ? NETRXF_extra_info : 0);
}

static must_inline union netif_rx_sring_entry *rx_slot(const struct vif_queue *to, u32 i)
{
    return &rx_shared(to)->ring[i & (VIF_RING_SLOTS - 1)];
}

/* The ring's memory is the guest's too: what was read once is not read again. */
static must_inline u32 read_gref(const union netif_rx_sring_entry *slot)
{
    return __atomic_load_n(&slot->req.gref, __ATOMIC_RELAXED);
}

/* The answer to the request that is there: its number stays. */
static must_inline void answer(union netif_rx_sring_entry *slot, u16 flags, s16 status)
{
    _Static_assert(offsetof(union netif_rx_sring_entry, req.id) ==
                       offsetof(union netif_rx_sring_entry, rsp.id),
                   "in the same place");
    slot->rsp.offset = 0;
    slot->rsp.flags = flags;
    slot->rsp.status = status;
}

static void put_gso(union netif_rx_sring_entry *slot, const struct vfr_offload *o)
{
    struct netif_extra_info e = {.type = XEN_NETIF_EXTRA_TYPE_GSO,
                                 .u.gso = {.size = o->gso_size, .type = o->gso_type}};

    memcpy(slot, &e, sizeof(e));
}

static void count_packet(struct vif *f, u32 len)
{
    f->counters.received_packets++;
    f->counters.received_bytes += len;
}

/*
 * With the rx lock, and a buffer, which is enough: a head, then 'rest' bytes of its packet from 'at'
 * on.
 */
static must_inline void put_one(struct vif_queue *to, const u8 *head, u32 have, u16 flags,
                                u32 rest, struct cursor *at)
{
    union netif_rx_sring_entry *slot = rx_slot(to, to->rx.next++);
    struct domain *d = to->vif->d;
    struct grant_hold hold __unset;
    s16 status = NETIF_RSP_ERROR;

    if (likely(grant_hold(d, read_gref(slot), VIF_GRANTEE, true, &hold) == GNTST_okay)) {
        u8 *buffer = mfn_to_virt(hold.at.mfn);

        memcpy(buffer, head, have);
        if (rest)
            copy_parts(buffer + have, rest, at);
        grant_release(d, &hold, true);
        status = (s16)(have + rest);
    }
    answer(slot, flags, status);
}

/* With the rx lock, and a buffer: what is no guest's packet, but for its bytes. */
static __noinline void put_frame(struct vif_queue *to, const u8 *frame, u32 len, u16 flags)
{
    union netif_rx_sring_entry *slot = rx_slot(to, to->rx.next++);
    struct domain *d = to->vif->d;
    s16 status = NETIF_RSP_ERROR;
    struct grant_pin pin;

    if (grant_pin(d, read_gref(slot), VIF_GRANTEE, true, &pin) == GNTST_okay) {
        if (!frame_type_get(d->id, pin.mfn, TYPE_WRITABLE)) {
            memcpy(mfn_to_virt(pin.mfn), frame, len);
            frame_type_put(pin.mfn);
            status = (s16)len;
        }
        grant_unpin(d, &pin, true);
    }
    answer(slot, flags, status);
    count_packet(to->vif, len);
}

/* So many bytes that do not fit into a packet's first buffer. */
static __noinline void put_rest(struct vif_queue *to, u32 left, struct cursor at)
{
    struct netif_rx_sring *const ring = rx_shared(to);
    struct domain *d = to->vif->d;
    const struct grant_refs all = grant_refs_of(d);
    union netif_rx_sring_entry *slot;
    u32 next = to->rx.next, n;

    do {
        struct grant_hold hold __unset;
        s16 status = NETIF_RSP_ERROR;

        slot = &ring->ring[next++ & (VIF_RING_SLOTS - 1)];
        n = MIN(left, (u32)PAGE_SIZE);
        if (likely(grant_hold_in(d, all, read_gref(slot), VIF_GRANTEE, true, &hold) ==
                   GNTST_okay)) {
            copy_parts(mfn_to_virt(hold.at.mfn), n, &at);
            grant_release(d, &hold, true);
            status = (s16)n;
        }
        answer(slot, NETRXF_more_data, status);
    } while (left -= n);
    slot->rsp.flags = 0; /* the last one's */
    to->rx.next = next;
}

/* With the rx lock, and buffers enough: the head, then the parts without so many bytes. */
static void put_packet(struct vif_queue *to, const struct vif_packet *p, u32 skip)
{
    struct cursor at = cursor_at(p, skip);
    u16 flags = flags_of(p);
    u32 n = p->len;

    if (unlikely(n > PAGE_SIZE)) {
        n = PAGE_SIZE;
        flags |= NETRXF_more_data;
    }
    put_one(to, p->head, p->have, flags, n - p->have, &at);
    if (unlikely(p->offload.gso_type))
        put_gso(rx_slot(to, to->rx.next++), &p->offload);
    if (unlikely(p->len > n))
        put_rest(to, p->len - n, at);
    count_packet(to->vif, p->len);
}

/* Are there so many buffers? If not, the domain will tell when there are. */
static bool has_buffers(struct vif_queue *to, u32 n)
{
    struct netif_rx_sring *s = rx_shared(to);
    u32 there = __atomic_load_n(&s->req_prod, __ATOMIC_ACQUIRE) - to->rx.next;

    if (likely(there >= n && there <= VIF_RING_SLOTS))
        return true;
    if (there > VIF_RING_SLOTS) {
        to->rx_up = false;
        return false;
    }
    __atomic_store_n(&s->req_event, to->rx.next + n, __ATOMIC_SEQ_CST);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    there = __atomic_load_n(&s->req_prod, __ATOMIC_ACQUIRE) - to->rx.next;
    return there >= n && there <= VIF_RING_SLOTS;
}

/* One that may take more than a buffer. */
static __noinline bool put_large(struct vif_queue *to, const struct vif_packet *p)
{
    if (unlikely(!has_buffers(to, DIV_ROUND_UP(p->len, PAGE_SIZE) + !!p->offload.gso_type)))
        return false;
    put_packet(to, p, p->have);
    return true;
}

/* With the rx lock. False: too few buffers. */
static bool put_if_room(struct vif_queue *to, const struct vif_packet *p)
{
    if (unlikely(p->len > PAGE_SIZE || p->offload.gso_type))
        return put_large(to, p);
    if (unlikely(!has_buffers(to, 1)))
        return false;
    put_packet(to, p, p->have);
    return true;
}

/* Pieces that came before the first one follow it, as far as there are buffers. */
static rarely void put_kept(struct vif_queue *to, struct vif_packet *p, struct vfr_kept *k)
{
    enum vfr_reason why;
    struct vfr_kept *next;

    for (; k; k = next) {
        next = k->next;
        why = vfr_piece_follow(p, to->vif, k);
        if (why == VFR_R_OK && !has_buffers(to, 1))
            why = VFR_R_RX_FULL;
        if (why == VFR_R_OK)
            put_frame(to, k->frame, k->len, k->csum_valid ? NETRXF_data_validated : 0);
        else
            p->from->vif->counters.drops[why]++;
        vfr_piece_free(k);
    }
}

/* With the rx lock. False: too few buffers. */
static rarely bool put_piece(struct vif_queue *to, struct vif_packet *p,
                             enum vfr_reason *reason)
{
    struct vfr_kept *kept = NULL;

    if (!has_buffers(to, DIV_ROUND_UP(p->len, PAGE_SIZE)))
        return false;
    *reason = vfr_piece_enter(p, to->vif, &kept);
    if (*reason == VFR_R_OK)
        put_packet(to, p, p->have);
    put_kept(to, p, kept);
    return true;
}

static void sum_parts(struct vfr_sum *sum, const struct vif_packet *p, u32 skip, u32 n)
{
    for (unsigned i = 0; n; i++) {
        u32 from = MIN(skip, (u32)p->parts[i].size), step = MIN(n, p->parts[i].size - from);

        vfr_sum_add(sum, vif_part(&p->parts[i], from), step);
        skip -= from;
        n -= step;
    }
}

/* Segment k takes the packet's place. What was judged of its payload comes from the head too. */
static void put_segment(struct vif_queue *to, struct vif_packet *p,
                        const struct vfr_segment_plan *plan, const u8 *head, unsigned k)
{
    struct vfr_segment seg;
    u32 known, skip;

    vfr_segment_header(plan, head, k, p->head, &seg);
    known = k ? 0 : MIN((u32)seg.len, p->have - plan->header);
    skip = plan->header + seg.offset + known;
    vfr_sum_add(&seg.sum, p->head + plan->header, known);
    sum_parts(&seg.sum, p, skip, seg.len - known);
    vfr_segment_finish(plan, &seg, p->head);
    p->have = plan->header + known;
    p->len = plan->header + seg.len;
    put_packet(to, p, skip);
}

/* For a receiver that takes only finished packets. False: too few buffers. */
static rarely bool put_segments(struct vif_queue *to, struct vif_packet *p,
                                enum vfr_reason *reason)
{
    const struct vfr_offload left = p->offload;
    const u32 len = p->len, have = p->have;
    struct vfr_segment_plan plan;
    u8 head[VFR_SNAPSHOT] __unset;
    u32 each;

    vfr_segment_plan(&plan, &p->offload, &p->parsed, p->head);
    each = DIV_ROUND_UP((u32)plan.header + MAX(plan.size, plan.last), PAGE_SIZE);
    if (plan.count * each > VIF_RING_SLOTS) {
        *reason = VFR_R_GSO_BAD;
        return true;
    }
    if (!has_buffers(to, plan.count * each))
        return false;
    memcpy(head, p->head, have);
    p->offload = (struct vfr_offload){0};
    for (unsigned k = 0; k < plan.count; k++)
        put_segment(to, p, &plan, head, k);
    memcpy(p->head, head, have);
    p->offload = left;
    p->have = have;
    p->len = len;
    return true;
}

static rarely bool put_specially(struct vif_queue *to, struct vif_packet *p,
                                 enum vfr_reason *reason)
{
    return p->parsed.flags & VFR_P_FRAGMENT ? put_piece(to, p, reason)
                                            : put_segments(to, p, reason);
}

static enum vfr_reason deliver_locked(struct vif_queue *to, struct vif_packet *p)
{
    enum vfr_reason reason = VFR_R_OK;

    if (unlikely(!to->rx_up))
        return VFR_R_VIF_DOWN;
    if (unlikely(to->trouble) && to->nr_senders && to->served != p->from)
        return vif_wait(to, p, false);
    if (likely(!p->special) ? unlikely(!put_if_room(to, p)) : !put_specially(to, p, &reason))
        return vif_wait(to, p, true);
    if (unlikely(to->trouble))
        vif_turns_put(to, p);
    return reason;
}

void vif_say(struct vif_queue *to, const u8 *frame, u32 len)
{
    bool put;

    lock(&to->rx_lock);
    put = to->rx_up && has_buffers(to, 1);
    if (put)
        put_frame(to, frame, len, NETRXF_data_validated);
    unlock(&to->rx_lock);
    if (put)
        vif_publish(to);
}

bool vif_deliver_copy(struct vif_queue *to, const struct vif_packet *p)
{
    bool put;

    lock(&to->rx_lock);
    put = to->rx_up && put_large(to, p);
    unlock(&to->rx_lock);
    if (put)
        vif_publish(to);
    return put;
}

enum vfr_reason vif_deliver(struct vif_queue *to, struct vif_packet *p)
{
    enum vfr_reason reason;

    lock(&to->rx_lock);
    reason = deliver_locked(to, p);
    unlock(&to->rx_lock);
    return reason;
}

void vif_publish(struct vif_queue *to)
{
    struct netif_rx_sring *s = rx_shared(to);
    u32 before;

    lock(&to->rx_lock);
    if (to->rx_up) {
        before = s->rsp_prod;
        __atomic_store_n(&s->rsp_prod, to->rx.next, __ATOMIC_SEQ_CST);
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
        if (vif_event_wanted(before, to->rx.next, &s->rsp_event))
            event_send_from_service(to->vif->d, to->rx_port, to->rx_number);
    }
    unlock(&to->rx_lock);
}
