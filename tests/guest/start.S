/*
 * Entry, bounce-frame stubs and the two ways out: iret to any context, and back from any trap.
 *
 * A bounce frame is, from low addresses: rcx, r11, [error code], rip, cs, rflags, rsp, ss.
 * Every stub turns it into struct regs (guest.h) and calls trap_enter().
 */
#include <xen/xen.h>

    .text
    .globl guest_start
guest_start:
    /* Keep what the builder gave us, untouched, for the boot test. */
    movq %rax, entry_regs+0(%rip)
    movq %rbx, entry_regs+8(%rip)
    movq %rcx, entry_regs+16(%rip)
    movq %rdx, entry_regs+24(%rip)
    movq %rsi, entry_regs+32(%rip)
    movq %rdi, entry_regs+40(%rip)
    movq %rbp, entry_regs+48(%rip)
    movq %rsp, entry_regs+56(%rip)
    movq %r8, entry_regs+64(%rip)
    movq %r9, entry_regs+72(%rip)
    movq %r10, entry_regs+80(%rip)
    movq %r11, entry_regs+88(%rip)
    movq %r12, entry_regs+96(%rip)
    movq %r13, entry_regs+104(%rip)
    movq %r14, entry_regs+112(%rip)
    movq %r15, entry_regs+120(%rip)
    pushfq
    popq entry_regs+128(%rip)
    movw %cs, entry_regs+136(%rip)
    movw %ss, entry_regs+138(%rip)
    movw %ds, entry_regs+140(%rip)
    movw %es, entry_regs+142(%rip)
    movw %fs, entry_regs+144(%rip)
    movw %gs, entry_regs+146(%rip)
    leaq boot_stack_top(%rip), %rsp
    movq %rsi, %rdi
    call guest_main
    ud2

    /* Vectors whose frame carries an error code. */
    .macro stub vec, to=common
    .balign 16
    popq %rcx
    popq %r11
    .if !((\vec == 8) || ((\vec >= 10) && (\vec <= 14)) || (\vec == 17) || (\vec == 21))
    pushq $0
    .endif
    pushq $\vec
    jmp \to
    .endm

    .macro push_regs
    pushq %rdi
    pushq %rsi
    pushq %rdx
    pushq %rcx
    pushq %rax
    pushq %r8
    pushq %r9
    pushq %r10
    pushq %r11
    pushq %rbx
    pushq %rbp
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    .endm

    /* From struct regs back to where it came from. */
    .macro pop_regs_and_return
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbp
    popq %rbx
    popq %r11
    popq %r10
    popq %r9
    popq %r8
    popq %rax
    popq %rcx
    popq %rdx
    popq %rsi
    popq %rdi
    addq $16, %rsp
    pushq $0
    pushq %rcx
    pushq %r11
    pushq %rax
    movl $__HYPERVISOR_iret, %eax
    syscall
    ud2
    .endm

    .balign 16
    .globl trap_stubs
trap_stubs:
    .set v, 0
    .rept 256
    stub v
    .set v, v + 1
    .endr

    .globl event_stub, failsafe_stub, syscall_stub, syscall32_stub, sysenter_stub, nmi_stub
event_stub:
    stub 256
failsafe_stub:
    popq %rcx
    popq %r11
    popq failsafe_sel+0(%rip)
    popq failsafe_sel+8(%rip)
    popq failsafe_sel+16(%rip)
    popq failsafe_sel+24(%rip)
    pushq $0
    pushq $257
    jmp common
syscall_stub:
    stub 258
syscall32_stub:
    stub 259
sysenter_stub:
    stub 260

common:
    push_regs
    pushfq
    popq entry_flags(%rip)
    cld
    movq %rsp, %rdi
    movq %rsp, %rbp
    andq $-16, %rsp
    call trap_enter
    movq %rbp, %rsp
    pop_regs_and_return

    /* The same for several vcpus: nothing global is written (smp.c). */
    .balign 16
    .globl smp_stubs, smp_event_stub, smp_failsafe_stub
smp_stubs:
    .set v, 0
    .rept 256
    stub v, smp_common
    .set v, v + 1
    .endr
smp_event_stub:
    stub 256, smp_common
smp_failsafe_stub:
    popq %rcx
    popq %r11
    addq $32, %rsp
    pushq $0
    pushq $257
smp_common:
    push_regs
    cld
    movq %rsp, %rdi
    movq %rsp, %rbp
    andq $-16, %rsp
    call smp_trap
    movq %rbp, %rsp
    pop_regs_and_return

    /*
     * long enter_context(const struct iret_context *c, rdi, rsi, rdx, nr): the iret hypercall
     * with *c as its frame and three registers of the caller's choice. Comes back, with the
     * value given to leave_context(), at the first trap the test did not ask to be handled.
     */
    .globl enter_context, leave_context
enter_context:
    pushq %rbx
    pushq %rbp
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, resume_sp(%rip)
    movq %rdi, %rsp
    movq %rsi, %rdi
    movq %rdx, %rsi
    movq %rcx, %rdx
    movl %r8d, %eax
    syscall
    /* Only an iret that was refused gets here. */
    movq %rax, %rdi
leave_context:
    movq resume_sp(%rip), %rsp
    movq $0, resume_sp(%rip)
    movq %rdi, %rax
    cld
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbp
    popq %rbx
    ret

    .balign 4096
    .globl hypercall_page
hypercall_page:
    .fill 4096, 1, 0xcc

    .bss
    .balign 16
    .skip 16384
    .globl boot_stack_top, trap_stack_top, resume_sp, entry_regs, entry_flags, failsafe_sel
boot_stack_top:
    .skip 16384
trap_stack_top:
resume_sp:
    .quad 0
entry_flags:
    .quad 0
entry_regs:
    .skip 148
    .balign 8
failsafe_sel:
    .skip 32
    .section .note.GNU-stack, "", @progbits
