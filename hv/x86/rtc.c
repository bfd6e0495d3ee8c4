#include "x86/rtc.h"
#include "x86/cpu.h"
#include "core/platform_bits.h"
#include "base/string.h"

#define RTC_INDEX 0x70
#define RTC_DATA  0x71

#define RTC_STATUS_A 0x0a
#define RTC_STATUS_B 0x0b
#define RTC_CENTURY  0x32 /* where PC firmware keeps it; nonsense there is recognised */

#define A_UPDATING 0x80

/* An update takes at most 2 ms, a read about a microsecond. */
#define UPDATE_POLLS 10000
#define READ_TRIES   8

static __init u8 read_register(u8 index)
{
    outb(RTC_INDEX, index);
    return inb(RTC_DATA);
}

static __init void read_once(struct rtc_registers *r)
{
    unsigned polls = UPDATE_POLLS;

    while ((read_register(RTC_STATUS_A) & A_UPDATING) && --polls)
        cpu_relax();
    r->second = read_register(0);
    r->minute = read_register(2);
    r->hour = read_register(4);
    r->day = read_register(7);
    r->month = read_register(8);
    r->year = read_register(9);
    r->century = read_register(RTC_CENTURY);
    r->status_b = read_register(RTC_STATUS_B);
}

/* An update may begin between two registers, so only two equal readings count. */
__init u64 read_cmos_time(void)
{
    struct rtc_registers last, now;
    unsigned tries;
    u64 seconds;

    read_once(&now);
    for (tries = 0; tries < READ_TRIES; tries++) {
        last = now;
        read_once(&now);
        if (!memcmp(&last, &now, sizeof(now)))
            return rtc_to_seconds(&now, &seconds) ? 0 : seconds;
    }
    return 0;
}
