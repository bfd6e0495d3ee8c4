/*
 * Numbers of the network protocols that the router's cores name, and big-endian access to bytes
 * that somebody else laid out. Formats: IEEE 802.3, RFC 791, 792, 826, 2131, 4443, 4861, 8200,
 * 8415, 9293.
 *
 * Pure.
 */
#ifndef SERAI_CORE_VFR_WIRE_H
#define SERAI_CORE_VFR_WIRE_H

#include "base/string.h"
#include "base/types.h"

/* Off the path of every packet: compiled for size, and kept out of that path. */
#define rarely __attribute__((noinline, cold))

enum { ETH_HEADER = 14, IP4_HEADER = 20, IP6_HEADER = 40, ARP_LEN = 28 };
enum { TCP_HEADER = 20, UDP_HEADER = 8, ICMP_HEADER = 8, SCTP_HEADER = 12, DCCP_HEADER = 12 };
enum { ETHERTYPE_IP4 = 0x0800, ETHERTYPE_ARP = 0x0806, ETHERTYPE_IP6 = 0x86dd };

#define ETH_BROADCAST 0xffffffffffffull
#define ETH_GROUP     0x010000000000ull /* set in every address of several stations */

enum {
    PROTO_HOP = 0,
    PROTO_ICMP4 = 1,
    PROTO_TCP = 6,
    PROTO_UDP = 17,
    PROTO_DCCP = 33,
    PROTO_ROUTE = 43,
    PROTO_FRAG = 44,
    PROTO_AH = 51,
    PROTO_ICMP6 = 58,
    PROTO_NONE = 59,
    PROTO_DSTOPT = 60,
    PROTO_SCTP = 132,
    PROTO_UDPLITE = 136,
};

enum { ARP_REQUEST = 1, ARP_REPLY = 2 };
/* Where the fields are in an ARP packet over Ethernet and IPv4. */
enum { ARP_OP = 6, ARP_SHA = 8, ARP_SPA = 14, ARP_THA = 18, ARP_TPA = 24 };

/* The field of an IPv4 header that tells pieces. */
enum { IP4_DF = 0x4000, IP4_MF = 0x2000, IP4_OFFSET = 0x1fff };

enum { TCP_FIN = 1, TCP_SYN = 2, TCP_RST = 4, TCP_PSH = 8, TCP_ACK = 16, TCP_CWR = 128 };

enum {
    ICMP4_ECHO_REPLY = 0,
    ICMP4_UNREACHABLE = 3,
    ICMP4_QUENCH = 4,
    ICMP4_REDIRECT = 5,
    ICMP4_ECHO = 8,
    ICMP4_ROUTER = 9,
    ICMP4_TIME = 11,
    ICMP4_PARAMETER = 12,
    ICMP4_STAMP = 13,
    ICMP4_MASK_REPLY = 18,
};

enum {
    ICMP6_UNREACHABLE = 1,
    ICMP6_TOO_BIG = 2,
    ICMP6_TIME = 3,
    ICMP6_PARAMETER = 4,
    ICMP6_ECHO = 128,
    ICMP6_ECHO_REPLY = 129,
    ICMP6_MLD_QUERY = 130,
    ICMP6_MLD_REPORT = 131,
    ICMP6_MLD_DONE = 132,
    ND_ROUTER_SOLICIT = 133,
    ND_ROUTER_ADVERT = 134,
    ND_SOLICIT = 135,
    ND_ADVERT = 136,
    ND_REDIRECT = 137,
    ICMP6_MLD2_REPORT = 143,
};

/* Lengths up to the options of neighbour discovery's messages, and the options read here. */
enum { ND_SOLICIT_LEN = 24, ND_ROUTER_SOLICIT_LEN = 8, ND_TARGET = 8 };
enum { ND_OPT_SOURCE = 1, ND_OPT_TARGET = 2, ND_OPT_PREFIX = 3, ND_OPT_MTU = 5 };

/* In BOOTP: the client's Ethernet address. */
enum { BOOTP_CHADDR = 28 };
enum { DHCP4_SERVER = 67, DHCP4_CLIENT = 68, DHCP6_CLIENT = 546, DHCP6_SERVER = 547 };

static inline u16 get_be16(const void *p)
{
    return __builtin_bswap16(get_le16(p));
}

static inline u32 get_be32(const void *p)
{
    return __builtin_bswap32(get_le32(p));
}

static inline u64 get_be64(const void *p)
{
    return __builtin_bswap64(get_le64(p));
}

/* An Ethernet address as a number; reads only its six bytes. */
static inline u64 get_mac(const void *p)
{
    return (u64)get_be16(p) << 32 | get_be32((const u8 *)p + 2);
}

static inline void put_be16(void *p, u16 v)
{
    v = __builtin_bswap16(v);
    __builtin_memcpy(p, &v, sizeof(v));
}

static inline void put_be32(void *p, u32 v)
{
    v = __builtin_bswap32(v);
    __builtin_memcpy(p, &v, sizeof(v));
}

static inline void put_be64(void *p, u64 v)
{
    v = __builtin_bswap64(v);
    __builtin_memcpy(p, &v, sizeof(v));
}

static inline void put_mac(void *p, u64 mac)
{
    put_be16(p, mac >> 32);
    put_be32((u8 *)p + 2, mac);
}

#endif
