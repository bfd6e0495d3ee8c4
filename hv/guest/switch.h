/*
 * What of a vcpu lies in its CPU's registers, and how it gets there and back.
 *
 * 1. A vcpu's registers are either in one CPU (loaded_cpu says which, and that CPU's 'guest'
 *    says who) or in struct vcpu.
 * 2. They stay in the CPU when the vcpu sleeps and the CPU idles: back on it, nothing is to be
 *    done. Another CPU that wants to run it asks for them (VECTOR_IPI_UNLOAD) and waits; so the
 *    page table an idle CPU has loaded belongs to a vcpu that has run nowhere else since.
 * 3. A flush that a guest asks for reaches a vcpu that is not running by its flush_pending, which
 *    is looked at when it is switched in.
 */
#ifndef SERAI_GUEST_SWITCH_H
#define SERAI_GUEST_SWITCH_H

#include "guest/domain.h"

extern const struct switch_ops vcpu_switch_ops;

/* Whose registers are in a CPU; NULL: nobody's. */
static inline struct vcpu *switch_loaded_vcpu(const struct cpu *c)
{
    return c->guest ? container_of(c->guest, struct vcpu, run.unit) : NULL;
}

/* At boot: the interrupts by which CPUs ask each other for registers and for flushes. */
void switch_init(void);

/* Memory for the registers of a new vcpu, and their state after a reset. */
int switch_vcpu_init(struct vcpu *v) must_check;

/* The registers of a vcpu that does not run come back from the CPU that had it last. */
void switch_unload(struct vcpu *v);

/* Puts the image of the FPU (512 bytes, FXSAVE form; NULL: as after reset) into a vcpu that does
 * not run. */
void switch_set_fpu(struct vcpu *v, const u8 *image);
void switch_get_fpu(const struct vcpu *v, u8 *image);
/* The same in XSAVE form, of 'size' bytes, of which xstate_ok() holds; with regs.fpu to read. */
void switch_set_xstate(struct vcpu *v, const u8 *image, u64 size);

/* Makes these vcpus of a domain flush (a bit per vcpu), and waits for those that run. */
void switch_flush_vcpus(struct domain *d, u64 vcpus);

#endif
