#include "x86/pci.h"
#include "x86/cpu.h"
#include "x86/log.h"
#include "x86/paging.h"

#define CONFIG_INDEX  0xcf8
#define CONFIG_DATA   0xcfc
#define CONFIG_ENABLE 0x80000000U

/* A list of capabilities has at most 48 places in 192 bytes. */
#define CAP_FIRST 0x40
#define CAP_LOOKS 48

#define MAX_WINDOWS 8

/*
 * Windows are mapped bus by bus at first use: one megabyte each, of which a machine needs few
 * because the ports serve segment 0.
 */
#define MAX_BUSES 32

static struct window {
    u64 base;
    u16 seg;
    u8 bus_start, bus_end;
} windows[MAX_WINDOWS];
static unsigned nr_windows;

static struct mapped_bus {
    u16 seg;
    u8 bus;
    void *config;
} buses[MAX_BUSES];
static unsigned nr_buses;

__init int pci_mmcfg_add(u64 base, u16 seg, u8 bus_start, u8 bus_end)
{
    if (!base || (base & (MIB(1) - 1)) || bus_start > bus_end)
        return -XEN_EINVAL;
    if (nr_windows == MAX_WINDOWS)
        return -XEN_ENOSPC;
    windows[nr_windows++] = (struct window){base, seg, bus_start, bus_end};
    return 0;
}

static void *map_bus(u16 seg, u8 bus)
{
    unsigned i;
    void *config;

    for (i = 0; i < nr_windows; i++)
        if (windows[i].seg == seg && bus >= windows[i].bus_start && bus <= windows[i].bus_end)
            break;
    if (i == nr_windows || nr_buses == MAX_BUSES)
        return NULL;
    config = map_mmio(windows[i].base + ((u64)bus << 20), MIB(1));
    if (config)
        buses[nr_buses++] = (struct mapped_bus){seg, bus, config};
    return config;
}

static void *mmcfg_address(u16 seg, u8 bus, u8 devfn, u16 reg)
{
    void *config = NULL;
    unsigned i;

    for (i = 0; i < nr_buses && !config; i++)
        if (buses[i].seg == seg && buses[i].bus == bus)
            config = buses[i].config;
    if (!config)
        config = map_bus(seg, bus);
    return config ? (u8 *)config + ((u32)devfn << 12 | reg) : NULL;
}

/* Chipsets expect these accesses from eax only (AMD family 10h guide, 2.11). */
static u32 mmcfg_read(const void *p, u8 size)
{
    u32 v;

    if (size == 1)
        asm volatile("movzbl (%1), %0" : "=a"(v) : "r"(p) : "memory");
    else if (size == 2)
        asm volatile("movzwl (%1), %0" : "=a"(v) : "r"(p) : "memory");
    else
        asm volatile("movl (%1), %0" : "=a"(v) : "r"(p) : "memory");
    return v;
}

static void mmcfg_write(void *p, u8 size, u32 v)
{
    if (size == 1)
        asm volatile("movb %%al, (%1)" : : "a"(v), "r"(p) : "memory");
    else if (size == 2)
        asm volatile("movw %%ax, (%1)" : : "a"(v), "r"(p) : "memory");
    else
        asm volatile("movl %%eax, (%1)" : : "a"(v), "r"(p) : "memory");
}

static bool access_ok(u16 reg, u8 size)
{
    return (size == 1 || size == 2 || size == 4) && reg < 4096 && !(reg & (size - 1));
}

static void set_index(u8 bus, u8 devfn, u16 reg)
{
    outl(CONFIG_INDEX, CONFIG_ENABLE | (u32)bus << 16 | (u32)devfn << 8 | (reg & 0xfc));
}

u32 pci_read(u16 seg, u8 bus, u8 devfn, u16 reg, u8 size)
{
    u16 port = CONFIG_DATA + (reg & 3);
    void *p;

    if (!access_ok(reg, size))
        return ~0U;
    if (seg || reg >= 256) {
        p = mmcfg_address(seg, bus, devfn, reg);
        return p ? mmcfg_read(p, size) : ~0U;
    }
    set_index(bus, devfn, reg);
    return size == 1 ? inb(port) : size == 2 ? inw(port) : inl(port);
}

void pci_write(u16 seg, u8 bus, u8 devfn, u16 reg, u8 size, u32 val)
{
    u16 port = CONFIG_DATA + (reg & 3);
    void *p;

    if (!access_ok(reg, size))
        return;
    if (seg || reg >= 256) {
        p = mmcfg_address(seg, bus, devfn, reg);
        if (p)
            mmcfg_write(p, size, val);
        return;
    }
    set_index(bus, devfn, reg);
    if (size == 1)
        outb(port, val);
    else if (size == 2)
        outw(port, val);
    else
        outl(port, val);
}

bool pci_is_present(u16 seg, u8 bus, u8 devfn)
{
    u16 vendor = pci_read(seg, bus, devfn, PCI_VENDOR_ID, 2);

    return vendor != 0xffff && vendor != 0;
}

u8 pci_find_capability(u16 seg, u8 bus, u8 devfn, u8 id)
{
    unsigned looks;
    u8 pos;

    if (!pci_is_present(seg, bus, devfn) ||
        !(pci_read(seg, bus, devfn, PCI_STATUS, 2) & PCI_STATUS_CAPS))
        return 0;
    pos = pci_read(seg, bus, devfn, PCI_CAPABILITIES, 1) & ~3;
    for (looks = 0; looks < CAP_LOOKS && pos >= CAP_FIRST; looks++) {
        u16 head = pci_read(seg, bus, devfn, pos, 2);

        if ((head & 0xff) == id)
            return pos;
        if ((head & 0xff) == 0xff)
            return 0;
        pos = head >> 8 & ~3;
    }
    return 0;
}
