/*
 * Bitmaps of the toolstack's (struct xenctl_bitmap: an address and a number of bits) from and to
 * one word: sets of CPUs or nodes. No lock may be held.
 */
#ifndef SERAI_HCALL_BITMAP_H
#define SERAI_HCALL_BITMAP_H

#include "base/types.h"
#include <xen/xen.h>

/* Bits beyond the guest's bitmap are 0 in '*bits', those beyond 63 are not looked at. */
int bitmap_from_guest(u64 *bits, const struct xenctl_bitmap *map) must_check;
/* Fills the guest's bitmap, of whatever length; bits that do not fit in are left out. */
int bitmap_to_guest(const struct xenctl_bitmap *map, u64 bits) must_check;

#endif
