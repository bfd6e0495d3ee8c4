#include "guest/mmu.h"
#include "kern/tlb.h"
#include "x86/cpu_setup.h"
#include "x86/guest_mem.h"
#include "x86/msi.h"
#include "x86/paging.h"

#define MAX_IO_RANGES 32

/*
 * Counts what may make a remembered walk wrong: a present entry of an L2 to L4 that changes, an L4
 * that is one no more. The levels between are what they were as long as their L4 is.
 */
static u64 changes __attribute__((aligned(64)));

static void count_change(void)
{
    __atomic_add_fetch(&changes, 1, __ATOMIC_SEQ_CST);
}

struct io_range {
    u64 first, last; /* frame numbers */
    bool read_only;  /* else denied */
};

static struct io_range io_ranges[MAX_IO_RANGES];
static unsigned nr_io_ranges;

static void add_io_range(u64 phys, u64 size, bool read_only)
{
    BUG_ON(nr_io_ranges == MAX_IO_RANGES);
    io_ranges[nr_io_ranges++] = (struct io_range){.first = phys >> PAGE_SHIFT,
                                                  .last = (phys + size - 1) >> PAGE_SHIFT,
                                                  .read_only = read_only};
}

void mmu_deny_io(u64 phys, u64 size)
{
    add_io_range(phys, size, false);
}

void mmu_read_only_io(u64 phys, u64 size)
{
    add_io_range(phys, size, true);
}

static const struct io_range *find_io_range(mfn_t mfn)
{
    for (unsigned i = 0; i < nr_io_ranges; i++)
        if (mfn.n >= io_ranges[i].first && mfn.n <= io_ranges[i].last)
            return &io_ranges[i];
    return NULL;
}

bool mmu_io_withheld(mfn_t mfn)
{
    return find_io_range(mfn) != NULL;
}

bool mmu_io_denied(u64 first, u64 last)
{
    for (unsigned i = 0; i < nr_io_ranges; i++)
        if (!io_ranges[i].read_only && first <= io_ranges[i].last && last >= io_ranges[i].first)
            return true;
    return false;
}

static bool may_map_io(u16 id, mfn_t mfn)
{
    struct domain *d;
    bool may;

    if (id == dom0->id)
        return true;
    d = domain_get(id);
    if (!d)
        return false;
    may = device_may_map(&d->devices, mfn.n, mfn.n);
    domain_put(d);
    return may;
}

/*
 * An L1 entry on something that is not RAM: domain 0's or whom it permitted, except what the
 * hypervisor keeps. Never write-back: devices must see each access.
 */
static int check_io_entry(u16 table_owner, u64 *pte)
{
    mfn_t mfn = pte_mfn(*pte);
    const struct io_range *r = find_io_range(mfn);

    /* Beyond what the CPU can address: reserved bits to the hardware. */
    if (mfn.n >> (cpu_features.maddr_bits - PAGE_SHIFT))
        return -XEN_EINVAL;
    if ((r && !r->read_only) || !may_map_io(table_owner, mfn))
        return -XEN_EPERM;
    if (r || msix_owns_page(mfn.n << PAGE_SHIFT))
        *pte &= ~GPTE_RW;
    *pte |= GPTE_PCD;
    *pte = pte_adjust(*pte, 1);
    return 0;
}

/*
 * Another domain will have a translation of a frame: known before it has. Of the hypervisor's own
 * pages there is the table of machine frames to see, which carries the mark of shared pages.
 */
static bool share(u16 owner, mfn_t mfn, u64 pte)
{
    if (owner == DOMID_XEN && (pte & GPTE_RW || !(frames[mfn.n].ref & REF_SPECIAL)))
        return false;
    frame_mark_shared(mfn);
    return true;
}

static must_inline void l1_entry_drop(u64 pte)
{
    mfn_t mfn = pte_mfn(pte);

    if (!(pte & GPTE_P) || !mfn_is_ram(mfn))
        return;
    if (pte & (GPTE_RW | GPTE_LOGGED))
        frame_type_put_inline(mfn);
    else
        frame_put(mfn);
}

static __noinline void l1_entry_put(u64 pte)
{
    l1_entry_drop(pte);
}

