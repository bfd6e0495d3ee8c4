#include "svc/vif_turns.h"

#define QUANTUM      8192    /* less than a ring takes of the shortest packets */
#define RX_PATIENCE  1000000 /* ns */
#define LOOK_EVERY   (RX_PATIENCE / 2)
#define TIMEOUTS_MAX 8
#define FORGIVE      50000000 /* ns */

static struct vif_queue *queue_of(struct vfr_source *s)
{
    return container_of(s, struct vif_queue, source);
}

void vif_turns_init(struct vif_queue *q, void (*patience)(void *q))
{
    vfr_ring_init(&q->senders, QUANTUM);
    timer_init(&q->patience, patience, q);
}

static void look_again(struct vif_queue *to, ns_t in)
{
    to->watched_over = true;
    timer_set(&to->patience, time_now() + in);
}

static void join(struct vif_queue *to, struct vif_queue *q)
{
    if (!to->senders.count)
        to->progress = to->rx.next - 1; /* whoever comes first has all the time */
    if (to->served == q && !to->expiring) {
        vfr_ring_return(&to->senders, &q->source);
    } else {
        vfr_source_rest(&q->source);
        vfr_ring_join(&to->senders, &q->source);
    }
    if (to->served == q)
        to->served = NULL;
    else
        to->nr_senders++;
    if (!to->watched_over)
        look_again(to, LOOK_EVERY);
    __atomic_store_n(&q->waits_for, to, __ATOMIC_RELEASE);
}

enum vfr_reason vif_wait(struct vif_queue *to, const struct vif_packet *p, bool starved)
{
    bool expired = __atomic_exchange_n(&p->from->expired, false, __ATOMIC_RELAXED);

    if (to->vif->kind == VFR_PUNT)
        return VFR_R_PUNT_FULL; /* its ring is all the queue there is */
    if (to->timeouts == TIMEOUTS_MAX)
        return VFR_R_RX_SLOW;
    if (expired) {
        if (!to->timeouts++)
            to->forgive_at = p->now + FORGIVE;
        return VFR_R_RX_FULL;
    }
    to->starved |= starved;
    join(to, p->from);
    return VIF_WAITS;
}

static void end_turn(struct vif_queue *to)
{
    to->served = NULL;
    to->nr_senders--;
}

void vif_turns_put(struct vif_queue *to, const struct vif_packet *p)
{
    struct vif_queue *q = p->from;

    if (p->now >= to->forgive_at)
        to->timeouts = 0;
    if (to->served != q)
        return;
    to->expiring = 0;
    __atomic_store_n(&q->expired, false, __ATOMIC_RELAXED);
    if (!vfr_source_charge(&q->source, p->len))
        end_turn(to);
}

void vif_turns_fed(struct vif_queue *to)
{
    lock(&to->rx_lock);
    to->starved = false;
    unlock(&to->rx_lock);
}

/* It is out of the ring already. */
static struct vif_queue *serve(struct vif_queue *to, struct vfr_source *s)
{
    struct vif_queue *q = queue_of(s);

    to->served = q;
    to->starved = false; /* it may need fewer */
    __atomic_store_n(&q->waits_for, NULL, __ATOMIC_RELEASE);
    return q;
}

struct vif_queue *vif_turns_next(struct vif_queue *to, bool *again)
{
    struct vfr_source *s = NULL;

    lock(&to->rx_lock);
    *again = to->senders.count && !to->served && !to->starved;
    if (*again)
        s = vfr_ring_take(&to->senders);
    if (s)
        serve(to, s);
    unlock(&to->rx_lock);
    return s ? queue_of(s) : NULL;
}

/* The first one has waited in vain, and all who wait now are told so one after the other. */
static struct vfr_source *expire(struct vif_queue *to)
{
    struct vfr_source *s = to->senders.head;

    if (!to->expiring)
        to->expiring = (u8)MIN(to->senders.count, 255U);
    if (!--to->expiring)
        to->progress = to->rx.next - 1;
    vfr_ring_leave(&to->senders, s);
    __atomic_store_n(&queue_of(s)->expired, true, __ATOMIC_RELAXED);
    return s;
}

static struct vfr_source *tick(struct vif_queue *to)
{
    struct vfr_source *s = NULL;
    ns_t in = 0;

    if (to->served && to->progress == to->rx.next) {
        end_turn(to); /* whoever moves its packets has lost his CPU */
    } else if (to->served) {
        to->progress = to->rx.next;
        in = LOOK_EVERY;
    } else if (to->expiring || (to->starved && to->progress == to->rx.next)) {
        s = expire(to);
    } else if (!to->starved) {
        s = vfr_ring_take(&to->senders);
    } else {
        to->progress = to->rx.next;
        in = LOOK_EVERY;
    }
    look_again(to, in);
    return s;
}

struct vif_queue *vif_turns_tick(struct vif_queue *to)
{
    struct vfr_source *s = NULL;

    lock(&to->rx_lock);
    if (to->nr_senders) {
        s = tick(to);
    } else {
        to->watched_over = false;
        to->expiring = 0;
    }
    if (s)
        serve(to, s);
    unlock(&to->rx_lock);
    return s ? queue_of(s) : NULL;
}

void vif_turns_over(struct vif_queue *to, struct vif_queue *q)
{
    __atomic_store_n(&q->expired, false, __ATOMIC_RELAXED);
    lock(&to->rx_lock);
    if (to->served == q)
        end_turn(to);
    unlock(&to->rx_lock);
}

void vif_stop_waiting(struct vif_queue *q)
{
    struct vif_queue *to = __atomic_load_n(&q->waits_for, __ATOMIC_ACQUIRE);

    if (!to)
        return;
    lock(&to->rx_lock);
    if (q->waits_for == to) {
        vfr_ring_leave(&to->senders, &q->source);
        to->nr_senders--;
        to->starved = false; /* the next one may need fewer */
        __atomic_store_n(&q->waits_for, NULL, __ATOMIC_RELEASE);
    }
    unlock(&to->rx_lock);
}
