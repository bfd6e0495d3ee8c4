/*
 * The world of events.c: three domains of one vcpu and a few ports, what their vcpus and domain 0
 * ask for, and what must be true.
 */
#ifndef SERAI_TESTS_EVENT_WORLD_H
#define SERAI_TESTS_EVENT_WORLD_H

#include "event_mutants.h"
#include <string.h>

#define CPUS    3
#define DOMAINS 3
#define PORTS   4 /* 1 to 3 exist */

struct world {
    struct domain domains[DOMAINS];
    struct vcpu vcpus[DOMAINS];
    bool gone[DOMAINS]; /* taken apart: its frames are somebody else's */
    bool freed[DOMAINS];
    u8 locks[CPUS]; /* held */
    u64 interrupts[CPUS];
    bool poked[CPUS];
    u64 changes; /* of ports */
    u32 stop_seen[CPUS];
    struct port *late[CPUS]; /* KICK_EARLY */
    struct port late_value[CPUS];
    struct {
        const struct port_table *table;
        u32 port;
        struct port was;
    } looked[CPUS]; /* NO_SECOND_LOOK */
    u16 from[CPUS]; /* who sends, on which port; 0: nothing is sent */
    u32 from_port[CPUS];
    u32 named[CPUS][DOMAINS]; /* ports that named the sender's while it sent: a bit each */
    bool reached[CPUS];       /* an event of it has arrived */
    bool data, sent;          /* what TELL is about */
    bool seen[DOMAINS];
    u32 bound[DOMAINS]; /* the port of BIND_LOOK */
    u32 pirq_port;
    u8 nr_pirq_binds;
};

static struct world w;
static struct shared_info pages[DOMAINS];
static struct port chunks[DOMAINS][PORTS_PER_CHUNK];
static unsigned me; /* the CPU that is running */
bool changed;
static bool building; /* nobody comes in between */
struct domain *dom0 = &w.domains[0];
unsigned nr_cpus;

/* Ends this schedule: a rule is broken. */
_Noreturn void violate(const char *rule);
void give_way(void);
void give_way_until_change(void);
bool is_at_rest(unsigned cpu); /* between operations */

void bug_report(const char *expr, const char *file, int line)
{
    violate(expr);
}

/* ---- memory ---- */

static bool is_in(const volatile void *p, const void *object, size_t size)
{
    return (const volatile u8 *)p >= (const u8 *)object &&
           (const volatile u8 *)p < (const u8 *)object + size;
}

/* Where no difference can be made: chunks of ports that are never used, other virqs. */
static bool is_dull(const volatile void *p)
{
    for (unsigned d = 0; d < DOMAINS; d++)
        if (is_in(p, &w.domains[d].ports.chunks[1], (PORT_CHUNKS - 1) * sizeof(void *)))
            return true;
    return is_in(p, virq_handlers, sizeof(virq_handlers)) && p != &virq_handlers[VIRQ_DOM_EXC];
}

void touch(const volatile void *p)
{
    if (!building && !is_dull(p))
        give_way();
    for (unsigned d = 0; d < DOMAINS; d++) {
        if (w.gone[d] && is_in(p, &pages[d], sizeof(pages[d])))
            violate("a shared page is used that is somebody else's");
        if (w.freed[d] && is_in(p, chunks[d], sizeof(chunks[d])))
            violate("ports are used that are freed");
    }
}

/* One chunk for each domain: the first that has none. */
void *heap_alloc(size_t size)
{
    for (unsigned d = 0; d < DOMAINS; d++)
        if (w.locks[me] && w.domains[d].event_lock.held && !w.domains[d].ports.chunks[0] &&
            !w.freed[d])
            return chunks[d];
    return NULL;
}

void heap_free(void *p, size_t size)
{
    for (unsigned d = 0; d < DOMAINS; d++)
        if (p == chunks[d])
            w.freed[d] = true;
}

/* ---- domains ---- */

struct domain *domain_peek(u16 id)
{
    if (!building)
        give_way();
    return id < DOMAINS && w.domains[id].refs ? &w.domains[id] : NULL;
}

struct domain *domain_get(u16 id)
{
    struct domain *d = domain_peek(id);

    if (d)
        d->refs++;
    return d;
}

void domain_put(struct domain *d)
{
    if (!building)
        give_way();
    changed = true;
    d->refs--;
}

struct vcpu *current_vcpu(void)
{
    return &w.vcpus[0];
}

bool vcpu_has_event(const struct vcpu *v)
{
    return false;
}

void vcpu_wake(struct vcpu *v, enum sched_wake why)
{
    if (w.gone[v->domain->id])
        violate("a vcpu is woken that is no more");
}

