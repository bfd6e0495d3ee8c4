/*
 * The state of a vcpu as one structure, struct vcpu_guest_context: VCPUOP_initialise and the
 * operations of domain 0 that save and restore.
 *
 * 'u_ctx' points to the structure in the caller's memory. -XEN_EINVAL: a value that a guest may
 * not have; then nothing changed.
 */
#ifndef SERAI_HCALL_VCPU_CONTEXT_H
#define SERAI_HCALL_VCPU_CONTEXT_H

#include "guest/domain.h"

/* What a guest gives one of its vcpus before it runs for the first time. -XEN_EEXIST: it has. */
s64 vcpu_context_initialise(struct vcpu *target, u64 u_ctx);

/*
 * For domain 0. A vcpu that has a context must be stopped, its registers at home; it keeps its
 * page tables and descriptor tables: -XEN_EOPNOTSUPP when the context names others.
 */
s64 vcpu_context_set(struct vcpu *v, u64 u_ctx);

/* -XEN_ENODATA: it never had a context. Stopped, as above. */
s64 vcpu_context_get(const struct vcpu *v, u64 u_ctx);

#endif
