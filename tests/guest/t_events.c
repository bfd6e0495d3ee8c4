/* Event channels, timers, clocks, vcpu_info. */
#include "guest.h"

USER_CODE_TEXT(u_spin, "1: dec %rdi; jnz 1b; ud2");

static u32 alloc_unbound(void)
{
    struct evtchn_alloc_unbound op = {.dom = DOMID_SELF, .remote_dom = DOMID_SELF};

    return hc_evtchn(EVTCHNOP_alloc_unbound, &op) ? 0 : op.port;
}

static long close_port(u32 port)
{
    struct evtchn_close op = {.port = port};

    return hc_evtchn(EVTCHNOP_close, &op);
}

static long send(u32 port)
{
    struct evtchn_send op = {.port = port};

    return hc_evtchn(EVTCHNOP_send, &op);
}

static long status_of(u32 port)
{
    struct evtchn_status op = {.dom = DOMID_SELF, .port = port};

    return hc_evtchn(EVTCHNOP_status, &op) ? -1 : (long)op.status;
}

static void mask_all(void)
{
    for (unsigned i = 0; i < 64; i++)
        shared->evtchn_mask[i] = ~0UL;
}

/* What an unmasking kernel does: clear the mask, enter the hypervisor when one is pending. */
static void events_on(void)
{
    vi->evtchn_upcall_mask = 0;
    asm volatile("" : : : "memory");
    if (vi->evtchn_upcall_pending)
        hc_version(XENVER_version, NULL);
}

static void events_off(void)
{
    vi->evtchn_upcall_mask = 1;
}

static void ports(void)
{
    u32 port = alloc_unbound(), other;
    struct evtchn_alloc_unbound bad = {.dom = 1234, .remote_dom = DOMID_SELF};
    struct evtchn_status st = {.dom = DOMID_SELF};

    ok(port > 0, "alloc_unbound gives port %u", port);
    is(status_of(port), EVTCHNSTAT_unbound, "its status");
    is(send(port), 0, "send on an unbound port is silently fine");
    refused(hc_evtchn(EVTCHNOP_alloc_unbound, &bad), "alloc_unbound for no domain");
    is(close_port(port), 0, "close");
    is(status_of(port), EVTCHNSTAT_closed, "its status");
    refused(close_port(port), "close again");
    refused(send(port), "send on a closed port");
    other = alloc_unbound();
    is(other, port, "the lowest free port is given again");
    close_port(other);
    refused(close_port(0), "close port 0");
    refused(close_port(4096), "close port 4096");
    refused(close_port(~0U), "close port ~0");
    refused(send(0), "send on port 0");
    refused(send(~0U), "send on port ~0");
    st.port = ~0U;
    refused(hc_evtchn(EVTCHNOP_status, &st), "status of port ~0");
    refused(hc_evtchn(99, &st), "unknown op");
}

static void interdomain(void)
{
    u32 a = alloc_unbound(), b;
    struct evtchn_bind_interdomain bind = {.remote_dom = DOMID_SELF, .remote_port = a};
    struct evtchn_bind_interdomain again = {.remote_dom = DOMID_SELF, .remote_port = a};

    mask_all();
    is(hc_evtchn(EVTCHNOP_bind_interdomain, &bind), 0, "bind a port to another of ours");
    b = bind.local_port;
    ok(b && b != a, "the local port is %u", b);
    ok(port_pending(b), "the local port is pending at once");
    is(status_of(a), EVTCHNSTAT_interdomain, "the first is bound as well");
    refused(hc_evtchn(EVTCHNOP_bind_interdomain, &again), "bind it a second time");
    port_clear(a), port_clear(b);
    is(send(b), 0, "send");
    ok(port_pending(a) && !port_pending(b), "reaches the other end only");
    port_clear(a);
    is(send(a), 0, "send back");
    ok(port_pending(b), "reaches this end");
    is(close_port(b), 0, "close one end");
    is(status_of(a), EVTCHNSTAT_unbound, "the other is unbound again");
    is(hc_evtchn(EVTCHNOP_bind_interdomain, &again), 0, "and can be bound again");
    close_port(a), close_port(again.local_port);
    port_clear(a), port_clear(b);
}

