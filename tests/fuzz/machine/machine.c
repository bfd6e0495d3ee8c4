#include "fuzz/machine/machine.h"
#include "guest/lifecycle.h"
#include "guest/logdirty.h"
#include "guest/machine_map.h"
#include "guest/m2p_list.h"
#include "guest/mmu.h"
#include "guest/pirq.h"
#include "guest/policy.h"
#include "guest/switch.h"
#include "kern/irq.h"
#include "kern/panic.h"
#include "x86/cpu.h"
#include "x86/cpu_setup.h"
#include "x86/lapic.h"
#include "x86/paging.h"
#include "core/acpi.h"
#include "core/pte.h"
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define HOST_STACK  (256UL << 10)
#define MAX_FIBERS  64
#define POINTS_MAX  30 /* some waits meet nothing else */
#define FIBER_MARK  0xf1be0000UL
#define ARENA_BYTES (NR_FRAMES * PAGE_SIZE)
#define NR_PAGES    ((ARENA_BYTES + TABLE_BYTES) / PAGE_SIZE)
#define TABLE_BYTES ROUND_UP(NR_FRAMES * sizeof(struct frame), PAGE_SIZE)

/* The first of these the hypervisor has; the rest is a heap. */
#define M2P_FRAMES   (NR_FRAMES * 8 / PAGE_SIZE)
#define FIRST_M2P    1
#define FIRST_GDT    (FIRST_M2P + M2P_FRAMES)
#define FIRST_WINDOW (FIRST_GDT + NR_CPUS)
#define EMPTY_FRAME  (FIRST_WINDOW + NR_CPUS)
#define FIRST_HEAP   (EMPTY_FRAME + 1)

/* A host stack with something of the hypervisor on it. */
struct fiber {
    void *sp, *left, *fake_stack;
    struct vcpu *vcpu; /* NULL: an idle loop */
    u8 *stack;
    bool used;
};

enum stop { STOPPED_NOT, STOPPED_BORDER, STOPPED_IDLE, STOPPED_WAITING, STOPPED_POINT };

struct logical_cpu {
    struct cpu cpu;
    struct stack_info idle_stack;
    struct stub_data stub;
    struct tss tss;
    struct fiber *runs, *idle;
    enum stop stop;
    u64 pending[4]; /* vectors */
    u64 timer;      /* counter value at which it rings; ~0: not */
    u64 cr3;
};

struct stack_info *machine_stack;
struct cpu *cpus[MAX_CPUS];
unsigned nr_cpus;
struct cpu_features cpu_features = {.nx = true,
                                    .xsave = true,
                                    .rdtscp = true,
                                    .xcr0 = 7,
                                    .xsave_size = 832,
                                    .maddr_bits = 40,
                                    .vendor = "AuthenticAMD"};
struct cpuid_host cpuid_host = {
    .vendor = CPU_VENDOR_AMD, .max_leaf = 0xd, .max_ext_leaf = 0x8000000a};

/* Not the hypervisor's, and still set back before each run. */
static struct state {
    struct logical_cpu cpu[NR_CPUS];
    struct fiber fiber[MAX_FIBERS];
    unsigned current, points_left;
    bool runs; /* a CPU goes on, not the harness */
    bool over;
    void (*idle_work)(void);
    u64 tsc;
} m, m_ready;

static void *harness_sp, *harness_fake;
static const void *harness_bottom;
static size_t harness_size;
static u8 *stacks;
static void (*guest_program)(struct vcpu *v);

extern u8 __start_hv_bss[], __stop_hv_bss[], __start_hv_data[], __stop_hv_data[];
static u8 *bss_ready, *data_ready, *arena_ready;
static bool was_zero[NR_PAGES];

void machine_fail(const char *file, int line, const char *what)
{
    fprintf(stderr, "BROKEN: %s at %s:%d\n", what, file, line);
    abort();
}

/* ---- stacks ---- */

/* Saves the registers that a call keeps, changes stacks, and takes the other's. */
void fiber_jump(void **save, void *to);
__asm__(".text\n.globl fiber_jump\n.type fiber_jump, @function\nfiber_jump:\n"
        "push %rbp; push %rbx; push %r12; push %r13; push %r14; push %r15\n"
        "mov %rsp, (%rdi)\n"
        "mov %rsi, %rsp\n"
        "pop %r15; pop %r14; pop %r13; pop %r12; pop %rbx; pop %rbp\n"
        "ret\n.size fiber_jump, . - fiber_jump\n");

