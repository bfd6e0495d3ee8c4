/* The battery clock, read once at boot. Domain 0 sets it through the ports it is given. */
#ifndef SERAI_X86_RTC_H
#define SERAI_X86_RTC_H

#include "base/types.h"

/* Seconds since 1970 (UTC, as the machine's clock is believed to run); 0 when it makes no sense. */
u64 read_cmos_time(void);

#endif
