/*
 * Put before every source of the hypervisor that the machine links. Its variables go into
 * sections of their own, which the machine sets back before each run; and instructions that only
 * ring 0 may use do nothing.
 */
#pragma clang section bss = "hv_bss" data = "hv_data"

__asm__(".macro clts\n.endm\n"
        ".macro wbinvd\n.endm\n"
        ".macro swapgs\n.endm\n"
        ".macro lldt selector\n.endm\n");
