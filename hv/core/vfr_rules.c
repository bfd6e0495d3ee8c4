#include "core/vfr_rules.h"
#include "core/vfr_wire.h"

static const void *part(const struct vfr_image *image, u32 at)
{
    return (const u8 *)image + at;
}

void vfr_rules_open(struct vfr_rules *r, const void *image)
{
    const struct vfr_image *i = image;

    *r = (struct vfr_rules){
        .image = i,
        .gates = part(i, i->gates_at),
        .rules = part(i, i->rules_at),
        .order = part(i, i->order_at),
        .matches = part(i, i->matches_at),
        .sets = part(i, i->sets_at),
        .rates = part(i, i->rates_at),
    };
    r->gates_end = r->gates + i->nr_rules;
}

u32 vfr_rules_find(const struct vfr_rules *r, u32 id)
{
    u32 low = 0, high = r->image->nr_rules;

    while (low < high) {
        u32 middle = low + (high - low) / 2;

        if (r->rules[r->order[middle]].id < id)
            low = middle + 1;
        else
            high = middle;
    }
    if (low < r->image->nr_rules && r->rules[r->order[low]].id == id)
        return r->order[low];
    return r->image->nr_rules;
}

void vfr_rules_map(const struct vfr_rules *old, const struct vfr_rules *new, u16 *to)
{
    const u32 nr_old = old->image->nr_rules, nr_new = new->image->nr_rules;
    u32 at = 0;

    for (u32 i = 0; i < nr_old; i++) {
        const struct vfr_rule *rule = &old->rules[old->order[i]];

        while (at < nr_new && new->rules[new->order[at]].id < rule->id)
            at++;
        to[old->order[i]] = at < nr_new && new->rules[new->order[at]].id ==
                                               rule->id &&new->rules[new->order[at]].digest ==
                                               rule->digest
                                ? new->order[at]
                                : VFR_RULE_GONE;
    }
    to[nr_old] = (u16)nr_new;
}

void vfr_zones_set(struct vfr_zones *z, const u64 in[VFR_ZONES / 64])
{
    u64 inside = 0;

    for (unsigned zone = 1; zone < VFR_ZONES; zone++) {
        if (in[zone / 64] & BIT(zone % 64))
            inside |= BIT((zone - 1) % VFR_GATE_ZONES);
    }
    for (unsigned i = 0; i < VFR_ZONES / 64; i++)
        z->in[i] = in[i];
    z->in[0] |= BIT(VFR_ZONE_ANY);
    z->outside = ~inside & (BIT(VFR_GATE_ZONES) - 1);
}

/* ---- one packet ---- */

/* What the clauses of one end are about. */
struct side {
    struct vfr_element e;
    u64 mac;
    u8 facts;
    bool ip4, ports;
};

struct judgement {
    const struct vfr_rules *r;
    const struct vfr_question *q;
    struct side side[2]; /* source, destination */
    u16 proto;           /* bit of its class */
};

static bool zone_holds(const struct vfr_zones *z, u8 zone)
{
    return z->in[zone / 64] >> (zone % 64) & 1;
}

static void look(struct judgement *j, const struct vfr_rules *r, const struct vfr_question *q)
{
    const struct vfr_packet *p = q->packet;
    const struct vfr_tuple *t = &p->tuple;
    /* An ICMP query's identifier stands where ports are, but is none. */
    bool ports = p->flags & VFR_P_PORTS && !(p->flags & (VFR_P_QUERY | VFR_P_ANSWER));

    *j = (struct judgement){
        .r = r,
        .q = q,
        .side = {{{t->src, t->sport, 0}, p->eth_src, q->from.facts, false, ports},
                 {{t->dst, t->dport, 0}, p->eth_dst, q->to.facts, false, ports}},
        .proto = (u16)(1u << (p->class == VFR_C_ARP ? VFR_PROTO_ARP
                                                    : r->image->proto_class[t->proto] & 15)),
    };
    j->side[0].ip4 = vfr_addr_is_ip4(t->src);
    j->side[1].ip4 = vfr_addr_is_ip4(t->dst);
}

