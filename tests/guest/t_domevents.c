/*
 * Event channels between domains: who may ask for what, both ends of a connection, what becomes
 * of them when a domain is reset, paused, dies, or is dead but not gone; virtual interrupts that
 * are handed to another domain. smp-domevents: all of that at once, on several vcpus.
 */
#include "domu.h"

enum { ASK = 1, PENDING, POLL, ALLOC_ALL, PONG, HAMMER, PEACE, CRASH };

static struct domu u;

/* --- the other side --- */

static u64 pong(u32 port, u64 rounds);
static u64 begin_hammering(void);
static u64 end_hammering(void);

/* As many unbound ports as there are; how many, and the last error. */
static u64 alloc_all(void)
{
    struct evtchn_alloc_unbound op = {.dom = DOMID_SELF, .remote_dom = 0};
    u64 n = 0;
    long rc;

    while (!(rc = hc_evtchn(EVTCHNOP_alloc_unbound, &op)))
        n++;
    domu_mail.out[0] = rc;
    return n;
}

static u64 ask(void)
{
    u64 op[4];
    long rc;

    for (unsigned i = 0; i < 4; i++)
        op[i] = domu_mail.in[i + 1];
    rc = hc_evtchn(domu_mail.in[0], op);
    for (unsigned i = 0; i < 4; i++)
        domu_mail.out[i] = op[i];
    return rc;
}

/* 1: the port became pending; it is not any more. A poll may end for no reason. */
static u64 pending_within(u32 port, u64 ns)
{
    u64 end = clock_ns() + ns, was;

    while (!port_pending(port) && clock_ns() < end)
        poll_port(port, end);
    was = port_pending(port);
    port_clear(port);
    return was;
}

/* An exception without a handler. */
static void crash(void)
{
    hc_set_trap_table(NULL);
    asm volatile("ud2");
}

static void other_side(void)
{
    for (unsigned i = 0; i < 64; i++)
        shared->evtchn_mask[i] = ~0UL;
    for (;;) {
        u64 order = domu_next();
        u32 in = domu_mail.in[0];

        if (order == ASK)
            domu_reply(ask());
        else if (order == PENDING)
            domu_reply(pending_within(in, 0));
        else if (order == POLL)
            domu_reply(pending_within(in, 10000000000));
        else if (order == ALLOC_ALL)
            domu_reply(alloc_all());
        else if (order == PONG)
            domu_reply(pong(in, domu_mail.in[1]));
        else if (order == HAMMER)
            domu_reply(begin_hammering());
        else if (order == PEACE)
            domu_reply(end_hammering());
        else if (order == CRASH)
            crash();
    }
}

/* --- this side --- */

/* An operation of ours, or of the other domain's; its structure comes back. */
static long op_at(struct domu *who, unsigned cmd, void *op, size_t size)
{
    u64 words[4] = {0};
    long rc;

    if (!who)
        return hc_evtchn(cmd, op);
    memcpy(words, op, size);
    for (unsigned i = 0; i < 4; i++)
        who->mail->in[i + 1] = words[i];
    rc = domu_ask(who, ASK, cmd);
    for (unsigned i = 0; i < 4; i++)
        words[i] = who->mail->out[i];
    memcpy(op, words, size);
    return rc;
}

static long alloc_at(struct domu *who, u16 dom, u16 remote, u32 *port)
{
    struct evtchn_alloc_unbound op = {.dom = dom, .remote_dom = remote};
    long rc = op_at(who, EVTCHNOP_alloc_unbound, &op, sizeof(op));

    *port = op.port;
    return rc;
}

static long bind_at(struct domu *who, u16 dom, u32 remote, u32 *port)
{
    struct evtchn_bind_interdomain op = {.remote_dom = dom, .remote_port = remote};
    long rc = op_at(who, EVTCHNOP_bind_interdomain, &op, sizeof(op));

    *port = op.local_port;
    return rc;
}

static long send_at(struct domu *who, u32 port)
{
    struct evtchn_send op = {.port = port};

    return op_at(who, EVTCHNOP_send, &op, sizeof(op));
}

static long close_at(struct domu *who, u32 port)
{
    struct evtchn_close op = {.port = port};

    return op_at(who, EVTCHNOP_close, &op, sizeof(op));
}

