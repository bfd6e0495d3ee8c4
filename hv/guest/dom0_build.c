#include "guest/vcpu.h"
#include "guest/dom0_build.h"
#include "base/bzimage.h"
#include "base/elf.h"
#include "base/string.h"
#include "base/unpack.h"
#include "guest/frame.h"
#include "guest/hypercall_page.h"
#include "guest/mmu.h"
#include "kern/console.h"
#include "kern/panic.h"
#include "x86/cpu.h"
#include "x86/paging.h"
#include <xen/elfnote.h>
#include <xen/features.h>

/* A kernel larger than this is a mistake or an attack (decompression bomb). */
#define MAX_KERNEL_BYTES    MIB(512)
/* Left in the heap when domain 0 takes everything: small allocations come from here. */
#define HEAP_RESERVE_FRAMES (MIB(1) >> PAGE_SHIFT)

/*
 * Bootstrap layout in pfns, from 0: kernel | [initrd] | [p2m] | start_info | page tables | stack |
 * slack up to 4 MiB; all of it mapped from VIRT_BASE. Behind it, not mapped: the initrd and the
 * p2m when the kernel asked for that, then the p2m's own page tables, then the rest.
 */
struct layout {
    u64 virt_base;
    u64 nr_pages;
    u64 kernel_end;
    u64 initrd, initrd_pages;
    u64 p2m, p2m_pages;
    u64 start_info;
    u64 tables, nr_tables;
    u64 stack;
    u64 mapped_end;
    u64 p2m_tables, nr_p2m_tables;
    bool p2m_mapped_high; /* at its own address, by its own tables */
};

struct builder {
    const struct dom0_files *files;
    struct domain *d;
    struct elf_image elf;
    struct xen_notes notes;
    struct layout l;
    u64 *p2m; /* scratch array in the heap: machine frame by pfn */
    unsigned p2m_order;
    u64 next_pfn; /* frames are assigned up to here */
    u8 *unpacked; /* decompressed kernel, NULL when the file is an ELF already */
    unsigned unpacked_order;
};

static void unpack_kernel(struct builder *b)
{
    const struct dom0_files *f = b->files;
    struct bzimage_payload payload;
    const char *reason = "";
    unsigned work_order = heap_order(unpack_work_size());
    void *work;
    size_t len;

    if (bzimage_payload(f->kernel, f->kernel_len, &payload, &reason))
        cannot_start("the kernel of domain 0 is neither an ELF file nor a bzImage: %s", reason);
    if (payload.unpacked_len > MAX_KERNEL_BYTES)
        cannot_start(
            "the kernel of domain 0 claims %u MiB unpacked, more than %lu MiB: the file "
            "is damaged",
            payload.unpacked_len >> 20, MAX_KERNEL_BYTES >> 20);
    b->unpacked_order = heap_order(payload.unpacked_len);
    b->unpacked = heap_alloc_pages(b->unpacked_order);
    work = heap_alloc_pages(work_order);
    if (!b->unpacked || !work)
        cannot_start("not enough memory to unpack the kernel of domain 0 (%u MiB): give the "
                     "machine more",
                     payload.unpacked_len >> 20);
    if (unpack(payload.data, payload.len, b->unpacked, payload.unpacked_len, &len, work,
               &reason))
        cannot_start("the kernel of domain 0 does not unpack: %s. The file is damaged or cut "
                     "short; copy it again",
                     reason);
    heap_free_pages(work, work_order);
    if (elf_open(&b->elf, b->unpacked, len, &reason))
        cannot_start("the kernel of domain 0 is not usable: %s", reason);
}

static void open_kernel(struct builder *b)
{
    const char *reason = "";

    if (b->files->kernel_len >= 4 && !memcmp(b->files->kernel, "\177ELF", 4)) {
        if (elf_open(&b->elf, b->files->kernel, b->files->kernel_len, &reason))
            cannot_start("the kernel of domain 0 is not usable: %s", reason);
    } else {
        unpack_kernel(b);
    }
    if (elf_xen_notes(&b->elf, &b->notes, &reason))
        cannot_start("the kernel of domain 0 does not run as a paravirtual guest: %s", reason);
    if (b->notes.has_supported_features && !(b->notes.supported_features & BIT(XENFEAT_dom0)))
        cannot_start("the kernel of domain 0 was built without support for being domain 0");
}

