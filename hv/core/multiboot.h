/*
 * Boot information of Multiboot 1 and 2 in one neutral form. Pure: memory is read through the
 * caller's reader, strings are copied, so the loader's structures may be reused afterwards.
 *
 *   1. every string is NUL-terminated and free of control characters;
 *   2. start <= end for every module;
 *   3. regions are as the firmware told them (neighbours of one type joined), never with a
 *      wrapping end: e820_sanitise() comes next.
 * Whatever the bytes say, parsing ends after a bounded number of steps.
 */
#ifndef SERAI_CORE_MULTIBOOT_H
#define SERAI_CORE_MULTIBOOT_H

#include "base/types.h"
#include "core/e820.h"
#include "core/phys_reader.h"

#define BOOT_MAX_MODULES 4
#define BOOT_MAX_REGIONS 128
#define BOOT_STRING_LEN  1024 /* what start_info gives a guest, NUL included */

struct boot_module {
    u64 start; /* physical */
    u64 end;   /* first byte after it */
    bool string_cut;
    char string[BOOT_STRING_LEN];
};

struct boot_framebuffer {
    bool present;
    u64 addr;
    u32 pitch, width, height; /* bytes; pixels, or characters when type is text */
    u8 bpp;
    u8 type; /* MULTIBOOT_FB_* of abi/multiboot.h; the colours are for RGB only */
    u8 red_pos, red_size, green_pos, green_size, blue_pos, blue_size;
};

struct boot_info {
    char cmdline[BOOT_STRING_LEN]; /* as given: see multiboot_args() */
    bool cmdline_cut;              /* it was longer */
    char loader[64];
    struct boot_module modules[BOOT_MAX_MODULES];
    unsigned nr_modules;
    unsigned modules_dropped; /* modules beyond the first BOOT_MAX_MODULES */
    struct mem_region regions[BOOT_MAX_REGIONS];
    unsigned nr_regions;
    unsigned regions_dropped; /* RAM regions left out for want of room */
    u64 rsdp;                 /* physical address of the copy in the tag, 0: none */
    u8 rsdp_copy[36];
    unsigned rsdp_len;
    bool efi;
    bool efi_boot_services; /* not yet left: their memory is then reserved */
    u64 efi_system_table;
    struct boot_framebuffer framebuffer;
};

/*
 * Read the information structure at info_phys. 0, or -XEN_EINVAL with *reason; *out is then
 * unspecified.
 */
int multiboot1_parse(const struct phys_reader *r, u64 info_phys, struct boot_info *out,
                     const char **reason) must_check;
int multiboot2_parse(const struct phys_reader *r, u64 info_phys, struct boot_info *out,
                     const char **reason) must_check;

/*
 * The options in the hypervisor's or a module's string: loaders other than GRUB 2 put the
 * file's name first, which is skipped. Points into 'string'.
 */
const char *multiboot_args(const struct boot_info *b, const char *string);

#endif
