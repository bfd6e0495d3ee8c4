/*
 * The first byte chooses how the root pointer is given, the rest is the BIOS area's memory.
 * Unless bit 7 is set every checksum is put right on the way, or hardly an input would get
 * past the first table. The search for the root pointer is left to the unit test: thousands of
 * reads each time, and all it does is what is done here once.
 */
#include "abi/acpi.h"
#include "core/acpi.h"
#include "fuzz/fuzz.h"

#define GIVE_COPY 1
#define EFI       4
#define KEEP_SUMS 0x80

static void seal(u8 *p, u64 len, u32 at)
{
    u8 sum = 0;

    p[at] = 0;
    for (u64 i = 0; i < len; i++)
        sum += p[i];
    p[at] = -sum;
}

static void seal_any(u8 *p, u64 len)
{
    if (len >= ACPI_RSDP_V1_LEN && memcmp(p, ACPI_RSDP_SIGNATURE, 8) == 0) {
        seal(p, ACPI_RSDP_V1_LEN, ACPI_RSDP_CHECKSUM);
        if (len >= ACPI_RSDP_V2_LEN)
            seal(p, len, ACPI_RSDP_CHECKSUM2);
    } else if (len >= ACPI_HDR_LEN) {
        seal(p, len, ACPI_HDR_CHECKSUM);
    }
}

static const void *map_sealed(void *arg, u64 phys, u64 len)
{
    struct fuzz_memory *m = arg;

    fuzz_map(m, phys, len);
    if (m->copy)
        seal_any(m->copy, len);
    return m->copy;
}

static void check_info(const struct acpi_info *info)
{
    FUZZ_CHECK(info->nr_cpus >= 1 && info->nr_cpus <= ACPI_MAX_CPUS && info->cpus[0].enabled);
    for (unsigned i = 0; i < info->nr_cpus; i++) {
        for (unsigned k = 0; k < i; k++)
            FUZZ_CHECK(info->cpus[i].apic_id != info->cpus[k].apic_id);
        FUZZ_CHECK(i == 0 || info->cpus[i].enabled <= info->cpus[i - 1].enabled);
    }
    FUZZ_CHECK(info->nr_ioapics <= ACPI_MAX_IOAPICS && info->nr_mcfg <= ACPI_MAX_MCFG);
    FUZZ_CHECK(info->nr_srat <= ACPI_MAX_CPUS);
    for (unsigned i = 0; i < info->nr_srat; i++)
        for (unsigned k = 0; k < i; k++)
            FUZZ_CHECK(info->srat[i].apic_id != info->srat[k].apic_id);
    FUZZ_CHECK(info->pm1a_cnt <= 0xFFFF && info->pm1b_cnt <= 0xFFFF && info->pm_tmr <= 0xFFFF);
    FUZZ_CHECK(memchr(info->why, '\0', sizeof(info->why)));
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
    static struct acpi_info info;
    struct fuzz_memory m = {.base = ACPI_BIOS_START};
    struct phys_reader r = {map_sealed, &m};
    const char *reason = NULL;
    u8 rsdp[ACPI_RSDP_V2_LEN] = {0};
    unsigned rsdp_len = 0;
    u64 rsdp_phys;
    int rc;

    if (!size)
        return 0;
    m.data = data + 1;
    m.size = MIN(size - 1, 0x20000);
    if (data[0] & KEEP_SUMS)
        r.map = fuzz_map;
    rsdp_phys = data[0] & EFI ? acpi_rsdp_from_efi(&r, m.base) : m.base;
    if (!rsdp_phys)
        goto out;
    if (data[0] & GIVE_COPY) {
        rsdp_len = MIN(m.size, sizeof(rsdp));
        memcpy(rsdp, m.data, rsdp_len);
        seal_any(rsdp, rsdp_len);
    }
    rc = acpi_parse(&r, rsdp_phys, rsdp, rsdp_len, &info, &reason);
    if (rc == 0)
        check_info(&info);
    FUZZ_CHECK((rc == 0) == (reason == NULL));
out:
    fuzz_unmap(&m);
    return 0;
}
