/*
 * Events between vcpus: IPIs, timers of each, ports that move, polls and blocks that must end,
 * storms, and ports that vanish below their users.
 */
#include "guest.h"

#define PORTS 4096

static u32 hits[PORTS], last_on[PORTS];
static u32 ipi[MAX_CPUS], tick[MAX_CPUS];
static volatile bool over;
static unsigned n_cpus;

static void hit(struct cpu *c, u32 port)
{
    last_on[port] = c->id;
    __atomic_fetch_add(&hits[port], 1, __ATOMIC_SEQ_CST);
}

static u32 hits_of(u32 port)
{
    return __atomic_load_n(&hits[port], __ATOMIC_SEQ_CST);
}

static long status_of(u32 port)
{
    struct evtchn_status op = {.dom = DOMID_SELF, .port = port};

    return hc_evtchn(EVTCHNOP_status, &op) ? -1 : (long)op.status;
}

static long move(u32 port, u32 vcpu)
{
    struct evtchn_bind_vcpu op = {.port = port, .vcpu = vcpu};

    return hc_evtchn(EVTCHNOP_bind_vcpu, &op);
}

/* Two ports of ours, bound to each other: a send on one arrives at the other. */
static void loop_bind(u32 *a, u32 *b)
{
    struct evtchn_alloc_unbound u = {.dom = DOMID_SELF, .remote_dom = DOMID_SELF};
    struct evtchn_bind_interdomain i = {.remote_dom = DOMID_SELF};

    if (hc_evtchn(EVTCHNOP_alloc_unbound, &u))
        die("no port");
    i.remote_port = u.port;
    if (hc_evtchn(EVTCHNOP_bind_interdomain, &i))
        die("no loop");
    *a = u.port;
    *b = i.local_port;
    port_clear(*a), port_clear(*b);
}

static void bind_all(void)
{
    for (unsigned i = 0; i < n_cpus; i++) {
        ipi[i] = ipi_bind(i);
        tick[i] = virq_bind(VIRQ_TIMER, i);
        if (!ipi[i] || !tick[i])
            die("ports of a vcpu");
        port_owner(ipi[i], &cpus[i]);
        port_owner(tick[i], &cpus[i]);
        port_mask(ipi[i], false);
        port_mask(tick[i], false);
        cpus[i].on_port = hit;
        hc_vcpu(VCPUOP_stop_periodic_timer, i, NULL);
    }
}

static void run_others(void (*work)(struct cpu *))
{
    over = false;
    for (unsigned i = 1; i < n_cpus; i++)
        smp_begin(i, work);
}

static void end_others(const char *what)
{
    over = true;
    for (unsigned i = 1; i < n_cpus; i++) {
        port_send(ipi[i]);
        smp_finish(i, what);
    }
}

/* --- IPIs --- */

/* Never enters the hypervisor by itself. */
static void spin(struct cpu *c)
{
    smp_events_on(c);
    while (!over)
        c->count++;
}

static void sleep(struct cpu *c)
{
    while (!over) {
        hc_sched(SCHEDOP_block, NULL);
        smp_events_off(c);
    }
}

static unsigned send_to_each(unsigned rounds)
{
    unsigned wrong = 0;

    for (unsigned r = 0; r < rounds; r++)
        for (unsigned i = 1; i < n_cpus; i++) {
            u32 before = hits_of(ipi[i]);

            wrong += port_send(ipi[i]) != 0;
            WAIT_FOR(&cpus[0], hits_of(ipi[i]) == before + 1, "an IPI");
            wrong += last_on[ipi[i]] != i;
        }
    return wrong;
}

static void ipis(void)
{
    struct evtchn_bind_ipi bad = {.vcpu = n_cpus};
    u64 own = cpus[0].events;

    is(hc_evtchn(EVTCHNOP_bind_ipi, &bad), -XEN_ENOENT, "bind_ipi to a vcpu that is not there");
    run_others(spin);
    is(send_to_each(40), 0, "IPIs reach vcpus that spin, each its own");
    end_others("spinning");
    run_others(sleep);
    is(send_to_each(40), 0, "IPIs reach vcpus that sleep");
    end_others("sleeping");
    is(cpus[0].events, own, "the sender saw none of them");
}

