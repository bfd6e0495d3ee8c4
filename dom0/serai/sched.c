#include "sched.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Xen's numbers for domains end here; from there on they have special meanings. */
#define DOMAINS 0x7ff0

/* ---- reading ---------------------------------------------------------------------------- */

/* For reads: what is not there is an answer, anything else ends the program. */
static bool find(unsigned int op, void *arg, size_t size)
{
    if (!serai_op(op, arg, size))
        return true;
    if (errno != ESRCH && errno != ENOENT)
        exit(op_failed("the scheduler's figures cannot be read"));
    return false;
}

/* The numbers of all domains: the hypervisor does not list them, so each is asked for, once. */
static unsigned int list_domains(const uint16_t **out)
{
    static unsigned int n, asked;
    static uint16_t ids[DOMAINS];

    for (; asked < DOMAINS; asked++) {
        struct serai_sched_domain d = {.domid = (uint16_t)asked};

        if (find(SERAI_OP_SCHED_DOMAIN, &d, sizeof(d)))
            ids[n++] = (uint16_t)asked;
    }
    *out = ids;
    return n;
}

bool find_domain(unsigned int domid, struct serai_sched_domain *d)
{
    const uint16_t *ids;
    unsigned int n = list_domains(&ids);

    for (; n; n--, ids++) {
        *d = (struct serai_sched_domain){.domid = *ids};
        if (*ids >= domid && find(SERAI_OP_SCHED_DOMAIN, d, sizeof(*d)))
            return true;
    }
    return false;
}

int get_domain(const char *text, struct serai_sched_domain *d)
{
    unsigned long domid;

    if (!parse_number(text, DOMAINS - 1, &domid))
        return misused("'%s' is no domain: its number is wanted, 0 to %d. 'serai sched list' "
                       "shows those there are.",
                       text, DOMAINS - 1);
    *d = (struct serai_sched_domain){.domid = (uint16_t)domid};
    if (find(SERAI_OP_SCHED_DOMAIN, d, sizeof(*d)))
        return DONE;
    return failed("there is no domain %lu. 'serai sched list' shows those there are.", domid);
}

bool find_vcpu(unsigned int domid, unsigned int vcpu, struct serai_sched_vcpu *v)
{
    *v = (struct serai_sched_vcpu){.domid = (uint16_t)domid, .vcpu = (uint16_t)vcpu};
    return find(SERAI_OP_SCHED_VCPU, v, sizeof(*v));
}

bool find_cpu(unsigned int cpu, struct serai_sched_cpu *c)
{
    *c = (struct serai_sched_cpu){.cpu = (uint16_t)cpu};
    return find(SERAI_OP_SCHED_CPU, c, sizeof(*c));
}

bool find_pool(unsigned int pool, struct serai_sched_pool *p)
{
    *p = (struct serai_sched_pool){.pool = (uint16_t)pool};
    return find(SERAI_OP_SCHED_POOL, p, sizeof(*p));
}

unsigned int count_cpus(void)
{
    static unsigned int nr;
    struct serai_sched_cpu c;

    if (!nr && find_cpu(0, &c))
        nr = c.nr_cpus;
    return nr;
}

uint64_t all_cpus(void)
{
    return count_cpus() >= 64 ? ~0UL : (1UL << count_cpus()) - 1;
}

uint64_t online_cpus(void)
{
    struct serai_sched_cpu c;
    uint64_t set = 0;

    for (unsigned int i = 0; find_cpu(i, &c); i++)
        set |= (uint64_t)c.online << i;
    return set;
}

/* Domain 0's first vcpu has been in one state or another all the time. */
uint64_t uptime_ns(void)
{
    struct serai_sched_vcpu v;
    uint64_t sum = 0;

    if (find_vcpu(0, 0, &v))
        for (int i = 0; i < SERAI_SCHED_STATES; i++)
            sum += v.time[i];
    return sum;
}

/* ---- the commands ----------------------------------------------------------------------- */

static const struct command *const commands[] = {&command_list, &command_vcpus, &command_cpus,
                                                 &command_set,  &command_pin,   &command_pool,
                                                 &command_cpu,  &command_trace, NULL};

static int run(int argc, char **argv)
{
    return command_run("serai sched", commands, argc, argv);
}

const struct command command_sched = {
    "sched", run, "COMMAND", "who runs on which CPU: figures, parameters, trace", NULL};
