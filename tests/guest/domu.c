/*
 * Making another domain. Its first pfns are what the toolstack's builder would add:
 *
 *   0 L4, 1 L3, 2 L2, 3.. L1 tables, then start_info, then the p2m list; at 256 the image
 */
#include "domu.h"
#include <xen/arch-x86/xen-x86_64.h>

#define VIEWS     0x18000000000UL /* L4 slot 3 */
#define NR_VIEWS  512
#define LONG_NS   20000000000UL
#define BATCH     64
#define IMAGE_PFN 0x100

enum { PFN_L4, PFN_L3, PFN_L2, PFN_L1 };

extern char text_end[], data_start[], data_end[], image_end[];

bool in_domu;
struct domu_mail domu_mail __attribute__((aligned(4096)));
static u8 first_data[4096] __attribute__((aligned(4096)));
static u16 view_owner[NR_VIEWS]; /* 0: free */

void domu_keep_image(void)
{
    if (data_end - data_start > sizeof(first_data))
        die("the image's data does not fit first_data");
    memcpy(first_data, data_start, data_end - data_start);
}

/* --- domctl --- */

long domctl(unsigned cmd, u16 id, struct xen_domctl *op)
{
    op->cmd = cmd;
    op->interface_version = XEN_DOMCTL_INTERFACE_VERSION;
    op->domain = id;
    return HC(domctl, op, 0, 0, 0, 0);
}

long domctl_plain(unsigned cmd, u16 id)
{
    struct xen_domctl op = {0};

    return domctl(cmd, id, &op);
}

static void must(long rc, const char *what)
{
    if (rc >= 0)
        return;
    note("%s: %ld", what, rc);
    die("the other domain cannot be made");
}

/* --- views --- */

void *domu_map_mfn(const struct domu *u, u64 mfn, u64 flags)
{
    for (unsigned i = 0; i < NR_VIEWS; i++) {
        u64 va = VIEWS + i * PAGE_SIZE;

        if (view_owner[i])
            continue;
        if (mmu_write_type(maddr_of(pte_make(l4_table(), va)), mfn * PAGE_SIZE | flags,
                           MMU_NORMAL_PT_UPDATE, u->id))
            return NULL;
        view_owner[i] = u->id;
        return (void *)va;
    }
    die("too many views of other domains");
}

void domu_unmap(const volatile void *view)
{
    u64 va = (u64)view & ~(PAGE_SIZE - 1);

    if (hc_update_va((void *)va, 0, UVMF_INVLPG))
        die("a view cannot be unmapped");
    view_owner[(va - VIEWS) / PAGE_SIZE] = 0;
}

u64 domu_mfn_of(const struct domu *u, const volatile void *va)
{
    return u->mfn[pfn_of(va)];
}

static void *view_pfn(const struct domu *u, u64 pfn)
{
    void *view = domu_map_mfn(u, u->mfn[pfn], PTE_KERN);

    if (!view)
        die("a page of the other domain cannot be mapped");
    return view;
}

void *domu_view(const struct domu *u, const volatile void *va)
{
    return (u8 *)view_pfn(u, pfn_of(va)) + ((u64)va & (PAGE_SIZE - 1));
}

static void drop_views(const struct domu *u)
{
    for (unsigned i = 0; i < NR_VIEWS; i++)
        if (view_owner[i] == u->id)
            domu_unmap((void *)(VIEWS + i * PAGE_SIZE));
}

/* --- making it --- */

void domu_make_empty(struct domu *u, unsigned vcpus)
{
    struct xen_domctl op = {0};

    memset(u, 0, sizeof(*u));
    op.u.createdomain.max_vcpus = vcpus;
    op.u.createdomain.max_evtchn_port = 1023;
    op.u.createdomain.max_grant_frames = -1;
    op.u.createdomain.max_maptrack_frames = -1;
    op.u.createdomain.grant_opts = XEN_DOMCTL_GRANT_version(1);
    must(domctl(XEN_DOMCTL_createdomain, 0, &op), "createdomain");
    u->id = op.domain;
    memset(&op.u, 0, sizeof(op.u));
    op.u.max_vcpus.max = vcpus;
    must(domctl(XEN_DOMCTL_max_vcpus, u->id, &op), "max_vcpus");
    memset(&op.u, 0, sizeof(op.u));
    op.u.max_mem.max_memkb = DOMU_PAGES * 4;
    must(domctl(XEN_DOMCTL_max_mem, u->id, &op), "max_mem");
    memset(&op.u, 0, sizeof(op.u));
    must(domctl(XEN_DOMCTL_getdomaininfo, u->id, &op), "getdomaininfo");
    u->shared_mfn = op.u.getdomaininfo.shared_info_frame;
}

