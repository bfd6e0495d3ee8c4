/*
 * Every way into the hypervisor and out of it.
 *
 * The hot walks are straight-line assembly and touch no C: a guest's system call and its page
 * fault bounced to its kernel, the iret hypercall back to user mode, xen_version, what a guest
 * does at each change of task (stack_switch, the user's GS base), and the return after any other
 * visit when nothing is pending. What they cannot decide (no handler registered, a frame inside our hole,
 * an event to deliver) falls to the C functions of x86/entry.h, with the full register frame.
 *
 * Stack of a visit, from the top of the vcpu's stack downwards:
 *      struct stack_info
 *      ss, rsp, rflags, cs, rip        pushed by the CPU or by us
 *      {error code, vector}
 *      rdi rsi rdx rcx rax r8 r9 r10 r11 rbx rbp r12 r13 r14 r15
 */
#include "asm_offsets.h"
#include "base/version.h"
#include "x86/layout.h"

#define VGCF_IN_SYSCALL_BIT 8
#define NO_HYPERCALL -38 /* ENOSYS */
#define MSR_KERNEL_GS_BASE 0xc0000102
#define SEGBASE_GS_USER 1
/* A kernel stack whose pointer is so far above our hole has its frames above it too. */
#define STACK_MARGIN 96
#define FLAG_TF 0x100
#define FLAG_IF 0x200
/* Flags a bounce clears in the guest kernel's rflags: TF DF IOPL NT RF VM AC. */
#define BOUNCE_CLEAR (0x100 | 0x400 | 0x3000 | 0x4000 | 0x10000 | 0x20000 | 0x40000)
#define NOT_BOUNCE_CLEAR (~BOUNCE_CLEAR)
#define NOT_BOUNCE_CLEAR_KEEP_DF (~BOUNCE_CLEAR | 0x400)
#define NOT_BOUNCE_CLEAR_BY_EVENT (~BOUNCE_CLEAR | 0x400 | 0x3000)
#define XEN_VERSION (SERAI_XEN_MAJOR << 16 | SERAI_XEN_MINOR)

        /* On a fault at an address in [first, last] continue at 'fixup' (see extable_find). */
        .macro  ON_FAULT first last fixup
        .pushsection .extable, "a"
        .balign 4
        .long   \first - .
        .long   \last - .
        .long   \fixup - .
        .popsection
        .endm

        /* Three-byte no-ops that entry_patch_smap() turns into stac or clac. */
        .macro  SMAP_PATCH opcode
771:    .byte   0x0f, 0x1f, 0x00
        .pushsection .smap_patch, "a"
        .long   771b - .
        .long   \opcode
        .popsection
        .endm
        .macro  STAC
        SMAP_PATCH 0xcb010f
        .endm
        .macro  CLAC
        SMAP_PATCH 0xca010f
        .endm

        .macro  SAVE_REGS
        push    %rdi
        push    %rsi
        push    %rdx
        push    %rcx
        push    %rax
        push    %r8
        push    %r9
        push    %r10
        push    %r11
        push    %rbx
        push    %rbp
        push    %r12
        push    %r13
        push    %r14
        push    %r15
        .endm

        /* The rest of a walk that assembly cannot finish: C with the register frame, then out. */
        .macro  CALL_AND_EXIT function
        SAVE_REGS
        cld
        mov     %rsp, %rdi
        call    \function
        jmp     exit_to_guest
        .endm

        .macro  RESTORE_REGS
        pop     %r15
        pop     %r14
        pop     %r13
        pop     %r12
        pop     %rbp
        pop     %rbx
        pop     %r11
        pop     %r10
        pop     %r9
        pop     %r8
        pop     %rax
        pop     %rcx
        pop     %rdx
        pop     %rsi
        pop     %rdi
        .endm

        .section .text.entry, "ax", @progbits

/*
 * System call. The per-CPU stub (x86/cpu_setup.c writes it) changed to the vcpu's stack and pushed
 * ss and rsp. rcx = guest rip, r11 = guest rflags; interrupts are off.
 */
        .balign 64
        .globl  entry_syscall
        .hidden entry_syscall
