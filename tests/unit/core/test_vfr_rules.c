/*
 * Rules: each clause of a rule for itself, the order of decision, rates, marks and the trace; then
 * random rulesets, where the judge must say the same with its gates and without.
 */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "vfr_image.h"
#include "unit/random.h"

#define A       0x0a000001u
#define B       0x0a000002u
#define SECONDS 1000000000UL

/* ---- a world: a ruleset, its memory, a packet from zone 4 to zone 5 ---- */

struct world {
    struct image_source *source;
    struct vfr_image *image;
    struct vfr_rules rules;
    struct vfr_sets sets;
    struct vfr_set_slot set_slots[256];
    struct vfr_rates rates;
    struct vfr_bucket buckets[64];
    u64 born[IMAGE_RULES];
    struct vfr_counter counters[IMAGE_RULES + 1];
    struct vfr_zones from, to;
    struct vfr_packet packet;
    struct vfr_question question;
    struct vfr_verdict verdict;
};

static void put_in_zone(struct vfr_zones *z, unsigned zone)
{
    u64 in[VFR_ZONES / 64] = {0};

    in[zone / 64] |= BIT(zone % 64);
    vfr_zones_set(z, in);
}

static int start(void **state)
{
    struct world *w = calloc(1, sizeof(*w));

    w->source = image_source_create();
    vfr_rates_init(&w->rates, w->buckets, ARRAY_SIZE(w->buckets), 77);
    put_in_zone(&w->from, 4);
    put_in_zone(&w->to, 5);
    w->packet = (struct vfr_packet){
        .len = 100,
        .flags = VFR_P_PORTS,
        .class = VFR_C_IP4,
        .tcp_flags = 2,
        .tuple = {VFR_IP4(A), VFR_IP4(B), 4100, 443, 6},
    };
    w->question = (struct vfr_question){.packet = &w->packet,
                                        .from = {&w->from, 0},
                                        .to = {&w->to, 0},
                                        .vif = 3,
                                        .commit = true,
                                        .now = 1000 * SECONDS};
    *state = w;
    return 0;
}

static int stop(void **state)
{
    struct world *w = *state;

    free(w->image);
    free(w->source);
    free(w);
    return 0;
}

static int check(const void *image)
{
    struct vfr_rules_progress p = {0};
    int rc;

    do {
        rc = vfr_rules_check(&p, image, ((const struct vfr_image *)image)->len, 3);
    } while (rc == -XEN_EAGAIN);
    return rc;
}

static void install(struct world *w)
{
    free(w->image);
    w->image = image_finish(w->source);
    assert_int_equal(check(w->image), 0);
    vfr_rules_open(&w->rules, w->image);
    memset(w->set_slots, 0, sizeof(w->set_slots));
    vfr_sets_init(&w->sets, w->set_slots, ARRAY_SIZE(w->set_slots), 99);
    assert_int_equal(vfr_sets_adopt(&w->sets, w->image, NULL, w->rules.life), 0);
    w->rules.born = w->born;
    w->rules.added = &w->sets;
    w->rules.buckets = &w->rates;
}

static u32 judge(struct world *w)
{
    vfr_rules_judge(&w->rules, &w->question, w->counters, NULL, &w->verdict);
    return w->verdict.id;
}

/* The only rule, whatever has been done to it, decides about the packet. */
static bool matches(struct world *w)
{
    install(w);
    return judge(w) == w->source->rules[0].id;
}

/* ---- clauses ---- */

static void test_default(void **state)
{
    struct world *w = *state;

    w->source->head.default_action = VFR_REJECT;
    w->source->head.default_log = VFR_LOG_DENY;
    w->source->head.default_sample = 16;
    install(w);
    assert_int_equal(judge(w), 0);
    assert_int_equal(w->verdict.action, VFR_REJECT);
    assert_int_equal(w->verdict.reject, VFR_REJECT_RST);
    assert_int_equal(w->verdict.reason, VFR_R_DEFAULT);
    assert_int_equal(w->verdict.log, VFR_LOG_DENY);
    assert_int_equal(w->verdict.sample, 16);
    assert_int_equal(w->counters[0].packets, 1);
    assert_int_equal(w->counters[0].bytes, 100);
}