static void ipis(void)
{
    struct evtchn_bind_ipi ipi = {.vcpu = 0}, bad = {.vcpu = 77};
    struct evtchn_bind_vcpu bv;
    u64 before;

    is(hc_evtchn(EVTCHNOP_bind_ipi, &ipi), 0, "bind_ipi");
    refused(hc_evtchn(EVTCHNOP_bind_ipi, &bad), "bind_ipi to no vcpu");
    is(status_of(ipi.port), EVTCHNSTAT_ipi, "its status");
    bv = (struct evtchn_bind_vcpu){.port = ipi.port, .vcpu = 0};
    refused(hc_evtchn(EVTCHNOP_bind_vcpu, &bv), "bind_vcpu of an IPI");
    mask_all();
    port_mask(ipi.port, false);
    before = events_seen;
    is(send(ipi.port), 0, "send with events off");
    is(events_seen, before, "no upcall");
    ok(vi->evtchn_upcall_pending == 1 && (vi->evtchn_pending_sel >> (ipi.port / 64) & 1) &&
           port_pending(ipi.port),
       "but all three flags");
    events_on();
    is(events_seen, before + 1, "the upcall comes when events are on");
    is(event_saved_mask, 0, "with the old mask in its frame");
    is(vi->evtchn_upcall_mask, 0, "events are on after it");
    port_clear(ipi.port);
    send(ipi.port);
    is(events_seen, before + 2, "send with events on: an upcall at once");
    send(ipi.port);
    is(events_seen, before + 2, "a port that is still pending gives no second one");
    port_clear(ipi.port);
    vi->evtchn_pending_sel = 0;
    port_mask(ipi.port, true);
    send(ipi.port);
    is(events_seen, before + 2, "a masked port gives none");
    ok(port_pending(ipi.port) && !vi->evtchn_upcall_pending, "it is only pending");
    struct evtchn_unmask um = {.port = ipi.port};
    is(hc_evtchn(EVTCHNOP_unmask, &um), 0, "unmask");
    is(events_seen, before + 3, "brings the upcall");
    um.port = ~0U;
    refused(hc_evtchn(EVTCHNOP_unmask, &um), "unmask of port ~0");
    events_off();
    port_clear(ipi.port);
    is(close_port(ipi.port), 0, "close it");
}

static void virqs(void)
{
    struct evtchn_bind_virq v = {.virq = VIRQ_DEBUG}, w;
    static const u32 global[] = {VIRQ_CONSOLE, VIRQ_DOM_EXC, VIRQ_CON_RING, VIRQ_PCPU_STATE};

    is(hc_evtchn(EVTCHNOP_bind_virq, &v), 0, "bind VIRQ_DEBUG");
    is(status_of(v.port), EVTCHNSTAT_virq, "its status");
    w = v;
    is(hc_evtchn(EVTCHNOP_bind_virq, &w), -XEN_EEXIST, "a second time");
    refused(send(v.port), "send on a virq");
    is(close_port(v.port), 0, "close");
    is(hc_evtchn(EVTCHNOP_bind_virq, &w), 0, "and bind again");
    close_port(w.port);
    for (unsigned i = 0; i < 4; i++) {
        v = (struct evtchn_bind_virq){.virq = global[i]};
        is(hc_evtchn(EVTCHNOP_bind_virq, &v), 0, "bind virq %u", global[i]);
        close_port(v.port);
    }
    v = (struct evtchn_bind_virq){.virq = NR_VIRQS};
    refused(hc_evtchn(EVTCHNOP_bind_virq, &v), "virq beyond the last");
    v.virq = ~0U;
    refused(hc_evtchn(EVTCHNOP_bind_virq, &v), "virq ~0");
    v = (struct evtchn_bind_virq){.virq = VIRQ_TIMER, .vcpu = 5};
    refused(hc_evtchn(EVTCHNOP_bind_virq, &v), "virq of no vcpu");
    v = (struct evtchn_bind_virq){.virq = VIRQ_CONSOLE, .vcpu = 1};
    refused(hc_evtchn(EVTCHNOP_bind_virq, &v), "a global virq on another vcpu");
}

