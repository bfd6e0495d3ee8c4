#include "x86/cpu_setup.h"
#include "base/assert.h"
#include "base/string.h"
#include "x86/cpu.h"
#include "x86/entry.h"
#include "x86/paging.h"

struct cpu_features cpu_features;
struct cpuid_host cpuid_host;
struct cpu *cpus[MAX_CPUS];
unsigned nr_cpus;

extern const u8 vector_stubs[], entry_debug[], entry_general_protection[], entry_page_fault[],
    entry_nmi[], entry_syscall[], entry_syscall32[];

#define IST_NMI    1
#define IST_DEBUG  2
#define IST_DOUBLE 3
#define IST_MCHECK 4

#define IO_BITMAP_BYTES 8192
/* A TSS with its bitmap and the terminating byte; beyond the limit every port traps. */
#define TSS_LIMIT       (sizeof(struct tss) + IO_BITMAP_BYTES)
_Static_assert(sizeof(struct tss) == TSS_BITMAP_OFFSET, "the bitmap follows the TSS");

struct packed idt_gate {
    u16 offset_low, selector;
    u8 ist, type;
    u16 offset_mid;
    u32 offset_high, reserved;
};

struct packed table_register {
    u16 limit;
    u64 base;
};

static struct idt_gate idt[256] __aligned(4096);

static void set_gate(unsigned vector, const u8 *entry, u8 dpl, u8 ist)
{
    u64 a = (u64)entry;

    idt[vector] = (struct idt_gate){.offset_low = (u16)a,
                                    .selector = SEL_HV_CS,
                                    .ist = ist,
                                    .type = (u8)(0x8e | dpl << 5),
                                    .offset_mid = (u16)(a >> 16),
                                    .offset_high = (u32)(a >> 32)};
}

static __init void build_idt(void)
{
    for (unsigned v = 0; v < 256; v++)
        set_gate(v, vector_stubs + 16 * v, v == 3 || v == 4 || v == 0x80 ? 3 : 0, 0);
    set_gate(1, entry_debug, 0, IST_DEBUG);
    set_gate(13, entry_general_protection, 0, 0);
    set_gate(14, entry_page_fault, 0, 0);
    set_gate(2, entry_nmi, 0, IST_NMI);
    set_gate(8, vector_stubs + 16 * 8, 0, IST_DOUBLE);
    set_gate(18, vector_stubs + 16 * 18, 0, IST_MCHECK);
}

static __init void feed_policy(void)
{
    struct cpuid_regs r;
    static const u32 leaves[] = {0, 0x80000000, 0x80000001};

    for (unsigned i = 0; i < ARRAY_SIZE(leaves); i++) {
        cpuid_count(leaves[i], 0, &r.eax, &r.ebx, &r.ecx, &r.edx);
        cpuid_host_add(&cpuid_host, leaves[i], 0, &r);
    }
    for (u32 sub = 0; sub < TOPOLOGY_SUBLEAVES; sub++) {
        cpuid_count(4, sub, &r.eax, &r.ebx, &r.ecx, &r.edx);
        cpuid_host_add(&cpuid_host, 4, sub, &r);
    }
    for (u32 sub = 0; cpuid_host.max_leaf >= 0xd && sub < CPUID_XSTATE_MAX; sub++) {
        cpuid_count(0xd, sub, &r.eax, &r.ebx, &r.ecx, &r.edx);
        cpuid_host_add(&cpuid_host, 0xd, sub, &r);
    }
}

__init void cpu_describe(struct topology_cpuid *c)
{
    static const u32 leaves[] __initconst = {
        0, 1, 4, 0xb, 0x1f, 0x80000000, 0x80000001, 0x80000008, 0x8000001d, 0x8000001e};
    struct cpuid_regs r;

    for (unsigned i = 0; i < ARRAY_SIZE(leaves); i++) {
        for (u32 sub = 0; sub < TOPOLOGY_SUBLEAVES; sub++) {
            cpuid_count(leaves[i], sub, &r.eax, &r.ebx, &r.ecx, &r.edx);
            topology_cpuid_add(c, leaves[i], sub, &r);
        }
    }
}