/* Page tables that map [start, end): one L4, and the levels below. */
static u64 tables_for(u64 start, u64 end)
{
    u64 n = 1;

    for (int level = 1; level <= 3; level++) {
        unsigned shift = 12 + 9 * (unsigned)level;

        n += ((end - 1) >> shift) - (start >> shift) + 1;
    }
    return n;
}

static void plan_mapped_part(struct layout *l)
{
    u64 next = l->start_info + 1;

    /* More tables may need more room, which may need more tables: it settles at once. */
    for (l->nr_tables = 4;;) {
        u64 end = next + l->nr_tables + 1, need;

        l->mapped_end = ROUND_UP(end + (KIB(512) >> PAGE_SHIFT), MIB(4) >> PAGE_SHIFT);
        need = tables_for(l->virt_base, l->virt_base + (l->mapped_end << PAGE_SHIFT));
        if (need == l->nr_tables)
            break;
        l->nr_tables = need;
    }
    l->tables = next;
    l->stack = next + l->nr_tables;
}

static void plan_layout(struct builder *b)
{
    struct layout *l = &b->l;
    u64 pstart, pend, next;

    if (elf_extent(&b->elf, &pstart, &pend))
        cannot_start("the kernel of domain 0 has no loadable part");
    l->virt_base = b->notes.virt_base;
    l->kernel_end = ROUND_UP(pend - b->notes.paddr_offset, PAGE_SIZE) >> PAGE_SHIFT;
    l->initrd_pages =
        ROUND_UP(b->files->initrd_end - b->files->initrd_start, PAGE_SIZE) >> PAGE_SHIFT;
    l->p2m_pages = ROUND_UP(l->nr_pages * 8, PAGE_SIZE) >> PAGE_SHIFT;
    l->p2m_mapped_high = b->notes.has_init_p2m;
    next = l->kernel_end;
    if (!b->notes.mod_start_pfn) {
        l->initrd = next;
        next += l->initrd_pages;
    }
    if (!l->p2m_mapped_high) {
        l->p2m = next;
        next += l->p2m_pages;
    }
    l->start_info = next;
    plan_mapped_part(l);
    next = l->mapped_end;
    if (b->notes.mod_start_pfn) {
        l->initrd = next;
        next += l->initrd_pages;
    }
    if (l->p2m_mapped_high) {
        l->p2m = next;
        l->p2m_tables = next + l->p2m_pages;
        l->nr_p2m_tables =
            tables_for(b->notes.init_p2m, b->notes.init_p2m + (l->p2m_pages << PAGE_SHIFT)) - 1;
        next += l->p2m_pages + l->nr_p2m_tables;
    }
    if (next > l->nr_pages)
        cannot_start("domain 0 gets %lu MiB, but its kernel and initrd need %lu MiB: raise "
                     "dom0_mem= or give the machine more memory",
                     l->nr_pages >> 8, (next >> 8) + 1);
}

static void *pfn_to_virt(const struct builder *b, u64 pfn)
{
    return mfn_to_virt(MFN(b->p2m[pfn]));
}

static void set_frame(struct builder *b, u64 pfn, u64 mfn)
{
    b->p2m[pfn] = mfn;
    m2p[mfn] = pfn;
    frame_assign(b->d, MFN(mfn), 0);
    b->d->tot_pages++;
}

/* Frames for pfns up to 'end', in the largest pieces that go. The initrd keeps its own. */
static void assign_frames(struct builder *b, u64 end)
{
    const struct layout *l = &b->l;

    while (b->next_pfn < end) {
        u64 pfn = b->next_pfn, stop = end;
        unsigned order = 9;
        mfn_t mfn;

        if (pfn >= l->initrd && pfn < l->initrd + l->initrd_pages) {
            set_frame(b, pfn, (b->files->initrd_start >> PAGE_SHIFT) + pfn - l->initrd);
            b->next_pfn++;
            continue;
        }
        if (pfn < l->initrd && l->initrd_pages)
            stop = MIN(stop, l->initrd);
        while (order && (pfn & (BIT(order) - 1) || pfn + BIT(order) > stop))
            order--;
        while (!heap_take_dirty(order, &mfn))
            if (!order--)
                cannot_start("out of memory for domain 0 after %lu of %lu MiB: lower dom0_mem=",
                             pfn >> 8, l->nr_pages >> 8);
        for (u64 i = 0; i < BIT(order); i++)
            set_frame(b, pfn + i, mfn.n + i);
        b->next_pfn += BIT(order);
    }
}

