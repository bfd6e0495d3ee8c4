#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>
#include <cmocka.h>

#include "core/platform_bits.h"

static u8 bcd(unsigned v)
{
    return v / 10 << 4 | v % 10;
}

static struct rtc_registers registers_of(const struct tm *tm, u8 status_b)
{
    unsigned hour = tm->tm_hour, year = tm->tm_year + 1900;
    bool binary = status_b & RTC_B_BINARY;
    struct rtc_registers r = {.status_b = status_b};
    u8 pm = 0;

    if (!(status_b & RTC_B_24H)) {
        pm = hour >= 12 ? 0x80 : 0;
        hour = hour % 12 ? hour % 12 : 12;
    }
    r.second = binary ? tm->tm_sec : bcd(tm->tm_sec);
    r.minute = binary ? tm->tm_min : bcd(tm->tm_min);
    r.hour = (binary ? hour : bcd(hour)) | pm;
    r.day = binary ? tm->tm_mday : bcd(tm->tm_mday);
    r.month = binary ? tm->tm_mon + 1 : bcd(tm->tm_mon + 1);
    r.year = binary ? year % 100 : bcd(year % 100);
    r.century = binary ? year / 100 : bcd(year / 100);
    return r;
}

/* Every mode of the chip, against the C library's calendar, in steps of 11 h 7 min 13 s. */
static void rtc_agrees_with_the_calendar(void **state)
{
    static const u8 modes[] = {0, RTC_B_24H, RTC_B_BINARY, RTC_B_24H | RTC_B_BINARY};
    u64 seconds;
    time_t t;
    unsigned m;

    for (t = 0; t < 5000000000; t += 40033)
        for (m = 0; m < ARRAY_SIZE(modes); m++) {
            struct tm tm;
            struct rtc_registers r;

            gmtime_r(&t, &tm);
            r = registers_of(&tm, modes[m]);
            assert_int_equal(rtc_to_seconds(&r, &seconds), 0);
            assert_int_equal(seconds, t);
        }
}

static void rtc_guesses_a_missing_century(void **state)
{
    struct rtc_registers r = {.day = 1, .month = 1, .year = 0x70, .status_b = RTC_B_24H};
    u64 seconds;

    assert_int_equal(rtc_to_seconds(&r, &seconds), 0);
    assert_int_equal(seconds, 0);
    r.year = 0x00;
    assert_int_equal(rtc_to_seconds(&r, &seconds), 0);
    assert_int_equal(seconds, 946684800);
    r.century = 0xff;
    assert_int_equal(rtc_to_seconds(&r, &seconds), 0);
    assert_int_equal(seconds, 946684800);
}

static void rtc_refuses_nonsense(void **state)
{
    const struct rtc_registers good = {.second = 0x59,
                                       .minute = 0x59,
                                       .hour = 0x23,
                                       .day = 0x29,
                                       .month = 0x02,
                                       .year = 0x24,
                                       .century = 0x20,
                                       .status_b = RTC_B_24H};
    struct rtc_registers r = good;
    u64 s;

    assert_int_equal(rtc_to_seconds(&r, &s), 0);
#define BAD(field, value)                                                                      \
    r = good;                                                                                  \
    r.field = value;                                                                           \
    assert_int_equal(rtc_to_seconds(&r, &s), -XEN_EINVAL)
    BAD(second, 0x60);
    BAD(second, 0x5a);
    BAD(minute, 0x60);
    BAD(hour, 0x24);
    BAD(hour, 0xff);
    BAD(day, 0);
    BAD(day, 0x30);
    BAD(month, 0);
    BAD(month, 0x13);
    BAD(year, 0x23); /* no 29 February */
    BAD(year, 0xaa);
    BAD(century, 0x19); /* 1924 */
#undef BAD
    r = good;
    r.status_b = 0; /* 12-hour mode has neither 0 nor 13 */
    r.hour = 0x00;
    assert_int_equal(rtc_to_seconds(&r, &s), -XEN_EINVAL);
    r.hour = 0x13;
    assert_int_equal(rtc_to_seconds(&r, &s), -XEN_EINVAL);
}

