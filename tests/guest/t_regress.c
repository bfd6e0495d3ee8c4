/*
 * Ways into the hypervisor, or to stop it, that were open once. Each check is a small attack
 * from end to end; where the hypervisor falls for it, it often does not live to say so. The
 * word only=NAME runs one of them. The machine has more than 2 GiB, nearly all of it ours, so
 * that the hypervisor maps RAM by pages of each size, and a device with MSI-X.
 */
#include "more.h"
#include <xen/grant_table.h>

#define DIRECT_MAP    0xffff810000000000UL /* where the hypervisor sees all RAM */
#define DIRECT_MAP_NC 0x0000810000000000UL /* the same slot, by a non-canonical address */
#define SIZE_2M       (512 * PAGE_SIZE)
#define NOWHERE       (1UL << 42) /* far above all RAM */

/* --- pages that the hypervisor writes --- */

enum { USES = 6 };

/* Takes the frame, which is empty, for each kind of page that the guest must not write. */
static void use_as_table(u64 mfn, long rc[USES])
{
    u64 *l2e = pte_at(window(0) + SIZE_2M, 2);

    rc[0] = mmu_write(l2e, mfn << 12 | PTE_KERN);
    if (!rc[0])
        mmu_write(l2e, 0);
    for (int level = 1; level <= 4; level++) {
        rc[level] = mmuext(MMUEXT_PIN_L1_TABLE + level - 1, mfn, 0);
        if (!rc[level])
            mmuext(MMUEXT_UNPIN_TABLE, mfn, 0);
    }
    rc[5] = hc_set_gdt(&mfn, 512);
    if (!rc[5])
        hc_set_gdt(NULL, 0);
}

static void all_refused(const long rc[USES], const char *what)
{
    static const char *const uses[USES] = {"as a live L1", "pinned as L1", "pinned as L2",
                                           "pinned as L3", "pinned as L4", "as GDT"};

    for (unsigned i = 0; i < USES; i++)
        refused(rc[i], "%s %s", what, uses[i]);
}

/* An event sets a bit anywhere in the shared page: as a table it would map any frame. */
static void shared_page_as_table(void)
{
    static u64 saved[512];
    long rc[USES];

    memcpy(saved, shared, PAGE_SIZE);
    memset(shared, 0, PAGE_SIZE);
    vi->evtchn_upcall_mask = 1;
    if (hc_update_va(shared, 0, UVMF_INVLPG))
        die("cannot unmap shared_info");
    /* No trap until it is back. */
    use_as_table(start->shared_info >> 12, rc);
    if (hc_update_va(shared, start->shared_info | PTE_KERN, UVMF_INVLPG))
        die("cannot map shared_info again");
    memcpy(shared, saved, PAGE_SIZE);
    all_refused(rc, "shared_info, mapped nowhere,");
}

/* The flags of a grant are the hypervisor's to set. */
static void grant_page_as_table(void)
{
    static xen_pfn_t frames[1];
    struct gnttab_setup_table st = {.dom = DOMID_SELF, .nr_frames = 1};
    long rc[USES];

    set_xen_guest_handle(st.frame_list, frames);
    is(HC(grant_table_op, GNTTABOP_setup_table, &st, 1, 0, 0), 0, "setup_table");
    is(st.status, GNTST_okay, "its status");
    use_as_table(frames[0], rc);
    all_refused(rc, "a grant frame");
}

/* --- configuration space --- */

static long announce_window(u64 base, u16 segment)
{
    struct physdev_pci_mmcfg_reserved m = {
        .address = base, .segment = segment, .end_bus = 255, .flags = XEN_PCI_MMCFG_RESERVED};

    return hc_physdev(PHYSDEVOP_pci_mmcfg_reserved, &m);
}

/*
 * The hypervisor looks for the device's capabilities and writes the message there; it is
 * given back at once.
 */
