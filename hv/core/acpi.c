#include "core/acpi.h"
#include "abi/acpi.h"
#include "base/format.h"
#include "base/string.h"

#define MAX_TABLES     256
#define MAX_TABLE_SIZE MIB(1)

/* The bytes of one table after its checks. Reads past its end give zero. */
struct table {
    const u8 *data;
    u32 len;
};

/* Where the wanted tables lie; 0: absent. */
struct found {
    u64 madt, fadt, hpet, mcfg, srat;
};

static bool sums_to_zero(const u8 *p, u64 len)
{
    u8 sum = 0;

    while (len--)
        sum += *p++;
    return sum == 0;
}

static u64 field(const struct table *t, u32 off, u32 size)
{
    u64 v = 0;

    if (range_ok(off, size, t->len))
        memcpy(&v, t->data + off, size);
    return v;
}

static u8 field8(const struct table *t, u32 off)
{
    return field(t, off, 1);
}

static u16 field16(const struct table *t, u32 off)
{
    return field(t, off, 2);
}

static u32 field32(const struct table *t, u32 off)
{
    return field(t, off, 4);
}

static u64 field64(const struct table *t, u32 off)
{
    return field(t, off, 8);
}

/* Write "NAME at 0x...: what" into out->why. */
static int refuse(struct acpi_info *out, const char *name, u64 phys, const char *what)
{
    if (phys)
        format(out->why, sizeof(out->why), "%s at %#llx: %s", name, (unsigned long long)phys,
               what);
    else
        format(out->why, sizeof(out->why), "%s: %s", name, what);
    return -XEN_EINVAL;
}

/* A table's signature, as 4 bytes; 0 when unreadable. */
static u32 table_signature(const struct phys_reader *r, u64 phys)
{
    const u8 *p = phys ? phys_map(r, phys, sizeof(u32)) : NULL;

    return p ? get_le32(p) : 0;
}

/* Map a whole table and verify its length and sum. 'min' is the length its fields need. */
static int open_table(const struct phys_reader *r, u64 phys, const char *name, u32 min,
                      struct table *t, struct acpi_info *out)
{
    const u8 *head = phys_map(r, phys, ACPI_HDR_LEN);

    if (!head)
        return refuse(out, name, phys, "not readable");
    if (memcmp(head + ACPI_HDR_SIGNATURE, name, 4) != 0)
        return refuse(out, name, phys, "another signature stands there");
    t->len = get_le32(head + ACPI_HDR_LENGTH);
    if (t->len < min || t->len > MAX_TABLE_SIZE)
        return refuse(out, name, phys, "its length is out of bounds");
    t->data = phys_map(r, phys, t->len);
    if (!t->data)
        return refuse(out, name, phys, "its end is not readable");
    if (!sums_to_zero(t->data, t->len))
        return refuse(out, name, phys, "its checksum is wrong");
    return 0;
}

/* Root pointer. */

struct root {
    u64 phys;
    u64 rsdt;
    u64 xsdt;
};

/* Is there a root pointer in these bytes? 'len' says how many there are, at least 20. */
static bool read_root(const u8 *p, u64 len, struct root *root)
{
    if (len < ACPI_RSDP_V1_LEN || memcmp(p, ACPI_RSDP_SIGNATURE, 8) != 0 ||
        !sums_to_zero(p, ACPI_RSDP_V1_LEN))
        return false;
    root->rsdt = get_le32(p + ACPI_RSDP_RSDT);
    root->xsdt = 0;
    if (p[ACPI_RSDP_REVISION] < 2)
        return true;
    if (len < ACPI_RSDP_V2_LEN || get_le32(p + ACPI_RSDP_LENGTH) < ACPI_RSDP_V2_LEN ||
        get_le32(p + ACPI_RSDP_LENGTH) > len ||
        !sums_to_zero(p, get_le32(p + ACPI_RSDP_LENGTH)))
        return false;
    root->xsdt = get_le64(p + ACPI_RSDP_XSDT);
    return true;
}