entry_syscall:
        push    %r11
        pushq   $SEL_RING3_CS64
        push    %rcx
        mov     40 + SI_GUEST(%rsp), %rcx
        testb   $1, G_KERNEL_MODE(%rcx)
        jz      syscall_from_user
        cmp     $23, %eax
        je      iret_hypercall
        cmp     $17, %eax
        je      version_hypercall
        cmp     $3, %eax
        je      stack_hypercall
        cmp     $25, %eax
        je      base_hypercall

hypercall:
        mov     (%rsp), %rcx            /* the guest's again */
        pushq   $0
        movl    $0x100, 4(%rsp)
        SAVE_REGS
        cld
        /*
         * The handler by number; its sixth argument is the vcpu. The number is held below the
         * table's end also when the branch is predicted wrong.
         */
        cmp     $NR_HYPERCALLS, %rax
        jae     no_hypercall
        sbb     %rcx, %rcx
        and     %rcx, %rax
        mov     R_SIZE + SI_CPU(%rsp), %rcx
        incq    C_HYPERCALLS(%rcx, %rax, 8)
        lea     hypercall_table_from_assembly(%rip), %rcx
        mov     (%rcx, %rax, 8), %rax
        mov     %r10, %rcx
        mov     R_SIZE + SI_GUEST(%rsp), %r9
        call    *%rax
hypercall_done:
        mov     %rax, R_RAX(%rsp)

        /* Way out of a hypercall: sysret when nothing is pending and rip is canonical. */
        mov     R_SIZE + SI_CPU(%rsp), %rax
        cmpl    $0, C_SOFTIRQ(%rax)
        jne     exit_slow
        mov     R_SIZE + SI_GUEST(%rsp), %rbx
        mov     G_INFO(%rbx), %rax
        movzwl  (%rax), %eax
        test    %al, %al
        jz      1f
        test    %ah, %ah
        jz      event_to_kernel
1:      cmpb    $1, G_KERNEL_MODE(%rbx)
        jne     exit_iret               /* iret inside went to user mode */
        mov     R_RIP(%rsp), %rcx
        mov     %rcx, %rax
        sar     $47, %rax
        inc     %rax
        cmp     $1, %rax
        ja      exit_iret
        cmpw    $SEL_RING3_CS64, R_CS(%rsp)
        jne     exit_iret
        cmpw    $SEL_RING3_DS, R_SS(%rsp)
        jne     exit_iret
        pop     %r15
        pop     %r14
        pop     %r13
        pop     %r12
        pop     %rbp
        pop     %rbx
        add     $8, %rsp                /* r11: sysret takes rflags from it */
        pop     %r10
        pop     %r9
        pop     %r8
        pop     %rax
        add     $8, %rsp
        pop     %rdx
        pop     %rsi
        pop     %rdi
        mov     R_RFLAGS - R_ERR(%rsp), %r11
        mov     R_RSP - R_ERR(%rsp), %rsp
        sysretq

no_hypercall:
        mov     $NO_HYPERCALL, %rax
        jmp     hypercall_done

/*
 * Guest user mode executed syscall: push {rcx, r11, rip, cs, rflags, rsp, ss} on the guest
 * kernel's stack and enter its handler with events masked.
 * Stack: rip cs rflags rsp ss, stack_info.
 */
        .balign 16
syscall_from_user:
        cmpq    $0, G_SYSCALL_ENTRY(%rcx)
        je      syscall_slow
        push    %rax
        push    %rdx
        mov     G_KERNEL_CR3(%rcx), %rax
        mov     %rax, %cr3
        swapgs
        movb    $1, G_KERNEL_MODE(%rcx)
        incq    G_USER_SYSCALLS(%rcx)
        mov     G_IOMAP_BASE(%rcx), %rax
        mov     G_IOMAP_KERNEL(%rcx), %edx
        mov     %dx, (%rax)             /* the I/O bitmap is the guest kernel's alone */
        mov     G_INFO(%rcx), %rdx
        mov     16 + 0(%rsp), %rax      /* user rip */
        mov     G_KERNEL_SP(%rcx), %rcx
        STAC
