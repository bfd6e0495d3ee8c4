/*
 * What the toolstack does to a domain before it runs: where its vcpus may be, what they look
 * like, with bad arguments and good ones.
 */
#include "domu.h"
#include <xen/sysctl.h>

#define NONE   0xffffffffU
#define WILD   UNMAPPED
#define HUGE_N 0x7fffffffU

long sysctl(unsigned cmd, struct xen_sysctl *s);

static struct xen_domctl op;
static u16 id; /* of a domain with two vcpus and nothing else */

static void fresh(void)
{
    memset(&op, 0, sizeof(op));
}

static void make(void)
{
    fresh();
    op.u.createdomain.max_vcpus = 2;
    op.u.createdomain.max_evtchn_port = 1023;
    op.u.createdomain.max_grant_frames = 4;
    op.u.createdomain.max_maptrack_frames = 4;
    op.u.createdomain.grant_opts = 1;
    memset(op.u.createdomain.handle, 0x42, 16);
    is(domctl(XEN_DOMCTL_createdomain, 0, &op), 0, "a domain");
    id = op.domain;
    fresh();
    op.u.max_vcpus.max = 2;
    is(domctl(XEN_DOMCTL_max_vcpus, id, &op), 0, "with two vcpus");
}

static void versions(void)
{
    static const unsigned unknown[] = {0, 6, 7, 8, 49, 58, 70, 80, 87, 999, 5000, NONE};
    long bad = 0;

    fresh();
    op.cmd = XEN_DOMCTL_getdomaininfo;
    for (unsigned v = 0; v < 64; v++) {
        op.interface_version = v;
        bad += v != XEN_DOMCTL_INTERFACE_VERSION && HC(domctl, &op, 0, 0, 0, 0) != -XEN_EACCES;
    }
    is(bad, 0, "domctl of other versions is refused");
    is(HC(domctl, NULL, 0, 0, 0, 0), -XEN_EFAULT, "domctl without an argument");
    is(HC(domctl, (void *)WILD, 0, 0, 0, 0), -XEN_EFAULT, "domctl with a wild one");
    for (unsigned i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++)
        bad += domctl_plain(unknown[i], 0) != -XEN_ENOSYS;
    is(bad, 0, "unknown operations do not exist");
}

/* --- affinity --- */

static u8 hard[16], soft[16];

static long affinity(unsigned cmd, u32 vcpu, u32 flags, u32 bits)
{
    fresh();
    op.u.vcpuaffinity.vcpu = vcpu;
    op.u.vcpuaffinity.flags = flags;
    op.u.vcpuaffinity.cpumap_hard.nr_bits = op.u.vcpuaffinity.cpumap_soft.nr_bits = bits;
    set_xen_guest_handle(op.u.vcpuaffinity.cpumap_hard.bitmap, hard);
    set_xen_guest_handle(op.u.vcpuaffinity.cpumap_soft.bitmap, soft);
    return domctl(cmd, id, &op);
}

#define SET  XEN_DOMCTL_setvcpuaffinity
#define GET  XEN_DOMCTL_getvcpuaffinity
#define HARD XEN_VCPUAFFINITY_HARD
#define SOFT XEN_VCPUAFFINITY_SOFT

