#include "base/string.h"
#include "core/pte.h"
#include "guest/access.h"
#include "guest/ioports.h"
#include "guest/trap.h"
#include "hcall/hcall.h"
#include "x86/cpu.h"
#include "x86/layout.h"
#include <xen/callback.h>
#include <xen/nmi.h>

#define TRAP_MASKS_EVENTS BIT(2)
/* 256 vectors, each at most twice: a table without end is a mistake. */
#define MAX_TRAP_ENTRIES  512

/* Bounce frames: seven words for a system call, eight with an error code, and alignment. */
#define FRAME_BYTES 80

/* The fast bounce of page faults serves a gate that masks events. */
static void set_fault_entry(struct vcpu *v)
{
    const struct trap_gate *gate = &v->traps[14];

    v->entry.fault_entry = gate->flags & TRAP_MASKS_EVENTS ? gate->address : 0;
}

HYPERCALL(set_trap_table)
{
    const struct trap_info *u_traps = (const void *)a1;
    struct trap_info t;

    if (!u_traps) {
        memset(v->traps, 0, sizeof(v->traps));
        set_fault_entry(v);
        return 0;
    }
    for (u32 i = 0;; i++) {
        if (i == MAX_TRAP_ENTRIES)
            return -XEN_EINVAL;
        if (copy_array_from_guest(&t, u_traps, i, sizeof(t)))
            return -XEN_EFAULT;
        if (!t.address)
            break;
        if (!va_is_canonical(t.address))
            return -XEN_EINVAL;
        v->traps[t.vector] = (struct trap_gate){.address = t.address, .flags = t.flags};
    }
    set_fault_entry(v);
    return 0;
}

HYPERCALL(stack_switch)
{
    /*
     * Bounces push below it without another look, so the whole frame has to lie outside our
     * addresses.
     */
    if (!va_is_canonical(a2) || !guest_range_ok((a2 & ~15UL) - FRAME_BYTES, FRAME_BYTES))
        return -XEN_EPERM;
    v->kernel_ss = (a1 & 0xffff) | 3;
    v->entry.kernel_sp = a2 & ~15UL;
    return 0;
}

HYPERCALL(fpu_taskswitch)
{
    if (a1) {
        v->cr0_ts = CR0_TS;
        write_cr0(read_cr0() | CR0_TS);
    } else {
        v->cr0_ts = 0;
        asm volatile("clts");
    }
    return 0;
}

/* The fast entry of entry.S serves a handler that masks events; other forms go through C. */
static void set_syscall_callback(struct vcpu *v, const struct callback *cb)
{
    v->syscall_cb = *cb;
    v->entry.syscall_entry = cb->mask_events ? cb->address : 0;
}

static int set_callback(struct vcpu *v, unsigned type, const struct callback *cb)
{
    if (!va_is_canonical(cb->address))
        return -XEN_EINVAL;
    switch (type) {
    case CALLBACKTYPE_event:
        v->event_cb = *cb;
        return 0;
    case CALLBACKTYPE_failsafe:
        /* Never entered: a selector that cannot be loaded gives #GP, as on stock Xen. */
        return 0;
    case CALLBACKTYPE_syscall:
        set_syscall_callback(v, cb);
        return 0;
    case CALLBACKTYPE_syscall32:
        v->syscall32_cb = *cb;
        return 0;
    case CALLBACKTYPE_nmi:
        v->traps[2] = (struct trap_gate){.address = cb->address};
        return 0;
    default:
        return -XEN_ENOSYS;
    }
}

HYPERCALL(callback_op)
{
    struct callback_register reg;
    struct callback_unregister unreg;

    switch (a1) {
    case CALLBACKOP_register:
        if (copy_from_guest(&reg, (const void *)a2, sizeof(reg)))
            return -XEN_EFAULT;
        return set_callback(v, reg.type,
                            &(struct callback){reg.address, reg.flags & CALLBACKF_mask_events});
    case CALLBACKOP_unregister:
        if (copy_from_guest(&unreg, (const void *)a2, sizeof(unreg)))
            return -XEN_EFAULT;
        if (unreg.type != CALLBACKTYPE_nmi)
            return -XEN_EINVAL;
        return set_callback(v, unreg.type, &(struct callback){0});
    default:
        return -XEN_ENOSYS;
    }
}

/* The older form: event, failsafe and system call handlers in one. */
HYPERCALL(set_callbacks)
{
    if (!va_is_canonical(a1) || !va_is_canonical(a2) || !va_is_canonical(a3))
        return -XEN_EINVAL;
    v->event_cb = (struct callback){a1, true};
    set_syscall_callback(v, &(struct callback){a3, false});
    return 0;
}

HYPERCALL(nmi_op)
{
    struct xennmi_callback cb;

    switch (a1) {
    case XENNMI_register_callback:
        if (copy_from_guest(&cb, (const void *)a2, sizeof(cb)))
            return -XEN_EFAULT;
        return set_callback(v, CALLBACKTYPE_nmi, &(struct callback){cb.handler_address, true});
    case XENNMI_unregister_callback:
        return set_callback(v, CALLBACKTYPE_nmi, &(struct callback){0});
    default:
        return -XEN_ENOSYS;
    }
}

static void load_debug_register(unsigned reg, u64 val)
{
    switch (reg) {
    case 0:
        write_dr0(val);
        break;
    case 1:
        write_dr1(val);
        break;
    case 2:
        write_dr2(val);
        break;
    case 3:
        write_dr3(val);
        break;
    default:
        write_dr7(val);
        break;
    }
}

/* DR7: bits 10 fixed to one; 11, 12, 14, 15 and the upper half reserved; 13 (GD) never. */
#define DR7_FIXED    BIT(10)
#define DR7_REFUSED  BIT(13)
#define DR7_RESERVED (~0xffff27ffUL)

static int set_dr7(struct vcpu *v, u64 val)
{
    if (val & DR7_REFUSED)
        return -XEN_EPERM;
    val = (val & ~DR7_RESERVED) | DR7_FIXED;
    /* I/O breakpoints (type 2) need CR4.DE semantics that guests do not control here. */
    for (unsigned i = 0; i < 4; i++)
        if ((val >> (i * 2) & 3) && (val >> (16 + i * 4) & 3) == 2)
            return -XEN_EPERM;
    v->dr[7] = val;
    write_dr7(val);
    return 0;
}

HYPERCALL(set_debugreg)
{
    unsigned reg = (unsigned)a1;

    if (a1 > 7)
        return -XEN_EINVAL;
    switch (reg) {
    case 0:
    case 1:
    case 2:
    case 3:
        /* A breakpoint on our own code or data would stop the hypervisor. */
        if (!va_is_canonical(a2) || !guest_range_ok(a2, 8))
            return -XEN_EPERM;
        v->dr[reg] = a2;
        load_debug_register(reg, a2);
        return 0;
    case 6:
        v->dr[6] = (a2 & 0xe00fUL) | 0xffff0ff0UL;
        return 0;
    case 7:
        return set_dr7(v, a2);
    default:
        return -XEN_EINVAL;
    }
}

HYPERCALL(get_debugreg)
{
    if (a1 > 7 || a1 == 4 || a1 == 5)
        return -XEN_EINVAL;
    return (s64)v->dr[a1];
}
