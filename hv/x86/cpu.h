/*
 * Instructions that C cannot say, one inline function each, and the bits of the registers they
 * read and write (Intel SDM volume 3, AMD APM volume 2).
 */
#ifndef SERAI_X86_CPU_H
#define SERAI_X86_CPU_H

#include "base/types.h"

#define CR0_PE BIT(0)
#define CR0_MP BIT(1)
#define CR0_EM BIT(2)
#define CR0_TS BIT(3)
#define CR0_ET BIT(4)
#define CR0_NE BIT(5)
#define CR0_WP BIT(16)
#define CR0_AM BIT(18)
#define CR0_PG BIT(31)

#define CR4_TSD        BIT(2)
#define CR4_DE         BIT(3)
#define CR4_PAE        BIT(5)
#define CR4_MCE        BIT(6)
#define CR4_PGE        BIT(7)
#define CR4_OSFXSR     BIT(9)
#define CR4_OSXMMEXCPT BIT(10)
#define CR4_FSGSBASE   BIT(16)
#define CR4_OSXSAVE    BIT(18)
#define CR4_SMEP       BIT(20)
#define CR4_SMAP       BIT(21)

#define RFLAGS_CF   BIT(0)
#define RFLAGS_MBS  BIT(1)
#define RFLAGS_PF   BIT(2)
#define RFLAGS_AF   BIT(4)
#define RFLAGS_ZF   BIT(6)
#define RFLAGS_SF   BIT(7)
#define RFLAGS_TF   BIT(8)
#define RFLAGS_IF   BIT(9)
#define RFLAGS_DF   BIT(10)
#define RFLAGS_OF   BIT(11)
#define RFLAGS_IOPL (BIT(12) | BIT(13))
#define RFLAGS_NT   BIT(14)
#define RFLAGS_RF   BIT(16)
#define RFLAGS_VM   BIT(17)
#define RFLAGS_AC   BIT(18)

#define MSR_APIC_BASE       0x1b
#define MSR_SYSENTER_CS     0x174
#define MSR_MISC_ENABLE     0x1a0
#define MSR_PAT             0x277
#define MSR_TSC_DEADLINE    0x6e0
#define MSR_EFER            0xc0000080
#define MSR_STAR            0xc0000081
#define MSR_LSTAR           0xc0000082
#define MSR_CSTAR           0xc0000083
#define MSR_SYSCALL_MASK    0xc0000084
#define MSR_DE_CFG          0xc0011029 /* AMD's */
#define DE_CFG_LFENCE_WAITS BIT(1)
#define IA32_FS_BASE        0xc0000100
#define IA32_GS_BASE        0xc0000101
#define IA32_KERNEL_GS_BASE 0xc0000102
#define IA32_TSC_AUX        0xc0000103

#define EFER_SCE BIT(0)
#define EFER_LME BIT(8)
#define EFER_LMA BIT(10)
#define EFER_NXE BIT(11)

static inline u8 inb(u16 port)
{
    u8 v;
    asm volatile("inb %1, %0" : "=a"(v) : "Nd"(port));
    return v;
}

static inline u16 inw(u16 port)
{
    u16 v;
    asm volatile("inw %1, %0" : "=a"(v) : "Nd"(port));
    return v;
}

static inline u32 inl(u16 port)
{
    u32 v;
    asm volatile("inl %1, %0" : "=a"(v) : "Nd"(port));
    return v;
}

static inline void outb(u16 port, u8 v)
{
    asm volatile("outb %0, %1" : : "a"(v), "Nd"(port));
}

static inline void outw(u16 port, u16 v)
{
    asm volatile("outw %0, %1" : : "a"(v), "Nd"(port));
}

static inline void outl(u16 port, u32 v)
{
    asm volatile("outl %0, %1" : : "a"(v), "Nd"(port));
}

static inline u64 rdmsr(u32 msr)
{
    u32 lo, hi;
    asm volatile("rdmsr" : "=a"(lo), "=d"(hi) : "c"(msr));
    return ((u64)hi << 32) | lo;
}

static inline void wrmsr(u32 msr, u64 v)
{
    asm volatile("wrmsr" : : "c"(msr), "a"((u32)v), "d"((u32)(v >> 32)) : "memory");
}

