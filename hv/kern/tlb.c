#include "kern/tlb.h"

/* Above every CPU's initial flushed_at, so that a first stamp always asks for a flush. */
u64 flush_clock = 1;
