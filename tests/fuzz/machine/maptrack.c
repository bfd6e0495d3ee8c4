/* The shipped handles of grant mappings, and a walk over those in use. */
#include "guest/maptrack.c"
#include "fuzz/machine/audit.h"

void maptrack_each(struct domain *d, void (*fn)(const struct grant_map *map, void *arg),
                   void *arg)
{
    for (u32 i = 0; d->maptrack && i < d->maptrack->nr_frames * PER_FRAME; i++) {
        const struct grant_map *map = find(d, i);

        REQUIRE(!(map->state & MAP_BUSY));
        if (map->state)
            fn(map, arg);
    }
}
