#include "svc/vfr_rules.h"
#include "base/string.h"
#include "guest/access.h"
#include "guest/quiesce.h"
#include "kern/heap.h"
#include "kern/random.h"
#include "svc/vfr_elements.h"
#include "svc/vfr_log.h"

/* Between two preemption points. */
#define COPY_BYTES    KIB(64)
#define CHECK_BUDGET  1024
#define DIGEST_BUDGET 256

#define RATES_NR    4096
#define SECONDS_MAX 86400
#define SECOND      1000000000l
#define RETRY       1000000 /* ns */

/* These outlive rulesets. */
static struct vfr_rates rates;

static struct timer patience; /* (change) for the confirmation */
static ns_t patience_ends;    /* (change) */
static struct vfr_ruleset
    *gone; /* (change) not in force any more, but perhaps still looked at */

static void drop(struct vfr_ruleset *s)
{
    if (!s)
        return;
    vfr_elements_free(s);
    heap_free_pages(s->image, s->order);
    if (s->counters)
        heap_free_pages(s->counters, s->counters_order);
    heap_free_pages(s, s->own_order);
}

static int copy_image(u8 *image, const struct serai_vfr_rules *op)
{
    for (u64 at = 0; at < op->len; at += COPY_BYTES) {
        if (copy_from_guest(image + at, (const u8 *)op->image + at,
                            MIN(COPY_BYTES, op->len - at)))
            return -XEN_EFAULT;
        preempt_point();
    }
    return 0;
}

static int check_image(const void *image, struct serai_vfr_rules *op)
{
    struct vfr_rules_progress progress = {0};
    int rc;

    while ((rc = vfr_rules_check(&progress, image, op->len, CHECK_BUDGET)) == -XEN_EAGAIN)
        preempt_point();
    op->part = progress.part;
    op->at = progress.at;
    return rc;
}

static void digest_image(const struct vfr_image *image, u8 digest[SHA256_SIZE])
{
    struct vfr_rules_digest d;

    vfr_rules_digest_begin(&d);
    while (!vfr_rules_digest_add(&d, image, DIGEST_BUDGET))
        preempt_point();
    sha256_end(&d.sum, digest);
}

/* What belongs to a good image; NULL: no memory. */
static struct vfr_ruleset *surround(struct vfr_image *image, unsigned order)
{
    const u64 size = sizeof(struct vfr_ruleset) + image->nr_rules * sizeof(u64);
    const u64 counters = (image->nr_rules + 1) * sizeof(struct vfr_counter) * nr_cpus;
    struct vfr_ruleset *s = heap_alloc_pages(heap_order(size));

    if (!s)
        return NULL;
    s->own_order = heap_order(size);
    s->counters_order = heap_order(counters);
    s->counters = heap_alloc_pages(s->counters_order);
    if (!s->counters) {
        heap_free_pages(s, s->own_order);
        return NULL;
    }
    s->image = image;
    s->order = order;
    vfr_rules_open(&s->rules, image);
    s->rules.born = s->born;
    s->rules.buckets = &rates;
    return s;
}

/* A copy of the image that is known to be good, and what belongs to it. */
static int load(struct serai_vfr_rules *op, struct vfr_ruleset **loaded)
{
    const unsigned order = heap_order(op->len);
    void *image;
    int rc;

    if (op->len < sizeof(struct vfr_image) || op->len > VFR_IMAGE_MAX)
        return -XEN_EINVAL;
    image = heap_alloc_pages(order);
    if (!image)
        return -XEN_ENOMEM;
    rc = copy_image(image, op);
    if (!rc)
        rc = check_image(image, op);
    if (!rc)
        *loaded = surround(image, order);
    if (!rc && !*loaded)
        rc = -XEN_ENOMEM;
    if (rc)
        heap_free_pages(image, order);
    return rc;
}

static int make_rates(void)
{
    struct vfr_bucket *buckets;

    if (rates.buckets)
        return 0;
    buckets = heap_alloc_pages(heap_order(RATES_NR * sizeof(*buckets)));
    if (!buckets)
        return -XEN_ENOMEM;
    vfr_rates_init(&rates, buckets, RATES_NR, random_u64());
    return 0;
}

