#include "guest/logdirty.h"
#include "base/string.h"
#include "core/dirtymap.h"
#include "guest/event_queue.h"
#include "core/pte.h"
#include "guest/access.h"
#include "guest/frame.h"
#include "guest/grant.h"
#include "guest/mmu.h"
#include "x86/paging.h"

/* What a sweep does to one entry; true: it has changed it. */
typedef bool entry_fn(const struct domain *d, u64 *slot);

static bool is_own_page(const struct domain *d, u64 pte)
{
    u64 ref;

    if (!mfn_is_ram(pte_mfn(pte)))
        return false;
    ref = __atomic_load_n(&frames[pte_mfn(pte).n].ref, __ATOMIC_RELAXED);
    return ref_owner(ref) == d->id && !(ref & REF_SPECIAL);
}

static bool protect(const struct domain *d, u64 *slot)
{
    u64 pte = *slot;

    if ((pte & (GPTE_P | GPTE_RW)) != (GPTE_P | GPTE_RW) || !is_own_page(d, pte))
        return false;
    if (pte & GPTE_KERNEL) {
        *slot = (pte & ~GPTE_RW) | GPTE_LOGGED;
        return true;
    }
    /* A reference instead of the use (M1); the frame is the domain's while the use is there. */
    BUG_ON(!frame_get(d->id, pte_mfn(pte)));
    *slot = pte & ~GPTE_RW;
    frame_type_put(pte_mfn(pte));
    return true;
}

static bool restore(const struct domain *d, u64 *slot)
{
    if ((*slot & (GPTE_P | GPTE_LOGGED)) != (GPTE_P | GPTE_LOGGED))
        return false;
    *slot = (*slot & ~GPTE_LOGGED) | GPTE_RW;
    return true;
}

static void sweep_table(struct domain *d, mfn_t mfn, entry_fn *change)
{
    u64 *table = mfn_to_virt(mfn);
    bool changed = false;

    if (frame_type_of(mfn) != TYPE_L1 || frame_type_get(d->id, mfn, TYPE_L1))
        return;
    for (unsigned i = 0; i < PT_ENTRIES; i++)
        changed |= change(d, &table[i]);
    if (changed)
        frame_note_write(d->id, mfn);
    frame_type_put(mfn);
    preempt_point();
}

/* All L1 tables of a domain that is paused. */
static void sweep(struct domain *d, entry_fn *change)
{
    for (u64 block = 0; block < DIV_ROUND_UP(max_mfn, BLOCK_FRAMES); block++) {
        u64 first = block * BLOCK_FRAMES;

        if (!(__atomic_load_n(&d->blocks[block / 64], __ATOMIC_RELAXED) & BIT(block & 63)))
            continue;
        for (u64 i = first; i < MIN(first + BLOCK_FRAMES, max_mfn); i++)
            if (frame_type_of(MFN(i)) == TYPE_L1)
                sweep_table(d, MFN(i), change);
        preempt_point();
    }
}

static unsigned map_order(u64 leaves)
{
    unsigned order = 0;

    while (PAGE_SIZE << order < sizeof(struct dirty_map) + leaves * sizeof(u64 *))
        order++;
    return order;
}

static void free_map(struct dirty_map *m)
{
    u64 leaves = m->limit / DIRTY_LEAF_PAGES;

    for (u64 i = 0; i < leaves; i++)
        if (m->leaf[i])
            heap_free_pages(m->leaf[i], 0);
    heap_free_pages(m, map_order(leaves));
}

static struct dirty_map *alloc_map(u64 limit)
{
    struct dirty_map *m = heap_alloc_pages(map_order(limit / DIRTY_LEAF_PAGES));

    if (!m)
        return NULL;
    m->limit = limit;
    for (u64 i = 0; i < limit / DIRTY_LEAF_PAGES; i++) {
        m->leaf[i] = heap_alloc_pages(0);
        if (!m->leaf[i]) {
            free_map(m);
            return NULL;
        }
    }
    return m;
}

/* An empty map. Page numbers beyond what it may own, or the machine has, are of no use to it. */
static int provide_map(struct domain *d)
{
    struct dirty_map *m = d->dirty;

    if (!m)
        d->dirty = alloc_map(
            ROUND_UP(MIN(MAX(d->max_pages, d->tot_pages), max_mfn), DIRTY_LEAF_PAGES));
    for (u64 i = 0; m && i < m->limit / DIRTY_LEAF_PAGES; i++)
        memset(m->leaf[i], 0, PAGE_SIZE);
    if (m)
        m->all = 0;
    return d->dirty ? 0 : -XEN_ENOMEM;
}