/* XSA-317, 342, 344, 496: every port there is, then none. */
static void exhaustion(void)
{
    static u32 ports[5000];
    struct evtchn_bind_virq v = {.virq = VIRQ_DEBUG};
    unsigned n = 0, bad = 0;
    u64 t = clock_ns();

    while (n < 5000 && (ports[n] = alloc_unbound()))
        bad += ports[n] >= 4096, n++;
    note("%u ports", n);
    ok(n >= 1000 && n < 4096, "ports run out");
    is(bad, 0, "none is out of range");
    refused(hc_evtchn(EVTCHNOP_bind_virq, &v), "bind_virq without a free port");
    for (unsigned i = 0; i < n; i++)
        bad += close_port(ports[i]) != 0;
    is(bad, 0, "all can be closed");
    is(hc_evtchn(EVTCHNOP_bind_virq, &v), 0, "bind_virq works again");
    close_port(v.port);
    ok(clock_ns() - t < 5000000000, "within five seconds");
}

static void timers(void)
{
    u32 port;
    u64 now, seen;

    mask_all();
    port = timer_port();
    port_clear(port);
    now = clock_ns();
    is(timer_at(now + 2000000), 0, "one-shot timer in 2 ms");
    ok(wait_port(port), "it fires");
    ok(clock_ns() >= now + 2000000, "not early");
    port_clear(port);
    is(timer_at(now), 0, "a time that has passed");
    ok(wait_port(port), "fires at once");
    port_clear(port);
    is(timer_at(0), 0, "time 0 is past");
    ok(wait_port(port), "fires at once");
    port_clear(port);
    /* XSA-20: extreme times. */
    timer_at(~0UL);
    timer_at(1UL << 63);
    timer_at((1UL << 63) - 1);
    timer_at((1UL << 63) + 1);
    hc_set_timer(~0UL);
    hc_set_timer(1UL << 63);
    hc_set_timer((1UL << 63) - 1);
    port_clear(port);
    is(hc_set_timer(clock_ns() + 1000000), 0, "set_timer_op");
    ok(wait_port(port), "fires");
    port_clear(port);
    timer_at(clock_ns() + 3000000);
    is(hc_vcpu(VCPUOP_stop_singleshot_timer, 0, NULL), 0, "stop_singleshot_timer");
    now = clock_ns();
    while (clock_ns() < now + 6000000)
        hc_sched(SCHEDOP_yield, NULL);
    ok(!port_pending(port), "a stopped timer stays silent");
    vi->evtchn_pending_sel = 0;
    events_on();
    seen = events_seen;
    timer_at(clock_ns() + 1000000);
    is(hc_sched(SCHEDOP_block, NULL), 0, "block until the timer");
    ok(events_seen > seen && port_pending(port), "the timer woke us");
    events_off();
    port_clear(port);
    timer_at(clock_ns() + 1000000);
    hc_sched(SCHEDOP_block, NULL);
    is(vi->evtchn_upcall_mask, 0, "block unmasks events");
    events_off();
    port_clear(port);
}

