/*
 * Which packets a capture wants (abi/vfr_log.h).
 *
 *  1. A filter that vfr_filter_check() refused is asked about nothing.
 *  2. More terms never let more packets through.
 *
 * Pure; any number at once.
 */
#ifndef SERAI_CORE_VFR_FILTER_H
#define SERAI_CORE_VFR_FILTER_H

#include "abi/vfr_log.h"
#include "base/types.h"
#include "core/vfr_packet.h"

/* 0, or -XEN_EINVAL: something is out of range, or says more than its kind has. */
int vfr_filter_check(const struct vfr_filter *f) must_check;

/* A packet parsed as far as that came, of which this became; 'way' is one of VFR_FILTER_IN and OUT. */
bool vfr_filter_wants(const struct vfr_filter *f, const struct vfr_packet *p,
                      enum vfr_reason reason, u8 way);

#endif
