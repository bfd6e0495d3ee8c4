#include "mem.h"

#include <errno.h>
#include <stdio.h>

static int explain(const struct serai_memory *m)
{
    char label[LABEL_SIZE];

    if (errno == ENOENT)
        return failed("domain %s has no instruction: there is nothing to cancel.",
                      mem_label(label, m->domid));
    return op_failed("the instruction stays");
}

static int run(int argc, char **argv)
{
    char label[LABEL_SIZE];
    struct serai_memory m;
    uint64_t before;
    int rc;

    rc = mem_get_one(argc, argv, &m);
    if (rc)
        return rc;
    before = m.pages_start;
    m = (struct serai_memory){.domid = m.domid, .op = SERAI_MEMORY_CANCEL};
    if (serai_op(SERAI_OP_MEMORY, &m, sizeof(m)))
        return explain(&m);
    /* After that: until then a limit may keep it from taking the memory again. */
    if (mem_tell(m.domid, before))
        return DONE;
    return failed("the instruction to domain %s is cancelled, but xenstored does not answer: "
                  "the guest still tries to follow it. 'xl mem-set' tells it otherwise.",
                  mem_label(label, m.domid));
}

const struct command command_mem_cancel = {
    "cancel", run, "DOM", "take the instruction back, and its consequences",
    "A cap or a pause ends, and the limit that complying has lowered is what it was before,\n"
    "unless somebody has changed them since. The guest is told to have what it had when the\n"
    "instruction came."};
