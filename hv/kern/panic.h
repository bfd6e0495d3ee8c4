/*
 * The end of the line: what the operator sees when the machine cannot start or cannot go on.
 * Text, registers and a symbolised stack go to the console; then the machine halts with the text
 * on the screen, or reboots when it had been running and 'noreboot' was not given.
 */
#ifndef SERAI_KERN_PANIC_H
#define SERAI_KERN_PANIC_H

#include "base/types.h"
#include <xen/xen.h>

struct acpi_info;

/* An invariant of ours is broken. */
__noreturn void panic(const char *fmt, ...) __printf(1, 2);

/* The machine cannot start: says what is wrong and what to do, and halts. */
__noreturn void cannot_start(const char *fmt, ...) __printf(1, 2);

/* An exception inside the hypervisor. */
__noreturn void panic_trap(const struct cpu_user_regs *regs);
/* A non-maskable interrupt: counted, unless another CPU ends the machine by it. */
void nmi_interrupt(void);

/* Registers and, for the hypervisor's own, the stack with names. */
void dump_regs(const struct cpu_user_regs *regs);

/* Reset or halt, as 'noreboot' says. */
__noreturn void machine_end(bool reboot);
void machine_end_setup(const struct acpi_info *acpi, bool noreboot);
const struct acpi_info *machine_acpi(void);

#endif
