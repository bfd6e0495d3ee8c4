#include "fuzz/machine/guests.h"
#include "core/pte.h"
#include "guest/event.h"
#include "guest/grant.h"
#include "guest/lifecycle.h"
#include "guest/mmu.h"
#include "guest/vcpu.h"
#include "guest/vtime.h"
#include "hcall/hcall.h"
#include "x86/paging.h"
#include <string.h>
#include <xen/domctl.h>
#include <xen/grant_table.h>
#include <xen/memory.h>

#define DOM0_PAGES 64
#define DOMU_PAGES 28
#define MAX_PAGES  64
#define NR_TABLES  4
#define RIP        0x1000UL
#define PTE_PAGE   (GPTE_P | GPTE_US | GPTE_A | GPTE_D)

unsigned guest_calls_open;

static void set_registers(struct cpu_user_regs *regs, unsigned id)
{
    *regs = (struct cpu_user_regs){.rip = RIP,
                                   .cs = SEL_RING3_CS64,
                                   .rflags = BIT(1) | BIT(9),
                                   .rsp = guest_va(STACK_PAGE + 1) - id * 1024,
                                   .ss = SEL_RING3_DS};
}

/* The way out of the hypervisor, as entry.S takes it. */
void guest_way_out(struct vcpu *v)
{
    struct cpu_user_regs *regs = guest_regs();
    const struct vcpu_info *info = vcpu_info(v);

    while (this_cpu()->softirq_pending ||
           (info->evtchn_upcall_pending && !info->evtchn_upcall_mask && v->event_cb.address)) {
        exit_work_from_assembly(regs);
        info = vcpu_info(v);
        if (!v->event_cb.address || info->evtchn_upcall_mask)
            continue;
        /* A handler that masks nothing is entered once. */
        break;
    }
}

/* Its handler has seen what is pending. */
void guest_take_events(struct vcpu *v)
{
    struct vcpu_info *info = vcpu_info(v);

    info->evtchn_upcall_pending = info->evtchn_upcall_mask = 0;
    info->evtchn_pending_sel = 0;
    v->domain->shared->evtchn_pending[0] = 0;
}

s64 guest_call(struct vcpu *v, unsigned nr, const u64 *a)
{
    struct cpu_user_regs *regs = guest_regs();
    bool again = true, boot = !dispatch_current();

    regs->rdi = a[0];
    regs->rsi = a[1];
    regs->rdx = a[2];
    regs->r10 = a[3];
    while (again) {
        const u64 args[5] = {regs->rdi, regs->rsi, regs->rdx, regs->r10, 0};

        regs->rip = RIP;
        guest_calls_open += nr != __HYPERVISOR_sched_op;
        regs->rax = (u64)hcall_dispatch(v, nr, args);
        guest_calls_open -= nr != __HYPERVISOR_sched_op;
        again = regs->rip == RIP - 2;
        if (boot)
            continue;
        if (again) {
            machine_border();
            guest_take_events(v);
        }
        guest_way_out(v);
    }
    return (s64)regs->rax;
}

bool guest_put(u64 va, const void *data, u64 len)
{
    for (u64 n; len; len -= n, va += n, data = (const u8 *)data + n) {
        void *p = machine_translate(va, true);

        n = MIN(len, PAGE_SIZE - (va & (PAGE_SIZE - 1)));
        if (!p)
            return false;
        memcpy(p, data, n);
    }
    return true;
}

bool guest_get(void *data, u64 va, u64 len)
{
    for (u64 n; len; len -= n, va += n, data = (u8 *)data + n) {
        const void *p = machine_translate(va, false);

        n = MIN(len, PAGE_SIZE - (va & (PAGE_SIZE - 1)));
        if (!p)
            return false;
        memcpy(data, p, n);
    }
    return true;
}

/* ---- memory of a new domain ---- */

/*
 * The last four pages become the tables that map the first half and, read-only, themselves. What
 * is not mapped may become anything.
 */
static u64 link_tables(const u64 *mfns, unsigned n)
{
    u64 *l4 = mfn_to_virt(MFN(mfns[n - 4])), *l3 = mfn_to_virt(MFN(mfns[n - 3]));
    u64 *l2 = mfn_to_virt(MFN(mfns[n - 2])), *l1 = mfn_to_virt(MFN(mfns[n - 1]));

    for (unsigned i = n - NR_TABLES; i < n; i++)
        memset(mfn_to_virt(MFN(mfns[i])), 0, PAGE_SIZE);
    l4[pt_index(VA_BASE, 4)] = mfns[n - 3] << PAGE_SHIFT | PTE_PAGE | GPTE_RW;
    l3[pt_index(VA_BASE, 3)] = mfns[n - 2] << PAGE_SHIFT | PTE_PAGE | GPTE_RW;
    l2[pt_index(VA_BASE, 2)] = mfns[n - 1] << PAGE_SHIFT | PTE_PAGE | GPTE_RW;
    for (unsigned i = 0; i < n; i++)
        if (i < n / 2 || i >= n - NR_TABLES)
            l1[i] = mfns[i] << PAGE_SHIFT | PTE_PAGE | (i < n / 2 ? GPTE_RW : 0);
    return mfns[n - 4];
}