static void clear_pages(const struct domu *u)
{
    static struct mmuext_op ops[BATCH];
    unsigned n = 0;
    u32 done;

    for (u64 pfn = 0; pfn < u->pages; pfn++) {
        ops[n++] = (struct mmuext_op){.cmd = MMUEXT_CLEAR_PAGE, .arg1.mfn = u->mfn[pfn]};
        if (n < BATCH && pfn + 1 < u->pages)
            continue;
        must(hc_mmuext(ops, n, &done, u->id), "clear pages");
        n = 0;
    }
}

void domu_populate(struct domu *u, u64 pages)
{
    struct xen_memory_reservation r = {.domid = u->id};

    u->pages = pages;
    if (u->pages > DOMU_PAGES)
        die("DOMU_PAGES is too small for the image");
    for (u64 i = 0; i < u->pages; i++)
        u->mfn[i] = i;
    set_xen_guest_handle(r.extent_start, u->mfn);
    r.nr_extents = u->pages;
    if (hc_memory(XENMEM_populate_physmap, &r) != (long)u->pages)
        die("not enough memory for the other domain");
    clear_pages(u);
}

static void copy_in(const struct domu *u, u64 va, const void *from, u64 len)
{
    while (len) {
        u64 n = PAGE_SIZE - (va & (PAGE_SIZE - 1));
        void *view = domu_view(u, (void *)va);

        n = n < len ? n : len;
        memcpy(view, from, n);
        domu_unmap(view);
        va += n;
        from = (const u8 *)from + n;
        len -= n;
    }
}

static u64 entry_of(const struct domu *u, u64 pfn, u64 flags)
{
    return u->mfn[pfn] * PAGE_SIZE | flags;
}

/* The number of L1 tables, and the first pfn behind the tables. */
static u64 nr_l1(const struct domu *u)
{
    return (u->pages + 511) / 512;
}

static void fill_tables(const struct domu *u)
{
    u64 *table = view_pfn(u, PFN_L4), end = PFN_L1 + nr_l1(u);

    table[511] = entry_of(u, PFN_L3, PTE_KERN);
    domu_unmap(table);
    table = view_pfn(u, PFN_L3);
    table[510] = entry_of(u, PFN_L2, PTE_KERN);
    domu_unmap(table);
    table = view_pfn(u, PFN_L2);
    for (u64 i = 0; i < nr_l1(u); i++)
        table[i] = entry_of(u, PFN_L1 + i, PTE_KERN);
    domu_unmap(table);
    for (u64 i = 0; i < nr_l1(u); i++) {
        table = view_pfn(u, PFN_L1 + i);
        for (u64 pfn = i * 512; pfn < u->pages && pfn < (i + 1) * 512; pfn++)
            table[pfn & 511] = entry_of(u, pfn, pfn < end ? PTE_RO : PTE_KERN);
        domu_unmap(table);
    }
}

static void fill_start(struct domu *u)
{
    static struct start_info si;
    u64 pfn = PFN_L1 + nr_l1(u);

    u->start_va = VIRT_BASE + pfn * PAGE_SIZE;
    si = (struct start_info){.nr_pages = u->pages,
                             .shared_info = u->shared_mfn * PAGE_SIZE,
                             .pt_base = VIRT_BASE + PFN_L4 * PAGE_SIZE,
                             .nr_pt_frames = pfn,
                             .mfn_list = u->start_va + PAGE_SIZE};
    memcpy(si.magic, "xen-3.0-x86_64", 15);
    copy_in(u, u->start_va, &si, sizeof(si));
    copy_in(u, si.mfn_list, u->mfn, u->pages * 8);
}

void domu_entry(void (*main)(void), struct start_info *si);

static void start_vcpu(const struct domu *u, void (*main)(void))
{
    static struct vcpu_guest_context c;
    struct xen_domctl op = {0};

    memset(&c, 0, sizeof(c));
    for (unsigned i = 0; i < 256; i++) {
        c.trap_ctxt[i].vector = i;
        c.trap_ctxt[i].cs = FLAT_KERNEL_CS;
    }
    c.flags = VGCF_in_kernel | VGCF_online;
    c.user_regs.rip = (u64)domu_entry;
    c.user_regs.rsp = (u64)boot_stack_top - 8; /* as after a call */
    c.user_regs.rdi = (u64)main;
    c.user_regs.rsi = u->start_va;
    c.user_regs.rflags = 0x200;
    c.user_regs.cs = FLAT_KERNEL_CS;
    c.user_regs.ss = FLAT_KERNEL_SS;
    c.kernel_ss = FLAT_KERNEL_SS;
    c.kernel_sp = (u64)trap_stack_top;
    c.ctrlreg[3] = xen_pfn_to_cr3(u->mfn[PFN_L4]);
    set_xen_guest_handle(op.u.vcpucontext.ctxt, &c);
    must(domctl(XEN_DOMCTL_setvcpucontext, u->id, &op), "setvcpucontext");
}

