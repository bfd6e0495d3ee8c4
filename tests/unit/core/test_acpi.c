#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "abi/acpi.h"
#include "base/string.h"
#include "core/acpi.h"
#include "unit/core/acpi_tables.h"

/* A machine whose only memory is the BIOS area and the first two pages. */
#define HIGH_BASE ACPI_BIOS_START
#define HIGH_SIZE 0x20000
#define RSDP_AT   (HIGH_BASE + 0x1FF0)
#define LIST_AT   (HIGH_BASE + 0x2103) /* deliberately unaligned */

static struct {
    u8 low[0x2000];
    u8 high[HIGH_SIZE];
    u64 next; /* where the next table goes */
    u64 madt, fadt, hpet, mcfg, srat;
} m;

static struct acpi_info info;
static const char *reason;

static const void *map(void *arg, u64 phys, u64 len)
{
    assert_in_range(len, 1, MIB(1));
    if (range_ok(phys, len, sizeof(m.low)))
        return m.low + phys;
    if (phys >= HIGH_BASE && range_ok(phys - HIGH_BASE, len, HIGH_SIZE))
        return m.high + (phys - HIGH_BASE);
    return NULL;
}

static const struct phys_reader reader = {map, NULL};

static u8 *at(u64 phys)
{
    return m.high + (phys - HIGH_BASE);
}

static void put(u64 phys, u64 value, unsigned size)
{
    memcpy(at(phys), &value, size);
}

/* Correct one checksum byte so that 'len' bytes sum to zero. */
static void seal(u64 phys, u32 len, u32 sum_at)
{
    u8 sum = 0;

    *(at(phys) + sum_at) = 0;
    for (u32 i = 0; i < len; i++)
        sum += *(at(phys) + i);
    *(at(phys) + sum_at) = -sum;
}

static void seal_table(u64 phys)
{
    seal(phys, get_le32(at(phys) + ACPI_HDR_LENGTH), ACPI_HDR_CHECKSUM);
}

static u64 add_table(const u8 *bytes, u32 len)
{
    u64 phys = m.next;

    memcpy(at(phys), bytes, len);
    m.next += len + 3;
    return phys;
}

static void seal_rsdp(void)
{
    seal(RSDP_AT, ACPI_RSDP_V1_LEN, ACPI_RSDP_CHECKSUM);
    if (*(at(RSDP_AT) + ACPI_RSDP_REVISION) >= 2)
        seal(RSDP_AT, ACPI_RSDP_V2_LEN, ACPI_RSDP_CHECKSUM2);
}

/* An RSDT or XSDT of the tables there are, and the root pointer to it. */
static void make_lists(bool xsdt)
{
    u64 tables[] = {0, m.hpet, m.fadt, m.mcfg, m.madt, m.srat};
    unsigned size = xsdt ? 8 : 4;

    memcpy(at(LIST_AT), xsdt ? "XSDT" : "RSDT", 4);
    put(LIST_AT + ACPI_HDR_LENGTH, ACPI_HDR_LEN + ARRAY_SIZE(tables) * size, 4);
    for (unsigned i = 0; i < ARRAY_SIZE(tables); i++)
        put(LIST_AT + ACPI_HDR_LEN + i * size, tables[i], size);
    seal_table(LIST_AT);

    memcpy(at(RSDP_AT), ACPI_RSDP_SIGNATURE, 8);
    put(RSDP_AT + ACPI_RSDP_REVISION, xsdt ? 2 : 0, 1);
    put(RSDP_AT + ACPI_RSDP_RSDT, xsdt ? 0 : LIST_AT, 4);
    if (xsdt) {
        put(RSDP_AT + ACPI_RSDP_LENGTH, ACPI_RSDP_V2_LEN, 4);
        put(RSDP_AT + ACPI_RSDP_XSDT, LIST_AT, 8);
    }
    seal_rsdp();
}

static void make_machine(bool xsdt)
{
    memset(&m, 0, sizeof(m));
    m.next = LIST_AT + 0x1000;
    m.fadt = add_table(qemu_facp, sizeof(qemu_facp));
    m.madt = add_table(qemu_apic, sizeof(qemu_apic));
    m.hpet = add_table(qemu_hpet, sizeof(qemu_hpet));
    m.mcfg = add_table(qemu_mcfg, sizeof(qemu_mcfg));
    make_lists(xsdt);
}