syscall_push_first:
        mov     %r11, 8 - 56(%rcx)
        mov     %rax, 0 - 56(%rcx)
        mov     %rax, 16 - 56(%rcx)
        movzbl  1(%rdx), %eax           /* the mask before: into cs's upper half, and !IF */
        shl     $9, %eax                /* 1 -> IF */
        and     $FLAG_IF, %eax
        xor     %r11, %rax
        and     $~0x3000, %rax
        mov     %rax, 32 - 56(%rcx)
        movzbl  1(%rdx), %eax
        movl    $SEL_RING3_CS64, 24 - 56(%rcx)
        mov     %eax, 28 - 56(%rcx)
        mov     16 + 24(%rsp), %rax
        mov     %rax, 40 - 56(%rcx)
syscall_push_last:
        movq    $SEL_RING3_DS, 48 - 56(%rcx)
        CLAC
        movb    $1, 1(%rdx)
        and     $NOT_BOUNCE_CLEAR, %r11
        or      $FLAG_IF, %r11
        lea     -56(%rcx), %rax
        mov     %rax, 16 + 24(%rsp)
        mov     32 + 24 + SI_GUEST(%rsp), %rcx
        mov     G_SYSCALL_ENTRY(%rcx), %rcx
        pop     %rdx
        pop     %rax
        mov     24(%rsp), %rsp
        sysretq

/* A push faulted: restore what we took and let C report the bad kernel stack. */
        ON_FAULT syscall_push_first, syscall_push_last, syscall_push_fault
syscall_push_fault:
        CLAC
        pop     %rdx
        pop     %rax
        pushq   $0
bounce_failed:
        movl    $0x100, 4(%rsp)
        CALL_AND_EXIT bounce_failed_from_assembly

/*
 * xen_version(XENVER_version): guests make this call only to have pending events delivered, and
 * often. Nothing pending: answer at once.
 */
        .balign 16
version_hypercall:
        test    %edi, %edi
        jnz     hypercall
        mov     G_INFO(%rcx), %r11
        cmpb    $0, (%r11)
        jne     plain_slow
        mov     (%rsp), %rcx
        mov     %rcx, %r11
        sar     $47, %r11
        inc     %r11
        cmp     $1, %r11
        ja      plain_slow
        mov     40 + SI_CPU(%rsp), %r11
        incq    C_VERSION_CALLS(%r11)
        mov     $XEN_VERSION, %eax
        mov     16(%rsp), %r11
        mov     24(%rsp), %rsp
        sysretq
plain_slow:
        mov     16(%rsp), %r11          /* no address of ours stays in it */
        jmp     hypercall

/*
 * stack_switch and set_segment_base of the user's GS: guests make both at each change of task. The
 * plain cases only: nothing pending, a stack above our hole, a canonical base.
 */
        .balign 16
stack_hypercall:
        mov     G_INFO(%rcx), %r11
        cmpb    $0, (%r11)
        jne     plain_slow
        movabs  $DIRECTMAP_END + STACK_MARGIN, %r11
        cmp     %r11, %rsi
        jb      plain_slow
        mov     %rsi, %r11
        and     $~15, %r11
        mov     %r11, G_KERNEL_SP(%rcx)
        movzwl  %di, %r11d
        or      $3, %r11d
        mov     %r11, G_KERNEL_SS(%rcx)
        mov     40 + SI_CPU(%rsp), %r11
        incq    C_STACK_CALLS(%r11)
        jmp     plain_hypercall_done

        .balign 16
base_hypercall:
        cmp     $SEGBASE_GS_USER, %edi
        jne     plain_slow
        mov     G_INFO(%rcx), %r11
        cmpb    $0, (%r11)
        jne     plain_slow
        mov     %rsi, %r11
        sar     $47, %r11
        inc     %r11
        cmp     $1, %r11
        ja      plain_slow
        mov     %rdx, %r11
        mov     %rsi, %rdx
        shr     $32, %rdx
        mov     %esi, %eax
        mov     $MSR_KERNEL_GS_BASE, %ecx
        wrmsr
        mov     %r11, %rdx
        mov     40 + SI_CPU(%rsp), %r11
        incq    C_BASE_CALLS(%r11)

