#include "core/platform_bits.h"

/* 0xff for a byte that is not two decimal digits: out of every field's range. */
static u8 from_bcd(u8 v)
{
    if ((v & 0x0f) > 9 || v > 0x99)
        return 0xff;
    return (v >> 4) * 10 + (v & 0x0f);
}

static bool is_leap(unsigned year)
{
    return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

static unsigned days_in_month(unsigned year, unsigned month)
{
    static const u8 days[12] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};

    return days[month - 1] + (month == 2 && is_leap(year));
}

static unsigned days_before_year(unsigned year)
{
    unsigned y = year - 1;

    return y * 365 + y / 4 - y / 100 + y / 400;
}

static unsigned decode_year(u8 year, u8 century)
{
    if (century >= 19 && century <= 29)
        return century * 100 + year;
    return year < 70 ? 2000 + year : 1900 + year;
}

/* Hour 0..23, or 0xff. In 12-hour mode bit 7 says afternoon and 12 comes before 1. */
static u8 decode_hour(u8 raw, u8 status_b)
{
    bool bcd = !(status_b & RTC_B_BINARY);
    u8 hour;

    if (status_b & RTC_B_24H)
        return bcd ? from_bcd(raw) : raw;
    hour = bcd ? from_bcd(raw & 0x7f) : raw & 0x7f;
    if (hour < 1 || hour > 12)
        return 0xff;
    return hour % 12 + (raw & 0x80 ? 12 : 0);
}

int rtc_to_seconds(const struct rtc_registers *r, u64 *seconds)
{
    bool bcd = !(r->status_b & RTC_B_BINARY);
    u8 second = bcd ? from_bcd(r->second) : r->second;
    u8 minute = bcd ? from_bcd(r->minute) : r->minute;
    u8 hour = decode_hour(r->hour, r->status_b);
    u8 day = bcd ? from_bcd(r->day) : r->day;
    u8 month = bcd ? from_bcd(r->month) : r->month;
    u8 year_low = bcd ? from_bcd(r->year) : r->year;
    unsigned year, days, m;

    if (second > 59 || minute > 59 || hour > 23 || year_low > 99)
        return -XEN_EINVAL;
    year = decode_year(year_low, bcd ? from_bcd(r->century) : r->century);
    if (year < 1970 || month < 1 || month > 12 || day < 1 || day > days_in_month(year, month))
        return -XEN_EINVAL;

    days = days_before_year(year) - days_before_year(1970) + day - 1;
    for (m = 1; m < month; m++)
        days += days_in_month(year, m);
    *seconds = (u64)days * 86400 + hour * 3600U + minute * 60U + second;
    return 0;
}

static int check_target(u8 vector, u32 apic_id)
{
    if (vector < MIN_IRQ_VECTOR)
        return -XEN_EINVAL;
    return apic_id > MSI_MAX_APIC_ID ? -XEN_ERANGE : 0;
}

int msi_compose(u8 vector, u32 apic_id, struct msi_message *msg)
{
    int rc = check_target(vector, apic_id);

    if (rc)
        return rc;
    msg->address = MSI_ADDRESS_BASE | apic_id << 12;
    msg->data = vector;
    return 0;
}

int rte_compose(u8 vector, u32 apic_id, bool level, bool active_low, u64 *rte)
{
    int rc = check_target(vector, apic_id);

    if (rc)
        return rc;
    *rte = (u64)apic_id << 56 | RTE_MASKED | vector;
    if (level)
        *rte |= RTE_LEVEL;
    if (active_low)
        *rte |= RTE_LOW_ACTIVE;
    return 0;
}

u64 pci_bar_address(u32 lo, u32 hi, bool has_hi)
{
    unsigned type = lo >> 1 & 3;

    if ((lo & 1) || lo == ~0U)
        return 0;
    if (type == 0)
        return lo & ~0xfU;
    if (type != 2 || !has_hi)
        return 0;
    return (u64)hi << 32 | (lo & ~0xfU);
}

u64 mul_div(u64 a, u64 b, u64 c)
{
    unsigned __int128 product = (unsigned __int128)a * b;
    u64 high = product >> 64, low = (u64)product;

    if (high >= c)
        return ~0UL;
    asm("divq %2" : "+a"(low), "+d"(high) : "r"(c) : "cc");
    return low;
}

u32 counter_delta(u32 from, u32 to, unsigned bits)
{
    u32 mask = bits >= 32 ? ~0U : (1U << bits) - 1;

    return (to - from) & mask;
}

void ratio_compose(u64 from_hz, u64 to_hz, struct tick_ratio *r)
{
    u64 mult = mul_div(to_hz, 1UL << 32, from_hz);
    u64 reach;

    r->mult = mult == ~0UL ? mult : mult + 1;
    reach = mul_div(~0U, 1UL << 32, r->mult);
    r->reach = MIN(reach, (u64)INT64_MAX);
}

u32 ratio_ticks_any(const struct tick_ratio *r, s64 distance)
{
    if (distance <= 0)
        return 1;
    return (u64)distance < r->reach ? ratio_ticks(r, distance) : ~0U;
}

u16 uart_divisor(u32 baud)
{
    u32 divisor, made;

    if (baud == 0 || baud > 115200)
        return 0;
    divisor = (115200 + baud / 2) / baud;
    if (divisor > 0xffff)
        return 0;
    made = 115200 / divisor;
    return made > baud + baud / 32 || made < baud - baud / 32 ? 0 : divisor;
}

int uart_line_control(u8 data_bits, u8 parity, u8 stop_bits)
{
    static const char parities[5] = {'n', 'o', 'e', 'm', 's'};
    static const u8 bits[5] = {0x00, 0x08, 0x18, 0x28, 0x38};
    unsigned i;

    if (data_bits < 5 || data_bits > 8 || stop_bits < 1 || stop_bits > 2)
        return -XEN_EINVAL;
    for (i = 0; i < ARRAY_SIZE(bits); i++)
        if (parity == parities[i])
            return (data_bits - 5) | (stop_bits == 2 ? 0x04 : 0) | bits[i];
    return -XEN_EINVAL;
}
