/*
 * Drives the core from a trace: the ring of core/sched_trace.h behind a header that says which
 * machine it was. A trace that starts before the first domain is repeated exactly, as long as no
 * try_lock failed and no gang is in mode auto (its evidence is not in the trace); otherwise the
 * answers drift and the share of equal ones is what is left to look at.
 *
 *      replay FILE                 prints how many of the recorded answers the core gives again
 *      replay --self [FILE]        records a mixed load here first; then all answers must agree
 */
#include <stdlib.h>
#include <string.h>

#include "core/sched_trace.h"
#include "sim/workloads.h"

#define MAGIC     "SERAITR1"
#define SELF_RING (1U << 20)
#define MAX_UNITS 1024
#define MAX_DOMS  256

struct header {
    char magic[8];
    u32 nr_cpus, nr_records;
    struct cpu_place place[CPUSET_MAX];
};

static struct {
    struct sched sched;
    struct sched_domain *dom[MAX_DOMS];
    struct sched_unit *unit[MAX_UNITS];
    u64 answers, equal, records;
} r __aligned(64);

static bool take(unsigned cluster)
{
    return true;
}

static void drop(unsigned cluster)
{
}

static struct sched_domain *dom(const struct sched_trace *t)
{
    for (unsigned i = 0; i < MAX_DOMS && r.dom[i]; i++)
        if (r.dom[i]->id == t->dom)
            return r.dom[i];
    return NULL;
}

static struct sched_unit *unit(u16 d, u16 id)
{
    for (unsigned i = 0; i < MAX_UNITS && r.unit[i]; i++)
        if (r.unit[i]->id == id && r.unit[i]->dom && r.unit[i]->dom->id == d)
            return r.unit[i];
    return NULL;
}

static void *fresh(void **list, unsigned max, size_t size)
{
    for (unsigned i = 0; i < max; i++)
        if (!list[i])
            return list[i] = calloc(1, size);
    printf("Bail out! too many in the trace\n");
    exit(1);
}

static int repeat_domain(const struct sched_trace *t, struct sched_unit *u)
{
    struct sched_domain *d = dom(t);
    int rc;

    if (t->kind == TRACE_DOMAIN && t->arg) {
        if (!d)
            d = fresh((void **)r.dom, MAX_DOMS, sizeof(*d));
        sched_domain_init(&r.sched, d, t->dom);
        return 0;
    }
    if (!d)
        return 0;
    if (t->kind == TRACE_DOMAIN)
        return sched_domain_remove(&r.sched, d);
    if (t->arg) {
        u = u ? u : fresh((void **)r.unit, MAX_UNITS, sizeof(*u));
        sched_unit_init(&r.sched, u, d, t->unit);
        return 0;
    }
    if (!u)
        return 0;
    rc = sched_unit_remove(&r.sched, u);
    u->dom = rc ? u->dom : NULL;
    return rc;
}

static int repeat_knob(const struct sched_trace *t, struct sched_unit *u, cpuset_t *kick)
{
    struct sched_params p = {(u32)t->arg, (u32)t->more, (u32)(t->more >> 32),
                             (enum sched_gang)(t->arg >> 32 & 0xff),
                             (enum sched_latency)(t->arg >> 40 & 0xff)};
    struct sched *s = &r.sched;

    switch ((enum sched_trace_kind)t->kind) {
    case TRACE_PARAMS:
        return dom(t) ? sched_set_params(s, dom(t), &p, t->time, kick) : 0;
    case TRACE_AFFINITY:
        return u ? sched_set_affinity(s, u, (cpuset_t){t->arg}, (cpuset_t){t->more}, t->time,
                                      kick)
                 : 0;
    case TRACE_CPU:
        return t->arg ? sched_cpu_online(s, t->cpu, t->time, kick)
                      : sched_cpu_offline(s, t->cpu, t->time, kick);
    case TRACE_POOL:
        return sched_pool_set_cpus(s, (unsigned)t->more, (cpuset_t){t->arg}, t->time, kick);
    case TRACE_MOVE:
        return dom(t) ? sched_domain_move(s, dom(t), (unsigned)t->arg, t->time, kick) : 0;
    default:
        return repeat_domain(t, u);
    }
}

static void repeat_pick(const struct sched_trace *t, cpuset_t *kick)
{
    ns_t until = INT64_MAX;
    struct sched_unit *u = sched_pick(&r.sched, t->cpu, t->time, &until, kick);
    bool same = t->kind == TRACE_IDLE ? !u : u && u->id == t->unit && u->dom->id == t->dom;

    r.answers++;
    r.equal += same && (u64)until == t->arg && kick->bits == t->more;
}

