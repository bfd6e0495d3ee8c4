/*
 * The words and forms of 'serai sched'.
 */
#include "sched.h"

#include <stdio.h>
#include <string.h>

/* The histogram's first slot holds wake-ups that ran within 2^FIRST_SLOT ns, the next twice that. */
#define FIRST_SLOT 11

#define PERCENT 10000UL /* parts per million */

const char *const state_names[] = {"off", "blocked", "ready", "running", "parked"};
const char *const gang_names[] = {"off", "on", "auto", "strict"};
const char *const latency_names[] = {"low", "normal", "batch"};
static const char *const distance_names[] = {"same", "core", "cache", "node", "farther"};

int find_name(const char *const *names, int n, const char *word)
{
    for (int i = 0; i < n; i++)
        if (!strcmp(names[i], word))
            return i;
    return -1;
}

const char *name_of(const char *const *names, unsigned int n, unsigned int i)
{
    return i < n ? names[i] : "?";
}

/* ---- sets of CPUs ----------------------------------------------------------------------- */

const char *cpulist_format(char buf[CPULIST_SIZE], uint64_t set)
{
    unsigned int from, to;
    size_t at = 0;

    if ((set & all_cpus()) == all_cpus())
        return strcpy(buf, "all");
    if (!set)
        return strcpy(buf, "none");
    for (from = 0; from < 64; from = to + 1) {
        to = from;
        if (!(set >> from & 1))
            continue;
        while (to < 63 && set >> (to + 1) & 1)
            to++;
        at +=
            (size_t)sprintf(buf + at, to > from ? "%s%u-%u" : "%s%u", at ? "," : "", from, to);
    }
    return buf;
}

/* One of "3" and "3-5" at *text; behind it lies a comma or the end. */
static bool parse_range(const char **text, unsigned long *from, unsigned long *to)
{
    int length = 0;

    if (sscanf(*text, "%4lu%n", from, &length) != 1 || **text < '0' || **text > '9')
        return false;
    *to = *from;
    *text += length;
    if (**text == '-') {
        ++*text;
        if (**text < '0' || **text > '9' || sscanf(*text, "%4lu%n", to, &length) != 1)
            return false;
        *text += length;
    }
    if (**text == ',')
        return *++*text != 0 && *from <= *to;
    return !**text && *from <= *to;
}

int cpulist_parse(const char *role, const char *text, uint64_t *set)
{
    unsigned int nr = count_cpus();
    unsigned long from, to;
    const char *at = text;

    *set = !strcmp(text, "all") ? ~0UL : 0;
    if (*set || !strcmp(text, "none"))
        return DONE;
    do {
        if (!parse_range(&at, &from, &to))
            return misused("%s '%s' is no list of CPUs: like 0-3,5 it should be, or all", role,
                           text);
        if (to >= nr)
            return misused("%s '%s': there is no CPU %lu. This machine has CPUs 0 to %u.", role,
                           text, to, nr - 1);
        for (; from <= to; from++)
            *set |= 1UL << from;
    } while (*at);
    return DONE;
}

struct json_object *cpulist_json(uint64_t set)
{
    struct json_object *list = json_object_new_array();
    unsigned int nr = count_cpus();

    for (unsigned int i = 0; i < nr && i < 64; i++)
        if (set >> i & 1)
            json_object_array_add(list, json_object_new_uint64(i));
    return list;
}

/* ---- numbers ---------------------------------------------------------------------------- */

const char *format_duration(char buf[DURATION_SIZE], uint64_t ns)
{
    if (!ns)
        strcpy(buf, "0");
    else if (ns < 10000)
        snprintf(buf, DURATION_SIZE, "%.1fus", (double)ns / 1e3);
    else if (ns < 1000000)
        snprintf(buf, DURATION_SIZE, "%.0fus", (double)ns / 1e3);
    else if (ns < 1000000000)
        snprintf(buf, DURATION_SIZE, "%.1fms", (double)ns / 1e6);
    else
        snprintf(buf, DURATION_SIZE, "%.2fs", (double)ns / 1e9);
    return buf;
}

const char *format_percent(char buf[DURATION_SIZE], uint64_t ppm)
{
    snprintf(buf, DURATION_SIZE, ppm % 10000 ? "%.1f%%" : "%.0f%%", (double)ppm / 1e4);
    return buf;
}

bool parse_percent(const char *text, uint32_t *ppm)
{
    unsigned int fraction = 0, unit = PERCENT;
    unsigned long whole = 0;

    if (*text < '0' || *text > '9')
        return false;
    for (; *text >= '0' && *text <= '9'; text++) {
        whole = whole * 10 + (unsigned long)(*text - '0');
        if (whole > 100000)
            return false;
    }
    if (*text == '.')
        for (text++; *text >= '0' && *text <= '9' && unit >= 10; text++) {
            unit /= 10;
            fraction += (unsigned int)(*text - '0') * unit;
        }
    *ppm = (uint32_t)(whole * PERCENT + fraction);
    return !strcmp(text, "") || !strcmp(text, "%");
}