static void unmask_for_another(void)
{
    struct evtchn_unmask um = {.port = ipi[1]};
    unsigned wrong = 0;

    run_others(sleep);
    for (unsigned r = 0; r < 200; r++) {
        u32 before = hits_of(ipi[1]);

        port_mask(ipi[1], true);
        port_send(ipi[1]);
        wrong += !port_pending(ipi[1]) || hits_of(ipi[1]) != before;
        wrong += hc_evtchn(EVTCHNOP_unmask, &um) != 0;
        WAIT_FOR(&cpus[0], hits_of(ipi[1]) == before + 1, "an event unmasked from elsewhere");
    }
    is(wrong, 0, "unmask of a pending port wakes the vcpu it belongs to");
    end_others("sleeping");
}

/* --- timers --- */

static void own_timer(struct cpu *c)
{
    for (unsigned r = 0; r < 30; r++) {
        u64 due = smp_clock(c) + 1000000 + smp_rand(c) % 1000000;
        struct vcpu_set_singleshot_timer t = {.timeout_abs_ns = due};
        u32 before = hits_of(tick[c->id]);

        if (hc_vcpu(VCPUOP_set_singleshot_timer, c->id, &t))
            c->bad++;
        while (hits_of(tick[c->id]) == before) {
            hc_sched(SCHEDOP_block, NULL);
            smp_events_off(c);
        }
        c->bad += smp_clock(c) < due;
        c->bad += last_on[tick[c->id]] != c->id;
        c->good++;
    }
}

static void timers(void)
{
    struct evtchn_bind_virq v = {.virq = VIRQ_TIMER, .vcpu = 1};

    is(hc_evtchn(EVTCHNOP_bind_virq, &v), -XEN_EEXIST, "a vcpu's timer, bound again");
    v.vcpu = n_cpus;
    is(hc_evtchn(EVTCHNOP_bind_virq, &v), -XEN_ENOENT, "the timer of no vcpu");
    smp_all(n_cpus, own_timer, "timers");
    is(smp_sum_good(n_cpus), 30 * n_cpus, "each vcpu has its own timer");
    is(smp_sum_bad(n_cpus), 0, "which fires there, and not early");
}

/* --- ports that move --- */

static void moves(void)
{
    u32 a, b;
    unsigned wrong = 0;

    loop_bind(&a, &b);
    is(move(ipi[1], 2), -XEN_EINVAL, "an IPI port does not move");
    is(move(tick[1], 2), -XEN_EINVAL, "nor a vcpu's timer");
    is(move(b, n_cpus), -XEN_ENOENT, "to no vcpu");
    is(move(b, ~0U), -XEN_ENOENT, "to vcpu ~0");
    is(move(0, 1), -XEN_EINVAL, "port 0");
    is(move(4095, 1), -XEN_EINVAL, "a closed port");
    is(move(~0U, 1), -XEN_EINVAL, "port ~0");
    port_mask(b, false);
    run_others(sleep);
    for (unsigned r = 0; r < 300; r++) {
        unsigned to = 1 + r % (n_cpus - 1);
        u32 before = hits_of(b);

        wrong += move(b, to) != 0;
        port_owner(b, &cpus[to]);
        port_send(a);
        WAIT_FOR(&cpus[0], hits_of(b) == before + 1, "an event that moved");
        wrong += last_on[b] != to;
    }
    is(wrong, 0, "a port moves, and its events go where it is");
    end_others("sleeping");
    is(port_close(b), 0, "close");
    port_owner(b, NULL);
    port_close(a);
}

static u32 loop_b;

