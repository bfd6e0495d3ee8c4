#include "hcall/vcpu_context.h"
#include "base/string.h"
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
    if (!(c->flags & VGCF_IN_KERNEL) && !table_of(c->ctrlreg[1]).n)
        return false;
    return va_is_canonical(c->user_regs.rip) && va_is_canonical(c->user_regs.rsp) &&
           va_is_canonical(c->event_callback_eip) &&
           va_is_canonical(c->failsafe_callback_eip) &&
           va_is_canonical(c->syscall_callback_eip) && va_is_canonical(c->fs_base) &&
           va_is_canonical(c->gs_base_kernel) && va_is_canonical(c->gs_base_user) &&
           (!c->kernel_sp || traps_stack_ok(c->kernel_sp)) && traps_ok(c->trap_ctxt) &&
           debugreg_all_ok(c->debugreg);
}

/* The registers in the form that they enter the guest with; the frame ends at ss. */
static void make_frame(struct cpu_user_regs *regs)
{
    regs->cs |= 3;
    regs->ss |= 3;
    regs->rflags &= ~(RFLAGS_IOPL | RFLAGS_VM | RFLAGS_NT | RFLAGS_RF);
    regs->rflags |= RFLAGS_IF | RFLAGS_MBS;
}

static void fill_registers(struct vcpu *v, const struct vcpu_guest_context *c)
{
    const struct cpu_user_regs *regs = &c->user_regs;
    bool kernel = c->flags & VGCF_IN_KERNEL;

    ioports_set_iopl(v, (regs->rflags & RFLAGS_IOPL) >> 12);
    v->entry.kernel_mode = kernel;
    v->regs.ds = regs->ds;
    v->regs.es = regs->es;
    v->regs.fs = regs->fs;
    v->regs.gs = regs->gs;
    v->regs.fs_base = c->fs_base;
    /* The active base is that of the mode the vcpu starts in. */
    v->regs.gs_base = kernel ? c->gs_base_kernel : c->gs_base_user;
    v->regs.kernel_gs_base = kernel ? c->gs_base_user : c->gs_base_kernel;
    v->cr4 = c->ctrlreg[4] & CR4_GUEST;
    v->cr0_ts = c->ctrlreg[0] & CR0_TS;
    switch_set_fpu(v, c->flags & VGCF_I387_VALID ? (const u8 *)&c->fpu_ctxt : NULL);
}

static void fill_handlers(struct vcpu *v, const struct vcpu_guest_context *c)
{
    for (unsigned i = 0; i < 256; i++)
        traps_set_gate(v, c->trap_ctxt[i].vector, c->trap_ctxt[i].address,
                       c->trap_ctxt[i].flags);
    traps_set_callbacks(v,
                        &(struct trap_callbacks){
                            .event = c->event_callback_eip,
                            .failsafe = c->failsafe_callback_eip,
                            .syscall = c->syscall_callback_eip,
                            .failsafe_masks_events = c->flags & VGCF_failsafe_disables_events,
                            .syscall_masks_events = c->flags & VGCF_syscall_disables_events,
                        });
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
    struct cpu_user_regs regs = c->user_regs;
    int rc;

    if (!context_ok(c))
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
    make_frame(&regs);
    vcpu_set_entry(v, &regs);
    return 0;
}

/* The first context of a vcpu, which belongs to whoever gets it from VCPU_EMPTY. */
static s64 give_first(struct vcpu *v, const struct vcpu_guest_context *c)
{
    u32 life = VCPU_EMPTY;
    int rc;

    if (!__atomic_compare_exchange_n(&v->life, &life, VCPU_FILLING, false, __ATOMIC_ACQUIRE,
                                     __ATOMIC_RELAXED))
        return -XEN_EEXIST;
    rc = fill(v, c);
    __atomic_store_n(&v->life, rc ? VCPU_EMPTY : VCPU_DOWN, __ATOMIC_RELEASE);
    return rc;
}

/* Does the context name the tables that the vcpu has? It cannot get others. */
static bool same_tables(const struct vcpu *v, const struct vcpu_guest_context *c)
{
    bool same = table_of(c->ctrlreg[3]).n == v->kernel_table.n &&
                table_of(c->ctrlreg[1]).n == v->user_table.n && c->gdt_ents == v->gdt_entries &&
                c->ldt_ents == v->ldt_entries && (!c->ldt_ents || c->ldt_base == v->ldt_base);

    for (unsigned i = 0; i < GUEST_GDT_PAGES; i++)
        same &= i >= DIV_ROUND_UP(c->gdt_ents, 512) || c->gdt_frames[i] == v->gdt_frames[i].n;
    return same;
}

static s64 give_another(struct vcpu *v, const struct vcpu_guest_context *c)
{
    struct cpu_user_regs regs = c->user_regs, *frame = vcpu_frame(v);

    if (!context_ok(c))
        return -XEN_EINVAL;
    if (!same_tables(v, c))
        return -XEN_EOPNOTSUPP;
    fill_handlers(v, c);
    fill_registers(v, c);
    make_frame(&regs);
    memcpy(frame, &regs, offsetof(struct cpu_user_regs, es));
    return 0;
}