/* Unless somebody has made something else of them meanwhile. */
static u64 write_tables(u16 id, const u64 *mfns, unsigned n)
{
    for (unsigned i = n - NR_TABLES; i < n; i++)
        if (mfns[i] >= NR_FRAMES || ref_owner(frames[mfns[i]].ref) != id ||
            frames[mfns[i]].typ & TYP_INUSE)
            return 0;
    return link_tables(mfns, n);
}

/* ---- domain 0, which nobody asks for ---- */

static void add_vcpu0(struct domain *d, unsigned id, mfn_t table)
{
    struct vcpu *v = vcpu_create(d, id);
    struct cpu_user_regs regs;

    REQUIRE(v && !frame_type_get(d->id, table, TYPE_L4));
    v->kernel_table = table;
    v->entry.kernel_cr3 = table.n << PAGE_SHIFT;
    set_registers(&regs, id);
    vcpu_set_entry(v, &regs);
    v->life = VCPU_DOWN;
}

static void build_dom0(void)
{
    u64 mfns[DOM0_PAGES];
    mfn_t table;

    dom0 = domain_create(0, DOM0_PAGES * 2);
    REQUIRE(dom0);
    dom0->is_hardware = true;
    for (unsigned i = 0; i < DOM0_PAGES; i++) {
        mfn_t mfn;

        REQUIRE(heap_alloc_frames(0, ~0UL, NULL, &mfn));
        mfns[i] = mfn.n;
        m2p[mfn.n] = i;
        frame_assign(dom0, mfn, 0);
        dom0->tot_pages++;
    }
    table = MFN(write_tables(0, mfns, DOM0_PAGES));
    REQUIRE(!frame_pin(0, table, TYPE_L4));
    add_vcpu0(dom0, 0, table);
    add_vcpu0(dom0, 1, table);
}

/* ---- what a toolstack does ---- */

static s64 control(struct vcpu *v, struct xen_domctl *op)
{
    op->interface_version = XEN_DOMCTL_INTERFACE_VERSION;
    if (!guest_put(guest_args(v), op, sizeof(*op)))
        return -XEN_EFAULT;
    return guest_call(v, __HYPERVISOR_domctl, (const u64[4]){guest_args(v)});
}

s64 guests_create(struct vcpu *v, u16 id, unsigned vcpus)
{
    struct xen_domctl op = {.cmd = XEN_DOMCTL_createdomain, .domain = id};
    s64 rc;

    op.u.createdomain = (struct xen_domctl_createdomain){.max_vcpus = vcpus,
                                                         .max_evtchn_port = 1023,
                                                         .max_grant_frames = 4,
                                                         .max_maptrack_frames = 4};
    rc = control(v, &op);
    if (rc)
        return rc;
    return guest_get(&op, guest_args(v), sizeof(op)) ? op.domain : -XEN_EFAULT;
}

static unsigned populate(struct vcpu *v, u16 id, u64 *mfns, unsigned n)
{
    struct xen_memory_reservation r = {.nr_extents = n, .domid = id};
    u64 list = guest_args(v) + 1024;
    s64 done;

    for (unsigned i = 0; i < n; i++)
        mfns[i] = i;
    set_xen_guest_handle(r.extent_start, (xen_pfn_t *)list);
    if (!guest_put(guest_args(v), &r, sizeof(r)) || !guest_put(list, mfns, n * 8))
        return 0;
    done = guest_call(v, __HYPERVISOR_memory_op,
                      (const u64[4]){XENMEM_populate_physmap, guest_args(v)});
    return done > 0 && guest_get(mfns, list, n * 8) ? (unsigned)done : 0;
}

static void pin(struct vcpu *v, u16 id, u64 mfn)
{
    struct mmuext_op op = {.cmd = MMUEXT_PIN_L4_TABLE, .arg1.mfn = mfn};

    if (guest_put(guest_args(v), &op, sizeof(op)))
        (void)!guest_call(v, __HYPERVISOR_mmuext_op, (const u64[4]){guest_args(v), 1, 0, id});
}

