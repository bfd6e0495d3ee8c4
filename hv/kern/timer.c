#include "kern/timer.h"
#include "core/platform_bits.h"
#include "kern/irq.h"
#include "kern/lock.h"
#include "x86/cpu.h"
#include "x86/lapic.h"

struct clock_scale tsc_scale;
u64 tsc_at_boot;

struct timer_list {
    struct spinlock lock;
    struct timer *first;   /* sorted by expiry */
    struct timer *running; /* its handler is being called */
};

static struct timer_list lists[MAX_CPUS];

void time_init(u64 hz)
{
    tsc_scale = clock_scale_from_hz(hz);
    tsc_at_boot = rdtsc();
    for (unsigned i = 0; i < MAX_CPUS; i++)
        lists[i].lock = (struct spinlock)SPINLOCK(LOCK_TIMER);
}

ns_t time_now(void)
{
    return (ns_t)clock_scale_ticks(tsc_scale, rdtsc() - tsc_at_boot);
}

/* The counter's value at that time; rounding up never fires early. Far deadlines saturate. */
static u64 to_tsc(ns_t t)
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

/* Sets this CPU's hardware for the first timer of its list. */
static void program(const struct timer_list *l)
{
    if (l->first)
        lapic_timer_set(to_tsc(l->first->expires));
    else
        lapic_timer_stop();
}

static void remove_timer(struct timer_list *l, struct timer *t)
{
    struct timer **p = &l->first;

    while (*p != t)
        p = &(*p)->next;
    *p = t->next;
    t->armed = false;
}

/* Takes it off whatever list it is on. The hardware may still fire for it: that does no harm. */
static void disarm(struct timer *t)
{
    struct timer_list *l = &lists[t->cpu];

    lock(&l->lock);
    if (t->armed)
        remove_timer(l, t);
    unlock(&l->lock);
}

static void insert(struct timer_list *l, struct timer *t)
{
    struct timer **p = &l->first;

    while (*p && (*p)->expires <= t->expires)
        p = &(*p)->next;
    t->next = *p;
    *p = t;
    t->armed = true;
}

void timer_set(struct timer *t, ns_t expires)
{
    unsigned cpu = this_cpu()->id;
    struct timer_list *l = &lists[cpu];

    if (t->cpu != cpu)
        disarm(t);
    lock(&l->lock);
    if (t->armed)
        remove_timer(l, t);
    t->cpu = cpu;
    t->expires = MAX(expires, 0);
    insert(l, t);
    if (l->first == t)
        program(l);
    unlock(&l->lock);
}

void timer_stop(struct timer *t)
{
    const struct timer_list *l = &lists[t->cpu];

    disarm(t);
    if (t->cpu != this_cpu()->id)
        while (__atomic_load_n(&l->running, __ATOMIC_ACQUIRE) == t)
            tlb_relax();
}

void timer_softirq(void)
{
    struct timer_list *l = &lists[this_cpu()->id];
    ns_t now = time_now();
    struct timer *t;

    lock(&l->lock);
    while ((t = l->first) && t->expires <= now) {
        remove_timer(l, t);
        __atomic_store_n(&l->running, t, __ATOMIC_RELAXED);
        unlock(&l->lock);
        t->handler(t->arg);
        lock(&l->lock);
        __atomic_store_n(&l->running, NULL, __ATOMIC_RELEASE);
    }
    program(l);
    unlock(&l->lock);
}
