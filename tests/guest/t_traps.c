/* Traps, bounce frames, the iret hypercall, system calls. */
#include "guest.h"

#define EF_IF   0x200UL
#define EF_TF   0x100UL
#define EF_DF   0x400UL
#define EF_IOPL 0x3000UL
#define EF_NT   0x4000UL
#define EF_RF   0x10000UL
#define EF_VM   0x20000UL
#define EF_AC   0x40000UL

USER_CODE_TEXT(u_ud2, "ud2");
USER_CODE_TEXT(u_syscall, "syscall; ud2");
USER_CODE_TEXT(u_syscall_df, "std; mov $77, %eax; syscall; ud2");
USER_CODE_TEXT(u_syscall_nt, "pushf; orl $0x4000, (%rsp); popf; syscall; ud2");
USER_CODE_TEXT(u_sysenter_nt, "pushf; orl $0x4000, (%rsp); popf; sysenter; ud2");
USER_CODE_TEXT(u_sysenter, "sysenter; ud2");
USER_CODE_TEXT(u_int80, "int $0x80; ud2");
USER_CODE_TEXT(u_int20, "int $0x20; ud2");
USER_CODE_TEXT(u_int3, "int3; ud2");
USER_CODE_TEXT(u_icebp, ".byte 0xf1; ud2");
USER_CODE_TEXT(u_read, "mov (%rdi), %rax; ud2");
USER_CODE_TEXT(u_write, "mov %rsi, (%rdi); ud2");
USER_CODE_TEXT(u_jump, "jmp *%rdi");
USER_CODE_TEXT(u_flags, "pushf; pop %rax; ud2");
USER_CODE_TEXT(u_hlt, "hlt; ud2");
USER_CODE_TEXT(u_cli, "cli; ud2");
USER_CODE_TEXT(u_in, "in $0x80, %al; ud2");
USER_CODE_TEXT(u_rdmsr, "mov $0xc0000080, %ecx; rdmsr; ud2");
USER_CODE_TEXT(u_cr0, "mov %cr0, %rax; ud2");
USER_CODE_TEXT(u_push_bad, "mov %rdi, %rsp; push %rax; ud2");
USER_CODE_TEXT(u_step, "nop; nop; ud2");
USER_CODE_TEXT(k_ud2, "ud2");

/* iret into the kernel at rip, with our own choice of everything else. */
static void kernel_iret(u64 rip, u64 cs, u64 rflags, u64 flags)
{
    static u8 stack[4096] __attribute__((aligned(16)));
    struct iret_context c = {.rax = 0xa,
                             .rcx = 0xc,
                             .r11 = 0xb,
                             .flags = flags,
                             .rip = rip,
                             .cs = cs,
                             .rflags = rflags,
                             .rsp = (u64)(stack + sizeof(stack) - 8),
                             .ss = FLAT_KERNEL_SS};

    trap_clear();
    enter_context(&c, 1, 2, 3, __HYPERVISOR_iret);
}

static void user_iret(struct iret_context c)
{
    trap_clear();
    enter_context(&c, 1, 2, 3, __HYPERVISOR_iret);
}

static void table_errors(void)
{
    struct trap_info t[2] = {{.vector = 0x30, .cs = FLAT_KERNEL_CS, .address = NON_CANONICAL}};

    is(hc_set_trap_table((void *)UNMAPPED), -XEN_EFAULT, "set_trap_table: unmapped array");
    is(hc_set_trap_table((void *)HOLE_START), -XEN_EFAULT, "set_trap_table: array in the hole");
    is(hc_set_trap_table(t), -XEN_EINVAL, "set_trap_table: non-canonical handler");
}

/* XSA-8: SYSCALL from user mode before the kernel registered a callback. */
static void syscall_unregistered(void)
{
    USER_RUN(u_syscall, 0, 0, 0);
    is(trap.vec, 6, "syscall without callback is #UD");
    is(trap.r.rip, USER_CODE, "rip at the syscall instruction");
}