static bool not_above(u64 a_high, u64 a_low, u64 b_high, u64 b_low)
{
    return a_high < b_high || (a_high == b_high && a_low <= b_low);
}

static __noinline bool set_holds(const struct judgement *j, const struct side *s, u32 index)
{
    const struct vfr_set *set = &j->r->sets[index];
    struct vfr_element e = s->e;

    if ((set->kind == VFR_SET_PORT || set->kind == VFR_SET_IP_PORT) && !s->ports)
        return false;
    if (set->kind == VFR_SET_MAC)
        e.addr = (struct vfr_addr){0, s->mac};
    return vfr_set_has(j->r->image, set, &e) ||
           (j->r->life[index] && vfr_sets_has(j->r->added, j->r->life[index], &e, j->q->now));
}

static bool match_holds(const struct judgement *j, const struct side *s,
                        const struct vfr_match *m)
{
    const struct vfr_addr *a = &s->e.addr;

    switch (m->kind) {
    case VFR_M_PORT:
        return s->e.port >= m->low_low && s->e.port <= m->high_low;
    case VFR_M_IP4:
        return s->ip4 && a->low >= m->low_low && a->low <= m->high_low;
    case VFR_M_IP6:
        return !s->ip4 && not_above(m->low_high, m->low_low, a->high, a->low) &&
               not_above(a->high, a->low, m->high_high, m->high_low);
    case VFR_M_FACT:
        return s->facts & m->low_low;
    default:
        return set_holds(j, s, m->set);
    }
}

/* Port clauses never hold for what has no ports, not even one that says 'not'. */
static bool clause_holds(const struct judgement *j, const struct vfr_rule *rule, unsigned which)
{
    const struct vfr_clause c = rule->clause[which];
    const struct side *s = &j->side[which >= VFR_DST_IP];
    const struct vfr_match *m = &j->r->matches[c.first];
    const struct vfr_match *end = m + (c.nr & ~VFR_CLAUSE_NOT);

    if (which & 1 && !s->ports)
        return false;
    for (; m < end; m++) {
        if (match_holds(j, s, m))
            return !(c.nr & VFR_CLAUSE_NOT);
    }
    return c.nr & VFR_CLAUSE_NOT;
}

static __noinline enum vfr_step_end
test_extras(const struct judgement *j, const struct vfr_rule *rule, u32 index, u32 tags)
{
    const struct vfr_packet *p = j->q->packet;
    const u16 what = rule->what;

    if (what & VFR_W_TCP_FLAGS && (p->tcp_flags & rule->tcp_mask) != rule->tcp_value)
        return VFR_STEP_FLAGS;
    if (what & VFR_W_ICMP_TYPE && p->icmp_type != rule->icmp_type)
        return VFR_STEP_ICMP;
    if (what & VFR_W_ICMP_CODE && p->icmp_code != rule->icmp_code)
        return VFR_STEP_ICMP;
    if (what & VFR_W_FRAGMENT && !(p->flags & VFR_P_FRAGMENT))
        return VFR_STEP_FRAGMENTS;
    if (what & VFR_W_TAGGED && !(tags >> ((rule->tagged - 1) % VFR_TAGS_MAX) & 1))
        return VFR_STEP_TAGGED;
    /* Signed: clocks of CPUs differ, and a rule may be a moment younger than a packet. */
    if (what & VFR_W_TTL && (s64)(j->q->now - j->r->born[index]) >= rule->ttl * 1000000000L)
        return VFR_STEP_TTL;
    return 0;
}

/* The first clause that the packet fails, or 0. The gate has not been asked, or let it through. */
static enum vfr_step_end test(const struct judgement *j, u32 index, u32 tags)
{
    const struct vfr_rule *rule = &j->r->rules[index];
    enum vfr_step_end end = 0;

