/*
 * Frames and page tables. Frame numbers: pfn is ours and dense, mfn is the machine's; the p2m
 * list and the hypervisor's m2p translate. Page tables hold mfns.
 */
#include "guest.h"

#define POOL_PAGES   1024
#define WINDOW       0x10000000000UL /* L4 slot 2 */
#define WINDOW_PAGES 512

static u8 pool[POOL_PAGES][PAGE_SIZE] __attribute__((aligned(4096)));
static void *free_list[POOL_PAGES];
static unsigned free_count;
static u64 boot_pages; /* pages of the initial mapping */
u64 max_mfn;

static const u64 *p2m_list(void)
{
    return (const u64 *)start->mfn_list;
}

void mem_init(void)
{
    struct xen_machphys_mapping map;
    u64 va = VIRT_BASE;

    if (hc_memory(XENMEM_machphys_mapping, &map))
        die("no machphys_mapping");
    max_mfn = map.max_mfn;
    for (unsigned i = 0; i < POOL_PAGES; i++)
        free_list[free_count++] = pool[POOL_PAGES - 1 - i];
    boot_pages = start->nr_pages;
    /* The address space ends 2 GiB above VIRT_BASE, however large the domain is. */
    while (va >= VIRT_BASE && pfn_of((void *)va) < start->nr_pages && (pte_read(va) & PTE_P))
        va += PAGE_SIZE;
    boot_pages = (va - VIRT_BASE) / PAGE_SIZE;
}

void *page_alloc(void)
{
    void *page;

    if (!free_count)
        die("page pool empty");
    page = free_list[--free_count];
    return memset(page, 0, PAGE_SIZE);
}

void page_free(void *page)
{
    free_list[free_count++] = page;
}

u64 pfn_of(const volatile void *va)
{
    return ((u64)va - VIRT_BASE) / PAGE_SIZE;
}

u64 mfn_of(const volatile void *va)
{
    return p2m_list()[pfn_of(va)];
}

u64 maddr_of(const volatile void *va)
{
    return mfn_of(va) * PAGE_SIZE + ((u64)va & (PAGE_SIZE - 1));
}

u64 m2p(u64 mfn)
{
    u64 pfn;

    if (mfn > max_mfn || try_read(MACH2PHYS_VIRT_START + mfn * 8, &pfn) != VEC_NONE)
        return ~0UL;
    return pfn;
}

bool mfn_is_ours(u64 mfn)
{
    u64 pfn = m2p(mfn);

    return pfn < start->nr_pages && p2m_list()[pfn] == mfn;
}

void *va_of_mfn(u64 mfn)
{
    u64 pfn = m2p(mfn);

    return pfn < boot_pages ? (void *)(VIRT_BASE + pfn * PAGE_SIZE) : NULL;
}

u64 *l4_table(void)
{
    return (u64 *)start->pt_base;
}

static u64 *index_at(u64 *table, u64 va, int level)
{
    return table + ((va >> (12 + 9 * (level - 1))) & 511);
}

u64 *pte_in(u64 *l4, u64 va, int level)
{
    u64 *table = l4;

    for (int l = 4; table; l--) {
        u64 *entry = index_at(table, va, l);

        if (l == level)
            return entry;
        if (!(*entry & PTE_P) || (*entry & PTE_PSE))
            return NULL;
        table = va_of_mfn((*entry & PTE_ADDR) / PAGE_SIZE);
    }
    return NULL;
}

u64 *pte_at(u64 va, int level)
{
    return pte_in(l4_table(), va, level);
}

u64 *pte_make(u64 *l4, u64 va)
{
    for (int l = 4; l > 1; l--) {
        u64 *entry = pte_in(l4, va, l);
        void *table;

        if (*entry & PTE_P)
            continue;
        table = page_alloc();
        if (set_ro(table) || mmu_write(entry, maddr_of(table) | PTE_KERN))
            die("cannot add a page table");
    }
    return pte_in(l4, va, 1);
}

u64 pte_read(u64 va)
{
    u64 *entry = pte_at(va, 1);

    return entry ? *entry : 0;
}

long set_ro(const volatile void *page)
{
    return hc_update_va(page, maddr_of(page) | PTE_RO, UVMF_INVLPG);
}

long set_rw(const volatile void *page)
{
    return hc_update_va(page, maddr_of(page) | PTE_KERN, UVMF_INVLPG);
}

long mmu_write_type(u64 maddr, u64 val, unsigned type, u64 dom)
{
    struct mmu_update req = {.ptr = maddr | type, .val = val};
    u32 done = 0;

    return hc_mmu_update(&req, 1, &done, dom);
}