static void test_zones(void **state)
{
    struct world *w = *state;
    struct vfr_rule *r = image_add_rule(w->source, 7, VFR_PASS);

    /* 28 shares a gate's bit with 4. */
    for (unsigned zone = 0; zone < 256; zone++) {
        r->from = (u8)zone;
        r->to = 0;
        r->what = 0;
        assert_int_equal(matches(w), zone == 0 || zone == 4);
        r->what = VFR_W_NOT_FROM;
        assert_int_equal(matches(w), zone != 0 && zone != 4);
        r->from = 4;
        r->to = (u8)zone;
        r->what = 0;
        assert_int_equal(matches(w), zone == 0 || zone == 5);
        r->what = VFR_W_NOT_TO;
        assert_int_equal(matches(w), zone != 0 && zone != 5);
    }
}

static void test_protocols(void **state)
{
    struct world *w = *state;
    struct vfr_rule *r = image_add_rule(w->source, 7, VFR_PASS);

    for (unsigned class = 0; class < VFR_PROTO_CLASSES; class ++) {
        r->protos = (u16)BIT(class);
        w->packet.tuple.proto = 6;
        assert_int_equal(matches(w), class == 1);
        w->packet.tuple.proto = 99;
        assert_int_equal(matches(w), class == 0);
        w->packet.class = VFR_C_ARP;
        assert_int_equal(matches(w), class == VFR_PROTO_ARP);
        w->packet.class = VFR_C_IP4;
    }
}

static void test_addresses(void **state)
{
    struct world *w = *state;
    struct vfr_rule *r = image_add_rule(w->source, 7, VFR_PASS);
    const struct vfr_addr six = {0x20010db800000000, 5};

    image_add_match(w->source, VFR_DST_IP, match_ip4(B, B + 1));
    assert_true(matches(w));
    w->packet.tuple.dst = VFR_IP4(B + 1);
    assert_true(matches(w));
    w->packet.tuple.dst = VFR_IP4(B + 2);
    assert_false(matches(w));
    w->packet.tuple.dst = VFR_IP4(B - 1);
    assert_false(matches(w));
    w->packet.tuple.dst = six;
    assert_false(matches(w));
    image_add_match(
        w->source, VFR_DST_IP,
        (struct vfr_match){
            .kind = VFR_M_IP6, .low_high = six.high, .high_high = six.high, .high_low = 5});
    assert_true(matches(w));
    r->clause[VFR_DST_IP].nr |= VFR_CLAUSE_NOT;
    assert_false(matches(w));
    w->packet.tuple.dst.low = 6;
    assert_true(matches(w));
}

static void test_ports(void **state)
{
    struct world *w = *state;
    struct vfr_rule *r = image_add_rule(w->source, 7, VFR_PASS);

    image_add_match(w->source, VFR_SRC_PORT, match_ports(4000, 4100));
    image_add_match(w->source, VFR_DST_PORT, match_ports(80, 80));
    image_add_match(w->source, VFR_DST_PORT, match_ports(443, 443));
    assert_true(matches(w));
    w->packet.tuple.sport = 4101;
    assert_false(matches(w));
    w->packet.tuple.sport = 4000;
    assert_true(matches(w));
    r->clause[VFR_DST_PORT].nr |= VFR_CLAUSE_NOT;
    assert_false(matches(w));
    w->packet.tuple.dport = 81;
    assert_true(matches(w));
    /* What has no ports does not have another port either. */
    w->packet.flags = 0;
    assert_false(matches(w));
    w->packet.flags = VFR_P_PORTS | VFR_P_QUERY;
    assert_false(matches(w));
}

