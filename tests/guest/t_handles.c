/*
 * Every pointer that a hypercall takes, aimed into the hypervisor, at nothing, and over the
 * edges of the address space: XSA-29, 212. Nothing but an error may come back, and the
 * m2p, which a write would hit first, must stay as it is.
 */
#include "guest.h"
#include <xen/grant_table.h>
#include <xen/arch-x86/xen-mca.h>
#include <xen/nmi.h>
#include <xen/sysctl.h>
#include <xen/domctl.h>

static const u64 bad_pointers[] = {
    HOLE_START,
    HOLE_START + (1UL << 39) - 16,
    HOLE_START + (1UL << 39),
    0xffff828000000000,
    0xffff82d080200000,
    0xffff830000000000,
    0xffff830000100000,
    0xffff848000000000,
    0xffff860000000000,
    HOLE_END - 8,
    HOLE_END - 4,
    NON_CANONICAL,
    NON_CANONICAL - 4,
    1UL << 63,
    0xffff7ffffffffff8,
    UNMAPPED,
    ~0UL - 3,
};
#define N_BAD (sizeof(bad_pointers) / sizeof(bad_pointers[0]))

enum { PTR = 0x7eadbeef }; /* stands for the pointer in the argument lists */

static const struct handle {
    const char *name;
    u64 nr, args[4];
} handles[] = {
    {"set_trap_table", __HYPERVISOR_set_trap_table, {PTR}},
    {"mmu_update", __HYPERVISOR_mmu_update, {PTR, 1, 0, DOMID_SELF}},
    {"mmu_update 1000", __HYPERVISOR_mmu_update, {PTR, 1000, 0, DOMID_SELF}},
    {"set_gdt", __HYPERVISOR_set_gdt, {PTR, 16}},
    {"set_gdt 14 pages", __HYPERVISOR_set_gdt, {PTR, 14 * 512}},
    {"platform_op", __HYPERVISOR_platform_op, {PTR}},
    {"increase_reservation", __HYPERVISOR_memory_op, {XENMEM_increase_reservation, PTR}},
    {"decrease_reservation", __HYPERVISOR_memory_op, {XENMEM_decrease_reservation, PTR}},
    {"current_reservation", __HYPERVISOR_memory_op, {XENMEM_current_reservation, PTR}},
    {"maximum_reservation", __HYPERVISOR_memory_op, {XENMEM_maximum_reservation, PTR}},
    {"machphys_mfn_list", __HYPERVISOR_memory_op, {XENMEM_machphys_mfn_list, PTR}},
    {"populate_physmap", __HYPERVISOR_memory_op, {XENMEM_populate_physmap, PTR}},
    {"add_to_physmap", __HYPERVISOR_memory_op, {XENMEM_add_to_physmap, PTR}},
    {"memory_map", __HYPERVISOR_memory_op, {XENMEM_memory_map, PTR}},
    {"machine_memory_map", __HYPERVISOR_memory_op, {XENMEM_machine_memory_map, PTR}},
    {"exchange", __HYPERVISOR_memory_op, {XENMEM_exchange, PTR}},
    {"machphys_mapping", __HYPERVISOR_memory_op, {XENMEM_machphys_mapping, PTR}},
    {"set_memory_map", __HYPERVISOR_memory_op, {XENMEM_set_memory_map, PTR}},
    {"maximum_gpfn", __HYPERVISOR_memory_op, {XENMEM_maximum_gpfn, PTR}},
    {"add_to_physmap_batch", __HYPERVISOR_memory_op, {XENMEM_add_to_physmap_batch, PTR}},
    {"get_vnumainfo", __HYPERVISOR_memory_op, {XENMEM_get_vnumainfo, PTR}},
    {"acquire_resource", __HYPERVISOR_memory_op, {XENMEM_acquire_resource, PTR}},
    {"multicall", __HYPERVISOR_multicall, {PTR, 1}},
    {"multicall 1000", __HYPERVISOR_multicall, {PTR, 1000}},
    {"extraversion", __HYPERVISOR_xen_version, {XENVER_extraversion, PTR}},
    {"compile_info", __HYPERVISOR_xen_version, {XENVER_compile_info, PTR}},
    {"capabilities", __HYPERVISOR_xen_version, {XENVER_capabilities, PTR}},
    {"changeset", __HYPERVISOR_xen_version, {XENVER_changeset, PTR}},
    {"platform_parameters", __HYPERVISOR_xen_version, {XENVER_platform_parameters, PTR}},
    {"get_features", __HYPERVISOR_xen_version, {XENVER_get_features, PTR}},
    {"guest_handle", __HYPERVISOR_xen_version, {XENVER_guest_handle, PTR}},
    {"commandline", __HYPERVISOR_xen_version, {XENVER_commandline, PTR}},
    {"build_id", __HYPERVISOR_xen_version, {XENVER_build_id, PTR}},
    {"console write", __HYPERVISOR_console_io, {CONSOLEIO_write, 10, PTR}},
    {"console write, long", __HYPERVISOR_console_io, {CONSOLEIO_write, 0x7fffffff, PTR}},
    {"runstate_info", __HYPERVISOR_vcpu_op, {VCPUOP_get_runstate_info, 0, PTR}},
    {"register_runstate", __HYPERVISOR_vcpu_op, {VCPUOP_register_runstate_memory_area, 0, PTR}},
    {"set_periodic_timer", __HYPERVISOR_vcpu_op, {VCPUOP_set_periodic_timer, 0, PTR}},
    {"set_singleshot", __HYPERVISOR_vcpu_op, {VCPUOP_set_singleshot_timer, 0, PTR}},
    {"register_vcpu_info", __HYPERVISOR_vcpu_op, {VCPUOP_register_vcpu_info, 0, PTR}},
    {"get_physid", __HYPERVISOR_vcpu_op, {VCPUOP_get_physid, 0, PTR}},
    {"register_time", __HYPERVISOR_vcpu_op, {VCPUOP_register_vcpu_time_memory_area, 0, PTR}},
    {"vcpu initialise", __HYPERVISOR_vcpu_op, {VCPUOP_initialise, 0, PTR}},
    {"mmuext_op", __HYPERVISOR_mmuext_op, {PTR, 1, 0, DOMID_SELF}},
    {"mmuext_op 1000", __HYPERVISOR_mmuext_op, {PTR, 1000, 0, DOMID_SELF}},
    {"xsm_op", __HYPERVISOR_xsm_op, {PTR}},
    {"nmi register", __HYPERVISOR_nmi_op, {XENNMI_register_callback, PTR}},
    {"shutdown", __HYPERVISOR_sched_op, {SCHEDOP_shutdown, PTR}},
    {"poll", __HYPERVISOR_sched_op, {SCHEDOP_poll, PTR}},
    {"remote_shutdown", __HYPERVISOR_sched_op, {SCHEDOP_remote_shutdown, PTR}},
    {"watchdog", __HYPERVISOR_sched_op, {SCHEDOP_watchdog, PTR}},
    {"pin_override", __HYPERVISOR_sched_op, {SCHEDOP_pin_override, PTR}},
    {"callback register", __HYPERVISOR_callback_op, {CALLBACKOP_register, PTR}},
    {"callback unregister", __HYPERVISOR_callback_op, {CALLBACKOP_unregister, PTR}},
    {"hvm_op", __HYPERVISOR_hvm_op, {0, PTR}},
    {"sysctl", __HYPERVISOR_sysctl, {PTR}},
    {"domctl", __HYPERVISOR_domctl, {PTR}},
    {"kexec", __HYPERVISOR_kexec_op, {1, PTR}},
    {"xenpmu", __HYPERVISOR_xenpmu_op, {0, PTR}},
    {"mca", __HYPERVISOR_mca, {PTR}},
    {"update_va with mask", __HYPERVISOR_update_va_mapping, {0, 0, PTR}},
};
#define N_HANDLES (sizeof(handles) / sizeof(handles[0]))

