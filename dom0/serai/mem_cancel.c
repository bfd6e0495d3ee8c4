#include "mem.h"

#include <errno.h>
#include <stdio.h>

static int run(int argc, char **argv)
{
    char label[LABEL_SIZE];
    struct serai_memory m;
    int rc;

    if (argc != 2)
        return misused(argc < 2 ? "which domain? Its number or name is missing"
                                : "one domain at a time");
    rc = mem_get(argv[1], &m);
    if (rc)
        return rc;
    m = (struct serai_memory){.domid = m.domid, .op = SERAI_MEMORY_CANCEL};
    if (!serai_op(SERAI_OP_MEMORY, &m, sizeof(m)))
        return DONE;
    if (errno == ENOENT)
        return failed("domain %s has no instruction: there is nothing to cancel.",
                      mem_label(label, m.domid));
    return mem_fail("the instruction stays");
}

const struct command command_mem_cancel = {
    "cancel", run, "DOM", "take the instruction back, and its consequences",
    "A cap or a pause ends, and the limit that complying has lowered is what it was before,\n"
    "unless somebody has changed them since. The guest is not told: what it has given back it\n"
    "takes again when 'xl mem-set' or 'serai mem set' names a greater size."};
