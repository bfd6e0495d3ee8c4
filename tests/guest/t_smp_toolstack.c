/*
 * A toolstack that has lost its senses, on all vcpus at once: random questions about the machine
 * and orders about domains that come and go meanwhile. Afterwards nothing may be missing.
 */
#include "domu.h"
#include <xen/sysctl.h>

#define NR_DOMAINS 3
#define ROUNDS     400

static unsigned n_cpus;
static volatile u16 ids[NR_DOMAINS]; /* 0: none now */
static u8 *buffer[MAX_CPUS];         /* a page, with nothing behind it */

/* --- random arguments --- */

static u64 number(struct cpu *c)
{
    static const u64 odd[] = {0,
                              1,
                              2,
                              3,
                              63,
                              64,
                              65,
                              0x7fffffff,
                              0x80000000,
                              0xffffffff,
                              0xffffffff00000000,
                              ~0UL,
                              UNMAPPED,
                              HOLE_START,
                              HOLE_END,
                              NON_CANONICAL};
    u64 r = smp_rand(c), at = (u64)buffer[c->id];

    switch (r & 7) {
    case 0:
        return odd[r >> 8 & 15];
    case 1:
        return r >> 8 & 7;
    case 2:
        return (r >> 8 & 7) << 32 | (r >> 16 & 7);
    case 3:
        return at + PAGE_SIZE - (r >> 8 & 63); /* the end of what may be written */
    case 4:
        return r >> 8;
    default:
        return at;
    }
}

static void fill(struct cpu *c, u64 *words, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        words[i] = number(c);
}

/* Fields that decide how far a request gets are sane half of the time. */
static void ask_machine(struct cpu *c)
{
    static const u8 cmds[] = {
        XEN_SYSCTL_readconsole,       XEN_SYSCTL_physinfo,    XEN_SYSCTL_sched_id,
        XEN_SYSCTL_getdomaininfolist, XEN_SYSCTL_getcpuinfo,  XEN_SYSCTL_availheap,
        XEN_SYSCTL_get_pmstat,        XEN_SYSCTL_cputopoinfo, XEN_SYSCTL_numainfo,
        XEN_SYSCTL_cpupool_op,        XEN_SYSCTL_cpupool_op,  XEN_SYSCTL_cpupool_op,
        XEN_SYSCTL_scheduler_op,      XEN_SYSCTL_pcitopoinfo, XEN_SYSCTL_get_cpu_featureset,
        XEN_SYSCTL_get_cpu_policy,
    };
    struct xen_sysctl s;
    u64 r = smp_rand(c);

    memset(&s, 0, sizeof(s));
    s.cmd = cmds[r & 15];
    s.interface_version = XEN_SYSCTL_INTERFACE_VERSION;
    fill(c, (u64 *)&s.u, sizeof(s.u) / 8);
    if (s.cmd == XEN_SYSCTL_cpupool_op && r & 0x100) {
        s.u.cpupool_op.op = r >> 16 & 7;
        s.u.cpupool_op.cpupool_id = r >> 20 & 3;
        s.u.cpupool_op.sched_id = XEN_SCHEDULER_CREDIT2;
        s.u.cpupool_op.cpu = r >> 24 & 3;
        s.u.cpupool_op.domid = ids[(r >> 28) % NR_DOMAINS];
        s.u.cpupool_op.cpumap.nr_bits = r >> 32 & 255;
        set_xen_guest_handle(s.u.cpupool_op.cpumap.bitmap, buffer[c->id]);
    }
    /* A list of absurd length that can be read takes as long as it is. */
    if (s.cmd == XEN_SYSCTL_pcitopoinfo)
        s.u.pcitopoinfo.num_devs &= 63;
    HC(sysctl, &s, 0, 0, 0, 0);
    c->good++;
}

static void order_domain(struct cpu *c)
{
    static const u8 cmds[] = {
        XEN_DOMCTL_setvcpuaffinity, XEN_DOMCTL_getvcpuaffinity, XEN_DOMCTL_setnodeaffinity,
        XEN_DOMCTL_getnodeaffinity, XEN_DOMCTL_getvcpuinfo,     XEN_DOMCTL_scheduler_op,
        XEN_DOMCTL_settscinfo,      XEN_DOMCTL_gettscinfo,      XEN_DOMCTL_get_cpu_policy,
        XEN_DOMCTL_set_cpu_policy,  XEN_DOMCTL_set_cpu_policy,  XEN_DOMCTL_getdomaininfo,
        XEN_DOMCTL_pausedomain,     XEN_DOMCTL_unpausedomain,   XEN_DOMCTL_setdomainhandle,
        XEN_DOMCTL_max_mem,
    };
    struct xen_domctl d;
    u64 r = smp_rand(c);
    u16 id = ids[(r >> 8) % NR_DOMAINS];

    if (!id)
        return;
    memset(&d, 0, sizeof(d));
    fill(c, (u64 *)&d.u, sizeof(d.u) / 8);
    if ((cmds[r & 15] == XEN_DOMCTL_set_cpu_policy ||
         cmds[r & 15] == XEN_DOMCTL_get_cpu_policy) &&
        r & 0x10000) {
        d.u.cpu_policy.nr_leaves = r >> 20 & 127;
        d.u.cpu_policy.nr_msrs = r >> 28 & 3;
        set_xen_guest_handle(d.u.cpu_policy.leaves, (void *)buffer[c->id]);
        set_xen_guest_handle(d.u.cpu_policy.msrs, (void *)(buffer[c->id] + 3000));
    }
    if (cmds[r & 15] == XEN_DOMCTL_scheduler_op && r & 0x10000) {
        d.u.scheduler_op.sched_id = XEN_SCHEDULER_CREDIT2;
        d.u.scheduler_op.cmd = r >> 20 & 1;
        d.u.scheduler_op.u.credit2.weight = (u16)(r >> 24);
        d.u.scheduler_op.u.credit2.cap = (u16)(r >> 40 & 255);
    }
    domctl(cmds[r & 15], id, &d);
    c->good++;
}

