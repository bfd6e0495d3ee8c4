/*
 * The Virtual Firewall Router: what the hypervisor and domain 0's tools both know. Names and numbers
 * here go into logs, counters and stores, so a number once given keeps its meaning.
 */
#ifndef SERAI_ABI_VFR_H
#define SERAI_ABI_VFR_H

#include <stdint.h>

#define VFR_VIFS_MAX 4096   /* interfaces, of all domains */
#define VFR_ZONES    256    /* named sets of interfaces that rules speak of */
#define VFR_NOBODY   0xffff /* no interface */

/* An interface's kind. */
enum vfr_kind {
    VFR_ROUTED,   /* point to point: the router is its only neighbour */
    VFR_SWITCHED, /* one of several in an Ethernet segment with known addresses */
    VFR_UPLINK,   /* the way to the wire, driven by domain 0 */
    VFR_PUNT,     /* domain 0's daemons: RSIP, PCP, DHCP, ping */
};

/* Zones that exist without being defined. */
enum { VFR_ZONE_ANY, VFR_ZONE_DOMAINS, VFR_ZONE_UPLINK, VFR_ZONE_ROUTER, VFR_ZONE_FIRST };

/* Why a packet died: X(number, name in C, name for people). 0 is no reason: the packet lives. */
#define VFR_REASONS(X)                                                                         \
    X(0, OK, "ok")                                                                             \
    X(1, SHORT, "short")             /* frame ends inside a header */                          \
    X(2, BAD_IP, "bad-ip")           /* header no router may forward */                        \
    X(3, CSUM_UNSUPP, "csum-unsupp") /* blank checksum where none can be filled in */          \
    X(4, GSO_BAD, "gso-bad")         /* segmentation request that makes no sense */            \
    X(5, EXT_HDR, "ext-hdr")         /* IPv6 extension headers too many or too long */         \
    X(6, ETHERTYPE, "ethertype")     /* neither ARP nor IP; or a VLAN tag */                   \
    X(7, SPOOF_MAC, "spoof-mac")                                                               \
    X(8, SPOOF_IP4, "spoof-ip4")                                                               \
    X(9, SPOOF_IP6, "spoof-ip6")                                                               \
    X(10, SPOOF_ARP, "spoof-arp")                                                              \
    X(11, SPOOF_ND, "spoof-nd")       /* neighbour discovery for another's address */          \
    X(12, SPOOF_RA, "spoof-ra")       /* router advertisement or redirect */                   \
    X(13, SPOOF_DHCP, "spoof-dhcp")   /* answers only a DHCP server gives */                   \
    X(14, RSIP_ADDR, "rsip-addr")     /* shared address without a lease on it */               \
    X(15, RSIP_PORT, "rsip-port")     /* port leased to someone else, or to nobody */          \
    X(16, NO_OWNER, "no-owner")       /* inbound, to a port leased to nobody */                \
    X(17, QUARANTINED, "quarantined") /* inbound, its last lease ended a moment ago */         \
    X(18, ICMP_UNSOLICITED, "icmp-unsolicited")                                                \
    X(19, ICMP_ID_BUSY, "icmp-id-busy") /* another sharer asks that peer with that id */       \
    X(20, FRAG_OVERLAP, "frag-overlap")                                                        \
    X(21, FRAG_TINY, "frag-tiny")     /* first fragment without the ports */                   \
    X(22, FRAG_ORPHAN, "frag-orphan") /* its first fragment never came */                      \
    X(23, FRAG_LIMIT, "frag-limit")   /* too many pieces, contexts or bytes */                 \
    X(24, RULE, "rule")               /* a rule said so */                                     \
    X(25, DEFAULT, "default")         /* no rule said anything */                              \
    X(26, TCP_STATE, "tcp-state")     /* opens no connection, and belongs to none */           \
    X(27, FLOW_QUOTA, "flow-quota")   /* the interface's flows are used up */                  \
    X(28, FLOW_RATE, "flow-rate")     /* too many new flows a second */                        \
    X(29, RATE, "rate")               /* the interface's bandwidth is used up */               \
    X(30, RX_FULL, "rx-full")         /* receiver posted no buffers in time */                 \
    X(31, RX_SLOW, "rx-slow")         /* receiver marked as slow */                            \
    X(32, NO_ROUTE, "no-route")                                                                \
    X(33, TTL, "ttl")                                                                          \
    X(34, MTU, "mtu")                                                                          \
    X(35, RING_ERROR, "ring-error") /* descriptors or grants that make no sense */             \
    X(36, VIF_DOWN, "vif-down")                                                                \
    X(37, LOG_FULL, "log-full")   /* a strict rule could not write its record */               \
    X(38, PUNT_FULL, "punt-full") /* more for the daemons than they are given */               \
    X(39, CONSUMED, "consumed")   /* answered by the router itself: no loss */                 \
    X(40, SPREAD, "spread")       /* copies went to stations of its segment: no loss */