static long reset_at(struct domu *who, u16 dom)
{
    struct evtchn_reset op = {.dom = dom};

    return op_at(who, EVTCHNOP_reset, &op, sizeof(op));
}

static struct evtchn_status status_at(struct domu *who, u16 dom, u32 port, long *rc)
{
    struct evtchn_status op = {.dom = dom, .port = port};

    *rc = op_at(who, EVTCHNOP_status, &op, sizeof(op));
    return op;
}

static bool is_unbound(u16 dom, u32 port, u16 remote)
{
    long rc;
    struct evtchn_status st = status_at(NULL, dom, port, &rc);

    return !rc && st.status == EVTCHNSTAT_unbound && st.u.unbound.dom == remote;
}

static bool is_bound(u16 dom, u32 port, u16 remote, u32 remote_port)
{
    long rc;
    struct evtchn_status st = status_at(NULL, dom, port, &rc);

    return !rc && st.status == EVTCHNSTAT_interdomain && st.u.interdomain.dom == remote &&
           st.u.interdomain.port == remote_port;
}

static bool is_closed(u16 dom, u32 port)
{
    long rc;
    struct evtchn_status st = status_at(NULL, dom, port, &rc);

    return !rc && st.status == EVTCHNSTAT_closed;
}

/* Ports 'mine' here and 'its' there, connected, nothing pending; 'mine' was allocated first. */
static void connect(u32 *mine, u32 *its)
{
    if (alloc_at(NULL, DOMID_SELF, u.id, mine) || bind_at(&u, 0, *mine, its))
        die("no connection");
    domu_ask(&u, PENDING, *its);
    port_clear(*mine);
}

/* As the toolstack's builder leaves it: without events until the guest wants them. */
static void make_it(struct domu *who, unsigned vcpus)
{
    struct shared_info *its;

    domu_make(who, other_side, vcpus);
    its = domu_map_mfn(who, who->shared_mfn, PTE_KERN);
    for (unsigned i = 0; i < vcpus; i++)
        its->vcpu_info[i].evtchn_upcall_mask = 1;
    domu_unmap(its);
}

static void run_it(unsigned vcpus)
{
    make_it(&u, vcpus);
    domu_run(&u);
}

/* --- who may ask --- */

static void ports_of_others(void)
{
    u32 first, second, port;
    long rc;

    make_it(&u, 1);
    is(alloc_at(NULL, u.id, DOMID_SELF, &first), 0, "a port in another domain, for us");
    is(first, 1, "is its first");
    is(alloc_at(NULL, u.id, 0, &second), 0, "and once more");
    is(second, 2, "its second");
    ok(is_unbound(u.id, first, 0), "its status is seen from here");
    is(bind_at(NULL, u.id, first, &port), 0, "bind to it before it ever ran");
    ok(port_pending(port), "the own end is pending at once");
    ok(is_bound(0, port, u.id, first) && is_bound(u.id, first, 0, port), "both ends agree");
    is(send_at(NULL, port), 0, "send to it");
    domu_run(&u);
    is(domu_ask(&u, PENDING, first), 1, "it finds the event when it runs");
    is(send_at(&u, first), 0, "it sends");
    port_clear(port);
    is(send_at(&u, first), 0, "it sends again");
    ok(port_pending(port), "and it arrives");
    status_at(NULL, u.id, 0, &rc);
    is(rc, 0, "port 0 has a status");
    ok(is_closed(u.id, 0), "closed");
    status_at(NULL, u.id, 4096, &rc);
    is(rc, -XEN_EINVAL, "port 4096 has none");
    status_at(NULL, 0x7f00, 1, &rc);
    is(rc, -XEN_ESRCH, "status in no domain");
    is(alloc_at(NULL, 0x7f00, 0, &port), -XEN_ESRCH, "alloc_unbound in no domain");
    is(bind_at(NULL, 0x7f00, 1, &port), -XEN_ESRCH, "bind to no domain");
    is(reset_at(NULL, 0x7f00), -XEN_ESRCH, "reset of no domain");
    is(bind_at(NULL, u.id, 0, &port), -XEN_EINVAL, "bind to its port 0");
    is(bind_at(NULL, u.id, ~0U, &port), -XEN_EINVAL, "bind to its port ~0");
    is(bind_at(NULL, u.id, 0x10000 + second, &port), -XEN_EINVAL, "bind to port 65536 + 2");
    is(bind_at(NULL, u.id, first, &port), -XEN_EINVAL, "bind to a port that is bound");
}

