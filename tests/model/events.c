/*
 * An interleaving explorer for event channels between domains: the shipped guest/event.c and
 * guest/event_ports.c on two or three CPUs, each a coroutine that gives way before every atomic
 * operation. All schedules with at most so many preemptions are tried, each from the start.
 *
 * At any moment no memory is used that has been given back, no event arrives where its sender is
 * not connected to, and an event that is sent while nothing changes arrives. In the end every
 * connection has two ends, the dead have nothing, no lock or reference is left, and who was
 * told something before or while he bound knows it, or has an event that makes him look.
 *
 * A preemption is a switch away from a CPU in the middle of an operation that could have gone on;
 * a CPU that waits, or is between operations, is left for free.
 */
#include <stdio.h>
#include <stdlib.h>
#include <setjmp.h>
#include <time.h>

#include "event_world.h"

/* ---- coroutines ---- */

#define STACK_SIZE 16384

void events_switch(void **save, void *load);
asm(".text\n"
    "events_switch:\n"
    "  push %rbp; push %rbx; push %r12; push %r13; push %r14; push %r15\n"
    "  mov %rsp, (%rdi)\n"
    "  mov %rsi, %rsp\n"
    "  pop %r15; pop %r14; pop %r13; pop %r12; pop %rbx; pop %rbp\n"
    "  ret\n");

enum phase { AT_REST, IN_HYPERCALL, WAITING, OVER };

/* Who has looked that often since another CPU changed something need not look again. */
#define LOOKS 2
#define STEPS 4

static struct coroutine {
    void *sp;
    enum phase phase;
    unsigned looks; /* WAITING */
    const struct step *next;
} co[CPUS];

static u8 stacks[CPUS][STACK_SIZE] __attribute__((aligned(64)));
static void *explorer_sp;
static const char *broken;
static bool in_coroutine;
static jmp_buf found;

static void leave(enum phase phase)
{
    co[me].phase = phase;
    events_switch(&co[me].sp, explorer_sp);
}

void give_way(void)
{
    leave(IN_HYPERCALL);
}

void give_way_until_change(void)
{
    co[me].looks++;
    leave(WAITING);
}

bool is_at_rest(unsigned cpu)
{
    return co[cpu].phase == AT_REST || co[cpu].phase == OVER;
}

void violate(const char *rule)
{
    broken = rule;
    if (in_coroutine)
        leave(IN_HYPERCALL);
    longjmp(found, 1);
}

static void body(void)
{
    for (; co[me].next->op; co[me].next++) {
        perform(*co[me].next);
        take_interrupt(me);
        if (co[me].next[1].op)
            leave(AT_REST);
    }
    leave(OVER);
}

static void prepare(unsigned c, const struct step *steps)
{
    void **top = (void **)(stacks[c] + STACK_SIZE);

    *--top = NULL; /* alignment at entry */
    *--top = (void *)body;
    top -= 6; /* registers */
    co[c] = (struct coroutine){.sp = top, .phase = AT_REST, .next = steps};
}

