#include "fuzz/machine/ops.h"
#include "core/pte.h"
#include "guest/grant.h"
#include "guest/mmu.h"
#include "hcall/hcall.h"
#include "x86/paging.h"
#include <string.h>
#include <xen/arch-x86/xen-mca.h>
#include <xen/event_channel.h>
#include <xen/grant_table.h>
#include <xen/memory.h>
#include <xen/physdev.h>
#include <xen/platform.h>
#include <xen/sched.h>
#include <xen/vcpu.h>

struct input input;

/* ---- values ---- */

u16 take_domid(const struct vcpu *v)
{
    static const u16 ids[] = {
        0, 1, 2, 3, 4, DOMID_IO, DOMID_XEN, DOMID_FIRST_RESERVED, DOMID_SELF, DOMID_SELF};
    u8 b = take();

    return b < 96 ? v->domain->id : b < 160 ? b % 3 : ids[b % ARRAY_SIZE(ids)];
}

static bool suits(u64 i, unsigned owner, unsigned kind)
{
    const struct frame *f = &frames[i];

    if (ref_owner(f->ref) != owner)
        return false;
    switch (kind) {
    case 0:
        return !(f->typ & TYP_INUSE);
    case 1:
        return frame_type_of(MFN(i)) == TYPE_WRITABLE;
    case 2:
        return type_is_table(frame_type_of(MFN(i)));
    case 3:
        return f->ref & REF_SPECIAL;
    default:
        return true;
    }
}

/* The next one that suits, from a place that the input says; else any number. */
mfn_t take_mfn(const struct vcpu *v)
{
    u8 b = take();
    u64 from = take() * 8UL;
    u16 owner = b & 1 ? v->domain->id : (u16)((b >> 1) % 5);

    if (b == 0xff)
        return MFN(from * 0x8001);
    if (b == 0xfe)
        owner = DOMID_XEN;
    for (u64 n = 0; n < NR_FRAMES; n++)
        if (suits((from + n) % NR_FRAMES, owner, b >> 4 & 7))
            return MFN((from + n) % NR_FRAMES);
    return MFN(from);
}

u64 take_pte(const struct vcpu *v)
{
    static const u64 flags[] = {GPTE_P | GPTE_RW | GPTE_US | GPTE_A | GPTE_D,
                                GPTE_P | GPTE_US,
                                GPTE_P | GPTE_RW,
                                0,
                                GPTE_P | GPTE_RW | GPTE_LOGGED,
                                GPTE_P | GPTE_LOGGED,
                                GPTE_P | GPTE_RW | GPTE_PCD,
                                GPTE_P | GPTE_PAT,
                                GPTE_P | GPTE_NX | GPTE_G,
                                GPTE_P | GPTE_RW | GPTE_US | GPTE_AVL};

    return take_mfn(v).n << PAGE_SHIFT | flags[take_below(ARRAY_SIZE(flags))];
}

/* Mostly pages without a purpose. */
u64 take_va(void)
{
    unsigned slot = take() | (take() & 1U) << 8;

    if (slot < FIRST_FREE)
        slot += 64;
    return guest_va(slot);
}

u64 take_number(const struct vcpu *v)
{
    u8 b = take();

    switch (b >> 5) {
    case 0:
    case 1:
    case 2:
        return b;
    case 3:
        return take_va() + (b & 31) * 8;
    case 4:
        return guest_args(v) + 2048 + (b & 31) * 64;
    case 5:
        return take_mfn(v).n << (b & 1 ? PAGE_SHIFT : 0);
    case 6:
        return (u64)take() << (b & 31) * 2;
    default:
        return ~0UL - (b & 31) + 1;
    }
}

void sprinkle(const struct vcpu *v, void *data, u64 len)
{
    for (unsigned n = take_below(8); n; n--) {
        static const u8 sizes[] = {8, 4, 2, 8};
        unsigned size = sizes[take() & 3];
        u64 at = take() * size % (ROUND_UP(len, 8) - 7) / size * size, value = take_number(v);

        if (at + size <= len)
            memcpy((u8 *)data + at, &value, size);
    }
}

