/*
 * Behaviours of the ABI that kernels rely on now and then, and that the other groups leave out:
 * hypercalls, traps, descriptors, instructions, CPUID. docs/abi-tests.md tells where each of the
 * rest is checked.
 */
#include "more.h"
#include <xen/nmi.h>

USER_CODE_TEXT(u_ud2, "ud2");
USER_CODE_TEXT(u_syscall, "syscall; ud2");
USER_CODE_TEXT(u_int4, "int $4; ud2");
USER_CODE_TEXT(u_popf, "pushf; andl $~0x200, (%rsp); popf; pushf; pop %rax; ud2");

#define EF_IF 0x200UL
#define EF_DF 0x400UL
#define EF_AC 0x40000UL

/* --- hypercalls and multicalls --- */

/* Each entry of a batch sees what the ones before it did. */
static void multicall_order(void)
{
    u8 *one = page_alloc(), *two = page_alloc();
    u64 va = window(0);
    struct multicall_entry m[4] = {
        {.op = __HYPERVISOR_xen_version, .args = {XENVER_capabilities, va}},
        {.op = __HYPERVISOR_update_va_mapping,
         .args = {va, maddr_of(two) | PTE_KERN, UVMF_INVLPG}},
        {.op = __HYPERVISOR_xen_version, .args = {XENVER_extraversion, va}},
        {.op = __HYPERVISOR_update_va_mapping, .args = {va, 0, UVMF_INVLPG}}};

    window_map(0, maddr_of(one) | PTE_KERN);
    is(hc_multicall(m, 4), 0, "multicall that maps another page in between");
    ok(has_prefix((char *)one, "xen-3.0"), "its first result went to the first page");
    ok(two[0] && !has_prefix((char *)two, "xen-3.0"), "its third to the second page");
    is(try_read(va, NULL), 14, "and its last entry unmapped it");
    page_free(one), page_free(two);
}

static void assists(void)
{
    static const u8 known[] = {
        VMASST_TYPE_4gb_segments,         VMASST_TYPE_writable_pagetables,
        VMASST_TYPE_pae_extended_cr3,     VMASST_TYPE_architectural_iopl,
        VMASST_TYPE_runstate_update_flag, VMASST_TYPE_m2p_strict};

    for (unsigned i = 0; i < sizeof(known); i++)
        ok(!hc_vm_assist(VMASST_CMD_enable, known[i]) &&
               !hc_vm_assist(VMASST_CMD_disable, known[i]),
           "vm_assist type %u", known[i]);
    is(hc_vm_assist(VMASST_CMD_enable, 31), -XEN_EINVAL, "vm_assist type 31");
    is(hc_vm_assist(VMASST_CMD_enable, 77), -XEN_EINVAL, "vm_assist type 77");
    is(hc_vm_assist(9, VMASST_TYPE_writable_pagetables), -XEN_ENOSYS, "vm_assist command 9");
    hc_vm_assist(VMASST_CMD_enable, VMASST_TYPE_writable_pagetables);
    is(HC(xenpmu_op, 0, UNMAPPED, 0, 0, 0) < 0, true, "no performance counters");
}

/* --- traps --- */

static struct iret_context user_context(u64 cs, u64 rflags, u64 flags)
{
    return (struct iret_context){.rip = USER_CODE,
                                 .cs = cs,
                                 .rflags = rflags,
                                 .flags = flags,
                                 .rsp = USER_DATA + PAGE_SIZE,
                                 .ss = FLAT_USER_SS};
}

static void user_iret(struct iret_context c)
{
    trap_clear();
    enter_context(&c, 1, 2, 3, __HYPERVISOR_iret);
}

static void sysret_selectors(void)
{
    user_load(u_ud2, u_ud2_end - u_ud2);
    user_iret(user_context(FLAT_USER_CS, EF_IF, VGCF_in_syscall));
    is(trap.r.cs & 0xffff, FLAT_USER_CS, "sysret to 64-bit code: cs");
    is(trap.r.ss & 0xffff, FLAT_USER_SS, "its ss");
    user_iret(user_context(FLAT_USER_CS32, EF_IF, VGCF_in_syscall));
    is(trap.r.cs & 0xffff, FLAT_USER_CS32, "sysret to 32-bit code: cs");
    is(trap.r.ss & 0xffff, FLAT_USER_SS, "its ss");
}