static void mover(struct cpu *c)
{
    while (!over) {
        c->bad += move(loop_b, 1 + smp_rand(c) % (n_cpus - 2)) != 0;
        c->count++;
        for (u64 delay = smp_rand(c) & 1023; delay; delay--)
            asm volatile("" : : : "memory");
    }
}

static void moving_targets(unsigned rounds)
{
    u32 a;

    loop_bind(&a, &loop_b);
    for (unsigned i = 1; i < n_cpus - 1; i++)
        cpus[i].ports[loop_b / 64] |= 1UL << (loop_b % 64);
    move(loop_b, 1);
    port_mask(loop_b, false);
    over = false;
    for (unsigned i = 1; i < n_cpus; i++)
        smp_begin(i, i == n_cpus - 1 ? mover : sleep);
    for (unsigned r = 0; r < rounds; r++) {
        u32 before = hits_of(loop_b);

        port_send(a);
        WAIT_FOR(&cpus[0], hits_of(loop_b) == before + 1, "an event while its port moves");
    }
    note("moved %lu times", (u64)cpus[n_cpus - 1].count);
    end_others("moving");
    is(smp_sum_bad(n_cpus), 0, "a port that moves all the time loses no event");
    port_owner(loop_b, NULL);
    port_close(loop_b), port_close(a);
}

/* --- poll --- */

static u32 poll_list[128];

static long poll_list_of(unsigned nr, u64 timeout)
{
    struct sched_poll p = {.nr_ports = nr, .timeout = timeout};

    set_xen_guest_handle(p.ports, poll_list);
    return hc_sched(SCHEDOP_poll, &p);
}

/* Polls the masked ports of the list until told to stop; counts what came. */
static void poller(struct cpu *c)
{
    u32 port = poll_list[127];

    while (!over) {
        c->bad += poll_list_of(128, 0) != 0;
        if (port_pending(port)) {
            port_clear(port);
            c->good++;
        } else {
            c->count++;
        }
    }
}

static bool is_blocked(unsigned id)
{
    static struct vcpu_runstate_info info;

    return !hc_vcpu(VCPUOP_get_runstate_info, id, &info) && info.state == RUNSTATE_blocked;
}

static void polls(unsigned rounds)
{
    for (unsigned i = 0; i < 128; i++)
        poll_list[i] = ipi_bind(1);
    over = false;
    smp_begin(1, poller);
    for (unsigned r = 0; r < rounds; r++) {
        if ((r & 63) == 0)
            WAIT_FOR(&cpus[0], is_blocked(1), "a poller to sleep");
        port_send(poll_list[127]);
        WAIT_FOR(&cpus[0], cpus[1].good == r + 1, "a poll to end");
        for (u64 delay = smp_rand(&cpus[0]) & 2047; delay; delay--)
            asm volatile("" : : : "memory");
    }
    is(cpus[1].good, rounds, "%u polls of 128 masked ports end with an event", rounds);
    note("%lu returned without one", (u64)cpus[1].count);
    over = true;
    port_send(poll_list[0]);
    smp_finish(1, "polling");
    is(cpus[1].bad, 0, "none fails");
    for (unsigned i = 0; i < 128; i++)
        port_clear(poll_list[i]), port_close(poll_list[i]);
}

static void poll_timeouts(struct cpu *c)
{
    u32 port = ipi[c->id];

    port_mask(port, true);
    port_clear(port);
    for (unsigned r = 0; r < 30; r++) {
        u64 due = smp_clock(c) + 1000000;

        c->bad += poll_port(port, due) != 0;
        c->bad += smp_clock(c) < due - 1000000;
        c->bad += port_pending(port);
        c->bad += poll_port(port, 1) != 0; /* long past */
        c->good++;
    }
    port_mask(port, false);
}

