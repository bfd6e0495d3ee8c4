/*
 * The ABI's lesser behaviours, continued: page tables, memory, devices, time, event channels,
 * machine checks. The machine has a device with MSI-X.
 */
#include "more.h"
#include <xen/arch-x86/xen-mca.h>

/* --- page tables --- */

static void error_numbers(void)
{
    u64 *l1 = page_alloc(), *bad = page_alloc();

    is(mmuext(MMUEXT_PIN_L4_TABLE, mfn_of(l1), 0), -XEN_EINVAL, "pin what is writable: EINVAL");
    make_table(1, l1);
    bad[0] = maddr_of(l1) | PTE_KERN;
    set_ro(bad);
    is(mmuext(MMUEXT_PIN_L1_TABLE, mfn_of(bad), 0), -XEN_EBUSY,
       "pin what would write to it: EBUSY");
    is(window_map(9, maddr_of(l1) | PTE_KERN), -XEN_EBUSY, "a table, writable: EBUSY");
    is(window_map(9, 0xfee00000 | PTE_KERN), -XEN_EPERM, "the local APIC: EPERM");
    is(hc_update_va((void *)UNMAPPED, 0, 0), -XEN_EINVAL, "no table: EINVAL");
    is(mmuext(MMUEXT_UNPIN_TABLE, mfn_of(page_alloc()), 0), -XEN_EINVAL, "no pin: EINVAL");
    is(mmuext(99, 0, 0), -XEN_ENOSYS, "unknown mmuext: ENOSYS");
    is(mmuext(MMUEXT_MARK_SUPER, 0, 0), -XEN_EOPNOTSUPP, "MARK_SUPER: EOPNOTSUPP");
    is(hc_mmu_update(l1, 1, NULL, 77), -XEN_ESRCH, "no such domain: ESRCH");
    is(HC(update_va_mapping_otherdomain, window(9), 0, 0, 77, 0) < 0, true,
       "update_va_mapping_otherdomain of none");
    drop_table(l1);
}

static void upper_entries(void)
{
    for (int level = 2; level <= 4; level++) {
        u64 *lower = page_alloc(), *table = page_alloc();
        long rc;

        if (make_table(level - 1, lower) || make_table(level, table))
            die("no tables");
        rc = mmu_write(table, maddr_of(lower) | PTE_KERN | PTE_G);
        ok(rc < 0 || !(table[0] & PTE_G) || level > 1, "L%d with G: %ld", level, rc);
        mmu_write(table, 0);
        is(mmu_write(table, maddr_of(lower) | PTE_P), 0, "L%d without US, A", level);
        is(table[0] & PTE_US, PTE_US, "gets US");
        mmu_write(table, 0);
        drop_table(table), drop_table(lower);
    }
}

static void io_domain(void)
{
    u64 *l1 = pte_at(window(9), 1);

    is(mmu_write_type(maddr_of(l1), 0xb8000 | PTE_KERN, 0, DOMID_IO), 0,
       "device memory by DOMID_IO");
    refused(mmu_write_type(maddr_of(l1), maddr_of(start) | PTE_KERN, 0, DOMID_IO),
            "our RAM by DOMID_IO");
    mmu_write(l1, 0);
}

/* The bit that marks a call which goes on is the hypervisor's. */
static void continuation_bit(void)
{
    u64 *page = page_alloc();
    struct mmu_update req = {.ptr = maddr_of(page), .val = 0x77};
    struct mmuext_op op = {.cmd = MMUEXT_TLB_FLUSH_LOCAL};
    u32 done = 5;

    hc_mmu_update(&req, 1U << 31, &done, DOMID_SELF);
    hc_mmu_update(&req, 1U << 31 | 1, &done, DOMID_SELF);
    hc_mmu_update(NULL, 1U << 31, NULL, DOMID_SELF);
    hc_mmuext(&op, 1U << 31 | 1, &done, DOMID_SELF);
    hc_mmuext(NULL, 1U << 31, NULL, DOMID_SELF);
    ok(page[0] == 0 || page[0] == 0x77, "counts with the continuation bit");
    is(hc_mmu_update(&req, 1, &done, DOMID_SELF), 0, "and then a plain one");
    is(done, 1, "done");
    page_free(page);
}

/* --- memory operations --- */

static bool reserved(u64 address)
{
    static struct e820 {
        u64 base, len;
        u32 type;
    } __attribute__((packed)) map[128];
    struct xen_memory_map mm = {.nr_entries = 128};

    set_xen_guest_handle(mm.buffer, (void *)map);
    if (hc_memory(XENMEM_machine_memory_map, &mm))
        return false;
    for (unsigned i = 0; i < mm.nr_entries; i++)
        if (map[i].type != 1 && address >= map[i].base && address < map[i].base + map[i].len)
            return true;
    return false;
}

