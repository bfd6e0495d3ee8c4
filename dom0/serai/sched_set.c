#include "sched.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WEIGHT_MAX 65535
#define ONE_CPU    1000000UL /* parts per million */

static int take_cap(const char *text, uint32_t *ppm)
{
    if (!strcmp(text, "none")) {
        *ppm = 0;
        return DONE;
    }
    if (parse_percent(text, ppm) && *ppm)
        return DONE;
    return misused(
        "cap '%s' is no percentage above 0: 100 is one whole CPU, 250 two and a half; "
        "'none' takes the cap away",
        text);
}

static int take_name(const char *what, const char *const *names, int n, const char *text,
                     uint8_t *out)
{
    int i = find_name(names, n, text);

    if (i < 0)
        return misused("there is no %s '%s': it is one of %s, %s, %s%s%s", what, text, names[0],
                       names[1], names[2], n > 3 ? ", " : "", n > 3 ? names[3] : "");
    *out = (uint8_t)i;
    return DONE;
}

static int take_weight(const char *text, uint32_t *out)
{
    unsigned long n;

    if (!parse_number(text, WEIGHT_MAX, &n) || !n)
        return misused("weight '%s' is no number from 1 to %d; 256 is what domains start with",
                       text, WEIGHT_MAX);
    *out = (uint32_t)n;
    return DONE;
}

static int take_pool(const char *text, uint8_t *out)
{
    struct serai_sched_pool p;
    unsigned long n;

    if (!parse_number(text, UINT8_MAX, &n) || !find_pool((unsigned int)n, &p))
        return misused("there is no pool '%s'. 'serai sched pool' shows them all.", text);
    *out = (uint8_t)n;
    return DONE;
}

static int take_option(int option, const char *text, struct serai_sched_domain *d)
{
    switch (option) {
    case 'w':
        return take_weight(text, &d->weight);
    case 'c':
        return take_cap(text, &d->cap_ppm);
    case 'r':
        if (parse_percent(text, &d->reservation_ppm))
            return DONE;
        return misused("reservation '%s' is no percentage: 50 is half a CPU, 0 takes it away",
                       text);
    case 'g':
        return take_name("gang mode", gang_names, 4, text, &d->gang);
    case 'l':
        return take_name("latency class", latency_names, 3, text, &d->latency);
    default:
        return take_pool(text, &d->pool);
    }
}

/* ---- why the hypervisor refused ----------------------------------------------------------- */

static uint32_t others_reserved(const struct serai_sched_domain *d)
{
    struct serai_sched_domain other;
    uint32_t sum = 0;

    for (unsigned int i = 0; find_domain(i, &other); i = other.domid + 1U)
        if (other.domid != d->domid && other.pool == d->pool)
            sum += other.reservation_ppm;
    return sum;
}

static int explain(const struct serai_sched_domain *d)
{
    char wanted[DURATION_SIZE], limit[DURATION_SIZE], taken[DURATION_SIZE];
    struct serai_sched_pool p;
    unsigned long cpus;
    int error = errno;

    cpus =
        find_pool(d->pool, &p) ? (unsigned long)__builtin_popcountl(p.cpus & online_cpus()) : 0;
    if (error == EINVAL && !cpus)
        return failed("domain %u cannot use pool %u: none of its CPUs is online. Give it some "
                      "with 'serai sched pool %u CPULIST'.",
                      d->domid, d->pool, d->pool);
    if (error == EINVAL && d->cap_ppm > cpus * ONE_CPU)
        return failed("a cap of %s is more than pool %u can give: with %lu CPUs online that is "
                      "%s. Choose less, or 'none'.",
                      format_percent(wanted, d->cap_ppm), d->pool, cpus,
                      format_percent(limit, cpus * ONE_CPU));
    if (error == ENOSPC)
        return failed(
            "a reservation of %s does not fit into pool %u: 90 %% of its CPUs, %s, may "
            "be reserved, and other domains have %s. Reserve less, or move it to "
            "another pool.",
            format_percent(wanted, d->reservation_ppm), d->pool,
            format_percent(limit, cpus * ONE_CPU / 10 * 9),
            format_percent(taken, others_reserved(d)));
    errno = error;
    return op_failed("the parameters are refused and nothing has changed");
}

/* ---- the command -------------------------------------------------------------------------- */

static const struct option options[] = {{"weight", required_argument, NULL, 'w'},
                                        {"cap", required_argument, NULL, 'c'},
                                        {"reserve", required_argument, NULL, 'r'},
                                        {"gang", required_argument, NULL, 'g'},
                                        {"latency", required_argument, NULL, 'l'},
                                        {"pool", required_argument, NULL, 'p'},
                                        {0}};

#define NR_OPTIONS (sizeof(options) / sizeof(options[0]) - 1)

/* The words given for the options, by their place in the table; false after a complaint. */
static bool collect(int argc, char **argv, const char *given[NR_OPTIONS])
{
    int c;

    while ((c = next_option(argc, argv, options)) != -1) {
        if (c == '?')
            return false;
        for (size_t i = 0; i < NR_OPTIONS; i++)
            if (options[i].val == c)
                given[i] = optarg;
    }
    return true;
}

static int run(int argc, char **argv)
{
    const char *given[NR_OPTIONS] = {NULL};
    struct serai_sched_domain d;
    int rc, changes = 0;

    if (!collect(argc, argv, given))
        return MISUSED;
    if (argc - optind != 1)
        return misused(argc == optind ? "which domain? Its number is missing"
                                      : "one domain at a time; options begin with --");
    rc = get_domain(argv[optind], &d);
    for (size_t i = 0; !rc && i < NR_OPTIONS; i++) {
        if (!given[i])
            continue;
        rc = take_option(options[i].val, given[i], &d);
        changes++;
    }
    if (rc)
        return rc;
    if (!changes)
        return misused("nothing to set: name what shall change");
    d.set = 1;
    return serai_op(SERAI_OP_SCHED_DOMAIN, &d, sizeof(d)) ? explain(&d) : DONE;
}

const struct command command_set = {
    "set", run,
    "DOM [--weight N] [--cap PERCENT|none] [--reserve PERCENT]\n"
    "                       [--gang off|on|auto|strict] [--latency low|normal|batch] [--pool "
    "N]",
    "change a domain's parameters while it runs",
    "What is not named stays as it is; either everything named is changed or nothing.\n"
    "  --weight   its share where CPUs are short, 1 to 65535, relative to others'; 256 at "
    "first\n"
    "  --cap      at most so much, in percent of one CPU, also where CPUs are idle\n"
    "  --reserve  at least so much; at most 90 % of the pool together with others'\n"
    "  --gang     whether its vcpus run at the same time: on in common slots, auto when they\n"
    "             seem to wait for each other, strict: no other domain beside it on a core\n"
    "  --latency  low: short slices, runs soon; batch: long slices, less switching\n"
    "  --pool     whose CPUs it uses, see 'serai sched pool'"};
