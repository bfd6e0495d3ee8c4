/*
 * A domain made, watched, saved and taken apart by domain 0: what the toolstack does, without it.
 */
#include "domu.h"
#include <xen/sysctl.h>

enum { ECHO = 1, COUNT, SHUTDOWN, SPIN };

#define PATTERN(n) (0x1111111111111111UL * (n))
#define FS_BASE    0x123456789000UL
#define GS_USER    0x234567890000UL
#define TSC_AUX    0xc0000103
#define AUX        0x4711

static struct domu u;
static struct vcpu_guest_context ctx;
extern char spin_loop[], spin_end[];
u64 spin_result[4];

/* Known values in registers, until r15 is made to differ from rbx. */
asm(".text\n"
    "spin: pushq %rbx; pushq %rbp; pushq %r12; pushq %r13; pushq %r14; pushq %r15\n"
    "movabs $0x1111111111111111, %rax; movq %rax, %xmm0\n"
    "lea (%rax, %rax), %rcx; lea (%rcx, %rax), %rdx; lea (%rdx, %rax), %rsi\n"
    "lea (%rsi, %rax), %rdi; lea (%rdi, %rax), %rbp\n"
    "lea (%rbp, %rax), %r8; lea (%r8, %rax), %r9; lea (%r9, %rax), %r10\n"
    "lea (%r10, %rax), %r11; lea (%r11, %rax), %r12; lea (%r12, %rax), %r13\n"
    "lea (%r13, %rax), %r14; mov %rax, %rbx; mov %rax, %r15\n"
    "movabs $domu_mail + 8, %rbp; pushq %rax; mov -8(%rbp), %rax; mov %rax, (%rbp); popq %rax\n"
    "spin_loop: cmp %rbx, %r15; je spin_loop\n"
    "spin_end: mov %r15, spin_result; movq %xmm0, spin_result + 8; mov %rdx, spin_result + 16\n"
    "popq %r15; popq %r14; popq %r13; popq %r12; popq %rbp; popq %rbx; ret");
void spin(void);

/* State of every kind, for domain 0 to find. */
static void set_state(void)
{
    struct physdev_set_iopl iopl = {.iopl = 1};

    hc_segment_base(SEGBASE_FS, FS_BASE);
    hc_segment_base(SEGBASE_GS_USER, GS_USER);
    hc_set_debugreg(0, (u64)spin_result);
    hc_vm_assist(VMASST_CMD_enable, VMASST_TYPE_writable_pagetables);
    hc_physdev(PHYSDEVOP_set_iopl, &iopl);
    callback_register(CALLBACKTYPE_syscall, syscall_stub, CALLBACKF_mask_events);
    callback_register(CALLBACKTYPE_syscall32, syscall32_stub, CALLBACKF_mask_events);
    EX("mov %%cr4, %%rax\n bts $18, %%rax\n mov %%rax, %%cr4", : : : "rax", "memory");
    EX("xsetbv", : : "c"(0), "a"(7), "d"(0) : "memory");
    EX("wrmsr", : : "c"(TSC_AUX), "a"(AUX), "d"(0) : "memory");
}
static volatile u64 counter __attribute__((aligned(4096)));

static void other_side(void)
{
    struct sched_shutdown s = {0};

    for (;;) {
        switch (domu_next()) {
        case ECHO:
            domu_reply(domu_mail.in[0] + 1);
            break;
        case COUNT:
            domu_reply(0);
            while (domu_mail.order == domu_mail.done)
                counter++;
            break;
        case SHUTDOWN:
            s.reason = domu_mail.in[0];
            domu_reply(0);
            hc_sched(SCHEDOP_shutdown, &s);
            break;
        case SPIN:
            set_state();
            domu_mail.answer = 0;
            spin(); /* it says itself that the order is done */
            break;
        default:
            domu_reply(~0UL);
            break;
        }
    }
}

static long get_context(u32 vcpu, struct vcpu_guest_context *c)
{
    struct xen_domctl op = {0};

    op.u.vcpucontext.vcpu = vcpu;
    set_xen_guest_handle(op.u.vcpucontext.ctxt, c);
    return domctl(XEN_DOMCTL_getvcpucontext, u.id, &op);
}

