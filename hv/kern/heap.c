#include "kern/heap.h"
#include "base/string.h"
#include "core/buddy.h"
#include "kern/lock.h"
#include "kern/tlb.h"
#include "x86/paging.h"
#include <xen/xen.h>

struct frame *frames;
u64 max_mfn;

/* The owners of free frames. */
#define OWNER_CLEAN 0x7ffd
#define OWNER_DIRTY 0x7ffe

#define SCRUB_ORDER 2 /* at a time */

static struct buddy clean, dirty; /* heap_lock */

/*
 * Single frames that were given back, a list through their type words as the buddy allocator's:
 * dirty ones that nobody has looked for neighbours of yet.
 */
static u32 singles = BUDDY_NONE; /* heap_lock */
static u64 nr_singles;           /* heap_lock */

/* How many of them one allocation looks at, with the lock held. */
#define MERGE_STEP  64
#define MERGE_STEPS 64

static u64 freed_at; /* flush clock of the last dirty free; heap_lock */
static u64 claimed;  /* free frames set aside; heap_lock */
static struct spinlock heap_lock = SPINLOCK(LOCK_HEAP);

/* Free small objects, by power of two from 16 bytes: a list through their first words. */
#define SLAB_CLASSES 8
static void *slab_free[SLAB_CLASSES]; /* slab_lock */
static struct spinlock slab_lock = SPINLOCK(LOCK_SLAB);

void heap_init(struct frame *table, u64 nr_frames)
{
    frames = table;
    max_mfn = nr_frames;
    buddy_init(&clean, table, nr_frames, OWNER_CLEAN);
    buddy_init(&dirty, table, nr_frames, OWNER_DIRTY);
}

static void add_range(u64 start, u64 end)
{
    /* From the top down: lists are last in, first out, so low addresses are handed out first. */
    while (start < end) {
        unsigned order = 0;

        while (order < BUDDY_MAX_ORDER && !(end & BIT(order)) && end - start >= BIT(order + 1))
            order++;
        end -= BIT(order);
        buddy_free(&dirty, (u32)end, order);
    }
}

void heap_add(u64 start, u64 end)
{
    lock(&heap_lock);
    add_range(start, end);
    freed_at = tlb_clock();
    unlock(&heap_lock);
}

static u64 nr_dirty(void)
{
    return dirty.free + nr_singles;
}

static void push_single(u64 mfn)
{
    frames[mfn] =
        (struct frame){.ref = REF_OWNER(OWNER_DIRTY), .typ = (u64)singles << TYP_SHIFT};
    singles = (u32)mfn;
    nr_singles++;
}

static u32 pop_single(void)
{
    u32 m = singles;

    if (m == BUDDY_NONE)
        return m;
    singles = (u32)(frames[m].typ >> TYP_SHIFT);
    nr_singles--;
    return m;
}

/* Some of the single frames join their neighbours; false: there are none. */
static bool merge_singles(void)
{
    u32 m;

    for (unsigned i = 0; i < MERGE_STEP; i++) {
        m = pop_single();
        if (m == BUDDY_NONE)
            return i;
        buddy_free(&dirty, m, 0);
    }
    return true;
}

static u32 alloc_dirty(unsigned order, u64 limit)
{
    u32 m = buddy_alloc(&dirty, order, limit);

    for (unsigned i = 0; m == BUDDY_NONE && i < MERGE_STEPS && merge_singles(); i++)
        m = buddy_alloc(&dirty, order, limit);
    return m;
}

/* With the lock: a block, paid from the caller's claim as far as that goes. */
static u32 alloc_block(unsigned order, u64 limit, u64 *claim, bool *is_dirty)
{
    u64 n = BIT(order), own = claim ? MIN(*claim, n) : 0;
    u32 m;

    if (heap_free_count() - (claimed - own) < n)
        return BUDDY_NONE;
    m = buddy_alloc(&clean, order, MIN(limit, max_mfn));
    *is_dirty = m == BUDDY_NONE;
    if (*is_dirty)
        m = alloc_dirty(order, MIN(limit, max_mfn));
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
    if (n <= heap_free_count() - (claimed - *claim)) {
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
    bool is_dirty = false;
    u64 stamp;
    u32 m;

    lock(&heap_lock);
    m = alloc_block(order, limit, claim, &is_dirty);
    stamp = freed_at;
    unlock(&heap_lock);
    if (m == BUDDY_NONE)
        return false;
    *mfn = MFN(m);
    if (is_dirty) {
        /* Nobody may keep a translation from the frames' earlier life. */
        tlb_flush_since(stamp, NO_OWNER, true);
        memset(mfn_to_virt(*mfn), 0, PAGE_SIZE << order);
    }
    return true;
}

__init bool heap_take_dirty(unsigned order, mfn_t *mfn)
{
    u32 m;

    lock(&heap_lock);
    m = buddy_alloc(&dirty, order, max_mfn);
    if (m == BUDDY_NONE)
        m = buddy_alloc(&clean, order, max_mfn);
    unlock(&heap_lock);
    *mfn = MFN(m);
    return m != BUDDY_NONE;
}

void heap_free_frames(mfn_t mfn, unsigned order)
{
    lock(&heap_lock);
    if (order)
        buddy_free(&dirty, (u32)mfn.n, order);
    else
        push_single(mfn.n);
    freed_at = tlb_clock();
    unlock(&heap_lock);
}

void heap_free_list(const u64 *list, u64 n)
{
    lock(&heap_lock);
    for (u64 i = 0; i < n; i++)
        push_single(list[i]);
    freed_at = tlb_clock();
    unlock(&heap_lock);
}

u64 heap_free_count(void)
{
    return clean.free + nr_dirty();
}

/* A dirty block of at most 2^SCRUB_ORDER frames, of which nothing was freed since 'stamp'. */
static u32 take_dirty(u64 stamp, unsigned *order)
{
    u32 m = BUDDY_NONE;

    lock(&heap_lock);
    if (freed_at == stamp) {
        *order = SCRUB_ORDER;
        m = buddy_alloc(&dirty, *order, max_mfn);
        if (m == BUDDY_NONE) {
            *order = 0;
            m = alloc_dirty(0, max_mfn);
        }
    }
    unlock(&heap_lock);
    return m;
}

bool heap_scrub_some(void)
{
    u64 stamp = __atomic_load_n(&freed_at, __ATOMIC_RELAXED);
    unsigned order;
    u32 m;

    if (!nr_dirty() || !tlb_settle_since(stamp))
        return false;
    m = take_dirty(stamp, &order);
    if (m == BUDDY_NONE)
        return false;
    memset(mfn_to_virt(MFN(m)), 0, PAGE_SIZE << order);
    lock(&heap_lock);
    buddy_free(&clean, m, order);
    unlock(&heap_lock);
    return true;
}

void *heap_alloc_pages(unsigned order)
{
    mfn_t mfn;
    if (!heap_alloc_frames(order, ~0UL, NULL, &mfn))
        return NULL;
    for (u64 i = 0; i < BIT(order); i++)
        frames[mfn.n + i] = (struct frame){.ref = REF_OWNER(DOMID_XEN) | 1};
    return mfn_to_virt(mfn);
}

void heap_free_pages(void *page, unsigned order)
{
    memset(page, 0, PAGE_SIZE << order);
    lock(&heap_lock);
    buddy_free(&clean, (u32)virt_to_mfn(page).n, order);
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
