/*
 * The machine's memory map as domain 0 sees it: the firmware's, with what the hypervisor keeps
 * for itself among the devices marked reserved.
 */
#ifndef SERAI_GUEST_MACHINE_MAP_H
#define SERAI_GUEST_MACHINE_MAP_H

#include "core/e820.h"

void machine_map_set(const struct mem_region *map, unsigned nr);
const struct mem_region *machine_map_get(unsigned *nr);
/* Pages of RAM in it. */
u64 machine_map_ram_pages(void);

#endif
