/*
 * An interleaving explorer for the table of flows: the shipped core/vfr_flow*.c on two or three
 * CPUs, each a coroutine that gives way before it tries a bucket's lock, while it holds one, and when
 * it has given one back. All schedules with at most so many preemptions are tried, each from the start.
 *
 * A bucket is locked by one CPU at a time; a flow that nothing ends is found by every packet of
 * it, whatever moves meanwhile; no answered flow goes for a new one; what is killed is gone. In the
 * end each packet that passed is counted once, and what flow_world.h checks holds.
 *
 * A preemption is a switch away from a CPU in the middle of an operation that could have gone on;
 * a CPU that waits, or is between operations, is left for free.
 */
#include <stdio.h>
#include <stdlib.h>
#include <setjmp.h>
#include <time.h>

#include "flow_world.h"

/* ---- coroutines ---- */

#define STACK_SIZE 32768
#define CPUS       3
#define STEPS      4

void flows_switch(void **save, void *load);
asm(".text\n"
    "flows_switch:\n"
    "  push %rbp; push %rbx; push %r12; push %r13; push %r14; push %r15\n"
    "  mov %rsp, (%rdi)\n"
    "  mov %rsi, %rsp\n"
    "  pop %r15; pop %r14; pop %r13; pop %r12; pop %rbx; pop %rbp\n"
    "  ret\n");

enum phase { AT_REST, IN_THE_MIDDLE, WAITING, OVER };

/*
 * Who has looked that often since another CPU changed something need not look again. What a CPU
 * does that waited changes something once it gets through: two that wait may not keep each other
 * looking while a third, who could go on, does not.
 */
#define LOOKS 2

enum what { NOTHING, PACKET, SWEEP, KILL, REKEY, RULES };

struct step {
    enum what what;
    u8 number; /* PACKET: of the conversation; KILL: the interface; SWEEP: seconds later */
    bool back, may_miss;
    u8 tcp_flags;
};

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
static bool in_coroutine, table_locked, changed;
static unsigned me, nr_cpus;
static jmp_buf found;

static void leave(enum phase phase)
{
    if (!in_coroutine)
        return;
    co[me].phase = phase;
    flows_switch(&co[me].sp, explorer_sp);
}

static void wait_for_change(void)
{
    if (!in_coroutine)
        violate("busy, with nobody else there");
    co[me].looks++;
    co[me].waited = true;
    leave(WAITING);
}

void violate(const char *rule)
{
    broken = rule;
    if (in_coroutine)
        leave(IN_THE_MIDDLE);
    longjmp(found, 1);
}

bool world_try_lock(u32 *word)
{
    bool had;

    leave(IN_THE_MIDDLE);
    had = !*word;
    *word = 1;
    if (had) {
        changed = true;
        leave(IN_THE_MIDDLE);
    }
    return had;
}

void world_unlock(u32 *word)
{
    if (!*word)
        violate("a lock is given back twice");
    *word = 0;
    changed = true;
    leave(IN_THE_MIDDLE);
}

/* The lock of whoever may call functions marked (T). */
static void lock_table(void)
{
    leave(IN_THE_MIDDLE);
    while (table_locked)
        wait_for_change();
    table_locked = changed = true;
}

static void unlock_table(void)
{
    table_locked = false;
    newcomer = VFR_NOBODY;
    changed = true;
    leave(IN_THE_MIDDLE);
}

/* ---- operations ---- */

static int begin_flow(const struct vfr_flow_key *key, const struct vfr_flow_use *use)
{
    const struct vfr_flow_new new = {.use = *use, .verdict = {.generation = use->oldest}};
    u32 index;
    int rc;

    lock_table();
    newcomer = use->in;
    rc = vfr_flow_create(&w.t, key, &new, &index);
    w.counted += rc == VFR_R_OK;
    check_quotas();
    unlock_table();
    return rc;
}

