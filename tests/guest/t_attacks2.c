/* Known attacks, continued: memory operations, results, entry and exit, processor state. */
#include "more.h"
#include <xen/arch-x86/xen-mca.h>
#include <xen/grant_table.h>
#include <xen/sysctl.h>

USER_CODE_TEXT(u_int80, "int $0x80; ud2");
USER_CODE_TEXT(u_mov_ss, "mov (%rdi), %ss; syscall; ud2");
USER_CODE_TEXT(u_mov_ss_int, "mov (%rdi), %ss; int $0x80; ud2");
USER_CODE_TEXT(u_syscall, "syscall; ud2");
USER_CODE_TEXT(u_load, "mov (%rdi), %rax; ud2");
USER_CODE_TEXT(u_icebp, ".byte 0xf1; ud2");
USER_CODE_TEXT(u_inl, "mov %edi, %edx; inl %dx, %eax; ud2");
USER_CODE_TEXT(u_inb, "mov %edi, %edx; inb %dx, %al; ud2");

/* --- processor state at entry; comes before anything that touches it --- */

static u8 xarea[4096] __attribute__((aligned(64)));

static u64 sum_of(unsigned from, unsigned to)
{
    u64 sum = 0;

    for (unsigned i = from; i < to; i++)
        sum += xarea[i];
    return sum;
}

/* XSA-52, 165, 172: what another domain, or the hypervisor, left in the FPU. */
static void clean_fpu(void)
{
    hc_fpu_taskswitch(0);
    memset(xarea, 0, sizeof(xarea));
    is(EX("fxsave (%0)", : : "r"(xarea) : "memory"), VEC_NONE, "XSA-165: fxsave");
    is(*(u16 *)xarea, 0x37f, "XSA-165: control word at entry");
    is(*(u32 *)(xarea + 24), 0x1f80, "XSA-165: mxcsr at entry");
    is(sum_of(32, 416), 0, "XSA-52, 165: the x87 and SSE registers are clear at entry");
    memset(xarea, 0, sizeof(xarea));
    if (EX("xsave (%0)", : : "r"(xarea), "a"(~0U), "d"(~0U) : "memory") == VEC_NONE)
        is(sum_of(576, 4096), 0, "XSA-172: so are the upper parts");
    else
        skip("XSA-172: upper parts", "no xsave");
}

/* XSA-53, 54, 62: images of that state that the processor refuses. */
static void hostile_fpu_images(void)
{
    u64 cr4 = 0;
    unsigned bad = 0;

    EX("mov %%cr4, %0", : "=r"(cr4));
    EX("mov %0, %%cr4", : : "r"(cr4 | 1 << 18));
    if (EX("xsave (%0)", : : "r"(xarea), "a"(3), "d"(0) : "memory") != VEC_NONE) {
        skip("XSA-53: xrstor of bad images", "no xsave");
        return;
    }
    memset(xarea, 0, sizeof(xarea));
    for (unsigned bit = 0; bit < 64 * 8; bit++) { /* the header */
        u64 vec;

        xarea[512 + bit / 8] = 1 << (bit % 8);
        vec = EX("xrstor (%0)", : : "r"(xarea), "a"(~0U), "d"(~0U) : "memory");
        bad += vec != 13 && vec != VEC_NONE;
        xarea[512 + bit / 8] = 0;
    }
    *(u32 *)(xarea + 24) = ~0U; /* reserved bits of mxcsr */
    xarea[512] = 2;
    bad += EX("xrstor (%0)", : : "r"(xarea), "a"(3), "d"(0) : "memory") == 14;
    EX("fxrstor (%0)", : : "r"(xarea) : "memory");
    EX("ldmxcsr (%0)", : : "r"(xarea + 24) : "memory");
    is(bad, 0, "XSA-53: xrstor of bad images is #GP or harmless");
    memset(xarea, 0, sizeof(xarea));
    *(u32 *)(xarea + 24) = 0x1f80;
    EX("xrstor (%0)", : : "r"(xarea), "a"(~0U), "d"(~0U) : "memory");
    is(EX("fninit"), VEC_NONE, "XSA-62: the FPU still works");
    doze(); /* saves and restores it, whatever is in there */
    EX("mov %0, %%cr4", : : "r"(cr4));
}

