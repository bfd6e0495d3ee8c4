/*
 * What a guest's network card and disk cost. One static program:
 *
 *   io serve    in domain 0: answers a guest by TCP and UDP on port 9000
 *   /init       in a guest (the process with the number 1), by words of the kernel command line:
 *               role=measure    the network to domain 0 and the disk; then it powers off
 *               role=talk       the network to another guest, of which it is not the first
 *               role=answer     serves that one for ever
 *               gateway=        an address on the link, if the others are behind it
 *
 * Every figure is the instructions of the whole machine, guest, domain 0 and hypervisor, as the
 * time-stamp counter tells them under -icount; see bench/guest/ops.c, whose output format and
 * markers this program shares. Its modules are /xen-netfront.ko and /xen-blkfront.ko, the
 * addresses 10.9.0.1 (who serves) and 10.9.0.2, the disk /dev/xvda.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <net/route.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define SERVER 0x0a090001
#define CLIENT 0x0a090002
#define PORT   9000

#define STREAM    (1u << 20) /* bytes of a sample by TCP */
#define CHUNK     (64u << 10)
#define DATAGRAM  1024u
#define SMALL     64u
#define FULL      1472u /* as much as a frame holds */
#define WINDOW    32u
#define SEGMENT   1448u
#define DATAGRAMS 16u /* of a sample by UDP; all queues on the way hold them */
#define BLOCK     4096u
#define BLOCKS    8192u /* of the disk */

/* What the first byte of a message to the server means. */
#define ECHO 'e'
#define TAKE 't' /* take a stream, then answer with a byte */
#define GIVE 'g' /* give a stream */
#define MANY 'm' /* of a window of datagrams: answer the last one with a byte */

#define MARK(n)                                                                                \
    __asm__ volatile(".byte 0x0f, 0x1f, 0x80; .long 0x53455200 + %c0" ::"i"(n) : "memory")
#define MARK_BEGIN 2
#define MARK_END   3
#define MARK_FIRST 4
#define MARK_LAST  5

static char buffer[CHUNK] __attribute__((aligned(4096)));
static int tcp = -1, udp = -1, disk = -1;

static void check(int good, const char *what)
{
    if (good)
        return;
    printf("bench fail %s: %s\n", what, strerror(errno));
    fflush(stdout);
    exit(1);
}

static void send_all(int fd, size_t n)
{
    while (n) {
        ssize_t done = write(fd, buffer, n < CHUNK ? n : CHUNK);

        check(done > 0, "write");
        n -= (size_t)done;
    }
}

static void receive_all(int fd, size_t n)
{
    while (n) {
        ssize_t done = read(fd, buffer, n < CHUNK ? n : CHUNK);

        check(done > 0, "read");
        n -= (size_t)done;
    }
}

/* ---- in domain 0 ---- */

static void bind_to_port(int fd)
{
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons(PORT)};
    int one = 1;

    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    check(!bind(fd, (struct sockaddr *)&any, sizeof(any)), "bind");
}

static void serve_tcp(int fd)
{
    char what = 0;

    if (read(fd, &what, 1) != 1)
        exit(0);
    if (what == TAKE)
        receive_all(fd, STREAM);
    if (what == GIVE)
        send_all(fd, STREAM);
    else
        send_all(fd, 1);
}

static void serve_udp(int fd)
{
    static unsigned taken;
    struct sockaddr_in from;
    socklen_t size = sizeof(from);
    ssize_t n = recvfrom(fd, buffer, CHUNK, 0, (struct sockaddr *)&from, &size);
    unsigned answers = 1;

    check(n > 0, "recvfrom");
    if (buffer[0] == TAKE && ++taken % DATAGRAMS)
        return;
    if (buffer[0] == MANY && ++taken % WINDOW)
        return;
    if (buffer[0] == GIVE) {
        answers = DATAGRAMS;
        n = DATAGRAM;
    }
    while (answers--)
        sendto(fd, buffer, buffer[0] == ECHO || buffer[0] == GIVE ? (size_t)n : 1, 0,
               (struct sockaddr *)&from, size);
}