/* The same in physical memory, where a revision 2 pointer tells its own length. */
static bool read_root_at(const struct phys_reader *r, u64 phys, struct root *root)
{
    const u8 *p = phys_map(r, phys, ACPI_RSDP_V1_LEN);
    u64 len = ACPI_RSDP_V1_LEN;

    if (!p || memcmp(p, ACPI_RSDP_SIGNATURE, 8) != 0)
        return false;
    if (p[ACPI_RSDP_REVISION] >= 2) {
        p = phys_map(r, phys, ACPI_RSDP_V2_LEN);
        if (!p)
            return false;
        len = MIN(MAX(get_le32(p + ACPI_RSDP_LENGTH), ACPI_RSDP_V2_LEN), PAGE_SIZE);
        p = phys_map(r, phys, len);
    }
    root->phys = phys;
    return p && read_root(p, len, root);
}

static bool scan_root(const struct phys_reader *r, u64 start, u64 end, struct root *root)
{
    for (u64 phys = ROUND_UP(start, 16UL); phys < end; phys += 16) {
        if (read_root_at(r, phys, root))
            return true;
    }
    return false;
}

static bool search_root(const struct phys_reader *r, struct root *root)
{
    const u8 *p = phys_map(r, ACPI_EBDA_SEGMENT, sizeof(u16));
    u64 ebda = p ? (u64)get_le16(p) << 4 : 0;

    if (ebda >= PAGE_SIZE && scan_root(r, ebda, ebda + ACPI_EBDA_SEARCH, root))
        return true;
    return scan_root(r, ACPI_BIOS_START, ACPI_BIOS_END, root);
}

/* The list of tables. */

static void note_table(struct found *f, u32 signature, u64 phys)
{
    static const char names[5][4] = {"APIC", "FACP", "HPET", "MCFG", "SRAT"};
    u64 *slots[5] = {&f->madt, &f->fadt, &f->hpet, &f->mcfg, &f->srat};

    for (unsigned i = 0; i < ARRAY_SIZE(names); i++) {
        if (memcmp(&signature, names[i], sizeof(signature)) == 0 && !*slots[i])
            *slots[i] = phys;
    }
}

static int find_tables(const struct phys_reader *r, const struct root *root, struct found *f,
                       struct acpi_info *out)
{
    const char *name = root->xsdt ? "XSDT" : "RSDT";
    u64 phys = root->xsdt ? root->xsdt : root->rsdt;
    u32 entry = root->xsdt ? sizeof(u64) : sizeof(u32);
    struct table list;
    int rc = open_table(r, phys, name, ACPI_HDR_LEN, &list, out);
    u32 nr;

    if (rc < 0)
        return rc;
    nr = (list.len - ACPI_HDR_LEN) / entry;
    if (nr > MAX_TABLES)
        return refuse(out, name, phys, "it lists more than 256 tables");
    for (u32 i = 0; i < nr; i++) {
        u64 table = 0;
        /* Mapped again each time: looking at a table may have moved the window. */
        const u8 *p = phys_map(r, phys + ACPI_HDR_LEN + i * entry, entry);

        if (!p)
            return refuse(out, name, phys, "not readable");
        memcpy(&table, p, entry);
        note_table(f, table_signature(r, table), table);
    }
    return 0;
}

/* Tables that are lists of {u8 type, u8 length, ...}. */

/*
 * The entry at *off and past it. False at the end, or (*broken) when it has a wrong length:
 * min_len says what an entry of its type must have at least, its two-byte head included.
 */
static bool next_entry(const struct table *t, u32 *off, struct table *e, u8 (*min_len)(u8 type),
                       bool *broken)
{
    if (*off >= t->len)
        return false;
    e->data = t->data + *off;
    e->len = field8(t, *off + 1);
    *broken = e->len < min_len(e->data[0]) || !range_ok(*off, e->len, t->len);
    *off += e->len;
    return !*broken;
}

/* MADT. */