static void messages_name_cpu_and_vector(void **state)
{
    struct msi_message m = {1, 2};

    assert_int_equal(msi_compose(0x41, 3, &m), 0);
    assert_int_equal(m.address, 0xfee03000);
    assert_int_equal(m.data, 0x41);
    assert_int_equal(msi_compose(0xef, 254, &m), 0);
    assert_int_equal(m.address, 0xfeefe000);
    assert_int_equal(msi_compose(0x41, 255, &m), -XEN_ERANGE);
    assert_int_equal(msi_compose(0x41, 256, &m), -XEN_ERANGE);
    assert_int_equal(msi_compose(15, 0, &m), -XEN_EINVAL);
    assert_int_equal(m.address, 0xfeefe000);
}

static void redirection_entries(void **state)
{
    u64 rte;

    assert_int_equal(rte_compose(0x30, 0, false, false, &rte), 0);
    assert_int_equal(rte, 0x10030);
    assert_int_equal(rte_compose(0xd1, 0xab, true, true, &rte), 0);
    assert_int_equal(rte, 0xab0000000001a0d1);
    assert_int_equal(rte_compose(0xd1, 1, true, false, &rte), 0);
    assert_int_equal(rte, 0x01000000000180d1);
    assert_int_equal(rte_compose(0xd1, 0xff, true, false, &rte), -XEN_ERANGE);
    assert_int_equal(rte_compose(0, 1, true, false, &rte), -XEN_EINVAL);
}

static void bars(void **state)
{
    assert_int_equal(pci_bar_address(0xfebf1000, 7, true), 0xfebf1000);
    assert_int_equal(pci_bar_address(0xfebf1008, 7, true), 0xfebf1000);
    assert_int_equal(pci_bar_address(0xfebf100c, 0x8, true), 0x8febf1000);
    assert_int_equal(pci_bar_address(0xfebf100c, 0x8, false), 0);
    assert_int_equal(pci_bar_address(0xc001, 0, true), 0);
    assert_int_equal(pci_bar_address(0xfebf1002, 0, true), 0);
    assert_int_equal(pci_bar_address(0xfebf1006, 0, true), 0);
    assert_int_equal(pci_bar_address(0, 0, true), 0);
    assert_int_equal(pci_bar_address(4, 0, true), 0);
    assert_int_equal(pci_bar_address(~0U, ~0U, true), 0);
}

static void mul_div_is_exact(void **state)
{
    unsigned i;

    srand(1);
    for (i = 0; i < 200000; i++) {
        u64 a = (u64)random() << 33 ^ random(), b = (u64)random() << (i % 34) ^ random();
        u64 c = ((u64)random() << 33 ^ random()) >> (i % 61) | 1;
        unsigned __int128 want = (unsigned __int128)a * b / c;

        assert_int_equal(mul_div(a, b, c), want >> 64 ? ~0UL : (u64)want);
    }
    assert_int_equal(mul_div(~0UL, ~0UL, ~0UL), ~0UL);
    assert_int_equal(mul_div(~0UL, 5, 1UL << 63), 9);
    assert_int_equal(mul_div(1, 1, 0), ~0UL);
    assert_int_equal(mul_div(0, 1, 0), ~0UL);
}

static void counters_wrap(void **state)
{
    assert_int_equal(counter_delta(0xfffff0, 0x10, 24), 0x20);
    assert_int_equal(counter_delta(0xfffffff0, 0x10, 32), 0x20);
    assert_int_equal(counter_delta(5, 5, 24), 0);
    assert_int_equal(counter_delta(0x10, 0xf, 16), 0xffff);
}

