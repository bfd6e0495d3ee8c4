/* Parts of memory_op that have a file of their own. */
#ifndef SERAI_HCALL_MEMORY_H
#define SERAI_HCALL_MEMORY_H

#include "guest/domain.h"

/* XENMEM_acquire_resource: domain 0's, of another domain. */
s64 memory_acquire_resource(struct vcpu *v, u64 u_arg);

#endif
