/*
 * I/O ports of domain 0: which ones run natively (the I/O bitmap), and the rest by emulation.
 */
#ifndef SERAI_GUEST_IOPORTS_H
#define SERAI_GUEST_IOPORTS_H

#include "core/insn.h"
#include "guest/domain.h"

/* Opens the ports that domain 0 owns in a CPU's bitmap. */
void ioports_init_cpu(struct cpu *c);

/* IN, OUT and their string forms that trapped. False: #GP for the guest. */
bool ioports_emulate(struct vcpu *v, const struct insn *insn, struct cpu_user_regs *regs);

/* The guest changed its I/O privilege level. */
void ioports_set_iopl(struct vcpu *v, unsigned iopl);

#endif