static struct vcpu_guest_context *alloc_context(void)
{
    _Static_assert(sizeof(struct vcpu_guest_context) <= 2 * PAGE_SIZE,
                   "a context fits two pages");
    return heap_alloc_pages(1);
}

s64 vcpu_context_initialise(struct vcpu *target, u64 u_ctx)
{
    struct vcpu_guest_context *c;
    s64 rc = -XEN_EFAULT;

    if (__atomic_load_n(&target->life, __ATOMIC_ACQUIRE) != VCPU_EMPTY)
        return -XEN_EEXIST;
    c = alloc_context();
    if (!c)
        return -XEN_ENOMEM;
    if (!copy_from_guest(c, (const void *)u_ctx, sizeof(*c)))
        rc = give_first(target, c);
    if (!rc && c->flags & VGCF_online)
        lifecycle_vcpu_up(target);
    heap_free_pages(c, 1);
    return rc;
}

/* What lies outside struct vcpu, and whether it runs. */
static void finish_set(struct vcpu *v, const struct vcpu_guest_context *c)
{
    if (!v->id)
        __atomic_store_n(&v->domain->vm_assist, c->vm_assist & VM_ASSISTS, __ATOMIC_RELAXED);
    if (c->flags & VGCF_online)
        lifecycle_vcpu_up(v);
    else
        lifecycle_vcpu_down(v);
}

s64 vcpu_context_set(struct vcpu *v, u64 u_ctx)
{
    struct vcpu_guest_context *c = alloc_context();
    s64 rc = -XEN_EFAULT;

    if (!c)
        return -XEN_ENOMEM;
    if (!copy_from_guest(c, (const void *)u_ctx, sizeof(*c)))
        rc = v->life < VCPU_DOWN ? give_first(v, c) : give_another(v, c);
    if (!rc)
        finish_set(v, c);
    heap_free_pages(c, 1);
    return rc;
}

static void read_handlers(const struct vcpu *v, struct vcpu_guest_context *c)
{
    for (unsigned i = 0; i < 256; i++)
        c->trap_ctxt[i] = (struct trap_info){.vector = (u8)i,
                                             .flags = v->traps[i].flags,
                                             .cs = SEL_RING3_CS64,
                                             .address = v->traps[i].address};
    c->event_callback_eip = v->event_cb.address;
    c->failsafe_callback_eip = v->failsafe_cb.address;
    c->syscall_callback_eip = v->syscall_cb.address;
    c->kernel_ss = v->entry.kernel_ss;
    c->kernel_sp = v->entry.kernel_sp;
    for (unsigned i = 0; i < 8; i++)
        c->debugreg[i] = v->dr[i];
}

static void read_registers(const struct vcpu *v, struct vcpu_guest_context *c)
{
    struct cpu_user_regs *regs = &c->user_regs;
    bool kernel = vcpu_is_kernel(v);

    memcpy(regs, vcpu_frame(v), offsetof(struct cpu_user_regs, es));
    regs->error_code = regs->entry_vector = 0;
    regs->rflags |= (u64)v->iopl << 12;
    regs->ds = v->regs.ds;
    regs->es = v->regs.es;
    regs->fs = v->regs.fs;
    regs->gs = v->regs.gs;
    c->fs_base = v->regs.fs_base;
    c->gs_base_kernel = kernel ? v->regs.gs_base : v->regs.kernel_gs_base;
    c->gs_base_user = kernel ? v->regs.kernel_gs_base : v->regs.gs_base;
    c->ctrlreg[0] = (read_cr0() & ~CR0_TS) | v->cr0_ts;
    c->ctrlreg[1] = v->user_table.n << PAGE_SHIFT;
    c->ctrlreg[3] = v->kernel_table.n << PAGE_SHIFT;
    c->ctrlreg[4] = v->cr4 | CR4_VISIBLE;
    switch_get_fpu(v, (u8 *)&c->fpu_ctxt);
}

static void read_tables(const struct vcpu *v, struct vcpu_guest_context *c)
{
    for (unsigned i = 0; i < GUEST_GDT_PAGES; i++)
        c->gdt_frames[i] = v->gdt_frames[i].n;
    c->gdt_ents = v->gdt_entries;
    c->ldt_base = v->ldt_entries ? v->ldt_base : 0;
    c->ldt_ents = v->ldt_entries;
}

s64 vcpu_context_get(const struct vcpu *v, u64 u_ctx)
{
    struct vcpu_guest_context *c;
    s64 rc;

    if (v->life < VCPU_DOWN)
        return -XEN_ENODATA;
    c = alloc_context();
    if (!c)
        return -XEN_ENOMEM;
    c->flags = VGCF_I387_VALID | (vcpu_is_kernel(v) ? VGCF_IN_KERNEL : 0) |
               (vcpu_is_up(v) ? VGCF_online : 0) |
               (v->failsafe_cb.mask_events ? VGCF_failsafe_disables_events : 0) |
               (v->syscall_cb.mask_events ? VGCF_syscall_disables_events : 0);
    c->vm_assist = v->domain->vm_assist;
    read_handlers(v, c);
    read_registers(v, c);
    read_tables(v, c);
    rc = copy_to_guest((void *)u_ctx, c, sizeof(*c));
    heap_free_pages(c, 1);
    return rc;
}
