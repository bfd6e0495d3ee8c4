#include "svc/vfr_pieces.h"
#include "base/string.h"
#include "core/vfr_fragment.h"
#include "core/vfr_wire.h"
#include "kern/heap.h"
#include "kern/random.h"
#include "kern/timer.h"
#include "svc/vfr_ask.h"
#include "svc/vfr_judgement.h"

/* Contexts that end between two looks at the clock. */
#define EXPIRED_AT_ONCE 32

static struct spinlock pieces_lock = SPINLOCK(LOCK_VFR_PIECES);

/* (pieces lock) NULL: there was no piece yet. */
static struct table {
    struct vfr_fragments fragments;
    struct vfr_kept *kept[VFR_CONTEXTS]; /* oldest first */
    struct vfr_context contexts[VFR_CONTEXTS];
    struct timer clock;
    bool ticks;
} * table;

/* ---- copies ---- */

static struct vfr_kept *alloc_kept(u32 len)
{
    const size_t size = sizeof(struct vfr_kept) + len;

    if (size > PAGE_SIZE)
        return NULL;
    return size > 2048 ? heap_alloc_pages(0) : heap_alloc(size);
}

void vfr_piece_free(struct vfr_kept *k)
{
    const size_t size = sizeof(struct vfr_kept) + k->len;

    if (size > 2048)
        heap_free_pages(k, 0);
    else
        heap_free(k, size);
}

/* One without memory, or longer than a page, is lost, as it may be anywhere on its way. */
static enum vfr_reason keep(const struct vif_packet *p, u32 ticket)
{
    struct vfr_kept *k = alloc_kept(p->len), **end;
    u32 skip = p->have, at = skip;

    if (!k)
        return VFR_R_FRAG_LIMIT;
    k->len = p->len;
    k->csum_valid = p->csum_valid;
    memcpy(k->frame, p->head, p->have);
    for (unsigned i = 0; i < p->nr; i++) {
        const struct vif_part *part = &p->parts[i];
        u32 from = MIN(skip, (u32)part->size);

        memcpy(k->frame + at, vif_part(part, from), part->size - from);
        at += part->size - from;
        skip -= from;
    }
    for (end = &table->kept[vfr_ticket_slot(ticket)]; *end; end = &(*end)->next)
        ;
    *end = k;
    return VFR_R_CONSUMED;
}

static void count_drop(u16 vif, enum vfr_reason why)
{
    struct vif *f = vfr_find(vif);

    if (f)
        f->counters.drops[why]++;
}

/* What is kept for a ticket goes nowhere. */
static void drop_kept(u32 ticket, enum vfr_reason why)
{
    const u16 slot = vfr_ticket_slot(ticket), vif = table->contexts[slot].vif;
    struct vfr_kept *k = table->kept[slot], *next;

    table->kept[slot] = NULL;
    vfr_fragment_release(&table->fragments, ticket);
    for (; k; k = next) {
        next = k->next;
        vfr_piece_free(k);
        count_drop(vif, why);
    }
}

/* ---- the clock ---- */

static void set_clock(void)
{
    ns_t next = vfr_fragment_deadline(&table->fragments);

    if (next && !table->ticks)
        timer_set(&table->clock, next);
    table->ticks = next;
}

static void tick(void *arg)
{
    const ns_t now = time_now();
    u32 ticket = 0;

    lock(&pieces_lock);
    for (unsigned n = 0; n < EXPIRED_AT_ONCE && ticket != VFR_NO_TICKET; n++) {
        ticket = vfr_fragment_expire(&table->fragments, now);
        if (ticket != VFR_NO_TICKET)
            drop_kept(ticket, VFR_R_FRAG_ORPHAN);
    }
    table->ticks = false;
    set_clock();
    unlock(&pieces_lock);
}

/* With the lock. */
static bool is_ready(void)
{
    if (table)
        return true;
    table = heap_alloc_pages(heap_order(sizeof(*table)));
    if (!table)
        return false;
    vfr_fragment_init(&table->fragments, table->contexts, VFR_CONTEXTS, random_u64());
    timer_init(&table->clock, tick, NULL);
    return true;
}

/* ---- pieces ---- */

static struct vfr_origin origin_of(const struct vif_packet *p)
{
    const struct vif *in = p->from->vif;

    return (struct vfr_origin){in->index, in->kind == VFR_UPLINK,
                               vfr_lease_is_shared(&vfr_leases, p->parsed.tuple.src)};
}

/* It is dropped, and all that is kept for it, or it is kept itself. */
static enum vfr_reason end_here(const struct vif_packet *p, const struct vfr_fragment_answer *a)
{
    if (a->verdict == VFR_F_HOLD)
        return keep(p, a->ticket);
    if (a->verdict != VFR_F_DROP)
        return VFR_R_FRAG_ORPHAN;
    if (a->ticket != VFR_NO_TICKET)
        drop_kept(a->ticket, a->decision.why);
    return a->decision.why;
}

static enum vfr_reason find_way(struct vif_packet *p, struct vif **out)
{
    const struct vfr_origin from = origin_of(p);
    const struct vfr_decision *d;
    struct vfr_fragment_answer a;
    enum vfr_reason why;

