/*
 * Hypercall handlers: one function each, one file per family, one table (hcall/table.c).
 *
 * Arguments are the guest's, unchecked. A handler that fails returns a negative errno and has
 * changed nothing, except where the ABI counts partial work. Guest structures are copied once.
 */
#ifndef SERAI_HCALL_HCALL_H
#define SERAI_HCALL_HCALL_H

#include "guest/domain.h"

#define HYPERCALL(name) s64 hcall_##name(struct vcpu *v, u64 a1, u64 a2, u64 a3, u64 a4, u64 a5)

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
HYPERCALL(callback_op);
HYPERCALL(xenpmu_op);
HYPERCALL(event_channel_op);
HYPERCALL(physdev_op);
HYPERCALL(sysctl);
HYPERCALL(domctl);
HYPERCALL(mca);
HYPERCALL(serai_op);

/* SERAI_OP_SCHED_: 'u_arg' as abi/serai.h says. */
s64 hcall_sched_control(u64 op, u64 u_arg);

/*
 * The result of hypercall 'nr' that shall run again from its start, after the guest has taken its
 * events: the guest makes the same call once more without knowing.
 */
s64 hcall_again(struct vcpu *v, unsigned nr);

/* Runs hypercall 'nr'; -XEN_ENOSYS for one that does not exist. Not for iret. */
s64 hcall_dispatch(struct vcpu *v, u64 nr, const u64 *args);

#endif
