/* Descriptors, segment bases, MSRs, control and debug registers, CPUID, ports. */
#include "more.h"

USER_CODE_TEXT(u_inb, "mov %edi, %edx; inb %dx, %al; ud2");
USER_CODE_TEXT(u_inl, "mov $-1, %rax; mov %edi, %edx; inl %dx, %eax; ud2");
USER_CODE_TEXT(u_insb, "mov %esi, %edx; cld; insb; ud2");
USER_CODE_TEXT(u_fs, "mov %fs:0, %rax; ud2");
USER_CODE_TEXT(u_lret, "push $7; push $0; lretq");
USER_CODE_TEXT(u_nops, "nop; nop; nop; nop; ud2");
USER_CODE_TEXT(u_rdfsbase, "rdfsbase %rax; ud2");
USER_CODE_TEXT(u_far, "ljmp *(%rdi)");

/* --- descriptors --- */

#define DESC(type, dpl, flags)                                                                 \
    (0x000000000000ffffUL | 0xfUL << 48 | (u64)(type) << 40 | (u64)(dpl) << 45 | 1UL << 47 |   \
     (u64)(flags) << 52)
#define DATA3 DESC(0x12, 3, 0xc)
#define CODE3 DESC(0x1a, 3, 0xa)
#define CODE0 DESC(0x1a, 0, 0xa)
#define DATA0 DESC(0x12, 0, 0xc)

static u64 *gdt;

static long write_descriptor(unsigned n, u64 desc)
{
    return hc_update_descriptor(maddr_of(gdt + n), desc);
}

/* Refused, or turned into something harmless. */
static void bad_descriptor(u64 desc, const char *what)
{
    long rc = write_descriptor(5, desc);
    u64 now = gdt[5];
    bool system = !(now >> 44 & 1), present = now >> 47 & 1;
    /* A call gate to a selector of our own with RPL 3 leads nowhere we are not. */
    bool gate =
        (now >> 40 & 0x1f) == 0xc && (now >> 16 & 3) == 3 && (now >> 16 & 0xffff) < 0xe000;

    ok(rc < 0 || !present || gate || (!system && (now >> 45 & 3) == 3),
       "%s is refused or disarmed", what);
    write_descriptor(5, 0);
}

static void gdt_setup(void)
{
    u64 frames[16], other = mfn_of(page_alloc());

    gdt = page_alloc();
    frames[0] = mfn_of(gdt);
    gdt[1] = DATA3, gdt[2] = CODE3, gdt[3] = CODE0, gdt[4] = DATA0;
    refused(hc_set_gdt(frames, 16), "set_gdt: the page is writable");
    set_ro(gdt);
    refused(hc_set_gdt(frames, 14 * 512 + 1), "set_gdt: too many entries");
    frames[1] = other;
    refused(hc_set_gdt(frames, 600), "set_gdt: the second page is writable");
    frames[1] = mfn_of(l4_table());
    refused(hc_set_gdt(frames, 600), "set_gdt: the second page is a table");
    frames[1] = max_mfn + 1;
    refused(hc_set_gdt(frames, 600), "set_gdt: the second page is nowhere");
    is(set_rw(gdt), 0, "refused calls left the page alone");
    set_ro(gdt);
    is(hc_set_gdt(frames, 16), 0, "set_gdt");
    refused(set_rw(gdt), "the GDT cannot be mapped writable");
    refused(mmu_write(pte_at(window(3), 1), maddr_of(gdt) | PTE_KERN), "by mmu_update neither");
    refused(pin(1, gdt), "nor pinned as a table");
    is(try_write((u64)gdt, 0), 14, "nor written directly");
    is(gdt[3] >> 45 & 3, 3, "a DPL 0 code segment was raised to 3");
    is(gdt[4] >> 45 & 3, 3, "a DPL 0 data segment was raised to 3");
}

static void gdt_use(void)
{
    u64 limit = 0;

    is(EX("mov %0, %%es", : : "r"(0x0b)), VEC_NONE, "load a selector of our GDT");
    EX("lsl %1, %0", : "=r"(limit) : "r"(0x0bUL));
    is(limit, 0xffffffff, "its limit");
    is(EX("mov %0, %%es", : : "r"(0x8b)), 13, "a selector beyond our entries");
    is(write_descriptor(6, DATA3), 0, "update_descriptor");
    is(EX("mov %0, %%es", : : "r"(0x33)), VEC_NONE, "load it");
    is(write_descriptor(6, 0), 0, "clear it");
    is(EX("mov %0, %%es", : : "r"(0x33)) & ~6UL, 9, "it is gone");
    EX("mov %0, %%es", : : "r"(0));
    is(write_descriptor(6, CODE0), 0, "update_descriptor with DPL 0");
    is(gdt[6] >> 45 & 3, 3, "is raised to 3");
    is(write_descriptor(6, 0x1234567800000000UL & ~(1UL << 47)), 0, "a non-present one");
}