/* --- memory operations --- */

static long reservation(void)
{
    domid_t self = DOMID_SELF;

    return hc_memory(XENMEM_current_reservation, &self);
}

enum { N_IN = 8 };
static void *given[N_IN];
static u64 given_mfn[N_IN];

/* Unmaps every other page of a row: frames that do not lie together. */
static void take_pages(void)
{
    for (unsigned i = 0; i < N_IN; i++) {
        given[i] = page_alloc();
        page_alloc();
        given_mfn[i] = mfn_of(given[i]);
        hc_update_va(given[i], 0, UVMF_INVLPG);
    }
}

static long exchange(u64 *out, unsigned order, unsigned flags, u64 *done)
{
    struct xen_memory_exchange ex = {
        .in = {.nr_extents = N_IN, .domid = DOMID_SELF},
        .out = {.nr_extents = N_IN >> order, .extent_order = order, .mem_flags = flags}};
    long rc;

    ex.out.domid = DOMID_SELF;
    set_xen_guest_handle(ex.in.extent_start, given_mfn);
    set_xen_guest_handle(ex.out.extent_start, out);
    rc = hc_memory(XENMEM_exchange, &ex);
    *done = ex.nr_exchanged;
    return rc;
}

/* XSA-159: an exchange that cannot be finished keeps the books right. */
static void broken_exchange(void)
{
    u64 *out = (u64 *)(window(20) + PAGE_SIZE - 16), done = 99, kept = 0;
    long before = reservation();

    take_pages();
    window_map(20, maddr_of(page_alloc()) | PTE_KERN);
    window_map(21, 0);
    out[0] = pfn_of(given[0]), out[1] = pfn_of(given[2]);
    refused(exchange(out, 0, XENMEMF_address_bits(13), &done),
            "XSA-159: an exchange for memory that is not there");
    is(done, 0, "XSA-159: does nothing");
    is(reservation(), before, "XSA-159: the reservation is as before");
    for (unsigned i = 0; i < N_IN; i++)
        kept += set_rw(given[i]) == 0 && hc_update_va(given[i], 0, UVMF_INVLPG) == 0;
    is(kept, N_IN, "XSA-159: all pages are still ours");
    refused(exchange(out, 1, 0, &done), "XSA-159: results end in unmapped memory");
    ok(done >= 4 && done < N_IN, "XSA-159: it stopped in the middle (%lu)", done);
    is(reservation(), before, "XSA-159: the reservation is as before");
    kept = 0;
    for (unsigned i = 0; i < N_IN; i++)
        kept += set_rw(given[i]) == 0;
    ok(kept <= N_IN - done, "XSA-159: no exchanged page is still ours (%lu left)", kept);
}

/* XSA-231: node numbers in the flags. */
static void nodes(void)
{
    static u64 frames[512];
    long before = reservation(), n = 0;
    u64 empty[1] = {0};

    for (unsigned node = 0; node < 256; node++) {
        n += frames_op(XENMEM_increase_reservation, frames + n, 1, XENMEMF_node(node)) == 1;
        n += frames_op(XENMEM_increase_reservation, frames + n, 1, XENMEMF_exact_node(node)) ==
             1;
        frames_op(XENMEM_populate_physmap, empty, 0, XENMEMF_exact_node(node) | 1U << 31);
    }
    is(reservation(), before + n, "XSA-231: memory of each of 256 nodes: %ld frames came", n);
    is(frames_op(XENMEM_decrease_reservation, frames, n, 0), n, "XSA-231: and go again");
    is(reservation(), before, "XSA-231: the reservation is as before");
}

