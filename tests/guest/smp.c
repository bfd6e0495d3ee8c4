/*
 * More vcpus: contexts, stacks, IPI ports, work to do at the same time, bounded waits.
 *
 * A vcpu is known by the stack it runs on. Vcpu 0 stays on the boot stack and is the only one
 * that reports checks, takes pages or walks tables (what mem.c and lib.c keep is not guarded);
 * the others count in their struct cpu. They idle in SCHEDOP_poll on their own masked port.
 */
#include "guest.h"

#define STACK_SIZE 32768
#define LONG_NS    90000000000UL /* nothing takes that long but a hang */

struct ex_entry {
    u64 rip, resume;
};
extern const struct ex_entry ex_start[], ex_end[];
extern char smp_stubs[], smp_event_stub[], smp_failsafe_stub[];

static u8 stacks[MAX_CPUS][STACK_SIZE] __attribute__((aligned(STACK_SIZE)));
struct cpu cpus[MAX_CPUS];
static unsigned started;

void smp_trap(struct regs *r);

struct cpu *smp_self(void)
{
    u64 at = (u64)__builtin_frame_address(0) - (u64)stacks;

    return &cpus[at < sizeof(stacks) ? at / STACK_SIZE : 0];
}

u64 smp_clock(const struct cpu *c)
{
    return clock_ns_of(&c->vi->time);
}

u64 smp_rand(struct cpu *c)
{
    c->rand ^= c->rand << 13;
    c->rand ^= c->rand >> 7;
    return c->rand ^= c->rand << 17;
}

/* --- traps --- */

/* Takes the ports that are this vcpu's own; others in the same word are left alone. */
static void serve_ports(struct cpu *c)
{
    u64 sel;

    c->vi->evtchn_upcall_pending = 0;
    sel = __atomic_exchange_n(&c->vi->evtchn_pending_sel, 0, __ATOMIC_SEQ_CST);
    for (; sel; sel &= sel - 1) {
        unsigned w = __builtin_ctzl(sel);
        u64 *pending = &shared->evtchn_pending[w];
        u64 due =
            *(volatile u64 *)pending & ~*(volatile u64 *)&shared->evtchn_mask[w] & c->ports[w];

        due &= __atomic_fetch_and(pending, ~due, __ATOMIC_SEQ_CST);
        for (; due; due &= due - 1)
            if (c->on_port)
                c->on_port(c, w * 64 + __builtin_ctzl(due));
    }
}

static bool fixed_up(struct regs *r)
{
    for (const struct ex_entry *e = ex_start; e < ex_end; e++)
        if (e->rip == r->rip) {
            r->rip = e->resume;
            return true;
        }
    return false;
}

void smp_trap(struct regs *r)
{
    struct cpu *c = smp_self();

    if (r->vec == VEC_EVENT) {
        c->events++;
        serve_ports(c);
        return;
    }
    if (r->vec == 2) {
        c->nmis++;
        return;
    }
    c->vec = r->vec;
    c->faults++;
    if (r->vec == VEC_FAILSAFE)
        return;
    c->cr2 = c->vi->arch.cr2;
    if (r->vec == 1 && !(r->rflags & 0x100)) {
        c->watched++;
        return;
    }
    /* Vcpu 0 runs code that looks at the record of trap.c. */
    if (c == &cpus[0]) {
        trap_enter(r);
        return;
    }
    if (fixed_up(r))
        return;
    print("Bail out! vcpu %u: trap %lu (%s) ec %lx rip %lx rsp %lx cr2 %lx\n", c->id, r->vec,
          vec_name(r->vec), r->ec, r->rip, r->rsp, (u64)c->cr2);
    power_off();
}

/* --- waiting --- */