s64 call_with(struct vcpu *v, unsigned nr, const u64 *a, const void *data, u64 len)
{
    /* At times it ends where what is there ends. */
    u64 at = take_rare(64) ? guest_va(VA_SLOTS) - 16 : guest_args(v), args[4];

    memcpy(args, a, sizeof(args));
    for (unsigned i = 0; i < 4; i++)
        args[i] = args[i] == ~0UL ? at : args[i];
    (void)!guest_put(at, data, len);
    return guest_call(v, nr, args);
}

/* In the arguments of a call: where its structure is. */
#define HERE      (~0UL)
#define ARGS(...) ((const u64[4]){__VA_ARGS__})

/* ---- page tables ---- */

static unsigned take_slot(void)
{
    u8 b = take();

    /* The L1 of all guests is at the start of the others. */
    return b < 32 ? pt_index(VA_BASE, 1 + b % 4) : b < 64 ? 480U + b % 32 : b * 2U % 512;
}

static void op_mmu_update(struct vcpu *v)
{
    struct mmu_update r[4];
    unsigned n = 1 + take_below(4);
    u64 who = take_domid(v);

    if (take_rare(8))
        who |= (u64)(take_domid(v) + 1) << 16;
    for (unsigned i = 0; i < n; i++) {
        r[i].ptr = take_mfn(v).n << PAGE_SHIFT | take_slot() * 8UL;
        r[i].ptr |= take_rare(8) ? take() & 7 : 0;
        r[i].val = take_pte(v);
    }
    call_with(v, __HYPERVISOR_mmu_update, ARGS(HERE, n, guest_args(v) + 512, who), r,
              n * sizeof(r[0]));
}

static void op_va_mapping(struct vcpu *v)
{
    static const u64 flush[] = {0, UVMF_TLB_FLUSH | UVMF_ALL, UVMF_INVLPG | UVMF_LOCAL, 3};
    u64 va = take_va(), pte = take_pte(v);

    guest_call(v, __HYPERVISOR_update_va_mapping, ARGS(va, pte, flush[take() & 3]));
}

static void op_mmuext(struct vcpu *v)
{
    struct mmuext_op op[3];
    unsigned n = 1 + take_below(3);

    for (unsigned i = 0; i < n; i++) {
        bool names_va;

        op[i] = (struct mmuext_op){.cmd = take_rare(2) ? take_below(22) : take_below(6)};
        names_va = op[i].cmd == MMUEXT_SET_LDT || op[i].cmd == MMUEXT_INVLPG_LOCAL;
        op[i].arg1.mfn = names_va ? take_va() : take_mfn(v).n;
        op[i].arg2.src_mfn = op[i].cmd == MMUEXT_COPY_PAGE ? take_mfn(v).n : take_number(v);
    }
    call_with(v, __HYPERVISOR_mmuext_op,
              ARGS(HERE, n, guest_args(v) + 512, take_rare(3) ? take_domid(v) : DOMID_SELF), op,
              n * sizeof(op[0]));
}

/* mov %rax, (%rbx) to a table that it maps read-only. */
static void op_write_table(struct vcpu *v)
{
    static const u8 code[][16] = {{0x48, 0x89, 0x03},
                                  {0x48, 0x87, 0x03},
                                  {0xf0, 0x80, 0x23, 0xfd},
                                  {0xf0, 0x48, 0x0f, 0xb1, 0x13}};
    struct cpu_user_regs *regs = guest_regs();
    u64 at = guest_args(v) + 256;

    guest_calls_open++;
    regs->rbx = take_va() + take_slot() * 8UL;
    regs->rax = take_pte(v);
    regs->rdx = take_pte(v);
    if (guest_put(at, code[take() & 3], sizeof(code[0]))) {
        regs->rip = at;
        (void)!mmu_emulate_write(v, regs, regs->rbx);
    }
    guest_calls_open--;
}