static void not_its_own(void)
{
    u32 port, mine;
    long rc;

    is(alloc_at(&u, 0, DOMID_SELF, &port), -XEN_EPERM, "it wants a port of ours");
    is(alloc_at(&u, 0x7f00, 0, &port), -XEN_ESRCH, "a port of nobody");
    is(alloc_at(&u, u.id, 0, &port), 0, "one of its own, by its id");
    is(close_at(&u, port), 0, "which it closes");
    status_at(&u, 0, 1, &rc);
    is(rc, -XEN_EPERM, "it asks for the status of our port");
    is(reset_at(&u, 0), -XEN_EPERM, "it wants to reset us");
    is(reset_at(&u, 0x7f00), -XEN_ESRCH, "or nobody");
    alloc_at(NULL, DOMID_SELF, 0, &mine);
    is(bind_at(&u, 0, mine, &port), -XEN_EINVAL, "it binds to a port that waits for another");
    close_at(NULL, mine);
    is(bind_at(&u, 0, mine, &port), -XEN_EINVAL, "to one that is closed");
    is(bind_at(&u, 0, ipi_bind(0), &port), -XEN_EINVAL, "to an IPI");
    is(bind_at(&u, 0, 5000, &port), -XEN_EINVAL, "beyond the last");
    is(send_at(&u, 4095), -XEN_EINVAL, "it sends on a port that it has not");
}

/* --- both ends --- */

static void ends(void)
{
    u32 mine, its, again;

    connect(&mine, &its);
    domu_order(&u, POLL, its);
    domu_doze();
    is(send_at(NULL, mine), 0, "send to one that sleeps");
    is(domu_await(&u), 1, "wakes it");
    is(close_at(&u, its), 0, "it closes its end");
    ok(is_unbound(0, mine, u.id), "ours waits for it again");
    is(send_at(NULL, mine), 0, "to send is fine");
    is(bind_at(&u, 0, mine, &again), 0, "it binds again");
    is(domu_ask(&u, PENDING, again), 1, "and is told to look");
    is(close_at(NULL, mine), 0, "we close ours");
    ok(is_unbound(u.id, again, 0), "its end waits for us");
    is(bind_at(NULL, u.id, again, &mine), 0, "we bind");
    ok(is_bound(0, mine, u.id, again), "the other way round");
    ok(port_pending(mine), "and look");
    close_at(&u, again);
    close_at(NULL, mine);
    ok(is_closed(0, mine) && is_closed(u.id, again), "both are closed");
}

static void resets(void)
{
    u32 mine[3], its[3];
    bool good = true;

    for (unsigned i = 0; i < 3; i++)
        connect(&mine[i], &its[i]);
    is(reset_at(NULL, u.id), -XEN_EINVAL, "reset of one that runs");
    is(domctl_plain(XEN_DOMCTL_pausedomain, u.id), 0, "pause");
    is(reset_at(NULL, u.id), 0, "reset of one that is paused");
    domu_run(&u);
    for (unsigned i = 0; i < 3; i++)
        good &=
            is_closed(u.id, its[i]) && is_unbound(0, mine[i], u.id) && !send_at(NULL, mine[i]);
    ok(good, "its ends are closed, ours wait for it");
    connect(&mine[0], &its[1]);
    is(reset_at(&u, u.id), 0, "it resets itself");
    ok(is_unbound(0, mine[0], u.id), "with the same effect");
    for (unsigned i = 0; i < 3; i++)
        close_at(NULL, mine[i]);
}

/* --- limits --- */

