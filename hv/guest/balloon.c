#include "guest/balloon.h"
#include "abi/serai.h"
#include "guest/event.h"
#include "guest/lifecycle.h"
#include "kern/console.h"
#include "kern/heap.h"
#include <xen/sched.h>

#define ONE_CPU 1000000UL /* parts per million */

/* With the scheduler's locks. */
static bool set_cap(struct sched *s, struct domain *d, u32 ppm, cpuset_t *kicks)
{
    struct sched_params p;

    sched_get_params(&d->sched, &p);
    p.cap_ppm = ppm;
    return !sched_set_params(s, &d->sched, &p, time_now(), kicks);
}

/* One that is tighter already stays. False: the pool has not so many CPUs. */
static bool lower_cap(struct domain *d, u32 ppm, u32 *before)
{
    struct sched *s = dispatch_lock_all();
    cpuset_t kicks = CPUSET_NONE;
    bool done;

    *before = d->sched.params.cap_ppm;
    done = (*before && *before <= ppm) || set_cap(s, d, ppm, &kicks);
    dispatch_unlock_all(kicks);
    return done;
}

/* Unless somebody has set another one since. */
static void restore_cap(struct domain *d, u32 lowered, u32 before)
{
    struct sched *s = dispatch_lock_all();
    cpuset_t kicks = CPUSET_NONE;

    if (d->sched.params.cap_ppm == lowered)
        (void)!set_cap(s, d, before, &kicks);
    dispatch_unlock_all(kicks);
}

/* With the lock. */
static void act(struct domain *d, ns_t now)
{
    struct memtarget *t = &d->memtarget;
    u32 cap = 0;
    bool done = true;

    switch (t->otherwise) {
    case OTHERWISE_NONE:
        return;
    case OTHERWISE_CAP:
        done = lower_cap(d, t->cap_ppm, &cap);
        break;
    case OTHERWISE_PAUSE:
        done = !lifecycle_pause(d, false);
        break;
    case OTHERWISE_DESTROY:
        lifecycle_shutdown(d, SHUTDOWN_crash);
        break;
    }
    if (done)
        memtarget_acted(t, cap, now);
}

/* With the lock: the consequence ends, if it can. */
static void lift(struct domain *d)
{
    struct memtarget *t = &d->memtarget;

    if (!t->in_force)
        return;
    if (t->otherwise == OTHERWISE_CAP)
        restore_cap(d, t->cap_ppm, t->cap_before);
    if (t->otherwise == OTHERWISE_PAUSE)
        (void)!lifecycle_unpause(d);
    if (t->otherwise != OTHERWISE_DESTROY)
        memtarget_lifted(t);
}

/* Others set the limit too: whoever comes later wins. */
static u64 swap_max(struct domain *d, u64 at_most)
{
    u64 max = __atomic_load_n(&d->max_pages, __ATOMIC_RELAXED);

    while (!__atomic_compare_exchange_n(&d->max_pages, &max, MIN(max, at_most), false,
                                        __ATOMIC_SEQ_CST, __ATOMIC_RELAXED))
        ;
    return max;
}

static void restore_max(struct domain *d, u64 lowered, u64 before)
{
    (void)!__atomic_compare_exchange_n(&d->max_pages, &lowered, before, false, __ATOMIC_SEQ_CST,
                                       __ATOMIC_RELAXED);
}

static u64 pages_of(const struct domain *d)
{
    return __atomic_load_n(&d->tot_pages, __ATOMIC_SEQ_CST);
}

/* With the lock: has it complied? */
static bool look(struct domain *d)
{
    struct memtarget *t = &d->memtarget;
    u64 before;

    if (!memtarget_see(t, pages_of(d)))
        return false;
    /* The limit first: from then on it has no more than we see (domain_add_pages()). */
    before = swap_max(d, t->pages);
    if (!memtarget_see(t, pages_of(d))) {
        restore_max(d, t->pages, before);
        return false;
    }
    lift(d);
    memtarget_comply(t, before, time_now());
    return true;
}

