/*
 * Time as a guest sees it: the scale of the time-stamp counter in vcpu_info, the wall clock in
 * shared_info, run-state areas, and the one-shot timer.
 *
 * The counter runs at one rate for all CPUs and the scale never changes, so the published values
 * stay true for good: they are written when a vcpu_info comes into use.
 */
#ifndef SERAI_GUEST_VTIME_H
#define SERAI_GUEST_VTIME_H

#include "guest/domain.h"

void vtime_vcpu_init(struct vcpu *v);
/* Writes the time record into the vcpu's current vcpu_info: whoever may write that. */
void vtime_publish_info(struct vcpu *v);
/* There and into its registered copy; from its own domain. */
void vtime_publish(struct vcpu *v);
/* The machine's wall clock: seconds and nanoseconds since 1970 at hypervisor time 'at'. */
void vtime_set_wallclock(u64 secs, u32 nsecs, ns_t at);
/* Nanoseconds since 1970 at hypervisor time 'now'. */
u64 vtime_utc(ns_t now);
/* Tells a domain, whose clock differs by its time_offset. */
void vtime_publish_wallclock(struct domain *d);

int vtime_set_singleshot(struct vcpu *v, ns_t deadline) must_check;
void vtime_stop_singleshot(struct vcpu *v);
int vtime_set_periodic(struct vcpu *v, ns_t period) must_check;
void vtime_stop_periodic(struct vcpu *v);

/*
 * The vcpu goes into another run-state (RUNSTATE_ of xen/vcpu.h), now; the area that the guest
 * registered is brought up to date, unless nobody can see it. Only on the CPU that runs or switches
 * the vcpu.
 */
void vtime_runstate_set(struct vcpu *v, int state, ns_t now);
/* A vcpu that went down while it waited for a CPU is not runnable any more: any CPU. */
void vtime_runstate_down(struct vcpu *v);
/* The run-state with its times up to now, of any vcpu. */
void vtime_runstate_get(const struct vcpu *v, struct vcpu_runstate_info *r);
/* Writes the registered area, an address in the page table 'root'. */
void vtime_runstate_publish(const struct vcpu *v, mfn_t root);

#endif
