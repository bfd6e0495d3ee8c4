/* Between the register frame of a visit and the decoder's array (order of the encoding). */
#ifndef SERAI_GUEST_REGS_H
#define SERAI_GUEST_REGS_H

#include "base/types.h"
#include "core/insn.h"
#include <xen/xen.h>

/* General register n of the encoding's order. */
static inline u64 *regs_gpr(struct cpu_user_regs *regs, unsigned n)
{
    static const u8 offset[16] = {
        offsetof(struct cpu_user_regs, rax), offsetof(struct cpu_user_regs, rcx),
        offsetof(struct cpu_user_regs, rdx), offsetof(struct cpu_user_regs, rbx),
        offsetof(struct cpu_user_regs, rsp), offsetof(struct cpu_user_regs, rbp),
        offsetof(struct cpu_user_regs, rsi), offsetof(struct cpu_user_regs, rdi),
        offsetof(struct cpu_user_regs, r8),  offsetof(struct cpu_user_regs, r9),
        offsetof(struct cpu_user_regs, r10), offsetof(struct cpu_user_regs, r11),
        offsetof(struct cpu_user_regs, r12), offsetof(struct cpu_user_regs, r13),
        offsetof(struct cpu_user_regs, r14), offsetof(struct cpu_user_regs, r15),
    };

    return (u64 *)((u8 *)regs + offset[n & 15]);
}

static inline void regs_to_insn(const struct cpu_user_regs *regs, struct insn_regs *r)
{
    r->gpr[0] = regs->rax;
    r->gpr[1] = regs->rcx;
    r->gpr[2] = regs->rdx;
    r->gpr[3] = regs->rbx;
    r->gpr[4] = regs->rsp;
    r->gpr[5] = regs->rbp;
    r->gpr[6] = regs->rsi;
    r->gpr[7] = regs->rdi;
    r->gpr[8] = regs->r8;
    r->gpr[9] = regs->r9;
    r->gpr[10] = regs->r10;
    r->gpr[11] = regs->r11;
    r->gpr[12] = regs->r12;
    r->gpr[13] = regs->r13;
    r->gpr[14] = regs->r14;
    r->gpr[15] = regs->r15;
    r->rip = regs->rip;
    r->rflags = regs->rflags;
    r->fs_base = 0;
    r->gs_base = 0;
}

static inline void regs_from_insn(struct cpu_user_regs *regs, const struct insn_regs *r)
{
    regs->rax = r->gpr[0];
    regs->rcx = r->gpr[1];
    regs->rdx = r->gpr[2];
    regs->rbx = r->gpr[3];
    regs->rsp = r->gpr[4];
    regs->rbp = r->gpr[5];
    regs->rsi = r->gpr[6];
    regs->rdi = r->gpr[7];
    regs->r8 = r->gpr[8];
    regs->r9 = r->gpr[9];
    regs->r10 = r->gpr[10];
    regs->r11 = r->gpr[11];
    regs->r12 = r->gpr[12];
    regs->r13 = r->gpr[13];
    regs->r14 = r->gpr[14];
    regs->r15 = r->gpr[15];
    regs->rip = r->rip;
    regs->rflags = r->rflags;
}

#endif