static void memory_ops(void)
{
    domid_t self = DOMID_SELF, none = 77;
    struct xen_memory_map mm = {.nr_entries = 0};
    struct xen_memory_reservation claim = {.nr_extents = 0, .domid = DOMID_SELF};

    ok(hc_memory(XENMEM_maximum_gpfn, &self) >= -1, "maximum_gpfn");
    refused(hc_memory(XENMEM_current_reservation, &none), "reservation of no domain");
    ok(reserved(0xfec00000), "the I/O APIC is reserved in the machine's map");
    ok(reserved(0xfee00000), "so is the local APIC");
    refused(hc_memory(XENMEM_memory_map, &mm), "memory_map: none was set");
    refused(hc_memory(XENMEM_get_pod_target, &mm), "get_pod_target");
    refused(hc_memory(XENMEM_get_vnumainfo, &mm), "get_vnumainfo");
    ok(hc_memory(XENMEM_get_sharing_freed_pages, NULL) <= 0, "no pages are shared");
    ok(hc_memory(XENMEM_claim_pages, &claim) <= 0, "claim_pages");
}

/* --- device memory with an MSI-X table --- */

/* QEMU has the table 12 KiB into the BAR. */
static bool table_is_readonly(u64 base)
{
    bool readonly =
        window_map(9, (base + 0x3000) | PTE_KERN) < 0 || !(pte_read(window(9)) & PTE_RW);

    window_map(9, 0);
    return readonly;
}

static void prepared_table(u32 devfn, u64 base)
{
    struct physdev_pci_device dev = {.devfn = devfn};

    is(hc_physdev(PHYSDEVOP_prepare_msix, &dev), 0, "prepare_msix");
    ok(table_is_readonly(base), "its table can be read only, before it is used");
    is(hc_physdev(PHYSDEVOP_release_msix, &dev), 0, "release_msix");
}

static void msix_table(void)
{
    struct physdev_set_iopl io = {.iopl = 1};
    struct physdev_map_pirq m = {
        .domid = DOMID_SELF, .type = MAP_PIRQ_TYPE_MSI_SEG, .index = -1, .pirq = -1};
    struct physdev_unmap_pirq u = {.domid = DOMID_SELF};
    struct physdev_pci_device_add add = {0};
    struct evtchn_bind_pirq b = {.flags = BIND_PIRQ__WILL_SHARE};
    u32 devfn = 0;

    hc_physdev(PHYSDEVOP_set_iopl, &io);
    while (devfn < 256 && config(devfn, 8) >> 16 != 0x0c03)
        devfn++;
    if (!ok(devfn < 256, "a device with MSI-X"))
        return;
    m.devfn = add.devfn = devfn;
    is(hc_physdev(PHYSDEVOP_pci_device_add, &add), 0, "pci_device_add");
    m.table_base = (u64)config(devfn, 0x14) << 32 | (config(devfn, 0x10) & ~15U);
    prepared_table(devfn, m.table_base);
    is(hc_physdev(PHYSDEVOP_map_pirq, &m), 0, "map_pirq of its first message");
    b.pirq = m.pirq;
    is(hc_evtchn(EVTCHNOP_bind_pirq, &b), 0, "bind_pirq");
    is(hc_evtchn(EVTCHNOP_bind_pirq, &b), -XEN_EEXIST, "a second time");
    ok(table_is_readonly(m.table_base), "its table can be read only");
    is(window_map(9, m.table_base | PTE_KERN), 0, "the registers beside it");
    is(pte_read(window(9)) & PTE_RW, PTE_RW, "can be written");
    window_map(9, 0);
    is(hc_evtchn(EVTCHNOP_close, &(struct evtchn_close){.port = b.port}), 0, "close");
    u.pirq = m.pirq;
    is(hc_physdev(PHYSDEVOP_unmap_pirq, &u), 0, "unmap_pirq");
    is(hc_physdev(PHYSDEVOP_unmap_pirq, &u) < 0, true, "a second time");
    u.pirq = 5000;
    refused(hc_physdev(PHYSDEVOP_unmap_pirq, &u), "of a wild number");
}

/* --- time --- */