enum vfr_reason {
#define VFR_REASON_ENUM(number, name, text) VFR_R_##name = number,
    VFR_REASONS(VFR_REASON_ENUM)
#undef VFR_REASON_ENUM
        VFR_REASON_COUNT
};

/* Who asked for a change. */
enum vfr_actor {
    VFR_BY_HYPERVISOR, /* its clock, or the end of a domain */
    VFR_BY_SERAI,      /* a person, by the command */
    VFR_BY_DAEMON,     /* domain 0's daemon by itself */
    VFR_BY_RSIP,
    VFR_BY_PCP,
    VFR_BY_DHCP,
    VFR_BY_TOOLSTACK,
    VFR_ORIGINS
};

/*
 * SERAI_OP_VFR_VIF, about one interface. A reserved field is 0; -XEN_EINVAL: it is not, or a value is
 * out of range; -XEN_ESRCH: no such domain, or it is being destroyed; -XEN_ENOENT: no such
 * interface; -XEN_ENOBUFS: the audit log is full (abi/vfr_log.h). Nothing has changed when the call
 * fails.
 */
#define VFR_VIF_CONNECT    0 /* -XEN_EEXIST: the handle, an address is; -XEN_ENOSPC, -XEN_ENOMEM */
#define VFR_VIF_DISCONNECT 1 /* its grants and ports are the domain's again */
#define VFR_VIF_READ       2
#define VFR_VIF_NEXT       3 /* reads the first one that is not below 'vif' */
#define VFR_VIF_NEXT_HOP                                                                       \
    4 /* an uplink's, and up to 8 'prefixes' that are on its link; -XEN_ENOMEM */
#define VFR_VIF_RATE 5 /* what it may send */

#define VFR_QUEUES       8
#define VFR_VIF_PREFIXES 32 /* at most 16 of each family */
#define VFR_VIF_MACS     8
#define VFR_SEGMENT_NAME 16  /* bytes; the last one is 0 */
#define VFR_SEGMENT_MAX  256 /* interfaces in one */

/* What a front end can take. */
#define VFR_CAN_CSUM4 0x01 /* blank checksums of TCP and UDP over IPv4 */
#define VFR_CAN_CSUM6 0x02
#define VFR_CAN_GSO4  0x04 /* large TCP segments */
#define VFR_CAN_GSO6  0x08
#define VFR_CAN_SG    0x10 /* packets of more than a page */
#define VFR_CAN_ALL   0x1f

/* The rings' grants, and the ports; both may be the same. */
struct serai_vfr_queue {
    uint32_t tx_ref, rx_ref, tx_port, rx_port;
};

/* An address range, IPv4 as ::ffff:a.b.c.d with 96 added to its length. */
struct serai_vfr_prefix {
    uint64_t high, low;
    uint8_t length;
    uint8_t shared; /* an address that others use too: leases tell whose its ports are */
    uint8_t reserved[6];
};

/* What an interface may do although it looks like spoofing. */
#define VFR_MAY_ANY_MAC        0x01 /* forwards for stations behind it */
#define VFR_MAY_ANY_IP         0x02 /* forwards for addresses behind it */
#define VFR_MAY_ANY_LINK_LOCAL 0x04 /* makes up its link-local addresses (RFC 7217) */
#define VFR_MAY_ROUTE          0x08 /* may advertise and redirect */
#define VFR_MAY_SERVE_DHCP     0x10
#define VFR_MAY_ALL            0x1f

/* Router advertisements: addresses, or other things, are to be asked of DHCP. */
#define VFR_RA_MANAGED 0x01
#define VFR_RA_OTHER   0x02
#define VFR_RA_ALL     0x03