/* A timer armed with a ratio never fires before its deadline, and at most 2 ticks late. */
static void timer_ticks_are_not_early(void **state)
{
    static const u64 hz[] = {1000000,    19200000,   24000000,  133333333,
                             1000000000, 2394560000, 5000000000};
    unsigned f, t;

    for (f = 0; f < ARRAY_SIZE(hz); f++)
        for (t = 0; t < ARRAY_SIZE(hz); t++) {
            struct tick_ratio r;
            unsigned __int128 want, got;
            s64 d;

            ratio_compose(hz[f], hz[t], &r);
            for (d = 1; d < (s64)r.reach; d = d * 3 + 1) {
                want = (unsigned __int128)(u64)d * hz[t];
                got = (unsigned __int128)ratio_ticks(&r, d) * hz[f];
                assert_true(got >= want);
                assert_true(got <= want + 2 * hz[f] + (want >> 20));
                assert_int_equal(ratio_ticks_any(&r, d), ratio_ticks(&r, d));
            }
            assert_true(ratio_ticks(&r, 0) == 1);
            assert_true(ratio_ticks(&r, r.reach - 1) >= ~0U - 2 * (hz[t] / hz[f] + 2));
            assert_true(((unsigned __int128)(r.reach - 1) * r.mult) >> 32 < ~0U);
            assert_int_equal(ratio_ticks_any(&r, 0), 1);
            assert_int_equal(ratio_ticks_any(&r, -1), 1);
            assert_int_equal(ratio_ticks_any(&r, INT64_MIN), 1);
            assert_int_equal(ratio_ticks_any(&r, r.reach), ~0U);
            assert_int_equal(ratio_ticks_any(&r, INT64_MAX), ~0U);
        }
}

/* Frequencies that no machine has still give a defined ratio. */
static void timer_ratio_is_total(void **state)
{
    static const u64 hz[] = {0, 1, 1UL << 31, 1UL << 32, 1UL << 63, ~0UL};
    unsigned f, t;

    for (f = 0; f < ARRAY_SIZE(hz); f++)
        for (t = 0; t < ARRAY_SIZE(hz); t++) {
            struct tick_ratio r;

            ratio_compose(hz[f], hz[t], &r);
            assert_true(r.reach <= INT64_MAX);
            if (r.reach)
                assert_true(((unsigned __int128)(r.reach - 1) * r.mult) >> 32 < ~0U);
            assert_int_equal(ratio_ticks_any(&r, 0), 1);
        }
}

static void serial_frames(void **state)
{
    assert_int_equal(uart_divisor(115200), 1);
    assert_int_equal(uart_divisor(57600), 2);
    assert_int_equal(uart_divisor(38400), 3);
    assert_int_equal(uart_divisor(9600), 12);
    assert_int_equal(uart_divisor(2), 57600);
    assert_int_equal(uart_divisor(1), 0);
    assert_int_equal(uart_divisor(0), 0);
    assert_int_equal(uart_divisor(230400), 0);
    assert_int_equal(uart_divisor(100000), 0);
    assert_int_equal(uart_line_control(8, 'n', 1), 0x03);
    assert_int_equal(uart_line_control(7, 'e', 2), 0x1e);
    assert_int_equal(uart_line_control(5, 's', 1), 0x38);
    assert_int_equal(uart_line_control(8, 'o', 1), 0x0b);
    assert_int_equal(uart_line_control(8, 'm', 1), 0x2b);
    assert_int_equal(uart_line_control(9, 'n', 1), -XEN_EINVAL);
    assert_int_equal(uart_line_control(4, 'n', 1), -XEN_EINVAL);
    assert_int_equal(uart_line_control(8, 'x', 1), -XEN_EINVAL);
    assert_int_equal(uart_line_control(8, 'n', 0), -XEN_EINVAL);
    assert_int_equal(uart_line_control(8, 'n', 3), -XEN_EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rtc_agrees_with_the_calendar),
        cmocka_unit_test(rtc_guesses_a_missing_century),
        cmocka_unit_test(rtc_refuses_nonsense),
        cmocka_unit_test(messages_name_cpu_and_vector),
        cmocka_unit_test(redirection_entries),
        cmocka_unit_test(bars),
        cmocka_unit_test(mul_div_is_exact),
        cmocka_unit_test(counters_wrap),
        cmocka_unit_test(timer_ticks_are_not_early),
        cmocka_unit_test(timer_ratio_is_total),
        cmocka_unit_test(serial_frames),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
