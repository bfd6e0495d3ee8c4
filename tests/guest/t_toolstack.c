/*
 * What the toolstack asks about the machine, with the arguments of a toolstack gone wrong: bad
 * versions, absurd sizes, no or wild addresses, numbers nobody has.
 */
#include "domu.h"
#include <xen/sysctl.h>

#define NONE   0xffffffffU
#define WILD   UNMAPPED
#define HUGE_N 0x7fffffffU

static struct xen_sysctl op;

long sysctl(unsigned cmd, struct xen_sysctl *s)
{
    s->cmd = cmd;
    s->interface_version = XEN_SYSCTL_INTERFACE_VERSION;
    return HC(sysctl, s, 0, 0, 0, 0);
}

static void fresh(void)
{
    memset(&op, 0, sizeof(op));
}

static void versions(void)
{
    static const unsigned unknown[] = {0, 13, 24, 28, 30, 1000, NONE};
    long bad = 0;

    fresh();
    op.cmd = XEN_SYSCTL_physinfo;
    for (unsigned v = 0; v < 64; v++) {
        op.interface_version = v;
        bad += v != XEN_SYSCTL_INTERFACE_VERSION && HC(sysctl, &op, 0, 0, 0, 0) != -XEN_EACCES;
    }
    is(bad, 0, "sysctl of other versions is refused");
    is(HC(sysctl, NULL, 0, 0, 0, 0), -XEN_EFAULT, "sysctl without an argument");
    is(HC(sysctl, (void *)WILD, 0, 0, 0, 0), -XEN_EFAULT, "sysctl with a wild one");
    is(HC(sysctl, (void *)HOLE_START, 0, 0, 0, 0), -XEN_EFAULT, "and one of the hypervisor's");
    for (unsigned i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++) {
        fresh();
        bad += sysctl(unknown[i], &op) != -XEN_ENOSYS;
    }
    is(bad, 0, "unknown operations do not exist");
}

static void machine(void)
{
    struct xen_sysctl_physinfo *pi = &op.u.physinfo;

    fresh();
    is(sysctl(XEN_SYSCTL_physinfo, &op), 0, "physinfo");
    ok(pi->nr_cpus == 2 && pi->max_cpu_id == 1 && pi->threads_per_core && pi->cores_per_socket,
       "it counts CPUs");
    ok(pi->capabilities & XEN_SYSCTL_PHYSCAP_pv &&
           pi->capabilities & XEN_SYSCTL_PHYSCAP_gnttab_v1,
       "it says that there are PV guests");
    ok(pi->free_pages && pi->free_pages < pi->total_pages && pi->total_pages <= pi->max_mfn + 1,
       "memory: %lu of %lu pages free", pi->free_pages, pi->total_pages);
    ok(pi->nr_nodes == 1 && pi->cpu_khz > 100000, "one node, %u kHz", pi->cpu_khz);
    fresh();
    is(sysctl(XEN_SYSCTL_sched_id, &op), 0, "sched_id");
    is(op.u.sched_id.sched_id, XEN_SCHEDULER_CREDIT2, "it is credit2's");
    fresh();
    op.u.availheap.node = -1;
    is(sysctl(XEN_SYSCTL_availheap, &op), 0, "availheap");
    ok(op.u.availheap.avail_bytes >> 12, "some memory is free");
}

