/*
 * Whoever remembers where an address is (struct vif_way) asks again when this has changed. What has
 * changed is there first: routes, the uplink, shared addresses.
 */
#ifndef SERAI_SVC_VFR_WAYS_H
#define SERAI_SVC_VFR_WAYS_H

#include "base/types.h"

extern u64 vfr_ways_version; /* (atomic) never 0 */

static inline void vfr_ways_changed(void)
{
    __atomic_add_fetch(&vfr_ways_version, 1, __ATOMIC_SEQ_CST);
}

#endif
