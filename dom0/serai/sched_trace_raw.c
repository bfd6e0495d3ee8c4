/*
 * The file that tests/sim/replay.c reads: a header that says which machine it was, then events.
 *
 * The simulator starts with nothing, and a trace that an operator takes starts in the middle. So
 * the events that lead from nothing to the state at the trace's start are put before it: pools,
 * domains with their parameters, vcpus, and for each vcpu what makes it blocked, ready or
 * running on its CPU, told from its first event. Parameters are those of now. The virtual times of that
 * start are unknown, hence the first answers of the replay may differ from the recorded ones.
 */
#include "sched_trace.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/sched.h"
#include "core/sched_trace.h"

struct header {
    char magic[8];
    uint32_t nr_cpus, nr_records;
    struct cpu_place place[CPUSET_MAX];
};

static FILE *file;
static const char *path;
static struct header header = {.magic = "SERAITR1"};

static int write_failed(void)
{
    return failed("%s cannot be written: %s. Name a file that can, with room for 1 MiB.", path,
                  strerror(errno));
}

int trace_raw_open(const char *name)
{
    struct serai_sched_cpu c;

    path = name;
    file = fopen(path, "wb");
    if (!file)
        return write_failed();
    for (; header.nr_cpus < CPUSET_MAX && find_cpu(header.nr_cpus, &c); header.nr_cpus++)
        header.place[header.nr_cpus] =
            (struct cpu_place){c.thread, c.core, c.cache, c.package, c.node};
    return fwrite(&header, sizeof(header), 1, file) == 1 ? DONE : write_failed();
}

static int append(const struct serai_sched_event *e, size_t n)
{
    header.nr_records += (uint32_t)n;
    return fwrite(e, sizeof(*e), n, file) == n ? DONE : write_failed();
}

static int put(struct serai_sched_event e)
{
    return append(&e, 1);
}

/* ---- how it was before -------------------------------------------------------------------- */

static int put_machine(int64_t time)
{
    struct serai_sched_pool p;
    struct serai_sched_cpu c;
    int rc = DONE;

    for (unsigned int i = 1; !rc && find_pool(i, &p); i++)
        if (p.cpus)
            rc = put((struct serai_sched_event){
                .time = time, .kind = TRACE_POOL, .arg = p.cpus, .more = i});
    for (unsigned int i = 0; !rc && find_cpu(i, &c); i++)
        if (!c.online)
            rc = put((struct serai_sched_event){
                .time = time, .kind = TRACE_CPU, .cpu = (uint16_t)i});
    return rc;
}

static int put_domain(const struct serai_sched_domain *d, int64_t time)
{
    struct serai_sched_event e = {
        .time = time, .domid = d->domid, .kind = TRACE_DOMAIN, .arg = 1};
    int rc = put(e);

    e.kind = TRACE_MOVE;
    e.arg = d->pool;
    rc = rc ? rc : put(e);
    e.kind = TRACE_PARAMS;
    e.arg = d->weight | (uint64_t)d->gang << 32 | (uint64_t)d->latency << 40;
    e.more = d->cap_ppm | (uint64_t)d->reservation_ppm << 32;
    return rc ? rc : put(e);
}

static const struct serai_sched_event *first_of(const struct serai_sched_vcpu *v,
                                                const struct serai_sched_event *e, size_t n)
{
    for (; n; n--, e++)
        if (e->domid == v->domid && e->vcpu == v->vcpu && e->kind != TRACE_AFFINITY &&
            (e->kind <= TRACE_PICK || e->kind == TRACE_UNIT))
            return e;
    return NULL;
}

/* It was picked: did it wait until then, so that the CPU had another one to save? */
static bool took_over(const struct serai_sched_event *pick, const struct serai_sched_event *end)
{
    const struct serai_sched_event *e = pick + 1;

    while (e < end && (e->cpu != pick->cpu || e->kind == TRACE_WAKE || e->kind > TRACE_IDLE))
        e++;
    return e < end && e->kind == TRACE_SAVED;
}

/* The state in which its first event found it; without one, it has been in that of now. */
static unsigned int state_before(const struct serai_sched_vcpu *v,
                                 const struct serai_sched_event *first,
                                 const struct serai_sched_event *end)
{
    if (!first)
        return v->state;
    switch ((enum sched_trace_kind)first->kind) {
    case TRACE_ONLINE:
    case TRACE_UNIT:
        return STATE_OFF;
    case TRACE_WAKE:
        return STATE_BLOCKED;
    case TRACE_PICK:
        return took_over(first, end) ? STATE_READY : STATE_RUNNING;
    default:
        return STATE_RUNNING;
    }
}

