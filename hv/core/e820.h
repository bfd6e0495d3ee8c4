/*
 * The machine's memory map.
 *
 * A map is an array of regions owned by the caller. After e820_sanitise():
 *   1. regions are sorted by base and disjoint, no two neighbours that touch have one type;
 *   2. every region is page-aligned, non-empty and ends at or below E820_LIMIT;
 *   3. a byte that any input region called non-RAM is not RAM;
 *   4. where input regions overlap, the higher type number wins.
 * Pure; the caller serialises. The other functions want a sanitised map.
 */
#ifndef SERAI_CORE_E820_H
#define SERAI_CORE_E820_H

#include "base/types.h"

#define E820_HOLE     0 /* e820_type_at(): nobody spoke for this address */
#define E820_RAM      1
#define E820_RESERVED 2
#define E820_ACPI     3 /* RAM once the ACPI tables are no longer needed */
#define E820_NVS      4
#define E820_UNUSABLE 5

#define E820_LIMIT (1ULL << 52)

struct mem_region {
    u64 base;
    u64 size;
    u32 type;
};

/*
 * Bring a raw map into the form above. -XEN_EINVAL: *nr is above max, nothing changed.
 * -XEN_E2BIG: splitting needed more than max entries; invariants 1 to 3 hold all the same, some
 * RAM was left out or some non-RAM carries a stronger type than it had.
 */
int e820_sanitise(struct mem_region *map, unsigned *nr, unsigned max) must_check;

/*
 * Make the RAM in [base, base + size) reserved, outward to whole pages, also where the map had
 * nothing. Errors as e820_sanitise(); -XEN_ENOSPC: no entry free, nothing changed.
 */
int e820_reserve(struct mem_region *map, unsigned *nr, unsigned max, u64 base,
                 u64 size) must_check;

u32 e820_type_at(const struct mem_region *map, unsigned nr, u64 addr);

/* First byte above all RAM; 0 without RAM. */
u64 e820_ram_top(const struct mem_region *map, unsigned nr);

u64 e820_ram_bytes(const struct mem_region *map, unsigned nr);

/* The invariants 1 and 2: 0, or the number of the broken one. */
int e820_check(const struct mem_region *map, unsigned nr);

#endif