static long call(const struct handle *h, u64 pointer)
{
    u64 a[4];

    for (int i = 0; i < 4; i++)
        a[i] = h->args[i] == PTR ? pointer : h->args[i];
    if (h->nr == __HYPERVISOR_update_va_mapping) {
        a[0] = window(0);
        a[2] = (a[2] & ~7UL) | UVMF_TLB_FLUSH;
        if (a[2] < PAGE_SIZE)
            return -1;
    }
    return hypercall(h->nr, a[0], a[1], a[2], a[3], 0);
}

/* The reservation ops tell how many extents they did: none. */
static bool counts(const struct handle *h)
{
    return h->nr == __HYPERVISOR_memory_op &&
           (h->args[0] <= XENMEM_decrease_reservation || h->args[0] == XENMEM_populate_physmap);
}

static void one(const struct handle *h)
{
    unsigned bad = 0;

    for (unsigned i = 0; i < N_BAD; i++) {
        long rc = call(h, bad_pointers[i]);

        if (rc > 0 || (rc == 0 && !counts(h)))
            bad++, note("%s: pointer %lx returned %ld", h->name, bad_pointers[i], rc);
    }
    for (unsigned i = 0; i < 32; i++) {
        long rc = call(h, HOLE_START + (rand64() & 0x7ffffffffff));

        bad += rc > 0 || (rc == 0 && !counts(h));
    }
    is(bad, 0, "%s refuses every bad pointer", h->name);
}

