/*
 * Every hypercall with random arguments, biased to what reaches deep: our own frames and
 * tables, addresses in the hypervisor, small numbers, pointers to blocks of such values.
 *
 * The guest must outlive its own calls, so three kinds of memory are kept apart: argument
 * pages, which calls may read and write but whose frames are never named; victim frames and
 * victim addresses, which calls may do anything to; and all the rest, never named at all.
 * Calls that rightly end a domain, or change machine state that no guest can undo, are left
 * out (may_call).
 */
#include "guest.h"
#include <xen/arch-x86/xen-mca.h>
#include <xen/domctl.h>
#include <xen/grant_table.h>
#include <xen/kexec.h>
#include <xen/sysctl.h>

#define N_VICTIMS 64
#define N_ARGS    8
#define SLOTS     32
USER_CODE_TEXT(fuzz_user, "ud2");

#define VICTIM_BASE 60 /* window pages from here are the victims' addresses */

static u64 *victims[N_VICTIMS]; /* their addresses in the pool, read-only from now on */
static u64 victim_mfn[N_VICTIMS];
static u64 *args[N_ARGS];
static u64 calls_by_nr[64], good_by_nr[64];

/* A frame that is no business of ours: a hypervisor's, I/O, or none at all. */
static u64 alien_mfn(void)
{
    for (;;) {
        u64 mfn = rand_below(max_mfn + 16);

        if (rand_below(8) == 0)
            mfn = 0xfec00 + rand_below(0x400);
        if (!mfn_is_ours(mfn))
            return mfn;
    }
}

static u64 random_mfn(void)
{
    switch (rand_below(8)) {
    case 0:
        return alien_mfn();
    case 1:
        return rand64() >> rand_below(64) | 1UL << 41;
    default:
        return victim_mfn[rand_below(N_VICTIMS)];
    }
}

static u64 random_pte(void)
{
    static const u64 usual[] = {PTE_KERN, PTE_RO, PTE_P, PTE_P | PTE_RW, 0, PTE_KERN | PTE_NX};
    u64 flags = usual[rand_below(6)];

    if (rand_below(4) == 0)
        flags ^= 1UL << rand_below(12);
    if (rand_below(16) == 0)
        flags ^= 1UL << (52 + rand_below(12));
    return random_mfn() << 12 | flags;
}

/* The machine address of an entry, or of something else, in a victim frame. */
static u64 random_maddr(void)
{
    return random_mfn() << 12 | (rand_below(16) ? rand_below(512) * 8 : rand_below(4096)) |
           (rand_below(3) ? 0 : rand_below(4));
}

static u64 random_va(void)
{
    return window(VICTIM_BASE + rand_below(N_VICTIMS)) + (rand_below(4) ? 0 : rand_below(4096));
}

static u64 wild_address(void)
{
    switch (rand_below(5)) {
    case 0:
        return HOLE_START + (rand64() & 0x7ffffffffff);
    case 1:
        return MACH2PHYS_VIRT_START + random_mfn() * 8;
    case 2:
        return NON_CANONICAL - rand_below(64);
    case 3:
        return HOLE_END - rand_below(64);
    default:
        return UNMAPPED + rand_below(1 << 20);
    }
}

static u64 small(void)
{
    return rand_below(2) ? rand_below(4) : rand_below(64);
}

static u64 random_domid(void)
{
    static const u64 ids[] = {DOMID_SELF, DOMID_SELF, DOMID_SELF,    0, DOMID_IO,
                              DOMID_XEN,  DOMID_COW,  DOMID_INVALID, 1, 0x7fff};

    return ids[rand_below(10)] | (rand_below(16) ? 0 : rand64() << 16);
}

static u64 random_pointer(void)
{
    if (rand_below(8) == 0)
        return wild_address();
    if (rand_below(16) == 0)
        return (u64)victims[rand_below(N_VICTIMS)];
    return (u64)(args[rand_below(N_ARGS)] + rand_below(512 - SLOTS));
}

/* Not one that is a machine address: our own pages lie there, and data may be written to them. */
static u64 lone_bit(void)
{
    return 1UL << (rand_below(2) ? rand_below(12) : 40 + rand_below(24));
}

static u64 random_value(void)
{
    switch (rand_below(12)) {
    case 0:
    case 1:
    case 2:
        return small();
    case 3:
        return random_mfn();
    case 4:
        return random_pte();
    case 5:
        return random_maddr();
    case 6:
        return random_va();
    case 7:
        return wild_address();
    case 8:
        return random_domid();
    case 9:
        return random_pointer();
    case 10:
        return rand_below(2) ? -rand_below(16) : lone_bit();
    default:
        return rand64();
    }
}

