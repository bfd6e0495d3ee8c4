/*
 * The border between guest and hypervisor: what entry.S needs of a vcpu, and the functions that
 * entry.S calls. These are the only upward calls from assembly; their definitions are in
 * guest/trap.c and hcall/table.c.
 *
 * State on entry to the C functions: interrupts off, on the stack of the current vcpu, the
 * guest's *kernel* page table loaded when kernel_mode is set. They stay off for the whole visit
 * except in preempt_point() and while a vcpu sleeps.
 */
#ifndef SERAI_X86_ENTRY_H
#define SERAI_X86_ENTRY_H

#include "base/types.h"
#include "x86/layout.h"
#include <xen/xen.h>

/* The part of struct vcpu (its first member) that assembly reads and writes. */
struct guest_entry {
    u64 kernel_cr3;
    u64 user_cr3;  /* 0: no user page table registered */
    u64 kernel_sp; /* 16-byte aligned, its frame checked to lie outside our hole; 0: not set */
    u64 kernel_ss;
    u64 syscall_entry; /* canonical; 0: no fast bounce, take the C path */
    u64 fault_entry;   /* the same for page faults of guest user mode */
    u64 event_entry;   /* and for events */
    u8 *info;          /* vcpu_info: upcall_pending at 0, upcall_mask at 1 */
    u8 fast_iret;      /* there is a user page table, and no NMI handler to end */
    u8 kernel_mode;    /* 1: guest kernel, 0: guest user */
    u16 *iomap_base;   /* of this CPU's TSS */
    u32 iomap_kernel;  /* its value while the guest kernel runs; TSS_NO_BITMAP in user mode */
    u64 user_syscalls; /* counted by the fast paths */
    u64 irets;
    u64 user_faults;
    struct guest_entry *next; /* kern/counters.c */
};

/* Called by entry.S */
void trap_from_assembly(struct cpu_user_regs *regs);
void page_fault_from_assembly(struct cpu_user_regs *regs);

struct vcpu;
/* The vcpu comes last: so most arguments are where the guest put them. */
typedef s64 (*hypercall_fn)(u64 a1, u64 a2, u64 a3, u64 a4, u64 a5, struct vcpu *v);
/* Every entry can be called: numbers without a hypercall give -ENOSYS. */
extern const hypercall_fn hypercall_table_from_assembly[NR_HYPERCALLS];

void syscall_slow_from_assembly(struct cpu_user_regs *regs);
void bounce_failed_from_assembly(struct cpu_user_regs *regs);
void iret_slow_from_assembly(struct cpu_user_regs *regs);
void exit_work_from_assembly(struct cpu_user_regs *regs);
struct runnable;
void dispatch_begin_from_assembly(struct runnable *left);

/* Leaves the hypervisor with these registers; they lie at the top of the current stack. */
__noreturn void resume_guest(struct cpu_user_regs *regs);

/* Continues on another stack where it was left, and returns 'left' there (entry.S). */
void *switch_stack(u64 *save_sp, u64 new_sp, void *left);
/* Where a stack begins whose top is a guest's register frame. */
void vcpu_first_entry(void);
__noreturn void run_on_stack(void *top, void (*function)(void));

/* Marks in regs->entry_vector beyond the 256 hardware vectors. */
#define ENTRY_SYSCALL   0x100
#define ENTRY_SYSCALL32 0x101

/* The register frame at the top of the current vcpu's stack. */
struct cpu_user_regs *guest_regs(void);

/*
 * The faulting instruction's repair address, 0 when it has none. Sorted by nothing, a few dozen
 * entries, walked only on a fault inside the hypervisor.
 */
u64 extable_find(u64 rip);
extern const u8 exit_iretq[]; /* the iretq that leaves to the guest */

/* Guest memory through the loaded page table; the caller checked the address range.
 * Return the number of bytes NOT copied (0 = all). */
u64 guest_copy_raw(void *dst, const void *src, u64 n);

void entry_patch_smap(void);

#endif
