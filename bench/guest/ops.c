/*
 * The measured program: /init of a tiny initramfs, the same file on every system.
 *
 * The machine runs with `-icount shift=0,sleep=off` and one CPU, so the time-stamp counter is the
 * number of instructions executed since power-on (plus time spent idle, which no timed section
 * below contains). Every sample is the difference of two readings, less the cost of reading. The
 * median of many samples is printed, so a timer tick inside some of them does not matter.
 *
 * Output, one line each:   bench <name> <median> <minimum> <samples> <operations in a sample>
 * followed by `bench done`, then the machine is powered off. Parameters come as environment
 * variables, which the kernel fills from its command line:
 *   BENCH_OPS=a:b:c   only these operations
 *   BENCH_DIV=n       a n-th of the samples (for profiles, where each sample is slow)
 *   BENCH_KALLSYMS=1  send the kernel's text symbols to the debug port, then power off
 *
 * Each timed section is bracketed by two marker instructions, long nops with a recognisable
 * displacement. They mean nothing to the machine; the counting plugin (bench/plugin) looks for
 * them.
 */
#define _GNU_SOURCE
#define __XEN_TOOLS__
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/io.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <xen/domctl.h>
#include <xen/memory.h>
#include <xen/sched.h>
#include <xen/sys/privcmd.h>
#include <xen/sysctl.h>
#include <xen/version.h>
#include <xen/xen.h>

#define PAGE      4096ul
#define TABLE     (512 * PAGE) /* memory that one lowest-level page table maps */
#define RUN_PAGES 256ul        /* pages of one munmap or mprotect sample */

/*
 * Touched memory that makes fork see the address space of a shell with its libraries: a few pages
 * in each of many page tables. The sizes are chosen so that fork on bare Linux costs what it
 * costs in the program by which the goals were set (about 370,000 instructions).
 */
#define BALLAST_TABLES 16ul
#define BALLAST_PAGES  4ul

/* Numbers of the marker instructions; bench/plugin/count.c knows them too. */
#define MARK_INIT  1
#define MARK_BEGIN 2
#define MARK_END   3
#define MARK_FIRST 4
#define MARK_LAST  5

#define MARK(n)                                                                                \
    __asm__ volatile(".byte 0x0f, 0x1f, 0x80; .long 0x53455200 + %c0" ::"i"(n) : "memory")

#define IOCTL_PRIVCMD_NONE _IOC(_IOC_NONE, 'P', 0x7f, 0)

struct op {
    const char *name;
    int (*setup)(void); /* may be null; non-zero: not measurable here, with a reason printed */
    uint64_t (*once)(void); /* one sample */
    uint64_t (*base)(void); /* may be null; a sample of what is to be subtracted */
    void (*cleanup)(void);
    unsigned samples;
    unsigned units; /* a sample covers this many operations */
};

static uint64_t read_cost;

static inline __attribute__((always_inline)) uint64_t rdtsc(void)
{
    uint32_t lo, hi;

    __asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi)::"memory");
    return (uint64_t)hi << 32 | lo;
}

static inline __attribute__((always_inline)) uint64_t begin(void)
{
    MARK(MARK_BEGIN);
    return rdtsc();
}

static inline __attribute__((always_inline)) uint64_t end(uint64_t t0)
{
    uint64_t t1 = rdtsc();

    MARK(MARK_END);
    return t1 - t0 - read_cost;
}

static inline __attribute__((always_inline)) long sys3(long nr, long a, long b, long c)
{
    long ret;

    __asm__ volatile("syscall"
                     : "=a"(ret)
                     : "0"(nr), "D"(a), "S"(b), "d"(c)
                     : "rcx", "r11", "memory");
    return ret;
}

static void fail(const char *what)
{
    printf("bench fail %s: %s\n", what, strerror(errno));
    fflush(stdout);
}

/* ---- system calls and memory ---- */

static uint64_t once_getppid(void)
{
    uint64_t t0 = begin();

    sys3(SYS_getppid, 0, 0, 0);
    return end(t0);
}