int logdirty_enable(struct domain *d)
{
    int rc = d->log_dirty ? -XEN_EINVAL : provide_map(d);

    if (rc)
        return rc;
    __atomic_add_fetch(&frame_logs, 1, __ATOMIC_SEQ_CST);
    __atomic_store_n(&d->log_dirty, true, __ATOMIC_SEQ_CST);
    sweep(d, protect);
    return 0;
}

int logdirty_disable(struct domain *d)
{
    if (!d->log_dirty)
        return -XEN_EINVAL;
    sweep(d, restore);
    __atomic_store_n(&d->log_dirty, false, __ATOMIC_SEQ_CST);
    __atomic_sub_fetch(&frame_logs, 1, __ATOMIC_SEQ_CST);
    return 0;
}

void logdirty_free(struct domain *d)
{
    if (d->log_dirty)
        __atomic_sub_fetch(&frame_logs, 1, __ATOMIC_SEQ_CST);
    if (d->dirty)
        free_map(d->dirty);
}

/* A registered area of a vcpu's, which may cross into a second page. */
static void note_area(const struct vcpu *v, u64 va, u64 size)
{
    const u64 ends[] = {va, va + size - 1};

    for (unsigned i = 0; va && i < ARRAY_SIZE(ends); i++) {
        u64 pte = mmu_walk(v->kernel_table, ends[i]);

        if (pte & GPTE_P)
            frame_note_write(v->domain->id, pte_mfn(pte));
    }
}

/* L5 */
static void note_own_writes(const struct domain *d)
{
    grant_note_writers(d);
    event_queues_note_writes(d);
    if (d->pirq_eoi_map)
        frame_note_write(d->id, d->pirq_eoi_mfn);
    for (unsigned i = 0; i < d->max_vcpus; i++) {
        const struct vcpu *v = d->vcpus[i];

        if (v->info_moved)
            frame_note_write(d->id, v->info_mfn);
        note_area(v, v->runstate_va, sizeof(v->runstate));
        note_area(v, v->time_area_va, sizeof(struct vcpu_time_info));
    }
}

static int copy_out(struct domain *d, struct logdirty_look *l)
{
    u64 words[DIRTY_WORDS];

    for (u64 pfn = 0; pfn < l->pages; pfn += DIRTY_STEP) {
        u64 bytes = DIV_ROUND_UP(MIN(l->pages - pfn, DIRTY_STEP), 8);

        l->dirty += dirty_map_read(d->dirty, pfn, l->pages, l->clear, words);
        if (l->u_bitmap && copy_to_guest((u8 *)l->u_bitmap + pfn / 8, words, bytes)) {
            if (l->clear)
                dirty_map_return(d->dirty, pfn, words);
            return -XEN_EFAULT;
        }
        preempt_point();
    }
    return 0;
}

int logdirty_look(struct domain *d, struct logdirty_look *l)
{
    int rc;

    if (!d->log_dirty)
        return -XEN_EINVAL;
    if (l->last)
        sweep(d, restore);
    else if (l->clear)
        sweep(d, protect);
    note_own_writes(d);
    rc = copy_out(d, l);
    /* Without protection nothing is known from here on. */
    if (l->last)
        __atomic_store_n(&d->dirty->all, 1, __ATOMIC_RELEASE);
    l->faults = l->clear ? __atomic_exchange_n(&d->logged_faults, 0, __ATOMIC_RELAXED)
                         : d->logged_faults;
    return rc;
}

/* The entry lets the write through; false: it was not ours that refused. */
static bool let_through(struct vcpu *v, u64 *slot, mfn_t table)
{
    u64 pte = __atomic_load_n(slot, __ATOMIC_RELAXED);

    do {
        if ((pte & (GPTE_P | GPTE_LOGGED)) != (GPTE_P | GPTE_LOGGED))
            return false;
    } while (!__atomic_compare_exchange_n(slot, &pte, (pte & ~GPTE_LOGGED) | GPTE_RW, false,
                                          __ATOMIC_ACQ_REL, __ATOMIC_RELAXED));
    __atomic_add_fetch(&v->domain->logged_faults, 1, __ATOMIC_RELAXED);
    frame_note_write(v->domain->id, pte_mfn(pte));
    frame_note_write(v->domain->id, table);
    return true;
}

bool logdirty_fault(struct vcpu *v, u64 va)
{
    u64 *slot = mmu_l1_slot_get(v, va);
    bool done;

    if (!slot)
        return false;
    /* Let through by another vcpu meanwhile: tried again, it works. */
    done = let_through(v, slot, mapped_mfn(slot)) || mmu_walk(v->kernel_table, va) & GPTE_RW;
    mmu_l1_slot_put(slot);
    return done;
}
