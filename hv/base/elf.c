#include "base/elf.h"
#include "abi/elf.h"
#include "base/string.h"

#include <xen/elfnote.h>

/* Every reader below returns copies: nothing promises that the file's tables are aligned. */
static struct elf64_phdr program_header(const struct elf_image *e, unsigned index)
{
    struct elf64_phdr ph;

    memcpy(&ph, e->data + e->phoff + index * sizeof(ph), sizeof(ph));
    return ph;
}

static struct elf64_shdr section_header(const struct elf_image *e, unsigned index)
{
    struct elf64_shdr sh;

    memcpy(&sh, e->data + e->shoff + index * sizeof(sh), sizeof(sh));
    return sh;
}

static bool is_segment(const struct elf64_phdr *ph)
{
    return ph->p_type == PT_LOAD && ph->p_memsz != 0;
}

static const char *check_identity(const struct elf64_ehdr *eh)
{
    if (memcmp(eh->e_ident, "\177ELF", 4) != 0)
        return "not an ELF file";
    if (eh->e_ident[EI_CLASS] != ELFCLASS64 || eh->e_ident[EI_DATA] != ELFDATA2LSB ||
        eh->e_machine != EM_X86_64)
        return "the ELF file is not for 64-bit x86";
    if (eh->e_ident[EI_VERSION] != EV_CURRENT || eh->e_version != EV_CURRENT)
        return "the ELF file has an unknown version";
    if (eh->e_type != ET_EXEC && eh->e_type != ET_DYN)
        return "the ELF file is not an executable";
    return NULL;
}

static const char *check_tables(const struct elf64_ehdr *eh, size_t len)
{
    if (eh->e_phnum == 0 || eh->e_phnum > ELF_MAX_HEADERS)
        return "the ELF file has no program headers or too many";
    if (eh->e_phentsize != sizeof(struct elf64_phdr) ||
        !range_ok(eh->e_phoff, eh->e_phnum * sizeof(struct elf64_phdr), len))
        return "the ELF file's program headers lie outside it";
    if (eh->e_shnum && (eh->e_shentsize != sizeof(struct elf64_shdr) ||
                        !range_ok(eh->e_shoff, eh->e_shnum * sizeof(struct elf64_shdr), len)))
        return "the ELF file's section headers lie outside it";
    return NULL;
}

static const char *check_segment(const struct elf64_phdr *ph, size_t len)
{
    if (ph->p_filesz > ph->p_memsz)
        return "an ELF segment has more bytes in the file than in memory";
    if (!range_ok(ph->p_offset, ph->p_filesz, len))
        return "an ELF segment lies outside the file: is the file cut short?";
    if (ph->p_paddr + ph->p_memsz < ph->p_paddr)
        return "an ELF segment wraps around the end of memory";
    return NULL;
}

static bool overlaps_earlier(const struct elf_image *e, unsigned index,
                             const struct elf64_phdr *ph)
{
    for (unsigned i = 0; i < index; i++) {
        struct elf64_phdr other = program_header(e, i);

        if (is_segment(&other) && other.p_paddr < ph->p_paddr + ph->p_memsz &&
            ph->p_paddr < other.p_paddr + other.p_memsz)
            return true;
    }
    return false;
}

static const char *check_segments(struct elf_image *e)
{
    e->pstart = ~0ULL;
    for (unsigned i = 0; i < e->phnum; i++) {
        struct elf64_phdr ph = program_header(e, i);
        const char *reason;

        if (!is_segment(&ph))
            continue;
        reason = check_segment(&ph, e->len);
        if (reason)
            return reason;
        if (overlaps_earlier(e, i, &ph))
            return "two ELF segments overlap in memory";
        if (++e->nr_segments > ELF_MAX_SEGMENTS)
            return "the ELF file has more than 32 segments";
        e->pstart = MIN(e->pstart, ph.p_paddr);
        e->pend = MAX(e->pend, ph.p_paddr + ph.p_memsz);
    }
    if (!e->nr_segments)
        return "the ELF file has no loadable segment";
    if (e->pend - e->pstart > ELF_MAX_EXTENT)
        return "the ELF file spans more than 1 GiB of memory";
    return NULL;
}

static const char *open_image(struct elf_image *e)
{
    struct elf64_ehdr eh;
    const char *reason;

    if (e->len < sizeof(eh))
        return "the file is too short for ELF";
    memcpy(&eh, e->data, sizeof(eh));
    reason = check_identity(&eh);
    if (!reason)
        reason = check_tables(&eh, e->len);
    if (reason)
        return reason;
    e->phoff = eh.e_phoff;
    e->phnum = eh.e_phnum;
    e->shoff = eh.e_shoff;
    e->shnum = eh.e_shnum;
    return check_segments(e);
}