/*
 * The usual L1 entry, a further use of some domain's RAM: taken and brought into hardware form,
 * its frame still to be noted as written. USE_NONE: it is not that simple, nothing is done.
 * 'first': of a frame's first use instead, a writable one.
 */
static must_inline enum use l1_usual_entry_try(u16 owner, bool foreign, u64 *pte, bool first)
{
    const mfn_t mfn = pte_mfn(*pte);
    /* First of all: a mark of ours that the guest wrote must not count below. */
    const u64 adjusted = pte_adjust(*pte, 1);
    enum use use;

    if (unlikely(mfn.n >= max_mfn) || unlikely(adjusted & GPTE_CACHE) ||
        unlikely(owner >= DOMID_FIRST_RESERVED))
        return USE_NONE;
    if (first)
        use = adjusted & GPTE_RW && frame_write_first(owner, mfn) ? USE_TAKEN : USE_NONE;
    else if (adjusted & GPTE_RW)
        use = frame_use_try(owner, mfn, TYPE_WRITABLE);
    else
        use = frame_get(owner, mfn) ? USE_TAKEN : USE_NONE;
    if (unlikely(use != USE_TAKEN))
        return use;
    if (foreign)
        frame_mark_shared(mfn);
    *pte = adjusted;
    return USE_TAKEN;
}

/* The same whole; false: nothing is done. */
static must_inline bool l1_usual_entry_get(u16 owner, bool foreign, u64 *pte)
{
    const enum use use = l1_usual_entry_try(owner, foreign, pte, false);

    if (unlikely(use == USE_LOST))
        frame_type_put_slow(pte_mfn(*pte));
    if (use == USE_TAKEN && *pte & GPTE_RW)
        frame_note_write(owner, pte_mfn(*pte));
    return use == USE_TAKEN;
}

/* Takes what a present L1 entry needs and brings it into hardware form. */
static int l1_entry_get(u16 table_owner, u16 target_owner, u64 *pte)
{
    mfn_t mfn = pte_mfn(*pte);

    if (unlikely(!mfn_is_ram(mfn)))
        return check_io_entry(table_owner, pte);
    if (unlikely(*pte & GPTE_CACHE)) {
        if (table_owner != dom0->id)
            return -XEN_EINVAL;
        if (__atomic_load_n(&frames[mfn.n].ref, __ATOMIC_RELAXED) & REF_SPECIAL)
            return -XEN_EACCES;
    }
    /* First of all: a mark of ours that the guest wrote must not count below. */
    *pte = pte_adjust(*pte, 1);
    if (*pte & GPTE_RW ? frame_type_get(target_owner, mfn, TYPE_WRITABLE) != 0
                       : !frame_get(target_owner, mfn))
        return -XEN_EBUSY;
    if (table_owner != target_owner && !share(target_owner, mfn, *pte)) {
        l1_entry_put(*pte);
        return -XEN_EINVAL;
    }
    if (*pte & GPTE_RW)
        frame_note_write(target_owner, mfn);
    return 0;
}

static enum frame_type table_type(int level)
{
    return (enum frame_type)(TYPE_L1 + level - 1);
}

/* Takes what a present L2, L3 or L4 entry needs: the table below, validated. */
static int ln_entry_get(u16 owner, int level, u64 *pte)
{
    int rc;

    if (!pte_flags_ok(*pte, level, false))
        return -XEN_EINVAL;
    rc = frame_type_get(owner, pte_mfn(*pte), table_type(level - 1));
    if (rc)
        return rc == -XEN_EBUSY ? -XEN_EINVAL : rc;
    *pte = pte_adjust(*pte, level);
    return 0;
}

static void entry_put(int level, u64 pte)
{
    if (level == 1)
        l1_entry_put(pte);
    else if (pte & GPTE_P)
        frame_type_put(pte_mfn(pte));
}

static must_inline int entry_get(const struct pte_update *u, int level, u64 *pte)
{
    if (!(*pte & GPTE_P))
        return 0;
    if (likely(level == 1) &&
        likely(l1_usual_entry_get(u->target_owner, u->table_owner != u->target_owner, pte)))
        return 0;
    return level == 1 ? l1_entry_get(u->table_owner, u->target_owner, pte)
                      : ln_entry_get(u->table_owner, level, pte);
}

static bool slot_is_guest(int level, unsigned i)
{
    return level != 4 || l4_slot_is_guest(i);
}