static int parse(void)
{
    return acpi_parse(&reader, 0, NULL, 0, &info, &reason);
}

static void assert_refused(const char *part)
{
    assert_int_equal(parse(), -XEN_EINVAL);
    assert_non_null(strstr(reason, part));
}

/* Replace the MADT's entries. */
static void set_madt(const u8 *entries, u32 len)
{
    put(m.madt + ACPI_HDR_LENGTH, ACPI_MADT_ENTRIES + len, 4);
    memcpy(at(m.madt) + ACPI_MADT_ENTRIES, entries, len);
    seal_table(m.madt);
}

static void check_q35(void)
{
    assert_null(reason);
    assert_string_equal(info.why, "");
    assert_int_equal(info.nr_cpus, 4);
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(info.cpus[i].apic_id, i);
        assert_int_equal(info.cpus[i].enabled, i < 2);
    }
    assert_int_equal(info.lapic_phys, 0xFEE00000);
    assert_int_equal(info.nr_ioapics, 1);
    assert_int_equal(info.ioapics[0].phys, 0xFEC00000);
    assert_int_equal(info.ioapics[0].gsi_base, 0);
    assert_int_equal(info.sci_irq, 9);
    assert_int_equal(info.pm1a_cnt, 0x604);
    assert_int_equal(info.pm1b_cnt, 0);
    assert_int_equal(info.pm_tmr, 0x608);
    assert_true(info.reset.present);
    assert_int_equal(info.reset.space, ACPI_SPACE_IO);
    assert_int_equal(info.reset.addr, 0xCF9);
    assert_int_equal(info.reset.value, 0xF);
    assert_true(info.hpet.present);
    assert_int_equal(info.hpet.phys, 0xFED00000);
    assert_int_equal(info.nr_mcfg, 1);
    assert_int_equal(info.mcfg[0].base, 0xB0000000);
    assert_int_equal(info.mcfg[0].bus_end, 255);
}

static void reads_q35(void **state)
{
    make_machine(false);
    assert_int_equal(parse(), 0);
    check_q35();
    assert_int_equal(info.rsdp, RSDP_AT);
    make_machine(true);
    assert_int_equal(parse(), 0);
    check_q35();
}

static void applies_q35_overrides(void **state)
{
    make_machine(false);
    assert_int_equal(parse(), 0);
    assert_int_equal(info.isa[0].gsi, 2);
    assert_true(info.isa[0].present);
    assert_false(info.isa[2].present); /* the timer took its GSI */
    for (unsigned i = 3; i < 16; i++)
        assert_true(info.isa[i].present && info.isa[i].gsi == i);
    assert_false(info.isa[1].level || info.isa[1].active_low);
    assert_int_equal(info.isa[1].gsi, 1);
    assert_true(info.isa[9].level);
    assert_false(info.isa[9].active_low);
    assert_true(info.sci.level);
    assert_false(info.sci.active_low);
    assert_int_equal(info.sci.gsi, 9);
    assert_true(info.isa[5].level && info.isa[10].level && info.isa[11].level);
}

static void sci_defaults_to_level_low(void **state)
{
    static const u8 none[] = {0, 8, 0, 0, 1, 0, 0, 0};
    static const u8 conforming[] = {0, 8, 0, 0, 1, 0, 0, 0, 2, 10, 0, 9, 20, 0, 0, 0, 0, 0};
    static const u8 edge_high[] = {0, 8, 0, 0, 1, 0, 0, 0, 2, 10, 0, 9, 9, 0, 0, 0, 5, 0};

    make_machine(false);
    set_madt(none, sizeof(none));
    assert_int_equal(parse(), 0);
    assert_true(info.sci.level && info.sci.active_low && info.isa[9].level);
    assert_true(info.sci.present);
    assert_int_equal(info.sci.gsi, 9);
    set_madt(conforming, sizeof(conforming));
    assert_int_equal(parse(), 0);
    assert_true(info.sci.level && info.sci.active_low);
    assert_int_equal(info.sci.gsi, 20);
    set_madt(edge_high, sizeof(edge_high));
    assert_int_equal(parse(), 0);
    assert_false(info.sci.level || info.sci.active_low);
    /* A SCI beyond the ISA lines. */
    put(m.fadt + ACPI_FADT_SCI, 16, 2);
    seal_table(m.fadt);
    assert_int_equal(parse(), 0);
    assert_int_equal(info.sci.gsi, 16);
    put(m.fadt + ACPI_FADT_SCI, 300, 2);
    seal_table(m.fadt);
    assert_int_equal(parse(), 0);
    assert_int_equal(info.sci.gsi, 300);
    assert_true(info.sci.level && info.sci.active_low);
}

