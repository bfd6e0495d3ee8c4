/*
 * What a sender leaves to others: the transport checksum, and cutting a long TCP packet into
 * segments. Which requests are legal, what the packets on the wire will be, and their headers when
 * a receiver takes only finished packets.
 *
 *  1. A request that vfr_offload_check() lets pass can be carried out from the snapshot alone:
 *     Ethernet, IP and transport headers are inside it, options included.
 *  2. Segments are the payload in order, without gap or overlap: number k has its bytes from
 *     k * gso_size on; all but the last have gso_size bytes; there is at least one.
 *  3. Each segment's header is the original one but for lengths, the IPv4 identifier (counting up),
 *     the sequence number, FIN and PSH (the last one's), CWR (the first one's) and checksums.
 *
 * Pure; total, except that a plan must come from vfr_segment_plan(). Numbers of the ring's
 * protocol: xen/io/netif.h.
 */
#ifndef SERAI_CORE_VFR_OFFLOAD_H
#define SERAI_CORE_VFR_OFFLOAD_H

#include "core/vfr_checksum.h"
#include "core/vfr_packet.h"

#define VFR_FRAME_MAX 65535
/* Below this a single frame would make more packets than any receiver wants. */
#define VFR_GSO_MIN   32

struct vfr_offload {
    bool csum_blank;   /* the checksum field holds the pseudo-header's sum, or anything */
    uint8_t gso_type;  /* XEN_NETIF_GSO_TYPE_ */
    uint16_t gso_size; /* bytes of payload in a segment; meaningless without a type */
};

/* 'p' was parsed from 'bytes'. Returns OK, CSUM_UNSUPP or GSO_BAD. */
enum vfr_reason vfr_offload_check(const struct vfr_offload *o, const struct vfr_packet *p,
                                  const uint8_t *bytes, uint32_t have);
/* Of a packet that vfr_packet_may_lead() says yes to: it is OK, and nobody is to cut it. */
bool vfr_offload_is_simple(const struct vfr_offload *o, const struct vfr_packet *p,
                           const uint8_t *bytes, uint32_t have);

/* Bytes of the longest IP packet on the wire, to be compared with a receiver's MTU. */
uint32_t vfr_offload_wire_len(const struct vfr_offload *o, const struct vfr_packet *p,
                              const uint8_t *bytes);

struct vfr_segment_plan {
    uint16_t header;      /* bytes of the frame up to the payload */
    uint16_t count;       /* of segments */
    uint16_t size;        /* payload of all but the last */
    uint16_t last;        /* payload of the last */
    uint16_t checksum_at; /* where in the frame the transport checksum is */
    uint16_t l4;          /* where its cover begins */
    uint8_t class, proto;
    struct vfr_addr src, dst;
};

struct vfr_segment {
    uint16_t offset, len; /* of its payload, behind the plan's header */
    struct vfr_sum sum;   /* of pseudo-header and header: add the payload, then finish */
};

/* For a packet whose request was found legal and asks for anything at all. */
void vfr_segment_plan(struct vfr_segment_plan *plan, const struct vfr_offload *o,
                      const struct vfr_packet *p, const uint8_t *bytes);

/* Writes segment k's header to 'out' (plan->header bytes), its transport checksum as 0. */
void vfr_segment_header(const struct vfr_segment_plan *plan, const uint8_t *bytes, unsigned k,
                        uint8_t *out, struct vfr_segment *seg);

/* Puts the checksum into a header written before, once its payload is in seg->sum. */
void vfr_segment_finish(const struct vfr_segment_plan *plan, const struct vfr_segment *seg,
                        uint8_t *out);

#endif