static void test_facts(void **state)
{
    struct world *w = *state;

    image_add_rule(w->source, 7, VFR_PASS);
    image_add_match(w->source, VFR_SRC_IP,
                    (struct vfr_match){.kind = VFR_M_FACT, .low_low = VFR_F_SHARED});
    image_add_match(w->source, VFR_DST_PORT,
                    (struct vfr_match){.kind = VFR_M_FACT, .low_low = VFR_F_LEASED});
    w->question.from.facts = VFR_F_SHARED;
    w->question.to.facts = VFR_F_LEASED;
    assert_true(matches(w));
    w->question.from.facts = VFR_F_OWN;
    assert_false(matches(w));
    w->question.from.facts = VFR_F_SHARED;
    w->question.to.facts = VFR_F_OWN;
    assert_false(matches(w));
}

static void test_extras(void **state)
{
    struct world *w = *state;
    struct vfr_rule *r = image_add_rule(w->source, 7, VFR_PASS);

    r->what = VFR_W_TCP_FLAGS;
    r->tcp_mask = 0x12;
    r->tcp_value = 0x02;
    assert_true(matches(w));
    w->packet.tcp_flags = 0x12;
    assert_false(matches(w));
    r->tcp_mask = r->tcp_value = 0;
    r->what = VFR_W_ICMP_TYPE | VFR_W_ICMP_CODE;
    r->icmp_type = 3;
    r->icmp_code = 4;
    assert_false(matches(w));
    w->packet.icmp_type = 3;
    assert_false(matches(w));
    w->packet.icmp_code = 4;
    assert_true(matches(w));
    r->icmp_type = r->icmp_code = 0;
    r->what = VFR_W_FRAGMENT;
    assert_false(matches(w));
    w->packet.flags |= VFR_P_FRAGMENT;
    assert_true(matches(w));
}

static void test_ttl(void **state)
{
    struct world *w = *state;
    struct vfr_rule *r = image_add_rule(w->source, 7, VFR_PASS);

    r->what = VFR_W_TTL;
    r->ttl = 60;
    w->born[0] = w->question.now + 5;
    assert_true(matches(w));
    w->question.now = w->born[0] + 60 * SECONDS - 1;
    assert_true(matches(w));
    w->question.now++;
    assert_false(matches(w));
}

static void test_sets(void **state)
{
    struct world *w = *state;
    const struct vfr_element b = {VFR_IP4(B), 0, 0}, pair = {VFR_IP4(B), 443, 0};
    const struct vfr_element port = {{0, 0}, 443, 0}, mac = {{0, 0x0a0b0c}, 0, 0};
    u16 ips = image_add_set(w->source, 1, VFR_SET_IP, 8, 10);
    u16 pairs = image_add_set(w->source, 2, VFR_SET_IP_PORT, 8, 0);
    u16 ports = image_add_set(w->source, 3, VFR_SET_PORT, 8, 0);
    u16 macs = image_add_set(w->source, 4, VFR_SET_MAC, 8, 0);

    image_add_element(w->source, pairs, pair);
    image_add_element(w->source, ports, port);
    image_add_element(w->source, macs, mac);
    image_add_rule(w->source, 7, VFR_PASS);
    image_add_match(w->source, VFR_SRC_IP, match_set(macs));
    image_add_match(w->source, VFR_DST_IP, match_set(pairs));
    image_add_match(w->source, VFR_DST_PORT, match_set(ports));
    w->packet.eth_src = 0x0a0b0c;
    assert_true(matches(w));
    w->packet.eth_src = 0x0a0b0d;
    assert_false(matches(w));
    w->packet.eth_src = 0x0a0b0c;
    w->packet.tuple.dport = 444;
    assert_false(matches(w));
    w->packet.tuple.dport = 443;
    w->packet.tuple.dst = VFR_IP4(A);
    assert_false(matches(w));

    w->packet.tuple.dst = VFR_IP4(B);
    w->source->rules[0].clause[VFR_DST_IP].nr = 0;
    w->source->head.nr_matches = 0;
    w->source->rules[0] = (struct vfr_rule){0};
    w->source->head.nr_rules = 0;
    image_add_rule(w->source, 7, VFR_PASS);
    image_add_match(w->source, VFR_DST_IP, match_set(ips));
    assert_false(matches(w));
    assert_int_equal(vfr_sets_add(&w->sets, w->rules.life[ips], &b, 0, w->question.now), 0);
    assert_int_equal(judge(w), 7);
    assert_int_equal(vfr_sets_remove(&w->sets, w->rules.life[ips], &b, w->question.now), 0);
    assert_int_equal(judge(w), 0);
}