static void kernel_frame(void)
{
    vi->evtchn_upcall_mask = 1;
    is(EX("ud2"), 6, "ud2 in the kernel");
    is(*(u16 *)trap.r.rip, 0x0b0f, "rip at the instruction");
    is(trap.r.cs & 0xffff, FLAT_KERNEL_CS & ~3, "cs has RPL 0");
    is(trap.r.cs >> 32 & 0xff, 1, "saved mask 1");
    is(trap.r.rflags & (EF_IF | EF_IOPL | EF_TF), 0, "saved IF is the inverse of the mask");
    is(trap.r.ss, FLAT_KERNEL_SS, "ss");
    ok(trap.aligned, "frame is aligned");
    is(trap.flags & (EF_IF | EF_TF | EF_NT | EF_AC | EF_VM | EF_RF), EF_IF,
       "flags in the handler");
    vi->evtchn_upcall_mask = 0;
    EX("ud2");
    is(trap.r.cs >> 32 & 0xff, 0, "saved mask 0");
    is(trap.r.rflags & EF_IF, EF_IF, "saved IF 1");
    is(trap.mask, 0, "a plain gate leaves events on");
    trap_table_install(4);
    EX("ud2");
    is(trap.mask, 1, "gate flag 4 masks events");
    is(trap.r.cs >> 32 & 0xff, 0, "with the old mask saved");
    is(vi->evtchn_upcall_mask, 0, "iret restores the mask");
    trap_table_install(0);
    vi->evtchn_upcall_mask = 1;
    for (int off = 8; off < 32; off += 8) {
        EX("sub %0, %%rsp; " EX_TEXT("ud2") "add %0, %%rsp", : : "r"((u64)off) : "memory");
        ok(trap.aligned, "aligned from rsp %lx", (u64)trap.r.rsp & 15);
    }
}

static void exceptions(void)
{
    u64 ro = start->pt_base, zero = 0;

    is(EX("div %0", : : "r"(0UL), "a"(1UL), "d"(0UL)), 0, "#DE");
    is(EX("int3"), 3, "#BP");
    is(*(u8 *)(trap.r.rip - 1), 0xcc, "#BP rip is behind int3");
    is(EX("mov (%0), %%rax", : : "r"(NON_CANONICAL) : "rax"), 13, "non-canonical read");
    is(trap.r.ec, 0, "#GP error code 0");
    is(EX("push %%rbp; mov %0, %%rbp\n" EX_TEXT("mov (%%rbp), %%rax") "pop %%rbp",
          :
          : "r"(NON_CANONICAL)
          : "rax", "memory") &
           ~1UL,
       12, "non-canonical stack read");
    is(EX("mov %0, %%fs", : : "r"(0x1003)), 13, "a selector beyond the GDT");
    is(trap.r.ec, 0x1000, "its error code");
    is(try_read(UNMAPPED, NULL), 14, "#PF");
    is(trap.r.ec, 0, "kernel read of a hole: ec 0");
    is(trap.cr2, UNMAPPED, "cr2 in vcpu_info");
    EX("mov %%cr2, %0", : "=r"(zero));
    is(zero, UNMAPPED, "mov from cr2 agrees");
    try_write(UNMAPPED + 8, 1);
    is(trap.r.ec, 2, "kernel write of a hole: ec 2");
    try_write(ro, 1);
    is(trap.r.ec, 3, "kernel write of a read-only page: ec 3");
    is(trap.cr2, ro, "cr2");
    window_map(0, maddr_of(page_alloc()) | PTE_KERN | PTE_NX);
    kernel_iret(window(0), FLAT_KERNEL_CS & ~3, 0, 0);
    is(trap.vec, 14, "execution of an NX page");
    is(trap.r.ec, 0x11, "kernel fetch: ec 11");
    is(hc_fpu_taskswitch(1), 0, "fpu_taskswitch(1)");
    is(EX("fninit"), 7, "#NM");
    is(EX("fninit"), VEC_NONE, "and the task switch flag is off again");
    hc_fpu_taskswitch(1);
    hc_fpu_taskswitch(0);
    is(EX("fninit"), VEC_NONE, "fpu_taskswitch(0)");
}

