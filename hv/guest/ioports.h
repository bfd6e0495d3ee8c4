/*
 * I/O ports: those of domain 0 run natively (the I/O bitmap) but for a few that are emulated.
 * Other domains trap at each access, and reach the ports that they were permitted.
 */
#ifndef SERAI_GUEST_IOPORTS_H
#define SERAI_GUEST_IOPORTS_H

#include "core/insn.h"
#include "guest/domain.h"

/* Opens the ports that domain 0 owns in a CPU's bitmap. */
void ioports_init_cpu(struct cpu *c);

/* IN, OUT and their string forms that trapped. False: #GP for the guest. */
bool ioports_emulate(struct vcpu *v, const struct insn *insn, struct cpu_user_regs *regs);

/* Some port of [first, last] is one that no guest may use itself. */
bool ioports_withheld(u16 first, u16 last);

/* The guest changed its I/O privilege level. */
void ioports_set_iopl(struct vcpu *v, unsigned iopl);

#endif
