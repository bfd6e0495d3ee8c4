/* The virtual firewall router: its command is a program of its own. */
#include "command.h"
#include <errno.h>
#include <string.h>
#include <unistd.h>

#define PROGRAM "/usr/lib/serai/net/command.py"

static int run(int argc, char **argv)
{
    (void)argc;
    execv(PROGRAM, argv);
    return failed(PROGRAM " cannot be started: %s; it comes with Serai's domain 0 image",
                  strerror(errno));
}

const struct command command_net = {"net", run, "show|rule|lease ...",
                                    "interfaces, rules and leases of the firewall router",
                                    "'serai net --help' lists what there is."};
