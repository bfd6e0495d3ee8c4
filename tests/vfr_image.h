/*
 * Rulesets for tests and benchmarks, laid out in C: rules are added with their clauses' matches, sets
 * with their elements, and image_finish() makes the image of them.
 */
#ifndef SERAI_TESTS_VFR_IMAGE_H
#define SERAI_TESTS_VFR_IMAGE_H

#include <stdlib.h>
#include <string.h>

#include "core/vfr_rules.h"

#define IMAGE_RULES   VFR_RULES_MAX
#define IMAGE_MATCHES 16384
#define IMAGE_SLOTS   65536

struct image_source {
    struct vfr_image head;
    struct vfr_rule rules[IMAGE_RULES];
    struct vfr_match matches[IMAGE_MATCHES];
    struct vfr_set sets[VFR_SETS_MAX];
    struct vfr_rate rates[VFR_RATES_MAX];
    struct vfr_slot slots[IMAGE_SLOTS];
};

/* Nothing but the default; TCP, UDP and ICMP are classes 1, 2 and 3. */
static inline struct image_source *image_source_create(void)
{
    struct image_source *s = calloc(1, sizeof(*s));

    s->head.proto_class[6] = 1;
    s->head.proto_class[17] = 2;
    s->head.proto_class[1] = 3;
    s->head.seed = 0x1234567;
    return s;
}

/* A rule that matches everything. */
static inline struct vfr_rule *image_add_rule(struct image_source *s, u32 id, u8 action)
{
    struct vfr_rule *r = &s->rules[s->head.nr_rules++];

    *r = (struct vfr_rule){
        .id = id, .digest = id, .action = action, .protos = 0xffff, .dscp = VFR_DSCP_NONE};
    return r;
}

/* One more match for the newest clause of the newest rule; clauses come in the order of their numbers. */
static inline void image_add_match(struct image_source *s, unsigned clause, struct vfr_match m)
{
    struct vfr_clause *c = &s->rules[s->head.nr_rules - 1].clause[clause];

    if (!(c->nr & ~VFR_CLAUSE_NOT))
        c->first = (u16)s->head.nr_matches;
    c->nr++;
    s->matches[s->head.nr_matches++] = m;
}

static inline struct vfr_match match_ports(u16 low, u16 high)
{
    return (struct vfr_match){.kind = VFR_M_PORT, .low_low = low, .high_low = high};
}

static inline struct vfr_match match_ip4(u32 low, u32 high)
{
    return (struct vfr_match){
        .kind = VFR_M_IP4, .low_low = VFR_IP4(low).low, .high_low = VFR_IP4(high).low};
}

static inline struct vfr_match match_set(u16 set)
{
    return (struct vfr_match){.kind = VFR_M_SET, .set = set};
}

/* 'slots' are a power of two, or 0. */
static inline u16 image_add_set(struct image_source *s, u32 id, u8 kind, u32 slots, u32 size)
{
    s->sets[s->head.nr_sets] = (struct vfr_set){.id = id,
                                                .kind = kind,
                                                .size = size,
                                                .slots = slots,
                                                .first = slots ? s->head.nr_slots : 0};
    s->head.nr_slots += slots;
    return (u16)s->head.nr_sets++;
}

static inline void image_add_element(struct image_source *s, u16 set, struct vfr_element e)
{
    struct vfr_set *t = &s->sets[set];
    u32 rest = vfr_element_rest(t->kind, &e);
    u64 at = vfr_set_hash(s->head.seed, e.addr.high, e.addr.low, rest);

    while (s->slots[t->first + (at & (t->slots - 1))].rest)
        at++;
    s->slots[t->first + (at & (t->slots - 1))] =
        (struct vfr_slot){e.addr.high, e.addr.low, rest, 0};
    if (t->kind == VFR_SET_NET)
        t->lengths[e.length / 64] |= BIT(e.length % 64);
}

static inline u32 image_put(u8 *image, u64 *at, const void *from, u64 len)
{
    u32 start = (u32)*at;

    memcpy(image + *at, from, len);
    *at = ROUND_UP(*at + len, 8UL);
    return start;
}

static inline void image_put_order(struct image_source *s, u16 *order)
{
    for (u32 i = 0; i < s->head.nr_rules; i++) {
        u32 n = i;

        for (; n > 0 && s->rules[order[n - 1]].id > s->rules[i].id; n--)
            order[n] = order[n - 1];
        order[n] = (u16)i;
    }
}

/* The image, for free(); its length is in it. The source can go on. */
static inline struct vfr_image *image_finish(struct image_source *s)
{
    static u64 gates[IMAGE_RULES];
    static u16 order[IMAGE_RULES];
    struct vfr_image *h = &s->head;
    u64 at = sizeof(*h);
    u64 len = at + h->nr_rules * (8UL + sizeof(s->rules[0])) +
              ROUND_UP(h->nr_rules * 2UL, 8UL) + h->nr_matches * sizeof(s->matches[0]) +
              h->nr_sets * sizeof(s->sets[0]) + h->nr_rates * sizeof(s->rates[0]) +
              h->nr_slots * sizeof(s->slots[0]);
    u8 *image = calloc(1, len);

    for (u32 i = 0; i < h->nr_rules; i++) {
        struct vfr_rule *r = &s->rules[i];

        gates[i] = vfr_rule_gate(r);
        vfr_rule_window(r, s->matches + r->clause[VFR_DST_PORT].first, &r->port_low,
                        &r->port_span);
    }
    image_put_order(s, order);
    h->gates_at = image_put(image, &at, gates, h->nr_rules * 8UL);
    h->rules_at = image_put(image, &at, s->rules, h->nr_rules * sizeof(s->rules[0]));
    h->order_at = image_put(image, &at, order, h->nr_rules * 2UL);
    h->matches_at = image_put(image, &at, s->matches, h->nr_matches * sizeof(s->matches[0]));
    h->sets_at = image_put(image, &at, s->sets, h->nr_sets * sizeof(s->sets[0]));
    h->rates_at = image_put(image, &at, s->rates, h->nr_rates * sizeof(s->rates[0]));
    h->slots_at = image_put(image, &at, s->slots, h->nr_slots * sizeof(s->slots[0]));
    h->magic = VFR_IMAGE_MAGIC;
    h->version = VFR_IMAGE_VERSION;
    h->header = sizeof(*h);
    h->len = len;
    memcpy(image, h, sizeof(*h));
    return (struct vfr_image *)image;
}

#endif
