/* The frame table of frame_model.c's world. */
#ifndef SERAI_KERN_HEAP_H
#define SERAI_KERN_HEAP_H

#include "base/types.h"
#include "core/frame.h"

extern struct frame *frames;
extern u64 max_mfn;

void heap_free_frames(mfn_t mfn, unsigned order);

#endif