static void limits(void)
{
    struct evtchn_bind_virq virq = {.virq = VIRQ_DOM_EXC};
    struct xen_domctl op = {0};
    u32 port, n = 0;
    long rc;

    op.u.createdomain.max_vcpus = 1;
    op.u.createdomain.max_evtchn_port = 200;
    op.u.createdomain.max_grant_frames = -1;
    op.u.createdomain.max_maptrack_frames = -1;
    op.u.createdomain.grant_opts = XEN_DOMCTL_GRANT_version(1);
    op.u.createdomain.arch.misc_flags = 2;
    is(domctl(XEN_DOMCTL_createdomain, 0, &op), -XEN_EINVAL, "a domain with an unknown flag");
    op.u.createdomain.arch.misc_flags =
        XEN_X86_MSR_RELAXED; /* as those that migrate here have */
    is(domctl(XEN_DOMCTL_createdomain, 0, &op), 0, "a domain of up to 200 ports");
    op.u.max_vcpus.max = 1;
    domctl(XEN_DOMCTL_max_vcpus, op.domain, &op);
    while (!(rc = alloc_at(NULL, op.domain, 0, &port)))
        n++;
    is(rc, -XEN_ENOSPC, "its ports run out");
    is(n, 200, "after so many");
    is(domctl_plain(XEN_DOMCTL_destroydomain, op.domain), 0, "it goes");
    is(domu_ask(&u, ALLOC_ALL, 0), 1023, "the other one has 1023");
    is((long)u.mail->out[0], -XEN_ENOSPC, "and no more");
    /* XSA-496: the failure must not touch whose virq it is. */
    is(op_at(&u, EVTCHNOP_bind_virq, &virq, sizeof(virq)), -XEN_ENOSPC, "not for DOM_EXC");
    reset_at(&u, DOMID_SELF);
}

/* --- ends of domains --- */

/* Waits until VIRQ_DOM_EXC has come. */
static bool told(u32 port)
{
    u64 end = clock_ns() + 5000000000;

    while (!port_pending(port) && clock_ns() < end)
        domu_doze();
    return port_pending(port);
}

static void deaths(void)
{
    u32 dom_exc = virq_bind(VIRQ_DOM_EXC, 0), mine[20], its[20], port;
    u16 dead = u.id;
    bool good = true;
    void *view;
    long rc;

    for (unsigned i = 0; i < 20; i++)
        connect(&mine[i], &its[i]);
    view = domu_map_mfn(&u, domu_mfn_of(&u, &shared), PTE_RO);
    port_clear(dom_exc);
    is(domctl_plain(XEN_DOMCTL_destroydomain, u.id), 0, "destroy while a page is mapped here");
    ok(told(dom_exc), "VIRQ_DOM_EXC");
    port_clear(dom_exc);
    for (unsigned i = 0; i < 20; i++)
        good &= is_unbound(0, mine[i], u.id) && !send_at(NULL, mine[i]);
    ok(good, "our ends wait for the dead, and send to nobody");
    refused(alloc_at(NULL, u.id, 0, &port), "alloc_unbound in the dead");
    refused(bind_at(NULL, u.id, its[0], &port), "bind to the dead");
    status_at(NULL, u.id, its[0], &rc);
    ok(rc < 0 || is_closed(u.id, its[0]), "the dead's port is closed");
    domu_unmap(view);
    domu_unmap(u.mail);
    ok(told(dom_exc), "VIRQ_DOM_EXC again when nothing of it is mapped any more");
    is(bind_at(NULL, dead, its[0], &port), -XEN_ESRCH, "bind to one that is gone");
    is(alloc_at(NULL, dead, 0, &port), -XEN_ESRCH, "alloc_unbound in one that is gone");
    is(send_at(NULL, mine[0]), 0, "send to one that is gone");
    for (unsigned i = 0; i < 20; i++)
        close_at(NULL, mine[i]);
    port_close(dom_exc);
}

static long hand_virq(u16 id, u32 virq)
{
    struct xen_domctl op = {0};

    op.u.set_virq_handler.virq = virq;
    return domctl(XEN_DOMCTL_set_virq_handler, id, &op);
}

static struct domu second;

static void virq_handlers(void)
{
    struct evtchn_bind_virq its = {.virq = VIRQ_DOM_EXC};
    u32 mine = virq_bind(VIRQ_DOM_EXC, 0);

    run_it(1);
    is(op_at(&u, EVTCHNOP_bind_virq, &its, sizeof(its)), 0, "another domain may bind DOM_EXC");
    is(hand_virq(u.id, VIRQ_TIMER), -XEN_EINVAL, "a vcpu's virq cannot be handed over");
    is(hand_virq(u.id, NR_VIRQS), -XEN_EINVAL, "nor one that is none");
    is(hand_virq(0x7f00, VIRQ_DOM_EXC), -XEN_ESRCH, "nor to nobody");
    make_it(&second, 1);
    port_clear(mine);
    domu_end(&second);
    ok(port_pending(mine), "the end of a domain is told to us");
    is(domu_ask(&u, PENDING, its.port), 0, "and not to it");
    is(hand_virq(u.id, VIRQ_DOM_EXC), 0, "DOM_EXC is handed over");
    make_it(&second, 1);
    port_clear(mine);
    domu_end(&second);
    is(domu_ask(&u, POLL, its.port), 1, "now it is told");
    ok(!port_pending(mine), "and not we");
    port_clear(mine);
    ok(domu_end(&u), "it goes itself");
    ok(told(mine), "then it is ours again");
    port_close(mine);
}

