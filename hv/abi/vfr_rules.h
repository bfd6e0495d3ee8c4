/*
 * A ruleset as domain 0's compiler writes it and the hypervisor judges by it: one flat image, little
 * endian, 8-aligned, without strings. Names stay in domain 0; here are numbers.
 *
 *      header            struct vfr_image
 *      gates             uint64_t, one a rule
 *      rules             struct vfr_rule, in order of decision: the first that matches wins
 *      order             uint16_t, the rules' indices by ascending id; 0s up to a multiple of 8 bytes
 *      matches           struct vfr_match, each of exactly one clause of one rule, in their order
 *      sets              struct vfr_set
 *      rates             struct vfr_rate
 *      slots             struct vfr_slot, the sets' hash tables one after the other
 *
 * The parts lie in this order, with nothing in between. Bytes without a meaning are 0.
 */
#ifndef SERAI_ABI_VFR_RULES_H
#define SERAI_ABI_VFR_RULES_H

#include "abi/vfr.h"

#define VFR_IMAGE_MAGIC   0x52524656u /* "VFRR" */
#define VFR_IMAGE_VERSION 1
#define VFR_IMAGE_MAX     (32u << 20) /* bytes */

#define VFR_RULES_MAX   8192
#define VFR_MATCHES_MAX 65535
#define VFR_CLAUSE_MAX  32 /* matches of one clause; longer lists are sets */
#define VFR_SETS_MAX    256
#define VFR_SET_MAX     65536 /* elements of a set */
#define VFR_RATES_MAX   256
#define VFR_TAGS_MAX    32

/* Protocols that rules name have classes of their own; 0 is for all others. */
#define VFR_PROTO_CLASSES 16
#define VFR_PROTO_ARP     15 /* class of what is not IP */

enum vfr_action {
    VFR_DROP,
    VFR_REJECT, /* drop, and tell the sender */
    VFR_PASS,   /* with a flow: what belongs to it passes too */
    VFR_PASS_STATELESS,
    VFR_COUNT, /* no decision: later rules decide */
};

/* How the sender is told. */
enum vfr_reject {
    VFR_REJECT_USUAL, /* TCP: RST; else PORT */
    VFR_REJECT_RST,
    VFR_REJECT_PORT,  /* port unreachable */
    VFR_REJECT_ADMIN, /* administratively prohibited */
    VFR_REJECT_HOST,  /* host unreachable */
};

#define VFR_LOG_NEW    0x01 /* a flow begins */
#define VFR_LOG_END    0x02 /* it ends */
#define VFR_LOG_DENY   0x04 /* dropped or rejected */
#define VFR_LOG_STRICT 0x08 /* what cannot be logged does not happen */
#define VFR_LOG_ALL    (VFR_LOG_NEW | VFR_LOG_END | VFR_LOG_DENY)

#define VFR_DSCP_NONE 64

/* Whether a set's elements can be of this kind, and which part of a slot tells one. */
enum vfr_set_kind {
    VFR_SET_IP = 1,  /* addr */
    VFR_SET_NET,     /* addr, length */
    VFR_SET_PORT,    /* port */
    VFR_SET_IP_PORT, /* addr, port */
    VFR_SET_MAC,     /* addr: the lower 48 bits of 'low' */
};

/* struct vfr_rule's 'what' */
#define VFR_W_NOT_FROM  0x0001
#define VFR_W_NOT_TO    0x0002
#define VFR_W_TCP_FLAGS 0x0004
#define VFR_W_ICMP_TYPE 0x0008
#define VFR_W_ICMP_CODE 0x0010
#define VFR_W_FRAGMENT  0x0020
#define VFR_W_TTL       0x0040 /* the rule ends 'ttl' seconds after it was first installed */
#define VFR_W_TAGGED    0x0080
#define VFR_W_ELSE_NEXT 0x0100 /* beyond the rate: as if the rule did not match; else drop */
#define VFR_W_ALL       0x01ff

#define VFR_CLAUSE_NOT 0x8000 /* in 'nr': none of the matches */

/* One of the matches [first, first + nr) holds; nr 0: anything. */
struct vfr_clause {
    uint16_t first, nr;
};

enum { VFR_SRC_IP, VFR_SRC_PORT, VFR_DST_IP, VFR_DST_PORT, VFR_CLAUSES };

struct vfr_rule {
    uint32_t id;     /* not 0 */
    uint32_t digest; /* of its text: same id and digest, same rule */
    uint8_t action, reject;
    uint8_t from, to; /* zones */
    uint16_t protos;  /* bit: class */
    uint16_t what;    /* VFR_W_ */
    uint8_t tcp_mask, tcp_value;
    uint8_t icmp_type, icmp_code;
    struct vfr_clause clause[VFR_CLAUSES];
    uint32_t ttl;
    uint16_t rate;   /* 1 + index; 0: none */
    uint8_t log;     /* VFR_LOG_ */
    uint8_t dscp;    /* to be written into the packets; VFR_DSCP_NONE */
    uint32_t sample; /* of this many records one is kept; 0: all */
    uint8_t zero;
    uint8_t tag;    /* 1 + number; 0: none */
    uint8_t tagged; /* the same */
    uint8_t zero2;
    uint16_t port_low, port_span; /* vfr_rule_window() */
    uint8_t zero3[8];
};

enum vfr_match_kind {
    VFR_M_IP4 = 1, /* low to high, addresses */
    VFR_M_IP6,
    VFR_M_PORT,
    VFR_M_SET,  /* 'set' has it */
    VFR_M_FACT, /* any of the facts 'low' about this end, VFR_F_ */
};

