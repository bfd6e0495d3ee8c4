/*
 * More vcpus than CPUs: everyone gets on, nobody sees another's registers. The vcpus fill what
 * a CPU has (x87, SSE, segment bases, descriptor tables, breakpoints) with patterns of their
 * own and look again and again while they are switched, interrupted and sent NMIs.
 */
#include "guest.h"

#define LOW_VA 0x10000000UL /* below 4 GiB: descriptors hold 32 bits of a base */

static unsigned n_cpus;
static u64 deadline; /* of the current phase */
static u32 ipi[MAX_CPUS];
static volatile u64 ticks[MAX_CPUS];

static void served(struct cpu *c, u32 port)
{
    ticks[c->id]++;
}

static void phase(void (*work)(struct cpu *), u64 ns, const char *what)
{
    deadline = clock_ns() + ns;
    smp_all(n_cpus, work, what);
}

/* A phase goes on until all have done something, as long as there is hope. */
static bool time_left(struct cpu *c)
{
    u64 t = smp_clock(c);

    if (t < deadline)
        return true;
    for (unsigned i = 0; i < n_cpus; i++)
        if (!cpus[i].good)
            return t < deadline + 30000000000;
    return false;
}

static void everyone_got_on(const char *what)
{
    unsigned idle = 0;

    for (unsigned i = 0; i < n_cpus; i++)
        idle += cpus[i].good == 0;
    is(idle, 0, "%s: every vcpu got on", what);
    is(smp_sum_bad(n_cpus), 0, "%s: all as it should be", what);
}

/* --- shares --- */

static void hog(struct cpu *c)
{
    while (time_left(c))
        for (unsigned i = 0; i < 1000; i++)
            c->good++;
}

/* Sends itself events all the time, and takes them. */
static void self_kicker(struct cpu *c)
{
    smp_events_on(c);
    while (time_left(c)) {
        c->bad += port_send(ipi[c->id]) != 0;
        c->good++;
    }
}

static void yielder(struct cpu *c)
{
    for (; time_left(c); c->good++)
        c->bad += hc_sched(SCHEDOP_yield, NULL) != 0;
}

/* One of each kind, and hogs. */
static void mixture(struct cpu *c)
{
    void (*const kinds[])(struct cpu *) = {hog, self_kicker, yielder};

    kinds[c->id < 3 ? c->id : 0](c);
}

static u64 ran(unsigned id)
{
    static struct vcpu_runstate_info info;

    hc_vcpu(VCPUOP_get_runstate_info, id, &info);
    return info.time[RUNSTATE_running];
}

static void shares(void (*work)(struct cpu *), const char *what)
{
    u64 before[MAX_CPUS], least = ~0UL, most = 0;

    for (unsigned i = 0; i < n_cpus; i++)
        before[i] = ran(i);
    phase(work, 3000000000, what);
    for (unsigned i = 0; i < n_cpus; i++) {
        u64 t = ran(i) - before[i];

        least = t < least ? t : least;
        most = t > most ? t : most;
    }
    everyone_got_on(what);
    note("%s: least %lu ms, most %lu ms", what, least / 1000000, most / 1000000);
}

/* --- run-state areas --- */

static struct vcpu_runstate_info areas[MAX_CPUS] __attribute__((aligned(64)));

/* A vcpu that was preempted shows it to those that run. */
static void watch_others(struct cpu *c)
{
    struct vcpu_register_runstate_memory_area reg;

    set_xen_guest_handle(reg.addr.h, &areas[c->id]);
    c->bad += hc_vcpu(VCPUOP_register_runstate_memory_area, c->id, &reg) != 0;
    while (time_left(c)) {
        for (unsigned i = 0; i < n_cpus; i++) {
            int state = *(volatile int *)&areas[i].state;

            c->bad += state < RUNSTATE_running || state > RUNSTATE_offline;
            c->count += state == RUNSTATE_runnable;
        }
        c->bad += *(volatile int *)&areas[c->id].state != RUNSTATE_running;
        c->good++;
    }
}