static void time_area(void)
{
    static struct vcpu_time_info area;
    struct vcpu_register_time_memory_area reg = {{.v = NULL}};
    u64 a, b;

    set_xen_guest_handle(reg.addr.h, &area);
    is(hc_vcpu(VCPUOP_register_vcpu_time_memory_area, 0, &reg), 0, "register a time area");
    hc_sched(SCHEDOP_yield, NULL);
    is(area.tsc_to_system_mul, vi->time.tsc_to_system_mul, "it has the clock's scale");
    a = clock_ns_of(&area), b = clock_ns();
    ok(b - a < 1000000000, "and its time");
    set_xen_guest_handle(reg.addr.h, (void *)NULL);
    hc_vcpu(VCPUOP_register_vcpu_time_memory_area, 0, &reg);
}

static void periodic(void)
{
    struct vcpu_set_periodic_timer p = {.period_ns = 2000000};
    u32 port = timer_port();
    u64 t = clock_ns();
    unsigned n = 0;

    is(hc_vcpu(VCPUOP_set_periodic_timer, 0, &p), 0, "a periodic timer");
    for (; n < 5 && wait_port(port); n++)
        port_clear(port);
    is(n, 5, "fires again and again");
    ok(clock_ns() - t >= 4 * 2000000, "not too often");
    is(hc_vcpu(VCPUOP_stop_periodic_timer, 0, NULL), 0, "stop it");
    port_clear(port);
    for (t = clock_ns(); clock_ns() < t + 6000000;)
        hc_sched(SCHEDOP_yield, NULL);
    ok(!port_pending(port), "it is silent");
    vi->evtchn_pending_sel = 0;
    vi->evtchn_upcall_pending = 0;
}

static void runstate_flag(void)
{
    static struct vcpu_runstate_info area;
    struct vcpu_register_runstate_memory_area reg = {{.v = NULL}};

    is(hc_vm_assist(VMASST_CMD_enable, VMASST_TYPE_runstate_update_flag), 0,
       "runstate_update_flag");
    set_xen_guest_handle(reg.addr.h, &area);
    hc_vcpu(VCPUOP_register_runstate_memory_area, 0, &reg);
    doze();
    ok(area.time[RUNSTATE_blocked] > 0, "the area was updated");
    is(area.state_entry_time >> 63, 0, "the flag of an update is off again");
    set_xen_guest_handle(reg.addr.h, (void *)UNMAPPED);
    hc_vcpu(VCPUOP_register_runstate_memory_area, 0, &reg);
}

static void other_sched_ops(void)
{
    struct sched_remote_shutdown r = {.domain_id = 77, .reason = SHUTDOWN_poweroff};
    struct sched_watchdog w = {.timeout = 100};
    struct sched_shutdown s = {.reason = SHUTDOWN_reboot};
    char text[16];
    long id = hc_sched(SCHEDOP_watchdog, &w);

    refused(hc_sched(SCHEDOP_remote_shutdown, &r), "remote_shutdown of no domain");
    w.id = id, w.timeout = 0;
    ok(id == -XEN_ENOSYS || (id > 0 && hc_sched(SCHEDOP_watchdog, &w) == 0),
       "a watchdog, or none: %ld", id);
    is(hc_sched(SCHEDOP_shutdown_code, &s), 0, "shutdown_code ends nothing");
    is(hc_console(CONSOLEIO_read, sizeof(text), text), 0, "nothing was typed");
}

/* --- event channels --- */

static void more_ports(void)
{
    struct evtchn_alloc_unbound a = {.dom = DOMID_SELF, .remote_dom = DOMID_SELF};
    struct evtchn_bind_vcpu bv = {.vcpu = 0};
    struct evtchn_status st = {.dom = DOMID_SELF};
    struct evtchn_set_priority pr = {.priority = 7};
    static const u32 virqs[] = {VIRQ_MCA,    VIRQ_XENOPROF, VIRQ_TBUF,
                                VIRQ_ENOMEM, VIRQ_XENPMU,   VIRQ_ARGO};
    long rc;

    hc_evtchn(EVTCHNOP_alloc_unbound, &a);
    bv.port = a.port;
    is(hc_evtchn(EVTCHNOP_bind_vcpu, &bv), 0, "bind_vcpu of an interdomain port");
    bv.vcpu = 77;
    refused(hc_evtchn(EVTCHNOP_bind_vcpu, &bv), "to no vcpu");
    pr.port = a.port;
    rc = hc_evtchn(EVTCHNOP_set_priority, &pr);
    ok(rc == 0 || rc == -XEN_ENOSYS, "set_priority: %ld", rc);
    for (unsigned i = 0; i < sizeof(virqs) / sizeof(virqs[0]); i++) {
        struct evtchn_bind_virq v = {.virq = virqs[i]};

        is(hc_evtchn(EVTCHNOP_bind_virq, &v), 0, "bind virq %u", virqs[i]);
        hc_evtchn(EVTCHNOP_close, &(struct evtchn_close){.port = v.port});
    }
    is(hc_evtchn(EVTCHNOP_reset, &(struct evtchn_reset){.dom = DOMID_SELF}), 0, "reset");
    st.port = a.port;
    hc_evtchn(EVTCHNOP_status, &st);
    is(st.status, EVTCHNSTAT_closed, "closes the ports");
}

