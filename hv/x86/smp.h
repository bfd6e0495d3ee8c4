/*
 * Starting the other CPUs.
 *
 * What the caller provides while smp_start() runs:
 * 1. 'trampoline_phys': a page of RAM below 1 MiB, page-aligned, overwritten here through
 *    phys_to_virt() and read by the new CPUs until their ap_main() has loaded its own GDT.
 * 2. In the page tables of the calling CPU (CR3 below 4 GiB): that page at its own address
 *    (identity), readable and executable; it need not be writable.
 * 3. tsc_calibrate() and lapic_init() are done. The caller's one-shot timer is used: it may fire
 *    once and has to be set again.
 *
 * A new CPU arrives in ap_main() on its stack, interrupts off, with the caller's CR0, CR3, CR4,
 * EFER and PAT, a flat GDT that lies in the trampoline page, and no IDT: it loads its own
 * descriptor tables first, then calls lapic_init_ap(). It counts as online before that, and the
 * next CPU is started at once; ap_main() reports further progress by its own means and never
 * returns.
 */
#ifndef SERAI_X86_SMP_H
#define SERAI_X86_SMP_H

#include "base/types.h"

struct acpi_info;

/*
 * CPU 0 is the caller; the others are numbered in the order they answered. Returns how many run,
 * the caller included. CPUs that stay silent are named in the log and left waiting for INIT.
 * alloc_stack() returns the top of a stack, 16-byte aligned, or NULL to stop here.
 */
unsigned smp_start(const struct acpi_info *info, u64 trampoline_phys,
                   void (*ap_main)(unsigned cpu), void *(*alloc_stack)(unsigned cpu));

/* APIC id of a running CPU; the boot CPU's before smp_start() too. ~0 for others. */
u32 smp_apic_id(unsigned cpu);

#endif
