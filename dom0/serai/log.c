#include "command.h"
#include "hypercall.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <xen/xen.h>
#include <xen/sysctl.h>

static int run(int argc, char **argv)
{
    struct xen_sysctl *op;
    char *text;

    if (argc > 1)
        return misused("'%s' is one argument too many", argv[1]);
    op = hypercall_buffer();
    text = (char *)(op + 1);
    op->cmd = XEN_SYSCTL_readconsole;
    op->interface_version = XEN_SYSCTL_INTERFACE_VERSION;
    op->u.readconsole.count = BUFFER_SIZE - sizeof(*op);
    op->u.readconsole.buffer.p = text;
    if (hypercall(__HYPERVISOR_sysctl, (uintptr_t)op, 0) < 0)
        return failed("the hypervisor's log cannot be read: %s. Is it Serai?", strerror(errno));
    fwrite(text, 1, op->u.readconsole.count, stdout);
    return DONE;
}

const struct command command_log = {
    "log", run, "", "the hypervisor's messages, the last 16 KiB",
    "Domain 0's own are in its kernel's log."};
