/* The part of guest/mmu.h that guest/frame.c calls; frame_model.c plays it. */
#ifndef SERAI_GUEST_MMU_H
#define SERAI_GUEST_MMU_H

#include "guest/domain.h"
#include "guest/frame.h"

int mmu_validate_table(u16 owner, mfn_t mfn, enum frame_type t) must_check;
void mmu_devalidate_table(mfn_t mfn, enum frame_type t);
int mmu_validate_descriptors(mfn_t mfn) must_check;

#endif