static void give_context(struct vcpu *v, u16 id, unsigned vcpu, u64 table)
{
    struct vcpu_guest_context c = {.flags = VGCF_IN_KERNEL | VGCF_online};
    struct xen_domctl op = {.cmd = XEN_DOMCTL_setvcpucontext, .domain = id};
    u64 at = guest_args(v) + 1024;

    set_registers(&c.user_regs, vcpu);
    c.ctrlreg[3] = table << PAGE_SHIFT;
    c.kernel_sp = c.user_regs.rsp;
    c.event_callback_eip = RIP;
    op.u.vcpucontext.vcpu = vcpu;
    set_xen_guest_handle(op.u.vcpucontext.ctxt, (void *)at);
    if (guest_put(at, &c, sizeof(c)))
        (void)!control(v, &op);
}

static void simple(struct vcpu *v, u16 id, u32 cmd, u64 arg)
{
    struct xen_domctl op = {.cmd = cmd, .domain = id};

    memcpy(&op.u, &arg, sizeof(arg));
    (void)!control(v, &op);
}

void guests_fill(struct vcpu *v, u16 id, unsigned vcpus, unsigned pages, u32 leave_out)
{
    u64 mfns[MAX_PAGES], table = 0;

    pages = MIN(MAX(pages, STACK_PAGE + 1 + NR_TABLES), MAX_PAGES);
    if (!(leave_out & BUILD_VCPUS))
        simple(v, id, XEN_DOMCTL_max_vcpus, vcpus);
    if (!(leave_out & BUILD_MAX_MEM))
        simple(v, id, XEN_DOMCTL_max_mem, pages * 2 * PAGE_SIZE / 1024);
    if (!(leave_out & BUILD_MEMORY) && populate(v, id, mfns, pages) == pages) {
        if (!(leave_out & BUILD_TABLES))
            table = write_tables(id, mfns, pages);
        if (table && !(leave_out & BUILD_PIN))
            pin(v, id, table);
        for (unsigned i = 0; table && i < vcpus && !(leave_out & BUILD_CONTEXT); i++)
            give_context(v, id, i, table);
    }
    if (!(leave_out & BUILD_START))
        simple(v, id, XEN_DOMCTL_unpausedomain, 0);
}

/* Each has a port for each other one, and grants: pages of its own, entries that wait for one. */
static void befriend(struct domain *d, u16 with)
{
    grant_entry_v1_t *e = mfn_to_virt(grant_frame(d, 0));
    u64 page = 0;
    u32 port;

    REQUIRE(!event_alloc_unbound(d, with, &port));
    for (unsigned i = with * 4U; i < with * 4U + 4; i++) {
        static const u16 flags[4] = {GTF_permit_access, GTF_permit_access | GTF_readonly,
                                     GTF_accept_transfer, GTF_permit_access};

        while (ref_owner(frames[page].ref) != d->id || m2p[page] != FIRST_FREE + i)
            page = (page + 1) % NR_FRAMES;
        e[i] = (grant_entry_v1_t){flags[i % 4], with, (u32)page};
    }
}

static void connect(struct domain *d, u16 with)
{
    u32 port;

    REQUIRE(!event_alloc_unbound(d, with, &port));
    REQUIRE(!event_bind_interdomain(domain_peek(with), d->id, port, &port));
    REQUIRE(!event_bind_ipi(d, d->max_vcpus - 1, &port));
}

static void let_meet(void)
{
    for (u16 id = 0; id < 3; id++)
        REQUIRE(!grant_grow(domain_peek(id), 1));
    for (u16 id = 0; id < 9; id++)
        if (id / 3 != id % 3)
            befriend(domain_peek(id / 3), id % 3);
    for (u16 id = 0; id < 3; id++)
        connect(domain_peek(id), (id + 1) % 3);
}

void guests_build(void)
{
    struct vcpu *v;

    build_dom0();
    v = dom0->vcpus[0];
    machine_act_as(v);
    for (unsigned i = 0; i < 2; i++) {
        REQUIRE(guests_create(v, 0, 2 - i) == i + 1);
        guests_fill(v, (u16)(i + 1), 2 - i, DOMU_PAGES, BUILD_START);
        REQUIRE(vcpu_is_up(domain_peek((u16)(i + 1))->vcpus[0]));
    }
    let_meet();
    for (u16 id = 1; id < 3; id++)
        simple(v, id, XEN_DOMCTL_unpausedomain, 0);
    lifecycle_vcpu_up(dom0->vcpus[0]);
    lifecycle_vcpu_up(dom0->vcpus[1]);
}
