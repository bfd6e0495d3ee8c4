/*
 * An interleaving explorer for the shipped take, drop, pin and flush code: two or three CPUs,
 * each a coroutine that gives way before every atomic operation, do whatever guests can ask for;
 * all schedules with at most so many preemptions are tried, and after each step
 *
 *  - uses that were given are of one type, counted, and of a frame that is marked valid;
 *  - no CPU that runs a guest has a writable translation of a table, valid or being validated,
 *    nor walks a writable frame as a table;
 *  - a frame is allocated only when no CPU that runs a guest remembers it;
 *  - somebody can go on, and counts are exact whenever no hypercall is under way.
 *
 * The CPUs' translations are sets that hold whatever they may, at the first moment. A preemption
 * is a switch away from a CPU in the middle of a hypercall that could have gone on; a CPU that
 * waits for another one, or is in its guest, is left for free. States (the world, and the
 * coroutines' stacks in use) are remembered by a 60-bit hash.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <setjmp.h>
#include <time.h>

#include "coroutine.h"
#include "explorer_world.h"

#ifndef BOUND
#define BOUND 3
#endif

/* ---- coroutines: a stack each; what is not on it is in struct state ---- */

#define STACK_SIZE 4096

enum phase {
    IN_GUEST, /* or idle; interrupts are on */
    IN_HYPERCALL,
    WAITING, /* for a change made by another CPU */
};

/* Who has looked that often since another CPU changed something need not look again. */
#define LOOKS 2

struct coroutine {
    void *sp;
    u8 phase;
    u8 op;
    u8 left;  /* operations it may still begin */
    u8 looks; /* WAITING: since the last change */
};

static struct coroutine co[CPUS];
static u8 stacks[CPUS][STACK_SIZE] __attribute__((aligned(64)));
static void *explorer_sp;

