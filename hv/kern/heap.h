/*
 * Machine memory: frames from the buddy allocator, and small objects cut out of them.
 *
 * Frames that come back carry no secrets forward: heap_free_frames() scrubs them, and the next
 * allocation flushes translations that the old owner may still have cached.
 */
#ifndef SERAI_KERN_HEAP_H
#define SERAI_KERN_HEAP_H

#include "base/types.h"
#include "core/frame.h"

extern struct frame *frames; /* indexed by machine frame number */
extern u64 max_mfn;          /* frames[] has this many entries */

void heap_init(struct frame *table, u64 nr_frames);
/* Boot: gives [start, end) (frame numbers) to the heap. */
void heap_add(u64 start, u64 end);

/*
 * 2^order frames below frame number 'limit' (~0: anywhere); false when there are none. Those that
 * others have claimed are left to them; 'claim' (NULL: none) is the caller's own, which shrinks.
 */
bool heap_alloc_frames(unsigned order, u64 limit, u64 *claim, mfn_t *mfn) must_check;
/* Sets n frames aside in '*claim', instead of what it was; -XEN_ENOMEM: there are not so many. */
int heap_claim(u64 *claim, u64 n) must_check;
u64 heap_claimed_count(void);
/* The frames are zeroed here. */
void heap_free_frames(mfn_t mfn, unsigned order);
u64 heap_free_count(void);

/* Pages for the hypervisor itself, zeroed, owned by DOMID_XEN; NULL when out of memory. */
void *heap_alloc_pages(unsigned order) must_check;
void heap_free_pages(void *page, unsigned order);

/* Small zeroed objects of 16 to 2048 bytes. */
void *heap_alloc(size_t size) must_check;
void heap_free(void *p, size_t size);

#endif