/* The floating point faults, unmasked: one instruction each, so that the fix-up fits. */
static void fpu_exceptions(void)
{
    u16 cw = 0x37b, cw_off = 0x37f;
    u32 mxcsr = 0x1d80, mxcsr_off = 0x1f80, one[4] = {0x3f800000, 0x3f800000, 1, 1};

    asm volatile("fninit; fldcw %0; fld1; fldz; fdivrp %%st, %%st(1)" : : "m"(cw));
    is(EX("fwait"), 16, "#MF");
    asm volatile("fnclex; fldcw %0; fninit" : : "m"(cw_off));
    asm volatile("ldmxcsr %0; xorps %%xmm1, %%xmm1; movups %1, %%xmm0"
                 :
                 : "m"(mxcsr), "m"(one));
    EX("divps %%xmm1, %%xmm0", : :);
    ok(trap.vec == 19 || trap.vec == VEC_NONE, "#XM, or an emulator without it");
    asm volatile("ldmxcsr %0" : : "m"(mxcsr_off));
}

static void single_step(void)
{
    hc_set_debugreg(6, 0);
    trap_clear();
    asm volatile("pushf; orl $0x100, (%%rsp); popf; nop; nop" : : : "memory", "cc");
    is(trap.vec, 1, "single step in the kernel");
    is(trap.r.rflags & EF_TF, EF_TF, "saved TF");
    is(trap.flags & EF_TF, 0, "TF is off in the handler");
    is(hc_get_debugreg(6) & 0xe00f, 0x4000, "dr6.BS");
    trap_clear();
    asm volatile("pushf; orl $0x100, (%%rsp); popf; syscall; nop; nop"
                 :
                 : "a"(__HYPERVISOR_xen_version), "D"(0UL), "S"(0UL)
                 : "rcx", "r11", "memory", "cc");
    is(trap.vec, 1, "single step over a hypercall");
    hc_set_debugreg(6, 0);
    user_exec(u_step, 3, 0, 0, 0, EF_IF | EF_TF);
    is(trap.vec, 1, "single step in user mode");
    is(trap.r.rip, USER_CODE + 1, "after one instruction");
    USER_RUN(u_icebp, 0, 0, 0);
    ok(trap.vec == 1 || trap.vec == 6, "icebp: %s", vec_name(trap.vec));
}

/* QEMU 7.2 without KVM doubles the vector in the error code of a refused int n. */
static bool gate_error(u64 ec, unsigned n)
{
    return ec == n * 8 + 2 || ec == n * 16 + 2;
}

static void software_interrupts(void)
{
    is(EX("int $0x80"), 0x80, "int 0x80 from the kernel");
    USER_RUN(u_int80, 0, 0, 0);
    is(trap.vec, 0x80, "int 0x80 from user mode, gate DPL 3");
    is(trap.r.rip, USER_CODE + 2, "rip behind it");
    is(trap.r.cs & 3, 3, "cs has RPL 3");
    USER_RUN(u_int3, 0, 0, 0);
    is(trap.vec, 3, "int3 from user mode");
    USER_RUN(u_int20, 0, 0, 0);
    is(trap.vec, 13, "int 0x20 from user mode, gate DPL 0");
    ok(gate_error(trap.r.ec, 0x20), "error code %lx names the gate", (u64)trap.r.ec);
    is(trap.r.rip, USER_CODE, "rip at the instruction");
    trap_table_install(3);
    USER_RUN(u_int20, 0, 0, 0);
    ok(trap.vec == 0x20 || trap.vec == 0x40, "int 0x20 from user mode, gate DPL 3: %lx",
       (u64)trap.vec);
    is(trap.r.rip, USER_CODE + 2, "rip behind it");
    trap_table_install(0);
}

