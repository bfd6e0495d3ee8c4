/*
 * ACPI 6.4 static tables: byte offsets of the fields Serai reads. Offsets and not structures,
 * because tables come in many lengths and a field past the end of its table reads as zero.
 */
#ifndef SERAI_ABI_ACPI_H
#define SERAI_ABI_ACPI_H

/* Root pointer: 20 bytes at revision 0, the length field's worth (36) from revision 2. */
#define ACPI_RSDP_SIGNATURE "RSD PTR "
#define ACPI_RSDP_V1_LEN    20
#define ACPI_RSDP_V2_LEN    36
#define ACPI_RSDP_CHECKSUM  8  /* makes the first 20 bytes sum to zero */
#define ACPI_RSDP_REVISION  15 /* u8 */
#define ACPI_RSDP_RSDT      16 /* u32 */
#define ACPI_RSDP_LENGTH    20 /* u32 */
#define ACPI_RSDP_XSDT      24 /* u64 */
#define ACPI_RSDP_CHECKSUM2 32 /* makes all bytes sum to zero */

/* Where a BIOS keeps the root pointer, on 16-byte boundaries. */
#define ACPI_EBDA_SEGMENT 0x40E /* u16: address of the extended BIOS data area >> 4 */
#define ACPI_EBDA_SEARCH  1024
#define ACPI_BIOS_START   0xE0000
#define ACPI_BIOS_END     0x100000

/* Common table header. */
#define ACPI_HDR_SIGNATURE 0 /* 4 bytes */
#define ACPI_HDR_LENGTH    4 /* u32 */
#define ACPI_HDR_REVISION  8
#define ACPI_HDR_CHECKSUM  9
#define ACPI_HDR_LEN       36

/* MADT ("APIC"): entries of {u8 type, u8 length, ...} after two words. */
#define ACPI_MADT_LAPIC   36 /* u32 */
#define ACPI_MADT_ENTRIES 44

#define ACPI_MADT_TYPE_LAPIC      0 /* 2 u8 acpi id, 3 u8 apic id, 4 u32 flags */
#define ACPI_MADT_TYPE_IOAPIC     1 /* 2 u8 id, 4 u32 address, 8 u32 first gsi */
#define ACPI_MADT_TYPE_OVERRIDE   2 /* 2 u8 bus, 3 u8 source, 4 u32 gsi, 8 u16 flags */
#define ACPI_MADT_TYPE_LAPIC_ADDR 5 /* 4 u64 address */
#define ACPI_MADT_TYPE_X2APIC     9 /* 4 u32 apic id, 8 u32 flags, 12 u32 acpi id */

#define ACPI_MADT_CPU_ENABLED        1
#define ACPI_MADT_CPU_ONLINE_CAPABLE 2

/* Interrupt flags: 0 means "as the bus has it". */
#define ACPI_POLARITY(flags) ((flags)&3)
#define ACPI_TRIGGER(flags)  (((flags) >> 2) & 3)
#define ACPI_POLARITY_LOW    3
#define ACPI_POLARITY_HIGH   1
#define ACPI_TRIGGER_EDGE    1
#define ACPI_TRIGGER_LEVEL   3

/* Generic address: 12 bytes. */
#define ACPI_GAS_SPACE    0 /* u8 */
#define ACPI_GAS_ADDRESS  4 /* u64 */
#define ACPI_GAS_LEN      12
#define ACPI_SPACE_MEMORY 0
#define ACPI_SPACE_IO     1
#define ACPI_SPACE_PCI    2

/* FADT ("FACP"). */
#define ACPI_FADT_SCI        46 /* u16 */
#define ACPI_FADT_SMI_CMD    48
#define ACPI_FADT_PM1A_CNT   64
#define ACPI_FADT_PM1B_CNT   68
#define ACPI_FADT_PM_TMR     76
#define ACPI_FADT_PM_TMR_LEN 91  /* u8: 4 or no timer */
#define ACPI_FADT_BOOT_ARCH  109 /* u16 */
#define ACPI_FADT_FLAGS      112
#define ACPI_FADT_V1_LEN     116
#define ACPI_FADT_RESET_REG  116 /* generic address */
#define ACPI_FADT_RESET_VAL  128 /* u8 */
#define ACPI_FADT_X_PM1A_CNT 172
#define ACPI_FADT_X_PM1B_CNT 184
#define ACPI_FADT_X_PM_TMR   208

#define ACPI_FADT_FLAG_TMR_32BIT (1U << 8)
#define ACPI_FADT_FLAG_RESET_REG (1U << 10)

/* HPET. */
#define ACPI_HPET_BASE 40 /* generic address */
#define ACPI_HPET_LEN  56

/* MCFG: entries of 16 bytes {u64 base, u16 segment, u8 first bus, u8 last bus, u32 0}. */
#define ACPI_MCFG_ENTRIES   44
#define ACPI_MCFG_ENTRY_LEN 16

/* SRAT: entries of {u8 type, u8 length, ...} after 12 reserved bytes. */
#define ACPI_SRAT_ENTRIES 48

#define ACPI_SRAT_TYPE_LAPIC  0 /* 2 u8 node, 3 u8 apic id, 4 u32 flags, 9 u8[3] node, high */
#define ACPI_SRAT_TYPE_MEMORY 1
#define ACPI_SRAT_TYPE_X2APIC 2 /* 4 u32 node, 8 u32 apic id, 12 u32 flags */
#define ACPI_SRAT_LAPIC_LEN   16
#define ACPI_SRAT_X2APIC_LEN  24

#define ACPI_SRAT_CPU_ENABLED 1
#define ACPI_SRAT_WIDE_NODES  2 /* the table revision that has the node's high bytes */

/* UEFI system table, 64-bit: where the configuration tables are that name the root pointer. */
#define EFI_SYSTEM_SIGNATURE 0x5453595320494249ULL /* "IBI SYST" */
#define EFI_SYSTEM_NR_TABLES 104                   /* u64 */
#define EFI_SYSTEM_TABLES    112                   /* u64 */
#define EFI_SYSTEM_LEN       120
#define EFI_CONFIG_TABLE_LEN 24 /* 16 bytes of GUID, u64 address */

#endif