static void tell(const struct domain *d, const struct memtarget *t)
{
    static const char *const consequences[] = {"none", "capped", "paused", "crashed"};

    if (t->state == MEMTARGET_COMPLIED)
        log_at(LOG_INFO, "domain %u is down to %lu pages, as told\n", d->id, t->pages);
    else
        log_at(LOG_WARNING, "domain %u has %lu pages, not %lu as told; consequence: %s\n",
               d->id, t->pages_deadline, t->pages, consequences[t->acted ? t->otherwise : 0]);
    event_send_global_virq(SERAI_VIRQ_MEMORY);
}

void balloon_look(struct domain *d)
{
    struct memtarget was;
    bool complied;

    lock(&d->memory_lock);
    complied = look(d);
    was = d->memtarget;
    unlock(&d->memory_lock);
    if (complied)
        tell(d, &was);
}

/*
 * The timer may still come for an instruction that is over, or has been replaced: then there is
 * nothing to do yet.
 */
static void time_is_up(void *arg)
{
    struct domain *d = arg;
    struct memtarget was;
    ns_t now = time_now();
    bool ended;

    lock(&d->memory_lock);
    ended = look(d);
    if (!ended && d->memtarget.state == MEMTARGET_PENDING && now >= d->memtarget.deadline) {
        if (memtarget_expire(&d->memtarget, pages_of(d), now))
            act(d, now);
        ended = true;
    }
    was = d->memtarget;
    unlock(&d->memory_lock);
    if (ended)
        tell(d, &was);
}

/* With the lock: by complying, and nobody has set another one since. */
static bool limit_is_lowered(const struct domain *d)
{
    const struct memtarget *t = &d->memtarget;

    return t->state == MEMTARGET_COMPLIED && t->max_before > t->pages &&
           __atomic_load_n(&d->max_pages, __ATOMIC_RELAXED) == t->pages;
}

/* With the lock: nothing of the present instruction is left. */
static void withdraw(struct domain *d)
{
    struct memtarget *t = &d->memtarget;

    lift(d);
    if (limit_is_lowered(d))
        restore_max(d, t->pages, t->max_before);
    memtarget_cancel(t);
}

int balloon_check(const struct domain *d, const struct memtarget_order *o)
{
    int rc = memtarget_check_order(o, max_mfn, nr_cpus * ONE_CPU);

    if (rc || (d->is_hardware && o->otherwise != OTHERWISE_NONE))
        return -XEN_EINVAL;
    return d->stop & STOP_DYING ? -XEN_ESRCH : 0;
}

int balloon_order(struct domain *d, const struct memtarget_order *o)
{
    int rc = balloon_check(d, o);

    if (rc)
        return rc;
    lock(&d->memory_lock);
    withdraw(d);
    memtarget_set(&d->memtarget, o, pages_of(d), time_now());
    d->memory_timer.handler = time_is_up;
    d->memory_timer.arg = d;
    timer_set(&d->memory_timer, d->memtarget.deadline);
    unlock(&d->memory_lock);
    balloon_look(d);
    return 0;
}

int balloon_cancel(struct domain *d)
{
    int rc = -XEN_ENOENT;

    lock(&d->memory_lock);
    if (d->memtarget.state != MEMTARGET_NONE) {
        withdraw(d);
        rc = 0;
    }
    unlock(&d->memory_lock);
    return rc;
}

void balloon_unpaused(struct domain *d)
{
    lock(&d->memory_lock);
    if (d->memtarget.otherwise == OTHERWISE_PAUSE && !(d->stop & STOP_PAUSES))
        memtarget_lifted(&d->memtarget);
    unlock(&d->memory_lock);
}

u64 balloon_report(struct domain *d, struct memtarget *out)
{
    u64 max;

    lock(&d->memory_lock);
    *out = d->memtarget;
    max = __atomic_load_n(&d->max_pages, __ATOMIC_RELAXED);
    if (limit_is_lowered(d))
        max = d->memtarget.max_before;
    unlock(&d->memory_lock);
    return max;
}