plain_hypercall_done:
        mov     (%rsp), %rcx
        mov     %rcx, %r11
        sar     $47, %r11
        inc     %r11
        cmp     $1, %r11
        mov     $0, %eax
        mov     16(%rsp), %r11
        ja      exit_iretq              /* sysret would fault in ring 0 */
        mov     24(%rsp), %rsp
        sysretq

syscall_slow:
        mov     (%rsp), %rcx
        pushq   $0
        movl    $0x100, 4(%rsp)
        CALL_AND_EXIT syscall_slow_from_assembly

/* System call from 32-bit code (CSTAR). eip in rcx, flags in r11; same stack. */
        .balign 16
        .globl  entry_syscall32
        .hidden entry_syscall32
entry_syscall32:
        push    %r11
        pushq   $SEL_RING3_CS32
        mov     %ecx, %ecx
        push    %rcx
        pushq   $0
        movl    $0x101, 4(%rsp)
        CALL_AND_EXIT syscall_slow_from_assembly

        /*
         * Of the frame at r11 (rax = cs) the CPU's own, above two saved registers, and what rcx
         * (in rbx) and rax will be; 'ring' is or'ed into cs. rdx = vcpu_info: nothing is pending.
         */
        .macro  IRET_FRAME ring=0
        mov     48(%r11), %rbx          /* rflags */
        test    $FLAG_IF, %ebx
        jz      iret_slow_clac
        cmpb    $0, (%rdx)
        jne     iret_slow_clac
        .if     \ring
        or      $\ring, %eax
        .endif
        mov     %rax, 16 + 8(%rsp)
        and     $~0x23000, %rbx         /* VM, IOPL */
        mov     %rbx, 16 + 16(%rsp)
        mov     32(%r11), %rax
        mov     %rax, 16 + 0(%rsp)
        mov     64(%r11), %rax
        or      $3, %eax
        mov     %rax, 16 + 32(%rsp)
        mov     56(%r11), %rax
        mov     %rax, 16 + 24(%rsp)
        mov     16(%r11), %rbx          /* rcx */
        mov     0(%r11), %rax
        .endm

/*
 * Hypercall 23: leave by the frame {rax, r11, rcx, flags, rip, cs, rflags, rsp, ss} on the guest
 * kernel's stack. The fast walks serve the common cases, back to user or to kernel mode with no
 * event pending; the rest is C's. rcx = guest_entry. Stack: rip cs rflags rsp ss, stack_info.
 */
        .balign 16
iret_hypercall:
        mov     24(%rsp), %r11          /* the guest's frame */
        push    %rdx
        push    %rbx
        /*
         * The frame must not reach into our hole. (Its last 72 bytes pass this test; nothing is
         * ever mapped there, see paging_init.)
         */
        movabs  $0x800000000000 + 72, %rax
        lea     (%r11, %rax), %rdx
        shr     $43, %rdx
        jz      iret_slow
        cmpb    $0, G_FAST_IRET(%rcx)
        je      iret_slow
        mov     G_INFO(%rcx), %rdx
        STAC
iret_pop_first:
        mov     40(%r11), %rax          /* cs */
        mov     24(%r11), %rbx          /* VGCF flags */
        bt      $VGCF_IN_SYSCALL_BIT, %rbx
        jc      iret_slow_clac
        mov     %rax, %rbx
        and     $3, %ebx
        cmp     $3, %ebx
        jne     iret_to_kernel
        IRET_FRAME
iret_pop_last:
        mov     8(%r11), %r11
        CLAC
        movb    $0, 1(%rdx)
        movb    $0, G_KERNEL_MODE(%rcx)
        incq    G_IRETS(%rcx)
        mov     G_IOMAP_BASE(%rcx), %rdx
        movw    $TSS_NO_BITMAP, (%rdx)
        mov     G_USER_CR3(%rcx), %rdx
        mov     %rdx, %cr3
        swapgs
        mov     %rbx, %rcx
        pop     %rbx
        pop     %rdx
        jmp     exit_iretq
        ON_FAULT iret_pop_first, iret_pop_last, iret_slow_clac

