/*
 * measure NAME ROUND JOBS TIMES COMMAND [ARGUMENT...]
 *
 * Runs the command TIMES times, at most JOBS at once, as `make -j` would: a process takes the next
 * job when one has ended. The environment's JOB is the job's number. When all are done, prints one
 * line "bench NAME ROUND key=value..." with
 *
 *   time         seconds from the first start to the last end, from CLOCK_MONOTONIC
 *   user, sys    CPU seconds of the commands
 *   forks, ctxt  processes made and context switches of the whole system
 *   steal        hundredths of a second in which a vcpu was ready and did not run
 *   resched, callfunc, callfuncsingle, spinlock, timer
 *                interrupts of these kinds that this kernel's CPUs received
 *
 * The status is 0 if all commands ended with 0.
 */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const char *const kinds[] = {"resched", "callfunc", "callfuncsingle", "spinlock", "timer"};
#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

struct state {
    double time, user, sys;
    unsigned long forks, ctxt, steal, interrupts[KINDS];
};

/* The last word of a line without the CPU number that Xen's names end in. */
static int kind_of(char *line)
{
    char *word = strrchr(line, ' ');

    if (!word)
        return -1;
    word++;
    size_t length = strcspn(word, "\n");
    while (length > 0 && isdigit((unsigned char)word[length - 1]))
        length--;
    for (unsigned k = 0; k < KINDS; k++)
        if (strlen(kinds[k]) == length && memcmp(kinds[k], word, length) == 0)
            return (int)k;
    return -1;
}

static void read_interrupts(struct state *s)
{
    FILE *f = fopen("/proc/interrupts", "r");
    char line[4096];

    while (f && fgets(line, sizeof(line), f)) {
        int kind = kind_of(line);
        char *at = strchr(line, ':');
        if (kind < 0 || !at)
            continue;
        for (char *end = ++at;; at = end) {
            unsigned long n = strtoul(at, &end, 10);
            if (end == at)
                break;
            s->interrupts[kind] += n;
        }
    }
    if (f)
        fclose(f);
}

static void read_stat(struct state *s)
{
    FILE *f = fopen("/proc/stat", "r");
    char line[4096];

    while (f && fgets(line, sizeof(line), f)) {
        sscanf(line, "cpu %*u %*u %*u %*u %*u %*u %*u %lu", &s->steal);
        sscanf(line, "ctxt %lu", &s->ctxt);
        sscanf(line, "processes %lu", &s->forks);
    }
    if (f)
        fclose(f);
}

static double seconds(struct timeval t)
{
    return (double)t.tv_sec + (double)t.tv_usec / 1e6;
}

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void take_state(struct state *s)
{
    struct rusage usage;

    memset(s, 0, sizeof(*s));
    read_interrupts(s);
    read_stat(s);
    getrusage(RUSAGE_CHILDREN, &usage);
    s->user = seconds(usage.ru_utime);
    s->sys = seconds(usage.ru_stime);
}

static void start_job(int number, char **command)
{
    if (fork() != 0)
        return;
    char text[16];
    snprintf(text, sizeof(text), "%d", number);
    setenv("JOB", text, 1);
    execvp(command[0], command);
    perror(command[0]);
    _exit(127);
}

static int run_jobs(int jobs, int times, char **command)
{
    int started = 0, failed = 0, status;

    while (started < jobs && started < times)
        start_job(started++, command);
    while (wait(&status) > 0) {
        failed |= status != 0;
        if (started < times)
            start_job(started++, command);
    }
    return failed;
}

int main(int argc, char **argv)
{
    struct state a, b;

    if (argc < 6) {
        fprintf(stderr, "usage: measure NAME ROUND JOBS TIMES COMMAND...\n");
        return 2;
    }
    take_state(&a);
    a.time = now();
    int failed = run_jobs(atoi(argv[3]), atoi(argv[4]), argv + 5);
    b.time = now();
    double time = b.time - a.time;
    take_state(&b);
    printf("bench %s %s time=%.9f user=%.3f sys=%.3f forks=%lu ctxt=%lu steal=%lu", argv[1], argv[2], time,
           b.user - a.user, b.sys - a.sys, b.forks - a.forks, b.ctxt - a.ctxt, b.steal - a.steal);
    for (unsigned k = 0; k < KINDS; k++)
        printf(" %s=%lu", kinds[k], b.interrupts[k] - a.interrupts[k]);
    printf(" failed=%d\n", failed);
    return failed;
}
