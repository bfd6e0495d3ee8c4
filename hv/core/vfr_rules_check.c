/* The check of an image, see vfr_rules.h: domain 0's compiler is not believed. */
#include "core/vfr_rules.h"

enum part { HEADER, RULES, ORDER, SETS, RATES, SLOTS, DONE };

static const void *at(const struct vfr_image *image, u32 offset)
{
    return (const u8 *)image + offset;
}

static bool all_zero(const u8 *bytes, u32 n)
{
    u8 any = 0;

    while (n--)
        any |= *bytes++;
    return !any;
}

/* ---- header ---- */

static int check_counts(const struct vfr_image *i)
{
    if (i->nr_rules > VFR_RULES_MAX || i->nr_matches > VFR_MATCHES_MAX ||
        i->nr_sets > VFR_SETS_MAX || i->nr_rates > VFR_RATES_MAX ||
        i->nr_slots > VFR_IMAGE_MAX / sizeof(struct vfr_slot))
        return -XEN_E2BIG;
    return 0;
}

/* The parts follow each other and end where the image does; counts are in bounds. */
static bool parts_fit(const struct vfr_image *i)
{
    u64 next = sizeof(*i);
    bool fit = i->gates_at == next;

    fit &= i->rules_at == (next += i->nr_rules * sizeof(u64));
    fit &= i->order_at == (next += i->nr_rules * sizeof(struct vfr_rule));
    fit &= i->matches_at == (next += ROUND_UP(i->nr_rules * sizeof(u16), 8UL));
    fit &= i->sets_at == (next += i->nr_matches * sizeof(struct vfr_match));
    fit &= i->rates_at == (next += i->nr_sets * sizeof(struct vfr_set));
    fit &= i->slots_at == (next += i->nr_rates * sizeof(struct vfr_rate));
    return fit && i->len == next + (u64)i->nr_slots * sizeof(struct vfr_slot);
}

static bool log_fits(u8 log, u32 sample)
{
    return log < 2 * VFR_LOG_STRICT && (log & VFR_LOG_ALL || (!log && !sample));
}

static bool default_fits(const struct vfr_image *i)
{
    if (i->default_action > VFR_REJECT || i->default_reject > VFR_REJECT_HOST)
        return false;
    if (i->default_action == VFR_DROP && i->default_reject)
        return false;
    return log_fits(i->default_log, i->default_sample);
}

static int check_header(const struct vfr_image *i, u64 len)
{
    int rc;

    if (len < sizeof(*i) || i->magic != VFR_IMAGE_MAGIC || i->version != VFR_IMAGE_VERSION ||
        i->header != sizeof(*i) || i->len != len)
        return -XEN_EINVAL;
    if (len > VFR_IMAGE_MAX)
        return -XEN_E2BIG;
    rc = check_counts(i);
    if (rc)
        return rc;
    if (!parts_fit(i) || !default_fits(i) || i->zero2 || !all_zero(i->zero, sizeof(i->zero)))
        return -XEN_EINVAL;
    for (unsigned n = 0; n < 256; n++) {
        if (i->proto_class[n] >= VFR_PROTO_ARP)
            return -XEN_EINVAL;
    }
    return 0;
}

/* ---- rules ---- */

static bool set_suits(const struct vfr_image *i, u32 index, bool of_ports)
{
    const struct vfr_set *sets = at(i, i->sets_at);

    return index < i->nr_sets && (sets[index].kind == VFR_SET_PORT) == of_ports;
}

static bool match_fits(const struct vfr_image *i, const struct vfr_match *m, bool of_ports)
{
    const u64 facts = of_ports ? VFR_F_LEASED : VFR_F_OWN | VFR_F_SHARED | VFR_F_INSIDE;
    bool ranged = m->kind == VFR_M_IP4 || m->kind == VFR_M_IP6 || m->kind == VFR_M_PORT;

    if (m->zero || (m->set && m->kind != VFR_M_SET) ||
        (!ranged && (m->low_high | m->high_high | m->high_low)))
        return false;
    switch (m->kind) {
    case VFR_M_IP4:
        return !of_ports && !m->low_high && !m->high_high && m->low_low >> 32 == 0xffff &&
               m->high_low >> 32 == 0xffff && m->low_low <= m->high_low;
    case VFR_M_IP6:
        return !of_ports && (m->low_high < m->high_high ||
                             (m->low_high == m->high_high && m->low_low <= m->high_low));
    case VFR_M_PORT:
        return of_ports && !m->low_high && !m->high_high && m->low_low <= m->high_low &&
               m->high_low <= 0xffff;
    case VFR_M_SET:
        return !m->low_low && set_suits(i, m->set, of_ports);
    case VFR_M_FACT:
        return m->low_low && !(m->low_low & ~facts);
    default:
        return false;
    }
}