/* A block of 32-bit and 64-bit fields of the usual kinds. */
static void *random_block(void)
{
    u64 *b = args[rand_below(N_ARGS)] + rand_below(512 - SLOTS);

    for (unsigned i = 0; i < SLOTS; i++) {
        b[i] = random_value();
        if (rand_below(4) == 0)
            b[i] = small() | small() << 32;
    }
    return b;
}

/* The first victims have a level each, so that sound trees come about. */
#define N_TABLES 24

static unsigned level_of(unsigned victim)
{
    return 1 + victim % 4;
}

static void sound_update(struct mmu_update *req)
{
    unsigned table = rand_below(N_TABLES), below = N_TABLES + rand_below(N_VICTIMS - N_TABLES);

    if (level_of(table) > 1)
        below = rand_below(N_TABLES / 4) * 4 + level_of(table) - 2;
    req->ptr = victim_mfn[table] << 12 | rand_below(512) * 8 | (rand_below(4) ? 0 : 2);
    req->val = rand_below(4) ? victim_mfn[below] << 12 | PTE_KERN : 0;
    if (level_of(table) == 1 && rand_below(2))
        req->val &= ~(u64)PTE_RW;
}

static u64 make_mmu_updates(u64 *a)
{
    struct mmu_update *req = random_block();
    u64 n = 1 + rand_below(rand_below(8) ? 4 : SLOTS / 2);

    for (u64 i = 0; i < n; i++) {
        req[i].ptr = random_maddr();
        req[i].val = (req[i].ptr & 3) == MMU_MACHPHYS_UPDATE ? rand64() : random_pte();
        if (rand_below(3))
            sound_update(req + i);
    }
    a[0] = (u64)req, a[1] = n, a[2] = rand_below(2) ? 0 : random_pointer();
    a[3] = rand_below(4) ? DOMID_SELF : random_domid();
    return __HYPERVISOR_mmu_update;
}

static u64 make_mmuext(u64 *a)
{
    struct mmuext_op *op = random_block();
    u64 n = 1 + rand_below(rand_below(8) ? 2 : 8);

    for (u64 i = 0; i < n; i++) {
        op[i].cmd = rand_below(4) ? rand_below(5) : rand_below(22);
        if (op[i].cmd == MMUEXT_NEW_BASEPTR)
            op[i].cmd = MMUEXT_UNPIN_TABLE;
        op[i].arg1.mfn = rand_below(16) ? random_mfn() : random_value();
        op[i].arg2.src_mfn = rand_below(2) ? random_mfn() : random_value();
        if (op[i].cmd < MMUEXT_UNPIN_TABLE && rand_below(4)) {
            unsigned table = rand_below(N_TABLES);

            op[i].cmd = level_of(table) - 1;
            op[i].arg1.mfn = victim_mfn[table];
        }
    }
    a[0] = (u64)op, a[1] = n, a[2] = rand_below(2) ? 0 : random_pointer();
    a[3] = rand_below(4) ? DOMID_SELF : random_domid();
    return __HYPERVISOR_mmuext_op;
}

static u64 make_update_va(u64 *a)
{
    a[0] = rand_below(16) ? random_va() : wild_address();
    a[1] = random_pte();
    a[2] = rand_below(8) ? rand_below(8) : random_pointer();
    return __HYPERVISOR_update_va_mapping;
}

static u64 make_reservation(u64 *a)
{
    struct xen_memory_exchange *ex = random_block();
    u64 *list = args[0];

    for (unsigned i = 0; i < 16; i++)
        list[i] = rand_below(3) ? random_mfn() : start->nr_pages + rand_below(1000);
    for (unsigned i = 0; i < 2; i++) {
        struct xen_memory_reservation *r = i ? &ex->out : &ex->in;

        set_xen_guest_handle(r->extent_start,
                             rand_below(8) ? list + 8 * i : (void *)random_pointer());
        r->nr_extents = rand_below(8) ? rand_below(5) : rand64() >> rand_below(64);
        r->extent_order = rand_below(4) ? 0 : rand_below(70);
        r->mem_flags = rand_below(2) ? 0 : rand64();
        r->domid = rand_below(4) ? DOMID_SELF : random_domid();
    }
    ex->nr_exchanged = rand_below(4) ? 0 : rand64() >> rand_below(64);
    a[0] = rand_below(2) ? XENMEM_exchange : rand_below(7);
    a[1] = (u64)ex;
    return __HYPERVISOR_memory_op;
}

