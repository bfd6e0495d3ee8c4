#include "svc/vfr_explain.h"
#include "base/string.h"
#include "guest/access.h"
#include "guest/quiesce.h"
#include "kern/heap.h"
#include "svc/vfr_answer.h"
#include "svc/vfr_forward.h"
#include "svc/vfr_leases.h"
#include "svc/vfr_log.h"
#include "svc/vfr_sink.h"

/* ---- what is noted on the way ---- */

void vfr_sink_judged(struct vfr_sink *s, const struct vfr_judgement *j,
                     const struct vfr_verdict *v)
{
    struct serai_vfr_explain *e = s->e;

    e->judged = 1;
    e->action = v->action;
    e->reject = v->reject;
    e->beyond = v->beyond;
    e->log = v->log;
    e->rule = v->rule;
    e->rule_id = v->id;
    e->generation = j->ruleset->generation;
    e->nr_steps = s->trace.nr;
    s->out = j->out->index;
}

int vfr_sink_begins(struct vfr_sink *s, const struct vfr_judgement *j,
                    const struct vfr_verdict *v)
{
    int rc;

    s->e->flow = VFR_EXPLAIN_BEGINS;
    /* Of a sample chance decides, and only when it happens. */
    if (v->log & VFR_LOG_STRICT && v->sample <= 1 && !vfr_log_has_space())
        return VFR_R_LOG_FULL;
    lock(&vfr.flow_lock);
    rc = vfr_flow_check_room(&vfr.flows, j->in->index, j->now);
    unlock(&vfr.flow_lock);
    return rc;
}

/* The flow may change or end meanwhile: it is told of as it was found. */
bool vfr_sink_belongs(struct vfr_sink *s, const struct vfr_judgement *j,
                      const struct vfr_flow_hit *hit)
{
    const struct vfr_flow *f = &vfr.flows.flow[hit->flow];
    const u32 generation = __atomic_load_n(&f->generation, __ATOMIC_RELAXED);
    struct serai_vfr_explain *e = s->e;

    s->out = j->out->index;
    e->is_answer = hit->answer;
    e->flow_id = f->id;
    e->rule = f->rule_index;
    e->rule_id = f->rule;
    e->generation = generation;
    memcpy(e->flow_packets, f->packets, sizeof(e->flow_packets));
    memcpy(e->flow_bytes, f->bytes, sizeof(e->flow_bytes));
    e->flow = (s32)(generation - j->ruleset->generation) < 0 ? VFR_EXPLAIN_REJUDGED
                                                             : VFR_EXPLAIN_BELONGS;
    return e->flow == VFR_EXPLAIN_BELONGS;
}

void vfr_sink_said(struct vfr_sink *s, const u8 *frame, u32 len)
{
    s->e->reply_len = (u16)MIN(len, sizeof(s->e->reply));
    memcpy(s->e->reply, frame, s->e->reply_len);
}

/* ---- one packet ---- */

/* All that it takes, but for the steps. */
struct attempt {
    struct vif_packet p;
    struct vif_queue from;
    struct vfr_sink sink;
};
_Static_assert(sizeof(struct attempt) <= 2048, "heap_alloc() has it");

static u8 stage_of(const struct serai_vfr_explain *e, const struct vfr_packet *x)
{
    switch (e->reason) {
    case VFR_R_OK:
    case VFR_R_SPREAD:
        return VFR_STAGE_SENT;
    case VFR_R_SHORT ... VFR_R_ETHERTYPE:
    case VFR_R_FRAG_OVERLAP ... VFR_R_FRAG_LIMIT:
        return VFR_STAGE_PACKET;
    case VFR_R_SPOOF_MAC ... VFR_R_SPOOF_DHCP:
        return VFR_STAGE_SPOOF;
    case VFR_R_CONSUMED:
        return VFR_STAGE_ROUTER;
    case VFR_R_RSIP_ADDR:
    case VFR_R_RSIP_PORT:
    case VFR_R_ICMP_ID_BUSY:
        return VFR_STAGE_LEASE;
    default:
        break;
    }
    if (e->judged)
        return VFR_STAGE_RULES;
    if (vfr_is_router(x->tuple.dst))
        return VFR_STAGE_ROUTER;
    return e->reason >= VFR_R_TCP_STATE && e->reason <= VFR_R_RATE ? VFR_STAGE_FLOW
                                                                   : VFR_STAGE_ROUTE;
}