static void reads_every_madt_entry(void **state)
{
    static const u8 entries[] = {
        5,    12, 0, 0,    0,    0,    0xE0, 0xFE, 1,   0, 0, 0,             /* lapic address */
        0,    8,  7, 3,    0,    0,    0,    0,                              /* disabled */
        0,    8,  1, 5,    1,    0,    0,    0,                              /* enabled */
        0,    8,  2, 0xFF, 1,    0,    0,    0,                              /* nobody */
        9,    16, 0, 0,    0x2C, 1,    0,    0,    1,   0, 0, 0, 9, 0, 0, 0, /* x2apic 300 */
        9,    16, 0, 0,    5,    0,    0,    0,    1,   0, 0, 0, 1, 0, 0, 0, /* 5 once more */
        9,    16, 0, 0,    0xFF, 0xFF, 0xFF, 0xFF, 1,   0, 0, 0, 1, 0, 0, 0, /* nobody */
        1,    12, 4, 0,    0,    0x10, 0xC0, 0xFE, 24,  0, 0, 0,             /* io-apic */
        1,    12, 5, 0,    0,    0,    0,    0,    48,  0, 0, 0,             /* at address 0 */
        2,    10, 1, 4,    20,   0,    0,    0,    0xF, 0,                   /* not ISA */
        2,    10, 0, 16,   20,   0,    0,    0,    0xF, 0,                   /* no ISA line */
        2,    10, 0, 7,    3,    0,    0,    0,    0xF, 0,                   /* 7 -> 3 */
        2,    10, 0, 3,    3,    0,    0,    0,    0,   0,                   /* 3 stays too */
        0x7F, 3,  9,                                                         /* unknown */
    };

    make_machine(true);
    set_madt(entries, sizeof(entries));
    assert_int_equal(parse(), 0);
    assert_int_equal(info.lapic_phys, 0x1FEE00000);
    assert_int_equal(info.nr_cpus, 3);
    assert_int_equal(info.cpus[0].apic_id, 5);
    assert_int_equal(info.cpus[1].apic_id, 300);
    assert_true(info.cpus[1].enabled);
    assert_int_equal(info.cpus[2].apic_id, 3);
    assert_false(info.cpus[2].enabled);
    assert_int_equal(info.nr_ioapics, 1);
    assert_int_equal(info.ioapics[0].phys, 0xFEC01000);
    assert_int_equal(info.ioapics[0].id, 4);
    assert_int_equal(info.ioapics[0].gsi_base, 24);
    assert_int_equal(info.isa[4].gsi, 4);
    assert_int_equal(info.isa[7].gsi, 3);
    assert_true(info.isa[7].level && info.isa[7].active_low);
    assert_true(info.isa[3].present);
}

static void keeps_enabled_cpus_when_full(void **state)
{
    static u8 entries[300 * 16];

    make_machine(true);
    for (unsigned i = 0; i < 300; i++) {
        u8 *e = entries + i * 16;

        e[0] = ACPI_MADT_TYPE_X2APIC;
        e[1] = 16;
        e[4] = i & 0xFF;
        e[5] = i >> 8;
        e[8] = i % 3 != 0; /* 200 enabled */
    }
    set_madt(entries, sizeof(entries));
    assert_int_equal(parse(), 0);
    assert_int_equal(info.nr_cpus, ACPI_MAX_CPUS);
    assert_true(info.cpus[199].enabled && !info.cpus[200].enabled);
    assert_int_equal(info.cpus[199].apic_id, 299);
    for (unsigned i = 0; i < 300; i++)
        entries[i * 16 + 8] = 1;
    set_madt(entries, sizeof(entries));
    assert_int_equal(parse(), 0);
    assert_int_equal(info.nr_cpus, ACPI_MAX_CPUS);
}

