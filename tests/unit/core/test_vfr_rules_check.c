/*
 * The check of rulesets' images: a good one with something of everything, then that one with each
 * thing wrong that can be, then with every single bit changed: refused, or judged by without harm.
 */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "vfr_image.h"

static struct image_source *source;
static struct vfr_image *image;

static int check_bytes(const void *bytes, u64 len)
{
    struct vfr_rules_progress p = {0};
    int rc;

    do {
        rc = vfr_rules_check(&p, bytes, len, 1);
    } while (rc == -XEN_EAGAIN);
    return rc;
}

static int check(void)
{
    free(image);
    image = image_finish(source);
    return check_bytes(image, image->len);
}

static int start(void **state)
{
    struct image_source *s = source = image_source_create();
    struct vfr_rule *r;

    image_add_set(s, 11, VFR_SET_NET, 16, 50);
    image_add_element(s, 0, (struct vfr_element){VFR_IP4(0x0a000000), 0, 104});
    image_add_element(s, 0, (struct vfr_element){VFR_IP4(0x0b000000), 0, 104});
    s->sets[0].timeout = 60;
    image_add_set(s, 12, VFR_SET_PORT, 4, 0);
    image_add_element(s, 1, (struct vfr_element){{0, 0}, 80, 0});
    image_add_set(s, 13, VFR_SET_IP, 0, 5);
    s->rates[s->head.nr_rates++] = (struct vfr_rate){
        .id = 1, .unit = VFR_RATE_FLOWS, .per = VFR_PER_RULE, .cost = 1 << 20, .depth = 1000};
    r = image_add_rule(s, 40, VFR_REJECT);
    r->reject = VFR_REJECT_ADMIN;
    r->from = 9;
    image_add_match(s, VFR_SRC_IP, match_ip4(5, 10));
    image_add_match(s, VFR_SRC_IP, match_set(0));
    image_add_match(s, VFR_DST_PORT, match_ports(1, 2));
    r = image_add_rule(s, 20, VFR_PASS);
    r->what = VFR_W_TCP_FLAGS | VFR_W_TTL | VFR_W_TAGGED | VFR_W_ELSE_NEXT;
    r->tcp_mask = r->tcp_value = 2;
    r->ttl = 5;
    r->tagged = 1;
    r->rate = 1;
    image_add_match(s, VFR_DST_PORT, match_set(1));
    r = image_add_rule(s, 30, VFR_COUNT);
    r->what = VFR_W_ICMP_TYPE | VFR_W_ICMP_CODE;
    r->icmp_type = r->icmp_code = 1;
    r->log = VFR_LOG_NEW | VFR_LOG_STRICT;
    r->sample = 2;
    image_add_rule(s, 50, VFR_DROP);
    image_add_match(s, VFR_DST_IP,
                    (struct vfr_match){VFR_M_IP6, 0, 0, 0x20010db8, 5, 0x20010db8, 7});
    image_add_match(
        s, VFR_DST_IP,
        (struct vfr_match){.kind = VFR_M_FACT, .low_low = VFR_F_OWN | VFR_F_SHARED});
    image_add_match(s, VFR_DST_PORT,
                    (struct vfr_match){.kind = VFR_M_FACT, .low_low = VFR_F_LEASED});
    return 0;
}

static int stop(void **state)
{
    free(image);
    free(source);
    image = NULL;
    return 0;
}

static void test_good(void **state)
{
    struct vfr_rules_progress p = {0};
    u32 slices = 0;
    int rc;

    assert_int_equal(check(), 0);
    while ((rc = vfr_rules_check(&p, image, image->len, 2)) == -XEN_EAGAIN)
        slices++;
    assert_int_equal(rc, 0);
    assert_true(slices > 10);
    /* Once good, it stays so. */
    assert_int_equal(vfr_rules_check(&p, image, image->len, 1), 0);
}

/* ---- its digest ---- */

static void digest_by(u32 budget, u8 digest[SHA256_SIZE])
{
    struct vfr_rules_digest d;

    vfr_rules_digest_begin(&d);
    while (!vfr_rules_digest_add(&d, image, budget))
        ;
    sha256_end(&d.sum, digest);
}

