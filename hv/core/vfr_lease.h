/*
 * Leases of shared addresses' ports, and their ends.
 *
 *   FREE --grant--> HELD --free, expire, revoke--> RESTING --120 s--> FREE
 *                    |  ^                              |
 *              revoke|  +--grant to the same domain----+
 *                    +--> DRAINING --free, expire--> RESTING
 *
 *  1. No port has two owners: each port of a lease, in each of its classes, has the word that the
 *     lease's state and interface make, and no port has one without a lease.
 *  2. What was given back stays with nobody for VFR_QUARANTINE_S, whatever happens meanwhile, but
 *     for the very same lease to the same domain (RFC 6888, REQ-8) if it was not revoked.
 *  3. A domain has at most VFR_LEASES_PER_DOMAIN, those that rest included; nobody ever loses one
 *     because another domain wants it.
 *  4. 'queue' is a heap by 'ends' of exactly those that end.
 *  5. Each that is not free is in its domain's chain; the free ones are a list.
 *  6. A lease's number comes back after 2^18 uses of its place at the earliest.
 *  7. Each is of a shared address, which counts its leases and what they take from blocks.
 *
 * Check, record, commit: vfr_lease_check() has no effect and fills the order in, so that the audit
 * record tells all; vfr_lease_commit() cannot fail. The end of a lease comes the same way, with
 * vfr_lease_due() for a check: it needs nobody but the clock. While no record can be written a
 * lease that is due stays what it is, so its ports go to nobody else meanwhile.
 *
 * Which block "any" is: each domain has an order of its own over all blocks of a size, made of the
 * host's key and its uuid; it gets the first that is free, and before that what it gave back last.
 * So it finds the same block again, and its place says nothing of its neighbours'.
 *
 * ICMP queries: an identifier is no port that could be chosen from a lease (Linux's ping does not
 * know about them), so a domain may use any with a peer that no other sharer asks with it. Who
 * asks is known to the table of flows, whose key has no interface in it: a query whose flow is
 * another interface's dies of VFR_R_ICMP_ID_BUSY. Here identifiers count as ports of DATAGRAM, which
 * is where answers go that belong to no flow.
 *
 * The caller owns the memory and serialises all but vfr_lease_owner(), vfr_lease_owns() and
 * vfr_lease_shared(), which may be called at any time (core/vfr_ports.h).
 */
#ifndef SERAI_CORE_VFR_LEASE_H
#define SERAI_CORE_VFR_LEASE_H

#include "abi/vfr_lease.h"
#include "core/vfr_ports.h"

#define VFR_LEASE_INDEX 0x3fff /* of an id */

struct vfr_lease {
    u8 uuid[16];
    ns_t since, ends;
    u32 id;
    u16 vif, start;
    u16 next;  /* of the domains in its chain, or of the free ones */
    u16 queue; /* its place there, if it ends */
    u8 shared; /* place of its address */
    u8 log2, classes, state, origin;
    bool revoked; /* so giving it back does not help */
    u8 spare[10];
};

#define VFR_LEASE_CHAINS 1024

struct vfr_leases {
    struct vfr_ports ports;
    struct vfr_lease *lease;
    u16 *queue;
    u32 max;      /* room for leases */
    u32 used;     /* not free */
    u32 queued;   /* in the queue */
    u16 free;     /* first free one */
    u64 key[2];   /* the host's secret */
    u64 changes;  /* since the beginning */
    ns_t started; /* an epoch: leases from before are forgotten */
    u16 chain[VFR_LEASE_CHAINS];
};

struct vfr_lease_sizes {
    u32 addresses, leases, leaves; /* of 256 ports; see core/vfr_ports.h */
};

/* Bytes for so much, 0 if it is more than can be; aligned to 8, zeroed. */
size_t vfr_lease_memory(const struct vfr_lease_sizes *n);
void vfr_lease_init(struct vfr_leases *l, const struct vfr_lease_sizes *n, void *memory,
                    const u64 key[2], ns_t now);

/* ---- at each packet ---- */

