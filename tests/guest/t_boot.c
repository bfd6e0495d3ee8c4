/* The state a kernel finds at its first instruction, and the version hypercalls. */
#include "guest.h"

static void entry_state(void)
{
    const u16 *sel = (const u16 *)(entry_regs + 17);
    u64 others = 0;

    for (int i = 0; i < 16; i++)
        if (i != 4 && i != 7)
            others |= entry_regs[i];
    is(entry_regs[4], (u64)start, "rsi points at start_info");
    is(others, 0, "all other registers are 0");
    is(sel[0], FLAT_KERNEL_CS, "cs");
    is(sel[1], FLAT_KERNEL_SS, "ss");
    is(sel[2] | sel[3] | sel[4] | sel[5], 0, "ds es fs gs are null");
    is(entry_regs[16] & 0x3f7fd5, 0x200, "rflags has only IF");
    ok(entry_regs[7] % PAGE_SIZE == 0 && (pte_read(entry_regs[7] - 8) & PTE_RW),
       "rsp is the top of a writable stack page");
    ok(entry_regs[7] > start->pt_base, "the stack comes after the page tables");
}

static void start_info_fields(void)
{
    u64 pt_end = start->pt_base + start->nr_pt_frames * PAGE_SIZE;

    ok(has_prefix(start->magic, "xen-3.0-x86_64"), "magic is %s", start->magic);
    ok(start->nr_pages > 1024, "nr_pages");
    is(start->shared_info & (PAGE_SIZE - 1), 0,
       "shared_info is a page-aligned machine address");
    is(start->flags & (SIF_PRIVILEGED | SIF_INITDOMAIN), SIF_PRIVILEGED | SIF_INITDOMAIN,
       "flags say initial domain");
    is(start->store_mfn | start->store_evtchn, 0, "no store yet");
    ok(start->console.dom0.info_size == 0 || start->console.dom0.info_off >= sizeof(*start),
       "video info does not overlap start_info");
    ok(start->pt_base % PAGE_SIZE == 0 && start->nr_pt_frames >= 4, "pt_base, nr_pt_frames");
    ok((u64)start + PAGE_SIZE <= start->pt_base && pt_end <= entry_regs[7],
       "order: start_info, page tables, stack");
    ok(option("test") != NULL, "command line arrived: %s", (const char *)start->cmd_line);
    ok(strlen((const char *)start->cmd_line) < MAX_GUEST_CMDLINE, "command line ends");
}

/* With "module=N" in the options the runner gave us N bytes of a known pattern. */
static void module(void)
{
    u64 want = option_number("module", 0);
    bool same = true;

    is(start->mod_len, want, "module length");
    if (!want)
        return;
    ok(start->flags & SIF_MOD_START_PFN, "module is told by pfn");
    ok(start->mod_start + (want - 1) / PAGE_SIZE < start->nr_pages, "module lies in our pfns");
    for (u64 i = 0; i < want; i += PAGE_SIZE) {
        u64 mfn = ((u64 *)start->mfn_list)[start->mod_start + i / PAGE_SIZE];
        u64 n = want - i < PAGE_SIZE ? want - i : PAGE_SIZE;
        const u8 *p = (const u8 *)window(0);

        if (window_map(0, mfn * PAGE_SIZE | PTE_KERN))
            same = false;
        else
            for (u64 b = 0; b < n; b++)
                same &= p[b] == (u8)((i + b) * 7 + (i + b) / 251);
    }
    window_map(0, 0);
    ok(same, "module content");
}

static void mappings(void)
{
    u64 end = (entry_regs[7] + 0x80000 + 0x3fffff) & ~0x3fffffUL, bad = 0, ro = 0, n = 0;

    for (u64 va = VIRT_BASE; va < end; va += PAGE_SIZE) {
        u64 pte = pte_read(va), pfn = (va - VIRT_BASE) / PAGE_SIZE;
        bool table =
            va >= start->pt_base && va < start->pt_base + start->nr_pt_frames * PAGE_SIZE;

        /* Ours since map_shared() and the tables of the test itself are not the builder's. */
        if ((u64)shared == va)
            continue;
        bad += !(pte & PTE_P) || (pte & PTE_ADDR) / PAGE_SIZE != ((u64 *)start->mfn_list)[pfn];
        ro += table && (pte & PTE_RW);
        n += !table && !(pte & PTE_RW);
    }
    is(bad, 0, "pfn N is mapped at VIRT_BASE + N pages up to %lx", end);
    is(ro, 0, "page tables are mapped read-only");
    is(n, 0, "everything else is mapped writable");
    is(try_write(start->pt_base, 0), 14, "a write to pt_base faults");
    ro = tables_are_readonly();
    ok(ro && table_pages_seen() >= 4, "no table of %lu is mapped writable", table_pages_seen());
}

