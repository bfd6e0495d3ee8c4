/*
 * The sets that rules ask: what a ruleset's image lists for good, and what is added at run time,
 * which outlives the ruleset as long as its successor has a set of that id and kind.
 *
 * The elements of all sets share one table; each set has a life in it:
 *  1. A slot counts while its 'owner' is a life in use and its 'until' has not come.
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
    u32 owner; /* 0: free; else a number never used before, times VFR_SETS_MAX, plus the index */
    u32 id, kind;
    u32 nr, size;
    u64 timeout; /* ns; VFR_FOREVER */
    u64 lengths[3];
};

struct vfr_sets {
    struct vfr_set_slot *slots;
    u64 nr_slots; /* a power of two */
    u64 secret;
    u32 last_owner;
    u64 swept; /* slots so far, of this round */
    struct vfr_life lives[VFR_SETS_MAX];
};

/* 'nr' slots, all 0, a power of two and at least VFR_SET_PROBE; 'secret' is random. */
void vfr_sets_init(struct vfr_sets *s, struct vfr_set_slot *slots, u64 nr, u64 secret);

/*
 * A checked image's sets get lives; of[set] is 1 + the life's index, 0 for a set that takes no
 * elements at run time. -XEN_ENOSPC, and nothing changed: too many, or too big for the table.
 */
int vfr_sets_adopt(struct vfr_sets *s, const struct vfr_image *image,
                   u16 of[VFR_SETS_MAX]) must_check;
/* Lives that this image does not need end: there is no way back to an image that did. */
void vfr_sets_retain(struct vfr_sets *s, const struct vfr_image *image);

/*
 * -XEN_ENOENT: no such life. -XEN_EINVAL: nothing this kind of set can have. -XEN_ENOSPC: full;
 * sweep, and try again. To add what is there renews it; to remove what is not is -XEN_ESRCH.
 */
int vfr_sets_add(struct vfr_sets *s, u32 life, const struct vfr_element *e, u64 now) must_check;
int vfr_sets_remove(struct vfr_sets *s, u32 life, const struct vfr_element *e,
                    u64 now) must_check;

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
