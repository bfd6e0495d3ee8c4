#include "core/sched_beside.h"

bool beside_same(const struct sched_domain *a, const struct sched_domain *b)
{
    return a == b || (a->params.gang != GANG_STRICT && b->params.gang != GANG_STRICT);
}

bool beside_allows(const struct sched *s, const struct sched_domain *d, unsigned cpu)
{
    cpuset_t others = cpuset_minus(s->cpu[cpu].threads, cpuset_of(cpu));
    const struct sched_unit *u;
    const struct sched_cpu *c;

    for (; !cpuset_empty(others); others.bits &= others.bits - 1) {
        c = &s->cpu[cpuset_lowest(others)];
        u = __atomic_load_n(&c->leaving, __ATOMIC_ACQUIRE);
        if ((u && !beside_same(u->dom, d)) || (c->current && !beside_same(c->current->dom, d)))
            return false;
    }
    return true;
}