static void irq_flags(u16 flags, bool *level, bool *active_low)
{
    *level = ACPI_TRIGGER(flags) == ACPI_TRIGGER_LEVEL;
    *active_low = ACPI_POLARITY(flags) == ACPI_POLARITY_LOW;
}

static void add_cpu(struct acpi_info *out, u32 apic_id, bool enabled)
{
    for (unsigned i = 0; i < out->nr_cpus; i++) {
        if (out->cpus[i].apic_id == apic_id)
            return;
    }
    if (out->nr_cpus < ACPI_MAX_CPUS)
        out->cpus[out->nr_cpus++] = (struct acpi_cpu){apic_id, enabled};
}

/* CPUs are taken in two passes, so that the enabled ones come first and find room. */
static void take_cpu(struct acpi_info *out, const struct table *e, bool enabled)
{
    bool x2 = field8(e, 0) == ACPI_MADT_TYPE_X2APIC;
    u32 flags = field32(e, x2 ? 8 : 4);
    u32 apic_id = x2 ? field32(e, 4) : field8(e, 3);

    /* All ones is nobody's id: firmware fills unused entries with it. */
    if (apic_id == (x2 ? ~0U : 0xFFU) || !(flags & ACPI_MADT_CPU_ENABLED) == enabled)
        return;
    add_cpu(out, apic_id, enabled);
}

static void take_override(struct acpi_info *out, const struct table *e, bool *overridden)
{
    u8 source = field8(e, 3);
    struct acpi_isa_irq *irq = &out->isa[source & 15];

    if (field8(e, 2) != 0 || source >= ARRAY_SIZE(out->isa))
        return;
    irq->present = true;
    irq->gsi = field32(e, 4);
    irq_flags(field16(e, 8), &irq->level, &irq->active_low);
    overridden[source] = true;
    if (source == out->sci_irq) {
        /* The SCI's own default is level and low, for each half that is left open. */
        irq->level |= ACPI_TRIGGER(field16(e, 8)) == 0;
        irq->active_low |= ACPI_POLARITY(field16(e, 8)) == 0;
    }
}

static void take_ioapic(struct acpi_info *out, const struct table *e)
{
    struct acpi_ioapic io = {
        .phys = field32(e, 4), .id = field8(e, 2), .gsi_base = field32(e, 8)};

    if (io.phys && out->nr_ioapics < ACPI_MAX_IOAPICS)
        out->ioapics[out->nr_ioapics++] = io;
}

static void take_madt_entry(struct acpi_info *out, const struct table *e, bool *overridden)
{
    switch (field8(e, 0)) {
    case ACPI_MADT_TYPE_LAPIC:
    case ACPI_MADT_TYPE_X2APIC:
        take_cpu(out, e, true);
        break;
    case ACPI_MADT_TYPE_IOAPIC:
        take_ioapic(out, e);
        break;
    case ACPI_MADT_TYPE_OVERRIDE:
        take_override(out, e, overridden);
        break;
    case ACPI_MADT_TYPE_LAPIC_ADDR:
        out->lapic_phys = field64(e, 4);
        break;
    default:
        break;
    }
}

static u8 madt_entry_len(u8 type)
{
    switch (type) {
    case ACPI_MADT_TYPE_LAPIC:
        return 8;
    case ACPI_MADT_TYPE_IOAPIC:
    case ACPI_MADT_TYPE_LAPIC_ADDR:
        return 12;
    case ACPI_MADT_TYPE_OVERRIDE:
        return 10;
    case ACPI_MADT_TYPE_X2APIC:
        return 16;
    default:
        return 2;
    }
}

static void default_irqs(struct acpi_info *out)
{
    for (unsigned i = 0; i < ARRAY_SIZE(out->isa); i++)
        out->isa[i] = (struct acpi_isa_irq){.present = true, .gsi = i};
    out->sci = (struct acpi_isa_irq){
        .present = true, .gsi = out->sci_irq, .level = true, .active_low = true};
    if (out->sci_irq < ARRAY_SIZE(out->isa))
        out->isa[out->sci_irq] = out->sci;
}

