/* What the router says itself: answers, refusals, and complaints about packets that go nowhere. */
#ifndef SERAI_SVC_VFR_ANSWER_H
#define SERAI_SVC_VFR_ANSWER_H

#include "core/vfr_reply.h"
#include "core/vfr_rules.h"
#include "svc/vif_state.h"

/* The router on every link: a locally administered address, and link-local ones. */
#define VFR_ROUTER_MAC 0x025345524149ull
#define VFR_ROUTER_IP4 VFR_IP4(0xa9fe0001) /* 169.254.0.1 */
/* Made of the MAC: RFC 4291, A. */
#define VFR_ROUTER_IP6 ((struct vfr_addr){0xfe80000000000000ull, 0x005345fffe524149ull})

static inline bool vfr_is_router(struct vfr_addr a)
{
    return vfr_addr_equal(a, VFR_ROUTER_IP4) || vfr_addr_equal(a, VFR_ROUTER_IP6);
}

/*
 * To the interface that the packet came by, whose tx lock is held. Errors, resets and answers to
 * pings: VFR_SPEECH_RATE a second for each interface, and what is beyond that is not said.
 */
#define VFR_SPEECH_RATE 100

/* ARP, neighbour discovery, and whatever else is sent to the router's own addresses. */
enum vfr_reason vfr_answer(struct vif_packet *p);
/* A ping to an address that has no one owner. */
enum vfr_reason vfr_answer_echo(struct vif_packet *p);
/* The reason stays, its sender is told of it; 'mtu' with TOO_BIG. */
enum vfr_reason vfr_complain(const struct vif_packet *p, enum vfr_error e, u32 mtu,
                             enum vfr_reason reason);
/* A router advertisement to all on this interface's link, if it is told of routers. */
void vfr_advertise(struct vif *f);
/* What a rule that does not let it pass wants to be said. */
enum vfr_reason vfr_refuse(const struct vif_packet *p, const struct vfr_verdict *v);

#endif
