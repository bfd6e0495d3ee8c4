#include "core/vfr_shape.h"

#define COST_SHIFT 16
#define RATE_MAX   1000000000000ull
#define PRICE_MAX  (1ull << 61)

/* ---- limits ---- */

/* What 'n' cost, in ticks; 'due' has room for the dearest. */
static u64 price(const struct vfr_limit *l, u32 n)
{
    unsigned __int128 ticks = (unsigned __int128)l->cost * n + (1u << (COST_SHIFT - 1));

    ticks >>= COST_SHIFT;
    return ticks > PRICE_MAX ? PRICE_MAX : ticks;
}

int vfr_limit_set(struct vfr_limit *l, u64 amount, u32 usec, u32 burst)
{
    const u64 second = 1000000;
    u64 ticks = (u64)usec * 1000 * VFR_TICKS_PER_NS;

    /* Both comparisons are of amount / usec with a rate, without a division. */
    if (!usec || amount > RATE_MAX || amount * second < usec || amount > (u64)usec * second)
        return -XEN_EINVAL;
    l->cost = (ticks << COST_SHIFT) / amount;
    l->depth = price(l, burst);
    return 0;
}

bool vfr_limit_take(const struct vfr_limit *l, u64 *due, u32 n, ns_t now)
{
    u64 ticks = (u64)now * VFR_TICKS_PER_NS;

    if (!l->cost)
        return true;
    if (*due > ticks && *due - ticks > l->depth)
        return false;
    *due = vfr_limit_charge(l, *due, n, now);
    return true;
}

u64 vfr_limit_charge(const struct vfr_limit *l, u64 due, u32 n, ns_t now)
{
    return MAX(due, (u64)now * VFR_TICKS_PER_NS) + price(l, n);
}

u64 vfr_limit_wait(const struct vfr_limit *l, u64 due, ns_t now)
{
    u64 from = (u64)now * VFR_TICKS_PER_NS + l->depth;

    return l->cost && due > from ? DIV_ROUND_UP(due - from, VFR_TICKS_PER_NS) : 0;
}

/* ---- round robin ---- */

/* Bounds one call; debtors that were met are richer by a quantum afterwards. */
#define LOOKS_MAX 64

void vfr_ring_init(struct vfr_ring *r, u32 quantum)
{
    *r = (struct vfr_ring){.quantum = MIN(MAX(quantum, VFR_QUANTUM_MIN), VFR_QUANTUM_MAX)};
}

void vfr_ring_join(struct vfr_ring *r, struct vfr_source *s)
{
    struct vfr_source *head = r->head;

    if (!r->count++) {
        r->head = s->next = s->prev = s;
        return;
    }
    s->next = head;
    s->prev = head->prev;
    head->prev->next = s;
    head->prev = s;
}

void vfr_ring_return(struct vfr_ring *r, struct vfr_source *s)
{
    vfr_ring_join(r, s);
    r->head = s;
}

static void unlink(struct vfr_ring *r, struct vfr_source *s)
{
    s->prev->next = s->next;
    s->next->prev = s->prev;
    if (r->head == s)
        r->head = s->next;
    if (!--r->count)
        r->head = NULL;
    s->next = s->prev = NULL;
}

/* Credit is lost by who does not use it, or idling would be saving; a debt stays. */
void vfr_source_rest(struct vfr_source *s)
{
    s->credit = MIN(s->credit, 0);
}

void vfr_ring_leave(struct vfr_ring *r, struct vfr_source *s)
{
    unlink(r, s);
    vfr_source_rest(s);
}

struct vfr_source *vfr_ring_take(struct vfr_ring *r)
{
    for (unsigned looks = 0; r->count && looks < LOOKS_MAX; looks++) {
        struct vfr_source *s = r->head;

        if (s->credit <= 0)
            s->credit += r->quantum;
        if (s->credit > 0) {
            unlink(r, s);
            return s;
        }
        r->head = s->next;
    }
    return NULL;
}

bool vfr_source_charge(struct vfr_source *s, u32 bytes)
{
    s->credit -= MIN(bytes, (u32)VFR_DEBT_MAX);
    s->credit = MAX(s->credit, -VFR_DEBT_MAX);
    return s->credit > 0;
}

int vfr_ring_check(const struct vfr_ring *r)
{
    const struct vfr_source *s = r->head;

    if (!s != !r->count)
        return 3;
    for (u32 met = 0; met < r->count; met++, s = s->next) {
        if (!s->next || s->next->prev != s || (met && s == r->head))
            return 3;
        if (s->credit > (s32)r->quantum || s->credit < -VFR_DEBT_MAX)
            return 4;
    }
    return s == r->head ? 0 : 3;
}