/* A line that nobody overrode loses its identity GSI to one that was sent there. */
static void settle_irqs(struct acpi_info *out, const bool *overridden)
{
    for (unsigned i = 0; i < ARRAY_SIZE(out->isa); i++) {
        u32 gsi = out->isa[i].gsi;

        if (overridden[i] && gsi < ARRAY_SIZE(out->isa) && !overridden[gsi])
            out->isa[gsi].present = false;
    }
    if (out->sci_irq < ARRAY_SIZE(out->isa) && overridden[out->sci_irq])
        out->sci = out->isa[out->sci_irq];
}

static int parse_madt(const struct phys_reader *r, u64 phys, struct acpi_info *out)
{
    bool overridden[16] = {false};
    bool broken = false;
    struct table t, e;
    int rc = open_table(r, phys, "APIC", ACPI_MADT_ENTRIES, &t, out);

    if (rc < 0)
        return rc;
    default_irqs(out);
    out->lapic_phys = field32(&t, ACPI_MADT_LAPIC);
    for (u32 off = ACPI_MADT_ENTRIES; next_entry(&t, &off, &e, madt_entry_len, &broken);)
        take_madt_entry(out, &e, overridden);
    if (broken)
        return refuse(out, "APIC", phys, "an entry has a wrong length");
    for (u32 off = ACPI_MADT_ENTRIES; next_entry(&t, &off, &e, madt_entry_len, &broken);) {
        if (e.data[0] == ACPI_MADT_TYPE_LAPIC || e.data[0] == ACPI_MADT_TYPE_X2APIC)
            take_cpu(out, &e, false);
    }
    settle_irqs(out, overridden);
    if (!out->nr_cpus || !out->cpus[0].enabled)
        return refuse(out, "APIC", phys, "it lists no enabled CPU");
    return 0;
}

/* FADT. */

/* An I/O port: the 64-bit form where it is one, else the old field. */
static u32 port_field(const struct table *t, u32 old, u32 extended)
{
    u64 addr = field64(t, extended + ACPI_GAS_ADDRESS);

    if (range_ok(extended, ACPI_GAS_LEN, t->len) && addr && addr <= 0xFFFF &&
        field8(t, extended + ACPI_GAS_SPACE) == ACPI_SPACE_IO)
        return addr;
    return field32(t, old) <= 0xFFFF ? field32(t, old) : 0;
}

static void take_reset(const struct table *t, struct acpi_info *out)
{
    out->reset.space = field8(t, ACPI_FADT_RESET_REG + ACPI_GAS_SPACE);
    out->reset.addr = field64(t, ACPI_FADT_RESET_REG + ACPI_GAS_ADDRESS);
    out->reset.value = field8(t, ACPI_FADT_RESET_VAL);
    out->reset.present = (field32(t, ACPI_FADT_FLAGS) & ACPI_FADT_FLAG_RESET_REG) &&
                         range_ok(ACPI_FADT_RESET_VAL, 1, t->len) && out->reset.addr;
    if (out->reset.space == ACPI_SPACE_IO && out->reset.addr > 0xFFFF)
        out->reset.present = false;
}

static int parse_fadt(const struct phys_reader *r, u64 phys, struct acpi_info *out)
{
    struct table t;
    int rc = open_table(r, phys, "FACP", ACPI_FADT_V1_LEN, &t, out);

    if (rc < 0)
        return rc;
    out->sci_irq = field16(&t, ACPI_FADT_SCI);
    out->pm1a_cnt = port_field(&t, ACPI_FADT_PM1A_CNT, ACPI_FADT_X_PM1A_CNT);
    out->pm1b_cnt = port_field(&t, ACPI_FADT_PM1B_CNT, ACPI_FADT_X_PM1B_CNT);
    if (field8(&t, ACPI_FADT_PM_TMR_LEN) == 4)
        out->pm_tmr = port_field(&t, ACPI_FADT_PM_TMR, ACPI_FADT_X_PM_TMR);
    out->pm_tmr_32bit = field32(&t, ACPI_FADT_FLAGS) & ACPI_FADT_FLAG_TMR_32BIT;
    take_reset(&t, out);
    return 0;
}

