/* What several groups share. */
#ifndef GUEST_MORE_H
#define GUEST_MORE_H

#include "guest.h"

/* A memory_op on single frames of our own. */
long frames_op(unsigned op, u64 *list, u64 nr, unsigned flags);

/* True when nothing but its own mapping refers to the page: then it is given away, and another
 * frame takes its place. */
bool unreferenced(void *page);

/* While it is on, events are unmasked and a timer's come every 20 us; 'ticks' counts them. */
void ticking(bool on);
extern u64 ticks;

/* Sleeps, events masked, until a timer's event half a millisecond later. */
void doze(void);

/* False: #GP. */
bool rdmsr(u32 msr, u64 *val);
bool wrmsr(u32 msr, u64 val);
/* As the hypervisor shows it: eax, ebx, ecx, edx. */
void cpuid(u32 leaf, u32 sub, u32 *r);
/* A word of the configuration space of a device on bus 0. */
u32 config(u32 devfn, u32 reg);

#endif
