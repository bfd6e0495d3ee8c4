#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "abi/multiboot.h"
#include "base/string.h"
#include "core/multiboot.h"

#define BASE 0x10000

static u8 mem[64 * 1024];
static struct boot_info b;
static const char *reason;
static u32 used; /* bytes of mem that are built so far */

static const void *map(void *arg, u64 phys, u64 len)
{
    assert_in_range(len, 1, MIB(1));
    return phys >= BASE && range_ok(phys - BASE, len, sizeof(mem)) ? mem + (phys - BASE) : NULL;
}

static const struct phys_reader reader = {map, NULL};

static u32 put(const void *bytes, u32 len)
{
    u32 at = BASE + used;

    memcpy(mem + used, bytes, len);
    used += ROUND_UP(len, 8);
    return at;
}

static u32 put_string(const char *s)
{
    return put(s, strlen(s) + 1);
}

static void assert_region(unsigned i, u64 base, u64 size, u32 type)
{
    assert_true(i < b.nr_regions);
    assert_int_equal(b.regions[i].base, base);
    assert_int_equal(b.regions[i].size, size);
    assert_int_equal(b.regions[i].type, type);
}

/* Multiboot 1: the information comes first, what it points to behind it. */

static struct multiboot1_info *info1(void)
{
    return (struct multiboot1_info *)mem;
}

static void start1(void)
{
    memset(mem, 0, sizeof(mem));
    used = 128;
}

static int parse1(void)
{
    return multiboot1_parse(&reader, BASE, &b, &reason);
}

static void assert_refused1(const char *part)
{
    assert_int_equal(parse1(), -XEN_EINVAL);
    assert_non_null(strstr(reason, part));
}

/* What QEMU gives for -kernel, -append and -initrd with two modules. */
static void make_qemu(void)
{
    struct multiboot1_module mods[2] = {{0x200000, 0x300000, 0, 0}, {0x300000, 0x300000, 0, 0}};
    static const struct multiboot1_mmap_entry mmap[] = {
        {20, 0, 0x9FC00, 1},
        {20, 0x9FC00, 0x400, 2},
        {20, 0x100000, 0x7EE0000, 1},
    };

    start1();
    info1()->flags = MULTIBOOT1_INFO_CMDLINE | MULTIBOOT1_INFO_MODS | MULTIBOOT1_INFO_MMAP |
                     MULTIBOOT1_INFO_LOADER | MULTIBOOT1_INFO_MEMORY;
    info1()->cmdline = put_string("build/serai com1=115200,8n1 console=com1");
    info1()->loader_name = put_string("qemu");
    mods[0].string = put_string("vmlinuz  root=/dev/xvda\tquiet\x1b[m");
    mods[1].string = put_string("initrd.gz");
    info1()->mods_count = 2;
    info1()->mods_addr = put(mods, sizeof(mods));
    info1()->mmap_length = sizeof(mmap);
    info1()->mmap_addr = put(mmap, sizeof(mmap));
}

static void reads_qemu(void **state)
{
    make_qemu();
    assert_int_equal(parse1(), 0);
    assert_null(reason);
    assert_string_equal(b.loader, "qemu");
    assert_string_equal(multiboot_args(&b, b.cmdline), "com1=115200,8n1 console=com1");
    assert_false(b.cmdline_cut);
    assert_int_equal(b.nr_modules, 2);
    assert_int_equal(b.modules[0].start, 0x200000);
    assert_int_equal(b.modules[0].end, 0x300000);
    assert_string_equal(b.modules[0].string, "vmlinuz  root=/dev/xvda quiet?[m");
    assert_string_equal(multiboot_args(&b, b.modules[0].string), "root=/dev/xvda quiet?[m");
    assert_string_equal(multiboot_args(&b, b.modules[1].string), "");
    assert_int_equal(b.nr_regions, 3);
    assert_region(0, 0, 0x9FC00, E820_RAM);
    assert_region(1, 0x9FC00, 0x400, E820_RESERVED);
    assert_region(2, 0x100000, 0x7EE0000, E820_RAM);
    assert_false(b.framebuffer.present || b.efi);
    assert_int_equal(b.rsdp_len, 0);
}

static void grub2_names_no_file(void **state)
{
    make_qemu();
    info1()->loader_name = put_string("GRUB 2.06-13+deb12u1");
    assert_int_equal(parse1(), 0);
    assert_string_equal(multiboot_args(&b, "placeholder root=1"), "placeholder root=1");
    info1()->loader_name = put_string("GRUB 0.97");
    assert_int_equal(parse1(), 0);
    assert_string_equal(multiboot_args(&b, "  placeholder  root=1 "), "root=1 ");
    assert_string_equal(multiboot_args(&b, ""), "");
}