/* XSA-22: entering frames into a map that we do not have must not touch the m2p. */
static void no_physmap(void)
{
    static const u16 spaces[] = {XENMAPSPACE_shared_info,
                                 XENMAPSPACE_grant_table,
                                 XENMAPSPACE_gmfn,
                                 XENMAPSPACE_gmfn_range,
                                 7,
                                 0xffff};
    static const u64 gpfns[] = {0, 1, 1UL << 40, ~0UL};
    void *page = page_alloc();
    unsigned bad = 0;

    for (unsigned s = 0; s < sizeof(spaces) / sizeof(spaces[0]); s++)
        for (unsigned g = 0; g < 4; g++) {
            struct xen_add_to_physmap a = {.domid = DOMID_SELF,
                                           .size = 1,
                                           .space = spaces[s],
                                           .idx = mfn_of(page),
                                           .gpfn = g ? gpfns[g] : pfn_of(page)};
            struct xen_remove_from_physmap r = {.domid = DOMID_SELF, .gpfn = a.gpfn};

            bad += hc_memory(XENMEM_add_to_physmap, &a) >= 0;
            bad += hc_memory(XENMEM_remove_from_physmap, &r) >= 0;
        }
    is(bad, 0, "XSA-22: add_to_physmap and remove_from_physmap are refused");
    is(m2p(mfn_of(page)), pfn_of(page), "XSA-22: the m2p is as it was");
    ok(unreferenced(page), "XSA-22: the page has no more references");
    page_free(page);
}

/* XSA-334: resources by wild numbers. */
static void resources(void)
{
    static const u32 nrs[] = {33, 1000, 65536, 1U << 31, ~0U};
    static xen_pfn_t frames[8];
    unsigned bad = 0;

    for (unsigned i = 0; i < 1000; i++) {
        struct xen_mem_acquire_resource r = {.domid = i & 1 ? DOMID_SELF : 77,
                                             .type = i % 5,
                                             .id = i % 7 ? 0 : ~0U,
                                             .nr_frames = nrs[i % 5],
                                             .frame = i % 3 ? ~0UL - 4 : 1UL << 33};

        set_xen_guest_handle(r.frame_list, frames);
        bad += hc_memory(XENMEM_acquire_resource, &r) >= 0;
    }
    is(bad, 0, "XSA-334: acquire_resource of wild frames");
}

/* --- results --- */

static u8 result[2048] __attribute__((aligned(64)));

/* The result has that size; behind it nothing changed, in it is no address of the hypervisor. */
static void clean(long rc, unsigned size, const char *what)
{
    unsigned over = 0, shown = 0;

    for (unsigned i = size; i < sizeof(result); i++)
        over += result[i] != 0xa5;
    for (unsigned i = 0; i + 8 <= size; i += 4) {
        u64 word = *(u64 *)(result + i);

        shown += word > HOLE_START && word < HOLE_END;
    }
    ok(!over && !shown, "XSA-77: %s: nothing behind the result, no addresses in it (%ld)", what,
       rc);
    memset(result, 0xa5, sizeof(result));
}

/* XSA-77, 122, 132: bytes beside and inside of results. */
static void no_leaks(void)
{
    struct evtchn_status *st = (void *)result;
    struct gnttab_query_size *qs = (void *)result;
    struct xen_platform_op *po = (void *)result;
    struct xen_sysctl *sys = (void *)result;

    memset(result, 0xa5, sizeof(result));
    clean(hc_vcpu(VCPUOP_get_runstate_info, 0, result), sizeof(struct vcpu_runstate_info),
          "get_runstate_info");
    clean(hc_vcpu(VCPUOP_get_physid, 0, result), sizeof(struct vcpu_get_physid), "get_physid");
    st->dom = DOMID_SELF, st->port = 1;
    clean(hc_evtchn(EVTCHNOP_status, st), sizeof(*st), "evtchn status");
    qs->dom = DOMID_SELF;
    clean(HC(grant_table_op, GNTTABOP_query_size, qs, 1, 0, 0), sizeof(*qs), "query_size");
    *po = (struct xen_platform_op){.cmd = XENPF_get_cpuinfo,
                                   .interface_version = XENPF_INTERFACE_VERSION};
    clean(HC(platform_op, po, 0, 0, 0, 0), sizeof(*po), "get_cpuinfo");
    *sys = (struct xen_sysctl){.cmd = XEN_SYSCTL_readconsole,
                               .interface_version = XEN_SYSCTL_INTERFACE_VERSION};
    set_xen_guest_handle(sys->u.readconsole.buffer, (char *)result + sizeof(*sys));
    sys->u.readconsole.count = 100;
    clean(HC(sysctl, sys, 0, 0, 0, 0), sizeof(*sys) + 100, "readconsole");
}

