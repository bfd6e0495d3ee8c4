/*
 * Converting time-stamp counter ticks to nanoseconds the way the PV ABI describes it to guests:
 * ns = ((ticks << shift, or >> -shift) * mul) >> 32.
 *
 * Pure.
 */
#ifndef SERAI_CORE_CLOCK_H
#define SERAI_CORE_CLOCK_H

#include "base/types.h"

struct clock_scale {
    u32 mul;
    s8 shift;
};

/* The scale for a counter of 'hz' ticks a second (1 kHz to 1 THz). */
struct clock_scale clock_scale_from_hz(u64 hz);

static inline u64 clock_scale_ticks(struct clock_scale s, u64 ticks)
{
    ticks = s.shift >= 0 ? ticks << s.shift : ticks >> -s.shift;
    return (u64)(((unsigned __int128)ticks * s.mul) >> 32);
}

#endif
