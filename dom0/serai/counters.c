#include "command.h"
#include "hypercall.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <xen/xen.h>

#include "abi/serai.h"

static int run(int argc, char **argv)
{
    struct serai_counters *c;
    struct serai_counter *e;

    if (argc > 1)
        return misused("'%s' is one argument too many", argv[1]);
    c = hypercall_buffer();
    e = (struct serai_counter *)(c + 1);
    c->capacity = (BUFFER_SIZE - sizeof(*c)) / sizeof(*e);
    c->entries = (uintptr_t)e;
    if (hypercall(__HYPERVISOR_arch_7, SERAI_OP_COUNTERS, (uintptr_t)c) < 0)
        return failed("the hypervisor gives no counters: %s. Is it Serai?", strerror(errno));
    for (uint32_t i = 0; i < c->count && i < c->capacity; i++)
        if (e[i].value)
            printf("%-28.32s %llu\n", e[i].name, (unsigned long long)e[i].value);
    return DONE;
}

const struct command command_counters = {
    "counters", run, "", "hypercalls, page-table updates, flushes, interrupts since boot",
    "One counter a line, its name and its value; those that never counted are left out."};