static void translations(void)
{
    u64 *p2m = (u64 *)start->mfn_list, bad = 0;

    for (u64 pfn = 0; pfn < start->nr_pages; pfn++)
        bad += m2p(p2m[pfn]) != pfn;
    is(bad, 0, "m2p[p2m[pfn]] == pfn for all %lu pages", (u64)start->nr_pages);
    is(try_write(MACH2PHYS_VIRT_START, 0), 14, "m2p is read-only");
    is(trap.r.ec, 3, "m2p: protection fault");
    ok(max_mfn >= start->nr_pages - 1, "max_mfn covers our memory");
    is(try_read(HOLE_END - PAGE_SIZE, NULL), 14, "rest of the hole is unreadable");
    for (u64 va = HOLE_START + (1UL << 39); va < HOLE_END; va += 1UL << 39)
        if (try_read(va, NULL) != 14)
            ok(false, "hole readable at %lx", va);
    if (start->mfn_list < VIRT_BASE) {
        u64 last = start->mfn_list + ((start->nr_pages + 511) & ~511UL) * 8 - 8;

        is(start->mfn_list, 0x8000000000, "p2m at INIT_P2M");
        is(try_write(last, ~0UL), VEC_NONE, "p2m is writable to the end of its last page");
        ok(start->first_p2m_pfn + start->nr_p2m_frames <= start->nr_pages, "p2m pfn range");
        ok(start->nr_p2m_frames >= start->nr_pages / 512 + 3, "nr_p2m_frames");
    }
}

static void versions(void)
{
    static xen_extraversion_t extra;
    static xen_capabilities_info_t caps;
    static struct xen_compile_info compile;
    static xen_changeset_info_t changeset;
    static struct xen_platform_parameters params;
    static xen_commandline_t cmdline;
    struct xen_feature_info fi = {.submap_idx = 0};
    bool found = false;

    is(hc_version(XENVER_version, NULL), 4 << 16 | 17, "version 4.17");
    is(hc_version(XENVER_extraversion, extra), 0, "extraversion");
    is(hc_version(XENVER_compile_info, &compile), 0, "compile_info");
    is(hc_version(XENVER_capabilities, caps), 0, "capabilities");
    for (const char *s = caps; *s; s++)
        found |= has_prefix(s, "xen-3.0-x86_64") && (s[14] == ' ' || !s[14]);
    ok(found, "capabilities name xen-3.0-x86_64");
    is(hc_version(XENVER_changeset, changeset), 0, "changeset");
    is(hc_version(XENVER_platform_parameters, &params), 0, "platform_parameters");
    is(params.virt_start, HOLE_START, "virt_start");
    is(hc_version(XENVER_pagesize, NULL), PAGE_SIZE, "pagesize");
    is(hc_version(XENVER_commandline, cmdline), 0, "commandline");
    ok(hc_version(999, NULL) == -XEN_ENOSYS, "unknown version op");
    is(hc_version(XENVER_get_features, &fi), 0, "get_features");
    /* bits 5 7 11 must be there, 0 to 3 and 8 must not */
    is(fi.submap & 0x9af, 0x8a0, "features %x", fi.submap);
    fi.submap_idx = 1;
    is(hc_version(XENVER_get_features, &fi), -XEN_EINVAL, "features: submap 1");
    is(hc_version(XENVER_extraversion, (void *)(HOLE_END - 8)), -XEN_EFAULT,
       "a result inside the hypervisor");
}

/* XSA-77, 122, 132: bytes behind the terminator of a result. */
static void no_leaks(void)
{
    static const unsigned ops[] = {XENVER_extraversion, XENVER_capabilities, XENVER_changeset,
                                   XENVER_compile_info};
    static const unsigned sizes[] = {
        sizeof(xen_extraversion_t), sizeof(xen_capabilities_info_t),
        sizeof(xen_changeset_info_t), sizeof(struct xen_compile_info)};
    static u8 buf[2048];

    for (unsigned op = 0; op < 4; op++) {
        bool clean = true, ended = false;

        memset(buf, 0xa5, sizeof(buf));
        hc_version(ops[op], buf);
        for (unsigned i = 0; i < sizes[op] && op < 3; i++) {
            clean &= !ended || buf[i] == 0 || buf[i] == 0xa5;
            ended |= buf[i] == 0;
        }
        for (unsigned i = sizes[op]; i < sizeof(buf); i++)
            clean &= buf[i] == 0xa5;
        ok(clean, "version op %u leaks nothing", ops[op]);
    }
}

