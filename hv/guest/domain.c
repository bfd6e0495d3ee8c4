#include "guest/domain.h"
#include "base/format.h"
#include "base/string.h"
#include "core/cpu_policy.h"
#include "guest/frame.h"
#include "kern/console.h"
#include "kern/irq.h"
#include "kern/panic.h"
#include "kern/torture.h"
#include "x86/cpu.h"
#include "x86/cpu_setup.h"
#include "x86/lapic.h"
#include "x86/paging.h"
#include "x86/reboot.h"
#include <xen/sched.h>

struct domain *dom0;

/*
 * Domains by id: pages of pointers, each made when an id of its range is first used, and kept.
 * What a slot points to was a struct domain once and stays one: see domain_get().
 */
#define IDS_PER_PAGE (PAGE_SIZE / sizeof(struct domain *))

static struct domain **table[DIV_ROUND_UP(DOMID_FIRST_RESERVED, IDS_PER_PAGE)];
static struct spinlock table_lock = SPINLOCK(LOCK_DOMAINS);
static struct domain *free_domains; /* table_lock */
static struct domain *gone_domains; /* table_lock */
static u16 last_id;                 /* table_lock */

static struct domain **slot_of(u16 id)
{
    struct domain **page;

    if (id >= DOMID_FIRST_RESERVED)
        return NULL;
    page = __atomic_load_n(&table[id / IDS_PER_PAGE], __ATOMIC_ACQUIRE);
    return page ? &page[id % IDS_PER_PAGE] : NULL;
}

/* A reference, unless there are none any more. */
static bool try_hold(struct domain *d)
{
    u32 refs = __atomic_load_n(&d->refs, __ATOMIC_RELAXED);

    do {
        if (!refs)
            return false;
    } while (!__atomic_compare_exchange_n(&d->refs, &refs, refs + 1, true, __ATOMIC_ACQUIRE,
                                          __ATOMIC_RELAXED));
    return true;
}

struct domain *domain_peek(u16 id)
{
    struct domain **slot = slot_of(id);

    return slot ? __atomic_load_n(slot, __ATOMIC_ACQUIRE) : NULL;
}

struct domain *domain_get(u16 id)
{
    struct domain *d = domain_peek(id);

    if (!d || !try_hold(d))
        return NULL;
    if (d->id == id)
        return d;
    /* It went, and came back as another one. */
    domain_put(d);
    return NULL;
}

struct domain *domain_get_from(u16 id)
{
    for (u32 i = id; i < DOMID_FIRST_RESERVED; i++) {
        struct domain *d;

        if (!table[i / IDS_PER_PAGE]) {
            i |= IDS_PER_PAGE - 1;
            continue;
        }
        d = domain_get((u16)i);
        if (d)
            return d;
    }
    return NULL;
}

void domain_put(struct domain *d)
{
    if (__atomic_sub_fetch(&d->refs, 1, __ATOMIC_ACQ_REL))
        return;
    lock(&table_lock);
    *slot_of(d->id) = NULL;
    d->next_free = gone_domains;
    gone_domains = d;
    unlock(&table_lock);
    softirq_raise(SOFTIRQ_DOMAIN);
}

struct domain *domain_next_gone(void)
{
    struct domain *d;

    lock(&table_lock);
    d = gone_domains;
    if (d)
        gone_domains = d->next_free;
    unlock(&table_lock);
    return d;
}

static unsigned blocks_order(void)
{
    unsigned order = 0;

    while ((PAGE_SIZE << order) * 8 * BLOCK_FRAMES < max_mfn)
        order++;
    return order;
}

/* Memory for one, of the kind that stays; enough 2 MiB blocks for all of the machine. */
static struct domain *alloc_domain(void)
{
    struct domain *d;

    lock(&table_lock);
    d = free_domains;
    if (d)
        free_domains = d->next_free;
    unlock(&table_lock);
    if (!d)
        d = heap_alloc_pages(DOMAIN_ORDER);
    if (!d)
        return NULL;
    d->blocks = heap_alloc_pages(blocks_order());
    d->shared = heap_alloc_pages(0);
    if (d->blocks && d->shared)
        return d;
    if (d->shared)
        heap_free_pages(d->shared, 0);
    domain_free(d);
    return NULL;
}

void domain_free(struct domain *d)
{
    if (d->blocks)
        heap_free_pages(d->blocks, blocks_order());
    if (d->policy)
        heap_free(d->policy, sizeof(*d->policy));
    memset(d, 0, sizeof(*d));
    lock(&table_lock);
    d->next_free = free_domains;
    free_domains = d;
    unlock(&table_lock);
}