static void event_channels(void)
{
    unsigned bad = 0;

    for (unsigned cmd = 0; cmd < 16; cmd++)
        for (unsigned i = 0; i < N_BAD; i++)
            if (hc_evtchn(cmd, (void *)bad_pointers[i]) >= 0)
                bad++, note("evtchn op %u, pointer %lx", cmd, bad_pointers[i]);
    is(bad, 0, "event_channel_op refuses every bad pointer");
}

/* Serai has nothing to do for these and does not look at their argument. */
static bool no_op(unsigned cmd)
{
    static const u8 ops[] = {
        PHYSDEVOP_apic_write,        PHYSDEVOP_free_irq_vector,    PHYSDEVOP_manage_pci_add,
        PHYSDEVOP_manage_pci_remove, PHYSDEVOP_manage_pci_add_ext, PHYSDEVOP_pci_device_add,
        PHYSDEVOP_pci_device_remove, PHYSDEVOP_prepare_msix,       PHYSDEVOP_release_msix};

    for (unsigned i = 0; i < sizeof(ops); i++)
        if (is_serai && ops[i] == cmd)
            return true;
    return false;
}

static void physdevs(void)
{
    unsigned bad = 0;

    for (unsigned cmd = 5; cmd < 34; cmd++)
        for (unsigned i = 0; i < N_BAD; i++)
            if (!no_op(cmd) && hc_physdev(cmd, (void *)bad_pointers[i]) >= 0)
                bad++, note("physdev op %u, pointer %lx", cmd, bad_pointers[i]);
    is(bad, 0, "physdev_op refuses every bad pointer");
}

static void grants(void)
{
    unsigned bad = 0;

    for (unsigned cmd = 0; cmd < 14; cmd++)
        for (unsigned i = 0; i < N_BAD; i++)
            if (HC(grant_table_op, cmd, bad_pointers[i], 1, 0, 0) >= 0)
                bad++, note("grant op %u, pointer %lx", cmd, bad_pointers[i]);
    is(bad, 0, "grant_table_op refuses every bad pointer");
}

