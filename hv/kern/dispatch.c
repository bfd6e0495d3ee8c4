#include "kern/dispatch.h"
#include "kern/heap.h"
#include "kern/irq.h"
#include "kern/lock.h"
#include "kern/timer.h"
#include "kern/torture.h"
#include "x86/cpu_setup.h"
#include "x86/entry.h"
#include "x86/lapic.h"

static struct sched *policy; /* from the heap: for all the CPUs there may be */
static struct spinlock cluster_locks[CPUSET_MAX];
static const struct switch_ops *ops;
static struct timer slice_end[MAX_CPUS];

static bool try_lock_cluster(unsigned cluster)
{
    return lock_try(&cluster_locks[cluster]);
}

static void unlock_cluster(unsigned cluster)
{
    lock_untry(&cluster_locks[cluster]);
}

static struct spinlock *lock_cpu(unsigned cpu)
{
    struct spinlock *l = &cluster_locks[sched_cluster_of(policy, cpu)];

    lock(l);
    return l;
}

/* The unit's cluster may change until it is locked. */
static struct spinlock *lock_unit(const struct sched_unit *u)
{
    for (;;) {
        unsigned cluster = __atomic_load_n(&u->cluster, __ATOMIC_RELAXED);
        struct spinlock *l = &cluster_locks[cluster];

        lock(l);
        if (u->cluster == cluster)
            return l;
        unlock(l);
    }
}

/* These CPUs have to look at their queues. */
static void kick(cpuset_t set)
{
    for (; !cpuset_empty(set); cpuset_remove(&set, cpuset_lowest(set))) {
        struct cpu *c = cpus[cpuset_lowest(set)];

        if (c == this_cpu()) {
            softirq_raise(SOFTIRQ_SCHED);
            continue;
        }
        __atomic_store_n(&c->wake, 1, __ATOMIC_SEQ_CST);
        if (!__atomic_load_n(&c->monitored, __ATOMIC_SEQ_CST)) {
            count(COUNT_IPI_SCHED);
            lapic_send_ipi(c->apic_id, VECTOR_IPI_SCHED);
        }
    }
}

struct sched *dispatch_lock_all(void)
{
    lock(&cluster_locks[0]);
    for (unsigned i = 1; i < policy->nr_clusters; i++)
        while (!lock_try(&cluster_locks[i]))
            tlb_relax();
    return policy;
}

void dispatch_unlock_all(cpuset_t kicks)
{
    for (unsigned i = 1; i < policy->nr_clusters; i++)
        lock_untry(&cluster_locks[i]);
    unlock(&cluster_locks[0]);
    kick(kicks);
}

const struct topology *dispatch_topology(void)
{
    return &policy->topo;
}

static void raise_sched(void *arg)
{
    softirq_raise(SOFTIRQ_SCHED);
}

void dispatch_add_domain(struct sched_domain *d, u16 id)
{
    sched_domain_init(dispatch_lock_all(), d, id);
    dispatch_unlock_all(CPUSET_NONE);
}

void dispatch_add(struct runnable *r, struct sched_domain *d, u16 id)
{
    sched_unit_init(dispatch_lock_all(), &r->unit, d, id);
    dispatch_unlock_all(CPUSET_NONE);
}

int dispatch_remove(struct runnable *r)
{
    int rc = sched_unit_remove(dispatch_lock_all(), &r->unit);

    dispatch_unlock_all(CPUSET_NONE);
    return rc;
}

int dispatch_remove_domain(struct sched_domain *d)
{
    int rc = sched_domain_remove(dispatch_lock_all(), d);

    dispatch_unlock_all(CPUSET_NONE);
    return rc;
}

/* What switch_stack() pops: six registers, then where to begin. */
void dispatch_prepare(struct runnable *r, void *stack_top, void (*first)(void))
{
    u64 *sp = stack_top;

    *--sp = (u64)first;
    for (unsigned i = 0; i < 6; i++)
        *--sp = 0;
    r->sp = (u64)sp;
}

/* Sends a runnable to the next CPU. */
static void migrate(struct runnable *r)
{
    cpuset_t kicks = CPUSET_NONE;
    struct sched *s = dispatch_lock_all();

    (void)!sched_set_affinity(s, &r->unit, cpuset_of((r->unit.cpu + 1U) % nr_cpus),
                              cpuset_first(nr_cpus), time_now(), &kicks);
    dispatch_unlock_all(kicks);
}

/* First thing on the stack that was switched to: the one that was left is complete now. */
static void finish_switch(struct runnable *left)
{
    cpuset_t kicks = CPUSET_NONE;
    struct spinlock *l;

    if (!left)
        return;
    if (TORTURE_MIGRATE)
        migrate(left);
    l = lock_unit(&left->unit);
    sched_saved(policy, &left->unit, time_now(), &kicks);
    unlock(l);
    kick(kicks);
}

void dispatch_begin_from_assembly(struct runnable *left)
{
    finish_switch(left);
}

static void switch_to(struct runnable *prev, struct runnable *next, ns_t now)
{
    struct cpu *c = this_cpu();

    count(COUNT_VCPU_SWITCH);
    if (prev)
        ops->out(prev, now);
    __atomic_store_n(&c->unit, &next->unit, __ATOMIC_RELAXED);
    if (next)
        ops->in(next, now);
    finish_switch(
        switch_stack(prev ? &prev->sp : &c->idle_sp, next ? next->sp : c->idle_sp, prev));
}

