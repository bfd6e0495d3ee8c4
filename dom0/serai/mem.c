#include "mem.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DOMAINS 0x7ff0

static bool look(struct serai_memory *m)
{
    if (!serai_op(SERAI_OP_MEMORY, m, sizeof(*m)))
        return true;
    if (errno != ESRCH)
        exit(op_failed("the figures about memory cannot be read"));
    return false;
}

bool mem_find(unsigned int domid, struct serai_memory *m)
{
    *m = (struct serai_memory){.domid = (uint16_t)domid, .op = SERAI_MEMORY_NEXT};
    return domid < DOMAINS && look(m);
}

bool mem_read(struct serai_memory *m)
{
    *m = (struct serai_memory){.domid = m->domid, .op = SERAI_MEMORY_READ};
    return look(m);
}

static bool find_name_of(const char *name, struct serai_memory *m)
{
    char other[STORE_NAME_SIZE];

    for (unsigned int i = 0; mem_find(i, m); i = m->domid + 1U)
        if (store_name(m->domid, other) && !strcmp(other, name))
            return true;
    return false;
}

int mem_get(const char *text, struct serai_memory *m)
{
    unsigned long domid;

    if (!parse_number(text, DOMAINS - 1, &domid)) {
        if (find_name_of(text, m))
            return DONE;
        return failed("there is no domain '%s'. 'serai mem list' shows those there are%s", text,
                      store_knows(0) ? "."
                                     : "; xenstored, which knows their names, does not "
                                       "answer: use the number.");
    }
    m->domid = (uint16_t)domid;
    if (mem_read(m))
        return DONE;
    return failed("there is no domain %lu. 'serai mem list' shows those there are.", domid);
}

int mem_get_one(int argc, char **argv, struct serai_memory *m)
{
    if (argc != 2)
        return misused(argc < 2 ? "which domain? Its number or name is missing"
                                : "one domain at a time");
    return mem_get(argv[1], m);
}

const char *mem_target(char buf[STORE_TARGET_SIZE], uint64_t pages)
{
    snprintf(buf, STORE_TARGET_SIZE, "%llu", (unsigned long long)pages * PAGE_KIB);
    return buf;
}

bool mem_tell(unsigned int domid, uint64_t pages)
{
    char target[STORE_TARGET_SIZE];

    mem_target(target, pages);
    return store_knows(domid) && store_set_target(domid, target);
}

static const struct command *const commands[] = {&command_mem_list,   &command_mem_show,
                                                 &command_mem_set,    &command_mem_wait,
                                                 &command_mem_cancel, NULL};

static int run(int argc, char **argv)
{
    return command_run("serai mem", commands, argc, argv);
}

const struct command command_mem = {
    "mem", run, "COMMAND", "who has how much memory, and telling domains to give some back",
    NULL};