/* Most tables are nearly empty: so many entries at a glance, first of the one, then of the other. */
#define BLOCK 32
#define GROUP 8
#define PART  (PT_ENTRIES / 8) /* what REF_PART() stands for */

static must_inline bool are_empty(const u64 *e, unsigned n)
{
    u64 all = 0;

#pragma GCC unroll 32
    for (unsigned i = 0; i < n; i++)
        all |= e[i];
    return !all;
}

/* The first group from index i on that is not empty, below 'end'; multiples of GROUP. 'end': none. */
static unsigned next_group(const u64 *table, unsigned i, unsigned end)
{
    while (i < end) {
        if (!(i % BLOCK) && are_empty(table + i, BLOCK))
            i += BLOCK;
        else if (are_empty(table + i, GROUP))
            i += GROUP;
        else
            break;
    }
    return i;
}

/*
 * R8: the preemption point after each lower table bounds how long interrupts wait; the progress
 * is on this vcpu's own stack.
 */
static void drop_entry(u64 pte, int level, unsigned i)
{
    if (!(pte & GPTE_P) || !slot_is_guest(level, i))
        return;
    entry_put(level, pte);
    if (level > 1)
        preempt_point();
}

/* Drops entries [first, end) of a table that is no longer valid; 'first' is a multiple of GROUP. */
static void drop_entries(const u64 *table, int level, unsigned first, unsigned end)
{
    const unsigned stop = ROUND_UP(end, GROUP);

    for (unsigned g = next_group(table, first, stop); g < stop;
         g = next_group(table, g + GROUP, stop))
        for (unsigned i = g; i < MIN(g + GROUP, end); i++)
            drop_entry(table[i], level, i);
}

static int take_entry(const struct pte_update *u, u64 *slot, int level, unsigned i)
{
    u64 pte = *slot;
    int rc;

    if (!(pte & GPTE_P) || !slot_is_guest(level, i))
        return 0;
    rc = entry_get(u, level, &pte);
    if (rc)
        return rc;
    if (pte != *slot)
        *slot = pte;
    if (level > 1)
        preempt_point();
    return 0;
}

int mmu_validate_table(u16 owner, mfn_t mfn, enum frame_type t)
{
    const struct pte_update u = {.table_owner = owner, .target_owner = owner};
    int level = t - TYPE_L1 + 1;
    u64 *table = mfn_to_virt(mfn), parts = 0;

    count(COUNT_TABLE_VALIDATED);
    for (unsigned g = next_group(table, 0, PT_ENTRIES); g < PT_ENTRIES;
         g = next_group(table, g + GROUP, PT_ENTRIES)) {
        for (unsigned i = g; i < g + GROUP; i++) {
            int rc = take_entry(&u, &table[i], level, i);

            if (rc) {
                drop_entries(table, level, 0, i);
                return rc;
            }
        }
        parts |= REF_PART(g / PART);
    }
    __atomic_or_fetch(&frames[mfn.n].ref, parts, __ATOMIC_RELAXED);
    if (level == 4)
        paging_fill_guest_l4(table);
    frame_note_write(owner, mfn);
    return 0;
}

/* What becomes data again shows what the guest wrote. */
static void remove_marks(mfn_t mfn)
{
    u16 owner = ref_owner(__atomic_load_n(&frames[mfn.n].ref, __ATOMIC_RELAXED));
    u64 *table = mfn_to_virt(mfn);

    for (unsigned i = 0; i < PT_ENTRIES; i++) {
        if ((table[i] & (GPTE_P | GPTE_LOGGED)) != (GPTE_P | GPTE_LOGGED))
            continue;
        table[i] = (table[i] & ~GPTE_LOGGED) | GPTE_RW;
        frame_note_write(owner, pte_mfn(table[i]));
        frame_note_write(owner, mfn);
    }
}

