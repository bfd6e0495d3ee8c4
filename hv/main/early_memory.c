#include "main/early_memory.h"
#include "base/assert.h"
#include "base/string.h"
#include "kern/heap.h"
#include "kern/panic.h"
#include "x86/paging.h"

#define MAX_TAKEN 64

extern u8 image_start[], image_end[];

struct range {
    u64 start, end;
};

static const struct boot_info *info __initdata;
static struct range taken[MAX_TAKEN] __initdata; /* sorted by start, disjoint or touching */
static unsigned nr_taken __initdata;

static __init void take(u64 start, u64 end)
{
    unsigned i;

    start = ROUND_DOWN(start, PAGE_SIZE);
    end = ROUND_UP(end, PAGE_SIZE);
    if (start >= end)
        return;
    /* Allocations go downwards, so most extend a range at its lower end. */
    for (i = 0; i < nr_taken && taken[i].start < start; i++)
        ;
    if (i < nr_taken && end == taken[i].start) {
        taken[i].start = start;
        return;
    }
    if (nr_taken == MAX_TAKEN)
        cannot_start("memory is too fragmented: fewer boot modules may help");
    memmove(&taken[i + 1], &taken[i], (nr_taken - i) * sizeof(taken[0]));
    taken[i] = (struct range){start, end};
    nr_taken++;
}

__init void early_memory_init(const struct boot_info *boot)
{
    info = boot;
    take(virt_to_phys(image_start), virt_to_phys(image_end));
    for (unsigned i = 0; i < boot->nr_modules; i++)
        take(boot->modules[i].start, boot->modules[i].end);
}

/* The highest place of this size in [low, high), 0 when there is none. */
static __init u64 find_place(u64 low, u64 high, u64 size, u64 align)
{
    unsigned i = nr_taken;

    for (;;) {
        u64 at;

        if (high < low || high - low < size)
            return 0;
        at = ROUND_DOWN(high - size, align);
        if (at < low)
            return 0;
        while (i && taken[i - 1].start >= at + size)
            i--;
        if (!i || taken[i - 1].end <= at)
            return at;
        high = taken[i - 1].start;
        i--;
    }
}

__init u64 early_alloc(u64 size, u64 align)
{
    for (unsigned i = info->nr_regions; i > 0; i--) {
        const struct mem_region *r = &info->regions[i - 1];
        u64 at;

        if (r->type != 1 || r->base >= GIB(4))
            continue;
        at = find_place(MAX(r->base, MIB(1)), MIN(r->base + r->size, GIB(4)), size, align);
        if (!at)
            continue;
        take(at, at + size);
        memset((void *)at, 0, size);
        return at;
    }
    cannot_start(
        "too little memory: the hypervisor itself needs %lu KiB more in one piece below "
        "4 GiB; give the machine more",
        size >> 10);
}

__init void early_memory_give_to_heap(void)
{
    for (unsigned i = info->nr_regions; i > 0; i--) {
        const struct mem_region *r = &info->regions[i - 1];
        u64 low = MAX(r->base, MIB(1)), high = r->base + r->size;

        if (r->type != 1)
            continue;
        for (unsigned t = nr_taken; t > 0; t--) {
            const struct range *k = &taken[t - 1];

            if (k->start >= high || k->end <= low)
                continue;
            if (k->end < high)
                heap_add(k->end >> PAGE_SHIFT, high >> PAGE_SHIFT);
            high = k->start;
        }
        if (low < high)
            heap_add(low >> PAGE_SHIFT, high >> PAGE_SHIFT);
    }
}

__init u64 early_trampoline_page(void)
{
    /* Above the interrupt vectors and BIOS data, below what loaders use for themselves. */
    for (u64 page = 0x1000; page < 0x90000; page += PAGE_SIZE)
        if (e820_type_at(info->regions, info->nr_regions, page) == 1)
            return page;
    cannot_start("the firmware leaves no memory below 1 MiB for starting the other CPUs");
}

u64 early_alloc_from_heap(u64 size, u64 align)
{
    void *page = heap_alloc_pages(0);

    BUG_ON(!page || size != PAGE_SIZE || align > PAGE_SIZE);
    return virt_to_phys(page);
}
