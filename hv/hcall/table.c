#include "hcall/hcall.h"
#include "kern/irq.h"

#define NR_HYPERCALLS 64

typedef s64 (*hypercall_fn)(struct vcpu *v, u64 a1, u64 a2, u64 a3, u64 a4, u64 a5);

#define ENTRY(name) [__HYPERVISOR_##name] = hcall_##name

static const hypercall_fn table[NR_HYPERCALLS] = {
    ENTRY(set_trap_table),
    ENTRY(mmu_update),
    ENTRY(set_gdt),
    ENTRY(stack_switch),
    ENTRY(set_callbacks),
    ENTRY(fpu_taskswitch),
    ENTRY(platform_op),
    ENTRY(set_debugreg),
    ENTRY(get_debugreg),
    ENTRY(update_descriptor),
    ENTRY(memory_op),
    ENTRY(multicall),
    ENTRY(update_va_mapping),
    ENTRY(set_timer_op),
    ENTRY(xen_version),
    ENTRY(console_io),
    ENTRY(grant_table_op),
    ENTRY(vm_assist),
    ENTRY(vcpu_op),
    ENTRY(set_segment_base),
    ENTRY(mmuext_op),
    ENTRY(nmi_op),
    ENTRY(sched_op),
    ENTRY(callback_op),
    ENTRY(xenpmu_op),
    ENTRY(event_channel_op),
    ENTRY(physdev_op),
    ENTRY(sysctl),
    [__HYPERVISOR_arch_7] = hcall_serai_op,
};

static hypercall_fn find(u64 nr)
{
    u64 in_range;

    if (nr >= NR_HYPERCALLS)
        return NULL;
    /* All ones below the limit, also when the branch above is predicted wrong. */
    asm("cmp %1, %2; sbb %0, %0" : "=r"(in_range) : "i"(NR_HYPERCALLS), "r"(nr));
    return table[nr & in_range];
}

s64 hcall_dispatch(struct vcpu *v, u64 nr, const u64 *a)
{
    hypercall_fn fn = find(nr);

    if (!fn)
        return -XEN_ENOSYS;
    this_cpu()->hypercalls[nr]++;
    return fn(v, a[0], a[1], a[2], a[3], a[4]);
}

void hypercall_from_assembly(struct cpu_user_regs *regs)
{
    struct stack_info *info = stack_info();
    struct vcpu *v = (struct vcpu *)info->guest;
    u64 nr = regs->rax;
    hypercall_fn fn;

    fn = find(nr);
    if (unlikely(!fn)) {
        regs->rax = (u64)-XEN_ENOSYS;
        return;
    }
    info->cpu->hypercalls[nr]++;
    regs->rax = (u64)fn(v, regs->rdi, regs->rsi, regs->rdx, regs->r10, regs->r8);
}
