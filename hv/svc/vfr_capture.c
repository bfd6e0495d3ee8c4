#include "svc/vfr_capture.h"
#include "base/format.h"
#include "base/string.h"
#include "core/vfr_checksum.h"
#include "core/vfr_wire.h"
#include "guest/vtime.h"
#include "kern/heap.h"
#include "svc/vfr_log.h"

#define SECONDS_MAX 86400
#define SECOND      1000000000l
#define RING_SIZE   KIB(256)

/* FREE -> BUSY -> ON -> BUSY -> FREE; on the second way until its end is written down. */
enum state { FREE, BUSY, ON };

struct capture {
    struct spinlock lock;
    enum state state; /* (lock) */
    bool owes;        /* BUSY: its end is not written down, 'end' will try again */
    u16 vif;
    u32 snap;
    struct timer end;
    struct vfr_log_ring ring;
    struct vfr_log log; /* (lock) */
};

u32 vfr_captures;
static struct capture *all[VFR_CAPTURES]; /* (atomic) made when first needed */

static int write_down(u32 which, u16 op, const struct capture *c, u32 seconds)
{
    char text[64];
    struct vfr_audit_entry e = {
        .origin = VFR_BY_SERAI, .op = op, .object = which, .after = text};

    format(text, sizeof(text), "vif=%u snap=%u seconds=%u", c->vif, c->snap, seconds);
    return vfr_log_change(&e);
}

static bool take(struct capture *c, enum state from)
{
    bool taken;

    lock(&c->lock);
    taken = c->state == from;
    if (taken)
        c->state = BUSY;
    unlock(&c->lock);
    return taken;
}

static void become(struct capture *c, enum state state)
{
    lock(&c->lock);
    c->state = state;
    unlock(&c->lock);
}

/* In state BUSY, off already. */
static void finish(struct capture *c, u32 which)
{
    c->owes = write_down(which, VFR_AUDIT_CAPTURED, c, 0);
    if (c->owes)
        timer_set(&c->end, time_now() + SECOND);
    else
        become(c, FREE);
}

static u32 number_of(const struct capture *c)
{
    u32 which = 0;

    while (all[which] != c)
        which++;
    return which;
}

static void timed_out(void *arg)
{
    struct capture *c = arg;
    const u32 which = number_of(c);

    if (!c->owes && !take(c, ON))
        return; /* somebody ends it just now */
    __atomic_and_fetch(&vfr_captures, ~(1U << which), __ATOMIC_SEQ_CST);
    finish(c, which);
}

/* With the room that its ring takes; the caller has the slot. */
static struct capture *make(void)
{
    const struct vfr_log_writer nobody = {0};
    struct capture *c = heap_alloc_pages(heap_order(sizeof(*c)));
    void *data = c ? heap_alloc_pages(heap_order(RING_SIZE)) : NULL;

    if (!data) {
        if (c)
            heap_free_pages(c, heap_order(sizeof(*c)));
        return NULL;
    }
    c->lock = (struct spinlock)SPINLOCK(LOCK_VFR_CAPTURE);
    c->state = BUSY;
    BUG_ON(vfr_log_init(&c->log, &c->ring, data, RING_SIZE, &nobody));
    timer_init(&c->end, timed_out, c);
    return c;
}

/* One that is BUSY and the caller's. */
static int reserve(u32 *which)
{
    struct capture *c, *none;

    for (*which = 0; *which < VFR_CAPTURES; ++*which) {
        c = __atomic_load_n(&all[*which], __ATOMIC_ACQUIRE);
        if (c && take(c, FREE))
            return 0;
        if (c)
            continue;
        c = make();
        if (!c)
            return -XEN_ENOMEM;
        none = NULL;
        if (__atomic_compare_exchange_n(&all[*which], &none, c, false, __ATOMIC_ACQ_REL,
                                        __ATOMIC_ACQUIRE))
            return 0;
        heap_free_pages(c->log.out.data, heap_order(RING_SIZE));
        heap_free_pages(c, heap_order(sizeof(*c)));
    }
    return -XEN_ENOSPC;
}