static long set_context(u32 vcpu, struct vcpu_guest_context *c)
{
    struct xen_domctl op = {0};

    op.u.vcpucontext.vcpu = vcpu;
    set_xen_guest_handle(op.u.vcpucontext.ctxt, c);
    return domctl(XEN_DOMCTL_setvcpucontext, u.id, &op);
}

static u64 free_pages(void)
{
    struct xen_sysctl op = {.cmd = XEN_SYSCTL_physinfo,
                            .interface_version = XEN_SYSCTL_INTERFACE_VERSION};

    return HC(sysctl, &op, 0, 0, 0, 0) ? 0 : op.u.physinfo.free_pages;
}

/* Once again what it says after a while. */
static u64 later(volatile u64 *seen)
{
    u64 end = clock_ns() + 20000000;

    while (clock_ns() < end)
        domu_doze();
    return *seen;
}

static void life(void)
{
    volatile u64 *seen;
    u64 then;

    domu_make(&u, other_side, 1);
    ok(domu_flags(&u) & XEN_DOMINF_paused, "a new domain is paused");
    is(domctl_plain(XEN_DOMCTL_pausedomain, u.id), 0, "a second pause");
    domu_run(&u);
    ok(domu_flags(&u) & XEN_DOMINF_paused, "two pauses want two unpauses");
    domu_run(&u);
    ok(!(domu_flags(&u) & XEN_DOMINF_paused), "it runs");
    is(domu_ask(&u, ECHO, 41), 42, "it answers");
    domu_ask(&u, COUNT, 0);
    seen = domu_view(&u, &counter);
    then = *seen;
    ok(later(seen) > then, "it counts");
    is(domctl_plain(XEN_DOMCTL_pausedomain, u.id), 0, "pause");
    then = *seen;
    is(later(seen), then, "paused it does not count");
    domu_run(&u);
    ok(later(seen) > then, "unpaused it does");
    domu_ask(&u, ECHO, 0);
    domu_order(&u, SHUTDOWN, SHUTDOWN_suspend);
    is(domu_await_shutdown(&u), SHUTDOWN_suspend, "it suspends itself");
    is(domctl_plain(XEN_DOMCTL_resumedomain, u.id), 0, "resume");
    is(domu_ask(&u, ECHO, 1), 2, "resumed it answers");
    domu_order(&u, SHUTDOWN, SHUTDOWN_poweroff);
    is(domu_await_shutdown(&u), SHUTDOWN_poweroff, "it powers itself off");
    ok(domu_end(&u), "destroyed it is gone");
    refused(domctl_plain(XEN_DOMCTL_pausedomain, u.id),
            "a domain that is gone cannot be paused");
}

static void make_some(unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        domu_make(&u, other_side, 1);
        if (i & 1) {
            domu_run(&u);
            domu_ask(&u, ECHO, i);
        }
        if (!domu_end(&u))
            die("a domain does not go");
    }
}

/* The first domains may leave caches filled, and stock Xen is not done when it says so. */
static void memory_returns(void)
{
    u64 before, slack = is_serai ? 0 : 100;

    if (!free_pages()) {
        skip("memory comes back", "no figure for free memory");
        return;
    }
    make_some(4);
    before = free_pages();
    make_some(6);
    ok(free_pages() + slack >= before, "all memory of a destroyed domain comes back");
}

static void check_registers(void)
{
    const struct cpu_user_regs *r = &ctx.user_regs;
    const u64 *general = &r->r15;
    /* In the order of the structure; rbp holds an address by then. */
    static const u8 want[] = {1, 13, 12, 11, 0, 1, 10, 9, 8, 7, 1, 2, 3, 4, 5};
    unsigned bad = 0;

    for (unsigned i = 0; i < sizeof(want); i++)
        bad += want[i] && general[i] != PATTERN((u64)want[i]);
    is(bad, 0, "general registers");
    ok(r->rip >= (u64)spin_loop && r->rip < (u64)spin_end, "rip");
    is(r->cs, FLAT_KERNEL_CS, "cs");
    is(r->ss, FLAT_KERNEL_SS, "ss");
    ok(r->rsp < (u64)boot_stack_top && r->rsp > (u64)boot_stack_top - 16384, "rsp");
    is(r->rflags & ~0xffUL, 0x1200, "flags, with the I/O privilege level");
    is(*(u64 *)&ctx.fpu_ctxt.x[160], PATTERN(1), "xmm0");
}