/* As the header says, byte for byte; 'like': of so many bytes each is told by what differs from the one before. */
static u32 pack_part(u32 first, u32 end, u32 like, u8 *to)
{
    const u8 *from = (const u8 *)image;
    u32 n = 0, size = like ? like : 64;

    for (u32 at = first; at < end; at += size) {
        u8 *mask = to + n;

        memset(mask, 0, 4);
        n += 4;
        for (u32 i = 0; i < size / 2 && at + 2 * i < end; i++) {
            const u32 here = at + 2 * i, before = like && at > first ? here - like : 0;
            const u8 low = from[here] ^ (before ? from[before] : 0);
            const u8 high = from[here + 1] ^ (before ? from[before + 1] : 0);

            if (!low && !high)
                continue;
            mask[i / 8] |= (u8)(1 << i % 8);
            to[n++] = low;
            to[n++] = high;
        }
    }
    return n;
}

static void test_digest(void **state)
{
    u8 found[SHA256_SIZE], expected[SHA256_SIZE], *out;
    u32 n;

    assert_int_equal(check(), 0);
    out = malloc(2 * image->len);
    n = pack_part(0, image->gates_at, 0, out);
    n += pack_part(image->rules_at, image->order_at, sizeof(struct vfr_rule), out + n);
    n += pack_part(image->matches_at, image->sets_at, sizeof(struct vfr_match), out + n);
    n += pack_part(image->sets_at, (u32)image->len, 0, out + n);
    sha256(out, n, expected);
    free(out);
    for (u32 budget = 1; budget < 50; budget += 7) {
        digest_by(budget, found);
        assert_memory_equal(found, expected, SHA256_SIZE);
    }
}

/* It tells of each bit that does not follow from others. */
static void test_digest_bits(void **state)
{
    u8 before[SHA256_SIZE], now[SHA256_SIZE];

    assert_int_equal(check(), 0);
    digest_by(~0U, before);
    for (u32 bit = sizeof(*image) * 8; bit < image->len * 8; bit++) {
        const u32 at = bit / 8;
        u8 *byte = (u8 *)image + at;

        *byte ^= (u8)(1 << bit % 8);
        digest_by(~0U, now);
        *byte ^= (u8)(1 << bit % 8);
        assert_int_equal(!memcmp(before, now, SHA256_SIZE),
                         at < image->rules_at ||
                             (at >= image->order_at && at < image->matches_at));
    }
}

static void test_empty(void **state)
{
    source->head.nr_rules = source->head.nr_sets = source->head.nr_matches = 0;
    source->head.nr_slots = source->head.nr_rates = 0;
    assert_int_equal(check(), 0);
    test_digest(state);
}

/* One thing is made wrong, found to be so, and put right again. */
#define REFUSED(lvalue, value)                                                                 \
    do {                                                                                       \
        __auto_type before = lvalue;                                                           \
        lvalue = (value);                                                                      \
        assert_int_equal(check(), -XEN_EINVAL);                                                \
        lvalue = before;                                                                       \
        assert_int_equal(check(), 0);                                                          \
    } while (0)

static void test_bad_rules(void **state)
{
    struct vfr_rule *r = source->rules;

    REFUSED(r[0].id, 0);
    REFUSED(r[0].id, 20);
    REFUSED(r[0].action, VFR_COUNT + 1);
    REFUSED(r[0].action, VFR_DROP);
    REFUSED(r[0].reject, VFR_REJECT_HOST + 1);
    REFUSED(r[0].what, VFR_W_ALL + 1);
    REFUSED(r[0].what, VFR_W_ELSE_NEXT);
    REFUSED(r[0].what, VFR_W_TTL);
    REFUSED(r[0].what, VFR_W_TAGGED);
    REFUSED(r[0].what, VFR_W_ICMP_CODE);
    REFUSED(r[0].tcp_mask, 1);
    REFUSED(r[1].tcp_value, 1);
    REFUSED(r[1].ttl, 0);
    REFUSED(r[1].tagged, 0);
    REFUSED(r[1].tagged, 33);
    REFUSED(r[1].tag, 33);
    REFUSED(r[1].rate, 2);
    REFUSED(r[0].icmp_type, 1);
    REFUSED(r[0].icmp_code, 1);
    REFUSED(r[2].log, 16);
    REFUSED(r[2].log, VFR_LOG_STRICT);
    REFUSED(r[0].sample, 2);
    REFUSED(r[0].dscp, VFR_DSCP_NONE + 1);
    REFUSED(r[0].zero, 1);
    REFUSED(r[0].zero2, 1);
    REFUSED(r[0].zero3[7], 1);
}