static void handler_flags(void)
{
    callback_register(CALLBACKTYPE_syscall, syscall_stub, CALLBACKF_mask_events);
    user_exec(u_syscall, u_syscall_end - u_syscall, 0, 0, 0, EF_IF | EF_DF | EF_AC);
    is(trap.vec, VEC_SYSCALL, "syscall with DF and AC");
    is(trap.flags & (EF_DF | EF_AC), 0, "both are clear in the handler");
    is(trap.r.rflags & (EF_DF | EF_AC), EF_DF | EF_AC, "and set in the frame");
    user_exec(u_ud2, u_ud2_end - u_ud2, 0, 0, 0, EF_IF | EF_DF | EF_AC);
    is(trap.flags & EF_AC, 0, "AC is clear in the handler of a fault");
    is(trap.flags & EF_DF, EF_DF, "DF is not touched there");
    callback_register(CALLBACKTYPE_syscall, syscall_stub, 0);
    USER_RUN(u_syscall, 0, 0, 0);
    is(trap.mask, 0, "a callback without the flag leaves events on");
    vi->evtchn_upcall_mask = 1;
}

static void trap_tables(void)
{
    struct trap_info one[2] = {
        {.vector = 6, .cs = FLAT_KERNEL_CS, .address = (u64)trap_stubs + 77 * 16}};

    is(hc_set_trap_table(one), 0, "a table of one entry");
    USER_RUN(u_ud2, 0, 0, 0);
    is(trap.vec, 77, "replaces that one");
    is(try_read(UNMAPPED, NULL), 14, "and leaves the others");
    trap_table_install(0);
    USER_RUN(u_int4, 0, 0, 0);
    is(trap.vec, 4, "int 4 from user mode, gate DPL 3");
}

static void old_callbacks(void)
{
    is(HC(set_callbacks, event_stub, failsafe_stub, sysenter_stub, 0, 0), 0, "set_callbacks");
    USER_RUN(u_syscall, 0, 0, 0);
    is(trap.vec, VEC_SYSENTER, "the syscall callback is the one given");
    callback_register(CALLBACKTYPE_syscall, syscall_stub, CALLBACKF_mask_events);
    callback_register(CALLBACKTYPE_event, event_stub, CALLBACKF_mask_events);
    callback_register(CALLBACKTYPE_failsafe, failsafe_stub, CALLBACKF_mask_events);
}

/* An NMI handler that sends itself another, once. */
extern char nmi_stub_twice[];
void nmi_twice(void);
static volatile unsigned nmis, nmi_depth, nmi_deepest;

asm(".pushsection .text\n"
    "nmi_stub_twice:\n"
    "pop %rcx; pop %r11\n"
    "push %rax; push %rcx; push %rdx; push %rsi; push %rdi; push %r8; push %r9; push %r10\n"
    "push %r11; push %rbp; mov %rsp, %rbp; and $-16, %rsp\n"
    "call nmi_twice\n"
    "mov %rbp, %rsp; pop %rbp; pop %r11; pop %r10; pop %r9; pop %r8; pop %rdi; pop %rsi\n"
    "pop %rdx; pop %rcx; pop %rax\n"
    "push $0; push %rcx; push %r11; push %rax; mov $23, %eax; syscall\n"
    ".popsection");

void nmi_twice(void)
{
    if (++nmi_depth > nmi_deepest)
        nmi_deepest = nmi_depth;
    if (nmis++ == 0) {
        hc_vcpu(VCPUOP_send_nmi, 0, NULL);
        hc_version(XENVER_version, NULL);
    }
    nmi_depth--;
}

static void nmis_nest_not(void)
{
    struct trap_info t[2] = {
        {.vector = 2, .cs = FLAT_KERNEL_CS, .address = (u64)nmi_stub_twice}};

    hc_set_trap_table(t);
    is(hc_vcpu(VCPUOP_send_nmi, 0, NULL), 0, "send_nmi");
    is(nmis, 2, "an NMI that is sent in the handler of one arrives");
    is(nmi_deepest, 1, "after that one's iret");
    trap_table_install(0);
}

static void nmi_callback(void)
{
    struct xennmi_callback cb = {.handler_address = (u64)sysenter_stub};

    is(HC(nmi_op, XENNMI_register_callback, &cb, 0, 0, 0), 0, "nmi_op");
    trap_clear();
    hc_vcpu(VCPUOP_send_nmi, 0, NULL);
    is(trap.vec, VEC_SYSENTER, "an NMI goes to the callback");
    is(HC(nmi_op, XENNMI_unregister_callback, 0, 0, 0, 0), 0, "nmi_op unregister");
    trap_table_install(0);
    trap_clear();
    hc_vcpu(VCPUOP_send_nmi, 0, NULL);
    is(trap.vec, 2, "and to the trap table again");
}

