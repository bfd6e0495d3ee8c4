/* Chains of buckets, and how flows move when the secret changes. */
#include "core/vfr_flow_impl.h"

unsigned vfr_flow_places_used(const struct vfr_flow_bucket *b)
{
    unsigned n = 0;

    while (n < VFR_FLOW_PLACES && b->tag[n])
        n++;
    return n;
}

/* The last bucket of a chain; *length counts the buckets, *before is the one before the last. */
static struct vfr_flow_bucket *last_of(const struct vfr_flow_table *t,
                                       struct vfr_flow_bucket *b,
                                       struct vfr_flow_bucket **before, unsigned *length)
{
    *before = NULL;
    for (*length = 1; b->next; ++*length) {
        *before = b;
        b = &t->bucket[b->next];
    }
    return b;
}

bool vfr_flow_chain_add(struct vfr_flow_table *t, u32 home, u64 hash, u32 flow)
{
    struct vfr_flow_bucket *before, *b;
    unsigned length, place;

    b = last_of(t, &t->bucket[home], &before, &length);
    place = vfr_flow_places_used(b);
    if (place == VFR_FLOW_PLACES) {
        if (length == VFR_FLOW_CHAIN || !t->free_bucket)
            return false;
        b->next = t->free_bucket;
        b = &t->bucket[b->next];
        t->free_bucket = b->next;
        b->next = 0;
        place = 0;
    }
    b->tag[place] = (u16)tag_of(hash);
    b->flow[place] = flow;
    t->overflowed += b != &t->bucket[home];
    return true;
}

/* What is last takes the place of what goes. */
void vfr_flow_chain_remove(struct vfr_flow_table *t, u32 home, u32 flow)
{
    struct vfr_flow_bucket *b = &t->bucket[home], *before, *last;
    unsigned length, place, end;

    last = last_of(t, b, &before, &length);
    for (place = 0; b->flow[place] != flow || !b->tag[place];)
        if (++place == VFR_FLOW_PLACES) {
            b = &t->bucket[b->next];
            place = 0;
        }
    end = vfr_flow_places_used(last) - 1;
    b->tag[place] = last->tag[end];
    b->flow[place] = last->flow[end];
    last->tag[end] = 0;
    if (!before)
        return;
    t->overflowed--;
    if (!end) {
        last->next = t->free_bucket;
        t->free_bucket = before->next;
        before->next = 0;
    }
}

/* ---- another secret ---- */

bool vfr_flow_wants_rekey(const struct vfr_flow_table *t)
{
    return !(t->epoch & 1) && t->overflowed > t->nr_flows / 100;
}

int vfr_flow_rekey(struct vfr_flow_table *t, const u64 secret[4])
{
    if (t->epoch & 1)
        return -XEN_EBUSY;
    for (int i = 0; i < 4; i++)
        t->secret[!secret_of(t->epoch)][i] = secret[i];
    t->rekey_hand = 0;
    __atomic_store_n(&t->epoch, (t->epoch + 2) | 1, __ATOMIC_RELEASE);
    return 0;
}

/* Both buckets are locked. */
static void move(struct vfr_flow_table *t, u32 i, u32 to, u64 hash)
{
    struct vfr_flow *f = &t->flow[i];
    u32 from = f->home & HOME_BUCKET;

    vfr_flow_chain_remove(t, from, i);
    if (vfr_flow_chain_add(t, to, hash, i)) {
        f->home = (f->home & HOME_LISTED) | to | (secret_of(t->epoch) ? HOME_SECRET : 0);
        return;
    }
    /* There is a place here for sure: the one that it just left. */
    if (vfr_flow_chain_add(t, from, hash, i))
        vfr_flow_end(t, i, VFR_END_RECYCLED);
    t->lost++;
}

static bool move_out(struct vfr_flow_table *t, u32 from, u32 i)
{
    const struct vfr_flow *f = &t->flow[i];
    const struct vfr_tuple x = {f->src, f->dst, f->sport, f->dport, f->proto};
    u64 hash = vfr_flow_hash(t->secret[secret_of(t->epoch)], &x, flow_word(f));
    u32 to = (u32)hash & t->mask;

    if (!try_lock(&t->bucket[from]))
        return false;
    if (to != from && !try_lock(&t->bucket[to])) {
        unlock(&t->bucket[from]);
        return false;
    }
    move(t, i, to, hash);
    if (to != from)
        unlock(&t->bucket[to]);
    unlock(&t->bucket[from]);
    return true;
}

/* A flow in this chain that is still in the place by the old secret, or VFR_FLOW_NONE. */
static u32 find_old(const struct vfr_flow_table *t, u32 home)
{
    const u32 now = secret_of(t->epoch) ? HOME_SECRET : 0;
    const struct vfr_flow_bucket *b = &t->bucket[home];

    for (;;) {
        for (unsigned n = 0; n < VFR_FLOW_PLACES && b->tag[n]; n++)
            if ((t->flow[b->flow[n]].home & HOME_SECRET) != now)
                return b->flow[n];
        if (!b->next)
            return VFR_FLOW_NONE;
        b = &t->bucket[b->next];
    }
}

bool vfr_flow_rekey_step(struct vfr_flow_table *t, u32 budget)
{
    if (!(t->epoch & 1))
        return true;
    for (; t->rekey_hand <= t->mask; t->rekey_hand++) {
        u32 i;

        if (!budget--)
            return false;
        while ((i = find_old(t, t->rekey_hand)) != VFR_FLOW_NONE)
            if (!move_out(t, t->rekey_hand, i))
                return false;
    }
    __atomic_store_n(&t->epoch, t->epoch & ~1U, __ATOMIC_RELEASE);
    return true;
}
