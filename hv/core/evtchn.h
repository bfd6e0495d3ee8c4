/*
 * Event channel ports: the state of each, and what may follow it. Pure: the caller owns the
 * table and serialises; delivery (pending bits in shared memory) is guest/event.c's.
 *
 *  I1 Port 0 is never used.
 *  I2 A port in state INTERDOMAIN names a peer port whose peer is this one.
 *  I3 get-free is lowest-first.
 */
#ifndef SERAI_CORE_EVTCHN_H
#define SERAI_CORE_EVTCHN_H

#include "base/types.h"

enum packed port_state {
    PORT_FREE,
    PORT_UNBOUND,     /* waits for remote_dom to bind */
    PORT_INTERDOMAIN, /* connected to remote_port of remote_dom */
    PORT_PIRQ,
    PORT_VIRQ,
    PORT_IPI,
};

struct port {
    enum port_state state;
    u8 virq;
    u16 vcpu; /* notified vcpu */
    u16 remote_dom;
    u16 pirq;
    u32 remote_port;
};

/* 2-level ABI: 64 words of 64 bits. */
#define EVTCHN_MAX_PORTS 4096
#define PORTS_PER_CHUNK  256 /* 16 bytes each: a page */
#define PORT_CHUNKS      (EVTCHN_MAX_PORTS / PORTS_PER_CHUNK)

struct port_table {
    struct port *chunks[PORT_CHUNKS]; /* NULL: not there yet */
    u32 limit;                        /* ports from here on may not be used */
};

/* NULL for port 0, beyond the limit, or where no chunk exists. */
static inline struct port *port_get(const struct port_table *t, u32 port)
{
    struct port *chunk;

    if (port == 0 || port >= t->limit)
        return NULL;
    chunk = t->chunks[port / PORTS_PER_CHUNK];
    return chunk ? &chunk[port % PORTS_PER_CHUNK] : NULL;
}

/*
 * The lowest free port, or -XEN_ENOSPC. When it lies in a chunk that does not exist yet, *chunk
 * is that chunk's index (else -1): the caller supplies zeroed memory before it uses the port.
 */
int port_find_free(const struct port_table *t, int *chunk) must_check;

/* May this port's notifications be moved to another vcpu? IPIs and per-vcpu VIRQs may not. */
bool port_may_move(const struct port *p);

/* Virtual interrupts that exist once per vcpu; the others once per domain. */
bool virq_is_per_vcpu(unsigned virq);

#endif
