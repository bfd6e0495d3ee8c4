#include "x86/tsc.h"
#include "x86/cpu.h"
#include "x86/log.h"
#include "x86/paging.h"
#include "core/acpi.h"
#include "core/platform_bits.h"

#define WINDOWS   3
#define WINDOW_US 1500
#define LOOKS     5

/* A counter read takes at least 0.1 us: a window that needs more than this is a dead counter. */
#define WINDOW_POLLS 1000000

/* HPET registers (IA-PC HPET specification 1.0a). */
#define HPET_PERIOD     0x04 /* femtoseconds per tick */
#define HPET_CONFIG     0x10
#define HPET_COUNTER    0xf0
#define HPET_ENABLE     0x01
#define HPET_LEGACY     0x02 /* steals the PIT's and the RTC's interrupts */
#define HPET_MAX_PERIOD 100000000U
#define FS_PER_SECOND   1000000000000000UL

#define PM_TIMER_HZ 3579545
#define PIT_HZ      1193182

#define PIT_CHANNEL2 0x42
#define PIT_MODE     0x43
#define PIT_GATE     0x61

struct reference {
    const char *name;
    u32 (*read)(void);
    u64 hz;
    unsigned bits;
};

static u64 found_hz;
static const char *found_by = "nothing";
static __initdata volatile u32 *hpet_registers;
static __initdata u16 pm_timer_port;

__init void tsc_take_sample(u32 (*read)(void), struct tsc_sample *sample)
{
    u64 best = 0;
    unsigned i;

    for (i = 0; i < LOOKS; i++) {
        u64 before = rdtsc_ordered(), after;
        u32 counter = read();

        after = rdtsc_ordered();
        if (i && after - before >= best)
            continue;
        best = after - before;
        sample->tsc = before + best / 2;
        sample->counter = counter;
    }
}

static __init u32 read_hpet(void)
{
    return hpet_registers[HPET_COUNTER / 4];
}

static __init u32 read_pm_timer(void)
{
    return inl(pm_timer_port);
}

/* Counts down; the latch makes the two bytes belong together. */
static __init u32 read_pit(void)
{
    u8 low;

    outb(PIT_MODE, 0x80);
    low = inb(PIT_CHANNEL2);
    return ~(u32)(inb(PIT_CHANNEL2) << 8 | low) & 0xffff;
}

/* Hertz between two samples; 0 when the reference stood still. */
static __init u64 hz_between(const struct reference *ref, const struct tsc_sample *from,
                             const struct tsc_sample *to)
{
    u32 ticks = counter_delta(from->counter, to->counter, ref->bits);
    u64 hz = mul_div(to->tsc - from->tsc, ref->hz, ticks);

    return hz == ~0UL ? 0 : hz;
}

static __init bool wait_window(const struct reference *ref, u32 from)
{
    u32 ticks = ref->hz * WINDOW_US / 1000000, polls = WINDOW_POLLS;

    while (counter_delta(from, ref->read(), ref->bits) < ticks)
        if (!--polls)
            return false;
    return true;
}

static __init u64 median3(u64 a, u64 b, u64 c)
{
    return MAX(MIN(a, b), MIN(MAX(a, b), c));
}

/*
 * Three windows in a row. The whole stretch is the most exact, unless something (a wrap of the
 * reference during a long interruption) spoiled it; then it is far from the median window.
 */
static __init u64 measure(const struct reference *ref)
{
    struct tsc_sample s[WINDOWS + 1];
    u64 hz[WINDOWS], whole, median;
    unsigned i;

    tsc_take_sample(ref->read, &s[0]);
    for (i = 0; i < WINDOWS; i++) {
        if (!wait_window(ref, s[i].counter))
            return 0;
        tsc_take_sample(ref->read, &s[i + 1]);
        hz[i] = hz_between(ref, &s[i], &s[i + 1]);
    }
    whole = hz_between(ref, &s[0], &s[WINDOWS]);
    median = median3(hz[0], hz[1], hz[2]);
    if (whole > median + median / 1024 || whole < median - median / 1024)
        return median;
    return whole;
}

