/*
 * ACPI static tables (RSDP, RSDT/XSDT, MADT, FADT, HPET, MCFG, SRAT) into one structure. Pure: memory
 * is read through the caller's reader.
 *
 *   1. a table's bytes are used only after its length was bounded and its checksum verified;
 *   2. nothing is believed past a table's end: such fields are zero;
 *   3. the work is bounded: at most 256 tables of at most 1 MiB.
 * MADT and FADT are required; a broken HPET, MCFG or SRAT is left out and named in 'why'.
 */
#ifndef SERAI_CORE_ACPI_H
#define SERAI_CORE_ACPI_H

#include "base/types.h"
#include "core/phys_reader.h"
#include "core/topology.h"

#define ACPI_MAX_CPUS    256
#define ACPI_MAX_IOAPICS 16
#define ACPI_MAX_MCFG    4

struct acpi_cpu {
    u32 apic_id;
    bool enabled;
};

struct acpi_ioapic {
    u32 phys;
    u8 id;
    u32 gsi_base;
};

/* An ISA interrupt. Not present: another override took its GSI (the cascade, IRQ 2). */
struct acpi_isa_irq {
    bool present;
    u32 gsi;
    bool level;
    bool active_low;
};

struct acpi_mcfg {
    u64 base; /* of bus 0, also when bus_start is not 0 */
    u16 segment;
    u8 bus_start, bus_end;
};

struct acpi_info {
    u64 rsdp; /* where it was found; 0 when only a copy was given */

    /* MADT. Enabled CPUs come first, in table order; no two have the same apic_id. */
    unsigned nr_cpus;
    struct acpi_cpu cpus[ACPI_MAX_CPUS];
    u64 lapic_phys;
    unsigned nr_ioapics;
    struct acpi_ioapic ioapics[ACPI_MAX_IOAPICS];
    struct acpi_isa_irq isa[16]; /* overrides applied; else identity, edge, active high */

    /* FADT. I/O ports, 0: not there. */
    u16 sci_irq;
    struct acpi_isa_irq sci; /* where the SCI arrives; level, active low unless overridden */
    u32 pm1a_cnt, pm1b_cnt;
    u32 pm_tmr;
    bool pm_tmr_32bit; /* else 24 bits */
    struct {
        bool present;
        u8 space; /* ACPI_SPACE_* of abi/acpi.h */
        u64 addr;
        u8 value;
    } reset;

    struct {
        bool present;
        u64 phys;
    } hpet;

    unsigned nr_mcfg;
    struct acpi_mcfg mcfg[ACPI_MAX_MCFG];

    /* SRAT: nodes of enabled CPUs; no two entries have the same apic_id. */
    unsigned nr_srat;
    struct topology_srat srat[ACPI_MAX_CPUS];

    char why[96]; /* on success: empty, or the optional table that was left out and why */
};

/*
 * Find and read the tables. The root pointer is rsdp_copy when rsdp_copy_len is not 0, else it
 * is at rsdp_phys, else (0) it is searched where a BIOS keeps it. 0; -XEN_ENOENT: no root
 * pointer; -XEN_EINVAL: something required is missing or broken. On error *reason says what
 * (it may point into out->why) and the rest of *out is unspecified.
 */
int acpi_parse(const struct phys_reader *r, u64 rsdp_phys, const u8 *rsdp_copy,
               unsigned rsdp_copy_len, struct acpi_info *out, const char **reason) must_check;

/* The root pointer's physical address from a UEFI system table; 0: not found. */
u64 acpi_rsdp_from_efi(const struct phys_reader *r, u64 system_table);

#endif
