/*
 * A set of logical CPUs. Pure.
 */
#ifndef SERAI_CORE_CPUSET_H
#define SERAI_CORE_CPUSET_H

#include "base/types.h"

#define CPUSET_MAX 64

typedef struct {
    u64 bits;
} cpuset_t;

#define CPUSET_NONE ((cpuset_t){0})

static inline cpuset_t cpuset_of(unsigned cpu)
{
    return (cpuset_t){BIT(cpu)};
}

static inline cpuset_t cpuset_first(unsigned n)
{
    return (cpuset_t){n >= 64 ? ~0UL : BIT(n) - 1};
}

static inline bool cpuset_has(cpuset_t s, unsigned cpu)
{
    return s.bits >> cpu & 1;
}

static inline void cpuset_add(cpuset_t *s, unsigned cpu)
{
    s->bits |= BIT(cpu);
}

static inline void cpuset_remove(cpuset_t *s, unsigned cpu)
{
    s->bits &= ~BIT(cpu);
}

static inline cpuset_t cpuset_and(cpuset_t a, cpuset_t b)
{
    return (cpuset_t){a.bits & b.bits};
}

static inline cpuset_t cpuset_or(cpuset_t a, cpuset_t b)
{
    return (cpuset_t){a.bits | b.bits};
}

static inline cpuset_t cpuset_minus(cpuset_t a, cpuset_t b)
{
    return (cpuset_t){a.bits & ~b.bits};
}

static inline bool cpuset_empty(cpuset_t s)
{
    return !s.bits;
}

/* Without the popcnt instruction the compiler's builtin would call a library. */
static inline unsigned cpuset_count(cpuset_t s)
{
    u64 x = s.bits;

    x -= x >> 1 & 0x5555555555555555;
    x = (x & 0x3333333333333333) + (x >> 2 & 0x3333333333333333);
    x = (x + (x >> 4)) & 0x0f0f0f0f0f0f0f0f;
    return (unsigned)(x * 0x0101010101010101 >> 56);
}

/* Lowest member; the set is not empty. */
static inline unsigned cpuset_lowest(cpuset_t s)
{
    return (unsigned)__builtin_ctzl(s.bits);
}

#endif