static _Noreturn void serve(void)
{
    int listener = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    struct pollfd in[2] = {{.events = POLLIN}, {.events = POLLIN}};

    bind_to_port(listener);
    check(!listen(listener, 1), "listen");
    in[0].fd = socket(AF_INET, SOCK_DGRAM, 0);
    bind_to_port(in[0].fd);
    in[1].fd = accept(listener, NULL, NULL);
    check(in[1].fd >= 0, "accept");
    setsockopt(in[1].fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    for (;;) {
        check(poll(in, 2, -1) > 0, "poll");
        if (in[0].revents)
            serve_udp(in[0].fd);
        if (in[1].revents)
            serve_tcp(in[1].fd);
    }
}

/* ---- in the guest ---- */

static void ask(int fd, char what)
{
    buffer[0] = what;
    send_all(fd, 1);
}

static void once_tcp_trip(void)
{
    ask(tcp, ECHO);
    receive_all(tcp, 1);
}

static void once_tcp_send(void)
{
    ask(tcp, TAKE);
    send_all(tcp, STREAM);
    receive_all(tcp, 1);
}

static void once_tcp_receive(void)
{
    ask(tcp, GIVE);
    receive_all(tcp, STREAM);
}

static void once_udp_trip(void)
{
    ask(udp, ECHO);
    check(read(udp, buffer, CHUNK) == 1, "udp answer");
}

static void once_udp_send(void)
{
    buffer[0] = TAKE;
    for (unsigned i = 0; i < DATAGRAMS; i++)
        send_all(udp, DATAGRAM);
    check(read(udp, buffer, CHUNK) == 1, "udp datagrams lost");
}

static void once_udp_receive(void)
{
    ask(udp, GIVE);
    for (unsigned i = 0; i < DATAGRAMS; i++)
        check(read(udp, buffer, CHUNK) == DATAGRAM, "udp datagrams lost");
}

static void window_of(size_t size)
{
    buffer[0] = MANY;
    for (unsigned i = 0; i < WINDOW; i++)
        send_all(udp, size);
    check(read(udp, buffer, CHUNK) == 1, "udp datagrams lost");
}

static void once_udp_small(void)
{
    window_of(SMALL);
}

static void once_udp_full(void)
{
    window_of(FULL);
}

static void set_offload(uint32_t command, uint32_t on)
{
    struct ethtool_value value = {.cmd = command, .data = on};
    struct ifreq r = {.ifr_name = "eth0", .ifr_data = (char *)&value};

    check(!ioctl(tcp, SIOCETHTOOL, &r), "offload");
}

/* Segments that no card has to cut. */
static void once_tcp_cut(void)
{
    set_offload(ETHTOOL_STSO, 0);
    set_offload(ETHTOOL_SGSO, 0);
    once_tcp_send();
}

static off_t next_block(void)
{
    static unsigned i;

    return (off_t)(i++ % BLOCKS) * BLOCK;
}

static void once_block_read(void)
{
    check(pread(disk, buffer, BLOCK, next_block()) == BLOCK, "block read");
}

static void once_block_write(void)
{
    check(pwrite(disk, buffer, BLOCK, next_block()) == BLOCK, "block write");
}

struct op {
    const char *name;
    void (*once)(void);
    unsigned samples;
    unsigned units;
};

static const struct op to_domain0[] = {
    {"tcp_trip", once_tcp_trip, 201, 1},
    {"tcp_send", once_tcp_send, 9, STREAM / 1024},
    {"tcp_receive", once_tcp_receive, 9, STREAM / 1024},
    {"udp_trip", once_udp_trip, 201, 1},
    {"udp_send", once_udp_send, 51, DATAGRAMS *DATAGRAM / 1024},
    {"udp_receive", once_udp_receive, 51, DATAGRAMS *DATAGRAM / 1024},
    {"block_read", once_block_read, 201, 1},
    {"block_write", once_block_write, 201, 1},
    {NULL},
};

static const struct op to_guest[] = {
    {"udp_small", once_udp_small, 51, WINDOW},
    {"udp_full", once_udp_full, 51, WINDOW},
    {"tcp_trip", once_tcp_trip, 201, 1},
    {"tcp_gso", once_tcp_send, 9, STREAM / CHUNK},
    {"tcp_cut", once_tcp_cut, 9, STREAM / SEGMENT},
    {NULL},
};

static uint64_t rdtsc(void)
{
    uint32_t lo, hi;

    __asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi)::"memory");
    return (uint64_t)hi << 32 | lo;
}

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

