/*
 * What the kernel tells the domain builder. The variant with NOTES_P2M asks for everything
 * optional: a p2m outside the initial mapping, a hypercall page, the generic loader.
 */
#include <xen/elfnote.h>

    .macro note type, desc:vararg
    .balign 4
    .long 2f - 1f, 4f - 3f, \type
1:  .asciz "Xen"
2:  .balign 4
3:  \desc
4:  .balign 4
    .endm

    .section .note.Xen, "a", @note
    note XEN_ELFNOTE_XEN_VERSION, .asciz "xen-3.0"
    note XEN_ELFNOTE_GUEST_VERSION, .asciz "1"
    note XEN_ELFNOTE_VIRT_BASE, .quad 0xffffffff80000000
    note XEN_ELFNOTE_PADDR_OFFSET, .quad 0
    note XEN_ELFNOTE_ENTRY, .quad guest_start
    note XEN_ELFNOTE_MOD_START_PFN, .quad 1
    note XEN_ELFNOTE_SUPPORTED_FEATURES, .long 0x801
#ifdef NOTES_P2M
    note XEN_ELFNOTE_GUEST_OS, .asciz "mini"
    note XEN_ELFNOTE_LOADER, .asciz "generic"
    note XEN_ELFNOTE_INIT_P2M, .quad 0x8000000000
    note XEN_ELFNOTE_HYPERCALL_PAGE, .quad hypercall_page
#else
    note XEN_ELFNOTE_GUEST_OS, .asciz "linux"
    note XEN_ELFNOTE_FEATURES, .asciz "!writable_page_tables|pae_pgdir_above_4gb"
#endif
    .section .note.GNU-stack, "", @progbits
