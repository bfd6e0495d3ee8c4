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

static inline unsigned cpuset_count(cpuset_t s)
{
    return (unsigned)__builtin_popcountl(s.bits);
}

/* Lowest member; the set is not empty. */
static inline unsigned cpuset_lowest(cpuset_t s)
{
    return (unsigned)__builtin_ctzl(s.bits);
}

#endif