static void check_rest(void)
{
    is(ctx.flags,
       VGCF_i387_valid | VGCF_in_kernel | VGCF_online | VGCF_syscall_disables_events |
           VGCF_failsafe_disables_events,
       "flags of the context");
    is(ctx.ctrlreg[3], u.mfn[u.top_pfn] << 12, "kernel page table");
    is(ctx.ctrlreg[1], 0, "no user page table");
    is(ctx.ctrlreg[4] & 0x620, 0x620, "control register 4");
    is(ctx.gdt_ents, 0, "no descriptors");
    is(ctx.ldt_ents, 0, "no local descriptors");
    is(ctx.kernel_sp, (u64)trap_stack_top, "kernel stack");
    is(ctx.kernel_ss, FLAT_KERNEL_SS, "its segment");
    is(ctx.event_callback_eip, (u64)event_stub, "event callback");
    is(ctx.failsafe_callback_eip, (u64)failsafe_stub, "failsafe callback");
    is(ctx.syscall_callback_eip, (u64)syscall_stub, "system call callback");
    is(ctx.vm_assist, 1 << VMASST_TYPE_writable_pagetables, "assists");
    is(ctx.fs_base, FS_BASE, "fs base");
    is(ctx.gs_base_kernel, 0, "kernel gs base");
    is(ctx.gs_base_user, GS_USER, "user gs base");
    is(ctx.debugreg[0], (u64)spin_result, "debug register 0");
    is(ctx.debugreg[6], 0xffff0ff0, "debug register 6");
    is(ctx.debugreg[7], 0x400, "debug register 7");
    is(ctx.trap_ctxt[14].address, (u64)trap_stubs + 14 * 16, "trap table");
    is(ctx.trap_ctxt[14].vector, 14, "its vectors");
    is(ctx.trap_ctxt[14].cs, FLAT_KERNEL_CS, "its selectors");
    is(ctx.trap_ctxt[3].flags, 3, "its flags");
}

static void contexts(void)
{
    domu_make(&u, other_side, 2);
    is(get_context(1, &ctx), -XEN_ENODATA, "a vcpu that never had a context");
    is(get_context(2, &ctx), -XEN_EINVAL, "a vcpu that does not exist");
    is(set_context(2, &ctx), -XEN_EINVAL, "nor can it be given one");
    is(get_context(0, (void *)HOLE_START), -XEN_EFAULT, "into the hypervisor's addresses");
    domu_run(&u);
    domu_ask(&u, SPIN, 0);
    is(get_context(0, &ctx), 0, "the context of a vcpu");
    check_registers();
    check_rest();
    ctx.user_regs.r15 = 0;
    ctx.user_regs.rdx = 42;
    *(u64 *)&ctx.fpu_ctxt.x[160] = 43;
    is(set_context(0, &ctx), 0, "another context for it");
    is(domu_ask(&u, ECHO, 1), 2, "it goes on with it");
    is(*(u64 *)domu_view(&u, &spin_result[0]), 0, "r15 is the new one");
    is(*(u64 *)domu_view(&u, &spin_result[1]), 43, "xmm0 too");
    is(*(u64 *)domu_view(&u, &spin_result[2]), 42, "rdx too");
    is(domctl_plain(XEN_DOMCTL_pausedomain, u.id), 0, "pause");
    get_context(0, &ctx);
    ctx.ctrlreg[3] += PAGE_SIZE;
    is(set_context(0, &ctx), -XEN_EOPNOTSUPP, "not with another page table");
    ctx.ctrlreg[3] -= PAGE_SIZE;
    ctx.gdt_ents = 512;
    is(set_context(0, &ctx), -XEN_EOPNOTSUPP, "not with other descriptors");
    ctx.gdt_ents = 0;
    ctx.flags &= ~(u64)VGCF_in_kernel;
    refused(set_context(0, &ctx), "no user mode without a page table for it");
    ctx.ctrlreg[1] = 1;
    refused(set_context(0, &ctx), "nor with a mark for none");
    ctx.ctrlreg[1] = 0;
    ctx.flags |= VGCF_in_kernel;
    ctx.user_regs.rip = NON_CANONICAL;
    is(set_context(0, &ctx), -XEN_EINVAL, "not with a bad rip");
    domu_end(&u);
}