static void op_write(struct vcpu *v)
{
    u64 va = take_va() + take_slot() * 8UL, value = take_rare(4) ? take_number(v) : take_pte(v);

    guest_calls_open++;
    (void)!guest_put(va, &value, sizeof(value));
    guest_calls_open--;
}

static void op_descriptors(struct vcpu *v)
{
    u64 list[2] = {take_mfn(v).n, take_mfn(v).n};

    if (take() & 1)
        call_with(v, __HYPERVISOR_set_gdt, ARGS(HERE, take() * 5UL), list, sizeof(list));
    else
        guest_call(v, __HYPERVISOR_update_descriptor,
                   ARGS(list[0] << PAGE_SHIFT | take_slot() * 8UL, 0x00cffb000000ffffUL));
}

/* ---- memory ---- */

static void op_reservation(struct vcpu *v, unsigned cmd)
{
    struct {
        struct xen_memory_reservation r;
        u64 list[8];
    } a = {0};
    u64 here = guest_args(v);

    a.r.nr_extents = take_rare(16) ? ~0U : take_below(9);
    a.r.extent_order = take_rare(4) ? take_below(12) : 0;
    a.r.mem_flags = take_rare(8) ? take() : 0;
    a.r.domid = take_domid(v);
    set_xen_guest_handle(a.r.extent_start, (xen_pfn_t *)(here + offsetof(typeof(a), list)));
    for (unsigned i = 0; i < MIN(a.r.nr_extents, 8); i++)
        a.list[i] = cmd == XENMEM_populate_physmap ? take() : take_mfn(v).n;
    call_with(v, __HYPERVISOR_memory_op, ARGS(cmd, HERE), &a, sizeof(a));
}

static void op_exchange(struct vcpu *v)
{
    struct {
        struct xen_memory_exchange e;
        u64 in[8], out[8];
    } a = {0};
    u64 here = guest_args(v);
    unsigned order = take_below(4);

    a.e.in.nr_extents = take_below(9);
    a.e.in.extent_order = take_rare(4) ? take_below(4) : 0;
    a.e.out.extent_order = order;
    a.e.out.nr_extents =
        take_rare(8) ? take() : (a.e.in.nr_extents << a.e.in.extent_order) >> order;
    a.e.in.domid = a.e.out.domid = take_rare(8) ? take_domid(v) : DOMID_SELF;
    set_xen_guest_handle(a.e.in.extent_start, (xen_pfn_t *)(here + offsetof(typeof(a), in)));
    set_xen_guest_handle(a.e.out.extent_start, (xen_pfn_t *)(here + offsetof(typeof(a), out)));
    for (unsigned i = 0; i < 8; i++) {
        a.in[i] = i < a.e.in.nr_extents ? take_mfn(v).n : 0;
        a.out[i] = i + 8;
    }
    call_with(v, __HYPERVISOR_memory_op, ARGS(XENMEM_exchange, HERE), &a, sizeof(a));
}

static void op_resource(struct vcpu *v)
{
    struct xen_mem_acquire_resource r = {.domid = take_domid(v),
                                         .type = XENMEM_resource_grant_table,
                                         .nr_frames = take_below(6),
                                         .frame = take_below(6)};

    set_xen_guest_handle(r.frame_list, (xen_pfn_t *)(guest_args(v) + 512));
    call_with(v, __HYPERVISOR_memory_op, ARGS(XENMEM_acquire_resource, HERE), &r, sizeof(r));
}

static void op_claim(struct vcpu *v)
{
    struct xen_memory_reservation r = {.nr_extents = take() * 4UL, .domid = take_domid(v)};

    call_with(v, __HYPERVISOR_memory_op, ARGS(XENMEM_claim_pages, HERE), &r, sizeof(r));
}