/* Back to kernel mode, as from an event: rax = cs, rdx = vcpu_info. */
iret_to_kernel:
        IRET_FRAME 3
iret_to_kernel_last:
        mov     8(%r11), %r11
        CLAC
        movb    $0, 1(%rdx)
        incq    G_IRETS(%rcx)
        mov     %rbx, %rcx
        pop     %rbx
        pop     %rdx
        jmp     exit_iretq
        ON_FAULT iret_to_kernel, iret_to_kernel_last, iret_slow_clac

iret_slow_clac:
        CLAC
iret_slow:
        mov     %r11, 16 + 24(%rsp)     /* the walk above may have replaced it */
        pop     %rbx
        pop     %rdx
        mov     $23, %eax
        pushq   $0
        movl    $0x100, 4(%rsp)
        CALL_AND_EXIT iret_slow_from_assembly

/*
 * A page fault of guest user mode goes to the guest kernel: nothing to decide, as long as a
 * handler is registered that masks events. The frame gets an error code; cr2 goes to vcpu_info.
 * Stack: error rip cs rflags rsp ss, stack_info.
 */
        .balign 16
        .globl  entry_page_fault
        .hidden entry_page_fault
entry_page_fault:
        testb   $3, 16(%rsp)
        jz      page_fault
        testb   $4, (%rsp)              /* not our own access to a descriptor table */
        jz      page_fault
        push    %rax
        push    %rcx
        mov     16 + 48 + SI_GUEST(%rsp), %rcx
        testb   $1, G_KERNEL_MODE(%rcx)
        jnz     fault_slow
        cmpq    $0, G_FAULT_ENTRY(%rcx)
        je      fault_slow
        push    %rdx
        mov     %cr2, %rdx
        mov     G_KERNEL_CR3(%rcx), %rax
        mov     %rax, %cr3
        CLAC
        swapgs
        movb    $1, G_KERNEL_MODE(%rcx)
        incq    G_USER_FAULTS(%rcx)
        mov     G_INFO(%rcx), %rax
        mov     %rdx, INFO_CR2(%rax)
        mov     G_IOMAP_BASE(%rcx), %rax
        mov     G_IOMAP_KERNEL(%rcx), %edx
        mov     %dx, (%rax)
        mov     G_INFO(%rcx), %rax
        mov     G_KERNEL_SP(%rcx), %rdx
        STAC
fault_push_first:
        mov     %r11, 8 - 64(%rdx)
        mov     8(%rsp), %r11           /* rcx */
        mov     %r11, 0 - 64(%rdx)
        mov     24(%rsp), %r11d         /* error code */
        mov     %r11, 16 - 64(%rdx)
        mov     32(%rsp), %r11          /* rip */
        mov     %r11, 24 - 64(%rdx)
        mov     40(%rsp), %r11d         /* cs */
        mov     %r11d, 32 - 64(%rdx)
        movzbl  1(%rax), %r11d
        mov     %r11d, 36 - 64(%rdx)
        shl     $9, %r11d
        and     $FLAG_IF, %r11d
        xor     48(%rsp), %r11          /* rflags, IF = !mask */
        and     $~0x3000, %r11
        mov     %r11, 40 - 64(%rdx)
        mov     56(%rsp), %r11          /* rsp */
        mov     %r11, 48 - 64(%rdx)
        mov     64(%rsp), %r11          /* ss */
fault_push_last:
        mov     %r11, 56 - 64(%rdx)
        CLAC
        movb    $1, 1(%rax)
        mov     48(%rsp), %r11
        and     $NOT_BOUNCE_CLEAR_KEEP_DF, %r11
        or      $FLAG_IF, %r11
        sub     $64, %rdx
        mov     %rdx, 56(%rsp)
        mov     G_FAULT_ENTRY(%rcx), %rcx
        pop     %rdx
        mov     8(%rsp), %rax
        mov     48(%rsp), %rsp
        sysretq
        ON_FAULT fault_push_first, fault_push_last, fault_push_fault