/* Facts about an end that only the tables of addresses and leases know. */
#define VFR_F_OWN    0x1 /* the address is bound to this interface */
#define VFR_F_SHARED 0x2 /* it is one that several interfaces share */
#define VFR_F_INSIDE 0x4 /* it is an inside address */
#define VFR_F_LEASED 0x8 /* the port is leased to this interface */

struct vfr_match {
    uint16_t kind, set;
    uint32_t zero;
    uint64_t low_high, low_low;   /* the two halves of the lowest, */
    uint64_t high_high, high_low; /* and of the highest */
};

/* An element's home is hash & (slots - 1); it lies there or in the VFR_SET_PROBE - 1 behind. */
#define VFR_SET_PROBE 32

struct vfr_set {
    uint32_t id; /* the same in every ruleset that has a set of this name and kind */
    uint8_t kind, zero[3];
    uint32_t size;       /* elements that may be added at run time */
    uint32_t timeout;    /* seconds after which these leave; 0: they stay */
    uint32_t slots;      /* a power of two; 0: it has no elements of its own */
    uint32_t first;      /* slot */
    uint64_t lengths[3]; /* VFR_SET_NET: bit: there may be prefixes of this length */
};

#define VFR_SLOT_USED 0x01000000u /* in 'rest', over the length << 16 and the port */

struct vfr_slot {
    uint64_t high, low;
    uint32_t rest, zero;
};

enum vfr_rate_unit { VFR_RATE_FLOWS = 1, VFR_RATE_PACKETS, VFR_RATE_BYTES };
enum vfr_rate_per { VFR_PER_RULE = 1, VFR_PER_VIF, VFR_PER_SRC, VFR_PER_DST };

#define VFR_RATE_SHIFT     16
#define VFR_RATE_COST_MAX  (1ull << 46) /* 2^30 ns a unit */
#define VFR_RATE_DEPTH_MAX (1ull << 42)

struct vfr_rate {
    uint32_t id;
    uint8_t unit, per, zero[2];
    uint64_t cost;  /* ns << VFR_RATE_SHIFT that a unit takes to be earned again */
    uint64_t depth; /* ns: how far behind one may be and still pass */
};

struct vfr_image {
    uint32_t magic;
    uint16_t version, header; /* bytes of this structure */
    uint64_t len;             /* bytes of it all */
    uint32_t nr_rules, nr_matches, nr_sets, nr_rates, nr_slots;
    uint32_t gates_at, rules_at, order_at, matches_at, sets_at, rates_at, slots_at; /* bytes */
    uint64_t seed; /* of the sets' hash */
    uint8_t default_action, default_reject, default_log, zero[5];
    uint32_t default_sample, zero2;
    uint8_t proto_class[256]; /* of each protocol number: 0 to 14 */
};

/*
 * A gate is the part of a rule that most packets fail, as one word: a bit set here and in the
 * packet's own word means that the rule does not match. Zones share bits, so the rule itself is
 * asked about its zones again; in the packet's word a zone's bit says that the end is in no
 * zone of that bit.
 *
 *      63..........40 39..........16 15.......0
 *       zone of 'to'   zone of 'from'  classes
 */
#define VFR_GATE_ZONES 24
#define VFR_GATE_FROM  16
#define VFR_GATE_TO    40

static inline uint64_t vfr_rule_gate(const struct vfr_rule *r)
{
    uint64_t gate = (uint16_t)~r->protos;

    if (r->from && !(r->what & VFR_W_NOT_FROM))
        gate |= 1ull << (VFR_GATE_FROM + (r->from - 1) % VFR_GATE_ZONES);
    if (r->to && !(r->what & VFR_W_NOT_TO))
        gate |= 1ull << (VFR_GATE_TO + (r->to - 1) % VFR_GATE_ZONES);
    return gate;
}

/*
 * Ports outside [port_low, port_low + port_span] fail the rule's VFR_DST_PORT; its matches are 'm'.
 * All ports are inside where sets, facts or 'not' do not let one tell.
 */
static inline void vfr_rule_window(const struct vfr_rule *r, const struct vfr_match *m,
                                   uint16_t *low, uint16_t *span)
{
    const unsigned nr = r->clause[VFR_DST_PORT].nr;
    uint64_t from = 0xffff, to = 0;

    for (unsigned i = 0; i < nr && !(nr & VFR_CLAUSE_NOT); i++) {
        const int known = m[i].kind == VFR_M_PORT;

        from = !known ? 0 : m[i].low_low < from ? m[i].low_low : from;
        to = !known ? 0xffff : m[i].high_low > to ? m[i].high_low : to;
    }
    *low = from <= to ? (uint16_t)from : 0;
    *span = from <= to ? (uint16_t)(to - from) : 0xffff;
}

static inline uint64_t vfr_set_hash(uint64_t seed, uint64_t high, uint64_t low, uint32_t rest)
{
    uint64_t h = (high ^ seed) * 0x9e3779b97f4a7c15ull;

    h = (h ^ h >> 32 ^ low) * 0xd6e8feb86659fd93ull;
    h = (h ^ h >> 32 ^ rest) * 0xa0761d6478bd642full;
    return h ^ h >> 32;
}

_Static_assert(sizeof(struct vfr_rule) == 64 && sizeof(struct vfr_match) == 40 &&
                   sizeof(struct vfr_set) == 48 && sizeof(struct vfr_slot) == 24 &&
                   sizeof(struct vfr_rate) == 24 && sizeof(struct vfr_image) == 344,
               "the compiler writes these");

#endif