static void reads_old_memory_sizes(void **state)
{
    make_qemu();
    info1()->flags &= ~MULTIBOOT1_INFO_MMAP;
    info1()->mem_lower = 639;
    info1()->mem_upper = ~0U;
    assert_int_equal(parse1(), 0);
    assert_int_equal(b.nr_regions, 2);
    assert_region(0, 0, 639 * 1024, E820_RAM);
    assert_region(1, MIB(1), (u64)~0U << 10, E820_RAM);
    info1()->flags &= ~MULTIBOOT1_INFO_MEMORY;
    assert_refused1("no memory map");
}

static void reads_framebuffer1(void **state)
{
    struct multiboot_framebuffer fb = {0xE0000000, 4096, 1024, 768, 32, MULTIBOOT_FB_RGB};
    struct multiboot_fb_colours c = {16, 8, 8, 8, 0, 8};

    make_qemu();
    info1()->flags |= MULTIBOOT1_INFO_FRAMEBUFFER;
    memcpy(mem + 88, &fb, sizeof(fb));
    memcpy(mem + 110, &c, sizeof(c));
    assert_int_equal(parse1(), 0);
    assert_true(b.framebuffer.present);
    assert_int_equal(b.framebuffer.addr, 0xE0000000);
    assert_int_equal(b.framebuffer.width, 1024);
    assert_int_equal(b.framebuffer.bpp, 32);
    assert_int_equal(b.framebuffer.red_pos, 16);
    assert_int_equal(b.framebuffer.blue_size, 8);
}

static void cuts_long_strings(void **state)
{
    static char line[3000];

    make_qemu();
    memset(line, 'a', sizeof(line) - 1);
    info1()->cmdline = put_string(line);
    info1()->loader_name = info1()->cmdline;
    line[BOOT_STRING_LEN - 1] = '\0';
    info1()->mods_count = 1;
    memset(mem + (info1()->mods_addr - BASE), 0, 16);
    ((struct multiboot1_module *)(mem + (info1()->mods_addr - BASE)))->string =
        put_string(line);
    assert_int_equal(parse1(), 0);
    assert_true(b.cmdline_cut);
    assert_int_equal(strlen(b.cmdline), BOOT_STRING_LEN - 1);
    assert_int_equal(strlen(b.loader), sizeof(b.loader) - 1);
    assert_int_equal(strlen(b.modules[0].string), BOOT_STRING_LEN - 1);
    assert_false(b.modules[0].string_cut);
}

static void counts_what_does_not_fit(void **state)
{
    struct multiboot1_module mods[6] = {{1, 2, 0, 0}, {3, 4, 0, 0},  {5, 6, 0, 0},
                                        {7, 8, 0, 0}, {9, 10, 0, 0}, {11, 12, 0, 0}};
    struct multiboot1_mmap_entry e = {20, 0, 0x1000, E820_RAM};

    make_qemu();
    info1()->mods_count = 6;
    info1()->mods_addr = put(mods, sizeof(mods));
    info1()->mmap_addr = BASE + used;
    info1()->mmap_length = 130 * sizeof(e);
    for (unsigned i = 0; i < 130; i++) {
        e.base = i * 0x2000;
        put(&e, sizeof(e));
    }
    assert_int_equal(parse1(), 0);
    assert_int_equal(b.nr_modules, BOOT_MAX_MODULES);
    assert_int_equal(b.modules_dropped, 2);
    assert_string_equal(b.modules[3].string, "");
    assert_int_equal(b.nr_regions, BOOT_MAX_REGIONS);
    assert_int_equal(b.regions_dropped, 2);
    /* What is not RAM may not be forgotten. */
    mem[used - sizeof(e) + 20] = E820_RESERVED;
    assert_refused1("too many regions");
}

static void joins_neighbours(void **state)
{
    static const struct multiboot1_mmap_entry mmap[] = {
        {20, 0, 0x1000, 1},         {20, 0x1000, 0x1000, 1}, {20, 0x2000, 0x1000, 2},
        {20, 0x3000, 0, 5},         {20, 0x3000, 0x1000, 2}, {20, ~0ULL - 9, 100, 2},
        {20, ~0ULL, 1ULL << 40, 1},
    };

    make_qemu();
    info1()->mmap_length = sizeof(mmap);
    info1()->mmap_addr = put(mmap, sizeof(mmap));
    assert_int_equal(parse1(), 0);
    assert_int_equal(b.nr_regions, 4);
    assert_region(0, 0, 0x2000, E820_RAM);
    assert_region(1, 0x2000, 0x2000, E820_RESERVED);
    assert_region(2, ~0ULL - 9, 9, E820_RESERVED);
    assert_region(3, ~0ULL, 0, E820_RAM);
}

