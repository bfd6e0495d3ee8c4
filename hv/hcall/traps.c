#include "base/string.h"
#include "core/pte.h"
#include "guest/access.h"
#include "guest/debugreg.h"
#include "guest/ioports.h"
#include "guest/trap.h"
#include "hcall/hcall.h"
#include "hcall/traps.h"
#include "x86/cpu.h"
#include "x86/layout.h"
#include <xen/callback.h>
#include <xen/nmi.h>

#define X86_PF            14
#define TRAP_MASKS_EVENTS BIT(2)
/* 256 vectors, each at most twice: a table without end is a mistake. */
#define MAX_TRAP_ENTRIES  512

/* Bounce frames: seven words for a system call, eight with an error code, and alignment. */
#define FRAME_BYTES 80

/* The fast bounce of page faults serves a gate that masks events. */
static void set_fault_entry(struct vcpu *v)
{
    const struct trap_gate *gate = &v->traps[X86_PF];

    v->entry.fault_entry = gate->flags & TRAP_MASKS_EVENTS ? gate->address : 0;
}

void traps_set_gate(struct vcpu *v, u8 vector, u64 address, u8 flags)
{
    v->traps[vector] = (struct trap_gate){.address = address, .flags = flags};
    if (vector == X86_PF)
        set_fault_entry(v);
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
        traps_set_gate(v, t.vector, t.address, t.flags);
    }
    return 0;
}

/* Bounces push below it without another look: the whole frame has to lie outside our addresses. */
bool traps_stack_ok(u64 sp)
{
    return va_is_canonical(sp) && guest_range_ok((sp & ~15UL) - FRAME_BYTES, FRAME_BYTES);
}

void traps_set_stack(struct vcpu *v, u64 ss, u64 sp)
{
    v->entry.kernel_ss = (ss & 0xffff) | 3;
    v->entry.kernel_sp = sp & ~15UL;
}

HYPERCALL(stack_switch)
{
    if (!traps_stack_ok(a2))
        return -XEN_EPERM;
    traps_set_stack(v, a1, a2);
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

/* The fast walks of entry.S serve handlers that mask events; others go through C. */
static void set_syscall_callback(struct vcpu *v, const struct callback *cb)
{
    v->syscall_cb = *cb;
    v->entry.syscall_entry = cb->mask_events ? cb->address : 0;
}

static void set_event_callback(struct vcpu *v, const struct callback *cb)
{
    v->event_cb = *cb;
    v->entry.event_entry = cb->mask_events ? cb->address : 0;
}

static int set_callback(struct vcpu *v, unsigned type, const struct callback *cb)
{
    if (!va_is_canonical(cb->address))
        return -XEN_EINVAL;
    switch (type) {
    case CALLBACKTYPE_event:
        set_event_callback(v, cb);
        return 0;
    case CALLBACKTYPE_failsafe:
        /* Never entered: a selector that cannot be loaded gives #GP, as on stock Xen. */
        v->failsafe_cb = *cb;
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

void traps_set_callbacks(struct vcpu *v, const struct trap_callbacks *c)
{
    set_event_callback(v, &(struct callback){c->event, true});
    v->failsafe_cb = (struct callback){c->failsafe, c->failsafe_masks_events};
    set_syscall_callback(v, &(struct callback){c->syscall, c->syscall_masks_events});
}

HYPERCALL(set_callbacks)
{
    if (!va_is_canonical(a1) || !va_is_canonical(a2) || !va_is_canonical(a3))
        return -XEN_EINVAL;
    traps_set_callbacks(v,
                        &(struct trap_callbacks){.event = a1, .failsafe = a2, .syscall = a3});
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

HYPERCALL(set_debugreg)
{
    int rc = debugreg_check(a1, a2);

    if (!rc)
        debugreg_set(v, (unsigned)a1, a2);
    return rc;
}

HYPERCALL(get_debugreg)
{
    if (a1 > 7 || a1 == 4 || a1 == 5)
        return -XEN_EINVAL;
    return (s64)v->dr[a1];
}