/* --- machine checks --- */

static struct xen_mc mc_op(u32 cmd)
{
    return (struct xen_mc){.cmd = cmd, .interface_version = XEN_MCA_INTERFACE_VERSION};
}

static long mca(struct xen_mc *op)
{
    return HC(mca, op, 0, 0, 0, 0);
}

static void mca_cpus(void)
{
    static struct mcinfo_logical_cpu list[9];
    struct xen_mc op = mc_op(XEN_MC_physcpuinfo);
    u32 n, twice = 0;

    is(mca(&op), 0, "physcpuinfo without an array");
    n = op.u.mc_physcpuinfo.ncpus;
    ok(n >= 1 && n <= 8, "there are %u CPUs", n);
    set_xen_guest_handle(op.u.mc_physcpuinfo.info, list);
    memset(list, 0xa5, sizeof(list));
    op.u.mc_physcpuinfo.ncpus = 8;
    is(mca(&op), 0, "physcpuinfo");
    is(op.u.mc_physcpuinfo.ncpus, n, "tells them all");
    ok(((u8 *)(list + n))[0] == 0xa5, "and no more");
    for (u32 i = 0; i < n && i < 8; i++) {
        if (list[i].mc_cpunr != i || !list[i].mc_ncores || !list[i].mc_nthreads)
            ok(false, "CPU %u: number %u", i, list[i].mc_cpunr);
        for (u32 k = 0; k < i; k++)
            twice += list[k].mc_apicid == list[i].mc_apicid;
    }
    is(twice, 0, "each with its own APIC id");
    ok(list[0].mc_family >= 6 && list[0].mc_vendorid[0] >= 'A', "family %u of %s",
       list[0].mc_family, list[0].mc_vendorid);
    note("chip %u core %u thread %u cores %u threads %u msrs %d", list[0].mc_chipid,
         list[0].mc_coreid, list[0].mc_threadid, list[0].mc_ncores, list[0].mc_nthreads,
         list[0].mc_nmsrvals);
    op.u.mc_physcpuinfo.ncpus = 0;
    is(mca(&op), -XEN_EINVAL, "an array of none");
    op.u.mc_physcpuinfo.ncpus = 8;
    set_xen_guest_handle(op.u.mc_physcpuinfo.info, (void *)HOLE_START);
    is(mca(&op), -XEN_EFAULT, "an array in the hypervisor");
}

static void machine_checks(void)
{
    static struct mc_info info;
    struct xen_mc op = mc_op(XEN_MC_fetch);
    static const u32 others[] = {XEN_MC_notifydomain, 0, 7, 99, ~0U};

    if (mca(&op) == -XEN_ENOSYS) {
        skip("machine checks", "no such hypercall");
        return;
    }
    is(mca(&op), -XEN_EINVAL, "fetch of neither kind");
    for (u32 which = XEN_MC_NONURGENT; which <= XEN_MC_URGENT; which++) {
        op = mc_op(XEN_MC_fetch);
        op.u.mc_fetch.flags = which;
        is(mca(&op), -XEN_EINVAL, "fetch %u to nowhere", which);
        set_xen_guest_handle(op.u.mc_fetch.data, &info);
        is(mca(&op), 0, "fetch %u", which);
        is(op.u.mc_fetch.flags & XEN_MC_NODATA, XEN_MC_NODATA, "there is nothing");
        op.u.mc_fetch.flags = which | XEN_MC_ACK;
        is(mca(&op), 0, "acknowledge %u", which);
    }
    for (unsigned i = 0; i < 5; i++) {
        op = mc_op(others[i]);
        refused(mca(&op), "command %u", others[i]);
    }
    op = mc_op(XEN_MC_physcpuinfo);
    op.interface_version++;
    is(mca(&op), -XEN_EACCES, "another interface version");
    mca_cpus();
}

void test_abi2(void)
{
    error_numbers();
    upper_entries();
    io_domain();
    continuation_bit();
    memory_ops();
    msix_table();
    time_area();
    periodic();
    runstate_flag();
    other_sched_ops();
    machine_checks();
    more_ports();
    is(EX("ud2"), 6, "traps still arrive");
    ok(tables_are_readonly(), "no table is mapped writable");
}
