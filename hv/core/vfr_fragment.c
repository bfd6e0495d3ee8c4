#include "core/vfr_fragment.h"
#include "core/vfr_checksum.h"
#include "core/vfr_wire.h"

/* Every context lives as long as any other, so that the list by birth is the one by end too. */

static u64 mix(u64 a, u64 b)
{
    unsigned __int128 product = (unsigned __int128)(a ^ 0x9e3779b97f4a7c15) * (b | 1);

    return (u64)product ^ (u64)(product >> 64);
}

static u64 mix_addr(u64 h, struct vfr_addr a)
{
    return mix(mix(h, a.high ^ 0x5851f42d4c957f2d) + a.low, h ^ 0x14057b7ef767814f);
}

void vfr_fragment_init(struct vfr_fragments *t, struct vfr_context *contexts, uint32_t n,
                       uint64_t key)
{
    memset(t, 0, sizeof(*t)); /* too large for the stack */
    t->contexts = contexts;
    t->key = key;
    t->size = MIN(n, VFR_CONTEXTS);
    t->free = t->oldest = t->youngest = VFR_NO_CONTEXT;
    for (u32 i = t->size; i-- > 0;) {
        contexts[i] = (struct vfr_context){.next = t->free};
        t->free = i;
    }
    for (unsigned i = 0; i < VFR_CHAINS; i++)
        t->chain[i] = VFR_NO_CONTEXT;
    for (unsigned i = 0; i < VFR_ID_COUNTERS; i++)
        t->ids[i] = mix(key, i * 2 + 1);
}

/* ---- who pays ---- */

static u16 *chain_of(struct vfr_fragments *t, u16 vif, bool uplink, struct vfr_addr dst)
{
    u64 h = mix(t->key, vif * 2 + 1);

    return &t->chain[(uplink ? mix_addr(h, dst) : h) % VFR_CHAINS];
}

static bool same_payer(const struct vfr_context *x, const struct vfr_packet *p,
                       struct vfr_origin from)
{
    return x->vif == from.vif && (!x->uplink || vfr_addr_equal(x->dst, p->tuple.dst));
}

static u8 key_proto(const struct vfr_packet *p)
{
    return p->class == VFR_C_IP4 ? p->tuple.proto : 0;
}

static bool same_datagram(const struct vfr_context *x, const struct vfr_packet *p)
{
    return x->id == p->frag_id && x->proto == key_proto(p) &&
           vfr_addr_equal(x->src, p->tuple.src) && vfr_addr_equal(x->dst, p->tuple.dst);
}

/* What one payer has already, besides the context that was looked for. */
struct payer {
    u32 contexts, held_bytes;
    u16 found;
};

static struct payer look_up(struct vfr_fragments *t, const struct vfr_packet *p,
                            struct vfr_origin from)
{
    struct payer payer = {.found = VFR_NO_CONTEXT};
    u16 i = *chain_of(t, from.vif, from.uplink, p->tuple.dst);

    for (; i != VFR_NO_CONTEXT; i = t->contexts[i].next) {
        const struct vfr_context *x = &t->contexts[i];

        if (!same_payer(x, p, from))
            continue;
        payer.contexts++;
        payer.held_bytes += x->held_bytes;
        if (same_datagram(x, p))
            payer.found = i;
    }
    return payer;
}

/* ---- contexts ---- */

static u16 create(struct vfr_fragments *t, const struct vfr_packet *p, struct vfr_origin from,
                  ns_t now)
{
    u16 i = t->free, *chain = chain_of(t, from.vif, from.uplink, p->tuple.dst);
    struct vfr_context *x = &t->contexts[i];
    u16 serial = x->serial;

    /* Another CPU's clock may be a little behind. */
    if (t->youngest != VFR_NO_CONTEXT)
        now = MAX(now, t->contexts[t->youngest].born);

    t->free = x->next;
    *x = (struct vfr_context){.src = p->tuple.src,
                              .dst = p->tuple.dst,
                              .born = now,
                              .id = p->frag_id,
                              .vif = from.vif,
                              .serial = serial,
                              .proto = key_proto(p),
                              .uplink = from.uplink,
                              .new_id = p->frag_id,
                              .next = *chain,
                              .older = t->youngest,
                              .younger = VFR_NO_CONTEXT};
    *chain = i;
    if (t->youngest == VFR_NO_CONTEXT)
        t->oldest = i;
    else
        t->contexts[t->youngest].younger = i;
    t->youngest = i;
    t->used++;
    t->from_uplinks += from.uplink;
    if (from.sharer && p->class == VFR_C_IP4 && p->tuple.proto != PROTO_AH)
        x->new_id = vfr_fragment_new_id(t, &p->tuple);
    return i;
}

