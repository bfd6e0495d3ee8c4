#include "core/multiboot.h"
#include "abi/multiboot.h"
#include "base/string.h"

/* Far above what loaders produce; bounds the work that a broken length can cause. */
#define MAX_INFO_SIZE    MIB(1)
#define MAX_MMAP_ENTRIES 4096

/* Copy memory into a local structure. */
static bool read_phys(const struct phys_reader *r, u64 phys, void *out, size_t len)
{
    const u8 *p = phys_map(r, phys, len);

    if (p)
        memcpy(out, p, len);
    return p != NULL;
}

/* Strings end up in logs and in a guest's command line: blanks stay, other controls do not. */
static char clean_byte(u8 c)
{
    if (c == '\t' || c == '\n' || c == '\r')
        return ' ';
    return c < ' ' || c == 0x7f ? '?' : (char)c;
}

/*
 * Copy a string of at most 'limit' bytes. Byte by byte, because only its end tells how much
 * of the memory after it is there to be read. False: it runs into unreadable memory.
 */
static bool read_string(const struct phys_reader *r, u64 phys, u64 limit, char *out,
                        size_t size, bool *cut)
{
    size_t n = 0;

    *cut = false;
    for (;; n++) {
        const u8 *p;

        if (n >= limit)
            break;
        p = phys_map(r, phys + n, 1);
        if (!p)
            return false;
        if (!*p)
            break;
        if (n + 1 >= size) {
            *cut = true;
            break;
        }
        out[n] = clean_byte(*p);
    }
    out[n] = '\0';
    return true;
}

/* A region joins the last one when they touch: EFI maps are long and mostly mergeable. */
static int add_region(struct boot_info *out, u64 base, u64 size, u32 type)
{
    struct mem_region *last = out->nr_regions ? &out->regions[out->nr_regions - 1] : NULL;

    if (!size)
        return 0;
    size = MIN(size, ~0ULL - base);
    if (last && last->type == type && last->base + last->size == base) {
        last->size += size;
        return 0;
    }
    if (out->nr_regions == BOOT_MAX_REGIONS) {
        /* Memory nobody lists is not used; a lost reservation would be. */
        out->regions_dropped++;
        return type == E820_RAM ? 0 : -XEN_E2BIG;
    }
    out->regions[out->nr_regions++] =
        (struct mem_region){.base = base, .size = size, .type = type};
    return 0;
}

static const char *add_basic_memory(struct boot_info *out, u32 lower_kib, u32 upper_kib)
{
    if (add_region(out, 0, KIB(lower_kib), E820_RAM) < 0 ||
        add_region(out, MIB(1), KIB(upper_kib), E820_RAM) < 0)
        return "the memory map has too many regions";
    return NULL;
}

static const char *add_module(const struct phys_reader *r, struct boot_info *out, u64 start,
                              u64 end, u64 string, u64 limit)
{
    struct boot_module *m = &out->modules[out->nr_modules];

    if (end < start)
        return "a boot module ends before it starts";
    if (out->nr_modules == BOOT_MAX_MODULES) {
        out->modules_dropped++;
        return NULL;
    }
    m->start = start;
    m->end = end;
    m->string[0] = '\0';
    if (string && !read_string(r, string, limit, m->string, sizeof(m->string), &m->string_cut))
        return "a boot module's string lies outside memory";
    out->nr_modules++;
    return NULL;
}

static const char *take_framebuffer(const struct phys_reader *r, u64 phys, u64 colours,
                                    struct boot_info *out)
{
    struct boot_framebuffer *fb = &out->framebuffer;
    struct multiboot_framebuffer raw;
    struct multiboot_fb_colours c = {0};

    if (!read_phys(r, phys, &raw, sizeof(raw)) ||
        (raw.type == MULTIBOOT_FB_RGB && !read_phys(r, colours, &c, sizeof(c))))
        return "the framebuffer description lies outside memory";
    *fb = (struct boot_framebuffer){
        .present = true,
        .addr = raw.addr,
        .pitch = raw.pitch,
        .width = raw.width,
        .height = raw.height,
        .bpp = raw.bpp,
        .type = raw.type,
        .red_pos = c.red_pos,
        .red_size = c.red_size,
        .green_pos = c.green_pos,
        .green_size = c.green_size,
        .blue_pos = c.blue_pos,
        .blue_size = c.blue_size,
    };
    return NULL;
}