static void runstate_areas(void)
{
    u64 seen = 0;

    phase(watch_others, 1000000000, "run-state areas");
    for (unsigned i = 0; i < n_cpus; i++)
        seen += cpus[i].count;
    everyone_got_on("run-state areas");
    ok(seen > 0, "preempted vcpus are seen as runnable (%lu times)", seen);
}

/* --- registers --- */

struct fx {
    u16 fcw, fsw;
    u8 ftw, reserved;
    u16 fop;
    u64 rip, rdp;
    u32 mxcsr, mxcsr_mask;
    u8 st[8][16];
    u8 xmm[16][16];
    u8 rest[96];
} __attribute__((aligned(64)));
static struct fx images[MAX_CPUS], now[MAX_CPUS];

static void fill_image(struct cpu *c)
{
    struct fx *f = &images[c->id];

    asm volatile("fninit\n fxsave64 %0" : "+m"(*f));
    f->fcw = 0x37f & ~(c->id & 3) << 8; /* precision */
    f->ftw = 0xff;
    f->mxcsr = 0x1f80 | (c->id & 3) << 13; /* rounding */
    for (unsigned i = 0; i < 8; i++)
        for (unsigned k = 0; k < 10; k++)
            f->st[i][k] = c->id * 16 + i + k + 1;
    for (unsigned i = 0; i < 16; i++)
        for (unsigned k = 0; k < 16; k++)
            f->xmm[i][k] = c->id * 32 + i + k + 1;
}

static bool image_is_kept(struct cpu *c)
{
    struct fx *f = &images[c->id], *n = &now[c->id];

    asm volatile("fxsave64 %0" : "=m"(*n));
    if (n->fcw != f->fcw || n->mxcsr != f->mxcsr || memcmp(n->xmm, f->xmm, sizeof(f->xmm)))
        return false;
    for (unsigned i = 0; i < 8; i++)
        if (memcmp(n->st[i], f->st[i], 10))
            return false;
    return true;
}

/* Gives the CPU away, now this way and now that; or just uses it up. */
static void pause_somehow(struct cpu *c)
{
    switch (smp_rand(c) & 7) {
    case 0:
        hc_sched(SCHEDOP_yield, NULL);
        break;
    case 1:
        poll_port(c->kick, smp_clock(c) + 50000);
        break;
    case 2:
        port_send(ipi[smp_rand(c) % n_cpus]);
        break;
    case 3:
        hc_vcpu(VCPUOP_send_nmi, smp_rand(c) % n_cpus, NULL);
        break;
    default:
        for (u64 spin = smp_rand(c) & 4095; spin; spin--)
            asm volatile("" : : : "memory");
    }
}

static void fpu_work(struct cpu *c)
{
    fill_image(c);
    smp_events_on(c);
    asm volatile("fxrstor64 %0" : : "m"(images[c->id]));
    for (; time_left(c); c->good++) {
        pause_somehow(c);
        c->bad += !image_is_kept(c);
    }
}

/* All sixteen general registers, in a loop that is only interrupted. */
static void gpr_work(struct cpu *c)
{
    while (time_left(c)) {
        u64 wrong = 0, n = 20000, pattern = 0x0101010101010101 * (c->id + 1);

        asm volatile("movq %2, %%rax\n movq %%rax, %%rbx\n movq %%rax, %%rdx\n"
                     "movq %%rax, %%r8\n movq %%rax, %%r9\n movq %%rax, %%r10\n"
                     "movq %%rax, %%r11\n movq %%rax, %%r12\n movq %%rax, %%r13\n"
                     "movq %%rax, %%r14\n movq %%rax, %%r15\n movq %%rax, %%rdi\n"
                     "1: cmpq %%rax, %%rbx\n jne 2f\n cmpq %%rax, %%rdx\n jne 2f\n"
                     "cmpq %%rax, %%r8\n jne 2f\n cmpq %%rax, %%r9\n jne 2f\n"
                     "cmpq %%rax, %%r10\n jne 2f\n cmpq %%rax, %%r11\n jne 2f\n"
                     "cmpq %%rax, %%r12\n jne 2f\n cmpq %%rax, %%r13\n jne 2f\n"
                     "cmpq %%rax, %%r14\n jne 2f\n cmpq %%rax, %%r15\n jne 2f\n"
                     "cmpq %%rax, %%rdi\n jne 2f\n decq %1\n jnz 1b\n jmp 3f\n"
                     "2: movq $1, %0\n3:"
                     : "+S"(wrong), "+c"(n)
                     : "m"(pattern)
                     : "rax", "rbx", "rdx", "rdi", "r8", "r9", "r10", "r11", "r12", "r13",
                       "r14", "r15", "memory", "cc");
        c->bad += wrong;
        c->good++;
    }
}