/* How far the console ring has come. */
static u32 console_end(u32 index)
{
    static char text[512];

    for (;;) {
        struct xen_sysctl s = {.cmd = XEN_SYSCTL_readconsole,
                               .interface_version = XEN_SYSCTL_INTERFACE_VERSION};

        s.u.readconsole.incremental = 1;
        s.u.readconsole.index = index;
        s.u.readconsole.count = sizeof(text);
        set_xen_guest_handle(s.u.readconsole.buffer, text);
        if (HC(sysctl, &s, 0, 0, 0, 0))
            die("no console ring");
        if (!s.u.readconsole.count)
            return index;
        index = s.u.readconsole.index;
    }
}

static void invalid_calls(unsigned n)
{
    u32 block[16];

    memset(block, 0xff, sizeof(block));
    mmuext(MMUEXT_PIN_L4_TABLE, n, 0);
    mmuext(99, n, 0);
    mmu_write_type((u64)n << 40, n, n & 3, DOMID_SELF);
    window_map(9, mfn_of(l4_table()) << 12 | PTE_KERN);
    window_map(9, 0xfee00000 | PTE_KERN);
    hc_update_va((void *)HOLE_START, n, 0);
    hc_set_gdt((u64[]){n}, 16);
    hc_update_descriptor(maddr_of(l4_table()), n);
    hc_set_debugreg(n & 7, HOLE_START + n);
    hc_physdev(n % 34, block);
    hc_evtchn(n % 16, block);
    hc_memory(n % 30, block);
    HC(platform_op, block, 0, 0, 0, 0);
    HC(domctl, block, 0, 0, 0, 0);
    HC(mca, block, 0, 0, 0, 0);
    EX("wrmsr", : : "c"(0xc0000080 + (n & 7)), "a"(n), "d"(n));
    EX("rdmsr", : : "c"(0x10000 + n) : "eax", "edx");
    EX("mov %0, %%cr4", : : "r"((u64)n << 7));
    EX("mov %0, %%cr3", : : "r"((u64)n << 12));
    EX("out %%al, %%dx", : : "a"(0), "d"(0x3f8));
}

/* XSA-152: a guest does not fill the log. */
static void log_spam(void)
{
    u32 before = console_end(0), bytes;

    for (unsigned n = 0; n < 2000; n++)
        invalid_calls(n);
    bytes = console_end(before) - before;
    ok(bytes < 16384, "XSA-152: 40000 invalid calls put %u bytes into the log", bytes);
}

/* XSA-454: what unused argument registers hold does not matter. */
static void garbage(void)
{
    register u64 r8 asm("r8") = ~0UL, r9 asm("r9") = HOLE_START, r10 asm("r10") = 1UL << 63;
    register u64 r11 asm("r11") = NON_CANONICAL;
    u64 rdi = XENVER_pagesize, rsi = 0, rdx = HOLE_END;
    long rc;

    asm volatile("syscall"
                 : "=a"(rc), "+D"(rdi), "+S"(rsi), "+d"(rdx), "+r"(r8), "+r"(r9), "+r"(r10),
                   "+r"(r11)
                 : "a"((u64)__HYPERVISOR_xen_version)
                 : "rcx", "memory");
    is(rc, PAGE_SIZE, "XSA-454: a hypercall with garbage in the registers it does not use");
}

/* XSA-296: a vcpu that runs cannot be set up anew, an event pending or not. */
static void initialise(void)
{
    static u8 context[8192];

    refused(hc_vcpu(VCPUOP_initialise, 0, context), "XSA-296: initialise of this vcpu");
    ticking(true);
    for (unsigned i = 0; i < 1000; i++)
        if (hc_vcpu(VCPUOP_initialise, 0, context) >= 0)
            ok(false, "XSA-296: initialise with an event pending");
    ticking(false);
    refused(hc_vcpu(VCPUOP_initialise, 4095, context), "XSA-296: of one that is not there");
}

