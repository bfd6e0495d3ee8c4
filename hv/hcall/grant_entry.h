/*
 * Page-table entries that requests of a batch name, by linear address or by the entry's machine
 * address. The table of the last one is kept with a use of it: the next is often in it too.
 */
#ifndef SERAI_HCALL_GRANT_ENTRY_H
#define SERAI_HCALL_GRANT_ENTRY_H

#include "guest/mmu.h"

struct grant_entries {
    struct vcpu *v;
    u64 name;   /* of the table, as below; 0: none is held */
    u64 *table; /* in the hypervisor's map */
};

/* All addresses of one table of level 1 have one name, of entries and of what they map. */
static inline u64 grant_entry_name(u64 host_addr, bool is_entry)
{
    return is_entry ? (host_addr >> PAGE_SHIFT) << 2 | 3 : (host_addr >> 21) << 2 | 1;
}

u64 *grant_entry_change(struct grant_entries *e, u64 host_addr, bool is_entry) must_check;

/* The entry in the hypervisor's map; NULL: there is none, or it is in no table of level 1. */
static must_inline u64 *grant_entry_find(struct grant_entries *e, u64 host_addr, bool is_entry)
{
    const u64 name = grant_entry_name(host_addr, false);
    u64 *slot;

    if (unlikely(is_entry) || unlikely(e->name && e->name != name))
        return grant_entry_change(e, host_addr, is_entry);
    if (likely(e->name))
        return e->table + pt_index(host_addr, 1);
    slot = mmu_l1_slot_get(e->v, host_addr);
    if (likely(slot)) {
        e->name = name;
        e->table = slot - pt_index(host_addr, 1);
    }
    return slot;
}

/* No use is held any more: at the end, and before a preemption point. */
void grant_entry_release(struct grant_entries *e);

/* The same in line, of what is not used any more. */
static must_inline void grant_entry_end(const struct grant_entries *e)
{
    if (likely(e->name))
        mmu_l1_slot_put(e->table);
}

#endif
