#include "tiny.h"
#include <xen/grant_table.h>
#include <xen/sysctl.h>

enum { L4, L3, L2, L1, CODE };

#define SHARED_VA (TINY_VA + PAGE_SIZE)
#define COUNTER   2048 /* within the code's page */
#define LONG_NS   20000000000UL

static struct domu u; /* the one that is being built */

/* Polls its port, masked as events are, and counts each time it was pending. */
extern const char tiny_code[], tiny_code_end[];
asm(".pushsection .rodata\n"
    "tiny_code:\n"
    "1: movl $29, %eax\n" /* sched_op */
    "movl $3, %edi\n"     /* poll */
    "lea 3f(%rip), %rsi\n"
    "syscall\n"
    "lock btrl $1, 0x401800\n" /* TINY_PORT's bit in the shared page */
    "jnc 1b\n"
    "incq tiny_code + 2048(%rip)\n" /* COUNTER */
    "jmp 1b\n"
    "2: .long 1\n" /* TINY_PORT */
    ".balign 8\n"
    "3: .quad 0x400000 + 2b - tiny_code\n" /* TINY_VA */
    ".long 1, 0\n"
    ".quad 0\n" /* no timeout */
    "tiny_code_end:\n.popsection");

u64 free_pages(void)
{
    struct xen_sysctl op = {.cmd = XEN_SYSCTL_physinfo,
                            .interface_version = XEN_SYSCTL_INTERFACE_VERSION};

    return HC(sysctl, &op, 0, 0, 0, 0) ? 0 : op.u.physinfo.free_pages;
}

static long create(struct tiny *t, unsigned vcpus)
{
    struct xen_domctl op = {0};
    long rc;

    op.u.createdomain.max_vcpus = vcpus;
    op.u.createdomain.max_evtchn_port = 1023;
    op.u.createdomain.max_grant_frames = 4;
    op.u.createdomain.max_maptrack_frames = 4;
    op.u.createdomain.grant_opts = XEN_DOMCTL_GRANT_version(1);
    rc = domctl(XEN_DOMCTL_createdomain, 0, &op);
    t->id = u.id = rc ? 0 : op.domain;
    return rc;
}

static long set_vcpus(unsigned vcpus)
{
    struct xen_domctl op = {.u.max_vcpus.max = vcpus};

    return domctl(XEN_DOMCTL_max_vcpus, u.id, &op);
}

static long set_limit(u64 pages)
{
    struct xen_domctl op = {.u.max_mem.max_memkb = pages * 4};

    return domctl(XEN_DOMCTL_max_mem, u.id, &op);
}

static long connect(struct tiny *t)
{
    struct evtchn_alloc_unbound open = {.dom = u.id, .remote_dom = DOMID_SELF};
    struct evtchn_bind_interdomain bind = {.remote_dom = u.id};
    long rc = hc_evtchn(EVTCHNOP_alloc_unbound, &open);

    if (rc)
        return rc;
    if (open.port != TINY_PORT)
        die("a new domain's first port has another number");
    bind.remote_port = open.port;
    rc = hc_evtchn(EVTCHNOP_bind_interdomain, &bind);
    t->port = rc ? 0 : bind.local_port;
    return rc;
}

static long make_grants(void)
{
    static u64 frame;
    struct xen_mem_acquire_resource r = {
        .domid = u.id, .type = XENMEM_resource_grant_table, .nr_frames = 1};

    set_xen_guest_handle(r.frame_list, (void *)&frame);
    return hc_memory(XENMEM_acquire_resource, &r);
}

static long fill_memory(u64 pages)
{
    struct xen_memory_reservation r = {.domid = u.id, .nr_extents = pages};
    long got;

    u.pages = pages;
    for (u64 i = 0; i < pages; i++)
        u.mfn[i] = i;
    set_xen_guest_handle(r.extent_start, u.mfn);
    got = hc_memory(XENMEM_populate_physmap, &r);
    return got < 0 ? got : got == (long)pages ? 0 : -XEN_ENOMEM;
}

