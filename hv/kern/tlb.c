#include "kern/tlb.h"
#include "kern/vectors.h"
#include "x86/lapic.h"

/* Above every CPU's initial flushed_at, so that a first stamp always asks for a flush. */
u64 flush_clock = 1;

static u64 flushed_at(unsigned cpu)
{
    return __atomic_load_n(&cpus[cpu]->flushed_at, __ATOMIC_ACQUIRE);
}

/* Interrupts those that were not asked already, and waits until each flushed after 'stamp'. */
static void flush_and_wait(cpuset_t need, u64 stamp)
{
    cpuset_t left = need;

    if (cpuset_empty(need))
        return;
    count(COUNT_TLB_SHOOTDOWN);
    for (; !cpuset_empty(left); cpuset_remove(&left, cpuset_lowest(left))) {
        struct cpu *c = cpus[cpuset_lowest(left)];

        if (!__atomic_exchange_n(&c->flush_asked, 1, __ATOMIC_SEQ_CST)) {
            count(COUNT_IPI_FLUSH);
            lapic_send_ipi(c->apic_id, VECTOR_IPI_FLUSH);
        }
    }
    for (; !cpuset_empty(need); cpuset_remove(&need, cpuset_lowest(need)))
        while (flushed_at(cpuset_lowest(need)) <= stamp)
            tlb_relax();
}

/* Is it enough to mark this CPU? It looks at the mark when it leaves idleness. */
static bool defer(struct cpu *c)
{
    if (!__atomic_load_n(&c->idle, __ATOMIC_RELAXED))
        return false;
    __atomic_store_n(&c->stale, 1, __ATOMIC_SEQ_CST);
    if (!__atomic_load_n(&c->idle, __ATOMIC_SEQ_CST))
        return false;
    count(COUNT_TLB_DEFERRED);
    return true;
}

static bool may_hold(const struct cpu *c, u64 stamp, u32 owner)
{
    u32 loaded = __atomic_load_n(&c->guest_owner, __ATOMIC_SEQ_CST);

    if (loaded != NO_OWNER && (owner == NO_OWNER || loaded == owner) &&
        __atomic_load_n(&c->flushed_at, __ATOMIC_ACQUIRE) <= stamp)
        return true;
    count(COUNT_TLB_FILTERED);
    return false;
}

void tlb_shoot_down(u64 stamp, u32 owner, bool tables)
{
    struct cpu *self = this_cpu();
    cpuset_t need = CPUSET_NONE;

    if (TORTURE_FLUSH)
        stamp = tlb_clock();
    self->counters[COUNT_TLB_CANDIDATE] += nr_cpus - 1;
    for (unsigned i = 0; i < nr_cpus; i++)
        if (cpus[i] != self && may_hold(cpus[i], stamp, owner) && (tables || !defer(cpus[i])))
            cpuset_add(&need, i);
    flush_and_wait(need, stamp);
}

bool tlb_settle_since(u64 stamp)
{
    struct cpu *self = this_cpu();
    cpuset_t need = CPUSET_NONE;

    if (self->flushed_at <= stamp)
        tlb_flush_local();
    for (unsigned i = 0; i < nr_cpus; i++) {
        if (cpus[i] == self || flushed_at(i) > stamp ||
            __atomic_load_n(&cpus[i]->guest_owner, __ATOMIC_SEQ_CST) == NO_OWNER)
            continue;
        if (!__atomic_load_n(&cpus[i]->idle, __ATOMIC_RELAXED))
            return false;
        cpuset_add(&need, i);
    }
    flush_and_wait(need, stamp);
    return true;
}

void tlb_flush_cpus(cpuset_t set)
{
    u64 now = tlb_clock();
    unsigned self = this_cpu()->id;

    if (cpuset_has(set, self)) {
        tlb_flush_local();
        cpuset_remove(&set, self);
    }
    flush_and_wait(set, now);
}

void tlb_interrupt(void *arg)
{
    /* Served already by a wait, or together with another request. */
    if (this_cpu()->flush_asked)
        tlb_flush_local();
}
