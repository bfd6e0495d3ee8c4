/*
 * rsip - holds a block of ports of a shared address for this machine (RFC 3102, 3103).
 *
 * Registers with the gateway, leases a block, makes the kernel take local ports from it, extends
 * the lease while it runs, and gives all back at SIGTERM. What it holds is a line on standard
 * output: the address, the first port, the last one. A gateway that has forgotten us, or takes
 * the block away, is asked for a new one.
 *
 * One request at a time, by UDP; everything that comes is checked as if anybody had sent it.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MESSAGE_MAX 2048
#define ATTEMPTS    7
#define FIRST_WAIT  12500000L /* ns; each further one is twice as long (RFC 3103, 4) */
#define GATEWAY     "169.254.0.1"
#define RANGE       "/proc/sys/net/ipv4/ip_local_port_range"

enum {
    ERROR_RESPONSE = 1,
    REGISTER_REQUEST = 2,
    DEREGISTER_REQUEST = 4,
    DEREGISTER_RESPONSE = 5,
    ASSIGN_REQUEST = 8,
    EXTEND_REQUEST = 10,
    FREE_REQUEST = 12,
    FREE_RESPONSE = 13,
};
enum {
    ADDRESS = 1,
    PORTS = 2,
    LEASE_TIME = 3,
    CLIENT_ID = 4,
    BIND_ID = 5,
    TUNNEL = 6,
    ERROR = 8,
    COUNTER = 11,
    VENDOR = 12,
};
enum { REGISTER_FIRST = 301, ALREADY_REGISTERED = 302, BAD_CLIENT = 305, BAD_BIND = 306 };

#define NATIVE    241         /* no tunnel */
#define OUR_BLOCK 0xffff0001U /* vendor 65535, subtype 1 */
#define NO_ANSWER (-1)
#define ENDED     (-2) /* by a signal */

struct message {
    size_t len;
    uint8_t bytes[MESSAGE_MAX];
};

/* What an answer said; 0: it did not. */
struct answer {
    int type;
    unsigned error;
    uint32_t client, bind, counter, seconds, address;
    bool counted;
    uint16_t start;
    uint8_t log2;
};

static int gateway; /* a socket */
static uint32_t client, counter, bind_id;
static const char *range_file = RANGE;
static volatile sig_atomic_t stop;