static void affinities(void)
{
    memset(hard, 0x55, 16);
    memset(soft, 0x55, 16);
    is(affinity(GET, 0, HARD | SOFT, 128), 0, "getvcpuaffinity");
    ok(hard[0] == 3 && soft[0] == 3 && !hard[1] && !hard[15] && !soft[15], "everywhere");
    hard[0] = 2;
    is(affinity(SET, 1, HARD, 2), 0, "vcpu 1 to CPU 1");
    hard[0] = 0;
    is(affinity(GET, 1, HARD, 128), 0, "it");
    is(hard[0], 2, "is there");
    memset(soft, 0xff, 16);
    is(affinity(SET, 1, SOFT, 128), 0, "softly everywhere");
    is(soft[0], 2, "that is where it may be at all");
    is(affinity(GET, 1, SOFT, 128), 0, "but what was said");
    is(soft[0], 3, "is kept");
    hard[0] = 0;
    is(affinity(SET, 1, HARD, 128), -XEN_EINVAL, "nowhere");
    memset(hard, 0, 16);
    hard[0] = 4;
    is(affinity(SET, 1, HARD, 128), -XEN_EINVAL, "only on a CPU there is not");
    hard[0] = 0xff;
    is(affinity(SET, 1, HARD, 0), -XEN_EINVAL, "in a map without bits");
    is(affinity(SET, 1, HARD, 1), 0, "only the first bit of the map counts");
    is(hard[0], 1, "that is CPU 0");
    memset(hard, 0xff, 16);
    is(affinity(SET, 1, HARD, 128), 0, "everywhere again");
    is(affinity(GET, 2, HARD, 8), -XEN_EINVAL, "of no vcpu");
    is(affinity(GET, NONE, HARD, 8), -XEN_EINVAL, "of the last");
    is(affinity(SET, 2, HARD, 8), -XEN_EINVAL, "setting it");
    is(affinity(SET, 0, 0, 8), -XEN_EINVAL, "neither hard nor soft");
    is(affinity(GET, 0, 0, 8), -XEN_EINVAL, "nor asked");
}

static void wild_affinities(void)
{
    fresh();
    op.u.vcpuaffinity.flags = HARD;
    op.u.vcpuaffinity.cpumap_hard.nr_bits = HUGE_N;
    set_xen_guest_handle(op.u.vcpuaffinity.cpumap_hard.bitmap, (u8 *)WILD);
    is(domctl(SET, id, &op), -XEN_EFAULT, "a wild map");
    is(domctl(GET, id, &op), -XEN_EFAULT, "asked into");
    op.u.vcpuaffinity.cpumap_hard.nr_bits = 64;
    set_xen_guest_handle(op.u.vcpuaffinity.cpumap_hard.bitmap, (u8 *)HOLE_START);
    is(domctl(SET, id, &op), -XEN_EFAULT, "a map of the hypervisor's");
    fresh();
    op.u.nodeaffinity.nodemap.nr_bits = 64;
    set_xen_guest_handle(op.u.nodeaffinity.nodemap.bitmap, hard);
    memset(hard, 0xff, 16);
    is(domctl(XEN_DOMCTL_setnodeaffinity, id, &op), 0, "setnodeaffinity");
    is(domctl(XEN_DOMCTL_getnodeaffinity, id, &op), 0, "getnodeaffinity");
    is(hard[0], 1, "the one node there is");
    memset(hard, 0, 16);
    is(domctl(XEN_DOMCTL_setnodeaffinity, id, &op), -XEN_EINVAL, "no node");
    set_xen_guest_handle(op.u.nodeaffinity.nodemap.bitmap, (u8 *)WILD);
    is(domctl(XEN_DOMCTL_setnodeaffinity, id, &op), -XEN_EFAULT, "a wild map of nodes");
}

static void vcpu_info(void)
{
    fresh();
    is(domctl(XEN_DOMCTL_getvcpuinfo, 0, &op), 0, "getvcpuinfo");
    ok(op.u.getvcpuinfo.online && op.u.getvcpuinfo.running && op.u.getvcpuinfo.cpu_time &&
           op.u.getvcpuinfo.cpu < 2,
       "this one runs");
    fresh();
    op.u.getvcpuinfo.vcpu = 1;
    is(domctl(XEN_DOMCTL_getvcpuinfo, id, &op), 0, "of the other domain");
    ok(!op.u.getvcpuinfo.online && !op.u.getvcpuinfo.running && !op.u.getvcpuinfo.cpu_time,
       "it does not");
    fresh();
    op.u.getvcpuinfo.vcpu = 2;
    is(domctl(XEN_DOMCTL_getvcpuinfo, id, &op), -XEN_EINVAL, "of no vcpu");
    op.u.getvcpuinfo.vcpu = NONE;
    is(domctl(XEN_DOMCTL_getvcpuinfo, id, &op), -XEN_EINVAL, "of the last");
}

