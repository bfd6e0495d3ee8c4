/*
 * An instruction to a domain: own no more than so many pages by a deadline, or else.
 *
 *   NONE --set--> PENDING --few enough--> COMPLIED
 *                    |                       ^
 *                    +--deadline--> MISSED --+ (few enough, late)
 *
 * A new instruction may be set, and the present one cancelled, in any state.
 *
 *  1. Complying is final: in the same step the caller lowers the domain's limit to 'pages', so that
 *     it cannot take back what it gave. 'max_before' is the limit before that.
 *  2. At the deadline the consequence happens, once; 'in_force' while it lasts.
 *  3. lowest <= start, and lowest <= pages once it has complied.
 *
 * The caller asks memtarget_see() whenever the domain has given pages back: a domain that gives
 * and takes in turns complies at the moment when it owns few enough.
 *
 * Pure; the caller serialises. Times are nanoseconds since boot; 0: it has not happened.
 */
#ifndef SERAI_CORE_MEMTARGET_H
#define SERAI_CORE_MEMTARGET_H

#include "base/types.h"

enum memtarget_state {
    MEMTARGET_NONE,
    MEMTARGET_PENDING,
    MEMTARGET_COMPLIED,
    MEMTARGET_MISSED
};

enum memtarget_otherwise { OTHERWISE_NONE, OTHERWISE_CAP, OTHERWISE_PAUSE, OTHERWISE_DESTROY };

/* The shortest and the longest time for an instruction: 1 ms, 30 days. */
#define MEMTARGET_WITHIN_MIN 1000000L
#define MEMTARGET_WITHIN_MAX (30L * 24 * 3600 * 1000000000L)

struct memtarget_order {
    u64 pages;
    u64 within; /* ns from now */
    u32 otherwise;
    u32 cap_ppm; /* of one CPU, with OTHERWISE_CAP; 0 with the others */
};

struct memtarget {
    enum memtarget_state state;
    enum memtarget_otherwise otherwise;
    bool in_force;
    u32 number; /* of instructions to this domain, this one included */
    u32 cap_ppm;
    u32 cap_before; /* what the cap was before the consequence, while that is in force */
    u64 pages;
    u64 pages_start, pages_lowest,
        pages_deadline; /* owned when it began, least since, at the end */
    u64 max_before;
    ns_t started, deadline, complied, acted;
};

/*
 * -XEN_EINVAL: no pages, or more than the machine has ('machine_pages'); a time out of range; no
 * such consequence; a cap of 0 or above 'max_cap_ppm', or one that nobody asked for.
 */
int memtarget_check_order(const struct memtarget_order *o, u64 machine_pages,
                          u64 max_cap_ppm) must_check;

/* A checked one begins, in place of what was there; a cap or a pause of that is lifted. */
void memtarget_set(struct memtarget *t, const struct memtarget_order *o, u64 pages, ns_t now);

/* There is something to wait for: giving pages back may make a difference. */
static inline bool memtarget_is_open(const struct memtarget *t)
{
    return t->state == MEMTARGET_PENDING || t->state == MEMTARGET_MISSED;
}

/* It owns so many now; true: few enough for an open instruction, see invariant 1. */
bool memtarget_see(struct memtarget *t, u64 pages) must_check;
/* The limit, which was 'max_before', is lowered, and it still owns few enough. */
void memtarget_comply(struct memtarget *t, u64 max_before, ns_t now);

/*
 * Time is up, perhaps: true: the consequence is due. The caller has just looked whether it
 * complies. After the consequence has happened: memtarget_acted().
 */
bool memtarget_expire(struct memtarget *t, u64 pages, ns_t now) must_check;
/* 'cap_before' counts for OTHERWISE_CAP. */
void memtarget_acted(struct memtarget *t, u32 cap_before, ns_t now);
/* The consequence was taken back. */
void memtarget_lifted(struct memtarget *t);

/* It never was, but for its number; its cap or pause is lifted. */
void memtarget_cancel(struct memtarget *t);

/* 0, or the number of the invariant that does not hold. */
int memtarget_check(const struct memtarget *t);

#endif
