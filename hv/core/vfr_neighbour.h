/*
 * Stations of the wire: which addresses are on the link, and the Ethernet addresses of those that were
 * asked for.
 *
 *  1. 'net' has 'nets' networks; none has a bit behind its mask.
 *  2. An address lies in the WAYS entries where its hash says, once; one that was never asked for is in
 *     none.
 *  3. 'mac' 0: nobody has answered yet. An answer is believed for VFR_NEIGHBOUR_OLD, asked for again
 *     after half of that, and each second at most.
 *
 * Whoever has answered once is forgotten after those who never did. Pure; the caller serialises.
 */
#ifndef SERAI_CORE_VFR_NEIGHBOUR_H
#define SERAI_CORE_VFR_NEIGHBOUR_H

#include "core/vfr_guard.h"

#define VFR_NEIGHBOURS    512
#define VFR_LINKS         8
#define VFR_NEIGHBOUR_OLD 60000000000l /* ns */

struct vfr_neighbour {
    struct vfr_addr addr;
    uint64_t mac;
    int64_t asked, heard; /* 0: never */
};

struct vfr_neighbours {
    uint64_t seed; /* a secret */
    unsigned nets;
    struct vfr_prefix6 net[VFR_LINKS]; /* IPv4 as ::ffff:a.b.c.d */
    struct vfr_neighbour entry[VFR_NEIGHBOURS];
};

/*
 * The station that has this address; 0: it is not on the link, or nobody knows. '*ask': it is to be asked
 * for now. Without 'ask' (NULL) nothing is changed.
 */
uint64_t vfr_neighbour_find(struct vfr_neighbours *n, struct vfr_addr a, int64_t now,
                            bool *ask);
/* Somebody says that an address is this station's. */
void vfr_neighbour_heard(struct vfr_neighbours *n, struct vfr_addr a, uint64_t mac,
                         int64_t now);

/* 0, or the number of the invariant that does not hold. */
int vfr_neighbours_check(const struct vfr_neighbours *n);

#endif