static const char *take_mmap1(const struct phys_reader *r, const struct multiboot1_info *info,
                              struct boot_info *out)
{
    u64 phys = info->mmap_addr;
    u64 left = info->mmap_length;

    for (unsigned i = 0; left; i++) {
        struct multiboot1_mmap_entry e;
        u64 step;

        if (i == MAX_MMAP_ENTRIES || left < sizeof(e) || !read_phys(r, phys, &e, sizeof(e)))
            return "the Multiboot memory map is broken";
        step = (u64)e.size + sizeof(e.size);
        if (step < sizeof(e) || step > left)
            return "the Multiboot memory map has an entry of a wrong size";
        if (add_region(out, e.base, e.length, e.type) < 0)
            return "the memory map has too many regions";
        phys += step;
        left -= step;
    }
    return NULL;
}

static const char *take_modules1(const struct phys_reader *r,
                                 const struct multiboot1_info *info, struct boot_info *out)
{
    for (u64 i = 0; i < info->mods_count; i++) {
        struct multiboot1_module m;
        const char *reason;

        if (i == MAX_MMAP_ENTRIES ||
            !read_phys(r, info->mods_addr + i * sizeof(m), &m, sizeof(m)))
            return "the Multiboot module list is broken";
        reason = add_module(r, out, m.start, m.end, m.string, MAX_INFO_SIZE);
        if (reason)
            return reason;
    }
    return NULL;
}

static const char *take_strings1(const struct phys_reader *r,
                                 const struct multiboot1_info *info, struct boot_info *out)
{
    bool cut;

    if ((info->flags & MULTIBOOT1_INFO_CMDLINE) &&
        !read_string(r, info->cmdline, MAX_INFO_SIZE, out->cmdline, sizeof(out->cmdline),
                     &out->cmdline_cut))
        return "the command line lies outside memory";
    if ((info->flags & MULTIBOOT1_INFO_LOADER) &&
        !read_string(r, info->loader_name, MAX_INFO_SIZE, out->loader, sizeof(out->loader),
                     &cut))
        return "the boot loader's name lies outside memory";
    return NULL;
}

static const char *parse1(const struct phys_reader *r, u64 phys, struct boot_info *out)
{
    struct multiboot1_info info;
    const char *reason;
    u64 fb = phys + sizeof(info);

    if (!read_phys(r, phys, &info, sizeof(info)))
        return "the Multiboot information lies outside memory";
    reason = take_strings1(r, &info, out);
    if (!reason && (info.flags & MULTIBOOT1_INFO_MODS))
        reason = take_modules1(r, &info, out);
    if (!reason && (info.flags & MULTIBOOT1_INFO_FRAMEBUFFER))
        reason = take_framebuffer(r, fb, fb + sizeof(struct multiboot_framebuffer), out);
    if (reason)
        return reason;
    if (info.flags & MULTIBOOT1_INFO_MMAP)
        return take_mmap1(r, &info, out);
    if (info.flags & MULTIBOOT1_INFO_MEMORY)
        return add_basic_memory(out, info.mem_lower, info.mem_upper);
    return "the boot loader gave no memory map";
}

int multiboot1_parse(const struct phys_reader *r, u64 info_phys, struct boot_info *out,
                     const char **reason)
{
    memset(out, 0, sizeof(*out));
    *reason = parse1(r, info_phys, out);
    return *reason ? -XEN_EINVAL : 0;
}

/* One tag: where its data is and how much. */
struct tag {
    u32 type;
    u64 data;
    u64 len;
};

/* Memory maps wait until all tags are seen: which one counts, and what it means, depends. */
struct tags {
    const struct phys_reader *r;
    struct boot_info *out;
    struct tag mmap, efi_mmap, basic_memory;
};

static const char *take_module2(struct tags *t, const struct tag *tag)
{
    u32 range[2];

    if (tag->len < sizeof(range) || !read_phys(t->r, tag->data, range, sizeof(range)))
        return "a Multiboot module tag is too short";
    return add_module(t->r, t->out, range[0], range[1], tag->data + sizeof(range),
                      tag->len - sizeof(range));
}