static u64 make_platform(u64 *a)
{
    struct xen_platform_op *op = random_block();

    op->cmd = 30 + rand_below(36);
    op->interface_version = XENPF_INTERFACE_VERSION;
    a[0] = (u64)op;
    return __HYPERVISOR_platform_op;
}

static u64 make_control(u64 *a)
{
    struct xen_domctl *op = random_block();

    op->cmd = rand_below(90);
    op->interface_version = XEN_DOMCTL_INTERFACE_VERSION;
    op->domain = random_domid();
    a[0] = (u64)op;
    if (rand_below(2))
        return __HYPERVISOR_domctl;
    ((struct xen_sysctl *)op)->interface_version = XEN_SYSCTL_INTERFACE_VERSION;
    return __HYPERVISOR_sysctl;
}

static u64 make_any(u64 *a)
{
    for (unsigned i = 0; i < 5; i++)
        a[i] = random_value();
    if (rand_below(2))
        a[rand_below(2)] = (u64)random_block();
    if (rand_below(2))
        a[0] = small();
    return rand_below(64);
}

static bool may_sched(const u64 *a)
{
    struct sched_poll *poll = (void *)args[1];

    if (a[0] == SCHEDOP_poll) {
        /* A poll without a timeout may wait for ever. */
        poll->nr_ports = rand_below(200);
        poll->timeout = 1;
        set_xen_guest_handle(poll->ports, (void *)random_pointer());
    }
    return (u32)a[0] == SCHEDOP_yield || (u32)a[0] == SCHEDOP_poll || (u32)a[0] > 7;
}

static bool may_vcpu(const u64 *a)
{
    switch ((u32)a[0]) {
    case VCPUOP_down:
    case VCPUOP_register_vcpu_info:
    case VCPUOP_send_nmi:
        return false;
    default:
        return true;
    }
}

/* Power, processors, microcode, other domains' lives: dom0 may, a fuzzer must not. */
static bool may_platform(const u64 *a)
{
    const struct xen_platform_op *op = (void *)a[0];

    switch (op->cmd) {
    case XENPF_settime64:
    case XENPF_getidletime:
    case XENPF_get_cpuinfo:
    case XENPF_get_cpu_version:
    case XENPF_firmware_info:
    case XENPF_get_symbol:
    case XENPF_set_processor_pminfo:
        return true;
    default:
        return false;
    }
}

static bool may_control(u64 nr, const u64 *a)
{
    u32 cmd = *(const u32 *)a[0];

    if (nr == __HYPERVISOR_sysctl)
        return cmd == XEN_SYSCTL_readconsole || cmd == XEN_SYSCTL_physinfo ||
               cmd == XEN_SYSCTL_getdomaininfolist || cmd == XEN_SYSCTL_getcpuinfo ||
               cmd == XEN_SYSCTL_cputopoinfo || cmd == XEN_SYSCTL_numainfo || cmd > 40;
    return cmd == XEN_DOMCTL_getdomaininfo || cmd == XEN_DOMCTL_getvcpuinfo ||
           cmd == XEN_DOMCTL_getvcpuaffinity || cmd == XEN_DOMCTL_getvcpucontext || cmd > 88;
}

static bool in_args(u64 p)
{
    for (unsigned i = 0; i < N_ARGS; i++)
        if (p >= (u64)args[i] && p < (u64)args[i] + PAGE_SIZE)
            return true;
    return false;
}

/* The ops that load a table are left to the tests that prepare one. */
static bool safe_mmuext(const struct mmuext_op *op, u64 n)
{
    for (u64 i = 0; i < n && i < 8; i++)
        if (op[i].cmd == MMUEXT_NEW_BASEPTR)
            return false;
    return n <= 8;
}

