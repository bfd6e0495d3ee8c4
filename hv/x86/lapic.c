#include "x86/lapic.h"
#include "x86/cpu.h"
#include "x86/log.h"
#include "x86/paging.h"
#include "x86/tsc.h"
#include "core/platform_bits.h"

/* Register offsets in the xAPIC page; the x2APIC MSR is 800h + offset / 16. */
#define LAPIC_ID          0x020
#define LAPIC_VERSION     0x030
#define LAPIC_TPR         0x080
#define LAPIC_EOI         0x0b0
#define LAPIC_SPURIOUS    0x0f0
#define LAPIC_ERROR       0x280
#define LAPIC_LVT_CMCI    0x2f0
#define LAPIC_ICR_LOW     0x300
#define LAPIC_ICR_HIGH    0x310
#define LAPIC_LVT_TIMER   0x320
#define LAPIC_LVT_THERMAL 0x330
#define LAPIC_LVT_PERF    0x340
#define LAPIC_LVT_LINT0   0x350
#define LAPIC_LVT_LINT1   0x360
#define LAPIC_LVT_ERROR   0x370
#define LAPIC_TIMER_COUNT 0x380
#define LAPIC_TIMER_NOW   0x390
#define LAPIC_TIMER_DIV   0x3e0
#define X2APIC_MSR        0x800

#define APIC_BASE_X2APIC BIT(10)
#define APIC_BASE_ENABLE BIT(11)
#define APIC_BASE_ADDR   0x000ffffffffff000UL

#define SPURIOUS_ENABLE   0x100
#define LVT_MASKED        0x10000
#define LVT_DELIVERY      0x700
#define LVT_SMI           0x200
#define LVT_TSC_DEADLINE  0x40000
#define TIMER_DIVIDE_BY_1 0x0b
#define ICR_BUSY          0x1000
#define ICR_ASSERT        0x4000
#define ICR_NMI           0x400
#define ICR_INIT          0x500
#define ICR_STARTUP       0x600

/* A command leaves within microseconds; a register read takes at least tens of cycles. */
#define ICR_POLLS 100000

#define CALIBRATE_US 1000

/* Written once at boot, read in every interrupt: one cache line. */
static struct {
    volatile u32 *regs; /* NULL in x2APIC mode */
    /* TSC ticks to timer ticks. Its reach is 0 unless the timer is one store away. */
    struct tick_ratio ratio;
    bool use_deadline;
    bool has_timer;
    u8 timer_vector;
    u64 phys;
    struct tick_ratio full_ratio;
} lapic __aligned(64);

static inline u32 read_reg(u32 reg)
{
    return lapic.regs ? lapic.regs[reg / 4] : (u32)rdmsr(X2APIC_MSR + (reg >> 4));
}

static inline void write_reg(u32 reg, u32 v)
{
    if (likely(lapic.regs))
        lapic.regs[reg / 4] = v;
    else
        wrmsr(X2APIC_MSR + (reg >> 4), v);
}

/* Firmware may have its own SMI behind the thermal sensor: that one stays. */
static void mask_lvt(u32 reg)
{
    if (reg == LAPIC_LVT_THERMAL && (read_reg(reg) & LVT_DELIVERY) == LVT_SMI)
        return;
    write_reg(reg, LVT_MASKED | LAPIC_SPURIOUS_VECTOR);
}

static void program_timer(void)
{
    if (!lapic.has_timer)
        return;
    write_reg(LAPIC_TIMER_DIV, TIMER_DIVIDE_BY_1);
    if (!lapic.use_deadline) {
        write_reg(LAPIC_LVT_TIMER, lapic.timer_vector);
        return;
    }
    write_reg(LAPIC_LVT_TIMER, LVT_TSC_DEADLINE | lapic.timer_vector);
    /* The store to the page must arrive before the first MSR write (SDM 10.5.4.1). */
    asm volatile("mfence" : : : "memory");
}

/* Local vectors exist in this order as the highest index in the version register grows. */
static void program_cpu(void)
{
    static const u16 lvts[] = {LAPIC_LVT_TIMER, LAPIC_LVT_LINT0, LAPIC_LVT_LINT1,
                               LAPIC_LVT_ERROR, LAPIC_LVT_PERF,  LAPIC_LVT_THERMAL,
                               LAPIC_LVT_CMCI};
    unsigned i, max = read_reg(LAPIC_VERSION) >> 16 & 0xff;

    write_reg(LAPIC_SPURIOUS, SPURIOUS_ENABLE | LAPIC_SPURIOUS_VECTOR);
    for (i = 0; i < ARRAY_SIZE(lvts) && i <= max; i++)
        mask_lvt(lvts[i]);
    write_reg(LAPIC_TIMER_COUNT, 0);
    write_reg(LAPIC_ERROR, 0);
    write_reg(LAPIC_TPR, 0);
    program_timer();
}

__init int lapic_init(u64 phys)
{
    u64 base;
    u32 a, b, c, d;

    cpuid_count(1, 0, &a, &b, &c, &d);
    if (!(d & BIT(9)))
        return -XEN_ENODEV;
    base = rdmsr(MSR_APIC_BASE);
    if (!(base & APIC_BASE_ENABLE)) {
        base |= APIC_BASE_ENABLE;
        wrmsr(MSR_APIC_BASE, base);
    }
    lapic.phys = base & APIC_BASE_ADDR;
    if (lapic.phys != phys)
        x86_log("local APIC: MADT says %lx, the CPU %lx\n", phys, lapic.phys);
    if (!(base & APIC_BASE_X2APIC)) {
        lapic.regs = map_mmio(lapic.phys, PAGE_SIZE);
        if (!lapic.regs)
            return -XEN_ENOMEM;
    }
    program_cpu();
    return 0;
}