static void run_op(const struct op *op)
{
    static uint64_t samples[201];

    for (unsigned i = 0; i < 5; i++)
        op->once();
    MARK(MARK_FIRST);
    for (unsigned i = 0; i < op->samples; i++) {
        uint64_t t0;

        MARK(MARK_BEGIN);
        t0 = rdtsc();
        op->once();
        samples[i] = rdtsc() - t0;
        MARK(MARK_END);
    }
    MARK(MARK_LAST);
    qsort(samples, op->samples, sizeof(samples[0]), compare);
    printf("bench %s %.1f %.1f %u %u\n", op->name, (double)samples[op->samples / 2] / op->units,
           (double)samples[0] / op->units, op->samples, op->units);
    fflush(stdout);
}

static void load(const char *module)
{
    int fd = open(module, O_RDONLY | O_CLOEXEC);

    check(fd >= 0 && !syscall(SYS_finit_module, fd, "", 0), module);
    close(fd);
}

static void pause_a_little(void)
{
    struct timespec t = {.tv_nsec = 10000000};

    nanosleep(&t, NULL);
}

static struct sockaddr_in ip4(uint32_t a)
{
    return (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(a)};
}

static void add_route(int fd, uint32_t to, uint32_t gateway, short flags)
{
    struct rtentry r = {.rt_flags = flags, .rt_dev = (char *)"eth0"};
    struct sockaddr_in a = ip4(to), g = ip4(gateway), mask = ip4(flags & RTF_HOST ? ~0u : 0);

    memcpy(&r.rt_dst, &a, sizeof(a));
    memcpy(&r.rt_gateway, &g, sizeof(g));
    memcpy(&r.rt_genmask, &mask, sizeof(mask));
    check(!ioctl(fd, SIOCADDRT, &r), "route");
}

/* The card's driver connects in its own time. */
static void configure_network(uint32_t own, const char *gateway)
{
    struct sockaddr_in address = ip4(own);
    struct ifreq r = {.ifr_name = "eth0"};
    int fd = socket(AF_INET, SOCK_DGRAM, 0);

    while (ioctl(fd, SIOCGIFFLAGS, &r))
        pause_a_little();
    memcpy(&r.ifr_addr, &address, sizeof(address));
    check(!ioctl(fd, SIOCSIFADDR, &r), "address");
    address = ip4(gateway ? ~0u : 0xffffff00);
    memcpy(&r.ifr_netmask, &address, sizeof(address));
    check(!ioctl(fd, SIOCSIFNETMASK, &r), "netmask");
    r.ifr_flags = IFF_UP | IFF_RUNNING;
    check(!ioctl(fd, SIOCSIFFLAGS, &r), "up");
    if (gateway) {
        add_route(fd, ntohl(inet_addr(gateway)), 0, RTF_UP | RTF_HOST);
        add_route(fd, 0, ntohl(inet_addr(gateway)), RTF_UP | RTF_GATEWAY);
    }
    close(fd);
}

static int connect_to_server(int type)
{
    struct sockaddr_in server = ip4(SERVER);
    struct timeval patience = {.tv_sec = 5};
    int one = 1;

    server.sin_port = htons(PORT);
    for (;;) {
        int fd = socket(AF_INET, type, 0);

        if (!connect(fd, (struct sockaddr *)&server, sizeof(server))) {
            setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
            setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
            return fd;
        }
        close(fd);
        pause_a_little();
    }
}

static void measure(const struct op *ops)
{
    tcp = connect_to_server(SOCK_STREAM);
    udp = connect_to_server(SOCK_DGRAM);
    while (ops == to_domain0 && (disk = open("/dev/xvda", O_RDWR | O_DIRECT)) < 0)
        pause_a_little();
    for (; ops->name; ops++)
        run_op(ops);
    printf("bench done\n");
    fflush(stdout);
    reboot(RB_POWER_OFF);
}

int main(int argc, char **argv)
{
    const char *role = getenv("role");

    if (argc == 2 && !strcmp(argv[1], "serve"))
        serve();
    if (getpid() != 1 || !role)
        return 2;
    mount("proc", "/proc", "proc", 0, NULL);
    mount("dev", "/dev", "devtmpfs", 0, NULL);
    load("/xen-netfront.ko");
    load("/xen-blkfront.ko");
    configure_network(strcmp(role, "answer") ? CLIENT : SERVER, getenv("gateway"));
    if (!strcmp(role, "answer"))
        serve();
    measure(strcmp(role, "talk") ? to_domain0 : to_guest);
    return 0;
}
