/*
 * The events as lines of text and of JSON.
 */
#include "sched_trace.h"

#include <inttypes.h>
#include <stdio.h>

#include "core/sched.h"
#include "core/sched_trace.h"

_Static_assert(sizeof(struct serai_sched_event) == sizeof(struct sched_trace),
               "events come as the policy records them");

/* Which of an event's numbers mean something. */
enum { CPU = 1, DOMAIN = 2, VCPU = 4 };

static const struct {
    const char *name;
    int has;
} kinds[] = {
    [TRACE_NONE] = {"none", 0},
    [TRACE_ONLINE] = {"online", DOMAIN | VCPU},
    [TRACE_OFFLINE] = {"offline", DOMAIN | VCPU},
    [TRACE_WAKE] = {"wake", CPU | DOMAIN | VCPU},
    [TRACE_BLOCK] = {"block", CPU | DOMAIN | VCPU},
    [TRACE_YIELD] = {"yield", CPU | DOMAIN | VCPU},
    [TRACE_SAVED] = {"saved", CPU | DOMAIN | VCPU},
    [TRACE_PICK] = {"pick", CPU | DOMAIN | VCPU},
    [TRACE_IDLE] = {"idle", CPU},
    [TRACE_PARAMS] = {"params", DOMAIN},
    [TRACE_AFFINITY] = {"affinity", DOMAIN | VCPU},
    [TRACE_CPU] = {"cpu", CPU},
    [TRACE_POOL] = {"pool", 0},
    [TRACE_MOVE] = {"move", DOMAIN},
    [TRACE_DOMAIN] = {"domain", DOMAIN},
    [TRACE_UNIT] = {"vcpu", DOMAIN | VCPU},
};

#define NR_KINDS (sizeof(kinds) / sizeof(kinds[0]))

/* What 'arg' of a TRACE_PARAMS holds, see core/sched_trace.h. */
static uint32_t weight_of(const struct serai_sched_event *e)
{
    return (uint32_t)e->arg;
}

static const char *gang_of(const struct serai_sched_event *e)
{
    return name_of(gang_names, 4, (unsigned int)(e->arg >> 32 & 0xff));
}

static const char *latency_of(const struct serai_sched_event *e)
{
    return name_of(latency_names, 3, (unsigned int)(e->arg >> 40 & 0xff));
}

/* ---- text --------------------------------------------------------------------------------- */

static void print_pick(const struct serai_sched_event *e)
{
    char list[CPULIST_SIZE];

    if (e->arg < INT64_MAX)
        printf(" until %.6f", (double)e->arg / 1e9);
    if (e->more)
        printf(" kicks %s", cpulist_format(list, e->more));
}

static void print_details(const struct serai_sched_event *e)
{
    char hard[CPULIST_SIZE], soft[CPULIST_SIZE], cap[DURATION_SIZE], reserve[DURATION_SIZE];

    switch ((enum sched_trace_kind)e->kind) {
    case TRACE_WAKE:
        printf(e->arg == WAKE_POLL ? " poll" : "");
        break;
    case TRACE_YIELD:
        if (e->arg)
            printf(" to d%uv%u", e->domid, (unsigned int)e->arg - 1);
        break;
    case TRACE_PICK:
    case TRACE_IDLE:
        print_pick(e);
        break;
    case TRACE_PARAMS:
        printf(" weight %u gang %s latency %s cap %s reserve %s", weight_of(e), gang_of(e),
               latency_of(e), format_percent(cap, (uint32_t)e->more),
               format_percent(reserve, e->more >> 32));
        break;
    case TRACE_AFFINITY:
        printf(" hard %s soft %s", cpulist_format(hard, e->arg), cpulist_format(soft, e->more));
        break;
    case TRACE_CPU:
        printf(e->arg ? " online" : " offline");
        break;
    case TRACE_POOL:
        printf(" %u has %s", (unsigned int)e->more, cpulist_format(hard, e->arg));
        break;
    case TRACE_MOVE:
        printf(" to pool %u", (unsigned int)e->arg);
        break;
    case TRACE_DOMAIN:
    case TRACE_UNIT:
        printf(e->arg ? " made" : " removed");
        break;
    default:
        break;
    }
}

