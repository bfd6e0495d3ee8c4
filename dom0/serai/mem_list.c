#include "mem.h"

#include <stdio.h>

static void print(const struct serai_memory *m)
{
    char name[STORE_NAME_SIZE], summary[SUMMARY_SIZE], limit[SIZE_SIZE] = "none";

    if (m->pages_max < 1UL << 40)
        snprintf(limit, sizeof(limit), "%.1f", (double)m->pages_max * PAGE_KIB / 1024);
    printf("%4u %-16s %10.1f %10s %10.1f  %s\n", m->domid,
           store_name(m->domid, name) ? name : "-", (double)m->pages_now * PAGE_KIB / 1024,
           limit, (double)m->pages_claimed * PAGE_KIB / 1024, mem_summary(summary, m));
}

static void print_all(void)
{
    char free[SIZE_SIZE], claimed[SIZE_SIZE];
    struct serai_memory m;

    if (mem_find(0, &m))
        printf("Free: %s, of which %s are claimed\n\n", format_size(free, m.free),
               format_size(claimed, m.claimed));
    printf("%4s %-16s %10s %10s %10s  %s\n", "DOM", "NAME", "HAS MiB", "LIMIT MiB", "CLAIM MiB",
           "INSTRUCTION");
    for (unsigned int i = 0; mem_find(i, &m); i = m.domid + 1U)
        print(&m);
}

static int print_json(void)
{
    struct json_object *o = json_object_new_object(), *domains = json_object_new_array();
    struct serai_memory m;

    if (mem_find(0, &m)) {
        json_add(o, "pages_free", m.free);
        json_add(o, "pages_claimed", m.claimed);
    }
    for (unsigned int i = 0; mem_find(i, &m); i = m.domid + 1U)
        json_object_array_add(domains, mem_json(&m));
    json_object_object_add(o, "domains", domains);
    return json_print(o);
}

static int run(int argc, char **argv)
{
    bool json;

    if (!take_json(argc, argv, 0, &json))
        return MISUSED;
    if (json)
        return print_json();
    print_all();
    return DONE;
}

const struct command command_mem_list = {
    "list", run, "[--json]", "domains: what they have, may have, and were told",
    "LIMIT is what the domain may have at most, CLAIM what is set aside for it while it is "
    "made;\n"
    "INSTRUCTION is what became of the last 'serai mem set'."};
