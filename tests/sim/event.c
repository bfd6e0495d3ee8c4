#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/internal.h"

const struct sim_topology sim_topologies[] = {
    {"1", 1, 1, 1, 1},       {"2", 1, 1, 2, 1},      {"2smt", 1, 1, 1, 2},
    {"4", 1, 1, 4, 1},       {"4smt", 1, 1, 2, 2},   {"3", 1, 1, 3, 1},
    {"8", 1, 1, 8, 1},       {"8smt", 1, 1, 4, 2},   {"8llc", 1, 4, 2, 1},
    {"8llcsmt", 1, 2, 2, 2}, {"8numa", 2, 2, 2, 1},  {"16", 1, 1, 16, 1},
    {"16smt", 1, 2, 4, 2},   {"16numa", 2, 2, 2, 2}, {"12", 1, 3, 4, 1},
    {"24big", 1, 1, 12, 2},  {"32numa", 4, 1, 4, 2}, {"64", 2, 4, 4, 2},
    {"64big", 1, 1, 32, 2},
};
const unsigned sim_nr_topologies = ARRAY_SIZE(sim_topologies);

/* ---- random numbers --------------------------------------------------------------------- */

u64 sim_random(struct sim *s)
{
    s->rng ^= s->rng >> 12;
    s->rng ^= s->rng << 25;
    s->rng ^= s->rng >> 27;
    return s->rng * 0x2545f4914f6cdd1dUL;
}

u64 sim_below(struct sim *s, u64 n)
{
    return (u64)((unsigned __int128)sim_random(s) * n >> 64);
}

ns_t sim_about(struct sim *s, ns_t mean, unsigned pct)
{
    u64 width = (u64)mean * pct / 50;

    return width ? mean - (ns_t)(width / 2) + (ns_t)sim_below(s, width) : mean;
}

/* -log2(u) by its integer part and a linear rest: the same on every machine. */
ns_t sim_exp(struct sim *s, ns_t mean)
{
    u64 r = sim_random(s) | 1;
    unsigned lead = (unsigned)__builtin_clzl(r);
    u64 frac = lead < 63 ? r << (lead + 1) >> 44 : 0; /* 20 bits */
    u64 log2_q20 = ((u64)(lead + 1) << 20) - frac;
    ns_t v = (ns_t)((unsigned __int128)mean * log2_q20 * 710 >> 30);

    return MIN(v, 8 * mean);
}

/* ---- events ----------------------------------------------------------------------------- */

static bool earlier(const struct sim_event *a, const struct sim_event *b)
{
    return a->at != b->at ? a->at < b->at : a->seq < b->seq;
}

void sim_post(struct sim *s, ns_t at, unsigned kind, unsigned id, unsigned gen)
{
    struct sim_event e = {at, s->seq++, (u16)kind, (u16)id, gen};
    unsigned i;

    if (s->nr_heap == s->max_heap) {
        s->max_heap = s->max_heap ? 2 * s->max_heap : 1024;
        s->heap = realloc(s->heap, s->max_heap * sizeof(*s->heap));
    }
    for (i = s->nr_heap++; i && earlier(&e, &s->heap[(i - 1) / 2]); i = (i - 1) / 2)
        s->heap[i] = s->heap[(i - 1) / 2];
    s->heap[i] = e;
}

struct sim_event sim_pop(struct sim *s)
{
    struct sim_event top = s->heap[0], e = s->heap[--s->nr_heap];
    unsigned i = 0, child;

    while ((child = 2 * i + 1) < s->nr_heap) {
        if (child + 1 < s->nr_heap && earlier(&s->heap[child + 1], &s->heap[child]))
            child++;
        if (!earlier(&s->heap[child], &e))
            break;
        s->heap[i] = s->heap[child];
        i = child;
    }
    s->heap[i] = e;
    return top;
}

void sim_call(struct sim *s, ns_t delay, u16 id)
{
    sim_post(s, s->now + delay, EV_CALL, id, 0);
}

/* ---- what happened ---------------------------------------------------------------------- */

void sim_note(struct sim *s, const char *what, int cpu, int unit, int value)
{
    struct sim_log *l = &s->log[s->nr_log++ % ARRAY_SIZE(s->log)];

    *l = (struct sim_log){s->now, s->event_base + s->st.events, what, cpu, unit, value};
    if (s->trace)
        printf("# %10llu %14.3f us %-10s cpu %3d unit %3d %d\n", (unsigned long long)l->event,
               (double)l->at / 1000, what, cpu, unit, value);
}

void sim_dump_log(const struct sim *s)
{
    unsigned n = MIN(s->nr_log, 30U);

    for (unsigned i = s->nr_log - n; i != s->nr_log; i++) {
        const struct sim_log *l = &s->log[i % ARRAY_SIZE(s->log)];

        printf("#   event %llu at %.3f us: %s cpu %d unit %d (%d)\n",
               (unsigned long long)l->event, (double)l->at / 1000, l->what, l->cpu, l->unit,
               l->value);
    }
}

void sim_fail(struct sim *s, const char *fmt, ...)
{
    va_list ap;

    printf("# FAIL policy %s seed %llu event %llu time %.3f us, %u CPUs: ", s->pol->name,
           (unsigned long long)s->seed, (unsigned long long)(s->event_base + s->st.events),
           (double)s->now / 1000, s->topo.nr_cpus);
    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
    printf("\n");
    if (!s->terse)
        sim_dump_log(s);
    fflush(stdout);
    if (s->escape)
        longjmp(*s->escape, 1);
    exit(1);
}

/* ---- the machine ------------------------------------------------------------------------ */

void sim_build_topology(struct topology *t, const struct sim_topology *d)
{
    unsigned n = 0, core = 0, cache = 0;

    memset(t, 0, sizeof(*t));
    for (unsigned node = 0; node < d->nodes; node++)
        for (unsigned l = 0; l < d->caches; l++, cache++)
            for (unsigned k = 0; k < d->cores; k++, core++)
                for (unsigned th = 0; th < d->threads; th++)
                    t->cpu[n++] =
                        (struct cpu_place){(u8)th, (u8)core, (u8)cache, (u8)node, (u8)node};
    t->nr_cpus = n;
}

const struct sim_topology *sim_topology(const char *name)
{
    for (unsigned i = 0; i < sim_nr_topologies; i++)
        if (!strcmp(sim_topologies[i].name, name))
            return &sim_topologies[i];
    return NULL;
}

/* ---- figures ---------------------------------------------------------------------------- */

static int by_value(const void *a, const void *b)
{
    ns_t x = *(const ns_t *)a, y = *(const ns_t *)b;

    return (x > y) - (x < y);
}

ns_t sim_quantile(ns_t *v, u64 n, unsigned permille)
{
    if (!n)
        return 0;
    qsort(v, n, sizeof(*v), by_value);
    return v[MIN(n - 1, n * permille / 1000)];
}

ns_t sim_percentile(struct sim *s, unsigned permille)
{
    return sim_quantile(s->st.lat, s->st.nr_lat, permille);
}
