/*
 * Leases of shared addresses' ports: what the hypervisor and domain 0's tools both know. Numbers
 * go into audit records and stores, so a number once given keeps its meaning.
 *
 * A shared IPv4 address belongs to several domains. Each owns some of its ports, and itself sends
 * from them: nothing is rewritten on the way.
 */
#ifndef SERAI_ABI_VFR_LEASE_H
#define SERAI_ABI_VFR_LEASE_H

#include "abi/vfr.h"
#include <stdint.h>

#define VFR_SHARED_MAX        64
#define VFR_LEASES_MAX        16384
#define VFR_LEASES_PER_DOMAIN 64   /* those in quarantine included */
#define VFR_BLOCK_FIRST       4096 /* below it ports are leased one by one */
#define VFR_BLOCK_LOG2_MIN    6
#define VFR_BLOCK_LOG2_MAX    15
#define VFR_QUARANTINE_S      120 /* RFC 6888, REQ-8 */
#define VFR_DRAIN_S_MAX       3600
#define VFR_LEASE_S_MAX       (366 * 86400)

/*
 * What is leased of an address, each a space of its own numbers. A block covers STREAM and
 * DATAGRAM; a single number may be leased in either or both of these, or in one of the others.
 */
enum vfr_port_class {
    VFR_PC_STREAM,   /* ports of TCP, SCTP and DCCP */
    VFR_PC_DATAGRAM, /* ports of UDP and UDP-Lite, identifiers of ICMP queries */
    VFR_PC_SPI,      /* the upper 16 bits of the SPI of ESP and AH: 65536 SPIs at a time */
    VFR_PC_PROTO,    /* a whole IP protocol that none of the above covers, by its number */
    VFR_PORT_CLASSES
};

#define VFR_PC_BIT(class) (1U << (class))
#define VFR_PC_BLOCK      (VFR_PC_BIT(VFR_PC_STREAM) | VFR_PC_BIT(VFR_PC_DATAGRAM))

enum vfr_lease_op {
    VFR_LEASE_GRANT = 1,
    VFR_LEASE_EXTEND,  /* ends 'seconds' from now, be that later or earlier */
    VFR_LEASE_FREE,    /* given back: into quarantine */
    VFR_LEASE_REVOKE,  /* taken away, in 'seconds': until then no new flow, see draining */
    VFR_LEASE_EXPIRE,  /* its time is over: into quarantine. Only the clock does this */
    VFR_LEASE_RELEASE, /* its quarantine is over. Only the clock does this */
    VFR_LEASE_SHARE,   /* 'ip' becomes a shared address */
    VFR_LEASE_UNSHARE, /* and is none any more */
};

/*
 * A change to the leases. Which fields count: GRANT all but 'id'; EXTEND and REVOKE 'id' and
 * 'seconds'; FREE 'id'; SHARE and UNSHARE 'ip'. Checked, it has the others filled in too.
 */
struct vfr_lease_order {
    uint8_t op;       /* enum vfr_lease_op */
    uint8_t origin;   /* enum vfr_actor */
    uint8_t classes;  /* VFR_PC_BIT */
    uint8_t log2;     /* of the number of ports: 0, or VFR_BLOCK_LOG2_MIN to _MAX */
    uint16_t start;   /* first one; 0: any, of a block */
    uint16_t vif;     /* who owns them */
    uint32_t ip;      /* the shared address */
    uint32_t id;      /* of the lease */
    uint32_t seconds; /* it lasts; 0: until it is given back */
    uint32_t spare;   /* 0 */
    uint8_t uuid[16]; /* of the domain; out: with GRANT it is the interface's */
};

enum vfr_lease_state {
    VFR_LEASE_NONE,
    VFR_LEASE_HELD,
    VFR_LEASE_DRAINING,
    VFR_LEASE_RESTING, /* in quarantine */
};

/* A lease as it is listed. Times are nanoseconds since the hypervisor started. */
struct vfr_lease_info {
    uint32_t id, ip;
    uint16_t start, vif;
    uint8_t log2, classes, state, origin;
    int64_t since;
    int64_t ends; /* in the state that it has; INT64_MAX: never */
    uint8_t uuid[16];
};

/* What a change made true that was not before; for the audit. */
#define VFR_LEASE_PORTS_80  0x01 /* so many percent of the address's ports in blocks' range */
#define VFR_LEASE_PORTS_95  0x02 /* are leased or in quarantine */
#define VFR_LEASE_LEASES_80 0x04 /* of all leases that there can be */
#define VFR_LEASE_LEASES_95 0x08

/*
 * SERAI_OP_VFR_LEASE. Errors of a change: core/vfr_lease.h; -XEN_ENOBUFS: the audit log is
 * full. EXPIRE and RELEASE are the clock's alone: -XEN_EPERM.
 */
#define VFR_LEASE_CHANGE 0
#define VFR_LEASE_CHECK  1 /* what CHANGE would say, 'order' filled in */
#define VFR_LEASE_LIST   2

struct serai_vfr_lease {
    uint32_t op;
    uint32_t events;              /* out: VFR_LEASE_PORTS_80 and so on */
    struct vfr_lease_order order; /* in and out */
    uint32_t cursor;              /* LIST, in and out: 0 in the beginning */
    uint32_t capacity, count; /* in: of 'entries'; out: how many came. 0: there are no more */
    uint32_t reserved;
    uint64_t entries; /* in: array of struct vfr_lease_info */
    int64_t now;      /* out: nanoseconds since the hypervisor started */
    int64_t epoch;    /* out: leases from before are forgotten */
};

#endif