/* --- what the structure leaves out --- */

static void ext_contexts(void)
{
    struct xen_domctl op = {0};
    struct xen_domctl_ext_vcpucontext *e = &op.u.ext_vcpucontext;

    is(domctl(XEN_DOMCTL_get_ext_vcpucontext, u.id, &op), 0, "the extended context");
    is(e->size, sizeof(*e), "its size");
    is(e->syscall32_callback_eip, (u64)syscall32_stub, "32-bit system calls");
    is(e->syscall32_disables_events, 1, "mask events");
    is(e->sysenter_callback_eip, 0, "no sysenter");
    e->syscall32_callback_eip = (u64)syscall_stub;
    e->syscall32_disables_events = 0;
    is(domctl(XEN_DOMCTL_set_ext_vcpucontext, u.id, &op), 0, "another one");
    memset(e, 0, sizeof(*e));
    domctl(XEN_DOMCTL_get_ext_vcpucontext, u.id, &op);
    is(e->syscall32_callback_eip, (u64)syscall_stub, "is what is there then");
    is(e->syscall32_disables_events, 0, "with its flags");
    e->syscall32_callback_eip = NON_CANONICAL;
    is(domctl(XEN_DOMCTL_set_ext_vcpucontext, u.id, &op), -XEN_EINVAL, "not a bad address");
    e->syscall32_callback_eip = 0;
    e->size = 8;
    is(domctl(XEN_DOMCTL_set_ext_vcpucontext, u.id, &op), -XEN_EINVAL, "not half of it");
    e->size = sizeof(*e);
    e->vcpu = 7;
    refused(domctl(XEN_DOMCTL_set_ext_vcpucontext, u.id, &op),
            "not of a vcpu that is not there");
}

static long xstate_op(unsigned cmd, u64 mask, u64 size, void *buffer, struct xen_domctl *op)
{
    memset(op, 0, sizeof(*op));
    op->u.vcpuextstate.xfeature_mask = mask;
    op->u.vcpuextstate.size = size;
    set_xen_guest_handle(op->u.vcpuextstate.buffer, buffer);
    return domctl(cmd, u.id, op);
}

/* xcr0, xcr0_accum, legacy area from 16, header from 528. */
static u64 state[1024], good[1024];

static long set_state_with(unsigned at, u64 value, u64 size)
{
    struct xen_domctl op;

    memcpy(state, good, sizeof(good));
    state[at] = value;
    return xstate_op(XEN_DOMCTL_setvcpuextstate, 0, size, state, &op);
}

static void hostile_xstates(u64 size)
{
    is(set_state_with(0, good[0], size), 0, "the same state again");
    is(set_state_with(0, 0, size), -XEN_EINVAL, "no XCR0 of 0");
    is(set_state_with(0, 2, size), -XEN_EINVAL, "none without x87");
    is(set_state_with(0, 5, size), -XEN_EINVAL, "no AVX without SSE");
    is(set_state_with(0, good[0] | 1UL << 62, size), -XEN_EINVAL, "no unknown component");
    is(set_state_with(1, 1UL << 8 | good[1], size), -XEN_EINVAL, "none of the supervisor's");
    is(set_state_with(66, 1UL << 63, size), -XEN_EINVAL, "none beyond what was enabled");
    refused(set_state_with(67, 1UL << 63, size), "no compacted form");
    refused(set_state_with(68, 1, size), "nothing in the reserved bytes");
    refused(set_state_with(73, 1, size), "nothing in the last of them");
    is(set_state_with(0, good[0], size + 8), -XEN_EINVAL, "not more than there can be");
    is(set_state_with(0, good[0], 528), -XEN_EINVAL, "not less than the header");
    refused(set_state_with(0, good[0], 0), "not nothing");
    /* Stock Xen finds out when it loads the state. */
    if (is_serai)
        is(set_state_with(5, 0xffffffffUL, size), -XEN_EINVAL, "no reserved bits of MXCSR");
}

