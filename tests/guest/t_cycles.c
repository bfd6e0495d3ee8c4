/*
 * Domains made and destroyed by the thousand, at every stage of being built, with the memory for
 * the next step missing, and held by others when they should go: in the end not one frame is
 * missing, and an id comes back as late as it can.
 */
#include "tiny.h"

#define NR_IDS  DOMID_FIRST_RESERVED
#define CYCLES  3000
#define SQUEEZE 48 /* more pages than a tiny domain and the hypervisor's part of it want */

static struct tiny t;

/* --- ids --- */

/* Creates and destroys one; its id, 0: that is not what happened. */
static u16 pass(void)
{
    struct tiny one;

    if (tiny_build(&one, 1, 0, TINY_CREATED) || !tiny_end(&one))
        return 0;
    return one.id;
}

/* All ids there are, once around, beside one that stays. */
static void around(void)
{
    unsigned bad = 0, wraps = 0, again = 0;
    u16 last, id;
    u64 before;

    tiny_make(&t, TINY_PAGES);
    last = pass();
    /* The table of ids grows to its full size in this time, so the account starts later. */
    for (unsigned i = 0; i < NR_IDS; i++) {
        id = pass();
        bad += !id || id >= NR_IDS;
        again += id == t.id;
        wraps += id < last;
        last = id;
    }
    is(bad, 0, "%u domains come and go", NR_IDS);
    is(again, 0, "none gets the id of one that lives");
    is(wraps, 1, "ids come again when all were used");
    before = free_pages();
    for (unsigned i = 0; i < 1000; i++)
        bad += !pass();
    is(bad, 0, "another thousand");
    is(free_pages(), before, "and no memory is missing");
    is(tiny_run(&t), 0, "the one that stayed runs");
    ok(tiny_kick(&t, 1), "and answers");
    ok(tiny_end(&t), "and goes");
}

/* --- half built --- */

static void stages(void)
{
    unsigned failed = 0, stayed = 0, wrong = 0;
    u64 before = free_pages();

    for (unsigned i = 0; i < CYCLES; i++) {
        unsigned vcpus = 1 + rand_below(4);
        u64 pages = TINY_PAGES + rand_below(60);
        enum tiny_step until = rand_below(TINY_STEPS);

        failed += tiny_build(&t, vcpus, pages, until) != 0;
        if (until == TINY_RUNS && rand_below(2))
            failed += !tiny_kick(&t, 1);
        stayed += !tiny_end(&t);
        wrong += free_pages() != before;
    }
    is(failed, 0, "%u domains were built, to any stage", CYCLES);
    is(stayed, 0, "all were destroyed");
    is(wrong, 0, "and each left free memory as it had been");
}

/* --- no memory --- */

static long claim(u16 id, u64 pages)
{
    struct xen_memory_reservation r = {.nr_extents = pages, .domid = id};

    return hc_memory(XENMEM_claim_pages, &r);
}

/*
 * With 0, 1, 2, ... pages left. The step that fails differs, the outcome does not: an error, and a
 * domain that can be destroyed.
 */
static void squeezed(void)
{
    unsigned failed = 0, other = 0, wrong = 0, stayed = 0;
    struct tiny holder;
    u64 before, all;

    if (tiny_build(&holder, 1, 1UL << 40, TINY_LIMIT))
        die("no domain that claims memory");
    before = free_pages();
    for (u64 left = 0; left < SQUEEZE; left++) {
        long rc;

        all = free_pages();
        if (claim(holder.id, all - left))
            die("what is free cannot be claimed");
        rc = tiny_build(&t, 2, TINY_PAGES, TINY_RUNS);
        failed += rc != 0;
        other += rc && rc != -XEN_ENOMEM;
        stayed += !tiny_end(&t);
        claim(holder.id, 0);
        wrong += free_pages() != before;
    }
    note("of %u attempts %u failed", SQUEEZE, failed);
    ok(failed > 16 && failed < SQUEEZE, "some had too little memory, some enough");
    is(other, 0, "-ENOMEM is all that went wrong");
    is(stayed, 0, "all were destroyed");
    is(wrong, 0, "and each left free memory as it had been");
    ok(tiny_end(&holder), "the claim's owner goes");
}

#define MOST 1000

/* That many, or until there is no memory, and gone again; how many there were. */
static unsigned fill_up(unsigned most, long want)
{
    static struct tiny list[MOST];
    unsigned n = 0, stayed = 0, made;
    long rc = 0;

    while (n < most && !rc)
        rc = tiny_build(&list[n++], 1, TINY_PAGES, TINY_CONNECTED);
    made = rc ? n - 1 : n;
    is(rc, want, "the last step of making %u domains", made);
    while (n)
        stayed += !tiny_end(&list[--n]);
    is(stayed, 0, "all were destroyed");
    return made;
}

/* What was a struct domain once is kept for the next one; therefore twice. */
static void full(void)
{
    u64 before = free_pages(), kept;
    struct tiny holder;
    unsigned most;

    if (tiny_build(&holder, 1, 1UL << 40, TINY_LIMIT) || claim(holder.id, before - 4000))
        die("no domain that claims memory");
    is(claim(holder.id, 1UL << 36), -XEN_ENOMEM, "a claim of more than there is");
    most = fill_up(MOST, -XEN_ENOMEM);
    ok(tiny_end(&holder), "the claim's owner goes");
    kept = before - free_pages();
    note("%lu pages kept for the next %u domains", kept, most);
    ok(kept < most * 3, "less than three for each");
    before = free_pages();
    fill_up(most, 0);
    is(free_pages(), before, "the second time no memory is missing");
}

/* --- held by others --- */

static void held(void)
{
    u64 before = free_pages(), while_held;
    struct xen_domctl op = {0};
    volatile u64 *seen;

    tiny_make(&t, 1000);
    seen = t.seen;
    t.seen = NULL;
    is(domctl_plain(XEN_DOMCTL_destroydomain, t.id), 0, "destroyed while a page is mapped");
    is(domctl(XEN_DOMCTL_getdomaininfo, t.id, &op), 0, "it is still there");
    ok(op.u.getdomaininfo.flags & XEN_DOMINF_dying, "dying");
    is(op.u.getdomaininfo.tot_pages, 1, "with one page");
    while_held = free_pages();
    ok(before - while_held < 24, "the rest came back");
    is(domctl_plain(XEN_DOMCTL_destroydomain, t.id), 0, "destroyed again");
    *seen = 1;
    domu_unmap(seen);
    port_close(t.port);
    is(domctl(XEN_DOMCTL_getdomaininfo, t.id, &op), -XEN_ESRCH, "unmapped it is gone");
    is(free_pages(), before, "and no memory is missing");
}

void test_cycles(void)
{
    rand_seed(option_number("seed", 1));
    around();
    stages();
    squeezed();
    full();
    held();
}