struct serai_vfr_vif {
    uint16_t op;            /* in */
    uint16_t vif;           /* in; out with CONNECT and NEXT */
    uint16_t domid, handle; /* CONNECT in, READ out, as all below */
    uint8_t kind, can, nr_queues, nr_prefixes;
    uint32_t mtu;        /* bytes of an IP packet: 576 to 65535 */
    uint8_t mac[6];      /* the front end's; UPLINK: the router's own on that wire */
    uint8_t next_hop[6]; /* UPLINK: whom packets to elsewhere are sent to */
    uint8_t may, nr_macs;
    uint8_t ra;          /* what is advertised to those who ask for routers */
    uint8_t pickup;      /* CONNECT in: for so many seconds TCP may begin in the middle */
    uint32_t generation; /* CONNECT: of the rules whose zones follow; -XEN_EBUSY: not theirs */
    uint32_t reserved2;
    uint64_t zones[VFR_ZONES / 64]; /* a bit per zone that it is in */
    uint8_t macs[VFR_VIF_MACS][6];  /* further ones of stations behind it */
    struct serai_vfr_queue queues[VFR_QUEUES];
    struct serai_vfr_prefix prefixes[VFR_VIF_PREFIXES]; /* its addresses */
    /* out */
    uint64_t sent_packets, sent_bytes; /* by the domain */
    uint64_t received_packets, received_bytes;
    uint64_t drops[64]; /* of what it sent, by enum vfr_reason */
    /* in, CONNECT: while rules wait for their confirmation, its zones by the ones before */
    uint64_t zones_before[VFR_ZONES / 64];
    /*
     * In, CONNECT and RATE; out, READ: the domain may send so many bytes in so many microseconds, by
     * all its queues, and at once as many or 128 KiB, whichever is more. 0 and 0: as many as it likes.
     * From 1 byte a second to 10^12 bytes.
     */
    uint64_t rate_bytes;
    uint32_t rate_usec;
    uint32_t origin; /* in, RATE: enum vfr_actor */
    /*
     * SWITCHED: its segment, all of those with this name. UPLINK: the segment whose way to the wire it
     * is, too; nothing: of none. All other kinds: nothing.
     */
    uint8_t segment[VFR_SEGMENT_NAME];
    uint8_t next_hop6[6]; /* UPLINK: the next hop of IPv6; 0: the same */
    uint8_t reserved3[2];
};

/*
 * SERAI_OP_VFR_RULES: a ruleset (abi/vfr_rules.h) takes the place of the one in force, at one
 * moment for all packets. -XEN_EBUSY: that is not the one the caller knows; -XEN_EINVAL: the image
 * is not good, 'part' and 'at' say where (core/vfr_rules.h); -XEN_ENOBUFS: the audit log is full.
 */
#define VFR_RULES_INSTALL   0
#define VFR_RULES_CHECK     1 /* what INSTALL would say */
#define VFR_RULES_READ      2 /* which generation is in force, and its rules' counters */
/*
 * Rules installed with 'seconds' not 0 wait for their confirmation. Without it the ones before are
 * back after that time, as a new generation, whatever becomes of domain 0. Until then there is
 * no other INSTALL (-XEN_EAGAIN). -XEN_ENOENT: none wait.
 */
#define VFR_RULES_CONFIRM   3 /* they stay */
#define VFR_RULES_ROLL_BACK 4 /* the ones before are back at once */

struct serai_vfr_zones {
    uint16_t vif;
    uint16_t reserved[3];
    uint64_t zones[VFR_ZONES / 64];
};

struct serai_vfr_rules {
    uint32_t op;
    uint32_t generation; /* in: the one in force; out: the one now in force */
    uint64_t image, len; /* in: where it is */
    uint64_t zones;      /* in: array of struct serai_vfr_zones; who is not there is in none */
    uint32_t nr_zones;
    uint32_t capacity; /* in, READ: of 'counters' */
    uint64_t counters; /* in, READ: where to; pairs of packets and bytes, the default's last */
    uint32_t nr_rules; /* out */
    uint32_t part, at; /* out, when the image is not good */
    uint32_t seconds;  /* in, INSTALL: at most a day; out, READ: left, 0: none wait */
};

#endif