static void print_text(const struct serai_sched_event *e)
{
    int has = e->kind < NR_KINDS ? kinds[e->kind].has : 0;
    char cpu[16] = "", unit[24] = "";

    if (has & CPU)
        snprintf(cpu, sizeof(cpu), "cpu%u", e->cpu);
    if (has & VCPU)
        snprintf(unit, sizeof(unit), "d%uv%u", e->domid, e->vcpu);
    else if (has & DOMAIN)
        snprintf(unit, sizeof(unit), "d%u", e->domid);
    if (e->time)
        printf("%7" PRId64 ".%09" PRId64, e->time / 1000000000, e->time % 1000000000);
    else
        printf("%17s", "-");
    printf(" %-5s %-*s%s", cpu, *unit ? 9 : 0, e->kind < NR_KINDS ? kinds[e->kind].name : "?",
           unit);
    print_details(e);
    putchar('\n');
}

static int text_events(const struct serai_sched_event *e, size_t n)
{
    for (; n; n--)
        print_text(e++);
    return DONE;
}

static int text_lost(uint64_t n)
{
    printf("# %" PRIu64 " events before these were overwritten\n", n);
    return DONE;
}

const struct trace_sink trace_text = {text_events, text_lost};

/* ---- JSON --------------------------------------------------------------------------------- */

static void add_details(struct json_object *o, const struct serai_sched_event *e)
{
    switch ((enum sched_trace_kind)e->kind) {
    case TRACE_WAKE:
        json_add_text(o, "why", e->arg == WAKE_POLL ? "poll" : "event");
        break;
    case TRACE_YIELD:
        json_object_object_add(o, "to", e->arg ? json_object_new_uint64(e->arg - 1) : NULL);
        break;
    case TRACE_PICK:
    case TRACE_IDLE:
        json_object_object_add(o, "until_ns",
                               e->arg < INT64_MAX ? json_object_new_uint64(e->arg) : NULL);
        json_object_object_add(o, "kicks", cpulist_json(e->more));
        break;
    case TRACE_PARAMS:
        json_add(o, "weight", weight_of(e));
        json_add_text(o, "gang", gang_of(e));
        json_add_text(o, "latency", latency_of(e));
        json_add(o, "cap_ppm", (uint32_t)e->more);
        json_add(o, "reservation_ppm", e->more >> 32);
        break;
    case TRACE_AFFINITY:
        json_object_object_add(o, "hard", cpulist_json(e->arg));
        json_object_object_add(o, "soft", cpulist_json(e->more));
        break;
    case TRACE_CPU:
        json_object_object_add(o, "online", json_object_new_boolean(e->arg != 0));
        break;
    case TRACE_POOL:
        json_object_object_add(o, "cpus", cpulist_json(e->arg));
        json_add(o, "pool", e->more);
        break;
    case TRACE_MOVE:
        json_add(o, "pool", e->arg);
        break;
    case TRACE_DOMAIN:
    case TRACE_UNIT:
        json_object_object_add(o, "made", json_object_new_boolean(e->arg != 0));
        break;
    default:
        break;
    }
}

static int json_events(const struct serai_sched_event *e, size_t n)
{
    for (; n; n--, e++) {
        int has = e->kind < NR_KINDS ? kinds[e->kind].has : 0;
        struct json_object *o = json_object_new_object();

        json_object_object_add(o, "time_ns", e->time ? json_object_new_int64(e->time) : NULL);
        json_add_text(o, "event", e->kind < NR_KINDS ? kinds[e->kind].name : "?");
        if (has & CPU)
            json_add(o, "cpu", e->cpu);
        if (has & DOMAIN)
            json_add(o, "domain", e->domid);
        if (has & VCPU)
            json_add(o, "vcpu", e->vcpu);
        add_details(o, e);
        puts(json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN));
        json_object_put(o);
    }
    return DONE;
}

static int json_lost(uint64_t n)
{
    printf("{\"lost\":%" PRIu64 "}\n", n);
    return DONE;
}

const struct trace_sink trace_json = {json_events, json_lost};
