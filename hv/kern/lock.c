#include "kern/lock.h"

static u32 held_ranks[MAX_CPUS];

void lock_rank_acquire(enum lock_rank rank)
{
    u32 *held = &held_ranks[this_cpu()->id];

    BUG_ON(*held >> rank);
    *held |= 1U << rank;
}

void lock_rank_release(enum lock_rank rank)
{
    held_ranks[this_cpu()->id] &= ~(1U << rank);
}
