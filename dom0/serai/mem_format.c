/*
 * How 'serai mem' says what a domain has and was told.
 */
#include "mem.h"

#include <stdio.h>
#include <string.h>

static const char *const state_words[] = {"none", "pending", "complied", "missed"};
static const char *const otherwise_words[] = {"nothing", "cap", "pause", "destroy"};

#define COUNT(list) (sizeof(list) / sizeof((list)[0]))

const char *mem_label(char buf[LABEL_SIZE], unsigned int domid)
{
    char name[STORE_NAME_SIZE];

    snprintf(buf, LABEL_SIZE, store_name(domid, name) ? "%u '%s'" : "%u", domid, name);
    return buf;
}

const char *format_size(char buf[SIZE_SIZE], uint64_t pages)
{
    uint64_t kib = pages * PAGE_KIB;

    if (kib < 1024)
        snprintf(buf, SIZE_SIZE, "%llu KiB", (unsigned long long)kib);
    else
        snprintf(buf, SIZE_SIZE, "%.1f MiB", (double)kib / 1024);
    return buf;
}

const char *mem_otherwise(char buf[DURATION_SIZE], const struct serai_memory *m)
{
    char percent[DURATION_SIZE];

    if (m->otherwise == SERAI_ELSE_CAP)
        snprintf(buf, DURATION_SIZE, "cap %.18s", format_percent(percent, m->cap_ppm));
    else
        strcpy(buf, name_of(otherwise_words, COUNT(otherwise_words), m->otherwise));
    return buf;
}

/* What has become of the domain that did not comply. */
static const char *consequence(const struct serai_memory *m)
{
    static const char *const done[] = {"nothing happened", "capped", "paused", "crashed"};

    if (!m->acted)
        return done[0];
    if (!m->in_force)
        return m->otherwise == SERAI_ELSE_CAP ? "no longer capped" : "no longer paused";
    return name_of(done, COUNT(done), m->otherwise);
}

static uint64_t beyond(uint64_t a, uint64_t b)
{
    return a > b ? a - b : 0;
}

const char *mem_summary(char buf[SUMMARY_SIZE], const struct serai_memory *m)
{
    char size[SIZE_SIZE], gap[SIZE_SIZE], time[DURATION_SIZE], what[DURATION_SIZE];

    format_size(size, m->pages);
    if (m->state == SERAI_MEMORY_PENDING)
        snprintf(buf, SUMMARY_SIZE, "to have %s in %s, or %s; %s too much", size,
                 format_duration(time, beyond(m->deadline, m->now)), mem_otherwise(what, m),
                 format_size(gap, beyond(m->pages_now, m->pages)));
    else if (m->state == SERAI_MEMORY_COMPLIED)
        snprintf(buf, SUMMARY_SIZE, "came to %s after %s%s", size,
                 format_duration(time, m->complied - m->started),
                 m->complied > m->deadline ? ", too late" : "");
    else if (m->state == SERAI_MEMORY_MISSED)
        snprintf(buf, SUMMARY_SIZE, "missed %s by %s; %s", size,
                 format_size(gap, beyond(m->pages_deadline, m->pages)), consequence(m));
    else
        strcpy(buf, "-");
    return buf;
}

/* ---- JSON ------------------------------------------------------------------------------- */

static void add_or_null(struct json_object *o, const char *name, bool there, uint64_t value)
{
    json_object_object_add(o, name, there ? json_object_new_uint64(value) : NULL);
}

static struct json_object *instruction_json(const struct serai_memory *m)
{
    struct json_object *o = json_object_new_object();

    json_add_text(o, "state", name_of(state_words, COUNT(state_words), m->state));
    json_add(o, "number", m->number);
    json_add(o, "pages", m->pages);
    json_add(o, "within_ns", m->within);
    json_add_text(o, "else", name_of(otherwise_words, COUNT(otherwise_words), m->otherwise));
    add_or_null(o, "cap_ppm", m->otherwise == SERAI_ELSE_CAP, m->cap_ppm);
    json_add(o, "pages_start", m->pages_start);
    json_add(o, "pages_lowest", m->pages_lowest);
    add_or_null(o, "pages_deadline", m->pages_deadline, m->pages_deadline);
    json_add(o, "age_ns", beyond(m->now, m->started));
    add_or_null(o, "left_ns", m->state == SERAI_MEMORY_PENDING, beyond(m->deadline, m->now));
    add_or_null(o, "complied_after_ns", m->complied, m->complied - m->started);
    add_or_null(o, "acted_after_ns", m->acted, m->acted - m->started);
    json_object_object_add(o, "in_force", json_object_new_boolean(m->in_force));
    return o;
}

/* A domain without a limit has one that no machine reaches. */
static bool has_limit(const struct serai_memory *m)
{
    return m->pages_max < 1UL << 40;
}

struct json_object *mem_json(const struct serai_memory *m)
{
    struct json_object *o = json_object_new_object();
    char name[STORE_NAME_SIZE];

    json_add(o, "domain", m->domid);
    json_object_object_add(o, "name",
                           store_name(m->domid, name) ? json_object_new_string(name) : NULL);
    json_add(o, "pages", m->pages_now);
    add_or_null(o, "pages_limit", has_limit(m), m->pages_max);
    json_add(o, "pages_claimed", m->pages_claimed);
    json_object_object_add(o, "instruction", m->state ? instruction_json(m) : NULL);
    return o;
}

/* ---- a screen about one domain ---------------------------------------------------------- */

static void print_pages(const char *what, uint64_t pages)
{
    char size[SIZE_SIZE];

    printf("  %-14s %llu pages (%s)\n", what, (unsigned long long)pages,
           format_size(size, pages));
}

static void print_instruction(const struct serai_memory *m)
{
    char size[SIZE_SIZE], within[DURATION_SIZE], other[DURATION_SIZE], text[SUMMARY_SIZE],
        age[DURATION_SIZE];

    printf("Instruction %u, given %s ago: at most %llu pages (%s) within %s, or else: %s\n",
           m->number, format_duration(age, beyond(m->now, m->started)),
           (unsigned long long)m->pages, format_size(size, m->pages),
           format_duration(within, m->within), mem_otherwise(other, m));
    printf("  %-14s %s: %s\n", "state", name_of(state_words, COUNT(state_words), m->state),
           mem_summary(text, m));
    print_pages("at the start", m->pages_start);
    print_pages("lowest", m->pages_lowest);
    if (m->pages_deadline)
        print_pages("at deadline", m->pages_deadline);
    if (m->acted)
        printf("  %-14s %s, after %s\n", "consequence", consequence(m),
               format_duration(age, m->acted - m->started));
}

void mem_print(const struct serai_memory *m)
{
    char label[LABEL_SIZE];

    printf("Domain %s\n", mem_label(label, m->domid));
    print_pages("has", m->pages_now);
    if (has_limit(m))
        print_pages("limit", m->pages_max);
    if (m->pages_claimed)
        print_pages("claimed", m->pages_claimed);
    if (m->state)
        print_instruction(m);
    else
        puts("No instruction.");
}
