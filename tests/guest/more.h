/* What the attack groups and the ABI groups share. */
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

#endif
