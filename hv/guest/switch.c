#include "guest/switch.h"
#include "base/string.h"
#include "guest/segments.h"
#include "guest/vtime.h"
#include "kern/heap.h"
#include "kern/irq.h"
#include "kern/tlb.h"
#include "x86/cpu.h"
#include "x86/cpu_setup.h"
#include "x86/fpu.h"
#include "x86/lapic.h"
#include "x86/paging.h"

static void save_fpu(struct vcpu *v)
{
    /* All components: the guest may switch one on later and must find what it left there. */
    if (cpu_features.xsave && v->xcr0 != cpu_features.xcr0)
        xsetbv_known(cpu_features.xcr0);
    asm volatile("clts");
    fpu_save(v->regs.fpu);
}

static void load_fpu(struct vcpu *v)
{
    asm volatile("clts");
    fpu_load(v->regs.fpu);
    if (cpu_features.xsave && v->xcr0 != cpu_features.xcr0)
        xsetbv_known(v->xcr0);
    if (v->cr0_ts)
        write_cr0(read_cr0() | CR0_TS);
}

static void save_segments(struct vcpu_registers *r)
{
    asm volatile("mov %%ds, %0; mov %%es, %1; mov %%fs, %2; mov %%gs, %3"
                 : "=m"(r->ds), "=m"(r->es), "=m"(r->fs), "=m"(r->gs));
    r->fs_base = rdmsr(IA32_FS_BASE);
    r->gs_base = rdmsr(IA32_GS_BASE);
    r->kernel_gs_base = rdmsr(IA32_KERNEL_GS_BASE);
}

/* Selectors first: loading one sets the base too. One that is bad by now becomes null. */
static void load_segments(const struct vcpu_registers *r)
{
    (void)!load_ds_safe(r->ds);
    (void)!load_es_safe(r->es);
    (void)!load_fs_safe(r->fs);
    (void)!load_gs_safe(r->gs);
    wrmsr(IA32_FS_BASE, r->fs_base);
    wrmsr(IA32_GS_BASE, r->gs_base);
    wrmsr(IA32_KERNEL_GS_BASE, r->kernel_gs_base);
}

static void load_debug_registers(const struct vcpu *v)
{
    write_dr0(v->dr[0]);
    write_dr1(v->dr[1]);
    write_dr2(v->dr[2]);
    write_dr3(v->dr[3]);
    write_dr7(v->dr[7]);
}

static bool has_breakpoints(const struct vcpu *v)
{
    return v->dr[7] & 0xff;
}

/* What is in this CPU's registers goes back to its vcpu. */
static void unload(struct cpu *c)
{
    struct vcpu *v = switch_loaded_vcpu(c);

    if (!v)
        return;
    save_fpu(v);
    save_segments(&v->regs);
    if (has_breakpoints(v))
        write_dr7(BIT(10));
    if (cpu_features.rdtscp)
        v->regs.tsc_aux = rdmsr(IA32_TSC_AUX);
    c->guest = NULL;
    __atomic_store_n(&v->loaded_cpu, CPU_NONE, __ATOMIC_RELEASE);
}

/* From a CPU that had the vcpu last and idles since. */
void switch_unload(struct vcpu *v)
{
    unsigned cpu = __atomic_load_n(&v->loaded_cpu, __ATOMIC_ACQUIRE);

    if (cpu == CPU_NONE)
        return;
    lapic_send_ipi(cpus[cpu]->apic_id, VECTOR_IPI_UNLOAD);
    while (__atomic_load_n(&v->loaded_cpu, __ATOMIC_ACQUIRE) != CPU_NONE)
        tlb_relax();
}

/* The guest's page table goes; its other registers stay. */
static void leave_table(struct cpu *c)
{
    tlb_load_cr3(paging_hv_cr3());
    __atomic_store_n(&c->guest_owner, NO_OWNER, __ATOMIC_RELEASE);
}

/* R6: others must know before the table is loaded. */
static void load_table(struct cpu *c, struct vcpu *v)
{
    __atomic_store_n(&c->guest_owner, v->domain->id, __ATOMIC_SEQ_CST);
    __atomic_store_n(&v->flush_pending, 0, __ATOMIC_SEQ_CST);
    tlb_load_cr3(v->entry.kernel_mode ? v->entry.kernel_cr3 : v->entry.user_cr3);
}

static void unload_interrupt(void *arg)
{
    struct cpu *c = this_cpu();

    /* If something runs here it replaced the one that was asked for. */
    if (c->unit)
        return;
    leave_table(c);
    unload(c);
}

/* An idle CPU that has to flush for others need not be asked again. */
static void flush_interrupt(void *arg)
{
    struct cpu *c = this_cpu();

    if (c->idle && c->flush_asked)
        leave_table(c);
    else
        tlb_interrupt(arg);
}