static long share(u16 dom, u32 sched, u32 cmd, u16 weight, u16 cap)
{
    fresh();
    op.u.scheduler_op.sched_id = sched;
    op.u.scheduler_op.cmd = cmd;
    op.u.scheduler_op.u.credit2.weight = weight;
    op.u.scheduler_op.u.credit2.cap = cap;
    return domctl(XEN_DOMCTL_scheduler_op, dom, &op);
}

static void shares(void)
{
    const u32 get = XEN_DOMCTL_SCHEDOP_getinfo, put = XEN_DOMCTL_SCHEDOP_putinfo;
    const struct xen_domctl_sched_credit2 *c = &op.u.scheduler_op.u.credit2;

    is(share(id, XEN_SCHEDULER_CREDIT2, get, 0, 0), 0, "scheduler_op");
    ok(c->weight == 256 && c->cap == 0, "weight 256, no cap");
    is(share(id, XEN_SCHEDULER_CREDIT2, put, 512, 150), 0, "others");
    share(id, XEN_SCHEDULER_CREDIT2, get, 0, 0);
    ok(c->weight == 512 && c->cap == 150, "are kept");
    is(share(id, XEN_SCHEDULER_CREDIT2, put, 0, 150), 0, "no weight");
    share(id, XEN_SCHEDULER_CREDIT2, get, 0, 0);
    ok(c->weight == 512 && c->cap == 150, "changes nothing");
    is(share(id, XEN_SCHEDULER_CREDIT2, put, 0, 201), -XEN_EINVAL, "a cap of more than all");
    is(share(id, XEN_SCHEDULER_CREDIT2, put, 0, 0xffff), -XEN_EINVAL, "of very much");
    is(share(id, XEN_SCHEDULER_CREDIT2, put, 0xffff, 200), 0, "much of both");
    is(share(id, XEN_SCHEDULER_CREDIT2, put, 1, 0), 0, "very little, no cap");
    share(id, XEN_SCHEDULER_CREDIT2, get, 0, 0);
    ok(c->weight == 1 && c->cap == 0, "are kept too");
    is(share(id, XEN_SCHEDULER_CREDIT, get, 0, 0), -XEN_EINVAL, "of another scheduler");
    is(share(id, XEN_SCHEDULER_CREDIT2, 77, 0, 0), -XEN_EINVAL, "of an unknown kind");
    is(share(id, XEN_SCHEDULER_CREDIT2, XEN_DOMCTL_SCHEDOP_putvcpuinfo, 0, 0), -XEN_EINVAL,
       "for each vcpu");
    is(share(id, XEN_SCHEDULER_CREDIT2, XEN_DOMCTL_SCHEDOP_getvcpuinfo, 0, 0), -XEN_EINVAL,
       "of each vcpu");
    is(share(0x7000, XEN_SCHEDULER_CREDIT2, get, 0, 0), -XEN_ESRCH, "of no domain");
}

/* --- time-stamp counter, policies --- */

static long tsc(u16 dom, u32 mode)
{
    fresh();
    op.u.tsc_info.tsc_mode = mode;
    op.u.tsc_info.incarnation = 3;
    return domctl(XEN_DOMCTL_settscinfo, dom, &op);
}