static void domain_list(void)
{
    static xen_domctl_getdomaininfo_t info[4];
    struct xen_sysctl_getdomaininfolist *l = &op.u.getdomaininfolist;

    fresh();
    l->max_domains = 4;
    set_xen_guest_handle(l->buffer, info);
    is(sysctl(XEN_SYSCTL_getdomaininfolist, &op), 0, "getdomaininfolist");
    is(l->num_domains, 1, "there is one domain");
    ok(info[0].domain == 0 && info[0].tot_pages && info[0].nr_online_vcpus == 1, "this one");
    l->max_domains = HUGE_N;
    is(sysctl(XEN_SYSCTL_getdomaininfolist, &op), 0, "room for very many");
    is(l->num_domains, 1, "does not make them more");
    l->first_domain = 1;
    is(sysctl(XEN_SYSCTL_getdomaininfolist, &op), 0, "from the next one on");
    is(l->num_domains, 0, "there are none");
    l->first_domain = DOMID_SELF;
    l->max_domains = 4;
    is(sysctl(XEN_SYSCTL_getdomaininfolist, &op), 0, "from beyond all numbers on");
    l->first_domain = l->max_domains = 0;
    is(sysctl(XEN_SYSCTL_getdomaininfolist, &op), 0, "room for none");
    is(l->num_domains, 0, "gives none");
    l->max_domains = 4;
    set_xen_guest_handle(l->buffer, (void *)WILD);
    is(sysctl(XEN_SYSCTL_getdomaininfolist, &op), -XEN_EFAULT, "into a wild buffer");
}

static void topology(void)
{
    static xen_sysctl_cputopo_t cpu[8];
    struct xen_sysctl_cputopoinfo *t = &op.u.cputopoinfo;

    fresh();
    is(sysctl(XEN_SYSCTL_cputopoinfo, &op), 0, "cputopoinfo: how many");
    is(t->num_cpus, 2, "two");
    memset(cpu, 0xff, sizeof(cpu));
    set_xen_guest_handle(t->cputopo, cpu);
    t->num_cpus = 1;
    is(sysctl(XEN_SYSCTL_cputopoinfo, &op), 0, "with room for one");
    is_dev(t->num_cpus, 1, 2, "it says that there are more");
    ok(cpu[0].socket == 0 && cpu[0].core == 0 && cpu[1].core == NONE, "and tells one");
    t->num_cpus = 8;
    is(sysctl(XEN_SYSCTL_cputopoinfo, &op), 0, "with room for more");
    is(t->num_cpus, 2, "it says how many");
    ok(cpu[1].core == 1 && cpu[1].socket == 0 && cpu[1].node == 0, "each has its place");
    t->num_cpus = HUGE_N;
    set_xen_guest_handle(t->cputopo, (void *)WILD);
    is(sysctl(XEN_SYSCTL_cputopoinfo, &op), -XEN_EFAULT, "into a wild buffer");
}

static void nodes(void)
{
    static xen_sysctl_meminfo_t mem[4];
    static u32 distance[16];
    struct xen_sysctl_numainfo *n = &op.u.numainfo;

    fresh();
    is(sysctl(XEN_SYSCTL_numainfo, &op), 0, "numainfo: how many");
    is(n->num_nodes, 1, "one");
    n->num_nodes = 4;
    set_xen_guest_handle(n->meminfo, mem);
    set_xen_guest_handle(n->distance, distance);
    is(sysctl(XEN_SYSCTL_numainfo, &op), 0, "all of it");
    ok(mem[0].memfree && mem[0].memfree <= mem[0].memsize && distance[0] == 10,
       "%lu bytes, at a distance of %u", mem[0].memsize, distance[0]);
    n->num_nodes = HUGE_N;
    set_xen_guest_handle(n->meminfo, (void *)WILD);
    is(sysctl(XEN_SYSCTL_numainfo, &op), -XEN_EFAULT, "into a wild buffer");
    set_xen_guest_handle(n->meminfo, mem);
    set_xen_guest_handle(n->distance, (void *)WILD);
    is(sysctl(XEN_SYSCTL_numainfo, &op), -XEN_EFAULT, "distances into a wild one");
}

