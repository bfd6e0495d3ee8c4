#include "kern/lock.h"

void lock_rank_acquire(enum lock_rank rank)
{
    u32 *held = &this_cpu()->lock_ranks;

    BUG_ON(*held >> rank);
    *held |= 1U << rank;
}

void lock_rank_release(enum lock_rank rank)
{
    this_cpu()->lock_ranks &= ~(1U << rank);
}
