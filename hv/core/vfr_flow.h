/*
 * The flows that the Virtual Firewall Router knows: who talks to whom, since when, by which
 * rule. A packet of a known flow passes without the rules being asked again.
 *
 *   NEW --answered--> OPEN --both FIN, or RST--> CLOSING --timer--> gone
 *
 * TCP is not followed by sequence numbers: end hosts judge those themselves. A reset counts only
 * until the side that it came from speaks again, so one with a guessed number ends nothing.
 * A flow of ICMP questions belongs to who asks: an answer never begins one, and a question from
 * the other side is a flow of its own.
 *
 *  1 A flow in use is in one chain once: that of its home bucket, with the tag of its hash.
 *  2 In a chain only the last bucket has free places, and none but the first is empty; no
 *    chain has more than VFR_FLOW_CHAIN buckets; 'overflowed' counts the flows behind the first.
 *  3 Every overflow bucket is in one chain or free; every flow up to 'fresh' in use or free.
 *  4 An interface's 'flows' are those that came in by it; their sum is 'used'.
 *  5 A flow that was never answered is in its interface's list, oldest first. (One that was may
 *    still be there; whoever meets it takes it out.)
 *  6 No two flows in use are found by one key.
 *  7 For a new flow no other is given up but a never answered one of the same interface.
 *
 * Sharing between CPUs. A bucket's 'lock' guards its chain and what packets change in the chain's
 * flows: counters, state, time, rule. Both directions' packets take the same lock, so no count
 * is lost. Everything else (chains' growth, lists, quotas, keys) belongs to whoever the caller
 * lets in: functions marked (T) are called by one CPU at a time, the others at any time. A
 * chain changes under both, so a (T) function reads chains freely. Nothing here waits: a lock that
 * is taken makes the function say so (BUSY, -XEN_EAGAIN, 'not done'), and the caller, after a
 * pause, starts over. Who holds one holds it for some hundred instructions and takes no other
 * but, at (T), by trying.
 *
 * Re-keying moves flows one by one from their place by the old secret to that by the new. Who
 * did not find a flow in the new place looks in the old one, and then, because it may have moved
 * meanwhile, in the new one again. 'epoch' counts; not to find anything with a key of another epoch
 * says nothing: BUSY.
 *
 * Pure otherwise: the caller owns all memory, time is a parameter.
 */
#ifndef SERAI_CORE_VFR_FLOW_H
#define SERAI_CORE_VFR_FLOW_H

#include "base/types.h"
#include "core/vfr_packet.h"

#define VFR_FLOWS_MIN   64
#define VFR_FLOWS_MAX   (1U << 22)
#define VFR_FLOW_QUOTA  16384 /* of one interface, unless said otherwise */
#define VFR_FLOW_RATE   2000  /* new ones a second, likewise */
#define VFR_FLOW_PLACES 8     /* in a bucket */
#define VFR_FLOW_CHAIN  5     /* buckets, the first included */
#define VFR_FLOW_NONE   0xffffffffU

enum vfr_flow_state { VFR_FLOW_FREE, VFR_FLOW_NEW, VFR_FLOW_OPEN, VFR_FLOW_CLOSING };

/* Why a flow ended; numbers of IPFIX element 136. */
enum vfr_flow_end {
    VFR_END_IDLE = 1,
    VFR_END_OVER = 3,   /* closed, or begun anew */
    VFR_END_FORCED = 4, /* interface, lease or rule went away */
    VFR_END_RECYCLED = 5
};

#define VFR_FLOW_ANSWERED  0x01
#define VFR_FLOW_PICKED_UP 0x02 /* TCP in the middle of a connection */
#define VFR_FLOW_HELD      0x04 /* its port is about to be quarantined: closing takes longer */
#define VFR_FLOW_FIN       0x10 /* from who began; << 1 from the other side */
#define VFR_FLOW_RST       0x40 /* likewise */

struct vfr_flow {
    struct vfr_addr src, dst; /* as in its first packet, like all that follows */
    u16 sport, dport;
    u16 segment;
    u8 proto, zero; /* compared with the three before as one word */
    ns_t last;
    u32 generation; /* of the rules that let it pass */
    u16 vif[2];     /* where its first packet came from, where it went */
    u16 rule_index;
    u8 state, timer;
    u8 marks; /* VFR_FLOW_ANSWERED and so on */
    u8 log;   /* the caller's: what is to be logged about it */
    u8 dscp;  /* likewise: what its packets are marked with */
    u8 spare;
    u64 packets[2], bytes[2]; /* [1]: answers */
    u64 id;                   /* never twice since the table began */
    ns_t created;
    u32 rule;       /* its name, which stays when the rules are numbered anew */
    u32 next, prev; /* (T) free list; list of its interface */
    u32 home;       /* (T) bucket, and two bits */
} __aligned(64);

