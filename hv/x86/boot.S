/*
 * From the boot loader to C: multiboot 1 and 2 headers, 32-bit entry, long mode.
 *
 * The loader leaves us in 32-bit protected mode without paging; eax tells which protocol it
 * speaks, ebx where its information lies. We map the first 4 GiB twice, at 0 (where we run) and
 * at HV_BASE (where we are linked), and jump up. The mapping at 0 goes away when paging_init()
 * installs the real page tables.
 */
#include "abi/multiboot.h"
#include "x86/layout.h"

        .section .boot, "awx", @progbits
        .code32

/* Multiboot 1: bit 0 modules page-aligned, bit 1 memory map, bit 16 load addresses follow. */
#define MB1_FLAGS 0x10003
        .balign 4
mb1_header:
        .long MULTIBOOT1_MAGIC
        .long MB1_FLAGS
        .long -(MULTIBOOT1_MAGIC + MB1_FLAGS)
        .long mb1_header
        .long image_phys_start
        .long load_end
        .long image_phys_end
        .long boot_entry

        .balign 8
mb2_header:
        .long MULTIBOOT2_MAGIC
        .long 0
        .long mb2_end - mb2_header
        .long -(MULTIBOOT2_MAGIC + (mb2_end - mb2_header))
        /* Information request: command line, modules, memory map. */
        .balign 8
1:      .short 1, 0
        .long 2f - 1b
        .long 1, 3, 6
2:      .balign 8
1:      .short 2, 0             /* load addresses */
        .long 2f - 1b
        .long mb2_header, image_phys_start, load_end, image_phys_end
2:      .balign 8
1:      .short 3, 0             /* entry point */
        .long 2f - 1b
        .long boot_entry
2:      .balign 8
1:      .short 6, 0             /* modules on page boundaries */
        .long 8
        .short 0, 0             /* end */
        .long 8
mb2_end:

        .globl boot_entry
boot_entry:
        cli
        cld
        mov     $boot_stack_end, %esp
        mov     %eax, %ebp
        mov     %ebx, %esi

        /* Without these there is nothing to run: say so on the first serial port. */
        mov     $0x80000000, %eax
        cpuid
        cmp     $0x80000001, %eax
        jb      no_long_mode
        mov     $0x80000001, %eax
        cpuid
        bt      $29, %edx
        jnc     no_long_mode
        bt      $20, %edx
        jnc     no_nx

        /* 4 GiB in 2 MiB pages. */
        mov     $boot_pd, %edi
        mov     $0x83, %eax             /* present, writable, large */
        xor     %edx, %edx
        mov     $2048, %ecx
1:      mov     %eax, (%edi)
        mov     %edx, 4(%edi)
        add     $0x200000, %eax
        add     $8, %edi
        loop    1b
        mov     $boot_pd + 3, %eax
        mov     $boot_pdpt, %edi
        mov     $4, %ecx
1:      mov     %eax, (%edi)
        add     $0x1000, %eax
        add     $8, %edi
        loop    1b
        movl    $boot_pdpt + 3, boot_pml4
        movl    $boot_pdpt + 3, boot_pml4 + 257 * 8

        mov     $0x20, %eax             /* CR4.PAE */
        mov     %eax, %cr4
        mov     $boot_pml4, %eax
        mov     %eax, %cr3
        mov     $0xc0000080, %ecx       /* EFER: LME, NXE */
        rdmsr
        or      $0x900, %eax
        wrmsr
        mov     $0x80010011, %eax       /* CR0: PG, WP, ET, PE */
        mov     %eax, %cr0
        lgdt    boot_gdtr
        ljmp    $8, $boot_64

no_nx:
        mov     $no_nx_text, %esi
        jmp     1f
no_long_mode:
        mov     $no_long_mode_text, %esi
1:      mov     $0x3fd, %dx
2:      in      %dx, %al
        test    $0x20, %al
        jz      2b
        lodsb
        test    %al, %al
        jz      3f
        mov     $0x3f8, %dx
        out     %al, %dx
        jmp     1b
3:      hlt
        jmp     3b
no_nx_text:
        .asciz  "serai: cannot start: this CPU cannot mark pages as not executable (NX)\r\n"
no_long_mode_text:
        .asciz  "serai: cannot start: this CPU has no 64-bit mode\r\n"

        .code64
boot_64:
        mov     $0x10, %eax
        mov     %eax, %ds
        mov     %eax, %es
        mov     %eax, %ss
        xor     %eax, %eax
        mov     %eax, %fs
        mov     %eax, %gs
        movabs  $boot_high, %rax
        jmp     *%rax

        .balign 8
boot_gdt:
        .quad   0
        .quad   0x00af9b000000ffff      /* 64-bit code */
        .quad   0x00cf93000000ffff      /* data */
boot_gdt_end:
boot_gdtr:
        .short  boot_gdt_end - boot_gdt - 1
        .quad   boot_gdt

        .balign 4096
        .globl  boot_pml4
boot_pml4:      .fill 4096, 1, 0
boot_pdpt:      .fill 4096, 1, 0
boot_pd:        .fill 4 * 4096, 1, 0
boot_stack:     .fill 4096, 1, 0
boot_stack_end:

        .section .init.text, "ax", @progbits
boot_high:
        lea     init_stack_end(%rip), %rsp
        and     $~(STACK_SIZE - 1), %rsp
        sub     $16, %rsp               /* struct stack_info */
        mov     %ebp, %edi
        mov     %esi, %esi
        call    boot_main
1:      hlt
        jmp     1b

        .section .init.bss, "aw", @progbits
        /* Twice the size instead of an alignment that would open a hole in the file. */
        .balign 16
        .fill   2 * STACK_SIZE, 1, 0
init_stack_end:

        .section .note.GNU-stack, "", @progbits
