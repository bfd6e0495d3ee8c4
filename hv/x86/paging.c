#include "x86/paging.h"
#include "base/assert.h"
#include "base/string.h"
#include "x86/cpu.h"

extern u8 image_start[], image_end[], boot_part_end[];
extern u8 text_start[], text_end[], rodata_start[], rodata_end[], data_start[];
extern u8 init_start[], init_text_end[], init_end[], bss_start[], bss_end[];

#define SIZE_2M MIB(2)
#define SIZE_1G GIB(1)

/* The master top level: guests get a copy of slots 256 to 271. */
static u64 *hv_l4;
static u64 (*pt_alloc)(u64 size, u64 align);
static u64 mmio_next = MMIO_BASE;

/*
 * Before our tables are loaded, physical memory is reached through the boot mapping at 0
 * (DIRECTMAP addresses do not work yet).
 */
static u64 table_offset;

static u64 *table_at(u64 phys)
{
    return (u64 *)(phys + table_offset);
}

static u64 *next_table(u64 *entry, u64 extra)
{
    if (!(*entry & PTE_P))
        *entry = pt_alloc(PAGE_SIZE, PAGE_SIZE) | PTE_P | PTE_RW | PTE_A | PTE_D | extra;
    return table_at(*entry & PTE_ADDR);
}

static u64 *entry_at(u64 va, int level, u64 extra)
{
    u64 *table = hv_l4;

    for (int l = 4; l > level; l--)
        table = next_table(&table[pt_index(va, l)], extra);
    return &table[pt_index(va, level)];
}

u64 *paging_l1_entry(u64 va)
{
    return entry_at(va, 1, 0);
}

void paging_map_page(u64 va, u64 phys, u64 flags)
{
    *paging_l1_entry(va) = phys | flags | PTE_P | PTE_A | PTE_D;
    invlpg((void *)va);
}

static __init bool has_1g_pages(void)
{
    u32 a, b, c, d;

    cpuid_count(0x80000001, 0, &a, &b, &c, &d);
    return d & BIT(26);
}

/* One-to-one map of [start, end): the largest pages that fit. */
static __init void map_direct(u64 start, u64 end, bool use_1g)
{
    const u64 flags = PTE_P | PTE_RW | PTE_A | PTE_D | PTE_NX;

    while (start < end) {
        u64 va = DIRECTMAP_BASE + start, left = end - start;

        if (use_1g && !(start & (SIZE_1G - 1)) && left >= SIZE_1G) {
            *entry_at(va, 3, 0) = start | flags | PTE_PS;
            start += SIZE_1G;
        } else if (!(start & (SIZE_2M - 1)) && left >= SIZE_2M) {
            *entry_at(va, 2, 0) = start | flags | PTE_PS;
            start += SIZE_2M;
        } else {
            *entry_at(va, 1, 0) = start | flags;
            start += PAGE_SIZE;
        }
    }
}

/* What the image's page at this virtual address may be used for. */
static __init u64 image_flags(const u8 *va)
{
    if ((va >= text_start && va < text_end) || (va >= init_start && va < init_text_end))
        return 0;
    if (va >= rodata_start && va < rodata_end)
        return PTE_NX;
    return PTE_RW | PTE_NX;
}

static __init void map_image(void)
{
    u64 start = virt_to_phys(image_start), end = virt_to_phys(image_end);

    for (u64 phys = start; phys < end; phys += PAGE_SIZE) {
        u64 va = HV_BASE + phys, flags = image_flags((const u8 *)va);

        *entry_at(va, 1, 0) = phys | flags | PTE_P | PTE_A | PTE_D;
        /* No writable second name for what must not be written. */
        *entry_at(DIRECTMAP_BASE + phys, 1, 0) = phys | flags | PTE_NX | PTE_P | PTE_A | PTE_D;
    }
}

/*
 * The range that holds the image must be mapped in small pages: leave a 2 MiB-aligned hole
 * around it in the large-page pass and fill it here.
 */
static __init void map_ram(const struct mem_region *map, unsigned nr)
{
    u64 img_start = ROUND_DOWN(virt_to_phys(image_start), SIZE_2M);
    u64 img_end = ROUND_UP(virt_to_phys(image_end), SIZE_2M);
    bool use_1g = has_1g_pages();

    for (unsigned i = 0; i < nr; i++) {
        u64 start = map[i].base, end = map[i].base + map[i].size;

        if (map[i].type != 1)
            continue;
        end = MIN(end, DIRECTMAP_END - SIZE_2M - DIRECTMAP_BASE);
        if (start < img_start)
            map_direct(start, MIN(end, img_start), use_1g);
        for (u64 p = MAX(start, img_start); p < MIN(end, img_end); p += PAGE_SIZE)
            map_direct(p, p + PAGE_SIZE, false);
        if (end > img_end)
            map_direct(MAX(start, img_end), end, use_1g);
    }
}