static void time_stamps(void)
{
    is(tsc(0, 0), -XEN_EINVAL, "settscinfo of oneself");
    is(tsc(id, 0), 0, "mode default");
    is_dev(tsc(id, 1), 0, -XEN_EOPNOTSUPP, "mode always emulated");
    is(tsc(id, 2), 0, "mode native");
    fresh();
    is(domctl(XEN_DOMCTL_gettscinfo, id, &op), 0, "gettscinfo");
    ok(op.u.tsc_info.tsc_mode == 2 && op.u.tsc_info.incarnation == 4 && !op.u.tsc_info.gtsc_khz,
       "mode and incarnation");
    tsc(id, 0);
    is(domctl(XEN_DOMCTL_gettscinfo, id, &op), 0, "gettscinfo");
    ok(op.u.tsc_info.gtsc_khz && op.u.tsc_info.elapsed_nsec < 1000000000, "rate and time");
    is(tsc(id, 4), -XEN_EINVAL, "an unknown mode");
    is(tsc(id, NONE), -XEN_EINVAL, "the last one");
}

static xen_cpuid_leaf_t leaves[130], again[130];
static xen_msr_entry_t msrs[8];

static long policy(unsigned cmd, u16 dom, xen_cpuid_leaf_t *l, u32 nl, xen_msr_entry_t *m,
                   u32 nm)
{
    fresh();
    op.u.cpu_policy.nr_leaves = nl;
    op.u.cpu_policy.nr_msrs = nm;
    set_xen_guest_handle(op.u.cpu_policy.leaves, l);
    set_xen_guest_handle(op.u.cpu_policy.msrs, m);
    return domctl(cmd, dom, &op);
}

#define GETP XEN_DOMCTL_get_cpu_policy
#define SETP XEN_DOMCTL_set_cpu_policy

static xen_cpuid_leaf_t *find_leaf(u32 n, u32 leaf)
{
    for (u32 i = 0; i < n; i++)
        if (leaves[i].leaf == leaf)
            return &leaves[i];
    die("a leaf is missing");
}

static void policy_round_trip(void)
{
    xen_cpuid_leaf_t *one, *max;
    u32 n;

    is(policy(GETP, id, NULL, 0, NULL, 0), 0, "get_cpu_policy: how many entries");
    ok(op.u.cpu_policy.nr_leaves == 120 && op.u.cpu_policy.nr_msrs == 2, "120 and 2 at most");
    is(policy(GETP, id, leaves, 128, msrs, 8), 0, "all");
    n = op.u.cpu_policy.nr_leaves;
    is(policy(SETP, id, leaves, n, msrs, 2), 0, "set_cpu_policy: the same");
    is(policy(GETP, id, again, 128, msrs, 8), 0, "and back");
    ok(op.u.cpu_policy.nr_leaves == n && !memcmp(leaves, again, n * sizeof(leaves[0])),
       "unchanged");
    one = find_leaf(n, 1);
    one->c &= ~(1U << 20); /* SSE4.2 */
    one->c |= 1U << 5;     /* VMX, which no guest has */
    is(policy(SETP, id, one, 1, NULL, 0), 0, "one leaf of it");
    is(policy(GETP, id, again, 128, msrs, 8), 0, "and back");
    ok(!(again[1].c & (1U << 20 | 1U << 5)) && again[1].c & 1, "less is taken, more is not");
    max = find_leaf(n, 0);
    max->a++;
    is(policy(SETP, id, max, 1, NULL, 0), -XEN_EINVAL, "more leaves than there are");
    is(op.u.cpu_policy.err_leaf, 0, "it says which leaf");
    max->a--;
    max = find_leaf(n, 0x80000000);
    max->a = 0x80001000;
    is(policy(SETP, id, max, 1, NULL, 0), -XEN_EINVAL, "more extended ones");
    is(op.u.cpu_policy.err_leaf, 0x80000000, "it says which");
    msrs[0] = (xen_msr_entry_t){.idx = 0xce, .val = ~0UL};
    refused(policy(SETP, id, NULL, 0, msrs, 1), "a register with everything in it");
    is(op.u.cpu_policy.err_msr, 0xce, "it says which");
    is(policy(GETP, id, leaves, 128, msrs, 8), 0, "after all that");
    ok(op.u.cpu_policy.nr_leaves == n && !memcmp(leaves, again, n * sizeof(leaves[0])) &&
           !msrs[0].val,
       "it is as before");
}