static void devices(void)
{
    static physdev_pci_device_t dev[3] = {{0, 0, 0}, {0, 0xff, 0xff}, {0xffff, 0, 0}};
    static u32 node[3];
    struct xen_sysctl_pcitopoinfo *t = &op.u.pcitopoinfo;

    fresh();
    t->num_devs = 3;
    is(sysctl(XEN_SYSCTL_pcitopoinfo, &op), -XEN_EINVAL, "pcitopoinfo without lists");
    set_xen_guest_handle(t->devs, dev);
    is(sysctl(XEN_SYSCTL_pcitopoinfo, &op), -XEN_EINVAL, "without a list for the answer");
    set_xen_guest_handle(t->nodes, node);
    is(sysctl(XEN_SYSCTL_pcitopoinfo, &op), 0, "of three devices");
    /* Stock Xen knows those that a kernel told it of. */
    is_dev(node[0], XEN_INVALID_DEV, XEN_INVALID_NODE_ID, "the first is somewhere");
    ok(node[1] == XEN_INVALID_DEV && node[2] == XEN_INVALID_DEV, "the others are not there");
    t->num_devs = HUGE_N;
    set_xen_guest_handle(t->devs, (void *)WILD);
    is(sysctl(XEN_SYSCTL_pcitopoinfo, &op), -XEN_EFAULT, "of a wild list");
    t->num_devs = 1;
    set_xen_guest_handle(t->devs, dev);
    set_xen_guest_handle(t->nodes, (void *)WILD);
    is(sysctl(XEN_SYSCTL_pcitopoinfo, &op), -XEN_EFAULT, "into a wild one");
}

static void cpu_times(void)
{
    static xen_sysctl_cpuinfo_t info[8];
    struct xen_sysctl_getcpuinfo *c = &op.u.getcpuinfo;

    fresh();
    c->max_cpus = HUGE_N;
    set_xen_guest_handle(c->info, info);
    is(sysctl(XEN_SYSCTL_getcpuinfo, &op), 0, "getcpuinfo");
    is(c->nr_cpus, 2, "of two CPUs");
    ok(info[1].idletime > 0, "the second has idled");
    c->max_cpus = 1;
    set_xen_guest_handle(c->info, (void *)WILD);
    is(sysctl(XEN_SYSCTL_getcpuinfo, &op), -XEN_EFAULT, "into a wild buffer");
}

static u32 read_log(struct xen_sysctl_readconsole *rc, char *text, u32 room)
{
    set_xen_guest_handle(rc->buffer, text);
    rc->count = room;
    is(sysctl(XEN_SYSCTL_readconsole, &op), 0, "readconsole");
    return rc->count;
}

static void log_ring(void)
{
    static char text[40000];
    struct xen_sysctl_readconsole *rc = &op.u.readconsole;
    u32 end;

    fresh();
    ok(read_log(rc, text, sizeof(text)) > 100, "the log has some text");
    end = rc->index;
    rc->incremental = 1;
    is(read_log(rc, text, sizeof(text)), 0, "there is nothing after its end");
    rc->index = end + 0x10000000;
    ok(read_log(rc, text, sizeof(text)) > 100, "from beyond one begins anew");
    rc->index = end - 1;
    is(read_log(rc, text, sizeof(text)), 1, "one byte before its end");
    rc->index = end;
    rc->clear = 1;
    is(read_log(rc, text, sizeof(text)), 0, "clearing");
    rc->clear = rc->incremental = 0;
    is(read_log(rc, text, sizeof(text)), 0, "then there is no text");
    rc->incremental = 1;
    rc->index = 0;
    is(read_log(rc, text, sizeof(text)), 0, "nor from the beginning on");
}

static void keys(void)
{
    static char key[4] = {1, 2, 3, 'h'};
    struct xen_sysctl_debug_keys *k = &op.u.debug_keys;
    char *edge = (char *)window(2);

    fresh();
    is(sysctl(XEN_SYSCTL_debug_keys, &op), 0, "debug_keys: none");
    k->nr_keys = 1;
    set_xen_guest_handle(k->keys, (char *)WILD);
    is(sysctl(XEN_SYSCTL_debug_keys, &op), -XEN_EFAULT, "wild ones");
    set_xen_guest_handle(k->keys, key);
    k->nr_keys = 4;
    is(sysctl(XEN_SYSCTL_debug_keys, &op), 0, "some that mean nothing, and help");
    window_map(2, maddr_of(page_alloc()) | PTE_KERN);
    set_xen_guest_handle(k->keys, edge);
    k->nr_keys = HUGE_N;
    is(sysctl(XEN_SYSCTL_debug_keys, &op), -XEN_EFAULT, "very many, up to the end of a page");
    window_map(2, 0);
}

