/* What a domain sees of what the toolstack said about it, and who may say it when. */
#include "domu.h"
#include <xen/features.h>
#include <xen/sysctl.h>

enum { CPUID_LEAF = 1, SET_XCR0, FEATURES, VERSION_TEXT, SYSCTL, DOMCTL };

static struct domu u;
static struct xen_domctl op;
static xen_cpuid_leaf_t leaves[128];

/* --- in the other domain --- */

static u64 forced_cpuid(u64 leaf)
{
    u32 a, b, c, d;

    asm volatile(".byte 0x0f, 0x0b, 0x78, 0x65, 0x6e; cpuid"
                 : "=a"(a), "=b"(b), "=c"(c), "=d"(d)
                 : "a"((u32)leaf), "c"((u32)(leaf >> 32)));
    domu_mail.out[0] = a;
    domu_mail.out[1] = b;
    domu_mail.out[2] = c;
    domu_mail.out[3] = d;
    return 0;
}

static u64 set_xcr0(u64 value)
{
    EX("mov %%cr4, %%rax\n bts $18, %%rax\n mov %%rax, %%cr4", : : : "rax", "memory");
    return EX("xsetbv", : : "c"(0), "a"((u32)value), "d"(0) : "memory");
}

static u64 features(void)
{
    struct xen_feature_info fi = {0};

    hc_version(XENVER_get_features, &fi);
    return fi.submap;
}

static u64 version_text(u64 what)
{
    static char text[1024];
    long rc = hc_version((unsigned)what, text);

    memcpy((char *)domu_mail.out, text, sizeof(domu_mail.out));
    return (u64)rc;
}

static u64 control(bool of_machine)
{
    struct xen_sysctl s = {.cmd = XEN_SYSCTL_physinfo,
                           .interface_version = XEN_SYSCTL_INTERFACE_VERSION};

    if (of_machine)
        return (u64)HC(sysctl, &s, 0, 0, 0, 0);
    return (u64)domctl_plain(XEN_DOMCTL_getdomaininfo, 0);
}

static void other_side(void)
{
    for (u64 order; (order = domu_next());) {
        u64 in = domu_mail.in[0];

        domu_reply(order == CPUID_LEAF     ? forced_cpuid(in)
                   : order == SET_XCR0     ? set_xcr0(in)
                   : order == FEATURES     ? features()
                   : order == VERSION_TEXT ? version_text(in)
                                           : control(order == SYSCTL));
    }
}

/* --- in domain 0 --- */

static long set_policy(u32 n)
{
    memset(&op, 0, sizeof(op));
    op.u.cpu_policy.nr_leaves = n;
    set_xen_guest_handle(op.u.cpu_policy.leaves, leaves);
    return domctl(XEN_DOMCTL_set_cpu_policy, u.id, &op);
}

static u32 get_policy(void)
{
    memset(&op, 0, sizeof(op));
    op.u.cpu_policy.nr_leaves = 128;
    set_xen_guest_handle(op.u.cpu_policy.leaves, leaves);
    is(domctl(XEN_DOMCTL_get_cpu_policy, u.id, &op), 0, "get_cpu_policy");
    return op.u.cpu_policy.nr_leaves;
}

static xen_cpuid_leaf_t *leaf(u32 number)
{
    for (unsigned i = 0; i < 128; i++)
        if (leaves[i].leaf == number)
            return &leaves[i];
    die("a leaf is missing");
}

#define SSE42 (1U << 20)
#define AVX   (1U << 28)

static void policy_is_seen(void)
{
    u32 n = get_policy(), max_ext, c = leaf(1)->c;

    ok(c & SSE42, "the machine has SSE4.2");
    leaf(1)->c &= ~(SSE42 | AVX);
    leaf(0)->a = 0xd;
    leaf(0x80000004)->b = 0x69617265; /* "erai", part of the brand */
    max_ext = leaf(0x80000000)->a = 0x80000008;
    is(set_policy(n), 0, "a policy without SSE4.2 and AVX");
    domu_run(&u);
    domu_ask(&u, CPUID_LEAF, 1);
    is(u.mail->out[2] & (SSE42 | AVX), 0, "the domain does not see them");
    ok(u.mail->out[2] & 1 && u.mail->out[2] >> 31, "but the rest");
    domu_ask(&u, CPUID_LEAF, 0x80000004);
    is(u.mail->out[1], 0x69617265, "and the name that was chosen");
    domu_ask(&u, CPUID_LEAF, 0x80000000);
    is(u.mail->out[0], max_ext, "and the highest leaf");
    domu_ask(&u, CPUID_LEAF, 0xd);
    is(u.mail->out[0], 3, "state of x87 and SSE is all there is");
    is(domu_ask(&u, SET_XCR0, 7), 13, "AVX state cannot be switched on");
    is(domu_ask(&u, SET_XCR0, 3), VEC_NONE, "the rest can");
    domu_ask(&u, CPUID_LEAF, 0x40000003);
    is(u.mail->out[1], 2, "the time-stamp counter's mode is shown");
    is(set_policy(n), -XEN_EEXIST, "once it has run its policy stays");
}