static void load_segment(struct builder *b, const struct elf_segment *s)
{
    u64 at = s->paddr - b->notes.paddr_offset, end = at + s->mem_size;
    u64 data_end = at + s->file_size;

    while (at < end) {
        u64 off = at & (PAGE_SIZE - 1), n = MIN(PAGE_SIZE - off, end - at);
        u8 *page = (u8 *)pfn_to_virt(b, at >> PAGE_SHIFT) + off;
        u64 from_file = at < data_end ? MIN(n, data_end - at) : 0;

        memcpy(page, s->data + (at - (s->paddr - b->notes.paddr_offset)), from_file);
        memset(page + from_file, 0, n - from_file);
        at += n;
    }
}

static void load_kernel(struct builder *b)
{
    for (unsigned i = 0; i < elf_segment_count(&b->elf); i++) {
        struct elf_segment s;

        if (elf_segment(&b->elf, i, &s) == 0)
            load_segment(b, &s);
    }
    if (b->notes.has_hypercall_page)
        hypercall_page_fill(
            pfn_to_virt(b, (b->notes.hypercall_page - b->l.virt_base) >> PAGE_SHIFT));
}

/* The next of the page-table frames, empty. */
static u64 take_table(struct builder *b, u64 *next_pfn)
{
    u64 pfn = (*next_pfn)++;

    memset(pfn_to_virt(b, pfn), 0, PAGE_SIZE);
    return pfn;
}

/* The slot for 'va' in the L1; tables that are missing come from *next. */
static u64 *l1_slot(struct builder *b, u64 va, u64 *next)
{
    u64 *table = pfn_to_virt(b, b->l.tables);

    for (int level = 4; level > 1; level--) {
        u64 *e = &table[pt_index(va, level)];

        if (!(*e & PTE_P))
            *e = b->p2m[take_table(b, next)] << PAGE_SHIFT | PTE_P | PTE_RW | PTE_US | PTE_A |
                 PTE_D;
        table = mfn_to_virt(MFN((*e & PTE_ADDR) >> PAGE_SHIFT));
    }
    return &table[pt_index(va, 1)];
}

static void build_tables(struct builder *b)
{
    struct layout *l = &b->l;
    u64 next = l->tables;

    take_table(b, &next);
    for (u64 pfn = 0; pfn < l->mapped_end; pfn++) {
        bool is_table = pfn >= l->tables && pfn < l->tables + l->nr_tables;

        *l1_slot(b, l->virt_base + (pfn << PAGE_SHIFT), &next) =
            b->p2m[pfn] << PAGE_SHIFT | PTE_P | PTE_US | PTE_A | PTE_D |
            (is_table ? 0 : PTE_RW);
    }
    BUG_ON(next != l->tables + l->nr_tables);
    if (!l->p2m_mapped_high)
        return;
    next = l->p2m_tables;
    for (u64 i = 0; i < l->p2m_pages; i++)
        *l1_slot(b, b->notes.init_p2m + (i << PAGE_SHIFT), &next) =
            b->p2m[l->p2m + i] << PAGE_SHIFT | PTE_P | PTE_US | PTE_RW | PTE_A | PTE_D;
    BUG_ON(next > l->p2m_tables + l->nr_p2m_tables);
}

static void write_p2m(struct builder *b)
{
    const u64 per_page = PAGE_SIZE / 8;

    for (u64 i = 0; i < b->l.p2m_pages; i++) {
        u64 *page = pfn_to_virt(b, b->l.p2m + i),
            n = MIN(per_page, b->l.nr_pages - i * per_page);

        memcpy(page, &b->p2m[i * per_page], n * 8);
        memset(page + n, 0xff, (per_page - n) * 8);
    }
}

static u64 pfn_to_va(const struct layout *l, u64 pfn)
{
    return l->virt_base + (pfn << PAGE_SHIFT);
}

static void write_start_info(struct builder *b)
{
    const struct layout *l = &b->l;
    struct start_info *si = pfn_to_virt(b, l->start_info);
    size_t len = MIN(strlen(b->files->args), sizeof(si->cmd_line) - 1);

    memset(si, 0, PAGE_SIZE);
    memcpy(si->magic, "xen-3.0-x86_64p", 16);
    si->nr_pages = l->nr_pages;
    si->shared_info = b->d->shared_mfn.n << PAGE_SHIFT;
    si->flags = SIF_PRIVILEGED | SIF_INITDOMAIN;
    si->console.dom0.info_off = sizeof(*si);
    si->pt_base = pfn_to_va(l, l->tables);
    si->nr_pt_frames = l->nr_tables;
    si->mfn_list = l->p2m_mapped_high ? b->notes.init_p2m : pfn_to_va(l, l->p2m);
    if (l->initrd_pages) {
        si->mod_len = b->files->initrd_end - b->files->initrd_start;
        si->mod_start = b->notes.mod_start_pfn ? l->initrd : pfn_to_va(l, l->initrd);
        si->flags |= b->notes.mod_start_pfn ? SIF_MOD_START_PFN : 0;
    }
    memcpy(si->cmd_line, b->files->args, len);
    if (l->p2m_mapped_high) {
        si->first_p2m_pfn = l->p2m;
        si->nr_p2m_frames = l->p2m_pages + l->nr_p2m_tables;
    }
}

