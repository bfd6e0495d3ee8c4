/*
 * The router's own code as a library for tests: interfaces without rings, one CPU, a clock that stands
 * still. What a packet changes can be summed up in a number.
 */
#include <stdlib.h>
#include <string.h>

#include "core/vfr_route.h"
#include "core/vfr_segment.h"
#include "svc/vfr.h"
#include "svc/vfr_answer.h"
#include "svc/vfr_elements.h"
#include "svc/vfr_explain.h"
#include "svc/vfr_forward.h"
#include "svc/vfr_leases.h"
#include "svc/vfr_log.h"
#include "svc/vfr_ways.h"
#include "svc/vif_rx.h"
#include "x86/percpu.h"

#define VIFS      8
#define FLOWS     4096
#define ROUTES    256
#define SET_SLOTS (1u << 14)
#define BUCKETS   (1u << 14)

/* ---- what the code expects around it ---- */

struct vfr vfr;
struct vfr_leases vfr_leases;
static struct cpu cpu;
static struct stack_info stack = {.cpu = &cpu};
struct stack_info *machine_stack = &stack;
u64 flush_clock;
static ns_t now;
static struct vif vifs[VIFS];

static u8 said[VFR_EXPLAIN_HEAD];
static u32 said_len, copies;

ns_t time_now(void)
{
    return now;
}

struct vif *vfr_find(u16 index)
{
    return index < VIFS && vifs[index].state == VIF_UP ? &vifs[index] : NULL;
}

bool vfr_take(struct vif *f)
{
    return f->state == VIF_UP;
}

void vfr_set_state(struct vif *f, enum vif_state state)
{
}

void vfr_change_begin(void)
{
}

void vfr_change_end(void)
{
}

void vif_say(struct vif_queue *to, const u8 *frame, u32 len)
{
    memcpy(said, frame, len);
    said_len = len;
}

bool vif_deliver_copy(struct vif_queue *to, const struct vif_packet *p)
{
    if (to == p->from) {
        vif_say(p->from, p->head, p->have); /* a long answer */
        return true;
    }
    copies++;
    return true;
}

/* Nobody reads a log here. */
u8 vfr_log_choose(const struct vfr_verdict *v)
{
    return v->log;
}

bool vfr_log_has_space(void)
{
    return true;
}

void vfr_log_begun(const struct vfr_flow *f, u8 tcp_flags)
{
}

void vfr_log_denied(const struct vfr_packet *x, const struct vif *in, const struct vif *out,
                    const struct vfr_verdict *v)
{
}

int vfr_log_element(const struct serai_vfr_set *op, int failed)
{
    return 0;
}

void *heap_alloc(size_t size)
{
    return calloc(1, size);
}

void heap_free(void *p, size_t size)
{
    free(p);
}

void *heap_alloc_pages(unsigned order)
{
    return calloc(1, PAGE_SIZE << order);
}

void heap_free_pages(void *p, unsigned order)
{
    free(p);
}

size_t guest_copy_raw(void *to, const void *from, size_t len)
{
    memcpy(to, from, len);
    return 0;
}

void lock_rank_acquire(enum lock_rank rank)
{
}

void lock_rank_release(enum lock_rank rank)
{
}

void preempt_point(void)
{
}

void quiesce_cpus(void)
{
}

void timer_init(struct timer *t, void (*handler)(void *arg), void *arg)
{
}

void timer_set(struct timer *t, ns_t expires)
{
}

void cpu_relax(void)
{
}

u64 read_cr3(void)
{
    return 0;
}

void write_cr3(u64 cr3)
{
}

u64 random_u64(void)
{
    return 4711;
}

/* ---- what the test does ---- */

static struct vfr_route routes[ROUTES];
static struct vfr_routes route_table;
static struct vfr_flow flows[FLOWS];
static struct vfr_flow_bucket buckets[VFR_FLOW_BUCKETS(FLOWS) + VFR_FLOW_OVERFLOW(FLOWS)];
static struct vfr_flow_vif flow_vifs[VIFS];
static struct vfr_ruleset *ruleset;
static struct vfr_bucket rate_buckets[BUCKETS];
static struct vfr_rates rates;
static struct vfr_counter counters[VFR_RULES_MAX + 1];

static void ended(void *arg, const struct vfr_flow *f, enum vfr_flow_end why)
{
}

void router_start(void);
void router_time(u64 ns);
void router_vif(u16 index, u8 kind, u64 mac);
int router_address(u16 index, u64 high, u64 low, u8 length);
int router_segment(u16 index, u64 name);
void router_zones(u16 index, const u64 *zones);
int router_load(const void *bytes, u64 len);
int router_explain(struct serai_vfr_explain *e);
void router_send(struct serai_vfr_explain *e);
u64 router_digest(void);
u64 router_counted(u32 rule);

void router_start(void)
{
    const struct vfr_flow_memory m = {.flow = flows,
                                      .bucket = buckets,
                                      .vif = flow_vifs,
                                      .nr_flows = FLOWS,
                                      .nr_vifs = VIFS,
                                      .ended = ended};

    memset(vifs, 0, sizeof(vifs));
    memset(routes, 0, sizeof(routes));
    memset(flows, 0, sizeof(flows));
    memset(buckets, 0, sizeof(buckets));
    memset(flow_vifs, 0, sizeof(flow_vifs));
    memset(rate_buckets, 0, sizeof(rate_buckets));
    memset(counters, 0, sizeof(counters));
    vfr_rates_init(&rates, rate_buckets, BUCKETS, 54321);
    vfr_routes_init(&route_table, routes, ROUTES, 99);
    vfr = (struct vfr){.routes = &route_table, .uplink = VFR_NOBODY};
    vfr_ways_changed();
    if (vfr_flow_init(&vfr.flows, &m, (const u64[4]){1, 2, 3, 4}))
        abort();
    for (u16 i = 0; i < VIFS; i++)
        vfr_flow_set_limits(&vfr.flows, i, FLOWS, 0);
}