/* Optional tables: what is wrong with them is told and they count as absent. */

static void parse_hpet(const struct phys_reader *r, u64 phys, struct acpi_info *out)
{
    struct table t;

    if (open_table(r, phys, "HPET", ACPI_HPET_LEN, &t, out) < 0)
        return;
    out->hpet.phys = field64(&t, ACPI_HPET_BASE + ACPI_GAS_ADDRESS);
    out->hpet.present =
        field8(&t, ACPI_HPET_BASE + ACPI_GAS_SPACE) == ACPI_SPACE_MEMORY && out->hpet.phys;
    if (!out->hpet.present)
        (void)refuse(out, "HPET", phys, "its registers are not in memory");
}

static void parse_mcfg(const struct phys_reader *r, u64 phys, struct acpi_info *out)
{
    struct table t;

    if (open_table(r, phys, "MCFG", ACPI_MCFG_ENTRIES, &t, out) < 0)
        return;
    for (u32 off = ACPI_MCFG_ENTRIES; range_ok(off, ACPI_MCFG_ENTRY_LEN, t.len);
         off += ACPI_MCFG_ENTRY_LEN) {
        struct acpi_mcfg m = {.base = field64(&t, off),
                              .segment = field16(&t, off + 8),
                              .bus_start = field8(&t, off + 10),
                              .bus_end = field8(&t, off + 11)};

        if (!m.base || m.base % MIB(1) || m.bus_end < m.bus_start || m.base > ~0ULL - MIB(256))
            (void)refuse(out, "MCFG", phys, "an entry is implausible and was left out");
        else if (out->nr_mcfg < ACPI_MAX_MCFG)
            out->mcfg[out->nr_mcfg++] = m;
    }
}

/* The highest three bytes of a node came with a later revision, and before could be anything. */
static u32 srat_lapic_node(const struct table *e, u8 revision)
{
    u32 node = field8(e, 2);

    if (revision >= ACPI_SRAT_WIDE_NODES)
        node |= field32(e, 8) & ~0xFFU;
    return node;
}

static void take_srat_entry(struct acpi_info *out, const struct table *e, u8 revision)
{
    bool x2 = field8(e, 0) == ACPI_SRAT_TYPE_X2APIC;
    struct topology_srat cpu = {.apic_id = x2 ? field32(e, 8) : field8(e, 3),
                                .proximity = x2 ? field32(e, 4) : srat_lapic_node(e, revision)};

    if (!x2 && field8(e, 0) != ACPI_SRAT_TYPE_LAPIC)
        return;
    if (!(field32(e, x2 ? 12 : 4) & ACPI_SRAT_CPU_ENABLED) || out->nr_srat == ACPI_MAX_CPUS)
        return;
    for (unsigned i = 0; i < out->nr_srat; i++) {
        if (out->srat[i].apic_id == cpu.apic_id)
            return;
    }
    out->srat[out->nr_srat++] = cpu;
}

static u8 srat_entry_len(u8 type)
{
    switch (type) {
    case ACPI_SRAT_TYPE_LAPIC:
        return ACPI_SRAT_LAPIC_LEN;
    case ACPI_SRAT_TYPE_X2APIC:
        return ACPI_SRAT_X2APIC_LEN;
    default:
        return 2;
    }
}

static void parse_srat(const struct phys_reader *r, u64 phys, struct acpi_info *out)
{
    bool broken = false;
    struct table t, e;

    if (open_table(r, phys, "SRAT", ACPI_SRAT_ENTRIES, &t, out) < 0)
        return;
    for (u32 off = ACPI_SRAT_ENTRIES; next_entry(&t, &off, &e, srat_entry_len, &broken);)
        take_srat_entry(out, &e, field8(&t, ACPI_HDR_REVISION));
    if (broken) {
        /* Half of it would put CPUs on the wrong node. */
        out->nr_srat = 0;
        (void)refuse(out, "SRAT", phys, "an entry has a wrong length");
    }
}