static long pool(unsigned what, u32 id, u32 cpu, u32 domid)
{
    static u8 bits[64];

    fresh();
    op.u.cpupool_op.op = what;
    op.u.cpupool_op.cpupool_id = id;
    op.u.cpupool_op.sched_id = XEN_SCHEDULER_CREDIT2;
    op.u.cpupool_op.cpu = cpu;
    op.u.cpupool_op.domid = domid;
    op.u.cpupool_op.cpumap.nr_bits = sizeof(bits) * 8;
    memset(bits, 0xff, sizeof(bits));
    set_xen_guest_handle(op.u.cpupool_op.cpumap.bitmap, bits);
    return sysctl(XEN_SYSCTL_cpupool_op, &op);
}

static void pool_arguments(void)
{
    struct xen_sysctl_cpupool_op *p = &op.u.cpupool_op;

    is(pool(XEN_SYSCTL_CPUPOOL_OP_INFO, 0, 0, 0), 0, "cpupool_op: pool 0");
    ok(p->cpupool_id == 0 && p->n_dom == 1 && p->sched_id == XEN_SCHEDULER_CREDIT2,
       "it has one domain");
    ok(p->cpumap.bitmap.p[0] == 3 && !p->cpumap.bitmap.p[8] && !p->cpumap.bitmap.p[63],
       "and both CPUs, in a map of any length");
    is(pool(XEN_SYSCTL_CPUPOOL_OP_INFO, 1, 0, 0), -XEN_ENOENT, "there is no other");
    is(pool(XEN_SYSCTL_CPUPOOL_OP_INFO, NONE, 0, 0), -XEN_ENOENT, "nor one of no number");
    fresh();
    p->op = XEN_SYSCTL_CPUPOOL_OP_INFO;
    p->cpumap.nr_bits = HUGE_N;
    set_xen_guest_handle(p->cpumap.bitmap, (u8 *)WILD);
    is(sysctl(XEN_SYSCTL_cpupool_op, &op), -XEN_EFAULT, "a wild map of absurd length");
    is(pool(0, 0, 0, 0), -XEN_ENOSYS, "operation 0");
    is(pool(8, 0, 0, 0), -XEN_ENOSYS, "operation 8");
    is(pool(NONE, 0, 0, 0), -XEN_ENOSYS, "the last operation");
    is(pool(XEN_SYSCTL_CPUPOOL_OP_DESTROY, 77, 0, 0), -XEN_ENOENT, "destroying none");
    is(pool(XEN_SYSCTL_CPUPOOL_OP_DESTROY, 0, 0, 0), -XEN_EBUSY, "destroying pool 0");
    is(pool(XEN_SYSCTL_CPUPOOL_OP_CREATE, 0, 0, 0), -XEN_EEXIST, "making pool 0");
    is(pool(XEN_SYSCTL_CPUPOOL_OP_ADDCPU, 0, 0, 0), -XEN_ENODEV, "a CPU that is not free");
    is(pool(XEN_SYSCTL_CPUPOOL_OP_ADDCPU, 0, 77, 0), -XEN_EINVAL, "one that does not exist");
    is(pool(XEN_SYSCTL_CPUPOOL_OP_RMCPU, 0, 77, 0), -XEN_EINVAL, "taking that one away");
    is(pool(XEN_SYSCTL_CPUPOOL_OP_RMCPU, 77, 0, 0), -XEN_ENOENT, "from a pool there is not");
    refused(pool(XEN_SYSCTL_CPUPOOL_OP_MOVEDOMAIN, 0, 0, 99), "moving a domain there is not");
    refused(pool(XEN_SYSCTL_CPUPOOL_OP_MOVEDOMAIN, 0, 0, NONE), "or of no number");
    is(pool(XEN_SYSCTL_CPUPOOL_OP_MOVEDOMAIN, 77, 0, 0), -XEN_EPERM, "moving domain 0");
    is(pool(XEN_SYSCTL_CPUPOOL_OP_FREEINFO, 0, 0, 0), 0, "free CPUs");
    is(p->cpumap.bitmap.p[0], 0, "there are none");
}