static long map_message(u16 segment, u8 bus, u8 devfn, u64 table_base)
{
    struct physdev_map_pirq m = {.domid = DOMID_SELF,
                                 .type = MAP_PIRQ_TYPE_MSI_SEG,
                                 .index = -1,
                                 .pirq = -1,
                                 .bus = segment << 16 | bus,
                                 .devfn = devfn,
                                 .table_base = table_base};
    struct physdev_unmap_pirq u = {.domid = DOMID_SELF};
    long rc = hc_physdev(PHYSDEVOP_map_pirq, &m);

    u.pirq = m.pirq;
    if (!rc)
        hc_physdev(PHYSDEVOP_unmap_pirq, &u);
    return rc;
}

/*
 * A page table that reads as the configuration space of a device with MSI: words written there
 * would be entries that nobody checked.
 */
static void config_space_in_a_table(void)
{
    static u64 before[512];
    u64 *table = page_alloc(), ma = maddr_of(table);
    unsigned mapped = 0;

    table[0] = 0x0010000000001234; /* present, with capabilities */
    table[6] = 0x44UL << 32;       /* the first of them at 0x44 */
    table[8] = 0x0080000500000000; /* MSI, 64-bit */
    table[10] = 0x230000;          /* the data word goes below this address */
    if (make_table(1, table))
        die("cannot make a table of absent entries");
    memcpy(before, table, PAGE_SIZE);
    announce_window(ma & ~0xfffffUL, 1);
    for (unsigned i = 0; i < 16; i++)
        mapped += map_message(1, 0, ma >> 12, 0) == 0;
    is(mapped, 0, "messages of a device whose configuration space is a page table");
    is(memcmp(before, table, PAGE_SIZE), 0, "the table is as it was");
}

/* Addresses without memory, and such as no processor can form. */
static void config_space_nowhere(void)
{
    static const u64 bases[] = {1UL << 51, 0xfff0000000000000, NOWHERE};

    for (unsigned i = 0; i < sizeof(bases) / sizeof(bases[0]); i++) {
        announce_window(bases[i], 2 + i);
        refused(map_message(2 + i, 0, 0, 0), "a device in configuration space at %lx",
                bases[i]);
    }
}

/* --- page walks by addresses in the hypervisor's own slots --- */

USER_CODE_TEXT(u_in, "mov %edi, %edx; in %dx, %al; ud2");

/*
 * A frame of ours that begins a page of the direct map, filled with such an entry: a walk that
 * takes the large page for a table finds it there. 0 when there is none.
 */
static u64 forge(u64 frames, u64 entry)
{
    for (u64 mfn = frames > 1024 ? frames : 1024; mfn <= max_mfn; mfn += frames) {
        if (!mfn_is_ram(mfn) || !mfn_is_ours(mfn) || va_of_mfn(mfn) ||
            window_map(3, mfn << 12 | PTE_KERN))
            continue;
        for (unsigned i = 0; i < 512; i++)
            ((u64 *)window(3))[i] = entry;
        return mfn;
    }
    return 0;
}

static long set_bitmap(u64 bitmap, u32 nr_ports)
{
    struct physdev_set_iobitmap b = {.nr_ports = nr_ports};

    set_xen_guest_handle(b.bitmap, (u8 *)bitmap);
    return hc_physdev(PHYSDEVOP_set_iobitmap, &b);
}

static bool port_allowed(u64 bitmap)
{
    bool allowed = false;

    if (set_bitmap(bitmap, 4096) == 0) {
        USER_RUN(u_in, 0x80, 0, 0);
        allowed = trap.vec != 13;
    }
    set_bitmap(0, 0);
    return allowed;
}

static bool ldt_loads(u64 base)
{
    bool loads = false;

    if (mmuext(MMUEXT_SET_LDT, base, 512) == 0)
        loads = EX("mov %0, %%es", : : "r"(0x0f)) == VEC_NONE;
    EX("mov %0, %%es", : : "r"(0));
    mmuext(MMUEXT_SET_LDT, 0, 0);
    return loads;
}

