/*
 * The time stamp counter: how fast it runs, and short delays by it. Boot CPU, at boot.
 */
#ifndef SERAI_X86_TSC_H
#define SERAI_X86_TSC_H

#include "base/types.h"

struct acpi_info;

/*
 * Hertz, measured against the HPET, else the ACPI timer, else the PIT (five milliseconds); a
 * frequency that CPUID states exactly is preferred when the measurement agrees with it, or when
 * there is nothing to measure against. 0 when the machine has no usable timer.
 */
u64 tsc_calibrate(const struct acpi_info *info);

/* What tsc_calibrate() returned. */
u64 tsc_hz(void);

/* What the figure comes from, for the log. */
const char *tsc_source(void);

/* Runs at one rate in all power states. */
bool tsc_is_invariant(void);

/* Busy wait; after tsc_calibrate(). */
void tsc_delay_us(u32 us);

/* One reading of another counter, with the TSC at that moment: the tightest of several. */
struct tsc_sample {
    u64 tsc;
    u32 counter;
};

void tsc_take_sample(u32 (*read)(void), struct tsc_sample *sample);

#endif
