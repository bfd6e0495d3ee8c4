#include "guest/quiesce.h"
#include "guest/domain.h"
#include "kern/irq.h"

void quiesce_cpus(void)
{
    unsigned self = this_cpu()->id;

    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    for (unsigned i = 0; i < nr_cpus; i++) {
        u64 before = irq_count(i);

        if (i == self)
            continue;
        irq_poke(i);
        while (irq_count(i) == before)
            preempt_point();
    }
}