/* --- entry and exit --- */

/* XSA-446: int 0x80 and timer events at the same time. */
static void int80_storm(void)
{
    u64 good = 0, t = ticks;

    ticking(true);
    for (unsigned i = 0; i < 3000; i++) {
        USER_RUN(u_int80, i, 0, 0);
        good += trap.vec == 0x80 && trap.r.rip == USER_CODE + 2 && trap.r.rdi == i;
    }
    ticking(false);
    is(good, 3000, "XSA-446: 3000 times int 0x80");
    ok(ticks > t, "XSA-446: among %lu timer events", ticks - t);
}

/* XSA-260: a breakpoint on the operand of mov ss, which waits for the next instruction. */
static void mov_ss(void)
{
    callback_register(CALLBACKTYPE_syscall, syscall_stub, CALLBACKF_mask_events);
    user_load(u_mov_ss, 1); /* maps the pages */
    *(u64 *)USER_DATA = FLAT_USER_SS;
    hc_set_debugreg(0, USER_DATA);
    hc_set_debugreg(7, 0x70002);
    USER_RUN(u_mov_ss, USER_DATA, 0, 0);
    ok(trap.vec == 1 || trap.vec == VEC_SYSCALL, "XSA-260: mov ss, then syscall: %s",
       vec_name(trap.vec));
    is(trap.r.cs & 3, 3, "XSA-260: seen as a trap of user mode");
    USER_RUN(u_mov_ss_int, USER_DATA, 0, 0);
    ok(trap.vec == 1 || trap.vec == 0x80, "XSA-260: mov ss, then int 0x80: %s",
       vec_name(trap.vec));
    hc_set_debugreg(7, 0);
    hc_set_debugreg(0, 0);
    hc_set_debugreg(6, 0);
}

/* XSA-156: breakpoints on what the hypervisor itself writes and reads at each way in and out. */
static void watched_ways(void)
{
    static const struct {
        const char *name;
        const void *code;
        u64 len, vec;
    } ways[] = {{"system call", u_syscall, 4, VEC_SYSCALL},
                {"page fault", u_load, 5, 14},
                {"int 0x80", u_int80, 4, 0x80},
                {"#UD", u_syscall + 2, 2, 6}};
    u64 bad = 0, missed = 0;

    trap_table_install(4); /* gates that mask events take shorter ways */
    for (unsigned w = 0; w < 4; w++)
        for (unsigned slot = 0; slot < 10; slot++) {
            hc_set_debugreg(0, (u64)trap_stack_top - 8 * slot - 8);
            hc_set_debugreg(1, (u64)trap_stack_top - 8 * slot - 88);
            hc_set_debugreg(7, 0xbb000a);
            user_exec(ways[w].code, ways[w].len, UNMAPPED, 0, 0, 0x200);
            hc_set_debugreg(7, 0);
            bad += trap.vec != ways[w].vec && trap.vec != 1;
            user_exec(ways[w].code, ways[w].len, UNMAPPED, 0, 0, 0x200);
            missed += trap.vec != ways[w].vec || trap.r.rip - USER_CODE > 4;
        }
    trap_table_install(0);
    hc_set_debugreg(6, 0);
    is(bad, 0, "XSA-156: frames of every kind on a watched stack");
    is(missed, 0, "XSA-156: and without breakpoints all is as before");
}

