#include "mem.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <xen/xen.h>
#include <xen/sys/evtchn.h>

/* Past the deadline, in case the event is somebody else's; and between looks without it. */
#define GRACE_MS 100

/*
 * A descriptor that is readable when some instruction has ended, or -1: one program at a time can
 * have this event.
 */
static int open_event(void)
{
    struct ioctl_evtchn_bind_virq bind = {.virq = SERAI_VIRQ_MEMORY};
    int fd = open("/dev/xen/evtchn", O_RDWR | O_CLOEXEC);

    if (fd < 0 || ioctl(fd, IOCTL_EVTCHN_BIND_VIRQ, &bind) >= 0)
        return fd;
    close(fd);
    return -1;
}

/* Until the event, or the time in which it must have come. */
static void wait_for_event(int fd, const struct serai_memory *m)
{
    uint64_t left = m->deadline > m->now ? (m->deadline - m->now) / 1000000 : 0;
    struct pollfd p = {.fd = fd, .events = POLLIN};
    uint32_t port;

    if (fd < 0)
        left = left < GRACE_MS ? left : GRACE_MS;
    /* A day at a time: poll() counts milliseconds in an int. */
    left = left < 86400000 ? left : 86400000;
    if (poll(&p, fd >= 0, (int)left + GRACE_MS) > 0 &&
        read(fd, &port, sizeof(port)) == sizeof(port) &&
        write(fd, &port, sizeof(port)) != sizeof(port))
        exit(failed("/dev/xen/evtchn: %s", strerror(errno)));
}

static int report(const struct serai_memory *m)
{
    char label[LABEL_SIZE], summary[SUMMARY_SIZE], has[SIZE_SIZE];

    mem_label(label, m->domid);
    mem_summary(summary, m);
    if (m->state == SERAI_MEMORY_COMPLIED && m->complied <= m->deadline) {
        printf("Domain %s %s.\n", label, summary);
        return DONE;
    }
    if (m->state == SERAI_MEMORY_NONE)
        return failed("domain %s has no instruction any more: somebody has cancelled it.",
                      label);
    return failed("domain %s %s. It has %s now; 'serai mem show %u' tells more.", label,
                  summary, format_size(has, m->pages_now), m->domid);
}

int mem_wait(struct serai_memory *m)
{
    uint32_t number = m->number;
    int fd = open_event();
    bool there;

    while ((there = mem_read(m)) && m->state == SERAI_MEMORY_PENDING && m->number == number)
        wait_for_event(fd, m);
    if (fd >= 0)
        close(fd);
    if (!there)
        return failed("domain %u is gone.", m->domid);
    if (m->number != number)
        return failed("domain %u has got another instruction meanwhile.", m->domid);
    return report(m);
}

static int run(int argc, char **argv)
{
    char label[LABEL_SIZE];
    struct serai_memory m;
    int rc;

    rc = mem_get_one(argc, argv, &m);
    if (rc)
        return rc;
    if (m.state == SERAI_MEMORY_NONE)
        return failed("domain %s has no instruction. 'serai mem set' gives one.",
                      mem_label(label, m.domid));
    return mem_wait(&m);
}

const struct command command_mem_wait = {
    "wait", run, "DOM", "until the instruction is complied with or its time is up",
    "Ends with 0 when the domain complied in time, with 1 when not."};
