#include "x86/ioapic.h"
#include "x86/cpu.h"
#include "x86/log.h"
#include "x86/paging.h"
#include "core/acpi.h"
#include "core/platform_bits.h"

/* The page holds an index and a data register (Intel 82093AA). */
#define IOAPIC_INDEX 0x00
#define IOAPIC_DATA  0x10

#define IOAPIC_REG_VERSION 0x01
#define IOAPIC_REG_ARB     0x02
#define IOAPIC_REG_RTE     0x10

#define MAX_GSIS      512
#define FIRST_PCI_GSI 16

static struct ioapic {
    volatile u32 *regs;
    u64 phys;
    u32 gsi_base;
    u32 nr_pins;
} ioapics[ACPI_MAX_IOAPICS];
static unsigned nr_ioapics;
static u32 nr_gsis;

/* What the hardware holds, bit for bit except the read-only status bits. */
static u64 rtes[MAX_GSIS];
static u32 isa_gsi[16];

static u32 read_reg(const struct ioapic *a, u32 reg)
{
    a->regs[IOAPIC_INDEX / 4] = reg;
    return a->regs[IOAPIC_DATA / 4];
}

static void write_reg(const struct ioapic *a, u32 reg, u32 v)
{
    a->regs[IOAPIC_INDEX / 4] = reg;
    a->regs[IOAPIC_DATA / 4] = v;
}

static const struct ioapic *find(u32 gsi)
{
    unsigned i;

    for (i = 0; i < nr_ioapics; i++)
        if (gsi - ioapics[i].gsi_base < ioapics[i].nr_pins)
            return &ioapics[i];
    return NULL;
}

static void write_low(const struct ioapic *a, u32 gsi)
{
    write_reg(a, IOAPIC_REG_RTE + 2 * (gsi - a->gsi_base), (u32)rtes[gsi]);
}

static void write_high(const struct ioapic *a, u32 gsi)
{
    write_reg(a, IOAPIC_REG_RTE + 2 * (gsi - a->gsi_base) + 1, rtes[gsi] >> 32);
}

static __init void set_default(u32 gsi, bool level, bool active_low)
{
    if (gsi < MAX_GSIS)
        rtes[gsi] = RTE_MASKED | (level ? RTE_LEVEL : 0) | (active_low ? RTE_LOW_ACTIVE : 0);
}

static __init void set_defaults(const struct acpi_info *info)
{
    u32 i;

    for (i = 0; i < MAX_GSIS; i++)
        set_default(i, i >= FIRST_PCI_GSI, i >= FIRST_PCI_GSI);
    for (i = 0; i < 16; i++) {
        isa_gsi[i] = i;
        if (!info->isa[i].present || info->isa[i].gsi >= MAX_GSIS)
            continue;
        isa_gsi[i] = info->isa[i].gsi;
        set_default(info->isa[i].gsi, info->isa[i].level, info->isa[i].active_low);
    }
    if (info->sci.present)
        set_default(info->sci.gsi, info->sci.level, info->sci.active_low);
}

static __init bool overlaps(u32 base, u32 pins)
{
    unsigned i;

    for (i = 0; i < nr_ioapics; i++)
        if (base < ioapics[i].gsi_base + ioapics[i].nr_pins &&
            ioapics[i].gsi_base < base + pins)
            return true;
    return false;
}

static __init void add_ioapic(const struct acpi_ioapic *found)
{
    u64 offset = found->phys & ~PAGE_MASK & ~15UL;
    struct ioapic a = {.phys = found->phys, .gsi_base = found->gsi_base};
    u8 *page = map_mmio(found->phys & PAGE_MASK, PAGE_SIZE);
    u32 version, i;

    if (!page)
        return;
    a.regs = (volatile u32 *)(page + offset);
    version = read_reg(&a, IOAPIC_REG_VERSION);
    a.nr_pins = (version >> 16 & 0xff) + 1;
    if (version == ~0U || a.nr_pins > 240 || a.gsi_base > MAX_GSIS - a.nr_pins ||
        overlaps(a.gsi_base, a.nr_pins)) {
        x86_log("I/O APIC at %lx (GSI %u, version %x) is not usable\n", a.phys, a.gsi_base,
                version);
        return;
    }
    ioapics[nr_ioapics++] = a;
    nr_gsis = MAX(nr_gsis, a.gsi_base + a.nr_pins);
    for (i = a.gsi_base; i < a.gsi_base + a.nr_pins; i++) {
        write_low(&a, i);
        write_high(&a, i);
    }
}

