/*
 * Layouts of the Multiboot 1 (0.6.96) and Multiboot 2 specifications: what an image carries
 * for the boot loader and what the loader hands over. Usable from assembly; everything is
 * little-endian. Information structures are read through byte offsets because nothing
 * promises their alignment.
 */
#ifndef SERAI_ABI_MULTIBOOT_H
#define SERAI_ABI_MULTIBOOT_H

/* Multiboot 1: header in the first 8 KiB of the file, 4-byte aligned. */
#define MULTIBOOT1_MAGIC       0x1BADB002
#define MULTIBOOT1_BOOTLOADER  0x2BADB002 /* in eax at entry */
#define MULTIBOOT1_SEARCH      8192
#define MULTIBOOT1_PAGE_ALIGN  0x00000001 /* modules start on a page */
#define MULTIBOOT1_MEMORY_INFO 0x00000002 /* memory map wanted */
#define MULTIBOOT1_VIDEO_MODE  0x00000004
#define MULTIBOOT1_AOUT_KLUDGE 0x00010000 /* load addresses are in the header */

/* Flags of the Multiboot 1 information: which fields mean something. */
#define MULTIBOOT1_INFO_MEMORY      0x00000001
#define MULTIBOOT1_INFO_CMDLINE     0x00000004
#define MULTIBOOT1_INFO_MODS        0x00000008
#define MULTIBOOT1_INFO_MMAP        0x00000040
#define MULTIBOOT1_INFO_LOADER      0x00000200
#define MULTIBOOT1_INFO_FRAMEBUFFER 0x00001000

/* Multiboot 2: header in the first 32 KiB of the file, 8-byte aligned. */
#define MULTIBOOT2_MAGIC      0xE85250D6
#define MULTIBOOT2_BOOTLOADER 0x36d76289 /* in eax at entry */
#define MULTIBOOT2_SEARCH     32768
#define MULTIBOOT2_ARCH_I386  0

/* Multiboot 2 header tags: u16 type, u16 flags, u32 size; each starts 8-byte aligned. */
#define MULTIBOOT2_HEADER_END           0
#define MULTIBOOT2_HEADER_INFO_REQUEST  1
#define MULTIBOOT2_HEADER_ADDRESS       2
#define MULTIBOOT2_HEADER_ENTRY         3
#define MULTIBOOT2_HEADER_CONSOLE_FLAGS 4
#define MULTIBOOT2_HEADER_FRAMEBUFFER   5
#define MULTIBOOT2_HEADER_MODULE_ALIGN  6
#define MULTIBOOT2_HEADER_EFI_BS        7
#define MULTIBOOT2_HEADER_ENTRY_EFI32   8
#define MULTIBOOT2_HEADER_ENTRY_EFI64   9
#define MULTIBOOT2_HEADER_RELOCATABLE   10
#define MULTIBOOT2_HEADER_TAG_REQUIRED  0 /* flags: the loader must understand the tag */
#define MULTIBOOT2_HEADER_TAG_OPTIONAL  1

/* Multiboot 2 information tags: u32 type, u32 size; each starts 8-byte aligned. */
#define MULTIBOOT2_TAG_END          0
#define MULTIBOOT2_TAG_CMDLINE      1
#define MULTIBOOT2_TAG_LOADER       2
#define MULTIBOOT2_TAG_MODULE       3
#define MULTIBOOT2_TAG_BASIC_MEM    4
#define MULTIBOOT2_TAG_BIOS_DEVICE  5
#define MULTIBOOT2_TAG_MMAP         6
#define MULTIBOOT2_TAG_VBE          7
#define MULTIBOOT2_TAG_FRAMEBUFFER  8
#define MULTIBOOT2_TAG_ELF_SECTIONS 9
#define MULTIBOOT2_TAG_APM          10
#define MULTIBOOT2_TAG_EFI32        11
#define MULTIBOOT2_TAG_EFI64        12
#define MULTIBOOT2_TAG_SMBIOS       13
#define MULTIBOOT2_TAG_ACPI_OLD     14
#define MULTIBOOT2_TAG_ACPI_NEW     15
#define MULTIBOOT2_TAG_NETWORK      16
#define MULTIBOOT2_TAG_EFI_MMAP     17
#define MULTIBOOT2_TAG_EFI_BS       18
#define MULTIBOOT2_TAG_EFI32_IMAGE  19
#define MULTIBOOT2_TAG_EFI64_IMAGE  20
#define MULTIBOOT2_TAG_LOAD_BASE    21