/* XSA-265: a breakpoint where the handler of a trap begins, and one without any condition. */
static void breakpoint_on_handler(void)
{
    hc_set_debugreg(0, (u64)trap_stubs + 0x80 * 16);
    hc_set_debugreg(7, 2);
    USER_RUN(u_int80, 0, 0, 0);
    hc_set_debugreg(7, 0);
    hc_set_debugreg(0, 0);
    is(trap.vec, 1, "XSA-265: a breakpoint on the handler of int 0x80");
    is(trap.r.rip, (u64)trap_stubs + 0x80 * 16, "XSA-265: arrives there");
    is(trap.r.cs & 3, 0, "XSA-265: as a trap of the kernel");
    hc_set_debugreg(6, 0);
    USER_RUN(u_icebp, 0, 0, 0);
    ok(trap.vec == 1 || trap.vec == 6, "XSA-265: icebp: %s", vec_name(trap.vec));
    is(hc_get_debugreg(6) & 0xf, 0, "XSA-265: no breakpoint was hit");
    hc_set_debugreg(6, 0);
}

/* XSA-307: the ends of the port bitmap. */
static void port_bitmap_ends(void)
{
    struct physdev_set_iobitmap map = {.nr_ports = 0};
    u8 *bits = (u8 *)window(24) + PAGE_SIZE - 8;

    window_map(24, maddr_of(page_alloc()) | PTE_KERN);
    window_map(25, 0);
    set_xen_guest_handle(map.bitmap, bits);
    for (unsigned nr = 0x80; nr < 0x90; nr++) {
        bool allowed;

        /* As in a TSS one byte more is read: that of port 0x88 is the last but one. */
        set_xen_guest_handle(map.bitmap, bits + 5 - 0x10);
        map.nr_ports = nr;
        hc_physdev(PHYSDEVOP_set_iobitmap, &map);
        USER_RUN(u_inb, nr, 0, 0);
        allowed = trap.vec == 6;
        USER_RUN(u_inb, nr - 1, 0, 0);
        if (allowed || trap.vec != 6)
            ok(false, "XSA-307: %u ports in the bitmap: port %x", nr, nr);
    }
    ok(true, "XSA-307: the bitmap ends where it ends");
    map.nr_ports = 65536;
    hc_physdev(PHYSDEVOP_set_iobitmap, &map);
    USER_RUN(u_inb, 0x90, 0, 0);
    ok(trap.vec == 13 || trap.vec == 14, "XSA-307: a bitmap that ends unmapped allows nothing");
    for (unsigned port = 0xfffd; port < 0x10000; port++) {
        USER_RUN(u_inl, port, 0, 0);
        ok(trap.vec == 13 || trap.vec == 14, "XSA-307: four ports from %x", port);
    }
    map.nr_ports = 0;
    hc_physdev(PHYSDEVOP_set_iobitmap, &map);
}

/* XSA-171: privilege for ports that the assist hands to rflags ends with them. */
static void iopl_by_assist(void)
{
    struct physdev_set_iopl iopl = {.iopl = 3};

    hc_vm_assist(VMASST_CMD_enable, VMASST_TYPE_architectural_iopl);
    hc_physdev(PHYSDEVOP_set_iopl, &iopl);
    user_exec(u_inb, u_inb_end - u_inb, 0x80, 0, 0, 0x3200);
    is(trap.vec, 6, "XSA-171: port access at IOPL 3");
    iopl.iopl = 0;
    hc_physdev(PHYSDEVOP_set_iopl, &iopl);
    user_exec(u_inb, u_inb_end - u_inb, 0x80, 0, 0, 0x200);
    is(trap.vec, 13, "XSA-171: IOPL 0 in rflags and by hypercall");
    hc_vm_assist(VMASST_CMD_disable, VMASST_TYPE_architectural_iopl);
    user_exec(u_inb, u_inb_end - u_inb, 0x80, 0, 0, 0x3200);
    is(trap.vec, 13, "XSA-171: IOPL 3 in rflags without the assist");
}

void test_attacks2(void)
{
    clean_fpu();
    user_init();
    hostile_fpu_images();
    broken_exchange();
    nodes();
    no_physmap();
    resources();
    no_leaks();
    log_spam();
    garbage();
    initialise();
    int80_storm();
    mov_ss();
    watched_ways();
    breakpoint_on_handler();
    port_bitmap_ends();
    iopl_by_assist();
    is(EX("ud2"), 6, "traps still arrive");
    ok(tables_are_readonly(), "no table is mapped writable");
}