static void xstates(void)
{
    struct xen_domctl op;
    u64 mask, size;

    is(xstate_op(XEN_DOMCTL_getvcpuextstate, 0, 0, NULL, &op), 0, "size of the extended state");
    mask = op.u.vcpuextstate.xfeature_mask;
    size = op.u.vcpuextstate.size;
    note("mask %lx, size %lu", mask, size);
    if (!mask)
        return;
    ok(size >= 592 && size < sizeof(state), "its size is plausible");
    if (is_serai)
        refused(xstate_op(XEN_DOMCTL_getvcpuextstate, mask, size - 8, good, &op),
                "a smaller buffer");
    refused(xstate_op(XEN_DOMCTL_getvcpuextstate, mask ^ 1, size, good, &op), "another mask");
    is(xstate_op(XEN_DOMCTL_getvcpuextstate, mask, size, good, &op), 0, "the extended state");
    size = op.u.vcpuextstate.size;
    note("size %lu, xcr0 %lx, %lx ever, components %lx", size, good[0], good[1], good[66]);
    ok(good[0] & 1 && !(good[0] & ~good[1]) && !(good[1] & ~mask), "XCR0 and its history");
    is(good[66] & ~good[1], 0, "its components");
    is(good[2 + 20], PATTERN(1), "xmm0 in it");
    hostile_xstates(size);
    is(set_state_with(2 + 20, 44, size), 0, "another xmm0");
}

static long msrs_op(unsigned cmd, struct xen_domctl_vcpu_msr *m, u32 n, struct xen_domctl *op)
{
    memset(op, 0, sizeof(*op));
    op->u.vcpu_msrs.msr_count = n;
    set_xen_guest_handle(op->u.vcpu_msrs.msrs, m);
    return domctl(cmd, u.id, op);
}

static void msrs(void)
{
    static struct xen_domctl_vcpu_msr m[64];
    struct xen_domctl op;
    u32 count, n;

    is(msrs_op(XEN_DOMCTL_get_vcpu_msrs, NULL, 0, &op), 0, "how many registers there can be");
    count = op.u.vcpu_msrs.msr_count;
    ok(count && count <= 64, "their number is plausible");
    is(msrs_op(XEN_DOMCTL_get_vcpu_msrs, m, 0, &op), -XEN_ENOBUFS, "no room for them");
    is(msrs_op(XEN_DOMCTL_get_vcpu_msrs, m, count, &op), 0, "the registers");
    n = op.u.vcpu_msrs.msr_count;
    is(n, 1, "only what is not 0");
    is(m[0].index, TSC_AUX, "it is the one that was set");
    is(m[0].value, AUX, "and its value");
    m[0].value = AUX + 1;
    is(msrs_op(XEN_DOMCTL_set_vcpu_msrs, m, 1, &op), 0, "another value");
    m[0].value = 0;
    msrs_op(XEN_DOMCTL_get_vcpu_msrs, m, 1, &op);
    is(m[0].value, AUX + 1, "is what is there then");
    m[1].index = 0x1b;
    is(msrs_op(XEN_DOMCTL_set_vcpu_msrs, m, 2, &op), -XEN_EINVAL, "not any register");
    is(op.u.vcpu_msrs.msr_count, 1, "and which one was wrong");
    m[0].value = 1UL << 32;
    is(msrs_op(XEN_DOMCTL_set_vcpu_msrs, m, 1, &op), -XEN_EINVAL, "not more than 32 bits");
}

static void other_state(void)
{
    domu_make(&u, other_side, 1);
    domu_run(&u);
    domu_ask(&u, SPIN, 0);
    ext_contexts();
    xstates();
    msrs();
    get_context(0, &ctx);
    is(*(u64 *)&ctx.fpu_ctxt.x[160], 44, "the context has the xmm0 of the extended state");
    ctx.user_regs.r15 = 0;
    ctx.flags &= ~(u64)VGCF_i387_valid;
    is(set_context(0, &ctx), 0, "back into its loop");
    is(domu_ask(&u, ECHO, 1), 2, "it goes on");
    is(*(u64 *)domu_view(&u, &spin_result[1]), 0, "with an FPU as after reset");
    domu_end(&u);
}

void test_twodom(void)
{
    life();
    contexts();
    other_state();
    memory_returns();
}