/* Pointers inside of argument structures. */
static void nested_memory(void)
{
    static const unsigned ops[] = {XENMEM_increase_reservation, XENMEM_decrease_reservation,
                                   XENMEM_populate_physmap};
    domid_t self = DOMID_SELF;
    long before = hc_memory(XENMEM_current_reservation, &self);
    unsigned bad = 0;

    for (unsigned i = 0; i < N_BAD; i++) {
        struct xen_memory_map mm = {.nr_entries = 64};
        struct xen_machphys_mfn_list ml = {.max_extents = 4};

        for (unsigned k = 1; k < 3; k++) {
            struct xen_memory_reservation r = {.nr_extents = 3, .domid = DOMID_SELF};

            set_xen_guest_handle(r.extent_start, (void *)bad_pointers[i]);
            bad += hc_memory(ops[k], &r) > 0;
        }
        set_xen_guest_handle(mm.buffer, (void *)bad_pointers[i]);
        bad += hc_memory(XENMEM_machine_memory_map, &mm) >= 0;
        set_xen_guest_handle(ml.extent_start, (void *)bad_pointers[i]);
        if (hc_memory(XENMEM_machphys_mfn_list, &ml) >= 0 && ml.nr_extents)
            bad++, note("machphys_mfn_list at %lx", bad_pointers[i]);
    }
    is(bad, 0, "arrays of memory_op");
    is(hc_memory(XENMEM_current_reservation, &self), before, "no page came or went");
}

static void nested_others(void)
{
    unsigned bad = 0;

    for (unsigned i = 0; i < N_BAD; i++) {
        struct sched_poll poll = {.nr_ports = 2, .timeout = 1};
        struct vcpu_register_runstate_memory_area area = {{.v = NULL}};
        struct vcpu_register_time_memory_area time = {{.v = NULL}};
        struct gnttab_setup_table st = {.dom = DOMID_SELF, .nr_frames = 1};
        struct multicall_entry mc = {.op = __HYPERVISOR_xen_version,
                                     .args = {XENVER_capabilities, bad_pointers[i]}};

        set_xen_guest_handle(poll.ports, (void *)bad_pointers[i]);
        bad += hc_sched(SCHEDOP_poll, &poll) >= 0;
        bad += mmuext(MMUEXT_TLB_FLUSH_MULTI, 0, bad_pointers[i]) >= 0;
        bad += mmuext(MMUEXT_INVLPG_MULTI, 0, bad_pointers[i]) >= 0;
        bad += hc_multicall(&mc, 1) || (long)mc.result >= 0;
        set_xen_guest_handle(st.frame_list, (void *)bad_pointers[i]);
        HC(grant_table_op, GNTTABOP_setup_table, &st, 1, 0, 0);
        /* These may be taken and silently never written. */
        set_xen_guest_handle(area.addr.h, (void *)bad_pointers[i]);
        hc_vcpu(VCPUOP_register_runstate_memory_area, 0, &area);
        hc_sched(SCHEDOP_yield, NULL);
        set_xen_guest_handle(time.addr.h, (void *)bad_pointers[i]);
        hc_vcpu(VCPUOP_register_vcpu_time_memory_area, 0, &time);
        hc_sched(SCHEDOP_yield, NULL);
    }
    is(bad, 0, "poll ports, vcpu masks, multicall arguments");
}

static void nested_sysctl(void)
{
    struct xen_sysctl sys = {.interface_version = XEN_SYSCTL_INTERFACE_VERSION};

    for (unsigned i = 0; i < N_BAD; i++) {
        sys.cmd = XEN_SYSCTL_readconsole;
        memset(&sys.u, 0, sizeof(sys.u));
        set_xen_guest_handle(sys.u.readconsole.buffer, (char *)bad_pointers[i]);
        sys.u.readconsole.count = 100;
        HC(sysctl, &sys, 0, 0, 0, 0);
        sys.cmd = XEN_SYSCTL_getdomaininfolist;
        memset(&sys.u, 0, sizeof(sys.u));
        sys.u.getdomaininfolist.max_domains = 4;
        set_xen_guest_handle(sys.u.getdomaininfolist.buffer, (void *)bad_pointers[i]);
        HC(sysctl, &sys, 0, 0, 0, 0);
    }
    sys.interface_version = 1;
    is(HC(sysctl, &sys, 0, 0, 0, 0), -XEN_EACCES, "sysctl of another interface version");
}

