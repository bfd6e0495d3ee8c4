/*
 * The shipped core/evtchn.c, guest/event.c and guest/event_ports.c for events.c: each atomic
 * operation of theirs gives way first, and is checked for memory that is gone; and with
 * -DMUTANT=n one error is seeded, here or in event_world.h, in front of the shipped sources.
 */
#ifndef SERAI_TESTS_EVENT_MUTANTS_H
#define SERAI_TESTS_EVENT_MUTANTS_H

#include "base/types.h"

#define MUTANTS(X)                                                                             \
    X(NONE, "the sources as shipped")                                                          \
    X(NO_RECEIVER_CHECK, "1: a send does not ask the receiving port")                          \
    X(NO_KICK, "1: who binds is not sent an event")                                            \
    X(KICK_EARLY, "1: who binds is sent its event before the other end is connected")          \
    X(NO_WAIT, "2: nobody waits for CPUs in the middle of something")                          \
    X(SHARED_KEPT, "2: the shared page is not taken away")                                     \
    X(DYING_IGNORED, "3: dying domains get ports")                                             \
    X(DYING_EARLY, "3: whether a domain is dying is looked at before its lock is had")         \
    X(NO_FIRST_LOCK, "3: close_all does not wait for who has the lock")                        \
    X(PIRQ_UNLOCKED, "4: a pirq is bound without the event lock")                              \
    X(LOCK_ORDER, "two locks are taken in the order in which they come")                       \
    X(ONE_LOCK, "only the own end is locked")                                                  \
    X(NO_SECOND_LOOK, "a port's other end is not looked at again with the locks held")         \
    X(PEER_KEPT, "the other end is not told of a close")                                       \
    X(VIRQ_KEPT, "a virq stays with a domain that goes")

#define MUTANT_ENUM(id, text) M_##id,
#define MUTANT_TEXT(id, text) {#id, text},
enum { MUTANTS(MUTANT_ENUM) NR_MUTANTS };

#ifndef MUTANT
#define MUTANT M_NONE
#endif
_Static_assert(MUTANT < NR_MUTANTS, "no such mutant");

extern bool changed; /* something, so who waits looks again */
/* Another CPU may come in here; then the access is made, and must be to memory that exists. */
void touch(const volatile void *p);
/* Seeded errors in what an access sees or does. */
u64 mutant_load(const volatile void *p, u64 value);
bool mutant_store(const volatile void *p);

#define __atomic_load_n(p, order)                                                              \
    ({                                                                                         \
        touch(p);                                                                              \
        mutant_load_as(p, __atomic_load_n(p, order));                                          \
    })
/* Only words of 32 bits are for seeding. */
#define mutant_load_as(p, value)                                                               \
    __builtin_choose_expr(__builtin_types_compatible_p(__typeof__(*(p) + 0), u32),             \
                          mutant_load((p), (u64)(value)), (value))
#define __atomic_load(p, value, order)                                                         \
    ({                                                                                         \
        touch(p);                                                                              \
        __atomic_load(p, value, order);                                                        \
    })
#define __atomic_store_n(p, value, order)                                                      \
    ({                                                                                         \
        touch(p);                                                                              \
        changed = true;                                                                        \
        if (mutant_store(p))                                                                   \
            __atomic_store_n(p, value, order);                                                 \
    })
#define __atomic_store(p, value, order)                                                        \
    ({                                                                                         \
        touch(p);                                                                              \
        changed = true;                                                                        \
        __atomic_store(p, value, order);                                                       \
        port_changed();                                                                        \
    })
#define __atomic_exchange_n(p, value, order)                                                   \
    ({                                                                                         \
        __typeof__(*(p)) new_ = (value), old_;                                                 \
        touch(p);                                                                              \
        old_ = __atomic_exchange_n(p, new_, order);                                            \
        changed |= old_ != new_;                                                               \
        old_;                                                                                  \
    })
#define __atomic_fetch_or(p, value, order)                                                     \
    ({                                                                                         \
        touch(p);                                                                              \
        changed = true;                                                                        \
        event_arrives(p, value);                                                               \
        __atomic_fetch_or(p, value, order);                                                    \
    })
#define __atomic_fetch_and(p, value, order)                                                    \
    ({                                                                                         \
        touch(p);                                                                              \
        changed = true;                                                                        \
        __atomic_fetch_and(p, value, order);                                                   \
    })
#define __atomic_compare_exchange_n(p, expect, value, weak, ok, fail)                          \
    ({                                                                                         \
        touch(p);                                                                              \
        changed = true;                                                                        \
        MUTANT !=                                                                              \
            M_VIRQ_KEPT &&__atomic_compare_exchange_n(p, expect, value, false, ok, fail);      \
    })

/* A bit of a shared page is about to be set; a port has been changed. */
void event_arrives(const volatile void *p, u64 bit);
void port_changed(void);

/* ---- the shipped sources ---- */

#include "guest/event.h"
#include "guest/pirq.h"
#include "kern/heap.h"
#include "kern/irq.h"

void mutant_lock(struct spinlock *l);
void mutant_unlock(struct spinlock *l);
void mutant_lock_pair(struct spinlock *a, struct spinlock *b);
void mutant_unlock_pair(struct spinlock *a, struct spinlock *b);
bool mutant_is_peer(struct port p, u16 dom, u32 port);
void mutant_write(struct port *p, struct port now);
struct port mutant_look(const struct port_table *t, u32 port);
void mutant_set_pending(struct domain *d, u32 port);
int mutant_pirq_bind(struct domain *d, u32 pirq, u32 port, bool share);

#define lock         mutant_lock
#define unlock       mutant_unlock
#define lock_pair    mutant_lock_pair
#define unlock_pair  mutant_unlock_pair
#define port_is_peer mutant_is_peer
#define port_write   mutant_write
#define port_look    mutant_look
#define pirq_bind    mutant_pirq_bind
#include "../../hv/core/evtchn.c"
#include "../../hv/guest/event.c"
#define event_set_pending mutant_set_pending
#include "../../hv/guest/quiesce.c"
#include "../../hv/guest/event_ports.c"
#undef event_set_pending
#undef lock
#undef unlock
#undef lock_pair
#undef unlock_pair
#undef port_is_peer
#undef port_write
#undef port_look
#undef pirq_bind

#endif