fault_push_fault:
        CLAC
        pop     %rdx
        pop     %rcx
        pop     %rax
        jmp     bounce_failed
fault_slow:
        pop     %rcx
        pop     %rax
        jmp     page_fault

/* A page fault of the guest kernel or of the hypervisor: often a page-table write. */
page_fault:
        movl    $14, 4(%rsp)
        SAVE_REGS
        cld
        CLAC
        mov     %rsp, %rdi
        call    page_fault_from_assembly
        testb   $3, R_CS(%rsp)
        jz      exit_iret
        jmp     exit_to_guest

/*
 * Guest kernels of CPUs with FSGSBASE read the user's GS base by rdmsr at each change of task. All
 * else is C's. Stack: error rip cs rflags rsp ss, stack_info.
 */
        .balign 16
        .globl  entry_general_protection
        .hidden entry_general_protection
entry_general_protection:
        cmpl    $0, (%rsp)
        jne     vector_stubs + 16 * 13
        testb   $3, 16(%rsp)
        jz      vector_stubs + 16 * 13
        cmp     $MSR_KERNEL_GS_BASE, %ecx
        jne     vector_stubs + 16 * 13
        push    %rcx
        mov     8 + 48 + SI_GUEST(%rsp), %rcx
        testb   $1, G_KERNEL_MODE(%rcx)
        jz      not_gs_read
        push    %rax
        mov     16 + 8(%rsp), %rcx      /* rip, which must not be in our hole */
        movabs  $0x800000000000, %rax
        add     %rcx, %rax
        shr     $43, %rax
        jz      1f
        STAC
gs_read_fetch:
        movzwl  (%rcx), %ecx
        CLAC
        cmp     $0x320f, %ecx           /* rdmsr */
        jne     1f
        add     $8, %rsp
        mov     $MSR_KERNEL_GS_BASE, %ecx
        rdmsr
        mov     8 + 48 + SI_CPU(%rsp), %rcx
        incq    C_EMUL_RDMSR(%rcx)
        pop     %rcx
        addq    $2, 8(%rsp)
        add     $8, %rsp
        jmp     exit_iretq
1:      pop     %rax
not_gs_read:
        pop     %rcx
        jmp     vector_stubs + 16 * 13
        ON_FAULT gs_read_fetch, gs_read_fetch, gs_read_fault
gs_read_fault:
        CLAC
        jmp     1b

/* Exceptions and interrupts. */
        .balign 16
trap_common:
        SAVE_REGS
        cld
        CLAC
        mov     %rsp, %rdi
        call    trap_from_assembly
        testb   $3, R_CS(%rsp)
        jz      exit_iret               /* back into the hypervisor */

exit_to_guest:
        mov     R_SIZE + SI_CPU(%rsp), %rax
        cmpl    $0, C_SOFTIRQ(%rax)
        jne     exit_slow
        mov     R_SIZE + SI_GUEST(%rsp), %rbx
        mov     G_INFO(%rbx), %rax
        movzwl  (%rax), %eax
        test    %al, %al
        jz      exit_iret
        test    %ah, %ah
        jnz     exit_iret

/*
 * An event for the guest's kernel, which was interrupted itself: the frame goes below its rsp.
 * rbx = guest_entry.
 */
event_to_kernel:
        mov     G_EVENT_ENTRY(%rbx), %rcx
        test    %rcx, %rcx
        jz      exit_slow
        cmpb    $1, G_KERNEL_MODE(%rbx)
        jne     exit_slow
        mov     R_RSP(%rsp), %rdx
        and     $~15, %rdx
        sub     $56, %rdx
        /* Neither end of the frame in our hole: as in the iret hypercall, shifted by its size. */
        movabs  $0x800000000000 + 64, %rax
        add     %rdx, %rax
        shr     $43, %rax
        jz      exit_slow
        mov     G_INFO(%rbx), %rdi
        STAC
