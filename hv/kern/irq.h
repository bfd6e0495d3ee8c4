/*
 * Interrupt vectors: who gets them, and the work that interrupts leave for later (softirqs).
 *
 * Vectors 0x20-0x2f are where the masked legacy controllers would show up, 0x30-0xdf are given
 * out for devices, the rest is ours.
 */
#ifndef SERAI_KERN_IRQ_H
#define SERAI_KERN_IRQ_H

#include "base/types.h"
#include "x86/percpu.h"
#include <xen/xen.h>

#define VECTOR_DEVICE_FIRST 0x30
#define VECTOR_DEVICE_LAST  0xde
#define VECTOR_PARKED       0xdf /* in lines that are set up but not bound; never unmasked */
#define VECTOR_TIMER        0xf0
#define VECTOR_IPI_FLUSH    0xf1
#define VECTOR_IPI_EVENT    0xf2

enum softirq {
    SOFTIRQ_TIMER,
    SOFTIRQ_CONSOLE,
    SOFTIRQ_VCPU, /* nothing to run: the current vcpu must pass exit_work_from_assembly() */
    NR_SOFTIRQS
};

typedef void (*irq_handler)(void *arg);

/* A free device vector, or -XEN_ENOSPC. */
int irq_alloc_vector(irq_handler handler, void *arg) must_check;
void irq_free_vector(unsigned vector);

/* Fixed vectors of the hypervisor itself. */
void irq_set_handler(unsigned vector, irq_handler handler, void *arg);

void softirq_set_handler(enum softirq s, void (*handler)(void));

static inline void softirq_raise(enum softirq s)
{
    this_cpu()->softirq_pending |= 1U << s;
}

/* Runs what is pending on this CPU; interrupts stay off. */
void softirq_run(void);

/* From the trap path: an interrupt arrived. */
void irq_dispatch(unsigned vector);

#endif