static void refuses_broken_madt(void **state)
{
    static const u8 zero_len[] = {0, 8, 0, 0, 1, 0, 0, 0, 0x7F, 0};
    static const u8 one_byte[] = {0, 8, 0, 0, 1, 0, 0, 0, 0x7F};
    static const u8 too_long[] = {0, 8, 0, 0, 1, 0, 0, 0, 0x7F, 3};
    static const u8 too_short[] = {0, 8, 0, 0, 1, 0, 0, 0, 1, 11, 0, 0, 0, 0, 0, 0, 0, 0, 0};
    static const u8 no_cpu[] = {0, 8, 0, 0, 0, 0, 0, 0};

    make_machine(true);
    set_madt(zero_len, sizeof(zero_len));
    assert_refused("APIC");
    assert_non_null(strstr(reason, "wrong length"));
    set_madt(one_byte, sizeof(one_byte));
    assert_refused("wrong length");
    set_madt(too_long, sizeof(too_long));
    assert_refused("wrong length");
    set_madt(too_short, sizeof(too_short));
    assert_refused("wrong length");
    set_madt(no_cpu, sizeof(no_cpu));
    assert_refused("no enabled CPU");
    set_madt(no_cpu, 0);
    assert_refused("no enabled CPU");
}

static void set_gas(u32 off, u8 space, u64 addr)
{
    put(m.fadt + off + ACPI_GAS_SPACE, space, 1);
    put(m.fadt + off + ACPI_GAS_ADDRESS, addr, 8);
    seal_table(m.fadt);
}

static void prefers_extended_fadt(void **state)
{
    make_machine(true);
    put(m.fadt + ACPI_FADT_PM1B_CNT, 0x10000, 4);
    put(m.fadt + ACPI_FADT_FLAGS, ACPI_FADT_FLAG_TMR_32BIT | ACPI_FADT_FLAG_RESET_REG, 4);
    set_gas(ACPI_FADT_X_PM1A_CNT, ACPI_SPACE_IO, 0x1804);
    set_gas(ACPI_FADT_X_PM_TMR, ACPI_SPACE_IO, 0);
    set_gas(ACPI_FADT_RESET_REG, ACPI_SPACE_IO, 0x10000); /* no such port */
    assert_int_equal(parse(), 0);
    assert_int_equal(info.pm1a_cnt, 0x1804);
    assert_int_equal(info.pm1b_cnt, 0);
    assert_int_equal(info.pm_tmr, 0x608);
    assert_true(info.pm_tmr_32bit);
    assert_false(info.reset.present);
    put(m.fadt + ACPI_FADT_PM_TMR_LEN, 0, 1);
    set_gas(ACPI_FADT_RESET_REG, ACPI_SPACE_MEMORY, 0x1FED00000);
    assert_int_equal(parse(), 0);
    assert_int_equal(info.pm_tmr, 0);
    assert_true(info.reset.present);
    assert_int_equal(info.reset.addr, 0x1FED00000);
}

static void bounds_ports_and_reset(void **state)
{
    make_machine(true);
    set_gas(ACPI_FADT_X_PM1A_CNT, ACPI_SPACE_IO, 0xFFFF);
    put(m.fadt + ACPI_FADT_PM1B_CNT, 0xFFFF, 4);
    set_gas(ACPI_FADT_RESET_REG, ACPI_SPACE_IO, 0xFFFF);
    assert_int_equal(parse(), 0);
    assert_int_equal(info.pm1a_cnt, 0xFFFF);
    assert_int_equal(info.pm1b_cnt, 0xFFFF);
    assert_true(info.reset.present);
    set_gas(ACPI_FADT_RESET_REG, ACPI_SPACE_IO, 0);
    assert_int_equal(parse(), 0);
    assert_false(info.reset.present);
    put(m.fadt + ACPI_FADT_FLAGS, 0, 4); /* without the reset flag */
    set_gas(ACPI_FADT_RESET_REG, ACPI_SPACE_IO, 0xCF9);
    assert_int_equal(parse(), 0);
    assert_false(info.reset.present);
    /* A table that ends before the reset value, flag or not. */
    put(m.fadt + ACPI_FADT_FLAGS, ACPI_FADT_FLAG_RESET_REG, 4);
    put(m.fadt + ACPI_HDR_LENGTH, ACPI_FADT_RESET_VAL, 4);
    seal_table(m.fadt);
    assert_int_equal(parse(), 0);
    assert_false(info.reset.present);
    put(m.fadt + ACPI_HDR_LENGTH, ACPI_FADT_RESET_VAL + 1, 4);
    seal_table(m.fadt);
    assert_int_equal(parse(), 0);
    assert_true(info.reset.present);
}