/* XSA-259: int n with no handler registered, any n. */
static void int_without_handlers(void)
{
    static struct trap_info few[] = {
        {6, 0, FLAT_KERNEL_CS, 0}, {13, 0, FLAT_KERNEL_CS, 0}, {14, 0, FLAT_KERNEL_CS, 0}, {0}};
    u8 code[4] = {0xcd, 0, 0x0f, 0x0b};
    unsigned bad = 0;

    for (int i = 0; i < 3; i++)
        few[i].address = (u64)trap_stubs + few[i].vector * 16;
    hc_set_trap_table(NULL);
    hc_set_trap_table(few);
    for (unsigned n = 0; n < 256; n++) {
        code[1] = n;
        if (n == 3 || n == 4)
            continue;
        user_exec(code, 4, 0, 0, 0, EF_IF);
        if (trap.vec != 13 || !gate_error(trap.r.ec, n))
            bad++, note("int %x: %s ec %lx", n, vec_name(trap.vec), (u64)trap.r.ec);
    }
    is(bad, 0, "int n without a handler is #GP for every n");
    trap_table_install(0);
}

static void user_faults(void)
{
    void *hidden = page_alloc();

    USER_RUN(u_ud2, 5, 6, 7);
    is(trap.vec, 6, "#UD in user mode");
    is(trap.r.cs & 0xffff, FLAT_USER_CS, "cs");
    is(trap.r.ss & 0xffff, FLAT_USER_SS, "ss");
    is(trap.r.rsp, USER_DATA + PAGE_SIZE, "rsp");
    is(trap.r.rflags & (EF_IF | EF_IOPL), EF_IF, "rflags");
    ok(trap.r.rdi == 5 && trap.r.rsi == 6 && trap.r.rdx == 7, "registers survive");
    USER_RUN(u_read, UNMAPPED, 0, 0);
    is(trap.vec, 14, "#PF in user mode");
    is(trap.r.ec, 4, "user read of a hole: ec 4");
    is(trap.cr2, UNMAPPED, "cr2");
    USER_RUN(u_write, UNMAPPED, 0, 0);
    is(trap.r.ec, 6, "user write of a hole: ec 6");
    USER_RUN(u_read, hidden, 0, 0);
    is(trap.r.ec & ~1UL, 4, "kernel memory is not in the user tables");
    user_map(USER_DATA + PAGE_SIZE * 2, maddr_of(hidden) | PTE_RO | PTE_NX);
    USER_RUN(u_write, USER_DATA + PAGE_SIZE * 2, 0, 0);
    is(trap.r.ec, 7, "user write of a read-only page: ec 7");
    USER_RUN(u_jump, USER_DATA + PAGE_SIZE * 2, 0, 0);
    is(trap.r.ec, 0x15, "user fetch of an NX page: ec 15");
    USER_RUN(u_read, MACH2PHYS_VIRT_START, 0, 0);
    ok(trap.vec == 14 || trap.vec == 6, "m2p from user mode: a value or a fault");
    USER_RUN(u_read, HOLE_END - PAGE_SIZE, 0, 0);
    is(trap.vec, 14, "hypervisor memory from user mode");
    is(trap.r.ec & 4, 4, "hypervisor memory: user error code");
    USER_RUN(u_jump, HOLE_END - PAGE_SIZE, 0, 0);
    is(trap.vec, 14, "jump into the hypervisor");
    is(trap.r.rip, HOLE_END - PAGE_SIZE, "jump: rip");
    USER_RUN(u_jump, NON_CANONICAL, 0, 0);
    is(trap.vec, 13, "jump to a non-canonical address");
    USER_RUN(u_push_bad, NON_CANONICAL + 0x1000, 0, 0);
    is(trap.vec & ~1UL, 12, "push to a non-canonical stack");
    USER_RUN(u_hlt, 0, 0, 0);
    is(trap.vec, 13, "hlt");
    USER_RUN(u_cli, 0, 0, 0);
    is(trap.vec, 13, "cli");
    USER_RUN(u_in, 0, 0, 0);
    is(trap.vec, 13, "in without permission");
    USER_RUN(u_rdmsr, 0, 0, 0);
    is(trap.vec, 13, "rdmsr");
    USER_RUN(u_cr0, 0, 0, 0);
    is(trap.vec, 13, "mov from cr0");
}

