#include "load.h"

#define WORK  6250 /* turns of a loop of two instructions */
#define RING  16384
#define CHUNK 256

static struct load_sheet sheet __attribute__((aligned(4096)));
static u32 own_port[MAX_CPUS]; /* its events to itself */
static unsigned members;

/* --- in the domain --- */

static void work(u64 turns)
{
    asm volatile("1: dec %0; jnz 1b" : "+r"(turns));
}

static void meet(struct cpu *c, u64 job)
{
    volatile u32 *b = sheet.barriers[job >> 8 & 63];
    u32 turn = b[1];

    work(WORK * 9 / 10 + smp_rand(c) % (WORK / 5));
    if (__atomic_add_fetch(&b[0], 1, __ATOMIC_SEQ_CST) == members) {
        b[0] = 0;
        __atomic_store_n(&b[1], turn + 1, __ATOMIC_SEQ_CST);
        return;
    }
    while (b[1] == turn && sheet.job == job)
        asm volatile("pause" : : : "memory");
}

static void hand_over(struct cpu *c)
{
    work(WORK / 5);
    port_send(cpus[(c->id + 1) % members].kick);
    poll_port(c->kick, smp_clock(c) + MS);
    port_clear(c->kick);
}

static void set_timer(struct cpu *c, u64 ns)
{
    struct vcpu_set_singleshot_timer t = {.timeout_abs_ns = ns};

    hc_vcpu(VCPUOP_set_singleshot_timer, c->id, &t);
}

static void bother_siblings(struct cpu *c)
{
    for (unsigned i = 0; i < members; i++) {
        port_send(own_port[i]);
        if (i != c->id)
            hc_vcpu(VCPUOP_send_nmi, i, NULL);
    }
}

static void one_round(struct cpu *c, u64 job)
{
    switch ((enum load_job)(job & 255)) {
    case JOB_REST:
        port_clear(c->kick);
        poll_port(c->kick, smp_clock(c) + 5 * MS);
        return;
    case JOB_SPIN:
        work(1000);
        return;
    case JOB_BARRIER:
        meet(c, job);
        return;
    case JOB_HANDOVER:
        hand_over(c);
        return;
    case JOB_STORM:
        smp_events_on(c);
        port_send(own_port[c->id]);
        return;
    case JOB_POLL:
        port_send(own_port[c->id]);
        poll_port(own_port[c->id], 0);
        return;
    case JOB_NAPS:
        port_clear(c->kick);
        poll_port(c->kick, smp_clock(c) + 20000);
        return;
    case JOB_TIMER:
        smp_events_on(c);
        set_timer(c, smp_clock(c) + 1000);
        return;
    case JOB_YIELD:
        hc_sched(SCHEDOP_yield, NULL);
        return;
    default:
        smp_events_on(c);
        bother_siblings(c);
    }
}

static void member(struct cpu *c)
{
    for (;;) {
        u64 job = sheet.job;

        one_round(c, job);
        smp_events_off(c);
        sheet.done[c->id]++;
    }
}

static void taken(struct cpu *c, u32 port)
{
    c->count++;
}

static void bind_ports(void)
{
    for (unsigned i = 0; i < members; i++) {
        u32 ports[2] = {ipi_bind(i), virq_bind(VIRQ_TIMER, i)};

        hc_vcpu(VCPUOP_stop_periodic_timer, i, NULL);
        for (unsigned n = 0; n < 2; n++) {
            port_owner(ports[n], &cpus[i]);
            port_mask(ports[n], false);
        }
        own_port[i] = ports[0];
        cpus[i].on_port = taken;
    }
}

static void other_side(void)
{
    members = smp_present();
    smp_start(members);
    bind_ports();
    for (unsigned i = 1; i < members; i++)
        smp_begin(i, member);
    domu_mail.out[0] = 1;
    member(&cpus[0]);
}

/* --- in domain 0 --- */

void load_doze(u64 ns)
{
    u64 end = clock_ns() + ns;

    while (clock_ns() < end) {
        port_clear(timer_port());
        poll_port(timer_port(), end);
    }
}

void load_make(struct load *l, unsigned vcpus)
{
    *l = (struct load){.vcpus = vcpus};
    domu_make(&l->u, other_side, vcpus);
    l->sheet = domu_view(&l->u, &sheet);
    domu_run(&l->u);
    for (unsigned i = 0; !l->u.mail->out[0] || !load_least(l); i++) {
        if (i == 10000)
            die("a load does not begin");
        load_doze(MS);
    }
}

void load_end(struct load *l)
{
    if (!domu_end(&l->u))
        die("a load does not end");
}

void load_job(struct load *l, enum load_job job)
{
    l->sheet->job = job | ++l->serial << 8;
}

u64 load_rounds(const struct load *l)
{
    u64 sum = 0;

    for (unsigned i = 0; i < l->vcpus; i++)
        sum += l->sheet->done[i];
    return sum;
}

