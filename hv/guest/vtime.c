#include "guest/vtime.h"
#include "base/string.h"
#include "guest/access.h"
#include "guest/event.h"
#include "guest/mmu.h"
#include "x86/paging.h"
#include "x86/tsc.h"

/* A period shorter than this would do nothing but interrupt (XSA-20). */
#define MIN_PERIOD_NS 1000000
/* And one longer than this (73 years) would overflow sums with the time. */
#define MAX_PERIOD_NS ((ns_t)BIT(61))

static void singleshot_fired(void *arg)
{
    event_send_virq(arg, VIRQ_TIMER);
}

static void periodic_fired(void *arg)
{
    struct vcpu *v = arg;
    ns_t period = __atomic_load_n(&v->period, __ATOMIC_RELAXED);

    event_send_virq(v, VIRQ_TIMER);
    if (period)
        timer_set(&v->periodic, time_now() + period);
}

void vtime_vcpu_init(struct vcpu *v)
{
    timer_init(&v->singleshot, singleshot_fired, v);
    timer_init(&v->periodic, periodic_fired, v);
    v->runstate.state = RUNSTATE_offline;
    v->runstate.state_entry_time = (u64)time_now();
    vtime_publish_info(v);
}

static void fill_time(struct vcpu_time_info *t)
{
    t->tsc_timestamp = tsc_at_boot;
    t->system_time = 0;
    t->tsc_to_system_mul = tsc_scale.mul;
    t->tsc_shift = tsc_scale.shift;
    t->flags = tsc_is_invariant() ? XEN_PVCLOCK_TSC_STABLE_BIT : 0;
}

void vtime_publish_info(struct vcpu *v)
{
    struct vcpu_time_info *t = &vcpu_info(v)->time;
    u32 version = (t->version | 1) + 1;

    /* Odd while the fields change: readers on other CPUs try again. */
    __atomic_store_n(&t->version, version - 1, __ATOMIC_SEQ_CST);
    fill_time(t);
    __atomic_store_n(&t->version, version, __ATOMIC_SEQ_CST);
}

void vtime_publish(struct vcpu *v)
{
    vtime_publish_info(v);
    if (v->time_area_va) {
        struct vcpu_time_info local = vcpu_info(v)->time;

        if (copy_to_guest((void *)v->time_area_va, &local, sizeof(local)))
            v->time_area_va = 0;
    }
}

static u64 boot_time; /* (atomic) nanoseconds since 1970 */

void vtime_publish_wallclock(struct domain *d)
{
    struct shared_info *s = d->shared;
    u64 at = __atomic_load_n(&boot_time, __ATOMIC_RELAXED) + (u64)d->time_offset * 1000000000UL;
    u32 version = (s->wc_version | 1) + 1;

    __atomic_store_n(&s->wc_version, version - 1, __ATOMIC_SEQ_CST);
    s->wc_sec = (u32)(at / 1000000000UL);
    s->wc_sec_hi = (u32)(at / 1000000000UL >> 32);
    s->wc_nsec = (u32)(at % 1000000000UL);
    __atomic_store_n(&s->wc_version, version, __ATOMIC_SEQ_CST);
}

u64 vtime_utc(ns_t now)
{
    return __atomic_load_n(&boot_time, __ATOMIC_RELAXED) + (u64)now;
}

void vtime_set_wallclock(u64 secs, u32 nsecs, ns_t at)
{
    struct domain *d;

    __atomic_store_n(&boot_time, secs * 1000000000UL + nsecs - (u64)at, __ATOMIC_RELAXED);
    for (u16 id = 0; (d = domain_get_from(id)); id = d->id + 1, domain_put(d))
        if (!d->apart)
            vtime_publish_wallclock(d);
}

int vtime_set_singleshot(struct vcpu *v, ns_t deadline)
{
    timer_set(&v->singleshot, deadline);
    return 0;
}

void vtime_stop_singleshot(struct vcpu *v)
{
    timer_stop(&v->singleshot);
}

int vtime_set_periodic(struct vcpu *v, ns_t period)
{
    if (period < MIN_PERIOD_NS || period > MAX_PERIOD_NS)
        return -XEN_EINVAL;
    vtime_stop_periodic(v);
    v->period = period;
    timer_set(&v->periodic, time_now() + period);
    return 0;
}

void vtime_stop_periodic(struct vcpu *v)
{
    /* Without a period the handler, which may be running, does not set it again. */
    __atomic_store_n(&v->period, 0, __ATOMIC_RELAXED);
    timer_stop(&v->periodic);
}

/*
 * Guest memory by linear address in a page table, whatever table is loaded: the run-state
 * area must be current when the vcpu is preempted in user mode too. Addresses that do not
 * translate to memory of its own are the guest's affair: it may register early.
 */
static bool write_at(const struct vcpu *v, mfn_t root, u64 va, const void *src, size_t len)
{
    const u8 *from = src;

    while (len) {
        u64 pte = mmu_walk(root, va), off = va & (PAGE_SIZE - 1);
        size_t n = MIN(len, PAGE_SIZE - off);
        mfn_t mfn = pte_mfn(pte);

        if (!(pte & GPTE_P) || frame_type_get(v->domain->id, mfn, TYPE_WRITABLE))
            return false;
        memcpy((u8 *)mfn_to_virt(mfn) + off, from, n);
        frame_type_put(mfn);
        va += n;
        from += n;
        len -= n;
    }
    return true;
}

