/* The CPUs of events.c and the interrupts they take. */
#ifndef SERAI_KERN_IRQ_H
#define SERAI_KERN_IRQ_H

#include "base/types.h"

struct cpu {
    unsigned id;
};

extern unsigned nr_cpus;

struct cpu *this_cpu(void);
u64 irq_count(unsigned cpu);
void irq_poke(unsigned cpu);

#endif