/* Ports of any number, while vcpu 0 opens and closes some. */
static void wild_poller(struct cpu *c)
{
    evtchn_port_t list[128];
    struct sched_poll p;

    for (unsigned r = 0; r < 500 && !over; r++) {
        for (unsigned i = 0; i < 128; i++)
            list[i] = smp_rand(c) & 3   ? smp_rand(c) % 64
                      : smp_rand(c) & 1 ? smp_rand(c) % 4200
                                        : (u32)smp_rand(c);
        p = (struct sched_poll){.nr_ports = smp_rand(c) % 130,
                                .timeout = smp_clock(c) + smp_rand(c) % 100000};
        set_xen_guest_handle(p.ports, list);
        hc_sched(SCHEDOP_poll, &p);
        c->good++;
    }
}

static void wild_polls(void)
{
    struct sched_poll p = {.nr_ports = 129, .timeout = 1};
    u32 port;

    set_xen_guest_handle(p.ports, poll_list);
    is(hc_sched(SCHEDOP_poll, &p), -XEN_EINVAL, "poll of 129 ports");
    p.nr_ports = ~0U;
    is(hc_sched(SCHEDOP_poll, &p), -XEN_EINVAL, "poll of ~0 ports");
    p.nr_ports = 2;
    set_xen_guest_handle(p.ports, (void *)HOLE_START);
    is(hc_sched(SCHEDOP_poll, &p), -XEN_EFAULT, "poll of a list in the hole");
    set_xen_guest_handle(p.ports, (void *)UNMAPPED);
    is(hc_sched(SCHEDOP_poll, &p), -XEN_EFAULT, "poll of a list nowhere");
    run_others(wild_poller);
    for (unsigned r = 0; r < 3000; r++) {
        port = ipi_bind(r % n_cpus);
        port_send(port);
        port_clear(port);
        if (port_close(port))
            die("a port cannot be closed");
    }
    for (unsigned i = 1; i < n_cpus; i++)
        smp_finish(i, "wild polls");
    ok(true, "polls of any port, while ports come and go (%lu)", smp_sum_good(n_cpus));
}

/* --- no wake-up is lost --- */

static struct {
    volatile u64 sent, seen, late;
} __attribute__((aligned(128))) ball[MAX_CPUS];
static u64 ball_rounds;

/*
 * Blocks until the other side has sent. The timer is a net below: when it fires although the
 * ball is there, that wake-up was lost.
 */
static void await_ball(struct cpu *c, u64 turn)
{
    u32 before = hits_of(tick[c->id]);

    while (ball[c->id].sent < turn) {
        hc_sched(SCHEDOP_block, NULL);
        smp_events_off(c);
        if (hits_of(tick[c->id]) != before)
            break;
    }
    if (hits_of(tick[c->id]) != before)
        ball[c->id].late++;
    ball[c->id].seen = turn;
}

static void arm_net(struct cpu *c)
{
    struct vcpu_set_singleshot_timer t = {.timeout_abs_ns = smp_clock(c) + 60000000000};

    hc_vcpu(VCPUOP_set_singleshot_timer, c->id, &t);
}

/* Vcpus 0 and 1 throw to each other, 2 and 3, and so on. */
static void play(struct cpu *c)
{
    unsigned other = c->id ^ 1;

    for (u64 turn = 1; turn <= ball_rounds; turn++) {
        if ((turn & 127) == 1)
            arm_net(c);
        if (c->id & 1)
            await_ball(c, turn);
        for (u64 delay = smp_rand(c) & (turn & 1 ? 255 : 4095); delay; delay--)
            asm volatile("" : : : "memory");
        ball[other].sent = turn;
        c->bad += port_send(ipi[other]) != 0;
        if (!(c->id & 1))
            await_ball(c, turn);
        if (ball[c->id].late)
            return;
        c->good++;
    }
    hc_vcpu(VCPUOP_stop_singleshot_timer, c->id, NULL);
}

