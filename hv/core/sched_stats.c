#include "core/sched.h"
#include "core/sched_queue.h"
#include "core/sched_trace.h"

void trace_write(struct sched *s, struct sched_trace t)
{
    u64 at = __atomic_fetch_add(&s->ring_next, 1, __ATOMIC_RELAXED);

    s->ring[at & s->ring_mask] = t;
}

int sched_trace_to(struct sched *s, struct sched_trace *ring, u32 n)
{
    struct sched_cpu *c;

    if (n & (n - 1) || (n && !ring))
        return -XEN_EINVAL;
    s->ring = n ? ring : NULL;
    s->ring_mask = n - 1;
    s->ring_next = 0;
    for (c = s->cpu; c < s->cpu + s->nr_cpus; c++)
        c->rare |= n != 0;
    return 0;
}

void sched_unit_stats(const struct sched_unit *u, ns_t now, struct sched_stats *out)
{
    *out = u->stats;
    out->time[u->state] += now - u->since;
}

static void add(struct sched_stats *to, const struct sched_stats *x)
{
    unsigned i;

    for (i = 0; i < NR_UNIT_STATES; i++)
        to->time[i] += x->time[i];
    to->picks += x->picks;
    for (i = 0; i < NR_DISTANCES; i++)
        to->migrations[i] += x->migrations[i];
    for (i = 0; i < SCHED_LATENCIES; i++)
        to->latency[i] += x->latency[i];
}

void sched_domain_stats(const struct sched_domain *d, ns_t now, struct sched_stats *out)
{
    const struct sched_unit *u;

    *out = (struct sched_stats){0};
    for (u = d->units; u; u = u->next) {
        add(out, &u->stats);
        out->time[u->state] += now - u->since;
    }
}

void sched_cpu_stats(const struct sched *s, unsigned cpu, ns_t now, struct sched_cpu_stats *out)
{
    const struct sched_cpu *c = &s->cpu[cpu];

    *out = c->stats;
    if (!c->current)
        out->idle += now - c->idle_at;
}