static char *map_pages(size_t n)
{
    char *p = mmap(NULL, n * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (p == MAP_FAILED) {
        fail("mmap");
        exit(1);
    }
    madvise(p, n * PAGE, MADV_NOHUGEPAGE);
    return p;
}

static void touch_pages(volatile char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        p[i * PAGE] = 1;
}

static volatile char *fault_area;
static size_t fault_at = RUN_PAGES;

static void cleanup_fault(void)
{
    if (fault_area)
        munmap((char *)fault_area, RUN_PAGES * PAGE);
    fault_area = NULL;
    fault_at = RUN_PAGES;
}

static uint64_t once_fault(void)
{
    uint64_t t0;

    if (fault_at == RUN_PAGES) {
        cleanup_fault();
        fault_area = map_pages(RUN_PAGES);
        fault_at = 0;
    }
    t0 = begin();
    fault_area[fault_at * PAGE] = 1;
    t0 = end(t0);
    fault_at++;
    return t0;
}

static uint64_t once_munmap(void)
{
    char *p = map_pages(RUN_PAGES);
    uint64_t t0;

    touch_pages(p, RUN_PAGES);
    t0 = begin();
    sys3(SYS_munmap, (long)p, RUN_PAGES * PAGE, 0);
    return end(t0);
}

/* Every entry names the kernel's one page of zeros: no page is freed, entries alone count. */
static uint64_t once_munmap_zero(void)
{
    volatile char *p = map_pages(RUN_PAGES);
    uint64_t t0;

    for (size_t i = 0; i < RUN_PAGES; i++)
        (void)p[i * PAGE];
    t0 = begin();
    sys3(SYS_munmap, (long)p, RUN_PAGES * PAGE, 0);
    return end(t0);
}

static char *prot_area;

static int setup_mprotect(void)
{
    prot_area = map_pages(RUN_PAGES);
    return 0;
}

static void cleanup_mprotect(void)
{
    munmap(prot_area, RUN_PAGES * PAGE);
}

static void protect(int rights)
{
    sys3(SYS_mprotect, (long)prot_area, RUN_PAGES * PAGE, rights);
}

/* To read-only and back, both of them timed. */
static uint64_t once_mprotect(void)
{
    uint64_t t0;

    touch_pages(prot_area, RUN_PAGES);
    t0 = begin();
    protect(PROT_READ);
    protect(PROT_READ | PROT_WRITE);
    return end(t0);
}

/* To read-only alone. */
static uint64_t once_mprotect_ro(void)
{
    uint64_t t;

    touch_pages(prot_area, RUN_PAGES);
    t = begin();
    protect(PROT_READ);
    t = end(t);
    protect(PROT_READ | PROT_WRITE);
    return t;
}

/* ---- processes ---- */

static uint64_t fork_sample(const char *program)
{
    static char *const none[] = {NULL};
    uint64_t t0 = begin();
    long pid = sys3(SYS_fork, 0, 0, 0);

    if (pid == 0) {
        if (program)
            sys3(SYS_execve, (long)program, (long)none, (long)none);
        sys3(SYS_exit_group, program ? 1 : 0, 0, 0);
    }
    /* wait4's fourth argument is read from r10, whose content must be a null pointer. */
    {
        register long r10 __asm__("r10") = 0;
        long ret;
        int status = -1;

        __asm__ volatile("syscall"
                         : "=a"(ret)
                         : "0"(SYS_wait4), "D"(pid), "S"(&status), "d"(0), "r"(r10)
                         : "rcx", "r11", "memory");
        t0 = end(t0);
        if (ret != pid || status != 0) {
            printf("bench fail fork: child status %d\n", status);
            exit(1);
        }
    }
    return t0;
}

static uint64_t once_fork(void)
{
    return fork_sample(NULL);
}

static uint64_t once_exec(void)
{
    return fork_sample("/tiny");
}

static int pipe_to[2], pipe_from[2];
static pid_t partner;

static int setup_pipe(void)
{
    char c;

    if (pipe(pipe_to) || pipe(pipe_from)) {
        fail("pipe");
        return -1;
    }
    partner = fork();
    if (partner == 0) {
        while (read(pipe_to[0], &c, 1) == 1)
            if (write(pipe_from[1], &c, 1) != 1)
                break;
        _exit(0);
    }
    return partner < 0;
}

static void cleanup_partner(void)
{
    kill(partner, SIGKILL);
    waitpid(partner, NULL, 0);
}

static void cleanup_pipe(void)
{
    cleanup_partner();
    for (int i = 0; i < 2; i++) {
        close(pipe_to[i]);
        close(pipe_from[i]);
    }
}

static uint64_t once_pipe(void)
{
    char c = 0;
    uint64_t t0 = begin();

    sys3(SYS_write, pipe_to[1], (long)&c, 1);
    sys3(SYS_read, pipe_from[0], (long)&c, 1);
    return end(t0);
}

/* Two processes of equal real-time priority: each sched_yield goes to the other one. */
static int setup_switch(void)
{
    struct sched_param param = {.sched_priority = 1};

    if (sched_setscheduler(0, SCHED_FIFO, &param)) {
        fail("sched_setscheduler");
        return -1;
    }
    partner = fork();
    if (partner == 0)
        for (;;)
            sys3(SYS_sched_yield, 0, 0, 0);
    return partner < 0;
}

static void cleanup_switch(void)
{
    struct sched_param param = {.sched_priority = 0};

    cleanup_partner();
    sched_setscheduler(0, SCHED_OTHER, &param);
}

static uint64_t once_switch(void)
{
    uint64_t t0 = begin();

    sys3(SYS_sched_yield, 0, 0, 0);
    return end(t0);
}

static void handler(int sig)
{
    (void)sig;
}

static int setup_signal(void)
{
    signal(SIGUSR1, handler);
    return 0;
}

static uint64_t once_signal(void)
{
    static pid_t self;
    uint64_t t0;

    if (!self)
        self = getpid();
    t0 = begin();
    sys3(SYS_kill, self, SIGUSR1, 0);
    return end(t0);
}

/* ---- files in the page cache ---- */

static int file = -1;

static int setup_file(void)
{
    static char block[PAGE];

    file = open("/scratch", O_RDWR | O_CREAT | O_TRUNC, 0600);
    if (file < 0) {
        fail("/scratch");
        return -1;
    }
    memset(block, 0x5a, sizeof(block));
    for (size_t i = 0; i < 64; i++)
        if (write(file, block, sizeof(block)) != sizeof(block)) {
            fail("write");
            return -1;
        }
    return 0;
}

static void cleanup_file(void)
{
    close(file);
}

static uint64_t once_read(void)
{
    static char block[PAGE];
    uint64_t t0;

    lseek(file, 0, SEEK_SET);
    t0 = begin();
    sys3(SYS_read, file, (long)block, PAGE);
    return end(t0);
}

static uint64_t once_filemap(void)
{
    uint64_t t0 = begin();
    volatile char *p = mmap(NULL, 64 * PAGE, PROT_READ, MAP_SHARED, file, 0);

    for (size_t i = 0; i < 64; i++)
        (void)p[i * PAGE];
    munmap((char *)p, 64 * PAGE);
    return end(t0);
}

/* ---- hypercalls from user space, net of an ioctl that the driver refuses at once ---- */

static int privcmd = -1;

static int setup_privcmd(void)
{
    int fd;

    if (privcmd >= 0)
        return 0;
    fd = open("/xen-privcmd.ko", O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        syscall(SYS_finit_module, fd, "", 0);
        close(fd);
    }
    privcmd = open("/dev/xen/privcmd", O_RDWR | O_CLOEXEC);
    return privcmd < 0;
}

static uint64_t hypercall_sample(privcmd_hypercall_t *call)
{
    uint64_t t0 = begin();

    sys3(SYS_ioctl, privcmd, IOCTL_PRIVCMD_HYPERCALL, (long)call);
    return end(t0);
}

static uint64_t once_hypercall(void)
{
    static privcmd_hypercall_t call = {.op = __HYPERVISOR_xen_version, .arg = {XENVER_version}};

    return hypercall_sample(&call);
}

static uint64_t once_yield(void)
{
    static privcmd_hypercall_t call = {.op = __HYPERVISOR_sched_op, .arg = {SCHEDOP_yield}};

    return hypercall_sample(&call);
}

static uint64_t base_ioctl(void)
{
    uint64_t t0 = rdtsc();

    sys3(SYS_ioctl, privcmd, IOCTL_PRIVCMD_NONE, 0);
    return rdtsc() - t0 - read_cost;
}

/* ---- frames of another domain, given back and taken as balloon drivers do: 512 at a time ---- */

#define BATCH 512

static uint64_t frame_list[BATCH];
static uint16_t other_domain;

static long domctl(unsigned cmd, struct xen_domctl *op)
{
    privcmd_hypercall_t call = {.op = __HYPERVISOR_domctl, .arg = {(uintptr_t)op}};

    op->cmd = cmd;
    op->interface_version = XEN_DOMCTL_INTERFACE_VERSION;
    op->domain = other_domain;
    return ioctl(privcmd, IOCTL_PRIVCMD_HYPERCALL, &call);
}

/* The number of frames that were dealt with; *took, when not null, is how long it took. */
static long change_frames(unsigned op, uint64_t *took)
{
    static struct xen_memory_reservation r;
    privcmd_hypercall_t call = {.op = __HYPERVISOR_memory_op, .arg = {op, (uintptr_t)&r}};
    uint64_t t0;
    long rc;

    r = (struct xen_memory_reservation){.nr_extents = BATCH, .domid = other_domain};
    set_xen_guest_handle(r.extent_start, frame_list);
    for (size_t i = 0; op == XENMEM_populate_physmap && i < BATCH; i++)
        frame_list[i] = i;
    t0 = took ? begin() : 0;
    rc = sys3(SYS_ioctl, privcmd, IOCTL_PRIVCMD_HYPERCALL, (long)&call);
    if (took)
        *took = end(t0);
    return rc;
}

static int setup_frames(void)
{
    struct xen_domctl op = {0};

    if (setup_privcmd())
        return 1;
    if (other_domain)
        return 0;
    op.u.createdomain = (struct xen_domctl_createdomain){
        .max_vcpus = 1,
        .max_evtchn_port = 1023,
        .max_grant_frames = -1,
        .max_maptrack_frames = -1,
        .grant_opts = XEN_DOMCTL_GRANT_version(1),
    };
    if (domctl(XEN_DOMCTL_createdomain, &op))
        return 1;
    other_domain = op.domain;
    memset(&op.u, 0, sizeof(op.u));
    op.u.max_mem.max_memkb = BATCH * PAGE / 1024;
    return domctl(XEN_DOMCTL_max_mem, &op) != 0;
}

static void frames_failed(const char *what)
{
    static int once;

    if (!once++)
        fail(what);
}

/* Idle time between the samples, in which a hypervisor may tidy up. */
static void pause_a_little(void)
{
    struct timespec t = {.tv_nsec = 20000000};

    nanosleep(&t, NULL);
}

static uint64_t once_giveback(void)
{
    uint64_t took = 0;

    if (change_frames(XENMEM_populate_physmap, NULL) != BATCH ||
        change_frames(XENMEM_decrease_reservation, &took) != BATCH)
        frames_failed("giveback");
    pause_a_little();
    return took;
}

static uint64_t once_populate(void)
{
    uint64_t took = 0;

    if (change_frames(XENMEM_populate_physmap, &took) != BATCH ||
        change_frames(XENMEM_decrease_reservation, NULL) != BATCH)
        frames_failed("populate");
    pause_a_little();
    return took;
}

/*
 * What the hypervisor says of the machine's memory and of this domain's share, in pages:
 *   bench memory <RAM> <free> <domain's current reservation>
 */
static void print_memory(void)
{
    static struct xen_sysctl sysctl = {.cmd = XEN_SYSCTL_physinfo,
                                       .interface_version = XEN_SYSCTL_INTERFACE_VERSION};
    static domid_t self = DOMID_SELF;
    privcmd_hypercall_t info = {.op = __HYPERVISOR_sysctl, .arg = {(uintptr_t)&sysctl}};
    privcmd_hypercall_t mine = {.op = __HYPERVISOR_memory_op,
                                .arg = {XENMEM_current_reservation, (uintptr_t)&self}};
    long pages;

    if (setup_privcmd() || ioctl(privcmd, IOCTL_PRIVCMD_HYPERCALL, &info))
        return;
    pages = ioctl(privcmd, IOCTL_PRIVCMD_HYPERCALL, &mine);
    printf("bench memory %llu %llu %ld\n", (unsigned long long)sysctl.u.physinfo.total_pages,
           (unsigned long long)sysctl.u.physinfo.free_pages, pages);
}

/* ---- the table and its driver ---- */

static const struct op ops[] = {
    {"getppid", NULL, once_getppid, NULL, NULL, 2001, 1},
    {"fault", NULL, once_fault, NULL, cleanup_fault, 2001, 1},
    {"munmap", NULL, once_munmap, NULL, NULL, 41, RUN_PAGES},
    {"munmap_zero", NULL, once_munmap_zero, NULL, NULL, 41, RUN_PAGES},
    {"mprotect", setup_mprotect, once_mprotect, NULL, cleanup_mprotect, 41, RUN_PAGES},
    {"mprotect_ro", setup_mprotect, once_mprotect_ro, NULL, cleanup_mprotect, 41, RUN_PAGES},
    {"fork", NULL, once_fork, NULL, NULL, 101, 1},
    {"exec", NULL, once_exec, NULL, NULL, 101, 1},
    {"pipe", setup_pipe, once_pipe, NULL, cleanup_pipe, 1001, 1},
    {"switch", setup_switch, once_switch, NULL, cleanup_switch, 1001, 2},
    {"signal", setup_signal, once_signal, NULL, NULL, 1001, 1},
    {"read4k", setup_file, once_read, NULL, cleanup_file, 1001, 1},
    {"filemap", setup_file, once_filemap, NULL, cleanup_file, 101, 64},
    {"hypercall", setup_privcmd, once_hypercall, base_ioctl, NULL, 1001, 1},
    {"yield", setup_privcmd, once_yield, base_ioctl, NULL, 1001, 1},
    {"giveback", setup_frames, once_giveback, base_ioctl, NULL, 41, BATCH},
    {"populate", setup_frames, once_populate, base_ioctl, NULL, 41, BATCH},
};

#define MAX_SAMPLES 2001
static uint64_t samples[MAX_SAMPLES];

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

static uint64_t median(uint64_t (*once)(void), unsigned count, uint64_t *least)
{
    for (unsigned i = 0; i < count; i++)
        samples[i] = once();
    qsort(samples, count, sizeof(samples[0]), compare);
    *least = samples[0];
    return samples[count / 2];
}

/* The plugin forgets the samples of the warm-up at MARK_FIRST. */
static void run_op(const struct op *op, unsigned divide)
{
    unsigned count = op->samples / divide | 1;
    uint64_t mid, least, base = 0, unused;

    if (op->setup && op->setup()) {
        printf("bench skip %s\n", op->name);
        return;
    }
    median(op->once, count / 8 + 3, &unused);
    if (op->base)
        base = median(op->base, count, &unused);
    MARK(MARK_FIRST);
    mid = median(op->once, count, &least);
    MARK(MARK_LAST);
    if (op->cleanup)
        op->cleanup();
    printf("bench %s %.1f %.1f %u %u\n", op->name, (double)(mid - base) / op->units,
           (double)(least - base) / op->units, count, op->units);
    fflush(stdout);
}

static int wanted(const char *list, const char *name)
{
    size_t n = strlen(name);

    if (!list || !*list)
        return 1;
    for (const char *p = list; (p = strstr(p, name)); p += n)
        if ((p == list || p[-1] == ':') && (p[n] == ':' || p[n] == '\0'))
            return 1;
    return 0;
}

/* Sends the text symbols of the running kernel to QEMU's debug console. */
static void send_kallsyms(void)
{
    static char text[1 << 16];
    FILE *in = fopen("/proc/kallsyms", "r");
    char line[512], name[256], type;
    unsigned long address;

    if (!in || ioperm(0xe9, 1, 1)) {
        fail("kallsyms");
        return;
    }
    while (fgets(line, sizeof(line), in)) {
        const char *s = text;
        size_t n;

        if (sscanf(line, "%lx %c %255s", &address, &type, name) != 3 || !strchr("tTwW", type))
            continue;
        n = (size_t)sprintf(text, "%lx %s\n", address, name);
        __asm__ volatile("rep outsb" : "+S"(s), "+c"(n) : "d"(0xe9) : "memory");
    }
    fclose(in);
}

static void prepare(void)
{
    struct timespec settle = {.tv_sec = 2};
    char *ballast;

    mkdir("/proc", 0755);
    mkdir("/dev", 0755);
    mount("proc", "/proc", "proc", 0, NULL);
    mount("dev", "/dev", "devtmpfs", 0, NULL);
    setvbuf(stdout, NULL, _IOFBF, 1 << 14);
    prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
    ballast = map_pages(BALLAST_TABLES * 512);
    for (size_t i = 0; i < BALLAST_TABLES; i++)
        touch_pages(ballast + i * TABLE, BALLAST_PAGES);
    /* Work that the kernel put off during boot gets done here; idle time costs nothing. */
    nanosleep(&settle, NULL);
}

static void calibrate(void)
{
    uint64_t least = ~0ull;

    for (int i = 0; i < 1000; i++) {
        uint64_t t = end(begin());

        if (t < least)
            least = t;
    }
    read_cost = least;
}

int main(void)
{
    uint64_t start = rdtsc();
    const char *list = getenv("BENCH_OPS"), *divide = getenv("BENCH_DIV");

    MARK(MARK_INIT);
    prepare();
    if (getenv("BENCH_KALLSYMS")) {
        send_kallsyms();
    } else {
        printf("\nbench init %llu\n", (unsigned long long)start);
        print_memory();
        calibrate();
        for (size_t i = 0; i < sizeof(ops) / sizeof(ops[0]); i++)
            if (wanted(list, ops[i].name))
                run_op(&ops[i], divide && atoi(divide) > 0 ? (unsigned)atoi(divide) : 1);
    }
    printf("bench done\n");
    fflush(stdout);
    reboot(RB_POWER_OFF);
    return 0;
}
