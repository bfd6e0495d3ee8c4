/*
 * The serai command of domain 0: what the hypervisor counts, what it has logged, and how it
 * shares out CPUs and memory. Root only.
 */
#include "command.h"

static const struct command *const commands[] = {
    &command_counters, &command_kernels, &command_log, &command_mem,
    &command_net,      &command_sched,   NULL};

int main(int argc, char **argv)
{
    return command_run("serai", commands, argc, argv);
}