void smp_relax(struct cpu *c, struct patience *p, const char *what)
{
    asm volatile("pause" : : : "memory");
    if (++p->rounds & 255)
        return;
    if (!p->end)
        p->end = smp_clock(c) + LONG_NS;
    if (smp_clock(c) > p->end) {
        print("Bail out! vcpu %u waited too long: %s\n", c->id, what);
        power_off();
    }
    hc_sched(SCHEDOP_yield, NULL);
}

void smp_barrier(struct cpu *c, struct barrier *b, unsigned n)
{
    unsigned turn = __atomic_load_n(&b->turn, __ATOMIC_SEQ_CST);

    if (__atomic_add_fetch(&b->count, 1, __ATOMIC_SEQ_CST) == n) {
        b->count = 0;
        __atomic_store_n(&b->turn, turn + 1, __ATOMIC_SEQ_CST);
        return;
    }
    WAIT_FOR(c, __atomic_load_n(&b->turn, __ATOMIC_SEQ_CST) != turn, "the others at a barrier");
}

/* --- ports --- */

u32 ipi_bind(unsigned vcpu)
{
    struct evtchn_bind_ipi op = {.vcpu = vcpu};

    return hc_evtchn(EVTCHNOP_bind_ipi, &op) ? 0 : op.port;
}

u32 virq_bind(unsigned virq, unsigned vcpu)
{
    struct evtchn_bind_virq op = {.virq = virq, .vcpu = vcpu};

    return hc_evtchn(EVTCHNOP_bind_virq, &op) ? 0 : op.port;
}

long port_send(u32 port)
{
    struct evtchn_send op = {.port = port};

    return hc_evtchn(EVTCHNOP_send, &op);
}

long port_close(u32 port)
{
    struct evtchn_close op = {.port = port};

    return hc_evtchn(EVTCHNOP_close, &op);
}

void port_owner(u32 port, const struct cpu *owner)
{
    for (unsigned i = 0; i < MAX_CPUS; i++) {
        u64 bit = 1UL << (port % 64), *word = &cpus[i].ports[port / 64];

        if (&cpus[i] == owner)
            __atomic_fetch_or(word, bit, __ATOMIC_SEQ_CST);
        else
            __atomic_fetch_and(word, ~bit, __ATOMIC_SEQ_CST);
    }
}

long poll_port(u32 port, u64 timeout_ns)
{
    evtchn_port_t list[1] = {port};
    struct sched_poll p = {.nr_ports = 1, .timeout = timeout_ns};

    set_xen_guest_handle(p.ports, list);
    return hc_sched(SCHEDOP_poll, &p);
}

/* What an unmasking kernel does: clear the mask, enter the hypervisor when one is pending. */
void smp_events_on(struct cpu *c)
{
    c->vi->evtchn_upcall_mask = 0;
    asm volatile("" : : : "memory");
    if (*(volatile u8 *)&c->vi->evtchn_upcall_pending)
        hc_version(XENVER_version, NULL);
}

void smp_events_off(struct cpu *c)
{
    c->vi->evtchn_upcall_mask = 1;
    asm volatile("" : : : "memory");
}

/* --- vcpus --- */

unsigned smp_present(void)
{
    unsigned n = 0;

    while (n < MAX_CPUS && hc_vcpu(VCPUOP_is_up, n, NULL) >= 0)
        n++;
    return n;
}

static void run_entry(struct cpu *c)
{
    c->entry(c);
    for (;;)
        hc_vcpu(VCPUOP_down, c->id, NULL);
}

void *smp_stack(unsigned id)
{
    return stacks[id] + STACK_SIZE;
}

struct vcpu_guest_context *smp_context(unsigned id, void (*entry)(struct cpu *))
{
    static struct vcpu_guest_context x;
    struct cpu *c = &cpus[id];