static void unlink_age(struct vfr_fragments *t, const struct vfr_context *x)
{
    if (x->older == VFR_NO_CONTEXT)
        t->oldest = x->younger;
    else
        t->contexts[x->older].younger = x->younger;
    if (x->younger == VFR_NO_CONTEXT)
        t->youngest = x->older;
    else
        t->contexts[x->younger].older = x->older;
}

static void destroy(struct vfr_fragments *t, u16 i)
{
    struct vfr_context *x = &t->contexts[i];
    u16 *link = chain_of(t, x->vif, x->uplink, x->dst);

    while (*link != i)
        link = &t->contexts[*link].next;
    *link = x->next;
    unlink_age(t, x);
    t->used--;
    t->from_uplinks -= x->uplink;
    *x = (struct vfr_context){.next = t->free, .serial = x->serial + 1};
    t->free = i;
}

/* Who is too old and leaves nothing behind; a few at a time. */
static void sweep(struct vfr_fragments *t, ns_t now)
{
    for (unsigned i = 0; i < 8 && t->oldest != VFR_NO_CONTEXT; i++) {
        const struct vfr_context *x = &t->contexts[t->oldest];

        if (x->held || now - x->born < VFR_FRAGMENT_LIFE)
            return;
        destroy(t, t->oldest);
    }
}

static u32 ticket_of(const struct vfr_fragments *t, u16 slot)
{
    return (u32)t->contexts[slot].serial << 16 | slot;
}

/* The context that a ticket was given for, or NULL when it is gone. */
static struct vfr_context *context_of(struct vfr_fragments *t, u32 ticket)
{
    u16 slot = vfr_ticket_slot(ticket);

    return slot < t->size && ticket_of(t, slot) == ticket ? &t->contexts[slot] : NULL;
}

/* ---- what arrived ---- */

enum fit { FIT, COVERED, CONTRADICTS, FULL };

static enum fit overlap(const struct vfr_context *x, u16 from, u16 to)
{
    for (unsigned i = 0; i < x->ranges; i++) {
        if (to <= x->range[i].from || from >= x->range[i].to)
            continue;
        return from >= x->range[i].from && to <= x->range[i].to ? COVERED : CONTRADICTS;
    }
    return FIT;
}

static bool end_contradicts(const struct vfr_context *x, u16 to, bool last)
{
    if (x->end && (to > x->end || (last && to != x->end)))
        return true;
    for (unsigned i = 0; last && i < x->ranges; i++)
        if (x->range[i].to > to)
            return true;
    return false;
}

/* Adds what touches no range, or lengthens the ones that it touches. */
static enum fit add_range(struct vfr_context *x, u16 from, u16 to)
{
    unsigned before = x->ranges, behind = x->ranges;

    for (unsigned i = 0; i < x->ranges; i++) {
        if (x->range[i].to == from)
            before = i;
        if (x->range[i].from == to)
            behind = i;
    }
    if (before < x->ranges && behind < x->ranges) {
        x->range[before].to = x->range[behind].to;
        x->range[behind] = x->range[--x->ranges];
    } else if (before < x->ranges) {
        x->range[before].to = to;
    } else if (behind < x->ranges) {
        x->range[behind].from = from;
    } else if (x->ranges == VFR_RANGES) {
        return FULL;
    } else {
        x->range[x->ranges].from = from;
        x->range[x->ranges++].to = to;
    }
    return FIT;
}

static enum fit arrive(struct vfr_context *x, const struct vfr_packet *p)
{
    u16 from = p->frag_offset / 8, to = (p->frag_offset + p->frag_len + 7) / 8;
    bool last = p->flags & VFR_P_LAST;
    enum fit fit;

    if (end_contradicts(x, to, last))
        return CONTRADICTS;
    fit = overlap(x, from, to);
    if (fit != FIT)
        return fit;
    if (x->pieces == VFR_PIECES_MAX || add_range(x, from, to) == FULL)
        return FULL;
    x->pieces++;
    if (last)
        x->end = to;
    return FIT;
}

static bool complete(const struct vfr_context *x)
{
    return x->end && x->ranges == 1 && !x->range[0].from && x->range[0].to == x->end;
}

static bool finished(const struct vfr_context *x)
{
    return !x->held && x->state == VFR_X_JUDGED && complete(x);
}

/* ---- verdicts ---- */

static struct vfr_fragment_answer drop(enum vfr_reason why)
{
    return (struct vfr_fragment_answer){.verdict = VFR_F_DROP,
                                        .decision = {.out = VFR_NOBODY, .why = why},
                                        .ticket = VFR_NO_TICKET};
}

