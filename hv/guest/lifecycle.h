/*
 * How domains and their vcpus stop, go on and end. See guest/domain.h for where a vcpu stops.
 *
 * A domain that is destroyed goes through three states: STOP_DYING (no vcpu enters the guest any
 * more, nothing new can be had from it), apart (it holds nothing; frames that others still map
 * keep it as a name), and gone. Domain 0 learns of shutdown, apart and gone by VIRQ_DOM_EXC.
 *
 * Waiting for vcpus to stop sleeps; no lock may be held. One control operation per domain is
 * under way at a time: domain_control_begin().
 */
#ifndef SERAI_GUEST_LIFECYCLE_H
#define SERAI_GUEST_LIFECYCLE_H

#include "guest/domain.h"

/* Ends the run of a domain (SHUTDOWN_ of xen/sched.h); for domain 0 the machine follows. */
void lifecycle_shutdown(struct domain *d, u8 reason);
/* After SHUTDOWN_suspend, or any other: the vcpus go on where they stopped. */
int lifecycle_resume(struct domain *d) must_check;

/*
 * One more pause; with 'wait', its vcpus have all stopped and their registers are in struct vcpu.
 * -XEN_EINVAL: too many pauses. -XEN_EAGAIN: not paused, the caller has news to take first, and
 * calls again.
 */
int lifecycle_pause(struct domain *d, bool wait) must_check;
/* -XEN_EINVAL: it was not paused. */
int lifecycle_unpause(struct domain *d) must_check;

/* All vcpus have stopped, for good or for now, or are on their last steps to it. */
bool lifecycle_is_stopped(const struct domain *d);

/*
 * Takes a domain apart; long. -XEN_EAGAIN: the caller has news to take first, and calls again.
 * 0: done, or somebody else did it.
 */
int lifecycle_destroy(struct domain *d) must_check;

void lifecycle_vcpu_up(struct vcpu *v);
/* A running one goes on to the border first. */
void lifecycle_vcpu_down(struct vcpu *v);

/* On the way to the guest: returns when there is no reason to stop any more. */
void lifecycle_stop_point(struct vcpu *v);

/* For who changes a domain from outside, from domain 0: alone until the end. */
void lifecycle_control_begin(struct domain *d);
void lifecycle_control_end(struct domain *d);

/* At boot. */
void lifecycle_init(void);

#endif