static int find_root(const struct phys_reader *r, u64 phys, const u8 *copy, unsigned copy_len,
                     struct root *root)
{
    if (copy_len)
        return read_root(copy, copy_len, root) ? 0 : -XEN_EINVAL;
    if (phys)
        return read_root_at(r, phys, root) ? 0 : -XEN_EINVAL;
    return search_root(r, root) ? 0 : -XEN_ENOENT;
}

static int parse_tables(const struct phys_reader *r, const struct root *root,
                        struct acpi_info *out)
{
    struct found f = {0};
    int rc = find_tables(r, root, &f, out);

    if (rc < 0)
        return rc;
    if (!f.fadt)
        return refuse(out, "FACP", 0, "the machine has none");
    if (!f.madt)
        return refuse(out, "APIC", 0, "the machine has none");
    /* The FADT first: it says which interrupt is the SCI. */
    rc = parse_fadt(r, f.fadt, out);
    if (rc == 0)
        rc = parse_madt(r, f.madt, out);
    if (rc < 0)
        return rc;
    if (f.hpet)
        parse_hpet(r, f.hpet, out);
    if (f.mcfg)
        parse_mcfg(r, f.mcfg, out);
    if (f.srat)
        parse_srat(r, f.srat, out);
    return 0;
}

int acpi_parse(const struct phys_reader *r, u64 rsdp_phys, const u8 *rsdp_copy,
               unsigned rsdp_copy_len, struct acpi_info *out, const char **reason)
{
    struct root root = {0};
    int rc;

    memset(out, 0, sizeof(*out));
    *reason = NULL;
    rc = find_root(r, rsdp_phys, rsdp_copy, rsdp_copy_len, &root);
    if (rc < 0) {
        *reason = rc == -XEN_ENOENT ? "no ACPI root pointer found"
                                    : "the ACPI root pointer is broken";
        return rc;
    }
    out->rsdp = root.phys;
    rc = parse_tables(r, &root, out);
    if (rc < 0)
        *reason = out->why;
    return rc;
}

/* ACPI 2.0 and 1.0 in a UEFI configuration table, as the 16 bytes stand in memory. */
static const u8 guid_acpi20[16] = {0x71, 0xe8, 0x68, 0x88, 0xf1, 0xe4, 0xd3, 0x11,
                                   0xbc, 0x22, 0x00, 0x80, 0xc7, 0x3c, 0x88, 0x81};
static const u8 guid_acpi10[16] = {0x30, 0x2d, 0x9d, 0xeb, 0x88, 0x2d, 0xd3, 0x11,
                                   0x9a, 0x16, 0x00, 0x90, 0x27, 0x3f, 0xc1, 0x4d};

u64 acpi_rsdp_from_efi(const struct phys_reader *r, u64 system_table)
{
    const u8 *p = phys_map(r, system_table, EFI_SYSTEM_LEN);
    u64 nr, tables, old = 0;

    if (!p || get_le64(p) != EFI_SYSTEM_SIGNATURE)
        return 0;
    nr = MIN(get_le64(p + EFI_SYSTEM_NR_TABLES), MAX_TABLES);
    tables = get_le64(p + EFI_SYSTEM_TABLES);
    for (u64 i = 0; i < nr; i++) {
        p = phys_map(r, tables + i * EFI_CONFIG_TABLE_LEN, EFI_CONFIG_TABLE_LEN);
        if (!p)
            break;
        if (memcmp(p, guid_acpi20, sizeof(guid_acpi20)) == 0)
            return get_le64(p + 16);
        if (memcmp(p, guid_acpi10, sizeof(guid_acpi10)) == 0)
            old = get_le64(p + 16);
    }
    return old;
}