/* The bits of any page, even the hypervisor's, could be read one port at a time. */
static void bitmap_by_2m_page(void)
{
    u64 mfn = forge(512, maddr_of(page_alloc()) | PTE_RO);

    ok(mfn != 0, "a 2 MiB page of the direct map begins with our frame %lx", mfn);
    ok(!port_allowed(DIRECT_MAP + (mfn << 12)), "a port bitmap in the direct map");
    ok(!port_allowed(DIRECT_MAP_NC + (mfn << 12)), "at its non-canonical twin");
}

/* Descriptors out of a page that the guest's own tables do not name. */
static void ldt_by_2m_page(void)
{
    u64 *page = page_alloc(), mfn;

    page[1] = 0x00cff2000000ffff; /* data, DPL 3 */
    set_ro(page);
    mfn = forge(512, maddr_of(page) | PTE_RO);
    ok(mfn != 0, "a 2 MiB page of the direct map begins with our frame %lx", mfn);
    ok(ldt_loads((u64)page), "the descriptor is good");
    ok(!ldt_loads(DIRECT_MAP + (mfn << 12)), "an LDT in the direct map");
    ok(!ldt_loads(DIRECT_MAP_NC + (mfn << 12)), "at its non-canonical twin");
}

/* A write that faults in the direct map, emulated as if it went to a page table. */
static void write_by_2m_page(void)
{
    u64 *l1 = page_alloc(), mfn;

    if (make_table(1, l1) || hc_vm_assist(VMASST_CMD_enable, VMASST_TYPE_writable_pagetables))
        die("cannot make a table");
    mfn = forge(512, maddr_of(l1) | PTE_RO);
    ok(mfn != 0, "a 2 MiB page of the direct map begins with our frame %lx", mfn);
    is(try_write(DIRECT_MAP + (mfn << 12) + 5 * PAGE_SIZE, maddr_of(l1) | PTE_RO), 14,
       "a write to the direct map");
    is(l1[0], 0, "reaches no table");
}

/* Where the processor's own accesses would fault, nothing can be registered either. */
static void non_canonical(void)
{
    static const u64 bases[] = {DIRECT_MAP_NC, NON_CANONICAL, 1UL << 62,
                                HOLE_START - 8 * PAGE_SIZE};

    for (unsigned i = 0; i < sizeof(bases) / sizeof(bases[0]); i++) {
        refused(set_bitmap(bases[i], 4096), "a port bitmap at %lx", bases[i]);
        refused(mmuext(MMUEXT_SET_LDT, bases[i], 512), "an LDT at %lx", bases[i]);
    }
}

/* Tables of tables, and the next lies where there is nothing: the walk itself would fault. */
static u64 forge_1g(void)
{
    u64 mfn = forge(512 * 512, PTE_P | NOWHERE);

    ok(mfn != 0, "a 1 GiB page of the direct map begins with our frame %lx", mfn);
    return mfn << 12;
}

static void bitmap_by_1g_page(void)
{
    ok(!port_allowed(DIRECT_MAP_NC + forge_1g()), "a port bitmap, its table nowhere");
}

static void ldt_by_1g_page(void)
{
    ok(!ldt_loads(DIRECT_MAP_NC + forge_1g()), "an LDT, its table nowhere");
}

static void write_by_1g_page(void)
{
    hc_vm_assist(VMASST_CMD_enable, VMASST_TYPE_writable_pagetables);
    is(try_write(DIRECT_MAP + forge_1g() + 5 * SIZE_2M, 1), 14, "a write, its table nowhere");
}

/* --- time and waiting --- */