long mmu_write(const volatile void *entry, u64 val)
{
    return mmu_write_type(maddr_of(entry), val, MMU_NORMAL_PT_UPDATE, DOMID_SELF);
}

long mmuext(unsigned cmd, u64 arg1, u64 arg2)
{
    struct mmuext_op op = {.cmd = cmd, .arg1.mfn = arg1};
    u32 done = 0;

    op.arg2.src_mfn = arg2;
    return hc_mmuext(&op, 1, &done, DOMID_SELF);
}

long pin(int level, const volatile void *page)
{
    return mmuext(MMUEXT_PIN_L1_TABLE + level - 1, mfn_of(page), 0);
}

long unpin(const volatile void *page)
{
    return mmuext(MMUEXT_UNPIN_TABLE, mfn_of(page), 0);
}

long make_table(int level, void *page)
{
    long rc = set_ro(page);

    return rc ? rc : pin(level, page);
}

void drop_table(void *page)
{
    unpin(page);
    if (set_rw(page))
        die("a dropped table cannot be made writable");
    page_free(page);
}

u64 window(unsigned n)
{
    pte_make(l4_table(), WINDOW);
    return WINDOW + (n % WINDOW_PAGES) * PAGE_SIZE;
}

long window_map(unsigned n, u64 pte)
{
    return hc_update_va((void *)window(n), pte, UVMF_INVLPG);
}

bool mfn_is_ram(u64 mfn)
{
    static struct e820 {
        u64 base, len;
        u32 type;
    } __attribute__((packed)) map[128];
    static struct xen_memory_map mm;

    if (!mm.nr_entries) {
        mm.nr_entries = 128;
        set_xen_guest_handle(mm.buffer, (void *)map);
        if (hc_memory(XENMEM_machine_memory_map, &mm))
            die("no machine memory map");
    }
    for (unsigned i = 0; i < mm.nr_entries; i++)
        if (map[i].type == 1 && mfn << 12 >= map[i].base &&
            (mfn + 1) << 12 <= map[i].base + map[i].len)
            return mfn >= 256;
    return false;
}

/* --- is any table writable? --- */

#define MAX_TABLES 2048
static u32 table_mfns[MAX_TABLES];
static u8 table_bits[1 << 17]; /* one bit per mfn that is a table; machines up to 4 GiB */
static unsigned table_count;

bool mfn_is_table(u64 mfn)
{
    return mfn <= max_mfn && (table_bits[mfn / 8] >> (mfn % 8) & 1);
}

static void collect(u64 mfn, int level)
{
    const u64 *table = va_of_mfn(mfn);

    if (mfn_is_table(mfn) || table_count == MAX_TABLES)
        return;
    table_bits[mfn / 8] |= 1 << (mfn % 8);
    table_mfns[table_count++] = mfn | (u32)level << 28;
    if (level == 1 || !table || try_read((u64)table, NULL) != VEC_NONE)
        return;
    for (unsigned i = 0; i < 512; i++)
        if ((table[i] & PTE_P) && !(table[i] & PTE_PSE) && !(level == 4 && i >= 256 && i < 272))
            collect((table[i] & PTE_ADDR) / PAGE_SIZE, level - 1);
}

u64 table_pages_seen(void)
{
    return table_count;
}

bool tables_are_readonly(void)
{
    bool good = true;

    if (max_mfn / 8 >= sizeof(table_bits))
        die("machine too big for the table check; use -m 2G or less");
    memset(table_bits, 0, sizeof(table_bits));
    table_count = 0;
    collect(mfn_of(l4_table()), 4);
    if (user_ready())
        collect(user_l4, 4);
    for (unsigned i = 0; i < table_count; i++) {
        const u64 *table = va_of_mfn(table_mfns[i] & 0xfffffff);

        if (!table || table_mfns[i] >> 28 != 1 || try_read((u64)table, NULL) != VEC_NONE)
            continue;
        for (unsigned n = 0; n < 512; n++)
            if ((table[n] & (PTE_P | PTE_RW)) == (PTE_P | PTE_RW) &&
                mfn_is_table((table[n] & PTE_ADDR) / PAGE_SIZE)) {
                note("table %lx mapped writable by %lx[%u]", (table[n] & PTE_ADDR) / PAGE_SIZE,
                     (u64)(table_mfns[i] & 0xfffffff), n);
                good = false;
            }
    }
    return good;
}