__init unsigned ioapic_init(const struct acpi_info *info)
{
    unsigned i;

    set_defaults(info);
    for (i = 0; i < info->nr_ioapics; i++)
        add_ioapic(&info->ioapics[i]);
    return nr_ioapics;
}

unsigned ioapic_nr_gsis(void)
{
    return nr_gsis;
}

bool ioapic_has_gsi(u32 gsi)
{
    return find(gsi) != NULL;
}

u32 ioapic_isa_gsi(u8 irq)
{
    return irq < 16 ? isa_gsi[irq] : irq;
}

int ioapic_route(u32 gsi, u8 vector, u32 dest_apic_id, bool level, bool active_low)
{
    const struct ioapic *a = find(gsi);
    u64 rte;
    int rc;

    if (!a)
        return -XEN_EINVAL;
    rc = rte_compose(vector, dest_apic_id, level, active_low, &rte);
    if (rc)
        return rc;
    /* The low half masks, so the line is quiet before its destination changes. */
    rtes[gsi] = rte;
    write_low(a, gsi);
    write_high(a, gsi);
    return 0;
}

void ioapic_mask(u32 gsi)
{
    const struct ioapic *a = find(gsi);

    if (!a)
        return;
    rtes[gsi] |= RTE_MASKED;
    write_low(a, gsi);
}

void ioapic_unmask(u32 gsi)
{
    const struct ioapic *a = find(gsi);

    /* A line without a vector would only raise errors. */
    if (!a || (rtes[gsi] & 0xff) < MIN_IRQ_VECTOR)
        return;
    rtes[gsi] &= ~RTE_MASKED;
    write_low(a, gsi);
}

bool ioapic_is_level(u32 gsi)
{
    return gsi < nr_gsis && (rtes[gsi] & RTE_LEVEL);
}

bool ioapic_is_active_low(u32 gsi)
{
    return gsi < nr_gsis && (rtes[gsi] & RTE_LOW_ACTIVE);
}

int ioapic_read_register(u64 phys, u32 reg, u32 *val)
{
    unsigned i;

    for (i = 0; i < nr_ioapics; i++) {
        const struct ioapic *a = &ioapics[i];

        if (a->phys != phys)
            continue;
        if (reg > IOAPIC_REG_ARB &&
            (reg < IOAPIC_REG_RTE || reg >= IOAPIC_REG_RTE + 2 * a->nr_pins))
            return -XEN_EINVAL;
        *val = read_reg(a, reg);
        return 0;
    }
    return -XEN_EINVAL;
}

void ioapic_dump(void)
{
    u32 gsi;

    for (gsi = 0; gsi < nr_gsis; gsi++) {
        const struct ioapic *a = find(gsi);
        u32 low;

        if (!a || (rtes[gsi] & 0xff) < MIN_IRQ_VECTOR)
            continue;
        low = read_reg(a, IOAPIC_REG_RTE + 2 * (gsi - a->gsi_base));
        x86_log("GSI %u: vector %x to APIC %u, %s, active %s%s%s\n", gsi, low & 0xff,
                (u32)(rtes[gsi] >> 56), low & RTE_LEVEL ? "level" : "edge",
                low & RTE_LOW_ACTIVE ? "low" : "high", low & RTE_MASKED ? ", masked" : "",
                low & RTE_REMOTE_IRR ? ", in service" : "");
    }
}
