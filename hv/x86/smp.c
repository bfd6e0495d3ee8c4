#include "x86/smp.h"
#include "x86/cpu.h"
#include "x86/lapic.h"
#include "x86/layout.h"
#include "x86/log.h"
#include "x86/paging.h"
#include "x86/trampoline.h"
#include "x86/tsc.h"
#include "base/string.h"
#include "core/acpi.h"
#include "core/platform_bits.h"

/*
 * How long a CPU may take. The second STARTUP is for hardware that lost the first; one that runs
 * already ignores it. The long wait is for emulators on a busy host.
 */
#define FIRST_WAIT_US  1000
#define SECOND_WAIT_US 1000000
#define NEAR_US        20

#define TRAMPOLINE_LIMIT 0x100000

static u32 apic_ids[MAX_CPUS];
static unsigned nr_online;

/* Between smp_start() and one new CPU at a time. */
static u64 stack_slot;
static unsigned last_arrived;
static void (*ap_entry)(unsigned cpu);
static u64 boot_cr0, boot_cr4, boot_pat;

/* First C on a new CPU. The trampoline set only what long mode needs. */
static __init void arrive(u32 cpu)
{
    wrmsr(MSR_PAT, boot_pat);
    write_cr4(boot_cr4);
    write_cr0(boot_cr0);
    __atomic_store_n(&last_arrived, cpu, __ATOMIC_RELEASE);
    ap_entry(cpu);
    cpu_stop();
}

static __init u32 offset_of_label(const u8 *label)
{
    return (u64)label - (u64)trampoline_start;
}

static __init struct trampoline_params *copy_trampoline(u64 phys)
{
    u8 *page = phys_to_virt(phys);
    struct trampoline_params *p = (void *)(page + offset_of_label(trampoline_params));

    memcpy(page, trampoline_start, offset_of_label(trampoline_end));
    p->stack_slot = (u64)&stack_slot;
    p->entry = (u64)arrive;
    p->base = phys;
    p->cr3 = read_cr3();
    p->efer = rdmsr(MSR_EFER) & ~EFER_LMA;
    p->far32 = phys + offset_of_label(trampoline_32);
    p->far32_selector = TRAMPOLINE_CS32;
    p->gdt_limit = 4 * 8 - 1;
    p->gdt_base = phys + offset_of_label(trampoline_gdt);
    p->far64 = phys + offset_of_label(trampoline_64);
    p->far64_selector = TRAMPOLINE_CS64;
    return p;
}

static __init bool wait_arrival(unsigned cpu, u32 us)
{
    u64 start = rdtsc(), cycles = tsc_hz() / 1000000 * us;

    do {
        if (__atomic_load_n(&last_arrived, __ATOMIC_ACQUIRE) == cpu)
            return true;
        cpu_relax();
    } while (rdtsc() - start < cycles);
    return false;
}

/* Processors before 2006 (family 15, and those before) need 10 ms between INIT and STARTUP. */
static __init u32 init_delay_us(void)
{
    u32 a, b, c, d, family;

    cpuid_count(0, 0, &a, &b, &c, &d);
    if (b != 0x756e6547) /* "Genu" */
        return 10;
    cpuid_count(1, 0, &a, &b, &c, &d);
    family = a >> 8 & 0xf;
    return family == 6 ? 10 : 10000;
}

/*
 * The timer is set near because an emulator that counts instructions lets the time up to its
 * next event pass when a CPU is reset: a tenth of a second for each CPU otherwise.
 */
static __init bool start_cpu(unsigned cpu, u32 apic_id, u8 page)
{
    lapic_timer_set(rdtsc() + tsc_hz() / 1000000 * NEAR_US);
    lapic_send_init(apic_id);
    tsc_delay_us(init_delay_us());
    lapic_send_startup(apic_id, page);
    if (wait_arrival(cpu, FIRST_WAIT_US))
        return true;
    lapic_send_startup(apic_id, page);
    if (wait_arrival(cpu, SECOND_WAIT_US))
        return true;

    /* Back to waiting, so that it cannot come later and take another CPU's place. */
    __atomic_store_n(&stack_slot, 0, __ATOMIC_RELEASE);
    lapic_send_init(apic_id);
    return false;
}

static __init bool may_start(u32 apic_id)
{
    if (lapic_is_x2apic() || apic_id <= MSI_MAX_APIC_ID)
        return true;
    x86_log("CPU with APIC id %u stays off: the firmware left x2APIC off\n", apic_id);
    return false;
}

static __init void start_all(const struct acpi_info *info, struct trampoline_params *p,
                             void *(*alloc_stack)(unsigned cpu))
{
    u32 self = lapic_id();
    unsigned i;

    for (i = 0; i < info->nr_cpus; i++) {
        u32 apic_id = info->cpus[i].apic_id;
        void *stack;

        if (!info->cpus[i].enabled || apic_id == self || !may_start(apic_id))
            continue;
        if (nr_online == MAX_CPUS) {
            x86_log("CPU with APIC id %u stays off: %u CPUs is the limit\n", apic_id, MAX_CPUS);
            continue;
        }
        stack = alloc_stack(nr_online);
        if (!stack) {
            x86_log("no memory for the stack of CPU %u: no further CPUs\n", nr_online);
            return;
        }
        apic_ids[nr_online] = apic_id;
        p->cpu = nr_online;
        __atomic_store_n(&stack_slot, (u64)stack, __ATOMIC_RELEASE);
        if (start_cpu(nr_online, apic_id, p->base >> PAGE_SHIFT))
            nr_online++;
        else
            x86_log("CPU with APIC id %u does not answer and stays off\n", apic_id);
    }
}

__init unsigned smp_start(const struct acpi_info *info, u64 trampoline_phys,
                          void (*ap_main)(unsigned cpu), void *(*alloc_stack)(unsigned cpu))
{
    apic_ids[0] = lapic_id();
    nr_online = 1;
    if ((trampoline_phys & ~PAGE_MASK) || trampoline_phys >= TRAMPOLINE_LIMIT ||
        read_cr3() > 0xffffffff) {
        x86_log("no usable page for starting CPUs: one CPU only\n");
        return nr_online;
    }
    boot_cr0 = read_cr0();
    boot_cr4 = read_cr4();
    boot_pat = rdmsr(MSR_PAT);
    ap_entry = ap_main;
    start_all(info, copy_trampoline(trampoline_phys), alloc_stack);
    return nr_online;
}

u32 smp_apic_id(unsigned cpu)
{
    if (cpu >= nr_online)
        return cpu ? ~0U : lapic_id();
    return apic_ids[cpu];
}
