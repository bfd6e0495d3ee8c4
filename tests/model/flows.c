/*
 * An interleaving explorer for the table of flows: the shipped core/vfr_flow*.c on two or three
 * CPUs, each a coroutine that gives way before it tries a bucket's lock, while it holds one, and when
 * it has given one back. All schedules with at most so many preemptions are tried, each from the start.
 *
 * A bucket is locked by one CPU at a time; a flow that nothing ends is found by every packet of
 * it, whatever moves meanwhile; no answered flow goes for a new one; what is killed is gone. In the
 * end each packet that passed is counted once, and what flow_world.h checks holds.
 */
#include <time.h>

#include "flow_world.h"

#define STACK_SIZE 32768
#define CPUS       3
#define STEPS      4

enum what { NOTHING, PACKET, SWEEP, KILL, REKEY, RULES };

struct step {
    enum what what;
    u8 number; /* PACKET: of the conversation; KILL: the interface; SWEEP: seconds later */
    bool back, may_miss;
    u8 tcp_flags;
};

static bool table_locked, changed;
static unsigned me, nr_cpus;

#include "schedules.h"

static void wait_for_change(void)
{
    if (!in_coroutine)
        violate("busy, with nobody else there");
    co[me].looks++;
    co[me].waited = true;
    leave(WAITING);
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

static bool is_step(const struct step *s)
{
    return s->what;
}

static void perform_step(const struct step *s)
{
    perform(s);
    changed = true;
}

static void begin_world(const struct scenario *s)
{
    table_locked = false;
    build(s->quota);
    for (const struct step *step = s->before; is_step(step); step++)
        perform(step);
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
static const struct scenario scenarios[] = {
    {"both sides begin at once", {{0}}, {{NEW(1), MORE(1)}, {LATE(1)}}, 4, {2, 2, 2}},
    {"two CPUs begin the same, a third another",
     {{0}},
     {{NEW(1)}, {NEW(1), NEW(2)}, {NEW(2)}},
     2,
     {2, 2, 2}},
    {"packets of an open flow on two CPUs while tables move",
     {NEW(1), ANSWER(1)},
     {{MORE(1), MORE(1)}, {ANSWER(1)}, {{REKEY}}},
     3,
     {2, 2, 2}},
    {"tables move twice",
     {NEW(1), ANSWER(1)},
     {{MORE(1), ANSWER(1)}, {{REKEY}, {REKEY}}},
     4,
     {2, 2, 2}},
    {"a flow begins while tables move",
     {NEW(2)},
     {{NEW(1), MORE(1)}, {LATE(1)}, {{REKEY}}},
     2,
     {2, 2, 2}},
    {"a question is answered while it has to go for another",
     {NEW(1)},
     {{NEW(2)}, {LATE(1), LATE(1)}},
     4,
     {1, 2, 2}},
    {"two new ones for one place", {NEW(1)}, {{NEW(2)}, {SYN(0)}, {LATE(1)}}, 2, {1, 2, 2}},
    {"a packet comes when its flow's time is over",
     {NEW(1), ANSWER(1)},
     {{NEW(1)}, {{SWEEP, 170}, {SWEEP, 20}}, {LATE(1)}},
     3,
     {2, 2, 2}},
    {"an interface goes while packets come",
     {NEW(1), ANSWER(1), NEW(3)},
     {{LATE(1), LATE(1)}, {{KILL, 0}}, {NEW(3)}},
     3,
     {2, 2, 2}},
    {"an interface goes while tables move",
     {NEW(1), NEW(2)},
     {{{REKEY}}, {{KILL, 0}}, {LATE(1)}},
     2,
     {2, 2, 2}},
    {"new rules on two CPUs",
     {NEW(1), ANSWER(1)},
     {{{RULES}, MORE(1)}, {ANSWER(1), ANSWER(1)}, {{REKEY}}},
     2,
     {2, 2, 2}},
};
#pragma GCC diagnostic pop

int main(void)
{
    clock_t start = clock();

    for (unsigned i = 0; i < ARRAY_SIZE(scenarios) && !broken; i++) {
        (void)explore(&scenarios[i]);
        print_search(&scenarios[i]);
    }
    printf("%sok 1 - flows: CPUs interleaved\n# %.1f s\n1..1\n", broken ? "not " : "",
           (double)(clock() - start) / CLOCKS_PER_SEC);
    return broken != NULL;
}
