/*
 * Virtual reassembly: only the first piece of a datagram has what rules ask for, so its verdict is kept
 * for the others. Pieces that come before it are held by the caller, who has the bytes; here are
 * only their number and size.
 *
 *  1. A context is in the free list, or in the list by age and in the chain of its payer.
 *  2. Its ranges are what arrived: disjoint, not touching, none empty, none behind the known end.
 *  3. It has at most VFR_PIECES_MAX pieces; one payer has at most VFR_PAYER_CONTEXTS contexts, all
 *     uplinks together half of them: floods from outside leave room for those from inside.
 *  4. 'held' bytes are the sum over contexts, at most VFR_HELD_MAX; one payer holds an eighth of it.
 *  5. Ages in the list only grow: who is first is the first to go.
 *
 * No byte of a datagram passes twice: a piece within what arrived is dropped, one that overlaps it
 * in part, or that contradicts the end, kills the datagram (RFC 5722, 8200 4.5). The payer is the
 * interface that a piece came through, on an uplink together with its destination: neither sharers
 * of an address nor their equal identifiers disturb each other.
 *
 * For each slot the caller has room for the held pieces, VFR_PIECES_MAX of them.
 *
 * Pure. Caller serialises.
 */
#ifndef SERAI_CORE_VFR_FRAGMENT_H
#define SERAI_CORE_VFR_FRAGMENT_H

#include "base/types.h"
#include "core/vfr_packet.h"

#define VFR_CONTEXTS       1024 /* at most */
#define VFR_PAYER_CONTEXTS 64
#define VFR_HELD_MAX       MIB(1)
#define VFR_PIECES_MAX     45
#define VFR_RANGES         8
#define VFR_FRAGMENT_LIFE  ((ns_t)2000000000)
#define VFR_NO_CONTEXT     0xffff
#define VFR_CHAINS         256
#define VFR_ID_COUNTERS    1024

/* What the first piece's judgement was, for the others to follow. */
struct vfr_decision {
    uint16_t out; /* interface */
    uint8_t why;  /* enum vfr_reason */
    /* What tells its flow, and the other pieces do not have: VFR_P_ANSWER, VFR_P_QUERY; the ports. */
    uint16_t flags, sport, dport;
};

enum vfr_context_state { VFR_X_WAITING, VFR_X_JUDGED, VFR_X_DEAD };

struct vfr_context {
    struct vfr_addr src, dst;
    ns_t born;
    uint32_t id;
    uint16_t vif, serial; /* 'serial': how many datagrams were here before */
    uint8_t proto;        /* IPv6: 0, pieces need not agree on it */
    uint8_t state;
    bool uplink, first; /* 'first': its first piece is being judged, or was */
    uint8_t pieces, held, ranges;
    uint16_t end; /* in units of 8 bytes; 0: not known yet */
    struct {
        uint16_t from, to;
    } range[VFR_RANGES];
    uint32_t held_bytes;
    uint16_t new_id; /* what the datagram is called from here on */
    uint16_t younger, older, next;
    struct vfr_decision decision;
};

struct vfr_fragments {
    struct vfr_context *contexts;
    uint64_t key; /* secret */
    uint32_t size, used, from_uplinks, held_bytes;
    uint16_t free, oldest, youngest;
    uint16_t chain[VFR_CHAINS];
    uint16_t ids[VFR_ID_COUNTERS];
};

/* 'contexts' has 'n' entries, at most VFR_CONTEXTS; 'key' is random. */
void vfr_fragment_init(struct vfr_fragments *t, struct vfr_context *contexts, uint32_t n,
                       uint64_t key);

/* Where a piece comes from. */
struct vfr_origin {
    uint16_t vif;
    bool uplink;
    bool
        sharer; /* its source address has other users: the datagram gets an identifier from here */
};

/* Names a context for as long as it is about the same datagram. */
#define VFR_NO_TICKET 0xffffffffu
static inline uint16_t vfr_ticket_slot(uint32_t ticket)
{
    return ticket; /* the context's number */
}

enum vfr_fragment_verdict {
    VFR_F_JUDGE, /* like a whole packet; then call vfr_fragment_decide() */
    VFR_F_RIDE,  /* as the decision given here says */
    VFR_F_HOLD,  /* keep the piece in the ticket's slot until that is decided or gone */
    VFR_F_DROP,  /* with a ticket: all that is held for it too, then release it */
};

struct vfr_fragment_answer {
    struct vfr_decision decision; /* DROP: only the reason */
    uint32_t ticket;
    uint16_t
        new_id; /* JUDGE, RIDE: the identifier to leave with (the same if not a sharer's) */
    uint8_t verdict;
};

/*
 * 'p' is a fragment and passed the guard. Reasons are FRAG_OVERLAP, FRAG_LIMIT, FRAG_ORPHAN and the
 * first piece's own. A datagram in one piece is to be judged, and has no ticket.
 */
struct vfr_fragment_answer vfr_fragment_offer(struct vfr_fragments *t,
                                              const struct vfr_packet *p,
                                              struct vfr_origin from, ns_t now);

/*
 * The first piece's judgement if that was let pass, for a later one; else NULL: offer it. No effect; good
 * until the next call.
 */
const struct vfr_decision *vfr_fragment_way(struct vfr_fragments *t, const struct vfr_packet *p,
                                            struct vfr_origin from);

/*
 * The first piece's judgement. True: pieces are held, which now go the same way; then release them.
 */
bool vfr_fragment_decide(struct vfr_fragments *t, uint32_t ticket, struct vfr_decision d);

/* Nothing is held for the ticket any more. */
void vfr_fragment_release(struct vfr_fragments *t, uint32_t ticket);

/*
 * Forgets contexts that are too old. Returns the ticket of one for which pieces are held, to be
 * dropped as FRAG_ORPHAN and released before the next call, or VFR_NO_TICKET: there is none left.
 */
uint32_t vfr_fragment_expire(struct vfr_fragments *t, ns_t now);
/*
 * An interface goes: what came by it or would go to it is forgotten, a part at each call. Returns a
 * ticket as vfr_fragment_expire() does, to be dropped as VIF_DOWN.
 */
uint32_t vfr_fragment_forget(struct vfr_fragments *t, uint16_t vif);
/* When to look again; 0: not before there is a new context. */
ns_t vfr_fragment_deadline(const struct vfr_fragments *t);

/*
 * An IPv4 identifier for a datagram that is or may become fragmented, from an address that several
 * interfaces use: different for all of them to one peer (RFC 6864). Not for AH, which covers it.
 */
uint16_t vfr_fragment_new_id(struct vfr_fragments *t, const struct vfr_tuple *tuple);
/* Puts it into a parsed IPv4 packet's header, checksum repaired. */
void vfr_fragment_set_id(uint8_t *bytes, uint16_t id);

int vfr_fragment_check(const struct vfr_fragments *t);

#endif