static void gdt_refusals(void)
{
    u64 *page = page_alloc(), *l1 = page_alloc();
    static const u8 system[] = {0x1, 0x2, 0x3, 0x4, 0x5, 0x6, 0x7, 0x9, 0xb, 0xc, 0xe, 0xf};

    for (unsigned i = 0; i < sizeof(system); i++)
        for (unsigned dpl = 0; dpl < 4; dpl += 3) {
            static char name[] = "system descriptor type 0";

            name[sizeof(name) - 2] = "0123456789abcdef"[system[i]];
            bad_descriptor(DESC(system[i], dpl, 0), name);
            /* a gate into the hypervisor's code segment */
            bad_descriptor(0x0000800000000000UL | (u64)dpl << 45 | (u64)system[i] << 40 |
                               0xe008UL << 16 | 0x1000,
                           "a gate to the hypervisor's cs");
        }
    refused(hc_update_descriptor(maddr_of(gdt) + 4, DATA3), "update_descriptor, unaligned");
    refused(hc_update_descriptor(maddr_of(gdt) + 1, DATA3), "update_descriptor, odd");
    refused(hc_update_descriptor(maddr_of(l4_table()), DATA3), "update_descriptor in a table");
    refused(hc_update_descriptor((max_mfn + 1) << 12, DATA3), "update_descriptor nowhere");
    refused(hc_update_descriptor(~7UL, DATA3), "update_descriptor far away");
    is(hc_update_descriptor(maddr_of(page), DATA3), 0, "update_descriptor of a plain page");
    is(page[0] & ~(1UL << 40), DATA3, "stores there");
    l1[0] = maddr_of(l4_table()) | PTE_KERN;
    set_ro(l1);
    is(hc_set_gdt((u64[]){mfn_of(gdt), mfn_of(l1)}, 513) < 0 || set_rw(l1) < 0, true,
       "a second page holds the type too");
    is(hc_set_gdt((u64[]){mfn_of(gdt)}, 16), 0, "set_gdt again");
    set_rw(l1);
    page_free(l1), page_free(page);
}

static void ldt(void)
{
    static const u64 bad[] = {HOLE_START,           HOLE_START + (1UL << 39),
                              HOLE_END - PAGE_SIZE, UNMAPPED,
                              NON_CANONICAL,        NON_CANONICAL - PAGE_SIZE};
    u64 *page = page_alloc();
    u64 vec;

    page[1] = DATA3;
    set_ro(page);
    refused(mmuext(MMUEXT_SET_LDT, (u64)page + 8, 16), "SET_LDT, unaligned");
    refused(mmuext(MMUEXT_SET_LDT, (u64)page, 8193), "SET_LDT, too many entries");
    if (mmuext(MMUEXT_SET_LDT, (u64)page, 16) == 0) {
        vec = EX("mov %0, %%es", : : "r"(0x0f));
        if (is_serai && vec != VEC_NONE)
            skip("LDT", "not implemented");
        else
            is(vec, VEC_NONE, "load a selector of the LDT");
        EX("mov %0, %%es", : : "r"(0));
        if (vec == VEC_NONE)
            refused(set_rw(page), "the LDT cannot be written while it is in use");
    }
    /* An LDT in the m2p, in the hypervisor, over unmapped or non-canonical addresses. */
    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        mmuext(MMUEXT_SET_LDT, 0, 0);
        mmuext(MMUEXT_SET_LDT, bad[i], 512);
        ok(EX("mov %0, %%es",
              :
              : "r"(0x0f)) != VEC_NONE,
           "an LDT at %lx gives nothing", bad[i]);
    }
    is(mmuext(MMUEXT_SET_LDT, 0, 0), 0, "SET_LDT with no entries");
    is(set_rw(page), 0, "the page is free again");
    /* XSA-298: far transfers through the LDT when there is none. */
    user_init();
    ((u64 *)USER_DATA)[0] = 0x0007000000000000;
    USER_RUN(u_far, USER_DATA, 0, 0);
    ok(trap.vec == 13 || trap.vec == 14, "far jump through no LDT: %s", vec_name(trap.vec));
    USER_RUN(u_lret, 0, 0, 0);
    /* QEMU 7.2 reads the stack as supervisor here: a page fault with SMAP on. */
    ok(trap.vec == 13 || trap.vec == 14, "far return through no LDT: %s", vec_name(trap.vec));
}

/* --- segment bases and MSRs --- */

/* It takes the low half of rcx, and fills rax and rdx. */
static void gs_read_registers(void)
{
    u64 a = ~0UL, c = 0x1234567fc0000102UL, d = ~0UL;

    is(EX("rdmsr", : "+a"(a), "+c"(c), "+d"(d)), VEC_NONE, "rdmsr with more in rcx");
    ok(a == (u32)USER_DATA && d == USER_DATA >> 32, "gives the base in two halves");
    is(c, 0x1234567fc0000102UL, "and rcx as it was");
}