    if (zone_holds(j->q->from.zones, rule->from) == !!(rule->what & VFR_W_NOT_FROM))
        return VFR_STEP_FROM;
    if (zone_holds(j->q->to.zones, rule->to) == !!(rule->what & VFR_W_NOT_TO))
        return VFR_STEP_TO;
    if (!(rule->protos & j->proto))
        return VFR_STEP_PROTO;
    if (rule->what)
        end = test_extras(j, rule, index, tags);
    if (end)
        return end;
    /* Backwards: of all clauses the destination's port tells most. */
    for (unsigned n = VFR_CLAUSES; n-- > 0;) {
        if (rule->clause[n].nr && !clause_holds(j, rule, n))
            return VFR_STEP_SRC_IP + n;
    }
    return 0;
}

/* ---- rates ---- */

static u64 bucket_key(const struct vfr_rules *r, const struct vfr_rule *rule,
                      const struct vfr_rate *rate, const struct vfr_question *q)
{
    const struct vfr_tuple *t = &q->packet->tuple;

    switch (rate->per) {
    case VFR_PER_SRC:
        return vfr_rates_key(r->buckets, rate->id, t->src.high, t->src.low);
    case VFR_PER_DST:
        return vfr_rates_key(r->buckets, rate->id, t->dst.high, t->dst.low);
    case VFR_PER_VIF:
        return vfr_rates_key(r->buckets, rate->id, 1UL << 63, q->vif);
    default:
        return vfr_rates_key(r->buckets, rate->id, 1UL << 62, rule->id);
    }
}

/* A rule further up may have asked the same bucket about the same packet. */
static rarely bool would_take(const struct vfr_rules *r, const struct vfr_rate *rate,
                              struct vfr_spent ask, u64 now, struct vfr_trace *t)
{
    u64 spent = 0;

    for (u32 i = 0; t && i < t->nr_spent; i++)
        spent += t->spent[i].key == ask.key ? t->spent[i].worth : 0;
    if (!vfr_rates_would(r->buckets, rate, ask.key, spent, now))
        return false;
    if (t && t->nr_spent < VFR_SPENT_MAX)
        t->spent[t->nr_spent++] = ask;
    return true;
}

static bool take(const struct vfr_rules *r, const struct vfr_rule *rule,
                 const struct vfr_question *q, struct vfr_trace *trace)
{
    const struct vfr_rate *rate = &r->rates[rule->rate - 1];
    const u32 units = rate->unit == VFR_RATE_BYTES ? q->packet->len : 1;
    const u64 key = bucket_key(r, rule, rate, q);

    if (likely(q->commit))
        return vfr_rates_take(r->buckets, rate, key, units, q->now);
    return would_take(r, rate, (struct vfr_spent){key, vfr_rates_worth(rate, units)}, q->now,
                      trace);
}

bool vfr_rules_meter(const struct vfr_rules *r, u32 rule, const struct vfr_question *q,
                     struct vfr_trace *trace)
{
    if (rule >= r->image->nr_rules || !r->rules[rule].rate)
        return true;
    return take(r, &r->rules[rule], q, trace);
}

/* ---- the verdict ---- */

static void add_log(struct vfr_verdict *v, u8 log, u32 id, u32 sample)
{
    if (!v->log && log) {
        v->log_id = id;
        v->sample = sample;
    }
    v->log |= log;
}

static void mark(struct vfr_verdict *v, const struct vfr_rule *rule)
{
    add_log(v, rule->log, rule->id, rule->sample);
    if (rule->dscp != VFR_DSCP_NONE)
        v->dscp = rule->dscp;
    if (rule->tag)
        v->tags |= 1u << (rule->tag - 1) % VFR_TAGS_MAX;
}