uint64_t ratio_ppm(uint64_t part, uint64_t whole)
{
    return whole ? (uint64_t)((double)part / (double)whole * 1e6 + 0.5) : 0;
}

uint64_t steal_ppm(const uint64_t time[SERAI_SCHED_STATES])
{
    return ratio_ppm(time[STATE_READY], time[STATE_READY] + time[STATE_RUNNING]);
}

const char *format_migrations(char buf[96], const uint64_t m[SERAI_SCHED_DISTANCES])
{
    snprintf(buf, 96, "%llu/%llu/%llu/%llu", (unsigned long long)m[1], (unsigned long long)m[2],
             (unsigned long long)m[3], (unsigned long long)m[4]);
    return buf;
}

static uint64_t count_wakeups(const uint64_t h[SERAI_SCHED_LATENCIES])
{
    uint64_t sum = 0;

    for (int i = 0; i < SERAI_SCHED_LATENCIES; i++)
        sum += h[i];
    return sum;
}

/* The slot in which the last of 'percent' of all lies. */
static int find_slot(const uint64_t h[SERAI_SCHED_LATENCIES], uint64_t all,
                     unsigned int percent)
{
    uint64_t wanted = (all * percent + 99) / 100, sum = 0;
    int slot = 0;

    for (; slot < SERAI_SCHED_LATENCIES - 1; slot++) {
        sum += h[slot];
        if (sum >= wanted)
            break;
    }
    return slot;
}

const char *format_wakeup(char buf[DURATION_SIZE], const uint64_t h[SERAI_SCHED_LATENCIES],
                          unsigned int percent)
{
    uint64_t all = count_wakeups(h);
    int slot = find_slot(h, all, percent);
    char duration[DURATION_SIZE];

    if (!all)
        return strcpy(buf, "-");
    format_duration(duration, 1UL << (slot + FIRST_SLOT));
    if (slot == SERAI_SCHED_LATENCIES - 1)
        format_duration(duration, 1UL << (slot + FIRST_SLOT - 1));
    snprintf(buf, DURATION_SIZE, "%s%.20s", slot == SERAI_SCHED_LATENCIES - 1 ? ">" : "<",
             duration);
    return buf;
}

/* ---- JSON ------------------------------------------------------------------------------- */

void json_add(struct json_object *o, const char *name, uint64_t value)
{
    json_object_object_add(o, name, json_object_new_uint64(value));
}

void json_add_text(struct json_object *o, const char *name, const char *value)
{
    json_object_object_add(o, name, json_object_new_string(value));
}

void json_add_times(struct json_object *o, const uint64_t time[SERAI_SCHED_STATES])
{
    struct json_object *t = json_object_new_object();

    for (int i = 0; i < SERAI_SCHED_STATES; i++)
        json_add(t, state_names[i], time[i]);
    json_object_object_add(o, "time_ns", t);
    json_add(o, "steal_ppm", steal_ppm(time));
}

void json_add_migrations(struct json_object *o, const uint64_t m[SERAI_SCHED_DISTANCES])
{
    struct json_object *t = json_object_new_object();

    for (int i = 1; i < SERAI_SCHED_DISTANCES; i++)
        json_add(t, distance_names[i], m[i]);
    json_object_object_add(o, "migrations", t);
}

/* An upper bound; null when there is none. */
static void json_add_percentile(struct json_object *o, const char *name,
                                const uint64_t h[SERAI_SCHED_LATENCIES], unsigned int percent)
{
    uint64_t all = count_wakeups(h);
    int slot = find_slot(h, all, percent);

    if (!all || slot == SERAI_SCHED_LATENCIES - 1)
        json_object_object_add(o, name, NULL);
    else
        json_add(o, name, 1UL << (slot + FIRST_SLOT));
}

void json_add_wakeup(struct json_object *o, const uint64_t h[SERAI_SCHED_LATENCIES])
{
    struct json_object *w = json_object_new_object(), *list = json_object_new_array();

    json_add(w, "count", count_wakeups(h));
    json_add_percentile(w, "p50_ns", h, 50);
    json_add_percentile(w, "p99_ns", h, 99);
    for (int i = 0; i < SERAI_SCHED_LATENCIES; i++)
        json_object_array_add(list, json_object_new_uint64(h[i]));
    json_object_object_add(w, "histogram", list);
    json_object_object_add(o, "wakeup", w);
}

int json_print(struct json_object *o)
{
    puts(json_object_to_json_string_ext(o, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED));
    json_object_put(o);
    return DONE;
}