int pirq_bind(struct domain *d, u32 pirq, u32 port, bool share)
{
    if (!building)
        give_way();
    if (w.pirq_port)
        return -XEN_EEXIST;
    w.pirq_port = port;
    return 0;
}

void pirq_unbind(struct domain *d, u32 pirq, u32 port)
{
    if (!building)
        give_way();
    if (w.pirq_port != port)
        violate("a pirq is unbound that is not bound to the port");
    w.pirq_port = 0;
}

/* ---- locks, interrupts ---- */

void lock_rank_acquire(enum lock_rank rank)
{
    if (w.locks[me]++)
        violate("a rank is taken twice");
}

void lock_rank_release(enum lock_rank rank)
{
    w.locks[me]--;
}

void tlb_relax(void)
{
    give_way_until_change();
}

struct cpu *this_cpu(void)
{
    static struct cpu cpus[CPUS] = {{0}, {1}, {2}};

    return &cpus[me];
}

/* With one on its way: asked until it is taken. */
u64 irq_count(unsigned cpu)
{
    if (!building && w.poked[cpu])
        give_way_until_change();
    else if (!building)
        give_way();
    /* As if it had taken one, whenever it is asked. */
    return MUTANT == M_NO_WAIT ? w.interrupts[cpu]++ : w.interrupts[cpu];
}

static void take_interrupt(unsigned cpu)
{
    changed |= w.poked[cpu];
    w.interrupts[cpu] += w.poked[cpu];
    w.poked[cpu] = false;
}

void irq_poke(unsigned cpu)
{
    if (!building)
        give_way();
    w.poked[cpu] = changed = true;
    if (building || is_at_rest(cpu))
        take_interrupt(cpu);
}

void preempt_point(void)
{
    if (w.locks[me])
        violate("a preemption point with a lock held");
    take_interrupt(me);
    if (!building)
        give_way();
}

/* ---- what is watched ---- */

static struct port port_of(unsigned d, u32 port)
{
    const struct port *chunk = w.domains[d].ports.chunks[0];

    return chunk && port ? chunk[port] : (struct port){.state = PORT_FREE};
}

static bool names(unsigned d, u32 port, u16 other, u32 other_port)
{
    struct port p = port_of(d, port);

    return p.state == PORT_INTERDOMAIN && p.remote_dom == other && p.number == other_port;
}

static void note_names(unsigned cpu)
{
    for (unsigned d = 0; d < DOMAINS && w.from_port[cpu]; d++)
        for (u32 port = 1; port < PORTS; port++)
            if (names(d, port, w.from[cpu], w.from_port[cpu]))
                w.named[cpu][d] |= 1U << port;
}

void port_changed(void)
{
    w.changes++;
    for (unsigned c = 0; c < nr_cpus; c++)
        note_names(c);
}

/* Whoever is sent an event was connected to the sender at some moment since it began. */
void event_arrives(const volatile void *p, u64 bit)
{
    for (unsigned d = 0; d < DOMAINS; d++) {
        if (p != &pages[d].evtchn_pending[0] || !w.from_port[me])
            continue;
        if (!(w.named[me][d] & bit))
            violate("an event arrives where the sender is not connected to");
        w.reached[me] = true;
    }
}

static bool is_pending(unsigned d, u32 port)
{
    return pages[d].evtchn_pending[0] >> port & 1;
}

/* ---- seeded errors ---- */

u64 mutant_load(const volatile void *p, u64 value)
{
    for (unsigned d = 0; d < DOMAINS; d++) {
        if (p != &w.domains[d].stop)
            continue;
        if (MUTANT == M_DYING_IGNORED)
            return 0;
        if (MUTANT == M_DYING_EARLY)
            return w.stop_seen[me] >> d & 1 ? STOP_DYING : 0;
    }
    return value;
}

bool mutant_store(const volatile void *p)
{
    for (unsigned d = 0; d < DOMAINS; d++)
        if (MUTANT == M_SHARED_KEPT && p == &w.domains[d].shared)
            return false;
    return true;
}

static bool closing_all; /* and has not had the lock yet */

void mutant_lock(struct spinlock *l)
{
    if (MUTANT != M_NO_FIRST_LOCK || !closing_all)
        lock(l);
}

void mutant_unlock(struct spinlock *l)
{
    if (MUTANT != M_NO_FIRST_LOCK || !closing_all)
        unlock(l);
    closing_all = false;
}

void mutant_lock_pair(struct spinlock *a, struct spinlock *b)
{
    if (MUTANT == M_LOCK_ORDER) {
        lock(a);
        if (a != b)
            lock_spin(b);
    } else if (MUTANT == M_ONE_LOCK)
        lock(a);
    else
        lock_pair(a, b);
}