/* Output pages that are page tables: mapped, readable, but not for writing. */
static void readonly_outputs(void)
{
    struct vcpu_register_runstate_memory_area area = {{.v = NULL}};
    struct vcpu_register_time_memory_area time = {{.v = NULL}};
    u64 l4 = (u64)l4_table(), sum = 0, again = 0;

    for (int i = 0; i < 512; i++)
        sum = sum * 31 + l4_table()[i];
    refused(hc_version(XENVER_capabilities, (void *)l4), "capabilities into the L4");
    refused(hc_version(XENVER_get_features, (void *)l4), "features into the L4");
    refused(hc_memory(XENMEM_machphys_mapping, (void *)l4), "machphys_mapping into the L4");
    refused(hc_vcpu(VCPUOP_get_runstate_info, 0, (void *)l4), "runstate into the L4");
    hc_evtchn(EVTCHNOP_alloc_unbound, (void *)l4);
    hc_multicall((void *)l4, 8);
    set_xen_guest_handle(area.addr.h, (void *)l4);
    hc_vcpu(VCPUOP_register_runstate_memory_area, 0, &area);
    set_xen_guest_handle(time.addr.h, (void *)l4);
    hc_vcpu(VCPUOP_register_vcpu_time_memory_area, 0, &time);
    timer_port();
    timer_at(clock_ns() + 1000000);
    hc_sched(SCHEDOP_block, NULL);
    vi->evtchn_upcall_mask = 1;
    for (int i = 0; i < 512; i++)
        again = again * 31 + l4_table()[i];
    is(again, sum, "the L4 is unchanged");
}

/* XSA-13, 16, 46, 83, 107, 188: numbers of interrupts and pages without bounds. */
static void wild_indexes(void)
{
    static const u32 wild[] = {0, 1, 15, 16, 255, 256, 4095, 4096, 65535, 1U << 31, ~0U, ~1U};
    unsigned bad = 0;

    for (unsigned i = 0; i < sizeof(wild) / sizeof(wild[0]); i++)
        for (unsigned k = 0; k < sizeof(wild) / sizeof(wild[0]); k++) {
            u32 block[16];

            for (unsigned cmd = 5; cmd < 29; cmd++) {
                /* The second and third words are types, indexes and interrupts. */
                for (unsigned w = 0; w < 16; w++)
                    block[w] = w & 1 ? wild[i] : wild[k];
                if (cmd == PHYSDEVOP_set_iopl || cmd == PHYSDEVOP_apic_write)
                    continue;
                hc_physdev(cmd, block);
            }
            for (unsigned w = 0; w < 16; w++)
                block[w] = w & 1 ? wild[i] : wild[k];
            block[1] = wild[i] | 1U << 31;
            bad += hc_evtchn(EVTCHNOP_init_control, block) == 0;
            bad += hc_evtchn(EVTCHNOP_expand_array, block) == 0;
            hc_evtchn(EVTCHNOP_bind_pirq, block);
            hc_evtchn(EVTCHNOP_set_priority, block);
        }
    is(bad, 0, "event arrays at wild frames");
    is(hc_vcpu(VCPUOP_initialise, 1, NULL) < 0, true, "no vcpu 1 to initialise");
}

void test_handles(void)
{
    u64 bad = 0;

    rand_seed(1);
    for (unsigned i = 0; i < N_HANDLES; i++)
        one(&handles[i]);
    event_channels();
    physdevs();
    grants();
    nested_memory();
    nested_others();
    nested_sysctl();
    readonly_outputs();
    wild_indexes();
    for (u64 pfn = 0; pfn < start->nr_pages; pfn++)
        bad += m2p(((u64 *)start->mfn_list)[pfn]) != pfn;
    is(bad, 0, "the m2p is unharmed");
    is(EX("ud2"), 6, "traps still arrive");
    ok(tables_are_readonly(), "no table is mapped writable");
}
