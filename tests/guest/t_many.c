/*
 * Many domains at once: a hundred of 8 MiB in a machine of 1 GiB. What one costs the hypervisor
 * in memory and, as QEMU counts instructions in this boot, in work; that all of them run; and
 * that every frame comes back.
 */
#include "tiny.h"

#define MANY         100
#define MANY_PAGES   2048
/* For an idle domain: 96 KiB, beside the guest's own memory. */
#define OVERHEAD_MAX 24

static struct tiny all[MANY];
static u64 cost[MANY];

/* Without memory of their own: what the hypervisor itself has to have. */
static void overhead(void)
{
    u64 before = free_pages(), taken[MANY], least = ~0UL, most = 0;

    for (unsigned i = 0; i < MANY; i++) {
        u64 then = free_pages();

        if (tiny_build(&all[i], 1, TINY_PAGES, TINY_CONTEXT))
            die("a domain cannot be made");
        taken[i] = then - free_pages() - TINY_PAGES;
        least = taken[i] < least ? taken[i] : least;
        most = taken[i] > most ? taken[i] : most;
    }
    note("pages of the hypervisor for a domain: %lu to %lu, all %u: %lu", least, most, MANY,
         before - free_pages() - MANY * TINY_PAGES);
    ok(before - free_pages() <= MANY * (OVERHEAD_MAX + TINY_PAGES),
       "a domain takes 96 KiB of the hypervisor's memory or less");
    for (unsigned i = 0; i < MANY; i++)
        if (!tiny_end(&all[i]))
            die("a domain does not go");
    note("pages kept for the next domains: %ld", (long)(before - free_pages()));
}

static u64 least_of(const u64 *list, unsigned n)
{
    u64 least = ~0UL;

    for (unsigned i = 0; i < n; i++)
        least = list[i] < least ? list[i] : least;
    return least;
}

static void make_all(void)
{
    u64 first, last;

    for (unsigned i = 0; i < MANY; i++) {
        u64 begin = tsc_now();

        tiny_make(&all[i], MANY_PAGES);
        cost[i] = tsc_now() - begin;
    }
    first = least_of(cost, 5);
    last = least_of(cost + MANY - 5, 5);
    note("instructions to make one: the first %lu, the last %lu", cost[0], cost[MANY - 1]);
    note("the least of the first five %lu, of the last five %lu", first, last);
    ok(last * 10 <= first * 11, "number %u costs at most a tenth more than number 1", MANY);
}

/* Each wakes when it is told to, and counts; nobody else does. */
static void all_run(u64 round)
{
    unsigned bad = 0;

    for (unsigned i = 0; i < MANY; i++)
        bad += !tiny_kick(&all[i], round);
    is(bad, 0, "each of %u domains wakes and sleeps again", MANY);
    for (unsigned i = 0; i < MANY; i++)
        bad += *all[i].seen != round;
    is(bad, 0, "once");
}

static void end_all(void)
{
    u64 begin, first = 0, last = 0;
    unsigned bad = 0;

    /* From the middle of the list first: nothing depends on the order. */
    for (unsigned i = 0; i < MANY; i++) {
        begin = tsc_now();
        bad += !tiny_end(&all[(i * 37 + 11) % MANY]);
        last = tsc_now() - begin;
        first = i ? first : last;
    }
    is(bad, 0, "all go");
    note("instructions to destroy one: the first %lu, the last %lu", first, last);
}

void test_many(void)
{
    u64 before;

    overhead();
    before = free_pages();
    overhead();
    is(free_pages(), before, "the second time all memory comes back");
    before = free_pages();
    note("%lu pages free, %u domains of %u want %u", before, MANY, MANY_PAGES,
         MANY * MANY_PAGES);
    make_all();
    for (unsigned i = 0; i < MANY; i++)
        if (tiny_run(&all[i]))
            die("a domain cannot be started");
    all_run(1);
    all_run(2);
    end_all();
    is(free_pages(), before, "all memory comes back");
}