static void op_memory(struct vcpu *v)
{
    static const u8 cmds[] = {XENMEM_increase_reservation, XENMEM_decrease_reservation,
                              XENMEM_populate_physmap};
    u8 what = take_below(9), words[128] = {0};
    u64 cmd;

    if (what < 4) {
        op_reservation(v, cmds[what % 3]);
    } else if (what < 6) {
        op_exchange(v);
    } else if (what == 6) {
        op_resource(v);
    } else if (what == 7) {
        op_claim(v);
    } else {
        sprinkle(v, words, sizeof(words));
        cmd = take_below(32);
        call_with(v, __HYPERVISOR_memory_op, ARGS(cmd, HERE), words, sizeof(words));
    }
}

/* ---- grants ---- */

static u32 take_ref(void)
{
    u8 b = take();

    return b < 240 ? b % 12 : b < 250 ? 500U + b % 16 : (u32)b << 8;
}

/* What a guest writes to its table. */
static void op_grant_entry(struct vcpu *v)
{
    static const u16 kinds[] = {GTF_permit_access, GTF_permit_access | GTF_readonly,
                                GTF_accept_transfer, GTF_invalid};
    grant_entry_v1_t e = {.flags = kinds[take() & 3]}, *table;
    const struct domain *d = v->domain, *other = domain_peek(take_below(3));
    u32 ref = take_ref();

    e.domid = take_domid(v);
    e.frame = (u32)take_mfn(v).n;
    /* Another guest may do so at any time. */
    if (take_rare(4) && other && !(other->stop & STOP_DYING))
        d = other;
    if (ref >= grant_nr_frames(d) * GRANTS_PER_FRAME)
        return;
    table = mfn_to_virt(grant_frame(d, ref / GRANTS_PER_FRAME));
    table[ref % GRANTS_PER_FRAME] = e;
}

/* The entry of the L1 that all guests have. */
static u64 take_host_addr(const struct vcpu *v, u32 *flags)
{
    u64 va = take_va();
    mfn_t l1 = MFN(0);

    if (!(take() & 1))
        return va;
    *flags |= GNTMAP_contains_pte;
    for (u64 i = 0; i < NR_FRAMES && !l1.n; i++)
        if (suits(i, v->domain->id, 2) && frame_type_of(MFN(i)) == TYPE_L1)
            l1 = MFN(i);
    return l1.n << PAGE_SHIFT | pt_index(va, 1) * 8;
}

static void op_grant_map(struct vcpu *v)
{
    struct gnttab_map_grant_ref r[3];
    unsigned n = 1 + take_below(3);

    memset(r, 0, sizeof(r));
    for (unsigned i = 0; i < n; i++) {
        static const u8 flags[] = {GNTMAP_host_map, GNTMAP_host_map | GNTMAP_readonly,
                                   GNTMAP_device_map, GNTMAP_host_map | GNTMAP_device_map};

        r[i].flags = flags[take() & 3];
        r[i].host_addr = take_host_addr(v, &r[i].flags);
        r[i].ref = take_ref();
        r[i].dom = take_domid(v);
    }
    call_with(v, __HYPERVISOR_grant_table_op, ARGS(GNTTABOP_map_grant_ref, HERE, n), r,
              n * sizeof(r[0]));
}

static void op_grant_unmap(struct vcpu *v)
{
    struct gnttab_unmap_grant_ref r[3];
    unsigned n = 1 + take_below(3);
    u32 flags = 0;

    memset(r, 0, sizeof(r));
    for (unsigned i = 0; i < n; i++) {
        r[i].handle = take_below(8);
        r[i].host_addr = take_rare(8) ? 0 : take_host_addr(v, &flags);
        r[i].dev_bus_addr = take_rare(4) ? take_mfn(v).n << PAGE_SHIFT : 0;
    }
    call_with(v, __HYPERVISOR_grant_table_op, ARGS(GNTTABOP_unmap_grant_ref, HERE, n), r,
              n * sizeof(r[0]));
}