/* Clauses share no match and leave none out, so that all of them are seen here, once. */
static bool clause_fits(const struct vfr_image *i, struct vfr_clause c, bool of_ports,
                        u32 *next)
{
    const struct vfr_match *matches = at(i, i->matches_at);
    u32 nr = c.nr & ~VFR_CLAUSE_NOT;

    if (!nr)
        return !c.nr && !c.first;
    if (nr > VFR_CLAUSE_MAX || c.first != *next || nr > i->nr_matches - *next)
        return false;
    for (u32 n = 0; n < nr; n++) {
        if (!match_fits(i, &matches[*next + n], of_ports))
            return false;
    }
    *next += nr;
    return true;
}

/* Its clauses fit. */
static bool window_fits(const struct vfr_image *i, const struct vfr_rule *r)
{
    const struct vfr_match *matches = at(i, i->matches_at);
    u16 low, span;

    vfr_rule_window(r, matches + r->clause[VFR_DST_PORT].first, &low, &span);
    return r->port_low == low && r->port_span == span;
}

static bool extras_fit(const struct vfr_rule *r)
{
    const u16 what = r->what;

    if (what & ~VFR_W_ALL || (what & VFR_W_ICMP_CODE && !(what & VFR_W_ICMP_TYPE)))
        return false;
    if (r->tcp_value & ~r->tcp_mask || (!(what & VFR_W_TCP_FLAGS) && r->tcp_mask))
        return false;
    if ((!(what & VFR_W_ICMP_TYPE) && r->icmp_type) ||
        (!(what & VFR_W_ICMP_CODE) && r->icmp_code))
        return false;
    if (!(what & VFR_W_TTL) != !r->ttl || !(what & VFR_W_TAGGED) != !r->tagged)
        return false;
    return r->tagged <= VFR_TAGS_MAX && r->tag <= VFR_TAGS_MAX;
}

static bool action_fits(const struct vfr_image *i, const struct vfr_rule *r)
{
    if (r->action > VFR_COUNT || r->reject > VFR_REJECT_HOST ||
        (r->action != VFR_REJECT && r->reject))
        return false;
    if (r->rate > i->nr_rates || (r->what & VFR_W_ELSE_NEXT && !r->rate))
        return false;
    /* What does not pass is not marked. */
    if (r->dscp > VFR_DSCP_NONE || (r->dscp < VFR_DSCP_NONE && r->action < VFR_PASS))
        return false;
    return log_fits(r->log, r->sample);
}

static bool rule_fits(const struct vfr_image *i, u32 index, u32 *next_match)
{
    const struct vfr_rule *r = (const struct vfr_rule *)at(i, i->rules_at) + index;
    const u64 *gates = at(i, i->gates_at);

    if (!r->id || gates[index] != vfr_rule_gate(r) || r->zero || r->zero2 ||
        !all_zero(r->zero3, sizeof(r->zero3)))
        return false;
    for (unsigned n = 0; n < VFR_CLAUSES; n++) {
        if (!clause_fits(i, r->clause[n], n & 1, next_match))
            return false;
    }
    return window_fits(i, r) && extras_fit(r) && action_fits(i, r);
}

/* Ascending ids of as many rules as there are: each is there once, and no id twice. */
static bool order_fits(const struct vfr_image *i, u32 index)
{
    const struct vfr_rule *rules = at(i, i->rules_at);
    const u16 *order = at(i, i->order_at);

    if (index == i->nr_rules - 1) {
        for (u32 n = index + 1; n < ROUND_UP(i->nr_rules, 4U); n++) {
            if (order[n])
                return false;
        }
    }
    return order[index] < i->nr_rules &&
           (!index || rules[order[index - 1]].id < rules[order[index]].id);
}

/* ---- sets and rates ---- */

static bool set_fits(const struct vfr_image *i, u32 index, u32 *next_slot)
{
    const struct vfr_set *s = (const struct vfr_set *)at(i, i->sets_at) + index;

    if (!s->id || s->kind < VFR_SET_IP || s->kind > VFR_SET_MAC || s->size > VFR_SET_MAX ||
        (s->timeout && !s->size) || !all_zero(s->zero, sizeof(s->zero)))
        return false;
    if (s->lengths[2] > 1 ||
        (s->kind != VFR_SET_NET && (s->lengths[0] | s->lengths[1] | s->lengths[2])))
        return false;
    if (!s->slots)
        return !s->first;
    if (s->slots & (s->slots - 1) || s->first != *next_slot ||
        s->slots > i->nr_slots - *next_slot)
        return false;
    *next_slot += s->slots;
    return true;
}

