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
    quantum = MIN(MAX(quantum, VFR_QUANTUM_MIN), VFR_QUANTUM_MAX);
    *r = (struct vfr_ring){.quantum = quantum, .head = VFR_NO_SOURCE};
}

void vfr_source_init(struct vfr_source *s)
{
    *s = (struct vfr_source){.next = VFR_NO_SOURCE, .prev = VFR_NO_SOURCE};
}

void vfr_ring_join(struct vfr_ring *r, struct vfr_source *sources, u16 i)
{
    struct vfr_source *s = &sources[i];
    u16 tail;

    if (vfr_source_waits(s))
        return;
    if (!r->count++) {
        r->head = s->next = s->prev = i;
        return;
    }
    tail = sources[r->head].prev;
    s->next = r->head;
    s->prev = tail;
    sources[tail].next = i;
    sources[r->head].prev = i;
}

void vfr_ring_leave(struct vfr_ring *r, struct vfr_source *sources, u16 i)
{
    struct vfr_source *s = &sources[i];

    if (!vfr_source_waits(s))
        return;
    sources[s->prev].next = s->next;
    sources[s->next].prev = s->prev;
    if (r->head == i)
        r->head = s->next;
    if (!--r->count)
        r->head = VFR_NO_SOURCE;
    s->next = s->prev = VFR_NO_SOURCE;
    /* Credit is lost by who does not use it, or idling would be saving; a debt stays. */
    s->credit = MIN(s->credit, 0);
}

u16 vfr_ring_next(struct vfr_ring *r, struct vfr_source *sources)
{
    for (unsigned looks = 0; r->count && looks < LOOKS_MAX; looks++) {
        struct vfr_source *s = &sources[r->head];

        if (s->credit > 0)
            return r->head;
        s->credit += r->quantum;
        if (s->credit > 0)
            return r->head;
        r->head = s->next;
    }
    return VFR_NO_SOURCE;
}

void vfr_ring_charge(struct vfr_ring *r, struct vfr_source *sources, u16 i, u32 bytes)
{
    struct vfr_source *s = &sources[i];

    s->credit -= MIN(bytes, (u32)VFR_DEBT_MAX);
    s->credit = MAX(s->credit, -VFR_DEBT_MAX);
    /* The quantum is used up: the next one's turn. */
    if (s->credit <= 0 && r->head == i)
        r->head = s->next;
}

int vfr_ring_check(const struct vfr_ring *r, const struct vfr_source *sources, u32 n)
{
    u32 waiting = 0, met = 0;
    u16 i = r->head;

    for (u32 k = 0; k < n; k++) {
        waiting += vfr_source_waits(&sources[k]);
        if (vfr_source_waits(&sources[k]) != (sources[k].prev != VFR_NO_SOURCE))
            return 3;
        if (sources[k].credit > (s32)r->quantum || sources[k].credit < -VFR_DEBT_MAX)
            return 4;
    }
    if (waiting != r->count || (r->head == VFR_NO_SOURCE) != !r->count)
        return 3;
    for (; met < r->count; met++) {
        if (i >= n || sources[i].next >= n || sources[sources[i].next].prev != i)
            return 3;
        i = sources[i].next;
        if (i == r->head && met + 1 < r->count)
            return 3;
    }
    return i == r->head ? 0 : 3;
}
