/*
 * Privileged instructions of a guest kernel, which runs in ring 3: they fault, we do what the
 * processor would, within the limits of the policies in core/.
 */
#include "base/string.h"
#include "core/insn.h"
#include "core/msr_policy.h"
#include "core/pte.h"
#include "guest/access.h"
#include "guest/debugreg.h"
#include "guest/frame.h"
#include "guest/ioports.h"
#include "guest/policy.h"
#include "guest/regs.h"
#include "guest/trap.h"
#include "kern/timer.h"
#include "x86/cpu.h"
#include "x86/cpu_setup.h"
#include "x86/tsc.h"

static void do_cpuid(struct vcpu *v, struct cpu_user_regs *regs)
{
    struct cpuid_regs r;

    policy_cpuid(v, regs->eax, regs->ecx, &r);
    regs->rax = r.eax;
    regs->rbx = r.ebx;
    regs->rcx = r.ecx;
    regs->rdx = r.edx;
    count(COUNT_EMUL_CPUID);
}

bool emulate_forced_cpuid(struct vcpu *v, struct cpu_user_regs *regs)
{
    static const u8 prefix[7] = {0x0f, 0x0b, 'x', 'e', 'n', 0x0f, 0xa2};
    u8 bytes[INSN_MAX_LEN];

    if (guest_fetch(regs->rip, bytes) < sizeof(prefix) || memcmp(bytes, prefix, sizeof(prefix)))
        return false;
    do_cpuid(v, regs);
    regs->rip += sizeof(prefix);
    return true;
}

static void msr_input(const struct vcpu *v, struct msr_policy_in *in)
{
    *in = (struct msr_policy_in){
        .vendor = cpuid_host.vendor,
        .hwdom = v->domain->is_hardware,
        .rdtscp = cpu_features.rdtscp,
        .vcpu_id = v->id,
        .mca_banks = 2, /* as stock Xen's guests have, and go on to read when they come here */
        .efer = EFER_SCE | EFER_LME | EFER_LMA | (cpu_features.nx ? EFER_NXE : 0),
        .pat = HV_PAT,
    };
}

/* There is such a register, the policy does not know it, and the domain was promised no fault. */
static bool is_left_out(const struct vcpu *v, u32 msr, const struct msr_policy_in *in)
{
    u64 val;

    return v->domain->msr_relaxed && msr_policy_read(msr, in, &val) == MSR_GP &&
           rdmsr_safe(msr, &val) == 0;
}

static bool do_rdmsr(struct vcpu *v, struct cpu_user_regs *regs)
{
    struct msr_policy_in in;
    u32 msr = regs->ecx;
    u64 val = 0;

    count(COUNT_EMUL_RDMSR);
    msr_input(v, &in);
    switch (msr_policy_read(msr, &in, &val)) {
    case MSR_VALUE:
        break;
    case MSR_PASS_READ:
        if (rdmsr_safe(msr, &val))
            return false;
        break;
    case MSR_VCPU_FS_BASE:
        val = rdmsr(IA32_FS_BASE);
        break;
    case MSR_VCPU_GS_BASE:
        val = rdmsr(IA32_GS_BASE);
        break;
    case MSR_VCPU_KERNEL_GS_BASE:
        val = rdmsr(IA32_KERNEL_GS_BASE);
        break;
    case MSR_VCPU_TSC:
        val = rdtsc();
        break;
    case MSR_VCPU_TSC_AUX:
        val = rdmsr(IA32_TSC_AUX);
        break;
    default:
        if (!is_left_out(v, msr, &in))
            return false;
    }
    regs->rax = (u32)val;
    regs->rdx = val >> 32;
    return true;
}

static bool same_as_now(u32 msr, u64 val, const struct msr_policy_in *in)
{
    u64 now;

    if (msr_policy_read(msr, in, &now) == MSR_VALUE)
        return now == val;
    return rdmsr_safe(msr, &now) == 0 && now == val;
}

static bool do_wrmsr(struct vcpu *v, struct cpu_user_regs *regs)
{
    struct msr_policy_in in;
    u32 msr = regs->ecx;
    u64 val = (u64)regs->edx << 32 | regs->eax;

    count(COUNT_EMUL_WRMSR);
    msr_input(v, &in);
    switch (msr_policy_write(msr, val, &in)) {
    case MSR_IGNORE:
        return true;
    case MSR_IGNORE_IF_SAME:
        return same_as_now(msr, val, &in);
    case MSR_VCPU_FS_BASE:
        wrmsr(IA32_FS_BASE, val);
        return true;
    case MSR_VCPU_GS_BASE:
        wrmsr(IA32_GS_BASE, val);
        return true;
    case MSR_VCPU_KERNEL_GS_BASE:
        wrmsr(IA32_KERNEL_GS_BASE, val);
        return true;
    case MSR_VCPU_TSC_AUX:
        return wrmsr_safe(IA32_TSC_AUX, val) == 0;
    default:
        return is_left_out(v, msr, &in);
    }
}