static void policy_arguments(void)
{
    static const struct {
        u32 leaf, subleaf;
        const char *what;
    } bad[] = {
        {0xe, NONE, "a basic leaf too high"},
        {0x80000022, NONE, "an extended one"},
        {0x40000001, NONE, "a leaf of our own"},
        {NONE, NONE, "the last"},
        {1, 0, "a subleaf where there are none"},
        {4, NONE, "none where there are some"},
        {4, 6, "a cache too many"},
        {7, 3, "a subleaf of features too many"},
        {0xb, 2, "a level of threads too many"},
        {0xd, 63, "a state component too many"},
        {0x40000000, 0, "a subleaf of our range"},
        {0x90000000, NONE, "a range of nobody's"},
    };

    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        xen_cpuid_leaf_t l = {.leaf = bad[i].leaf, .subleaf = bad[i].subleaf};

        refused(policy(SETP, id, &l, 1, NULL, 0), "%s", bad[i].what);
        ok(op.u.cpu_policy.err_leaf == bad[i].leaf &&
               op.u.cpu_policy.err_subleaf == bad[i].subleaf,
           "it says which");
    }
    msrs[0] = (xen_msr_entry_t){.idx = 0x1234};
    refused(policy(SETP, id, NULL, 0, msrs, 1), "a register nobody knows");
    is(op.u.cpu_policy.err_msr, 0x1234, "it says which");
    msrs[0] = (xen_msr_entry_t){.idx = 0xce, .flags = 1};
    refused(policy(SETP, id, NULL, 0, msrs, 1), "flags nobody knows");
    is(policy(SETP, id, leaves, HUGE_N, NULL, 0), -XEN_E2BIG, "an absurd number of leaves");
    is(policy(SETP, id, NULL, 0, msrs, HUGE_N), -XEN_E2BIG, "of registers");
    is(policy(SETP, id, (void *)WILD, 1, NULL, 0), -XEN_EFAULT, "a wild list");
    is(policy(SETP, id, NULL, 0, (void *)WILD, 1), -XEN_EFAULT, "of registers");
    is(policy(GETP, id, (void *)WILD, 128, NULL, 0), -XEN_EFAULT, "into a wild list");
    is(policy(GETP, id, leaves, 3, NULL, 0), -XEN_ENOBUFS, "too little room");
    refused(policy(SETP, 0, leaves, 1, NULL, 0), "for oneself");
    is(policy(SETP, 0x7000, leaves, 1, NULL, 0), -XEN_ESRCH, "for no domain");
}

static void refusals(void)
{
    fresh();
    refused(domctl(XEN_DOMCTL_setvnumainfo, id, &op), "setvnumainfo without nodes");
    memset(&op.u, 0xff, sizeof(op.u));
    refused(domctl(XEN_DOMCTL_setvnumainfo, id, &op), "with very many");
    memset(&op.u, 0xff, sizeof(op.u));
    refused(domctl(XEN_DOMCTL_psr_cmt_op, id, &op), "psr_cmt_op");
    memset(&op.u, 0xff, sizeof(op.u));
    refused(domctl(XEN_DOMCTL_psr_alloc, id, &op), "psr_alloc");
    memset(&op.u, 0xff, sizeof(op.u));
    refused(domctl(XEN_DOMCTL_vm_event_op, id, &op), "vm_event_op");
    memset(&op.u, 0xff, sizeof(op.u));
    refused(domctl(XEN_DOMCTL_mem_sharing_op, id, &op), "mem_sharing_op");
    memset(&op.u, 0xff, sizeof(op.u));
    refused(domctl(XEN_DOMCTL_monitor_op, id, &op), "monitor_op");
    memset(&op.u, 0xff, sizeof(op.u));
    refused(domctl(XEN_DOMCTL_vmtrace_op, id, &op), "vmtrace_op");
}