static void timer_errors(void)
{
    struct vcpu_set_singleshot_timer t = {.timeout_abs_ns = 1, .flags = VCPU_SSHOTTMR_future};
    struct vcpu_set_periodic_timer p = {.period_ns = 1};
    u32 port = timer_port();
    long rc;

    refused(hc_vcpu(VCPUOP_set_singleshot_timer, 1, &t), "timer of another vcpu");
    refused(hc_vcpu(VCPUOP_set_singleshot_timer, 99, &t), "timer of no vcpu");
    /* Stock Xen 4.17 knows the flag no more. */
    rc = hc_vcpu(VCPUOP_set_singleshot_timer, 0, &t);
    ok(rc == 0 || rc == -XEN_ETIME, "past time with the future flag: %ld", rc);
    /* XSA-20: a period of 1 ns. */
    ok(hc_vcpu(VCPUOP_set_periodic_timer, 0, &p) <= 0, "period of 1 ns");
    p.period_ns = ~0UL;
    ok(hc_vcpu(VCPUOP_set_periodic_timer, 0, &p) <= 0, "period of ~0 ns");
    is(hc_vcpu(VCPUOP_stop_periodic_timer, 0, NULL), 0, "stop_periodic_timer");
    port_clear(port);
    is(hc_vcpu(VCPUOP_is_up, 0, NULL), 1, "vcpu 0 is up");
    is(hc_vcpu(VCPUOP_is_up, 1, NULL), -XEN_ENOENT, "vcpu 1 does not exist");
    is(hc_vcpu(VCPUOP_is_up, 8191, NULL), -XEN_ENOENT, "vcpu 8191 does not exist");
    is(hc_vcpu(VCPUOP_is_up, ~0U, NULL), -XEN_ENOENT, "vcpu ~0 does not exist");
    refused(hc_vcpu(99, 0, NULL), "unknown vcpu op");
}

/* Timer events while user mode runs: the upcall and back. XSA-446. */
static void upcalls_from_user(void)
{
    u32 port = timer_port();
    u64 seen = events_seen;
    struct iret_context c = {.rip = USER_CODE,
                             .cs = FLAT_USER_CS,
                             .rflags = 0x200,
                             .rsp = USER_DATA + PAGE_SIZE,
                             .ss = FLAT_USER_SS};

    user_load(u_spin, u_spin_end - u_spin);
    trap_clear();
    timer_at(clock_ns() + 1000000);
    enter_context(&c, 30000000, 0, 0, __HYPERVISOR_iret);
    is(trap.vec, 6, "user code ran to its end");
    ok(events_seen > seen, "an event interrupted it");
    ok(event_rip >= USER_CODE && event_rip < USER_CODE + 16, "at a user address");
    is(trap.r.rsp, USER_DATA + PAGE_SIZE, "its stack is intact");
    events_off();
    port_clear(port);
}

static void polls(void)
{
    evtchn_port_t ports[2] = {alloc_unbound(), alloc_unbound()};
    struct evtchn_bind_ipi ipi = {.vcpu = 0};
    struct sched_poll poll = {.nr_ports = 1};
    u64 t;

    mask_all();
    hc_evtchn(EVTCHNOP_bind_ipi, &ipi);
    ports[1] = ipi.port;
    set_xen_guest_handle(poll.ports, ports);
    t = clock_ns();
    poll.timeout = t + 2000000;
    is(hc_sched(SCHEDOP_poll, &poll), 0, "poll with a timeout");
    ok(clock_ns() >= t + 1000000, "waits for it");
    send(ipi.port);
    poll.nr_ports = 2;
    poll.timeout = clock_ns() + 2000000000;
    t = clock_ns();
    is(hc_sched(SCHEDOP_poll, &poll), 0, "poll with a pending, masked port");
    ok(clock_ns() - t < 1000000000, "returns at once");
    poll.nr_ports = 129;
    refused(hc_sched(SCHEDOP_poll, &poll), "poll of 129 ports");
    poll.nr_ports = 1;
    /* XSA-221, 342: any port number. */
    for (u64 n = 0; n < 33; n++) {
        ports[0] = (1UL << n) - 1;
        poll.timeout = 1;
        hc_sched(SCHEDOP_poll, &poll);
    }
    ok(true, "poll of any port survived");
    poll.nr_ports = 0;
    poll.timeout = clock_ns() + 1000000;
    hc_sched(SCHEDOP_poll, &poll);
    port_clear(ipi.port);
    close_port(ipi.port);
    is(hc_sched(SCHEDOP_yield, NULL), 0, "yield");
    refused(hc_sched(99, NULL), "unknown sched op");
}