__init void cpu_detect(void)
{
    struct cpu_features *f = &cpu_features;
    u32 a, b, c, d, max;

    feed_policy();
    cpuid_count(0, 0, &max, (u32 *)&f->vendor[0], (u32 *)&f->vendor[8], (u32 *)&f->vendor[4]);
    cpuid_count(1, 0, &a, &b, &c, &d);
    f->xsave = c & BIT(26);
    f->mwait = c & BIT(3) && !(c & BIT(31));
    f->pat = d & BIT(16);
    if (max >= 7) {
        cpuid_count(7, 0, &a, &b, &c, &d);
        f->fsgsbase = b & BIT(0);
        f->smep = b & BIT(7);
        f->smap = b & BIT(20);
    }
    cpuid_count(0x80000001, 0, &a, &b, &c, &d);
    f->nx = d & BIT(20);
    f->rdtscp = d & BIT(27);
    cpuid_count(0x80000000, 0, &a, &b, &c, &d);
    f->maddr_bits = 36;
    if (a >= 0x80000008) {
        cpuid_count(0x80000008, 0, &a, &b, &c, &d);
        f->maddr_bits = a & 0xff;
    }
    if (f->xsave) {
        cpuid_count(0xd, 0, &a, &b, &c, &d);
        /* x87, SSE, AVX, AVX-512: state a guest may have. Keys and supervisor states are not. */
        f->xcr0 = (((u64)d << 32) | a) & 0xe7;
        if ((f->xcr0 & 0xe0) != 0xe0)
            f->xcr0 &= 7;
        f->xsave_size = cpuid_xstate_size(&cpuid_host, f->xcr0);
    }
    build_idt();
}

static void *stack_with_info(struct cpu *c, void *(*alloc)(unsigned order))
{
    u8 *stack = alloc(STACK_ORDER);
    struct stack_info *info = (struct stack_info *)(stack + STACK_SIZE) - 1;

    info->cpu = c;
    return info;
}

/* Descriptors of the hypervisor's page, at offset 0xe000 of every GDT. */
static void fill_gdt(struct cpu *c)
{
    u64 tss = (u64)c->tss;
    u64 *g = c->gdt;

    g[1] = 0x00af9b000000ffff; /* e008: our code */
    g[2] = 0x00cf93000000ffff; /* e010: our data */
    g[(SEL_RING3_CS32 & 0xfff) >> 3] = 0x00cffb000000ffff;
    g[(SEL_RING3_DS & 0xfff) >> 3] = 0x00cff3000000ffff;
    g[(SEL_RING3_CS64 & 0xfff) >> 3] = 0x00affb000000ffff;
    g[(SEL_TSS & 0xfff) >> 3] =
        (TSS_LIMIT & 0xffff) | (tss & 0xffffff) << 16 | 0x89UL << 40 | (tss >> 24 & 0xff) << 56;
    g[((SEL_TSS & 0xfff) >> 3) + 1] = tss >> 32;
}

/*
 * The entry stub: change to the vcpu's stack without a free register, then push ss and rsp.
 *      mov %rsp, scratch(%rip); mov stack_top(%rip), %rsp
 *      pushq $SEL_RING3_DS; pushq scratch(%rip); jmp entry
 */
static u8 *write_stub(u8 *p, u64 va, u64 data_va, const u8 *entry)
{
    u8 *start = p;
    s32 rel;

#define REL32(target)                                                                          \
    rel = (s32)((target) - (va + (u64)(p - start) + 4));                                       \
    memcpy(p, &rel, 4);                                                                        \
    p += 4
#define BYTES(...)                                                                             \
    do {                                                                                       \
        static const u8 b[] = {__VA_ARGS__};                                                   \
        memcpy(p, b, sizeof(b));                                                               \
        p += sizeof(b);                                                                        \
    } while (0)

    BYTES(0x48, 0x89, 0x25);
    REL32(data_va + offsetof(struct stub_data, scratch));
    BYTES(0x48, 0x8b, 0x25);
    REL32(data_va + offsetof(struct stub_data, stack_top));
    BYTES(0x68, SEL_RING3_DS & 0xff, SEL_RING3_DS >> 8, 0, 0);
    BYTES(0xff, 0x35);
    REL32(data_va + offsetof(struct stub_data, scratch));
    BYTES(0xe9);
    REL32((u64)entry);
    return p;
#undef REL32
#undef BYTES
}

