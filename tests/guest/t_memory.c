/*
 * Instructions about memory (hv/abi/serai.h) and what they rest on: a domain that domain 0 makes,
 * fills, and empties on the domain's behalf, in time and too late.
 */
#include "more.h"
#include "../../hv/abi/serai.h"
#include <xen/domctl.h>

#define MS      1000000UL
#define PAGES   600
#define NOBODY  1234
#define MINUTE  (60000 * MS)
#define ONE_CPU 1000000

static struct serai_memory m; /* the last answer */
static u16 child;
static u64 list[PAGES];
static u32 memory_port, exception_port;

static long memory_op(struct serai_memory op)
{
    long rc = HC(arch_7, SERAI_OP_MEMORY, &op, 0, 0, 0);

    m = op;
    return rc;
}

static long read_of(u16 id)
{
    return memory_op((struct serai_memory){.domid = id});
}

static long order(u16 id, u64 pages, u64 within, u8 otherwise, u32 cap)
{
    return memory_op((struct serai_memory){.domid = id,
                                           .op = SERAI_MEMORY_SET,
                                           .pages = pages,
                                           .within = within,
                                           .otherwise = otherwise,
                                           .cap_ppm = cap});
}

static long cancel(void)
{
    return memory_op((struct serai_memory){.domid = child, .op = SERAI_MEMORY_CANCEL});
}

static long domctl(unsigned cmd, struct xen_domctl *op)
{
    op->cmd = cmd;
    op->interface_version = XEN_DOMCTL_INTERFACE_VERSION;
    op->domain = child;
    return HC(domctl, op, 0, 0, 0, 0);
}

static long plain_domctl(unsigned cmd)
{
    struct xen_domctl op = {0};

    return domctl(cmd, &op);
}

static u32 child_flags(void)
{
    struct xen_domctl op = {0};

    return domctl(XEN_DOMCTL_getdomaininfo, &op) ? 0 : op.u.getdomaininfo.flags;
}

static long limit(u64 pages)
{
    struct xen_domctl op = {0};

    op.u.max_mem.max_memkb = pages * 4;
    return domctl(XEN_DOMCTL_max_mem, &op);
}

/* How many extents of the list were done. */
static long change(unsigned op, u64 first, u64 nr)
{
    struct xen_memory_reservation r = {.nr_extents = nr, .domid = child};

    set_xen_guest_handle(r.extent_start, list + first);
    return hc_memory(op, &r);
}

static long give(u64 first, u64 nr)
{
    for (u64 i = first; i < first + nr; i++)
        list[i] = i;
    return change(XENMEM_populate_physmap, first, nr);
}

static long take(u64 first, u64 nr)
{
    return change(XENMEM_decrease_reservation, first, nr);
}

static void make_child(void)
{
    struct xen_domctl op = {0};

    child = 0;
    op.u.createdomain.max_vcpus = 1;
    op.u.createdomain.max_evtchn_port = 1023;
    op.u.createdomain.max_grant_frames = -1;
    op.u.createdomain.max_maptrack_frames = -1;
    op.u.createdomain.grant_opts = XEN_DOMCTL_GRANT_version(1);
    if (domctl(XEN_DOMCTL_createdomain, &op))
        die("no other domain can be made");
    child = op.domain;
    if (limit(PAGES) || give(0, PAGES) != PAGES)
        die("the other domain cannot be filled");
}

static void end_child(void)
{
    while (plain_domctl(XEN_DOMCTL_destroydomain))
        hc_sched(SCHEDOP_yield, NULL);
}

/* The present instruction misses its deadline. */
static void miss(u8 otherwise, u32 cap)
{
    port_clear(memory_port);
    is(order(child, 100, 3 * MS, otherwise, cap), 0, "an instruction, consequence %u",
       otherwise);
    is(m.state, SERAI_MEMORY_PENDING, "is pending");
    ok(wait_port(memory_port), "an event comes at its end");
    is(read_of(child), 0, "read");
    is(m.state, SERAI_MEMORY_MISSED, "it is missed");
    ok(m.now >= m.deadline, "not before the deadline");
    is(m.pages_deadline, PAGES, "pages at the deadline");
}

/* --- who may, and what --- */