event_push_first:
        mov     R_RCX(%rsp), %rax
        mov     %rax, 0(%rdx)
        mov     R_R11(%rsp), %rax
        mov     %rax, 8(%rdx)
        mov     R_RIP(%rsp), %rax
        mov     %rax, 16(%rdx)
        movzwl  R_CS(%rsp), %eax
        and     $~3, %eax               /* the kernel recognises itself; the mask is clear */
        mov     %rax, 24(%rdx)
        mov     R_RFLAGS(%rsp), %rsi
        mov     %rsi, %rax
        and     $~0x3000, %rax          /* IOPL */
        or      $FLAG_IF, %rax
        mov     %rax, 32(%rdx)
        mov     R_RSP(%rsp), %rax
        mov     %rax, 40(%rdx)
        movzwl  R_SS(%rsp), %eax
event_push_last:
        mov     %rax, 48(%rdx)
        CLAC
        movb    $1, 1(%rdi)
        and     $NOT_BOUNCE_CLEAR_BY_EVENT, %rsi
        or      $FLAG_IF, %rsi
        mov     %rcx, R_RIP(%rsp)
        movq    $SEL_RING3_CS64, R_CS(%rsp)
        mov     %rsi, R_RFLAGS(%rsp)
        mov     %rdx, R_RSP(%rsp)
        movq    $SEL_RING3_DS, R_SS(%rsp)
        mov     R_SIZE + SI_CPU(%rsp), %rax
        incq    C_EVENT_UPCALL(%rax)
        jmp     exit_iret
        ON_FAULT event_push_first, event_push_last, event_push_fault
event_push_fault:
        CLAC
exit_slow:
        mov     %rsp, %rdi
        call    exit_work_from_assembly
exit_iret:
        RESTORE_REGS
        add     $8, %rsp
        .globl  exit_iretq
        .hidden exit_iretq
exit_iretq:
        iretq

        .globl  resume_guest
        .hidden resume_guest
resume_guest:
        mov     %rdi, %rsp
        jmp     exit_to_guest

/* One stub per vector; those with an error code find it pushed already. */
        .macro  VECTOR n
        .balign 16
vector_\n:
        .if     !((\n == 8) || (\n >= 10 && \n <= 14) || (\n == 17) || (\n == 21))
        pushq   $0
        .endif
        movl    $\n, 4(%rsp)
        jmp     trap_common
        .endm

        .altmacro
        .macro  VECTORS from to
        .set    i, \from
        .rept   \to - \from
        VECTOR  %i
        .set    i, i + 1
        .endr
        .endm

        .balign 16
        .globl  vector_stubs
        .hidden vector_stubs
vector_stubs:
        VECTORS 0 256
        .noaltmacro

/*
 * NMI, #DB, #DF and #MC run on stacks of their own. A #DB that the guest caused moves to the
 * vcpu's stack and goes on as an ordinary exception.
 */
        .balign 16
        .globl  entry_debug
        .hidden entry_debug
entry_debug:
        testb   $3, 8(%rsp)
        jz      vector_1
        push    %rax
        push    %rcx
        mov     %rsp, %rcx
        or      $(STACK_SIZE - 1), %rcx
        mov     1 - SI_SIZE + SI_CPU(%rcx), %rcx
        mov     C_TSS(%rcx), %rax
        mov     4(%rax), %rax           /* rsp0 */
        mov     16 + 32(%rsp), %rcx
        mov     %rcx, -8(%rax)
        mov     16 + 24(%rsp), %rcx
        mov     %rcx, -16(%rax)
        mov     16 + 16(%rsp), %rcx
        mov     %rcx, -24(%rax)
        mov     16 + 8(%rsp), %rcx
        mov     %rcx, -32(%rax)
        mov     16 + 0(%rsp), %rcx
        mov     %rcx, -40(%rax)
        mov     8(%rsp), %rcx           /* saved rax */
        mov     %rcx, -48(%rax)
        pop     %rcx
        lea     -48(%rax), %rsp
        pop     %rax
        jmp     vector_1

        .balign 16
        .globl  entry_nmi
        .hidden entry_nmi