#define STUB_STRIDE   (2 * PAGE_SIZE) /* a code page, then its data page */
#define STUB32_OFFSET 64

static void create_stub(struct cpu *c, void *(*alloc)(unsigned order))
{
    u64 va = STUBS_BASE + c->id * STUB_STRIDE, data_va = va + PAGE_SIZE;
    u8 *code = alloc(0), *data = alloc(0);

    write_stub(code, va, data_va, entry_syscall);
    write_stub(code + STUB32_OFFSET, va + STUB32_OFFSET, data_va, entry_syscall32);
    paging_map_page(va, virt_to_phys(code), 0);
    paging_map_page(data_va, virt_to_phys(data), PTE_RW | PTE_NX);
    c->stub = (struct stub_data *)data_va;
}

__init struct cpu *cpu_create(unsigned id, void *(*alloc)(unsigned order))
{
    struct cpu *c = alloc(0);
    u64 window = WINDOW_BASE + id * WINDOW_STRIDE;

    BUG_ON(sizeof(*c) > PAGE_SIZE);
    c->id = id;
    c->tss = alloc(2);
    c->tss->ist[IST_NMI - 1] = (u64)stack_with_info(c, alloc);
    c->tss->ist[IST_DEBUG - 1] = (u64)stack_with_info(c, alloc);
    c->tss->ist[IST_DOUBLE - 1] = (u64)stack_with_info(c, alloc);
    c->tss->ist[IST_MCHECK - 1] = (u64)stack_with_info(c, alloc);
    c->tss->iomap_base = TSS_NO_BITMAP;
    memset((u8 *)c->tss + TSS_BITMAP_OFFSET, 0xff, IO_BITMAP_BYTES + 1);
    c->gdt = alloc(0);
    fill_gdt(c);
    paging_map_page(window + GUEST_GDT_PAGES * PAGE_SIZE, virt_to_phys(c->gdt),
                    PTE_RW | PTE_NX);
    c->window_ptes = paging_l1_entry(window);
    /* Selectors beyond a guest's table find empty descriptors, not a hole in our map. */
    c->empty_page = alloc(0);
    for (unsigned i = 0; i < GUEST_GDT_PAGES; i++)
        paging_map_page(window + i * PAGE_SIZE, virt_to_phys(c->empty_page), PTE_NX);
    create_stub(c, alloc);
    cpus[id] = c;
    return c;
}

static void load_tables(struct cpu *c)
{
    struct table_register gdtr = {.limit = GUEST_GDT_PAGES * PAGE_SIZE + PAGE_SIZE - 1,
                                  .base = WINDOW_BASE + c->id * WINDOW_STRIDE};
    struct table_register idtr = {.limit = sizeof(idt) - 1, .base = (u64)idt};

    asm volatile("lgdt %0" : : "m"(gdtr));
    asm volatile("pushq %0; lea 1f(%%rip), %%rax; push %%rax; lretq; 1:"
                 :
                 : "i"(SEL_HV_CS)
                 : "rax", "memory");
    asm volatile("mov %0, %%ss" : : "r"(SEL_HV_DS));
    asm volatile("mov %0, %%ds; mov %0, %%es; mov %0, %%fs; mov %0, %%gs" : : "r"(0));
    asm volatile("lidt %0" : : "m"(idtr));
    asm volatile("lldt %w0" : : "r"(0));
    asm volatile("ltr %w0" : : "r"(SEL_TSS));
}

static void load_syscall_msrs(struct cpu *c)
{
    u64 stub = STUBS_BASE + c->id * STUB_STRIDE;

    wrmsr(MSR_STAR, (u64)SEL_RING3_CS32 << 48 | (u64)SEL_HV_CS << 32);
    wrmsr(MSR_LSTAR, stub);
    wrmsr(MSR_CSTAR, stub + STUB32_OFFSET);
    wrmsr(MSR_SYSCALL_MASK, RFLAGS_AC | RFLAGS_VM | RFLAGS_RF | RFLAGS_NT | RFLAGS_DF |
                                RFLAGS_IF | RFLAGS_TF | RFLAGS_IOPL);
}

