/*
 * The shipped guest/frame.c and kern/tlb.c for explorer.c: each atomic operation of theirs gives
 * way first, so that other CPUs can come in between; and with -DMUTANT=n one error is seeded,
 * here or in explorer_world.h, in front of the shipped sources.
 */
#ifndef SERAI_TESTS_EXPLORER_MUTANTS_H
#define SERAI_TESTS_EXPLORER_MUTANTS_H

#include "core/frame.h"
#include "x86/percpu.h"

#define MUTANTS(X)                                                                             \
    X(NONE, "the sources as shipped")                                                          \
    X(NO_FLUSH, "R1: a change of type does not flush")                                         \
    X(FLUSH_BEFORE_SWAP, "R1: the taker flushes, then swaps whatever stamp it finds")          \
    X(VALID_AT_ONCE, "R1: a table is marked valid by the swap that takes it")                  \
    X(WRITABLE_AT_ONCE, "R1: a former table is open to a second use before the flush")         \
    X(STAMP_EARLY, "R2: the last drop reads the clock, then swaps")                            \
    X(NO_STAMPING, "R2: the last drop leaves no mark while it stores the stamp")               \
    X(IGNORE_STAMPING, "R2: a taker does not wait for the stamp")                              \
    X(TICK_AFTER_FLUSH, "R3: the clock ticks after the flush")                                 \
    X(PUBLISH_FIRST, "R3: a flush is published before it is done")                             \
    X(EQUAL_IS_FLUSHED, "R4: a flush at the stamp itself counts")                              \
    X(DROP_BEFORE_REMOVE, "R5: the use is dropped, then the entry removed")                    \
    X(TAKE_AFTER_WRITE, "R5: the entry is written, then the use taken")                        \
    X(OWNER_LATE, "R6: a CPU says whose table it loads after it has loaded it")                \
    X(OWNER_UNFLUSHED, "R6: an idle CPU says that it has nobody's table, but keeps it")        \
    X(STALE_IGNORED, "back from idleness a CPU does not look at its mark")                     \
    X(STALE_FIRST, "a CPU looks at its mark, then says that it idles no more")                 \
    X(REQUEST_LATE, "a flush request is cleared after the flush instead of before")            \
    X(DEAF, "who waits for another CPU does not serve requests")                               \
    X(NEW_OWNER_ONLY, "at allocation only CPUs of the new owner flush")

#define MUTANT_ENUM(id, text) M_##id,
#define MUTANT_TEXT(id, text) {#id, text},
enum { MUTANTS(MUTANT_ENUM) NR_MUTANTS };

#ifndef MUTANT
#define MUTANT M_NONE
#endif
_Static_assert(MUTANT < NR_MUTANTS, "no such mutant");

/* ---- giving way ---- */

/* Another CPU may come in here. */
void give_way(void);

/* Seeded errors in what an access to shared memory sees or does. */
u64 mutant_load(const void *p, u64 value);
bool mutant_store(const void *p);
void mutant_expect(const u64 *p, u64 *expect);
void mutant_before_add(const void *p);
void mutant_after_add(const void *p, u64 value);

#define __atomic_load_n(p, order)                                                              \
    ({                                                                                         \
        give_way();                                                                            \
        (__typeof__(*(p) + 0))mutant_load((p), __atomic_load_n(p, order));                     \
    })
#define __atomic_store_n(p, value, order)                                                      \
    ({                                                                                         \
        give_way();                                                                            \
        if (mutant_store(p))                                                                   \
            __atomic_store_n(p, value, order);                                                 \
    })
#define __atomic_exchange_n(p, value, order)                                                   \
    ({                                                                                         \
        give_way();                                                                            \
        __atomic_exchange_n(p, value, order);                                                  \
    })
#define __atomic_add_fetch(p, value, order)                                                    \
    ({                                                                                         \
        u64 sum_;                                                                              \
        mutant_before_add(p);                                                                  \
        give_way();                                                                            \
        sum_ = __atomic_add_fetch(p, value, order);                                            \
        mutant_after_add(p, sum_);                                                             \
        sum_;                                                                                  \
    })
#define __atomic_sub_fetch(p, value, order)                                                    \
    ({                                                                                         \
        give_way();                                                                            \
        __atomic_sub_fetch(p, value, order);                                                   \
    })
#define __atomic_or_fetch(p, value, order)                                                     \
    ({                                                                                         \
        give_way();                                                                            \
        __atomic_or_fetch(p, value, order);                                                    \
    })
#define __atomic_fetch_or(p, value, order)                                                     \
    ({                                                                                         \
        give_way();                                                                            \
        __atomic_fetch_or(p, value, order);                                                    \
    })
#define __atomic_fetch_and(p, value, order)                                                    \
    ({                                                                                         \
        give_way();                                                                            \
        __atomic_fetch_and(p, value, order);                                                   \
    })
#define __atomic_compare_exchange_n(p, expect, value, weak, ok, fail)                          \
    ({                                                                                         \
        give_way();                                                                            \
        mutant_expect((p), (expect));                                                          \
        __atomic_compare_exchange_n(p, expect, value, false, ok, fail);                        \
    })

/* ---- the shipped sources ---- */

enum take_verdict mutant_take(u64 typ, enum frame_type t, u64 *next);
enum drop_verdict mutant_drop(u64 typ, u64 *next);
bool mutant_crossing(u64 typ, enum frame_type t);
u64 mutant_stamped(u64 typ, u64 clock);

#define typ_take     mutant_take
#define typ_drop     mutant_drop
#define typ_crossing mutant_crossing
#define typ_stamped  mutant_stamped
#include "../../hv/guest/frame.c"
#include "../../hv/kern/tlb.c"
#undef typ_take
#undef typ_drop
#undef typ_crossing
#undef typ_stamped

#endif
