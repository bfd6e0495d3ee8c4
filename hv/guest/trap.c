#include "base/string.h"
#include "guest/trap.h"
#include "core/insn.h"
#include "core/pte.h"
#include "guest/access.h"
#include "guest/lifecycle.h"
#include "guest/logdirty.h"
#include "guest/mmu.h"
#include "guest/regs.h"
#include "guest/segments.h"
#include "guest/switch.h"
#include "kern/irq.h"
#include "kern/panic.h"
#include "kern/tlb.h"
#include "x86/cpu.h"
#include "x86/lapic.h"
#include "x86/paging.h"

#define X86_DEBUG      1
#define X86_NMI        2
#define X86_BREAKPOINT 3
#define X86_OVERFLOW   4
#define X86_UD         6
#define X86_NM         7
#define X86_DF         8
#define X86_TS         10
#define X86_NP         11
#define X86_SS         12
#define X86_GP         13
#define X86_PF         14
#define X86_MC         18

#define PF_PRESENT BIT(0)
#define PF_WRITE   BIT(1)
#define PF_USER    BIT(2)
#define PF_RSVD    BIT(3)
#define PF_FETCH   BIT(4)

#define SELECTOR_IDT BIT(1)

#define GATE_RING(flags) ((flags)&3)
#define GATE_MASK_EVENTS BIT(2)

/* The saved registers of a visit: struct cpu_user_regs up to ss. */
#define FRAME_SIZE offsetof(struct cpu_user_regs, es)

static void enter_kernel_mode(struct vcpu *v)
{
    write_cr3(v->entry.kernel_cr3);
    count(COUNT_CR3_LOAD);
    asm volatile("swapgs");
    v->entry.kernel_mode = 1;
    *v->entry.iomap_base = (u16)v->entry.iomap_kernel;
}

static void enter_user_mode(struct vcpu *v)
{
    v->entry.kernel_mode = 0;
    *v->entry.iomap_base = TSS_NO_BITMAP;
    write_cr3(v->entry.user_cr3);
    count(COUNT_CR3_LOAD);
    asm volatile("swapgs");
}

struct bounce {
    u64 address;
    bool mask_events;
    u32 error; /* NO_ERROR_CODE: none is pushed */
};

/*
 * Frame, from low to high: rcx, r11, [error code], rip, cs | mask << 32, rflags, rsp, ss. From
 * guest user mode it goes on the kernel stack; from guest kernel mode below rsp, and cs then
 * carries ring 0 so that the kernel recognises itself.
 */
static void bounce(struct vcpu *v, struct cpu_user_regs *regs, const struct bounce *b)
{
    struct vcpu_info *info = vcpu_info(v);
    u8 mask = info->evtchn_upcall_mask;
    bool was_kernel = vcpu_is_kernel(v);
    u64 frame[8] __unset, sp;
    unsigned n = 0;

    if (was_kernel) {
        sp = regs->rsp;
    } else {
        enter_kernel_mode(v);
        sp = v->entry.kernel_sp;
    }
    frame[n++] = regs->rcx;
    frame[n++] = regs->r11;
    if (b->error != NO_ERROR_CODE)
        frame[n++] = b->error;
    frame[n++] = regs->rip;
    frame[n++] = (was_kernel ? regs->cs & ~3UL : regs->cs) | (u64)mask << 32;
    frame[n++] = (regs->rflags & ~(RFLAGS_IF | RFLAGS_IOPL)) | (mask ? 0 : RFLAGS_IF);
    frame[n++] = regs->rsp;
    frame[n++] = regs->ss;

    sp = (sp & ~15UL) - n * 8;
    if (copy_to_guest((void *)sp, frame, n * 8)) {
        domain_crash(v->domain, "vcpu %u: kernel stack at %lx is not writable", v->id, sp);
        return;
    }
    if (b->mask_events)
        info->evtchn_upcall_mask = 1;
    regs->rip = b->address;
    regs->cs = SEL_RING3_CS64;
    regs->ss = SEL_RING3_DS;
    regs->rsp = sp;
    regs->rflags &= ~(RFLAGS_TF | RFLAGS_NT | RFLAGS_RF | RFLAGS_VM | RFLAGS_AC);
    regs->rflags |= RFLAGS_IF;
}

