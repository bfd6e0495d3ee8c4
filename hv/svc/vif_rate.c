#include "svc/vif_rate.h"

#define BURST    KIB(128)  /* at least: two of the longest packets */
#define REST_MIN 1000000   /* ns; for many packets at once instead of a timer for each */
#define REST_MAX 100000000 /* so that a change of the rate is seen soon */

static int make_limit(struct vfr_limit *l, const struct serai_vfr_vif *op)
{
    *l = (struct vfr_limit){0};
    if (!op->rate_bytes && !op->rate_usec)
        return 0;
    return vfr_limit_set(l, op->rate_bytes, op->rate_usec,
                         (u32)MIN(MAX(op->rate_bytes, BURST), ~0U));
}

bool vif_rate_is_valid(const struct serai_vfr_vif *op)
{
    struct vfr_limit l;

    return !make_limit(&l, op);
}

void vif_rate_set(struct vif *f, const struct serai_vfr_vif *op)
{
    f->rate_bytes = op->rate_bytes;
    f->rate_usec = op->rate_usec;
    (void)!make_limit(&f->rate, op);
    __atomic_store_n(&f->rate_due, 0, __ATOMIC_RELAXED);
}

static u8 bit_of(const struct vif_queue *q)
{
    return (u8)(1U << (q - q->vif->queues));
}

static void rest(struct vif *f, ns_t until)
{
    if (!__atomic_exchange_n(&f->rests, true, __ATOMIC_SEQ_CST))
        timer_set(&f->resume, until);
}

bool vif_may_send(struct vif_queue *q, ns_t now)
{
    struct vif *f = q->vif;
    u64 due = __atomic_load_n(&f->rate_due, __ATOMIC_RELAXED);
    ns_t wait = (ns_t)vfr_limit_wait(&f->rate, due, now);

    if (!wait && !__atomic_load_n(&f->rests, __ATOMIC_RELAXED))
        return true;
    __atomic_or_fetch(&f->resting, bit_of(q), __ATOMIC_SEQ_CST);
    if (!wait && !__atomic_load_n(&f->rests, __ATOMIC_SEQ_CST))
        return true;
    /* What gathers meanwhile is not lost as long as it is less than the depth. */
    wait += MIN(REST_MIN, (ns_t)(f->rate.depth / VFR_TICKS_PER_NS / 2));
    rest(f, now + MIN(wait, REST_MAX));
    return false;
}

bool vif_has_sent(struct vif_queue *q, u32 bytes, ns_t now)
{
    struct vif *f = q->vif;
    u64 due = __atomic_load_n(&f->rate_due, __ATOMIC_RELAXED);

    while (!__atomic_compare_exchange_n(&f->rate_due, &due,
                                        vfr_limit_charge(&f->rate, due, bytes, now), false,
                                        __ATOMIC_RELAXED, __ATOMIC_RELAXED))
        ;
    return vif_may_send(q, now);
}

void vif_rate_init(struct vif *f, void (*resume)(void *f))
{
    timer_init(&f->resume, resume, f);
}

void vif_rate_stop(struct vif *f)
{
    timer_stop(&f->resume);
    __atomic_store_n(&f->resting, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&f->rests, false, __ATOMIC_RELAXED);
}

struct vif_queue *vif_rate_next(struct vif *f)
{
    u8 resting = __atomic_load_n(&f->resting, __ATOMIC_SEQ_CST);

    while (resting && !(resting >> ++f->rested % VFR_QUEUES & 1))
        ;
    f->rested %= VFR_QUEUES;
    __atomic_and_fetch(&f->resting, ~(1U << f->rested), __ATOMIC_SEQ_CST);
    __atomic_store_n(&f->rests, false, __ATOMIC_SEQ_CST);
    return resting ? &f->queues[f->rested] : NULL;
}

void vif_rate_go_on(struct vif *f, const struct vif_queue *again)
{
    if (again)
        __atomic_or_fetch(&f->resting, bit_of(again), __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&f->resting, __ATOMIC_SEQ_CST))
        rest(f, time_now());
}