void domu_make(struct domu *u, void (*main)(void), unsigned vcpus)
{
    domu_make_empty(u, vcpus);
    domu_populate(u, pfn_of(image_end));
    u->top_pfn = PFN_L4;
    fill_tables(u);
    fill_start(u);
    copy_in(u, VIRT_BASE + IMAGE_PFN * PAGE_SIZE, (void *)(VIRT_BASE + IMAGE_PFN * PAGE_SIZE),
            (u64)text_end - VIRT_BASE - IMAGE_PFN * PAGE_SIZE);
    copy_in(u, (u64)data_start, first_data, data_end - data_start);
    must(domu_mmuext(u, MMUEXT_PIN_L4_TABLE, u->mfn[PFN_L4]), "pin the top table");
    u->mail = domu_view(u, &domu_mail);
    start_vcpu(u, main);
}

void domu_run(struct domu *u)
{
    must(domctl_plain(XEN_DOMCTL_unpausedomain, u->id), "unpause");
}

long domu_mmuext(const struct domu *u, unsigned cmd, u64 mfn)
{
    struct mmuext_op op = {.cmd = cmd, .arg1.mfn = mfn};
    u32 done = 0;

    return hc_mmuext(&op, 1, &done, u->id);
}

/* --- talking to it --- */

void domu_doze(void)
{
    port_clear(timer_port());
    poll_port(timer_port(), clock_ns() + 500000);
}

static void show_log(struct domu *u)
{
    if (u->log_seen < u->mail->log_len) {
        hc_console(CONSOLEIO_write, u->mail->log_len - u->log_seen, u->mail->log + u->log_seen);
        u->log_seen = u->mail->log_len;
    }
}

u32 domu_flags(const struct domu *u)
{
    struct xen_domctl op = {0};

    if (domctl(XEN_DOMCTL_getdomaininfo, u->id, &op) || op.domain != u->id)
        return ~0U;
    return op.u.getdomaininfo.flags;
}

void domu_order(struct domu *u, u64 what, u64 in0)
{
    u->mail->in[0] = in0;
    u->mail->what = what;
    u->mail->order = ++u->orders;
}

u64 domu_await(struct domu *u)
{
    u64 end = clock_ns() + LONG_NS;

    while (u->mail->done != u->orders) {
        u32 flags = domu_flags(u);

        if (clock_ns() > end || flags & (XEN_DOMINF_shutdown | XEN_DOMINF_dying)) {
            show_log(u);
            note("flags %x, order %lu of kind %lu", flags, u->orders, (u64)u->mail->what);
            die("the other domain does not answer");
        }
        domu_doze();
    }
    show_log(u);
    return u->mail->answer;
}

u64 domu_ask(struct domu *u, u64 what, u64 in0)
{
    domu_order(u, what, in0);
    return domu_await(u);
}

unsigned domu_await_shutdown(struct domu *u)
{
    u64 end = clock_ns() + LONG_NS;
    u32 flags;

    while (!((flags = domu_flags(u)) & XEN_DOMINF_shutdown)) {
        if (clock_ns() > end)
            die("the other domain does not shut down");
        domu_doze();
    }
    show_log(u);
    return flags >> XEN_DOMINF_shutdownshift & XEN_DOMINF_shutdownmask;
}

bool domu_end(struct domu *u)
{
    u64 end = clock_ns() + LONG_NS;

    drop_views(u);
    must(domctl_plain(XEN_DOMCTL_destroydomain, u->id), "destroy");
    while (domu_flags(u) != ~0U) {
        if (clock_ns() > end)
            return false;
        domu_doze();
    }
    return true;
}

/* --- the other side --- */

void domu_print(const char *text, unsigned len)
{
    for (unsigned i = 0; i < len && domu_mail.log_len < sizeof(domu_mail.log); i++)
        domu_mail.log[domu_mail.log_len++] = text[i];
}

void domu_entry(void (*main)(void), struct start_info *si)
{
    in_domu = true;
    guest_begin(si);
    main();
    power_off();
}

u64 domu_next(void)
{
    while (domu_mail.order == domu_mail.done)
        hc_sched(SCHEDOP_yield, NULL);
    return domu_mail.what;
}

void domu_reply(u64 answer)
{
    domu_mail.answer = answer;
    domu_mail.done = domu_mail.order;
}