/* Framebuffer types, the same in both versions. */
#define MULTIBOOT_FB_INDEXED 0
#define MULTIBOOT_FB_RGB     1
#define MULTIBOOT_FB_TEXT    2

#ifndef __ASSEMBLY__

#include "base/types.h"

struct multiboot1_info {
    u32 flags;
    u32 mem_lower; /* KiB from 0 */
    u32 mem_upper; /* KiB from 1 MiB */
    u32 boot_device;
    u32 cmdline;
    u32 mods_count;
    u32 mods_addr;
    u32 syms[4];
    u32 mmap_length;
    u32 mmap_addr;
    u32 drives_length;
    u32 drives_addr;
    u32 config_table;
    u32 loader_name;
    u32 apm_table;
    u32 vbe_control_info;
    u32 vbe_mode_info;
    u16 vbe_mode;
    u16 vbe_interface_seg;
    u16 vbe_interface_off;
    u16 vbe_interface_len;
    /* multiboot_framebuffer follows when the flag says so */
} packed;

struct multiboot1_module {
    u32 start;
    u32 end;
    u32 string;
    u32 reserved;
} packed;

/* The next entry starts 'size' bytes after the size field itself. */
struct multiboot1_mmap_entry {
    u32 size;
    u64 base;
    u64 length;
    u32 type;
} packed;

/* Multiboot 1: at offset 88 of the information; Multiboot 2: the framebuffer tag's data. */
struct multiboot_framebuffer {
    u64 addr;
    u32 pitch;
    u32 width;
    u32 height;
    u8 bpp;
    u8 type;
} packed;

/* Where each colour sits in a pixel. One byte later than the type in version 1, three in 2. */
struct multiboot_fb_colours {
    u8 red_pos, red_size;
    u8 green_pos, green_size;
    u8 blue_pos, blue_size;
} packed;

struct multiboot2_info {
    u32 total_size;
    u32 reserved;
} packed;

struct multiboot2_tag {
    u32 type;
    u32 size; /* with this header, without the padding to 8 bytes */
} packed;

struct multiboot2_mmap_entry {
    u64 base;
    u64 length;
    u32 type;
    u32 reserved;
} packed;

/* One entry of the EFI memory map; entries lie descriptor_size apart, which may be more. */
struct efi_memory_descriptor {
    u32 type;
    u32 pad;
    u64 phys;
    u64 virt;
    u64 pages;
    u64 attributes;
} packed;

#define EFI_LOADER_CODE        1
#define EFI_LOADER_DATA        2
#define EFI_BOOT_SERVICES_CODE 3
#define EFI_BOOT_SERVICES_DATA 4
#define EFI_CONVENTIONAL       7
#define EFI_UNUSABLE           8
#define EFI_ACPI_RECLAIM       9
#define EFI_ACPI_NVS           10

_Static_assert(sizeof(struct multiboot1_info) == 88, "multiboot 1 information");
_Static_assert(sizeof(struct multiboot1_mmap_entry) == 24, "multiboot 1 memory map");
_Static_assert(sizeof(struct multiboot2_mmap_entry) == 24, "multiboot 2 memory map");
_Static_assert(sizeof(struct efi_memory_descriptor) == 40, "EFI memory map");

#endif /* __ASSEMBLY__ */
#endif
