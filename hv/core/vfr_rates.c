#include "core/vfr_rates.h"

void vfr_rates_init(struct vfr_rates *t, struct vfr_bucket *buckets, u64 nr, u64 secret)
{
    *t = (struct vfr_rates){buckets, nr / VFR_RATES_WAYS, secret};
}

u64 vfr_rates_key(const struct vfr_rates *t, u32 rate_id, u64 high, u64 low)
{
    return vfr_set_hash(t->secret, high, low, rate_id) | 1;
}

static struct vfr_bucket *ways(const struct vfr_rates *t, u64 key)
{
    return &t->buckets[(key >> 1 & (t->sets - 1)) * VFR_RATES_WAYS];
}

static struct vfr_bucket *find(const struct vfr_rates *t, u64 key)
{
    struct vfr_bucket *b = ways(t, key);

    for (unsigned i = 0; i < VFR_RATES_WAYS; i++) {
        if (__atomic_load_n(&b[i].key, __ATOMIC_RELAXED) == key)
            return &b[i];
    }
    return NULL;
}

/* Whoever loses the race for the place goes without a bucket this once. */
static struct vfr_bucket *claim(const struct vfr_rates *t, u64 key, u64 now)
{
    struct vfr_bucket *b = ways(t, key), *victim = b;
    u64 old;

    for (unsigned i = 1; i < VFR_RATES_WAYS; i++) {
        if (__atomic_load_n(&b[i].full_at, __ATOMIC_RELAXED) <
            __atomic_load_n(&victim->full_at, __ATOMIC_RELAXED))
            victim = &b[i];
    }
    old = __atomic_load_n(&victim->key, __ATOMIC_RELAXED);
    if (!__atomic_compare_exchange_n(&victim->key, &old, key, false, __ATOMIC_RELAXED,
                                     __ATOMIC_RELAXED))
        return NULL;
    __atomic_store_n(&victim->full_at, now, __ATOMIC_RELAXED);
    return victim;
}

bool vfr_rates_take(const struct vfr_rates *t, const struct vfr_rate *rate, u64 key, u32 units,
                    u64 now)
{
    struct vfr_bucket *b = find(t, key);
    u64 worth = vfr_rates_worth(rate, units), full_at, from;

    if (!b)
        b = claim(t, key, now);
    if (!b)
        return true;
    full_at = __atomic_load_n(&b->full_at, __ATOMIC_RELAXED);
    do {
        from = MAX(full_at, now);
        if (from - now > rate->depth)
            return false;
    } while (!__atomic_compare_exchange_n(&b->full_at, &full_at, from + worth, false,
                                          __ATOMIC_RELAXED, __ATOMIC_RELAXED));
    return true;
}

bool vfr_rates_would(const struct vfr_rates *t, const struct vfr_rate *rate, u64 key, u64 spent,
                     u64 now)
{
    const struct vfr_bucket *b = find(t, key);
    const u64 full_at = b ? __atomic_load_n(&b->full_at, __ATOMIC_RELAXED) : 0;

    return MAX(full_at, now) - now + spent <= rate->depth;
}
