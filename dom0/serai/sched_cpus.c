#include "sched.h"

#include <stdio.h>

#define NO_ONE  0xffff
#define NO_POOL 0xff

static struct json_object *to_json(const struct serai_sched_cpu *c, uint64_t uptime)
{
    struct json_object *o = json_object_new_object(), *runs = NULL;

    json_add(o, "cpu", c->cpu);
    json_add(o, "node", c->node);
    json_add(o, "package", c->package);
    json_add(o, "cache", c->cache);
    json_add(o, "core", c->core);
    json_add(o, "thread", c->thread);
    json_object_object_add(o, "pool",
                           c->pool == NO_POOL ? NULL : json_object_new_uint64(c->pool));
    json_object_object_add(o, "online", json_object_new_boolean(c->online));
    if (c->domid != NO_ONE) {
        runs = json_object_new_object();
        json_add(runs, "domain", c->domid);
        json_add(runs, "vcpu", c->vcpu);
    }
    json_object_object_add(o, "runs", runs);
    json_add(o, "idle_ns", c->idle);
    json_add(o, "idle_ppm", ratio_ppm(c->idle, uptime));
    json_add(o, "picks", c->picks);
    json_add(o, "steals", c->steals);
    json_add(o, "spreads", c->spreads);
    return o;
}

static void print(const struct serai_sched_cpu *c, uint64_t uptime)
{
    char pool[DURATION_SIZE] = "-", runs[DURATION_SIZE] = "-", idle[DURATION_SIZE];

    if (c->pool != NO_POOL)
        snprintf(pool, sizeof(pool), "%u", c->pool);
    if (c->domid != NO_ONE)
        snprintf(runs, sizeof(runs), "d%uv%u", c->domid, c->vcpu);
    printf("%4u %4u %4u %5u %4u %6u %4s %-7s %-8s %6s %9llu %8llu %8llu\n", c->cpu, c->node,
           c->package, c->cache, c->core, c->thread, pool, c->online ? "online" : "offline",
           runs, format_percent(idle, ratio_ppm(c->idle, uptime)), (unsigned long long)c->picks,
           (unsigned long long)c->steals, (unsigned long long)c->spreads);
}

static int run(int argc, char **argv)
{
    struct json_object *list = NULL;
    struct serai_sched_cpu c;
    bool json;

    if (!take_json(argc, argv, 0, &json))
        return MISUSED;
    if (json)
        list = json_object_new_array();
    else
        printf("%4s %4s %4s %5s %4s %6s %4s %-7s %-8s %6s %9s %8s %8s\n", "CPU", "NODE", "PKG",
               "CACHE", "CORE", "THREAD", "POOL", "STATE", "RUNS", "IDLE", "PICKS", "STEALS",
               "SPREADS");
    for (unsigned int i = 0; find_cpu(i, &c); i++) {
        if (json)
            json_object_array_add(list, to_json(&c, uptime_ns()));
        else
            print(&c, uptime_ns());
    }
    return json ? json_print(list) : DONE;
}

const struct command command_cpus = {
    "cpus", run, "[--json]", "CPUs: topology, pool, what runs there, idle, steals, spreads",
    "One line a logical CPU, figures since the hypervisor started. CPUs with the same CORE "
    "are\n"
    "its threads; CACHE is the last level's. RUNS is domain and vcpu. STEALS are vcpus that "
    "it\n"
    "took from other queues when it would have idled; SPREADS those that a busy core handed "
    "to\n"
    "it because its own core was empty."};
