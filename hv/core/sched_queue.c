#include "core/sched_queue.h"

void queue_change_weight(struct sched_queue *q, struct sched_unit *u)
{
    queue_sub(q, u);
    queue_make_weight(q, u, __atomic_load_n(&u->dom->n_active, __ATOMIC_RELAXED), q->weight,
                      q->nr_ready + q->nr_run - 1);
    queue_add(q, u);
}

void queue_insert(struct sched *s, struct sched_queue *q, struct sched_unit *u)
{
    bool unsaved = u->on_cpu != NO_CPU;

    u->odd = u->limited | unsaved | u->dom->special;
    q->nr_odd += u->odd;
    q->nr_picky += u->picky;
    q->nr_unsaved += unsaved;
    queue_insert_usual(s, q, u);
}

__cold void queue_enter(struct sched *s, struct sched_queue *q, struct sched_unit *u, ns_t now)
{
    queue_join(q, u, now);
    queue_insert(s, q, u);
}

void queue_remove(struct sched *s, struct sched_queue *q, struct sched_unit *u)
{
    queue_remove_usual(s, q, u);
    q->nr_picky -= u->picky;
    if (!u->odd)
        return;
    q->nr_odd--;
    q->nr_unsaved -= u->on_cpu != NO_CPU;
    u->odd = false;
}

void queue_saved(struct sched_queue *q, struct sched_unit *u)
{
    bool odd = u->limited || u->dom->special;

    u->on_cpu = NO_CPU;
    if (u->state != UNIT_READY)
        return;
    q->nr_unsaved--;
    q->nr_odd += (u32)odd - (u32)u->odd;
    u->odd = odd;
}

void queue_charge_special(struct sched_unit *u, ns_t d)
{
    struct sched_domain *dom = u->dom;

    if (dom->gang_active)
        u->gang_ran += d;
    if (!dom->metered)
        return;
    __atomic_sub_fetch(&dom->cap_left, dom->cap_quota ? d : 0, __ATOMIC_RELAXED);
    __atomic_sub_fetch(&dom->reserve_left, queue_reserved(dom) ? d : 0, __ATOMIC_RELAXED);
}

__cold void queue_move(struct sched *s, struct sched_unit *u, struct sched_queue *to, ns_t now)
{
    u->vrt += queue_virtual_time(to, now) - queue_virtual_time(u->queue, now);
    queue_enter_other(s, u, to);
}

__cold void queue_transfer(struct sched *s, struct sched_unit *u, struct sched_queue *q,
                           u64 there, ns_t now)
{
    queue_transfer_here(s, u, q, there, now);
}
