/*
 * The serai command of domain 0: what the hypervisor counts and what it has logged. Root only,
 * by way of the kernel's /dev/xen/privcmd.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <xen/xen.h>
#include <xen/sysctl.h>
#include <xen/sys/privcmd.h>

#include "abi/serai.h"

#define BUFFER_SIZE (64 * 1024)

/* One hypercall; ends the program with a message when it cannot be made. */
static long hypercall(unsigned int op, unsigned long a, unsigned long b)
{
    struct privcmd_hypercall call = {.op = op, .arg = {a, b}};
    static int fd = -1;

    if (fd < 0)
        fd = open("/dev/xen/privcmd", O_RDWR | O_CLOEXEC);
    if (fd < 0) {
        fprintf(stderr,
                "serai: cannot open /dev/xen/privcmd: %s. Run it as root in domain 0, with the "
                "module xen-privcmd loaded.\n",
                strerror(errno));
        exit(1);
    }
    return ioctl(fd, IOCTL_PRIVCMD_HYPERCALL, &call);
}

/* Memory that stays where it is while the hypervisor reads and writes it. */
static void *buffer(void)
{
    void *p = mmap(NULL, BUFFER_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (p == MAP_FAILED || mlock(p, BUFFER_SIZE)) {
        fprintf(stderr, "serai: no memory: %s\n", strerror(errno));
        exit(1);
    }
    memset(p, 0, BUFFER_SIZE);
    return p;
}

static int fail(const char *what)
{
    fprintf(stderr, "serai: %s: %s\n", what, strerror(errno));
    return 1;
}

static int counters(void)
{
    struct serai_counters *c = buffer();
    struct serai_counter *e = (struct serai_counter *)(c + 1);

    c->capacity = (BUFFER_SIZE - sizeof(*c)) / sizeof(*e);
    c->entries = (uintptr_t)e;
    if (hypercall(__HYPERVISOR_arch_7, SERAI_OP_COUNTERS, (uintptr_t)c) < 0)
        return fail("the hypervisor gives no counters");
    for (uint32_t i = 0; i < c->count && i < c->capacity; i++)
        if (e[i].value)
            printf("%-28.32s %llu\n", e[i].name, (unsigned long long)e[i].value);
    return 0;
}

static int show_log(void)
{
    struct xen_sysctl *op = buffer();
    char *text = (char *)(op + 1);

    op->cmd = XEN_SYSCTL_readconsole;
    op->interface_version = XEN_SYSCTL_INTERFACE_VERSION;
    op->u.readconsole.count = BUFFER_SIZE - sizeof(*op);
    op->u.readconsole.buffer.p = text;
    if (hypercall(__HYPERVISOR_sysctl, (uintptr_t)op, 0) < 0)
        return fail("the hypervisor's log cannot be read");
    fwrite(text, 1, op->u.readconsole.count, stdout);
    return 0;
}

static const struct {
    const char *name;
    int (*run)(void);
    const char *help;
} commands[] = {
    {"counters", counters, "hypercalls, page-table updates, flushes, interrupts since boot"},
    {"log", show_log, "the hypervisor's messages and domain 0's console, the last 16 KiB"},
};

#define NR_COMMANDS (sizeof(commands) / sizeof(commands[0]))

int main(int argc, char **argv)
{
    for (size_t i = 0; argc == 2 && i < NR_COMMANDS; i++)
        if (!strcmp(argv[1], commands[i].name))
            return commands[i].run();
    fprintf(stderr, "usage: serai COMMAND\n\n");
    for (size_t i = 0; i < NR_COMMANDS; i++)
        fprintf(stderr, "  %-10s %s\n", commands[i].name, commands[i].help);
    return 2;
}