void trap_inject(struct vcpu *v, struct cpu_user_regs *regs, unsigned vector, u32 error)
{
    const struct trap_gate *gate = &v->traps[vector];
    const struct bounce b = {gate->address, gate->flags & GATE_MASK_EVENTS, error};

    count(COUNT_FAULT_TO_GUEST);
    if (!gate->address) {
        domain_crash(v->domain, "vcpu %u: exception %u without a handler, rip %lx", v->id,
                     vector, regs->rip);
        return;
    }
    bounce(v, regs, &b);
}

void trap_inject_page_fault(struct vcpu *v, struct cpu_user_regs *regs, u64 address, u32 error)
{
    vcpu_info(v)->arch.cr2 = address;
    error &= ~(u32)PF_USER;
    if (!vcpu_is_kernel(v))
        error |= PF_USER;
    trap_inject(v, regs, X86_PF, error);
}

size_t guest_fetch(u64 rip, u8 *bytes)
{
    u64 in_page = PAGE_SIZE - (rip & (PAGE_SIZE - 1)), left;

    if (!guest_range_ok(rip, INSN_MAX_LEN))
        return 0;
    left = guest_copy_raw(bytes, (const void *)rip, INSN_MAX_LEN);
    if (!left)
        return INSN_MAX_LEN;
    return in_page < INSN_MAX_LEN && left <= INSN_MAX_LEN - in_page ? in_page : 0;
}

/*
 * 'int n' through one of our gates that ring 3 may not use. The error code would name the
 * vector, but not every CPU gets that right: the instruction tells.
 */
static bool software_interrupt(struct vcpu *v, struct cpu_user_regs *regs)
{
    u8 bytes[INSN_MAX_LEN];
    struct insn insn;
    const struct trap_gate *gate;

    if (insn_decode(bytes, guest_fetch(regs->rip, bytes), &insn) || insn.op != INSN_INT_N)
        return false;
    gate = &v->traps[insn.vector];
    if (!gate->address || (!vcpu_is_kernel(v) && GATE_RING(gate->flags) != 3))
        return false;
    regs->rip += insn.len;
    trap_inject(v, regs, insn.vector, NO_ERROR_CODE);
    return true;
}

static void general_protection(struct vcpu *v, struct cpu_user_regs *regs)
{
    if (regs->error_code & SELECTOR_IDT && software_interrupt(v, regs))
        return;
    if (!regs->error_code && emulate_privileged(v, regs))
        return;
    trap_inject(v, regs, X86_GP, regs->error_code);
}

static void page_fault(struct vcpu *v, struct cpu_user_regs *regs)
{
    u64 address = read_cr2();
    u32 error = regs->error_code;

    if (vcpu_is_kernel(v) &&
        (error & (PF_PRESENT | PF_WRITE | PF_RSVD | PF_FETCH)) == (PF_PRESENT | PF_WRITE)) {
        if (unlikely(v->domain->log_dirty) && logdirty_fault(v, address))
            return;
        if (vm_assist_on(v->domain, VMASST_TYPE_writable_pagetables) &&
            mmu_emulate_write(v, regs, address))
            return;
    }
    if (segments_ldt_fault(v, address))
        return;
    trap_inject_page_fault(v, regs, address, error);
}

static void debug_exception(struct vcpu *v, struct cpu_user_regs *regs)
{
    u64 dr6 = read_dr6();

    write_dr6(0xffff0ff0);
    v->dr[6] = (v->dr[6] & ~0xfUL) | (dr6 & 0xe00f);
    trap_inject(v, regs, X86_DEBUG, NO_ERROR_CODE);
}

static void device_not_available(struct vcpu *v, struct cpu_user_regs *regs)
{
    asm volatile("clts");
    v->cr0_ts = 0;
    trap_inject(v, regs, X86_NM, NO_ERROR_CODE);
}