static void keeps_to_its_arrays(void **state)
{
    static u8 entries[8 + 20 * 12] = {0, 8, 0, 0, 1, 0, 0, 0};
    static u8 mcfg[ACPI_MCFG_ENTRIES + 8 * 16] = "MCFG";
    u8 *e = entries + 8;

    for (unsigned i = 0; i < 20; i++, e += 12)
        memcpy(e, (u8[12]){1, 12, i, 0, 0, 0, 0xC0, 0xFE, i}, 12);
    make_machine(true);
    set_madt(entries, sizeof(entries));
    mcfg[ACPI_HDR_LENGTH] = sizeof(mcfg);
    for (unsigned i = 0; i < 8; i++)
        memcpy(mcfg + ACPI_MCFG_ENTRIES + i * 16,
               (u8[16]){0, 0, i << 4, 0xE0, 0, 0, 0, 0, 7, 1, i, i}, 16);
    mcfg[ACPI_MCFG_ENTRIES + 16] = 1;     /* not aligned */
    mcfg[ACPI_MCFG_ENTRIES + 32 + 3] = 0; /* odd, but aligned */
    m.mcfg = HIGH_BASE + 0x8000;
    memcpy(at(m.mcfg), mcfg, sizeof(mcfg));
    seal_table(m.mcfg);
    make_lists(true);
    assert_int_equal(parse(), 0);
    assert_int_equal(info.nr_ioapics, ACPI_MAX_IOAPICS);
    assert_int_equal(info.ioapics[15].gsi_base, 15);
    assert_int_equal(info.nr_mcfg, ACPI_MAX_MCFG);
    assert_int_equal(info.mcfg[0].bus_start, 0);
    assert_int_equal(info.mcfg[1].bus_start, 2);
    assert_int_equal(info.mcfg[1].base, 0x00200000);
    assert_int_equal(info.mcfg[1].segment, 0x107);
    assert_int_equal(info.mcfg[3].base, 0xE0400000);
}

static void list_ends_where_it_says(void **state)
{
    make_machine(true);
    put(LIST_AT + ACPI_HDR_LENGTH, ACPI_HDR_LEN + 4 * 8 + 7, 4); /* a part of the last entry */
    seal_table(LIST_AT);
    assert_refused("APIC: the machine has none");
    make_machine(true);
    put(LIST_AT + ACPI_HDR_LENGTH, ACPI_HDR_LEN + 4 * 8, 4);
    seal_table(LIST_AT);
    assert_refused("APIC: the machine has none");
}

static void long_root_is_summed_whole(void **state)
{
    make_machine(true);
    put(RSDP_AT + ACPI_RSDP_LENGTH, 40, 4);
    put(RSDP_AT + 36, 0x55, 1);
    seal(RSDP_AT, ACPI_RSDP_V1_LEN, ACPI_RSDP_CHECKSUM);
    seal(RSDP_AT, 40, ACPI_RSDP_CHECKSUM2);
    assert_int_equal(parse(), 0);
    put(RSDP_AT + 36, 0x56, 1);
    assert_int_equal(parse(), -XEN_ENOENT);
    put(RSDP_AT + ACPI_RSDP_LENGTH, 35, 4);
    seal_rsdp();
    assert_int_equal(parse(), -XEN_ENOENT);
    put(RSDP_AT + ACPI_RSDP_LENGTH, ~0U, 4);
    seal_rsdp();
    assert_int_equal(parse(), -XEN_ENOENT);
}

static void short_fadt_has_no_reset(void **state)
{
    make_machine(false);
    put(m.fadt + ACPI_HDR_LENGTH, ACPI_FADT_V1_LEN, 4);
    seal_table(m.fadt);
    assert_int_equal(parse(), 0);
    assert_false(info.reset.present);
    assert_int_equal(info.pm1a_cnt, 0x604);
    put(m.fadt + ACPI_HDR_LENGTH, ACPI_FADT_V1_LEN - 1, 4);
    seal_table(m.fadt);
    assert_refused("length is out of bounds");
}

