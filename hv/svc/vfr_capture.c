#include "svc/vfr_capture.h"
#include "base/format.h"
#include "base/string.h"
#include "core/vfr_checksum.h"
#include "core/vfr_filter.h"
#include "core/vfr_wire.h"
#include "guest/vtime.h"
#include "kern/heap.h"
#include "svc/vfr_ask.h"
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
    u32 vif, snap;
    struct vfr_filter filter;
    struct timer end;
    struct vfr_log_ring ring;
    struct vfr_log log;        /* (lock) */
    u8 frame[VFR_CAPTURE_MAX]; /* (lock) */
};
_Static_assert(VFR_SNAPSHOT <= VFR_CAPTURE_MAX, "a head fits into a frame");

u32 vfr_captures;
static struct capture *all[VFR_CAPTURES]; /* (atomic) made when first needed */

static int write_down(u32 which, u16 op, const struct capture *c, u32 seconds)
{
    const struct vfr_filter *f = &c->filter;
    char text[384];
    struct vfr_audit_entry e = {
        .origin = VFR_BY_SERAI, .op = op, .object = which, .after = text};
    u64 n = format(text, sizeof(text),
                   "vif=%u snap=%u seconds=%u ways=%u families=%u proto=%u reasons=%lx", c->vif,
                   c->snap, seconds, f->ways, f->families, f->proto, f->reasons);

    for (unsigned i = 0; i < VFR_FILTER_TERMS; i++) {
        const struct vfr_filter_address *a = &f->address[i];
        const struct vfr_filter_port *p = &f->port[i];

        n += format(text + n, sizeof(text) - n,
                    " ends=%u address=%016lx%016lx/%u ends=%u ports=%u-%u", a->ends, a->high,
                    a->low, a->length, p->ends, p->low, p->high);
    }
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

int vfr_capture_start(const struct serai_vfr_log *op, u32 *which)
{
    struct capture *c;
    int rc;

    if (op->vif > VFR_NOBODY || !op->snap || op->snap > VFR_CAPTURE_MAX || !op->seconds ||
        op->seconds > SECONDS_MAX)
        return -XEN_EINVAL;
    rc = vfr_filter_check(&op->filter);
    if (!rc)
        rc = reserve(which);
    if (rc)
        return rc;
    c = all[*which];
    c->vif = op->vif;
    c->snap = op->snap;
    c->filter = op->filter;
    rc = write_down(*which, VFR_AUDIT_CAPTURE, c, op->seconds);
    if (rc) {
        become(c, FREE);
        return rc;
    }
    timer_set(&c->end, time_now() + op->seconds * SECOND);
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

    put_mac(head, p->parsed.eth_dst);
    put_mac(head + 6, p->parsed.eth_src);
    if (p->parsed.class != VFR_C_ARP)
        vfr_set_dscp(ip, p->parsed.class, p->parsed.dscp);
    if (p->parsed.class == VFR_C_IP6) {
        ip[7] = p->parsed.ttl;
    } else if (p->parsed.class == VFR_C_IP4 && ip[8] != p->parsed.ttl) {
        const u16 old = get_be16(ip + 8);

        ip[8] = p->parsed.ttl;
        put_be16(ip + 10, vfr_checksum_update(get_be16(ip + 10), old, get_be16(ip + 8)));
    }
}

/* Of a packet seen at 'at'. */
static void put(struct capture *c, u32 which, const struct vif_packet *p, const struct vif *at,
                struct vfr_log_frame f)
{
    const struct vfr_log_moment m = {p->now, vtime_utc(p->now), 0};

    f.capture = (u8)which;
    f.bytes = c->frame;
    f.have = MIN(p->len, c->snap);
    f.len = p->len;
    f.vif = (u32)at->domid << 16 | at->handle;
    f.flags |= (p->offload.csum_blank ? VFR_CAPTURE_CSUM : 0) |
               (p->offload.gso_type ? VFR_CAPTURE_GSO : 0);
    (void)vfr_log_capture(&c->log, &m, &f);
}

/* What follows the head is read once more: its sender may have changed it meanwhile. */
static void read_frame(struct capture *c, const struct vif_packet *p)
{
    (void)vif_copy_parts(p, c->frame, c->snap);
    memcpy(c->frame, p->head, p->have);
}

static bool wants(const struct capture *c, const struct vif_packet *p, enum vfr_reason reason,
                  const struct vif *at, u8 way)
{
    return (c->vif == VFR_NOBODY || c->vif == at->index) &&
           vfr_filter_wants(&c->filter, &p->parsed, reason, way);
}

/* With its lock, while it is on. */
static void capture(u32 which, const struct vif_packet *p, const struct vif_queue *to,
                    enum vfr_reason reason)
{
    struct capture *c = all[which];
    const struct vif *from = p->from->vif;
    const bool in = wants(c, p, reason, from, VFR_FILTER_IN),
               out = to && reason == VFR_R_OK && wants(c, p, reason, to->vif, VFR_FILTER_OUT);

    if (in || out)
        read_frame(c, p);
    if (out)
        put(c, which, p, to->vif, (struct vfr_log_frame){0});
    if (in && to)
        restore(p, c->frame);
    if (in)
        put(c, which, p, from,
            (struct vfr_log_frame){.reason = (u16)reason, .flags = VFR_CAPTURE_IN});
}

void vfr_capture(const struct vif_packet *p, const struct vif_queue *to, enum vfr_reason reason)
{
    const u32 on = __atomic_load_n(&vfr_captures, __ATOMIC_ACQUIRE);

    if (p->have < ETH_HEADER)
        return;
    for (u32 i = 0; i < VFR_CAPTURES; i++) {
        if (!(on >> i & 1))
            continue;
        lock(&all[i]->lock);
        if (all[i]->state == ON)
            capture(i, p, to, reason);
        unlock(&all[i]->lock);
    }
}