/* From x2APIC back to xAPIC leads only through "disabled" (SDM 10.12.5). */
void lapic_init_ap(void)
{
    u64 base = rdmsr(MSR_APIC_BASE), low = base & ~(APIC_BASE_ADDR | APIC_BASE_X2APIC);

    if (lapic.regs) {
        if (base & APIC_BASE_X2APIC)
            wrmsr(MSR_APIC_BASE, low & ~APIC_BASE_ENABLE);
        wrmsr(MSR_APIC_BASE, low | lapic.phys | APIC_BASE_ENABLE);
    } else if (!(base & APIC_BASE_X2APIC)) {
        wrmsr(MSR_APIC_BASE, low | lapic.phys | APIC_BASE_ENABLE);
        wrmsr(MSR_APIC_BASE, low | lapic.phys | APIC_BASE_ENABLE | APIC_BASE_X2APIC);
    }
    program_cpu();
}

u32 lapic_id(void)
{
    return lapic.regs ? read_reg(LAPIC_ID) >> 24 : read_reg(LAPIC_ID);
}

bool lapic_is_x2apic(void)
{
    return !lapic.regs;
}

u64 lapic_phys(void)
{
    return lapic.phys;
}

void lapic_eoi(void)
{
    write_reg(LAPIC_EOI, 0);
}

/*
 * The command register has two halves in the page: an interrupt between the stores could send
 * in between. In x2APIC mode the MSR write does not wait for earlier stores: fence, so that the
 * receiver sees what we wrote before.
 */
static void send(u32 apic_id, u32 command)
{
    volatile u32 *regs = lapic.regs;
    u32 polls = ICR_POLLS;
    u64 flags;

    if (!regs) {
        if (!lapic.phys) /* a panic before lapic_init() */
            return;
        asm volatile("mfence; lfence" : : : "memory");
        wrmsr(X2APIC_MSR + (LAPIC_ICR_LOW >> 4), (u64)apic_id << 32 | command);
        return;
    }
    flags = irq_save();
    while ((regs[LAPIC_ICR_LOW / 4] & ICR_BUSY) && --polls)
        cpu_relax();
    regs[LAPIC_ICR_HIGH / 4] = apic_id << 24;
    regs[LAPIC_ICR_LOW / 4] = command;
    irq_restore(flags);
}

void lapic_send_ipi(u32 apic_id, u8 vector)
{
    send(apic_id, ICR_ASSERT | vector);
}

void lapic_send_nmi(u32 apic_id)
{
    send(apic_id, ICR_ASSERT | ICR_NMI);
}

void lapic_send_init(u32 apic_id)
{
    send(apic_id, ICR_ASSERT | ICR_INIT);
}

void lapic_send_startup(u32 apic_id, u8 page)
{
    send(apic_id, ICR_ASSERT | ICR_STARTUP | page);
}

static __init u32 read_timer(void)
{
    return ~read_reg(LAPIC_TIMER_NOW);
}

/* The timer runs masked from its largest count; the complement counts up. */
static __init u64 calibrate_timer(u64 hz)
{
    struct tsc_sample from, to;
    u64 found;

    write_reg(LAPIC_TIMER_DIV, TIMER_DIVIDE_BY_1);
    write_reg(LAPIC_LVT_TIMER, LVT_MASKED | LAPIC_SPURIOUS_VECTOR);
    write_reg(LAPIC_TIMER_COUNT, ~0U);
    tsc_take_sample(read_timer, &from);
    tsc_delay_us(CALIBRATE_US);
    tsc_take_sample(read_timer, &to);
    write_reg(LAPIC_TIMER_COUNT, 0);
    found = mul_div(to.counter - from.counter, hz, to.tsc - from.tsc);
    return found == ~0UL ? 0 : found;
}

__init int lapic_timer_init(u8 vector, u64 hz)
{
    u32 a, b, c, d;

    cpuid_count(1, 0, &a, &b, &c, &d);
    lapic.use_deadline = c & BIT(24);
    if (!lapic.use_deadline) {
        const u64 timer_hz = calibrate_timer(hz);

        if (!timer_hz)
            return -XEN_ENODEV;
        ratio_compose(hz, timer_hz, &lapic.full_ratio);
        if (lapic.regs)
            lapic.ratio = lapic.full_ratio;
    }
    lapic.timer_vector = vector;
    lapic.has_timer = true;
    program_timer();
    return 0;
}

static __noinline void timer_set_slowly(u64 tsc_deadline, s64 distance)
{
    if (lapic.use_deadline)
        wrmsr(MSR_TSC_DEADLINE, tsc_deadline | !tsc_deadline); /* 0 would disarm */
    else
        write_reg(LAPIC_TIMER_COUNT, ratio_ticks_any(&lapic.full_ratio, distance));
}

void lapic_timer_set(u64 tsc_deadline)
{
    u64 distance = tsc_deadline - rdtsc();

    if (likely(distance < lapic.ratio.reach))
        lapic.regs[LAPIC_TIMER_COUNT / 4] = ratio_ticks(&lapic.ratio, distance);
    else
        timer_set_slowly(tsc_deadline, distance);
}

void lapic_timer_stop(void)
{
    if (lapic.use_deadline)
        wrmsr(MSR_TSC_DEADLINE, 0);
    else
        write_reg(LAPIC_TIMER_COUNT, 0);
}
