/*
 * The sets that rules ask: what a ruleset's image lists for good, and what is added at run time.
 *
 * The elements that were added to a ruleset's sets share one table; each set has a life in it. The
 * table of the next ruleset begins with those whose set that has too, by id and kind.
 *  1. A slot counts until its 'until' has come; its 'owner' is a life.
 *  2. A life has at most 'size' slots, expired ones that nobody swept included; the lives' sizes
 *     together are at most half of the table.
 *  3. No two slots that count are the same element.
 *  4. Every length of a prefix in the table has its bit in its life's 'lengths'.
 *
 * Lookups run on any CPU meanwhile and take no lock; everything else is serialised by the caller.
 * An element that is replaced is invisible for a moment, never half another.
 */
#ifndef SERAI_CORE_VFR_SETS_H
#define SERAI_CORE_VFR_SETS_H

#include "base/types.h"
#include "abi/vfr_rules.h"
#include "core/vfr_packet.h"

/* What a set may have; which parts count is a matter of its kind. */
struct vfr_element {
    struct vfr_addr addr; /* MAC: the lower 48 bits */
    u16 port;
    u8 length; /* of a prefix, 0 to 128; IPv4's /8 is 104 */
};

struct vfr_set_slot {
    u64 high, low;
    u32 rest; /* as in struct vfr_slot; 0: never used, and nothing lies behind it */
    u32 owner;
    u64 until; /* ns since boot; 0: does not count */
};

#define VFR_FOREVER (~0UL)

struct vfr_life {
    u32 owner; /* 1 + its index */
    u32 id, kind;
    u32 nr, size;
    u64 timeout; /* ns; VFR_FOREVER */
    u64 lengths[3];
};

struct vfr_sets {
    struct vfr_set_slot *slots;
    u64 nr_slots; /* a power of two */
    u64 secret;
    u32 nr_lives;
    u64 swept; /* slots so far, of this round */
    struct vfr_life lives[VFR_SETS_MAX];
};

/* 'nr' slots, all 0, a power of two and at least VFR_SET_PROBE; 'secret' is random. */
void vfr_sets_init(struct vfr_sets *s, struct vfr_set_slot *slots, u64 nr, u64 secret);

/* How many elements a table must have room for, twice, for this image after those of 'before'. */
u64 vfr_sets_need(const struct vfr_image *image, const struct vfr_sets *before);
/*
 * The sets of a checked image get lives in a new table; of[set] is 1 + the life's index, 0 for a set
 * that takes no elements at run time. -XEN_ENOSPC: too big for the table. 'before' may be NULL.
 */
int vfr_sets_adopt(struct vfr_sets *s, const struct vfr_image *image,
                   const struct vfr_sets *before, u16 of[VFR_SETS_MAX]) must_check;
/*
 * Copies elements among the next 'budget' slots of 'before' from *at on, 0 to begin with.
 * -XEN_EAGAIN: there are more; -XEN_ENOSPC: one finds no place: a larger table would have one.
 */
int vfr_sets_inherit(struct vfr_sets *s, const struct vfr_sets *before, u64 *at, u64 budget,
                     u64 now) must_check;
/* The life of the set with this id and kind; 0: there is none. */
u32 vfr_sets_find(const struct vfr_sets *s, u32 id, u32 kind);

/*
 * -XEN_ENOENT: no such life. -XEN_EINVAL: nothing this kind of set can have. -XEN_ENOSPC: full;
 * sweep, and try again. To add what is there renews it; to remove what is not is -XEN_ESRCH.
 * 'timeout' is in ns; 0: the set's own.
 */
int vfr_sets_add(struct vfr_sets *s, u32 life, const struct vfr_element *e, u64 timeout,
                 u64 now) must_check;
int vfr_sets_remove(struct vfr_sets *s, u32 life, const struct vfr_element *e,
                    u64 now) must_check;
/* The next element among 'budget' slots from *at on; false: none there. *at is then further on. */
bool vfr_sets_next(const struct vfr_sets *s, u32 life, u64 *at, u64 budget, u64 now,
                   struct vfr_element *e, u64 *until);

/* Gives up expired elements among the next 'budget' slots; true: a round is complete. */
bool vfr_sets_sweep(struct vfr_sets *s, u64 now, u64 budget);

/* Is this element, or for nets one that covers it, in the set? 'life' as adopt() gave it. */
bool vfr_sets_has(const struct vfr_sets *s, u32 life, const struct vfr_element *e, u64 now);
/* The same, of what the image lists. */
bool vfr_set_has(const struct vfr_image *image, const struct vfr_set *set,
                 const struct vfr_element *e);

/* 'e' is what this kind of set can have: a prefix without bits behind its end, and so on. */
bool vfr_element_check(u32 kind, const struct vfr_element *e);
/* 'rest' of a slot for it, without what its kind does not count. */
u32 vfr_element_rest(u32 kind, const struct vfr_element *e);

/* The number of the invariant that does not hold, or 0. */
int vfr_sets_check(const struct vfr_sets *s, u64 now);

#endif
