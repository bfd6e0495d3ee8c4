/*
 * The machine-to-physical table as domain 0's tools see it: a list of frames, of which each
 * starts 2 MiB of the table in one piece (XENMEM_machphys_mfn_list), to be mapped read-only in the
 * name of DOMID_XEN.
 *
 * The table itself is not in pieces: it has memory only where there is RAM. So the list names
 * frames that do not exist, the last ones that a page-table entry can name, and mapping one of
 * them means the page of the table that it stands for.
 */
#ifndef SERAI_GUEST_M2P_LIST_H
#define SERAI_GUEST_M2P_LIST_H

#include "guest/frame.h"

/* At boot, after the table exists: its pages may be mapped by others from then on. */
void m2p_list_init(void);

/* How many entries the list has, and entry i. */
u64 m2p_list_length(void);
mfn_t m2p_list_entry(u64 i);

/* A frame of the list becomes the one it stands for, another one stays what it is. */
mfn_t m2p_list_resolve(mfn_t mfn);

#endif