static __noreturn void fiber_main(void)
{
    struct fiber *f = m.cpu[m.current].runs;

    /* The first one of all is begun by the harness. */
    if (!harness_bottom)
        __sanitizer_finish_switch_fiber(NULL, &harness_bottom, &harness_size);
    else
        __sanitizer_finish_switch_fiber(NULL, NULL, NULL);
    if (!f->vcpu)
        dispatch_idle();
    dispatch_begin_from_assembly(f->left);
    for (;;)
        guest_program(f->vcpu);
}

static void fiber_prepare(struct fiber *f)
{
    u64 *sp = (u64 *)(f->stack + HOST_STACK);

    __asan_unpoison_memory_region(f->stack, HOST_STACK);
    *--sp = 0;
    *--sp = (u64)fiber_main;
    for (unsigned i = 0; i < 6; i++)
        *--sp = 0;
    f->sp = sp;
    f->fake_stack = NULL;
}

/* A fiber is in use while a CPU is on it or its vcpu's saved stack pointer names it. */
static bool fiber_is_dead(const struct fiber *f)
{
    for (unsigned i = 0; i < NR_CPUS; i++)
        if (m.cpu[i].runs == f || m.cpu[i].idle == f)
            return false;
    for (u16 id = 0; id < DOMID_FIRST_RESERVED && id < 512; id++) {
        struct domain *d = domain_peek(id);

        for (unsigned i = 0; d && i < d->max_vcpus; i++)
            if (d->vcpus[i] && d->vcpus[i]->run.sp == FIBER_MARK + (u64)(f - m.fiber))
                return false;
    }
    return true;
}

static struct fiber *fiber_new(struct vcpu *v)
{
    struct fiber *f = m.fiber;

    while (f < m.fiber + MAX_FIBERS && f->used && !fiber_is_dead(f))
        f++;
    REQUIRE(f < m.fiber + MAX_FIBERS);
    *f = (struct fiber){
        .vcpu = v, .used = true, .stack = stacks + (u64)(f - m.fiber) * HOST_STACK};
    fiber_prepare(f);
    return f;
}

static struct stack_info *stack_of(struct vcpu *v)
{
    return (struct stack_info *)(v->stack + STACK_SIZE) - 1;
}

/* Which fiber a saved stack pointer means: a prepared stack has none yet. */
static struct fiber *fiber_of(u64 sp)
{
    struct stack_info *top;

    if (sp - FIBER_MARK < MAX_FIBERS)
        return &m.fiber[sp - FIBER_MARK];
    top = (struct stack_info *)((sp | (STACK_SIZE - 1)) + 1) - 1;
    return fiber_new(container_of(top->guest, struct vcpu, entry));
}

static void enter(struct logical_cpu *c, struct fiber *f)
{
    c->runs = f;
    machine_stack = f->vcpu ? stack_of(f->vcpu) : &c->idle_stack;
    machine_stack->cpu = &c->cpu;
}

/* dispatch.c changes stacks: hv/x86/entry.S's part. */
void *switch_stack(u64 *save_sp, u64 new_sp, void *left)
{
    struct logical_cpu *c = &m.cpu[m.current];
    struct fiber *me = c->runs, *to = fiber_of(new_sp);

    *save_sp = FIBER_MARK + (u64)(me - m.fiber);
    to->left = left;
    enter(c, to);
    __sanitizer_start_switch_fiber(&me->fake_stack, to->stack, HOST_STACK);
    fiber_jump(&me->sp, to->sp);
    __sanitizer_finish_switch_fiber(me->fake_stack, NULL, NULL);
    return me->left;
}

/* The harness's turn. */
static void stop(enum stop why)
{
    struct logical_cpu *c = &m.cpu[m.current];
    struct fiber *me = c->runs;

    c->stop = why;
    __sanitizer_start_switch_fiber(&me->fake_stack, harness_bottom, harness_size);
    fiber_jump(&me->sp, harness_sp);
    __sanitizer_finish_switch_fiber(me->fake_stack, NULL, NULL);
}

void machine_step(unsigned cpu, unsigned stop_after)
{
    struct logical_cpu *c = &m.cpu[cpu];
    struct fiber *f = c->runs;

    m.current = cpu;
    m.points_left = stop_after ? stop_after : POINTS_MAX;
    m.runs = true;
    enter(c, f);
    __sanitizer_start_switch_fiber(&harness_fake, f->stack, HOST_STACK);
    fiber_jump(&harness_sp, f->sp);
    __sanitizer_finish_switch_fiber(harness_fake, NULL, NULL);
    m.runs = false;
}

