#include "x86/reboot.h"
#include "x86/cpu.h"
#include "x86/paging.h"
#include "x86/pci.h"
#include "core/acpi.h"

/* Address spaces of an ACPI generic address (ACPI specification 6.4, 5.2.3.2). */
enum { SPACE_MEMORY = 0, SPACE_IO = 1, SPACE_PCI = 2 };

#define RESET_CONTROL 0xcf9
#define KBC_STATUS    0x64
#define KBC_COMMAND   0x64
#define KBC_BUSY      0x02
#define KBC_PULSE     0xfe /* pulse the reset line */

#define PM1_SLEEP_ENABLE BIT(13)

/* Port 80h (the diagnostics display) takes about a microsecond everywhere, without a clock. */
static void wait_us(unsigned us)
{
    while (us--)
        outb(0x80, 0);
}

static void reset_by_acpi(const struct acpi_info *info)
{
    u64 addr = info->reset.addr;

    if (!info->reset.present)
        return;
    if (info->reset.space == SPACE_IO && addr && addr <= 0xffff) {
        outb(addr, info->reset.value);
    } else if (info->reset.space == SPACE_PCI) {
        u8 devfn = (addr >> 32 & 31) << 3 | (addr >> 16 & 7);

        pci_write(0, 0, devfn, addr & 0xff, 1, info->reset.value);
    } else if (info->reset.space == SPACE_MEMORY && addr) {
        u8 *page = map_mmio(addr & PAGE_MASK, PAGE_SIZE);

        if (page)
            *(volatile u8 *)(page + (addr & ~PAGE_MASK)) = info->reset.value;
    }
    wait_us(50000);
}

static void reset_by_chipset(void)
{
    u8 keep = inb(RESET_CONTROL) & ~0x0e;

    outb(RESET_CONTROL, keep | 0x02); /* a hard reset is meant */
    wait_us(50);
    outb(RESET_CONTROL, keep | 0x06); /* now */
    wait_us(50000);
}

static void reset_by_keyboard(void)
{
    unsigned tries, polls;

    for (tries = 0; tries < 10; tries++) {
        for (polls = 0; polls < 10000 && (inb(KBC_STATUS) & KBC_BUSY); polls++)
            wait_us(2);
        outb(KBC_COMMAND, KBC_PULSE);
        wait_us(5000);
    }
}

void machine_reset(const struct acpi_info *info)
{
    static const struct {
        u16 limit;
        u64 base;
    } packed no_idt;

    irq_disable();
    if (info)
        reset_by_acpi(info);
    reset_by_chipset();
    reset_by_keyboard();
    asm volatile("lidt %0; ud2" : : "m"(no_idt));
    cpu_stop();
}

static void write_pm1(const struct acpi_info *info, u32 a, u32 b)
{
    outw(info->pm1a_cnt, a);
    if (info->pm1b_cnt)
        outw(info->pm1b_cnt, b);
}

int acpi_enter_s5(const struct acpi_info *info, u32 pm1a_val, u32 pm1b_val)
{
    if (!info->pm1a_cnt || info->pm1a_cnt > 0xffff || info->pm1b_cnt > 0xffff)
        return -XEN_ENODEV;

    /* The sleep type must be there before the bit that acts on it. */
    write_pm1(info, pm1a_val & ~PM1_SLEEP_ENABLE, pm1b_val & ~PM1_SLEEP_ENABLE);
    write_pm1(info, pm1a_val | PM1_SLEEP_ENABLE, pm1b_val | PM1_SLEEP_ENABLE);
    wait_us(1000000);
    return -XEN_EIO;
}
