/*
 * Front ends of the router's interfaces: rings, buffers, packets. Domain 0 has all of them, so that
 * one kernel sees both ends of each packet.
 */
#ifndef GUEST_FRONT_H
#define GUEST_FRONT_H

#include "abi/serai.h"
#include "abi/vfr_lease.h"
#include "abi/vfr_rules.h"
#include "gnt.h"
#include <xen/io/netif.h>

#define FRONT_SLOTS  256U
#define FRONT_ROUTER 0x02, 0x53, 0x45, 0x52, 0x41, 0x49

struct front {
    struct serai_vfr_vif vif;
    struct netif_tx_sring *tx;
    struct netif_rx_sring *rx;
    u32 sent, answered; /* tx requests made, responses seen */
    u32 posted, taken;  /* rx buffers given, responses seen */
    u8 *buffers[FRONT_SLOTS];
    u32 refs[FRONT_SLOTS]; /* of the buffers */
};

/* One rule, at most, without a condition. */
struct front_image {
    struct vfr_image head;
    u64 gate;
    struct vfr_rule rule;
    u64 order;
};

extern struct front_image front_image; /* what was installed last */
extern u32 front_generation;           /* of the rules in force */

/* Before anything else: a page to send from, and its grant. */
u8 *front_begin(u32 *ref);
u32 front_grant(const void *p, u16 flags);
u32 front_new_port(void); /* for one that no interface has yet */
long front_op(struct serai_vfr_vif *v, u16 what);
/* An address 10.0.0.'last', or everything else when that is 0. */
void front_prepare(struct front *f, u16 handle, u8 last);
/* Further addresses, before it is connected: fd00::'last', an IPv4 address that others use too. */
void front_add_ip6(struct front *f, u8 last);
void front_add_shared(struct front *f, u32 ip);
/* An address becomes a shared one; an interface gets ports of it. */
long front_share(u32 ip);
long front_lease(u32 ip, const struct front *f, u16 first, u8 log2, u8 classes);
void front_notify(u32 port);
u64 front_drops(struct front *f, enum vfr_reason r);

void front_post(struct front *f);
void front_push_buffers(struct front *f, unsigned n);
void front_request(struct front *f, u32 ref, u32 offset, u32 size, u16 flags);
void front_push(struct front *f);
/* The status of the next response; 99: there is none. */
int front_answer(struct front *f);
/* The next packet's slot; NULL: there is none. */
struct netif_rx_response *front_receive(struct front *f, u8 **data);

/* Sends one packet that lies in one page; its status, 99: there is none yet. */
int front_send(struct front *f, u32 ref, u32 len, u16 flags);
/* What came last, its buffer posted again: its length, 0: nothing. In one buffer each. */
u32 front_take(struct front *f, u8 **data);
/* Sends 60 bytes of a page: did a packet arrive at 'to', or was one dropped for this reason? */
bool front_goes(struct front *from, struct front *to, u32 ref, enum vfr_reason reason);
/* What came is not looked at. */
unsigned front_drain(struct front *f);
/* For so long, or a bit longer. */
void front_pass_time(u64 ns);
/* Connects what front_prepare() made, with so many buffers. */
bool front_connect(struct front *f, unsigned buffers);

/* A UDP datagram of 'len' bytes, Ethernet header included, from 10.0.0.'from' to 10.0.0.'to'. */
void front_udp(u8 *p, u32 len, u8 from, u8 to);
/* Its IP header's checksum, after a change. */
void front_sum(u8 *p);
/* What was a datagram is a TCP segment with a header of 20 bytes. */
void front_tcp(u8 *p, u8 flags);

long front_rules(u32 what, struct serai_vfr_rules *r);
/* One rule that does this with everything. */
long front_install(u8 action);

#endif
