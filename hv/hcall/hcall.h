/*
 * Hypercall handlers: one function each, one file per family, one table (hcall/table.c).
 *
 * Arguments are the guest's, unchecked. A handler that fails returns a negative errno and has
 * changed nothing, except where the ABI counts partial work. Guest structures are copied once.
 */
#ifndef SERAI_HCALL_HCALL_H
#define SERAI_HCALL_HCALL_H

#include "guest/domain.h"

#define HYPERCALL(name) s64 hcall_##name(u64 a1, u64 a2, u64 a3, u64 a4, u64 a5, struct vcpu *v)

HYPERCALL(set_trap_table);
HYPERCALL(mmu_update);
HYPERCALL(set_gdt);
HYPERCALL(stack_switch);
HYPERCALL(set_callbacks);
HYPERCALL(fpu_taskswitch);
HYPERCALL(platform_op);
HYPERCALL(set_debugreg);
HYPERCALL(get_debugreg);
HYPERCALL(update_descriptor);
HYPERCALL(memory_op);
HYPERCALL(multicall);
HYPERCALL(update_va_mapping);
HYPERCALL(set_timer_op);
HYPERCALL(xen_version);
HYPERCALL(console_io);
HYPERCALL(grant_table_op);
HYPERCALL(vm_assist);
HYPERCALL(vcpu_op);
HYPERCALL(set_segment_base);
HYPERCALL(mmuext_op);
HYPERCALL(nmi_op);
HYPERCALL(sched_op);
HYPERCALL(sched_op_compat);
HYPERCALL(callback_op);
HYPERCALL(xenpmu_op);
HYPERCALL(event_channel_op);
HYPERCALL(event_channel_op_compat);
HYPERCALL(physdev_op);
HYPERCALL(sysctl);
HYPERCALL(domctl);
HYPERCALL(mca);
HYPERCALL(serai_op);

/* SERAI_OP_SCHED_: 'u_arg' as abi/serai.h says. */
s64 hcall_sched_control(u64 op, u64 u_arg);
/* SERAI_OP_VFR_, likewise. */
s64 hcall_vfr_vif(u64 u_arg);
s64 hcall_vfr_rules(u64 u_arg);
s64 hcall_vfr_lease(u64 u_arg);
s64 hcall_vfr_set(u64 u_arg);
s64 hcall_vfr_log(u64 u_arg);
s64 hcall_vfr_explain(u64 u_arg);
/* SERAI_OP_MEMORY, likewise. */
s64 hcall_mem_control(u64 u_arg);

/*
 * Of domain 0's tools: into 'op' the structure at 'u_op', which begins with a command and the
 * version that it must have. -XEN_EPERM, -XEN_EFAULT, -XEN_EACCES.
 */
s64 hcall_take_control(const struct vcpu *v, u64 u_op, void *op, u64 size, u32 version);

/* An operation's argument: its size, 0: there is no such operation; is it written back after success? */
struct hcall_form {
    u8 size;
    bool answers;
    bool for_all; /* not for domain 0 only */
};

/*
 * A long operation that others wait for, because the vcpu has to stop, may end early: the guest
 * makes the same call once more without knowing, and goes on where it was. Not inside a batch,
 * whose bound is its memory, unless the domain dies.
 */
static inline bool hcall_may_stop(const struct vcpu *v)
{
    return unlikely(vcpu_must_stop(v)) && (!v->in_multicall || v->domain->stop & STOP_DYING);
}

/* The result of hypercall 'nr' that shall run again from its start. */
s64 hcall_again(struct vcpu *v, unsigned nr);

/*
 * The same for one whose second argument counts elements, 'done' of which are dealt with: they
 * are left out next time. The argument's upper half carries that, marked; a guest that puts it
 * there itself only skips its own requests.
 */
#define HCALL_MAX_ELEMENTS BIT(24)
s64 hcall_again_from(struct vcpu *v, unsigned nr, u32 done);

/* The first element to look at, by that second argument. */
static inline u32 hcall_first(u64 count_arg)
{
    return count_arg >> 56 == 0xa5 ? (u32)(count_arg >> 32) & (HCALL_MAX_ELEMENTS - 1) : 0;
}

/* Runs hypercall 'nr'; -XEN_ENOSYS for one that does not exist. Not for iret. */
s64 hcall_dispatch(struct vcpu *v, u64 nr, const u64 *args);

#endif