/* --- segments --- */

static u64 own_word[MAX_CPUS] __attribute__((aligned(64)));
static u64 *ldt_page[MAX_CPUS], *gdt_page[MAX_CPUS];

static u64 read_fs(void)
{
    u64 got;

    asm volatile("movq %%fs:0, %0" : "=r"(got));
    return got;
}

static u64 read_gs(void)
{
    u64 got;

    asm volatile("movq %%gs:0, %0" : "=r"(got));
    return got;
}

static void base_work(struct cpu *c)
{
    u64 at = (u64)&own_word[c->id];

    own_word[c->id] = 100 + c->id;
    c->bad += hc_segment_base(SEGBASE_FS, at) != 0;
    c->bad += hc_segment_base(SEGBASE_GS_KERNEL, at) != 0;
    for (; time_left(c); c->good++) {
        pause_somehow(c);
        c->bad += read_fs() != 100 + c->id;
        c->bad += read_gs() != 100 + c->id;
    }
    hc_segment_base(SEGBASE_FS, 0);
    hc_segment_base(SEGBASE_GS_KERNEL, 0);
}

/* A data segment of ring 3 whose base is `base`. */
static u64 data_segment(u64 base)
{
    return 0x00cff3000000ffff | (base & 0xffffff) << 16 | (base >> 24 & 0xff) << 56;
}

#define LDT_SEL (3 << 3 | 4 | 3)
#define GDT_SEL (17 << 3 | 3)

static void table_work(struct cpu *c)
{
    u64 list[1] = {mfn_of(gdt_page[c->id])};
    u16 fs, gs;

    c->bad += hc_set_gdt(list, 512) != 0;
    c->bad += mmuext(MMUEXT_SET_LDT, (u64)ldt_page[c->id], 512) != 0;
    asm volatile("movw %w0, %%fs\n movw %w1, %%gs" : : "r"(LDT_SEL), "r"(GDT_SEL));
    for (; time_left(c); c->good++) {
        pause_somehow(c);
        asm volatile("movw %%fs, %w0\n movw %%gs, %w1" : "=r"(fs), "=r"(gs));
        c->bad += fs != LDT_SEL || gs != GDT_SEL;
        c->bad += read_fs() != 200 + c->id;
        c->bad += read_gs() != 200 + c->id;
        /* Loaded afresh now and then. */
        if ((c->good & 7) == 0)
            asm volatile("movw %w0, %%fs\n movw %w1, %%gs" : : "r"(LDT_SEL), "r"(GDT_SEL));
    }
    asm volatile("movw %w0, %%fs\n movw %w0, %%gs" : : "r"(0));
    c->bad += mmuext(MMUEXT_SET_LDT, 0, 0) != 0;
    c->bad += hc_set_gdt(NULL, 0) != 0;
}

static void prepare_tables(void)
{
    for (unsigned i = 0; i < n_cpus; i++) {
        u64 va = LOW_VA + i * PAGE_SIZE, *word = page_alloc();

        mmu_write(pte_make(l4_table(), va), maddr_of(word) | PTE_KERN);
        word[0] = 200 + i;
        ldt_page[i] = page_alloc();
        gdt_page[i] = page_alloc();
        ldt_page[i][3] = gdt_page[i][17] = data_segment(va);
        set_ro(ldt_page[i]), set_ro(gdt_page[i]);
    }
}

static void drop_tables(void)
{
    unsigned bad = 0;

    for (unsigned i = 0; i < n_cpus; i++)
        bad += set_rw(ldt_page[i]) || set_rw(gdt_page[i]) || !smp_exchangeable(ldt_page[i]) ||
               !smp_exchangeable(gdt_page[i]);
    is(bad, 0, "the pages of the descriptor tables are free again");
}

