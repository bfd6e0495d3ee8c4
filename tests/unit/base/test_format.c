/* The formatter against the C library's, on random formats of what both promise. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "base/format.h"
#include "unit/random.h"

/* Numbers of all lengths, and the ends of their ranges. */
static u64 random_number(void)
{
    u64 n = random64() >> random64() % 64;

    switch (random64() % 8) {
    case 0:
        return 0;
    case 1:
        return BIT(63) + random64() % 3 - 1;
    case 2:
        return BIT(31) + random64() % 3 - 1;
    case 3:
        return -n;
    default:
        return n;
    }
}

/* A conversion of kind 'd', 'i', 'u', 'x' or 's', with flags and width. */
static void random_spec(char *spec, char kind, const char *length)
{
    char *p = spec;

    *p++ = '%';
    for (unsigned i = (unsigned)(random64() % 3); i; i--) {
        char flag = "-0#"[random64() % 3];

        /* What C leaves undefined. */
        if ((flag == '0' && kind == 's') || (flag == '#' && kind != 'x'))
            continue;
        *p++ = flag;
    }
    if (random64() & 1)
        p += sprintf(p, "%u", (unsigned)(random64() % 40));
    sprintf(p, "%s%c", length, kind);
}

/* Both results, in buffers of every interesting size, must be the same. */
#define COMPARE(fmt, ...)                                                                      \
    do {                                                                                       \
        char ours[256], theirs[256];                                                           \
        size_t size = random64() & 1 ? sizeof(ours) : random64() % 60;                         \
        size_t n, m;                                                                           \
                                                                                               \
        memset(ours, 0x55, sizeof(ours));                                                      \
        memset(theirs, 0x55, sizeof(theirs));                                                  \
        n = format(ours, size, fmt, __VA_ARGS__);                                              \
        m = (size_t)snprintf(theirs, size, fmt, __VA_ARGS__);                                  \
        if (n != m || memcmp(ours, theirs, sizeof(ours)))                                      \
            print_error(                                                                       \
                "format \"%s\" size %zu: ours \"%.200s\" (%zu), theirs \"%.200s\" (%zu)\n",    \
                fmt, size, size ? ours : "", n, size ? theirs : "", m);                        \
        assert_int_equal(n, m);                                                                \
        assert_memory_equal(ours, theirs, sizeof(ours));                                       \
    } while (0)

static void random_numbers(void **state)
{
    static const char kinds[] = "diux";
    char spec[32], fmt[96];

    for (unsigned i = 0; i < 200000; i++) {
        char kind = kinds[random64() % 4];
        u64 v = random_number();
        unsigned length = (unsigned)(random64() % 4);

        random_spec(spec, kind, (const char *[]){"", "l", "ll", "z"}[length]);
        snprintf(fmt, sizeof(fmt), "a%s%%%%b", spec);
        switch (length) {
        case 0:
            COMPARE(fmt, (unsigned)v);
            break;
        case 1:
            COMPARE(fmt, (unsigned long)v);
            break;
        case 2:
            COMPARE(fmt, (unsigned long long)v);
            break;
        default:
            COMPARE(fmt, (size_t)v);
        }
    }
}

static void random_text(void **state)
{
    char spec[32], fmt[96], text[64];

    for (unsigned i = 0; i < 50000; i++) {
        size_t len = random64() % sizeof(text);
        int precision = (int)(random64() % 80) - 8;
        char c = (char)(1 + random64() % 255);

        for (size_t k = 0; k < len; k++)
            text[k] = (char)(1 + random64() % 255);
        if (len == sizeof(text))
            len--;
        text[len] = '\0';
        random_spec(spec, 's', "");
        snprintf(fmt, sizeof(fmt), "%s%s", spec, i & 1 ? "" : "tail");
        COMPARE(fmt, text);
        COMPARE("<%.*s>", precision, text);
        COMPARE("%.5s|%c", text, c);
    }
}

static void precision_needs_no_terminator(void **state)
{
    const char raw[3] = {'a', 'b', 'c'};

    COMPARE("%.*s", 3, raw);
    COMPARE("%.*s", 0, raw);
    COMPARE("%10.*s|", 2, raw);
}

static void several(void **state)
{
    for (unsigned i = 0; i < 20000; i++) {
        u64 a = random_number(), b = random_number();

        COMPARE("%d:%08lx [%-12lu] %s%% %c %#lx %zu", (int)a, b, a, "text", 'x', b, a);
        COMPARE("%5d%-5d%05d|%ld", (int)a, (int)b, (int)a, (long)b);
    }
}

static void pointers_are_sixteen_digits(void **state)
{
    char buf[40];

    assert_int_equal(format(buf, sizeof(buf), "%p", (void *)0xffff880000001234UL), 16);
    assert_string_equal(buf, "ffff880000001234");
    format(buf, sizeof(buf), "%p", (void *)0);
    assert_string_equal(buf, "0000000000000000");
}

static void null_text(void **state)
{
    char buf[20];
    const char *volatile nothing = NULL;

    format(buf, sizeof(buf), "%s", nothing);
    assert_string_equal(buf, "(null)");
}

static void sizes(void **state)
{
    char buf[8];

    memset(buf, 'z', sizeof(buf));
    assert_int_equal(format(buf, 0, "hello"), 5);
    assert_int_equal(buf[0], 'z');
    assert_int_equal(format(NULL, 0, "%100d", 1), 100);
    assert_int_equal(format(buf, 1, "hello"), 5);
    assert_string_equal(buf, "");
    assert_int_equal(format(buf, 5, "hello"), 5);
    assert_string_equal(buf, "hell");
    assert_int_equal(buf[5], 'z');
    assert_int_equal(format(buf, 6, "hello"), 5);
    assert_string_equal(buf, "hello");
}

/* Formats that the compiler would not let through. */
static size_t unchecked(char *buf, size_t size, const char *fmt, ...)
{
    va_list ap;
    size_t n;

    va_start(ap, fmt);
    n = format_va(buf, size, fmt, ap);
    va_end(ap);
    return n;
}

static void odd_ends(void **state)
{
    char buf[40];

    unchecked(buf, sizeof(buf), "100%%");
    assert_string_equal(buf, "100%");
    unchecked(buf, sizeof(buf), "100%");
    assert_string_equal(buf, "100%");
    /* An absurd width is bounded: 1000 to 9999 columns. */
    assert_in_range(unchecked(buf, sizeof(buf), "%99999999999999999999d", 1), 1, 100000);
}

static void unknown_conversions_stay(void **state)
{
    char buf[40];

    unchecked(buf, sizeof(buf), "%5q %X");
    assert_string_equal(buf, "%5q %X");
}

static void character_has_width(void **state)
{
    char buf[40];

    unchecked(buf, sizeof(buf), "%3c|%-2c|", 'x', 'y');
    assert_string_equal(buf, "  x|y |");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_numbers),
        cmocka_unit_test(random_text),
        cmocka_unit_test(precision_needs_no_terminator),
        cmocka_unit_test(several),
        cmocka_unit_test(pointers_are_sixteen_digits),
        cmocka_unit_test(null_text),
        cmocka_unit_test(sizes),
        cmocka_unit_test(odd_ends),
        cmocka_unit_test(unknown_conversions_stay),
        cmocka_unit_test(character_has_width),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
