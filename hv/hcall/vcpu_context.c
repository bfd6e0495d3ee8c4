#include "hcall/vcpu_context.h"
#include "core/pte.h"
#include "guest/access.h"
#include "guest/debugreg.h"
#include "guest/frame.h"
#include "guest/ioports.h"
#include "guest/lifecycle.h"
#include "guest/segments.h"
#include "guest/switch.h"
#include "guest/trap.h"
#include "guest/vcpu.h"
#include "hcall/traps.h"
#include "x86/cpu.h"
#include "x86/cpu_setup.h"

/* A page number as PV guests keep it in a control register. */
static mfn_t table_of(u64 cr3)
{
    return MFN(cr3 >> PAGE_SHIFT);
}

static bool traps_ok(const struct trap_info *t)
{
    for (unsigned i = 0; i < 256; i++)
        if (!va_is_canonical(t[i].address))
            return false;
    return true;
}

/* Everything that can be judged without taking hold of anything. */
static bool context_ok(const struct vcpu_guest_context *c)
{
    return va_is_canonical(c->user_regs.rip) && va_is_canonical(c->user_regs.rsp) &&
           va_is_canonical(c->event_callback_eip) &&
           va_is_canonical(c->failsafe_callback_eip) &&
           va_is_canonical(c->syscall_callback_eip) && va_is_canonical(c->fs_base) &&
           va_is_canonical(c->gs_base_kernel) && va_is_canonical(c->gs_base_user) &&
           (!c->kernel_sp || traps_stack_ok(c->kernel_sp)) && traps_ok(c->trap_ctxt) &&
           debugreg_all_ok(c->debugreg);
}

static void fill_registers(struct vcpu *v, const struct vcpu_guest_context *c)
{
    struct cpu_user_regs regs = c->user_regs;
    bool kernel = c->flags & VGCF_IN_KERNEL;

    regs.cs |= 3;
    regs.ss |= 3;
    ioports_set_iopl(v, (regs.rflags & RFLAGS_IOPL) >> 12);
    regs.rflags &= ~(RFLAGS_IOPL | RFLAGS_VM | RFLAGS_NT | RFLAGS_RF);
    regs.rflags |= RFLAGS_IF | RFLAGS_MBS;
    vcpu_set_entry(v, &regs);
    v->entry.kernel_mode = kernel;
    v->regs.ds = regs.ds;
    v->regs.es = regs.es;
    v->regs.fs = regs.fs;
    v->regs.gs = regs.gs;
    v->regs.fs_base = c->fs_base;
    /* The active base is that of the mode the vcpu starts in. */
    v->regs.gs_base = kernel ? c->gs_base_kernel : c->gs_base_user;
    v->regs.kernel_gs_base = kernel ? c->gs_base_user : c->gs_base_kernel;
    v->cr4 = c->ctrlreg[4] & CR4_GUEST;
    v->cr0_ts = c->ctrlreg[0] & CR0_TS;
    if (c->flags & VGCF_I387_VALID)
        switch_set_fpu(v, (const u8 *)&c->fpu_ctxt);
}

static void fill_handlers(struct vcpu *v, const struct vcpu_guest_context *c)
{
    for (unsigned i = 0; i < 256; i++)
        traps_set_gate(v, c->trap_ctxt[i].vector, c->trap_ctxt[i].address,
                       c->trap_ctxt[i].flags);
    traps_set_callbacks(v, c->event_callback_eip, c->syscall_callback_eip);
    if (c->kernel_sp)
        traps_set_stack(v, c->kernel_ss, c->kernel_sp);
    debugreg_set_all(v, c->debugreg);
}

static int take_tables(struct vcpu *v, const struct vcpu_guest_context *c)
{
    mfn_t kernel = table_of(c->ctrlreg[3]), user = table_of(c->ctrlreg[1]);

    if (frame_type_get(v->domain->id, kernel, TYPE_L4))
        return -XEN_EINVAL;
    if (user.n && frame_type_get(v->domain->id, user, TYPE_L4)) {
        frame_type_put(kernel);
        return -XEN_EINVAL;
    }
    v->kernel_table = kernel;
    v->entry.kernel_cr3 = kernel.n << PAGE_SHIFT;
    v->user_table = user;
    v->entry.user_cr3 = user.n << PAGE_SHIFT;
    vcpu_update_fast_iret(v);
    return 0;
}

static void drop_tables(struct vcpu *v)
{
    frame_type_put(v->kernel_table);
    if (v->user_table.n)
        frame_type_put(v->user_table);
    v->kernel_table = v->user_table = MFN(0);
    v->entry.kernel_cr3 = v->entry.user_cr3 = 0;
}

static int fill(struct vcpu *v, const struct vcpu_guest_context *c)
{
    int rc;

    if (!context_ok(c) || (!(c->flags & VGCF_IN_KERNEL) && !c->ctrlreg[1]))
        return -XEN_EINVAL;
    rc = take_tables(v, c);
    if (rc)
        return rc;
    rc = segments_set_gdt(v, c->gdt_frames, c->gdt_ents);
    if (!rc)
        rc = segments_set_ldt(v, c->ldt_base, c->ldt_ents);
    if (rc) {
        (void)!segments_set_gdt(v, NULL, 0);
        drop_tables(v);
        return rc;
    }
    fill_handlers(v, c);
    fill_registers(v, c);
    return 0;
}

s64 vcpu_context_initialise(struct vcpu *target, u64 u_ctx)
{
    struct vcpu_guest_context *c;
    u32 life = VCPU_EMPTY;
    int rc = -XEN_EFAULT;

    if (__atomic_load_n(&target->life, __ATOMIC_ACQUIRE) != VCPU_EMPTY)
        return -XEN_EEXIST;
    _Static_assert(sizeof(*c) <= 2 * PAGE_SIZE, "a context fits two pages");
    c = heap_alloc_pages(1);
    if (!c)
        return -XEN_ENOMEM;
    if (!copy_from_guest(c, (const void *)u_ctx, sizeof(*c))) {
        rc = -XEN_EEXIST;
        if (__atomic_compare_exchange_n(&target->life, &life, VCPU_FILLING, false,
                                        __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)) {
            rc = fill(target, c);
            __atomic_store_n(&target->life, rc ? VCPU_EMPTY : VCPU_DOWN, __ATOMIC_RELEASE);
        }
        if (!rc && c->flags & VGCF_online)
            lifecycle_vcpu_up(target);
    }
    heap_free_pages(c, 1);
    return rc;
}