/* What the flags do not announce is not looked at. */
static void ignores_fields_without_flag(void **state)
{
    make_qemu();
    info1()->flags = MULTIBOOT1_INFO_MMAP;
    info1()->cmdline = info1()->loader_name = info1()->mods_addr = 1;
    assert_int_equal(parse1(), 0);
    assert_string_equal(b.cmdline, "");
    assert_string_equal(b.loader, "");
    assert_int_equal(b.nr_modules, 0);
    assert_false(b.framebuffer.present);
}

static void refuses_broken_info1(void **state)
{
    make_qemu();
    assert_int_equal(multiboot1_parse(&reader, 0, &b, &reason), -XEN_EINVAL);
    assert_int_equal(multiboot1_parse(&reader, ~0ULL, &b, &reason), -XEN_EINVAL);
    info1()->cmdline = 0;
    assert_refused1("command line");
    make_qemu();
    memset(mem + sizeof(mem) - 16, 'x', 16);
    info1()->loader_name = BASE + sizeof(mem) - 16; /* no end */
    assert_refused1("loader's name");
    make_qemu();
    info1()->mods_count = ~0U;
    info1()->mods_addr = BASE + sizeof(mem) - 20;
    assert_refused1("module");
    make_qemu();
    mem[info1()->mods_addr - BASE + 4] = mem[info1()->mods_addr - BASE + 6] = 0;
    assert_refused1("ends before");
    make_qemu();
    mem[info1()->mods_addr - BASE + 8] = 1;
    mem[info1()->mods_addr - BASE + 10] = 0;
    assert_refused1("module's string");
    make_qemu();
    mem[info1()->mmap_addr - BASE] = 19;
    assert_refused1("wrong size");
    make_qemu();
    memset(mem + info1()->mmap_addr - BASE, 0xFF, 4);
    assert_refused1("wrong size");
    make_qemu();
    info1()->mmap_length += 4;
    assert_refused1("broken");
    make_qemu();
    info1()->mmap_addr = BASE + sizeof(mem) - 8;
    assert_refused1("broken");
}

/* Multiboot 2: tags, one after another. */

static void start2(void)
{
    memset(mem, 0, sizeof(mem));
    used = sizeof(struct multiboot2_info);
}

static void tag(u32 type, const void *data, u32 len)
{
    struct multiboot2_tag t = {type, sizeof(t) + len};

    put(&t, sizeof(t));
    put(data, len);
}

static void string_tag(u32 type, const char *s)
{
    tag(type, s, strlen(s) + 1);
}

static void finish2(void)
{
    tag(MULTIBOOT2_TAG_END, "", 0);
    memcpy(mem, &used, 4);
}

static int parse2(void)
{
    return multiboot2_parse(&reader, BASE, &b, &reason);
}

static void assert_refused2(const char *part)
{
    assert_int_equal(parse2(), -XEN_EINVAL);
    assert_non_null(strstr(reason, part));
}

static void module_tag(u32 start, u32 end, const char *string)
{
    u8 data[200];

    memcpy(data, &start, 4);
    memcpy(data + 4, &end, 4);
    memcpy(data + 8, string, strlen(string) + 1);
    tag(MULTIBOOT2_TAG_MODULE, data, 8 + strlen(string) + 1);
}

static void mmap_tag(u32 entry_size, const struct multiboot2_mmap_entry *e, u32 nr)
{
    u8 data[400] = {0};

    memcpy(data, &entry_size, 4);
    for (u32 i = 0; i < nr; i++)
        memcpy(data + 8 + i * entry_size, &e[i], sizeof(*e));
    tag(MULTIBOOT2_TAG_MMAP, data, 8 + nr * entry_size);
}

static void efi_tag(const struct efi_memory_descriptor *d, u32 nr)
{
    u8 data[800] = {48, 0, 0, 0, 1, 0, 0, 0};

    for (u32 i = 0; i < nr; i++)
        memcpy(data + 8 + i * 48, &d[i], sizeof(*d));
    tag(MULTIBOOT2_TAG_EFI_MMAP, data, 8 + nr * 48);
}

static const struct multiboot2_mmap_entry two_regions[] = {
    {0, 0x9FC00, 1, 0},
    {0x100000, 0x10000000, 1, 0},
};