/* ---- decisions ---- */

static void test_first_match(void **state)
{
    struct world *w = *state;
    struct vfr_rule *r;

    image_add_rule(w->source, 9, VFR_DROP)->from = 5;
    r = image_add_rule(w->source, 4, VFR_COUNT);
    r->log = VFR_LOG_NEW;
    r->sample = 10;
    r->tag = 32;
    r->dscp = 46;
    r = image_add_rule(w->source, 5, VFR_DROP);
    r->what = VFR_W_TAGGED;
    r->tagged = 31;
    r = image_add_rule(w->source, 6, VFR_PASS_STATELESS);
    r->what = VFR_W_TAGGED;
    r->tagged = 32;
    r->log = VFR_LOG_END | VFR_LOG_STRICT;
    image_add_rule(w->source, 7, VFR_DROP);
    install(w);
    assert_int_equal(judge(w), 6);
    assert_int_equal(w->verdict.rule, 3);
    assert_int_equal(w->verdict.action, VFR_PASS_STATELESS);
    assert_int_equal(w->verdict.reason, VFR_R_OK);
    assert_int_equal(w->verdict.log, VFR_LOG_NEW | VFR_LOG_END | VFR_LOG_STRICT);
    assert_int_equal(w->verdict.log_id, 4);
    assert_int_equal(w->verdict.sample, 10);
    assert_int_equal(w->verdict.dscp, 46);
    assert_int_equal(w->verdict.tags, 1u << 31);
    for (unsigned i = 0; i < 6; i++)
        assert_int_equal(w->counters[i].packets, i == 1 || i == 3);
    w->question.commit = false;
    judge(w);
    assert_int_equal(w->counters[3].packets, 1);
}

static void test_reject(void **state)
{
    static const struct {
        u8 said, proto, told;
    } cases[] = {
        {VFR_REJECT_USUAL, 6, VFR_REJECT_RST},   {VFR_REJECT_USUAL, 17, VFR_REJECT_PORT},
        {VFR_REJECT_RST, 6, VFR_REJECT_RST},     {VFR_REJECT_RST, 17, VFR_REJECT_PORT},
        {VFR_REJECT_ADMIN, 6, VFR_REJECT_ADMIN}, {VFR_REJECT_HOST, 17, VFR_REJECT_HOST},
    };
    struct world *w = *state;
    struct vfr_rule *r = image_add_rule(w->source, 7, VFR_REJECT);

    for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
        r->reject = cases[i].said;
        w->packet.tuple.proto = cases[i].proto;
        assert_true(matches(w));
        assert_int_equal(w->verdict.reject, cases[i].told);
        assert_int_equal(w->verdict.reason, VFR_R_RULE);
    }
}

static unsigned count_passes(struct world *w, unsigned tries)
{
    unsigned n = 0;

    while (tries--) {
        judge(w);
        n += w->verdict.action == VFR_PASS;
    }
    return n;
}