static void pools(void)
{
    u32 id;

    is(pool(XEN_SYSCTL_CPUPOOL_OP_CREATE, XEN_SYSCTL_CPUPOOL_PAR_ANY, 0, 0), 0, "a new pool");
    id = op.u.cpupool_op.cpupool_id;
    ok(id && id < 1000, "its number is %u", id);
    is(pool(XEN_SYSCTL_CPUPOOL_OP_INFO, 1, 0, 0), 0, "it is found");
    ok(op.u.cpupool_op.n_dom == 0 && op.u.cpupool_op.cpumap.bitmap.p[0] == 0, "and empty");
    refused(pool(XEN_SYSCTL_CPUPOOL_OP_MOVEDOMAIN, id, 0, 0), "no domain can go there");
    is_dev(pool(XEN_SYSCTL_CPUPOOL_OP_RMCPU, id, 1, 0), -XEN_EADDRNOTAVAIL, -XEN_ENODEV,
           "it does not have CPU 1");
    is(pool(XEN_SYSCTL_CPUPOOL_OP_RMCPU, 0, 1, 0), 0, "which pool 0 gives up");
    is_dev(pool(XEN_SYSCTL_CPUPOOL_OP_RMCPU, 0, 0, 0), -XEN_EINVAL, -XEN_EBUSY,
           "but not its last one");
    is(pool(XEN_SYSCTL_CPUPOOL_OP_FREEINFO, 0, 0, 0), 0, "free CPUs");
    is(op.u.cpupool_op.cpumap.bitmap.p[0], 2, "it is free");
    is(pool(XEN_SYSCTL_CPUPOOL_OP_ADDCPU, id, XEN_SYSCTL_CPUPOOL_PAR_ANY, 0), 0, "any CPU");
    is(pool(XEN_SYSCTL_CPUPOOL_OP_INFO, id, 0, 0), 0, "then the new pool");
    is(op.u.cpupool_op.cpumap.bitmap.p[0], 2, "has it");
    is(pool(XEN_SYSCTL_CPUPOOL_OP_DESTROY, id, 0, 0), -XEN_EBUSY, "and cannot go");
    is(pool(XEN_SYSCTL_CPUPOOL_OP_RMCPU, id, 1, 0), 0, "it gives it up");
    is(pool(XEN_SYSCTL_CPUPOOL_OP_DESTROY, id, 0, 0), 0, "and goes");
    is(pool(XEN_SYSCTL_CPUPOOL_OP_ADDCPU, 0, 1, 0), 0, "pool 0 gets it back");
}

static long scheduler(u32 pool_id, u32 sched, u32 cmd, u32 limit)
{
    fresh();
    op.u.scheduler_op.cpupool_id = pool_id;
    op.u.scheduler_op.sched_id = sched;
    op.u.scheduler_op.cmd = cmd;
    op.u.scheduler_op.u.sched_credit2.ratelimit_us = limit;
    return sysctl(XEN_SYSCTL_scheduler_op, &op);
}

