/*
 * VCPUOP_initialise: the state a guest gives one of its vcpus before it runs for the first time.
 */
#ifndef SERAI_HCALL_VCPU_CONTEXT_H
#define SERAI_HCALL_VCPU_CONTEXT_H

#include "guest/domain.h"

/*
 * 'u_ctx' points to a struct vcpu_guest_context. -XEN_EEXIST: it has a context; -XEN_EINVAL: a
 * value the guest may not have; then nothing changed.
 */
s64 vcpu_context_initialise(struct vcpu *target, u64 u_ctx);

#endif
