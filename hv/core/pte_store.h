/*
 * The three instructions that a Linux kernel writes its page tables with, recognised without the
 * full decoder: thousands of them make an munmap or a fork.
 *
 *      [f0] REX.W 87 /r        xchg reg64, m64
 *           REX.W 89 /r        mov reg64, m64
 *      f0 [REX] 80 /4 ib       lock and imm8, m8
 *
 * The address is not computed: for a naturally aligned operand that faulted it is the faulting
 * address, which the CPU told. Everything else is core/insn.h's.
 *
 * Pure; total.
 */
#ifndef SERAI_CORE_PTE_STORE_H
#define SERAI_CORE_PTE_STORE_H

#include "base/types.h"

enum pte_store_op { PTE_STORE_MOV, PTE_STORE_XCHG, PTE_STORE_AND8 };

struct pte_store {
    enum pte_store_op op;
    u8 gpr; /* source register, in the order of the encoding */
    u8 imm;
    u8 len;
};

/* 'bytes' are 16 readable ones at rip. False: not one of the three. */
static inline bool pte_store_decode(const u8 *bytes, struct pte_store *out)
{
    const u8 *p = bytes;
    bool lock = *p == 0xf0, wide;
    u8 rex, opcode, modrm, mod, rm;

    p += lock;
    rex = (*p & 0xf0) == 0x40 ? *p++ : 0;
    wide = rex & 8;
    opcode = *p++;
    modrm = *p++;
    mod = modrm >> 6;
    rm = modrm & 7;
    if (mod == 3)
        return false;
    if (rm == 4) {
        rm = *p++ & 7; /* the base: 5 without displacement means disp32 */
        p += mod == 0 && rm == 5 ? 4 : 0;
    } else if (mod == 0 && rm == 5) {
        p += 4;
    }
    p += mod == 1 ? 1 : mod == 2 ? 4 : 0;
    out->gpr = (u8)((modrm >> 3 & 7) | (rex & 4) << 1);
    if (opcode == 0x87 && wide)
        out->op = PTE_STORE_XCHG;
    else if (opcode == 0x89 && wide && !lock)
        out->op = PTE_STORE_MOV;
    else if (opcode == 0x80 && lock && (modrm >> 3 & 7) == 4) {
        out->op = PTE_STORE_AND8;
        out->imm = *p++;
    } else
        return false;
    out->len = (u8)(p - bytes);
    return true;
}

#endif
