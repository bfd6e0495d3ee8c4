#include "sched.h"

#include <stdio.h>

static struct json_object *to_json(const struct serai_sched_domain *d)
{
    struct json_object *o = json_object_new_object(), *skew = json_object_new_object();

    json_add(o, "domain", d->domid);
    json_add(o, "weight", d->weight);
    json_object_object_add(o, "cap_ppm",
                           d->cap_ppm ? json_object_new_uint64(d->cap_ppm) : NULL);
    json_add(o, "reservation_ppm", d->reservation_ppm);
    json_add_text(o, "gang", name_of(gang_names, 4, d->gang));
    json_add_text(o, "latency", name_of(latency_names, 3, d->latency));
    json_add(o, "pool", d->pool);
    json_add(o, "vcpus", d->nr_vcpus);
    json_add_times(o, d->time);
    json_add(o, "picks", d->picks);
    json_add_migrations(o, d->migrations);
    json_add_wakeup(o, d->latencies);
    json_add(o, "gang_windows", d->gang_windows);
    json_add(o, "window_breaks", d->window_breaks);
    json_add(skew, "samples", d->skew_samples);
    json_add(skew, "mean_ns", d->skew_samples ? d->skew_sum / d->skew_samples : 0);
    json_add(skew, "max_ns", d->skew_max);
    json_object_object_add(o, "skew", skew);
    json_add(o, "forced_idle_ns", d->forced_idle);
    return o;
}

static void print_parameters(const struct serai_sched_domain *d)
{
    char cap[DURATION_SIZE], reservation[DURATION_SIZE];

    printf("%4u %6u %6s %7s %-6s %-7s %4u %5u\n", d->domid, d->weight,
           d->cap_ppm ? format_percent(cap, d->cap_ppm) : "none",
           format_percent(reservation, d->reservation_ppm), name_of(gang_names, 4, d->gang),
           name_of(latency_names, 3, d->latency), d->pool, d->nr_vcpus);
}

static void print_times(const struct serai_sched_domain *d)
{
    char steal[DURATION_SIZE], moves[96], p50[DURATION_SIZE], p99[DURATION_SIZE];

    printf("%4u %9.2f %9.2f %9.2f %10.2f %6s %9llu %15s %7s %7s\n", d->domid,
           (double)d->time[STATE_RUNNING] / 1e9, (double)d->time[STATE_READY] / 1e9,
           (double)d->time[STATE_PARKED] / 1e9, (double)d->time[STATE_BLOCKED] / 1e9,
           format_percent(steal, steal_ppm(d->time)), (unsigned long long)d->picks,
           format_migrations(moves, d->migrations), format_wakeup(p50, d->latencies, 50),
           format_wakeup(p99, d->latencies, 99));
}

static void print_gang(const struct serai_sched_domain *d)
{
    char mean[DURATION_SIZE], max[DURATION_SIZE], idle[DURATION_SIZE];

    printf("%4u %9llu %7llu %10s %10s %12s\n", d->domid, (unsigned long long)d->gang_windows,
           (unsigned long long)d->window_breaks,
           format_duration(mean, d->skew_samples ? d->skew_sum / d->skew_samples : 0),
           format_duration(max, d->skew_max), format_duration(idle, d->forced_idle));
}

static void print_all(void (*print)(const struct serai_sched_domain *d))
{
    struct serai_sched_domain d;

    for (unsigned int i = 0; find_domain(i, &d); i = d.domid + 1U)
        print(&d);
}

static int run(int argc, char **argv)
{
    struct json_object *list;
    struct serai_sched_domain d;
    bool json;

    if (!take_json(argc, argv, 0, &json))
        return MISUSED;
    if (json) {
        list = json_object_new_array();
        for (unsigned int i = 0; find_domain(i, &d); i = d.domid + 1U)
            json_object_array_add(list, to_json(&d));
        return json_print(list);
    }
    printf("%4s %6s %6s %7s %-6s %-7s %4s %5s\n", "DOM", "WEIGHT", "CAP", "RESERVE", "GANG",
           "LATENCY", "POOL", "VCPUS");
    print_all(print_parameters);
    printf("\n%4s %9s %9s %9s %10s %6s %9s %15s %7s %7s\n", "DOM", "RUN s", "READY s",
           "PARKED s", "BLOCKED s", "STEAL", "PICKS", "MIGRATIONS", "WAKE50", "WAKE99");
    print_all(print_times);
    printf("\n%4s %9s %7s %10s %10s %12s\n", "DOM", "WINDOWS", "BREAKS", "SKEW MEAN",
           "SKEW MAX", "FORCED IDLE");
    print_all(print_gang);
    return DONE;
}

const struct command command_list = {
    "list", run, "[--json]", "domains: parameters, times, migrations, gangs",
    "Three tables with a line for each domain, figures since it was made:\n"
    "  the parameters that 'serai sched set' changes;\n"
    "  times of its vcpus together; STEAL is READY / (RUN + READY); MIGRATIONS to another CPU "
    "of\n"
    "  the core / cache / node / machine; half and 99 % of the wake-ups ran within WAKE50, "
    "WAKE99;\n"
    "  slots in which the gang had its CPUs, how often class low went in between, how far the\n"
    "  members were apart, and how long threads were kept empty for mode strict."};