static u16 owner_of(struct vfr_addr a, u8 proto, u16 port)
{
    const struct vfr_shared *s = vfr_lease_shared(&vfr_leases, a);

    return s ? vfr_ports_look(&vfr_leases.ports, s, vfr_lease_class(proto), port) : 0xffff;
}

/* 'a' has the packet, its interface and where to note. */
static void run(struct attempt *a)
{
    struct serai_vfr_explain *e = a->sink.e;
    const struct vfr_packet *x = &a->p.parsed;
    struct vif_queue *to = NULL;

    a->from.rx_lock = (struct spinlock)SPINLOCK(LOCK_VIF_RX);
    a->from.sink = &a->sink;
    a->from.doubt = VFR_SINK_DOUBT;
    a->p.from = &a->from;
    a->p.leader.version = 0;
    a->p.others = false;
    a->sink.out = VFR_NOBODY;
    e->reason = vfr_forward(&a->p, &to);
    if (to) {
        a->sink.out = to->vif->index;
        e->queue = (u16)(to - to->vif->queues);
    } else if (a->sink.out == VFR_NOBODY && a->from.way.out) {
        a->sink.out = a->from.way.out->index;
    }
    e->to = a->sink.out;
    e->stage = stage_of(e, x);
    e->source_port_owner = owner_of(x->tuple.src, x->tuple.proto, x->tuple.sport);
    e->port_owner = owner_of(x->tuple.dst, x->tuple.proto, x->tuple.dport);
}

static void fill(struct attempt *a, const struct serai_vfr_explain *op, struct vif *f)
{
    a->from.vif = f;
    a->p.now = time_now();
    a->p.have = op->have;
    a->p.len = op->len;
    a->p.csum_valid = op->csum_valid;
    a->p.offload = (struct vfr_offload){
        .csum_blank = op->csum_blank, .gso_type = op->gso_type, .gso_size = op->gso_size};
    memcpy(a->p.head, op->head, op->have);
}

static int copy_steps(const struct serai_vfr_explain *op, const struct vfr_step *steps)
{
    const u32 nr = MIN(op->nr_steps, op->max_steps);

    _Static_assert(sizeof(*steps) == sizeof(struct serai_vfr_step), "the same");
    return nr ? copy_to_guest((void *)op->steps, steps, nr * sizeof(*steps)) : 0;
}

static int explain(struct serai_vfr_explain *op, struct vif *f)
{
    const unsigned order = heap_order(MAX(op->max_steps, 1U) * sizeof(struct vfr_step));
    struct attempt *a = heap_alloc(sizeof(*a));
    struct vfr_step *steps = a ? heap_alloc_pages(order) : NULL;
    int rc = -XEN_ENOMEM;

    if (steps) {
        a->sink.e = op;
        a->sink.trace = (struct vfr_trace){.steps = steps, .max = op->max_steps};
        fill(a, op, f);
        run(a);
        memcpy(op->head, a->p.head, sizeof(op->head));
        rc = copy_steps(op, steps);
        heap_free_pages(steps, order);
    }
    if (a)
        heap_free(a, sizeof(*a));
    return rc;
}

static bool is_valid(const struct serai_vfr_explain *op)
{
    return !op->reserved && op->have <= VFR_EXPLAIN_HEAD && op->have <= op->len &&
           op->len <= 0xffff && op->max_steps <= VFR_RULES_MAX;
}

static void clear_results(struct serai_vfr_explain *op)
{
    const size_t first = offsetof(struct serai_vfr_explain, reason);

    op->nr_steps = 0;
    memset((u8 *)op + first, 0, offsetof(struct serai_vfr_explain, head) - first);
}

