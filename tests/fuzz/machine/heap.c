/* The shipped heap, with a count of what it gave out and the checks that need its insides. */
#define heap_alloc       real_heap_alloc
#define heap_free        real_heap_free
#define heap_alloc_pages real_heap_alloc_pages
#define heap_free_pages  real_heap_free_pages
#include "kern/heap.c"
#undef heap_alloc
#undef heap_free
#undef heap_alloc_pages
#undef heap_free_pages
#include "fuzz/machine/machine.h"

static u64 slab_pages, objects_in_use;

void *heap_alloc_pages(unsigned order)
{
    return real_heap_alloc_pages(order);
}

void heap_free_pages(void *page, unsigned order)
{
    for (u64 i = 0; i < BIT(order); i++) {
        const struct frame *f = &frames[virt_to_mfn(page).n + i];

        REQUIRE(ref_owner(f->ref) == DOMID_XEN && ref_count(f->ref) == 1);
        REQUIRE(!(f->typ & TYP_INUSE));
    }
    real_heap_free_pages(page, order);
}

void *heap_alloc(size_t size)
{
    bool cuts = !slab_free[slab_class(size)];
    void *p = real_heap_alloc(size);

    objects_in_use += p != NULL;
    slab_pages += p && cuts;
    return p;
}

void heap_free(void *p, size_t size)
{
    objects_in_use--;
    /* What is used after this is not what it was. */
    memset(p, 0xdb, 16UL << slab_class(size));
    real_heap_free(p, size);
}

u64 heap_pages_in_use(void)
{
    u64 n = 0;

    for (u64 i = 0; i < NR_FRAMES; i++)
        n += ref_owner(frames[i].ref) == DOMID_XEN;
    return n - slab_pages;
}

u64 heap_objects_in_use(void)
{
    return objects_in_use;
}

bool heap_is_free(const struct frame *f)
{
    return ref_owner(f->ref) == OWNER_CLEAN || ref_owner(f->ref) == OWNER_DIRTY;
}

void heap_audit(void)
{
    u64 n = 0, listed = 0;

    REQUIRE(buddy_check(&clean) && buddy_check(&dirty));
    for (u32 m = singles; m != BUDDY_NONE; m = (u32)(frames[m].typ >> TYP_SHIFT)) {
        REQUIRE(m < NR_FRAMES && ref_owner(frames[m].ref) == OWNER_DIRTY);
        REQUIRE(listed++ < nr_singles);
    }
    REQUIRE(listed == nr_singles);
    for (u64 i = 0; i < NR_FRAMES; i++)
        n += heap_is_free(&frames[i]);
    REQUIRE(n == heap_free_count());
    REQUIRE(claimed <= n);
}

/* Without the sanitizers: it reads all of memory. */
__attribute__((no_sanitize("address", "undefined"))) static bool is_zero(const u64 *page)
{
    u64 all = 0;

    for (unsigned i = 0; i < PAGE_SIZE / 8; i++)
        all |= page[i];
    return !all;
}

void heap_audit_clean(void)
{
    for (u64 i = 0; i < NR_FRAMES; i++)
        REQUIRE(ref_owner(frames[i].ref) != OWNER_CLEAN || is_zero(mfn_to_virt(MFN(i))));
}