__init void paging_init(const struct mem_region *map, unsigned nr,
                        u64 (*alloc)(u64 size, u64 align))
{
    u64 l4_phys;

    pt_alloc = alloc;
    l4_phys = alloc(PAGE_SIZE, PAGE_SIZE);
    hv_l4 = table_at(l4_phys);

    /* Every slot of ours gets its L3 now, so that copies in guest tables never go stale. */
    for (unsigned slot = HV_SLOT_FIRST; slot <= HV_SLOT_LAST; slot++)
        next_table(&hv_l4[slot], slot == HV_SLOT_FIRST ? PTE_US : 0);

    map_ram(map, nr);
    map_image();
    /* Guests can cause such mappings later, when there may be no memory for tables. */
    for (u64 va = MMIO_BASE; va < MMIO_END; va += SIZE_2M)
        entry_at(va, 1, 0);

    /* The identity mapping survives until the other CPUs have started. */
    hv_l4[0] = *(u64 *)table_at(read_cr3() & PTE_ADDR);
    write_cr3(l4_phys);
    table_offset = DIRECTMAP_BASE;
    hv_l4 = table_at(l4_phys);
}

/* Is there RAM among the frames [first, end)? */
static __init bool any_ram(const struct mem_region *map, unsigned nr, u64 first, u64 end)
{
    for (unsigned i = 0; i < nr; i++)
        if (map[i].type == 1 && map[i].base >> PAGE_SHIFT < end &&
            (map[i].base + map[i].size) >> PAGE_SHIFT > first)
            return true;
    return false;
}

static __init u64 filled_memory(const struct frame_array *a, u64 bytes)
{
    u64 phys = pt_alloc(bytes, bytes);
    u8 *p = phys_to_virt(phys);

    for (u64 off = 0; off < bytes; off += a->entry_size)
        *(u64 *)(p + off) = a->fill;
    return phys;
}

/* One large or small page of the array, under both its names. */
static __init void map_array_page(const struct frame_array *a, u64 off, int level, u64 phys,
                                  u64 rw)
{
    u64 entry = phys | PTE_P | PTE_A | PTE_D | PTE_NX | (level == 2 ? PTE_PS : 0);

    *entry_at(a->va + off, level, 0) = entry | rw;
    if (a->guest_va)
        *entry_at(a->guest_va + off, level, PTE_US) = entry | PTE_US;
}

__init void paging_map_frame_array(const struct frame_array *a, u64 nr_frames,
                                   const struct mem_region *map, unsigned nr)
{
    u64 bytes = ROUND_UP(nr_frames * a->entry_size, PAGE_SIZE),
        per_page = PAGE_SIZE / a->entry_size;
    u64 hole = filled_memory(a, PAGE_SIZE), off = 0;

    while (off < bytes) {
        u64 first = off / a->entry_size, full = 0;

        /* Large pages where every small one would be needed. */
        while (!(off & (SIZE_2M - 1)) && bytes - off >= SIZE_2M && full < PT_ENTRIES &&
               any_ram(map, nr, first + full * per_page, first + (full + 1) * per_page))
            full++;
        if (full == PT_ENTRIES) {
            map_array_page(a, off, 2, filled_memory(a, SIZE_2M), PTE_RW);
            off += SIZE_2M;
            continue;
        }
        if (any_ram(map, nr, first, first + per_page))
            map_array_page(a, off, 1, filled_memory(a, PAGE_SIZE), PTE_RW);
        else
            map_array_page(a, off, 1, hole, 0);
        off += PAGE_SIZE;
    }
}

void paging_set_allocator(u64 (*alloc)(u64 size, u64 align))
{
    pt_alloc = alloc;
}

void paging_drop_identity(void)
{
    hv_l4[0] = 0;
    write_cr3(read_cr3());
}

static void free_image_part(u64 start, u64 end)
{
    for (u64 phys = start; phys < end; phys += PAGE_SIZE) {
        *paging_l1_entry(HV_BASE + phys) = 0;
        invlpg((void *)(HV_BASE + phys));
        paging_map_page(DIRECTMAP_BASE + phys, phys, PTE_RW | PTE_NX);
    }
}

void paging_free_init(void)
{
    free_image_part(virt_to_phys(image_start), virt_to_phys(boot_part_end));
    free_image_part(virt_to_phys(init_start), virt_to_phys(init_end));
}

u64 paging_hv_cr3(void)
{
    return virt_to_phys(hv_l4);
}

u64 paging_phys_of(u64 va)
{
    const u64 *table = hv_l4;
    u64 entry = 0, size;

    for (int level = 4; level >= 1; level--) {
        entry = table[pt_index(va, level)];
        size = BIT(3 + 9 * level);
        if (!(entry & PTE_P))
            return 0;
        if (level == 1 || entry & PTE_PS)
            break;
        table = table_at(entry & PTE_ADDR);
    }
    return (entry & PTE_ADDR & ~(size - 1)) | (va & (size - 1));
}

void paging_fill_guest_l4(u64 *l4)
{
    for (unsigned slot = HV_SLOT_FIRST; slot <= HV_SLOT_LAST; slot++)
        l4[slot] = hv_l4[slot];
}

void *map_mmio(u64 phys, u64 size)
{
    u64 first = ROUND_DOWN(phys, PAGE_SIZE), last = ROUND_UP(phys + size, PAGE_SIZE);
    u64 va = mmio_next;

    if (last <= first || last - first > MMIO_END - mmio_next)
        return NULL;
    for (u64 p = first; p < last; p += PAGE_SIZE)
        paging_map_page(va + (p - first), p, PTE_RW | PTE_NX | PTE_PCD | PTE_PWT);
    mmio_next += last - first;
    return (void *)(va + (phys - first));
}
