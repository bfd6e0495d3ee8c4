/*
 * An interleaving explorer for event channels between domains: the shipped guest/event.c and
 * guest/event_ports.c on two or three CPUs, each a coroutine that gives way before every atomic
 * operation. All schedules with at most so many preemptions are tried, each from the start.
 *
 * At any moment no memory is used that has been given back, no event arrives where its sender is
 * not connected to, and an event that is sent while nothing changes arrives. In the end every
 * connection has two ends, the dead have nothing, no lock or reference is left, and who was
 * told something before or while he bound knows it, or has an event that makes him look.
 */
#include <time.h>

#include "event_world.h"

#define STACK_SIZE 16384
#define STEPS      4

#include "schedules.h"

void give_way(void)
{
    leave(IN_THE_MIDDLE);
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

static void begin_world(const struct scenario *s)
{
    build_world(s->before);
}

static bool is_step(const struct step *s)
{
    return s->op;
}

static void perform_step(const struct step *s)
{
    perform(*s);
    take_interrupt(me);
}

/* ---- scenarios ---- */

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"
static const struct scenario scenarios[] = {
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

int main(void)
{
    static const struct {
        const char *name, *text;
    } mutants[] = {MUTANTS(MUTANT_TEXT)};
    const char *rule = NULL;
    clock_t start = clock();
    bool ok;

    for (unsigned i = 0; i < ARRAY_SIZE(scenarios) && !rule; i++) {
        rule = explore(&scenarios[i]);
        if (rule || MUTANT == M_NONE)
            print_search(&scenarios[i]);
    }
    printf("1..1\n");
    ok = (rule == NULL) == (MUTANT == M_NONE);
    printf("%s 1 - events %s: %s\n", ok ? "ok" : "not ok", mutants[MUTANT].name,
           mutants[MUTANT].text);
    printf("# %.1f s\n", (double)(clock() - start) / CLOCKS_PER_SEC);
    return !ok;
}