static void confirm(const struct vfr_flow_key *key, u32 generation)
{
    const struct vfr_flow_verdict verdict = {.generation = generation};
    int rc;

    lock_table();
    rc = vfr_flow_confirm(&w.t, key, &verdict);
    unlock_table();
    if (rc)
        wait_for_change();
}

static void send(const struct step *step)
{
    const struct packet p = {step->number, step->back, step->tcp_flags, 0};
    const struct vfr_tuple x = tuple_of(&p);
    const struct vfr_flow_use use = use_of(&p);
    enum vfr_flow_result r = VFR_FLOW_BUSY;
    struct vfr_flow_key key;
    struct vfr_flow_hit hit;
    int rc = -XEN_EAGAIN;

    while (rc == -XEN_EAGAIN) {
        vfr_flow_key(&w.t, &x, 0, 0, &key);
        leave(IN_THE_MIDDLE);
        r = vfr_flow_lookup(&w.t, &key, &use, &hit);
        if (r == VFR_FLOW_HIT) {
            w.counted++;
            return;
        }
        if (r == VFR_FLOW_STALE)
            confirm(&key, use.oldest);
        else if (r == VFR_FLOW_BUSY)
            wait_for_change();
        else if (!step->may_miss)
            violate("a flow was there and was not found");
        else if ((rc = begin_flow(&key, &use)) == -XEN_EAGAIN)
            wait_for_change();
    }
}

static void kill(u16 vif)
{
    const struct vfr_flow_match match = {.vif = vif};
    const u64 last = w.t.begun;
    bool done = false;
    u32 at = 0;

    while (!done) {
        lock_table();
        done = vfr_flow_kill_some(&w.t, &match, &at, SLOTS);
        unlock_table();
        if (!done)
            wait_for_change();
    }
    for (u32 i = 0; i < w.t.fresh; i++)
        if (w.flow[i].state != VFR_FLOW_FREE && w.flow[i].id <= last &&
            (w.flow[i].vif[0] == vif || w.flow[i].vif[1] == vif))
            violate("a flow outlives a kill");
}

static void rekey(void)
{
    bool done = false;

    lock_table();
    (void)!vfr_flow_rekey(&w.t, secrets[!secret_of(w.t.epoch)]);
    unlock_table();
    while (!done) {
        lock_table();
        done = vfr_flow_rekey_step(&w.t, 1000);
        unlock_table();
        if (!done)
            wait_for_change();
    }
}

static void perform(const struct step *step)
{
    switch (step->what) {
    case PACKET:
        send(step);
        break;
    case SWEEP:
        w.now += step->number * SECOND;
        lock_table();
        (void)vfr_flow_sweep(&w.t, w.now, LIVE);
        unlock_table();
        break;
    case KILL:
        kill(step->number);
        break;
    case REKEY:
        rekey();
        break;
    case RULES:
        w.generation++;
        break;
    case NOTHING:
        break;
    }
}

