/* What kern/tlb.h needs of a CPU, in the world of explorer.c. */
#ifndef SERAI_X86_CPU_H
#define SERAI_X86_CPU_H

#include "base/types.h"

u64 read_cr3(void);
/* A complete flush of the CPU's translations. */
void write_cr3(u64 cr3);
void cpu_relax(void);

#endif