    if (!is_ready())
        return VFR_R_FRAG_LIMIT;
    d = vfr_fragment_way(&table->fragments, &p->parsed, from);
    if (d) {
        *out = vfr_find(d->out);
        p->parsed.flags |= d->flags;
        p->parsed.tuple.sport = d->sport;
        p->parsed.tuple.dport = d->dport;
        return VFR_R_OK;
    }
    if (p->from->sink)
        return VFR_R_FRAG_ORPHAN; /* unless its first piece comes in time */
    a = vfr_fragment_offer(&table->fragments, &p->parsed, from, p->now);
    why = end_here(p, &a);
    set_clock();
    return why;
}

rarely enum vfr_reason vfr_piece_way(struct vif_packet *p, struct vif **out)
{
    enum vfr_reason why;

    lock(&pieces_lock);
    why = find_way(p, out);
    unlock(&pieces_lock);
    return why;
}

static struct vfr_kept *take_kept(u32 ticket)
{
    struct vfr_kept *k = table->kept[vfr_ticket_slot(ticket)];

    table->kept[vfr_ticket_slot(ticket)] = NULL;
    vfr_fragment_release(&table->fragments, ticket);
    return k;
}

static enum vfr_reason enter(struct vif_packet *p, const struct vif *out,
                             struct vfr_kept **kept)
{
    const struct vfr_fragment_answer a =
        vfr_fragment_offer(&table->fragments, &p->parsed, origin_of(p), p->now);

    if (a.verdict != VFR_F_JUDGE && (a.verdict != VFR_F_RIDE || a.decision.out != out->index))
        return end_here(p, &a);
    if (p->parsed.class == VFR_C_IP4)
        vfr_fragment_set_id(p->head, a.new_id);
    if (a.verdict == VFR_F_JUDGE &&
        vfr_fragment_decide(
            &table->fragments, a.ticket,
            (struct vfr_decision){.out = out->index,
                                  .flags = p->parsed.flags & (VFR_P_QUERY | VFR_P_ANSWER),
                                  .sport = p->parsed.tuple.sport,
                                  .dport = p->parsed.tuple.dport}))
        *kept = take_kept(a.ticket);
    return VFR_R_OK;
}

enum vfr_reason vfr_piece_enter(struct vif_packet *p, const struct vif *out,
                                struct vfr_kept **kept)
{
    enum vfr_reason why = VFR_R_FRAG_LIMIT;

    lock(&pieces_lock);
    if (is_ready()) {
        why = enter(p, out, kept);
        set_clock();
    }
    unlock(&pieces_lock);
    return why;
}

enum vfr_reason vfr_piece_follow(struct vif_packet *first, struct vif *out, struct vfr_kept *k)
{
    const u8 class = first->parsed.class;
    const bool v4 = class == VFR_C_IP4, hop = vfr_is_hop(first, out);
    u8 *ip = k->frame + ETH_HEADER;

    if (hop && ip[v4 ? 8 : 7] <= 1)
        return VFR_R_TTL;
    if ((v4 ? get_be16(ip + 2) : IP6_HEADER + get_be16(ip + 4)) > out->mtu)
        return VFR_R_MTU;
    if (!vfr_count_kept(first, out, k->len))
        return VFR_R_RATE;
    if (hop)
        vfr_take_hop(ip, class);
    if (v4)
        vfr_fragment_set_id(k->frame, get_be16(first->head + ETH_HEADER + 4));
    vfr_set_dscp(ip, class, (u8)(get_be16(first->head + ETH_HEADER) >> (v4 ? 2 : 6) & 63));
    memcpy(k->frame, first->head, 12); /* the link's addresses */
    return VFR_R_OK;
}

rarely void vfr_piece_refuse(const struct vif_packet *p, enum vfr_reason why)
{
    struct vfr_fragment_answer a;

    if (p->from->sink)
        return;
    lock(&pieces_lock);
    if (is_ready()) {
        a = vfr_fragment_offer(&table->fragments, &p->parsed, origin_of(p), p->now);
        if (a.verdict != VFR_F_JUDGE)
            (void)end_here(p, &a);
        else if (vfr_fragment_decide(&table->fragments, a.ticket,
                                     (struct vfr_decision){.out = VFR_NOBODY, .why = why}))
            drop_kept(a.ticket, why);
        set_clock();
    }
    unlock(&pieces_lock);
}

void vfr_piece_rename(struct vif_packet *p)
{
    if (p->from->sink)
        return;
    lock(&pieces_lock);
    if (is_ready())
        vfr_fragment_set_id(p->head, vfr_fragment_new_id(&table->fragments, &p->parsed.tuple));
    unlock(&pieces_lock);
}

void vfr_pieces_forget(u16 vif)
{
    u32 ticket = 0;

    while (ticket != VFR_NO_TICKET) {
        lock(&pieces_lock);
        ticket = table ? vfr_fragment_forget(&table->fragments, vif) : VFR_NO_TICKET;
        if (ticket != VFR_NO_TICKET)
            drop_kept(ticket, VFR_R_VIF_DOWN);
        unlock(&pieces_lock);
        preempt_point();
    }
}
