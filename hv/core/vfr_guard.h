/*
 * Anti-spoofing: a packet that enters through an interface speaks only for that interface. This
 * is no rule, no rule can switch it off; exceptions are part of the interface's configuration.
 *
 *  1. There is an own address, it is of one station, and so are the extra ones.
 *  2. Prefixes are of unicast addresses, their masks are runs of ones from the top, and an address has
 *     no bit outside its mask. No prefix is shorter than 8 bits, of IPv6 16.
 *  3. 'shared' names only prefixes that exist and are one address long; of a switched interface none,
 *     for neighbours cannot tell two stations with one address apart.
 *  4. Kind and flags are known ones.
 *
 * What passes vfr_guard_check(), of anything but an uplink and without exceptions:
 *  5. Ethernet source, ARP sender, link-layer options of neighbour discovery and a DHCP client's
 *     hardware address are the interface's.
 *  6. IP source, ARP sender, the target of an ARP probe, of duplicate address detection and of a
 *     neighbour advertisement are the interface's. Only those probes, a router solicitation, a group
 *     report and a DHCP client's question come from the unspecified address.
 *  7. It is not what only a router or a DHCP server says.
 *  8. What it complains about, if it is an ICMP error, was sent to the interface.
 * An uplink is only kept from sending as several stations at once, and from redirecting.
 *
 * An address is the interface's if one of its prefixes holds it, or if it is a link-local one made of
 * one of its Ethernet addresses. Ports of shared addresses are judged by vfr_rsip.
 *
 * Pure. The caller owns the binding and keeps it unchanged during a call.
 */
#ifndef SERAI_CORE_VFR_GUARD_H
#define SERAI_CORE_VFR_GUARD_H

#include "core/vfr_packet.h"

#define VFR_EXTRA_MACS 8
#define VFR_PREFIXES   16 /* of each family */

/* Exceptions. */
#define VFR_B_ANY_MAC        0x01 /* forwards for stations behind it */
#define VFR_B_ANY_IP         0x02 /* forwards for addresses behind it */
#define VFR_B_ANY_LINK_LOCAL 0x04 /* makes up its link-local addresses (RFC 7217) */
#define VFR_B_ROUTER         0x08 /* may advertise and redirect */
#define VFR_B_DHCP_SERVER    0x10
#define VFR_B_FLAGS          0x1f

struct vfr_prefix4 {
    uint32_t addr, mask; /* host order */
};

struct vfr_prefix6 {
    struct vfr_addr addr, mask;
};

struct vfr_binding {
    uint64_t mac; /* as in struct vfr_packet */
    uint8_t kind, flags, macs, ip4s, ip6s;
    uint16_t shared; /* bit i: ip4[i] has other users too */
    struct vfr_prefix4 ip4[VFR_PREFIXES];
    struct vfr_prefix6 ip6[VFR_PREFIXES];
    uint64_t extra_mac[VFR_EXTRA_MACS];
};

int vfr_binding_check(const struct vfr_binding *b);

/*
 * 'p' was parsed, without an objection, from 'bytes', of which there are 'have'. Returns OK or
 * SPOOF_MAC, SPOOF_IP4, SPOOF_IP6, SPOOF_ARP, SPOOF_ND, SPOOF_RA or SPOOF_DHCP.
 */
enum vfr_reason vfr_guard_check(const struct vfr_binding *b, const struct vfr_packet *p,
                                const uint8_t *bytes, uint32_t have);

/* It is OK, and no more was looked at than the two addresses' Ethernet, IP and ports. */
bool vfr_guard_is_plain(const struct vfr_binding *b, const struct vfr_packet *p);

/* Is the address the interface's (exceptions aside)? */
bool vfr_binding_owns(const struct vfr_binding *b, struct vfr_addr a);
bool vfr_binding_has_mac(const struct vfr_binding *b, uint64_t mac);
/* Is it one that the interface shares with others, so that ports decide? */
bool vfr_binding_shares(const struct vfr_binding *b, struct vfr_addr a);

/* The link-local address that a station makes of its Ethernet address (RFC 4291, appendix A). */
struct vfr_addr vfr_link_local(uint64_t mac);

#endif