static void test_bad_clauses(void **state)
{
    struct vfr_clause *c = source->rules[0].clause;
    struct vfr_match *m = source->matches;

    REFUSED(c[VFR_SRC_IP].nr, 1);
    REFUSED(c[VFR_SRC_IP].nr, 3);
    REFUSED(c[VFR_SRC_IP].first, 1);
    REFUSED(c[VFR_DST_PORT].first, 1);
    REFUSED(c[VFR_SRC_PORT].first, 1);
    REFUSED(c[VFR_SRC_PORT].nr, VFR_CLAUSE_NOT);
    REFUSED(source->rules[1].clause[VFR_DST_PORT].nr, 2);
    REFUSED(source->head.nr_matches, source->head.nr_matches + 1);
    REFUSED(m[0].kind, VFR_M_FACT + 1);
    REFUSED(m[0].kind, 0);
    REFUSED(m[0].kind, VFR_M_PORT);
    REFUSED(m[0].low_low, m[0].high_low + 1);
    REFUSED(m[0].low_low, 5);
    REFUSED(m[0].set, 1);
    REFUSED(m[0].zero, 1);
    REFUSED(m[1].set, 1);
    REFUSED(m[1].set, 3);
    REFUSED(m[1].low_low, 1);
    REFUSED(m[2].high_low, 0x10000);
    REFUSED(m[2].low_low, 3);
    REFUSED(m[2].kind, VFR_M_IP4);
    REFUSED(m[3].set, 0);
    REFUSED(m[4].low_low, 8);
    REFUSED(m[4].low_high, 0x20010db9);
    REFUSED(m[5].low_low, 0);
    REFUSED(m[5].low_low, VFR_F_LEASED);
    REFUSED(m[5].low_low, VFR_F_OWN | VFR_F_LEASED);
    REFUSED(m[5].high_low, 1);
    REFUSED(m[6].low_low, VFR_F_OWN);
    m[4].high_high++;
    m[4].high_low = 0;
    assert_int_equal(check(), 0);
}

static void test_bad_sets(void **state)
{
    struct vfr_set *s = source->sets;
    u32 slot = 0;

    while (!source->slots[slot].rest)
        slot++;
    REFUSED(s[0].id, 0);
    REFUSED(s[0].kind, 0);
    REFUSED(s[1].kind, VFR_SET_MAC + 1);
    REFUSED(s[1].first, 4);
    REFUSED(s[2].kind, 0);
    REFUSED(s[2].kind, VFR_SET_MAC + 1);
    REFUSED(s[2].first, 4);
    REFUSED(s[0].zero[0], 1);
    REFUSED(s[0].size, VFR_SET_MAX + 1);
    REFUSED(s[1].timeout, 1);
    REFUSED(s[0].slots, 15);
    REFUSED(s[0].slots, 8);
    REFUSED(s[1].slots, 8);
    REFUSED(s[1].first, 8);
    REFUSED(s[0].lengths[1], 0);
    REFUSED(s[0].lengths[2], 2);
    REFUSED(s[1].lengths[0], 1);
    REFUSED(source->slots[slot].zero, 1);
    REFUSED(source->slots[slot].rest, 1);
    REFUSED(source->slots[slot].rest, VFR_SLOT_USED | 129 << 16);
    REFUSED(source->slots[slot].low, source->slots[slot].low | 1);
    REFUSED(source->slots[slot].rest, 0);
    REFUSED(source->head.nr_slots, 24);
}

/* An element that no lookup would find. */
static void test_lost_element(void **state)
{
    struct vfr_slot kept;

    for (u32 slot = 0; slot < 16; slot++) {
        kept = source->slots[slot];
        if (!kept.rest)
            continue;
        source->slots[slot] = (struct vfr_slot){0};
        source->slots[(slot + 8) % 16] = kept;
        assert_int_equal(check(), -XEN_EINVAL);
        return;
    }
    fail();
}

static void test_bad_rates(void **state)
{
    struct vfr_rate *r = source->rates;

    REFUSED(r[0].id, 0);
    REFUSED(r[0].unit, 0);
    REFUSED(r[0].unit, VFR_RATE_BYTES + 1);
    REFUSED(r[0].per, 0);
    REFUSED(r[0].per, VFR_PER_DST + 1);
    REFUSED(r[0].zero[1], 1);
    REFUSED(r[0].cost, 0);
    REFUSED(r[0].cost, VFR_RATE_COST_MAX + 1);
    REFUSED(r[0].depth, VFR_RATE_DEPTH_MAX + 1);
}

static void test_bad_header(void **state)
{
    struct vfr_image *h = &source->head;

    REFUSED(h->default_action, VFR_PASS);
    REFUSED(h->default_reject, VFR_REJECT_RST);
    REFUSED(h->default_log, 16);
    REFUSED(h->default_sample, 1);
    REFUSED(h->zero[0], 1);
    REFUSED(h->zero2, 1);
    REFUSED(h->proto_class[200], VFR_PROTO_ARP);
    assert_int_equal(check_bytes(image, image->len - 8), -XEN_EINVAL);
    assert_int_equal(check_bytes((u8 *)image + 4, 0), -XEN_EINVAL);
}

