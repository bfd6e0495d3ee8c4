/* Leaving: reset and power off. Interrupts off; other CPUs stopped by the caller. */
#ifndef SERAI_X86_REBOOT_H
#define SERAI_X86_REBOOT_H

#include "base/types.h"

struct acpi_info;

/*
 * ACPI reset register, port CF9, keyboard controller, triple fault, in this order, each given
 * time to work. 'info' may be NULL.
 */
__noreturn void machine_reset(const struct acpi_info *info);

/*
 * Writes the values domain 0 computed (sleep type, enable bit clear) to the PM1 control
 * registers, then again with the enable bit. Returns only when the machine did not go:
 * -XEN_ENODEV without a PM1a control register, -XEN_EIO otherwise.
 */
int acpi_enter_s5(const struct acpi_info *info, u32 pm1a_val, u32 pm1b_val);

#endif
