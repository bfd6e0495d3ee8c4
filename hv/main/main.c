/*
 * The composition root: what comes up, in which order, from the boot loader's jump to the first
 * instruction of domain 0. Each step stops the machine with a message when it cannot be done.
 */
#include "abi/multiboot.h"
#include "base/cmdline.h"
#include "base/format.h"
#include "base/string.h"
#include "base/version.h"
#include "core/acpi.h"
#include "core/buddy.h"
#include "core/multiboot.h"
#include "guest/dom0_build.h"
#include "guest/dom0_console.h"
#include "guest/frame.h"
#include "guest/ioports.h"
#include "guest/lifecycle.h"
#include "guest/m2p_list.h"
#include "guest/machine_map.h"
#include "guest/mmu.h"
#include "guest/pirq.h"
#include "guest/policy.h"
#include "guest/switch.h"
#include "guest/vcpu.h"
#include "guest/vtime.h"
#include "kern/console.h"
#include "kern/dispatch.h"
#include "kern/irq.h"
#include "kern/panic.h"
#include "kern/timer.h"
#include "kern/tlb.h"
#include "main/early_memory.h"
#include "svc/vfr_leases.h"
#include "svc/vfr_rules.h"
#include "svc/vif.h"
#include "x86/cpu.h"
#include "x86/cpu_setup.h"
#include "x86/ioapic.h"
#include "x86/lapic.h"
#include "x86/log.h"
#include "x86/paging.h"
#include "x86/pci.h"
#include "x86/pic.h"
#include "x86/rtc.h"
#include "x86/smp.h"
#include "x86/tsc.h"
#include "x86/uart.h"

char version_cmdline[1024];

static struct boot_info boot __initdata;
static struct acpi_info acpi; /* read again at the end: kern/panic */
static struct cmdline options;
static struct cpu boot_cpu __initdata; /* until the real one exists */

extern u8 image_start[], image_end[], boot_part_end[], init_start[], init_end[];

__noreturn void boot_main(u32 magic, u64 info);

/* Physical memory through the loader's mapping of the first 4 GiB. */
static __init const void *map_low(void *arg, u64 phys, u64 len)
{
    return phys + len <= GIB(4) ? (const void *)phys : NULL;
}

static const struct phys_reader low_memory __initconst = {.map = map_low};

static __init void unknown_word(const char *word, size_t len, void *arg)
{
    log_at(LOG_WARNING, "unknown command line word: %.*s\n", (int)MIN(len, 64UL), word);
}

static __init void start_console(void)
{
    struct uart_config c = {.io_base = options.com1.io_base,
                            .baud = options.com1.baud,
                            .data_bits = options.com1.data_bits,
                            .parity = (u8)options.com1.parity,
                            .stop_bits = options.com1.stop_bits,
                            .irq = options.com1.irq};

    if (options.console & CMDLINE_CONSOLE_COM1 && uart_init(&c))
        console_uart_ready();
}

static __init void read_loader(u32 magic, u64 info)
{
    const char *reason = "";
    int rc = -XEN_EINVAL;

    if (magic == MULTIBOOT1_BOOTLOADER)
        rc = multiboot1_parse(&low_memory, info, &boot, &reason);
    else if (magic == MULTIBOOT2_BOOTLOADER)
        rc = multiboot2_parse(&low_memory, info, &boot, &reason);
    else
        reason = "it speaks neither multiboot 1 nor multiboot 2";
    if (rc) {
        (void)!cmdline_parse("", &options, NULL, NULL, NULL, 0);
        start_console();
        cannot_start("the boot loader's information is not usable: %s", reason);
    }
}

static __init void read_options(void)
{
    const char *args = multiboot_args(&boot, boot.cmdline);
    char err[160] = "";
    int rc = cmdline_parse(args, &options, NULL, NULL, err, sizeof(err));

    memcpy(version_cmdline, args, MIN(strlen(args), sizeof(version_cmdline) - 1));
    start_console();
    /* The console's level counts from the first line on. */
    console_set_level((enum log_level)options.loglvl);
    printk("Serai %s, command line: %s\n", SERAI_VERSION, args);
    if (rc)
        cannot_start("%s", err);
    (void)!cmdline_parse(args, &options, unknown_word, NULL, err, sizeof(err));
    if (boot.cmdline_cut || (boot.nr_modules && boot.modules[0].string_cut))
        log_at(LOG_WARNING, "a command line is longer than %u characters and was cut\n",
               BOOT_STRING_LEN - 1);
    if (boot.modules_dropped || boot.regions_dropped)
        log_at(LOG_WARNING,
               "the loader gave more than can be used: %u modules and %u pieces of "
               "RAM were left out\n",
               boot.modules_dropped, boot.regions_dropped);
    if (!boot.nr_modules)
        cannot_start("the boot loader gave no kernel for domain 0: add it as the first module");
}