static void op_grant_replace(struct vcpu *v)
{
    struct gnttab_unmap_and_replace r = {.host_addr = take_va(), .new_addr = take_va()};

    r.handle = take_below(8);
    call_with(v, __HYPERVISOR_grant_table_op, ARGS(GNTTABOP_unmap_and_replace, HERE, 1), &r,
              sizeof(r));
}

static void op_grant_transfer(struct vcpu *v)
{
    struct gnttab_transfer r = {
        .mfn = take_mfn(v).n, .domid = take_domid(v), .ref = take_ref()};

    call_with(v, __HYPERVISOR_grant_table_op, ARGS(GNTTABOP_transfer, HERE, 1), &r, sizeof(r));
}

static void take_copy_end(const struct vcpu *v, bool by_ref, struct gnttab_copy_ptr *p)
{
    if (by_ref)
        p->u.ref = take_ref();
    else
        p->u.gmfn = take_mfn(v).n;
    p->domid = by_ref ? take_domid(v) : DOMID_SELF;
    p->offset = (u16)(take() * 16);
}

static void op_grant_copy(struct vcpu *v)
{
    struct gnttab_copy r[3];
    unsigned n = 1 + take_below(3);

    memset(r, 0, sizeof(r));
    for (unsigned i = 0; i < n; i++) {
        r[i].flags = take() & 3;
        r[i].len = (u16)(take() * 17);
        take_copy_end(v, r[i].flags & GNTCOPY_source_gref, (void *)&r[i].source);
        take_copy_end(v, r[i].flags & GNTCOPY_dest_gref, (void *)&r[i].dest);
    }
    call_with(v, __HYPERVISOR_grant_table_op, ARGS(GNTTABOP_copy, HERE, n), r,
              n * sizeof(r[0]));
}

static void op_grant_table(struct vcpu *v)
{
    struct gnttab_setup_table s = {.dom = take_domid(v), .nr_frames = take_below(7)};
    u64 cmd = take_rare(2) ? take_below(14) : GNTTABOP_setup_table;

    set_xen_guest_handle(s.frame_list, (xen_pfn_t *)(guest_args(v) + 512));
    call_with(v, __HYPERVISOR_grant_table_op, ARGS(cmd, HERE, 1), &s, sizeof(s));
}

/* ---- events, time, vcpus ---- */

static void op_event(struct vcpu *v)
{
    u8 cmd = take_below(14);
    u32 a[4] = {0};

    switch (cmd) {
    case EVTCHNOP_bind_interdomain:
        a[0] = take_domid(v);
        a[1] = take_below(16);
        break;
    case EVTCHNOP_alloc_unbound:
        a[0] = take_domid(v) | (u32)take_domid(v) << 16;
        break;
    case EVTCHNOP_status:
        a[0] = take_domid(v);
        a[1] = take_below(16);
        break;
    case EVTCHNOP_init_control:
        v->domain->restored |=
            !v->domain->is_hardware; /* who asks for queues came from elsewhere */
        a[0] = take_mfn(v).n;
        a[2] = take_rare(4) ? take() * 16 : 64 * take_below(4);
        a[3] = take_below(3);
        break;
    case EVTCHNOP_expand_array:
        a[0] = take_mfn(v).n;
        break;
    case EVTCHNOP_reset:
        a[0] = take_rare(4) ? take_domid(v) : DOMID_SELF;
        break;
    default:
        a[0] = take_below(26);
        a[1] = take_below(4);
    }
    call_with(v, __HYPERVISOR_event_channel_op, ARGS(cmd, HERE), a, sizeof(a));
}

