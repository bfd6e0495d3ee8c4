#include "sched.h"

#include <stdio.h>

static struct json_object *to_json(const struct serai_sched_vcpu *v)
{
    struct json_object *o = json_object_new_object(), *affinity = json_object_new_object();

    json_add(o, "domain", v->domid);
    json_add(o, "vcpu", v->vcpu);
    json_add_text(o, "state", name_of(state_names, SERAI_SCHED_STATES, v->state));
    json_add(o, "cpu", v->cpu);
    json_object_object_add(affinity, "hard", cpulist_json(v->hard));
    json_object_object_add(affinity, "soft", cpulist_json(v->soft));
    json_object_object_add(o, "affinity", affinity);
    json_add_times(o, v->time);
    json_add(o, "picks", v->picks);
    json_add_migrations(o, v->migrations);
    json_add_wakeup(o, v->latencies);
    return o;
}

static void print(const struct serai_sched_vcpu *v)
{
    char hard[CPULIST_SIZE], soft[CPULIST_SIZE], steal[DURATION_SIZE], moves[96],
        p50[DURATION_SIZE], p99[DURATION_SIZE];

    printf("%4u %4u %-7s %3u %-7s %-7s %8.2f %8.2f %8.2f %9.2f %6s %13s %7s %7s\n", v->domid,
           v->vcpu, name_of(state_names, SERAI_SCHED_STATES, v->state), v->cpu,
           cpulist_format(hard, v->hard), cpulist_format(soft, v->soft),
           (double)v->time[STATE_RUNNING] / 1e9, (double)v->time[STATE_READY] / 1e9,
           (double)v->time[STATE_PARKED] / 1e9, (double)v->time[STATE_BLOCKED] / 1e9,
           format_percent(steal, steal_ppm(v->time)), format_migrations(moves, v->migrations),
           format_wakeup(p50, v->latencies, 50), format_wakeup(p99, v->latencies, 99));
}

static void show(const struct serai_sched_domain *d, struct json_object *list)
{
    struct serai_sched_vcpu v;

    for (unsigned int i = 0; i < d->nr_vcpus; i++) {
        if (!find_vcpu(d->domid, i, &v))
            continue;
        if (list)
            json_object_array_add(list, to_json(&v));
        else
            print(&v);
    }
}

static int run(int argc, char **argv)
{
    struct json_object *list;
    struct serai_sched_domain d;
    bool json;
    int rc;

    if (!take_json(argc, argv, 1, &json))
        return MISUSED;
    rc = optind < argc ? get_domain(argv[optind], &d) : DONE;
    if (rc)
        return rc;
    list = json ? json_object_new_array() : NULL;
    if (!json)
        printf("%4s %4s %-7s %3s %-7s %-7s %8s %8s %8s %9s %6s %13s %7s %7s\n", "DOM", "VCPU",
               "STATE", "CPU", "HARD", "SOFT", "RUN s", "READY s", "PARKED s", "BLOCKED s",
               "STEAL", "MIGRATIONS", "WAKE50", "WAKE99");
    if (optind < argc)
        show(&d, list);
    else
        for (unsigned int i = 0; find_domain(i, &d); i = d.domid + 1U)
            show(&d, list);
    return json ? json_print(list) : DONE;
}

const struct command command_vcpus = {
    "vcpus", run, "[DOM] [--json]", "vcpus: state, CPU, affinity, times, wake-ups, migrations",
    "One line a vcpu, of all domains or of DOM; the columns are those of 'serai sched list'.\n"
    "CPU is where it runs or ran last. HARD are the CPUs where it may run, SOFT those where "
    "it\n"
    "had better run."};
