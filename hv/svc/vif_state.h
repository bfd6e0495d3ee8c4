/*
 * Interfaces of domains that end in the hypervisor, on the rings of a stock front end: what there
 * is of each. svc/vif connects them, svc/vif_tx and svc/vif_rx move packets from ring to
 * ring, svc/vfr says where to.
 *
 *  1. A struct vif is a page that stays one for good, so that whoever has found one may look at
 *     it; whether a queue of it is up, the lock of the direction tells.
 *  2. While it is connected its ring pages are pinned and in use as writable, its ports are bound,
 *     and it holds a reference to its domain.
 *  3. Of a packet one copy of its first bytes is made, judged, and forwarded; the rest is copied
 *     once, from granted page to granted page.
 *  4. A grant is let go before the response that names it can be seen.
 *  5. There is never a response without a request: both rings answer in place, in order.
 *
 * A queue's packets are moved by whichever CPU has its tx lock, at most TURN_PACKETS and
 * TURN_BYTES before it makes way. With it the rx lock of one destination is taken at a time.
 */
#ifndef SERAI_SVC_VIF_STATE_H
#define SERAI_SVC_VIF_STATE_H

#include "abi/vfr.h"
#include "base/string.h"
#include "core/vfr_flow.h"
#include "core/vfr_guard.h"
#include "core/vfr_offload.h"
#include "core/vfr_rules.h"
#include "core/vfr_shape.h"
#include "guest/grant.h"
#include "kern/lock.h"
#include "kern/timer.h"
#include "x86/paging.h"

/* One of the two rings of a queue. */
struct vif_ring {
    u8 *page;
    struct grant_pin pin;
    u32 next; /* requests before this one are answered, visibly or not */
};

struct vif;

/* Where the last packet that was routed went; so may the next, unless something has changed. */
struct vif_way {
    struct vfr_addr to;
    u64 version; /* svc/vfr_ways.h */
    struct vif *out;
};

struct vif_queue {
    struct vif *vif;
    struct spinlock tx_lock, rx_lock;
    struct vif_ring tx; /* (tx lock) from the domain */
    struct vif_ring rx; /* (rx lock) to it */
    struct vif_way way; /* (tx lock) */
    bool tx_up, rx_up;  /* (the lock of that name) */
    u32 tx_port, rx_port;
    u16 tx_number, rx_number; /* what the ports were bound with */
    bool asked;               /* (atomic) somebody wants its packets moved */
    bool watched;             /* (atomic) its next packets are to be explained */
    u32 doubt;                /* 0, unless there is a sink */
    struct vfr_sink *sink;    /* svc/vfr_sink.h; NULL */

    /* As a sender: its packet waits for buffers of another queue, or for its turn. */
    struct vif_queue *waits_for; /* (rx lock of that queue; read by any) */
    struct vfr_source source;    /* (likewise) of the one that it waits for, or is served by */
    bool expired;                /* (atomic) it has waited long enough */

    /* As a receiver: svc/vif_turns. */
    struct vfr_ring senders;  /* (rx lock) who waits, in turn */
    struct vif_queue *served; /* (rx lock) who has his turn now */
    union {
        struct {
            u32 nr_senders; /* (rx lock; read by any) those who wait, and 'served' */
            u32 timeouts;   /* (rx lock) how often they waited in vain */
        };
        u64 trouble; /* any of the two */
    };
    bool starved;          /* (rx lock) the next one found too few buffers */
    bool watched_over;     /* (rx lock) 'patience' is set */
    u8 expiring;           /* (rx lock) those who are yet to be told that they waited in vain */
    u32 progress;          /* (rx lock) rx.next when 'patience' was set */
    ns_t forgive_at;       /* (rx lock) 'timeouts' end when it takes something then */
    struct timer patience; /* (rx lock) */
};

struct vif_counters {
    u64 sent_packets, sent_bytes;         /* (tx locks; sums may be a bit off) */
    u64 received_packets, received_bytes; /* (rx locks) likewise */
    u64 drops[VFR_REASON_COUNT];
};

/*
 * FREE -> BUSY -> UP -> BUSY -> FREE, under the lock of the table; or -> OWES -> FREE: it is gone but
 * for records that the audit log had no room for, and its number is not given to another yet.
 */
enum vif_state { VIF_FREE, VIF_BUSY, VIF_UP, VIF_OWES };

