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