/* A word of a page of its, as long as nothing forbids it. */
static long poke(unsigned page, unsigned index, u64 value)
{
    u64 *view = domu_map_mfn(&u, u.mfn[page], PTE_KERN);

    if (!view)
        return -XEN_EFAULT;
    view[index] = value;
    domu_unmap(view);
    return 0;
}

static long fill_tables(struct tiny *t)
{
    struct xen_domctl op = {0};
    u8 *view = domu_map_mfn(&u, u.mfn[CODE], PTE_KERN);
    long rc = domctl(XEN_DOMCTL_getdomaininfo, u.id, &op);

    if (!view)
        return -XEN_EFAULT;
    memcpy(view, tiny_code, tiny_code_end - tiny_code);
    t->code_mfn = u.mfn[CODE];
    t->seen = (u64 *)(view + COUNTER);
    *t->seen = 0;
    rc = rc ?: poke(L4, 0, u.mfn[L3] * PAGE_SIZE | PTE_KERN);
    rc = rc ?: poke(L3, 0, u.mfn[L2] * PAGE_SIZE | PTE_KERN);
    rc = rc ?: poke(L2, 2, u.mfn[L1] * PAGE_SIZE | PTE_KERN);
    rc = rc ?: poke(L1, 0, u.mfn[CODE] * PAGE_SIZE | PTE_KERN);
    return rc ?: poke(L1, 1, op.u.getdomaininfo.shared_info_frame * PAGE_SIZE | PTE_KERN);
}

static long set_context(void)
{
    static struct vcpu_guest_context c;
    struct xen_domctl op = {0};

    memset(&c, 0, sizeof(c));
    c.flags = VGCF_in_kernel | VGCF_online;
    c.user_regs.rip = TINY_VA;
    c.user_regs.rsp = c.kernel_sp = TINY_VA + PAGE_SIZE;
    c.user_regs.rflags = 0x200;
    c.user_regs.cs = FLAT_KERNEL_CS;
    c.user_regs.ss = c.kernel_ss = FLAT_KERNEL_SS;
    c.ctrlreg[3] = xen_pfn_to_cr3(u.mfn[L4]);
    set_xen_guest_handle(op.u.vcpucontext.ctxt, &c);
    return domctl(XEN_DOMCTL_setvcpucontext, u.id, &op);
}

static long step(struct tiny *t, unsigned vcpus, u64 pages, enum tiny_step which)
{
    switch (which) {
    case TINY_CREATED:
        return create(t, vcpus);
    case TINY_VCPUS:
        return set_vcpus(vcpus);
    case TINY_LIMIT:
        return set_limit(pages);
    case TINY_CONNECTED:
        return connect(t);
    case TINY_GRANTS:
        return make_grants();
    case TINY_MEMORY:
        return fill_memory(pages);
    case TINY_TABLES:
        return fill_tables(t);
    case TINY_PINNED:
        return domu_mmuext(&u, MMUEXT_PIN_L4_TABLE, u.mfn[L4]);
    case TINY_CONTEXT:
        return set_context();
    default:
        return tiny_run(t);
    }
}

long tiny_build(struct tiny *t, unsigned vcpus, u64 pages, enum tiny_step until)
{
    long rc = 0;

    *t = (struct tiny){0};
    for (unsigned i = 0; i <= until && !rc; i++)
        rc = step(t, vcpus, pages, i);
    return rc;
}

void tiny_make(struct tiny *t, u64 pages)
{
    long rc = tiny_build(t, 1, pages, TINY_CONTEXT);

    if (!rc)
        return;
    note("domain %u: %ld", t->id, rc);
    die("a tiny domain cannot be made");
}

long tiny_run(const struct tiny *t)
{
    return domctl_plain(XEN_DOMCTL_unpausedomain, t->id);
}

bool tiny_kick(struct tiny *t, u64 n)
{
    u64 end = clock_ns() + LONG_NS;

    if (port_send(t->port))
        return false;
    while (*t->seen != n && clock_ns() < end)
        hc_sched(SCHEDOP_yield, NULL);
    return *t->seen == n;
}

bool tiny_end(struct tiny *t)
{
    u.id = t->id;
    if (!t->id)
        return true;
    if (t->seen)
        domu_unmap(t->seen);
    if (t->port)
        port_close(t->port);
    return domu_end(&u);
}