struct vif {
    enum vif_state state;
    struct domain *d; /* not while FREE or OWES: a reference */
    u16 index, handle, domid;
    u8 uuid[16];   /* the domain's */
    bool unlogged; /* OWES: its end is not in the audit log */
    u8 kind, can, nr_queues, ra;
    u32 mtu;
    u64 speech_due;        /* (atomic) core/vfr_shape: of what the router says to it */
    u64 punt_due;          /* (atomic) and of what it says to domain 0's daemons */
    u64 rate_due;          /* (atomic) and of what it sends */
    struct vfr_limit rate; /* (changes by halves) of all queues together */
    u64 rate_bytes;        /* the same as domain 0 says it */
    u32 rate_usec;
    u8 resting, rested; /* (atomic) queues that rest, a bit each, till 'resume'; the last one */
    bool rests;         /* (atomic) 'resume' is set */
    struct timer resume; /* set by who made 'rests' true */
    ns_t picks_up_until; /* it may be in the middle of TCP connections */
    u64 talk_due;        /* (atomic) of its questions to neighbours, */
    u64 spread_due;      /* (atomic) and of what is for several of them */
    u64 segment[2];      /* its name; nothing: it is in none */
    u16 neighbour;       /* (atomic) the next one in the segment, in a ring; VFR_NOBODY */
    u64 router_mac;      /* what it knows the router by, as vfr_packet.eth_src */
    u64 next_hop;        /* (atomic) whom the router's packets are for on its link */
    u64 next_hop6;       /* (atomic) and those of IPv6 */
    struct vfr_binding binding; /* whose name it may speak in */
    struct vfr_zones zones[2];  /* by the generation of rules, odd or even */
    struct vif_counters counters;
    struct vif_queue queues[VFR_QUEUES];
};
_Static_assert(sizeof(struct vif) <= PAGE_SIZE, "a page");

/* Whom stock front ends grant to: domain 0, in whose place the router is. */
#define VIF_GRANTEE 0

/* A packet on its way; the tx lock of 'from' is held. */
#define VIF_SLOTS 18

struct vif_part {
    struct grant_pin pin;
    u16 offset, size;
};

/* The last packet of a turn, where one that follows it may go the same way without being asked all. */
struct vif_leader {
    u64 version; /* svc/vfr_ways.h; 0: there is none */
    u32 missed;  /* so many in turn had none to follow them */
    u64 kept[VFR_KEPT];
    struct vif_queue *to;
    struct vfr_flow_use use;
    struct vfr_flow_key key; /* of its flow, with 'parsed.tuple' */
};

struct vif_packet {
    struct vif_queue *from;
    struct vif_leader leader; /* 'parsed' is what came of it */
    ns_t now;                 /* or a turn ago */
    struct vfr_packet parsed;
    u8 head[VFR_SNAPSHOT]; /* the first 'have' bytes, judged and forwarded */
    u32 have, len;
    bool csum_valid;
    bool others;  /* follow in the ring */
    bool special; /* more is to be done than to put it into buffers */
    struct vfr_offload offload;
    unsigned nr;
    struct vif_part parts[VIF_SLOTS];
};

/* Of both rings. */
#define VIF_RING_SLOTS 256U

/* From a ring's first event wanted, its last answer that was visible, and the one that is now. */
static inline bool vif_event_wanted(u32 before, u32 now, const u32 *event)
{
    return now - __atomic_load_n(event, __ATOMIC_RELAXED) < now - before;
}

/* So many of what is limited, if it may be. Two CPUs at once may count for one: then there is a little more. */
static inline bool vif_take(const struct vfr_limit *l, u64 *due, u32 n,
                            const struct vif_packet *p)
{
    u64 next = __atomic_load_n(due, __ATOMIC_RELAXED);

    if (!vfr_limit_take(l, &next, n, p->now))
        return false;
    if (likely(!p->from->sink))
        __atomic_store_n(due, next, __ATOMIC_RELAXED);
    return true;
}

static inline bool vif_take_one(const struct vfr_limit *l, u64 *due, const struct vif_packet *p)
{
    return vif_take(l, due, 1, p);
}

/* Two stations of one segment. */
static inline bool vif_is_neighbour(const struct vif *a, const struct vif *b)
{
    return a != b && a->segment[0] && a->segment[0] == b->segment[0] &&
           a->segment[1] == b->segment[1];
}

static inline const u8 *vif_part(const struct vif_part *part, u32 offset)
{
    return (const u8 *)mfn_to_virt(part->pin.mfn) + part->offset + offset;
}

/* The first bytes of what is pinned, 'most' of them if there are so many; returns how many. */
static inline u32 vif_copy_parts(const struct vif_packet *p, u8 *to, u32 most)
{
    u32 have = 0;

    for (unsigned i = 0; i < p->nr && have < most; i++) {
        u32 n = MIN((u32)p->parts[i].size, most - have);

        memcpy(to + have, vif_part(&p->parts[i], 0), n);
        have += n;
    }
    return have;
}

#endif