/* An id that nobody has, with a page of the table for it; false: none, or no memory. */
static bool find_id(u16 *id)
{
    u16 try = *id == DOMID_NEXT ? last_id : *id;

    for (unsigned n = 0; n < DOMID_FIRST_RESERVED; n++) {
        if (*id == DOMID_NEXT)
            try = try + 1 < DOMID_FIRST_RESERVED ? try + 1 : 1;
        if (!table[try / IDS_PER_PAGE]) {
            struct domain **page = heap_alloc_pages(0);

            if (!page)
                return false;
            __atomic_store_n(&table[try / IDS_PER_PAGE], page, __ATOMIC_RELEASE);
        }
        if (!*slot_of(try)) {
            *id = try;
            return true;
        }
        if (*id != DOMID_NEXT)
            return false;
    }
    return false;
}

static bool give_id(struct domain *d, u16 id)
{
    bool found;

    lock(&table_lock);
    found = find_id(&id);
    if (found) {
        last_id = id;
        d->id = id;
        __atomic_store_n(slot_of(id), d, __ATOMIC_RELEASE);
    }
    unlock(&table_lock);
    return found;
}

struct domain *domain_create(u16 id, u64 max_pages)
{
    struct domain *d = alloc_domain();

    BUG_ON(sizeof(*d) > PAGE_SIZE << DOMAIN_ORDER);
    if (!d)
        return NULL;
    d->max_pages = max_pages;
    d->event_lock = (struct spinlock)SPINLOCK(LOCK_EVENTS);
    d->memory_lock = (struct spinlock)SPINLOCK(LOCK_MEMORY);
    d->life_lock = (struct spinlock)SPINLOCK(LOCK_LIFE);
    d->pirq_lock = (struct spinlock)SPINLOCK(LOCK_PIRQ);
    d->grant_lock = (struct spinlock)SPINLOCK(LOCK_GRANT);
    d->max_grant_frames = GRANT_FRAMES_DEFAULT;
    d->max_maptrack_frames = MAPTRACK_FRAMES_DEFAULT;
    device_init(&d->devices);
    d->ports.limit = EVTCHN_MAX_PORTS;
    for (unsigned i = 0; i < XEN_LEGACY_MAX_VCPUS; i++)
        d->shared->vcpu_info[i].evtchn_upcall_mask = 1;
    d->shared_mfn = virt_to_mfn(d->shared);
    if (!give_id(d, id)) {
        heap_free_pages(d->shared, 0);
        domain_free(d);
        return NULL;
    }
    dispatch_add_domain(&d->sched, d->id);
    /* Known from here on: until now a reference cannot be had. */
    __atomic_store_n(&d->refs, 1, __ATOMIC_RELEASE);
    frame_assign(d, d->shared_mfn, REF_SPECIAL);
    return d;
}

static bool may_own(const struct domain *d, u64 n, u64 more)
{
    u64 max = __atomic_load_n(&d->max_pages, __ATOMIC_SEQ_CST);

    return more <= max && n <= max - more;
}

bool domain_add_pages(struct domain *d, u64 n)
{
    u64 now = __atomic_load_n(&d->tot_pages, __ATOMIC_RELAXED);

    do {
        if (!may_own(d, now, n))
            return false;
    } while (!__atomic_compare_exchange_n(&d->tot_pages, &now, now + n, true, __ATOMIC_SEQ_CST,
                                          __ATOMIC_RELAXED));
    /* Whoever lowers the limit and then looks sees these pages, or we see the new limit. */
    if (may_own(d, now, n))
        return true;
    domain_sub_pages(d, n);
    return false;
}

void domain_sub_pages(struct domain *d, u64 n)
{
    /* Whoever is later, this or domain_leave(), sees that the other one was there. */
    if (__atomic_sub_fetch(&d->tot_pages, n, __ATOMIC_SEQ_CST) ||
        !__atomic_load_n(&d->apart, __ATOMIC_SEQ_CST))
        return;
    if (!__atomic_exchange_n(&d->left, true, __ATOMIC_SEQ_CST))
        domain_put(d);
}

void domain_leave(struct domain *d)
{
    __atomic_store_n(&d->apart, true, __ATOMIC_SEQ_CST);
    if (!__atomic_load_n(&d->tot_pages, __ATOMIC_SEQ_CST) &&
        !__atomic_exchange_n(&d->left, true, __ATOMIC_SEQ_CST))
        domain_put(d);
}