/* The class of a protocol's numbers; VFR_PC_PROTO: the number is the protocol's. */
static inline enum vfr_port_class vfr_lease_class(u8 proto)
{
    if (likely(proto == 6)) /* TCP */
        return VFR_PC_STREAM;
    if (likely(proto == 17)) /* UDP */
        return VFR_PC_DATAGRAM;
    switch (proto) {
    case 33:  /* DCCP */
    case 132: /* SCTP */
        return VFR_PC_STREAM;
    case 1:   /* ICMP */
    case 136: /* UDP-Lite */
        return VFR_PC_DATAGRAM;
    case 50: /* ESP */
    case 51: /* AH */
        return VFR_PC_SPI;
    default:
        return VFR_PC_PROTO;
    }
}

/* The ports of a shared address; NULL: it is none. */
static inline const struct vfr_shared *vfr_lease_shared(const struct vfr_leases *l,
                                                        struct vfr_addr addr)
{
    return vfr_addr_is_ip4(addr) ? vfr_ports_find(&l->ports, (u32)addr.low) : NULL;
}

static inline bool vfr_lease_is_shared(const struct vfr_leases *l, struct vfr_addr addr)
{
    return vfr_lease_shared(l, addr);
}

/*
 * What is known of a port, see VFR_PORT: OWNED and DRAINING have an owner, RESTING had one.
 * VFR_PORT_NOBODY: free, or no shared address.
 */
static inline u16 vfr_lease_owner(const struct vfr_leases *l, struct vfr_addr addr,
                                  enum vfr_port_class class, u16 port)
{
    const struct vfr_shared *s = vfr_lease_shared(l, addr);

    return s ? vfr_ports_look(&l->ports, s, class, port) : VFR_PORT_NOBODY;
}

/* What vfr_lease_owner() said is this interface's. One that drains still is. */
static inline bool vfr_port_is_of(u16 word, u16 vif)
{
    return (word & ~VFR_PORT(VFR_PORT_DRAINING, 0)) == vif;
}

/* New flows may begin. */
static inline bool vfr_port_may_open(u16 word)
{
    return word >> VFR_PORT_STATE_SHIFT == VFR_PORT_OWNED;
}

static inline bool vfr_lease_owns(const struct vfr_leases *l, u16 vif, struct vfr_addr addr,
                                  enum vfr_port_class class, u16 port)
{
    return vfr_port_is_of(vfr_lease_owner(l, addr, class, port), vif);
}

/* ---- changes ---- */

/*
 * -XEN_EINVAL: an order that makes no sense. -XEN_EADDRNOTAVAIL: no shared address. -XEN_ENOENT: no
 * such lease, or it has ended. GRANT: -XEN_EBUSY: a port is leased; -XEN_EAGAIN: one rests; -XEN_E2BIG:
 * the domain has enough; -XEN_ENOSPC: no block is free; -XEN_ENOMEM: no lease or leaf is.
 * EXTEND: -XEN_EPERM: it has been revoked. SHARE: as vfr_ports_check_share(). UNSHARE:
 * -XEN_EBUSY: there are leases, perhaps at rest.
 */
int vfr_lease_check(const struct vfr_leases *l, struct vfr_lease_order *o, ns_t now) must_check;

/* One that was checked and nothing changed since, at the same time. Returns VFR_LEASE_PORTS_80... */
u32 vfr_lease_commit(struct vfr_leases *l, const struct vfr_lease_order *o, ns_t now);

/* When the clock has something to do; INT64_MAX: never. */
ns_t vfr_lease_next(const struct vfr_leases *l);
/* Something is due: *o is it, checked. */
bool vfr_lease_due(const struct vfr_leases *l, ns_t now, struct vfr_lease_order *o) must_check;

/* A domain's interface goes: *o frees one of its leases, checked. false: there is none left. */
bool vfr_lease_of_vif(const struct vfr_leases *l, const u8 uuid[16], u16 vif,
                      struct vfr_lease_order *o) must_check;

/*
 * Fills in up to 'n' and returns how many; 0: no more. *cursor is 0 in the beginning. What changes
 * between two calls may or may not be in; nothing comes twice.
 */
u32 vfr_lease_list(const struct vfr_leases *l, u32 *cursor, struct vfr_lease_info *out, u32 n);

/* 0, or the number of the invariant that does not hold; those of core/vfr_ports.h from 101 on. */
int vfr_lease_check_all(const struct vfr_leases *l);

#endif
