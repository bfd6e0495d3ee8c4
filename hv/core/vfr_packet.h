/*
 * A packet as the Virtual Firewall Router sees it: parsed once, from a private copy of its first
 * bytes. Every later stage asks this structure and nothing else, and the very bytes that were
 * parsed are the ones that are forwarded.
 *
 * Invariants
 *  1. No field comes from beyond the bytes given, whatever they say.
 *  2. Fields that a packet of its kind does not have are zero.
 *  3. VFR_P_PORTS means that both 'sport' and 'dport' were in the packet: of TCP, UDP, UDP-Lite, SCTP
 *     and DCCP the ports; of an ICMP query its identifier, in both.
 *  4. With VFR_P_INNER 'inner' is the packet that an ICMP error complains about, as it was
 *     sent: its source is the error's addressee, and it has ports.
 *  5. 'l4_offset' + what its protocol's header needs is inside the snapshot, unless the packet is
 *     a fragment other than the first; then it is where the fragment's payload begins.
 *  6. A later fragment never reaches into the transport header, and no fragment beyond 65535.
 *  7. IPv6 addresses are no mapped IPv4 ones: the two families never meet in a tuple.
 *
 * What no router takes is refused here, as BAD_IP: a wrong header checksum, source routing,
 * loopback and group sources, a destination of nobody, lengths that contradict each other. IPv6
 * routing headers with stops to make, more than 8 extension headers or ones that end behind the
 * snapshot are EXT_HDR. AH and ESP are opaque. Transport checksums are not looked at.
 *
 * Pure. Formats: RFC 791, 826, 768, 792, 4443, 4861, 8200, 9293. On fragments: RFC 1858, 3128,
 * 6946, 7112.
 */
#ifndef SERAI_CORE_VFR_PACKET_H
#define SERAI_CORE_VFR_PACKET_H

#include <stdbool.h>
#include <stdint.h>

#include "abi/vfr.h"
#include "core/vfr_addr.h"

/* Bytes of a packet copied before it is judged; what lies behind is payload. */
#define VFR_SNAPSHOT 256

/* Who talks to whom; a packet's or a flow's. */
struct vfr_tuple {
    struct vfr_addr src, dst;
    uint16_t sport, dport; /* host order */
    uint8_t proto;
};

enum vfr_class { VFR_C_ARP = 1, VFR_C_IP4, VFR_C_IP6 };

#define VFR_P_PORTS     0x0001
#define VFR_P_FRAGMENT  0x0002 /* a piece of a datagram */
#define VFR_P_FIRST     0x0004 /* its first one */
#define VFR_P_LAST      0x0008 /* its last one */
#define VFR_P_DF        0x0010 /* may not be fragmented; IPv6: always */
#define VFR_P_INNER     0x0020 /* an ICMP error about 'inner' */
#define VFR_P_QUERY     0x0040 /* an ICMP question that has an identifier */
#define VFR_P_ANSWER    0x0080 /* the answer to one */
#define VFR_P_ND        0x0100 /* neighbour discovery, type 133 to 137 */
#define VFR_P_BROADCAST 0x0200 /* to the Ethernet broadcast address */
#define VFR_P_MULTICAST 0x0400 /* to an Ethernet group other than that */
#define VFR_P_OPTIONS   0x0800 /* IPv4 options or IPv6 hop-by-hop or routing headers */

struct vfr_packet {
    uint32_t len;   /* of the whole frame */
    uint16_t flags; /* VFR_P_ */
    uint8_t class;  /* VFR_C_ */
    uint8_t l4_offset, l3_offset;
    uint8_t ttl, dscp, tcp_flags;
    uint8_t icmp_type, icmp_code;
    uint16_t arp_op;
    uint64_t eth_src, eth_dst; /* the lower 48 bits, first byte on the wire highest */
    struct vfr_tuple tuple;    /* ARP: sender's and target's protocol addresses */
    uint32_t frag_id;          /* IPv4: of whole packets too */
    uint16_t frag_offset;      /* bytes */
    uint16_t l3_len;           /* bytes of the IP packet, header included, as it says itself */
    uint16_t frag_len;         /* bytes of payload in this fragment */
    struct vfr_tuple inner;
};

/*
 * Parses the first 'have' bytes (at most VFR_SNAPSHOT) of a frame of 'len' bytes into *p.
 * Returns VFR_R_OK or why the frame can go nowhere: SHORT, ETHERTYPE, BAD_IP, EXT_HDR, FRAG_TINY.
 * Ethernet padding behind the IP packet is allowed; *p is always filled as far as parsing came.
 */
enum vfr_reason vfr_packet_parse(struct vfr_packet *p, const uint8_t *bytes, uint32_t have,
                                 uint32_t len);
/* The same by the long way only: what the short way is compared with. */
enum vfr_reason vfr_packet_parse_any(struct vfr_packet *p, const uint8_t *bytes, uint32_t have,
                                     uint32_t len);

/*
 * Packets come in trains, of one conversation, or of several between the same stations. *p is what came
 * of the packet that vfr_packet_keep() kept the beginning of, and vfr_packet_may_lead() says that others
 * may follow it. If this one does, *p is what vfr_packet_parse() says of it, 'kept' is its beginning, and
 * nothing but 'len', 'l3_len', 'frag_id', 'tcp_flags' and perhaps the ports differs.
 */
#define VFR_KEPT 5
enum vfr_follow {
    VFR_FOLLOW_NOT,     /* parse it: *p and 'kept' are worth nothing any more */
    VFR_FOLLOW_FLOW,    /* it has the ports, too */
    VFR_FOLLOW_STATION, /* it has other ports, and no ones of DHCP */
};
bool vfr_packet_may_lead(const struct vfr_packet *p);
void vfr_packet_keep(uint64_t kept[VFR_KEPT], const uint8_t *bytes);
enum vfr_follow vfr_packet_follow(struct vfr_packet *p, uint64_t kept[VFR_KEPT],
                                  const uint8_t *bytes, uint32_t have, uint32_t len);

#endif