static void op_sched(struct vcpu *v)
{
    static const u8 cmds[] = {SCHEDOP_yield,    SCHEDOP_block,         SCHEDOP_poll,
                              SCHEDOP_shutdown, SCHEDOP_shutdown_code, SCHEDOP_remote_shutdown,
                              SCHEDOP_watchdog};
    u8 cmd = cmds[take_below(ARRAY_SIZE(cmds))];
    struct sched_poll p = {.nr_ports = take_below(4),
                           .timeout = take_rare(2) ? machine_now() + take() * 1000UL : 0};
    u32 words[4] = {take() & 7, 1, 2, 3};

    if (cmd == SCHEDOP_poll) {
        set_xen_guest_handle(p.ports, (evtchn_port_t *)(guest_args(v) + 512));
        (void)!guest_put(guest_args(v) + 512, words, sizeof(words));
        call_with(v, __HYPERVISOR_sched_op, ARGS(cmd, HERE), &p, sizeof(p));
    } else if (!v->domain->is_hardware || cmd < SCHEDOP_shutdown) {
        call_with(v, __HYPERVISOR_sched_op, ARGS(cmd, HERE), words, sizeof(words));
    }
}

static void op_vcpu(struct vcpu *v)
{
    static const u8 cmds[] = {VCPUOP_up,
                              VCPUOP_down,
                              VCPUOP_is_up,
                              VCPUOP_get_runstate_info,
                              VCPUOP_register_runstate_memory_area,
                              VCPUOP_set_periodic_timer,
                              VCPUOP_stop_periodic_timer,
                              VCPUOP_set_singleshot_timer,
                              VCPUOP_stop_singleshot_timer,
                              VCPUOP_register_vcpu_info,
                              VCPUOP_register_vcpu_time_memory_area,
                              VCPUOP_send_nmi,
                              VCPUOP_initialise};
    u8 cmd = cmds[take_below(ARRAY_SIZE(cmds))], id = take_below(3);
    u64 words[2] = {0};

    /* Somebody has to take everything apart. */
    if (cmd == VCPUOP_down && v->domain->is_hardware && !id)
        return;
    if (cmd == VCPUOP_register_vcpu_info)
        words[0] = take_mfn(v).n, words[1] = take() * 16U;
    else if (cmd == VCPUOP_set_singleshot_timer)
        words[0] = machine_now() + take() * 1000UL;
    else if (cmd == VCPUOP_set_periodic_timer)
        words[0] = 1000000UL + take() * 1000UL;
    else
        words[0] = take_va() + take() * 16UL;
    call_with(v, __HYPERVISOR_vcpu_op, ARGS(cmd, id, HERE), words, sizeof(words));
}

static void op_timer(struct vcpu *v)
{
    guest_call(v, __HYPERVISOR_set_timer_op,
               ARGS(take_rare(4) ? 0 : machine_now() + take() * 1000UL));
}

/* ---- everything else ---- */

static void op_physdev(struct vcpu *v)
{
    u32 words[16] = {0};
    u8 cmd = take_below(34);

    if (cmd == PHYSDEVOP_map_pirq) {
        struct physdev_map_pirq *p = (void *)words;

        p->domid = take_domid(v);
        p->type = take_below(5);
        p->index = take_below(26);
        p->pirq = take_rare(2) ? take() : -1;
        p->devfn = take_below(5);
        p->entry_nr = take_below(3);
    } else if (cmd == PHYSDEVOP_unmap_pirq) {
        words[0] = take_domid(v);
        words[1] = take_rare(2) ? 511U - take_below(8) : take_below(26);
    } else {
        sprinkle(v, words, sizeof(words));
    }
    call_with(v, __HYPERVISOR_physdev_op, ARGS(cmd, HERE), words, sizeof(words));
}

/* Domain 0 must not end, and does not set the machine's clock back. */
static bool may_call(const struct vcpu *v, unsigned nr)
{
    switch (nr) {
    case __HYPERVISOR_sched_op:
    case __HYPERVISOR_vcpu_op:
        return !v->domain->is_hardware;
    case __HYPERVISOR_iret:
        return false;
    default:
        return true;
    }
}

static void op_raw(struct vcpu *v)
{
    u64 words[24] = {0}, a[4];
    unsigned nr = take_below(64);

    sprinkle(v, words, sizeof(words));
    for (unsigned i = 0; i < 4; i++)
        a[i] = take_rare(3) ? HERE : take_number(v);
    if (may_call(v, nr))
        call_with(v, nr, a, words, sizeof(words));
}