static __init void read_acpi(void)
{
    const char *reason = "";

    u64 efi_rsdp =
        boot.efi_system_table ? acpi_rsdp_from_efi(&low_memory, boot.efi_system_table) : 0;

    if (!boot.rsdp_len)
        boot.rsdp = efi_rsdp;
    if (acpi_parse(&low_memory, boot.rsdp_len ? 0 : boot.rsdp, boot.rsdp_copy, boot.rsdp_len,
                   &acpi, &reason))
        cannot_start(
            "no usable ACPI tables: %s. Switch ACPI on in the firmware (QEMU: leave out "
            "-no-acpi)",
            reason);
    if (acpi.why[0])
        log_at(LOG_WARNING, "ACPI: %s\n", acpi.why);
    acpi.rsdp = efi_rsdp ? efi_rsdp : acpi.rsdp;
}

/* Frames that the map calls RAM are the hypervisor's until the heap gets them. */
static __init void claim_ram(void)
{
    for (unsigned i = 0; i < boot.nr_regions; i++) {
        const struct mem_region *r = &boot.regions[i];

        if (r->type != 1)
            continue;
        /* The first megabyte belongs to firmware, trampoline and, as device memory, domain 0. */
        for (u64 m = MAX(r->base, MIB(1)) >> PAGE_SHIFT; m < (r->base + r->size) >> PAGE_SHIFT;
             m++)
            frames[m].ref = REF_OWNER(DOMID_XEN) | 1;
    }
}

/* Frame numbers that the free lists can link. */
#define RAM_LIMIT (((u64)BUDDY_NONE - 1) << PAGE_SHIFT)

static __init void start_memory(void)
{
    static const struct frame_array frame_table __initconst = {
        .va = FRAMES_BASE, .entry_size = sizeof(struct frame), .fill = REF_OWNER(DOMID_IO)};
    static const struct frame_array machine_to_phys __initconst = {
        .va = M2P_RW_BASE, .guest_va = M2P_BASE, .entry_size = 8, .fill = M2P_INVALID};
    u64 nr;

    if (e820_sanitise(boot.regions, &boot.nr_regions, BOOT_MAX_REGIONS))
        log_at(LOG_WARNING, "the memory map has too many pieces: some memory is not used\n");
    if (e820_ram_top(boot.regions, boot.nr_regions) > RAM_LIMIT) {
        log_at(LOG_WARNING, "memory above %lu GiB is not used\n", RAM_LIMIT >> 30);
        (void)!e820_reserve(boot.regions, &boot.nr_regions, BOOT_MAX_REGIONS, RAM_LIMIT,
                            BIT(52) - RAM_LIMIT);
    }
    nr = e820_ram_top(boot.regions, boot.nr_regions) >> PAGE_SHIFT;
    early_memory_init(&boot);
    paging_init(boot.regions, boot.nr_regions, early_alloc);
    paging_map_frame_array(&frame_table, nr, boot.regions, boot.nr_regions);
    paging_map_frame_array(&machine_to_phys, nr, boot.regions, boot.nr_regions);
    m2p = (u64 *)M2P_RW_BASE;
    heap_init((struct frame *)FRAMES_BASE, nr);
    claim_ram();
    m2p_list_init();
    early_memory_give_to_heap();
    paging_set_allocator(early_alloc_from_heap);
}

static __init void *alloc_for_cpu(unsigned order)
{
    void *p = heap_alloc_pages(order);

    if (!p)
        cannot_start("not enough memory for the CPUs: give the machine more");
    return p;
}

static __init void use_cpu(struct cpu *c)
{
    stack_info()->cpu = c;
    cpu_load(c);
}