static const char *take_rsdp(struct tags *t, const struct tag *tag)
{
    struct boot_info *out = t->out;
    unsigned len = MIN(tag->len, sizeof(out->rsdp_copy));

    /* The new form wins whatever the order: it alone names the XSDT. */
    if (!len || (tag->type == MULTIBOOT2_TAG_ACPI_OLD && out->rsdp_len))
        return NULL;
    if (!read_phys(t->r, tag->data, out->rsdp_copy, len))
        return "the ACPI root pointer's copy lies outside memory";
    out->rsdp = tag->data;
    out->rsdp_len = len;
    return NULL;
}

static const char *take_string2(struct tags *t, const struct tag *tag, char *out, size_t size,
                                bool *cut)
{
    return read_string(t->r, tag->data, tag->len, out, size, cut)
               ? NULL
               : "a Multiboot string lies outside memory";
}

static const char *take_framebuffer2(struct tags *t, const struct tag *tag)
{
    /* Two reserved bytes stand between the type and the colours. */
    u64 colours = tag->data + sizeof(struct multiboot_framebuffer) + 2;

    if (tag->len < sizeof(struct multiboot_framebuffer) + 2)
        return "the framebuffer tag is too short";
    return take_framebuffer(t->r, tag->data, colours, t->out);
}

static const char *take_efi64(struct tags *t, const struct tag *tag)
{
    if (tag->len < sizeof(u64) ||
        !read_phys(t->r, tag->data, &t->out->efi_system_table, sizeof(u64)))
        return "the EFI system table tag is too short";
    t->out->efi = true;
    return NULL;
}

static const char *take_tag(struct tags *t, const struct tag *tag)
{
    struct boot_info *out = t->out;
    bool cut;

    switch (tag->type) {
    case MULTIBOOT2_TAG_CMDLINE:
        return take_string2(t, tag, out->cmdline, sizeof(out->cmdline), &out->cmdline_cut);
    case MULTIBOOT2_TAG_LOADER:
        return take_string2(t, tag, out->loader, sizeof(out->loader), &cut);
    case MULTIBOOT2_TAG_MODULE:
        return take_module2(t, tag);
    case MULTIBOOT2_TAG_BASIC_MEM:
        t->basic_memory = *tag;
        return NULL;
    case MULTIBOOT2_TAG_MMAP:
        t->mmap = *tag;
        return NULL;
    case MULTIBOOT2_TAG_EFI_MMAP:
        t->efi_mmap = *tag;
        return NULL;
    case MULTIBOOT2_TAG_EFI_BS:
        out->efi_boot_services = true;
        return NULL;
    case MULTIBOOT2_TAG_EFI32:
        out->efi = true;
        return NULL;
    case MULTIBOOT2_TAG_EFI64:
        return take_efi64(t, tag);
    case MULTIBOOT2_TAG_ACPI_OLD:
    case MULTIBOOT2_TAG_ACPI_NEW:
        return take_rsdp(t, tag);
    case MULTIBOOT2_TAG_FRAMEBUFFER:
        return take_framebuffer2(t, tag);
    default:
        return NULL;
    }
}

static const char *walk_tags(struct tags *t, u64 phys, u64 total)
{
    u64 off = sizeof(struct multiboot2_info);

    for (;;) {
        struct multiboot2_tag head;
        struct tag tag;
        const char *reason;

        if (!range_ok(off, sizeof(head), total) ||
            !read_phys(t->r, phys + off, &head, sizeof(head)))
            return "the Multiboot tags run past the end of the information";
        if (head.type == MULTIBOOT2_TAG_END)
            return NULL;
        if (head.size < sizeof(head) || !range_ok(off, head.size, total))
            return "a Multiboot tag has a wrong size";
        tag = (struct tag){head.type, phys + off + sizeof(head), head.size - sizeof(head)};
        reason = take_tag(t, &tag);
        if (reason)
            return reason;
        off += ROUND_UP((u64)head.size, 8);
    }
}

