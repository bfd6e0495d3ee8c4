#include "svc/vfr_elements.h"
#include "guest/access.h"
#include "kern/heap.h"
#include "kern/random.h"
#include "svc/vfr_log.h"

#define SLOTS_MIN   64
#define STEP_BUDGET 1024 /* slots between two preemption points */
#define SECONDS_MAX (1ul << 32)
#define NS          1000000000ul

static unsigned slots_order(u64 slots)
{
    return heap_order(slots * sizeof(struct vfr_set_slot));
}

void vfr_elements_free(struct vfr_ruleset *s)
{
    if (!s->sets)
        return;
    if (s->sets->slots)
        heap_free_pages(s->sets->slots, slots_order(s->sets->nr_slots));
    heap_free_pages(s->sets, heap_order(sizeof(*s->sets)));
    s->sets = NULL;
}

static int copy(struct vfr_sets *to, const struct vfr_sets *from)
{
    u64 at = 0;
    int rc;

    while ((rc = vfr_sets_inherit(to, from, &at, STEP_BUDGET, (u64)time_now())) == -XEN_EAGAIN)
        preempt_point();
    return rc;
}

/* -XEN_ENOSPC: elements came to lie so that one found no place; more slots will do. */
static int make(struct vfr_ruleset *s, const struct vfr_sets *before, u64 slots)
{
    struct vfr_set_slot *memory = heap_alloc_pages(slots_order(slots));
    int rc;

    s->sets = heap_alloc_pages(heap_order(sizeof(*s->sets)));
    if (s->sets)
        vfr_sets_init(s->sets, memory, slots, random_u64());
    rc = s->sets && memory ? 0 : -XEN_ENOMEM;
    if (!rc)
        rc = vfr_sets_adopt(s->sets, s->rules.image, before, s->rules.life);
    if (!rc && before)
        rc = copy(s->sets, before);
    if (!s->sets && memory)
        heap_free_pages(memory, slots_order(slots));
    if (rc)
        vfr_elements_free(s);
    return rc;
}

int vfr_elements_make(struct vfr_ruleset *s, const struct vfr_ruleset *old)
{
    const struct vfr_sets *before = old ? old->sets : NULL;
    const u64 need = 2 * vfr_sets_need(s->rules.image, before);
    u64 slots = SLOTS_MIN;
    int rc;

    while (slots < need)
        slots *= 2;
    while ((rc = make(s, before, slots)) == -XEN_ENOSPC)
        slots *= 2;
    s->rules.added = s->sets;
    return rc;
}

/* ---- domain 0's orders ---- */

static void sweep(struct vfr_sets *sets)
{
    while (!vfr_sets_sweep(sets, (u64)time_now(), STEP_BUDGET))
        preempt_point();
}

static int add(struct vfr_sets *sets, u32 life, const struct vfr_element *e, u64 seconds)
{
    int rc = vfr_sets_add(sets, life, e, seconds * NS, (u64)time_now());

    if (rc != -XEN_ENOSPC)
        return rc;
    sweep(sets);
    return vfr_sets_add(sets, life, e, seconds * NS, (u64)time_now());
}

static int change(const struct vfr_ruleset *s, const struct serai_vfr_set *op)
{
    const struct vfr_element e = {
        {op->element.high, op->element.low}, op->element.port, op->element.length};
    const u32 life = vfr_sets_find(s->sets, op->id, op->kind);

    if (op->op == VFR_SET_ADD)
        return add(s->sets, life, &e, op->element.seconds);
    return vfr_sets_remove(s->sets, life, &e, (u64)time_now());
}

static int list(const struct vfr_sets *sets, struct serai_vfr_set *op)
{
    const u32 life = vfr_sets_find(sets, op->id, op->kind);
    struct vfr_element e;
    u64 until;

    if (!life)
        return -XEN_ENOENT;
    while (op->count < op->capacity && op->cursor < sets->nr_slots) {
        const u64 now = (u64)time_now();
        struct serai_vfr_element out = {0};

        preempt_point();
        if (!vfr_sets_next(sets, life, &op->cursor, STEP_BUDGET, now, &e, &until))
            continue;
        out.high = e.addr.high;
        out.low = e.addr.low;
        out.port = e.port;
        out.length = e.length;
        out.seconds = until == VFR_FOREVER ? ~0ul : DIV_ROUND_UP(until - now, NS);
        if (copy_array_to_guest((void *)op->entries, op->count++, &out, sizeof(out)))
            return -XEN_EFAULT;
    }
    return 0;
}

static bool is_valid(const struct serai_vfr_set *op)
{
    u32 bad = op->op > VFR_SET_LIST || op->reserved || op->element.seconds >= SECONDS_MAX;

    for (unsigned i = 0; i < sizeof(op->element.reserved); i++)
        bad |= op->element.reserved[i];
    return !bad;
}

int vfr_elements_call(struct serai_vfr_set *op)
{
    const bool is_change = op->op != VFR_SET_LIST;
    int rc = -XEN_ENOENT;

    if (!is_valid(op))
        return -XEN_EINVAL;
    op->count = 0;
    vfr_change_begin();
    if (vfr.ruleset)
        rc = is_change ? vfr_log_element(op, 0) : list(vfr.ruleset->sets, op);
    if (!rc && is_change) {
        rc = change(vfr.ruleset, op);
        if (rc)
            (void)!vfr_log_element(op, rc);
    }
    /* They may be in force again soon; what they have no room for, or no set, they go without. */
    if (!rc && vfr.before && is_change)
        (void)!change(vfr.before, op);
    vfr_change_end();
    return rc;
}