static void trap_from_guest(struct vcpu *v, struct cpu_user_regs *regs)
{
    unsigned vector = regs->entry_vector;

    switch (vector) {
    case X86_GP:
        general_protection(v, regs);
        break;
    case X86_UD:
        if (!emulate_forced_cpuid(v, regs))
            trap_inject(v, regs, vector, NO_ERROR_CODE);
        break;
    case X86_NM:
        device_not_available(v, regs);
        break;
    case X86_DEBUG:
        debug_exception(v, regs);
        break;
    case X86_TS:
    case X86_NP:
    case X86_SS:
    case 17:
    case 21:
        trap_inject(v, regs, vector, regs->error_code);
        break;
    case 0x80:
        if (v->traps[vector].address)
            trap_inject(v, regs, vector, NO_ERROR_CODE);
        else {
            regs->rip -= 2;
            trap_inject(v, regs, X86_GP, 0x80 << 3 | SELECTOR_IDT);
        }
        break;
    default:
        trap_inject(v, regs, vector, NO_ERROR_CODE);
        break;
    }
}

/*
 * The iretq that leaves to the guest faulted: selectors or rip that the guest chose are bad. The
 * guest's general registers are live in this frame, the rest lies where iretq read it. The guest
 * gets the fault at the place where it wanted to go.
 */
static __noreturn void iret_fault(struct vcpu *v, const struct cpu_user_regs *fault)
{
    struct cpu_user_regs g, *regs = guest_regs();

    /* Both frames end at ss: what follows in the structure is not on the stack. */
    memcpy(&g, fault, FRAME_SIZE);
    memcpy(&g.rip, (const void *)fault->rsp, 5 * 8);
    memcpy(regs, &g, FRAME_SIZE);
    /* A selector that cannot be loaded would fault again on the way to the handler's return. */
    regs->rflags |= RFLAGS_IF;
    trap_inject(v, regs, X86_GP, fault->entry_vector == X86_PF ? 0 : fault->error_code);
    resume_guest(regs);
}

/* A write for the guest, to memory that its log of dirty pages has an eye on. */
static bool is_logged_write(const struct cpu_user_regs *regs, struct vcpu *v)
{
    return regs->entry_vector == X86_PF && v && unlikely(v->domain->log_dirty) &&
           (regs->error_code & (PF_PRESENT | PF_WRITE)) == (PF_PRESENT | PF_WRITE) &&
           guest_range_ok(read_cr2(), 1) && logdirty_fault(v, read_cr2());
}

static void trap_in_hypervisor(struct cpu_user_regs *regs)
{
    u64 fixup = extable_find(regs->rip);
    struct vcpu *v = current_vcpu(), *loaded = switch_loaded_vcpu(this_cpu());

    if (regs->entry_vector == X86_DEBUG) {
        /* A guest's breakpoint on data that we touched for it: of no interest here. */
        write_dr6(0xffff0ff0);
        return;
    }
    /* Loading a selector for the guest may be what first touches its LDT. */
    if (loaded && regs->entry_vector == X86_PF && segments_ldt_fault(loaded, read_cr2()))
        return;
    if (fixup) {
        if (!is_logged_write(regs, v))
            regs->rip = fixup;
        return;
    }
    if (regs->rip == (u64)exit_iretq && v)
        iret_fault(v, regs);
    panic_trap(regs);
}

static bool is_interrupt(unsigned vector)
{
    return vector >= 0x20 && vector != 0x80;
}

void page_fault_from_assembly(struct cpu_user_regs *regs)
{
    if (regs->cs & 3)
        page_fault(current_vcpu(), regs);
    else
        trap_in_hypervisor(regs);
}

void trap_from_assembly(struct cpu_user_regs *regs)
{
    unsigned vector = regs->entry_vector;

    if (is_interrupt(vector))
        irq_dispatch(vector);
    else if (vector == X86_NMI)
        nmi_interrupt();
    else if (vector == X86_DF || vector == X86_MC)
        panic_trap(regs);
    else if (regs->cs & 3)
        trap_from_guest(current_vcpu(), regs);
    else
        trap_in_hypervisor(regs);
}

/* A fast path had switched to guest kernel mode and then could not push its frame. */
void bounce_failed_from_assembly(struct cpu_user_regs *regs)
{
    struct vcpu *v = current_vcpu();

    domain_crash(v->domain, "vcpu %u: kernel stack at %lx is not writable", v->id,
                 v->entry.kernel_sp);
}

