#include "kern/heap.h"
#include "base/string.h"
#include "core/buddy.h"
#include "kern/lock.h"
#include "kern/tlb.h"
#include "x86/paging.h"
#include <xen/xen.h>

struct frame *frames;
u64 max_mfn;

static struct buddy buddy; /* heap_lock */
static u64 freed_at;       /* flush clock of the last free; heap_lock */
static u64 claimed;        /* free frames set aside; heap_lock */
static struct spinlock heap_lock = SPINLOCK(LOCK_HEAP);

/* Free small objects, by power of two from 16 bytes: a list through their first words. */
#define SLAB_CLASSES 8
static void *slab_free[SLAB_CLASSES]; /* slab_lock */
static struct spinlock slab_lock = SPINLOCK(LOCK_SLAB);

void heap_init(struct frame *table, u64 nr_frames)
{
    frames = table;
    max_mfn = nr_frames;
    buddy_init(&buddy, table, nr_frames);
}

void heap_add(u64 start, u64 end)
{
    /* From the top down: lists are last in, first out, so low addresses are handed out first. */
    while (start < end) {
        unsigned order = 0;

        while (order < BUDDY_MAX_ORDER && !(end & BIT(order)) && end - start >= BIT(order + 1))
            order++;
        end -= BIT(order);
        buddy_free(&buddy, (u32)end, order);
    }
}

/* With the lock: the block, paid from the caller's claim as far as that goes. */
static u32 alloc_block(unsigned order, u64 limit, u64 *claim)
{
    u64 n = BIT(order), own = claim ? MIN(*claim, n) : 0;
    u32 m;

    if (buddy.free - (claimed - own) < n)
        return BUDDY_NONE;
    m = buddy_alloc(&buddy, order, MIN(limit, max_mfn));
    if (m != BUDDY_NONE && own) {
        *claim -= own;
        claimed -= own;
    }
    return m;
}

int heap_claim(u64 *claim, u64 n)
{
    int rc = -XEN_ENOMEM;

    lock(&heap_lock);
    if (n <= buddy.free - (claimed - *claim)) {
        claimed += n - *claim;
        *claim = n;
        rc = 0;
    }
    unlock(&heap_lock);
    return rc;
}

u64 heap_claimed_count(void)
{
    return claimed;
}

bool heap_alloc_frames(unsigned order, u64 limit, u64 *claim, mfn_t *mfn)
{
    u32 m;
    u64 stamp;

    lock(&heap_lock);
    m = alloc_block(order, limit, claim);
    stamp = freed_at;
    unlock(&heap_lock);
    if (m == BUDDY_NONE)
        return false;
    /* Nobody may keep a translation from the frames' earlier life. */
    tlb_flush_since(stamp, NO_OWNER, true);
    *mfn = MFN(m);
    return true;
}

void heap_free_frames(mfn_t mfn, unsigned order)
{
    memset(mfn_to_virt(mfn), 0, PAGE_SIZE << order);
    lock(&heap_lock);
    buddy_free(&buddy, (u32)mfn.n, order);
    freed_at = tlb_clock();
    unlock(&heap_lock);
}

u64 heap_free_count(void)
{
    return buddy.free;
}

void *heap_alloc_pages(unsigned order)
{
    mfn_t mfn;
    void *page;

    if (!heap_alloc_frames(order, ~0UL, NULL, &mfn))
        return NULL;
    for (u64 i = 0; i < BIT(order); i++)
        frames[mfn.n + i] = (struct frame){.ref = REF_OWNER(DOMID_XEN) | 1};
    page = mfn_to_virt(mfn);
    memset(page, 0, PAGE_SIZE << order);
    return page;
}

void heap_free_pages(void *page, unsigned order)
{
    memset(page, 0, PAGE_SIZE << order);
    lock(&heap_lock);
    buddy_free(&buddy, (u32)virt_to_mfn(page).n, order);
    unlock(&heap_lock);
}

static unsigned slab_class(size_t size)
{
    unsigned c = 0;

    while ((16UL << c) < size)
        c++;
    return c;
}

void *heap_alloc(size_t size)
{
    unsigned c = slab_class(size);
    void *p;

    BUG_ON(c >= SLAB_CLASSES);
    lock(&slab_lock);
    p = slab_free[c];
    if (p)
        slab_free[c] = *(void **)p;
    unlock(&slab_lock);
    if (!p) {
        u8 *page = heap_alloc_pages(0);

        if (!page)
            return NULL;
        for (size_t off = 16UL << c; off < PAGE_SIZE; off += 16UL << c)
            heap_free(page + off, size);
        p = page;
    }
    memset(p, 0, 16UL << c);
    return p;
}

void heap_free(void *p, size_t size)
{
    unsigned c = slab_class(size);

    lock(&slab_lock);
    *(void **)p = slab_free[c];
    slab_free[c] = p;
    unlock(&slab_lock);
}