static void reads_grub(void **state)
{
    static const u8 fb[22] = {0, 0, 0, 0x80, 0, 0, 0, 0, 0, 0x10, 0,
                              0, 0, 4, 0,    0, 0, 3, 0, 0, 32,   1};
    u8 fb_tag[32];

    memcpy(fb_tag, fb, 22);
    memcpy(fb_tag + 22, "\0\0\x10\x08\x08\x08\0\x08", 8);
    start2();
    string_tag(MULTIBOOT2_TAG_CMDLINE, "placeholder dom0_mem=1G");
    string_tag(MULTIBOOT2_TAG_LOADER, "GRUB 2.06-13+deb12u1");
    module_tag(0x1000000, 0x1800000, "placeholder root=/dev/sda1 ro");
    module_tag(0x2000000, 0x2000000, "");
    tag(99, "some future thing", 17);
    mmap_tag(32, two_regions, 2);
    tag(MULTIBOOT2_TAG_ACPI_OLD, "RSD PTR 0123456789ab", 20);
    tag(MULTIBOOT2_TAG_FRAMEBUFFER, fb_tag, 30);
    finish2();
    assert_int_equal(parse2(), 0);
    assert_null(reason);
    assert_string_equal(multiboot_args(&b, b.cmdline), "placeholder dom0_mem=1G");
    assert_int_equal(b.nr_modules, 2);
    assert_int_equal(b.modules[0].start, 0x1000000);
    assert_int_equal(b.modules[0].end, 0x1800000);
    assert_string_equal(b.modules[0].string, "placeholder root=/dev/sda1 ro");
    assert_int_equal(b.nr_regions, 2);
    assert_region(1, 0x100000, 0x10000000, E820_RAM);
    assert_int_equal(b.rsdp_len, 20);
    assert_memory_equal(b.rsdp_copy, "RSD PTR 0123456789ab", 20);
    assert_memory_equal(mem + (b.rsdp - BASE), b.rsdp_copy, 20);
    assert_int_equal(b.framebuffer.addr, 0x80000000);
    assert_int_equal(b.framebuffer.pitch, 0x1000);
    assert_int_equal(b.framebuffer.height, 768);
    assert_int_equal(b.framebuffer.red_pos, 16);
    assert_int_equal(b.framebuffer.blue_size, 8);
    assert_false(b.efi);
}

static void newer_rsdp_wins(void **state)
{
    static const char v2[36] = "RSD PTR 0123456789abcdefghijklmnopqr";

    for (unsigned order = 0; order < 2; order++) {
        start2();
        mmap_tag(24, two_regions, 2);
        if (order)
            tag(MULTIBOOT2_TAG_ACPI_NEW, v2, 36);
        tag(MULTIBOOT2_TAG_ACPI_OLD, "RSD PTR 0123456789ab", 20);
        if (!order)
            tag(MULTIBOOT2_TAG_ACPI_NEW, v2, 36);
        finish2();
        assert_int_equal(parse2(), 0);
        assert_int_equal(b.rsdp_len, 36);
        assert_memory_equal(b.rsdp_copy, v2, 36);
    }
}

static void empty_rsdp_tag_is_none(void **state)
{
    start2();
    mmap_tag(24, two_regions, 2);
    tag(MULTIBOOT2_TAG_ACPI_NEW, "", 0);
    finish2();
    assert_int_equal(parse2(), 0);
    assert_int_equal(b.rsdp_len, 0);
    assert_int_equal(b.rsdp, 0);
}

static void make_efi(bool boot_services, bool mmap)
{
    static const struct efi_memory_descriptor d[] = {
        {7, 0, 0, 0, 0xA0, 0xF},       {EFI_BOOT_SERVICES_DATA, 0, 0x100000, 0, 16, 0xF},
        {1, 0, 0x110000, 0, 16, 0xF},  {5, 0, 0x120000, 0, 1, 0xF},
        {9, 0, 0x121000, 0, 1, 0xF},   {10, 0, 0x122000, 0, 1, 0xF},
        {8, 0, 0x123000, 0, 1, 0xF},   {11, 0, 0xFEC00000, 0, 1, 1},
        {14, 0, 0x100000000, 0, 1, 1},
    };
    u64 system_table = 0x7F000000;

    start2();
    tag(MULTIBOOT2_TAG_EFI64, &system_table, 8);
    efi_tag(d, ARRAY_SIZE(d));
    if (mmap)
        mmap_tag(24, two_regions, 2);
    if (boot_services)
        tag(MULTIBOOT2_TAG_EFI_BS, "", 0);
    finish2();
}

