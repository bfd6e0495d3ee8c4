#include "x86/msi.h"
#include "x86/cpu.h"
#include "x86/paging.h"
#include "x86/pci.h"
#include "core/platform_bits.h"

/* MSI capability, offsets from its start (PCI 3.0, 6.8.1); the data follows the address. */
#define MSI_CONTROL      2
#define MSI_ADDRESS      4
#define MSI_ADDRESS_HIGH 8
#define MSI_DATA(e)      ((e)->is_64bit ? 12 : 8)
#define MSI_MASK(e)      ((e)->is_64bit ? 16 : 12)

#define MSI_ENABLE   0x0001
#define MSI_COUNT    0x0070 /* how many vectors the device may use; 0: one */
#define MSI_64BIT    0x0080
#define MSI_MASKABLE 0x0100

/* MSI-X capability (6.8.2) and the four words of a table slot. */
#define MSIX_CONTROL 2
#define MSIX_TABLE   4

#define MSIX_SIZE     0x07ff
#define MSIX_MASK_ALL 0x4000
#define MSIX_ENABLE   0x8000
#define MSIX_BIR      7

#define SLOT_SIZE    16
#define SLOT_ADDRESS 0
#define SLOT_HIGH    1
#define SLOT_DATA    2
#define SLOT_CONTROL 3
#define SLOT_MASKED  1U

#define MAX_PHYS (1UL << 52)

/*
 * Mappings are for good, so pages are found again here. A full list only refuses further MSI-X;
 * a guest that moves its BARs around fills it for itself alone.
 */
#define MAX_TABLE_PAGES 256

static struct {
    u64 phys;
    u8 *va;
} table_pages[MAX_TABLE_PAGES];
static unsigned nr_table_pages;
static msi_is_mmio_fn is_device_memory;

__init void msi_init(msi_is_mmio_fn is_mmio)
{
    is_device_memory = is_mmio;
}

static u32 config_read(const struct msi_entry *e, u16 reg, u8 size)
{
    return pci_read(e->seg, e->bus, e->devfn, reg, size);
}

static void config_write(const struct msi_entry *e, u16 reg, u8 size, u32 v)
{
    pci_write(e->seg, e->bus, e->devfn, reg, size, v);
}

/* The table answers only while memory decoding is on. Returns what to give decode_end(). */
static u16 decode_begin(const struct msi_entry *e)
{
    u16 command = config_read(e, PCI_COMMAND, 2);

    if (!(command & PCI_COMMAND_MEMORY))
        config_write(e, PCI_COMMAND, 2, command | PCI_COMMAND_MEMORY);
    return command;
}

static void decode_end(const struct msi_entry *e, u16 command)
{
    if (!(command & PCI_COMMAND_MEMORY))
        config_write(e, PCI_COMMAND, 2, command);
}

static int map_table_page(u64 phys, u8 **va)
{
    unsigned i;

    for (i = 0; i < nr_table_pages; i++)
        if (table_pages[i].phys == phys) {
            *va = table_pages[i].va;
            return 0;
        }
    if (nr_table_pages == MAX_TABLE_PAGES)
        return -XEN_ENOSPC;
    *va = map_mmio(phys, PAGE_SIZE);
    if (!*va)
        return -XEN_ENOSPC;
    table_pages[nr_table_pages].phys = phys;
    table_pages[nr_table_pages++].va = *va;
    return 0;
}

/* Registers that hold BARs depend on the header: device 6, PCI bridge 2, CardBus bridge 1. */
static unsigned count_bars(const struct msi_entry *e)
{
    static const u8 bars[4] = {6, 2, 1, 0};

    return bars[MIN(config_read(e, PCI_HEADER_TYPE, 1) & 0x7fU, 3U)];
}

/* Where the slot lies, from the device's own description. Each value may be a lie. */
static int find_slot(const struct msi_entry *e, u64 *slot_phys)
{
    u32 table = config_read(e, e->cap + MSIX_TABLE, 4);
    unsigned bir = table & MSIX_BIR, nr_bars = count_bars(e);
    u16 bar = PCI_BAR0 + bir * 4;
    u64 base, slot;
    bool has_hi = bir + 1 < nr_bars;

    if (e->entry_nr > (config_read(e, e->cap + MSIX_CONTROL, 2) & MSIX_SIZE) || bir >= nr_bars)
        return -XEN_EINVAL;
    base = pci_bar_address(config_read(e, bar, 4), has_hi ? config_read(e, bar + 4, 4) : 0,
                           has_hi);
    if (!base || base >= MAX_PHYS || (e->table_base && e->table_base != base))
        return -XEN_EINVAL;
    slot = base + (table & ~MSIX_BIR) + e->entry_nr * SLOT_SIZE;
    if ((slot & ~PAGE_MASK) > PAGE_SIZE - SLOT_SIZE)
        return -XEN_EINVAL;
    if (!is_device_memory || !is_device_memory(slot & PAGE_MASK, PAGE_SIZE))
        return -XEN_EPERM;
    *slot_phys = slot;
    return 0;
}

