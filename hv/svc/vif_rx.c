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

/* Where the next bytes of a packet come from: its head, then what follows that in its parts. */
struct cursor {
    u32 done;
    unsigned part;
    u32 offset;
};

static void skip_parts(const struct vif_packet *p, u32 skip, struct cursor *at)
{
    at->offset = skip;
    while (at->part < p->nr && at->offset >= p->parts[at->part].size)
        at->offset -= p->parts[at->part++].size;
}

static void copy_out(u8 *to, u32 n, const struct vif_packet *p, struct cursor *at)
{
    u32 step;

    if (at->done < p->have) {
        step = MIN(n, p->have - at->done);
        memcpy(to, p->head + at->done, step);
        at->done += step;
        to += step;
        n -= step;
    }
    while (n) {
        step = MIN(n, p->parts[at->part].size - at->offset);
        memcpy(to, vif_part(&p->parts[at->part], at->offset), step);
        at->done += step;
        at->offset += step;
        if (at->offset == p->parts[at->part].size) {
            at->part++;
            at->offset = 0;
        }
        to += step;
        n -= step;
    }
}

/* A buffer of the receiver's, for writing; NULL: it gave none that it can. */
static must_inline void *open_buffer(const struct vif_queue *to, u32 ref,
                                     struct grant_hold *hold)
{
    struct domain *d = to->vif->d;

    if (unlikely(grant_hold(d, ref, dom0->id, true, hold) != GNTST_okay))
        return NULL;
    if (likely(!frame_type_get(d->id, hold->at.mfn, TYPE_WRITABLE)))
        return mfn_to_virt(hold->at.mfn);
    grant_release(d, hold, true);
    return NULL;
}

static must_inline void close_buffer(const struct vif_queue *to, struct grant_hold *hold)
{
    frame_type_put(hold->at.mfn);
    grant_release(to->vif->d, hold, true);
}

/* The next buffer of the receiver is filled; what to answer: bytes, or an error. */
static s16 fill_buffer(struct vif_queue *to, u32 ref, u32 n, const struct vif_packet *p,
                       struct cursor *at)
{
    struct grant_hold hold __unset;
    void *buffer = open_buffer(to, ref, &hold);

    if (!buffer)
        return NETIF_RSP_ERROR;
    copy_out(buffer, n, p, at);
    close_buffer(to, &hold);
    return (s16)n;
}

static void put_gso(struct vif_queue *to, const struct vif_packet *p)
{
    struct netif_extra_info e = {
        .type = XEN_NETIF_EXTRA_TYPE_GSO,
        .u.gso = {.size = p->offload.gso_size, .type = p->offload.gso_type}};

    memcpy(&rx_shared(to)->ring[to->rx.next++ & (VIF_RING_SLOTS - 1)], &e, sizeof(e));
}

static u16 flags_of(const struct vif_packet *p, bool first, bool more)
{
    u16 flags = more ? NETRXF_more_data : 0;

    if (first) {
        flags |= p->offload.csum_blank ? NETRXF_csum_blank : 0;
        flags |= p->csum_valid ? NETRXF_data_validated : 0;
        flags |= p->offload.gso_type ? NETRXF_extra_info : 0;
    }
    return flags;
}

/* The ring's memory is the guest's too: what was read once is not read again. */
static struct netif_rx_request take_request(struct vif_queue *to,
                                            union netif_rx_sring_entry **slot)
{
    *slot = &rx_shared(to)->ring[to->rx.next++ & (VIF_RING_SLOTS - 1)];
    return (struct netif_rx_request){
        .id = __atomic_load_n(&(*slot)->req.id, __ATOMIC_RELAXED),
        .gref = __atomic_load_n(&(*slot)->req.gref, __ATOMIC_RELAXED),
    };
}

static void count_packet(struct vif *f, u32 len)
{
    f->counters.received_packets++;
    f->counters.received_bytes += len;
}

/* What follows a packet's head. */
static void copy_rest(u8 *to, const struct vif_packet *p)
{
    u32 skip = p->have;

    for (unsigned i = 0; i < p->nr; i++) {
        u32 n = p->parts[i].size;

        if (skip < n) {
            memcpy(to, vif_part(&p->parts[i], skip), n - skip);
            to += n - skip;
            skip = 0;
        } else {
            skip -= n;
        }
    }
}

/* With the rx lock, and a buffer, which is enough: a head and the rest of its packet, if any. */
static void put_one(struct vif_queue *to, const u8 *head, u32 have, u16 flags,
                    const struct vif_packet *rest)
{
    const u32 len = rest ? rest->len : have;
    union netif_rx_sring_entry *slot;
    const struct netif_rx_request r = take_request(to, &slot);
    struct grant_hold hold __unset;
    void *buffer = open_buffer(to, r.gref, &hold);

    if (likely(buffer)) {
        memcpy(buffer, head, have);
        if (len > have)
            copy_rest((u8 *)buffer + have, rest);
        close_buffer(to, &hold);
    }
    slot->rsp = (struct netif_rx_response){
        .id = r.id, .flags = flags, .status = buffer ? (s16)len : NETIF_RSP_ERROR};
    count_packet(to->vif, len);
}

/* With the rx lock, and buffers enough: the head, then the parts without so many bytes. */
static void put_packet(struct vif_queue *to, const struct vif_packet *p, u32 skip)
{
    struct cursor at = {0};
    u32 left = p->len;

    skip_parts(p, skip, &at);
    while (left) {
        union netif_rx_sring_entry *slot;
        const struct netif_rx_request r = take_request(to, &slot);
        u32 n = MIN(left, (u32)PAGE_SIZE);

        slot->rsp = (struct netif_rx_response){
            .id = r.id,
            .flags = flags_of(p, left == p->len, left > n),
            .status = fill_buffer(to, r.gref, n, p, &at),
        };
        if (left == p->len && p->offload.gso_type)
            put_gso(to, p);
        left -= n;
    }
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
    u16 flags = (p->offload.csum_blank ? NETRXF_csum_blank : 0) |
                (p->csum_valid ? NETRXF_data_validated : 0);

    if (unlikely(p->len > PAGE_SIZE || p->offload.gso_type))
        return put_large(to, p);
    if (unlikely(!has_buffers(to, 1)))
        return false;
    put_one(to, p->head, p->have, flags, p);
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
            put_one(to, k->frame, k->len, k->csum_valid ? NETRXF_data_validated : 0, NULL);
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
        put_one(to, frame, len, NETRXF_data_validated, NULL);
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