static __init void start_cpu(void)
{
    use_cpu(cpu_create(0, alloc_for_cpu));
    nr_cpus = 1; /* from now on cpus[] is walked */
}

static void timer_interrupt(void *arg)
{
    count(COUNT_TIMER_INTERRUPT);
    softirq_raise(SOFTIRQ_TIMER);
}

static __init void start_interrupts(void)
{
    u64 hz;

    pic_disable();
    if (lapic_init(acpi.lapic_phys))
        cannot_start("the local APIC does not answer: switch it on in the firmware");
    if (!ioapic_init(&acpi))
        cannot_start("the firmware describes no I/O APIC: device interrupts cannot be routed");
    for (unsigned i = 0; i < acpi.nr_mcfg; i++)
        if (pci_mmcfg_add(acpi.mcfg[i].base, acpi.mcfg[i].segment, acpi.mcfg[i].bus_start,
                          acpi.mcfg[i].bus_end))
            log_at(LOG_WARNING, "PCI configuration window %u is not used\n", i);
    hz = tsc_calibrate(&acpi);
    if (!hz)
        cannot_start(
            "no usable timer: neither HPET, ACPI timer nor interval timer counts. Switch one "
            "of them on in the firmware");
    time_init(hz);
    irq_set_handler(VECTOR_TIMER, timer_interrupt, NULL);
    softirq_set_handler(SOFTIRQ_TIMER, timer_softirq);
    if (lapic_timer_init(VECTOR_TIMER, hz))
        cannot_start(
            "no usable timer: the local APIC's does not count. Run on another machine");
    printk("time-stamp counter: %lu kHz (%s)\n", hz / 1000, tsc_source());
}

static u32 boot_is_over;

/*
 * An application processor waits until domain 0 is there. It flushes before it goes on: the boot
 * code it was mapped beside is gone by then.
 */
static void ap_main(unsigned cpu)
{
    stack_info()->cpu = cpus[cpu];
    cpu_load(cpus[cpu]);
    lapic_init_ap();
    while (!__atomic_load_n(&boot_is_over, __ATOMIC_ACQUIRE))
        cpu_halt_irq_on();
    tlb_flush_local();
    dispatch_idle();
}

static __init void *stack_for_cpu(unsigned cpu)
{
    struct stack_info *info;
    u8 *stack;

    if (cpu >= MAX_CPUS)
        return NULL;
    stack = alloc_for_cpu(STACK_ORDER);
    info = (struct stack_info *)(stack + STACK_SIZE) - 1;
    info->cpu = cpu ? cpu_create(cpu, alloc_for_cpu) : cpus[0];
    return info;
}

static struct topology topology __initdata;

/* How the CPUs share cores and caches. */
static __init void find_topology(void)
{
    static struct topology_cpuid cpuid __initdata;
    u32 apic_ids[MAX_CPUS];

    cpu_describe(&cpuid);
    for (unsigned i = 0; i < nr_cpus; i++)
        apic_ids[i] = cpus[i]->apic_id;
    topology_build(&topology, &cpuid, apic_ids, nr_cpus, acpi.srat, acpi.nr_srat);
}

static __init void start_cpus(void)
{
    dispatch_alloc();
    nr_cpus = smp_start(&acpi, early_trampoline_page(), ap_main, stack_for_cpu);
    for (unsigned i = 0; i < nr_cpus; i++)
        cpus[i]->apic_id = smp_apic_id(i);
    printk("CPUs: %u started of %u\n", nr_cpus, acpi.nr_cpus);
    paging_drop_identity();
    find_topology();
    dispatch_init(&topology, &vcpu_switch_ops);
    switch_init();
    domain_init();
    lifecycle_init();
    vif_init();
    vfr_leases_init();
    vfr_rules_init();
}

/* What domain 0 may not touch among the devices. */
static __init void keep_devices(void)
{
    mmu_deny_io(lapic_phys(), PAGE_SIZE);
    mmu_deny_io(0xfee00000, MIB(1));
    (void)!e820_reserve(boot.regions, &boot.nr_regions, BOOT_MAX_REGIONS, 0xfee00000, MIB(1));
    for (unsigned i = 0; i < acpi.nr_ioapics; i++) {
        mmu_deny_io(acpi.ioapics[i].phys, PAGE_SIZE);
        (void)!e820_reserve(boot.regions, &boot.nr_regions, BOOT_MAX_REGIONS,
                            acpi.ioapics[i].phys, PAGE_SIZE);
    }
    if (acpi.hpet.present)
        mmu_read_only_io(acpi.hpet.phys, PAGE_SIZE);
    machine_map_set(boot.regions, boot.nr_regions);
}

