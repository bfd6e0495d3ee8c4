/*
 * Hypercalls, each an inline `syscall`: rax = number, rdi rsi rdx r10 r8 = arguments.
 * Results are 0 or positive for success, a negative Xen errno otherwise.
 */
#ifndef GUEST_HYPER_H
#define GUEST_HYPER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <xen/xen.h>
#include <xen/callback.h>
#include <xen/errno.h>
#include <xen/event_channel.h>
#include <xen/features.h>
#include <xen/memory.h>
#include <xen/physdev.h>
#include <xen/platform.h>
#include <xen/sched.h>
#include <xen/vcpu.h>
#include <xen/version.h>

typedef uint64_t u64;
typedef uint32_t u32;
typedef uint16_t u16;
typedef uint8_t u8;

static inline long hypercall(unsigned nr, u64 a1, u64 a2, u64 a3, u64 a4, u64 a5)
{
    register u64 r10 asm("r10") = a4;
    register u64 r8 asm("r8") = a5;
    long rc;

    asm volatile("syscall"
                 : "=a"(rc), "+D"(a1), "+S"(a2), "+d"(a3), "+r"(r10), "+r"(r8)
                 : "a"((u64)nr)
                 : "rcx", "r11", "memory");
    return rc;
}

#define HC(nr, a, b, c, d, e)                                                                  \
    hypercall(__HYPERVISOR_##nr, (u64)(a), (u64)(b), (u64)(c), (u64)(d), (u64)(e))

static inline long hc_set_trap_table(const void *table)
{
    return HC(set_trap_table, table, 0, 0, 0, 0);
}

static inline long hc_mmu_update(const void *reqs, unsigned n, u32 *done, u64 dom)
{
    return HC(mmu_update, reqs, n, done, dom, 0);
}

static inline long hc_mmuext(const void *ops, unsigned n, u32 *done, u64 dom)
{
    return HC(mmuext_op, ops, n, done, dom, 0);
}

static inline long hc_update_va(const volatile void *va, u64 pte, u64 flags)
{
    return HC(update_va_mapping, va, pte, flags, 0, 0);
}

static inline long hc_memory(unsigned cmd, void *arg)
{
    return HC(memory_op, cmd, arg, 0, 0, 0);
}

static inline long hc_version(unsigned cmd, void *arg)
{
    return HC(xen_version, cmd, arg, 0, 0, 0);
}

static inline long hc_console(unsigned cmd, unsigned n, const void *buf)
{
    return HC(console_io, cmd, n, buf, 0, 0);
}

static inline long hc_vcpu(unsigned cmd, unsigned vcpu, void *arg)
{
    return HC(vcpu_op, cmd, vcpu, arg, 0, 0);
}

static inline long hc_sched(unsigned cmd, void *arg)
{
    return HC(sched_op, cmd, arg, 0, 0, 0);
}

static inline long hc_evtchn(unsigned cmd, void *arg)
{
    return HC(event_channel_op, cmd, arg, 0, 0, 0);
}

static inline long hc_physdev(unsigned cmd, void *arg)
{
    return HC(physdev_op, cmd, arg, 0, 0, 0);
}

static inline long hc_callback(unsigned cmd, void *arg)
{
    return HC(callback_op, cmd, arg, 0, 0, 0);
}

static inline long hc_multicall(void *calls, unsigned n)
{
    return HC(multicall, calls, n, 0, 0, 0);
}

static inline long hc_set_gdt(const u64 *frames, unsigned entries)
{
    return HC(set_gdt, frames, entries, 0, 0, 0);
}

static inline long hc_update_descriptor(u64 maddr, u64 desc)
{
    return HC(update_descriptor, maddr, desc, 0, 0, 0);
}

static inline long hc_segment_base(unsigned which, u64 base)
{
    return HC(set_segment_base, which, base, 0, 0, 0);
}

static inline long hc_stack_switch(u64 ss, u64 sp)
{
    return HC(stack_switch, ss, sp, 0, 0, 0);
}

static inline long hc_vm_assist(unsigned cmd, unsigned type)
{
    return HC(vm_assist, cmd, type, 0, 0, 0);
}

static inline long hc_set_debugreg(unsigned reg, u64 val)
{
    return HC(set_debugreg, reg, val, 0, 0, 0);
}

static inline long hc_get_debugreg(unsigned reg)
{
    return HC(get_debugreg, reg, 0, 0, 0, 0);
}

static inline long hc_set_timer(u64 ns)
{
    return HC(set_timer_op, ns, 0, 0, 0, 0);
}

static inline long hc_fpu_taskswitch(int set)
{
    return HC(fpu_taskswitch, set, 0, 0, 0, 0);
}

#endif