static void syscalls(void)
{
    callback_register(CALLBACKTYPE_syscall, syscall_stub, CALLBACKF_mask_events);
    callback_register(CALLBACKTYPE_syscall32, syscall32_stub, CALLBACKF_mask_events);
    callback_register(CALLBACKTYPE_sysenter, sysenter_stub, CALLBACKF_mask_events);
    USER_RUN(u_syscall_df, 5, 6, 7);
    is(trap.vec, VEC_SYSCALL, "syscall callback");
    is(trap.r.rax, 77, "syscall number");
    ok(trap.r.rdi == 5 && trap.r.rsi == 6 && trap.r.rdx == 7, "arguments");
    is(trap.r.rip, USER_CODE + u_syscall_df_end - u_syscall_df - 2, "rip behind the syscall");
    is(trap.r.rcx, trap.r.rip, "rcx slot is rip");
    is(trap.r.cs & 0xffff, FLAT_USER_CS, "cs");
    is(trap.r.ss & 0xffff, FLAT_USER_SS, "ss");
    is(trap.r.rflags & (EF_DF | EF_IF), EF_DF | EF_IF, "saved rflags");
    is(trap.flags & EF_DF, 0, "DF is clear in the handler");
    is(trap.mask, 1, "events are masked in the handler");
    user_exec(u_syscall, 4, 0, 0, 0, EF_IF | EF_TF);
    ok(trap.vec == VEC_SYSCALL || trap.vec == 1, "syscall under single step");
    is(trap.flags & EF_TF, 0, "TF is clear in the handler");
    /* XSA-44, 339: NT set at a fast system call. */
    USER_RUN(u_syscall_nt, 0, 0, 0);
    is(trap.vec, VEC_SYSCALL, "syscall with NT");
    is(trap.flags & EF_NT, 0, "NT is clear in the handler");
    USER_RUN(u_sysenter, 0, 0, 0);
    ok(trap.vec == VEC_SYSENTER || trap.vec == 6 || trap.vec == 13, "sysenter: %s",
       vec_name(trap.vec));
    USER_RUN(u_sysenter_nt, 0, 0, 0);
    ok(trap.vec == VEC_SYSENTER || trap.vec == 6 || trap.vec == 13, "sysenter with NT: %s",
       vec_name(trap.vec));
}

static void syscall_compat(void)
{
    struct iret_context c = {.rip = USER_CODE,
                             .cs = FLAT_USER_CS32,
                             .rflags = EF_IF,
                             .rsp = USER_DATA + PAGE_SIZE,
                             .ss = FLAT_USER_SS};

    user_load(u_syscall, 4);
    user_iret(c);
    ok(trap.vec == VEC_SYSCALL32 || trap.vec == 6, "syscall in 32-bit code: %s",
       vec_name(trap.vec));
    is(trap.r.cs & 0xffff, FLAT_USER_CS32, "32-bit cs");
    user_load(u_int80, 4);
    user_iret(c);
    is(trap.vec, 0x80, "int 0x80 in 32-bit code");
    user_load(u_ud2, 2);
    user_iret(c);
    is(trap.vec, 6, "#UD in 32-bit code");
}

