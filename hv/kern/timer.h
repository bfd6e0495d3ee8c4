/*
 * Time since boot and one-shot timers.
 *
 * time_now() is nanoseconds since the time-stamp counter was calibrated. Each CPU keeps a sorted
 * list of timers (a handful per vcpu) behind its local APIC's one-shot timer. A timer is put on
 * the list of the CPU that sets it, and its handler runs there from a softirq, interrupts off,
 * no lock held.
 *
 * A timer is set and stopped by one owner at a time, on any CPU, and by its own handler.
 */
#ifndef SERAI_KERN_TIMER_H
#define SERAI_KERN_TIMER_H

#include "base/types.h"
#include "core/clock.h"

struct timer {
    ns_t expires;
    void (*handler)(void *arg);
    void *arg;
    struct timer *next; /* (the list's lock) */
    u32 cpu;            /* whose list it is or was on; changed under that list's lock */
    bool armed;         /* (the list's lock) */
};

/* Scale of the time-stamp counter, fixed at boot. */
extern struct clock_scale tsc_scale;
extern u64 tsc_at_boot;

void time_init(u64 hz);
ns_t time_now(void);

void timer_init(struct timer *t, void (*handler)(void *arg), void *arg);
/* (Re)arms; a time in the past fires at the next chance. */
void timer_set(struct timer *t, ns_t expires);
/* Afterwards the handler neither runs nor will run, unless the handler itself calls this. */
void timer_stop(struct timer *t);

/* From the timer interrupt's softirq. */
void timer_softirq(void);

#endif