int vfr_capture_start(u16 vif, u32 snap, u32 seconds, u32 *which)
{
    struct capture *c;
    int rc;

    if (!snap || snap > VFR_CAPTURE_MAX || !seconds || seconds > SECONDS_MAX)
        return -XEN_EINVAL;
    rc = reserve(which);
    if (rc)
        return rc;
    c = all[*which];
    c->vif = vif;
    c->snap = snap;
    rc = write_down(*which, VFR_AUDIT_CAPTURE, c, seconds);
    if (rc) {
        become(c, FREE);
        return rc;
    }
    timer_set(&c->end, time_now() + seconds * SECOND);
    /* Packets come by first: whoever ends it, once it is on, finds that to take back. */
    __atomic_or_fetch(&vfr_captures, 1U << *which, __ATOMIC_SEQ_CST);
    become(c, ON);
    return 0;
}

int vfr_capture_stop(u32 which)
{
    struct capture *c =
        which < VFR_CAPTURES ? __atomic_load_n(&all[which], __ATOMIC_ACQUIRE) : NULL;

    if (!c || !take(c, ON))
        return -XEN_ENOENT;
    __atomic_and_fetch(&vfr_captures, ~(1U << which), __ATOMIC_SEQ_CST);
    timer_stop(&c->end);
    finish(c, which);
    return 0;
}

const struct vfr_log_stream *vfr_capture_find(u32 which)
{
    const struct capture *c =
        which < VFR_CAPTURES ? __atomic_load_n(&all[which], __ATOMIC_ACQUIRE) : NULL;

    return c ? &c->log.out : NULL;
}

/* ---- each packet, while there is a capture ---- */

/* As its sender sent it: what the router wrote into the copy is taken back. */
static void restore(const struct vif_packet *p, u8 *head)
{
    u8 *ip = head + p->parsed.l3_offset;

    memcpy(head, p->head, p->have);
    put_mac(head, p->parsed.eth_dst);
    put_mac(head + 6, p->parsed.eth_src);
    if (p->parsed.class == VFR_C_IP6) {
        ip[7] = p->parsed.ttl;
    } else if (p->parsed.class == VFR_C_IP4 && ip[8] != p->parsed.ttl) {
        const u16 old = get_be16(ip + 8);

        ip[8] = p->parsed.ttl;
        put_be16(ip + 10, vfr_checksum_update(get_be16(ip + 10), old, get_be16(ip + 8)));
    }
}

static void put(struct capture *c, const struct vif_packet *p, const struct vif *at,
                const u8 *bytes, struct vfr_log_frame f)
{
    const struct vfr_log_moment m = {p->now, vtime_utc(p->now), 0};

    f.bytes = bytes;
    f.have = MIN(p->have, c->snap);
    f.len = p->len;
    f.vif = (u32)at->domid << 16 | at->handle;
    f.flags |= (p->offload.csum_blank ? VFR_CAPTURE_CSUM : 0) |
               (p->offload.gso_type ? VFR_CAPTURE_GSO : 0);
    (void)vfr_log_capture(&c->log, &m, &f);
}

static void capture(u32 which, const struct vif_packet *p, const struct vif_queue *to,
                    enum vfr_reason reason)
{
    struct capture *c = all[which];
    const struct vif *from = p->from->vif;
    u8 sent[VFR_SNAPSHOT] __unset;

    lock(&c->lock);
    if (c->state == ON && (c->vif == VFR_NOBODY || c->vif == from->index)) {
        restore(p, sent);
        put(c, p, from, sent,
            (struct vfr_log_frame){
                .capture = (u8)which, .reason = (u16)reason, .flags = VFR_CAPTURE_IN});
    }
    if (c->state == ON && to && c->vif == to->vif->index)
        put(c, p, to->vif, p->head, (struct vfr_log_frame){.capture = (u8)which});
    unlock(&c->lock);
}

void vfr_capture(const struct vif_packet *p, const struct vif_queue *to, enum vfr_reason reason)
{
    const u32 on = __atomic_load_n(&vfr_captures, __ATOMIC_ACQUIRE);

    if (p->have < ETH_HEADER)
        return;
    for (u32 i = 0; i < VFR_CAPTURES; i++)
        if (on >> i & 1)
            capture(i, p, to, reason);
}