static void shared_info(void)
{
    unsigned masked = 0;

    for (int i = 0; i < XEN_LEGACY_MAX_VCPUS; i++)
        masked += shared->vcpu_info[i].evtchn_upcall_mask == 1;
    is(masked, XEN_LEGACY_MAX_VCPUS, "upcalls are masked in all legacy slots");
    ok(vi->time.tsc_to_system_mul != 0, "the clock's scale is set at entry");
    ok((vi->time.version & 1) == 0, "the clock's version is even");
    ok(shared->wc_sec > 1600000000, "wall clock is set (%u)", shared->wc_sec);
}

static void hypercall_stubs(void)
{
    bool good = true;
    long rc;

    if (start->mfn_list >= VIRT_BASE) {
        skip("hypercall page", "not asked for by this image");
        return;
    }
    for (unsigned nr = 0; nr < 49; nr++)
        good &= (u8)hypercall_page[nr * 32] != 0xcc;
    ok(good, "hypercall page has been filled");
    asm volatile("call *%1"
                 : "=a"(rc)
                 : "r"(hypercall_page + 32 * __HYPERVISOR_xen_version), "D"(0UL), "S"(0UL)
                 : "memory");
    is(rc, 4 << 16 | 17, "a hypercall through the page");
}

static void calling(void)
{
    u64 rdi = 0, rsi = 0, rdx = 0x1234, rbx = 0x5678, rbp_same;
    register u64 r8 asm("r8") = 8, r9 asm("r9") = 9, r10 asm("r10") = 10;
    register u64 r12 asm("r12") = 12, r15 asm("r15") = 15;
    bool kept;
    long rc;

    asm volatile("mov %%rbp, %1; push %%rbp; syscall; pop %%rcx; sub %%rcx, %1"
                 : "=a"(rc), "=&r"(rbp_same), "+D"(rdi), "+S"(rsi), "+d"(rdx), "+b"(rbx),
                   "+r"(r8), "+r"(r9), "+r"(r10), "+r"(r12), "+r"(r15)
                 : "a"((u64)__HYPERVISOR_xen_version)
                 : "rcx", "r11", "memory");
    /* At once: the next call may reuse r8 to r10. */
    kept = rdi == 0 && rsi == 0 && rdx == 0x1234 && rbx == 0x5678 && r8 == 8 && r9 == 9 &&
           r10 == 10 && r12 == 12 && r15 == 15 && rbp_same == 0;
    is(rc, 4 << 16 | 17, "inline syscall");
    ok(kept, "a hypercall keeps registers");
    /* 49 is Xen's own, 55 is ours. */
    for (unsigned nr = 50; nr < 70; nr++)
        if (nr != 55 && hypercall(nr, 0, 0, 0, 0, 0) != -XEN_ENOSYS)
            ok(false, "hypercall %u exists", nr);
    is(hypercall(11, 0, 0, 0, 0, 0), -XEN_ENOSYS, "hypercall 11");
    for (unsigned nr = 64; nr; nr <<= 1)
        if (hypercall(nr, 0, 0, 0, 0, 0) != -XEN_ENOSYS)
            ok(false, "hypercall %x exists", nr);
}

static void memory_queries(void)
{
    static struct e820 {
        u64 base, len;
        u32 type;
    } __attribute__((packed)) map[128];
    struct xen_memory_map mm = {.nr_entries = 128};
    domid_t self = DOMID_SELF;
    u64 ram = 0, lapic = 0;
    long rc;

    set_xen_guest_handle(mm.buffer, (void *)map);
    is(hc_memory(XENMEM_machine_memory_map, &mm), 0, "machine_memory_map");
    for (unsigned i = 0; i < mm.nr_entries && i < 128; i++) {
        if (map[i].type == 1)
            ram += map[i].len;
        if (map[i].type != 1 && map[i].base <= 0xfee00000 &&
            map[i].base + map[i].len > 0xfee00000)
            lapic++;
    }
    ok(ram / PAGE_SIZE > start->nr_pages, "machine RAM is more than ours");
    is(lapic, 1, "the local APIC window is reserved in the map");
    mm.nr_entries = 1;
    rc = hc_memory(XENMEM_machine_memory_map, &mm);
    ok(rc == -XEN_EINVAL || (rc == 0 && mm.nr_entries == 1),
       "machine_memory_map, short buffer");
    is(hc_memory(XENMEM_current_reservation, &self), start->nr_pages, "current_reservation");
    ok(hc_memory(XENMEM_maximum_ram_page, NULL) >= (long)max_mfn, "maximum_ram_page");
    ok(hc_memory(XENMEM_maximum_reservation, &self) >= (long)start->nr_pages,
       "maximum_reservation");
    is(hc_memory(50, NULL), -XEN_ENOSYS, "unknown memory_op");
}

void test_boot(void)
{
    entry_state();
    shared_info();
    start_info_fields();
    mappings();
    translations();
    module();
    hypercall_stubs();
    calling();
    versions();
    no_leaks();
    memory_queries();
}
