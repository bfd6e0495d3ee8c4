/*
 * Which pages have been written to: a bit per page number.
 *
 *  1. Numbers from 'limit' on are written to always, as far as anybody asks.
 *  2. A page that is noted while others read and clear is seen by this reader or by the next.
 *
 * The bits lie in leaves of a page each, which the owner of the map allocates. Notes are atomic;
 * any context. One reader at a time.
 */
#ifndef SERAI_CORE_DIRTYMAP_H
#define SERAI_CORE_DIRTYMAP_H

#include "base/types.h"

#define DIRTY_LEAF_PAGES (PAGE_SIZE * 8)

struct dirty_map {
    u64 limit; /* a multiple of DIRTY_LEAF_PAGES */
    u32 all;   /* (atomic) everything counts as written to */
    u64 *leaf[];
};

/* Numbers beyond the limit are ignored. */
void dirty_map_note(struct dirty_map *m, u64 page);

/* How many pages one step reads. */
#define DIRTY_WORDS 32
#define DIRTY_STEP  (DIRTY_WORDS * 64)

/*
 * The bits of the DIRTY_STEP pages from 'page' on, a multiple of that, those from 'end' on left
 * out; with 'clear' they are clean afterwards. Returns how many are set.
 */
u32 dirty_map_read(struct dirty_map *m, u64 page, u64 end, bool clear, u64 *words);
/* What was read is dirty after all. */
void dirty_map_return(struct dirty_map *m, u64 page, const u64 *words);

#endif