static void names_broken_tables(void **state)
{
    make_machine(true);
    *(at(m.madt) + 50) ^= 1;
    assert_refused("APIC at 0xe31fa: its checksum is wrong");
    make_machine(true);
    *(at(LIST_AT) + 20) ^= 1;
    assert_refused("XSDT");
    make_machine(true);
    put(m.fadt + ACPI_HDR_LENGTH, MIB(1) + 1, 4);
    assert_refused("FACP");
    put(m.fadt + ACPI_HDR_LENGTH, MIB(1), 4);
    assert_refused("end is not readable");
    make_machine(true);
    put(LIST_AT + ACPI_HDR_LENGTH, ACPI_HDR_LEN + 257 * 8, 4);
    seal_table(LIST_AT);
    assert_refused("256 tables");
    make_machine(true);
    m.fadt = 0;
    make_lists(true);
    assert_refused("FACP: the machine has none");
    make_machine(true);
    m.madt = HIGH_BASE + HIGH_SIZE - 3;
    make_lists(true);
    assert_refused("APIC: the machine has none");
    make_machine(true);
    put(RSDP_AT + ACPI_RSDP_XSDT, m.madt, 8);
    seal_rsdp();
    assert_refused("another signature");
    put(RSDP_AT + ACPI_RSDP_XSDT, ~0ULL - 3, 8);
    seal_rsdp();
    assert_refused("not readable");
}

static void broken_optional_tables_are_left_out(void **state)
{
    make_machine(true);
    *(at(m.hpet) + 40) ^= 1;
    assert_int_equal(parse(), 0);
    assert_null(reason);
    assert_false(info.hpet.present);
    assert_non_null(strstr(info.why, "HPET"));
    make_machine(true);
    put(m.mcfg + ACPI_MCFG_ENTRIES + 10, 0x00FF, 2); /* from bus 255 to bus 0 */
    seal_table(m.mcfg);
    assert_int_equal(parse(), 0);
    assert_int_equal(info.nr_mcfg, 0);
    assert_non_null(strstr(info.why, "MCFG"));
    make_machine(true);
    put(m.hpet + ACPI_HPET_BASE, ACPI_SPACE_IO, 1);
    seal_table(m.hpet);
    assert_int_equal(parse(), 0);
    assert_false(info.hpet.present);
}

/* ---- SRAT ---- */

static void make_machine_with_srat(const u8 *table, u32 len)
{
    make_machine(true);
    m.srat = add_table(table, len);
    make_lists(true);
}

/* Replace the SRAT's entries. */
static void set_srat(const u8 *entries, u32 len, u8 revision)
{
    make_machine_with_srat(qemu_srat, sizeof(qemu_srat));
    put(m.srat + ACPI_HDR_REVISION, revision, 1);
    put(m.srat + ACPI_HDR_LENGTH, ACPI_SRAT_ENTRIES + len, 4);
    memcpy(at(m.srat) + ACPI_SRAT_ENTRIES, entries, len);
    seal_table(m.srat);
}

static void reads_qemu_srat(void **state)
{
    static const u8 ids[] = {0, 1, 2, 3, 4, 5, 8, 9, 10, 11, 12, 13};

    make_machine_with_srat(qemu_srat, sizeof(qemu_srat));
    assert_int_equal(parse(), 0);
    check_q35();
    assert_int_equal(info.nr_srat, 12);
    for (unsigned i = 0; i < 12; i++) {
        assert_int_equal(info.srat[i].apic_id, ids[i]);
        assert_int_equal(info.srat[i].proximity, i / 6);
    }
    make_machine(true);
    assert_int_equal(parse(), 0);
    assert_int_equal(info.nr_srat, 0);
}