static void op_multicall(struct vcpu *v)
{
    multicall_entry_t e[3];
    unsigned n = 1 + take_below(3);

    memset(e, 0, sizeof(e));
    for (unsigned i = 0; i < n; i++) {
        static const u8 numbers[] = {
            __HYPERVISOR_update_va_mapping, __HYPERVISOR_mmu_update,
            __HYPERVISOR_mmuext_op,         __HYPERVISOR_memory_op,
            __HYPERVISOR_grant_table_op,    __HYPERVISOR_event_channel_op,
            __HYPERVISOR_multicall,         __HYPERVISOR_set_gdt};
        struct mmu_update *u = (void *)(guest_args(v) + 1024 + i * 64);

        e[i].op = numbers[take() & 7];
        if (e[i].op == __HYPERVISOR_update_va_mapping) {
            e[i].args[0] = take_va();
            e[i].args[1] = take_pte(v);
        } else if (e[i].op == __HYPERVISOR_mmu_update) {
            struct mmu_update r = {take_mfn(v).n << PAGE_SHIFT | take_slot() * 8UL,
                                   take_pte(v)};

            (void)!guest_put((u64)u, &r, sizeof(r));
            e[i].args[0] = (u64)u;
            e[i].args[1] = 1;
            e[i].args[3] = DOMID_SELF;
        } else {
            for (unsigned k = 0; k < 4; k++)
                e[i].args[k] = take_number(v);
        }
    }
    call_with(v, __HYPERVISOR_multicall, ARGS(HERE, n), e, n * sizeof(e[0]));
}

static void op_small(struct vcpu *v)
{
    static const u8 numbers[] = {
        __HYPERVISOR_vm_assist,      __HYPERVISOR_set_debugreg,    __HYPERVISOR_get_debugreg,
        __HYPERVISOR_callback_op,    __HYPERVISOR_nmi_op,          __HYPERVISOR_console_io,
        __HYPERVISOR_xen_version,    __HYPERVISOR_stack_switch,    __HYPERVISOR_set_callbacks,
        __HYPERVISOR_fpu_taskswitch, __HYPERVISOR_platform_op,     __HYPERVISOR_mca,
        __HYPERVISOR_set_trap_table, __HYPERVISOR_set_segment_base};
    u64 words[16] = {0}, cmd = take_below(20);
    unsigned nr = numbers[take_below(ARRAY_SIZE(numbers))];

    sprinkle(v, words, sizeof(words));
    if (nr == __HYPERVISOR_platform_op)
        words[0] = (u64)XENPF_INTERFACE_VERSION << 32 | take_below(64);
    else if (nr == __HYPERVISOR_mca)
        words[0] = (u64)XEN_MCA_INTERFACE_VERSION << 32 | take_below(6);
    call_with(v, nr, ARGS(cmd, HERE, HERE), words, sizeof(words));
}

static void op_time(struct vcpu *v)
{
    machine_advance((u64)take() << (take() & 15));
}

void op_any(struct vcpu *v)
{
    static void (*const ops[])(struct vcpu * v) = {
        op_mmu_update,  op_mmu_update,    op_va_mapping,  op_va_mapping,     op_mmuext,
        op_mmuext,      op_write_table,   op_write,       op_descriptors,    op_memory,
        op_memory,      op_grant_entry,   op_grant_entry, op_grant_map,      op_grant_map,
        op_grant_unmap, op_grant_replace, op_grant_copy,  op_grant_transfer, op_grant_table,
        op_event,       op_event,         op_sched,       op_vcpu,           op_timer,
        op_physdev,     op_multicall,     op_raw,         op_small,          op_time,
        op_domctl,      op_domctl,        op_build,       op_sysctl,         op_serai};

    ops[take_below(ARRAY_SIZE(ops))](v);
}
