/*
 * Makes and destroys guests through the toolstack's library, without xl around it:
 *
 *   cycles KERNEL N          N guests, one after the other, made paused and destroyed
 *   cycles KERNEL N kill     whoever makes one is killed at some time while he does; what is
 *                            left of the guest is destroyed
 *   cycles KERNEL N keep     N guests that stay; for each, how far the time-stamp counter went
 *   cycles KERNEL 0          destroys all that there are
 *
 * Prints how many were made completely, cut short, and left nothing behind.
 */
#define _GNU_SOURCE
#include <libxl.h>
#include <libxl_utils.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>

static libxl_ctx *ctx;
static xentoollog_logger_stdiostream *logger;

static void die(const char *why)
{
    fprintf(stderr, "cycles: %s\n", why);
    exit(1);
}

static void begin(void)
{
    logger = xtl_createlogger_stdiostream(stderr, XTL_CRITICAL, 0);
    if (!logger || libxl_ctx_alloc(&ctx, LIBXL_VERSION, 0, (xentoollog_logger *)logger))
        die("no libxl");
}

static int make(const char *kernel, unsigned number, uint32_t *id)
{
    libxl_domain_config c;
    char name[16];
    int rc;

    snprintf(name, sizeof(name), "g%u", number);
    libxl_domain_config_init(&c);
    c.c_info.type = LIBXL_DOMAIN_TYPE_PV;
    c.c_info.name = strdup(name);
    libxl_uuid_generate(&c.c_info.uuid);
    libxl_domain_build_info_init_type(&c.b_info, LIBXL_DOMAIN_TYPE_PV);
    c.b_info.max_vcpus = 1;
    libxl_bitmap_set_any(&c.b_info.avail_vcpus);
    c.b_info.max_memkb = c.b_info.target_memkb = 8192;
    c.b_info.kernel = strdup(kernel);
    rc = libxl_domain_create_new(ctx, &c, id, NULL, NULL);
    libxl_domain_config_dispose(&c);
    return rc;
}

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* All that there is beside domain 0; how many. */
static int destroy_all(void)
{
    int n = 0, destroyed = 0;
    libxl_dominfo *list = libxl_list_domain(ctx, &n);

    for (int i = 0; i < n; i++) {
        if (!list[i].domid)
            continue;
        if (libxl_domain_destroy(ctx, list[i].domid, NULL))
            die("a guest cannot be destroyed");
        destroyed++;
    }
    libxl_dominfo_list_free(list, n);
    return destroyed;
}

/* The process ends as by kill -9 when the time is over. */
static void kill_me_after(double seconds)
{
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGKILL};
    struct itimerspec when = {0};
    timer_t timer;

    when.it_value.tv_sec = (time_t)seconds;
    when.it_value.tv_nsec = (long)((seconds - (double)when.it_value.tv_sec) * 1e9) + 1;
    if (timer_create(CLOCK_MONOTONIC, &event, &timer) || timer_settime(timer, 0, &when, NULL))
        die("no timer");
}

/* True: it was killed. */
static bool make_and_be_killed(const char *kernel, double seconds)
{
    uint32_t id = 0;
    int status = 0;
    pid_t child = fork();

    if (child < 0)
        die("no process");
    if (!child) {
        kill_me_after(seconds);
        begin();
        _exit(make(kernel, 0, &id) != 0);
    }
    waitpid(child, &status, 0);
    if (WIFEXITED(status) && WEXITSTATUS(status))
        die("a guest cannot be made");
    return WIFSIGNALED(status);
}

static void keep(const char *kernel, unsigned n)
{
    uint32_t id;

    for (unsigned i = 0; i < n; i++) {
        unsigned long long begin = __rdtsc();

        if (make(kernel, i, &id))
            die("a guest cannot be made");
        printf("%llu\n", __rdtsc() - begin);
    }
}

/* How long it takes, when nothing comes between. */
static double time_one(const char *kernel)
{
    double begin = now();
    uint32_t id;

    if (make(kernel, 0, &id))
        die("the first guest cannot be made");
    begin = now() - begin;
    destroy_all();
    return begin;
}

static void cycle(const char *kernel, unsigned n, bool kill)
{
    unsigned made = 0, killed = 0, nothing = 0;
    double took = time_one(kernel);
    uint32_t id;

    srandom(1);
    for (unsigned i = 0; i < n; i++) {
        double share = (double)random() / RAND_MAX;

        if (!kill)
            made += make(kernel, 0, &id) == 0;
        else if (make_and_be_killed(kernel, took * 1.2 * share))
            killed++;
        else
            made++;
        nothing += destroy_all() == 0;
    }
    printf("made %u killed %u nothing %u\n", made, killed, nothing);
}

int main(int argc, char **argv)
{
    unsigned n;

    if (argc < 3)
        die("usage: cycles KERNEL N [kill | keep]");
    n = (unsigned)atoi(argv[2]);
    begin();
    if (argc > 3 && !strcmp(argv[3], "keep"))
        keep(argv[1], n);
    else if (n)
        cycle(argv[1], n, argc > 3);
    else
        destroy_all();
    libxl_ctx_free(ctx);
    return 0;
}