/* A crash is something that hypervisors say. */
static void log_text(void)
{
    u32 port = virq_bind(VIRQ_CON_RING, 0);

    run_it(1);
    domu_ask(&u, PENDING, 0);
    port_clear(port);
    domu_order(&u, CRASH, 0);
    domu_await_shutdown(&u);
    ok(told(port), "text in the log brings VIRQ_CON_RING");
    domu_end(&u);
    port_close(port);
}

void test_domevents(void)
{
    for (unsigned i = 0; i < 64; i++)
        shared->evtchn_mask[i] = ~0UL;
    ports_of_others();
    not_its_own();
    ends();
    resets();
    limits();
    deaths();
    virq_handlers();
    log_text();
}

/* --- everything at once --- */

#define FIRST_PORT 32 /* those below serve the tests themselves */
#define NR_PORTS   24
#define PAIRS      8

static volatile bool over;
static volatile u16 self_id, other_id;

static u32 some_port(struct cpu *c)
{
    return FIRST_PORT + smp_rand(c) % NR_PORTS;
}

static void any_op(struct cpu *c)
{
    struct evtchn_alloc_unbound alloc = {.dom = DOMID_SELF, .remote_dom = other_id};
    struct evtchn_bind_interdomain bind = {.remote_dom = other_id, .remote_port = some_port(c)};
    struct evtchn_status status = {.dom = DOMID_SELF, .port = some_port(c)};
    struct evtchn_bind_vcpu move = {.port = some_port(c), .vcpu = smp_rand(c) % 2};
    struct evtchn_unmask unmask = {.port = some_port(c)};

    switch (smp_rand(c) % 12) {
    case 0:
        alloc.dom = self_id ? DOMID_SELF : other_id; /* domain 0 for the other one */
        alloc.remote_dom = 0;
        /* fall through */
    case 1:
        if (!hc_evtchn(EVTCHNOP_alloc_unbound, &alloc) && alloc.port >= FIRST_PORT + NR_PORTS)
            port_close(alloc.port);
        break;
    case 2 ... 4:
        if (!hc_evtchn(EVTCHNOP_bind_interdomain, &bind)) {
            c->good++;
            if (bind.local_port >= FIRST_PORT + NR_PORTS)
                port_close(bind.local_port);
        }
        break;
    case 5 ... 6:
        port_close(some_port(c));
        break;
    case 7:
        status.dom = self_id || smp_rand(c) % 2 ? DOMID_SELF : other_id;
        hc_evtchn(EVTCHNOP_status, &status);
        break;
    case 8:
        hc_evtchn(EVTCHNOP_bind_vcpu, &move);
        break;
    case 9:
        hc_evtchn(EVTCHNOP_unmask, &unmask);
        break;
    default:
        port_send(some_port(c));
    }
}

static void hammer(struct cpu *c)
{
    c->rand = c->id * 77 + 5 + self_id;
    while (!over) {
        any_op(c);
        c->count++;
    }
}

static void send_only(struct cpu *c)
{
    while (!over) {
        port_send(some_port(c));
        c->count++;
    }
}

/* Ports up to FIRST_PORT are taken, so that nobody closes what the others need. */
static void fill_low_ports(void)
{
    struct evtchn_alloc_unbound op = {.dom = DOMID_SELF, .remote_dom = DOMID_SELF};

    do {
        if (hc_evtchn(EVTCHNOP_alloc_unbound, &op))
            die("no ports");
    } while (op.port < FIRST_PORT);
    port_close(op.port);
}

static u64 begin_hammering(void)
{
    self_id = domu_mail.in[0];
    other_id = 0;
    over = false;
    smp_begin(1, hammer);
    return 0;
}

