#include "core/clock.h"
#include "core/platform_bits.h"

/*
 * mul = 10^9 * 2^32 / (hz * 2^shift) must fit 32 bits with the top bit set: shift so that the
 * shifted frequency lies in (10^9 / 2, 10^9 * 2).
 */
struct clock_scale clock_scale_from_hz(u64 hz)
{
    struct clock_scale s = {0, 0};
    u64 rate = hz;

    while (rate > 2000000000UL) {
        rate >>= 1;
        s.shift--;
    }
    while (rate <= 1000000000UL) {
        rate <<= 1;
        s.shift++;
    }
    /* From the exact frequency, not from the rounded shift of it. */
    if (s.shift < 0)
        s.mul = (u32)mul_div(1000000000UL << -s.shift, BIT(32), hz);
    else
        s.mul = (u32)((1000000000UL << 32) / (hz << s.shift));
    return s;
}
