/*
 * Ethernet segments whose stations are all known: under what names stations are among the routes, and
 * what neighbours tell each other.
 *
 *  1. A station's name is an address that no packet comes from or goes to (core/vfr_packet), and no
 *     two stations have the same one.
 *  2. A message asks or tells only if all of what it is about was in the packet.
 *
 * Pure; total.
 */
#ifndef SERAI_CORE_VFR_SEGMENT_H
#define SERAI_CORE_VFR_SEGMENT_H

#include "core/vfr_packet.h"

static inline struct vfr_addr vfr_station(uint64_t mac)
{
    return (struct vfr_addr){0, mac};
}

enum vfr_talk {
    VFR_TALK_ASKS,  /* who has an address */
    VFR_TALK_TELLS, /* who has it */
    VFR_TALK_OTHER, /* neither ARP, nor a neighbour solicitation, nor an advertisement of one */
};

/* 'p' was parsed, without an objection, from 'bytes', of which there are 'have'. */
enum vfr_talk vfr_talk(const struct vfr_packet *p, const uint8_t *bytes, uint32_t have,
                       struct vfr_addr *about);

#endif