static bool read_cr(struct vcpu *v, unsigned cr, u64 *val)
{
    switch (cr) {
    case 0:
        *val = (read_cr0() & ~CR0_TS) | v->cr0_ts;
        return true;
    case 2:
        *val = *guest_cr2(v);
        return true;
    case 3:
        *val = v->entry.kernel_cr3;
        return true;
    case 4:
        *val = v->cr4 | CR4_VISIBLE;
        return true;
    default:
        return false;
    }
}

static void set_ts(struct vcpu *v, bool ts)
{
    v->cr0_ts = ts ? CR0_TS : 0;
    if (ts)
        write_cr0(read_cr0() | CR0_TS);
    else
        asm volatile("clts");
}

static bool write_cr(struct vcpu *v, unsigned cr, u64 val)
{
    switch (cr) {
    case 0:
        set_ts(v, val & CR0_TS);
        return true;
    case 2:
        *guest_cr2(v) = val;
        return true;
    case 4:
        /* What changes how the guest's own instructions behave is made real (XSA-293). */
        v->cr4 = val & CR4_GUEST;
        write_cr4((read_cr4() & ~cpu_guest_cr4()) | (v->cr4 & cpu_guest_cr4()));
        return true;
    default:
        /* CR3 changes by hypercall only. */
        return false;
    }
}

static bool do_control_register(struct vcpu *v, const struct insn *insn, struct insn_regs *r)
{
    u64 val = 0;

    count(COUNT_EMUL_CR);
    switch (insn->op) {
    case INSN_MOV_FROM_CR:
        if (!read_cr(v, insn->reg, &val))
            return false;
        r->gpr[insn->gpr] = val;
        return true;
    case INSN_MOV_TO_CR:
        return write_cr(v, insn->reg, r->gpr[insn->gpr]);
    case INSN_CLTS:
        set_ts(v, false);
        return true;
    default:
        return false;
    }
}

int xsetbv_safe(u64 value);

static bool do_xsetbv(struct vcpu *v, const struct cpu_user_regs *regs)
{
    u64 val = (u64)regs->edx << 32 | regs->eax;

    count(COUNT_EMUL_XSETBV);
    if (regs->ecx || !cpuid_policy_may_set_xcr0(val, policy_xcr0(v->domain)))
        return false;
    if (xsetbv_safe(val))
        return false;
    v->xcr0 = val;
    return true;
}

/* Debug registers by instruction: the same as by hypercall. */
static bool do_debug_register(struct vcpu *v, const struct insn *insn, struct insn_regs *r)
{
    count(COUNT_EMUL_DR);
    if (insn->op == INSN_MOV_FROM_DR && insn->reg <= 7) {
        r->gpr[insn->gpr] = v->dr[insn->reg];
        return true;
    }
    if (insn->op != INSN_MOV_TO_DR || debugreg_check(insn->reg, r->gpr[insn->gpr]))
        return false;
    debugreg_set(v, insn->reg, r->gpr[insn->gpr]);
    return true;
}

static bool emulate_kernel_only(struct vcpu *v, const struct insn *insn,
                                struct cpu_user_regs *regs, struct insn_regs *r)
{
    bool ok;

    switch (insn->op) {
    case INSN_RDMSR:
    case INSN_WRMSR:
        regs_from_insn(regs, r);
        ok = insn->op == INSN_RDMSR ? do_rdmsr(v, regs) : do_wrmsr(v, regs);
        regs_to_insn(regs, r);
        return ok;
    case INSN_MOV_FROM_CR:
    case INSN_MOV_TO_CR:
    case INSN_CLTS:
        return do_control_register(v, insn, r);
    case INSN_MOV_FROM_DR:
    case INSN_MOV_TO_DR:
        return do_debug_register(v, insn, r);
    case INSN_XSETBV:
        return do_xsetbv(v, regs);
    case INSN_WBINVD:
        if (v->domain->is_hardware)
            asm volatile("wbinvd" : : : "memory");
        return true;
    case INSN_CLI:
    case INSN_STI:
        /*
         * A kernel with I/O privilege may execute them; its interrupts are events, masked in
         * vcpu_info, so there is nothing to do.
         */
        return v->iopl >= 1;
    default:
        return false;
    }
}

bool emulate_privileged(struct vcpu *v, struct cpu_user_regs *regs)
{
    u8 bytes[INSN_MAX_LEN];
    struct insn insn;
    struct insn_regs r;

    if (insn_decode(bytes, guest_fetch(regs->rip, bytes), &insn))
        return false;
    if (insn.op == INSN_IN || insn.op == INSN_OUT || insn.op == INSN_INS ||
        insn.op == INSN_OUTS)
        return ioports_emulate(v, &insn, regs);
    if (!vcpu_is_kernel(v))
        return false;
    regs_to_insn(regs, &r);
    if (!emulate_kernel_only(v, &insn, regs, &r))
        return false;
    r.rip += insn.len;
    regs_from_insn(regs, &r);
    return true;
}