static void reads_every_srat_entry(void **state)
{
    /* clang-format off */
    static const u8 entries[] = {
        0, 16, 0x11, 7, 1, 0, 0, 0, 0xEE, 0x22, 0x33, 0x44, 0, 0, 0, 0,
        0, 16, 0x12, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,             /* disabled */
        0, 16, 0x13, 7, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,             /* 7 once more */
        1, 40, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,     /* memory */
        3, 20, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,    /* not of a PC */
        2, 24, 0xFF, 0xFF, 4, 3, 2, 1, 8, 7, 6, 5, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        2, 24, 0, 0, 4, 3, 2, 1, 9, 7, 6, 5, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, /* disabled */
        0x7F, 2,
    };
    /* clang-format on */

    set_srat(entries, sizeof(entries), 3);
    assert_int_equal(parse(), 0);
    assert_string_equal(info.why, "");
    assert_int_equal(info.nr_srat, 2);
    assert_int_equal(info.srat[0].apic_id, 7);
    assert_int_equal(info.srat[0].proximity, 0x44332211);
    assert_int_equal(info.srat[1].apic_id, 0x05060708);
    assert_int_equal(info.srat[1].proximity, 0x01020304);
    set_srat(entries, sizeof(entries), 1);
    assert_int_equal(parse(), 0);
    assert_int_equal(info.srat[0].proximity, 0x11);
    assert_int_equal(info.srat[1].proximity, 0x01020304);
}

static void srat_of_many_cpus(void **state)
{
    static u8 entries[300 * 24];

    for (unsigned i = 0; i < 300; i++) {
        u8 *e = entries + i * 24;

        e[0] = ACPI_SRAT_TYPE_X2APIC;
        e[1] = ACPI_SRAT_X2APIC_LEN;
        e[4] = i / 100;
        e[8] = i & 0xFF;
        e[9] = i >> 8;
        e[12] = 1;
    }
    set_srat(entries, sizeof(entries), 3);
    assert_int_equal(parse(), 0);
    assert_int_equal(info.nr_srat, ACPI_MAX_CPUS);
    assert_int_equal(info.srat[255].apic_id, 255);
    assert_int_equal(info.srat[255].proximity, 2);
}

static void assert_srat_left_out(const char *why)
{
    assert_int_equal(parse(), 0);
    assert_null(reason);
    assert_int_equal(info.nr_srat, 0);
    assert_int_equal(info.nr_cpus, 4);
    assert_non_null(strstr(info.why, "SRAT"));
    assert_non_null(strstr(info.why, why));
}

