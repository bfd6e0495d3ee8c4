/*
 * What a guest may write into its page tables: the judgement on one entry, by its bits alone.
 * The frame behind it is judged by guest/mmu (owner, type, I/O permission).
 *
 * Pure; total.
 */
#ifndef SERAI_CORE_PTE_H
#define SERAI_CORE_PTE_H

#include "base/types.h"

#define GPTE_P      BIT(0)
#define GPTE_RW     BIT(1)
#define GPTE_US     BIT(2)
#define GPTE_PWT    BIT(3)
#define GPTE_PCD    BIT(4)
#define GPTE_A      BIT(5)
#define GPTE_D      BIT(6)
#define GPTE_PAT    BIT(7)
#define GPTE_G      BIT(8)
#define GPTE_AVL    (BIT(9) | BIT(10) | BIT(11))
#define GPTE_SOFT   (0x7ffUL << 52) /* ignored by hardware without protection keys */
#define GPTE_KERNEL BIT(52)         /* ours: the guest wrote it without US */
#define GPTE_LOGGED BIT(53) /* ours: RW withheld to see the first write, guest/logdirty.h */
#define GPTE_NX     BIT(63)
#define GPTE_ADDR   0x000ffffffffff000UL
#define GPTE_CACHE  (GPTE_PWT | GPTE_PCD | GPTE_PAT)

/* Bits that change nothing about what an L1 entry may reach. */
#define GPTE_L1_HARMLESS                                                                       \
    ((GPTE_A | GPTE_D | GPTE_G | GPTE_US | GPTE_AVL | GPTE_SOFT | GPTE_NX) & ~GPTE_LOGGED)

static inline mfn_t pte_mfn(u64 pte)
{
    return MFN((pte & GPTE_ADDR) >> PAGE_SHIFT);
}

/*
 * L1: everything but cache attributes is free; those only for a domain that owns devices.
 * L2 to L4: no large pages, no cache attributes, nothing reserved (there are no superpages in
 * this ABI, and bit 7 in an L2 would make one).
 */
static inline bool pte_flags_ok(u64 pte, int level, bool may_cache_attr)
{
    if (level == 1)
        return may_cache_attr || !(pte & GPTE_CACHE);
    return !(pte & (GPTE_PAT | GPTE_CACHE | GPTE_G));
}

/*
 * The entry as the hardware gets it: the guest kernel runs in ring 3, so every present entry is
 * a user entry, in L1 with a note of what it was; and no entry is global, so that a load of CR3
 * flushes all of the guest's.
 */
static inline u64 pte_adjust(u64 pte, int level)
{
    if (!(pte & GPTE_P))
        return pte;
    if (level > 1)
        return pte | GPTE_US | GPTE_A;
    if (!(pte & GPTE_US))
        pte |= GPTE_US | GPTE_KERNEL;
    return pte & ~(GPTE_G | GPTE_LOGGED);
}

/* Index of the first and one past the last L4 slot that are ours. */
#define L4_SLOT_HV_FIRST 256
#define L4_SLOT_HV_END   272

static inline bool l4_slot_is_guest(unsigned slot)
{
    return slot < L4_SLOT_HV_FIRST || slot >= L4_SLOT_HV_END;
}

/* May a guest name [va, va + len) in a hypercall? Canonical, outside our hole, no wrap. */
static inline bool guest_range_ok(u64 va, u64 len)
{
    const u64 low_end = 0x0000800000000000UL, hole_end = 0xffff880000000000UL;

    if (len > BIT(47))
        return false;
    if (va < low_end)
        return va + len <= low_end;
    return va >= hole_end && (!len || va + len - 1 >= va);
}

static inline bool va_is_canonical(u64 va)
{
    return (u64)((s64)(va << 16) >> 16) == va;
}

#endif
