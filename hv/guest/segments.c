#include "guest/segments.h"
#include "core/pte.h"
#include "guest/frame.h"
#include "guest/mmu.h"
#include "x86/cpu.h"
#include "x86/paging.h"

static u64 window_base(void)
{
    return WINDOW_BASE + this_cpu()->id * WINDOW_STRIDE;
}

static bool is_loaded(const struct vcpu *v)
{
    return this_cpu()->guest == &v->run.unit;
}

static void note_used(struct cpu *c, unsigned page)
{
    const unsigned ldt = WINDOW_LDT / PAGE_SIZE;

    if (page >= ldt)
        c->window_ldt = (u8)MAX(c->window_ldt, page - ldt + 1);
    else
        c->window_gdt = (u8)MAX(c->window_gdt, page + 1);
}

static void set_window(const struct vcpu *v, unsigned page, u64 pte)
{
    if (!is_loaded(v))
        return;
    this_cpu()->window_ptes[page] = pte;
    note_used(this_cpu(), page);
    invlpg((void *)(window_base() + page * PAGE_SIZE));
}

static u64 window_pte(mfn_t mfn)
{
    return mfn.n << PAGE_SHIFT | PTE_P | PTE_A | PTE_NX;
}

static void drop_gdt(struct vcpu *v)
{
    for (unsigned i = 0; i < GUEST_GDT_PAGES; i++) {
        if (!v->gdt_frames[i].n)
            continue;
        set_window(v, i, window_pte(virt_to_mfn(this_cpu()->empty_page)));
        frame_type_put(v->gdt_frames[i]);
        v->gdt_frames[i] = MFN(0);
    }
    v->gdt_entries = 0;
}

int segments_set_gdt(struct vcpu *v, const u64 *gdt_frames, u32 entries)
{
    unsigned pages = DIV_ROUND_UP(entries, 512), taken;
    int rc = 0;

    if (entries > GUEST_GDT_PAGES * 512)
        return -XEN_EINVAL;
    for (taken = 0; taken < pages && !rc; taken++)
        rc = frame_type_get(v->domain->id, MFN(gdt_frames[taken]), TYPE_SEGDESC);
    if (rc) {
        for (taken--; taken > 0; taken--)
            frame_type_put(MFN(gdt_frames[taken - 1]));
        return -XEN_EINVAL;
    }
    drop_gdt(v);
    for (unsigned i = 0; i < pages; i++) {
        v->gdt_frames[i] = MFN(gdt_frames[i]);
        set_window(v, i, window_pte(v->gdt_frames[i]));
    }
    v->gdt_entries = entries;
    return 0;
}

static void load_ldt(struct vcpu *v)
{
    u64 *gdt = this_cpu()->gdt + ((SEL_LDT & 0xfff) >> 3);
    u64 base = window_base() + WINDOW_LDT, limit = v->ldt_entries * 8UL - 1;

    if (!is_loaded(v))
        return;
    if (!v->ldt_entries) {
        asm volatile("lldt %w0" : : "r"(0));
        return;
    }
    gdt[0] =
        (limit & 0xffff) | (base & 0xffffff) << 16 | 0x82UL << 40 | (base >> 24 & 0xff) << 56;
    gdt[1] = base >> 32;
    asm volatile("lldt %w0" : : "r"(SEL_LDT));
}

void segments_forget_ldt_pages(struct vcpu *v)
{
    for (unsigned i = 0; v->ldt_entries && i < ARRAY_SIZE(v->ldt_frames); i++) {
        if (!v->ldt_frames[i].n)
            continue;
        set_window(v, WINDOW_LDT / PAGE_SIZE + i, 0);
        frame_type_put(v->ldt_frames[i]);
        v->ldt_frames[i] = MFN(0);
    }
}

int segments_set_ldt(struct vcpu *v, u64 base, u32 entries)
{
    if (entries > 8192 || base & (PAGE_SIZE - 1) ||
        (entries && !guest_range_ok(base, entries * 8UL)))
        return -XEN_EINVAL;
    if (!entries && !v->ldt_entries)
        return 0;
    segments_forget_ldt_pages(v);
    v->ldt_base = base;
    v->ldt_entries = entries;
    load_ldt(v);
    return 0;
}

