/*
 * How fast something may happen, for each rule, interface or address: buckets that fill up
 * again with time, in a table that outlives rulesets.
 *
 *  1. A bucket is one word: the time at which it is full again. One that is not in the table is full.
 *  2. A set of VFR_RATES_WAYS has no place for a new one: the one that is full first makes way,
 *     so that what is lost is least.
 *  3. Over any time t no more than depth + t nanoseconds' worth is taken, and what the last take
 *     took: a bucket that holds anything lets one through, whatever its size.
 *
 * Words are changed by compare-and-swap; any CPU, any context, no lock. Two CPUs that need a
 * bucket at the same moment may both find it full once.
 */
#ifndef SERAI_CORE_VFR_RATES_H
#define SERAI_CORE_VFR_RATES_H

#include "base/types.h"
#include "abi/vfr_rules.h"

#define VFR_RATES_WAYS 4

struct vfr_bucket {
    u64 key; /* 0: nobody's */
    u64 full_at;
};

struct vfr_rates {
    struct vfr_bucket *buckets;
    u64 sets; /* a power of two */
    u64 secret;
};

/* 'nr' buckets, all 0, a power of two and at least VFR_RATES_WAYS; 'secret' is random. */
void vfr_rates_init(struct vfr_rates *t, struct vfr_bucket *buckets, u64 nr, u64 secret);

/* Whose bucket: of this rate and what it is counted for, any two numbers. */
u64 vfr_rates_key(const struct vfr_rates *t, u32 rate_id, u64 high, u64 low);

/* What 'units' take, in ns. */
static inline u64 vfr_rates_worth(const struct vfr_rate *rate, u32 units)
{
    return (MIN(units, 65535U) * rate->cost) >> VFR_RATE_SHIFT;
}

/*
 * Is there anything in the bucket? Then 'units' are taken. 'now' is since boot, and may differ
 * between CPUs.
 */
bool vfr_rates_take(const struct vfr_rates *t, const struct vfr_rate *rate, u64 key, u32 units,
                    u64 now);
/* Would there be, after others took what is worth 'spent'? */
bool vfr_rates_would(const struct vfr_rates *t, const struct vfr_rate *rate, u64 key, u64 spent,
                     u64 now);

#endif