/* An event that is pending when user mode is entered comes before its first instruction. */
static void upcall_at_iret(void)
{
    struct evtchn_bind_ipi b = {.vcpu = 0};
    struct evtchn_send s;
    u64 seen = events_seen;

    hc_evtchn(EVTCHNOP_bind_ipi, &b);
    s.port = b.port;
    port_mask(b.port, false);
    vi->evtchn_upcall_mask = 1;
    hc_evtchn(EVTCHNOP_send, &s);
    is(events_seen, seen, "an event waits while they are masked");
    USER_RUN(u_ud2, 0, 0, 0);
    is(events_seen, seen + 1, "iret with IF brings it");
    is(event_rip, USER_CODE, "before the first instruction");
    is(trap.vec, 6, "which then runs");
    vi->evtchn_upcall_mask = 1;
    port_clear(b.port);
    hc_evtchn(EVTCHNOP_close, &(struct evtchn_close){.port = b.port});
}

/* --- descriptors --- */

static void descriptor_pages(void)
{
    u64 *one = page_alloc(), *two = page_alloc();

    set_ro(one), set_ro(two);
    is(hc_set_gdt((u64[]){mfn_of(one)}, 512), 0, "a GDT");
    is(hc_set_gdt((u64[]){mfn_of(two)}, 512), 0, "another in its place");
    is(set_rw(one), 0, "frees the first");
    refused(set_rw(two), "not the second");
    is(hc_set_gdt((u64[]){mfn_of(two), mfn_of(two)}, 1024), 0, "one page twice");
    is(hc_set_gdt(NULL, 0), 0, "no GDT");
    is(set_rw(two), 0, "frees all");
    page_free(one), page_free(two);
}

/* Loading other page tables takes the LDT's pages out of use. */
static void ldt_and_base(void)
{
    u64 *ldt = page_alloc(), *l4 = page_alloc(), sel = 0;

    memcpy(l4, l4_table(), PAGE_SIZE);
    memset(l4 + 256, 0, 16 * 8);
    ldt[1] = 0x00cff2000000ffff;
    if (make_table(4, l4) || set_ro(ldt))
        die("cannot make a table");
    is(mmuext(MMUEXT_SET_LDT, (u64)ldt, 512), 0, "an LDT");
    is(EX("mov %0, %%es", : : "r"(0x0f)), VEC_NONE, "a selector of it");
    EX("mov %%es, %0", : "=r"(sel));
    is(sel & 0xffff, 0x0f, "is loaded");
    EX("mov %0, %%es", : : "r"(0));
    refused(set_rw(ldt), "its page is in use");
    is(mmuext(MMUEXT_NEW_BASEPTR, mfn_of(l4), 0), 0, "new_baseptr");
    is(set_rw(ldt), 0, "lets go of it");
    mmuext(MMUEXT_SET_LDT, 0, 0);
    mmuext(MMUEXT_NEW_BASEPTR, mfn_of(l4_table()), 0);
    set_rw(ldt);
    drop_table(l4);
    page_free(ldt);
}

/* --- instructions --- */

static void flag_instructions(void)
{
    u64 flags = 0;

    is(EX("cli"), 13, "cli in the kernel is #GP");
    is(EX("sti"), 13, "so is sti");
    asm volatile("pushf; andl $~0x200, (%%rsp); popf; pushf; pop %0" : "=r"(flags));
    is(flags & EF_IF, EF_IF, "popf leaves IF");
    USER_RUN(u_popf, 0, 0, 0);
    is(trap.r.rax & EF_IF, EF_IF, "in user mode too");
}

static void plain_instructions(void)
{
    u64 buf[2] = {0}, a = 0, b = 0, dr = 1;

    is(EX("sgdt (%0)", : : "r"(buf) : "memory"), VEC_NONE, "sgdt");
    is(EX("sidt (%0)", : : "r"(buf) : "memory"), VEC_NONE, "sidt");
    is(EX("sldt %0", : "=r"(a)), VEC_NONE, "sldt");
    is(EX("str %0", : "=r"(a)), VEC_NONE, "str");
    is(EX("smsw %0", : "=r"(a)), VEC_NONE, "smsw");
    is(EX("rdtsc", : "=a"(a) : : "rdx"), VEC_NONE, "rdtsc");
    is(EX("rdtscp", : "=a"(b) : : "rcx", "rdx"), VEC_NONE, "rdtscp");
    is(EX("rdpmc", : : "c"(0) : "rax", "rdx"), 13, "rdpmc is #GP");
    is(EX("wbinvd"), VEC_NONE, "wbinvd");
    hc_set_debugreg(1, 0x1234);
    is(EX("mov %%db1, %0", : "=r"(dr)), VEC_NONE, "mov from dr1");
    is(dr, 0x1234, "its value");
    is(EX("mov %0, %%db1", : : "r"(0x5678UL)), VEC_NONE, "mov to dr1");
    is(hc_get_debugreg(1), 0x5678, "its value");
    hc_set_debugreg(1, 0);
}

