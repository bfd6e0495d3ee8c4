/* Console output, TAP, and the few library functions a guest needs. */
#include <stdarg.h>

#include "abi/serai.h"
#include "domu.h"

struct start_info *start;
bool is_serai;
static unsigned tests_run, tests_failed;
static const char *group_name = "";
static u64 rand_state[2];

/* --- bytes --- */

void *memset(void *p, int c, size_t n)
{
    void *at = p;

    asm volatile("rep stosb" : "+D"(at), "+c"(n) : "a"(c) : "memory");
    return p;
}

void *memcpy(void *to, const void *from, size_t n)
{
    void *at = to;

    asm volatile("rep movsb" : "+D"(at), "+S"(from), "+c"(n) : : "memory");
    return to;
}

int memcmp(const void *a, const void *b, size_t n)
{
    const u8 *x = a, *y = b;

    for (size_t i = 0; i < n; i++)
        if (x[i] != y[i])
            return x[i] - y[i];
    return 0;
}

size_t strlen(const char *s)
{
    size_t n = 0;

    while (s[n])
        n++;
    return n;
}

bool has_prefix(const char *s, const char *prefix)
{
    while (*prefix)
        if (*s++ != *prefix++)
            return false;
    return true;
}

const char *option(const char *key)
{
    size_t n = strlen(key);

    for (const char *s = (const char *)start->cmd_line; *s; s++)
        if ((s == (const char *)start->cmd_line || s[-1] == ' ') && has_prefix(s, key) &&
            s[n] == '=')
            return s + n + 1;
    return NULL;
}

u64 option_number(const char *key, u64 otherwise)
{
    const char *s = option(key);
    u64 n = 0;

    if (!s)
        return otherwise;
    for (; *s >= '0' && *s <= '9'; s++)
        n = n * 10 + (*s - '0');
    return n;
}

/* --- xorshift128+ --- */

void rand_seed(u64 seed)
{
    rand_state[0] = seed * 0x9e3779b97f4a7c15 + 1;
    rand_state[1] = ~seed * 0xbf58476d1ce4e5b9 + 2;
    for (int i = 0; i < 16; i++)
        rand64();
}

u64 rand64(void)
{
    u64 x = rand_state[0], y = rand_state[1];

    rand_state[0] = y;
    x ^= x << 23;
    rand_state[1] = x ^ y ^ (x >> 17) ^ (y >> 26);
    return rand_state[1] + y;
}

u64 rand_below(u64 n)
{
    return rand64() % n;
}

/* --- formatting: %s %c %d %u %x %p, with l, and 0N widths for %x --- */

struct line {
    char text[256];
    unsigned len;
};

static void put(struct line *l, char c)
{
    if (l->len < sizeof(l->text))
        l->text[l->len++] = c;
}

static void put_number(struct line *l, u64 n, unsigned base, unsigned width)
{
    char digits[24];
    unsigned len = 0;

    do {
        digits[len++] = "0123456789abcdef"[n % base];
        n /= base;
    } while (n || len < width);
    while (len)
        put(l, digits[--len]);
}

static void put_signed(struct line *l, long n)
{
    if (n < 0)
        put(l, '-');
    put_number(l, n < 0 ? -(u64)n : (u64)n, 10, 0);
}

static void format(struct line *l, const char *fmt, va_list ap)
{
    for (; *fmt; fmt++) {
        unsigned width = 0;
        bool is_long = false;

        if (*fmt != '%') {
            put(l, *fmt);
            continue;
        }
        for (fmt++; *fmt >= '0' && *fmt <= '9'; fmt++)
            width = width * 10 + (*fmt - '0');
        for (; *fmt == 'l'; fmt++)
            is_long = true;
        if (*fmt == 's')
            for (const char *s = va_arg(ap, const char *); *s; s++)
                put(l, *s);
        else if (*fmt == 'c')
            put(l, va_arg(ap, int));
        else if (*fmt == 'd')
            put_signed(l, is_long ? va_arg(ap, long) : va_arg(ap, int));
        else if (*fmt == 'u')
            put_number(l, is_long ? va_arg(ap, u64) : va_arg(ap, u32), 10, width);
        else if (*fmt == 'x')
            put_number(l, is_long ? va_arg(ap, u64) : va_arg(ap, u32), 16, width);
        else if (*fmt == 'p')
            put_number(l, va_arg(ap, u64), 16, 16);
        else
            put(l, *fmt);
    }
}

