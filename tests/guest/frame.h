/* Frames of both families, and checksums that are computed byte by byte. */
#ifndef GUEST_FRAME_H
#define GUEST_FRAME_H

#include "front.h"

#define FRAME_IP4 34 /* where the payload of the IP packet is */
#define FRAME_IP6 54

#define IP4(a, b, c, d) ((u32)(a) << 24 | (b) << 16 | (c) << 8 | (d))
#define IP4_MF          0x2000
#define IP4_DF          0x4000

void frame_put16(u8 *p, u32 v);
void frame_put32(u8 *p, u32 v);
u32 frame_get16(const u8 *p);
u32 frame_get32(const u8 *p);

/* From station 02:00:00:00:00:'mac' to the router; 'frag' is the whole field. Returns the length. */
u32 frame_ip4(u8 *p, u8 mac, u32 src, u32 dst, u8 proto, u32 len);
/* The identifier and the field of pieces: IP4_MF, IP4_DF, bytes / 8. */
void frame_piece4(u8 *p, u16 id, u32 frag);
/* From fd00::'src' to fd00::'dst', with 'next' behind the header. */
u32 frame_ip6(u8 *p, u8 mac, u8 src, u8 dst, u8 next, u32 len);
void frame_ports(u8 *l4, u16 sport, u16 dport);
/* A UDP header, its checksum finished or (blank) left out as front ends do. */
void frame_udp(u8 *p, u16 sport, u16 dport);
/* An ICMP echo request or an answer, with its checksum. */
void frame_echo(u8 *p, u8 type, u16 id);
/* After a change of the header, or of what an ICMP message says. */
void frame_sum_ip4(u8 *p);
void frame_sum_icmp4(u8 *p);

/* Are all checksums of this frame right? */
bool frame_is_sound(const u8 *p);
/* The Internet checksum of ICMPv6, UDP, TCP as it ought to be; 0: it is there and right. */
u32 frame_l4_sum(const u8 *p);

#endif