static void segment_bases(void)
{
    static u64 cells[4] = {0x11, 0x22, 0x33, 0x44};
    static const u32 msrs[] = {0xc0000100, 0xc0000102, 0xc0000101};
    u64 val = 0;

    is(hc_segment_base(SEGBASE_FS, (u64)&cells[0]), 0, "FS base");
    EX("mov %%fs:0, %0", : "=r"(val));
    is(val, 0x11, "works");
    is(hc_segment_base(SEGBASE_GS_KERNEL, (u64)&cells[1]), 0, "kernel GS base");
    EX("mov %%gs:0, %0", : "=r"(val));
    is(val, 0x22, "works");
    is(hc_segment_base(SEGBASE_GS_USER, USER_DATA), 0, "user GS base");
    ok(rdmsr(0xc0000100, &val) && val == (u64)&cells[0], "rdmsr FS_BASE");
    ok(rdmsr(0xc0000101, &val) && val == (u64)&cells[1], "rdmsr GS_BASE");
    ok(rdmsr(0xc0000102, &val) && val == USER_DATA, "rdmsr KERNEL_GS_BASE");
    gs_read_registers();
    is(hc_segment_base(SEGBASE_GS_USER_SEL, 0), 0, "user GS selector 0");
    is(hc_segment_base(SEGBASE_GS_USER_SEL, 0x1003), 0, "a bad user GS selector loads null");
    is(hc_segment_base(SEGBASE_GS_USER_SEL, 0xfffb), 0, "another");
    is(hc_segment_base(SEGBASE_GS_USER_SEL, 0xe02b), 0, "a good one");
    hc_segment_base(SEGBASE_GS_USER_SEL, 0);
    EX("mov %%gs:0, %0", : "=r"(val));
    is(val, 0x22, "the kernel's GS is untouched");
    refused(hc_segment_base(17, 0), "unknown base");
    /* XSA-193: non-canonical bases. */
    for (unsigned i = 0; i < 3; i++) {
        refused(hc_segment_base(i, NON_CANONICAL), "base %u, non-canonical", i);
        refused(hc_segment_base(i, 1UL << 63), "base %u, non-canonical, high", i);
        ok(!wrmsr(msrs[i], NON_CANONICAL), "wrmsr %x, non-canonical", msrs[i]);
        ok(!wrmsr(msrs[i], 0xfff0000000000000), "wrmsr %x, non-canonical, high", msrs[i]);
        ok(wrmsr(msrs[i], (u64)&cells[3]), "wrmsr %x", msrs[i]);
    }
    EX("mov %%fs:0, %0", : "=r"(val));
    is(val, 0x44, "wrmsr FS_BASE works");
    hc_segment_base(SEGBASE_FS, USER_DATA);
    *(u64 *)USER_DATA = 0x5555;
    USER_RUN(u_fs, 0, 0, 0);
    is(trap.r.rax, 0x5555, "the FS base holds in user mode");
    hc_segment_base(SEGBASE_FS, 0);
}

static void msrs(void)
{
    static const u32 hidden[] = {0xc0000081, 0xc0000082, 0xc0000083, 0xc0000084, 0x174,
                                 0x175,      0x176,      0x10a0,     0xc0010117};
    static const u32 bases[] = {0,          0x400,      0x800,      0x1000,
                                0x40000000, 0xc0000000, 0xc0000400, 0xc0010000,
                                0xc0011000, 0x4b564d00, 0xfffffff0};
    u64 val = 0, efer, readable = 0, writable = 0;

    ok(rdmsr(0xc0000080, &efer) && (efer & 0x500) == 0x500, "rdmsr EFER");
    ok(wrmsr(0xc0000080, efer), "wrmsr EFER, same value");
    ok(!wrmsr(0xc0000080, efer & ~0x800UL), "wrmsr EFER, NXE off");
    ok(!wrmsr(0xc0000080, efer & ~0x100UL), "wrmsr EFER, LME off");
    ok(rdmsr(0x277, &val), "rdmsr PAT");
    is(val, 0x50100070406, "PAT value");
    ok(!wrmsr(0x277, 0x0706050403020100), "wrmsr PAT, another value");
    ok(rdmsr(0x1b, &val) && (val & 0x900) == 0x900, "rdmsr APIC_BASE");
    for (unsigned i = 0; i < sizeof(hidden) / sizeof(hidden[0]); i++) {
        ok(!rdmsr(hidden[i], &val), "rdmsr %x is refused", hidden[i]);
        ok(!wrmsr(hidden[i], 0xffffffff80000000), "wrmsr %x is refused", hidden[i]);
    }
    for (u32 i = 0; i < 0x4000; i++) {
        if (rdmsr(0x40000000 + i, &val) && (val > HOLE_START && val < HOLE_END))
            ok(false, "msr %x shows a hypervisor address", 0x40000000 + i);
    }
    /* XSA-333: all the usual ranges. The bases of FS and GS are ours to spoil. */
    for (unsigned b = 0; b < sizeof(bases) / sizeof(bases[0]); b++)
        for (u32 i = 0; i < 0x200; i++) {
            u32 msr = bases[b] + i;

            if (rdmsr(msr, &val)) {
                readable++;
                if (val >= HOLE_START && val < HOLE_END)
                    ok(false, "msr %x shows a hypervisor address", msr);
            }
            /* 0x40000000 fills a hypercall page, 0xc0000103 is rdtscp's. */
            if (msr < 0x40000000 || msr >= 0x40000400)
                writable += wrmsr(msr, rand64()) + wrmsr(msr, 0);
        }
    ok(true, "%lu MSRs readable, %lu writes accepted", readable, writable);
    is(EX("ud2"), 6, "traps still arrive");
    user_init();
    hc_segment_base(SEGBASE_FS, 0);
}