static void callbacks(void)
{
    struct callback_register cb = {.type = 99, .address = (u64)event_stub};
    struct callback_unregister un = {.type = CALLBACKTYPE_event};

    refused(hc_callback(CALLBACKOP_register, &cb), "callback_op: unknown type");
    cb.type = CALLBACKTYPE_syscall;
    cb.address = NON_CANONICAL;
    refused(hc_callback(CALLBACKOP_register, &cb), "callback_op: non-canonical address");
    refused(hc_callback(CALLBACKOP_unregister, &un), "callback_op: unregister the event one");
    is(hc_callback(CALLBACKOP_register, (void *)HOLE_START), -XEN_EFAULT,
       "callback_op: argument in the hole");
    refused(hc_callback(77, &cb), "callback_op: unknown op");
    USER_RUN(u_syscall, 0, 0, 0);
    is(trap.vec, VEC_SYSCALL, "refused calls changed nothing");
}

static void iret_kernel(void)
{
    kernel_iret((u64)k_ud2, FLAT_KERNEL_CS & ~3, 0, 0);
    is(trap.vec, 6, "iret to the kernel");
    is(trap.r.rip, (u64)k_ud2, "its rip");
    ok(trap.r.rax == 0xa && trap.r.rcx == 0xc && trap.r.r11 == 0xb, "rax rcx r11 of the frame");
    ok(trap.r.rdi == 1 && trap.r.rsi == 2 && trap.r.rdx == 3, "other registers");
    is(vi->evtchn_upcall_mask, 1, "IF 0 masks events");
    kernel_iret((u64)k_ud2, FLAT_KERNEL_CS & ~3, EF_IF, 0);
    is(trap.mask, 0, "IF 1 unmasks events");
    vi->evtchn_upcall_mask = 1;
    kernel_iret((u64)k_ud2, FLAT_KERNEL_CS & ~3, EF_IF, VGCF_in_syscall);
    is(trap.vec, 6, "iret to the kernel, in_syscall");
    is(trap.r.rax, 0xa, "in_syscall: rax of the frame");
    vi->evtchn_upcall_mask = 1;
    kernel_iret((u64)k_ud2, FLAT_KERNEL_CS & ~3, EF_IOPL | EF_VM | EF_AC | EF_NT | 0x180000, 0);
    is(trap.vec, 6, "iret with IOPL, VM, AC, NT, VIF, VIP");
    is(trap.r.rflags & (EF_IOPL | EF_VM), 0, "IOPL and VM did not get through");
    is(EX("ud2"), 6, "traps still work");
}

static void iret_user(void)
{
    struct iret_context c = {.rax = 0xa,
                             .rcx = 0xc,
                             .r11 = 0xb,
                             .rip = USER_CODE,
                             .cs = FLAT_USER_CS,
                             .rflags = EF_IF,
                             .rsp = USER_DATA + PAGE_SIZE,
                             .ss = FLAT_USER_SS};

    user_load(u_ud2, 2);
    user_iret(c);
    is(trap.vec, 6, "iret to user mode");
    ok(trap.r.rax == 0xa && trap.r.rcx == 0xc && trap.r.r11 == 0xb, "rax rcx r11 of the frame");
    c.flags = VGCF_in_syscall;
    user_iret(c);
    is(trap.vec, 6, "iret to user mode by sysret");
    is(trap.r.rax, 0xa, "its rax");
    ok(trap.r.rip == USER_CODE && trap.r.rsp == c.rsp, "its rip and rsp");
    c.flags = 0;
    c.rflags = ~0UL & ~EF_TF & ~EF_AC;
    user_load(u_flags, u_flags_end - u_flags);
    user_iret(c);
    is(trap.vec, 6, "iret with all flags");
    is(trap.r.rax & (EF_IOPL | EF_VM | EF_IF), EF_IF, "no IOPL, no VM, interrupts on");
    /* XSA-202: returning with interrupts off. */
    c.rflags = 0;
    user_iret(c);
    is(trap.r.rax & EF_IF, EF_IF, "IF 0 in the frame leaves the CPU's IF on");
    is(trap.r.cs >> 32 & 0xff, 1, "it masks events instead");
}