static void version_is_for_guests(void)
{
    u64 f = domu_ask(&u, FEATURES, 0);

    is(f & 1U << XENFEAT_dom0, 0, "it is not told to be domain 0");
    is(f | 1U << XENFEAT_pae_pgdir_above_4gb,
       1U << XENFEAT_mmu_pt_update_preserve_ad | 1U << XENFEAT_highmem_assist |
           1U << XENFEAT_gnttab_map_avail_bits | 1U << XENFEAT_memory_op_vnode_supported |
           1U << XENFEAT_direct_mapped | 1U << XENFEAT_pae_pgdir_above_4gb,
       "the other features are domain 0's");
    is((long)domu_ask(&u, VERSION_TEXT, XENVER_commandline), 0, "the command line");
    ok(has_prefix((char *)u.mail->out, "<denied>"), "is not told");
    is((long)domu_ask(&u, VERSION_TEXT, XENVER_guest_handle), 0, "its handle");
    is(u.mail->out[1], 0x4242424242424242, "is its own");
    is((long)domu_ask(&u, VERSION_TEXT, XENVER_build_id), -XEN_EPERM, "build_id is refused");
    is((long)domu_ask(&u, SYSCTL, 0), -XEN_EPERM, "sysctl too");
    is((long)domu_ask(&u, DOMCTL, 0), -XEN_EPERM, "domctl too");
}

static long pool(u32 what, u32 pool_id, u32 cpu)
{
    struct xen_sysctl s = {.cmd = XEN_SYSCTL_cpupool_op,
                           .interface_version = XEN_SYSCTL_INTERFACE_VERSION};

    s.u.cpupool_op.op = what;
    s.u.cpupool_op.cpupool_id = pool_id;
    s.u.cpupool_op.sched_id = XEN_SCHEDULER_CREDIT2;
    s.u.cpupool_op.cpu = cpu;
    return HC(sysctl, &s, 0, 0, 0, 0);
}

static void born_in_a_pool(void)
{
    u16 id;

    is(pool(XEN_SYSCTL_CPUPOOL_OP_CREATE, 2, 0), 0, "a pool");
    is(pool(XEN_SYSCTL_CPUPOOL_OP_RMCPU, 0, 1), 0, "a CPU");
    is(pool(XEN_SYSCTL_CPUPOOL_OP_ADDCPU, 2, 1), 0, "for it");
    memset(&op, 0, sizeof(op));
    op.u.createdomain = (struct xen_domctl_createdomain){.max_vcpus = 1,
                                                         .cpupool_id = 2,
                                                         .max_grant_frames = 4,
                                                         .max_maptrack_frames = 4,
                                                         .max_evtchn_port = 1023,
                                                         .grant_opts = 1};
    is(domctl(XEN_DOMCTL_createdomain, 0, &op), 0, "a domain made for it");
    id = op.domain;
    memset(&op, 0, sizeof(op));
    is(domctl(XEN_DOMCTL_getdomaininfo, id, &op), 0, "its info");
    is(op.u.getdomaininfo.cpupool, 2, "says so");
    is(domctl_plain(XEN_DOMCTL_destroydomain, id), 0, "it goes");
    memset(&op, 0, sizeof(op));
    while (!domctl(XEN_DOMCTL_getdomaininfo, id, &op) && op.domain == id)
        hc_sched(SCHEDOP_yield, NULL);
    is(pool(XEN_SYSCTL_CPUPOOL_OP_RMCPU, 2, 1), 0, "the CPU");
    is(pool(XEN_SYSCTL_CPUPOOL_OP_DESTROY, 2, 0), 0, "and the pool too");
    is(pool(XEN_SYSCTL_CPUPOOL_OP_ADDCPU, 0, 1), 0, "all is as before");
}

void test_toolstack3(void)
{
    domu_make(&u, other_side, 1);
    memset(&op, 0, sizeof(op));
    memset(op.u.setdomainhandle.handle, 0x42, 16);
    is(domctl(XEN_DOMCTL_setdomainhandle, u.id, &op), 0, "setdomainhandle");
    memset(&op, 0, sizeof(op));
    op.u.tsc_info.tsc_mode = 2;
    is(domctl(XEN_DOMCTL_settscinfo, u.id, &op), 0, "settscinfo");
    policy_is_seen();
    version_is_for_guests();
    ok(domu_end(&u), "the domain goes");
    born_in_a_pool();
}