/* A system call of guest user mode that the fast path did not take. */
void syscall_slow_from_assembly(struct cpu_user_regs *regs)
{
    struct vcpu *v = current_vcpu();
    bool is32 = regs->entry_vector == ENTRY_SYSCALL32;
    const struct callback *cb = is32 ? &v->syscall32_cb : &v->syscall_cb;
    struct bounce b = {cb->address, cb->mask_events, NO_ERROR_CODE};

    if (!cb->address || vcpu_is_kernel(v)) {
        regs->rip -= 2;
        trap_inject(v, regs, X86_UD, NO_ERROR_CODE);
        return;
    }
    bounce(v, regs, &b);
    regs->rflags &= ~RFLAGS_DF;
}

void trap_iret(struct vcpu *v, struct cpu_user_regs *regs)
{
    struct iret_context f;

    if (v->in_nmi) {
        v->in_nmi = false;
        vcpu_update_fast_iret(v);
        softirq_raise(SOFTIRQ_VCPU); /* another one may have waited for this */
    }

    if (copy_from_guest(&f, (void *)regs->rsp, sizeof(f))) {
        domain_crash(v->domain, "vcpu %u: iret frame at %lx is not readable", v->id, regs->rsp);
        return;
    }
    if ((f.cs & 3) == 3) {
        if (!v->entry.user_cr3) {
            domain_crash(v->domain, "vcpu %u: iret to user mode without a user page table",
                         v->id);
            return;
        }
        enter_user_mode(v);
    }
    regs->rip = f.rip;
    regs->cs = (u16)f.cs | 3;
    regs->rflags = (f.rflags & ~(RFLAGS_IOPL | RFLAGS_VM)) | RFLAGS_IF | RFLAGS_MBS;
    regs->rsp = f.rsp;
    regs->ss = (u16)f.ss | 3;
    regs->rax = f.rax;
    if (f.flags & VGCF_in_syscall) {
        /* As sysret would leave them. */
        regs->rcx = f.rip;
        regs->r11 = f.rflags;
        regs->cs = (u16)f.cs == SEL_RING3_CS32 ? SEL_RING3_CS32 : SEL_RING3_CS64;
        regs->ss = SEL_RING3_DS;
    } else {
        regs->rcx = f.rcx;
        regs->r11 = f.r11;
    }
    vcpu_info(v)->evtchn_upcall_mask = !(f.rflags & RFLAGS_IF);
}

void iret_slow_from_assembly(struct cpu_user_regs *regs)
{
    trap_iret(current_vcpu(), regs);
}

static void deliver_nmi(struct vcpu *v, struct cpu_user_regs *regs)
{
    __atomic_store_n(&v->nmi_pending, false, __ATOMIC_SEQ_CST);
    if (!v->traps[X86_NMI].address)
        return;
    v->in_nmi = true;
    vcpu_update_fast_iret(v);
    trap_inject(v, regs, X86_NMI, NO_ERROR_CODE);
}

/* Everything that must happen before the guest runs again. */
void exit_work_from_assembly(struct cpu_user_regs *regs)
{
    struct vcpu *v = current_vcpu();

    /* On another CPU perhaps when it returns, hence before anything is looked at. */
    softirq_run();
    this_cpu()->softirq_pending = 0;
    if (unlikely(vcpu_must_stop(v)))
        lifecycle_stop_point(v);
    if (vcpu_has_nmi(v))
        deliver_nmi(v, regs);
    if (vcpu_info(v)->evtchn_upcall_pending && !vcpu_info(v)->evtchn_upcall_mask &&
        v->event_cb.address) {
        const struct bounce b = {v->event_cb.address, v->event_cb.mask_events, NO_ERROR_CODE};

        count(COUNT_EVENT_UPCALL);
        bounce(v, regs, &b);
    }
    if (unlikely(vcpu_must_stop(v)))
        lifecycle_stop_point(v);
}

struct cpu_user_regs *guest_regs(void)
{
    return (struct cpu_user_regs *)((u8 *)stack_info() - offsetof(struct cpu_user_regs, es));
}
