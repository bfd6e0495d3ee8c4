#include "kern/console.h"
#include "base/format.h"
#include "base/string.h"
#include "kern/lock.h"
#include "x86/uart.h"

#define RING_SIZE 16384 /* a power of two */

static char ring[RING_SIZE];
static u32 ring_end;   /* bytes written since boot */
static u32 ring_start; /* up to here domain 0 has cleared it; console_lock */
static bool uart_on;
static bool line_start = true;
static enum log_level level_shown = LOG_WARNING;
static struct spinlock console_lock = SPINLOCK(LOCK_CONSOLE);
static bool lock_broken;
static void (*tell_reader)(void);

static void ring_put(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        ring[ring_end++ & (RING_SIZE - 1)] = text[i];
}

static void emit(const char *text, size_t len, bool shown)
{
    ring_put(text, len);
    if (shown && uart_on)
        uart_write(text, len);
    if (tell_reader)
        tell_reader();
}

static void console_lock_take(void)
{
    if (!lock_broken)
        lock(&console_lock);
}

static void console_lock_drop(void)
{
    if (!lock_broken)
        unlock(&console_lock);
}

static void print_va(enum log_level level, const char *fmt, va_list ap)
{
    char text[512];
    bool shown = level <= level_shown;
    size_t len = format_va(text, sizeof(text), fmt, ap);

    len = MIN(len, sizeof(text) - 1);
    console_lock_take();
    for (size_t i = 0; i < len;) {
        const char *nl = strchr(text + i, '\n');
        size_t n = nl ? (size_t)(nl - text) + 1 - i : len - i;

        if (line_start)
            emit("(SERAI) ", 8, shown);
        emit(text + i, n, shown);
        line_start = nl != NULL;
        i += n;
    }
    console_lock_drop();
}

void console_set_level(enum log_level max)
{
    level_shown = max;
}

void printk(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    print_va(LOG_WARNING, fmt, ap);
    va_end(ap);
}

void log_at(enum log_level level, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    print_va(level, fmt, ap);
    va_end(ap);
}

void console_write_raw(const char *text, size_t len)
{
    console_lock_take();
    if (uart_on)
        uart_write(text, len);
    if (len)
        line_start = text[len - 1] == '\n';
    console_lock_drop();
}

void console_uart_ready(void)
{
    u32 start = ring_end > RING_SIZE ? ring_end - RING_SIZE : 0;

    console_lock_take();
    for (u32 i = start; i != ring_end; i++)
        uart_write(&ring[i & (RING_SIZE - 1)], 1);
    uart_on = true;
    console_lock_drop();
}

/* With the lock. Positions wrap around. */
static u32 first_kept(void)
{
    return ring_end - ring_start > RING_SIZE ? ring_end - RING_SIZE : ring_start;
}

size_t console_read_ring(char *buf, size_t len, u32 *index)
{
    size_t n = 0;

    console_lock_take();
    if (ring_end - *index > ring_end - first_kept())
        *index = first_kept();
    while (n < len && *index != ring_end)
        buf[n++] = ring[(*index)++ & (RING_SIZE - 1)];
    console_lock_drop();
    return n;
}

void console_on_text(void (*tell)(void))
{
    tell_reader = tell;
}

u32 console_ring_first(void)
{
    u32 first;

    console_lock_take();
    first = first_kept();
    console_lock_drop();
    return first;
}

void console_clear_ring(u32 index)
{
    console_lock_take();
    ring_start = index;
    console_lock_drop();
}

void console_force_unlock(void)
{
    lock_broken = true;
    level_shown = LOG_DEBUG;
    if (!uart_on)
        console_uart_ready();
}