static void figures(void)
{
    long pages = hc_memory(XENMEM_current_reservation, &(domid_t){DOMID_SELF});
    u64 before;

    is(read_of(0), 0, "domain 0's figures");
    is(m.pages_now, pages, "pages_now is the current reservation");
    is(m.state, SERAI_MEMORY_NONE, "no instruction");
    is(m.pages_claimed, 0, "nothing claimed");
    ok(m.now / MS <= clock_ns() / MS, "now is the guest's time");
    before = m.free;
    make_child();
    is(read_of(child), 0, "the other domain's figures");
    is(m.pages_now, PAGES, "pages_now");
    is(m.pages_max, PAGES, "pages_max");
    ok(before - m.free >= PAGES, "free memory is less");
    is(memory_op((struct serai_memory){.domid = 1, .op = SERAI_MEMORY_NEXT}), 0, "next");
    is(m.domid, child, "is the other domain");
    is(memory_op((struct serai_memory){.domid = child + 1, .op = SERAI_MEMORY_NEXT}),
       -XEN_ESRCH, "and then there is none");
}

static void hostile(void)
{
    static const u16 nobodies[] = {NOBODY, 0x7fef, DOMID_SELF, DOMID_IO, DOMID_XEN, 0xffff};
    struct serai_memory op = {.domid = child, .reserved = 1};

    for (unsigned i = 0; i < sizeof(nobodies) / sizeof(nobodies[0]); i++) {
        is(read_of(nobodies[i]), -XEN_ESRCH, "read of domain %x", nobodies[i]);
        is(order(nobodies[i], 100, MINUTE, 0, 0), -XEN_ESRCH, "set of domain %x", nobodies[i]);
    }
    is(memory_op(op), -XEN_EINVAL, "the reserved field");
    for (unsigned i = SERAI_MEMORY_CHECK + 1; i < 256; i += 84)
        is(memory_op((struct serai_memory){.domid = child, .op = i}), -XEN_EINVAL, "op %u", i);
    is(order(child, 0, MINUTE, 0, 0), -XEN_EINVAL, "no pages");
    is(order(child, ~0UL, MINUTE, 0, 0), -XEN_EINVAL, "all pages there could be");
    is(order(child, 1UL << 40, MINUTE, 0, 0), -XEN_EINVAL, "more than the machine has");
    is(order(child, 100, 0, 0, 0), -XEN_EINVAL, "at once");
    is(order(child, 100, MS - 1, 0, 0), -XEN_EINVAL, "within less than 1 ms");
    is(order(child, 100, ~0UL, 0, 0), -XEN_EINVAL, "within for ever");
    is(order(child, 100, 1UL << 63, 0, 0), -XEN_EINVAL, "within a negative time");
    is(order(child, 100, MINUTE, 4, 0), -XEN_EINVAL, "consequence 4");
    is(order(child, 100, MINUTE, 255, 0), -XEN_EINVAL, "consequence 255");
    is(order(child, 100, MINUTE, SERAI_ELSE_CAP, 0), -XEN_EINVAL, "a cap of 0");
    is(order(child, 100, MINUTE, SERAI_ELSE_CAP, ~0U), -XEN_EINVAL, "a cap of 4294 CPUs");
    is(order(child, 100, MINUTE, SERAI_ELSE_PAUSE, 1), -XEN_EINVAL, "a pause with a cap");
    for (u8 e = SERAI_ELSE_CAP; e <= SERAI_ELSE_DESTROY; e++)
        is(order(0, 100, MINUTE, e, e == SERAI_ELSE_CAP ? ONE_CPU : 0), -XEN_EINVAL,
           "consequence %u for domain 0", e);
    is(cancel(), -XEN_ENOENT, "cancel what is not there");
    is(HC(arch_7, SERAI_OP_MEMORY, UNMAPPED, 0, 0, 0), -XEN_EFAULT, "a bad pointer");
    is(HC(arch_7, SERAI_OP_MEMORY, HOLE_START, 0, 0, 0), -XEN_EFAULT,
       "the hypervisor's pointer");
    is(HC(arch_7, SERAI_OP_MEMORY, ~0UL - 8, 0, 0, 0), -XEN_EFAULT, "one that wraps");
    op = (struct serai_memory){.domid = child, .op = SERAI_MEMORY_CHECK, .within = MINUTE};
    is(memory_op(op), -XEN_EINVAL, "check of a bad instruction");
    op.pages = 100;
    is(memory_op(op), 0, "check of a good one");
    read_of(child);
    is(m.number, 0, "nothing of all this counted");
}

