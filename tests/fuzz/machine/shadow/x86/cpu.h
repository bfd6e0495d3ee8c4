/* hv/x86/cpu.h, with the instructions that only ring 0 may use played by the machine. */
#ifndef MACHINE_X86_CPU_H
#define MACHINE_X86_CPU_H

#define read_cr0(x)                   hardware_read_cr0(x)
#define read_cr2(x)                   hardware_read_cr2(x)
#define read_cr3(x)                   hardware_read_cr3(x)
#define read_cr4(x)                   hardware_read_cr4(x)
#define write_cr0(x)                  hardware_write_cr0(x)
#define write_cr2(x)                  hardware_write_cr2(x)
#define write_cr3(x)                  hardware_write_cr3(x)
#define write_cr4(x)                  hardware_write_cr4(x)
#define read_dr6(x)                   hardware_read_dr6(x)
#define write_dr0(x)                  hardware_write_dr0(x)
#define write_dr1(x)                  hardware_write_dr1(x)
#define write_dr2(x)                  hardware_write_dr2(x)
#define write_dr3(x)                  hardware_write_dr3(x)
#define write_dr6(x)                  hardware_write_dr6(x)
#define write_dr7(x)                  hardware_write_dr7(x)
#define rdmsr(x)                      hardware_rdmsr(x)
#define wrmsr(x, y)                   hardware_wrmsr(x, y)
#define rdtsc(x)                      hardware_rdtsc(x)
#define cpu_relax(x)                  hardware_cpu_relax(x)
#define cpu_take_interrupts(x)        hardware_cpu_take_interrupts(x)
#define cpu_halt_irq_on(x)            hardware_cpu_halt_irq_on(x)
#define cpu_stop(x)                   hardware_cpu_stop(x)
#define invlpg(x)                     hardware_invlpg(x)
#define cpuid_count(l, s, a, b, c, d) hardware_cpuid_count(l, s, a, b, c, d)
#include_next "x86/cpu.h"
#undef read_cr0
#undef read_cr2
#undef read_cr3
#undef read_cr4
#undef write_cr0
#undef write_cr2
#undef write_cr3
#undef write_cr4
#undef read_dr6
#undef write_dr0
#undef write_dr1
#undef write_dr2
#undef write_dr3
#undef write_dr6
#undef write_dr7
#undef rdmsr
#undef wrmsr
#undef rdtsc
#undef cpu_relax
#undef cpu_take_interrupts
#undef cpu_halt_irq_on
#undef cpu_stop
#undef invlpg
#undef cpuid_count

u64 read_cr3(void);
void write_cr3(u64 cr3);
u64 rdtsc(void);
void cpuid_count(u32 leaf, u32 sub, u32 *a, u32 *b, u32 *c, u32 *d);
void cpu_relax(void);
void cpu_take_interrupts(void);
void cpu_halt_irq_on(void);
__noreturn void cpu_stop(void);

static inline u64 read_cr0(void)
{
    return 0;
}

static inline u64 read_cr2(void)
{
    return 0;
}

static inline u64 read_cr4(void)
{
    return 0;
}

static inline u64 read_dr6(void)
{
    return 0;
}

static inline u64 rdmsr(u32 msr)
{
    return 0;
}

static inline void wrmsr(u32 msr, u64 value)
{
}

static inline void write_cr0(u64 value)
{
}

static inline void write_cr2(u64 value)
{
}

static inline void write_cr4(u64 value)
{
}

static inline void write_dr0(u64 value)
{
}

static inline void write_dr1(u64 value)
{
}

static inline void write_dr2(u64 value)
{
}

static inline void write_dr3(u64 value)
{
}

static inline void write_dr6(u64 value)
{
}

static inline void write_dr7(u64 value)
{
}

static inline void invlpg(const void *va)
{
}

#endif