static __init struct vcpu *start_dom0(struct cpu_user_regs *regs)
{
    static char dom0_args[1024] __initdata;
    const char *args = multiboot_args(&boot, boot.modules[0].string);
    struct dom0_files files = {
        .kernel = phys_to_virt(boot.modules[0].start),
        .kernel_len = boot.modules[0].end - boot.modules[0].start,
        .args = dom0_args,
    };
    struct vcpu *v;

    /* Without a BIOS area to search domain 0 must be told where the ACPI tables start. */
    if (boot.efi && acpi.rsdp)
        format(dom0_args, sizeof(dom0_args), "%s acpi_rsdp=%#lx", args, acpi.rsdp);
    else
        format(dom0_args, sizeof(dom0_args), "%s", args);

    if (boot.nr_modules > 1) {
        if (boot.modules[1].start & (PAGE_SIZE - 1))
            cannot_start(
                "the boot loader placed the initrd at %lx, not on a page boundary: use "
                "one that aligns modules, such as GRUB 2",
                boot.modules[1].start);
        files.initrd_start = boot.modules[1].start;
        files.initrd_end = boot.modules[1].end;
    }
    v = dom0_build(&files, &options, regs);
    for (unsigned i = 1; i < MIN(cmdline_dom0_vcpus(&options, nr_cpus), NR_VCPUS_MAX); i++)
        if (!vcpu_create(dom0, i))
            cannot_start("not enough memory for the CPUs of domain 0");
    heap_add(boot.modules[0].start >> PAGE_SHIFT,
             ROUND_UP(boot.modules[0].end, PAGE_SIZE) >> PAGE_SHIFT);
    vtime_set_wallclock(read_cmos_time(), 0, time_now());
    return v;
}

static __init void report_memory(void)
{
    u64 total = e820_ram_bytes(boot.regions, boot.nr_regions) >> 10;
    u64 given = (dom0->tot_pages + heap_free_count()) * 4;
    u64 image = (u64)(image_end - image_start) >> 10;
    u64 dropped = (u64)(init_end - init_start + boot_part_end - image_start) >> 10;

    printk("memory: %lu KiB of RAM, %lu KiB kept by the hypervisor, image %lu KiB resident\n",
           total, total - given, image - dropped);
}

/*
 * Gives the boot code and data back, sets domain 0 going, and is idle from then on. Not itself
 * boot code, and on another stack: it must survive what it frees.
 */
static void end_boot(void)
{
    paging_free_init();
    heap_add(virt_to_phys(image_start) >> PAGE_SHIFT,
             virt_to_phys(boot_part_end) >> PAGE_SHIFT);
    heap_add(virt_to_phys(init_start) >> PAGE_SHIFT, virt_to_phys(init_end) >> PAGE_SHIFT);
    __atomic_store_n(&boot_is_over, 1, __ATOMIC_RELEASE);
    for (unsigned i = 1; i < nr_cpus; i++)
        lapic_send_ipi(cpus[i]->apic_id, VECTOR_IPI_SCHED);
    lifecycle_vcpu_up(dom0->vcpus[0]);
    dispatch_idle();
}

__init void boot_main(u32 magic, u64 info)
{
    struct cpu_user_regs regs;
    struct vcpu *v;

    stack_info()->cpu = &boot_cpu;
    x86_log_set(printk);
    read_loader(magic, info);
    read_options();
    read_acpi();
    cpu_detect();
    entry_patch_smap();
    start_memory();
    start_cpu();
    start_interrupts();
    policy_init();
    start_cpus();
    keep_devices();
    pirq_init(&acpi);
    machine_end_setup(&acpi, options.noreboot);
    v = start_dom0(&regs);
    for (unsigned i = 0; i < nr_cpus; i++)
        ioports_init_cpu(cpus[i]);
    dom0_console_init();
    report_memory();
    vcpu_set_entry(v, &regs);
    v->life = VCPU_DOWN;
    run_on_stack(stack_for_cpu(0), end_boot);
}