/* --- in time --- */

static void comply(void)
{
    port_clear(memory_port);
    is(order(child, 400, MINUTE, SERAI_ELSE_DESTROY, 0), 0,
       "an instruction with a minute's time");
    is(m.pages_start, PAGES, "pages at the start");
    is(m.deadline - m.started, MINUTE, "its deadline");
    is(take(0, 100), 100, "some pages go");
    is(give(0, 50), 50, "fewer come back");
    read_of(child);
    is(m.state, SERAI_MEMORY_PENDING, "still pending");
    is(m.pages_now, PAGES - 50, "pages now");
    is(m.pages_lowest, PAGES - 100, "pages at the lowest");
    is(m.pages_max, PAGES, "the limit is as it was");
    is(take(100, 150), 150, "enough pages go");
    read_of(child);
    is(m.state, SERAI_MEMORY_COMPLIED, "complied");
    ok(m.complied && m.complied < m.deadline, "before the deadline");
    ok(port_pending(memory_port), "an event says so");
    is(m.pages_max, 400, "the limit is lower");
    is(m.pages_max_before, PAGES, "what it was is remembered");
    is(give(100, 1), 0, "no page more");
    is(take(0, 50), 50, "less is possible");
    is(give(0, 51), 50, "and as much again");
    read_of(child);
    is(m.state, SERAI_MEMORY_COMPLIED, "it stays complied");
    is(cancel(), 0, "cancelled");
    is(m.state, SERAI_MEMORY_NONE, "no instruction");
    is(m.pages_max, PAGES, "the limit is what it was");
    is(give(50, 200), 200, "and can be reached");
}

/* The limit that others set meanwhile is theirs. */
static void limits(void)
{
    order(child, PAGES, MINUTE, 0, 0);
    is(m.state, SERAI_MEMORY_COMPLIED, "what is so already is complied with at once");
    order(child, 500, MINUTE, 0, 0);
    take(0, 100);
    limit(550);
    read_of(child);
    is(m.pages_max_before, 550, "a limit that was set since is not to be replaced");
    cancel();
    is(m.pages_max, 550, "a limit set after complying stays when it is cancelled");
    order(child, 520, MINUTE, 0, 0);
    order(child, 540, MINUTE, 0, 0);
    is(m.number, 5, "instructions are counted");
    is(m.pages_max, 540, "a new instruction begins with the limit from before the old one");
    cancel();
    limit(PAGES);
    is(give(0, 100), 100, "filled again");
}

/* --- too late --- */

static void nothing(void)
{
    miss(SERAI_ELSE_NOTHING, 0);
    is(m.acted, 0, "without a consequence nothing happens");
    is(child_flags() & XEN_DOMINF_shutdown, 0, "it is still there");
    take(0, PAGES - 100);
    read_of(child);
    is(m.state, SERAI_MEMORY_COMPLIED, "late is complied, too");
    ok(m.complied > m.deadline, "after the deadline");
    is(m.pages_deadline, PAGES, "pages at the deadline are remembered");
    cancel();
    is(give(0, PAGES - 100), PAGES - 100, "filled again");
}

static void pause(void)
{
    is(plain_domctl(XEN_DOMCTL_unpausedomain), 0, "unpaused after its creation");
    miss(SERAI_ELSE_PAUSE, 0);
    ok(m.acted >= m.deadline && m.in_force, "the consequence is in force");
    ok(child_flags() & XEN_DOMINF_paused, "it is paused");
    is(cancel(), 0, "cancelled");
    ok(!(child_flags() & XEN_DOMINF_paused), "it is not paused any more");
    miss(SERAI_ELSE_PAUSE, 0);
    is(plain_domctl(XEN_DOMCTL_unpausedomain), 0, "domain 0 unpauses it");
    read_of(child);
    ok(m.acted && !m.in_force, "the consequence is over");
    is(plain_domctl(XEN_DOMCTL_pausedomain), 0, "domain 0 pauses it");
    is(cancel(), 0, "cancelled");
    ok(child_flags() & XEN_DOMINF_paused, "domain 0's pause stays");
    is(plain_domctl(XEN_DOMCTL_unpausedomain), 0, "unpaused");
    miss(SERAI_ELSE_PAUSE, 0);
    is(order(child, 100, MINUTE, 0, 0), 0, "another instruction");
    ok(!(child_flags() & XEN_DOMINF_paused), "lifts the pause");
    cancel();
}