/* A pool of its own: from the beginning, and afterwards. */
static long pool(u32 what, u32 pool_id, u32 cpu, u32 domid)
{
    static struct xen_sysctl s;

    memset(&s, 0, sizeof(s));
    s.u.cpupool_op.op = what;
    s.u.cpupool_op.cpupool_id = pool_id;
    s.u.cpupool_op.sched_id = XEN_SCHEDULER_CREDIT2;
    s.u.cpupool_op.cpu = cpu;
    s.u.cpupool_op.domid = domid;
    return sysctl(XEN_SYSCTL_cpupool_op, &s);
}

static u32 pool_now(void)
{
    fresh();
    domctl(XEN_DOMCTL_getdomaininfo, id, &op);
    return op.u.getdomaininfo.cpupool;
}

static void pools(void)
{
    is(pool(XEN_SYSCTL_CPUPOOL_OP_CREATE, 3, 0, 0), 0, "a pool");
    is(pool(XEN_SYSCTL_CPUPOOL_OP_RMCPU, 0, 1, 0), 0, "a CPU");
    is(pool(XEN_SYSCTL_CPUPOOL_OP_ADDCPU, 3, 1, 0), 0, "for it");
    is(pool(XEN_SYSCTL_CPUPOOL_OP_MOVEDOMAIN, 3, 0, id), 0, "the domain moves");
    is(pool_now(), 3, "and says so");
    is(pool(XEN_SYSCTL_CPUPOOL_OP_DESTROY, 3, 0, 0), -XEN_EBUSY, "the pool must stay");
    memset(hard, 0, 16);
    hard[0] = 1;
    is(affinity(SET, 0, HARD, 128), -XEN_EINVAL, "no vcpu leaves it");
    hard[0] = 3;
    is(affinity(SET, 0, HARD, 128), 0, "one that may");
    is(hard[0], 2, "does not");
    is(pool(XEN_SYSCTL_CPUPOOL_OP_MOVEDOMAIN, 0, 0, id), 0, "the domain moves back");
    is(pool(XEN_SYSCTL_CPUPOOL_OP_RMCPU, 3, 1, 0), 0, "its CPU too");
    fresh();
    op.u.createdomain.max_vcpus = 1;
    op.u.createdomain.cpupool_id = 77;
    op.u.createdomain.max_grant_frames = op.u.createdomain.max_maptrack_frames = 4;
    op.u.createdomain.max_evtchn_port = 1023;
    op.u.createdomain.grant_opts = 1;
    is(domctl(XEN_DOMCTL_createdomain, 0, &op), -XEN_ESRCH, "a domain for no pool");
    is(pool(XEN_SYSCTL_CPUPOOL_OP_DESTROY, 3, 0, 0), 0, "the pool goes");
    is(pool(XEN_SYSCTL_CPUPOOL_OP_ADDCPU, 0, 1, 0), 0, "all is as before");
}

static void domain_in_list(void)
{
    static xen_domctl_getdomaininfo_t info[4];
    struct xen_sysctl s = {0};

    s.u.getdomaininfolist.first_domain = 1;
    s.u.getdomaininfolist.max_domains = 4;
    set_xen_guest_handle(s.u.getdomaininfolist.buffer, info);
    is(sysctl(XEN_SYSCTL_getdomaininfolist, &s), 0, "getdomaininfolist");
    ok(s.u.getdomaininfolist.num_domains == 1 && info[0].domain == id &&
           info[0].flags & XEN_DOMINF_paused && info[0].handle[15] == 0x42 &&
           info[0].max_vcpu_id == 1,
       "it has the domain");
}

void test_toolstack2(void)
{
    versions();
    make();
    domain_in_list();
    affinities();
    wild_affinities();
    vcpu_info();
    shares();
    time_stamps();
    policy_round_trip();
    policy_arguments();
    refusals();
    pools();
    is(domctl_plain(XEN_DOMCTL_destroydomain, id), 0, "the domain goes");
}