/* Only what this vcpu has, and what the one before may have left. */
void segments_load_tables(struct vcpu *v)
{
    struct cpu *c = this_cpu();
    const unsigned gdt = DIV_ROUND_UP(v->gdt_entries, 512),
                   ldt = DIV_ROUND_UP(v->ldt_entries, 512);
    u64 *window = c->window_ptes, *window_ldt = window + WINDOW_LDT / PAGE_SIZE;

    for (unsigned i = 0; i < MAX(gdt, c->window_gdt); i++)
        window[i] = window_pte(i < gdt ? v->gdt_frames[i] : virt_to_mfn(c->empty_page));
    for (unsigned i = 0; i < MAX(ldt, c->window_ldt); i++)
        window_ldt[i] = v->ldt_frames[i].n ? window_pte(v->ldt_frames[i]) : 0;
    c->window_gdt = (u8)gdt;
    c->window_ldt = (u8)ldt;
    load_ldt(v);
}

bool segments_ldt_fault(struct vcpu *v, u64 address)
{
    u64 off = address - (window_base() + WINDOW_LDT), pte;
    unsigned page = (unsigned)(off >> PAGE_SHIFT);
    mfn_t mfn;

    if (off >= v->ldt_entries * 8UL || v->ldt_frames[page].n)
        return false;
    pte = mmu_walk(v->kernel_table, v->ldt_base + page * PAGE_SIZE);
    mfn = pte_mfn(pte);
    if (!(pte & GPTE_P) || !mfn_is_ram(mfn) || frame_type_get(v->domain->id, mfn, TYPE_SEGDESC))
        return false;
    v->ldt_frames[page] = mfn;
    set_window(v, WINDOW_LDT / PAGE_SIZE + page, window_pte(mfn));
    return true;
}

int segments_update_descriptor(struct domain *d, u64 maddr, u64 desc)
{
    mfn_t mfn = MFN(maddr >> PAGE_SHIFT);
    enum frame_type t;
    int rc;

    if (maddr & 7 || !mmu_fix_descriptor(&desc))
        return -XEN_EINVAL;
    if (mfn.n >= max_mfn)
        return -XEN_EINVAL;
    t = frame_type_of(mfn) == TYPE_SEGDESC ? TYPE_SEGDESC : TYPE_WRITABLE;
    rc = frame_type_get(d->id, mfn, t);
    if (!rc) {
        u64 *p = (u64 *)((u8 *)mfn_to_virt(mfn) + (maddr & (PAGE_SIZE - 1)));

        __atomic_store_n(p, desc, __ATOMIC_RELEASE);
        frame_note_write(d->id, mfn);
        frame_type_put(mfn);
    }
    return rc ? -XEN_EINVAL : 0;
}

/* The active GS base belongs to the guest kernel, the swapped-out one to its user mode. */
int segments_set_base(struct vcpu *v, unsigned which, u64 base)
{
    switch (which) {
    case SEGBASE_FS:
    case SEGBASE_GS_USER:
    case SEGBASE_GS_KERNEL:
        if (!va_is_canonical(base))
            return -XEN_EINVAL;
        wrmsr(which == SEGBASE_FS        ? IA32_FS_BASE
              : which == SEGBASE_GS_USER ? IA32_KERNEL_GS_BASE
                                         : IA32_GS_BASE,
              base);
        return 0;
    case SEGBASE_GS_USER_SEL:
        /*
         * The user's selector and the base that comes with it, in the user's half and in ring
         * 3's name; a bad one becomes null: the ABI has no error here.
         */
        asm volatile("swapgs");
        (void)!load_gs_safe((base & 0xfffc) ? (base & 0xffff) | 3 : 0);
        asm volatile("swapgs");
        return 0;
    default:
        return -XEN_EINVAL;
    }
}
