/* One step of a wait for a lock, in the world of events.c. */
#ifndef SERAI_KERN_TLB_H
#define SERAI_KERN_TLB_H

void tlb_relax(void);

#endif