/* Events of one vcpu on one CPU, all at the same time. */
static int put_kinds(struct serai_sched_event e, const enum sched_trace_kind *kinds, size_t n)
{
    int rc = DONE;

    for (; !rc && n; n--, kinds++) {
        e.kind = (uint16_t)*kinds;
        e.arg = *kinds == TRACE_PICK || *kinds == TRACE_IDLE ? INT64_MAX : 0;
        rc = put(e);
    }
    return rc;
}

static int put_new(struct serai_sched_event e, const struct serai_sched_vcpu *v,
                   unsigned int was)
{
    int rc;

    e.kind = TRACE_UNIT;
    e.arg = 1;
    rc = put(e);
    e.kind = TRACE_ONLINE;
    e.arg = 0;
    rc = rc || was == STATE_OFF ? rc : put(e);
    e.kind = TRACE_AFFINITY;
    e.arg = v->hard;
    e.more = v->soft;
    return rc ? rc : put(e);
}

/*
 * The rounds in which vcpus get to where they were: made; those that were blocked run on their
 * last CPU for a moment; those that ran do so again; and then, with no CPU left that would take
 * one at once, the others become ready.
 */
enum round { MADE, BLOCKED, RUNNING, READY, NR_ROUNDS };

static int put_round(enum round round, struct serai_sched_event e,
                     const struct serai_sched_vcpu *v, unsigned int was)
{
    static const enum sched_trace_kind visit[] = {TRACE_WAKE, TRACE_PICK, TRACE_BLOCK,
                                                  TRACE_IDLE, TRACE_SAVED};

    if (round == MADE)
        return put_new(e, v, was);
    if (round == BLOCKED && was == STATE_BLOCKED)
        return put_kinds(e, visit, 5);
    if (round == RUNNING && was == STATE_RUNNING)
        return put_kinds(e, visit, 2);
    if (round == READY && (was == STATE_READY || was == STATE_PARKED))
        return put_kinds(e, visit, 1);
    return DONE;
}

/* Some events come without. */
static int64_t first_time(const struct serai_sched_event *e, size_t n)
{
    for (; n; n--, e++)
        if (e->time)
            return e->time;
    return 0;
}

static int put_vcpus(const struct serai_sched_domain *d, enum round round,
                     const struct serai_sched_event *e, size_t n)
{
    struct serai_sched_vcpu v;
    int rc = DONE;

    for (unsigned int i = 0; !rc && i < d->nr_vcpus; i++) {
        const struct serai_sched_event *first;

        if (!find_vcpu(d->domid, i, &v))
            continue;
        first = first_of(&v, e, n);
        rc = put_round(round,
                       (struct serai_sched_event){.time = first_time(e, n),
                                                  .cpu = first ? first->cpu : v.cpu,
                                                  .domid = v.domid,
                                                  .vcpu = v.vcpu},
                       &v, state_before(&v, first, e + n));
    }
    return rc;
}

static int put_past(const struct serai_sched_event *e, size_t n)
{
    struct serai_sched_domain d;
    int rc = put_machine(first_time(e, n));

    for (int round = MADE; !rc && round < NR_ROUNDS; round++)
        for (unsigned int i = 0; !rc && find_domain(i, &d); i = d.domid + 1U) {
            if (round == MADE)
                rc = put_domain(&d, first_time(e, n));
            rc = rc ? rc : put_vcpus(&d, (enum round)round, e, n);
        }
    return rc;
}

/* ---- the sink ------------------------------------------------------------------------------- */

/*
 * The header's count is right after each batch, so that --follow may be interrupted. The end is
 * where writing stopped: a disk's end is elsewhere.
 */
static int raw_events(const struct serai_sched_event *e, size_t n)
{
    int rc = header.nr_records ? DONE : put_past(e, n);
    long end;

    rc = rc ? rc : append(e, n);
    if (rc)
        return rc;
    end = ftell(file);
    if (end < 0 || fseek(file, 0, SEEK_SET) || fwrite(&header, sizeof(header), 1, file) != 1 ||
        fseek(file, end, SEEK_SET) || fflush(file))
        return write_failed();
    return DONE;
}

static int raw_lost(uint64_t n)
{
    if (header.nr_records)
        fprintf(stderr,
                "serai: %llu events were overwritten before they were read; the replay "
                "will differ from there on\n",
                (unsigned long long)n);
    return DONE;
}

const struct trace_sink trace_raw = {raw_events, raw_lost};