static void test_rates(void **state)
{
    struct world *w = *state;
    struct vfr_rule *r = image_add_rule(w->source, 7, VFR_PASS);

    /* Ten a second, five at once, for each source. */
    w->source->rates[w->source->head.nr_rates++] =
        (struct vfr_rate){.id = 1,
                          .unit = VFR_RATE_FLOWS,
                          .per = VFR_PER_SRC,
                          .cost = (SECONDS / 10) << VFR_RATE_SHIFT,
                          .depth = 4 * (SECONDS / 10)};
    r->rate = 1;
    install(w);
    w->question.commit = false;
    assert_int_equal(count_passes(w, 20), 20);
    w->question.commit = true;
    assert_int_equal(count_passes(w, 20), 5);
    assert_int_equal(w->verdict.id, 7);
    assert_int_equal(w->verdict.action, VFR_DROP);
    assert_true(w->verdict.beyond);
    w->packet.tuple.src = VFR_IP4(A + 1);
    assert_int_equal(count_passes(w, 20), 5);
    w->question.now += SECONDS / 5;
    assert_int_equal(count_passes(w, 20), 2);
    assert_false(w->verdict.metered);
    r->what = VFR_W_ELSE_NEXT;
    install(w);
    judge(w);
    assert_int_equal(w->verdict.id, 0);
    assert_false(w->verdict.beyond);
}

static void test_meter(void **state)
{
    struct world *w = *state;
    struct vfr_rule *r = image_add_rule(w->source, 7, VFR_PASS);
    unsigned passed = 0;

    /* 1000 bytes a second, 500 at once and what is left of the last. */
    w->source->rates[w->source->head.nr_rates++] =
        (struct vfr_rate){.id = 1,
                          .unit = VFR_RATE_BYTES,
                          .per = VFR_PER_VIF,
                          .cost = (SECONDS / 1000) << VFR_RATE_SHIFT,
                          .depth = SECONDS / 2};
    r->rate = 1;
    install(w);
    judge(w);
    assert_true(w->verdict.metered);
    while (vfr_rules_meter(&w->rules, 0, &w->question, NULL))
        passed++;
    assert_int_equal(passed, 5);
    w->question.vif++;
    assert_true(vfr_rules_meter(&w->rules, 0, &w->question, NULL));
    assert_true(vfr_rules_meter(&w->rules, 1, &w->question, NULL));
}

static void test_trace(void **state)
{
    struct world *w = *state;
    struct vfr_step steps[5];
    struct vfr_trace t = {.steps = steps, .max = 5};
    static const struct vfr_step want[] = {{0, VFR_STEP_FROM},
                                           {1, VFR_STEP_PROTO},
                                           {2, VFR_STEP_DST_PORT},
                                           {3, VFR_STEP_MATCHES},
                                           {4, VFR_STEP_DECIDES}};

    image_add_rule(w->source, 1, VFR_DROP)->from = 28;
    image_add_rule(w->source, 2, VFR_DROP)->protos = 4;
    image_add_rule(w->source, 3, VFR_DROP);
    image_add_match(w->source, VFR_DST_PORT, match_ports(80, 80));
    image_add_rule(w->source, 4, VFR_COUNT);
    image_add_rule(w->source, 5, VFR_PASS);
    install(w);
    vfr_rules_judge(&w->rules, &w->question, w->counters, &t, &w->verdict);
    assert_int_equal(t.nr, 5);
    assert_memory_equal(steps, want, sizeof(want));
    t = (struct vfr_trace){.steps = steps, .max = 2};
    vfr_rules_judge(&w->rules, &w->question, w->counters, &t, &w->verdict);
    assert_int_equal(t.nr, 5);
}