/* The end of the first period lies beyond the end of time. */
static void endless_period(void)
{
    static const u64 periods[] = {0x7fffffffffffffff, 0x7ffffffffffffffe, 1UL << 62, 1UL << 63,
                                  ~0UL};
    u32 port = timer_port();

    for (unsigned i = 0; i < sizeof(periods) / sizeof(periods[0]); i++) {
        struct vcpu_set_periodic_timer p = {.period_ns = periods[i]};

        refused(hc_vcpu(VCPUOP_set_periodic_timer, 0, &p), "a period of %lx", periods[i]);
    }
    timer_at(clock_ns() + 1000000);
    ok(wait_port(port), "timers still fire");
    port_clear(port);
    vi->evtchn_pending_sel = 0;
    vi->evtchn_upcall_pending = 0;
}

/*
 * An NMI of our own can only be delivered after the multicall, and whoever waits in it must
 * neither wait for that nor keep interrupts from coming.
 */
static void wait_with_nmi(void)
{
    static struct sched_poll p;
    u32 port = timer_port();
    struct multicall_entry m[2] = {
        {.op = __HYPERVISOR_vcpu_op, .result = 1, .args = {VCPUOP_send_nmi}},
        {.op = __HYPERVISOR_sched_op, .result = 1, .args = {SCHEDOP_poll, (u64)&p}},
    };

    trap_clear();
    p.timeout = clock_ns() + 2000000000;
    is(hc_multicall(m, 2), 0, "poll right after send_nmi");
    ok(clock_ns() < p.timeout, "does not wait for its timeout");
    ok(m[0].result == 0 && m[1].result == 0, "both succeed");
    is(trap.vec, 2, "and the NMI arrives");
    trap_clear();
    m[1].args[0] = SCHEDOP_block;
    timer_at(clock_ns() + 5000000);
    is(hc_multicall(m, 2), 0, "block right after send_nmi");
    is(trap.vec, 2, "the NMI arrives");
    vi->evtchn_upcall_mask = 1;
    ok(wait_port(port), "and so does the timer's event");
    port_clear(port);
    vi->evtchn_pending_sel = 0;
    vi->evtchn_upcall_pending = 0;
}

/* --- interrupts --- */

enum { LINES = 24 };

static void set_config(u32 devfn, u32 reg, u32 val)
{
    asm volatile("outl %0, %1" : : "a"(1U << 31 | devfn << 8 | reg), "d"((u16)0xcf8));
    asm volatile("outl %0, %1" : : "a"(val), "d"((u16)0xcfc));
}

/* The USB controller, which has a 64-bit BAR and MSI-X behind it. */
static int find_usb(void)
{
    struct physdev_set_iopl io = {.iopl = 1};

    hc_physdev(PHYSDEVOP_set_iopl, &io);
    for (u32 devfn = 0; devfn < 256; devfn++)
        if (config(devfn, 8) >> 16 == 0x0c03 && (config(devfn, 0x10) & 7) == 4)
            return devfn;
    return -1;
}

static u64 read_bar(u32 devfn)
{
    return (u64)config(devfn, 0x14) << 32 | (config(devfn, 0x10) & ~15U);
}

static void write_bar(u32 devfn, u64 address)
{
    set_config(devfn, 0x10, address);
    set_config(devfn, 0x14, address >> 32);
}

static void read_lines(u32 rte[LINES])
{
    for (unsigned n = 0; n < LINES; n++) {
        struct physdev_apic a = {.apic_physbase = 0xfec00000, .reg = 0x10 + 2 * n};

        hc_physdev(PHYSDEVOP_apic_read, &a);
        rte[n] = a.value;
    }
}

/* How many of the numbers of lines a message of that device could take. */
static unsigned messages_as_lines(int bus, int devfn, u64 table_base)
{
    unsigned mapped = 0;

    for (int n = 0; n < LINES; n++) {
        struct physdev_map_pirq m = {.domid = DOMID_SELF,
                                     .type = MAP_PIRQ_TYPE_MSI,
                                     .index = -1,
                                     .pirq = n,
                                     .bus = bus,
                                     .devfn = devfn,
                                     .table_base = table_base};

        mapped += hc_physdev(PHYSDEVOP_map_pirq, &m) == 0;
    }
    return mapped;
}