static void body(void)
{
    for (; co[me].next->what; co[me].next++) {
        perform(co[me].next);
        co[me].waited = false;
        changed = true;
        if (co[me].next[1].what)
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

#define NEW(n)                                                                                 \
    {                                                                                          \
        PACKET, n, false, true, 0                                                              \
    }
#define ANSWER(n)                                                                              \
    {                                                                                          \
        PACKET, n, true, false, 0                                                              \
    }
#define MORE(n)                                                                                \
    {                                                                                          \
        PACKET, n, false, false, 0                                                             \
    }
#define SYN(n)                                                                                 \
    {                                                                                          \
        PACKET, n, false, true, TCP_SYN                                                        \
    }
#define LATE(n)                                                                                \
    {                                                                                          \
        PACKET, n, true, true, 0                                                               \
    } /* its flow may be gone: then it begins one */

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"
static const struct scenario {
    const char *text;
    u32 quota[VIFS];
    struct step before[4];
    struct step cpu[CPUS][STEPS];
    unsigned bound; /* preemptions */
} scenarios[] = {
    {"both sides begin at once", {2, 2, 2}, {{0}}, {{NEW(1), MORE(1)}, {LATE(1)}}, 4},
    {"two CPUs begin the same, a third another",
     {2, 2, 2},
     {{0}},
     {{NEW(1)}, {NEW(1), NEW(2)}, {NEW(2)}},
     2},
    {"packets of an open flow on two CPUs while tables move",
     {2, 2, 2},
     {NEW(1), ANSWER(1)},
     {{MORE(1), MORE(1)}, {ANSWER(1)}, {{REKEY}}},
     3},
    {"tables move twice",
     {2, 2, 2},
     {NEW(1), ANSWER(1)},
     {{MORE(1), ANSWER(1)}, {{REKEY}, {REKEY}}},
     4},
    {"a flow begins while tables move",
     {2, 2, 2},
     {NEW(2)},
     {{NEW(1), MORE(1)}, {LATE(1)}, {{REKEY}}},
     2},
    {"a question is answered while it has to go for another",
     {1, 2, 2},
     {NEW(1)},
     {{NEW(2)}, {LATE(1), LATE(1)}},
     4},
    {"two new ones for one place", {1, 2, 2}, {NEW(1)}, {{NEW(2)}, {SYN(0)}, {LATE(1)}}, 2},
    {"a packet comes when its flow's time is over",
     {2, 2, 2},
     {NEW(1), ANSWER(1)},
     {{NEW(1)}, {{SWEEP, 170}, {SWEEP, 20}}, {LATE(1)}},
     3},
    {"an interface goes while packets come",
     {2, 2, 2},
     {NEW(1), ANSWER(1), NEW(3)},
     {{LATE(1), LATE(1)}, {{KILL, 0}}, {NEW(3)}},
     3},
    {"an interface goes while tables move",
     {2, 2, 2},
     {NEW(1), NEW(2)},
     {{{REKEY}}, {{KILL, 0}}, {LATE(1)}},
     2},
    {"new rules on two CPUs",
     {2, 2, 2},
     {NEW(1), ANSWER(1)},
     {{{RULES}, MORE(1)}, {ANSWER(1), ANSWER(1)}, {{REKEY}}},
     2},
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

static void run(unsigned c)
{
    nr_steps++;
    me = c;
    changed = co[c].phase == AT_REST;
    in_coroutine = true;
    flows_switch(&explorer_sp, co[c].sp);
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
            fprintf(stderr, "flows: too deep\n");
            exit(1);
        }
        path[path_len++] = now;
    }
    now = path[(*depth)++];
    return now.cpu[now.tried];
}

static bool is_finished(void)
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
    table_locked = false;
    build(s->quota);
    for (const struct step *step = s->before; step->what; step++)
        perform(step);
    for (unsigned c = 0; c < nr_cpus; c++)
        prepare(c, s->cpu[c]);
    while (!is_finished()) {
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

static void explore(const struct scenario *s)
{
    nr_schedules = nr_steps = path_len = 0;
    for (nr_cpus = 0; nr_cpus < CPUS && s->cpu[nr_cpus][0].what; nr_cpus++)
        ;
    if (!setjmp(found))
        do
            one_schedule(s);
        while (next_schedule());
    in_coroutine = false;
    printf("# %s: %s; %lu schedules, %lu steps\n", s->text, broken ? broken : "no rule broken",
           nr_schedules, nr_steps);
}

int main(void)
{
    clock_t start = clock();

    for (unsigned i = 0; i < ARRAY_SIZE(scenarios) && !broken; i++)
        explore(&scenarios[i]);
    printf("%sok 1 - flows: CPUs interleaved\n# %.1f s\n1..1\n", broken ? "not " : "",
           (double)(clock() - start) / CLOCKS_PER_SEC);
    return broken != NULL;
}
