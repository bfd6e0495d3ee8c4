/*
 * The Internet checksum (RFC 1071): of bytes that come in chunks of any length, of a pseudo-header,
 * and repaired after a change (RFC 1624).
 *
 *  1. A sum's result does not depend on how its bytes were cut into chunks.
 *  2. Repairing gives what summing the changed bytes afresh gives.
 *
 * A checksum here is a number as put_be16() writes it. Pure; total.
 */
#ifndef SERAI_CORE_VFR_CHECKSUM_H
#define SERAI_CORE_VFR_CHECKSUM_H

#include "core/vfr_addr.h"

struct vfr_sum {
    uint64_t words; /* 16-bit words in memory's order, added up; far from overflowing */
    bool odd;       /* an odd number of bytes so far */
};

void vfr_sum_add(struct vfr_sum *s, const uint8_t *bytes, uint32_t len);
/* The checksum of all that was added; 'bytes' may contain a checksum field that holds 0. */
uint16_t vfr_sum_finish(struct vfr_sum s);

/* The checksum of an IPv4 header, an ICMP message, and so on; 0 if a checksum in it is right. */
uint16_t vfr_checksum(const uint8_t *bytes, uint32_t len);

/* The sum to begin with for TCP, UDP and ICMPv6; 'len' is that of header and payload. */
struct vfr_sum vfr_sum_pseudo(struct vfr_addr src, struct vfr_addr dst, uint8_t proto,
                              uint32_t len);

/*
 * The checksum after a 16-bit word that it covers, at an even place, went from 'before' to 'after'.
 * One that UDP over IPv4 left out, 0, is the caller's to leave alone.
 */
static inline uint16_t vfr_checksum_update(uint16_t check, uint16_t before, uint16_t after)
{
    uint32_t sum = (uint16_t)~check + (uint16_t)~before + (uint32_t)after;

    sum = (sum & 0xffff) + (sum >> 16);
    return ~(sum + (sum >> 16));
}

#endif