/* ---- scenarios ---- */

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"
static const struct scenario {
    const char *text;
    struct step before[8];
    struct step cpu[CPUS][STEPS];
    unsigned bound; /* preemptions */
} scenarios[] = {
    {"bind while the other side sends",
     {{ALLOC, 1, 2}},
     {{{TELL, 1, 1}}, {{BIND_LOOK, 2, 1, 1}}},
     3},
    {"bind while the other side sends, a sibling looks",
     {{ALLOC, 1, 2}},
     {{{TELL, 1, 1}}, {{BIND_LOOK, 2, 1, 1}}, {{LOOK, 2, 1}}},
     3},
    {"both ends close, somebody sends",
     {{ALLOC, 1, 2}, {BIND, 2, 1, 1}},
     {{{CLOSE, 1, 1}, {ALLOC, 1, 2}}, {{CLOSE, 2, 1}}, {{SEND, 1, 1}, {SEND, 1, 1}}},
     2},
    {"close, and the port becomes another",
     {{ALLOC, 1, 2}, {BIND, 2, 1, 1}},
     {{{SEND, 1, 1}, {SEND, 1, 1}}, {{CLOSE, 2, 1}, {ALLOC, 2, 0}, {SEND, 2, 1}}},
     3},
    {"two siblings close, one binds again elsewhere",
     {{ALLOC, 1, 2}, {BIND, 2, 1, 1}, {ALLOC, 0, 2}},
     {{{CLOSE, 2, 1}, {BIND, 2, 0, 1}}, {{CLOSE, 2, 1}}, {{CLOSE, 1, 1}}},
     2},
    {"each binds to the other",
     {{ALLOC, 1, 2}, {ALLOC, 2, 1}},
     {{{BIND, 1, 2, 1}, {CLOSE, 1, 1}}, {{BIND, 2, 1, 1}, {CLOSE, 2, 1}}},
     3},
    {"two bind to one",
     {{ALLOC, 1, 2}},
     {{{BIND, 2, 1, 1}}, {{BIND, 2, 1, 1}}, {{CLOSE, 1, 1}}},
     2},
    {"within one domain",
     {{ALLOC, 1, 1}, {BIND, 1, 1, 1}},
     {{{CLOSE, 1, 1}, {ALLOC, 1, 1}}, {{CLOSE, 1, 2}, {SEND, 1, 1}}, {{SEND, 1, 2}}},
     2},
    {"death of who is sent to",
     {{ALLOC, 1, 2}, {BIND, 2, 1, 1}},
     {{{DIE, 2}}, {{SEND, 1, 1}, {SEND, 1, 1}}},
     3},
    {"death while ports are made in it",
     {{ALLOC, 1, 2}},
     {{{DIE, 2}}, {{ALLOC, 2, 0}, {ALLOC, 2, 0}}},
     3},
    {"death while others bind to it",
     {{ALLOC, 2, 1}, {ALLOC, 2, 0}},
     {{{DIE, 2}}, {{BIND, 1, 2, 1}, {SEND, 1, 1}}, {{BIND, 0, 2, 2}}},
     2},
    {"both ends die", {{ALLOC, 1, 2}, {BIND, 2, 1, 1}}, {{{DIE, 2}}, {{DIE, 1}}}, 3},
    {"death while it is written to",
     {{ALLOC, 2, 1}},
     {{{DIE, 2}}, {{CLOCK, 2}, {CLOCK, 2}}},
     3},
    {"reset while ports are bound",
     {{ALLOC, 1, 2}, {BIND, 2, 1, 1}, {ALLOC, 1, 2}},
     {{{RESET, 2}}, {{BIND, 2, 1, 2}, {SEND, 2, 1}}, {{CLOSE, 1, 1}}},
     2},
    {"a virq's domain dies",
     {{BIND_VIRQ, 2}, {BIND_VIRQ, 0}},
     {{{DIE, 2}}, {{HAND_VIRQ, 2}, {SEND_VIRQ}}, {{SEND_VIRQ}}},
     2},
    {"a pirq bound and closed",
     {{ALLOC, 0, 1}},
     {{{PIRQ, 0}, {CLOSE, 0, 2}}, {{CLOSE, 0, 2}, {PIRQ, 0}}},
     3},
};
#pragma GCC diagnostic pop

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
    events_switch(&explorer_sp, co[c].sp);
    in_coroutine = false;
    if (broken)
        longjmp(found, 1);
    if (!changed)
        return;
    for (unsigned other = 0; other < nr_cpus; other++)
        if (other != c)
            co[other].looks = 0;
}

static bool may_run(unsigned c)
{
    return co[c].phase != OVER && co[c].looks < LOOKS;
}

/*
 * Who may run next: the one who runs first, unless he waits; the others only if he may be
 * preempted.
 */
static unsigned options(unsigned running, bool may_preempt, u8 *cpu)
{
    bool goes_on = co[running].phase == IN_HYPERCALL;
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

static bool is_over(void)
{
    for (unsigned c = 0; c < nr_cpus; c++)
        if (co[c].phase != OVER)
            return false;
    return true;
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
            fprintf(stderr, "events: too deep\n");
            exit(1);
        }
        path[path_len++] = now;
    }
    now = path[(*depth)++];
    return now.cpu[now.tried];
}

/* One schedule: the choices in path[], then always the first. */
static void one_schedule(const struct scenario *s)
{
    unsigned depth = 0, running = 0, left = s->bound, steps = 0;

    nr_schedules++;
    for (unsigned c = 0; c < nr_cpus; c++)
        prepare(c, s->cpu[c]);
    build_world(s->before);
    while (!is_over()) {
        unsigned next = choose(&depth, running, left);

        if (next != running && co[running].phase == IN_HYPERCALL)
            left--;
        running = next;
        run(next);
        if (++steps > STEPS_MAX)
            violate("an operation does not end");
    }
    check_world();
}

/* The next one in path[]; false: all have been tried. */
static bool advance(void)
{
    for (; path_len; path_len--)
        if (++path[path_len - 1].tried < path[path_len - 1].n)
            return true;
    return false;
}

static const char *explore(const struct scenario *s)
{
    nr_schedules = nr_steps = path_len = 0;
    broken = NULL;
    for (nr_cpus = 0; nr_cpus < CPUS && s->cpu[nr_cpus][0].op; nr_cpus++)
        ;
    if (!setjmp(found))
        do
            one_schedule(s);
        while (advance());
    if (broken || MUTANT == M_NONE)
        printf("# %s: %s; %lu schedules, %lu steps\n", s->text,
               broken ? broken : "no rule broken", nr_schedules, nr_steps);
    return broken;
}

int main(void)
{
    static const struct {
        const char *name, *text;
    } mutants[] = {MUTANTS(MUTANT_TEXT)};
    const char *rule = NULL;
    clock_t start = clock();
    bool ok;

    for (unsigned i = 0; i < ARRAY_SIZE(scenarios) && !rule; i++)
        rule = explore(&scenarios[i]);
    printf("1..1\n");
    ok = (rule == NULL) == (MUTANT == M_NONE);
    printf("%s 1 - events %s: %s\n", ok ? "ok" : "not ok", mutants[MUTANT].name,
           mutants[MUTANT].text);
    printf("# %.1f s\n", (double)(clock() - start) / CLOCKS_PER_SEC);
    return !ok;
}