static u32 cap_of_child(void)
{
    struct serai_sched_domain d = {.domid = child};

    return HC(arch_7, SERAI_OP_SCHED_DOMAIN, &d, 0, 0, 0) ? ~0U : d.cap_ppm;
}

static void set_cap(u32 ppm)
{
    struct serai_sched_domain d = {.domid = child};

    HC(arch_7, SERAI_OP_SCHED_DOMAIN, &d, 0, 0, 0);
    d.set = 1;
    d.cap_ppm = ppm;
    is(HC(arch_7, SERAI_OP_SCHED_DOMAIN, &d, 0, 0, 0), 0, "its cap is %u ppm", ppm);
}

static void cap(void)
{
    set_cap(500000);
    miss(SERAI_ELSE_CAP, 100000);
    ok(m.acted >= m.deadline && m.in_force, "the consequence is in force");
    is(cap_of_child(), 100000, "its cap is the one threatened with");
    take(0, PAGES - 100);
    read_of(child);
    is(m.state, SERAI_MEMORY_COMPLIED, "it complies late");
    is(m.in_force, 0, "the consequence is over");
    is(cap_of_child(), 500000, "its cap is the one from before");
    cancel();
    give(0, PAGES - 100);
    miss(SERAI_ELSE_CAP, 100000);
    set_cap(200000);
    cancel();
    is(cap_of_child(), 200000, "one that was set meanwhile stays");
    miss(SERAI_ELSE_CAP, 300000);
    is(cap_of_child(), 200000, "a tighter one stays");
    cancel();
    is(cap_of_child(), 200000, "also afterwards");
}

static void destroy(void)
{
    u32 flags;

    port_clear(exception_port);
    miss(SERAI_ELSE_DESTROY, 0);
    ok(m.acted >= m.deadline, "the consequence has come");
    ok(wait_port(exception_port), "domain 0 learns that a domain has ended");
    flags = child_flags();
    ok(flags & XEN_DOMINF_shutdown, "it has");
    is(flags >> XEN_DOMINF_shutdownshift & XEN_DOMINF_shutdownmask, SHUTDOWN_crash,
       "as if it had crashed");
    end_child();
    is(read_of(child), -XEN_ESRCH, "it is gone");
}

/* A domain that is paused cannot come to its end by itself: it must be told all the same. */
static void destroy_paused(void)
{
    make_child();
    port_clear(exception_port);
    miss(SERAI_ELSE_DESTROY, 0);
    ok(wait_port(exception_port), "domain 0 learns of the end of a paused domain");
    ok(child_flags() & XEN_DOMINF_shutdown, "which has ended");
    end_child();
}

/* The timer goes with the domain. */
static void ends_first(void)
{
    u64 until;

    make_child();
    order(child, 100, 20 * MS, SERAI_ELSE_DESTROY, 0);
    end_child();
    until = clock_ns() + 40 * MS;
    port_clear(memory_port);
    while (clock_ns() < until)
        hc_sched(SCHEDOP_yield, NULL);
    ok(!port_pending(memory_port), "no event for a domain that is gone");
}

static u32 bind(unsigned virq)
{
    struct evtchn_bind_virq op = {.virq = virq};

    return hc_evtchn(EVTCHNOP_bind_virq, &op) ? 0 : op.port;
}

void test_memory(void)
{
    memory_port = bind(SERAI_VIRQ_MEMORY);
    exception_port = bind(VIRQ_DOM_EXC);
    ok(memory_port && exception_port, "the virtual interrupts are bound");
    figures();
    hostile();
    comply();
    limits();
    nothing();
    pause();
    cap();
    destroy();
    destroy_paused();
    ends_first();
}
