/*
 * The local APIC: identity, end of interrupt, messages to other CPUs, and the one-shot timer.
 * xAPIC through its page, x2APIC through MSRs when the firmware left that mode on.
 *
 * 1. Every local vector except the timer and, on request, the NMI pin is masked.
 * 2. Destinations are physical APIC ids. Without x2APIC only ids below 255 can be reached.
 * 3. The timer may fire early (a deadline farther away than the 32-bit counter reaches, and
 *    calibration error), so its handler compares the clock and sets the timer again.
 *
 * Locking: all state is per CPU or written once at boot. Sending disables interrupts for the
 * two stores of an xAPIC command.
 */
#ifndef SERAI_X86_LAPIC_H
#define SERAI_X86_LAPIC_H

#include "base/types.h"

/* The handler for this vector must not send an end of interrupt. */
#define LAPIC_SPURIOUS_VECTOR 0xff

/* The boot CPU, once; 'phys' from the MADT. Maps the page for all CPUs. */
int lapic_init(u64 phys);

/* Each further CPU: same mode, same settings, timer included if lapic_timer_init() came first. */
void lapic_init_ap(void);

/* The caller's own APIC id. */
u32 lapic_id(void);
bool lapic_is_x2apic(void);

/* The physical page no guest may map; 0 before lapic_init(). */
u64 lapic_phys(void);

void lapic_eoi(void);

void lapic_send_ipi(u32 apic_id, u8 vector);
void lapic_send_nmi(u32 apic_id);
void lapic_send_init(u32 apic_id);
void lapic_send_startup(u32 apic_id, u8 page);

/*
 * Calibrates against the TSC (about a millisecond) on the boot CPU. The TSC-deadline mode is
 * used where CPUID has it. -XEN_ENODEV when the counter does not move.
 */
int lapic_timer_init(u8 vector, u64 tsc_hz);

/*
 * One shot at the given TSC value, on this CPU; a deadline in the past fires at once. Replaces
 * what was set before. A dozen instructions and one store or MSR write; no division.
 */
void lapic_timer_set(u64 tsc_deadline);

/* An interrupt already on its way may still arrive. */
void lapic_timer_stop(void);

#endif