/* How far domain 0 may grow: to "max:" if given, else it stays with what an explicit size gave. */
static u64 max_pages(const struct cmdline *options, u64 nr_pages)
{
    if (options->dom0_mem_max.set && !options->dom0_mem_max.negative &&
        !options->dom0_mem_max.percent)
        return MAX(nr_pages, options->dom0_mem_max.bytes >> PAGE_SHIFT);
    return options->dom0_mem.set ? nr_pages : ~0U;
}

static void plan_memory(struct builder *b, const struct cmdline *options)
{
    u64 initrd_frames =
        ROUND_UP(b->files->initrd_end - b->files->initrd_start, PAGE_SIZE) >> PAGE_SHIFT;
    u64 available =
        heap_free_count() + initrd_frames + (b->unpacked ? BIT(b->unpacked_order) : 0);

    /* The frame list comes back after the build: it is the heap's reserve then. */
    b->p2m_order = heap_order(available * 8);
    if (available <= HEAP_RESERVE_FRAMES + BIT(b->p2m_order))
        cannot_start("there is no memory left for domain 0");
    available -= HEAP_RESERVE_FRAMES + BIT(b->p2m_order);
    b->l.nr_pages = cmdline_dom0_bytes(options, available << PAGE_SHIFT) >> PAGE_SHIFT;
    b->d->max_pages = max_pages(options, b->l.nr_pages);
    b->p2m = heap_alloc_pages(b->p2m_order);
    if (!b->p2m)
        cannot_start("not enough memory for the frame list of domain 0");
}

static struct vcpu *create_vcpu(struct builder *b)
{
    struct vcpu *v = vcpu_create(b->d, 0);

    if (!v)
        cannot_start("not enough memory for the first CPU of domain 0");
    v->kernel_table = MFN(b->p2m[b->l.tables]);
    if (frame_pin(b->d->id, v->kernel_table, TYPE_L4) ||
        frame_type_get(b->d->id, v->kernel_table, TYPE_L4))
        panic("the page tables built for domain 0 are not valid");
    v->entry.kernel_cr3 = v->kernel_table.n << PAGE_SHIFT;
    return v;
}

struct vcpu *dom0_build(const struct dom0_files *files, const struct cmdline *options,
                        struct cpu_user_regs *regs)
{
    struct builder b = {.files = files};
    struct vcpu *v;

    b.d = dom0 = domain_create(0, 0);
    if (!b.d)
        cannot_start("not enough memory for domain 0");
    b.d->is_hardware = true;
    open_kernel(&b);
    plan_memory(&b, options);
    plan_layout(&b);
    assign_frames(&b, b.l.kernel_end);
    load_kernel(&b);
    if (b.unpacked)
        heap_free_pages(b.unpacked, b.unpacked_order);
    assign_frames(&b, b.l.nr_pages);
    build_tables(&b);
    write_p2m(&b);
    write_start_info(&b);
    b.d->shared->arch.max_pfn = b.l.nr_pages;
    v = create_vcpu(&b);
    *regs = (struct cpu_user_regs){.rip = b.notes.entry,
                                   .cs = SEL_RING3_CS64,
                                   .rflags = RFLAGS_IF | RFLAGS_MBS,
                                   .rsp = pfn_to_va(&b.l, b.l.stack + 1),
                                   .ss = SEL_RING3_DS,
                                   .rsi = pfn_to_va(&b.l, b.l.start_info)};
    heap_free_pages(b.p2m, b.p2m_order);
    printk("domain 0: %lu MiB, kernel to pfn %lx, initrd at pfn %lx (%lu KiB), entry %lx\n",
           b.l.nr_pages >> 8, b.l.kernel_end, b.l.initrd, b.l.initrd_pages * 4, b.notes.entry);
    return v;
}
