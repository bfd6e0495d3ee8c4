#include "hypercall.h"
#include "command.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <xen/xen.h>
#include <xen/sys/privcmd.h>

long hypercall(unsigned int op, unsigned long a, unsigned long b)
{
    struct privcmd_hypercall call = {.op = op, .arg = {a, b}};
    static int fd = -1;

    if (fd < 0)
        fd = open("/dev/xen/privcmd", O_RDWR | O_CLOEXEC);
    if (fd < 0)
        exit(failed("/dev/xen/privcmd cannot be opened: %s. Run this as root in domain 0, with "
                    "the kernel module xen-privcmd loaded.",
                    strerror(errno)));
    return ioctl(fd, IOCTL_PRIVCMD_HYPERCALL, &call);
}

void *hypercall_buffer(void)
{
    void *p =
        mmap(NULL, BUFFER_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (p == MAP_FAILED || mlock(p, BUFFER_SIZE))
        exit(failed("no memory for hypercalls: %s. Free some, or raise the limit on locked "
                    "memory (ulimit -l).",
                    strerror(errno)));
    memset(p, 0, BUFFER_SIZE);
    return p;
}

int serai_op(unsigned int op, void *arg, size_t size)
{
    static void *copy;

    if (!copy)
        copy = hypercall_buffer();
    memcpy(copy, arg, size);
    if (hypercall(__HYPERVISOR_arch_7, op, (uintptr_t)copy) < 0)
        return -1;
    memcpy(arg, copy, size);
    return 0;
}

int op_failed(const char *what)
{
    if (errno == ENOSYS)
        return failed("%s: this hypervisor has no such operation. It is not Serai, or an older "
                      "one than this command.",
                      what);
    if (errno == EPERM)
        return failed("%s: not permitted. Only domain 0 may do it.", what);
    return failed("%s: %s", what, strerror(errno));
}