static u64 end_hammering(void)
{
    over = true;
    smp_finish(1, "the other domain's hammering");
    domu_mail.out[0] = cpus[1].good;
    return cpus[1].count;
}

static u64 pong(u32 port, u64 rounds)
{
    u64 lost = 0;

    if (!rounds) {
        smp_start(2);
        fill_low_ports();
    }
    for (; rounds; rounds--) {
        lost += !pending_within(port, 20000000000);
        port_send(port);
    }
    return lost;
}

static unsigned play(u32 port, unsigned rounds)
{
    unsigned lost = 0;

    while (rounds--) {
        port_send(port);
        lost += !pending_within(port, 20000000000);
    }
    return lost;
}

/* Every connected port of one names one of the other that names it. */
static unsigned one_sided(u16 id, u16 other)
{
    unsigned n = 0;

    for (u32 port = 1; port < FIRST_PORT + NR_PORTS + 8; port++) {
        long rc;
        struct evtchn_status st = status_at(NULL, id, port, &rc);

        if (!rc && st.status == EVTCHNSTAT_interdomain)
            n += st.u.interdomain.dom == other &&
                 !is_bound(other, st.u.interdomain.port, id, port);
    }
    return n;
}

static void close_range(void)
{
    for (u32 port = FIRST_PORT; port < FIRST_PORT + NR_PORTS + 8; port++)
        port_close(port);
}

static void fight(void)
{
    u32 mine, its;

    run_it(2);
    connect(&mine, &its);
    fill_low_ports();
    u.mail->in[1] = 0;
    domu_ask(&u, PONG, 0);
    u.mail->in[1] = 2001;
    domu_order(&u, PONG, its);
    is(play(mine, 2001), 0, "2001 events to and fro, none is lost");
    is(domu_await(&u), 0, "nor in the other domain");
    self_id = 0;
    other_id = u.id;
    over = false;
    domu_ask(&u, HAMMER, u.id);
    for (unsigned i = 1; i < 3; i++)
        smp_begin(i, hammer);
    u.mail->in[1] = 3001;
    domu_order(&u, PONG, its);
    is(play(mine, 3001), 0, "3001 while other ports are opened, bound and closed");
    is(domu_await(&u), 0, "none is lost there either");
    over = true;
    for (unsigned i = 1; i < 3; i++)
        smp_finish(i, "hammering");
    note("%lu and %lu operations, %lu there", (u64)cpus[1].count, (u64)cpus[2].count,
         domu_ask(&u, PEACE, 0));
    ok(cpus[1].good && u.mail->out[0], "connections were made from both sides");
    is(one_sided(0, u.id) + one_sided(u.id, 0), 0, "no connection has one end only");
    ok(domu_end(&u), "it goes");
    port_close(mine);
    close_range();
}

/* Its ports, and ours to it, while it goes: senders do not notice. */
static void deaths_in_a_storm(unsigned rounds)
{
    unsigned wrong = 0;

    for (unsigned r = 0; r < rounds; r++) {
        run_it(1);
        domu_ask(&u, PENDING, 1);
        for (unsigned i = 0; i < PAIRS; i++) {
            u32 its, mine;

            wrong += alloc_at(NULL, u.id, 0, &its) || bind_at(NULL, u.id, its, &mine);
        }
        other_id = u.id;
        over = false;
        smp_begin(1, send_only);
        smp_begin(2, r % 2 ? hammer : send_only);
        WAIT_FOR(&cpus[0], cpus[1].count > 20 && cpus[2].count > 20, "senders");
        if (r % 3 == 2)
            wrong += domctl_plain(XEN_DOMCTL_pausedomain, u.id) || reset_at(NULL, u.id);
        wrong += !domu_end(&u);
        over = true;
        for (unsigned i = 1; i < 3; i++)
            smp_finish(i, "sending");
        for (u32 port = FIRST_PORT; port < FIRST_PORT + NR_PORTS; port++) {
            long rc;

            wrong += status_at(NULL, 0, port, &rc).status == EVTCHNSTAT_interdomain;
        }
        close_range();
    }
    is(wrong, 0, "%u domains die while they are sent to and bound to", rounds);
}

void test_smp_domevents(void)
{
    for (unsigned i = 0; i < 64; i++)
        shared->evtchn_mask[i] = ~0UL;
    smp_start(3);
    fight();
    deaths_in_a_storm(12);
}
