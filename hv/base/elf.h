/*
 * A guest kernel's ELF file (ELF-64, little-endian, x86-64, ET_EXEC or ET_DYN) and its Xen
 * notes. Segments are placed by p_paddr: a kernel's p_vaddr and e_entry speak of bare metal.
 * Pure; any bytes give a defined answer. After elf_open() succeeded:
 *
 *   1. there are 1 to ELF_MAX_SEGMENTS segments (PT_LOAD with memory), none wraps, none
 *      overlaps another in physical memory, and file_size <= mem_size for each;
 *   2. each segment's file bytes lie inside the file;
 *   3. all of them lie in [pstart, pend), pend - pstart <= ELF_MAX_EXTENT.
 */
#ifndef SERAI_BASE_ELF_H
#define SERAI_BASE_ELF_H

#include "base/types.h"

#define ELF_MAX_HEADERS  256
#define ELF_MAX_SEGMENTS 32
#define ELF_MAX_EXTENT   GIB(1)

/* A checked file; the fields are elf.c's own. The file's bytes stay the caller's. */
struct elf_image {
    const u8 *data;
    size_t len;
    u64 phoff;
    u64 shoff;
    u16 phnum;
    u16 shnum;
    unsigned nr_segments;
    u64 pstart;
    u64 pend;
};

struct elf_segment {
    const u8 *data; /* file_size bytes, then mem_size - file_size zero bytes */
    u64 file_size;
    u64 mem_size;
    u64 paddr;
    u32 flags; /* PF_* of abi/elf.h */
};

/* What a kernel's notes say (xen/elfnote.h). Absent numbers are zero. */
struct xen_notes {
    u64 entry;
    u64 virt_base;
    u64 paddr_offset; /* virtual address = p_paddr - paddr_offset + virt_base */
    bool has_hypercall_page;
    u64 hypercall_page;
    bool has_init_p2m;
    u64 init_p2m;
    bool has_supported_features;
    u32 supported_features; /* bit n: XENFEAT n works */
    bool mod_start_pfn;     /* the initrd is wanted as a frame number, unmapped */
    char guest_os[16];
    char loader[16];
    char xen_version[16];
    char features[128];
};

/* Check a file as above. 0, or -XEN_EINVAL with *reason. */
int elf_open(struct elf_image *e, const u8 *data, size_t len, const char **reason) must_check;

unsigned elf_segment_count(const struct elf_image *e);

/* Segment 'index' in file order. -XEN_EINVAL: there is none. */
int elf_segment(const struct elf_image *e, unsigned index, struct elf_segment *out) must_check;

/* The physical range over all segments. 0 after a successful elf_open(). */
int elf_extent(const struct elf_image *e, u64 *pstart, u64 *pend) must_check;

/*
 * The kernel's Xen notes: from PT_NOTE, else from SHT_NOTE. -XEN_EINVAL with *reason: broken
 * note, not for "xen-3.0", neither Linux nor a generic-loader kernel, wants to run in the most
 * privileged ring, ENTRY or VIRT_BASE missing. Entry and hypercall page are checked to lie in
 * the extent.
 */
int elf_xen_notes(const struct elf_image *e, struct xen_notes *out,
                  const char **reason) must_check;

#endif