/* --- control registers --- */

static void control_registers(void)
{
    u64 cr0 = 0, cr2 = 0, cr3 = 0, cr4 = 0, again = 0;

    is(EX("mov %%cr0, %0", : "=r"(cr0)), VEC_NONE, "read cr0");
    is(cr0 & 0x80000001, 0x80000001, "PG and PE are set");
    hc_fpu_taskswitch(1);
    EX("mov %%cr0, %0", : "=r"(again));
    is(again & 8, 8, "TS shows");
    is(EX("clts", : :), VEC_NONE, "clts");
    EX("mov %%cr0, %0", : "=r"(again));
    is(again & 8, 0, "clears it");
    is(EX("mov %0, %%cr0", : : "r"(cr0 | 8)), VEC_NONE, "write cr0 with TS");
    is(EX("fninit"), 7, "#NM");
    EX("clts", : :);
    EX("mov %0, %%cr0", : : "r"(0UL));
    EX("mov %%cr0, %0", : "=r"(again));
    is(again & 0x80000001, 0x80000001, "cr0 cannot be cleared");
    EX("mov %0, %%cr2", : : "r"(0x1234567UL));
    EX("mov %%cr2, %0", : "=r"(cr2));
    ok(cr2 == 0x1234567 || trap.vec == VEC_NONE, "cr2");
    if (EX("mov %%cr3, %0", : "=r"(cr3)) == VEC_NONE)
        is(cr3 & PTE_ADDR, maddr_of(l4_table()), "cr3");
    is(EX("mov %%cr4, %0", : "=r"(cr4)), VEC_NONE, "read cr4");
    is(cr4 & 0x20, 0x20, "PAE shows");
    is(cr4 & 0x300880, 0, "PGE, UMIP, SMEP, SMAP do not");
    for (unsigned bit = 0; bit < 64; bit++)
        EX("mov %0, %%cr4", : : "r"(1UL << bit));
    is(EX("mov %0, %%cr4", : : "r"(~0UL)), VEC_NONE, "cr4, all bits: ignored, no fault");
    is(EX("mov %0, %%cr4", : : "r"(cr4)), VEC_NONE, "cr4 as it was");
    EX("mov %%cr4, %0", : "=r"(again));
    is(again, cr4, "reads the same");
    is(EX("mov %0, %%cr8", : : "r"(0UL)), 13, "cr8");
    ok(EX("mov %0, %%cr3", : : "r"((max_mfn + 1) << 12)) == 13, "cr3 with a wild frame");
    ok(EX("mov %0, %%cr3", : : "r"(maddr_of(page_alloc()))) == 13, "cr3 with a data page");
    is(EX("lgdt (%0)", : : "r"(start)), 13, "lgdt");
    is(EX("lidt (%0)", : : "r"(start)), 13, "lidt");
    is(EX("ltr %%ax", : : "a"(0)), 13, "ltr");
    is(EX("lldt %%ax", : : "a"(0)), 13, "lldt");
    is(EX("hlt", : :), 13, "hlt");
    EX("wbinvd", : :);
    EX("invlpg (%0)", : : "r"(start));
    EX("invd", : :);
    EX("swapgs", : :);
    EX("sysret", : :);
    EX("rdpmc", : : "c"(0) : "rax", "rdx");
    EX("monitor", : : "a"(0), "c"(0), "d"(0));
    EX("vmmcall", : : "a"(0));
    EX("vmrun", : : "a"(0));
    EX("clgi", : :);
    is(EX("ud2"), 6, "other privileged instructions survived");
}