int elf_open(struct elf_image *e, const u8 *data, size_t len, const char **reason)
{
    *e = (struct elf_image){.data = data, .len = len};
    *reason = open_image(e);
    return *reason ? -XEN_EINVAL : 0;
}

unsigned elf_segment_count(const struct elf_image *e)
{
    return e->nr_segments;
}

int elf_segment(const struct elf_image *e, unsigned index, struct elf_segment *out)
{
    for (unsigned i = 0; i < e->phnum; i++) {
        struct elf64_phdr ph = program_header(e, i);

        if (!is_segment(&ph) || index-- != 0)
            continue;
        *out = (struct elf_segment){
            .data = e->data + ph.p_offset,
            .file_size = ph.p_filesz,
            .mem_size = ph.p_memsz,
            .paddr = ph.p_paddr,
            .flags = ph.p_flags,
        };
        return 0;
    }
    return -XEN_EINVAL;
}

int elf_extent(const struct elf_image *e, u64 *pstart, u64 *pend)
{
    if (!e->nr_segments)
        return -XEN_EINVAL;
    *pstart = e->pstart;
    *pend = e->pend;
    return 0;
}

struct note {
    u32 type;
    u32 desc_len;
    const u8 *desc;
};

struct note_reader {
    struct xen_notes *out;
    bool found; /* any note of Xen's */
    bool has_entry;
    bool has_virt_base;
};

static bool note_number(const struct note *n, u64 *out)
{
    if (n->desc_len == sizeof(u64))
        *out = get_le64(n->desc);
    else if (n->desc_len == sizeof(u32))
        *out = get_le32(n->desc);
    else
        return false;
    return true;
}

static bool note_u32(const struct note *n, u32 *out)
{
    u64 v = 0;

    if (!note_number(n, &v) || v > ~(u32)0)
        return false;
    *out = v;
    return true;
}

/* The string ends at a NUL or with the note; one that does not fit is refused, not cut. */
static bool note_string(const struct note *n, char *out, size_t size)
{
    size_t len = 0;

    while (len < n->desc_len && n->desc[len])
        len++;
    if (len >= size)
        return false;
    memcpy(out, n->desc, len);
    out[len] = '\0';
    return true;
}

/* A flag may come as a number, or as the string "yes". */
static bool note_flag(const struct note *n, bool *out)
{
    u64 v = 0;

    if (n->desc_len >= 3 && memcmp(n->desc, "yes", 3) == 0)
        *out = true;
    else if (note_number(n, &v))
        *out = v != 0;
    else
        return false;
    return true;
}

static bool take_string_note(struct xen_notes *out, const struct note *n)
{
    switch (n->type) {
    case XEN_ELFNOTE_XEN_VERSION:
        return note_string(n, out->xen_version, sizeof(out->xen_version));
    case XEN_ELFNOTE_GUEST_OS:
        return note_string(n, out->guest_os, sizeof(out->guest_os));
    case XEN_ELFNOTE_LOADER:
        return note_string(n, out->loader, sizeof(out->loader));
    case XEN_ELFNOTE_FEATURES:
        return note_string(n, out->features, sizeof(out->features));
    default:
        return true;
    }
}

static bool take_note(struct note_reader *r, const struct note *n)
{
    struct xen_notes *out = r->out;

    r->found = true;
    switch (n->type) {
    case XEN_ELFNOTE_ENTRY:
        r->has_entry = true;
        return note_number(n, &out->entry);
    case XEN_ELFNOTE_HYPERCALL_PAGE:
        out->has_hypercall_page = true;
        return note_number(n, &out->hypercall_page);
    case XEN_ELFNOTE_VIRT_BASE:
        r->has_virt_base = true;
        return note_number(n, &out->virt_base);
    case XEN_ELFNOTE_PADDR_OFFSET:
        return note_number(n, &out->paddr_offset);
    case XEN_ELFNOTE_INIT_P2M:
        out->has_init_p2m = true;
        return note_number(n, &out->init_p2m);
    case XEN_ELFNOTE_MOD_START_PFN:
        return note_flag(n, &out->mod_start_pfn);
    case XEN_ELFNOTE_SUPPORTED_FEATURES:
        out->has_supported_features = true;
        return note_u32(n, &out->supported_features);
    default:
        return take_string_note(out, n);
    }
}

/*
 * One note at the start of [p, p + left): its length with padding through *size. False: it
 * runs past the end. 'align' is 4, or 8 where the segment says so.
 */
