/*
 * Page tables of guests: the judgement of entries by the frame they name, validation of whole
 * tables, and the update of one entry.
 *
 *  M1 Every present entry of a validated table keeps the frame it names: an L1 entry with RW by
 *     a use as writable, without RW by a reference; an L2 to L4 entry by a use as the table below.
 *  M2 (R5) A reference is taken before the entry that needs it is written, and dropped after
 *     the entry is gone.
 *  M3 (R7) A table never names one of its own level or above; guests have no linear tables, and
 *     the hypervisor walks through its own map.
 *  M4 Who writes a present entry into a validated table marks that eighth of the table (REF_PART)
 *     before he gives up his use of it: no others are searched for what is to be dropped.
 */
#ifndef SERAI_GUEST_MMU_H
#define SERAI_GUEST_MMU_H

#include "core/pte.h"
#include "guest/domain.h"
#include "guest/frame.h"
#include "x86/paging.h"

int mmu_validate_table(u16 owner, mfn_t mfn, enum frame_type t) must_check;
void mmu_devalidate_table(mfn_t mfn, enum frame_type t);
int mmu_validate_descriptors(mfn_t mfn) must_check;

/* Forces a descriptor to ring 3; false for one that a guest may not have. */
bool mmu_fix_descriptor(u64 *desc);

struct pte_update {
    u16 table_owner;  /* domain that owns the table */
    u16 target_owner; /* whose frames an L1 entry may name; DOMID_IO for devices only */
    bool preserve_ad;
};

/*
 * Replaces the entry at 'slot' (in the hypervisor's map) of a table of this level, of which the
 * caller holds a use. When 'expect' is not NULL the entry must still hold *expect: otherwise
 * -XEN_EAGAIN and *expect is what it holds now.
 */
int mmu_update_entry(const struct pte_update *u, int level, u64 *slot, u64 new,
                     u64 *expect) must_check;

bool mmu_set_simply(u16 table_owner, u16 target_owner, u64 *slot, u64 old, u64 new) must_check;
bool mmu_clear_simply(u16 table_owner, u64 *slot, u64 old, u64 new) must_check;

/*
 * The same in short where an L1 entry comes that is a use of a domain's RAM, and none was, or goes:
 * what faults, mapping and unmapping need. The entry is still 'old'. False: it is not that simple,
 * or was changed meanwhile; nothing is done, ask mmu_update_entry().
 */
static must_inline must_check bool mmu_update_simply(u16 table_owner, u16 target_owner,
                                                     u64 *slot, u64 old, u64 new)
{
    return new &GPTE_P ? mmu_set_simply(table_owner, target_owner, slot, old, new)
                       : mmu_clear_simply(table_owner, slot, old, new);
}

/*
 * The L1 slot that maps 'va' in v's kernel page table, with a use of that table; NULL when a level
 * is missing.
 */
u64 *mmu_l1_slot_get(struct vcpu *v, u64 va) must_check;

static must_inline void mmu_l1_slot_put(const u64 *slot)
{
    frame_type_put_inline(mapped_mfn(slot));
}

/*
 * A page-table walk that takes nothing: the L1 entry for va, its RW only if all levels grant it;
 * 0 when there is none.
 */
u64 mmu_walk(mfn_t root, u64 va);
/* The same in v's kernel page table; 'w', its own, remembers where the last walk ended. */
u64 mmu_walk_kernel(const struct vcpu *v, struct walk *w, u64 va);

/* Device memory and what of it no guest may have or may only read. */
void mmu_deny_io(u64 phys, u64 size);
void mmu_read_only_io(u64 phys, u64 size);
bool mmu_io_withheld(mfn_t mfn);
/* Some frame of [first, last] is one that no guest may have. */
bool mmu_io_denied(u64 first, u64 last);

/* Loads another kernel page table into the vcpu; takes over a use that the caller got. */
int mmu_set_kernel_table(struct vcpu *v, mfn_t mfn) must_check;
int mmu_set_user_table(struct vcpu *v, mfn_t mfn) must_check;

/*
 * A write fault of the guest kernel on a page table it maps read-only: performs the instruction
 * as a checked update. False when it is not that.
 */
bool mmu_emulate_write(struct vcpu *v, struct cpu_user_regs *regs, u64 va);

#endif