/* XSA-53, 54, 62. */
static void extended_state(void)
{
    u32 lo = 0, hi = 0;
    u64 bad = 0, cr4 = 0;

    EX("mov %%cr4, %0", : "=r"(cr4));
    EX("mov %0, %%cr4", : : "r"(cr4 | 1 << 18));
    if (EX("xgetbv", : "+a"(lo), "+d"(hi) : "c"(0)) != VEC_NONE) {
        skip("xsetbv", "no xsave");
        return;
    }
    is(EX("xsetbv", : : "c"(0), "a"(lo), "d"(hi)), VEC_NONE, "xsetbv with the current value");
    is(EX("xsetbv", : : "c"(0), "a"(0), "d"(0)), 13, "xsetbv 0");
    is(EX("xsetbv", : : "c"(0), "a"(5), "d"(0)), 13, "xsetbv AVX without SSE");
    is(EX("xsetbv", : : "c"(1), "a"(1), "d"(0)), 13, "xsetbv to register 1");
    is(EX("xsetbv", : : "c"(0), "a"(1), "d"(0)), VEC_NONE, "xsetbv x87 only");
    EX("xgetbv", : "+a"(lo), "+d"(hi) : "c"(0));
    is(lo, 1, "xgetbv agrees");
    is(EX("xsetbv", : : "c"(0), "a"(3), "d"(0)), VEC_NONE, "xsetbv x87 and SSE");
    for (unsigned bit = 3; bit < 64; bit++) {
        u64 x = 3 | 1UL << bit;

        EX("xsetbv", : : "c"(0), "a"((u32)x), "d"((u32)(x >> 32)));
        bad += trap.vec != 13 && trap.vec != VEC_NONE;
    }
    EX("xsetbv", : : "c"(0), "a"(3), "d"(0));
    is(bad, 0, "xsetbv with every other bit: taken or #GP");
    is(EX("fninit"), VEC_NONE, "the FPU still works");
}

static void cpuids(void)
{
    u32 r[4];
    u8 *edge = (u8 *)window(30) + PAGE_SIZE - 5;
    struct iret_context c = {.rip = (u64)edge,
                             .cs = FLAT_KERNEL_CS & ~3,
                             .rsp = (u64)trap_stack_top,
                             .ss = FLAT_KERNEL_SS};

    cpuid(0x40000000, 0, r);
    ok(trap.vec == VEC_NONE && r[1] == 0x566e6558 && r[2] == 0x65584d4d && r[3] == 0x4d4d566e,
       "emulated cpuid, the signature");
    ok(r[0] >= 0x40000004, "highest leaf %x", r[0]);
    cpuid(0x40000001, 0, r);
    is(r[0], 4 << 16 | 17, "version leaf");
    cpuid(0x40000002, 0, r);
    ok(r[0] == 1 && (r[2] & 1), "hypercall page and PRESERVE_AD leaf");
    cpuid(1, 0, r);
    ok(r[2] >> 31, "hypervisor bit");
    is(r[3] & (1 << 3 | 1 << 13), 0, "no PSE, no PGE");
    is(r[3] & (1 << 9), 1 << 9, "APIC");
    is(r[2] & (1 << 3 | 1 << 5 | 1 << 17 | 1 << 21 | 1 << 24), 0,
       "no MONITOR, VMX, PCID, X2APIC, deadline timer");
    cpuid(7, 0, r);
    is(r[1] & (1 << 7 | 1 << 10 | 1 << 20), 0, "no SMEP, INVPCID, SMAP");
    is(r[2] & (1 << 2 | 1 << 3 | 1 << 4 | 1 << 16), 0, "no UMIP, PKU, LA57");
    cpuid(0x80000001, 0, r);
    is(r[3] & (1 << 26), 0, "no 1 GiB pages");
    is(r[2] & (1 << 2), 0, "no SVM");
    cpuid(0xd, 1, r);
    is(r[0] & 8, 0, "no XSAVES");
    /* The prefix at the end of a page, nothing behind it. */
    window_map(30, maddr_of(page_alloc()) | PTE_KERN);
    window_map(31, 0);
    memcpy(edge, "\x0f\x0b\x78\x65\x6e", 5);
    trap_clear();
    enter_context(&c, 0, 0, 0, __HYPERVISOR_iret);
    ok(trap.vec == 6 || trap.vec == 14, "the prefix at the end of memory: %s",
       vec_name(trap.vec));
}

/* --- ports --- */

static u32 inb(u16 port)
{
    u64 val = ~0UL;

    return EX("inb %%dx, %%al", : "+a"(val) : "d"(port)) == VEC_NONE ? (u8)val : 0xdead;
}

