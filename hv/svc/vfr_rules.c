#include "svc/vfr_rules.h"
#include "guest/access.h"
#include "guest/quiesce.h"
#include "kern/heap.h"
#include "svc/vfr.h"
#include "x86/cpu.h"

/* Between two preemption points. */
#define COPY_BYTES   KIB(64)
#define CHECK_BUDGET 1024

#define SETS_NR  1024 /* elements added at run time: places */
#define RATES_NR 4096

/* What outlives rulesets. */
static struct vfr_sets *sets;
static struct vfr_rates rates;

static void drop(struct vfr_ruleset *s)
{
    if (!s)
        return;
    if (s->image)
        heap_free_pages(s->image, s->order);
    if (s->counters)
        heap_free_pages(s->counters, s->counters_order);
    heap_free_pages(s, heap_order(sizeof(*s) + VFR_RULES_MAX * sizeof(s->born[0])));
}

static int copy_image(struct vfr_ruleset *s, const struct serai_vfr_rules *op)
{
    for (u64 at = 0; at < op->len; at += COPY_BYTES) {
        if (copy_from_guest((u8 *)s->image + at, (const u8 *)op->image + at,
                            MIN(COPY_BYTES, op->len - at)))
            return -XEN_EFAULT;
        preempt_point();
    }
    return 0;
}

static int check_image(const struct vfr_ruleset *s, struct serai_vfr_rules *op)
{
    struct vfr_rules_progress progress = {0};
    int rc;

    while ((rc = vfr_rules_check(&progress, s->image, op->len, CHECK_BUDGET)) == -XEN_EAGAIN)
        preempt_point();
    op->part = progress.part;
    op->at = progress.at;
    return rc;
}

/* A copy of the image that is known to be good, and room for what belongs to it. */
static int load(struct serai_vfr_rules *op, struct vfr_ruleset **loaded)
{
    struct vfr_ruleset *s;
    u64 counters;
    int rc;

    if (op->len < sizeof(struct vfr_image) || op->len > VFR_IMAGE_MAX)
        return -XEN_EINVAL;
    s = heap_alloc_pages(heap_order(sizeof(*s) + VFR_RULES_MAX * sizeof(s->born[0])));
    if (!s)
        return -XEN_ENOMEM;
    *loaded = s;
    s->order = heap_order(op->len);
    s->image = heap_alloc_pages(s->order);
    rc = s->image ? copy_image(s, op) : -XEN_ENOMEM;
    if (!rc)
        rc = check_image(s, op);
    if (rc)
        return rc;
    vfr_rules_open(&s->rules, s->image);
    counters = (s->rules.image->nr_rules + 1) * sizeof(struct vfr_counter) * nr_cpus;
    s->counters_order = heap_order(counters);
    s->counters = heap_alloc_pages(s->counters_order);
    return s->counters ? 0 : -XEN_ENOMEM;
}

static int make_shared(void)
{
    struct vfr_set_slot *slots;
    struct vfr_bucket *buckets;

    if (sets)
        return 0;
    slots = heap_alloc_pages(heap_order(SETS_NR * sizeof(*slots)));
    buckets = heap_alloc_pages(heap_order(RATES_NR * sizeof(*buckets)));
    sets = heap_alloc_pages(heap_order(sizeof(*sets)));
    if (!slots || !buckets || !sets)
        return -XEN_ENOMEM;
    vfr_sets_init(sets, slots, SETS_NR, rdtsc());
    vfr_rates_init(&rates, buckets, RATES_NR, rdtsc());
    return 0;
}