static void converts_efi_map(void **state)
{
    make_efi(false, false);
    assert_int_equal(parse2(), 0);
    assert_true(b.efi && !b.efi_boot_services);
    assert_int_equal(b.efi_system_table, 0x7F000000);
    assert_int_equal(b.nr_regions, 8);
    assert_region(0, 0, 0xA0000, E820_RAM);
    assert_region(1, 0x100000, 0x20000, E820_RAM);
    assert_region(2, 0x120000, 0x1000, E820_RESERVED);
    assert_region(3, 0x121000, 0x1000, E820_ACPI);
    assert_region(4, 0x122000, 0x1000, E820_NVS);
    assert_region(5, 0x123000, 0x1000, E820_UNUSABLE);
    assert_region(6, 0xFEC00000, 0x1000, E820_RESERVED);
    assert_region(7, 0x100000000, 0x1000, E820_RESERVED);
    /* Boot services still running, as a later tag says: their memory is not free. */
    make_efi(true, false);
    assert_int_equal(parse2(), 0);
    assert_true(b.efi_boot_services);
    assert_region(1, 0x100000, 0x10000, E820_RESERVED);
    /* The loader's own map goes first. */
    make_efi(false, true);
    assert_int_equal(parse2(), 0);
    assert_int_equal(b.nr_regions, 2);
}

static void falls_back_to_basic_memory(void **state)
{
    static const u32 kib[2] = {640, 65536};

    start2();
    tag(MULTIBOOT2_TAG_BASIC_MEM, kib, 8);
    finish2();
    assert_int_equal(parse2(), 0);
    assert_region(1, MIB(1), MIB(64), E820_RAM);
    start2();
    finish2();
    assert_refused2("no memory map");
}

static void refuses_broken_info2(void **state)
{
    static const struct efi_memory_descriptor huge = {7, 0, 0, 0, 1ULL << 52, 0};

    start2();
    mmap_tag(24, two_regions, 2);
    memcpy(mem, &used, 4); /* no end tag */
    assert_refused2("run past");
    memset(mem, 0xFF, 4);
    assert_refused2("wrong size");
    memset(mem, 0, 4);
    assert_refused2("wrong size");
    start2();
    mmap_tag(24, two_regions, 2);
    finish2();
    mem[12] = 7;
    assert_refused2("wrong size");
    memset(mem + 12, 0xFF, 4);
    assert_refused2("wrong size");
    start2();
    mmap_tag(16, two_regions, 1);
    finish2();
    assert_refused2("entries of a wrong size");
    start2();
    mmap_tag(0, two_regions, 0);
    finish2();
    assert_refused2("entries of a wrong size");
    start2();
    efi_tag(&huge, 1);
    finish2();
    assert_refused2("beyond the end");
    start2();
    module_tag(2, 1, "");
    finish2();
    assert_refused2("ends before");
    start2();
    tag(MULTIBOOT2_TAG_MODULE, "1234567", 7);
    finish2();
    assert_refused2("too short");
    start2();
    tag(MULTIBOOT2_TAG_FRAMEBUFFER, "1234567890123456789012", 23);
    finish2();
    assert_refused2("too short");
}

static void string_ends_with_its_tag(void **state)
{
    start2();
    tag(MULTIBOOT2_TAG_CMDLINE, "ab", 2); /* no NUL; what follows is another tag */
    tag(MULTIBOOT2_TAG_LOADER, "", 0);
    tag(MULTIBOOT2_TAG_MODULE, "\1\0\0\0\2\0\0\0xyz", 10); /* "xy", no NUL */
    mem[used - 6] = 'z';
    mmap_tag(24, two_regions, 2);
    finish2();
    assert_int_equal(parse2(), 0);
    assert_string_equal(b.cmdline, "ab");
    assert_string_equal(b.modules[0].string, "xy");
    assert_string_equal(b.loader, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_qemu),
        cmocka_unit_test(grub2_names_no_file),
        cmocka_unit_test(reads_old_memory_sizes),
        cmocka_unit_test(reads_framebuffer1),
        cmocka_unit_test(cuts_long_strings),
        cmocka_unit_test(counts_what_does_not_fit),
        cmocka_unit_test(joins_neighbours),
        cmocka_unit_test(refuses_broken_info1),
        cmocka_unit_test(reads_grub),
        cmocka_unit_test(newer_rsdp_wins),
        cmocka_unit_test(empty_rsdp_tag_is_none),
        cmocka_unit_test(ignores_fields_without_flag),
        cmocka_unit_test(converts_efi_map),
        cmocka_unit_test(falls_back_to_basic_memory),
        cmocka_unit_test(refuses_broken_info2),
        cmocka_unit_test(string_ends_with_its_tag),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