static bool may_call(u64 nr, u64 *a)
{
    switch (nr) {
    case __HYPERVISOR_iret:
    case __HYPERVISOR_multicall:      /* made by hand, below */
    case __HYPERVISOR_set_trap_table: /* would take our handlers away */
    case __HYPERVISOR_stack_switch:
    case __HYPERVISOR_kexec_op:
    case __HYPERVISOR_sched_op_compat:
    case __HYPERVISOR_set_callbacks:
        return false;
    case __HYPERVISOR_callback_op:
    case __HYPERVISOR_nmi_op:
        /* Anything readable would make our own events and system calls end anywhere. */
        return a[1] >= HOLE_START && a[1] < HOLE_END;
    case __HYPERVISOR_sched_op:
        if ((u32)a[0] == SCHEDOP_poll)
            a[1] = (u64)args[1];
        return may_sched(a);
    case __HYPERVISOR_vcpu_op:
        return may_vcpu(a);
    case __HYPERVISOR_platform_op:
        return !in_args(a[0]) || may_platform(a);
    case __HYPERVISOR_sysctl:
    case __HYPERVISOR_domctl:
        return in_args(a[0]) && may_control(nr, a);
    case __HYPERVISOR_physdev_op:
        /* Stock Xen 4.17 dereferences a null pointer for a device without MSI-X. */
        return is_serai ||
               ((u32)a[0] != PHYSDEVOP_prepare_msix && (u32)a[0] != PHYSDEVOP_release_msix);
    case __HYPERVISOR_mca: /* may inject machine checks */
        return !in_args(a[0]) || (*(u32 *)a[0] != 4 && *(u32 *)a[0] < 8);
    case __HYPERVISOR_console_io:
        return (u32)a[0] != CONSOLEIO_write; /* our results are read from there */
    case __HYPERVISOR_update_va_mapping:
    case __HYPERVISOR_update_va_mapping_otherdomain:
        return a[0] - window(VICTIM_BASE) < N_VICTIMS * PAGE_SIZE ||
               (a[0] >= HOLE_START - PAGE_SIZE && a[0] < HOLE_END);
    case __HYPERVISOR_mmuext_op:
        return in_args(a[0]) ? safe_mmuext((void *)a[0], a[1]) : true;
    default:
        return true;
    }
}

static u64 pick(u64 *a)
{
    static u64 (*const makers[])(u64 *) = {make_mmu_updates, make_mmuext,   make_update_va,
                                           make_reservation, make_platform, make_control,
                                           make_any,         make_any,      make_any};

    for (;;) {
        u64 nr;

        memset(a, 0, 6 * 8);
        nr = makers[rand_below(sizeof(makers) / sizeof(makers[0]))](a);
        if (may_call(nr, a))
            return nr;
    }
}

static bool kernel_address(u64 va)
{
    return va >= VIRT_BASE && va < VIRT_BASE + (1UL << 30);
}

/* The entries' own blocks may overlap: what one call writes, the next reads. */
static long multicall(void)
{
    static u64 page[512] __attribute__((aligned(4096)));
    struct multicall_entry *mc = (void *)page;
    u64 n = 1 + rand_below(6);

    for (u64 i = 0; i < n; i++) {
        u64 nr = pick(mc[i].args);

        /* Only these: the check of others may not hold when the batch gets to them. */
        if (nr != __HYPERVISOR_update_va_mapping && nr != __HYPERVISOR_xen_version)
            nr = make_update_va(mc[i].args);
        if (kernel_address(mc[i].args[0]))
            nr = 11;
        mc[i].op = nr;
    }
    return hc_multicall(mc, n);
}

/* Writes to victim tables through whatever maps them. */
static void direct_write(void)
{
    u64 *at = rand_below(2) ? victims[rand_below(N_VICTIMS)] + rand_below(512)
                            : (u64 *)(random_va() & ~7UL);
    u64 val = random_pte();

    switch (rand_below(4)) {
    case 0:
        EX("xchgq %1, (%0)", : "+r"(at), "+r"(val) : : "memory");
        break;
    case 1:
        EX("lock btsq %1, (%0)", : : "r"(at), "r"(val & 63) : "memory");
        break;
    case 2:
        EX("movb %1, (%0)", : : "r"((u64)at + (val >> 12 & 7)), "q"((u8)val) : "memory");
        break;
    default:
        try_write((u64)at, val);
    }
}

static void one_call(void)
{
    u64 a[6], nr;
    long rc;

    if (rand_below(16) == 0) {
        direct_write();
        return;
    }
    if (rand_below(32) == 0) {
        multicall();
        return;
    }
    nr = pick(a);
    calls_by_nr[nr & 63]++;
    rc = hypercall(nr, a[0], a[1], a[2], a[3], a[4]);
    good_by_nr[nr & 63] += rc >= 0;
}

