#include "sched.h"

#include <errno.h>
#include <stdio.h>

static struct json_object *to_json(const struct serai_sched_pool *p)
{
    struct json_object *o = json_object_new_object(), *domains = json_object_new_array();
    struct serai_sched_domain d;

    for (unsigned int i = 0; find_domain(i, &d); i = d.domid + 1U)
        if (d.pool == p->pool)
            json_object_array_add(domains, json_object_new_uint64(d.domid));
    json_add(o, "pool", p->pool);
    json_object_object_add(o, "cpus", cpulist_json(p->cpus));
    json_object_object_add(o, "domains", domains);
    return o;
}

static void print(const struct serai_sched_pool *p)
{
    char list[CPULIST_SIZE];
    struct serai_sched_domain d;

    bool used = false;

    printf("%4u  %-14s ", p->pool, cpulist_format(list, p->cpus));
    for (unsigned int i = 0; find_domain(i, &d); i = d.domid + 1U)
        if (d.pool == p->pool)
            used = printf(" %u", d.domid) > 0;
    puts(used ? "" : " -");
}

/* One pool, or with NULL all. */
static int show(const struct serai_sched_pool *one, bool json)
{
    struct json_object *list = json_object_new_array();
    struct serai_sched_pool p;

    if (!json)
        puts("POOL  CPUS            DOMAINS");
    for (unsigned int i = 0; find_pool(i, &p); i++) {
        if (one && p.pool != one->pool)
            continue;
        if (json)
            json_object_array_add(list, to_json(&p));
        else
            print(&p);
    }
    return json ? json_print(list) : DONE;
}

static int set(struct serai_sched_pool *p, const char *list)
{
    int rc = cpulist_parse("CPULIST", list, &p->cpus);

    if (rc)
        return rc;
    if (p->cpus == ~0UL)
        p->cpus = all_cpus();
    p->set = 1;
    if (!serai_op(SERAI_OP_SCHED_POOL, p, sizeof(*p)))
        return DONE;
    if (errno == EBUSY)
        return failed(
            "pool %u cannot have the CPUs '%s': that would leave pool 0, or another one "
            "that domains use, without a CPU that is online. 'serai sched pool' shows "
            "who has which.",
            p->pool, list);
    return op_failed("the CPUs are refused and nothing has changed");
}

static int run(int argc, char **argv)
{
    struct serai_sched_pool p;
    unsigned long n;
    bool json;

    if (!take_json(argc, argv, 2, &json))
        return MISUSED;
    if (optind == argc)
        return show(NULL, json);
    if (!parse_number(argv[optind], UINT16_MAX, &n) || !find_pool((unsigned int)n, &p))
        return misused("there is no pool '%s'. 'serai sched pool' shows them all.",
                       argv[optind]);
    if (optind + 1 == argc)
        return show(&p, json);
    return set(&p, argv[optind + 1]);
}

const struct command command_pool = {
    "pool", run, "[N [CPULIST]] [--json]", "CPUs that are set apart for some domains",
    "Shows the pools, or pool N; with a CPULIST (like 0-3,5, 'all' or 'none') gives it "
    "exactly\n"
    "these CPUs and takes them from the pools that had them. A domain runs on the CPUs of one\n"
    "pool only: 'serai sched set DOM --pool N'; all start in pool 0. CPUs in no pool are "
    "idle."};