/* --- breakpoints --- */

#define DR7_WRITE_8 (1UL | 1UL << 16 | 2UL << 18)

static u64 watched[MAX_CPUS][8];

static void watch_work(struct cpu *c)
{
    u64 at = (u64)&watched[c->id][0], before;

    c->bad += hc_set_debugreg(0, at) != 0;
    c->bad += hc_set_debugreg(7, DR7_WRITE_8) != 0;
    for (; time_left(c); c->good++) {
        pause_somehow(c);
        before = c->watched;
        *(volatile u64 *)&watched[(c->id + 1) % n_cpus][0] = c->good;
        c->bad += c->watched != before;
        *(volatile u64 *)at = c->good;
        c->bad += c->watched != before + 1;
        c->bad += hc_get_debugreg(0) != at;
    }
    c->bad += hc_set_debugreg(7, 0) != 0;
    before = c->watched;
    *(volatile u64 *)at = 1;
    c->bad += c->watched != before;
}

/* --- time --- */

static volatile u64 latest;
static volatile u64 worst_back;

static void clock_work(struct cpu *c)
{
    for (u64 last = 0; time_left(c); c->good++) {
        u64 seen = latest, t = smp_clock(c);

        c->count += t < last;
        last = t;
        if (seen > t && seen - t > worst_back)
            worst_back = seen - t;
        if (t > seen)
            __atomic_compare_exchange_n(&latest, &seen, t, false, __ATOMIC_SEQ_CST,
                                        __ATOMIC_RELAXED);
        if ((c->good & 63) == 0)
            pause_somehow(c);
    }
}

/* Stock sets the clock of each CPU anew now and then, which goes wrong when QEMU is late. */
static void clocks_agree(void)
{
    u64 back = 0;

    for (unsigned i = 0; i < n_cpus; i++)
        back += cpus[i].count;
    note("clocks went back %lu times; one was behind another by %lu ns at most", back,
         (u64)worst_back);
    ok(back == 0 || !is_serai, "no vcpu's clock goes back");
    ok(worst_back < 1000000 || !is_serai, "the clocks of all vcpus agree within 1 ms");
}

/* --- hand over hand --- */

static volatile u64 baton;

/* Each waits for its turn by yielding; with one CPU only a yield that works gets on. */
static void relay(struct cpu *c)
{
    while (baton < 5 * n_cpus) {
        if (baton % n_cpus == c->id)
            baton++, c->good++;
        else
            hc_sched(SCHEDOP_yield, NULL);
        if (!time_left(c)) {
            c->bad++;
            return;
        }
    }
}

static void bind_ipis(void)
{
    for (unsigned i = 0; i < n_cpus; i++) {
        ipi[i] = ipi_bind(i);
        port_owner(ipi[i], &cpus[i]);
        port_mask(ipi[i], false);
        cpus[i].on_port = served;
        hc_vcpu(VCPUOP_stop_periodic_timer, i, NULL);
    }
}

void test_smp_over(void)
{
    u64 second = 1000000000;

    n_cpus = smp_present();
    smp_start(n_cpus);
    bind_ipis();
    prepare_tables();
    note("%u vcpus", n_cpus);
    shares(hog, "vcpus that never yield");
    shares(mixture, "a self-kicker, a yielder and hogs");
    runstate_areas();
    phase(fpu_work, 2 * second, "FPU");
    everyone_got_on("x87 and SSE registers");
    phase(gpr_work, second, "general registers");
    everyone_got_on("general registers");
    phase(base_work, 2 * second, "segment bases");
    everyone_got_on("segment bases");
    phase(table_work, 2 * second, "descriptor tables");
    everyone_got_on("LDT and GDT");
    drop_tables();
    phase(watch_work, 2 * second, "breakpoints");
    everyone_got_on("breakpoints");
    phase(clock_work, 2 * second, "clocks");
    everyone_got_on("clocks");
    clocks_agree();
    phase(relay, 60 * second, "the relay");
    everyone_got_on("hand over hand by yield");
    note("%lu events served by vcpu 1", (u64)ticks[1]);
    ok(tables_are_readonly(), "no table is mapped writable");
}