static void ports(void)
{
    static const u16 denied[] = {0x20, 0x21, 0xa0, 0xa1, 0x3f8, 0x3fd};
    struct physdev_set_iopl iopl = {.iopl = 0};
    static u8 buf[8];
    u64 val, to;

    is(hc_physdev(PHYSDEVOP_set_iopl, &iopl), 0, "set_iopl(0)");
    is(inb(0x80), 0xdead, "kernel I/O at IOPL 0 is #GP");
    iopl.iopl = 4;
    is(hc_physdev(PHYSDEVOP_set_iopl, &iopl), -XEN_EINVAL, "set_iopl(4)");
    iopl.iopl = 1;
    is(hc_physdev(PHYSDEVOP_set_iopl, &iopl), 0, "set_iopl(1)");
    ok(inb(0x80) != 0xdead, "kernel I/O at IOPL 1");
    for (unsigned i = 0; i < 6; i++)
        is(inb(denied[i]), 0xff, "port %x reads ff", denied[i]);
    val = 0x1122334455667788;
    EX("inw %%dx, %%ax", : "+a"(val) : "d"(0x3f8));
    is(val, 0x112233445566ffff, "16 bits merge");
    val = ~0UL;
    EX("inl %%dx, %%eax", : "+a"(val) : "d"(0x3f8));
    is(val, 0xffffffff, "32 bits extend with zeros");
    EX("in $0x20, %%al", : "+a"(val) :);
    is(val & 0xff, 0xff, "immediate form");
    is(EX("out %%al, %%dx", : : "a"(0), "d"(0x3f8)), VEC_NONE, "a denied write is dropped");
    is(EX("out %%eax, %%dx", : : "a"(0), "d"(0x20)), VEC_NONE, "a denied write of 32 bits");
    inb(0xffff);
    EX("inl %%dx, %%eax", : "+a"(val) : "d"(0xfffe));
    ok(true, "ports at the end of the space");
    to = (u64)buf;
    buf[1] = 0x55;
    is(EX("cld; insb", : "+D"(to) : "d"(0x3f8) : "memory"), VEC_NONE, "insb");
    /* the fix-up skips two instructions at most; cld cannot fault */
    ok(buf[0] == 0xff && buf[1] == 0x55 && to == (u64)buf + 1, "stores one byte");
    /* XSA-66, 67: string I/O to and from the hypervisor and nowhere. */
    to = HOLE_START;
    EX("insb", : "+D"(to) : "d"(0x80) : "memory");
    ok(trap.vec == 13 || trap.vec == 14, "insb into the m2p");
    to = HOLE_END - 8;
    EX("insl", : "+D"(to) : "d"(0x80) : "memory");
    ok(trap.vec == 13 || trap.vec == 14, "insl into the hypervisor");
    to = HOLE_END - 8;
    EX("outsb", : "+S"(to) : "d"(0x80) : "memory");
    ok(trap.vec == 13 || trap.vec == 14, "outsb from the hypervisor");
    to = UNMAPPED;
    EX("outsl", : "+S"(to) : "d"(0x80) : "memory");
    is(trap.vec, 14, "outsl from nowhere");
    is(trap.cr2, UNMAPPED, "with its address");
    to = NON_CANONICAL - 2;
    EX("insl", : "+D"(to) : "d"(0x80) : "memory");
    ok(trap.vec == 13 || trap.vec == 14, "insl over the canonical edge");
    to = (u64)l4_table();
    EX("insb", : "+D"(to) : "d"(0x80) : "memory");
    is(trap.vec, 14, "insb into a page table");
    val = 3, to = (u64)buf;
    EX("rep insb", : "+D"(to), "+c"(val) : "d"(0x3f8) : "memory");
    ok(val == 0 && to == (u64)buf + 3, "rep insb");
}

static void user_ports(void)
{
    struct physdev_set_iopl iopl = {.iopl = 1};
    struct physdev_set_iobitmap map = {.nr_ports = 0x400};
    static u8 bitmap[8192] __attribute__((aligned(4096)));

    USER_RUN(u_inb, 0x80, 0, 0);
    is(trap.vec, 13, "user I/O at IOPL 1 is #GP");
    iopl.iopl = 3;
    hc_physdev(PHYSDEVOP_set_iopl, &iopl);
    USER_RUN(u_inb, 0x80, 0, 0);
    is(trap.vec, 6, "user I/O at IOPL 3");
    USER_RUN(u_inl, 0x3f8, 0, 0);
    is(trap.r.rax, 0xffffffff, "user: denied port reads ones");
    USER_RUN(u_insb, USER_DATA, 0x3f8, 0);
    is(*(u8 *)USER_DATA, 0xff, "user: insb");
    USER_RUN(u_insb, (u64)l4_table(), 0x3f8, 0);
    ok(trap.vec == 14 && (trap.r.ec & 4), "user: insb into kernel memory");
    USER_RUN(u_insb, HOLE_START, 0x3f8, 0);
    ok(trap.vec == 13 || trap.vec == 14, "user: insb into the m2p");
    iopl.iopl = 1;
    hc_physdev(PHYSDEVOP_set_iopl, &iopl);
    /* XSA-171: IOPL by iret. */
    user_exec(u_inb, u_inb_end - u_inb, 0x80, 0, 0, 0x3200);
    is(trap.vec, 13, "IOPL 3 in an iret frame gives nothing");
    memset(bitmap, 0xff, sizeof(bitmap));
    bitmap[0x80 / 8] = 0xfe;
    set_xen_guest_handle(map.bitmap, bitmap);
    is(hc_physdev(PHYSDEVOP_set_iobitmap, &map), 0, "set_iobitmap");
    USER_RUN(u_inb, 0x80, 0, 0);
    is(trap.vec, 6, "user I/O by the bitmap");
    USER_RUN(u_inb, 0x81, 0, 0);
    is(trap.vec, 13, "a port that is set in it");
    USER_RUN(u_inl, 0x80, 0, 0);
    is(trap.vec, 13, "four ports, one of them allowed");
    USER_RUN(u_inb, 0x400, 0, 0);
    is(trap.vec, 13, "a port beyond it");
    map.nr_ports = 65537;
    is(hc_physdev(PHYSDEVOP_set_iobitmap, &map), -XEN_EINVAL, "set_iobitmap, too many");
    map.nr_ports = 65536;
    set_xen_guest_handle(map.bitmap, (u8 *)HOLE_END - 4096);
    if (hc_physdev(PHYSDEVOP_set_iobitmap, &map) == 0) {
        USER_RUN(u_inb, 0x80, 0, 0);
        is(trap.vec, 13, "a bitmap in the hypervisor allows nothing");
    } else
        ok(true, "a bitmap in the hypervisor is refused");
    map.nr_ports = 0;
    set_xen_guest_handle(map.bitmap, NULL);
    hc_physdev(PHYSDEVOP_set_iobitmap, &map);
    USER_RUN(u_inb, 0x80, 0, 0);
    is(trap.vec, 13, "no bitmap");
}