static void test_find_and_map(void **state)
{
    struct world *w = *state;
    struct image_source *s = w->source;
    struct vfr_image *old;
    struct vfr_rules before;
    u16 to[5];

    image_add_rule(s, 30, VFR_PASS);
    image_add_rule(s, 10, VFR_PASS);
    image_add_rule(s, 20, VFR_PASS);
    image_add_rule(s, 40, VFR_PASS);
    old = image_finish(s);
    vfr_rules_open(&before, old);
    assert_int_equal(vfr_rules_find(&before, 20), 2);
    assert_int_equal(vfr_rules_find(&before, 25), 4);
    assert_int_equal(vfr_rules_find(&before, 0), 4);
    s->head.nr_rules = 0;
    image_add_rule(s, 10, VFR_PASS);
    image_add_rule(s, 5, VFR_PASS);
    image_add_rule(s, 20, VFR_PASS)->digest = 1;
    image_add_rule(s, 40, VFR_PASS);
    image_add_rule(s, 41, VFR_PASS);
    install(w);
    vfr_rules_map(&before, &w->rules, to);
    assert_int_equal(to[0], VFR_RULE_GONE);
    assert_int_equal(to[1], 0);
    assert_int_equal(to[2], VFR_RULE_GONE);
    assert_int_equal(to[3], 3);
    assert_int_equal(to[4], 5);
    free(old);
}

/* ---- random ---- */

static void add_random_rule(struct image_source *s, u32 id)
{
    struct vfr_rule *r = image_add_rule(s, id, (u8)random_below(5));

    r->from = (u8)random_below(60);
    r->to = random_below(2) ? (u8)random_below(256) : 0;
    r->protos = random_below(3) ? 0xffff : (u16)random_below(0x10000);
    r->what = (u16)random_below(8);
    if (r->what & VFR_W_TCP_FLAGS)
        r->tcp_mask = (u8)(r->tcp_value = 2) | 16;
    if (!random_below(3))
        image_add_match(s, VFR_SRC_IP, match_ip4(A, A + random_below(4)));
    if (!random_below(3))
        image_add_match(s, VFR_DST_PORT, match_ports(0, (u16)random_below(8)));
    if (random_below(2) && r->clause[VFR_DST_PORT].nr)
        r->clause[VFR_DST_PORT].nr |= VFR_CLAUSE_NOT;
}

static void random_packet(struct world *w)
{
    u64 in[2][VFR_ZONES / 64];

    for (unsigned i = 0; i < 8; i++)
        in[i / 4][i % 4] =
            BIT(random_below(64)) | (random_below(4) ? 0 : BIT(random_below(64)));
    vfr_zones_set(&w->from, in[0]);
    vfr_zones_set(&w->to, in[1]);
    w->packet.tuple.src = VFR_IP4(A + random_below(5));
    w->packet.tuple.dport = (u16)random_below(9);
    w->packet.tuple.proto = random_below(2) ? 6 : (u8)random_below(20);
    w->packet.tcp_flags = (u8)random_below(32);
    w->packet.flags = random_below(8) ? VFR_P_PORTS : 0;
}

/* With a trace no rule is turned away by its gate. */
static void test_gates_change_nothing(void **state)
{
    struct world *w = *state;
    struct vfr_step steps[100];

    for (unsigned round = 0; round < 200; round++) {
        w->source->head.nr_rules = w->source->head.nr_matches = 0;
        for (u32 i = 0; i < 40; i++)
            add_random_rule(w->source, 1000 - i * 7);
        install(w);
        for (unsigned n = 0; n < 100; n++) {
            struct vfr_trace t = {.steps = steps, .max = 100};
            struct vfr_verdict v;

            random_packet(w);
            judge(w);
            vfr_rules_judge(&w->rules, &w->question, w->counters, &t, &v);
            assert_int_equal(v.id, w->verdict.id);
            assert_int_equal(v.action, w->verdict.action);
            assert_int_equal(v.rule, w->verdict.rule);
            assert_int_equal(v.reason, w->verdict.reason);
            assert_int_equal(t.nr, MIN(v.rule + 1u, 40u));
        }
    }
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, start, stop)
    const struct CMUnitTest tests[] = {
        T(test_default),      T(test_zones),
        T(test_protocols),    T(test_addresses),
        T(test_ports),        T(test_facts),
        T(test_extras),       T(test_ttl),
        T(test_sets),         T(test_first_match),
        T(test_reject),       T(test_rates),
        T(test_meter),        T(test_trace),
        T(test_find_and_map), T(test_gates_change_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
