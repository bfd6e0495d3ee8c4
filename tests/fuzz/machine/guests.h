/*
 * The guests of the machine: what their kernels and domain 0's toolstack would do, as functions.
 *
 * A guest's pages 0 and 1 (vcpu 0), 2 and 3 (vcpu 1) hold the arguments of its hypercalls, page 4
 * its stacks; its last four are its page tables. Nothing keeps it from giving them away.
 */
#ifndef FUZZ_GUESTS_H
#define FUZZ_GUESTS_H

#include "fuzz/machine/machine.h"

#define ARG_BYTES  (2 * PAGE_SIZE)
#define STACK_PAGE 4
#define FIRST_FREE 5 /* page with no purpose */

/* One hypercall with up to four arguments, until it is complete. */
s64 guest_call(struct vcpu *v, unsigned nr, const u64 *a);

/* How many are in the hypervisor now; one that sleeps by its own wish holds nothing there. */
extern unsigned guest_calls_open;

/* The way out of the hypervisor, with all that is due there. */
void guest_way_out(struct vcpu *v);

/* Its handler has seen what is pending. */
void guest_take_events(struct vcpu *v);

/* Guest memory of the current vcpu; false: not all of it is there. */
bool guest_put(u64 va, const void *data, u64 len);
bool guest_get(void *data, u64 va, u64 len);

static inline u64 guest_va(unsigned page)
{
    return VA_BASE + page * PAGE_SIZE;
}

static inline u64 guest_args(const struct vcpu *v)
{
    return guest_va((v->id & 1) * 2);
}

/* Domain 0 and two guests, of which the second has one vcpu; all are startable. */
void guests_build(void);

/* What a toolstack does to make a domain run; steps in 'leave_out' are left out. */
#define BUILD_VCPUS   BIT(0)
#define BUILD_MAX_MEM BIT(1)
#define BUILD_MEMORY  BIT(2)
#define BUILD_TABLES  BIT(3)
#define BUILD_PIN     BIT(4)
#define BUILD_CONTEXT BIT(5)
#define BUILD_START   BIT(6)
/* Its id, or a negative errno. */
s64 guests_create(struct vcpu *v, u16 id, unsigned vcpus);
void guests_fill(struct vcpu *v, u16 id, unsigned vcpus, unsigned pages, u32 leave_out);

#endif
