/*
 * BUG_ON: an invariant of the hypervisor itself, always compiled, never on guest input.
 * The floor above supplies bug_report(); in host tests it aborts.
 */
#ifndef SERAI_BASE_ASSERT_H
#define SERAI_BASE_ASSERT_H

#include "base/types.h"

__noreturn void bug_report(const char *expr, const char *file, int line);

#define BUG_ON(cond)                                                                           \
    do {                                                                                       \
        if (unlikely(cond))                                                                    \
            bug_report(#cond, __FILE__, __LINE__);                                             \
    } while (0)

#define BUG() bug_report("unreachable", __FILE__, __LINE__)

#endif
