/*
 * Where a started CPU begins: real mode, at a page below 1 MiB. The code is copied there by
 * smp_start(), which also fills the parameters and the three absolute addresses, so that the
 * page is only read from here on. Real mode, protected mode, long mode, then up to C.
 */
#include "x86/trampoline.h"

        .section .init.rodata, "a", @progbits
        .balign 16
        .globl  trampoline_start, trampoline_end
        .globl  trampoline_params, trampoline_32, trampoline_64, trampoline_gdt

        .code16
trampoline_start:
        cli
        cld
        mov     %cs, %ax
        mov     %ax, %ds
        movl    TRAMPOLINE_BASE + trampoline_params - trampoline_start, %ebx
        lgdtl   TRAMPOLINE_GDTR + trampoline_params - trampoline_start
        mov     $0x11, %eax             /* CR0: ET, PE; caching on */
        mov     %eax, %cr0
        ljmpl   *(TRAMPOLINE_FAR32 + trampoline_params - trampoline_start)

        .code32
trampoline_32:
        mov     $0x10, %eax
        mov     %eax, %ds
        mov     %eax, %es
        mov     %eax, %ss
        mov     $0x20, %eax             /* CR4: PAE */
        mov     %eax, %cr4
        lea     trampoline_params - trampoline_start(%ebx), %esi
        mov     TRAMPOLINE_CR3(%esi), %eax
        mov     %eax, %cr3
        mov     TRAMPOLINE_EFER(%esi), %eax
        xor     %edx, %edx
        mov     $0xc0000080, %ecx
        wrmsr
        mov     $0x80010011, %eax       /* CR0: PG, WP, ET, PE */
        mov     %eax, %cr0
        ljmpl   *TRAMPOLINE_FAR64(%esi)

        .code64
trampoline_64:
        mov     %esi, %esi
        xor     %eax, %eax
        mov     %eax, %fs
        mov     %eax, %gs
        /* One CPU takes the stack; one that wakes up too late finds none and sleeps on. */
        mov     TRAMPOLINE_STACK_SLOT(%rsi), %rcx
        xchg    %rax, (%rcx)
        test    %rax, %rax
        jz      1f
        mov     %rax, %rsp
        xor     %ebp, %ebp
        mov     TRAMPOLINE_CPU(%rsi), %edi
        call    *TRAMPOLINE_ENTRY(%rsi)
1:      cli
        hlt
        jmp     1b

        .balign 8
trampoline_gdt:
        .quad   0
        .quad   0x00af9b000000ffff      /* 08: 64-bit code, accessed */
        .quad   0x00cf93000000ffff      /* 10: data, accessed */
        .quad   0x00cf9b000000ffff      /* 18: 32-bit code, accessed */
        .balign 8
trampoline_params:
        .fill   TRAMPOLINE_PARAMS_SIZE, 1, 0
trampoline_end:

        .section .note.GNU-stack, "", @progbits
