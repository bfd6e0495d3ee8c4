#include "kern/irq.h"
#include "kern/console.h"
#include "kern/lock.h"
#include "x86/lapic.h"

static struct {
    irq_handler handler;
    void *arg;
} vectors[256];

static void (*softirqs[NR_SOFTIRQS])(void);
static struct spinlock vector_lock = SPINLOCK(LOCK_IRQ);

int irq_alloc_vector(irq_handler handler, void *arg)
{
    int found = -XEN_ENOSPC;

    lock(&vector_lock);
    for (int v = VECTOR_DEVICE_FIRST; v <= VECTOR_DEVICE_LAST; v++) {
        if (!vectors[v].handler && v != 0x80) {
            vectors[v].arg = arg;
            vectors[v].handler = handler;
            found = v;
            break;
        }
    }
    unlock(&vector_lock);
    return found;
}

void irq_free_vector(unsigned vector)
{
    lock(&vector_lock);
    __atomic_store_n(&vectors[vector].handler, NULL, __ATOMIC_SEQ_CST);
    unlock(&vector_lock);
    for (unsigned i = 0; i < nr_cpus; i++)
        while (i != this_cpu()->id &&
               __atomic_load_n(&cpus[i]->vector, __ATOMIC_SEQ_CST) == vector)
            tlb_relax();
}

void irq_set_handler(unsigned vector, irq_handler handler, void *arg)
{
    vectors[vector].arg = arg;
    vectors[vector].handler = handler;
}

void softirq_set_handler(enum softirq s, void (*handler)(void))
{
    softirqs[s] = handler;
}

void softirq_run(void)
{
    u32 pending;

    /* SOFTIRQ_VCPU stays: only the way out to the guest answers it. */
    while ((pending = this_cpu()->softirq_pending & ~(1U << SOFTIRQ_VCPU))) {
        unsigned s = (unsigned)__builtin_ctz(pending);

        this_cpu()->softirq_pending &= ~(1U << s);
        softirqs[s]();
    }
}

u64 irq_count(unsigned cpu)
{
    return __atomic_load_n(&cpus[cpu]->counters[COUNT_INTERRUPT], __ATOMIC_SEQ_CST);
}

void irq_poke(unsigned cpu)
{
    count(COUNT_IPI_EVENT);
    lapic_send_ipi(cpus[cpu]->apic_id, VECTOR_IPI_EVENT);
}

/* Level lines are masked by their handlers; with interrupts off nothing can nest. */
void irq_dispatch(unsigned vector)
{
    struct cpu *c = this_cpu();
    irq_handler handler;

    c->counters[COUNT_INTERRUPT]++;
    /* Announced before the handler is looked up: whoever takes it away waits for us. */
    __atomic_store_n(&c->vector, vector, __ATOMIC_SEQ_CST);
    handler = __atomic_load_n(&vectors[vector].handler, __ATOMIC_SEQ_CST);
    if (handler) {
        handler(vectors[vector].arg);
        lapic_eoi();
    } else if (vector < 0x20 || vector >= 0x30) {
        if (vector != LAPIC_SPURIOUS_VECTOR)
            lapic_eoi();
    }
    __atomic_store_n(&c->vector, 0, __ATOMIC_RELEASE);
}