    memset(&x, 0, sizeof(x));
    c->entry = entry;
    x.flags = VGCF_in_kernel;
    x.user_regs.rip = (u64)run_entry;
    x.user_regs.rsp = (u64)smp_stack(id) - 8; /* as after a call */
    x.user_regs.rdi = (u64)c;
    x.user_regs.cs = FLAT_KERNEL_CS;
    x.user_regs.ss = FLAT_KERNEL_SS;
    x.user_regs.rflags = 0x1000;
    for (unsigned v = 0; v < 256; v++) {
        x.trap_ctxt[v].vector = v;
        x.trap_ctxt[v].flags = v == 3 || v == 4 || v == 0x80 ? 3 : 0;
        x.trap_ctxt[v].cs = FLAT_KERNEL_CS;
        x.trap_ctxt[v].address = (u64)smp_stubs + v * 16;
    }
    x.kernel_ss = FLAT_KERNEL_SS;
    x.kernel_sp = (u64)stacks[id] + STACK_SIZE / 4;
    x.ctrlreg[3] = maddr_of(l4_table());
    x.event_callback_eip = (u64)smp_event_stub;
    x.failsafe_callback_eip = (u64)smp_failsafe_stub;
    return &x;
}

static void idle(struct cpu *c)
{
    for (;;) {
        void (*work)(struct cpu *) = c->work;

        if (!work) {
            port_clear(c->kick);
            if (!c->work && poll_port(c->kick, 0))
                hc_sched(SCHEDOP_yield, NULL);
            continue;
        }
        work(c);
        smp_events_off(c);
        __atomic_store_n(&c->work, NULL, __ATOMIC_SEQ_CST);
    }
}

/* The port a vcpu idles on stays masked: a poll needs no more. */
void smp_bind_kicks(void)
{
    for (unsigned i = 0; i < started; i++) {
        cpus[i].kick = ipi_bind(i);
        if (!cpus[i].kick)
            die("cannot bind an IPI");
        port_mask(cpus[i].kick, true);
    }
}

static void start_self(void)
{
    cpus[0].vi = vi;
    trap_table_at(0, smp_stubs);
    callback_register(CALLBACKTYPE_event, smp_event_stub, CALLBACKF_mask_events);
    callback_register(CALLBACKTYPE_failsafe, smp_failsafe_stub, CALLBACKF_mask_events);
}

void smp_init(void)
{
    if (cpus[0].vi)
        return;
    vi->evtchn_upcall_mask = 1;
    for (unsigned i = 0; i < 64; i++)
        shared->evtchn_mask[i] = ~0UL;
    for (unsigned i = 0; i < MAX_CPUS; i++) {
        cpus[i].id = i;
        cpus[i].rand = 0x9e3779b97f4a7c15 * (i + 1);
        cpus[i].vi = &shared->vcpu_info[i];
        cpus[i].vi->evtchn_upcall_mask = 1;
    }
    start_self();
    window(0);
}

void smp_start(unsigned n)
{
    smp_init();
    if (smp_present() < n)
        die("too few vcpus: dom0_max_vcpus is missing or ignored");
    started = started ? started : 1;
    for (; started < n; started++) {
        if (hc_vcpu(VCPUOP_initialise, started, smp_context(started, idle)))
            die("a vcpu cannot be initialised");
    }
    smp_bind_kicks();
    for (unsigned i = 1; i < n; i++)
        if (hc_vcpu(VCPUOP_up, i, NULL))
            die("a vcpu does not come up");
}

void smp_begin(unsigned id, void (*work)(struct cpu *))
{
    cpus[id].good = cpus[id].bad = cpus[id].count = 0;
    __atomic_store_n(&cpus[id].work, work, __ATOMIC_SEQ_CST);
    port_send(cpus[id].kick);
}

void smp_finish(unsigned id, const char *what)
{
    WAIT_FOR(&cpus[0], !__atomic_load_n(&cpus[id].work, __ATOMIC_SEQ_CST), what);
}