/* --- domains that come and go --- */

static u16 make(u32 pool)
{
    struct xen_domctl d;

    memset(&d, 0, sizeof(d));
    d.u.createdomain = (struct xen_domctl_createdomain){.max_vcpus = 2,
                                                        .cpupool_id = pool,
                                                        .max_grant_frames = 4,
                                                        .max_maptrack_frames = 4,
                                                        .max_evtchn_port = 1023,
                                                        .grant_opts = 1};
    if (domctl(XEN_DOMCTL_createdomain, 0, &d))
        return 0;
    return (u16)d.domain;
}

static void add_vcpus(u16 id)
{
    struct xen_domctl d;

    memset(&d, 0, sizeof(d));
    d.u.max_vcpus.max = 2;
    domctl(XEN_DOMCTL_max_vcpus, id, &d);
}

static void come_and_go(struct cpu *c)
{
    u64 r = smp_rand(c);
    unsigned which = r % NR_DOMAINS;

    if (!ids[which]) {
        ids[which] = make(r >> 8 & 3);
        /* Known to the others before it is complete. */
        if (ids[which])
            add_vcpus(ids[which]);
    } else {
        c->bad += domctl_plain(XEN_DOMCTL_destroydomain, ids[which]) != 0;
        ids[which] = 0;
    }
}

static void rave(struct cpu *c)
{
    for (rounds_start(c, n_cpus); rounds_left(c, ROUNDS);) {
        u64 r = smp_rand(c) & 63;

        if (c->id == 0 && r < 4)
            come_and_go(c);
        else if (r & 1)
            ask_machine(c);
        else
            order_domain(c);
    }
}

/* --- what must be true afterwards --- */

static void sysctl_or_die(unsigned cmd, struct xen_sysctl *s)
{
    s->cmd = cmd;
    s->interface_version = XEN_SYSCTL_INTERFACE_VERSION;
    if (HC(sysctl, s, 0, 0, 0, 0))
        die("a plain question is not answered");
}

static u64 free_pages(void)
{
    struct xen_sysctl s = {0};

    sysctl_or_die(XEN_SYSCTL_physinfo, &s);
    return s.u.physinfo.free_pages;
}

static long pool_op(unsigned what, u32 pool, u32 cpu)
{
    struct xen_sysctl s = {.cmd = XEN_SYSCTL_cpupool_op,
                           .interface_version = XEN_SYSCTL_INTERFACE_VERSION};

    s.u.cpupool_op.op = what;
    s.u.cpupool_op.cpupool_id = pool;
    s.u.cpupool_op.cpu = cpu;
    s.u.cpupool_op.cpumap.nr_bits = 64;
    set_xen_guest_handle(s.u.cpupool_op.cpumap.bitmap, buffer[0]);
    return HC(sysctl, &s, 0, 0, 0, 0);
}

static void all_to_pool_0(void)
{
    for (u32 pool = 1; pool < 8; pool++) {
        for (u32 cpu = 0; cpu < 4; cpu++)
            pool_op(XEN_SYSCTL_CPUPOOL_OP_RMCPU, pool, cpu);
        pool_op(XEN_SYSCTL_CPUPOOL_OP_DESTROY, pool, 0);
    }
    for (u32 cpu = 0; cpu < 4; cpu++)
        pool_op(XEN_SYSCTL_CPUPOOL_OP_ADDCPU, 0, cpu);
}

static void end_domains(void)
{
    static xen_domctl_getdomaininfo_t info[2];
    struct xen_sysctl s;

    for (unsigned i = 0; i < NR_DOMAINS; i++)
        if (ids[i])
            domctl_plain(XEN_DOMCTL_destroydomain, ids[i]);
    do {
        hc_sched(SCHEDOP_yield, NULL);
        memset(&s, 0, sizeof(s));
        s.u.getdomaininfolist.max_domains = 2;
        set_xen_guest_handle(s.u.getdomaininfolist.buffer, info);
        sysctl_or_die(XEN_SYSCTL_getdomaininfolist, &s);
    } while (s.u.getdomaininfolist.num_domains > 1);
}

void test_smp_toolstack(void)
{
    u64 before, after;

    n_cpus = smp_present();
    smp_init();
    smp_start(n_cpus);
    for (unsigned i = 0; i < n_cpus; i++) {
        buffer[i] = (u8 *)window(2 * i);
        window_map(2 * i, maddr_of(page_alloc()) | PTE_KERN);
    }
    /* What is kept for later domains exists after the first. */
    for (unsigned i = 0; i < NR_DOMAINS; i++) {
        ids[i] = make(0);
        add_vcpus(ids[i]);
    }
    end_domains();
    memset((void *)ids, 0, sizeof(ids));
    before = free_pages();
    smp_all(n_cpus, rave, "random orders");
    note("%lu calls", smp_sum_good(n_cpus));
    is(smp_sum_bad(n_cpus), 0, "each domain could be destroyed");
    end_domains();
    all_to_pool_0();
    is(pool_op(XEN_SYSCTL_CPUPOOL_OP_INFO, 1, 0), -XEN_ENOENT, "one pool is left");
    is(pool_op(XEN_SYSCTL_CPUPOOL_OP_INFO, 0, 0), 0, "pool 0");
    is(buffer[0][0], 15, "has all CPUs");
    after = free_pages();
    ok(after + 16 >= before, "all memory is back: %lu pages, %lu before", after, before);
}
