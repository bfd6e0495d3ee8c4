/* The flush clock of frame_model.c's one CPU. */
#ifndef SERAI_KERN_TLB_H
#define SERAI_KERN_TLB_H

#include "base/types.h"

#define NO_OWNER 0xffffffffU

u64 tlb_clock(void);
void tlb_flush_since(u64 stamp, u32 owner, bool tables);

/* One CPU: who waits here waits for ever. */
void tlb_relax(void);

#endif