static bool survived(void)
{
    return trap.vec == VEC_FAILSAFE || (trap.vec >= 10 && trap.vec <= 14);
}

static void iret_selectors(void)
{
    static const u16 bad_cs[] = {0x1003, 0x0003, 0xe00b, 0xe013, 0xe02b, 0xe03b, 0xe043,
                                 0xe053, 0xe06b, 0x0007, 0xfff7, 0xfffb, 0xffff};
    static const u16 bad_ss[] = {0x1003, 0x0003, 0xe00b, 0xe013, 0xe033, 0xe023,
                                 0xe043, 0xe053, 0x0007, 0xfff7, 0xfffb};
    struct iret_context c = {.rip = USER_CODE,
                             .cs = FLAT_USER_CS,
                             .rflags = EF_IF,
                             .rsp = USER_DATA + PAGE_SIZE,
                             .ss = FLAT_USER_SS};
    unsigned worked = 0;

    user_load(u_ud2, 2);
    for (unsigned i = 0; i < sizeof(bad_cs) / sizeof(bad_cs[0]); i++) {
        c.cs = bad_cs[i];
        user_iret(c);
        worked += trap.vec == 6;
        if (trap.vec == 6)
            note("cs %x works", bad_cs[i]);
        ok(survived() || trap.vec == 6, "iret with cs %x: %s", bad_cs[i], vec_name(trap.vec));
    }
    c.cs = FLAT_USER_CS;
    for (unsigned i = 0; i < sizeof(bad_ss) / sizeof(bad_ss[0]); i++) {
        c.ss = bad_ss[i];
        user_iret(c);
        worked += trap.vec == 6;
        ok(survived(), "iret with ss %x: %s", bad_ss[i], vec_name(trap.vec));
    }
    is(worked, 0, "none of them ran");
}

/* XSA-7, 215: instruction and stack pointers at the edges of the address space. */
static void iret_addresses(void)
{
    static const u64 rips[] = {NON_CANONICAL, ~0UL >> 1,    1UL << 63,    0xffff7fffffffffff,
                               HOLE_START,    HOLE_END - 2, HOLE_END - 1, 0x00007fffffffffff};
    static const u64 rsps[] = {0,
                               8,
                               NON_CANONICAL,
                               NON_CANONICAL - 8,
                               HOLE_START,
                               HOLE_START + 8,
                               HOLE_END,
                               HOLE_END - 8,
                               ~0UL,
                               0xffff7ffffffffff8,
                               3};
    struct iret_context c = {
        .cs = FLAT_USER_CS, .rflags = EF_IF, .rsp = USER_DATA + PAGE_SIZE, .ss = FLAT_USER_SS};

    user_load(u_ud2, 2);
    for (unsigned n = 0; n < 2 * sizeof(rips) / sizeof(rips[0]); n++) {
        c.flags = n & 1 ? VGCF_in_syscall : 0;
        c.rip = rips[n / 2];
        user_iret(c);
        ok(survived(), "iret to rip %lx%s: %s", c.rip, n & 1 ? " by sysret" : "",
           vec_name(trap.vec));
    }
    c.rip = USER_CODE;
    for (unsigned n = 0; n < 2 * sizeof(rsps) / sizeof(rsps[0]); n++) {
        c.flags = n & 1 ? VGCF_in_syscall : 0;
        c.rsp = rsps[n / 2];
        user_iret(c);
        ok(trap.vec == 6 && trap.r.rsp == c.rsp, "iret with rsp %lx%s", c.rsp,
           n & 1 ? " by sysret" : "");
    }
}