static void clocks(void)
{
    u64 last = 0, back = 0, t0 = clock_ns(), tsc0 = __builtin_ia32_rdtsc(), ns, tsc, err;
    u32 wc = shared->wc_version;

    for (unsigned i = 0; i < 100000; i++) {
        u64 t = clock_ns();

        back += t < last;
        last = t;
        if ((i & 1023) == 0)
            hc_sched(SCHEDOP_yield, NULL);
    }
    is(back, 0, "the clock never goes back");
    while (clock_ns() < t0 + 1500000000)
        hc_sched(SCHEDOP_yield, NULL);
    ns = clock_ns() - t0;
    tsc = __builtin_ia32_rdtsc() - tsc0;
    /* ns per tick by the scale, against what was measured */
    err = vi->time.tsc_shift < 0 ? tsc >> -vi->time.tsc_shift : tsc << vi->time.tsc_shift;
    err = (u64)((unsigned __int128)err * vi->time.tsc_to_system_mul >> 32);
    ok(err > ns - ns / 100 && err < ns + ns / 100, "clock and scale agree (%lu, %lu us)",
       err / 1000, ns / 1000);
    /* Renewed now and then, or good for ever because the scale never changes. */
    ok(vi->time.system_time > t0 - 1000000000 || is_serai, "the time stamp is renewed");
    ok((wc & 1) == 0 && shared->wc_nsec < 1000000000, "wall clock");
    note("tsc flags %x", vi->time.flags);
}

static void settime(void)
{
    struct xen_platform_op op = {.cmd = XENPF_settime64,
                                 .interface_version = XENPF_INTERFACE_VERSION};
    u64 now = clock_ns();

    op.u.settime64.secs = 2000000000;
    op.u.settime64.nsecs = 5;
    op.u.settime64.system_time = now;
    is(HC(platform_op, &op, 0, 0, 0, 0), 0, "settime64");
    is(shared->wc_sec + (now + shared->wc_nsec) / 1000000000, 2000000000,
       "the wall clock moved");
    op.interface_version = 1;
    is(HC(platform_op, &op, 0, 0, 0, 0), -XEN_EACCES, "another interface version");
}

static void runstate(void)
{
    static struct vcpu_runstate_info info, area;
    struct vcpu_register_runstate_memory_area reg = {{.v = NULL}};
    u64 sum, again;
    u32 port = timer_port();

    port_clear(port);
    is(hc_vcpu(VCPUOP_get_runstate_info, 0, &info), 0, "get_runstate_info");
    is(info.state, RUNSTATE_running, "we are running");
    sum = info.time[0] + info.time[1] + info.time[2] + info.time[3];
    hc_vcpu(VCPUOP_get_runstate_info, 0, &info);
    again = info.time[0] + info.time[1] + info.time[2] + info.time[3];
    ok(again >= sum, "times grow");
    set_xen_guest_handle(reg.addr.h, &area);
    is(hc_vcpu(VCPUOP_register_runstate_memory_area, 0, &reg), 0, "register a runstate area");
    is(area.state, RUNSTATE_running, "it is filled");
    timer_at(clock_ns() + 3000000);
    hc_sched(SCHEDOP_block, NULL);
    events_off();
    port_clear(port);
    ok(area.state == RUNSTATE_running && area.time[RUNSTATE_blocked] > 0, "it sees blocking");
    set_xen_guest_handle(reg.addr.h, (void *)UNMAPPED);
    hc_vcpu(VCPUOP_register_runstate_memory_area, 0, &reg);
    timer_at(clock_ns() + 1000000);
    hc_sched(SCHEDOP_block, NULL);
    events_off();
    port_clear(port);
    ok(true, "an unmapped area is tolerated");
}

