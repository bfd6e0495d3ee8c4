/*
 * What a domain has mapped of others' grants: a handle for each mapping, by which it is unmapped.
 *
 *  1. A handle in use holds a pin of its grant and a reference to the granter; a mapping for
 *     devices that writes holds a use of the frame as writable besides. The page-table entry
 *     holds what it needs itself (guest/mmu.h) and may be gone before the handle.
 *  2. One vcpu at a time works on a handle: whoever swapped MAP_BUSY in.
 *  3. Pages of handles stay until the domain is freed, so that a list of free ones needs no lock.
 */
#ifndef SERAI_GUEST_MAPTRACK_H
#define SERAI_GUEST_MAPTRACK_H

#include "guest/domain.h"
#include "guest/grant.h"

#define MAPTRACK_FRAMES_LIMIT 8192

/* As a request has them. */
#define MAP_HOST     GNTMAP_host_map /* by a page-table entry */
#define MAP_DEVICE   GNTMAP_device_map
#define MAP_READONLY GNTMAP_readonly
#define MAP_ENTRY    GNTMAP_contains_pte /* which was named by its machine address */
#define MAP_KEPT     (MAP_HOST | MAP_DEVICE | MAP_READONLY | MAP_ENTRY)
#define MAP_BUSY     BIT(31)

struct grant_map {
    struct domain *granter;
    u32 ref;   /* free: the next free one, plus 1 */
    u32 state; /* (atomic) MAP_; 0: free, or not in use yet */
};

/* A handle for a mapping about to be made; NULL: no more, or no memory. */
struct grant_map *maptrack_alloc(struct domain *d, u32 *handle) must_check;
/* It is in use from now on; the pin and the reference to the granter are the handle's. */
void maptrack_commit(struct grant_map *m, struct domain *granter, u32 ref, u32 state);
/* Nothing came of it, or it is unmapped: what it held is given up already. */
void maptrack_free(struct domain *d, u32 handle, struct grant_map *m);

/* For unmapping; NULL: not in use, or somebody else works on it. */
struct grant_map *maptrack_claim(struct domain *d, u32 handle) must_check;

/*
 * Gives up what a claimed handle holds, but the parts of 'state'; frees it when none are left.
 * 'pin' is that of its grant.
 */
void maptrack_drop(struct domain *d, u32 handle, struct grant_map *m,
                   const struct grant_pin *pin, u32 state);

/* Of a domain that does not run any more: all of them. -XEN_EAGAIN: to be called again. */
int maptrack_release(struct domain *d) must_check;
/* With the domain. */
void maptrack_destroy(struct domain *d);

#endif
