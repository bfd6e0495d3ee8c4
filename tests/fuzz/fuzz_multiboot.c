/*
 * The first byte chooses the version, the rest is memory with the information at its start.
 * What comes out must satisfy multiboot.h, and its regions must survive e820_sanitise().
 */
#include "core/multiboot.h"
#include "fuzz/fuzz.h"

static void check_string(const char *s, size_t size)
{
    const char *end = memchr(s, '\0', size);

    FUZZ_CHECK(end);
    for (; s < end; s++)
        FUZZ_CHECK((u8)*s >= ' ' && *s != 0x7F);
}

static void check_info(struct boot_info *b)
{
    int rc;

    check_string(b->cmdline, sizeof(b->cmdline));
    check_string(b->loader, sizeof(b->loader));
    check_string(multiboot_args(b, b->cmdline), sizeof(b->cmdline));
    FUZZ_CHECK(b->nr_modules <= BOOT_MAX_MODULES && b->nr_regions <= BOOT_MAX_REGIONS);
    FUZZ_CHECK(b->rsdp_len <= sizeof(b->rsdp_copy));
    for (unsigned i = 0; i < b->nr_modules; i++) {
        FUZZ_CHECK(b->modules[i].start <= b->modules[i].end);
        check_string(b->modules[i].string, sizeof(b->modules[i].string));
    }
    for (unsigned i = 0; i < b->nr_regions; i++)
        FUZZ_CHECK(b->regions[i].base + b->regions[i].size >= b->regions[i].base);
    rc = e820_sanitise(b->regions, &b->nr_regions, BOOT_MAX_REGIONS);
    FUZZ_CHECK(rc == 0 || rc == -XEN_E2BIG);
    FUZZ_CHECK(e820_check(b->regions, b->nr_regions) == 0);
    FUZZ_CHECK(e820_ram_top(b->regions, b->nr_regions) <= E820_LIMIT);
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
    static struct boot_info b;
    struct fuzz_memory m = {.base = 0x10000};
    struct phys_reader r = {fuzz_map, &m};
    const char *reason = NULL;
    int rc;

    if (!size)
        return 0;
    m.data = data + 1;
    m.size = size - 1;
    rc = (data[0] & 1) ? multiboot2_parse(&r, m.base, &b, &reason)
                       : multiboot1_parse(&r, m.base, &b, &reason);
    if (rc == 0)
        check_info(&b);
    FUZZ_CHECK((rc == 0) == (reason == NULL));
    fuzz_unmap(&m);
    return 0;
}