static void leave(enum phase phase)
{
    co[me].phase = (u8)phase;
    coroutine_switch(&co[me].sp, explorer_sp);
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

static const char *broken;
static bool in_coroutine;
static jmp_buf found;

void violate(const char *rule)
{
    broken = rule;
    if (in_coroutine)
        leave(IN_HYPERCALL);
    longjmp(found, 1);
}

static void body(void)
{
    perform((enum op)co[me].op);
    leave(IN_GUEST);
}

/* A stack without traces of what it was used for: the next operation begins on it. */
static void prepare(unsigned c, u8 left)
{
    memset(stacks[c], 0, STACK_SIZE);
    co[c] = (struct coroutine){
        .sp = coroutine_begin(stacks[c] + STACK_SIZE, body), .left = left, .phase = IN_GUEST};
}

/* ---- states ---- */

static size_t stack_used(unsigned c)
{
    return (size_t)(stacks[c] + STACK_SIZE - (u8 *)co[c].sp);
}

/* Depth first search keeps a copy for each level. */
static u8 *arena, *arena_end;

struct snapshot {
    struct world w;
    struct coroutine co[CPUS];
    u64 clock;
};

static u8 *save(void)
{
    u8 *p = arena;
    struct snapshot *s = (struct snapshot *)p;

    if (arena + sizeof(*s) + sizeof(stacks) > arena_end) {
        fprintf(stderr, "explorer: too deep\n");
        exit(1);
    }
    s->w = w;
    memcpy(s->co, co, sizeof(co));
    s->clock = flush_clock;
    p += sizeof(*s);
    for (unsigned c = 0; c < nr_cpus; c++) {
        memcpy(p, co[c].sp, stack_used(c));
        p += stack_used(c);
    }
    arena += (size_t)(p - arena + 63) & ~63UL;
    return (u8 *)s;
}

static void restore(const u8 *p)
{
    const struct snapshot *s = (const struct snapshot *)p;

    w = s->w;
    memcpy(co, s->co, sizeof(co));
    flush_clock = s->clock;
    p += sizeof(*s);
    for (unsigned c = 0; c < nr_cpus; c++) {
        memcpy(co[c].sp, p, stack_used(c));
        p += stack_used(c);
    }
}

static bool is_stamped(int f)
{
    return !(w.frames[f].typ & TYP_INUSE) && typ_type(w.frames[f].typ);
}

/*
 * Only the order of times matters. While no hypercall is under way none is on a stack, and they
 * can be numbered anew, from 0.
 */
static void renumber_times(void)
{
    u64 *times[CPUS + FRAMES + 2], stamps[FRAMES];
    unsigned n = 0;

    times[n++] = &flush_clock;
    times[n++] = &w.freed_at;
    for (unsigned c = 0; c < nr_cpus; c++)
        times[n++] = &w.cpu[c].flushed_at;
    for (int f = 0; f < FRAMES; f++) {
        stamps[f] = typ_stamp(w.frames[f].typ);
        if (is_stamped(f))
            times[n++] = &stamps[f];
    }
    for (u64 rank = 0, next = 0; next != ~0UL; rank++) {
        next = ~0UL;
        for (unsigned i = 0; i < n; i++)
            if (*times[i] >= rank)
                next = MIN(next, *times[i]);
        for (unsigned i = 0; i < n; i++)
            if (*times[i] == next)
                *times[i] = rank;
    }
    for (int f = 0; f < FRAMES; f++)
        if (is_stamped(f))
            w.frames[f].typ = typ_type(w.frames[f].typ) | stamps[f] << TYP_SHIFT;
}

static u64 mix(u64 h, const void *data, size_t size)
{
    const u64 *p = data;

    for (size_t i = 0; i < size / 8; i++) {
        h = (h ^ p[i]) * 0x9e3779b97f4a7c15UL;
        h ^= h >> 29;
    }
    return h;
}

_Static_assert(sizeof(struct world) % 8 == 0, "hashed by words");

/* 'running' matters only in the middle of a hypercall. */
static u64 hash_state(unsigned running)
{
    u64 h = flush_clock << 8 | (co[running].phase == IN_HYPERCALL ? running + 1 : 0);

    h = mix(h, &w, sizeof(w));
    for (unsigned c = 0; c < nr_cpus; c++) {
        u64 rest = stack_used(c) << 32 | (u64)co[c].looks << 24 | (u64)co[c].phase << 16 |
                   (u64)co[c].op << 8 | co[c].left;

        h = mix(h, &rest, 8);
        h = mix(h, co[c].sp, stack_used(c));
    }
    return h ^ h >> 32;
}

/* A set of hashes, each with the most preemptions that were left when its state was visited. */
#define SEEN_BITS (MUTANT == M_NONE ? 24 : 21)

static u64 *seen;
static u64 nr_states, nr_steps, all_steps;

static bool is_new(unsigned running, unsigned budget)
{
    u64 h = hash_state(running) | 15, i = h >> (64 - SEEN_BITS);

    for (; seen[i]; i = (i + 1) & (BIT(SEEN_BITS) - 1)) {
        if ((seen[i] | 15) != h)
            continue;
        if ((seen[i] & 15) >= budget)
            return false;
        seen[i] = (h & ~15UL) | budget;
        return true;
    }
    if (++nr_states > BIT(SEEN_BITS) - BIT(SEEN_BITS - 3)) {
        fprintf(stderr, "explorer: more states than fit\n");
        exit(1);
    }
    seen[i] = (h & ~15UL) | budget;
    return true;
}

/* ---- the search ---- */

/* More than any hypercall needs that nobody interferes with. */
#define STEPS_MAX 1000

static u32 ops_used;

static void check_world(void)
{
    bool quiet = true;

    for (unsigned c = 0; c < nr_cpus; c++)
        quiet &= co[c].phase == IN_GUEST;
    for (int f = 0; f < FRAMES; f++) {
        check_frame(f);
        if (quiet)
            check_counts(f);
    }
    if (quiet)
        renumber_times();
}

/* One step of CPU c. */
static void run(unsigned c)
{
    struct world before = w;
    u64 clock_before = flush_clock;

    nr_steps++;
    me = c;
    memset(no_counters, 0, sizeof(no_counters)); /* a copy may stay on a stack */
    in_coroutine = true;
    coroutine_switch(&explorer_sp, co[c].sp);
    in_coroutine = false;
    if (broken)
        longjmp(found, 1);
    learn();
    check_world();
    if (co[c].phase == IN_GUEST)
        prepare(c, co[c].left);
    if (!memcmp(&w, &before, sizeof(w)) && flush_clock == clock_before)
        return;
    for (unsigned other = 0; other < nr_cpus; other++)
        if (other != c)
            co[other].looks = 0;
}

static void visit(unsigned running, unsigned budget);

static void go_on(unsigned c, unsigned budget, const u8 *at)
{
    unsigned steps = 0;

    do {
        run(c);
        if (++steps > STEPS_MAX)
            violate("a hypercall does not end");
    } while (!budget && co[c].phase == IN_HYPERCALL);
    visit(c, budget);
    restore(at);
}

/* Everything that a CPU in its guest, or idle, can begin; how many. */
static unsigned begin_all(unsigned c, unsigned budget, const u8 *at)
{
    unsigned n = 0;

    if (w.interrupt[c]) {
        co[c].op = OP_INTERRUPT;
        go_on(c, budget, at);
        n++;
    }
    if (w.cpu[c].idle && !w.in_guest[c]) {
        co[c].op = OP_RESUME;
        go_on(c, budget, at);
        return n + 1;
    }
    for (unsigned op = 0; op < NR_OPS && co[c].left; op++) {
        if (!is_possible(c, (enum op)op, ops_used))
            continue;
        co[c].op = (u8)op;
        co[c].left--;
        go_on(c, budget, at);
        n++;
    }
    return n;
}

static void visit(unsigned running, unsigned budget)
{
    bool in_the_middle = co[running].phase == IN_HYPERCALL, stuck = false;
    unsigned n = 0;
    u8 *at;

    if (!is_new(running, budget))
        return;
    at = save();
    for (unsigned c = 0; c < nr_cpus; c++) {
        unsigned left = budget - (in_the_middle && c != running);

        stuck |= co[c].phase == WAITING;
        if (left > budget)
            continue;
        if (co[c].phase == IN_GUEST) {
            n += begin_all(c, left, at);
        } else if (co[c].phase == IN_HYPERCALL || co[c].looks < LOOKS) {
            go_on(c, left, at);
            n++;
        }
    }
    if (!n && stuck && !in_the_middle)
        violate("CPUs wait for each other for ever");
    arena = at;
}

/* ---- runs ---- */

#define USES   (BIT(OP_MAP) | BIT(OP_UNMAP))
#define L1     (BIT(OP_PIN_L1) | BIT(OP_UNPIN))
#define PINS   (L1 | BIT(OP_PIN_L2))
#define NESTED (BIT(OP_PIN_NESTED) | BIT(OP_UNPIN_NESTED))
#define FLUSH  BIT(OP_FLUSH)
#define FREES  (BIT(OP_GET) | BIT(OP_PUT) | BIT(OP_FREE) | BIT(OP_ALLOC))
#define IDLE   BIT(OP_IDLE)
#define SWITCH BIT(OP_SWITCH)

static const struct config {
    const char *text;
    u32 ops;
    u8 bound;
    u8 cpus;
    u8 left[CPUS];
    u8 domain[CPUS];
    u8 entries; /* of domain 1, at first */
} configs[] = {
    {"2 CPUs", USES | PINS | FLUSH, 3, 2, {2, 2}, {1, 1}, 1},
    {"2 CPUs, longer", USES | L1 | FLUSH, 3, 2, {3, 2}, {1, 1}, 1},
    {"2 CPUs, longest", USES | L1 | FLUSH, 3, 2, {3, 3}, {1, 1}, 0},
    {"frames freed", USES | L1 | FREES | FLUSH | SWITCH, 3, 2, {3, 2}, {1, 2}, 1},
    {"CPUs idle", USES | L1 | IDLE | SWITCH, 3, 2, {3, 2}, {1, 1}, 1},
    {"a table in a table", USES | L1 | NESTED, 3, 2, {2, 2}, {1, 1}, 0},
    {"3 CPUs", USES | L1, 3, 3, {1, 1, 1}, {1, 1, 1}, 1},
    {"3 CPUs, longer", USES | L1, 2, 3, {2, 1, 1}, {1, 1, 1}, 1},
};

static void begin(const struct config *k)
{
    memset(&w, 0, sizeof(w));
    flush_clock = 1;
    broken = NULL;
    memset(co, 0, sizeof(co));
    nr_cpus = k->cpus;
    for (unsigned c = 0; c < nr_cpus; c++) {
        cpus[c] = &w.cpu[c];
        w.cpu[c] = (struct cpu){.counters = no_counters, .id = c, .apic_id = c};
        w.cpu[c].guest_owner = w.cr3[c] = k->domain[c];
        w.in_guest[c] = true;
        prepare(c, k->left[c]);
    }
    for (int f = 0; f < FRAMES; f++)
        w.frames[f].ref = REF_OWNER(1) | REF_ALLOCATED | 1;
    for (w.entries[1] = 0; w.entries[1] < k->entries; w.entries[1]++) {
        w.held[0][TYPE_WRITABLE]++;
        w.frames[0].typ =
            (u64)w.held[0][TYPE_WRITABLE] << TYP_SHIFT | TYP_INUSE | TYP_VALID | TYPE_WRITABLE;
        w.frames[0].ref = REF_OWNER(1) | REF_ALLOCATED | 2;
    }
    learn();
    ops_used = k->ops;
}

/* NULL, or the rule that some schedule breaks. */
static const char *explore(const struct config *k, unsigned bound, u8 *memory)
{
    memset(seen, 0, sizeof(*seen) << SEEN_BITS);
    nr_states = nr_steps = 0;
    arena = memory;
    begin(k);
    if (!setjmp(found))
        visit(0, bound);
    if (broken || MUTANT == M_NONE)
        printf("# %s, %u preemptions: %s; %lu states, %lu steps\n", k->text, bound,
               broken ? broken : "no rule broken", nr_states, nr_steps);
    all_steps += nr_steps;
    return broken;
}

int main(void)
{
    static const struct {
        const char *name, *text;
    } mutants[] = {MUTANTS(MUTANT_TEXT)};
    const size_t memory_size = MIB(64);
    u8 *memory = malloc(memory_size);
    const char *rule = NULL;
    clock_t start = clock();
    bool ok;

    seen = malloc(sizeof(*seen) << SEEN_BITS);
    if (!memory || !seen)
        return 1;
    arena_end = memory + memory_size;
    for (unsigned bound = 0; bound <= BOUND && !rule; bound++)
        for (unsigned i = 0; i < ARRAY_SIZE(configs) && !rule; i++)
            if (bound <= configs[i].bound)
                rule = explore(&configs[i], bound, memory);
    printf("1..1\n");
    ok = (rule == NULL) == (MUTANT == M_NONE);
    printf("%s 1 - explorer %s: %s\n", ok ? "ok" : "not ok", mutants[MUTANT].name,
           mutants[MUTANT].text);
    printf("# %lu steps, %.1f s\n", all_steps, (double)(clock() - start) / CLOCKS_PER_SEC);
    return !ok;
}