static void some_msrs(void)
{
    u64 val = 0, aux = 0;

    ok(rdmsr(0x8b, &val), "rdmsr 8b, microcode revision");
    ok(rdmsr(0x179, &val), "rdmsr MCG_CAP");
    is(val & 0xff, 2, "two banks for machine checks");
    ok(rdmsr(0x401, &val) && !val && rdmsr(0x405, &val) && !val && wrmsr(0x405, 0),
       "they are empty, and may be cleared");
    rdmsr(0x1b, &val);
    ok(!wrmsr(0x1b, val ^ 0x800) || (rdmsr(0x1b, &aux) && aux == val),
       "wrmsr APIC_BASE, switched off, has no effect");
    if (wrmsr(0xc0000103, 0x77)) {
        EX("rdtscp", : "=c"(aux) : : "rax", "rdx");
        is((u32)aux, 0x77, "TSC_AUX");
    } else
        skip("TSC_AUX", "not offered");
    ok(!rdmsr(0x12345678, &val), "an unknown MSR is #GP");
}

/* --- cpuid --- */

static void cpuids(void)
{
    u32 r[4];
    u64 khz;

    cpuid(0, 0, r);
    if (r[0] >= 0xa) {
        cpuid(0xa, 0, r);
        is(r[0] & 0xff, 0, "no performance counters");
    }
    cpuid(1, 0, r);
    is(r[3] & (1 << 11 | 1 << 17 | 1 << 21), 0, "no SEP, PSE36, DS");
    is(r[2] & (1 << 26 | 1 << 27), 3 << 26, "XSAVE and OSXSAVE, whatever CR4 says");
    cpuid(0x80000001, 0, r);
    is(r[3] & (1 << 11 | 1 << 20 | 1 << 29), 1 << 11 | 1 << 20 | 1 << 29,
       "SYSCALL, NX, long mode");
    cpuid(0x40000003, 0, r);
    khz = r[2];
    ok((khz > 100000 && khz < 20000000) || !is_serai, "leaf 3: %lu kHz", khz);
    is(r[0] & 1, 0, "leaf 3: the TSC is not emulated");
    cpuid(0x40000000, 0, r);
    if (r[0] >= 0x40000005) {
        cpuid(0x40000005, 0, r);
        ok((r[1] & 0xff) >= 28 && (r[1] & 0xff) <= 52, "leaf 5: %u address bits", r[1] & 0xff);
    }
    cpuid(0x4000ff00, 0, r);
    is(r[0] | r[1] | r[2] | r[3], 0, "a leaf beyond is empty");
}

static void xstate_leaf(void)
{
    u64 cr4 = 0;
    u32 r[4], lo = 0, hi = 0;

    EX("mov %%cr4, %0", : "=r"(cr4));
    EX("mov %0, %%cr4", : : "r"(cr4 | 1 << 18));
    EX("xgetbv", : "+a"(lo), "+d"(hi) : "c"(0));
    EX("xsetbv", : : "c"(0), "a"(1), "d"(0));
    cpuid(0xd, 0, r);
    is(r[1], 576, "leaf d: size with x87 only");
    ok(r[2] >= 576 && (r[0] & 3) == 3, "leaf d: %u bytes at most, components %x", r[2], r[0]);
    if (r[0] & 4) {
        EX("xsetbv", : : "c"(0), "a"(7), "d"(0));
        cpuid(0xd, 0, r);
        is(r[1], 832, "leaf d: size with AVX");
    }
    EX("xsetbv", : : "c"(0), "a"(lo), "d"(hi));
    EX("mov %0, %%cr4", : : "r"(cr4));
}

static void fpu_is_kept(void)
{
    u64 xmm = 0x123456789abcdef, got = 0;
    double one = 1;

    hc_fpu_taskswitch(0);
    asm volatile("fninit; fldl %2; movq %1, %%xmm5; movq %%xmm5, %0"
                 : "=r"(got)
                 : "r"(xmm), "m"(one));
    doze();
    USER_RUN(u_ud2, 0, 0, 0);
    one = 0;
    asm volatile("movq %%xmm5, %0; fstpl %1" : "=r"(got), "=m"(one));
    ok(got == xmm && *(u64 *)&one == 0x3ff0000000000000,
       "registers of the FPU survive sleep and user mode");
}

void test_abi(void)
{
    user_init();
    multicall_order();
    assists();
    sysret_selectors();
    handler_flags();
    trap_tables();
    old_callbacks();
    nmis_nest_not();
    nmi_callback();
    upcall_at_iret();
    descriptor_pages();
    ldt_and_base();
    flag_instructions();
    plain_instructions();
    some_msrs();
    cpuids();
    xstate_leaf();
    fpu_is_kept();
    is(EX("ud2"), 6, "traps still arrive");
    ok(tables_are_readonly(), "no table is mapped writable");
}
