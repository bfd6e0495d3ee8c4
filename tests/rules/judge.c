/*
 * The hypervisor's judge as a library for tests: one ruleset at a time, with room for what is added to
 * sets and for rates.
 */
#include <stdlib.h>
#include <string.h>

#include "core/vfr_rules.h"

#define SET_SLOTS (1u << 16)
#define BUCKETS   (1u << 16)

/* A question in one piece, as the test's side declares it too. */
struct probe {
    struct vfr_addr src, dst;
    u64 eth_src, eth_dst, now;
    u64 from_zones[4], to_zones[4];
    u32 len;
    u16 flags, sport, dport, vif;
    u8 class, proto, tcp_flags, icmp_type, icmp_code, from_facts, to_facts, commit;
};

static struct vfr_image *image;
static struct vfr_rules rules;
static struct vfr_sets sets;
static struct vfr_set_slot set_slots[SET_SLOTS];
static struct vfr_bucket buckets[BUCKETS];
static struct vfr_rates rates;
static u64 born[VFR_RULES_MAX];

struct vfr_counter judge_counters[VFR_RULES_MAX + 1];

int judge_load(const void *bytes, u64 len);
int judge_add(u32 set, const struct vfr_element *e, u64 now);
int judge_remove(u32 set, const struct vfr_element *e, u64 now);
u32 judge_ask(const struct probe *p, struct vfr_verdict *v, struct vfr_step *steps, u32 max);
u32 judge_sizes(u32 which); /* of the four structures */

u32 judge_sizes(u32 which)
{
    const u32 sizes[] = {sizeof(struct probe), sizeof(struct vfr_verdict),
                         sizeof(struct vfr_element), sizeof(struct vfr_step)};

    return which < ARRAY_SIZE(sizes) ? sizes[which] : 0;
}

int judge_load(const void *bytes, u64 len)
{
    struct vfr_rules_progress p = {0};
    int rc;

    free(image);
    image = malloc(len ?: 1);
    memcpy(image, bytes, len);
    do {
        rc = vfr_rules_check(&p, image, len, 100);
    } while (rc == -XEN_EAGAIN);
    if (rc)
        return rc;
    memset(set_slots, 0, sizeof(set_slots));
    memset(buckets, 0, sizeof(buckets));
    memset(judge_counters, 0, sizeof(judge_counters));
    vfr_sets_init(&sets, set_slots, SET_SLOTS, 12345);
    vfr_rates_init(&rates, buckets, BUCKETS, 54321);
    vfr_rules_open(&rules, image);
    rules.born = born;
    rules.added = &sets;
    rules.buckets = &rates;
    return vfr_sets_adopt(&sets, image, NULL, rules.life);
}

int judge_add(u32 set, const struct vfr_element *e, u64 now)
{
    return vfr_sets_add(&sets, rules.life[set], e, 0, now);
}

int judge_remove(u32 set, const struct vfr_element *e, u64 now)
{
    return vfr_sets_remove(&sets, rules.life[set], e, now);
}

/* With 'max' there is a trace; how many steps it had. */
u32 judge_ask(const struct probe *p, struct vfr_verdict *v, struct vfr_step *steps, u32 max)
{
    struct vfr_zones from, to;
    struct vfr_packet packet = {.len = p->len,
                                .flags = p->flags,
                                .class = p->class,
                                .tcp_flags = p->tcp_flags,
                                .icmp_type = p->icmp_type,
                                .icmp_code = p->icmp_code,
                                .eth_src = p->eth_src,
                                .eth_dst = p->eth_dst,
                                .tuple = {p->src, p->dst, p->sport, p->dport, p->proto}};
    struct vfr_question q = {.packet = &packet,
                             .from = {&from, p->from_facts},
                             .to = {&to, p->to_facts},
                             .vif = p->vif,
                             .commit = p->commit,
                             .now = p->now};
    struct vfr_trace trace = {.steps = steps, .max = max};

    vfr_zones_set(&from, p->from_zones);
    vfr_zones_set(&to, p->to_zones);
    vfr_rules_judge(&rules, &q, judge_counters, max ? &trace : NULL, v);
    return trace.nr;
}
