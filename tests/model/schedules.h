/*
 * All schedules of a scenario with at most so many preemptions, each tried from the start: two or
 * three CPUs, each a coroutine that gives way where its program says so.
 *
 * A preemption is a switch away from a CPU in the middle of an operation that could have gone on;
 * a CPU that waits, or is between operations, is left for free.
 *
 * Whoever includes this has defined CPUS, STEPS, STACK_SIZE, struct step, and
 *   me, nr_cpus     who runs, and how many there are
 *   changed         set by whatever lets those who wait look again
 * and then defines what is declared below: begin_world(), check_world(), is_step(), perform_step().
 */
#ifndef SERAI_TESTS_SCHEDULES_H
#define SERAI_TESTS_SCHEDULES_H

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>

#include "coroutine.h"

struct scenario {
    const char *text;
    struct step before[8];
    struct step cpu[CPUS][STEPS];
    unsigned bound; /* preemptions */
    u32 quota[3];   /* for begin_world(), if the program has any */
};

/* The world as it is before the first step, 'before' done; no CPU runs. */
static void begin_world(const struct scenario *s);
/* violate()s what must not be when all is over. */
static void check_world(void);
static bool is_step(const struct step *s);
static void perform_step(const struct step *s);

/* ---- coroutines ---- */

enum phase { AT_REST, IN_THE_MIDDLE, WAITING, OVER };

/*
 * Who has looked that often since another CPU changed something need not look again. What a CPU
 * does that 'waited' changes something once it gets through: two that wait may not keep each other
 * looking while a third, who could go on, does not.
 */
#define LOOKS 2

static struct coroutine {
    void *sp;
    enum phase phase;
    unsigned looks; /* WAITING */
    bool waited;    /* in this operation */
    const struct step *next;
} co[CPUS];

static u8 stacks[CPUS][STACK_SIZE] __attribute__((aligned(64)));
static void *explorer_sp;
static const char *broken;
static bool in_coroutine;
static jmp_buf found;

static void leave(enum phase phase)
{
    if (!in_coroutine)
        return;
    co[me].phase = phase;
    coroutine_switch(&co[me].sp, explorer_sp);
}

/* 'rule' is broken: the search ends. */
void violate(const char *rule)
{
    broken = rule;
    leave(IN_THE_MIDDLE);
    longjmp(found, 1);
}

static void body(void)
{
    for (; is_step(co[me].next); co[me].next++) {
        perform_step(co[me].next);
        co[me].waited = false;
        if (is_step(co[me].next + 1))
            leave(AT_REST);
    }
    leave(OVER);
}

/* ---- the search ---- */

#define DEPTH     4096
#define STEPS_MAX 10000

/* Where there was a choice: the CPUs, and which of them is tried. */
static struct choice {
    u8 cpu[CPUS], n, tried;
} path[DEPTH];

static unsigned path_len;
static u64 nr_schedules, nr_steps;

/* One step of CPU c. */
static void run(unsigned c)
{
    nr_steps++;
    me = c;
    changed = co[c].phase == AT_REST;
    in_coroutine = true;
    coroutine_switch(&explorer_sp, co[c].sp);
    in_coroutine = false;
    if (broken)
        longjmp(found, 1);
    for (unsigned other = 0; changed && other < nr_cpus; other++)
        if (other != c && !co[c].waited)
            co[other].looks = 0;
}

static bool may_run(unsigned c)
{
    return co[c].phase != OVER && co[c].looks < LOOKS;
}

/* Who may run next: first who runs now, unless he waits; others only if he may be preempted. */
static unsigned options(unsigned running, bool may_preempt, u8 *cpu)
{
    bool goes_on = co[running].phase == IN_THE_MIDDLE;
    unsigned n = 0;

    if (may_run(running) && co[running].phase != WAITING)
        cpu[n++] = (u8)running;
    for (unsigned c = 0; c < nr_cpus && (may_preempt || !goes_on); c++)
        if (c != running && may_run(c))
            cpu[n++] = (u8)c;
    if (!n && may_run(running))
        cpu[n++] = (u8)running;
    return n;
}

static unsigned choose(unsigned *depth, unsigned running, bool may_preempt)
{
    struct choice now = {.n = 0};

    now.n = (u8)options(running, may_preempt, now.cpu);
    if (!now.n)
        violate("CPUs wait for each other for ever");
    if (now.n == 1)
        return now.cpu[0];
    if (*depth == path_len) {
        if (path_len == DEPTH) {
            fprintf(stderr, "a schedule is too deep\n");
            exit(1);
        }
        path[path_len++] = now;
    }
    now = path[(*depth)++];
    return now.cpu[now.tried];
}

static bool all_over(void)
{
    for (unsigned c = 0; c < nr_cpus; c++)
        if (co[c].phase != OVER)
            return false;
    return true;
}

/* One schedule: the choices in path[], then always the first. */
static void one_schedule(const struct scenario *s)
{
    unsigned depth = 0, running = 0, left = s->bound, steps = 0;

    nr_schedules++;
    for (unsigned c = 0; c < nr_cpus; c++)
        co[c] = (struct coroutine){.sp = coroutine_begin(stacks[c] + STACK_SIZE, body),
                                   .phase = AT_REST,
                                   .next = s->cpu[c]};
    begin_world(s);
    while (!all_over()) {
        unsigned next = choose(&depth, running, left);

        if (next != running && co[running].phase == IN_THE_MIDDLE)
            left--;
        running = next;
        run(next);
        if (++steps > STEPS_MAX)
            violate("an operation does not end");
    }
    check_world();
}

/* The next one in path[]; false: all have been tried. */
static bool next_schedule(void)
{
    for (; path_len; path_len--)
        if (++path[path_len - 1].tried < path[path_len - 1].n)
            return true;
    return false;
}

/* NULL, or the rule that some schedule breaks. */
static const char *explore(const struct scenario *s)
{
    nr_schedules = nr_steps = path_len = 0;
    broken = NULL;
    for (nr_cpus = 0; nr_cpus < CPUS && is_step(s->cpu[nr_cpus]); nr_cpus++)
        ;
    if (!setjmp(found))
        do
            one_schedule(s);
        while (next_schedule());
    return broken;
}

static void print_search(const struct scenario *s)
{
    printf("# %s: %s; %lu schedules, %lu steps\n", s->text, broken ? broken : "no rule broken",
           nr_schedules, nr_steps);
}

#endif
