#include "mem.h"

static int run(int argc, char **argv)
{
    struct serai_memory m;
    bool json;
    int rc;

    if (!take_json(argc, argv, 1, &json))
        return MISUSED;
    if (optind == argc)
        return misused("which domain? Its number or name is missing");
    rc = mem_get(argv[optind], &m);
    if (rc)
        return rc;
    if (json)
        return json_print(mem_json(&m));
    mem_print(&m);
    return DONE;
}

const struct command command_mem_show = {
    "show", run, "DOM [--json]", "one domain's memory and its instruction, with all figures",
    "DOM is a domain's number or its name."};