/* Apart: the end of a last use that was no table's need not save its registers. */
__noinline void mmu_devalidate_table(mfn_t mfn, enum frame_type t)
{
    u64 parts = __atomic_fetch_and(&frames[mfn.n].ref, ~REF_PARTS, __ATOMIC_RELAXED);
    int level = t - TYPE_L1 + 1;

    count(COUNT_TABLE_DEVALIDATED);
    if (level == 4)
        count_change();
    if (level == 1 && unlikely(__atomic_load_n(&frame_logs, __ATOMIC_RELAXED)))
        remove_marks(mfn);
    for (parts = ref_parts(parts); parts; parts &= parts - 1) {
        const unsigned first = (unsigned)__builtin_ctzl(parts) * PART;

        drop_entries(mfn_to_virt(mfn), level, first, first + PART);
    }
}

static __noinline __attribute__((cold)) void note_table_write(u16 owner, const u64 *slot)
{
    frame_note_write_slow(owner, virt_to_mfn(slot));
}

/* M4: a present entry was written where none was. */
static must_inline void mark_part(const u64 *slot)
{
    u64 *ref = &frames[mapped_mfn(slot).n].ref;
    const unsigned part = (u64)slot >> 9 & 7;

    if (unlikely(!ref_has_part(__atomic_load_n(ref, __ATOMIC_RELAXED), part)))
        __atomic_or_fetch(ref, REF_PART(part), __ATOMIC_RELAXED);
}

