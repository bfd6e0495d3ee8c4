/*
 * A set of numbers as ranges: which I/O ports or frames a domain may use.
 *
 *  1. Ranges are sorted, none is empty, and two of them never touch: a set has one form.
 *  2. An operation that fails changes nothing.
 *
 * The caller owns the storage and serialises.
 */
#ifndef SERAI_CORE_RANGESET_H
#define SERAI_CORE_RANGESET_H

#include "base/types.h"

struct range {
    u64 first, last; /* inclusive */
};

struct rangeset {
    struct range *ranges; /* room for 'max' */
    u32 nr, max;
};

/*
 * [first, last] goes into the set or out of it, whatever part of it is there already.
 * -XEN_EINVAL: last is below first. -XEN_ENOSPC: too many ranges.
 */
int rangeset_add(struct rangeset *s, u64 first, u64 last) must_check;
int rangeset_remove(struct rangeset *s, u64 first, u64 last) must_check;

/* All of [first, last] is in the set. An empty range is not. */
bool rangeset_contains(const struct rangeset *s, u64 first, u64 last);

/* The invariants hold. */
bool rangeset_check(const struct rangeset *s);

#endif
