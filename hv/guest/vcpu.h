/*
 * Making a vcpu out of its parts.
 */
#ifndef SERAI_GUEST_VCPU_H
#define SERAI_GUEST_VCPU_H

#include "guest/domain.h"

/* VCPU_EMPTY, and part of the domain for good; NULL: no memory. */
struct vcpu *vcpu_create(struct domain *d, unsigned id);

/* Gives up what a stopped vcpu holds of its domain's: tables, descriptors, its info page. */
void vcpu_reset(struct vcpu *v);
/* Its memory; it has stopped for good and holds nothing. */
void vcpu_free(struct vcpu *v);

/* The registers with which a vcpu enters the guest for the first time; it must be VCPU_FILLING
 * or not known to anybody yet. */
void vcpu_set_entry(struct vcpu *v, const struct cpu_user_regs *regs);

/* The registers that one at the border enters the guest with, up to ss: the rest is not there. */
struct cpu_user_regs *vcpu_frame(const struct vcpu *v);

#endif
