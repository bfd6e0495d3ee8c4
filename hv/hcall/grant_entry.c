#include "hcall/grant_entry.h"
#include "guest/frame.h"

static u64 *table_of(const u64 *slot)
{
    return (u64 *)((u64)slot & ~(PAGE_SIZE - 1));
}

static u64 *hold(const struct grant_entries *e, u64 host_addr, bool is_entry)
{
    const mfn_t table = MFN(host_addr >> PAGE_SHIFT);

    if (!is_entry)
        return mmu_l1_slot_get(e->v, host_addr);
    if (table.n >= max_mfn || frame_type_of(table) != TYPE_L1 ||
        frame_type_get(e->v->domain->id, table, TYPE_L1))
        return NULL;
    return (u64 *)((u8 *)mfn_to_virt(table) + (host_addr & (PAGE_SIZE - 1)));
}

void grant_entry_release(struct grant_entries *e)
{
    if (e->name)
        mmu_l1_slot_put(e->table);
    e->name = 0;
}

u64 *grant_entry_change(struct grant_entries *e, u64 host_addr, bool is_entry)
{
    const u64 name = grant_entry_name(host_addr, is_entry);
    u64 *slot;

    if (is_entry && host_addr & 7)
        return NULL;
    if (e->name == name)
        return (u64 *)((u8 *)e->table + (host_addr & (PAGE_SIZE - 1)));
    grant_entry_release(e);
    slot = hold(e, host_addr, is_entry);
    if (slot)
        *e = (struct grant_entries){e->v, name, table_of(slot)};
    return slot;
}