static __init u64 measure_by_hpet(const struct acpi_info *info)
{
    struct reference ref = {"HPET", read_hpet, 0, 32};
    u32 period, config;
    u8 *page;
    u64 hz;

    if (!info->hpet.present || !info->hpet.phys)
        return 0;
    page = map_mmio(info->hpet.phys & PAGE_MASK, PAGE_SIZE);
    if (!page)
        return 0;
    hpet_registers = (volatile u32 *)(page + (info->hpet.phys & ~PAGE_MASK & ~7UL));
    period = hpet_registers[HPET_PERIOD / 4];
    if (!period || period > HPET_MAX_PERIOD)
        return 0;
    ref.hz = (FS_PER_SECOND + period / 2) / period;

    config = hpet_registers[HPET_CONFIG / 4] & ~HPET_LEGACY;
    hpet_registers[HPET_CONFIG / 4] = config | HPET_ENABLE;
    hz = measure(&ref);
    hpet_registers[HPET_CONFIG / 4] = config;
    found_by = ref.name;
    return hz;
}

static __init u64 measure_by_pm_timer(const struct acpi_info *info)
{
    const struct reference ref = {"ACPI timer", read_pm_timer, PM_TIMER_HZ,
                                  info->pm_tmr_32bit ? 32 : 24};

    if (!info->pm_tmr || info->pm_tmr > 0xfffc)
        return 0;
    pm_timer_port = info->pm_tmr;
    found_by = ref.name;
    return measure(&ref);
}

static __init u64 measure_by_pit(void)
{
    static const struct reference ref __initconst = {"PIT", read_pit, PIT_HZ, 16};
    u8 gate = inb(PIT_GATE);
    u64 hz;

    outb(PIT_GATE, (gate & ~2) | 1); /* speaker off, counting on */
    outb(PIT_MODE, 0xb0);            /* channel 2, low then high byte, mode 0 */
    outb(PIT_CHANNEL2, 0xff);
    outb(PIT_CHANNEL2, 0xff);
    hz = measure(&ref);
    outb(PIT_GATE, gate & 0x0f);
    found_by = ref.name;
    return hz;
}

/*
 * What the CPU or the hypervisor below states exactly: leaf 40000010h (kHz; VMware's convention,
 * also QEMU's), leaf 15h with a known crystal. Leaf 16h is a rounded marketing figure.
 */
static __init u64 stated_hz(void)
{
    u32 a, b, c, d, max;

    cpuid_count(1, 0, &a, &b, &c, &d);
    if (c >> 31) {
        cpuid_count(0x40000000, 0, &a, &b, &c, &d);
        if (a >= 0x40000010 && a < 0x40010000) {
            cpuid_count(0x40000010, 0, &a, &b, &c, &d);
            if (a)
                return a * 1000UL;
        }
    }
    cpuid_count(0, 0, &max, &b, &c, &d);
    if (max < 0x15)
        return 0;
    cpuid_count(0x15, 0, &a, &b, &c, &d);
    return a && b && c ? mul_div(c, b, a) : 0;
}

__init u64 tsc_calibrate(const struct acpi_info *info)
{
    u64 hz = measure_by_hpet(info), stated = stated_hz();

    if (!hz)
        hz = measure_by_pm_timer(info);
    if (!hz)
        hz = measure_by_pit();
    if (stated && (!hz || (stated > hz - hz / 256 && stated < hz + hz / 256))) {
        hz = stated;
        found_by = "CPUID";
    }
    found_hz = hz;
    return hz;
}

u64 tsc_hz(void)
{
    return found_hz;
}

const char *tsc_source(void)
{
    return found_by;
}

bool tsc_is_invariant(void)
{
    u32 a, b, c, d;

    cpuid_count(0x80000000, 0, &a, &b, &c, &d);
    if (a < 0x80000007)
        return false;
    cpuid_count(0x80000007, 0, &a, &b, &c, &d);
    return d & BIT(8);
}

/*
 * No pause in the loop: an emulator takes it as a wish to run another CPU, which costs it more
 * than the whole delay.
 */
void tsc_delay_us(u32 us)
{
    u64 start = rdtsc(), cycles = found_hz / 1000000 * us;

    while (rdtsc() - start < cycles)
        ;
}
