/*
 * A vcpu's debug registers: what it may set, and when they are in the CPU's. They are loaded
 * while the vcpu runs and has breakpoints on (guest/switch.c); guests read struct vcpu's copy.
 */
#ifndef SERAI_GUEST_DEBUGREG_H
#define SERAI_GUEST_DEBUGREG_H

#include "guest/domain.h"

/* -XEN_EPERM: a value the guest may not have; -XEN_EINVAL: no such register. */
int debugreg_check(u64 reg, u64 val) must_check;
/* A value that was checked. */
void debugreg_set(struct vcpu *v, unsigned reg, u64 val);

/* All eight at once, as in struct vcpu_guest_context; 4 and 5 are ignored. */
bool debugreg_all_ok(const u64 *dr);
void debugreg_set_all(struct vcpu *v, const u64 *dr);

#endif