static bool rate_fits(const struct vfr_image *i, u32 index)
{
    const struct vfr_rate *r = (const struct vfr_rate *)at(i, i->rates_at) + index;

    return r->id && r->unit >= VFR_RATE_FLOWS && r->unit <= VFR_RATE_BYTES &&
           r->per >= VFR_PER_RULE && r->per <= VFR_PER_DST && !r->zero[0] && !r->zero[1] &&
           r->cost && r->cost <= VFR_RATE_COST_MAX && r->depth <= VFR_RATE_DEPTH_MAX;
}

/* A lookup comes by: nothing empty lies between its home and it. */
static bool slot_is_found(const struct vfr_image *i, const struct vfr_set *set, u32 index)
{
    const struct vfr_slot *slots = (const struct vfr_slot *)at(i, i->slots_at) + set->first;
    const struct vfr_slot *s = &slots[index];
    u64 home = vfr_set_hash(i->seed, s->high, s->low, s->rest);

    for (u32 n = 0; n < VFR_SET_PROBE; n++, home++) {
        u32 here = home & (set->slots - 1);

        if (here == index)
            return true;
        if (!slots[here].rest)
            return false;
    }
    return false;
}

static bool slot_fits(const struct vfr_image *i, u32 set_index, u32 slot)
{
    const struct vfr_set *set = (const struct vfr_set *)at(i, i->sets_at) + set_index;
    const struct vfr_slot *s = (const struct vfr_slot *)at(i, i->slots_at) + slot;
    const struct vfr_element e = {{s->high, s->low}, (u16)s->rest, (u8)(s->rest >> 16)};

    if (s->zero || (!s->rest && (s->high | s->low)))
        return false;
    if (!s->rest)
        return true;
    if (s->rest != vfr_element_rest(set->kind, &e) || !vfr_element_check(set->kind, &e))
        return false;
    if (set->kind == VFR_SET_NET && !(set->lengths[e.length / 64] & BIT(e.length % 64)))
        return false;
    return slot_is_found(i, set, slot - set->first);
}

/* The set that a slot belongs to; slots are seen in order. */
static void follow_set(const struct vfr_image *i, struct vfr_rules_progress *p)
{
    const struct vfr_set *sets = at(i, i->sets_at);

    while (!sets[p->set].slots || p->at - sets[p->set].first >= sets[p->set].slots)
        p->set++;
}

/* ---- progress ---- */

static u32 things_in(const struct vfr_image *i, u32 part)
{
    switch (part) {
    case RULES:
    case ORDER:
        return i->nr_rules;
    case SETS:
        return i->nr_sets;
    case RATES:
        return i->nr_rates;
    default:
        return i->nr_slots;
    }
}

static bool thing_fits(const struct vfr_image *i, struct vfr_rules_progress *p)
{
    switch (p->part) {
    case RULES:
        return rule_fits(i, p->at, &p->matches);
    case ORDER:
        return order_fits(i, p->at);
    case SETS:
        return set_fits(i, p->at, &p->slots);
    case RATES:
        return rate_fits(i, p->at);
    default:
        follow_set(i, p);
        return slot_fits(i, p->set, p->at);
    }
}

/* All of a part fits; does it as a whole? */
static bool part_fits(const struct vfr_image *i, const struct vfr_rules_progress *p)
{
    if (p->part == RULES)
        return p->matches == i->nr_matches;
    return p->part != SETS || p->slots == i->nr_slots;
}

static int step(struct vfr_rules_progress *p, const struct vfr_image *i, u64 len)
{
    int rc;

    if (p->part == HEADER) {
        rc = check_header(i, len);
        if (!rc)
            p->part = RULES;
        return rc;
    }
    if (p->at < things_in(i, p->part)) {
        if (!thing_fits(i, p))
            return -XEN_EINVAL;
        p->at++;
        return 0;
    }
    if (!part_fits(i, p))
        return -XEN_EINVAL;
    p->part++;
    p->at = 0;
    return 0;
}

int vfr_rules_check(struct vfr_rules_progress *p, const void *image, u64 len, u32 budget)
{
    if ((uintptr_t)image % 8)
        return -XEN_EINVAL;
    while (p->part < DONE) {
        int rc;

        if (!budget--)
            return -XEN_EAGAIN;
        rc = step(p, image, len);
        if (rc)
            return rc;
    }
    return 0;
}
