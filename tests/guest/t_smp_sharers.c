/*
 * What domains cost each other. A domain of four vcpus that do nothing but work stands beside one
 * that does its worst, and gets as much done as beside one that only works too. Two domains whose
 * vcpus spin at barriers stand beside each other without and with gangs. The machine's clock
 * counts instructions, so the figures are exact.
 */
#include "load.h"

#define ALLOWED 20 /* permille of its share that a domain may lose to how another behaves */

static struct load a, b; /* the one that misbehaves, and its neighbour */

static u64 rounds_in(const struct load *l, u64 ns)
{
    u64 before = load_rounds(l), begin = clock_ns();

    load_doze(ns);
    return (load_rounds(l) - before) * ns / (clock_ns() - begin);
}

static void modes(unsigned of_a, unsigned of_b)
{
    load_set(&a, of_a, 0);
    load_set(&b, of_b, 0);
}

/* What b had: permille of the half of the machine that is its share, and rounds in 1 s of that. */
struct got {
    u64 share, pace;
};

static struct got beside(enum load_job job)
{
    struct serai_sched_domain f;
    u64 begin, ran, rounds;
    struct got got;

    load_job(&a, job);
    load_doze(20 * MS);
    begin = clock_ns();
    load_figures(&b, &f);
    ran = f.time[STATE_RUNNING];
    rounds = load_rounds(&b);
    load_doze(400 * MS);
    rounds = load_rounds(&b) - rounds;
    load_figures(&b, &f);
    ran = f.time[STATE_RUNNING] - ran;
    got.share = ran * 2000 / LOAD_CPUS / (clock_ns() - begin);
    got.pace = rounds * 1000 / (ran / MS + 1);
    return got;
}

static const struct {
    const char *what;
    enum load_job job;
    unsigned gang;
} sharers[] = {
    {"sends itself events", JOB_STORM, GANG_OFF},
    {"polls a pending port with events off", JOB_POLL, GANG_OFF},
    {"naps for 20 us at a time", JOB_NAPS, GANG_OFF},
    {"is always interrupted by its timer", JOB_TIMER, GANG_OFF},
    {"yields all the time", JOB_YIELD, GANG_OFF},
    {"sends its siblings events and NMIs", JOB_BOTHER, GANG_OFF},
    {"looks as if it needed windows", JOB_HANDOVER, GANG_AUTO},
    {"spins, and has windows", JOB_SPIN, GANG_ON},
    {"naps, and has windows", JOB_NAPS, GANG_ON},
};

/*
 * How many rounds a CPU makes in its time depends in the emulator on what the other CPUs do: whose turn
 * ends early, or who sleeps, leaves more to them. So the pace is only shown.
 */
static void bad_neighbours(void)
{
    struct got fair, got;

    modes(GANG_OFF, GANG_OFF);
    load_job(&b, JOB_SPIN);
    fair = beside(JOB_SPIN);
    note("beside one that works too: %lu permille of its share, %lu rounds a second",
         fair.share, fair.pace);
    for (unsigned i = 0; i < sizeof(sharers) / sizeof(sharers[0]); i++) {
        modes(sharers[i].gang, GANG_OFF);
        got = beside(sharers[i].job);
        ok(got.share >= 1000 - ALLOWED,
           "%lu permille of its share, at %lu of its pace, beside one that %s", got.share,
           got.pace * 1000 / fair.pace, sharers[i].what);
    }
}

/* Rounds of both together, so that it does not matter whose windows are at the end. */
static u64 at_barriers(unsigned gang, u64 ns)
{
    u64 before;

    modes(gang, gang);
    load_job(&a, JOB_BARRIER);
    load_job(&b, JOB_BARRIER);
    load_doze(30 * MS);
    before = load_rounds(&a) + load_rounds(&b);
    load_doze(ns);
    return load_rounds(&a) + load_rounds(&b) - before;
}

static void barriers(void)
{
    u64 alone, off, on;

    load_job(&a, JOB_REST);
    load_job(&b, JOB_BARRIER);
    modes(GANG_OFF, GANG_OFF);
    load_doze(20 * MS);
    alone = rounds_in(&b, 160 * MS);
    off = at_barriers(GANG_OFF, 160 * MS);
    on = at_barriers(GANG_ON, 160 * MS);
    note("barriers in 160 ms, each of 4 vcpus: one domain alone %lu, two without gangs %lu, "
         "with gangs %lu",
         alone / 4, off / 4, on / 4);
    ok(on >= 4 * off, "gangs: %lu.%lu times as many", on / off, on * 10 / off % 10);
    ok(on * 10 >= alone * 9, "gangs: %lu permille of what one domain alone does",
       on * 1000 / alone);
}

void test_smp_sharers(void)
{
    load_make(&a, 4);
    load_make(&b, 4);
    bad_neighbours();
    barriers();
    load_end(&a);
    load_end(&b);
}
