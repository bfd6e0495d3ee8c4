#include "core/vfr_neighbour.h"
#include "core/vfr_wire.h"

#define WAYS   4
#define SECOND 1000000000l

static bool is_on_link(const struct vfr_neighbours *n, struct vfr_addr a)
{
    for (unsigned i = 0; i < n->nets; i++)
        if ((a.high & n->net[i].mask.high) == n->net[i].addr.high &&
            (a.low & n->net[i].mask.low) == n->net[i].addr.low)
            return true;
    return false;
}

static unsigned home_of(const struct vfr_neighbours *n, struct vfr_addr a)
{
    const u64 h = ((a.low ^ n->seed) * 0x9e3779b97f4a7c15ull ^ a.high) * (n->seed | 1);

    return (unsigned)(h >> 32) % (VFR_NEIGHBOURS / WAYS) * WAYS;
}

static bool is_before(const struct vfr_neighbour *a, const struct vfr_neighbour *b)
{
    return !a->mac == !b->mac ? a->asked < b->asked : !a->mac;
}

/* NULL: it was never asked for. To 'enter' it, another one is forgotten. */
static rarely struct vfr_neighbour *look(struct vfr_neighbours *n, struct vfr_addr a,
                                         bool enter)
{
    struct vfr_neighbour *e = &n->entry[home_of(n, a)], *first = e, *const end = e + WAYS;

    for (; e < end; e++) {
        if (e->asked && vfr_addr_equal(e->addr, a))
            return e;
        if (is_before(e, first))
            first = e;
    }
    if (!enter)
        return NULL;
    *first = (struct vfr_neighbour){.addr = a};
    return first;
}

uint64_t vfr_neighbour_find(struct vfr_neighbours *n, struct vfr_addr a, int64_t now, bool *ask)
{
    struct vfr_neighbour *e;

    if (!is_on_link(n, a))
        return 0;
    e = look(n, a, ask);
    if (!e)
        return 0;
    if (ask && (!e->asked || now - e->asked >= SECOND) &&
        (!e->mac || now - e->heard >= VFR_NEIGHBOUR_OLD / 2)) {
        e->asked = MAX(now, 1);
        *ask = true;
    }
    return e->mac && now - e->heard < VFR_NEIGHBOUR_OLD ? e->mac : 0;
}

void vfr_neighbour_heard(struct vfr_neighbours *n, struct vfr_addr a, uint64_t mac, int64_t now)
{
    struct vfr_neighbour *e = look(n, a, false);

    if (!e || !mac || mac & ETH_GROUP)
        return;
    e->mac = mac;
    e->heard = now;
}

int vfr_neighbours_check(const struct vfr_neighbours *n)
{
    if (n->nets > VFR_LINKS)
        return 1;
    for (unsigned i = 0; i < n->nets; i++)
        if (n->net[i].addr.high & ~n->net[i].mask.high ||
            n->net[i].addr.low & ~n->net[i].mask.low)
            return 1;
    for (unsigned i = 0; i < VFR_NEIGHBOURS; i++) {
        const struct vfr_neighbour *e = &n->entry[i];

        if (e->asked && home_of(n, e->addr) != i / WAYS * WAYS)
            return 2;
        for (unsigned k = i / WAYS * WAYS; k < i; k++)
            if (e->asked && n->entry[k].asked && vfr_addr_equal(n->entry[k].addr, e->addr))
                return 2;
        if ((e->mac && !e->asked) || e->mac & ETH_GROUP)
            return 3;
    }
    return 0;
}
