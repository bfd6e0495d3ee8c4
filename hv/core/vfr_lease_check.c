/* The invariants of core/vfr_lease.h, as code. */
#include "core/vfr_lease.h"
#include "base/string.h"

#define NONE 0xffff

static u32 count_bits(u32 x)
{
    u32 n = 0;

    for (; x; x &= x - 1)
        n++;
    return n;
}

static u16 word_of(const struct vfr_lease *r)
{
    switch (r->state) {
    case VFR_LEASE_HELD:
        return VFR_PORT(VFR_PORT_OWNED, r->vif);
    case VFR_LEASE_DRAINING:
        return VFR_PORT(VFR_PORT_DRAINING, r->vif);
    default:
        return VFR_PORT(VFR_PORT_RESTING, r->vif);
    }
}

/* Its ports say what it is; returns how many they are, 0 if one does not. */
static u32 count_own(const struct vfr_leases *l, const struct vfr_lease *r)
{
    const struct vfr_shared *s = &l->ports.shared[r->shared];
    u32 n = 0;

    for (u32 c = 0; c < VFR_PORT_CLASSES; c++) {
        if (!(r->classes & VFR_PC_BIT(c)))
            continue;
        for (u32 port = r->start; port < r->start + (1U << r->log2); port++, n++)
            if (vfr_ports_look(&l->ports, s, c, (u16)port) != word_of(r))
                return 0;
    }
    return n;
}

static u32 count_taken(const struct vfr_leases *l)
{
    u32 n = 0;

    for (u32 i = 0; i < l->ports.nr_shared; i++) {
        const struct vfr_shared *s = &l->ports.shared[i];

        for (u32 at = 0; s->ip && at < VFR_PORT_CLASSES * 256; at++) {
            u16 word = s->map[at / 256][at % 256];

            if (word & VFR_PORT_LEAF)
                n += l->ports.leaves[word ^ VFR_PORT_LEAF].taken;
            else if (word != VFR_PORT_NOBODY)
                n += 256;
        }
    }
    return n;
}

/* Ports of leases are as many as ports that are taken: so no port is in two of them. */
static int check_ports(const struct vfr_leases *l)
{
    u32 sum = 0;

    for (u32 i = 0; i < l->max; i++) {
        u32 n;

        if (l->lease[i].state == VFR_LEASE_NONE)
            continue;
        n = count_own(l, &l->lease[i]);
        if (!n)
            return 1;
        sum += n;
    }
    return sum == count_taken(l) ? 0 : 1;
}

static int check_queue(const struct vfr_leases *l)
{
    u32 ending = 0;

    for (u32 i = 0; i < l->max; i++) {
        const struct vfr_lease *r = &l->lease[i];

        if (r->state == VFR_LEASE_NONE || r->ends == INT64_MAX)
            continue;
        ending++;
        if (r->queue >= l->queued || l->queue[r->queue] != i ||
            l->lease[l->queue[(MAX(r->queue, 1) - 1) / 2]].ends > r->ends)
            return 4;
    }
    return ending == l->queued ? 0 : 4;
}

static u32 same_domain(const struct vfr_leases *l, const struct vfr_lease *r)
{
    u32 n = 1;

    for (u16 i = r->next; i != NONE; i = l->lease[i].next)
        n += memcmp(r->uuid, l->lease[i].uuid, sizeof(r->uuid)) == 0;
    return n;
}

static int check_chains(const struct vfr_leases *l)
{
    u32 chained = 0, unused = 0;

    for (u32 c = 0; c < VFR_LEASE_CHAINS; c++)
        for (u16 i = l->chain[c]; i != NONE; i = l->lease[i].next) {
            if (++chained > l->used || l->lease[i].state == VFR_LEASE_NONE)
                return 5;
            if (same_domain(l, &l->lease[i]) > VFR_LEASES_PER_DOMAIN)
                return 3;
        }
    for (u16 i = l->free; i != NONE; i = l->lease[i].next)
        if (++unused > l->max || l->lease[i].state != VFR_LEASE_NONE)
            return 5;
    return chained == l->used && chained + unused == l->max ? 0 : 5;
}

/* What the addresses count is what their leases are. */
static int check_counts(const struct vfr_leases *l)
{
    u32 leases[VFR_SHARED_MAX] = {0}, used[VFR_SHARED_MAX] = {0};

    for (u32 i = 0; i < l->max; i++) {
        const struct vfr_lease *r = &l->lease[i];
        u32 classes = count_bits(r->classes & VFR_PC_BLOCK);

        if (r->state == VFR_LEASE_NONE)
            continue;
        if (r->shared >= l->ports.nr_shared || !l->ports.shared[r->shared].ip)
            return 7;
        leases[r->shared]++;
        used[r->shared] += r->start < VFR_BLOCK_FIRST ? 0 : classes << r->log2;
    }
    for (u32 i = 0; i < l->ports.nr_shared; i++) {
        const struct vfr_shared *s = &l->ports.shared[i];

        if (s->ip && (s->leases != leases[i] || s->used != used[i]))
            return 7;
    }
    return 0;
}

int vfr_lease_check_all(const struct vfr_leases *l)
{
    int rc = vfr_ports_check(&l->ports);

    if (rc)
        return 100 + rc;
    rc = check_counts(l);
    if (!rc)
        rc = check_queue(l);
    if (!rc)
        rc = check_chains(l);
    return rc ? rc : check_ports(l);
}