/* ---- real packets ---- */

/* The next ones of an interface, first come, first noted. One interface at a time. */
static struct watch {
    u32 wanted, claimed; /* (atomic) places given to packets; may be more than there are */
    u32 collected;       /* (change) */
    struct place {
        struct attempt attempt;
        struct serai_vfr_explain e;
        bool done; /* (atomic) */
    } * places;
} watch;

#define PLACES_ORDER heap_order(VFR_EXPLAIN_WATCH_MAX * sizeof(struct place))

void vfr_explain_live(const struct vif_packet *p)
{
    const u32 i = __atomic_fetch_add(&watch.claimed, 1, __ATOMIC_RELAXED);
    struct place *at = &watch.places[i % VFR_EXPLAIN_WATCH_MAX];

    if (i >= watch.wanted) {
        __atomic_store_n(&p->from->watched, false, __ATOMIC_RELAXED);
        return;
    }
    memset(&at->attempt, 0, sizeof(at->attempt));
    at->e = (struct serai_vfr_explain){.vif = p->from->vif->index,
                                       .have = (u16)p->have,
                                       .len = p->len,
                                       .gso_type = p->offload.gso_type,
                                       .gso_size = p->offload.gso_size,
                                       .csum_blank = p->offload.csum_blank,
                                       .csum_valid = p->csum_valid};
    memcpy(at->e.head, p->head, MIN(p->have, sizeof(at->e.head)));
    at->attempt.sink.e = &at->e;
    fill(&at->attempt, &at->e, p->from->vif);
    run(&at->attempt);
    __atomic_store_n(&at->done, true, __ATOMIC_RELEASE);
}

static void set_watched(struct vif *f, bool on)
{
    for (unsigned i = 0; i < f->nr_queues; i++)
        __atomic_store_n(&f->queues[i].watched, on, __ATOMIC_RELAXED);
}

/* Nobody writes to a place when the last CPU has passed by. */
static int start_watch(struct vif *f, u32 n)
{
    struct vif *other;

    if (n > VFR_EXPLAIN_WATCH_MAX)
        return -XEN_EINVAL;
    if (!watch.places)
        watch.places = heap_alloc_pages(PLACES_ORDER);
    if (!watch.places)
        return -XEN_ENOMEM;
    for (u16 i = 0; (other = vfr_find(i)); i++)
        set_watched(other, false);
    quiesce_cpus();
    for (u32 i = 0; i < VFR_EXPLAIN_WATCH_MAX; i++)
        watch.places[i].done = false;
    watch.wanted = n;
    watch.claimed = watch.collected = 0;
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (n)
        set_watched(f, true);
    return 0;
}

static int collect(struct serai_vfr_explain *op)
{
    const struct place *at = &watch.places[watch.collected % VFR_EXPLAIN_WATCH_MAX];

    if (!watch.places || watch.collected >= watch.wanted ||
        !__atomic_load_n(&at->done, __ATOMIC_ACQUIRE))
        return -XEN_EAGAIN;
    *op = at->e;
    op->op = VFR_EXPLAIN_COLLECT;
    watch.collected++;
    return 0;
}

/* ---- domain 0's orders ---- */

static int about_vif(struct serai_vfr_explain *op, struct vif *f)
{
    switch (op->op) {
    case VFR_EXPLAIN_PACKET:
        clear_results(op);
        return is_valid(op) ? explain(op, f) : -XEN_EINVAL;
    case VFR_EXPLAIN_WATCH:
        return start_watch(f, op->len);
    default:
        return -XEN_EINVAL;
    }
}

int vfr_explain_call(struct serai_vfr_explain *op)
{
    struct vif *f = vfr_find(op->vif);
    int rc = -XEN_ENOENT;

    vfr_change_begin();
    if (op->op == VFR_EXPLAIN_COLLECT) {
        rc = collect(op);
    } else if (f && vfr_take(f)) {
        rc = about_vif(op, f);
        vfr_set_state(f, VIF_UP);
    }
    vfr_change_end();
    return rc;
}