void mutant_unlock_pair(struct spinlock *a, struct spinlock *b)
{
    if (w.late[me]) {
        port_write(w.late[me], w.late_value[me]);
        w.late[me] = NULL;
    }
    unlock_pair(a, MUTANT == M_ONE_LOCK ? a : b);
}

bool mutant_is_peer(struct port p, u16 dom, u32 port)
{
    return MUTANT == M_NO_RECEIVER_CHECK ? p.state != PORT_FREE : port_is_peer(p, dom, port);
}

/* The other end of a connection is one that was unbound; of a close, one that becomes so. */
void mutant_write(struct port *p, struct port now)
{
    if (!p)
        violate("a port is written that is not there");
    if (MUTANT == M_KICK_EARLY && p->state == PORT_UNBOUND && now.state == PORT_INTERDOMAIN) {
        w.late[me] = p;
        w.late_value[me] = now;
        return;
    }
    if (MUTANT == M_PEER_KEPT && p->state == PORT_INTERDOMAIN && now.state == PORT_UNBOUND)
        return;
    port_write(p, now);
}

struct port mutant_look(const struct port_table *t, u32 port)
{
    struct port p = port_look(t, port);

    if (MUTANT == M_NO_SECOND_LOOK && w.locks[me] && w.looked[me].table == t &&
        w.looked[me].port == port)
        return w.looked[me].was;
    w.looked[me].table = t;
    w.looked[me].port = port;
    w.looked[me].was = p;
    return p;
}

void mutant_set_pending(struct domain *d, u32 port)
{
    if (MUTANT != M_NO_KICK)
        event_set_pending(d, port);
}

int mutant_pirq_bind(struct domain *d, u32 pirq, u32 port, bool share)
{
    int rc;

    if (MUTANT != M_PIRQ_UNLOCKED)
        return pirq_bind(d, pirq, port, share);
    unlock(&d->event_lock);
    rc = pirq_bind(d, pirq, port, share);
    lock(&d->event_lock);
    return rc;
}

/* ---- what is asked for ---- */

enum op {
    DONE,
    ALLOC,     /* in domain d, for domain a */
    BIND,      /* from domain d to port b of domain a */
    CLOSE,     /* port a of domain d */
    SEND,      /* on port a of domain d */
    RESET,     /* of domain d */
    DIE,       /* domain d, with all that follows */
    BIND_VIRQ, /* domain d binds DOM_EXC */
    HAND_VIRQ, /* DOM_EXC to domain d */
    SEND_VIRQ,
    PIRQ,      /* domain d binds the pirq */
    CLOCK,     /* something is written to the shared page of d */
    TELL,      /* data, then SEND */
    BIND_LOOK, /* BIND; looks at the data if there is an event */
    LOOK,      /* if there is an event at port a of d */
};

struct step {
    u8 op, d, a, b;
};

/* An event that is sent while nothing changes arrives. */
static int send(struct domain *d, u32 port)
{
    struct port p = port_of(d->id, port);
    u64 changes = w.changes;
    bool connected = p.state == PORT_INTERDOMAIN && names(p.remote_dom, p.number, d->id, port);
    int rc;

    w.from[me] = d->id;
    w.from_port[me] = port;
    memset(w.named[me], 0, sizeof(w.named[me]));
    note_names(me);
    w.reached[me] = false;
    rc = event_send(d, port);
    w.from_port[me] = 0;
    if (connected && w.changes == changes && !w.reached[me])
        violate("an event is lost");
    return rc;
}

static void look(unsigned d, u32 port)
{
    if (!is_pending(d, port))
        return;
    give_way();
    pages[d].evtchn_pending[0] &= ~BIT(port);
    give_way();
    w.seen[d] |= w.data;
}

static void die(struct domain *d)
{
    __atomic_store_n(&d->stop, STOP_DYING, __ATOMIC_SEQ_CST);
    closing_all = MUTANT == M_NO_FIRST_LOCK;
    while (event_close_all(d))
        preempt_point();
    w.gone[d->id] = true;
    domain_put(d);
}

static void write_clock(struct domain *d)
{
    struct shared_info *s = d->shared;

    __atomic_store_n(&s->wc_version, 1, __ATOMIC_SEQ_CST);
    __atomic_store_n(&s->wc_version, 2, __ATOMIC_SEQ_CST);
}

static void bind_look(struct domain *d, u16 dom, u32 remote)
{
    u32 port;

    if (event_bind_interdomain(d, dom, remote, &port))
        return;
    w.bound[d->id] = port;
    look(d->id, port);
}

