#include "core/e820.h"
#include "base/string.h"

static u64 region_end(const struct mem_region *r)
{
    return r->base + r->size;
}

static void remove_at(struct mem_region *map, unsigned *nr, unsigned i)
{
    memmove(map + i, map + i + 1, (*nr - i - 1) * sizeof(*map));
    (*nr)--;
}

/* Move entry i towards the end until the bases are in order again. */
static void sink(struct mem_region *map, unsigned nr, unsigned i)
{
    for (; i + 1 < nr && map[i].base > map[i + 1].base; i++) {
        struct mem_region r = map[i];

        map[i] = map[i + 1];
        map[i + 1] = r;
    }
}

/* Insert so that the bases stay in order; entries before 'from' have smaller ones. */
static void insert(struct mem_region *map, unsigned *nr, unsigned from, struct mem_region r)
{
    memmove(map + from + 1, map + from, (*nr - from) * sizeof(*map));
    map[from] = r;
    (*nr)++;
    sink(map, *nr, from);
}

/* RAM shrinks to whole pages, everything else grows. False: nothing is left. */
static bool align_region(struct mem_region *r)
{
    u64 start = MIN(r->base, E820_LIMIT);
    u64 end = start + MIN(r->size, E820_LIMIT - start);

    if (r->type == E820_HOLE)
        r->type = E820_RESERVED;
    if (start == end)
        return false;
    if (r->type == E820_RAM) {
        start = ROUND_UP(start, PAGE_SIZE);
        end = ROUND_DOWN(end, PAGE_SIZE);
    } else {
        start = ROUND_DOWN(start, PAGE_SIZE);
        end = ROUND_UP(end, PAGE_SIZE);
    }
    r->base = start;
    r->size = end > start ? end - start : 0;
    return r->size != 0;
}

static void align_all(struct mem_region *map, unsigned *nr)
{
    unsigned kept = 0;

    for (unsigned i = 0; i < *nr; i++) {
        if (align_region(&map[i]))
            map[kept++] = map[i];
    }
    *nr = kept;
}

static void sort(struct mem_region *map, unsigned nr)
{
    for (unsigned i = nr; i-- > 0;)
        sink(map, nr, i);
}

/*
 * No entry is free for the part of map[i] above map[i + 1]. RAM may be forgotten, the smaller
 * of the two parts; other memory may be called worse than it is.
 */
static void split_without_room(struct mem_region *map, unsigned *nr, unsigned i)
{
    struct mem_region *a = &map[i], *b = &map[i + 1];
    u64 below = b->base - a->base;
    u64 above = region_end(a) - region_end(b);

    if (a->type != E820_RAM) {
        b->size += above;
        a->size = below;
    } else if (above > below) {
        a->base = region_end(b);
        a->size = above;
        sink(map, *nr, i);
        return;
    } else {
        a->size = below;
    }
    if (!a->size)
        remove_at(map, nr, i);
}

/* map[i] is the weaker one of two that overlap: keep what lies below and above the other. */
static int cut_weaker(struct mem_region *map, unsigned *nr, unsigned max, unsigned i)
{
    struct mem_region *a = &map[i], *b = &map[i + 1];
    struct mem_region above = {.base = region_end(b), .type = a->type};

    if (region_end(a) > region_end(b))
        above.size = region_end(a) - region_end(b);
    if (above.size && a->base == b->base) {
        *a = above;
        sink(map, *nr, i);
        return 0;
    }
    if (above.size && *nr == max) {
        split_without_room(map, nr, i);
        return -XEN_E2BIG;
    }
    a->size = b->base - a->base;
    if (above.size)
        insert(map, nr, i + 2, above);
    if (!a->size)
        remove_at(map, nr, i);
    return 0;
}

/*
 * map[i + 1] begins inside map[i]. Every step takes one doubly claimed piece from somebody
 * and cuts only where some region began or ended, so this comes to an end.
 */
static int resolve(struct mem_region *map, unsigned *nr, unsigned max, unsigned i)
{
    struct mem_region *a = &map[i], *b = &map[i + 1];

    if (a->type < b->type)
        return cut_weaker(map, nr, max, i);
    if (region_end(b) <= region_end(a)) {
        remove_at(map, nr, i + 1);
    } else if (a->type == b->type) {
        a->size = region_end(b) - a->base;
        remove_at(map, nr, i + 1);
    } else {
        b->size = region_end(b) - region_end(a);
        b->base = region_end(a);
        sink(map, *nr, i + 1);
    }
    return 0;
}

static void join_neighbours(struct mem_region *map, unsigned *nr)
{
    unsigned kept = 0;

    for (unsigned i = 0; i < *nr; i++) {
        struct mem_region *last = kept ? &map[kept - 1] : NULL;

        if (last && last->type == map[i].type && region_end(last) == map[i].base)
            last->size += map[i].size;
        else
            map[kept++] = map[i];
    }
    *nr = kept;
}

int e820_sanitise(struct mem_region *map, unsigned *nr, unsigned max)
{
    unsigned i = 0;
    int rc = 0;

    if (*nr > max)
        return -XEN_EINVAL;
    align_all(map, nr);
    sort(map, *nr);
    while (i + 1 < *nr) {
        if (region_end(&map[i]) <= map[i + 1].base) {
            i++;
        } else if (resolve(map, nr, max, i) < 0) {
            rc = -XEN_E2BIG;
        }
    }
    join_neighbours(map, nr);
    return rc;
}

int e820_reserve(struct mem_region *map, unsigned *nr, unsigned max, u64 base, u64 size)
{
    if (*nr >= max)
        return -XEN_ENOSPC;
    map[(*nr)++] = (struct mem_region){.base = base, .size = size, .type = E820_RESERVED};
    return e820_sanitise(map, nr, max);
}

u32 e820_type_at(const struct mem_region *map, unsigned nr, u64 addr)
{
    for (unsigned i = 0; i < nr; i++) {
        if (addr >= map[i].base && addr - map[i].base < map[i].size)
            return map[i].type;
    }
    return E820_HOLE;
}

u64 e820_ram_top(const struct mem_region *map, unsigned nr)
{
    u64 top = 0;

    for (unsigned i = 0; i < nr; i++) {
        if (map[i].type == E820_RAM)
            top = MAX(top, region_end(&map[i]));
    }
    return top;
}

u64 e820_ram_bytes(const struct mem_region *map, unsigned nr)
{
    u64 bytes = 0;

    for (unsigned i = 0; i < nr; i++) {
        if (map[i].type == E820_RAM)
            bytes += map[i].size;
    }
    return bytes;
}

int e820_check(const struct mem_region *map, unsigned nr)
{
    for (unsigned i = 0; i < nr; i++) {
        const struct mem_region *r = &map[i], *next = r + 1;

        if (!r->size || r->base % PAGE_SIZE || r->size % PAGE_SIZE || r->base > E820_LIMIT ||
            r->size > E820_LIMIT - r->base)
            return 2;
        if (i + 1 < nr && (region_end(r) > next->base ||
                           (region_end(r) == next->base && r->type == next->type)))
            return 1;
    }
    return 0;
}