/*
 * Guests' kernels rely on LFENCE against speculation. AMD's wait as Intel's do: always in families
 * 0xF and 0x11, elsewhere when told to, unless that is out of reach.
 */
static bool make_lfence_wait(void)
{
    u32 a, b, c, d, family;
    u64 v;

    if (cpuid_host.vendor != CPU_VENDOR_AMD)
        return false;
    cpuid_count(1, 0, &a, &b, &c, &d);
    family = (a >> 8 & 0xf) + (a >> 20 & 0xff);
    if (family == 0xf || family == 0x11)
        return true;
    if (rdmsr_safe(MSR_DE_CFG, &v))
        return false;
    if (!(v & DE_CFG_LFENCE_WAITS) && wrmsr_safe(MSR_DE_CFG, v | DE_CFG_LFENCE_WAITS))
        return false;
    return !rdmsr_safe(MSR_DE_CFG, &v) && v & DE_CFG_LFENCE_WAITS;
}

void cpu_load(struct cpu *c)
{
    const struct cpu_features *f = &cpu_features;
    u64 cr4 = CR4_PAE | CR4_MCE | CR4_OSFXSR | CR4_OSXMMEXCPT;

    wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_SCE | (f->nx ? EFER_NXE : 0));
    if (f->pat)
        wrmsr(MSR_PAT, HV_PAT);
    cr4 |= f->xsave ? CR4_OSXSAVE : 0;
    cr4 |= f->smep ? CR4_SMEP : 0;
    cr4 |= f->smap ? CR4_SMAP : 0;
    write_cr4(cr4);
    write_cr0(CR0_PE | CR0_MP | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_PG);
    load_tables(c);
    load_syscall_msrs(c);
    if (f->xsave) {
        u32 lo = (u32)f->xcr0, hi = (u32)(f->xcr0 >> 32);
        asm volatile("xsetbv" : : "c"(0), "a"(lo), "d"(hi));
    }
    if (f->rdtscp)
        wrmsr(IA32_TSC_AUX, 0);
    /* A guest's sysenter must find nothing, whatever the firmware left there. */
    (void)!wrmsr_safe(MSR_SYSENTER_CS, 0);
    cpu_features.lfence_waits = make_lfence_wait();
}

void cpu_set_stack(struct cpu *c, struct stack_info *top)
{
    top->cpu = c;
    c->tss->rsp0 = (u64)top;
    c->stub->stack_top = (u64)top;
}

static u8 *io_bitmap(struct cpu *c)
{
    return (u8 *)c->tss + TSS_BITMAP_OFFSET;
}

void cpu_io_bitmap_allow(struct cpu *c, u16 first, u16 last)
{
    for (u32 p = first; p <= last; p++)
        io_bitmap(c)[p / 8] &= (u8) ~(1 << p % 8);
}

void cpu_io_bitmap_deny(struct cpu *c, u16 first, u16 last)
{
    for (u32 p = first; p <= last; p++)
        io_bitmap(c)[p / 8] |= (u8)(1 << p % 8);
}

u16 *cpu_iomap_base(struct cpu *c)
{
    /* The member is packed, but lies at an even offset of a page-aligned structure. */
    return (u16 *)((u8 *)c->tss + offsetof(struct tss, iomap_base));
}

u64 extable_find(u64 rip)
{
    extern const struct {
        s32 first, last, fixup;
    } extable_start[], extable_end[];

    for (typeof(&extable_start[0]) e = extable_start; e < extable_end; e++)
        if (rip >= (u64)&e->first + (s64)e->first && rip <= (u64)&e->last + (s64)e->last)
            return (u64)&e->fixup + (s64)e->fixup;
    return 0;
}

/* Runs before the text becomes read-only. */
__init void entry_patch_smap(void)
{
    extern const struct {
        s32 where;
        u32 opcode;
    } smap_patch_start[], smap_patch_end[];

    if (!cpu_features.smap)
        return;
    for (typeof(&smap_patch_start[0]) p = smap_patch_start; p < smap_patch_end; p++)
        memcpy((u8 *)&p->where + p->where, &p->opcode, 3);
}