/* A message asked for under the number of a line, and refused, must leave the line alone. */
static void message_as_line(void)
{
    u32 before[LINES], after[LINES];
    int devfn = find_usb();

    read_lines(before);
    is(messages_as_lines(0xff, 0xff, 0), 0, "messages of no device under numbers of lines");
    if (ok(devfn >= 0, "a device with MSI-X"))
        is(messages_as_lines(0, devfn, read_bar(devfn)), 0, "messages of that device");
    read_lines(after);
    ok(!(before[4] & 0x10000), "the hypervisor's serial line was not masked before");
    ok(!(after[4] & 0x10000), "nor is it afterwards");
    is(memcmp(before, after, sizeof(before)), 0, "all lines are as they were");
}

static unsigned physical_bits(void)
{
    u32 eax = 0x80000008, ecx = 0;

    asm volatile("cpuid" : "+a"(eax), "+c"(ecx) : : "ebx", "edx");
    return eax & 0xff;
}

/* A table of messages at an address wider than the processor's. */
static void message_table_nowhere(void)
{
    int devfn = find_usb();
    u64 bar;

    if (!ok(devfn >= 0, "a device with MSI-X"))
        return;
    bar = read_bar(devfn);
    is(map_message(0, 0, devfn, bar), 0, "a table where the firmware put it");
    for (unsigned bit = physical_bits(); bit < 63; bit++) {
        write_bar(devfn, 1UL << bit);
        refused(map_message(0, 0, devfn, 1UL << bit), "a table at 2^%u", bit);
    }
    write_bar(devfn, bar);
    is(map_message(0, 0, devfn, bar), 0, "the same again");
}

/* --- what registers hold --- */

USER_CODE_TEXT(u_syscall, "syscall; ud2");
USER_CODE_TEXT(u_load, "mov (%rdi), %rax; ud2");

static void no_address_of_the_hypervisor(const char *after)
{
    const volatile u64 *regs = (const volatile u64 *)&trap.r;
    u64 found = 0;

    for (unsigned i = 0; i < offsetof(struct regs, vec) / 8; i++)
        if (regs[i] >= HOLE_START && regs[i] < HOLE_END)
            found = regs[i];
    is(found, 0, "addresses of the hypervisor in registers after %s", after);
}

/* The registers of the trap right after the hypercall. */
static void registers_after(u64 nr, u64 a1, u64 a2, const char *what)
{
    trap_clear();
    asm volatile("syscall\n" EX_TEXT("ud2")
                 : "+a"(nr), "+D"(a1), "+S"(a2)
                 :
                 : "rcx", "rdx", "r8", "r10", "r11", "memory");
    no_address_of_the_hypervisor(what);
}

/* The hypervisor's pointers, left behind on the ways out that reload all registers. */
static void registers_at_exit(void)
{
    struct evtchn_bind_ipi b = {.vcpu = 0};
    struct evtchn_send s;

    if (hc_evtchn(EVTCHNOP_bind_ipi, &b))
        die("no port");
    s.port = b.port;
    port_mask(b.port, false);
    registers_after(__HYPERVISOR_xen_version, XENVER_version, 0, "a plain hypercall");
    registers_after(99, 0, 0, "an unknown hypercall");
    registers_after(__HYPERVISOR_sched_op, SCHEDOP_yield, 0, "yield");
    registers_after(__HYPERVISOR_vcpu_op, VCPUOP_send_nmi, 0, "an NMI");
    registers_after(__HYPERVISOR_event_channel_op, EVTCHNOP_send, (u64)&s, "a masked event");
    vi->evtchn_upcall_mask = 0;
    registers_after(__HYPERVISOR_xen_version, XENVER_version, 0, "an event at last");
    port_clear(b.port);
    vi->evtchn_pending_sel = 0;
    registers_after(__HYPERVISOR_event_channel_op, EVTCHNOP_send, (u64)&s, "an event at once");
    vi->evtchn_upcall_mask = 1;
    USER_RUN(u_syscall, 0, 0, 0);
    no_address_of_the_hypervisor("a system call without a handler");
    USER_RUN(u_load, UNMAPPED, 0, 0);
    no_address_of_the_hypervisor("a page fault in user mode");
    user_exec(u_load, u_load_end - u_load, USER_DATA, 0, 0, 0);
    no_address_of_the_hypervisor("an iret with interrupts off");
    port_clear(b.port);
}