struct vfr_flow_bucket {
    u16 tag[VFR_FLOW_PLACES]; /* 0: free */
    u32 flow[VFR_FLOW_PLACES];
    u32 next; /* in the chain, or in the list of free ones; 0: none */
    u32 lock;
    u32 spare[2];
} __aligned(64);

/* An interface's share. */
struct vfr_flow_vif {
    u32 flows, quota;
    u32 first, last; /* never answered ones */
    u32 interval;    /* ns between new flows, on average */
    ns_t due;        /* of the next one, at that pace */
    u64 begun, recycled, over_quota, over_rate;
};

struct vfr_flow_table {
    /* What every packet reads: nearly constant. */
    struct vfr_flow *flow;
    struct vfr_flow_bucket *bucket;
    u32 mask;  /* of bucket numbers */
    u32 epoch; /* bit 0: re-keying; bit 1: which secret is the newer one */
    u64 secret[2][4];
    /* (T) */
    struct vfr_flow_vif *vif __aligned(64);
    u32 nr_vifs, nr_flows, nr_overflow;
    u32 used, overflowed;
    u32 fresh; /* flows from here on were never used */
    u32 free;  /* flow */
    u32 free_bucket;
    u32 hand, rekey_hand; /* of vfr_flow_sweep(), vfr_flow_rekey_step() */
    u64 begun, lost;      /* lost: found no place under a new key */
    void (*ended)(void *arg, const struct vfr_flow *f, enum vfr_flow_end why);
    void *arg;
};

/* How many buckets, overflow included, a table of so many flows needs. */
#define VFR_FLOW_BUCKETS(flows)  ((flows) / 4)
#define VFR_FLOW_OVERFLOW(flows) ((flows) / 64 + VFR_FLOW_CHAIN)

/*
 * 'nr_flows' is a power of two, VFR_FLOWS_MIN to VFR_FLOWS_MAX; 'flow' has room for as many,
 * 'bucket' for VFR_FLOW_BUCKETS() + VFR_FLOW_OVERFLOW(), 'vif' for 'nr_vifs'. 'ended' is told
 * of each flow that ends, as it was, from inside (T) functions, its bucket locked.
 */
struct vfr_flow_memory {
    struct vfr_flow *flow;
    struct vfr_flow_bucket *bucket;
    struct vfr_flow_vif *vif;
    u32 nr_flows, nr_vifs;
    void (*ended)(void *arg, const struct vfr_flow *f, enum vfr_flow_end why);
    void *arg;
};

/* -XEN_EINVAL: numbers out of range. Interfaces get the usual quota and rate. */
int vfr_flow_init(struct vfr_flow_table *t, const struct vfr_flow_memory *m,
                  const u64 secret[4]) must_check;

/* (T) New limits; rate 0: none. Flows that an interface has already stay. */
void vfr_flow_set_limits(struct vfr_flow_table *t, u16 vif, u32 quota, u32 rate);

/* ---- each packet ---- */

/* What a packet is looked up by. 'tuple' is the caller's and stays as it is meanwhile. */
struct vfr_flow_key {
    const struct vfr_tuple *tuple;
    u64 hash, old_hash;
    u64 word; /* ports, segment, protocol; bit 56: more than these must match */
    u32 epoch;
    u16 flags;
};

/*
 * 'flags' are the packet's (VFR_P_). For an ICMP error 'tuple' is its 'inner', and flags are
 * VFR_P_INNER and, if what it complains about is an ICMP question, VFR_P_QUERY.
 */
void vfr_flow_key(const struct vfr_flow_table *t, const struct vfr_tuple *tuple, u16 segment,
                  u16 flags, struct vfr_flow_key *key);

/* A key made a while ago is what it would be if it were made now. */
static inline bool vfr_flow_key_holds(const struct vfr_flow_table *t,
                                      const struct vfr_flow_key *key)
{
    return key->epoch == __atomic_load_n(&t->epoch, __ATOMIC_ACQUIRE);
}

/* The bucket that a lookup will read first. */
static inline void vfr_flow_prefetch(const struct vfr_flow_table *t,
                                     const struct vfr_flow_key *key)
{
    __builtin_prefetch(&t->bucket[key->hash & t->mask]);
}

struct vfr_flow_use {
    ns_t now;
    u32 bytes;
    u32 oldest;  /* flows that older generations' rules let pass are judged again */
    u16 in, out; /* interfaces */
    u8 tcp_flags;
};