/* Where CPUs may interleave: nobody waits for a lock that we hold. */
static void point(void)
{
    REQUIRE(!this_cpu()->lock_ranks);
    if (m.runs && !--m.points_left)
        stop(STOPPED_POINT);
}

bool machine_is_busy(unsigned cpu)
{
    return m.cpu[cpu].stop != STOPPED_IDLE && m.cpu[cpu].stop != STOPPED_BORDER;
}

bool machine_waits(unsigned cpu)
{
    return m.cpu[cpu].stop == STOPPED_WAITING;
}

static u64 has_interrupt(struct logical_cpu *c)
{
    if (m.tsc >= c->timer) {
        c->timer = ~0UL;
        c->pending[VECTOR_TIMER / 64] |= BIT(VECTOR_TIMER & 63);
    }
    return c->pending[0] | c->pending[1] | c->pending[2] | c->pending[3];
}

bool machine_has_news(unsigned cpu)
{
    return has_interrupt(&m.cpu[cpu]);
}

bool machine_idles(unsigned cpu)
{
    return m.cpu[cpu].stop == STOPPED_IDLE && !has_interrupt(&m.cpu[cpu]);
}

bool machine_is_over(void)
{
    return m.over;
}

void machine_act_as(struct vcpu *v)
{
    m.current = 0;
    machine_stack = v ? stack_of(v) : &m.cpu[0].idle_stack;
    machine_stack->cpu = &m.cpu[0].cpu;
    if (v)
        m.cpu[0].cr3 = v->entry.kernel_cr3;
}

/* ---- interrupts and time ---- */

static void take_interrupts(void)
{
    struct logical_cpu *c = &m.cpu[m.current];

    while (has_interrupt(c)) {
        for (unsigned i = 0; i < 4; i++) {
            unsigned bit;

            if (!c->pending[i])
                continue;
            bit = (unsigned)__builtin_ctzl(c->pending[i]);
            c->pending[i] &= ~BIT(bit);
            irq_dispatch(i * 64 + bit);
        }
    }
}

void cpu_take_interrupts(void)
{
    point();
    if (m.runs)
        take_interrupts();
}

void cpu_halt_irq_on(void)
{
    void (*work)(void) = m.idle_work;

    if (work && !m.current) {
        m.idle_work = NULL;
        /* It may ask for registers that are still here. */
        lapic_send_ipi(m.current, VECTOR_IPI_UNLOAD);
        take_interrupts();
        work();
        return;
    }
    stop(STOPPED_IDLE);
    take_interrupts();
}

void machine_when_idle(void (*work)(void))
{
    m.idle_work = work;
    m.cpu[0].pending[VECTOR_IPI_SCHED / 64] |= BIT(VECTOR_IPI_SCHED & 63);
}

void cpu_relax(void)
{
    REQUIRE(m.runs);
    stop(STOPPED_WAITING);
}

void cpu_stop(void)
{
    m.over = true;
    for (;;)
        stop(STOPPED_IDLE);
}

void machine_border(void)
{
    stop(STOPPED_BORDER);
    take_interrupts();
}

void lapic_send_ipi(u32 apic_id, u8 vector)
{
    REQUIRE(apic_id < NR_CPUS);
    m.cpu[apic_id].pending[vector / 64] |= BIT(vector & 63);
}

void lapic_timer_set(u64 tsc_deadline)
{
    m.cpu[m.current].timer = tsc_deadline;
}

void lapic_timer_stop(void)
{
    m.cpu[m.current].timer = ~0UL;
}

void lapic_eoi(void)
{
}

u32 lapic_id(void)
{
    return m.current;
}

u64 rdtsc(void)
{
    return m.tsc += 50;
}

u64 machine_now(void)
{
    return m.tsc;
}

void machine_advance(u64 ns)
{
    m.tsc += ns;
}

u64 machine_next_timer(void)
{
    u64 next = ~0UL;

    for (unsigned i = 0; i < NR_CPUS; i++)
        next = MIN(next, m.cpu[i].timer);
    return next;
}

/* ---- memory ---- */

u64 read_cr3(void)
{
    return m.cpu[m.current].cr3;
}

void write_cr3(u64 cr3)
{
    m.cpu[m.current].cr3 = cr3;
}