void domain_crash(struct domain *d, const char *fmt, ...)
{
    char why[160];
    va_list ap;

    if (!domain_set_shutdown(d, SHUTDOWN_crash))
        return;
    va_start(ap, fmt);
    format_va(why, sizeof(why), fmt, ap);
    va_end(ap);
    log_at(LOG_ERROR, "domain %u crashed: %s\n", d->id, why);
    dump_regs(guest_regs());
}

bool domain_set_shutdown(struct domain *d, u8 reason)
{
    bool first;

    lock(&d->life_lock);
    first = !(d->stop & (STOP_SHUTDOWN | STOP_DYING));
    if (first) {
        d->shutdown_code = reason;
        domain_stop(d, d->stop | STOP_SHUTDOWN);
    }
    unlock(&d->life_lock);
    return first;
}

void domain_stop(struct domain *d, u32 reasons)
{
    __atomic_store_n(&d->stop, reasons, __ATOMIC_SEQ_CST);
    softirq_raise(SOFTIRQ_VCPU);
    for (unsigned i = 0; i < d->max_vcpus; i++)
        vcpu_wake(d->vcpus[i], WAKE_EVENT);
}

void preempt_point(void)
{
    cpu_take_interrupts();
    if (unlikely(this_cpu()->softirq_pending)) {
        count(COUNT_PREEMPTION);
        softirq_run();
    }
    if (TORTURE_PREEMPT && dispatch_current())
        dispatch_yield(NULL);
}

void vcpu_yield(struct vcpu *to)
{
    dispatch_yield(to ? &to->run : NULL);
    preempt_point();
}

struct sleep {
    struct vcpu *vcpu;
    bool (*awake)(void *arg);
    void *arg;
};

static bool must_run(void *arg)
{
    const struct sleep *s = arg;
    const struct vcpu *v = s->vcpu;

    return s->awake(s->arg) || vcpu_must_stop(v) || vcpu_has_nmi(v);
}

void vcpu_sleep(struct vcpu *v, bool (*awake)(void *arg), void *arg)
{
    struct sleep s = {v, awake, arg};

    /*
     * Once: a wake-up counts even when its reason has gone again, with a port that was closed for
     * instance. The guest looks for itself.
     */
    if (!must_run(&s)) {
        __atomic_store_n(&v->sleeping, 1, __ATOMIC_SEQ_CST);
        dispatch_sleep(must_run, &s);
        preempt_point();
    }
    /* Ordered before the way out looks for events: a waker that still sees us asleep is seen. */
    __atomic_store_n(&v->sleeping, 0, __ATOMIC_SEQ_CST);
    /* It may have come when we were about to sleep: then nobody interrupts us for it. */
    if (vcpu_has_nmi(v) || vcpu_must_stop(v))
        softirq_raise(SOFTIRQ_VCPU);
}

bool vcpu_has_event(const struct vcpu *v)
{
    const struct vcpu_info *info = vcpu_info(v);

    return __atomic_load_n(&info->evtchn_upcall_pending, __ATOMIC_SEQ_CST) &&
           !info->evtchn_upcall_mask;
}

void vcpu_wake(struct vcpu *v, enum sched_wake why)
{
    unsigned cpu;

    if (__atomic_load_n(&v->sleeping, __ATOMIC_SEQ_CST)) {
        dispatch_wake(&v->run, why);
        return;
    }
    cpu = __atomic_load_n(&v->on_cpu, __ATOMIC_SEQ_CST);
    if (cpu == CPU_NONE) {
        dispatch_wake(&v->run, why); /* it waits for its turn, which may come sooner now */
        return;
    }
    dispatch_note_event(&v->run);
    if (cpu != this_cpu()->id) {
        count(COUNT_IPI_EVENT);
        lapic_send_ipi(cpus[cpu]->apic_id, VECTOR_IPI_EVENT);
    }
}

/* Events are looked for after every interrupt; the rest is rare enough to ask for the slow way. */
static void event_interrupt(void *arg)
{
    const struct vcpu *v = current_vcpu();

    if (v && (vcpu_has_nmi(v) || vcpu_must_stop(v)))
        softirq_raise(SOFTIRQ_VCPU);
}

__init void domain_init(void)
{
    irq_set_handler(VECTOR_IPI_EVENT, event_interrupt, NULL);
}