static bool read_note(const u8 *p, u64 left, u64 align, struct note *n, bool *is_xen, u64 *size)
{
    struct elf64_nhdr nh;
    u64 desc_at;

    if (left < sizeof(nh))
        return false;
    memcpy(&nh, p, sizeof(nh));
    /* Two 32-bit lengths: these 64-bit sums cannot wrap. */
    desc_at = ROUND_UP(sizeof(nh) + (u64)nh.n_namesz, align);
    if (!range_ok(desc_at, nh.n_descsz, left))
        return false;
    *n = (struct note){.type = nh.n_type, .desc_len = nh.n_descsz, .desc = p + desc_at};
    *is_xen = nh.n_namesz == 4 && memcmp(p + sizeof(nh), "Xen", 4) == 0;
    *size = MIN(ROUND_UP(desc_at + nh.n_descsz, align), left);
    return true;
}

static const char *read_notes(struct note_reader *r, const u8 *p, u64 left, u64 align)
{
    while (left) {
        struct note n;
        bool is_xen;
        u64 size;

        if (!read_note(p, left, align, &n, &is_xen, &size))
            return "a note runs past the end of its segment";
        if (is_xen && !take_note(r, &n))
            return "a Xen note has a size its type does not have";
        p += size;
        left -= size;
    }
    return NULL;
}

static const char *read_note_range(const struct elf_image *e, struct note_reader *r, u64 offset,
                                   u64 size, u64 align)
{
    if (!range_ok(offset, size, e->len))
        return "the ELF file's notes lie outside it";
    return read_notes(r, e->data + offset, size, align == 8 ? 8 : 4);
}

static const char *find_notes(const struct elf_image *e, struct note_reader *r)
{
    const char *reason = NULL;

    for (unsigned i = 0; i < e->phnum && !reason; i++) {
        struct elf64_phdr ph = program_header(e, i);

        if (ph.p_type == PT_NOTE)
            reason = read_note_range(e, r, ph.p_offset, ph.p_filesz, ph.p_align);
    }
    for (unsigned i = 0; i < e->shnum && !reason && !r->found; i++) {
        struct elf64_shdr sh = section_header(e, i);

        if (sh.sh_type == SHT_NOTE)
            reason = read_note_range(e, r, sh.sh_offset, sh.sh_size, sh.sh_addralign);
    }
    return reason;
}

/* Does a '|'-separated feature list demand this feature ('!' in front)? */
static bool demands_feature(const char *list, const char *name)
{
    size_t len = strlen(name);

    for (const char *p = list; *p;) {
        const char *end = p;

        while (*end && *end != '|')
            end++;
        if (*p == '!' && (size_t)(end - p) == len + 1 && strncmp(p + 1, name, len) == 0)
            return true;
        p = *end ? end + 1 : end;
    }
    return false;
}

/* Is [virt, virt + size) inside what the segments fill? */
static bool in_extent(const struct elf_image *e, const struct xen_notes *n, u64 virt, u64 size)
{
    u64 phys, start;

    if (virt < n->virt_base)
        return false;
    phys = virt - n->virt_base;
    if (e->pstart < n->paddr_offset)
        return false;
    start = e->pstart - n->paddr_offset;
    return phys >= start && range_ok(phys - start, size, e->pend - e->pstart);
}

static const char *check_notes(const struct elf_image *e, const struct note_reader *r)
{
    const struct xen_notes *n = r->out;

    if (!r->found)
        return "the kernel has no Xen notes: it was built without Xen PV support";
    if (strncmp(n->guest_os, "linux", 5) != 0 && strcmp(n->loader, "generic") != 0)
        return "the kernel's notes name neither Linux nor the generic loader";
    if (strcmp(n->xen_version, "xen-3.0") != 0)
        return "the kernel's notes are not for the Xen interface 'xen-3.0'";
    if (!r->has_virt_base)
        return "the kernel's notes have no VIRT_BASE";
    if (!r->has_entry)
        return "the kernel's notes have no ENTRY: it cannot start as a PV guest";
    if (demands_feature(n->features, "supervisor_mode_kernel"))
        return "the kernel demands to run in the hypervisor's own ring";
    if (n->virt_base % PAGE_SIZE || n->paddr_offset % PAGE_SIZE)
        return "the kernel's VIRT_BASE or PADDR_OFFSET is not page-aligned";
    if (!in_extent(e, n, n->entry, 1))
        return "the kernel's ENTRY lies outside its segments";
    if (n->has_hypercall_page &&
        (n->hypercall_page % PAGE_SIZE || !in_extent(e, n, n->hypercall_page, PAGE_SIZE)))
        return "the kernel's HYPERCALL_PAGE is not a page inside its segments";
    return NULL;
}

int elf_xen_notes(const struct elf_image *e, struct xen_notes *out, const char **reason)
{
    struct note_reader r = {.out = out};

    *out = (struct xen_notes){0};
    *reason = find_notes(e, &r);
    if (!*reason)
        *reason = check_notes(e, &r);
    return *reason ? -XEN_EINVAL : 0;
}