/* Selector loads (entry.S): 0, or null loaded and -XEN_EFAULT when the selector is bad. */
int load_ds_safe(u32 selector);
int load_es_safe(u32 selector);
int load_fs_safe(u32 selector);
int load_gs_safe(u32 selector);

/* MSR accesses that may fault: 0, or -XEN_EFAULT when the CPU refused (entry.S). */
int rdmsr_safe(u32 msr, u64 *v);
int wrmsr_safe(u32 msr, u64 v);

static inline u64 rdtsc(void)
{
    u32 lo, hi;
    asm volatile("rdtsc" : "=a"(lo), "=d"(hi));
    return ((u64)hi << 32) | lo;
}

static inline u64 rdtsc_ordered(void)
{
    u32 lo, hi;
    asm volatile("lfence; rdtsc" : "=a"(lo), "=d"(hi) : : "memory");
    return ((u64)hi << 32) | lo;
}

static inline void cpuid_count(u32 leaf, u32 sub, u32 *a, u32 *b, u32 *c, u32 *d)
{
    asm volatile("cpuid" : "=a"(*a), "=b"(*b), "=c"(*c), "=d"(*d) : "a"(leaf), "c"(sub));
}

#define DEFINE_CR(n)                                                                           \
    static inline u64 read_cr##n(void)                                                         \
    {                                                                                          \
        u64 v;                                                                                 \
        asm volatile("mov %%cr" #n ", %0" : "=r"(v));                                          \
        return v;                                                                              \
    }                                                                                          \
    static inline void write_cr##n(u64 v)                                                      \
    {                                                                                          \
        asm volatile("mov %0, %%cr" #n : : "r"(v) : "memory");                                 \
    }
DEFINE_CR(0)
DEFINE_CR(2)
DEFINE_CR(3)
DEFINE_CR(4)
#undef DEFINE_CR

#define DEFINE_DR(n)                                                                           \
    static inline u64 read_dr##n(void)                                                         \
    {                                                                                          \
        u64 v;                                                                                 \
        asm volatile("mov %%db" #n ", %0" : "=r"(v));                                          \
        return v;                                                                              \
    }                                                                                          \
    static inline void write_dr##n(u64 v)                                                      \
    {                                                                                          \
        asm volatile("mov %0, %%db" #n : : "r"(v));                                            \
    }
DEFINE_DR(0)
DEFINE_DR(1)
DEFINE_DR(2)
DEFINE_DR(3)
DEFINE_DR(6)
DEFINE_DR(7)
#undef DEFINE_DR

static inline void cpu_relax(void)
{
    asm volatile("pause" : : : "memory");
}

static inline void irq_disable(void)
{
    asm volatile("cli" : : : "memory");
}

static inline void irq_enable(void)
{
    asm volatile("sti" : : : "memory");
}

static inline u64 irq_save(void)
{
    u64 flags;
    asm volatile("pushf; pop %0; cli" : "=r"(flags) : : "memory");
    return flags;
}

static inline void irq_restore(u64 flags)
{
    if (flags & RFLAGS_IF)
        irq_enable();
}

static inline bool irq_enabled(void)
{
    u64 flags;
    asm volatile("pushf; pop %0" : "=r"(flags));
    return flags & RFLAGS_IF;
}

/* What is pending is taken: one instruction's window is enough. */
static inline void cpu_take_interrupts(void)
{
    asm volatile("sti; nop; cli" : : : "memory");
}

/* Sleep until an interrupt; the sti shadow closes the window between the check and the sleep. */
static inline void cpu_halt_irq_on(void)
{
    asm volatile("sti; hlt; cli" : : : "memory");
}

/* The next mwait ends at a write to this cache line. */
static inline void cpu_monitor(const void *line)
{
    asm volatile("monitor" : : "a"(line), "c"(0), "d"(0) : "memory");
}

/* The nop is a window for interrupts: emulators keep the shadow of sti through mwait. */
static inline void cpu_mwait_irq_on(void)
{
    asm volatile("sti; mwait; nop; cli" : : "a"(0), "c"(0) : "memory");
}

static inline __noreturn void cpu_stop(void)
{
    for (;;)
        asm volatile("cli; hlt" : : : "memory");
}

static inline void invlpg(const void *va)
{
    asm volatile("invlpg (%0)" : : "r"(va) : "memory");
}

#endif
