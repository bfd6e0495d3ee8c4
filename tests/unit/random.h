/*
 * Numbers that look random and are the same in each run: xorshift (Marsaglia 2003, triple 13, 7, 17).
 * One sequence a test program; whoever wants another one of it sets 'random_state', to anything but 0.
 */
#pragma once

#include "base/types.h"

static u64 random_state = 0x9e3779b97f4a7c15UL;

static inline u64 random64(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    return random_state ^= random_state << 17;
}

/* The lowest bits are the worst ones. */
static inline u32 random_below(u32 n)
{
    return (u32)(random64() >> 16) % n;
}
