/*
 * A domain made, watched, saved and taken apart by domain 0: what the toolstack does, without it.
 */
#include "domu.h"
#include <xen/sysctl.h>

enum { ECHO = 1, COUNT, SHUTDOWN };

static struct domu u;
static volatile u64 counter __attribute__((aligned(4096)));

static void other_side(void)
{
    struct sched_shutdown s = {0};

    for (;;) {
        switch (domu_next()) {
        case ECHO:
            domu_reply(domu_mail.in[0] + 1);
            break;
        case COUNT:
            domu_reply(0);
            while (domu_mail.order == domu_mail.done)
                counter++;
            break;
        case SHUTDOWN:
            s.reason = domu_mail.in[0];
            domu_reply(0);
            hc_sched(SCHEDOP_shutdown, &s);
            break;
        default:
            domu_reply(~0UL);
            break;
        }
    }
}

static u64 free_pages(void)
{
    struct xen_sysctl op = {.cmd = XEN_SYSCTL_physinfo,
                            .interface_version = XEN_SYSCTL_INTERFACE_VERSION};

    return HC(sysctl, &op, 0, 0, 0, 0) ? 0 : op.u.physinfo.free_pages;
}

/* Once again what it says after a while. */
static u64 later(volatile u64 *seen)
{
    u64 end = clock_ns() + 20000000;

    while (clock_ns() < end)
        domu_doze();
    return *seen;
}

static void life(void)
{
    volatile u64 *seen;
    u64 then;

    domu_make(&u, other_side, 1);
    ok(domu_flags(&u) & XEN_DOMINF_paused, "a new domain is paused");
    is(domctl_plain(XEN_DOMCTL_pausedomain, u.id), 0, "a second pause");
    domu_run(&u);
    ok(domu_flags(&u) & XEN_DOMINF_paused, "two pauses want two unpauses");
    domu_run(&u);
    ok(!(domu_flags(&u) & XEN_DOMINF_paused), "it runs");
    is(domu_ask(&u, ECHO, 41), 42, "it answers");
    domu_ask(&u, COUNT, 0);
    seen = domu_view(&u, &counter);
    then = *seen;
    ok(later(seen) > then, "it counts");
    is(domctl_plain(XEN_DOMCTL_pausedomain, u.id), 0, "pause");
    then = *seen;
    is(later(seen), then, "paused it does not count");
    domu_run(&u);
    ok(later(seen) > then, "unpaused it does");
    domu_ask(&u, ECHO, 0);
    domu_order(&u, SHUTDOWN, SHUTDOWN_suspend);
    is(domu_await_shutdown(&u), SHUTDOWN_suspend, "it suspends itself");
    is(domctl_plain(XEN_DOMCTL_resumedomain, u.id), 0, "resume");
    is(domu_ask(&u, ECHO, 1), 2, "resumed it answers");
    domu_order(&u, SHUTDOWN, SHUTDOWN_poweroff);
    is(domu_await_shutdown(&u), SHUTDOWN_poweroff, "it powers itself off");
    ok(domu_end(&u), "destroyed it is gone");
    refused(domctl_plain(XEN_DOMCTL_pausedomain, u.id),
            "a domain that is gone cannot be paused");
}

static void make_some(unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        domu_make(&u, other_side, 1);
        if (i & 1) {
            domu_run(&u);
            domu_ask(&u, ECHO, i);
        }
        if (!domu_end(&u))
            die("a domain does not go");
    }
}

/* The first domains may leave caches filled. */
static void memory_returns(void)
{
    u64 before;

    if (!free_pages()) {
        skip("memory comes back", "no figure for free memory");
        return;
    }
    make_some(4);
    before = free_pages();
    make_some(6);
    is(free_pages(), before, "all memory of a destroyed domain comes back");
}

void test_twodom(void)
{
    life();
    memory_returns();
}
