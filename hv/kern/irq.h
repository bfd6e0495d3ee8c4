/*
 * Interrupt vectors: who gets them, and the work that interrupts leave for later (softirqs).
 */
#ifndef SERAI_KERN_IRQ_H
#define SERAI_KERN_IRQ_H

#include "base/types.h"
#include "kern/vectors.h"
#include "x86/percpu.h"
#include <xen/xen.h>

enum softirq {
    SOFTIRQ_TIMER,
    SOFTIRQ_CONSOLE,
    SOFTIRQ_LOG,    /* the log has new text */
    SOFTIRQ_DOMAIN, /* domains that nobody refers to any more */
    SOFTIRQ_SCHED,  /* the CPU may change hands in it: last of those that run */
    SOFTIRQ_VCPU,   /* nothing to run: the current vcpu must pass exit_work_from_assembly() */
    NR_SOFTIRQS
};

typedef void (*irq_handler)(void *arg);

/* A free device vector, or -XEN_ENOSPC. */
int irq_alloc_vector(irq_handler handler, void *arg) must_check;
/* Afterwards no CPU runs the handler. The caller holds no lock that the handler takes. */
void irq_free_vector(unsigned vector);

/* Fixed vectors of the hypervisor itself. */
void irq_set_handler(unsigned vector, irq_handler handler, void *arg);

void softirq_set_handler(enum softirq s, void (*handler)(void));

static inline void softirq_raise(enum softirq s)
{
    this_cpu()->softirq_pending |= 1U << s;
}

/*
 * Runs what is pending on this CPU; interrupts stay off. A vcpu may lose its CPU here and come
 * back on another one.
 */
void softirq_run(void);

/* How many interrupts a CPU has taken, wherever it was, and one more for another CPU. */
u64 irq_count(unsigned cpu);
void irq_poke(unsigned cpu);

/* From the trap path: an interrupt arrived. */
void irq_dispatch(unsigned vector);

#endif
