#include "guest/access.h"
#include "hcall/hcall.h"
#include "kern/irq.h"
#include <xen/arch-x86/xen-mca.h>

static HYPERCALL(none)
{
    return -XEN_ENOSYS;
}

#define ENTRY(name) [__HYPERVISOR_##name] = hcall_##name

/* Filled first, then the known ones over it. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Woverride-init"
const hypercall_fn hypercall_table_from_assembly[NR_HYPERCALLS] = {
    [0 ... NR_HYPERCALLS - 1] = hcall_none,
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
    ENTRY(sched_op_compat),
    ENTRY(callback_op),
    ENTRY(xenpmu_op),
    ENTRY(event_channel_op),
    ENTRY(event_channel_op_compat),
    ENTRY(physdev_op),
    ENTRY(sysctl),
    ENTRY(domctl),
    ENTRY(mca),
    [__HYPERVISOR_arch_7] = hcall_serai_op,
};
#pragma GCC diagnostic pop

s64 hcall_again(struct vcpu *v, unsigned nr)
{
    /* An entry of a batch cannot; the caller of a batch reads the result. */
    if (v->in_multicall)
        return -XEN_EAGAIN;
    guest_regs()->rip -= 2; /* syscall; it finds the number where it expects it */
    return nr;
}

s64 hcall_again_from(struct vcpu *v, unsigned nr, u32 done)
{
    struct cpu_user_regs *regs = guest_regs();

    if (!v->in_multicall)
        regs->rsi = (u32)regs->rsi | (u64)done << 32 | 0xa5UL << 56;
    return hcall_again(v, nr);
}

s64 hcall_dispatch(struct vcpu *v, u64 nr, const u64 *a)
{
    u64 in_range;

    if (nr >= NR_HYPERCALLS)
        return -XEN_ENOSYS;
    /* All ones below the limit, also when the branch above is predicted wrong. */
    asm("cmp %1, %2; sbb %0, %0" : "=r"(in_range) : "i"(NR_HYPERCALLS), "r"(nr));
    nr &= in_range;
    this_cpu()->hypercalls[nr]++;
    return hypercall_table_from_assembly[nr](a[0], a[1], a[2], a[3], a[4], v);
}

s64 hcall_take_control(const struct vcpu *v, u64 u_op, void *op, u64 size, u32 version)
{
    if (!v->domain->is_hardware)
        return -XEN_EPERM;
    if (copy_from_guest(op, (const void *)u_op, size))
        return -XEN_EFAULT;
    return ((const u32 *)op)[1] == version ? 0 : -XEN_EACCES;
}
