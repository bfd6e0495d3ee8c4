/*
 * What a domain cannot survive. Each ends in a crash of the domain, with the reason on the
 * hypervisor's console, or is refused before it comes to that, and never ends in a fault of
 * the hypervisor; the runner looks for the one or the other.
 */
#include "guest.h"

USER_CODE_TEXT(c_ud2, "ud2");

/* A trap from user mode onto a kernel stack that cannot take the frame. XSA-215. */
static void kernel_stack(u64 sp)
{
    user_init();
    if (hc_stack_switch(FLAT_KERNEL_SS, sp)) {
        ok(true, "the stack at %lx is refused", sp);
        return;
    }
    USER_RUN(c_ud2, 0, 0, 0);
    ok(false, "a trap on the stack at %lx was survived", sp);
}

static void no_tables(void)
{
    user_init();
    mmuext(MMUEXT_NEW_USER_BASEPTR, 0, 0);
    USER_RUN(c_ud2, 0, 0, 0);
    ok(false, "user mode without user tables");
}

static void no_handler(void)
{
    hc_set_trap_table(NULL);
    asm volatile("ud2");
    ok(false, "a trap without a handler was survived");
}

static void iret_frame(u64 sp)
{
    trap_clear();
    enter_context((void *)sp, 0, 0, 0, __HYPERVISOR_iret);
    ok(trap.vec != VEC_NONE, "an iret frame at %lx was used", sp);
    /* A fault told to the kernel is as good as a crash, but not on that stack. */
    note("iret frame: %s", vec_name(trap.vec));
}

/* A fault whose frame does not fit, in the kernel itself. */
static void double_fault(void)
{
    asm volatile("mov %0, %%rsp; push %%rax" : : "r"(UNMAPPED + 64) : "memory");
    ok(false, "a push to an unmapped stack was survived");
}

/* The same with the kernel's own stack pointer. */
static void kernel_rsp(u64 rsp)
{
    asm volatile("mov %0, %%rsp; ud2" : : "r"(rsp) : "memory");
    ok(false, "a trap with the stack at %lx was survived", rsp);
}

void test_crash(const char *how)
{
    if (has_prefix(how, "kernel-stack-unmapped"))
        kernel_stack(UNMAPPED + 0x1000);
    else if (has_prefix(how, "kernel-stack-hole"))
        kernel_stack(HOLE_START + (1UL << 39) + 0x1000);
    else if (has_prefix(how, "kernel-stack-noncanonical"))
        kernel_stack(NON_CANONICAL + 0x1000);
    else if (has_prefix(how, "kernel-stack-edge"))
        kernel_stack(HOLE_END + 8);
    else if (has_prefix(how, "kernel-stack-start"))
        kernel_stack(HOLE_START);
    else if (has_prefix(how, "kernel-stack-zero"))
        kernel_stack(0);
    else if (has_prefix(how, "kernel-stack-m2p"))
        kernel_stack(HOLE_START + 0x1000);
    else if (has_prefix(how, "kernel-stack-table"))
        kernel_stack((u64)l4_table() + PAGE_SIZE);
    else if (has_prefix(how, "kernel-rsp-hole"))
        kernel_rsp(HOLE_START + (1UL << 39) + 0x1000);
    else if (has_prefix(how, "kernel-rsp-start"))
        kernel_rsp(HOLE_START + 8);
    else if (has_prefix(how, "kernel-rsp-edge"))
        kernel_rsp(HOLE_END + 8);
    else if (has_prefix(how, "kernel-rsp-noncanonical"))
        kernel_rsp(NON_CANONICAL + 0x1000);
    else if (has_prefix(how, "kernel-rsp-table"))
        kernel_rsp((u64)l4_table() + PAGE_SIZE);
    else if (has_prefix(how, "user-without-tables"))
        no_tables();
    else if (has_prefix(how, "no-handler"))
        no_handler();
    else if (has_prefix(how, "iret-frame-unmapped"))
        iret_frame(UNMAPPED);
    else if (has_prefix(how, "iret-frame-edge"))
        iret_frame(HOLE_END - 8);
    else if (has_prefix(how, "iret-frame-hole"))
        iret_frame(HOLE_END - 0x1000);
    else if (has_prefix(how, "double-fault"))
        double_fault();
    else
        die("no such crash");
}