static bool is_in_use_as(mfn_t mfn, enum frame_type t)
{
    return mfn.n < NR_FRAMES && frame_type_of(mfn) == t;
}

/* What the CPU may reach at any time is what the type system has judged. */
static u64 *walk(u64 va)
{
    mfn_t mfn = MFN(read_cr3() >> PAGE_SHIFT);

    if (!mfn.n || !va_is_canonical(va) || !l4_slot_is_guest(pt_index(va, 4)))
        return NULL;
    for (int level = 4;; level--) {
        u64 *e = (u64 *)mfn_to_virt(mfn) + pt_index(va, level);

        REQUIRE(is_in_use_as(mfn, (enum frame_type)(TYPE_L1 + level - 1)));
        if (!(*e & GPTE_P))
            return NULL;
        if (level == 1)
            return e;
        mfn = pte_mfn(*e);
    }
}

void *machine_translate(u64 va, bool write)
{
    u64 *e = walk(va);

    if (write && e && !(*e & GPTE_RW)) {
        const struct vcpu *v = current_vcpu();

        if (!v || !logdirty_fault(current_vcpu(), va))
            return NULL;
        e = walk(va);
    }
    if (!e || (write && !(*e & GPTE_RW)) || pte_mfn(*e).n >= NR_FRAMES)
        return NULL;
    REQUIRE(!write || is_in_use_as(pte_mfn(*e), TYPE_WRITABLE));
    REQUIRE(!heap_is_free(&frames[pte_mfn(*e).n]));
    *e |= GPTE_A | (write ? GPTE_D : 0);
    return (u8 *)mfn_to_virt(pte_mfn(*e)) + (va & (PAGE_SIZE - 1));
}

/* A pointer of the hypervisor's own, not a guest's. */
static bool is_own(const void *p)
{
    const u8 *b = p, *frame = __builtin_frame_address(0);

    return (u64)b - DIRECTMAP_BASE < ARENA_BYTES + TABLE_BYTES ||
           (b > frame - HOST_STACK && b < frame + HOST_STACK) ||
           (b >= __start_hv_bss && b < __stop_hv_bss) ||
           (b >= __start_hv_data && b < __stop_hv_data);
}

u64 guest_copy_raw(void *dst, const void *src, u64 n)
{
    bool to_guest = !is_own(dst);
    u64 va = to_guest ? (u64)dst : (u64)src;
    u8 *own = to_guest ? (u8 *)(u64)src : dst;

    point();
    while (n) {
        u64 chunk = MIN(n, PAGE_SIZE - (va & (PAGE_SIZE - 1)));
        u8 *p = machine_translate(va, to_guest);

        if (!p)
            return n;
        memcpy(to_guest ? p : own, to_guest ? own : p, chunk);
        va += chunk;
        own += chunk;
        n -= chunk;
    }
    return 0;
}

u64 paging_hv_cr3(void)
{
    return 0;
}

u64 paging_phys_of(u64 va)
{
    u64 off = va - M2P_BASE;

    return off < M2P_FRAMES * PAGE_SIZE ? FIRST_M2P * PAGE_SIZE + off : 0;
}

void paging_fill_guest_l4(u64 *l4)
{
    for (unsigned i = HV_SLOT_FIRST; i <= HV_SLOT_LAST; i++)
        l4[i] = 0;
}

/* ---- start, and start again ---- */

static void map_memory(void)
{
    void *p = mmap((void *)DIRECTMAP_BASE, ARENA_BYTES + TABLE_BYTES, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);

    REQUIRE(p == (void *)DIRECTMAP_BASE);
}

static void init_memory(void)
{
    m2p = (u64 *)mfn_to_virt(MFN(FIRST_M2P));
    memset(m2p, 0xff, M2P_FRAMES * PAGE_SIZE);
    heap_init((struct frame *)(DIRECTMAP_BASE + ARENA_BYTES), NR_FRAMES);
    for (u64 i = 0; i < FIRST_HEAP; i++)
        frames[i].ref = REF_OWNER(DOMID_XEN) | 1;
    heap_add(FIRST_HEAP, NR_FRAMES);
    m2p_list_init();
}

