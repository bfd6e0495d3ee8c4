#include "kern/line.h"
#include "kern/device_locks.h"
#include "kern/heap.h"
#include "kern/irq.h"
#include "kern/timer.h"
#include "x86/ioapic.h"
#include "x86/lapic.h"
#include "x86/uart.h"

#define MAX_LINES 512
#define PATIENCE  5000000 /* ns */

struct line {
    u32 gsi;
    int vector; /* 0: none */
    bool level; /* as it was when the first one was bound */
    bool shareable;
    u32 nr_shares;
    u32 nr_waiting; /* shares that were told and have not answered */
    struct line_share *shares;
    struct timer patience; /* never stopped: with nobody waiting it does nothing */
};

/* Made when first bound, and kept. */
static struct line *lines[MAX_LINES];
static struct spinlock line_lock = SPINLOCK(LOCK_LINE);

static void mask(u32 gsi)
{
    lock(&ioapic_lock);
    ioapic_mask(gsi);
    unlock(&ioapic_lock);
}

static void unmask(u32 gsi)
{
    lock(&ioapic_lock);
    ioapic_unmask(gsi);
    unlock(&ioapic_lock);
}

static int route(u32 gsi, unsigned vector, bool level, bool active_low)
{
    int rc;

    lock(&ioapic_lock);
    rc = ioapic_route(gsi, (u8)vector, lapic_id(), level, active_low);
    unlock(&ioapic_lock);
    return rc;
}

bool line_is_free_for_guests(u32 gsi)
{
    return gsi < MAX_LINES && ioapic_has_gsi(gsi) &&
           (!uart_irq() || gsi != ioapic_isa_gsi(uart_irq()));
}

static void line_fired(void *arg)
{
    struct line *l = arg;

    lock(&line_lock);
    if (l->level)
        mask(l->gsi);
    for (struct line_share *s = l->shares; s; s = s->next) {
        if (l->level && !s->waiting) {
            s->waiting = true;
            l->nr_waiting++;
        }
        s->tell(s);
    }
    if (l->level && l->nr_shares > 1)
        timer_set(&l->patience, time_now() + PATIENCE);
    unlock(&line_lock);
}

/* With the lock: somebody that was waited for is not any more. */
static void answered(struct line *l)
{
    l->nr_waiting--;
    if (!l->nr_waiting && l->vector)
        unmask(l->gsi);
}

/* Those who have not answered may do so later; nobody waits. */
static void patience_over(void *arg)
{
    struct line *l = arg;

    lock(&line_lock);
    for (struct line_share *s = l->shares; s; s = s->next) {
        if (!s->waiting)
            continue;
        s->waiting = false;
        answered(l);
    }
    unlock(&line_lock);
}

static struct line *line_get(u32 gsi)
{
    struct line *l = lines[gsi];

    if (l)
        return l;
    l = heap_alloc(sizeof(*l));
    if (!l)
        return NULL;
    l->gsi = gsi;
    timer_init(&l->patience, patience_over, l);
    lines[gsi] = l;
    return l;
}

/* Gives a line its vector. */
static int start(struct line *l, bool share)
{
    int vector = irq_alloc_vector(line_fired, l), rc;

    if (vector < 0)
        return vector;
    rc = route(l->gsi, (unsigned)vector, ioapic_is_level(l->gsi), ioapic_is_active_low(l->gsi));
    if (rc) {
        irq_free_vector((unsigned)vector);
        return rc;
    }
    l->vector = vector;
    l->level = ioapic_is_level(l->gsi);
    l->shareable = share;
    return 0;
}

static int join(struct line *l, struct line_share *s, bool share)
{
    if (!l->shares) {
        int rc = start(l, share);

        if (rc)
            return rc;
    } else if (!share || !l->shareable || l->nr_shares == LINE_MAX_SHARES) {
        return -XEN_EBUSY;
    }
    s->waiting = false;
    s->next = l->shares;
    l->shares = s;
    l->nr_shares++;
    if (!l->nr_waiting)
        unmask(l->gsi);
    return 0;
}

int line_bind(u32 gsi, struct line_share *s, bool share)
{
    struct line *l;
    int rc;

    if (!line_is_free_for_guests(gsi))
        return -XEN_EBUSY;
    lock(&line_lock);
    l = line_get(gsi);
    rc = l ? join(l, s, share) : -XEN_ENOMEM;
    unlock(&line_lock);
    return rc;
}

/* With the lock; the vector to give back when nobody is left, or 0. */
static int leave(struct line *l, struct line_share *s)
{
    struct line_share **p = &l->shares;
    int vector = l->vector;

    while (*p != s)
        p = &(*p)->next;
    *p = s->next;
    l->nr_shares--;
    if (l->shares) {
        if (s->waiting)
            answered(l);
        return 0;
    }
    mask(l->gsi);
    l->nr_waiting = 0;
    l->vector = 0;
    return vector;
}

void line_unbind(u32 gsi, struct line_share *s)
{
    int vector;

    lock(&line_lock);
    vector = leave(lines[gsi], s);
    unlock(&line_lock);
    /* Its handler may be waiting for the lock: it finds nobody to tell. */
    if (vector)
        irq_free_vector((unsigned)vector);
}

void line_done(u32 gsi, struct line_share *s)
{
    lock(&line_lock);
    if (s->waiting) {
        s->waiting = false;
        answered(lines[gsi]);
    }
    unlock(&line_lock);
}

int line_set_mode(u32 gsi, bool level, bool active_low)
{
    int rc;

    if (gsi >= MAX_LINES || !ioapic_has_gsi(gsi))
        return -XEN_EINVAL;
    if (!line_is_free_for_guests(gsi))
        return -XEN_EEXIST;
    lock(&line_lock);
    if (lines[gsi] && lines[gsi]->vector)
        rc = -XEN_EEXIST;
    else
        rc = route(gsi, VECTOR_PARKED, level, active_low);
    unlock(&line_lock);
    return rc;
}

bool line_is_level(u32 gsi)
{
    return ioapic_is_level(gsi);
}

bool line_is_shared(u32 gsi)
{
    bool shared;

    lock(&line_lock);
    shared = lines[gsi] && lines[gsi]->nr_shares > 1;
    unlock(&line_lock);
    return shared;
}