static void no_lost_wakeups(u64 rounds)
{
    u64 late = 0, t = clock_ns();

    memset((void *)ball, 0, sizeof(ball));
    ball_rounds = rounds;
    smp_all(n_cpus & ~1U, play, "the ball");
    for (unsigned i = 0; i < n_cpus; i++)
        late += ball[i].late;
    t = clock_ns() - t;
    note("%lu blocks and kicks, %lu ns each", smp_sum_good(n_cpus),
         t / (1 + smp_sum_good(n_cpus)));
    is(late, 0, "no wake-up is lost");
    is(smp_sum_good(n_cpus), rounds * (n_cpus & ~1U), "in all rounds");
    is(smp_sum_bad(n_cpus), 0, "no send failed");
}

/* The same with poll on a masked port, as ticket locks do. */
static void play_polling(struct cpu *c)
{
    unsigned other = c->id ^ 1;

    for (u64 turn = 1; turn <= ball_rounds; turn++) {
        if (!(c->id & 1) && turn > 1)
            WAIT_FOR(c, ball[other].seen == turn - 1, "the other side of a poll");
        if (c->id & 1) {
            while (ball[c->id].sent < turn) {
                u64 net = smp_clock(c) + 60000000000;

                port_clear(ipi[c->id]);
                if (ball[c->id].sent < turn)
                    poll_port(ipi[c->id], net);
                c->bad += smp_clock(c) >= net;
            }
            ball[c->id].seen = turn;
        } else {
            for (u64 delay = smp_rand(c) & 2047; delay; delay--)
                asm volatile("" : : : "memory");
            ball[other].sent = turn;
            c->bad += port_send(ipi[other]) != 0;
        }
        c->good++;
    }
}

static void no_lost_polls(u64 rounds)
{
    memset((void *)ball, 0, sizeof(ball));
    ball_rounds = rounds;
    for (unsigned i = 0; i < n_cpus; i++)
        port_mask(ipi[i], true);
    smp_all(n_cpus & ~1U, play_polling, "the polled ball");
    is(smp_sum_good(n_cpus), rounds * (n_cpus & ~1U), "rounds of poll and send");
    is(smp_sum_bad(n_cpus), 0, "no poll sleeps through its event");
    for (unsigned i = 0; i < n_cpus; i++) {
        port_clear(ipi[i]);
        port_mask(ipi[i], false);
    }
}

/* --- storms --- */

static struct barrier meet;

static void storm(struct cpu *c)
{
    smp_events_on(c);
    for (unsigned r = 0; r < 5000; r++) {
        c->bad += port_send(ipi[smp_rand(c) % n_cpus]) != 0;
        if ((r & 63) == 0)
            c->bad += hc_sched(SCHEDOP_yield, NULL) != 0;
        c->good++;
    }
    smp_barrier(c, &meet, n_cpus);
    /* All is quiet but for what is under way; one more must come through everywhere. */
    if (c->id == 0)
        for (unsigned i = 0; i < n_cpus; i++)
            port_send(ipi[i]);
    smp_barrier(c, &meet, n_cpus);
    WAIT_FOR(c, !port_pending(ipi[c->id]), "the last event of a storm");
}

static void storms(void)
{
    u64 sum = 0;

    memset(hits, 0, sizeof(hits));
    smp_all(n_cpus, storm, "the storm");
    for (unsigned i = 0; i < n_cpus; i++)
        sum += hits_of(ipi[i]);
    note("%lu sends, %lu upcalls", smp_sum_good(n_cpus), sum);
    is(smp_sum_bad(n_cpus), 0, "a storm of IPIs among all");
    ok(sum >= n_cpus, "which came through");
}

static void yields(struct cpu *c)
{
    for (unsigned r = 0; r < 5000; r++)
        c->bad += hc_sched(SCHEDOP_yield, NULL) != 0;
}

/* --- reset --- */

