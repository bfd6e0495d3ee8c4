/*
 * Machine memory: frames from the buddy allocator, and small objects cut out of them.
 *
 * Frames that come back carry no secrets forward, and nobody keeps a translation to them: a freed
 * frame is dirty until all CPUs have flushed since and it is zeroed, which idle CPUs do. Clean
 * ones are handed out first; a dirty one that has to be is cleaned on the way.
 */
#ifndef SERAI_KERN_HEAP_H
#define SERAI_KERN_HEAP_H

#include "base/types.h"
#include "core/frame.h"

extern struct frame *frames; /* indexed by machine frame number */
extern u64 max_mfn;          /* frames[] has this many entries */

void heap_init(struct frame *table, u64 nr_frames);
/* Gives [start, end) (frame numbers) to the heap, dirty. */
void heap_add(u64 start, u64 end);
/* Boot, for domain 0: 2^order frames with whatever is in them. */
bool heap_take_dirty(unsigned order, mfn_t *mfn) must_check;

/*
 * 2^order zeroed frames below frame number 'limit' (~0: anywhere); false when there are none. Those that
 * others have claimed are left to them; 'claim' (NULL: none) is the caller's own, which shrinks.
 */
bool heap_alloc_frames(unsigned order, u64 limit, u64 *claim, mfn_t *mfn) must_check;
/* Sets n frames aside in '*claim', instead of what it was; -XEN_ENOMEM: there are not so many. */
int heap_claim(u64 *claim, u64 n) must_check;
u64 heap_claimed_count(void);
void heap_free_frames(mfn_t mfn, unsigned order);
/* Single frames by their numbers; a few dozen, with the heap locked all the time. */
void heap_free_list(const u64 *list, u64 n);
u64 heap_free_count(void);

/* An idle CPU's share of the cleaning: a few pages; false: nothing to do, or not now. */
bool heap_scrub_some(void);

/* The smallest order of pages that hold so many bytes. */
static inline unsigned heap_order(u64 bytes)
{
    return bytes <= PAGE_SIZE ? 0 : 64 - (unsigned)__builtin_clzl((bytes - 1) >> PAGE_SHIFT);
}

/* Pages for the hypervisor itself, zeroed, owned by DOMID_XEN; NULL when out of memory. */
void *heap_alloc_pages(unsigned order) must_check;
void heap_free_pages(void *page, unsigned order);

/* Small zeroed objects of 16 to 2048 bytes. */
void *heap_alloc(size_t size) must_check;
void heap_free(void *p, size_t size);

#endif
