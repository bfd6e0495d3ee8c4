/*
 * Who owns which port of a shared address: one word for each port of each class, in two steps,
 *
 *     map[class][port / 256]  ->  one word for all 256, or a leaf  ->  leaf[port % 256]
 *
 * so that the owner is two loads away. Leaves come from a pool.
 *
 *  1. A leaf belongs to one place in one map, or is in the pool. In use it has at least one port
 *     that is taken; 'taken' is their number.
 *  2. A word for all 256 ports is VFR_PORT_NOBODY or what a block of at least 256 made it.
 *  3. by_ip leads from an address to its place in 'shared', and has an end.
 *
 * The caller serialises all that changes something. Readers on other CPUs need nothing: a change
 * is made of single 16-bit stores, ports in ascending order and class after class. A new leaf is
 * filled before the map names it; a map stops naming a leaf before that goes to the pool, and there
 * it rests for VFR_PORTS_REST before it is used again, as an address's place does. A reader may see
 * part of a change; it never sees a port with an owner that it has not, before or after. It must
 * not take VFR_PORTS_REST for one lookup.
 */
#ifndef SERAI_CORE_VFR_PORTS_H
#define SERAI_CORE_VFR_PORTS_H

#include "abi/vfr_lease.h"
#include "base/types.h"
#include "core/vfr_packet.h"

#define VFR_PORTS_REST 1000000000L /* ns */
#define VFR_LEAVES_MAX 32768

/* What is known of a port: enum vfr_port_state above the interface's number; or a leaf's number. */
#define VFR_PORT_STATE_SHIFT 12
#define VFR_PORT_VIF         0x0fff
#define VFR_PORT_LEAF        0x8000
#define VFR_PORT(state, vif) ((u16)((state) << VFR_PORT_STATE_SHIFT | (vif)))
#define VFR_PORT_NOBODY      VFR_PORT(VFR_PORT_FREE, VFR_PORT_VIF)

enum vfr_port_state {
    VFR_PORT_OWNED,
    VFR_PORT_DRAINING, /* owned, but no new flows */
    VFR_PORT_RESTING,  /* in quarantine; the interface is its last owner's */
    VFR_PORT_FREE,
};

/* An address and its ports. */
struct vfr_shared {
    u32 ip; /* 0: none */
    u32 leases;
    u32 used;  /* ports from VFR_BLOCK_FIRST on that are not free, of both classes */
    ns_t gone; /* when its last address went */
    u16 map[VFR_PORT_CLASSES][256];
};

struct vfr_leaf {
    u16 taken, next;
    ns_t gone; /* into the pool */
};

struct vfr_ports {
    struct vfr_shared *shared;
    u16 (*leaf)[256];
    struct vfr_leaf *leaves;
    u32 nr_shared, nr_leaves; /* room */
    u32 pool;                 /* leaves in it */
    u16 first, last;          /* of the pool, by how long they are in it */
    u8 by_ip[256];            /* open addressing; place + 2, 1: look on, 0: look no further */
};

/* Room for an unused structure of its kind each; all memory zeroed. */
void vfr_ports_init(struct vfr_ports *p, struct vfr_shared *shared, u32 nr_shared,
                    u16 (*leaf)[256], struct vfr_leaf *leaves, u32 nr_leaves);

static inline u32 vfr_ports_hash(u32 ip)
{
    return ip * 0x9e3779b1U >> 24;
}

/* NULL: it is no shared address. */
static inline struct vfr_shared *vfr_ports_find(const struct vfr_ports *p, u32 ip)
{
    for (u32 at = vfr_ports_hash(ip);; at = (at + 1) % 256) {
        u8 place = __atomic_load_n(&p->by_ip[at], __ATOMIC_ACQUIRE);

        if (place == 0)
            return NULL;
        if (place > 1 && p->shared[place - 2].ip == ip)
            return &p->shared[place - 2];
    }
}

static inline u16 vfr_ports_look(const struct vfr_ports *p, const struct vfr_shared *s,
                                 enum vfr_port_class class, u16 port)
{
    u16 word = __atomic_load_n(&s->map[class][port >> 8], __ATOMIC_ACQUIRE);

    if (word & VFR_PORT_LEAF)
        word = __atomic_load_n(&p->leaf[word ^ VFR_PORT_LEAF][port & 255], __ATOMIC_RELAXED);
    return word;
}

/* Does the interface own any number of this class, OWNED or DRAINING? Looks at each leaf there is. */
bool vfr_ports_has_any(const struct vfr_ports *p, const struct vfr_shared *s,
                       enum vfr_port_class class, u16 vif);

/* 1 << log2 ports from 'start' on; those of a block are aligned. */
struct vfr_port_range {
    u16 start;
    u8 log2;
};

/* The first word in a range that is not VFR_PORT_NOBODY, or that. */
u16 vfr_ports_taken(const struct vfr_ports *p, const struct vfr_shared *s,
                    enum vfr_port_class class, struct vfr_port_range r);

/* Setting free ports to something takes that many leaves, 0 or 1, from the pool. */
u32 vfr_ports_needs(const struct vfr_shared *s, enum vfr_port_class class,
                    struct vfr_port_range r);
/* The pool has 'n' leaves, at most 2, that have rested. */
bool vfr_ports_has(const struct vfr_ports *p, u32 n, ns_t now);

/*
 * All of a range becomes 'word'. It is all free and the pool has what that needs; or it is one
 * that has been set before and since then not set free.
 */
void vfr_ports_set(struct vfr_ports *p, struct vfr_shared *s, enum vfr_port_class class,
                   struct vfr_port_range r, u16 word, ns_t now);

/*
 * -XEN_EINVAL: nobody's address; -XEN_EEXIST: shared already; -XEN_ENOSPC: no place, or none that
 * has rested.
 */
int vfr_ports_check_share(const struct vfr_ports *p, u32 ip, ns_t now) must_check;
void vfr_ports_share(struct vfr_ports *p, u32 ip, ns_t now);
/* One without leases is shared no more. */
void vfr_ports_unshare(struct vfr_ports *p, struct vfr_shared *s, ns_t now);

/* 0, or the number of the invariant that does not hold. */
int vfr_ports_check(const struct vfr_ports *p);

#endif
