#include "hcall/grant_entry.h"
#include "guest/frame.h"
#include "guest/mmu.h"
#include "x86/paging.h"

/* All addresses of one table of level 1 have one name, of entries and of what they map. */
static u64 name_of(u64 host_addr, bool is_entry)
{
    return is_entry ? (host_addr >> PAGE_SHIFT) << 2 | 3 : (host_addr >> 21) << 2 | 1;
}

static u64 *slot_in(mfn_t table, u64 host_addr, bool is_entry)
{
    u64 index = is_entry ? host_addr >> 3 : host_addr >> PAGE_SHIFT;

    return (u64 *)mfn_to_virt(table) + (index & 511);
}

static bool hold(struct grant_entries *e, u64 host_addr, bool is_entry)
{
    if (!is_entry)
        return mmu_l1_slot_get(e->v, host_addr, &e->table) != NULL;
    e->table = MFN(host_addr >> PAGE_SHIFT);
    return e->table.n < max_mfn && frame_type_of(e->table) == TYPE_L1 &&
           !frame_type_get(e->v->domain->id, e->table, TYPE_L1);
}

u64 *grant_entry_find(struct grant_entries *e, u64 host_addr, bool is_entry)
{
    u64 name = name_of(host_addr, is_entry);

    if (is_entry && host_addr & 7)
        return NULL;
    if (e->name != name) {
        grant_entry_release(e);
        if (!hold(e, host_addr, is_entry))
            return NULL;
        e->name = name;
    }
    return slot_in(e->table, host_addr, is_entry);
}

void grant_entry_release(struct grant_entries *e)
{
    if (e->name)
        frame_type_put(e->table);
    e->name = 0;
}