void router_time(u64 ns)
{
    now = (ns_t)ns;
}

void router_vif(u16 index, u8 kind, u64 mac)
{
    struct vif *f = &vifs[index];

    f->state = VIF_UP;
    f->index = index;
    f->kind = kind;
    f->nr_queues = 1 + index % VFR_QUEUES;
    f->mtu = 1500;
    f->router_mac = kind == VFR_UPLINK ? mac : VFR_ROUTER_MAC;
    f->next_hop = f->next_hop6 = kind == VFR_UPLINK ? 0x020000000099 : mac;
    f->binding = (struct vfr_binding){.mac = mac, .kind = kind};
    for (unsigned i = 0; i < VFR_QUEUES; i++)
        f->queues[i].vif = f;
    if (kind == VFR_UPLINK)
        vfr.uplink = index;
}

int router_address(u16 index, u64 high, u64 low, u8 length)
{
    const struct vfr_addr a = {high, low}, mask = vfr_addr_mask(length);
    struct vfr_binding *b = &vifs[index].binding;

    if (vfr_addr_is_ip4(a))
        b->ip4[b->ip4s++] = (struct vfr_prefix4){(u32)low, (u32)mask.low};
    else
        b->ip6[b->ip6s++] = (struct vfr_prefix6){a, mask};
    return vfr_route_add(&route_table, a, length, index);
}

/* It enters the segment of this name. */
int router_segment(u16 index, u64 name)
{
    struct vif *f = &vifs[index], *other = f;
    int rc;

    f->segment[0] = name;
    f->neighbour = index;
    for (u16 i = 0; i < VIFS && other == f; i++)
        if (vif_is_neighbour(f, &vifs[i]))
            other = &vifs[i];
    f->neighbour = other->neighbour;
    other->neighbour = index;
    rc = vfr_route_add(&route_table, vfr_station(f->binding.mac), 128, index);
    return rc ? rc : vfr_route_add(&route_table, vfr_link_local(f->binding.mac), 128, index);
}

void router_zones(u16 index, const u64 *zones)
{
    vfr_zones_set(&vifs[index].zones[(vfr_generation() + 1) & 1], zones);
}

/* Takes the place of the one before, which had the generation before. */
int router_load(const void *bytes, u64 len)
{
    struct vfr_rules_progress p = {0};
    struct vfr_ruleset *old = ruleset, *s;
    int rc;

    s = calloc(1, sizeof(*s) + VFR_RULES_MAX * sizeof(s->born[0]));
    s->image = malloc(len);
    memcpy(s->image, bytes, len);
    do {
        rc = vfr_rules_check(&p, s->image, len, 100);
    } while (rc == -XEN_EAGAIN);
    if (rc)
        return rc;
    vfr_rules_open(&s->rules, s->image);
    s->rules.born = s->born;
    s->rules.buckets = &rates;
    s->counters = counters;
    s->generation = vfr_generation() + 1;
    rc = vfr_elements_make(s, vfr.ruleset);
    vfr.ruleset = ruleset = s;
    if (old) {
        vfr_elements_free(old);
        free(old->image);
        free(old);
    }
    return rc;
}

int router_explain(struct serai_vfr_explain *e)
{
    return vfr_explain_call(e);
}

/* The packet in 'e' for good; its results as an explanation has them. */
void router_send(struct serai_vfr_explain *e)
{
    static struct vif_packet p;
    struct vif_queue *to = NULL;

    p = (struct vif_packet){.from = &vifs[e->vif].queues[0],
                            .now = now,
                            .have = e->have,
                            .len = e->len,
                            .csum_valid = e->csum_valid,
                            .offload = {.csum_blank = e->csum_blank,
                                        .gso_type = e->gso_type,
                                        .gso_size = e->gso_size}};
    memcpy(p.head, e->head, e->have);
    vifs[e->vif].speech_due = vifs[e->vif].talk_due = vifs[e->vif].spread_due = 0;
    said_len = copies = 0;
    e->reason = vfr_forward(&p, &to);
    e->to = to ? to->vif->index : VFR_NOBODY;
    e->queue = to ? (u16)(to - to->vif->queues) : 0;
    memcpy(e->head, p.head, sizeof(e->head));
    e->copies = (u16)copies;
    e->reply_len = (u16)said_len;
    memcpy(e->reply, said, said_len);
}

static u64 sum(u64 h, const void *at, size_t len)
{
    const u8 *b = at;

    while (len--)
        h = (h ^ *b++) * 0x100000001b3ull;
    return h;
}

/* Of all that packets may change; said things count too. */
u64 router_digest(void)
{
    u64 h = 0xcbf29ce484222325ull;

    h = sum(h, &vfr, sizeof(vfr));
    h = sum(h, vifs, sizeof(vifs));
    h = sum(h, flows, vfr.flows.fresh * sizeof(*flows));
    h = sum(h, flow_vifs, sizeof(flow_vifs));
    h = sum(h, counters, sizeof(*counters) * (vfr.ruleset->rules.image->nr_rules + 1));
    for (u32 i = 0; i < BUCKETS; i++)
        if (rate_buckets[i].key)
            h = sum(h, &rate_buckets[i], sizeof(rate_buckets[i]));
    h = sum(h, buckets, sizeof(buckets));
    return sum(h, &said_len, sizeof(said_len));
}

u64 router_counted(u32 rule)
{
    return counters[rule].packets;
}