void smp_all(unsigned n, void (*work)(struct cpu *), const char *what)
{
    cpus[0].good = cpus[0].bad = cpus[0].count = 0;
    for (unsigned i = 1; i < n; i++)
        smp_begin(i, work);
    work(&cpus[0]);
    smp_events_off(&cpus[0]);
    for (unsigned i = 1; i < n; i++)
        smp_finish(i, what);
}

u64 smp_sum_bad(unsigned n)
{
    u64 sum = 0;

    for (unsigned i = 0; i < n; i++)
        sum += cpus[i].bad;
    return sum;
}

u64 smp_sum_good(unsigned n)
{
    u64 sum = 0;

    for (unsigned i = 0; i < n; i++)
        sum += cpus[i].good;
    return sum;
}

/* --- frames --- */

struct slot smp_slot(unsigned n)
{
    u64 va = window(n);
    u64 *entry = pte_at(va, 1);

    return (struct slot){.va = va, .entry = entry, .maddr = maddr_of(entry)};
}

/*
 * A page whose every reference is gone can be exchanged for another, and only such a page can.
 * The page ends up mapped again, with a new frame below it.
 */
bool smp_exchangeable(void *page)
{
    u64 mfn = mfn_of(page), out = pfn_of(page);
    struct xen_memory_exchange ex = {.in = {.nr_extents = 1, .domid = DOMID_SELF},
                                     .out = {.nr_extents = 1, .domid = DOMID_SELF}};
    long rc;

    if (hc_update_va(page, 0, UVMF_INVLPG | UVMF_ALL))
        return false;
    set_xen_guest_handle(ex.in.extent_start, &mfn);
    set_xen_guest_handle(ex.out.extent_start, &out);
    rc = hc_memory(XENMEM_exchange, &ex);
    if (!rc && ex.nr_exchanged == 1)
        ((u64 *)start->mfn_list)[pfn_of(page)] = mfn = out;
    if (hc_update_va(page, mfn << 12 | PTE_KERN, UVMF_INVLPG)) {
        print("Bail out! frame %lx cannot be mapped again; exchange said %ld, %lu, gave %lx\n",
              mfn, rc, (u64)ex.nr_exchanged, out);
        power_off();
    }
    return !rc && ex.nr_exchanged == 1;
}

/* --- fights --- */

u64 *smp_page[SMP_PAGES];
u64 smp_mfn[SMP_PAGES];
static volatile u64 turns[MAX_CPUS][8];
static struct barrier start_line;
static unsigned fighters;

void smp_pages_take(void)
{
    for (unsigned i = 0; i < SMP_PAGES; i++) {
        smp_page[i] = page_alloc();
        smp_mfn[i] = mfn_of(smp_page[i]);
    }
}

void smp_pages_are_free(const char *what)
{
    unsigned bad = 0;

    for (unsigned i = 0; i < SMP_PAGES; i++) {
        bad += !smp_exchangeable(smp_page[i]);
        smp_mfn[i] = mfn_of(smp_page[i]);
    }
    is(bad, 0, "%s: no frame has a reference left", what);
}

bool smp_table_is_free(void *table)
{
    unpin(table);
    if (set_rw(table))
        return false;
    memset(table, 0, PAGE_SIZE);
    return smp_exchangeable(table);
}

long smp_reservation(void)
{
    domid_t self = DOMID_SELF;

    return hc_memory(XENMEM_current_reservation, &self);
}

void rounds_start(struct cpu *c, unsigned n)
{
    fighters = n;
    turns[c->id][0] = 0;
    smp_barrier(c, &start_line, n);
}

bool rounds_left(struct cpu *c, u64 n)
{
    static u64 end[MAX_CPUS];
    u64 mine = turns[c->id][0]++;

    if (mine == 0)
        end[c->id] = smp_clock(c) + LONG_NS;
    if ((mine & 255) == 255 && smp_clock(c) > end[c->id])
        die("a vcpu gets no rounds");
    for (unsigned i = 0; i < fighters; i++)
        if (turns[i][0] <= n)
            return true;
    return false;
}