u64 load_least(const struct load *l)
{
    u64 least = ~0UL;

    for (unsigned i = 0; i < l->vcpus; i++)
        least = l->sheet->done[i] < least ? l->sheet->done[i] : least;
    return least;
}

long sched_domain_op(struct serai_sched_domain *f)
{
    return HC(arch_7, SERAI_OP_SCHED_DOMAIN, f, 0, 0, 0);
}

void load_figures(const struct load *l, struct serai_sched_domain *f)
{
    *f = (struct serai_sched_domain){.domid = l->u.id};
    if (sched_domain_op(f))
        die("no figures of a domain");
}

void load_set(const struct load *l, unsigned gang, u32 cap_ppm)
{
    struct serai_sched_domain f;

    load_figures(l, &f);
    f.set = 1;
    f.gang = gang;
    f.cap_ppm = cap_ppm;
    if (sched_domain_op(&f))
        die("a mode is refused");
}

/* --- who ran where --- */

#define KIND_SAVED 6
#define KIND_PICK  7
#define KIND_IDLE  8
#define NOBODY     0xffff

static struct {
    const struct load *load[2];
    bool strict[2];
    u16 dom[LOAD_CPUS];     /* runs there */
    u16 leaving[LOAD_CPUS]; /* was taken off, and is not saved yet: it counts as running */
    u16 vcpu[LOAD_CPUS], leaving_vcpu[LOAD_CPUS];
    u64 time;
} seen;

static void pass_time(u64 time, struct watch *w)
{
    for (unsigned k = 0; seen.time && k < 2; k++) {
        const struct load *l = seen.load[k];
        unsigned n = 0, all = l->vcpus < LOAD_CPUS ? l->vcpus : LOAD_CPUS;

        for (unsigned cpu = 0; cpu < LOAD_CPUS; cpu++)
            n += seen.dom[cpu] == l->u.id;
        w->any[k] += n ? time - seen.time : 0;
        w->together[k] += n == all ? time - seen.time : 0;
    }
    seen.time = time;
}

static bool may_be_beside(u16 dom, u16 other)
{
    if (dom == NOBODY || other == NOBODY || dom == other)
        return true;
    for (unsigned k = 0; k < 2; k++)
        if (seen.strict[k] && (dom == seen.load[k]->u.id || other == seen.load[k]->u.id))
            return false;
    return true;
}

static void note_switch(const struct serai_sched_event *e, struct watch *w)
{
    unsigned cpu = e->cpu, beside = cpu ^ 1; /* threads of a core are neighbours */
    u16 dom = e->kind == KIND_PICK ? e->domid : NOBODY;

    pass_time(e->time, w);
    w->picks++;
    if (seen.dom[cpu] == dom && seen.vcpu[cpu] == e->vcpu)
        return;
    if (seen.dom[cpu] != NOBODY) {
        seen.leaving[cpu] = seen.dom[cpu];
        seen.leaving_vcpu[cpu] = seen.vcpu[cpu];
    }
    seen.dom[cpu] = dom;
    seen.vcpu[cpu] = e->vcpu;
    w->overlaps +=
        !may_be_beside(dom, seen.dom[beside]) || !may_be_beside(dom, seen.leaving[beside]);
}

static void note_event(const struct serai_sched_event *e, struct watch *w)
{
    if ((e->kind == KIND_PICK || e->kind == KIND_IDLE) && e->cpu < LOAD_CPUS)
        note_switch(e, w);
    for (unsigned cpu = 0; e->kind == KIND_SAVED && cpu < LOAD_CPUS; cpu++)
        if (seen.leaving[cpu] == e->domid && seen.leaving_vcpu[cpu] == e->vcpu)
            seen.leaving[cpu] = NOBODY;
}

static long trace_op(struct serai_sched_trace *t)
{
    return HC(arch_7, SERAI_OP_SCHED_TRACE, t, 0, 0, 0);
}

static void begin_watch(const struct load *a, const struct load *b, struct watch *w)
{
    struct serai_sched_trace t = {.set = 1, .capacity = RING};
    struct serai_sched_domain f;

    *w = (struct watch){0};
    memset(&seen, 0xff, sizeof(seen));
    seen.time = 0;
    for (unsigned k = 0; k < 2; k++) {
        seen.load[k] = k ? b : a;
        load_figures(seen.load[k], &f);
        seen.strict[k] = f.gang == GANG_STRICT;
    }
    if (trace_op(&t))
        die("no trace");
}

void load_watch(const struct load *a, const struct load *b, u64 ns, struct watch *w)
{
    static struct serai_sched_event events[CHUNK];
    struct serai_sched_trace t = {.capacity = CHUNK, .entries = (u64)events};
    u64 end;

    begin_watch(a, b, w);
    load_doze(ns);
    end = clock_ns();
    do {
        if (trace_op(&t))
            die("the trace cannot be read");
        w->lost += t.lost;
        for (u32 i = 0; i < t.count; i++)
            note_event(&events[i], w);
    } while (t.count && (u64)events[t.count - 1].time < end);
}
