/*
 * The first packet of a flow, among rulesets of a hundred rules and of as many as there may be: from
 * zone 4 to zone 5, TCP to port 443.
 */
#include "measure.h"
#include "vfr_image.h"

static struct vfr_rules rules;
static struct vfr_sets added;
static struct vfr_set_slot slots[VFR_SET_PROBE];
static struct vfr_bucket buckets[VFR_RATES_WAYS];
static struct vfr_rates rates;
static struct vfr_counter counters[VFR_RULES_MAX + 1];
static struct vfr_zones from, to;
static struct vfr_verdict verdict;
static struct vfr_packet packet = {
    .len = 60,
    .flags = VFR_P_PORTS,
    .class = VFR_C_IP4,
    .tuple = {VFR_IP4(0x0a000001), VFR_IP4(0x0a000002), 4100, 443, 6}};
static const struct vfr_question question = {
    .packet = &packet, .from = {&from, 0}, .to = {&to, 0}, .commit = true, .now = 1000000};

/* Other interfaces' rules, as most of a machine's are. */
static void others_rules(struct image_source *s, u32 nr)
{
    for (u32 i = 0; i < nr; i++) {
        struct vfr_rule *r = image_add_rule(s, s->head.nr_rules + 1, VFR_PASS);

        r->from = i % 2 ? 2 : 4;
        r->to = (u8)(6 + i % 20);
        r->protos = 2;
        image_add_match(s, VFR_DST_PORT, match_ports(443, 443));
    }
}

/* Rules for this pair of zones, but for other ports. */
static void other_ports(struct image_source *s, u32 nr)
{
    for (u32 i = 0; i < nr; i++) {
        struct vfr_rule *r = image_add_rule(s, s->head.nr_rules + 1, VFR_PASS);

        r->from = 4;
        r->to = 5;
        r->protos = 2;
        image_add_match(s, VFR_DST_PORT, match_ports((u16)(1000 + i), (u16)(1000 + i)));
    }
}

static void last_rule(struct image_source *s)
{
    struct vfr_rule *r = image_add_rule(s, s->head.nr_rules + 1, VFR_PASS);

    r->from = 4;
    r->to = 5;
    r->protos = 2;
    image_add_match(s, VFR_DST_PORT, match_ports(80, 80));
    image_add_match(s, VFR_DST_PORT, match_ports(443, 443));
}

static void blocklist(struct image_source *s)
{
    static const u8 lengths[] = {104, 112, 116, 118, 120, 122, 124, 128};
    u16 set = image_add_set(s, 1, VFR_SET_NET, 1024, 0);

    for (u32 i = 0; i < 256; i++) {
        u8 length = lengths[i % ARRAY_SIZE(lengths)];
        u64 low = VFR_IP4((20 + i % 200) << 24).low;

        image_add_element(s, set, (struct vfr_element){{0, low}, 0, length});
    }
    image_add_rule(s, 1, VFR_DROP);
    image_add_match(s, VFR_SRC_IP, match_set(set));
}

static void limit_last(struct image_source *s)
{
    s->rates[s->head.nr_rates++] = (struct vfr_rate){
        .id = 1, .unit = VFR_RATE_FLOWS, .per = VFR_PER_SRC, .cost = 1 << 16, .depth = 1 << 30};
    s->rules[s->head.nr_rules - 1].rate = 1;
}

static void sample(struct image_source *s, const char *name, struct vfr_trace *trace)
{
    struct vfr_rules_progress p = {0};
    struct vfr_image *image = image_finish(s);

    expect(!vfr_rules_check(&p, image, image->len, ~0u), name);
    vfr_rules_open(&rules, image);
    expect(!vfr_sets_adopt(&added, image, NULL, rules.life), name);
    rules.added = &added;
    rules.buckets = &rates;
    for (unsigned n = 0; n < SAMPLES; n++) {
        measure_begin();
        vfr_rules_judge(&rules, &question, counters, trace, &verdict);
        measure_keep(name);
        expect(verdict.action == VFR_PASS && verdict.rule == image->nr_rules - 1, name);
    }
    free(image);
    free(s);
}

void vfr_rules_cases(void)
{
    struct image_source *s;

    vfr_sets_init(&added, slots, VFR_SET_PROBE, 1);
    vfr_rates_init(&rates, buckets, VFR_RATES_WAYS, 1);
    vfr_zones_set(&from, (const u64[4]){BIT(VFR_ZONE_DOMAINS) | BIT(4)});
    vfr_zones_set(&to, (const u64[4]){BIT(VFR_ZONE_DOMAINS) | BIT(5)});

    s = image_source_create();
    last_rule(s);
    sample(s, "rules|the only rule, two ports||0", NULL);
    s = image_source_create();
    others_rules(s, 99);
    last_rule(s);
    sample(s, "rules|99 of other zones before||0", NULL);
    s = image_source_create();
    others_rules(s, 79);
    other_ports(s, 20);
    last_rule(s);
    sample(s, "rules|79 of other zones, 20 of other ports before||0", NULL);
    s = image_source_create();
    other_ports(s, 99);
    last_rule(s);
    sample(s, "rules|99 of other ports before||0", NULL);
    s = image_source_create();
    others_rules(s, VFR_RULES_MAX - 1);
    last_rule(s);
    sample(s, "rules|8191 of other zones before||0", NULL);
    s = image_source_create();
    blocklist(s);
    last_rule(s);
    sample(s, "rules|a set of 256 nets, 8 lengths, before||0", NULL);
    s = image_source_create();
    last_rule(s);
    limit_last(s);
    sample(s, "rules|the only rule, with a rate for each source||0", NULL);
}