/* --- debug registers --- */

static void debug_registers(void)
{
    static volatile u64 watched;
    static const u64 hole[] = {HOLE_START, HOLE_START + (1UL << 39), 0xffff82d080200000,
                               0xffff830000000000, HOLE_END - 1};
    u64 bad = 0;

    for (int r = 0; r < 4; r++) {
        is(hc_set_debugreg(r, USER_DATA + r), 0, "dr%d", r);
        is(hc_get_debugreg(r), USER_DATA + r, "dr%d reads back", r);
        /* XSA-444 */
        for (unsigned i = 0; i < 5; i++)
            bad += hc_set_debugreg(r, hole[i]) != -XEN_EPERM;
        bad += hc_set_debugreg(r, NON_CANONICAL) == 0 && hc_get_debugreg(r) == NON_CANONICAL;
        hc_set_debugreg(r, 0);
    }
    is(bad, 0, "breakpoints in the hypervisor are -EPERM");
    refused(hc_set_debugreg(8, 0), "dr8");
    refused(hc_set_debugreg(77, 0), "dr77");
    refused(hc_set_debugreg(-1, 0), "dr-1");
    refused(hc_set_debugreg(7, 0x2000), "dr7 with GD");
    /* XSA-12: reserved bits. */
    for (unsigned bit = 0; bit < 64; bit++) {
        hc_set_debugreg(7, 1UL << bit);
        hc_set_debugreg(6, 1UL << bit);
        hc_set_debugreg(7, ~0UL ^ 1UL << bit);
    }
    hc_set_debugreg(7, 0);
    hc_set_debugreg(6, 0);
    ok(true, "dr6 and dr7, every bit");
    watched = 0;
    is(hc_set_debugreg(0, (u64)&watched), 0, "watch a variable");
    is(hc_set_debugreg(7, 0xd0002), 0, "for writes of four bytes");
    trap_clear();
    watched = 5;
    asm volatile("nop");
    is(trap.vec, 1, "#DB");
    is(hc_get_debugreg(6) & 1, 1, "dr6.B0");
    hc_set_debugreg(7, 0);
    hc_set_debugreg(0, USER_CODE + 2);
    hc_set_debugreg(7, 2);
    USER_RUN(u_nops, 0, 0, 0);
    ok(trap.vec == 1 && trap.r.rip == USER_CODE + 2, "execution breakpoint in user code");
    hc_set_debugreg(7, 0);
    hc_set_debugreg(6, 0);
    USER_RUN(u_nops, 0, 0, 0);
    is(trap.vec, 6, "it is off again");
}

/* XSA-156, 260: the hypervisor itself runs into the guest's data breakpoints. */
static void watched_by_the_hypervisor(void)
{
    static u64 buf[128] __attribute__((aligned(16)));

    hc_set_debugreg(0, (u64)buf);
    hc_set_debugreg(1, (u64)trap_stack_top - 8);
    hc_set_debugreg(2, (u64)trap_stack_top - 40);
    hc_set_debugreg(7, 0xbbb002a);
    is(hc_version(XENVER_capabilities, buf), 0, "a result written to a watched buffer");
    is(hc_console(CONSOLEIO_write, 0, buf), 0, "an empty watched buffer");
    USER_RUN(u_nops, 0, 0, 0);
    ok(trap.vec == 6 || trap.vec == 1, "a frame pushed on a watched stack: %s",
       vec_name(trap.vec));
    hc_set_debugreg(7, 0);
    hc_set_debugreg(6, 0);
    ok(memcmp(buf, "xen-3.0", 7) == 0, "the result is there");
}