entry_nmi:
        pushq   $0
        movl    $2, 4(%rsp)
        SAVE_REGS
        cld
        CLAC
        mov     %rsp, %rdi
        call    trap_from_assembly
        RESTORE_REGS
        add     $8, %rsp
        iretq

/* u64 guest_copy_raw(void *dst, const void *src, u64 n): bytes not copied. */
        .text
        .balign 16
        .globl  guest_copy_raw
        .hidden guest_copy_raw
guest_copy_raw:
        mov     %rdx, %rcx
        and     $7, %edx
        shr     $3, %rcx
        STAC
1:      rep movsq
        mov     %edx, %ecx
2:      rep movsb
        CLAC
        mov     %rcx, %rax
        ret
3:      lea     (%rdx, %rcx, 8), %rcx
4:      CLAC
        mov     %rcx, %rax
        ret
        ON_FAULT 1b, 1b, 3b
        ON_FAULT 2b, 2b, 4b

/* int rdmsr_safe(u32 msr, u64 *value) */
        .balign 16
        .globl  rdmsr_safe
        .hidden rdmsr_safe
rdmsr_safe:
        mov     %edi, %ecx
1:      rdmsr
        shl     $32, %rdx
        or      %rdx, %rax
        mov     %rax, (%rsi)
        xor     %eax, %eax
        ret
2:      mov     $-14, %eax
        ret
        ON_FAULT 1b, 1b, 2b

/* int wrmsr_safe(u32 msr, u64 value) */
        .balign 16
        .globl  wrmsr_safe
        .hidden wrmsr_safe
wrmsr_safe:
        mov     %edi, %ecx
        mov     %esi, %eax
        mov     %rsi, %rdx
        shr     $32, %rdx
1:      wrmsr
        xor     %eax, %eax
        ret
2:      mov     $-14, %eax
        ret
        ON_FAULT 1b, 1b, 2b

/* int load_ds_safe(u32 selector), and es, fs, gs: null and -EFAULT when the selector is bad. */
        .macro  LOAD_SAFE seg
        .balign 16
        .globl  load_\seg\()_safe
        .hidden load_\seg\()_safe
load_\seg\()_safe:
1:      mov     %edi, %\seg
        xor     %eax, %eax
        ret
2:      xor     %eax, %eax
        mov     %eax, %\seg
        mov     $-14, %eax
        ret
        ON_FAULT 1b, 1b, 2b
        .endm
        LOAD_SAFE ds
        LOAD_SAFE es
        LOAD_SAFE fs
        LOAD_SAFE gs

/*
 * void *switch_stack(u64 *save_sp, u64 new_sp, void *left): leaves this stack, continues on
 * another one where it was left, and returns 'left' there.
 */
        .balign 16
        .globl  switch_stack
        .hidden switch_stack
switch_stack:
        push    %rbx
        push    %rbp
        push    %r12
        push    %r13
        push    %r14
        push    %r15
        mov     %rsp, (%rdi)
        mov     %rsi, %rsp
        mov     %rdx, %rax
        pop     %r15
        pop     %r14
        pop     %r13
        pop     %r12
        pop     %rbp
        pop     %rbx
        ret

/* A vcpu's first time on its stack: its registers lie here, the one that left is in rax. */
        .globl  vcpu_first_entry
        .hidden vcpu_first_entry
vcpu_first_entry:
        mov     %rax, %rdi
        call    dispatch_begin_from_assembly
        jmp     exit_to_guest

/* void run_on_stack(void *top, void (*function)(void)): for good. */
        .globl  run_on_stack
        .hidden run_on_stack
run_on_stack:
        mov     %rdi, %rsp
        call    *%rsi
        ud2

/* int xsetbv_safe(u64 value) on XCR0 */
        .balign 16
        .globl  xsetbv_safe
        .hidden xsetbv_safe
xsetbv_safe:
        xor     %ecx, %ecx
        mov     %edi, %eax
        mov     %rdi, %rdx
        shr     $32, %rdx
1:      xsetbv
        xor     %eax, %eax
        ret
2:      mov     $-14, %eax
        ret
        ON_FAULT 1b, 1b, 2b

        .section .note.GNU-stack, "", @progbits