/* Domain 0's vcpu holds a reference for an operation on another domain. */
static void perform_on(struct domain *d, struct step s)
{
    u32 port;

    switch ((enum op)s.op) {
    case ALLOC:
        (void)!event_alloc_unbound(d, s.a, &port);
        break;
    case BIND:
        (void)!event_bind_interdomain(d, s.a, s.b, &port);
        break;
    case CLOSE:
        (void)!event_close(d, s.a);
        break;
    case SEND:
        (void)!send(d, s.a);
        break;
    case RESET:
        event_reset(d);
        break;
    case DIE:
        die(d);
        break;
    case BIND_VIRQ:
        (void)!event_bind_virq(d, VIRQ_DOM_EXC, 0, &port);
        break;
    case HAND_VIRQ:
        (void)!event_set_virq_handler(d, VIRQ_DOM_EXC);
        break;
    case PIRQ:
        w.nr_pirq_binds += !event_bind_pirq(d, 1, false, &port);
        break;
    case CLOCK:
        write_clock(d);
        break;
    case TELL:
        w.data = true;
        w.sent |= !send(d, s.a);
        break;
    case BIND_LOOK:
        bind_look(d, s.a, s.b);
        break;
    case LOOK:
        look(d->id, s.a);
        break;
    case DONE:
    case SEND_VIRQ:
        break;
    }
}

static void perform(struct step s)
{
    struct domain *d = domain_get(s.d);

    w.stop_seen[me] = 0;
    for (unsigned i = 0; i < DOMAINS; i++)
        w.stop_seen[me] |= (w.domains[i].stop ? 1U : 0) << i;
    if (s.op == SEND_VIRQ)
        event_send_global_virq(VIRQ_DOM_EXC);
    else if (d)
        perform_on(d, s);
    if (d)
        domain_put(d);
}

/* ---- rules ---- */

static void check_port(unsigned d, u32 port)
{
    struct port p = port_of(d, port);

    if (p.state == PORT_INTERDOMAIN && !names(p.remote_dom, p.number, (u16)d, port))
        violate("I2: a connection has one end");
    if (p.state == PORT_PIRQ && w.pirq_port != port)
        violate("4: a port is a pirq's that does not name it");
    if (p.state == PORT_VIRQ && w.domains[d].global_virq[p.number] != port)
        violate("a port is a virq's that does not name it");
}

/* When nothing is under way. */
static void check_world(void)
{
    for (unsigned d = 0; d < DOMAINS; d++) {
        struct domain *is = &w.domains[d];

        for (u32 port = 1; port < PORTS; port++)
            check_port(d, port);
        if (is->event_lock.held)
            violate("a lock is left");
        if (is->refs != (w.gone[d] ? 0 : 1))
            violate("a reference is left");
        if (w.gone[d] && (is->ports.chunks[0] || is->global_virq[VIRQ_DOM_EXC]))
            violate("3: a dead domain has a port");
        if (w.gone[d] && virq_handlers[VIRQ_DOM_EXC] == d)
            violate("a dead domain has a virq");
        if (w.bound[d] && w.sent && !w.seen[d] && !is_pending(d, w.bound[d]))
            violate("1: who bound does not learn what was told him");
    }
    if (w.pirq_port && port_of(0, w.pirq_port).state != PORT_PIRQ)
        violate("4: a pirq names a port that is not its own");
}

static void build_world(const struct step *steps)
{
    building = true;
    memset(&w, 0, sizeof(w));
    memset(virq_handlers, 0, sizeof(virq_handlers));
    for (unsigned d = 0; d < DOMAINS; d++) {
        struct domain *is = &w.domains[d];

        pages[d].evtchn_pending[0] = pages[d].evtchn_mask[0] = 0;
        memset(&pages[d].vcpu_info[0], 0, sizeof(pages[d].vcpu_info[0]));
        memset(chunks[d], 0, PORTS * sizeof(struct port));
        is->id = (u16)d;
        is->refs = 1;
        is->max_vcpus = 1;
        is->vcpus[0] = &w.vcpus[d];
        is->shared = &pages[d];
        is->event_lock = (struct spinlock)SPINLOCK(LOCK_EVENTS);
        is->ports.limit = PORTS;
        w.vcpus[d].domain = is;
        w.vcpus[d].entry.info = (u8 *)&pages[d].vcpu_info[0];
    }
    me = 0;
    for (; steps->op; steps++)
        perform(*steps);
    for (unsigned d = 0; d < DOMAINS; d++)
        pages[d].evtchn_pending[0] = 0;
    closing_all = false;
    building = false;
}

#endif