/* Counters and ages of rules that stay as they are go along. */
static void inherit(struct vfr_ruleset *s, const struct vfr_ruleset *old)
{
    u32 n = s->rules.image->nr_rules, was = old ? old->rules.image->nr_rules : 0;
    const u64 now = (u64)time_now();
    u16 *to;

    for (u32 i = 0; i < n; i++)
        s->born[i] = now;
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

/* ---- in force, and out of it ---- */

static int log_rules(const struct vfr_ruleset *s, u32 generation, const char *how)
{
    return vfr_log_rules(s->rules.image->nr_rules, s->digest, generation, how);
}

/* What a rollback left behind: nobody looks at it once all CPUs have passed by. */
static void clean_up(void)
{
    if (!gone)
        return;
    quiesce_cpus();
    drop(gone);
    gone = NULL;
}

/*
 * The rules before come back, under a new number: what the others let pass is judged again. Their
 * zones are still there, for a ruleset is not replaced while it waits.
 */
static int roll_back(void)
{
    struct vfr_ruleset *back = vfr.before;
    int rc = log_rules(back, vfr_generation() + 1, "roll-back");

    if (rc)
        return rc;
    gone = vfr.ruleset;
    vfr.before = NULL;
    back->generation = gone->generation + 1;
    __atomic_store_n(&vfr.ruleset, back, __ATOMIC_SEQ_CST);
    return 0;
}

static void out_of_patience(void *arg)
{
    if (!vfr_change_try()) {
        timer_set(&patience, time_now() + RETRY);
        return;
    }
    /* It may have been set for others, that were decided about meanwhile. */
    if (vfr.before && time_now() < patience_ends)
        timer_set(&patience, patience_ends);
    else if (vfr.before && roll_back())
        timer_set(&patience, time_now() + SECOND); /* the audit log is full */
    vfr_change_end();
}

static void settle(struct vfr_ruleset *old, u32 seconds)
{
    if (seconds) {
        vfr.before = old;
        patience_ends = time_now() + seconds * SECOND;
        timer_set(&patience, patience_ends);
        return;
    }
    quiesce_cpus();
    drop(old);
}

static int check_replace(const struct serai_vfr_rules *op)
{
    if (op->generation != vfr_generation())
        return -XEN_EBUSY;
    if (vfr.before)
        return -XEN_EAGAIN;
    return op->seconds > SECONDS_MAX || (op->seconds && !vfr.ruleset) ? -XEN_EINVAL : 0;
}

static int replace(struct vfr_ruleset *s, const struct serai_vfr_rules *op)
{
    struct vfr_ruleset *old = vfr.ruleset;
    int rc = make_rates();

    if (!rc)
        rc = vfr_elements_make(s, old);
    if (!rc)
        rc = put_zones(op, op->generation + 1);
    if (!rc)
        rc = log_rules(s, op->generation + 1, op->seconds ? "install-to-confirm" : "install");
    if (rc)
        return rc;
    s->generation = op->generation + 1;
    inherit(s, old);
    __atomic_store_n(&vfr.ruleset, s, __ATOMIC_SEQ_CST);
    settle(old, op->seconds);
    return 0;
}

static int install(struct serai_vfr_rules *op)
{
    struct vfr_ruleset *s = NULL;
    int rc = load(op, &s);

    if (rc)
        return rc;
    op->nr_rules = s->rules.image->nr_rules;
    if (op->op == VFR_RULES_INSTALL)
        digest_image(s->rules.image, s->digest);
    vfr_change_begin();
    clean_up();
    rc = check_replace(op);
    if (!rc && op->op == VFR_RULES_INSTALL)
        rc = replace(s, op);
    op->generation = vfr_generation();
    vfr_change_end();
    if (rc || op->op == VFR_RULES_CHECK)
        drop(s);
    return rc;
}

/* The rules stay, or the ones before come back. */
static int decide(struct serai_vfr_rules *op)
{
    int rc;

    vfr_change_begin();
    clean_up();
    rc = op->generation == vfr_generation() ? 0 : -XEN_EBUSY;
    if (!rc && !vfr.before)
        rc = -XEN_ENOENT;
    if (!rc && op->op == VFR_RULES_ROLL_BACK)
        rc = roll_back();
    else if (!rc)
        rc = log_rules(vfr.ruleset, vfr_generation(), "confirm");
    if (!rc && vfr.before) {
        quiesce_cpus();
        drop(vfr.before);
        vfr.before = NULL;
    }
    op->generation = vfr_generation();
    vfr_change_end();
    return rc;
}

/* ---- counters ---- */

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

static int read(struct serai_vfr_rules *op)
{
    int rc = 0;

    vfr_change_begin();
    clean_up();
    op->generation = vfr_generation();
    op->nr_rules = vfr.ruleset ? vfr.ruleset->rules.image->nr_rules : 0;
    op->seconds = 0;
    if (vfr.before)
        op->seconds = (u32)(MAX(patience_ends - time_now(), 0) / SECOND) + 1;
    if (vfr.ruleset)
        rc = give_counters(vfr.ruleset, op);
    vfr_change_end();
    return rc;
}

int vfr_rules_call(struct serai_vfr_rules *op)
{
    switch (op->op) {
    case VFR_RULES_INSTALL:
    case VFR_RULES_CHECK:
        return install(op);
    case VFR_RULES_READ:
        return read(op);
    case VFR_RULES_CONFIRM:
    case VFR_RULES_ROLL_BACK:
        return decide(op);
    default:
        return -XEN_EINVAL;
    }
}

__init void vfr_rules_init(void)
{
    timer_init(&patience, out_of_patience, NULL);
}