/* One writer at a time, and readers that see a change half made read again. */
static u32 begin_change(struct vcpu *v)
{
    u32 version = __atomic_load_n(&v->runstate_version, __ATOMIC_RELAXED);

    while (version & 1 ||
           !__atomic_compare_exchange_n(&v->runstate_version, &version, version + 1, false,
                                        __ATOMIC_SEQ_CST, __ATOMIC_RELAXED)) {
        tlb_relax();
        version = __atomic_load_n(&v->runstate_version, __ATOMIC_RELAXED);
    }
    return version;
}

/* Another CPU may have been here already at a time that 'now' has not reached. */
static void change(struct vcpu *v, int state, ns_t at)
{
    u64 now = MAX((u64)at, v->runstate.state_entry_time);

    v->runstate.time[v->runstate.state] += now - v->runstate.state_entry_time;
    v->runstate.state = state;
    v->runstate.state_entry_time = now;
}

void vtime_runstate_down(struct vcpu *v)
{
    u32 version = begin_change(v);

    if (!vcpu_is_up(v) && v->runstate.state == RUNSTATE_runnable)
        change(v, RUNSTATE_offline, time_now());
    __atomic_store_n(&v->runstate_version, version + 2, __ATOMIC_SEQ_CST);
    vtime_runstate_publish(v, v->kernel_table);
}

void vtime_runstate_get(const struct vcpu *v, struct vcpu_runstate_info *r)
{
    u32 version;
    u64 now;

    do {
        while ((version = __atomic_load_n(&v->runstate_version, __ATOMIC_SEQ_CST)) & 1)
            tlb_relax();
        *r = v->runstate;
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
    } while (version != __atomic_load_n(&v->runstate_version, __ATOMIC_RELAXED));
    now = (u64)time_now();
    if (now > r->state_entry_time)
        r->time[r->state] += now - r->state_entry_time;
}

static bool wants_mark(const struct vcpu *v)
{
    return vm_assist_on(v->domain, VMASST_TYPE_runstate_update_flag);
}

/* The area as a guest may place it, in one page. */
struct runstate_area {
    struct vcpu_runstate_info info;
} packed;

/* A reader sees the mark, or nothing that changed: the order of the stores is that of memory. */
static void write_marked(struct runstate_area *area, const struct vcpu_runstate_info *r)
{
    area->info.state_entry_time = r->state_entry_time | XEN_RUNSTATE_UPDATE;
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    area->info.state = r->state;
    for (unsigned i = 0; i < ARRAY_SIZE(r->time); i++)
        area->info.time[i] = r->time[i];
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    area->info.state_entry_time = r->state_entry_time;
}

/* The usual place, all of it in the page that this entry maps. */
static void publish_in_page(const struct vcpu *v, u64 pte)
{
    const mfn_t mfn = pte_mfn(pte);
    struct runstate_area *area;

    if (!(pte & GPTE_P) || frame_type_get(v->domain->id, mfn, TYPE_WRITABLE))
        return;
    area = (void *)((u8 *)mfn_to_virt(mfn) + (v->runstate_va & (PAGE_SIZE - 1)));
    if (wants_mark(v))
        write_marked(area, &v->runstate);
    else
        area->info = v->runstate;
    frame_type_put(mfn);
}

static void publish_across_pages(const struct vcpu *v, mfn_t root)
{
    struct vcpu_runstate_info r = v->runstate;
    const u64 va = v->runstate_va,
              entry = va + offsetof(struct vcpu_runstate_info, state_entry_time);
    const bool mark = wants_mark(v);

    if (mark) {
        r.state_entry_time |= XEN_RUNSTATE_UPDATE;
        if (!write_at(v, root, entry, &r.state_entry_time, sizeof(r.state_entry_time)))
            return;
    }
    if (!write_at(v, root, va, &r, sizeof(r)) || !mark)
        return;
    r.state_entry_time &= ~XEN_RUNSTATE_UPDATE;
    (void)!write_at(v, root, entry, &r.state_entry_time, sizeof(r.state_entry_time));
}

static bool is_in_page(const struct vcpu *v)
{
    return (v->runstate_va & (PAGE_SIZE - 1)) <= PAGE_SIZE - sizeof(v->runstate);
}

void vtime_runstate_publish(const struct vcpu *v, mfn_t root)
{
    if (!v->runstate_va)
        return;
    if (is_in_page(v))
        publish_in_page(v, mmu_walk(root, v->runstate_va));
    else
        publish_across_pages(v, root);
}

void vtime_runstate_set(struct vcpu *v, int state, ns_t now)
{
    u32 version = begin_change(v);

    change(v, state, now);
    __atomic_store_n(&v->runstate_version, version + 2, __ATOMIC_SEQ_CST);
    /* Without siblings nobody reads it until the vcpu runs again. */
    if (!v->runstate_va || (state != RUNSTATE_running && v->domain->max_vcpus == 1))
        return;
    if (likely(is_in_page(v)))
        publish_in_page(v, mmu_walk_kernel(v, &v->runstate_walk, v->runstate_va));
    else
        publish_across_pages(v, v->kernel_table);
}
