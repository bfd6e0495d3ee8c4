/* The interrupts that explorer.c's CPUs send each other. */
#ifndef SERAI_X86_LAPIC_H
#define SERAI_X86_LAPIC_H

#include "base/types.h"

void lapic_send_ipi(u32 apic_id, unsigned vector);

#endif
