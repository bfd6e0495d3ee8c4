/*
 * Rulesets' images: bytes as they are (first byte even), or with the header's sizes, the gates and the
 * clauses' places made right so that more of them are accepted. What the check accepts judges packets:
 * nothing outside the image is read, and gates change no verdict.
 */
#include "core/vfr_rules.h"
#include "fuzz.h"

#define QUESTIONS 8

static u32 part(u64 *at, u64 len)
{
    u32 start = (u32)*at;

    *at += ROUND_UP(len, 8UL);
    return start;
}

static u64 lay_out(struct vfr_image *h)
{
    u64 at = sizeof(*h);

    h->magic = VFR_IMAGE_MAGIC;
    h->version = VFR_IMAGE_VERSION;
    h->header = sizeof(*h);
    h->gates_at = part(&at, h->nr_rules * 8UL);
    h->rules_at = part(&at, h->nr_rules * sizeof(struct vfr_rule));
    h->order_at = part(&at, h->nr_rules * 2UL);
    h->matches_at = part(&at, h->nr_matches * sizeof(struct vfr_match));
    h->sets_at = part(&at, h->nr_sets * sizeof(struct vfr_set));
    h->rates_at = part(&at, h->nr_rates * sizeof(struct vfr_rate));
    h->slots_at = part(&at, h->nr_slots * sizeof(struct vfr_slot));
    h->len = at;
    return at;
}

/* Rules with ids 1, 2, 3 and clauses that follow each other; the rest is as the input says. */
static void mend_rules(struct vfr_image *h)
{
    u8 *bytes = (u8 *)h;
    struct vfr_rule *rules = (void *)(bytes + h->rules_at);
    u64 *gates = (void *)(bytes + h->gates_at);
    u16 *order = (void *)(bytes + h->order_at);
    const struct vfr_match *matches = (void *)(bytes + h->matches_at);
    u16 next = 0;

    for (u32 i = 0; i < h->nr_rules; i++) {
        rules[i].id = i + 1;
        order[i] = (u16)i;
        rules[i].zero = rules[i].zero2 = 0;
        memset(rules[i].zero3, 0, sizeof(rules[i].zero3));
        for (unsigned c = 0; c < VFR_CLAUSES; c++) {
            rules[i].clause[c].nr &= VFR_CLAUSE_NOT | 3;
            rules[i].clause[c].first = rules[i].clause[c].nr & 3 ? next : 0;
            next += rules[i].clause[c].nr & 3;
        }
        gates[i] = vfr_rule_gate(&rules[i]);
        if (next <= h->nr_matches)
            vfr_rule_window(&rules[i], matches + rules[i].clause[VFR_DST_PORT].first,
                            &rules[i].port_low, &rules[i].port_span);
    }
}

/* An aligned copy of exactly the image's size. */
static struct vfr_image *mend(const u8 *data, size_t size, u64 *len)
{
    struct vfr_image h = {0};
    u8 *image;

    memcpy(&h, data, MIN(size, sizeof(h)));
    h.nr_rules %= 8;
    h.nr_matches %= 16;
    h.nr_sets %= 4;
    h.nr_rates %= 4;
    h.nr_slots %= 32;
    *len = lay_out(&h);
    image = calloc(1, *len);
    memcpy(image, data, MIN(size, *len));
    memcpy(image, &h, sizeof(h));
    mend_rules((struct vfr_image *)image);
    return (struct vfr_image *)image;
}

static struct vfr_image *copy(const u8 *data, size_t size, u64 *len)
{
    u8 *image = malloc(size ?: 1);

    memcpy(image, data, size);
    *len = size;
    return (struct vfr_image *)image;
}

static int check(const struct vfr_image *image, u64 len)
{
    struct vfr_rules_progress p = {0};
    u64 steps = 0;
    int rc;

    do {
        rc = vfr_rules_check(&p, image, len, 1);
        FUZZ_CHECK(steps++ < len + 16);
    } while (rc == -XEN_EAGAIN);
    FUZZ_CHECK(rc == 0 || rc == -XEN_EINVAL || rc == -XEN_E2BIG);
    return rc;
}

