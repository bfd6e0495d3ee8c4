#include "sched_trace.h"

#include <errno.h>
#include <stdio.h>
#include <time.h>
#include <xen/xen.h>

#define EVENTS_MAX 16384
#define WAIT_NS    100000000 /* between two looks of --follow */

static int complain(const char *what)
{
    if (errno == ENOMEM)
        return failed("%s: the hypervisor has no memory in one piece for so many events. Try "
                      "fewer: --events 1024.",
                      what);
    return op_failed(what);
}

/* ---- start and stop ----------------------------------------------------------------------- */

static int start(int argc, char **argv)
{
    static const struct option options[] = {{"events", required_argument, NULL, 'e'}, {0}};
    struct serai_sched_trace t = {.set = 1, .capacity = 1};
    unsigned long n = EVENTS_MAX;
    int c;

    while ((c = next_option(argc, argv, options)) != -1) {
        if (c != 'e')
            return MISUSED;
        if (!parse_number(optarg, EVENTS_MAX, &n) || !n)
            return misused("--events '%s' is no number from 1 to %d", optarg, EVENTS_MAX);
    }
    if (optind < argc)
        return misused("'%s' is one argument too many", argv[optind]);
    while (t.capacity < n)
        t.capacity *= 2;
    if (serai_op(SERAI_OP_SCHED_TRACE, &t, sizeof(t)))
        return complain("the trace cannot be started");
    printf("Recording; the last %u events are kept.\n", t.capacity);
    return DONE;
}

static int stop(int argc, char **argv)
{
    struct serai_sched_trace t = {.set = 2};

    if (argc > 1)
        return misused("'%s' is one argument too many", argv[1]);
    if (serai_op(SERAI_OP_SCHED_TRACE, &t, sizeof(t)))
        return complain("the trace cannot be stopped");
    return DONE;
}

/* ---- read --------------------------------------------------------------------------------- */

/* The number of the event to come, which is that of the events since the start. */
static int find_end(uint64_t *end)
{
    struct serai_sched_trace t = {.next = UINT64_MAX};

    if (serai_op(SERAI_OP_SCHED_TRACE, &t, sizeof(t)))
        return complain("the trace cannot be read");
    *end = t.next;
    return DONE;
}

/* From *next up to 'end'. */
static int read_until(uint64_t *next, uint64_t end, const struct trace_sink *sink)
{
    static struct serai_sched_trace *t;
    struct serai_sched_event *e;
    int rc = DONE;

    if (!t)
        t = hypercall_buffer();
    e = (struct serai_sched_event *)(t + 1);
    while (!rc && *next < end) {
        *t = (struct serai_sched_trace){.next = *next, .entries = (uintptr_t)e};
        t->capacity = (BUFFER_SIZE - sizeof(*t)) / sizeof(*e);
        if (t->capacity > end - *next)
            t->capacity = (uint32_t)(end - *next);
        if (hypercall(__HYPERVISOR_arch_7, SERAI_OP_SCHED_TRACE, (uintptr_t)t) < 0)
            return complain("the trace cannot be read");
        if (t->next <= *next) /* stopped, or started anew */
            return DONE;
        *next = t->next;
        if (t->lost)
            rc = sink->lost(t->lost);
        if (!rc && t->count)
            rc = sink->events(e, t->count);
    }
    return rc;
}

static int follow(uint64_t next, const struct trace_sink *sink)
{
    static const struct timespec wait = {.tv_nsec = WAIT_NS};
    uint64_t end = 0;
    int rc = DONE;

    while (!rc) {
        nanosleep(&wait, NULL);
        rc = find_end(&end);
        if (!rc && end < next)
            next = 0; /* started anew */
        rc = rc ? rc : read_until(&next, end, sink);
        fflush(stdout);
    }
    return rc;
}

static int read_to(const struct trace_sink *sink, bool on)
{
    uint64_t next = 0, end = 0;
    int rc = find_end(&end);

    if (rc)
        return rc;
    if (!end && !on)
        return failed("nothing has been recorded. 'serai sched trace start' starts recording.");
    rc = read_until(&next, end, sink);
    fflush(stdout);
    return rc || !on ? rc : follow(next, sink);
}

static int read_trace(int argc, char **argv)
{
    static const struct option options[] = {{"follow", no_argument, NULL, 'f'},
                                            {"json", no_argument, NULL, 'j'},
                                            {"raw", required_argument, NULL, 'r'},
                                            {0}};
    bool on = false, json = false;
    const char *file = NULL;
    int c, rc;

    while ((c = next_option(argc, argv, options)) != -1) {
        if (c == '?')
            return MISUSED;
        on |= c == 'f';
        json |= c == 'j';
        file = c == 'r' ? optarg : file;
    }
    if (optind < argc)
        return misused("'%s' is one argument too many", argv[optind]);
    if (file && json)
        return misused("--json and --raw exclude each other");
    if (!file)
        return read_to(json ? &trace_json : &trace_text, on);
    rc = trace_raw_open(file);
    return rc ? rc : read_to(&trace_raw, on);
}

/* ---- the command -------------------------------------------------------------------------- */

static int run(int argc, char **argv)
{
    static const char *const verbs[] = {"start", "stop", "read"};
    static int (*const functions[])(int, char **) = {start, stop, read_trace};
    int i = argc > 1 ? find_name(verbs, 3, argv[1]) : -1;

    if (i < 0)
        return misused("what about the trace: start, stop or read?");
    return functions[i](argc - 1, argv + 1);
}

const struct command command_trace = {
    "trace", run, "start [--events N] | stop | read [--follow] [--json | --raw FILE]",
    "record what the scheduler was told and what it decided",
    "  start   records anew and keeps the last N events, at most 16384, which is the default\n"
    "  read    shows them, oldest first; --follow goes on with new ones until Ctrl-C.\n"
    "          --json: one object a line. --raw: a file for the simulator, which decides each\n"
    "          event again: tests/sim/run --replay FILE\n"
    "  stop    ends recording and forgets what was recorded: read first\n"
    "A line has the time in seconds since the hypervisor started, the CPU, the event, the vcpu "
    "as\n"
    "dDOMvVCPU, and what belongs to the event; docs/scheduling.md lists the events."};