int msix_prepare(u16 seg, u8 bus, u8 devfn)
{
    struct msi_entry e = {.seg = seg, .bus = bus, .devfn = devfn, .is_msix = true};
    u32 size, per_page = PAGE_SIZE / SLOT_SIZE;

    e.cap = pci_find_capability(seg, bus, devfn, PCI_CAP_MSIX);
    if (!e.cap)
        return -XEN_ENODEV;
    size = (config_read(&e, e.cap + MSIX_CONTROL, 2) & MSIX_SIZE) + 1;
    /* A table that begins in the middle of a page ends in one more. */
    for (u32 n = 0; n < size + per_page - 1; n += per_page) {
        u64 slot_phys;
        u8 *page;
        int rc;

        e.entry_nr = (u16)MIN(n, size - 1);
        rc = find_slot(&e, &slot_phys);
        if (!rc)
            rc = map_table_page(slot_phys & PAGE_MASK, &page);
        if (rc)
            return rc;
    }
    return 0;
}

static void write_slot_mask(struct msi_entry *e, bool masked)
{
    e->slot[SLOT_CONTROL] = masked ? SLOT_MASKED : 0;
}

static void write_slot(struct msi_entry *e, const struct msi_message *m)
{
    e->slot[SLOT_ADDRESS] = m->address;
    e->slot[SLOT_HIGH] = 0;
    e->slot[SLOT_DATA] = m->data;
}

static int setup_msix(struct msi_entry *e, const struct msi_message *m)
{
    u16 control = config_read(e, e->cap + MSIX_CONTROL, 2), command;
    u64 slot_phys;
    u8 *page;
    int rc;

    rc = find_slot(e, &slot_phys);
    if (!rc)
        rc = map_table_page(slot_phys & PAGE_MASK, &page);
    if (rc)
        return rc;
    e->slot = (volatile u32 *)(page + (slot_phys & ~PAGE_MASK));
    e->maskable = true;

    /* Some devices have no table until MSI-X is on; on and all masked is silent. */
    command = decode_begin(e);
    config_write(e, e->cap + MSIX_CONTROL, 2, control | MSIX_ENABLE | MSIX_MASK_ALL);
    write_slot_mask(e, true);
    write_slot(e, m);
    (void)e->slot[SLOT_CONTROL]; /* posted writes arrive before the bits go back */
    config_write(e, e->cap + MSIX_CONTROL, 2, control);
    decode_end(e, command);
    return 0;
}

static void write_msi_mask(struct msi_entry *e, bool masked)
{
    u32 bits = config_read(e, e->cap + MSI_MASK(e), 4);

    config_write(e, e->cap + MSI_MASK(e), 4, masked ? bits | 1 : bits & ~1U);
}

static int setup_msi(struct msi_entry *e, const struct msi_message *m)
{
    u16 control = config_read(e, e->cap + MSI_CONTROL, 2);

    if (e->entry_nr)
        return -XEN_EINVAL;
    control &= ~MSI_COUNT;
    e->is_64bit = control & MSI_64BIT;
    e->maskable = control & MSI_MASKABLE;

    config_write(e, e->cap + MSI_CONTROL, 2, control & ~MSI_ENABLE);
    if (e->maskable)
        write_msi_mask(e, true);
    config_write(e, e->cap + MSI_ADDRESS, 4, m->address);
    if (e->is_64bit)
        config_write(e, e->cap + MSI_ADDRESS_HIGH, 4, 0);
    config_write(e, e->cap + MSI_DATA(e), 2, m->data);
    config_write(e, e->cap + MSI_CONTROL, 2, control);
    return 0;
}

int msi_setup(struct msi_entry *e, const struct msi_target *target)
{
    struct msi_message m;
    int rc = msi_compose(target->vector, target->dest_apic_id, &m);

    if (rc)
        return rc;
    e->slot = NULL;
    e->cap =
        pci_find_capability(e->seg, e->bus, e->devfn, e->is_msix ? PCI_CAP_MSIX : PCI_CAP_MSI);
    if (!e->cap)
        return -XEN_ENODEV;
    return e->is_msix ? setup_msix(e, &m) : setup_msi(e, &m);
}

static void write_mask(struct msi_entry *e, bool masked)
{
    if (e->is_msix)
        write_slot_mask(e, masked);
    else
        write_msi_mask(e, masked);
}

bool msi_mask(struct msi_entry *e)
{
    if (!e->maskable)
        return false;
    write_mask(e, true);
    if (e->is_msix)
        (void)e->slot[SLOT_CONTROL]; /* no message after we return */
    return true;
}

bool msi_unmask(struct msi_entry *e)
{
    if (!e->maskable)
        return false;
    write_mask(e, false);
    return true;
}

void msi_teardown(struct msi_entry *e)
{
    u16 command, control;

    if (!e->cap || !pci_is_present(e->seg, e->bus, e->devfn))
        return;
    if (e->is_msix) {
        command = decode_begin(e);
        write_slot_mask(e, true);
        (void)e->slot[SLOT_CONTROL];
        decode_end(e, command);
    } else {
        if (e->maskable)
            write_msi_mask(e, true);
        control = config_read(e, e->cap + MSI_CONTROL, 2);
        config_write(e, e->cap + MSI_CONTROL, 2, control & ~MSI_ENABLE);
    }
    e->cap = 0;
}

bool msix_owns_page(u64 phys)
{
    unsigned i;

    for (i = 0; i < nr_table_pages; i++)
        if ((table_pages[i].phys ^ phys) < PAGE_SIZE)
            return true;
    return false;
}