static u64 mix(u64 x)
{
    return vfr_set_hash(3, x, x >> 7, 5);
}

/* A packet made of addresses and ports that the image speaks of, where there are any. */
static void make_packet(struct vfr_packet *p, const struct vfr_rules *r, u64 n)
{
    const struct vfr_match *m =
        r->image->nr_matches ? &r->matches[n % r->image->nr_matches] : NULL;

    *p = (struct vfr_packet){.len = (u32)mix(n),
                             .flags = (u16)mix(n + 1),
                             .class = (u8)(1 + n % 3),
                             .tcp_flags = (u8)mix(n + 2),
                             .icmp_type = (u8)n};
    p->tuple = (struct vfr_tuple){VFR_IP4(n), VFR_IP4(mix(n)), (u16)mix(n + 3), (u16)n, (u8)n};
    if (m) {
        p->tuple.src = (struct vfr_addr){m->low_high, m->low_low};
        p->tuple.dst = (struct vfr_addr){m->high_high, m->high_low};
        p->tuple.dport = (u16)m->low_low;
    }
}

static void judge(struct vfr_rules *r, u64 n)
{
    static struct vfr_counter counters[VFR_RULES_MAX + 1];
    struct vfr_step steps[4];
    struct vfr_trace trace = {.steps = steps, .max = 4};
    struct vfr_zones from, to;
    struct vfr_packet p;
    struct vfr_question q = {&p, {&from, (u8)n}, {&to, (u8)mix(n)}, (u16)n, n & 1, mix(n) >> 2};
    struct vfr_verdict v, traced;

    vfr_zones_set(&from, (u64[4]){mix(n), mix(n + 1), 0, ~0UL});
    vfr_zones_set(&to, (u64[4]){0, mix(n + 2), mix(n + 3), 0});
    make_packet(&p, r, n);
    q.commit = false;
    vfr_rules_judge(r, &q, counters, &trace, &traced);
    q.commit = n & 1;
    vfr_rules_judge(r, &q, counters, NULL, &v);
    FUZZ_CHECK(v.action < VFR_COUNT && v.rule <= r->image->nr_rules);
    FUZZ_CHECK(v.action == traced.action && v.id == traced.id && v.tags == traced.tags);
    FUZZ_CHECK(vfr_rules_find(r, v.id) == v.rule);
    vfr_rules_meter(r, v.rule, &q, NULL);
}

static void judge_all(const struct vfr_image *image)
{
    static u64 born[VFR_RULES_MAX];
    static struct vfr_sets sets;
    static struct vfr_set_slot slots[64];
    static u16 to[VFR_RULES_MAX + 1];
    struct vfr_bucket buckets[8] = {0};
    struct vfr_rates rates;
    struct vfr_rules r;

    memset(slots, 0, sizeof(slots));
    vfr_sets_init(&sets, slots, ARRAY_SIZE(slots), 1);
    vfr_rates_init(&rates, buckets, ARRAY_SIZE(buckets), 1);
    vfr_rules_open(&r, image);
    r.born = born;
    r.added = &sets;
    r.buckets = &rates;
    if (vfr_sets_adopt(&sets, image, NULL, r.life))
        memset(r.life, 0, sizeof(r.life));
    for (u64 n = 0; n < QUESTIONS; n++)
        judge(&r, n);
    vfr_rules_map(&r, &r, to);
    for (u32 i = 0; i <= image->nr_rules; i++)
        FUZZ_CHECK(to[i] == i);
    FUZZ_CHECK(!vfr_sets_check(&sets, 0));
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
    struct vfr_image *image;
    u64 len;

    if (!size)
        return 0;
    image = data[0] & 1 ? mend(data + 1, size - 1, &len) : copy(data + 1, size - 1, &len);
    if (!check(image, len))
        judge_all(image);
    free(image);
    return 0;
}