static void scheduler_op(void)
{
    const u32 get = XEN_SYSCTL_SCHEDOP_getinfo, put = XEN_SYSCTL_SCHEDOP_putinfo;

    is(scheduler(0, XEN_SCHEDULER_CREDIT2, get, 0), 0, "scheduler_op");
    is(op.u.scheduler_op.u.sched_credit2.ratelimit_us, 1000, "the limit is 1000 us");
    is(scheduler(77, XEN_SCHEDULER_CREDIT2, get, 0), -XEN_ESRCH, "of no pool");
    is(scheduler(0, XEN_SCHEDULER_CREDIT, get, 0), -XEN_EINVAL, "of another scheduler");
    is(scheduler(0, XEN_SCHEDULER_CREDIT2, 77, 0), -XEN_EINVAL, "of an unknown kind");
    is(scheduler(0, XEN_SCHEDULER_CREDIT2, put, NONE), -XEN_EINVAL, "an absurd limit");
    is(scheduler(0, XEN_SCHEDULER_CREDIT2, put, 1), -XEN_EINVAL, "a tiny one");
    is(scheduler(0, XEN_SCHEDULER_CREDIT2, put, 1000), 0, "the one there is");
    is_dev(scheduler(0, XEN_SCHEDULER_CREDIT2, put, 2000), 0, -XEN_EOPNOTSUPP, "another one");
    scheduler(0, XEN_SCHEDULER_CREDIT2, put, 1000);
}

static long features(u32 index, u32 room, void *list)
{
    fresh();
    op.u.cpu_featureset.index = index;
    op.u.cpu_featureset.nr_features = room;
    set_xen_guest_handle(op.u.cpu_featureset.features, list);
    return sysctl(XEN_SYSCTL_get_cpu_featureset, &op);
}

static void featuresets(void)
{
    static u32 host[32], pv[32];
    unsigned more = 0;

    is(features(0, 0, NULL), 0, "get_cpu_featureset: how many words");
    is(op.u.cpu_featureset.nr_features, 19, "19");
    is(features(XEN_SYSCTL_cpu_featureset_host, 32, host), 0, "the machine's");
    is(op.u.cpu_featureset.nr_features, 19, "all of them");
    is(features(XEN_SYSCTL_cpu_featureset_pv, 19, pv), 0, "those for guests");
    /* HYPERVISOR is set for guests whatever the machine has. */
    for (unsigned i = 0; i < 19; i++)
        more += (pv[i] & ~host[i] & ~(i == 1 ? 1U << 31 : 0)) != 0;
    is(more, 0, "none that the machine has not");
    host[4] = 0x5a5a5a5a;
    is(features(XEN_SYSCTL_cpu_featureset_host, 4, host), -XEN_ENOBUFS, "too little room");
    is(op.u.cpu_featureset.nr_features, is_serai ? 19 : 4, "it says how much");
    ok(host[0] && host[4] == 0x5a5a5a5a, "what fits is there, and no more");
    is(features(6, 19, host), -XEN_EINVAL, "a set of unknown kind");
    is(features(NONE, 19, host), -XEN_EINVAL, "of the last kind");
    is(features(0, HUGE_N, (void *)WILD), -XEN_EFAULT, "into a wild list");
}

static long policy(u32 index, u32 leaves, void *l, u32 msrs, void *m)
{
    fresh();
    op.u.cpu_policy.index = index;
    op.u.cpu_policy.nr_leaves = leaves;
    op.u.cpu_policy.nr_msrs = msrs;
    set_xen_guest_handle(op.u.cpu_policy.leaves, l);
    set_xen_guest_handle(op.u.cpu_policy.msrs, m);
    return sysctl(XEN_SYSCTL_get_cpu_policy, &op);
}

#define AMD 0x68747541 /* the first letters of the maker's name */

