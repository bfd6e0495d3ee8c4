#include "kern/timer.h"
#include "core/platform_bits.h"
#include "kern/irq.h"
#include "x86/cpu.h"
#include "x86/lapic.h"

struct clock_scale tsc_scale;
u64 tsc_at_boot;

/* Sorted by expiry. Only the boot CPU runs guests and has timers so far. */
static struct timer *armed;

void time_init(u64 hz)
{
    tsc_scale = clock_scale_from_hz(hz);
    tsc_at_boot = rdtsc();
}

ns_t time_now(void)
{
    return (ns_t)clock_scale_ticks(tsc_scale, rdtsc() - tsc_at_boot);
}

/* The scale's inverse; rounding up never fires early. Far deadlines saturate. */
u64 time_to_tsc(ns_t t)
{
    u64 ticks = mul_div((u64)t, BIT(32), tsc_scale.mul);

    if (ticks >= BIT(62))
        return tsc_at_boot + BIT(62);
    ticks =
        tsc_scale.shift >= 0 ? (ticks + 1) >> tsc_scale.shift : (ticks + 1) << -tsc_scale.shift;
    return tsc_at_boot + MIN(ticks + 1, BIT(62));
}

void timer_init(struct timer *t, void (*handler)(void *arg), void *arg)
{
    *t = (struct timer){.handler = handler, .arg = arg};
}

static void program(void)
{
    if (armed)
        lapic_timer_set(time_to_tsc(armed->expires));
    else
        lapic_timer_stop();
}

static void remove_timer(struct timer *t)
{
    for (struct timer **p = &armed; *p; p = &(*p)->next) {
        if (*p == t) {
            *p = t->next;
            break;
        }
    }
    t->armed = false;
}

void timer_set(struct timer *t, ns_t expires)
{
    struct timer **p;

    if (t->armed)
        remove_timer(t);
    t->expires = MAX(expires, 0);
    for (p = &armed; *p && (*p)->expires <= t->expires; p = &(*p)->next)
        ;
    t->next = *p;
    *p = t;
    t->armed = true;
    if (armed == t)
        program();
}

void timer_stop(struct timer *t)
{
    if (t->armed)
        remove_timer(t);
    /* The hardware may still fire for it: the softirq then finds nothing due and goes on. */
}

void timer_softirq(void)
{
    ns_t now = time_now();

    while (armed && armed->expires <= now) {
        struct timer *t = armed;

        armed = t->next;
        t->armed = false;
        t->handler(t->arg);
    }
    program();
}