/* Writes 'new' over *old, which is refreshed when it changed underneath. */
static inline bool swap_entry(const struct pte_update *u, u64 *slot, u64 *old, u64 new)
{
    if (u->preserve_ad)
        new |= *old &(GPTE_A | GPTE_D);
    if (!__atomic_compare_exchange_n(slot, old, new, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
        return false;
    if (unlikely(__atomic_load_n(&frame_logs, __ATOMIC_RELAXED)))
        note_table_write(u->table_owner, slot);
    return true;
}

/*
 * The change of an L1 entry keeps the frame and its use: flags without meaning for safety.
 * Returns true when done.
 */
static inline bool update_in_place(const struct pte_update *u, u64 *slot, u64 *old, u64 new)
{
    const u64 diff = *old ^ new;

    if (diff & ~GPTE_L1_HARMLESS || !(new &GPTE_P))
        return false;
    if (likely(!(new &GPTE_LOGGED)))
        return swap_entry(u, slot, old, pte_adjust(new, 1));
    /*
     * An entry read with our mark and written back: the same again means read-only, as it looks.
     * A kernel that only makes code of it, or data, did not mean to change RW.
     */
    return diff == GPTE_NX && swap_entry(u, slot, old, pte_adjust(new, 1) | GPTE_LOGGED);
}

/* Of a table whose entry was changed, while there are logs: apart, for those who have none. */
static __noinline __attribute__((cold)) bool finish_noted(u16 table_owner, u64 *slot, u64 old)
{
    note_table_write(table_owner, slot);
    l1_entry_put(old);
    return true;
}

/* Of an entry that was set, while there are logs: afterwards, so that none begins in between. */
static __noinline __attribute__((cold)) bool finish_set_noted(u16 table_owner, u16 target_owner,
                                                              u64 *slot, u64 new)
{
    if (new &GPTE_RW)
        frame_note_write(target_owner, pte_mfn(new));
    return finish_noted(table_owner, slot, 0);
}

static __noinline __attribute__((cold)) bool give_back(mfn_t mfn)
{
    frame_type_put_slow(mfn);
    return false;
}

static __noinline __attribute__((cold)) bool take_back(u64 pte)
{
    l1_entry_put(pte);
    return false;
}

static bool set_first(u16 table_owner, u16 target_owner, u64 *slot, u64 old, u64 new);

static must_inline bool set_usual(u16 table_owner, u16 target_owner, u64 *slot, u64 old,
                                  u64 new, bool first)
{
    const enum use use =
        l1_usual_entry_try(target_owner, table_owner != target_owner, &new, first);

    if (unlikely(use == USE_LOST))
        return give_back(pte_mfn(new));
    if (unlikely(use == USE_NONE))
        return !first && set_first(table_owner, target_owner, slot, old, new);
    if (unlikely(!__atomic_compare_exchange_n(slot, &old, new, false, __ATOMIC_ACQ_REL,
                                              __ATOMIC_RELAXED)))
        return take_back(new);
    mark_part(slot);
    if (unlikely(__atomic_load_n(&frame_logs, __ATOMIC_RELAXED)))
        return finish_set_noted(table_owner, target_owner, slot, new);
    return true;
}

/* Apart, and done last: what a new guest's memory is mapped by has to cost other entries nothing. */
static __noinline bool set_first(u16 table_owner, u16 target_owner, u64 *slot, u64 old, u64 new)
{
    return set_usual(table_owner, target_owner, slot, old, new, true);
}

bool mmu_set_simply(u16 table_owner, u16 target_owner, u64 *slot, u64 old, u64 new)
{
    return !(old & GPTE_P) && set_usual(table_owner, target_owner, slot, old, new, false);
}

bool mmu_clear_simply(u16 table_owner, u64 *slot, u64 old, u64 new)
{
    if (unlikely(!__atomic_compare_exchange_n(slot, &old, new, false, __ATOMIC_ACQ_REL,
                                              __ATOMIC_RELAXED)))
        return false;
    if (unlikely(__atomic_load_n(&frame_logs, __ATOMIC_RELAXED)))
        return finish_noted(table_owner, slot, old);
    l1_entry_drop(old);
    return true;
}

int mmu_update_entry(const struct pte_update *u, int level, u64 *slot, u64 new, u64 *expect)
{
    u64 old = expect ? *expect : __atomic_load_n(slot, __ATOMIC_RELAXED), want = new;
    int rc;

    /* A foreign target is judged afresh even when the bits hardly change. */
    if (level == 1 && u->table_owner == u->target_owner && update_in_place(u, slot, &old, new))
        return 0;
    if (expect && old != *expect) {
        *expect = old;
        return -XEN_EAGAIN;
    }
    rc = entry_get(u, level, &want);
    if (rc)
        return rc;
    while (!swap_entry(u, slot, &old, want)) {
        if (expect) {
            entry_put(level, want);
            *expect = old;
            return -XEN_EAGAIN;
        }
    }
    if (want & ~old & GPTE_P)
        mark_part(slot);
    if (unlikely(level > 1 && old & GPTE_P))
        count_change();
    entry_put(level, old);
    return 0;
}

/* Below our own slots lie large pages and tables that are none of the guest's. */
static bool is_guest_address(u64 va)
{
    return va_is_canonical(va) && l4_slot_is_guest(pt_index(va, 4));
}

/* The entry for 'va' in the table of this level that *pte names; false: there is none. */
static must_inline bool step(u64 *pte, u64 va, int level)
{
    const u64 table = *pte & GPTE_ADDR;

    if (unlikely(table >= max_mfn << PAGE_SHIFT))
        return false;
    *pte = read_or_zero((u64 *)phys_to_virt(table) + pt_index(va, level));
    return *pte & GPTE_P;
}

u64 mmu_walk(mfn_t root, u64 va)
{
    u64 pte = root.n << PAGE_SHIFT, rights = GPTE_RW;

    if (!root.n || !is_guest_address(va))
        return 0;
#pragma GCC unroll 4
    for (int level = 4; level >= 1; level--) {
        if (!step(&pte, va, level))
            return 0;
        rights &= pte;
    }
    return pte & (rights | ~GPTE_RW);
}

/* The L2 entry as in struct walk; 0: there is none. */
static __noinline u64 walk_afresh(const struct vcpu *v, struct walk *w, u64 va)
{
    const u64 now = __atomic_load_n(&changes, __ATOMIC_ACQUIRE);
    u64 pte = v->kernel_table.n << PAGE_SHIFT, rights = GPTE_RW;

    if (!v->kernel_table.n || !is_guest_address(va))
        return 0;
    for (int level = 4; level > 1; level--) {
        if (!step(&pte, va, level))
            return 0;
        rights &= pte;
    }
    if (pte_mfn(pte).n >= max_mfn)
        return 0;
    *w = (struct walk){v->kernel_table.n, va >> 21, now, pte & (rights | ~GPTE_RW)};
    return w->entry;
}

static must_inline bool is_remembered(const struct vcpu *v, const struct walk *w, u64 va)
{
    return w->region == va >> 21 && w->root == v->kernel_table.n &&
           w->changes == __atomic_load_n(&changes, __ATOMIC_ACQUIRE);
}

static inline u64 l2_entry(const struct vcpu *v, struct walk *w, u64 va)
{
    if (likely(is_remembered(v, w, va)))
        return w->entry;
    return walk_afresh(v, w, va);
}

static inline u64 *l1_slot(u64 l2, u64 va)
{
    return (u64 *)phys_to_virt(l2 & GPTE_ADDR) + pt_index(va, 1);
}

u64 mmu_walk_kernel(const struct vcpu *v, struct walk *w, u64 va)
{
    const u64 l2 = l2_entry(v, w, va);
    u64 pte;

    if (!(l2 & GPTE_P))
        return 0;
    pte = read_or_zero(l1_slot(l2, va));
    return pte & GPTE_P ? pte & (l2 | ~GPTE_RW) : 0;
}

static __noinline u64 *l1_slot_get_slowly(struct vcpu *v, u64 va)
{
    const u64 l2 = l2_entry(v, &v->walk, va);

    if (!(l2 & GPTE_P) || frame_type_get(v->domain->id, pte_mfn(l2), TYPE_L1))
        return NULL;
    return l1_slot(l2, va);
}

static __noinline __attribute__((cold)) u64 *l1_slot_lost(struct vcpu *v, u64 va, u64 l2)
{
    frame_type_put_slow(pte_mfn(l2));
    return l1_slot_get_slowly(v, va);
}

u64 *mmu_l1_slot_get(struct vcpu *v, u64 va)
{
    const u64 l2 = v->walk.entry;
    enum use use;

    /* What is remembered is below max_mfn, but no table any more perhaps: only a use tells. */
    if (unlikely(!is_remembered(v, &v->walk, va)) || unlikely(!(l2 & GPTE_P)))
        return l1_slot_get_slowly(v, va);
    use = frame_use_try(v->domain->id, pte_mfn(l2), TYPE_L1);
    if (unlikely(use == USE_LOST))
        return l1_slot_lost(v, va, l2);
    return likely(use == USE_TAKEN) ? l1_slot(l2, va) : l1_slot_get_slowly(v, va);
}

int mmu_set_kernel_table(struct vcpu *v, mfn_t mfn)
{
    mfn_t old = v->kernel_table;
    int rc;

    if (mfn.n == old.n) {
        /* Loading the same table again is how a guest asks for a flush. */
        tlb_flush_local();
        return 0;
    }
    rc = frame_type_get(v->domain->id, mfn, TYPE_L4);
    if (rc)
        return -XEN_EINVAL;
    v->kernel_table = mfn;
    v->entry.kernel_cr3 = mfn.n << PAGE_SHIFT;
    if (vcpu_is_kernel(v))
        write_cr3(v->entry.kernel_cr3);
    count(COUNT_CR3_LOAD);
    if (old.n)
        frame_type_put(old);
    return 0;
}

int mmu_set_user_table(struct vcpu *v, mfn_t mfn)
{
    mfn_t old = v->user_table;

    if (mfn.n == old.n)
        return 0;
    if (mfn.n && frame_type_get(v->domain->id, mfn, TYPE_L4))
        return -XEN_EINVAL;
    v->user_table = mfn;
    v->entry.user_cr3 = mfn.n << PAGE_SHIFT;
    vcpu_update_fast_iret(v);
    if (!vcpu_is_kernel(v))
        write_cr3(v->entry.user_cr3);
    if (old.n)
        frame_type_put(old);
    return 0;
}

/*
 * Segment descriptors (Intel SDM 3A 3.4.5). Absent ones are harmless whatever they hold. Code and
 * data are forced to ring 3. System descriptors (gates, TSS, LDT) are never a guest's.
 */
bool mmu_fix_descriptor(u64 *desc)
{
    u64 d = *desc;

    if (!(d & BIT(47)))
        return true;
    if (!(d & BIT(44)))
        return false;
    /* Conforming code would run with the caller's privilege: as good as ring 3. */
    d |= BIT(45) | BIT(46);
    /* The accessed bit set: the CPU would write it through a read-only mapping otherwise. */
    d |= BIT(40);
    *desc = d;
    return true;
}

int mmu_validate_descriptors(mfn_t mfn)
{
    u64 *desc = mfn_to_virt(mfn);

    for (unsigned i = 0; i < PAGE_SIZE / 8; i++) {
        u64 d = desc[i];

        if (!mmu_fix_descriptor(&d))
            return -XEN_EINVAL;
        if (d != desc[i])
            desc[i] = d;
    }
    return 0;
}
