/*
 * The serai command of domain 0: what the hypervisor counts, what it has logged, and how it
 * shares out the CPUs. Root only.
 */
#include "command.h"

static const struct command *const commands[] = {&command_counters, &command_log,
                                                 &command_sched, NULL};

int main(int argc, char **argv)
{
    return command_run("serai", commands, argc, argv);
}