/* XSA-327: the area of vcpu_info at every offset; the only good one comes last. */
static void vcpu_info_area(void)
{
    u8 *page = page_alloc();
    struct vcpu_register_vcpu_info reg = {.mfn = mfn_of(page)};
    unsigned bad = 0;
    u64 seen;

    for (unsigned off = 0; off < 2 * PAGE_SIZE; off++) {
        if (off % 8 == 0 && off <= PAGE_SIZE - sizeof(*vi))
            continue;
        reg.offset = off;
        bad += hc_vcpu(VCPUOP_register_vcpu_info, 0, &reg) >= 0;
    }
    reg.offset = ~0U;
    bad += hc_vcpu(VCPUOP_register_vcpu_info, 0, &reg) >= 0;
    reg.offset = 64;
    reg.mfn = mfn_of(l4_table());
    bad += hc_vcpu(VCPUOP_register_vcpu_info, 0, &reg) >= 0;
    reg.mfn = max_mfn + 1;
    bad += hc_vcpu(VCPUOP_register_vcpu_info, 0, &reg) >= 0;
    reg.mfn = 0xfee00;
    bad += hc_vcpu(VCPUOP_register_vcpu_info, 0, &reg) >= 0;
    is(bad, 0, "register_vcpu_info at bad places");
    is(((u64 *)page)[0] | ((u64 *)page)[8], 0, "nothing was written");
    reg.mfn = mfn_of(page);
    reg.offset = 128;
    is(hc_vcpu(VCPUOP_register_vcpu_info, 99, &reg), -XEN_ENOENT, "of no vcpu");
    events_off();
    is(hc_vcpu(VCPUOP_register_vcpu_info, 0, &reg), 0, "at a good place");
    vi = (struct vcpu_info *)(page + 128);
    is(vi->evtchn_upcall_mask, 1, "the mask moved along");
    is(vi->evtchn_upcall_pending, 1, "a spurious event is pending");
    ok(vi->time.tsc_to_system_mul != 0, "and the clock");
    refused(hc_vcpu(VCPUOP_register_vcpu_info, 0, &reg), "a second time");
    seen = events_seen;
    events_on();
    is(events_seen, seen + 1, "its event arrives");
    events_off();
    try_read(UNMAPPED + 0x123, NULL);
    is(vi->arch.cr2, UNMAPPED + 0x123, "cr2 comes here now");
    is(trap.mask, 1, "traps see the mask here");
    refused(pin(1, page), "the page cannot become a table");
    set_ro(page);
    refused(pin(1, page), "not even when it is mapped read-only");
    set_rw(page);
}

/* Lost wake-ups: a timer that fires around the moment of blocking. */
static void no_lost_wakeups(void)
{
    u32 port = timer_port();
    u64 seen = events_seen, t = clock_ns();
    unsigned rounds = 0;

    rand_seed(3);
    events_off();
    for (; rounds < 300 && clock_ns() < t + 60000000000; rounds++) {
        port_clear(port);
        vi->evtchn_pending_sel = 0;
        timer_at(clock_ns() + rand_below(60000));
        for (u64 spin = rand_below(2000); spin; spin--)
            asm volatile("" : : : "memory");
        hc_sched(SCHEDOP_block, NULL);
        events_off();
    }
    is(rounds, 300, "300 timers around 300 blocks");
    ok(events_seen > seen, "with upcalls");
}

void test_events(void)
{
    user_init();
    ports();
    interdomain();
    ipis();
    virqs();
    exhaustion();
    timers();
    timer_errors();
    upcalls_from_user();
    polls();
    clocks();
    settime();
    runstate();
    vcpu_info_area();
    no_lost_wakeups();
    ok(tables_are_readonly(), "no table is mapped writable");
}