enum vfr_flow_result {
    VFR_FLOW_HIT,   /* the packet belongs to a flow and is counted there */
    VFR_FLOW_MISS,  /* to none, or it begins another one, or goes other ways: judge it as new */
    VFR_FLOW_STALE, /* to one of older rules: judge that, then vfr_flow_confirm() or _kill() */
    VFR_FLOW_BUSY,  /* make the key anew and look again, after a pause */
};

/* Set by HIT and STALE. */
struct vfr_flow_hit {
    u32 flow;
    u16 rule_index;
    u8 log, dscp;
    bool answer; /* the packet goes towards who began the flow */
};

enum vfr_flow_result vfr_flow_lookup(struct vfr_flow_table *t, const struct vfr_flow_key *key,
                                     const struct vfr_flow_use *use, struct vfr_flow_hit *hit);

/*
 * HIT: a flow of any interfaces that these ends have; *vif is who began it. MISS, BUSY. Nothing is
 * counted.
 */
enum vfr_flow_result vfr_flow_whose(struct vfr_flow_table *t, const struct vfr_flow_key *key,
                                    ns_t now, u16 *vif);

/* ---- beginning, confirming, ending one ---- */

/* May a packet like this begin a flow, whatever the rules say? VFR_R_OK, or why not. */
enum vfr_reason vfr_flow_check_first(const struct vfr_tuple *tuple, u16 flags, u8 tcp_flags,
                                     bool pickup);

struct vfr_flow_verdict {
    u32 generation, rule;
    u16 rule_index;
    u8 log, dscp;
};

struct vfr_flow_new {
    struct vfr_flow_use use; /* 'oldest' does not matter */
    struct vfr_flow_verdict verdict;
    bool pickup; /* soon after a restart: TCP may begin in the middle */
    bool hold;   /* VFR_FLOW_HELD */
};

/*
 * (T) A flow that begins with this packet, which the rules let pass; *index is its number. What
 * vfr_flow_lookup() did not take for the packet's flow ends. VFR_R_OK, or the reason why not:
 * those of vfr_flow_check_first(), FLOW_RATE, FLOW_QUOTA (no place is left for this
 * interface). -XEN_EAGAIN: look it up again: a lock was taken, or there is such a flow by now.
 */
int vfr_flow_create(struct vfr_flow_table *t, const struct vfr_flow_key *key,
                    const struct vfr_flow_new *new, u32 *index) must_check;

/* (T) Whether one from this interface would find room now: VFR_R_OK, FLOW_RATE, FLOW_QUOTA. */
enum vfr_reason vfr_flow_check_room(const struct vfr_flow_table *t, u16 vif, ns_t now);

/*
 * (T) The rules let a stale flow go on; or they do not: it ends. 0 also when it is gone already;
 * -XEN_EAGAIN: make the key anew and call again. What follows is a new lookup.
 */
int vfr_flow_confirm(struct vfr_flow_table *t, const struct vfr_flow_key *key,
                     const struct vfr_flow_verdict *verdict) must_check;
int vfr_flow_kill(struct vfr_flow_table *t, const struct vfr_flow_key *key) must_check;

/* ---- many ---- */

/* (T) Ends flows whose time is over, looking at the next 'budget' flows; returns how many. */
u32 vfr_flow_sweep(struct vfr_flow_table *t, ns_t now, u32 budget);

/* Flows of interface 'vif' unless that is VFR_NOBODY; and, if 'last' is not 0, those with a side
 * at 'addr' and a port from 'first' to 'last'; of protocol 'proto' unless that is 0. */
struct vfr_flow_match {
    struct vfr_addr addr;
    u16 first, last;
    u16 vif;
    u8 proto;
};

/*
 * (T) Ends all flows that match, looking at up to 'budget' from number *at on; true: done. To
 * begin with, *at is 0. The caller sees to it that no such flow begins meanwhile.
 */
bool vfr_flow_kill_some(struct vfr_flow_table *t, const struct vfr_flow_match *match, u32 *at,
                        u32 budget) must_check;

/* (T) Chains have become long: more than 1 % of all places are in overflow buckets. */
bool vfr_flow_wants_rekey(const struct vfr_flow_table *t);
/* (T) -XEN_EBUSY: it is under way already. */
int vfr_flow_rekey(struct vfr_flow_table *t, const u64 secret[4]) must_check;
/* (T) Moves the flows of up to 'budget' buckets; true: done, or nothing to do. */
bool vfr_flow_rekey_step(struct vfr_flow_table *t, u32 budget) must_check;

/* (T) 0, or the number of the invariant that does not hold; as long as the table. */
int vfr_flow_check(const struct vfr_flow_table *t);

#endif
