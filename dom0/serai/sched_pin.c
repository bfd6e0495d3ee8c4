#include "sched.h"

#include <errno.h>
#include <stdio.h>

static int get_vcpu(const struct serai_sched_domain *d, const char *text,
                    struct serai_sched_vcpu *v)
{
    unsigned long n;

    if (!parse_number(text, UINT16_MAX, &n))
        return misused("'%s' is no vcpu: its number is wanted", text);
    if (!find_vcpu(d->domid, (unsigned int)n, v))
        return failed("domain %u has no vcpu %lu: it has %u, counted from 0", d->domid, n,
                      d->nr_vcpus);
    return DONE;
}

static int pin(const struct serai_sched_domain *d, struct serai_sched_vcpu *v, const char *list)
{
    v->set = 1;
    if (!serai_op(SERAI_OP_SCHED_VCPU, v, sizeof(*v)))
        return DONE;
    if (errno == EINVAL)
        return failed(
            "domain %u cannot run its vcpu %u on '%s': none of these CPUs is online and "
            "in the domain's pool, %u. 'serai sched cpus' shows those that are.",
            d->domid, v->vcpu, list, d->pool);
    return op_failed("the affinity is refused and nothing has changed");
}

static int run(int argc, char **argv)
{
    static const struct option options[] = {{"soft", required_argument, NULL, 's'}, {0}};
    struct serai_sched_domain d;
    struct serai_sched_vcpu v;
    const char *soft = NULL;
    int c, rc;

    while ((c = next_option(argc, argv, options)) != -1) {
        if (c != 's')
            return MISUSED;
        soft = optarg;
    }
    if (argc - optind != 3)
        return misused("a domain, one of its vcpus and a list of CPUs are wanted");
    rc = get_domain(argv[optind], &d);
    rc = rc ? rc : get_vcpu(&d, argv[optind + 1], &v);
    rc = rc ? rc : cpulist_parse("CPULIST", argv[optind + 2], &v.hard);
    rc = rc || !soft ? rc : cpulist_parse("--soft", soft, &v.soft);
    return rc ? rc : pin(&d, &v, argv[optind + 2]);
}

const struct command command_pin = {
    "pin", run, "DOM VCPU CPULIST [--soft CPULIST]",
    "where a vcpu may run, and where it should",
    "A CPULIST is like 0-3,5 or 'all'. The vcpu runs on these CPUs only, as long as one of "
    "them is\n"
    "online and in the domain's pool; --soft names those where it runs when one is free there\n"
    "('none' or 'all': no preference). Without --soft that preference stays as it is."};