static void flush(const struct line *l)
{
    if (in_domu)
        domu_print(l->text, l->len);
    else
        hc_console(CONSOLEIO_write, l->len, l->text);
}

void print(const char *fmt, ...)
{
    struct line l = {.len = 0};
    va_list ap;

    va_start(ap, fmt);
    format(&l, fmt, ap);
    va_end(ap);
    flush(&l);
}

void note(const char *fmt, ...)
{
    struct line l = {.text = "# ", .len = 2};
    va_list ap;

    va_start(ap, fmt);
    format(&l, fmt, ap);
    va_end(ap);
    put(&l, '\n');
    flush(&l);
}

/* --- TAP --- */

static bool result(bool good, const char *fmt, va_list ap)
{
    struct line l = {.len = 0};

    tests_run++;
    tests_failed += !good;
    for (const char *s = good ? "ok " : "not ok "; *s; s++)
        put(&l, *s);
    put_number(&l, tests_run, 10, 0);
    for (const char *s = " - "; *s; s++)
        put(&l, *s);
    for (const char *s = group_name; *s; s++)
        put(&l, *s);
    put(&l, ':');
    put(&l, ' ');
    format(&l, fmt, ap);
    put(&l, '\n');
    flush(&l);
    return good;
}

bool ok(bool good, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    result(good, fmt, ap);
    va_end(ap);
    return good;
}

bool is(long got, long want, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    result(got == want, fmt, ap);
    va_end(ap);
    if (got != want)
        note("  got %ld (%lx), want %ld (%lx)", got, (u64)got, want, (u64)want);
    return got == want;
}

bool is_dev(long got, long stock, long serai, const char *fmt, ...)
{
    long want = is_serai ? serai : stock;
    va_list ap;

    va_start(ap, fmt);
    result(got == want, fmt, ap);
    va_end(ap);
    if (got != want)
        note("  got %ld (%lx), want %ld", got, (u64)got, want);
    return got == want;
}

bool refused(long rc, const char *fmt, ...)
{
    bool good = rc < 0 && rc > -4096;
    va_list ap;

    va_start(ap, fmt);
    result(good, fmt, ap);
    va_end(ap);
    if (!good)
        note("  got %ld (%lx), want an error", rc, (u64)rc);
    return good;
}

void skip(const char *name, const char *why)
{
    tests_run++;
    print("ok %u - %s: %s # SKIP %s\n", tests_run, group_name, name, why);
}

void group(const char *name)
{
    group_name = name;
    note("group %s", name);
}

/* A reset ends QEMU under -no-reboot on every hypervisor; halting would not. */
void power_off(void)
{
    struct sched_shutdown s = {.reason = SHUTDOWN_reboot};

    for (;;)
        hc_sched(SCHEDOP_shutdown, &s);
}

void finish(void)
{
    print("1..%u\n", tests_run);
    note("%u failed", tests_failed);
    note("guest done");
    power_off();
}

void die(const char *why)
{
    print("Bail out! %s\n", why);
    power_off();
}

u64 hv_counter(const char *name)
{
    static struct serai_counter list[128];
    struct serai_counters c = {.capacity = 128, .entries = (u64)list};

    if (HC(arch_7, SERAI_OP_COUNTERS, &c, 0, 0, 0))
        die("no counters");
    for (u32 i = 0; i < c.count && i < 128; i++)
        if (has_prefix(list[i].name, name) && !list[i].name[strlen(name)])
            return list[i].value;
    die("no such counter");
}