/* Counters and ages of rules that stay as they are go along. */
static void inherit(struct vfr_ruleset *s, const struct vfr_ruleset *old)
{
    u32 n = s->rules.image->nr_rules, was = old ? old->rules.image->nr_rules : 0;
    u16 *to;

    for (u32 i = 0; i < n; i++)
        s->born[i] = (u64)time_now();
    if (!old)
        return;
    to = heap_alloc_pages(heap_order((was + 1) * sizeof(*to)));
    if (!to)
        return; /* they begin anew */
    vfr_rules_map(&old->rules, &s->rules, to);
    for (u32 i = 0; i <= was; i++) {
        if (to[i] == VFR_RULE_GONE)
            continue;
        if (i < was)
            s->born[to[i]] = old->born[i];
        for (unsigned c = 0; c < nr_cpus; c++)
            s->counters[c * (n + 1) + to[i]] = old->counters[c * (was + 1) + i];
    }
    heap_free_pages(to, heap_order((was + 1) * sizeof(*to)));
}

/* Who is in which zones by the new rules; nobody looks there before these are in force. */
static int put_zones(const struct serai_vfr_rules *op, u32 generation)
{
    static const u64 none[VFR_ZONES / 64];
    struct serai_vfr_zones z;
    struct vif *f;

    for (u16 i = 0; (f = vfr_find(i)); i++)
        vfr_zones_set(&f->zones[generation & 1], none);
    for (u32 i = 0; i < op->nr_zones; i++) {
        if (copy_array_from_guest(&z, (const void *)op->zones, i, sizeof(z)))
            return -XEN_EFAULT;
        f = vfr_find(z.vif);
        if (!f)
            return -XEN_ENOENT;
        vfr_zones_set(&f->zones[generation & 1], z.zones);
        preempt_point();
    }
    return 0;
}

/* The change is this caller's. */
static int replace(struct vfr_ruleset *s, struct serai_vfr_rules *op)
{
    struct vfr_ruleset *old = vfr.ruleset;
    int rc = op->generation == vfr_generation() ? make_shared() : -XEN_EBUSY;

    if (!rc)
        rc = vfr_sets_adopt(sets, s->rules.image, s->rules.life);
    if (rc)
        return rc;
    s->generation = op->generation + 1;
    s->rules.born = s->born;
    s->rules.added = sets;
    s->rules.buckets = &rates;
    rc = put_zones(op, s->generation);
    if (rc) {
        if (old)
            vfr_sets_retain(sets, old->rules.image);
        return rc;
    }
    inherit(s, old);
    __atomic_store_n(&vfr.ruleset, s, __ATOMIC_SEQ_CST);
    quiesce_cpus();
    vfr_sets_retain(sets, s->rules.image);
    drop(old);
    return 0;
}

int vfr_rules_install(struct serai_vfr_rules *op, bool check_only)
{
    struct vfr_ruleset *s = NULL;
    int rc = load(op, &s);

    if (!rc) {
        op->nr_rules = s->rules.image->nr_rules;
        vfr_change_begin();
        rc =
            check_only ? (op->generation == vfr_generation() ? 0 : -XEN_EBUSY) : replace(s, op);
        op->generation = vfr_generation();
        vfr_change_end();
    }
    if (rc || check_only)
        drop(s);
    return rc;
}

static struct vfr_counter sum(const struct vfr_ruleset *s, u32 rule)
{
    struct vfr_counter total = {0};

    for (unsigned c = 0; c < nr_cpus; c++) {
        const struct vfr_counter *one = &s->counters[c * (s->rules.image->nr_rules + 1) + rule];

        total.packets += one->packets;
        total.bytes += one->bytes;
    }
    return total;
}

static int give_counters(const struct vfr_ruleset *s, const struct serai_vfr_rules *op)
{
    for (u32 i = 0; i <= op->nr_rules && i < op->capacity; i++) {
        struct vfr_counter c = sum(s, i);

        if (copy_array_to_guest((void *)op->counters, i, &c, sizeof(c)))
            return -XEN_EFAULT;
        preempt_point();
    }
    return 0;
}

int vfr_rules_read(struct serai_vfr_rules *op)
{
    int rc = 0;

    vfr_change_begin();
    op->generation = vfr_generation();
    op->nr_rules = vfr.ruleset ? vfr.ruleset->rules.image->nr_rules : 0;
    if (vfr.ruleset)
        rc = give_counters(vfr.ruleset, op);
    vfr_change_end();
    return rc;
}
