/* The invariants of vfr_flow.h as code. */
#include "core/vfr_flow_impl.h"

static bool is_overflow(const struct vfr_flow_table *t, u32 bucket)
{
    return bucket > t->mask && bucket <= t->mask + t->nr_overflow;
}

static bool place_ok(const struct vfr_flow_table *t, u32 home, u32 i, u16 tag)
{
    const struct vfr_flow *f;
    struct vfr_tuple x;
    u32 number;

    if (i >= t->fresh || t->flow[i].state == VFR_FLOW_FREE)
        return false;
    f = &t->flow[i];
    x = (struct vfr_tuple){f->src, f->dst, f->sport, f->dport, f->proto};
    number = f->home & HOME_SECRET ? 1 : 0;
    if (number != secret_of(t->epoch) && !(t->epoch & 1))
        return false;
    return (f->home & HOME_BUCKET) == home &&
           tag == tag_of(vfr_flow_hash(t->secret[number], &x, flow_word(f)));
}

/* Adds to the counts of flows, of those behind the first bucket, of buckets behind the first. */
static int check_chain(const struct vfr_flow_table *t, u32 home, u32 counts[3])
{
    u32 at = home;

    for (unsigned length = 1;; length++) {
        const struct vfr_flow_bucket *b = &t->bucket[at];
        unsigned used = vfr_flow_places_used(b);

        if (length > VFR_FLOW_CHAIN || (at != home && (!used || !is_overflow(t, at))) ||
            (b->next && used < VFR_FLOW_PLACES))
            return 2;
        for (unsigned n = 0; n < VFR_FLOW_PLACES; n++)
            if (n < used ? !place_ok(t, home, b->flow[n], b->tag[n]) : b->tag[n])
                return 1;
        counts[0] += used;
        counts[1] += at == home ? 0 : used;
        counts[2] += at != home;
        if (!b->next)
            return 0;
        at = b->next;
    }
}

static int check_chains(const struct vfr_flow_table *t)
{
    u32 counts[3] = {0}, free = 0;

    for (u32 home = 0; home <= t->mask; home++) {
        int broken = check_chain(t, home, counts);

        if (broken)
            return broken;
    }
    for (u32 at = t->free_bucket; at; at = t->bucket[at].next)
        if (!is_overflow(t, at) || ++free > t->nr_overflow)
            return 3;
    if (counts[0] != t->used)
        return 1;
    if (counts[1] != t->overflowed)
        return 2;
    return counts[2] + free == t->nr_overflow ? 0 : 3;
}

/* Each is found by its own key, and that finds no other: the two invariants in one look. */
static int check_flow(const struct vfr_flow_table *t, u32 i)
{
    const struct vfr_flow *f = &t->flow[i];
    const struct vfr_tuple x = {f->src, f->dst, f->sport, f->dport, f->proto};
    struct vfr_flow_key key;
    bool answer;
    u32 found;

    if (f->vif[0] >= t->nr_vifs || f->zero)
        return 4;
    if (!(f->marks & VFR_FLOW_ANSWERED) && !(f->home & HOME_LISTED))
        return 5;
    vfr_flow_key(t, &x, f->segment,
                 f->proto == PROTO_ICMP || f->proto == PROTO_ICMP6 ? VFR_P_QUERY : 0, &key);
    found = vfr_flow_find(t, &t->bucket[key.hash & t->mask], key.hash, &key, &answer);
    if (t->epoch & 1) {
        u32 old =
            vfr_flow_find(t, &t->bucket[key.old_hash & t->mask], key.old_hash, &key, &answer);

        /* The two places may be one. */
        if (found != VFR_FLOW_NONE && old != VFR_FLOW_NONE && old != found)
            return 6;
        found = found == VFR_FLOW_NONE ? old : found;
    }
    return found == i ? 0 : 6;
}

static int check_flows(const struct vfr_flow_table *t)
{
    u32 used = 0, free = 0;

    for (u32 i = 0; i < t->fresh; i++) {
        int broken = t->flow[i].state == VFR_FLOW_FREE ? 0 : check_flow(t, i);

        used += t->flow[i].state != VFR_FLOW_FREE;
        if (broken)
            return broken;
    }
    for (u32 i = t->free; i != VFR_FLOW_NONE; i = t->flow[i].next)
        if (i >= t->fresh || t->flow[i].state != VFR_FLOW_FREE || ++free > t->fresh)
            return 3;
    if (t->fresh > t->nr_flows || used + free != t->fresh)
        return 3;
    return used == t->used ? 0 : 4;
}

static bool list_ok(const struct vfr_flow_table *t, u16 vif, u32 *listed)
{
    u32 before = VFR_FLOW_NONE;

    for (u32 i = t->vif[vif].first; i != VFR_FLOW_NONE; i = t->flow[i].next) {
        const struct vfr_flow *f = &t->flow[i];

        if (i >= t->fresh || f->state == VFR_FLOW_FREE || f->vif[0] != vif ||
            !(f->home & HOME_LISTED) || f->prev != before || ++*listed > t->used)
            return false;
        before = i;
    }
    return t->vif[vif].last == before;
}

static int check_vifs(const struct vfr_flow_table *t)
{
    u32 flows = 0, listed = 0;

    for (u32 v = 0; v < t->nr_vifs; v++) {
        flows += t->vif[v].flows;
        if (!list_ok(t, (u16)v, &listed))
            return 5;
    }
    for (u32 i = 0; i < t->fresh; i++) {
        const struct vfr_flow *f = &t->flow[i];

        if (f->state != VFR_FLOW_FREE && f->home & HOME_LISTED)
            listed--;
    }
    if (listed)
        return 5;
    return flows == t->used ? 0 : 4;
}

int vfr_flow_check(const struct vfr_flow_table *t)
{
    int broken = check_chains(t);

    if (!broken)
        broken = check_flows(t);
    return broken ? broken : check_vifs(t);
}