/* Remembered until its time is over: its other pieces must not begin anew. */
static struct vfr_fragment_answer kill(struct vfr_fragments *t, u16 slot, enum vfr_reason why)
{
    struct vfr_context *x = &t->contexts[slot];
    struct vfr_fragment_answer a = drop(why);

    x->state = VFR_X_DEAD;
    x->decision = a.decision;
    if (x->held)
        a.ticket = ticket_of(t, slot);
    return a;
}

static struct vfr_fragment_answer pass(struct vfr_fragments *t, u16 slot,
                                       enum vfr_fragment_verdict verdict)
{
    const struct vfr_context *x = &t->contexts[slot];

    return (struct vfr_fragment_answer){.verdict = verdict,
                                        .decision = x->decision,
                                        .ticket = ticket_of(t, slot),
                                        .new_id = x->new_id};
}

static struct vfr_fragment_answer hold(struct vfr_fragments *t, u16 slot, u32 len,
                                       u32 payers_bytes)
{
    struct vfr_context *x = &t->contexts[slot];

    if (len > VFR_HELD_MAX - t->held_bytes || payers_bytes + len > VFR_HELD_MAX / 8)
        return kill(t, slot, VFR_R_FRAG_LIMIT);
    x->held++;
    x->held_bytes += len;
    t->held_bytes += len;
    return pass(t, slot, VFR_F_HOLD);
}

static struct vfr_fragment_answer follow(struct vfr_fragments *t, u16 slot)
{
    struct vfr_context *x = &t->contexts[slot];
    struct vfr_fragment_answer a =
        x->decision.why ? drop(x->decision.why) : pass(t, slot, VFR_F_RIDE);

    if (finished(x))
        destroy(t, slot);
    return a;
}

/* A piece of a datagram that has a context. */
static struct vfr_fragment_answer offer_to(struct vfr_fragments *t, u16 slot,
                                           const struct vfr_packet *p, u32 payers_bytes)
{
    struct vfr_context *x = &t->contexts[slot];
    enum fit fit;

    if (x->state == VFR_X_DEAD)
        return drop(x->decision.why);
    fit = arrive(x, p);
    if (fit == COVERED)
        return drop(VFR_R_FRAG_OVERLAP);
    if (fit != FIT)
        return kill(t, slot, fit == FULL ? VFR_R_FRAG_LIMIT : VFR_R_FRAG_OVERLAP);
    if (p->flags & VFR_P_FIRST) {
        x->first = true;
        return pass(t, slot, VFR_F_JUDGE);
    }
    return x->state == VFR_X_JUDGED ? follow(t, slot) : hold(t, slot, p->len, payers_bytes);
}

struct vfr_fragment_answer vfr_fragment_offer(struct vfr_fragments *t,
                                              const struct vfr_packet *p,
                                              struct vfr_origin from, ns_t now)
{
    struct payer payer;

    if (p->flags & VFR_P_FIRST && p->flags & VFR_P_LAST)
        return (struct vfr_fragment_answer){
            .verdict = VFR_F_JUDGE, .ticket = VFR_NO_TICKET, .new_id = p->frag_id};
    sweep(t, now);
    payer = look_up(t, p, from);
    if (payer.found == VFR_NO_CONTEXT) {
        if (t->free == VFR_NO_CONTEXT || payer.contexts >= VFR_PAYER_CONTEXTS ||
            (from.uplink && t->from_uplinks >= t->size / 2))
            return drop(VFR_R_FRAG_LIMIT);
        payer.found = create(t, p, from, now);
    }
    if (now - t->contexts[payer.found].born >= VFR_FRAGMENT_LIFE)
        return kill(t, payer.found, VFR_R_FRAG_ORPHAN);
    return offer_to(t, payer.found, p, payer.held_bytes);
}

const struct vfr_decision *vfr_fragment_way(struct vfr_fragments *t, const struct vfr_packet *p,
                                            struct vfr_origin from)
{
    const u16 found = look_up(t, p, from).found;
    const struct vfr_context *x;

    if (found == VFR_NO_CONTEXT)
        return NULL;
    x = &t->contexts[found];
    return x->state == VFR_X_JUDGED && !x->decision.why ? &x->decision : NULL;
}

bool vfr_fragment_decide(struct vfr_fragments *t, uint32_t ticket, struct vfr_decision d)
{
    struct vfr_context *x = context_of(t, ticket);

    if (!x || x->state != VFR_X_WAITING || !x->first)
        return false;
    x->state = VFR_X_JUDGED;
    x->decision = d;
    return x->held;
}

void vfr_fragment_release(struct vfr_fragments *t, uint32_t ticket)
{
    struct vfr_context *x = context_of(t, ticket);

    if (!x)
        return;
    t->held_bytes -= x->held_bytes;
    x->held_bytes = 0;
    x->held = 0;
    if (finished(x))
        destroy(t, vfr_ticket_slot(ticket));
}