/* XSA-338, 343: ports opened, used, moved and closed while all are closed at once. */
static void against_reset(struct cpu *c)
{
    u32 mine[16] = {0};

    for (unsigned r = 0; r < 4000; r++) {
        u32 *p = &mine[smp_rand(c) & 15], any = smp_rand(c) % 40;
        struct evtchn_bind_virq v = {.virq = VIRQ_DEBUG, .vcpu = c->id};
        struct evtchn_alloc_unbound u = {.dom = DOMID_SELF, .remote_dom = DOMID_SELF};
        struct evtchn_bind_interdomain i = {.remote_dom = DOMID_SELF, .remote_port = any};
        struct evtchn_unmask um = {.port = any};

        switch (smp_rand(c) & 7) {
        case 0:
            *p = ipi_bind(c->id);
            break;
        case 1:
            *p = hc_evtchn(EVTCHNOP_alloc_unbound, &u) ? 0 : u.port;
            break;
        case 2:
            *p = hc_evtchn(EVTCHNOP_bind_interdomain, &i) ? 0 : i.local_port;
            break;
        case 3:
            *p = hc_evtchn(EVTCHNOP_bind_virq, &v) ? 0 : v.port;
            break;
        case 4:
            port_close(*p);
            break;
        case 5:
            move(any, smp_rand(c) % n_cpus);
            break;
        case 6:
            hc_evtchn(EVTCHNOP_unmask, &um);
            break;
        default:
            port_send(any);
        }
        c->good++;
    }
    c->count = 1; /* done */
}

static void resets(void)
{
    struct evtchn_reset op = {.dom = DOMID_SELF}, bad = {.dom = 1234};
    unsigned done = 0, open = 0, bad_results = 0;
    u32 port;
    long rc;

    refused(hc_evtchn(EVTCHNOP_reset, &bad), "reset of no domain");
    for (unsigned i = 0; i < 64; i++)
        shared->evtchn_mask[i] = ~0UL;
    run_others(against_reset);
    do {
        /* Stock says EAGAIN when a port was opened meanwhile. */
        rc = hc_evtchn(EVTCHNOP_reset, &op);
        bad_results += rc && rc != -XEN_EAGAIN;
        done = 0;
        for (unsigned i = 1; i < n_cpus; i++)
            done += cpus[i].count;
        cpus[0].count++;
        hc_sched(SCHEDOP_yield, NULL);
    } while (done < n_cpus - 1);
    for (unsigned i = 1; i < n_cpus; i++)
        smp_finish(i, "what runs against reset");
    is(smp_sum_good(n_cpus), 4000 * (n_cpus - 1), "%lu resets while others use ports",
       (u64)cpus[0].count);
    is(bad_results, 0, "each succeeds or has to be repeated");
    is(hc_evtchn(EVTCHNOP_reset, &op), 0, "the last reset");
    for (u32 p = 1; p < PORTS; p++)
        open += status_of(p) > 0;
    is(open, 0, "no port is open");
    port = ipi_bind(0);
    is(port, 1, "the first port is given again");
    port_close(port);
    for (unsigned i = 0; i < 64; i++)
        shared->evtchn_pending[i] = 0;
    smp_bind_kicks();
    bind_all();
    is(send_to_each(0), 0, "all ports are bound again");
    run_others(sleep);
    is(send_to_each(50), 0, "and work");
    end_others("sleeping");
}

void test_smp_events(void)
{
    /* Stock needs milliseconds for each when the host has fewer CPUs than the machine. */
    u64 rounds = option_number("rounds", is_serai ? 30000 : 400);

    n_cpus = smp_present();
    smp_start(n_cpus);
    bind_all();
    ipis();
    unmask_for_another();
    timers();
    moves();
    moving_targets(600);
    polls(3000);
    smp_all(n_cpus, poll_timeouts, "poll timeouts");
    is(smp_sum_bad(n_cpus), 0, "polls with a timeout, on each vcpu");
    wild_polls();
    no_lost_wakeups(rounds);
    no_lost_polls(rounds / 4);
    storms();
    smp_all(n_cpus, yields, "yields");
    is(smp_sum_bad(n_cpus), 0, "yields on all");
    resets();
}