static void broken_srat_is_left_out(void **state)
{
    static const u8 good[] = {0, 16, 0, 7, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
    static const u8 lens[][2] = {{0, 15}, {0, 17}, {2, 23}, {2, 16}, {1, 1}, {9, 0}, {9, 255}};
    u8 entries[32] = {0};

    make_machine_with_srat(qemu_srat, sizeof(qemu_srat));
    *(at(m.srat) + 60) ^= 1;
    assert_srat_left_out("checksum");
    set_srat(good, 0, 3);
    put(m.srat + ACPI_HDR_LENGTH, ACPI_SRAT_ENTRIES - 1, 4);
    assert_srat_left_out("length is out of bounds");
    set_srat(good, 0, 3);
    assert_int_equal(parse(), 0);
    assert_string_equal(info.why, "");
    /* A good entry and one whose length is too small for its type or too large for the table. */
    memcpy(entries, good, sizeof(good));
    for (unsigned i = 0; i < ARRAY_SIZE(lens); i++) {
        memcpy(entries + 16, lens[i], 2);
        set_srat(entries, sizeof(entries), 3);
        assert_srat_left_out("wrong length");
    }
    memcpy(entries + 16, lens[0], 2);
    set_srat(entries, 16 + 15, 3);
    assert_srat_left_out("wrong length");
    set_srat(good, sizeof(good) - 1, 3);
    assert_srat_left_out("wrong length");
    set_srat(good, 1, 3); /* no length at all */
    assert_srat_left_out("wrong length");
}

static void finds_root_in_ebda(void **state)
{
    make_machine(false);
    memcpy(m.low + 0x1010, at(RSDP_AT), ACPI_RSDP_V1_LEN);
    memset(at(RSDP_AT), 0, ACPI_RSDP_V2_LEN);
    assert_int_equal(parse(), -XEN_ENOENT);
    assert_non_null(strstr(reason, "root pointer"));
    memcpy(m.low + ACPI_EBDA_SEGMENT, "\x00\x01", 2);
    assert_int_equal(parse(), 0);
    assert_int_equal(info.rsdp, 0x1010);
    check_q35();
}

static void skips_false_roots(void **state)
{
    make_machine(true);
    /* A signature with a wrong sum in front of the real one. */
    memcpy(at(HIGH_BASE + 0x100), ACPI_RSDP_SIGNATURE, 8);
    assert_int_equal(parse(), 0);
    assert_int_equal(info.rsdp, RSDP_AT);
    *(at(RSDP_AT) + ACPI_RSDP_XSDT) ^= 1; /* the second sum */
    assert_int_equal(parse(), -XEN_ENOENT);
}

static void takes_given_root(void **state)
{
    u8 copy[ACPI_RSDP_V2_LEN];

    make_machine(true);
    assert_int_equal(acpi_parse(&reader, RSDP_AT, NULL, 0, &info, &reason), 0);
    check_q35();
    memcpy(copy, at(RSDP_AT), sizeof(copy));
    memset(at(RSDP_AT), 0, sizeof(copy));
    assert_int_equal(acpi_parse(&reader, RSDP_AT, NULL, 0, &info, &reason), -XEN_EINVAL);
    assert_int_equal(acpi_parse(&reader, 0, copy, sizeof(copy), &info, &reason), 0);
    check_q35();
    assert_int_equal(acpi_parse(&reader, 0, copy, sizeof(copy) - 1, &info, &reason),
                     -XEN_EINVAL);
    assert_int_equal(acpi_parse(&reader, 0, copy, 1, &info, &reason), -XEN_EINVAL);
}

static void finds_root_in_efi_tables(void **state)
{
    static const u8 acpi10[16] = {0x30, 0x2d, 0x9d, 0xeb, 0x88, 0x2d, 0xd3, 0x11,
                                  0x9a, 0x16, 0x00, 0x90, 0x27, 0x3f, 0xc1, 0x4d};
    static const u8 acpi20[16] = {0x71, 0xe8, 0x68, 0x88, 0xf1, 0xe4, 0xd3, 0x11,
                                  0xbc, 0x22, 0x00, 0x80, 0xc7, 0x3c, 0x88, 0x81};
    u64 st = HIGH_BASE, ct = HIGH_BASE + 0x200;

    memset(&m, 0, sizeof(m));
    memcpy(at(st), "IBI SYST", 8);
    put(st + EFI_SYSTEM_NR_TABLES, 3, 8);
    put(st + EFI_SYSTEM_TABLES, ct, 8);
    memcpy(at(ct + 24), acpi10, 16);
    put(ct + 24 + 16, 0x1111, 8);
    assert_int_equal(acpi_rsdp_from_efi(&reader, st), 0x1111);
    memcpy(at(ct + 48), acpi20, 16);
    put(ct + 48 + 16, 0x2222, 8);
    assert_int_equal(acpi_rsdp_from_efi(&reader, st), 0x2222);
    put(st + EFI_SYSTEM_NR_TABLES, ~0ULL, 8);
    put(st + EFI_SYSTEM_TABLES, ~0ULL - 8, 8);
    assert_int_equal(acpi_rsdp_from_efi(&reader, st), 0);
    assert_int_equal(acpi_rsdp_from_efi(&reader, st + 8), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_q35),
        cmocka_unit_test(applies_q35_overrides),
        cmocka_unit_test(sci_defaults_to_level_low),
        cmocka_unit_test(reads_every_madt_entry),
        cmocka_unit_test(keeps_enabled_cpus_when_full),
        cmocka_unit_test(refuses_broken_madt),
        cmocka_unit_test(prefers_extended_fadt),
        cmocka_unit_test(bounds_ports_and_reset),
        cmocka_unit_test(keeps_to_its_arrays),
        cmocka_unit_test(list_ends_where_it_says),
        cmocka_unit_test(long_root_is_summed_whole),
        cmocka_unit_test(short_fadt_has_no_reset),
        cmocka_unit_test(names_broken_tables),
        cmocka_unit_test(broken_optional_tables_are_left_out),
        cmocka_unit_test(reads_qemu_srat),
        cmocka_unit_test(reads_every_srat_entry),
        cmocka_unit_test(srat_of_many_cpus),
        cmocka_unit_test(broken_srat_is_left_out),
        cmocka_unit_test(finds_root_in_ebda),
        cmocka_unit_test(skips_false_roots),
        cmocka_unit_test(takes_given_root),
        cmocka_unit_test(finds_root_in_efi_tables),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