static void repeat(const struct sched_trace *t)
{
    struct sched_unit *u = unit(t->dom, t->unit);
    struct sched *s = &r.sched;
    cpuset_t kick = CPUSET_NONE;

    if (t->kind == TRACE_PICK || t->kind == TRACE_IDLE) {
        repeat_pick(t, &kick);
        return;
    }
    if (t->kind > TRACE_SAVED || !u) {
        if (repeat_knob(t, u, &kick))
            printf("# record %llu: the knob is refused\n", (unsigned long long)r.records);
        return;
    }
    if (t->kind == TRACE_ONLINE)
        sched_online(s, u, t->time);
    else if (t->kind == TRACE_OFFLINE)
        sched_offline(s, u, t->time, &kick);
    else if (t->kind == TRACE_WAKE)
        sched_wake(s, u, t->time, (enum sched_wake)t->arg, &kick);
    else if (t->kind == TRACE_BLOCK)
        sched_block(s, u);
    else if (t->kind == TRACE_YIELD)
        sched_yield(s, u, t->arg ? unit(t->dom, (u16)(t->arg - 1)) : NULL, t->time);
    else if (t->kind == TRACE_SAVED)
        sched_saved(s, u, t->time, &kick);
}

static int replay(const struct header *h, const struct sched_trace *t, u64 n, bool exact)
{
    static const struct sched_ops ops = {take, drop};
    struct topology topo = {.nr_cpus = h->nr_cpus};
    int broken = 0;

    memcpy(topo.cpu, h->place, sizeof(topo.cpu));
    sched_init(&r.sched, &topo, &ops);
    for (; r.records < n && !broken; r.records++) {
        repeat(&t[r.records]);
        broken = sched_check(&r.sched);
        if (exact && r.answers != r.equal)
            break;
    }
    if (broken)
        printf("# record %llu: invariant %d is broken\n", (unsigned long long)r.records,
               broken);
    printf("%s - replay: %llu of %llu answers equal, %llu records\n",
           broken || (exact && r.answers != r.equal) || !r.answers ? "not ok" : "ok",
           (unsigned long long)r.equal, (unsigned long long)r.answers,
           (unsigned long long)r.records);
    return broken || (exact && r.answers != r.equal) || !r.answers;
}

static int replay_self(const char *save)
{
    struct sched_trace *ring = calloc(SELF_RING, sizeof(*ring));
    struct sim *s = sim_create(&policy_serai, sim_topology("8llcsmt"), 1);
    struct header h = {MAGIC, s->topo.nr_cpus, 0, {{0}}};
    FILE *f;

    if (sim_trace_to(s, ring, SELF_RING))
        return 1;
    memcpy(h.place, s->topo.cpu, sizeof(h.place));
    wl_hog(s, WL(.units = 4, .weight = 512));
    wl_hog(s, WL(.units = 2, .cap_ppm = 300000));
    wl_interactive(s, WL(.units = 6, .quick = true), 2 * MS, 200 * US);
    wl_pipe(s, WL(.units = 4), 50 * US, 80 * US);
    wl_barrier(s, WL(.units = 4, .gang = GANG_ON), 100 * US, 0);
    sim_run(s, s->now + 500 * MS, ~0UL);
    while (h.nr_records < SELF_RING && ring[h.nr_records].kind)
        h.nr_records++;
    sim_destroy(s);
    f = save ? fopen(save, "wb") : NULL;
    if (f) {
        fwrite(&h, sizeof(h), 1, f);
        fwrite(ring, sizeof(*ring), h.nr_records, f);
        fclose(f);
    }
    return replay(&h, ring, h.nr_records, true);
}

int main(int argc, char **argv)
{
    struct header h;
    struct sched_trace *t;
    FILE *f;

    if (argc > 1 && !strcmp(argv[1], "--self"))
        return replay_self(argc > 2 ? argv[2] : NULL);
    f = argc > 1 ? fopen(argv[1], "rb") : NULL;
    if (!f || fread(&h, sizeof(h), 1, f) != 1 || memcmp(h.magic, MAGIC, 8) || !h.nr_cpus ||
        h.nr_cpus > CPUSET_MAX || h.nr_records > 1U << 26) {
        printf("Bail out! no trace\n");
        return 1;
    }
    t = calloc(h.nr_records, sizeof(*t));
    return replay(&h, t, fread(t, sizeof(*t), h.nr_records, f), false);
}
