/*
 * The hypervisor's own page tables (layout: x86/layout.h) and the words they are made of.
 *
 * paging_init() builds the final tables with W^X: text is read-execute, constants read-only,
 * everything else never executable; the image is read-only in the one-to-one map too. After
 * that only MMIO mappings and the CPU windows change.
 *
 * Locking: boot-time functions run before other CPUs do; the caller serialises map_mmio().
 */
#ifndef SERAI_X86_PAGING_H
#define SERAI_X86_PAGING_H

#include "base/types.h"
#include "core/e820.h"
#include "x86/layout.h"

#define PTE_P    BIT(0)
#define PTE_RW   BIT(1)
#define PTE_US   BIT(2)
#define PTE_PWT  BIT(3)
#define PTE_PCD  BIT(4)
#define PTE_A    BIT(5)
#define PTE_D    BIT(6)
#define PTE_PS   BIT(7)
#define PTE_PAT  BIT(7) /* in an L1 entry */
#define PTE_G    BIT(8)
#define PTE_AVL  (BIT(9) | BIT(10) | BIT(11))
#define PTE_NX   BIT(63)
#define PTE_ADDR 0x000ffffffffff000UL

#define PT_ENTRIES 512

static inline void *phys_to_virt(u64 phys)
{
    return (void *)(DIRECTMAP_BASE + phys);
}

static inline u64 virt_to_phys(const void *va)
{
    u64 a = (u64)va;
    return a >= DIRECTMAP_BASE ? a - DIRECTMAP_BASE : a - HV_BASE;
}

static inline void *mfn_to_virt(mfn_t mfn)
{
    return phys_to_virt(mfn.n << PAGE_SHIFT);
}

/* Of an address in the one-to-one map. */
static inline mfn_t mapped_mfn(const void *va)
{
    return MFN(((u64)va - DIRECTMAP_BASE) >> PAGE_SHIFT);
}

static inline mfn_t virt_to_mfn(const void *va)
{
    return MFN(virt_to_phys(va) >> PAGE_SHIFT);
}

/* Index of a virtual address in the table of a level (1 to 4). */
static inline unsigned pt_index(u64 va, int level)
{
    return (va >> (3 + 9 * level)) & 511;
}

/*
 * Builds and loads the page tables. 'alloc' returns zeroed, page-aligned physical memory below
 * 4 GiB and stops the boot itself when there is none.
 */
void paging_init(const struct mem_region *map, unsigned nr, u64 (*alloc)(u64 size, u64 align));

/*
 * A table with one entry for each machine frame below 'nr_frames', backed by memory only where
 * there is RAM to describe.
 */
struct frame_array {
    u64 va;       /* where the hypervisor reads and writes it */
    u64 guest_va; /* where guests read it; 0: nowhere */
    unsigned entry_size;
    u64 fill; /* first word of each entry before use, and of all entries in holes */
};

void paging_map_frame_array(const struct frame_array *a, u64 nr_frames,
                            const struct mem_region *map, unsigned nr);

/* Takes away the low identity mapping that the boot and the AP trampoline need. */
void paging_drop_identity(void);

/* The boot code and data go back to the heap: writable memory in the one-to-one map only. */
void paging_free_init(void);

/* The hypervisor's own top-level table, with nothing of a guest in it. */
u64 paging_hv_cr3(void);

/* Where one of our addresses lies; 0: nowhere. */
u64 paging_phys_of(u64 va);

/* Copies the hypervisor's slots (256 to 271) into a guest's top-level table. */
void paging_fill_guest_l4(u64 *l4);

/* Uncached device registers, mapped for good; NULL when the window is used up. */
void *map_mmio(u64 phys, u64 size);

/* Maps one page at a fixed hypervisor address (stubs and windows). */
void paging_map_page(u64 va, u64 phys, u64 flags);
u64 *paging_l1_entry(u64 va);

/* For page tables made after boot (map_mmio): pages from the heap. */
void paging_set_allocator(u64 (*alloc)(u64 size, u64 align));

#endif
