/*
 * What the router says itself: whole frames, built into a buffer of the caller's. Each function
 * returns the frame's length, or 0: then there is nothing to be said.
 *
 *  1. At most VFR_REPLY_MAX bytes are written, and all bytes of the frame are.
 *  2. Checksums are finished.
 *  3. An ARP probe, an announcement and a question about the asker's own address are never answered:
 *     the asker would think that its address is in use, and give it up.
 *  4. Nothing complains about an ICMP error, a packet to many, one from nobody in particular, or a
 *     fragment other than the first (RFC 1122 3.2.2, RFC 4443 2.4 e); nothing resets a reset.
 *  5. An answer goes to the station and the address that the packet came from.
 *
 * How often to speak is the caller's decision. 'p' was parsed, without an objection, from 'bytes',
 * which are not the buffer. Pure; total.
 */
#ifndef SERAI_CORE_VFR_REPLY_H
#define SERAI_CORE_VFR_REPLY_H

#include "core/vfr_guard.h"

#define VFR_REPLY_MAX 256

/* The router as one interface sees it. */
struct vfr_self {
    uint64_t mac;
    uint32_t ip4;        /* what errors come from */
    struct vfr_addr ip6; /* the same; link-local, and what router advertisements come from */
};

/*
 * Claims the address that is asked for. Whether it is one to be claimed is the caller's knowledge;
 * 'asker' is the interface's binding, NULL on an uplink.
 */
uint32_t vfr_reply_arp(const struct vfr_self *self, const struct vfr_binding *asker,
                       const struct vfr_packet *p, uint8_t *out);
/* The same for a neighbour solicitation; 'router': the address is the router's own. */
uint32_t vfr_reply_solicit(const struct vfr_self *self, const struct vfr_binding *asker,
                           const struct vfr_packet *p, const uint8_t *bytes, bool router,
                           uint8_t *out);

/* Asks all neighbours who has 'about', in the name of 'from': ARP, a neighbour solicitation. */
uint32_t vfr_reply_ask(const struct vfr_self *self, struct vfr_addr from, struct vfr_addr about,
                       uint8_t *out);

struct vfr_advert {
    struct vfr_addr prefix;
    uint32_t valid, preferred; /* seconds */
    uint32_t mtu;              /* 0: not told */
    uint16_t lifetime;         /* as a default router, seconds */
    uint8_t prefix_len;        /* 0: no prefix */
    bool managed, other;       /* ask a DHCPv6 server for addresses, for other things */
    bool on_link, autonomous;  /* what the prefix is good for */
};

/* A router advertisement in answer to a solicitation, or (p NULL) to all. */
uint32_t vfr_reply_advert(const struct vfr_self *self, const struct vfr_advert *ra,
                          const struct vfr_packet *p, uint8_t *out);

enum vfr_error { VFR_E_ADMIN, VFR_E_HOST, VFR_E_PORT, VFR_E_TOO_BIG, VFR_E_TTL };

/* Quotes as much of the packet as there is room for; 'mtu' is told with TOO_BIG. */
uint32_t vfr_reply_error(const struct vfr_self *self, const struct vfr_packet *p,
                         const uint8_t *bytes, uint32_t have, enum vfr_error e, uint32_t mtu,
                         uint8_t *out);

/*
 * Answers a ping, from the address that was asked. Of one that is longer than 'have' only so many bytes
 * are built, and the ping's own follow them as they are.
 */
uint32_t vfr_reply_echo(const struct vfr_self *self, const struct vfr_packet *p,
                        const uint8_t *bytes, uint32_t have, uint8_t *out);

/* Refuses a TCP segment in the name of its addressee (RFC 9293 3.10.7.1). */
uint32_t vfr_reply_reset(const struct vfr_self *self, const struct vfr_packet *p,
                         const uint8_t *bytes, uint8_t *out);

#endif
