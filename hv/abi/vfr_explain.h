/*
 * SERAI_OP_VFR_EXPLAIN: what would become of a packet, by the code that judges all packets, and why.
 * Nothing changes by it: no flow, no counter, no rate, and nobody is told anything.
 *
 * -XEN_ENOENT: no such interface; -XEN_EINVAL: a length that is out of range, or a reserved field
 * is not 0; -XEN_EAGAIN: COLLECT: there is none yet.
 */
#ifndef SERAI_ABI_VFR_EXPLAIN_H
#define SERAI_ABI_VFR_EXPLAIN_H

#include <stdint.h>

#define VFR_EXPLAIN_PACKET  0 /* the one that is given */
#define VFR_EXPLAIN_WATCH   1 /* the next 'len' ones of the interface; 0: no more of them */
#define VFR_EXPLAIN_COLLECT 2 /* one of those, once; 'vif' and 'head' are out */

#define VFR_EXPLAIN_WATCH_MAX 16
#define VFR_EXPLAIN_HEAD      256

/* Where it ended. */
enum vfr_explain_stage {
    VFR_STAGE_PACKET = 1, /* is it one that may be sent? */
    VFR_STAGE_SPOOF,      /* does it speak for its interface? */
    VFR_STAGE_ROUTER,     /* it is for the router itself */
    VFR_STAGE_LEASE,      /* is its port of a shared address leased to it? */
    VFR_STAGE_ROUTE,      /* where is the other end, and can it get there? */
    VFR_STAGE_FLOW,
    VFR_STAGE_RULES,
    VFR_STAGE_SENT,
};

enum vfr_explain_flow {
    VFR_EXPLAIN_NO_FLOW, /* flows were not asked, or it would begin none */
    VFR_EXPLAIN_BEGINS,
    VFR_EXPLAIN_BELONGS,  /* to a flow that lets it pass */
    VFR_EXPLAIN_REJUDGED, /* to one that older rules let pass */
};

/* A rule that was tested: what became of it is enum vfr_step_end of hv/core/vfr_rules.h. */
struct serai_vfr_step {
    uint16_t rule, end;
};

struct serai_vfr_explain {
    uint16_t op, vif; /* in: it came from this interface's domain */
    uint16_t have;    /* in: bytes of 'head', at most VFR_EXPLAIN_HEAD */
    uint16_t gso_size;
    uint32_t len; /* in: of the whole frame, or how many to watch */
    uint8_t gso_type, csum_blank, csum_valid, reserved;
    uint32_t max_steps;
    uint32_t nr_steps; /* out, all below: above max_steps: some were lost */
    uint64_t steps;    /* in: where to, array of struct serai_vfr_step */
    uint16_t reason;   /* enum vfr_reason */
    uint16_t to;       /* interface; VFR_NOBODY: not known */
    uint8_t stage, flow, is_answer;
    uint8_t judged; /* rules were asked: the fields up to 'rule_id' hold */
    uint8_t action, reject, beyond, log;
    uint16_t rule, queue; /* nr_rules: the default; the receiver's queue */
    uint32_t rule_id, generation;
    uint64_t flow_id, flow_packets[2], flow_bytes[2]; /* BELONGS, REJUDGED */
    uint16_t source_port_owner,
        port_owner;     /* of shared addresses, as VFR_PORT(); ~0: not shared */
    uint16_t reply_len; /* what its sender would be told */
    uint16_t copies;    /* SPREAD: how many of its segment would get one; 'to' is one of them */
    uint8_t reply[VFR_EXPLAIN_HEAD];
    uint8_t
        head[VFR_EXPLAIN_HEAD]; /* PACKET: in; out: as it would be sent; COLLECT: as it came */
};

#endif