/* XSA-293: what user mode may do follows the guest's view of CR4. */
static void fsgsbase(void)
{
    u32 r[4];
    u64 cr4 = 0;

    cpuid(7, 0, r);
    if (!(r[1] & 1)) {
        skip("FSGSBASE", "not offered");
        return;
    }
    EX("mov %%cr4, %0", : "=r"(cr4));
    EX("mov %0, %%cr4", : : "r"(cr4 | 1 << 16));
    hc_segment_base(SEGBASE_FS, 0x1234);
    USER_RUN(u_rdfsbase, 0, 0, 0);
    is(trap.r.rip, USER_CODE + 5, "rdfsbase with CR4.FSGSBASE");
    is(trap.r.rax, 0x1234, "its value");
    EX("mov %0, %%cr4", : : "r"(cr4 & ~(1UL << 16)));
    USER_RUN(u_rdfsbase, 0, 0, 0);
    is(trap.r.rip, USER_CODE, "rdfsbase without is #UD");
    EX("mov %0, %%cr4", : : "r"(cr4));
    hc_segment_base(SEGBASE_FS, 0);
}

/* --- random privileged instructions, prefixes included --- */

static unsigned random_instruction(u8 *code)
{
    static const u8 prefixes[] = {0x66, 0x67, 0xf0, 0xf2, 0xf3, 0x2e, 0x36,
                                  0x3e, 0x26, 0x64, 0x65, 0x48, 0x4f, 0x40};
    static const u8 two[] = {0x00, 0x01, 0x06, 0x08, 0x09, 0x20, 0x21, 0x22, 0x23,
                             0x30, 0x32, 0x33, 0x34, 0xa2, 0xc7, 0x0b, 0x37, 0xae};
    static const u8 plain[] = {0x6c, 0x6d, 0x6e, 0x6f, 0xe4, 0xe5, 0xe6, 0xe7, 0xec,
                               0xed, 0xee, 0xef, 0xf4, 0xfa, 0xfb, 0xcd, 0xf1, 0x9d};
    unsigned n = 0;

    for (u64 k = rand_below(rand_below(8) ? 3 : 14); k; k--)
        code[n++] = prefixes[rand_below(sizeof(prefixes))];
    if (rand_below(2)) {
        code[n++] = 0x0f;
        code[n++] = two[rand_below(sizeof(two))];
    } else
        code[n++] = plain[rand_below(sizeof(plain))];
    /* An immediate may be a port; others can reset the machine. */
    code[n] = code[n - 1] >= 0xe4 && code[n - 1] <= 0xe7 ? 0x80 : rand64();
    n++;
    /* Zeros are a harmless add to (%rax), and keep displacements small. */
    memset(code + n, 0, 8);
    code[n + 8] = 0x0f;
    code[n + 9] = 0x0b;
    return n + 10;
}

static void random_instructions(void)
{
    struct physdev_set_iopl iopl = {.iopl = 3};
    unsigned vectors[32] = {0};
    u8 code[64];

    rand_seed(option_number("seed", 7));
    hc_physdev(PHYSDEVOP_set_iopl, &iopl);
    /* mov $USER_DATA, %eax; then ecx, and ports that read as nothing in dx */
    for (unsigned i = 0; i < 3000; i++) {
        unsigned n = 0;

        memcpy(code, "\xb8\x00\x18\x40\x00\xb9\x00\x00\x00\x00", 10);
        *(u32 *)(code + 6) = rand_below(2) ? 0xc0000100 : rand_below(16);
        n = 10 + random_instruction(code + 10);
        user_exec(code, n, USER_DATA + 0x800, USER_DATA + 0x900, rand_below(2) ? 0x3f8 : 0x80,
                  0x200 | (rand64() & 0x100));
        if (trap.vec < 32)
            vectors[trap.vec]++;
    }
    iopl.iopl = 1;
    hc_physdev(PHYSDEVOP_set_iopl, &iopl);
    ok(vectors[13] > 100, "random privileged instructions: %u #GP, %u #UD, %u #PF, %u #DB",
       vectors[13], vectors[6], vectors[14], vectors[1]);
    ok(tables_are_readonly(), "no table is mapped writable");
}

void test_emul(void)
{
    user_init();
    hc_vm_assist(VMASST_CMD_enable, VMASST_TYPE_writable_pagetables);
    gdt_setup();
    gdt_use();
    gdt_refusals();
    ldt();
    segment_bases();
    control_registers();
    extended_state();
    cpuids();
    ports();
    user_ports();
    debug_registers();
    watched_by_the_hypervisor();
    fsgsbase();
    random_instructions();
    msrs();
}
