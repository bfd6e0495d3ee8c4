/*
 * Time since boot and one-shot timers.
 *
 * time_now() is nanoseconds since the time-stamp counter was calibrated. Timers are kept per CPU
 * in a sorted list (a handful per vcpu) behind the local APIC's one-shot timer; handlers run from
 * a softirq with interrupts off.
 */
#ifndef SERAI_KERN_TIMER_H
#define SERAI_KERN_TIMER_H

#include "base/types.h"
#include "core/clock.h"

struct timer {
    ns_t expires;
    void (*handler)(void *arg);
    void *arg;
    struct timer *next;
    bool armed;
};

/* Scale of the time-stamp counter, fixed at boot. */
extern struct clock_scale tsc_scale;
extern u64 tsc_at_boot;

void time_init(u64 hz);
ns_t time_now(void);
/* The counter value at which time_now() will be t. */
u64 time_to_tsc(ns_t t);

void timer_init(struct timer *t, void (*handler)(void *arg), void *arg);
/* (Re)arms; a time in the past fires at the next chance. */
void timer_set(struct timer *t, ns_t expires);
void timer_stop(struct timer *t);

/* From the timer interrupt's softirq. */
void timer_softirq(void);

#endif
