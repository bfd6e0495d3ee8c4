#include "guest/machine_map.h"
#include "base/string.h"

#define MAX_REGIONS 128

static struct mem_region regions[MAX_REGIONS];
static unsigned nr_regions;

void machine_map_set(const struct mem_region *map, unsigned nr)
{
    nr_regions = MIN(nr, MAX_REGIONS);
    memcpy(regions, map, nr_regions * sizeof(*map));
}

const struct mem_region *machine_map_get(unsigned *nr)
{
    *nr = nr_regions;
    return regions;
}

u64 machine_map_ram_pages(void)
{
    u64 bytes = 0;

    for (unsigned i = 0; i < nr_regions; i++)
        bytes += regions[i].type == 1 ? regions[i].size : 0;
    return bytes >> PAGE_SHIFT;
}
