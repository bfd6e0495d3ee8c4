/*
 * Event channel ports: the state of each, and what may follow it. Pure: writers are serialised
 * by the caller; readers need nothing, for a port is one word (port_read()). Delivery (pending
 * bits in shared memory) is guest/event.c's.
 *
 *  I1 Port 0 is never used.
 *  I2 A port in state INTERDOMAIN names a peer port whose peer is this one. Both are written
 *     under both tables' locks; a reader without them may see one end changed and the other not
 *     yet, and asks the receiving end.
 *  I3 get-free is lowest-first, so chunks appear in order.
 *  I4 A chunk, once there, stays until no reader can know of it any more.
 */
#ifndef SERAI_CORE_EVTCHN_H
#define SERAI_CORE_EVTCHN_H

#include "base/types.h"

enum packed port_state {
    PORT_FREE,
    PORT_UNBOUND,     /* waits for remote_dom to bind */
    PORT_INTERDOMAIN, /* connected to port 'number' of remote_dom */
    PORT_PIRQ,        /* 'number' */
    PORT_VIRQ,        /* 'number' */
    PORT_IPI,
    PORT_SERVICE, /* the hypervisor itself listens, for 'remote_dom'; 'number' tells it to what */
};

struct port {
    enum port_state state;
    u8 vcpu; /* notified vcpu */
    u16 remote_dom;
    u16 number; /* by state: the peer's port, the physical or virtual interrupt */
    u16 spare;
} __aligned(8);

/* 2-level ABI: 64 words of 64 bits. */
#define EVTCHN_MAX_PORTS 4096
#define PORTS_PER_CHUNK  128 /* 1 KiB: most domains need no second one */
#define PORT_CHUNKS      (EVTCHN_MAX_PORTS / PORTS_PER_CHUNK)

struct port_table {
    struct port *chunks[PORT_CHUNKS]; /* (atomic) NULL: not there yet */
    u32 limit;                        /* ports from here on may not be used */
};

/* NULL for port 0, beyond the limit, or where no chunk exists. */
static inline struct port *port_get(const struct port_table *t, u32 port)
{
    struct port *chunk;

    if (port == 0 || port >= t->limit)
        return NULL;
    port &= EVTCHN_MAX_PORTS - 1; /* also when the branch above is predicted wrong */
    chunk = __atomic_load_n(&t->chunks[port / PORTS_PER_CHUNK], __ATOMIC_ACQUIRE);
    return chunk ? &chunk[port % PORTS_PER_CHUNK] : NULL;
}

static inline struct port port_read(const struct port *p)
{
    struct port now;

    __atomic_load(p, &now, __ATOMIC_ACQUIRE);
    return now;
}

static inline void port_write(struct port *p, struct port now)
{
    __atomic_store(p, &now, __ATOMIC_RELEASE);
}

/* What the table says about a port; PORT_FREE for one that it cannot have. */
static inline struct port port_look(const struct port_table *t, u32 port)
{
    const struct port *p = port_get(t, port);

    return p ? port_read(p) : (struct port){.state = PORT_FREE};
}

/*
 * The lowest free port, or -XEN_ENOSPC. When it lies in a chunk that does not exist yet, *chunk
 * is that chunk's index (else -1): the caller supplies zeroed memory before it uses the port.
 */
int port_find_free(const struct port_table *t, int *chunk) must_check;

/* May this port's notifications be moved to another vcpu? IPIs and per-vcpu VIRQs may not. */
bool port_may_move(struct port p);

/* Waits for 'dom' to bind. */
static inline bool port_awaits(struct port p, u16 dom)
{
    return p.state == PORT_UNBOUND && p.remote_dom == dom;
}

/* Connected to port 'port' of domain 'dom'. */
static inline bool port_is_peer(struct port p, u16 dom, u32 port)
{
    return p.state == PORT_INTERDOMAIN && p.remote_dom == dom && p.number == port;
}

/* Virtual interrupts that exist once per vcpu; the others once per domain. */
bool virq_is_per_vcpu(unsigned virq);

#endif
