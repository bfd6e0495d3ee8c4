/*
 * What smp_start() hands to the code in the trampoline page: offsets from trampoline_params for
 * the assembly, the same as a structure for C.
 */
#ifndef SERAI_X86_TRAMPOLINE_H
#define SERAI_X86_TRAMPOLINE_H

#define TRAMPOLINE_STACK_SLOT  0 /* address of the word that holds the stack's top */
#define TRAMPOLINE_ENTRY       8
#define TRAMPOLINE_CPU         16
#define TRAMPOLINE_BASE        20 /* physical address of the page */
#define TRAMPOLINE_CR3         24
#define TRAMPOLINE_EFER        28
#define TRAMPOLINE_FAR32       32 /* 32-bit offset, then selector */
#define TRAMPOLINE_GDTR        38 /* 16-bit limit, then 32-bit base */
#define TRAMPOLINE_FAR64       44
#define TRAMPOLINE_PARAMS_SIZE 50

#define TRAMPOLINE_CS64 0x08
#define TRAMPOLINE_CS32 0x18

#ifndef __ASSEMBLY__
#include "base/types.h"

struct trampoline_params {
    u64 stack_slot;
    u64 entry;
    u32 cpu;
    u32 base;
    u32 cr3;
    u32 efer;
    u32 far32;
    u16 far32_selector;
    u16 gdt_limit;
    u32 gdt_base;
    u32 far64;
    u16 far64_selector;
} packed;

extern const u8 trampoline_start[], trampoline_end[], trampoline_params[];
extern const u8 trampoline_32[], trampoline_64[], trampoline_gdt[];

#define CHECK_OFFSET(field, off)                                                               \
    _Static_assert(offsetof(struct trampoline_params, field) == (off), #field)
CHECK_OFFSET(stack_slot, TRAMPOLINE_STACK_SLOT);
CHECK_OFFSET(entry, TRAMPOLINE_ENTRY);
CHECK_OFFSET(cpu, TRAMPOLINE_CPU);
CHECK_OFFSET(base, TRAMPOLINE_BASE);
CHECK_OFFSET(cr3, TRAMPOLINE_CR3);
CHECK_OFFSET(efer, TRAMPOLINE_EFER);
CHECK_OFFSET(far32, TRAMPOLINE_FAR32);
CHECK_OFFSET(gdt_limit, TRAMPOLINE_GDTR);
CHECK_OFFSET(far64, TRAMPOLINE_FAR64);
_Static_assert(sizeof(struct trampoline_params) == TRAMPOLINE_PARAMS_SIZE, "size");
#undef CHECK_OFFSET
#endif

#endif
