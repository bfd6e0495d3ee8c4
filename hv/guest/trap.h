/*
 * Delivering exceptions, system calls and events to a guest kernel: the bounce frame of the PV
 * ABI, and the switch between the guest's kernel and user mode that goes with it.
 */
#ifndef SERAI_GUEST_TRAP_H
#define SERAI_GUEST_TRAP_H

#include "guest/domain.h"
#include "x86/cpu.h"

#define NO_ERROR_CODE (~0U)

/* Control register 4 bits that a guest may set. */
#define CR4_GUEST   (CR4_TSD | CR4_DE | CR4_FSGSBASE | CR4_OSXSAVE)
/* And bits that it always sees. */
#define CR4_VISIBLE (CR4_PAE | CR4_MCE | CR4_OSFXSR | CR4_OSXMMEXCPT)

/*
 * Makes the guest kernel run its handler for 'vector' when the visit ends. A guest without a
 * handler, or with a bad kernel stack, cannot go on: it is crashed.
 */
void trap_inject(struct vcpu *v, struct cpu_user_regs *regs, unsigned vector, u32 error);

/* Page fault: the address goes to vcpu_info, the U bit tells the guest's mode. */
void trap_inject_page_fault(struct vcpu *v, struct cpu_user_regs *regs, u64 address, u32 error);

/* The address that a 'mov %cr2' of the guest reads. */
static inline u64 *guest_cr2(struct vcpu *v)
{
    return &vcpu_info(v)->arch.cr2;
}

/* The iret hypercall in C. */
void trap_iret(struct vcpu *v, struct cpu_user_regs *regs);

/* Reads instruction bytes at rip: how many were readable (up to 15). */
size_t guest_fetch(u64 rip, u8 *bytes);

/* A privileged instruction (#GP with error code 0): true when it was emulated or answered. */
bool emulate_privileged(struct vcpu *v, struct cpu_user_regs *regs);
/* #UD: the forced-emulation prefix before cpuid. */
bool emulate_forced_cpuid(struct vcpu *v, struct cpu_user_regs *regs);

#endif