static void policies(void)
{
    static xen_cpuid_leaf_t l[128];
    static xen_msr_entry_t m[4];
    bool ordered = true;

    is(policy(0, 0, NULL, 0, NULL), 0, "get_cpu_policy: how many entries");
    ok(op.u.cpu_policy.nr_leaves == 120 && op.u.cpu_policy.nr_msrs == 2, "120 and 2 at most");
    is(policy(XEN_SYSCTL_cpu_policy_pv_default, 128, l, 4, m), 0, "for guests");
    for (unsigned i = 1; i < op.u.cpu_policy.nr_leaves; i++)
        ordered &= l[i - 1].leaf < l[i].leaf ||
                   (l[i - 1].leaf == l[i].leaf && l[i - 1].subleaf < l[i].subleaf);
    ok(ordered && op.u.cpu_policy.nr_leaves > 10, "%u leaves in order",
       op.u.cpu_policy.nr_leaves);
    ok(m[0].idx == 0xce && m[1].idx == 0x10a, "two registers");
    ok(l[0].b != AMD || (l[op.u.cpu_policy.nr_leaves - 1].leaf == 0x80000021 &&
                         l[op.u.cpu_policy.nr_leaves - 1].a & 1 << 2),
       "AMD: the last leaf tells that LFENCE waits");
    is(policy(XEN_SYSCTL_cpu_policy_host, 3, l, 4, m), -XEN_ENOBUFS, "too little room");
    is(policy(XEN_SYSCTL_cpu_policy_host, 128, l, 1, m), -XEN_ENOBUFS, "for registers");
    is(policy(6, 128, l, 4, m), -XEN_EINVAL, "a policy of unknown kind");
    is(policy(NONE, 128, l, 4, m), -XEN_EINVAL, "of the last kind");
    is(policy(0, 128, (void *)WILD, 4, m), -XEN_EFAULT, "into a wild list");
    is(policy(0, 128, l, 4, (void *)WILD), -XEN_EFAULT, "into a wild list of registers");
    fresh();
    op.u.cpu_policy._rsvd = 1;
    is(sysctl(XEN_SYSCTL_get_cpu_policy, &op), -XEN_EINVAL, "reserved");
    fresh();
    is(sysctl(XEN_SYSCTL_get_cpu_levelling_caps, &op), 0, "get_cpu_levelling_caps");
    ok(!is_serai || !op.u.cpu_levelling_caps.caps, "nothing masks what programs read");
}

static void refusals(void)
{
    static const struct {
        unsigned cmd;
        long rc;
        const char *name;
    } all[] = {
        {XEN_SYSCTL_tbuf_op, -XEN_ENOSYS, "tbuf_op"},
        {XEN_SYSCTL_perfc_op, -XEN_ENOSYS, "perfc_op"},
        {XEN_SYSCTL_lockprof_op, -XEN_ENOSYS, "lockprof_op"},
        {XEN_SYSCTL_coverage_op, -XEN_ENOSYS, "coverage_op"},
        {XEN_SYSCTL_livepatch_op, -XEN_ENOSYS, "livepatch_op"},
        {XEN_SYSCTL_page_offline_op, -XEN_ENOSYS, "page_offline_op"},
        {XEN_SYSCTL_get_pmstat, -XEN_ENODEV, "get_pmstat"},
        {XEN_SYSCTL_pm_op, -XEN_ENODEV, "pm_op"},
        {XEN_SYSCTL_psr_cmt_op, -XEN_ENODEV, "psr_cmt_op"},
        {XEN_SYSCTL_psr_alloc, -XEN_ENODEV, "psr_alloc"},
        {XEN_SYSCTL_cpu_hotplug, -XEN_EOPNOTSUPP, "cpu_hotplug"},
    };

    if (!is_serai) {
        skip("refusals", "stock Xen has these");
        return;
    }
    for (unsigned i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        memset(&op, 0xff, sizeof(op));
        is(sysctl(all[i].cmd, &op), all[i].rc, "%s is refused", all[i].name);
    }
}

void test_toolstack(void)
{
    versions();
    machine();
    domain_list();
    topology();
    nodes();
    devices();
    cpu_times();
    log_ring();
    keys();
    pool_arguments();
    pools();
    scheduler_op();
    featuresets();
    policies();
    refusals();
}
