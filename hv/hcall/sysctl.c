/* System control: what domain 0's tools ask about the machine. */
#include "guest/access.h"
#include "hcall/hcall.h"
#include "kern/console.h"
#include <xen/sysctl.h>

static s64 read_console(struct xen_sysctl_readconsole *rc)
{
    u32 index = rc->incremental ? rc->index : 0, done = 0;
    char chunk[256];

    while (done < rc->count) {
        size_t n = console_read_ring(chunk, MIN(rc->count - done, (u32)sizeof(chunk)), &index);

        if (!n)
            break;
        if (copy_to_guest(rc->buffer.p + done, chunk, n))
            return -XEN_EFAULT;
        done += (u32)n;
    }
    rc->count = done;
    rc->index = index;
    return 0;
}

HYPERCALL(sysctl)
{
    struct xen_sysctl op;
    s64 rc;

    if (!v->domain->is_hardware)
        return -XEN_EPERM;
    if (copy_from_guest(&op, (const void *)a1, sizeof(op)))
        return -XEN_EFAULT;
    if (op.interface_version != XEN_SYSCTL_INTERFACE_VERSION)
        return -XEN_EACCES;
    switch (op.cmd) {
    case XEN_SYSCTL_readconsole:
        rc = read_console(&op.u.readconsole);
        break;
    default:
        return -XEN_ENOSYS;
    }
    return rc ? rc : copy_to_guest((void *)a1, &op, sizeof(op));
}