static void decide(struct vfr_verdict *v, u8 action, u8 reject, const struct vfr_packet *p)
{
    bool tcp = p->class != VFR_C_ARP && p->tuple.proto == 6;

    v->action = action;
    if (action != VFR_REJECT)
        return;
    v->reject = reject;
    if (reject == VFR_REJECT_USUAL || (reject == VFR_REJECT_RST && !tcp))
        v->reject = tcp ? VFR_REJECT_RST : VFR_REJECT_PORT;
}

static void decide_default(struct vfr_verdict *v, const struct vfr_rules *r,
                           const struct vfr_packet *p)
{
    const struct vfr_image *i = r->image;

    v->rule = (u16)i->nr_rules;
    v->id = 0;
    v->reason = VFR_R_DEFAULT;
    add_log(v, i->default_log, 0, i->default_sample);
    decide(v, i->default_action, i->default_reject, p);
}

/*
 * What a rule whose clauses all hold does. VFR_STEP_MATCHES and VFR_STEP_RATE: others decide.
 */
static enum vfr_step_end apply(struct vfr_verdict *v, const struct judgement *j, u32 index,
                               struct vfr_trace *trace)
{
    const struct vfr_rule *rule = &j->r->rules[index];
    bool within = !rule->rate || take(j->r, rule, j->q, trace);

    if (!within && rule->what & VFR_W_ELSE_NEXT)
        return VFR_STEP_RATE;
    mark(v, rule);
    if (within && rule->action == VFR_COUNT)
        return VFR_STEP_MATCHES;
    v->rule = (u16)index;
    v->id = rule->id;
    v->beyond = !within;
    decide(v, within ? rule->action : VFR_DROP, rule->reject, j->q->packet);
    v->reason = v->action >= VFR_PASS ? VFR_R_OK : VFR_R_RULE;
    v->metered = v->action >= VFR_PASS && rule->rate &&
                 j->r->rates[rule->rate - 1].unit != VFR_RATE_FLOWS;
    return VFR_STEP_DECIDES;
}

static rarely void note(struct vfr_trace *t, u32 index, enum vfr_step_end end)
{
    if (t->nr < t->max)
        t->steps[t->nr] = (struct vfr_step){(u16)index, (u16)end};
    t->nr++;
}

static void count(struct vfr_counter *c, const struct judgement *j, u32 index)
{
    if (!j->q->commit)
        return;
    c[index].packets++;
    c[index].bytes += j->q->packet->len;
}

/* One rule that the gate let through; true: it decided. */
static bool ask(struct vfr_verdict *v, const struct judgement *j, u32 index,
                struct vfr_counter *counters, struct vfr_trace *trace)
{
    enum vfr_step_end end = test(j, index, v->tags);

    if (!end)
        end = apply(v, j, index, trace);
    if (unlikely(trace))
        note(trace, index, end);
    if (end >= VFR_STEP_MATCHES)
        count(counters, j, index);
    return end == VFR_STEP_DECIDES;
}

void vfr_rules_judge(const struct vfr_rules *r, const struct vfr_question *q,
                     struct vfr_counter *counters, struct vfr_trace *trace,
                     struct vfr_verdict *v)
{
    const struct vfr_rule *rule = r->rules;
    struct judgement j __unset;
    u16 port, any_port = trace ? 0xffff : 0;
    u64 lacks;

    look(&j, r, q);
    *v = (struct vfr_verdict){.dscp = VFR_DSCP_NONE};
    port = j.side[1].e.port;
    lacks =
        j.proto | q->from.zones->outside << VFR_GATE_FROM | q->to.zones->outside << VFR_GATE_TO;
    /* Who is told about each rule has none turned away before it is asked. */
    if (trace)
        lacks = 0;
    for (const u64 *gate = r->gates; gate < r->gates_end; gate++, rule++) {
        if (*gate & lacks || (u16)(port - rule->port_low) > (rule->port_span | any_port))
            continue;
        if (ask(v, &j, (u32)(gate - r->gates), counters, trace))
            return;
    }
    decide_default(v, r, q->packet);
    count(counters, &j, r->image->nr_rules);
}