static void die(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    fputs("rsip: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    exit(1);
}

static void on_signal(int number)
{
    (void)number;
    stop = 1;
}

/* ---- messages ---- */

static void put(struct message *m, uint64_t value, unsigned bytes)
{
    while (bytes--)
        m->bytes[m->len++] = (uint8_t)(value >> 8 * bytes);
}

static void put_parameter(struct message *m, uint8_t type, uint64_t value, unsigned bytes)
{
    put(m, type, 1);
    put(m, bytes, 2);
    put(m, value, bytes);
}

static void begin(struct message *m, uint8_t type)
{
    m->len = 0;
    put(m, 0x01000000U | (uint32_t)type << 16, 4);
    if (++counter == 0)
        counter = 1;
}

static void finish(struct message *m)
{
    put_parameter(m, COUNTER, counter, 4);
    m->bytes[2] = (uint8_t)(m->len >> 8);
    m->bytes[3] = (uint8_t)m->len;
}

static uint64_t get(const uint8_t *p, unsigned bytes)
{
    uint64_t value = 0;

    while (bytes--)
        value = value << 8 | *p++;
    return value;
}

static bool read_parameter(struct answer *a, unsigned type, const uint8_t *p, unsigned len)
{
    uint32_t *words[] = {[LEASE_TIME] = &a->seconds,
                         [CLIENT_ID] = &a->client,
                         [BIND_ID] = &a->bind,
                         [COUNTER] = &a->counter};

    if (type < sizeof(words) / sizeof(words[0]) && words[type]) {
        if (len != 4)
            return false;
        *words[type] = (uint32_t)get(p, 4);
        a->counted |= type == COUNTER;
    } else if (type == ERROR) {
        if (len != 2)
            return false;
        a->error = (unsigned)get(p, 2);
    } else if (type == ADDRESS && len == 5 && p[0] == 1 && !a->address) {
        a->address = (uint32_t)get(p + 1, 4); /* the first one is ours */
    } else if (type == VENDOR && len == 8 && get(p, 4) == OUR_BLOCK) {
        a->start = (uint16_t)get(p + 4, 2);
        a->log2 = p[6];
    }
    return true;
}

/* false: that is no answer of anybody's. */
static bool read_answer(struct answer *a, const struct message *m)
{
    size_t at = 4, len;

    *a = (struct answer){0};
    if (m->len < 4 || m->bytes[0] != 1 || get(m->bytes + 2, 2) != m->len)
        return false;
    a->type = m->bytes[1];
    for (; at < m->len; at += 3 + len) {
        if (m->len - at < 3)
            return false;
        len = get(m->bytes + at + 1, 2);
        if (m->len - at - 3 < len ||
            !read_parameter(a, m->bytes[at], m->bytes + at + 3, (unsigned)len))
            return false;
    }
    return true;
}

/* ---- talking ---- */

static int64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* The next message until then; 0, or NO_ANSWER, or ENDED if signals may end it. */
static int receive(struct answer *a, int64_t until, bool may_end)
{
    struct pollfd fd = {.fd = gateway, .events = POLLIN};
    struct message m;
    sigset_t none;

    sigemptyset(&none);
    for (;;) {
        int64_t left = until - now_ns();
        struct timespec wait = {left / 1000000000, left % 1000000000};
        ssize_t n;

        if (may_end && stop)
            return ENDED;
        if (left <= 0)
            return NO_ANSWER;
        /* Signals come in here only. */
        if (ppoll(&fd, 1, &wait, may_end ? &none : NULL) <= 0)
            continue;
        n = recv(gateway, m.bytes, sizeof(m.bytes), 0);
        m.len = n > 0 ? (size_t)n : 0;
        if (read_answer(a, &m))
            return 0;
    }
}

/* Says it until it is answered: the answer's type, or NO_ANSWER. */
static int ask(const struct message *m, struct answer *a)
{
    int64_t wait = FIRST_WAIT;

    for (int i = 0; i < ATTEMPTS; i++, wait *= 2) {
        int64_t until = now_ns() + wait;

        if (send(gateway, m->bytes, m->len, 0) < 0 && errno != ECONNREFUSED)
            die("cannot send: %s", strerror(errno));
        while (receive(a, until, false) == 0)
            if (a->counted && a->counter == counter)
                return a->type;
    }
    return NO_ANSWER;
}

/* ---- what is held ---- */

static int about_us(uint8_t type, struct answer *a)
{
    struct message m;

    begin(&m, type);
    put_parameter(&m, CLIENT_ID, client, 4);
    if (type != DEREGISTER_REQUEST)
        put_parameter(&m, BIND_ID, bind_id, 4);
    finish(&m);
    return ask(&m, a);
}

static int try_register(struct answer *a)
{
    struct message m;

    begin(&m, REGISTER_REQUEST);
    finish(&m);
    return ask(&m, a);
}

static void do_register(void)
{
    struct answer a;
    int type = try_register(&a);

    if (type == ERROR_RESPONSE && a.error == ALREADY_REGISTERED) {
        /* An earlier life of ours. */
        client = a.client;
        about_us(DEREGISTER_REQUEST, &a);
        type = try_register(&a);
    }
    if (type == NO_ANSWER)
        die("the gateway does not answer");
    if (type != REGISTER_REQUEST + 1 || !a.client)
        die("the gateway does not register us: error %u", a.error);
    client = a.client;
}

static void set_range(unsigned first, unsigned last)
{
    FILE *f = fopen(range_file, "w");

    if (!f || fprintf(f, "%u %u\n", first, last) < 0 || fclose(f))
        die("%s: %s", range_file, strerror(errno));
}

/* Leases a block; returns for how many seconds. */
static uint32_t lease(unsigned log2, uint32_t seconds)
{
    struct in_addr address;
    struct message m;
    struct answer a;
    unsigned last;

    begin(&m, ASSIGN_REQUEST);
    put_parameter(&m, CLIENT_ID, client, 4);
    for (int end = 0; end < 2; end++) {
        put_parameter(&m, ADDRESS, 1, 1);
        put_parameter(&m, PORTS, 1, 1);
    }
    put_parameter(&m, LEASE_TIME, seconds, 4);
    put_parameter(&m, TUNNEL, NATIVE, 1);
    put_parameter(&m, VENDOR, (uint64_t)OUR_BLOCK << 32 | log2 << 8, 8);
    finish(&m);
    if (ask(&m, &a) != ASSIGN_REQUEST + 1)
        die("there is no block for us: error %u", a.error);
    last = a.start + (1U << (a.log2 & 15)) - 1;
    if (!a.address || a.log2 != log2 || !a.start || last > 65535 || !a.seconds)
        die("the gateway's answer makes no sense");
    bind_id = a.bind;
    set_range(a.start, last);
    address.s_addr = htonl(a.address);
    printf("%s %u %u\n", inet_ntoa(address), a.start, last);
    fflush(stdout);
    return a.seconds;
}

/* Half of its time is over: for how many seconds more, 0: it is ours no more. */
static uint32_t extend(uint32_t seconds)
{
    struct message m;
    struct answer a;
    int type;

    begin(&m, EXTEND_REQUEST);
    put_parameter(&m, CLIENT_ID, client, 4);
    put_parameter(&m, BIND_ID, bind_id, 4);
    put_parameter(&m, LEASE_TIME, seconds, 4);
    finish(&m);
    type = ask(&m, &a);
    if (type == NO_ANSWER)
        die("the gateway does not answer");
    return type == EXTEND_REQUEST + 1 ? a.seconds : 0;
}

/* Until half of the time is over or something ends it. */
static int wait_half(uint32_t seconds)
{
    int64_t until = now_ns() + (int64_t)seconds * 500000000;
    struct answer a;
    int rc;

    while ((rc = receive(&a, until, true)) == 0)
        if (a.client == client &&
            ((a.type == FREE_RESPONSE && a.bind == bind_id) || a.type == DEREGISTER_RESPONSE))
            return a.type;
    return rc;
}

static void hold(unsigned log2, uint32_t seconds)
{
    uint32_t time = 0;

    for (;;) {
        int why;

        if (!time) {
            do_register();
            time = lease(log2, seconds);
        }
        why = wait_half(time);
        if (why == ENDED)
            return;
        time = why == NO_ANSWER ? extend(seconds) : 0;
    }
}

static void usage(void)
{
    fputs(
        "usage: rsip [-g GATEWAY] [-p PORT] [-a OWN ADDRESS] [-n LOG2 OF PORTS] [-t SECONDS]\n"
        "            [-r FILE THAT SETS THE RANGE]\n",
        stderr);
    exit(2);
}

static unsigned number(const char *text, unsigned min, unsigned max)
{
    char *end;
    unsigned long n = strtoul(text, &end, 10);

    if (!*text || *end || n < min || n > max)
        usage();
    return (unsigned)n;
}

static void connect_to(const char *to, unsigned port, const char *from)
{
    struct sockaddr_in there = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    struct sockaddr_in here = {.sin_family = AF_INET};

    if (!inet_aton(to, &there.sin_addr) || (from && !inet_aton(from, &here.sin_addr)))
        usage();
    gateway = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (gateway < 0 || bind(gateway, (struct sockaddr *)&here, sizeof(here)) ||
        connect(gateway, (struct sockaddr *)&there, sizeof(there)))
        die("%s: %s", to, strerror(errno));
}

int main(int argc, char **argv)
{
    const char *to = GATEWAY, *from = NULL;
    unsigned port = 4555, log2 = 12, seconds = 600;
    struct sigaction act = {.sa_handler = on_signal};
    struct answer a;
    sigset_t block;

    for (int option; (option = getopt(argc, argv, "g:p:a:n:t:r:")) != -1;) {
        switch (option) {
        case 'g':
            to = optarg;
            break;
        case 'p':
            port = number(optarg, 1, 65535);
            break;
        case 'a':
            from = optarg;
            break;
        case 'n':
            log2 = number(optarg, 6, 15);
            break;
        case 't':
            seconds = number(optarg, 2, 86400);
            break;
        case 'r':
            range_file = optarg;
            break;
        default:
            usage();
        }
    }
    if (optind != argc)
        usage();
    sigaction(SIGTERM, &act, NULL);
    sigaction(SIGINT, &act, NULL);
    sigemptyset(&block);
    sigaddset(&block, SIGTERM);
    sigaddset(&block, SIGINT);
    sigprocmask(SIG_BLOCK, &block, NULL);
    connect_to(to, port, from);
    hold(log2, seconds);
    about_us(FREE_REQUEST, &a);
    about_us(DEREGISTER_REQUEST, &a);
    return 0;
}
