/*
 * Setting a vcpu's handlers and stack: for the hypercalls that do one of these
 * for the caller, and for VCPUOP_initialise, which does all of it for a vcpu that does not run.
 */
#ifndef SERAI_HCALL_TRAPS_H
#define SERAI_HCALL_TRAPS_H

#include "guest/domain.h"

/* The address 0 takes the gate away; others must be canonical. */
void traps_set_gate(struct vcpu *v, u8 vector, u64 address, u8 flags);

/* Event, failsafe and system-call handlers in the older form, all in one; canonical. */
struct trap_callbacks {
    u64 event, failsafe, syscall;
    bool failsafe_masks_events, syscall_masks_events;
};
void traps_set_callbacks(struct vcpu *v, const struct trap_callbacks *c);

bool traps_stack_ok(u64 sp);
void traps_set_stack(struct vcpu *v, u64 ss, u64 sp);

#endif
