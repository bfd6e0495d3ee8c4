/*
 * The Virtual Firewall Router, acting half: which interfaces there are, where addresses are, which
 * rules are in force. The judgement is core/vfr_*'s; what becomes of a packet: svc/vfr_forward.
 *
 *  1. What packets are judged by - routes, rules, interfaces' zones - changes for all packets at one
 *     moment. Who has begun with the old keeps it until the next preemption point, and that long
 *     it stays as it was.
 *  2. One change at a time: each waits for the one before, at preemption points.
 */
#ifndef SERAI_SVC_VFR_H
#define SERAI_SVC_VFR_H

#include "core/vfr_flow.h"
#include "core/vfr_route.h"
#include "svc/vfr_leases.h"
#include "svc/vif_state.h"

/* The rules of a generation, and what belongs to them. */
struct vfr_ruleset {
    u32 generation;
    unsigned own_order, order; /* of its pages, and its image's */
    void *image;
    u8 digest[SHA256_SIZE]; /* core/vfr_rules.h */
    struct vfr_rules rules;
    struct vfr_sets *sets;        /* (change) elements added at run time; looked into by any */
    struct vfr_counter *counters; /* nr_rules + 1 for each CPU */
    unsigned counters_order;
    u64 born[]; /* of each rule */
};

struct vfr {
    struct vfr_routes *routes;   /* (atomic) */
    struct vfr_ruleset *ruleset; /* (atomic) NULL: none was installed, nothing passes */
    struct vfr_ruleset
        *before; /* (change) which comes back if this one is not confirmed; NULL */
    u16 uplink;  /* (atomic) where everything else goes; VFR_NOBODY */
    struct spinlock flow_lock;
    struct vfr_flow_table flows; /* (T) functions: with the lock */
};

extern struct vfr vfr;

/* Of the rules in force; 0: there are none. */
static inline u32 vfr_generation(void)
{
    const struct vfr_ruleset *s = __atomic_load_n(&vfr.ruleset, __ATOMIC_ACQUIRE);

    return s ? s->generation : 0;
}

/* Some interface's other than this one, or several interfaces'. */
static inline bool vfr_is_elsewhere(const struct vif *in, struct vfr_addr a)
{
    u16 index = vfr_route_find(__atomic_load_n(&vfr.routes, __ATOMIC_ACQUIRE), a);

    return vfr_lease_is_shared(&vfr_leases, a) || (index != VFR_NOBODY && index != in->index);
}

/* NULL: there is none with this number. The page stays; what it is may change at any time. */
struct vif *vfr_find(u16 index);
/*
 * One for this domain's handle, in state BUSY and nobody else's until that changes. -XEN_EEXIST,
 * -XEN_ENOSPC, -XEN_ENOMEM.
 */
int vfr_reserve(struct domain *d, u16 handle, struct vif **f) must_check;
/* From BUSY on. */
void vfr_set_state(struct vif *f, enum vif_state state);
/* From UP to BUSY; false: it was not up. */
bool vfr_take(struct vif *f) must_check;

/*
 * An interface comes, with its addresses, in the zones that it has by the rules of a generation; and
 * goes, and all its flows with it. -XEN_EBUSY: other rules are in force; -XEN_EEXIST: an address
 * is somebody else's; -XEN_ENOSPC, -XEN_ENOMEM.
 */
int vfr_attach(struct vif *f, const struct serai_vfr_vif *op) must_check;
/* -XEN_ENOBUFS, -XEN_ENOMEM: its leases are not all given back yet; the sweep goes on with it. */
int vfr_detach(struct vif *f) must_check;

/* Between these a change is this caller's; preemption points may be met. */
void vfr_change_begin(void);
/* For who may not wait; false: somebody else is at it. */
bool vfr_change_try(void) must_check;
void vfr_change_end(void);

#endif
