/* Any bytes as a guest kernel: what elf.h promises about segments and notes holds. */
#include "base/elf.h"
#include "fuzz/fuzz.h"

static volatile u8 sink;

static void check_segments(const struct elf_image *e, const u8 *data, size_t size)
{
    struct elf_segment s[ELF_MAX_SEGMENTS];
    unsigned nr = elf_segment_count(e);
    u64 start, end;

    FUZZ_CHECK(nr >= 1 && nr <= ELF_MAX_SEGMENTS);
    FUZZ_CHECK(elf_extent(e, &start, &end) == 0 && start < end &&
               end - start <= ELF_MAX_EXTENT);
    for (unsigned i = 0; i < nr; i++) {
        FUZZ_CHECK(elf_segment(e, i, &s[i]) == 0);
        FUZZ_CHECK(range_ok(s[i].data - data, s[i].file_size, size));
        FUZZ_CHECK(s[i].file_size <= s[i].mem_size && s[i].mem_size);
        FUZZ_CHECK(s[i].paddr >= start &&
                   range_ok(s[i].paddr - start, s[i].mem_size, end - start));
        for (unsigned k = 0; k < i; k++)
            FUZZ_CHECK(s[k].paddr + s[k].mem_size <= s[i].paddr ||
                       s[i].paddr + s[i].mem_size <= s[k].paddr);
    }
    FUZZ_CHECK(elf_segment(e, nr, &s[0]) < 0);
}

static void check_notes(const struct elf_image *e)
{
    struct xen_notes n;
    const char *reason;
    u64 start, end, phys;

    if (elf_xen_notes(e, &n, &reason) < 0) {
        FUZZ_CHECK(reason);
        return;
    }
    FUZZ_CHECK(!reason && elf_extent(e, &start, &end) == 0);
    phys = n.entry - n.virt_base + n.paddr_offset;
    FUZZ_CHECK(phys >= start && phys < end);
    sink = strlen(n.guest_os) + strlen(n.loader) + strlen(n.features);
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
    struct elf_image e;
    const char *reason;

    if (elf_open(&e, data, size, &reason) < 0) {
        FUZZ_CHECK(reason);
        return 0;
    }
    check_segments(&e, data, size);
    check_notes(&e);
    return 0;
}