/* Both maps begin with the entries' size and a version. */
static const char *map_entries(struct tags *t, const struct tag *tag, u64 min_size,
                               u32 *entry_size, u64 *nr)
{
    u32 head[2];

    if (tag->len < sizeof(head) || !read_phys(t->r, tag->data, head, sizeof(head)))
        return "the memory map tag is too short";
    if (head[0] < min_size)
        return "the memory map has entries of a wrong size";
    *entry_size = head[0];
    *nr = (tag->len - sizeof(head)) / head[0];
    return NULL;
}

static const char *take_mmap2(struct tags *t)
{
    u32 size;
    u64 nr;
    const char *reason =
        map_entries(t, &t->mmap, sizeof(struct multiboot2_mmap_entry), &size, &nr);

    for (u64 i = 0; i < nr && !reason; i++) {
        struct multiboot2_mmap_entry e;

        if (!read_phys(t->r, t->mmap.data + 8 + i * size, &e, sizeof(e)))
            reason = "the memory map lies outside memory";
        else if (add_region(t->out, e.base, e.length, e.type) < 0)
            reason = "the memory map has too many regions";
    }
    return reason;
}

static u32 efi_type(u32 type, bool boot_services)
{
    switch (type) {
    case EFI_BOOT_SERVICES_CODE:
    case EFI_BOOT_SERVICES_DATA:
        return boot_services ? E820_RESERVED : E820_RAM;
    case EFI_LOADER_CODE:
    case EFI_LOADER_DATA:
    case EFI_CONVENTIONAL:
        return E820_RAM;
    case EFI_UNUSABLE:
        return E820_UNUSABLE;
    case EFI_ACPI_RECLAIM:
        return E820_ACPI;
    case EFI_ACPI_NVS:
        return E820_NVS;
    default:
        return E820_RESERVED;
    }
}

static const char *take_efi_mmap(struct tags *t)
{
    u32 size;
    u64 nr;
    const char *reason =
        map_entries(t, &t->efi_mmap, sizeof(struct efi_memory_descriptor), &size, &nr);

    for (u64 i = 0; i < nr && !reason; i++) {
        struct efi_memory_descriptor d;

        if (!read_phys(t->r, t->efi_mmap.data + 8 + i * size, &d, sizeof(d)))
            reason = "the EFI memory map lies outside memory";
        else if (d.pages > ~0ULL >> PAGE_SHIFT)
            reason = "the EFI memory map has an entry beyond the end of memory";
        else if (add_region(t->out, d.phys, d.pages << PAGE_SHIFT,
                            efi_type(d.type, t->out->efi_boot_services)) < 0)
            reason = "the memory map has too many regions";
    }
    return reason;
}

static const char *take_memory2(struct tags *t)
{
    u32 kib[2];

    if (t->mmap.type)
        return take_mmap2(t);
    if (t->efi_mmap.type)
        return take_efi_mmap(t);
    if (!t->basic_memory.type)
        return "the boot loader gave no memory map";
    if (t->basic_memory.len < sizeof(kib) ||
        !read_phys(t->r, t->basic_memory.data, kib, sizeof(kib)))
        return "the basic memory tag is too short";
    return add_basic_memory(t->out, kib[0], kib[1]);
}

static const char *parse2(const struct phys_reader *r, u64 phys, struct boot_info *out)
{
    struct tags t = {.r = r, .out = out};
    struct multiboot2_info info;
    const char *reason;

    if (!read_phys(r, phys, &info, sizeof(info)))
        return "the Multiboot information lies outside memory";
    if (info.total_size < sizeof(info) || info.total_size > MAX_INFO_SIZE ||
        phys + info.total_size < phys)
        return "the Multiboot information has a wrong size";
    reason = walk_tags(&t, phys, info.total_size);
    return reason ? reason : take_memory2(&t);
}

int multiboot2_parse(const struct phys_reader *r, u64 info_phys, struct boot_info *out,
                     const char **reason)
{
    memset(out, 0, sizeof(*out));
    *reason = parse2(r, info_phys, out);
    return *reason ? -XEN_EINVAL : 0;
}

const char *multiboot_args(const struct boot_info *b, const char *string)
{
    if (strncmp(b->loader, "GRUB 2.", 7) == 0)
        return string;
    while (*string == ' ')
        string++;
    while (*string && *string != ' ')
        string++;
    while (*string == ' ')
        string++;
    return string;
}