/* XSA-7: a syscall in the last two bytes of the lower half; rip behind it is not canonical. */
static void syscall_at_the_edge(void)
{
    u8 *page = page_alloc();
    struct iret_context c = {.rip = NON_CANONICAL - 2,
                             .cs = FLAT_USER_CS,
                             .rflags = EF_IF,
                             .rsp = USER_DATA + PAGE_SIZE,
                             .ss = FLAT_USER_SS};

    page[PAGE_SIZE - 2] = 0x0f;
    page[PAGE_SIZE - 1] = 0x05;
    user_map(NON_CANONICAL - PAGE_SIZE, maddr_of(page) | PTE_KERN);
    user_iret(c);
    ok(trap.vec == VEC_SYSCALL || survived(), "syscall at the edge: %s", vec_name(trap.vec));
    if (trap.vec == VEC_SYSCALL)
        is(trap.r.rip, NON_CANONICAL, "its saved rip");
    c.rip = NON_CANONICAL;
    c.flags = VGCF_in_syscall;
    user_iret(c);
    ok(survived(), "and back by sysret: %s", vec_name(trap.vec));
}

/* XSA-213: what follows an iret in a multicall must not run in user context. */
static void iret_in_multicall(void)
{
    struct multicall_entry calls[2] = {{.op = __HYPERVISOR_iret, .result = 0x5a5a},
                                       {.op = __HYPERVISOR_xen_version, .result = 0x5a5a}};
    struct iret_context c = {.rip = USER_CODE,
                             .cs = FLAT_USER_CS,
                             .rflags = EF_IF,
                             .rsp = USER_DATA + PAGE_SIZE,
                             .ss = FLAT_USER_SS};

    user_load(u_ud2, 2);
    trap_clear();
    enter_context(&c, (u64)calls, 2, 0, __HYPERVISOR_multicall);
    if (trap.vec == VEC_NONE)
        refused(calls[0].result, "iret in a multicall is refused");
    else
        ok(trap.vec == 6 && calls[1].result == 0x5a5a, "iret in a multicall ends it");
}

static void stack_switches(void)
{
    static u8 other[4096] __attribute__((aligned(4096)));

    is(hc_stack_switch(FLAT_KERNEL_SS, (u64)(other + sizeof(other) - 24)), 0, "stack_switch");
    USER_RUN(u_ud2, 0, 0, 0);
    is(trap.vec, 6, "a trap on the other stack");
    ok(*(u64 *)(other + sizeof(other) - 40) == trap.r.ss, "frame is there, aligned down to 16");
    refused(hc_stack_switch(FLAT_KERNEL_SS, HOLE_END), "a stack that grows into the hole");
    refused(hc_stack_switch(FLAT_KERNEL_SS, NON_CANONICAL), "one of no address");
    is(hc_stack_switch(FLAT_KERNEL_SS, HOLE_END + 4096), 0, "one above the hole");
    is(hc_stack_switch(FLAT_KERNEL_SS, 4096), 0, "one low down");
    is(hc_stack_switch(0xe028, (u64)trap_stack_top), 0, "stack_switch, ss without RPL");
    USER_RUN(u_ud2, 0, 0, 0);
    is(trap.vec, 6, "and it works");
    hc_stack_switch(FLAT_KERNEL_SS, (u64)trap_stack_top);
}

static void nmi(void)
{
    trap_clear();
    is(hc_vcpu(VCPUOP_send_nmi, 0, NULL), 0, "send_nmi");
    is(trap.vec, 2, "NMI arrived through vector 2");
    trap_clear();
    hc_vcpu(VCPUOP_send_nmi, 0, NULL);
    is(trap.vec, 2, "and a second one, after the iret of the first");
}

void test_traps(void)
{
    user_init();
    table_errors();
    syscall_unregistered();
    kernel_frame();
    exceptions();
    fpu_exceptions();
    single_step();
    software_interrupts();
    int_without_handlers();
    user_faults();
    syscalls();
    syscall_compat();
    callbacks();
    iret_kernel();
    iret_user();
    iret_selectors();
    iret_addresses();
    syscall_at_the_edge();
    iret_in_multicall();
    stack_switches();
    nmi();
}
