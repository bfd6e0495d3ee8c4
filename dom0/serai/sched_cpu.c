#include "sched.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static int explain(const struct serai_sched_cpu *c)
{
    if (errno == EBUSY)
        return failed("CPU %u stays online: it is the last one of pool %u, which domains use. "
                      "Bring another one of the pool online, or move the domains away "
                      "('serai sched set DOM --pool N'; pool 0 always keeps one).",
                      c->cpu, c->pool);
    return op_failed("the CPU stays as it is");
}

static int run(int argc, char **argv)
{
    static const char *const words[] = {"offline", "online"};
    struct serai_sched_cpu c;
    unsigned long n;
    int online;

    if (argc != 3)
        return misused("a CPU's number and 'online' or 'offline' are wanted");
    online = find_name(words, 2, argv[2]);
    if (online < 0)
        return misused("'%s' is neither 'online' nor 'offline'", argv[2]);
    if (!parse_number(argv[1], UINT16_MAX, &n))
        return misused("'%s' is no CPU: its number is wanted", argv[1]);
    if (!find_cpu((unsigned int)n, &c))
        return failed("there is no CPU %lu. This machine has CPUs 0 to %u.", n,
                      count_cpus() - 1);
    if (c.online == online) {
        printf("CPU %lu is %s already.\n", n, words[online]);
        return DONE;
    }
    c.set = 1;
    c.online = (uint8_t)online;
    return serai_op(SERAI_OP_SCHED_CPU, &c, sizeof(c)) ? explain(&c) : DONE;
}

const struct command command_cpu = {
    "cpu", run, "N online|offline", "whether a CPU runs vcpus",
    "A CPU that is offline keeps answering the hypervisor and runs no vcpu: those that were "
    "there\n"
    "go elsewhere, also when they are pinned to it, until it is online again."};