/* The same in a finished image, for what image_finish() sets itself. */
#define TAMPERED(lvalue, value, rc)                                                            \
    do {                                                                                       \
        __auto_type before = lvalue;                                                           \
        lvalue = (value);                                                                      \
        assert_int_equal(check_bytes(image, len), rc);                                         \
        lvalue = before;                                                                       \
        assert_int_equal(check_bytes(image, len), 0);                                          \
    } while (0)

static void test_bad_layout(void **state)
{
    struct vfr_rule *rules;
    u64 len, *gates;
    u16 *order;

    assert_int_equal(check(), 0);
    len = image->len;
    rules = (struct vfr_rule *)((u8 *)image + image->rules_at);
    gates = (u64 *)((u8 *)image + image->gates_at);
    order = (u16 *)((u8 *)image + image->order_at);
    TAMPERED(image->magic, 1, -XEN_EINVAL);
    TAMPERED(image->version, 2, -XEN_EINVAL);
    TAMPERED(image->header, image->header + 8, -XEN_EINVAL);
    TAMPERED(image->len, len + 8, -XEN_EINVAL);
    TAMPERED(image->nr_rules, VFR_RULES_MAX + 1, -XEN_E2BIG);
    TAMPERED(image->nr_matches, VFR_MATCHES_MAX + 1, -XEN_E2BIG);
    TAMPERED(image->nr_sets, VFR_SETS_MAX + 1, -XEN_E2BIG);
    TAMPERED(image->nr_rates, VFR_RATES_MAX + 1, -XEN_E2BIG);
    TAMPERED(image->nr_slots, VFR_IMAGE_MAX, -XEN_E2BIG);
    TAMPERED(image->nr_rules, 3, -XEN_EINVAL);
    TAMPERED(image->gates_at, image->gates_at + 8, -XEN_EINVAL);
    TAMPERED(image->slots_at, image->slots_at - 24, -XEN_EINVAL);
    TAMPERED(gates[0], 0, -XEN_EINVAL);
    TAMPERED(rules[0].port_low, 2, -XEN_EINVAL);
    TAMPERED(rules[0].port_span, 2, -XEN_EINVAL);
    TAMPERED(rules[3].port_span, 0, -XEN_EINVAL);
    TAMPERED(order[0], 4, -XEN_EINVAL);
    TAMPERED(order[0], order[1], -XEN_EINVAL);
}

static void judge_by(const void *bytes)
{
    static struct vfr_counter counters[8];
    static const u64 born[8];
    struct vfr_bucket buckets[4] = {0};
    struct vfr_rates rates;
    struct vfr_zones zones;
    struct vfr_packet p = {.len = 60,
                           .class = VFR_C_IP4,
                           .flags = VFR_P_PORTS,
                           .tuple = {VFR_IP4(7), VFR_IP4(8), 1, 2, 6}};
    struct vfr_question q = {
        .packet = &p, .from = {&zones, 0}, .to = {&zones, 0}, .commit = true};
    struct vfr_verdict v;
    struct vfr_rules r;

    vfr_zones_set(&zones, (const u64[4]){~0UL, ~0UL, ~0UL, ~0UL});
    vfr_rates_init(&rates, buckets, 4, 1);
    vfr_rules_open(&r, bytes);
    r.born = born;
    r.buckets = &rates;
    vfr_rules_judge(&r, &q, counters, NULL, &v);
    assert_true(v.action < VFR_COUNT && v.rule <= 4);
    assert_int_equal(vfr_rules_find(&r, v.id), v.id ? v.rule : 4);
}

static void test_every_bit(void **state)
{
    u64 len, refused = 0;
    u8 *bytes;

    assert_int_equal(check(), 0);
    len = image->len;
    bytes = malloc(len);
    for (u64 bit = 0; bit < len * 8; bit++) {
        memcpy(bytes, image, len);
        bytes[bit / 8] ^= (u8)(1 << bit % 8);
        if (check_bytes(bytes, len))
            refused++;
        else
            judge_by(bytes);
    }
    free(bytes);
    assert_true(refused > len * 4 && refused < len * 8);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, start, stop)
    const struct CMUnitTest tests[] = {
        T(test_good),       T(test_empty),        T(test_bad_rules), T(test_bad_clauses),
        T(test_bad_sets),   T(test_lost_element), T(test_bad_rates), T(test_bad_header),
        T(test_bad_layout), T(test_every_bit),    T(test_digest),    T(test_digest_bits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