/* A writable mapping of a frame that unpins is one that should not have been. */
static bool victims_are_sane(void)
{
    bool good;

    /* The check finds tables by the m2p. */
    for (unsigned i = 0; i < N_VICTIMS; i++)
        mmu_write_type(victim_mfn[i] << 12, pfn_of(victims[i]), MMU_MACHPHYS_UPDATE,
                       DOMID_SELF);
    good = tables_are_readonly();
    for (unsigned i = 0; i < N_VICTIMS; i++) {
        bool writable = false;

        for (unsigned w = 0; w < N_VICTIMS; w++) {
            u64 pte = pte_read(window(VICTIM_BASE + w));

            writable |= (pte & 3) == 3 && (pte & PTE_ADDR) >> 12 == victim_mfn[i];
        }
        if (writable && mmuext(MMUEXT_UNPIN_TABLE, victim_mfn[i], 0) == 0) {
            note("frame %lx was pinned as a table and mapped writable", victim_mfn[i]);
            good = false;
        }
    }
    return good;
}

static void fuzz_setup(void)
{
    for (unsigned i = 0; i < N_ARGS; i++)
        args[i] = page_alloc();
    for (unsigned i = 0; i < N_VICTIMS; i++) {
        victims[i] = page_alloc();
        victim_mfn[i] = mfn_of(victims[i]);
        set_ro(victims[i]);
    }
    /* Frames that nothing maps can be given away. */
    for (unsigned i = 48; i < N_VICTIMS; i++)
        hc_update_va(victims[i], 0, UVMF_INVLPG);
    /* Some of them begin as a tree. */
    for (unsigned i = 0; i < N_TABLES; i++)
        pin(level_of(i), victims[i]);
    for (unsigned i = 0; i + 1 < N_TABLES; i++)
        if (level_of(i) < 4)
            mmu_write(victims[i + 1] + i, maddr_of(victims[i]) | PTE_KERN);
    trap_table_install(0);
    hc_vm_assist(VMASST_CMD_enable, VMASST_TYPE_writable_pagetables);
}

static void still_works(void)
{
    void *page = page_alloc();
    struct evtchn_bind_ipi ipi = {.vcpu = 0};
    struct evtchn_send send;
    u64 seen = events_seen;

    trap_init();
    hc_set_debugreg(7, 0);
    is(hc_version(XENVER_version, NULL), 4 << 16 | 17, "hypercalls work");
    is(window_map(5, maddr_of(page) | PTE_KERN), 0, "mappings work");
    *(volatile u64 *)window(5) = 77;
    is(*(u64 *)page, 77, "and lead to the right page");
    is(set_ro(page) | window_map(5, 0), 0, "read-only");
    is(pin(1, page) | unpin(page) | set_rw(page), 0, "pins work");
    is(EX("ud2"), 6, "traps arrive");
    mmuext(MMUEXT_NEW_USER_BASEPTR, user_l4, 0);
    hc_segment_base(SEGBASE_FS, 0);
    USER_RUN(fuzz_user, 0, 0, 0);
    is(trap.vec, 6, "user mode works");
    hc_evtchn(EVTCHNOP_reset, &(struct evtchn_reset){.dom = DOMID_SELF});
    if (hc_evtchn(EVTCHNOP_bind_ipi, &ipi) == 0) {
        send.port = ipi.port;
        port_mask(ipi.port, false);
        vi->evtchn_pending_sel = 0;
        vi->evtchn_upcall_pending = 0;
        port_clear(ipi.port);
        hc_evtchn(EVTCHNOP_send, &send);
        vi->evtchn_upcall_mask = 0;
        hc_version(XENVER_version, NULL);
        vi->evtchn_upcall_mask = 1;
        ok(events_seen > seen, "events arrive");
    } else
        ok(false, "no event channel to be had");
}

void test_fuzz(void)
{
    u64 calls = option_number("calls", 200000), seed = option_number("seed", 1), n;
    bool good = true;
    unsigned used = 0;

    note("seed %lu, %lu calls", seed, calls);
    user_init();
    fuzz_setup();
    rand_seed(seed);
    for (n = 0; n < calls && good; n++) {
        one_call();
        vi->evtchn_upcall_mask = 1;
        if (n % 16384 == 16383)
            good = victims_are_sane();
        if (n % 262144 == 262143)
            note("%lu calls", n + 1);
    }
    ok(good, "no table became writable in %lu calls", n);
    hc_vcpu(VCPUOP_stop_periodic_timer, 0, NULL);
    for (unsigned nr = 0; nr < 64; nr++) {
        used += calls_by_nr[nr] > 0;
        if (good_by_nr[nr])
            note("hypercall %u: %lu of %lu succeeded", nr, good_by_nr[nr], calls_by_nr[nr]);
    }
    ok(used > 50, "%u hypercall numbers were tried", used);
    still_works();
    ok(victims_are_sane(), "no table is mapped writable");
}