uint32_t vfr_fragment_expire(struct vfr_fragments *t, ns_t now)
{
    while (t->oldest != VFR_NO_CONTEXT) {
        const struct vfr_context *x = &t->contexts[t->oldest];

        if (now - x->born < VFR_FRAGMENT_LIFE)
            break;
        if (x->held)
            return kill(t, t->oldest, VFR_R_FRAG_ORPHAN).ticket;
        destroy(t, t->oldest);
    }
    return VFR_NO_TICKET;
}

uint32_t vfr_fragment_forget(struct vfr_fragments *t, uint16_t vif)
{
    u16 i = t->oldest;

    while (i != VFR_NO_CONTEXT) {
        const struct vfr_context *x = &t->contexts[i];
        u16 younger = x->younger;

        if (x->vif == vif || (x->state == VFR_X_JUDGED && x->decision.out == vif)) {
            if (x->held)
                return ticket_of(t, i);
            destroy(t, i);
        }
        i = younger;
    }
    return VFR_NO_TICKET;
}

ns_t vfr_fragment_deadline(const struct vfr_fragments *t)
{
    return t->oldest == VFR_NO_CONTEXT ? 0 : t->contexts[t->oldest].born + VFR_FRAGMENT_LIFE;
}

/* ---- identifiers ---- */

uint16_t vfr_fragment_new_id(struct vfr_fragments *t, const struct vfr_tuple *tuple)
{
    u64 h = mix(mix_addr(mix_addr(t->key, tuple->src), tuple->dst), tuple->proto * 2 + 1);

    return t->ids[h % VFR_ID_COUNTERS]++;
}

void vfr_fragment_set_id(uint8_t *bytes, uint16_t id)
{
    u8 *h = bytes + ETH_HEADER;

    put_be16(h + 10, vfr_checksum_update(get_be16(h + 10), get_be16(h + 4), id));
    put_be16(h + 4, id);
}

/* ---- invariants ---- */

static bool ranges_sound(const struct vfr_context *x)
{
    if (x->ranges > VFR_RANGES)
        return false;
    for (unsigned i = 0; i < x->ranges; i++) {
        if (x->range[i].from >= x->range[i].to || (x->end && x->range[i].to > x->end))
            return false;
        for (unsigned k = 0; k < i; k++)
            if (x->range[i].from <= x->range[k].to && x->range[k].from <= x->range[i].to)
                return false;
    }
    return true;
}

static int check_ages(const struct vfr_fragments *t)
{
    u32 n = 0, uplinks = 0, held = 0;
    u16 older = VFR_NO_CONTEXT;
    ns_t born = 0;

    for (u16 i = t->oldest; i != VFR_NO_CONTEXT; older = i, i = t->contexts[i].younger) {
        const struct vfr_context *x = &t->contexts[i];

        if (i >= t->size || n++ == t->size || x->older != older)
            return 1;
        if (!ranges_sound(x))
            return 2;
        if (x->pieces > VFR_PIECES_MAX || x->held > x->pieces)
            return 3;
        if (older != VFR_NO_CONTEXT && x->born < born)
            return 5;
        born = x->born;
        uplinks += x->uplink;
        held += x->held_bytes;
    }
    if (older != t->youngest || n != t->used)
        return 1;
    if (uplinks != t->from_uplinks || (uplinks > t->size / 2))
        return 3;
    return held != t->held_bytes || held > VFR_HELD_MAX ? 4 : 0;
}

static u32 payers_contexts(const struct vfr_fragments *t, const struct vfr_context *x)
{
    u32 n = 0;

    for (u16 i = t->oldest; i != VFR_NO_CONTEXT; i = t->contexts[i].younger) {
        const struct vfr_context *y = &t->contexts[i];

        n += y->vif == x->vif && (!x->uplink || vfr_addr_equal(x->dst, y->dst));
    }
    return n;
}

int vfr_fragment_check(const struct vfr_fragments *t)
{
    u32 chained = 0, unused = 0;
    int rc = check_ages(t);

    if (rc)
        return rc;
    for (u16 i = t->free; i != VFR_NO_CONTEXT && unused <= t->size; i = t->contexts[i].next)
        unused++;
    for (unsigned c = 0; c < VFR_CHAINS; c++)
        for (u16 i = t->chain[c]; i != VFR_NO_CONTEXT && chained <= t->size;
             i = t->contexts[i].next) {
            chained++;
            if (payers_contexts(t, &t->contexts[i]) > VFR_PAYER_CONTEXTS)
                return 3;
        }
    return chained != t->used || chained + unused != t->size;
}