/* One that is too early costs another look now and then, less than setting it at each switch. */
static void set_slice_end(unsigned cpu, ns_t until)
{
    struct timer *t = &slice_end[cpu];

    if (until != INT64_MAX && !(t->armed && t->expires <= until))
        timer_set(t, until);
}

/* With the lock of this CPU's cluster, which it releases. */
static void pick_and_switch(struct spinlock *l)
{
    unsigned cpu = this_cpu()->id;
    struct runnable *prev = dispatch_current(), *next;
    cpuset_t kicks = CPUSET_NONE;
    ns_t now = time_now(), until;

    count(COUNT_SCHEDULE);
    next = (struct runnable *)sched_pick(policy, cpu, now, &until, &kicks);
    unlock(l);
    kick(kicks);
    set_slice_end(cpu, until);
    if (next != prev)
        switch_to(prev, next, now);
}

static void sched_softirq(void)
{
    pick_and_switch(lock_cpu(this_cpu()->id));
}

void dispatch_sleep(bool (*awake)(void *arg), void *arg)
{
    struct spinlock *l = lock_cpu(this_cpu()->id);

    sched_block(policy, &dispatch_current()->unit);
    if (awake(arg)) {
        cpuset_t kicks = CPUSET_NONE;

        sched_wake(policy, &dispatch_current()->unit, time_now(), WAKE_EVENT, &kicks);
        unlock(l);
        kick(kicks);
        return;
    }
    pick_and_switch(l);
}

void dispatch_wake(struct runnable *r, enum sched_wake why)
{
    struct spinlock *l = lock_unit(&r->unit);
    cpuset_t kicks = CPUSET_NONE;

    sched_wake(policy, &r->unit, time_now(), why, &kicks);
    unlock(l);
    kick(kicks);
}

/* Without the lock: what this misses had not happened when it looked. */
static bool nobody_waits(unsigned cpu)
{
    return !__atomic_load_n(&policy->cpu[cpu].queue->nr_ready, __ATOMIC_RELAXED);
}

void dispatch_note_event(struct runnable *r)
{
    if (unlikely(!nobody_waits(r->unit.cpu)))
        sched_note_event(&r->unit, time_now());
}

void dispatch_yield(struct runnable *to)
{
    struct spinlock *l;

    if (nobody_waits(this_cpu()->id))
        return;
    l = lock_cpu(this_cpu()->id);

    sched_yield(policy, &dispatch_current()->unit, to ? &to->unit : NULL, time_now());
    pick_and_switch(l);
}

void dispatch_online(struct runnable *r)
{
    struct spinlock *l = lock_unit(&r->unit);
    cpuset_t kicks = CPUSET_NONE;
    ns_t now = time_now();

    sched_online(policy, &r->unit, now);
    sched_wake(policy, &r->unit, now, WAKE_EVENT, &kicks);
    unlock(l);
    kick(kicks);
}

void dispatch_offline(struct runnable *r)
{
    struct spinlock *l = lock_unit(&r->unit);
    cpuset_t kicks = CPUSET_NONE;

    sched_offline(policy, &r->unit, time_now(), &kicks);
    unlock(l);
    kick(kicks);
}

/*
 * Sleeps until an interrupt, or a kick by memory: 'wake' is looked at after 'monitored' is set
 * and after it is cleared, so that a kick that relied on it is seen.
 */
static void wait_for_work(struct cpu *c)
{
    if (!cpu_features.mwait) {
        cpu_halt_irq_on();
        return;
    }
    __atomic_store_n(&c->monitored, 1, __ATOMIC_SEQ_CST);
    cpu_monitor(&c->wake);
    if (!__atomic_load_n(&c->wake, __ATOMIC_SEQ_CST))
        cpu_mwait_irq_on();
    __atomic_store_n(&c->monitored, 0, __ATOMIC_SEQ_CST);
    if (__atomic_exchange_n(&c->wake, 0, __ATOMIC_SEQ_CST))
        softirq_raise(SOFTIRQ_SCHED);
}

void dispatch_idle(void)
{
    struct cpu *c = this_cpu();

    softirq_raise(SOFTIRQ_SCHED);
    for (;;) {
        softirq_run();
        c->softirq_pending = 0;
        if (heap_scrub_some()) {
            cpu_take_interrupts();
            continue;
        }
        __atomic_store_n(&c->idle, 1, __ATOMIC_SEQ_CST);
        wait_for_work(c);
    }
}

__init void dispatch_alloc(void)
{
    policy = heap_alloc_pages(heap_order(sizeof(*policy)));
    BUG_ON(!policy);
}

__init void dispatch_init(const struct topology *t, const struct switch_ops *o)
{
    static const struct sched_ops lock_ops = {try_lock_cluster, unlock_cluster};

    for (unsigned i = 0; i < CPUSET_MAX; i++)
        cluster_locks[i] = (struct spinlock)SPINLOCK(LOCK_SCHED);
    for (unsigned i = 0; i < MAX_CPUS; i++)
        timer_init(&slice_end[i], raise_sched, NULL);
    ops = o;
    sched_init(policy, t, &lock_ops);
    softirq_set_handler(SOFTIRQ_SCHED, sched_softirq);
    irq_set_handler(VECTOR_IPI_SCHED, raise_sched, NULL);
}