static void load(struct cpu *c, struct vcpu *v)
{
    const u64 cr4 = read_cr4(), want = (cr4 & ~cpu_guest_cr4()) | (v->cr4 & cpu_guest_cr4());

    count(COUNT_VCPU_LOAD);
    c->guest = &v->run.unit;
    v->loaded_cpu = c->id;
    segments_load_tables(v);
    load_table(c, v);
    load_segments(&v->regs);
    if (has_breakpoints(v))
        load_debug_registers(v);
    if (cpu_features.rdtscp)
        wrmsr(IA32_TSC_AUX, v->regs.tsc_aux);
    if (want != cr4)
        write_cr4(want);
    load_fpu(v);
    v->entry.iomap_base = cpu_iomap_base(c);
    *v->entry.iomap_base = v->entry.kernel_mode ? (u16)v->entry.iomap_kernel : TSS_NO_BITMAP;
    cpu_set_stack(c, (struct stack_info *)(v->stack + STACK_SIZE) - 1);
}

static void switch_out(struct runnable *r, ns_t now)
{
    struct vcpu *v = container_of(r, struct vcpu, run);
    /* With a sleep under way it is ready only until it is saved. */
    bool ready = r->unit.state == UNIT_READY && !r->unit.blocking;

    __atomic_store_n(&v->on_cpu, CPU_NONE, __ATOMIC_RELEASE);
    vtime_runstate_set(v,
                       !vcpu_is_up(v) || v->stopped ? RUNSTATE_offline
                       : ready                      ? RUNSTATE_runnable
                                                    : RUNSTATE_blocked,
                       now);
}

/*
 * 'idle' is cleared first and the flush marks are read last: whoever sets a mark and then sees
 * the CPU idle, or the vcpu off it, knows that it will be read.
 */
static void switch_in(struct runnable *r, ns_t now)
{
    struct vcpu *v = container_of(r, struct vcpu, run);
    struct cpu *c = this_cpu();

    __atomic_store_n(&c->idle, 0, __ATOMIC_SEQ_CST);
    __atomic_store_n(&v->on_cpu, c->id, __ATOMIC_SEQ_CST);
    if (c->guest != &r->unit) {
        /*
         * The other one's table first: once its registers are given up it may run elsewhere, and
         * turn that table into something else.
         */
        if (c->guest)
            leave_table(c);
        unload(c);
        switch_unload(v);
        load(c, v);
    } else if (c->guest_owner == NO_OWNER) {
        load_table(c, v);
    }
    if (__atomic_exchange_n(&c->stale, 0, __ATOMIC_SEQ_CST) |
        __atomic_exchange_n(&v->flush_pending, 0, __ATOMIC_SEQ_CST))
        tlb_flush_local();
    /* One that is down only goes on to the border. */
    if (vcpu_is_up(v))
        vtime_runstate_set(v, RUNSTATE_running, now);
    /* What came while it was away and has no other way to be noticed. */
    if (vcpu_has_nmi(v) || vcpu_must_stop(v))
        softirq_raise(SOFTIRQ_VCPU);
}

const struct switch_ops vcpu_switch_ops = {.out = switch_out, .in = switch_in};

int switch_vcpu_init(struct vcpu *v)
{
    v->loaded_cpu = v->on_cpu = CPU_NONE;
    v->regs.fpu = heap_alloc_pages(0);
    if (!v->regs.fpu)
        return -XEN_ENOMEM;
    BUG_ON(cpu_features.xsave_size > PAGE_SIZE);
    fpu_reset(v->regs.fpu);
    return 0;
}

void switch_set_fpu(struct vcpu *v, const u8 *image)
{
    if (image)
        fpu_import(v->regs.fpu, image);
    else
        fpu_reset(v->regs.fpu);
}

void switch_get_fpu(const struct vcpu *v, u8 *image)
{
    fpu_export(v->regs.fpu, image);
}

void switch_set_xstate(struct vcpu *v, const u8 *image, u64 size)
{
    fpu_import_xstate(v->regs.fpu, image, size);
}

void switch_flush_vcpus(struct domain *d, u64 vcpus)
{
    cpuset_t running = CPUSET_NONE;

    for (; vcpus; vcpus &= vcpus - 1) {
        struct vcpu *v = d->vcpus[__builtin_ctzl(vcpus)];
        unsigned cpu;

        if (!v)
            continue;
        count(COUNT_TLB_CANDIDATE);
        __atomic_store_n(&v->flush_pending, 1, __ATOMIC_SEQ_CST);
        cpu = __atomic_load_n(&v->on_cpu, __ATOMIC_SEQ_CST);
        if (cpu == CPU_NONE)
            count(COUNT_TLB_DEFERRED);
        else
            cpuset_add(&running, cpu);
    }
    tlb_flush_cpus(running);
}

__init void switch_init(void)
{
    irq_set_handler(VECTOR_IPI_UNLOAD, unload_interrupt, NULL);
    irq_set_handler(VECTOR_IPI_FLUSH, flush_interrupt, NULL);
}