static void init_cpu(unsigned i)
{
    struct logical_cpu *c = &m.cpu[i];

    c->cpu.id = c->cpu.apic_id = i;
    c->cpu.guest_owner = NO_OWNER;
    c->cpu.stub = &c->stub;
    c->cpu.tss = &c->tss;
    c->cpu.gdt = mfn_to_virt(MFN(FIRST_GDT + i));
    c->cpu.window_ptes = mfn_to_virt(MFN(FIRST_WINDOW + i));
    c->cpu.empty_page = mfn_to_virt(MFN(EMPTY_FRAME));
    c->idle_stack.cpu = &c->cpu;
    c->timer = ~0UL;
    c->idle = c->runs = &m.fiber[i];
    m.fiber[i] = (struct fiber){.used = true, .stack = stacks + i * HOST_STACK};
    cpus[i] = &c->cpu;
}

static void timer_interrupt(void *arg)
{
    softirq_raise(SOFTIRQ_TIMER);
}

static void init_hypervisor(void)
{
    static struct acpi_info acpi;
    static struct topology topology;
    static const struct topology_cpuid cpuid;
    static const u32 apic_ids[NR_CPUS] = {0, 1, 2, 3, 4, 5};
    static const struct mem_region map = {.size = ARENA_BYTES, .type = 1};

    init_memory();
    time_init(1000000000);
    irq_set_handler(VECTOR_TIMER, timer_interrupt, NULL);
    softirq_set_handler(SOFTIRQ_TIMER, timer_softirq);
    policy_init();
    topology_build(&topology, &cpuid, apic_ids, NR_CPUS, NULL, 0);
    dispatch_alloc();
    dispatch_init(&topology, &vcpu_switch_ops);
    switch_init();
    domain_init();
    lifecycle_init();
    mmu_deny_io(0xfee00000, MIB(1));
    machine_map_set(&map, 1);
    pirq_init(&acpi);
    while (heap_scrub_some())
        ;
}

/* Bytes between variables too, which the sanitizer guards against functions that it knows. */
static void copy_raw(u8 *to, const u8 *from, u64 n)
{
    asm volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(n) : : "memory");
}

/* Without the sanitizers: it reads all of memory before each run. */
__attribute__((no_sanitize("address", "undefined"))) static bool is_zero(const u64 *page)
{
    u64 all = 0;

    for (unsigned i = 0; i < PAGE_SIZE / 8; i++)
        all |= page[i];
    return !all;
}

/* Most pages are zero when the machine is ready, and again after a run. */
static void reset_page(u64 i)
{
    u8 *page = (u8 *)DIRECTMAP_BASE + i * PAGE_SIZE;

    if (!was_zero[i])
        copy_raw(page, arena_ready + i * PAGE_SIZE, PAGE_SIZE);
    else if (!is_zero((const u64 *)page))
        memset(page, 0, PAGE_SIZE);
}

static void keep(u8 **copy, const u8 *start, const u8 *end)
{
    *copy = malloc((size_t)(end - start));
    copy_raw(*copy, start, (u64)(end - start));
}

void machine_init(void (*build)(void), void (*guest)(struct vcpu *v))
{
    map_memory();
    stacks = mmap(NULL, MAX_FIBERS * HOST_STACK, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REQUIRE(stacks != MAP_FAILED);
    guest_program = guest;
    nr_cpus = NR_CPUS;
    for (unsigned i = 0; i < NR_CPUS; i++)
        init_cpu(i);
    machine_act_as(NULL);
    init_hypervisor();
    build();
    machine_act_as(NULL);
    m.cpu[0].cr3 = 0;
    keep(&bss_ready, __start_hv_bss, __stop_hv_bss);
    keep(&data_ready, __start_hv_data, __stop_hv_data);
    keep(&arena_ready, (u8 *)DIRECTMAP_BASE, (u8 *)DIRECTMAP_BASE + NR_PAGES * PAGE_SIZE);
    for (u64 i = 0; i < NR_PAGES; i++)
        was_zero[i] = is_zero((const u64 *)(DIRECTMAP_BASE + i * PAGE_SIZE));
    m_ready = m;
}

void machine_reset_all(void)
{
    for (u64 i = 0; i < NR_PAGES; i++)
        reset_page(i);
    copy_raw(__start_hv_bss, bss_ready, (u64)(__stop_hv_bss - __start_hv_bss));
    copy_raw(__start_hv_data, data_ready, (u64)(__stop_hv_data - __start_hv_data));
    m = m_ready;
    for (unsigned i = 0; i < NR_CPUS; i++)
        fiber_prepare(m.cpu[i].idle);
    machine_act_as(NULL);
}