/* --- no memory left --- */

static u64 take_all_memory(void)
{
    u64 got = 0;

    for (int order = 9; order >= 0; order--) {
        struct xen_memory_reservation r = {
            .nr_extents = 100000, .extent_order = order, .domid = DOMID_SELF};
        long n = hc_memory(XENMEM_increase_reservation, &r);

        got += n > 0 ? (u64)n << order : 0;
    }
    return got;
}

/* New mappings of device memory, when there is nothing to make page tables of. */
static void mappings_without_memory(void)
{
    int devfn = find_usb();
    struct xen_memory_reservation r = {.nr_extents = 1, .domid = DOMID_SELF};
    u64 got, bad = 0, mapped = 0;

    /* What the first mapping of a number takes from the heap stays there for the next. */
    refused(map_message(7, 0, 0, 0), "a message of no device");
    announce_window(0xe0000000, 1);
    got = take_all_memory();
    is(hc_memory(XENMEM_increase_reservation, &r), 0, "after %lu frames there are no more",
       got);
    for (unsigned bus = 0; bus < 16; bus++)
        bad += map_message(1, bus, 0, 0) == 0;
    is(bad, 0, "messages of devices behind a window announced for 16 buses");
    /* Each place of the BAR is another page for the hypervisor to map. */
    for (unsigned i = 0; devfn >= 0 && i < 300; i++) {
        write_bar(devfn, (1UL << 38) + i * 0x10000);
        mapped += map_message(0, 0, devfn, (1UL << 38) + i * 0x10000) == 0;
    }
    ok(true, "300 places of a message table survived, %lu were mapped", mapped);
}

/* --- the table; what takes all memory comes last --- */

static const struct {
    const char *name;
    void (*run)(void);
} checks[] = {
    {"shared-page-as-table", shared_page_as_table},
    {"grant-page-as-table", grant_page_as_table},
    {"config-space-in-a-table", config_space_in_a_table},
    {"config-space-nowhere", config_space_nowhere},
    {"bitmap-by-2m-page", bitmap_by_2m_page},
    {"ldt-by-2m-page", ldt_by_2m_page},
    {"write-by-2m-page", write_by_2m_page},
    {"non-canonical", non_canonical},
    {"bitmap-by-1g-page", bitmap_by_1g_page},
    {"ldt-by-1g-page", ldt_by_1g_page},
    {"write-by-1g-page", write_by_1g_page},
    {"endless-period", endless_period},
    {"wait-with-nmi", wait_with_nmi},
    {"message-as-line", message_as_line},
    {"message-table-nowhere", message_table_nowhere},
    {"registers-at-exit", registers_at_exit},
    {"mappings-without-memory", mappings_without_memory},
};

static bool chosen(const char *name)
{
    const char *only = option("only");
    size_t n = strlen(name);

    return !only || (has_prefix(only, name) && (!only[n] || only[n] == ' '));
}

void test_regress(void)
{
    unsigned ran = 0;

    user_init();
    for (unsigned i = 0; i < sizeof(checks) / sizeof(checks[0]); i++)
        if (chosen(checks[i].name)) {
            note("%s", checks[i].name);
            checks[i].run();
            ran++;
        }
    ok(ran > 0, "a check of that name exists");
    ok(tables_are_readonly(), "no table is mapped writable");
}
